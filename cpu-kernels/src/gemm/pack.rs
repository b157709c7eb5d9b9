//! Packed storage: panels of a tile's columns (or rows), side by side for each p, in memory aligned to cache lines.

use std::cell::Cell;
use std::ops::Range;

use super::kernel::{Left, TileSize};
use crate::pool::Pool;

/// One cache line.
#[derive(Clone, Copy, bytemuck::Zeroable, bytemuck::Pod)]
#[repr(C, align(64))]
struct Line([f32; 16]);

/// Floats that start at a cache line.
#[derive(Clone, Default)]
pub(crate) struct Aligned {
    lines: Vec<Line>,
}

impl Aligned {
    pub(crate) fn zeroed(len: usize) -> Aligned {
        Aligned { lines: vec![bytemuck::Zeroable::zeroed(); len.div_ceil(16)] }
    }

    fn grow(&mut self, len: usize) {
        if self.lines.len() * 16 < len {
            *self = Aligned::zeroed(len);
        }
    }

    pub(crate) fn floats(&self) -> &[f32] {
        bytemuck::cast_slice(&self.lines)
    }

    pub(crate) fn floats_mut(&mut self) -> &mut [f32] {
        bytemuck::cast_slice_mut(&mut self.lines)
    }
}

thread_local! {
    static SCRATCH: Cell<Aligned> = const { Cell::new(Aligned { lines: Vec::new() }) };
    static ROWS: Cell<Aligned> = const { Cell::new(Aligned { lines: Vec::new() }) };
}

/// Calls `f` with `len` floats of this thread's scratch memory, whose content is arbitrary.
pub(crate) fn with_scratch<R>(len: usize, f: impl FnOnce(&mut [f32]) -> R) -> R {
    // Taken for the time of the call: a call inside the call finds an empty one.
    let mut scratch = SCRATCH.take();
    scratch.grow(len);
    let result = f(&mut scratch.floats_mut()[..len]);
    SCRATCH.set(scratch);
    result
}

/// This thread's memory for copies of rows, lent to the kernel. (A guard instead of a closure, for the kernel must be inlined where
/// its instruction set is enabled.)
pub(super) struct RowCopy(Aligned);

impl RowCopy {
    /// At least `len` floats of arbitrary content.
    pub(super) fn take(len: usize) -> RowCopy {
        let mut memory = ROWS.take();
        memory.grow(len);
        RowCopy(memory)
    }

    pub(super) fn floats(&mut self) -> &mut [f32] {
        self.0.floats_mut()
    }
}

impl Drop for RowCopy {
    fn drop(&mut self) {
        ROWS.set(std::mem::take(&mut self.0));
    }
}

/// A matrix in row-major storage of `row` floats a row, read as [k, n]; `transposed` where it is stored as [n, k].
#[derive(Clone, Copy)]
pub(crate) struct Plain<'a> {
    pub(crate) data: &'a [f32],
    pub(crate) row: usize,
    pub(crate) transposed: bool,
}

/// Packs `columns` of a [k, n] matrix into panels of `width` columns; the last is filled up with zeros.
/// `out` is `panels * k * width` long.
pub(crate) fn pack_columns(b: Plain<'_>, k: usize, columns: Range<usize>, width: usize, out: &mut [f32]) {
    if k == 0 {
        return;
    }
    for (panel, start) in out.chunks_exact_mut(k * width).zip(columns.clone().step_by(width)) {
        let count = width.min(columns.end - start);
        if b.transposed {
            if count < width {
                panel.fill(0.0);
            }
            // Small squares, so that the written lines stay in the first cache.
            for p in (0..k).step_by(16) {
                let depth = 16.min(k - p);
                for c in 0..count {
                    let from = &b.data[(start + c) * b.row + p..][..depth];
                    for (to, &x) in panel[p * width + c..].iter_mut().step_by(width).zip(from) {
                        *to = x;
                    }
                }
            }
        } else {
            for (p, line) in panel.chunks_exact_mut(width).enumerate() {
                line[..count].copy_from_slice(&b.data[p * b.row + start..][..count]);
                line[count..].fill(0.0);
            }
        }
    }
}

/// The floats that `columns` columns take when packed.
pub(crate) fn packed_len(k: usize, columns: usize, tile: TileSize) -> usize {
    columns.div_ceil(tile.columns) * tile.columns * k
}

/// Packs a whole [k, n] matrix, in parallel.
pub(crate) fn pack_all(pool: &Pool, b: Plain<'_>, k: usize, n: usize, tile: TileSize, out: &mut [f32]) {
    if k == 0 {
        return;
    }
    pool.for_chunks_mut(&mut out[..packed_len(k, n, tile)], k * tile.columns, |i, panel| {
        let start = i * tile.columns;
        pack_columns(b, k, start..n.min(start + tile.columns), tile.columns, panel);
    });
}

/// Floats that [`PackedB::pack_rows`] asks for at once.
const ROWS_AT_ONCE: usize = 32 << 10;

/// The weights [k, n] of a product, packed once for this machine's kernel.
#[derive(Clone)]
pub struct PackedB {
    pub(crate) panels: Aligned,
    k: usize,
    n: usize,
}

impl std::fmt::Debug for PackedB {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PackedB([{}, {}])", self.k, self.n)
    }
}

impl PackedB {
    /// Packs `b`, row-major [k, n] or, where `transposed`, row-major [n, k].
    pub fn pack(b: &[f32], k: usize, n: usize, transposed: bool) -> PackedB {
        assert!(k.checked_mul(n) == Some(b.len()), "the weights must have k * n = {k} * {n} elements, not {}", b.len());
        let tile = TileSize::here();
        let mut panels = Aligned::zeroed(packed_len(k, n, tile));
        let plain = Plain { data: b, row: if transposed { k } else { n }, transposed };
        let len = packed_len(k, n, tile);
        pack_columns(plain, k, 0..n, tile.columns, &mut panels.floats_mut()[..len]);
        PackedB { panels, k, n }
    }

    /// As [`PackedB::pack`], of weights that are stored in another form: `read(i, rows)` fills `rows` with the stored rows from
    /// the `i`-th on. Only a few are held at once.
    pub fn pack_rows(k: usize, n: usize, transposed: bool, mut read: impl FnMut(usize, &mut [f32])) -> PackedB {
        let tile = TileSize::here();
        let width = tile.columns;
        let mut panels = Aligned::zeroed(packed_len(k, n, tile));
        let out = &mut panels.floats_mut()[..packed_len(k, n, tile)];
        if out.is_empty() {
            return PackedB { panels, k, n };
        }
        // A panel's columns, or as many rows as stay in a second-level cache.
        let most = if transposed { width } else { (ROWS_AT_ONCE / n).clamp(1, k) };
        let (count, len) = if transposed { (n, k) } else { (k, n) };
        let mut buffer = vec![0f32; most * len];
        for first in (0..count).step_by(most) {
            let rows = &mut buffer[..most.min(count - first) * len];
            read(first, rows);
            if transposed {
                let panel = &mut out[first * k..][..width * k];
                pack_columns(Plain { data: rows, row: k, transposed }, k, 0..rows.len() / k, width, panel);
                continue;
            }
            for (panel, start) in out.chunks_exact_mut(k * width).zip((0..n).step_by(width)) {
                let used = width.min(n - start);
                for (line, row) in panel[first * width..].chunks_exact_mut(width).zip(rows.chunks_exact(n)) {
                    line[..used].copy_from_slice(&row[start..][..used]);
                }
            }
        }
        PackedB { panels, k, n }
    }

    /// The inner dimension.
    pub fn k(&self) -> usize {
        self.k
    }

    /// The number of columns.
    pub fn n(&self) -> usize {
        self.n
    }

    /// The memory that the packed weights take.
    pub fn bytes(&self) -> usize {
        size_of_val(self.panels.floats())
    }
}

/// The weights [m, k] of a product on its left side, in panels of a tile's rows.
#[derive(Clone)]
pub(crate) struct PackedA {
    panels: Aligned,
    rows: usize,
}

impl PackedA {
    /// Packs `a`, row-major [m, k].
    pub(crate) fn pack(a: &[f32], m: usize, k: usize) -> PackedA {
        let rows = TileSize::here().rows;
        let len = m.div_ceil(rows) * rows * k;
        let mut panels = Aligned::zeroed(len);
        pack_columns(Plain { data: a, row: k, transposed: true }, k, 0..m, rows, &mut panels.floats_mut()[..len]);
        PackedA { panels, rows }
    }
    /// The memory that the packed weights take.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(self.panels.floats())
    }

    /// The operand for the kernel; k as it was packed.
    pub(crate) fn left(&self, k: usize) -> Left {
        Left { data: self.panels.floats().as_ptr(), row: 1, step: self.rows, panel: self.rows * k }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_that_are_read_by_rows_are_packed_as_whole_ones_are() {
        let width = TileSize::here().columns;
        for (k, n) in [(1, 1), (3, width), (17, width + 1), (40, 2 * width - 3), (300, 333), (0, 4), (4, 0)] {
            let weights: Vec<f32> = (0..k * n).map(|i| i as f32 + 1.0).collect();
            for transposed in [false, true] {
                let whole = PackedB::pack(&weights, k, n, transposed);
                let row = if transposed { k } else { n };
                let by_rows = PackedB::pack_rows(k, n, transposed, |first, rows| {
                    rows.copy_from_slice(&weights[first * row..][..rows.len()]);
                });
                assert_eq!(whole.panels.floats(), by_rows.panels.floats(), "{k} x {n}, transposed: {transposed}");
                assert_eq!((by_rows.k(), by_rows.n(), by_rows.bytes()), (k, n, whole.bytes()));
            }
        }
    }
}
