//! ArgMax and ArgMin.

use crate::kernels::{Elem, Kernel, count, need};
use crate::pipeline::Groups;
use crate::{Binding, Command, Gpu, GpuError};

/// The kernel.
pub static KERNEL: Kernel = kernel!("arg_reduce");

/// Where the largest (or smallest) of the middle of \[outer, n, inner\] lies; y is i32 \[outer, inner\]. Of equal elements the
/// first, or with `last` the last.
pub fn arg_reduce(
    gpu: &Gpu,
    elem: Elem,
    x: &Binding,
    y: &Binding,
    [outer, n, inner]: [u32; 3],
    smallest: bool,
    last: bool,
) -> Result<Command, GpuError> {
    let outputs = count("arg_reduce", &[outer, inner])?;
    need("arg_reduce", "x", x, count("arg_reduce", &[outer, n, inner])?)?;
    need("arg_reduce", "y", y, outputs)?;
    if outputs == 0 {
        return Ok(Command::nothing("arg_reduce"));
    }
    if n == 0 {
        return Err(GpuError::argument("arg_reduce", "there is nothing to choose from"));
    }
    gpu.call(&KERNEL)
        .constant("SMALLEST", u8::from(smallest))
        .constant("LAST", u8::from(last))
        .constant("INTEGER", u8::from(elem != Elem::F32))
        .bind("x", x)
        .bind("y", y)
        .param("outputs", outputs)
        .param("n", n)
        .param("inner", inner)
        .run(Groups::Line(outputs.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::twin::Bench;

    pub(super) fn cases(bench: &mut Bench) -> Result<(), GpuError> {
        for (smallest, last) in [(false, false), (true, false), (false, true), (true, true)] {
            for [outer, n, inner] in [[3usize, 300, 1], [2, 7, 5]] {
                // Few values, so that there are ties.
                let (x, xb) = bench.ints(outer * n * inner, -3, 3);
                let floats: Vec<f32> = x.iter().map(|&v| v as f32).collect();
                let fb = bench.words(bytemuck::cast_slice(&floats));
                let want: Vec<f64> = (0..outer * inner)
                    .map(|o| {
                        let line: Vec<i32> = (0..n).map(|i| x[(o / inner * n + i) * inner + o % inner]).collect();
                        let best = if smallest { line.iter().min() } else { line.iter().max() }.unwrap();
                        let found = if last {
                            line.iter().rposition(|v| v == best)
                        } else {
                            line.iter().position(|v| v == best)
                        };
                        found.unwrap() as f64
                    })
                    .collect();
                for (elem, b) in [(Elem::I32, &xb), (Elem::F32, &fb)] {
                    let yb = bench.out(outer * inner);
                    let shape = [outer as u32, n as u32, inner as u32];
                    let command = arg_reduce(bench.gpu, elem, b, &yb, shape, smallest, last)?;
                    bench.check(
                        format!("{elem:?} n {n} {smallest} {last}"),
                        command,
                        &yb,
                        Elem::I32,
                        want.clone(),
                        0.0,
                    );
                }
            }
        }
        Ok(())
    }
}
