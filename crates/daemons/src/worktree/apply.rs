//! Bringing what came of a task into the person's own files, at the person's word.

use std::path::{Path, PathBuf};

use super::WorktreeError;
use super::git::Git;
use crate::environment::Environment;

/// What was changed in the person's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The root of the working tree.
    pub top: PathBuf,
    /// The files, relative to it.
    pub files: Vec<String>,
}

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The person has changes of their own there.
    #[error("{} has changes of its own in {}; commit or stash them first", top.display(), files.join(", "))]
    Dirty {
        /// The working tree.
        top: PathBuf,
        /// The files, some of them if they are many.
        files: Vec<String>,
    },
    /// The files have moved on since the task began.
    #[error("it does not apply cleanly to {} ({reason}); merge the branch instead", top.display())]
    Conflict {
        /// The working tree.
        top: PathBuf,
        /// What git says.
        reason: String,
    },
    /// The commits are gone.
    #[error("{} has no commit {commit} any more", top.display())]
    Gone {
        /// The working tree.
        top: PathBuf,
        /// The commit.
        commit: String,
    },
    /// Git or the system failed.
    #[error(transparent)]
    Failed(#[from] WorktreeError),
}

/// Changes the files and the index of the repository around `workspace` by what lies between two
/// commits of it, all of it or nothing. Nothing is committed.
pub async fn apply(
    workspace: &Path,
    (base, commit): (&str, &str),
    environment: Environment,
) -> Result<Applied, ApplyError> {
    let git = Git { environment, launcher: None };
    let repository = git.repository(workspace).await?;
    let top = repository.top.clone();
    for wanted in [base, commit] {
        if !git.has_commit(&repository, wanted).await {
            return Err(ApplyError::Gone { top, commit: wanted.to_owned() });
        }
    }
    let files = git
        .run(&top, "lists the files", ["diff", "--name-only", "--no-renames", "-z", base, commit, "--"])
        .await?;
    let files = names(&files);
    if files.is_empty() {
        return Ok(Applied { top, files });
    }
    let status =
        ["--literal-pathspecs", "status", "--porcelain", "--untracked-files=all", "--ignored", "-z", "--"];
    let dirty = git
        .run(&top, "looks for changes", status.into_iter().chain(files.iter().map(String::as_str)))
        .await?;
    if !dirty.is_empty() {
        let files =
            names(&dirty).into_iter().filter_map(|line| line.get(3..).map(str::to_owned)).take(5).collect();
        return Err(ApplyError::Dirty { top, files });
    }
    let patch = tempfile::NamedTempFile::new().map_err(WorktreeError::from)?;
    let file = patch.path().to_string_lossy().into_owned();
    let output = format!("--output={file}");
    let diff =
        ["diff", "--no-ext-diff", "--no-textconv", "--no-color", "--no-renames", "--binary", "--full-index"];
    git.run(&top, "makes the patch", diff.into_iter().chain([output.as_str(), base, commit, "--"])).await?;
    match git.run(&top, "applies the patch", ["apply", "--index", "--whitespace=nowarn", &file]).await {
        Ok(_) => Ok(Applied { top, files }),
        Err(WorktreeError::Git { reason, .. }) => Err(ApplyError::Conflict { top, reason }),
        Err(error) => Err(error.into()),
    }
}

fn names(output: &[u8]) -> Vec<String> {
    let parts = output.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    parts.map(|name| String::from_utf8_lossy(name).into_owned()).collect()
}
