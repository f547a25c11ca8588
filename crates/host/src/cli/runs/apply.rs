//! `runs apply`: a task's branch into the person's own files, because the person says so.

use std::path::PathBuf;

use connector_contract::chain;
use opencode_daemons::Environment;
use opencode_daemons::worktree::{self, Applied};
use serde_json::Value;

use super::Common;
use crate::exit::{Exit, Failure};
use crate::ids::RunId;
use crate::ledger::steps::{self, StepRow};
use crate::text::one_line;

/// What a task left on a branch.
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
    let Some(change) = rows.iter().rev().find_map(change) else {
        return Err(Failure::failed(format!(
            "run {id} left no branch: it changed nothing, or its workspace has no `isolation = \"worktree\"`"
        )));
    };
    let commits = (change.base.as_str(), change.commit.as_str());
    let applied = worktree::apply(&change.workspace, commits, Environment::of_this_process()).await;
    let Applied { top, files } =
        applied.map_err(|error| Failure::failed(format!("nothing was changed: {}", chain(&error))))?;
    let answer = serde_json::json!({
        "run": id, "directory": top, "files": files, "branch": change.branch, "commit": change.commit,
    });
    common.print(&answer, |_| {
        let mut lines: Vec<String> = files.iter().map(|file| format!("  {}", one_line(file))).collect();
        lines
            .insert(0, format!("{} is staged in {}, not committed", one_line(&change.branch), top.display()));
        lines.join("\n")
    })?;
    Ok(Exit::Done)
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
