//! The number types that kernels are generic over.

use crate::binary::{self, BinaryOp, Row};
use crate::pool::Pool;
use crate::reduce::{self, ReduceOp, Reduction};
use crate::unary::{self, NumberOp};

/// The loops over slices of each type. Their code belongs to this crate, whatever the optimisation level of the crates that
/// use the generic kernels.
pub(crate) mod sealed {
    use super::*;

    pub trait Loops: Sized {
        fn binary_row(op: BinaryOp) -> Row<Self>;
        fn unary_slice(op: NumberOp<Self>, y: &mut [Self]);
        fn reduce(pool: &Pool, op: ReduceOp, plan: &Reduction, x: &[Self], y: &mut [Self]);
    }

    macro_rules! loops {
        ($($t:ty)*) => { $(
            impl Loops for $t {
                fn binary_row(op: BinaryOp) -> Row<Self> {
                    binary::row(op)
                }
                fn unary_slice(op: NumberOp<Self>, y: &mut [Self]) {
                    unary::slice_number(op, y);
                }
                fn reduce(pool: &Pool, op: ReduceOp, plan: &Reduction, x: &[Self], y: &mut [Self]) {
                    reduce::reduce_checked(pool, op, plan, x, y);
                }
            }
        )* };
    }
    loops!(f32 f64 i8 i16 i32 i64 u8 u16 u32 u64);
}

/// A number type of the machine: f32, f64 and the integers of 8 to 64 bits. Sealed.
pub trait Number: sealed::Loops + Copy + PartialEq + PartialOrd + Send + Sync + Default + bytemuck::Pod {
    /// The short name: `f32`, `i64`.
    const NAME: &'static str;
    /// True for integers.
    const INTEGER: bool;
    /// 0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;
    /// 0.5, where there is one.
    const HALF: Option<Self>;
    /// The least value (minus infinity for floats).
    const LOWEST: Self;
    /// The greatest value (infinity for floats).
    const HIGHEST: Self;

    /// The type in which sums and products are accumulated: f64, i64 or u64.
    type Wide: Number;
    /// As the wide type, exactly.
    fn widen(self) -> Self::Wide;
    /// From the wide type; floats round, integers wrap.
    fn narrow(v: Self::Wide) -> Self;

    /// Sum; integers wrap.
    fn add(self, o: Self) -> Self;
    /// Difference; integers wrap.
    fn sub(self, o: Self) -> Self;
    /// Product; integers wrap.
    fn mul(self, o: Self) -> Self;
    /// Quotient; integers truncate, MIN / -1 wraps, a divisor of 0 gives 0.
    fn div(self, o: Self) -> Self;
    /// Remainder with the divisor's sign; 0 for an integer divisor of 0.
    fn modulo(self, o: Self) -> Self;
    /// Remainder with the dividend's sign; 0 for an integer divisor of 0.
    fn fmod(self, o: Self) -> Self;
    /// Power; integers wrap.
    fn power(self, o: Self) -> Self;
    /// The smaller; NaN if either is.
    fn least(self, o: Self) -> Self;
    /// The larger; NaN if either is.
    fn greatest(self, o: Self) -> Self;
    /// Negation; integers wrap.
    fn neg(self) -> Self;
    /// Absolute value; integers wrap.
    fn abs(self) -> Self;
    /// -1, 0 or 1; NaN stays.
    fn sign(self) -> Self;
    /// Square root; of an integer, rounded towards zero (0 for negative ones). As pow(x, 0.5): +inf for -inf, +0 for -0.
    fn square_root(self) -> Self;
    /// Bitwise and (0 for floats).
    fn bit_and(self, o: Self) -> Self;
    /// Bitwise or (0 for floats).
    fn bit_or(self, o: Self) -> Self;
    /// Bitwise exclusive or (0 for floats).
    fn bit_xor(self, o: Self) -> Self;
    /// All bits inverted (0 for floats).
    fn bit_not(self) -> Self;
    /// Left shift; 0 if `o` is negative or not below the width (0 for floats).
    fn shl(self, o: Self) -> Self;
    /// Right shift; if `o` is negative or not below the width, -1 for a negative number and else 0 (0 for floats).
    fn shr(self, o: Self) -> Self;
    /// As f64 (rounded for large 64-bit integers).
    fn to_f64(self) -> f64;
    /// As i128; floats truncate and saturate.
    fn to_i128(self) -> i128;
    /// From f64; integers truncate and saturate.
    fn from_f64(v: f64) -> Self;
}

macro_rules! floats {
    ($($t:ident)*) => { $(
        impl Number for $t {
            const NAME: &'static str = stringify!($t);
            const INTEGER: bool = false;
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            const HALF: Option<Self> = Some(0.5);
            const LOWEST: Self = $t::NEG_INFINITY;
            const HIGHEST: Self = $t::INFINITY;
            type Wide = f64;
            #[inline(always)] fn widen(self) -> f64 { self as f64 }
            #[inline(always)] fn narrow(v: f64) -> Self { v as $t }
            #[inline(always)] fn add(self, o: Self) -> Self { self + o }
            #[inline(always)] fn sub(self, o: Self) -> Self { self - o }
            #[inline(always)] fn mul(self, o: Self) -> Self { self * o }
            #[inline(always)] fn div(self, o: Self) -> Self { self / o }
            #[inline(always)] fn modulo(self, o: Self) -> Self {
                let r = self % o;
                if r != 0.0 && (r < 0.0) != (o < 0.0) { r + o } else { r }
            }
            #[inline(always)] fn fmod(self, o: Self) -> Self { self % o }
            #[inline(always)] fn power(self, o: Self) -> Self { self.powf(o) }
            #[inline(always)] fn least(self, o: Self) -> Self { if (self < o) | self.is_nan() { self } else { o } }
            #[inline(always)] fn greatest(self, o: Self) -> Self { if (self > o) | self.is_nan() { self } else { o } }
            #[inline(always)] fn neg(self) -> Self { -self }
            #[inline(always)] fn abs(self) -> Self { $t::abs(self) }
            #[inline(always)] fn sign(self) -> Self {
                if self > 0.0 { 1.0 } else if self < 0.0 { -1.0 } else { self }
            }
            #[inline(always)] fn square_root(self) -> Self {
                if self == $t::NEG_INFINITY { $t::INFINITY } else { self.sqrt() + 0.0 }
            }
            #[inline(always)] fn bit_and(self, _: Self) -> Self { 0.0 }
            #[inline(always)] fn bit_or(self, _: Self) -> Self { 0.0 }
            #[inline(always)] fn bit_xor(self, _: Self) -> Self { 0.0 }
            #[inline(always)] fn bit_not(self) -> Self { 0.0 }
            #[inline(always)] fn shl(self, _: Self) -> Self { 0.0 }
            #[inline(always)] fn shr(self, _: Self) -> Self { 0.0 }
            #[inline(always)] fn to_f64(self) -> f64 { self as f64 }
            #[inline(always)]
            fn to_i128(self) -> i128 {
                self as i128
            }
            #[inline(always)] fn from_f64(v: f64) -> Self { v as $t }
        }
    )* };
}
floats!(f32 f64);

macro_rules! integers {
    ($wide:ident, $abs:ident, $sign:expr, $negative:expr, $modulo:expr; $($t:ident)*) => { $(
        impl Number for $t {
            const NAME: &'static str = stringify!($t);
            const INTEGER: bool = true;
            const ZERO: Self = 0;
            const ONE: Self = 1;
            const HALF: Option<Self> = None;
            const LOWEST: Self = $t::MIN;
            const HIGHEST: Self = $t::MAX;
            type Wide = $wide;
            #[inline(always)] fn widen(self) -> $wide { self as $wide }
            #[inline(always)] fn narrow(v: $wide) -> Self { v as $t }
            #[inline(always)] fn add(self, o: Self) -> Self { self.wrapping_add(o) }
            #[inline(always)] fn sub(self, o: Self) -> Self { self.wrapping_sub(o) }
            #[inline(always)] fn mul(self, o: Self) -> Self { self.wrapping_mul(o) }
            #[inline(always)] fn div(self, o: Self) -> Self { if o == 0 { 0 } else { self.wrapping_div(o) } }
            #[inline(always)] fn modulo(self, o: Self) -> Self { if o == 0 { 0 } else { ($modulo)(self, o) } }
            #[inline(always)] fn fmod(self, o: Self) -> Self { if o == 0 { 0 } else { self.wrapping_rem(o) } }
            #[inline(always)] fn power(self, o: Self) -> Self {
                let negative = $negative;
                if negative(o) {
                    // 1 / x^|o|, truncated: not 0 for x = 1 and x = -1 alone.
                    let minus_one = negative(self) && self.wrapping_add(1) == 0;
                    return if self == 1 || (minus_one && o & 1 == 0) { 1 } else if minus_one { self } else { 0 };
                }
                let (mut base, mut e, mut r) = (self, o, 1);
                while e != 0 {
                    if e & 1 == 1 {
                        r = $t::wrapping_mul(r, base);
                    }
                    base = base.wrapping_mul(base);
                    e >>= 1;
                }
                r
            }
            #[inline(always)] fn least(self, o: Self) -> Self { if self < o { self } else { o } }
            #[inline(always)] fn greatest(self, o: Self) -> Self { if self > o { self } else { o } }
            #[inline(always)] fn neg(self) -> Self { self.wrapping_neg() }
            #[inline(always)] fn abs(self) -> Self { $abs!(self) }
            #[inline(always)] fn sign(self) -> Self { ($sign)(self) }
            #[inline(always)] fn square_root(self) -> Self {
                let negative = $negative;
                if negative(self) { 0 } else { self.isqrt() }
            }
            #[inline(always)] fn bit_and(self, o: Self) -> Self { self & o }
            #[inline(always)] fn bit_or(self, o: Self) -> Self { self | o }
            #[inline(always)] fn bit_xor(self, o: Self) -> Self { self ^ o }
            #[inline(always)] fn bit_not(self) -> Self { !self }
            #[inline(always)] fn shl(self, o: Self) -> Self {
                u32::try_from(o).ok().and_then(|s| self.checked_shl(s)).unwrap_or(0)
            }
            #[inline(always)] fn shr(self, o: Self) -> Self {
                // Beyond the width only copies of the sign are left.
                let negative = $negative;
                let rest = if negative(self) { !0 } else { 0 };
                u32::try_from(o).ok().and_then(|s| self.checked_shr(s)).unwrap_or(rest)
            }
            #[inline(always)] fn to_f64(self) -> f64 { self as f64 }
            #[inline(always)]
            fn to_i128(self) -> i128 {
                self as i128
            }
            #[inline(always)] fn from_f64(v: f64) -> Self { v as $t }
        }
    )* };
}

macro_rules! wrapping_abs {
    ($v:expr) => {
        $v.wrapping_abs()
    };
}
macro_rules! as_it_is {
    ($v:expr) => {
        $v
    };
}

integers!(i64, wrapping_abs, |v: Self| v.signum(), |v: Self| v < 0, |a: Self, b: Self| {
    let r = a.wrapping_rem(b);
    if r != 0 && (r < 0) != (b < 0) { r + b } else { r }
}; i8 i16 i32 i64);
integers!(u64, as_it_is, |v: Self| (v != 0) as Self, |_: Self| false, |a: Self, b: Self| a % b; u8 u16 u32 u64);
