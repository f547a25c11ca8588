//! Bringing what came of a task into the person's own files, at the person's word.

use std::path::{Path, PathBuf};

use super::WorktreeError;
use super::cause::CONFLICT;
use super::collect::DIFF;
use super::git::{Access, At, Call, Git};
use super::submodules::links_in;
use crate::environment::Environment;
use crate::place;

/// What was changed in the person's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The root of the working tree.
    pub top: PathBuf,
    /// The files, relative to it.
    pub files: Vec<String>,
}

/// How many files git is asked about at once: their names are arguments.
const AT_ONCE: usize = 200;

/// Why it was not done. Nothing was changed, except after [`Partly`](Self::Partly).
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
    #[error(
        "it does not apply cleanly to {} ({reason}); bring in what it builds upon first, or merge the branch",
        top.display()
    )]
    Conflict {
        /// The working tree.
        top: PathBuf,
        /// Why, in our words.
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
    /// An object is not what its id says.
    #[error("{} has an object of {commit} that is not what its id says; nothing of it is taken", top.display())]
    Unsound {
        /// The working tree.
        top: PathBuf,
        /// The commit.
        commit: String,
    },
    /// A file's name is none that can be looked after here.
    #[error("{} is to change a file whose name is not UTF-8; merge the branch instead", top.display())]
    Unnamed {
        /// The working tree.
        top: PathBuf,
    },
    /// Git was ended in the middle.
    #[error(
        "{} was changed in part, in {}: {reason}; `git restore --staged --worktree` takes it back",
        top.display(), files.join(", ")
    )]
    Partly {
        /// The working tree.
        top: PathBuf,
        /// The files that are changed now, some of them if they are many.
        files: Vec<String>,
        /// What git says.
        reason: String,
    },
    /// Git or the system failed.
    #[error(transparent)]
    Failed(#[from] WorktreeError),
}

/// Changes the files and the index of the repository around `workspace` by what lies between two
/// commits of it, all of it or nothing. Nothing is committed. `launcher` puts up walls around git.
pub async fn apply(
    workspace: &Path,
    (base, commit): (&str, &str),
    environment: Environment,
    launcher: Option<PathBuf>,
) -> Result<Applied, ApplyError> {
    let git = Git::new(environment, launcher);
    let repository = git.repository(workspace).await?;
    let top = repository.top.clone();
    for wanted in [base, commit] {
        if !git.has_commit(&repository, wanted).await {
            return Err(ApplyError::Gone { top, commit: wanted.to_owned() });
        }
    }
    let reads = At::Repository(&repository, Access::Read);
    let list = DIFF.into_iter().chain(["--name-only", "--no-renames", "-z", base, commit, "--"]);
    let files = git.run(reads, Call::new("lists the files", list)).await?;
    let Some(files) = names(&files) else { return Err(ApplyError::Unnamed { top }) };
    if files.is_empty() {
        return Ok(Applied { top, files });
    }
    let before = status(&git, reads, &files).await?;
    let dirty = named(&before);
    let is_clean = dirty.is_empty() || (is_staged(&before) && stands_at(&git, reads, base, &files).await?);
    if !is_clean {
        return Err(ApplyError::Dirty { top, files: dirty });
    }
    if !git.is_sound(&repository, (base, commit)).await? {
        return Err(ApplyError::Unsound { top, commit: commit.to_owned() });
    }
    let patch = patch(&git, reads, (base, commit)).await?;
    let reopened = || patch.reopen().map_err(WorktreeError::from);
    // A file that was only touched is as it was.
    let writes = At::Repository(&repository, Access::Files);
    let refresh = Call::new("looks at the files", ["update-index", "-q", "--refresh"]);
    let _ = git.run(writes, refresh.unfiltered()).await;
    let apply = ["apply", "--index", "--whitespace=nowarn"];
    let check = Call::new("tries the patch", apply.into_iter().chain(["--check"])).input(reopened()?);
    git.run(writes, check.unfiltered()).await.map_err(|error| unfit(&top, error))?;
    let apply = Call::new("applies the patch", apply).input(reopened()?);
    let Err(error) = git.run(writes, apply.unfiltered()).await else {
        return Ok(Applied { top, files });
    };
    let now = status(&git, reads, &files).await?;
    if now == before {
        return Err(error.into());
    }
    Err(ApplyError::Partly { top, files: named(&now), reason: error.to_string() })
}

/// The patch of what lies between two commits.
pub(super) async fn patch(
    git: &Git,
    at: At<'_>,
    (base, commit): (&str, &str),
) -> Result<tempfile::NamedTempFile, WorktreeError> {
    let patch = tempfile::NamedTempFile::new()?;
    let diff = ["--no-color", "--no-renames", "--binary", "--full-index", base, commit, "--"];
    let make = Call::new("makes the patch", DIFF.into_iter().chain(diff)).output(patch.reopen()?);
    git.run(at, make).await?;
    Ok(patch)
}

/// Why a patch is not applied to what is in `top`.
pub(super) fn unfit(top: &Path, error: WorktreeError) -> ApplyError {
    match error {
        WorktreeError::Git { reason, .. } if reason == CONFLICT => {
            ApplyError::Conflict { top: top.to_owned(), reason }
        }
        error => error.into(),
    }
}

/// How `files` differ from the current commit: two letters of git's each, of the index and of the file itself, and
/// the name.
pub(super) async fn status(git: &Git, at: At<'_>, files: &[String]) -> Result<Vec<u8>, WorktreeError> {
    let status = [
        "--literal-pathspecs",
        "status",
        "--porcelain",
        "--no-renames",
        // At which commit they are, and not what is changed in them: git would look for that by their own settings.
        "--ignore-submodules=dirty",
        "--untracked-files=all",
        "--ignored",
        "-z",
        "--",
    ];
    let mut all = Vec::new();
    for files in files.chunks(AT_ONCE) {
        let arguments = status.into_iter().chain(files.iter().map(String::as_str));
        all.extend(git.run(at, Call::new("looks for changes", arguments).unfiltered()).await?);
    }
    if is_staged(&all) {
        return Ok(all);
    }
    let mut links = Vec::new();
    for files in files.chunks(AT_ONCE) {
        let list = ["--literal-pathspecs", "ls-files", "--stage", "-z", "--"];
        let list = list.into_iter().chain(files.iter().map(String::as_str));
        let listed = git.run(at, Call::new("looks for submodules", list)).await?;
        links.extend(links_in(&listed).map(|(path, _)| place::bytes_of(&path)));
    }
    Ok(without_checkouts(&all, &links))
}

/// The same without what submodules are checked out at, which nothing here changes or goes by.
fn without_checkouts(status: &[u8], links: &[Vec<u8>]) -> Vec<u8> {
    let mut left = Vec::with_capacity(status.len());
    for line in entries(status) {
        let is_link = links.iter().any(|link| link == &line[3..]);
        if is_link && line[0] == b' ' {
            continue;
        }
        left.extend([line[0], if is_link { b' ' } else { line[1] }]);
        left.extend(&line[2..]);
        left.push(0);
    }
    left
}

fn entries(status: &[u8]) -> impl Iterator<Item = &[u8]> {
    status.split(|byte| *byte == 0).filter(|line| line.len() > 3)
}

/// The names in a status, a few of them.
fn named(status: &[u8]) -> Vec<String> {
    entries(status).map(|line| String::from_utf8_lossy(&line[3..]).into_owned()).take(5).collect()
}

/// Whether every difference is in the index, and the files are as that says.
pub(super) fn is_staged(status: &[u8]) -> bool {
    entries(status).all(|line| line[1] == b' ')
}

/// Whether the index has `files` as `commit` does: what was applied before is what is taken back.
pub(super) async fn stands_at(
    git: &Git,
    at: At<'_>,
    commit: &str,
    files: &[String],
) -> Result<bool, WorktreeError> {
    let list = [
        "--literal-pathspecs",
        "diff-index",
        "--cached",
        "--name-only",
        "--no-renames",
        "--ignore-submodules=none",
        "-z",
        commit,
        "--",
    ];
    for files in files.chunks(AT_ONCE) {
        let arguments = list.into_iter().chain(files.iter().map(String::as_str));
        if !git.run(at, Call::new("compares the index", arguments)).await?.is_empty() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Nothing if one of them is not UTF-8.
pub(super) fn names(output: &[u8]) -> Option<Vec<String>> {
    let parts = output.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    parts.map(|name| String::from_utf8(name.to_vec()).ok()).collect()
}
