//! What is configured of the set-up of a task's working tree.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::glob::{Pattern, PatternError};

/// What a task's working tree gets before its agent begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SetupConfig {
    /// Files of the workspace that its commits do not have, as patterns below it: `.env`, `config/local.*`, `**/*.pem`.
    pub copy: Vec<String>,
    /// Whether files that a partial clone lacks are fetched, from the workspace's `remote`.
    pub fetch: bool,
    /// Whether submodules are filled, from what the workspace's repository has of them.
    pub submodules: bool,
    /// Whether files of Git LFS have their content, of `.git/lfs/objects` of the workspace.
    pub lfs: bool,
    /// A command that is run in each new tree, within the walls of the agent's commands.
    pub run: Option<String>,
    /// How long that may take.
    pub timeout_secs: u64,
    /// Files of the tree that decide what comes of the command, as patterns: what it made once, of what git ignores, is
    /// kept for trees in which they are the same.
    pub inputs: Vec<String>,
}

/// Why a set-up is refused; nothing was started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetupConfigError {
    /// A pattern that names nothing below the workspace.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// Tasks work in the workspace itself.
    #[error("`setup` is for trees of tasks, and there are none without `isolation = \"worktree\"`")]
    NoTrees,
    /// A command that has no time.
    #[error("`setup.timeout_secs` must be at least 1")]
    NoTime,
    /// Inputs of nothing.
    #[error("`setup.inputs` are those of `setup.run`, and there is none")]
    NoCommand,
    /// Nowhere to fetch from.
    #[error("`setup.fetch` fetches from the workspace's `remote`, and there is none")]
    NoRemote,
}

impl Default for SetupConfig {
    fn default() -> Self {
        Self {
            copy: Vec::new(),
            fetch: false,
            submodules: false,
            lfs: false,
            run: None,
            timeout_secs: 600,
            inputs: Vec::new(),
        }
    }
}

impl SetupConfig {
    /// Says what is wrong with it where tasks have trees, or none, and the workspace has a remote, or none.
    pub fn check(&self, has_trees: bool, has_remote: bool) -> Result<(), SetupConfigError> {
        self.patterns()?;
        match () {
            () if !has_trees => Err(SetupConfigError::NoTrees),
            () if self.fetch && !has_remote => Err(SetupConfigError::NoRemote),
            () if self.timeout_secs == 0 => Err(SetupConfigError::NoTime),
            () if self.run.is_none() && !self.inputs.is_empty() => Err(SetupConfigError::NoCommand),
            () => Ok(()),
        }
    }

    /// The patterns of what is copied, and of the command's inputs.
    pub(super) fn patterns(&self) -> Result<(Vec<Pattern>, Vec<Pattern>), PatternError> {
        let parsed = |patterns: &[String]| -> Result<Vec<_>, PatternError> {
            patterns.iter().map(|text| Pattern::parse(text)).collect()
        };
        Ok((parsed(&self.copy)?, parsed(&self.inputs)?))
    }

    pub(super) fn limit(&self) -> Duration {
        Duration::from_secs(self.timeout_secs)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_set_up_that_cannot_be_is_refused_with_its_reason() {
        let check = |settings: Value, has_trees| {
            serde_json::from_value::<SetupConfig>(settings)
                .unwrap()
                .check(has_trees, false)
                .map_err(|e| e.to_string())
        };
        check(json!({ "copy": [".env"], "run": "npm ci", "inputs": ["package-lock.json"] }), true).unwrap();
        for (settings, has_trees, word) in [
            (json!({ "copy": ["/etc/passwd"] }), true, "below"),
            (json!({ "copy": [".env"] }), false, "isolation"),
            (json!({ "run": "make", "timeout_secs": 0 }), true, "timeout_secs"),
            (json!({ "inputs": ["a"] }), true, "setup.run"),
            (json!({ "fetch": true }), true, "remote"),
        ] {
            let error = check(settings.clone(), has_trees).unwrap_err();
            assert!(error.contains(word), "{settings}: {error}");
        }
    }
}
