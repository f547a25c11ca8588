//! Grants: "allow for this session", said to what an agent asked.
//!
//! A grant is a standing yes to exactly what was shown, to the byte, in the session that asked. Every
//! ask comes to the host, which looks here first: so a grant outlives the host, and what is revoked
//! does not hold for the next ask, also within one turn.

use connector_contract::ask::{AskPart, PermissionAsk, PermissionReply};
use connector_gate::ask::{Answer, Asked, fingerprint};
use connector_gate::clock::Millis;
use connector_gate::ids::{RunId, StepId};
use connector_gate::policy::Actor;
use rusqlite::OptionalExtension as _;
use serde::Serialize;
use serde_json::{Value, json};

use super::asks::AskRow;
use super::{LedgerError, Tx, audit, json as json_column, steps};
use crate::steps::StepRow;

/// The kind of the audit's row about a grant that was given.
const GIVEN: &str = "grant_given";
/// … and of that about one that was taken back.
const REVOKED: &str = "grant_revoked";

/// A standing yes to one thing.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Grant {
    /// What `approvals revoke` takes, after a `g`.
    pub id: i64,
    /// The step whose agent asked.
    pub step: StepId,
    /// The connector instance.
    pub connector: String,
    /// Where its task worked: the target's origin and directory.
    pub place: String,
    /// The session that asked, and the only one it holds in.
    pub session_id: String,
    /// The kind of permission.
    pub permission: String,
    /// Everything that was shown.
    pub parts: Vec<AskPart>,
    /// Who said so.
    pub granted_by: Actor,
    /// Whose account that was, if anybody claimed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub person: Option<String>,
    /// When.
    pub created_at: Millis,
    /// Until when.
    pub expires_at: Millis,
    /// When it was revoked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Millis>,
}

const SELECT: &str = "SELECT grants.*, steps.people FROM grants JOIN steps USING (run_id, idx) ";

/// Keeps what an answer allows for the session, if it does.
pub(super) fn give(tx: &Tx<'_>, row: &AskRow, by: &Actor, answer: &Answer) -> Result<(), LedgerError> {
    let (Asked::Permission(ask), Answer::Permission(PermissionReply::Always)) = (&row.asked, answer) else {
        return Ok(());
    };
    let Some(step) = steps::get(tx, row.step)? else { return Ok(()) };
    let parts = ask.parts();
    let until = tx.now.saturating_add(step.allowance_ms);
    let id: i64 = tx
        .sql
        .prepare_cached(
            "INSERT INTO grants (run_id, idx, connector, place, session_id, permission, parts, granted_by, created_at, expires_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) RETURNING id",
        )?
        .query_row(
            rusqlite::params![
                row.step.run.0,
                row.step.index,
                step.connector,
                place_of(&step),
                ask.session_id,
                ask.permission,
                serde_json::to_string(&parts)?,
                by.as_str(),
                tx.now,
                until,
            ],
            |found| found.get(0),
        )?;
    let shown = fingerprint(&(&step.connector, place_of(&step), &ask.session_id, &ask.permission, &parts));
    let mut detail = json!({ "grant": id, "shown": shown, "until": until });
    if let Some(person) = row.people.name_of(by) {
        detail["person"] = json!(person);
    }
    audit::append(tx, audit::of_step(row.step, GIVEN, by.clone(), None, detail))
}

/// Says yes to an ask by a grant, if one of somebody who may answer it holds, and records that.
pub fn use_for(
    tx: &Tx<'_>,
    step: StepId,
    ask: &PermissionAsk,
    may: &[Actor],
) -> Result<Option<i64>, LedgerError> {
    let sql = format!(
        "{SELECT}WHERE grants.session_id = ?1 AND permission = ?2 AND parts = ?3 AND revoked_at IS NULL
           AND grants.expires_at > ?4 AND grants.connector = ?5 AND place = ?6 ORDER BY id DESC"
    );
    let Some(row) = steps::get(tx, step)? else { return Ok(None) };
    let parts = serde_json::to_string(&ask.parts())?;
    let mut statement = tx.sql.prepare_cached(&sql)?;
    let params =
        rusqlite::params![ask.session_id, ask.permission, parts, tx.now, row.connector, place_of(&row)];
    let found: Vec<Grant> = statement.query_map(params, read)?.collect::<Result<_, _>>()?;
    for grant in found {
        if may.contains(&grant.granted_by) && is_recorded(tx, &grant)? {
            let detail = json!({ "ask": Asked::Permission(ask.clone()).record(), "grant": grant.id });
            audit::append(tx, audit::of_step(step, "ask_granted", audit::host(), None, detail))?;
            return Ok(Some(grant.id));
        }
    }
    Ok(None)
}

/// A row that somebody slipped in or changed does not have its entry in the audit.
fn is_recorded(tx: &Tx<'_>, grant: &Grant) -> Result<bool, LedgerError> {
    let Some(row) = audit::of_step_about(tx, grant.step, GIVEN, "grant", grant.id)? else { return Ok(false) };
    if audit::of_step_about(tx, grant.step, REVOKED, "grant", grant.id)?.is_some() {
        return Ok(false);
    }
    let Grant { connector, place, session_id, permission, parts, .. } = grant;
    let shown = fingerprint(&(connector, place, session_id, permission, parts));
    let told = |name: &str| row.entry.detail.get(name).cloned().unwrap_or(Value::Null);
    Ok(row.entry.actor == grant.granted_by
        && told("shown") == json!(shown)
        && told("until") == json!(grant.expires_at)
        && audit::follows(tx, &row)?)
}

/// Where a step's task works: a session of the same name elsewhere is another.
fn place_of(step: &StepRow) -> String {
    let directory = step.target.settings.get("directory").unwrap_or(&Value::Null);
    json!([step.target.origin, directory]).to_string()
}

/// One grant.
pub fn get(tx: &Tx<'_>, id: i64) -> Result<Option<Grant>, LedgerError> {
    let sql = format!("{SELECT}WHERE id = ?1");
    Ok(tx.sql.prepare_cached(&sql)?.query_row([id], read).optional()?)
}

/// The grants that hold, oldest first. One that cannot be read is left out, and the log says so.
pub fn open(tx: &Tx<'_>) -> Result<Vec<Grant>, LedgerError> {
    let sql = format!("{SELECT}WHERE revoked_at IS NULL AND grants.expires_at > ?1 ORDER BY id");
    let mut statement = tx.sql.prepare_cached(&sql)?;
    let rows = statement.query_map([tx.now], read)?;
    let unread = |error: &rusqlite::Error| tracing::warn!(%error, "a grant cannot be read");
    Ok(rows.filter_map(|row| row.inspect_err(unread).ok()).collect())
}

/// Revokes a grant; `false` if it does not hold anyway.
pub fn revoke(tx: &Tx<'_>, id: i64, by: &Actor) -> Result<bool, LedgerError> {
    // What it reached is let go of: the audit has its digest.
    let sql = "UPDATE grants SET revoked_at = ?2, revoked_by = ?3, parts = '[]'
         WHERE id = ?1 AND revoked_at IS NULL AND expires_at > ?2 RETURNING run_id, idx";
    let step = tx
        .sql
        .prepare_cached(sql)?
        .query_row(rusqlite::params![id, tx.now, by.as_str()], |row| {
            Ok(StepId { run: RunId(row.get(0)?), index: row.get(1)? })
        })
        .optional()?;
    if let Some(step) = step {
        audit::append(tx, audit::of_step(step, REVOKED, by.clone(), None, json!({ "grant": id })))?;
    }
    Ok(step.is_some())
}

fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Grant> {
    let granted_by = Actor::from_text(row.get::<_, String>("granted_by")?);
    let people: connector_gate::people::People = json_column(row, "people")?;
    Ok(Grant {
        id: row.get("id")?,
        step: StepId { run: RunId(row.get("run_id")?), index: row.get("idx")? },
        connector: row.get("connector")?,
        place: row.get("place")?,
        session_id: row.get("session_id")?,
        permission: row.get("permission")?,
        parts: json_column(row, "parts")?,
        person: people.name_of(&granted_by).map(str::to_owned),
        granted_by,
        created_at: row.get("created_at")?,
        expires_at: row.get("expires_at")?,
        revoked_at: row.get("revoked_at")?,
    })
}
