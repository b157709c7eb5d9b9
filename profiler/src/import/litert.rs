//! LiteRT's (TensorFlow Lite's) op profile by `benchmark_model`: as CSV (`--profiling_output_csv_file`) or as the text that it
//! prints. Only the order in which regular runs went is read; what ran before them is setup.

use super::averages::{Averages, duration_ns, number};
use super::{Problem, damaged, has, ops};
use crate::{Layer, Span, Trace, Track, TrackId, TrackKind};

const MS: f64 = 1e6;
const ORDER: &str = " Run Order ";

pub(super) fn matches(head: &[u8]) -> bool {
    let named = has(head, "node type,") || has(head, "[node type]");
    named && (has(head, ORDER) || has(head, "times called"))
}

pub(super) fn read(bytes: &[u8]) -> Result<Trace, Problem> {
    let text = String::from_utf8_lossy(bytes);
    let mut all = Averages::new();
    let mut setup: Vec<(String, u64)> = Vec::new();
    let mut runs = 0;
    let mut table: Option<Columns> = None;
    // A file without headlines is a table of regular runs.
    let (mut regular, mut ordered) = (true, !text.contains(ORDER));
    for (i, line) in text.lines().enumerate() {
        let plain = line.trim();
        if plain.contains("Benchmark Initialization") {
            regular = false;
        } else if plain.contains("Regular Benchmark Runs") {
            regular = true;
        } else if plain.starts_with("====") {
            ordered = plain.contains(ORDER);
            table = None;
        } else if let Some(rest) = plain.strip_prefix("Timings (microseconds):").filter(|_| regular) {
            let count = rest.trim().strip_prefix("count=").and_then(|r| r.split_whitespace().next());
            runs = count.and_then(|c| c.parse().ok()).unwrap_or(0);
        } else if let Some(columns) = Columns::of(plain).filter(|_| ordered) {
            table = Some(columns);
        } else if plain.is_empty() {
            table = None;
        } else if let Some(columns) = &table {
            let row = columns.row(plain, i + 1)?;
            if regular {
                let layer = all.layer(row.layer())?;
                all.time(layer, row.ns)?;
            } else {
                setup.push((row.name, row.ns));
            }
        }
    }
    if all.len() == 0 {
        return Err(damaged("no table of the order of regular runs in it"));
    }
    let mut trace = all.finish("LiteRT benchmark_model", TrackKind::Cpu, Some(runs))?;
    add_setup(&mut trace, setup);
    Ok(trace)
}

/// What ran before the runs, on a track of its own beside them.
fn add_setup(trace: &mut Trace, setup: Vec<(String, u64)>) {
    let track = TrackId(trace.tracks.len() as u32);
    if !setup.is_empty() {
        trace.tracks.push(Track { name: "Setup".to_owned(), kind: TrackKind::Setup });
    }
    let mut at = 0u64;
    for (name, ns) in setup {
        let name = trace.spans.intern(&name);
        let (start_ns, end_ns) = (at, at.saturating_add(ns));
        let quality = crate::Quality::Cpu;
        trace.spans.push(Span { track, layer: None, name, start_ns, end_ns, parent: None, run: None, quality });
        at = end_ns;
    }
    trace.meta.load_ns = at;
}

/// Which column is where.
struct Columns {
    comma: bool,
    kind: usize,
    average: usize,
    times: Option<usize>,
    name: usize,
}

struct Row {
    kind: String,
    name: String,
    /// Per run.
    ns: u64,
}

impl Columns {
    /// The columns, if a line is a header.
    fn of(line: &str) -> Option<Columns> {
        let comma = line.starts_with("node type,");
        if !comma && !line.starts_with("[node type]") {
            return None;
        }
        let names: Vec<String> =
            cells(line, comma).iter().map(|c| c.trim_matches(['[', ']']).replace('_', " ").to_lowercase()).collect();
        let at = |name: &str| names.iter().position(|n| n == name);
        Some(Columns { comma, kind: 0, average: at("avg ms")?, times: at("times called"), name: at("name")? })
    }

    fn row(&self, line: &str, number_of_line: usize) -> Result<Row, Problem> {
        let cells = cells(line, self.comma);
        let cell = |i: usize, field: &str| {
            let missing = || damaged(format!("line {number_of_line}: no {field}"));
            cells.get(i).copied().ok_or_else(missing)
        };
        let average = number(cell(self.average, "avg_ms")?, "avg_ms", number_of_line)?;
        let times = match self.times {
            Some(at) => number(cell(at, "times called")?, "times called", number_of_line)?,
            None => 1.0,
        };
        let ns = duration_ns(average * times.max(1.0), MS, &format!("line {number_of_line}: avg_ms"))?;
        Ok(Row { kind: cell(self.kind, "node type")?.to_owned(), name: cell(self.name, "name")?.to_owned(), ns })
    }
}

/// In the text form columns stand apart by tabs or several spaces, and names have single ones.
fn cells(line: &str, comma: bool) -> Vec<&str> {
    let cells = line.trim();
    if comma {
        return cells.split(',').map(str::trim).collect();
    }
    cells.split('\t').flat_map(|c| c.split("  ")).map(str::trim).filter(|c| !c.is_empty()).collect()
}

impl Row {
    /// `[a/b/Relu]:12` is the output `a/b/Relu` of node 12.
    fn layer(&self) -> Layer {
        let inside = self.name.rsplit_once(':').map_or(self.name.as_str(), |(name, _)| name);
        let outputs = inside.trim_start_matches('[').trim_end_matches(']');
        // Commas between outputs are tabs in CSV.
        let first = outputs.split(['\t', ',']).next().unwrap_or(outputs).trim();
        let node = first.split(';').next().unwrap_or(first);
        Layer {
            name: self.name.clone(),
            source_nodes: if node.is_empty() { Vec::new() } else { vec![node.to_owned()] },
            ..ops::layer(node, &self.kind)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::read;
    use crate::OpClass;

    #[test]
    fn both_forms_say_the_same() {
        let csv = read(include_bytes!("../../testdata/by-schema/litert.csv")).unwrap();
        let text = read(include_bytes!("../../testdata/by-schema/litert.txt")).unwrap();
        let layers: Vec<_> =
            csv.layers.iter().map(|l| (l.op.as_str(), l.class, l.scope.as_str(), l.source_nodes[0].as_str())).collect();
        assert_eq!(layers[0], ("CONV_2D", OpClass::Convolution, "net/stem", "net/stem/Relu6"));
        assert_eq!(layers[2], ("FULLY_CONNECTED", OpClass::MatMul, "net/head", "net/head/MatMul"));
        let times = |t: &crate::Trace| t.layer_stats().iter().map(|s| s.time.median).collect::<Vec<_>>();
        assert_eq!(times(&csv), [609_570.0, 498_700.0 * 2.0, 30_000.0]);
        assert_eq!(times(&text), times(&csv));
        assert_eq!(csv.meta.load_ns, 1_356_000);
        assert!(csv.meta.warnings[0].contains("over 50 runs"), "{:?}", csv.meta.warnings);
    }

    #[test]
    fn bad_rows_are_named() {
        let file =
            b"node type, start, first, avg_ms, %, cdf%, mem KB, times called, name\nADD, 0, 1, fast, 1%, 1%, 0, 1, a\n";
        let message = read(file).unwrap_err().to_string();
        assert!(message.contains("line 2: avg_ms is \"fast\""), "{message}");
        let short = b"node type, start, first, avg_ms, %, cdf%, mem KB, times called, name\nADD, 0\n";
        assert!(read(short).unwrap_err().to_string().contains("line 2: no avg_ms"));
    }
}
