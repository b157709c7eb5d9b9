//! tract's `dump --profile --json`: nodes with their time and cost.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::averages::{Averages, duration_ns};
use super::{Problem, damaged, has, json_start, ops};
use crate::{Layer, Trace, TrackKind};

const SECOND: f64 = 1e9;

pub(super) fn matches(head: &[u8]) -> bool {
    json_start(head) == Some(b'{') && has(head, "\"nodes\"") && has(head, "\"qualified_id\"")
}

#[derive(Deserialize)]
struct File {
    nodes: Vec<Node>,
    profiling_info: Option<Info>,
}

#[derive(Deserialize)]
struct Info {
    iterations: u64,
    secs_per_iter: f64,
}

#[derive(Deserialize)]
struct Node {
    /// The nodes with a body around it, each with the body's name; then its number.
    #[serde(default)]
    qualified_id: (Vec<(u64, String)>, u64),
    op_name: String,
    #[serde(default)]
    node_name: String,
    /// Kinds of work, as `FMA(F32)`, with counts as texts, which may have symbols in them.
    #[serde(default)]
    cost: BTreeMap<String, String>,
    secs_per_iter: Option<f64>,
}

pub(super) fn read(bytes: &[u8]) -> Result<Trace, Problem> {
    let file: File = serde_json::from_slice(bytes).map_err(damaged)?;
    let inner = |n: &Node| !n.qualified_id.0.is_empty();
    let sum = |with_inner: bool| -> f64 {
        file.nodes.iter().filter(|n| with_inner || !inner(n)).filter_map(|n| n.secs_per_iter).sum()
    };
    // Where the time of a loop has that of its body in it, the body would count twice.
    let total = file.profiling_info.as_ref().map_or(f64::INFINITY, |i| i.secs_per_iter);
    let with_inner = sum(true) <= total * 1.02 || sum(false) < total * 0.5;
    let mut all = Averages::new();
    for node in file.nodes.iter().filter(|n| with_inner || !inner(n)) {
        let Some(seconds) = node.secs_per_iter else { continue };
        let ns = duration_ns(seconds, SECOND, &format!("secs_per_iter of {:?}", node.node_name))?;
        let layer = all.layer(layer(node))?;
        all.time(layer, ns)?;
    }
    if all.len() == 0 {
        return Err(damaged("no node with secs_per_iter in it: make it with dump --profile --json"));
    }
    let runs = file.profiling_info.as_ref().map_or(0, |i| i.iterations);
    let mut trace = all.finish("tract", TrackKind::Cpu, Some(runs))?;
    if let Some(info) = &file.profiling_info {
        // The whole run is longer than its nodes together.
        let whole = duration_ns(info.secs_per_iter, SECOND, "secs_per_iter of profiling_info")?;
        for run in &mut trace.runs {
            run.end_ns = run.end_ns.max(run.start_ns.saturating_add(whole));
            let (end, spans) = (run.end_ns, &mut trace.spans);
            if let Some(root) = (0..spans.len()).find(|&i| spans.layer[i].is_none()) {
                spans.end_ns[root] = end;
            }
        }
    }
    Ok(trace)
}

fn layer(node: &Node) -> Layer {
    let count = |kind: &str| -> Option<u64> {
        let counts: Vec<u64> = node
            .cost
            .iter()
            .filter(|(k, _)| k.split('(').next() == Some(kind))
            .map(|(_, v)| v.trim().parse().ok())
            .collect::<Option<_>>()?;
        (!counts.is_empty()).then(|| counts.into_iter().fold(0, u64::saturating_add))
    };
    let flops = match (count("FMA"), count("Div")) {
        (None, None) => None,
        (fma, div) => Some(fma.unwrap_or(0).saturating_mul(2).saturating_add(div.unwrap_or(0))),
    };
    let bodies: Vec<&str> = node.qualified_id.0.iter().map(|(_, name)| name.as_str()).collect();
    let plain = ops::layer(&node.node_name, &node.op_name);
    let name = match node.node_name.as_str() {
        "" => format!("{} {}", node.op_name, node.qualified_id.1),
        name => name.to_owned(),
    };
    let scope = bodies.iter().copied().chain([plain.scope.as_str()]).filter(|s| !s.is_empty());
    Layer {
        name,
        scope: scope.collect::<Vec<_>>().join("/"),
        source_nodes: vec![node.node_name.clone()],
        flops,
        weight_bytes: count("Params").unwrap_or(0).saturating_mul(4),
        ..plain
    }
}

#[cfg(test)]
mod tests {
    use super::super::read;
    use crate::OpClass;

    #[test]
    fn nodes_with_cost() {
        let trace = read(include_bytes!("../../testdata/by-schema/tract.json")).unwrap();
        let layers: Vec<_> = trace.layers.iter().map(|l| (l.name.as_str(), l.class, l.flops)).collect();
        assert_eq!(
            layers,
            [("stem/conv", OpClass::Convolution, Some(2 * 1_806_336)), ("head/matmul", OpClass::MatMul, None)]
        );
        assert_eq!((trace.layers[0].scope.as_str(), trace.layers[0].weight_bytes), ("stem", 37_632));
        assert_eq!(trace.run_latencies_ns(), [600_000]);
        let residual = crate::Audit::of(&trace).residual.unwrap();
        assert!((residual - 0.1).abs() < 1e-9, "{residual}");
        assert!(trace.meta.warnings[0].contains("over 1200 runs"));
        let unprofiled =
            br#"{"nodes":[{"qualified_id":[[],0],"op_name":"Add","node_name":"a"}],"profiling_info":null}"#;
        assert!(read(unprofiled).unwrap_err().to_string().contains("--profile"));
        let negative = br#"{"nodes":[{"qualified_id":[[],0],"op_name":"Add","node_name":"a","secs_per_iter":-1.0}]}"#;
        assert!(read(negative).unwrap_err().to_string().contains("secs_per_iter of \"a\" is -1"));
    }
}
