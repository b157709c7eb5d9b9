//! Opens model files. [`open`] finds the format by content and extension and returns a [`graph::Model`] whose weights
//! are slices of the mapped file; [`from_bytes`] does the same for a file that is already in memory.
//!
//! A format is one module and one line in [`FORMATS`]. Files are untrusted: whatever is wrong with one is a typed error.

mod error;
mod mapped;
pub mod onnx;
mod sniff;
mod source;
pub mod tensor_file;

use std::path::Path;

use bytes::Bytes;
use graph::Model;

pub use error::FormatError;
pub use source::Source;

/// A file format that can be opened.
pub struct Format {
    /// Its name, as in [`Model::format`].
    pub name: &'static str,
    /// The usual file extensions, without the dot.
    pub extensions: &'static [&'static str],
    /// Whether a file that starts with these bytes looks like one.
    pub sniff: fn(&[u8]) -> bool,
    /// Reads it.
    pub read: fn(&Source) -> Result<Model, FormatError>,
}

/// Every format that can be opened.
pub const FORMATS: &[Format] = &[onnx::FORMAT];

/// Opens a model file. Its weights stay in the mapped file; nothing but the structure is read now.
pub fn open(path: &Path) -> Result<Model, FormatError> {
    read(&Source::file(path)?)
}

/// Opens a model that is in memory, such as an embedded sample. It has no folder, so it can have no external data.
pub fn from_bytes(name: &str, bytes: Bytes) -> Result<Model, FormatError> {
    read(&Source::memory(name, bytes))
}

fn read(source: &Source) -> Result<Model, FormatError> {
    (sniff::format_of(source)?.read)(source)
}
