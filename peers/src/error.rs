//! Why an engine of others did not do as asked.

use std::path::PathBuf;

/// Why an engine of others did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// The user asked to stop.
    #[error("cancelled")]
    Cancelled,
    /// No library was found.
    #[error(
        "no ONNX Runtime was found. Install it (`pip install onnxruntime`), or say where its library is: \
         --engine onnxruntime:/path/to/{library}. Looked at: {}",
        looked.join("; "), library = crate::find::LIBRARY
    )]
    NotFound {
        /// Each place, and what was there.
        looked: Vec<String>,
    },
    /// The file is no library that can be used.
    #[error("{}: {why}", path.display())]
    NotALibrary {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A process holds one library for good.
    #[error(
        "this process already uses the ONNX Runtime {version} of {}; restart the program to use {}",
        loaded.display(), wanted.display()
    )]
    Another {
        /// The library in use.
        loaded: PathBuf,
        /// Its version.
        version: String,
        /// The one that was asked for.
        wanted: PathBuf,
    },
    /// An option's name or value is wrong.
    #[error("{0}")]
    Option(String),
    /// An input that the engine can't take.
    #[error("input \"{name}\": {why}")]
    Input {
        /// The input.
        name: String,
        /// Why not.
        why: String,
    },
    /// The engine said no.
    #[error("{engine}: {message}")]
    Engine {
        /// Which engine.
        engine: String,
        /// In its words.
        message: String,
    },
    /// A command failed or left no profile.
    #[error("{0}")]
    Command(String),
    /// The profile can't be read.
    #[error(transparent)]
    Profile(#[from] profiler::import::ImportError),
    /// A file can't be written or read.
    #[error("{0}: {1}")]
    Io(String, std::io::Error),
}

impl From<ort::Error> for PeerError {
    fn from(e: ort::Error) -> Self {
        PeerError::Engine { engine: "ONNX Runtime".to_owned(), message: e.message().to_owned() }
    }
}
