//! The GPU forms of element-wise operators.

use cpu_kernels::binary::BinaryOp as CpuBinary;
use cpu_kernels::unary::UnaryOp as CpuUnary;
use gpu_kernels::kernels::Elem;
use gpu_kernels::kernels::binary::{BinaryOp, binary as binary_kernel};
use gpu_kernels::kernels::unary::{UnaryOp, unary as unary_kernel, unary_int};

use crate::gpu::device_dtype;
use crate::gpu::{GpuBuilder, GpuTensor};
use crate::op::OpError;
use crate::ops::movement_gpu::{shape32, u32_of};
use graph::DType;

/// What the device's four bytes hold.
pub(crate) fn elem(dtype: DType) -> Option<Elem> {
    match device_dtype(dtype)? {
        DType::F32 => Some(Elem::F32),
        DType::I32 => Some(Elem::I32),
        _ => Some(Elem::Bool),
    }
}

/// A function of one tensor of floats.
pub(crate) fn unary(b: &mut GpuBuilder<'_>, op: CpuUnary) -> Result<bool, OpError> {
    let Some((op, p, q)) = unary_op(op) else { return Ok(false) };
    let Some(dtype) = b.fact(0).map(|f| f.dtype) else { return Ok(false) };
    let integer = matches!(dtype, DType::I32 | DType::I64 | DType::I16 | DType::I8);
    let known = matches!(op, UnaryOp::Neg | UnaryOp::Abs | UnaryOp::Sign | UnaryOp::Relu);
    if !(dtype.is_float() || (integer && known)) {
        return Ok(false);
    }
    let (x, y) = (b.input(0)?, b.output(0)?);
    let gpu = b.gpu();
    let n = u32_of(x.len())?;
    if integer {
        b.push(unary_int(&gpu, op, 0, 0, &x.binding, &y.binding, n))?;
        return Ok(true);
    }
    b.push(unary_kernel(&gpu, op, p, q, &x.binding, &y.binding, n))?;
    Ok(true)
}

fn unary_op(op: CpuUnary) -> Option<(UnaryOp, f32, f32)> {
    use CpuUnary as C;
    use UnaryOp as G;
    Some(match op {
        C::Neg => (G::Neg, 0.0, 0.0),
        C::Abs => (G::Abs, 0.0, 0.0),
        C::Sign => (G::Sign, 0.0, 0.0),
        C::Sqrt => (G::Sqrt, 0.0, 0.0),
        C::Rsqrt => (G::Rsqrt, 0.0, 0.0),
        C::Reciprocal => (G::Reciprocal, 0.0, 0.0),
        C::Square => (G::Square, 0.0, 0.0),
        C::Exp => (G::Exp, 0.0, 0.0),
        C::Log => (G::Log, 0.0, 0.0),
        C::Sin => (G::Sin, 0.0, 0.0),
        C::Cos => (G::Cos, 0.0, 0.0),
        C::Tan => (G::Tan, 0.0, 0.0),
        C::Asin => (G::Asin, 0.0, 0.0),
        C::Acos => (G::Acos, 0.0, 0.0),
        C::Atan => (G::Atan, 0.0, 0.0),
        C::Sinh => (G::Sinh, 0.0, 0.0),
        C::Cosh => (G::Cosh, 0.0, 0.0),
        C::Asinh => (G::Asinh, 0.0, 0.0),
        C::Acosh => (G::Acosh, 0.0, 0.0),
        C::Atanh => (G::Atanh, 0.0, 0.0),
        C::Erf => (G::Erf, 0.0, 0.0),
        C::Tanh => (G::Tanh, 0.0, 0.0),
        C::Sigmoid => (G::Sigmoid, 0.0, 0.0),
        C::Relu => (G::Relu, 0.0, 0.0),
        C::Gelu => (G::Gelu, 0.0, 0.0),
        C::GeluTanh => (G::GeluTanh, 0.0, 0.0),
        C::Silu => (G::Silu, 1.0, 0.0),
        C::QuickGelu(a) => (G::Silu, a, 0.0),
        C::Softplus => (G::Softplus, 0.0, 0.0),
        C::Softsign => (G::Softsign, 0.0, 0.0),
        C::Floor => (G::Floor, 0.0, 0.0),
        C::Ceil => (G::Ceil, 0.0, 0.0),
        C::Round => (G::Round, 0.0, 0.0),
        C::LeakyRelu(a) => (G::LeakyRelu, a, 0.0),
        C::Elu(a) => (G::Elu, a, 0.0),
        C::Selu { alpha, gamma } => (G::Selu, alpha, gamma),
        C::Celu(a) => (G::Celu, a, 0.0),
        C::HardSigmoid { alpha, beta } => (G::HardSigmoid, alpha, beta),
        C::HardSwish => (G::HardSwish, 0.0, 0.0),
        C::Mish => (G::Mish, 0.0, 0.0),
        C::ThresholdedRelu(a) => (G::ThresholdedRelu, a, 0.0),
        C::Clip { lo, hi } => (G::Clip, lo, hi),
        C::Trunc | C::Shrink { .. } => return None,
    })
}

/// The shaders' name of a binary operation.
pub(crate) fn binary_op(op: CpuBinary) -> BinaryOp {
    match op {
        CpuBinary::Add => BinaryOp::Add,
        CpuBinary::Sub => BinaryOp::Sub,
        CpuBinary::Mul => BinaryOp::Mul,
        CpuBinary::Div => BinaryOp::Div,
        CpuBinary::Pow => BinaryOp::Pow,
        CpuBinary::Mod => BinaryOp::Mod,
        CpuBinary::FMod => BinaryOp::Fmod,
        CpuBinary::Min => BinaryOp::Min,
        CpuBinary::Max => BinaryOp::Max,
        CpuBinary::BitAnd => BinaryOp::BitAnd,
        CpuBinary::BitOr => BinaryOp::BitOr,
        CpuBinary::BitXor => BinaryOp::BitXor,
        CpuBinary::Shl => BinaryOp::ShiftLeft,
        CpuBinary::Shr => BinaryOp::ShiftRight,
        CpuBinary::PRelu => BinaryOp::PRelu,
    }
}

/// An operation on two tensors of one type, with broadcasting. Integer division stays on the CPU, which reports a division by
/// zero.
pub(crate) fn binary(b: &mut GpuBuilder<'_>, op: BinaryOp) -> Result<bool, OpError> {
    if b.input_count() != 2 {
        return Ok(false);
    }
    // Sums of narrow integers wrap at their own width, which the device's 32 bits don't.
    let compares = matches!(
        op,
        BinaryOp::Equal | BinaryOp::Less | BinaryOp::LessOrEqual | BinaryOp::Greater | BinaryOp::GreaterOrEqual
    );
    let narrow = |f: &crate::op::Fact| matches!(f.dtype, DType::U8 | DType::I8 | DType::U16 | DType::I16);
    if !compares && b.fact(0).is_some_and(narrow) {
        return Ok(false);
    }
    let (x, y) = (b.input(0)?, b.input(1)?);
    let kind = elem(x.dtype);
    // Remainders by zero and by infinity, and shifts past the width, are the CPU's to get right.
    if matches!(op, BinaryOp::Mod | BinaryOp::Fmod | BinaryOp::ShiftLeft | BinaryOp::ShiftRight) {
        return Ok(false);
    }
    let division = matches!(op, BinaryOp::Div | BinaryOp::Pow);
    if elem(y.dtype) != kind || (division && kind != Some(Elem::F32)) {
        return Ok(false);
    }
    let Some(kind) = kind else { return Ok(false) };
    let out = b.output(0)?;
    let gpu = b.gpu();
    let shape = |t: &GpuTensor| shape32(&t.shape);
    let (sx, sy, so) = (shape(&x)?, shape(&y)?, shape(&out)?);
    b.push(binary_kernel(&gpu, op, kind, (&x.binding, &sx), (&y.binding, &sy), (&out.binding, &so)))?;
    Ok(true)
}
