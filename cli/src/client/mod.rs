//! `quorate get | put | del | status | snapshot`: a client of running members.
//!
//! A put or a del opens a session first. So a command in doubt is sent again with the same number,
//! to whichever member leads, and is executed once. The exit status is the result:
//!
//! | status | |
//! |---|---|
//! | 0 | done |
//! | 1 | the answer is negative: no such key, another version |
//! | 2 | not done: no answer in time, wrong use, refused |
//! | 3 | unknown: it may have been executed |

use std::collections::BTreeSet;
use std::io::{IsTerminal, Read, Write};
use std::time::Duration;

use awc::http::{Method, StatusCode};

mod cluster;

use crate::addresses::Base;
use crate::demo::{Failure, Span};
use crate::keys::{self, MAX_KEY_BYTES};
use crate::numbers::shown;
use cluster::{Answer, Cluster, Request};

/// The exit status of a negative answer.
const NO: u8 = 1;
/// The exit status of an unknown outcome.
const IN_DOUBT: u8 = 3;

/// Whom to ask, and how long.
#[derive(clap::Args, Clone)]
pub struct Members {
    /// Where members serve HTTP; one that is up is enough. A URL with a path, such as
    /// http://HOST:PORT/raft, is where a service has mounted its member: ask that for status and
    /// snapshot
    #[arg(
        long,
        env = "QUORATE_HTTP",
        default_value = "127.0.0.1:8001",
        value_delimiter = ',',
        value_name = "HOST:PORT|URL,.."
    )]
    http: Vec<Base>,
    /// Give up after this
    #[arg(long, default_value = "10s", value_name = "TIME")]
    timeout: Span,
}

/// Options of `quorate get`.
#[derive(clap::Args)]
pub struct Get {
    #[command(flatten)]
    members: Members,
    /// Ask the first member that answers what it has, which may be old
    #[arg(long)]
    local: bool,
    key: String,
}

/// Options of `quorate put`.
#[derive(clap::Args)]
pub struct Put {
    #[command(flatten)]
    members: Members,
    /// Only if the key has this version; 0: only if there is no such key
    #[arg(long, value_name = "N")]
    if_version: Option<u64>,
    key: String,
    /// The value; -: what comes on standard input
    value: String,
}

/// Options of `quorate del`.
#[derive(clap::Args)]
pub struct Del {
    #[command(flatten)]
    members: Members,
    /// Only if the key has this version
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    if_version: Option<u64>,
    key: String,
}

/// Options of `quorate status`.
#[derive(clap::Args)]
pub struct Status {
    #[command(flatten)]
    members: Members,
    /// Everything, one JSON object per member and line
    #[arg(long)]
    json: bool,
}

/// Options of `quorate snapshot`.
#[derive(clap::Args)]
pub struct Snapshot {
    #[command(flatten)]
    members: Members,
}

/// Prints the value of a key.
pub fn get(options: Get) -> Result<u8, Failure> {
    let query = if options.local { "?consistency=local" } else { "" };
    let request = Request::new(Method::GET, path_of(&options.key)? + query);
    block_on(async {
        let cluster = options.members.cluster();
        let answer = cluster.ask(&request).await.map_err(Failure::from)?;
        match answer.status {
            StatusCode::OK => print(&answer.body).map(|()| 0),
            _ => no_or_failure(&answer),
        }
    })
}

/// Writes a value.
pub fn put(options: Put) -> Result<u8, Failure> {
    let mut request = Request::new(Method::PUT, path_of(&options.key)?);
    request.body = match options.value.as_str() {
        "-" => standard_input()?,
        value => value.as_bytes().to_vec(),
    };
    match options.if_version {
        Some(0) => request.header("If-None-Match", "*"),
        Some(version) => request.header("If-Match", format!("\"{version}\"")),
        None => {}
    }
    block_on(change(&options.members, request))
}

/// Removes a key.
pub fn del(options: Del) -> Result<u8, Failure> {
    let mut request = Request::new(Method::DELETE, path_of(&options.key)?);
    if let Some(version) = options.if_version {
        request.header("If-Match", format!("\"{version}\""));
    }
    block_on(change(&options.members, request))
}

/// Prints the status of each named member.
pub fn status(options: Status) -> Result<u8, Failure> {
    each(&options.members, &Request::new(Method::GET, "/status".into()), |address, answer| {
        let text = String::from_utf8_lossy(&answer.body);
        if options.json { text.into_owned() } else { summary(address, &text) }
    })
}

/// Makes each named member take a snapshot.
pub fn snapshot(options: Snapshot) -> Result<u8, Failure> {
    each(&options.members, &Request::new(Method::POST, "/snapshot".into()), |address, answer| {
        format!("{address}: {}", String::from_utf8_lossy(&answer.body).trim())
    })
}

/// Executes a command in a new session.
async fn change(members: &Members, mut request: Request) -> Result<u8, Failure> {
    let cluster = members.cluster();
    let opened = Request::new(Method::POST, "/sessions".into());
    let opened = cluster.ask(&opened).await.map_err(Failure::from)?;
    let session = opened.session.clone().ok_or_else(|| refused(&opened))?;
    request.header("Quorate-Session", &session);
    request.header("Quorate-Sequence", "1");
    let answer = match cluster.ask(&request).await {
        Ok(answer) => answer,
        Err(lost) if lost.in_doubt => return Ok(in_doubt(&lost.last)),
        Err(lost) => return Err(lost.into()),
    };
    // Without closing, the session would expire.
    let closing = Request::new(Method::DELETE, format!("/sessions/{session}"));
    drop(cluster.try_once(&closing).await);
    match answer.status {
        StatusCode::NO_CONTENT => {
            answer.version().iter().for_each(print_line);
            Ok(0)
        }
        // After a doubtful attempt the session may have expired after executing the command.
        StatusCode::GONE if answer.after_doubt => Ok(in_doubt(&answer.text())),
        _ => no_or_failure(&answer),
    }
}

fn in_doubt(last: &str) -> u8 {
    eprintln!("quorate: it may have been executed; last answer: {last}");
    IN_DOUBT
}

fn no_or_failure(answer: &Answer) -> Result<u8, Failure> {
    match answer.status {
        StatusCode::NOT_FOUND | StatusCode::PRECONDITION_FAILED => {
            eprintln!("quorate: {}", answer.text());
            Ok(NO)
        }
        _ => Err(refused(answer)),
    }
}

fn refused(answer: &Answer) -> Failure {
    Failure(format!("{}: {}", answer.status, answer.text()))
}

/// Sends the same request to every member, and prints a line for each answer.
fn each(
    members: &Members,
    request: &Request,
    line: impl Fn(&Base, &Answer) -> String,
) -> Result<u8, Failure> {
    block_on(async {
        let mut status = 0;
        for address in members.addresses() {
            let cluster = Cluster::new(vec![address.clone()], members.timeout.0);
            let (good, text) = match cluster.try_once(request).await {
                Ok(answer) if answer.status.is_success() => (true, line(&address, &answer)),
                Ok(answer) => (false, format!("{address}: {}: {}", answer.status, answer.text())),
                Err(why) => (false, format!("{address}: {why}")),
            };
            print_line(text);
            status = if good { status } else { 2 };
        }
        Ok(status)
    })
}

/// The most important figures, in one line.
fn summary(address: &Base, text: &str) -> String {
    let Ok(status) = serde_json::from_str::<serde_json::Value>(text) else {
        return format!("{address}: not a status: {text}");
    };
    let raft = &status["raft"];
    let role = raft["role"].as_str().unwrap_or("?").to_lowercase();
    format!(
        "{address}: member {}, {role}, term {}, leader {}, committed {}, applied {}, snapshot at {}, log of {} bytes",
        status["node"],
        shown(&raft["term"]),
        shown(&raft["leader"]),
        shown(&raft["commit"]),
        shown(&raft["applied"]),
        shown(&raft["snapshot"]["index"]),
        shown(&raft["log_bytes"]),
    )
}

impl Members {
    /// The distinct addresses, in the order given.
    fn addresses(&self) -> Vec<Base> {
        let mut seen = BTreeSet::new();
        self.http.iter().filter(|address| seen.insert(*address)).cloned().collect()
    }

    fn cluster(&self) -> Cluster {
        Cluster::new(self.addresses(), self.timeout.0.max(Duration::from_millis(1)))
    }
}

fn path_of(key: &str) -> Result<String, Failure> {
    match key.len() {
        0 => Err(Failure("the key is empty".into())),
        length if length > MAX_KEY_BYTES => {
            Err(Failure(format!("the key has {length} bytes; {MAX_KEY_BYTES} is the most")))
        }
        _ => Ok(keys::to_path(key.as_bytes())),
    }
}

fn standard_input() -> Result<Vec<u8>, Failure> {
    let mut value = Vec::new();
    let read = std::io::stdin().read_to_end(&mut value);
    read.map_err(|error| Failure(format!("standard input: {error}")))?;
    Ok(value)
}

/// Writes the bytes unchanged; on a terminal, adds a line end.
fn print(value: &[u8]) -> Result<(), Failure> {
    let mut out = std::io::stdout();
    let ends = out.is_terminal() && !value.ends_with(b"\n");
    let written =
        out.write_all(value).and_then(|()| if ends { out.write_all(b"\n") } else { Ok(()) });
    written.and_then(|()| out.flush()).map_err(|error| Failure(format!("standard output: {error}")))
}

fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    actix_rt::System::new().block_on(work)
}

/// Prints a line. A reader that has closed the pipe has seen enough.
fn print_line(line: impl std::fmt::Display) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
