//! What a `Dedupe` has seen: keys, by their SHA-256, each for a time.

use connector_gate::clock::Millis;
use data_encoding::HEXLOWER;
use rusqlite::OptionalExtension as _;
use sha2::{Digest as _, Sha256};

use super::{LedgerError, Tx};

/// Notes that `key` of `bucket` was seen, for `window` from now; `false` if it was seen before, which then counts on
/// from when it was.
pub fn note(tx: &Tx<'_>, bucket: &str, key: &str, window: Millis) -> Result<bool, LedgerError> {
    tx.sql.prepare_cached("DELETE FROM seen WHERE until <= ?1")?.execute([tx.now])?;
    let mut hasher = Sha256::new();
    // The length says where the one ends and the other begins.
    hasher.update(bucket.len().to_le_bytes());
    hasher.update(bucket);
    hasher.update(key);
    let hash = HEXLOWER.encode(&hasher.finalize());
    let until = tx.now.saturating_add(window);
    let noted: Option<i64> = tx
        .sql
        .prepare_cached("INSERT INTO seen VALUES (?1, ?2) ON CONFLICT (key) DO NOTHING RETURNING until")?
        .query_row(rusqlite::params![hash, until], |row| row.get(0))
        .optional()?;
    Ok(noted.is_some())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use connector_gate::clock::Clock;

    use super::*;
    use crate::Ledger;

    #[test]
    fn a_key_counts_as_seen_in_its_bucket_until_its_window_is_over() {
        let (clock, hand) = Clock::manual(1_000);
        let ledger = Ledger::in_memory(clock).unwrap();
        let noted = |bucket: &str, key: &str| ledger.write_now(|tx| note(tx, bucket, key, 500)).unwrap();
        assert!(noted("a", "k") && noted("b", "k") && noted("a", "l") && noted("ak", ""));
        assert!(!noted("a", "k"));
        hand.store(1_499, Ordering::SeqCst);
        assert!(!noted("a", "k"), "seeing it again does not prolong it");
        hand.store(1_500, Ordering::SeqCst);
        assert!(noted("a", "k"));
        let left: i64 = ledger
            .read_now(|tx| Ok(tx.sql.query_row("SELECT count(*) FROM seen", [], |row| row.get(0))?))
            .unwrap();
        assert_eq!(left, 1, "what is over is gone");
    }
}
