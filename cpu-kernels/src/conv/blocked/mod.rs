//! Convolution and pooling in a blocked layout: [batch, channels / c, height, width, c], where c is the number of floats of a vector.
//!
//! Every load, multiplication and store is then one of whole vectors of channels, whatever the width of the image, its padding or the
//! stride. The last block of a tensor whose channels are no multiple of c is filled up with zeros.

mod dense;
mod depthwise;
mod layout;
mod pool;
mod scale;
mod tile;
mod winograd;

use rten_simd::ops::{BitOps, NumOps};
use rten_simd::{Isa, SimdOp};

use super::shape::{Axis, ConvShape, product};
use crate::gemm::{Activation, Finish, RowBias};
use crate::pool::Pool;
pub use layout::{from_blocked, to_blocked};
pub use pool::{average_pool, global_average_pool, max_pool};
pub use scale::scale;

/// Floating-point operations below which waking another thread costs more than it saves.
const SMALL: usize = 1_000_000;

/// The channels of a block on this machine.
pub fn block() -> usize {
    struct Lanes;
    impl SimdOp for Lanes {
        type Output = usize;

        #[inline(always)]
        fn eval<I: Isa>(self, isa: I) -> usize {
            isa.f32().len()
        }
    }
    Lanes.dispatch()
}

/// The blocks that `channels` take.
fn blocks(channels: usize) -> usize {
    channels.div_ceil(block())
}

/// The floats of a tensor of `channels` channels and `rest` other elements (batch, height and width) in the blocked layout.
pub fn blocked_len(channels: usize, rest: usize) -> usize {
    product(&[blocks(channels), block(), rest])
}

/// What is added before the activation.
#[derive(Clone, Copy, Debug)]
pub enum Residual<'a> {
    /// Nothing.
    None,
    /// A tensor in the output's layout.
    Of(&'a [f32]),
    /// What the output holds already.
    InPlace,
}

/// How an input lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputLayout {
    /// Channels first, as in a file.
    Plain,
    /// Blocks of channels.
    Blocked,
}

/// Weights and bias of a convolution with a blocked output, packed once.
#[derive(Clone)]
pub struct BlockedConv {
    weights: Weights,
    bias: Vec<f32>,
    out_channels: usize,
    in_group: usize,
    groups: usize,
    kernel: [usize; 3],
}

#[derive(Clone)]
enum Weights {
    Dense(dense::Packed),
    /// The input's rows are interleaved on the way: all taps of a row are one run of floats.
    Stem(dense::Packed),
    Depthwise(Vec<f32>),
    Winograd(winograd::Packed),
}

impl std::fmt::Debug for BlockedConv {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BlockedConv({} of {} x {:?}, {} groups)", self.out_channels, self.in_group, self.kernel, self.groups)
    }
}

impl BlockedConv {
    /// The input's layout that a convolution can be packed for, if any. Its depth must be 1.
    pub fn takes(shape: &ConvShape) -> Option<InputLayout> {
        let c = block();
        let ConvShape { in_channels, out_channels, groups, .. } = *shape;
        if shape.axes[0] != Axis::UNIT || groups == 0 || in_channels == 0 || out_channels == 0 {
            return None;
        }
        let whole = |channels: usize| channels / groups % c == 0;
        let depthwise = groups == in_channels && groups == out_channels && groups > 1;
        if groups == 1 && in_channels <= 4 && shape.axes[2].dilation == 1 {
            Some(InputLayout::Plain)
        } else if groups == 1 || depthwise || (whole(in_channels) && whole(out_channels)) {
            Some(InputLayout::Blocked)
        } else {
            None
        }
    }

    /// Packs `weights`, [out_channels, in_channels / groups, 1, height, width of the kernel], and one bias for each output channel.
    /// Panics unless [`BlockedConv::takes`] knows the shape.
    pub fn pack(shape: &ConvShape, weights: &[f32], bias: Option<&[f32]>) -> BlockedConv {
        let layout = BlockedConv::takes(shape).unwrap_or_else(|| panic!("no blocked form of {shape:?}"));
        let ConvShape { in_channels, out_channels, groups, axes, .. } = *shape;
        let (in_group, taps) = (in_channels / groups, shape.taps());
        assert!(
            weights.len() == product(&[out_channels, in_group, taps]),
            "the weights do not have their shape's elements"
        );
        assert!(bias.is_none_or(|b| b.len() == out_channels), "the bias must have {out_channels} elements");
        let mut padded = vec![0.0; blocked_len(out_channels, 1)];
        if let Some(b) = bias {
            padded[..out_channels].copy_from_slice(b);
        }
        let weights = if layout == InputLayout::Plain {
            // A row of taps: the channels of each column side by side.
            let [_, rows, columns] = axes.map(|a| a.kernel);
            let at = |o: usize, tap: usize, lane: usize| {
                weights[((o * in_group + lane % in_group) * rows + tap) * columns + lane / in_group]
            };
            Weights::Stem(dense::Packed::new(1, out_channels, 1, rows, in_group * columns, &at))
        } else if groups > 1 && in_group == 1 && out_channels == groups {
            let c = block();
            let mut packed = vec![0.0; blocked_len(groups, taps)];
            for (channel, window) in weights.chunks_exact(taps).enumerate() {
                for (tap, &w) in window.iter().enumerate() {
                    packed[(channel / c * taps + tap) * c + channel % c] = w;
                }
            }
            Weights::Depthwise(packed)
        } else if winograd::pays(shape) {
            Weights::Winograd(winograd::Packed::new(out_channels, in_channels, weights))
        } else {
            let c = block();
            let at = |o: usize, tap: usize, i: usize| {
                if i < in_group { weights[(o * in_group + i) * taps + tap] } else { 0.0 }
            };
            Weights::Dense(dense::Packed::new(groups, out_channels / groups, in_group.div_ceil(c), taps, c, &at))
        };
        BlockedConv { weights, bias: padded, out_channels, in_group, groups, kernel: axes.map(|a| a.kernel) }
    }

    /// The memory that the packed weights take.
    pub fn bytes(&self) -> usize {
        let weights = match &self.weights {
            Weights::Dense(p) | Weights::Stem(p) => p.floats(),
            Weights::Depthwise(w) => w.len(),
            Weights::Winograd(p) => p.floats(),
        };
        (weights + self.bias.len()) * size_of::<f32>()
    }

    /// The layout of the input.
    pub fn input_layout(&self) -> InputLayout {
        if matches!(self.weights, Weights::Stem(_)) { InputLayout::Plain } else { InputLayout::Blocked }
    }

    /// The kernel in words.
    pub fn kernel_name(&self) -> &'static str {
        match self.weights {
            Weights::Stem(_) => "direct conv f32, plain to blocked",
            Weights::Winograd(_) => "Winograd conv f32, blocked",
            Weights::Depthwise(_) => "depthwise conv f32, blocked",
            Weights::Dense(_) if self.kernel == [1, 1, 1] => "pointwise conv f32, blocked",
            Weights::Dense(_) => "direct conv f32, blocked",
        }
    }

    /// `out = activation(conv(x, w) + bias + residual)`, with `x` in its layout and `out` blocked.
    pub fn run(
        &self,
        pool: &Pool,
        shape: &ConvShape,
        x: &[f32],
        residual: Residual<'_>,
        activation: Activation,
        out: &mut [f32],
    ) {
        let plain = self.input_layout() == InputLayout::Plain;
        let channels = if plain { shape.in_channels } else { blocked_len(shape.in_channels, 1) };
        assert!(x.len() == product(&[shape.batch, channels, shape.in_plane()]), "the input does not have its elements");
        let plane = product(&[shape.batch, shape.out_plane()]);
        assert!(out.len() == blocked_len(shape.out_channels, plane), "the output does not have its elements");
        if let Residual::Of(r) = residual {
            assert!(r.len() == out.len(), "the residual must have {} elements", out.len());
        }
        assert!(
            self.out_channels == shape.out_channels
                && self.groups == shape.groups
                && self.in_group * self.groups == shape.in_channels
                && self.kernel == shape.axes.map(|a| a.kernel)
                && shape.axes.iter().all(|a| a.stride > 0 && a.dilation > 0)
                && shape.axes[0] == Axis::UNIT,
            "the packed weights are of another convolution: {self:?}"
        );
        if out.is_empty() {
            return;
        }
        let job = Job { shape, x, bias: &self.bias, residual, activation, pool };
        match &self.weights {
            Weights::Dense(w) => dense::run(&job, w, out),
            Weights::Stem(w) => dense::run_stem(&job, w, out),
            Weights::Depthwise(w) => depthwise::run(&job, w, out),
            Weights::Winograd(w) => winograd::run(&job, w, out),
        }
    }
}

/// The operands of one call.
struct Job<'a> {
    shape: &'a ConvShape,
    x: &'a [f32],
    bias: &'a [f32],
    residual: Residual<'a>,
    activation: Activation,
    pool: &'a Pool,
}

impl Job<'_> {
    /// Where the residual of output element 0 is; null without one.
    fn residual_from(&self, out: *const f32) -> *const f32 {
        match self.residual {
            Residual::None => std::ptr::null(),
            Residual::Of(r) => r.as_ptr(),
            Residual::InPlace => out,
        }
    }

    /// Runs `count` tasks of a call, over the threads if it is large enough.
    fn share(&self, count: usize, task: &(dyn Fn(usize) + Sync)) {
        let s = self.shape;
        let per_output = s.in_channels / s.groups * s.taps();
        if product(&[s.batch, s.out_channels, s.out_plane()]).saturating_mul(2 * per_output) < SMALL {
            (0..count).for_each(task);
        } else {
            self.pool.run(count, task);
        }
    }
}

/// The activations that are applied while the sums are in registers.
fn in_registers(activation: Activation) -> bool {
    matches!(
        activation,
        Activation::None
            | Activation::Relu
            | Activation::Clip(..)
            | Activation::HardSwish
            | Activation::HardSigmoid(..)
            | Activation::LeakyRelu(_)
    )
}

/// The other activations, over what was just stored.
fn activate_stored(activation: Activation, row: &mut [f32]) {
    if !in_registers(activation) {
        Finish { row, alpha: 1.0, bias: RowBias::None, activation, residual: None }.dispatch();
    }
}

/// Applies the activation to vectors in registers, if it is one of [`in_registers`]. (By value and without closures: what a closure
/// borrows would live in memory.)
#[inline(always)]
fn activate<I: Isa, const V: usize, const M: usize>(
    isa: I,
    mut x: [[I::F32; V]; M],
    activation: Activation,
) -> [[I::F32; V]; M] {
    let ops = isa.f32();
    macro_rules! each {
        ($x:ident => $y:expr) => {
            for m in 0..M {
                for v in 0..V {
                    let $x = x[m][v];
                    x[m][v] = $y;
                }
            }
        };
    }
    let (zero, one) = (ops.zero(), ops.one());
    match activation {
        // The value comes second: the maximum of a NaN is then a NaN.
        Activation::Relu => each!(x => ops.max(zero, x)),
        Activation::Clip(low, high) => {
            let (low, high) = (ops.splat(low), ops.splat(high));
            each!(x => ops.min(high, ops.max(low, x)));
        }
        Activation::HardSwish => {
            let (sixth, half) = (ops.splat(1.0 / 6.0), ops.splat(0.5));
            each!(x => ops.mul(x, ops.min(one, ops.max(zero, ops.mul_add(x, sixth, half)))));
        }
        Activation::HardSigmoid(alpha, beta) => {
            let (alpha, beta) = (ops.splat(alpha), ops.splat(beta));
            each!(x => ops.min(one, ops.max(zero, ops.mul_add(x, alpha, beta))));
        }
        Activation::LeakyRelu(slope) => {
            let slope = ops.splat(slope);
            each!(x => ops.select(ops.mul(x, slope), x, ops.lt(x, zero)));
        }
        _ => {}
    }
    x
}

#[cfg(test)]
mod tests;
