//! Clients that write and read while members fail, and remember what they saw.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::history::{Kind, Operation};
use super::http::{Answer, Http};

pub const KEYS: usize = 5;

/// A silent member is left for the next one after this.
const PATIENCE: Duration = Duration::from_secs(1);

/// Values have about so many bytes: a log is soon so long that a snapshot is needed.
const PADDING: usize = 600;

/// What all clients share.
pub struct Load {
    addresses: Vec<String>,
    begun: Instant,
    ended: AtomicBool,
    history: Mutex<Vec<Operation>>,
}

impl Load {
    pub fn new(addresses: Vec<String>) -> Load {
        let history = Mutex::default();
        Load { addresses, begun: Instant::now(), ended: AtomicBool::new(false), history }
    }

    /// Has all clients end soon.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }

    fn goes_on(&self) -> bool {
        !self.ended.load(Ordering::Relaxed)
    }

    pub fn history(&self) -> Vec<Operation> {
        self.history.lock().unwrap().clone()
    }

    fn now(&self) -> u64 {
        self.begun.elapsed().as_micros() as u64
    }
}

/// One client. With a session its writes are repeated until they are acknowledged; without, a write that was not answered
/// stays in doubt.
pub struct Client<'a> {
    load: &'a Load,
    id: usize,
    http: Http,
    target: String,
    session: Option<String>,
    sequence: u64,
    random: u64,
}

impl<'a> Client<'a> {
    pub fn new(load: &'a Load, id: usize, seed: u64) -> Client<'a> {
        let target = load.addresses[id % load.addresses.len()].clone();
        let random = ((seed << 8) + id as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Client { load, id, http: Http::new(PATIENCE), target, session: None, sequence: 0, random }
    }

    /// Writes and reads until the load ends.
    pub fn run(&mut self, with_session: bool) {
        if with_session {
            self.open_session();
        }
        while self.load.goes_on() {
            let key = self.chance(KEYS);
            match self.chance(3) {
                0 => self.write(key),
                _ => self.read(key),
            }
        }
    }

    /// Reads every key once, when the load has ended.
    pub fn read_all(&mut self) {
        (0..KEYS).for_each(|key| self.read(key));
    }

    fn open_session(&mut self) {
        let opened = self.until_answered("POST /sessions", &[], &[]);
        self.session = Some(opened.header("quorate-session").unwrap().to_owned());
    }

    fn write(&mut self, key: usize) {
        self.sequence += 1;
        let value = format!("{}.{}", self.id, self.sequence);
        let padded = format!("{value:<PADDING$}");
        let (request, began) = (format!("PUT /kv/key{key}"), self.load.now());
        let version = match self.session.clone() {
            Some(session) => {
                let sequence = ("Quorate-Sequence", self.sequence.to_string());
                let headers = [("Quorate-Session", session), sequence];
                Some(self.until_answered(&request, &headers, padded.as_bytes()))
            }
            None => self.ask(&request, &[], padded.as_bytes()),
        };
        let version = version.map(|answer| {
            assert_eq!(answer.status, 204, "{}", answer.text());
            answer.version()
        });
        self.note(key, &value, Kind::Write(version), began);
    }

    fn read(&mut self, key: usize) {
        // Any member may be asked; who does not lead says where to go.
        self.target = self.load.addresses[self.chance(self.load.addresses.len())].clone();
        loop {
            let began = self.load.now();
            let Some(answer) = self.ask(&format!("GET /kv/key{key}"), &[], &[]) else { continue };
            assert!([200, 404].contains(&answer.status), "{}: {}", answer.status, answer.text());
            let value = if answer.status == 200 { answer.text() } else { String::new() };
            return self.note(key, value.trim_end(), Kind::Read(answer.version()), began);
        }
    }

    fn note(&self, key: usize, value: &str, kind: Kind, began: u64) {
        let (key, value, ended) = (format!("key{key}"), value.to_owned(), self.load.now());
        let operation = Operation { client: self.id, key, value, kind, began, ended };
        self.load.history.lock().unwrap().push(operation);
    }

    fn until_answered(&mut self, request: &str, headers: &[(&str, String)], body: &[u8]) -> Answer {
        let begun = Instant::now();
        loop {
            if let Some(answer) = self.ask(request, headers, body) {
                return answer;
            }
            assert!(begun.elapsed() < super::members::PATIENCE, "nobody answers {request}");
        }
    }

    /// Asks once, whoever leads. `None`: nobody knows what came of it, or nobody took it; the next member is tried next.
    fn ask(&mut self, request: &str, headers: &[(&str, String)], body: &[u8]) -> Option<Answer> {
        for _ in 0..3 {
            let answer = self.http.ask(&self.target, request, headers, body);
            match answer {
                Ok(answer) if answer.status == 307 => {
                    let location = answer.header("location").unwrap();
                    let address = location.strip_prefix("http://").unwrap().split('/').next();
                    self.target = address.unwrap().to_owned();
                }
                // 408: a member that was stopped comes back to a connection whose time is over.
                Ok(answer) if ![408, 503, 504].contains(&answer.status) => return Some(answer),
                _ => break,
            }
        }
        self.target = self.load.addresses[self.chance(self.load.addresses.len())].clone();
        std::thread::sleep(Duration::from_millis(10));
        None
    }

    fn chance(&mut self, of: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 33) as usize % of
    }
}
