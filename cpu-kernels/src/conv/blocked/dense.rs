//! Convolutions that sum over channels: direct, with the weights of a chunk of the input in the nearest cache.

use rten_simd::SimdOp;

use super::tile::{Line, Source, Tiles, VECTORS};
use super::{Job, activate_stored, block, blocks, in_registers};
use crate::conv::flat;
use crate::conv::shape::Axis;
use crate::gemm::Activation;
use crate::gemm::pack::with_scratch;
use crate::pool::SendPtr;

/// The floats of a chunk's weights: they stay in the first cache while the pixels pass.
const CHUNK: usize = 4096;

/// The pixels of a task, at most, and the rows of the output in a task of the first layer.
const PIXELS: usize = 256;
const STEM_PIXELS: usize = 900;

/// Weights above this size pass through the second cache once, and the pixels wait there instead.
const LARGE: usize = 64 * 1024;

/// Weights in groups of one to three vectors of output channels.
#[derive(Clone)]
pub(super) struct Packed {
    /// [column][chunk][tap][block of the chunk][lane][vectors * c].
    data: Vec<f32>,
    columns: Vec<Column>,
    /// Input blocks of one group, and of one chunk of it.
    in_blocks: usize,
    chunk: usize,
    taps: usize,
    depth: usize,
}

/// Some neighbouring vectors of output channels.
#[derive(Clone, Copy)]
struct Column {
    start: usize,
    first: usize,
    vectors: usize,
    group: usize,
}

/// The number of vectors in each column of `n`.
pub(super) fn split(n: usize) -> Vec<usize> {
    let wide = block() >= 16;
    match (n, wide) {
        (0, _) => vec![],
        (1, _) => vec![1],
        (n, false) if n % 2 == 0 => vec![2; n / 2],
        (n, false) => [vec![2; (n - 3) / 2], vec![3]].concat(),
        (n, true) => match n % 3 {
            0 => vec![3; n / 3],
            1 => [vec![3; (n - 4) / 3], vec![2, 2]].concat(),
            _ => [vec![3; n / 3], vec![2]].concat(),
        },
    }
}

impl Packed {
    /// Packs the weights `at(output channel, tap, lane)`, where the lanes of one output channel are `in_blocks * depth`.
    pub(super) fn new(
        groups: usize,
        out_group: usize,
        in_blocks: usize,
        taps: usize,
        depth: usize,
        at: &dyn Fn(usize, usize, usize) -> f32,
    ) -> Packed {
        let c = block();
        let most = CHUNK / (taps * depth * VECTORS.min(2) * c).max(1);
        let chunks = in_blocks.div_ceil(most.max(1)).max(1);
        let chunk = in_blocks.div_ceil(chunks).max(1);
        let (mut data, mut columns) = (Vec::new(), Vec::new());
        for group in 0..groups {
            let mut first = group * blocks(out_group);
            let end = (group + 1) * out_group;
            for vectors in split(blocks(out_group)) {
                columns.push(Column { start: data.len(), first, vectors, group });
                for from in (0..in_blocks).step_by(chunk) {
                    for tap in 0..taps {
                        for lane in from * depth..(from + chunk).min(in_blocks) * depth {
                            let outs = first * c..(first + vectors) * c;
                            data.extend(outs.map(|o| if o < end { at(o, tap, lane) } else { 0.0 }));
                        }
                    }
                }
                first += vectors;
            }
        }
        Packed { data, columns, in_blocks, chunk, taps, depth }
    }

    pub(super) fn floats(&self) -> usize {
        self.data.len()
    }
}

/// What one task writes: pixels of a column.
struct Part<'a> {
    w: &'a Packed,
    column: Column,
    source: &'a Source,
    x: *const f32,
    pixels: std::ops::Range<usize>,
    out: *mut f32,
    residual: *const f32,
    plane: usize,
}

impl Part<'_> {
    /// Sums over all chunks of the input.
    fn run(&self, job: &Job<'_>) {
        let (w, c) = (self.w, block());
        let Column { vectors, first, start, group } = self.column;
        let at = first * self.plane;
        let block_floats = w.taps * w.depth * vectors * c;
        for from in (0..w.in_blocks).step_by(w.chunk) {
            let end = (from + w.chunk).min(w.in_blocks);
            let last = end == w.in_blocks;
            let weights = &w.data[start + from * block_floats..start + end * block_floats];
            Tiles {
                source: self.source,
                x: self.x.wrapping_add(group * w.in_blocks * self.source.block),
                w: weights.as_ptr(),
                vectors,
                blocks: from..end,
                pixels: self.pixels.clone(),
                out: self.out.wrapping_add(at),
                residual: if self.residual.is_null() { self.residual } else { self.residual.wrapping_add(at) },
                plane: self.plane,
                bias: job.bias[first * c..(first + vectors) * c].as_ptr(),
                first: from == 0,
                activation: if last { job.activation } else { Activation::None },
            }
            .dispatch();
        }
        if !in_registers(job.activation) {
            for v in 0..vectors {
                let start = at + v * self.plane + self.pixels.start * c;
                // SAFETY: the task's own pixels of its own column.
                let row =
                    unsafe { std::slice::from_raw_parts_mut(self.out.wrapping_add(start), self.pixels.len() * c) };
                activate_stored(job.activation, row);
            }
        }
    }
}

fn line(a: &Axis) -> Line {
    Line { input: a.input, taps: a.kernel, stride: a.stride, dilation: a.dilation, pad: a.pad_begin }
}

/// A blocked input.
pub(super) fn run(job: &Job<'_>, w: &Packed, out: &mut [f32]) {
    let (s, c) = (flat(job.shape), block());
    let [_, height, width] = s.axes;
    let (in_plane, plane) = (s.in_plane(), s.out_plane());
    let source = Source {
        height: line(&height),
        width: line(&width),
        columns: width.output(),
        row: width.input * c,
        pixel: c,
        block: in_plane * c,
        depth: c,
    };
    let columns = w.columns.len();
    // Enough tasks for the threads to share evenly, but not so small that weights are loaded for nothing.
    let wanted = (4 * job.pool.threads()).div_ceil((columns * s.batch).max(1));
    let many = if job.pool.threads() > 1 { wanted.min(plane / 12).max(1) } else { 1 };
    let ranges = plane.div_ceil(PIXELS).max(many);
    let in_image = crate::conv::blocked::blocked_len(s.in_channels, in_plane);
    let out_image = crate::conv::blocked::blocked_len(s.out_channels, plane);
    let residual = SendPtr(job.residual_from(out.as_ptr()).cast_mut());
    let target = SendPtr(out.as_mut_ptr());
    let per_image = columns * ranges;
    job.share(s.batch * per_image, &|i| {
        let (image, i) = (i / per_image, i % per_image);
        let (column, range) = if w.data.len() > LARGE { (i / ranges, i % ranges) } else { (i % columns, i / columns) };
        let residual = residual.get().cast_const();
        Part {
            w,
            column: w.columns[column],
            source: &source,
            x: job.x[image * in_image..].as_ptr(),
            pixels: range * plane / ranges..(range + 1) * plane / ranges,
            out: target.get().wrapping_add(image * out_image),
            residual: if residual.is_null() { residual } else { residual.wrapping_add(image * out_image) },
            plane: plane * c,
        }
        .run(job);
    });
}

/// A plain input of a few channels: bands of it are interleaved and padded first.
pub(super) fn run_stem(job: &Job<'_>, w: &Packed, out: &mut [f32]) {
    let (s, c) = (job.shape, block());
    let [_, height, width] = s.axes;
    let channels = s.in_channels;
    let (rows, columns) = (height.output(), width.output());
    let row = ((columns - 1) * width.stride + width.extent()) * channels;
    let bands = (rows * columns).div_ceil(STEM_PIXELS).max((4 * job.pool.threads()).min(rows.div_ceil(4)));
    let bands = if job.pool.threads() == 1 { (rows * columns).div_ceil(STEM_PIXELS) } else { bands }.min(rows);
    let in_plane = s.in_plane();
    let plane = rows * columns;
    let out_image = crate::conv::blocked::blocked_len(s.out_channels, plane);
    let residual = SendPtr(job.residual_from(out.as_ptr()).cast_mut());
    let target = SendPtr(out.as_mut_ptr());
    job.share(s.batch * bands, &|i| {
        let (image, band) = (i / bands, i % bands);
        let (first, end) = (band * rows / bands, (band + 1) * rows / bands);
        let lines = (end - first - 1) * height.stride + height.extent();
        with_scratch(lines * row, |scratch| {
            let x = &job.x[image * channels * in_plane..][..channels * in_plane];
            for (r, to) in scratch.chunks_exact_mut(row).enumerate() {
                let from = (first * height.stride + r).checked_sub(height.pad_begin).filter(|&h| h < height.input);
                interleave(from.map(|h| h * width.input), x, in_plane, &width, channels, to);
            }
            let source = Source {
                height: Line { input: lines, pad: 0, ..line(&height) },
                width: Line { input: row, taps: 1, pad: 0, ..line(&width) },
                columns,
                row,
                pixel: channels,
                block: 0,
                depth: w.depth,
            };
            let offset = image * out_image + first * columns * c;
            let residual = residual.get().cast_const();
            for &column in &w.columns {
                Part {
                    w,
                    column,
                    source: &source,
                    x: scratch.as_ptr(),
                    pixels: 0..(end - first) * columns,
                    out: target.get().wrapping_add(offset),
                    residual: if residual.is_null() { residual } else { residual.wrapping_add(offset) },
                    plane: plane * c,
                }
                .run(job);
            }
        });
    });
}

/// One padded row with its channels side by side, from the row that starts at `from` of each plane; zeros without one.
fn interleave(from: Option<usize>, x: &[f32], plane: usize, width: &Axis, channels: usize, to: &mut [f32]) {
    let Some(from) = from else { return to.fill(0.0) };
    let pad = (width.pad_begin * channels).min(to.len());
    let (left, rest) = to.split_at_mut(pad);
    let (middle, right) = rest.split_at_mut((width.input * channels).min(rest.len()));
    left.fill(0.0);
    right.fill(0.0);
    match channels {
        1 => middle.copy_from_slice(&x[from..][..middle.len()]),
        3 => {
            let row = |ch: usize| &x[ch * plane + from..][..width.input];
            let pixels = row(0).iter().zip(row(1)).zip(row(2));
            for (to, ((&r, &g), &b)) in middle.chunks_exact_mut(3).zip(pixels) {
                (to[0], to[1], to[2]) = (r, g, b);
            }
        }
        _ => {
            for ch in 0..channels {
                let row = &x[ch * plane + from..][..width.input];
                for (to, &x) in middle[ch..].iter_mut().step_by(channels).zip(row) {
                    *to = x;
                }
            }
        }
    }
}
