//! 4-bit weights: groups of 32 along k share a scale, two weights a byte.

use half::f16;
use rten_simd::{Isa, SimdOp};

use crate::gemm::kernel::TileSize;
use crate::gemm::kernel::{Bias, Left};
use crate::gemm::pack::{packed_len, with_scratch};
use crate::gemm::{BLOCK_ROWS, Epilogue, Finish, Product, RowBias, SMALL, check};
use crate::pool::{Pool, SendPtr};

/// Weights along k that share a scale.
const GROUP: usize = 32;
const HALF: usize = GROUP / 2;

/// Columns of a panel; a multiple of every kernel's.
const WIDTH: usize = 32;

/// Weights [k, n] in 4 bits each, with a 16-bit scale for every 32 of a column: 4.5 bits a weight.
#[derive(Clone)]
pub struct PackedInt4B {
    /// For each panel of columns, each group, each p in half a group: a byte for each column, with p in the low bits and p + 16 in
    /// the high ones.
    nibbles: Vec<u8>,
    /// For each panel, each group: the columns' scales.
    scales: Vec<f16>,
    k: usize,
    n: usize,
}

impl std::fmt::Debug for PackedInt4B {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PackedInt4B([{}, {}])", self.k, self.n)
    }
}

/// Quantizes weights [k, n] (stored [n, k] where `transposed`) to 4 bits. A group's weight of greatest magnitude becomes -8 steps; a
/// group with a value that is not finite becomes NaN.
pub fn quantize_weights_int4(b: &[f32], k: usize, n: usize, transposed: bool) -> PackedInt4B {
    check(k, n, b.len(), "b");
    let at =
        |p: usize, j: usize| if p >= k || j >= n { 0.0 } else { b[if transposed { j * k + p } else { p * n + j }] };
    let (groups, panels) = (k.div_ceil(GROUP), n.div_ceil(WIDTH));
    let mut nibbles = vec![0; panels * groups * HALF * WIDTH];
    let mut scales = vec![f16::ZERO; panels * groups * WIDTH];
    for block in 0..panels * groups {
        let (panel, first) = (block / groups, block % groups * GROUP);
        for c in 0..WIDTH {
            let j = panel * WIDTH + c;
            let weights: [f32; GROUP] = std::array::from_fn(|i| at(first + i, j));
            let peak = weights.iter().fold(0.0f32, |peak, &w| if w.abs() > peak.abs() { w } else { peak });
            let finite = weights.iter().all(|w| w.is_finite());
            let scale = if finite { f16::from_f32(peak / -8.0) } else { f16::NAN };
            let step = scale.to_f32();
            let steps = weights.map(|w| {
                let steps = if step == 0.0 || !finite { 0.0 } else { w / step };
                (steps.round_ties_even().clamp(-8.0, 7.0) + 8.0) as u8
            });
            scales[block * WIDTH + c] = scale;
            for p in 0..HALF {
                nibbles[(block * HALF + p) * WIDTH + c] = steps[p] | steps[p + HALF] << 4;
            }
        }
    }
    PackedInt4B { nibbles, scales, k, n }
}

impl PackedInt4B {
    /// The inner dimension.
    pub fn k(&self) -> usize {
        self.k
    }

    /// The number of columns.
    pub fn n(&self) -> usize {
        self.n
    }

    /// The memory that the weights and their scales take.
    pub fn bytes(&self) -> usize {
        self.nibbles.len() + size_of_val(self.scales.as_slice())
    }

    /// The weights as they are used, row-major [k, n].
    pub fn dequantize(&self) -> Vec<f32> {
        let groups = self.k.div_ceil(GROUP);
        let weight = |p: usize, j: usize| {
            let block = j / WIDTH * groups + p / GROUP;
            let byte = self.nibbles[(block * HALF + p % HALF) * WIDTH + j % WIDTH];
            let steps = if p % GROUP < HALF { byte & 15 } else { byte >> 4 };
            (f32::from(steps) - 8.0) * self.scales[block * WIDTH + j % WIDTH].to_f32()
        };
        (0..self.k * self.n).map(|i| weight(i / self.n, i % self.n)).collect()
    }

    /// The bytes and scales of one panel.
    fn panel(&self, i: usize) -> (&[u8], &[f16]) {
        let groups = self.k.div_ceil(GROUP);
        let (bytes, scales) = (groups * HALF * WIDTH, groups * WIDTH);
        (&self.nibbles[i * bytes..][..bytes], &self.scales[i * scales..][..scales])
    }
}

/// `out = epilogue(a * b)` with `a` row-major [m, k] and 4-bit weights. One row is multiplied with the 4-bit weights directly; more
/// rows with panels that are unpacked to f32 in the cache.
pub fn gemm_int4(pool: &Pool, m: usize, a: &[f32], b: &PackedInt4B, out: &mut [f32], epi: &Epilogue) {
    let (k, n) = (b.k, b.n);
    check(m, k, a.len(), "a");
    check(m, n, out.len(), "out");
    epi.check(out.len(), n);
    if out.is_empty() {
        return;
    }
    let tile = TileSize::here();
    let target = SendPtr(out.as_mut_ptr());
    let job = |i: usize| {
        let columns = i * WIDTH..n.min((i + 1) * WIDTH);
        let (nibbles, scales) = b.panel(i);
        if m == 1 {
            let mut sums = [0.0; WIDTH];
            RowTimesPanel { a, nibbles, scales, sums: &mut sums }.dispatch();
            // SAFETY: each job has its own columns.
            let row = unsafe { std::slice::from_raw_parts_mut(target.get().add(columns.start), columns.len()) };
            row.copy_from_slice(&sums[..columns.len()]);
            let bias = epi.bias.map_or(RowBias::None, |b| RowBias::Each(&b[columns.clone()]));
            let residual = epi.residual.map(|r| &r[columns]);
            Finish { row, alpha: epi.alpha, bias, activation: epi.activation, residual }.dispatch();
            return;
        }
        with_scratch(packed_len(k, WIDTH, tile), |panel| {
            Unpack { nibbles, scales, k, width: tile.columns, out: panel }.dispatch();
            let product = Product {
                m,
                n: columns.len(),
                k,
                a: Left::rows(a, k),
                b: panel,
                bias: epi.bias.map_or(Bias::None, |b| Bias::Columns(&b[columns.clone()])),
                alpha: epi.alpha,
                activation: epi.activation,
                residual: epi.residual.map(|r| &r[columns.start..]),
                out_row: n,
            };
            for row in (0..m).step_by(BLOCK_ROWS) {
                let rows = row..m.min(row + BLOCK_ROWS);
                // SAFETY: `a` was checked to hold m rows of k; each job has its own columns of the output.
                unsafe { product.block(rows, 0..columns.len(), target.get().add(columns.start)) };
            }
        });
    };
    let jobs = n.div_ceil(WIDTH);
    if m.saturating_mul(n).saturating_mul(k) < SMALL {
        (0..jobs).for_each(job);
    } else {
        pool.run(jobs, &job);
    }
}

/// One row times one panel. (Plain loops of a fixed width, compiled for each instruction set.)
struct RowTimesPanel<'a> {
    a: &'a [f32],
    nibbles: &'a [u8],
    scales: &'a [f16],
    sums: &'a mut [f32; WIDTH],
}

impl SimdOp for RowTimesPanel<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<I: Isa>(self, _isa: I) {
        let groups = self.nibbles.chunks_exact(HALF * WIDTH).zip(self.scales.chunks_exact(WIDTH));
        for ((bytes, scales), a) in groups.zip(self.a.chunks(GROUP)) {
            let mut x = [0.0; GROUP];
            x[..a.len()].copy_from_slice(a);
            // The steps are counted from 0 here; the 8 that each has too many are taken off at once.
            let all: f32 = x.iter().sum::<f32>() * 8.0;
            let mut sums = [0.0f32; WIDTH];
            for (p, bytes) in bytes.chunks_exact(WIDTH).enumerate() {
                for c in 0..WIDTH {
                    sums[c] += (bytes[c] & 15) as i32 as f32 * x[p] + (bytes[c] >> 4) as i32 as f32 * x[p + HALF];
                }
            }
            for c in 0..WIDTH {
                self.sums[c] += (sums[c] - all) * scales[c].to_f32();
            }
        }
    }
}

/// Unpacks one panel to the kernel's layout: panels of `width` columns.
struct Unpack<'a> {
    nibbles: &'a [u8],
    scales: &'a [f16],
    k: usize,
    width: usize,
    out: &'a mut [f32],
}

impl SimdOp for Unpack<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<I: Isa>(self, _isa: I) {
        let Unpack { nibbles, scales, k, width, out } = self;
        for (g, (bytes, scales)) in nibbles.chunks_exact(HALF * WIDTH).zip(scales.chunks_exact(WIDTH)).enumerate() {
            let mut steps = [0.0f32; WIDTH];
            steps.iter_mut().zip(scales).for_each(|(step, scale)| *step = scale.to_f32());
            for (p, bytes) in bytes.chunks_exact(WIDTH).enumerate() {
                let mut lines = [[0.0f32; WIDTH]; 2];
                for c in 0..WIDTH {
                    lines[0][c] = ((bytes[c] & 15) as i32 - 8) as f32 * steps[c];
                    lines[1][c] = ((bytes[c] >> 4) as i32 - 8) as f32 * steps[c];
                }
                for (line, p) in lines.iter().zip([g * GROUP + p, g * GROUP + p + HALF]) {
                    if p < k {
                        for (i, part) in line.chunks_exact(width).enumerate() {
                            out[(i * k + p) * width..][..width].copy_from_slice(part);
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gemm::Activation;
    use crate::oracle::{Rng, matmul, rel_err};

    #[test]
    fn products_match_f64() {
        let mut rng = Rng::fresh();
        for (m, n, k) in [
            (0, 3, 4),
            (3, 0, 4),
            (3, 4, 0),
            (1, 1, 1),
            (1, 100, 65),
            (1, 64, 384),
            (2, 33, 31),
            (40, 70, 129),
            (200, 64, 64),
        ] {
            let a = rng.floats(m * k);
            let b = rng.floats(k * n);
            let (bias, residual) = (rng.floats(n), rng.floats(m * n));
            for transposed in [false, true] {
                let packed = quantize_weights_int4(&b, k, n, transposed);
                let product = matmul(m, n, k, &a, false, &packed.dequantize(), false);
                for (alpha, activation) in [(1.0, Activation::None), (0.5, Activation::Relu)] {
                    let expected: Vec<f64> = product
                        .iter()
                        .enumerate()
                        .map(|(i, x)| {
                            let y = x * f64::from(alpha) + f64::from(bias[i % n]);
                            let y = if activation == Activation::Relu { y.max(0.0) } else { y };
                            y + f64::from(residual[i])
                        })
                        .collect();
                    let epi = Epilogue { bias: Some(&bias), activation, residual: Some(&residual), alpha };
                    for threads in [1, 2, 3] {
                        let mut out = vec![f32::NAN; m * n];
                        gemm_int4(&Pool::new(threads), m, &a, &packed, &mut out, &epi);
                        let err = rel_err(&out, &expected);
                        assert!(err < 3e-6, "{m} {n} {k}, {threads} threads: {err}");
                    }
                }
            }
        }
    }

    #[test]
    fn four_bits_are_as_close_and_as_small_as_they_can_be() {
        let mut rng = Rng::fresh();
        let (k, n) = (256, 96);
        let b = rng.floats(k * n);
        let packed = quantize_weights_int4(&b, k, n, false);
        assert_eq!(packed.bytes(), k * n / 2 + k / 32 * n * 2);
        let exact: Vec<f64> = b.iter().map(|&x| f64::from(x)).collect();
        let err = rel_err(&packed.dequantize(), &exact);
        // Uniform weights in steps of 1/8: the error of rounding is 1/8 / sqrt(12), of weights of 1 / sqrt(3) on average; a little
        // more where the positive end is cut at 7 steps.
        assert!((0.05..0.09).contains(&err), "{err}");
    }

    #[test]
    fn what_is_not_finite_shows() {
        let mut b = [1.0; 64];
        b[3] = f32::INFINITY;
        let packed = quantize_weights_int4(&b, 32, 2, true);
        for m in [1, 2] {
            let mut out = vec![0.0; m * 2];
            gemm_int4(&Pool::new(1), m, &vec![1.0; m * 32], &packed, &mut out, &Epilogue::default());
            assert!(out.chunks(2).all(|row| row[0].is_nan() && (row[1] - 32.0).abs() < 1.0), "{out:?}");
        }
    }
}
