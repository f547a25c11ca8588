//! The ledger: every event, run, step, approval and outcome is a row before the
//! effect it announces.
//!
//! One SQLite file in WAL mode with full synchronisation: what a call returned
//! survives a crash of the host and of the machine. Writers are serialised by
//! immediate transactions, so that a command line beside a running host is just
//! another writer; writes of one process that meet share one. Time is
//! taken once for each write and never runs backwards, whatever the clock does.
//!
//! It decides nothing: [the gate](connector_gate) says which moves exist, and the
//! functions in the modules below carry one out as one statement.

pub mod asks;
pub mod audience;
pub mod audit;
pub mod changes;
pub mod cursors;
pub mod events;
pub mod grants;
pub mod keep;
pub mod lock;
pub mod messages;
pub mod outbox;
mod readers;
pub mod runs;
pub mod schedules;
pub mod seen;
pub mod shapes;
pub mod steps;
mod time;
mod writer;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use connector_gate::clock::{Clock, Millis};
use connector_gate::ids::RunId;
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

use changes::{Change, Changes};
use readers::Readers;
use time::Time;
use writer::{Writer, cut_off};

/// Marks a file as ours: "conn".
const APPLICATION_ID: i32 = 0x636f_6e6e;

/// One file for each released schema, in order.
const MIGRATIONS: [&str; 5] = [
    include_str!("../schema/0001.sql"),
    include_str!("../schema/0002.sql"),
    include_str!("../schema/0003.sql"),
    include_str!("../schema/0004.sql"),
    include_str!("../schema/0005.sql"),
];

/// The newest schema known here.
const SCHEMA: u32 = 5;

/// How many prepared statements are kept.
const STATEMENTS: usize = 128;

/// How long a writer waits for another one.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Why the ledger cannot be read or written. Nothing is ever overwritten.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// Fatal: the directory or the file cannot be used.
    #[error("the ledger {} cannot be opened for writing", .path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Fatal: it is damaged, or no ledger at all.
    #[error("{} is not a readable ledger; it was left as it is. move it away to start a new one, or restore a backup", .path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        #[source]
        source: rusqlite::Error,
    },
    /// Fatal: a newer version wrote it.
    #[error("{} has schema {found}, this version knows up to {known}; use the newer version", .path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// The file's schema.
        found: u32,
        /// The newest schema known here.
        known: u32,
    },
    /// Fatal: another host uses the directory.
    #[error("another host (pid {holder}) is running on {}; stop it or choose another directory with --state", .path.display())]
    Held {
        /// The directory.
        path: PathBuf,
        /// What the lock file says.
        holder: String,
    },
    /// Retry: another writer holds it for too long.
    #[error("the ledger is locked by another process")]
    Busy(#[source] rusqlite::Error),
    /// Report: the disk is full; nothing was written.
    #[error("the disk is full; nothing was recorded and nothing will run until there is room")]
    Full(#[source] rusqlite::Error),
    /// Report: the file may not be written; nothing was.
    #[error("the ledger cannot be written; nothing was recorded and nothing will run until it can be")]
    ReadOnly(#[source] rusqlite::Error),
    /// Fatal: it was damaged while it was in use.
    #[error("the ledger is damaged; stop the host and run `ledger check`")]
    Damaged(#[source] rusqlite::Error),
    /// Retry: the transaction was lost with another write; nothing was written.
    #[error("what was to be recorded was lost with another write")]
    Lost(#[source] rusqlite::Error),
    /// Retry: the host that was asked has not begun, or has ended.
    #[error("the host is not running")]
    NotRunning,
    /// Report: anything else of SQLite.
    #[error("the ledger failed")]
    Sql(#[source] rusqlite::Error),
    /// Report: a row does not hold what it should.
    #[error("the ledger holds what it should not: {0}")]
    Content(String),
    /// Report: a call broke down, or nobody carried it out; whether it was recorded nobody knows.
    #[error("a ledger call was cut off: {0}")]
    CutOff(String),
    /// Report: a value cannot be stored.
    #[error("a value cannot be stored")]
    Encode(#[from] serde_json::Error),
}

impl From<rusqlite::Error> for LedgerError {
    fn from(error: rusqlite::Error) -> Self {
        if let rusqlite::Error::FromSqlConversionFailure(..) | rusqlite::Error::InvalidColumnType(..) = &error
        {
            return Self::Content(connector_contract::chain(&error));
        }
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy(error),
            Some(ErrorCode::DiskFull) => Self::Full(error),
            Some(ErrorCode::ReadOnly) => Self::ReadOnly(error),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged(error),
            _ => Self::Sql(error),
        }
    }
}

/// The ledger of one state directory. Cheap to clone.
#[derive(Clone)]
pub struct Ledger(Arc<Connections>);

/// What a ledger has open. The readers go first: the last connection to close leaves nothing beside the file.
struct Connections {
    readers: Option<Readers>,
    writer: Arc<Writer>,
    time: Time,
    path: PathBuf,
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ledger({})", self.path().display())
    }
}

/// A transaction, and the time it takes place at.
#[derive(Debug)]
pub struct Tx<'a> {
    /// The statements go here.
    pub(crate) sql: &'a Connection,
    /// Not earlier than any transaction before it.
    pub now: Millis,
    /// The runs that it changes.
    changed: RefCell<BTreeSet<RunId>>,
}

impl<'a> Tx<'a> {
    fn new(sql: &'a Connection, now: Millis) -> Self {
        Self { sql, now, changed: RefCell::default() }
    }

    /// Something of this run is another now: it is published once it is durable.
    pub(crate) fn changes(&self, run: RunId) {
        self.changed.borrow_mut().insert(run);
    }
}

impl Ledger {
    /// Opens the ledger in `directory`, making both if they are missing.
    pub fn open(directory: &Path, clock: Clock) -> Result<Self, LedgerError> {
        let path = directory.join("ledger.sqlite");
        let cannot = |source| LedgerError::Open { path: path.clone(), source };
        make_private(directory, &path).map_err(|error| cannot(Box::new(error)))?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        let connection =
            Connection::open_with_flags(&path, flags).map_err(|error| cannot(Box::new(error)))?;
        Self::prepare(connection, path.clone(), clock, Some(Readers::of(path)))
    }

    /// Opens the ledger of a directory that must have one: for commands that look.
    pub fn open_existing(directory: &Path, clock: Clock) -> Result<Self, LedgerError> {
        let path = directory.join("ledger.sqlite");
        let connection = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_WRITE)
            .map_err(|source| LedgerError::Open { path: path.clone(), source: Box::new(source) })?;
        Self::prepare(connection, path.clone(), clock, Some(Readers::of(path)))
    }

    /// A ledger that is gone when it is dropped, with one connection for everything: for tests and measurements.
    pub fn in_memory(clock: Clock) -> Result<Self, LedgerError> {
        Self::prepare(Connection::open_in_memory()?, PathBuf::from(":memory:"), clock, None)
    }

    fn prepare(
        mut connection: Connection,
        path: PathBuf,
        clock: Clock,
        readers: Option<Readers>,
    ) -> Result<Self, LedgerError> {
        configure(&connection).map_err(|error| opening(error, &path))?;
        migrate(&mut connection, &path)?;
        let time = Time::from_latest(&connection, clock)?;
        let writer = Writer::new(connection, time.clone());
        Ok(Self(Arc::new(Connections { readers, writer, time, path })))
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Runs `work` in a transaction, which may be one with other writes, and is kept only if it returns `Ok`. What
    /// was returned is durable.
    pub async fn write<T, F>(&self, work: F) -> Result<T, LedgerError>
    where
        T: Send + 'static,
        F: FnOnce(&Tx<'_>) -> Result<T, LedgerError> + Send + 'static,
    {
        let outcome = self.0.writer.queue(work).await;
        outcome.unwrap_or_else(|_| Err(cut_off("nobody carried it out")))
    }

    /// As [`write`](Self::write), in a transaction of its own: for work that does more than write, and must not be
    /// undone by what others write.
    pub async fn write_alone<T, F>(&self, work: F) -> Result<T, LedgerError>
    where
        T: Send + 'static,
        F: FnOnce(&Tx<'_>) -> Result<T, LedgerError> + Send + 'static,
    {
        let ledger = self.clone();
        joined(tokio::task::spawn_blocking(move || ledger.write_now(work)).await)
    }

    /// Runs `work` in a transaction of its own, on this thread.
    pub fn write_now<T>(
        &self,
        work: impl FnOnce(&Tx<'_>) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        self.0.writer.alone(work)
    }

    /// Runs `work` on one consistent view without writing.
    pub async fn read<T, F>(&self, work: F) -> Result<T, LedgerError>
    where
        T: Send + 'static,
        F: FnOnce(&Tx<'_>) -> Result<T, LedgerError> + Send + 'static,
    {
        let ledger = self.clone();
        joined(tokio::task::spawn_blocking(move || ledger.read_now(work)).await)
    }

    /// As [`read`](Self::read), on this thread.
    pub fn read_now<T>(
        &self,
        work: impl FnOnce(&Tx<'_>) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        let look = |connection: &mut Connection| {
            let transaction = connection.transaction()?;
            work(&self.0.time.looked_at(&transaction)?)
        };
        match self.0.readers.as_ref().and_then(Readers::lend) {
            Some(mut reader) => look(&mut reader),
            None => look(&mut self.0.writer.connection()),
        }
    }

    /// The changes of runs that this process makes from now on, and word of those that it was told others made.
    pub fn changes(&self) -> Changes {
        self.0.writer.publisher.subscribe()
    }

    /// Another process wrote something.
    pub fn changed_elsewhere(&self) {
        self.0.writer.publisher.publish(Change::Unknown);
    }

    /// Changes whenever another connection than this ledger's own has written.
    pub async fn data_version(&self) -> Result<i64, LedgerError> {
        let ledger = self.clone();
        let asked = tokio::task::spawn_blocking(move || {
            // Of the connection that writes: to any other, own writes are another's.
            let connection = ledger.0.writer.connection();
            Ok(connection.query_row("PRAGMA data_version", [], |row| row.get(0))?)
        });
        joined(asked.await)
    }
}

#[cfg(feature = "failpoints")]
impl Ledger {
    /// Lets the file have no more than `pages`, as a full disk does; for tests.
    pub fn limit_pages(&self, pages: u32) -> Result<(), LedgerError> {
        let connection = self.0.writer.connection();
        let sql = format!("PRAGMA max_page_count = {pages}");
        Ok(connection.query_row(&sql, [], |_| Ok(()))?)
    }
}

fn joined<T>(outcome: Result<Result<T, LedgerError>, tokio::task::JoinError>) -> Result<T, LedgerError> {
    outcome.unwrap_or_else(|error| Err(cut_off(&error.to_string())))
}

/// The ledger holds prompts, replies and the cards' tokens: nobody else reads
/// it, also in a directory that was there before. SQLite gives the files beside
/// it the mode of the ledger.
fn make_private(directory: &Path, ledger: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    let mut options = std::fs::OpenOptions::new();
    #[cfg(unix)]
    {
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    }
    builder.recursive(true).create(directory)?;
    options.write(true).create(true).truncate(false).open(ledger).map(drop)
}

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    // What a savepoint could take back needs no room anywhere else.
    connection.pragma_update(None, "temp_store", "memory")?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "foreign_keys", true)
}

fn opening(error: rusqlite::Error, path: &Path) -> LedgerError {
    let path = path.to_owned();
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            LedgerError::Corrupt { path, source: error }
        }
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
            LedgerError::Open { path, source: Box::new(error) }
        }
        _ => error.into(),
    }
}

fn migrate(connection: &mut Connection, path: &Path) -> Result<(), LedgerError> {
    let tx = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(|error| opening(error, path))?;
    let application: i32 = tx.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let version: u32 = tx.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let tables: i64 = tx.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if application != APPLICATION_ID && tables > 0 {
        let source = rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_NOTADB),
            Some("a database of another program".to_owned()),
        );
        return Err(LedgerError::Corrupt { path: path.to_owned(), source });
    }
    if version > SCHEMA {
        return Err(LedgerError::Newer { path: path.to_owned(), found: version, known: SCHEMA });
    }
    for migration in MIGRATIONS.iter().skip(version as usize) {
        tx.execute_batch(migration)?;
    }
    tx.pragma_update(None, "application_id", APPLICATION_ID)?;
    tx.pragma_update(None, "user_version", SCHEMA)?;
    Ok(tx.commit()?)
}

/// Reads a column of JSON.
fn json<T: serde::de::DeserializeOwned>(row: &rusqlite::Row<'_>, column: &str) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text).map_err(|error| bad_column(column, error))
}

/// Reads a column of JSON that may be absent.
fn json_opt<T: serde::de::DeserializeOwned>(
    row: &rusqlite::Row<'_>,
    column: &str,
) -> rusqlite::Result<Option<T>> {
    let text: Option<String> = row.get(column)?;
    text.map(|text| serde_json::from_str(&text).map_err(|error| bad_column(column, error))).transpose()
}

fn bad_column(
    column: &str,
    error: impl Into<Box<dyn std::error::Error + Send + Sync + 'static>>,
) -> rusqlite::Error {
    let _ = column;
    rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, error.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_that_may_not_be_written_says_so() {
        let state = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(state.path(), Clock::System).unwrap();
        ledger.write_now(|tx| Ok(tx.sql.pragma_update(None, "query_only", true)?)).unwrap();
        let error = ledger.write_now(|_| Ok(())).unwrap_err();
        assert!(matches!(error, LedgerError::ReadOnly(_)), "{error:?}");
    }
}
