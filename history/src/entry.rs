//! One run in the history.

use std::collections::BTreeMap;

use profiler::Trace;
use rusqlite::Row;
use serde::Serialize;

/// One measured run, as the list shows it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Entry {
    /// Its number in this history.
    pub id: i64,
    /// When, in seconds since the Unix epoch.
    pub unix_s: i64,
    /// The model's short name.
    pub model: String,
    /// Its file.
    pub model_path: String,
    /// A hash of its content; empty if unknown.
    pub model_hash: String,
    /// The device in words, and the engine where it was another's.
    pub device: String,
    /// `cpu` or `gpu`.
    pub device_kind: String,
    /// CPU threads; 0 if unknown.
    pub threads: u32,
    /// `f32`, `int8`, ...
    pub precision: String,
    /// False if fusion was off.
    pub fusion: bool,
    /// The bound symbolic dimensions.
    pub dims: BTreeMap<String, u64>,
    /// What measured.
    pub producer: String,
    /// How many runs the figures are of.
    pub runs: u32,
    /// Median end-to-end latency in nanoseconds; `None` if no run was measured.
    pub median_ns: Option<f64>,
    /// Median absolute deviation of the same.
    pub mad_ns: Option<f64>,
    /// 90 of 100 runs were at most this long.
    pub p90_ns: Option<f64>,
    /// 99 of 100 runs were at most this long.
    pub p99_ns: Option<f64>,
    /// Weights as held for the run.
    pub weights_bytes: u64,
    /// Largest sum of activations alive at once.
    pub peak_bytes: u64,
    /// Facts that lower trust in it.
    pub warnings: u32,
    /// The user's words for it.
    pub tags: Vec<String>,
    /// The user's note.
    pub note: String,
    /// True while its trace can be opened.
    pub has_trace: bool,
    /// Size of the trace's file.
    pub trace_bytes: u64,
}

/// The columns in the order in which [`Entry::read`] takes them.
pub const COLUMNS: &str = "id, unix_s, model, model_path, model_hash, device, device_kind, threads, precision, fusion, dims, \
     producer, runs, median_ns, mad_ns, p90_ns, p99_ns, weights_bytes, peak_bytes, warnings, tags, note, trace_file, trace_bytes";

impl Entry {
    /// What a trace says of itself. It has no number yet.
    pub fn of(trace: &Trace) -> Entry {
        let meta = &trace.meta;
        let latency = trace.headline();
        Entry {
            unix_s: i64::try_from(meta.created_unix_s).unwrap_or(0),
            model: meta.model.clone(),
            model_path: meta.model_path.clone(),
            model_hash: meta.model_hash.clone(),
            device: meta.ran_on(),
            device_kind: meta.device_kind.clone(),
            threads: meta.threads,
            precision: meta.precision.clone(),
            fusion: meta.fusion,
            dims: meta.dims.clone(),
            producer: meta.producer.clone(),
            runs: latency.map_or(0, |s| u32::try_from(s.count).unwrap_or(u32::MAX)),
            median_ns: latency.map(|s| s.median),
            mad_ns: latency.map(|s| s.mad),
            p90_ns: latency.map(|s| s.p90),
            p99_ns: latency.map(|s| s.p99),
            weights_bytes: trace.memory.weights_bytes,
            peak_bytes: trace.memory.activations_peak_bytes,
            warnings: u32::try_from(meta.warnings.len()).unwrap_or(u32::MAX),
            ..Entry::default()
        }
    }

    pub(crate) fn read(row: &Row<'_>) -> rusqlite::Result<Entry> {
        let dims: String = row.get(10)?;
        let tags: String = row.get(20)?;
        let unsigned = |i: usize| row.get::<_, i64>(i).map(|v| u64::try_from(v).unwrap_or(0));
        let small = |i: usize| unsigned(i).map(|v| u32::try_from(v).unwrap_or(u32::MAX));
        Ok(Entry {
            id: row.get(0)?,
            unix_s: row.get(1)?,
            model: row.get(2)?,
            model_path: row.get(3)?,
            model_hash: row.get(4)?,
            device: row.get(5)?,
            device_kind: row.get(6)?,
            threads: small(7)?,
            precision: row.get(8)?,
            fusion: row.get(9)?,
            dims: serde_json::from_str(&dims).unwrap_or_default(),
            producer: row.get(11)?,
            runs: small(12)?,
            median_ns: row.get(13)?,
            mad_ns: row.get(14)?,
            p90_ns: row.get(15)?,
            p99_ns: row.get(16)?,
            weights_bytes: unsigned(17)?,
            peak_bytes: unsigned(18)?,
            warnings: small(19)?,
            tags: words(&tags),
            note: row.get(21)?,
            has_trace: row.get::<_, Option<String>>(22)?.is_some(),
            trace_bytes: unsigned(23)?,
        })
    }

    /// True if the two measured the same thing in the same way, so that a change of latency means something.
    pub fn same_setting(&self, other: &Entry) -> bool {
        let same_model = if self.model_hash.is_empty() || other.model_hash.is_empty() {
            (&self.model, &self.model_path) == (&other.model, &other.model_path)
        } else {
            self.model_hash == other.model_hash
        };
        same_model
            && (&self.device, self.threads, &self.precision, self.fusion, &self.dims)
                == (&other.device, other.threads, &other.precision, other.fusion, &other.dims)
    }
}

/// Tags as they are kept: words between spaces.
pub(crate) fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> =
        text.split([' ', ',', '\n', '\t']).filter(|w| !w.is_empty()).map(str::to_owned).collect();
    words.sort_unstable();
    words.dedup();
    words
}
