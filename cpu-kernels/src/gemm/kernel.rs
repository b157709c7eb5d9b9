//! The micro-kernel: a tile of the output in registers, rows broadcast from A, vectors of columns from packed B.

use rten_simd::ops::{BitOps, NumOps};
use rten_simd::{Isa, SimdOp};

use super::epilogue::{Activation, Finish, RowBias};
use super::pack::RowCopy;

/// The widest tile in rows and in columns, over all instruction sets.
const MAX_ROWS: usize = 12;
const MAX_COLUMNS: usize = 32;

/// Depth of a block of K, at most: a panel of B fills the first cache, the rows of a block half the second.
const DEPTH: usize = 512;

/// Columns after which the epilogue follows, while the rows that it finishes are in the second cache.
const FINISHED: usize = 128;

/// Columns from which on packing the rows first pays.
const WIDE: usize = 512;

/// The size of a tile on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TileSize {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
}

impl TileSize {
    pub(crate) fn here() -> TileSize {
        struct Lanes;
        impl SimdOp for Lanes {
            type Output = usize;

            #[inline(always)]
            fn eval<I: Isa>(self, isa: I) -> usize {
                isa.f32().len()
            }
        }
        let lanes = Lanes.dispatch();
        TileSize { rows: if lanes >= 16 { 12 } else { 6 }, columns: 2 * lanes }
    }
}

/// The left operand. Element (i, p) of plain storage is at `i * row + p * step`; packed storage holds panels of a tile's rows
/// (`panel` elements apart), and in them the rows side by side for each p.
#[derive(Clone, Copy)]
pub(crate) struct Left {
    pub(crate) data: *const f32,
    pub(crate) row: usize,
    pub(crate) step: usize,
    pub(crate) panel: usize,
}

// SAFETY: the pointer is only read, inside calls whose caller vouches for it.
unsafe impl Sync for Left {}

impl Left {
    pub(crate) fn rows(data: &[f32], stride: usize) -> Left {
        Left { data: data.as_ptr(), row: stride, step: 1, panel: 0 }
    }

    /// Whether an element's neighbour is that of the next p, and not that of the next row.
    #[inline(always)]
    fn is_along_rows(&self) -> bool {
        debug_assert!(self.step == 1 || self.row == 1);
        self.step == 1
    }

    /// The offset of element (i, p). (In packed storage i is the first row of a tile.)
    #[inline(always)]
    fn at(&self, i: usize, p: usize, tile_rows: usize) -> usize {
        if self.panel == 0 { i * self.row + p * self.step } else { i / tile_rows * self.panel + p * self.step }
    }
}

/// The bias that the first store of a tile starts from.
#[derive(Clone, Copy)]
pub(crate) enum Bias<'a> {
    None,
    /// One for each column of the whole output.
    Columns(&'a [f32]),
    /// One for each row of the whole output.
    Rows(&'a [f32]),
}

/// A block of the product: rows `rows` and column panels `panels` of `out = a * b`, with the epilogue.
///
/// # Safety
///
/// To dispatch this operation, `a` must be readable at all its rows and all `k`; `b` must hold the panels, for each
/// p a tile's columns side by side; `out` must be writable at the block's rows and columns, and nobody else may use that part meanwhile.
#[derive(Clone)]
pub(crate) struct Block<'a> {
    pub(crate) a: Left,
    pub(crate) rows: std::ops::Range<usize>,
    /// The first panel of this block.
    pub(crate) b: *const f32,
    /// From one p to the next in a panel, and from one panel to the next.
    pub(crate) b_step: usize,
    pub(crate) b_panel: usize,
    pub(crate) columns: std::ops::Range<usize>,
    pub(crate) k: usize,
    pub(crate) out: *mut f32,
    pub(crate) out_row: usize,
    pub(crate) alpha: f32,
    pub(crate) bias: Bias<'a>,
    pub(crate) activation: Activation,
    pub(crate) residual: Option<&'a [f32]>,
}

impl SimdOp for Block<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<I: Isa>(self, isa: I) {
        let lanes = isa.f32().len();
        if self.rows.is_empty() || self.columns.is_empty() {
            return;
        }
        let early_bias = self.alpha == 1.0;
        let depth = if self.k == 0 { 1 } else { self.k.div_ceil(self.k.div_ceil(DEPTH)) };
        let mut p = 0;
        loop {
            let end = self.k.min(p + depth);
            if lanes >= 16 {
                self.turned_slab::<I, 12>(isa, p, end, early_bias);
            } else {
                self.turned_slab::<I, 6>(isa, p, end, early_bias);
            }
            p = end;
            if p >= self.k {
                break;
            }
        }
    }
}

impl Block<'_> {
    /// [`Block::slab`], with a packed copy of A's rows where that pays: where many columns follow, or where the rows lie so far apart
    /// that they would fall on the same lines of the caches.
    #[inline(always)]
    fn turned_slab<I: Isa, const MR: usize>(&self, isa: I, p: usize, end: usize, early_bias: bool) {
        let pays = self.columns.len() >= WIDE || self.columns.len() >= 64 && self.a.row.is_multiple_of(512);
        let plain = self.a.panel == 0 && self.a.is_along_rows();
        if !plain || !pays || self.rows.len() < 4 * MR || p == end {
            return self.slab::<I, MR>(isa, p, end, early_bias);
        }
        let panel = (end - p) * MR;
        let mut copy = RowCopy::take(self.rows.len().div_ceil(MR) * panel);
        for (i, copy) in self.rows.clone().step_by(MR).zip(copy.floats().chunks_exact_mut(panel)) {
            let last = self.rows.end - 1;
            let mut rows: [&[f32]; MR] = [&[]; MR];
            for (r, row) in rows.iter_mut().enumerate() {
                // What stands for the rows that a short tile lacks is never used.
                let from = self.a.data.wrapping_add((i + r).min(last) * self.a.row + p);
                // SAFETY: the caller of the block vouches for A at this row and all of k.
                *row = unsafe { std::slice::from_raw_parts(from, end - p) };
            }
            for (d, line) in copy.chunks_exact_mut(MR).enumerate() {
                for r in 0..MR {
                    line[r] = rows[r][d];
                }
            }
        }
        let first = self.rows.start / MR * panel + p * MR;
        let a = Left { data: copy.floats().as_ptr().wrapping_sub(first), row: 1, step: MR, panel };
        Block { a, ..self.clone() }.slab::<I, MR>(isa, p, end, early_bias);
    }

    /// Adds the products over `p..end` to the block; the epilogue follows those of the last p.
    #[inline(always)]
    fn slab<I: Isa, const MR: usize>(&self, isa: I, p: usize, end: usize, early_bias: bool) {
        let nr = 2 * isa.f32().len();
        let mut j = self.columns.start;
        let mut panel = self.b;
        let few = self.rows.len() <= 2;
        let mut finished = j;
        while j < self.columns.end {
            let left = self.columns.end - j;
            // With one or two rows a single panel leaves the multipliers waiting: take four or two at a time.
            let wide = match self.rows.len() {
                1 if left >= 4 * nr => 4,
                2 if left >= 2 * nr => 2,
                _ => 1,
            };
            // SAFETY: the caller of the block vouches for the panels; `j` is inside the columns.
            let b = unsafe { panel.add(p * self.b_step) };
            // The next panel is fetched while the tiles of this one use it: weights of whole models don't stay in the caches.
            let hop = if few { 0 } else { (4 * nr).div_ceil(self.rows.len().div_ceil(MR)) };
            let mut tile = Tile { block: self, p, end, j, b, early_bias, next: b.wrapping_add(self.b_panel), hop };
            if few && wide > 1 {
                if wide == 4 {
                    tile.run::<I, 1, 8>(isa, self.rows.start);
                } else {
                    tile.run::<I, 2, 4>(isa, self.rows.start);
                }
            } else {
                let mut i = self.rows.start;
                while i < self.rows.end {
                    let left = self.rows.end - i;
                    // Two even tiles instead of a full one and a small rest. (Packed rows lie in full tiles.)
                    let take =
                        if self.a.panel == 0 && left > MR && left < MR + MR / 2 { left / 2 } else { left.min(MR) };
                    tile.run_rows::<I, MR>(isa, i, take);
                    tile.next = tile.next.wrapping_add((end - p) / 4 * hop);
                    i += take;
                }
            }
            j += wide * nr;
            panel = panel.wrapping_add(wide * self.b_panel);
            if end == self.k && (j - finished >= FINISHED || j >= self.columns.end) {
                let done = j.min(self.columns.end);
                self.finish(isa, finished..done, early_bias);
                finished = done;
            }
        }
    }

    /// Applies what the tiles of these columns have not: scale and late bias, activation, residual.
    #[inline(always)]
    fn finish<I: Isa>(&self, isa: I, columns: std::ops::Range<usize>, early_bias: bool) {
        if early_bias && self.activation == Activation::None && self.residual.is_none() {
            return;
        }
        for i in self.rows.clone() {
            let start = i * self.out_row + columns.start;
            // SAFETY: the row's part lies in the block, which is this call's own.
            let row = unsafe { std::slice::from_raw_parts_mut(self.out.add(start), columns.len()) };
            let bias = match self.bias {
                _ if early_bias => RowBias::None,
                Bias::None => RowBias::None,
                Bias::Columns(bias) => RowBias::Each(&bias[columns.clone()]),
                Bias::Rows(bias) => RowBias::All(bias[i]),
            };
            let residual = self.residual.map(|r| &r[start..start + columns.len()]);
            Finish { row, alpha: self.alpha, bias, activation: self.activation, residual }.eval(isa);
        }
    }
}

/// The tiles of one panel (or of a few side by side).
struct Tile<'a> {
    block: &'a Block<'a>,
    p: usize,
    end: usize,
    j: usize,
    b: *const f32,
    early_bias: bool,
    /// What is prefetched, and the floats by which that advances with four p.
    next: *const f32,
    hop: usize,
}

impl Tile<'_> {
    /// The tile of `count` rows from row `i` on.
    #[inline(always)]
    fn run_rows<I: Isa, const MR: usize>(&self, isa: I, i: usize, count: usize) {
        match count {
            1 => self.run::<I, 1, 2>(isa, i),
            2 => self.run::<I, 2, 2>(isa, i),
            3 => self.run::<I, 3, 2>(isa, i),
            4 => self.run::<I, 4, 2>(isa, i),
            5 => self.run::<I, 5, 2>(isa, i),
            6 => self.run::<I, 6, 2>(isa, i),
            7 if MR > 6 => self.run::<I, 7, 2>(isa, i),
            8 if MR > 6 => self.run::<I, 8, 2>(isa, i),
            9 if MR > 6 => self.run::<I, 9, 2>(isa, i),
            10 if MR > 6 => self.run::<I, 10, 2>(isa, i),
            11 if MR > 6 => self.run::<I, 11, 2>(isa, i),
            12 if MR > 6 => self.run::<I, 12, 2>(isa, i),
            _ => unreachable!("a tile has at most {MAX_ROWS} rows"),
        }
    }

    /// One tile of `M` rows and `V` vectors of columns.
    #[inline(always)]
    fn run<I: Isa, const M: usize, const V: usize>(&self, isa: I, i: usize) {
        let ops = isa.f32();
        let lanes = ops.len();
        let block = self.block;
        let tile_rows = if lanes >= 16 { 12 } else { 6 };
        let whole = block.columns.end - self.j >= V * lanes;
        let mut edge = std::mem::MaybeUninit::<[f32; MAX_ROWS * MAX_COLUMNS]>::uninit();
        let spare = if whole { 0 } else { block.columns.end - self.j };
        // SAFETY: the tile's first element lies in the block.
        let home = unsafe { block.out.add(i * block.out_row + self.j) };
        let (c, c_row) = if whole { (home, block.out_row) } else { (edge.as_mut_ptr().cast::<f32>(), V * lanes) };

        let mut acc = [[ops.zero(); V]; M];
        if self.p > 0 {
            if !whole {
                edge.write([0.0; MAX_ROWS * MAX_COLUMNS]);
                for r in 0..M {
                    // SAFETY: `spare` columns of the block's row; the edge tile has room for more.
                    unsafe { std::ptr::copy_nonoverlapping(home.add(r * block.out_row), c.add(r * c_row), spare) };
                }
            }
            for r in 0..M {
                for v in 0..V {
                    // SAFETY: a whole tile lies in the block, another one in the edge tile.
                    acc[r][v] = unsafe { ops.load_ptr(c.add(r * c_row + v * lanes)) };
                }
            }
        } else if self.early_bias {
            match block.bias {
                Bias::None => {}
                Bias::Columns(bias) => {
                    for v in 0..V {
                        let start = (self.j + v * lanes).min(bias.len());
                        let (x, _) = ops.load_pad(&bias[start..bias.len().min(start + lanes)]);
                        for r in 0..M {
                            acc[r][v] = x;
                        }
                    }
                }
                Bias::Rows(bias) => {
                    for r in 0..M {
                        acc[r] = [ops.splat(bias[i + r]); V];
                    }
                }
            }
        }

        let a = block.a.data.wrapping_add(block.a.at(i, self.p, tile_rows));
        let (row, step) = (block.a.row, block.a.step);
        let (mut b, mut next) = (self.b, self.next);
        // Adds the products of row r's element at `$a` with the vectors at `b`. (A closure would lose the instruction set; wrapping
        // arithmetic costs no checks where a build has them.)
        macro_rules! multiply {
            ($r:ident, $a:expr) => {
                let mut columns = [ops.zero(); V];
                for v in 0..V {
                    let from = b.wrapping_add((v / 2).wrapping_mul(block.b_panel)).wrapping_add(v % 2 * lanes);
                    // SAFETY: inside panel v / 2 at a depth below k.
                    columns[v] = unsafe { ops.load_ptr(from) };
                }
                for $r in 0..M {
                    // SAFETY: row i + r of A at a depth below k.
                    let x = ops.splat(unsafe { $a.read_unaligned() });
                    for v in 0..V {
                        acc[$r][v] = ops.mul_add(x, columns[v], acc[$r][v]);
                    }
                }
                b = b.wrapping_add(block.b_step);
            };
        }
        macro_rules! fetch {
            () => {
                prefetch(next);
                if self.hop > 16 {
                    prefetch(next.wrapping_add(16));
                    prefetch(next.wrapping_add(32));
                    prefetch(next.wrapping_add(48));
                }
                next = next.wrapping_add(self.hop);
            };
        }
        // Four p at a time, so that pointers move and the loop is tested seldom.
        let (fours, rest) = ((self.end - self.p) / 4, (self.end - self.p) % 4);
        if block.a.is_along_rows() {
            // Each third row has a pointer of its own; an address holds the other rows' distance from it.
            let mut thirds = [a; MAX_ROWS / 3];
            for (t, third) in thirds.iter_mut().enumerate() {
                *third = a.wrapping_add(row.wrapping_mul(3 * t));
            }
            for _ in 0..fours {
                fetch!();
                multiply!(r, thirds[r / 3].wrapping_add(row.wrapping_mul(r % 3)));
                multiply!(r, thirds[r / 3].wrapping_add(row.wrapping_mul(r % 3)).wrapping_add(1));
                multiply!(r, thirds[r / 3].wrapping_add(row.wrapping_mul(r % 3)).wrapping_add(2));
                multiply!(r, thirds[r / 3].wrapping_add(row.wrapping_mul(r % 3)).wrapping_add(3));
                for third in &mut thirds {
                    *third = third.wrapping_add(4);
                }
            }
            for d in 0..rest {
                multiply!(r, thirds[r / 3].wrapping_add(row.wrapping_mul(r % 3)).wrapping_add(d));
            }
        } else {
            let mut a = a;
            for _ in 0..fours {
                fetch!();
                multiply!(r, a.wrapping_add(r));
                multiply!(r, a.wrapping_add(step).wrapping_add(r));
                multiply!(r, a.wrapping_add(step.wrapping_mul(2)).wrapping_add(r));
                multiply!(r, a.wrapping_add(step.wrapping_mul(3)).wrapping_add(r));
                a = a.wrapping_add(step.wrapping_mul(4));
            }
            for _ in 0..rest {
                multiply!(r, a.wrapping_add(r));
                a = a.wrapping_add(step);
            }
        }

        for r in 0..M {
            for v in 0..V {
                // SAFETY: as for the loads.
                unsafe { ops.store_ptr(acc[r][v], c.add(r * c_row + v * lanes)) };
            }
        }
        if !whole {
            for r in 0..M {
                // SAFETY: as above.
                unsafe { std::ptr::copy_nonoverlapping(c.add(r * c_row), home.add(r * block.out_row), spare) };
            }
        }
    }
}

/// Fetches a line of memory into the second cache. (A hint, at any address: beyond a buffer's end nothing happens.)
#[inline(always)]
fn prefetch(at: *const f32) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: prefetching reads nothing that the program sees, and never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}
