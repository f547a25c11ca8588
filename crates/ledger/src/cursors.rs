//! Cursors: how far each surface has read its platform's stream, in that platform's words.
//!
//! One is stored in the transaction of the messages before it (`Inbox::take_up_to`), so that after a crash a surface goes
//! on where its rows end.

use rusqlite::OptionalExtension as _;

use super::{LedgerError, Tx};

/// The cursor of a surface; nothing before its first.
pub fn get(tx: &Tx<'_>, surface: &str) -> Result<Option<String>, LedgerError> {
    let sql = "SELECT value FROM cursors WHERE surface = ?1";
    Ok(tx.sql.prepare_cached(sql)?.query_row([surface], |row| row.get(0)).optional()?)
}

/// Replaces the cursor of a surface.
pub fn put(tx: &Tx<'_>, surface: &str, value: &str) -> Result<(), LedgerError> {
    let sql =
        "INSERT INTO cursors VALUES (?1, ?2) ON CONFLICT (surface) DO UPDATE SET value = excluded.value";
    tx.sql.prepare_cached(sql)?.execute([surface, value])?;
    Ok(())
}
