//! Matrix products in f32: prepacked weights, plain operands, batches; with a fused epilogue.

mod epilogue;
pub(crate) mod kernel;
pub(crate) mod pack;

use std::ops::Range;

use rten_simd::SimdOp;

use crate::pool::{Pool, SendPtr};
pub use epilogue::{Activation, Epilogue};
pub(crate) use epilogue::{Finish, RowBias};
use kernel::{Bias, Block, Left, TileSize};
pub use pack::PackedB;
use pack::{Plain, pack_all, pack_columns, packed_len, with_scratch};

/// Rows and columns of a block, at most: its part of A stays in the second cache, that of B in the third.
pub(crate) const BLOCK_ROWS: usize = 144;
const BLOCK_COLUMNS: usize = 1024;

/// Multiplications below which a product is not worth a second thread.
pub(crate) const SMALL: usize = 32 * 1024;

/// A product whose right side is packed.
#[derive(Clone, Copy)]
pub(crate) struct Product<'a> {
    pub(crate) m: usize,
    pub(crate) n: usize,
    pub(crate) k: usize,
    pub(crate) a: Left,
    /// Panels of the tile's columns, k deep.
    pub(crate) b: &'a [f32],
    pub(crate) bias: Bias<'a>,
    pub(crate) alpha: f32,
    pub(crate) activation: Activation,
    pub(crate) residual: Option<&'a [f32]>,
    /// From one row of the output (and of the residual) to the next.
    pub(crate) out_row: usize,
}

impl Product<'_> {
    /// Computes the part of the product in `rows` and `columns`, on this thread. The columns start at a panel.
    ///
    /// # Safety
    ///
    /// `a` must be readable at all rows and p; `out` must be writable at `rows` and `columns`, and nobody else's meanwhile.
    pub(crate) unsafe fn block(&self, rows: Range<usize>, columns: Range<usize>, out: *mut f32) {
        let tile = TileSize::here();
        let b_panel = tile.columns * self.k;
        let first = columns.start / tile.columns * b_panel;
        assert!(first + packed_len(self.k, columns.len(), tile) <= self.b.len(), "the packed operand is too short");
        Block {
            a: self.a,
            rows,
            b: self.b[first..].as_ptr(),
            b_step: tile.columns,
            b_panel,
            columns,
            k: self.k,
            out,
            out_row: self.out_row,
            alpha: self.alpha,
            bias: self.bias,
            activation: self.activation,
            residual: self.residual,
        }
        .dispatch();
    }

    /// Computes the whole product over the pool's threads.
    ///
    /// # Safety
    ///
    /// `a` must be readable at all `m` rows and `k` elements of each.
    pub(crate) unsafe fn run(&self, pool: &Pool, out: &mut [f32]) {
        if self.m == 0 || self.n == 0 {
            return;
        }
        assert!((self.m - 1) * self.out_row + self.n <= out.len(), "the output of a product is too short");
        let tile = TileSize::here();
        let small = self.m * self.n * self.k < SMALL;
        let split = Split::of(self.m, self.n, if small { 1 } else { pool.threads() }, tile);
        let target = SendPtr(out.as_mut_ptr());
        let job = |i: usize| {
            let (rows, columns) = split.part(i);
            // SAFETY: the parts of a split are disjoint and inside m rows and n columns, which `out` was checked to hold; the
            // caller vouches for A.
            unsafe { self.block(rows, columns, target.get()) };
        };
        if small {
            (0..split.count()).for_each(job);
        } else {
            pool.run(split.count(), &job);
        }
    }
}

/// How a product of m rows and n columns is cut into blocks.
struct Split {
    m: usize,
    n: usize,
    rows: usize,
    columns: usize,
}

impl Split {
    fn of(m: usize, n: usize, threads: usize, tile: TileSize) -> Split {
        let even = |len: usize, most: usize, unit: usize| len.div_ceil(len.div_ceil(most)).div_ceil(unit) * unit;
        let rows = even(m, BLOCK_ROWS, tile.rows);
        let mut columns = even(n, BLOCK_COLUMNS.max(tile.columns), tile.columns);
        let row_blocks = m.div_ceil(rows);
        if threads > 1 && row_blocks * n.div_ceil(columns) < 4 * threads {
            // One row takes four panels at a time.
            let unit = if m == 1 { 4 * tile.columns } else { tile.columns };
            let unit = if n >= unit * threads { unit } else { tile.columns };
            columns = n.div_ceil((4 * threads).div_ceil(row_blocks)).div_ceil(unit) * unit;
        }
        Split { m, n, rows, columns }
    }

    fn count(&self) -> usize {
        self.m.div_ceil(self.rows) * self.n.div_ceil(self.columns)
    }

    /// Neighbours share their rows: A's block stays in the cache while B goes by.
    fn part(&self, i: usize) -> (Range<usize>, Range<usize>) {
        let across = self.n.div_ceil(self.columns);
        let (r, c) = (i / across * self.rows, i % across * self.columns);
        (r..self.m.min(r + self.rows), c..self.n.min(c + self.columns))
    }
}

/// `out = epilogue(a * b)` with `a` row-major [m, k] and packed weights.
pub fn gemm_packed(pool: &Pool, m: usize, a: &[f32], b: &PackedB, out: &mut [f32], epi: &Epilogue) {
    let (k, n) = (b.k(), b.n());
    check(m, k, a.len(), "a");
    check(m, n, out.len(), "out");
    epi.check(out.len(), n);
    let product = Product {
        m,
        n,
        k,
        a: Left::rows(a, k),
        b: b.panels.floats(),
        bias: epi.bias.map_or(Bias::None, Bias::Columns),
        alpha: epi.alpha,
        activation: epi.activation,
        residual: epi.residual,
        out_row: n,
    };
    // SAFETY: `a` was checked to hold m rows of k.
    unsafe { product.run(pool, out) };
}

/// `out = epilogue(a * b)` with `a` row-major [m, k] (stored [k, m] where `trans_a`) and `b` row-major [k, n] (stored [n, k] where
/// `trans_b`).
pub fn gemm(
    pool: &Pool,
    m: usize,
    n: usize,
    k: usize,
    a: &[f32],
    trans_a: bool,
    b: &[f32],
    trans_b: bool,
    out: &mut [f32],
    epi: &Epilogue,
) {
    check(m, k, a.len(), "a");
    check(k, n, b.len(), "b");
    check(m, n, out.len(), "out");
    epi.check(out.len(), n);
    let tile = TileSize::here();
    let a = if trans_a { Left { data: a.as_ptr(), row: 1, step: m, panel: 0 } } else { Left::rows(a, k) };
    with_scratch(packed_len(k, n, tile), |panels| {
        let plain = Plain { data: b, row: if trans_b { k } else { n }, transposed: trans_b };
        pack_all(pool, plain, k, n, tile, panels);
        let product = Product {
            m,
            n,
            k,
            a,
            b: panels,
            bias: epi.bias.map_or(Bias::None, Bias::Columns),
            alpha: epi.alpha,
            activation: epi.activation,
            residual: epi.residual,
            out_row: n,
        };
        // SAFETY: `a` was checked to hold m * k elements.
        unsafe { product.run(pool, out) };
    });
}

/// Many products of row-major [m, k] and [k, n] matrices: for each (a, b, out) of `batch` the offsets of its three matrices.
/// The outputs must not overlap. The work is shared over the products and the columns of each.
pub fn batched_gemm(
    pool: &Pool,
    batch: &[(usize, usize, usize)],
    m: usize,
    n: usize,
    k: usize,
    a: &[f32],
    b: &[f32],
    out: &mut [f32],
) {
    let (a_len, b_len, out_len) = (size(m, k), size(k, n), size(m, n));
    if out_len == 0 || batch.is_empty() {
        return;
    }
    let inside = |at: usize, len: usize, whole: usize| at.checked_add(len).is_some_and(|end| end <= whole);
    let mut targets: Vec<usize> = batch.iter().map(|&(_, _, at)| at).collect();
    targets.sort_unstable();
    assert!(targets.windows(2).all(|w| w[1] - w[0] >= out_len), "the outputs of a batched product overlap");
    assert!(
        batch
            .iter()
            .all(|&(x, y, z)| inside(x, a_len, a.len()) && inside(y, b_len, b.len()) && inside(z, out_len, out.len())),
        "an offset of a batched product lies outside its operand"
    );
    let tile = TileSize::here();
    let parts = (4 * pool.threads()).div_ceil(batch.len());
    let most = if pool.threads() == 1 { BLOCK_COLUMNS } else { n.div_ceil(parts).clamp(1, BLOCK_COLUMNS) };
    let columns = most.div_ceil(tile.columns) * tile.columns;
    let across = n.div_ceil(columns);
    let target = SendPtr(out.as_mut_ptr());
    let job = |i: usize| {
        let (a_at, b_at, out_at) = batch[i / across];
        let start = i % across * columns;
        let range = start..n.min(start + columns);
        with_scratch(packed_len(k, range.len(), tile), |panels| {
            let plain = Plain { data: &b[b_at..b_at + b_len], row: n, transposed: false };
            pack_columns(plain, k, range.clone(), tile.columns, panels);
            let product = Product {
                m,
                n: range.len(),
                k,
                a: Left::rows(&a[a_at..], k),
                b: panels,
                bias: Bias::None,
                alpha: 1.0,
                activation: Activation::None,
                residual: None,
                out_row: n,
            };
            for row in (0..m).step_by(BLOCK_ROWS) {
                // SAFETY: the offsets were checked; the blocks of different jobs are disjoint, as the outputs of the batch and the
                // column ranges of one are.
                unsafe {
                    product.block(row..m.min(row + BLOCK_ROWS), 0..range.len(), target.get().add(out_at + start));
                }
            }
        });
    };
    if batch.len().saturating_mul(out_len).saturating_mul(k) < SMALL {
        (0..batch.len() * across).for_each(job);
    } else {
        pool.run(batch.len() * across, &job);
    }
}

/// rows * columns, or a panic that says why.
pub(crate) fn size(rows: usize, columns: usize) -> usize {
    rows.checked_mul(columns).unwrap_or_else(|| panic!("a matrix of {rows} x {columns} is too large"))
}

pub(crate) fn check(rows: usize, columns: usize, len: usize, name: &str) {
    assert!(size(rows, columns) == len, "`{name}` must have {rows} * {columns} elements, not {len}");
}

#[cfg(test)]
mod tests;
