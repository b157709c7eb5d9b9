//! What follows a product or a convolution moves into its kernel: scale, bias, activation, residual; and BatchNormalization
//! moves into a convolution's weights.

use std::collections::BTreeMap;

use cpu_kernels::gemm::Activation;
use graph::{Attr, Node, Tensor, ValueId};

use crate::ops::activation;
use crate::registry::INTERNAL;
use crate::tensor::constant_f32;
use crate::work::{NodeIx, Work};

const ACTIVATIONS: &[&str] =
    &["Relu", "Gelu", "Sigmoid", "Tanh", "HardSwish", "HardSigmoid", "LeakyRelu", "Clip", "Silu"];

/// MatMul and Gemm with constant weights of two dimensions.
pub(super) fn matmul(work: &mut Work) -> usize {
    let mut fused = 0;
    for ix in 0..work.nodes.len() {
        let Some(node) = work.node(ix) else { continue };
        if node.domain.is_empty() && (node.op_type == "MatMul" || node.op_type == "Gemm") {
            fused += usize::from(matmul_one(work, ix));
        }
    }
    fused
}

/// An activation that reads `v` alone, standard or made by a pass.
pub(super) fn activation_after(work: &Work, v: ValueId) -> Option<(NodeIx, Activation)> {
    if !work.is_private(v) {
        return None;
    }
    let ix = work.readers(v)[0];
    let node = work.node(ix)?;
    let known = ACTIVATIONS.contains(&node.op_type.as_str()) && (node.domain.is_empty() || node.domain == INTERNAL);
    if !known || node.inputs.first().copied().flatten() != Some(v) {
        return None;
    }
    let a = activation::of_node(node, |i| work.scalar(node.inputs.get(i).copied().flatten()?))?;
    Some((ix, a))
}

fn attr_float(node: &Node, name: &str, default: f32) -> f32 {
    match node.attrs.get(name) {
        Some(Attr::Float(v)) => *v,
        _ => default,
    }
}

fn attr_flag(node: &Node, name: &str) -> bool {
    matches!(node.attrs.get(name), Some(Attr::Int(v)) if *v != 0)
}

fn matmul_one(work: &mut Work, ix: NodeIx) -> bool {
    let found = (|| {
        let node = work.node(ix)?.clone();
        let (a, b) = (work.input(ix, 0)?, work.input(ix, 1)?);
        let trans_b = attr_flag(&node, "transB");
        let weights = work.constant(b)?;
        let float = weights.dtype().is_float();
        if weights.shape().len() != 2 || !float || attr_flag(&node, "transA") || attr_float(&node, "beta", 1.0) != 1.0 {
            return None;
        }
        let n = weights.shape()[if trans_b { 0 } else { 1 }];
        let row = |v: ValueId| {
            let t = work.constant(v)?;
            (t.len() == n && t.shape().last().copied().unwrap_or(1) == n).then_some(v)
        };
        let mut removed = vec![ix];
        let mut out = work.output(ix, 0)?;
        let shape = work.shape(out)?.to_vec();
        let alpha = attr_float(&node, "alpha", 1.0);
        let mut bias = match work.input(ix, 2) {
            Some(c) => Some(row(c)?),
            None => None,
        };
        if bias.is_none()
            && let Some(add) = work.only_reader(out, &["Add"])
            && let Some(c) = work.other_input(add, out).and_then(row)
            && work.shape(work.output(add, 0)?)? == shape
        {
            bias = Some(c);
            removed.push(add);
            out = work.output(add, 0)?;
        }
        let mut act = Activation::None;
        if let Some((at, a)) = activation_after(work, out) {
            act = a;
            removed.push(at);
            out = work.output(at, 0)?;
        }
        if removed.len() == 1 {
            return None;
        }
        let mut attrs = BTreeMap::from([
            ("transB".to_owned(), Attr::Int(trans_b.into())),
            ("alpha".to_owned(), Attr::Float(alpha)),
        ]);
        activation::write(act, &mut attrs);
        let node = Node {
            name: node.name.clone(),
            domain: INTERNAL.into(),
            op_type: "FusedMatMul".into(),
            inputs: vec![Some(a), Some(b), bias],
            outputs: vec![Some(out)],
            attrs,
            scope: node.scope.clone(),
            sources: Vec::new(),
        };
        Some((node, removed))
    })();
    found.is_some_and(|(node, removed)| work.fuse(&removed, node))
}

/// Conv, then BatchNormalization, then a residual sum, then an activation.
pub(super) fn conv(work: &mut Work) -> usize {
    let mut fused = 0;
    for ix in 0..work.nodes.len() {
        let Some(node) = work.node(ix) else { continue };
        if node.domain.is_empty() && node.op_type == "Conv" {
            fused += usize::from(conv_one(work, ix));
        }
    }
    fused
}

/// Weights and bias with a BatchNormalization folded in: w' = w s, b' = (b - mean) s + beta, s = gamma / sqrt(var + eps).
fn fold_batch_norm(work: &Work, w: &Tensor, bias: Option<&Tensor>, bn: NodeIx) -> Option<(Tensor, Tensor)> {
    let node = work.node(bn)?;
    if attr_flag(node, "training_mode") || node.outputs.iter().skip(1).any(Option::is_some) {
        return None;
    }
    let eps = attr_float(node, "epsilon", 1e-5);
    let param = |i: usize| Some(constant_f32(work.constant(work.input(bn, i)?)?)?.into_owned());
    let (gamma, beta, mean, var) = (param(1)?, param(2)?, param(3)?, param(4)?);
    let channels = *w.shape().first()?;
    // The weights themselves may be stored as less.
    let computes_f32 = work.fact(work.output(bn, 0)?)?.dtype == graph::DType::F32;
    if [&gamma, &beta, &mean, &var].iter().any(|p| p.len() != channels) || !computes_f32 {
        return None;
    }
    let mut weights = constant_f32(w)?.into_owned();
    let old = match bias {
        Some(b) => constant_f32(b)?.into_owned(),
        None => vec![0.0; channels],
    };
    let per = weights.len().checked_div(channels)?;
    let mut new = Vec::with_capacity(channels);
    for c in 0..channels {
        let s = gamma[c] / (var[c] + eps).sqrt();
        weights[c * per..(c + 1) * per].iter_mut().for_each(|v| *v *= s);
        new.push((old[c] - mean[c]) * s + beta[c]);
    }
    Some((Tensor::from_vec(w.shape(), weights), Tensor::from_vec(&[channels], new)))
}

fn conv_one(work: &mut Work, ix: NodeIx) -> bool {
    let found = (|| {
        let node = work.node(ix)?.clone();
        let (x, w) = (work.input(ix, 0)?, work.input(ix, 1)?);
        let mut weights = work.constant(w)?.clone();
        let mut bias = match work.input(ix, 2) {
            Some(b) => Some(work.constant(b)?.clone()),
            None => None,
        };
        let mut removed = vec![ix];
        let mut out = work.output(ix, 0)?;
        let mut changed = false;
        if let Some(bn) = work.only_reader(out, &["BatchNormalization"])
            && let Some((w2, b2)) = fold_batch_norm(work, &weights, bias.as_ref(), bn)
        {
            (weights, bias, changed) = (w2, Some(b2), true);
            removed.push(bn);
            out = work.output(bn, 0)?;
        }
        let mut act = Activation::None;
        // A residual is added after the activation in the kernel, so it is fused only where no activation comes first.
        if let Some((at, a)) = activation_after(work, out) {
            act = a;
            removed.push(at);
            out = work.output(at, 0)?;
        }
        (removed.len() > 1).then_some((node, x, w, weights, bias, removed, out, act, changed))
    })();
    let Some((node, x, w, weights, bias, removed, out, act, changed)) = found else { return false };
    let bias_in = work.input(ix, 2);
    let (w, b) = if changed {
        let name = work.graph.value(w).name.clone();
        (work.add_constant(&name, weights), bias.map(|b| work.add_constant(&format!("{name}.bias"), b)))
    } else {
        (w, bias_in)
    };
    let mut attrs = node.attrs.clone();
    activation::write(act, &mut attrs);
    let fused = Node {
        op_type: "FusedConv".into(),
        domain: INTERNAL.into(),
        inputs: vec![Some(x), Some(w), b],
        outputs: vec![Some(out)],
        attrs,
        ..node
    };
    work.fuse(&removed, fused)
}
