//! One request: whether it is taken, and what becomes of it.

use std::collections::HashMap;
use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use connector_connections::Proven;
use connector_engine::{Arrival, Engine, Repeat};
use connector_gate::clock::{Clock, Millis};
use connector_gate::policy::Actor;
use http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, ORIGIN};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body_util::LengthLimitError;
use serde::Serialize;
use serde_json::Value;

use crate::cli::api::{Answer, Code, Problem, json};
use crate::webhook::{Delivery, Hook, Refused};

/// What requests are taken with.
pub(super) struct Taking {
    pub(super) engine: Engine,
    pub(super) hooks: HashMap<String, Hook>,
    /// The longest body.
    pub(super) most: usize,
    /// How far from now a request may have been signed.
    pub(super) tolerance: Duration,
    /// How long the same body is the same delivery.
    pub(super) repeat: Duration,
}

/// A request that was taken.
#[derive(Serialize)]
struct Taken {
    /// The event that it is.
    event: i64,
    /// Whether it was there before, and nothing is begun again.
    again: bool,
}

pub(super) async fn take(State(taking): State<Arc<Taking>>, request: Request) -> Response {
    let Some(hook) = taking.hooks.get(request.uri().path()) else {
        return Problem::not_found("there is no webhook at this path").into_response();
    };
    if request.method() != Method::POST {
        let mut response = Problem::new(Code::MethodNotAllowed, "a webhook takes POST alone").into_response();
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        return response;
    }
    taking.taken(hook, request).await.unwrap_or_else(|problem| {
        tracing::warn!(webhook = %hook.path, code = ?problem.code(), "a request was refused");
        problem.into_response()
    })
}

impl Taking {
    async fn taken(&self, hook: &Hook, request: Request) -> Answer {
        let proven = request.extensions().get::<Proven>().cloned();
        let (head, body) = request.into_parts();
        let headers = &head.headers;
        if headers.contains_key(ORIGIN) {
            return Err(Problem::new(Code::NotAllowed, "no page in a browser sends to a webhook"));
        }
        if !is_json(headers) {
            let detail = "send JSON, with `content-type: application/json`";
            return Err(Problem::new(Code::UnsupportedMediaType, detail));
        }
        hook.proof.admits(headers)?;
        let body = self.read(headers, body).await?;
        hook.proof.holds(headers, &body, Clock::System.now(), self.tolerance)?;
        // Who shows nothing is a stranger still, and gives way to others.
        if let Some(proven) = proven.filter(|_| hook.secret().is_some()) {
            proven.set();
        }
        self.stored(hook, headers, &body).await
    }

    async fn read(&self, headers: &HeaderMap, body: Body) -> Result<Bytes, Problem> {
        let too_large =
            || Problem::new(Code::TooLarge, format!("a body has at most {} bytes here", self.most));
        let told = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if told.is_some_and(|told| told > self.most as u64) {
            return Err(too_large());
        }
        to_bytes(body, self.most).await.map_err(|error| {
            if error.source().is_some_and(<dyn std::error::Error>::is::<LengthLimitError>) {
                too_large()
            } else {
                Problem::invalid("the body did not come whole")
            }
        })
    }

    async fn stored(&self, hook: &Hook, headers: &HeaderMap, body: &[u8]) -> Answer {
        let value: Value = serde_json::from_slice(body).map_err(|error| {
            Problem::invalid(format!(
                "the body is not JSON at line {}, column {}",
                error.line(),
                error.column()
            ))
        })?;
        let delivery = hook.delivery(headers, body).ok_or_else(|| {
            Problem::invalid("the id of the delivery is none: 1 to 200 visible characters of ASCII")
        })?;
        let repeat = match &delivery {
            Delivery::Named(_) => Repeat::ById,
            Delivery::Digest(_) => {
                Repeat::Within(Millis::try_from(self.repeat.as_millis()).unwrap_or(Millis::MAX))
            }
        };
        let event = hook.event(&delivery, headers, value);
        // What is written may be nested too deeply to be read again.
        if serde_json::from_str::<Value>(&event.payload.to_string()).is_err() {
            return Err(Problem::invalid("the body is nested too deeply: at most 126 levels are taken"));
        }
        let requester = Actor::new(connector_rules::WEBHOOK, hook.path.as_str());
        let stored = self.engine.submit_from_outside(event, requester, repeat).await?;
        let event = stored.event;
        let (status, again) = match stored.arrival {
            Arrival::First => (StatusCode::CREATED, false),
            Arrival::Again => (StatusCode::OK, true),
            Arrival::Clash => {
                tracing::warn!(webhook = %hook.path, event, "another request has the id of this event, and is lost");
                let detail = format!(
                    "the event {event} came under the same id and says something else, so this request is not \
                     stored: send it under an id that was never used here"
                );
                return Err(Problem::new(Code::Conflict, detail));
            }
        };
        tracing::info!(webhook = %hook.path, event, again, "a request was taken");
        json(status, &Taken { event, again })
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        Self::new(Code::Unauthorized, refused.to_string())
    }
}

/// `application/json`, or another kind that is JSON, such as `application/cloudevents+json`.
fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind == "application/json"
        || kind.strip_prefix("application/").is_some_and(|kind| kind.ends_with("+json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_json_says_so() {
        let judged = |kind: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, kind.parse().unwrap());
            is_json(&headers)
        };
        for kind in ["application/json", "Application/JSON; charset=utf-8", "application/cloudevents+json"] {
            assert!(judged(kind), "{kind}");
        }
        for kind in
            ["", "text/json", "application/jsonp", "application/x-www-form-urlencoded", "image/svg+json"]
        {
            assert!(!judged(kind), "{kind}");
        }
        assert!(!is_json(&HeaderMap::new()));
    }
}
