//! Events: stored under their platform's own id before anything comes of them.

use connector_contract::facts::{Commits, Facts};
use connector_gate::clock::Millis;
use connector_gate::policy::Actor;
use rusqlite::OptionalExtension as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::audit::{self, Entry};
use super::{LedgerError, Tx, json_opt};

/// What a surface saw.
#[derive(Debug, Clone, PartialEq)]
pub struct NewEvent {
    /// The surface, such as `console`.
    pub surface: String,
    /// The platform's own id: a redelivery has the same.
    pub platform_id: String,
    /// The connector rules know it by.
    pub connector: String,
    /// The trigger.
    pub event: String,
    /// Where the answer goes.
    pub chat: String,
    /// Who caused it, vouched for by the surface.
    pub requester: Actor,
    /// What rules read as `trigger.…`.
    pub payload: Value,
    /// The message of ours that it answers.
    pub reply: Option<ReplyTo>,
}

/// The result an event answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReplyTo {
    /// The session to go on in.
    pub session_id: String,
    /// The run whose result it was.
    pub run_id: String,
    /// The workspace it ran in.
    pub workspace: String,
    /// What it left on a branch, if it did.
    #[serde(default, flatten)]
    pub change: Option<Change>,
}

/// What a task left on a branch of its workspace's repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// The branch.
    pub branch: String,
    /// The commit that the changes begin at.
    pub base: String,
    /// The commit that has them.
    pub commit: String,
}

impl Change {
    /// What the output of a step says of a branch.
    pub fn of(output: &Value) -> Option<Self> {
        let facts = Facts::of(output);
        let (branch, Commits { base, head }) = (facts.branch()?, facts.commits()?);
        Some(Self { branch: branch.to_owned(), base: base.to_owned(), commit: head.to_owned() })
    }
}

/// A stored event.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct EventRow {
    /// Counted from 1.
    pub id: i64,
    /// The surface.
    pub surface: String,
    /// The connector rules know it by.
    pub connector: String,
    /// The trigger.
    pub event: String,
    /// Where the answer goes.
    pub chat: String,
    /// Who caused it.
    pub requester: Actor,
    /// What rules read.
    pub payload: Value,
    /// The message of ours that it answers.
    pub reply: Option<ReplyTo>,
    /// When it was stored.
    pub received_at: Millis,
}

/// Stores an event; `None` when it is already there.
pub fn store(tx: &Tx<'_>, event: &NewEvent) -> Result<Option<i64>, LedgerError> {
    let id = tx
        .sql
        .prepare_cached(
            "INSERT INTO events (surface, platform_id, connector, event, chat, requester, payload, reply, received_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
             ON CONFLICT (surface, platform_id) DO NOTHING RETURNING id",
        )?
        .query_row(
            rusqlite::params![
                event.surface,
                event.platform_id,
                event.connector,
                event.event,
                event.chat,
                event.requester.as_str(),
                event.payload.to_string(),
                event.reply.as_ref().map(serde_json::to_string).transpose()?,
                tx.now,
            ],
            |row| row.get::<_, i64>(0),
        )
        .optional()?;
    if let Some(id) = id {
        let detail = json!({ "event_id": id, "connector": event.connector, "event": event.event, "chat": event.chat,
            "surface": event.surface, "platform_id": event.platform_id });
        let actor = event.requester.clone();
        audit::append(
            tx,
            Entry { at: 0, kind: "event".into(), run: None, index: None, actor, digest: None, detail },
        )?;
    }
    Ok(id)
}

/// The event with a platform's own id.
pub fn find(tx: &Tx<'_>, surface: &str, platform_id: &str) -> Result<Option<i64>, LedgerError> {
    let sql = "SELECT id FROM events WHERE surface = ?1 AND platform_id = ?2";
    Ok(tx.sql.prepare_cached(sql)?.query_row([surface, platform_id], |row| row.get(0)).optional()?)
}

/// Each surface that has events, found by a jump in the index for each, so that ids can be looked up in it on all.
macro_rules! on_all_surfaces {
    ($select:literal) => {
        concat!(
            "WITH RECURSIVE surfaces (surface) AS (
               SELECT min(surface) FROM events
               UNION ALL SELECT (SELECT min(surface) FROM events WHERE surface > surfaces.surface)
                 FROM surfaces WHERE surfaces.surface IS NOT NULL) ",
            $select
        )
    };
}

/// The event of a connector with its sender's own id, whatever surface it was reported on, and its payload.
pub fn find_of(tx: &Tx<'_>, connector: &str, platform_id: &str) -> Result<Option<(i64, Value)>, LedgerError> {
    let sql = on_all_surfaces!(
        "SELECT id, payload FROM surfaces CROSS JOIN events USING (surface)
           WHERE connector = ?1 AND platform_id = ?2 ORDER BY id DESC LIMIT 1"
    );
    let mut select = tx.sql.prepare_cached(sql)?;
    let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, super::json(row, "payload")?));
    Ok(select.query_row([connector, platform_id], row).optional()?)
}

/// The same of the latest after `since` whose id is `beginning`, a colon and anything.
pub fn find_since(
    tx: &Tx<'_>,
    connector: &str,
    beginning: &str,
    since: Millis,
) -> Result<Option<i64>, LedgerError> {
    let sql = on_all_surfaces!(
        "SELECT id FROM surfaces CROSS JOIN events USING (surface)
           WHERE connector = ?1 AND platform_id > ?2 || ':' AND platform_id < ?2 || ';' AND received_at > ?3
           ORDER BY id DESC LIMIT 1"
    );
    let mut select = tx.sql.prepare_cached(sql)?;
    Ok(select.query_row(rusqlite::params![connector, beginning, since], |row| row.get(0)).optional()?)
}

/// The latest events, newest first.
pub fn latest(tx: &Tx<'_>, limit: u32) -> Result<Vec<i64>, LedgerError> {
    let mut statement = tx.sql.prepare_cached("SELECT id FROM events ORDER BY id DESC LIMIT ?1")?;
    let rows = statement.query_map([limit], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Whether rules have looked at an event.
pub fn is_handled(tx: &Tx<'_>, id: i64) -> Result<bool, LedgerError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM events WHERE id = ?1 AND handled_at IS NOT NULL)";
    Ok(tx.sql.prepare_cached(sql)?.query_row([id], |row| row.get(0))?)
}

/// Whether an event is there.
pub fn is_stored(tx: &Tx<'_>, surface: &str, platform_id: &str) -> Result<bool, LedgerError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM events WHERE surface = ?1 AND platform_id = ?2)";
    Ok(tx.sql.prepare_cached(sql)?.query_row([surface, platform_id], |row| row.get(0))?)
}

/// What somebody said in a chat that nothing has come of yet, newest first.
pub fn unhandled_of(
    tx: &Tx<'_>,
    surface: &str,
    chat: &str,
    requester: &Actor,
) -> Result<Vec<EventRow>, LedgerError> {
    let mut statement = tx.sql.prepare_cached(
        "SELECT * FROM events WHERE handled_at IS NULL AND surface = ?1 AND chat = ?2 AND requester = ?3
         ORDER BY id DESC LIMIT 16",
    )?;
    let rows = statement.query_map([surface, chat, requester.as_str()], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Replaces what an event says, which nothing has come of yet, with what it turned out to be.
pub fn grow(tx: &Tx<'_>, id: i64, payload: &Value) -> Result<(), LedgerError> {
    let sql = "UPDATE events SET payload = ?2, received_at = ?3 WHERE id = ?1 AND handled_at IS NULL";
    tx.sql.prepare_cached(sql)?.execute(rusqlite::params![id, payload.to_string(), tx.now])?;
    Ok(())
}

/// Events nothing has come of yet, by turns: of each chat the oldest goes before any chat's second, and
/// within a chat that of each person. Whoever sends many waits behind themselves. One that cannot be read is set aside: the
/// others would wait behind it for ever.
pub fn unhandled(tx: &Tx<'_>, limit: u32) -> Result<Vec<EventRow>, LedgerError> {
    let mut statement = tx.sql.prepare_cached(
        "WITH own AS (
           SELECT id, surface, chat,
             row_number() OVER (PARTITION BY surface, chat, requester ORDER BY id) AS turn
           FROM events WHERE handled_at IS NULL),
         turns AS (
           SELECT id, row_number() OVER (PARTITION BY surface, chat ORDER BY turn, id) AS turn FROM own)
         SELECT id FROM turns ORDER BY turn, id LIMIT ?1",
    )?;
    let ids: Vec<i64> = statement.query_map([limit], |row| row.get(0))?.collect::<Result<_, _>>()?;
    let mut all = Vec::with_capacity(ids.len());
    for id in ids {
        match get(tx, id) {
            Ok(event) => all.extend(event),
            Err(LedgerError::Content(reason)) => {
                tracing::error!(event = id, reason, "an event cannot be read, and nothing comes of it");
                handled(tx, id)?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(all)
}

/// Whether nothing has come of some event yet.
pub fn any_unhandled(tx: &Tx<'_>) -> Result<bool, LedgerError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM events WHERE handled_at IS NULL)";
    Ok(tx.sql.prepare_cached(sql)?.query_row([], |row| row.get(0))?)
}

/// One event.
pub fn get(tx: &Tx<'_>, id: i64) -> Result<Option<EventRow>, LedgerError> {
    Ok(tx.sql.prepare_cached("SELECT * FROM events WHERE id = ?1")?.query_row([id], read).optional()?)
}

/// Marks an event as handled, in the transaction that made its runs.
pub fn handled(tx: &Tx<'_>, id: i64) -> Result<(), LedgerError> {
    tx.sql.prepare_cached("UPDATE events SET handled_at = ?2 WHERE id = ?1")?.execute([id, tx.now])?;
    Ok(())
}

fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<EventRow> {
    Ok(EventRow {
        id: row.get("id")?,
        surface: row.get("surface")?,
        connector: row.get("connector")?,
        event: row.get("event")?,
        chat: row.get("chat")?,
        requester: Actor::from_text(row.get::<_, String>("requester")?),
        payload: super::json(row, "payload")?,
        reply: json_opt(row, "reply")?,
        received_at: row.get("received_at")?,
    })
}
