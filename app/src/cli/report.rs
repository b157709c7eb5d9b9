//! A trace as the JSON object of `profile --json`.

use profiler::{Audit, Summary, Trace};
use serde_json::{Value, json};

/// The object that `profile --json` prints. Unknown figures are null, never 0.
pub fn json(trace: &Trace) -> Value {
    let meta = &trace.meta;
    let memory = &trace.memory;
    let audit = Audit::of(trace);
    json!({
        "model": meta.model,
        "model_path": meta.model_path,
        "producer": meta.producer,
        "engine": (!meta.engine.is_empty()).then_some(&meta.engine),
        "engine_options": meta.engine_options,
        "device": meta.device,
        "device_kind": meta.device_kind,
        "threads": meta.threads,
        "precision": meta.precision,
        "simulated_precision": meta.simulated_precision,
        "fusion": meta.fusion,
        "dims": meta.dims,
        "inputs": types(&meta.inputs),
        "outputs": types(&meta.outputs),
        "latency_ns": latency(trace.latency()),
        "unprofiled_latency_ns": latency(trace.unprofiled_latency()),
        "throughput_per_s": trace.throughput_per_s(),
        "load_ns": meta.load_ns,
        "memory": {
            "weights_bytes": memory.weights_bytes,
            "activations_peak_bytes": memory.activations_peak_bytes,
            "arena_bytes": memory.arena_bytes,
            "process_before_bytes": (memory.process_before_bytes > 0).then_some(memory.process_before_bytes),
            "process_peak_bytes": (memory.process_peak_bytes > 0).then_some(memory.process_peak_bytes),
        },
        "layers": layers(trace),
        "audit": &audit,
        "ceilings": trace.ceilings,
        "advice": profiler::advice(trace, &trace.layer_stats(), &audit, None),
        "warnings": meta.warnings,
    })
}

fn types(list: &[(String, String)]) -> Value {
    list.iter().map(|(name, ty)| json!({ "name": name, "type": ty })).collect()
}

fn latency(summary: Option<Summary>) -> Value {
    summary.map_or(Value::Null, |s| {
        json!({
            "min": s.min, "median": s.median, "mean": s.mean, "p90": s.p90, "p99": s.p99, "mad": s.mad, "runs": s.count,
        })
    })
}

fn layers(trace: &Trace) -> Value {
    let mut times = vec![None; trace.layers.len()];
    for s in trace.layer_stats() {
        if let Some(t) = times.get_mut(s.layer.index()) {
            *t = Some(s.time);
        }
    }
    let row = |(layer, time): (&profiler::Layer, Option<Summary>)| {
        let bytes = layer.bytes_read.zip(layer.bytes_written).map(|(r, w)| r.saturating_add(w));
        json!({
            "name": layer.name,
            "scope": layer.scope,
            "op": layer.op,
            "source_nodes": layer.source_nodes,
            "device": layer.device,
            "kernel": layer.kernel,
            "time_ns": time.map(|t| json!({ "median": t.median, "p90": t.p90, "p99": t.p99 })),
            "flops": layer.flops,
            "bytes": bytes,
            "weight_bytes": layer.weight_bytes,
        })
    };
    trace.layers.iter().zip(times).map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_fields_are_there() {
        let trace = profiler::fixtures::one_layer();
        let v = json(&trace);
        for path in [
            "/model",
            "/device",
            "/threads",
            "/latency_ns/median",
            "/latency_ns/min",
            "/latency_ns/mean",
            "/latency_ns/p90",
            "/latency_ns/p99",
            "/latency_ns/mad",
            "/latency_ns/runs",
            "/load_ns",
            "/memory/weights_bytes",
            "/memory/activations_peak_bytes",
            "/layers/0/name",
            "/layers/0/scope",
            "/layers/0/op",
            "/layers/0/source_nodes",
            "/layers/0/device",
            "/layers/0/time_ns/median",
            "/layers/0/time_ns/p99",
            "/audit/badges",
            "/advice/findings",
            "/advice/missing",
        ] {
            assert!(v.pointer(path).is_some_and(|v| !v.is_null()), "{path} in {v:#}");
        }
        let stats = trace.layer_stats();
        assert_eq!(v["layers"][0]["time_ns"]["median"].as_f64(), Some(stats[0].time.median));
    }

    #[test]
    fn what_is_unknown_is_null() {
        let v = json(&Trace::default());
        assert!(v["latency_ns"].is_null() && v["unprofiled_latency_ns"].is_null());
        assert!(v["memory"]["process_peak_bytes"].is_null());
        assert_eq!(v["layers"].as_array().map(Vec::len), Some(0));
    }
}
