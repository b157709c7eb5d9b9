//! Batch norm with given statistics.

use crate::kernels::unary::Activation;
use crate::kernels::{Kernel, count, need};
use crate::pipeline::Groups;
use crate::{Binding, Command, Gpu, GpuError};

/// The kernel.
pub static KERNEL: Kernel = kernel!("batch_norm");

/// The vectors of a batch norm, each \[channels\].
#[allow(missing_docs, reason = "the names are ONNX's inputs")]
#[derive(Debug, Clone, Copy)]
pub struct Statistics<'a> {
    pub scale: &'a Binding,
    pub bias: &'a Binding,
    pub mean: &'a Binding,
    pub variance: &'a Binding,
}

/// y = act((x - mean) / sqrt(variance + eps) * scale + bias) per channel of \[batch, channels, inner\].
pub fn batch_norm(
    gpu: &Gpu,
    x: &Binding,
    s: Statistics<'_>,
    y: &Binding,
    [batch, channels, inner]: [u32; 3],
    eps: f32,
    activation: Activation,
) -> Result<Command, GpuError> {
    activation.check("batch_norm")?;
    let n = count("batch_norm", &[batch, channels, inner])?;
    need("batch_norm", "x", x, n)?;
    need("batch_norm", "y", y, n)?;
    for (name, b) in [("scale", s.scale), ("bias", s.bias), ("mean", s.mean), ("variance", s.variance)] {
        need("batch_norm", name, b, channels)?;
    }
    gpu.call(&KERNEL)
        .constant("ACT", activation.op as u8)
        .bind("x", x)
        .bind("scale", s.scale)
        .bind("bias", s.bias)
        .bind("mean", s.mean)
        .bind("variance", s.variance)
        .bind("y", y)
        .param("n", n)
        .param("channels", channels)
        .param("inner", inner)
        .param("eps", eps)
        .param("act_a", activation.a)
        .param("act_b", activation.b)
        .run(Groups::Threads(n.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Elem;
    use crate::kernels::unary::UnaryOp;
    use crate::twin::Bench;

    pub(super) fn cases(bench: &mut Bench) -> Result<(), GpuError> {
        let (batch, channels, inner) = (3usize, 5usize, 21usize);
        for relu in [false, true] {
            let (x, xb) = bench.floats(batch * channels * inner);
            let (scale, sb) = bench.floats(channels);
            let (bias, bb) = bench.floats(channels);
            let (mean, mb) = bench.floats(channels);
            let (var, vb) = bench.floats_in(channels, 0.1, 2.0);
            let yb = bench.out(x.len());
            let s = Statistics { scale: &sb, bias: &bb, mean: &mb, variance: &vb };
            let act = if relu { Activation::of(UnaryOp::Relu) } else { Activation::NONE };
            let command = batch_norm(bench.gpu, &xb, s, &yb, [batch as u32, channels as u32, inner as u32], 1e-5, act)?;
            let want = x.iter().enumerate().map(|(i, v)| {
                let c = i / inner % channels;
                let v = (v - mean[c]) / (var[c] + 1e-5).sqrt() * scale[c] + bias[c];
                if relu { v.max(0.0) } else { v }
            });
            bench.check(format!("relu {relu}"), command, &yb, Elem::F32, want.collect(), 1e-5);
        }
        Ok(())
    }
}
