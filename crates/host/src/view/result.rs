//! The view of a result: how a step ended, and what remains of it.

use connector_contract::facts::{self, Facts};
use connector_gate::ids::StepId;
use connector_gate::state::StepState;
use serde_json::Value;

use super::Verbatim;
use super::figures::figures;
use super::refused::refused;
use crate::ledger::steps::StepRow;
use crate::text::{one_line, visible};

/// The end of a step, or where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResultView {
    /// The step.
    pub id: StepId,
    /// How it ended.
    pub state: StepState,
    /// The same in words, with the step's id.
    pub title: String,
    /// How long it took and what it cost, to stand right after the title; empty where nothing is known.
    pub figures: String,
    /// Why, where that needs words; it may be long, and have line breaks.
    pub reason: Option<String>,
    /// Who approved it.
    pub approved_by: Option<String>,
    /// What the agent said, in Markdown.
    pub reply: Option<Verbatim>,
    /// What is to be known of the reply, such as that there is none.
    pub remark: Option<String>,
    /// What changed; nothing where a step changes no files.
    pub changes: Option<Changes>,
    /// Where its changes are, if on a branch of their own.
    pub branch: Option<Branch>,
    /// What the walls refused it, a line each.
    pub refused: Option<String>,
    /// The session, to go on with.
    pub session: Option<String>,
    /// Its changes as a unified diff.
    pub patch: Option<Verbatim>,
    /// The card's own secret, for surfaces whose buttons carry one.
    pub token: String,
}

/// The files that a step changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    /// Those that the output names.
    pub files: Vec<ChangedFile>,
    /// How many more there are.
    pub left_out: u64,
    /// What is said where there is none: whether that is known.
    pub none: &'static str,
}

/// A file that a step changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedFile {
    /// `added`, `modified` or `deleted`; empty where that is not known.
    pub status: String,
    /// Its path.
    pub path: String,
    /// How many lines were added and deleted; nothing of a file without lines, or whose lines nobody
    /// counted.
    pub lines: Option<(u64, u64)>,
}

/// A branch with what a step changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Branch {
    /// Its name.
    pub name: String,
    /// The command that brings it in.
    pub apply: String,
    /// Whether a chat can say what becomes of it: its commits are known, and so is the session.
    pub has_choices: bool,
}

impl ResultView {
    /// The result of a step.
    pub fn of(row: &StepRow) -> Self {
        let nothing = Value::Null;
        let output = row.output.as_ref().unwrap_or(&nothing);
        let facts = Facts::of(output);
        let reply = facts.reply().map(|reply| Verbatim::from(reply.trim()));
        let is_silent = reply.as_ref().is_some_and(|reply| reply.as_str().is_empty());
        let silence = is_silent.then_some("the agent said nothing");
        let approver = row.decided_by.as_ref().filter(|_| row.state != StepState::Denied);
        Self {
            id: row.id,
            state: row.state,
            title: title(row),
            figures: if row.state == StepState::Succeeded { figures(facts.usage()) } else { String::new() },
            reason: row.reason.as_deref().map(visible),
            approved_by: approver.map(|by| one_line(&row.people.named(by))),
            reply,
            remark: facts.remark().or(silence).map(one_line),
            changes: facts.changes().map(Changes::from),
            branch: Branch::of(row, facts),
            refused: refused(facts),
            session: row.session_id.as_deref().map(one_line),
            patch: facts.patch().map(Verbatim::from),
            token: row.token.clone(),
        }
    }
}

impl From<facts::Changes<'_>> for Changes {
    fn from(changes: facts::Changes<'_>) -> Self {
        Self {
            files: changes.files.into_iter().map(ChangedFile::from).collect(),
            left_out: changes.left_out,
            none: if changes.are_all {
                "no files changed"
            } else {
                "no file is known to have changed (large or ignored files, and directories without git, are not compared)"
            },
        }
    }
}

impl From<facts::ChangedFile<'_>> for ChangedFile {
    fn from(file: facts::ChangedFile<'_>) -> Self {
        Self { status: one_line(file.status), path: one_line(file.path), lines: file.lines }
    }
}

impl Branch {
    fn of(row: &StepRow, facts: Facts<'_>) -> Option<Self> {
        Some(Self {
            name: one_line(facts.branch()?),
            apply: format!("connector-host runs apply {}", row.id.run),
            has_choices: facts.commits().is_some() && row.session_id.is_some(),
        })
    }
}

fn title(row: &StepRow) -> String {
    let id = row.id;
    match row.state {
        StepState::Succeeded => format!("{id} done"),
        StepState::Denied | StepState::Expired => format!("{id} was not run"),
        StepState::Cancelled => format!("{id} stopped"),
        StepState::Unknown => format!("{id}: nobody knows what became of it"),
        StepState::Failed => format!("{id} failed"),
        StepState::Skipped => format!("{id} was left out"),
        StepState::Resolved | StepState::Waiting => format!("{id} waits for a decision"),
        StepState::Approved => format!("{id} waits for its turn"),
        StepState::Dispatched => format!("{id} runs"),
    }
}
