//! Rows without a telling name, by their place in the order of data flow.
//!
//! Where a profile has as many rows of an operator as the model has nodes of it, and a node is before or after each of the
//! others on some path of data, then every order in which the model can run has it at the same place: that row is this
//! node. Nodes that could have run in either order (the query and the key of an attention) are told apart by nothing, and
//! stay unmatched.

use profiler::Layer;

use super::{Found, Wiring};

/// Beyond this many rows of one operator no order is made out.
const MOST: usize = 4096;

/// An operator of other programs: its spellings, the nodes that it can be, and what runs with them.
struct Kind {
    rows: &'static [&'static str],
    is: fn(&Wiring<'_>, usize) -> bool,
    with: fn(&Wiring<'_>, usize) -> Vec<usize>,
}

const KINDS: &[Kind] = &[
    Kind { rows: &["linear", "addmm", "fullyconnected", "innerproduct"], is: |w, n| is_linear(w, n), with: with_bias },
    Kind { rows: &["matmul", "bmm", "baddbmm"], is: |w, n| w.op(n) == "MatMul" && w.makers[n].len() == 2, with: alone },
    Kind { rows: &["conv1d", "conv2d", "conv3d", "convolution"], is: |w, n| w.op(n) == "Conv", with: alone },
    Kind { rows: &["softmax"], is: |w, n| w.op(n) == "Softmax", with: alone },
    Kind { rows: &["scaleddotproductattention"], is: |w, n| w.op(n) == "Softmax", with: attention },
    Kind { rows: &["layernorm"], is: |w, n| w.op(n) == "LayerNormalization", with: alone },
    Kind { rows: &["skiplayernormalization"], is: |w, n| w.op(n) == "LayerNormalization", with: with_sums },
    Kind { rows: &["batchnorm"], is: |w, n| w.op(n) == "BatchNormalization", with: alone },
    Kind { rows: &["gelu", "fastgelu"], is: is_gelu, with: gelu },
    Kind { rows: &["biasgelu"], is: is_gelu, with: bias_gelu },
    Kind { rows: &["embedding"], is: is_embedding, with: alone },
    Kind { rows: &["relu"], is: |w, n| w.op(n) == "Relu", with: alone },
    Kind { rows: &["tanh"], is: |w, n| w.op(n) == "Tanh", with: alone },
    Kind { rows: &["sigmoid"], is: |w, n| w.op(n) == "Sigmoid", with: alone },
    Kind { rows: &["maxpool1d", "maxpool2d", "maxpool"], is: |w, n| w.op(n) == "MaxPool", with: alone },
    Kind {
        rows: &["adaptiveavgpool2d"],
        is: |w, n| matches!(w.op(n), "GlobalAveragePool" | "ReduceMean"),
        with: alone,
    },
    Kind { rows: &["cumsum"], is: |w, n| w.op(n) == "CumSum", with: alone },
];

/// `aten::layer_norm`, `LayerNorm` and `_layer_norm` are the same.
fn spelling(op: &str) -> String {
    let op = op.rsplit_once("::").map_or(op, |o| o.1);
    op.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

pub(super) fn find(w: &Wiring<'_>, layers: &[Layer], found: &mut [Option<Found>], taken: &mut [bool]) {
    for kind in KINDS {
        let is_row = |i: &usize| found[*i].is_none() && kind.rows.contains(&spelling(&layers[*i].op).as_str());
        let rows: Vec<usize> = (0..layers.len()).filter(is_row).collect();
        let nodes: Vec<usize> = (0..taken.len()).filter(|&n| !taken[n] && (kind.is)(w, n)).collect();
        if rows.is_empty() || rows.len() != nodes.len() || rows.len() > MOST {
            continue;
        }
        let Some(places) = certain_places(w, &nodes) else { continue };
        let pairs: Vec<(usize, usize)> =
            places.iter().enumerate().filter_map(|(k, place)| Some((rows[(*place)?], nodes[k]))).collect();
        // One that does not fit shows that the two are not of the same model.
        if pairs.iter().any(|&(row, node)| !fits(w, &layers[row], node)) {
            continue;
        }
        for (row, node) in pairs {
            let mut nodes = (kind.with)(w, node);
            nodes.retain(|&n| !taken[n]);
            nodes.iter().for_each(|&n| taken[n] = true);
            found[row] = Some((nodes, "by the order of data flow"));
        }
    }
}

/// The place of each of `nodes` in every order in which the model can run; `None` for those that have no such place.
fn certain_places(w: &Wiring<'_>, nodes: &[usize]) -> Option<Vec<Option<usize>>> {
    let words = nodes.len().div_ceil(64);
    let mut index = vec![None; w.makers.len()];
    for (k, &n) in nodes.iter().enumerate() {
        index[n] = Some(k);
    }
    // Which of `nodes` are before each node of the model.
    let mut before: Vec<u64> = vec![0; w.makers.len().checked_mul(words)?];
    for n in 0..w.makers.len() {
        for &m in &w.makers[n] {
            if m >= n {
                // The file has its nodes in no order that can run.
                return None;
            }
            let (head, tail) = before.split_at_mut(n * words);
            for (to, from) in tail[..words].iter_mut().zip(&head[m * words..(m + 1) * words]) {
                *to |= from;
            }
            if let Some(k) = index[m] {
                tail[k / 64] |= 1 << (k % 64);
            }
        }
    }
    let row = |n: usize| &before[n * words..(n + 1) * words];
    let mut after = vec![0_usize; nodes.len()];
    for &n in nodes {
        for (k, count) in after.iter_mut().enumerate() {
            *count += usize::from(row(n)[k / 64] >> (k % 64) & 1 == 1);
        }
    }
    let place = |(k, &n): (usize, &usize)| {
        let earlier: usize = row(n).iter().map(|b| b.count_ones() as usize).sum();
        (earlier + after[k] + 1 == nodes.len()).then_some(earlier)
    };
    Some(nodes.iter().enumerate().map(place).collect())
}

/// False if the row states types and none of them has the sizes of the node's weights.
fn fits(w: &Wiring<'_>, layer: &Layer, node: usize) -> bool {
    let sorted = |mut dims: Vec<usize>| {
        dims.sort_unstable();
        dims
    };
    let sizes = |ty: &String| {
        let dims = ty.split_once('[')?.1.strip_suffix(']')?;
        Some(sorted(dims.split(',').filter_map(|d| d.trim().parse().ok()).collect()))
    };
    let stated: Vec<Vec<usize>> = layer.inputs.iter().filter_map(sizes).collect();
    let weights = w.constants(node).into_iter().find(|s| s.len() >= 2);
    match weights {
        Some(shape) if stated.len() > 1 => stated.contains(&sorted(shape.to_vec())),
        _ => true,
    }
}

fn alone(_: &Wiring<'_>, n: usize) -> Vec<usize> {
    vec![n]
}

fn is_linear(w: &Wiring<'_>, n: usize) -> bool {
    matches!(w.op(n), "MatMul" | "Gemm") && w.constants(n).iter().any(|s| s.len() == 2)
}

/// A table that is looked up in, not the choice of a size from a shape.
fn is_embedding(w: &Wiring<'_>, n: usize) -> bool {
    let first = w.graph.nodes[n].inputs.first().copied().flatten();
    let table = first.and_then(|v| w.constant[v.index()]);
    w.op(n) == "Gather" && table.is_some_and(|t| t.dtype().is_float() && t.shape().len() == 2)
}

fn is_gelu(w: &Wiring<'_>, n: usize) -> bool {
    matches!(w.op(n), "Erf" | "Gelu")
}

/// The sums of residual and bias before a norm: the caller leaves out those that ran on their own.
fn with_sums(w: &Wiring<'_>, norm: usize) -> Vec<usize> {
    let adds = |n: usize| w.makers[n].iter().copied().filter(|&m| w.op(m) == "Add").collect::<Vec<_>>();
    let mut nodes = adds(norm);
    // A bias is read by the residual sum alone.
    let biases: Vec<usize> =
        nodes.iter().flat_map(|&n| adds(n)).filter(|&b| w.is_unary(b) && w.only_reader(b).is_some()).collect();
    nodes.extend(biases);
    nodes.push(norm);
    nodes.sort_unstable();
    nodes
}

/// The error function's parts, and the bias before them.
fn bias_gelu(w: &Wiring<'_>, erf: usize) -> Vec<usize> {
    let mut nodes = gelu(w, erf);
    let makers = nodes.iter().flat_map(|&n| w.makers[n].iter().copied());
    let bias = makers.filter(|&m| w.op(m) == "Add" && w.is_unary(m) && !nodes.contains(&m)).min();
    nodes.extend(bias);
    nodes.sort_unstable();
    nodes
}

/// A product, and the constant that alone is added to it.
fn with_bias(w: &Wiring<'_>, n: usize) -> Vec<usize> {
    let next = w.only_reader(n).filter(|&r| w.op(n) == "MatMul" && w.op(r) == "Add" && w.is_unary(r));
    std::iter::once(n).chain(next).collect()
}

/// `x / sqrt 2 -> Erf -> + 1 -> * x -> * 0.5`: what is written around the error function.
fn gelu(w: &Wiring<'_>, erf: usize) -> Vec<usize> {
    if w.op(erf) == "Gelu" {
        return vec![erf];
    }
    let mut nodes = vec![erf];
    nodes.extend(
        w.makers[erf].iter().copied().filter(|&m| matches!(w.op(m), "Div" | "Mul") && w.only_reader(m).is_some()),
    );
    let mut at = erf;
    while let Some(next) = w.only_reader(at).filter(|&r| nodes.len() < 6 && matches!(w.op(r), "Add" | "Mul")) {
        nodes.push(next);
        at = next;
    }
    nodes.sort_unstable();
    nodes
}

/// A softmax between two products.
fn attention(w: &Wiring<'_>, softmax: usize) -> Vec<usize> {
    let product = |n: usize| w.op(n) == "MatMul" && w.makers[n].len() == 2;
    let mut nodes = vec![softmax];
    nodes.extend(w.only_reader(softmax).filter(|&r| product(r)));
    let mut at = softmax;
    for _ in 0..4 {
        // Back along the scores: through scaling and the mask, to the product that makes them.
        let back = w.makers[at].iter().copied().filter(|&m| w.only_reader(m).is_some());
        let scores = |m: &usize| product(*m) || matches!(w.op(*m), "Div" | "Mul" | "Add" | "Where");
        let Some(m) = back.filter(scores).min_by_key(|&m| !product(m)) else { break };
        nodes.push(m);
        if product(m) {
            break;
        }
        at = m;
    }
    // Without the product that makes the scores, what was walked over is something else.
    if !nodes.iter().skip(1).any(|&n| product(n) && n < softmax) {
        nodes.retain(|&n| n == softmax || (product(n) && n > softmax));
    }
    nodes.sort_unstable();
    nodes
}
