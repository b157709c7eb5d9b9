//! OpenVINO's counters by `benchmark_app -report_type average_counters` or `detailed_counters`: CSV with semicolons. A file of
//! detailed counters has a table per inference request, or several columns of times: each is a run.

use super::averages::{Averages, duration_ns, number};
use super::{Problem, damaged, has, ops};
use crate::{Layer, LayerId, Trace, TrackKind};

const MS: f64 = 1e6;

pub(super) fn matches(head: &[u8]) -> bool {
    has(head, "layerName;execStatus;") || has(head, "layer name;exec status;")
}

pub(super) fn read(bytes: &[u8]) -> Result<Trace, Problem> {
    let text = String::from_utf8_lossy(bytes);
    let mut all = Averages::new();
    let mut columns: Option<Columns> = None;
    let mut known: Vec<LayerId> = Vec::new();
    let mut tables = 0;
    // Times of the current table: per column, per layer.
    let mut times: Vec<Vec<(LayerId, u64)>> = Vec::new();
    let mut runs = Vec::new();
    let mut row = 0;
    for (i, line) in text.lines().enumerate() {
        let cells: Vec<&str> = line.trim().trim_end_matches(';').split(';').map(str::trim).collect();
        if let Some(header) = Columns::of(&cells, i + 1)? {
            runs.append(&mut times);
            columns = Some(header);
            tables += 1;
            row = 0;
            continue;
        }
        let Some(c) = &columns else { continue };
        if cells.len() < 2 || cells[0] == "Total" {
            // The table is over; other reports may follow.
            columns = if cells.len() < 2 { None } else { columns };
            continue;
        }
        let cell = |at: usize| cells.get(at).copied().unwrap_or("");
        if !cell(c.status).ends_with("EXECUTED") {
            continue;
        }
        let layer = match known.get(row) {
            // Tables of further requests list the same layers.
            Some(&layer) if tables > 1 => layer,
            _ => {
                let plain = ops::layer(cell(0), cell(c.kind));
                let layer = all.layer(Layer {
                    kernel: cell(c.exec).to_owned(),
                    outputs: Vec::new(),
                    source_nodes: vec![cell(0).to_owned()],
                    ..plain
                })?;
                known.push(layer);
                layer
            }
        };
        row += 1;
        for (n, &at) in c.times.iter().enumerate() {
            // Fewer columns than in the header: that request did not come this far.
            let Some(&text) = cells.get(at).filter(|t| !t.is_empty()) else { continue };
            let value = number(text, "realTime", i + 1)?;
            let ns = duration_ns(value, MS, &format!("line {}: realTime", i + 1))?;
            if times.len() <= n {
                times.resize(n + 1, Vec::new());
            }
            times[n].push((layer, ns));
        }
    }
    runs.append(&mut times);
    if tables == 0 || runs.is_empty() {
        return Err(damaged("no table of layers that were executed in it"));
    }
    let averaged = (runs.len() == 1).then_some(0);
    for run in runs {
        all.next_run();
        for (layer, ns) in run {
            all.time(layer, ns)?;
        }
    }
    let mut trace = all.finish("OpenVINO benchmark_app", TrackKind::Cpu, averaged)?;
    let gpu = trace.layers.iter().filter(|l| l.kernel.contains("_gpu") || l.kernel.contains("ocl")).count();
    if gpu * 2 > trace.layers.len() {
        "gpu".clone_into(&mut trace.meta.device_kind);
        trace.layers.iter_mut().for_each(|l| "gpu".clone_into(&mut l.device));
        trace.tracks.iter_mut().for_each(|t| (t.name, t.kind) = ("GPU".to_owned(), TrackKind::Gpu));
    }
    "OpenVINO".clone_into(&mut trace.meta.device);
    trace.meta.fusion = true;
    Ok(trace)
}

/// Which column is where.
struct Columns {
    status: usize,
    kind: usize,
    exec: usize,
    times: Vec<usize>,
}

impl Columns {
    /// The columns, if a line is a header.
    fn of(cells: &[&str], line: usize) -> Result<Option<Columns>, Problem> {
        let names: Vec<String> = cells.iter().map(|c| c.replace(' ', "").to_lowercase()).collect();
        if names.first().is_none_or(|n| n != "layername") {
            return Ok(None);
        }
        let at = |name: &str| {
            let missing = || damaged(format!("line {line}: no column {name}"));
            names.iter().position(|n| n == name).ok_or_else(missing)
        };
        let times = names.iter().enumerate().filter(|(_, n)| n.starts_with("realtime")).map(|(i, _)| i).collect();
        Ok(Some(Columns { status: at("execstatus")?, kind: at("layertype")?, exec: at("exectype")?, times }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::read;
    use crate::OpClass;

    #[test]
    fn average_counters() {
        let trace = read(include_bytes!("../../testdata/by-schema/openvino-average.csv")).unwrap();
        let layers: Vec<_> =
            trace.layers.iter().map(|l| (l.name.as_str(), l.op.as_str(), l.class, l.kernel.as_str())).collect();
        assert_eq!(
            layers,
            [
                ("/stem/conv/Conv/WithoutBiases", "Convolution", OpClass::Convolution, "jit_avx2_FP32"),
                ("/head/Gemm/WithoutBiases", "FullyConnected", OpClass::MatMul, "gemm_mlas_FP32"),
                ("/head/Softmax", "Softmax", OpClass::Normalisation, "jit_avx2_FP32"),
            ]
        );
        assert_eq!(trace.run_latencies_ns(), [630_000]);
        assert_eq!(trace.layers[0].scope, "stem/conv/Conv");
        assert!(trace.meta.warnings[0].contains("no distribution"));
    }

    #[test]
    fn detailed_counters_have_a_distribution() {
        let trace = read(include_bytes!("../../testdata/by-schema/openvino-detailed.csv")).unwrap();
        assert_eq!((trace.layers.len(), trace.run_latencies_ns()), (2, vec![700_000, 720_000]));
        assert!(trace.layer_stats().iter().all(|s| s.time.count == 2));
        assert!(trace.meta.warnings.is_empty());
        // Several requests in columns.
        let wide = b"layer name;exec status;layer type;exec type;real time;cpu time;real time;cpu time;\nconv1;EXECUTED;Convolution;ref;0.6;0;0.5;0;\n";
        assert_eq!(read(wide).unwrap().run_latencies_ns(), [600_000, 500_000]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let file = b"layerName;execStatus;layerType;execType;realTime (ms);cpuTime (ms);\na;EXECUTED;Add;x;-3;1;\n";
        let message = read(file).unwrap_err().to_string();
        assert!(message.contains("line 2: realTime is -3"), "{message}");
        assert!(read(b"layerName;execStatus;x\n").unwrap_err().to_string().contains("no column layertype"));
    }
}
