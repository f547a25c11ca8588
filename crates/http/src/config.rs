//! The connector's section of a host's configuration.

use std::collections::BTreeMap;
use std::time::Duration;

use connector_contract::{ConnectorError, Origin};
use http::{HeaderMap, HeaderName, HeaderValue};
use schemars::JsonSchema;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

/// Headers that say where a request goes, or how long it is.
const NOT_FREE: [&str; 6] = ["host", "content-length", "transfer-encoding", "connection", "upgrade", "te"];

/// What the name of a header has whose value is a secret.
const SECRET: [&str; 6] = ["authorization", "cookie", "key", "token", "secret", "password"];

/// A shorter secret is a word of its language.
const LEAST: usize = 8;

/// The longest that a request may be configured to take, in seconds.
const LONGEST: u64 = 3600;

/// Configuration as it is written.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Origin of the server: scheme, host and port.
    pub base_url: String,
    /// The whole `Authorization` header, such as `Bearer TOKEN`.
    #[schemars(with = "Option<String>", extend("x-secret" = true))]
    pub authorization: Option<SecretString>,
    /// Other headers of every request. They are shown: none of them is a secret.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Those whose values are shown nowhere.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, String>", extend("x-secret" = true))]
    pub secret_headers: BTreeMap<String, SecretString>,
    /// Allows a `base_url` that is not on this machine.
    #[serde(default)]
    pub allow_remote: bool,
    /// How long one request may take, in seconds.
    #[serde(default = "half_a_minute")]
    #[schemars(range(min = 1, max = 3600))]
    pub timeout_secs: u64,
    /// Caps.
    #[serde(default)]
    pub limits: Limits,
}

/// Caps, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// The longest body that is sent.
    pub sent_bytes: usize,
    /// What is kept of an answer's body.
    #[schemars(range(max = 524_288))]
    pub body_bytes: usize,
}

impl Limits {
    /// Each byte may be six in an output, of which a host keeps 4 MiB.
    const MOST: usize = 512 << 10;
}

impl Default for Limits {
    fn default() -> Self {
        Self { sent_bytes: 1 << 20, body_bytes: 256 << 10 }
    }
}

/// Configuration that was checked.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) origin: Origin,
    /// Those whose values are not shown included.
    pub(crate) headers: HeaderMap,
    /// What no answer may repeat.
    pub(crate) secrets: Vec<SecretString>,
    /// The same without, for people.
    pub(crate) shown: BTreeMap<String, String>,
    pub(crate) timeout: Duration,
    pub(crate) limits: Limits,
}

impl Config {
    /// Checks it. Does no I/O.
    pub(crate) fn check(self) -> Result<Settings, ConnectorError> {
        let origin: Origin = self.base_url.parse().map_err(|error| invalid(format!("base_url: {error}")))?;
        if !self.allow_remote && !origin.is_loopback() {
            return Err(invalid(format!("{origin} is not on this machine; set `allow_remote = true`")));
        }
        let unsafe_way = !origin.is_confidential();
        if unsafe_way && (self.authorization.is_some() || !self.secret_headers.is_empty()) {
            return Err(invalid(format!("a secret would travel unencrypted to {origin}; use https")));
        }
        if !(1..=LONGEST).contains(&self.timeout_secs) {
            return Err(invalid(format!("timeout_secs takes 1 to {LONGEST}")));
        }
        if self.limits.body_bytes > Limits::MOST {
            return Err(invalid(format!("limits.body_bytes takes at most {}", Limits::MOST)));
        }
        let (mut headers, mut secrets) = (HeaderMap::new(), Vec::new());
        for (name, value) in &self.headers {
            if SECRET.iter().any(|word| name.to_ascii_lowercase().contains(word)) {
                let instead = "is shown on cards; put it into `authorization` or `secret_headers`";
                return Err(invalid(format!("headers: `{name}` {instead}")));
            }
            put(&mut headers, ("headers", name), value, false)?;
        }
        let authorization = self.authorization.map(|value| ("authorization".to_owned(), value));
        for (name, value) in self.secret_headers.into_iter().chain(authorization) {
            let text = value.expose_secret();
            put(&mut headers, ("secret_headers", &name), text, true)?;
            // That of `Bearer SECRET` is one without its scheme too.
            let bare = text.split_once(' ').map(|(_, bare)| bare.trim());
            let all = [Some(text), bare].into_iter().flatten().filter(|text| text.len() >= LEAST);
            secrets.extend(all.map(SecretString::from));
        }
        let timeout = Duration::from_secs(self.timeout_secs);
        Ok(Settings { origin, headers, secrets, shown: self.headers, timeout, limits: self.limits })
    }
}

fn put(
    headers: &mut HeaderMap,
    (key, name): (&str, &str),
    value: &str,
    secret: bool,
) -> Result<(), ConnectorError> {
    let parsed: HeaderName =
        name.parse().map_err(|_| invalid(format!("{key}: `{name}` is no header's name")))?;
    if NOT_FREE.contains(&parsed.as_str()) {
        return Err(invalid(format!("{key}: `{name}` is not set here")));
    }
    let value = value.parse::<HeaderValue>();
    let mut value = value.map_err(|_| invalid(format!("{key}.{name}: it is no header's value")))?;
    value.set_sensitive(secret);
    match headers.insert(parsed, value) {
        None => Ok(()),
        Some(_) => Err(invalid(format!("{key}: `{name}` is there twice"))),
    }
}

fn invalid(reason: String) -> ConnectorError {
    ConnectorError::InvalidConfig { reason }
}

fn half_a_minute() -> u64 {
    30
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn checked(config: Value) -> Result<Settings, String> {
        let config: Config = connector_contract::decode(config)?;
        config.check().map_err(|error| error.to_string())
    }

    #[test]
    fn what_cannot_be_meant_is_refused_by_its_key_and_no_secret_is_quoted() {
        let base_url = "http://127.0.0.1:1";
        for (config, named) in [
            (json!({}), "base_url"),
            (json!({ "base_url": "127.0.0.1:1" }), "base_url"),
            (json!({ "base_url": "http://127.0.0.1:1/api" }), "path"),
            (json!({ "base_url": "http://example.org" }), "allow_remote"),
            (json!({ "base_url": base_url, "timeout_secs": 0 }), "timeout_secs"),
            (json!({ "base_url": base_url, "authorization": "hunter2\n" }), "authorization"),
            (json!({ "base_url": base_url, "headers": { "Host": "x" } }), "Host"),
            (json!({ "base_url": base_url, "headers": { "Authorization": "hunter2" } }), "secret_headers"),
            (json!({ "base_url": base_url, "headers": { "X-Api-Key": "hunter2" } }), "secret_headers"),
            (json!({ "base_url": base_url, "headers": { "X-A": "1", "x-a": "2" } }), "twice"),
            (json!({ "base_url": base_url, "secret_headers": { "Host": "hunter2" } }), "Host"),
            (json!({ "base_url": base_url, "timeout_secs": u64::MAX }), "timeout_secs"),
            (
                json!({ "base_url": "http://example.org", "allow_remote": true, "authorization": "hunter2" }),
                "unencrypted",
            ),
            (
                json!({ "base_url": "http://example.org", "allow_remote": true, "secret_headers": { "x-k": "hunter2" } }),
                "unencrypted",
            ),
            (json!({ "base_url": base_url, "headers": { "x y": "z" } }), "x y"),
            (json!({ "base_url": base_url, "limits": { "body_bytes": 1 << 21 } }), "body_bytes"),
            (json!({ "base_url": base_url, "verify": false }), "verify"),
        ] {
            let error = checked(config.clone()).unwrap_err();
            assert!(error.contains(named) && !error.contains("hunter2"), "{config}: {error}");
        }
    }

    #[test]
    fn the_authorization_is_shown_nowhere() {
        let settings =
            checked(json!({ "base_url": "http://127.0.0.1:1", "authorization": "Bearer hunter2" })).unwrap();
        assert_eq!(settings.headers["authorization"], "Bearer hunter2");
        assert!(!format!("{settings:?}").contains("hunter2"));
    }
}
