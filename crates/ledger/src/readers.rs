//! Connections that only read: a long look keeps neither writes nor other looks waiting.

use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OpenFlags};

use super::{BUSY_TIMEOUT, STATEMENTS};

/// How many looks are taken at once.
const MOST: usize = 4;

/// Pool of a few connections to one file, each opened when all before it are lent.
#[derive(Debug)]
pub(super) struct Readers {
    path: PathBuf,
    pool: Mutex<Pool>,
    returned: Condvar,
}

#[derive(Debug, Default)]
struct Pool {
    free: Vec<Connection>,
    /// Those that are lent included.
    open: usize,
}

/// A connection that is lent until this is dropped.
pub(super) struct Lent<'a> {
    readers: &'a Readers,
    /// There until the drop.
    connection: Option<Connection>,
}

impl Readers {
    pub(super) fn of(path: PathBuf) -> Self {
        Self { path, pool: Mutex::default(), returned: Condvar::new() }
    }

    /// A connection, once one is free; none where not even one can be opened, as where the process may open no
    /// more files.
    pub(super) fn lend(&self) -> Option<Lent<'_>> {
        let mut pool = self.pool();
        let connection = loop {
            if let Some(free) = pool.free.pop() {
                break free;
            }
            if pool.open < MOST {
                match self.open() {
                    Ok(opened) => {
                        pool.open += 1;
                        break opened;
                    }
                    Err(error) if pool.open == 0 => {
                        tracing::warn!(%error, "the ledger is read by the connection that writes");
                        return None;
                    }
                    // One of those that are open will do.
                    Err(_) => {}
                }
            }
            pool = self.returned.wait(pool).unwrap_or_else(PoisonError::into_inner);
        };
        Some(Lent { readers: self, connection: Some(connection) })
    }

    fn pool(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self) -> rusqlite::Result<Connection> {
        let connection = Connection::open_with_flags(&self.path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        // Opens what is beside the file, too.
        connection.query_row("SELECT latest FROM clock", [], |_| Ok(()))?;
        Ok(connection)
    }
}

impl Deref for Lent<'_> {
    type Target = Connection;

    #[expect(clippy::expect_used, reason = "it is there until the drop")]
    fn deref(&self) -> &Connection {
        self.connection.as_ref().expect("a lent connection")
    }
}

impl DerefMut for Lent<'_> {
    #[expect(clippy::expect_used, reason = "it is there until the drop")]
    fn deref_mut(&mut self) -> &mut Connection {
        self.connection.as_mut().expect("a lent connection")
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        self.readers.pool().free.extend(self.connection.take());
        self.readers.returned.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use connector_gate::clock::Clock;

    use super::*;
    use crate::Ledger;

    #[test]
    fn a_look_waits_for_no_other_that_takes_long_and_needs_no_connection_of_its_own() {
        let state = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(state.path(), Clock::System).unwrap();
        let readers = Readers::of(ledger.path().to_owned());
        let mut lent: Vec<_> = (0..MOST).map(|_| readers.lend().unwrap()).collect();
        std::thread::scope(|scope| {
            let fifth = scope.spawn(|| readers.lend().is_some());
            // The first is kept: any that comes back is as good.
            lent.truncate(MOST - 1);
            assert!(fifth.join().unwrap());
        });
        assert_eq!(readers.pool().open, MOST);

        let nowhere = Readers::of(state.path().join("none.sqlite"));
        assert!(nowhere.lend().is_none());
    }
}
