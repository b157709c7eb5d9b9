//! Math on wgpu buffers: adapters, a device, named buffers, cached pipelines, timed runs, and one Rust file per kernel
//! beside its shader.
//!
//! Tensors on the device have elements of four bytes: f32, i32 (64-bit integers are narrowed by the caller when it uploads
//! them), and u32 holding 0 or 1 for booleans. Weights may also be packed: two f16 or four int8 values per word.
//!
//! A kernel function checks its operands and returns a [`Command`]; [`run_steps`] encodes lists of commands, runs them and
//! says when each list was busy, on the caller's clock. Nothing here panics: every failure is a [`GpuError`].

mod adapters;
mod buffer;
mod calibrate;
mod command;
#[cfg(test)]
mod cpu_twin;
mod error;
mod gpu;
pub mod kernels;
mod pipeline;
pub mod probe;
mod run;
mod shader;
mod tier;
pub mod tune;
#[cfg(test)]
mod twin;

pub use adapters::{AdapterEntry, adapters};
pub use buffer::{Binding, Buffer};
pub use command::Command;
pub use error::GpuError;
pub use gpu::Gpu;
pub use pipeline::PipelineTime;
pub use run::{Quality, RunTimes, StepTimes, TimestampStrategy, run_steps};
pub use tier::Tier;
