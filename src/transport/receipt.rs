//! How a transport is notified that an envelope has been handled.

use std::fmt;
use std::sync::Arc;

/// Is notified when an envelope has been handled.
pub trait Taken: Send + Sync + 'static {
    /// An envelope delivered with a receipt of `cost` has been handled, or never will be. Called
    /// from any thread, in the middle of the member's work: it may count and wake, nothing more.
    fn taken(&self, cost: usize);
}

/// Accompanies an envelope and is dropped when the envelope has been handled.
#[derive(Default)]
pub struct Receipt {
    to: Option<Arc<dyn Taken>>,
    cost: usize,
}

impl Receipt {
    /// A receipt of `cost`, in the unit that `to` counts.
    pub fn new(to: Arc<dyn Taken>, cost: usize) -> Receipt {
        Receipt { to: Some(to), cost }
    }

    /// A receipt without a recipient: dropping it notifies nothing.
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
