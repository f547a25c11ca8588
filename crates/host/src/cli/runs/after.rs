//! `runs apply`, `undo`, `commit`, `push` and `discard`: what a task left on its branch, because the person says so.

use std::path::{Path, PathBuf};

use connector_contract::chain;
use connector_files::AbsolutePath;
use connector_gate::ids::RunId;
use connector_ledger::events::Change;
use connector_ledger::steps::{self, StepRow};
use connector_surface::text::one_line;
use opencode_daemons::worktree::{
    self, Applied, ApplyError, CommitError, Committed, Destination, Pushed, Remote, Task,
};
use opencode_daemons::{Environment, PoolConfig};
use serde_json::{Value, json};

use super::Common;
use crate::cli::path;
use crate::config::HostConfig;
use crate::exit::{Exit, Failure};
use crate::managed;

/// What a task left on a branch, and of which repository.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Left {
    workspace: PathBuf,
    change: Change,
}

/// What becomes of it.
#[derive(Debug)]
pub(super) enum What {
    /// It is staged.
    Apply,
    /// It is taken back.
    Undo,
    /// It is committed on the current branch.
    Commit,
    /// It is sent to the workspace's remote.
    Push {
        /// Where that is configured.
        config: Option<AbsolutePath>,
        /// The branch there.
        to: Option<String>,
    },
    /// It is removed.
    Discard,
}

pub(super) async fn run(common: &Common, id: RunId, what: What) -> Result<Exit, Failure> {
    let rows = common.existing_ledger()?.read(move |tx| steps::of_run(tx, id)).await?;
    if rows.is_empty() {
        return Err(Failure::usage(format!("there is no run {id} with a step; see `runs list`")));
    }
    let left = one(rows.iter().filter_map(left)).map_err(|branches| match branches.as_slice() {
        [] => Failure::failed(format!(
            "run {id} says of no branch: it changed nothing, it did not succeed (its error names a branch if it has one; \
             see `runs show {id}`), or its workspace has no `isolation = \"worktree\"`"
        )),
        branches => Failure::failed(format!(
            "run {id} left several branches ({}); nothing was changed: merge them with git, one after another",
            one_line(&branches.join(", "))
        )),
    })?;
    let (mut answer, told) = match what {
        What::Apply => applied(id, &left, false).await?,
        What::Undo => applied(id, &left, true).await?,
        What::Commit => committed(id, &left).await?,
        What::Push { config, to } => pushed(common, &left, (config.as_ref(), to.as_deref())).await?,
        What::Discard => discarded(common, &left).await?,
    };
    answer["run"] = json!(id);
    answer["branch"] = json!(left.change.branch);
    answer["commit"] = json!(left.change.commit);
    common.print(&answer, |_| told.clone())?;
    Ok(Exit::Done)
}

fn around() -> (Environment, Option<PathBuf>) {
    (Environment::of_this_process(), std::env::current_exe().ok())
}

async fn applied(id: RunId, left: &Left, undo: bool) -> Result<(Value, String), Failure> {
    let Left { workspace, change } = left;
    let (from, to) = (change.base.as_str(), change.commit.as_str());
    let (environment, launcher) = around();
    let commits = if undo { (to, from) } else { (from, to) };
    let applied = worktree::apply(workspace, commits, environment, launcher).await;
    let Applied { top, files } = applied.map_err(|error| match error {
        ApplyError::Partly { .. } => Failure::failed(chain(&error)),
        _ => nothing(&chain(&error)),
    })?;
    let answer = json!({ "directory": top, "files": files });
    let branch = one_line(&change.branch);
    if files.is_empty() {
        let told =
            format!("run {id} changed no file; {branch} may have what earlier ones of its session did");
        return Ok((answer, told));
    }
    let how = if undo { "taken back out of" } else { "staged in" };
    let mut lines = vec![format!("what run {id} did on {branch} is {how} {}, not committed", top.display())];
    lines.extend(files.iter().map(|file| format!("  {}", one_line(file))));
    Ok((answer, lines.join("\n")))
}

async fn committed(id: RunId, left: &Left) -> Result<(Value, String), Failure> {
    let Left { workspace, change } = left;
    let (environment, launcher) = around();
    let commits = (change.base.as_str(), change.commit.as_str());
    let committed = worktree::commit(workspace, commits, (None, None), environment, launcher).await;
    let Committed { top, branch, commit, as_it_was, files } = committed.map_err(|error| match error {
        CommitError::Apply(ApplyError::Partly { .. }) | CommitError::Staged { .. } => {
            Failure::failed(chain(&error))
        }
        _ => nothing(&chain(&error)),
    })?;
    let how = if as_it_was { "its own commits" } else { "one commit" };
    let told = format!(
        "what run {id} did is on {} of {} now, as {how}, at {}",
        one_line(&branch),
        top.display(),
        commit.get(..12).unwrap_or(&commit)
    );
    Ok((json!({ "directory": top, "onto": branch, "head": commit, "files": files }), told))
}

async fn pushed(
    common: &Common,
    left: &Left,
    (config, to): (Option<&AbsolutePath>, Option<&str>),
) -> Result<(Value, String), Failure> {
    let file = path::config(config)?;
    let config = HostConfig::load(&file).map_err(|error| Failure::usage(chain(&error)))?;
    let remote = remote_of(&config, &left.workspace)
        .map_err(|why| Failure::usage(format!("{}: {why}", file.display())))?;
    let (environment, launcher) = around();
    let log = common.state()?.join("push.log");
    let branch = to.unwrap_or(&left.change.branch);
    let destination = Destination { remote: &remote, branch, log: &log };
    let commits = (left.change.base.as_str(), left.change.commit.as_str());
    let pushed = worktree::push(&left.workspace, commits, destination, environment, launcher).await;
    let address = remote.as_str();
    let (outcome, told) = match pushed.map_err(|error| Failure::failed(chain(&error)))? {
        Pushed::Created => ("created", format!("pushed to {address} as the new branch {branch}")),
        Pushed::Updated => ("updated", format!("pushed to {branch} of {address}")),
        Pushed::Unchanged => ("unchanged", format!("{branch} of {address} has it already")),
    };
    Ok((json!({ "remote": address, "to": branch, "outcome": outcome }), told))
}

/// The remote of the workspace with this directory.
fn remote_of(config: &HostConfig, directory: &Path) -> Result<Remote, String> {
    let is_it = |path: &Path| {
        path.canonicalize().is_ok_and(|path| directory.canonicalize().is_ok_and(|it| it == path))
    };
    let found = config.workspaces.iter().find(|(_, workspace)| is_it(&workspace.directory));
    let (name, workspace) =
        found.ok_or_else(|| format!("no [workspaces] entry has the directory {}", directory.display()))?;
    let address = workspace.remote.as_ref().ok_or_else(|| format!("[workspaces.{name}] has no `remote`"))?;
    let pool = PoolConfig { workspaces: config.workspaces.clone(), ..config.opencode.clone() };
    pool.remote(address).map_err(|error| format!("[workspaces.{name}] `remote`: {error}"))
}

async fn discarded(common: &Common, left: &Left) -> Result<(Value, String), Failure> {
    let state = managed::directory(&common.state()?);
    let Change { branch, commit, .. } = &left.change;
    let name = worktree::workspace_of(&state, branch).unwrap_or_default();
    let task = Task { state: &state, name: &name, directory: &left.workspace, branch, commit };
    let (environment, launcher) = around();
    let discarded = worktree::discard(task, environment, launcher).await;
    discarded.map_err(|error| Failure::failed(chain(&error)))?;
    Ok((json!({}), format!("{} and its working tree are gone", one_line(branch))))
}

fn nothing(why: &str) -> Failure {
    Failure::failed(format!("nothing was changed: {why}"))
}

/// The change of all steps, if each went on where the one before it ended; their branches if not.
fn one(changes: impl Iterator<Item = Left>) -> Result<Left, Vec<String>> {
    let (mut whole, mut branches): (Option<Left>, Vec<String>) = (None, Vec::new());
    let mut apart = false;
    for Left { workspace, change } in changes {
        if !branches.contains(&change.branch) {
            branches.push(change.branch.clone());
        }
        whole = Some(match whole {
            None => Left { workspace, change },
            Some(before) => {
                apart |= before.change.commit != change.base || before.workspace != workspace;
                Left { workspace, change: Change { base: before.change.base, ..change } }
            }
        });
    }
    whole.filter(|_| !apart).ok_or(branches)
}

fn left(row: &StepRow) -> Option<Left> {
    let workspace = row.target.settings.get("directory")?.as_str()?.into();
    Some(Left { workspace, change: Change::of(row.output.as_ref()?)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(branch: &str, base: &str, commit: &str) -> Left {
        let (branch, base, commit) = (branch.to_owned(), base.to_owned(), commit.to_owned());
        Left { workspace: "/app".into(), change: Change { branch, base, commit } }
    }

    #[test]
    fn steps_that_went_on_from_each_other_are_one_change_and_others_are_not() {
        let (first, next) = (left("a", "1", "2"), left("a", "2", "3"));
        assert_eq!(one([first.clone()].into_iter()), Ok(first.clone()));
        assert_eq!(one([first.clone(), next].into_iter()), Ok(left("a", "1", "3")));
        let other = left("b", "1", "4");
        assert_eq!(one([first, other].into_iter()), Err(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(one(std::iter::empty()), Err(Vec::new()));
    }
}
