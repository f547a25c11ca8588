//! Steps: what will run, what was decided about it, and what came of it.

pub mod decide;

use connector_contract::{Checkpoint, Consequence, Target};
use rusqlite::types::Value as Sql;
use rusqlite::{OptionalExtension as _, params_from_iter};
use serde::Serialize;
use serde_json::{Value, json};

use super::audit;
use super::outbox::{self, Parcel};
use super::{LedgerError, Tx, json as json_column, json_opt};
use crate::clock::Millis;
use crate::gate::digest::{Bound, Digest};
use crate::gate::policy::Actor;
use crate::gate::state::{Move, StepState};
use crate::ids::{RunId, StepId};

/// A stored step with what its run says about it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepRow {
    /// Its id.
    pub id: StepId,
    /// Its name in the rule, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The connector instance.
    pub connector: String,
    /// Its action.
    pub action: String,
    /// The resolved input: what runs, word for word.
    pub input: Value,
    /// What the connector says it would touch.
    pub target: Target,
    /// What an approval is bound to.
    pub digest: Digest,
    /// Where it is.
    pub state: StepState,
    /// Why, where that needs words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How many approvals it takes.
    pub approvals_needed: u32,
    /// Who may approve.
    pub approvers: Vec<Actor>,
    /// Whether the requester's approval does not count.
    pub other_approver: bool,
    /// The card's own secret, for surfaces whose buttons carry one.
    #[serde(skip)]
    pub token: String,
    /// How long a delivered card waits.
    pub expiry_ms: Millis,
    /// When its input was resolved.
    pub created_at: Millis,
    /// When its card was delivered.
    pub delivered_at: Option<Millis>,
    /// When its card expires.
    pub expires_at: Option<Millis>,
    /// When it was decided.
    pub decided_at: Option<Millis>,
    /// By whom.
    pub decided_by: Option<Actor>,
    /// When the connector was called.
    pub dispatched_at: Option<Millis>,
    /// Where its effect can be found again.
    pub checkpoint: Option<Checkpoint>,
    /// What it returned.
    pub output: Option<Value>,
    /// What a failure means.
    pub consequence: Option<Consequence>,
    /// The session it ran in.
    pub session_id: Option<String>,
    /// When it ended.
    pub ended_at: Option<Millis>,
    /// The rule.
    pub rule: String,
    /// The rule's version.
    pub rule_version: String,
    /// Who asked.
    pub requester: Actor,
    /// Through which surface.
    pub surface: String,
    /// In which chat.
    pub chat: String,
}

/// A step to be stored.
#[derive(Debug, Clone)]
pub struct NewStep {
    /// Its id: the run, and the next index.
    pub id: StepId,
    /// Its name in the rule.
    pub name: Option<String>,
    /// The connector instance.
    pub connector: String,
    /// Its action.
    pub action: String,
    /// The resolved input.
    pub input: Value,
    /// What the connector says it would touch.
    pub target: Target,
    /// Over all of that.
    pub digest: Digest,
    /// How many approvals it takes.
    pub approvals_needed: u32,
    /// Who may approve.
    pub approvers: Vec<Actor>,
    /// Whether the requester's approval does not count.
    pub other_approver: bool,
    /// How long a delivered card waits.
    pub expiry_ms: Millis,
    /// The card's own secret.
    pub token: String,
}

impl StepRow {
    /// The digest of what the row says now, for a target computed now.
    pub fn digest_with(&self, target: &Target) -> Result<Digest, LedgerError> {
        let bound = Bound {
            connector: &self.connector,
            action: &self.action,
            input: &self.input,
            target,
            rule: &self.rule,
            rule_version: &self.rule_version,
            requester: self.requester.as_str(),
            surface: &self.surface,
            chat: &self.chat,
        };
        Ok(bound.digest()?)
    }
}

/// Stores a resolved step; `false` if it is there already.
pub fn insert(tx: &Tx<'_>, step: &NewStep) -> Result<bool, LedgerError> {
    let changed = tx
        .sql
        .prepare_cached(
            "INSERT INTO steps (run_id, idx, name, connector, action, input, target, digest, state,
               approvals_needed, approvers, other_approver, token, expiry_ms, created_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 'resolved', ?9, ?10, ?11, ?12, ?13, ?14)
             ON CONFLICT (run_id, idx) DO NOTHING",
        )?
        .execute(rusqlite::params![
            step.id.run.0,
            step.id.index,
            step.name,
            step.connector,
            step.action,
            step.input.to_string(),
            serde_json::to_string(&step.target)?,
            step.digest.as_str(),
            step.approvals_needed,
            serde_json::to_string(&step.approvers)?,
            step.other_approver,
            step.token,
            step.expiry_ms,
            tx.now,
        ])?;
    if changed == 1 {
        let detail = json!({ "connector": step.connector, "action": step.action });
        let digest = Some(step.digest.as_str().to_owned());
        audit::append(tx, audit::of_step(step.id, "resolved", audit::host(), digest, detail))?;
    }
    Ok(changed == 1)
}

/// What else a move writes, beside the state.
#[derive(Debug, Default)]
pub struct Change {
    set: Vec<(&'static str, Sql)>,
    only_if: Vec<(&'static str, Sql)>,
    actor: Option<Actor>,
    detail: Value,
}

impl Change {
    /// Nothing else.
    pub fn none() -> Self {
        Self::default()
    }

    /// A move made by a person.
    pub fn by(actor: &Actor) -> Self {
        Self { actor: Some(actor.clone()), ..Self::default() }
    }

    /// Writes `value` into `column` too.
    #[must_use]
    pub fn set(mut self, column: &'static str, value: impl Into<Sql>) -> Self {
        self.set.push((column, value.into()));
        self
    }

    /// Makes the move only if `condition` holds, an SQL expression with one `?`.
    #[must_use]
    pub fn only_if(mut self, condition: &'static str, value: impl Into<Sql>) -> Self {
        self.only_if.push((condition, value.into()));
        self
    }

    /// What the audit adds.
    #[must_use]
    pub fn detail(mut self, detail: Value) -> Self {
        self.detail = detail;
        self
    }
}

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
    for (condition, value) in change.only_if {
        sql.push_str(&format!(" AND ({condition})"));
        values.push(value);
    }
    sql.push_str(" RETURNING digest");
    let digest: Option<String> =
        tx.sql.prepare_cached(&sql)?.query_row(params_from_iter(values), |row| row.get(0)).optional()?;
    let Some(digest) = digest else { return Ok(false) };
    let actor = change.actor.unwrap_or_else(audit::host);
    audit::append(tx, audit::of_step(step, made.as_str(), actor, Some(digest), change.detail))?;
    Ok(true)
}

/// Records where a dispatched step's effect can be found again.
pub fn checkpoint(tx: &Tx<'_>, step: StepId, checkpoint: &Checkpoint) -> Result<bool, LedgerError> {
    let session = checkpoint.0.get("session_id").and_then(Value::as_str);
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

/// Who may approve what waits, for the steps of one rule version.
pub fn refresh_approvers(
    tx: &Tx<'_>,
    rule_version: &str,
    approvers: &[Actor],
    needed: u32,
    other: bool,
) -> Result<(), LedgerError> {
    tx.sql
        .prepare_cached(
            "UPDATE steps SET approvers = ?2, approvals_needed = ?3, other_approver = ?4
             WHERE state = 'waiting' AND run_id IN (SELECT id FROM runs WHERE rule_version = ?1)",
        )?
        .execute(rusqlite::params![rule_version, serde_json::to_string(approvers)?, needed, other])?;
    Ok(())
}

/// The rule versions that waiting steps came from, with their definitions.
pub fn waiting_versions(tx: &Tx<'_>) -> Result<Vec<(String, String)>, LedgerError> {
    let mut statement = tx.sql.prepare_cached(
        "SELECT version, definition FROM rule_versions WHERE version IN (
           SELECT rule_version FROM runs JOIN steps ON steps.run_id = runs.id WHERE steps.state = 'waiting')",
    )?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Expires the cards whose time is up, and tells their chats.
pub fn expire_overdue(tx: &Tx<'_>, limit: u32) -> Result<usize, LedgerError> {
    let overdue = select(
        tx,
        "WHERE steps.state = 'waiting' AND expires_at <= ?1 ORDER BY expires_at LIMIT ?2",
        [tx.now, i64::from(limit)],
    )?;
    for row in &overdue {
        let change = Change::none()
            .set("ended_at", tx.now)
            .set("reason", "nobody approved it in time".to_owned())
            .only_if("expires_at <= ?", tx.now);
        if make(tx, row.id, Move::Expire, change)? {
            outbox::put(tx, &row.surface, &row.chat, &Parcel::Result(row.id))?;
        }
    }
    Ok(overdue.len())
}

/// Denies a card that no surface would take for too long.
pub fn deny_undeliverable(tx: &Tx<'_>, step: StepId, why: &str) -> Result<bool, LedgerError> {
    let change = Change::none()
        .set("ended_at", tx.now)
        .set("reason", format!("the card could not be delivered: {why}"));
    make(tx, step, Move::Deny, change)
}

/// Cancels a step that does not run yet, and tells its chat.
pub fn cancel_waiting(tx: &Tx<'_>, step: StepId, by: &Actor) -> Result<bool, LedgerError> {
    let change = Change::by(by)
        .set("ended_at", tx.now)
        .set("reason", format!("cancelled by {by}"))
        .only_if("state <> ?", String::from("dispatched"));
    let made = make(tx, step, Move::Cancel, change)?;
    if made && let Some(row) = get(tx, step)? {
        outbox::put(tx, &row.surface, &row.chat, &Parcel::Result(step))?;
    }
    Ok(made)
}

const SELECT: &str = "SELECT steps.*, runs.rule, runs.rule_version, runs.requester, runs.surface, runs.chat
    FROM steps JOIN runs ON runs.id = steps.run_id ";

/// One step.
pub fn get(tx: &Tx<'_>, id: StepId) -> Result<Option<StepRow>, LedgerError> {
    Ok(select(tx, "WHERE run_id = ?1 AND idx = ?2", rusqlite::params![id.run.0, id.index])?.pop())
}

/// The steps of a run, in order.
pub fn of_run(tx: &Tx<'_>, run: RunId) -> Result<Vec<StepRow>, LedgerError> {
    select(tx, "WHERE run_id = ?1 ORDER BY idx", [run.0])
}

/// Steps in one of the live states, in the order they were decided or made.
pub fn in_state(tx: &Tx<'_>, state: StepState, limit: u32) -> Result<Vec<StepRow>, LedgerError> {
    let tail = format!(
        "WHERE steps.state = '{}' ORDER BY coalesce(decided_at, steps.created_at), run_id, idx LIMIT ?1",
        state.as_str()
    );
    select(tx, &tail, [limit])
}

/// When the next waiting step expires.
pub fn next_expiry(tx: &Tx<'_>) -> Result<Option<Millis>, LedgerError> {
    Ok(tx.sql.query_row("SELECT min(expires_at) FROM steps WHERE state = 'waiting'", [], |row| row.get(0))?)
}

/// The last step of a chat that ended with a session one can go on in.
pub fn last_session(tx: &Tx<'_>, surface: &str, chat: &str) -> Result<Option<StepRow>, LedgerError> {
    let tail = "WHERE surface = ?1 AND chat = ?2 AND session_id IS NOT NULL AND steps.ended_at IS NOT NULL
        ORDER BY steps.ended_at DESC, run_id DESC, idx DESC LIMIT 1";
    Ok(select(tx, tail, [surface, chat])?.pop())
}

/// Asks the host to stop a step that runs.
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
    Ok(changed == 1)
}

/// The running steps that somebody asked to stop.
pub fn to_cancel(tx: &Tx<'_>) -> Result<Vec<StepId>, LedgerError> {
    let mut statement = tx.sql.prepare_cached(
        "SELECT run_id, idx FROM steps WHERE state = 'dispatched' AND cancel_by IS NOT NULL",
    )?;
    let rows = statement.query_map([], |row| Ok(StepId { run: RunId(row.get(0)?), index: row.get(1)? }))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// How many cards wait: in this chat, and in all.
pub fn waiting(tx: &Tx<'_>, surface: &str, chat: &str) -> Result<(u32, u32), LedgerError> {
    Ok(tx.sql.query_row(
        "SELECT coalesce(sum(surface = ?1 AND chat = ?2), 0), count(*) FROM steps JOIN runs ON runs.id = run_id
         WHERE steps.state = 'waiting'",
        [surface, chat],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?)
}

fn select(tx: &Tx<'_>, tail: &str, params: impl rusqlite::Params) -> Result<Vec<StepRow>, LedgerError> {
    let mut statement = tx.sql.prepare_cached(&format!("{SELECT}{tail}"))?;
    let rows = statement.query_map(params, read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<StepRow> {
    let state: String = row.get("state")?;
    let state = StepState::parse(&state)
        .ok_or_else(|| super::bad_column("state", format!("no step is `{state}`")))?;
    Ok(StepRow {
        id: StepId { run: RunId(row.get("run_id")?), index: row.get("idx")? },
        name: row.get("name")?,
        connector: row.get("connector")?,
        action: row.get("action")?,
        input: json_column(row, "input")?,
        target: json_column(row, "target")?,
        digest: Digest::from_stored(row.get("digest")?),
        state,
        reason: row.get("reason")?,
        approvals_needed: row.get("approvals_needed")?,
        approvers: json_column(row, "approvers")?,
        other_approver: row.get("other_approver")?,
        token: row.get("token")?,
        expiry_ms: row.get("expiry_ms")?,
        created_at: row.get("created_at")?,
        delivered_at: row.get("delivered_at")?,
        expires_at: row.get("expires_at")?,
        decided_at: row.get("decided_at")?,
        decided_by: row.get::<_, Option<String>>("decided_by")?.map(Actor::from_text),
        dispatched_at: row.get("dispatched_at")?,
        checkpoint: json_opt(row, "checkpoint")?,
        output: json_opt(row, "output")?,
        consequence: json_opt(row, "consequence")?,
        session_id: row.get("session_id")?,
        ended_at: row.get("ended_at")?,
        rule: row.get("rule")?,
        rule_version: row.get("rule_version")?,
        requester: Actor::from_text(row.get::<_, String>("requester")?),
        surface: row.get("surface")?,
        chat: row.get("chat")?,
    })
}
