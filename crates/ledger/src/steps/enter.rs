//! A resolved step comes to the gate: it passes, waits, or ends there.

use connector_gate::ids::StepId;
use connector_gate::policy::{GateConfig, Policy};
use connector_gate::state::Move;
use serde_json::json;

use super::{Change, NewStep, PassedBy, StepRow, allow, get, insert, make, waiting, waiting_same};
use crate::outbox::{self, Parcel};
use crate::runs::RunRow;
use crate::{LedgerError, Tx, audience};

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

/// Stores `new` and makes its first move. Whatever ends here is told to its audience.
pub fn enter(tx: &Tx<'_>, run: &RunRow, new: &NewStep, gate: &GateConfig) -> Result<Entered, LedgerError> {
    let fate = fate(tx, run, new, gate)?;
    // Nobody will decide about what is refused here, and nothing will run: it is not kept.
    let stored = match &fate {
        Fate::Deny(_) | Fate::TooMany(_) => insert(tx, run, &NewStep { input: json!({}), ..new.clone() })?,
        _ => insert(tx, run, new)?,
    };
    if !stored {
        return Ok(Entered::Known);
    }
    match fate {
        Fate::Pass(by, allowance) => pass(tx, new.id, by, allowance),
        Fate::Merge(same) => merge(tx, run, new.id, &same),
        Fate::Ask => ask(tx, run, new),
        Fate::Deny(reason) => {
            end_badly(tx, run, new.id, Move::Deny, &reason)?;
            Ok(Entered::Denied(reason))
        }
        Fate::TooMany(reason) => refuse(tx, run, new.id, reason),
    }
}

/// What is to become of a step.
enum Fate {
    Pass(PassedBy, Option<i64>),
    Merge(Box<StepRow>),
    Ask,
    Deny(String),
    TooMany(String),
}

fn fate(tx: &Tx<'_>, run: &RunRow, new: &NewStep, gate: &GateConfig) -> Result<Fate, LedgerError> {
    match gate.policy(&new.connector, &new.action, &run.rule, new.read_only) {
        Policy::Allow => return Ok(Fate::Pass(PassedBy::Policy, None)),
        Policy::Deny => return Ok(Fate::Deny("denied by policy".to_owned())),
        Policy::Ask => {}
    }
    if let Some(allowance) = allow::for_new(tx, run, new)? {
        return Ok(Fate::Pass(PassedBy::Allowance, Some(allowance.id)));
    }
    if let Some(same) = waiting_same(tx, &new.digest(run)?)? {
        return Ok(Fate::Merge(Box::new(same)));
    }
    let (here, all) = waiting(tx, &run.surface, &run.chat)?;
    if here >= gate.max_waiting_per_chat || all >= gate.max_waiting {
        return Ok(Fate::TooMany(format!("{TOO_MANY} ({here} here, {all} in all)")));
    }
    Ok(Fate::Ask)
}

/// How a refusal begins that comes from what waits already.
const TOO_MANY: &str = "too many cards are waiting already";

/// Refuses a step because too many wait. The chat that asked is told, and once: as long as it has not heard of one
/// refusal, the next ones are counted in a single line behind it. Nobody else had it before them.
fn refuse(tx: &Tx<'_>, run: &RunRow, step: StepId, reason: String) -> Result<Entered, LedgerError> {
    let first: bool = tx
        .sql
        .prepare_cached(
            "SELECT NOT EXISTS (SELECT 1 FROM outbox JOIN steps USING (run_id, idx)
               WHERE outbox.delivered_at IS NULL AND outbox.surface = ?1 AND outbox.chat = ?2 AND kind = 'result'
                 AND steps.state = 'denied' AND steps.reason LIKE ?3 || '%')",
        )?
        .query_row([&run.surface, &run.chat, TOO_MANY], |row| row.get(0))?;
    end(tx, step, Move::Deny, &reason)?;
    if first {
        outbox::put(tx, &run.surface, &run.chat, &Parcel::Result(step))?;
        return Ok(Entered::Denied(reason));
    }
    outbox::count_up(tx, &run.surface, &run.chat, run.id, &format!("more requests are refused: {TOO_MANY}"))?;
    Ok(Entered::Denied(reason))
}

/// Whether a refusal for this reason is told at the gate itself, alone or counted in a line.
pub fn is_told_of(reason: &str) -> bool {
    reason.starts_with(TOO_MANY)
}

fn pass(tx: &Tx<'_>, step: StepId, by: PassedBy, allowance: Option<i64>) -> Result<Entered, LedgerError> {
    let change = Change::none()
        .decided(tx.now)
        .passed_by(by, allowance)
        .detail(json!({ "by": by, "allowance": allowance }));
    make(tx, step, Move::Pass, change)?;
    Ok(Entered::Passed(by))
}

fn merge(tx: &Tx<'_>, run: &RunRow, step: StepId, same: &StepRow) -> Result<Entered, LedgerError> {
    let reason = format!("the same request waits already as {}", same.id);
    let change =
        Change::none().ended(tx.now).reason(reason.clone()).detail(json!({ "with": same.id.to_string() }));
    make(tx, step, Move::Merge, change)?;
    let body = format!("{step} is merged with {}: {reason}", same.id);
    outbox::put(tx, &run.surface, &run.chat, &Parcel::Text { run: Some(run.id), body })?;
    Ok(Entered::Merged(same.id))
}

fn ask(tx: &Tx<'_>, run: &RunRow, new: &NewStep) -> Result<Entered, LedgerError> {
    let mut change = Change::none();
    if let Some(reason) = rule_changed(&run.rule, &run.rule_version, new.rule_now.as_deref()) {
        change = change.reason(reason);
    }
    make(tx, new.id, Move::Ask, change)?;
    audience::put(tx, run.id, &Parcel::Card(new.id))?;
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

/// A step that ends before anybody was asked: its audience is told why.
pub fn end_badly(
    tx: &Tx<'_>,
    run: &RunRow,
    step: StepId,
    made: Move,
    reason: &str,
) -> Result<(), LedgerError> {
    end(tx, step, made, reason)?;
    audience::put(tx, run.id, &Parcel::Result(step))
}

fn end(tx: &Tx<'_>, step: StepId, made: Move, reason: &str) -> Result<(), LedgerError> {
    let change = Change::none().reason(reason).ended(tx.now).detail(json!({ "reason": reason }));
    make(tx, step, made, change)?;
    debug_assert!(get(tx, step)?.is_some_and(|row| !row.state.is_live()));
    Ok(())
}
