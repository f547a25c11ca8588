//! What a package may be called.

use std::ffi::OsStr;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The longest name, in bytes.
const LIMIT: usize = 64;

/// A connector's name: `connector-`, and lower-case words of letters and digits
/// joined by hyphens. It is also a directory's name, so no path hides in it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PluginName(String);

/// Why a text is no [`PluginName`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a connector's name is `connector-` and words of a-z and 0-9 joined by hyphens, {LIMIT} characters at most"
)]
pub struct NameError;

impl PluginName {
    /// The name of a directory entry.
    pub fn of(entry: &OsStr) -> Result<Self, NameError> {
        entry.to_str().ok_or(NameError)?.parse()
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PluginName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let words = text.strip_prefix("connector-").ok_or(NameError)?;
        let word = |word: &str| {
            !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        };
        if text.len() > LIMIT || !words.split('-').all(word) {
            return Err(NameError);
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for PluginName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<PluginName> for String {
    fn from(name: PluginName) -> Self {
        name.0
    }
}

impl fmt::Display for PluginName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_plain_directory() {
        for text in ["connector-x", "connector-opencode", "connector-a1-b2"] {
            assert_eq!(text.parse::<PluginName>().unwrap().as_str(), text);
        }
        for text in [
            "",
            "x",
            "connector",
            "connector-",
            "connector--x",
            "connector-x-",
            "Connector-x",
            "connector-X",
            "connector-x/y",
            "connector-../x",
            "../connector-x",
            "/connector-x",
            "connector-x.old",
            "connector-x ",
            "connector-x\n",
            "connector-x\0",
            "connector-ü",
            &format!("connector-{}", "x".repeat(55)),
        ] {
            assert_eq!(text.parse::<PluginName>(), Err(NameError), "{text:?}");
        }
    }
}
