//! Two things at once, until the first is done.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

/// What the first of the two to end comes to; the other is dropped where it is. `a` is looked at first.
pub(crate) async fn race<T>(a: impl Future<Output = T>, b: impl Future<Output = T>) -> T {
    let (mut a, mut b) = (pin!(a), pin!(b));
    poll_fn(|cx| match a.as_mut().poll(cx) {
        Poll::Ready(value) => Poll::Ready(value),
        Poll::Pending => b.as_mut().poll(cx),
    })
    .await
}
