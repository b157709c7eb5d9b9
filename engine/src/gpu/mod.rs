//! Runs a plan on a GPU, with CPU help for the steps that have no GPU form there.

mod builder;
mod session;
mod transfer;

pub use builder::{GpuBuilder, GpuTensor};
pub use session::GpuSession;
pub(crate) use transfer::{device_dtype, to_device};
