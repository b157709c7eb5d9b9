//! The GPU forms of quantization and of integer products.

use cpu_kernels::quantize::Granularity;
use gpu_kernels::Binding;
use gpu_kernels::kernels::matmul_integer::{IntegerOperand, IntegerStorage, ZeroPoint, matmul_integer};
use gpu_kernels::kernels::quantize::{Quantization, dequantize_linear, dynamic_quantize_linear, quantize_linear};
use graph::{DType, Tensor};

use crate::gpu::{GpuBuilder, GpuTensor};
use crate::op::OpError;
use crate::ops::matmul::Sizes;
use crate::ops::movement_gpu::u32_of;

/// The least and greatest of an integer type that the shaders quantize to.
fn range(dtype: DType) -> Option<(i32, i32)> {
    match dtype {
        DType::U8 => Some((0, 255)),
        DType::I8 => Some((-128, 127)),
        DType::U16 => Some((0, 65535)),
        DType::I16 => Some((-32768, 32767)),
        _ => None,
    }
}

/// QuantizeLinear and DequantizeLinear with one scale, or one per index of an axis.
pub(crate) fn linear(b: &mut GpuBuilder<'_>, how: Granularity, quantize: bool) -> Result<bool, OpError> {
    let (Some(from), Some(to)) = (b.fact(0).map(|f| f.dtype), b.out_fact(0).map(|f| f.dtype)) else { return Ok(false) };
    let integers = if quantize { range(to) } else { range(from).or((from == DType::I32).then_some((0, 0))) };
    let float = if quantize { from } else { to };
    let (Some((low, high)), true) = (integers, float.is_float()) else { return Ok(false) };
    let (x, scale) = (b.input(0)?, b.input(1)?);
    let zero = if b.has(2) { Some(b.input(2)?) } else { None };
    let y = b.output(0)?;
    let (axis, per_channel) = match how {
        Granularity::Tensor => (0, false),
        Granularity::Axis(axis) => (axis, true),
        Granularity::Blocks { .. } => return Ok(false),
    };
    let product = |s: &[usize]| u32_of(s.iter().product());
    let shape = match per_channel {
        true => [product(&x.shape[..axis])?, u32_of(x.shape[axis])?, product(&x.shape[axis + 1..])?],
        false => [1, 1, u32_of(x.len())?],
    };
    let q = Quantization { scale: &scale.binding, zero: zero.as_ref().map(|z| &z.binding), per_channel };
    let gpu = b.gpu();
    b.push(match quantize {
        true => quantize_linear(&gpu, &x.binding, q, &y.binding, shape, low, high),
        false => dequantize_linear(&gpu, &x.binding, q, &y.binding, shape),
    })?;
    Ok(true)
}

/// DynamicQuantizeLinear.
pub(crate) fn dynamic(b: &mut GpuBuilder<'_>) -> Result<bool, OpError> {
    let x = b.input(0)?;
    let mut out = |i: usize, n: usize| match b.wants(i) {
        true => Ok(b.output(i)?.binding),
        false => b.temporary("unwanted", n),
    };
    let (y, scale, zero) = (out(0, x.len())?, out(1, 1)?, out(2, 1)?);
    if x.is_empty() {
        return Ok(false);
    }
    let gpu = b.gpu();
    b.push(dynamic_quantize_linear(&gpu, &x.binding, &y, &scale, &zero, u32_of(x.len())?))?;
    Ok(true)
}

/// Four bytes a word; a matrix by columns.
fn packed(b: &mut GpuBuilder<'_>, t: &Tensor) -> Result<(Binding, IntegerStorage), OpError> {
    let rows = t.bytes();
    let (mut bytes, storage) = match *t.shape() {
        [_, n] => {
            let columns = (0..n).flat_map(|j| rows.iter().skip(j).step_by(n)).copied();
            (columns.collect::<Vec<u8>>(), IntegerStorage::PackedColumns)
        }
        _ => (rows.to_vec(), IntegerStorage::Packed),
    };
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    Ok((b.upload("packed bytes", &bytes)?, storage))
}

fn zero_point(t: Option<&GpuTensor>, each: usize) -> Option<ZeroPoint<'_>> {
    match t {
        None => Some(ZeroPoint::None),
        Some(z) if z.len() == 1 => Some(ZeroPoint::One(&z.binding)),
        Some(z) if z.len() == each => Some(ZeroPoint::Each(&z.binding)),
        Some(_) => None,
    }
}

/// MatMulInteger; constant weights are held as bytes.
pub(crate) fn product(b: &mut GpuBuilder<'_>, s: &Sizes) -> Result<bool, OpError> {
    let Some((wide_a, wide_b)) = b.fact(0).zip(b.fact(1)).map(|(x, y)| (x.shape.clone(), y.shape.clone())) else {
        return Ok(false);
    };
    let (sa, sb) = (wide_a.unwrap_or_default(), wide_b.unwrap_or_default());
    let shared = sb.len() <= 2;
    // A batch of b needs its own a each.
    let batches: usize = s.batch.iter().product();
    if sa.is_empty() || (!shared && sa[..sa.len().saturating_sub(2)] != sb[..sb.len() - 2]) {
        return Ok(false);
    }
    let optional = |b: &mut GpuBuilder<'_>, i: usize| if b.has(i) { b.input(i).map(Some) } else { Ok(None) };
    let (az, bz) = (optional(b, 2)?, optional(b, 3)?);
    // Rows of a that all meet one b are one tall product.
    let tall = shared && az.as_ref().is_none_or(|z| z.len() == 1);
    let (batches, m) = if tall { (1, batches * s.m) } else { (batches, s.m) };
    let unsigned = |i: usize| b.fact(i).is_some_and(|f| f.dtype == DType::U8);
    let unsigned = [unsigned(0), unsigned(1)];
    let (Some(a_zero), Some(b_zero)) = (zero_point(az.as_ref(), m), zero_point(bz.as_ref(), s.n)) else {
        return Ok(false);
    };
    let (weights, storage) = match b.constant(1) {
        Some(t) => packed(b, t)?,
        None => (b.input(1)?.binding, IntegerStorage::Words),
    };
    let (a, y) = (b.input(0)?, b.output(0)?);
    let gpu = b.gpu();
    let dims = [u32_of(batches)?, u32_of(m)?, u32_of(s.k)?, u32_of(s.n)?];
    let left = IntegerOperand { values: &a.binding, unsigned: unsigned[0], zero: a_zero };
    let right = IntegerOperand { values: &weights, unsigned: unsigned[1], zero: b_zero };
    b.push(matmul_integer(&gpu, left, (right, storage), &y.binding, dims, shared))?;
    Ok(true)
}
