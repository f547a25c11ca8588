//! How a daemon says who it is, and how it is doing.

use http::StatusCode;
use semver::Version;
use serde::Deserialize;
use serde_json::Value;

use crate::Generation;

/// Health of whatever answers, as one generation of daemons tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// A daemon that serves.
    Serving(Identity),
    /// A daemon that has not begun to serve, and may say already who it is.
    Starting(Option<Identity>),
    /// A daemon that cannot serve.
    Unwell {
        /// What it says of itself, in words that follow "it".
        words: &'static str,
        /// Who it says it is, where it does.
        identity: Option<Identity>,
    },
    /// A daemon that wants another password.
    Locked,
    /// No daemon of this generation.
    Foreign,
}

/// Identity of a daemon, as it tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The version in its own words: any text.
    pub version: String,
    /// The process, where it is told: by 2.x. 0 for what is no number.
    pub pid: Option<u64>,
}

impl Health {
    fn of(identity: Identity, healthy: bool) -> Self {
        if healthy {
            Self::Serving(identity)
        } else {
            Self::Unwell { words: "is not healthy", identity: Some(identity) }
        }
    }

    fn unwell(words: &'static str) -> Self {
        Self::Unwell { words, identity: None }
    }
}

impl Identity {
    /// The version, if it is one.
    #[must_use]
    pub fn release(&self) -> Option<Version> {
        Version::parse(self.version.trim_start_matches('v')).ok()
    }
}

impl Generation {
    /// The variable that a daemon's password comes from.
    #[must_use]
    pub const fn password_variable(self) -> &'static str {
        match self {
            Self::One => "OPENCODE_SERVER_PASSWORD",
            Self::Two => "OPENCODE_PASSWORD",
        }
    }

    /// The path that a daemon of this generation says who it is at, and no other: what another does not know, it answers
    /// with 404 or a web page, which it may first fetch elsewhere.
    #[must_use]
    pub const fn health_path(self) -> &'static str {
        match self {
            Self::One => "/global/health",
            Self::Two => "/api/info",
        }
    }

    /// The paths of releases of this generation that are too old for [`health_path`](Self::health_path), which are asked
    /// so that they can be refused by their version.
    #[must_use]
    pub const fn legacy_health_paths(self) -> &'static [&'static str] {
        match self {
            Self::One => &[],
            Self::Two => &["/api/status", "/api/health"],
        }
    }

    /// Reads an answer from one of those paths.
    #[must_use]
    pub fn read_health(self, status: StatusCode, body: &[u8]) -> Health {
        match self {
            Self::One => read_health_of_1(status, body),
            Self::Two => read_health_of_2(status, body),
        }
    }
}

/// A daemon of 2.x says in the body that it wants a password; one of 1.x does not.
fn read_health_of_1(status: StatusCode, body: &[u8]) -> Health {
    #[derive(Deserialize)]
    struct Raw {
        healthy: bool,
        version: String,
    }
    #[derive(Deserialize)]
    struct Tagged {
        #[serde(rename = "_tag")]
        _tag: String,
    }
    if status == StatusCode::UNAUTHORIZED && serde_json::from_slice::<Tagged>(body).is_err() {
        return Health::Locked;
    }
    match serde_json::from_slice(body) {
        Ok(Raw { healthy, version }) if status == StatusCode::OK => {
            Health::of(Identity { version, pid: None }, healthy)
        }
        _ => Health::Foreign,
    }
}

fn read_health_of_2(status: StatusCode, body: &[u8]) -> Health {
    /// Early releases say at their own path whether they are healthy, and later ones do not.
    #[derive(Deserialize)]
    struct Raw {
        version: String,
        #[serde(default)]
        pid: Option<Value>,
        #[serde(default)]
        healthy: Option<bool>,
    }
    let read = || {
        let Raw { version, pid, healthy } = serde_json::from_slice(body).ok()?;
        Some((Identity { version, pid: pid.as_ref().map(whole) }, healthy.unwrap_or(true)))
    };
    match status {
        StatusCode::OK => read().map_or(Health::Foreign, |(identity, healthy)| Health::of(identity, healthy)),
        // Some releases say in the body that they want a password, and some say nothing.
        StatusCode::UNAUTHORIZED => Health::Locked,
        // It says who it is before it serves, and by some releases with an error.
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::INTERNAL_SERVER_ERROR => match read() {
            Some((identity, _)) => Health::Starting(Some(identity)),
            None => read_refusal(body),
        },
        _ => Health::Foreign,
    }
}

/// Reads why a daemon of 2.x does not do what it was asked for.
fn read_refusal(body: &[u8]) -> Health {
    #[derive(Deserialize)]
    struct Refusal {
        #[serde(rename = "_tag", default)]
        tag: Option<String>,
        #[serde(default)]
        code: Option<String>,
    }
    let Ok(refusal) = serde_json::from_slice::<Refusal>(body) else { return Health::Foreign };
    match (refusal.tag, refusal.code.as_deref()) {
        (_, Some("service_starting")) => Health::Starting(None),
        (_, Some("service_failed")) => Health::unwell("failed to start"),
        (_, Some("service_stopping")) => Health::unwell("is stopping"),
        (Some(_), _) => Health::unwell("cannot serve"),
        _ => Health::Foreign,
    }
}

/// Numbers of 2.x may be floats.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a process id has no fraction")]
fn whole(number: &Value) -> u64 {
    number.as_u64().or_else(|| number.as_f64().map(|float| float as u64)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serving(version: &str, pid: Option<u64>) -> Health {
        Health::Serving(Identity { version: version.to_owned(), pid })
    }

    fn starting(version: &str, pid: Option<u64>) -> Health {
        Health::Starting(Some(Identity { version: version.to_owned(), pid }))
    }

    fn unhealthy(version: &str) -> Health {
        Health::of(Identity { version: version.to_owned(), pid: None }, false)
    }

    #[test]
    fn a_daemon_of_1_x_is_told_from_everything_else() {
        for (status, body, expected) in [
            (200, r#"{"healthy":true,"version":"1.18.33"}"#, serving("1.18.33", None)),
            (200, r#"{"healthy":true,"version":"x"}"#, serving("x", None)),
            (200, r#"{"healthy":false,"version":"1.18.33"}"#, unhealthy("1.18.33")),
            (200, r#"{"healthy":"yes","version":"1.18.33"}"#, Health::Foreign),
            (200, "", Health::Foreign),
            (200, "ok", Health::Foreign),
            (200, "<!doctype html>", Health::Foreign),
            (200, "{}", Health::Foreign),
            (200, r#"{"status":"ok"}"#, Health::Foreign),
            (200, r#"{"healthy":true}"#, Health::Foreign),
            (200, r#"{"version":"2.0.22","pid":7}"#, Health::Foreign),
            (401, "", Health::Locked),
            (401, r#"{"_tag":"UnauthorizedError"}"#, Health::Foreign),
            (404, "{}", Health::Foreign),
            (500, r#"{"healthy":true,"version":"1.18.33"}"#, Health::Foreign),
        ] {
            let read = Generation::One.read_health(StatusCode::from_u16(status).unwrap(), body.as_bytes());
            assert_eq!(read, expected, "{status} {body}");
        }
    }

    #[test]
    fn a_daemon_of_2_x_is_told_from_everything_else() {
        for (status, body, expected) in [
            (200, r#"{"version":"2.0.22","pid":7,"urls":[],"paths":{}}"#, serving("2.0.22", Some(7))),
            (200, r#"{"version":"2.0.22","pid":7.0}"#, serving("2.0.22", Some(7))),
            (200, r#"{"version":"2.0.22","pid":"NaN"}"#, serving("2.0.22", Some(0))),
            (200, r#"{"version":"2.0.22","pid":null}"#, serving("2.0.22", None)),
            (200, r#"{"version":"2.0.22"}"#, serving("2.0.22", None)),
            (200, r#"{"healthy":true,"version":"2.0.3"}"#, serving("2.0.3", None)),
            (200, r#"{"healthy":false,"version":"2.0.3"}"#, unhealthy("2.0.3")),
            (200, r#"{"healthy":true}"#, Health::Foreign),
            (200, "<!doctype html>", Health::Foreign),
            (401, r#"{"_tag":"UnauthorizedError","message":"Authentication required"}"#, Health::Locked),
            (401, "", Health::Locked),
            (401, "Unauthorized", Health::Locked),
            (503, r#"{"code":"service_starting"}"#, Health::Starting(None)),
            (500, r#"{"code":"service_starting"}"#, Health::Starting(None)),
            (503, r#"{"version":"2.0.14-shuv.1","pid":7}"#, starting("2.0.14-shuv.1", Some(7))),
            (500, r#"{"version":"2.1.2","pid":7}"#, starting("2.1.2", Some(7))),
            (503, r#"{"code":"service_failed"}"#, Health::unwell("failed to start")),
            (503, r#"{"code":"service_stopping"}"#, Health::unwell("is stopping")),
            (503, r#"{"_tag":"ServiceUnavailableError"}"#, Health::unwell("cannot serve")),
            (500, r#"{"_tag":"UnknownError"}"#, Health::unwell("cannot serve")),
            (500, "", Health::Foreign),
            (503, "<html>", Health::Foreign),
            (502, r#"{"version":"2.0.14"}"#, Health::Foreign),
            (404, r#"{"_tag":"NotFound"}"#, Health::Foreign),
        ] {
            let read = Generation::Two.read_health(StatusCode::from_u16(status).unwrap(), body.as_bytes());
            assert_eq!(read, expected, "{status} {body}");
        }
    }

    #[test]
    fn a_version_may_have_its_letter() {
        for (version, release) in [
            ("1.18.33", Some(Version::new(1, 18, 33))),
            ("v2.0.6", Some(Version::new(2, 0, 6))),
            ("next", None),
        ] {
            assert_eq!(Identity { version: version.into(), pid: None }.release(), release, "{version}");
        }
    }
}
