//! How a model's latency went over time, and where it changed.
//!
//! Change points are found by binary segmentation. A split is judged by the rank-sum statistic (Mann and Whitney, 1947), which
//! asks nothing of the distribution and is not moved by outliers; the largest statistic over all splits is compared with that
//! of shuffled series, so that trying many splits does not find changes in noise.

use serde::Serialize;

use crate::Entry;

/// Runs on one side of a change must be at least this many.
const FEWEST: usize = 3;
/// A smaller change of the median is not worth a mark.
const SMALLEST: f64 = 0.02;
/// How often the series is shuffled.
const SHUFFLES: u32 = 999;
/// A change is believed if at most this share of shuffled series shows one as strong.
const LEVEL: f64 = 0.01;
/// The longest series that is looked through; older runs are left out.
const LONGEST: usize = 2000;

/// A series of runs of one model under one setting.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Trend {
    /// The runs with a latency, oldest first.
    pub runs: Vec<Entry>,
    /// Where the latency changed, in order.
    pub changes: Vec<Change>,
}

/// A lasting change of latency.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Change {
    /// Index of the first run after it.
    pub at: usize,
    /// Median of the runs since the change before, in nanoseconds.
    pub before_ns: f64,
    /// Median of the runs up to the next change, in nanoseconds.
    pub after_ns: f64,
    /// The share of shuffled series that show a change as strong.
    pub p: f64,
}

impl Change {
    /// The relative change: 0.1 is 10% slower.
    pub fn ratio(&self) -> f64 {
        self.after_ns / self.before_ns - 1.0
    }
}

impl Trend {
    /// Of runs under one setting, oldest first.
    pub fn of(mut runs: Vec<Entry>) -> Trend {
        runs.retain(|e| e.median_ns.is_some_and(|m| m.is_finite() && m > 0.0));
        let surplus = runs.len().saturating_sub(LONGEST);
        runs.drain(..surplus);
        let medians: Vec<f64> = runs.iter().filter_map(|e| e.median_ns).collect();
        Trend { changes: changes(&medians), runs }
    }
}

/// Where a series of positive figures, in order of time, changed for good.
pub fn changes(series: &[f64]) -> Vec<Change> {
    let mut splits = Vec::new();
    let mut open = vec![(0, series.len())];
    while let Some((from, to)) = open.pop() {
        if let Some((at, p)) = strongest(&series[from..to]) {
            splits.push((from + at, p));
            open.push((from, from + at));
            open.push((from + at, to));
        }
    }
    splits.sort_unstable_by_key(|s| s.0);
    let bounds: Vec<usize> = std::iter::once(0).chain(splits.iter().map(|s| s.0)).chain([series.len()]).collect();
    let level = |i: usize| median(&series[bounds[i]..bounds[i + 1]]);
    let found = splits.iter().enumerate();
    found.map(|(i, &(at, p))| Change { at, before_ns: level(i), after_ns: level(i + 1), p }).collect()
}

/// The best split of a series, if it is one that chance does not explain and that matters; with its p value.
fn strongest(series: &[f64]) -> Option<(usize, f64)> {
    if series.len() < 2 * FEWEST {
        return None;
    }
    let mut ranks = ranks(series);
    let (at, most) = best_split(&ranks)?;
    let (before, after) = (median(&series[..at]), median(&series[at..]));
    if (after / before - 1.0).abs() < SMALLEST {
        return None;
    }
    // Seeded by the length: the same series always gives the same answer.
    let mut state = 0x9E37_79B9_7F4A_7C15u64 ^ series.len() as u64;
    let mut as_strong = 0u32;
    for _ in 0..SHUFFLES {
        shuffle(&mut ranks, &mut state);
        as_strong += u32::from(best_split(&ranks).is_some_and(|(_, s)| s >= most));
    }
    let p = f64::from(as_strong + 1) / f64::from(SHUFFLES + 1);
    (p <= LEVEL).then_some((at, p))
}

/// The split with the largest standardised rank sum.
fn best_split(ranks: &[f64]) -> Option<(usize, f64)> {
    let n = ranks.len() as f64;
    let mean: f64 = ranks.iter().sum::<f64>() / n;
    let variance = ranks.iter().map(|r| (r - mean).powi(2)).sum::<f64>() / n;
    if variance <= 0.0 {
        return None;
    }
    let mut sum = 0.0;
    let mut best: Option<(usize, f64)> = None;
    for k in 1..=ranks.len() - FEWEST {
        sum += ranks[k - 1];
        if k < FEWEST {
            continue;
        }
        let left = k as f64;
        let strength = (sum - left * mean).abs() / (variance * left * (n - left) / n).sqrt();
        if best.is_none_or(|b| strength > b.1) {
            best = Some((k, strength));
        }
    }
    best
}

/// Ranks from 1; equal values share the mean of theirs.
fn ranks(series: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..series.len()).collect();
    order.sort_unstable_by(|&a, &b| series[a].total_cmp(&series[b]));
    let mut ranks = vec![0.0; series.len()];
    let mut at = 0;
    for equal in order.chunk_by(|&a, &b| series[a] == series[b]) {
        let shared = at as f64 + (equal.len() as f64 + 1.0) / 2.0;
        equal.iter().for_each(|&i| ranks[i] = shared);
        at += equal.len();
    }
    ranks
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => (sorted[n / 2 - 1] + sorted[n / 2]) / 2.0,
    }
}

/// Fisher and Yates' shuffle over xorshift64.
fn shuffle(values: &mut [f64], state: &mut u64) {
    for i in (1..values.len()).rev() {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        values.swap(i, (*state % (i as u64 + 1)) as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use profiler::fixtures::Random;

    /// Multiplicative noise of a few per cent with rare outliers, as latencies have.
    fn noisy(random: &mut Random, level: f64, n: usize) -> Vec<f64> {
        (0..n)
            .map(|_| {
                let noise = random.below(2_000) as f64 / 100_000.0;
                let outlier = if random.below(25) == 0 { 1.5 } else { 1.0 };
                level * (1.0 + noise) * outlier
            })
            .collect()
    }

    #[test]
    fn planted_changes_are_found_where_they_are() {
        let mut random = Random::fresh();
        println!("seed {}", random.seed);
        // Rare outliers beside a change can move it by some runs: nearly all must be found where they are, and all nearly.
        let (mut exact, mut near) = (0, 0);
        for _ in 0..100 {
            let mut series = noisy(&mut random, 1e6, 20);
            series.extend(noisy(&mut random, 1.1e6, 15));
            series.extend(noisy(&mut random, 0.8e6, 25));
            let found = changes(&series);
            let at: Vec<usize> = found.iter().map(|c| c.at).collect();
            let within = |by: usize| at.len() == 2 && at[0].abs_diff(20) <= by && at[1].abs_diff(35) <= by;
            exact += usize::from(
                within(2) && (found[0].ratio() - 0.1).abs() < 0.03 && (found[1].ratio() + 0.27).abs() < 0.03,
            );
            near += usize::from(within(6));
        }
        println!("{exact} of 100 where they are, {near} near");
        assert!(exact >= 80 && near >= 90, "{exact} of 100 where they are, {near} near");
    }

    #[test]
    fn noise_alone_is_rarely_a_change() {
        let mut random = Random::fresh();
        println!("seed {}", random.seed);
        let wrong = (0..200).filter(|_| !changes(&noisy(&mut random, 1e6, 40)).is_empty()).count();
        // A hundredth is expected, and fewer since small changes are not looked at.
        assert!(wrong <= 10, "{wrong} of 200");
    }

    #[test]
    fn short_flat_and_odd_series_have_no_changes() {
        assert!(changes(&[]).is_empty() && changes(&[1.0; 5]).is_empty() && changes(&[3.0; 100]).is_empty());
        assert!(changes(&[1.0, 2.0, 1.0, 2.0, 1.0, 2.0, 1.0, 2.0]).is_empty());
        let trend = Trend::of(vec![
            Entry { median_ns: Some(f64::NAN), ..Entry::default() },
            Entry::default(),
            Entry { median_ns: Some(5.0), ..Entry::default() },
        ]);
        assert_eq!((trend.runs.len(), trend.changes.len()), (1, 0));
    }

    #[test]
    fn ties_share_their_ranks() {
        assert_eq!(ranks(&[2.0, 1.0, 2.0, 5.0]), [2.5, 1.0, 2.5, 4.0]);
    }
}
