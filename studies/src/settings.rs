//! What a study is asked: device, precision, dimensions, inputs, how long; and how it reports and is stopped.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Where to run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash, serde::Serialize, serde::Deserialize)]
pub enum DeviceChoice {
    /// A hardware GPU if there is one, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// A GPU by its index in the list of adapters; `None` = the best one.
    Gpu(Option<usize>),
}

impl FromStr for DeviceChoice {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        match s {
            "auto" => Ok(DeviceChoice::Auto),
            "cpu" => Ok(DeviceChoice::Cpu),
            "gpu" => Ok(DeviceChoice::Gpu(None)),
            _ => s.strip_prefix("gpu:").and_then(|n| n.parse().ok()).map(|n| DeviceChoice::Gpu(Some(n))).ok_or_else(
                || format!("\"{s}\" is no device: use auto, cpu, gpu or gpu:N (`stratoscope devices` lists them)"),
            ),
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceChoice::Auto => f.write_str("auto"),
            DeviceChoice::Cpu => f.write_str("cpu"),
            DeviceChoice::Gpu(None) => f.write_str("gpu"),
            DeviceChoice::Gpu(Some(n)) => write!(f, "gpu:{n}"),
        }
    }
}

pub use engine::Precision;
pub use peers::{EngineOptions, OptionInfo, describe_options};

use crate::engines::EngineChoice;

/// How a model input is filled.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub enum Fill {
    /// From the seed: normal noise for floats, ids within the vocabulary for integers, ones for masks.
    Random,
    /// One value everywhere.
    Constant(f64),
    /// A `.npy` or `.pb` file.
    File(PathBuf),
}

/// How long to measure.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub enum Budget {
    /// This many measured runs.
    Runs(u32),
    /// Until the statistics settle, this many seconds at most (and 3 runs at least).
    Seconds(f64),
}

/// Everything that a run depends on besides the model.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Which engine runs the model.
    pub engine: EngineChoice,
    /// Options of ONNX Runtime.
    pub engine_options: EngineOptions,
    /// Where to run.
    pub device: DeviceChoice,
    /// CPU threads; `None` = one per physical core.
    pub threads: Option<usize>,
    /// Values for symbolic dimensions; the rest get defaults.
    pub dims: BTreeMap<String, usize>,
    /// How inputs are filled; those not named are random.
    pub inputs: BTreeMap<String, Fill>,
    /// The weights' precision.
    pub precision: Precision,
    /// How long to measure.
    pub budget: Budget,
    /// Runs before measuring.
    pub warmup: u32,
    /// Fuse operators.
    pub fusion: bool,
    /// The seed of random inputs.
    pub seed: u64,
    /// The most bytes that a plan's activations, or one output whose size depends on data, may take; `None` = 80% of what is free.
    pub memory_limit: Option<u64>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            engine: EngineChoice::Own,
            engine_options: EngineOptions::default(),
            device: DeviceChoice::Cpu,
            threads: None,
            dims: BTreeMap::new(),
            inputs: BTreeMap::new(),
            precision: Precision::F32,
            budget: Budget::Seconds(3.0),
            warmup: 3,
            fusion: true,
            seed: 1,
            memory_limit: None,
        }
    }
}

/// How far a study is.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// What is being done, in words: `Measuring`, `Packing weights`.
    pub stage: String,
    /// 0 to 1, if known.
    pub fraction: Option<f32>,
    /// The time left, if it can be told.
    pub left: Option<Duration>,
}

/// Reports progress and carries the wish to stop.
#[derive(Clone)]
pub struct Control {
    cancel: Arc<AtomicBool>,
    report: Arc<dyn Fn(Progress) + Send + Sync>,
}

impl Control {
    /// A control that reports to `report`.
    pub fn new(report: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        Control { cancel: Arc::default(), report: Arc::new(report) }
    }

    /// A control that nobody listens to.
    pub fn silent() -> Self {
        Control::new(|_| ())
    }

    /// Asks the study to stop; it answers with [`StudyError::Cancelled`].
    pub fn cancel(&self) {
        self.cancel.store(true, Ordering::Relaxed);
    }

    /// True once somebody asked to stop.
    pub fn is_cancelled(&self) -> bool {
        self.cancel.load(Ordering::Relaxed)
    }

    /// The flag, for the engine to look at between steps.
    pub fn flag(&self) -> &AtomicBool {
        &self.cancel
    }

    /// Reports, and fails if somebody asked to stop.
    pub fn step(&self, stage: &str, fraction: Option<f32>, left: Option<Duration>) -> Result<(), StudyError> {
        if self.is_cancelled() {
            return Err(StudyError::Cancelled);
        }
        (self.report)(Progress { stage: stage.to_owned(), fraction, left });
        Ok(())
    }
}

/// Why a study ended without a result.
#[derive(Debug, thiserror::Error)]
pub enum StudyError {
    /// The user asked to stop.
    #[error("cancelled")]
    Cancelled,
    /// The file can't be opened.
    #[error(transparent)]
    Open(#[from] formats::FormatError),
    /// The model can't be planned or run.
    #[error(transparent)]
    Engine(#[from] engine::EngineError),
    /// Another engine can't do it.
    #[error(transparent)]
    Peer(peers::PeerError),
    /// The settings don't fit the model.
    #[error("{0}")]
    Settings(String),
    /// The device's ceilings can't be measured.
    #[error("the ceilings can't be measured: {0}")]
    Probe(String),
}

impl From<peers::PeerError> for StudyError {
    fn from(e: peers::PeerError) -> Self {
        match e {
            peers::PeerError::Cancelled => StudyError::Cancelled,
            e => StudyError::Peer(e),
        }
    }
}
