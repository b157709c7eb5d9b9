//! The inner kernel: sums of some pixels times some vectors of output channels stay in registers over a chunk of the input's channels.

use rten_simd::ops::{BitOps, NumOps};
use rten_simd::{Isa, SimdOp};

use super::activate;
use crate::gemm::Activation;

/// The most vectors of output channels, and the most pixels, of a tile.
pub(super) const VECTORS: usize = 3;
const PIXELS: usize = 8;

/// The lanes of an input block, at most: padding is read from here.
const ZEROS: [f32; 16] = [0.0; 16];

/// One axis of the windows: input elements, taps, and where the taps are.
#[derive(Clone, Copy)]
pub(super) struct Line {
    pub(super) input: usize,
    pub(super) taps: usize,
    pub(super) stride: usize,
    pub(super) dilation: usize,
    pub(super) pad: usize,
}

/// Where the input's floats are. A tap of a pixel is a run of `depth` floats in each block.
#[derive(Clone, Copy)]
pub(super) struct Source {
    pub(super) height: Line,
    pub(super) width: Line,
    /// Windows of an output row.
    pub(super) columns: usize,
    /// From one row, pixel, block to the next.
    pub(super) row: usize,
    pub(super) pixel: usize,
    pub(super) block: usize,
    pub(super) depth: usize,
}

/// Some pixels of one group of output vectors, over some blocks of the input.
pub(super) struct Tiles<'a> {
    pub(super) source: &'a Source,
    /// Block 0 of the image's input.
    pub(super) x: *const f32,
    /// [tap][block][lane][vectors * c], for `blocks` only.
    pub(super) w: *const f32,
    pub(super) vectors: usize,
    pub(super) blocks: std::ops::Range<usize>,
    pub(super) pixels: std::ops::Range<usize>,
    /// Pixel 0 of the first vector of the output, and of the residual (or null).
    pub(super) out: *mut f32,
    pub(super) residual: *const f32,
    /// Floats from one vector's plane to the next.
    pub(super) plane: usize,
    pub(super) bias: *const f32,
    pub(super) first: bool,
    /// The activation, on the last chunk.
    pub(super) activation: Activation,
}

impl SimdOp for Tiles<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<I: Isa>(self, isa: I) {
        // As many sums as there are registers, less those for the weights and one for the input.
        let many = isa.f32().len() >= 16;
        let most = match self.vectors {
            1 => PIXELS,
            2 if many => PIXELS,
            2 => 6,
            _ if many => PIXELS,
            _ => 4,
        };
        let count = self.pixels.len();
        let tiles = count.div_ceil(most);
        for t in 0..tiles {
            let start = self.pixels.start + t * count / tiles;
            let end = self.pixels.start + (t + 1) * count / tiles;
            match self.vectors {
                1 => self.pick::<I, 1, PIXELS>(isa, start, end - start),
                2 if many => self.pick::<I, 2, PIXELS>(isa, start, end - start),
                2 => self.pick::<I, 2, 6>(isa, start, end - start),
                3 if many => self.pick::<I, 3, PIXELS>(isa, start, end - start),
                3 => self.pick::<I, 3, 4>(isa, start, end - start),
                _ => unreachable!("a tile has at most {VECTORS} vectors"),
            }
        }
    }
}

impl Tiles<'_> {
    #[inline(always)]
    fn pick<I: Isa, const V: usize, const MOST: usize>(&self, isa: I, start: usize, count: usize) {
        match count {
            1 => self.tile::<I, V, 1>(isa, start),
            2 => self.tile::<I, V, 2>(isa, start),
            3 => self.tile::<I, V, 3>(isa, start),
            4 => self.tile::<I, V, 4>(isa, start),
            5 if MOST > 4 => self.tile::<I, V, 5>(isa, start),
            6 if MOST > 4 => self.tile::<I, V, 6>(isa, start),
            7 if MOST > 6 => self.tile::<I, V, 7>(isa, start),
            8 if MOST > 6 => self.tile::<I, V, 8>(isa, start),
            _ => unreachable!("a tile has at most {MOST} pixels"),
        }
    }

    #[inline(always)]
    fn tile<I: Isa, const V: usize, const M: usize>(&self, isa: I, start: usize) {
        let ops = isa.f32();
        let lanes = ops.len();
        let s = self.source;
        let at = start * lanes;

        let mut acc = [[ops.zero(); V]; M];
        if self.first {
            for v in 0..V {
                // SAFETY: the bias has one element for each lane of each vector.
                let bias = unsafe { ops.load_ptr(self.bias.add(v * lanes)) };
                for m in 0..M {
                    acc[m][v] = bias;
                    if !self.residual.is_null() {
                        // SAFETY: the residual is laid out as the output.
                        let r = unsafe { ops.load_ptr(self.residual.add(v * self.plane + at + m * lanes)) };
                        acc[m][v] = ops.add(bias, r);
                    }
                }
            }
        } else {
            for v in 0..V {
                for m in 0..M {
                    // SAFETY: the caller gives pixels and vectors of the output, which this task alone writes.
                    acc[m][v] = unsafe { ops.load_ptr(self.out.add(v * self.plane + at + m * lanes)) };
                }
            }
        }

        // The first element under each pixel's window; negative in the padding.
        let (mut rows, mut columns) = ([0isize; M], [0isize; M]);
        // A division takes as long as twenty multiplications of vectors; a pointwise convolution has one long row.
        let (mut h, mut w) = if start < s.columns { (0, start) } else { (start / s.columns, start % s.columns) };
        for m in 0..M {
            rows[m] = (h * s.height.stride) as isize - s.height.pad as isize;
            columns[m] = (w * s.width.stride) as isize - s.width.pad as isize;
            w += 1;
            if w == s.columns {
                (h, w) = (h + 1, 0);
            }
        }

        let mut w = self.w;
        let tap_floats = self.blocks.len() * s.depth * V * lanes;
        for kh in 0..s.height.taps {
            for kw in 0..s.width.taps {
                let (down, right) = ((kh * s.height.dilation) as isize, (kw * s.width.dilation) as isize);
                let mut inside = [false; M];
                let mut offsets = [0usize; M];
                let mut any = false;
                for m in 0..M {
                    let (r, c) = ((rows[m] + down) as usize, (columns[m] + right) as usize);
                    // What is negative is huge as unsigned.
                    inside[m] = r < s.height.input && c < s.width.input;
                    any |= inside[m];
                    offsets[m] = r.wrapping_mul(s.row).wrapping_add(c.wrapping_mul(s.pixel));
                }
                if !any {
                    w = w.wrapping_add(tap_floats);
                    continue;
                }
                let mut from = [ZEROS.as_ptr(); M];
                let mut step = [0; M];
                for m in 0..M {
                    if inside[m] {
                        from[m] = self.x.wrapping_add((self.blocks.start * s.block).wrapping_add(offsets[m]));
                        step[m] = s.block;
                    }
                }
                for _ in self.blocks.clone() {
                    // A whole block has a length that the compiler knows.
                    let depth = if s.depth == lanes { lanes } else { s.depth };
                    for lane in 0..depth {
                        let mut weights = [ops.zero(); V];
                        for v in 0..V {
                            // SAFETY: the packed weights hold all taps, blocks and lanes of this chunk.
                            weights[v] = unsafe { ops.load_ptr(w.wrapping_add(v * lanes)) };
                        }
                        for m in 0..M {
                            // SAFETY: the tap is inside the image, or reads zeros: padding is only where depth is a block.
                            let x = ops.splat(unsafe { *from[m].wrapping_add(lane) });
                            for v in 0..V {
                                acc[m][v] = ops.mul_add(x, weights[v], acc[m][v]);
                            }
                        }
                        w = w.wrapping_add(V * lanes);
                    }
                    for m in 0..M {
                        from[m] = from[m].wrapping_add(step[m]);
                    }
                }
            }
        }

        let acc = activate(isa, acc, self.activation);
        for v in 0..V {
            for m in 0..M {
                // SAFETY: as for the loads.
                unsafe { ops.store_ptr(acc[m][v], self.out.add(v * self.plane + at + m * lanes)) };
            }
        }
    }
}
