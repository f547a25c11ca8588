//! One request, and what came of it.

use bytes::{Bytes, BytesMut};
use connector_contract::{
    ActionResult, ConnectorError, Context, Origin, OutboundError, OutboundResponse, Reference, StopCause,
    chain,
};
use futures_util::StreamExt as _;
use http::{Method, Request, StatusCode, header};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::time::{Instant, timeout_at};

use crate::config::Settings;
use crate::path;

/// What an action takes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    #[serde(default)]
    method: Option<String>,
    path: String,
    #[serde(default)]
    params: Map<String, Value>,
    #[serde(default)]
    query: Map<String, Value>,
    #[serde(default)]
    body: Option<Value>,
}

/// A request that can be sent.
#[derive(Debug)]
pub(crate) struct Call {
    /// Whether it may change something, for all that its rule says.
    changes: bool,
    method: Method,
    path: String,
    body: Option<Bytes>,
}

impl Call {
    /// What `action` with `input` sends. Pure.
    pub(crate) fn of(action: &str, input: &Value, settings: &Settings) -> Result<Self, ConnectorError> {
        let invalid = |reason: String| ConnectorError::InvalidInput { reason };
        let input = Input::deserialize(input).map_err(|error| invalid(error.to_string()))?;
        let path = path::put_together(&input.path, &input.params, &input.query).map_err(invalid)?;
        let method = match (action, input.method.as_deref()) {
            ("get", None) | ("request", Some("GET")) => Method::GET,
            ("request", Some("POST")) => Method::POST,
            ("request", Some("PUT")) => Method::PUT,
            ("request", Some("PATCH")) => Method::PATCH,
            ("request", Some("DELETE")) => Method::DELETE,
            ("get", Some(_)) => return Err(invalid("`get` takes no `method`".to_owned())),
            _ => return Err(invalid("`method` takes GET, POST, PUT, PATCH or DELETE".to_owned())),
        };
        let body = input.body.map(|body| Bytes::from(body.to_string()));
        let most = settings.limits.sent_bytes;
        match &body {
            Some(_) if method == Method::GET => Err(invalid("GET takes no `body`".to_owned())),
            Some(body) if body.len() > most => {
                Err(invalid(format!("`body` has {} bytes; limits.sent_bytes is {most}", body.len())))
            }
            _ => Ok(Self { changes: action != "get", method, path, body }),
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
            Answer::read(response, settings).await
        };
        let answer = tokio::select! {
            biased;
            () = ctx.cancel.cancelled() => return Err(self.stopped(origin, StopCause::Cancelled)),
            answer = timeout_at(ends, answered) => match answer {
                Err(_) => return Err(self.stopped(origin, StopCause::Deadline)),
                Ok(answer) => answer.map_err(|error| self.broken(origin, error))?,
            },
        };
        let said = answer.status.canonical_reason().unwrap_or_default();
        let hint = match answer.status {
            StatusCode::UNAUTHORIZED => "; see `authorization` of the instance",
            status if status.is_redirection() => "; it is not followed",
            _ => "",
        };
        let message = format!("{} {}: {} {said}{hint}", self.method, self.path, answer.status.as_u16());
        Ok(ActionResult {
            success: answer.status.is_success(),
            output: json!({
                "status": answer.status.as_u16(), "body": answer.body, "truncated": answer.truncated,
                "reply": message,
            }),
            message,
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

    /// What it comes to when nobody waits any more.
    fn stopped(&self, origin: &Origin, cause: StopCause) -> ConnectorError {
        let reference = Reference::default();
        let reason = match (self.changes, cause) {
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
    fn broken(&self, origin: &Origin, error: OutboundError) -> ConnectorError {
        match error {
            error @ OutboundError::NotGranted { .. } => {
                ConnectorError::CapabilityDenied { reason: error.to_string() }
            }
            error if self.changes && !error.nothing_sent() => ConnectorError::OutcomeUnknown {
                reason: format!("{}; the request may have arrived", chain(&error)),
                reference: Reference::default(),
            },
            error => {
                let what =
                    if error.nothing_sent() { "nothing was sent to" } else { "no whole answer came from" };
                ConnectorError::Unavailable { reason: format!("{what} {origin}"), source: Some(error) }
            }
        }
    }
}

/// What the server said.
struct Answer {
    status: StatusCode,
    body: Value,
    truncated: bool,
}

impl Answer {
    /// Reads what is kept of the body, without what it repeats of the instance's secrets.
    async fn read(response: OutboundResponse, settings: &Settings) -> Result<Self, OutboundError> {
        let limit = settings.limits.body_bytes;
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
        let read: Option<Value> =
            if of_json && !truncated { serde_json::from_slice(&body).ok() } else { None };
        let mut body = read
            .filter(|read| is_shallow(read, DEEPEST))
            .unwrap_or_else(|| json!(String::from_utf8_lossy(&body)));
        blot(&mut body, &settings.secrets, truncated);
        Ok(Self { status, body, truncated })
    }
}

/// Takes out what repeats a secret, also of one that is `cut` at the end.
fn blot(value: &mut Value, secrets: &[SecretString], cut: bool) {
    match value {
        Value::String(text) => *text = blotted(text, secrets, cut),
        Value::Array(items) => items.iter_mut().for_each(|item| blot(item, secrets, cut)),
        Value::Object(fields) => {
            let all = std::mem::take(fields).into_iter().map(|(name, mut field)| {
                blot(&mut field, secrets, cut);
                (blotted(&name, secrets, cut), field)
            });
            fields.extend(all);
        }
        _ => {}
    }
}

fn blotted(text: &str, secrets: &[SecretString], cut: bool) -> String {
    let mut text = text.to_owned();
    for secret in secrets.iter().map(SecretString::expose_secret) {
        text = text.replace(secret, BLOT);
        // A few characters may be the beginning of anything.
        let starts = secret.char_indices().map(|(at, _)| &secret[..at]).skip(4);
        if let Some(start) = starts.filter(|start| cut && text.ends_with(start)).last() {
            text.replace_range(text.len() - start.len().., BLOT);
        }
    }
    text
}

/// Stands where a secret was.
const BLOT: &str = "***";

/// How deep an answer's JSON may be, which is wrapped a few times more before it is kept.
const DEEPEST: usize = 64;

fn is_shallow(value: &Value, left: usize) -> bool {
    match value {
        Value::Array(items) => left > 0 && items.iter().all(|item| is_shallow(item, left - 1)),
        Value::Object(fields) => left > 0 && fields.values().all(|field| is_shallow(field, left - 1)),
        _ => true,
    }
}
