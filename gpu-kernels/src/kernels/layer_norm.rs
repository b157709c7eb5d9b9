//! Layer, root-mean-square, group and instance norm.

use crate::kernels::{Kernel, count, need};
use crate::pipeline::Groups;
use crate::{Binding, Command, Gpu, GpuError};

/// The kernel.
pub static KERNEL: Kernel = kernel!("layer_norm");

struct Norm<'a> {
    rows: u32,
    cols: u32,
    groups: u32,
    per_group: u32,
    inner: u32,
    eps: f32,
    rms: bool,
    scale: Option<&'a Binding>,
    bias: Option<&'a Binding>,
    residual: Option<&'a Binding>,
    sum: Option<&'a Binding>,
}

impl<'a> Norm<'a> {
    /// Of rows, with a scale per column.
    fn of_rows(rows: u32, cols: u32, eps: f32, scale: Option<&'a Binding>, bias: Option<&'a Binding>) -> Self {
        let (groups, per_group, inner) = (1, cols, 1);
        Norm { rows, cols, groups, per_group, inner, eps, rms: false, scale, bias, residual: None, sum: None }
    }
}

fn run(gpu: &Gpu, x: &Binding, y: &Binding, norm: Norm<'_>) -> Result<Command, GpuError> {
    let total = count("layer_norm", &[norm.rows, norm.cols])?;
    need("layer_norm", "x", x, total)?;
    need("layer_norm", "y", y, total)?;
    if total == 0 {
        return Ok(Command::nothing("layer_norm"));
    }
    let scales = count("layer_norm", &[norm.groups, norm.per_group])?;
    let optional = [
        ("scale", norm.scale, scales),
        ("bias", norm.bias, scales),
        ("residual", norm.residual, total),
        ("sum", norm.sum, total),
    ];
    for (name, binding, elements) in optional {
        binding.map_or(Ok(()), |b| need("layer_norm", name, b, elements))?;
    }
    gpu.call(&KERNEL)
        .constant("RMS", u8::from(norm.rms))
        .bind("x", x)
        .bind_optional("scale", "HAS_SCALE", norm.scale)
        .bind_optional("bias", "HAS_BIAS", norm.bias)
        .bind_optional("residual", "HAS_RESIDUAL", norm.residual)
        .bind_optional("sum", "HAS_SUM", norm.sum)
        .bind("y", y)
        .param("rows", norm.rows)
        .param("cols", norm.cols)
        .param("groups", norm.groups)
        .param("per_group", norm.per_group)
        .param("inner", norm.inner)
        .param("eps", norm.eps)
        .run(Groups::Line(norm.rows.into()))
}

/// Each row of \[rows, cols\] to mean 0 and variance 1, then times `scale`\[cols\] plus `bias`\[cols\].
pub fn layer_norm(
    gpu: &Gpu,
    x: &Binding,
    scale: Option<&Binding>,
    bias: Option<&Binding>,
    y: &Binding,
    rows: u32,
    cols: u32,
    eps: f32,
) -> Result<Command, GpuError> {
    run(gpu, x, y, Norm::of_rows(rows, cols, eps, scale, bias))
}

/// [`layer_norm`] of x + `residual`, or [`rms_norm`] of it; `sum` gets x + `residual` itself. `y` may be the range of `x` or of
/// `residual`.
pub fn add_norm(
    gpu: &Gpu,
    (x, residual): (&Binding, &Binding),
    scale: Option<&Binding>,
    bias: Option<&Binding>,
    (y, sum): (&Binding, Option<&Binding>),
    [rows, cols]: [u32; 2],
    eps: f32,
    rms: bool,
) -> Result<Command, GpuError> {
    run(gpu, x, y, Norm { residual: Some(residual), sum, rms, ..Norm::of_rows(rows, cols, eps, scale, bias) })
}

/// Each row of \[rows, cols\] divided by its root mean square, then times `scale`\[cols\].
pub fn rms_norm(
    gpu: &Gpu,
    x: &Binding,
    scale: Option<&Binding>,
    y: &Binding,
    rows: u32,
    cols: u32,
    eps: f32,
) -> Result<Command, GpuError> {
    run(gpu, x, y, Norm { rms: true, ..Norm::of_rows(rows, cols, eps, scale, None) })
}

/// \[batch, channels, inner\] normalised over groups of channels; scale and bias per channel. With one channel per group it
/// is instance norm.
pub fn group_norm(
    gpu: &Gpu,
    x: &Binding,
    scale: Option<&Binding>,
    bias: Option<&Binding>,
    y: &Binding,
    [batch, channels, inner]: [u32; 3],
    groups: u32,
    eps: f32,
) -> Result<Command, GpuError> {
    if groups == 0 || !channels.is_multiple_of(groups) {
        return Err(GpuError::argument("layer_norm", format!("{channels} channels do not make {groups} groups")));
    }
    let per_group = channels / groups;
    let rows = count("layer_norm", &[batch, groups])?;
    let cols = count("layer_norm", &[per_group, inner])?;
    run(gpu, x, y, Norm { groups, per_group, inner, ..Norm::of_rows(rows, cols, eps, scale, bias) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Elem;
    use crate::twin::Bench;

    fn normal(row: &[f64], eps: f64, rms: bool) -> Vec<f64> {
        let n = row.len() as f64;
        let mean = if rms { 0.0 } else { row.iter().sum::<f64>() / n };
        let var = row.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / n;
        row.iter().map(|v| (v - mean) / (var + eps).sqrt()).collect()
    }

    pub(super) fn cases(bench: &mut Bench) -> Result<(), GpuError> {
        for (rows, cols, with_scale, with_bias) in [(3, 385, true, true), (7, 31, true, false), (1, 129, false, false)]
        {
            // Far from zero, so that a one-pass variance would fail.
            let (x, xb) = bench.floats_in(rows * cols, 90.0, 94.0);
            let (s, sb) = bench.floats(cols);
            let (b, bb) = bench.floats(cols);
            let yb = bench.out(x.len());
            let (scale, bias) = (with_scale.then_some(&sb), with_bias.then_some(&bb));
            let command = layer_norm(bench.gpu, &xb, scale, bias, &yb, rows as u32, cols as u32, 1e-5)?;
            let finish = |i: usize, v: f64| {
                v * if with_scale { s[i % cols] } else { 1.0 } + if with_bias { b[i % cols] } else { 0.0 }
            };
            let norm: Vec<f64> = x.chunks(cols).flat_map(|r| normal(r, 1e-5, false)).collect();
            let want = norm.iter().enumerate().map(|(i, &v)| finish(i, v)).collect();
            bench.check(format!("layer {rows}x{cols}"), command, &yb, Elem::F32, want, 3e-5);

            let yb = bench.out(x.len());
            let command = rms_norm(bench.gpu, &xb, scale, &yb, rows as u32, cols as u32, 1e-6)?;
            let norm: Vec<f64> = x.chunks(cols).flat_map(|r| normal(r, 1e-6, true)).collect();
            let want = norm.iter().enumerate().map(|(i, &v)| v * if with_scale { s[i % cols] } else { 1.0 }).collect();
            bench.check(format!("rms {rows}x{cols}"), command, &yb, Elem::F32, want, 1e-5);
        }
        for rms in [false, true] {
            let (rows, cols) = (5, 201);
            let (x, xb) = bench.floats(rows * cols);
            let (r, rb) = bench.floats(rows * cols);
            let (s, sb) = bench.floats(cols);
            let (yb, sum) = (bench.out(x.len()), bench.out(x.len()));
            let sizes = [rows as u32, cols as u32];
            let command = add_norm(bench.gpu, (&xb, &rb), Some(&sb), None, (&yb, Some(&sum)), sizes, 1e-5, rms)?;
            let sums: Vec<f64> = x.iter().zip(&r).map(|(x, r)| x + r).collect();
            let norm: Vec<f64> = sums.chunks(cols).flat_map(|row| normal(row, 1e-5, rms)).collect();
            let want = norm.iter().enumerate().map(|(i, v)| v * s[i % cols]).collect();
            bench.check(format!("of a sum, rms {rms}"), command.clone(), &yb, Elem::F32, want, 1e-5);
            bench.check(format!("the sum, rms {rms}"), command, &sum, Elem::F32, sums, 1e-6);
        }
        for groups in [2, 6] {
            let (batch, channels, inner) = (3, 6, 35);
            let (x, xb) = bench.floats(batch * channels * inner);
            let (s, sb) = bench.floats(channels);
            let (b, bb) = bench.floats(channels);
            let yb = bench.out(x.len());
            let shape = [batch as u32, channels as u32, inner as u32];
            let command = group_norm(bench.gpu, &xb, Some(&sb), Some(&bb), &yb, shape, groups as u32, 1e-5)?;
            let norm: Vec<f64> = x.chunks(channels / groups * inner).flat_map(|r| normal(r, 1e-5, false)).collect();
            let want =
                norm.iter().enumerate().map(|(i, v)| v * s[i / inner % channels] + b[i / inner % channels]).collect();
            bench.check(format!("group {groups}"), command, &yb, Elem::F32, want, 1e-5);
        }
        Ok(())
    }
}
