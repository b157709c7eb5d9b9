use super::*;
use crate::oracle::{Rng, rel_err};

fn wide_of(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&v| f64::from(v)).collect()
}

fn normalised(z: &[f64], centred: bool, epsilon: f32) -> (f64, f64, Vec<f64>) {
    let n = z.len() as f64;
    let mean = if centred { z.iter().sum::<f64>() / n } else { 0.0 };
    let var = z.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
    let inv = 1.0 / (var + f64::from(epsilon)).sqrt();
    (mean, inv, z.iter().map(|v| (v - mean) * inv).collect())
}

#[test]
fn rows_agree_with_f64() {
    let mut rng = Rng::fresh();
    for threads in [1, 3] {
        let pool = Pool::new(threads);
        for (n, cols) in [(1, 1), (5, 7), (3, 384), (130, 33), (2, 3001), (0, 4)] {
            for mask in 0..32 {
                let on = |bit: usize| mask >> bit & 1 == 1;
                let (scale, bias) = (rng.floats(cols), rng.floats(cols));
                // Far from 0, so that a careless variance would lose digits.
                let x: Vec<f32> = rng.floats(n * cols).iter().map(|v| v + 10.0).collect();
                let residual = rng.floats(if on(4) { cols } else { n * cols });
                let norm = RowNorm {
                    cols,
                    scale: on(0).then_some(&scale),
                    bias: on(1).then_some(&bias),
                    epsilon: 1e-5,
                    residual: on(2).then_some(&residual),
                };
                let (mut want, mut sums, mut stats) = (vec![], vec![], (vec![], vec![]));
                for row in 0..n {
                    let residual = |i| if on(2) { f64::from(residual[(row * cols + i) % residual.len()]) } else { 0.0 };
                    let z: Vec<f64> = (0..cols).map(|i| f64::from(x[row * cols + i]) + residual(i)).collect();
                    let (mean, inv, y) = normalised(&z, on(3), 1e-5);
                    want.extend((0..cols).map(|i| {
                        y[i] * if on(0) { f64::from(scale[i]) } else { 1.0 }
                            + if on(1) { f64::from(bias[i]) } else { 0.0 }
                    }));
                    sums.extend(z);
                    stats.0.push(mean);
                    stats.1.push(inv);
                }
                let nan = || vec![f32::NAN; n * cols];
                let (mut y, mut sum, mut mean, mut inv) = (nan(), nan(), vec![f32::NAN; n], vec![f32::NAN; n]);
                let extras = RowNormExtras { sum: Some(&mut sum), mean: Some(&mut mean), inv_std: Some(&mut inv) };
                (if on(3) { layer_norm } else { rms_norm })(&pool, norm, &x, &mut y, extras).unwrap();
                // One column has no variance: what is left is the rounding of x + residual against epsilon.
                let allowed = if cols == 1 { 1e-3 } else { 3e-6 };
                let e = rel_err(&y, &want);
                assert!(e < allowed, "{n} x {cols}, case {mask}: {e:e}");
                assert!(rel_err(&sum, &sums) < 1e-7 && rel_err(&mean, &stats.0) < 1e-6, "case {mask}");
                assert!(rel_err(&inv, &stats.1) < if cols == 1 { 1e-3 } else { 1e-6 }, "case {mask}");
                let mut again = nan();
                (if on(3) { layer_norm } else { rms_norm })(&pool, norm, &x, &mut again, RowNormExtras::default())
                    .unwrap();
                assert_eq!(again, y);
            }
        }
    }
}

#[test]
fn channels_agree_with_f64() {
    let mut rng = Rng::fresh();
    for threads in [1, 3] {
        let pool = Pool::new(threads);
        for dims in [[2, 6, 35], [1, 12, 1], [3, 4, 1000], [0, 4, 5], [2, 4, 0]] {
            let [n, c, s] = dims;
            let x: Vec<f32> = rng.floats(n * c * s).iter().map(|v| v * 3.0 + 1.0).collect();
            let (scale, bias, mean) = (rng.floats(c), rng.floats(c), rng.floats(c));
            let var: Vec<f32> = rng.floats(c).iter().map(|v| v.abs() + 0.1).collect();
            let wide = wide_of(&x);
            let channel = |i: usize| i / s % c;
            let mut y = vec![f32::NAN; x.len()];
            let p = BatchNorm { scale: &scale, bias: &bias, mean: &mean, var: &var, epsilon: 1e-5 };
            batch_norm(&pool, p, dims, &x, &mut y).unwrap();
            let want: Vec<f64> = (0..x.len())
                .map(|i| {
                    let k = channel(i);
                    (wide[i] - f64::from(mean[k])) / (f64::from(var[k]) + 1e-5).sqrt() * f64::from(scale[k])
                        + f64::from(bias[k])
                })
                .collect();
            assert!(rel_err(&y, &want) < 3e-7, "batch {dims:?}");
            for groups in [1, 2, c] {
                let len = c / groups * s;
                let unit: Vec<f64> = wide.chunks(len.max(1)).flat_map(|g| normalised(g, true, 1e-3).2).collect();
                let want: Vec<f64> = unit
                    .iter()
                    .enumerate()
                    .map(|(i, v)| v * f64::from(scale[channel(i)]) + f64::from(bias[channel(i)]))
                    .collect();
                let mut y = vec![f32::NAN; x.len()];
                group_norm(&pool, groups, &scale, &bias, 1e-3, dims, &x, &mut y).unwrap();
                assert!(rel_err(&y, &want) < 2e-6, "{groups} groups of {dims:?}");
                if groups == c {
                    let mut z = vec![f32::NAN; x.len()];
                    instance_norm(&pool, &scale, &bias, 1e-3, dims, &x, &mut z).unwrap();
                    assert_eq!(z, y);
                }
            }
            for size in [1, 2, 3, 5, 40] {
                let p = Lrn { alpha: 0.3, beta: 0.75, bias: 1.5, size };
                let mut y = vec![f32::NAN; x.len()];
                lrn(&pool, p, dims, &x, &mut y).unwrap();
                let want: Vec<f64> = (0..x.len())
                    .map(|i| {
                        let (k, base) = (channel(i) as i64, i - channel(i) * s);
                        let (lo, hi) = (k - (size as i64 - 1) / 2, k + size as i64 / 2);
                        let sum: f64 =
                            (lo.max(0)..=hi.min(c as i64 - 1)).map(|k| wide[base + k as usize * s].powi(2)).sum();
                        wide[i] / (1.5 + f64::from(0.3f32) / size as f64 * sum).powf(0.75)
                    })
                    .collect();
                assert!(rel_err(&y, &want) < 1e-7, "lrn of {size} of {dims:?}");
            }
            for (p, axis) in [(1, 0), (2, 1), (2, 2)] {
                let (outer, len, inner) = around(&dims, axis).unwrap();
                let mut want = vec![0.0; x.len()];
                for (o, j) in (0..outer).flat_map(|o| (0..inner).map(move |j| (o, j))) {
                    let at = |i: usize| (o * len + i) * inner + j;
                    let sum: f64 = (0..len).map(|i| wide[at(i)].abs().powi(p as i32)).sum();
                    (0..len).for_each(|i| want[at(i)] = wide[at(i)] / sum.powf(1.0 / f64::from(p)));
                }
                let mut y = vec![f32::NAN; x.len()];
                lp_normalize(&pool, p, &dims, axis, &x, &mut y).unwrap();
                assert!(rel_err(&y, &want) < 1e-7, "l{p} along {axis} of {dims:?}");
            }
        }
    }
}

#[test]
fn bad_operands_are_refused() {
    let pool = Pool::new(1);
    let mut y = [0.0; 6];
    let norm = RowNorm { cols: 4, ..RowNorm::default() };
    assert!(layer_norm(&pool, norm, &[0.0; 6], &mut y, RowNormExtras::default()).is_err());
    let norm = RowNorm { cols: 3, scale: Some(&[1.0; 2]), ..RowNorm::default() };
    assert!(layer_norm(&pool, norm, &[0.0; 6], &mut y, RowNormExtras::default()).is_err());
    assert!(group_norm(&pool, 2, &[1.0; 3], &[0.0; 3], 0.0, [1, 3, 2], &[0.0; 6], &mut y).is_err());
    assert!(group_norm(&pool, 1, &[1.0; 3], &[0.0; 3], 0.0, [1, 3, usize::MAX], &[0.0; 6], &mut y).is_err());
    assert!(lp_normalize(&pool, 3, &[6], 0, &[0.0; 6], &mut y).is_err());
    lp_normalize(&pool, 2, &[6], 0, &[0.0; 6], &mut y).unwrap();
    assert_eq!(y, [0.0; 6]);
}
