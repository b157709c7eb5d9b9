//! From two sets of runs to a verdict.

use serde::Serialize;

use super::bootstrap::{Distribution, Sample, Statistic, Weights, rank_test};

/// Fewer independent runs than this on either side give no verdict.
pub const LEAST_RUNS: usize = 5;

/// What a change amounts to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Less time, beyond noise.
    Faster,
    /// More time, beyond noise.
    Slower,
    /// The whole interval lies within the margin.
    NoChange,
    /// The noise is larger than the change: more runs may tell.
    Noise,
    /// Too few runs on a side for any verdict.
    TooFewRuns,
    /// A side's runs drift so much that they count as hardly any.
    Drift,
    /// It exists on both sides, and no run measured it on one of them.
    NotMeasured,
    /// Only the current trace has it.
    New,
    /// Only the baseline has it.
    Gone,
}

impl Verdict {
    /// A few words for tables.
    pub fn label(self) -> &'static str {
        match self {
            Verdict::Faster => "faster",
            Verdict::Slower => "slower",
            Verdict::NoChange => "no change",
            Verdict::Noise | Verdict::TooFewRuns | Verdict::Drift | Verdict::NotMeasured => "no verdict",
            Verdict::New => "new",
            Verdict::Gone => "gone",
        }
    }

    /// Why it is so, in a sentence.
    pub fn reason(self) -> &'static str {
        match self {
            Verdict::Faster => "It takes less time than the baseline, beyond noise.",
            Verdict::Slower => "It takes more time than the baseline, beyond noise.",
            Verdict::NoChange => "The whole interval of the change lies within the margin or the clock's step.",
            Verdict::Noise => "The noise is larger than the change: more runs may tell.",
            Verdict::TooFewRuns => "A side has fewer than 5 measured runs: their spread is unknown.",
            Verdict::Drift => {
                "The runs of a side drift: they count as fewer than 5 independent ones, and the change is within that."
            }
            Verdict::NotMeasured => "No run of one side measured it.",
            Verdict::New => "Only the current trace has it.",
            Verdict::Gone => "Only the baseline has it.",
        }
    }

    /// True where nothing is said for want of evidence.
    pub fn is_open(self) -> bool {
        self.label() == "no verdict"
    }
}

/// One side of a change.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Side {
    /// The figure, over the measured runs.
    pub ns: f64,
    /// Its own interval.
    pub interval_ns: (f64, f64),
    /// Measured runs.
    pub runs: usize,
    /// As how many independent runs they count: fewer where neighbours are alike.
    pub effective_runs: f64,
}

/// How a time changed from the baseline to the current trace.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct TimeChange {
    /// The baseline's; `None` if it has none.
    pub baseline: Option<Side>,
    /// The current one's; `None` if it has none.
    pub current: Option<Side>,
    /// Current minus baseline; a missing side counts as 0.
    pub difference_ns: f64,
    /// The interval of the difference; `None` without verdict for want of runs.
    pub interval_ns: Option<(f64, f64)>,
    /// Current over baseline, minus 1; `None` if a side is missing or the baseline is 0.
    pub relative: Option<f64>,
    /// The interval of that.
    pub relative_interval: Option<(f64, f64)>,
    /// How probable such a difference is by chance; of a row, as the Benjamini-Hochberg procedure adjusts it.
    pub p: Option<f64>,
    /// What it amounts to.
    pub verdict: Verdict,
}

impl TimeChange {
    /// A change between nothing and nothing.
    pub(super) fn unknown() -> TimeChange {
        TimeChange {
            baseline: None,
            current: None,
            difference_ns: 0.0,
            interval_ns: None,
            relative: None,
            relative_interval: None,
            p: None,
            verdict: Verdict::NotMeasured,
        }
    }

    /// True if the runs of a side count as too few independent ones.
    fn drifts(&self) -> bool {
        let few = |s: Option<Side>| s.is_some_and(|s| s.effective_runs < LEAST_RUNS as f64);
        few(self.baseline) || few(self.current)
    }

    /// True if the change is beyond noise: faster, slower, or too small to matter but real.
    pub fn is_significant(&self, confidence: f64) -> bool {
        self.p.is_some_and(|p| p <= 1.0 - confidence)
    }
}

/// How to judge.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Options {
    /// Of the intervals, and 1 minus the rate of false alarms: 0.95.
    pub confidence: f64,
    /// A change whose whole interval is within this share counts as none: 0.02.
    pub margin: f64,
}

impl Default for Options {
    fn default() -> Self {
        Options { confidence: 0.95, margin: 0.02 }
    }
}

/// Judges one figure alone. `present` tells on which sides the thing exists at all.
pub(super) fn judge(
    baseline: &Sample,
    current: &Sample,
    present: (bool, bool),
    statistic: Statistic,
    options: Options,
    weights: &mut Weights,
) -> TimeChange {
    let (a, b) = (weights.distribution(baseline, statistic), weights.distribution(current, statistic));
    let sides = (side(baseline, a.as_ref(), statistic, options), side(current, b.as_ref(), statistic, options));
    let at = |s: Option<Side>| s.map_or(0.0, |s| s.ns);
    let mut change = TimeChange {
        baseline: sides.0,
        current: sides.1,
        difference_ns: at(sides.1) - at(sides.0),
        ..TimeChange::unknown()
    };
    let enough = |s: &Sample| s.sorted.len() >= LEAST_RUNS;
    let nothing = Distribution::constant(0.0);
    match (&a, &b) {
        (Some(a), None) if !present.1 => {
            change.verdict = Verdict::Gone;
            change.interval_ns = enough(baseline).then(|| a.difference_interval(&nothing, options.confidence));
        }
        (None, Some(b)) if !present.0 => {
            change.verdict = Verdict::New;
            change.interval_ns = enough(current).then(|| nothing.difference_interval(b, options.confidence));
        }
        (Some(a), Some(b)) => {
            let (x, y) = (at(sides.0), at(sides.1));
            change.relative = (x > 0.0).then(|| y / x - 1.0);
            if !enough(baseline) || !enough(current) {
                change.verdict = Verdict::TooFewRuns;
                return change;
            }
            change.interval_ns = Some(a.difference_interval(b, options.confidence));
            let ratio = a.ratio_interval(b, options.confidence);
            change.relative_interval = ratio.map(|(low, high)| (low - 1.0, high - 1.0));
            // The bootstrap sees the figure itself; the ranks keep a handful of runs from claiming too much.
            change.p = Some(a.p_value(b).max(rank_test(baseline, current)));
            change.verdict = Verdict::Noise;
        }
        _ => match present {
            (false, true) => change.verdict = Verdict::New,
            (true, false) => change.verdict = Verdict::Gone,
            _ => {}
        },
    }
    change
}

fn side(sample: &Sample, distribution: Option<&Distribution>, statistic: Statistic, options: Options) -> Option<Side> {
    let d = distribution?;
    let tail = (1.0 - options.confidence) / 2.0;
    Some(Side {
        ns: sample.point(statistic),
        interval_ns: (d.quantile(tail), d.quantile(1.0 - tail)),
        runs: sample.sorted.len(),
        effective_runs: sample.effective,
    })
}

/// Adjusts the probabilities of a family of changes that are looked at together, and gives each its verdict. Changes
/// smaller than `resolution_ns`, the clocks' step, count as none.
pub(super) fn settle<'a>(changes: impl Iterator<Item = &'a mut TimeChange>, options: Options, resolution_ns: f64) {
    let mut tested: Vec<&mut TimeChange> = changes.filter(|c| c.p.is_some()).collect();
    let adjusted = benjamini_hochberg(&tested.iter().map(|c| c.p.unwrap_or(1.0)).collect::<Vec<f64>>());
    for (change, p) in tested.iter_mut().zip(adjusted) {
        change.p = Some(p);
        let inside = |interval: Option<(f64, f64)>, limit: f64| {
            interval.is_some_and(|(low, high)| -limit <= low && high <= limit)
        };
        change.verdict =
            if inside(change.relative_interval, options.margin) || inside(change.interval_ns, resolution_ns) {
                Verdict::NoChange
            } else if change.is_significant(options.confidence) {
                if change.difference_ns < 0.0 { Verdict::Faster } else { Verdict::Slower }
            } else if change.drifts() {
                Verdict::Drift
            } else {
                Verdict::Noise
            };
    }
}

/// Adjusted p-values: rejecting those up to q keeps the expected share of false ones among the rejected at most q
/// (Benjamini and Hochberg 1995).
fn benjamini_hochberg(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_unstable_by(|&a, &b| p[b].total_cmp(&p[a]));
    let mut adjusted = vec![1.0; p.len()];
    let mut least = 1.0f64;
    for (i, &at) in order.iter().enumerate() {
        let rank = (p.len() - i) as f64;
        least = least.min(p[at] * p.len() as f64 / rank);
        adjusted[at] = least;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adjusted_values_match_a_worked_example() {
        // R: p.adjust(c(0.01, 0.04, 0.03, 0.005), "BH")
        let got = benjamini_hochberg(&[0.01, 0.04, 0.03, 0.005]);
        for (g, w) in got.iter().zip([0.02, 0.04, 0.04, 0.02]) {
            assert!((g - w).abs() < 1e-12, "{got:?}");
        }
        assert!(benjamini_hochberg(&[]).is_empty());
    }

    #[test]
    fn missing_sides_and_few_runs_have_verdicts_of_their_own() {
        let mut weights = Weights::default();
        let mut of = |a: &[f64], b: &[f64], present| {
            let (a, b) = (Sample::new(a), Sample::new(b));
            judge(&a, &b, present, Statistic::Quantile(0.5), Options::default(), &mut weights)
        };
        let ten: Vec<f64> = (0..10).map(|i| 100.0 + f64::from(i * 7 % 10)).collect();
        assert_eq!(of(&ten, &[], (true, false)).verdict, Verdict::Gone);
        let new = of(&[], &ten, (false, true));
        assert_eq!((new.verdict, new.relative, new.difference_ns.to_bits()), (Verdict::New, None, 104.5f64.to_bits()));
        let (low, high) = new.interval_ns.unwrap();
        assert!(low <= 104.5 && high >= 104.5 && low >= 100.0);
        assert_eq!(of(&ten, &[], (true, true)).verdict, Verdict::NotMeasured);
        let one = of(&[5.0], &ten, (true, true));
        assert_eq!((one.verdict, one.interval_ns, one.p), (Verdict::TooFewRuns, None, None));
        let rising: Vec<f64> = (0..10).map(|i| 100.0 + f64::from(i)).collect();
        let doubled: Vec<f64> = ten.iter().map(|v| v * 2.0).collect();
        let mut changes = [of(&rising, &ten, (true, true)), of(&rising, &doubled, (true, true))];
        settle(changes.iter_mut(), Options { margin: 0.001, ..Options::default() }, 0.0);
        assert_eq!(changes.map(|c| c.verdict), [Verdict::Drift, Verdict::Slower]);
        assert!(Verdict::Drift.is_open() && !Verdict::New.is_open());
    }
}
