//! Request bodies within limits.
//!
//! A body is read up to the limit of one body, and all bodies of the process share a budget: a body
//! that does not fit is answered "later" before it costs memory. Budget is taken as bytes arrive,
//! not for the announced length, and a body that does not arrive completely releases its budget.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actix_web::error::PayloadError;
use actix_web::web::{Bytes, BytesMut, Payload};
use actix_web::{HttpRequest, http::header};
use futures_core::Stream;
use tokio::time::timeout;

use super::answers::Problem;
use crate::numbers::decimal;

/// Maximum size of all bodies in progress, unless the limit of one body is larger.
const BUDGET_BYTES: usize = 64 << 20;

/// Maximum time between a request's head and the end of its body.
const PATIENCE: Duration = Duration::from_secs(30);

/// The limit of one body and the shared budget of all.
#[derive(Debug)]
pub struct Bodies {
    limit: usize,
    free: AtomicUsize,
}

impl Bodies {
    /// Limits each body to `limit` bytes.
    pub fn new(limit: usize) -> Arc<Bodies> {
        Arc::new(Bodies { limit, free: AtomicUsize::new(BUDGET_BYTES.max(limit)) })
    }

    /// Reads a whole body.
    pub async fn read(
        self: &Arc<Bodies>,
        request: &HttpRequest,
        payload: Payload,
    ) -> Result<Body, Problem> {
        if announced(request).is_some_and(|length| length > self.limit as u64) {
            return Err(Problem::TooLarge(self.limit));
        }
        let reading = timeout(PATIENCE, self.collect(payload)).await;
        reading.unwrap_or(Err(Problem::Slow))
    }

    async fn collect(self: &Arc<Bodies>, mut payload: Payload) -> Result<Body, Problem> {
        let mut room = Room { bodies: Arc::clone(self), bytes: 0 };
        let mut bytes = BytesMut::new();
        while let Some(piece) = next(&mut payload).await {
            let piece =
                piece.map_err(|error| Problem::Bad(format!("the body is broken: {error}")))?;
            if bytes.len() + piece.len() > self.limit {
                return Err(Problem::TooLarge(self.limit));
            }
            room.grow(piece.len())?;
            bytes.extend_from_slice(&piece);
        }
        Ok(Body { bytes: bytes.freeze(), _room: room })
    }

    fn take(&self, bytes: usize) -> bool {
        let taken = self
            .free
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |free| free.checked_sub(bytes));
        taken.is_ok()
    }
}

async fn next(payload: &mut Payload) -> Option<Result<Bytes, PayloadError>> {
    poll_fn(|context| Pin::new(&mut *payload).poll_next(context)).await
}

fn announced(request: &HttpRequest) -> Option<u64> {
    decimal(request.headers().get(header::CONTENT_LENGTH)?.to_str().ok()?)
}

/// A complete body. It holds its part of the budget until dropped.
#[derive(Debug)]
pub struct Body {
    pub bytes: Bytes,
    _room: Room,
}

#[derive(Debug)]
struct Room {
    bodies: Arc<Bodies>,
    bytes: usize,
}

impl Room {
    fn grow(&mut self, bytes: usize) -> Result<(), Problem> {
        if !self.bodies.take(bytes) {
            return Err(Problem::Later("too many bodies are under way".into()));
        }
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.bodies.free.fetch_add(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use actix_web::FromRequest;
    use actix_web::test::TestRequest;

    use super::*;

    async fn read(bodies: &Arc<Bodies>, bytes: usize) -> Result<Body, Problem> {
        let (request, mut payload) =
            TestRequest::default().set_payload(vec![7; bytes]).to_http_parts();
        let payload = Payload::from_request(&request, &mut payload).await.unwrap();
        bodies.read(&request, payload).await
    }

    #[actix_rt::test]
    async fn a_body_up_to_the_limit_is_read_and_a_longer_one_refused() {
        let bodies = Bodies::new(100);
        assert_eq!(read(&bodies, 100).await.map(|body| body.bytes.len()), Ok(100));
        assert_eq!(read(&bodies, 0).await.map(|body| body.bytes.len()), Ok(0));
        assert_eq!(read(&bodies, 101).await.map(|_| ()), Err(Problem::TooLarge(100)));
    }

    #[actix_rt::test]
    async fn all_bodies_together_have_a_budget_and_give_it_back() {
        let bodies = Bodies::new(BUDGET_BYTES / 2);
        let held = (read(&bodies, BUDGET_BYTES / 2).await, read(&bodies, BUDGET_BYTES / 2).await);
        assert!(held.0.is_ok() && held.1.is_ok());
        assert!(matches!(read(&bodies, 1).await, Err(Problem::Later(_))));
        drop(held);
        assert!(read(&bodies, BUDGET_BYTES / 2).await.is_ok());
        assert_eq!(bodies.free.load(Ordering::Relaxed), BUDGET_BYTES);
    }
}
