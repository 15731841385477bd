//! Polls two futures until the first of them completes.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

/// Returns the value of the future that completes first and drops the other one. `a` is polled
/// first.
pub(crate) async fn select<T>(a: impl Future<Output = T>, b: impl Future<Output = T>) -> T {
    let (mut a, mut b) = (pin!(a), pin!(b));
    poll_fn(|cx| match a.as_mut().poll(cx) {
        Poll::Ready(value) => Poll::Ready(value),
        Poll::Pending => b.as_mut().poll(cx),
    })
    .await
}
