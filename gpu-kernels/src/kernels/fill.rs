//! Constants and ranges.

use crate::kernels::{Kernel, need};
use crate::pipeline::Groups;
use crate::{Binding, Command, Gpu, GpuError};

/// The kernel.
pub static KERNEL: Kernel = kernel!("fill");

fn run(gpu: &Gpu, kind: u8, y: &Binding, n: u32, start: u32, step: u32) -> Result<Command, GpuError> {
    need("fill", "y", y, n)?;
    gpu.call(&KERNEL)
        .constant("KIND", kind)
        .bind("y", y)
        .param("n", n)
        .param("start", start)
        .param("step", step)
        .run(Groups::Threads(n.into()))
}

/// Every element of y is this word: the bits of an f32, an i32, or 0 or 1.
pub fn fill(gpu: &Gpu, y: &Binding, n: u32, word: u32) -> Result<Command, GpuError> {
    run(gpu, 0, y, n, word, 0)
}

/// y\[i\] = start + i * step over i32.
pub fn range_int(gpu: &Gpu, y: &Binding, n: u32, start: i32, step: i32) -> Result<Command, GpuError> {
    run(gpu, 1, y, n, start as u32, step as u32)
}

/// y\[i\] = start + i * step over f32.
pub fn range_float(gpu: &Gpu, y: &Binding, n: u32, start: f32, step: f32) -> Result<Command, GpuError> {
    run(gpu, 2, y, n, start.to_bits(), step.to_bits())
}

/// The least a pass can do: one word is written nowhere of interest.
pub(crate) fn noop(gpu: &Gpu) -> Result<Command, GpuError> {
    let scratch = gpu.buffer("calibration scratch", 16)?;
    fill(gpu, &scratch.whole(), 1, 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Elem;
    use crate::twin::Bench;

    pub(super) fn cases(bench: &mut Bench) -> Result<(), GpuError> {
        let yb = bench.out(131);
        let v = bench.rng.float(-9.0, 9.0);
        let command = fill(bench.gpu, &yb, 131, v.to_bits())?;
        bench.check("constant", command, &yb, Elem::F32, vec![f64::from(v); 131], 0.0);
        let yb = bench.out(99);
        let command = range_int(bench.gpu, &yb, 99, 50, -3)?;
        bench.check("int range", command, &yb, Elem::I32, (0..99).map(|i| f64::from(50 - 3 * i)).collect(), 0.0);
        let yb = bench.out(99);
        let command = range_float(bench.gpu, &yb, 99, 0.25, 0.5)?;
        bench.check("float range", command, &yb, Elem::F32, (0..99).map(|i| 0.25 + 0.5 * f64::from(i)).collect(), 1e-6);
        // More workgroups than one dimension has.
        let n = 65536 * 64 + 77;
        let yb = bench.out(n as usize);
        let command = range_int(bench.gpu, &yb, n, 0, 1)?;
        bench.check("folded", command, &yb, Elem::I32, (0..n).map(f64::from).collect(), 0.0);
        Ok(())
    }
}
