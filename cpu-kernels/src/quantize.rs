//! Linear quantization: ONNX's QuantizeLinear, DequantizeLinear and DynamicQuantizeLinear.

use crate::error::{KernelError, expect_len};
use crate::pool::Pool;
use crate::shape::{around, numel};
use crate::split::SharedMut;
use crate::wide::wide;

/// Elements per parallel piece.
const GRAIN: usize = 16 << 10;

/// An integer type of quantized values.
pub trait Quantized: Copy + Send + Sync + Default {
    /// Rounded, saturated conversion of a number that is whole.
    fn from_whole(v: f32) -> Self;
    /// As i32.
    fn to_i32(self) -> i32;
}

macro_rules! quantized {
    ($($t:ty)*) => { $(
        impl Quantized for $t {
            #[inline(always)]
            fn from_whole(v: f32) -> Self {
                let v = v.max(<$t>::MIN as f32).min(<$t>::MAX as f32);
                // SAFETY: `max` and `min` sent NaN to a bound; the value is in range.
                unsafe { v.to_int_unchecked::<i32>() as $t }
            }
            #[inline(always)]
            fn to_i32(self) -> i32 {
                i32::from(self)
            }
        }
    )* };
}
quantized!(u8 i8 u16 i16);

impl Quantized for i32 {
    #[inline(always)]
    fn from_whole(v: f32) -> Self {
        v as i32
    }
    #[inline(always)]
    fn to_i32(self) -> i32 {
        self
    }
}

/// Which elements share a scale and a zero point.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Granularity {
    /// All: one scale.
    Tensor,
    /// Those with the same index along an axis: a scale for each index.
    Axis(usize),
    /// Blocks of `size` along an axis: the scales have the tensor's shape with the axis divided by `size` (rounded up).
    Blocks {
        /// The axis.
        axis: usize,
        /// Elements per block.
        size: usize,
    },
}

impl Granularity {
    /// How many scales a tensor of `shape` has.
    pub fn scales(self, shape: &[usize]) -> Result<usize, KernelError> {
        Ok(match self {
            Granularity::Tensor => 1,
            Granularity::Axis(axis) => around(shape, axis)?.1,
            Granularity::Blocks { size: 0, .. } => {
                return Err(KernelError::setting("quantization blocks of 0 elements"));
            }
            Granularity::Blocks { axis, size } => {
                let (outer, n, inner) = around(shape, axis)?;
                numel(&[outer, n.div_ceil(size), inner])?
            }
        })
    }

    /// Visits the tensor as contiguous runs `f(run, scales)`: `scales` are one for the whole run or one for each element.
    fn for_runs(
        self,
        pool: &Pool,
        shape: &[usize],
        f: &(dyn Fn(std::ops::Range<usize>, std::ops::Range<usize>) + Sync),
    ) -> Result<(), KernelError> {
        let len = numel(shape)?;
        if len == 0 {
            return Ok(());
        }
        // (runs, length of each, scales of run r)
        let runs = |count: usize, width: usize, scales: &(dyn Fn(usize) -> std::ops::Range<usize> + Sync)| {
            pool.for_ranges(count, (GRAIN / width).max(1), &|range| {
                for r in range {
                    f(r * width..(r + 1) * width, scales(r));
                }
            });
        };
        match self {
            Granularity::Tensor => pool.for_ranges(len, GRAIN, &|r| f(r, 0..1)),
            Granularity::Axis(axis) => {
                let (outer, n, inner) = around(shape, axis)?;
                if inner == 1 {
                    runs(outer, n, &|_| 0..n);
                } else {
                    runs(outer * n, inner, &|r| r % n..r % n + 1);
                }
            }
            Granularity::Blocks { axis, size } => {
                let (outer, n, inner) = around(shape, axis)?;
                let blocks = n.div_ceil(size);
                if inner == 1 {
                    // The last block of a row may be shorter.
                    pool.for_ranges(outer * blocks, (GRAIN / size).max(1), &|range| {
                        for unit in range {
                            let (o, b) = (unit / blocks, unit % blocks);
                            f(
                                o * n + b * size..o * n + n.min(b.saturating_mul(size).saturating_add(size)),
                                unit..unit + 1,
                            );
                        }
                    });
                } else {
                    runs(outer * n, inner, &|r| {
                        let at = (r / n * blocks + r % n / size) * inner;
                        at..at + inner
                    });
                }
            }
        }
        Ok(())
    }
}

fn check(
    how: Granularity,
    shape: &[usize],
    lens: (usize, usize),
    scale: usize,
    zero: Option<usize>,
) -> Result<(), KernelError> {
    let n = numel(shape)?;
    expect_len("the input", lens.0, n)?;
    expect_len("the output", lens.1, n)?;
    let scales = how.scales(shape)?;
    expect_len("the scales", scale, scales)?;
    expect_len("the zero points", zero.unwrap_or(scales), scales)
}

/// y = saturate(round(x / scale) + zero), halves to even; without zero points they are 0. The result is exact.
pub fn quantize_linear<T: Quantized>(
    pool: &Pool,
    how: Granularity,
    shape: &[usize],
    scale: &[f32],
    zero: Option<&[T]>,
    x: &[f32],
    y: &mut [T],
) -> Result<(), KernelError> {
    check(how, shape, (x.len(), y.len()), scale.len(), zero.map(<[T]>::len))?;
    let y = SharedMut::new(y);
    how.for_runs(pool, shape, &|run, scales| {
        // SAFETY: the runs are disjoint.
        let y = unsafe { y.slice(run.clone()) };
        let x = &x[run];
        let (scale, zero) = (&scale[scales.clone()], zero.map(|z| &z[scales]));
        let zero_at = |i: usize| zero.map_or(0.0, |z| z[i].to_i32() as f32);
        let one = |x: f32, scale: f32, zero: f32| T::from_whole((x / scale).round_ties_even() + zero);
        wide(
            #[inline(always)]
            move || {
                if let &[scale] = scale {
                    let zero = zero_at(0);
                    for (y, &x) in y.iter_mut().zip(x) {
                        *y = one(x, scale, zero);
                    }
                } else {
                    for (i, (y, &x)) in y.iter_mut().zip(x).enumerate() {
                        *y = one(x, scale[i], zero_at(i));
                    }
                }
            },
        );
    })
}

/// y = (x - zero) * scale; without zero points they are 0. Relative error half an ulp.
pub fn dequantize_linear<T: Quantized>(
    pool: &Pool,
    how: Granularity,
    shape: &[usize],
    scale: &[f32],
    zero: Option<&[T]>,
    x: &[T],
    y: &mut [f32],
) -> Result<(), KernelError> {
    check(how, shape, (x.len(), y.len()), scale.len(), zero.map(<[T]>::len))?;
    let y = SharedMut::new(y);
    how.for_runs(pool, shape, &|run, scales| {
        // SAFETY: the runs are disjoint.
        let y = unsafe { y.slice(run.clone()) };
        let x = &x[run];
        let (scale, zero) = (&scale[scales.clone()], zero.map(|z| &z[scales]));
        let zero_at = |i: usize| zero.map_or(0, |z| z[i].to_i32());
        let one = |x: T, scale: f32, zero: i32| x.to_i32().wrapping_sub(zero) as f32 * scale;
        wide(
            #[inline(always)]
            move || {
                if let &[scale] = scale {
                    let zero = zero_at(0);
                    for (y, &x) in y.iter_mut().zip(x) {
                        *y = one(x, scale, zero);
                    }
                } else {
                    for (i, (y, &x)) in y.iter_mut().zip(x).enumerate() {
                        *y = one(x, scale[i], zero_at(i));
                    }
                }
            },
        );
    })
}

/// The least and the greatest of 0 and `x`.
pub fn range_with_zero(pool: &Pool, x: &[f32]) -> (f32, f32) {
    let bounds = std::sync::Mutex::new((0f32, 0f32));
    pool.for_ranges(x.len(), GRAIN, &|r| {
        let (lo, hi) = wide(
            #[inline(always)]
            move || {
                let (mut lo, mut hi) = ([0f32; 16], [0f32; 16]);
                let (chunks, rest) = x[r].as_chunks::<16>();
                for chunk in chunks {
                    for ((lo, hi), &v) in lo.iter_mut().zip(&mut hi).zip(chunk) {
                        // One instruction each, as `min` and `max` of numbers that may be NaN are not.
                        (*lo, *hi) = (if v < *lo { v } else { *lo }, if v > *hi { v } else { *hi });
                    }
                }
                for ((lo, hi), &v) in lo.iter_mut().zip(&mut hi).zip(rest) {
                    (*lo, *hi) = (lo.min(v), hi.max(v));
                }
                (lo.into_iter().fold(0.0, f32::min), hi.into_iter().fold(0.0, f32::max))
            },
        );
        let mut bounds = bounds.lock().unwrap_or_else(|e| e.into_inner());
        *bounds = (bounds.0.min(lo), bounds.1.max(hi));
    });
    bounds.into_inner().unwrap_or_else(|e| e.into_inner())
}

/// Quantizes to u8 over the range of the values and 0; returns the scale and the zero point. The scale of all zeros is 1.
pub fn dynamic_quantize_linear(pool: &Pool, x: &[f32], y: &mut [u8]) -> Result<(f32, u8), KernelError> {
    let (lo, hi) = range_with_zero(pool, x);
    let scale = if hi == lo { 1.0 } else { (hi - lo) / 255.0 };
    let zero = u8::from_whole((-lo / scale).round_ties_even());
    quantize_linear(pool, Granularity::Tensor, &[x.len()], &[scale], Some(&[zero]), x, y)?;
    Ok((scale, zero))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::{Rng, rel_err};

    const CASES: [(&[usize], Granularity); 9] = [
        (&[40_001], Granularity::Tensor),
        (&[5, 7, 33], Granularity::Axis(1)),
        (&[130, 33], Granularity::Axis(1)),
        (&[33, 130], Granularity::Axis(0)),
        (&[6, 70], Granularity::Blocks { axis: 1, size: 32 }),
        (&[70, 6], Granularity::Blocks { axis: 0, size: 32 }),
        (&[2, 9, 3], Granularity::Blocks { axis: 1, size: 4 }),
        (&[0, 4], Granularity::Axis(1)),
        (&[], Granularity::Tensor),
    ];

    /// The scale's index for the `i`-th element, by arithmetic on indices.
    fn scale_of(how: Granularity, shape: &[usize], i: usize) -> usize {
        let inner = |axis: usize| shape[axis + 1..].iter().product::<usize>();
        match how {
            Granularity::Tensor => 0,
            Granularity::Axis(a) => i / inner(a) % shape[a],
            Granularity::Blocks { axis, size } => {
                let (n, inner) = (shape[axis], inner(axis));
                (i / (n * inner) * n.div_ceil(size) + i / inner % n / size) * inner + i % inner
            }
        }
    }

    fn check_type<T: Quantized + PartialEq + std::fmt::Debug + TryFrom<i64>>(lo: i64, hi: i64) {
        let mut rng = Rng::fresh();
        for threads in [1, 3] {
            let pool = Pool::new(threads);
            for (shape, how) in CASES {
                let n: usize = shape.iter().product();
                let scales = how.scales(shape).unwrap();
                let scale: Vec<f32> = rng.floats(scales).iter().map(|v| (v.abs() + 0.1) * 0.02).collect();
                let whole = |v: i64| T::try_from(v.clamp(lo, hi)).ok().unwrap();
                let zero: Vec<T> = (0..scales).map(|_| whole(rng.below(200) as i64 - 100)).collect();
                let x: Vec<f32> = rng.floats(n).iter().map(|v| v * 3.0).collect();
                for zero in [None, Some(&zero[..])] {
                    let z = |s: usize| zero.map_or(0, |z| i64::from(z[s].to_i32()));
                    let mut y = vec![T::default(); n];
                    quantize_linear(&pool, how, shape, &scale, zero, &x, &mut y).unwrap();
                    for i in 0..n {
                        let s = scale_of(how, shape, i);
                        let want = whole((x[i] / scale[s]).round_ties_even() as i64 + z(s));
                        assert_eq!(y[i], want, "{shape:?} {how:?} at {i}");
                    }
                    let mut back = vec![f32::NAN; n];
                    dequantize_linear(&pool, how, shape, &scale, zero, &y, &mut back).unwrap();
                    let want: Vec<f64> = (0..n)
                        .map(|i| {
                            let s = scale_of(how, shape, i);
                            (i64::from(y[i].to_i32()) - z(s)) as f64 * f64::from(scale[s])
                        })
                        .collect();
                    assert!(rel_err(&back, &want) < 1e-7);
                }
            }
        }
    }

    #[test]
    fn every_type_and_granularity() {
        check_type::<u8>(0, 255);
        check_type::<i8>(-128, 127);
        check_type::<u16>(0, 65535);
        check_type::<i16>(-32768, 32767);
    }

    #[test]
    fn dynamic_range_covers_the_values() {
        let mut rng = Rng::fresh();
        for threads in [1, 3] {
            let pool = Pool::new(threads);
            for n in [1, 17, 50_003] {
                let x: Vec<f32> = rng.floats(n).iter().map(|v| v * 4.0 + 1.0).collect();
                let mut y = vec![0; n];
                let (scale, zero) = dynamic_quantize_linear(&pool, &x, &mut y).unwrap();
                let (lo, hi) = (x.iter().copied().fold(0.0, f32::min), x.iter().copied().fold(0.0, f32::max));
                assert_eq!(scale, (hi - lo) / 255.0);
                for (x, &y) in x.iter().zip(&y) {
                    let back = (f32::from(y) - f32::from(zero)) * scale;
                    assert!((back - x).abs() <= scale * 0.5001 + scale * 0.5, "{x} became {back}");
                }
            }
        }
        let pool = Pool::new(1);
        let mut y = [9; 2];
        assert_eq!(dynamic_quantize_linear(&pool, &[0.0; 2], &mut y), Ok((1.0, 0)));
        assert_eq!(y, [0; 2]);
        // The example of ONNX's specification.
        let mut y = [0; 6];
        let (scale, zero) = dynamic_quantize_linear(&pool, &[0.0, 2.0, -3.0, -2.5, 1.34, 0.5], &mut y).unwrap();
        assert!((scale - 0.019_607_844).abs() < 1e-9);
        assert_eq!((zero, y), (153, [153, 255, 0, 26, 221, 179]));
    }

    #[test]
    fn halves_go_to_even_and_ends_saturate() {
        let pool = Pool::new(1);
        let mut y = [0i8; 6];
        let x = [0.5, 1.5, -2.5, 1e9, -1e9, f32::INFINITY];
        quantize_linear(&pool, Granularity::Tensor, &[6], &[1.0], None, &x, &mut y).unwrap();
        assert_eq!(y, [0, 2, -2, 127, -128, 127]);
        assert!(quantize_linear(&pool, Granularity::Tensor, &[6], &[1.0; 2], None, &x, &mut y).is_err());
        assert!(quantize_linear(&pool, Granularity::Axis(1), &[6], &[1.0], None, &x, &mut y).is_err());
        assert!(Granularity::Blocks { axis: 0, size: 0 }.scales(&[6]).is_err());
    }
}
