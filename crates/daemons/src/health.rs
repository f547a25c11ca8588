//! One question to a daemon: are you opencode, and which version?
//!
//! A fresh connection per question, to 127.0.0.1 only. Never follows a redirect, never uses a
//! proxy, and is only asked after the port's owner is proven, because it carries the password.

use std::path::Path;
use std::time::Duration;

use data_encoding::BASE64;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use crate::version;

const LIMIT: Duration = Duration::from_secs(5);
const BODY: usize = 64 * 1024;

/// What went wrong with the question.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HealthError {
    /// No answer: refused, cut off, or silent for five seconds.
    #[error("no answer to the health question")]
    Silent,
    /// The password was not accepted.
    #[error("the daemon does not accept its own password")]
    Unauthorized,
    /// Something answered, but not as opencode does.
    #[error("the answer to the health question is not opencode's (HTTP {0})")]
    Foreign(u16),
}

/// Where 1.x, and 2.x since 2.0.6, say which version they are. What a version does not know it answers
/// with 404 or a web page, which it may first fetch elsewhere.
const ROUTES: [&str; 2] = ["/global/health", "/api/info"];

/// Where earlier 2.x does, which is asked so that it can be refused by its version.
const EARLY: [&str; 2] = ["/api/status", "/api/health"];

/// `healthy` is 1.x's alone.
#[derive(Deserialize)]
struct Health {
    #[serde(default = "yes")]
    healthy: bool,
    version: String,
}

fn yes() -> bool {
    true
}

/// The version that the daemon on `port` reports. One of which nothing is `known` is asked in both
/// ways at once, since the wrong one may take long to fail.
pub(crate) async fn version(
    port: u16,
    password: &SecretString,
    known: Option<&str>,
) -> Result<String, HealthError> {
    let ask = |route| question(port, password, route);
    if let Some(known) = known {
        return ask(ROUTES[usize::from(!version::is_of_1(known))]).await;
    }
    let (one, two) = (ask(ROUTES[0]), ask(ROUTES[1]));
    tokio::pin!(one, two);
    let (first, other) = tokio::select! {
        first = &mut one => (first, two),
        first = &mut two => (first, one),
    };
    let mut answers = [first, Err(HealthError::Silent)];
    if !is_settled(&answers[0]) {
        answers[1] = other.await;
    }
    if let Some(settled) = answers.iter().find(|answer| is_settled(answer)) {
        return settled.clone();
    }
    if answers.contains(&Err(HealthError::Silent)) {
        return Err(HealthError::Silent);
    }
    let mut answer = answers[0].clone();
    for route in EARLY {
        answer = ask(route).await;
        if !matches!(answer, Err(HealthError::Foreign(_))) {
            break;
        }
    }
    answer
}

/// Whether the other way need not be heard.
fn is_settled(answer: &Result<String, HealthError>) -> bool {
    matches!(answer, Ok(_) | Err(HealthError::Unauthorized))
}

async fn question(port: u16, password: &SecretString, route: &str) -> Result<String, HealthError> {
    let question = request(Method::GET, port, route, password);
    let answer = tokio::time::timeout(LIMIT, ask(port, question)).await;
    let (status, body) = answer.map_err(|_| HealthError::Silent)??;
    read(status, &body)
}

/// Reads one answer. Who is starting has not answered yet.
fn read(status: StatusCode, body: &[u8]) -> Result<String, HealthError> {
    match status {
        StatusCode::UNAUTHORIZED => Err(HealthError::Unauthorized),
        // It says who it is before it serves, and by some releases with an error.
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::INTERNAL_SERVER_ERROR => Err(HealthError::Silent),
        StatusCode::OK => match serde_json::from_slice::<Health>(body) {
            Ok(Health { healthy: true, version }) => Ok(version),
            Ok(_) => Err(HealthError::Silent),
            Err(_) => Err(HealthError::Foreign(200)),
        },
        other => Err(HealthError::Foreign(other.as_u16())),
    }
}

/// Ends what a 1.x daemon on `port` holds in memory for one directory.
pub(crate) async fn dispose(port: u16, password: &SecretString, directory: &Path) -> Result<(), HealthError> {
    let order = request(Method::POST, port, &dispose_path(directory), password);
    let answer = tokio::time::timeout(LIMIT, ask(port, order)).await;
    let (status, body) = answer.map_err(|_| HealthError::Silent)??;
    disposed(status, &body)
}

fn dispose_path(directory: &Path) -> String {
    let bytes = directory.as_os_str().as_encoded_bytes();
    format!("/instance/dispose?directory={}", url::form_urlencoded::byte_serialize(bytes).collect::<String>())
}

/// What does not know the route answers 200 too, with a web page.
fn disposed(status: StatusCode, body: &[u8]) -> Result<(), HealthError> {
    let done = status == StatusCode::OK && matches!(serde_json::from_slice(body), Ok(true));
    if done { Ok(()) } else { Err(HealthError::Foreign(status.as_u16())) }
}

fn request(
    method: Method,
    port: u16,
    path: &str,
    password: &SecretString,
) -> http::Result<Request<Empty<bytes::Bytes>>> {
    let token = BASE64.encode(format!("opencode:{}", password.expose_secret()).as_bytes());
    let mut authorization = header::HeaderValue::try_from(format!("Basic {token}"))?;
    authorization.set_sensitive(true);
    Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, format!("127.0.0.1:{port}"))
        .header(header::AUTHORIZATION, authorization)
        .body(Empty::new())
}

async fn ask(
    port: u16,
    request: http::Result<Request<Empty<bytes::Bytes>>>,
) -> Result<(StatusCode, bytes::Bytes), HealthError> {
    let request = request.map_err(|_| HealthError::Silent)?;
    let silent = |_| HealthError::Silent;
    #[expect(clippy::disallowed_methods, reason = "the health question goes to our own child on loopback")]
    let stream = tokio::net::TcpStream::connect((std::net::Ipv4Addr::LOCALHOST, port))
        .await
        .map_err(|_| HealthError::Silent)?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(silent)?;
    let exchange = async {
        let answer = sender.send_request(request).await.map_err(silent)?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), BODY)
            .collect()
            .await
            .map_err(|_| HealthError::Foreign(status.as_u16()))?;
        Ok((status, body.to_bytes()))
    };
    tokio::pin!(connection, exchange);
    tokio::select! {
        answer = &mut exchange => answer,
        _ = &mut connection => exchange.await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_generation_is_understood_and_a_page_is_foreign() {
        let read = |status: u16, body: &str| read(StatusCode::from_u16(status).unwrap(), body.as_bytes());
        for (status, body, expected) in [
            (200, r#"{"healthy":true,"version":"1.18.33"}"#, Ok("1.18.33".to_owned())),
            (200, r#"{"healthy":false,"version":"1.18.33"}"#, Err(HealthError::Silent)),
            (200, r#"{"version":"2.0.22","pid":7,"urls":[],"paths":{}}"#, Ok("2.0.22".to_owned())),
            (200, "<!doctype html>", Err(HealthError::Foreign(200))),
            (404, "", Err(HealthError::Foreign(404))),
            (401, "", Err(HealthError::Unauthorized)),
            (503, r#"{"code":"service_starting"}"#, Err(HealthError::Silent)),
            (503, r#"{"version":"2.0.14","pid":7,"urls":[],"paths":{}}"#, Err(HealthError::Silent)),
            (500, r#"{"version":"2.1.2","pid":7,"urls":[],"paths":{}}"#, Err(HealthError::Silent)),
            (500, "", Err(HealthError::Silent)),
        ] {
            assert_eq!(read(status, body), expected, "{status} {body}");
        }
    }

    #[test]
    fn only_a_daemon_that_knows_the_order_has_carried_it_out() {
        for (status, body, done) in [
            (200, "true", true),
            (200, "false", false),
            (200, "<!doctype html>", false),
            (404, "true", false),
        ] {
            let answer = disposed(StatusCode::from_u16(status).unwrap(), body.as_bytes());
            assert_eq!(answer.is_ok(), done, "{status} {body}");
        }
    }

    #[test]
    fn any_directory_can_be_named() {
        let path = dispose_path(Path::new("/a b/ü&c=%/+"));
        let order = request(Method::POST, 4096, &path, &SecretString::from("pw")).unwrap();
        let query = order.uri().query().unwrap().as_bytes();
        let named: Vec<_> = url::form_urlencoded::parse(query).collect();
        assert_eq!(named, [("directory".into(), "/a b/ü&c=%/+".into())]);
    }

    #[test]
    fn the_question_carries_the_password_as_a_sensitive_header() {
        let request = request(Method::GET, 4096, "/global/health", &SecretString::from("pw")).unwrap();
        assert_eq!(request.uri(), "/global/health");
        assert_eq!(request.headers()["host"], "127.0.0.1:4096");
        assert_eq!(request.headers()["authorization"], "Basic b3BlbmNvZGU6cHc=");
        assert!(request.headers()["authorization"].is_sensitive());
    }
}
