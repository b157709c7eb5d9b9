//! Pools in the blocked layout.

use rten_simd::ops::{BitOps, FloatOps, NumOps};
use rten_simd::{Isa, SimdOp};

use super::{block, blocked_len, blocks};
use crate::conv::shape::{Axis, product};
use crate::pool::Pool;
use crate::pooling::{PoolShape, taps_counted};

/// Floats of the input below which one thread does all.
const SMALL: usize = 64 * 1024;

#[derive(Clone, Copy)]
enum Kind {
    Max,
    Average { count_include_pad: bool },
}

/// The maximum of each window, as [`crate::pooling::max_pool`]; `shape.planes` counts blocks of channels.
pub fn max_pool(pool: &Pool, shape: &PoolShape, x: &[f32], out: &mut [f32]) {
    run(pool, shape, Kind::Max, x, out);
}

/// The average of each window, as [`crate::pooling::average_pool`]; `shape.planes` counts blocks of channels.
pub fn average_pool(pool: &Pool, shape: &PoolShape, x: &[f32], out: &mut [f32], count_include_pad: bool) {
    run(pool, shape, Kind::Average { count_include_pad }, x, out);
}

fn run(pool: &Pool, shape: &PoolShape, kind: Kind, x: &[f32], out: &mut [f32]) {
    let c = block();
    assert!(shape.axes[0] == Axis::UNIT, "a pool over depth has no blocked form");
    let [_, rows, columns] = shape.output();
    let in_plane = product(&shape.axes.map(|a| a.input)) * c;
    let plane = rows * columns * c;
    assert!(
        x.len() == product(&[shape.planes, in_plane]) && out.len() == product(&[shape.planes, plane]),
        "the operands do not have their shape's elements"
    );
    if out.is_empty() {
        return;
    }
    let task =
        |p: usize, out: &mut [f32]| Plane { shape, kind, columns, x: &x[p * in_plane..][..in_plane], out }.dispatch();
    if x.len() < SMALL {
        out.chunks_exact_mut(plane).enumerate().for_each(|(p, out)| task(p, out));
    } else {
        pool.for_chunks_mut(out, plane, task);
    }
}

/// One block of channels.
struct Plane<'a> {
    shape: &'a PoolShape,
    kind: Kind,
    columns: usize,
    x: &'a [f32],
    out: &'a mut [f32],
}

impl SimdOp for Plane<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<I: Isa>(self, isa: I) {
        let ops = isa.f32();
        let lanes = ops.len();
        let [_, height, width] = self.shape.axes;
        for (i, to) in self.out.chunks_exact_mut(lanes).enumerate() {
            let (h, w) = (i / self.columns, i % self.columns);
            let mut acc = match self.kind {
                Kind::Max => ops.splat(f32::NEG_INFINITY),
                Kind::Average { .. } => ops.zero(),
            };
            for row in (0..height.kernel).filter_map(|tap| height.at(h, tap)) {
                for column in (0..width.kernel).filter_map(|tap| width.at(w, tap)) {
                    let x = ops.load(&self.x[(row * width.input + column) * lanes..]);
                    acc = match self.kind {
                        // The maximum of a number and a NaN is the second operand; a NaN that is there already stays.
                        Kind::Max => ops.select(ops.max(acc, x), acc, ops.eq(acc, acc)),
                        Kind::Average { .. } => ops.add(acc, x),
                    };
                }
            }
            if let Kind::Average { count_include_pad } = self.kind {
                let count = taps_counted(&height, h, count_include_pad) * taps_counted(&width, w, count_include_pad);
                acc = if count == 0 { ops.zero() } else { ops.div(acc, ops.splat(count as f32)) };
            }
            ops.store(acc, to);
        }
    }
}

/// The average of each plane, channels first: [batch, channels] from a blocked [batch, channels, plane].
pub fn global_average_pool(pool: &Pool, channels: usize, plane: usize, x: &[f32], out: &mut [f32]) {
    let c = block();
    let images = out.len().checked_div(channels).unwrap_or(0);
    assert!(
        out.len() == images * channels && x.len() == blocked_len(channels, images * plane),
        "the operands do not have their shape's elements"
    );
    let per_image = blocks(channels);
    if images == 0 {
        return;
    }
    let task = |image: usize, out: &mut [f32]| {
        for (b, out) in out.chunks_mut(c).enumerate() {
            let x = &x[(image * per_image + b) * plane * c..][..plane * c];
            Mean { x, out }.dispatch();
        }
    };
    if x.len() < SMALL {
        out.chunks_exact_mut(channels).enumerate().for_each(|(image, out)| task(image, out));
    } else {
        pool.for_chunks_mut(out, channels, task);
    }
}

/// The mean of a block's pixels, for as many channels as `out` has.
struct Mean<'a> {
    x: &'a [f32],
    out: &'a mut [f32],
}

impl SimdOp for Mean<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<I: Isa>(self, isa: I) {
        let ops = isa.f32();
        let lanes = ops.len();
        // Four sums hide the latency of one.
        let mut sums = [ops.zero(); 4];
        for x in self.x.chunks(4 * lanes) {
            for (sum, x) in sums.iter_mut().zip(x.chunks_exact(lanes)) {
                *sum = ops.add(*sum, ops.load(x));
            }
        }
        let sum = ops.add(ops.add(sums[0], sums[1]), ops.add(sums[2], sums[3]));
        let mut mean = [0.0; 16];
        ops.store(ops.div(sum, ops.splat((self.x.len() / lanes) as f32)), &mut mean);
        self.out.copy_from_slice(&mean[..self.out.len()]);
    }
}
