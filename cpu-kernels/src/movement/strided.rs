//! Everything that reads its input along strides: transpose, slice, expand, tile, depth to space and back.

use super::by_size;
use crate::error::KernelError;
use crate::pool::Pool;
use crate::shape::{Walk, expect_bytes, numel, strides};
use crate::split::SharedMut;

/// Elements per parallel piece.
const GRAIN: usize = 16 << 10;

/// An output of `dims` whose element at index i is the input's at `base + sum(i * strides)`.
struct Strided {
    dims: Vec<usize>,
    strides: Vec<isize>,
    base: isize,
}

impl Strided {
    /// Drops dimensions of 1 and merges neighbours that are walked as one.
    fn collapse(&mut self) {
        let (mut dims, mut strides): (Vec<usize>, Vec<isize>) = (vec![], vec![]);
        for (&n, &s) in self.dims.iter().zip(&self.strides).filter(|(n, _)| **n != 1) {
            match (dims.last_mut(), strides.last_mut()) {
                (Some(dim), Some(stride)) if *stride == s * n as isize => (*dim, *stride) = (*dim * n, s),
                _ => {
                    dims.push(n);
                    strides.push(s);
                }
            }
        }
        (self.dims, self.strides) = (dims, strides);
    }
}

fn copy<const E: usize>(pool: &Pool, mut from: Strided, x: &[u8], y: &mut [u8]) -> Result<(), KernelError> {
    let (x, y) = (x.as_chunks::<E>().0, y.as_chunks_mut::<E>().0);
    if y.is_empty() {
        return Ok(());
    }
    from.collapse();
    let (Some(inner), Some(stride)) = (from.dims.pop(), from.strides.pop()) else {
        y[0] = x[from.base as usize];
        return Ok(());
    };
    // Another dimension is contiguous in the input: read squares, not columns.
    if stride != 1
        && inner > 1
        && let Some(p) = from.strides.iter().position(|&s| s == 1).filter(|&p| from.dims[p] > 1)
    {
        squares(pool, &from, p, (inner, stride), x, y);
        return Ok(());
    }
    let y = SharedMut::new(y);
    let rows: usize = from.dims.iter().product();
    if rows == 1 && stride == 1 {
        pool.for_ranges(inner, 4 * GRAIN, &|r| {
            let at = from.base as usize;
            // SAFETY: `for_ranges` hands out disjoint ranges.
            unsafe { y.slice(r.clone()) }.copy_from_slice(&x[at + r.start..at + r.end]);
        });
        return Ok(());
    }
    // The rows of the last outer dimension are a fixed step apart: no walk for each.
    let (count, step) = match (from.dims.pop(), from.strides.pop()) {
        (Some(n), Some(s)) => (n, s),
        _ => (1, 0),
    };
    pool.for_ranges(rows, (GRAIN / inner).max(1), &|range| {
        // SAFETY: `for_ranges` hands out disjoint ranges of rows.
        let mut out = unsafe { y.slice(range.start * inner..range.end * inner) };
        let mut walk = Walk::new(&from.dims, [&from.strides], range.start / count);
        let mut skip = range.start % count;
        while !out.is_empty() {
            let (part, rest) = out.split_at_mut(out.len().min((count - skip) * inner));
            let mut at = from.base + walk.at[0] + skip as isize * step;
            for row in part.chunks_exact_mut(inner) {
                match stride {
                    1 => row.copy_from_slice(&x[at as usize..at as usize + inner]),
                    0 => row.fill(x[at as usize]),
                    _ => {
                        for (i, v) in row.iter_mut().enumerate() {
                            *v = x[(at + i as isize * stride) as usize];
                        }
                    }
                }
                at += step;
            }
            out = rest;
            skip = 0;
            walk.step();
        }
    });
    Ok(())
}

/// The output's innermost dimension (size, stride) is strided in the input, its dimension `p` contiguous: blocks of both are
/// transposed in turn, so that each cache line read is used whole.
fn squares<const E: usize>(
    pool: &Pool,
    from: &Strided,
    p: usize,
    (inner, stride): (usize, isize),
    x: &[[u8; E]],
    y: &mut [[u8; E]],
) {
    const SIDE: usize = 16;
    let mut out_dims = from.dims.clone();
    out_dims.push(inner);
    let out_strides: Vec<isize> = strides(&out_dims).iter().map(|&s| s as isize).collect();
    // The other dimensions, with their strides in both.
    let rest = |v: &[isize]| -> Vec<isize> { (0..from.dims.len()).filter(|&d| d != p).map(|d| v[d]).collect() };
    let (in_rest, out_rest) = (rest(&from.strides), rest(&out_strides));
    let dims: Vec<usize> = (0..from.dims.len()).filter(|&d| d != p).map(|d| from.dims[d]).collect();
    let (along, out_stride) = (from.dims[p], out_strides[p]);
    let outer: usize = dims.iter().product();
    let blocks = along.div_ceil(SIDE);
    let y = SharedMut::new(y);
    pool.for_ranges(outer * blocks, (GRAIN / (SIDE * inner)).max(1), &|range| {
        for unit in range {
            let walk = Walk::new(&dims, [&in_rest, &out_rest], unit / blocks);
            let (src, dst) = (from.base + walk.at[0], walk.at[1]);
            let first = unit % blocks * SIDE;
            for j0 in (0..inner).step_by(SIDE) {
                let (high, wide) = (SIDE.min(along - first), SIDE.min(inner - j0));
                let mut tile = [[[0u8; E]; SIDE]; SIDE];
                let start = src + first as isize + j0 as isize * stride;
                let line = |j: usize| &x[(start + j as isize * stride) as usize..];
                if (high, wide) == (SIDE, SIDE) {
                    for j in 0..SIDE {
                        if let Some(line) = line(j).first_chunk::<SIDE>() {
                            for i in 0..SIDE {
                                tile[i][j] = line[i];
                            }
                        }
                    }
                } else {
                    for j in 0..wide {
                        for (row, v) in tile.iter_mut().zip(&line(j)[..high]) {
                            row[j] = *v;
                        }
                    }
                }
                for (i, row) in tile.iter().enumerate().take(high) {
                    let to = (dst + (first + i) as isize * out_stride) as usize + j0;
                    // SAFETY: (outer index, i) names a row of the output, and each is of one unit.
                    unsafe { y.slice(to..to + wide) }.copy_from_slice(&row[..wide]);
                }
            }
        }
    });
}

fn run(
    pool: &Pool,
    elem: usize,
    from: Strided,
    x: (&[u8], &[usize]),
    y: (&mut [u8], &[usize]),
) -> Result<(), KernelError> {
    expect_bytes("the input", x.0, x.1, elem)?;
    expect_bytes("the output", y.0, y.1, elem)?;
    by_size!(elem, copy(pool, from, x.0, y.0))
}

fn signed_strides(shape: &[usize]) -> Vec<isize> {
    strides(shape).iter().map(|&s| s as isize).collect()
}

/// The shape with its dimensions in the order `perm`; fails unless that is a permutation.
pub fn transposed_shape(shape: &[usize], perm: &[usize]) -> Result<Vec<usize>, KernelError> {
    let mut seen = vec![false; shape.len()];
    let valid =
        perm.len() == shape.len() && perm.iter().all(|&p| p < seen.len() && !std::mem::replace(&mut seen[p], true));
    if !valid {
        return Err(KernelError::Setting(format!("{perm:?} is not a permutation of {} dimensions", shape.len())));
    }
    Ok(perm.iter().map(|&p| shape[p]).collect())
}

/// y's dimension d is x's dimension `perm[d]`.
pub fn transpose(
    pool: &Pool,
    elem: usize,
    shape: &[usize],
    perm: &[usize],
    x: &[u8],
    y: &mut [u8],
) -> Result<(), KernelError> {
    let dims = transposed_shape(shape, perm)?;
    let own = signed_strides(shape);
    let from = Strided { dims: dims.clone(), strides: perm.iter().map(|&p| own[p]).collect(), base: 0 };
    run(pool, elem, from, (x, shape), (y, &dims))
}

/// Broadcasts x of `shape` to `out_shape`.
pub fn expand(
    pool: &Pool,
    elem: usize,
    shape: &[usize],
    out_shape: &[usize],
    x: &[u8],
    y: &mut [u8],
) -> Result<(), KernelError> {
    let lead = out_shape.len().checked_sub(shape.len());
    let fits = lead.is_some_and(|lead| shape.iter().zip(&out_shape[lead..]).all(|(&a, &b)| a == b || a == 1));
    let (Some(lead), true) = (lead, fits) else {
        return Err(KernelError::shape(format!("{shape:?} does not expand to {out_shape:?}")));
    };
    let own = signed_strides(shape);
    let mut steps = vec![0; lead];
    steps.extend((0..shape.len()).map(|d| if shape[d] == 1 { 0 } else { own[d] }));
    let from = Strided { dims: out_shape.to_vec(), strides: steps, base: 0 };
    run(pool, elem, from, (x, shape), (y, out_shape))
}

/// Repeats x `repeats[d]` times along each dimension d.
pub fn tile(
    pool: &Pool,
    elem: usize,
    shape: &[usize],
    repeats: &[usize],
    x: &[u8],
    y: &mut [u8],
) -> Result<(), KernelError> {
    if repeats.len() != shape.len() {
        return Err(KernelError::shape(format!("{} repeats for {} dimensions", repeats.len(), shape.len())));
    }
    let own = signed_strides(shape);
    let mut out_shape = vec![];
    let (mut dims, mut steps) = (vec![], vec![]);
    for d in 0..shape.len() {
        out_shape.push(shape[d].checked_mul(repeats[d]).ok_or(KernelError::TooLarge)?);
        dims.extend([repeats[d], shape[d]]);
        steps.extend([0, own[d]]);
    }
    run(pool, elem, Strided { dims, strides: steps, base: 0 }, (x, shape), (y, &out_shape))
}

/// How one axis is sliced: `count` elements from `start` on, `step` apart (negative steps go backwards).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SliceAxis {
    /// The first index.
    pub start: usize,
    /// The distance between indices.
    pub step: i64,
    /// How many.
    pub count: usize,
}

impl SliceAxis {
    /// All of an axis of `size`.
    pub fn all(size: usize) -> Self {
        SliceAxis { start: 0, step: 1, count: size }
    }

    /// ONNX's Slice: `start` and `end` may be negative (from the end) or out of range (clamped); a step of 0 is refused.
    pub fn onnx(size: usize, start: i64, end: i64, step: i64) -> Result<Self, KernelError> {
        if step == 0 {
            return Err(KernelError::setting("a slice with a step of 0"));
        }
        let n = i64::try_from(size).map_err(|_| KernelError::TooLarge)?;
        if n == 0 {
            return Ok(SliceAxis { start: 0, step, count: 0 });
        }
        let wrap = |v: i64| if v < 0 { v.saturating_add(n) } else { v };
        // Backwards, the start is an element and the end may be just before the first.
        let (start, end) = if step > 0 {
            (wrap(start).clamp(0, n), wrap(end).clamp(0, n))
        } else {
            (wrap(start).clamp(0, n - 1), wrap(end).clamp(-1, n - 1))
        };
        let span = if step > 0 { end - start } else { start - end };
        let count = if span > 0 { (span as u64).div_ceil(step.unsigned_abs()) as usize } else { 0 };
        Ok(SliceAxis { start: if count == 0 { 0 } else { start as usize }, step, count })
    }
}

/// The shape of a slice; fails unless there is an axis for each dimension.
pub fn slice_shape(shape: &[usize], axes: &[SliceAxis]) -> Result<Vec<usize>, KernelError> {
    if axes.len() != shape.len() {
        return Err(KernelError::shape(format!("{} sliced axes for {} dimensions", axes.len(), shape.len())));
    }
    Ok(axes.iter().map(|a| a.count).collect())
}

/// y = x[start : : step, ...], with one [`SliceAxis`] for each dimension.
pub fn slice(
    pool: &Pool,
    elem: usize,
    shape: &[usize],
    axes: &[SliceAxis],
    x: &[u8],
    y: &mut [u8],
) -> Result<(), KernelError> {
    let dims = slice_shape(shape, axes)?;
    let own = signed_strides(shape);
    let (mut base, mut steps) = (0isize, vec![]);
    let empty = numel(&dims)? == 0;
    for ((a, &size), &stride) in axes.iter().zip(shape).zip(&own) {
        if a.count > 0 {
            let last = i128::from(a.step) * (a.count as i128 - 1) + a.start as i128;
            if a.start >= size || last < 0 || last >= size as i128 {
                return Err(KernelError::IndexOutOfRange { index: i64::try_from(last).unwrap_or(i64::MAX), size });
            }
        }
        // A step is only taken if there are two elements, and then it lies within the dimension.
        steps.push(if a.count > 1 && !empty { a.step as isize * stride } else { 0 });
        base += if empty { 0 } else { a.start as isize * stride };
    }
    run(pool, elem, Strided { dims: dims.clone(), strides: steps, base }, (x, shape), (y, &dims))
}

/// Which part of the channels stands for the offsets in space.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SpaceOrder {
    /// Channels are (row, column, depth): ONNX's DCR.
    DepthLast,
    /// Channels are (depth, row, column): ONNX's CRD.
    DepthFirst,
}

/// `[n, c, h, w]` to `[n, c / b^2, h * b, w * b]`.
pub fn depth_to_space(
    pool: &Pool,
    elem: usize,
    shape: [usize; 4],
    block: usize,
    order: SpaceOrder,
    x: &[u8],
    y: &mut [u8],
) -> Result<(), KernelError> {
    let [n, c, h, w] = shape;
    let area = block.checked_mul(block).ok_or(KernelError::TooLarge)?;
    if area == 0 || c % area != 0 {
        return Err(KernelError::Setting(format!("{c} channels do not split into blocks of {block} x {block}")));
    }
    let depth = c / area;
    match order {
        SpaceOrder::DepthLast => transpose(pool, elem, &[n, block, block, depth, h, w], &[0, 3, 4, 1, 5, 2], x, y),
        SpaceOrder::DepthFirst => transpose(pool, elem, &[n, depth, block, block, h, w], &[0, 1, 4, 2, 5, 3], x, y),
    }
}

/// `[n, c, h, w]` to `[n, c * b^2, h / b, w / b]`, the inverse of [`depth_to_space`].
pub fn space_to_depth(
    pool: &Pool,
    elem: usize,
    shape: [usize; 4],
    block: usize,
    order: SpaceOrder,
    x: &[u8],
    y: &mut [u8],
) -> Result<(), KernelError> {
    let [n, c, h, w] = shape;
    if block == 0 || h % block != 0 || w % block != 0 {
        return Err(KernelError::Setting(format!("{h} x {w} does not split into blocks of {block} x {block}")));
    }
    let perm = match order {
        SpaceOrder::DepthLast => [0, 3, 5, 1, 2, 4],
        SpaceOrder::DepthFirst => [0, 1, 3, 5, 2, 4],
    };
    transpose(pool, elem, &[n, c, h / block, block, w / block, block], &perm, x, y)
}
