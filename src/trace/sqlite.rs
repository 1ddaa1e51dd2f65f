//! Databases of other programs: opened for reading only, beside a live writer.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::lines::MAX_LINE;

/// What every SQLite file begins with.
const MAGIC: &[u8] = b"SQLite format 3\0";

/// Whether the first bytes of a file are those of a SQLite database.
pub(super) fn is_database(head: &[u8]) -> bool {
    head.starts_with(MAGIC)
}

/// Opens a database and begins a read transaction: what is read is the state at one moment,
/// whatever its writer does meanwhile. `patience` is how long a lock is waited for.
pub(super) fn open(path: &Path, patience: Duration) -> Result<Connection> {
    let begin = |connection: rusqlite::Result<Connection>| -> rusqlite::Result<Connection> {
        let connection = connection?;
        connection.busy_timeout(patience)?;
        // The file is not ours: its schema runs no code, and no value is larger than a line.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
        connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, MAX_LINE as i32)?;
        connection.execute_batch("PRAGMA query_only = 1; BEGIN; SELECT 1 FROM sqlite_schema;")?;
        Ok(connection)
    };
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let opened = match begin(Connection::open_with_flags(path, flags)) {
        // A write-ahead database needs a file beside it even to be read; where none can be made
        // and no log waits there, nobody writes and the file itself is all there is.
        Err(e) if cannot_open(&e) && !has_log(path) => {
            let flags = flags | OpenFlags::SQLITE_OPEN_URI;
            begin(Connection::open_with_flags(format!("file:{}?immutable=1", escaped(path)), flags))
        }
        other => other,
    };
    opened.with_context(|| format!("cannot read {}", path.display()))
}

fn cannot_open(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error_code();
    matches!(code, Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly))
}

/// Whether a write-ahead log with something in it stands beside a database.
fn has_log(path: &Path) -> bool {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    Path::new(&name).metadata().is_ok_and(|log| log.len() > 0)
}

/// A path as it stands in a `file:` URI.
fn escaped(path: &Path) -> String {
    let path = path.to_string_lossy();
    path.replace('%', "%25").replace('?', "%3f").replace('#', "%23")
}

/// The names of a table's columns; none where there is no such table. A view is none: what it
/// does is up to whoever wrote it.
pub(super) fn columns(connection: &Connection, table: &str) -> rusqlite::Result<BTreeSet<String>> {
    let mut found = connection.prepare_cached(
        "SELECT name FROM pragma_table_info(?1) WHERE EXISTS \
         (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1)",
    )?;
    found.query_map([table], |row| row.get(0))?.collect()
}

/// A list of columns to select: each by its name, or NULL where the table has none such.
pub(super) fn select(present: &BTreeSet<String>, wanted: &[&str]) -> String {
    let column = |name: &&str| match present.contains(*name) {
        true => format!("\"{name}\""),
        false => format!("NULL AS \"{name}\""),
    };
    wanted.iter().map(column).collect::<Vec<_>>().join(", ")
}
