use super::*;
use crate::fixtures::Random;

fn near(got: Option<f64>, want: f64) -> bool {
    got.is_some_and(|g| (g - want).abs() <= 1e-9 * want.abs().max(1.0))
}

fn tensor(random: &mut Random, n: usize) -> Vec<f32> {
    (0..n).map(|_| (random.unit() * 8.0 - 4.0) as f32).collect()
}

#[test]
fn distances_match_naive_sums() {
    let mut random = Random::fresh();
    for n in [1, 2, 17, 1000] {
        let (x, y) = (tensor(&mut random, n), tensor(&mut random, n));
        let d = |i: usize| f64::from(x[i]) - f64::from(y[i]);
        let norm = |v: &[f32]| v.iter().map(|&a| f64::from(a).powi(2)).sum::<f64>().sqrt();
        let noise = (0..n).map(|i| d(i) * d(i)).sum::<f64>();
        let dot: f64 = (0..n).map(|i| f64::from(x[i]) * f64::from(y[i])).sum();
        let seed = random.seed;
        assert!(near(sqnr_db(&x, &y), 20.0 * (norm(&x) / noise.sqrt()).log10()), "seed {seed}");
        assert!(near(cosine(&x, &y), dot / (norm(&x) * norm(&y))), "seed {seed}");
        assert!(near(mse(&x, &y), noise / n as f64), "seed {seed}");
        assert!(near(max_abs(&x, &y), (0..n).map(|i| d(i).abs()).fold(0.0, f64::max)), "seed {seed}");
        let mut parts = Comparison::default();
        assert!(parts.add(&x[..n / 2], &y[..n / 2]) && parts.add(&x[n / 2..], &y[n / 2..]));
        assert!(near(parts.sqnr_db(), sqnr_db(&x, &y).unwrap()) && parts.count == n as u64);
    }
}

#[test]
fn ten_times_less_noise_is_20_db_more() {
    let x = [1.0f32, -2.0, 3.0, 4.0];
    let off = |by: f32| x.map(|v| v + by);
    let (coarse, fine) = (sqnr_db(&x, &off(0.5)).unwrap(), sqnr_db(&x, &off(0.05)).unwrap());
    assert!((fine - coarse - 20.0).abs() < 1e-4, "{coarse} {fine}");
}

#[test]
fn nothing_to_compare_is_none_and_equal_is_exact() {
    for (a, b) in
        [(vec![], vec![]), (vec![1.0], vec![1.0, 2.0]), (vec![f32::NAN], vec![1.0]), (vec![1.0], vec![f32::NAN])]
    {
        assert_eq!(
            (sqnr_db(&a, &b), mse(&a, &b), cosine(&a, &b), max_abs(&a, &b)),
            (None, None, None, None),
            "{a:?} {b:?}"
        );
    }
    let c = Comparison::of(&[f32::NAN, 1.0], &[f32::NAN, 1.0]).unwrap();
    assert_eq!((c.nans, c.exact, c.sqnr_db()), (1, true, None));
    let same = Comparison::of(&[1.0, f32::INFINITY], &[1.0, f32::INFINITY]).unwrap();
    assert_eq!((same.exact, same.sqnr_db(), same.max_abs()), (true, Some(f64::INFINITY), Some(0.0)));
    assert_eq!(sqnr_db(&[0.0], &[1.0]), None);
    assert!(!Comparison::of(&[0.0], &[-0.0]).unwrap().exact);
    assert_eq!(cosine(&[0.0, 0.0], &[1.0, 1.0]), None);
}

#[test]
fn divergence_matches_a_plain_softmax() {
    let mut random = Random::fresh();
    let (rows, columns) = (7, 5);
    let (x, y) = (tensor(&mut random, rows * columns), tensor(&mut random, rows * columns));
    let softmax = |v: &[f32]| {
        let e: Vec<f64> = v.iter().map(|&a| f64::from(a).exp()).collect();
        let sum: f64 = e.iter().sum();
        e.into_iter().map(|a| a / sum).collect::<Vec<f64>>()
    };
    let per_row: Vec<f64> = (0..rows)
        .map(|r| {
            let at = r * columns..(r + 1) * columns;
            softmax(&x[at.clone()]).iter().zip(softmax(&y[at])).map(|(p, q)| p * (p / q).ln()).sum()
        })
        .collect();
    let mean = per_row.iter().sum::<f64>() / rows as f64;
    let variance = per_row.iter().map(|k| (k - mean).powi(2)).sum::<f64>() / (rows - 1) as f64;
    let got = kl_nats(&x, &y, columns).unwrap();
    assert!(near(Some(got.mean), mean), "{got:?} {mean} seed {}", random.seed);
    assert!(near(Some(got.standard_error), (variance / rows as f64).sqrt()), "{got:?} seed {}", random.seed);
    assert_eq!(got.count, rows);
}

#[test]
fn divergence_is_stable_and_ignores_shifts() {
    let x = [1000.0f32, 999.0, -1000.0];
    let shifted = x.map(|v| v - 500.0);
    assert!(kl_nats(&x, &shifted, 3).is_some_and(|k| k.mean.abs() < 1e-9));
    assert!(kl_nats(&x, &[0.0, 5000.0, 0.0], 3).is_some_and(|k| k.mean > 1000.0 && k.mean.is_finite()));
    // Masked entries have probability 0 on both sides.
    let masked = [1.0, 2.0, f32::NEG_INFINITY];
    assert!(kl_nats(&masked, &masked, 3).is_some_and(|k| k.mean == 0.0));
    for bad in [f32::NAN, f32::INFINITY] {
        assert_eq!(kl_nats(&[bad, 1.0], &[1.0, 1.0], 2), None);
    }
    for (n, columns) in [(0, 1), (4, 0), (4, 3)] {
        assert_eq!(kl_nats(&vec![0.0; n], &vec![0.0; n], columns), None, "{n} {columns}");
        assert_eq!(top1_agreement(&vec![0.0; n], &vec![0.0; n], columns), None, "{n} {columns}");
    }
}

#[test]
fn agreement_counts_rows() {
    let x = [1.0f32, 2.0, 5.0, 0.0, 3.0, 3.0];
    let y = [0.0f32, 9.0, 1.0, 2.0, 7.0, 7.0];
    assert_eq!(top1_agreement(&x, &y, 2), Some(2.0 / 3.0));
    assert_eq!(top1_agreement(&[f32::NAN, 1.0], &[1.0, 2.0], 2), None);
    assert_eq!(argmax(&[]), None);
}

#[test]
fn perplexity_of_a_uniform_guess_is_the_number_of_classes() {
    let logits = [0.25f32; 50];
    let nlls: Vec<f64> = (0..50).map(|c| nll_nats(&logits, c).unwrap()).collect();
    assert!(near(perplexity(&nlls), 50.0));
    assert_eq!(nll_nats(&logits, 50), None);
    assert_eq!((perplexity(&[]), perplexity(&[1.0, f64::NAN])), (None, None));
}

#[test]
fn wilson_is_the_set_of_proportions_that_a_score_test_accepts() {
    for (k, n) in [(0, 10), (1, 10), (5, 10), (10, 10), (81, 263), (440, 450)] {
        let (low, high) = wilson(k, n, Z_95).unwrap();
        let p = k as f64 / n as f64;
        assert!(0.0 <= low && low <= p && p <= high && high <= 1.0, "{k}/{n}: {low} {high}");
        // At a limit L inside (0, 1) the score statistic |p - L| / sqrt(L (1 - L) / n) is exactly z.
        for limit in [low, high].into_iter().filter(|&l| l > 0.0 && l < 1.0) {
            let z = (p - limit).abs() / (limit * (1.0 - limit) / n as f64).sqrt();
            assert!((z - Z_95).abs() < 1e-9, "{k}/{n}: {limit} {z}");
        }
    }
    assert_eq!((wilson(0, 0, Z_95), wilson(3, 2, Z_95)), (None, None));
}

#[test]
fn the_paired_interval_covers_the_truth() {
    let mut random = Random::fresh();
    // Cell probabilities: both, only value, only reference, neither.
    for cells in [[0.9, 0.02, 0.04, 0.04], [0.5, 0.2, 0.1, 0.2]] {
        let truth = cells[1] - cells[2];
        let (mut covered, trials) = (0, 2000);
        for _ in 0..trials {
            let mut counts = Paired::default();
            for _ in 0..300 {
                let u = random.unit();
                let (a, b, c) = (cells[0], cells[0] + cells[1], cells[0] + cells[1] + cells[2]);
                counts.add(u < a || (u >= b && u < c), u < b);
            }
            let (low, high) = counts.difference_interval(Z_95).unwrap();
            let d = counts.difference().unwrap();
            assert!(low <= d && d <= high);
            covered += usize::from(low <= truth && truth <= high);
        }
        let share = covered as f64 / trials as f64;
        assert!((0.92..0.99).contains(&share), "covers {share} of the time, seed {}", random.seed);
    }
    assert_eq!(Paired::default().difference_interval(Z_95), None);
    let same = Paired { both: 10, neither: 2, ..Paired::default() };
    let (low, high) = same.difference_interval(Z_95).unwrap();
    assert!(low < 0.0 && high > 0.0 && (low + high).abs() < 1e-12);
}
