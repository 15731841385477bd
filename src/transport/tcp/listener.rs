//! Accepts connections, each with a task of its own.
//!
//! Each costs a few kilobytes until its hello is accepted, and there are at most
//! `pending_connections` of them: a newer one replaces the oldest. Established connections are not
//! affected.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::Instant;
use tracing::Instrument;

use super::counters::add;
use super::incoming::{Caller, serve};
use super::shared::Shared;

/// The pause after an error: most likely too many files are open, and an immediate retry would fail
/// again.
const REST: Duration = Duration::from_millis(50);

pub(crate) async fn listen(shared: Arc<Shared>, listener: std::net::TcpListener) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "the transport can't accept connections"),
    };
    loop {
        match listener.accept().await {
            Ok((stream, address)) => {
                let caller = Caller::new(&shared, address);
                let number = caller.number();
                let serving = serve(caller, stream).instrument(shared.span.clone());
                let task = tokio::task::spawn_local(serving).abort_handle();
                take_in(&shared, number, task);
            }
            Err(error) => {
                say_failed(&shared, &error);
                tokio::time::sleep(REST).await;
            }
        }
    }
}

fn take_in(shared: &Shared, caller: u64, task: tokio::task::AbortHandle) {
    add(&shared.counts.callers, 1);
    if !shared.callers.add(caller, task) {
        return;
    }
    add(&shared.counts.callers_evicted, 1);
    if let Some(suppressed) = shared.notices.due(None, "evicted", Instant::now()) {
        tracing::warn!(
            pending = shared.options.pending_connections,
            suppressed,
            "more connections than may wait for their handshake: the oldest is dropped"
        );
    }
}

fn say_failed(shared: &Shared, error: &std::io::Error) {
    if let Some(suppressed) = shared.notices.due(None, "accept", Instant::now()) {
        tracing::warn!(%error, suppressed, "can't accept a connection; are too many files open?");
    }
}
