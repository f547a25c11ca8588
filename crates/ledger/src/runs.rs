//! Runs: one rule that fired for one event.

use connector_gate::clock::Millis;
use connector_gate::ids::RunId;
use connector_gate::policy::Actor;
use rusqlite::OptionalExtension as _;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::audience::{self, Member};
use super::audit::{self, Entry};
use super::events::EventRow;
use super::{LedgerError, Tx};

/// Where a run is. A run that is not active has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// A step is waiting or running, or the next one is due.
    Active,
    /// Every step did what it was asked.
    Succeeded,
    /// A step failed, or could not be resolved.
    Failed,
    /// A step was denied.
    Denied,
    /// Nobody approved a step in time.
    Expired,
    /// It was cancelled.
    Cancelled,
    /// Nobody knows what became of a step.
    Unknown,
}

/// A stored run.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct RunRow {
    /// Its id.
    pub id: RunId,
    /// The event that fired it.
    pub event_id: i64,
    /// The rule's name.
    pub rule: String,
    /// The rule's version.
    pub rule_version: String,
    /// Where it was asked for.
    pub surface: String,
    /// In which chat.
    pub chat: String,
    /// By whom.
    pub requester: Actor,
    /// Where it is.
    pub state: RunState,
    /// Why it ended as it did, where that needs words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Who asked to stop it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancel_by: Option<Actor>,
    /// When it was made.
    pub created_at: Millis,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Millis>,
}

impl RunState {
    const ALL: [Self; 7] = [
        Self::Active,
        Self::Succeeded,
        Self::Failed,
        Self::Denied,
        Self::Expired,
        Self::Cancelled,
        Self::Unknown,
    ];

    /// The word the ledger stores and people read.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Denied => "denied",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
            Self::Unknown => "unknown",
        }
    }
}

/// The rule that a run is made by.
#[derive(Debug, Clone, Copy)]
pub struct By<'a> {
    /// Its name.
    pub rule: &'a str,
    /// Its version.
    pub version: &'a str,
    /// Its text.
    pub definition: &'a str,
}

/// Makes a run for `event`, once: again is the same run. Its audience is the chat of the event, and `followers`.
pub fn create(
    tx: &Tx<'_>,
    event: &EventRow,
    By { rule, version, definition }: By<'_>,
    followers: &[Member],
) -> Result<Option<RunId>, LedgerError> {
    tx.sql
        .prepare_cached("INSERT INTO rule_versions VALUES (?1, ?2, ?3) ON CONFLICT (version) DO NOTHING")?
        .execute([version, rule, definition])?;
    let id = tx
        .sql
        .prepare_cached(
            "INSERT INTO runs (event_id, rule, rule_version, surface, chat, requester, state, created_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'active', ?7) ON CONFLICT (event_id, rule) DO NOTHING RETURNING id",
        )?
        .query_row(
            rusqlite::params![
                event.id,
                rule,
                version,
                event.surface,
                event.chat,
                event.requester.as_str(),
                tx.now
            ],
            |row| row.get(0).map(RunId),
        )
        .optional()?;
    if let Some(run) = id {
        let mut detail = json!({ "event_id": event.id, "rule": rule, "rule_version": version });
        for follower in followers {
            audience::join(tx, run, follower)?;
        }
        let followers: Vec<String> = audience::of_run(tx, run)?
            .iter()
            .skip(1)
            .map(|member| format!("{}:{}", member.surface, member.chat))
            .collect();
        if !followers.is_empty() {
            detail["followers"] = json!(followers);
        }
        let entry = Entry {
            at: 0,
            kind: "run".into(),
            run: Some(run),
            index: None,
            actor: event.requester.clone(),
            digest: None,
            detail,
        };
        audit::append(tx, entry)?;
    }
    Ok(id)
}

/// The definition of a rule's version.
pub fn definition(tx: &Tx<'_>, version: &str) -> Result<String, LedgerError> {
    Ok(tx
        .sql
        .prepare_cached("SELECT definition FROM rule_versions WHERE version = ?1")?
        .query_row([version], |row| row.get(0))?)
}

/// Ends an active run; ending it twice changes nothing.
pub fn end(tx: &Tx<'_>, run: RunId, state: RunState, reason: Option<&str>) -> Result<bool, LedgerError> {
    let changed = tx
        .sql
        .prepare_cached(
            "UPDATE runs SET state = ?2, reason = ?3, ended_at = ?4, due = 0 WHERE id = ?1 AND state = 'active'",
        )?
        .execute(rusqlite::params![run.0, state.as_str(), reason, tx.now])?;
    if changed == 1 {
        let detail = json!({ "state": state.as_str(), "reason": reason });
        let entry = Entry {
            at: 0,
            kind: "run_ended".into(),
            run: Some(run),
            index: None,
            actor: audit::host(),
            digest: None,
            detail,
        };
        audit::append(tx, entry)?;
    }
    Ok(changed == 1)
}

/// Active runs without a live step: something is to be done about them.
pub fn idle(tx: &Tx<'_>, limit: u32) -> Result<Vec<RunRow>, LedgerError> {
    select(tx, "SELECT * FROM runs WHERE due = 1 ORDER BY id LIMIT ?1", [limit])
}

/// Looks again at every active run which of them are to be gone on with.
pub fn find_idle(tx: &Tx<'_>) -> Result<usize, LedgerError> {
    Ok(tx.sql.execute(
        "UPDATE runs SET due = 1 WHERE state = 'active' AND due = 0 AND NOT EXISTS (
           SELECT 1 FROM steps WHERE steps.run_id = runs.id
             AND steps.state IN ('waiting', 'approved', 'dispatched', 'resolved'))",
        [],
    )?)
}

/// Asks for the end of an active run: no further step of it begins. `false` if it has ended, or
/// was asked for before.
pub fn request_cancel(tx: &Tx<'_>, run: RunId, by: &Actor) -> Result<bool, LedgerError> {
    let sql = "UPDATE runs SET cancel_by = ?2 WHERE id = ?1 AND state = 'active' AND cancel_by IS NULL";
    let changed = tx.sql.prepare_cached(sql)?.execute(rusqlite::params![run.0, by.as_str()])?;
    if changed == 1 {
        let kind = "run_cancel_requested".to_owned();
        let (actor, detail) = (by.clone(), serde_json::Value::Null);
        audit::append(tx, Entry { at: 0, kind, run: Some(run), index: None, actor, digest: None, detail })?;
    }
    Ok(changed == 1)
}

/// The latest runs, newest first.
pub fn latest(tx: &Tx<'_>, limit: u32) -> Result<Vec<RunRow>, LedgerError> {
    select(tx, "SELECT * FROM runs ORDER BY id DESC LIMIT ?1", [limit])
}

/// What an event fired, in the order it was made.
pub fn of_event(tx: &Tx<'_>, event: i64) -> Result<Vec<RunRow>, LedgerError> {
    select(tx, "SELECT * FROM runs WHERE event_id = ?1 ORDER BY id", [event])
}

/// How many runs of the rule have not ended.
pub fn under_way(tx: &Tx<'_>, rule: &str) -> Result<u32, LedgerError> {
    let sql = "SELECT count(*) FROM runs WHERE state = 'active' AND rule = ?1";
    Ok(tx.sql.prepare_cached(sql)?.query_row([rule], |row| row.get(0))?)
}

/// When the last run of the rule was made that was not held back itself.
pub fn last_begun(tx: &Tx<'_>, rule: &str) -> Result<Option<Millis>, LedgerError> {
    let sql = "SELECT created_at FROM runs WHERE rule = ?1
                 AND (state <> 'denied' OR EXISTS (SELECT 1 FROM steps WHERE run_id = runs.id))
               ORDER BY id DESC LIMIT 1";
    Ok(tx.sql.prepare_cached(sql)?.query_row([rule], |row| row.get(0)).optional()?)
}

/// Active runs that count as under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Still {
    /// All of them.
    Active,
    /// Those that wait for nobody's decision.
    Undecided,
    /// Those that wait neither for a decision nor for a time.
    Restless,
}

/// Whether such a run has not ended, on one surface or on any.
pub fn any_active(tx: &Tx<'_>, surface: Option<&str>, still: Still) -> Result<bool, LedgerError> {
    let sql = match still {
        Still::Active => {
            "SELECT EXISTS (SELECT 1 FROM runs WHERE state = 'active' AND surface = coalesce(?1, surface))"
        }
        Still::Undecided => {
            "SELECT EXISTS (SELECT 1 FROM runs WHERE state = 'active' AND surface = coalesce(?1, surface)
               AND NOT EXISTS (SELECT 1 FROM steps WHERE run_id = runs.id AND steps.state = 'waiting'))"
        }
        Still::Restless => {
            "SELECT EXISTS (SELECT 1 FROM runs WHERE state = 'active' AND surface = coalesce(?1, surface)
               AND NOT EXISTS (SELECT 1 FROM steps WHERE run_id = runs.id AND (steps.state = 'waiting'
                 OR (steps.state = 'dispatched' AND steps.wake_at IS NOT NULL))))"
        }
    };
    Ok(tx.sql.prepare_cached(sql)?.query_row([surface], |row| row.get(0))?)
}

/// Whether a rule fired for what came with an event: the one whose platform's id is the event's and `suffix`.
pub fn any_of_companion(tx: &Tx<'_>, event: i64, suffix: &str) -> Result<bool, LedgerError> {
    let sql = "SELECT EXISTS (
           SELECT 1 FROM events AS this
           JOIN events AS companion ON companion.surface = this.surface
             AND companion.platform_id = this.platform_id || ?2
           JOIN runs ON runs.event_id = companion.id WHERE this.id = ?1)";
    Ok(tx.sql.prepare_cached(sql)?.query_row(rusqlite::params![event, suffix], |row| row.get(0))?)
}

/// Whether a run of the rule has not ended.
pub fn is_under_way(tx: &Tx<'_>, rule: &str) -> Result<bool, LedgerError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM runs WHERE state = 'active' AND rule = ?1)";
    Ok(tx.sql.prepare_cached(sql)?.query_row([rule], |row| row.get(0))?)
}

/// One run.
pub fn get(tx: &Tx<'_>, run: RunId) -> Result<Option<RunRow>, LedgerError> {
    Ok(select(tx, "SELECT * FROM runs WHERE id = ?1", [run.0])?.pop())
}

fn select(tx: &Tx<'_>, sql: &str, params: impl rusqlite::Params) -> Result<Vec<RunRow>, LedgerError> {
    let mut statement = tx.sql.prepare_cached(sql)?;
    let rows = statement.query_map(params, read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<RunRow> {
    let state: String = row.get("state")?;
    let state = RunState::ALL
        .into_iter()
        .find(|known| known.as_str() == state)
        .ok_or_else(|| super::bad_column("state", format!("no run is `{state}`")))?;
    Ok(RunRow {
        id: RunId(row.get("id")?),
        event_id: row.get("event_id")?,
        rule: row.get("rule")?,
        rule_version: row.get("rule_version")?,
        surface: row.get("surface")?,
        chat: row.get("chat")?,
        requester: Actor::from_text(row.get::<_, String>("requester")?),
        state,
        reason: row.get("reason")?,
        cancel_by: row.get::<_, Option<String>>("cancel_by")?.map(Actor::from_text),
        created_at: row.get("created_at")?,
        ended_at: row.get("ended_at")?,
    })
}
