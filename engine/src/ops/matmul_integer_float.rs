//! Integer products that go on in floats: `activation(a_scale b_scale (a - a_zero)(b - b_zero) + bias)`, in one step.

use std::sync::Arc;

use cpu_kernels::gemm::{Activation, Epilogue};
use cpu_kernels::quant::{PackedIntegerB, matmul_integer_float};
use graph::DType;

use crate::attrs::Attrs;
use crate::op::{Cost, Fact, Inputs, NEWEST, OpClass, OpDef, OpError, Operator, Prepared, RunCx};
use crate::ops::activation;
use crate::ops::matmul::MatMul;
use crate::ops::matmul_integer::{bytes, view};
use crate::registry::INTERNAL;

/// Inputs a, b, a's scale, b's scale (optional), a's zero point, b's zero point, bias.
pub(crate) const OPS: &[OpDef] = &[
    OpDef { domain: "com.microsoft", name: "MatMulIntegerToFloat", opsets: (1, NEWEST), read },
    OpDef { domain: INTERNAL, name: "FusedMatMulInteger", opsets: (1, 1), read },
];

const B: usize = 1;
const A_SCALE: usize = 2;
const B_SCALE: usize = 3;
const A_ZERO: usize = 4;
const B_ZERO: usize = 5;
const BIAS: usize = 6;

#[derive(Clone, Debug)]
struct Product {
    activation: Activation,
    packed: Option<Arc<PackedIntegerB>>,
}

fn read(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(Product { activation: activation::read(a)?, packed: None }))
}

impl Operator for Product {
    fn class(&self) -> OpClass {
        OpClass::MatMul
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        let b = inputs.shape(B)?.unwrap_or(&[]);
        if b.len() != 2 {
            return Err(OpError::unsupported(format!("an integer product with weights of {b:?}")));
        }
        let s = MatMul::PLAIN.sizes(inputs.shape(0)?.unwrap_or(&[]), b)?;
        let one_or = |i: usize, n: usize| match inputs.get(i).and_then(Fact::numel) {
            Some(len) if len != 1 && len != n => {
                Err(OpError::unsupported(format!("input {i} of {len} elements, where there may be 1 or {n}")))
            }
            _ => Ok(()),
        };
        one_or(A_SCALE, 1)?;
        one_or(A_ZERO, 1)?;
        one_or(B_SCALE, s.n)?;
        one_or(B_ZERO, s.n)?;
        if inputs.get(BIAS).and_then(Fact::numel).is_some_and(|len| len != s.n) {
            return Err(OpError::invalid(format!("a bias that has not {} elements", s.n)));
        }
        Ok(vec![Fact::new(DType::F32, s.out)])
    }

    fn dtypes(&self, _: &Inputs<'_>) -> Result<Vec<DType>, OpError> {
        Ok(vec![DType::F32])
    }

    fn cost(&self, inputs: &Inputs<'_>, outputs: &[Fact]) -> Cost {
        let k = inputs.get(0).and_then(|a| a.shape.as_ref()?.last().copied()).unwrap_or(0) as u64;
        let extra = 1 + u64::from(inputs.get(BIAS).is_some()) + u64::from(self.activation != Activation::None);
        Cost { flops: (2 * k + extra).saturating_mul(outputs[0].numel().unwrap_or(0) as u64) }
    }

    fn prepare(&self, inputs: &Inputs<'_>, _: &[Fact]) -> Result<Option<Prepared>, OpError> {
        let Some(b) = inputs.get(B).and_then(|f| f.value.as_ref()) else { return Ok(None) };
        let zero = inputs.get(B_ZERO).and_then(|f| f.value.as_ref());
        if inputs.is_dynamic(B_ZERO) || zero.is_some_and(|z| z.dtype() != b.dtype()) {
            return Ok(None);
        }
        let packed = PackedIntegerB::pack(bytes(Some(view(b)))?, b.shape()[0], b.shape()[1], bytes(zero.map(view))?);
        let bytes = packed.bytes();
        let op = Product { packed: Some(Arc::new(packed)), ..self.clone() };
        let absorbed = [B, B_ZERO].into_iter().filter(|&i| inputs.get(i).is_some()).collect();
        Ok(Some(Prepared { op: Box::new(op), absorbed, bytes }))
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let same = |x: usize, z: usize| match (cx.get(x), cx.get(z)) {
            (Some(x), Some(z)) if x.dtype != z.dtype => Err(OpError::invalid("a zero point of another type")),
            _ => Ok(()),
        };
        same(0, A_ZERO)?;
        let a = cx.input(0)?;
        let a_zero = bytes(cx.get(A_ZERO))?;
        let b = match &self.packed {
            Some(packed) => packed.clone(),
            None => {
                same(B, B_ZERO)?;
                let b = cx.input(B)?;
                let &[k, n] = b.shape else { return Err(OpError::unsupported("weights that are no matrix")) };
                Arc::new(PackedIntegerB::pack(bytes(Some(b))?, k, n, bytes(cx.get(B_ZERO))?))
            }
        };
        let &[by] = cx.slice::<f32>(A_SCALE)? else { return Err(OpError::unsupported("a scale for each row")) };
        let scale: Vec<f32> = match cx.get(B_SCALE) {
            Some(s) => s.f32()?.iter().map(|s| s * by).collect(),
            None => vec![by],
        };
        let bias = cx.get(BIAS).map(|b| b.f32()).transpose()?;
        let epi = Epilogue { bias, activation: self.activation, ..Epilogue::default() };
        let a = bytes(Some(a))?;
        let p = cx.split::<f32>()?;
        let rows = p.out.len().checked_div(b.n()).unwrap_or(0);
        matmul_integer_float(p.pool, rows, a, a_zero, &b, &scale, p.out, &epi);
        Ok(())
    }

    fn label(&self, inputs: &Inputs<'_>) -> Option<String> {
        let bias = if inputs.get(BIAS).is_some() { "+Bias" } else { "" };
        Some(format!("MatMulInteger{bias}{}", activation::suffix(self.activation)))
    }

    fn kernel(&self) -> String {
        if self.packed.is_some() { "gemm int8, packed".into() } else { "gemm int8".into() }
    }
}
