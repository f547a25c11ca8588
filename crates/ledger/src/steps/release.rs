//! The last look before a step runs.
//!
//! What was approved is compared with what is in force at this moment: the row, the target, the
//! rule, who may approve, policies and allowances. Only a step for which all of it still holds is
//! dispatched; any other goes back to waiting, with the reason. The audit must tell of the
//! approval too: a row that somebody edited in the database is not enough.

use connector_contract::Target;
use connector_gate::ids::StepId;
use connector_gate::people::People;
use connector_gate::policy::{Actor, Policy, Terms};
use connector_gate::state::{Move, StepState};
use rusqlite::types::{Null, Value as Sql};
use serde_json::json;

use super::{Change, Guard, PassedBy, StepRow, allow, cancel_waiting, enter, get, make};
use crate::audience::{self, Member};
use crate::outbox::Parcel;
use crate::{LedgerError, Tx, audit};

/// What is in force for one step now.
#[derive(Debug, Clone)]
pub struct InForce {
    /// What the connector says the step would touch.
    pub target: Target,
    /// The version of the step's rule; none if there is no such rule.
    pub rule_now: Option<String>,
    /// Who approves, and whose accounts they are.
    pub terms: Terms,
    /// The chats that its rule has told beside the one that asked.
    pub followers: Vec<Member>,
    /// What happens at the gate.
    pub policy: Policy,
    /// The secret of another card, should one be needed.
    pub token: String,
}

/// What became of an approved step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Released {
    /// It is to be run now.
    Dispatched,
    /// It waits again.
    AskedAgain(String),
    /// A policy says that nobody can approve it.
    Denied,
    /// Somebody asked for its end before it began.
    Cancelled,
    /// It is not approved, or no longer.
    NotApproved,
}

/// Dispatches an approved step, if it still is what was approved.
pub fn release(tx: &Tx<'_>, id: StepId, now: &InForce) -> Result<Released, LedgerError> {
    let Some(row) = get(tx, id)? else { return Ok(Released::NotApproved) };
    if row.state != StepState::Approved {
        return Ok(Released::NotApproved);
    }
    if let Some(by) = cancelled_by(tx, id)? {
        return Ok(if cancel_waiting(tx, id, &by)? { Released::Cancelled } else { Released::NotApproved });
    }
    if let Some(reason) = why_not(tx, &row, now)? {
        return ask_again(tx, &row, now, reason);
    }
    let change = Change::none().dispatched(tx.now).only_if(Guard::Digest(row.digest.clone()));
    let made = make(tx, id, Move::Dispatch, change)?;
    Ok(if made { Released::Dispatched } else { Released::NotApproved })
}

/// Who asked for the end of the step or its run, say before a crash that it outlived.
fn cancelled_by(tx: &Tx<'_>, id: StepId) -> Result<Option<Actor>, LedgerError> {
    let sql = "SELECT coalesce(steps.cancel_by, runs.cancel_by) FROM steps JOIN runs ON runs.id = run_id
         WHERE run_id = ?1 AND idx = ?2";
    let params = rusqlite::params![id.run.0, id.index];
    let by: Option<String> = tx.sql.prepare_cached(sql)?.query_row(params, |row| row.get(0))?;
    Ok(by.map(Actor::from_text))
}

fn why_not(tx: &Tx<'_>, row: &StepRow, now: &InForce) -> Result<Option<String>, LedgerError> {
    if row.own_digest()? != row.digest {
        return Ok(Some(ROW_CHANGED.to_owned()));
    }
    if row.digest_with(&now.target, now.rule_now.as_deref(), &now.terms.people, row.asked)? != row.digest {
        return Ok(Some(difference(row, now)));
    }
    if !audit::proves(tx, row.id, row.digest.as_str())? {
        return Ok(Some("the audit tells of no such approval; approve it only if you know why".to_owned()));
    }
    match row.passed_by {
        _ if now.policy == Policy::Deny => Ok(Some("denied by policy".to_owned())),
        // What is allowed without asking needs no other reason.
        _ if now.policy == Policy::Allow => Ok(None),
        Some(PassedBy::Policy) => Ok(Some("its exemption is no longer in force".to_owned())),
        Some(PassedBy::Allowance) => Ok(allow::why_not(tx, row, &now.terms)?.map(str::to_owned)),
        None => {
            let given = approvers_of(tx, row)?;
            let enough = now.terms.satisfied_by(&given, &row.requester);
            Ok((!enough).then(|| "not enough of those who approved it may do so any more".to_owned()))
        }
    }
}

/// Why a step is asked about again whose row does not have its digest.
const ROW_CHANGED: &str = "the row was changed after the approval; approve it only if you know why";

/// Why a step is asked about again when `[people]` was edited.
const OTHER_PEOPLE: &str = "it was edited in the meantime whose accounts there are";

/// Asks again about a step that waits, since accounts are other persons' now: votes for the card
/// before this one counted others. Returns whether it did.
pub fn ask_under(tx: &Tx<'_>, id: StepId, people: &People, token: String) -> Result<bool, LedgerError> {
    let waiting = get(tx, id)?.filter(|row| row.state == StepState::Waiting && row.people != *people);
    let Some(row) = waiting else { return Ok(false) };
    let now = InForce {
        target: row.target.clone(),
        rule_now: row.rule_now.clone(),
        terms: Terms { people: people.clone(), ..row.terms() },
        followers: audience::of_run(tx, id.run)?,
        policy: Policy::Ask,
        token,
    };
    let reason = if row.own_digest()? == row.digest { OTHER_PEOPLE } else { ROW_CHANGED };
    Ok(matches!(ask_again(tx, &row, &now, reason.to_owned())?, Released::AskedAgain(_)))
}

/// Who said yes to the digest in force.
pub(super) fn approvers_of(tx: &Tx<'_>, row: &StepRow) -> Result<Vec<Actor>, LedgerError> {
    let mut statement = tx.sql.prepare_cached(
        "SELECT approver FROM approvals WHERE run_id = ?1 AND idx = ?2 AND digest = ?3
           AND decision IN ('approve', 'allow_session') ORDER BY at, rowid",
    )?;
    let params = rusqlite::params![row.id.run.0, row.id.index, row.digest.as_str()];
    let rows = statement.query_map(params, |found| found.get::<_, String>(0).map(Actor::from_text))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Puts the step before the gate again, as another question than before.
fn ask_again(tx: &Tx<'_>, row: &StepRow, now: &InForce, reason: String) -> Result<Released, LedgerError> {
    let asked = row.asked.saturating_add(1);
    let people = &now.terms.people;
    let digest = row.digest_with(&now.target, now.rule_now.as_deref(), people, asked)?;
    let change = Change::none()
        .set("target", serde_json::to_string(&now.target)?)
        .set("lane", now.target.concurrency_key(&row.connector, &row.input, &row.id.to_string()))
        .set("rule_now", now.rule_now.clone().map_or(Sql::Null, Sql::Text))
        .set("asked", i64::from(asked))
        .set("digest", digest.as_str().to_owned())
        .set("approvers", serde_json::to_string(&now.terms.approvers)?)
        .set("approvals_needed", i64::from(now.terms.needed))
        .set("other_approver", i64::from(now.terms.other))
        .set("people", serde_json::to_string(people)?)
        .reason(reason.clone())
        .set("token", now.token.clone())
        .set("delivered_at", Null)
        .set("expires_at", Null)
        .set("decided_at", Null)
        .set("decided_by", Null)
        .set("passed_by", Null)
        .set("allowance", Null)
        .detail(json!({ "reason": reason, "before": row.digest }));
    if !make(tx, row.id, Move::Rebind, change)? {
        return Ok(Released::NotApproved);
    }
    audience::keep(tx, row.id.run, &now.followers, &format!("the rule `{}` names it no more", row.rule))?;
    if now.policy == Policy::Deny {
        let change = Change::none().ended(tx.now).reason(reason);
        make(tx, row.id, Move::Deny, change)?;
        audience::put(tx, row.id.run, &Parcel::Result(row.id))?;
        return Ok(Released::Denied);
    }
    audience::put(tx, row.id.run, &Parcel::Card(row.id))?;
    Ok(Released::AskedAgain(reason))
}

/// Names what is different, for the second card.
fn difference(row: &StepRow, now: &InForce) -> String {
    let mut changed = Vec::new();
    if row.target.origin != now.target.origin {
        changed.push("origin".to_owned());
    }
    for key in row.target.settings.keys().chain(now.target.settings.keys()) {
        if row.target.settings.get(key) != now.target.settings.get(key) && !changed.contains(key) {
            changed.push(key.clone());
        }
    }
    let mut parts = Vec::new();
    if !changed.is_empty() {
        parts.push(format!("changed after the approval: {}", changed.join(", ")));
    }
    if row.rule_now != now.rule_now {
        let then = row.rule_now.as_deref().unwrap_or_default();
        let back = || format!("the rule `{}` is again the one the request was made by", row.rule);
        let rule = enter::rule_changed(&row.rule, &row.rule_version, now.rule_now.as_deref());
        parts.push(rule.filter(|_| Some(then) != now.rule_now.as_deref()).unwrap_or_else(back));
    }
    if row.people != now.terms.people {
        parts.push(OTHER_PEOPLE.to_owned());
    }
    parts.join("; ")
}
