//! Files to traces, told apart by their content. A format is one file here and one line in [`FORMATS`].
//!
//! Files are untrusted: what they expand to is bounded before it is allocated, and a trace that leaves here is valid (see
//! [`check`]).

mod averages;
mod chrome;
mod event;
mod events;
mod json;
mod kineto;
mod litert;
mod msgpack;
mod onnxruntime;
mod openvino;
mod ops;
mod overlap;
mod perfetto;
mod puffin;
mod scope;
mod source;
mod spans;
mod tract;
mod trtexec;
mod validate;

use std::io::Read;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use self::source::{Source, Watch};
use crate::Trace;

pub use source::Progress;
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
    read: Reader,
}

/// How a format is read.
#[derive(Clone, Copy, Debug)]
enum Reader {
    /// From the whole file.
    Bytes(fn(&[u8]) -> Result<Trace, Problem>),
    /// Piece by piece: files may be larger than memory.
    Stream(fn(&mut Source) -> Result<Trace, Problem>),
}

/// Every format that can be opened, in the order in which they are tried. Each may be packed by gzip.
pub const FORMATS: &[Importer] = &[
    Importer {
        name: "Stratoscope trace",
        extension: "scope",
        matches: scope::matches,
        read: Reader::Bytes(scope::read),
    },
    Importer { name: "puffin", extension: "puffin", matches: puffin::matches, read: Reader::Bytes(puffin::read) },
    Importer {
        name: "Perfetto trace",
        extension: "pftrace",
        matches: perfetto::matches,
        read: Reader::Bytes(perfetto::read),
    },
    Importer {
        name: "ONNX Runtime profile",
        extension: "json",
        matches: onnxruntime::matches,
        read: Reader::Stream(onnxruntime::read),
    },
    Importer {
        name: "PyTorch profile",
        extension: "json",
        matches: kineto::matches,
        read: Reader::Stream(kineto::read),
    },
    Importer {
        name: "trtexec profile",
        extension: "json",
        matches: trtexec::is_profile,
        read: Reader::Bytes(trtexec::read_profile),
    },
    Importer {
        name: "trtexec times",
        extension: "json",
        matches: trtexec::is_times,
        read: Reader::Bytes(trtexec::read_times),
    },
    Importer { name: "tract profile", extension: "json", matches: tract::matches, read: Reader::Bytes(tract::read) },
    Importer { name: "Chrome trace", extension: "json", matches: chrome::matches, read: Reader::Stream(chrome::read) },
    Importer {
        name: "trtexec layer info",
        extension: "json",
        matches: trtexec::is_layer_info,
        read: Reader::Bytes(trtexec::read_layer_info),
    },
    Importer {
        name: "LiteRT op profile",
        extension: "csv",
        matches: litert::matches,
        read: Reader::Bytes(litert::read),
    },
    Importer {
        name: "OpenVINO counters",
        extension: "csv",
        matches: openvino::matches,
        read: Reader::Bytes(openvino::read),
    },
];

/// How much of a file is searched for signs of its format.
const SNIFFED: usize = 1 << 16;
/// The largest file that is opened, where it has to be in memory as a whole.
pub const MAX_FILE_BYTES: u64 = 1 << 30;
/// The most that is read piece by piece, unpacked.
const MAX_STREAMED_BYTES: u64 = 1 << 34;
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
    /// Somebody asked to stop.
    #[error("cancelled")]
    Cancelled,
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
    open_with(path, &mut |_| ControlFlow::Continue(()))
}

/// As [`open`], telling `watch` many times a second how far it is; once that says break, this ends with
/// [`Problem::Cancelled`] at its next look.
pub fn open_with(path: &Path, watch: &mut dyn FnMut(Progress) -> ControlFlow<()>) -> Result<Trace, ImportError> {
    let mut attempt = || {
        let (file, size) = plain_file(path)?;
        let mut trace = read_from(file, size, watch)?;
        if trace.meta.model.is_empty() {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            stem.trim_end_matches(".json").clone_into(&mut trace.meta.model);
        }
        Ok(trace)
    };
    attempt().map_err(|problem| ImportError { path: path.to_owned(), problem })
}

/// The format of a file, told by its content; `None` if it is no trace.
pub fn detect(path: &Path) -> Result<Option<&'static Importer>, ImportError> {
    let attempt = || {
        let (file, size) = plain_file(path)?;
        let tell = &mut |_| ControlFlow::Continue(());
        Ok(format_of(Source::new(file, Watch::new(size, tell))?.head()))
    };
    attempt().map_err(|problem| ImportError { path: path.to_owned(), problem })
}

/// Reads a trace from a file's content.
pub fn read(bytes: &[u8]) -> Result<Trace, Problem> {
    read_from(bytes, bytes.len() as u64, &mut |_| ControlFlow::Continue(()))
}

/// The usual endings of all files that can be opened, for a file dialog.
pub fn extensions() -> Vec<&'static str> {
    let mut all: Vec<&str> = FORMATS.iter().map(|f| f.extension).chain(["gz"]).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// What can be opened, in words.
pub fn names() -> String {
    FORMATS.iter().map(|f| f.name).collect::<Vec<_>>().join(", ")
}

/// Opening a pipe or a device would wait or worse.
fn plain_file(path: &Path) -> Result<(std::fs::File, u64), Problem> {
    let meta = std::fs::metadata(path)?;
    if !meta.is_file() {
        return Err(Problem::NotAFile);
    }
    Ok((std::fs::File::open(path)?, meta.len()))
}

fn format_of(head: &[u8]) -> Option<&'static Importer> {
    FORMATS.iter().find(|f| (f.matches)(head))
}

fn read_from(
    reader: impl Read,
    size: u64,
    tell: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<Trace, Problem> {
    let watch = Watch::new(size, tell);
    let attempt = || {
        let mut source = Source::new(reader, watch.clone())?;
        let format = format_of(source.head()).ok_or(Problem::Unknown)?;
        let trace = match format.read {
            Reader::Stream(read) => read(&mut source)?,
            Reader::Bytes(read) => {
                let bytes = source.read_all(MAX_FILE_BYTES)?;
                source.step("Decoding")?;
                read(&bytes)?
            }
        };
        source.step("Checking")?;
        check(&trace)?;
        Ok(trace)
    };
    let result = attempt();
    // Whatever a reader made of being stopped.
    if watch.borrow().was_stopped() { Err(Problem::Cancelled) } else { result }
}

/// The first byte of what may be JSON.
fn json_start(head: &[u8]) -> Option<u8> {
    let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    head.iter().copied().find(|b| !b.is_ascii_whitespace())
}

/// True if a word is anywhere in the head of a file.
fn has(head: &[u8], word: &str) -> bool {
    head.windows(word.len()).any(|w| w == word.as_bytes())
}

/// Everything that a reader yields, or an error once there is more than [`MAX_EXPANDED_BYTES`].
fn read_bounded(reader: impl Read) -> Result<Vec<u8>, Problem> {
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

#[cfg(test)]
#[path = "robust_tests.rs"]
mod robust_tests;
