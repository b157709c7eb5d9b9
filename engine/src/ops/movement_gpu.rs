//! The GPU forms of the operators that move data: strided copies and gathers.

use gpu_kernels::Binding;
use gpu_kernels::kernels::gather::gather as gather_kernel;

use gpu_kernels::kernels::strided_copy::{Strided, strided_copy, transpose};

use crate::gpu::{GpuBuilder, GpuTensor};
use crate::op::OpError;
use crate::ops::util;

/// A size as the shaders count.
pub(crate) fn u32_of(n: usize) -> Result<u32, OpError> {
    u32::try_from(n).map_err(|_| OpError::unsupported(format!("{n} elements on the GPU")))
}

/// A shape as the shaders count.
pub(crate) fn shape32(shape: &[usize]) -> Result<Vec<u32>, OpError> {
    shape.iter().map(|&d| u32_of(d)).collect()
}

fn steps(strides: &[usize]) -> Vec<i64> {
    strides.iter().map(|&s| s as i64).collect()
}

/// Output 0 gets `x[offset + sum(index * from)]` over the output's own index space.
pub(crate) fn copy(b: &mut GpuBuilder<'_>, x: &GpuTensor, offset: usize, from: &[usize]) -> Result<bool, OpError> {
    let y = b.output(0)?;
    let to = steps(&util::strides(&y.shape));
    let gpu = b.gpu();
    let source = Strided { binding: &x.binding, offset: u32_of(offset)?, strides: &steps(from) };
    let target = Strided { binding: &y.binding, offset: 0, strides: &to };
    b.push(strided_copy(&gpu, &shape32(&y.shape)?, source, target))?;
    Ok(true)
}

/// As [`copy`], where `shape` is another way to see output 0.
pub(crate) fn copy_as(b: &mut GpuBuilder<'_>, shape: &[usize], from: &[usize]) -> Result<bool, OpError> {
    let (x, y) = (b.input(0)?, b.output(0)?);
    let to = steps(&util::strides(shape));
    let gpu = b.gpu();
    let source = Strided { binding: &x.binding, offset: 0, strides: &steps(from) };
    b.push(strided_copy(&gpu, &shape32(shape)?, source, Strided { binding: &y.binding, offset: 0, strides: &to }))?;
    Ok(true)
}

/// y[offset + index * to] = x[index * from] over `shape`.
pub(crate) fn place(
    b: &mut GpuBuilder<'_>,
    shape: &[usize],
    (x, from): (&Binding, &[usize]),
    (y, offset, to): (&Binding, usize, &[usize]),
) -> Result<(), OpError> {
    let gpu = b.gpu();
    let (from, to) = (steps(from), steps(to));
    let source = Strided { binding: x, offset: 0, strides: &from };
    let target = Strided { binding: y, offset: u32_of(offset)?, strides: &to };
    b.push(strided_copy(&gpu, &shape32(shape)?, source, target))
}

/// A tensor with its dimensions in another order, in a temporary.
pub(crate) fn transposed(b: &mut GpuBuilder<'_>, x: &GpuTensor, perm: &[usize]) -> Result<Binding, OpError> {
    let y = b.temporary("transposed", x.len())?;
    let gpu = b.gpu();
    b.push(transpose(&gpu, &x.binding, &shape32(&x.shape)?, perm, &y))?;
    Ok(y)
}

/// Concat: each input is copied to its place.
pub(crate) fn concat(b: &mut GpuBuilder<'_>, axis: i64) -> Result<bool, OpError> {
    let y = b.output(0)?;
    let axis = util::axis(axis, y.shape.len())?;
    let to = util::strides(&y.shape);
    let gpu = b.gpu();
    let mut at = 0;
    for i in 0..b.input_count() {
        let x = b.input(i)?;
        let from = steps(&util::strides(&x.shape));
        let source = Strided { binding: &x.binding, offset: 0, strides: &from };
        let strides = steps(&to);
        let target = Strided { binding: &y.binding, offset: u32_of(at * to[axis])?, strides: &strides };
        b.push(strided_copy(&gpu, &shape32(&x.shape)?, source, target))?;
        at += x.shape[axis];
    }
    Ok(true)
}

/// Split: each wanted part is copied out.
pub(crate) fn split(b: &mut GpuBuilder<'_>, axis: usize, sizes: &[usize]) -> Result<bool, OpError> {
    let x = b.input(0)?;
    let from = util::strides(&x.shape);
    let gpu = b.gpu();
    let mut at = 0;
    for (i, n) in sizes.iter().enumerate() {
        if b.wants(i) {
            let y = b.output(i)?;
            let strides = steps(&from);
            let to = steps(&util::strides(&y.shape));
            let source = Strided { binding: &x.binding, offset: u32_of(at * from[axis])?, strides: &strides };
            let target = Strided { binding: &y.binding, offset: 0, strides: &to };
            b.push(strided_copy(&gpu, &shape32(&y.shape)?, source, target))?;
        }
        at += n;
    }
    Ok(true)
}

/// Gather along one axis. Constant indices are checked here; others are clamped by the shader.
pub(crate) fn gather(b: &mut GpuBuilder<'_>, axis: i64) -> Result<bool, OpError> {
    let x = b.input(0)?;
    let axis = util::axis(axis, x.shape.len())?;
    let size = x.shape[axis] as i64;
    if let Some(bad) = b.const_ints(1).and_then(|ix| ix.into_iter().find(|i| !(-size..size).contains(i))) {
        return Err(OpError::invalid(format!("index {bad} is outside a dimension of {size}")));
    }
    let indices = b.input(1)?;
    let y = b.output(0)?;
    let gpu = b.gpu();
    let outer = u32_of(x.shape[..axis].iter().product())?;
    let inner = u32_of(x.shape[axis + 1..].iter().product())?;
    let dims = [outer, u32_of(x.shape[axis])?, inner];
    let picked = u32_of(indices.len())?;
    b.push(gather_kernel(&gpu, &x.binding, &indices.binding, &y.binding, dims, picked))?;
    Ok(true)
}
