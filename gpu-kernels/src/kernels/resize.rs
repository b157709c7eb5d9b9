//! ONNX Resize over the last two dimensions.

use crate::kernels::{Kernel, count, need};
use crate::pipeline::Groups;
use crate::{Binding, Command, Gpu, GpuError};

/// The kernel.
pub static KERNEL: Kernel = kernel!("resize");

/// How a place between elements gets its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ResizeMode {
    /// Between its four neighbours.
    Linear = 0,
    /// The nearest, of two equally near the first.
    NearestHalfDown = 1,
    /// The nearest, of two equally near the second.
    NearestHalfUp = 2,
    /// The one before.
    NearestFloor = 3,
    /// The one after.
    NearestCeil = 4,
}

/// Resizes each plane of \[planes, h, w\] to \[oh, ow\]. An output element o lies at (o + a) * scale + b of the input, so
/// half_pixel is a = 0.5, b = -0.5; asymmetric is 0 and 0; align_corners is 0 and 0 with scale (in - 1) / (out - 1).
pub fn resize(
    gpu: &Gpu,
    mode: ResizeMode,
    (x, [planes, h, w]): (&Binding, [u32; 3]),
    (y, [oh, ow]): (&Binding, [u32; 2]),
    scales: [f32; 2],
    a: f32,
    b: f32,
) -> Result<Command, GpuError> {
    let n = count("resize", &[planes, oh, ow])?;
    let held = count("resize", &[planes, h, w])?;
    need("resize", "x", x, held)?;
    need("resize", "y", y, n)?;
    if n > 0 && held == 0 {
        return Err(GpuError::argument("resize", "there is nothing to resize"));
    }
    gpu.call(&KERNEL)
        .constant("MODE", mode as u8)
        .bind("x", x)
        .bind("y", y)
        .param("n", n)
        .param("h", h)
        .param("w", w)
        .param("oh", oh)
        .param("ow", ow)
        .param("scale_y", scales[0])
        .param("scale_x", scales[1])
        .param("a", a)
        .param("b", b)
        .run(Groups::Threads(n.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Elem;
    use crate::twin::Bench;

    pub(super) fn cases(bench: &mut Bench) -> Result<(), GpuError> {
        use ResizeMode::*;
        for mode in [Linear, NearestHalfDown, NearestHalfUp, NearestFloor, NearestCeil] {
            for (out, a, b) in [([10usize, 14], 0.5, -0.5), ([3, 5], 0.0, 0.0)] {
                let (x, xb) = bench.floats(2 * 5 * 7);
                let yb = bench.out(2 * out[0] * out[1]);
                // Exact in f32, so that the kernel and the oracle round the same halves.
                let scales = if out[0] == 10 { [0.5f32, 0.5] } else { [1.75, 1.5] };
                let outs = out.map(|v| v as u32);
                let command = resize(bench.gpu, mode, (&xb, [2, 5, 7]), (&yb, outs), scales, a, b)?;
                let place = |o: usize, d: usize| (o as f64 + f64::from(a)) * f64::from(scales[d]) + f64::from(b);
                let nearest = |p: f64, n: usize| {
                    let at = match mode {
                        NearestHalfDown => (p - 0.5).ceil(),
                        NearestHalfUp => (p + 0.5).floor(),
                        NearestFloor => p.floor(),
                        _ => p.ceil(),
                    };
                    at.clamp(0.0, (n - 1) as f64) as usize
                };
                let mut want = Vec::new();
                for plane in 0..2 {
                    for oy in 0..out[0] {
                        for ox in 0..out[1] {
                            let (py, px) = (place(oy, 0), place(ox, 1));
                            let at = |y: usize, x_: usize| x[(plane * 5 + y) * 7 + x_];
                            want.push(if mode == Linear {
                                let (cy, cx) = (py.clamp(0.0, 4.0), px.clamp(0.0, 6.0));
                                let (y0, x0) = (cy as usize, cx as usize);
                                let (y1, x1) = ((y0 + 1).min(4), (x0 + 1).min(6));
                                let (fy, fx) = (cy - y0 as f64, cx - x0 as f64);
                                let upper = at(y0, x0) * (1.0 - fx) + at(y0, x1) * fx;
                                let lower = at(y1, x0) * (1.0 - fx) + at(y1, x1) * fx;
                                upper * (1.0 - fy) + lower * fy
                            } else {
                                at(nearest(py, 5), nearest(px, 7))
                            });
                        }
                    }
                }
                let tolerance = if mode == Linear { 1e-5 } else { 0.0 };
                bench.check(format!("{mode:?} to {out:?}"), command, &yb, Elem::F32, want, tolerance);
            }
        }
        Ok(())
    }
}
