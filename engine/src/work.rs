//! A graph while passes rewrite it: nodes with their operators, facts of values, who makes and who reads each value.

use std::sync::Arc;

use graph::{Graph, Node, Tensor, Value, ValueId};

use crate::captures;
use crate::error::EngineError;
use crate::op::{Fact, Inputs, NEWEST, OpError, Operator, describe};
use crate::ops::{contrib, legacy};
use crate::registry;
use crate::tensor::constant_f32;

/// An index into [`Work::nodes`].
pub type NodeIx = usize;

/// A node and its operator.
#[derive(Clone, Debug)]
pub struct WorkNode {
    /// As in the file, or as a pass made it.
    pub node: Node,
    /// Its operator.
    pub op: Arc<dyn Operator>,
}

/// A graph under work. Removed nodes leave a hole, so that indices stay true.
pub struct Work {
    /// The graph's values, inputs and outputs; its nodes have moved to `nodes`.
    pub graph: Graph,
    /// The nodes in topological order.
    pub nodes: Vec<Option<WorkNode>>,
    /// What is known of each value.
    pub facts: Vec<Option<Fact>>,
    producer: Vec<Option<NodeIx>>,
    readers: Vec<Vec<NodeIx>>,
}

impl Work {
    /// Takes the graph apart. Nodes without an operator are all reported at once.
    pub fn new(mut graph: Graph) -> Result<Work, EngineError> {
        captures::close(&mut graph)?;
        let nodes = std::mem::take(&mut graph.nodes);
        let nodes = read_nodes(&mut graph, nodes)?;
        let n = graph.values.len();
        let facts = graph.values.iter().map(|v| v.constant.clone().map(Fact::constant)).collect();
        let mut work = Work { graph, nodes: Vec::new(), facts, producer: vec![None; n], readers: vec![Vec::new(); n] };
        for node in nodes {
            work.nodes.push(None);
            let ix = work.nodes.len() - 1;
            work.put(ix, node);
        }
        Ok(work)
    }

    /// The live nodes in order.
    pub fn iter(&self) -> impl Iterator<Item = (NodeIx, &WorkNode)> {
        self.nodes.iter().enumerate().filter_map(|(i, n)| Some((i, n.as_ref()?)))
    }

    /// The node that makes a value.
    pub fn producer(&self, v: ValueId) -> Option<NodeIx> {
        self.producer[v.index()]
    }

    /// The nodes that read a value, once per use.
    pub fn readers(&self, v: ValueId) -> &[NodeIx] {
        &self.readers[v.index()]
    }

    /// True if the value is read once, and is no output of the model.
    pub fn is_private(&self, v: ValueId) -> bool {
        self.readers(v).len() == 1 && !self.graph.outputs.contains(&v)
    }

    /// A live node.
    pub fn node(&self, ix: NodeIx) -> Option<&Node> {
        self.nodes.get(ix)?.as_ref().map(|n| &n.node)
    }

    /// The node that makes `v`, if it has this standard operator.
    pub fn made_by(&self, v: ValueId, op_type: &str) -> Option<NodeIx> {
        let ix = self.producer(v)?;
        let n = self.node(ix)?;
        (n.op_type == op_type && n.domain.is_empty()).then_some(ix)
    }

    /// The only reader of a private value, if it has one of these standard operators.
    pub fn only_reader(&self, v: ValueId, op_types: &[&str]) -> Option<NodeIx> {
        if !self.is_private(v) {
            return None;
        }
        let ix = self.readers(v)[0];
        let n = self.node(ix)?;
        (n.domain.is_empty() && op_types.contains(&n.op_type.as_str())).then_some(ix)
    }

    /// Input `i` of a node.
    pub fn input(&self, ix: NodeIx, i: usize) -> Option<ValueId> {
        *self.node(ix)?.inputs.get(i)?
    }

    /// Output `i` of a node.
    pub fn output(&self, ix: NodeIx, i: usize) -> Option<ValueId> {
        *self.node(ix)?.outputs.get(i)?
    }

    /// Of a node with two inputs, the one that is not `v`.
    pub fn other_input(&self, ix: NodeIx, v: ValueId) -> Option<ValueId> {
        let n = self.node(ix)?;
        match n.inputs[..] {
            [Some(a), Some(b)] if a == v => Some(b),
            [Some(a), Some(b)] if b == v => Some(a),
            _ => None,
        }
    }

    /// What is known of a value.
    pub fn fact(&self, v: ValueId) -> Option<&Fact> {
        self.facts[v.index()].as_ref()
    }

    /// The shape of a value, if it is known.
    pub fn shape(&self, v: ValueId) -> Option<&[usize]> {
        self.fact(v)?.shape.as_deref()
    }

    /// The constant that a value holds.
    pub fn constant(&self, v: ValueId) -> Option<&Tensor> {
        self.fact(v)?.value.as_ref()
    }

    /// The one number that a constant value holds.
    pub fn scalar(&self, v: ValueId) -> Option<f32> {
        let t = self.constant(v)?;
        (t.len() == 1).then(|| constant_f32(t).map(|s| s[0])).flatten()
    }

    /// A new value, made by no node yet.
    pub fn add_value(&mut self, name: &str, fact: Fact) -> ValueId {
        let id = self.graph.add_value(Value { name: name.to_owned(), ..Value::default() });
        self.facts.push(Some(fact));
        self.producer.push(None);
        self.readers.push(Vec::new());
        id
    }

    /// A value of another graph, made by no node yet.
    pub fn adopt(&mut self, value: Value) -> ValueId {
        let id = self.graph.add_value(value);
        self.grow();
        id
    }

    /// Reads nodes into operators, to be put among the others.
    pub fn read_nodes(&mut self, nodes: Vec<Node>) -> Result<Vec<WorkNode>, EngineError> {
        let read = read_nodes(&mut self.graph, nodes);
        self.grow();
        read
    }

    /// Room in the tables for values that were added to the graph.
    fn grow(&mut self) {
        let added = &self.graph.values[self.facts.len()..];
        self.facts.extend(added.iter().map(|v| v.constant.clone().map(Fact::constant)));
        self.producer.resize(self.facts.len(), None);
        self.readers.resize(self.facts.len(), Vec::new());
    }

    /// Puts other nodes in the place of all, in this order.
    pub fn set_nodes(&mut self, nodes: Vec<WorkNode>) {
        self.producer.fill(None);
        self.readers.iter_mut().for_each(Vec::clear);
        self.nodes = vec![None; nodes.len()];
        for (ix, node) in nodes.into_iter().enumerate() {
            self.put(ix, node);
        }
    }

    /// The facts of a node's inputs.
    pub fn input_facts(&self, node: &Node) -> Vec<Option<Fact>> {
        node.inputs.iter().map(|v| v.and_then(|v| self.facts[v.index()].clone())).collect()
    }

    /// A new constant.
    pub fn add_constant(&mut self, name: &str, t: Tensor) -> ValueId {
        let id = self.graph.add_value(Value { name: name.to_owned(), constant: Some(t.clone()), ..Value::default() });
        self.facts.push(Some(Fact::constant(t)));
        self.producer.push(None);
        self.readers.push(Vec::new());
        id
    }

    /// Replaces nodes by one that makes the last one's outputs, at the last one's place. The new node's sources are the removed
    /// nodes' sources. `Ok(false)`, and nothing changed, if the new node can't be read or infers other shapes.
    pub fn fuse(&mut self, removed: &[NodeIx], mut node: Node) -> bool {
        let Some(&place) = removed.iter().max() else { return false };
        let mut order = removed.to_vec();
        order.sort_unstable();
        order.dedup();
        node.sources = order.iter().filter_map(|&i| self.node(i)).flat_map(|n| n.sources.iter().cloned()).collect();
        let opset = opset_of(&self.graph, &node);
        let Ok(op) = registry::read(&node, opset) else { return false };
        let facts = self.input_facts(&node);
        let Ok(new) = op.infer(&Inputs(&facts)) else { return false };
        for (o, f) in node.outputs.iter().zip(&new) {
            let old = o.and_then(|o| self.fact(o));
            if old.is_some_and(|old| old.shape != f.shape || old.dtype != f.dtype) {
                return false;
            }
        }
        for ix in order {
            self.remove(ix);
        }
        self.put(place, WorkNode { node, op: op.into() });
        true
    }

    /// Takes a node out.
    pub fn remove(&mut self, ix: NodeIx) {
        let Some(n) = self.nodes[ix].take() else { return };
        for v in n.node.inputs.iter().flatten() {
            if let Some(at) = self.readers[v.index()].iter().position(|&r| r == ix) {
                self.readers[v.index()].swap_remove(at);
            }
        }
        for v in n.node.outputs.iter().flatten() {
            self.producer[v.index()] = None;
        }
    }

    fn put(&mut self, ix: NodeIx, n: WorkNode) {
        for v in n.node.inputs.iter().flatten() {
            self.readers[v.index()].push(ix);
        }
        for v in n.node.outputs.iter().flatten() {
            self.producer[v.index()] = Some(ix);
        }
        self.nodes[ix] = Some(n);
    }

    /// Swaps a node's operator for another form of it.
    pub fn set_op(&mut self, ix: NodeIx, op: Arc<dyn Operator>) {
        if let Some(n) = &mut self.nodes[ix] {
            n.op = op;
        }
    }

    /// Makes a node read another value.
    pub fn replace_input(&mut self, ix: NodeIx, i: usize, v: ValueId) {
        let Some(n) = &mut self.nodes[ix] else { return };
        if let Some(old) = n.node.inputs[i].replace(v)
            && let Some(at) = self.readers[old.index()].iter().position(|&r| r == ix)
        {
            self.readers[old.index()].swap_remove(at);
        }
        self.readers[v.index()].push(ix);
    }

    /// Removes nodes whose outputs nobody reads.
    pub fn remove_dead(&mut self) {
        for ix in (0..self.nodes.len()).rev() {
            let Some(n) = &self.nodes[ix] else { continue };
            let read = n
                .node
                .outputs
                .iter()
                .flatten()
                .any(|v| !self.readers[v.index()].is_empty() || self.graph.outputs.contains(v));
            if !read {
                self.remove(ix);
            }
        }
    }

    /// An error that names a node.
    pub fn node_error(&self, node: &Node, why: OpError) -> EngineError {
        EngineError::at(&describe(node, opset_of(&self.graph, node)), why)
    }
}

/// Reads nodes into operators; older forms and other domains' become today's. Nodes without an operator are all reported at
/// once.
fn read_nodes(graph: &mut Graph, nodes: Vec<Node>) -> Result<Vec<WorkNode>, EngineError> {
    let (mut read, mut unsupported) = (Vec::new(), Vec::new());
    for node in nodes {
        let opset = opset_of(graph, &node);
        let name = describe(&node, opset);
        match forms(graph, node, opset) {
            Ok((nodes, opset)) => {
                for node in nodes {
                    match registry::read(&node, opset) {
                        Ok(op) => read.push(WorkNode { node, op: op.into() }),
                        Err(why) => unsupported.push(format!("{name}: {why}")),
                    }
                }
            }
            Err(why) => unsupported.push(format!("{name}: {why}")),
        }
    }
    if unsupported.is_empty() { Ok(read) } else { Err(EngineError::Unsupported(unsupported)) }
}

/// What stands for a node, and the operator-set version that it is to be read as.
fn forms(graph: &mut Graph, mut node: Node, opset: i64) -> Result<(Vec<Node>, i64), OpError> {
    if let Some(nodes) = contrib::expand(graph, &node, opset)? {
        return Ok((nodes, NEWEST));
    }
    let before = legacy::modernise(graph, &mut node, opset)?;
    Ok((before.into_iter().chain([node]).collect(), opset))
}

/// The operator-set version in force for a node.
pub fn opset_of(graph: &Graph, node: &Node) -> i64 {
    let domain = if node.domain == "ai.onnx" { "" } else { node.domain.as_str() };
    graph.opsets.get(domain).copied().unwrap_or(1)
}
