//! How far a median (or another figure) of a few runs can be trusted: its bootstrap distribution, worked out exactly.
//!
//! Drawing runs anew with replacement and taking the median gives one of the measured values; how often it gives which is
//! known without drawing: the median of k draws is the i-th smallest of n values with the probability that a
//! Beta((k+1)/2, (k+1)/2) variable lies between (i-1)/n and i/n (Maritz and Jarrett 1978; Efron 1979 for the bootstrap).
//! So there are no random numbers, no resampling error, and no lower limit to the probabilities, which a table of thousands
//! of rows needs. Other quantiles have other parameters; a mean is taken as normal.
//!
//! Runs that follow one another alike (a machine that drifts, a neighbour that comes and goes) say less than as many
//! independent ones. They count as n (1 - r) / (1 + r) runs, r the correlation between neighbours where it is significant.

use std::collections::HashMap;

use super::beta::{incomplete_beta, normal_quantile, normal_tail};
use crate::stats::percentile;

/// Which figure of the runs.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Statistic {
    /// The value that this share of the runs is below.
    Quantile(f64),
    /// The arithmetic mean.
    Mean,
}

/// Measured values of one quantity, one per run.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Sample {
    /// In ascending order.
    pub sorted: Vec<f64>,
    /// As how many independent runs they count.
    pub effective: f64,
}

impl Sample {
    /// Of values in the order in which they were measured.
    pub fn new(in_order: &[f64]) -> Sample {
        let mut sorted = in_order.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        Sample { effective: effective_runs(in_order), sorted }
    }

    /// The figure itself; NaN if there are no values.
    pub fn point(&self, statistic: Statistic) -> f64 {
        match statistic {
            Statistic::Quantile(q) => percentile(&self.sorted, q),
            Statistic::Mean => self.sorted.iter().sum::<f64>() / self.sorted.len() as f64,
        }
    }
}

/// As how many independent runs these count: less than their number where neighbours are alike (first-order
/// autocorrelation of the ranks, so that a single outlier does not decide).
fn effective_runs(in_order: &[f64]) -> f64 {
    let n = in_order.len();
    if n < 5 {
        return n as f64;
    }
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_unstable_by(|&a, &b| in_order[a].total_cmp(&in_order[b]));
    let mut rank = vec![0.0; n];
    let mut from = 0;
    while from < n {
        let same = order[from..].iter().take_while(|&&i| in_order[i] == in_order[order[from]]).count().max(1);
        for &i in &order[from..from + same] {
            rank[i] = from as f64 + (same - 1) as f64 / 2.0 - (n - 1) as f64 / 2.0;
        }
        from += same;
    }
    let variance: f64 = rank.iter().map(|r| r * r).sum();
    if variance <= 0.0 {
        return n as f64;
    }
    let together: f64 = rank.windows(2).map(|w| w[0] * w[1]).sum();
    // The estimate is too low by about 1/n.
    let r = together / variance + 1.0 / n as f64;
    // One-sided at 5%: chance alone is not held against a trace.
    if r <= 1.645 / (n as f64).sqrt() {
        return n as f64;
    }
    (n as f64 * (1.0 - r) / (1.0 + r)).clamp(1.0, n as f64)
}

/// The values that a figure takes when runs are drawn anew, ascending, and how often.
#[derive(Clone, Debug)]
pub(super) struct Distribution {
    values: Vec<f64>,
    weights: Vec<f64>,
}

/// Weights below this are left out: they change no digit of an interval.
const NEGLIGIBLE: f64 = 1e-13;

/// Weights of order statistics by the number of values, the effective number and the quantile: rows of one trace share them.
#[derive(Default)]
pub(super) struct Weights {
    known: HashMap<(usize, u64, u64), (usize, Vec<f64>)>,
}

impl Weights {
    /// The first rank that counts, and the weights from there on.
    fn of(&mut self, n: usize, effective: f64, q: f64) -> &(usize, Vec<f64>) {
        // Coarse steps of the effective number, rounded down: more rows share their weights.
        let k = if effective >= n as f64 { n as f64 } else { (effective * 4.0).floor() / 4.0 };
        self.known.entry((n, k.to_bits(), q.to_bits())).or_insert_with(|| {
            let (a, b) = ((k + 1.0) * q, (k + 1.0) * (1.0 - q));
            // Beyond nine standard deviations of the beta variable nothing is left.
            let reach = 9.0 * (q * (1.0 - q) / (k + 2.0)).sqrt() + 1.0 / n as f64 + 4.0 / (k + 2.0);
            let from = ((q - reach).max(0.0) * n as f64) as usize;
            let to = (((q + reach).min(1.0) * n as f64).ceil() as usize).min(n);
            let mut below = incomplete_beta(a, b, from as f64 / n as f64);
            let mut weights = Vec::with_capacity(to - from);
            for i in from..to {
                let up_to = incomplete_beta(a, b, (i + 1) as f64 / n as f64);
                weights.push((up_to - below).max(0.0));
                below = up_to;
            }
            let first = weights.iter().position(|w| *w > NEGLIGIBLE).unwrap_or(0);
            let last = weights.iter().rposition(|w| *w > NEGLIGIBLE).map_or(0, |i| i + 1);
            let mut weights = weights[first.min(last)..last].to_vec();
            let all: f64 = weights.iter().sum();
            weights.iter_mut().for_each(|w| *w /= all);
            (from + first, weights)
        })
    }

    /// The bootstrap distribution of a figure; `None` without values.
    pub fn distribution(&mut self, sample: &Sample, statistic: Statistic) -> Option<Distribution> {
        let n = sample.sorted.len();
        if n == 0 {
            return None;
        }
        match statistic {
            Statistic::Quantile(q) => {
                let (from, weights) = self.of(n, sample.effective, q);
                let values = sample.sorted[*from..*from + weights.len()].to_vec();
                Some(Distribution { values, weights: weights.clone() })
            }
            Statistic::Mean => {
                const STEPS: usize = 200;
                let mean = sample.point(Statistic::Mean);
                let variance =
                    sample.sorted.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n as f64 - 1.0).max(1.0);
                let error = (variance / sample.effective).sqrt();
                let at = |i: usize| mean + error * normal_quantile((i as f64 + 0.5) / STEPS as f64);
                Some(Distribution { values: (0..STEPS).map(at).collect(), weights: vec![1.0 / STEPS as f64; STEPS] })
            }
        }
    }
}

/// What the other side is shifted or scaled by before it is compared.
#[derive(Clone, Copy)]
enum Change {
    Difference(f64),
    Ratio(f64),
}

impl Distribution {
    /// One value, always.
    pub fn constant(value: f64) -> Distribution {
        Distribution { values: vec![value], weights: vec![1.0] }
    }

    /// How probable it is that `other` is at most this one changed so, and less than it.
    fn at_most(&self, other: &Distribution, change: Change) -> (f64, f64) {
        let (mut i, mut j) = (0, 0);
        let (mut up_to, mut under) = (0.0, 0.0);
        let (mut p_up_to, mut p_under) = (0.0, 0.0);
        for (value, weight) in self.values.iter().zip(&self.weights) {
            let limit = match change {
                Change::Difference(d) => value + d,
                Change::Ratio(r) => value * r,
            };
            while other.values.get(i).is_some_and(|v| *v <= limit) {
                up_to += other.weights[i];
                i += 1;
            }
            while other.values.get(j).is_some_and(|v| *v < limit) {
                under += other.weights[j];
                j += 1;
            }
            p_up_to += weight * up_to;
            p_under += weight * under;
        }
        (p_up_to, p_under)
    }

    /// The value that the figure is at most with probability `p`.
    pub fn quantile(&self, p: f64) -> f64 {
        let mut sum = 0.0;
        for (value, weight) in self.values.iter().zip(&self.weights) {
            sum += weight;
            if sum >= p {
                return *value;
            }
        }
        self.values.last().copied().unwrap_or(f64::NAN)
    }

    fn ends(&self) -> (f64, f64) {
        (self.values.first().copied().unwrap_or(0.0), self.values.last().copied().unwrap_or(0.0))
    }

    /// The interval that holds `other - self` with this confidence.
    pub fn difference_interval(&self, other: &Distribution, confidence: f64) -> (f64, f64) {
        let ((a, b), (c, d)) = (self.ends(), other.ends());
        let (low, high) = (c - b, d - a);
        let at = |p: f64| bisect(low, high, 1e-6 * (high - low), |d| self.at_most(other, Change::Difference(d)).0 >= p);
        (at(0.5 - confidence / 2.0), at(0.5 + confidence / 2.0))
    }

    /// The interval that holds `other / self` with this confidence; `None` where a value is not positive.
    pub fn ratio_interval(&self, other: &Distribution, confidence: f64) -> Option<(f64, f64)> {
        let ((a, b), (c, d)) = (self.ends(), other.ends());
        if a <= 0.0 || c < 0.0 {
            return None;
        }
        let (low, high) = (c / b, d / a);
        let at = |p: f64| bisect(low, high, 1e-7 * (high - low), |r| self.at_most(other, Change::Ratio(r)).0 >= p);
        Some((at(0.5 - confidence / 2.0), at(0.5 + confidence / 2.0)))
    }

    /// Two-sided: how probable a difference of the other sign is.
    pub fn p_value(&self, other: &Distribution) -> f64 {
        let (at_most, less) = self.at_most(other, Change::Difference(0.0));
        (2.0 * at_most.min(1.0 - less)).clamp(0.0, 1.0)
    }
}

/// The least point, to within `tolerance`, from which on a monotonic condition holds.
fn bisect(mut low: f64, mut high: f64, tolerance: f64, holds: impl Fn(f64) -> bool) -> f64 {
    if holds(low) {
        return low;
    }
    for _ in 0..60 {
        if high - low <= tolerance {
            break;
        }
        let middle = 0.5 * (low + high);
        if holds(middle) { high = middle } else { low = middle }
    }
    high
}

/// The two-sided p-value of Mann and Whitney's test (normal, with the corrections for ties and continuity): how probable
/// such a difference of ranks is between two sets of runs of one thing. Unlike a bootstrap it holds for a handful of runs too.
pub(super) fn rank_test(a: &Sample, b: &Sample) -> f64 {
    let (n, m) = (a.sorted.len() as f64, b.sorted.len() as f64);
    let (mut i, mut j) = (0, 0);
    // U counts the pairs in which a is larger, halves for ties.
    let (mut u, mut ties) = (0.0, 0.0);
    while i < a.sorted.len() || j < b.sorted.len() {
        let next = match (a.sorted.get(i), b.sorted.get(j)) {
            (Some(x), Some(y)) => x.min(*y),
            (Some(x), None) | (None, Some(x)) => *x,
            (None, None) => break,
        };
        let same = |s: &[f64], from: usize| s[from..].iter().take_while(|v| **v <= next).count();
        let (from_a, from_b) = (same(&a.sorted, i), same(&b.sorted, j));
        if from_a + from_b == 0 {
            // A NaN: nothing can be said.
            return 1.0;
        }
        u += from_a as f64 * (j as f64 + from_b as f64 / 2.0);
        let t = (from_a + from_b) as f64;
        ties += t * t * t - t;
        i += from_a;
        j += from_b;
    }
    let all = n + m;
    // A drift is held against a difference as far as five independent runs a side would let it stand out.
    let least = super::verdict::LEAST_RUNS as f64;
    let correlated = (n / a.effective.max(least.min(n))).max(m / b.effective.max(least.min(m)));
    let variance = correlated * n * m / 12.0 * (all + 1.0 - ties / (all * (all - 1.0)));
    if variance.is_nan() || variance <= 0.0 {
        return 1.0;
    }
    let distance = ((u - n * m / 2.0).abs() - 0.5).max(0.0);
    (2.0 * normal_tail(distance / variance.sqrt())).min(1.0)
}
