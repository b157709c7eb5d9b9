//! The database's file: its layout, its health.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, ErrorCode};

use crate::HistoryError;

/// The layout that this program writes; kept in the database's `user_version`.
pub const LAYOUT: i64 = 1;
/// How long a writer waits for another process.
const PATIENCE: Duration = Duration::from_secs(5);

const TABLES: &str = "
CREATE TABLE runs (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    unix_s          INTEGER NOT NULL,
    model           TEXT NOT NULL,
    model_path      TEXT NOT NULL,
    model_hash      TEXT NOT NULL,
    device          TEXT NOT NULL,
    device_kind     TEXT NOT NULL,
    threads         INTEGER NOT NULL,
    precision       TEXT NOT NULL,
    fusion          INTEGER NOT NULL,
    dims            TEXT NOT NULL,
    producer        TEXT NOT NULL,
    runs            INTEGER NOT NULL,
    median_ns       REAL,
    mad_ns          REAL,
    p90_ns          REAL,
    p99_ns          REAL,
    weights_bytes   INTEGER NOT NULL,
    peak_bytes      INTEGER NOT NULL,
    warnings        INTEGER NOT NULL,
    tags            TEXT NOT NULL DEFAULT '',
    note            TEXT NOT NULL DEFAULT '',
    trace_file      TEXT,
    trace_bytes     INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX runs_by_model ON runs (model_hash, model, unix_s);
CREATE INDEX runs_by_time ON runs (unix_s);
";

/// A healthy database, and in words what became of a damaged one that was in its place.
pub fn open(path: &Path) -> Result<(Connection, Option<String>), HistoryError> {
    match connect(path) {
        Ok(connection) => Ok((connection, None)),
        Err(error) if is_damage(&error) => {
            let aside = set_aside(path)?;
            let note = format!(
                "the history {} was damaged ({error}); it was kept as {}, and a new one begun",
                path.display(),
                aside.display()
            );
            let connection = connect(path).map_err(|e| e.into_error(path))?;
            Ok((connection, Some(note)))
        }
        Err(error) => Err(error.into_error(path)),
    }
}

enum Trouble {
    Sqlite(rusqlite::Error),
    Unsound(String),
    Newer(i64),
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Trouble::Sqlite(e) => e.fmt(f),
            Trouble::Unsound(what) => f.write_str(what),
            Trouble::Newer(found) => write!(f, "layout {found}"),
        }
    }
}

impl From<rusqlite::Error> for Trouble {
    fn from(e: rusqlite::Error) -> Self {
        Trouble::Sqlite(e)
    }
}

impl Trouble {
    fn into_error(self, path: &Path) -> HistoryError {
        let path = path.to_owned();
        match self {
            Trouble::Sqlite(source) => HistoryError::Database { path, source },
            Trouble::Newer(found) => HistoryError::Newer { path, found, known: LAYOUT },
            Trouble::Unsound(what) => HistoryError::Io { path, source: std::io::Error::other(what) },
        }
    }
}

fn connect(path: &Path) -> Result<Connection, Trouble> {
    let mut db = Connection::open(path)?;
    db.busy_timeout(PATIENCE)?;
    // A reader and a writer don't wait for each other, and a crash at any instant loses at most the last transaction.
    db.pragma_update(None, "journal_mode", "WAL")?;
    db.pragma_update(None, "synchronous", "NORMAL")?;
    let layout: i64 = db.query_row("PRAGMA user_version", [], |r| r.get(0))?;
    if layout > LAYOUT {
        return Err(Trouble::Newer(layout));
    }
    let verdict: String = db.query_row("PRAGMA quick_check(1)", [], |r| r.get(0))?;
    if verdict != "ok" {
        return Err(Trouble::Unsound(verdict));
    }
    if layout == 0 {
        // Another process may have begun at the same time: look again under the lock.
        let tx = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let layout: i64 = tx.query_row("PRAGMA user_version", [], |r| r.get(0))?;
        if layout == 0 {
            tx.execute_batch(TABLES)?;
            tx.pragma_update(None, "user_version", LAYOUT)?;
        }
        tx.commit()?;
    }
    // A file of ours has this table with these columns; another program's database has not.
    db.prepare("SELECT id, unix_s, trace_file, trace_bytes, tags, note FROM runs LIMIT 0")?;
    Ok(db)
}

fn is_damage(trouble: &Trouble) -> bool {
    match trouble {
        Trouble::Unsound(_) => true,
        Trouble::Newer(_) => false,
        Trouble::Sqlite(e) => matches!(
            e.sqlite_error_code(),
            // `Unknown` is what SQLite says of tables that are missing or another program's.
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::Unknown)
        ),
    }
}

/// Renames the database and its journals; gives back the new name.
fn set_aside(path: &Path) -> Result<PathBuf, HistoryError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let free = (0..1000).map(|n| path.with_file_name(format!("{name}.damaged-{now}-{n}"))).find(|p| !p.exists());
    let aside = free.unwrap_or_else(|| path.with_file_name(format!("{name}.damaged")));
    let rename = |from: &Path, to: &Path| {
        std::fs::rename(from, to).map_err(|source| HistoryError::Io { path: from.to_owned(), source })
    };
    rename(path, &aside)?;
    for ending in ["-wal", "-shm"] {
        let with = |p: &Path| PathBuf::from(format!("{}{ending}", p.display()));
        if with(path).exists() {
            rename(&with(path), &with(&aside))?;
        }
    }
    Ok(aside)
}
