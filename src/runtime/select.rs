//! Two futures at once, until the first is done.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

/// The value of the future that ends first. The other one is dropped. `a` is polled first.
pub(crate) async fn select<T>(a: impl Future<Output = T>, b: impl Future<Output = T>) -> T {
    let (mut a, mut b) = (pin!(a), pin!(b));
    poll_fn(|cx| match a.as_mut().poll(cx) {
        Poll::Ready(value) => Poll::Ready(value),
        Poll::Pending => b.as_mut().poll(cx),
    })
    .await
}
