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
//! | `erf` | 6e-7 absolute | all |
//! | `tanh` | 4 ulp | all |
//! | `sigmoid` | 4 ulp | -87 .. |
//! | `gelu`, `gelu_tanh` | 1e-6 x max(1, abs x) | all |
//! | `silu` | 5 ulp | -87 .. |
//! | `softplus` | 4 ulp | -87 .. |
//!
//! NaN gives NaN; infinities give the limits.

use std::mem::MaybeUninit;

use rten_simd::SimdUnaryOp;
use rten_vecmath as rv;

use crate::wide::wide;

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

/// Applies one of rten's vector functions.
fn map<Op: SimdUnaryOp<f32>>(op: Op, x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "input and output of a unary function differ in length");
    // SAFETY: MaybeUninit<f32> has the layout of f32, and `map` only writes initialised values.
    let y = unsafe { std::slice::from_raw_parts_mut(y.as_mut_ptr().cast::<MaybeUninit<f32>>(), y.len()) };
    op.map(x, y);
}

macro_rules! rten {
    ($($(#[$doc:meta])* $name:ident, $in_place:ident, $op:expr;)*) => { $(
        $(#[$doc])*
        pub fn $name(x: &[f32], y: &mut [f32]) {
            map($op, x, y);
        }
        #[doc = concat!("[`", stringify!($name), "`] in place.")]
        pub fn $in_place(y: &mut [f32]) {
            $op.map_mut(y);
        }
    )* };
}

rten! {
    /// y = e^x.
    exp, exp_in_place, rv::Exp {};
    /// The error function.
    erf, erf_in_place, rv::Erf {};
    /// The hyperbolic tangent.
    tanh, tanh_in_place, rv::Tanh {};
    /// 1 / (1 + e^-x).
    sigmoid, sigmoid_in_place, rv::Sigmoid {};
    /// x * sigmoid(x).
    silu, silu_in_place, rv::Silu {};
    /// x / 2 * (1 + erf(x / sqrt 2)).
    gelu, gelu_in_place, rv::Gelu {};
    /// x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))).
    gelu_tanh, gelu_tanh_in_place, rv::ApproxGelu {};
}

macro_rules! loops {
    ($($(#[$doc:meta])* $name:ident, $in_place:ident, $f:expr;)*) => { $(
        $(#[$doc])*
        pub fn $name(x: &[f32], y: &mut [f32]) {
            out_of_place(x, y, $in_place);
        }
        #[doc = concat!("[`", stringify!($name), "`] in place.")]
        pub fn $in_place(y: &mut [f32]) {
            wide(
                #[inline(always)]
                || {
                    for v in y {
                        *v = $f(*v);
                    }
                },
            );
        }
    )* };
}

loops! {
    /// The natural logarithm.
    log, log_in_place, ln_lane;
    /// The square root.
    sqrt, sqrt_in_place, f32::sqrt;
    /// 1 / sqrt(x).
    rsqrt, rsqrt_in_place, |v: f32| 1.0 / v.sqrt();
}

/// ln(1 + e^x).
pub fn softplus(x: &[f32], y: &mut [f32]) {
    out_of_place(x, y, softplus_in_place);
}

/// [`softplus`] in place: max(x, 0) + ln(1 + e^-|x|).
pub fn softplus_in_place(y: &mut [f32]) {
    let mut e = [0f32; 256];
    for y in y.chunks_mut(256) {
        let e = &mut e[..y.len()];
        for (e, &v) in e.iter_mut().zip(y.iter()) {
            *e = -v.abs();
        }
        exp_in_place(e);
        wide(
            #[inline(always)]
            || {
                for (y, &e) in y.iter_mut().zip(e.iter()) {
                    // `max` would turn NaN into 0.
                    *y = if *y < 0.0 { 0.0 } else { *y } + ln_1p_lane(e);
                }
            },
        );
    }
}

/// The natural logarithm of one lane, written so that a loop over it vectorises.
///
/// x = m * 2^k with m in [sqrt(1/2), sqrt(2)); with s = (m - 1) / (m + 1), ln m = 2 atanh(s) = 2s + 2s^3/3 + 2s^5/5 + ...
#[inline(always)]
pub(crate) fn ln_lane(x: f32) -> f32 {
    // Subnormal numbers are scaled into the normal range first.
    let tiny = x < f32::MIN_POSITIVE;
    let scaled = if tiny { x * 8_388_608.0 } else { x };
    let bits = scaled.to_bits();
    let shifted = bits.wrapping_sub(0x3f35_04f3); // sqrt(1/2)
    let k = (shifted as i32) >> 23;
    let m = f32::from_bits(bits.wrapping_sub((k << 23) as u32));
    let k = k as f32 - if tiny { 23.0 } else { 0.0 };
    let r = ln_reduced(m - 1.0, k);
    let r = if x > 0.0 {
        r
    } else if x == 0.0 {
        f32::NEG_INFINITY
    } else {
        f32::NAN
    };
    if x == f32::INFINITY { x } else { r }
}

/// ln(1 + f) + k ln 2, for 1 + f in [sqrt(1/2), sqrt(2)).
#[inline(always)]
fn ln_reduced(f: f32, k: f32) -> f32 {
    // ln 2 in two parts, the first with so few bits that k times it is exact.
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let s = f / (2.0 + f);
    let z = s * s;
    let tail = z * (2.0 / 3.0 + z * (2.0 / 5.0 + z * (2.0 / 7.0 + z * (2.0 / 9.0 + z * (2.0 / 11.0)))));
    // 2s = f - s f, so that ln(1 + f) = f - (s f - s tail): the large term stays exact.
    let small = s * (f - tail) - k * LN2_LOW;
    k * LN2_HIGH + (f - small)
}

/// ln(1 + e) for e in [0, 1].
#[inline(always)]
fn ln_1p_lane(e: f32) -> f32 {
    // Above sqrt(2) - 1 halve: ln(1 + e) = ln 2 + ln(1 + (e - 1) / 2); (e - 1) is exact there up to rounding of half an ulp.
    let high = e > 0.414_213_56;
    let f = if high { (e - 1.0) * 0.5 } else { e };
    ln_reduced(f, if high { 1.0 } else { 0.0 })
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
        let absolute = |_: f32, y: f32, want: f64| {
            let d = (f64::from(y) - want).abs();
            if d.is_nan() { f64::INFINITY } else { d }
        };
        let scaled = |x: f32, y: f32, want: f64| (f64::from(y) - want).abs() / f64::from(x.abs().max(1.0));
        let cases: &[(&str, f64, f64)] = &[
            ("exp", worst(exp_in_place, UnaryOp::Exp, &spread(-87.0, 88.7), by_ulp), 2.0),
            ("log", worst(log_in_place, UnaryOp::Log, &exponents, by_ulp), 2.0),
            ("log near 1", worst(log_in_place, UnaryOp::Log, &near_one, by_ulp), 2.0),
            ("sqrt", worst(sqrt_in_place, UnaryOp::Sqrt, &exponents, by_ulp), 0.51),
            ("rsqrt", worst(rsqrt_in_place, UnaryOp::Rsqrt, &exponents, by_ulp), 1.5),
            ("erf", worst(erf_in_place, UnaryOp::Erf, &spread(-5.0, 5.0), absolute), 6e-7),
            ("tanh", worst(tanh_in_place, UnaryOp::Tanh, &spread(-10.0, 10.0), by_ulp), 4.0),
            ("tanh near 0", worst(tanh_in_place, UnaryOp::Tanh, &spread(-0.6, 0.6), by_ulp), 4.0),
            ("sigmoid", worst(sigmoid_in_place, UnaryOp::Sigmoid, &spread(-87.0, 30.0), by_ulp), 4.0),
            ("gelu", worst(gelu_in_place, UnaryOp::Gelu, &spread(-10.0, 10.0), scaled), 1e-6),
            ("gelu_tanh", worst(gelu_tanh_in_place, UnaryOp::GeluTanh, &spread(-10.0, 10.0), scaled), 1e-6),
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
