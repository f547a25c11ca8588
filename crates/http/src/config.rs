//! The connector's section of a host's configuration.

use std::collections::BTreeMap;
use std::time::Duration;

use connector_contract::{ConnectorError, Origin};
use http::{HeaderMap, HeaderName, HeaderValue};
use schemars::JsonSchema;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

/// Headers that say where a request goes, or how long it is.
const NOT_FREE: [&str; 7] =
    ["host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "authorization"];

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
    /// Allows a `base_url` that is not on this machine.
    #[serde(default)]
    pub allow_remote: bool,
    /// How long one request may take, in seconds.
    #[serde(default = "half_a_minute")]
    #[schemars(range(min = 1))]
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
    #[schemars(range(max = 1048576))]
    pub body_bytes: usize,
}

impl Limits {
    /// An output of four times this, escaped, is as long as a host keeps.
    const MOST: usize = 1 << 20;
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
    /// The authorization included, as a header whose value is not shown.
    pub(crate) headers: HeaderMap,
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
        if self.timeout_secs == 0 {
            return Err(invalid("timeout_secs takes at least 1".to_owned()));
        }
        if self.limits.body_bytes > Limits::MOST {
            return Err(invalid(format!("limits.body_bytes takes at most {}", Limits::MOST)));
        }
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            let (name, value) = header(name, value)?;
            headers.insert(name, value);
        }
        if let Some(authorization) = &self.authorization {
            let value = HeaderValue::from_str(authorization.expose_secret());
            let mut value =
                value.map_err(|_| invalid("authorization: it is no header's value".to_owned()))?;
            value.set_sensitive(true);
            headers.insert(http::header::AUTHORIZATION, value);
        }
        let timeout = Duration::from_secs(self.timeout_secs);
        Ok(Settings { origin, headers, shown: self.headers, timeout, limits: self.limits })
    }
}

fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), ConnectorError> {
    let parsed: HeaderName =
        name.parse().map_err(|_| invalid(format!("headers: `{name}` is no header's name")))?;
    if NOT_FREE.contains(&parsed.as_str()) {
        let instead = if parsed == http::header::AUTHORIZATION { "; it has a key of its own" } else { "" };
        return Err(invalid(format!("headers: `{name}` is not set here{instead}")));
    }
    let value = value.parse().map_err(|_| invalid(format!("headers.{name}: it is no header's value")))?;
    Ok((parsed, value))
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
            (json!({ "base_url": base_url, "headers": { "Authorization": "hunter2" } }), "key of its own"),
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
