//! The GPU form of MatMul, Gemm and their fused forms.

use cpu_kernels::gemm::Activation as Fused;
use gpu_kernels::kernels::matmul::{MatMul as Product, Weights, matmul};
use gpu_kernels::kernels::unary::{Activation, UnaryOp};

use crate::gpu::GpuBuilder;
use crate::op::OpError;
use crate::ops::matmul::MatMul;
use crate::ops::movement_gpu::u32_of;
use crate::ops::util;

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

/// Encodes the product.
pub(crate) fn encode(op: &MatMul, b: &mut GpuBuilder<'_>) -> Result<bool, OpError> {
    let (Some(fa), Some(fb)) = (b.fact(0), b.fact(1)) else { return Ok(false) };
    let (sa, sb) = (fa.shape.clone().unwrap_or_default(), fb.shape.clone().unwrap_or_default());
    let s = op.sizes(&sa, &sb)?;
    let bias_row = b.fact(2).and_then(|f| f.shape.clone()).is_none_or(|c| MatMul::is_row(&c, s.n));
    let float = [fa, fb].iter().all(|f| f.dtype.is_float());
    if op.trans_a || s.batch.len() > 3 || !float || !bias_row || (op.beta != 1.0 && b.has(2)) || b.has(3) || s.k == 0 {
        return Ok(false);
    }
    let (a, w, y) = (b.input(0)?, b.input(1)?, b.output(0)?);
    let bias = if b.has(2) { Some(b.input(2)?) } else { None };
    let gpu = b.gpu();
    // Rows of a that all meet one b are one tall product.
    let shared = sb.len() <= 2;
    let batch_count: usize = s.batch.iter().product();
    let m = if shared { s.m * batch_count } else { s.m };
    let mut p = Product::new(&a.binding, Weights::F32(&w.binding), &y.binding, [u32_of(m)?, u32_of(s.k)?, u32_of(s.n)?]);
    if !shared {
        let mut batch = [1u32; 3];
        for (i, d) in s.batch.iter().enumerate() {
            batch[3 - s.batch.len() + i] = u32_of(*d)?;
        }
        p.batch = batch;
        p.a_strides = batch_strides(&sa, s.m * s.k)?;
        p.b_strides = batch_strides(&sb, s.k * s.n)?;
    }
    p.trans_b = op.trans_b;
    p.alpha = op.alpha;
    p.bias = bias.as_ref().map(|t| &t.binding);
    p.activation = activation(op.activation);
    b.push(matmul(&gpu, &p))?;
    Ok(true)
}
