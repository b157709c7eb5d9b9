//! 8-bit weights with a scale for each output channel, and activations quantized row by row as they come.

use rten_simd::SimdOp;

use super::dot::{COLUMNS, Columns, ROWS};
use crate::gemm::{Epilogue, Finish, RowBias, SMALL, check, size};
use crate::pool::{Pool, SendPtr};

/// Weights [k, n] as 8-bit integers, packed, with a scale for each column.
#[derive(Clone)]
pub struct PackedInt8B {
    columns: Columns,
    scales: Vec<f32>,
}

impl std::fmt::Debug for PackedInt8B {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PackedInt8B([{}, {}])", self.columns.k, self.columns.n)
    }
}

/// Quantizes weights [k, n] (stored [n, k] where `transposed`) to 8-bit integers in -127..=127, symmetrically, with one scale for
/// each column. A column with a value that is not finite has a NaN scale, so that its outputs are NaN.
pub fn quantize_weights_int8(b: &[f32], k: usize, n: usize, transposed: bool) -> PackedInt8B {
    check(k, n, b.len(), "b");
    let at = |p: usize, j: usize| if transposed { b[j * k + p] } else { b[p * n + j] };
    let scales: Vec<f32> = (0..n)
        .map(|j| {
            let finite = (0..k).all(|p| at(p, j).is_finite());
            let max = (0..k).fold(0.0f32, |max, p| max.max(at(p, j).abs()));
            if finite { max / 127.0 } else { f32::NAN }
        })
        .collect();
    let columns = Columns::pack(k, n, |p, j| {
        if scales[j] == 0.0 { 0 } else { (at(p, j) / scales[j]).round_ties_even().clamp(-127.0, 127.0) as i8 }
    });
    PackedInt8B { columns, scales }
}

impl PackedInt8B {
    /// Packs weights that are quantized already: `b` row-major [k, n] (stored [n, k] where `transposed`), and a scale for each column.
    pub fn pack(b: &[i8], k: usize, n: usize, transposed: bool, scales: &[f32]) -> PackedInt8B {
        check(k, n, b.len(), "b");
        assert!(scales.len() == n, "there must be {n} scales, not {}", scales.len());
        let columns = Columns::pack(k, n, |p, j| if transposed { b[j * k + p] } else { b[p * n + j] });
        PackedInt8B { columns, scales: scales.to_vec() }
    }

    /// The inner dimension.
    pub fn k(&self) -> usize {
        self.columns.k
    }

    /// The number of columns.
    pub fn n(&self) -> usize {
        self.columns.n
    }

    /// The memory that the weights and their scales take.
    pub fn bytes(&self) -> usize {
        self.columns.bytes() + size_of_val(self.scales.as_slice())
    }

    /// The weights as they are used, row-major [k, n].
    pub fn dequantize(&self) -> Vec<f32> {
        let (k, n) = (self.k(), self.n());
        (0..k * n).map(|i| f32::from(self.columns.at(i / n, i % n)) * self.scales[i % n]).collect()
    }
}

/// `out = epilogue(a * b)` with `a` row-major [m, k]. Each row of `a` is quantized to 8 bits (asymmetrically, zero is exact) and
/// multiplied in integers. A row with a NaN or an infinity gives NaN.
pub fn gemm_int8_dynamic(pool: &Pool, m: usize, a: &[f32], b: &PackedInt8B, out: &mut [f32], epi: &Epilogue) {
    let (k, n) = (b.k(), b.n());
    check(m, k, a.len(), "a");
    check(m, n, out.len(), "out");
    epi.check(out.len(), n);
    if out.is_empty() {
        return;
    }
    let len = b.columns.row();
    let mut rows = vec![0i16; size(m, len)];
    let mut scales = vec![0.0f32; m];
    if len > 0 {
        let target = SendPtr(scales.as_mut_ptr());
        pool.for_chunks_mut(&mut rows, len * ROWS, |i, rows| {
            for (r, row) in rows.chunks_exact_mut(len).enumerate() {
                let i = i * ROWS + r;
                let scale = quantize_row(&a[i * k..][..k], row);
                // SAFETY: row i is this job's alone, and there are m of them.
                unsafe { target.get().add(i).write(scale) };
            }
        });
    }
    let (rows, scales) = (&rows, &scales);
    let target = SendPtr(out.as_mut_ptr());
    for_tiles(pool, (m, n, k), |first, count, panels| {
        let rows = &rows[first * len..(first + count) * len];
        let columns = panels.start * COLUMNS..n.min(panels.end * COLUMNS);
        for panel in panels {
            let tile = b.columns.tile(rows, panel);
            let start = panel * COLUMNS;
            let width = COLUMNS.min(n - start);
            let by = &b.scales[start..start + width];
            for r in 0..count {
                // SAFETY: jobs have different rows or panels, so these columns of this row are this job's alone.
                let out = unsafe { std::slice::from_raw_parts_mut(target.get().add((first + r) * n + start), width) };
                for ((out, &sum), &scale) in out.iter_mut().zip(&tile[r]).zip(by) {
                    *out = sum as f32 * (scale * scales[first + r]);
                }
            }
        }
        for r in first..first + count {
            let start = r * n + columns.start;
            // SAFETY: as above.
            let row = unsafe { std::slice::from_raw_parts_mut(target.get().add(start), columns.len()) };
            let bias = epi.bias.map_or(RowBias::None, |b| RowBias::Each(&b[columns.clone()]));
            let residual = epi.residual.map(|r| &r[start..start + columns.len()]);
            Finish { row, alpha: epi.alpha, bias, activation: epi.activation, residual }.dispatch();
        }
    });
}

/// Calls `f(first row, rows, panels)` for all tiles of a product, in parallel; a job's panels stay in the cache over its rows.
pub(super) fn for_tiles(
    pool: &Pool,
    (m, n, k): (usize, usize, usize),
    f: impl Fn(usize, usize, std::ops::Range<usize>) + Sync,
) {
    let panels = n.div_ceil(COLUMNS);
    let most = (128 * 1024 / k.saturating_mul(COLUMNS).max(1)).clamp(1, 8);
    let parts = if pool.threads() == 1 { 1 } else { 4 * pool.threads() };
    let step = panels.div_ceil(parts).clamp(1, most);
    let across = panels.div_ceil(step);
    let high = (m.div_ceil(ROWS) * across / parts.max(1)).clamp(1, 32) * ROWS;
    let job = |i: usize| {
        let start = i % across * step;
        let top = i / across * high;
        for first in (top..m.min(top + high)).step_by(ROWS) {
            f(first, ROWS.min(m - first), start..panels.min(start + step));
        }
    };
    let jobs = m.div_ceil(high) * across;
    if m.saturating_mul(n).saturating_mul(k) < SMALL {
        (0..jobs).for_each(job);
    } else {
        pool.run(jobs, &job);
    }
}

/// Quantizes one row to 256 steps from its minimum to its maximum (0 among them), stored as differences from the zero point, and
/// returns the step.
fn quantize_row(x: &[f32], out: &mut [i16]) -> f32 {
    /// Added to a small number, it leaves the nearest integer in the low bits.
    const MAGIC: f32 = 12_582_912.0;
    let (mut low, mut high, mut odd) = (0.0f32, 0.0f32, 0.0f32);
    for &x in x {
        low = if x < low { x } else { low };
        high = if x > high { x } else { high };
        odd += x * 0.0;
    }
    let scale = (high - low) / 255.0;
    if odd.is_nan() || scale == 0.0 || !(1.0 / scale).is_finite() || !scale.is_finite() {
        out.fill(0);
        return if odd.is_nan() || !scale.is_finite() { f32::NAN } else { 0.0 };
    }
    let inverse = 1.0 / scale;
    let zero = (-low * inverse).round_ties_even();
    let (least, most) = (-zero, 255.0 - zero);
    for (out, &x) in out.iter_mut().zip(x) {
        let steps = (x * inverse).max(least).min(most);
        *out = ((steps + MAGIC).to_bits() as i32 - MAGIC.to_bits() as i32) as i16;
    }
    scale
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::{Rng, matmul, rel_err};

    #[test]
    fn products_are_exact_up_to_the_quantization() {
        let mut rng = Rng::fresh();
        for (m, n, k) in
            [(0, 3, 4), (3, 0, 4), (3, 4, 0), (1, 1, 1), (1, 100, 65), (7, 33, 64), (40, 17, 129), (64, 384, 384)]
        {
            let a: Vec<f32> = rng.floats(m * k).iter().map(|x| x * 2.0 + 0.5).collect();
            let b = rng.floats(k * n);
            let (bias, residual) = (rng.floats(n), rng.floats(m * n));
            for transposed in [false, true] {
                let packed = quantize_weights_int8(&b, k, n, transposed);
                // What the integers stand for, multiplied in f64: only rounding may differ.
                let weights = packed.dequantize();
                let len = packed.columns.row();
                let mut used = Vec::new();
                for i in 0..m {
                    let mut row = vec![0; len];
                    let scale = quantize_row(&a[i * k..][..k], &mut row);
                    used.extend(row[..k].iter().map(|&q| f32::from(q) * scale));
                }
                let product = matmul(m, n, k, &used, false, &weights, false);
                let expected: Vec<f64> = product
                    .iter()
                    .enumerate()
                    .map(|(i, x)| (x * 0.5 + f64::from(bias[i % n])).max(0.0) + f64::from(residual[i]))
                    .collect();
                let activation = crate::gemm::Activation::Relu;
                let epi = Epilogue { bias: Some(&bias), residual: Some(&residual), alpha: 0.5, activation };
                for threads in [1, 2, 3] {
                    let mut out = vec![f32::NAN; m * n];
                    gemm_int8_dynamic(&Pool::new(threads), m, &a, &packed, &mut out, &epi);
                    let err = rel_err(&out, &expected);
                    assert!(err < 2e-6, "{m} {n} {k}, {threads} threads: {err}");
                }
                // And the quantization itself is as close as 8 bits allow.
                if k >= 64 {
                    let mut out = vec![f32::NAN; m * n];
                    gemm_int8_dynamic(&Pool::new(1), m, &a, &packed, &mut out, &Epilogue::default());
                    let err = rel_err(&out, &matmul(m, n, k, &a, false, &b, transposed));
                    assert!(err < 0.015, "{m} {n} {k}: {err}");
                }
            }
        }
    }

    #[test]
    fn what_is_not_finite_shows() {
        let b = quantize_weights_int8(&[1.0; 8], 4, 2, false);
        for bad in [f32::NAN, f32::INFINITY] {
            let mut out = [0.0; 4];
            let a = [1.0, 1.0, bad, 1.0, 1.0, 1.0, 1.0, 1.0];
            gemm_int8_dynamic(&Pool::new(1), 2, &a, &b, &mut out, &Epilogue::default());
            assert!(out[0].is_nan() && out[1].is_nan() && (out[2] - 4.0).abs() < 0.05, "{out:?}");
        }
        let b = quantize_weights_int8(&[1.0, f32::NAN, 1.0, 1.0], 2, 2, false);
        let mut out = [0.0; 2];
        gemm_int8_dynamic(&Pool::new(1), 1, &[1.0, 1.0], &b, &mut out, &Epilogue::default());
        assert!((out[0] - 2.0).abs() < 0.02 && out[1].is_nan(), "{out:?}");
    }
}
