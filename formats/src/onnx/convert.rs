//! `GraphProto` to [`Graph`].
//!
//! Names are looked up in a [`Frame`]: that of the main graph, of a subgraph (which captures what it does not define) or
//! of a function call (whose inputs and outputs stand for the caller's values). What a frame defines is collected first,
//! so that nodes may be in any order and each undefined name is found where it is used.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;

use bytes::Bytes;
use graph::{Attr, DType, Dim, Graph, Node, Tensor, TensorType, Value, ValueId, ValueKind};

use super::call::Functions;
use super::external::ExternalData;
use super::names::Names;
use super::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TypeProto, attribute_type as kind,
};
use super::tensor::TensorReader;
use super::{OnnxError, scope, sort};

/// How many nodes, values and attribute elements function calls may add to those in the file.
const MAX_INLINED: u64 = 2_000_000;
/// Subgraphs and function calls within each other. A function that calls itself gets here too.
pub(super) const MAX_DEPTH: usize = 32;

pub(super) type Attrs = BTreeMap<String, Attr>;

/// The names that a subgraph takes from the graph around it, with its own value for each.
type Captures<'a> = Vec<(&'a str, ValueId)>;

/// What is shared by all graphs of a model.
pub(super) struct Converter<'a> {
    pub functions: Functions<'a>,
    pub opsets: BTreeMap<String, i64>,
    tensors: TensorReader,
    /// How many more nodes, values and attribute elements are accepted, and out of how many.
    items_left: u64,
    limit: u64,
}

/// A graph in the making.
pub(super) struct Builder {
    pub graph: Graph,
    pub value_names: Names,
    pub node_names: Names,
    /// For each node, the values that its subgraphs use.
    captures: Vec<Vec<ValueId>>,
    /// The names of nodes of which the file does not say where they belong.
    unscoped: HashSet<String>,
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum FrameKind {
    Main,
    Subgraph,
    Call,
}

/// The names that are visible at one place.
pub(super) struct Frame<'a> {
    pub kind: FrameKind,
    /// What is defined here, and by what, for messages.
    pub defined: HashMap<&'a str, String>,
    /// The values that names stand for, made on first use; `None` for an optional input that the caller left out.
    pub values: HashMap<&'a str, Option<ValueId>>,
    /// For a subgraph: what it takes from around it.
    pub outer: Captures<'a>,
    /// For the body of a function, subgraphs within it included: the attributes of the call.
    pub attrs: Option<Rc<Attrs>>,
    /// Prefix of value and node names, without the slash; empty outside of functions.
    pub prefix: String,
    /// The scope of the call that this is in.
    pub scope: String,
    /// How many subgraphs and calls this is in.
    pub depth: usize,
}

/// The main graph of a model that took `encoded` bytes.
pub(super) fn main_graph(
    p: &ModelProto,
    encoded: usize,
    external: ExternalData,
) -> Result<(Graph, ExternalData), OnnxError> {
    let opsets = opsets(&p.opset_import)?;
    let functions = Functions::new(&p.functions)?;
    // Each item takes a byte at least, so that a file without calls never meets the limit.
    let limit = encoded as u64 + MAX_INLINED;
    let mut c = Converter { functions, opsets, tensors: TensorReader::new(external), items_left: limit, limit };
    let graph = c.graph(p.graph.as_ref().ok_or(OnnxError::NoGraph)?, Frame::main())?.0;
    Ok((graph, c.tensors.external))
}

/// Versions by domain. The standard domain has two names.
pub(super) fn opsets(imports: &[OperatorSetIdProto]) -> Result<BTreeMap<String, i64>, OnnxError> {
    let mut opsets = BTreeMap::new();
    for o in imports {
        let domain = normal_domain(o.domain.as_deref()).to_string();
        let version = o.version.unwrap_or(0);
        if version < 1 || opsets.insert(domain.clone(), version).is_some_and(|v| v != version) {
            return Err(OnnxError::BadOpset { domain, version });
        }
    }
    Ok(opsets)
}

pub(super) fn normal_domain(domain: Option<&str>) -> &str {
    domain.filter(|&d| d != "ai.onnx").unwrap_or_default()
}

impl<'a> Converter<'a> {
    /// Counts work, so that functions that call functions cannot grow without bound.
    pub(super) fn spend(&mut self, items: usize) -> Result<(), OnnxError> {
        let what = "nodes, values and attributes with functions inlined";
        self.items_left =
            self.items_left.checked_sub(items as u64).ok_or(OnnxError::TooLarge { what, limit: self.limit })?;
        Ok(())
    }

    /// A graph, and the names that it takes from the graph around it.
    fn graph(&mut self, p: &'a GraphProto, mut frame: Frame<'a>) -> Result<(Graph, Captures<'a>), OnnxError> {
        if frame.depth > MAX_DEPTH {
            return Err(OnnxError::TooDeep(MAX_DEPTH));
        }
        if !p.sparse_initializer.is_empty() {
            let name = p.name.as_deref().unwrap_or_default();
            return Err(OnnxError::Unsupported { what: format!("a sparse initializer (in graph \"{name}\")") });
        }
        let mut b = Builder {
            graph: Graph { name: p.name.clone().unwrap_or_default(), opsets: self.opsets.clone(), ..Graph::default() },
            value_names: Names::default(),
            node_names: Names::default(),
            captures: Vec::new(),
            unscoped: HashSet::new(),
        };
        for t in &p.initializer {
            frame.define(t.name.as_deref().unwrap_or_default(), || "as an initializer".into())?;
        }
        let initialized = frame.defined.clone();
        for i in p.input.iter().filter(|i| !initialized.contains_key(i.name.as_deref().unwrap_or_default())) {
            frame.define(i.name.as_deref().unwrap_or_default(), || "as an input".into())?;
        }
        frame.define_outputs(&p.node)?;
        for name in frame.defined.keys() {
            b.value_names.take(name);
        }

        self.spend(p.initializer.len() + p.input.len() + p.output.len() + p.value_info.len())?;
        for i in p.input.iter() {
            let name = i.name.as_deref().unwrap_or_default();
            if !initialized.contains_key(name) {
                let id = b.lookup(&mut frame, name, "the graph")?;
                b.graph.inputs.extend(id);
            }
        }
        for t in &p.initializer {
            let id = b.lookup(&mut frame, t.name.as_deref().unwrap_or_default(), "the graph")?;
            let tensor = self.tensors.read(t)?;
            b.set_constant(id, tensor);
        }
        self.nodes(&mut b, &mut frame, &p.node)?;
        for o in &p.output {
            let id = b.lookup(&mut frame, o.name.as_deref().unwrap_or_default(), "the graph's output list")?;
            b.graph.outputs.extend(id);
        }
        for info in p.input.iter().chain(&p.output).chain(&p.value_info) {
            let id = frame.values.get(info.name.as_deref().unwrap_or_default()).copied().flatten();
            if let Some(value) = id.map(|id| &mut b.graph.values[id.index()]).filter(|v| v.ty.is_none()) {
                let declared = info.r#type.as_ref().and_then(value_type);
                value.kind = declared.as_ref().map_or(value.kind, |d| d.0);
                value.ty = declared.map(|d| d.1);
            }
        }
        sort::sort(&mut b.graph, b.captures)?;
        scope::inherit(&mut b.graph, &b.unscoped);
        Ok((b.graph, frame.outer))
    }

    /// Nodes of a graph or of a function's body.
    pub(super) fn nodes(
        &mut self,
        b: &mut Builder,
        frame: &mut Frame<'a>,
        nodes: &'a [NodeProto],
    ) -> Result<(), OnnxError> {
        for (index, p) in nodes.iter().enumerate() {
            self.spend(1 + p.input.len() + p.output.len() + p.attribute.len())?;
            let op = p.op_type.as_deref().unwrap_or_default();
            let domain = normal_domain(p.domain.as_deref());
            let own = p.name.clone().filter(|n| !n.is_empty()).unwrap_or_else(|| format!("{op}_{index}"));
            let name =
                if frame.prefix.is_empty() { own } else { format!("{}/{}", frame.prefix, own.trim_start_matches('/')) };
            let own_scope = scope::scope_of(p);
            let scope_known = own_scope.is_some() || !frame.scope.is_empty();
            let scope = scope::join(&frame.scope, &own_scope.unwrap_or_default());
            let mut captures = Vec::new();
            let mut attrs = Attrs::new();
            for a in &p.attribute {
                let key = a.name.as_deref().unwrap_or_default();
                if let Some(attr) = self.attr(b, frame, &name, a, &mut captures)?
                    && attrs.insert(key.to_string(), attr).is_some()
                {
                    return Err(OnnxError::Attribute { node: name, attribute: key.into(), why: "given twice".into() });
                }
            }
            if let Some(function) = self.functions.get(p) {
                self.call(b, frame, p, function, (name, scope, attrs))?;
                continue;
            }
            if !self.opsets.contains_key(domain) {
                return Err(OnnxError::NoOpset { domain: domain.into(), node: name, op: op.into() });
            }
            let user = format!("node \"{name}\"");
            let ids = |b: &mut Builder, frame: &mut Frame<'a>, names: &'a [String]| -> Result<Vec<_>, _> {
                names.iter().map(|n| if n.is_empty() { Ok(None) } else { b.lookup(frame, n, &user) }).collect()
            };
            let outputs = ids(b, frame, &p.output)?;
            if op == "Constant" && domain.is_empty() {
                let [output] = outputs[..] else {
                    return Err(OnnxError::Node { node: name, why: "a Constant has one output".into() });
                };
                let tensor = constant(&name, &attrs)?;
                b.set_constant(output, tensor);
                continue;
            }
            let inputs = ids(b, frame, &p.input)?;
            let (domain, op_type, sources) = (domain.to_string(), op.to_string(), vec![]);
            b.push(Node { name, domain, op_type, inputs, outputs, attrs, scope, sources }, captures, scope_known);
        }
        Ok(())
    }

    /// An attribute's value; `None` if it refers to an attribute that the call leaves out. The values that subgraphs use
    /// are added to `captures`.
    pub(super) fn attr(
        &mut self,
        b: &mut Builder,
        frame: &mut Frame<'a>,
        node: &str,
        p: &'a AttributeProto,
        captures: &mut Vec<ValueId>,
    ) -> Result<Option<Attr>, OnnxError> {
        let attribute = p.name.as_deref().unwrap_or_default();
        let fail = |why: String| OnnxError::Attribute { node: node.into(), attribute: attribute.into(), why };
        if let Some(referred) = p.ref_attr_name.as_deref().filter(|r| !r.is_empty()) {
            let attrs = frame
                .attrs
                .as_ref()
                .ok_or_else(|| fail("refers to an attribute of a function, but is in none".into()))?;
            let attr = attrs.get(referred).cloned();
            self.spend(attr.as_ref().map_or(0, attr_items))?;
            return Ok(attr);
        }
        self.spend(p.ints.len() + p.floats.len() + p.strings.len() + p.tensors.len() + p.graphs.len())?;
        let absent = || fail("has no value".into());
        Ok(Some(match p.r#type.filter(|&t| t != kind::UNDEFINED).unwrap_or_else(|| inferred_type(p)) {
            kind::FLOAT => Attr::Float(p.f.unwrap_or(0.0)),
            kind::INT => Attr::Int(p.i.unwrap_or(0)),
            kind::STRING => Attr::String(p.s.clone().unwrap_or_default()),
            kind::TENSOR => Attr::Tensor(self.tensors.read(p.t.as_ref().ok_or_else(absent)?)?),
            kind::GRAPH => {
                Attr::Graph(Box::new(self.subgraph(b, frame, p.g.as_ref().ok_or_else(absent)?, node, captures)?))
            }
            kind::FLOATS => Attr::Floats(p.floats.clone()),
            kind::INTS => Attr::Ints(p.ints.clone()),
            kind::STRINGS => Attr::Strings(p.strings.clone()),
            kind::TENSORS => Attr::Tensors(p.tensors.iter().map(|t| self.tensors.read(t)).collect::<Result<_, _>>()?),
            kind::GRAPHS => {
                let graphs = p.graphs.iter().map(|g| self.subgraph(b, frame, g, node, captures));
                Attr::Graphs(graphs.collect::<Result<_, _>>()?)
            }
            kind::SPARSE_TENSOR => Attr::Other("sparse tensor"),
            kind::SPARSE_TENSORS => Attr::Other("sparse tensors"),
            kind::TYPE_PROTO => match p.tp.as_ref().and_then(value_type) {
                Some((kind, ty)) => Attr::Type(kind, ty),
                None => Attr::Other("type"),
            },
            kind::TYPE_PROTOS => Attr::Other("types"),
            other => return Err(fail(format!("unknown attribute type {other}"))),
        }))
    }

    /// The body of If, Loop or Scan. The names that it captures become those of the values in the graph around it.
    fn subgraph(
        &mut self,
        b: &mut Builder,
        frame: &mut Frame<'a>,
        p: &'a GraphProto,
        node: &str,
        captures: &mut Vec<ValueId>,
    ) -> Result<Graph, OnnxError> {
        let (mut graph, outer) = self.graph(p, frame.subgraph())?;
        for (name, inner) in outer {
            let user = format!("a subgraph of node \"{node}\"");
            let id = b.lookup(frame, name, &user)?.ok_or_else(|| OnnxError::Missing { user, value: name.into() })?;
            graph.captures.push((b.graph.value(id).name.clone(), inner));
            captures.push(id);
        }
        Ok(graph)
    }
}

impl<'a> Frame<'a> {
    fn main() -> Self {
        let (attrs, (prefix, scope, depth)) = (None, Default::default());
        let (defined, values, outer) = Default::default();
        Frame { kind: FrameKind::Main, defined, values, outer, attrs, prefix, scope, depth }
    }

    /// For a subgraph in this frame.
    fn subgraph(&self) -> Self {
        let (attrs, scope) = (self.attrs.clone(), self.scope.clone());
        Frame { kind: FrameKind::Subgraph, attrs, scope, depth: self.depth + 1, ..Frame::main() }
    }

    /// For the body of a function that a node of this frame calls.
    pub fn call(&self, attrs: Attrs, prefix: String, scope: String) -> Self {
        Frame {
            kind: FrameKind::Call,
            attrs: Some(Rc::new(attrs)),
            prefix,
            scope,
            depth: self.depth + 1,
            ..Frame::main()
        }
    }

    /// Notes that a name is defined here. Twice is an error.
    pub fn define(&mut self, name: &'a str, by: impl Fn() -> String) -> Result<(), OnnxError> {
        if let Some(first) = self.defined.insert(name, by()) {
            return Err(OnnxError::Duplicate { value: name.into(), first, second: by() });
        }
        Ok(())
    }

    /// Notes the outputs of nodes.
    pub fn define_outputs(&mut self, nodes: &'a [NodeProto]) -> Result<(), OnnxError> {
        for (index, node) in nodes.iter().enumerate() {
            for output in node.output.iter().filter(|o| !o.is_empty()) {
                let op = node.op_type.as_deref().unwrap_or_default();
                self.define(output, || match node.name.as_deref().unwrap_or_default() {
                    "" => format!("by node {index} ({op})"),
                    name => format!("by node \"{name}\" ({op})"),
                })?;
            }
        }
        Ok(())
    }
}

impl Builder {
    /// The value that a name stands for in a frame. `user` is who asks, for the message if nothing defines it.
    pub fn lookup<'a>(
        &mut self,
        frame: &mut Frame<'a>,
        name: &'a str,
        user: &str,
    ) -> Result<Option<ValueId>, OnnxError> {
        if let Some(&known) = frame.values.get(name) {
            return Ok(known);
        }
        let id = if frame.defined.contains_key(name) {
            let name = match frame.kind {
                FrameKind::Call => {
                    self.value_names.unique(&format!("{}/{}", frame.prefix, name.trim_start_matches('/')))
                }
                _ => name.to_string(),
            };
            self.graph.add_value(Value { name, ..Value::default() })
        } else if frame.kind == FrameKind::Subgraph && !name.is_empty() {
            // A value that a call within this subgraph made cannot have this name: the caller's names are taken first.
            let id = self.graph.add_value(Value { name: self.value_names.unique(name), ..Value::default() });
            frame.outer.push((name, id));
            id
        } else {
            return Err(OnnxError::Missing { user: user.into(), value: name.into() });
        };
        frame.values.insert(name, Some(id));
        Ok(Some(id))
    }

    pub fn set_constant(&mut self, id: Option<ValueId>, tensor: Tensor) {
        if let Some(id) = id {
            let value = &mut self.graph.values[id.index()];
            value.ty = Some(TensorType::known(tensor.dtype(), tensor.shape()));
            value.constant = Some(tensor);
        }
    }

    /// Adds a node under a unique name.
    pub fn push(&mut self, mut node: Node, captures: Vec<ValueId>, scope_known: bool) {
        node.name = self.node_names.unique(&node.name);
        node.sources = vec![node.name.clone()];
        if !scope_known {
            self.unscoped.insert(node.name.clone());
        }
        self.graph.nodes.push(node);
        self.captures.push(captures);
    }
}

/// The tensor of a Constant node.
fn constant(node: &str, attrs: &Attrs) -> Result<Tensor, OnnxError> {
    let mut values = attrs.iter().filter(|(k, _)| k.starts_with("value") || *k == "sparse_value");
    let (Some((key, attr)), None) = (values.next(), values.next()) else {
        return Err(OnnxError::Node { node: node.into(), why: "a Constant has one value attribute".into() });
    };
    let strings = |shape: Vec<usize>, s: Vec<Bytes>| {
        Tensor::from_strings(shape, s).map_err(|problem| OnnxError::Tensor { tensor: node.into(), problem })
    };
    Ok(match (key.as_str(), attr) {
        ("value", Attr::Tensor(t)) => t.clone(),
        ("value_int", Attr::Int(v)) => Tensor::scalar(*v),
        ("value_float", Attr::Float(v)) => Tensor::scalar(*v),
        ("value_ints", Attr::Ints(v)) => Tensor::from_vec(&[v.len()], v.clone()),
        ("value_floats", Attr::Floats(v)) => Tensor::from_vec(&[v.len()], v.clone()),
        ("value_string", Attr::String(s)) => strings(vec![], vec![s.clone()])?,
        ("value_strings", Attr::Strings(s)) => strings(vec![s.len()], s.clone())?,
        _ => {
            let why = format!("{attr} is not a value that a Constant can have here");
            return Err(OnnxError::Attribute { node: node.into(), attribute: key.clone(), why });
        }
    })
}

/// For files of IR version 1, which do not say the type: by the field that is set.
fn inferred_type(p: &AttributeProto) -> i32 {
    let set = [
        (p.f.is_some(), kind::FLOAT),
        (p.i.is_some(), kind::INT),
        (p.s.is_some(), kind::STRING),
        (p.t.is_some(), kind::TENSOR),
        (p.g.is_some(), kind::GRAPH),
        (!p.floats.is_empty(), kind::FLOATS),
        (!p.ints.is_empty(), kind::INTS),
        (!p.strings.is_empty(), kind::STRINGS),
        (!p.tensors.is_empty(), kind::TENSORS),
        (!p.graphs.is_empty(), kind::GRAPHS),
    ];
    set.iter().find(|s| s.0).map_or(kind::UNDEFINED, |s| s.1)
}

fn attr_items(attr: &Attr) -> usize {
    match attr {
        Attr::Ints(v) => v.len(),
        Attr::Floats(v) => v.len(),
        Attr::Strings(v) => v.len(),
        Attr::Tensors(v) => v.len(),
        _ => 1,
    }
}

/// The declared type, if it is that of tensors of a known element type, of a sequence of them, or of an optional of either.
fn value_type(p: &TypeProto) -> Option<(ValueKind, TensorType)> {
    let (kind, tensor) = match (&p.sequence_type, &p.optional_type) {
        (Some(s), _) => (ValueKind::Sequence, s.elem_type.as_ref()?),
        (None, Some(o)) => match o.elem_type.as_ref()? {
            TypeProto { sequence_type: Some(s), .. } => (ValueKind::OptionalSequence, s.elem_type.as_ref()?),
            held => (ValueKind::Optional, held),
        },
        (None, None) => (ValueKind::Tensor, p),
    };
    Some((kind, tensor_type(tensor)?))
}

/// The declared type, if it is that of a dense tensor of a known element type.
fn tensor_type(p: &TypeProto) -> Option<TensorType> {
    let t = p.tensor_type.as_ref()?;
    let dtype = DType::from_onnx(t.elem_type?)?;
    let dim = |d: &super::proto::DimensionProto| match (d.dim_value, d.dim_param.as_deref()) {
        // Some exporters write -1 for "any".
        (Some(n), _) => usize::try_from(n).map_or(Dim::Unknown, Dim::Known),
        (None, Some(name)) if !name.is_empty() => Dim::Symbol(name.into()),
        _ => Dim::Unknown,
    };
    Some(TensorType { dtype, shape: t.shape.as_ref().map(|s| s.dim.iter().map(dim).collect()) })
}
