//! Softmax and its logarithm.

use crate::error::{KernelError, expect_len};
use crate::pool::Pool;
use crate::shape::{around, numel};
use crate::split::SharedMut;
use crate::vecmath::exp_lane;
use crate::wide::{join_lanes, wide};

/// Elements per parallel piece, at least.
const GRAIN: usize = 4 << 10;

/// Which of the two.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SoftmaxKind {
    /// e^x / sum(e^x).
    Softmax,
    /// x - ln(sum(e^x)).
    LogSoftmax,
}

/// Softmax of each row of `cols` elements. A row of minus infinities gives NaN, as in ONNX Runtime. Relative error about 1e-6.
pub fn softmax(pool: &Pool, cols: usize, x: &[f32], y: &mut [f32]) -> Result<(), KernelError> {
    rows(pool, SoftmaxKind::Softmax, cols, x, y)
}

/// Log-softmax of each row of `cols` elements.
pub fn log_softmax(pool: &Pool, cols: usize, x: &[f32], y: &mut [f32]) -> Result<(), KernelError> {
    rows(pool, SoftmaxKind::LogSoftmax, cols, x, y)
}

/// [`softmax`] in place.
pub fn softmax_in_place(pool: &Pool, cols: usize, y: &mut [f32]) -> Result<(), KernelError> {
    rows_in_place(pool, SoftmaxKind::Softmax, cols, y)
}

/// [`log_softmax`] in place.
pub fn log_softmax_in_place(pool: &Pool, cols: usize, y: &mut [f32]) -> Result<(), KernelError> {
    rows_in_place(pool, SoftmaxKind::LogSoftmax, cols, y)
}

/// Softmax or its logarithm along any axis of `shape`.
pub fn softmax_axis(
    pool: &Pool,
    kind: SoftmaxKind,
    shape: &[usize],
    axis: usize,
    x: &[f32],
    y: &mut [f32],
) -> Result<(), KernelError> {
    let (outer, n, inner) = around(shape, axis)?;
    expect_len("the input of softmax", x.len(), numel(shape)?)?;
    expect_len("the output of softmax", y.len(), x.len())?;
    if inner == 1 {
        return rows(pool, kind, n, x, y);
    }
    if x.is_empty() {
        return Ok(());
    }
    let strips = inner.div_ceil(LANES);
    let y = SharedMut::new(y);
    pool.for_ranges(outer * strips, (GRAIN / (n * LANES)).max(1), &|range| {
        for unit in range {
            let (o, first) = (unit / strips, unit % strips * LANES);
            let width = LANES.min(inner - first);
            let row = |i: usize| {
                let at = (o * n + i) * inner + first;
                at..at + width
            };
            // SAFETY: each unit writes its own columns of its own outer index, a row at a time.
            columns(kind, n, |i| &x[row(i)], |i| unsafe { y.slice(row(i)) });
        }
    });
    Ok(())
}

/// Softmax down a few neighbouring columns, `n` rows of them.
#[inline(always)]
fn columns<'a>(kind: SoftmaxKind, n: usize, x: impl Fn(usize) -> &'a [f32], y: impl Fn(usize) -> &'a mut [f32]) {
    wide(
        #[inline(always)]
        move || {
            let (mut max, mut sum) = ([f32::NEG_INFINITY; LANES], [0f64; LANES]);
            for i in 0..n {
                for (max, &v) in max.iter_mut().zip(x(i)) {
                    *max = max.max(v);
                }
            }
            for i in 0..n {
                for (((y, &x), &max), sum) in y(i).iter_mut().zip(x(i)).zip(&max).zip(&mut sum) {
                    let e = exp_lane(x - max);
                    *y = if kind == SoftmaxKind::Softmax { e } else { x - max };
                    *sum += f64::from(e);
                }
            }
            let last = sum.map(|s| if kind == SoftmaxKind::Softmax { 1.0 / s } else { s.ln() } as f32);
            for i in 0..n {
                for (y, &last) in y(i).iter_mut().zip(&last) {
                    *y = if kind == SoftmaxKind::Softmax { *y * last } else { *y - last };
                }
            }
        },
    );
}

fn check(cols: usize, len: usize) -> Result<usize, KernelError> {
    match len.checked_rem(cols) {
        Some(0) => Ok(len / cols),
        None if len == 0 => Ok(0),
        _ => Err(KernelError::shape(format!("{len} elements are not rows of {cols}"))),
    }
}

fn rows(pool: &Pool, kind: SoftmaxKind, cols: usize, x: &[f32], y: &mut [f32]) -> Result<(), KernelError> {
    expect_len("the output of softmax", y.len(), x.len())?;
    let n = check(cols, x.len())?;
    let y = SharedMut::new(y);
    pool.for_ranges(n, (GRAIN / cols.max(1)).max(1), &|r| {
        let r = r.start * cols..r.end * cols;
        // SAFETY: `for_ranges` hands out disjoint ranges of rows.
        let y = unsafe { y.slice(r.clone()) };
        for (x, y) in x[r].chunks_exact(cols).zip(y.chunks_exact_mut(cols)) {
            y.copy_from_slice(x);
            row_in_place(kind, y);
        }
    });
    Ok(())
}

fn rows_in_place(pool: &Pool, kind: SoftmaxKind, cols: usize, y: &mut [f32]) -> Result<(), KernelError> {
    let n = check(cols, y.len())?;
    let y = SharedMut::new(y);
    pool.for_ranges(n, (GRAIN / cols.max(1)).max(1), &|r| {
        // SAFETY: `for_ranges` hands out disjoint ranges of rows.
        let y = unsafe { y.slice(r.start * cols..r.end * cols) };
        y.chunks_exact_mut(cols).for_each(|row| row_in_place(kind, row));
    });
    Ok(())
}

/// Numbers kept side by side while a row is gone through, which the compiler makes vectors.
const LANES: usize = 32;

fn row_in_place(kind: SoftmaxKind, row: &mut [f32]) {
    wide(
        #[inline(always)]
        move || {
            let max = row_max(row);
            match kind {
                SoftmaxKind::Softmax => {
                    let factor = (1.0 / exp_and_sum(row, max)) as f32;
                    for v in row {
                        *v *= factor;
                    }
                }
                SoftmaxKind::LogSoftmax => {
                    let log = sum_exp(row, max).ln() as f32;
                    for v in row {
                        // Two subtractions: max + log would lose the digits of log where max is large.
                        *v = *v - max - log;
                    }
                }
            }
        },
    );
}

/// The largest, NaN aside.
#[inline(always)]
fn row_max(row: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = row.as_chunks::<LANES>();
    for chunk in chunks {
        for j in 0..LANES {
            lanes[j] = if chunk[j] > lanes[j] { chunk[j] } else { lanes[j] };
        }
    }
    rest.iter().copied().fold(join_lanes(lanes, f32::max), f32::max)
}

/// Makes each e^(x - max); their sum.
#[inline(always)]
fn exp_and_sum(row: &mut [f32], max: f32) -> f64 {
    let mut sum = 0.0;
    // Blocks short enough for sums in f32.
    for block in row.chunks_mut(64 * LANES) {
        let mut lanes = [0f32; LANES];
        let (chunks, rest) = block.as_chunks_mut::<LANES>();
        for chunk in chunks {
            for j in 0..LANES {
                let e = exp_lane(chunk[j] - max);
                chunk[j] = e;
                lanes[j] += e;
            }
        }
        for (v, lane) in rest.iter_mut().zip(&mut lanes) {
            *v = exp_lane(*v - max);
            *lane += *v;
        }
        sum += f64::from(join_lanes(lanes, |a, b| a + b));
    }
    sum
}

/// The sum of all e^(x - max).
#[inline(always)]
fn sum_exp(row: &[f32], max: f32) -> f64 {
    let mut block = [0f32; 16 * LANES];
    row.chunks(block.len())
        .map(|part| {
            let block = &mut block[..part.len()];
            block.copy_from_slice(part);
            exp_and_sum(block, max)
        })
        .sum()
}

/// Softmax or its logarithm of f64 along any axis of `shape`, on the calling thread.
pub fn softmax_axis_f64(
    kind: SoftmaxKind,
    shape: &[usize],
    axis: usize,
    x: &[f64],
    y: &mut [f64],
) -> Result<(), KernelError> {
    let (outer, n, inner) = around(shape, axis)?;
    expect_len("the input of softmax", x.len(), numel(shape)?)?;
    expect_len("the output of softmax", y.len(), x.len())?;
    for (o, j) in (0..outer).flat_map(|o| (0..inner).map(move |j| (o, j))) {
        let at = |i: usize| (o * n + i) * inner + j;
        let max = (0..n).map(|i| x[at(i)]).fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = (0..n).map(|i| (x[at(i)] - max).exp()).sum();
        for i in 0..n {
            y[at(i)] = match kind {
                SoftmaxKind::Softmax => (x[at(i)] - max).exp() / sum,
                SoftmaxKind::LogSoftmax => x[at(i)] - max - sum.ln(),
            };
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::{Rng, rel_err};

    #[test]
    fn every_axis_agrees_with_f64() {
        let mut rng = Rng::fresh();
        for threads in [1, 3] {
            let pool = Pool::new(threads);
            for shape in [&[5usize, 7, 33][..], &[3, 1000], &[128, 128], &[1], &[2, 0, 3], &[0, 4], &[4, 1, 19]] {
                let n: usize = shape.iter().product();
                let x: Vec<f32> = rng.floats(n).iter().map(|v| v * 20.0).collect();
                let wide: Vec<f64> = x.iter().map(|&v| f64::from(v)).collect();
                for kind in [SoftmaxKind::Softmax, SoftmaxKind::LogSoftmax] {
                    for axis in 0..shape.len() {
                        let mut want = vec![0.0; n];
                        softmax_axis_f64(kind, shape, axis, &wide, &mut want).unwrap();
                        let mut y = vec![f32::NAN; n];
                        softmax_axis(&pool, kind, shape, axis, &x, &mut y).unwrap();
                        let e = rel_err(&y, &want);
                        assert!(e < 1e-6, "{kind:?} {shape:?} axis {axis}: {e:e}");
                    }
                    let mut y = x.clone();
                    let mut want = vec![0.0; n];
                    softmax_axis_f64(kind, shape, shape.len() - 1, &wide, &mut want).unwrap();
                    rows_in_place(&pool, kind, shape[shape.len() - 1], &mut y).unwrap();
                    assert!(rel_err(&y, &want) < 1e-6);
                }
            }
        }
    }

    #[test]
    fn the_f64_reference_is_right() {
        let mut y = [0.0; 3];
        softmax_axis_f64(SoftmaxKind::Softmax, &[3], 0, &[0.0, 2f64.ln(), 5f64.ln()], &mut y).unwrap();
        assert!(y.iter().zip([0.125, 0.25, 0.625]).all(|(a, b)| (a - b).abs() < 1e-15));
    }

    #[test]
    fn masked_and_bad_rows() {
        let pool = Pool::new(1);
        let inf = f32::NEG_INFINITY;
        let mut y = [0.0; 6];
        softmax(&pool, 3, &[inf, inf, inf, inf, 1.0, 1.0], &mut y).unwrap();
        assert!(y[..3].iter().all(|v| v.is_nan()));
        assert_eq!(y[3..], [0.0, 0.5, 0.5]);
        softmax(&pool, 3, &[1.0, f32::NAN, 1.0, -3e38, -3e38, -3e38], &mut y).unwrap();
        assert!(y[..3].iter().all(|v| v.is_nan()));
        assert!(y[3..].iter().all(|v| (v - 1.0 / 3.0).abs() < 1e-6));
        assert!(softmax(&pool, 4, &[0.0; 6], &mut y).is_err());
        assert!(softmax(&pool, 0, &[0.0; 6], &mut y).is_err());
        assert!(softmax_axis(&pool, SoftmaxKind::Softmax, &[6], 1, &[0.0; 6], &mut y).is_err());
    }
}
