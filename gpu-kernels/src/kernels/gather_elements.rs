//! ONNX GatherElements.

use crate::kernels::layout::{MAX_RANK, dense};
use crate::kernels::{Kernel, count, need};
use crate::pipeline::Groups;
use crate::{Binding, Command, Gpu, GpuError};

/// The kernel.
pub static KERNEL: Kernel = kernel!("gather_elements");

/// y has the shape of `indices`; each element is that of x at the same place, but for the axis, where the index says. Negative
/// indices count from the end; those out of range are held to it.
pub fn gather_elements(
    gpu: &Gpu,
    (x, x_shape): (&Binding, &[u32]),
    (indices, shape): (&Binding, &[u32]),
    y: &Binding,
    axis: usize,
) -> Result<Command, GpuError> {
    let fail = |why: String| GpuError::argument("gather_elements", why);
    let n = count("gather_elements", shape)?;
    let rank = shape.len();
    if rank != x_shape.len() || rank == 0 || rank > MAX_RANK || axis >= rank {
        return Err(fail(format!("axis {axis} of {x_shape:?} with indices {shape:?}")));
    }
    if (0..rank).any(|d| d != axis && shape[d] > x_shape[d]) {
        return Err(fail(format!("indices {shape:?} are larger than {x_shape:?}")));
    }
    need("gather_elements", "x", x, count("gather_elements", x_shape)?)?;
    need("gather_elements", "indices", indices, n)?;
    need("gather_elements", "y", y, n)?;
    if n == 0 {
        return Ok(Command::nothing("gather_elements"));
    }
    if x_shape[axis] == 0 {
        return Err(fail("an axis of 0 has nothing to pick from".to_owned()));
    }
    let mut strides: Vec<u32> = dense(x_shape).iter().map(|&s| s as u32).collect();
    let axis_stride = std::mem::replace(&mut strides[axis], 0);
    gpu.call(&KERNEL)
        .bind("x", x)
        .bind("indices", indices)
        .bind("y", y)
        .param("n", n)
        .param("rank", rank as u32)
        .param("axis", x_shape[axis])
        .param("axis_stride", axis_stride)
        .param("shape", shape)
        .param("x_strides", &strides[..])
        .run(Groups::Threads(n.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Elem;
    use crate::twin::Bench;

    pub(super) fn cases(bench: &mut Bench) -> Result<(), GpuError> {
        let (x, xb) = bench.floats(5 * 7 * 3);
        let (idx, ib) = bench.ints(5 * 4 * 2, -7, 6);
        let yb = bench.out(40);
        let command = gather_elements(bench.gpu, (&xb, &[5, 7, 3]), (&ib, &[5, 4, 2]), &yb, 1)?;
        let want = (0..40).map(|i| x[(i / 8 * 7 + ((idx[i] + 7) % 7) as usize) * 3 + i % 2]).collect();
        bench.check("middle axis", command, &yb, Elem::F32, want, 0.0);
        let (x, xb) = bench.ints(33, -99, 99);
        let (idx, ib) = bench.ints(9, -11, 10);
        let yb = bench.out(9);
        let command = gather_elements(bench.gpu, (&xb, &[3, 11]), (&ib, &[3, 3]), &yb, 1)?;
        let want = (0..9).map(|i| f64::from(x[i / 3 * 11 + ((idx[i] + 11) % 11) as usize])).collect();
        bench.check("last axis", command, &yb, Elem::I32, want, 0.0);
        Ok(())
    }
}
