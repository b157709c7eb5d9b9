//! Every run that was measured on this machine, kept in one folder: an SQLite database with a row per run, and the run's
//! trace in a file beside it.
//!
//! A row is written after its trace is whole on disk, in one transaction: a crash leaves at most a file that no row names. A
//! database that can't be read is set aside under another name, never deleted, and the list is made anew from the traces.

mod database;
mod entry;
mod search;
mod store;
mod trend;

use std::path::PathBuf;

pub use entry::Entry;
pub use search::Query;
pub use store::{History, Opened};
pub use trend::{Change, Trend, changes};

/// Why the history could not be used.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The file system refused.
    #[error("history {path}: {source}", path = path.display())]
    Io {
        /// Which file or folder.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The database refused.
    #[error("history {path}: {source}", path = path.display())]
    Database {
        /// The database's file.
        path: PathBuf,
        /// Why not.
        source: rusqlite::Error,
    },
    /// Written by a newer program.
    #[error("history {path}: written by a newer Stratoscope (layout {found}, this program knows {known}): update it", path = path.display())]
    Newer {
        /// The database's file.
        path: PathBuf,
        /// Its layout.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// No such run.
    #[error("history: there is no run {0}; `stratoscope history` lists them")]
    NoRun(i64),
    /// The trace's file is gone.
    #[error("history: the trace of run {0} was removed to save space; its figures are still listed")]
    NoTrace(i64),
    /// The trace could not be written.
    #[error("history: {0}")]
    Export(#[from] profiler::export::ExportError),
    /// There is no place for it.
    #[error("history: this system names no folder for a user's data; set STRATOSCOPE_HISTORY to one")]
    NoFolder,
}
