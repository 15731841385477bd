//! Members as processes, each with its directory; what is left of them ends with the test.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::http::Http;

/// What takes longer than this does not happen.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The cluster.
pub struct Members {
    directory: tempfile::TempDir,
    options: Vec<String>,
    environment: Vec<(String, String)>,
    /// So many files and connections may each have open, if that is limited.
    descriptors: Option<u32>,
    peers: Vec<u16>,
    http: Vec<u16>,
    http_peers: String,
    running: Vec<Option<Child>>,
}

impl Members {
    /// Starts `count` members, with `options` beside the usual ones.
    pub fn start(count: usize, options: &[&str]) -> Members {
        Members::prepared(count, options).started()
    }

    /// The same, with this in the environment of each.
    pub fn start_with_log(count: usize, options: &[&str], log: &str) -> Members {
        let mut members = Members::prepared(count, options);
        members.environment.push(("QUORATE_LOG".to_owned(), log.to_owned()));
        members.started()
    }

    /// The same, with another table of where members serve HTTP than the true one.
    pub fn start_with_http_peers(count: usize, options: &[&str], http_peers: &str) -> Members {
        let mut members = Members::prepared(count, options);
        members.http_peers = http_peers.to_owned();
        members.started()
    }

    /// The same, each with at most so many files and connections open.
    pub fn start_limited(count: usize, descriptors: u32, options: &[&str]) -> Members {
        let mut members = Members::prepared(count, options);
        members.descriptors = Some(descriptors);
        members.started()
    }

    fn prepared(count: usize, options: &[&str]) -> Members {
        let mut ports = free_ports(2 * count);
        let http = ports.split_off(count);
        Members {
            directory: tempfile::tempdir().unwrap(),
            options: options.iter().map(|&option| option.to_owned()).collect(),
            environment: Vec::new(),
            descriptors: None,
            peers: ports,
            http_peers: table(&http),
            http,
            running: (0..count).map(|_| None).collect(),
        }
    }

    fn started(mut self) -> Members {
        (1..=self.http.len()).for_each(|id| self.restart(id));
        self
    }

    /// Where the member serves HTTP. Ids begin with 1.
    pub fn http(&self, id: usize) -> String {
        format!("127.0.0.1:{}", self.http[id - 1])
    }

    /// Where all of them do.
    pub fn all_http(&self) -> Vec<String> {
        (1..=self.http.len()).map(|id| self.http(id)).collect()
    }

    /// The member's directory.
    pub fn data(&self, id: usize) -> PathBuf {
        self.directory.path().join(id.to_string())
    }

    /// The command line of the member.
    pub fn command(&self, id: usize) -> Command {
        let mut command = match self.descriptors {
            None => quorate(),
            Some(descriptors) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", &format!("ulimit -n {descriptors}; exec \"$0\" \"$@\"")]);
                shell.arg(quorate().get_program());
                shell
            }
        };
        command.arg("serve").args(["--id", &id.to_string()]);
        command.args(["--peers", &table(&self.peers), "--http-peers", &self.http_peers]);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.args(["--http", &self.http(id)]).args(&self.options);
        command.arg("--data-dir").arg(self.data(id));
        command
    }

    /// Starts the member and waits until it says that it serves.
    pub fn restart(&mut self, id: usize) {
        let log = std::fs::File::options().create(true).append(true).open(self.log(id)).unwrap();
        let mut child =
            self.command(id).stdout(Stdio::piped()).stderr(Stdio::from(log)).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.contains(&format!("member {id} ")), "it said {line:?}; {}", self.said(id));
        self.running[id - 1] = Some(child);
    }

    /// `kill -9`.
    pub fn kill(&mut self, id: usize) {
        let mut child = self.running[id - 1].take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Asks the member to end; its exit status.
    pub fn terminate(&mut self, id: usize) -> Option<i32> {
        self.signal(id, "-TERM");
        self.running[id - 1].take().unwrap().wait().unwrap().code()
    }

    /// Sends a signal: `-STOP`, `-CONT`.
    pub fn signal(&self, id: usize, signal: &str) {
        let child = self.running[id - 1].as_ref().unwrap();
        let sent = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// The member's status, unless it does not answer.
    pub fn status(&self, id: usize) -> Option<Value> {
        let answer =
            Http::new(Duration::from_secs(1)).ask(&self.http(id), "GET /status", &[], &[]).ok()?;
        serde_json::from_slice(&answer.body).ok()
    }

    /// Who leads, by the word of the leader of the highest term among those that answer, `without` left out.
    pub fn leader(&self, without: usize) -> Option<(usize, Value)> {
        let ids = (1..=self.http.len()).filter(|&id| id != without);
        let leaders = ids.filter_map(|id| Some((id, self.status(id)?)));
        leaders
            .filter(|(_, status)| status["raft"]["role"] == "Leader")
            .max_by_key(|(_, status)| status["raft"]["term"].as_u64())
    }

    /// Waits until `seen` sees something.
    pub fn until<T>(&self, what: &str, mut seen: impl FnMut(&Members) -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            if let Some(seen) = seen(self) {
                return seen;
            }
            if begun.elapsed() > PATIENCE {
                let all: Vec<_> = (1..=self.http.len())
                    .map(|id| format!("{id}: {:?}\n{}", self.status(id), self.said(id)))
                    .collect();
                panic!("waited in vain until {what}\n{}", all.join("\n"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What the member has written to standard error.
    pub fn said(&self, id: usize) -> String {
        std::fs::read_to_string(self.log(id)).unwrap_or_default()
    }

    fn log(&self, id: usize) -> PathBuf {
        self.directory.path().join(format!("{id}.log"))
    }
}

impl Drop for Members {
    fn drop(&mut self) {
        for child in self.running.iter_mut().flatten() {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// The program.
pub fn quorate() -> Command {
    Command::new(env!("CARGO_BIN_EXE_quorate"))
}

/// Runs the program as a client of these members.
pub fn run(args: &[&str], addresses: &[String]) -> Output {
    quorate().args(args).env("QUORATE_HTTP", addresses.join(",")).output().unwrap()
}

fn table(ports: &[u16]) -> String {
    let member = |(id, port)| format!("{id}=127.0.0.1:{port}");
    (1..).zip(ports).map(member).collect::<Vec<_>>().join(",")
}

/// Ports that are free now, from below those that systems give to outgoing connections: a member that is down for a while
/// would lose its port to one of those. Each is given once, so that tests beside each other do not meet. Nobody listens there
/// even for the moment of the question: a process that another test starts just then would hold the listener until it has
/// begun.
fn free_ports(count: usize) -> Vec<u16> {
    static GIVEN: AtomicU16 = AtomicU16::new(0);
    let first = (std::process::id() % 120) as u16 * 100;
    let next = || 20_000 + (first + GIVEN.fetch_add(1, Ordering::Relaxed)) % 12_000;
    let candidates = std::iter::repeat_with(next).take(12_000);
    let free = candidates.filter(|&port| TcpStream::connect(("127.0.0.1", port)).is_err());
    let ports: Vec<_> = free.take(count).collect();
    assert_eq!(ports.len(), count, "there are not enough free ports");
    ports
}
