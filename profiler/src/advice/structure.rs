//! Rules about how the work is cut: gaps, layers too small, copies, steps on the wrong device, parts that could be one.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Advice, Case, Finding, TINY_NS, percent, plural, time};
use crate::{LayerId, TrackKind};

/// Operators that only put the same values elsewhere.
const COPIES: [&str; 14] = [
    "Transpose",
    "Reshape",
    "Concat",
    "Slice",
    "Split",
    "Pad",
    "Expand",
    "Tile",
    "Flatten",
    "Squeeze",
    "Unsqueeze",
    "Identity",
    "DepthToSpace",
    "SpaceToDepth",
];
/// Products that can take in what follows.
const PRODUCTS: [&str; 3] = ["MatMul", "Gemm", "Conv"];

/// Time of a run that no layer covers.
pub(super) fn gaps(case: &Case<'_>, advice: &mut Advice) {
    let (Some(run), Some(layers)) = (case.trace.latency(), case.trace.layer_time()) else { return };
    let gap = run.median - layers.median;
    // Below a twentieth it is the price of running anything at all.
    if gap.is_nan() || gap < 0.05 * run.median {
        return;
    }
    let outside = case.trace.named_spans();
    let named = |n: &str| outside.iter().find(|(name, _)| name == n).map(|(_, s)| format!("{n} {}", time(s.median)));
    let known: Vec<String> = ["Upload", "Encode", "Submit", "Download"].into_iter().filter_map(named).collect();
    let n = case.stats.len();
    let mut why = format!(
        "Layers cover {} of the {} of a recorded run; the rest is {} for each of {}.",
        time(layers.median),
        time(run.median),
        time(gap / n.max(1) as f64),
        plural(n, "layer")
    );
    if !known.is_empty() {
        why += &format!(" Known of it: {}.", known.join(", "));
    }
    advice.findings.push(Finding {
        rule: "gaps",
        title: format!("{} of each run lies between layers", percent(gap / run.median)),
        why,
        try_this: "Fewer and larger layers: turn fusion on, use a larger batch; on a GPU, keep inputs and outputs on the device.".into(),
        layers: Vec::new(),
        saving_ns: Some(gap),
        saving_bytes: None,
        basis: "the median run minus the time that layers cover: all of it, which no engine reaches".to_owned(),
    });
}

/// Many layers so short that calling them costs more than their work.
pub(super) fn tiny(case: &Case<'_>, advice: &mut Advice) {
    let small: Vec<LayerId> = case.stats.iter().filter(|s| s.time.median < TINY_NS).map(|s| s.layer).collect();
    let took = case.times(&small);
    if small.len() < 20 || took < 0.05 * case.latency_ns {
        return;
    }
    let known: Vec<f64> =
        case.roofs.iter().filter(|r| small.binary_search(&r.layer).is_ok()).filter_map(|r| r.saving_ns).collect();
    let all_known = known.len() == small.len();
    advice.findings.push(Finding {
        rule: "tiny",
        title: format!("{} of under {}", plural(small.len(), "layer"), time(TINY_NS)),
        why: format!("Together they take {} of each run ({}), {} each on average.", time(took), case.share(took), time(took / small.len() as f64)),
        try_this: "Fuse them with their neighbours or fold them into constants: at this size the call is a good part of the work.".into(),
        layers: small,
        saving_ns: all_known.then(|| known.iter().sum()),
        saving_bytes: None,
        basis: if all_known { "their times minus the times at the measured ceilings".into() } else { String::new() },
    });
}

/// Copies that compute nothing.
pub(super) fn movement(case: &Case<'_>, advice: &mut Advice) {
    let mut by_op: BTreeMap<&str, (usize, f64)> = BTreeMap::new();
    let mut layers = Vec::new();
    for s in case.stats {
        let Some(layer) = case.trace.layers.get(s.layer.index()).filter(|l| COPIES.contains(&l.op.as_str())) else {
            continue;
        };
        let of_op = by_op.entry(&layer.op).or_default();
        *of_op = (of_op.0 + 1, of_op.1 + s.time.median);
        layers.push(s.layer);
    }
    let took = case.times(&layers);
    if took < 0.05 * case.latency_ns {
        return;
    }
    let mut ops: Vec<_> = by_op.into_iter().collect();
    ops.sort_by(|a, b| b.1.1.total_cmp(&a.1.1));
    let words: Vec<String> = ops.iter().take(4).map(|(op, (n, ns))| format!("{n} {op} {}", time(*ns))).collect();
    advice.findings.push(Finding {
        rule: "movement",
        title: format!("{} of each run only moves data", case.share(took)),
        why: format!("{} copy values without computing: {}.", plural(layers.len(), "layer"), words.join(", ")),
        try_this: "Export the model so that tensors are made in the order in which they are read; a Transpose beside a MatMul can become its transA or transB.".into(),
        layers,
        saving_ns: Some(took),
        saving_bytes: None,
        basis: "all of their time: the most that leaving them out can save".to_owned(),
    });
}

/// Steps of a GPU run that the CPU does.
pub(super) fn fallback(case: &Case<'_>, advice: &mut Advice) {
    if !case.is_gpu() {
        return;
    }
    let on_cpu: Vec<LayerId> = case
        .stats
        .iter()
        .filter(|s| case.trace.layers.get(s.layer.index()).is_some_and(|l| l.device == "cpu"))
        .map(|s| s.layer)
        .collect();
    let took = case.times(&on_cpu);
    let copies = case.trace.busy(TrackKind::Transfer).map_or(0.0, |s| s.median);
    if on_cpu.is_empty() || !case.matters(took + copies) {
        return;
    }
    let mut ops: Vec<&str> =
        on_cpu.iter().filter_map(|l| Some(case.trace.layers.get(l.index())?.op.as_str())).collect();
    ops.sort_unstable();
    ops.dedup();
    ops.truncate(6);
    advice.findings.push(Finding {
        rule: "fallback",
        title: format!("{} of a GPU run on the CPU", plural(on_cpu.len(), "step")),
        why: format!(
            "{} have no GPU form here: {} of each run ({}), beside {} of copies to and from the device.",
            ops.join(", "),
            time(took),
            case.share(took),
            time(copies)
        ),
        try_this: "Replace these operators in the model, or fold them if their inputs are constant.".into(),
        layers: on_cpu,
        saving_ns: Some(took),
        saving_bytes: None,
        basis: "their own time; the copies around them come on top".to_owned(),
    });
}

/// Parts that engines usually run as one, left apart.
pub(super) fn unfused(case: &Case<'_>, advice: &mut Advice) {
    if case.trace.nodes.is_empty() {
        advice.missing.push("Parts that could run as one: the trace came without its model's nodes.".to_owned());
        return;
    }
    let graph = LayerGraph::new(case);
    for pattern in [bias(&graph), gelu(&graph), layer_norm(&graph), attention(&graph)] {
        let Pattern { what, count, layers, absorbed, basis } = pattern;
        let saving = case.times(&absorbed.into_iter().collect::<Vec<_>>());
        if count == 0 || !case.matters(saving) {
            continue;
        }
        let layers: Vec<LayerId> = layers.into_iter().collect();
        advice.findings.push(Finding {
            rule: "unfused",
            title: format!("{} left apart", plural(count, what)),
            why: format!("Its parts take {} of each run as {}.", time(case.times(&layers)), plural(layers.len(), "layer")),
            try_this: if case.trace.meta.fusion {
                "The engine joins these where nothing else reads the tensors between them: see whether a second reader or a model output is in the way."
            } else {
                "Fusion is off: turn it on."
            }
            .into(),
            layers,
            saving_ns: Some(saving),
            saving_bytes: None,
            basis: basis.to_owned(),
        });
    }
}

struct Pattern {
    what: &'static str,
    count: usize,
    layers: BTreeSet<LayerId>,
    /// Those that would vanish into the others.
    absorbed: BTreeSet<LayerId>,
    basis: &'static str,
}

/// Who reads whose output, layer by layer, through nodes that are no layers (views, constants).
struct LayerGraph<'a> {
    ops: Vec<&'a str>,
    inputs: Vec<Vec<usize>>,
    readers: Vec<Vec<usize>>,
}

impl<'a> LayerGraph<'a> {
    fn new(case: &'a Case<'_>) -> Self {
        let (layers, nodes) = (&case.trace.layers, &case.trace.nodes);
        let index: HashMap<&str, usize> = nodes.iter().enumerate().map(|(i, n)| (n.name.as_str(), i)).collect();
        let mut owner = vec![None; nodes.len()];
        for (l, layer) in layers.iter().enumerate() {
            for &n in layer.source_nodes.iter().filter_map(|n| index.get(n.as_str())) {
                owner[n] = Some(l);
            }
        }
        let mut graph = LayerGraph {
            ops: layers.iter().map(|l| l.op.as_str()).collect(),
            inputs: vec![Vec::new(); layers.len()],
            readers: vec![Vec::new(); layers.len()],
        };
        // A node is looked at once for each layer that reaches it: by whom it was last seen.
        let mut seen = vec![usize::MAX; nodes.len()];
        for (l, layer) in layers.iter().enumerate() {
            let mut left: Vec<usize> =
                layer.source_nodes.iter().filter_map(|n| index.get(n.as_str()).copied()).collect();
            while let Some(n) = left.pop() {
                if std::mem::replace(&mut seen[n], l) == l {
                    continue;
                }
                match owner[n] {
                    Some(other) if other != l => graph.inputs[l].push(other),
                    _ => left.extend(nodes[n].inputs.iter().map(|&i| i as usize).filter(|&i| i < nodes.len())),
                }
            }
            graph.inputs[l].sort_unstable();
            graph.inputs[l].dedup();
            for &i in &graph.inputs[l] {
                graph.readers[i].push(l);
            }
        }
        graph
    }

    fn each<'g>(&'g self, op: &'g str) -> impl Iterator<Item = usize> + 'g {
        self.ops.iter().enumerate().filter(move |(_, o)| **o == op).map(|(i, _)| i)
    }

    /// The only reader of a layer's output.
    fn only_reader(&self, l: usize) -> Option<usize> {
        match self.readers[l][..] {
            [only] => Some(only),
            _ => None,
        }
    }

    /// Layers of these operators that are reached from `from` through such layers, at most `steps` away.
    fn around(&self, from: usize, forward: bool, ops: &[&str], steps: usize) -> BTreeSet<usize> {
        let edges = if forward { &self.readers } else { &self.inputs };
        let mut found = BTreeSet::new();
        let mut front = vec![from];
        for _ in 0..steps {
            let next: Vec<usize> = front
                .iter()
                .flat_map(|&l| edges[l].iter().copied())
                .filter(|&l| ops.contains(&self.ops[l]) && found.insert(l))
                .collect();
            front = next;
        }
        found
    }
}

fn id(l: usize) -> LayerId {
    LayerId(l as u32)
}

fn bias(g: &LayerGraph<'_>) -> Pattern {
    let mut p = Pattern {
        what: "product with its addition",
        count: 0,
        layers: BTreeSet::new(),
        absorbed: BTreeSet::new(),
        basis: "the time of the additions, which a product takes in for nothing",
    };
    for product in PRODUCTS.into_iter().flat_map(|op| g.each(op)) {
        if let Some(add) = g.only_reader(product).filter(|&r| g.ops[r] == "Add") {
            p.layers.extend([id(product), id(add)]);
            p.count += usize::from(p.absorbed.insert(id(add)));
        }
    }
    p
}

fn gelu(g: &LayerGraph<'_>) -> Pattern {
    let mut p = Pattern {
        what: "Gelu",
        count: 0,
        layers: BTreeSet::new(),
        absorbed: BTreeSet::new(),
        basis: "the time of all parts but the Erf: one pass instead of several",
    };
    for erf in g.each("Erf") {
        let after = g.around(erf, true, &["Add", "Mul"], 3);
        let before = g.around(erf, false, &["Div", "Mul"], 1);
        if after.iter().any(|&l| g.ops[l] == "Add") && after.iter().any(|&l| g.ops[l] == "Mul") {
            p.count += 1;
            p.absorbed.extend(after.iter().chain(&before).map(|&l| id(l)));
            p.layers.insert(id(erf));
        }
    }
    p.layers.extend(p.absorbed.iter().copied());
    p
}

fn layer_norm(g: &LayerGraph<'_>) -> Pattern {
    let mut p = Pattern {
        what: "normalisation",
        count: 0,
        layers: BTreeSet::new(),
        absorbed: BTreeSet::new(),
        basis: "the time of all parts but the means: one pass instead of several",
    };
    for root in g.each("Sqrt") {
        let before = g.around(root, false, &["Add", "ReduceMean", "Pow", "Mul", "Sub"], 6);
        let after = g.around(root, true, &["Div", "Reciprocal", "Mul", "Add"], 4);
        let divides = after.iter().any(|&l| matches!(g.ops[l], "Div" | "Reciprocal"));
        if divides && before.iter().any(|&l| g.ops[l] == "ReduceMean") {
            p.count += 1;
            let parts = before.iter().chain(&after).copied().chain([root]);
            for l in parts {
                p.layers.insert(id(l));
                if g.ops[l] != "ReduceMean" {
                    p.absorbed.insert(id(l));
                }
            }
        }
    }
    p
}

fn attention(g: &LayerGraph<'_>) -> Pattern {
    let mut p = Pattern {
        what: "attention",
        count: 0,
        layers: BTreeSet::new(),
        absorbed: BTreeSet::new(),
        basis: "the time of what lies between the two products, which fused attention keeps in cache",
    };
    for softmax in g.each("Softmax") {
        let between = g.around(softmax, false, &["Add", "Mul", "Div", "Where"], 3);
        let reaches = |l: usize| g.inputs[l].iter().copied().find(|&i| g.ops[i].starts_with("MatMul"));
        let first = between.iter().copied().chain([softmax]).find_map(reaches);
        let second = g.only_reader(softmax).filter(|&l| g.ops[l].starts_with("MatMul"));
        if let (Some(first), Some(second)) = (first, second) {
            p.count += 1;
            p.absorbed.extend(between.iter().map(|&l| id(l)).chain([id(softmax)]));
            p.layers.extend([id(first), id(second)]);
        }
    }
    p.layers.extend(p.absorbed.iter().copied());
    p
}
