//! Each way in which an exchange can end, from both sides.

use super::*;
use crate::raft::{Answer, LogId, Request};

/// A wire that records its requests.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<(NodeId, Bytes, ReplyTo)>>>);

impl RequestWire for Kept {
    fn request(&self, to: NodeId, request: Bytes, reply: ReplyTo) {
        self.0.lock().push((to, request, reply));
    }
}

impl Kept {
    fn take(&self) -> (NodeId, Bytes, ReplyTo) {
        self.0.lock().remove(0)
    }
}

/// What a member's inbox received.
#[derive(Clone, Default)]
struct Got {
    envelopes: Arc<Mutex<Vec<Envelope>>>,
    undelivered: Arc<Mutex<Vec<(NodeId, RequestId)>>>,
}

impl Got {
    fn inbox(&self) -> Inbox {
        let (envelopes, undelivered) = (self.envelopes.clone(), self.undelivered.clone());
        Inbox::new(
            move |envelope| envelopes.lock().push(envelope),
            move |to, id| undelivered.lock().push((to, id)),
        )
    }
}

/// The answers of exchanges, in the order of their ends.
#[derive(Clone, Default)]
struct Ends(Arc<Mutex<Vec<End>>>);

type End = (RequestId, Option<Bytes>);

impl Ends {
    fn of(&self, id: RequestId) -> impl FnOnce(Option<Bytes>) + Send + 'static {
        let ends = self.0.clone();
        move |answer| ends.lock().push((id, answer))
    }

    fn taken(&self) -> Vec<(RequestId, bool)> {
        self.0.lock().drain(..).map(|(id, answer)| (id, answer.is_some())).collect()
    }
}

const HERE: NodeId = 1;
const THERE: NodeId = 2;
const WITHIN: Duration = Duration::from_secs(5);

fn started(open_exchanges: usize) -> (PairedTransport, Kept, Got) {
    let (wire, got) = (Kept::default(), Got::default());
    let options = PairedOptions { open_exchanges, answer_within: WITHIN };
    let transport = PairedTransport::new(wire.clone(), options);
    transport.attach(HERE, got.inbox());
    (transport, wire, got)
}

fn envelope(from: NodeId, to: NodeId, id: RequestId, body: Body) -> Envelope {
    Envelope { cluster: 0, group: 0, from, to, incarnation: 7, term: 3, id, body }
}

fn request(from: NodeId, to: NodeId, id: RequestId) -> Envelope {
    envelope(from, to, id, Body::Request(Request::Vote { last: LogId::BASE }))
}

/// The answer of `from` to request `id` of incarnation `asker_incarnation` of `to`.
fn answer(from: NodeId, to: NodeId, id: RequestId, asker_incarnation: Incarnation) -> Envelope {
    let answer = Answer::Vote { granted: true, held: None };
    envelope(from, to, id, Body::Answer { asker_incarnation, answer })
}

fn bytes(envelope: &Envelope) -> Bytes {
    wire::encode(envelope).unwrap()
}

#[test]
fn an_answer_rides_back_on_the_exchange_that_brought_the_question() {
    let (transport, _, got) = started(10);
    let ends = Ends::default();
    for id in [4, 5] {
        transport.serve(bytes(&request(THERE, HERE, id)), ends.of(id)).unwrap();
    }
    assert_eq!(*got.envelopes.lock(), [request(THERE, HERE, 4), request(THERE, HERE, 5)]);
    let second = answer(HERE, THERE, 5, 7);
    transport.send(second.clone());
    assert_eq!(ends.0.lock().drain(..).collect::<Vec<_>>(), [(5, Some(bytes(&second)))]);
    // For a former incarnation of the requester, for another member, and a second time: no exchange
    // matches.
    transport.send(answer(HERE, THERE, 4, 6));
    transport.send(answer(HERE, 3, 4, 7));
    transport.send(second);
    assert_eq!((ends.taken(), transport.open_exchanges()), (vec![], 1));
    transport.send(answer(HERE, THERE, 4, 7));
    assert_eq!((ends.taken(), transport.open_exchanges()), (vec![(4, true)], 0));
}

#[test]
fn a_request_ends_with_its_answer_or_with_a_hint() {
    let (transport, wire, got) = started(10);
    for id in 1..=4 {
        transport.send(request(HERE, THERE, id));
    }
    let (to, asked, reply) = wire.take();
    assert_eq!((to, asked), (THERE, bytes(&request(HERE, THERE, 1))));
    let answered = answer(THERE, HERE, 1, 7);
    reply.answer(bytes(&answered)).unwrap();
    assert_eq!(*got.envelopes.lock(), [answered]);

    wire.take().2.give_up();
    assert_eq!(*got.undelivered.lock(), []);
    drop(wire.take());
    assert_eq!(*got.undelivered.lock(), [(THERE, 3)]);
    assert!(wire.take().2.answer(Bytes::from_static(b"\x09")).is_err());
    assert_eq!((got.envelopes.lock().len(), got.undelivered.lock().len()), (1, 1));
}

#[test]
fn what_comes_back_for_another_request_is_no_answer() {
    let (transport, wire, got) = started(10);
    let wrong = [
        answer(THERE, HERE, 2, 7),
        answer(THERE, HERE, 1, 6),
        answer(3, HERE, 1, 7),
        answer(THERE, 3, 1, 7),
        request(THERE, HERE, 1),
    ];
    for wrong in wrong {
        transport.send(request(HERE, THERE, 1));
        let refused = wire.take().2.answer(bytes(&wrong));
        assert_eq!(refused, Err(PairedError::NotTheAnswer { to: THERE, id: 1 }), "{wrong:?}");
    }
    assert!(got.envelopes.lock().is_empty() && got.undelivered.lock().is_empty());
}

#[test]
fn what_is_no_request_for_this_member_is_ended_at_once() {
    let (transport, _, got) = started(10);
    let ends = Ends::default();
    let cut = bytes(&request(THERE, HERE, 1)).slice(..20);
    let refused = transport.serve(cut, ends.of(1));
    assert!(matches!(refused, Err(PairedError::Undecodable(WireError::Short { .. }))));
    let refused = transport.serve(bytes(&answer(THERE, HERE, 2, 7)), ends.of(2));
    assert_eq!(refused, Err(PairedError::NotARequest { from: THERE }));
    let refused = transport.serve(bytes(&request(THERE, 3, 3)), ends.of(3));
    assert_eq!(refused, Err(PairedError::WrongMember { to: 3 }));
    assert_eq!(ends.taken(), [(1, false), (2, false), (3, false)]);
    assert!(got.envelopes.lock().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_exchange_that_nobody_answers_ends_in_time() {
    let (transport, _, _) = started(10);
    let ends = Ends::default();
    transport.serve(bytes(&request(THERE, HERE, 1)), ends.of(1)).unwrap();
    tokio::time::advance(WITHIN / 2).await;
    transport.serve(bytes(&request(THERE, HERE, 2)), ends.of(2)).unwrap();
    assert_eq!(ends.taken(), []);
    tokio::time::advance(WITHIN / 2).await;
    transport.send(request(HERE, THERE, 1));
    assert_eq!((ends.taken(), transport.open_exchanges()), (vec![(1, false)], 1));
    // Too late: the answer is dropped, and starts no exchange of its own.
    transport.send(answer(HERE, THERE, 1, 7));
    assert_eq!(ends.taken(), []);
}

#[test]
fn beyond_the_bound_the_oldest_exchange_ends() {
    let (transport, _, _) = started(2);
    let ends = Ends::default();
    for id in 1..=3 {
        transport.serve(bytes(&request(THERE, HERE, id)), ends.of(id)).unwrap();
    }
    assert_eq!((ends.taken(), transport.open_exchanges()), (vec![(1, false)], 2));
}

#[test]
fn a_repeated_request_takes_the_place_of_the_first() {
    let (transport, _, got) = started(10);
    let ends = Ends::default();
    for round in [10, 20] {
        transport.serve(bytes(&request(THERE, HERE, 1)), ends.of(round)).unwrap();
    }
    assert_eq!((ends.taken(), got.envelopes.lock().len()), (vec![(10, false)], 2));
    transport.send(answer(HERE, THERE, 1, 7));
    transport.send(answer(HERE, THERE, 1, 7));
    assert_eq!(ends.taken(), [(20, true)]);
}

#[test]
fn detaching_ends_everything() {
    let (transport, wire, got) = started(10);
    let ends = Ends::default();
    transport.serve(bytes(&request(THERE, HERE, 1)), ends.of(1)).unwrap();
    transport.send(request(HERE, THERE, 8));
    transport.send(request(HERE, THERE, 9));
    transport.detach(THERE);
    assert_eq!(ends.taken(), [], "somebody else was detached");
    got.envelopes.lock().clear();
    transport.detach(HERE);
    assert_eq!(ends.taken(), [(1, false)]);
    wire.take().2.answer(bytes(&answer(THERE, HERE, 8, 7))).unwrap();
    drop(wire.take());
    transport.send(request(HERE, THERE, 10));
    transport.serve(bytes(&request(THERE, HERE, 2)), ends.of(2)).unwrap();
    assert_eq!(ends.taken(), [(2, false)]);
    assert!(wire.0.lock().is_empty());
    assert!(got.envelopes.lock().is_empty() && got.undelivered.lock().is_empty());
}

#[test]
fn a_new_life_inherits_no_exchange() {
    let (transport, wire, first) = started(10);
    let ends = Ends::default();
    transport.serve(bytes(&request(THERE, HERE, 1)), ends.of(1)).unwrap();
    transport.send(request(HERE, THERE, 1));
    let second = Got::default();
    transport.attach(HERE, second.inbox());
    assert_eq!(ends.taken(), [(1, false)]);
    drop(first);
    drop(wire.take());
    assert!(second.undelivered.lock().is_empty());
}
