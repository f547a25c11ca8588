//! Removing what came of a task, at the person's word: its branch and its tree.

use std::path::Path;

use super::git::Git;
use super::lock::Lock;
use super::record::Record;
use super::{REMOVED, WORKTREES, WorktreeError, put_aside, remove, root, warn};
use crate::environment::Environment;

/// What a task is found by.
#[derive(Debug, Clone, Copy)]
pub struct Task<'a> {
    /// The pool's state directory.
    pub state: &'a Path,
    /// The workspace, as the pool knows it.
    pub name: &'a str,
    /// Its directory.
    pub directory: &'a Path,
    /// The branch of the task.
    pub branch: &'a str,
    /// The commit that it was last seen at.
    pub commit: &'a str,
}

/// The workspace of whose tasks one is on this branch, as the pool with this state directory knows it.
pub fn workspace_of(state: &Path, branch: &str) -> Option<String> {
    let entries = std::fs::read_dir(state).into_iter().flatten().flatten();
    let mut names =
        entries.filter_map(|entry| Some(entry.file_name().to_str()?.strip_suffix(WORKTREES)?.to_owned()));
    names.find(|name| Record::all(&root(state, name)).iter().any(|record| record.branch == branch))
}

/// Why nothing was removed, except as [`Half`](Self::Half) says.
#[derive(Debug, thiserror::Error)]
pub enum DiscardError {
    /// It is no branch of a task, or of one whose end was long ago.
    #[error(
        "{0} is the branch of no task that is remembered; `git branch --delete --force` removes a branch"
    )]
    NotOurs(String),
    /// An agent works there.
    #[error("a task works on {0}, or what it did could not be taken out yet; nothing was removed")]
    InUse(String),
    /// It is at another commit.
    #[error("{0} was moved, or its session went on since; look at it before it is removed")]
    Moved(String),
    /// A person works on it.
    #[error("{0} is checked out; switch to another branch first")]
    CheckedOut(String),
    /// The branch is gone, and its tree is not.
    #[error("{0} is removed, and its working tree is not yet; discard it again")]
    Half(String, #[source] std::io::Error),
    /// Git or the system failed.
    #[error(transparent)]
    Failed(#[from] WorktreeError),
}

/// Removes the branch of a task, those of its submodules and its tree, if both are as they were left and nobody uses them: the branch first, and
/// only while it is at that commit. Its session does not go on after that.
pub async fn discard(
    task: Task<'_>,
    environment: Environment,
    launcher: Option<std::path::PathBuf>,
) -> Result<(), DiscardError> {
    let root = root(task.state, task.name);
    let branch = || task.branch.to_owned();
    let record = Record::all(&root).into_iter().find(|record| record.branch == task.branch);
    let record = record.ok_or_else(|| DiscardError::NotOurs(branch()))?;
    let lock = Lock::take(&root, &record.id).map_err(WorktreeError::from)?;
    let _lock = lock.ok_or_else(|| DiscardError::InUse(branch()))?;
    // It may have been used until now.
    let record = Record::read(&root, &record.id).filter(|record| record.branch == task.branch);
    let record = record.ok_or_else(|| DiscardError::Moved(branch()))?;
    if record.pending {
        return Err(DiscardError::InUse(branch()));
    }
    if record.tip.as_deref() != Some(task.commit) {
        return Err(DiscardError::Moved(branch()));
    }
    let git = Git::new(environment, launcher);
    let repository = git.repository(task.directory).await?;
    match git.branch(&repository, task.branch).await? {
        Some(found) if found.checked_out => return Err(DiscardError::CheckedOut(branch())),
        Some(found) if found.commit != task.commit => return Err(DiscardError::Moved(branch())),
        Some(_) => git.delete(&repository, task.branch, task.commit).await?,
        // Somebody did so before.
        None => {}
    }
    for submodule in record.submodules.iter().filter(|submodule| submodule.tip.is_some()) {
        let own = repository.of_submodule(submodule.own.clone());
        // One that somebody moved or works on is theirs.
        git.forget(&own, &submodule.branch, submodule.tip()).await;
    }
    let tree = root.join("trees").join(&record.id);
    let is_there = tree.symlink_metadata().is_ok();
    let aside = root.join(REMOVED);
    if is_there {
        put_aside(&tree, &aside).map_err(|error| DiscardError::Half(branch(), error))?;
    }
    record.remove(&root);
    if is_there {
        let swept = tokio::task::spawn_blocking(move || {
            let entries = std::fs::read_dir(aside).into_iter().flatten().flatten();
            entries.for_each(|entry| warn(remove(&entry.path())));
        });
        swept.await.map_err(|error| WorktreeError::from(std::io::Error::other(error)))?;
    }
    Ok(())
}
