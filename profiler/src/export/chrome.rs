//! Chrome's trace events. Times are microseconds with three decimals, so nothing is lost. Events of one row (`tid`) nest;
//! overlapping spans get rows of their own, because Perfetto drops events that overlap without nesting.
//!
//! `otherData.meta` holds the trace's [`Meta`](crate::Meta), and the `args` of each layer what is known of it.

use std::io::{self, Write};

use serde::Serialize;

use super::lanes;
use crate::{Layer, OpClass, Quality, Trace, TrackKind};

const PID: u32 = 1;

#[derive(Serialize)]
struct LayerArgs<'a> {
    layer: usize,
    op: &'a str,
    class: OpClass,
    scope: &'a str,
    device: &'a str,
    kernel: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    flops: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_read: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_written: Option<u64>,
    weight_bytes: u64,
    inputs: &'a [String],
    outputs: &'a [String],
    source_nodes: &'a [String],
}

impl<'a> LayerArgs<'a> {
    fn new(layer: usize, l: &'a Layer) -> LayerArgs<'a> {
        LayerArgs {
            layer,
            op: &l.op,
            class: l.class,
            scope: &l.scope,
            device: &l.device,
            kernel: &l.kernel,
            flops: l.flops,
            bytes_read: l.bytes_read,
            bytes_written: l.bytes_written,
            weight_bytes: l.weight_bytes,
            inputs: &l.inputs,
            outputs: &l.outputs,
            source_nodes: &l.source_nodes,
        }
    }
}

pub(super) fn write(trace: &Trace, out: &mut dyn Write) -> io::Result<()> {
    out.write_all(b"{\"displayTimeUnit\":\"ns\",\n\"otherData\":{\"producer\":\"stratoscope\",\"meta\":")?;
    serde_json::to_writer(&mut *out, &trace.meta)?;
    out.write_all(b"},\n\"traceEvents\":[\n")?;
    let process = if trace.meta.model.is_empty() { "model" } else { &trace.meta.model };
    write!(out, r#"{{"ph":"M","name":"process_name","pid":{PID},"args":{{"name":{}}}}}"#, json(process)?)?;
    let layer_args = trace
        .layers
        .iter()
        .enumerate()
        .map(|(i, l)| json(&LayerArgs::new(i, l)))
        .collect::<io::Result<Vec<String>>>()?;
    let layer_names = trace.layers.iter().map(|l| json(&l.name)).collect::<io::Result<Vec<String>>>()?;
    let span_names = trace.spans.names.iter().map(json).collect::<io::Result<Vec<String>>>()?;
    let s = &trace.spans;
    for (tid, lane) in lanes::split(s, 0..s.len()).iter().enumerate() {
        let (name, kind) = match trace.tracks.get(lane.track.index()) {
            Some(t) => (t.name.as_str(), t.kind),
            None => ("?", TrackKind::Other),
        };
        let (name, track) = (json(&lanes::name(name, lane.number))?, json(name)?);
        write!(
            out,
            ",\n{{\"ph\":\"M\",\"name\":\"thread_name\",\"pid\":{PID},\"tid\":{tid},\"args\":{{\"name\":{name},\"track\":{track},\
             \"kind\":{}}}}}",
            json(&kind)?
        )?;
        write!(
            out,
            ",\n{{\"ph\":\"M\",\"name\":\"thread_sort_index\",\"pid\":{PID},\"tid\":{tid},\"args\":{{\"sort_index\":{tid}}}}}"
        )?;
        for &i in &lane.spans {
            let layer = s.layer[i].map(|l| l.index()).filter(|&l| l < layer_names.len());
            let run = s.run[i].and_then(|r| Some((r.index(), trace.runs.get(r.index())?)));
            let (name, category) = match layer {
                Some(l) => (layer_names[l].as_str(), trace.layers[l].class.label()),
                None if trace.is_run_span(i) => ("\"run\"", "run"),
                None => (span_names.get(s.name[i] as usize).map_or("\"?\"", String::as_str), "span"),
            };
            write!(
                out,
                ",\n{{\"ph\":\"X\",\"name\":{name},\"cat\":\"{category}\",\"pid\":{PID},\"tid\":{tid},\"ts\":{},\"dur\":{},\"args\":",
                Micros(s.start_ns[i]),
                Micros(s.end_ns[i] - s.start_ns[i]),
            )?;
            let args = layer.map_or("{", |l| layer_args[l].trim_end_matches('}'));
            let mut comma = if layer.is_some() { "," } else { "" };
            out.write_all(args.as_bytes())?;
            if let Some((index, run)) = run {
                write!(out, "{comma}\"run\":{index},\"warmup\":{}", run.warmup)?;
                comma = ",";
            }
            if s.quality[i] != Quality::Cpu {
                write!(out, "{comma}\"quality\":{}", json(&s.quality[i])?)?;
            }
            out.write_all(b"}}")?;
        }
    }
    for counter in &trace.counters {
        let (name, unit) = (json(&counter.name)?, json(&counter.unit)?);
        for (&at, &value) in counter.time_ns.iter().zip(&counter.value).filter(|(_, v)| v.is_finite()) {
            write!(
                out,
                ",\n{{\"ph\":\"C\",\"name\":{name},\"pid\":{PID},\"ts\":{},\"args\":{{{unit}:{value:?}}}}}",
                Micros(at)
            )?;
        }
    }
    out.write_all(b"\n]}\n")
}

fn json(value: &(impl Serialize + ?Sized)) -> io::Result<String> {
    Ok(serde_json::to_string(value)?)
}

/// Nanoseconds, written as microseconds.
struct Micros(u64);

impl std::fmt::Display for Micros {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:03}", self.0 / 1000, self.0 % 1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{self, Random};

    #[test]
    fn the_file_is_json_whose_rows_nest() {
        let mut random = Random::fresh();
        for trace in [fixtures::random(&mut random), fixtures::random(&mut random), fixtures::transformer(1, 2, 1)] {
            let mut file = Vec::new();
            write(&trace, &mut file).unwrap();
            let value: serde_json::Value = serde_json::from_slice(&file)
                .unwrap_or_else(|e| panic!("{e} seed {}: {}", random.seed, String::from_utf8_lossy(&file)));
            let events = value["traceEvents"].as_array().unwrap();
            let complete: Vec<_> = events.iter().filter(|e| e["ph"] == "X").collect();
            assert_eq!(complete.len(), trace.spans.len(), "seed {}", random.seed);
            let ns = |v: &serde_json::Value| (v.as_f64().unwrap() * 1000.0).round() as u64;
            for (i, a) in complete.iter().enumerate() {
                for b in complete[i + 1..].iter().filter(|b| b["tid"] == a["tid"]) {
                    let (a0, b0) = (ns(&a["ts"]), ns(&b["ts"]));
                    let (a1, b1) = (a0 + ns(&a["dur"]), b0 + ns(&b["dur"]));
                    assert!(a1 <= b0 || (a0 <= b0 && b1 <= a1), "{a} {b} seed {}", random.seed);
                }
            }
        }
    }

    #[test]
    fn microseconds_keep_every_nanosecond() {
        for (ns, want) in [(0, "0.000"), (1, "0.001"), (1_234_567, "1234.567"), (u64::MAX, "18446744073709551.615")] {
            assert_eq!(Micros(ns).to_string(), want);
        }
    }
}
