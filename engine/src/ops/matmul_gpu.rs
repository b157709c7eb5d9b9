//! The GPU form of MatMul, Gemm and their fused forms.

use cpu_kernels::gemm::Activation as Fused;
use gpu_kernels::Binding;
use gpu_kernels::kernels::Elem;
use gpu_kernels::kernels::binary::{BinaryOp, binary};
use gpu_kernels::kernels::matmul::{MatMul as Product, Weights, matmul};
use gpu_kernels::kernels::unary::{Activation, UnaryOp, unary};

use crate::gpu::GpuBuilder;
use crate::op::OpError;
use crate::ops::matmul::{MatMul, Sizes};
use crate::ops::movement_gpu::{shape32, transposed, u32_of};
use crate::ops::util;
use crate::precision::Precision;
use crate::tensor::constant_f32;

/// The shaders' name of a fused activation.
pub(crate) fn activation(a: Fused) -> Activation {
    let (op, x, y) = match a {
        Fused::None => (UnaryOp::Identity, 0.0, 0.0),
        Fused::Relu => (UnaryOp::Relu, 0.0, 0.0),
        Fused::Gelu => (UnaryOp::Gelu, 0.0, 0.0),
        Fused::GeluTanh => (UnaryOp::GeluTanh, 0.0, 0.0),
        Fused::Silu => (UnaryOp::Silu, 1.0, 0.0),
        Fused::Sigmoid => (UnaryOp::Sigmoid, 0.0, 0.0),
        Fused::Tanh => (UnaryOp::Tanh, 0.0, 0.0),
        Fused::Clip(lo, hi) => (UnaryOp::Clip, lo, hi),
        Fused::HardSwish => (UnaryOp::HardSwish, 0.0, 0.0),
        Fused::HardSigmoid(x, y) => (UnaryOp::HardSigmoid, x, y),
        Fused::LeakyRelu(x) => (UnaryOp::LeakyRelu, x, 0.0),
    };
    Activation { op, a: x, b: y }
}

/// Batch strides in elements over the last three batch dimensions; 0 where an operand broadcasts.
fn batch_strides(own: &[usize], matrix: usize) -> Result<[u32; 3], OpError> {
    let lead = &own[..own.len().saturating_sub(2)];
    let strides = util::strides(lead);
    let mut out = [0u32; 3];
    for (i, slot) in out.iter_mut().enumerate() {
        // Dimension i of the padded batch, counted from the end in the operand.
        let from_end = 3 - i;
        if from_end <= lead.len() && lead[lead.len() - from_end] != 1 {
            *slot = u32_of(strides[lead.len() - from_end] * matrix)?;
        }
    }
    Ok(out)
}

/// How a GPU holds the constant weights of a product; they are rounded to it before.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Storage {
    /// As they are.
    F32,
    /// Two in a word.
    F16,
    /// Four in a word, with a scale for each column of the product.
    I8,
    /// Eight in a word, by columns, with a scale for each group of 32.
    I4,
}

impl Storage {
    /// The form of a precision, where the shaders have one.
    pub fn of(precision: Precision) -> Option<Storage> {
        match precision {
            Precision::F16 => Some(Storage::F16),
            Precision::Int8 => Some(Storage::I8),
            Precision::Int4 => Some(Storage::I4),
            _ => None,
        }
    }

    fn bits(self) -> u64 {
        match self {
            Storage::F32 => 32,
            Storage::F16 => 16,
            Storage::I8 => 8,
            Storage::I4 => 4,
        }
    }
}

/// f16 bits, up to a whole word.
pub(crate) fn halves(values: &[f32]) -> Vec<u8> {
    let mut bytes: Vec<u8> = values.iter().flat_map(|&v| half::f16::from_f32(v).to_le_bytes()).collect();
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// i8 up to a whole word, and the scales of the `n` columns.
fn eighths(values: &[f32], s: &Sizes, by_columns: bool) -> (Vec<u8>, Vec<f32>) {
    let column = |i: usize| if by_columns { i / s.k } else { i % s.n };
    let mut scales = vec![0f32; s.n];
    for (i, v) in values.iter().enumerate() {
        let scale = &mut scales[column(i)];
        *scale = scale.max(v.abs());
    }
    scales.iter_mut().for_each(|v| *v /= 127.0);
    let byte = |(i, v): (usize, &f32)| {
        let scale = scales[column(i)];
        if scale > 0.0 { (v / scale).round_ties_even().clamp(-127.0, 127.0) as i8 as u8 } else { 0 }
    };
    let mut bytes: Vec<u8> = values.iter().enumerate().map(byte).collect();
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    (bytes, scales)
}

/// Elements that share a scale in a column of int4 weights.
const GROUP: usize = 32;

/// Nibbles of the columns of [n, k] weights, each up to a whole group, and a scale and a shift per group: a weight is
/// (nibble - 8) * scale.
fn nibbles(columns: &[f32], k: usize) -> (Vec<u8>, Vec<f32>) {
    let groups = columns.chunks(k.max(1)).flat_map(|column| column.chunks(GROUP));
    let mut bytes = Vec::with_capacity(columns.len().div_ceil(2));
    let mut scales = Vec::new();
    for group in groups {
        let scale = group.iter().fold(0f32, |top, v| top.max(v.abs())) / 7.0;
        let nibble = |i: usize| {
            let v = group.get(i).map_or(0.0, |v| if scale > 0.0 { v / scale } else { 0.0 });
            (v.round_ties_even().clamp(-7.0, 7.0) + 8.0) as u8
        };
        bytes.extend((0..GROUP / 2).map(|i| nibble(2 * i) | nibble(2 * i + 1) << 4));
        scales.extend([scale, -8.0 * scale]);
    }
    (bytes, scales)
}

/// [k, n] as [n, k].
fn by_columns(values: &[f32], s: &Sizes) -> Vec<f32> {
    (0..s.n).flat_map(|j| values.iter().skip(j).step_by(s.n).take(s.k)).copied().collect()
}

/// The right operand on the device.
struct Right {
    values: Binding,
    storage: Storage,
    scales: Option<Binding>,
    trans_b: bool,
}

impl Right {
    /// As the product takes it.
    fn weights(&self) -> Weights<'_> {
        match (self.storage, &self.scales) {
            (Storage::F16, _) => Weights::F16(&self.values),
            (Storage::I8, Some(scale)) => Weights::I8 { values: &self.values, scale },
            (Storage::I4, Some(scales)) => Weights::I4 { values: &self.values, scales, group: GROUP as u32 },
            _ => Weights::F32(&self.values),
        }
    }
}

/// The right operand in the operator's storage if it is constant. What is too large for one binding is held by columns, which
/// can be read in parts.
fn right(op: &MatMul, b: &mut GpuBuilder<'_>, s: &Sizes) -> Result<Right, OpError> {
    let bytes = (s.k as u64).saturating_mul(s.n as u64).saturating_mul(op.storage.bits()) / 8;
    let in_parts = !op.trans_b && bytes > b.gpu().max_binding_bytes();
    let constant = b.constant(1).filter(|t| (op.storage != Storage::F32 || in_parts) && t.shape().len() == 2);
    let Some(values) = constant.and_then(constant_f32) else {
        let values = b.input(1)?.binding;
        return Ok(Right { values, storage: Storage::F32, scales: None, trans_b: op.trans_b });
    };
    let trans_b = op.trans_b || in_parts || op.storage == Storage::I4;
    let values = if trans_b && !op.trans_b { by_columns(&values, s).into() } else { values };
    let (label, (bytes, scales)) = match op.storage {
        Storage::F32 => ("weights by columns", (bytemuck::cast_slice(&values).to_vec(), Vec::new())),
        Storage::F16 => ("f16 weights", (halves(&values), Vec::new())),
        Storage::I8 => ("i8 weights", eighths(&values, s, trans_b)),
        Storage::I4 => ("int4 weights", nibbles(&values, s.k)),
    };
    let scales = match scales.is_empty() {
        true => None,
        false => Some(b.upload("scales", bytemuck::cast_slice(&scales))?),
    };
    Ok(Right { values: b.upload(label, &bytes)?, storage: op.storage, scales, trans_b })
}

/// Encodes the product.
pub(crate) fn encode(op: &MatMul, b: &mut GpuBuilder<'_>) -> Result<bool, OpError> {
    let (Some(fa), Some(fb)) = (b.fact(0), b.fact(1)) else { return Ok(false) };
    let (sa, sb) = (fa.shape.clone().unwrap_or_default(), fb.shape.clone().unwrap_or_default());
    let s = op.sizes(&sa, &sb)?;
    let shape = |i: usize| b.fact(i).and_then(|f| f.shape.as_deref());
    // A bias that is no row is added afterwards.
    let late = b.has(2) && (op.beta != 1.0 || !shape(2).is_some_and(|c| MatMul::is_row(c, s.n)));
    let float = [fa, fb].iter().all(|f| f.dtype.is_float());
    if s.batch.len() > 3
        || !float
        || s.k == 0
        || (op.trans_a && sa.len() != 2)
        || (late && (op.activation != Fused::None || b.has(3)))
        || (b.has(3) && shape(3) != Some(&s.out[..]))
    {
        return Ok(false);
    }
    let a = b.input(0)?;
    let a = if op.trans_a { transposed(b, &a, &[1, 0])? } else { a.binding };
    let w = right(op, b, &s)?;
    let bias = if b.has(2) { Some(b.input(2)?) } else { None };
    let residual = if b.has(3) { Some(b.input(3)?) } else { None };
    let y = b.output(0)?;
    let gpu = b.gpu();
    // Rows of a that all meet one b are one tall product.
    let shared = sb.len() <= 2;
    let batch_count: usize = s.batch.iter().product();
    let m = if shared { s.m * batch_count } else { s.m };
    let mut p = Product::new(&a, w.weights(), &y.binding, [u32_of(m)?, u32_of(s.k)?, u32_of(s.n)?]);
    if !shared {
        let mut batch = [1u32; 3];
        for (i, d) in s.batch.iter().enumerate() {
            batch[3 - s.batch.len() + i] = u32_of(*d)?;
        }
        p.batch = batch;
        p.a_strides = batch_strides(&sa, s.m * s.k)?;
        p.b_strides = batch_strides(&sb, s.k * s.n)?;
    }
    p.trans_b = w.trans_b;
    p.alpha = op.alpha;
    p.bias = bias.as_ref().filter(|_| !late).map(|t| &t.binding);
    p.residual = residual.as_ref().map(|t| &t.binding);
    p.activation = activation(op.activation);
    b.push(matmul(&gpu, &p))?;
    if let Some(c) = bias.filter(|_| late) {
        let mut term = c.binding.clone();
        if op.beta != 1.0 {
            term = b.temporary("beta C", c.len())?;
            b.push(unary(&gpu, UnaryOp::Affine, op.beta, 0.0, &c.binding, &term, u32_of(c.len())?))?;
        }
        let (to, from) = (shape32(&y.shape)?, shape32(&c.shape)?);
        let sum = (&y.binding, &to[..]);
        b.push(binary(&gpu, BinaryOp::Add, Elem::F32, sum, (&term, &from), sum))?;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_fill_whole_words() {
        assert_eq!(halves(&[1.0, -2.0, 0.5]), [0x00, 0x3c, 0x00, 0xc0, 0x00, 0x38, 0, 0]);
        let s = Sizes { batch: vec![], m: 1, n: 2, k: 3, out: vec![1, 2] };
        let (bytes, scales) = eighths(&[127.0, 2.0, -64.0, -2.0, 1.0, 0.0], &s, false);
        assert_eq!((bytes, scales), (vec![127, 127, 192, 129, 1, 0, 0, 0], vec![1.0, 2.0 / 127.0]));
        let (bytes, scales) = eighths(&[127.0, -64.0, 1.0, 0.0, 0.0, 0.0], &s, true);
        assert_eq!((bytes, scales), (vec![127, 192, 1, 0, 0, 0, 0, 0], vec![1.0, 0.0]));
        assert_eq!(by_columns(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &s), [1.0, 3.0, 5.0, 2.0, 4.0, 6.0]);
        let (bytes, scales) = nibbles(&[7.0, -7.0, 1.0, 0.0, 0.0, -3.5], 3);
        assert_eq!((bytes.len(), &bytes[..2], &bytes[16..18]), (32, &[0x1f, 0x89][..], &[0x88, 0x81][..]));
        assert_eq!(scales, [1.0, -8.0, 0.5, -4.0]);
    }
}
