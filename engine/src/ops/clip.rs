//! Clip: its bounds are attributes before opset 11, inputs since.

use cpu_kernels::number::Number;
use cpu_kernels::unary::{NumberOp, UnaryOp, unary_f32, unary_in_place_f32, unary_number, unary_number_in_place};
use graph::{DType, Element};

use crate::attrs::Attrs;
use crate::gpu::GpuBuilder;
use crate::op::{Cost, Fact, Inputs, NEWEST, OpClass, OpDef, OpError, Operator, RunCx};
use crate::ops::typed::by_number;
use crate::tensor::Input;

/// Clip.
pub(crate) const OPS: &[OpDef] = &[OpDef { domain: "", name: "Clip", opsets: (6, NEWEST), read }];

#[derive(Debug)]
struct Clip {
    min: Option<f32>,
    max: Option<f32>,
}

fn read(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    a.ignore("consumed_inputs");
    let bound = |name| if a.opset() < 11 { a.float(name) } else { Ok(None) };
    Ok(Box::new(Clip { min: bound("min")?, max: bound("max")? }))
}

/// A bound from its attribute or its input.
fn bound<T: Number + Element>(attr: Option<f32>, input: Option<Input<'_>>, default: T) -> Result<T, OpError> {
    match (attr, input) {
        (Some(v), _) => Ok(T::from_f64(f64::from(v))),
        (None, None) => Ok(default),
        (None, Some(t)) => match t.slice::<T>()? {
            [v] => Ok(*v),
            other => Err(OpError::invalid(format!("a bound must be one number, it has {}", other.len()))),
        },
    }
}

impl Operator for Clip {
    fn class(&self) -> OpClass {
        OpClass::Elementwise
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        let x = inputs.need(0)?;
        for b in [inputs.get(1), inputs.get(2)].into_iter().flatten() {
            if b.dtype != x.dtype {
                return Err(OpError::invalid(format!("bounds of {} for {}", b.dtype, x.dtype)));
            }
        }
        Ok(vec![Fact::new(x.dtype, x.shape.clone().unwrap_or_default())])
    }

    fn cost(&self, _: &Inputs<'_>, outputs: &[Fact]) -> Cost {
        Cost { flops: 2 * outputs[0].numel().unwrap_or(0) as u64 }
    }

    fn in_place(&self) -> &'static [usize] {
        &[0]
    }

    fn widens(&self) -> bool {
        true
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let (min, max) = (cx.get(1), cx.get(2));
        if cx.out_dtype(0) == DType::F32 {
            let lo = bound(self.min, min, f32::NEG_INFINITY)?;
            let hi = bound(self.max, max, f32::INFINITY)?;
            let p = cx.split::<f32>()?;
            match p.inputs[0] {
                Some(x) => unary_f32(p.pool, UnaryOp::Clip { lo, hi }, x.f32()?, p.out),
                None => unary_in_place_f32(p.pool, UnaryOp::Clip { lo, hi }, p.out),
            }
            return Ok(());
        }
        by_number!(cx.out_dtype(0), "Clip", T => {
            let op = NumberOp::Clip(bound(self.min, min, T::LOWEST)?, bound(self.max, max, T::HIGHEST)?);
            let p = cx.split::<T>()?;
            match p.inputs[0] {
                Some(x) => unary_number(p.pool, op, x.slice()?, p.out),
                None => unary_number_in_place(p.pool, op, p.out),
            }
            Ok(())
        })
    }

    fn kernel(&self) -> String {
        "unary".into()
    }

    fn gpu(&self, b: &mut GpuBuilder<'_>) -> Result<bool, OpError> {
        let number = |b: &GpuBuilder<'_>, attr: Option<f32>, i: usize, default: f32| match (attr, b.has(i)) {
            (Some(v), _) => Some(v),
            (None, false) => Some(default),
            (None, true) => b.constant(i).and_then(crate::tensor::constant_f32).and_then(|v| v.first().copied()),
        };
        let (lo, hi) = (number(b, self.min, 1, f32::NEG_INFINITY), number(b, self.max, 2, f32::INFINITY));
        match (lo, hi, b.fact(0).is_some_and(|f| f.dtype.is_float())) {
            (Some(lo), Some(hi), true) => crate::ops::elementwise_gpu::unary(b, UnaryOp::Clip { lo, hi }),
            _ => Ok(false),
        }
    }
}
