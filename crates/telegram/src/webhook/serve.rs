//! Connections to the webhook, few and not for long.
//!
//! Anybody on this machine can connect, and so can whoever the reverse proxy lets through. A
//! connection holds a descriptor of the host's, so there are at most [`MOST`]. One that does not send
//! the head of a request in time is closed, and when there is no room for another, the oldest goes that
//! has never carried the secret.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::IntoResponse as _;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;

/// How many connections there are at most. Telegram itself opens fewer.
pub const MOST: usize = 128;

/// How long the head of a request may take, and the time until the next one begins.
const HEAD: Duration = Duration::from_secs(10);

/// How long a request may take as a whole, its body and its becoming durable included.
const WHOLE: Duration = Duration::from_mins(1);

/// How long after a connection could not be taken the next is tried.
const PAUSE: Duration = Duration::from_millis(200);

/// How long requests that were begun may take to end once all is stopped.
const GRACE: Duration = Duration::from_secs(2);

struct Open {
    task: AbortHandle,
    proven: Proven,
}

/// Whether a connection has carried the secret. It is in the extensions of its requests.
#[derive(Debug, Clone, Default)]
pub(super) struct Proven(Arc<AtomicBool>);

impl Proven {
    /// It carries the secret: from now on, and not once its request is answered, it makes room for nobody.
    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Serves `routes`, those of [`router`](super::router), until `stop`; then lets requests end that were begun.
pub async fn serve(listener: TcpListener, routes: Router, stop: CancellationToken) -> io::Result<()> {
    serve_within(listener, routes, stop, (MOST, HEAD)).await
}

pub(super) async fn serve_within(
    listener: TcpListener,
    routes: Router,
    stop: CancellationToken,
    (most, head): (usize, Duration),
) -> io::Result<()> {
    let mut tasks = JoinSet::new();
    let mut open: VecDeque<Open> = VecDeque::new();
    loop {
        let full = tasks.len() >= most;
        let stream = tokio::select! {
            () = stop.cancelled() => break,
            _ = tasks.join_next(), if !tasks.is_empty() => {
                open.retain(|open| !open.task.is_finished());
                continue;
            }
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "a connection to the webhook cannot be taken");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            },
        };
        if full {
            let Some(oldest) = open.iter().position(|open| !open.proven.is_set()) else {
                // All of them are Telegram's: it tries again.
                continue;
            };
            if let Some(unproven) = open.remove(oldest) {
                unproven.task.abort();
            }
        }
        let proven = Proven::default();
        let task = tasks.spawn(one(stream, noted(&routes, &proven), stop.clone(), head));
        open.push_back(Open { task, proven });
    }
    let ended = async { while tasks.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(GRACE, ended).await;
    Ok(())
}

/// The routes of one connection, whose requests tell it that they carry the secret.
fn noted(routes: &Router, proven: &Proven) -> Router {
    let proven = proven.clone();
    routes.clone().layer(middleware::from_fn(move |mut request: Request, next: Next| {
        request.extensions_mut().insert(proven.clone());
        async move {
            let answer = tokio::time::timeout(WHOLE, next.run(request)).await;
            answer.unwrap_or_else(|_| StatusCode::REQUEST_TIMEOUT.into_response())
        }
    }))
}

async fn one(stream: TcpStream, routes: Router, stop: CancellationToken, head: Duration) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head)
        .max_headers(64)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection to the webhook ended");
    }
}
