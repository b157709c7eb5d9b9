//! Winograd's F(2 x 2, 3 x 3) (Lavin & Gray 2015, arXiv 1509.09308): 16 multiplications for four outputs of a 3 x 3 window instead
//! of 36. The sums over channels are pointwise convolutions over tiles, in the same inner kernel.

use std::ops::Range;

use rten_simd::ops::{BitOps, NumOps};
use rten_simd::{Isa, SimdOp};

use super::dense::split;
use super::tile::{Line, Source, Tiles, VECTORS};
use super::{Job, activate, activate_stored, block, blocked_len, blocks, in_registers};
use crate::conv::shape::{Axis, ConvShape};
use crate::gemm::Activation;
use crate::gemm::pack::with_scratch;
use crate::pool::SendPtr;

/// Positions of a transformed tile.
const POSITIONS: usize = 16;

/// Floats of the transformed input of a task, about: they stay in the second cache.
const INPUT: usize = 48 * 1024;

/// More transformed weights than this take longer to load than they save.
const WEIGHTS: usize = 2 * 1024 * 1024;

const NO_BIAS: [f32; 16 * VECTORS] = [0.0; 16 * VECTORS];

/// Whether the transforms cost less than they save.
pub(super) fn pays(s: &ConvShape) -> bool {
    let fits = |a: &Axis| a.kernel == 3 && a.stride == 1 && a.dilation == 1 && a.output() >= 6;
    let weights = POSITIONS * s.in_channels * s.out_channels;
    s.groups == 1
        && fits(&s.axes[1])
        && fits(&s.axes[2])
        && s.in_channels.min(s.out_channels) >= 16
        && weights <= WEIGHTS
}

/// Weights of the transformed tiles.
#[derive(Clone)]
pub(super) struct Packed {
    /// [column][position][block][lane][vectors * c].
    data: Vec<f32>,
    columns: Vec<Column>,
    in_blocks: usize,
}

#[derive(Clone, Copy)]
struct Column {
    start: usize,
    first: usize,
    vectors: usize,
}

/// G g Gᵀ of one window.
fn transform(g: &[f32]) -> [f32; POSITIONS] {
    let rows = |x: [f64; 3]| [x[0], (x[0] + x[1] + x[2]) / 2.0, (x[0] - x[1] + x[2]) / 2.0, x[2]];
    // Down each column, then along each row.
    let down: [[f64; 4]; 3] = std::array::from_fn(|j| rows(std::array::from_fn(|i| f64::from(g[i * 3 + j]))));
    let mut out = [0.0; POSITIONS];
    for i in 0..4 {
        for (j, v) in rows(std::array::from_fn(|j| down[j][i])).into_iter().enumerate() {
            out[i * 4 + j] = v as f32;
        }
    }
    out
}

impl Packed {
    pub(super) fn new(out_channels: usize, in_channels: usize, weights: &[f32]) -> Packed {
        let c = block();
        let (in_blocks, out_blocks) = (blocks(in_channels), blocks(out_channels));
        let mut data = vec![0.0; POSITIONS * in_blocks * c * out_blocks * c];
        let mut columns = Vec::new();
        let (mut start, mut first) = (0, 0);
        for vectors in split(out_blocks) {
            let wide = vectors * c;
            for o in first * c..out_channels.min((first + vectors) * c) {
                for i in 0..in_channels {
                    let window = transform(&weights[(o * in_channels + i) * 9..][..9]);
                    for (p, v) in window.into_iter().enumerate() {
                        data[start + (p * in_blocks * c + i) * wide + o - first * c] = v;
                    }
                }
            }
            columns.push(Column { start, first, vectors });
            start += POSITIONS * in_blocks * c * wide;
            first += vectors;
        }
        Packed { data, columns, in_blocks }
    }

    pub(super) fn floats(&self) -> usize {
        self.data.len()
    }
}

pub(super) fn run(job: &Job<'_>, w: &Packed, out: &mut [f32]) {
    let (s, c) = (job.shape, block());
    let [_, height, width] = s.axes;
    let across = width.output().div_ceil(2);
    let tiles = height.output().div_ceil(2) * across;
    let most = (INPUT / (POSITIONS * w.in_blocks * c)).clamp(12, 96);
    let threads = job.pool.threads();
    let groups = tiles.div_ceil(most);
    // Where the tiles make too few tasks the output's channels are shared too; each task transforms its own input.
    let parts = if threads > 1 { (2 * threads).div_ceil(groups * s.batch).min(w.columns.len()) } else { 1 };
    let (in_image, plane) = (w.in_blocks * s.in_plane() * c, s.out_plane() * c);
    let out_image = blocked_len(s.out_channels, s.out_plane());
    let residual = SendPtr(job.residual_from(out.as_ptr()).cast_mut());
    let target = SendPtr(out.as_mut_ptr());
    job.share(s.batch * groups * parts, &|i| {
        let (image, group, part) = (i / (groups * parts), i / parts % groups, i % parts);
        let range = group * tiles / groups..(group + 1) * tiles / groups;
        let columns = part * w.columns.len() / parts..(part + 1) * w.columns.len() / parts;
        let count = range.len();
        let input_len = POSITIONS * w.in_blocks * c * count;
        with_scratch(input_len + POSITIONS * VECTORS * c * count, |scratch| {
            let (input, sums) = scratch.split_at_mut(input_len);
            let x = &job.x[image * in_image..][..in_image];
            Input { height: &height, width: &width, across, tiles: range.clone(), blocks: w.in_blocks, x, out: input }
                .dispatch();
            let source = Source {
                height: Line { input: 1, taps: 1, stride: 1, dilation: 1, pad: 0 },
                width: Line { input: count, taps: 1, stride: 1, dilation: 1, pad: 0 },
                columns: count,
                row: 0,
                pixel: c,
                block: count * c,
                depth: c,
            };
            for column in &w.columns[columns] {
                let weights = w.in_blocks * c * column.vectors * c;
                for p in 0..POSITIONS {
                    Tiles {
                        source: &source,
                        x: input[p * w.in_blocks * c * count..].as_ptr(),
                        w: w.data[column.start + p * weights..][..weights].as_ptr(),
                        vectors: column.vectors,
                        blocks: 0..w.in_blocks,
                        pixels: 0..count,
                        out: sums[p * VECTORS * c * count..].as_mut_ptr(),
                        residual: std::ptr::null(),
                        plane: count * c,
                        bias: NO_BIAS.as_ptr(),
                        first: true,
                        activation: Activation::None,
                    }
                    .dispatch();
                }
                let residual = residual.get().cast_const();
                for v in 0..column.vectors {
                    let start = image * out_image + (column.first + v) * plane;
                    Output {
                        rows: height.output(),
                        columns: width.output(),
                        across,
                        tiles: range.clone(),
                        sums: &sums[v * count * c..],
                        position: VECTORS * count * c,
                        bias: &job.bias[(column.first + v) * c..][..c],
                        residual: if residual.is_null() { residual } else { residual.wrapping_add(start) },
                        activation: job.activation,
                        out: target.get().wrapping_add(start),
                    }
                    .dispatch();
                }
            }
        });
    });
}

/// Bᵀ d B of each tile.
struct Input<'a> {
    height: &'a Axis,
    width: &'a Axis,
    across: usize,
    tiles: Range<usize>,
    blocks: usize,
    x: &'a [f32],
    /// [position][block][tile][c].
    out: &'a mut [f32],
}

impl SimdOp for Input<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<I: Isa>(self, isa: I) {
        let ops = isa.f32();
        let lanes = ops.len();
        let (rows, columns) = (self.height.input, self.width.input);
        let plane = rows * columns * lanes;
        let count = self.tiles.len();
        let position = self.blocks * count * lanes;
        for b in 0..self.blocks {
            let x = &self.x[b * plane..][..plane];
            for (t, tile) in self.tiles.clone().enumerate() {
                // The tile's first row and column; what is negative becomes huge.
                let top = (tile / self.across * 2).wrapping_sub(self.height.pad_begin);
                let left = (tile % self.across * 2).wrapping_sub(self.width.pad_begin);
                let mut d = [[ops.zero(); 4]; 4];
                for i in 0..4 {
                    let row = top.wrapping_add(i);
                    if row >= rows {
                        continue;
                    }
                    for j in 0..4 {
                        let column = left.wrapping_add(j);
                        if column < columns {
                            d[i][j] = ops.load(&x[(row * columns + column) * lanes..]);
                        }
                    }
                }
                let mut e = [[ops.zero(); 4]; 4];
                for j in 0..4 {
                    e[0][j] = ops.sub(d[0][j], d[2][j]);
                    e[1][j] = ops.add(d[1][j], d[2][j]);
                    e[2][j] = ops.sub(d[2][j], d[1][j]);
                    e[3][j] = ops.sub(d[1][j], d[3][j]);
                }
                let to = &mut self.out[(b * count + t) * lanes..];
                for i in 0..4 {
                    let row = [
                        ops.sub(e[i][0], e[i][2]),
                        ops.add(e[i][1], e[i][2]),
                        ops.sub(e[i][2], e[i][1]),
                        ops.sub(e[i][1], e[i][3]),
                    ];
                    for j in 0..4 {
                        ops.store(row[j], &mut to[(i * 4 + j) * position..]);
                    }
                }
            }
        }
    }
}

/// Aᵀ m A of each tile, for one vector of output channels.
struct Output<'a> {
    rows: usize,
    columns: usize,
    across: usize,
    tiles: Range<usize>,
    /// Position 0, and the floats from one position to the next.
    sums: &'a [f32],
    position: usize,
    bias: &'a [f32],
    /// As `out`, or null.
    residual: *const f32,
    activation: Activation,
    /// The plane of the image.
    out: *mut f32,
}

impl SimdOp for Output<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<I: Isa>(self, isa: I) {
        let ops = isa.f32();
        let lanes = ops.len();
        let bias = ops.load(self.bias);
        for (t, tile) in self.tiles.clone().enumerate() {
            let (top, left) = (tile / self.across * 2, tile % self.across * 2);
            let sums = &self.sums[t * lanes..];
            let mut e = [[ops.zero(); 4]; 2];
            for j in 0..4 {
                let at = |i: usize| (i * 4 + j) * self.position;
                let m = [
                    ops.load(&sums[at(0)..]),
                    ops.load(&sums[at(1)..]),
                    ops.load(&sums[at(2)..]),
                    ops.load(&sums[at(3)..]),
                ];
                e[0][j] = ops.add(ops.add(m[0], m[1]), m[2]);
                e[1][j] = ops.sub(ops.sub(m[1], m[2]), m[3]);
            }
            for i in 0..2 {
                let y = [ops.add(ops.add(e[i][0], e[i][1]), e[i][2]), ops.sub(ops.sub(e[i][1], e[i][2]), e[i][3])];
                for j in 0..2 {
                    let (row, column) = (top + i, left + j);
                    if row >= self.rows || column >= self.columns {
                        continue;
                    }
                    let at = (row * self.columns + column) * lanes;
                    let mut y = ops.add(y[j], bias);
                    if !self.residual.is_null() {
                        // SAFETY: the residual is laid out as the output, and the pixel is inside its plane.
                        y = ops.add(y, unsafe { ops.load_ptr(self.residual.add(at)) });
                    }
                    let [[y]] = activate(isa, [[y]], self.activation);
                    // SAFETY: as above; each task has its own tiles, each tile its own pixels.
                    unsafe { ops.store_ptr(y, self.out.add(at)) };
                    if !in_registers(self.activation) {
                        // SAFETY: the pixel that was just written.
                        let pixel = unsafe { std::slice::from_raw_parts_mut(self.out.add(at), lanes) };
                        activate_stored(self.activation, pixel);
                    }
                }
            }
        }
    }
}
