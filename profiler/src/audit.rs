//! How far a trace can be trusted.

use serde::{Deserialize, Serialize};

use crate::stats::percentile;
use crate::{LayerStats, Quality, Summary, Trace};

/// How bad a finding is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// As it should be.
    Ok,
    /// Worth knowing before drawing conclusions.
    Warn,
    /// Do not trust the figures that it concerns.
    Bad,
}

/// A finding in words.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Badge {
    /// How bad.
    pub severity: Severity,
    /// A few words.
    pub title: String,
    /// A sentence: what was found, and what to do about it.
    pub detail: String,
}

impl Badge {
    fn new(severity: Severity, title: impl Into<String>, detail: impl Into<String>) -> Badge {
        Badge { severity, title: title.into(), detail: detail.into() }
    }
}

/// What must be known to trust a trace. Shares are fractions: 0.01 is 1%.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Audit {
    /// Median of the profiled runs over median of the unprofiled ones, minus 1: what profiling cost. `None` if there
    /// were no unprofiled runs. May be slightly negative: noise.
    pub slowdown: Option<f64>,
    /// 1 minus (time covered by layers / time of the run), the median over the measured runs.
    pub residual: Option<f64>,
    /// The smallest difference that the clock shows.
    pub clock_resolution_ns: u64,
    /// Half the bracket of the CPU-GPU clock calibration; 0 for CPU-only traces.
    pub calibration_error_ns: u64,
    /// How time was taken, in words.
    pub clock_strategy: String,
    /// Median of the last third of the measured runs over that of the first third, minus 1; positive: it got slower.
    /// `None` below 6 runs.
    pub warmup_drift: Option<f64>,
    /// MAD over median of the headline latency; `None` for a single run.
    pub spread: Option<f64>,
    /// Measured runs.
    pub runs: usize,
    /// Timestamps that were rejected.
    pub rejected: u64,
    /// The findings in words, worst first.
    pub badges: Vec<Badge>,
}

/// Below this many clock steps a layer's time says little.
const MIN_CLOCK_STEPS: f64 = 20.0;
/// Above this relative spread a layer is noisy.
const NOISY: f64 = 0.1;

impl Audit {
    /// Audits a trace.
    pub fn of(trace: &Trace) -> Audit {
        let latencies = trace.run_latencies_ns();
        let profiled = Summary::of(&latencies);
        let unprofiled = trace.unprofiled_latency();
        let slowdown = match (profiled, unprofiled) {
            (Some(p), Some(u)) if u.median > 0.0 => Some(p.median / u.median - 1.0),
            _ => None,
        };
        let mut residuals = trace.residuals();
        residuals.sort_unstable_by(f64::total_cmp);
        let rejected_spans = trace.spans.quality.iter().filter(|&&q| q == Quality::Rejected).count() as u64;
        let clock = &trace.meta.clock;
        let mut audit = Audit {
            slowdown,
            residual: (!residuals.is_empty()).then(|| percentile(&residuals, 0.5)),
            clock_resolution_ns: clock.resolution_ns,
            calibration_error_ns: clock.calibration_error_ns,
            clock_strategy: clock.strategy.clone(),
            warmup_drift: drift(&latencies),
            spread: trace.headline().and_then(|s| Some(s.distribution()?.spread())),
            runs: latencies.len(),
            rejected: clock.rejected.max(rejected_spans),
            badges: Vec::new(),
        };
        audit.badges = badges(&audit, trace);
        audit
    }

    /// The worst finding's severity.
    pub fn severity(&self) -> Severity {
        self.badges.iter().map(|b| b.severity).max().unwrap_or(Severity::Ok)
    }

    /// Findings about one layer; none if its figures can be trusted.
    pub fn layer_badges(trace: &Trace, stats: &LayerStats) -> Vec<Badge> {
        let mut badges = Vec::new();
        let resolution = trace.meta.clock.resolution_ns as f64;
        if stats.time.median < MIN_CLOCK_STEPS * resolution {
            badges.push(Badge::new(
                Severity::Warn,
                "too short for the clock",
                format!(
                    "Its median of {} is under {MIN_CLOCK_STEPS} steps of the clock ({}): only a rough size.",
                    nanoseconds(stats.time.median),
                    nanoseconds(resolution)
                ),
            ));
        }
        if stats.time.spread() > NOISY {
            badges.push(Badge::new(
                Severity::Warn,
                "noisy",
                format!(
                    "Its times vary by {} around the median: add runs, quiet the machine.",
                    percent(stats.time.spread())
                ),
            ));
        }
        if stats.rejected > 0 {
            badges.push(Badge::new(
                Severity::Bad,
                "rejected timestamps",
                format!("{} of its timestamps were zero or out of order; those times are estimates.", stats.rejected),
            ));
        }
        if stats.wall {
            badges.push(Badge::new(
                Severity::Warn,
                "wall clock only",
                "Timed by submit and wait, for want of GPU timestamps: launch overhead is included.",
            ));
        }
        badges
    }
}

/// Median of the last third over median of the first third, minus 1.
fn drift(latencies: &[u64]) -> Option<f64> {
    let third = latencies.len() / 3;
    if third < 2 {
        return None;
    }
    let first = Summary::of(&latencies[..third])?.median;
    let last = Summary::of(&latencies[latencies.len() - third..])?.median;
    (first > 0.0).then(|| last / first - 1.0)
}

fn badges(audit: &Audit, trace: &Trace) -> Vec<Badge> {
    let mut out = Vec::new();
    let mut add = |severity, title: String, detail: String| out.push(Badge::new(severity, title, detail));
    let graded = |value: f64, warn: f64, bad: f64| match value.abs() {
        v if v < warn => Severity::Ok,
        v if v < bad => Severity::Warn,
        _ => Severity::Bad,
    };
    if audit.runs == 0 {
        let (title, detail) = ("no measured runs", "The trace holds no run that was measured.");
        add(if trace.spans.is_empty() { Severity::Bad } else { Severity::Warn }, title.into(), detail.into());
    } else {
        let severity = match audit.runs {
            0..3 => Severity::Bad,
            3..10 => Severity::Warn,
            _ => Severity::Ok,
        };
        let detail =
            if severity == Severity::Ok { "Enough for medians." } else { "Few: percentiles say little. Add runs." };
        let s = if audit.runs == 1 { "" } else { "s" };
        add(severity, format!("{} measured run{s}", audit.runs), detail.into());
    }
    match audit.slowdown {
        Some(s) => add(
            graded(s.max(0.0), 0.02, 0.1),
            format!("profiling cost {}", percent(s)),
            "Median of the profiled runs against that of unprofiled runs, taken in turns.".into(),
        ),
        None if audit.runs > 0 => add(
            Severity::Warn,
            "no unprofiled runs".into(),
            "What profiling itself cost is unknown: no run with recording off stands beside.".into(),
        ),
        None => {}
    }
    if let Some(r) = audit.residual {
        let detail = if r < -0.01 {
            "The layers' times exceed the run that holds them: clocks disagree."
        } else {
            "Time of the run that no layer accounts for: dispatch, copies, waiting."
        };
        let severity = if r < -0.01 { Severity::Bad } else { graded(r, 0.05, 0.2) };
        add(severity, format!("{} outside of layers", percent(r)), detail.into());
    }
    if let Some(d) = audit.warmup_drift {
        add(
            graded(d, 0.03, 0.1),
            format!("drift {}{}", if d > 0.0 { "+" } else { "" }, percent(d)),
            "Last third of the runs against the first. A large one means too little warm-up, or a hot machine.".into(),
        );
    }
    if let Some(s) = audit.spread {
        add(
            graded(s, 0.03, 0.1),
            format!("spread {}", percent(s)),
            "Median absolute deviation of the latency over its median.".into(),
        );
    }
    if audit.rejected > 0 {
        let share = audit.rejected as f64 / trace.spans.len().max(1) as f64;
        add(
            if share > 0.01 { Severity::Bad } else { Severity::Warn },
            format!("{} rejected timestamps", audit.rejected),
            "The device gave times that were zero or out of order; those spans are estimates.".into(),
        );
    }
    if trace.spans.quality.contains(&Quality::Wall) {
        add(
            Severity::Warn,
            "wall clock only".into(),
            "Layers were timed by submit and wait, for want of GPU timestamps: launch overhead is included.".into(),
        );
    }
    if audit.calibration_error_ns > 0 {
        add(
            graded(audit.calibration_error_ns as f64, 100_000.0, 1_000_000.0),
            format!("clocks within ±{}", nanoseconds(audit.calibration_error_ns as f64)),
            "How closely GPU times are placed on the CPU's clock. Durations on one clock are not affected.".into(),
        );
    }
    if trace.meta.simulated_precision {
        add(
            Severity::Warn,
            "simulated precision".into(),
            format!("Weights were dequantised on load: latency and memory are not those of {}.", trace.meta.precision),
        );
    }
    for warning in &trace.meta.warnings {
        add(Severity::Warn, warning.clone(), "Noted when the trace was taken.".into());
    }
    out.sort_by_key(|b| std::cmp::Reverse(b.severity));
    out
}

fn percent(share: f64) -> String {
    format!("{:.1}%", share * 100.0)
}

fn nanoseconds(ns: f64) -> String {
    match ns {
        v if v < 1e3 => format!("{v:.0} ns"),
        v if v < 1e6 => format!("{:.1} µs", v / 1e3),
        v => format!("{:.2} ms", v / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::*;

    /// Runs of the given latencies, one layer covering `covered` of each.
    fn trace(latencies: &[u64], covered: f64) -> Trace {
        let mut r = Recorder::new(std::time::Instant::now());
        r.set_layers(vec![Layer { name: "a".into(), ..Layer::default() }]);
        let cpu = r.track("CPU", TrackKind::Cpu);
        let mut at = 0;
        for &l in latencies {
            r.begin_run_at(at, false);
            r.layer(cpu, LayerId(0), at, at + (l as f64 * covered) as u64, Quality::Cpu);
            at += l;
            r.end_run_at(at);
        }
        r.finish()
    }

    #[test]
    fn figures_are_what_they_say() {
        let mut t = trace(&[1000, 1000, 1000, 1100, 1100, 1100], 0.9);
        t.meta.unprofiled_ns = vec![1000; 5];
        t.meta.clock.resolution_ns = 20;
        let a = Audit::of(&t);
        let near = |x: Option<f64>, y: f64| x.is_some_and(|x| (x - y).abs() < 1e-9);
        assert!(near(a.slowdown, 0.05), "{a:?}");
        assert!(near(a.residual, 0.1), "{a:?}");
        assert!(near(a.warmup_drift, 0.1), "{a:?}");
        assert!(near(a.spread, 0.0), "{a:?}");
        assert_eq!((a.runs, a.rejected), (6, 0));
        assert!(a.badges.is_sorted_by_key(|b| std::cmp::Reverse(b.severity)));
        assert_eq!(a.severity(), Severity::Bad);
    }

    #[test]
    fn a_good_trace_has_only_good_badges() {
        let mut t = trace(&[100_000; 30], 0.99);
        t.meta.unprofiled_ns = vec![99_500; 30];
        let a = Audit::of(&t);
        assert_eq!(a.severity(), Severity::Ok, "{:?}", a.badges);
        assert!(Audit::layer_badges(&t, &t.layer_stats()[0]).is_empty());
    }

    #[test]
    fn bad_layers_say_so() {
        let mut t = trace(&[100, 200, 100, 300, 100], 1.0);
        t.meta.clock.resolution_ns = 40;
        t.spans.quality = vec![Quality::Rejected; t.spans.len()];
        let stats = t.layer_stats();
        let titles: Vec<_> = Audit::layer_badges(&t, &stats[0]).into_iter().map(|b| b.title).collect();
        assert_eq!(titles, ["too short for the clock", "rejected timestamps"]);
        t.spans.quality = vec![Quality::Wall; t.spans.len()];
        let noisy = LayerStats { time: Summary { mad: 50.0, ..stats[0].time }, ..t.layer_stats()[0] };
        let titles: Vec<_> = Audit::layer_badges(&t, &noisy).into_iter().map(|b| b.title).collect();
        assert_eq!(titles, ["too short for the clock", "noisy", "wall clock only"]);
        assert_eq!(Audit::of(&Trace::default()).severity(), Severity::Bad);
    }
}
