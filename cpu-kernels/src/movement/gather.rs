//! Reading by index. Negative indices count from the end; any outside its dimension is an error.

use std::sync::Mutex;

use super::by_size;
use crate::error::{KernelError, expect_len};
use crate::pool::Pool;
use crate::shape::{Walk, around, expect_bytes, numel, resolve_index, strides};
use crate::split::SharedMut;

/// Bytes per parallel piece.
const GRAIN: usize = 64 << 10;

/// ONNX's Gather: y has the dimensions of x with `axis` replaced by those of `indices` (given flat; their shape does not matter).
pub fn gather(
    pool: &Pool,
    elem: usize,
    shape: &[usize],
    axis: usize,
    indices: &[i64],
    x: &[u8],
    y: &mut [u8],
) -> Result<(), KernelError> {
    let (outer, n, inner) = around(shape, axis)?;
    expect_bytes("the input", x, shape, elem)?;
    expect_bytes("the output", y, &[outer, indices.len(), inner], elem)?;
    let rows = indices.iter().map(|&i| resolve_index(i, n)).collect::<Result<Vec<_>, _>>()?;
    if y.is_empty() {
        return Ok(());
    }
    let width = inner * elem;
    let y = SharedMut::new(y);
    pool.for_ranges(outer * rows.len(), (GRAIN / width).max(1), &|range| {
        // SAFETY: `for_ranges` hands out disjoint ranges of rows.
        let out = unsafe { y.slice(range.start * width..range.end * width) };
        for (out, unit) in out.chunks_exact_mut(width).zip(range) {
            let from = (unit / rows.len() * n + rows[unit % rows.len()]) * width;
            out.copy_from_slice(&x[from..from + width]);
        }
    });
    Ok(())
}

/// ONNX's GatherElements: y, of the shape of `indices`, is x with the index along `axis` replaced by that in `indices`.
pub fn gather_elements(
    pool: &Pool,
    elem: usize,
    shape: &[usize],
    axis: usize,
    indices: (&[i64], &[usize]),
    x: &[u8],
    y: &mut [u8],
) -> Result<(), KernelError> {
    check_elements(shape, axis, indices)?;
    expect_bytes("the input", x, shape, elem)?;
    expect_bytes("the output", y, indices.1, elem)?;
    by_size!(elem, elements(pool, shape, axis, indices, x, y))
}

/// Indices of the elements kind have x's rank, and no dimension but the axis exceeds x's.
pub(super) fn check_elements(
    shape: &[usize],
    axis: usize,
    (indices, dims): (&[i64], &[usize]),
) -> Result<(), KernelError> {
    around(shape, axis)?;
    expect_len("the indices", indices.len(), numel(dims)?)?;
    let fits = dims.len() == shape.len() && (0..dims.len()).all(|d| d == axis || dims[d] <= shape[d]);
    if fits { Ok(()) } else { Err(KernelError::shape(format!("indices of {dims:?} for {shape:?} along axis {axis}"))) }
}

fn elements<const E: usize>(
    pool: &Pool,
    shape: &[usize],
    axis: usize,
    (indices, dims): (&[i64], &[usize]),
    x: &[u8],
    y: &mut [u8],
) -> Result<(), KernelError> {
    let (x, y) = (x.as_chunks::<E>().0, y.as_chunks_mut::<E>().0);
    let mut steps: Vec<isize> = strides(shape).iter().map(|&s| s as isize).collect();
    let step = std::mem::replace(&mut steps[axis], 0);
    let error = Mutex::new(None);
    let y = SharedMut::new(y);
    pool.for_ranges(indices.len(), GRAIN / E / 4, &|range| {
        // SAFETY: `for_ranges` hands out disjoint ranges.
        let out = unsafe { y.slice(range.clone()) };
        let mut walk = Walk::new(dims, [&steps], range.start);
        for (out, &index) in out.iter_mut().zip(&indices[range]) {
            match resolve_index(index, shape[axis]) {
                Ok(i) => *out = x[walk.at[0] as usize + i * step as usize],
                Err(e) => return *error.lock().unwrap_or_else(|e| e.into_inner()) = Some(e),
            }
            walk.step();
        }
    });
    error.into_inner().unwrap_or_else(|e| e.into_inner()).map_or(Ok(()), Err)
}

/// ONNX's GatherND: `indices` of shape `[batch.., rows.., depth]` name, within each of the `batch_dims` leading dimensions, slices
/// of x of the dimensions left after them and `depth` more; y is `[batch.., rows.., slice..]`.
pub fn gather_nd(
    pool: &Pool,
    elem: usize,
    shape: &[usize],
    batch_dims: usize,
    indices: (&[i64], &[usize]),
    x: &[u8],
    y: &mut [u8],
) -> Result<(), KernelError> {
    expect_bytes("the input", x, shape, elem)?;
    let (indices, dims) = indices;
    expect_len("the indices", indices.len(), numel(dims)?)?;
    let Some((&depth, rows)) = dims.split_last() else {
        return Err(KernelError::shape("GatherND needs indices of at least one dimension"));
    };
    let batched = batch_dims <= rows.len() && batch_dims <= shape.len() && rows[..batch_dims] == shape[..batch_dims];
    if !batched || batch_dims.saturating_add(depth) > shape.len() {
        return Err(KernelError::shape(format!(
            "indices of {dims:?} for {shape:?} with {batch_dims} batch dimensions"
        )));
    }
    let within = &shape[batch_dims..];
    let (batches, per_batch) = (numel(&rows[..batch_dims])?, numel(&rows[batch_dims..])?);
    let count = numel(rows)?;
    let inner = numel(&within[depth..])?;
    expect_bytes("the output", y, &[count, inner], elem)?;
    if batches == 0 || per_batch == 0 {
        return Ok(());
    }
    let starts = slice_starts(within, depth, indices, count)?;
    if y.is_empty() {
        return Ok(());
    }
    let (width, batch) = (inner * elem, numel(within)? * elem);
    let y = SharedMut::new(y);
    pool.for_ranges(count, (GRAIN / width).max(1), &|range| {
        // SAFETY: `for_ranges` hands out disjoint ranges of rows.
        let out = unsafe { y.slice(range.start * width..range.end * width) };
        for (out, row) in out.chunks_exact_mut(width).zip(range) {
            let from = row / per_batch * batch + starts[row] * elem;
            out.copy_from_slice(&x[from..from + width]);
        }
    });
    Ok(())
}

/// Where the slices that `indices` (`count` rows of `depth`) name begin, in elements of a tensor of `shape`.
pub(super) fn slice_starts(
    shape: &[usize],
    depth: usize,
    indices: &[i64],
    count: usize,
) -> Result<Vec<usize>, KernelError> {
    let own = strides(shape);
    (0..count)
        .map(|row| {
            let index = &indices[row * depth..(row + 1) * depth];
            (0..depth).try_fold(0, |at, d| Ok(at + resolve_index(index[d], shape[d])? * own[d]))
        })
        .collect()
}
