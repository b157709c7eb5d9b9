//! Products of 8-bit integers with zero points, exact: the semantics of ONNX's MatMulInteger; and what brings them back to floats.

use std::ops::Range;

use rten_simd::SimdOp;

use super::dot::{COLUMNS, Columns, ROWS, Tile};
use super::int8::for_tiles;
use super::narrow::NarrowColumns;
use crate::gemm::pack::with_scratch;
use crate::gemm::{Epilogue, Finish, RowBias, check, size};
use crate::pool::{Pool, SendPtr};
use crate::wide::wide;

/// Bytes that are signed or not.
#[derive(Clone, Copy, Debug)]
pub enum Bytes<'a> {
    /// Signed.
    I8(&'a [i8]),
    /// Unsigned.
    U8(&'a [u8]),
}

impl Bytes<'_> {
    /// The number of elements.
    pub fn len(&self) -> usize {
        match self {
            Bytes::I8(x) => x.len(),
            Bytes::U8(x) => x.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn get(&self, i: usize) -> i16 {
        match self {
            Bytes::I8(x) => i16::from(x[i]),
            Bytes::U8(x) => i16::from(x[i]),
        }
    }

    /// Zero point number `i`: there are none, one for all, or one for each.
    fn zero(&self, i: usize) -> i16 {
        match self.len() {
            0 => 0,
            1 => self.get(0),
            _ => self.get(i),
        }
    }

    fn check_zeros(&self, count: usize, name: &str) {
        let len = self.len();
        assert!(len <= 1 || len == count, "`{name}` must have none, one or {count} elements, not {len}");
    }
}

/// The right operand [k, n] of an integer product with its zero points, packed once.
#[derive(Clone)]
pub struct PackedIntegerB {
    columns: Packing,
    k: usize,
    n: usize,
    /// The zero point of each column, in the packed (signed) numbers; empty where all are 0.
    zeros: Vec<i32>,
}

#[derive(Clone)]
enum Packing {
    /// For rows of bytes.
    Narrow(NarrowColumns),
    /// For rows of 16 bits: where many weights are so large that sums of products of bytes would leave those.
    Wide(Columns),
}

impl std::fmt::Debug for PackedIntegerB {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PackedIntegerB([{}, {}])", self.k, self.n)
    }
}

impl PackedIntegerB {
    /// Packs `b`, row-major [k, n], with no zero point, one for all or one for each column.
    pub fn pack(b: Bytes, k: usize, n: usize, zero: Bytes) -> PackedIntegerB {
        check(k, n, b.len(), "b");
        zero.check_zeros(n, "b_zero");
        // Unsigned numbers are moved by 128 into the signed range, their zero points with them.
        let shift = if matches!(b, Bytes::U8(_)) { 128 } else { 0 };
        let at = |p: usize, j: usize| (b.get(p * n + j) - shift) as i8;
        let columns = match NarrowColumns::pack(k, n, at) {
            Some(columns) => Packing::Narrow(columns),
            None => Packing::Wide(Columns::pack(k, n, at)),
        };
        let mut zeros: Vec<i32> = (0..n).map(|j| i32::from(zero.zero(j) - shift)).collect();
        if zeros.iter().all(|&z| z == 0) {
            zeros = Vec::new();
        }
        PackedIntegerB { columns, k, n, zeros }
    }

    /// The inner dimension.
    pub fn k(&self) -> usize {
        self.k
    }

    /// The number of columns.
    pub fn n(&self) -> usize {
        self.n
    }

    /// The memory that the packed operand takes.
    pub fn bytes(&self) -> usize {
        let columns = match &self.columns {
            Packing::Narrow(columns) => columns.bytes(),
            Packing::Wide(columns) => columns.bytes(),
        };
        columns + size_of_val(self.zeros.as_slice())
    }
}

/// `out = (a - a_zero) * (b - b_zero)` in 32-bit integers (which wrap), with `a` row-major [m, k] and `b` row-major [k, n]. Zero
/// points: none, one for all, or one for each row of `a` and each column of `b`.
pub fn matmul_integer(
    pool: &Pool,
    m: usize,
    n: usize,
    k: usize,
    a: Bytes,
    a_zero: Bytes,
    b: Bytes,
    b_zero: Bytes,
    out: &mut [i32],
) {
    matmul_integer_packed(pool, m, a, a_zero, &PackedIntegerB::pack(b, k, n, b_zero), out);
}

/// [`matmul_integer`] with a packed right operand.
pub fn matmul_integer_packed(pool: &Pool, m: usize, a: Bytes, a_zero: Bytes, b: &PackedIntegerB, out: &mut [i32]) {
    let n = b.n();
    check(m, n, out.len(), "out");
    let target = SendPtr(out.as_mut_ptr());
    let store = |first: usize, count: usize, panel: usize, tile: &Tile| {
        let start = panel * COLUMNS;
        let width = COLUMNS.min(n - start);
        for r in 0..count {
            // SAFETY: jobs have different rows or panels, so these columns of this row are this job's alone.
            let out = unsafe { std::slice::from_raw_parts_mut(target.get().add((first + r) * n + start), width) };
            out.copy_from_slice(&tile[r][..width]);
        }
    };
    for_sums(pool, m, a, a_zero, b, store, |_, _| {});
}

/// `out = epilogue(scale * (a - a_zero) * (b - b_zero))`: an integer product that goes on in floats. There is one scale, or one for
/// each column.
pub fn matmul_integer_float(
    pool: &Pool,
    m: usize,
    a: Bytes,
    a_zero: Bytes,
    b: &PackedIntegerB,
    scale: &[f32],
    out: &mut [f32],
    epi: &Epilogue,
) {
    let n = b.n();
    check(m, n, out.len(), "out");
    assert!(scale.len() == 1 || scale.len() == n, "there must be 1 or {n} scales, not {}", scale.len());
    epi.check(out.len(), n);
    let target = SendPtr(out.as_mut_ptr());
    let store = |first: usize, count: usize, panel: usize, tile: &Tile| {
        let start = panel * COLUMNS;
        let width = COLUMNS.min(n - start);
        let mut by = [scale[0]; COLUMNS];
        if scale.len() > 1 {
            by[..width].copy_from_slice(&scale[start..start + width]);
        }
        wide(
            #[inline(always)]
            || {
                for r in 0..count {
                    let floats: [f32; COLUMNS] = std::array::from_fn(|c| tile[r][c] as f32 * by[c]);
                    let at = (first + r) * n + start;
                    // SAFETY: jobs have different rows or panels, so these columns of this row are this job's alone.
                    let out = unsafe { std::slice::from_raw_parts_mut(target.get().add(at), width) };
                    match out.first_chunk_mut() {
                        Some(out) => *out = floats,
                        None => out.copy_from_slice(&floats[..width]),
                    }
                }
            },
        );
    };
    let finish = |rows: Range<usize>, columns: Range<usize>| {
        for r in rows {
            let start = r * n + columns.start;
            // SAFETY: as above.
            let row = unsafe { std::slice::from_raw_parts_mut(target.get().add(start), columns.len()) };
            let bias = epi.bias.map_or(RowBias::None, |b| RowBias::Each(&b[columns.clone()]));
            let residual = epi.residual.map(|r| &r[start..start + columns.len()]);
            Finish { row, alpha: epi.alpha, bias, activation: epi.activation, residual }.dispatch();
        }
    };
    for_sums(pool, m, a, a_zero, b, store, finish);
}

/// Calls `store(first row, rows, panel, sums)` for every tile of the product and `done(rows, columns)` after those of some rows and
/// columns, in parallel.
fn for_sums(
    pool: &Pool,
    m: usize,
    a: Bytes,
    a_zero: Bytes,
    b: &PackedIntegerB,
    store: impl Fn(usize, usize, usize, &Tile) + Sync,
    done: impl Fn(Range<usize>, Range<usize>) + Sync,
) {
    check(m, b.k, a.len(), "a");
    a_zero.check_zeros(m, "a_zero");
    if m == 0 || b.n == 0 {
        return;
    }
    match &b.columns {
        Packing::Narrow(columns) => narrow_sums(pool, m, a, a_zero, b, columns, store, done),
        Packing::Wide(columns) => wide_sums(pool, m, a, a_zero, b, columns, store, done),
    }
}

/// [`for_sums`] on bytes: what zero points take from a sum is known from the sums of rows and of columns.
fn narrow_sums(
    pool: &Pool,
    m: usize,
    a: Bytes,
    a_zero: Bytes,
    b: &PackedIntegerB,
    columns: &NarrowColumns,
    store: impl Fn(usize, usize, usize, &Tile) + Sync,
    done: impl Fn(Range<usize>, Range<usize>) + Sync,
) {
    let (k, n, len) = (b.k, b.n, columns.row());
    // Signed rows are moved by 128 into the unsigned range, their zero points with them.
    let shift = if matches!(a, Bytes::I8(_)) { 128 } else { 0 };
    let work = |rows: &[u8], stride: usize| {
        for_tiles(pool, (m, n, k), |first, count, panels| {
            let rows = &rows[first * stride..];
            // By row: what each column's sum is multiplied with, and each column's zero point.
            let mut by = [(0i32, 0i32); ROWS];
            for (r, by) in by.iter_mut().enumerate().take(count) {
                by.0 = i32::from(a_zero.zero(first + r)) + shift;
                if !b.zeros.is_empty() {
                    let sum: i32 = rows[r * stride..][..k].iter().map(|&x| i32::from(x)).sum();
                    by.1 = sum.wrapping_sub(by.0.wrapping_mul(k as i32));
                }
            }
            let span = panels.start * COLUMNS..n.min(panels.end * COLUMNS);
            for panel in panels {
                let mut tile = columns.tile(rows, stride, count, panel);
                let sums: &[i32; COLUMNS] = columns.sums[panel * COLUMNS..].first_chunk().expect("sums fill up panels");
                let mut zeros = [0; COLUMNS];
                for (to, zero) in zeros.iter_mut().zip(b.zeros.iter().skip(panel * COLUMNS)) {
                    *to = *zero;
                }
                wide(
                    #[inline(always)]
                    || {
                        for (row, by) in tile[..count].iter_mut().zip(by) {
                            for c in 0..COLUMNS {
                                let taken = by.0.wrapping_mul(sums[c]).wrapping_add(by.1.wrapping_mul(zeros[c]));
                                row[c] = row[c].wrapping_sub(taken);
                            }
                        }
                    },
                );
                store(first, count, panel, &tile);
            }
            done(first..first + count, span);
        });
    };
    match a {
        Bytes::U8(a) if len == k => work(a, k),
        _ => with_scratch(size(m, len).div_ceil(4), |scratch| {
            let rows: &mut [u8] = &mut bytemuck::cast_slice_mut(scratch)[..m * len];
            pool.for_chunks_mut(rows, (len * ROWS).max(1), |block, rows| {
                for (r, row) in rows.chunks_exact_mut(len).enumerate() {
                    let span = (block * ROWS + r) * k..(block * ROWS + r + 1) * k;
                    row[k..].fill(0);
                    match a {
                        Bytes::U8(a) => row[..k].copy_from_slice(&a[span]),
                        Bytes::I8(a) => row.iter_mut().zip(&a[span]).for_each(|(to, &x)| *to = (x as u8) ^ 0x80),
                    }
                }
            });
            work(rows, len);
        }),
    }
}

/// [`for_sums`] on differences from the zero points in 16 bits.
fn wide_sums(
    pool: &Pool,
    m: usize,
    a: Bytes,
    a_zero: Bytes,
    b: &PackedIntegerB,
    columns: &Columns,
    store: impl Fn(usize, usize, usize, &Tile) + Sync,
    done: impl Fn(Range<usize>, Range<usize>) + Sync,
) {
    let (k, n, len) = (b.k, b.n, columns.row());
    with_scratch(size(m, len).div_ceil(2), |scratch| {
        let rows: &mut [i16] = &mut bytemuck::cast_slice_mut(scratch)[..m * len];
        pool.for_chunks_mut(rows, (len * ROWS).max(1), |block, rows| {
            for (r, row) in rows.chunks_exact_mut(len).enumerate() {
                let i = block * ROWS + r;
                let zero = a_zero.zero(i);
                row[k..].fill(0);
                match a {
                    Bytes::I8(a) => differences(&a[i * k..][..k], zero, row),
                    Bytes::U8(a) => differences(&a[i * k..][..k], zero, row),
                }
            }
        });
        let rows = &*rows;
        for_tiles(pool, (m, n, k), |first, count, panels| {
            let rows = &rows[first * len..(first + count) * len];
            let mut sums = [0i32; ROWS];
            if !b.zeros.is_empty() && len > 0 {
                for (sum, row) in sums.iter_mut().zip(rows.chunks_exact(len)) {
                    *sum = row.iter().map(|&x| i32::from(x)).sum();
                }
            }
            let span = panels.start * COLUMNS..n.min(panels.end * COLUMNS);
            for panel in panels {
                let mut tile = columns.tile(rows, panel);
                if !b.zeros.is_empty() {
                    for (row, sum) in tile.iter_mut().zip(sums) {
                        for (x, zero) in row.iter_mut().zip(&b.zeros[panel * COLUMNS..]) {
                            *x = x.wrapping_sub(zero.wrapping_mul(sum));
                        }
                    }
                }
                store(first, count, panel, &tile);
            }
            done(first..first + count, span);
        });
    });
}

/// `out[i] = x[i] - zero`.
fn differences<T: Copy + Into<i16>>(x: &[T], zero: i16, out: &mut [i16]) {
    wide(
        #[inline(always)]
        move || {
            for (out, &x) in out.iter_mut().zip(x) {
                *out = x.into() - zero;
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::{Rng, rel_err};

    #[test]
    fn products_are_exact() {
        let mut rng = Rng::fresh();
        for (m, n, k) in
            [(0, 3, 4), (3, 0, 4), (3, 4, 0), (1, 1, 1), (1, 70, 33), (5, 16, 7), (13, 47, 100), (70, 65, 64)]
        {
            for kinds in 0..4 {
                for zeros in 0..3 {
                    let mut bytes = |len: usize| (0..len).map(|_| rng.bits() as u8).collect::<Vec<u8>>();
                    let count = |each: usize| [0, 1, each][zeros];
                    let (a, b, az, bz) = (bytes(m * k), bytes(k * n), bytes(count(m)), bytes(count(n)));
                    let as_i8 = |x: &[u8]| x.iter().map(|&v| v as i8).collect::<Vec<i8>>();
                    let (a8, b8, az8, bz8) = (as_i8(&a), as_i8(&b), as_i8(&az), as_i8(&bz));
                    let (sa, sb) = (kinds & 1 == 1, kinds & 2 == 2);
                    let (a, az) = if sa { (Bytes::I8(&a8), Bytes::I8(&az8)) } else { (Bytes::U8(&a), Bytes::U8(&az)) };
                    let (b, bz) = if sb { (Bytes::I8(&b8), Bytes::I8(&bz8)) } else { (Bytes::U8(&b), Bytes::U8(&bz)) };
                    let expected: Vec<i32> = (0..m * n)
                        .map(|i| {
                            (0..k)
                                .map(|p| {
                                    let x = i32::from(a.get(i / n * k + p)) - i32::from(az.zero(i / n));
                                    x * (i32::from(b.get(p * n + i % n)) - i32::from(bz.zero(i % n)))
                                })
                                .sum()
                        })
                        .collect();
                    for threads in [1, 2, 3] {
                        let mut out = vec![-1; m * n];
                        matmul_integer(&Pool::new(threads), m, n, k, a, az, b, bz, &mut out);
                        assert_eq!(out, expected, "{m} {n} {k}, signed {sa} {sb}, {threads} threads");
                    }
                }
            }
        }
    }

    #[test]
    fn floats_follow_the_sums() {
        use crate::gemm::Activation;
        let mut rng = Rng::fresh();
        for (m, n, k) in [(1, 1, 0), (1, 70, 33), (6, 16, 64), (13, 47, 100), (70, 65, 64)] {
            let mut bytes = |len: usize| (0..len).map(|_| rng.bits() as u8).collect::<Vec<u8>>();
            let (a, b, az, bz) = (bytes(m * k), bytes(k * n), bytes(1), bytes(n));
            let b: Vec<i8> = b.into_iter().map(|x| x as i8).collect();
            let bz: Vec<i8> = bz.into_iter().map(|x| x as i8).collect();
            let (bias, residual) = (rng.floats(n), rng.floats(m * n));
            for (zero, scales) in [(Bytes::I8(&[]), rng.floats(1)), (Bytes::I8(&bz), rng.floats(n))] {
                let packed = PackedIntegerB::pack(Bytes::I8(&b), k, n, zero);
                let mut sums = vec![0; m * n];
                matmul_integer_packed(&Pool::new(1), m, Bytes::U8(&a), Bytes::U8(&az), &packed, &mut sums);
                let epi =
                    Epilogue { bias: Some(&bias), residual: Some(&residual), activation: Activation::Relu, alpha: 1.0 };
                let want: Vec<f64> = (0..m * n)
                    .map(|i| {
                        let scale = f64::from(scales[if scales.len() == 1 { 0 } else { i % n }]);
                        (f64::from(sums[i]) * scale + f64::from(bias[i % n])).max(0.0) + f64::from(residual[i])
                    })
                    .collect();
                for threads in [1, 2, 3] {
                    let mut out = vec![f32::NAN; m * n];
                    let pool = Pool::new(threads);
                    matmul_integer_float(&pool, m, Bytes::U8(&a), Bytes::U8(&az), &packed, &scales, &mut out, &epi);
                    let err = rel_err(&out, &want);
                    assert!(err < 1e-6, "{m} {n} {k}, {threads} threads: {err}");
                }
            }
        }
    }
}
