//! Who answers at the origin: a daemon we can speak to, another, or a stranger.

use http::StatusCode;
use opencode_api::{Generation, Identity, OLDEST, Support};

use crate::wire::{Health, Process};

/// Reads the answer to `GET /global/health`.
pub(super) fn read(status: StatusCode, body: &[u8]) -> Health {
    match Generation::One.read_health(status, body) {
        opencode_api::Health::Serving(identity) => judge(&identity),
        // Who may not be spoken to is told so first.
        opencode_api::Health::Unwell { words, identity } => match identity.as_ref().map(judge) {
            None | Some(Health::Fine(_)) => Health::Unwell(words),
            Some(other) => other,
        },
        opencode_api::Health::Locked => Health::Locked,
        opencode_api::Health::Starting(_) | opencode_api::Health::Foreign => Health::Stranger,
    }
}

fn judge(identity: &Identity) -> Health {
    let Some(version) = identity.release() else { return Health::Stranger };
    match Support::of(&version) {
        Support::Supported { generation: Generation::One, known } => {
            Health::Fine(Process { version, pid: identity.pid, untested: !known })
        }
        Support::Vulnerable => Health::Unsupported(format!(
            "opencode {version} has CVE-2026-22812 (any web page can run commands); {OLDEST} or a later 1.x is needed"
        )),
        Support::WithoutAsks => Health::Unsupported(format!(
            "opencode {version} does not tell which permission requests and questions wait for an answer; {OLDEST} or a later 1.x is needed"
        )),
        Support::Supported { .. } | Support::Early | Support::Newer => Health::Unsupported(format!(
            "opencode {version} answers as 1.x does and not as 2.x; run a released version"
        )),
    }
}

#[cfg(test)]
mod tests {
    use semver::Version;

    use super::*;

    #[test]
    fn each_daemon_is_told_apart() {
        let fine = |version| Health::Fine(Process { version, pid: None, untested: false });
        let read = |body: &[u8]| super::read(StatusCode::OK, body);
        let health = |version: &str| read(format!(r#"{{"healthy":true,"version":"{version}"}}"#).as_bytes());
        assert_eq!(health("1.18.33"), fine(Version::new(1, 18, 33)));
        assert_eq!(health("1.1.7"), fine(OLDEST));
        for early in ["1.0.216", "1.1.6", "1.1.7-rc.1"] {
            assert!(matches!(health(early), Health::Unsupported(why) if why.contains("1.1.7")), "{early}");
        }
        assert!(matches!(health("1.0.215"), Health::Unsupported(why) if why.contains("CVE-2026-22812")));
        assert!(matches!(health("1.0.216-rc.1"), Health::Unsupported(_)));
        assert!(matches!(health("2.0.6"), Health::Unsupported(why) if why.contains("2.x")));
        assert!(matches!(health("2.0.0-rc.1"), Health::Unsupported(why) if why.contains("2.x")));
        assert_eq!(read(br#"{"healthy":false,"version":"1.18.33"}"#), Health::Unwell("is not healthy"));
        let unwell = read(br#"{"healthy":false,"version":"1.0.215"}"#);
        assert!(matches!(unwell, Health::Unsupported(why) if why.contains("CVE-2026-22812")));
        assert_eq!(read(br#"{"healthy":false,"version":"x"}"#), Health::Stranger);
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
