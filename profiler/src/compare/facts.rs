//! What is known beside times: sizes, errors, settings, and what speaks against a verdict.

use std::collections::HashMap;

use serde::Serialize;

use super::align::Group;
use super::bootstrap::Sample;
use super::{Totals, Verdict};
use crate::{Layer, LayerId, MemoryClass, Trace};

/// How a size changed. Sizes are planned, not sampled: they have no spread and need no interval.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct SizeChange {
    /// Bytes in the baseline; `None` if unknown.
    pub baseline: Option<u64>,
    /// Bytes in the current trace; `None` if unknown.
    pub current: Option<u64>,
}

impl SizeChange {
    /// Current minus baseline, if both are known.
    pub fn difference(&self) -> Option<i128> {
        Some(i128::from(self.current?) - i128::from(self.baseline?))
    }

    /// Current over baseline, minus 1.
    pub fn relative(&self) -> Option<f64> {
        let (a, b) = (self.baseline? as f64, self.current? as f64);
        (a > 0.0).then(|| b / a - 1.0)
    }
}

/// How well a row's output agrees with the f32 reference under one scheme: SQNR in dB, higher is better. Bit-identical
/// outputs count as [`EXACT_DB`].
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct ErrorChange {
    /// `int8`, `f16`, ...
    pub scheme: String,
    /// In the baseline; `None` if it was not studied.
    pub baseline_db: Option<f64>,
    /// In the current trace.
    pub current_db: Option<f64>,
}

impl ErrorChange {
    /// Current minus baseline: negative is worse.
    pub fn difference_db(&self) -> Option<f64> {
        Some(self.current_db? - self.baseline_db?)
    }
}

/// What a bit-identical output counts as.
pub const EXACT_DB: f64 = 200.0;

/// A setting that differs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Difference {
    /// `device`, `threads`, `precision`, ...
    pub what: &'static str,
    /// The baseline's; empty if unknown.
    pub baseline: String,
    /// The current one's.
    pub current: String,
}

/// Bytes of weights and outputs per layer.
pub(super) struct LayerSizes {
    bytes: Vec<Option<u64>>,
}

impl LayerSizes {
    pub fn new(trace: &Trace) -> Self {
        let mut outputs: Vec<Option<u64>> = vec![None; trace.layers.len()];
        for t in trace.memory.tensors.iter().filter(|t| t.class == MemoryClass::Activations) {
            if let Some(slot) = t.producer.and_then(|p| outputs.get_mut(p.index())) {
                *slot = Some(slot.unwrap_or(0).saturating_add(t.bytes));
            }
        }
        let size = |(l, out): (&Layer, &Option<u64>)| {
            let out = out.or(l.bytes_written);
            let known = out.is_some() || l.weight_bytes > 0;
            known.then(|| out.unwrap_or(0).saturating_add(l.weight_bytes))
        };
        LayerSizes { bytes: trace.layers.iter().zip(&outputs).map(size).collect() }
    }

    /// Of several layers; `None` if no layer's is known.
    pub fn of(&self, layers: &[LayerId]) -> Option<u64> {
        let known = layers.iter().filter_map(|l| *self.bytes.get(l.index())?);
        known.fold(None, |sum: Option<u64>, b| Some(sum.unwrap_or(0).saturating_add(b)))
    }
}

/// Per scheme, the SQNR of each layer by its index.
pub(super) struct LayerErrors {
    schemes: Vec<(String, HashMap<u32, f64>)>,
}

impl LayerErrors {
    pub fn new(trace: &Trace) -> Self {
        let names: HashMap<&str, u32> =
            trace.layers.iter().enumerate().map(|(i, l)| (l.name.as_str(), i as u32)).collect();
        let of_scheme = |a: &crate::Accuracy| {
            let layers = a.layers.iter().filter_map(|l| {
                let db = if l.exact { Some(EXACT_DB) } else { l.cumulative_sqnr_db.or(l.local_sqnr_db) };
                Some((*names.get(l.layer.as_str())?, db.filter(|d| d.is_finite())?))
            });
            (a.scheme.clone(), layers.collect())
        };
        LayerErrors { schemes: trace.accuracy.iter().map(of_scheme).collect() }
    }

    /// Of a row: that of its last layer which was studied.
    fn of(&self, scheme: &str, layers: &[LayerId]) -> Option<f64> {
        let known = &self.schemes.iter().find(|s| s.0 == scheme)?.1;
        layers.iter().rev().find_map(|l| known.get(&l.0).copied())
    }
}

/// The schemes that at least one side has figures of.
pub(super) fn error_changes(errors: &[LayerErrors; 2], group: &Group) -> Vec<ErrorChange> {
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in errors.iter().flat_map(|e| &e.schemes) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    names
        .into_iter()
        .map(|scheme| ErrorChange {
            scheme: scheme.to_owned(),
            baseline_db: errors[0].of(scheme, &group.baseline),
            current_db: errors[1].of(scheme, &group.current),
        })
        .filter(|e| e.baseline_db.is_some() || e.current_db.is_some())
        .collect()
}

/// Planned peak, weights, peak of activations.
pub(super) fn memory(baseline: &Trace, current: &Trace) -> [SizeChange; 3] {
    let side = |t: &Trace| -> [Option<u64>; 3] {
        let m = &t.memory;
        if m.tensors.is_empty() && m.weights_bytes == 0 && m.activations_peak_bytes == 0 {
            return [None; 3];
        }
        let planned = m.timeline(t.layers.len()).peak.map(|p| p.1);
        let stated = [m.activations_peak_bytes, m.workspace_bytes, m.staging_bytes]
            .iter()
            .fold(m.weights_bytes, |sum, b| sum.saturating_add(*b));
        let peak = planned.filter(|p| *p > 0).unwrap_or(stated);
        [Some(peak), Some(m.weights_bytes), Some(m.activations_peak_bytes)]
    };
    let (a, b) = (side(baseline), side(current));
    [0, 1, 2].map(|i| SizeChange { baseline: a[i], current: b[i] })
}

/// The latencies to compare first.
pub(super) struct Headline {
    pub samples: [Sample; 2],
    /// They are of runs with recording off.
    pub unprofiled: bool,
}

/// Runs with recording off where both sides have such, else the recorded ones.
pub(super) fn headline(baseline: &Trace, current: &Trace) -> Headline {
    let unprofiled = !baseline.meta.unprofiled_ns.is_empty() && !current.meta.unprofiled_ns.is_empty();
    let of = |t: &Trace| {
        let values = if unprofiled { t.meta.unprofiled_ns.clone() } else { t.run_latencies_ns() };
        Sample::new(&values.into_iter().map(|v| v as f64).collect::<Vec<f64>>())
    };
    Headline { samples: [of(baseline), of(current)], unprofiled }
}

/// Settings that differ, where both sides state them.
pub(super) fn differences(baseline: &Trace, current: &Trace) -> Vec<Difference> {
    let facts = |t: &Trace| -> Vec<(&'static str, String)> {
        let m = &t.meta;
        let dims: Vec<String> = m.dims.iter().map(|(n, v)| format!("{n}={v}")).collect();
        // Fusion is a plain flag: only traces that state a precision are from an engine that sets it.
        let fusion = match (m.precision.is_empty(), m.fusion) {
            (true, _) => "",
            (_, true) => "on",
            (_, false) => "off",
        };
        let options: Vec<String> = m.engine_options.iter().map(|(n, v)| format!("{n}={v}")).collect();
        let count = |n: u64| if n == 0 { String::new() } else { n.to_string() };
        vec![
            ("model", m.model.clone()),
            ("model file", m.model_hash.clone()),
            ("engine", if m.engine.is_empty() { m.producer.clone() } else { m.engine.clone() }),
            ("engine options", options.join(", ")),
            ("device", m.device.clone()),
            ("threads", count(u64::from(m.threads))),
            ("precision", format!("{}{}", m.precision, if m.simulated_precision { " (simulated)" } else { "" })),
            ("fusion", fusion.to_owned()),
            ("dimensions", dims.join(", ")),
            ("batch", count(m.batch)),
            ("clock", m.clock.strategy.clone()),
        ]
    };
    let pairs = facts(baseline).into_iter().zip(facts(current));
    pairs
        .filter(|((_, a), (_, b))| a != b && !a.is_empty() && !b.is_empty())
        .map(|((what, baseline), (_, current))| Difference { what, baseline, current })
        .collect()
}

/// What the verdicts take for granted, and what speaks against it.
pub(super) fn assumptions(
    baseline: &Trace,
    current: &Trace,
    totals: &Totals,
    differences: &[Difference],
) -> Vec<String> {
    let mut notes = vec![
        "The traces were taken one after the other: that the machine did not change in between is assumed, not measured."
            .to_owned(),
    ];
    let differs = |what: &str| differences.iter().any(|d| d.what == what);
    if differs("device") || differs("threads") {
        notes.push("They ran on different devices or numbers of threads: a change may be the machine's.".to_owned());
    }
    if differs("model file") {
        notes.push("The model files differ: layers are matched by the names of their nodes.".to_owned());
    }
    if differs("engine") {
        notes.push("Different programs measured: what counts as a layer's time may differ.".to_owned());
    }
    for (side, trace) in [("baseline", baseline), ("current trace", current)] {
        if trace.runs.is_empty() && !trace.spans.is_empty() {
            notes
                .push(format!("The {side} holds one set of times without runs: without a spread there is no verdict."));
        }
        if trace.meta.simulated_precision {
            notes.push(format!("The {side}'s precision is simulated: its times are not those of the real format."));
        }
    }
    let drifting = [("baseline", totals.headline.baseline), ("current trace", totals.headline.current)];
    for (side, s) in drifting.into_iter().filter_map(|(n, s)| Some((n, s?))) {
        if s.effective_runs < s.runs as f64 {
            notes.push(format!(
                "The {side}'s {} runs are alike in sequence (the machine drifts): they count as {:.0}.",
                s.runs, s.effective_runs
            ));
        }
    }
    // Recorded and unrecorded runs alternate: they see the same machine, and must tell the same story.
    if let (true, Some(a), Some(b)) =
        (totals.headline_unprofiled, totals.headline.relative_interval, totals.end_to_end.relative_interval)
        && (a.1 < b.0 || b.1 < a.0)
    {
        notes.push(
            "Runs with and without recording disagree about the change: the cost of recording differs between the traces."
                .to_owned(),
        );
    }
    if totals.headline.verdict == Verdict::NotMeasured {
        notes.push("A side has no latency of whole runs.".to_owned());
    }
    notes
}
