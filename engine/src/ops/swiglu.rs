//! SwiGLU: a gate's Swish times a value.

use crate::attrs::Attrs;
use crate::op::{Cost, Fact, Inputs, NEWEST, OpClass, OpDef, OpError, Operator, RunCx};
use crate::ops::floats;

/// Gated activation.
pub(crate) const OPS: &[OpDef] = &[OpDef { domain: "", name: "SwiGLU", opsets: (28, NEWEST), read }];

#[derive(Debug)]
struct SwiGlu {
    alpha: f32,
}

fn read(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(SwiGlu { alpha: a.float_or("alpha", 1.0)? }))
}

impl Operator for SwiGlu {
    fn class(&self) -> OpClass {
        OpClass::Elementwise
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        floats::expect_float(inputs, 0)?;
        let (a, b) = (inputs.need(0)?, inputs.need(1)?);
        if (a.dtype, &a.shape) != (b.dtype, &b.shape) {
            return Err(OpError::invalid("gate and value must have one type and shape"));
        }
        Ok(vec![Fact::new(a.dtype, a.shape.clone().unwrap_or_default())])
    }

    fn cost(&self, _: &Inputs<'_>, outputs: &[Fact]) -> Cost {
        Cost { flops: 5 * outputs[0].numel().unwrap_or(0) as u64 }
    }

    fn widens(&self) -> bool {
        true
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let (a, b, pool) = (cx.input(0)?, cx.input(1)?, cx.pool());
        if a.dtype == graph::DType::F64 {
            let (x, b, alpha) = (floats::read(cx, 0)?, floats::read(cx, 1)?, f64::from(self.alpha));
            let out: Vec<f64> = x.iter().zip(&b).map(|(x, b)| x / (1.0 + (-alpha * x).exp()) * b).collect();
            return floats::write(cx, 0, &out);
        }
        let (x, b, alpha) = (a.f32()?, b.f32()?, self.alpha);
        const PIECE: usize = 1 << 14;
        pool.for_chunks_mut(cx.out::<f32>(0)?, PIECE, |i, out| {
            let at = i * PIECE;
            for (y, (x, b)) in out.iter_mut().zip(x[at..].iter().zip(&b[at..])) {
                *y = x / (1.0 + (-alpha * x).exp()) * b;
            }
        });
        Ok(())
    }

    fn kernel(&self) -> String {
        "swiglu".into()
    }
}
