//! Between element types.

use crate::kernels::{Elem, Kernel, need};
use crate::pipeline::Groups;
use crate::{Binding, Command, Gpu, GpuError};

/// The kernel.
pub static KERNEL: Kernel = kernel!("cast");

/// y = x in another type. Floats are cut towards zero and held within i32; what is not zero is true.
pub fn cast(gpu: &Gpu, from: Elem, to: Elem, x: &Binding, y: &Binding, n: u32) -> Result<Command, GpuError> {
    need("cast", "x", x, n)?;
    need("cast", "y", y, n)?;
    gpu.call(&KERNEL)
        .constant("FROM", from as u8)
        .constant("TO", to as u8)
        .bind("x", x)
        .bind("y", y)
        .param("n", n)
        .run(Groups::Threads(n.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::twin::Bench;

    pub(super) fn cases(bench: &mut Bench) -> Result<(), GpuError> {
        let mut x: Vec<f32> = (0..90).map(|_| bench.rng.float(-90.0, 90.0)).collect();
        x.extend([0.0, -0.0, 0.5, -0.5, 3e9, -3e9, 16777216.0]);
        let xb = bench.words(bytemuck::cast_slice(&x));
        let n = x.len();
        let as_int = |&v: &f32| f64::from((v as i32).min(2147483520));
        for (to, want) in [
            (Elem::I32, x.iter().map(as_int).collect::<Vec<_>>()),
            (Elem::Bool, x.iter().map(|&v| f64::from(u8::from(v != 0.0))).collect()),
            (Elem::F32, x.iter().map(|&v| f64::from(v)).collect()),
        ] {
            let yb = bench.out(n);
            let command = cast(bench.gpu, Elem::F32, to, &xb, &yb, n as u32)?;
            bench.check(format!("f32 to {to:?}"), command, &yb, to, want, 0.0);
        }
        let (x, xb) = bench.ints(71, -2, 2);
        for (to, want) in [
            (Elem::F32, x.iter().map(|&v| f64::from(v)).collect::<Vec<_>>()),
            (Elem::Bool, x.iter().map(|&v| f64::from(u8::from(v != 0))).collect()),
        ] {
            let yb = bench.out(71);
            let command = cast(bench.gpu, Elem::I32, to, &xb, &yb, 71)?;
            bench.check(format!("i32 to {to:?}"), command, &yb, to, want, 0.0);
        }
        let (x, xb) = bench.ints(71, 0, 1);
        for to in [Elem::F32, Elem::I32] {
            let yb = bench.out(71);
            let command = cast(bench.gpu, Elem::Bool, to, &xb, &yb, 71)?;
            bench.check(format!("bool to {to:?}"), command, &yb, to, x.iter().map(|&v| f64::from(v)).collect(), 0.0);
        }
        Ok(())
    }
}
