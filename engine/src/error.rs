//! Why a model can't be planned or run.

use crate::op::OpError;

/// Why a model can't be planned or run. Messages name the node, its domain and its opset.
#[derive(Debug, thiserror::Error, Clone)]
pub enum EngineError {
    /// Operators that this program can't run yet, one message each.
    #[error("{} of the model's nodes can't be run:\n  {}", .0.len(), .0.join("\n  "))]
    Unsupported(Vec<String>),
    /// A node is wrong, or met a value that it can't take.
    #[error("{node}: {why}")]
    Node {
        /// The node with its operator and opset.
        node: String,
        /// What is wrong.
        why: OpError,
    },
    /// An input is missing, unknown, or has another type or shape than the model wants.
    #[error("{0}")]
    Input(String),
    /// More memory would be needed than there is.
    #[error("{what} needs {need} bytes, more than the limit of {limit}; use smaller dimensions (--dim NAME=N)")]
    Memory {
        /// What is too large.
        what: String,
        /// Its size.
        need: u64,
        /// The limit.
        limit: u64,
    },
    /// The user asked to stop.
    #[error("cancelled")]
    Cancelled,
    /// The GPU failed.
    #[error("{0}; the CPU can run this model: choose the device \"cpu\"")]
    Gpu(#[from] gpu_kernels::GpuError),
}

impl EngineError {
    /// What stopped a node, described as in [`crate::op::describe`].
    pub(crate) fn at(node: &str, why: OpError) -> EngineError {
        match why {
            OpError::Cancelled => EngineError::Cancelled,
            why => EngineError::Node { node: node.to_owned(), why },
        }
    }
}
