//! ONNX Where.

use crate::kernels::layout::{broadcast, merge};
use crate::kernels::{Kernel, count, need};
use crate::pipeline::Groups;
use crate::{Binding, Command, Gpu, GpuError};

/// The kernel.
pub static KERNEL: Kernel = kernel!("select");

/// y = cond ? a : b; all three broadcast to y's shape. `cond` is bool, the others any four-byte elements.
pub fn select(
    gpu: &Gpu,
    (cond, cond_shape): (&Binding, &[u32]),
    (a, a_shape): (&Binding, &[u32]),
    (b, b_shape): (&Binding, &[u32]),
    (y, y_shape): (&Binding, &[u32]),
) -> Result<Command, GpuError> {
    let n = count("select", y_shape)?;
    if n == 0 {
        return Ok(Command::nothing("select"));
    }
    let mut strides = Vec::with_capacity(3);
    for (name, binding, shape) in [("cond", cond, cond_shape), ("a", a, a_shape), ("b", b, b_shape)] {
        need("select", name, binding, count("select", shape)?)?;
        strides.push(broadcast("select", shape, y_shape)?);
    }
    need("select", "y", y, n)?;
    let layout = merge("select", y_shape, &strides)?;
    gpu.call(&KERNEL)
        .constant("RANK", layout.shape.len() as u32)
        .bind("c", cond)
        .bind("a", a)
        .bind("b", b)
        .bind("y", y)
        .param("n", n)
        .param("shape", &layout.shape[..])
        .param("c_strides", &layout.strides[0][..])
        .param("a_strides", &layout.strides[1][..])
        .param("b_strides", &layout.strides[2][..])
        .run(Groups::Threads(n.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Elem;
    use crate::twin::Bench;

    pub(super) fn cases(bench: &mut Bench) -> Result<(), GpuError> {
        let (c, cb) = bench.ints(77, 0, 1);
        let (a, ab) = bench.floats(77);
        let (b, bb) = bench.floats(1);
        let yb = bench.out(77);
        let command = select(bench.gpu, (&cb, &[7, 11]), (&ab, &[7, 11]), (&bb, &[]), (&yb, &[7, 11]))?;
        let want = (0..77).map(|i| if c[i] != 0 { a[i] } else { b[0] }).collect();
        bench.check("scalar else", command, &yb, Elem::F32, want, 0.0);
        let (c, cb) = bench.ints(5, 0, 1);
        let (a, ab) = bench.ints(3, -99, 99);
        let (b, bb) = bench.ints(15, -99, 99);
        let yb = bench.out(30);
        let command = select(bench.gpu, (&cb, &[5, 1]), (&ab, &[3]), (&bb, &[5, 3]), (&yb, &[2, 5, 3]))?;
        let want = (0..30).map(|i| f64::from(if c[i / 3 % 5] != 0 { a[i % 3] } else { b[i % 15] })).collect();
        bench.check("all broadcast", command, &yb, Elem::I32, want, 0.0);
        Ok(())
    }
}
