//! Softmax and log-softmax.

use crate::kernels::{Kernel, count, need};
use crate::pipeline::Groups;
use crate::{Binding, Command, Gpu, GpuError};

/// The kernel.
pub static KERNEL: Kernel = kernel!("softmax");

/// Softmax over each row of \[rows, cols\].
pub fn softmax(gpu: &Gpu, x: &Binding, y: &Binding, rows: u32, cols: u32) -> Result<Command, GpuError> {
    softmax_axis(gpu, x, y, rows, cols, 1, false)
}

/// Softmax, or its logarithm, over the middle of \[outer, n, inner\]. `x` and `y` may be the same range.
pub fn softmax_axis(
    gpu: &Gpu,
    x: &Binding,
    y: &Binding,
    outer: u32,
    n: u32,
    inner: u32,
    log: bool,
) -> Result<Command, GpuError> {
    let total = count("softmax", &[outer, n, inner])?;
    need("softmax", "x", x, total)?;
    need("softmax", "y", y, total)?;
    if total == 0 {
        return Ok(Command::nothing("softmax"));
    }
    let lines = outer * inner;
    gpu.call(&KERNEL)
        .constant("LOG", u8::from(log))
        .bind("x", x)
        .bind("y", y)
        .param("lines", lines)
        .param("n", n)
        .param("inner", inner)
        .run(Groups::Line(lines.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Elem;
    use crate::twin::Bench;

    pub(super) fn cases(bench: &mut Bench) -> Result<(), GpuError> {
        for (outer, n, inner, log) in
            [(3, 257, 1, false), (1, 1, 1, false), (5, 7, 3, false), (2, 131, 1, true), (700, 5, 1, false)]
        {
            let (x, xb) = bench.floats_in(outer * n * inner, -60.0, 60.0);
            let yb = bench.out(x.len());
            let command = softmax_axis(bench.gpu, &xb, &yb, outer as u32, n as u32, inner as u32, log)?;
            let mut want = vec![0.0; x.len()];
            for line in 0..outer * inner {
                let at = |i: usize| line / inner * n * inner + line % inner + i * inner;
                let top = (0..n).map(|i| x[at(i)]).fold(f64::NEG_INFINITY, f64::max);
                let sum: f64 = (0..n).map(|i| (x[at(i)] - top).exp()).sum();
                for i in 0..n {
                    let shifted = x[at(i)] - top;
                    want[at(i)] = if log { shifted - sum.ln() } else { shifted.exp() / sum };
                }
            }
            bench.check(format!("[{outer},{n},{inner}] log {log}"), command, &yb, Elem::F32, want, 2e-5);
        }
        Ok(())
    }
}
