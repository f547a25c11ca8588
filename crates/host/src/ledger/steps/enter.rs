//! A resolved step comes to the gate: it passes, waits, or ends there.

use serde_json::json;

use super::{Change, NewStep, PassedBy, StepRow, allow, get, insert, make, waiting, waiting_same};
use crate::gate::policy::{GateConfig, Policy};
use crate::gate::state::Move;
use crate::ids::StepId;
use crate::ledger::outbox::{self, Parcel};
use crate::ledger::runs::RunRow;
use crate::ledger::{LedgerError, Tx};

/// What became of a step at the gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entered {
    /// It may run.
    Passed(PassedBy),
    /// A card is about to be shown.
    Waits,
    /// The same request waits already, as this step.
    Merged(StepId),
    /// It may not run.
    Denied(String),
    /// The step was stored before.
    Known,
}

/// Stores `new` and makes its first move. Whatever ends here is told to the chat.
pub fn enter(tx: &Tx<'_>, run: &RunRow, new: &NewStep, gate: &GateConfig) -> Result<Entered, LedgerError> {
    let same = waiting_same(tx, &new.digest(run)?)?;
    if !insert(tx, run, new)? {
        return Ok(Entered::Known);
    }
    match gate.policy(&new.connector, &new.action, &run.rule, new.read_only) {
        Policy::Allow => pass(tx, new.id, PassedBy::Policy, None),
        Policy::Deny => deny(tx, run, new.id, "denied by policy".to_owned()),
        Policy::Ask => {
            if let Some(allowance) = allow::for_new(tx, run, new)? {
                return pass(tx, new.id, PassedBy::Allowance, Some(allowance.id));
            }
            if let Some(same) = same {
                return merge(tx, run, new.id, &same);
            }
            let (here, all) = waiting(tx, &run.surface, &run.chat)?;
            if here >= gate.max_waiting_per_chat || all >= gate.max_waiting {
                let reason = format!("too many cards are waiting already ({here} here, {all} in all)");
                return deny(tx, run, new.id, reason);
            }
            ask(tx, run, new)
        }
    }
}

fn pass(tx: &Tx<'_>, step: StepId, by: PassedBy, allowance: Option<i64>) -> Result<Entered, LedgerError> {
    let change = Change::none()
        .set("decided_at", tx.now)
        .set("passed_by", by.as_str().to_owned())
        .set("allowance", allowance.map_or(rusqlite::types::Value::Null, Into::into))
        .detail(json!({ "by": by, "allowance": allowance }));
    make(tx, step, Move::Pass, change)?;
    Ok(Entered::Passed(by))
}

fn deny(tx: &Tx<'_>, run: &RunRow, step: StepId, reason: String) -> Result<Entered, LedgerError> {
    end_badly(tx, run, step, Move::Deny, &reason)?;
    Ok(Entered::Denied(reason))
}

fn merge(tx: &Tx<'_>, run: &RunRow, step: StepId, same: &StepRow) -> Result<Entered, LedgerError> {
    let reason = format!("the same request waits already as {}", same.id);
    let change = Change::none()
        .set("ended_at", tx.now)
        .set("reason", reason.clone())
        .detail(json!({ "with": same.id.to_string() }));
    make(tx, step, Move::Merge, change)?;
    let body = format!("{step} is merged with {}: {reason}", same.id);
    outbox::put(tx, &run.surface, &run.chat, &Parcel::Text { run: Some(run.id), body })?;
    Ok(Entered::Merged(same.id))
}

fn ask(tx: &Tx<'_>, run: &RunRow, new: &NewStep) -> Result<Entered, LedgerError> {
    let mut change = Change::none();
    if let Some(reason) = rule_changed(&run.rule, &run.rule_version, new.rule_now.as_deref()) {
        change = change.set("reason", reason);
    }
    make(tx, new.id, Move::Ask, change)?;
    outbox::put(tx, &run.surface, &run.chat, &Parcel::Card(new.id))?;
    Ok(Entered::Waits)
}

/// Says that a rule is no longer what a run was made by.
pub(super) fn rule_changed(rule: &str, then: &str, now: Option<&str>) -> Option<String> {
    match now {
        Some(now) if now == then => None,
        Some(_) => {
            Some(format!("the rule `{rule}` was edited in the meantime; this is still its earlier text"))
        }
        None => Some(format!("the rule `{rule}` was removed in the meantime")),
    }
}

/// A step that ends before anybody was asked: the chat is told why.
pub fn end_badly(
    tx: &Tx<'_>,
    run: &RunRow,
    step: StepId,
    made: Move,
    reason: &str,
) -> Result<(), LedgerError> {
    let change = Change::none()
        .set("reason", reason.to_owned())
        .set("ended_at", tx.now)
        .detail(json!({ "reason": reason }));
    make(tx, step, made, change)?;
    debug_assert!(get(tx, step)?.is_some_and(|row| !row.state.is_live()));
    outbox::put(tx, &run.surface, &run.chat, &Parcel::Result(step))
}
