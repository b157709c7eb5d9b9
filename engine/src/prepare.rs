//! Packs the weights of a plan, several at once, and gives back the memory of what was read for it.

use std::sync::OnceLock;
use std::sync::atomic::Ordering;

use crate::error::EngineError;
use crate::exec;
use crate::op::{Env, Fact, Inputs, OpError, Prepared};
use crate::work::{Work, WorkNode};

/// What is known of a node when it is planned.
pub(crate) struct NodeFacts {
    pub inputs: Vec<Option<Fact>>,
    pub outputs: Vec<Fact>,
    /// True if every shape is known.
    pub is_static: bool,
}

impl NodeFacts {
    pub fn of(work: &Work, n: &WorkNode) -> Result<NodeFacts, EngineError> {
        let inputs = work.input_facts(&n.node);
        let outputs = exec::infer(&*n.op, &inputs).map_err(|e| work.node_error(&n.node, e))?;
        let is_static = inputs.iter().flatten().chain(&outputs).all(Fact::is_placeable);
        Ok(NodeFacts { inputs, outputs, is_static })
    }
}

/// The prepared form of every operator that has one.
pub(crate) fn prepare(
    work: &Work,
    nodes: &[(&WorkNode, NodeFacts)],
    env: Env<'_>,
) -> Result<Vec<Option<Prepared>>, EngineError> {
    let made: Vec<OnceLock<Result<Option<Prepared>, OpError>>> = nodes.iter().map(|_| OnceLock::new()).collect();
    env.pool.run(nodes.len(), &|i| {
        let (n, facts) = &nodes[i];
        if !facts.is_static || env.cancel.load(Ordering::Relaxed) {
            return;
        }
        let prepared = n.op.prepare(&Inputs(&facts.inputs), &facts.outputs);
        if let Ok(Some(p)) = &prepared {
            // The weights' own bytes were needed for this alone.
            let absorbed = p.absorbed.iter().filter_map(|&i| facts.inputs[i].as_ref()?.value.as_ref());
            absorbed.for_each(|t| work.graph.release(t));
        }
        // Each index comes once.
        let _ = made[i].set(prepared);
    });
    if env.cancel.load(Ordering::Relaxed) {
        return Err(EngineError::Cancelled);
    }
    made.into_iter()
        .zip(nodes)
        .map(|(p, (n, _))| p.into_inner().unwrap_or(Ok(None)).map_err(|e| work.node_error(&n.node, e)))
        .collect()
}
