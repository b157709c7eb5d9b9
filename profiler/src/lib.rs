//! What a profile is. A [`Trace`] holds everything a view, an export, a statistic or a comparison needs, with no engine,
//! model or GPU at hand. A [`Recorder`] makes one while an engine runs; `import` and `export` carry it to and from files.
//!
//! This crate knows no graph and no engine.

pub mod accuracy;
pub mod advice;
mod audit;
pub mod compare;
pub mod export;
pub mod filter;
pub mod fixtures;
mod group;
pub mod import;
mod memory;
mod nest;
mod packed;
mod perfetto;
pub mod range;
mod recorder;
mod rollup;
pub mod roofline;
pub mod sandwich;
mod stats;
mod trace;

pub use advice::{Advice, Finding, advice};
pub use audit::{Audit, Badge, Severity};
pub use group::LayerSpans;
pub use memory::Timeline;
pub use recorder::{Recorder, SpanToken};
pub use rollup::{BlockKind, Rollup, RollupKey, rollup, scope_prefix};
pub use roofline::{Bound, Ceilings, LayerRoof, roofline};
pub use stats::{LayerStats, Summary};
pub use trace::*;
