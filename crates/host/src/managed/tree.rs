//! The working tree of one call, where the workspace's tasks have one each.

use std::path::PathBuf;
use std::time::Duration;

use connector_contract::facts::{self, Facts, WorktreeFacts};
use connector_contract::{
    ActionResult, Checkpoint, ConnectorError, Consequence, Context, Progress, Reference, chain,
};
use opencode_daemons::worktree::Collected;
use opencode_daemons::{Worktree, WorktreeError, Worktrees};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::call::cancelled;

/// How long it may take to take out what came of a call.
const TAKES: Duration = Duration::from_mins(5);

/// How many changed files a result lists.
const LISTED: usize = 500;

/// How many sentences a message has of what is not on the branch.
const TOLD: usize = 5;

/// How much longer it may take once the call is cancelled: less than a host gives its calls to end.
const CANCELLED: Duration = Duration::from_secs(10);

/// A tree that one call works in.
pub(super) struct Tree {
    trees: Worktrees,
    used: Mutex<Worktree>,
    directory: PathBuf,
}

impl Tree {
    /// A new tree; or for a call that goes on with something, the tree where that was begun.
    pub(super) async fn of(trees: &Worktrees, input: &Value, ctx: &Context) -> Result<Self, ConnectorError> {
        if trees.runs_setup() && ctx.resume.is_none() {
            ctx.progress.report(Progress::Waiting { reason: "its working tree is set up".to_owned() });
        }
        let tree = tokio::select! {
            tree = find(trees, input, ctx.resume.as_ref()) => tree,
            () = ctx.cancel.cancelled(), if ctx.resume.is_none() => {
                return Err(cancelled("it waited for its working tree", None));
            }
            () = tokio::time::sleep_until(ctx.deadline), if ctx.resume.is_none() => {
                let reason = "its time passed while its working tree was set up".to_owned();
                return Err(ConnectorError::Unavailable { reason, source: None });
            }
        };
        let mut tree = tree.map_err(|error| match ctx.resume {
            None => ConnectorError::Unavailable { reason: chain(&error), source: None },
            Some(_) => ConnectorError::OutcomeUnknown {
                reason: format!("the turn was begun earlier; its working tree: {}", chain(&error)),
                reference: Reference::default(),
            },
        })?;
        if let Some(prompt) = connector_contract::facts::prompt(input) {
            tree.is_about(asked(prompt));
        }
        Ok(Self { trees: trees.clone(), directory: tree.directory(), used: Mutex::new(tree) })
    }

    /// Where the agent works.
    pub(super) fn directory(&self) -> &std::path::Path {
        &self.directory
    }

    /// Writes down what is about to begin in it.
    pub(super) async fn announces(&self, checkpoint: &Checkpoint) -> std::io::Result<()> {
        self.used.lock().await.announces(&checkpoint.0)
    }

    /// Takes out what came of the call, and says so in its result.
    pub(super) async fn ends(
        &self,
        ended: Result<ActionResult, ConnectorError>,
        cancel: &CancellationToken,
    ) -> Result<ActionResult, ConnectorError> {
        let mut tree = self.used.lock().await;
        let session = match &ended {
            Ok(result) => Facts::of(&result.output).session(),
            Err(error) => error.reference().and_then(|reference| reference.session_id.as_deref()),
        };
        if let Some(Err(error)) = session.map(|session| tree.belongs_to(session)) {
            tracing::warn!(%error, "a session's working tree cannot be written down");
        }
        match ended {
            Ok(result) => {
                let came = collected(&mut tree, cancel).await;
                Ok(told(result, &tree, came))
            }
            Err(error) if error.consequence() == Consequence::Unknown || !tree.is_pending() => Err(error),
            // What was done until then is not lost: the session goes on from there.
            Err(error) => {
                let came = collected(&mut tree, cancel).await;
                Err(told_failed(error, &tree, came))
            }
        }
    }

    /// Removes the tree if nothing was begun in it, and others that are not needed any more.
    pub(super) async fn let_go(self) {
        drop(self.used);
        self.trees.clean().await;
    }
}

/// What is asked for, without the command of a chat that it began with.
fn asked(prompt: &str) -> &str {
    let prompt = prompt.trim_start();
    match prompt.strip_prefix('/').and_then(|command| command.split_once(char::is_whitespace)) {
        // A path is no command.
        Some((command, rest)) if !command.contains('/') && !rest.trim().is_empty() => rest,
        _ => prompt,
    }
}

async fn collected(tree: &mut Worktree, cancel: &CancellationToken) -> Result<Collected, WorktreeError> {
    let cancelled = async {
        cancel.cancelled().await;
        sleep(CANCELLED).await;
    };
    tokio::select! {
        came = tree.collect() => came,
        () = cancelled => Err(WorktreeError::Slow(CANCELLED)),
        () = sleep(TAKES) => Err(WorktreeError::Slow(TAKES)),
    }
}

async fn find(
    trees: &Worktrees,
    input: &Value,
    resume: Option<&Checkpoint>,
) -> Result<Worktree, WorktreeError> {
    if let Some(Checkpoint(checkpoint)) = resume {
        let found = trees.of_checkpoint(checkpoint).await?;
        return found.ok_or_else(|| WorktreeError::Gone("of the turn".to_owned()));
    }
    match facts::session_of(input) {
        Some(session) => trees.of_session(session).await,
        None => trees.make().await,
    }
}

fn told(mut result: ActionResult, tree: &Worktree, came: Result<Collected, WorktreeError>) -> ActionResult {
    match came {
        Ok(Collected { since, commit, mut patch, cut, files, left, notes, submodules }) => {
            if result.message.starts_with("done; ") {
                result.message = match files.len() {
                    0 if !submodules.is_empty() => "done; files changed in submodules alone".to_owned(),
                    0 => "done; no files changed".to_owned(),
                    1 => "done; 1 file changed".to_owned(),
                    count => format!("done; {count} files changed"),
                };
            }
            if cut {
                patch.push_str("[cut: the rest is left out]\n");
            }
            if let Some(left) = left {
                result.message.push_str(&on_another(&left, tree));
            }
            result.message.push_str(&told_of(&notes));
            if let Some(output) = result.output.as_object_mut() {
                // The daemon's own list leaves out what its history does: large files, other formats.
                let left_out = files.len().saturating_sub(LISTED);
                let branch = commit.as_deref().map(|commit| (tree.branch(), commit));
                let files = json!(files[..files.len() - left_out]);
                let more = (!submodules.is_empty()).then(|| ("submodules", json!(submodules)));
                WorktreeFacts { files, left_out, base: &since, patch: &patch, more, branch }.write_to(output);
            }
        }
        Err(error) => {
            let place = tree.directory();
            result.success = false;
            result.message =
                format!("it was done in {}, and cannot be taken out: {}", place.display(), chain(&error));
        }
    }
    result
}

/// The error, with where to find what was changed before it.
fn told_failed(
    mut error: ConnectorError,
    tree: &Worktree,
    came: Result<Collected, WorktreeError>,
) -> ConnectorError {
    let more = match came {
        Ok(Collected { commit: None, notes, .. }) if notes.is_empty() => return error,
        Ok(Collected { commit: None, notes, .. }) => told_of(&notes),
        Ok(Collected { left, notes, .. }) => {
            let left = left.map(|left| on_another(&left, tree)).unwrap_or_default();
            let notes = told_of(&notes);
            format!("; what it changed until then is on branch {}{left}{notes}", tree.branch())
        }
        Err(problem) => {
            let place = tree.directory();
            format!("; what it changed until then stays in {}: {}", place.display(), chain(&problem))
        }
    };
    if let ConnectorError::Failed { reason, .. } | ConnectorError::Stopped { reason, .. } = &mut error {
        reason.push_str(&more);
    }
    error
}

/// What is not on the branch, as far as a message has room for it.
fn told_of(notes: &[String]) -> String {
    let (shown, more) = notes.split_at(notes.len().min(TOLD));
    let mut told: String = shown.iter().flat_map(|note| ["; ", note]).collect();
    if !more.is_empty() {
        told.push_str(&format!("; and so on, {} more", more.len()));
    }
    told
}

fn on_another(left: &str, tree: &Worktree) -> String {
    format!(" (branch {left} was moved or is in use, so this is on {})", tree.branch())
}

#[cfg(test)]
mod tests {
    use opencode_daemons::Environment;
    use testkit::scratch::{git, repository};

    use super::*;

    #[test]
    fn a_message_has_the_first_of_what_is_not_on_the_branch_and_how_much_more_there_is() {
        let notes: Vec<String> = (1..=7).map(|number| number.to_string()).collect();
        assert_eq!(told_of(&notes), "; 1; 2; 3; 4; 5; and so on, 2 more");
        assert_eq!((told_of(&notes[..1]).as_str(), told_of(&[]).as_str()), ("; 1", ""));
    }

    #[test]
    fn what_is_asked_for_is_without_its_command() {
        for (prompt, expected) in [
            ("/fix the test", "the test"),
            ("/fix@our_bot\nthe test", "the test"),
            ("the test", "the test"),
            ("/fix", "/fix"),
            ("/etc/hosts is wrong", "/etc/hosts is wrong"),
        ] {
            assert_eq!(asked(prompt), expected);
        }
    }

    #[tokio::test]
    async fn what_takes_long_to_take_out_is_left_in_its_tree_once_the_call_is_cancelled() {
        let root = tempfile::tempdir().unwrap();
        let workspace = root.path().join("app");
        repository(&workspace, &[("a.txt", "a\n")]).unwrap();
        let environment = Environment::of_this_process();
        let trees = Worktrees::new("app", &workspace, &root.path().join("state"), environment, None);
        let mut tree = trees.make().await.unwrap();
        tree.announces(&json!({ "at": 1 })).unwrap();
        // A pipe, so that reading its settings never ends.
        git(&tree.directory(), &["config", "include.path", "../pipe"]).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, tree.directory().join("pipe"), rustix::fs::Mode::RWXU).unwrap();
        std::fs::write(tree.directory().join("a.txt"), "changed\n").unwrap();
        let cancel = CancellationToken::new();
        cancel.cancel();
        tokio::time::pause();
        let came = collected(&mut tree, &cancel).await;
        assert!(matches!(came, Err(WorktreeError::Slow(CANCELLED))), "{came:?}");
        assert!(tree.is_pending() && tree.directory().join("a.txt").exists());
    }
}
