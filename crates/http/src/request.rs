//! One request, and what came of it.

use bytes::{Bytes, BytesMut};
use connector_contract::{
    ActionResult, ConnectorError, Context, Origin, OutboundError, OutboundResponse, Reference, StopCause,
    chain,
};
use futures_util::StreamExt as _;
use http::{Method, Request, StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use crate::config::Settings;

/// What an action takes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    #[serde(default)]
    method: Option<String>,
    path: String,
    /// An explicit `null` is a body too.
    #[serde(default, deserialize_with = "present")]
    body: Option<Value>,
}

fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// A request that can be sent.
#[derive(Debug)]
pub(crate) struct Call {
    method: Method,
    path: String,
    body: Option<Bytes>,
}

impl Call {
    /// What `action` with `input` sends. Pure.
    pub(crate) fn of(action: &str, input: &Value, settings: &Settings) -> Result<Self, ConnectorError> {
        let invalid = |reason: String| ConnectorError::InvalidInput { reason };
        let input = Input::deserialize(input).map_err(|error| invalid(error.to_string()))?;
        check_path(&input.path).map_err(invalid)?;
        let method = match (action, input.method.as_deref()) {
            ("get", None) => Method::GET,
            ("request", Some("POST")) => Method::POST,
            ("request", Some("PUT")) => Method::PUT,
            ("request", Some("PATCH")) => Method::PATCH,
            ("request", Some("DELETE")) => Method::DELETE,
            ("get", Some(_)) => return Err(invalid("`get` takes no `method`".to_owned())),
            _ => return Err(invalid("`method` takes POST, PUT, PATCH or DELETE".to_owned())),
        };
        let body = input.body.map(|body| Bytes::from(body.to_string()));
        let most = settings.limits.sent_bytes;
        match &body {
            Some(_) if method == Method::GET => Err(invalid("`get` takes no `body`".to_owned())),
            Some(body) if body.len() > most => {
                Err(invalid(format!("`body` has {} bytes; limits.sent_bytes is {most}", body.len())))
            }
            _ => Ok(Self { method, path: input.path, body }),
        }
    }

    /// Sends it, and reads the answer.
    pub(crate) async fn send(
        self,
        settings: &Settings,
        ctx: &Context,
    ) -> Result<ActionResult, ConnectorError> {
        let origin = &settings.origin;
        let request = self.request(settings)?;
        let ends = ctx.deadline.min(Instant::now() + settings.timeout);
        let answered = async {
            let response = ctx.http.send(request).await?;
            Answer::read(response, settings.limits.body_bytes).await
        };
        let answer = tokio::select! {
            biased;
            () = ctx.cancel.cancelled() => return Err(self.stopped(origin, StopCause::Cancelled)),
            answer = timeout_at(ends, answered) => match answer {
                Err(_) => return Err(self.stopped(origin, StopCause::Deadline)),
                Ok(answer) => answer.map_err(|error| self.broken(error))?,
            },
        };
        if answer.status == StatusCode::UNAUTHORIZED {
            let reason =
                format!("{origin} takes no request without its `authorization`, or not with this one");
            return Err(ConnectorError::Unauthorized { reason });
        }
        let said = answer.status.canonical_reason().unwrap_or_default();
        let message = format!("{} {}: {} {said}", self.method, self.path, answer.status.as_u16());
        Ok(ActionResult {
            success: answer.status.is_success(),
            output: json!({
                "status": answer.status.as_u16(), "body": answer.body, "truncated": answer.truncated,
            }),
            message: message.trim_end().to_owned(),
        })
    }

    fn request(&self, settings: &Settings) -> Result<Request<Bytes>, ConnectorError> {
        let mut request = Request::builder()
            .method(self.method.clone())
            .uri(format!("{}{}", settings.origin, self.path))
            .body(self.body.clone().unwrap_or_default())
            .map_err(|error| ConnectorError::InvalidInput { reason: format!("`path`: {error}") })?;
        let headers = request.headers_mut();
        headers.insert(header::ACCEPT, http::HeaderValue::from_static("application/json, */*;q=0.5"));
        if self.body.is_some() {
            headers.insert(header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
        }
        headers.extend(settings.headers.clone());
        Ok(request)
    }

    fn changes(&self) -> bool {
        self.method != Method::GET
    }

    /// What it comes to when nobody waits any more.
    fn stopped(&self, origin: &Origin, cause: StopCause) -> ConnectorError {
        let reference = Reference::default();
        let reason = match (self.changes(), cause) {
            (false, StopCause::Deadline) => {
                return ConnectorError::Unavailable {
                    reason: format!("{origin} did not answer in time"),
                    source: None,
                };
            }
            (false, _) => return ConnectorError::Cancelled { reason: "nothing was changed".to_owned() },
            (true, StopCause::Deadline) => {
                let reason = format!("{origin} did not answer in time, and may have done what was asked");
                return ConnectorError::OutcomeUnknown { reason, reference };
            }
            (true, _) => format!("nobody waits for {origin} any more; it may have done what was asked"),
        };
        ConnectorError::Stopped { cause, reason, reference }
    }

    /// What it comes to when the connection is not there or breaks.
    fn broken(&self, error: OutboundError) -> ConnectorError {
        match error {
            error @ OutboundError::NotGranted { .. } => {
                ConnectorError::CapabilityDenied { reason: error.to_string() }
            }
            error if self.changes() && !error.nothing_sent() => ConnectorError::OutcomeUnknown {
                reason: format!("{}; the request may have arrived", chain(&error)),
                reference: Reference::default(),
            },
            error => ConnectorError::Unavailable { reason: error.to_string(), source: Some(error) },
        }
    }
}

/// A path is taken where all parsers read the same: what is approved is what is sent.
fn check_path(path: &str) -> Result<(), String> {
    let wrong = |what: &str| Err(format!("`path` {what}"));
    if !path.starts_with('/') {
        return wrong("begins with /");
    }
    if let Some(odd) = path.chars().find(|c| !c.is_ascii_graphic() || "#\\\"<>`{}|^".contains(*c)) {
        return wrong(&format!("has {odd:?} in it; write what is no plain character as %XX"));
    }
    let bytes = path.as_bytes();
    let whole = |at: usize| bytes[at + 1..].iter().take(2).filter(|it| it.is_ascii_hexdigit()).count() == 2;
    if path.match_indices('%').any(|(at, _)| !whole(at)) {
        return wrong("has a % without two hexadecimal digits");
    }
    let segments = path.split(['?']).next().unwrap_or_default().split('/');
    let dots = |segment: &str| {
        let plain = segment.to_ascii_lowercase().replace("%2e", ".");
        plain == "." || plain == ".."
    };
    if segments.into_iter().any(dots) {
        return wrong("has `.` or `..` as a segment; write where that leads");
    }
    Ok(())
}

/// What the server said.
struct Answer {
    status: StatusCode,
    body: Value,
    truncated: bool,
}

impl Answer {
    /// Reads at most `limit` bytes of the body.
    async fn read(response: OutboundResponse, limit: usize) -> Result<Self, OutboundError> {
        let status = response.status();
        let kind = response.headers().get(header::CONTENT_TYPE).and_then(|it| it.to_str().ok());
        let kind = kind.unwrap_or_default().split(';').next().unwrap_or_default().trim();
        let of_json =
            kind.eq_ignore_ascii_case("application/json") || kind.to_ascii_lowercase().ends_with("+json");
        let mut chunks = std::pin::pin!(response.chunks());
        let (mut body, mut truncated) = (BytesMut::new(), false);
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk?;
            let room = limit - body.len();
            truncated = chunk.len() > room;
            body.extend_from_slice(&chunk[..room.min(chunk.len())]);
            if truncated {
                break;
            }
        }
        let read = if of_json && !truncated { serde_json::from_slice(&body).ok() } else { None };
        let body = read.unwrap_or_else(|| json!(String::from_utf8_lossy(&body)));
        Ok(Self { status, body, truncated })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_parsers_read_differently_is_refused() {
        for path in ["/", "/a/b?c=d&e=%20f", "/a/b.c/..d/...", "/a//b", "/?q=../x", "/a:b@c"] {
            assert_eq!(check_path(path), Ok(()), "{path}");
        }
        for path in [
            "",
            "a",
            "//\u{e9}",
            "/a b",
            "/a#b",
            "/a\\b",
            "/a/../b",
            "/a/./b",
            "/..",
            "/a/%2e%2E/b",
            "/.%2e",
            "/%zz",
            "/%2",
            "/a\n",
            "/{id}",
            "http://evil.example/",
        ] {
            assert!(check_path(path).is_err(), "{path}");
        }
    }
}
