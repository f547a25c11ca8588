//! Steps: what will run, what was decided about it, and what came of it.

pub mod allow;
mod change;
pub mod decide;
pub mod enter;
mod moves;
pub mod release;

use connector_contract::{Checkpoint, Consequence, Target};
use connector_gate::clock::Millis;
use connector_gate::digest::{Bound, Digest};
use connector_gate::ids::{RunId, StepId};
use connector_gate::people::People;
use connector_gate::policy::{Actor, Terms};
use connector_gate::state::StepState;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use super::audit;
use super::runs::RunRow;
use super::{LedgerError, Tx, json as json_column, json_opt};
use crate::shapes;

pub use change::{Change, Guard};
pub use moves::{cancel_waiting, checkpoint, deny_undeliverable, expire_overdue, make, request_cancel, wake};

/// The connector of the steps that the host does itself, such as a reply.
pub const HOST: &str = "host";

/// A stored step with what its run says about it.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
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
    /// Whether the action declares that it changes nothing.
    pub read_only: bool,
    /// The resolved input: what runs, word for word.
    pub input: Value,
    /// What the connector says it would touch.
    #[schemars(with = "shapes::Target")]
    pub target: Target,
    /// Steps of one lane run one after another.
    pub lane: String,
    /// How often somebody was to be asked about it.
    pub asked: u32,
    /// The version of its rule that was in force when it was last asked about.
    pub rule_now: Option<String>,
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
    /// Whose accounts there were when it was last asked about.
    #[serde(skip_serializing_if = "People::is_empty")]
    pub people: People,
    /// The card's own secret, for surfaces whose buttons carry one.
    #[serde(skip)]
    pub token: String,
    /// How long a delivered card waits.
    pub expiry_ms: Millis,
    /// How long "allow for this session" would hold.
    pub allowance_ms: Millis,
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
    /// What let it pass without being asked about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub passed_by: Option<PassedBy>,
    /// The allowance that let it pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowance: Option<i64>,
    /// When the connector was called.
    pub dispatched_at: Option<Millis>,
    /// Where its effect can be found again.
    #[schemars(with = "Value")]
    pub checkpoint: Option<Checkpoint>,
    /// What it returned.
    pub output: Option<Value>,
    /// What a failure means.
    #[schemars(with = "Option<shapes::Consequence>")]
    pub consequence: Option<Consequence>,
    /// The session it ran in.
    pub session_id: Option<String>,
    /// When it ended.
    pub ended_at: Option<Millis>,
    /// Until when it waits, where it does nothing else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wake_at: Option<Millis>,
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

/// What let a step pass without being asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PassedBy {
    /// A policy: it is read-only, or somebody wrote down an exemption.
    Policy,
    /// Somebody allowed it for the session.
    Allowance,
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
    /// Whether the action declares that it changes nothing.
    pub read_only: bool,
    /// The resolved input.
    pub input: Value,
    /// What the connector says it would touch.
    pub target: Target,
    /// The version of its rule that is in force now.
    pub rule_now: Option<String>,
    /// Who approves it.
    pub terms: Terms,
    /// How long a delivered card waits.
    pub expiry_ms: Millis,
    /// How long "allow for this session" would hold.
    pub allowance_ms: Millis,
    /// The card's own secret.
    pub token: String,
}

impl PassedBy {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Policy => "policy",
            Self::Allowance => "allowance",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        [Self::Policy, Self::Allowance].into_iter().find(|known| known.as_str() == word)
    }
}

impl StepRow {
    /// The digest of what the row says, with what is in force now.
    pub fn digest_with(
        &self,
        target: &Target,
        rule_now: Option<&str>,
        people: &People,
        asked: u32,
    ) -> Result<Digest, LedgerError> {
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
            rule_now,
            asked,
            people,
        };
        Ok(bound.digest()?)
    }

    /// The digest of what the row says, and nothing else.
    pub fn own_digest(&self) -> Result<Digest, LedgerError> {
        self.digest_with(&self.target, self.rule_now.as_deref(), &self.people, self.asked)
    }

    /// The terms it waits under.
    pub fn terms(&self) -> Terms {
        Terms {
            approvers: self.approvers.clone(),
            needed: self.approvals_needed,
            other: self.other_approver,
            people: self.people.clone(),
        }
    }
}

impl NewStep {
    /// The digest of its first asking.
    pub fn digest(&self, run: &RunRow) -> Result<Digest, LedgerError> {
        let bound = Bound {
            connector: &self.connector,
            action: &self.action,
            input: &self.input,
            target: &self.target,
            rule: &run.rule,
            rule_version: &run.rule_version,
            requester: run.requester.as_str(),
            surface: &run.surface,
            chat: &run.chat,
            rule_now: self.rule_now.as_deref(),
            asked: 1,
            people: &self.terms.people,
        };
        Ok(bound.digest()?)
    }
}

/// Stores a resolved step of `run`; `false` if it is there already.
pub fn insert(tx: &Tx<'_>, run: &RunRow, step: &NewStep) -> Result<bool, LedgerError> {
    let digest = step.digest(run)?;
    let changed = tx
        .sql
        .prepare_cached(
            "INSERT INTO steps (run_id, idx, name, surface, chat, connector, action, read_only, input, target,
               lane, asked, rule_now, digest, state, approvals_needed, approvers, other_approver, token, expiry_ms,
               allowance_ms, created_at, people)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, 1, ?12, ?13, 'resolved', ?14, ?15, ?16, ?17, ?18,
               ?19, ?20, ?21)
             ON CONFLICT (run_id, idx) DO NOTHING",
        )?
        .execute(rusqlite::params![
            step.id.run.0,
            step.id.index,
            step.name,
            run.surface,
            run.chat,
            step.connector,
            step.action,
            step.read_only,
            step.input.to_string(),
            serde_json::to_string(&step.target)?,
            step.target.concurrency_key(&step.connector, &step.input, &step.id.to_string()),
            step.rule_now,
            digest.as_str(),
            step.terms.needed,
            serde_json::to_string(&step.terms.approvers)?,
            step.terms.other,
            step.token,
            step.expiry_ms,
            step.allowance_ms,
            tx.now,
            serde_json::to_string(&step.terms.people)?,
        ])?;
    if changed == 1 {
        tx.sql.prepare_cached("UPDATE runs SET due = 0 WHERE id = ?1")?.execute([step.id.run.0])?;
        let detail = json!({ "connector": step.connector, "action": step.action });
        let digest = Some(digest.as_str().to_owned());
        audit::append(tx, audit::of_step(step.id, "resolved", audit::host(), digest, detail))?;
    }
    Ok(changed == 1)
}

/// Who may approve what waits, for the steps of one rule version.
pub fn refresh_approvers(tx: &Tx<'_>, rule_version: &str, terms: &Terms) -> Result<(), LedgerError> {
    tx.sql
        .prepare_cached(
            "UPDATE steps SET approvers = ?2, approvals_needed = ?3, other_approver = ?4
             WHERE state = 'waiting' AND (SELECT rule_version FROM runs WHERE id = run_id) = ?1",
        )?
        .execute(rusqlite::params![
            rule_version,
            serde_json::to_string(&terms.approvers)?,
            terms.needed,
            terms.other
        ])?;
    Ok(())
}

/// The waiting steps that were asked about when accounts were other persons' than now.
pub fn waiting_under_other(tx: &Tx<'_>, people: &People) -> Result<Vec<StepId>, LedgerError> {
    let sql = "SELECT run_id, idx FROM steps WHERE state = 'waiting' AND people <> ?1 ORDER BY run_id, idx";
    let mut statement = tx.sql.prepare_cached(sql)?;
    let rows = statement.query_map([serde_json::to_string(people)?], id_of)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The rule versions that waiting steps came from, with their names and definitions.
pub fn waiting_versions(tx: &Tx<'_>) -> Result<Vec<(String, String, String)>, LedgerError> {
    let mut statement = tx.sql.prepare_cached(
        "SELECT version, name, definition FROM rule_versions WHERE version IN (
           SELECT rule_version FROM runs JOIN steps ON steps.run_id = runs.id WHERE steps.state = 'waiting')",
    )?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

const SELECT: &str = "SELECT steps.*, runs.rule, runs.rule_version, runs.requester
    FROM steps JOIN runs ON runs.id = steps.run_id ";

/// One step.
pub fn get(tx: &Tx<'_>, id: StepId) -> Result<Option<StepRow>, LedgerError> {
    Ok(select(tx, "WHERE run_id = ?1 AND idx = ?2", rusqlite::params![id.run.0, id.index])?.pop())
}

/// The step of the card with this token.
pub fn by_token(tx: &Tx<'_>, token: &str) -> Result<Option<StepRow>, LedgerError> {
    Ok(select(tx, "WHERE token = ?1", [token])?.pop())
}

/// The steps of a run, in order.
pub fn of_run(tx: &Tx<'_>, run: RunId) -> Result<Vec<StepRow>, LedgerError> {
    select(tx, "WHERE run_id = ?1 ORDER BY idx", [run.0])
}

/// Every step, given to `each`.
pub fn for_each(
    tx: &Tx<'_>,
    mut each: impl FnMut(StepRow) -> Result<(), LedgerError>,
) -> Result<(), LedgerError> {
    let mut statement = tx.sql.prepare_cached(&format!("{SELECT}ORDER BY run_id, idx"))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        each(read(row)?)?;
    }
    Ok(())
}

/// Steps in one of the live states, in the order they were decided or made.
pub fn in_state(tx: &Tx<'_>, state: StepState, limit: u32) -> Result<Vec<StepRow>, LedgerError> {
    let tail = format!(
        "WHERE steps.state = '{}' ORDER BY coalesce(decided_at, steps.created_at), run_id, idx LIMIT ?1",
        state.as_str()
    );
    select(tx, &tail, [limit])
}

/// The steps that an event fired and that wait for a decision, oldest first.
pub fn waiting_of_event(tx: &Tx<'_>, event: i64, limit: u32) -> Result<Vec<StepRow>, LedgerError> {
    let tail = "WHERE steps.state = 'waiting' AND runs.event_id = ?1
                ORDER BY steps.created_at, run_id, idx LIMIT ?2";
    select(tx, tail, rusqlite::params![event, limit])
}

/// The steps of a run that are going to do something by themselves.
pub fn live_of_run(tx: &Tx<'_>, run: RunId) -> Result<Vec<StepId>, LedgerError> {
    let sql = "SELECT run_id, idx FROM steps WHERE run_id = ?1 AND state IN ('resolved', 'waiting', 'approved', 'dispatched')
         ORDER BY idx";
    let mut statement = tx.sql.prepare_cached(sql)?;
    let rows = statement.query_map([run.0], id_of)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The ids of the steps in one state.
pub fn ids_in_state(tx: &Tx<'_>, state: StepState) -> Result<Vec<StepId>, LedgerError> {
    let sql =
        format!("SELECT run_id, idx FROM steps WHERE state = '{}' ORDER BY run_id, idx", state.as_str());
    let mut statement = tx.sql.prepare_cached(&sql)?;
    let rows = statement.query_map([], id_of)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// When the next waiting step expires.
pub fn next_expiry(tx: &Tx<'_>) -> Result<Option<Millis>, LedgerError> {
    Ok(tx.sql.query_row("SELECT min(expires_at) FROM steps WHERE state = 'waiting'", [], |row| row.get(0))?)
}

/// When the next step that only waits is over; at once for one that is to be stopped.
pub fn next_wake(tx: &Tx<'_>) -> Result<Option<Millis>, LedgerError> {
    let sql = "SELECT min(iif(cancel_by IS NULL, wake_at, 0)) FROM steps
               WHERE state = 'dispatched' AND wake_at IS NOT NULL";
    Ok(tx.sql.prepare_cached(sql)?.query_row([], |row| row.get(0))?)
}

/// The last step of a chat that ended with a session one can go on in.
pub fn last_session(tx: &Tx<'_>, surface: &str, chat: &str) -> Result<Option<StepRow>, LedgerError> {
    let tail = "WHERE steps.surface = ?1 AND steps.chat = ?2 AND session_id IS NOT NULL AND steps.ended_at IS NOT NULL
        ORDER BY steps.ended_at DESC, run_id DESC, idx DESC LIMIT 1";
    Ok(select(tx, tail, [surface, chat])?.pop())
}

/// The steps of a chat that wait or run, oldest first.
pub fn live_in(tx: &Tx<'_>, surface: &str, chat: &str, limit: u32) -> Result<Vec<StepRow>, LedgerError> {
    let sql = "SELECT run_id, idx FROM steps
         WHERE state IN ('waiting', 'approved', 'dispatched') AND (surface = ?1 AND chat = ?2
           OR run_id IN (SELECT run_id FROM followers WHERE followers.surface = ?1 AND followers.chat = ?2))
         ORDER BY run_id, idx LIMIT ?3";
    readable(tx, sql, rusqlite::params![surface, chat, limit])
}

/// The last steps of a chat that ended with a session, newest first.
pub fn sessions_in(tx: &Tx<'_>, surface: &str, chat: &str, limit: u32) -> Result<Vec<StepRow>, LedgerError> {
    let sql = "SELECT run_id, idx FROM steps
         WHERE session_id IS NOT NULL AND ended_at IS NOT NULL AND surface = ?1 AND chat = ?2
         ORDER BY ended_at DESC LIMIT ?3";
    readable(tx, sql, rusqlite::params![surface, chat, limit])
}

/// The rows whose ids `sql` selects. One that cannot be read hides no other, and keeps none from being stopped.
fn readable(tx: &Tx<'_>, sql: &str, params: impl rusqlite::Params) -> Result<Vec<StepRow>, LedgerError> {
    let mut statement = tx.sql.prepare_cached(sql)?;
    let ids: Vec<StepId> = statement.query_map(params, id_of)?.collect::<Result<_, _>>()?;
    let mut rows = Vec::new();
    for id in ids {
        match get(tx, id) {
            Err(LedgerError::Content(reason)) => {
                tracing::error!(step = %id, reason, "a step's row cannot be read");
            }
            row => rows.extend(row?),
        }
    }
    Ok(rows)
}

/// A step of a connector that may have changed something.
#[derive(Debug, Clone, PartialEq)]
pub struct Worked {
    /// Its rule.
    pub rule: String,
    /// What it touches.
    pub target: Target,
    /// When it ended; `None` while it runs.
    pub ended_at: Option<Millis>,
}

/// The steps that run, or ended since then, and declare no more than that they may change something. The host's own
/// are not among them.
pub fn worked_since(tx: &Tx<'_>, since: Millis) -> Result<Vec<Worked>, LedgerError> {
    let mut statement = tx.sql.prepare_cached(
        "SELECT runs.rule, target, steps.ended_at FROM steps JOIN runs ON runs.id = run_id
         WHERE dispatched_at IS NOT NULL AND read_only = 0 AND connector <> ?1
           AND (steps.state = 'dispatched' OR steps.ended_at >= ?2)",
    )?;
    let read = |row: &rusqlite::Row<'_>| {
        Ok(Worked {
            rule: row.get("rule")?,
            target: json_column(row, "target")?,
            ended_at: row.get("ended_at")?,
        })
    };
    let rows = statement.query_map(rusqlite::params![HOST, since], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The running steps that somebody asked to stop.
pub fn to_cancel(tx: &Tx<'_>) -> Result<Vec<StepId>, LedgerError> {
    let mut statement = tx.sql.prepare_cached(
        "SELECT run_id, idx FROM steps WHERE state = 'dispatched' AND cancel_by IS NOT NULL",
    )?;
    let rows = statement.query_map([], id_of)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// How many steps are in one state.
pub fn count(tx: &Tx<'_>, state: StepState) -> Result<u32, LedgerError> {
    let sql = "SELECT count(*) FROM steps WHERE state = ?1";
    Ok(tx.sql.prepare_cached(sql)?.query_row([state.as_str()], |row| row.get(0))?)
}

/// How many cards wait: in this chat, and in all.
pub fn waiting(tx: &Tx<'_>, surface: &str, chat: &str) -> Result<(u32, u32), LedgerError> {
    let here = "SELECT count(*) FROM steps WHERE state = 'waiting' AND (surface = ?1 AND chat = ?2
         OR run_id IN (SELECT run_id FROM followers WHERE followers.surface = ?1 AND followers.chat = ?2))";
    let here = tx.sql.prepare_cached(here)?.query_row([surface, chat], |row| row.get(0))?;
    let all = "SELECT count(*) FROM steps WHERE state = 'waiting'";
    Ok((here, tx.sql.prepare_cached(all)?.query_row([], |row| row.get(0))?))
}

/// The steps of one chat that wait for a decision.
pub fn waiting_in(tx: &Tx<'_>, surface: &str, chat: &str) -> Result<Vec<StepId>, LedgerError> {
    let sql = "SELECT run_id, idx FROM steps WHERE state = 'waiting' AND surface = ?1 AND chat = ?2
         ORDER BY run_id, idx";
    let mut statement = tx.sql.prepare_cached(sql)?;
    let rows = statement.query_map([surface, chat], id_of)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// A card that asks the very same already.
pub fn waiting_same(tx: &Tx<'_>, digest: &Digest) -> Result<Option<StepRow>, LedgerError> {
    Ok(select(
        tx,
        "WHERE steps.state = 'waiting' AND digest = ?1 ORDER BY run_id, idx LIMIT 1",
        [digest.as_str()],
    )?
    .pop())
}

/// The first approved step of each lane in which nothing runs, longest approved first.
pub fn next_in_lanes(tx: &Tx<'_>, limit: u32) -> Result<Vec<StepId>, LedgerError> {
    let mut statement = tx.sql.prepare_cached(
        "SELECT run_id, idx FROM (
           SELECT run_id, idx, decided_at, lane,
             row_number() OVER (PARTITION BY lane ORDER BY decided_at, run_id, idx) AS place
           FROM steps WHERE state = 'approved')
         WHERE place = 1 AND lane NOT IN (SELECT lane FROM steps WHERE state = 'dispatched')
         ORDER BY decided_at, run_id, idx LIMIT ?1",
    )?;
    let rows = statement.query_map([limit], id_of)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// An approved step's place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Queued {
    /// The step.
    pub step: StepId,
    /// How many are before it in its lane, those that run included.
    pub ahead: u32,
}

/// The places of approved steps, longest approved first.
pub fn queued(tx: &Tx<'_>, limit: u32) -> Result<Vec<Queued>, LedgerError> {
    places(tx, "1 = 1 OR ?1 IS NULL", rusqlite::types::Null, limit)
}

/// The places of the approved steps of one run.
pub fn queued_of_run(tx: &Tx<'_>, run: RunId) -> Result<Vec<Queued>, LedgerError> {
    places(tx, "run_id = ?1", run.0, u32::MAX)
}

/// The steps that an approved one waits for, those that run first.
pub fn before(tx: &Tx<'_>, step: StepId) -> Result<Vec<StepId>, LedgerError> {
    let sql = "SELECT before.run_id, before.idx FROM steps AS before, steps AS this
         WHERE this.run_id = ?1 AND this.idx = ?2 AND this.state = 'approved' AND before.lane = this.lane
           AND (before.state = 'dispatched' OR before.state = 'approved'
             AND (before.decided_at, before.run_id, before.idx) < (this.decided_at, this.run_id, this.idx))
         ORDER BY before.state = 'approved', before.decided_at, before.run_id, before.idx";
    let mut statement = tx.sql.prepare_cached(sql)?;
    let rows = statement.query_map(rusqlite::params![step.run.0, step.index], id_of)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn places(
    tx: &Tx<'_>,
    which: &str,
    value: impl rusqlite::ToSql,
    limit: u32,
) -> Result<Vec<Queued>, LedgerError> {
    let sql = format!(
        "SELECT run_id, idx,
           (SELECT count(*) FROM steps AS runs WHERE runs.state = 'dispatched' AND runs.lane = steps.lane)
           + (SELECT count(*) FROM steps AS before WHERE before.state = 'approved' AND before.lane = steps.lane
              AND (before.decided_at, before.run_id, before.idx) < (steps.decided_at, steps.run_id, steps.idx))
         FROM steps WHERE state = 'approved' AND ({which}) ORDER BY decided_at, run_id, idx LIMIT ?2"
    );
    let mut statement = tx.sql.prepare_cached(&sql)?;
    let rows = statement.query_map(rusqlite::params![value, limit], |row| {
        Ok(Queued { step: id_of(row)?, ahead: row.get(2)? })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn id_of(row: &rusqlite::Row<'_>) -> rusqlite::Result<StepId> {
    Ok(StepId { run: RunId(row.get(0)?), index: row.get(1)? })
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
        read_only: row.get("read_only")?,
        input: json_column(row, "input")?,
        target: json_column(row, "target")?,
        lane: row.get("lane")?,
        asked: row.get("asked")?,
        rule_now: row.get("rule_now")?,
        digest: Digest::from_stored(row.get("digest")?),
        state,
        reason: row.get("reason")?,
        approvals_needed: row.get("approvals_needed")?,
        approvers: json_column(row, "approvers")?,
        other_approver: row.get("other_approver")?,
        people: json_column(row, "people")?,
        token: row.get("token")?,
        expiry_ms: row.get("expiry_ms")?,
        allowance_ms: row.get("allowance_ms")?,
        created_at: row.get("created_at")?,
        delivered_at: row.get("delivered_at")?,
        expires_at: row.get("expires_at")?,
        decided_at: row.get("decided_at")?,
        decided_by: row.get::<_, Option<String>>("decided_by")?.map(Actor::from_text),
        passed_by: row.get::<_, Option<String>>("passed_by")?.as_deref().and_then(PassedBy::parse),
        allowance: row.get("allowance")?,
        dispatched_at: row.get("dispatched_at")?,
        checkpoint: json_opt(row, "checkpoint")?,
        output: json_opt(row, "output")?,
        consequence: json_opt(row, "consequence")?,
        session_id: row.get("session_id")?,
        ended_at: row.get("ended_at")?,
        wake_at: row.get("wake_at")?,
        rule: row.get("rule")?,
        rule_version: row.get("rule_version")?,
        requester: Actor::from_text(row.get::<_, String>("requester")?),
        surface: row.get("surface")?,
        chat: row.get("chat")?,
    })
}
