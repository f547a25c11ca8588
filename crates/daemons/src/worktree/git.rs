//! Git itself, run so that nothing of what a repository or a tree says is done: within walls in which it
//! starts no other program and reaches no network, without hooks, filters, transports, lazy fetches,
//! external diffs and pagers.
//!
//! Both a tree and the person's own repository may have been an agent's: which repository it is, the host
//! sees for itself ([`confine::located`]), and git is told; a tree is held by its descriptor.

mod call;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use tokio::sync::OnceCell;

use super::WorktreeError;
use crate::confine::{self, Located, Misplaced};
use crate::environment::Environment;
use crate::place::{self, Held};

pub(super) use call::{Access, At, Call, personal};

/// Git, and what it may do.
#[derive(Debug, Clone)]
pub(super) struct Git {
    environment: Environment,
    launcher: Option<PathBuf>,
    /// The files with the person's own settings for all repositories.
    personal: Arc<OnceCell<Vec<PathBuf>>>,
    /// The program itself, and what else it starts of itself.
    program: Arc<OnceLock<(PathBuf, Vec<PathBuf>)>>,
}

/// The repository that a workspace is in.
#[derive(Debug, Clone)]
pub(super) struct Repository {
    /// The root of its working tree.
    pub(super) top: PathBuf,
    /// Where the settings of that are.
    own: PathBuf,
    /// Where its objects and references are.
    pub(super) common: PathBuf,
    /// Those objects, and those that it borrows.
    objects: Vec<PathBuf>,
    /// Where the workspace is below `top`.
    pub(super) prefix: PathBuf,
    /// How its objects are named.
    pub(super) format: String,
}

/// A branch of a repository.
#[derive(Debug)]
pub(super) struct Branch {
    pub(super) commit: String,
    /// Whether a working tree of the person's is on it.
    pub(super) checked_out: bool,
}

impl Repository {
    /// The user's repository of a submodule of this one, which borrows nothing.
    pub(super) fn of_submodule(&self, own: PathBuf) -> Self {
        let (objects, format) = (vec![own.join("objects")], self.format.clone());
        Self { top: own.clone(), common: own.clone(), own, objects, prefix: PathBuf::new(), format }
    }

    /// Where the settings and the state of its working tree are.
    pub(super) fn own(&self) -> &Path {
        &self.own
    }
}

impl Git {
    pub(super) fn new(environment: Environment, launcher: Option<PathBuf>) -> Self {
        Self { environment, launcher, personal: Arc::default(), program: Arc::default() }
    }

    /// What its environment is taken from.
    pub(super) fn environment(&self) -> &Environment {
        &self.environment
    }

    pub(super) async fn repository(&self, workspace: &Path) -> Result<Repository, WorktreeError> {
        let none = || WorktreeError::NoRepository(workspace.to_owned());
        let workspace = workspace.canonicalize().map_err(|_| none())?;
        let Located { top, own, common } = confine::located(&workspace).map_err(|why| match why {
            Misplaced::None => none(),
            Misplaced::Bare => WorktreeError::Bare(workspace.clone()),
            Misplaced::Elsewhere(named) => WorktreeError::Elsewhere(workspace.clone(), named),
        })?;
        // Whether git takes it for one, its owner included, it finds out alone.
        let what = "looks at the repository";
        let asked =
            ["rev-parse", "--path-format=absolute", "--git-dir", "--git-common-dir", "--show-object-format"];
        let found = self.run(At::Found(&top, &own, &common), Call::new(what, asked)).await;
        let found = found.map_err(|error| match error {
            WorktreeError::NoRepository(_) => none(),
            WorktreeError::Bare(_) => WorktreeError::Bare(workspace.clone()),
            WorktreeError::NotOwned(_) => WorktreeError::NotOwned(top.clone()),
            error => error,
        })?;
        let found = text(&found);
        let mut lines = found.lines();
        let mut same = |path: &Path| {
            lines.next().is_some_and(|line| Path::new(line).canonicalize().is_ok_and(|line| line == path))
        };
        if !(same(&own) && same(&common)) {
            return Err(none());
        }
        let format = lines.next().unwrap_or("sha1").to_owned();
        let prefix = workspace.strip_prefix(&top).map(Path::to_owned).unwrap_or_default();
        let objects = confine::with_borrowed(&common);
        Ok(Repository { top, own, common, objects, prefix, format })
    }

    /// The commit that the repository is at.
    pub(super) async fn head(&self, repository: &Repository) -> Result<String, WorktreeError> {
        let what = "looks for a commit";
        let head = Call::new(what, ["rev-parse", "--verify", "--quiet", "HEAD"]);
        let head = self.run(At::Repository(repository, Access::Read), head).await;
        let head = text(&head.map_err(|error| match error {
            // It says nothing where there is none.
            WorktreeError::Git { .. } => WorktreeError::NoCommit(repository.top.clone()),
            error => error,
        })?);
        if self.has_commit(repository, &head).await {
            return Ok(head);
        }
        Err(WorktreeError::Missing { what, object: head })
    }

    pub(super) async fn has_commit(&self, repository: &Repository, commit: &str) -> bool {
        let name = format!("{commit}^{{commit}}");
        let call = Call::new("looks for a commit", ["cat-file", "-e", &name]);
        self.run(At::Repository(repository, Access::Read), call).await.is_ok()
    }

    /// Points `branch` at `commit`; with `from`, only if it points there now, else only if it is new.
    pub(super) async fn point(
        &self,
        repository: &Repository,
        branch: &str,
        commit: &str,
        from: Option<&str>,
    ) -> Result<(), WorktreeError> {
        let reference = format!("refs/heads/{branch}");
        let update = ["update-ref", &reference, commit, from.unwrap_or("")];
        let at = At::Repository(repository, Access::Write);
        self.run(at, Call::new("makes a branch", update)).await.map(drop)
    }

    /// Where `branch` is; nothing if there is none.
    pub(super) async fn branch(
        &self,
        repository: &Repository,
        branch: &str,
    ) -> Result<Option<Branch>, WorktreeError> {
        let reference = format!("refs/heads/{branch}");
        let list = ["for-each-ref", "--format=%(objectname) %(worktreepath)", &reference];
        let at = At::Repository(repository, Access::Read);
        let found = text(&self.run(at, Call::new("looks for a branch", list)).await?);
        let branch = |(commit, place): (&str, &str)| Branch {
            commit: commit.to_owned(),
            checked_out: !place.is_empty(),
        };
        Ok(found.split_once(' ').map(branch))
    }

    /// Deletes `branch` if it still points at `commit`.
    pub(super) async fn delete(
        &self,
        repository: &Repository,
        branch: &str,
        commit: &str,
    ) -> Result<(), WorktreeError> {
        let reference = format!("refs/heads/{branch}");
        let delete = Call::new("deletes a branch", ["update-ref", "-d", &reference, commit]);
        self.run(At::Repository(repository, Access::Write), delete).await.map(drop)
    }

    /// Deletes `branch` if it still points at `commit` and nobody works on it.
    pub(super) async fn forget(&self, repository: &Repository, branch: &str, commit: &str) {
        if !matches!(self.branch(repository, branch).await, Ok(Some(found)) if !found.checked_out) {
            return;
        }
        let _ = self.delete(repository, branch, commit).await;
    }

    /// Gives a tree the cone or patterns of the workspace's own sparse checkout, if that is one.
    async fn narrow(&self, repository: &Repository, tree: &Held) -> Result<(), WorktreeError> {
        let Some(patterns) = place::read(&repository.own, "info/sparse-checkout".as_ref())? else {
            return Ok(());
        };
        let at = At::Repository(repository, Access::Read);
        for (key, needed) in [("core.sparseCheckout", true), ("core.sparseCheckoutCone", false)] {
            let asked = Call::new("looks for a sparse checkout", ["config", "--type=bool", key]);
            let is_set = self.run(at, asked).await.is_ok_and(|value| text(&value) == "true");
            if needed && !is_set {
                return Ok(());
            }
            let value = if is_set { "true" } else { "false" };
            let set = Call::new("makes a sparse checkout", ["config", key, value]);
            self.run(At::Tree(tree, repository), set).await?;
        }
        let info = tree.path().join(".git/info");
        std::fs::create_dir_all(&info)?;
        Ok(std::fs::write(info.join("sparse-checkout"), patterns)?)
    }

    /// Makes a repository in the empty directory `tree` that borrows the objects of another, with
    /// the files of a commit, on a branch. No agent reaches `tree` yet.
    pub(super) async fn fill(
        &self,
        repository: &Repository,
        tree: &Held,
        (branch, commit): (&str, &str),
    ) -> Result<(), WorktreeError> {
        let (format, branch) =
            (format!("--object-format={}", repository.format), format!("--initial-branch={branch}"));
        let at = At::Tree(tree, repository);
        let init = ["init", "--quiet", "--template=", &format, &branch];
        self.run(at, Call::new("makes a repository", init)).await?;
        let git = tree.path().join(".git");
        let mut objects = place::bytes_of(&repository.common.join("objects"));
        objects.push(b'\n');
        std::fs::create_dir_all(git.join("objects/info"))?;
        std::fs::write(git.join("objects/info/alternates"), objects)?;
        if let Some(shallow) = place::read(&repository.common, "shallow".as_ref())? {
            // An agent may have put something else there, for its next tree to have.
            let is_list = shallow.lines().all(super::is_id);
            std::fs::write(git.join("shallow"), if is_list { shallow } else { String::new() })?;
        }
        self.narrow(repository, tree).await?;
        for (key, default) in [("user.name", "opencode"), ("user.email", "opencode@localhost")] {
            let call = Call::new("looks at the author", ["config", key]);
            let known = self.run(At::Repository(repository, Access::Read), call).await;
            let author = known.map_or_else(|_| default.to_owned(), |known| text(&known));
            self.run(at, Call::new("names the author", ["config", key, &author])).await?;
        }
        let files = Call::new("writes the files", ["reset", "--quiet", "--hard", commit]);
        self.run(At::Tree(tree, repository), files.unfiltered()).await.map(drop)
    }
}

/// The line that git printed.
pub(super) fn text(output: &[u8]) -> String {
    String::from_utf8_lossy(output).trim_end_matches('\n').to_owned()
}
