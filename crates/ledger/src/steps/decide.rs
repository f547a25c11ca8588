//! A tap: one person's decision about one card.
//!
//! The tap names the digest that person saw. A vote is inserted and the step
//! moved by statements that each carry every precondition (still waiting, not
//! expired, same digest, enough votes), so that of many taps one decides, and
//! every other is answered with what already happened.

use connector_gate::clock::Millis;
use connector_gate::decision::{Decision, Tap, Tapped};
use connector_gate::digest::SHORT;
use connector_gate::policy::Actor;
use connector_gate::state::{Move, StepState};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use super::release::approvers_of;
use super::{Change, Guard, StepRow, allow, get, make};
use crate::outbox::{self, Parcel};
use crate::{LedgerError, Tx, audience, audit};

/// Carries a tap out.
pub fn decide(tx: &Tx<'_>, tap: &Tap) -> Result<Tapped, LedgerError> {
    let Some(row) = get(tx, tap.step)? else { return Ok(Tapped::NoSuchCard) };
    if row.state != StepState::Waiting {
        return Ok(already(&row));
    }
    if let Err(reason) = may_decide(tx, &row, tap)? {
        return refuse(tx, &row, tap, Tapped::NotAllowed { reason });
    }
    if !row.digest.as_str().starts_with(&tap.digest) || row.own_digest()? != row.digest {
        return refuse(tx, &row, tap, Tapped::Changed { now: row.digest.clone() });
    }
    let is_new = vote(tx, &row, tap)?;
    let (made, answer) = match tap.decision {
        Decision::Approve | Decision::AllowSession => (Move::Approve, Tapped::Approved),
        Decision::Deny => (Move::Deny, Tapped::Denied),
    };
    let change =
        decided(tx, &row, tap).only_if(Guard::Digest(row.digest.clone())).only_if(Guard::NotExpired(tx.now));
    let change = match tap.decision {
        Decision::Approve | Decision::AllowSession => {
            change.only_if(Guard::quorum(&row.people.person(&row.requester)))
        }
        Decision::Deny => {
            change.ended(tx.now).reason(format!("denied by {}", row.people.named(&tap.approver)))
        }
    };
    if !make(tx, tap.step, made, change)? {
        return after_no_move(tx, &row, tap, is_new);
    }
    match made {
        Move::Approve => {
            allow_session(tx, &row)?;
            // Where it was tapped, the surface knows.
            changed(tx, &row, |member| !is_of(tap, member))?;
        }
        // Wherever it was refused, those who wait for it learn of it.
        _ => audience::put(tx, tap.step.run, &Parcel::Result(tap.step))?,
    }
    Ok(answer)
}

/// An allowance takes as many as the approval does, and all of them must have said so.
fn allow_session(tx: &Tx<'_>, row: &StepRow) -> Result<(), LedgerError> {
    let mut statement = tx.sql.prepare_cached(
        "SELECT approver FROM approvals WHERE run_id = ?1 AND idx = ?2 AND digest = ?3 AND decision = 'allow_session'
         ORDER BY at",
    )?;
    let params = rusqlite::params![row.id.run.0, row.id.index, row.digest.as_str()];
    let rows = statement.query_map(params, |found| found.get::<_, String>(0).map(Actor::from_text))?;
    let by: Vec<Actor> = rows.collect::<Result<_, _>>()?;
    if row.terms().satisfied_by(&by, &row.requester) {
        allow::give(tx, row, &by)?;
    }
    Ok(())
}

fn decided(tx: &Tx<'_>, row: &StepRow, tap: &Tap) -> Change {
    Change::by(&tap.approver).decided(tx.now).decided_by(&tap.approver).detail(by_person(
        row,
        tap,
        json!({ "shown": tap.digest }),
    ))
}

/// What the audit adds about a tap: the chat that it was in, and the person whose account it came from.
fn by_person(row: &StepRow, tap: &Tap, mut detail: Value) -> Value {
    if let Some(person) = row.people.name_of(&tap.approver) {
        detail["person"] = json!(person);
    }
    if let Some(chat) = &tap.chat {
        detail["chat"] = json!(chat);
    }
    detail
}

/// The cards in these chats of its audience are to say what became of it.
fn changed(
    tx: &Tx<'_>,
    row: &StepRow,
    is_told: impl Fn(&audience::Member) -> bool,
) -> Result<(), LedgerError> {
    for member in audience::of_run(tx, row.id.run)?.iter().filter(|member| is_told(member)) {
        outbox::put(tx, &member.surface, &member.chat, &Parcel::Changed(row.id))?;
    }
    Ok(())
}

/// Whether it was tapped there.
fn is_of(tap: &Tap, member: &audience::Member) -> bool {
    tap.chat.as_ref().is_some_and(|chat| member.is(tap.approver.surface(), chat))
}

fn may_decide(tx: &Tx<'_>, row: &StepRow, tap: &Tap) -> Result<Result<(), String>, LedgerError> {
    let is_there = match &tap.chat {
        Some(chat) => audience::has(tx, row.id.run, (tap.approver.surface(), chat))?,
        None => true,
    };
    Ok(if is_there { may_approve(row, tap) } else { Err("its card is in another chat".to_owned()) })
}

fn may_approve(row: &StepRow, tap: &Tap) -> Result<(), String> {
    if tap.digest.len() < SHORT {
        return Err(format!("a decision names at least the {SHORT} digits that its card shows"));
    }
    if row.approvers.is_empty() {
        return Err("nobody may approve: the list of approvers is empty".to_owned());
    }
    if !row.approvers.contains(&tap.approver) {
        return Err(format!("{} is not an approver", tap.approver));
    }
    if row.terms().bars(&tap.approver, &row.requester) && tap.decision != Decision::Deny {
        return Err(match row.people.name_of(&tap.approver) {
            Some(person) if tap.approver != row.requester => format!(
                "{} and {} are both {person}'s; whoever asked may not approve; somebody else must",
                row.requester, tap.approver
            ),
            _ => "whoever asked may not approve; somebody else must".to_owned(),
        });
    }
    Ok(())
}

/// A vote on the card that is in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Vote {
    /// The account it came from.
    pub account: Actor,
    /// Whose account that was, if anybody claimed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub person: Option<String>,
    /// What was said.
    pub decision: String,
    /// When.
    pub at: Millis,
}

/// Who approved the card of `row` of those whose approval counts: of each person the account that was first.
pub fn approvals(tx: &Tx<'_>, row: &StepRow) -> Result<Vec<Actor>, LedgerError> {
    let (terms, mut counted) = (row.terms(), Vec::<Actor>::new());
    for account in approvers_of(tx, row)? {
        let counts = terms.approvers.contains(&account) && !terms.bars(&account, &row.requester);
        if counts && !counted.iter().any(|before| terms.people.are_one(before, &account)) {
            counted.push(account);
        }
    }
    Ok(counted)
}

/// The votes on the card of `row`, oldest first.
pub fn votes(tx: &Tx<'_>, row: &StepRow) -> Result<Vec<Vote>, LedgerError> {
    let mut statement = tx.sql.prepare_cached(
        "SELECT approver, nullif(person, approver), decision, at FROM approvals
         WHERE run_id = ?1 AND idx = ?2 AND digest = ?3 ORDER BY at, rowid",
    )?;
    let params = rusqlite::params![row.id.run.0, row.id.index, row.digest.as_str()];
    let rows = statement.query_map(params, |found| {
        let account = Actor::from_text(found.get::<_, String>(0)?);
        Ok(Vote { account, person: found.get(1)?, decision: found.get(2)?, at: found.get(3)? })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Stores the vote; whether it is a new one.
fn vote(tx: &Tx<'_>, row: &StepRow, tap: &Tap) -> Result<bool, LedgerError> {
    let decision = match tap.decision {
        Decision::Approve => "approve",
        Decision::AllowSession => "allow_session",
        Decision::Deny => "deny",
    };
    let changed = tx
        .sql
        .prepare_cached(
            "INSERT INTO approvals (run_id, idx, digest, approver, decision, at, person)
             SELECT run_id, idx, digest, ?4, ?5, ?6, ?7 FROM steps
             WHERE run_id = ?1 AND idx = ?2 AND digest = ?3 AND state = 'waiting'
               AND (expires_at IS NULL OR expires_at > ?6)
             ON CONFLICT DO NOTHING",
        )?
        .execute(rusqlite::params![
            row.id.run.0,
            row.id.index,
            row.digest.as_str(),
            tap.approver.as_str(),
            decision,
            tx.now,
            row.people.person(&tap.approver).as_str(),
        ])?;
    if changed == 1 {
        let digest = Some(row.digest.as_str().to_owned());
        let detail = by_person(row, tap, json!({ "decision": decision }));
        audit::append(tx, audit::of_step(row.id, "vote", tap.approver.clone(), digest, detail))?;
    }
    Ok(changed == 1)
}

/// The move was not made although the card waits: too late, or too few votes.
fn after_no_move(tx: &Tx<'_>, row: &StepRow, tap: &Tap, is_new: bool) -> Result<Tapped, LedgerError> {
    if row.expires_at.is_some_and(|at| at <= tx.now) {
        return refuse(tx, row, tap, Tapped::TooLate);
    }
    // An account of a person who has approved it already changes nothing.
    if is_new && approvals(tx, row)?.contains(&tap.approver) {
        changed(tx, row, |_| true)?;
    }
    let have = row.terms().count(&approvers_of(tx, row)?, &row.requester);
    Ok(Tapped::Counted { have, need: row.approvals_needed })
}

fn refuse(tx: &Tx<'_>, row: &StepRow, tap: &Tap, answer: Tapped) -> Result<Tapped, LedgerError> {
    let digest = Some(row.digest.as_str().to_owned());
    let detail = by_person(row, tap, json!({ "decision": tap.decision, "refused": &answer }));
    audit::append(tx, audit::of_step(row.id, "tap_refused", tap.approver.clone(), digest, detail))?;
    Ok(answer)
}

fn already(row: &StepRow) -> Tapped {
    Tapped::Already { state: row.state, by: row.decided_by.clone(), at: row.decided_at.or(row.ended_at) }
}
