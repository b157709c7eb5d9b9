//! Nodes that change nothing for the inputs that they have: readers look through them, so that other passes see the chain.

use graph::ValueId;

use crate::work::{NodeIx, Work};

/// Takes every such node out of the way.
pub(super) fn run(work: &mut Work) -> usize {
    let mut passed = 0;
    for ix in 0..work.nodes.len() {
        if let Some((from, to)) = unchanged(work, ix) {
            passed += 1;
            hand_over(work, ix, from);
            for reader in work.readers(to).to_vec() {
                let inputs = work.node(reader).map_or(0, |n| n.inputs.len());
                for i in (0..inputs).filter(|&i| work.input(reader, i) == Some(to)).collect::<Vec<_>>() {
                    work.replace_input(reader, i, from);
                }
            }
        }
    }
    passed
}

/// The layer that makes `from`, else the first that reads the node, names the node from now on.
fn hand_over(work: &mut Work, ix: NodeIx, from: ValueId) {
    let Some(node) = work.node(ix) else { return };
    let reader = node.outputs.iter().flatten().find_map(|&v| work.readers(v).first().copied());
    let (sources, heir) = (node.sources.clone(), work.producer(from).or(reader));
    if let Some(n) = heir.and_then(|h| work.nodes[h].as_mut()) {
        n.node.sources.extend(sources);
    }
}

/// The input that the node's output equals, and the output.
fn unchanged(work: &Work, ix: NodeIx) -> Option<(ValueId, ValueId)> {
    let node = work.node(ix).filter(|n| n.domain.is_empty())?;
    let kept = match node.op_type.as_str() {
        "Cast" | "CastLike" => work.input(ix, 0)?,
        // Nobody reads the mask, and training is off.
        "Dropout" => {
            let off = |v: ValueId| work.constant(v).is_some_and(|t| t.bytes().iter().all(|&b| b == 0));
            let trains = node.inputs.get(2).copied().flatten().is_some_and(|v| !off(v));
            if trains || work.output(ix, 1).is_some_and(|m| !work.readers(m).is_empty()) {
                return None;
            }
            work.input(ix, 0)?
        }
        // A condition that is the same everywhere.
        "Where" => {
            let condition = work.constant(work.input(ix, 0)?)?;
            let first = *condition.bytes().first()? != 0;
            if condition.bytes().iter().any(|&b| (b != 0) != first) {
                return None;
            }
            work.input(ix, if first { 1 } else { 2 })?
        }
        _ => return None,
    };
    let out = work.output(ix, 0)?;
    let (a, b) = (work.fact(kept)?, work.fact(out)?);
    let same = a.dtype == b.dtype && a.shape.is_some() && a.shape == b.shape;
    (same && !work.graph.outputs.contains(&out) && !work.readers(out).is_empty()).then_some((kept, out))
}
