//! Connections to the webhook, few and not for long.
//!
//! Anybody on this machine can connect, and so can whoever the reverse proxy lets through: who never carried the
//! secret makes room ([`connector_connections`]).

use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::IntoResponse as _;
use connector_connections::{Limits, Proven};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// How many connections there are at most. Telegram itself opens fewer.
pub const MOST: usize = 128;

/// How long the head of a request may take, and the time until the next one begins.
const HEAD: Duration = Duration::from_secs(10);

/// How long a request may take as a whole, its body and its becoming durable included.
const WHOLE: Duration = Duration::from_mins(1);

/// Serves `routes`, those of [`router`](super::router), until `stop`; then lets requests end that were begun.
pub async fn serve(listener: TcpListener, routes: Router, stop: CancellationToken) {
    serve_within(listener, routes, stop, (MOST, HEAD)).await;
}

pub(super) async fn serve_within(
    listener: TcpListener,
    routes: Router,
    stop: CancellationToken,
    (most, head): (usize, Duration),
) {
    let service = |proven| TowerToHyperService::new(noted(&routes, proven));
    connector_connections::serve(listener, stop, Limits { most, head }, service).await;
}

/// The routes of one connection, whose requests tell it that they carry the secret.
fn noted(routes: &Router, proven: Proven) -> Router {
    routes.clone().layer(middleware::from_fn(move |mut request: Request, next: Next| {
        request.extensions_mut().insert(proven.clone());
        async move {
            let answer = tokio::time::timeout(WHOLE, next.run(request)).await;
            answer.unwrap_or_else(|_| StatusCode::REQUEST_TIMEOUT.into_response())
        }
    }))
}
