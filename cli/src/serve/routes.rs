//! The routes of HTTP and their handlers.
//!
//! | request | result |
//! |---|---|
//! | `PUT`, `DELETE /kv/KEY` | a command through the log, answered after it was applied |
//! | `GET /kv/KEY` | a read, linearizable unless `?consistency=local` |
//! | `POST /sessions`, `DELETE /sessions/ID` | opens or closes a session |
//! | `POST /snapshot`, `GET /status` | of this member |
//!
//! `HEAD` is `GET` without the body; other methods get 405 with `Allow`. A key is the part after
//! `/kv/` of the request's path: keys are matched by that prefix alone, without a pattern.
//!
//! A handler returns the machine's reply or a [`Problem`]; `elsewhere` handles the problem of a
//! member that does not lead.

use std::sync::Arc;

use actix_web::http::{Method, StatusCode, header};
use actix_web::web::{self, Bytes, Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use quorate::machine::{
    CommandRef, KeyValue, KeyValueCommand, KeyValueReply, Outcome, SessionId, command,
};
use quorate::node::{Consistency, Handle, Proposal, ProposeError};

use super::answers::{Problem, plain};
use super::body::{Bodies, Body};
use super::elsewhere::Elsewhere;
use super::headers::{self, Condition, SESSION};
use crate::keys::{self, KeyError, MAX_KEY_BYTES};
use crate::numbers::decimal;

/// The state of the handlers.
pub struct Service {
    pub handle: Handle<KeyValue>,
    pub bodies: Arc<Bodies>,
    pub elsewhere: Elsewhere,
}

/// The methods of a key.
const KEY_METHODS: &str = "GET, HEAD, PUT, DELETE";

/// Adds the routes.
pub fn configure(app: &mut web::ServiceConfig) {
    app.service(web::scope("/kv").default_service(web::to(of_a_key)))
        .service(web::resource("/sessions").route(web::post().to(open_session)))
        .service(web::resource("/sessions/{id}").route(web::delete().to(close_session)))
        .service(web::resource("/snapshot").route(web::post().to(snapshot)))
        .service(
            web::resource("/status").route(web::get().to(status)).route(web::head().to(status)),
        )
        .default_service(web::to(nothing_here));
}

async fn nothing_here() -> HttpResponse {
    plain(StatusCode::NOT_FOUND)
        .body("here are /kv/KEY, /sessions, /snapshot, /status and /node/*; see docs/serve.md\n")
}

async fn of_a_key(service: Data<Service>, request: HttpRequest, payload: Payload) -> HttpResponse {
    match *request.method() {
        Method::GET | Method::HEAD => get(service, request).await,
        Method::PUT => put(service, request, payload).await,
        Method::DELETE => delete(service, request).await,
        _ => HttpResponse::MethodNotAllowed().insert_header((header::ALLOW, KEY_METHODS)).finish(),
    }
}

async fn put(service: Data<Service>, request: HttpRequest, payload: Payload) -> HttpResponse {
    let body = match service.bodies.read(&request, payload).await {
        Ok(body) => body,
        Err(problem) => return problem.response(),
    };
    let answer = service.put(&request, &body).await;
    service.elsewhere.answer(&request, body.bytes.clone(), answer).await
}

async fn get(service: Data<Service>, request: HttpRequest) -> HttpResponse {
    let answer = service.get(&request).await;
    service.elsewhere.answer(&request, Bytes::new(), answer).await
}

async fn delete(service: Data<Service>, request: HttpRequest) -> HttpResponse {
    let answer = service.delete(&request).await;
    service.elsewhere.answer(&request, Bytes::new(), answer).await
}

async fn open_session(service: Data<Service>, request: HttpRequest) -> HttpResponse {
    let answer = match no_query(&request) {
        Ok(()) => service.open_session().await,
        Err(problem) => Err(problem),
    };
    service.elsewhere.answer(&request, Bytes::new(), answer).await
}

async fn close_session(
    service: Data<Service>,
    request: HttpRequest,
    id: web::Path<String>,
) -> HttpResponse {
    let answer = match no_query(&request) {
        Ok(()) => service.close_session(&id).await,
        Err(problem) => Err(problem),
    };
    service.elsewhere.answer(&request, Bytes::new(), answer).await
}

async fn snapshot(service: Data<Service>, request: HttpRequest) -> HttpResponse {
    if let Err(problem) = no_query(&request) {
        return problem.response();
    }
    match service.handle.snapshot().await {
        Ok(last) => HttpResponse::Ok().json(last),
        Err(error) => Problem::from(error).response(),
    }
}

async fn status(service: Data<Service>) -> HttpResponse {
    HttpResponse::Ok().json(service.handle.status())
}

impl Service {
    async fn put(&self, request: &HttpRequest, body: &Body) -> Result<HttpResponse, Problem> {
        no_query(request)?;
        let (key, value) = (key(request)?, body.bytes.to_vec());
        let command = match headers::condition(request.headers())? {
            Condition::None => KeyValueCommand::Put { key, value },
            Condition::Version(version) => KeyValueCommand::PutIfVersion { key, value, version },
        };
        self.execute(request, command).await.map(replied)
    }

    async fn delete(&self, request: &HttpRequest) -> Result<HttpResponse, Problem> {
        no_query(request)?;
        let key = key(request)?;
        let command = match headers::condition(request.headers())? {
            Condition::None => KeyValueCommand::Delete { key },
            Condition::Version(0) => {
                return Err(Problem::Bad("If-None-Match: * goes with PUT".into()));
            }
            Condition::Version(version) => KeyValueCommand::DeleteIfVersion { key, version },
        };
        self.execute(request, command).await.map(replied)
    }

    /// Executes the command, in the session that the headers name, if any.
    async fn execute(
        &self,
        request: &HttpRequest,
        command: KeyValueCommand,
    ) -> Result<KeyValueReply, Problem> {
        let data = match headers::place(request.headers())? {
            None => command::encode_raw(&command),
            Some(place) => {
                command::encode_session(place.session, place.sequence, place.low_water, &command)
            }
        };
        let data = data.map_err(ProposeError::from)?;
        Ok(self.handle.submit_data(data)?.reply().await?)
    }

    async fn get(&self, request: &HttpRequest) -> Result<HttpResponse, Problem> {
        let key = key(request)?;
        let consistency = consistency(request.query_string())?;
        let find = move |state: &KeyValue| {
            state.get(&key).map(|(value, version)| (Bytes::copy_from_slice(value), version))
        };
        Ok(match self.handle.read(consistency, find).await? {
            Some((value, version)) => HttpResponse::Ok()
                .insert_header((header::ETAG, tag(version)))
                .insert_header((header::CONTENT_TYPE, "application/octet-stream"))
                .body(value),
            None => absent(),
        })
    }

    async fn open_session(&self) -> Result<HttpResponse, Problem> {
        match self.outcome(CommandRef::OpenSession).await? {
            Outcome::SessionOpened(session) => Ok(plain(StatusCode::CREATED)
                .insert_header((SESSION, session.to_string()))
                .body(format!("{session}\n"))),
            other => Err(Problem::Unknown(format!("opening a session gave {other:?}"))),
        }
    }

    async fn close_session(&self, id: &str) -> Result<HttpResponse, Problem> {
        let session: Option<SessionId> = decimal(id).filter(|&id| id > 0);
        let session = session.ok_or_else(|| Problem::Bad(format!("{id} is no session")))?;
        match self.outcome(CommandRef::CloseSession { session }).await? {
            Outcome::SessionClosed => Ok(HttpResponse::NoContent().finish()),
            Outcome::SessionExpired => Err(Problem::SessionExpired),
            other => Err(Problem::Unknown(format!("closing a session gave {other:?}"))),
        }
    }

    async fn outcome(&self, command: CommandRef) -> Result<Outcome, Problem> {
        let proposal: Proposal<KeyValue> = self.handle.submit_data(command.encode())?;
        Ok(proposal.outcome().await?)
    }
}

fn replied(reply: KeyValueReply) -> HttpResponse {
    match reply {
        KeyValueReply::Written { version } => {
            HttpResponse::NoContent().insert_header((header::ETAG, tag(version))).finish()
        }
        KeyValueReply::Deleted { version: 0 } => absent(),
        KeyValueReply::Deleted { .. } => HttpResponse::NoContent().finish(),
        KeyValueReply::VersionMismatch { current: 0 } => {
            plain(StatusCode::PRECONDITION_FAILED).body("there is no such key\n")
        }
        KeyValueReply::VersionMismatch { current } => plain(StatusCode::PRECONDITION_FAILED)
            .insert_header((header::ETAG, tag(current)))
            .body(format!("the key has version {current}\n")),
        other => Problem::Unreadable(format!("executed; the reply {other:?} is not known here"))
            .response(),
    }
}

fn absent() -> HttpResponse {
    plain(StatusCode::NOT_FOUND).body("there is no such key\n")
}

fn tag(version: u64) -> String {
    format!("\"{version}\"")
}

/// The key as sent in the request line: what actix-web returns is already decoded, and not as
/// bytes.
fn key(request: &HttpRequest) -> Result<Vec<u8>, Problem> {
    keys::from_path(request.uri().path()).map_err(|error| match error {
        KeyError::Empty => Problem::Bad("no key: PUT /kv/KEY".into()),
        KeyError::Escape => Problem::Bad("a % in a key is written %25".into()),
        KeyError::TooLong => Problem::KeyTooLong(MAX_KEY_BYTES),
    })
}

/// Refuses a query where queries have no meaning: most likely it belongs to the key.
fn no_query(request: &HttpRequest) -> Result<(), Problem> {
    match request.uri().query() {
        None => Ok(()),
        Some(query) => Err(Problem::Bad(format!(
            "?{query}: there is nothing to ask for here; a ? in a key is written %3F"
        ))),
    }
}

fn consistency(query: &str) -> Result<Consistency, Problem> {
    match query {
        "" | "consistency=linearizable" => Ok(Consistency::Linearizable),
        "consistency=local" => Ok(Consistency::Local),
        other => Err(Problem::Bad(format!(
            "?{other}: there is ?consistency=linearizable and ?consistency=local; a ? in a key is \
             written %3F"
        ))),
    }
}
