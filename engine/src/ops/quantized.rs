//! Products on weights quantized to int8 (per channel, activations per row at run time) or int4 (groups of 32).

use std::fmt;
use std::sync::Arc;

use cpu_kernels::gemm::Epilogue;
use cpu_kernels::quant::{
    PackedInt4B, PackedInt8B, gemm_int4, gemm_int8_dynamic, quantize_weights_int4, quantize_weights_int8,
};
use graph::DType;

use crate::op::{Cost, Fact, Inputs, OpClass, OpError, Operator, Prepared, RunCx};
use crate::ops::matmul::MatMul;
use crate::precision::Precision;
use crate::tensor::constant_f32;

#[derive(Clone)]
enum Weights {
    Int8(Arc<PackedInt8B>),
    Int4(Arc<PackedInt4B>),
}

/// A product whose weights are packed when the plan is made.
#[derive(Clone)]
struct Quantized {
    of: MatMul,
    precision: Precision,
    weights: Option<Weights>,
}

impl fmt::Debug for Quantized {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} on {} weights", self.of, self.precision)
    }
}

/// The operator that runs a product on quantized weights; `None` if it has no kernel for these inputs.
pub(crate) fn of(matmul: &MatMul, precision: Precision, inputs: &[Option<Fact>]) -> Option<Box<dyn Operator>> {
    let a = inputs.first()?.as_ref()?;
    let b = inputs.get(1)?.as_ref()?;
    let shape = b.shape.as_deref()?;
    let n = *shape.get(usize::from(!matmul.trans_b))?;
    let row =
        inputs.get(2).and_then(Option::as_ref).is_none_or(|c| c.shape.as_deref().is_some_and(|c| MatMul::is_row(c, n)));
    let rank = a.shape.as_ref()?.len();
    let fits = shape.len() == 2 && rank >= 2 && a.dtype == DType::F32 && !matmul.trans_a && matmul.beta == 1.0 && row;
    fits.then(|| Box::new(Quantized { of: *matmul, precision, weights: None }) as Box<dyn Operator>)
}

impl Operator for Quantized {
    fn class(&self) -> OpClass {
        OpClass::MatMul
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        self.of.infer(inputs)
    }

    fn cost(&self, inputs: &Inputs<'_>, outputs: &[Fact]) -> Cost {
        self.of.cost(inputs, outputs)
    }

    fn prepare(&self, inputs: &Inputs<'_>, _: &[Fact]) -> Result<Option<Prepared>, OpError> {
        let b = inputs.need(1)?;
        let shape = b.shape.as_deref().unwrap_or(&[]);
        let s = self.of.sizes(inputs.shape(0)?.unwrap_or(&[]), shape)?;
        let Some(values) = b.value.as_ref().and_then(constant_f32) else {
            return Err(OpError::invalid("quantized weights must be constant"));
        };
        let (weights, bytes) = if self.precision == Precision::Int8 {
            let w = quantize_weights_int8(&values, s.k, s.n, self.of.trans_b);
            let bytes = w.bytes();
            (Weights::Int8(Arc::new(w)), bytes)
        } else {
            let w = quantize_weights_int4(&values, s.k, s.n, self.of.trans_b);
            let bytes = w.bytes();
            (Weights::Int4(Arc::new(w)), bytes)
        };
        let op = Quantized { weights: Some(weights), ..self.clone() };
        Ok(Some(Prepared { op: Box::new(op), absorbed: vec![1], bytes }))
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let a = cx.input(0)?.f32()?;
        let bias = cx.get(2).map(|c| c.f32()).transpose()?;
        let residual = cx.get(3).map(|r| r.f32()).transpose()?;
        let epi = Epilogue { bias, activation: self.of.activation, residual, alpha: self.of.alpha };
        let p = cx.split::<f32>()?;
        let rows = |n: usize| p.out.len().checked_div(n).unwrap_or(0);
        match &self.weights {
            Some(Weights::Int8(b)) => gemm_int8_dynamic(p.pool, rows(b.n()), a, b, p.out, &epi),
            Some(Weights::Int4(b)) => gemm_int4(p.pool, rows(b.n()), a, b, p.out, &epi),
            None => return Err(OpError::unsupported("quantized weights on a plan that packs none (a GPU)")),
        }
        Ok(())
    }

    fn label(&self, inputs: &Inputs<'_>) -> Option<String> {
        self.of.label(inputs)
    }

    fn kernel(&self) -> String {
        match self.precision {
            Precision::Int8 => "gemm int8, dynamic activations".into(),
            _ => "gemm f32 on int4 weights".into(),
        }
    }
}
