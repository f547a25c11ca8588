//! Asks: what agents want to know, as rows that anybody who may can see and answer.
//!
//! A row is open while its agent waits. An answer closes it, once, whichever process gives it: the
//! host whose call it is about notices by its usual pass. Asked again under the same key after a
//! restart, an ask is the same row, and one that was answered meanwhile stays answered.

use connector_contract::ask::PermissionReply;
use connector_gate::ask::{Answer, Answered, Asked};
use connector_gate::clock::Millis;
use connector_gate::ids::{RunId, StepId};
use connector_gate::people::People;
use connector_gate::policy::Actor;
use connector_gate::state::StepState;
use rusqlite::OptionalExtension as _;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::{LedgerError, Tx, audit, grants, json as json_column, json_opt, steps};
use crate::shapes;

/// Where an ask is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AskState {
    /// Its agent waits.
    Open,
    /// Somebody answered it.
    Answered,
    /// Its agent no longer waits.
    Withdrawn,
    /// No surface could show it.
    Unshown,
}

/// An ask.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct AskRow {
    /// What `approvals answer` takes.
    pub id: i64,
    /// The step whose agent asks.
    pub step: StepId,
    /// What it asks.
    #[schemars(with = "shapes::Asked")]
    pub asked: Asked,
    /// The digest of all that is shown of it.
    pub shown: String,
    /// Who may answer.
    pub approvers: Vec<Actor>,
    /// Whose accounts there are.
    #[serde(skip_serializing_if = "People::is_empty")]
    pub people: People,
    /// Where it is.
    pub state: AskState,
    /// How often it was asked.
    pub times: u32,
    /// What was answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<shapes::Answer>")]
    pub answer: Option<Answer>,
    /// By whom.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answered_by: Option<Actor>,
    /// When it was asked.
    pub created_at: Millis,
    /// When it was over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed_at: Option<Millis>,
    /// When the agent was told its answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heard_at: Option<Millis>,
}

impl AskState {
    const ALL: [Self; 4] = [Self::Open, Self::Answered, Self::Withdrawn, Self::Unshown];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Answered => "answered",
            Self::Withdrawn => "withdrawn",
            Self::Unshown => "unshown",
        }
    }
}

const SELECT: &str = "SELECT asks.*, steps.people FROM asks JOIN steps USING (run_id, idx) ";

/// The most that one step's agent may ask: more is no conversation any more.
const MOST: i64 = 1_000;

/// What came of asking.
#[derive(Debug, Clone, PartialEq)]
pub enum Put {
    /// It is asked: a row.
    Asked(Box<AskRow>),
    /// It was answered by one who may, and its agent has not heard of it yet.
    Answered(i64, Answer, Actor),
    /// Nobody is asked, because of this.
    Refused(&'static str),
}

/// Writes down that a step's agent asks. The same asked again under the same key is the same row; one
/// that was answered before its agent heard of it keeps its answer, if who gave it still may.
pub fn put(tx: &Tx<'_>, step: StepId, asked: &Asked, approvers: &[Actor]) -> Result<Put, LedgerError> {
    if steps::get(tx, step)?.is_none_or(|row| row.state != StepState::Dispatched) {
        return Ok(Put::Refused("the task has ended"));
    }
    let (key, shown) = (asked.id(), asked.shown());
    let known = "SELECT id FROM asks WHERE run_id = ?1 AND idx = ?2 AND key = ?3 AND shown = ?4";
    let params = rusqlite::params![step.run.0, step.index, key, shown];
    let known: Option<i64> = tx.sql.prepare_cached(known)?.query_row(params, |row| row.get(0)).optional()?;
    // A yes for the session is a grant, which has said so already if it still holds.
    let holds = |answer: &Answer| *answer != Answer::Permission(PermissionReply::Always);
    if let Some(id) = known
        && let Some((answer, by)) = answered(tx, id, approvers)?.filter(|(answer, _)| holds(answer))
    {
        return Ok(Put::Answered(id, answer, by));
    }
    if known.is_none() {
        let many = "SELECT count(*) FROM asks WHERE run_id = ?1 AND idx = ?2";
        let many: i64 = tx.sql.query_row(many, [step.run.0, step.index.into()], |row| row.get(0))?;
        if many >= MOST {
            return Ok(Put::Refused("the task has asked too much already"));
        }
    }
    // Under the same key, something else was asked before: nobody waits for that.
    let others = "SELECT id, times FROM asks
         WHERE run_id = ?1 AND idx = ?2 AND key = ?3 AND shown <> ?4 AND state = 'open'";
    let mut others = tx.sql.prepare_cached(others)?;
    let params = rusqlite::params![step.run.0, step.index, key, shown];
    let others: Vec<(i64, u32)> =
        others.query_map(params, |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
    for other in others {
        close(tx, other, AskState::Withdrawn, None)?;
    }
    let id: i64 = tx
        .sql
        .prepare_cached(
            "INSERT INTO asks (run_id, idx, key, shown, asked, approvers, state, created_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'open', ?7)
             ON CONFLICT (run_id, idx, key, shown) DO UPDATE SET asked = excluded.asked,
               approvers = excluded.approvers, times = times + 1, state = 'open', answer = NULL,
               answered_by = NULL, created_at = excluded.created_at, closed_at = NULL, heard_at = NULL
             RETURNING id",
        )?
        .query_row(
            rusqlite::params![
                step.run.0,
                step.index,
                key,
                shown,
                serde_json::to_string(asked)?,
                serde_json::to_string(approvers)?,
                tx.now,
            ],
            |row| row.get(0),
        )?;
    let row = get(tx, id)?.ok_or_else(|| LedgerError::Content(format!("ask {id} is gone")))?;
    let detail = json!({ "ask": asked.record(), "number": id, "times": row.times, "approvers": approvers });
    audit::append(tx, audit::of_step(step, audit::ASKED, audit::host(), None, detail))?;
    Ok(Put::Asked(Box::new(row)))
}

/// The answer to an ask that its agent has not heard of, and who gave it: if that is one of `approvers`,
/// and the audit tells of it. A row alone is believed by nobody.
pub fn answered(tx: &Tx<'_>, id: i64, approvers: &[Actor]) -> Result<Option<(Answer, Actor)>, LedgerError> {
    let Some(row) = get(tx, id)?.filter(|row| row.state == AskState::Answered && row.heard_at.is_none())
    else {
        return Ok(None);
    };
    let Some((answer, by)) = row.answer.clone().zip(row.answered_by.clone()) else { return Ok(None) };
    let Some(told) = audit::of_step_about(tx, row.step, audit::ANSWERED, "number", id)? else {
        return Ok(None);
    };
    let asked = audit::of_step_about(tx, row.step, audit::ASKED, "number", id)?;
    let detail = &told.entry.detail;
    let proven = asked.is_some_and(|asked| asked.seq < told.seq)
        && told.entry.actor == by
        && detail["times"] == json!(row.times)
        && detail["answer"] == json!(answer)
        && detail["ask"]["shown"] == json!(row.shown)
        && audit::follows(tx, &told)?;
    Ok((proven && approvers.contains(&by)).then_some((answer, by)))
}

/// Whether a row is what the host asked, of whom it asked it.
fn is_recorded(tx: &Tx<'_>, row: &AskRow) -> Result<bool, LedgerError> {
    let Some(told) = audit::of_step_about(tx, row.step, audit::ASKED, "number", row.id)? else {
        return Ok(false);
    };
    let detail = &told.entry.detail;
    Ok(row.asked.shown() == row.shown
        && detail["ask"]["shown"] == json!(row.shown)
        && detail["times"] == json!(row.times)
        && detail["approvers"] == json!(row.approvers)
        && audit::follows(tx, &told)?)
}

/// The agent has its answer: asked the same again, it is another time that somebody is asked.
pub fn heard(tx: &Tx<'_>, id: i64) -> Result<(), LedgerError> {
    let sql = "UPDATE asks SET heard_at = ?2 WHERE id = ?1 AND state = 'answered'";
    tx.sql.prepare_cached(sql)?.execute(rusqlite::params![id, tx.now])?;
    Ok(())
}

/// Answers an ask, once.
pub fn answer(tx: &Tx<'_>, id: i64, by: &Actor, answer: &Answer) -> Result<Answered, LedgerError> {
    let Some(row) = get(tx, id)?.filter(|row| row.state == AskState::Open) else {
        return Ok(Answered::NotOpen);
    };
    if !is_recorded(tx, &row)? {
        let text = format!("ask {id} is not what the agent asked: its row was changed beside the host");
        return Err(LedgerError::Content(text));
    }
    if !row.approvers.contains(by) {
        return Ok(Answered::NotAllowed);
    }
    if let Err(problem) = row.asked.fits(answer) {
        return Ok(Answered::DoesNotFit(problem));
    }
    let changed = tx
        .sql
        .prepare_cached(
            "UPDATE asks SET state = 'answered', answer = ?2, answered_by = ?3, closed_at = ?4
             WHERE id = ?1 AND state = 'open'",
        )?
        .execute(rusqlite::params![id, serde_json::to_string(answer)?, by.as_str(), tx.now])?;
    if changed == 0 {
        return Ok(Answered::NotOpen);
    }
    let mut detail = json!({ "ask": row.asked.record(), "number": id, "times": row.times, "answer": answer });
    if let Some(person) = row.people.name_of(by) {
        detail["person"] = json!(person);
    }
    audit::append(tx, audit::of_step(row.step, audit::ANSWERED, by.clone(), None, detail))?;
    grants::give(tx, &row, by, answer)?;
    Ok(Answered::PassedOn)
}

/// Closes an open ask without an answer, for a reason where there is one; `false` if it is not open,
/// or was asked again since it was asked for the `times`th time.
pub fn close(
    tx: &Tx<'_>,
    (id, times): (i64, u32),
    into: AskState,
    reason: Option<&str>,
) -> Result<bool, LedgerError> {
    let open = get(tx, id)?.filter(|row| row.state == AskState::Open && row.times == times);
    let Some(row) = open else { return Ok(false) };
    tx.sql
        .prepare_cached("UPDATE asks SET state = ?2, closed_at = ?3 WHERE id = ?1 AND state = 'open'")?
        .execute(rusqlite::params![id, into.as_str(), tx.now])?;
    let kind = if into == AskState::Unshown { audit::UNSHOWN } else { audit::WITHDRAWN };
    let mut detail = json!({ "ask": row.asked.record(), "number": id });
    if let Some(reason) = reason {
        detail["reason"] = json!(reason);
    }
    audit::append(tx, audit::of_step(row.step, kind, audit::host(), None, detail))?;
    Ok(true)
}

/// Nothing of the step runs any more: nobody waits for an answer, and what its agent quoted is let go
/// of. A row that cannot be read holds no step up.
pub(super) fn close_of_step(tx: &Tx<'_>, step: StepId) -> Result<(), LedgerError> {
    withdraw(tx, step)?;
    tx.sql
        .prepare_cached(
            "UPDATE asks SET asked = json_remove(asked, '$.metadata', '$.call')
             WHERE run_id = ?1 AND idx = ?2 AND json_valid(asked)",
        )?
        .execute([step.run.0, step.index.into()])?;
    Ok(())
}

/// Nobody waits any more for an answer to what the step's agent asked so far.
pub fn withdraw(tx: &Tx<'_>, step: StepId) -> Result<(), LedgerError> {
    let left: Vec<(i64, String)> = tx
        .sql
        .prepare_cached(
            "UPDATE asks SET state = 'withdrawn', closed_at = ?3
             WHERE run_id = ?1 AND idx = ?2 AND state = 'open' RETURNING id, key",
        )?
        .query_map(rusqlite::params![step.run.0, step.index, tx.now], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    for (id, key) in left {
        let detail = json!({ "ask": { "id": key }, "number": id });
        audit::append(tx, audit::of_step(step, audit::WITHDRAWN, audit::host(), None, detail))?;
    }
    Ok(())
}

/// One ask.
pub fn get(tx: &Tx<'_>, id: i64) -> Result<Option<AskRow>, LedgerError> {
    let sql = format!("{SELECT}WHERE asks.id = ?1");
    Ok(tx.sql.prepare_cached(&sql)?.query_row([id], read).optional()?)
}

/// What the agents of a run asked, oldest first.
pub fn of_run(tx: &Tx<'_>, run: RunId) -> Result<Vec<AskRow>, LedgerError> {
    let sql = format!("{SELECT}WHERE run_id = ?1 ORDER BY asks.id");
    let mut statement = tx.sql.prepare_cached(&sql)?;
    let rows = statement.query_map([run.0], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// What a step's agent asked last under this key.
pub fn of_key(tx: &Tx<'_>, step: StepId, key: &str) -> Result<Option<AskRow>, LedgerError> {
    let sql = format!("{SELECT}WHERE run_id = ?1 AND idx = ?2 AND key = ?3 ORDER BY asks.id DESC LIMIT 1");
    let params = rusqlite::params![step.run.0, step.index, key];
    Ok(tx.sql.prepare_cached(&sql)?.query_row(params, read).optional()?)
}

/// The open asks, oldest first. One that cannot be read is left out, and the log says so.
pub fn open(tx: &Tx<'_>) -> Result<Vec<AskRow>, LedgerError> {
    let sql = format!("{SELECT}WHERE asks.state = 'open' ORDER BY asks.id");
    let mut statement = tx.sql.prepare_cached(&sql)?;
    let rows = statement.query_map([], read)?;
    let unread = |error: &rusqlite::Error| tracing::warn!(%error, "an open ask cannot be read");
    Ok(rows.filter_map(|row| row.inspect_err(unread).ok()).collect())
}

fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<AskRow> {
    let state: String = row.get("state")?;
    let state = AskState::ALL.into_iter().find(|known| known.as_str() == state);
    Ok(AskRow {
        id: row.get("id")?,
        step: StepId { run: RunId(row.get("run_id")?), index: row.get("idx")? },
        asked: json_column(row, "asked")?,
        shown: row.get("shown")?,
        approvers: json_column(row, "approvers")?,
        people: json_column(row, "people")?,
        times: row.get("times")?,
        state: state.ok_or_else(|| super::bad_column("state", "no ask is like that"))?,
        answer: json_opt(row, "answer")?,
        answered_by: row.get::<_, Option<String>>("answered_by")?.map(Actor::from_text),
        created_at: row.get("created_at")?,
        closed_at: row.get("closed_at")?,
        heard_at: row.get("heard_at")?,
    })
}
