//! Asking members until one answers.
//!
//! Every request here may be sent more than once: reads and sessions change nothing that matters, and a command carries its
//! session's number. So a silent member is left for the next one, and only a definite answer ends it.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::time::Duration;

use awc::error::SendRequestError;
use awc::http::{Method, StatusCode, header};
use tokio::time::Instant;

use crate::addresses::Base;
use crate::asking;
use crate::demo::Failure;

/// The pause after an attempt that found nobody; doubled up to the longest.
const PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// A silent member is waited for so long at first; twice as long each further time.
const PATIENCE: Duration = Duration::from_secs(2);

/// Redirects in a row; members that send each other's clients around do not know yet who leads.
const MAX_REDIRECTS: u32 = 3;

/// An answer is read up to this. Members answer with less than their `Config::command_bytes`.
const ANSWER_BYTES: usize = 64 << 20;

/// What is asked.
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

/// What was answered.
pub struct Answer {
    pub status: StatusCode,
    pub body: Vec<u8>,
    /// The session that was opened.
    pub session: Option<String>,
    /// An earlier attempt may have been executed.
    pub after_doubt: bool,
    tag: Option<String>,
    location: Option<String>,
}

impl Answer {
    /// The body, to be read.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).trim().to_owned()
    }

    /// The key's version.
    pub fn version(&self) -> Option<&str> {
        self.tag.as_deref().map(|tag| tag.trim_matches('"'))
    }

    /// Where a redirect leads: what stands before the request's own path.
    fn elsewhere(&self, request: &Request) -> Option<Base> {
        self.location.as_deref()?.strip_suffix(&request.path)?.parse().ok()
    }
}

/// No definite answer in time.
pub struct Lost {
    /// An attempt may have been executed.
    pub in_doubt: bool,
    pub last: String,
    /// What answered is no member.
    is_strange: bool,
}

impl Lost {
    fn new(in_doubt: bool, last: impl Into<String>) -> Lost {
        Lost { in_doubt, last: last.into(), is_strange: false }
    }

    /// Something answered, and it is no member.
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
            false => Failure(format!("nobody took it in time; last answer: {}", lost.last)),
        }
    }
}

/// Members that may be asked.
pub struct Cluster {
    addresses: Vec<Base>,
    client: awc::Client,
    deadline: Instant,
    /// Where the last answer came from: most likely the leader.
    favourite: Cell<Option<Base>>,
}

impl Cluster {
    /// Gives up at `timeout` from now.
    pub fn new(addresses: Vec<Base>, timeout: Duration) -> Cluster {
        let client = awc::Client::builder().disable_redirects().disable_timeout().finish();
        let deadline = Instant::now() + timeout;
        Cluster { addresses, client, deadline, favourite: Cell::new(None) }
    }

    /// Asks until there is a definite answer, or no member is behind any of the addresses.
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

    /// Asks one member, once.
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

/// What was not sent was not executed.
fn lost(error: &SendRequestError) -> Lost {
    Lost::new(asking::may_have_been_sent(error), error.to_string())
}

/// Not now, or not known.
fn is_later(status: StatusCode) -> bool {
    [StatusCode::SERVICE_UNAVAILABLE, StatusCode::GATEWAY_TIMEOUT].contains(&status)
}
