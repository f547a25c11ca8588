//! What a chat is still to be told.
//!
//! A row is written in the transaction that makes it true, and delivered
//! afterwards, in order within its chat, until the surface has taken it.

use connector_gate::clock::Millis;
use connector_gate::ids::{RunId, StepId};
use rusqlite::OptionalExtension as _;

use super::{LedgerError, Tx, messages};

/// What is delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parcel {
    /// The card of a waiting step, made from its row when it is delivered.
    Card(StepId),
    /// A card that was delivered says what became of it, made from its row when it is delivered.
    Changed(StepId),
    /// The end of a step, made from its row when it is delivered.
    Result(StepId),
    /// A plain text.
    Text {
        /// The run it is about.
        run: Option<RunId>,
        /// The text.
        body: String,
    },
}

/// A parcel and where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxRow {
    /// Counted from 1.
    pub id: i64,
    /// The surface.
    pub surface: String,
    /// The chat.
    pub chat: String,
    /// What.
    pub parcel: Parcel,
    /// How often it was tried.
    pub attempts: u32,
    /// Since when it is to be delivered.
    pub since: Millis,
}

/// Adds a parcel.
pub fn put(tx: &Tx<'_>, surface: &str, chat: &str, parcel: &Parcel) -> Result<(), LedgerError> {
    let (kind, run, index, body) = match parcel {
        Parcel::Card(step) => ("card", Some(step.run), Some(step.index), None),
        Parcel::Changed(step) => ("changed", Some(step.run), Some(step.index), None),
        Parcel::Result(step) => ("result", Some(step.run), Some(step.index), None),
        Parcel::Text { run, body } => ("text", *run, None, Some(body)),
    };
    tx.sql
        .prepare_cached(
            "INSERT INTO outbox (surface, chat, kind, run_id, idx, body, created_at, since)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7)",
        )?
        .execute(rusqlite::params![surface, chat, kind, run.map(|run| run.0), index, body, tx.now])?;
    Ok(())
}

/// Adds one to the line `N what` that a chat is still to be told, or begins it. The chat's first parcel may be on its way
/// as it was, so it stays that.
pub fn count_up(tx: &Tx<'_>, surface: &str, chat: &str, run: RunId, what: &str) -> Result<(), LedgerError> {
    let known: Option<(i64, String)> = tx
        .sql
        .prepare_cached(
            "SELECT id, body FROM outbox WHERE delivered_at IS NULL AND surface = ?1 AND chat = ?2 AND kind = 'text'
               AND substr(body, instr(body, ' ') + 1) = ?3
               AND id > (SELECT min(id) FROM outbox WHERE delivered_at IS NULL AND surface = ?1 AND chat = ?2)
             ORDER BY id DESC LIMIT 1",
        )?
        .query_row([surface, chat, what], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let counted = known.and_then(|(id, body)| Some((id, body.split(' ').next()?.parse::<u64>().ok()?)));
    match counted {
        Some((id, count)) => {
            let body = format!("{} {what}", count + 1);
            let sql = "UPDATE outbox SET body = ?2, run_id = NULL WHERE id = ?1";
            tx.sql.prepare_cached(sql)?.execute(rusqlite::params![id, body])?;
            Ok(())
        }
        None => put(tx, surface, chat, &Parcel::Text { run: Some(run), body: format!("1 {what}") }),
    }
}

/// For each chat, its first undelivered parcel, if it is due.
pub fn due(tx: &Tx<'_>, limit: u32) -> Result<Vec<OutboxRow>, LedgerError> {
    let mut statement = tx.sql.prepare_cached(
        "SELECT * FROM outbox WHERE next_at <= ?1 AND id IN
           (SELECT min(id) FROM outbox WHERE delivered_at IS NULL GROUP BY surface, chat)
         ORDER BY id LIMIT ?2",
    )?;
    let rows = statement.query_map(rusqlite::params![tx.now, limit], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The first undelivered parcel of one chat, if it is due.
pub fn due_in(tx: &Tx<'_>, surface: &str, chat: &str) -> Result<Option<OutboxRow>, LedgerError> {
    let sql =
        "SELECT * FROM outbox WHERE delivered_at IS NULL AND surface = ?1 AND chat = ?2 ORDER BY id LIMIT 1";
    let first = tx
        .sql
        .prepare_cached(sql)?
        .query_row([surface, chat], |row| Ok((read(row)?, row.get::<_, Millis>("next_at")?)));
    Ok(first.optional()?.filter(|(_, next_at)| *next_at <= tx.now).map(|(row, _)| row))
}

/// When the next parcel that failed is due again. What waits behind it in its chat does not count.
pub fn next_retry(tx: &Tx<'_>) -> Result<Option<Millis>, LedgerError> {
    Ok(tx
        .sql
        .prepare_cached(
            "SELECT min(next_at) FROM outbox WHERE next_at > ?1 AND id IN
           (SELECT min(id) FROM outbox WHERE delivered_at IS NULL GROUP BY surface, chat)",
        )?
        .query_row([tx.now], |row| row.get(0))?)
}

/// Whatever is not delivered on `surface` is tried again now: while no host ran, it was not undeliverable.
pub fn retry_now(tx: &Tx<'_>, surface: &str) -> Result<usize, LedgerError> {
    Ok(tx.sql.execute(
        "UPDATE outbox SET next_at = 0, since = ?2 WHERE delivered_at IS NULL AND surface = ?1",
        rusqlite::params![surface, tx.now],
    )?)
}

/// The surface has taken it. A card starts to expire now.
pub fn delivered(tx: &Tx<'_>, row: &OutboxRow, surface_ref: &str) -> Result<(), LedgerError> {
    tx.sql
        .prepare_cached(
            "UPDATE outbox SET delivered_at = ?2, surface_ref = ?3 WHERE id = ?1 AND delivered_at IS NULL",
        )?
        .execute(rusqlite::params![row.id, tx.now, surface_ref])?;
    messages::delivered(tx, row.id)?;
    if let Parcel::Card(step) = row.parcel {
        tx.changes(step.run);
        tx.sql
            .prepare_cached(
                "UPDATE steps SET delivered_at = ?3, expires_at = ?3 + expiry_ms
                 WHERE run_id = ?1 AND idx = ?2 AND state = 'waiting' AND delivered_at IS NULL",
            )?
            .execute(rusqlite::params![step.run.0, step.index, tx.now])?;
    }
    Ok(())
}

/// The surface did not take it; try again at `next_at`.
pub fn postponed(tx: &Tx<'_>, row: &OutboxRow, next_at: Millis) -> Result<(), LedgerError> {
    tx.sql
        .prepare_cached("UPDATE outbox SET attempts = attempts + 1, next_at = ?2 WHERE id = ?1")?
        .execute([row.id, next_at])?;
    Ok(())
}

/// What a chat is still to be told goes to another.
pub fn move_chat(tx: &Tx<'_>, surface: &str, from: &str, to: &str) -> Result<(), LedgerError> {
    tx.sql.execute(
        "UPDATE outbox SET chat = ?3 WHERE surface = ?1 AND chat = ?2 AND delivered_at IS NULL",
        [surface, from, to],
    )?;
    Ok(())
}

/// Whether undelivered cards of steps that wait are among the parcels of this one's chat, and those
/// that were put there before `since` and are in no other chat, nor on their way to one: what was put there before `since`, too,
/// and waits behind a parcel that failed, is not.
pub fn cards_of(tx: &Tx<'_>, row: &OutboxRow, since: Millis) -> Result<(bool, Vec<StepId>), LedgerError> {
    let mut statement = tx.sql.prepare_cached(
        "SELECT outbox.run_id, outbox.idx, outbox.since <= ?3 AND NOT EXISTS (
           SELECT 1 FROM outbox AS other WHERE other.run_id = outbox.run_id AND other.idx = outbox.idx
             AND other.kind = 'card' AND (other.surface, other.chat) <> (outbox.surface, outbox.chat)
             AND (other.delivered_at >= steps.delivered_at OR other.delivered_at IS NULL AND (other.since > ?3
               OR NOT EXISTS (SELECT 1 FROM outbox AS head WHERE head.attempts > 0 AND head.next_at > ?4
                 AND head.id = (SELECT min(line.id) FROM outbox AS line WHERE line.delivered_at IS NULL
                   AND line.surface = other.surface AND line.chat = other.chat)))))
         FROM outbox
         JOIN steps ON steps.run_id = outbox.run_id AND steps.idx = outbox.idx
         WHERE outbox.delivered_at IS NULL AND outbox.surface = ?1 AND outbox.chat = ?2 AND outbox.kind = 'card'
           AND steps.state = 'waiting' ORDER BY outbox.id",
    )?;
    let read =
        |row: &rusqlite::Row<'_>| Ok((StepId { run: RunId(row.get(0)?), index: row.get(1)? }, row.get(2)?));
    let cards = statement.query_map(rusqlite::params![row.surface, row.chat, since, tx.now], read)?;
    let cards: Vec<(StepId, bool)> = cards.collect::<Result<_, _>>()?;
    let late = cards.iter().filter(|(_, is_late)| *is_late).map(|(step, _)| *step).collect();
    Ok((!cards.is_empty(), late))
}

/// Puts the cards that still wait on `surface` out again: its screen is new.
pub fn show_again(tx: &Tx<'_>, surface: &str) -> Result<usize, LedgerError> {
    Ok(tx.sql.execute(
        "UPDATE outbox SET delivered_at = NULL, next_at = 0, since = ?2
         WHERE id IN (SELECT max(outbox.id) FROM steps JOIN outbox ON outbox.run_id = steps.run_id AND outbox.idx = steps.idx
           WHERE steps.state = 'waiting' AND outbox.surface = ?1 AND outbox.kind = 'card'
           GROUP BY steps.run_id, steps.idx, outbox.chat)
         AND delivered_at IS NOT NULL",
        rusqlite::params![surface, tx.now],
    )?)
}

/// Whether anything is still to be delivered, on one surface or on any.
pub fn any_undelivered(tx: &Tx<'_>, surface: Option<&str>) -> Result<bool, LedgerError> {
    let sql = "SELECT EXISTS (
           SELECT 1 FROM outbox WHERE delivered_at IS NULL AND surface = coalesce(?1, surface))";
    Ok(tx.sql.prepare_cached(sql)?.query_row([surface], |row| row.get(0))?)
}

/// Whether a chat is still to be told this text.
pub fn is_to_tell(tx: &Tx<'_>, surface: &str, chat: &str, body: &str) -> Result<bool, LedgerError> {
    let sql = "SELECT EXISTS (
           SELECT 1 FROM outbox
           WHERE delivered_at IS NULL AND surface = ?1 AND chat = ?2 AND kind = 'text' AND body = ?3)";
    Ok(tx.sql.prepare_cached(sql)?.query_row([surface, chat, body], |row| row.get(0))?)
}

/// Whether the card of a step, as it is asked about now, was delivered to a chat.
pub fn is_shown(tx: &Tx<'_>, step: StepId, surface: &str, chat: &str) -> Result<bool, LedgerError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM outbox JOIN steps USING (run_id, idx)
           WHERE run_id = ?1 AND idx = ?2 AND kind = 'card' AND outbox.surface = ?3 AND outbox.chat = ?4
             AND outbox.delivered_at >= steps.delivered_at)";
    let params = rusqlite::params![step.run.0, step.index, surface, chat];
    Ok(tx.sql.prepare_cached(sql)?.query_row(params, |row| row.get(0))?)
}

/// Whether anything but cards was put out about a run.
pub fn tells_of(tx: &Tx<'_>, run: RunId) -> Result<bool, LedgerError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM outbox WHERE run_id = ?1 AND kind NOT IN ('card', 'changed'))";
    Ok(tx.sql.prepare_cached(sql)?.query_row([run.0], |row| row.get(0))?)
}

fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<OutboxRow> {
    let run = row.get::<_, Option<i64>>("run_id")?.map(RunId);
    let index: Option<u32> = row.get("idx")?;
    let step = run.zip(index).map(|(run, index)| StepId { run, index });
    let parcel = match (row.get::<_, String>("kind")?.as_str(), step) {
        ("card", Some(step)) => Parcel::Card(step),
        ("changed", Some(step)) => Parcel::Changed(step),
        ("result", Some(step)) => Parcel::Result(step),
        _ => Parcel::Text { run, body: row.get::<_, Option<String>>("body")?.unwrap_or_default() },
    };
    Ok(OutboxRow {
        id: row.get("id")?,
        surface: row.get("surface")?,
        chat: row.get("chat")?,
        parcel,
        attempts: row.get("attempts")?,
        since: row.get("since")?,
    })
}
