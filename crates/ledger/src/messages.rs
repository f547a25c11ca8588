//! The messages that a surface sent, each from the moment it was.
//!
//! A delivery that was cut off goes on with what is missing of its parcel, and a
//! reply to any message finds the step that it is about.

use connector_gate::ids::{RunId, StepId};
use rusqlite::OptionalExtension as _;

use super::{LedgerError, Tx};

/// The part that shows a step: its card, or the status of one that passed without a card.
pub const CARD: &str = "card";

/// A message that was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMessage {
    /// The surface.
    pub surface: String,
    /// The chat.
    pub chat: String,
    /// The platform's own id of it; empty for one that the platform did not take.
    pub surface_ref: String,
    /// The step it is about.
    pub step: Option<StepId>,
    /// The row of the outbox it belongs to.
    pub parcel: Option<i64>,
    /// What of it it is.
    pub part: String,
}

/// Stores that a message was sent.
pub fn put(tx: &Tx<'_>, new: &NewMessage) -> Result<(), LedgerError> {
    tx.sql
        .prepare_cached(
            "INSERT INTO messages (surface, chat, surface_ref, run_id, idx, parcel, part)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(rusqlite::params![
            new.surface,
            new.chat,
            new.surface_ref,
            new.step.map(|step| step.run.0),
            new.step.map(|step| step.index),
            new.parcel,
            new.part,
        ])?;
    Ok(())
}

/// The messages of one part of a parcel, in the order they were sent.
pub fn of_part(tx: &Tx<'_>, parcel: i64, part: &str) -> Result<Vec<String>, LedgerError> {
    let sql = "SELECT surface_ref FROM messages WHERE parcel = ?1 AND part = ?2 ORDER BY id";
    let mut statement = tx.sql.prepare_cached(sql)?;
    let rows = statement.query_map(rusqlite::params![parcel, part], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The part that is an ask with this id of a daemon.
pub fn ask(id: &str) -> String {
    format!("ask {id}")
}

/// The part that says that this ask is over, and that its message shows so.
pub fn closed_ask(id: &str) -> String {
    format!("closed {id}")
}

/// The messages of a step's asks that do not show yet that they are over, with the asks' ids.
pub fn open_asks(
    tx: &Tx<'_>,
    surface: &str,
    chat: &str,
    step: StepId,
) -> Result<Vec<(String, String)>, LedgerError> {
    let sql = "SELECT surface_ref, substr(part, 5) FROM messages AS asked
         WHERE run_id = ?1 AND idx = ?2 AND surface = ?3 AND chat = ?4 AND part LIKE 'ask %'
           AND NOT EXISTS (
             SELECT 1 FROM messages AS closed
             WHERE closed.run_id = ?1 AND closed.idx = ?2 AND closed.surface = ?3 AND closed.chat = ?4
               AND closed.surface_ref = asked.surface_ref AND closed.part = 'closed ' || substr(asked.part, 5))
         ORDER BY id";
    let mut statement = tx.sql.prepare_cached(sql)?;
    let values = rusqlite::params![step.run.0, step.index, surface, chat];
    let rows = statement.query_map(values, |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The newest message of `chat` that is this part of what it was told of the step.
pub fn last_of(
    tx: &Tx<'_>,
    surface: &str,
    chat: &str,
    step: StepId,
    part: &str,
) -> Result<Option<String>, LedgerError> {
    let sql = "SELECT surface_ref FROM messages
         WHERE run_id = ?1 AND idx = ?2 AND part = ?3 AND surface = ?4 AND chat = ?5 ORDER BY id DESC LIMIT 1";
    let params = rusqlite::params![step.run.0, step.index, part, surface, chat];
    Ok(tx.sql.prepare_cached(sql)?.query_row(params, |row| row.get(0)).optional()?)
}

/// The step that a message is about.
pub fn step_of(
    tx: &Tx<'_>,
    surface: &str,
    chat: &str,
    surface_ref: &str,
) -> Result<Option<StepId>, LedgerError> {
    Ok(about(tx, surface, chat, surface_ref)?.map(|(step, _)| step))
}

/// The step that a message is about, and what of it it is.
pub fn about(
    tx: &Tx<'_>,
    surface: &str,
    chat: &str,
    surface_ref: &str,
) -> Result<Option<(StepId, String)>, LedgerError> {
    let sql = "SELECT run_id, idx, part FROM messages
         WHERE surface = ?1 AND chat = ?2 AND surface_ref = ?3 AND idx IS NOT NULL ORDER BY id DESC LIMIT 1";
    let found = tx.sql.prepare_cached(sql)?.query_row([surface, chat, surface_ref], |row| {
        Ok((StepId { run: RunId(row.get(0)?), index: row.get(1)? }, row.get(2)?))
    });
    Ok(found.optional()?)
}

/// The parcel was delivered: what nobody can reply to need not be known any longer.
pub(super) fn delivered(tx: &Tx<'_>, parcel: i64) -> Result<(), LedgerError> {
    tx.sql.prepare_cached("DELETE FROM messages WHERE parcel = ?1 AND idx IS NULL")?.execute([parcel])?;
    Ok(())
}
