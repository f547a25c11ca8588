//! Who answers at the origin: a daemon we can speak to, another, or a stranger.

use http::StatusCode;
use opencode_api::{Generation, Identity, OLDEST_OF_2, Support};

use crate::wire::read::shorten;
use crate::wire::{Health, Process};

/// Reads the answer to `GET /api/info`, or to what stood for it in early versions.
pub(super) fn read(status: StatusCode, body: &[u8]) -> Health {
    match Generation::Two.read_health(status, body) {
        opencode_api::Health::Serving(identity) => judge(&identity),
        opencode_api::Health::Starting(None) => Health::Starting,
        // Who says already who they are is refused for it before they serve.
        opencode_api::Health::Starting(Some(identity)) => match judge(&identity) {
            Health::Fine(_) => Health::Starting,
            other => other,
        },
        opencode_api::Health::Unwell { words, identity } => match identity.as_ref().map(judge) {
            None | Some(Health::Fine(_)) => Health::Unwell(words),
            Some(other) => other,
        },
        opencode_api::Health::Locked => Health::Locked,
        opencode_api::Health::Foreign => Health::Stranger,
    }
}

fn judge(identity: &Identity) -> Health {
    let Some(version) = identity.release() else {
        let version = shorten(&identity.version, 50);
        return Health::Unsupported(format!(
            "the daemon says that it is version {version:?}, which is none that could be recognised; run a released version"
        ));
    };
    match Support::of(&version) {
        Support::Supported { generation: Generation::Two, known } => {
            Health::Fine(Process { version, pid: identity.pid, untested: !known })
        }
        Support::Early => Health::Unsupported(format!(
            "opencode {version} speaks an early form of the API of 2.x; upgrade it to {OLDEST_OF_2} or later"
        )),
        Support::Newer => Health::Unsupported(format!(
            "opencode {version} is newer than this connector, which speaks the API of 1.x and 2.x; run a 2.x daemon"
        )),
        Support::Supported { .. } | Support::Vulnerable | Support::WithoutAsks => Health::Stranger,
    }
}

#[cfg(test)]
mod tests {
    use semver::Version;

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
        for (version, word) in [
            ("2.0.3", "2.0.6"),
            ("2.0.5", "2.0.6"),
            ("2.0.6-rc.1", "2.0.6"),
            ("3.0.0", "2.x daemon"),
            ("3.0.0-rc.1", "2.x daemon"),
        ] {
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
