//! Node data for Model Explorer: per node of the model a figure, and colours from least to most. Model Explorer names ONNX nodes
//! as the file does, so a fused layer's figure stands at each node that it was made from.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde::Serialize;

use crate::Trace;

#[derive(Serialize)]
struct Overlay {
    results: BTreeMap<String, Value>,
    gradient: [Stop; 3],
}

#[derive(Serialize)]
struct Value {
    value: f64,
}

#[derive(Serialize)]
struct Stop {
    stop: f64,
    #[serde(rename = "bgColor")]
    color: &'static str,
}

/// From a pale blue over green to yellow: an order that holds in grey too.
const GRADIENT: [(f64, &str); 3] = [(0.0, "#e3ecf5"), (0.5, "#4a9db5"), (1.0, "#1c2f5c")];

pub(super) fn write(trace: &Trace, out: &mut dyn Write) -> io::Result<()> {
    let mut overlays: BTreeMap<String, Overlay> = BTreeMap::new();
    let mut add = |what: &str, node: &str, value: f64| {
        if value.is_finite() {
            let overlay = overlays.entry(what.to_owned()).or_insert_with(|| Overlay {
                results: BTreeMap::new(),
                gradient: GRADIENT.map(|(stop, color)| Stop { stop, color }),
            });
            overlay.results.insert(node.to_owned(), Value { value });
        }
    };
    for s in trace.layer_stats() {
        let Some(layer) = trace.layers.get(s.layer.index()) else { continue };
        for node in nodes(layer) {
            add("median latency (us)", node, s.time.median / 1e3);
            add("share of time (%)", node, s.share * 100.0);
        }
    }
    for accuracy in &trace.accuracy {
        for l in &accuracy.layers {
            let Some(layer) = trace.layers.iter().find(|layer| layer.name == l.layer) else { continue };
            if let Some(db) = l.cumulative_sqnr_db {
                nodes(layer).for_each(|node| add(&format!("{} SQNR (dB)", accuracy.scheme), node, db));
            }
        }
    }
    serde_json::to_writer_pretty(out, &overlays)?;
    Ok(())
}

/// The model's nodes of a layer; its own name where it names none.
fn nodes(layer: &crate::Layer) -> impl Iterator<Item = &str> {
    let own = layer.source_nodes.is_empty().then_some(layer.name.as_str());
    layer.source_nodes.iter().map(String::as_str).chain(own)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    #[test]
    fn every_source_node_of_a_timed_layer_has_its_time() {
        let trace = fixtures::transformer(2, 3, 1);
        let mut file = Vec::new();
        write(&trace, &mut file).unwrap();
        let value: serde_json::Value = serde_json::from_slice(&file).unwrap();
        let results = &value["median latency (us)"]["results"];
        for s in trace.layer_stats() {
            for node in nodes(&trace.layers[s.layer.index()]) {
                let us = results[node]["value"].as_f64().unwrap();
                assert!((us - s.time.median / 1e3).abs() <= us * 1e-12, "{node}");
            }
        }
        let shares = value["share of time (%)"]["results"].as_object().unwrap();
        assert!(shares.values().all(|v| v["value"].as_f64().is_some_and(|v| (0.0..=100.0).contains(&v))));
    }
}
