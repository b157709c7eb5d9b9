//! Rows by their names: a node's, a tensor's, or what optimisers make of them.

use profiler::Layer;

use super::{Found, Wiring};

/// What an optimiser appends to the name of a node that it replaces.
const TAILS: &[&str] = &["fus", "withoutbiases", "nchwc", "gelu", "quant", "duplicate", "bias_add"];
const ACTIVATIONS: &[&str] =
    &["Relu", "LeakyRelu", "Tanh", "Sigmoid", "HardSigmoid", "Clip", "Elu", "Selu", "HardSwish"];

/// The nodes that a row names.
pub(super) fn find(w: &Wiring<'_>, layer: &Layer) -> Option<Found> {
    let name = layer.name.as_str();
    if let Some(n) = w.node(name).or_else(|| w.node(name.strip_suffix(&format!(" {}", layer.op))?)) {
        return Some((vec![n], "by name"));
    }
    // ONNX Runtime's convolution with its activation: `fused /conv1/Conv`.
    if let Some(n) = name.strip_prefix("fused ").and_then(|n| w.node(n)) {
        return Some((with_activation(w, n), "by the name of a fused node"));
    }
    if let Some(tensor) = name.strip_suffix("_nchwc") {
        let last = w.by_output.get(tensor).copied().or_else(|| w.node(tensor))?;
        return blocked(w, layer, last).map(|nodes| (nodes, "by the name of a fused tensor"));
    }
    if let Some(&n) = w.by_output.get(name) {
        return Some((vec![n], "by the name of its output"));
    }
    if let Some(nodes) = foreign(w, name).or_else(|| list(w, name)) {
        return Some((nodes, "by a list of names"));
    }
    let tail = |i: usize| name[i..].to_lowercase();
    let cuts = name.char_indices().rev().filter(|(_, c)| matches!(c, '/' | '_' | ' ' | '.' | ':')).map(|(i, _)| i);
    for cut in cuts {
        let Some(n) = w.node(&name[..cut]) else { continue };
        let known = TAILS.iter().any(|t| tail(cut).contains(t));
        return (known && related(&layer.op, w.op(n)))
            .then(|| (with_scale(w, layer, n), "by the name of a fused node"));
    }
    None
}

/// True if an operator's name says that it was made from the other.
fn related(row: &str, node: &str) -> bool {
    let (row, node) = (row.to_lowercase(), node.to_lowercase());
    row.contains(&node) || node.contains(&row)
}

/// A node, and the activation that alone reads it.
fn with_activation(w: &Wiring<'_>, n: usize) -> Vec<usize> {
    let next = w.only_reader(n).filter(|&r| ACTIVATIONS.contains(&w.op(r)) && w.is_unary(r));
    std::iter::once(n).chain(next).collect()
}

/// A product, and the scaling by a constant that went into it.
fn with_scale(w: &Wiring<'_>, layer: &Layer, n: usize) -> Vec<usize> {
    let scales = |r: &usize| matches!(w.op(*r), "Mul" | "Div") && w.is_unary(*r);
    let next = w.only_reader(n).filter(scales).filter(|_| layer.name.contains("Scale"));
    std::iter::once(n).chain(next).collect()
}

/// A convolution in blocked layout is named after the tensor that it makes at first: walk back to it. With a fourth input
/// a sum was fused behind it.
fn blocked(w: &Wiring<'_>, layer: &Layer, last: usize) -> Option<Vec<usize>> {
    let mut chain = vec![last];
    while w.op(*chain.last()?) != layer.op {
        let [before] = w.makers[*chain.last()?][..] else { return None };
        if chain.len() == 3 || w.only_reader(before).is_none() {
            return None;
        }
        chain.push(before);
    }
    chain.reverse();
    let sum = w.only_reader(last).filter(|&r| layer.op == "Conv" && layer.inputs.len() == 4 && w.op(r) == "Add");
    if let Some(sum) = sum {
        chain.extend(with_activation(w, sum));
    }
    Some(chain)
}

/// TensorRT's `{ForeignNode[/a/MatMul.../b/Add]}`: everything on the way from one to the other.
fn foreign(w: &Wiring<'_>, name: &str) -> Option<Vec<usize>> {
    let inside = name.split_once("ForeignNode[")?.1.split_once(']')?.0;
    let (first, last) = inside.split_once("...")?;
    let (first, last) = (w.node(first)?, w.node(last)?);
    let reach = |from: usize, next: &[Vec<usize>]| {
        let mut seen = vec![false; next.len()];
        let mut stack = vec![from];
        while let Some(n) = stack.pop() {
            if !std::mem::replace(&mut seen[n], true) {
                stack.extend(&next[n]);
            }
        }
        seen
    };
    let (after, before) = (reach(first, &w.readers), reach(last, &w.makers));
    let between: Vec<usize> = (0..after.len()).filter(|&n| after[n] && before[n]).collect();
    (!between.is_empty()).then_some(between)
}

/// `a + b`, `PWN(a, b)`, `a|b`: every part has to be a node.
fn list(w: &Wiring<'_>, name: &str) -> Option<Vec<usize>> {
    let inside = name.strip_prefix("PWN(").and_then(|n| n.strip_suffix(')')).unwrap_or(name);
    [" + ", ", ", ",", "|", "+", ";"].iter().find_map(|&by| {
        let parts: Vec<&str> = inside.split(by).map(str::trim).filter(|p| !p.is_empty()).collect();
        let part = |p: &&str| {
            let bare = p.strip_prefix("PWN(").and_then(|n| n.strip_suffix(')')).unwrap_or(p);
            w.node(bare)
        };
        let mut nodes: Vec<usize> = parts.iter().map(part).collect::<Option<_>>()?;
        nodes.sort_unstable();
        nodes.dedup();
        (parts.len() > 1 || inside != name).then_some(nodes).filter(|n| !n.is_empty())
    })
}
