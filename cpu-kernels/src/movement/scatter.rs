//! Writing by index, on one thread: indices may repeat, and then the order counts.
//!
//! `y` holds the data to be updated when the call begins (copy the input there first). Negative indices count from the end;
//! any outside its dimension is an error, found before anything is written.

use super::by_size;
use super::gather::{check_elements, slice_starts};
use crate::error::{KernelError, expect_len};
use crate::number::Number;
use crate::shape::{Walk, expect_bytes, numel, resolve_index, strides};

/// What a scatter does where it writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum ScatterOp {
    /// Replaces; of equal indices the last wins.
    Set,
    /// Adds.
    Add,
    /// Multiplies.
    Mul,
    /// Keeps the smaller.
    Min,
    /// Keeps the larger.
    Max,
}

impl ScatterOp {
    #[inline]
    fn join<T: Number>(self, old: T, new: T) -> T {
        match self {
            ScatterOp::Set => new,
            ScatterOp::Add => old.add(new),
            ScatterOp::Mul => old.mul(new),
            ScatterOp::Min => old.least(new),
            ScatterOp::Max => old.greatest(new),
        }
    }
}

/// Where each update of ScatterElements goes.
fn element_targets(shape: &[usize], axis: usize, indices: (&[i64], &[usize])) -> Result<Vec<usize>, KernelError> {
    check_elements(shape, axis, indices)?;
    let mut steps: Vec<isize> = strides(shape).iter().map(|&s| s as isize).collect();
    let step = std::mem::replace(&mut steps[axis], 0) as usize;
    let mut walk = Walk::new(indices.1, [&steps], 0);
    let target = |&index: &i64| {
        let to = walk.at[0] as usize + resolve_index(index, shape[axis])? * step;
        walk.step();
        Ok(to)
    };
    indices.0.iter().map(target).collect()
}

/// ONNX's ScatterElements with any reduction: `updates` has the shape of `indices`.
pub fn scatter_elements<T: Number>(
    op: ScatterOp,
    shape: &[usize],
    axis: usize,
    indices: (&[i64], &[usize]),
    updates: &[T],
    y: &mut [T],
) -> Result<(), KernelError> {
    expect_len("the updates", updates.len(), indices.0.len())?;
    expect_len("the output", y.len(), numel(shape)?)?;
    for (to, &v) in element_targets(shape, axis, indices)?.into_iter().zip(updates) {
        y[to] = op.join(y[to], v);
    }
    Ok(())
}

/// [`scatter_elements`] that replaces, for elements of any type.
pub fn scatter_elements_bytes(
    elem: usize,
    shape: &[usize],
    axis: usize,
    indices: (&[i64], &[usize]),
    updates: &[u8],
    y: &mut [u8],
) -> Result<(), KernelError> {
    expect_bytes("the updates", updates, &[indices.0.len()], elem)?;
    expect_bytes("the output", y, shape, elem)?;
    let targets = element_targets(shape, axis, indices)?;
    by_size!(elem, set_elements(&targets, updates, y))
}

fn set_elements<const E: usize>(targets: &[usize], updates: &[u8], y: &mut [u8]) -> Result<(), KernelError> {
    let (updates, y) = (updates.as_chunks::<E>().0, y.as_chunks_mut::<E>().0);
    for (&to, v) in targets.iter().zip(updates) {
        y[to] = *v;
    }
    Ok(())
}

/// The slices that ScatterND writes: where each starts, and how long they are.
fn nd_targets(shape: &[usize], (indices, dims): (&[i64], &[usize])) -> Result<(Vec<usize>, usize), KernelError> {
    expect_len("the indices", indices.len(), numel(dims)?)?;
    let Some((&depth, rows)) = dims.split_last().filter(|(depth, _)| **depth <= shape.len()) else {
        return Err(KernelError::shape(format!("ScatterND indices of {dims:?} for {shape:?}")));
    };
    Ok((slice_starts(shape, depth, indices, numel(rows)?)?, numel(&shape[depth..])?))
}

/// ONNX's ScatterND with any reduction: `indices` of `[rows.., depth]` name slices of y, `updates` is `[rows.., slice..]`.
pub fn scatter_nd<T: Number>(
    op: ScatterOp,
    shape: &[usize],
    indices: (&[i64], &[usize]),
    updates: &[T],
    y: &mut [T],
) -> Result<(), KernelError> {
    expect_len("the output", y.len(), numel(shape)?)?;
    let (starts, len) = nd_targets(shape, indices)?;
    expect_len("the updates", updates.len(), starts.len().checked_mul(len).ok_or(KernelError::TooLarge)?)?;
    if len > 0 {
        for (&to, updates) in starts.iter().zip(updates.chunks_exact(len)) {
            for (y, &v) in y[to..to + len].iter_mut().zip(updates) {
                *y = op.join(*y, v);
            }
        }
    }
    Ok(())
}

/// [`scatter_nd`] that replaces, for elements of any type.
pub fn scatter_nd_bytes(
    elem: usize,
    shape: &[usize],
    indices: (&[i64], &[usize]),
    updates: &[u8],
    y: &mut [u8],
) -> Result<(), KernelError> {
    expect_bytes("the output", y, shape, elem)?;
    let (starts, len) = nd_targets(shape, indices)?;
    expect_bytes("the updates", updates, &[starts.len(), len], elem)?;
    if !updates.is_empty() {
        for (&to, updates) in starts.iter().zip(updates.chunks_exact(len * elem)) {
            y[to * elem..(to + len) * elem].copy_from_slice(updates);
        }
    }
    Ok(())
}
