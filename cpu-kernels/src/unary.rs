//! Element-wise functions of one operand.

mod scalar;

pub use scalar::{erf_f64, scalar_f64};

use scalar::scalar_f32;

use crate::number::Number;
use crate::pool::Pool;
use crate::split::SharedMut;
use crate::vecmath as vm;
use crate::wide::wide;

/// An element-wise function; parameters as ONNX names them.
#[derive(Clone, Copy, PartialEq, Debug)]
#[allow(missing_docs, reason = "the names are the functions")]
pub enum UnaryOp {
    Neg,
    Abs,
    Sign,
    Sqrt,
    Rsqrt,
    Reciprocal,
    Square,
    Exp,
    Log,
    Sin,
    Cos,
    Tan,
    Asin,
    Acos,
    Atan,
    Sinh,
    Cosh,
    Asinh,
    Acosh,
    Atanh,
    Erf,
    Tanh,
    Sigmoid,
    Relu,
    /// x / 2 * (1 + erf(x / sqrt 2)).
    Gelu,
    /// Gelu in its tanh form.
    GeluTanh,
    Silu,
    /// x * sigmoid(a x); 1.702 in ONNX Runtime's operator.
    QuickGelu(f32),
    Softplus,
    Softsign,
    Floor,
    Ceil,
    /// To the nearest integer, halves to even.
    Round,
    Trunc,
    LeakyRelu(f32),
    Elu(f32),
    Selu {
        alpha: f32,
        gamma: f32,
    },
    Celu(f32),
    HardSigmoid {
        alpha: f32,
        beta: f32,
    },
    HardSwish,
    Mish,
    ThresholdedRelu(f32),
    /// max(lo, min(hi, x)): hi wins where lo > hi.
    Clip {
        lo: f32,
        hi: f32,
    },
    /// x < -lambd: x + bias; x > lambd: x - bias; else 0.
    Shrink {
        lambd: f32,
        bias: f32,
    },
}

impl UnaryOp {
    /// Elements per parallel piece: fewer for functions that take longer.
    fn grain(self) -> usize {
        use UnaryOp::*;
        match self {
            Neg
            | Abs
            | Sign
            | Sqrt
            | Reciprocal
            | Square
            | Relu
            | Floor
            | Ceil
            | Round
            | Trunc
            | LeakyRelu(_)
            | Clip { .. }
            | HardSigmoid { .. }
            | HardSwish
            | ThresholdedRelu(_)
            | Shrink { .. }
            | Softsign
            | Rsqrt => 16 << 10,
            _ => 4 << 10,
        }
    }
}

/// `y = op(x)`. Panics if the lengths differ.
pub fn unary_f32(pool: &Pool, op: UnaryOp, x: &[f32], y: &mut [f32]) {
    each(pool, op.grain(), x, y, &|y| slice_f32(op, y));
}

/// `y = op(y)`.
pub fn unary_in_place_f32(pool: &Pool, op: UnaryOp, y: &mut [f32]) {
    each_in_place(pool, op.grain(), y, &|y| slice_f32(op, y));
}

/// `y = op(x)`. Panics if the lengths differ.
pub fn unary_f64(pool: &Pool, op: UnaryOp, x: &[f64], y: &mut [f64]) {
    each(pool, 4 << 10, x, y, &|y| y.iter_mut().for_each(|v| *v = scalar_f64(op, *v)));
}

/// `y = op(y)`.
pub fn unary_in_place_f64(pool: &Pool, op: UnaryOp, y: &mut [f64]) {
    each_in_place(pool, 4 << 10, y, &|y| y.iter_mut().for_each(|v| *v = scalar_f64(op, *v)));
}

/// A function of one operand that every number type has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NumberOp<T> {
    /// -x; integers wrap.
    Neg,
    /// |x|; integers wrap.
    Abs,
    /// -1, 0 or 1.
    Sign,
    /// All bits inverted (0 for floats).
    BitNot,
    /// max(x, 0).
    Relu,
    /// max(lo, min(hi, x)): hi wins where lo > hi.
    Clip(T, T),
}

/// `y = op(x)` for any number type. Panics if the lengths differ.
pub fn unary_number<T: Number>(pool: &Pool, op: NumberOp<T>, x: &[T], y: &mut [T]) {
    each(pool, 16 << 10, x, y, &|y| T::unary_slice(op, y));
}

/// `y = op(y)` for any number type.
pub fn unary_number_in_place<T: Number>(pool: &Pool, op: NumberOp<T>, y: &mut [T]) {
    each_in_place(pool, 16 << 10, y, &|y| T::unary_slice(op, y));
}

fn each<T: Copy + Send + Sync>(pool: &Pool, grain: usize, x: &[T], y: &mut [T], f: &(dyn Fn(&mut [T]) + Sync)) {
    assert_eq!(x.len(), y.len(), "input and output of a unary function differ in length");
    let y = SharedMut::new(y);
    pool.for_ranges(x.len(), grain, &|r| {
        // SAFETY: `for_ranges` hands out disjoint ranges.
        let y = unsafe { y.slice(r.clone()) };
        vm::out_of_place(&x[r], y, f);
    });
}

fn each_in_place<T: Copy + Send + Sync>(pool: &Pool, grain: usize, y: &mut [T], f: &(dyn Fn(&mut [T]) + Sync)) {
    let len = y.len();
    let y = SharedMut::new(y);
    // SAFETY: `for_ranges` hands out disjoint ranges.
    pool.for_ranges(len, grain, &|r| f(unsafe { y.slice(r) }));
}

/// A loop over `y` for the widest vectors of the machine.
#[inline(always)]
fn lanes<T: Number>(y: &mut [T], f: impl Fn(T) -> T + Copy) {
    // By way of a block on the stack: a loop that may leave an element as it is becomes conditional stores in place.
    let mut block = [T::ZERO; 512];
    for y in y.chunks_mut(512) {
        let block = &mut block[..y.len()];
        block.copy_from_slice(y);
        let block = &*block;
        wide(
            #[inline(always)]
            move || {
                for (y, &v) in y.iter_mut().zip(block) {
                    *y = f(v);
                }
            },
        );
    }
}

pub(crate) fn slice_number<T: Number>(op: NumberOp<T>, y: &mut [T]) {
    match op {
        NumberOp::Neg => lanes(y, move |v| v.neg()),
        NumberOp::Abs => lanes(y, move |v| v.abs()),
        NumberOp::Sign => lanes(y, move |v| v.sign()),
        NumberOp::BitNot => lanes(y, move |v| v.bit_not()),
        NumberOp::Relu => lanes(y, move |v| if v < T::ZERO { T::ZERO } else { v }),
        NumberOp::Clip(lo, hi) => lanes(y, move |v| {
            let v = if v < lo { lo } else { v };
            if v > hi { hi } else { v }
        }),
    }
}

/// `y = op(y)` on the calling thread. NaN stays NaN in every function but Sign's zero and those of bounds.
pub fn slice_f32(op: UnaryOp, y: &mut [f32]) {
    use UnaryOp::*;
    match op {
        Neg => lanes(y, move |v| -v),
        Abs => lanes(y, move |v| v.abs()),
        Sign => slice_number(NumberOp::Sign, y),
        Sqrt => vm::sqrt_in_place(y),
        Rsqrt => vm::rsqrt_in_place(y),
        Reciprocal => lanes(y, move |v| 1.0 / v),
        Square => lanes(y, move |v| v * v),
        Exp => vm::exp_in_place(y),
        Log => vm::log_in_place(y),
        Erf => vm::erf_in_place(y),
        Tanh => vm::tanh_in_place(y),
        Sigmoid => vm::sigmoid_in_place(y),
        Silu => vm::silu_in_place(y),
        Gelu => vm::gelu_in_place(y),
        GeluTanh => vm::gelu_tanh_in_place(y),
        Softplus => vm::softplus_in_place(y),
        Relu => slice_number(NumberOp::Relu, y),
        Floor => lanes(y, move |v| v.floor()),
        Ceil => lanes(y, move |v| v.ceil()),
        Round => lanes(y, move |v| v.round_ties_even()),
        Trunc => lanes(y, move |v| v.trunc()),
        Softsign => lanes(y, move |v| v / (1.0 + v.abs())),
        LeakyRelu(a) => lanes(y, move |v| if v < 0.0 { a * v } else { v }),
        HardSigmoid { alpha, beta } => lanes(y, move |v| unit(alpha * v + beta)),
        HardSwish => lanes(y, move |v| v * unit(v * (1.0 / 6.0) + 0.5)),
        ThresholdedRelu(a) => lanes(y, move |v| if v <= a { 0.0 } else { v }),
        Clip { lo, hi } => slice_number(NumberOp::Clip(lo, hi), y),
        Shrink { lambd, bias } => lanes(y, move |v| shrink(v, lambd, bias)),
        QuickGelu(a) => lanes(y, move |v| v / (1.0 + vm::exp_lane(-a * v))),
        Mish => lanes(y, |v| {
            // tanh(ln(1 + e)) = e (e + 2) / (e (e + 2) + 2); from 20 on it is 1.
            let e = vm::exp_lane(if v > 20.0 { 20.0 } else { v });
            let t = e * (e + 2.0);
            v * (t / (t + 2.0))
        }),
        Elu(_) | Selu { .. } | Celu(_) | Sin | Cos | Tan | Asin | Acos | Atan | Sinh | Cosh | Asinh | Acosh | Atanh => {
            y.iter_mut().for_each(|v| *v = scalar_f32(op, *v));
        }
    }
}

/// Bounded to 0 .. 1, NaN kept.
#[inline(always)]
fn unit(v: f32) -> f32 {
    let v = if v < 0.0 { 0.0 } else { v };
    if v > 1.0 { 1.0 } else { v }
}

#[inline(always)]
fn shrink(v: f32, lambd: f32, bias: f32) -> f32 {
    if v < -lambd {
        v + bias
    } else if v > lambd {
        v - bias
    } else {
        v * 0.0
    }
}

#[cfg(test)]
mod tests;
