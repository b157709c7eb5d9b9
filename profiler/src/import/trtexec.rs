//! What TensorRT's `trtexec` exports as JSON: times per layer (`--exportProfile`), times per run (`--exportTimes`), and what
//! the layers are (`--exportLayerInfo`), which has no times.

use serde::Deserialize;
use serde_json::Value;

use super::averages::{Averages, duration_ns};
use super::{Problem, damaged, has, json_start, ops};
use crate::recorder::seal;
use crate::{Layer, LayerId, Quality, Run, RunId, Span, Trace, Track, TrackId, TrackKind};

const MS: f64 = 1e6;
const TOOL: &str = "trtexec";

pub(super) fn is_profile(head: &[u8]) -> bool {
    json_start(head) == Some(b'[') && has(head, "\"timeMs\"") && has(head, "\"name\"")
}

pub(super) fn is_times(head: &[u8]) -> bool {
    json_start(head) == Some(b'[') && has(head, "\"startComputeMs\"")
}

pub(super) fn is_layer_info(head: &[u8]) -> bool {
    json_start(head) == Some(b'{') && has(head, "\"Layers\"")
}

/// `--exportProfile`: a count of runs, then one row per layer.
pub(super) fn read_profile(bytes: &[u8]) -> Result<Trace, Problem> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Row {
        count: Option<u64>,
        name: Option<String>,
        time_ms: Option<f64>,
        average_ms: Option<f64>,
        median_ms: Option<f64>,
    }
    let rows: Vec<Row> = serde_json::from_slice(&escaped(bytes)).map_err(damaged)?;
    let count = rows.iter().find_map(|r| r.count).unwrap_or(0);
    let mut all = Averages::new();
    for row in rows {
        let Some(name) = row.name else { continue };
        let per_run = || Some(row.time_ms? / count.max(1) as f64);
        let time = row.median_ms.or(row.average_ms).or_else(per_run);
        let time = time.ok_or_else(|| damaged(format!("layer {name:?} has none of medianMs, averageMs and timeMs")))?;
        let ns = duration_ns(time, MS, &format!("the time of layer {name:?}"))?;
        let layer = all.layer(layer(&name))?;
        all.time(layer, ns)?;
    }
    let mut trace = all.finish(TOOL, TrackKind::Gpu, Some(count))?;
    "TensorRT".clone_into(&mut trace.meta.device);
    trace.meta.fusion = true;
    Ok(trace)
}

/// Older versions write names as they are, with quotes and backslashes in them: a quote that ends no text is escaped.
fn escaped(bytes: &[u8]) -> Vec<u8> {
    if serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_ok() {
        return bytes.to_vec();
    }
    const NAME: &[u8] = b"\"name\" : \"";
    let mut out = Vec::with_capacity(bytes.len() + 64);
    for line in bytes.split_inclusive(|&b| b == b'\n') {
        let start = line.windows(NAME.len()).position(|w| w == NAME).map(|at| at + NAME.len());
        let end = line.windows(11).rposition(|w| w == b"\", \"timeMs\"");
        match (start, end) {
            (Some(start), Some(end)) if start <= end => {
                out.extend(&line[..start]);
                for &b in &line[start..end] {
                    if b == b'"' || b == b'\\' {
                        out.push(b'\\');
                    }
                    out.push(b);
                }
                out.extend(&line[end..]);
            }
            _ => out.extend(line),
        }
    }
    out
}

/// `--exportTimes`: when each run's transfers and computation began and ended.
pub(super) fn read_times(bytes: &[u8]) -> Result<Trace, Problem> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Times {
        start_enq_ms: Option<f64>,
        end_enq_ms: Option<f64>,
        #[serde(alias = "startInMs")]
        start_h2d_ms: Option<f64>,
        #[serde(alias = "endInMs")]
        end_h2d_ms: Option<f64>,
        start_compute_ms: f64,
        end_compute_ms: f64,
        #[serde(alias = "startOutMs")]
        start_d2h_ms: Option<f64>,
        #[serde(alias = "endOutMs")]
        end_d2h_ms: Option<f64>,
    }
    let all: Vec<Times> = serde_json::from_slice(bytes).map_err(damaged)?;
    let mut trace = Trace::default();
    let parts = [
        ("Enqueue", TrackKind::Submit),
        ("Upload", TrackKind::Transfer),
        ("Compute", TrackKind::Gpu),
        ("Download", TrackKind::Transfer),
    ];
    for (name, kind) in parts {
        trace.tracks.push(Track { name: name.to_owned(), kind });
    }
    for name in ["Upload", "Compute", "Download"] {
        trace.layers.push(Layer { device: "gpu".into(), ..ops::layer(name, name) });
    }
    trace.spans.names.push("enqueue".to_owned());
    for (i, t) in all.iter().enumerate() {
        let run = Some(RunId(i as u32));
        let bounds = [
            (t.start_enq_ms.zip(t.end_enq_ms), None),
            (t.start_h2d_ms.zip(t.end_h2d_ms), Some(LayerId(0))),
            (Some((t.start_compute_ms, t.end_compute_ms)), Some(LayerId(1))),
            (t.start_d2h_ms.zip(t.end_d2h_ms), Some(LayerId(2))),
        ];
        let (mut first, mut last) = (u64::MAX, 0);
        for (track, (bounds, layer)) in bounds.into_iter().enumerate() {
            let Some((start, end)) = bounds else { continue };
            let ns = |v: f64, edge: &str| duration_ns(v, MS, &format!("run {i}: the {edge} of {}", parts[track].0));
            let (start_ns, end_ns) = (ns(start, "start")?, ns(end, "end")?);
            let quality = if layer.is_some() { Quality::GpuTimestamp } else { Quality::Cpu };
            let track = TrackId(track as u32);
            trace.spans.push(Span { track, layer, name: 0, start_ns, end_ns, parent: None, run, quality });
            if layer.is_some() {
                (first, last) = (first.min(start_ns), last.max(end_ns));
            }
        }
        trace.runs.push(Run { start_ns: first.min(last), end_ns: last, warmup: false });
    }
    seal(&mut trace);
    TOOL.clone_into(&mut trace.meta.producer);
    "TensorRT".clone_into(&mut trace.meta.device);
    "gpu".clone_into(&mut trace.meta.device_kind);
    "CUDA events by trtexec".clone_into(&mut trace.meta.clock.strategy);
    trace.meta.warnings.push("whole runs only: open the file of --exportProfile for times of layers".into());
    Ok(trace)
}

/// `--exportLayerInfo`: what the layers are.
pub(super) fn read_layer_info(bytes: &[u8]) -> Result<Trace, Problem> {
    #[derive(Deserialize)]
    struct Info {
        #[serde(rename = "Layers")]
        layers: Vec<Value>,
    }
    let info: Info = serde_json::from_slice(bytes).map_err(damaged)?;
    let mut all = Averages::new();
    for value in &info.layers {
        let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default();
        // Without detailed verbosity a layer is only its name.
        let name = value.as_str().unwrap_or_else(|| text("Name"));
        let known = layer(name);
        let kind = match text("ParameterType") {
            "" => text("LayerType"),
            parameters => parameters,
        };
        let op = if kind.is_empty() { known.op.clone() } else { kind.to_owned() };
        let class = if kind.is_empty() { known.class } else { ops::class(&op) };
        let tensors = |key: &str| -> Vec<String> {
            value.get(key).and_then(Value::as_array).into_iter().flatten().map(tensor).collect()
        };
        all.layer(Layer {
            op,
            class,
            inputs: tensors("Inputs"),
            outputs: tensors("Outputs"),
            weight_bytes: value.pointer("/Weights/Count").and_then(Value::as_u64).map_or(0, |n| {
                let width = match value.pointer("/Weights/Type").and_then(Value::as_str) {
                    Some("Half" | "BFloat16") => 2,
                    Some("Int8" | "FP8" | "Bool" | "UInt8") => 1,
                    _ => 4,
                };
                n.saturating_mul(width)
            }),
            kernel: text("TacticName").to_owned(),
            ..known
        })?;
    }
    let mut trace = all.finish(TOOL, TrackKind::Gpu, None)?;
    "TensorRT".clone_into(&mut trace.meta.device);
    trace
        .meta
        .warnings
        .push("it says what the layers are, not how long they took: add the file of --exportProfile".into());
    Ok(trace)
}

/// A layer by its name: `a/Conv + a/Relu` was fused from both, `PWN(..)` from what is inside.
fn layer(name: &str) -> Layer {
    if name.starts_with("Reformatting CopyNode") {
        // It copies for the nodes in its name, but is none of them.
        return Layer { name: name.to_owned(), ..ops::layer("", "Reformat") };
    }
    let fused: Vec<String> = name
        .split(" + ")
        .map(|n| n.trim().trim_start_matches("PWN(").trim_end_matches(')'))
        .filter(|n| n.starts_with('/') || n.contains('/'))
        .map(str::to_owned)
        .collect();
    let first = fused.first().map_or(name, String::as_str);
    let op = match () {
        () if name.starts_with("{ForeignNode[") => "ForeignNode",
        () if name.starts_with("PWN(") => "PointWise",
        () => first.rsplit('/').next().unwrap_or(first).trim_end_matches(|c: char| c.is_ascii_digit() || c == '_'),
    };
    Layer { name: name.to_owned(), source_nodes: fused.clone(), ..ops::layer(first, op) }
}

/// `{"Name":..,"Dimensions":[1,3],"Format/Datatype":"Row major linear FP32"}` as `f32[1,3]`.
fn tensor(value: &Value) -> String {
    let dims: Vec<i64> =
        value.get("Dimensions").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_i64).collect();
    let format = value.get("Format/Datatype").or_else(|| value.get("Datatype")).and_then(Value::as_str);
    let words = format.unwrap_or_default();
    let kind = words.split(|c: char| !c.is_alphanumeric()).rev().find(|w| ops::dtype(w) != *w).unwrap_or("");
    ops::tensor(kind, &dims)
}

#[cfg(test)]
mod tests {
    use super::super::read;
    use crate::OpClass;

    #[test]
    fn a_profile() {
        let trace = read(include_bytes!("../../testdata/by-schema/trtexec-profile.json")).unwrap();
        let names: Vec<_> = trace.layers.iter().map(|l| (l.op.as_str(), l.class, l.scope.as_str())).collect();
        assert_eq!(names[0], ("Reformat", OpClass::DataMovement, ""));
        assert_eq!(names[1], ("Conv", OpClass::Convolution, "stem/conv"));
        assert_eq!(trace.layers[1].source_nodes, ["/stem/conv/Conv", "/stem/act/Relu"]);
        let stats = trace.layer_stats();
        assert_eq!((stats[1].time.median, stats[1].time.count), (44_224.0, 1));
        assert!(trace.meta.warnings.contains(&"times are averages over 641 runs: no distribution".to_owned()));
        // Older: no medians, names as they are.
        let old = br#"[
  { "count" : 10 }
, { "name" : "the "first" \ layer", "timeMs" : 2.5, "averageMs" : 0.25, "percentage" : 100 }
]"#;
        let trace = read(old).unwrap();
        assert_eq!((trace.layers[0].name.as_str(), trace.spans.end_ns[1]), ("the \"first\" \\ layer", 250_000));
        for bad in ["-1", "1e300", "\"x\""] {
            let file = format!(r#"[{{"count":1}},{{"name":"conv","timeMs":{bad}}}]"#);
            assert!(read(file.as_bytes()).is_err(), "{bad}");
        }
        let message = read(br#"[{"name":"a","timeMs":-1}]"#).unwrap_err().to_string();
        assert!(message.contains("layer \"a\""), "{message}");
    }

    #[test]
    fn times_of_runs() {
        let trace = read(include_bytes!("../../testdata/by-schema/trtexec-times.json")).unwrap();
        assert_eq!(trace.run_latencies_ns(), [1_500_000, 1_450_000, 1_600_000]);
        let compute =
            trace.layer_stats().into_iter().find(|s| trace.layers[s.layer.index()].name == "Compute").unwrap();
        assert_eq!((compute.time.median, compute.runs), (1_000_000.0, 3));
    }

    #[test]
    fn what_the_layers_are() {
        let trace = read(include_bytes!("../../testdata/by-schema/trtexec-layers.json")).unwrap();
        let conv = &trace.layers[1];
        assert_eq!((conv.op.as_str(), conv.class), ("Convolution", OpClass::Convolution));
        assert_eq!((conv.inputs[0].as_str(), conv.outputs[0].as_str()), ("f16[1,8,224,224]", "f16[1,64,112,112]"));
        assert_eq!((conv.weight_bytes, conv.kernel.as_str()), (18_816, "sm80_xmma_fprop_implicit_gemm_f16"));
        assert!(trace.spans.is_empty() && trace.runs.is_empty());
        // Names only.
        assert_eq!(read(br#"{"Layers": ["/a/Conv", "/b/Relu"], "Bindings": ["x"]}"#).unwrap().layers[1].op, "Relu");
    }
}
