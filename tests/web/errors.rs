//! Each error's response.

use actix_web::ResponseError;
use actix_web::http::StatusCode;
use quorate::node::{ClientError, ClientOptions, ProposeError, ReadError, SnapshotError};

use crate::{header, json};

/// What a response has to be: status, error word, whether the command may have been applied, whether to try again.
type Expected = (u16, &'static str, bool, bool);

async fn check(error: &dyn ResponseError, expected: Expected) {
    let response = error.error_response();
    assert_eq!(response.status(), error.status_code(), "{error}");
    let status = response.status().as_u16();
    let again = header(&response, "retry-after").is_some_and(|seconds| seconds == "1");
    assert_eq!(header(&response, "location"), None, "nobody knows where the leader is");
    assert_eq!(header(&response, "content-type"), Some("application/json"));
    let body = json(response).await;
    let perhaps = body["may_have_applied"].as_bool().unwrap();
    let word = body["error"].as_str().unwrap();
    assert_eq!((status, word, perhaps, again), expected, "{error}");
    assert_eq!(body["message"], error.to_string());
}

#[tokio::test]
async fn a_proposals_response_says_whether_it_may_have_been_applied() {
    let expected: [(ProposeError, Expected); 11] = [
        (ProposeError::NotLeader { leader: None }, (503, "not_leader", false, true)),
        (ProposeError::NotLeader { leader: Some(2) }, (503, "not_leader", false, true)),
        (ProposeError::Busy, (503, "busy", false, true)),
        (ProposeError::Fatal, (503, "stopped", false, false)),
        (ProposeError::Unknown, (504, "unknown", true, false)),
        (ProposeError::SessionExpired, (409, "session_expired", false, false)),
        (ProposeError::SequenceRefused, (409, "sequence_refused", false, false)),
        (ProposeError::SequenceReused, (422, "sequence_reused", false, false)),
        (ProposeError::ReplyTooLong { limit: 9 }, (500, "reply_too_long", true, false)),
        (ProposeError::Rejected("too long".into()), (400, "rejected", false, false)),
        (ProposeError::ReplyUnreadable("cut".into()), (500, "reply_unreadable", true, false)),
    ];
    for (error, expected) in expected {
        assert_eq!(error.may_have_applied(), expected.2, "the response and the error differ");
        check(&error, expected).await;
    }
}

#[tokio::test]
async fn a_reads_response_never_says_that_something_was_applied() {
    check(&ReadError::NotLeader { leader: None }, (503, "not_leader", false, true)).await;
    check(&ReadError::Busy, (503, "busy", false, true)).await;
    check(&ReadError::Fatal, (503, "stopped", false, false)).await;
    check(&ReadError::TimedOut, (504, "timed_out", false, false)).await;
}

#[tokio::test]
async fn snapshots_and_clients_have_responses_too() {
    check(&SnapshotError::NothingApplied, (409, "nothing_applied", false, false)).await;
    check(&SnapshotError::Declined, (409, "declined", false, false)).await;
    check(&SnapshotError::Outdated, (409, "outdated", false, false)).await;
    check(&SnapshotError::Refused, (409, "refused", false, false)).await;
    check(&SnapshotError::Fatal, (503, "stopped", false, false)).await;
    let last = || "silence".to_string();
    let wrong = ClientOptions { window: 0, ..ClientOptions::default() }.validate();
    let options = ClientError::from(wrong.expect_err("no window"));
    check(&options, (500, "client_options", false, false)).await;
    let not_executed = ClientError::NotExecuted { last: last() };
    check(&not_executed, (503, "not_executed", false, true)).await;
    check(&ClientError::Unknown { last: last() }, (504, "unknown", true, false)).await;
    check(&ClientError::Rejected(last()), (400, "rejected", false, false)).await;
    let unreadable = ClientError::ReplyUnreadable(last());
    check(&unreadable, (500, "reply_unreadable", true, false)).await;
    let too_long = ClientError::ReplyTooLong { limit: 9 };
    check(&too_long, (500, "reply_too_long", true, false)).await;
}

#[tokio::test]
async fn a_known_leader_is_named_in_header_and_body() {
    let known = ProposeError::NotLeader { leader: Some(2) }.error_response();
    assert_eq!(known.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(header(&known, "quorate-leader"), Some("2"));
    assert_eq!(json(known).await["leader"], 2);
    let unknown = ReadError::NotLeader { leader: None }.error_response();
    assert_eq!(header(&unknown, "quorate-leader"), None);
    assert!(json(unknown).await.get("leader").is_none());
}
