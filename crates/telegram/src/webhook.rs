//! The webhook: Telegram brings the updates.
//!
//! One route at a path nobody can guess, a body limit, and Telegram's secret
//! header compared in constant time. An update is answered with 200 only after
//! the receiver has made it durable; anything else makes Telegram send it again.
//! It listens on loopback for a reverse proxy that speaks TLS to the world.

use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use subtle::ConstantTimeEq as _;

/// The longest update that is read.
const BODY: usize = 1 << 20;

/// The header in which Telegram repeats the secret.
pub const SECRET_HEADER: &str = "x-telegram-bot-api-secret-token";

/// Takes what the webhook was sent.
#[async_trait]
pub trait Receiver: Send + Sync + 'static {
    /// Returns once the update is durable. `false` asks Telegram to send it again.
    async fn receive(&self, update: Value) -> bool;
}

#[derive(Clone)]
struct Hook {
    secret: SecretString,
    receiver: Arc<dyn Receiver>,
}

/// The route at `path`, for updates that carry `secret`.
pub fn router(path: &str, secret: SecretString, receiver: Arc<dyn Receiver>) -> Router {
    Router::new()
        .route(path, post(take))
        .layer(DefaultBodyLimit::max(BODY))
        .with_state(Hook { secret, receiver })
}

async fn take(State(hook): State<Hook>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let given = headers.get(SECRET_HEADER).map(|value| value.as_bytes()).unwrap_or_default();
    if !bool::from(given.ct_eq(hook.secret.expose_secret().as_bytes())) {
        // As if there were nothing here.
        return StatusCode::NOT_FOUND;
    }
    let Ok(update) = serde_json::from_slice::<Value>(&body) else { return StatusCode::BAD_REQUEST };
    if hook.receiver.receive(update).await { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}
