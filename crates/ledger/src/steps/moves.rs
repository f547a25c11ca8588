//! The moves of steps: each is one statement that holds its own preconditions.

use connector_contract::Checkpoint;
use connector_gate::ids::StepId;
use connector_gate::policy::Actor;
use connector_gate::state::{Move, StepState};
use rusqlite::types::Value as Sql;
use rusqlite::{OptionalExtension as _, params_from_iter};
use serde_json::{Value, json};

use super::change::{Change, Guard};
use crate::outbox::Parcel;
use crate::{LedgerError, Tx, asks, audience, audit};

/// Makes one move: one statement, whose `WHERE` holds every precondition.
/// Returns whether it was made; a move that cannot be made changes nothing.
pub fn make(tx: &Tx<'_>, step: StepId, made: Move, change: Change) -> Result<bool, LedgerError> {
    let mut sql = format!("UPDATE steps SET state = '{}'", made.target().as_str());
    let mut values: Vec<Sql> = Vec::new();
    for (column, value) in change.set {
        sql.push_str(&format!(", {column} = ?"));
        values.push(value);
    }
    let sources: Vec<String> = made.sources().map(|state| format!("'{}'", state.as_str())).collect();
    sql.push_str(&format!(" WHERE run_id = ? AND idx = ? AND state IN ({})", sources.join(", ")));
    values.extend([Sql::from(step.run.0), Sql::from(i64::from(step.index))]);
    for guard in change.guards {
        let (condition, value) = guard.compiled();
        sql.push_str(&format!(" AND ({condition})"));
        values.extend(value);
    }
    sql.push_str(" RETURNING digest");
    let digest: Option<String> =
        tx.sql.prepare_cached(&sql)?.query_row(params_from_iter(values), |row| row.get(0)).optional()?;
    let Some(digest) = digest else { return Ok(false) };
    if !made.target().is_live() {
        let due = "UPDATE runs SET due = 1 WHERE id = ?1 AND state = 'active'";
        tx.sql.prepare_cached(due)?.execute([step.run.0])?;
    }
    if StepState::Dispatched.after(made).is_some() {
        asks::close_of_step(tx, step)?;
    }
    let actor = change.actor.unwrap_or_else(audit::host);
    audit::append(tx, audit::of_step(step, made.as_str(), actor, Some(digest), change.detail))?;
    Ok(true)
}

/// Records where a dispatched step's effect can be found again.
pub fn checkpoint(tx: &Tx<'_>, step: StepId, checkpoint: &Checkpoint) -> Result<bool, LedgerError> {
    let session = checkpoint.session();
    let changed = tx
        .sql
        .prepare_cached(
            "UPDATE steps SET checkpoint = ?3, session_id = coalesce(?4, session_id)
             WHERE run_id = ?1 AND idx = ?2 AND state = 'dispatched'",
        )?
        .execute(rusqlite::params![step.run.0, step.index, serde_json::to_string(checkpoint)?, session])?;
    if changed == 1 {
        audit::append(tx, audit::of_step(step, "checkpoint", audit::host(), None, checkpoint.0.clone()))?;
    }
    Ok(changed == 1)
}

/// Expires the cards whose time is up, and tells their audience. Returns how many.
pub fn expire_overdue(tx: &Tx<'_>, limit: u32) -> Result<usize, LedgerError> {
    let overdue: Vec<StepId> = tx
        .sql
        .prepare_cached(
            "SELECT run_id, idx FROM steps WHERE state = 'waiting' AND expires_at <= ?1
             ORDER BY expires_at LIMIT ?2",
        )?
        .query_map([tx.now, i64::from(limit)], super::id_of)?
        .collect::<Result<_, _>>()?;
    for id in &overdue {
        let change = Change::none()
            .ended(tx.now)
            .reason("nobody approved it in time")
            .only_if(Guard::ExpiredBy(tx.now));
        if make(tx, *id, Move::Expire, change)? {
            audience::put(tx, id.run, &Parcel::Result(*id))?;
        }
    }
    Ok(overdue.len())
}

/// Ends the steps that have waited for long enough, and those that somebody asked to stop. Returns how many.
pub fn wake(tx: &Tx<'_>, limit: u32) -> Result<usize, LedgerError> {
    let over: Vec<(StepId, Option<String>)> = tx
        .sql
        .prepare_cached(
            "SELECT run_id, idx, cancel_by FROM steps
             WHERE state = 'dispatched' AND wake_at IS NOT NULL AND (wake_at <= ?1 OR cancel_by IS NOT NULL)
             ORDER BY wake_at LIMIT ?2",
        )?
        .query_map([tx.now, i64::from(limit)], |row| Ok((super::id_of(row)?, row.get(2)?)))?
        .collect::<Result<_, _>>()?;
    for (id, cancel_by) in &over {
        let change = Change::none().ended(tx.now);
        let Some(by) = cancel_by else {
            make(tx, *id, Move::Succeed, change)?;
            continue;
        };
        // What was promised for later is not to come.
        if make(tx, *id, Move::Cancel, change.reason(format!("cancelled by {by}")))? {
            audience::put(tx, id.run, &Parcel::Result(*id))?;
        }
    }
    Ok(over.len())
}

/// Denies a card that no surface would take for too long; its audience is told once it can be.
pub fn deny_undeliverable(tx: &Tx<'_>, step: StepId, why: &str) -> Result<bool, LedgerError> {
    let reason = format!("its card could not be delivered: {why}");
    let change = Change::none().ended(tx.now).reason(reason.clone()).detail(json!({ "reason": reason }));
    let made = make(tx, step, Move::Deny, change)?;
    if made {
        audience::put(tx, step.run, &Parcel::Result(step))?;
    }
    Ok(made)
}

/// Cancels a step that does not run yet, and tells its audience.
pub fn cancel_waiting(tx: &Tx<'_>, step: StepId, by: &Actor) -> Result<bool, LedgerError> {
    let change = Change::by(by)
        .ended(tx.now)
        .reason(format!("cancelled by {by}"))
        .only_if(Guard::NotIn(StepState::Dispatched))
        .only_if(Guard::NotIn(StepState::Unknown));
    let made = make(tx, step, Move::Cancel, change)?;
    if made {
        audience::put(tx, step.run, &Parcel::Result(step))?;
    }
    Ok(made)
}

/// Asks the host to stop a step that runs; returns whether it still runs.
pub fn request_cancel(tx: &Tx<'_>, step: StepId, by: &Actor) -> Result<bool, LedgerError> {
    let changed = tx
        .sql
        .prepare_cached(
            "UPDATE steps SET cancel_by = ?3 WHERE run_id = ?1 AND idx = ?2 AND state = 'dispatched' AND cancel_by IS NULL",
        )?
        .execute(rusqlite::params![step.run.0, step.index, by.as_str()])?;
    if changed == 1 {
        audit::append(tx, audit::of_step(step, "cancel_requested", by.clone(), None, Value::Null))?;
    }
    // Whoever asks again is told the same: it is stopping.
    let stopping =
        "SELECT EXISTS (SELECT 1 FROM steps WHERE run_id = ?1 AND idx = ?2 AND state = 'dispatched')";
    let place = rusqlite::params![step.run.0, step.index];
    Ok(tx.sql.prepare_cached(stopping)?.query_row(place, |row| row.get(0))?)
}
