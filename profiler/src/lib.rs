//! What a profile is. A [`Trace`] holds everything a view, an export, a statistic or a comparison needs, with no engine,
//! model or GPU at hand. A [`Recorder`] makes one while an engine runs; `import` and `export` carry it to and from files.
//!
//! This crate knows no graph and no engine.

pub mod accuracy;
pub mod export;
pub mod import;
mod recorder;
mod stats;
mod trace;

pub use recorder::{Recorder, SpanToken};
pub use stats::{Audit, Badge, LayerStats, Severity, Summary};
pub use trace::*;
