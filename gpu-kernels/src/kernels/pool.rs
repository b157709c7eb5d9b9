//! Max and average pooling. Global pooling is a mean or maximum over the pixels: see [`reduce`](crate::kernels::reduce).

use crate::kernels::{Kernel, count, need};
use crate::pipeline::Groups;
use crate::{Binding, Command, Gpu, GpuError};

/// The kernel.
pub static KERNEL: Kernel = kernel!("pool");

/// What a window becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolOp {
    /// Its largest element.
    Max,
    /// Its mean.
    Average {
        /// Padding counts as zeros.
        count_pad: bool,
    },
}

/// The sizes of a pooling.
#[derive(Debug, Clone, Copy)]
pub struct Pool2d {
    /// batch * channels, h, w
    pub input: [u32; 3],
    /// oh, ow: what the rest comes to, rounded down or up; the caller computes it.
    pub output: [u32; 2],
    /// kh, kw
    pub window: [u32; 2],
    /// Down and across.
    pub strides: [u32; 2],
    /// Top, left, bottom, right.
    pub pads: [u32; 4],
    /// Down and across.
    pub dilations: [u32; 2],
}

/// Pools each plane of \[planes, h, w\].
pub fn pool2d(gpu: &Gpu, op: PoolOp, x: &Binding, y: &Binding, s: &Pool2d) -> Result<Command, GpuError> {
    let n = count("pool", &[s.input[0], s.output[0], s.output[1]])?;
    need("pool", "x", x, count("pool", &s.input)?)?;
    need("pool", "y", y, n)?;
    let far = (0..2).map(|d| {
        u64::from(s.output[d]) * u64::from(s.strides[d])
            + u64::from(s.window[d]) * u64::from(s.dilations[d])
            + u64::from(s.input[d + 1])
            + u64::from(s.pads[d])
            + u64::from(s.pads[d + 2])
    });
    if far.max().is_some_and(|far| far >= i32::MAX as u64) {
        return Err(GpuError::argument("pool", "its strides, dilations or pads are too large"));
    }
    gpu.call(&KERNEL)
        .constant("AVERAGE", u8::from(op != PoolOp::Max))
        .constant("COUNT_PAD", u8::from(op == PoolOp::Average { count_pad: true }))
        .bind("x", x)
        .bind("y", y)
        .param("n", n)
        .param("h", s.input[1])
        .param("w", s.input[2])
        .param("oh", s.output[0])
        .param("ow", s.output[1])
        .param("kh", s.window[0])
        .param("kw", s.window[1])
        .param("stride_y", s.strides[0])
        .param("stride_x", s.strides[1])
        .param("pad_y", s.pads[0])
        .param("pad_x", s.pads[1])
        .param("pad_bottom", s.pads[2])
        .param("pad_right", s.pads[3])
        .param("dilation_y", s.dilations[0])
        .param("dilation_x", s.dilations[1])
        .run(Groups::Threads(n.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Elem;
    use crate::twin::Bench;

    pub(super) fn cases(bench: &mut Bench) -> Result<(), GpuError> {
        let plain = Pool2d {
            input: [5, 11, 9],
            output: [6, 4],
            window: [3, 2],
            strides: [2, 2],
            pads: [1, 0, 1, 0],
            dilations: [1, 1],
        };
        // The second is rounded up: its last windows reach past the padding.
        let specs = [plain, Pool2d { output: [5, 5], window: [3, 3], pads: [0, 1, 0, 0], dilations: [2, 1], ..plain }];
        for s in &specs {
            for op in [PoolOp::Max, PoolOp::Average { count_pad: false }, PoolOp::Average { count_pad: true }] {
                let [planes, h, w] = s.input.map(|v| v as i32);
                let (x, xb) = bench.floats_in((planes * h * w) as usize, -2.0, -0.5);
                let mut want = Vec::new();
                for p in 0..planes {
                    for oy in 0..s.output[0] as i32 {
                        for ox in 0..s.output[1] as i32 {
                            let (mut seen, mut padded) = (Vec::new(), 0);
                            for ky in 0..s.window[0] as i32 {
                                for kx in 0..s.window[1] as i32 {
                                    let iy = oy * s.strides[0] as i32 + ky * s.dilations[0] as i32 - s.pads[0] as i32;
                                    let ix = ox * s.strides[1] as i32 + kx * s.dilations[1] as i32 - s.pads[1] as i32;
                                    if iy < h + s.pads[2] as i32 && ix < w + s.pads[3] as i32 {
                                        padded += 1;
                                    }
                                    if (0..h).contains(&iy) && (0..w).contains(&ix) {
                                        seen.push(x[((p * h + iy) * w + ix) as usize]);
                                    }
                                }
                            }
                            let sum: f64 = seen.iter().sum();
                            want.push(match op {
                                PoolOp::Max => seen.iter().copied().fold(f64::from(f32::MIN), f64::max),
                                PoolOp::Average { count_pad: true } => sum / f64::from(padded.max(1)),
                                PoolOp::Average { count_pad: false } => sum / seen.len().max(1) as f64,
                            });
                        }
                    }
                }
                let yb = bench.out(want.len());
                let command = pool2d(bench.gpu, op, &xb, &yb, s)?;
                bench.check(format!("{op:?} {:?}", s.output), command, &yb, Elem::F32, want, 1e-6);
            }
        }
        Ok(())
    }
}
