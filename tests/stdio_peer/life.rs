//! One process: from its start to its death.

use std::fs;
use std::io::{BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::Sender;
use std::thread;
use std::time::SystemTime;

use serde_json::Value;

use crate::frames::{Frame, encode, read};

/// What a process said, or (`None`) that it will say nothing more.
pub struct Event {
    pub peer: usize,
    pub life: u64,
    pub frame: Option<Frame>,
}

/// A running process.
pub struct Life {
    pub number: u64,
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Life {
    pub fn start(peer: usize, number: u64, events: Sender<Event>) -> Life {
        let mut child = command().stderr(Stdio::inherit()).spawn().expect("the peer starts");
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take().expect("piped"));
        let listen = move || {
            let mut stdout = BufReader::new(stdout);
            loop {
                let frame = read(&mut stdout);
                let ended = frame.is_none();
                if events.send(Event { peer, life: number, frame }).is_err() || ended {
                    return;
                }
            }
        };
        thread::Builder::new().spawn(listen).expect("a thread");
        Life { number, child, stdin }
    }

    pub fn say(&mut self, header: &Value, body: &[u8]) {
        let stdin = self.stdin.as_mut().expect("an open input");
        // A peer that has died is noticed at its output.
        let _ = stdin.write_all(&encode(header, body)).and_then(|()| stdin.flush());
    }

    /// Closes its input; returns how it ends.
    pub fn let_end(mut self) -> Option<i32> {
        drop(self.stdin.take());
        self.child.wait().expect("waited").code()
    }
}

/// SIGKILL, whatever it is doing.
impl Drop for Life {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The peer's program, with all its ends in our hands.
pub fn command() -> Command {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    let mut command = Command::new(PROGRAM.get_or_init(program));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// `cargo test` builds it before this runs; `cargo test --test stdio_peer` does not, so it is done here.
fn program() -> PathBuf {
    let test = std::env::current_exe().expect("this test's path");
    let profile = test.ancestors().nth(2).expect("target/profile/deps/test");
    let program =
        profile.join("examples").join(format!("stdio_peer{}", std::env::consts::EXE_SUFFIX));
    if !is_current(&program) {
        build(profile);
    }
    assert!(program.exists(), "build it first: cargo build --example stdio_peer ({program:?})");
    program
}

fn is_current(program: &Path) -> bool {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let built = fs::metadata(program).and_then(|meta| meta.modified()).ok();
    let changed = ["src", "examples"].map(|folder| newest(&root.join(folder)));
    built.is_some_and(|built| changed.iter().all(|changed| *changed <= built))
}

fn newest(folder: &Path) -> SystemTime {
    let items = fs::read_dir(folder).into_iter().flatten().flatten();
    let times = items.map(|item| match item.file_type() {
        Ok(kind) if kind.is_dir() => newest(&item.path()),
        _ => item.metadata().and_then(|meta| meta.modified()).unwrap_or(SystemTime::UNIX_EPOCH),
    });
    times.max().unwrap_or(SystemTime::UNIX_EPOCH)
}

fn build(profile: &Path) {
    let name = profile.file_name().and_then(|name| name.to_str()).unwrap_or("debug");
    let profile_name = if name == "debug" { "dev" } else { name };
    let cargo = std::env::var_os("CARGO").unwrap_or("cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--quiet", "--example", "stdio_peer", "--profile", profile_name])
        .arg("--target-dir")
        .arg(profile.parent().expect("a target folder"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status();
    if !built.as_ref().is_ok_and(|status| status.success()) {
        eprintln!("cargo build --example stdio_peer: {built:?}");
    }
}
