//! The nodes of one body in the place of an If whose condition is constant: they become layers of their own.

use std::collections::BTreeMap;

use graph::{Attr, Node, Value, ValueId};

use crate::captures::{bodies, close};
use crate::error::EngineError;
use crate::op::OpError;
use crate::ops::if_op::condition;
use crate::work::{Work, WorkNode};

/// What runs in the place of `node`, if it is an If whose condition is known.
pub(super) fn branch(work: &mut Work, node: &Node) -> Result<Option<Vec<WorkNode>>, EngineError> {
    if node.op_type != "If" || !node.domain.is_empty() {
        return Ok(None);
    }
    let Some(known) = node.inputs.first().copied().flatten().and_then(|v| work.constant(v)) else { return Ok(None) };
    let then = condition(known).map_err(|why| work.node_error(node, why))?;
    let chosen = if then { "then_branch" } else { "else_branch" };
    // The captures of the bodies follow the condition in order.
    let before: usize = bodies(node).take_while(|(name, _)| *name != chosen).map(|(_, b)| b.captures.len()).sum();
    let Some((_, body)) = bodies(node).find(|(name, _)| *name == chosen) else { return Ok(None) };
    let mut body = body.clone();
    close(&mut body)?;
    let captured = node.inputs.iter().skip(1 + before);
    if body.inputs.len() != body.captures.len() || body.outputs.len() != node.outputs.len() {
        let why = format!("its {chosen} has other inputs or outputs than an If needs");
        return Err(work.node_error(node, OpError::Invalid(why)));
    }

    let mut outer: Vec<Option<ValueId>> = vec![None; body.values.len()];
    for (inner, of_node) in body.inputs.iter().zip(captured) {
        outer[inner.index()] = *of_node;
    }
    // An output that a node of the body makes is the node's own; others (a capture, a constant, one named twice) are copied.
    let producers = body.producers();
    let mut copied = Vec::new();
    for (inner, of_node) in body.outputs.iter().zip(&node.outputs) {
        let Some(of_node) = *of_node else { continue };
        match outer[inner.index()] {
            None if producers[inner.index()].is_some() => outer[inner.index()] = Some(of_node),
            _ => copied.push((*inner, of_node)),
        }
    }
    for (slot, value) in outer.iter_mut().zip(std::mem::take(&mut body.values)) {
        if slot.is_none() {
            *slot = Some(work.adopt(Value { name: format!("{}/{}", node.name, value.name), ..value }));
        }
    }
    let moved = |v: &Option<ValueId>| v.and_then(|v| outer[v.index()]);
    let mut nodes: Vec<Node> = std::mem::take(&mut body.nodes);
    for n in &mut nodes {
        n.inputs = n.inputs.iter().map(moved).collect();
        n.outputs = n.outputs.iter().map(moved).collect();
        if n.scope.is_empty() {
            n.scope = node.scope.clone();
        }
    }
    nodes.extend(copied.into_iter().map(|(inner, of_node)| Node {
        name: format!("{}/Identity", node.name),
        domain: String::new(),
        op_type: "Identity".into(),
        inputs: vec![outer[inner.index()]],
        outputs: vec![Some(of_node)],
        attrs: BTreeMap::<String, Attr>::new(),
        scope: node.scope.clone(),
        sources: node.sources.clone(),
    }));
    work.read_nodes(nodes).map(Some)
}
