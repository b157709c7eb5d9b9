//! LayerNormalization from its primitives, and the residual sum before it:
//! `(x - mean) / sqrt(mean((x - mean)^2) + eps) * scale + bias`, over the last axis.

use std::collections::BTreeMap;

use graph::{Attr, Node, ValueId};

use crate::registry::INTERNAL;
use crate::work::{NodeIx, Work};

/// Fuses every chain.
pub(super) fn chains(work: &mut Work) -> usize {
    let mut fused = 0;
    for ix in 0..work.nodes.len() {
        if work.node(ix).is_some_and(|n| n.domain.is_empty() && n.op_type == "Sub") {
            fused += usize::from(chain(work, ix));
        }
    }
    fused
}

/// True if the node reduces over the last axis of its input and keeps it.
fn is_last_mean(work: &Work, ix: NodeIx) -> bool {
    let check = || {
        let node = work.node(ix)?;
        let x = work.input(ix, 0)?;
        let rank = work.shape(x)?.len() as i64;
        let axes = match node.attrs.get("axes") {
            Some(Attr::Ints(a)) => a.clone(),
            _ => work.constant(work.input(ix, 1)?)?.to_i64()?,
        };
        let keep = !matches!(node.attrs.get("keepdims"), Some(Attr::Int(0)));
        let last = axes.len() == 1 && (axes[0] == -1 || axes[0] == rank - 1);
        Some(node.op_type == "ReduceMean" && node.domain.is_empty() && last && keep)
    };
    check() == Some(true)
}

fn chain(work: &mut Work, sub: NodeIx) -> bool {
    let found = (|| {
        let (x, mean) = (work.input(sub, 0)?, work.input(sub, 1)?);
        let mean_node = work.producer(mean)?;
        if !is_last_mean(work, mean_node) || work.input(mean_node, 0)? != x || !work.is_private(mean) {
            return None;
        }
        let centred = work.output(sub, 0)?;
        // mean(centred^2)
        let square = work.readers(centred).iter().copied().find(|&r| {
            work.node(r).is_some_and(|n| match n.op_type.as_str() {
                "Pow" => n.inputs.get(1).copied().flatten().and_then(|e| work.scalar(e)) == Some(2.0),
                "Mul" => n.inputs.iter().all(|i| *i == Some(centred)),
                _ => false,
            })
        })?;
        let variance = work.only_reader(work.output(square, 0)?, &["ReduceMean"])?;
        if !is_last_mean(work, variance) {
            return None;
        }
        let add = work.only_reader(work.output(variance, 0)?, &["Add"])?;
        let eps = work.scalar(work.other_input(add, work.output(variance, 0)?)?)?;
        let sqrt = work.only_reader(work.output(add, 0)?, &["Sqrt"])?;
        let div = work.only_reader(work.output(sqrt, 0)?, &["Div"])?;
        if work.input(div, 0)? != centred || work.readers(centred).iter().any(|&r| r != square && r != div) {
            return None;
        }
        let width = *work.shape(x)?.last()?;
        let row = |v: ValueId| work.constant(v).is_some_and(|t| t.shape() == [width]).then_some(v);
        let normal = work.output(div, 0)?;
        let mul = work.only_reader(normal, &["Mul"])?;
        let scale = row(work.other_input(mul, normal)?)?;
        let scaled = work.output(mul, 0)?;
        let mut removed = vec![mean_node, sub, square, variance, add, sqrt, div, mul];
        let mut inputs = vec![Some(x), Some(scale)];
        let mut last = mul;
        if let Some(bias_node) = work.only_reader(scaled, &["Add"])
            && let Some(bias) = work.other_input(bias_node, scaled).and_then(row)
        {
            removed.push(bias_node);
            inputs.push(Some(bias));
            last = bias_node;
        }
        Some((inputs, eps, removed, last))
    })();
    let Some((inputs, eps, removed, last)) = found else { return false };
    let Some(end) = work.node(last) else { return false };
    let node = Node {
        name: end.name.clone(),
        domain: INTERNAL.into(),
        op_type: "LayerNormalization".into(),
        inputs,
        outputs: end.outputs.clone(),
        attrs: BTreeMap::from([("epsilon".to_owned(), Attr::Float(eps))]),
        scope: end.scope.clone(),
        sources: Vec::new(),
    };
    work.fuse(&removed, node)
}

/// Add followed by LayerNormalization becomes one step: inputs x, scale, bias, residual; outputs the normal and, if somebody
/// else reads it, the sum.
pub(super) fn skip(work: &mut Work) -> usize {
    let mut fused = 0;
    for ix in 0..work.nodes.len() {
        let Some(node) = work.node(ix) else { continue };
        let norm = node.op_type == "LayerNormalization" && (node.domain.is_empty() || node.domain == INTERNAL);
        if norm && node.inputs.len() <= 3 {
            fused += usize::from(skip_one(work, ix));
        }
    }
    fused
}

fn skip_one(work: &mut Work, ix: NodeIx) -> bool {
    let found = (|| {
        let node = work.node(ix)?;
        let more_outputs = node.outputs.iter().skip(1).any(Option::is_some);
        let sum = work.input(ix, 0)?;
        let rank = work.shape(sum)?.len() as i64;
        let axis = match node.attrs.get("axis") {
            Some(Attr::Int(a)) => *a,
            _ => -1,
        };
        let add = work.made_by(sum, "Add")?;
        let (a, b) = (work.input(add, 0)?, work.input(add, 1)?);
        let same = work.shape(a)? == work.shape(b)? && work.fact(a)?.dtype == graph::DType::F32;
        if more_outputs || !same || (axis != -1 && axis != rank - 1) {
            return None;
        }
        let keep_sum = !work.is_private(sum);
        let eps = node.attrs.get("epsilon").cloned().unwrap_or(Attr::Float(1e-5));
        let input = |i: usize| node.inputs.get(i).copied().flatten();
        Some((
            add,
            Node {
                name: node.name.clone(),
                domain: INTERNAL.into(),
                op_type: "SkipLayerNormalization".into(),
                inputs: vec![Some(a), input(1), input(2), Some(b)],
                outputs: vec![node.outputs[0], keep_sum.then_some(sum)],
                attrs: BTreeMap::from([("epsilon".to_owned(), eps)]),
                scope: node.scope.clone(),
                sources: Vec::new(),
            },
        ))
    })();
    let Some((add, mut node)) = found else { return false };
    if node.outputs[1].is_none() {
        node.outputs.pop();
    } else if reads_between(work, node.outputs[1], ix) {
        return false;
    }
    work.fuse(&[add, ix], node)
}

/// True if somebody reads `v` before step `ix`: the fused node, which makes it at `ix`, would come too late.
fn reads_between(work: &Work, v: Option<ValueId>, ix: NodeIx) -> bool {
    v.is_some_and(|v| work.readers(v).iter().any(|&r| r < ix))
}
