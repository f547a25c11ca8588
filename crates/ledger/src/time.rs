//! The time of transactions: never earlier than what the ledger has seen, whatever the clock does.

use std::time::Instant;

use connector_gate::clock::{Clock, Millis};
use rusqlite::Connection;

use super::{LedgerError, Tx};

/// How far behind its latest entry the clock may be without a word.
const SLACK: Millis = 5_000;

/// A clock that goes on from a ledger's latest entry.
#[derive(Debug, Clone)]
pub(super) struct Time {
    clock: Clock,
    opened: (Instant, Millis),
}

impl Time {
    /// Goes on from the latest entry.
    pub(super) fn from_latest(sql: &Connection, clock: Clock) -> Result<Self, LedgerError> {
        let latest = latest(sql)?;
        let now = clock.now();
        if now + SLACK < latest {
            let behind = (latest - now) / 1_000;
            tracing::warn!(behind, "the clock is set back; time goes on from the ledger's latest entry");
        }
        Ok(Self { clock, opened: (Instant::now(), latest.max(now)) })
    }

    /// The transaction of a write, at a time that is not earlier than any before it.
    pub(super) fn stamped<'a>(&self, sql: &'a Connection) -> Result<Tx<'a>, LedgerError> {
        let now = sql
            .prepare_cached("UPDATE clock SET latest = max(latest, ?1) WHERE one = 1 RETURNING latest")?
            .query_row([self.now()], |row| row.get(0))?;
        Ok(Tx::new(sql, now))
    }

    /// The transaction of a read.
    pub(super) fn looked_at<'a>(&self, sql: &'a Connection) -> Result<Tx<'a>, LedgerError> {
        Ok(Tx::new(sql, latest(sql)?.max(self.now())))
    }

    /// Never standing still either.
    fn now(&self) -> Millis {
        match self.clock {
            Clock::System => {
                let (at, then) = self.opened;
                let passed = Millis::try_from(at.elapsed().as_millis()).unwrap_or(Millis::MAX);
                self.clock.now().max(then.saturating_add(passed))
            }
            Clock::Manual(_) => self.clock.now(),
        }
    }
}

fn latest(sql: &Connection) -> Result<Millis, LedgerError> {
    Ok(sql.prepare_cached("SELECT latest FROM clock")?.query_row([], |row| row.get(0))?)
}
