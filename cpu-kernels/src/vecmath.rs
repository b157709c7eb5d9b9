//! Transcendental functions on slices of f32, vectorised.
//!
//! Errors measured against f64 over the range in which the result is neither 0 nor saturated (the tests hold them to it):
//!
//! | function | bound | range |
//! |---|---|---|
//! | `exp` | 2 ulp | -87 .. 88.7 |
//! | `log` | 2 ulp | all positive |
//! | `sqrt` | 0.5 ulp | all |
//! | `rsqrt` | 1.5 ulp | all |
//! | `erf` | 8 ulp | all |
//! | `tanh` | 4 ulp | all |
//! | `sigmoid` | 4 ulp | -87 .. |
//! | `gelu`, `gelu_tanh` | 5e-7 x max(1, abs x) | all |
//! | `silu` | 5 ulp | -87 .. |
//! | `softplus` | 4 ulp | -87 .. |
//!
//! NaN gives NaN; infinities give the limits.

mod fused;
mod lanes;

use rten_simd::SimdUnaryOp;

use crate::wide::wide;

pub(crate) use lanes::exp_lane;
use lanes::{ln_1p_lane, ln_lane};

/// Elements per block: stays in the first-level cache.
const BLOCK: usize = 2048;

/// `y = f(x)` where `f` works in place, block by block.
pub(crate) fn out_of_place<T: Copy>(x: &[T], y: &mut [T], f: impl Fn(&mut [T])) {
    assert_eq!(x.len(), y.len(), "input and output of a unary function differ in length");
    for (x, y) in x.chunks(BLOCK).zip(y.chunks_mut(BLOCK)) {
        y.copy_from_slice(x);
        f(y);
    }
}

macro_rules! loops {
    ($($(#[$doc:meta])* $name:ident, $in_place:ident, |$v:ident| $f:expr;)*) => { $(
        $(#[$doc])*
        pub fn $name(x: &[f32], y: &mut [f32]) {
            assert_eq!(x.len(), y.len(), "input and output of a unary function differ in length");
            wide(
                #[inline(always)]
                move || {
                    for (y, &$v) in y.iter_mut().zip(x) {
                        *y = $f;
                    }
                },
            );
        }
        #[doc = concat!("[`", stringify!($name), "`] in place.")]
        pub fn $in_place(y: &mut [f32]) {
            wide(
                #[inline(always)]
                move || {
                    for y in y {
                        let $v = *y;
                        *y = $f;
                    }
                },
            );
        }
    )* };
}

loops! {
    /// y = e^x.
    exp, exp_in_place, |v| exp_lane(v);
    /// The natural logarithm.
    log, log_in_place, |v| ln_lane(v);
    /// The square root.
    sqrt, sqrt_in_place, |v| v.sqrt();
    /// 1 / sqrt(x).
    rsqrt, rsqrt_in_place, |v| 1.0 / v.sqrt();
    /// 1 / (1 + e^-x).
    sigmoid, sigmoid_in_place, |v| 1.0 / (1.0 + exp_lane(-v));
    /// x * sigmoid(x).
    silu, silu_in_place, |v| v / (1.0 + exp_lane(-v));
    /// ln(1 + e^x) = max(x, 0) + ln(1 + e^-|x|).
    softplus, softplus_in_place, |v| (if v < 0.0 { 0.0 } else { v }) + ln_1p_lane(exp_lane(-v.abs()));
}

macro_rules! fused {
    ($($(#[$doc:meta])* $name:ident, $in_place:ident, $op:expr;)*) => { $(
        $(#[$doc])*
        pub fn $name(x: &[f32], y: &mut [f32]) {
            out_of_place(x, y, $in_place);
        }
        #[doc = concat!("[`", stringify!($name), "`] in place.")]
        pub fn $in_place(y: &mut [f32]) {
            $op.map_mut(y);
        }
    )* };
}

fused! {
    /// The hyperbolic tangent.
    tanh, tanh_in_place, rten_vecmath::Tanh {};
    /// The error function.
    erf, erf_in_place, fused::Erf;
    /// x / 2 * (1 + erf(x / sqrt 2)).
    gelu, gelu_in_place, fused::Gelu;
    /// x / 2 * (1 + tanh(u)) with u = sqrt(2 / pi) * (x + 0.044715 x^3), which is x * sigmoid(2u).
    gelu_tanh, gelu_tanh_in_place, fused::GeluTanh;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::Rng;
    use crate::unary::{UnaryOp, scalar_f64};

    /// The distance in units of the last place of the f32 nearest to `want`.
    fn ulps(have: f32, want: f64) -> f64 {
        let near = (want as f32).abs().max(f32::MIN_POSITIVE);
        let ulp = f64::from(f32::from_bits(near.to_bits() + 1)) - f64::from(near);
        let d = (f64::from(have) - want).abs() / ulp;
        if d.is_nan() { f64::INFINITY } else { d }
    }

    fn worst(f: fn(&mut [f32]), op: UnaryOp, args: &[f32], error: fn(f32, f32, f64) -> f64) -> f64 {
        let mut y = args.to_vec();
        f(&mut y);
        args.iter().zip(&y).map(|(&x, &y)| error(x, y, scalar_f64(op, f64::from(x)))).fold(0.0, f64::max)
    }

    #[test]
    fn errors_are_within_the_table() {
        let mut rng = Rng::fresh();
        let mut spread = |lo: f32, hi: f32| -> Vec<f32> {
            rng.floats(200_000).iter().map(|v| lo + (hi - lo) * (v + 1.0) / 2.0).collect()
        };
        let mut exponents: Vec<f32> = spread(-126.0, 127.9).iter().map(|v| v.exp2()).collect();
        exponents.extend([1e-40, 1e-45, f32::MIN_POSITIVE, f32::MAX, 1.0, 0.999_999_94, 1.000_000_1]);
        let near_one: Vec<f32> = spread(0.6, 1.6);
        let by_ulp = |_: f32, y: f32, want: f64| ulps(y, want);
        let scaled = |x: f32, y: f32, want: f64| (f64::from(y) - want).abs() / f64::from(x.abs().max(1.0));
        let cases: &[(&str, f64, f64)] = &[
            ("exp", worst(exp_in_place, UnaryOp::Exp, &spread(-87.0, 88.7), by_ulp), 2.0),
            ("log", worst(log_in_place, UnaryOp::Log, &exponents, by_ulp), 2.0),
            ("log near 1", worst(log_in_place, UnaryOp::Log, &near_one, by_ulp), 2.0),
            ("sqrt", worst(sqrt_in_place, UnaryOp::Sqrt, &exponents, by_ulp), 0.51),
            ("rsqrt", worst(rsqrt_in_place, UnaryOp::Rsqrt, &exponents, by_ulp), 1.5),
            ("erf", worst(erf_in_place, UnaryOp::Erf, &spread(-5.0, 5.0), by_ulp), 8.0),
            ("tanh", worst(tanh_in_place, UnaryOp::Tanh, &spread(-10.0, 10.0), by_ulp), 4.0),
            ("tanh near 0", worst(tanh_in_place, UnaryOp::Tanh, &spread(-0.6, 0.6), by_ulp), 4.0),
            ("sigmoid", worst(sigmoid_in_place, UnaryOp::Sigmoid, &spread(-87.0, 30.0), by_ulp), 4.0),
            ("gelu", worst(gelu_in_place, UnaryOp::Gelu, &spread(-10.0, 10.0), scaled), 5e-7),
            ("gelu_tanh", worst(gelu_tanh_in_place, UnaryOp::GeluTanh, &spread(-10.0, 10.0), scaled), 5e-7),
            ("silu", worst(silu_in_place, UnaryOp::Silu, &spread(-80.0, 30.0), by_ulp), 5.0),
            ("softplus", worst(softplus_in_place, UnaryOp::Softplus, &spread(-87.0, 87.0), by_ulp), 4.0),
            ("softplus near 0", worst(softplus_in_place, UnaryOp::Softplus, &spread(-3.0, 3.0), by_ulp), 4.0),
        ];
        for (name, have, bound) in cases {
            println!("{name}: {have:.3e}");
            assert!(have <= bound, "{name}: {have:e} > {bound:e}");
        }
    }

    #[test]
    fn both_forms_agree() {
        let x = Rng::fresh().floats(5003);
        for (out, own) in [
            (exp as fn(&[f32], &mut [f32]), exp_in_place as fn(&mut [f32])),
            (softplus, softplus_in_place),
            (log, log_in_place),
        ] {
            let (mut y, mut z) = (vec![0.0; x.len()], x.clone());
            out(&x, &mut y);
            own(&mut z);
            assert!(y.iter().zip(&z).all(|(a, b)| a == b || (a.is_nan() && b.is_nan())));
        }
    }
}
