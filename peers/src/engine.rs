//! The seam.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use graph::Tensor;
use profiler::Trace;

use crate::{EngineOptions, PeerError};

/// What a session is opened for.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The model's file.
    pub model: &'a Path,
    /// The inputs that every run is fed.
    pub inputs: &'a [(String, Tensor)],
    /// Threads within an operator.
    pub threads: usize,
    /// What else people tune.
    pub options: &'a EngineOptions,
    /// True to record what each layer takes, which costs time: see [`EngineSession::profile`].
    pub profiled: bool,
}

/// An engine that runs models in this process.
pub trait Engine {
    /// `ONNX Runtime`.
    fn name(&self) -> &str;
    /// `1.32.0`.
    fn version(&self) -> &str;
    /// Loads a model.
    fn open(&self, request: &Request, cancel: &AtomicBool) -> Result<Box<dyn EngineSession>, PeerError>;
}

/// A loaded model.
pub trait EngineSession {
    /// What loading took.
    fn load_ns(&self) -> u64;
    /// Runs once; gives back what that took.
    fn run(&mut self, cancel: &AtomicBool) -> Result<u64, PeerError>;
    /// Runs once more; gives back the outputs.
    fn outputs(&mut self, cancel: &AtomicBool) -> Result<Vec<(String, Tensor)>, PeerError>;
    /// Ends recording: what the runs up to here took, layer by layer. Fails if the session was not opened to profile.
    fn profile(&mut self) -> Result<Trace, PeerError>;
}

/// An optimised model in a folder of its own, which is removed with this.
#[derive(Debug)]
pub struct OptimisedModel {
    /// The model's file.
    pub path: PathBuf,
    pub(crate) _folder: tempfile::TempDir,
}
