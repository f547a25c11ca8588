//! Releases of opencode, and which of them are supported.

use semver::Version;

/// The first release without CVE-2026-22812.
const FIRST_SAFE: Version = Version::new(1, 0, 216);

/// The oldest release of 1.x that is supported. Earlier ones cannot be asked what waits for an answer: permission
/// requests can be read since 1.1.1, questions since 1.1.7. An agent that must ask would wait for ever, or never ask.
pub const OLDEST: Version = Version::new(1, 1, 7);

/// The oldest release of 2.x that is supported. Earlier ones speak an API that was still being made.
pub const OLDEST_OF_2: Version = Version::new(2, 0, 6);

/// The latest release of 2.x of which anything is known: others have told of turns on 2.1.2 to 2.1.4 by the same
/// routes, though nobody of every detail after 2.0.24.
const LATEST_KNOWN: Version = Version::new(2, 1, 4);

/// A generation of the API, by the major version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generation {
    /// 1.x.
    One,
    /// 2.x.
    Two,
}

/// Support of one release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Support {
    /// It is spoken to.
    Supported {
        /// The API that it has.
        generation: Generation,
        /// Whether anything is known of it: of 2.x, not of a release after 2.1.4.
        known: bool,
    },
    /// Open to CVE-2026-22812, which lets any web page run commands through the daemon.
    Vulnerable,
    /// Before [`OLDEST`].
    WithoutAsks,
    /// Of 2.x, before [`OLDEST_OF_2`].
    Early,
    /// Of a generation after the second.
    Newer,
}

impl Support {
    /// Support of `version`. A pre-release belongs to its own generation, and comes before its release.
    #[must_use]
    pub fn of(version: &Version) -> Self {
        match version.major {
            0 | 1 if *version < FIRST_SAFE => Self::Vulnerable,
            0 | 1 if *version < OLDEST => Self::WithoutAsks,
            0 | 1 => Self::Supported { generation: Generation::One, known: true },
            2 if *version < OLDEST_OF_2 => Self::Early,
            2 => Self::Supported { generation: Generation::Two, known: *version <= LATEST_KNOWN },
            _ => Self::Newer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_release_has_its_support() {
        let supported = |generation| Support::Supported { generation, known: true };
        let unknown = Support::Supported { generation: Generation::Two, known: false };
        for (version, support) in [
            ("0.15.31", Support::Vulnerable),
            ("1.0.215", Support::Vulnerable),
            ("1.0.216-beta.1", Support::Vulnerable),
            ("1.0.216", Support::WithoutAsks),
            ("1.1.6", Support::WithoutAsks),
            ("1.1.7-beta.1", Support::WithoutAsks),
            ("1.1.7", supported(Generation::One)),
            ("1.18.33", supported(Generation::One)),
            ("1.99.0", supported(Generation::One)),
            ("2.0.0-rc.1", Support::Early),
            ("2.0.5", Support::Early),
            ("2.0.6-rc.1", Support::Early),
            ("2.0.6", supported(Generation::Two)),
            ("2.0.14-shuv.1", supported(Generation::Two)),
            ("2.1.4", supported(Generation::Two)),
            ("2.1.5", unknown),
            ("2.9.0", unknown),
            ("3.0.0-rc.1", Support::Newer),
            ("3.0.0", Support::Newer),
            ("10.1.0", Support::Newer),
        ] {
            assert_eq!(Support::of(&Version::parse(version).unwrap()), support, "{version}");
        }
    }
}
