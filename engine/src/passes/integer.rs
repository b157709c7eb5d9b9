//! What follows an integer product moves into it: the way back to floats, bias, activation. The chain is the one that dynamic
//! quantization writes: `Cast(MatMulInteger(a, b)) * scale + bias`.

use std::collections::BTreeMap;

use graph::{Attr, DType, Node, ValueId};

use super::epilogue::activation_after;
use crate::ops::activation;
use crate::registry::INTERNAL;
use crate::work::{NodeIx, Work};

/// Fuses every chain.
pub(super) fn run(work: &mut Work) -> usize {
    let mut fused = 0;
    for ix in 0..work.nodes.len() {
        if work.node(ix).is_some_and(|n| n.domain.is_empty() && n.op_type == "MatMulInteger") {
            fused += usize::from(one(work, ix));
        }
    }
    fused
}

/// The two factors of a scale that only `reader` reads, if one is constant: the activations' and the weights'.
fn factors(work: &Work, scale: ValueId) -> Option<(NodeIx, ValueId, ValueId)> {
    let ix = work.made_by(scale, "Mul")?;
    let (x, y) = (work.input(ix, 0)?, work.input(ix, 1)?);
    let (x, w) = if work.constant(y).is_some() { (x, y) } else { (y, x) };
    let one = work.fact(x)?.numel()? == 1;
    (one && work.constant(w).is_some() && work.is_private(scale)).then_some((ix, x, w))
}

fn one(work: &mut Work, ix: NodeIx) -> bool {
    let found = (|| {
        let node = work.node(ix)?.clone();
        let weights = work.constant(work.input(ix, 1)?)?;
        let &[_, n] = weights.shape() else { return None };
        let cast = work.only_reader(work.output(ix, 0)?, &["Cast"])?;
        let floats = work.output(cast, 0)?;
        let mul = work.only_reader(floats, &["Mul"])?;
        let scale = work.other_input(mul, floats)?;
        let mut out = work.output(mul, 0)?;
        let shape = work.shape(out)?.to_vec();
        let count = work.fact(scale)?.numel()?;
        let row = work.shape(scale)?.last().is_none_or(|&d| d == count);
        let fits = (count == 1 || count == n) && row && work.shape(floats)? == shape;
        if work.fact(floats)?.dtype != DType::F32 || !fits {
            return None;
        }
        let mut removed = vec![ix, cast, mul];
        let (a_scale, b_scale) = match factors(work, scale) {
            Some((at, x, w)) => {
                removed.push(at);
                (x, Some(w))
            }
            None if count == 1 => (scale, None),
            None => return None,
        };
        let mut bias = None;
        if let Some(add) = work.only_reader(out, &["Add"])
            && let Some(b) = work.other_input(add, out)
            && work.constant(b).is_some_and(|t| t.len() == n && t.shape().last() == Some(&n))
            && work.shape(work.output(add, 0)?)? == shape
        {
            bias = Some(b);
            removed.push(add);
            out = work.output(add, 0)?;
        }
        let mut attrs: BTreeMap<String, Attr> = BTreeMap::new();
        if let Some((at, a)) = activation_after(work, out) {
            activation::write(a, &mut attrs);
            removed.push(at);
            out = work.output(at, 0)?;
        }
        let fused = Node {
            name: node.name.clone(),
            domain: INTERNAL.into(),
            op_type: "FusedMatMulInteger".into(),
            inputs: vec![
                work.input(ix, 0),
                work.input(ix, 1),
                Some(a_scale),
                b_scale,
                work.input(ix, 2),
                work.input(ix, 3),
                bias,
            ],
            outputs: vec![Some(out)],
            attrs,
            scope: node.scope.clone(),
            sources: Vec::new(),
        };
        Some((fused, removed))
    })();
    found.is_some_and(|(node, removed)| work.fuse(&removed, node))
}
