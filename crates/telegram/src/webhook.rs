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
use axum::http::{HeaderMap, HeaderValue, StatusCode};
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
    let given = headers.get(SECRET_HEADER).map(HeaderValue::as_bytes).unwrap_or_default();
    if !bool::from(given.ct_eq(hook.secret.expose_secret().as_bytes())) {
        // As if there were nothing here.
        return StatusCode::NOT_FOUND;
    }
    let Ok(update) = serde_json::from_slice::<Value>(&body) else { return StatusCode::BAD_REQUEST };
    if hook.receiver.receive(update).await { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

#[cfg(test)]
mod tests {
    use super::*;
    use connector_contract::{Grant, OutboundHttp, Reach};
    use std::sync::Mutex;

    struct Kept(Mutex<Vec<Value>>);

    #[async_trait]
    impl Receiver for Kept {
        async fn receive(&self, update: Value) -> bool {
            let durable = update["update_id"] != 503;
            self.0.lock().unwrap().push(update);
            durable
        }
    }

    #[tokio::test]
    async fn only_what_carries_the_secret_comes_in_and_only_what_is_durable_is_answered_with_200() {
        let kept = Arc::new(Kept(Mutex::default()));
        let routes = router("/hook/aaaaaaaaaaaaaaaa", "s".repeat(16).into(), kept.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        let http = OutboundHttp::new([Grant::new(base.parse().unwrap(), Reach::Loopback).unwrap()]).unwrap();
        let long = format!("{{\"update_id\":1,\"x\":\"{}\"}}", "x".repeat(BODY));
        let right = "s".repeat(16);
        for (path, secret, body, status) in [
            ("/hook/aaaaaaaaaaaaaaaa", Some(&right), "{\"update_id\":1}", 200),
            ("/hook/aaaaaaaaaaaaaaaa", Some(&right), "{\"update_id\":503}", 503),
            ("/hook/aaaaaaaaaaaaaaaa", Some(&"s".repeat(15)), "{\"update_id\":2}", 404),
            ("/hook/aaaaaaaaaaaaaaaa", None, "{\"update_id\":3}", 404),
            ("/hook/aaaaaaaaaaaaaaaa", Some(&right), "not json", 400),
            ("/hook/aaaaaaaaaaaaaaaa", Some(&right), &long, 413),
            ("/hook/", Some(&right), "{\"update_id\":4}", 404),
        ] {
            let mut request = http::Request::post(format!("{base}{path}"));
            if let Some(secret) = secret {
                request = request.header(SECRET_HEADER, secret);
            }
            let request = request.body(bytes::Bytes::from(body.to_owned())).unwrap();
            let response = http.send(request).await.unwrap();
            assert_eq!(response.status().as_u16(), status, "{path} {secret:?}");
        }
        assert_eq!(kept.0.lock().unwrap().len(), 2);
    }
}
