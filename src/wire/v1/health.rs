//! Who answers at the origin: a daemon we can speak to, another, or a stranger.

use http::StatusCode;
use semver::Version;
use serde::Deserialize;

use crate::wire::{Health, Process};

/// Earlier daemons let any web page run commands (CVE-2026-22812).
const FIRST_SAFE: Version = Version::new(1, 0, 216);
/// Earlier daemons cannot be asked what waits for an answer: pending permission
/// requests can be read since 1.1.1, questions since 1.1.7. An agent that must ask
/// would wait for ever, or never ask.
const FIRST_ASKING: Version = Version::new(1, 1, 7);
const FIRST_OTHER: Version = Version::new(2, 0, 0);

/// Reads the answer to `GET /global/health`. A daemon of 2.x says what it wants a
/// password for; one of 1.x does not.
pub(super) fn read(status: StatusCode, body: &[u8]) -> Health {
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
    if status != StatusCode::OK {
        return Health::Stranger;
    }
    let Ok(raw) = serde_json::from_slice::<Raw>(body) else { return Health::Stranger };
    let Ok(version) = Version::parse(raw.version.trim_start_matches('v')) else { return Health::Stranger };
    if version < FIRST_SAFE {
        return Health::Unsupported(format!(
            "opencode {version} has CVE-2026-22812 (any web page can run commands); {FIRST_ASKING} or a later 1.x is needed"
        ));
    }
    if version < FIRST_ASKING {
        return Health::Unsupported(format!(
            "opencode {version} does not tell which permission requests and questions wait for an answer; {FIRST_ASKING} or a later 1.x is needed"
        ));
    }
    if version >= FIRST_OTHER {
        return Health::Unsupported(format!(
            "opencode {version} answers as 1.x does and not as 2.x; run a released version"
        ));
    }
    if raw.healthy {
        Health::Fine(Process { version, pid: None, untested: false })
    } else {
        Health::Unwell("is not healthy")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_daemon_is_told_apart() {
        let fine = |version| Health::Fine(Process { version, pid: None, untested: false });
        let read = |body: &[u8]| super::read(StatusCode::OK, body);
        let health = |version: &str| read(format!(r#"{{"healthy":true,"version":"{version}"}}"#).as_bytes());
        assert_eq!(health("1.18.33"), fine(Version::new(1, 18, 33)));
        assert_eq!(health("1.1.7"), fine(FIRST_ASKING));
        for early in ["1.0.216", "1.1.6", "1.1.7-rc.1"] {
            assert!(matches!(health(early), Health::Unsupported(why) if why.contains("1.1.7")), "{early}");
        }
        assert!(matches!(health("1.0.215"), Health::Unsupported(why) if why.contains("CVE-2026-22812")));
        assert!(matches!(health("1.0.216-rc.1"), Health::Unsupported(_)));
        assert!(matches!(health("2.0.6"), Health::Unsupported(why) if why.contains("2.x")));
        assert_eq!(read(br#"{"healthy":false,"version":"1.18.33"}"#), Health::Unwell("is not healthy"));
    }

    #[test]
    fn a_stranger_is_no_daemon() {
        for body in [
            "",
            "ok",
            "<html>",
            "{}",
            r#"{"status":"ok"}"#,
            r#"{"healthy":true}"#,
            r#"{"healthy":true,"version":"x"}"#,
        ] {
            assert_eq!(read(StatusCode::OK, body.as_bytes()), Health::Stranger, "{body}");
        }
        assert_eq!(read(StatusCode::UNAUTHORIZED, b""), Health::Locked);
        assert_eq!(read(StatusCode::UNAUTHORIZED, b"{\"_tag\":\"UnauthorizedError\"}"), Health::Stranger);
        assert_eq!(read(StatusCode::NOT_FOUND, b"{}"), Health::Stranger);
    }
}
