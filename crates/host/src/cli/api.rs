//! The HTTP API of a running host, for programs of this machine: the JSON of the command line, over HTTP.
//!
//! It is at `api.sock` in the state directory, where the system says that a connection is of a process of the
//! host's own user: that is the account `cli:USER`, as at the command line. At a port of this machine, on request,
//! whoever carries the token is the account `api:NAME`, and never the user. The gate decides about the decisions of
//! both as about everybody's, each with the digest of what was read.
//!
//! One table of [operations] makes the routes and the OpenAPI document, so that neither has what the other has not.
//! The ledger is read over a connection of its own, and written over the engine's: what the engine or another client
//! writes is seen as the command line sees it.
//!
//! What it never does: decide without a digest, change anything for a GET, run a step.

mod follow;
mod openapi;
mod operations;
mod problem;
mod read;
mod serve;
mod write;

use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::response::{IntoResponse as _, Response};
use clap::Subcommand;
use connector_engine::Engine;
use connector_gate::policy::Actor;
use connector_ledger::{Ledger, LedgerError};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::runs::LOOK;
use crate::exit::{Exit, Failure};
pub(super) use problem::{Code, Problem};

pub(super) use serve::{Port, Serving, listen, token};

/// The socket's name in the state directory.
const SOCKET: &str = "api.sock";

/// The name, in the state directory, of the token that is made where configuration names none.
const TOKEN: &str = "api.token";

/// The surface of whoever carries the token.
const SURFACE: &str = "api";

/// The longest that a request waits for what it asks for, in seconds.
const LONGEST: u64 = 50;

/// `api`
#[derive(Debug, Subcommand)]
pub(super) enum ApiCommand {
    /// Print the OpenAPI document of the HTTP API
    Openapi,
}

impl ApiCommand {
    pub(super) fn run(self) -> Result<Exit, Failure> {
        match self {
            Self::Openapi => {
                writeln!(anstream::stdout(), "{}", serde_json::to_string_pretty(&openapi::document())?)?;
            }
        }
        Ok(Exit::Done)
    }
}

/// The API as one kind of client sees it. Cheap to clone.
#[derive(Clone)]
struct Api {
    shared: Arc<Shared>,
    client: Client,
}

/// What all clients share.
struct Shared {
    /// A connection of its own, that nothing is written over.
    ledger: Ledger,
    engine: Engine,
    /// The connector whose messages are submitted where nobody says.
    connector: String,
    /// Where it listens, if it does.
    address: Option<String>,
    stop: CancellationToken,
}

/// Who speaks.
#[derive(Debug, Clone)]
enum Client {
    /// A process of the user's, as the system says.
    User(Actor),
    /// Whoever carries the token.
    Program(Actor),
}

/// An answer, or why there is none.
pub(super) type Answer = Result<Response, Problem>;

impl Client {
    fn account(&self) -> &Actor {
        match self {
            Self::User(account) | Self::Program(account) => account,
        }
    }

    fn is_user(&self) -> bool {
        matches!(self, Self::User(_))
    }
}

impl Api {
    /// The ledger to read.
    fn ledger(&self) -> &Ledger {
        &self.shared.ledger
    }

    /// The ledger to write to: over the engine's connection, since of its own a connection sees no change.
    fn written(&self) -> &Ledger {
        self.shared.engine.ledger()
    }

    /// Waits until the ledger has changed since `version`; `false` once it is late, or the host stops.
    async fn changes(&self, version: i64, until: Option<Instant>) -> Result<bool, LedgerError> {
        while self.ledger().data_version().await? == version {
            if until.is_some_and(|until| Instant::now() >= until) || self.shared.stop.is_cancelled() {
                return Ok(false);
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(true)
    }
}

/// Until when a request waits that says so.
fn deadline(wait_secs: Option<u64>) -> Result<Instant, Problem> {
    let wait = wait_secs.unwrap_or(0);
    if wait > LONGEST {
        return Err(Problem::invalid(format!("`wait_secs` takes 0 to {LONGEST}")));
    }
    Ok(Instant::now() + Duration::from_secs(wait))
}

/// An answer as JSON, as the command line prints it.
pub(super) fn json<T: Serialize>(status: StatusCode, value: &T) -> Answer {
    Ok(encoded(status, "application/json", value)?)
}

fn encoded<T: Serialize>(
    status: StatusCode,
    kind: &'static str,
    value: &T,
) -> Result<Response, serde_json::Error> {
    let text = connector_surface::text::escaped_json(&serde_json::to_string(value)?);
    let mut response = (status, text).into_response();
    dress(&mut response, kind);
    Ok(response)
}

/// What it is, and that nobody keeps it or takes it for something else.
fn dress(response: &mut Response, kind: &'static str) {
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}

#[cfg(test)]
mod tests;
