//! Artificial delays of a node's slow work, to demonstrate and test that nothing else waits for it.
//!
//! On a real executor a delay blocks that executor's thread; on a virtual executor it is charged to
//! its busy clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How long a node's slow work takes on top of its own time. Shared: a clone changes the delays of
/// the same node.
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
    /// The delay of each decoding of a snapshot.
    decode set_decode;
    /// The delay of each encoding of a snapshot.
    encode set_encode;
    /// The delay of each batch of applied entries.
    apply set_apply;
    /// The delay of each durable write of the log.
    fsync set_fsync;
    /// The delay of each read of old entries or of a chunk of a snapshot.
    read set_read;
}

impl Delays {
    /// Sets all delays to zero.
    pub fn clear(&self) {
        for delay in [&self.0.decode, &self.0.encode, &self.0.apply, &self.0.fsync, &self.0.read] {
            delay.set(Duration::ZERO);
        }
    }
}
