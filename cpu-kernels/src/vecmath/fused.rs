//! Functions on vectors with fused multiply-adds, for those that products end with.

use rten_simd::ops::{BitOps, FloatOps, NumOps};
use rten_simd::{Isa, SimdUnaryOp};

/// `c[0] + x c[1] + x^2 c[2] + ...`
#[inline(always)]
fn polynomial<I: Isa>(isa: I, x: I::F32, c: &[f32; 6]) -> I::F32 {
    let ops = isa.f32();
    let mut y = ops.splat(c[5]);
    for &c in c[..5].iter().rev() {
        y = ops.mul_add(y, x, ops.splat(c));
    }
    y
}

/// The error function: x P(x^2) / Q(x^2), fitted for the least relative error on |x| <= 3.92; from there on it is 1 to all bits.
#[derive(Default)]
pub(super) struct Erf;

impl SimdUnaryOp<f32> for Erf {
    #[inline(always)]
    fn eval<I: Isa>(&self, isa: I, x: I::F32) -> I::F32 {
        const P: [f32; 6] = [
            std::f32::consts::FRAC_2_SQRT_PI,
            0.190_404_92,
            0.052_748_52,
            0.003_765_549_7,
            2.848_810_3e-4,
            2.050_098_1e-6,
        ];
        const Q: [f32; 6] = [1.0, 0.502_074_7, 0.114_108_47, 0.014_969_083, 0.001_162_518_9, 3.809_174e-5];
        let ops = isa.f32();
        // Just past the fit, where the quotient has reached 1.
        let (end, one) = (ops.splat(4.0), ops.one());
        // The value comes second: the minimum and the maximum of a NaN are then a NaN.
        let x = ops.max(ops.neg(end), ops.min(end, x));
        let z = ops.mul(x, x);
        let y = ops.div(ops.mul(x, polynomial(isa, z, &P)), polynomial(isa, z, &Q));
        // Rounding may carry a quotient just past 1.
        ops.max(ops.neg(one), ops.min(one, y))
    }
}

/// x / 2 (1 + erf(x / sqrt 2))
#[derive(Default)]
pub(super) struct Gelu;

impl SimdUnaryOp<f32> for Gelu {
    #[inline(always)]
    fn eval<I: Isa>(&self, isa: I, x: I::F32) -> I::F32 {
        let ops = isa.f32();
        let half = ops.mul(x, ops.splat(0.5));
        let erf = Erf.eval(isa, ops.mul(x, ops.splat(std::f32::consts::FRAC_1_SQRT_2)));
        ops.mul_add(half, erf, half)
    }
}

/// x / 2 (1 + tanh(u)) with u = sqrt(2 / pi) (x + 0.044715 x^3), which is x sigmoid(2u)
#[derive(Default)]
pub(super) struct GeluTanh;

impl SimdUnaryOp<f32> for GeluTanh {
    #[inline(always)]
    fn eval<I: Isa>(&self, isa: I, x: I::F32) -> I::F32 {
        let ops = isa.f32();
        let slope = ops.mul_add(ops.mul(x, x), ops.splat(-0.071_354_82), ops.splat(-1.595_769));
        let e = rten_vecmath::Exp::apply(isa, ops.mul(x, slope));
        ops.div(x, ops.add(ops.one(), e))
    }
}
