//! Git itself, run without hooks, prompts and the environment's say; and within walls where an
//! agent has been.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use super::record::Record;
use super::running::{Printed, Says, printed};
use super::{WorktreeError, remove};
use crate::confine::{self, Walls};
use crate::environment::Environment;

/// The most that git may print where all of it is wanted.
const MOST: usize = 16 << 20;

/// What makes git do nothing but what it was told.
const QUIET: [&str; 14] = [
    "-c",
    "core.hooksPath=/dev/null",
    "-c",
    "core.fsmonitor=false",
    "-c",
    "gc.auto=0",
    "-c",
    "maintenance.auto=false",
    "-c",
    "commit.gpgSign=false",
    "-c",
    "advice.detachedHead=false",
    "-c",
    "core.quotePath=false",
];

#[derive(Debug, Clone)]
pub(super) struct Git {
    pub(super) environment: Environment,
    pub(super) launcher: Option<PathBuf>,
}

/// The repository that a workspace is in.
#[derive(Debug, Clone)]
pub(super) struct Repository {
    /// The root of its working tree.
    pub(super) top: PathBuf,
    /// Where its objects and references are.
    pub(super) common: PathBuf,
    /// Where the workspace is below `top`.
    pub(super) prefix: PathBuf,
}

/// A branch of a repository.
#[derive(Debug)]
pub(super) struct Branch {
    pub(super) commit: String,
    /// Whether a working tree of the person's is on it.
    pub(super) checked_out: bool,
}

impl Git {
    pub(super) async fn repository(&self, workspace: &Path) -> Result<Repository, WorktreeError> {
        let none = || WorktreeError::NoRepository(workspace.to_owned());
        let workspace = workspace.canonicalize().map_err(|_| none())?;
        let said = |what| {
            self.run(&workspace, "looks at the repository", ["rev-parse", "--path-format=absolute", what])
        };
        let top = path(&said("--show-toplevel").await.map_err(|_| none())?);
        let common = path(&said("--git-common-dir").await.map_err(|_| none())?);
        let prefix = workspace.strip_prefix(&top).map(Path::to_owned).unwrap_or_default();
        Ok(Repository { top, common, prefix })
    }

    /// The commit that the repository is at.
    pub(super) async fn head(&self, repository: &Repository) -> Result<String, WorktreeError> {
        let head = ["rev-parse", "--verify", "--quiet", "HEAD^{commit}"];
        let head = self.run(&repository.top, "looks for a commit", head).await;
        Ok(text(&head.map_err(|_| WorktreeError::NoCommit(repository.top.clone()))?))
    }

    pub(super) async fn has_commit(&self, repository: &Repository, commit: &str) -> bool {
        let name = format!("{commit}^{{commit}}");
        self.run(&repository.top, "looks for a commit", ["cat-file", "-e", &name]).await.is_ok()
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
        self.run(&repository.top, "makes a branch", update).await.map(drop)
    }

    /// Where `branch` is; nothing if there is none.
    pub(super) async fn branch(
        &self,
        repository: &Repository,
        branch: &str,
    ) -> Result<Option<Branch>, WorktreeError> {
        let reference = format!("refs/heads/{branch}");
        let list = ["for-each-ref", "--format=%(objectname) %(worktreepath)", &reference];
        let found = text(&self.run(&repository.top, "looks for a branch", list).await?);
        let branch = |(commit, place): (&str, &str)| Branch {
            commit: commit.to_owned(),
            checked_out: !place.is_empty(),
        };
        Ok(found.split_once(' ').map(branch))
    }

    /// Deletes `branch` if it still points at `commit` and nobody works on it.
    pub(super) async fn forget(&self, repository: &Repository, branch: &str, commit: &str) {
        if !matches!(self.branch(repository, branch).await, Ok(Some(found)) if !found.checked_out) {
            return;
        }
        let reference = format!("refs/heads/{branch}");
        let _ = self.run(&repository.top, "deletes a branch", ["update-ref", "-d", &reference, commit]).await;
    }

    /// Makes a repository in the empty directory `root` that borrows the objects of another, with
    /// the files of the record's tip.
    pub(super) async fn fill(
        &self,
        repository: &Repository,
        root: &Path,
        record: &Record,
    ) -> Result<(), WorktreeError> {
        let format = ["rev-parse", "--show-object-format"];
        let format = text(&self.run(&repository.top, "looks at the repository", format).await?);
        let (format, branch) =
            (format!("--object-format={format}"), format!("--initial-branch={}", record.branch));
        self.run(root, "makes a repository", ["init", "--quiet", "--template=", &format, &branch]).await?;
        let git = root.join(".git");
        let mut objects = repository.common.join("objects").into_os_string().as_bytes().to_owned();
        objects.push(b'\n');
        std::fs::create_dir_all(git.join("objects/info"))?;
        std::fs::write(git.join("objects/info/alternates"), objects)?;
        if let Ok(shallow) = std::fs::read(repository.common.join("shallow")) {
            std::fs::write(git.join("shallow"), shallow)?;
        }
        for (key, default) in [("user.name", "opencode"), ("user.email", "opencode@localhost")] {
            let known = self.run(&repository.top, "looks at the author", ["config", key]).await;
            let author = known.map_or_else(|_| default.to_owned(), |known| text(&known));
            self.run(root, "names the author", ["config", key, &author]).await?;
        }
        let files = ["reset", "--quiet", "--hard", record.tip()];
        if let Err(error) = self.run(root, "writes the files", files).await {
            remove(root)?;
            return Err(error);
        }
        Ok(())
    }

    /// Runs git in a place that no agent has written to; what it printed.
    pub(super) async fn run<'a>(
        &self,
        directory: &Path,
        what: &'static str,
        arguments: impl IntoIterator<Item = &'a str>,
    ) -> Result<Vec<u8>, WorktreeError> {
        whole(what, self.start_of(directory, what, arguments, MOST).await?)
    }

    /// The same where the first `most` bytes of what it prints are enough.
    pub(super) async fn start_of<'a>(
        &self,
        directory: &Path,
        what: &'static str,
        arguments: impl IntoIterator<Item = &'a str>,
        most: usize,
    ) -> Result<Printed, WorktreeError> {
        let mut command = self.command(directory, Path::new("git"), None);
        command.args(QUIET).args(arguments).stdout(Stdio::piped());
        printed(what, command, most, Says::Person).await
    }

    /// Runs git in a place that no agent has written to, and lets it read `input`.
    pub(super) async fn read<'a>(
        &self,
        directory: &Path,
        what: &'static str,
        arguments: impl IntoIterator<Item = &'a str>,
        input: File,
    ) -> Result<(), WorktreeError> {
        let mut command = self.command(directory, Path::new("git"), None);
        command.args(QUIET).args(arguments).stdin(input).stdout(Stdio::null());
        printed(what, command, MOST, Says::Person).await.map(drop)
    }

    /// Runs git in a tree where an agent has been, within walls like the agent's. What it says is
    /// the agent's word. Its output goes to `output`, if that is given.
    pub(super) async fn run_within<'a>(
        &self,
        (root, repository): (&Path, &Repository),
        what: &'static str,
        arguments: impl IntoIterator<Item = &'a str>,
        output: Option<File>,
    ) -> Result<Vec<u8>, WorktreeError> {
        let plan = self.launcher.as_ref().map(|launcher| {
            let mut walls = Walls::of_programs(&self.environment);
            walls.read.extend(confine::with_borrowed(repository.common.join("objects")));
            walls.write.push(root.to_owned());
            (launcher.as_path(), confine::plan_of(walls))
        });
        let program = which::which("git").unwrap_or_else(|_| PathBuf::from("git"));
        let mut command = self.command(root, &program, plan);
        command.args(QUIET).args(arguments);
        command.stdout(output.map_or_else(Stdio::piped, Stdio::from));
        whole(what, printed(what, command, MOST, Says::Agent).await?)
    }

    fn command(
        &self,
        directory: &Path,
        program: &Path,
        walls: Option<(&Path, String)>,
    ) -> tokio::process::Command {
        #[expect(clippy::disallowed_methods, reason = "git is run here, for working trees")]
        let mut command =
            tokio::process::Command::new(walls.as_ref().map_or(program, |(launcher, _)| launcher));
        if walls.is_some() {
            command.arg(confine::LAUNCH).arg(program);
        }
        command
            .current_dir(directory)
            .env_clear()
            .envs(self.environment.allowed(&[]).iter())
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_EDITOR", "true")
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stderr(Stdio::piped());
        if let Some((_, plan)) = walls {
            command.env(confine::PLAN, plan);
        }
        command
    }
}

fn whole(what: &'static str, printed: Printed) -> Result<Vec<u8>, WorktreeError> {
    if printed.cut {
        return Err(WorktreeError::Git { what, reason: format!("it printed more than {} MiB", MOST >> 20) });
    }
    Ok(printed.bytes)
}

/// The line that git printed.
pub(super) fn text(output: &[u8]) -> String {
    String::from_utf8_lossy(output).trim_end_matches('\n').to_owned()
}

fn path(output: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(output.strip_suffix(b"\n").unwrap_or(output)))
}
