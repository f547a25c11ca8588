//! Which versions of opencode are spoken to.

use opencode_api::{Generation, OLDEST, OLDEST_OF_2, Support};
use semver::{BuildMetadata, Version};

/// The version that [`install`](crate::install) fetches, and that the tests run against.
pub const PINNED: &str = "1.18.33";

/// The longest name of a pre-release that is one.
const PRE_RELEASE: usize = 16;

/// The release of 2.x on which the tests show that the walls around commands hold.
const SHOWN_OF_2: Version = Version::new(2, 0, 14);

/// Why a version is refused. Nothing was started, or it was ended again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VersionError {
    /// Open to CVE-2026-22812.
    #[error("opencode {0} has the remote code execution hole CVE-2026-22812; update to {OLDEST} or later")]
    Vulnerable(Version),
    /// Without the routes that asks need.
    #[error("opencode {0} does not tell what its agent waits for; update to {OLDEST} or later")]
    TooOld(Version),
    /// An early 2.x, whose API was still being made.
    #[error("opencode {0} speaks an early form of the API of 2.x; update to {OLDEST_OF_2} or later")]
    Early(Version),
    /// A major version with another API.
    #[error("opencode {0} speaks another API than 1.x and 2.x; use a 1.x release such as {PINNED}")]
    TooNew(Version),
    /// One of which nobody has shown that the walls around commands hold, where they are required.
    #[error(
        "the walls around commands are not shown to hold with opencode {0}, and `confine` is \"required\"; \
         use {SHOWN_OF_2} or a 1.x release such as {PINNED}"
    )]
    Unconfined(Version),
    /// Not a version at all.
    #[error("what it calls its version is none of opencode's")]
    Unreadable,
}

/// Accepts a version as [`check`] does, for a daemon whose walls are `required` or not.
pub(crate) fn check_within(text: &str, required: bool) -> Result<Version, VersionError> {
    let version = check(text)?;
    if required && unshown_walls(text).is_some() {
        Err(VersionError::Unconfined(version))
    } else {
        Ok(version)
    }
}

/// Accepts a version as the daemon tells it, or a line of `opencode --version`: 1.x prints
/// `1.18.33`, and 2.x `opencode v2.0.22`.
pub fn check(text: &str) -> Result<Version, VersionError> {
    let text = text.trim();
    let version = first_in(text).ok_or(VersionError::Unreadable)?;
    // Whatever else it says of itself there is not for everybody.
    if version.pre.len() > PRE_RELEASE {
        return Err(VersionError::Unreadable);
    }
    let version = Version { build: BuildMetadata::EMPTY, ..version };
    match Support::of(&version) {
        Support::Supported { .. } => Ok(version),
        Support::Vulnerable => Err(VersionError::Vulnerable(version)),
        Support::WithoutAsks => Err(VersionError::TooOld(version)),
        Support::Early => Err(VersionError::Early(version)),
        Support::Newer => Err(VersionError::TooNew(version)),
    }
}

/// The first version in a line, whatever is written around it.
pub(crate) fn first_in(line: &str) -> Option<Version> {
    let part = |at: char| at.is_ascii_alphanumeric() || matches!(at, '.' | '-' | '+');
    let mut before = None;
    for (at, here) in line.char_indices() {
        // A version does not begin in the middle of a number.
        let begins = here.is_ascii_digit() && before.is_none_or(|it: char| it != '.' && !it.is_ascii_digit());
        before = Some(here);
        if begins {
            let rest = &line[at..];
            let word = &rest[..rest.find(|it| !part(it)).unwrap_or(rest.len())];
            if let Ok(version) = Version::parse(word.trim_end_matches(['.', '-', '+'])) {
                return Some(version);
            }
        }
    }
    None
}

/// The API that a version speaks, if it is accepted.
pub(crate) fn generation(text: &str) -> Option<Generation> {
    match Support::of(&check(text).ok()?) {
        Support::Supported { generation, .. } => Some(generation),
        _ => None,
    }
}

/// Whether a version that was accepted speaks the API of 1.x.
pub(crate) fn is_of_1(text: &str) -> bool {
    generation(text) == Some(Generation::One)
}

/// What a host should say before it trusts the walls around the commands of this version's agent;
/// nothing where tests with the real daemon show that it takes the shell and the configuration it is given.
pub fn unshown_walls(version: &str) -> Option<&'static str> {
    let shown = |it: &Version| it.major < 2 || (it.major, it.minor, it.patch) == (2, 0, SHOWN_OF_2.patch);
    check(version).is_ok_and(|version| !shown(&version)).then_some(
        "of 2.x, opencode 2.0.14 alone is shown to run its agent's commands with the shell it is given and to take \
         the settings in OPENCODE_CONFIG_CONTENT: commands of this one may have the daemon's walls only and its \
         password, and could answer their own asks",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_that_tell_of_asks_are_accepted() {
        for text in ["1.1.7", "1.18.33\n", "v1.2.3", PINNED, "2.0.6", "2.0.22", "2.1.4", "2.9.0"] {
            assert!(check(text).is_ok(), "{text}");
        }
        for text in ["1.0.216", "opencode v1.1.6", "1.1.7-beta.1"] {
            assert!(matches!(check(text), Err(VersionError::TooOld(_))), "{text}");
        }
    }

    #[test]
    fn the_first_version_in_a_line_counts_whatever_is_written_around_it() {
        for (line, version) in [
            ("1.18.33", "1.18.33"),
            ("v1.18.33\r", "1.18.33"),
            ("opencode v2.0.22", "2.0.22"),
            ("opencode 2.0.22", "2.0.22"),
            ("opencode version 2.0.22 (linux-x64)", "2.0.22"),
            ("opencode/2.0.22 linux-x64 bun-1.3.0", "2.0.22"),
            ("opencode-2.0.22", "2.0.22"),
            ("\u{1b}[1mopencode\u{1b}[0m v2.0.22\u{1b}[0m", "2.0.22"),
            ("opencode v2.0.22, built with bun 1.3.0.", "2.0.22"),
            ("opencode v2.0.22.", "2.0.22"),
            ("shuvcode v2.0.14-shuv.1", "2.0.14-shuv.1"),
            ("opencode v2.1.0-beta.3+5f2c", "2.1.0-beta.3+5f2c"),
        ] {
            assert_eq!(first_in(line).map(|it| it.to_string()).as_deref(), Some(version), "{line}");
        }
        for line in ["", "opencode", "opencode v2", "1.2", "127.0.0.1", "1.2.3.4", "opencode v2.0", "<html>"]
        {
            assert_eq!(first_in(line), None, "{line}");
        }
    }

    #[test]
    fn walls_around_commands_are_shown_for_1_x_and_one_release_of_2_x() {
        for (version, shown) in [
            (PINNED, true),
            ("1.1.7", true),
            ("2.0.14", true),
            ("2.0.14-shuv.1", true),
            ("2.0.6", false),
            ("2.0.13", false),
            ("2.0.15", false),
            ("2.1.14", false),
            ("2.9.0", false),
        ] {
            assert_eq!(unshown_walls(version).is_none(), shown, "{version}");
        }
    }

    #[test]
    fn releases_with_the_known_hole_are_refused_by_its_name() {
        for text in ["1.0.215", "0.15.31", "1.0.216-beta.1"] {
            let error = check(text).unwrap_err();
            assert!(matches!(error, VersionError::Vulnerable(_)), "{text}");
            assert!(error.to_string().contains("CVE-2026-22812"));
        }
    }

    #[test]
    fn the_next_major_and_nonsense_are_refused() {
        for text in ["2.0.0", "2.0.3", "2.0.5", "2.0.6-rc.1"] {
            let error = check(text).unwrap_err();
            assert!(matches!(error, VersionError::Early(_)) && error.to_string().contains("2.0.6"), "{text}");
        }
        for text in ["3.0.0", "3.0.0-rc.1", "10.1.0"] {
            assert!(matches!(check(text), Err(VersionError::TooNew(_))), "{text}");
        }
        for text in ["", "1.2", "opencode", "<html>"] {
            assert!(matches!(check(text), Err(VersionError::Unreadable)), "{text}");
        }
    }
}
