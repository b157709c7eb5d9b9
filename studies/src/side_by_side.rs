//! One model in two engines.

use std::sync::Arc;

use graph::Model;

use crate::engines::EngineChoice;
use crate::latency::{Profiled, profile};
use crate::settings::{Control, DeviceChoice, Settings, StudyError};

/// Measures a model in two engines under otherwise equal settings, one after the other.
pub fn side_by_side(
    model: &Arc<Model>,
    settings: &Settings,
    engines: [EngineChoice; 2],
    control: &Control,
) -> Result<[Profiled; 2], StudyError> {
    // "Best device" would set a GPU of ours against a CPU of theirs.
    let device = if settings.device == DeviceChoice::Auto { DeviceChoice::Cpu } else { settings.device };
    let measured = |engine| profile(model, &Settings { engine, device, ..settings.clone() }, control);
    let [first, second] = engines;
    Ok([measured(first)?, measured(second)?])
}
