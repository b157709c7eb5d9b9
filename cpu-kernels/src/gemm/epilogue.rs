//! What follows a product while its block is hot in the cache: scale, bias, activation, residual.

use rten_simd::functional::simd_apply;
use rten_simd::ops::{BitOps, NumOps};
use rten_simd::{Isa, SimdOp};

use crate::vecmath;

/// An element-wise function fused into a kernel's last step.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Activation {
    /// x
    #[default]
    None,
    /// max(0, x)
    Relu,
    /// x Φ(x), by the error function
    Gelu,
    /// x Φ(x), by the tanh approximation
    GeluTanh,
    /// x sigmoid(x)
    Silu,
    /// 1 / (1 + exp(-x))
    Sigmoid,
    /// tanh(x)
    Tanh,
    /// min(max(x, low), high)
    Clip(f32, f32),
    /// x max(0, min(1, x / 6 + 1 / 2))
    HardSwish,
    /// max(0, min(1, alpha x + beta))
    HardSigmoid(f32, f32),
    /// x where x >= 0, else slope x
    LeakyRelu(f32),
}

/// The steps after a product of m rows and n columns: `activation(alpha * product + bias) + residual`.
#[derive(Clone, Copy, Debug)]
pub struct Epilogue<'a> {
    /// Added to each row; n long. (For convolutions: one per output channel.)
    pub bias: Option<&'a [f32]>,
    /// The function applied after the bias.
    pub activation: Activation,
    /// Added after the activation; m * n long, in the output's layout.
    pub residual: Option<&'a [f32]>,
    /// Multiplies the product before the bias is added.
    pub alpha: f32,
}

impl Default for Epilogue<'_> {
    fn default() -> Self {
        Epilogue { bias: None, activation: Activation::None, residual: None, alpha: 1.0 }
    }
}

impl Epilogue<'_> {
    /// Checks the operands' lengths against m rows and n columns, with `bias_len` biases.
    pub(crate) fn check(&self, out_len: usize, bias_len: usize) {
        assert!(self.bias.is_none_or(|b| b.len() == bias_len), "the bias must have {bias_len} elements");
        assert!(self.residual.is_none_or(|r| r.len() == out_len), "the residual must have {out_len} elements");
    }
}

/// The bias of one row of the output.
#[derive(Clone, Copy)]
pub(crate) enum RowBias<'a> {
    None,
    /// One for each column.
    Each(&'a [f32]),
    /// The same for all columns.
    All(f32),
}

/// Applies an epilogue to one row (or a part of it).
pub(crate) struct Finish<'a> {
    pub(crate) row: &'a mut [f32],
    pub(crate) alpha: f32,
    pub(crate) bias: RowBias<'a>,
    pub(crate) activation: Activation,
    pub(crate) residual: Option<&'a [f32]>,
}

impl SimdOp for Finish<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<I: Isa>(self, isa: I) {
        let ops = isa.f32();
        let row = self.row;
        let alpha = ops.splat(self.alpha);
        match self.bias {
            RowBias::None if self.alpha == 1.0 => {}
            RowBias::None => drop_ref(simd_apply::<_, _, _, 2>(
                ops,
                row,
                #[inline(always)]
                |x| ops.mul(x, alpha),
            )),
            RowBias::All(bias) => {
                let bias = ops.splat(bias);
                simd_apply::<_, _, _, 2>(
                    ops,
                    row,
                    #[inline(always)]
                    |x| ops.mul_add(x, alpha, bias),
                );
            }
            RowBias::Each(bias) => zip_apply(
                isa,
                row,
                bias,
                #[inline(always)]
                |x, b| ops.mul_add(x, alpha, b),
            ),
        }
        activate(isa, row, self.activation);
        if let Some(residual) = self.residual {
            zip_apply(
                isa,
                row,
                residual,
                #[inline(always)]
                |x, r| ops.add(x, r),
            );
        }
    }
}

fn drop_ref(_: &mut [f32]) {}

/// `row[i] = f(row[i], other[i])`.
#[inline(always)]
fn zip_apply<I: Isa>(isa: I, row: &mut [f32], other: &[f32], f: impl Fn(I::F32, I::F32) -> I::F32) {
    let ops = isa.f32();
    let step = ops.len();
    let mut chunks = row.chunks_exact_mut(step);
    let mut others = other.chunks_exact(step);
    for (x, y) in (&mut chunks).zip(&mut others) {
        ops.store(f(ops.load(x), ops.load(y)), x);
    }
    let (tail, other) = (chunks.into_remainder(), others.remainder());
    let count = tail.len().min(other.len());
    if count > 0 {
        let (x, mask) = ops.load_pad(&tail[..count]);
        let (y, _) = ops.load_pad(&other[..count]);
        // SAFETY: the mask covers the first `count` elements, which `tail` has.
        unsafe { ops.store_ptr_mask(f(x, y), tail.as_mut_ptr(), mask) };
    }
}

#[inline(always)]
fn activate<I: Isa>(isa: I, row: &mut [f32], activation: Activation) {
    let ops = isa.f32();
    macro_rules! apply {
        ($x:ident => $y:expr) => {
            drop_ref(simd_apply::<_, _, _, 2>(
                ops,
                row,
                #[inline(always)]
                |$x| $y,
            ))
        };
    }
    match activation {
        Activation::None => {}
        Activation::Relu => {
            let zero = ops.zero();
            // The value comes second: the maximum of a NaN is then a NaN.
            apply!(x => ops.max(zero, x))
        }
        // The same loops as the element-wise operators: a fused activation gives the same bits as one of its own.
        Activation::Gelu => vecmath::gelu_in_place(row),
        Activation::GeluTanh => vecmath::gelu_tanh_in_place(row),
        Activation::Silu => vecmath::silu_in_place(row),
        Activation::Sigmoid => vecmath::sigmoid_in_place(row),
        Activation::Tanh => vecmath::tanh_in_place(row),
        Activation::Clip(low, high) => {
            let (low, high) = (ops.splat(low), ops.splat(high));
            apply!(x => ops.min(high, ops.max(low, x)))
        }
        Activation::HardSwish => {
            let (sixth, half, zero, one) = (ops.splat(1.0 / 6.0), ops.splat(0.5), ops.zero(), ops.one());
            apply!(x => ops.mul(x, ops.min(one, ops.max(zero, ops.mul_add(x, sixth, half)))))
        }
        Activation::HardSigmoid(alpha, beta) => {
            let (alpha, beta, zero, one) = (ops.splat(alpha), ops.splat(beta), ops.zero(), ops.one());
            apply!(x => ops.min(one, ops.max(zero, ops.mul_add(x, alpha, beta))))
        }
        Activation::LeakyRelu(slope) => {
            let (slope, zero) = (ops.splat(slope), ops.zero());
            apply!(x => ops.select(ops.mul(x, slope), x, ops.lt(x, zero)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::{Rng, erf};

    fn exact(activation: Activation, x: f64) -> f64 {
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        match activation {
            Activation::None => x,
            Activation::Relu => x.max(0.0),
            Activation::Gelu => 0.5 * x * (1.0 + erf(x / 2f64.sqrt())),
            Activation::GeluTanh => {
                0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x)).tanh())
            }
            Activation::Silu => x * sigmoid(x),
            Activation::Sigmoid => sigmoid(x),
            Activation::Tanh => x.tanh(),
            Activation::Clip(low, high) => x.clamp(f64::from(low), f64::from(high)),
            Activation::HardSwish => x * (x / 6.0 + 0.5).clamp(0.0, 1.0),
            Activation::HardSigmoid(a, b) => (f64::from(a) * x + f64::from(b)).clamp(0.0, 1.0),
            Activation::LeakyRelu(slope) => {
                if x < 0.0 {
                    x * f64::from(slope)
                } else {
                    x
                }
            }
        }
    }

    #[test]
    fn every_activation_matches_f64() {
        let mut rng = Rng::fresh();
        let all = [
            Activation::None,
            Activation::Relu,
            Activation::Gelu,
            Activation::GeluTanh,
            Activation::Silu,
            Activation::Sigmoid,
            Activation::Tanh,
            Activation::Clip(-0.5, 6.0),
            Activation::HardSwish,
            Activation::HardSigmoid(0.2, 0.5),
            Activation::LeakyRelu(0.01),
        ];
        for activation in all {
            for len in [0, 1, 7, 8, 33, 100] {
                let x: Vec<f32> = rng.floats(len).iter().map(|v| v * 6.0).collect();
                let bias = rng.floats(len);
                let residual = rng.floats(len);
                for (row_bias, residual) in [
                    (RowBias::None, None),
                    (RowBias::All(0.25), Some(residual.as_slice())),
                    (RowBias::Each(&bias), Some(&residual)),
                ] {
                    let mut y = x.clone();
                    Finish { row: &mut y, alpha: 0.5, bias: row_bias, activation, residual }.dispatch();
                    let expected: Vec<f64> = (0..len)
                        .map(|i| {
                            let b = match row_bias {
                                RowBias::None => 0.0,
                                RowBias::All(b) => b,
                                RowBias::Each(b) => b[i],
                            };
                            exact(activation, f64::from(x[i]) * 0.5 + f64::from(b))
                                + residual.map_or(0.0, |r| f64::from(r[i]))
                        })
                        .collect();
                    // Against the size of the argument: far to the left Gelu is a small difference of numbers near 1.
                    for ((y, e), x) in y.iter().zip(&expected).zip(&x) {
                        let err = (f64::from(*y) - e).abs() / f64::from(x.abs()).max(1.0);
                        assert!(err < 1e-6, "{activation:?} of {x}: {y}, not {e}");
                    }
                }
            }
        }
    }

    #[test]
    fn nan_goes_through() {
        for activation in [Activation::Relu, Activation::Clip(0.0, 6.0)] {
            let mut y = [f32::NAN; 9];
            Finish { row: &mut y, alpha: 1.0, bias: RowBias::None, activation, residual: None }.dispatch();
            assert!(y.iter().all(|v| v.is_nan()), "{activation:?}");
        }
    }
}
