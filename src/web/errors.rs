//! Errors as responses: a status code for proxies and clients, and a small JSON body with details.
//!
//! The most important detail is whether the command may have been applied. A 503 here is always a
//! definite no; a 504 to a proposal never is.

use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderName, HeaderValue, LOCATION, RETRY_AFTER};
use actix_web::{HttpResponse, ResponseError};
use serde::Serialize;

use crate::node::{ClientError, ProposeError, ReadError, SnapshotError};
use crate::raft::NodeId;

/// The header with the leader's id, in responses of a member that is not the leader.
pub const LEADER_HEADER: HeaderName = HeaderName::from_static("quorate-leader");

/// Seconds after which to retry: an election takes about one.
const RETRY_AFTER_SECONDS: u32 = 1;

/// The JSON body of the response to a failed request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ErrorBody {
    /// The error as one word, for programs.
    pub error: &'static str,
    /// The error as text.
    pub message: String,
    /// Whether this request may have applied the command, or may apply it later. False is certain.
    pub may_have_applied: bool,
    /// The leader's id, if the error is that this member is not the leader and the id is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leader: Option<NodeId>,
}

/// An error of a handle or a client as a response. All of them convert to it by `?`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .body.message)]
pub struct Failure {
    status: StatusCode,
    body: ErrorBody,
    try_again: bool,
    location: Option<HeaderValue>,
}

impl Failure {
    fn new(status: StatusCode, error: &'static str, message: &dyn std::fmt::Display) -> Failure {
        let body = ErrorBody {
            error,
            message: message.to_string(),
            may_have_applied: false,
            leader: None,
        };
        Failure { status, body, try_again: false, location: None }
    }

    fn not_leader(leader: Option<NodeId>, message: &dyn std::fmt::Display) -> Failure {
        let mut failure = Failure::try_again("not_leader", message);
        failure.body.leader = leader;
        failure
    }

    fn try_again(error: &'static str, message: &dyn std::fmt::Display) -> Failure {
        let failure = Failure::new(StatusCode::SERVICE_UNAVAILABLE, error, message);
        Failure { try_again: true, ..failure }
    }

    /// The node has stopped: a retry at this node can't succeed.
    fn stopped(message: &dyn std::fmt::Display) -> Failure {
        Failure::new(StatusCode::SERVICE_UNAVAILABLE, "stopped", message)
    }

    fn conflict(error: &'static str, message: &dyn std::fmt::Display) -> Failure {
        Failure::new(StatusCode::CONFLICT, error, message)
    }

    fn perhaps_applied(mut self) -> Failure {
        self.body.may_have_applied = true;
        self
    }

    /// Redirects the request to `location`.
    pub(super) fn led_to(mut self, location: HeaderValue) -> Failure {
        self.status = StatusCode::TEMPORARY_REDIRECT;
        self.try_again = false;
        self.location = Some(location);
        self
    }

    /// The JSON body.
    pub fn body(&self) -> &ErrorBody {
        &self.body
    }
}

impl ResponseError for Failure {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status);
        if let Some(leader) = self.body.leader {
            response.insert_header((LEADER_HEADER, leader.to_string()));
        }
        if self.try_again {
            response.insert_header((RETRY_AFTER, RETRY_AFTER_SECONDS.to_string()));
        }
        if let Some(location) = &self.location {
            response.insert_header((LOCATION, location.clone()));
        }
        response.json(&self.body)
    }
}

impl From<ProposeError> for Failure {
    fn from(error: ProposeError) -> Failure {
        match &error {
            ProposeError::NotLeader { leader } => Failure::not_leader(*leader, &error),
            ProposeError::Busy => Failure::try_again("busy", &error),
            ProposeError::Fatal => Failure::stopped(&error),
            ProposeError::Unknown => unknown(&error),
            ProposeError::SessionExpired => Failure::conflict("session_expired", &error),
            ProposeError::SequenceRefused => Failure::conflict("sequence_refused", &error),
            ProposeError::SequenceReused => {
                Failure::new(StatusCode::UNPROCESSABLE_ENTITY, "sequence_reused", &error)
            }
            ProposeError::Rejected(_) => rejected(&error),
            ProposeError::ReplyUnreadable(_) => unreadable(&error),
            ProposeError::ReplyTooLong { .. } => too_long(&error),
        }
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Failure {
        match &error {
            ReadError::NotLeader { leader } => Failure::not_leader(*leader, &error),
            ReadError::Busy => Failure::try_again("busy", &error),
            ReadError::Fatal => Failure::stopped(&error),
            ReadError::TimedOut => Failure::new(StatusCode::GATEWAY_TIMEOUT, "timed_out", &error),
        }
    }
}

impl From<SnapshotError> for Failure {
    fn from(error: SnapshotError) -> Failure {
        match &error {
            SnapshotError::NothingApplied => Failure::conflict("nothing_applied", &error),
            SnapshotError::Declined => Failure::conflict("declined", &error),
            SnapshotError::Outdated => Failure::conflict("outdated", &error),
            SnapshotError::Refused => Failure::conflict("refused", &error),
            SnapshotError::Fatal => Failure::stopped(&error),
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Failure {
        match &error {
            ClientError::Options(_) => {
                Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "client_options", &error)
            }
            ClientError::NotExecuted { .. } => Failure::try_again("not_executed", &error),
            ClientError::Unknown { .. } => unknown(&error),
            ClientError::Rejected(_) => rejected(&error),
            ClientError::ReplyUnreadable(_) => unreadable(&error),
            ClientError::ReplyTooLong { .. } => too_long(&error),
        }
    }
}

fn unknown(error: &dyn std::fmt::Display) -> Failure {
    Failure::new(StatusCode::GATEWAY_TIMEOUT, "unknown", error).perhaps_applied()
}

fn rejected(error: &dyn std::fmt::Display) -> Failure {
    Failure::new(StatusCode::BAD_REQUEST, "rejected", error)
}

fn unreadable(error: &dyn std::fmt::Display) -> Failure {
    Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "reply_unreadable", error).perhaps_applied()
}

fn too_long(error: &dyn std::fmt::Display) -> Failure {
    Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "reply_too_long", error).perhaps_applied()
}

/// Handlers may also return the errors themselves.
macro_rules! respond_as_failure {
    ($($error:ty),*) => {$(
        impl ResponseError for $error {
            fn status_code(&self) -> StatusCode {
                Failure::from(self.clone()).status_code()
            }

            fn error_response(&self) -> HttpResponse {
                Failure::from(self.clone()).error_response()
            }
        }
    )*};
}

respond_as_failure!(ProposeError, ReadError, SnapshotError, ClientError);
