//! Helpers of the tests: random numbers, relative error, naive references in f64.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// A small random generator (xorshift64*).
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    /// A generator with a fresh seed, which is printed: a failed test shows it.
    pub(crate) fn fresh() -> Rng {
        static COUNT: AtomicU64 = AtomicU64::new(1);
        let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |d| d.as_nanos() as u64);
        let seed = time ^ COUNT.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        println!("seed {seed:#x}");
        Rng::new(seed)
    }

    /// A generator with a given seed.
    pub(crate) fn new(seed: u64) -> Rng {
        Rng(seed | 1)
    }

    /// The next 64 random bits.
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number in `0..n` (0 where `n` is 0).
    pub(crate) fn below(&mut self, n: usize) -> usize {
        ((self.bits() >> 11) as usize).checked_rem(n).unwrap_or(0)
    }

    /// A number in `lo..=hi`.
    pub(crate) fn range(&mut self, lo: usize, hi: usize) -> usize {
        lo + self.below(hi - lo + 1)
    }

    /// A float in [-1, 1).
    pub(crate) fn float(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    /// `n` floats in [-1, 1).
    pub(crate) fn floats(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.float()).collect()
    }
}

/// ||a - b|| / ||b||; infinite where the lengths differ or a value is NaN, so that no comparison passes by accident.
pub(crate) fn rel_err(a: &[f32], b: &[f64]) -> f64 {
    if a.len() != b.len() {
        return f64::INFINITY;
    }
    let (mut diff, mut norm) = (0.0, 0.0);
    for (&x, &y) in a.iter().zip(b) {
        diff += (f64::from(x) - y).powi(2);
        norm += y * y;
    }
    let err = if norm == 0.0 { diff.sqrt() } else { (diff / norm).sqrt() };
    if err.is_nan() { f64::INFINITY } else { err }
}

/// `a` [m, k] times `b` [k, n] (each stored transposed where it says so), in f64.
pub(crate) fn matmul(m: usize, n: usize, k: usize, a: &[f32], ta: bool, b: &[f32], tb: bool) -> Vec<f64> {
    let mut out = vec![0.0; m * n];
    for i in 0..m {
        for j in 0..n {
            out[i * n + j] = (0..k)
                .map(|p| {
                    let x = if ta { a[p * m + i] } else { a[i * k + p] };
                    let y = if tb { b[j * k + p] } else { b[p * n + j] };
                    f64::from(x) * f64::from(y)
                })
                .sum();
        }
    }
    out
}

/// The error function by its Taylor series or, further out, its continued fraction.
pub(crate) fn erf(x: f64) -> f64 {
    let z = x.abs();
    let value = if z < 3.0 {
        let (mut term, mut sum, mut n) = (z, z, 0.0);
        while term.abs() > 1e-17 {
            n += 1.0;
            term *= -z * z / n;
            sum += term / (2.0 * n + 1.0);
        }
        sum * 2.0 / std::f64::consts::PI.sqrt()
    } else {
        let mut f = z;
        for i in (1..60).rev() {
            f = z + f64::from(i) / 2.0 / f;
        }
        1.0 - (-z * z).exp() / (f * std::f64::consts::PI.sqrt())
    };
    value.copysign(x)
}

#[test]
fn the_helpers_can_fail() {
    assert_eq!(rel_err(&[f32::NAN], &[0.0]), f64::INFINITY);
    assert_eq!(rel_err(&[1.0], &[1.0, 2.0]), f64::INFINITY);
    assert!(rel_err(&[1.0, 2.0], &[1.0, 2.1]) > 0.01);
    assert!((erf(0.5) - 0.520_499_877_813_046_5).abs() < 1e-14);
    assert!((erf(-3.5) + 0.999_999_256_901_627_7).abs() < 1e-14);
}
