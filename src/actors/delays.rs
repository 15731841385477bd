//! Delays put into a node's slow work on purpose, to show and to test that nothing else waits for it.
//!
//! On a real executor a delay blocks that executor's thread, on a virtual executor it is charged to its clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What a node's slow work takes on top of its own time. NodeContext: a clone changes the same node's delays.
#[derive(Clone, Debug, Default)]
pub struct Delays(Arc<Cells>);

#[derive(Debug, Default)]
struct Cells {
    decode: Delay,
    encode: Delay,
    apply: Delay,
    fsync: Delay,
    read: Delay,
}

#[derive(Debug, Default)]
struct Delay(AtomicU64);

impl Delay {
    fn get(&self) -> Duration {
        Duration::from_micros(self.0.load(Ordering::Relaxed))
    }

    fn set(&self, delay: Duration) {
        self.0.store(delay.as_micros() as u64, Ordering::Relaxed);
    }
}

macro_rules! delays {
    ($($(#[$doc:meta])* $get:ident $set:ident;)*) => {
        impl Delays {
            $(
                $(#[$doc])*
                pub fn $get(&self) -> Duration {
                    self.0.$get.get()
                }

                $(#[$doc])*
                pub fn $set(&self, delay: Duration) {
                    self.0.$get.set(delay);
                }
            )*
        }
    };
}

delays! {
    /// For each snapshot decoded.
    decode set_decode;
    /// For each snapshot encoded.
    encode set_encode;
    /// For each batch of entries applied.
    apply set_apply;
    /// For each durable step of the log.
    fsync set_fsync;
    /// For each read of old entries or of a piece of a snapshot.
    read set_read;
}

impl Delays {
    /// No delays any more.
    pub fn clear(&self) {
        for delay in [&self.0.decode, &self.0.encode, &self.0.apply, &self.0.fsync, &self.0.read] {
            delay.set(Duration::ZERO);
        }
    }
}
