//! "Allow for this session": a standing yes that reaches as far as it says and no further.
//!
//! An allowance comes from a card on which as many approvers as it takes said so. It lets later
//! steps pass that run in the session of that step, by the same rule in the same version, of the
//! same connector with the same target, for the same requester in the same chat, until it expires
//! or somebody revokes it. It is looked at when a step comes to the gate and again at dispatch.

use connector_contract::{Target, facts};
use connector_gate::clock::Millis;
use connector_gate::ids::{RunId, StepId};
use connector_gate::policy::{Actor, Terms};
use rusqlite::OptionalExtension as _;
use serde::Serialize;
use serde_json::{Value, json};

use super::{NewStep, StepRow};
use crate::runs::RunRow;
use crate::{LedgerError, Tx, audit, json as json_column};

/// A standing yes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Allowance {
    /// What `approvals revoke` takes.
    pub id: i64,
    /// The step on whose card it was given.
    pub step: StepId,
    /// The session; none as long as the step has not begun.
    pub session_id: Option<String>,
    /// The connector instance.
    pub connector: String,
    /// What its steps touch.
    pub target: Target,
    /// The rule.
    pub rule: String,
    /// Its version.
    pub rule_version: String,
    /// Whose requests it lets pass.
    pub requester: Actor,
    /// Through which surface.
    pub surface: String,
    /// In which chat.
    pub chat: String,
    /// Who gave it.
    pub allowed_by: Vec<Actor>,
    /// When.
    pub created_at: Millis,
    /// Until when.
    pub expires_at: Millis,
    /// When it was revoked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Millis>,
}

/// What an allowance must fit.
struct Wanted<'a> {
    connector: &'a str,
    input: &'a Value,
    target: &'a Target,
    rule: &'a str,
    rule_version: &'a str,
    rule_now: Option<&'a str>,
    requester: &'a Actor,
    surface: &'a str,
    chat: &'a str,
}

const SELECT: &str = "SELECT allowances.*, steps.session_id FROM allowances
    JOIN steps ON steps.run_id = allowances.run_id AND steps.idx = allowances.idx ";

/// Gives an allowance on the card of `row`, by everybody in `by`.
pub(super) fn give(tx: &Tx<'_>, row: &StepRow, by: &[Actor]) -> Result<i64, LedgerError> {
    let id: i64 = tx
        .sql
        .prepare_cached(
            "INSERT INTO allowances (run_id, idx, connector, target, rule, rule_version, requester, surface, chat,
               allowed_by, created_at, expires_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12) RETURNING id",
        )?
        .query_row(
            rusqlite::params![
                row.id.run.0,
                row.id.index,
                row.connector,
                serde_json::to_string(&row.target)?,
                row.rule,
                row.rule_version,
                row.requester.as_str(),
                row.surface,
                row.chat,
                serde_json::to_string(by)?,
                tx.now,
                tx.now.saturating_add(row.allowance_ms),
            ],
            |found| found.get(0),
        )?;
    let actor = by.last().cloned().unwrap_or_else(audit::host);
    let digest = Some(row.digest.as_str().to_owned());
    let detail = json!({ "allowance": id, "by": by, "until": tx.now.saturating_add(row.allowance_ms) });
    audit::append(tx, audit::of_step(row.id, "allowance_given", actor, digest, detail))?;
    Ok(id)
}

/// The allowance that lets a new step of `run` pass.
pub(super) fn for_new(tx: &Tx<'_>, run: &RunRow, new: &NewStep) -> Result<Option<Allowance>, LedgerError> {
    let wanted = Wanted {
        connector: &new.connector,
        input: &new.input,
        target: &new.target,
        rule: &run.rule,
        rule_version: &run.rule_version,
        rule_now: new.rule_now.as_deref(),
        requester: &run.requester,
        surface: &run.surface,
        chat: &run.chat,
    };
    fitting(tx, &wanted, &new.terms, None)
}

/// Why the allowance that let `row` pass does not do so any more.
pub(super) fn why_not(
    tx: &Tx<'_>,
    row: &StepRow,
    terms: &Terms,
) -> Result<Option<&'static str>, LedgerError> {
    let Some(id) = row.allowance else { return Ok(Some("the row names no allowance")) };
    let wanted = Wanted {
        connector: &row.connector,
        input: &row.input,
        target: &row.target,
        rule: &row.rule,
        rule_version: &row.rule_version,
        rule_now: row.rule_now.as_deref(),
        requester: &row.requester,
        surface: &row.surface,
        chat: &row.chat,
    };
    if fitting(tx, &wanted, terms, Some(id))?.is_some() {
        return Ok(None);
    }
    let revoked = get(tx, id)?.is_some_and(|allowance| allowance.revoked_at.is_some());
    Ok(Some(if revoked { "its allowance was revoked" } else { "its allowance does not hold any more" }))
}

/// The newest allowance that fits and was given by enough people who may still approve.
fn fitting(
    tx: &Tx<'_>,
    wanted: &Wanted<'_>,
    terms: &Terms,
    only: Option<i64>,
) -> Result<Option<Allowance>, LedgerError> {
    let Some(session) = facts::session_of(wanted.input) else { return Ok(None) };
    if wanted.rule_now != Some(wanted.rule_version) {
        return Ok(None);
    }
    let sql = format!(
        "{SELECT} WHERE revoked_at IS NULL AND allowances.expires_at > ?1 AND allowances.rule_version = ?2 AND rule = ?3
           AND requester = ?4 AND allowances.surface = ?5 AND allowances.chat = ?6 AND allowances.connector = ?7
           AND allowances.target = ?8 AND steps.session_id = ?9 AND (?10 IS NULL OR id = ?10) ORDER BY id DESC"
    );
    let mut statement = tx.sql.prepare_cached(&sql)?;
    let target = serde_json::to_string(wanted.target)?;
    let found = statement.query_map(
        rusqlite::params![
            tx.now,
            wanted.rule_version,
            wanted.rule,
            wanted.requester.as_str(),
            wanted.surface,
            wanted.chat,
            wanted.connector,
            target,
            session,
            only,
        ],
        read,
    )?;
    for allowance in found {
        let allowance = allowance?;
        if terms.satisfied_by(&allowance.allowed_by, wanted.requester) && is_recorded(tx, &allowance)? {
            return Ok(Some(allowance));
        }
    }
    Ok(None)
}

/// A row that somebody slipped in has no entry in the audit, and one that was revoked has another.
fn is_recorded(tx: &Tx<'_>, allowance: &Allowance) -> Result<bool, LedgerError> {
    let Some(row) = audit::latest_of_step(tx, allowance.step, &["allowance_given"])? else {
        return Ok(false);
    };
    let revoked = audit::of_step_about(tx, allowance.step, "allowance_revoked", "allowance", allowance.id)?;
    Ok(revoked.is_none()
        && row.entry.detail.get("allowance") == Some(&json!(allowance.id))
        && row.entry.detail.get("until") == Some(&json!(allowance.expires_at))
        && row.entry.detail.get("by") == Some(&json!(allowance.allowed_by))
        && audit::follows(tx, &row)?)
}

/// One allowance.
pub fn get(tx: &Tx<'_>, id: i64) -> Result<Option<Allowance>, LedgerError> {
    let sql = format!("{SELECT} WHERE id = ?1");
    Ok(tx.sql.prepare_cached(&sql)?.query_row([id], read).optional()?)
}

/// The allowances that hold, oldest first.
pub fn open(tx: &Tx<'_>) -> Result<Vec<Allowance>, LedgerError> {
    let sql = format!("{SELECT} WHERE revoked_at IS NULL AND allowances.expires_at > ?1 ORDER BY id");
    let mut statement = tx.sql.prepare_cached(&sql)?;
    let rows = statement.query_map([tx.now], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Revokes an allowance; `false` if it does not hold anyway.
pub fn revoke(tx: &Tx<'_>, id: i64, by: &Actor) -> Result<bool, LedgerError> {
    let step = tx
        .sql
        .prepare_cached(
            "UPDATE allowances SET revoked_at = ?2, revoked_by = ?3
             WHERE id = ?1 AND revoked_at IS NULL AND expires_at > ?2 RETURNING run_id, idx",
        )?
        .query_row(rusqlite::params![id, tx.now, by.as_str()], super::id_of)
        .optional()?;
    if let Some(step) = step {
        let detail = json!({ "allowance": id });
        audit::append(tx, audit::of_step(step, "allowance_revoked", by.clone(), None, detail))?;
    }
    Ok(step.is_some())
}

fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Allowance> {
    Ok(Allowance {
        id: row.get("id")?,
        step: StepId { run: RunId(row.get("run_id")?), index: row.get("idx")? },
        session_id: row.get("session_id")?,
        connector: row.get("connector")?,
        target: json_column(row, "target")?,
        rule: row.get("rule")?,
        rule_version: row.get("rule_version")?,
        requester: Actor::from_text(row.get::<_, String>("requester")?),
        surface: row.get("surface")?,
        chat: row.get("chat")?,
        allowed_by: json_column(row, "allowed_by")?,
        created_at: row.get("created_at")?,
        expires_at: row.get("expires_at")?,
        revoked_at: row.get("revoked_at")?,
    })
}
