//! Shape inference from the inputs' facts, and constant folding on the way.

use std::sync::atomic::Ordering;

use crate::captures::{bind_constants, bodies};
use crate::error::EngineError;
use crate::exec;
use crate::op::{Env, Fact};
use crate::passes::inline;
use crate::work::{Work, WorkNode};

/// A constant larger than this is left to the run, unless its inputs are as large: folding must not blow a model up.
const LARGE: usize = 1 << 20;

/// Infers every value's fact in order, and replaces nodes whose inputs are all constant by their results.
pub(crate) fn infer_and_fold(work: &mut Work, env: Env<'_>) -> Result<(), EngineError> {
    let mut scratch = Vec::new();
    let mut kept = Vec::new();
    let mut waiting: Vec<WorkNode> = std::mem::take(&mut work.nodes).into_iter().flatten().rev().collect();
    while let Some(mut n) = waiting.pop() {
        if env.cancel.load(Ordering::Relaxed) {
            return Err(EngineError::Cancelled);
        }
        if bodies(&n.node).next().is_some() {
            if let Some(branch) = inline::branch(work, &n.node)? {
                waiting.extend(branch.into_iter().rev());
                continue;
            }
            if bind_constants(work, &mut n.node) {
                let read = work.read_nodes(vec![n.node])?;
                waiting.extend(read.into_iter().rev());
                continue;
            }
        }
        let inputs = work.input_facts(&n.node);
        for (i, v) in n.node.inputs.iter().enumerate() {
            if v.is_some() && inputs[i].is_none() {
                return Err(work.node_error(&n.node, crate::op::OpError::invalid(format!("input {i} has no type"))));
            }
        }
        let facts = exec::infer(&*n.op, &inputs).map_err(|e| work.node_error(&n.node, e))?;
        if n.node.outputs.len() > facts.len() {
            let why = format!("it has {} outputs, {} are known", n.node.outputs.len(), facts.len());
            return Err(work.node_error(&n.node, crate::op::OpError::unsupported(why)));
        }
        // Shape knows its output from the input's shape alone.
        if facts.iter().all(|f| f.value.is_some()) {
            for (v, f) in n.node.outputs.iter().zip(facts) {
                if let Some(v) = v {
                    work.facts[v.index()] = Some(f);
                }
            }
            continue;
        }
        let constant = inputs.iter().flatten().all(|f| f.value.is_some()) && n.op.is_pure();
        let in_bytes: usize = inputs.iter().flatten().filter_map(Fact::bytes).sum();
        let out_bytes = facts.iter().map(|f| f.bytes().unwrap_or(0)).try_fold(0usize, usize::checked_add);
        let small = out_bytes.is_some_and(|b| b <= LARGE.max(in_bytes.saturating_mul(8)));
        if constant && small {
            let wanted: Vec<bool> = n.node.outputs.iter().map(Option::is_some).collect();
            let tensors: Vec<_> = inputs.iter().map(|f| f.as_ref().and_then(|f| f.value.clone())).collect();
            let made =
                exec::run_op(&*n.op, &tensors, &wanted, env, &mut scratch).map_err(|e| work.node_error(&n.node, e))?;
            for (v, t) in n.node.outputs.iter().zip(made) {
                if let (Some(v), Some(t)) = (v, t) {
                    work.facts[v.index()] = Some(Fact::constant(t));
                }
            }
            continue;
        }
        for (v, f) in n.node.outputs.iter().zip(facts) {
            if let Some(v) = v {
                work.facts[v.index()] = Some(f);
            }
        }
        kept.push(n);
    }
    work.set_nodes(kept);
    Ok(())
}
