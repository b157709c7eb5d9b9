//! Engines of others behind one seam: ONNX Runtime, loaded at run time from the user's own library, and commands that run a
//! model and leave a profile.
//!
//! An [`Engine`] opens sessions; an [`EngineSession`] runs a model, and one that was opened to profile yields a
//! [`profiler::Trace`] in the engine's own terms. Laying that over the model's nodes is not done here: it takes the model.

mod engine;
mod error;
pub mod external;
pub mod find;
mod library;
mod options;
mod process;
mod session;
mod values;

pub use engine::{Engine, EngineSession, OptimisedModel, Request};
pub use error::PeerError;
pub use library::OnnxRuntime;
pub use options::{EngineOptions, OptionInfo, describe_options};
