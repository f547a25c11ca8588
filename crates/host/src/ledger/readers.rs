//! Connections that only read: a long look keeps neither writes nor other looks waiting.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use rusqlite::{Connection, OpenFlags};

use super::{BUSY_TIMEOUT, LedgerError, STATEMENTS};

/// How many looks are taken at once.
const MOST: usize = 4;

/// A few connections to one file, each opened when all before it are in use.
#[derive(Debug)]
pub(super) struct Readers {
    path: PathBuf,
    slots: [Mutex<Option<Connection>>; MOST],
    turn: AtomicUsize,
}

impl Readers {
    pub(super) fn of(path: PathBuf) -> Self {
        Self { path, slots: Default::default(), turn: AtomicUsize::new(0) }
    }

    /// Gives `look` a connection, the first that is free.
    pub(super) fn with<T>(
        &self,
        look: impl FnOnce(&mut Connection) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        let mut slot = self.slot();
        match &mut *slot {
            Some(open) => look(open),
            none => look(none.insert(self.open()?)),
        }
    }

    fn slot(&self) -> MutexGuard<'_, Option<Connection>> {
        let free = self.slots.iter().find_map(|slot| match slot.try_lock() {
            Ok(slot) => Some(slot),
            Err(TryLockError::Poisoned(slot)) => Some(slot.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        });
        free.unwrap_or_else(|| {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed) % MOST;
            self.slots[turn].lock().unwrap_or_else(PoisonError::into_inner)
        })
    }

    fn open(&self) -> Result<Connection, LedgerError> {
        let connection = Connection::open_with_flags(&self.path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        Ok(connection)
    }
}
