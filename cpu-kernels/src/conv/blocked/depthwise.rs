//! One window for each channel: all vectors are of channels, and a band of the image is padded first, so that no tap needs a check.

use rten_simd::ops::{BitOps, NumOps};
use rten_simd::{Isa, SimdOp};

use super::{Job, activate, activate_stored, block, blocks};
use crate::conv::shape::Axis;
use crate::gemm::Activation;
use crate::gemm::pack::with_scratch;
use crate::pool::SendPtr;

/// Floats of a band, about.
const BAND: usize = 8 * 1024;

/// Output pixels of a task, at least, where that leaves enough tasks.
const TASK_PIXELS: usize = 512;

/// The convolution where each channel is a group.
pub(super) fn run(job: &Job<'_>, w: &[f32], out: &mut [f32]) {
    let (s, c) = (job.shape, block());
    let [_, height, width] = s.axes;
    let (rows, columns) = (height.output(), width.output());
    let (in_plane, plane, taps) = (s.in_plane() * c, s.out_plane() * c, s.taps());
    let padded = width.pad_begin > 0 || (columns - 1) * width.stride + width.extent() > width.input;
    let padded = padded || height.pad_begin > 0 || (rows - 1) * height.stride + height.extent() > height.input;
    let row = if padded { (columns - 1) * width.stride + width.extent() } else { width.input } * c;
    let fit = (BAND / row).saturating_sub(height.extent()) / height.stride + 1;
    let bands = rows.div_ceil(if padded { fit.clamp(4, rows.max(4)) } else { rows });
    let offsets: Vec<usize> =
        (0..taps).map(|t| t / width.kernel * height.dilation * row + t % width.kernel * width.dilation * c).collect();
    let planes = s.batch * blocks(s.out_channels);
    let each = (TASK_PIXELS / (rows * columns)).clamp(1, planes.div_ceil(4 * job.pool.threads()).max(1));
    let residual = SendPtr(job.residual_from(out.as_ptr()).cast_mut());
    let target = SendPtr(out.as_mut_ptr());
    job.share(planes.div_ceil(each), &|i| {
        let longest = (rows.div_ceil(bands) - 1) * height.stride + height.extent();
        with_scratch(if padded { longest * row } else { 0 }, |scratch| {
            for p in i * each..planes.min((i + 1) * each) {
                let x = &job.x[p * in_plane..][..in_plane];
                let channels = p % blocks(s.out_channels);
                for band in 0..bands {
                    let (first, end) = (band * rows / bands, (band + 1) * rows / bands);
                    let x = if padded {
                        let lines = (end - first - 1) * height.stride + height.extent();
                        pad(&height, &width, x, first * height.stride, &mut scratch[..lines * row], row, c);
                        &*scratch
                    } else {
                        &x[first * height.stride * row..]
                    };
                    let start = p * plane + first * columns * c;
                    let len = (end - first) * columns * c;
                    let residual = residual.get().cast_const();
                    // SAFETY: each task has its own planes of the output.
                    let out = unsafe { std::slice::from_raw_parts_mut(target.get().add(start), len) };
                    Rows {
                        x,
                        step: height.stride * row,
                        stride: width.stride * c,
                        offsets: &offsets,
                        w: &w[channels * taps * c..][..taps * c],
                        bias: &job.bias[channels * c..][..c],
                        residual: if residual.is_null() { residual } else { residual.wrapping_add(start) },
                        activation: job.activation,
                        columns,
                        out: &mut *out,
                    }
                    .dispatch();
                    activate_stored(job.activation, out);
                }
            }
        });
    });
}

/// Copies the rows from padded row `first` on, with the padding around them.
fn pad(height: &Axis, width: &Axis, x: &[f32], first: usize, to: &mut [f32], row: usize, c: usize) {
    for (r, to) in to.chunks_exact_mut(row).enumerate() {
        let Some(h) = (first + r).checked_sub(height.pad_begin).filter(|&h| h < height.input) else {
            to.fill(0.0);
            continue;
        };
        let from = &x[h * width.input * c..][..width.input * c];
        let (left, rest) = to.split_at_mut((width.pad_begin * c).min(row));
        let len = from.len().min(rest.len());
        let (middle, right) = rest.split_at_mut(len);
        left.fill(0.0);
        middle.copy_from_slice(&from[..len]);
        right.fill(0.0);
    }
}

/// Some rows of one block of channels.
struct Rows<'a> {
    x: &'a [f32],
    /// From one output row, and one output pixel, to the next.
    step: usize,
    stride: usize,
    offsets: &'a [usize],
    w: &'a [f32],
    bias: &'a [f32],
    residual: *const f32,
    activation: Activation,
    columns: usize,
    out: &'a mut [f32],
}

impl SimdOp for Rows<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<I: Isa>(mut self, isa: I) {
        let lanes = isa.f32().len();
        let rows = self.out.len() / (self.columns * lanes);
        let reach = self.offsets.iter().copied().max().unwrap_or(0);
        assert!((rows - 1) * self.step + (self.columns - 1) * self.stride + reach + lanes <= self.x.len());
        let tiles = self.columns.div_ceil(8);
        for row in 0..rows {
            for t in 0..tiles {
                let start = t * self.columns / tiles;
                match (t + 1) * self.columns / tiles - start {
                    1 => self.tile::<I, 1>(isa, row, start),
                    2 => self.tile::<I, 2>(isa, row, start),
                    3 => self.tile::<I, 3>(isa, row, start),
                    4 => self.tile::<I, 4>(isa, row, start),
                    5 => self.tile::<I, 5>(isa, row, start),
                    6 => self.tile::<I, 6>(isa, row, start),
                    7 => self.tile::<I, 7>(isa, row, start),
                    _ => self.tile::<I, 8>(isa, row, start),
                }
            }
        }
    }
}

impl Rows<'_> {
    /// `M` pixels of a row.
    #[inline(always)]
    fn tile<I: Isa, const M: usize>(&mut self, isa: I, row: usize, start: usize) {
        let ops = isa.f32();
        let lanes = ops.len();
        let at = (row * self.columns + start) * lanes;
        let mut acc = [[ops.load(self.bias)]; M];
        if !self.residual.is_null() {
            for m in 0..M {
                // SAFETY: the residual is laid out as the output, and this part of it is not written yet.
                let r = unsafe { ops.load_ptr(self.residual.add(at + m * lanes)) };
                acc[m][0] = ops.add(acc[m][0], r);
            }
        }
        let x = self.x.as_ptr().wrapping_add(row * self.step + start * self.stride);
        for (t, &offset) in self.offsets.iter().enumerate() {
            // SAFETY: the weights hold a vector for each tap.
            let w = unsafe { ops.load_ptr(self.w.as_ptr().wrapping_add(t * lanes)) };
            let x = x.wrapping_add(offset);
            for m in 0..M {
                // SAFETY: the furthest tap of the last pixel was checked against the input's length.
                let x = unsafe { ops.load_ptr(x.wrapping_add(m * self.stride)) };
                acc[m][0] = ops.mul_add(x, w, acc[m][0]);
            }
        }
        let acc = activate(isa, acc, self.activation);
        let out = &mut self.out[at..at + M * lanes];
        for (m, to) in out.chunks_exact_mut(lanes).enumerate() {
            ops.store(acc[m][0], to);
        }
    }
}
