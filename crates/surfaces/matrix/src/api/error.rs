//! What a homeserver's refusals mean for whoever called.

use std::time::Duration;

use connector_contract::OutboundError;
use connector_surface::text;
use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;

/// The longest wait that is obeyed: then it is tried again, whatever was named.
const LONGEST: Duration = Duration::from_hours(1);

/// A refusal, as a homeserver sends it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Refusal {
    pub(super) errcode: String,
    pub(super) error: String,
    retry_after_ms: Option<u64>,
}

/// An error of a homeserver, split by what to do about it. Never contains the token: the network's
/// errors have no headers, and the server's words are redacted.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// Retry, not before `after`.
    #[error("the homeserver asks to wait {} ms", .after.as_millis())]
    Throttled {
        /// How long.
        after: Duration,
    },
    /// Retry: nothing was sent, or the connection broke and it may have arrived.
    #[error("the homeserver cannot be reached")]
    Network(#[source] OutboundError),
    /// Retry: no answer in time; it may have arrived.
    #[error("the homeserver did not answer in time")]
    TimedOut,
    /// Retry: the server is in trouble.
    #[error("the homeserver answered with status {status}")]
    Server {
        /// The HTTP status.
        status: u16,
    },
    /// Report: the token is not, or no longer, valid.
    #[error("the homeserver does not know this access token; log in again and set `access_token`")]
    LoggedOut,
    /// Report: the bot is not in the room, or may not do that there.
    #[error("the homeserver does not allow that: {reason}")]
    Forbidden {
        /// The homeserver's words.
        reason: String,
    },
    /// Report: an event has more than 65,536 bytes, or a file more than the server takes.
    #[error("the homeserver says that it is too large")]
    TooLarge,
    /// Report: there is no such room, event, state or file.
    #[error("the homeserver has no such thing: {reason}")]
    NotFound {
        /// The homeserver's words.
        reason: String,
    },
    /// Ask for less: the answer is longer than is read.
    #[error("the homeserver's answer is too long")]
    TooLong,
    /// Begin anew: the server does not know the place up to which it was read.
    #[error("the homeserver does not know how far it was read")]
    LostPlace,
    /// Report: the request itself is not acceptable.
    #[error("the homeserver refuses ({code}): {reason}")]
    Refused {
        /// The homeserver's code.
        code: String,
        /// The homeserver's words.
        reason: String,
    },
    /// Report: something is not what the specification says it is.
    #[error("the {what} cannot be read")]
    Unreadable {
        /// What.
        what: &'static str,
    },
}

impl From<OutboundError> for ApiError {
    fn from(error: OutboundError) -> Self {
        Self::Network(error)
    }
}

impl ApiError {
    /// A refusal by its status and code, without the server's words, where those could repeat a secret.
    pub(crate) fn without_words(status: StatusCode, body: &[u8]) -> Self {
        let mut refusal: Refusal = serde_json::from_slice(body).unwrap_or_default();
        "no reason given".clone_into(&mut refusal.error);
        // What is no code could be anything.
        let is_code = |it: char| it.is_ascii_uppercase() || it == '_';
        if !refusal.errcode.starts_with("M_") || !refusal.errcode.chars().all(is_code) {
            refusal.errcode = String::new();
        }
        Self::from_refusal(status, &HeaderMap::new(), refusal)
    }

    pub(super) fn from_refusal(status: StatusCode, headers: &HeaderMap, refusal: Refusal) -> Self {
        let Refusal { errcode: code, error: reason, retry_after_ms } = refusal;
        // They are shown to people, and a server may say anything.
        let [code, reason] = [code, reason].map(|words| text::one_line(&words));
        match (status.as_u16(), code.as_str()) {
            (429, _) | (_, "M_LIMIT_EXCEEDED") => Self::Throttled { after: wait(headers, retry_after_ms) },
            (500.., _) => Self::Server { status: status.as_u16() },
            (401, _) | (_, "M_UNKNOWN_TOKEN" | "M_MISSING_TOKEN") => Self::LoggedOut,
            (413, _) | (_, "M_TOO_LARGE") => Self::TooLarge,
            (403, _) => Self::Forbidden { reason },
            (404, "M_NOT_FOUND") => Self::NotFound { reason },
            (_, "") => {
                Self::Refused { code: status.as_u16().to_string(), reason: "no reason given".to_owned() }
            }
            _ => Self::Refused { code, reason },
        }
    }

    /// Whether the same call may do better later.
    pub fn is_passing(&self) -> bool {
        use OutboundError::{Interrupted, Unreachable};
        match self {
            Self::Network(source) => matches!(source, Unreachable { .. } | Interrupted { .. }),
            _ => matches!(
                self,
                Self::Throttled { .. }
                    | Self::TimedOut
                    | Self::Server { .. }
                    | Self::TooLong
                    | Self::LostPlace
            ),
        }
    }

    /// Whether it is certain that the call had no effect.
    pub fn nothing_done(&self) -> bool {
        match self {
            Self::Network(source) => source.nothing_sent(),
            Self::TimedOut | Self::Server { .. } | Self::Unreadable { .. } => false,
            _ => true,
        }
    }
}

/// In milliseconds in the body, as servers say it since long, or in seconds in the header, as the
/// specification says it since version 1.10.
fn wait(headers: &HeaderMap, millis: Option<u64>) -> Duration {
    let seconds = || headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok();
    let named = millis.map(Duration::from_millis).or_else(|| seconds().map(Duration::from_secs));
    named.unwrap_or(Duration::from_secs(1)).clamp(Duration::from_millis(1), LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: u16, body: &str, retry_after: Option<&str>) -> ApiError {
        let mut headers = HeaderMap::new();
        if let Some(value) = retry_after {
            headers.insert(header::RETRY_AFTER, value.parse().unwrap());
        }
        let refusal = serde_json::from_str(body).unwrap_or_default();
        ApiError::from_refusal(StatusCode::from_u16(status).unwrap(), &headers, refusal)
    }

    type Fits = fn(&ApiError) -> bool;

    #[test]
    fn each_refusal_says_what_to_do() {
        let table: [(u16, &str, Fits); 12] = [
            (429, r#"{"errcode":"M_LIMIT_EXCEEDED"}"#, |it| matches!(it, ApiError::Throttled { .. })),
            (429, "<html>", |it| matches!(it, ApiError::Throttled { .. })),
            (401, r#"{"errcode":"M_UNKNOWN_TOKEN"}"#, |it| matches!(it, ApiError::LoggedOut)),
            (403, r#"{"errcode":"M_FORBIDDEN","error":"x"}"#, |it| matches!(it, ApiError::Forbidden { .. })),
            (403, r#"{"errcode":"M_UNKNOWN_TOKEN"}"#, |it| matches!(it, ApiError::LoggedOut)),
            (413, r#"{"errcode":"M_TOO_LARGE"}"#, |it| matches!(it, ApiError::TooLarge)),
            (413, "<html>", |it| matches!(it, ApiError::TooLarge)),
            (404, r#"{"errcode":"M_NOT_FOUND"}"#, |it| matches!(it, ApiError::NotFound { .. })),
            (404, "<html>", |it| matches!(it, ApiError::Refused { code, .. } if code == "404")),
            (502, "<html>", |it| matches!(it, ApiError::Server { status: 502 })),
            (301, "", |it| matches!(it, ApiError::Refused { code, .. } if code == "301")),
            (
                400,
                r#"{"errcode":"M_BAD_JSON"}"#,
                |it| matches!(it, ApiError::Refused { code, .. } if code == "M_BAD_JSON"),
            ),
        ];
        for (status, body, fits) in table {
            let error = of(status, body, None);
            assert!(fits(&error), "{status} {body}: {error:?}");
        }
    }

    #[test]
    fn the_wait_is_the_one_the_server_names_in_its_body_or_else_in_its_header() {
        for (body, header, obeyed) in [
            (r#"{"retry_after_ms":1234}"#, Some("9"), 1_234),
            (r#"{"retry_after_ms":0}"#, None, 1),
            ("{}", Some("9"), 9_000),
            ("{}", Some("Wed, 21 Oct 2026 07:28:00 GMT"), 1_000),
            ("{}", None, 1_000),
            (r#"{"retry_after_ms":18446744073709551615}"#, None, 3_600_000),
        ] {
            let error = of(429, body, header);
            assert!(
                matches!(error, ApiError::Throttled { after } if after.as_millis() == obeyed),
                "{body} {header:?}: {error:?}"
            );
        }
    }
}
