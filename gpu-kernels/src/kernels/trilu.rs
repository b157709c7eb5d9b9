//! ONNX Trilu.

use crate::kernels::{Kernel, count, need};
use crate::pipeline::Groups;
use crate::{Binding, Command, Gpu, GpuError};

/// The kernel.
pub static KERNEL: Kernel = kernel!("trilu");

/// Keeps the upper or lower triangle of each matrix of \[batch, rows, cols\], from the k-th diagonal; the rest is 0.
pub fn trilu(
    gpu: &Gpu,
    x: &Binding,
    y: &Binding,
    [batch, rows, cols]: [u32; 3],
    k: i32,
    upper: bool,
) -> Result<Command, GpuError> {
    let n = count("trilu", &[batch, rows, cols])?;
    need("trilu", "x", x, n)?;
    need("trilu", "y", y, n)?;
    gpu.call(&KERNEL)
        .constant("UPPER", u8::from(upper))
        .bind("x", x)
        .bind("y", y)
        .param("n", n)
        .param("rows", rows)
        .param("cols", cols)
        .param("k", k)
        .run(Groups::Threads(n.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Elem;
    use crate::twin::Bench;

    pub(super) fn cases(bench: &mut Bench) -> Result<(), GpuError> {
        for (upper, k) in [(true, 0), (false, 0), (true, -2), (false, 3)] {
            let (x, xb) = bench.floats(2 * 7 * 5);
            let yb = bench.out(70);
            let command = trilu(bench.gpu, &xb, &yb, [2, 7, 5], k, upper)?;
            let want = (0..70)
                .map(|i| {
                    let right = (i % 5) as i32 - (i / 5 % 7) as i32;
                    if if upper { right >= k } else { right <= k } { x[i] } else { 0.0 }
                })
                .collect();
            bench.check(format!("upper {upper} k {k}"), command, &yb, Elem::F32, want, 0.0);
        }
        Ok(())
    }
}
