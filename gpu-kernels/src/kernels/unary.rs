//! Functions of one number, element by element.

use crate::kernels::{Kernel, need};
use crate::pipeline::Groups;
use crate::{Binding, Command, Gpu, GpuError};

/// The kernel.
pub static KERNEL: Kernel = kernel!("unary");

/// A function of one number; `a` and `b` are its parameters. Those over f32 can also follow a matrix product or a
/// convolution (see [`Activation`]).
#[allow(missing_docs, reason = "the names are ONNX's operators")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum UnaryOp {
    Identity = 0,
    Relu = 1,
    /// `a`: the slope below zero.
    LeakyRelu = 2,
    /// `a`: alpha.
    Elu = 3,
    /// `a`: alpha, `b`: gamma.
    Selu = 4,
    Sigmoid = 5,
    /// `a`: alpha, `b`: beta.
    HardSigmoid = 6,
    HardSwish = 7,
    Tanh = 8,
    /// With the error function.
    Gelu = 9,
    /// With the tanh approximation.
    GeluTanh = 10,
    /// x * sigmoid(a * x): SiLU with a = 1.
    Silu = 11,
    Softplus = 12,
    Softsign = 13,
    Mish = 14,
    /// `a`: alpha.
    Celu = 15,
    Exp = 16,
    Log = 17,
    Sqrt = 18,
    Reciprocal = 19,
    Neg = 20,
    Abs = 21,
    Sign = 22,
    Floor = 23,
    Ceil = 24,
    /// To even.
    Round = 25,
    Erf = 26,
    Sin = 27,
    Cos = 28,
    Tan = 29,
    Asin = 30,
    Acos = 31,
    Atan = 32,
    Sinh = 33,
    Cosh = 34,
    Asinh = 35,
    Acosh = 36,
    Atanh = 37,
    /// Between `a` and `b`; over i32 they are the bits of integers, see [`unary_int`].
    Clip = 38,
    /// a * x + b.
    Affine = 39,
    Rsqrt = 40,
    Square = 41,
    /// `a`: alpha.
    ThresholdedRelu = 42,
    /// Over i32.
    BitwiseNot = 43,
    /// f32 to bool.
    IsNan = 44,
    /// f32 to bool; `a` not 0: positive infinities count, `b` not 0: negative ones.
    IsInf = 45,
    /// Over bool.
    Not = 46,
}

impl UnaryOp {
    /// True for the functions from f32 to f32.
    pub fn is_float(self) -> bool {
        (self as u8) < UnaryOp::BitwiseNot as u8
    }
}

/// A function from f32 to f32 that a matrix product or a convolution ends with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Activation {
    /// The function, one of those over f32.
    pub op: UnaryOp,
    /// Its first parameter.
    pub a: f32,
    /// Its second parameter.
    pub b: f32,
}

impl Activation {
    /// None.
    pub const NONE: Activation = Activation { op: UnaryOp::Identity, a: 0.0, b: 0.0 };

    /// A function with no parameters.
    pub fn of(op: UnaryOp) -> Self {
        Activation { op, a: 0.0, b: 0.0 }
    }

    pub(crate) fn check(&self, kernel: &str) -> Result<(), GpuError> {
        match self.op.is_float() {
            true => Ok(()),
            false => Err(GpuError::argument(kernel, format!("{:?} is no activation over f32", self.op))),
        }
    }
}

fn run(
    gpu: &Gpu,
    op: UnaryOp,
    kind: u8,
    bits: [u32; 2],
    x: &Binding,
    y: &Binding,
    n: u32,
) -> Result<Command, GpuError> {
    need("unary", "x", x, n)?;
    need("unary", "y", y, n)?;
    gpu.call(&KERNEL)
        .constant("OP", op as u8)
        .constant("KIND", kind)
        .bind("x", x)
        .bind("y", y)
        .param("n", n)
        .param("a", f32::from_bits(bits[0]))
        .param("b", f32::from_bits(bits[1]))
        .run(Groups::Threads(n.into()))
}

/// y\[i\] = op(x\[i\]) over f32, or from f32 to bool for [`UnaryOp::IsNan`] and [`UnaryOp::IsInf`], or over bool for
/// [`UnaryOp::Not`]. `x` and `y` may be the same range.
pub fn unary(gpu: &Gpu, op: UnaryOp, a: f32, b: f32, x: &Binding, y: &Binding, n: u32) -> Result<Command, GpuError> {
    let kind = match op {
        UnaryOp::IsNan | UnaryOp::IsInf => 2,
        UnaryOp::Not => 3,
        UnaryOp::BitwiseNot => return Err(GpuError::argument("unary", "BitwiseNot is over integers")),
        _ => 0,
    };
    run(gpu, op, kind, [a.to_bits(), b.to_bits()], x, y, n)
}

/// y\[i\] = op(x\[i\]) over i32, with integer parameters.
pub fn unary_int(
    gpu: &Gpu,
    op: UnaryOp,
    a: i32,
    b: i32,
    x: &Binding,
    y: &Binding,
    n: u32,
) -> Result<Command, GpuError> {
    use UnaryOp::*;
    if !matches!(op, Identity | Relu | Neg | Abs | Sign | Clip | Square | BitwiseNot) {
        return Err(GpuError::argument("unary", format!("{op:?} is not defined over integers")));
    }
    run(gpu, op, 1, [a as u32, b as u32], x, y, n)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Elem;
    use crate::twin::Bench;

    /// Maclaurin series near zero, where its terms are small; the continued fraction of the rest elsewhere.
    fn erf(x: f64) -> f64 {
        if x.abs() > 2.5 {
            let a = x.abs();
            let fraction = (1..=80).rev().fold(a, |f, n| a + f64::from(n) / 2.0 / f);
            return x.signum() * (1.0 - (-a * a).exp() / (fraction * std::f64::consts::PI.sqrt()));
        }
        let (mut sum, mut term) = (x, x);
        for n in 1..100 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * 2.0 / std::f64::consts::PI.sqrt()
    }

    fn sigmoid(x: f64) -> f64 {
        1.0 / (1.0 + (-x).exp())
    }

    pub(super) fn cases(bench: &mut Bench) -> Result<(), GpuError> {
        use UnaryOp::*;
        type Row = (UnaryOp, f32, f32, (f64, f64), fn(f64) -> f64);
        let table: &[Row] = &[
            (Identity, 0.0, 0.0, (-9.0, 9.0), |x| x),
            (Relu, 0.0, 0.0, (-9.0, 9.0), |x| x.max(0.0)),
            (LeakyRelu, 0.25, 0.0, (-9.0, 9.0), |x| if x < 0.0 { 0.25 * x } else { x }),
            (Elu, 0.5, 0.0, (-9.0, 9.0), |x| if x < 0.0 { 0.5 * x.exp_m1() } else { x }),
            (Selu, 1.5, 1.25, (-9.0, 9.0), |x| 1.25 * if x <= 0.0 { 1.5 * x.exp_m1() } else { x }),
            (Sigmoid, 0.0, 0.0, (-200.0, 200.0), sigmoid),
            (HardSigmoid, 0.25, 0.5, (-9.0, 9.0), |x| (0.25 * x + 0.5).clamp(0.0, 1.0)),
            (HardSwish, 0.0, 0.0, (-9.0, 9.0), |x| x * (x / 6.0 + 0.5).clamp(0.0, 1.0)),
            (Tanh, 0.0, 0.0, (-200.0, 200.0), f64::tanh),
            (Tanh, 0.0, 0.0, (-1.0, 1.0), f64::tanh),
            (Gelu, 0.0, 0.0, (-9.0, 9.0), |x| 0.5 * x * (1.0 + erf(x / std::f64::consts::SQRT_2))),
            (GeluTanh, 0.0, 0.0, (-50.0, 50.0), |x| {
                0.5 * x * (1.0 + (0.797_884_560_802_865_4 * (x + 0.044715 * x * x * x)).tanh())
            }),
            (Silu, 1.0, 0.0, (-100.0, 100.0), |x| x * sigmoid(x)),
            (Silu, 1.5, 0.0, (-9.0, 9.0), |x| x * sigmoid(1.5 * x)),
            (Softplus, 0.0, 0.0, (-100.0, 100.0), |x| x.max(0.0) + (-x.abs()).exp().ln_1p()),
            (Softsign, 0.0, 0.0, (-9.0, 9.0), |x| x / (1.0 + x.abs())),
            (Mish, 0.0, 0.0, (-50.0, 50.0), |x| x * (x.max(0.0) + (-x.abs()).exp().ln_1p()).tanh()),
            (Celu, 1.5, 0.0, (-9.0, 9.0), |x| x.max(0.0) + (1.5 * (x / 1.5).exp_m1()).min(0.0)),
            (Exp, 0.0, 0.0, (-9.0, 9.0), f64::exp),
            (Log, 0.0, 0.0, (0.01, 9.0), f64::ln),
            (Log, 0.0, 0.0, (-9.0, -1.0), |_| f64::NAN),
            (Sqrt, 0.0, 0.0, (0.0, 9.0), f64::sqrt),
            (Sqrt, 0.0, 0.0, (-9.0, -1.0), |_| f64::NAN),
            (Reciprocal, 0.0, 0.0, (0.5, 9.0), f64::recip),
            (Neg, 0.0, 0.0, (-9.0, 9.0), |x| -x),
            (Abs, 0.0, 0.0, (-9.0, 9.0), f64::abs),
            (Sign, 0.0, 0.0, (-9.0, 9.0), f64::signum),
            (Floor, 0.0, 0.0, (-9.0, 9.0), f64::floor),
            (Ceil, 0.0, 0.0, (-9.0, 9.0), f64::ceil),
            (Round, 0.0, 0.0, (-9.0, 9.0), f64::round_ties_even),
            (Erf, 0.0, 0.0, (-5.0, 5.0), erf),
            (Erf, 0.0, 0.0, (-0.01, 0.01), erf),
            (Sin, 0.0, 0.0, (-9.0, 9.0), f64::sin),
            (Cos, 0.0, 0.0, (-9.0, 9.0), f64::cos),
            (Tan, 0.0, 0.0, (-1.2, 1.2), f64::tan),
            (Asin, 0.0, 0.0, (-0.99, 0.99), f64::asin),
            (Acos, 0.0, 0.0, (-0.99, 0.99), f64::acos),
            (Atan, 0.0, 0.0, (-9.0, 9.0), f64::atan),
            (Sinh, 0.0, 0.0, (-4.0, 4.0), f64::sinh),
            (Cosh, 0.0, 0.0, (-4.0, 4.0), f64::cosh),
            (Asinh, 0.0, 0.0, (-9.0, 9.0), f64::asinh),
            (Acosh, 0.0, 0.0, (1.1, 9.0), f64::acosh),
            (Atanh, 0.0, 0.0, (-0.9, 0.9), f64::atanh),
            (Clip, -1.0, 2.5, (-9.0, 9.0), |x| x.clamp(-1.0, 2.5)),
            (Affine, 3.0, -1.5, (-9.0, 9.0), |x| 3.0 * x - 1.5),
            (Rsqrt, 0.0, 0.0, (0.5, 9.0), |x| 1.0 / x.sqrt()),
            (Square, 0.0, 0.0, (-9.0, 9.0), |x| x * x),
            (ThresholdedRelu, 1.5, 0.0, (-9.0, 9.0), |x| if x > 1.5 { x } else { 0.0 }),
        ];
        for (i, &(op, a, b, (low, high), oracle)) in table.iter().enumerate() {
            let n = 131 + 2 * i;
            let (x, xb) = bench.floats_in(n, low, high);
            let yb = bench.out(n);
            let command = unary(bench.gpu, op, a, b, &xb, &yb, n as u32)?;
            // WGSL promises sin and cos to 2^-11 and the inverse functions to a few units more than the others.
            let tolerance = match op {
                Sin | Cos | Tan | Asin | Acos | Atan => 1e-3,
                Atanh | Asinh | Acosh => 1e-5,
                _ => 2e-6,
            };
            bench.check(
                format!("{op:?} in {low}..{high}"),
                command,
                &yb,
                Elem::F32,
                x.into_iter().map(oracle).collect(),
                tolerance,
            );
        }
        type IntRow = (UnaryOp, i32, i32, fn(i32) -> i32);
        let table: &[IntRow] = &[
            (Neg, 0, 0, |x| -x),
            (Abs, 0, 0, i32::abs),
            (Sign, 0, 0, i32::signum),
            (Relu, 0, 0, |x| x.max(0)),
            (Clip, -3, 40, |x| x.clamp(-3, 40)),
            (Square, 0, 0, |x| x * x),
            (BitwiseNot, 0, 0, |x| !x),
        ];
        for &(op, a, b, oracle) in table {
            let (x, xb) = bench.ints(77, -1000, 1000);
            let yb = bench.out(77);
            let command = unary_int(bench.gpu, op, a, b, &xb, &yb, 77)?;
            bench.check(
                format!("{op:?} int"),
                command,
                &yb,
                Elem::I32,
                x.iter().map(|&x| f64::from(oracle(x))).collect(),
                0.0,
            );
        }
        let odd = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0, 1.0, -f32::NAN, f32::MAX];
        let xb = bench.words(bytemuck::cast_slice(&odd));
        type Test = (UnaryOp, f32, f32, fn(f32) -> bool);
        let tests: &[Test] = &[
            (IsNan, 0.0, 0.0, f32::is_nan),
            (IsInf, 1.0, 1.0, f32::is_infinite),
            (IsInf, 0.0, 1.0, |x| x == f32::NEG_INFINITY),
        ];
        for &(op, a, b, oracle) in tests {
            let yb = bench.out(8);
            let command = unary(bench.gpu, op, a, b, &xb, &yb, 8)?;
            bench.check(
                format!("{op:?}"),
                command,
                &yb,
                Elem::Bool,
                odd.iter().map(|&x| f64::from(u8::from(oracle(x)))).collect(),
                0.0,
            );
        }
        let want = vec![f64::NAN, f64::INFINITY, 0.0, 0.0, 0.0, 1.0, f64::NAN, f64::from(f32::MAX)];
        let yb = bench.out(8);
        let command = unary(bench.gpu, Relu, 0.0, 0.0, &xb, &yb, 8)?;
        bench.check("Relu of odd values", command, &yb, Elem::F32, want, 0.0);
        let (x, xb) = bench.ints(65, 0, 1);
        let yb = bench.out(65);
        let command = unary(bench.gpu, Not, 0.0, 0.0, &xb, &yb, 65)?;
        bench.check("Not", command, &yb, Elem::Bool, x.iter().map(|&x| f64::from(1 - x)).collect(), 0.0);
        Ok(())
    }

    #[test]
    fn wrong_operands_are_errors() {
        let Some(gpu) = crate::twin::shared_gpu() else { return };
        let b = gpu.buffer("short", 16).unwrap().whole();
        assert!(unary(gpu, UnaryOp::Relu, 0.0, 0.0, &b, &b, 5).unwrap_err().to_string().contains("short"));
        assert!(unary_int(gpu, UnaryOp::Exp, 0, 0, &b, &b, 4).is_err());
        assert!(unary(gpu, UnaryOp::BitwiseNot, 0.0, 0.0, &b, &b, 4).is_err());
        assert!(Activation::of(UnaryOp::Not).check("k").is_err());
        assert_eq!(unary(gpu, UnaryOp::Relu, 0.0, 0.0, &b, &b, 0).unwrap().dispatches(), 0);
        let misplaced = b.buffer.part(4, 8);
        assert!(unary(gpu, UnaryOp::Relu, 0.0, 0.0, &misplaced, &b, 1).unwrap_err().to_string().contains("multiple"));
    }
}
