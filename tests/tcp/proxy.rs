//! A wire that can be disturbed: it stands between a caller and a member, and knows the lanes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

use crate::raw::CHUNKS;

/// What is wrong with the wire.
#[derive(Default)]
pub struct Trouble {
    /// Nothing passes on the lane for pieces.
    pub chunks_held: AtomicBool,
    /// Bytes per 10 ms on the lane for pieces; 0: as they come.
    pub chunks_per_10_ms: AtomicU64,
    /// After so many bytes the main lane breaks, once.
    pub cut_main_after: AtomicU64,
    /// Nothing passes, and nobody is told.
    pub dead: AtomicBool,
    /// How often it broke.
    pub cuts: AtomicU64,
    /// Bytes of pieces that passed.
    pub chunk_bytes: AtomicU64,
}

pub struct Proxy {
    pub address: SocketAddr,
    pub trouble: Arc<Trouble>,
}

impl Proxy {
    pub async fn start(target: SocketAddr) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let trouble = Arc::new(Trouble::default());
        let shared = Arc::clone(&trouble);
        tokio::spawn(async move {
            while let Ok((caller, _)) = listener.accept().await {
                tokio::spawn(carry(caller, target, Arc::clone(&shared)));
            }
        });
        Proxy { address, trouble }
    }
}

async fn carry(mut caller: TcpStream, target: SocketAddr, trouble: Arc<Trouble>) {
    let mut hello = [0; 72];
    let Ok(_) = caller.read_exact(&mut hello).await else { return };
    let Ok(mut called) = TcpStream::connect(target).await else { return };
    let Ok(()) = called.write_all(&hello).await else { return };
    let chunks = hello[12] == CHUNKS;
    let (from_caller, to_caller) = caller.into_split();
    let (from_called, to_called) = called.into_split();
    let back = Arc::clone(&trouble);
    tokio::spawn(async move { pass(from_called, to_caller, |_| allowed(&back)).await });
    if chunks {
        forward_chunks(from_caller, to_called, &trouble).await;
    } else {
        pass(from_caller, to_called, |bytes| allowed(&trouble) && !cut(&trouble, bytes)).await;
    }
}

fn allowed(trouble: &Trouble) -> bool {
    !trouble.dead.load(Ordering::Relaxed)
}

/// Whether the wire breaks with these bytes.
fn cut(trouble: &Trouble, bytes: usize) -> bool {
    let left = trouble.cut_main_after.load(Ordering::Relaxed);
    let rest = left.saturating_sub(bytes as u64);
    trouble.cut_main_after.store(rest, Ordering::Relaxed);
    let breaks = left > 0 && rest == 0;
    trouble.cuts.fetch_add(u64::from(breaks), Ordering::Relaxed);
    breaks
}

/// Passes on what comes, in small pieces, for as long as `on` says so; a dead wire swallows.
async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, on: impl Fn(usize) -> bool) {
    let mut piece = [0; 37];
    while let Ok(bytes @ 1..) = from.read(&mut piece).await {
        if !on(bytes) {
            // Half a piece, so that a frame is cut wherever it is.
            let _ = to.write_all(&piece[..bytes / 2]).await;
            return;
        }
        if to.write_all(&piece[..bytes]).await.is_err() {
            return;
        }
    }
}

async fn forward_chunks(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, trouble: &Trouble) {
    let mut piece = vec![0; 64 << 10];
    loop {
        while trouble.chunks_held.load(Ordering::Relaxed) {
            sleep(Duration::from_millis(1)).await;
        }
        let rate = trouble.chunks_per_10_ms.load(Ordering::Relaxed) as usize;
        let most = if rate == 0 { piece.len() } else { rate };
        let Ok(bytes @ 1..) = from.read(&mut piece[..most]).await else { return };
        if rate > 0 {
            sleep(Duration::from_millis(10)).await;
        }
        if to.write_all(&piece[..bytes]).await.is_err() {
            return;
        }
        trouble.chunk_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}
