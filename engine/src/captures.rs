//! What the bodies of If, Loop, Scan and SequenceMap use of the graph around them, made inputs of their nodes: lifetimes,
//! liveness and folding then need no notion of bodies.

use std::collections::HashMap;

use graph::{Attr, Graph, Node, ValueId};

use crate::error::EngineError;
use crate::op::{OpError, describe};
use crate::work::{Work, opset_of};

/// Bodies within bodies.
pub(crate) const MAX_DEPTH: usize = 32;

/// The bodies of a node, in the order in which their captures follow the node's declared inputs.
pub(crate) fn bodies(node: &Node) -> impl Iterator<Item = (&str, &Graph)> {
    node.attrs.iter().filter_map(|(name, a)| match a {
        Attr::Graph(body) => Some((name.as_str(), &**body)),
        _ => None,
    })
}

/// Makes the captures of the graph's own nodes their last inputs, and the last inputs of their bodies.
pub(crate) fn close(graph: &mut Graph) -> Result<(), EngineError> {
    if graph.nodes.iter().all(|n| bodies(n).next().is_none()) {
        return Ok(());
    }
    let ids = (0..graph.values.len()).map(|i| ValueId(i as u32));
    let by_name: HashMap<String, ValueId> = ids.map(|id| (graph.value(id).name.clone(), id)).collect();
    let mut nodes = std::mem::take(&mut graph.nodes);
    let closed = nodes.iter_mut().try_for_each(|n| {
        let outer = n.inputs.len();
        close_node(n, &by_name).map_err(|why| {
            n.inputs.truncate(outer);
            EngineError::at(&describe(n, opset_of(graph, n)), why)
        })
    });
    graph.nodes = nodes;
    closed
}

fn close_node(node: &mut Node, by_name: &HashMap<String, ValueId>) -> Result<(), OpError> {
    for attr in node.attrs.values_mut() {
        let Attr::Graph(body) = attr else { continue };
        if is_deeper(body, MAX_DEPTH) {
            return Err(OpError::unsupported(format!("bodies within bodies, more than {MAX_DEPTH} deep")));
        }
        for (name, inner) in &body.captures {
            let outer = by_name.get(name).ok_or_else(|| {
                OpError::invalid(format!("its body \"{}\" uses \"{name}\", which nothing around it makes", body.name))
            })?;
            node.inputs.push(Some(*outer));
            body.inputs.push(*inner);
        }
    }
    Ok(())
}

fn is_deeper(graph: &Graph, left: usize) -> bool {
    left == 0 || graph.nodes.iter().flat_map(bodies).any(|(_, body)| is_deeper(body, left - 1))
}

/// Moves captures that are constant into the bodies, where they fold. True if there were any.
pub(crate) fn bind_constants(work: &Work, node: &mut Node) -> bool {
    let captured: usize = bodies(node).map(|(_, b)| b.captures.len()).sum();
    let mut at = node.inputs.len() - captured;
    let mut bound = false;
    for attr in node.attrs.values_mut() {
        let Attr::Graph(body) = attr else { continue };
        let mut first = body.inputs.len() - body.captures.len();
        for (name, inner) in std::mem::take(&mut body.captures) {
            match node.inputs[at].and_then(|v| work.constant(v)) {
                Some(t) => {
                    body.values[inner.index()].constant = Some(t.clone());
                    body.inputs.remove(first);
                    node.inputs.remove(at);
                    bound = true;
                }
                None => {
                    body.captures.push((name, inner));
                    (first, at) = (first + 1, at + 1);
                }
            }
        }
    }
    bound
}
