//! Who answers at the origin: a daemon we can speak to, another, or a stranger.

use semver::Version;
use serde::Deserialize;

use crate::wire::Health;

/// Earlier daemons let any web page run commands (CVE-2026-22812).
const FIRST_SAFE: Version = Version::new(1, 0, 216);
/// Earlier daemons cannot be asked what waits for an answer: pending permission
/// requests can be read since 1.1.1, questions since 1.1.7. An agent that must ask
/// would wait for ever, or never ask.
const FIRST_ASKING: Version = Version::new(1, 1, 7);
const FIRST_OTHER: Version = Version::new(2, 0, 0);

/// Reads the body of a 200 of `GET /global/health`.
pub(super) fn read(body: &[u8]) -> Health {
    #[derive(Deserialize)]
    struct Raw {
        healthy: bool,
        version: String,
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
        return Health::Unsupported(other_generation(&version));
    }
    if raw.healthy { Health::Fine(version) } else { Health::Unwell }
}

/// Reads the body of a 200 of `GET /api/info`, which on 1.x is a web page.
pub(super) fn read_other_generation(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Raw {
        version: String,
    }
    let raw: Raw = serde_json::from_slice(body).ok()?;
    let version = Version::parse(raw.version.trim_start_matches('v')).ok()?;
    Some(other_generation(&version))
}

fn other_generation(version: &Version) -> String {
    format!(
        "opencode {version} speaks the API of 2.x, which is not supported yet; run a 1.x daemon ({FIRST_ASKING} or later)"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_daemon_is_told_apart() {
        let health = |version: &str| read(format!(r#"{{"healthy":true,"version":"{version}"}}"#).as_bytes());
        assert_eq!(health("1.18.33"), Health::Fine(Version::new(1, 18, 33)));
        assert_eq!(health("1.1.7"), Health::Fine(FIRST_ASKING));
        for early in ["1.0.216", "1.1.6", "1.1.7-rc.1"] {
            assert!(matches!(health(early), Health::Unsupported(why) if why.contains("1.1.7")), "{early}");
        }
        assert!(matches!(health("1.0.215"), Health::Unsupported(why) if why.contains("CVE-2026-22812")));
        assert!(matches!(health("1.0.216-rc.1"), Health::Unsupported(_)));
        assert!(matches!(health("2.0.6"), Health::Unsupported(why) if why.contains("2.x")));
        assert_eq!(read(br#"{"healthy":false,"version":"1.18.33"}"#), Health::Unwell);
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
            assert_eq!(read(body.as_bytes()), Health::Stranger, "{body}");
        }
        assert!(read_other_generation(br#"{"version":"2.0.24","pid":1,"urls":[],"paths":{}}"#).is_some());
        assert!(read_other_generation(b"<!doctype html>").is_none());
    }
}
