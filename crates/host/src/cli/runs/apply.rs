//! `runs apply`: a task's branch into the person's own files, because the person says so.

use std::path::PathBuf;

use connector_contract::chain;
use opencode_daemons::Environment;
use opencode_daemons::worktree::{self, Applied, ApplyError};
use serde_json::Value;

use super::Common;
use crate::exit::{Exit, Failure};
use crate::ids::RunId;
use crate::ledger::steps::{self, StepRow};
use crate::text::one_line;

/// What a task left on a branch.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Change {
    workspace: PathBuf,
    branch: String,
    base: String,
    commit: String,
}

pub(super) async fn apply(common: &Common, id: RunId) -> Result<Exit, Failure> {
    let rows = common.existing_ledger()?.read(move |tx| steps::of_run(tx, id)).await?;
    if rows.is_empty() {
        return Err(Failure::usage(format!("there is no run {id} with a step; see `runs list`")));
    }
    let change = one(rows.iter().filter_map(change)).map_err(|branches| match branches.as_slice() {
        [] => Failure::failed(format!(
            "run {id} says of no branch: it changed nothing, it did not succeed (its error names a branch if it has one; \
             see `runs show {id}`), or its workspace has no `isolation = \"worktree\"`"
        )),
        branches => Failure::failed(format!(
            "run {id} left several branches ({}); nothing was changed: merge them with git, one after another",
            one_line(&branches.join(", "))
        )),
    })?;
    let commits = (change.base.as_str(), change.commit.as_str());
    let (environment, launcher) = (Environment::of_this_process(), std::env::current_exe().ok());
    let applied = worktree::apply(&change.workspace, commits, environment, launcher).await;
    let Applied { top, files } = applied.map_err(|error| match error {
        ApplyError::Partly { .. } => Failure::failed(chain(&error)),
        _ => Failure::failed(format!("nothing was changed: {}", chain(&error))),
    })?;
    let answer = serde_json::json!({
        "run": id, "directory": top, "files": files, "branch": change.branch, "commit": change.commit,
    });
    common.print(&answer, |_| {
        let branch = one_line(&change.branch);
        if files.is_empty() {
            return format!(
                "run {id} changed no file; {branch} may have what earlier ones of its session did"
            );
        }
        let mut lines =
            vec![format!("what run {id} did on {branch} is staged in {}, not committed", top.display())];
        lines.extend(files.iter().map(|file| format!("  {}", one_line(file))));
        lines.join("\n")
    })?;
    Ok(Exit::Done)
}

/// The change of all steps, if each went on where the one before it ended; their branches if not.
fn one(changes: impl Iterator<Item = Change>) -> Result<Change, Vec<String>> {
    let (mut whole, mut branches): (Option<Change>, Vec<String>) = (None, Vec::new());
    let mut apart = false;
    for change in changes {
        if !branches.contains(&change.branch) {
            branches.push(change.branch.clone());
        }
        whole = match whole {
            None => Some(change),
            Some(before) => {
                apart |= before.commit != change.base || before.workspace != change.workspace;
                Some(Change { base: before.base, ..change })
            }
        };
    }
    whole.filter(|_| !apart).ok_or(branches)
}

/// What the row says; commits are ids, so nothing in it can be an option for git.
fn change(row: &StepRow) -> Option<Change> {
    let output = row.output.as_ref()?;
    let text = |name: &str| output.get(name).and_then(Value::as_str).map(str::to_owned);
    let commit = |name: &str| text(name).filter(|id| id.bytes().all(|byte| byte.is_ascii_hexdigit()));
    Some(Change {
        workspace: row.target.settings.get("directory")?.as_str()?.into(),
        branch: text("branch")?,
        base: commit("base")?,
        commit: commit("commit")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(branch: &str, base: &str, commit: &str) -> Change {
        let (branch, base, commit) = (branch.to_owned(), base.to_owned(), commit.to_owned());
        Change { workspace: "/app".into(), branch, base, commit }
    }

    #[test]
    fn steps_that_went_on_from_each_other_are_one_change_and_others_are_not() {
        let (first, next) = (change("a", "1", "2"), change("a", "2", "3"));
        assert_eq!(one([first.clone()].into_iter()), Ok(first.clone()));
        assert_eq!(one([first.clone(), next].into_iter()), Ok(change("a", "1", "3")));
        let other = change("b", "1", "4");
        assert_eq!(one([first, other].into_iter()), Err(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(one(std::iter::empty()), Err(Vec::new()));
    }
}
