//! What a model is: a [`Graph`] of [`Node`]s over [`Value`]s, [`TensorType`]s with symbolic dimensions, and
//! [`Tensor`]s whose bytes are shared (mapped from the file where they can be), never copied on clone.
//!
//! Nothing here reads files or runs anything: `formats` builds these types and `engine` consumes them.

mod backing;
mod dtype;
mod graph;
mod tensor;
mod types;

pub use backing::Backing;
pub use dtype::DType;
pub use graph::{Attr, Graph, Model, Node, NodeId, Value, ValueId, ValueKind};
pub use tensor::{Element, Tensor, TensorError};
pub use types::{Dim, TensorType};
