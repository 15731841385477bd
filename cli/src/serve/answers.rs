//! Converts outcomes to HTTP answers.
//!
//! As with the library's errors, each status says whether the command was executed: 204 yes; 504
//! perhaps; all others no, not by this request.

use actix_web::http::StatusCode;
use actix_web::http::header;
use actix_web::{HttpResponse, HttpResponseBuilder};
use quorate::node::{ProposeError, ReadError, SnapshotError};
use quorate::raft::NodeId;

/// The header that names the leader if this member cannot ask it for the client.
pub const LEADER: &str = "Quorate-Leader";

/// The reason why a request has no answer of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The request is malformed.
    Bad(String),
    /// The key is too long.
    KeyTooLong(usize),
    /// The value is too long.
    TooLarge(usize),
    /// The body did not arrive in time.
    Slow,
    /// Another member leads, which may be unknown. Not executed.
    NotLeader(Option<NodeId>),
    /// A limit is reached, or a temporary condition prevents it. Not executed.
    Later(String),
    /// May have been executed.
    Unknown(String),
    /// The session does not exist.
    SessionExpired,
    /// The request conflicts with the current state.
    Conflict(String),
    /// The sequence number belongs to another command.
    SequenceReused,
    /// Executed, but the reply cannot be returned.
    Unreadable(String),
}

impl Problem {
    /// The HTTP answer of the problem.
    pub fn response(&self) -> HttpResponse {
        let text = |status, text: &str| plain(status).body(format!("{text}\n"));
        match self {
            Problem::Bad(why) => text(StatusCode::BAD_REQUEST, why),
            Problem::KeyTooLong(limit) => {
                text(StatusCode::URI_TOO_LONG, &format!("a key has at most {limit} bytes"))
            }
            Problem::TooLarge(limit) => {
                text(StatusCode::PAYLOAD_TOO_LARGE, &format!("a value has at most {limit} bytes"))
            }
            Problem::Slow => text(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time"),
            Problem::NotLeader(leader) => not_leader(*leader),
            Problem::Later(why) => later().body(format!("not executed: {why}\n")),
            Problem::Unknown(why) => text(StatusCode::GATEWAY_TIMEOUT, why),
            Problem::SessionExpired => text(
                StatusCode::GONE,
                "not executed: the session is unknown or has expired; open another with POST /sessions",
            ),
            Problem::Conflict(why) => text(StatusCode::CONFLICT, why),
            Problem::SequenceReused => text(
                StatusCode::UNPROCESSABLE_ENTITY,
                "not executed: this session has executed another command under this Quorate-Sequence",
            ),
            Problem::Unreadable(why) => text(StatusCode::INTERNAL_SERVER_ERROR, why),
        }
    }
}

/// Starts an answer in plain text.
pub fn plain(status: StatusCode) -> HttpResponseBuilder {
    let mut response = HttpResponse::build(status);
    response.insert_header((header::CONTENT_TYPE, "text/plain; charset=utf-8"));
    response
}

fn later() -> HttpResponseBuilder {
    let mut response = plain(StatusCode::SERVICE_UNAVAILABLE);
    response.insert_header((header::RETRY_AFTER, "1"));
    response
}

/// The answer if no leader is known, or if its address is unknown.
fn not_leader(leader: Option<NodeId>) -> HttpResponse {
    let Some(leader) = leader else {
        return later().body("not executed: no leader is known here at the moment\n");
    };
    later().insert_header((LEADER, leader.to_string())).body(format!(
        "not executed: member {leader} leads, and its HTTP address is not known here; start this member with \
         --http-peers {leader}=HOST:PORT,..\n"
    ))
}

impl From<ProposeError> for Problem {
    fn from(error: ProposeError) -> Problem {
        match error {
            ProposeError::NotLeader { leader } => Problem::NotLeader(leader),
            ProposeError::SessionExpired => Problem::SessionExpired,
            ProposeError::SequenceRefused => {
                Problem::Conflict(format!("not executed by this request: {error}"))
            }
            ProposeError::SequenceReused => Problem::SequenceReused,
            ProposeError::Rejected(why) => Problem::Bad(why),
            ProposeError::ReplyUnreadable(_) | ProposeError::ReplyTooLong { .. } => {
                Problem::Unreadable(error.to_string())
            }
            ProposeError::Busy | ProposeError::Fatal => Problem::Later(error.to_string()),
            // An error that is not known here may mean that the command was executed.
            error => Problem::Unknown(error.to_string()),
        }
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Problem {
        match error {
            ReadError::NotLeader { leader } => Problem::NotLeader(leader),
            ReadError::TimedOut => Problem::Unknown(format!("{error}; a read changes nothing")),
            error => Problem::Later(error.to_string()),
        }
    }
}

impl From<SnapshotError> for Problem {
    fn from(error: SnapshotError) -> Problem {
        match error {
            SnapshotError::Fatal => Problem::Later(error.to_string()),
            error => Problem::Conflict(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_504_leaves_open_whether_a_command_was_executed() {
        let statuses = [
            (ProposeError::NotLeader { leader: None }, 503),
            (ProposeError::Busy, 503),
            (ProposeError::Fatal, 503),
            (ProposeError::Unknown, 504),
            (ProposeError::SessionExpired, 410),
            (ProposeError::SequenceRefused, 409),
            (ProposeError::SequenceReused, 422),
            (ProposeError::Rejected("too large".into()), 400),
        ];
        for (error, status) in statuses {
            let in_doubt = error.may_have_applied();
            let response = Problem::from(error.clone()).response();
            assert_eq!(response.status().as_u16(), status, "{error}");
            assert_eq!(in_doubt, status == 504, "{error}");
            assert_eq!(response.headers().contains_key("Retry-After"), status == 503, "{error}");
        }
    }

    #[test]
    fn a_leader_whose_address_is_not_known_is_named() {
        let response = Problem::NotLeader(Some(7)).response();
        assert_eq!(response.headers().get(LEADER).unwrap(), "7");
        assert_eq!(response.status().as_u16(), 503);
    }
}
