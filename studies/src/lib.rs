//! What the user asks for: how long a model takes and why ([`profile`]), what a reduced precision costs ([`accuracy`]), what
//! is in it ([`inspect`]), and whether it computes what it should ([`verify`]). Each study takes a model and [`Settings`],
//! reports to a [`Control`], and yields a [`profiler::Trace`] or a report.

mod accuracy;
mod bench;
mod cache_sizes;
pub mod ceilings;
mod devices;
mod engines;
mod evaluation;
mod inputs;
mod inspect;
mod latency;
mod overlay;
mod pace;
mod peer;
mod runner;
pub mod samples;
mod settings;
mod side_by_side;
mod structure;
pub mod tuning;
pub mod verify;
mod what_if;

use std::path::Path;
use std::sync::Arc;

use graph::Model;

pub use accuracy::accuracy;
pub use bench::{BenchEngine, BenchPlan, BenchRatio, BenchRow, LoadCost, bench, load_cost};
pub use devices::{Device, devices};
pub use engines::EngineChoice;
pub use inputs::{default_dims, make_inputs};
pub use inspect::{InputInfo, Inspection, NodeInfo, inspect};
pub use latency::{Profiled, profile};
pub use overlay::{OverlayReport, overlay, overlay_optimised};
pub use settings::{
    Budget, Control, DeviceChoice, EngineOptions, Fill, OptionInfo, Precision, Progress, Settings, StudyError,
    describe_options,
};
pub use side_by_side::side_by_side;
pub use structure::{model_hash, source_nodes};
pub use what_if::{Case, WhatIf, what_if};

/// Opens a model file, or a sample by `sample:<id>`.
pub fn open(path: &Path) -> Result<Arc<Model>, StudyError> {
    match path.to_str().and_then(|p| p.strip_prefix("sample:")) {
        Some(id) => samples::find(id)
            .ok_or_else(|| {
                let ids: Vec<&str> = samples::all().iter().map(|s| s.id).collect();
                StudyError::Settings(format!("there is no sample \"{id}\"; there are {}", ids.join(", ")))
            })?
            .open(),
        None => Ok(Arc::new(formats::open(path)?)),
    }
}
