//! The range of a tensor as a scale and a zero point:
//! [`dynamic_quantize_linear`](crate::kernels::quantize::dynamic_quantize_linear) runs it before it quantizes.

use crate::kernels::Kernel;

/// The kernel.
pub static KERNEL: Kernel = kernel!("quantize_range");

#[cfg(test)]
mod tests {
    use crate::GpuError;
    use crate::kernels::Elem;
    use crate::kernels::quantize::dynamic_quantize_linear;
    use crate::twin::Bench;

    pub(super) fn cases(bench: &mut Bench) -> Result<(), GpuError> {
        for (low, high) in [(-3.0, 5.0), (1.0, 2.0), (-2.0, -1.0), (0.0, 0.0)] {
            let (x, xb) = bench.floats_in(601, low, high);
            let (yb, sb, zb) = (bench.out(601), bench.out(1), bench.out(1));
            let command = dynamic_quantize_linear(bench.gpu, &xb, &yb, &sb, &zb, 601)?;
            // As the specification computes it, in f32.
            let least = x.iter().copied().fold(0.0, f64::min) as f32;
            let most = x.iter().copied().fold(0.0, f64::max) as f32;
            let scale = if most == least { 1.0 } else { (most - least) / 255.0 };
            let zero = (-least / scale).round_ties_even().clamp(0.0, 255.0);
            let label = format!("{low} to {high}");
            bench.check(format!("{label}: scale"), command.clone(), &sb, Elem::F32, vec![f64::from(scale)], 1e-6);
            bench.check(format!("{label}: zero"), command.clone(), &zb, Elem::I32, vec![f64::from(zero)], 0.0);
            // A quotient beside a half may round either way: within one step.
            let want: Vec<f64> = x.iter().map(|v| (v / f64::from(scale)).round_ties_even() + f64::from(zero)).collect();
            let top = want.iter().fold(1.0f64, |m, v| m.max(v.abs()));
            bench.check(format!("{label}: values"), command, &yb, Elem::I32, want, 1.01 / top);
        }
        Ok(())
    }
}
