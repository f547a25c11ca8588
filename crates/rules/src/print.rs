//! Rules as text again, in our own spelling.

use crate::rule::RuleFile;

impl RuleFile {
    /// The file as TOML. Reading it again gives an equal rule: aliases have become our spelling,
    /// defaults are left out, comments are gone.
    pub fn print(&self) -> Result<String, PrintError> {
        toml::to_string(self).map_err(PrintError)
    }
}

/// A rule that TOML cannot hold.
#[derive(Debug, thiserror::Error)]
#[error("the rule cannot be written as TOML")]
pub struct PrintError(#[source] toml::ser::Error);
