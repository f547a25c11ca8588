//! What the Bot API's refusals mean for whoever called.

use std::time::Duration;

use connector_contract::OutboundError;
use serde::Deserialize;

/// The longest wait that is obeyed: then it is tried again, whatever was named.
const LONGEST: Duration = Duration::from_hours(1);

/// A refusal, as the Bot API sends it.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Refusal {
    pub(super) description: String,
    pub(super) error_code: u64,
    parameters: Option<Parameters>,
}

/// What a refusal adds, in numbers that no wait outgrows.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Parameters {
    migrate_to_chat_id: Option<i64>,
    retry_after: Option<u64>,
}

/// An error of the Bot API, split by what to do about it. Never contains the
/// token: the network's errors have no path, and descriptions are redacted.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// Retry, not before `after`.
    #[error("telegram asks to wait {} s", .after.as_secs())]
    Throttled {
        /// How long.
        after: Duration,
    },
    /// Retry: nothing was sent, or the connection broke and it may have arrived.
    #[error("telegram cannot be reached")]
    Network(#[source] OutboundError),
    /// Retry: no answer in time; it may have arrived.
    #[error("telegram did not answer in time")]
    TimedOut,
    /// Retry: the server is in trouble.
    #[error("telegram answered with status {status}")]
    Server {
        /// The HTTP status.
        status: u16,
    },
    /// Report: the token is not, or no longer, valid.
    #[error("telegram does not know this bot token (401); get one from @BotFather and set `bot_token`")]
    Unauthorized,
    /// Report: somebody else takes the updates.
    #[error(
        "another program takes this bot's updates (409); stop it, or use a bot of its own here: {description}"
    )]
    Conflict {
        /// Telegram's words.
        description: String,
    },
    /// Report: the bot was blocked, removed, or may not write there.
    #[error("telegram does not let the bot write there (403): {description}")]
    Forbidden {
        /// Telegram's words.
        description: String,
    },
    /// Report: the group became a supergroup with another id.
    #[error("the group has a new id, {to}; put it into `allow_chats`")]
    Migrated {
        /// The new id.
        to: i64,
    },
    /// Fine: the message already says that.
    #[error("the message is not modified")]
    NotModified,
    /// Fine: the tap was too long ago to be answered.
    #[error("the tap is too old to be answered")]
    TooOld,
    /// Fine: the message to change is gone, or too old to be changed.
    #[error("there is no such message to change any more")]
    Gone,
    /// Report: the request itself is not acceptable.
    #[error("telegram refuses ({code}): {description}")]
    Refused {
        /// Telegram's code.
        code: u64,
        /// Telegram's words.
        description: String,
    },
    /// Report: something is not what the Bot API says it is.
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
    /// Reads Telegram's own words, which are all it has for most cases.
    pub(super) fn from_refusal(refusal: Refusal) -> Self {
        let Refusal { description, error_code: code, parameters } = refusal;
        let parameters = parameters.unwrap_or_default();
        if let Some(to) = parameters.migrate_to_chat_id {
            return Self::Migrated { to };
        }
        let says = |words: &str| description.to_ascii_lowercase().contains(words);
        match code {
            401 | 404 if code == 401 || description == "Not Found" => Self::Unauthorized,
            403 => Self::Forbidden { description },
            409 => Self::Conflict { description },
            429 => {
                let after = Duration::from_secs(parameters.retry_after.unwrap_or(1).max(1));
                Self::Throttled { after: after.min(LONGEST) }
            }
            400 if says("message is not modified") => Self::NotModified,
            400 if says("query is too old") || says("query id is invalid") => Self::TooOld,
            400 if says("message to edit not found")
                || says("message can't be edited")
                || says("message to delete not found") =>
            {
                Self::Gone
            }
            500.. => Self::Server { status: u16::try_from(code).unwrap_or(500) },
            _ => Self::Refused { code, description },
        }
    }

    /// Whether the same call may do better later.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Throttled { .. } | Self::Network(_) | Self::TimedOut | Self::Server { .. })
    }

    /// Whether it is what was wanted, or nothing to worry about.
    pub fn is_fine(&self) -> bool {
        matches!(self, Self::NotModified | Self::TooOld | Self::Gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(code: u64, description: &str) -> ApiError {
        let description = description.to_owned();
        ApiError::from_refusal(Refusal { description, error_code: code, ..Refusal::default() })
    }

    type Fits = fn(&ApiError) -> bool;

    #[test]
    fn each_refusal_says_what_to_do() {
        let table: [(u64, &str, Fits); 10] = [
            (400, "Bad Request: message is not modified: specified new …", |it| {
                matches!(it, ApiError::NotModified)
            }),
            (
                400,
                "Bad Request: query is too old and response timeout expired or query ID is invalid",
                |it| matches!(it, ApiError::TooOld),
            ),
            (400, "Bad Request: message to edit not found", |it| matches!(it, ApiError::Gone)),
            (400, "Bad Request: chat not found", |it| matches!(it, ApiError::Refused { code: 400, .. })),
            (401, "Unauthorized", |it| matches!(it, ApiError::Unauthorized)),
            (404, "Not Found", |it| matches!(it, ApiError::Unauthorized)),
            (403, "Forbidden: bot was blocked by the user", |it| matches!(it, ApiError::Forbidden { .. })),
            (409, "Conflict: terminated by other getUpdates request", |it| {
                matches!(it, ApiError::Conflict { .. })
            }),
            (429, "Too Many Requests", |it| matches!(it, ApiError::Throttled { .. })),
            (502, "Bad Gateway", |it| matches!(it, ApiError::Server { status: 502 })),
        ];
        for (code, description, fits) in table {
            let error = of(code, description);
            assert!(fits(&error), "{code} {description}: {error:?}");
        }
    }

    #[test]
    fn the_wait_is_the_one_telegram_names() {
        for (named, obeyed) in [("0", 1), ("31", 31), ("70000", 3_600), ("18446744073709551615", 3_600)] {
            let body = format!(
                "{{\"ok\":false,\"error_code\":429,\"description\":\"Too Many Requests\",\
                 \"parameters\":{{\"retry_after\":{named}}}}}"
            );
            let error = ApiError::from_refusal(serde_json::from_str(&body).unwrap());
            assert!(
                matches!(error, ApiError::Throttled { after } if after.as_secs() == obeyed),
                "{named}: {error:?}"
            );
        }
    }
}
