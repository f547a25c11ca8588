//! Who answers at the origin: a daemon we can speak to, another, or a stranger.

use http::StatusCode;
use semver::Version;
use serde::Deserialize;

use super::number::Number;
use crate::wire::read::shorten;
use crate::wire::{Health, Process};

/// Earlier ones speak an API that was still being made.
const FIRST: Version = Version::new(2, 0, 6);
/// Others have told of turns on 2.1.2 to 2.1.4 by the same routes, though nobody of
/// every detail after 2.0.24. Nothing that we read tells of a later one.
const LAST_KNOWN: Version = Version::new(2, 1, 4);
const FIRST_OTHER: Version = Version::new(3, 0, 0);

#[derive(Deserialize)]
struct Raw {
    version: String,
    #[serde(default)]
    pid: Option<Number>,
}

/// Why a daemon does not do what it was asked for, in the shapes of 2.x.
#[derive(Deserialize)]
struct Refusal {
    #[serde(rename = "_tag", default)]
    tag: Option<String>,
    #[serde(default)]
    code: Option<String>,
}

/// Reads the answer to `GET /api/info`, or to what stood for it in early versions.
pub(super) fn read(status: StatusCode, body: &[u8]) -> Health {
    if status == StatusCode::OK {
        return read_info(body);
    }
    // Some releases say in the body that they want a password, and some say nothing.
    if status == StatusCode::UNAUTHORIZED {
        return Health::Locked;
    }
    if !matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::INTERNAL_SERVER_ERROR) {
        return Health::Stranger;
    }
    // Who says already who they are has not begun to serve.
    if serde_json::from_slice::<Raw>(body).is_ok() {
        return match read_info(body) {
            Health::Fine(_) => Health::Starting,
            other => other,
        };
    }
    let Ok(refusal) = serde_json::from_slice::<Refusal>(body) else { return Health::Stranger };
    match (refusal.tag, refusal.code.as_deref()) {
        (_, Some("service_starting")) => Health::Starting,
        (_, Some("service_failed")) => Health::Unwell("failed to start"),
        (_, Some("service_stopping")) => Health::Unwell("is stopping"),
        (Some(_), _) => Health::Unwell("cannot serve"),
        _ => Health::Stranger,
    }
}

fn read_info(body: &[u8]) -> Health {
    let Ok(raw) = serde_json::from_slice::<Raw>(body) else { return Health::Stranger };
    let Ok(version) = Version::parse(raw.version.trim_start_matches('v')) else {
        let version = shorten(&raw.version, 50);
        return Health::Unsupported(format!(
            "the daemon says that it is version {version:?}, which is none that could be recognised; run a released version"
        ));
    };
    if version.major < FIRST.major {
        return Health::Stranger;
    }
    if version < FIRST {
        return Health::Unsupported(format!(
            "opencode {version} speaks an early form of the API of 2.x; upgrade it to {FIRST} or later"
        ));
    }
    if version >= FIRST_OTHER {
        return Health::Unsupported(format!(
            "opencode {version} is newer than this connector, which speaks the API of 1.x and 2.x; run a 2.x daemon"
        ));
    }
    let untested = version > LAST_KNOWN;
    Health::Fine(Process { version, pid: raw.pid.map(Number::whole), untested })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_daemon_is_told_apart() {
        let health = |version: &str| {
            let body = format!(r#"{{"version":"{version}","pid":7,"urls":[],"paths":{{}}}}"#);
            read(StatusCode::OK, body.as_bytes())
        };
        for (version, tested) in
            [("2.0.6", true), ("2.0.22", true), ("2.1.4", true), ("2.1.5", false), ("2.9.0", false)]
        {
            let process =
                Process { version: Version::parse(version).unwrap(), pid: Some(7), untested: !tested };
            assert_eq!(health(version), Health::Fine(process));
        }
        for (version, word) in
            [("2.0.3", "2.0.6"), ("2.0.5", "2.0.6"), ("2.0.6-rc.1", "2.0.6"), ("3.0.0", "2.x daemon")]
        {
            assert!(matches!(health(version), Health::Unsupported(why) if why.contains(word)), "{version}");
        }
        assert_eq!(health("1.18.33"), Health::Stranger);
        assert!(matches!(health(r"next\u001b"), Health::Unsupported(why) if why.contains(r#""next\u{1b}""#)));
    }

    #[test]
    fn what_cannot_serve_is_no_stranger() {
        for (status, body, expected) in [
            (401, r#"{"_tag":"UnauthorizedError","message":"Authentication required"}"#, Health::Locked),
            (401, "", Health::Locked),
            (401, "Unauthorized", Health::Locked),
            (503, r#"{"code":"service_starting"}"#, Health::Starting),
            (500, r#"{"code":"service_starting"}"#, Health::Starting),
            (503, r#"{"version":"2.0.14-shuv.1","pid":7,"urls":[],"paths":{}}"#, Health::Starting),
            (500, r#"{"version":"2.1.2","pid":7,"urls":[],"paths":{}}"#, Health::Starting),
            (503, r#"{"version":"1.18.33"}"#, Health::Stranger),
            (500, r#"{"_tag":"UnknownError"}"#, Health::Unwell("cannot serve")),
            (500, "", Health::Stranger),
            (502, r#"{"version":"2.0.14"}"#, Health::Stranger),
            (503, r#"{"code":"service_failed"}"#, Health::Unwell("failed to start")),
            (503, r#"{"code":"service_stopping"}"#, Health::Unwell("is stopping")),
            (503, r#"{"_tag":"ServiceUnavailableError"}"#, Health::Unwell("cannot serve")),
            (503, "<html>", Health::Stranger),
            (404, r#"{"_tag":"NotFound"}"#, Health::Stranger),
            (200, "<!doctype html>", Health::Stranger),
            (200, r#"{"healthy":true}"#, Health::Stranger),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(read(status, body.as_bytes()), expected, "{status} {body}");
        }
    }
}
