//! Frames: their content, their encoding in a stream, and the queue to standard output.
//!
//! ```text
//! header length u32 │ body length u32 │ header: a JSON object │ body: raw bytes
//!
//! lengths are big-endian
//! ```

use std::fmt::Display;
use std::io::{self, BufWriter, ErrorKind, Read, Write};
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

const MAX_HEADER_BYTES: u32 = 64 << 10;
const MAX_BODY_BYTES: u32 = 256 << 20;
/// The limit of bytes queued for the harness: beyond it, the harness counts as too slow.
const MAX_WAITING_BYTES: usize = 512 << 20;

/// Frames from the harness. Absent fields are 0 or `false`, unknown ones are ignored.
#[derive(Debug, Deserialize)]
#[serde(tag = "t", rename_all = "snake_case")]
pub enum Told {
    Init(Init),
    Start(Id),
    State(Id),
    Snapshot(Covered),
    CondInstall(Covered),
    Rpc(Id),
    RpcReply(Reply),
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Init {
    pub me: u64,
    pub n: u64,
    pub state: usize,
    pub snap: usize,
    /// If set, a leader does not step down when no quorum answers it.
    pub keep_leading: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Id {
    pub id: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Covered {
    pub id: u64,
    pub index: u64,
    pub term: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Reply {
    pub id: u64,
    pub ok: bool,
}

/// Frames from the peer.
#[derive(Serialize)]
#[serde(tag = "t", rename_all = "snake_case")]
pub enum Said {
    Started {
        id: u64,
        index: u64,
        term: u64,
        leader: bool,
    },
    State {
        id: u64,
        term: u64,
        leader: bool,
    },
    Done {
        id: u64,
        ok: bool,
    },
    Rpc {
        id: u64,
        peer: u64,
    },
    RpcReply {
        id: u64,
        ok: bool,
    },
    Save {
        hdr: usize,
        keep: [usize; 2],
        recs: Vec<usize>,
        /// Absent: the snapshot is unchanged.
        #[serde(skip_serializing_if = "Option::is_none")]
        snap: Option<usize>,
    },
    Apply {
        index: u64,
        term: u64,
    },
    ApplySnapshot {
        index: u64,
        term: u64,
    },
}

/// Reads the next frame; `None` at the end of the input.
pub fn read(input: &mut impl Read) -> Result<Option<(Told, Bytes)>, String> {
    let lengths = up_to(input, 8)?;
    if lengths.is_empty() {
        return Ok(None);
    }
    let [h0, h1, h2, h3, b0, b1, b2, b3] = lengths[..] else { return Err(CUT.into()) };
    let header_bytes = u32::from_be_bytes([h0, h1, h2, h3]);
    let body_bytes = u32::from_be_bytes([b0, b1, b2, b3]);
    if header_bytes > MAX_HEADER_BYTES || body_bytes > MAX_BODY_BYTES {
        return Err(format!("a frame of {header_bytes} and {body_bytes} bytes is too long"));
    }
    let header = exactly(input, header_bytes)?;
    let told = serde_json::from_slice(&header).map_err(|error| format!("a header: {error}"))?;
    Ok(Some((told, exactly(input, body_bytes)?.into())))
}

const CUT: &str = "the input ends inside a frame";

fn exactly(input: &mut impl Read, length: u32) -> Result<Vec<u8>, String> {
    let bytes = up_to(input, length)?;
    if bytes.len() == length as usize { Ok(bytes) } else { Err(CUT.into()) }
}

/// Allocates for the bytes that arrive, not for the claimed length.
fn up_to(input: &mut impl Read, length: u32) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read = input.take(u64::from(length)).read_to_end(&mut bytes);
    read.map_err(|error| format!("the input can't be read: {error}"))?;
    Ok(bytes)
}

/// The queue to standard output, in the order of sending. Sending never waits for the harness.
#[derive(Clone)]
pub struct Output {
    frames: Sender<Vec<u8>>,
    waiting_bytes: Arc<AtomicUsize>,
}

impl Output {
    /// Writes frames to standard output on a separate thread.
    pub fn start() -> io::Result<Output> {
        let (frames, said) = channel();
        let waiting_bytes = Arc::new(AtomicUsize::new(0));
        let written = waiting_bytes.clone();
        thread::Builder::new().name("output".into()).spawn(move || write(&said, &written))?;
        Ok(Output { frames, waiting_bytes })
    }

    pub fn say(&self, said: &Said, body: &[u8]) {
        let header = serde_json::to_vec(said).unwrap_or_else(|error| end(error));
        let mut frame = Vec::with_capacity(8 + header.len() + body.len());
        frame.extend_from_slice(&(header.len() as u32).to_be_bytes());
        frame.extend_from_slice(&(body.len() as u32).to_be_bytes());
        frame.extend_from_slice(&header);
        frame.extend_from_slice(body);
        let waiting = self.waiting_bytes.fetch_add(frame.len(), Ordering::AcqRel) + frame.len();
        if waiting > MAX_WAITING_BYTES {
            end(format!("{waiting} bytes wait to be read from standard output"));
        }
        // Without the writing thread the process is about to exit too.
        let _ = self.frames.send(frame);
    }

    /// Waits until all frames are written, for at most one second.
    pub async fn drained(&self) {
        for _ in 0..100 {
            if self.waiting_bytes.load(Ordering::Acquire) == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn write(said: &Receiver<Vec<u8>>, written: &AtomicUsize) {
    match write_all(said, written) {
        // The reader has closed the pipe: the same as the end of the input.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => process::exit(0),
        Err(error) => end(format!("standard output can't be written: {error}")),
        Ok(()) => {}
    }
}

fn write_all(said: &Receiver<Vec<u8>>, written: &AtomicUsize) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(64 << 10, io::stdout().lock());
    while let Ok(first) = said.recv() {
        let mut bytes = first.len();
        out.write_all(&first)?;
        for frame in said.try_iter().take(1000) {
            bytes += frame.len();
            out.write_all(&frame)?;
        }
        out.flush()?;
        written.fetch_sub(bytes, Ordering::AcqRel);
    }
    Ok(())
}

/// Writes a message for the reader of the test's output.
pub fn note(what: impl Display) {
    // There is no other place to report an error.
    let _ = writeln!(io::stderr(), "stdio_peer: {what}");
}

/// Reports a fatal error and exits.
pub fn end(why: impl Display) -> ! {
    note(why);
    process::exit(2)
}
