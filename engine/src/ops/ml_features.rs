//! Feature operators of the classic domain: ArrayFeatureExtractor and Binarizer.

use graph::DType;

use crate::attrs::Attrs;
use crate::op::{Cost, Fact, Inputs, OpClass, OpDef, OpError, Operator, RunCx};
use crate::ops::typed::by_number;
use crate::ops::util;

/// Features by their indices, and by a threshold.
pub(crate) const OPS: &[OpDef] = &[
    OpDef { domain: "ai.onnx.ml", name: "ArrayFeatureExtractor", opsets: (1, 5), read: |_| Ok(Box::new(Extract)) },
    OpDef { domain: "ai.onnx.ml", name: "Binarizer", opsets: (1, 5), read: read_binarizer },
];

/// Elements of the last axis; a vector counts as one row.
#[derive(Debug)]
struct Extract;

impl Operator for Extract {
    fn class(&self) -> OpClass {
        OpClass::DataMovement
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        let (x, y) = (inputs.need(0)?, inputs.need(1)?);
        util::elem_bytes(x.dtype)?;
        let Some([lead @ .., _]) = x.shape.as_deref() else { return Err(OpError::invalid("features of a scalar")) };
        let mut shape = if lead.is_empty() { vec![1] } else { lead.to_vec() };
        shape.push(y.numel().unwrap_or(0));
        Ok(vec![Fact::new(x.dtype, shape)])
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let (x, indices) = (cx.input(0)?, cx.input(1)?.to_i64()?);
        let (size, width) = (util::elem_bytes(x.dtype)?, x.shape.last().copied().unwrap_or(1));
        let place = |&i: &i64| {
            let known = usize::try_from(i).ok().filter(|&i| i < width);
            known.ok_or_else(|| OpError::invalid(format!("feature {i} of {width}")))
        };
        let places = indices.iter().map(place).collect::<Result<Vec<_>, _>>()?;
        if places.is_empty() {
            return Ok(());
        }
        let rows = cx.out_bytes(0)?.chunks_exact_mut(places.len() * size);
        for (out, row) in rows.zip(x.data.chunks_exact((width * size).max(1))) {
            for (y, &at) in out.chunks_exact_mut(size).zip(&places) {
                y.copy_from_slice(&row[at * size..][..size]);
            }
        }
        Ok(())
    }
}

#[derive(Debug)]
struct Binarizer {
    threshold: f32,
}

fn read_binarizer(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(Binarizer { threshold: a.float_or("threshold", 0.0)? }))
}

impl Operator for Binarizer {
    fn class(&self) -> OpClass {
        OpClass::Elementwise
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        let x = inputs.need(0)?;
        if !matches!(x.dtype, DType::F32 | DType::F64 | DType::I64 | DType::I32) {
            return Err(OpError::unsupported(format!("Binarizer of {}", x.dtype)));
        }
        Ok(vec![Fact::new(x.dtype, x.shape.clone().unwrap_or_default())])
    }

    fn cost(&self, _: &Inputs<'_>, outputs: &[Fact]) -> Cost {
        Cost { flops: outputs[0].numel().unwrap_or(0) as u64 }
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let threshold = f64::from(self.threshold);
        by_number!(cx.out_dtype(0), "Binarizer", T => {
            let x = cx.slice::<T>(0)?;
            for (y, &x) in cx.out::<T>(0)?.iter_mut().zip(x) {
                *y = u8::from(x as f64 > threshold) as T;
            }
            Ok(())
        })
    }
}
