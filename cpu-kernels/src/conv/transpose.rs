//! The transposed convolution: a product gives what each input element adds to each tap, and the taps are summed.

use rten_simd::SimdOp;

use super::shape::{Axis, product};
use crate::gemm::{Epilogue, Finish, RowBias, gemm};
use crate::pool::Pool;

/// The sizes of a transposed convolution over [batch, channels, depth, height, width]. The axes describe the input, its kernel,
/// its strides and what is cut off the output's ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvTransposeShape {
    /// Number of images.
    pub batch: usize,
    /// Channels of the input; a multiple of `groups`.
    pub in_channels: usize,
    /// Channels of the output; a multiple of `groups`.
    pub out_channels: usize,
    /// Number of groups.
    pub groups: usize,
    /// Depth, height, width of the input.
    pub axes: [Axis; 3],
    /// Added to the end of each axis of the output.
    pub output_padding: [usize; 3],
}

impl ConvTransposeShape {
    /// Depth, height and width of the output.
    pub fn output(&self) -> [usize; 3] {
        std::array::from_fn(|i| {
            let a = &self.axes[i];
            let steps = a.input.checked_sub(1).and_then(|n| n.checked_mul(a.stride));
            let full = steps.and_then(|n| n.checked_add(a.extent())?.checked_add(self.output_padding[i]));
            full.and_then(|n| n.checked_sub(a.pad_begin.checked_add(a.pad_end)?)).unwrap_or(0)
        })
    }
}

/// `out = epilogue(conv_transpose(x, w))`, with `w` [in_channels, out_channels / groups, taps]. The bias has one element for each
/// output channel.
pub fn conv_transpose(pool: &Pool, shape: &ConvTransposeShape, x: &[f32], w: &[f32], epi: &Epilogue, out: &mut [f32]) {
    let g = shape.groups;
    assert!(g > 0 && shape.in_channels % g == 0, "groups ({g}) must divide in_channels ({})", shape.in_channels);
    assert!(shape.out_channels % g == 0, "groups ({g}) must divide out_channels ({})", shape.out_channels);
    assert!(
        shape.axes.iter().all(|a| a.stride > 0 && a.dilation > 0 && a.kernel > 0),
        "a stride, dilation or kernel is 0"
    );
    let (n, taps) = (product(&shape.axes.map(|a| a.input)), product(&shape.axes.map(|a| a.kernel)));
    let plane = product(&shape.output());
    let (channels, m) = (shape.in_channels / g, shape.out_channels / g);
    assert!(x.len() == product(&[shape.batch, shape.in_channels, n]), "the input does not have its shape's elements");
    assert!(w.len() == product(&[shape.in_channels, m, taps]), "the weights do not have their shape's elements");
    assert!(
        out.len() == product(&[shape.batch, shape.out_channels, plane]),
        "the output does not have its shape's elements"
    );
    epi.check(out.len(), shape.out_channels);
    if out.is_empty() {
        return;
    }
    let mut parts = vec![0.0; product(&[m, taps, n])];
    for image in 0..shape.batch * g {
        let x = &x[image * channels * n..][..channels * n];
        let w = &w[image % g * channels * m * taps..][..channels * m * taps];
        gemm(pool, m * taps, n, channels, w, true, x, false, &mut parts, &Epilogue::default());
        let first = image * m;
        pool.for_chunks_mut(&mut out[first * plane..][..m * plane], plane, |c, out| {
            out.fill(0.0);
            let parts = &parts[c * taps * n..][..taps * n];
            add_taps(shape, parts, n, out);
            let start = (first + c) * plane;
            let bias = epi.bias.map_or(RowBias::None, |b| RowBias::All(b[(first + c) % shape.out_channels]));
            let residual = epi.residual.map(|r| &r[start..start + plane]);
            Finish { row: out, alpha: epi.alpha, bias, activation: epi.activation, residual }.dispatch();
        });
    }
}

/// Adds the parts of one output channel, [taps, input], to where they belong.
fn add_taps(shape: &ConvTransposeShape, parts: &[f32], n: usize, out: &mut [f32]) {
    let [depth, height, across] = shape.axes;
    let [out_d, out_h, out_w] = shape.output();
    // The place of element i under a tap, where the output has it.
    let place = |a: &Axis, i: usize, tap: usize, len: usize| {
        (i * a.stride + tap * a.dilation).checked_sub(a.pad_begin).filter(|&o| o < len)
    };
    if n == 0 {
        return;
    }
    for (t, part) in parts.chunks_exact(n).enumerate() {
        let (kd, kh, kw) = (t / (height.kernel * across.kernel), t / across.kernel % height.kernel, t % across.kernel);
        for (line, part) in part.chunks_exact(across.input).enumerate() {
            let Some(od) = place(&depth, line / height.input, kd, out_d) else { continue };
            let Some(oh) = place(&height, line % height.input, kh, out_h) else { continue };
            let row = &mut out[(od * out_h + oh) * out_w..][..out_w];
            for (i, &x) in part.iter().enumerate() {
                if let Some(ow) = place(&across, i, kw, out_w) {
                    row[ow] += x;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::{Rng, rel_err};

    #[test]
    fn matches_f64() {
        let mut rng = Rng::fresh();
        for round in 0..60 {
            let axis = |rng: &mut Rng, unit: bool| {
                if unit {
                    return Axis::UNIT;
                }
                let kernel = rng.range(1, 4);
                let pad_begin = rng.below(kernel);
                Axis {
                    input: rng.range(1, 6),
                    kernel,
                    stride: rng.range(1, 3),
                    dilation: rng.range(1, 2),
                    pad_begin,
                    pad_end: rng.below(kernel),
                }
            };
            let groups = rng.range(1, 3);
            let s = ConvTransposeShape {
                batch: rng.range(0, 2),
                in_channels: groups * rng.range(1, 4),
                out_channels: groups * rng.range(1, 4),
                groups,
                axes: [axis(&mut rng, round % 3 != 0), axis(&mut rng, round % 3 == 1), axis(&mut rng, false)],
                output_padding: [0, 0, rng.below(2)],
            };
            let n = product(&s.axes.map(|a| a.input));
            let k = s.axes.map(|a| a.kernel);
            let taps = product(&k);
            let o = s.output();
            let plane = product(&o);
            let (cg, mg) = (s.in_channels / groups, s.out_channels / groups);
            let x = rng.floats(s.batch * s.in_channels * n);
            let w = rng.floats(s.in_channels * mg * taps);
            let bias = rng.floats(s.out_channels);
            let mut expected = vec![0.0f64; s.batch * s.out_channels * plane];
            for (i, e) in expected.iter_mut().enumerate() {
                *e = f64::from(bias[i / plane % s.out_channels]);
            }
            let input = s.axes.map(|a| a.input);
            for b in 0..s.batch {
                for c in 0..s.in_channels {
                    for m in 0..mg {
                        for p in 0..n {
                            for t in 0..taps {
                                let at = [p / (input[1] * input[2]), p / input[2] % input[1], p % input[2]];
                                let tap = [t / (k[1] * k[2]), t / k[2] % k[1], t % k[2]];
                                let mut index = 0;
                                let mut inside = true;
                                for d in 0..3 {
                                    let a = &s.axes[d];
                                    let y = (at[d] * a.stride + tap[d] * a.dilation) as isize - a.pad_begin as isize;
                                    inside &= y >= 0 && y < o[d] as isize;
                                    index = index * o[d] + y.max(0) as usize;
                                }
                                if inside {
                                    let out = (b * s.out_channels + c / cg * mg + m) * plane + index;
                                    expected[out] += f64::from(x[(b * s.in_channels + c) * n + p])
                                        * f64::from(w[(c * mg + m) * taps + t]);
                                }
                            }
                        }
                    }
                }
            }
            for threads in [1, 2, 3] {
                let mut out = vec![f32::NAN; expected.len()];
                let epi = Epilogue { bias: Some(&bias), ..Epilogue::default() };
                conv_transpose(&Pool::new(threads), &s, &x, &w, &epi, &mut out);
                let err = rel_err(&out, &expected);
                assert!(err < 3e-6, "{s:?}, {threads} threads: {err}");
            }
        }
    }
}
