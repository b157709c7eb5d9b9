//! ONNX CumSum.

use crate::kernels::{Elem, Kernel, count, need};
use crate::pipeline::Groups;
use crate::{Binding, Command, Gpu, GpuError};

/// The kernel.
pub static KERNEL: Kernel = kernel!("cumsum");

/// Running sums along the middle of \[outer, n, inner\]; without the element itself where `exclusive`, from the end where
/// `reverse`.
pub fn cumsum(
    gpu: &Gpu,
    elem: Elem,
    x: &Binding,
    y: &Binding,
    [outer, n, inner]: [u32; 3],
    exclusive: bool,
    reverse: bool,
) -> Result<Command, GpuError> {
    let total = count("cumsum", &[outer, n, inner])?;
    need("cumsum", "x", x, total)?;
    need("cumsum", "y", y, total)?;
    if total == 0 {
        return Ok(Command::nothing("cumsum"));
    }
    let lines = outer * inner;
    gpu.call(&KERNEL)
        .constant("EXCLUSIVE", u8::from(exclusive))
        .constant("REVERSE", u8::from(reverse))
        .constant("INTEGER", u8::from(elem != Elem::F32))
        .bind("x", x)
        .bind("y", y)
        .param("lines", lines)
        .param("n", n)
        .param("inner", inner)
        .run(Groups::Threads(lines.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::twin::Bench;

    pub(super) fn cases(bench: &mut Bench) -> Result<(), GpuError> {
        let (outer, n, inner) = (3usize, 17usize, 5usize);
        for (exclusive, reverse) in [(false, false), (true, false), (false, true), (true, true)] {
            let (x, xb) = bench.ints(outer * n * inner, -20, 20);
            let floats: Vec<f32> = x.iter().map(|&v| v as f32).collect();
            let fb = bench.words(bytemuck::cast_slice(&floats));
            let mut want = vec![0.0; x.len()];
            for line in 0..outer * inner {
                let mut sum = 0.0;
                for step in 0..n {
                    let i = if reverse { n - 1 - step } else { step };
                    let at = (line / inner * n + i) * inner + line % inner;
                    let next = sum + f64::from(x[at]);
                    want[at] = if exclusive { sum } else { next };
                    sum = next;
                }
            }
            for (elem, b) in [(Elem::I32, &xb), (Elem::F32, &fb)] {
                let yb = bench.out(x.len());
                let shape = [outer as u32, n as u32, inner as u32];
                let command = cumsum(bench.gpu, elem, b, &yb, shape, exclusive, reverse)?;
                bench.check(format!("{elem:?} {exclusive} {reverse}"), command, &yb, elem, want.clone(), 0.0);
            }
        }
        Ok(())
    }
}
