//! Normalisations of f32: layer, RMS, batch, instance, group, Lp and local response.

use crate::error::{KernelError, expect_len};
use crate::pool::Pool;
use crate::shape::{around, numel};
use crate::split::SharedMut;
use crate::wide::{join_lanes, wide};

/// Elements per parallel piece, at least.
const GRAIN: usize = 8 << 10;

/// What [`layer_norm`] and [`rms_norm`] do to each row of `cols` elements.
#[derive(Clone, Copy, Debug, Default)]
pub struct RowNorm<'a> {
    /// The length of a row.
    pub cols: usize,
    /// Multiplies the normalised row, `[cols]`.
    pub scale: Option<&'a [f32]>,
    /// Added at the end, `[cols]`.
    pub bias: Option<&'a [f32]>,
    /// Added to the variance (or mean square).
    pub epsilon: f32,
    /// Added to the input first, of the input's length or one row that serves all.
    pub residual: Option<&'a [f32]>,
}

/// What else [`layer_norm`] and [`rms_norm`] can write.
#[derive(Debug, Default)]
pub struct RowNormExtras<'a> {
    /// Input plus residual, of the input's length.
    pub sum: Option<&'a mut [f32]>,
    /// The mean of each row.
    pub mean: Option<&'a mut [f32]>,
    /// 1 / sqrt(variance + epsilon) of each row.
    pub inv_std: Option<&'a mut [f32]>,
}

/// y = (z - mean(z)) / sqrt(var(z) + epsilon) * scale + bias for each row z of x + residual. Relative error about 1e-6.
pub fn layer_norm(
    pool: &Pool,
    norm: RowNorm,
    x: &[f32],
    y: &mut [f32],
    extras: RowNormExtras,
) -> Result<(), KernelError> {
    rows(pool, norm, true, x, y, extras)
}

/// y = z / sqrt(mean(z^2) + epsilon) * scale + bias for each row z of x + residual.
pub fn rms_norm(
    pool: &Pool,
    norm: RowNorm,
    x: &[f32],
    y: &mut [f32],
    extras: RowNormExtras,
) -> Result<(), KernelError> {
    rows(pool, norm, false, x, y, extras)
}

fn rows(
    pool: &Pool,
    norm: RowNorm,
    centred: bool,
    x: &[f32],
    y: &mut [f32],
    extras: RowNormExtras,
) -> Result<(), KernelError> {
    let cols = norm.cols;
    expect_len("the output of a normalisation", y.len(), x.len())?;
    if x.is_empty() {
        return Ok(());
    }
    if cols == 0 || !x.len().is_multiple_of(cols) {
        return Err(KernelError::shape(format!("{} elements are not rows of {cols}", x.len())));
    }
    let n = x.len() / cols;
    for (what, v) in [("scale", norm.scale), ("bias", norm.bias)] {
        expect_len(what, v.map_or(cols, <[f32]>::len), cols)?;
    }
    if let Some(r) = norm.residual.filter(|r| r.len() != cols) {
        expect_len("the residual", r.len(), x.len())?;
    }
    let RowNormExtras { sum, mean, inv_std } = extras;
    expect_len("the sum", sum.as_ref().map_or(x.len(), |s| s.len()), x.len())?;
    for (what, v) in [("the means", &mean), ("the inverse deviations", &inv_std)] {
        expect_len(what, v.as_ref().map_or(n, |v| v.len()), n)?;
    }
    let (y, sum) = (SharedMut::new(y), sum.map(SharedMut::new));
    let (mean_out, inv_std_out) = (mean.map(SharedMut::new), inv_std.map(SharedMut::new));
    pool.for_ranges(n, (GRAIN / cols).max(1), &|range| {
        for row in range {
            let at = row * cols..(row + 1) * cols;
            // SAFETY: each row is a part of its own, here and below.
            let y = unsafe { y.slice(at.clone()) };
            match norm.residual {
                Some(r) => add(&x[at.clone()], if r.len() == cols { r } else { &r[at.clone()] }, y),
                None => y.copy_from_slice(&x[at.clone()]),
            }
            if let Some(sum) = &sum {
                // SAFETY: as above.
                unsafe { sum.slice(at) }.copy_from_slice(y);
            }
            let mean = if centred { row_sum(y, |v| v) / cols as f64 } else { 0.0 };
            let centre = mean as f32;
            let inv_std = inverse_deviation(y, centre, norm.epsilon);
            affine(y, centre, inv_std as f32, norm.scale, norm.bias);
            for (out, v) in [(&mean_out, mean), (&inv_std_out, inv_std)] {
                if let Some(out) = out {
                    // SAFETY: as above.
                    let out = unsafe { out.slice(row..row + 1) };
                    out[0] = v as f32;
                }
            }
        }
    });
    Ok(())
}

fn add(x: &[f32], r: &[f32], y: &mut [f32]) {
    wide(
        #[inline(always)]
        move || {
            for ((y, &x), &r) in y.iter_mut().zip(x).zip(r) {
                *y = x + r;
            }
        },
    );
}

/// The sum of f over a row: blocks in vectors of f32, short enough to be accurate, and their sums in f64.
#[inline(always)]
fn row_sum(x: &[f32], f: impl Fn(f32) -> f32 + Copy) -> f64 {
    const LANES: usize = 32;
    wide(
        #[inline(always)]
        move || {
            let mut sum = 0.0;
            for block in x.chunks(32 * LANES) {
                let mut lanes = [0f32; LANES];
                let (chunks, rest) = block.as_chunks::<LANES>();
                for chunk in chunks {
                    for j in 0..LANES {
                        lanes[j] += f(chunk[j]);
                    }
                }
                for (lane, &v) in lanes.iter_mut().zip(rest) {
                    *lane += f(v);
                }
                sum += f64::from(join_lanes(lanes, |a, b| a + b));
            }
            sum
        },
    )
}

/// 1 / sqrt(mean((x - centre)^2) + epsilon).
fn inverse_deviation(x: &[f32], centre: f32, epsilon: f32) -> f64 {
    let squares = row_sum(
        x,
        #[inline(always)]
        move |v| (v - centre) * (v - centre),
    );
    1.0 / (squares / x.len() as f64 + f64::from(epsilon)).sqrt()
}

/// y = (y - centre) * factor * scale + bias.
fn affine(y: &mut [f32], centre: f32, factor: f32, scale: Option<&[f32]>, bias: Option<&[f32]>) {
    wide(
        #[inline(always)]
        move || match (scale, bias) {
            (Some(s), Some(b)) => {
                for ((y, &s), &b) in y.iter_mut().zip(s).zip(b) {
                    *y = (*y - centre) * factor * s + b;
                }
            }
            (Some(s), None) => {
                for (y, &s) in y.iter_mut().zip(s) {
                    *y = (*y - centre) * factor * s;
                }
            }
            (None, Some(b)) => {
                for (y, &b) in y.iter_mut().zip(b) {
                    *y = (*y - centre) * factor + b;
                }
            }
            (None, None) => {
                for y in y {
                    *y = (*y - centre) * factor;
                }
            }
        },
    );
}

/// y = x * a + b.
fn scale_shift(x: &[f32], a: f32, b: f32, y: &mut [f32]) {
    wide(
        #[inline(always)]
        move || {
            for (y, &x) in y.iter_mut().zip(x) {
                *y = x * a + b;
            }
        },
    );
}

/// The per-channel parameters of a batch normalisation, each `[channels]`.
#[derive(Clone, Copy, Debug)]
pub struct BatchNorm<'a> {
    /// Multiplies.
    pub scale: &'a [f32],
    /// Is added.
    pub bias: &'a [f32],
    /// The running mean.
    pub mean: &'a [f32],
    /// The running variance.
    pub var: &'a [f32],
    /// Added to the variance.
    pub epsilon: f32,
}

/// y = (x - mean) / sqrt(var + epsilon) * scale + bias, per channel of `[batch, channels, spatial]` (the rest flattened).
pub fn batch_norm(pool: &Pool, p: BatchNorm, dims: [usize; 3], x: &[f32], y: &mut [f32]) -> Result<(), KernelError> {
    let [_, channels, spatial] = dims;
    for (what, v) in [("scale", p.scale), ("bias", p.bias), ("mean", p.mean), ("variance", p.var)] {
        expect_len(what, v.len(), channels)?;
    }
    let factors: Vec<(f32, f32)> = (0..channels)
        .map(|c| {
            let a = f64::from(p.scale[c]) / (f64::from(p.var[c]) + f64::from(p.epsilon)).sqrt();
            (a as f32, (f64::from(p.bias[c]) - f64::from(p.mean[c]) * a) as f32)
        })
        .collect();
    planes(
        pool,
        dims,
        x,
        y,
        &|plane, x, y| {
            let (a, b) = factors[plane % channels];
            scale_shift(x, a, b, y);
        },
        spatial,
    )
}

/// What is done to a plane: its number, its input, its output.
type OnPlane<'a> = dyn Fn(usize, &[f32], &mut [f32]) + Sync + 'a;

/// Calls `f(plane, x, y)` in parallel with each run of `len` elements of a tensor of `dims`.
fn planes(pool: &Pool, dims: [usize; 3], x: &[f32], y: &mut [f32], f: &OnPlane, len: usize) -> Result<(), KernelError> {
    expect_len("the input of a normalisation", x.len(), numel(&dims)?)?;
    expect_len("the output of a normalisation", y.len(), x.len())?;
    if x.is_empty() {
        return Ok(());
    }
    let y = SharedMut::new(y);
    pool.for_ranges(x.len() / len, (GRAIN / len).max(1), &|range| {
        for plane in range {
            let at = plane * len..(plane + 1) * len;
            // SAFETY: each plane is a part of its own.
            f(plane, &x[at.clone()], unsafe { y.slice(at) });
        }
    });
    Ok(())
}

/// Each of `groups` groups of channels of each batch item is normalised over its channels and space; then
/// `y = y * scale[c] + bias[c]`. `dims` is `[batch, channels, spatial]`, the rest flattened.
pub fn group_norm(
    pool: &Pool,
    groups: usize,
    scale: &[f32],
    bias: &[f32],
    epsilon: f32,
    dims: [usize; 3],
    x: &[f32],
    y: &mut [f32],
) -> Result<(), KernelError> {
    let [_, channels, spatial] = dims;
    expect_len("scale", scale.len(), channels)?;
    expect_len("bias", bias.len(), channels)?;
    if groups == 0 || !channels.is_multiple_of(groups) {
        return Err(KernelError::setting(format!("{channels} channels do not split into {groups} groups")));
    }
    let each = channels / groups;
    let len = each.checked_mul(spatial).ok_or(KernelError::TooLarge)?;
    planes(
        pool,
        dims,
        x,
        y,
        &|group, x, y| {
            let centre = (row_sum(x, |v| v) / len as f64) as f32;
            let inv_std = inverse_deviation(x, centre, epsilon) as f32;
            let first = group % groups * each;
            for (i, (x, y)) in x.chunks_exact(spatial).zip(y.chunks_exact_mut(spatial)).enumerate() {
                let (a, b) = (inv_std * scale[first + i], bias[first + i]);
                wide(
                    #[inline(always)]
                    move || {
                        for (y, &x) in y.iter_mut().zip(x) {
                            *y = (x - centre) * a + b;
                        }
                    },
                );
            }
        },
        len,
    )
}

/// [`group_norm`] with each channel a group.
pub fn instance_norm(
    pool: &Pool,
    scale: &[f32],
    bias: &[f32],
    epsilon: f32,
    dims: [usize; 3],
    x: &[f32],
    y: &mut [f32],
) -> Result<(), KernelError> {
    if dims[1] == 0 {
        return expect_len("the input of a normalisation", x.len(), 0);
    }
    group_norm(pool, dims[1], scale, bias, epsilon, dims, x, y)
}

/// Divides by the L1 (`p` = 1) or L2 (`p` = 2) norm along `axis`; where the norm is 0 the result is 0.
pub fn lp_normalize(
    pool: &Pool,
    p: u32,
    shape: &[usize],
    axis: usize,
    x: &[f32],
    y: &mut [f32],
) -> Result<(), KernelError> {
    let (outer, n, inner) = around(shape, axis)?;
    if !(1..=2).contains(&p) {
        return Err(KernelError::setting(format!("norm of order {p}: only 1 and 2 are defined")));
    }
    expect_len("the input of a normalisation", x.len(), numel(shape)?)?;
    expect_len("the output of a normalisation", y.len(), x.len())?;
    if x.is_empty() {
        return Ok(());
    }
    let len = n * inner;
    let y = SharedMut::new(y);
    pool.for_ranges(outer, (GRAIN / len).max(1), &|range| {
        let mut norms = vec![0f64; inner];
        for o in range {
            let x = &x[o * len..(o + 1) * len];
            // SAFETY: each outer index is a part of its own.
            let y = unsafe { y.slice(o * len..(o + 1) * len) };
            norms.fill(0.0);
            for row in x.chunks_exact(inner) {
                for (norm, &v) in norms.iter_mut().zip(row) {
                    let v = f64::from(v);
                    *norm += if p == 1 { v.abs() } else { v * v };
                }
            }
            for norm in &mut norms {
                *norm = if p == 1 { *norm } else { norm.sqrt() };
            }
            for (x, y) in x.chunks_exact(inner).zip(y.chunks_exact_mut(inner)) {
                for ((y, &x), &norm) in y.iter_mut().zip(x).zip(&norms) {
                    *y = if norm == 0.0 { 0.0 } else { (f64::from(x) / norm) as f32 };
                }
            }
        }
    });
    Ok(())
}

/// Local response normalisation across channels: y = x / (bias + alpha / size * sum of squares of `size` channels about)^beta.
#[derive(Clone, Copy, Debug)]
pub struct Lrn {
    /// Scales the sum.
    pub alpha: f32,
    /// The exponent.
    pub beta: f32,
    /// Added to the sum.
    pub bias: f32,
    /// The channels summed: floor((size - 1) / 2) before and ceil((size - 1) / 2) after.
    pub size: usize,
}

/// [`Lrn`] over `[batch, channels, spatial]`, the rest flattened.
pub fn lrn(pool: &Pool, p: Lrn, dims: [usize; 3], x: &[f32], y: &mut [f32]) -> Result<(), KernelError> {
    let [_, channels, spatial] = dims;
    if p.size == 0 {
        return Err(KernelError::setting("LRN over 0 channels"));
    }
    let len = channels.checked_mul(spatial).ok_or(KernelError::TooLarge)?;
    let (before, after) = ((p.size - 1) / 2, p.size / 2);
    planes(
        pool,
        dims,
        x,
        y,
        &|_, x, y| {
            let mut sums = vec![0f64; spatial];
            for c in 0..channels {
                sums.fill(0.0);
                let near = c.saturating_sub(before)..c.saturating_add(after).saturating_add(1).min(channels);
                for row in x[near.start * spatial..near.end * spatial].chunks_exact(spatial) {
                    for (sum, &v) in sums.iter_mut().zip(row) {
                        *sum += f64::from(v) * f64::from(v);
                    }
                }
                let at = c * spatial..(c + 1) * spatial;
                for ((y, &x), &sum) in y[at.clone()].iter_mut().zip(&x[at]).zip(&sums) {
                    let scale = f64::from(p.bias) + f64::from(p.alpha) / p.size as f64 * sum;
                    *y = (f64::from(x) / scale.powf(f64::from(p.beta))) as f32;
                }
            }
        },
        len,
    )
}

#[cfg(test)]
mod tests;
