//! How a transport learns that an envelope has been handled.

use std::fmt;
use std::sync::Arc;

/// Hears what has been handled.
pub trait Taken: Send + Sync + 'static {
    /// Something that was handed in with a receipt over `cost` has been handled, or never will be. Called from any thread,
    /// in the middle of the member's work: it may count and wake, nothing more.
    fn taken(&self, cost: usize);
}

/// Comes with an envelope and is dropped when the envelope has been handled.
#[derive(Default)]
pub struct Receipt {
    to: Option<Arc<dyn Taken>>,
    cost: usize,
}

impl Receipt {
    /// A receipt over `cost`, in whatever `to` counts.
    pub fn new(to: Arc<dyn Taken>, cost: usize) -> Receipt {
        Receipt { to: Some(to), cost }
    }

    /// A receipt that nobody waits for.
    pub fn none() -> Receipt {
        Receipt::default()
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        if let Some(to) = self.to.take() {
            to.taken(self.cost);
        }
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Receipt({})", self.cost)
    }
}
