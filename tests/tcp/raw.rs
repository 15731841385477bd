//! Bytes by hand: what `docs/wire.md` says, written down a second time, so that it does not agree with the code by
//! construction.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::CLUSTER;

pub const MAGIC: &[u8; 8] = b"QRTWIRE\n";
pub const MAIN: u8 = 0;
pub const CHUNKS: u8 = 1;

/// What a caller says first.
#[derive(Clone, Copy)]
pub struct Hello {
    pub length: u16,
    pub versions: [u8; 2],
    pub lane: u8,
    pub cluster: u64,
    pub from: u64,
    pub to: u64,
    pub incarnation: u64,
}

impl Hello {
    /// One that is accepted, if the members know each other.
    pub fn new(from: u64, to: u64) -> Hello {
        Hello {
            length: 72,
            versions: [1, 1],
            lane: MAIN,
            cluster: CLUSTER,
            from,
            to,
            incarnation: 1,
        }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(self.length.to_le_bytes());
        bytes.extend([self.versions[0], self.versions[1], self.lane, 0, 0, 0]);
        for number in [self.cluster, 0, self.from, self.to, self.incarnation, 0, 0] {
            bytes.extend(number.to_le_bytes());
        }
        bytes
    }
}

/// What comes back to a hello.
#[derive(Debug)]
pub struct Reply {
    pub code: u8,
    pub limit: u64,
    pub text: String,
}

/// A connection with nothing of ours on this end.
pub struct Raw(pub TcpStream);

impl Raw {
    pub async fn dial(address: SocketAddr) -> Raw {
        Raw(TcpStream::connect(address).await.expect("the port is open"))
    }

    /// Connects and is accepted.
    pub async fn enter(address: SocketAddr, hello: Hello) -> (Raw, u64) {
        let mut raw = Raw::dial(address).await;
        raw.say(&hello.bytes()).await;
        let reply = raw.reply().await;
        assert_eq!(reply.code, 0, "{reply:?}");
        (raw, reply.limit)
    }

    /// Writes; an end that is closed already takes nothing.
    pub async fn say(&mut self, bytes: &[u8]) -> bool {
        self.0.write_all(bytes).await.is_ok()
    }

    pub async fn say_frame(&mut self, frame: &[u8]) -> bool {
        let mut bytes = (frame.len() as u32).to_le_bytes().to_vec();
        bytes.extend_from_slice(frame);
        self.say(&bytes).await
    }

    pub async fn reply(&mut self) -> Reply {
        let read = async {
            let mut head = [0; 10];
            self.0.read_exact(&mut head).await.expect("a reply");
            assert_eq!(&head[..8], MAGIC);
            let mut rest = vec![0; usize::from(u16::from_le_bytes([head[8], head[9]])) - 10];
            self.0.read_exact(&mut rest).await.expect("a whole reply");
            let limit = u64::from_le_bytes(rest[14..22].try_into().expect("8 bytes"));
            let text = String::from_utf8(rest[30..].to_vec()).expect("text");
            Reply { code: rest[0], limit, text }
        };
        timeout(Duration::from_secs(10), read).await.expect("a reply in time")
    }

    /// Reads past limits up to the word that ends the connection.
    pub async fn last_word(&mut self) -> Reply {
        let read = async {
            loop {
                match self.0.read_u8().await.expect("a last word") {
                    0 => drop(self.0.read_u64_le().await.expect("a limit")),
                    1 => return self.reply().await,
                    other => panic!("a record that begins with {other}"),
                }
            }
        };
        timeout(Duration::from_secs(10), read).await.expect("a last word in time")
    }

    /// Waits until the other end has closed, whatever it says before.
    pub async fn closed(&mut self) {
        let mut scrap = [0; 1024];
        let read = async { while !matches!(self.0.read(&mut scrap).await, Ok(0) | Err(_)) {} };
        timeout(Duration::from_secs(10), read).await.expect("closed in time");
    }
}
