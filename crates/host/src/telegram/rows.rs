//! What the surface looks up in the ledger.

use rusqlite::OptionalExtension as _;

use crate::ids::{RunId, StepId};
use crate::ledger::events::{Change, EventRow, ReplyTo};
use crate::ledger::steps::{self, StepRow};
use crate::ledger::{LedgerError, Tx, messages};

/// The step of the card with this token.
pub(super) fn by_token(tx: &Tx<'_>, token: &str) -> Result<Option<StepRow>, LedgerError> {
    let id = tx
        .sql
        .prepare_cached("SELECT run_id, idx FROM steps WHERE token = ?1")?
        .query_row([token], |row| Ok(StepId { run: RunId(row.get(0)?), index: row.get(1)? }))
        .optional()?;
    id.map_or(Ok(None), |id| steps::get(tx, id))
}

/// The session that a reply to `message` goes on in.
pub(super) fn session_of(tx: &Tx<'_>, chat: &str, message: i32) -> Result<Option<ReplyTo>, LedgerError> {
    let Some(step) = messages::step_of(tx, super::NAME, chat, &message.to_string())? else {
        return Ok(None);
    };
    Ok(steps::get(tx, step)?.and_then(reply_to))
}

/// What answers the result of a step.
pub(super) fn reply_to(row: StepRow) -> Option<ReplyTo> {
    let origin = row.target.origin.unwrap_or_default();
    let workspace = origin.strip_prefix("workspace:").unwrap_or_default().to_owned();
    let change = row.output.as_ref().and_then(Change::of);
    Some(ReplyTo { session_id: row.session_id?, run_id: row.id.run.to_string(), workspace, change })
}

/// Whether a message that fires no rule is answered all the same: as the command it is, or by a
/// line that still waits to be sent, so that many such messages are told it once.
pub(super) fn is_answered(tx: &Tx<'_>, event: &EventRow, line: &str) -> Result<bool, LedgerError> {
    let sql = "SELECT EXISTS (
           SELECT 1 FROM events AS this
           JOIN events AS command ON command.surface = this.surface
             AND command.platform_id = this.platform_id || ' command_received'
           JOIN runs ON runs.event_id = command.id WHERE this.id = ?1)
         OR EXISTS (
           SELECT 1 FROM outbox
           WHERE delivered_at IS NULL AND surface = ?2 AND chat = ?3 AND kind = 'text' AND body = ?4)";
    let values = rusqlite::params![event.id, event.surface, event.chat, line];
    Ok(tx.sql.prepare_cached(sql)?.query_row(values, |row| row.get(0))?)
}

/// The steps of a chat that wait or run, oldest first.
pub(super) fn live_steps(tx: &Tx<'_>, chat: &str) -> Result<Vec<StepRow>, LedgerError> {
    let mut statement = tx.sql.prepare_cached(
        "SELECT run_id, idx FROM steps
         WHERE state IN ('waiting', 'approved', 'dispatched') AND surface = 'telegram' AND chat = ?1
         ORDER BY run_id, idx LIMIT 50",
    )?;
    steps_of(tx, &mut statement, chat)
}

/// The last steps of a chat that ended with a session, newest first.
pub(super) fn sessions(tx: &Tx<'_>, chat: &str) -> Result<Vec<StepRow>, LedgerError> {
    let mut statement = tx.sql.prepare_cached(
        "SELECT run_id, idx FROM steps
         WHERE session_id IS NOT NULL AND ended_at IS NOT NULL AND surface = 'telegram' AND chat = ?1
         ORDER BY ended_at DESC LIMIT 10",
    )?;
    steps_of(tx, &mut statement, chat)
}

fn steps_of(
    tx: &Tx<'_>,
    statement: &mut rusqlite::CachedStatement<'_>,
    chat: &str,
) -> Result<Vec<StepRow>, LedgerError> {
    let ids =
        statement.query_map([chat], |row| Ok(StepId { run: RunId(row.get(0)?), index: row.get(1)? }))?;
    let ids: Vec<StepId> = ids.collect::<Result<_, _>>()?;
    let mut rows = Vec::new();
    for id in ids {
        match steps::get(tx, id) {
            // One that cannot be read hides no other, and keeps none from being stopped.
            Err(LedgerError::Content(reason)) => {
                tracing::error!(step = %id, reason, "a step's row cannot be read");
            }
            row => rows.extend(row?),
        }
    }
    Ok(rows)
}
