//! Runs a [`graph::Graph`]: reads its operators, infers shapes, folds constants, fuses nodes, plans memory, and runs the plan
//! on the CPU or on a GPU while a [`profiler::Recorder`] watches.
//!
//! An operator is one file in `ops/`, a pass one file in `passes/`; each is one line in a list.

pub mod attrs;
mod body;
mod captures;
mod error;
mod exec;
pub mod gpu;
mod memory;
mod needs;
pub mod op;
pub mod ops;
mod options;
mod passes;
mod plan;
mod precision;
mod prepare;
mod registry;
mod schedule;
mod session;
pub mod tensor;
mod work;

pub use cpu_kernels::pool::Pool;
pub use cpu_kernels::probe as cpu_probe;
pub use error::EngineError;
pub use gpu::GpuSession;
pub use gpu_kernels::kernels::tiles as gpu_tiles;
pub use gpu_kernels::probe as gpu_probe;
pub use gpu_kernels::tune as gpu_tune;
pub use gpu_kernels::{AdapterEntry, Gpu, GpuError, adapters};
pub use needs::{MemoryFigures, MemoryNeeds};
pub use options::{PlanOptions, symbol};
pub use plan::{Lifetime, Place, Plan, PlanValue, Step};
pub use precision::Precision;
pub use registry::{knows, operator_count, read as read_operator};
pub use session::{Session, Tap, Tapped};
