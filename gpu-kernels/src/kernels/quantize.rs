//! Between floats and integers: ONNX QuantizeLinear, DequantizeLinear and DynamicQuantizeLinear.

use crate::kernels::{Kernel, count, need, quantize_range};
use crate::pipeline::{Call, Groups};
use crate::{Binding, Command, Gpu, GpuError};

/// The kernel.
pub static KERNEL: Kernel = kernel!("quantize");

/// A scale (f32) and a zero point (i32), one number each or one per channel of \[outer, channels, inner\].
#[derive(Debug, Clone, Copy)]
pub struct Quantization<'a> {
    /// f32
    pub scale: &'a Binding,
    /// i32
    pub zero: Option<&'a Binding>,
    /// One per channel, not one for all.
    pub per_channel: bool,
}

fn call<'g>(
    gpu: &'g Gpu,
    entry: &'static str,
    x: &Binding,
    q: Quantization<'_>,
    y: &Binding,
    [outer, channels, inner]: [u32; 3],
) -> Result<(Call<'g>, Groups), GpuError> {
    let n = count("quantize", &[outer, channels, inner])?;
    need("quantize", "x", x, n)?;
    need("quantize", "y", y, n)?;
    let numbers = if q.per_channel { channels } else { 1 };
    need("quantize", "scale", q.scale, numbers)?;
    q.zero.map_or(Ok(()), |z| need("quantize", "zero", z, numbers))?;
    let call = gpu
        .call(&KERNEL)
        .entry(entry)
        .constant("PER_CHANNEL", u8::from(q.per_channel))
        .bind("x", x)
        .bind("scale", q.scale)
        .bind_optional("zero", "HAS_ZERO", q.zero)
        .bind("y", y)
        .param("n", n)
        .param("channels", channels)
        .param("inner", inner);
    Ok((call, Groups::Threads(n.into())))
}

/// y (i32) = x / scale, rounded to even, plus the zero point, held between `low` and `high`: -128 and 127 for i8, 0 and 255 for u8.
pub fn quantize_linear(
    gpu: &Gpu,
    x: &Binding,
    q: Quantization<'_>,
    y: &Binding,
    shape: [u32; 3],
    low: i32,
    high: i32,
) -> Result<Command, GpuError> {
    let (call, groups) = call(gpu, "quantize", x, q, y, shape)?;
    call.param("low", low).param("high", high).run(groups)
}

/// y (f32) = (x - zero) * scale.
pub fn dequantize_linear(
    gpu: &Gpu,
    x: &Binding,
    q: Quantization<'_>,
    y: &Binding,
    shape: [u32; 3],
) -> Result<Command, GpuError> {
    let (call, groups) = call(gpu, "dequantize", x, q, y, shape)?;
    call.param("low", 0i32).param("high", 0i32).run(groups)
}

/// Finds the scale (f32) and zero point (i32) with which u8 covers x, and quantizes it: y is i32 from 0 to 255.
pub fn dynamic_quantize_linear(
    gpu: &Gpu,
    x: &Binding,
    y: &Binding,
    scale: &Binding,
    zero: &Binding,
    n: u32,
) -> Result<Command, GpuError> {
    need("quantize", "x", x, n)?;
    let range = gpu
        .call(&quantize_range::KERNEL)
        .bind("x", x)
        .bind("scale", scale)
        .bind("zero", zero)
        .param("n", n)
        .run(Groups::Grid([1, 1, 1]))?;
    let q = Quantization { scale, zero: Some(zero), per_channel: false };
    let values = quantize_linear(gpu, x, q, y, [1, 1, n], 0, 255)?;
    Ok(Command::sequence("dynamic_quantize_linear", [range, values]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Elem;
    use crate::twin::Bench;

    pub(super) fn cases(bench: &mut Bench) -> Result<(), GpuError> {
        let (outer, channels, inner) = (3usize, 5usize, 7usize);
        let shape = [3, 5, 7];
        let n = outer * channels * inner;
        for (per_channel, with_zero, low, high) in
            [(false, true, 0, 255), (true, true, -128, 127), (true, false, -128, 127)]
        {
            let numbers = if per_channel { channels } else { 1 };
            let channel = |i: usize| if per_channel { i / inner % channels } else { 0 };
            let (zero, zb) = bench.ints(numbers, low / 4, high / 4);
            let zero_of = |c: usize| if with_zero { zero[c] } else { 0 };
            // Powers of two: the quotient is exact, so that the rounding is what is tested.
            let scale: Vec<f32> = (0..numbers).map(|_| 2f32.powi(bench.rng.int(-7, -3))).collect();
            let sb = bench.words(bytemuck::cast_slice(&scale));
            let q = Quantization { scale: &sb, zero: with_zero.then_some(&zb), per_channel };
            let (x, xb) = bench.floats_in(n, -9.0, 9.0);
            let yb = bench.out(n);
            let command = quantize_linear(bench.gpu, &xb, q, &yb, shape, low, high)?;
            let want = x.iter().enumerate().map(|(i, v)| {
                let c = channel(i);
                ((v / f64::from(scale[c])).round_ties_even() + f64::from(zero_of(c))).clamp(low.into(), high.into())
            });
            bench.check(format!("quantize {per_channel} {with_zero}"), command, &yb, Elem::I32, want.collect(), 0.0);
            let (x, xb) = bench.ints(n, low, high);
            let yb = bench.out(n);
            let command = dequantize_linear(bench.gpu, &xb, q, &yb, shape)?;
            let want =
                x.iter().enumerate().map(|(i, v)| f64::from(v - zero_of(channel(i))) * f64::from(scale[channel(i)]));
            bench.check(format!("dequantize {per_channel} {with_zero}"), command, &yb, Elem::F32, want.collect(), 1e-6);
        }
        // Halves go to the even neighbour.
        let halves = [0.5f32, 1.5, 2.5, -0.5, -1.5, 300.0, -300.0];
        let (xb, sb, yb) = (bench.words(bytemuck::cast_slice(&halves)), bench.words(&[1f32.to_bits()]), bench.out(7));
        let q = Quantization { scale: &sb, zero: None, per_channel: false };
        let command = quantize_linear(bench.gpu, &xb, q, &yb, [1, 1, 7], -128, 127)?;
        bench.check("halves", command, &yb, Elem::I32, vec![0.0, 2.0, 2.0, 0.0, -2.0, 127.0, -128.0], 0.0);
        Ok(())
    }
}
