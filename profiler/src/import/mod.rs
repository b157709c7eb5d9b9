//! Files to traces, told apart by their content. A format is one file here and one line in [`FORMATS`].
//!
//! Files are untrusted: what they expand to is bounded before it is allocated, and a trace that leaves here is valid (see
//! [`check`]).

mod chrome;
mod msgpack;
mod puffin;
mod scope;
mod spans;
mod validate;

use std::path::{Path, PathBuf};

use crate::Trace;

pub use validate::check;

/// A file format that can be opened.
#[derive(Clone, Copy, Debug)]
pub struct Importer {
    /// What to call it.
    pub name: &'static str,
    /// How its files usually end, for a file dialog; the content decides.
    pub extension: &'static str,
    /// True if a file that begins so is of this format.
    matches: fn(&[u8]) -> bool,
    read: fn(&[u8]) -> Result<Trace, Problem>,
}

/// Every format that can be opened, in the order in which they are tried.
pub const FORMATS: &[Importer] = &[
    Importer { name: "Stratoscope trace", extension: "scope", matches: scope::matches, read: scope::read },
    Importer { name: "puffin", extension: "puffin", matches: puffin::matches, read: puffin::read },
    Importer { name: "Chrome trace", extension: "json", matches: chrome::matches, read: chrome::read },
];

/// The largest file that is opened.
pub const MAX_FILE_BYTES: u64 = 1 << 30;
/// The most that compressed parts of a file may expand to.
const MAX_EXPANDED_BYTES: u64 = 1 << 29;

/// Why a file was not opened.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {problem}", path = path.display())]
pub struct ImportError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The file system refused.
    #[error("cannot be read: {0}")]
    Io(#[from] std::io::Error),
    /// A folder, a pipe, a device.
    #[error("not a plain file")]
    NotAFile,
    /// No known format.
    #[error("not a trace that this program knows (it opens {known})", known = known())]
    Unknown,
    /// Written by a newer program.
    #[error(
        "written in format version {found}, but this program reads up to version {supported}: update Stratoscope to open it"
    )]
    Newer {
        /// The file's version.
        found: u32,
        /// Ours.
        supported: u32,
    },
    /// Too large to open safely.
    #[error("too large: {what} is over the limit of {limit} bytes")]
    TooLarge {
        /// Which part.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// Broken, cut short, or not what it says.
    #[error("damaged: {0}")]
    Damaged(String),
}

fn damaged(what: impl std::fmt::Display) -> Problem {
    Problem::Damaged(what.to_string())
}

fn known() -> String {
    FORMATS.iter().map(|f| format!("{} (.{})", f.name, f.extension)).collect::<Vec<_>>().join(", ")
}

/// Opens a trace; its content tells the format. One that names no model is named after the file.
pub fn open(path: &Path) -> Result<Trace, ImportError> {
    let attempt = || {
        let meta = std::fs::metadata(path)?;
        if !meta.is_file() {
            return Err(Problem::NotAFile);
        }
        if meta.len() > MAX_FILE_BYTES {
            return Err(Problem::TooLarge { what: "the file", limit: MAX_FILE_BYTES });
        }
        let mut trace = read(&std::fs::read(path)?)?;
        if trace.meta.model.is_empty() {
            trace.meta.model = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        }
        Ok(trace)
    };
    attempt().map_err(|problem| ImportError { path: path.to_owned(), problem })
}

/// Reads a trace from a file's content.
pub fn read(bytes: &[u8]) -> Result<Trace, Problem> {
    let format = FORMATS.iter().find(|f| (f.matches)(bytes)).ok_or(Problem::Unknown)?;
    let trace = (format.read)(bytes)?;
    check(&trace)?;
    Ok(trace)
}

/// True if [`read`] would try: the content begins like a trace.
pub fn is_trace(beginning: &[u8]) -> bool {
    FORMATS.iter().any(|f| (f.matches)(beginning))
}

/// Everything that a reader yields, or an error once there is more than [`MAX_EXPANDED_BYTES`].
fn read_bounded(reader: impl std::io::Read) -> Result<Vec<u8>, Problem> {
    use std::io::Read;
    let mut bytes = Vec::new();
    reader.take(MAX_EXPANDED_BYTES + 1).read_to_end(&mut bytes).map_err(|e| damaged(format!("zstd: {e}")))?;
    if bytes.len() as u64 > MAX_EXPANDED_BYTES {
        return Err(Problem::TooLarge { what: "the decompressed data", limit: MAX_EXPANDED_BYTES });
    }
    Ok(bytes)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
