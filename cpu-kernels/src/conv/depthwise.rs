//! One window for each channel: no product to gain from, so the taps run over vectors of neighbouring outputs.

use rten_simd::ops::{BitOps, NumOps};
use rten_simd::{Isa, SimdOp};

use super::shape::{ConvShape, gather};
use crate::gemm::pack::with_scratch;
use crate::gemm::{Activation, Epilogue, Finish, RowBias};
use crate::pool::{Pool, SendPtr};

/// The widest vector, in floats. A tile may read four of them past its row: lanes that no one keeps.
const SLACK: usize = 16;

/// A padded plane whose rows are stored by phase: the columns 0, s, 2s, ... of a stride s, then 1, s + 1, ... So the inputs of
/// neighbouring outputs are neighbours for every tap.
struct Layout {
    /// Floats of one phase of a row, of a row, and of the plane.
    phase: usize,
    row: usize,
    len: usize,
    rows: usize,
    /// The offset of each tap from its output's place, and the greatest of them.
    taps: Vec<usize>,
    reach: usize,
}

impl Layout {
    fn of(shape: &ConvShape) -> Layout {
        let [_, height, across] = shape.axes;
        let [_, out_h, out_w] = shape.output();
        let rows = (out_h - 1) * height.stride + height.extent();
        let width = (out_w - 1) * across.stride + across.extent();
        let phase = width.div_ceil(across.stride);
        let row = phase * across.stride;
        let taps: Vec<usize> = (0..height.kernel * across.kernel)
            .map(|t| {
                let (h, w) = (t / across.kernel * height.dilation, t % across.kernel * across.dilation);
                h * row + w % across.stride * phase + w / across.stride
            })
            .collect();
        let reach = taps.iter().copied().max().unwrap_or(0);
        Layout { phase, row, len: rows * row, rows, taps, reach }
    }

    /// Writes the plane `x` with its padding.
    fn fill(&self, shape: &ConvShape, x: &[f32], padded: &mut [f32]) {
        let [_, height, across] = shape.axes;
        for (r, line) in padded.chunks_exact_mut(self.row).enumerate().take(self.rows) {
            let Some(from) = r.checked_sub(height.pad_begin).filter(|&h| h < height.input) else {
                line.fill(0.0);
                continue;
            };
            let from = &x[from * across.input..][..across.input];
            for (p, to) in line.chunks_exact_mut(self.phase).enumerate() {
                // Column i of this phase is column i * stride + p of the padded row.
                let first = across.pad_begin.saturating_sub(p).div_ceil(across.stride).min(to.len());
                let start = (first * across.stride + p).saturating_sub(across.pad_begin);
                let from = from.get(start..).unwrap_or(&[]);
                let end = to.len().min(first + from.len().div_ceil(across.stride));
                to[..first].fill(0.0);
                gather(&mut to[first..end], from, across.stride);
                to[end..].fill(0.0);
            }
        }
    }
}

/// The convolution where each group has one input channel and the depth is 1.
pub(super) fn run(pool: &Pool, shape: &ConvShape, x: &[f32], w: &[f32], epi: &Epilogue, out: &mut [f32]) {
    let layout = Layout::of(shape);
    let (in_plane, plane) = (shape.in_plane(), shape.out_plane());
    let (taps, many) = (layout.taps.len(), shape.out_channels / shape.groups);
    let groups = shape.batch * shape.groups;
    let target = SendPtr(out.as_mut_ptr());
    // A job of some thousand multiplications at least.
    let grain = (16 * 1024 / (plane * taps * many).max(1)).max(1);
    pool.for_ranges(groups, grain, &|range| {
        with_scratch(layout.len + 4 * SLACK, |padded| {
            for image in range {
                layout.fill(shape, &x[image * in_plane..][..in_plane], padded);
                for c in image * many..(image + 1) * many {
                    let channel = c % shape.out_channels;
                    let start = c * plane;
                    // SAFETY: each job has its own groups, each group its own planes of the output.
                    let out = unsafe { std::slice::from_raw_parts_mut(target.get().add(start), plane) };
                    let weights = &w[channel * taps..][..taps];
                    let early = epi.alpha == 1.0;
                    let bias = epi.bias.map_or(0.0, |b| b[channel]);
                    Plane { shape, layout: &layout, padded, weights, start: if early { bias } else { 0.0 }, out }
                        .dispatch();
                    let residual = epi.residual.map(|r| &r[start..start + plane]);
                    if !early || epi.activation != Activation::None || residual.is_some() {
                        let bias = if early { RowBias::None } else { RowBias::All(bias) };
                        Finish { row: out, alpha: epi.alpha, bias, activation: epi.activation, residual }.dispatch();
                    }
                }
            }
        });
    });
}

/// One plane of the output.
struct Plane<'a> {
    shape: &'a ConvShape,
    layout: &'a Layout,
    padded: &'a [f32],
    weights: &'a [f32],
    /// What the sums start from.
    start: f32,
    out: &'a mut [f32],
}

impl SimdOp for Plane<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<I: Isa>(mut self, isa: I) {
        let lanes = isa.f32().len();
        let [_, out_h, out_w] = self.shape.output();
        let mut h = 0;
        while h < out_h {
            let left = out_h - h;
            // Several sums at a time hide the latency of one: vectors of a long row, or short rows together.
            if out_w <= lanes && left >= 4 {
                self.tile::<I, 4, 1>(isa, h, 0, out_w);
                h += 4;
            } else if out_w <= 2 * lanes && left >= 2 {
                self.tile::<I, 2, 2>(isa, h, 0, out_w);
                h += 2;
            } else {
                let mut w = 0;
                while w < out_w {
                    if out_w - w > 2 * lanes {
                        self.tile::<I, 1, 4>(isa, h, w, out_w);
                        w += 4 * lanes;
                    } else {
                        self.tile::<I, 1, 2>(isa, h, w, out_w);
                        w += 2 * lanes;
                    }
                }
                h += 1;
            }
        }
    }
}

impl Plane<'_> {
    /// `R` rows from `h` on, `V` vectors from column `w` on, as far as they are inside the rows of `out_w`.
    #[inline(always)]
    fn tile<I: Isa, const R: usize, const V: usize>(&mut self, isa: I, h: usize, w: usize, out_w: usize) {
        let ops = isa.f32();
        let lanes = ops.len();
        let down = self.shape.axes[1].stride * self.layout.row;
        let base = h * down + w;
        assert!(base + (R - 1) * down + self.layout.reach + V * lanes <= self.padded.len());
        let mut acc = [[ops.splat(self.start); V]; R];
        for (&tap, &weight) in self.layout.taps.iter().zip(self.weights) {
            let weight = ops.splat(weight);
            for r in 0..R {
                for v in 0..V {
                    // SAFETY: no tap is beyond `reach`, and the furthest read was checked against the plane's length.
                    let x = unsafe { ops.load_ptr(self.padded.as_ptr().add(base + tap + r * down + v * lanes)) };
                    acc[r][v] = ops.mul_add(x, weight, acc[r][v]);
                }
            }
        }
        for r in 0..R {
            for v in 0..V {
                let column = w + v * lanes;
                if column >= out_w {
                    break;
                }
                let at = (h + r) * out_w + column;
                if at + lanes <= self.out.len() {
                    // Lanes past the row's end are overwritten when the next row is stored.
                    ops.store(acc[r][v], &mut self.out[at..]);
                } else {
                    let mut rest = [0.0; SLACK];
                    ops.store(acc[r][v], &mut rest);
                    let count = (out_w - column).min(lanes);
                    self.out[at..at + count].copy_from_slice(&rest[..count]);
                }
            }
        }
    }
}
