//! The GPU forms of the operators that read or write by index.

use gpu_kernels::kernels::gather_elements::gather_elements;
use gpu_kernels::kernels::index_nd;

use crate::gpu::GpuBuilder;
use crate::op::OpError;
use crate::ops::movement_gpu::{shape32, u32_of};
use crate::ops::util;

/// Constant indices are checked here (`sizes` are the dimensions that they count through in turn); the shader holds others
/// to their range.
fn check(b: &GpuBuilder<'_>, sizes: &[usize]) -> Result<(), OpError> {
    for (i, &index) in b.const_ints(1).unwrap_or_default().iter().enumerate() {
        let size = sizes[i % sizes.len()] as i64;
        if !(-size..size).contains(&index) {
            return Err(OpError::invalid(format!("index {index} is outside a dimension of {size}")));
        }
    }
    Ok(())
}

/// GatherElements.
pub(crate) fn elements(b: &mut GpuBuilder<'_>, axis: i64) -> Result<bool, OpError> {
    let (x, indices) = (b.input(0)?, b.input(1)?);
    let axis = util::axis(axis, x.shape.len())?;
    check(b, &x.shape[axis..=axis])?;
    let y = b.output(0)?;
    let gpu = b.gpu();
    let (shape, picked) = (shape32(&x.shape)?, shape32(&indices.shape)?);
    b.push(gather_elements(&gpu, (&x.binding, &shape), (&indices.binding, &picked), &y.binding, axis))?;
    Ok(true)
}

/// GatherND.
pub(crate) fn gather_nd(b: &mut GpuBuilder<'_>, batch_dims: usize) -> Result<bool, OpError> {
    let (x, indices) = (b.input(0)?, b.input(1)?);
    let Some((&depth, rows)) = indices.shape.split_last() else { return Ok(false) };
    if depth == 0 || batch_dims > rows.len() || batch_dims + depth > x.shape.len() {
        return Ok(false);
    }
    check(b, &x.shape[batch_dims..batch_dims + depth])?;
    let y = b.output(0)?;
    let gpu = b.gpu();
    let tuples = u32_of(rows[batch_dims..].iter().product())?;
    let data = (&x.binding, &shape32(&x.shape)?[..]);
    b.push(index_nd::gather_nd(&gpu, data, &indices.binding, &y.binding, batch_dims, depth, tuples))?;
    Ok(true)
}

/// ScatterND without a reduction.
pub(crate) fn scatter_nd(b: &mut GpuBuilder<'_>) -> Result<bool, OpError> {
    let (x, indices, updates) = (b.input(0)?, b.input(1)?, b.input(2)?);
    let Some((&depth, rows)) = indices.shape.split_last() else { return Ok(false) };
    if depth == 0 || depth > x.shape.len() {
        return Ok(false);
    }
    check(b, &x.shape[..depth])?;
    let y = b.output(0)?;
    let gpu = b.gpu();
    let tuples = u32_of(rows.iter().product())?;
    let data = (&x.binding, &shape32(&x.shape)?[..]);
    b.push(index_nd::scatter_nd(&gpu, data, &indices.binding, &updates.binding, &y.binding, depth, tuples))?;
    Ok(true)
}
