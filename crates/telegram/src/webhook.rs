//! The webhook: Telegram brings the updates.
//!
//! One route at a path nobody can guess, and Telegram's secret header, compared in
//! constant time before anything else: whatever lacks it finds nothing, and its
//! body is not read. What has it has a limit. An update is answered with 200 only after
//! the receiver has made it durable; anything else makes Telegram send it again.
//! It listens on loopback for a reverse proxy that speaks TLS to the world.

mod serve;

use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use connector_connections::Proven;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use subtle::ConstantTimeEq as _;

pub use serve::{MOST, serve};

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
    let hook = Hook { secret, receiver };
    Router::new()
        .route(path, post(take))
        .layer(DefaultBodyLimit::max(BODY))
        .layer(middleware::from_fn_with_state(hook.clone(), admit))
        .with_state(hook)
}

async fn admit(State(hook): State<Hook>, request: Request, next: Next) -> Response {
    let given = request.headers().get(SECRET_HEADER).map(HeaderValue::as_bytes).unwrap_or_default();
    if bool::from(given.ct_eq(hook.secret.expose_secret().as_bytes())) {
        if let Some(proven) = request.extensions().get::<Proven>() {
            proven.set();
        }
        next.run(request).await
    } else {
        // As if there were nothing here.
        StatusCode::NOT_FOUND.into_response()
    }
}

async fn take(State(hook): State<Hook>, body: Bytes) -> StatusCode {
    let Ok(update) = serde_json::from_slice::<Value>(&body) else { return StatusCode::BAD_REQUEST };
    if hook.receiver.receive(update).await { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

#[cfg(test)]
mod tests {
    use super::*;
    use connector_contract::{Grant, OutboundHttp, Reach};
    use std::sync::Mutex;
    use std::time::{Duration, Instant};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;
    use tokio_util::sync::CancellationToken;

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
        let address = listener.local_addr().unwrap();
        let base = format!("http://{address}");
        tokio::spawn(serve(listener, routes, CancellationToken::new()));
        let http = OutboundHttp::new([Grant::new(base.parse().unwrap(), Reach::Loopback).unwrap()]).unwrap();
        let long = format!("{{\"update_id\":1,\"x\":\"{}\"}}", "x".repeat(BODY));
        let right = "s".repeat(16);
        let right = Some(&right);
        for (method, path, secret, body, status) in [
            ("POST", "/hook/aaaaaaaaaaaaaaaa", right, "{\"update_id\":1}", 200),
            ("POST", "/hook/aaaaaaaaaaaaaaaa", right, "{\"update_id\":503}", 503),
            ("POST", "/hook/aaaaaaaaaaaaaaaa", Some(&"s".repeat(15)), "{\"update_id\":2}", 404),
            ("POST", "/hook/aaaaaaaaaaaaaaaa", None, "{\"update_id\":3}", 404),
            ("POST", "/hook/aaaaaaaaaaaaaaaa", right, "not json", 400),
            ("POST", "/hook/aaaaaaaaaaaaaaaa", right, &long, 413),
            ("POST", "/hook/", right, "{\"update_id\":4}", 404),
            ("GET", "/hook/aaaaaaaaaaaaaaaa", None, "", 404),
            ("PUT", "/hook/aaaaaaaaaaaaaaaa", None, "{\"update_id\":5}", 404),
        ] {
            let mut request = http::Request::builder().method(method).uri(format!("{base}{path}"));
            if let Some(secret) = secret {
                request = request.header(SECRET_HEADER, secret);
            }
            let request = request.body(bytes::Bytes::from(body.to_owned())).unwrap();
            let response = http.send(request).await.unwrap();
            assert_eq!(response.status().as_u16(), status, "{method} {path} {secret:?}");
        }
        assert_eq!(kept.0.lock().unwrap().len(), 2);
        // A body that never comes is not waited for.
        #[expect(clippy::disallowed_methods, reason = "half a request, which no client sends")]
        let mut stranger = tokio::net::TcpStream::connect(address).await.unwrap();
        let head = "POST /hook/aaaaaaaaaaaaaaaa HTTP/1.1\r\nhost: h\r\ncontent-length: 9\r\n\r\n";
        stranger.write_all(head.as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        stranger.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, *b"HTTP/1.1 404");
    }

    /// A connection that says `said` and no more.
    async fn connected(address: std::net::SocketAddr, said: &str) -> TcpStream {
        #[expect(clippy::disallowed_methods, reason = "connections that no client makes")]
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(said.as_bytes()).await.unwrap();
        stream
    }

    /// Until it is closed, and what came before.
    async fn closed(stream: &mut TcpStream) -> String {
        let mut bytes = Vec::new();
        let limit = Duration::from_secs(30);
        // One that was reset is closed as well.
        let _ = tokio::time::timeout(limit, stream.read_to_end(&mut bytes)).await.expect("it is closed");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    #[tokio::test]
    async fn idle_connections_are_few_and_short_and_an_update_comes_in_beside_them() {
        let kept = Arc::new(Kept(Mutex::default()));
        let routes = router("/hook/aaaaaaaaaaaaaaaa", "s".repeat(16).into(), kept.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let limits = (8, Duration::from_secs(2));
        let serving = tokio::spawn(serve::serve_within(listener, routes, stop.clone(), limits));
        let update = format!(
            "POST /hook/aaaaaaaaaaaaaaaa HTTP/1.1\r\nhost: h\r\n{SECRET_HEADER}: {}\r\ncontent-length: 15\r\n\r\n{{\"update_id\":1}}",
            "s".repeat(16)
        );
        // One that carried the secret stays while strangers come and go.
        let mut telegram = connected(address, &update).await;
        let mut answer = [0; 12];
        telegram.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, *b"HTTP/1.1 200");
        let mut idle = Vec::new();
        for said in ["", "POST", "GET / HTTP/1.1\r\n", "POST / HTTP/1.1\r\nhost: h\r\nx: "].repeat(10) {
            idle.push(connected(address, said).await);
        }
        telegram.write_all(update.as_bytes()).await.unwrap();
        let mut last = connected(address, &update).await;
        last.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, *b"HTTP/1.1 200", "there is room for it");
        let begun = Instant::now();
        for stream in &mut idle {
            closed(stream).await;
        }
        assert!(begun.elapsed() < Duration::from_secs(20));
        assert_eq!(kept.0.lock().unwrap().len(), 3);
        stop.cancel();
        serving.await.unwrap();
    }

    /// Keeps each update back until it is let through.
    struct Slow {
        received: tokio::sync::Semaphore,
        goes_on: tokio::sync::Semaphore,
    }

    #[async_trait]
    impl Receiver for Slow {
        async fn receive(&self, _update: Value) -> bool {
            self.received.add_permits(1);
            self.goes_on.acquire().await.is_ok()
        }
    }

    #[tokio::test]
    async fn an_update_that_is_being_taken_makes_room_for_nobody() {
        let none = || tokio::sync::Semaphore::new(0);
        let slow = Arc::new(Slow { received: none(), goes_on: none() });
        let routes = router("/hook/aaaaaaaaaaaaaaaa", "s".repeat(16).into(), slow.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let limits = (4, Duration::from_secs(30));
        let serving = tokio::spawn(serve::serve_within(listener, routes, stop.clone(), limits));
        let update = format!(
            "POST /hook/aaaaaaaaaaaaaaaa HTTP/1.1\r\nhost: h\r\n{SECRET_HEADER}: {}\r\ncontent-length: 15\r\n\r\n{{\"update_id\":1}}",
            "s".repeat(16)
        );
        let mut telegram = connected(address, &update).await;
        let limit = Duration::from_secs(30);
        tokio::time::timeout(limit, slow.received.acquire()).await.expect("it is received").unwrap().forget();
        let mut idle = Vec::new();
        for _ in 0..20 {
            idle.push(connected(address, "").await);
        }
        // The first of them made room, so all that came before the last were taken.
        closed(&mut idle[0]).await;
        slow.goes_on.add_permits(1);
        let mut answer = [0; 12];
        telegram.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, *b"HTTP/1.1 200");
        stop.cancel();
        serving.await.unwrap();
    }
}
