//! `runs apply`: a task's branch into the person's own files, because the person says so.

use std::path::PathBuf;

use connector_contract::chain;
use opencode_daemons::Environment;
use opencode_daemons::worktree::{self, Applied, ApplyError};

use super::Common;
use crate::exit::{Exit, Failure};
use crate::ids::RunId;
use crate::ledger::events::Change;
use crate::ledger::steps::{self, StepRow};
use crate::text::one_line;

/// What a task left on a branch, and of which repository.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Left {
    workspace: PathBuf,
    change: Change,
}

pub(super) async fn apply(common: &Common, id: RunId) -> Result<Exit, Failure> {
    let rows = common.existing_ledger()?.read(move |tx| steps::of_run(tx, id)).await?;
    if rows.is_empty() {
        return Err(Failure::usage(format!("there is no run {id} with a step; see `runs list`")));
    }
    let Left { workspace, change } = one(rows.iter().filter_map(left)).map_err(|branches| match branches.as_slice() {
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
    let applied = worktree::apply(&workspace, commits, environment, launcher).await;
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
