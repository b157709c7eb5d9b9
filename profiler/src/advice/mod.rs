//! What to fix first, in words and figures: findings about a trace, ranked by what they would save.
//!
//! A rule speaks only where the trace has the data for it; [`Advice::missing`] says what could not be looked for, and why.
//! Savings are estimates, each with its basis, and do not add up: two findings may concern the same time.

mod compute;
mod state;
mod structure;
#[cfg(test)]
mod tests;

use serde::Serialize;

use crate::roofline::{Ceilings, LayerRoof, roofline};
use crate::{Audit, LayerId, LayerStats, Trace};

/// A finding must save at least this share of the latency to be worth a line.
const LEAST_SHARE: f64 = 0.01;
/// A layer shorter than this is mostly overhead.
const TINY_NS: f64 = 10_000.0;

/// One thing to fix.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Finding {
    /// A stable word for the rule that found it: `ceiling`, `movement`.
    pub rule: &'static str,
    /// What was found, in a few words.
    pub title: String,
    /// The figures behind it.
    pub why: String,
    /// What to try.
    pub try_this: String,
    /// The layers that it concerns.
    pub layers: Vec<LayerId>,
    /// Time that fixing it would save per run, if that can be estimated.
    pub saving_ns: Option<f64>,
    /// Memory that fixing it would save, if it is about memory.
    pub saving_bytes: Option<u64>,
    /// How the saving was estimated, in words; empty if it was not.
    pub basis: String,
}

/// The findings about one trace.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Advice {
    /// Those that save time first, most first; then those that save memory; then warnings.
    pub findings: Vec<Finding>,
    /// What could not be looked for, and why.
    pub missing: Vec<String>,
}

/// What the rules look at.
struct Case<'a> {
    trace: &'a Trace,
    stats: &'a [LayerStats],
    audit: &'a Audit,
    ceilings: Option<&'a Ceilings>,
    roofs: Vec<LayerRoof>,
    /// The headline's median.
    latency_ns: f64,
}

impl Case<'_> {
    /// A layer's median time; 0 if no measured run ran it.
    fn time(&self, layer: LayerId) -> f64 {
        // Statistics are in layer order.
        self.stats.binary_search_by_key(&layer, |s| s.layer).map_or(0.0, |i| self.stats[i].time.median)
    }

    fn times(&self, layers: &[LayerId]) -> f64 {
        layers.iter().map(|&l| self.time(l)).sum()
    }

    /// True if that much time is worth a line.
    fn matters(&self, ns: f64) -> bool {
        ns >= LEAST_SHARE * self.latency_ns
    }

    fn share(&self, ns: f64) -> String {
        percent(ns / self.latency_ns)
    }

    fn name(&self, layer: LayerId) -> &str {
        self.trace.layers.get(layer.index()).map_or("?", |l| &l.name)
    }

    fn is_gpu(&self) -> bool {
        self.trace.meta.device_kind == "gpu"
    }
}

/// Looks for what could be better. `stats` and `audit` are the trace's own; `ceilings` are those measured on this machine, and
/// are used only if they are the trace's own device's.
pub fn advice(trace: &Trace, stats: &[LayerStats], audit: &Audit, ceilings: Option<&Ceilings>) -> Advice {
    let mut advice = Advice::default();
    let Some(latency) = trace.headline().filter(|h| h.median > 0.0 && !stats.is_empty()) else {
        advice
            .missing
            .push("The trace holds no measured run of any layer: nothing can be said about its time.".to_owned());
        state::memory(&trace.memory, trace.layers.len(), &mut advice);
        state::accuracy(trace, &mut advice);
        return advice;
    };
    let own = Ceilings::of(trace, ceilings);
    if let Err(why) = &own {
        advice.missing.push(format!("How far layers are from what the device can do, and what int8 would save: {why}"));
    }
    let ceilings = own.ok();
    let roofs = roofline(trace, stats, ceilings);
    let case = Case { trace, stats, audit, ceilings, roofs, latency_ns: latency.median };
    compute::ceiling(&case, &mut advice);
    compute::int8(&case, &mut advice);
    compute::threads(&case, &mut advice);
    structure::gaps(&case, &mut advice);
    structure::tiny(&case, &mut advice);
    structure::movement(&case, &mut advice);
    structure::fallback(&case, &mut advice);
    structure::unfused(&case, &mut advice);
    state::memory(&trace.memory, trace.layers.len(), &mut advice);
    state::drift(&case, &mut advice);
    state::unstable(&case, &mut advice);
    state::accuracy(trace, &mut advice);
    let key = |f: &Finding| (f.saving_ns.unwrap_or(-1.0), f.saving_bytes.map_or(-1.0, |b| b as f64));
    // A stable sort: where nothing is to be saved, the order of the rules stays.
    advice.findings.sort_by(|a, b| {
        let (a, b) = (key(a), key(b));
        b.0.total_cmp(&a.0).then(b.1.total_cmp(&a.1))
    });
    advice
}

/// `3 layers`, `1 layer`.
fn plural(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

fn percent(share: f64) -> String {
    let p = share * 100.0;
    if p < 9.95 { format!("{p:.1}%") } else { format!("{p:.0}%") }
}

fn time(ns: f64) -> String {
    scaled(ns, &[(1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1.0, "ns")])
}

fn bytes(bytes: f64) -> String {
    scaled(bytes, &[(1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B")])
}

fn rate(per_s: f64, what: &str) -> String {
    scaled(per_s, &[(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, "")]) + what
}

/// Three significant digits in the largest unit that the value reaches.
fn scaled(v: f64, units: &[(f64, &str)]) -> String {
    let (divisor, unit) = units.iter().find(|u| v >= u.0 * 0.9995).or(units.last()).copied().unwrap_or((1.0, ""));
    let v = v / divisor;
    let digits = if v >= 99.95 || v.fract() == 0.0 && divisor <= 1.0 {
        0
    } else if v >= 9.995 {
        1
    } else {
        2
    };
    format!("{v:.digits$} {unit}")
}
