//! The intervals and probabilities against brute force: resampling, and measuring again and again.

use super::bootstrap::*;
use super::verdict::{Options, TimeChange, Verdict, judge, settle};
use crate::fixtures::Random;

const MEDIAN: Statistic = Statistic::Quantile(0.5);

fn exponential(random: &mut Random) -> f64 {
    -(1.0 - random.unit()).ln()
}

/// Latencies as they come: a floor, a skewed noise, now and then an outlier.
fn latencies(random: &mut Random, n: usize, scale: f64) -> Vec<f64> {
    (0..n)
        .map(|_| {
            let outlier = if random.below(20) == 0 { 20.0 * random.unit() } else { 0.0 };
            scale * (100.0 + 3.0 * exponential(random) + outlier)
        })
        .collect()
}

fn interval(a: &[f64], b: &[f64]) -> TimeChange {
    let (a, b) = (Sample::new(a), Sample::new(b));
    judge(&a, &b, (true, true), MEDIAN, Options::default(), &mut Weights::default())
}

#[test]
fn the_exact_distribution_is_what_resampling_gives() {
    let mut random = Random::fresh();
    for n in [5, 21, 60] {
        let (mut a, mut b) = (latencies(&mut random, n, 1.0), latencies(&mut random, n, 1.01));
        let exact = {
            let sample = |v: &[f64]| {
                let mut s = Sample::new(v);
                // Chance may make neighbours alike: here all runs are independent.
                s.effective = n as f64;
                s
            };
            let mut weights = Weights::default();
            let [x, y] = [&a, &b].map(|v| weights.distribution(&sample(v), MEDIAN).unwrap());
            x.difference_interval(&y, 0.9)
        };
        let mut resampled = |values: &mut Vec<f64>| {
            let mut drawn: Vec<f64> = (0..n).map(|_| values[random.below(n as u64) as usize]).collect();
            drawn.sort_unstable_by(f64::total_cmp);
            // The exact form spreads the middle of an even number over its neighbours; odd ones agree to the digit.
            if n % 2 == 1 { drawn[n / 2] } else { (drawn[n / 2 - 1] + drawn[n / 2]) / 2.0 }
        };
        let mut differences: Vec<f64> = (0..20_000).map(|_| -resampled(&mut a) + resampled(&mut b)).collect();
        differences.sort_unstable_by(f64::total_cmp);
        let spread = differences[19_000] - differences[1_000];
        for (got, at) in [(exact.0, 1_000), (exact.1, 19_000)] {
            let near = differences[at - 200]..=differences[at + 200];
            let off = (got - differences[at]).abs();
            assert!(
                near.contains(&got) || off < 0.12 * spread,
                "n {n}: {got} and {}, seed {}",
                differences[at],
                random.seed
            );
        }
    }
}

/// Of many pairs of traces with a known difference, about 95 in 100 intervals hold it.
#[test]
fn intervals_cover_the_truth_as_often_as_they_say() {
    let mut random = Random::fresh();
    // The median of the noise, measured once on very many runs.
    let truth = {
        let mut many = latencies(&mut random, 400_001, 1.0);
        many.sort_unstable_by(f64::total_cmp);
        many[200_000]
    };
    for (n, least, most) in [(10, 0.925, 0.995), (30, 0.93, 0.99), (100, 0.93, 0.99)] {
        const TIMES: usize = 1200;
        let (mut differences, mut ratios) = (0, 0);
        for _ in 0..TIMES {
            let (a, b) = (latencies(&mut random, n, 1.0), latencies(&mut random, n, 1.1));
            let change = interval(&a, &b);
            let within = |i: Option<(f64, f64)>, v: f64| i.is_some_and(|(low, high)| low <= v && v <= high);
            differences += usize::from(within(change.interval_ns, 0.1 * truth));
            ratios += usize::from(within(change.relative_interval, 0.1));
        }
        for covered in [differences, ratios] {
            let share = covered as f64 / TIMES as f64;
            println!("{n} runs: {share:.3} covered");
            assert!(least <= share && share <= most, "{n} runs: {share} covered, seed {}", random.seed);
        }
    }
}

/// The same code measured twice: hardly any row may be called changed.
#[test]
fn equal_things_are_seldom_called_different() {
    let mut random = Random::fresh();
    for n in [5, 8, 20, 60] {
        const TIMES: usize = 3000;
        let mut single = 0;
        for _ in 0..TIMES {
            let (a, b) = (latencies(&mut random, n, 1.0), latencies(&mut random, n, 1.0));
            single += usize::from(interval(&a, &b).p.is_some_and(|p| p <= 0.05));
        }
        let rate = single as f64 / TIMES as f64;
        println!("{n} runs: {rate:.4} called different at 5%");
        assert!(rate < 0.06, "{n} runs: {rate}, seed {}", random.seed);
    }
    // Whole tables of 100 rows without a change: at most about 5% of the tables may hold one that is called changed.
    let options = Options { margin: 0.0, ..Options::default() };
    let mut tables = 0;
    for _ in 0..200 {
        let mut rows: Vec<TimeChange> =
            (0..100).map(|_| interval(&latencies(&mut random, 20, 1.0), &latencies(&mut random, 20, 1.0))).collect();
        settle(rows.iter_mut(), options, 0.0);
        tables += usize::from(rows.iter().any(|r| matches!(r.verdict, Verdict::Faster | Verdict::Slower)));
    }
    println!("{tables} of 200 tables");
    assert!(tables <= 22, "{tables} of 200 tables, seed {}", random.seed);
}

/// Runs that are alike in sequence count as fewer, and so the same thing is still called the same.
#[test]
fn drifting_runs_are_not_taken_for_a_change() {
    let mut random = Random::fresh();
    let mut wandering = |n: usize| -> Vec<f64> {
        let mut at = 0.0;
        (0..n)
            .map(|_| {
                at = 0.8 * at + random.unit() - 0.5;
                100.0 + at + 0.2 * random.unit()
            })
            .collect()
    };
    const TIMES: usize = 1500;
    let (mut called, mut naive) = (0, 0);
    for _ in 0..TIMES {
        let (a, b) = (wandering(60), wandering(60));
        assert!(Sample::new(&a).effective <= 60.0);
        called += usize::from(interval(&a, &b).p.is_some_and(|p| p <= 0.05));
        let blind = |v: &[f64]| Sample { effective: v.len() as f64, ..Sample::new(v) };
        naive += usize::from(rank_test(&blind(&a), &blind(&b)) <= 0.05);
    }
    let (called, naive) = (called as f64 / TIMES as f64, naive as f64 / TIMES as f64);
    println!("{called:.3} with, {naive:.3} without the correction");
    assert!(called < 0.12 && naive > 2.0 * called, "{called}, {naive}, seed {}", random.seed);
}

#[test]
fn a_real_change_is_found_and_a_tiny_one_is_not_claimed() {
    let mut random = Random::fresh();
    let (mut found, mut claimed) = (0, 0);
    for _ in 0..100 {
        let a = latencies(&mut random, 30, 1.0);
        let mut rows =
            [interval(&a, &latencies(&mut random, 30, 1.2)), interval(&a, &latencies(&mut random, 30, 1.001))];
        settle(rows.iter_mut(), Options { margin: 0.0, ..Options::default() }, 0.0);
        found += usize::from(rows[0].verdict == Verdict::Slower);
        claimed += usize::from(matches!(rows[1].verdict, Verdict::Slower | Verdict::Faster));
    }
    assert!(found >= 98, "{found} of 100 changes of 20% were found, seed {}", random.seed);
    assert!(claimed <= 25, "{claimed} of 100 changes of 0.1% in 3% noise were claimed, seed {}", random.seed);
}

#[test]
fn the_rank_test_matches_its_textbook_form() {
    // Two disjoint sets of five: z = (12.5 - 0.5) / sqrt(25 * 11 / 12).
    let of = |v: [f64; 5]| Sample { sorted: v.to_vec(), effective: 5.0 };
    let p = rank_test(&of([1.0, 2.0, 3.0, 4.0, 5.0]), &of([6.0, 7.0, 8.0, 9.0, 10.0]));
    assert!((p - 0.012_186).abs() < 1e-4, "{p}");
    // Equal sets, and sets of one value: no difference.
    let same = of([3.0; 5]);
    assert_eq!(rank_test(&same, &same).to_bits(), 1f64.to_bits());
    assert_eq!(rank_test(&of([f64::NAN; 5]), &same).to_bits(), 1f64.to_bits());
}

#[test]
fn other_figures_have_their_points_inside_of_their_intervals() {
    let mut random = Random::fresh();
    let (a, b) = (Sample::new(&latencies(&mut random, 50, 1.0)), Sample::new(&latencies(&mut random, 50, 1.3)));
    let mut weights = Weights::default();
    for statistic in [Statistic::Quantile(0.9), Statistic::Quantile(0.99), Statistic::Mean] {
        let c = judge(&a, &b, (true, true), statistic, Options::default(), &mut weights);
        let (low, high) = c.interval_ns.unwrap();
        assert!(low <= c.difference_ns && c.difference_ns <= high, "{statistic:?} {c:?} seed {}", random.seed);
        for side in [c.baseline.unwrap(), c.current.unwrap()] {
            assert!(side.interval_ns.0 <= side.ns && side.ns <= side.interval_ns.1, "{statistic:?} {side:?}");
        }
    }
    // A distribution over one value, and none over nothing.
    let one = Sample::new(&[7.0]);
    assert_eq!(weights.distribution(&one, MEDIAN).unwrap().quantile(0.5).to_bits(), 7f64.to_bits());
    assert!(weights.distribution(&Sample::default(), MEDIAN).is_none());
}
