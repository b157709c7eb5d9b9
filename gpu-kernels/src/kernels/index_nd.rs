//! ONNX GatherND and ScatterND.

use crate::kernels::layout::MAX_RANK;
use crate::kernels::strided_copy::copy;
use crate::kernels::{Kernel, count, need};
use crate::pipeline::{Call, Groups};
use crate::{Binding, Command, Gpu, GpuError};

/// The kernel.
pub static KERNEL: Kernel = kernel!("index_nd");

/// The sizes both operators share.
struct Sizes {
    tuples: u32,
    batches: u32,
    inner: u32,
    stride: u32,
}

fn sizes(shape: &[u32], batch_dims: usize, depth: usize, tuples: u32) -> Result<Sizes, GpuError> {
    let end = batch_dims.checked_add(depth).filter(|&e| e <= shape.len() && depth > 0 && depth <= MAX_RANK);
    let end = end.ok_or_else(|| {
        GpuError::argument("index_nd", format!("{depth} indices after {batch_dims} batch dimensions of {shape:?}"))
    })?;
    Ok(Sizes {
        tuples,
        batches: count("index_nd", &shape[..batch_dims])?,
        inner: count("index_nd", &shape[end..])?,
        stride: count("index_nd", &shape[batch_dims..])?,
    })
}

fn call<'a>(gpu: &'a Gpu, entry: &'static str, s: &Sizes, dims: &[u32]) -> Call<'a> {
    gpu.call(&KERNEL)
        .entry(entry)
        .param("tuples", s.tuples)
        .param("batches", s.batches)
        .param("inner", s.inner)
        .param("depth", dims.len() as u32)
        .param("stride", s.stride)
        .param("dims", dims)
}

/// y\[batch, tuple, ...\] = x\[batch, indices\[batch, tuple\], ...\], with `depth` indices per tuple and `tuples` of them per batch.
pub fn gather_nd(
    gpu: &Gpu,
    (x, shape): (&Binding, &[u32]),
    indices: &Binding,
    y: &Binding,
    batch_dims: usize,
    depth: usize,
    tuples: u32,
) -> Result<Command, GpuError> {
    let s = sizes(shape, batch_dims, depth, tuples)?;
    let n = count("index_nd", &[s.batches, tuples, s.inner])?;
    need("index_nd", "x", x, count("index_nd", shape)?)?;
    need("index_nd", "indices", indices, count("index_nd", &[s.batches, tuples, depth as u32])?)?;
    need("index_nd", "y", y, n)?;
    if n > 0 && shape.contains(&0) {
        return Err(GpuError::argument("index_nd", format!("{shape:?} has nothing to pick from")));
    }
    call(gpu, "gather", &s, &shape[batch_dims..batch_dims + depth])
        .bind("x", x)
        .bind("indices", indices)
        .bind("y", y)
        .run(Groups::Threads(n.into()))
}

/// y = x, but y\[indices\[tuple\], ...\] = updates\[tuple, ...\]. Where tuples repeat, one of them wins.
pub fn scatter_nd(
    gpu: &Gpu,
    (x, shape): (&Binding, &[u32]),
    indices: &Binding,
    updates: &Binding,
    y: &Binding,
    depth: usize,
    tuples: u32,
) -> Result<Command, GpuError> {
    let s = sizes(shape, 0, depth, tuples)?;
    let total = count("index_nd", shape)?;
    let n = count("index_nd", &[tuples, s.inner])?;
    need("index_nd", "x", x, total)?;
    need("index_nd", "indices", indices, count("index_nd", &[tuples, depth as u32])?)?;
    need("index_nd", "updates", updates, n)?;
    need("index_nd", "y", y, total)?;
    if total == 0 {
        return Ok(Command::nothing("index_nd"));
    }
    let before = copy(gpu, x, y, total)?;
    let after = call(gpu, "scatter", &s, &shape[..depth])
        .bind("x", updates)
        .bind("indices", indices)
        .bind("y", y)
        .run(Groups::Threads(n.into()))?;
    Ok(Command::sequence("scatter_nd", [before, after]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Elem;
    use crate::twin::Bench;

    pub(super) fn cases(bench: &mut Bench) -> Result<(), GpuError> {
        let (x, xb) = bench.floats(3 * 5 * 7);
        let idx = [2i32, 4, 0, -5, -1, 3];
        let ib = bench.words(bytemuck::cast_slice(&idx));
        let yb = bench.out(21);
        let command = gather_nd(bench.gpu, (&xb, &[3, 5, 7]), &ib, &yb, 0, 2, 3)?;
        let want = [14usize, 0, 13].iter().flat_map(|&s| x[s * 7..s * 7 + 7].to_vec()).collect();
        bench.check("gather", command, &yb, Elem::F32, want, 0.0);
        let idx = [6i32, 0, -7, 3, 2, 2];
        let ib = bench.words(bytemuck::cast_slice(&idx));
        let yb = bench.out(6);
        let command = gather_nd(bench.gpu, (&xb, &[3, 5, 7]), &ib, &yb, 1, 2, 1)?;
        // Pairs (6, 0), (-7, 3), (2, 2) of [5, 7] per batch; 6 and -7 are held to the axis.
        let want = vec![x[28], x[35 + 3], x[70 + 16]];
        bench.check("gather with a batch", command, &yb.buffer.part(0, 12), Elem::F32, want, 0.0);
        let (u, ub) = bench.floats(14);
        let ib = bench.words(&[1, -1i32 as u32]);
        let yb = bench.out(35);
        let command = scatter_nd(bench.gpu, (&xb, &[5, 7]), &ib, &ub, &yb, 1, 2)?;
        let mut want = x[..35].to_vec();
        want[7..14].copy_from_slice(&u[..7]);
        want[28..35].copy_from_slice(&u[7..]);
        bench.check("scatter", command, &yb, Elem::F32, want, 0.0);
        Ok(())
    }

    #[test]
    fn wrong_operands_are_errors() {
        let Some(gpu) = crate::twin::shared_gpu() else { return };
        let b = gpu.buffer("b", 64).unwrap().whole();
        assert!(gather_nd(gpu, (&b, &[4, 4]), &b, &b, 0, 3, 1).is_err());
        assert!(gather_nd(gpu, (&b, &[4, 4]), &b, &b, 0, 2, 16).is_err());
        assert!(gather_nd(gpu, (&b, &[4, 0]), &b, &b, 0, 2, 1).is_err());
        assert!(scatter_nd(gpu, (&b, &[4, 4]), &b, &b, &b, 0, 1).is_err());
    }
}
