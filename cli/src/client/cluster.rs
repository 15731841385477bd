//! Sends a request to members until one answers.
//!
//! Every request here may be sent more than once: reads and opening sessions have no lasting
//! effect, and a command carries its session's number. So a member without an answer is left for
//! the next one, and only a definite answer ends the loop.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::time::Duration;

use awc::error::SendRequestError;
use awc::http::{Method, StatusCode, header};
use tokio::time::Instant;

use crate::addresses::Base;
use crate::asking;
use crate::demo::Failure;

/// The pause after a failed attempt; it doubles up to the longest.
const PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// How long to wait for a member at first; the time doubles after each timeout.
const PATIENCE: Duration = Duration::from_secs(2);

/// Maximum number of redirects in a row: members that redirect to each other do not know the leader
/// yet.
const MAX_REDIRECTS: u32 = 3;

/// Maximum size of an answer. Members answer with less than their `Config::command_bytes`.
const ANSWER_BYTES: usize = 64 << 20;

/// A request to any member.
pub struct Request {
    method: Method,
    path: String,
    headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

impl Request {
    pub fn new(method: Method, path: String) -> Request {
        Request { method, path, headers: Vec::new(), body: Vec::new() }
    }

    pub fn header(&mut self, name: &'static str, value: impl Into<String>) {
        self.headers.push((name, value.into()));
    }
}

/// A member's answer.
pub struct Answer {
    pub status: StatusCode,
    pub body: Vec<u8>,
    /// The session that was opened.
    pub session: Option<String>,
    /// Whether an earlier attempt may have been executed.
    pub after_doubt: bool,
    tag: Option<String>,
    location: Option<String>,
}

impl Answer {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).trim().to_owned()
    }

    /// The key's version.
    pub fn version(&self) -> Option<&str> {
        self.tag.as_deref().map(|tag| tag.trim_matches('"'))
    }

    /// The base URL of a redirect: the location without the request's own path.
    fn elsewhere(&self, request: &Request) -> Option<Base> {
        self.location.as_deref()?.strip_suffix(&request.path)?.parse().ok()
    }
}

/// No definite answer in time.
pub struct Lost {
    /// Whether an attempt may have been executed.
    pub in_doubt: bool,
    pub last: String,
    /// Whether the answer came from a server that is not a member.
    is_strange: bool,
}

impl Lost {
    fn new(in_doubt: bool, last: impl Into<String>) -> Lost {
        Lost { in_doubt, last: last.into(), is_strange: false }
    }

    /// An answer from a server that is not a member.
    fn stranger(status: StatusCode) -> Lost {
        let last = format!(
            "what answers there ({status}) is no quorate member: it sends no header {}",
            asking::NODE
        );
        Lost { is_strange: true, ..Lost::new(asking::may_have_been_handed_on(status), last) }
    }
}

impl From<Lost> for Failure {
    fn from(lost: Lost) -> Failure {
        match lost.is_strange {
            true => Failure(lost.last),
            false => Failure(format!("no member accepted it in time; last answer: {}", lost.last)),
        }
    }
}

/// The members that a client may ask.
pub struct Cluster {
    addresses: Vec<Base>,
    client: awc::Client,
    deadline: Instant,
    /// The address of the last answer: most likely the leader.
    favourite: Cell<Option<Base>>,
}

impl Cluster {
    /// A cluster whose requests give up at `timeout` from now.
    pub fn new(addresses: Vec<Base>, timeout: Duration) -> Cluster {
        let client = awc::Client::builder().disable_redirects().disable_timeout().finish();
        let deadline = Instant::now() + timeout;
        Cluster { addresses, client, deadline, favourite: Cell::new(None) }
    }

    /// Asks until there is a definite answer, or until every address has turned out to be no
    /// member.
    pub async fn ask(&self, request: &Request) -> Result<Answer, Lost> {
        let (mut lost, mut strange) = (Lost::new(false, "none"), BTreeSet::new());
        let (mut pause, mut patience, mut redirects) = (PAUSE, PATIENCE, 0);
        let mut next = self.addresses.iter().cycle();
        let mut target = self.favourite.take().or_else(|| next.next().cloned());
        while let Some(address) = target {
            target = match self.attempt(&address, request, patience).await {
                Ok(answer) if answer.status == StatusCode::TEMPORARY_REDIRECT => {
                    redirects += 1;
                    lost.last = format!("{address}: {}", answer.text());
                    answer.elsewhere(request).filter(|_| redirects <= MAX_REDIRECTS)
                }
                Ok(answer) if is_later(answer.status) => {
                    lost.in_doubt |= answer.status == StatusCode::GATEWAY_TIMEOUT;
                    lost.last = format!("{address}: {}", answer.text());
                    None
                }
                Ok(answer) => {
                    self.favourite.set(Some(address));
                    return Ok(Answer { after_doubt: lost.in_doubt, ..answer });
                }
                Err(error) => {
                    lost.in_doubt |= error.in_doubt;
                    lost.last = format!("{address}: {}", error.last);
                    patience *= if error.in_doubt { 2 } else { 1 };
                    if error.is_strange {
                        strange.insert(address);
                        lost.is_strange = self.addresses.iter().all(|at| strange.contains(at));
                    }
                    if lost.is_strange {
                        break;
                    }
                    None
                }
            };
            if target.is_none() {
                if Instant::now() + pause >= self.deadline {
                    break;
                }
                tokio::time::sleep(pause).await;
                (pause, redirects) = ((pause * 2).min(LONGEST_PAUSE), 0);
                target = next.next().cloned();
            }
        }
        Err(lost)
    }

    /// Asks one member once.
    pub async fn try_once(&self, request: &Request) -> Result<Answer, String> {
        let address = self.favourite.take().or_else(|| self.addresses.first().cloned());
        let address = address.ok_or("no address is given")?;
        self.attempt(&address, request, PATIENCE).await.map_err(|lost| lost.last)
    }

    async fn attempt(
        &self,
        address: &Base,
        request: &Request,
        patience: Duration,
    ) -> Result<Answer, Lost> {
        let until = self.deadline.min(Instant::now() + patience);
        let asked = tokio::time::timeout_at(until, self.send(address, request)).await;
        asked.unwrap_or_else(|_| Err(Lost::new(true, "no answer in time")))
    }

    async fn send(&self, address: &Base, request: &Request) -> Result<Answer, Lost> {
        let mut sent = self.client.request(request.method.clone(), address.url(&request.path));
        for (name, value) in &request.headers {
            sent = sent.insert_header((*name, value.as_str()));
        }
        let mut answer =
            sent.send_body(request.body.clone()).await.map_err(|error| lost(&error))?;
        if !asking::is_from_a_member(answer.headers()) {
            return Err(Lost::stranger(answer.status()));
        }
        let header = |name: &str| Some(answer.headers().get(name)?.to_str().ok()?.to_owned());
        let (tag, location) = (header(header::ETAG.as_str()), header(header::LOCATION.as_str()));
        let session = header("Quorate-Session");
        let body = answer.body().limit(ANSWER_BYTES).await;
        let body = body.map_err(|error| Lost::new(true, error.to_string()))?;
        let (status, body) = (answer.status(), body.to_vec());
        Ok(Answer { status, body, session, after_doubt: false, tag, location })
    }
}

/// A request that was not sent was not executed.
fn lost(error: &SendRequestError) -> Lost {
    Lost::new(asking::may_have_been_sent(error), error.to_string())
}

/// Whether the status means that the member cannot answer now, or that the outcome is unknown.
fn is_later(status: StatusCode) -> bool {
    [StatusCode::SERVICE_UNAVAILABLE, StatusCode::GATEWAY_TIMEOUT].contains(&status)
}
