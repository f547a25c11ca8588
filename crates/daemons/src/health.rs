//! One question to a daemon: are you opencode, and which version?
//!
//! A fresh connection per question, to 127.0.0.1 only. Never follows a redirect, never uses a
//! proxy, and is only asked after the port's owner is proven, because it carries the password.

use std::path::Path;
use std::time::Duration;

use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use opencode_api::{Generation, Health};
use secrecy::SecretString;

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

/// The version that the daemon on `port` reports. One of which nothing is `known` is asked in both
/// ways at once, since the wrong one may take long to fail.
pub(crate) async fn version(
    port: u16,
    password: &SecretString,
    known: Option<&str>,
) -> Result<String, HealthError> {
    let ask = |generation, path| question(port, password, generation, path);
    let (one, two) = (Generation::One, Generation::Two);
    if let Some(known) = known {
        let generation = version::generation(known).unwrap_or(two);
        return ask(generation, generation.health_path()).await;
    }
    let (one, two) = (ask(one, one.health_path()), ask(two, two.health_path()));
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
    for path in Generation::Two.legacy_health_paths() {
        answer = ask(Generation::Two, path).await;
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

async fn question(
    port: u16,
    password: &SecretString,
    generation: Generation,
    path: &str,
) -> Result<String, HealthError> {
    let question = request(Method::GET, port, path, password);
    let answer = tokio::time::timeout(LIMIT, ask(port, question)).await;
    let (status, body) = answer.map_err(|_| HealthError::Silent)??;
    read(generation, status, &body)
}

/// Reads one answer. Who is starting has not answered yet, and by some releases says so with an error.
fn read(generation: Generation, status: StatusCode, body: &[u8]) -> Result<String, HealthError> {
    match status {
        StatusCode::UNAUTHORIZED => Err(HealthError::Unauthorized),
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::INTERNAL_SERVER_ERROR => Err(HealthError::Silent),
        _ => match generation.read_health(status, body) {
            Health::Serving(identity) => Ok(identity.version),
            Health::Starting(_) | Health::Unwell { .. } => Err(HealthError::Silent),
            Health::Locked | Health::Foreign => Err(HealthError::Foreign(status.as_u16())),
        },
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
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, format!("127.0.0.1:{port}"))
        .body(Empty::new())?;
    request.headers_mut().insert(header::AUTHORIZATION, opencode_api::authorization(password)?);
    Ok(request)
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
    fn who_cannot_serve_yet_has_not_answered_and_a_page_is_foreign() {
        let (one, two) = (Generation::One, Generation::Two);
        for (generation, status, body, expected) in [
            (one, 200, r#"{"healthy":true,"version":"1.18.33"}"#, Ok("1.18.33".to_owned())),
            (one, 200, r#"{"healthy":false,"version":"1.18.33"}"#, Err(HealthError::Silent)),
            (two, 200, r#"{"version":"2.0.22","pid":7,"urls":[],"paths":{}}"#, Ok("2.0.22".to_owned())),
            (two, 200, r#"{"version":"1.0.215"}"#, Ok("1.0.215".to_owned())),
            (two, 200, r#"{"healthy":false,"version":"2.0.3"}"#, Err(HealthError::Silent)),
            (one, 200, r#"{"version":"1.18.33"}"#, Err(HealthError::Foreign(200))),
            (one, 200, "<!doctype html>", Err(HealthError::Foreign(200))),
            (two, 404, "", Err(HealthError::Foreign(404))),
            (one, 401, "", Err(HealthError::Unauthorized)),
            (one, 401, r#"{"_tag":"UnauthorizedError"}"#, Err(HealthError::Unauthorized)),
            (two, 401, "", Err(HealthError::Unauthorized)),
            (two, 503, r#"{"code":"service_starting"}"#, Err(HealthError::Silent)),
            (two, 503, r#"{"version":"2.0.14","pid":7,"urls":[],"paths":{}}"#, Err(HealthError::Silent)),
            (two, 500, r#"{"version":"2.1.2","pid":7,"urls":[],"paths":{}}"#, Err(HealthError::Silent)),
            (one, 500, "", Err(HealthError::Silent)),
            (two, 500, "", Err(HealthError::Silent)),
        ] {
            let read = read(generation, StatusCode::from_u16(status).unwrap(), body.as_bytes());
            assert_eq!(read, expected, "{status} {body}");
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
