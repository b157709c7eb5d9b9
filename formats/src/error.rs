//! What can go wrong with a file.

use std::io;

use crate::onnx::OnnxError;

/// Why a file could not be read or written. Each message begins with the file.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each field is named in its variant's message")]
pub enum FormatError {
    #[error("{file}: {error}")]
    Io { file: String, error: io::Error },
    #[error("{file}: not a regular file but {what}")]
    NotAFile { file: String, what: &'static str },
    #[error("{file}: {what}")]
    NotReadable { file: String, what: String },
    #[error("{file}: {problem}")]
    Onnx { file: String, problem: OnnxError },
    #[error("{file}: not a readable .npy file: {why}")]
    Npy { file: String, why: String },
    #[error("{file}: {what} is not supported here")]
    Unsupported { file: String, what: &'static str },
}

impl FormatError {
    /// True if the file may well be fine, but has something that this program does not handle.
    pub fn is_unsupported(&self) -> bool {
        matches!(self, Self::Unsupported { .. } | Self::Onnx { problem: OnnxError::Unsupported { .. }, .. })
    }
}
