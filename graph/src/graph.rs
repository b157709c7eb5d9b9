//! The graph: values, nodes, attributes.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use crate::{Backing, DType, Tensor, TensorType};

macro_rules! id {
    ($(#[$m:meta])* $name:ident) => {
        $(#[$m])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
        pub struct $name(pub u32);
        impl $name {
            /// As an index into the graph's table.
            pub fn index(self) -> usize {
                self.0 as usize
            }
        }
    };
}
id!(/** An index into [`Graph::values`]. */ ValueId);
id!(/** An index into [`Graph::nodes`]. */ NodeId);

/// What a value may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ValueKind {
    /// A tensor.
    #[default]
    Tensor,
    /// A sequence of tensors.
    Sequence,
    /// A tensor or nothing.
    Optional,
    /// A sequence of tensors or nothing.
    OptionalSequence,
}

/// A named value that flows through the graph.
#[derive(Clone, Debug, Default)]
pub struct Value {
    /// The name in the file.
    pub name: String,
    /// The declared or inferred type, if any: for a sequence that of its tensors.
    pub ty: Option<TensorType>,
    /// Whether it is a tensor at all, as far as declared.
    pub kind: ValueKind,
    /// The constant that it holds (an initializer or the result of folding), if any.
    pub constant: Option<Tensor>,
}

/// An attribute of a node.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the names are ONNX's")]
pub enum Attr {
    Int(i64),
    Float(f32),
    String(Bytes),
    Tensor(Tensor),
    Graph(Box<Graph>),
    Ints(Vec<i64>),
    Floats(Vec<f32>),
    Strings(Vec<Bytes>),
    Tensors(Vec<Tensor>),
    Graphs(Vec<Graph>),
    /// The type of a value.
    Type(ValueKind, TensorType),
    /// A kind that is kept only by name (sparse tensors, lists of types).
    Other(&'static str),
}

/// One operation.
#[derive(Clone, Debug)]
pub struct Node {
    /// The name in the file, or one made from the operator and the node's index.
    pub name: String,
    /// The operator's domain; the standard domain is the empty string.
    pub domain: String,
    /// The operator's name.
    pub op_type: String,
    /// Inputs; `None` where an optional input is left out.
    pub inputs: Vec<Option<ValueId>>,
    /// Outputs; `None` where an optional output is left out.
    pub outputs: Vec<Option<ValueId>>,
    /// Attributes by name.
    pub attrs: BTreeMap<String, Attr>,
    /// Where it sits in the model: `encoder/layer.3/attention/query`; empty if unknown.
    pub scope: String,
    /// The file's nodes that this one was made from: its own name, until a pass fuses nodes.
    pub sources: Vec<String>,
}

/// Values and the nodes over them, in topological order.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// The graph's name.
    pub name: String,
    /// All values: inputs, constants, intermediate results.
    pub values: Vec<Value>,
    /// All nodes; `formats` guarantees topological order and that each value has one producer at most.
    pub nodes: Vec<Node>,
    /// What the caller feeds.
    pub inputs: Vec<ValueId>,
    /// What the caller gets.
    pub outputs: Vec<ValueId>,
    /// Operator-set versions by domain (the standard domain is the empty string).
    pub opsets: BTreeMap<String, i64>,
    /// For a subgraph (the body of If, Loop, Scan): the names in the enclosing graph that it uses, with its own value for each.
    pub captures: Vec<(String, ValueId)>,
    /// The mapped files that constants are slices of; empty for a subgraph, and where all is on the heap.
    pub files: Vec<Arc<dyn Backing>>,
}

impl Graph {
    /// Adds a value and returns its id.
    pub fn add_value(&mut self, value: Value) -> ValueId {
        self.values.push(value);
        ValueId(u32::try_from(self.values.len() - 1).expect("fewer than 2^32 values"))
    }

    /// The value behind an id.
    pub fn value(&self, id: ValueId) -> &Value {
        &self.values[id.index()]
    }

    /// The node that produces each value, by value index.
    pub fn producers(&self) -> Vec<Option<NodeId>> {
        let mut p = vec![None; self.values.len()];
        for (i, n) in self.nodes.iter().enumerate() {
            for o in n.outputs.iter().flatten() {
                p[o.index()] = Some(NodeId(i as u32));
            }
        }
        p
    }

    /// The nodes that read each value, by value index, each named once per use. Captures of nested graphs count as uses.
    pub fn consumers(&self) -> Vec<Vec<NodeId>> {
        let by_name: BTreeMap<&str, usize> =
            self.values.iter().enumerate().map(|(i, v)| (v.name.as_str(), i)).collect();
        let mut c = vec![Vec::new(); self.values.len()];
        for (i, n) in self.nodes.iter().enumerate() {
            for v in n.inputs.iter().flatten() {
                c[v.index()].push(NodeId(i as u32));
            }
            let bodies = n.attrs.values().flat_map(|a| match a {
                Attr::Graph(g) => std::slice::from_ref(&**g),
                Attr::Graphs(gs) => gs.as_slice(),
                _ => &[],
            });
            for (name, _) in bodies.flat_map(|g| &g.captures) {
                if let Some(&v) = by_name.get(name.as_str()) {
                    c[v].push(NodeId(i as u32));
                }
            }
        }
        c
    }

    /// Gives back the memory of a constant that was read and won't be soon. It stays readable: where it is a slice of a
    /// mapped file, it is read from there again, and otherwise nothing happens.
    pub fn release(&self, constant: &Tensor) {
        self.files.iter().for_each(|f| f.release(constant.bytes()));
    }

    /// As [`Graph::release`], for all that lies in files.
    pub fn release_all(&self) {
        self.files.iter().for_each(|f| f.release_all());
    }

    /// Bytes of all constants.
    pub fn constant_bytes(&self) -> u64 {
        self.values.iter().filter_map(|v| v.constant.as_ref()).map(|t| t.bytes().len() as u64).sum()
    }

    /// Elements of all floating-point constants: what people call "parameters".
    pub fn parameter_count(&self) -> u64 {
        let float =
            |t: &&Tensor| t.dtype().is_float() || matches!(t.dtype(), DType::I8 | DType::U8 | DType::I4 | DType::U4);
        self.values.iter().filter_map(|v| v.constant.as_ref()).filter(float).map(|t| t.len() as u64).sum()
    }

    /// The names of the symbolic dimensions of the inputs, in order of first use.
    pub fn symbols(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for id in &self.inputs {
            for d in self.value(*id).ty.iter().flat_map(|t| t.shape.iter().flatten()) {
                if let crate::Dim::Symbol(s) = d
                    && !names.iter().any(|n| **n == **s)
                {
                    names.push(s.to_string());
                }
            }
        }
        names
    }
}

/// A model as opened from a file.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// The main graph, functions inlined.
    pub graph: Graph,
    /// Where it came from; empty for an embedded sample.
    pub path: PathBuf,
    /// What wrote it: `pytorch 2.15.0`.
    pub producer: String,
    /// `onnx`.
    pub format: String,
    /// Bytes of the file and of its external data.
    pub file_bytes: u64,
    /// Free-form properties of the file.
    pub metadata: BTreeMap<String, String>,
}

impl fmt::Display for Attr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Attr::Int(v) => write!(f, "{v}"),
            Attr::Float(v) => write!(f, "{v}"),
            Attr::String(s) => write!(f, "\"{}\"", String::from_utf8_lossy(s)),
            Attr::Tensor(t) => write!(f, "{}{:?}", t.dtype(), t.shape()),
            Attr::Graph(g) => write!(f, "graph of {} nodes", g.nodes.len()),
            Attr::Ints(v) => write!(f, "{v:?}"),
            Attr::Floats(v) => write!(f, "{v:?}"),
            Attr::Strings(v) => write!(f, "{} strings", v.len()),
            Attr::Tensors(v) => write!(f, "{} tensors", v.len()),
            Attr::Graphs(v) => write!(f, "{} graphs", v.len()),
            Attr::Type(kind, ty) => write!(f, "{kind:?} of {ty}"),
            Attr::Other(kind) => f.write_str(kind),
        }
    }
}
