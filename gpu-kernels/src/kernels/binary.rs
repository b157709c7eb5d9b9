//! Functions of two operands that broadcast against each other.

use crate::kernels::layout::{broadcast, merge};
use crate::kernels::{Elem, Kernel, count, need};
use crate::pipeline::Groups;
use crate::{Binding, Command, Gpu, GpuError};

/// The kernel.
pub static KERNEL: Kernel = kernel!("binary");

/// A function of two numbers. The comparisons give bool. Over bool, `BitAnd`, `BitOr` and `BitXor` are And, Or and Xor.
#[allow(missing_docs, reason = "the names are ONNX's operators")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum BinaryOp {
    Add = 0,
    Sub = 1,
    Mul = 2,
    Div = 3,
    Pow = 4,
    Max = 5,
    Min = 6,
    /// The remainder with the divisor's sign.
    Mod = 7,
    /// The remainder with the dividend's sign.
    Fmod = 8,
    /// `a` where it is positive, else a * b.
    PRelu = 9,
    Equal = 10,
    Less = 11,
    LessOrEqual = 12,
    Greater = 13,
    GreaterOrEqual = 14,
    BitAnd = 15,
    BitOr = 16,
    BitXor = 17,
    ShiftLeft = 18,
    ShiftRight = 19,
}

impl BinaryOp {
    fn fits(self, elem: Elem) -> bool {
        use BinaryOp::*;
        match elem {
            Elem::F32 => !matches!(self, BitAnd | BitOr | BitXor | ShiftLeft | ShiftRight),
            Elem::I32 => self != PRelu,
            Elem::Bool => matches!(self, BitAnd | BitOr | BitXor | Equal),
        }
    }
}

/// y = op(a, b), where both broadcast to y's shape as in NumPy. Integer division by zero gives 0. `y` may be one of the
/// operands where their shapes are the same.
pub fn binary(
    gpu: &Gpu,
    op: BinaryOp,
    elem: Elem,
    (a, a_shape): (&Binding, &[u32]),
    (b, b_shape): (&Binding, &[u32]),
    (y, y_shape): (&Binding, &[u32]),
) -> Result<Command, GpuError> {
    if !op.fits(elem) {
        return Err(GpuError::argument("binary", format!("{op:?} is not defined over {elem:?}")));
    }
    let n = count("binary", y_shape)?;
    if n == 0 {
        return Ok(Command::nothing("binary"));
    }
    need("binary", "a", a, count("binary", a_shape)?)?;
    need("binary", "b", b, count("binary", b_shape)?)?;
    need("binary", "y", y, n)?;
    let strides = [broadcast("binary", a_shape, y_shape)?, broadcast("binary", b_shape, y_shape)?];
    let layout = merge("binary", y_shape, &strides)?;
    gpu.call(&KERNEL)
        .constant("OP", op as u8)
        .constant("INTEGER", u8::from(elem != Elem::F32))
        .constant("RANK", layout.shape.len() as u32)
        .bind("a", a)
        .bind("b", b)
        .bind("y", y)
        .param("n", n)
        .param("shape", &layout.shape[..])
        .param("a_strides", &layout.strides[0][..])
        .param("b_strides", &layout.strides[1][..])
        .run(Groups::Threads(n.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::layout::dense;
    use crate::twin::Bench;

    /// For every element of `out`, where the operand's element lies: by coordinates, apart from the kernel's own way.
    fn places(shape: &[u32], out: &[u32]) -> Vec<usize> {
        let strides = dense(shape);
        let lead = out.len() - shape.len();
        let total: u32 = out.iter().product();
        (0..total)
            .map(|mut i| {
                let mut at = 0i64;
                for d in (0..out.len()).rev() {
                    let c = i % out[d];
                    i /= out[d];
                    if d >= lead && shape[d - lead] != 1 {
                        at += i64::from(c) * strides[d - lead];
                    }
                }
                at as usize
            })
            .collect()
    }

    pub(super) fn cases(bench: &mut Bench) -> Result<(), GpuError> {
        use BinaryOp::*;
        let shapes: &[(&[u32], &[u32], &[u32])] = &[
            (&[7, 19], &[7, 19], &[7, 19]),
            (&[5, 7, 3], &[3], &[5, 7, 3]),
            (&[], &[3, 5], &[3, 5]),
            (&[3, 1, 5], &[1, 7, 1], &[3, 7, 5]),
            (&[2, 1, 3, 1, 2, 1], &[1, 3, 1, 2, 1, 3], &[2, 3, 3, 2, 2, 3]),
        ];
        type Oracle = fn(f64, f64) -> f64;
        let ops: &[(BinaryOp, Oracle)] = &[
            (Add, |a, b| a + b),
            (Sub, |a, b| a - b),
            (Mul, |a, b| a * b),
            (Div, |a, b| a / b),
            (Max, f64::max),
            (Min, f64::min),
            (PRelu, |a, b| if a < 0.0 { a * b } else { a }),
            (Mod, |a, b| a - b * (a / b).floor()),
            (Fmod, |a, b| a % b),
            (Less, |a, b| f64::from(u8::from(a < b))),
            (GreaterOrEqual, |a, b| f64::from(u8::from(a >= b))),
        ];
        for (i, &(op, oracle)) in ops.iter().enumerate() {
            for (j, &(sa, sb, sy)) in shapes.iter().enumerate().filter(|(j, _)| i < 1 || i % 5 == *j) {
                let (a, ab) = bench.floats_in(sa.iter().product::<u32>() as usize, -2.0, 2.0);
                let (b, bb) = bench.floats_in(sb.iter().product::<u32>() as usize, 0.5, 2.0);
                let want: Vec<f64> =
                    places(sa, sy).into_iter().zip(places(sb, sy)).map(|(p, q)| oracle(a[p], b[q])).collect();
                let yb = bench.out(want.len());
                let command = binary(bench.gpu, op, Elem::F32, (&ab, sa), (&bb, sb), (&yb, sy))?;
                let elem = if (10..15).contains(&(op as u8)) { Elem::Bool } else { Elem::F32 };
                bench.check(
                    format!("{op:?} shapes {j}"),
                    command,
                    &yb,
                    elem,
                    want,
                    if elem == Elem::F32 { 1e-5 } else { 0.0 },
                );
            }
        }
        type IntOracle = fn(i32, i32) -> i32;
        let ops: &[(BinaryOp, IntOracle)] = &[
            (Add, |a, b| a + b),
            (Div, |a, b| if b == 0 { 0 } else { a / b }),
            (Pow, |a, b| {
                if b >= 0 {
                    a.wrapping_pow(b as u32)
                } else {
                    [0, 1, -1][usize::from(a.abs() == 1) * (1 + usize::from(a < 0 && b % 2 != 0))]
                }
            }),
            (Max, i32::max),
            (Min, i32::min),
            (Mod, |a, b| if b == 0 { 0 } else { ((a % b) + b) % b }),
            (Fmod, |a, b| if b == 0 { 0 } else { a % b }),
            (Equal, |a, b| i32::from(a == b)),
            (Greater, |a, b| i32::from(a > b)),
            (LessOrEqual, |a, b| i32::from(a <= b)),
            (BitAnd, |a, b| a & b),
            (BitOr, |a, b| a | b),
            (BitXor, |a, b| a ^ b),
        ];
        for &(op, oracle) in ops {
            let (a, ab) = bench.ints(99, -9, 9);
            let (b, bb) = bench.ints(99, -4, 5);
            let yb = bench.out(99);
            let command = binary(bench.gpu, op, Elem::I32, (&ab, &[99]), (&bb, &[99]), (&yb, &[99]))?;
            let want = a.iter().zip(&b).map(|(&a, &b)| match (op, b) {
                // Where b is 0 the remainder is not defined: the kernel divides by 1 instead.
                (Mod | Fmod, 0) => 0.0,
                _ => f64::from(oracle(a, b)),
            });
            bench.check(format!("{op:?} int"), command, &yb, Elem::I32, want.collect(), 0.0);
        }
        // Powers: negative bases, whole and broken exponents, zero, NaN.
        let a = [-2.0f32, -2.0, -2.0, 0.0, 0.0, 4.0, 9.0, -1.0, 2.0, f32::NAN, -3.0];
        let b = [3.0f32, 2.0, 0.5, 0.0, 2.0, 0.5, -0.5, 5.0, 10.0, 1.0, -1.0];
        let want = a.iter().zip(&b).map(|(&a, &b)| f64::from(a).powf(f64::from(b))).collect();
        let (ab, bb, yb) =
            (bench.words(bytemuck::cast_slice(&a)), bench.words(bytemuck::cast_slice(&b)), bench.out(11));
        let command = binary(bench.gpu, Pow, Elem::F32, (&ab, &[11]), (&bb, &[11]), (&yb, &[11]))?;
        bench.check("Pow", command, &yb, Elem::F32, want, 1e-5);
        // NaN goes through Max and Min and equals nothing.
        let odd = [f32::NAN, 1.0, f32::NAN, f32::INFINITY];
        let other = [1.0f32, f32::NAN, f32::NAN, 2.0];
        let (ab, bb) = (bench.words(bytemuck::cast_slice(&odd)), bench.words(bytemuck::cast_slice(&other)));
        let nan = f64::NAN;
        for (op, elem, want) in [
            (Max, Elem::F32, [nan, nan, nan, f64::INFINITY]),
            (Min, Elem::F32, [nan, nan, nan, 2.0]),
            (Equal, Elem::Bool, [0.0; 4]),
            (GreaterOrEqual, Elem::Bool, [0.0, 0.0, 0.0, 1.0]),
        ] {
            let yb = bench.out(4);
            let command = binary(bench.gpu, op, Elem::F32, (&ab, &[4]), (&bb, &[4]), (&yb, &[4]))?;
            bench.check(format!("{op:?} of NaN"), command, &yb, elem, want.to_vec(), 0.0);
        }
        Ok(())
    }

    #[test]
    fn wrong_operands_are_errors() {
        let Some(gpu) = crate::twin::shared_gpu() else { return };
        let b = gpu.buffer("b", 64).unwrap().whole();
        let call = |op, elem, s: &[u32]| binary(gpu, op, elem, (&b, s), (&b, &[4]), (&b, &[4, 4]));
        assert!(call(BinaryOp::Add, Elem::F32, &[4, 4]).is_ok());
        assert!(call(BinaryOp::BitAnd, Elem::F32, &[4, 4]).is_err());
        assert!(call(BinaryOp::Add, Elem::Bool, &[4, 4]).is_err());
        assert!(call(BinaryOp::Add, Elem::F32, &[3, 4]).is_err());
        assert!(call(BinaryOp::Add, Elem::F32, &[u32::MAX, 4]).is_err());
    }
}
