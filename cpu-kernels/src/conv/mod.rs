//! Convolution over one, two or three axes, with groups, dilation, strides and uneven padding; channels first.

pub mod blocked;
mod depthwise;
mod im2col;
pub(crate) mod shape;
mod transpose;

use crate::gemm::kernel::{Bias, TileSize};
use crate::gemm::pack::{PackedA, packed_len, with_scratch};
use crate::gemm::{Epilogue, Product};
use crate::pool::{Pool, SendPtr};
use im2col::pack_windows;
pub use shape::{Axis, ConvShape, axes};
pub use transpose::{ConvTransposeShape, conv_transpose};

/// Output positions of a block, at most, and the floats that its windows take, at most.
const BLOCK_COLUMNS: usize = 192;
const BLOCK_FLOATS: usize = 512 * 1024;

/// The weights of a convolution, packed once.
#[derive(Clone)]
pub struct PackedConv {
    weights: Weights,
    out_channels: usize,
    in_group: usize,
    groups: usize,
    kernel: [usize; 3],
}

#[derive(Clone)]
enum Weights {
    /// One packed [out / groups, taps * in / groups] matrix a group.
    Dense(Vec<PackedA>),
    /// One window for each output channel, as stored.
    Depthwise(Vec<f32>),
}

impl std::fmt::Debug for PackedConv {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PackedConv({} of {} x {:?}, {} groups)", self.out_channels, self.in_group, self.kernel, self.groups)
    }
}

impl PackedConv {
    /// Packs `weights`, [out_channels, in_channels / groups, depth, height, width of the kernel] in row-major order. (A kernel of
    /// fewer axes has ones in front.)
    pub fn pack(
        out_channels: usize,
        in_group: usize,
        kernel: [usize; 3],
        groups: usize,
        weights: &[f32],
    ) -> PackedConv {
        assert!(
            groups > 0 && out_channels % groups == 0,
            "groups ({groups}) must divide out_channels ({out_channels})"
        );
        let taps = shape::product(&kernel);
        let expected = shape::product(&[out_channels, in_group, taps]);
        assert!(weights.len() == expected, "the weights must have {expected} elements, not {}", weights.len());
        let weights = if in_group == 1 && groups > 1 && kernel[0] == 1 {
            Weights::Depthwise(weights.to_vec())
        } else {
            let (m, k) = (out_channels / groups, in_group * taps);
            let mut turned = vec![0.0; m * k];
            let pack = |g: usize| {
                // [m, channels, taps] to [m, taps, channels], the order of the packed windows.
                for i in 0..m {
                    let from = &weights[(g * m + i) * k..][..k];
                    for c in 0..in_group {
                        for t in 0..taps {
                            turned[i * k + t * in_group + c] = from[c * taps + t];
                        }
                    }
                }
                PackedA::pack(&turned, m, k)
            };
            Weights::Dense((0..groups).map(pack).collect())
        };
        PackedConv { weights, out_channels, in_group, groups, kernel }
    }

    /// The memory that the packed weights take.
    pub fn bytes(&self) -> usize {
        match &self.weights {
            Weights::Dense(groups) => groups.iter().map(PackedA::bytes).sum(),
            Weights::Depthwise(w) => size_of_val(w.as_slice()),
        }
    }
}

/// `out = epilogue(conv(x, w))`, with `x` [batch, in_channels, ...] and `out` [batch, out_channels, ...]. The bias has one element
/// for each output channel. `scratch` is kept between calls by the caller; it grows as needed.
pub fn conv(
    pool: &Pool,
    shape: &ConvShape,
    x: &[f32],
    w: &PackedConv,
    epi: &Epilogue,
    out: &mut [f32],
    scratch: &mut Vec<f32>,
) {
    shape.check(x.len(), out.len());
    epi.check(out.len(), shape.out_channels);
    assert!(
        w.out_channels == shape.out_channels
            && w.groups == shape.groups
            && w.in_group == shape.in_channels / shape.groups
            && w.kernel == shape.axes.map(|a| a.kernel),
        "the packed weights are of another convolution: {w:?}"
    );
    if out.is_empty() {
        return;
    }
    match &w.weights {
        // Without a depth of its own, each plane of depth would need another batch.
        Weights::Depthwise(w) if shape.axes[0].is_identity() && shape.axes[0].input == 1 => {
            depthwise::run(pool, shape, x, w, epi, out);
        }
        Weights::Depthwise(w) => {
            let m = shape.out_channels / shape.groups;
            let k = shape.taps();
            let groups: Vec<_> = w.chunks_exact(m * k).map(|w| PackedA::pack(w, m, k)).collect();
            dense(pool, &flat(shape), x, &groups, epi, out, scratch);
        }
        Weights::Dense(groups) => dense(pool, &flat(shape), x, groups, epi, out, scratch),
    }
}

/// A pointwise convolution runs over the plane as one long row.
fn flat(shape: &ConvShape) -> ConvShape {
    if shape.axes.iter().all(Axis::is_identity) {
        let long = Axis { input: shape.in_plane(), ..Axis::UNIT };
        ConvShape { axes: [Axis::UNIT, Axis::UNIT, long], ..*shape }
    } else {
        *shape
    }
}

fn dense(
    pool: &Pool,
    shape: &ConvShape,
    x: &[f32],
    w: &[PackedA],
    epi: &Epilogue,
    out: &mut [f32],
    scratch: &mut Vec<f32>,
) {
    let tile = TileSize::here();
    let (in_plane, plane) = (shape.in_plane(), shape.out_plane());
    let (channels, m) = (shape.in_channels / shape.groups, shape.out_channels / shape.groups);
    let k = channels * shape.taps();
    let columns = BLOCK_COLUMNS.min(BLOCK_FLOATS / k.max(1)).max(1);
    let columns = plane.div_ceil(plane.div_ceil(columns)).div_ceil(tile.columns) * tile.columns;
    let blocks = plane.div_ceil(columns);
    let images = shape.batch * shape.groups;
    let product = |image: usize| {
        let group = image % shape.groups;
        Product {
            m,
            n: plane,
            k,
            a: w[group].left(k),
            b: &[],
            bias: epi.bias.map_or(Bias::None, |b| Bias::Rows(&b[group * m..][..m])),
            alpha: epi.alpha,
            activation: epi.activation,
            residual: epi.residual.map(|r| &r[image * m * plane..][..m * plane]),
            out_row: plane,
        }
    };
    let windows = |image: usize| &x[image * channels * in_plane..][..channels * in_plane];
    if pool.threads() == 1 || images * blocks >= 2 * pool.threads() {
        let target = SendPtr(out.as_mut_ptr());
        pool.run(images * blocks, &|i| {
            let (image, start) = (i / blocks, i % blocks * columns);
            let range = start..plane.min(start + columns);
            with_scratch(packed_len(k, range.len(), tile), |panels| {
                pack_windows(shape, windows(image), channels, range.clone(), tile.columns, panels);
                let whole = product(image);
                let bias_and_rest = Product { b: panels, residual: whole.residual.map(|r| &r[start..]), ..whole };
                for row in (0..m).step_by(crate::gemm::BLOCK_ROWS) {
                    let rows = row..m.min(row + crate::gemm::BLOCK_ROWS);
                    // SAFETY: the image's planes are m * plane elements of the output, and the columns of a job are its own; the
                    // packed weights hold m rows of k.
                    unsafe { bias_and_rest.block(rows, 0..range.len(), target.get().add(image * m * plane + start)) };
                }
            });
        });
        return;
    }
    // Too few blocks of columns for the threads: pack the windows together, then share the rows as well.
    let len = packed_len(k, plane, tile);
    if scratch.len() < len {
        scratch.resize(len, 0.0);
    }
    for image in 0..images {
        let panels = &mut scratch[..len];
        pool.for_chunks_mut(panels, (k * tile.columns).max(1), |i, panel| {
            let start = i * tile.columns;
            let range = start..plane.min(start + tile.columns);
            pack_windows(shape, windows(image), channels, range, tile.columns, panel);
        });
        let product = Product { b: panels, ..product(image) };
        // SAFETY: the packed weights hold m rows of k.
        unsafe { product.run(pool, &mut out[image * m * plane..][..m * plane]) };
    }
}

#[cfg(test)]
mod tests;
