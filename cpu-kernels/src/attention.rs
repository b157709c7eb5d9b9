//! Scaled dot-product attention in one pass: scores live in blocks that stay in the cache, never as a whole matrix.

mod rows;

use std::ops::Range;

use rten_simd::SimdOp;

use crate::gemm::kernel::{Bias, Block, Left, TileSize};
use crate::gemm::pack::{Plain, pack_columns, packed_len, with_scratch};
use crate::gemm::{Activation, SMALL};
use crate::pool::{Pool, SendPtr};
use rows::{Dots, MaskRow, Scale, SoftmaxRow, State, WeightedSum};

/// Queries of a block: their scores against a block of keys stay in the second cache.
const QUERIES: usize = 48;

/// Keys of a block. More keys than these are folded in block by block, with a running maximum and sum.
const KEYS: usize = 512;

/// With fewer queries, packing the keys would cost more than it saves.
const FEW_QUERIES: usize = 6;

/// Elements between batches, heads and rows of an operand; the elements of a row are neighbours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Strides {
    /// From one batch to the next.
    pub batch: usize,
    /// From one head to the next.
    pub head: usize,
    /// From one position to the next.
    pub row: usize,
}

impl Strides {
    /// Of a tensor [batch, heads, len, dim].
    pub fn bhsd(heads: usize, len: usize, dim: usize) -> Strides {
        Strides { batch: heads * len * dim, head: len * dim, row: dim }
    }

    /// Of a tensor [batch, len, heads, dim].
    pub fn bshd(heads: usize, len: usize, dim: usize) -> Strides {
        Strides { batch: heads * len * dim, head: dim, row: heads * dim }
    }

    fn at(&self, batch: usize, head: usize, row: usize) -> usize {
        batch * self.batch + head * self.head + row * self.row
    }

    /// Whether the last element of an operand of these sizes lies inside `len`.
    fn fit(&self, [batch, heads, rows, dim]: [usize; 4], len: usize) -> bool {
        if batch == 0 || heads == 0 || rows == 0 || dim == 0 {
            return true;
        }
        let parts = [(batch - 1, self.batch), (heads - 1, self.head), (rows - 1, self.row)];
        let end = parts.iter().try_fold(dim, |sum, &(count, stride)| sum.checked_add(count.checked_mul(stride)?));
        end.is_some_and(|end| end <= len)
    }
}

/// The sizes and layouts of an attention.
#[derive(Clone, Copy, Debug)]
pub struct AttentionShape {
    /// Number of sequences.
    pub batch: usize,
    /// Number of query heads.
    pub heads: usize,
    /// Number of key and value heads; divides `heads`, and head h reads key head `h / (heads / kv_heads)`.
    pub kv_heads: usize,
    /// Number of queries.
    pub q_len: usize,
    /// Number of keys.
    pub kv_len: usize,
    /// Length of a query and of a key.
    pub head_dim: usize,
    /// Length of a value.
    pub v_dim: usize,
    /// Layout of the queries.
    pub q: Strides,
    /// Layout of the keys.
    pub k: Strides,
    /// Layout of the values.
    pub v: Strides,
    /// Layout of the output.
    pub out: Strides,
    /// Multiplies the scores; usually 1 / sqrt(head_dim).
    pub scale: f32,
}

/// A mask added to the scaled scores; a stride of 0 broadcasts.
#[derive(Clone, Copy, Debug)]
pub struct Mask<'a> {
    /// The values, usually 0 and a large negative number or minus infinity.
    pub data: &'a [f32],
    /// From one batch to the next.
    pub batch: usize,
    /// From one head to the next.
    pub head: usize,
    /// From one query to the next.
    pub q: usize,
    /// From one key to the next.
    pub k: usize,
}

impl Mask<'_> {
    fn fits(&self, s: &AttentionShape) -> bool {
        let parts = [(s.batch, self.batch), (s.heads, self.head), (s.q_len, self.q), (s.kv_len, self.k)];
        if parts.iter().any(|&(count, _)| count == 0) {
            return true;
        }
        let end = parts.iter().try_fold(1usize, |sum, &(n, stride)| sum.checked_add((n - 1).checked_mul(stride)?));
        end.is_some_and(|end| end <= self.data.len())
    }
}

/// `out = softmax(scale * q k^T + mask) v`, for every batch and head. With `causal` = the number of keys that precede the first
/// query, query i sees the keys up to `i + causal`. A query that sees no key gets zeros. The rows of the output must not overlap.
pub fn attention(
    pool: &Pool,
    shape: &AttentionShape,
    q: &[f32],
    k: &[f32],
    v: &[f32],
    mask: Option<Mask>,
    causal: Option<usize>,
    out: &mut [f32],
) {
    let s = shape;
    assert!(s.heads == 0 || (s.kv_heads > 0 && s.heads % s.kv_heads == 0), "kv_heads must divide heads");
    assert!(s.q.fit([s.batch, s.heads, s.q_len, s.head_dim], q.len()), "the queries are shorter than their shape");
    assert!(s.k.fit([s.batch, s.kv_heads, s.kv_len, s.head_dim], k.len()), "the keys are shorter than their shape");
    assert!(s.v.fit([s.batch, s.kv_heads, s.kv_len, s.v_dim], v.len()), "the values are shorter than their shape");
    assert!(s.out.fit([s.batch, s.heads, s.q_len, s.v_dim], out.len()), "the output is shorter than its shape");
    assert!(mask.is_none_or(|m| m.fits(s)), "the mask is shorter than its shape");
    assert!(disjoint(s), "the rows of the output overlap");
    let total = s.batch * s.heads;
    if total == 0 || s.q_len == 0 || s.v_dim == 0 {
        return;
    }
    assert!(s.head_dim > 0, "head_dim must not be 0");
    let parts = (3 * pool.threads()).div_ceil(total).min(s.q_len.div_ceil(QUERIES)).max(1);
    let parts = if pool.threads() == 1 { 1 } else { parts };
    let rows = s.q_len.div_ceil(parts).div_ceil(12) * 12;
    let parts = s.q_len.div_ceil(rows);
    let target = SendPtr(out.as_mut_ptr());
    let job = |i: usize| {
        let (batch, head) = (i / parts / s.heads, i / parts % s.heads);
        let first = i % parts * rows;
        let kv_head = head / (s.heads / s.kv_heads);
        let head = Head {
            shape: s,
            q: &q[s.q.at(batch, head, 0)..],
            k: &k[s.k.at(batch, kv_head, 0).min(k.len())..],
            v: &v[s.v.at(batch, kv_head, 0).min(v.len())..],
            mask: mask.map(|m| Mask { data: &m.data[(batch * m.batch + head * m.head).min(m.data.len())..], ..m }),
            causal,
            // SAFETY: the head's first row lies in the output, whose shape was checked.
            out: unsafe { target.get().add(s.out.at(batch, head, 0)) },
        };
        let queries = first..s.q_len.min(first + rows);
        // SAFETY: the rows of different heads and queries are disjoint and inside the output.
        unsafe { if s.q_len < FEW_QUERIES { head.few(queries) } else { head.many(queries) } }
    };
    let work = (s.head_dim + s.v_dim).saturating_mul(s.kv_len).saturating_mul(s.q_len).saturating_mul(total);
    if work < SMALL {
        (0..total * parts).for_each(job);
    } else {
        pool.run(total * parts, &job);
    }
}

/// Whether no two rows of the output share an element: each stride passes over all that the smaller ones cover.
fn disjoint(s: &AttentionShape) -> bool {
    if s.batch == 0 || s.heads == 0 || s.q_len == 0 {
        return true;
    }
    let mut axes = [(s.out.batch, s.batch), (s.out.head, s.heads), (s.out.row, s.q_len)];
    axes.sort_unstable();
    let mut covered = s.v_dim;
    for (stride, count) in axes {
        if count > 1 {
            if stride < covered {
                return false;
            }
            covered = match stride.checked_mul(count - 1).and_then(|end| end.checked_add(covered)) {
                Some(end) => end,
                None => return false,
            };
        }
    }
    true
}

/// One head of one batch; the slices start at its first row.
struct Head<'a> {
    shape: &'a AttentionShape,
    q: &'a [f32],
    k: &'a [f32],
    v: &'a [f32],
    mask: Option<Mask<'a>>,
    causal: Option<usize>,
    out: *mut f32,
}

impl Head<'_> {
    /// How many keys query `i` sees.
    fn visible(&self, i: usize) -> usize {
        let all = self.shape.kv_len;
        self.causal.map_or(all, |past| all.min(i.saturating_add(past).saturating_add(1)))
    }

    /// The mask of query `i` for the keys in `keys`.
    fn mask(&self, i: usize, keys: Range<usize>) -> MaskRow<'_> {
        match &self.mask {
            None => MaskRow::None,
            _ if keys.is_empty() => MaskRow::None,
            Some(m) if m.k == 0 => MaskRow::All(m.data[i * m.q]),
            Some(m) if m.k == 1 => MaskRow::Each(&m.data[i * m.q..][keys]),
            Some(m) => MaskRow::Strided(&m.data[i * m.q + keys.start * m.k..], m.k),
        }
    }

    /// # Safety
    ///
    /// The rows `queries` of `out` must be this call's own.
    unsafe fn row<'b>(&self, i: usize) -> &'b mut [f32] {
        // SAFETY: as the caller says; the shape was checked.
        unsafe { std::slice::from_raw_parts_mut(self.out.add(i * self.shape.out.row), self.shape.v_dim) }
    }

    /// Query by query, straight from the keys and values.
    ///
    /// # Safety
    ///
    /// The rows `queries` of `out` must be this call's own.
    unsafe fn few(&self, queries: Range<usize>) {
        let s = self.shape;
        with_scratch(s.kv_len, |scores| {
            for i in queries {
                let keys = self.visible(i);
                let scores = &mut scores[..keys];
                let q = &self.q[i * s.q.row..][..s.head_dim];
                Dots { q, k: self.k, stride: s.k.row, out: scores }.dispatch();
                let mut state = State::default();
                SoftmaxRow { row: scores, scale: s.scale, mask: self.mask(i, 0..keys), state: &mut state }.dispatch();
                // SAFETY: as the caller says.
                let out = unsafe { self.row(i) };
                WeightedSum { weights: scores, v: self.v, stride: s.v.row, factor: state.inverse(), out }.dispatch();
            }
        });
    }

    /// Block by block, with packed keys and values.
    ///
    /// # Safety
    ///
    /// The rows `queries` of `out` must be this call's own.
    unsafe fn many(&self, queries: Range<usize>) {
        let s = self.shape;
        let tile = TileSize::here();
        let keys = s.kv_len.min(KEYS);
        let width = keys.div_ceil(16) * 16;
        let sizes =
            [packed_len(s.head_dim, keys, tile), packed_len(keys, s.v_dim, tile), QUERIES * width, QUERIES * s.v_dim];
        let mut states = vec![State::default(); queries.len()];
        with_scratch(sizes.iter().sum(), |scratch| {
            let (k_pack, rest) = scratch.split_at_mut(sizes[0]);
            let (v_pack, rest) = rest.split_at_mut(sizes[1]);
            let (scores, part) = rest.split_at_mut(sizes[2]);
            let seen = queries.clone().next_back().map_or(0, |last| self.visible(last));
            if seen == 0 {
                for i in queries.clone() {
                    // SAFETY: as the caller says.
                    unsafe { self.row(i) }.fill(0.0);
                }
            }
            for start in (0..seen).step_by(keys.max(1)) {
                let end = seen.min(start + keys);
                let count = end - start;
                let k = Plain { data: &self.k[start * s.k.row..], row: s.k.row, transposed: true };
                pack_columns(k, s.head_dim, 0..count, tile.columns, &mut k_pack[..packed_len(s.head_dim, count, tile)]);
                let v = Plain { data: &self.v[start * s.v.row..], row: s.v.row, transposed: false };
                pack_columns(v, count, 0..s.v_dim, tile.columns, &mut v_pack[..packed_len(count, s.v_dim, tile)]);
                for first in queries.clone().step_by(QUERIES) {
                    let rows = first..queries.end.min(first + QUERIES);
                    // All that the block's last query sees of these keys.
                    let shown = self.visible(rows.end - 1).min(end).saturating_sub(start);
                    if shown == 0 && start > 0 {
                        continue;
                    }
                    let a = Left::rows(&self.q[first * s.q.row..], s.q.row);
                    // SAFETY: the queries, the packed keys and the scores have these sizes.
                    unsafe {
                        product(a, rows.len(), k_pack, s.head_dim, s.head_dim, shown, scores.as_mut_ptr(), width);
                    }
                    for i in rows.clone() {
                        let row = &mut scores[(i - first) * width..][..shown];
                        let own = self.visible(i).clamp(start, start + shown) - start;
                        row[own..].fill(0.0);
                        let state = &mut states[i - queries.start];
                        let mask = self.mask(i, start..start + own);
                        SoftmaxRow { row: &mut row[..own], scale: s.scale, mask, state }.dispatch();
                    }
                    let a = Left::rows(scores, width);
                    if start == 0 {
                        // SAFETY: the scores and the packed values have these sizes; the output rows are the caller's.
                        unsafe {
                            let home = self.out.add(first * s.out.row);
                            product(a, rows.len(), v_pack, shown, count, s.v_dim, home, s.out.row);
                        }
                    } else {
                        // SAFETY: as above, with `part` as the output.
                        unsafe { product(a, rows.len(), v_pack, shown, count, s.v_dim, part.as_mut_ptr(), s.v_dim) };
                        for i in rows {
                            let part = &part[(i - first) * s.v_dim..][..s.v_dim];
                            // SAFETY: as the caller says.
                            let out = unsafe { self.row(i) };
                            Scale { out, factor: states[i - queries.start].correction, add: Some(part) }.dispatch();
                        }
                    }
                }
            }
            if seen > 0 {
                for i in queries.clone() {
                    // SAFETY: as the caller says.
                    let out = unsafe { self.row(i) };
                    Scale { out, factor: states[i - queries.start].inverse(), add: None }.dispatch();
                }
            }
        });
    }
}

/// `out` [rows, n] = `a` [rows, k] times packed panels of depth `depth`.
///
/// # Safety
///
/// `a` must be readable at `rows` rows of `k`, `b` hold n columns packed `depth >= k` deep, and `out` be writable at `rows` rows
/// of n, `out_row` apart.
unsafe fn product(a: Left, rows: usize, b: &[f32], k: usize, depth: usize, n: usize, out: *mut f32, out_row: usize) {
    let width = TileSize::here().columns;
    Block {
        a,
        rows: 0..rows,
        b: b.as_ptr(),
        b_step: width,
        b_panel: width * depth,
        columns: 0..n,
        k,
        out,
        out_row,
        alpha: 1.0,
        bias: Bias::None,
        activation: Activation::None,
        residual: None,
    }
    .dispatch();
}

#[cfg(test)]
mod tests;
