//! The weights' precision: rounds them, or swaps the product for one on quantized weights.

use std::sync::Arc;

use graph::{DType, Tensor};

use crate::precision::Precision;
use crate::tensor::constant_f32;
use crate::work::Work;

/// Applies the precision to the weights of products and convolutions. True if some weights are held as f32 although the
/// precision is another: their latency and memory are then not those of the real format. `kernels` says whether the plan may
/// use the CPU's quantized kernels; without them (a GPU's plan) an operator is asked to hold its weights in the format.
pub(crate) fn apply(work: &mut Work, precision: Precision, kernels: bool) -> bool {
    let mut simulated = false;
    if precision == Precision::F32 {
        return false;
    }
    let places: Vec<usize> = work.iter().map(|(ix, _)| ix).collect();
    for ix in places {
        let Some(node) = work.node(ix).cloned() else { continue };
        if !matches!(node.op_type.as_str(), "MatMul" | "Gemm" | "FusedMatMul" | "Conv" | "FusedConv" | "ConvTranspose")
        {
            continue;
        }
        let Some(w) = work.input(ix, 1) else { continue };
        let Some(weights) = work.constant(w).cloned() else { continue };
        if weights.dtype() != DType::F32 || weights.shape().len() < 2 {
            continue;
        }
        let product = node.op_type.ends_with("MatMul") || node.op_type == "Gemm";
        if kernels && product && matches!(precision, Precision::Int8 | Precision::Int4) {
            let facts = work.input_facts(&node);
            let op = work.nodes[ix].as_ref().and_then(|n| n.op.quantize(precision, &facts));
            if let Some(op) = op {
                work.set_op(ix, Arc::from(op));
                continue;
            }
        }
        let Some(values) = constant_f32(&weights) else { continue };
        // Output channels are rows of a convolution's weights, and columns of a product's (rows where it is transposed).
        let rounded = round(&values, weights.shape(), precision, channel_axis(&node, weights.shape().len()));
        let name = work.graph.value(w).name.clone();
        let new = work.add_constant(&name, Tensor::from_vec(weights.shape(), rounded));
        work.replace_input(ix, 1, new);
        let facts = work.input_facts(&node);
        let stored = work.nodes[ix].as_ref().filter(|_| !kernels).and_then(|n| n.op.store(precision, &facts));
        match stored {
            Some(op) => work.set_op(ix, Arc::from(op)),
            None => simulated = true,
        }
    }
    simulated
}

fn channel_axis(node: &graph::Node, rank: usize) -> usize {
    let trans_b = matches!(node.attrs.get("transB"), Some(graph::Attr::Int(1)));
    if node.op_type.contains("Conv") || trans_b { 0 } else { rank - 1 }
}

/// The weights after a trip through the format.
fn round(values: &[f32], shape: &[usize], precision: Precision, channel: usize) -> Vec<f32> {
    match precision {
        Precision::F32 => values.to_vec(),
        Precision::F16 => values.iter().map(|&v| half::f16::from_f32(v).to_f32()).collect(),
        Precision::Bf16 => values.iter().map(|&v| half::bf16::from_f32(v).to_f32()).collect(),
        Precision::Int8 => round_by(values, |i| channel_of(i, shape, channel), shape[channel], 127.0),
        Precision::Int4 => {
            // Groups of 32 within a channel.
            let channels = shape[channel];
            let mut seen = vec![0usize; channels];
            let mut group = Vec::with_capacity(values.len());
            let per = values.len().checked_div(channels).unwrap_or(0).div_ceil(32).max(1);
            for i in 0..values.len() {
                let c = channel_of(i, shape, channel);
                group.push(c * per + seen[c] / 32);
                seen[c] += 1;
            }
            round_by(values, |i| group[i], channels * per, 7.0)
        }
    }
}

fn channel_of(i: usize, shape: &[usize], channel: usize) -> usize {
    let inner: usize = shape[channel + 1..].iter().product();
    i / inner.max(1) % shape[channel].max(1)
}

/// Symmetric rounding with one scale per group: scale = max |v| / levels.
fn round_by(values: &[f32], group: impl Fn(usize) -> usize, groups: usize, levels: f32) -> Vec<f32> {
    let mut largest = vec![0f32; groups];
    for (i, v) in values.iter().enumerate() {
        let g = group(i);
        largest[g] = largest[g].max(v.abs());
    }
    let one = |(i, &v): (usize, &f32)| {
        let scale = largest[group(i)] / levels;
        if scale > 0.0 { (v / scale).round_ties_even().clamp(-levels, levels) * scale } else { 0.0 }
    };
    values.iter().enumerate().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_keeps_its_promise_per_channel() {
        let shape = [64usize, 3];
        let values: Vec<f32> =
            (0..192).map(|i| ((i * 37 % 101) as f32 - 50.0) * if i % 3 == 0 { 1.0 } else { 0.01 }).collect();
        for (precision, step) in [(Precision::Int8, 127.0), (Precision::Int4, 7.0)] {
            let out = round(&values, &shape, precision, 1);
            for c in 0..3 {
                let largest = (0..64).map(|r| values[r * 3 + c].abs()).fold(0f32, f32::max);
                for r in 0..64 {
                    let (a, b) = (values[r * 3 + c], out[r * 3 + c]);
                    assert!((a - b).abs() <= largest / step * 0.5001, "{a} became {b}");
                }
            }
            assert_ne!(out, values, "rounding must change something");
        }
    }
}
