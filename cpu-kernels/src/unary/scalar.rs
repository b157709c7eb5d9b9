//! The functions of [`UnaryOp`] on one number: all of them in f64, and in f32 those without a vector form.

use super::UnaryOp;

/// The error function in f64, to about 1e-15: its Taylor series near 0, its continued fraction further out.
pub fn erf_f64(x: f64) -> f64 {
    let z = x.abs();
    if z.is_nan() {
        return x;
    }
    let value = if z < 2.5 {
        let (mut term, mut sum, mut n) = (z, z, 0.0);
        while term.abs() > 1e-18 * sum.abs() {
            n += 1.0;
            term *= -z * z / n;
            sum += term / (2.0 * n + 1.0);
        }
        sum * std::f64::consts::FRAC_2_SQRT_PI
    } else if z < 6.0 {
        let tail = (1..80).rev().fold(z, |f, i| z + f64::from(i) / (2.0 * f));
        1.0 - (-z * z).exp() / tail * (0.5 * std::f64::consts::FRAC_2_SQRT_PI)
    } else {
        1.0
    };
    value.copysign(x)
}

/// sqrt(2 / pi).
const GELU_SCALE: f64 = std::f64::consts::FRAC_2_SQRT_PI * std::f64::consts::FRAC_1_SQRT_2;

/// Any function on one f64.
pub fn scalar_f64(op: UnaryOp, v: f64) -> f64 {
    use UnaryOp::*;
    let sigmoid = |v: f64| 1.0 / (1.0 + (-v).exp());
    let softplus = |v: f64| if v < 0.0 { v.exp().ln_1p() } else { v + (-v).exp().ln_1p() };
    let below = |v: f64, lo: f64| if v < lo { lo } else { v };
    let above = |v: f64, hi: f64| if v > hi { hi } else { v };
    match op {
        Neg => -v,
        Abs => v.abs(),
        Sign => {
            if v > 0.0 {
                1.0
            } else if v < 0.0 {
                -1.0
            } else {
                v
            }
        }
        Sqrt => v.sqrt(),
        Rsqrt => 1.0 / v.sqrt(),
        Reciprocal => 1.0 / v,
        Square => v * v,
        Exp => v.exp(),
        Log => v.ln(),
        Sin => v.sin(),
        Cos => v.cos(),
        Tan => v.tan(),
        Asin => v.asin(),
        Acos => v.acos(),
        Atan => v.atan(),
        Sinh => v.sinh(),
        Cosh => v.cosh(),
        Asinh => v.asinh(),
        Acosh => v.acosh(),
        Atanh => v.atanh(),
        Erf => erf_f64(v),
        Tanh => v.tanh(),
        Sigmoid => sigmoid(v),
        Relu => below(v, 0.0),
        Gelu => 0.5 * v * (1.0 + erf_f64(v * std::f64::consts::FRAC_1_SQRT_2)),
        GeluTanh => 0.5 * v * (1.0 + (GELU_SCALE * (v + 0.044715 * v * v * v)).tanh()),
        Silu => v * sigmoid(v),
        QuickGelu(a) => v * sigmoid(f64::from(a) * v),
        Softplus => softplus(v),
        Softsign => v / (1.0 + v.abs()),
        Floor => v.floor(),
        Ceil => v.ceil(),
        Round => v.round_ties_even(),
        Trunc => v.trunc(),
        LeakyRelu(a) => {
            if v < 0.0 {
                f64::from(a) * v
            } else {
                v
            }
        }
        Elu(a) => {
            if v < 0.0 {
                f64::from(a) * v.exp_m1()
            } else {
                v
            }
        }
        Selu { alpha, gamma } => f64::from(gamma) * if v <= 0.0 { f64::from(alpha) * v.exp_m1() } else { v },
        Celu(a) => {
            if v < 0.0 {
                f64::from(a) * (v / f64::from(a)).exp_m1()
            } else {
                v
            }
        }
        HardSigmoid { alpha, beta } => above(below(f64::from(alpha) * v + f64::from(beta), 0.0), 1.0),
        HardSwish => v * above(below(v / 6.0 + 0.5, 0.0), 1.0),
        Mish => v * softplus(v).tanh(),
        ThresholdedRelu(a) => {
            if v <= f64::from(a) {
                0.0
            } else {
                v
            }
        }
        Clip { lo, hi } => above(below(v, f64::from(lo)), f64::from(hi)),
        Shrink { lambd, bias } => {
            let (lambd, bias) = (f64::from(lambd), f64::from(bias));
            if v < -lambd {
                v + bias
            } else if v > lambd {
                v - bias
            } else {
                v * 0.0
            }
        }
    }
}

/// The functions that [`super::slice_f32`] has no loop for, on one f32; the others by way of f64.
pub(super) fn scalar_f32(op: UnaryOp, v: f32) -> f32 {
    use UnaryOp::*;
    match op {
        Sin => v.sin(),
        Cos => v.cos(),
        Tan => v.tan(),
        Asin => v.asin(),
        Acos => v.acos(),
        Atan => v.atan(),
        Sinh => v.sinh(),
        Cosh => v.cosh(),
        Asinh => v.asinh(),
        Acosh => v.acosh(),
        Atanh => v.atanh(),
        Elu(a) => {
            if v < 0.0 {
                a * v.exp_m1()
            } else {
                v
            }
        }
        Selu { alpha, gamma } => gamma * if v <= 0.0 { alpha * v.exp_m1() } else { v },
        Celu(a) => {
            if v < 0.0 {
                a * (v / a).exp_m1()
            } else {
                v
            }
        }
        other => scalar_f64(other, f64::from(v)) as f32,
    }
}
