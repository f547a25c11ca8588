//! The section of a host's configuration that is about Telegram.

use std::net::SocketAddr;
use std::time::Duration;

use connector_contract::{ConnectorError, Grant, Origin, OutboundHttp, Reach};
use schemars::JsonSchema;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use url::Url;

use crate::api::Api;
use crate::token::Token;
use crate::update::Allow;

/// Telegram's own Bot API server.
pub const API_BASE: &str = "https://api.telegram.org";

/// Configuration as it is written; [`Config::check`] makes [`Settings`] of it.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The bot's token from `@BotFather`.
    #[schemars(with = "String", extend("x-secret" = true))]
    pub bot_token: SecretString,
    /// Origin of the Bot API server.
    pub api_base: String,
    /// Allows an `api_base` on another machine that is not Telegram's own.
    pub allow_remote: bool,
    /// How updates come in.
    pub update_mode: UpdateMode,
    /// How long a request for updates is held when there are none, in seconds.
    #[schemars(range(min = 1, max = 50))]
    pub poll_timeout: u64,
    /// Where Telegram reaches the webhook, with a path nobody can guess.
    pub webhook_url: Option<String>,
    /// What Telegram repeats in each request to the webhook.
    #[schemars(with = "Option<String>", extend("x-secret" = true))]
    pub webhook_secret: Option<SecretString>,
    /// Where the webhook listens for the reverse proxy, on loopback.
    pub webhook_listen: SocketAddr,
    /// How often Telegram is asked whether the webhook is still set, in seconds.
    #[schemars(range(min = 1, max = 3600))]
    pub webhook_check: u64,
    /// User ids of those who may write to the bot in private. Empty means nobody.
    pub allow_users: Vec<u64>,
    /// Ids of groups whose members may write to the bot. Empty means none.
    pub allow_chats: Vec<i64>,
    /// Sends the agent's changes as a document below the result.
    pub send_patch: bool,
    /// Takes photos and documents, for rules on `files_received`. Absent means that none is taken.
    pub files: Option<Files>,
}

/// Which files are taken.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Files {
    /// The largest, in bytes.
    pub max_bytes: usize,
    /// What their content may be: `image/png`, `image/jpeg`, `image/webp`, `image/gif`,
    /// `application/pdf`, or `text/plain` for every text.
    pub types: Vec<String>,
}

impl Files {
    /// Every type that is known by its content.
    pub const KNOWN: [&str; 6] =
        ["image/png", "image/jpeg", "image/webp", "image/gif", "text/plain", "application/pdf"];

    /// More than this no file may have, whatever is configured.
    pub const MOST: usize = 8 << 20;
}

impl Default for Files {
    fn default() -> Self {
        let types = Self::KNOWN[..5].iter().map(|it| (*it).to_owned()).collect();
        Self { max_bytes: 2 << 20, types }
    }
}

/// How updates come in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum UpdateMode {
    /// The host asks for them.
    #[default]
    Polling,
    /// Telegram brings them.
    Webhook,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            bot_token: SecretString::default(),
            api_base: API_BASE.to_owned(),
            allow_remote: false,
            update_mode: UpdateMode::Polling,
            poll_timeout: 50,
            webhook_url: None,
            webhook_secret: None,
            webhook_listen: SocketAddr::from(([127, 0, 0, 1], 8443)),
            webhook_check: 180,
            allow_users: Vec::new(),
            allow_chats: Vec::new(),
            send_patch: true,
            files: None,
        }
    }
}

/// A checked configuration.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where the Bot API is.
    pub origin: Origin,
    /// The bot's token.
    pub token: Token,
    /// How far its requests may go.
    pub reach: Reach,
    /// How long a request for updates is held.
    pub poll_timeout: Duration,
    /// Set in webhook mode.
    pub webhook: Option<Webhook>,
    /// Whose updates come in.
    pub allow: Allow,
    /// Whether the agent's changes are sent as a document.
    pub send_patch: bool,
    /// Which files are taken, if any.
    pub files: Option<Files>,
}

/// A checked webhook.
#[derive(Debug, Clone)]
pub struct Webhook {
    /// What Telegram is told.
    pub url: String,
    /// The path of it.
    pub path: String,
    /// What Telegram repeats.
    pub secret: SecretString,
    /// Where it listens.
    pub listen: SocketAddr,
    /// How often it is looked at.
    pub check: Duration,
}

fn invalid(reason: impl Into<String>) -> ConnectorError {
    ConnectorError::InvalidConfig { reason: reason.into() }
}

impl Config {
    /// Checks everything that can be checked without I/O.
    pub fn check(self) -> Result<Settings, ConnectorError> {
        let token =
            Token::new(self.bot_token.clone()).map_err(|error| invalid(format!("`bot_token`: {error}")))?;
        let origin: Origin =
            self.api_base.parse().map_err(|error| invalid(format!("`api_base`: {error}")))?;
        if !origin.is_confidential() {
            return Err(invalid(format!(
                "`api_base`: {origin} would carry the token unencrypted; use https"
            )));
        }
        let official = API_BASE.parse().is_ok_and(|it: Origin| it == origin);
        if !(origin.is_loopback() || official || self.allow_remote) {
            return Err(invalid(format!(
                "`api_base`: {origin} is not on this machine; set `allow_remote = true`"
            )));
        }
        if !(1..=50).contains(&self.poll_timeout) {
            return Err(invalid("`poll_timeout` takes 1 to 50 seconds"));
        }
        if !(1..=3_600).contains(&self.webhook_check) {
            return Err(invalid("`webhook_check` takes 1 to 3600 seconds"));
        }
        if let Some(chat) = self.allow_chats.iter().find(|chat| **chat >= 0) {
            return Err(invalid(format!("`allow_chats`: {chat} is a person; groups have negative ids")));
        }
        Ok(Settings {
            reach: if origin.is_loopback() { Reach::Loopback } else { Reach::Remote },
            origin,
            token,
            poll_timeout: Duration::from_secs(self.poll_timeout),
            webhook: self.webhook()?,
            allow: Allow {
                users: self.allow_users.into_iter().collect(),
                chats: self.allow_chats.into_iter().collect(),
            },
            send_patch: self.send_patch,
            files: self.files.map(checked_files).transpose()?,
        })
    }

    fn webhook(&self) -> Result<Option<Webhook>, ConnectorError> {
        if self.update_mode == UpdateMode::Polling {
            return Ok(None);
        }
        let url = self.webhook_url.clone().ok_or_else(|| invalid("webhook mode needs `webhook_url`"))?;
        let secret =
            self.webhook_secret.clone().ok_or_else(|| invalid("webhook mode needs `webhook_secret`"))?;
        let parsed = Url::parse(&url).map_err(|error| invalid(format!("`webhook_url`: {error}")))?;
        if parsed.scheme() != "https" || parsed.query().is_some() || parsed.fragment().is_some() {
            return Err(invalid("`webhook_url` takes https://HOST/PATH"));
        }
        let path = parsed.path().to_owned();
        let last = path.rsplit('/').next().unwrap_or_default();
        if last.len() < 16 {
            return Err(invalid("`webhook_url` needs a last path segment of 16 random characters or more"));
        }
        // What else a path may hold, a router reads as a pattern.
        if !path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/_-.~".contains(&byte)) {
            return Err(invalid("the path of `webhook_url` takes letters, digits, `_`, `-`, `.` and `~`"));
        }
        let token = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        let words = secret.expose_secret();
        if !(16..=256).contains(&words.len()) || !words.bytes().all(token) {
            return Err(invalid("`webhook_secret` takes 16 to 256 letters, digits, `_` and `-`"));
        }
        if !self.webhook_listen.ip().is_loopback() {
            let listen = self.webhook_listen;
            return Err(invalid(format!(
                "`webhook_listen`: {listen} is not loopback, and would take the secret unencrypted; \
                 put the reverse proxy on this machine"
            )));
        }
        let check = Duration::from_secs(self.webhook_check);
        Ok(Some(Webhook { url, path, secret, listen: self.webhook_listen, check }))
    }
}

fn checked_files(files: Files) -> Result<Files, ConnectorError> {
    if !(1..=Files::MOST).contains(&files.max_bytes) {
        return Err(invalid(format!("`files.max_bytes` takes 1 to {}", Files::MOST)));
    }
    match files.types.iter().find(|it| !Files::KNOWN.contains(&it.as_str())) {
        Some(unknown) => {
            let known = Files::KNOWN.join(", ");
            Err(invalid(format!("`files.types`: `{unknown}` is not one of {known}")))
        }
        None => Ok(files),
    }
}

impl Settings {
    /// The Bot API over a way out of its own, to `origin` alone.
    pub fn api(&self) -> Result<Api, ConnectorError> {
        let denied = |reason: String| ConnectorError::CapabilityDenied { reason };
        let grant = Grant::new(self.origin.clone(), self.reach).map_err(|error| denied(error.to_string()))?;
        let http = OutboundHttp::new([grant]).map_err(|source| ConnectorError::Unavailable {
            reason: "no way out".to_owned(),
            source: Some(source),
        })?;
        Ok(Api::new(http, self.origin.clone(), self.token.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn check(more: impl Into<Value>) -> Result<Settings, String> {
        let more: Value = more.into();
        let mut config = json!({ "bot_token": "42:SECRETSECRETSECRET" });
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let config: Config = serde_json::from_value(config).map_err(|error| error.to_string())?;
        config.check().map_err(|error| connector_contract::chain(&error))
    }

    #[test]
    fn telegram_itself_and_this_machine_need_no_second_key() {
        assert_eq!(check(json!({})).unwrap().reach, Reach::Remote);
        assert_eq!(check(json!({ "api_base": "http://127.0.0.1:8081" })).unwrap().reach, Reach::Loopback);
        assert!(check(json!({ "api_base": "https://bots.example" })).unwrap_err().contains("allow_remote"));
        assert!(check(json!({ "api_base": "https://bots.example", "allow_remote": true })).is_ok());
    }

    #[test]
    fn what_cannot_work_or_is_not_safe_is_refused_and_the_token_never_shown() {
        let secret = "s".repeat(16);
        let hook = |url: &str, listen: &str| {
            let secret = "s".repeat(16);
            json!({ "update_mode": "webhook", "webhook_url": url, "webhook_secret": secret, "webhook_listen": listen })
        };
        assert!(check(hook("https://h.example/tele_gram/a-b.c~aaaaaaaaaaaaaaaa", "[::1]:0")).is_ok());
        for wrong in [
            json!({ "bot_token": "SECRET" }),
            json!({ "api_base": "http://bots.example", "allow_remote": true }),
            json!({ "poll_timeout": 0 }),
            json!({ "poll_timeout": 51 }),
            json!({ "webhook_check": 0 }),
            json!({ "webhook_check": 3_601 }),
            json!({ "allow_chats": [5] }),
            json!({ "update_mode": "webhook" }),
            json!({ "update_mode": "webhook", "webhook_url": "https://h.example/short", "webhook_secret": secret }),
            json!({ "update_mode": "webhook", "webhook_url": "http://h.example/aaaaaaaaaaaaaaaa", "webhook_secret": secret }),
            json!({ "update_mode": "webhook", "webhook_url": "https://h.example/aaaaaaaaaaaaaaaa", "webhook_secret": "short" }),
            hook("https://h.example/a/:aaaaaaaaaaaaaaaa", "127.0.0.1:0"),
            hook("https://h.example/*a/aaaaaaaaaaaaaaaa", "127.0.0.1:0"),
            hook("https://h.example/{a}/aaaaaaaaaaaaaaaa", "127.0.0.1:0"),
            hook("https://h.example/aaaaaaaaaaaaaaaa", "0.0.0.0:8443"),
            json!({ "approver": 5 }),
            json!({ "files": { "max_bytes": 0 } }),
            json!({ "files": { "max_bytes": 8_388_609 } }),
            json!({ "files": { "types": ["image/*"] } }),
            json!({ "files": { "size": 1 } }),
        ] {
            let error = check(wrong.clone()).unwrap_err();
            assert!(!error.contains("SECRET"), "{wrong}: {error}");
        }
    }

    #[test]
    fn nobody_is_allowed_by_default() {
        assert_eq!(check(json!({})).unwrap().allow, Allow::default());
    }
}
