//! The ledger's file as another program has it: for what no function of the ledger tells, and no host would do.

use std::path::Path;
use std::time::Duration;

use rusqlite::types::FromSql;
use rusqlite::{Connection, OpenFlags};

/// A connection beside the ledger's own.
pub(crate) fn open(file: &Path) -> Connection {
    let connection = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap();
    connection.busy_timeout(Duration::from_secs(10)).unwrap();
    connection
}

/// The one value that `sql` selects.
pub(crate) fn value<T: FromSql>(file: &Path, sql: &str) -> T {
    open(file).query_row(sql, [], |row| row.get(0)).unwrap()
}

/// Changes the file by `sql`.
pub(crate) fn edit(file: &Path, sql: &str) {
    open(file).execute_batch(sql).unwrap();
}
