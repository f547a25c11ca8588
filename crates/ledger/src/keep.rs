//! Keeping a ledger: checking it, copying it, and letting go of what is old.
//!
//! All of it works while the host runs. Nothing here repairs: what is wrong is named, and a person
//! decides.

use std::fs::OpenOptions;
use std::path::Path;
use std::time::Duration;

use connector_gate::clock::Millis;
use connector_gate::state::Move;
use rusqlite::Connection;
use rusqlite::backup::Backup;
use serde::Serialize;

use super::audit::{self, Verdict};
use super::steps::{self, StepRow};
use super::{Ledger, LedgerError, Tx};

/// How many pages of a backup are copied before writers get their turn.
const PAGES: i32 = 256;

/// What [`check`] found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Findings {
    /// How many steps were looked at.
    pub steps: u64,
    /// How many rows of the audit were looked at.
    pub audit_rows: i64,
    /// What is wrong, in words. Nothing is better.
    pub problems: Vec<String>,
}

/// What [`prune`] let go of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Pruned {
    /// Runs, with their steps and votes.
    pub runs: usize,
    /// Events that no kept run came from.
    pub events: usize,
    /// Rows of the audit.
    pub audit_rows: usize,
}

/// Looks for damage of the file, broken links of the audit, and rows that do not agree with it.
pub fn check(tx: &Tx<'_>) -> Result<Findings, LedgerError> {
    let mut problems = damage(tx)?;
    let audit_rows = match audit::verify(tx)? {
        Verdict::Intact { rows, .. } => rows,
        Verdict::Broken { seq, reason } => {
            problems.push(format!("audit row {seq}: {reason}"));
            seq
        }
    };
    let mut steps = 0;
    steps::for_each(tx, |row| {
        steps += 1;
        problems.extend(disagreement(tx, &row)?);
        Ok(())
    })?;
    Ok(Findings { steps, audit_rows, problems })
}

fn damage(tx: &Tx<'_>) -> Result<Vec<String>, LedgerError> {
    let mut statement = tx.sql.prepare("PRAGMA integrity_check(20)")?;
    let found = statement.query_map([], |row| row.get::<_, String>(0))?;
    let mut problems: Vec<String> = found.collect::<Result<_, _>>()?;
    problems.retain(|line| line != "ok");
    let mut statement = tx.sql.prepare("PRAGMA foreign_key_check")?;
    let dangling = statement.query_map([], |row| row.get::<_, String>(0))?;
    for table in dangling {
        problems.push(format!("a row of `{}` refers to one that is gone", table?));
    }
    Ok(problems)
}

/// What the row says against its own digest, or against the last the audit tells of it.
fn disagreement(tx: &Tx<'_>, row: &StepRow) -> Result<Vec<String>, LedgerError> {
    let mut problems = Vec::new();
    if row.own_digest()? != row.digest {
        problems.push(format!("step {}: its content does not have its digest", row.id));
    }
    let kinds: Vec<&str> = Move::ALL.iter().map(|made| made.as_str()).collect();
    // Rows of the audit that were pruned tell of runs that have ended, which are kept no longer.
    if let Some(last) = audit::latest_of_step(tx, row.id, &kinds)? {
        let made = Move::ALL.into_iter().find(|made| made.as_str() == last.entry.kind);
        if made.is_some_and(|made| made.target() != row.state) {
            let (state, kind) = (row.state, last.entry.kind);
            problems.push(format!("step {}: it is {state}, and the audit's last word is {kind}", row.id));
        } else if last.entry.digest.as_deref() != Some(row.digest.as_str()) && row.state.is_live() {
            problems.push(format!("step {}: its digest is not the one the audit tells of", row.id));
        }
    }
    Ok(problems)
}

impl Ledger {
    /// Copies the ledger as it is at one moment into the new file `to`.
    pub fn backup(&self, to: &Path) -> Result<(), LedgerError> {
        let cannot = |source: Box<dyn std::error::Error + Send + Sync>| LedgerError::Open {
            path: to.to_owned(),
            source,
        };
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(to).map_err(|error| cannot(Box::new(error)))?;
        let mut copy = Connection::open(to).map_err(|error| cannot(Box::new(error)))?;
        let source = self.0.writer.connection();
        Backup::new(&source, &mut copy)?.run_to_completion(PAGES, Duration::from_millis(1), None)?;
        Ok(())
    }
}

/// Lets go of at most `limit` runs that ended before `before`, of events without runs from before
/// then, and of the audit up to the first row that is newer or still needed.
pub fn prune(tx: &Tx<'_>, before: Millis, limit: u32) -> Result<Pruned, LedgerError> {
    tx.sql.pragma_update(None, "defer_foreign_keys", true)?;
    tx.sql.execute_batch(
        "CREATE TEMP TABLE IF NOT EXISTS leaving (id INTEGER PRIMARY KEY); DELETE FROM leaving",
    )?;
    let runs = tx.sql.execute(
        "INSERT INTO leaving SELECT id FROM runs WHERE ended_at < ?1
           AND NOT EXISTS (SELECT 1 FROM outbox WHERE outbox.run_id = runs.id AND delivered_at IS NULL)
           AND NOT EXISTS (SELECT 1 FROM allowances WHERE allowances.run_id = runs.id AND (
             (revoked_at IS NULL AND expires_at > ?2)
             OR EXISTS (SELECT 1 FROM steps WHERE steps.allowance = allowances.id AND steps.run_id <> runs.id)))
           AND NOT EXISTS (SELECT 1 FROM grants WHERE grants.run_id = runs.id AND revoked_at IS NULL AND expires_at > ?2)
         ORDER BY id LIMIT ?3",
        rusqlite::params![before, tx.now, limit],
    )?;
    for table in ["messages", "outbox", "approvals", "allowances", "asks", "grants", "steps", "followers"] {
        tx.sql.execute(&format!("DELETE FROM {table} WHERE run_id IN (SELECT id FROM leaving)"), [])?;
    }
    tx.sql.execute("DELETE FROM runs WHERE id IN (SELECT id FROM leaving)", [])?;
    let events = tx.sql.execute(
        "DELETE FROM events WHERE handled_at < ?1 AND NOT EXISTS (SELECT 1 FROM runs WHERE event_id = events.id)",
        [before],
    )?;
    tx.sql.execute(
        "DELETE FROM rule_versions WHERE NOT EXISTS (SELECT 1 FROM runs WHERE rule_version = version)",
        [],
    )?;
    let audit_rows = if runs < limit as usize { prune_audit(tx, before)? } else { 0 };
    Ok(Pruned { runs, events, audit_rows })
}

/// The audit is cut before the first row that is newer, or about a run that is kept.
fn prune_audit(tx: &Tx<'_>, before: Millis) -> Result<usize, LedgerError> {
    let through: Option<i64> = tx.sql.query_row(
        "SELECT min(
           coalesce((SELECT min(seq) - 1 FROM audit WHERE at >= ?1), (SELECT max(seq) FROM audit)),
           coalesce((SELECT min(seq) - 1 FROM audit WHERE run_id IN (SELECT id FROM runs)), 9223372036854775807))",
        [before],
        |row| row.get(0),
    )?;
    match through {
        Some(through) if through > 0 => audit::prune(tx, through),
        _ => Ok(0),
    }
}
