//! What both askers of members need to know: the client, and a member that passes a request on.

use awc::error::SendRequestError;
use awc::http::StatusCode;
use awc::http::header::HeaderMap;

/// Each answer of a member names the member in this header. An answer without it comes from
/// something else that listens at the address: its 404 does not mean that a key is absent.
pub const NODE: &str = "quorate-node";

/// Whether an answer with these headers comes from a member.
pub fn is_from_a_member(headers: &HeaderMap) -> bool {
    headers.contains_key(NODE)
}

/// Whether something that is no member may have handed the request to one: a gateway that did not
/// wait for the answer.
pub fn may_have_been_handed_on(status: StatusCode) -> bool {
    status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT
}

/// Whether the request may have reached a member. One that no connection carried, or that was never
/// a request, has not.
pub fn may_have_been_sent(error: &SendRequestError) -> bool {
    use SendRequestError::{Connect, Http, TunnelNotSupported, Url};
    !matches!(error, Connect(_) | Url(_) | Http(_) | TunnelNotSupported)
}
