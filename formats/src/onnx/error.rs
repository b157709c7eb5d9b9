//! What can be wrong with an ONNX model.

use graph::TensorError;

/// Why a model was refused. Each message names the node, tensor or field, and says what to do where there is something to do.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each field is named in its variant's message")]
pub enum OnnxError {
    #[error("damaged or not an ONNX file: {0}")]
    Decode(String),
    #[error("graphs nested deeper than {0} levels")]
    TooDeep(usize),
    #[error("{what}: more than this program accepts ({limit})")]
    TooLarge { what: &'static str, limit: u64 },
    #[error("no graph in the file: it may be damaged or not an ONNX model")]
    NoGraph,
    #[error("the file does not say which opset of domain \"{domain}\" node \"{node}\" ({op}) is from")]
    NoOpset { domain: String, node: String, op: String },
    #[error("opset version {version} of domain \"{domain}\" is not a version")]
    BadOpset { domain: String, version: i64 },
    #[error("tensor \"{tensor}\": {problem}")]
    Tensor { tensor: String, problem: TensorError },
    #[error("tensor \"{tensor}\": {why}")]
    TensorData { tensor: String, why: String },
    #[error("tensor \"{tensor}\": external data in \"{location}\": {why}")]
    External { tensor: String, location: String, why: String },
    #[error("{what} is not supported")]
    Unsupported { what: String },
    #[error("\"{value}\" is defined twice: {first}, and again {second}")]
    Duplicate { value: String, first: String, second: String },
    #[error("{user} uses \"{value}\", which nothing produces")]
    Missing { user: String, value: String },
    #[error("node \"{node}\" is part of a cycle")]
    Cycle { node: String },
    #[error("node \"{node}\": attribute \"{attribute}\": {why}")]
    Attribute { node: String, attribute: String, why: String },
    #[error("node \"{node}\": {why}")]
    Node { node: String, why: String },
    #[error("function \"{function}\": {why}")]
    Function { function: String, why: String },
}
