//! The view of a result: how a step ended, and what remains of it.

use connector_contract::facts::{self, Facts};
use connector_gate::state::StepState;
use connector_ledger::steps::StepRow;
use connector_surface::text::{one_line, visible};
use connector_surface::view::{Branch, ChangedFile, Changes, ResultView, Verbatim};
use serde_json::Value;

use super::figures::figures;
use super::refused::refused;

/// The result of a step, or where it is.
pub fn result(row: &StepRow) -> ResultView {
    let nothing = Value::Null;
    let output = row.output.as_ref().unwrap_or(&nothing);
    let facts = Facts::of(output);
    let reply = facts.reply().map(|reply| Verbatim::from(reply.trim()));
    let is_silent = reply.as_ref().is_some_and(|reply| reply.as_str().is_empty());
    let silence = is_silent.then_some("the agent said nothing");
    let approver = row.decided_by.as_ref().filter(|_| row.state != StepState::Denied);
    ResultView {
        id: row.id,
        state: row.state,
        title: title(row),
        figures: if row.state == StepState::Succeeded { figures(facts.usage()) } else { String::new() },
        reason: row.reason.as_deref().map(visible),
        approved_by: approver.map(|by| one_line(&row.people.named(by))),
        reply,
        remark: facts.remark().or(silence).map(one_line),
        changes: facts.changes().map(changes),
        branch: branch(row, facts),
        refused: refused(facts),
        session: row.session_id.as_deref().map(one_line),
        patch: facts.patch().map(Verbatim::from),
        token: row.token.clone(),
    }
}

fn changes(changes: facts::Changes<'_>) -> Changes {
    Changes {
        files: changes.files.into_iter().map(changed_file).collect(),
        left_out: changes.left_out,
        none: if changes.are_all {
            "no files changed"
        } else {
            "no file is known to have changed (large or ignored files, and directories without git, are not compared)"
        },
    }
}

fn changed_file(file: facts::ChangedFile<'_>) -> ChangedFile {
    ChangedFile { status: one_line(file.status), path: one_line(file.path), lines: file.lines }
}

fn branch(row: &StepRow, facts: Facts<'_>) -> Option<Branch> {
    Some(Branch {
        name: one_line(facts.branch()?),
        apply: format!("connector-host runs apply {}", row.id.run),
        has_choices: facts.commits().is_some() && row.session_id.is_some(),
    })
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
