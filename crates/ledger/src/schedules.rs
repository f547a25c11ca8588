//! Schedules: up to when each has been dealt with, so that a restart neither
//! fires a time twice nor forgets one that passed.

use connector_gate::clock::Millis;
use rusqlite::OptionalExtension as _;

use super::{LedgerError, Tx};

/// Up to when the schedule of `rule` was dealt with; `None` if it is new or was written otherwise.
pub fn seen(tx: &Tx<'_>, rule: &str, schedule: &str) -> Result<Option<Millis>, LedgerError> {
    let sql = "SELECT seen_at FROM schedules WHERE rule = ?1 AND schedule = ?2";
    Ok(tx.sql.prepare_cached(sql)?.query_row([rule, schedule], |row| row.get(0)).optional()?)
}

/// The schedule of `rule` was dealt with up to now.
pub fn mark(tx: &Tx<'_>, rule: &str, schedule: &str) -> Result<(), LedgerError> {
    tx.sql
        .prepare_cached(
            "INSERT INTO schedules VALUES (?1, ?2, ?3)
             ON CONFLICT (rule) DO UPDATE SET schedule = excluded.schedule, seen_at = excluded.seen_at",
        )?
        .execute(rusqlite::params![rule, schedule, tx.now])?;
    Ok(())
}

/// Forgets the schedules of all other rules: one that comes back begins anew.
pub fn keep_only(tx: &Tx<'_>, rules: &[String]) -> Result<(), LedgerError> {
    let kept = serde_json::to_string(rules)?;
    tx.sql.execute("DELETE FROM schedules WHERE rule NOT IN (SELECT value FROM json_each(?1))", [kept])?;
    Ok(())
}
