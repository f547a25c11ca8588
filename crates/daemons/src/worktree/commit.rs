//! Committing what came of a task on the person's own branch, at the person's word.

use std::path::{Path, PathBuf};

use super::WorktreeError;
use super::apply::{ApplyError, apply, is_staged, names, patch, stands_at, status, unfit};
use super::collect::DIFF;
use super::git::{Access, At, Call, Git, Repository, text};
use super::push::is_line;
use crate::environment::Environment;

/// The longest title, in characters.
const TITLE: usize = 200;

/// What is called nothing.
const UNTITLED: &str = "Changes of a task";

/// What was committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The root of the working tree.
    pub top: PathBuf,
    /// The branch that has it now.
    pub branch: String,
    /// The commit that the branch is at.
    pub commit: String,
    /// Whether those are the task's own commits, since the branch was where the task began.
    pub as_it_was: bool,
    /// The files, relative to the root.
    pub files: Vec<String>,
}

/// Why nothing was committed. Nothing was changed, except as [`ApplyError`] and [`Staged`](Self::Staged) say.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The working tree is at a commit and on no branch.
    #[error("{} is on no branch, so a commit there would be nobody's; switch to one first", .0.display())]
    Detached(PathBuf),
    /// The working tree is on another branch than was approved.
    #[error(
        "{} is on {branch}, and {approved} was approved; ask again to commit it there",
        top.display()
    )]
    Other {
        /// The working tree.
        top: PathBuf,
        /// Its branch.
        branch: String,
        /// The branch that was approved.
        approved: String,
    },
    /// It is in the files and the index now, and on no branch as far as is known.
    #[error("it is staged in {}, not committed; `git status` there says what is", top.display())]
    Staged {
        /// The working tree.
        top: PathBuf,
        /// Why it is not committed, or not taken back.
        source: Box<CommitError>,
    },
    /// The change is there already, or there is none.
    #[error("{branch} of {} has it already", top.display())]
    Already {
        /// The working tree.
        top: PathBuf,
        /// Its branch.
        branch: String,
    },
    /// A merge or a rebase is not finished.
    #[error("{} is in the middle of a merge or a rebase; finish or abort that first", .0.display())]
    Unfinished(PathBuf),
    /// It cannot be brought into the files.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// Git or the system failed.
    #[error(transparent)]
    Failed(#[from] WorktreeError),
}

/// The branch that the repository around `workspace` is on, as its files say; nothing where they do not.
pub fn current_branch(workspace: &Path) -> Option<String> {
    let located = crate::confine::located(workspace).ok()?;
    let head = crate::place::read(&located.own, "HEAD".as_ref()).ok()??;
    let branch = head.trim_end().strip_prefix("ref: refs/heads/")?;
    (branch != ".invalid").then(|| branch.to_owned())
}

/// What a merge, a rebase and their like leave while they are not finished.
const UNFINISHED: [&str; 6] =
    ["MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD", "rebase-merge", "rebase-apply", "BISECT_LOG"];

/// Commits what lies between two commits on the current branch of the repository around `workspace`, whether it is
/// [applied](apply) there already or not: the task's own commits where the branch is where they begin, else one
/// commit called `title`, or as the last of the task's is. With `onto` that branch has to be the current one. Other
/// changes, staged or not, stay as they are. Nothing of the repository's is run, and nothing is signed.
pub async fn commit(
    workspace: &Path,
    (base, commit): (&str, &str),
    (title, onto): (Option<&str>, Option<&str>),
    environment: Environment,
    launcher: Option<PathBuf>,
) -> Result<Committed, CommitError> {
    let git = Git::new(environment.clone(), launcher.clone());
    let repository = git.repository(workspace).await?;
    let top = repository.top.clone();
    let reads = At::Repository(&repository, Access::Read);
    let branch = branch_of(&git, &repository).await?;
    if let Some(onto) = onto.filter(|onto| *onto != branch) {
        return Err(CommitError::Other { top, branch, approved: onto.to_owned() });
    }
    if UNFINISHED.iter().any(|name| repository.own().join(name).symlink_metadata().is_ok()) {
        return Err(CommitError::Unfinished(top));
    }
    let Some(head) = git.branch(&repository, &branch).await?.map(|found| found.commit) else {
        return Err(WorktreeError::NoCommit(top).into());
    };
    for wanted in [base, commit] {
        if !git.has_commit(&repository, wanted).await {
            return Err(ApplyError::Gone { top, commit: wanted.to_owned() }.into());
        }
    }
    let list = DIFF.into_iter().chain(["--name-only", "--no-renames", "-z", base, commit, "--"]);
    let files = git.run(reads, Call::new("lists the files", list)).await?;
    let Some(files) = names(&files) else { return Err(ApplyError::Unnamed { top }.into()) };
    let now = status(&git, reads, &files).await?;
    if files.is_empty() || (now.is_empty() && stands_at(&git, reads, commit, &files).await?) {
        return Err(CommitError::Already { top, branch });
    }
    if !git.is_sound(&repository, (base, commit)).await? {
        return Err(ApplyError::Unsound { top, commit: commit.to_owned() }.into());
    }
    let as_it_was = head == base && is_plain(&git, reads, (base, commit)).await?;
    let new = if as_it_was {
        commit.to_owned()
    } else {
        let title = match title {
            Some(title) => title.to_owned(),
            None => title_of(&git, reads, commit).await?,
        };
        one(&git, &repository, &head, (base, commit), &titled(&title)).await?
    };
    let applied = is_staged(&now) && stands_at(&git, reads, &new, &files).await?;
    if !applied {
        apply(workspace, (base, commit), environment.clone(), launcher.clone()).await?;
    }
    let made = async {
        // The person may have switched while the files were written.
        let now = branch_of(&git, &repository).await?;
        if now != branch {
            return Err(CommitError::Other { top: top.clone(), branch: now, approved: branch.clone() });
        }
        Ok(git.point(&repository, &branch, &new, Some(&head)).await?)
    };
    let error = match made.await {
        Ok(()) => return Ok(Committed { top, branch, commit: new, as_it_was, files }),
        Err(error) => error,
    };
    let staged = |source: CommitError| CommitError::Staged { top: top.clone(), source: Box::new(source) };
    // What is on the branch by now is not taken out of the files.
    match git.branch(&repository, &branch).await {
        Ok(Some(found)) if found.commit == head && applied => Err(error),
        Ok(Some(found)) if found.commit == head => {
            // As it was before.
            let back = apply(workspace, (commit, base), environment, launcher).await;
            Err(back.map_or_else(|error| staged(error.into()), |_| error))
        }
        _ => Err(staged(error)),
    }
}

/// The branch that the working tree is on, by its whole name below `refs/heads`.
async fn branch_of(git: &Git, repository: &Repository) -> Result<String, CommitError> {
    let detached = || CommitError::Detached(repository.top.clone());
    let asked = Call::new("looks for the branch", ["symbolic-ref", "--quiet", "HEAD"]);
    let name = git.run(At::Repository(repository, Access::Read), asked).await.map_err(|_| detached())?;
    text(&name).strip_prefix("refs/heads/").map(str::to_owned).ok_or_else(detached)
}

async fn is_plain(git: &Git, at: At<'_>, (base, commit): (&str, &str)) -> Result<bool, WorktreeError> {
    let without = format!("^{base}");
    let line = ["rev-list", "--parents", "--topo-order", commit, &without];
    let line = git.run(at, Call::new("looks at the commits", line)).await?;
    Ok(is_line(&String::from_utf8_lossy(&line), base, commit))
}

/// Makes one commit upon `head` of what lies between two commits, whatever the working tree is at or has by now.
async fn one(
    git: &Git,
    repository: &Repository,
    head: &str,
    range: (&str, &str),
    title: &str,
) -> Result<String, ApplyError> {
    let (reads, writes) =
        (At::Repository(repository, Access::Read), At::Repository(repository, Access::Write));
    let place = tempfile::tempdir_in(repository.own()).map_err(WorktreeError::from)?;
    let index = place.path().join("index");
    git.run(writes, Call::new("reads the branch", ["read-tree", head]).index(&index)).await?;
    let patch = patch(git, reads, range).await?.reopen().map_err(WorktreeError::from)?;
    let put = Call::new("tries the patch", ["apply", "--cached", "--whitespace=nowarn"]);
    let put = git.run(writes, put.index(&index).input(patch)).await;
    put.map_err(|error| unfit(&repository.top, error))?;
    // Of a partial clone not every object of the branch is there.
    let write = Call::new("writes the tree", ["write-tree", "--missing-ok"]).index(&index);
    let tree = text(&git.run(writes, write).await?);
    let mut author = Vec::new();
    for (key, default) in [("user.name", "opencode"), ("user.email", "opencode@localhost")] {
        let known = git.run(reads, Call::new("looks at the author", ["config", key])).await;
        author.push(format!("{key}={}", known.map_or_else(|_| default.to_owned(), |known| text(&known))));
    }
    let make = ["-c", &author[0], "-c", &author[1], "commit-tree", "-p", head, "-m", title, &tree];
    Ok(text(&git.run(writes, Call::new("commits the change", make)).await?))
}

/// What a commit is called.
async fn title_of(git: &Git, at: At<'_>, commit: &str) -> Result<String, WorktreeError> {
    let show = ["log", "-1", "--no-show-signature", "--format=%s", commit, "--"];
    Ok(text(&git.run(at, Call::new("looks at the commit", show)).await?))
}

/// The first line, as far as it is a title.
pub(super) fn titled(text: &str) -> String {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or(UNTITLED);
    let plain: String = line.chars().filter(|letter| !letter.is_control()).take(TITLE).collect();
    match plain.trim() {
        "" => UNTITLED.to_owned(),
        title => title.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_is_one_line() {
        for (text, title) in [
            ("Fix the test", "Fix the test"),
            ("\n  Fix it\nand more", "Fix it"),
            ("a\u{1b}[31mb", "a[31mb"),
            ("", UNTITLED),
            ("\u{7}", UNTITLED),
        ] {
            assert_eq!(titled(text), title);
        }
        assert_eq!(titled(&"é".repeat(300)).chars().count(), TITLE);
    }
}
