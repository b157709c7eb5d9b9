//! Shape and Size: folded away wherever shapes are known.

use graph::{DType, Tensor};

use crate::attrs::Attrs;
use crate::op::{Fact, Inputs, NEWEST, OpClass, OpDef, OpError, Operator, RunCx};

/// Shape and Size.
pub(crate) const OPS: &[OpDef] = &[
    OpDef { domain: "", name: "Shape", opsets: (1, NEWEST), read },
    OpDef { domain: "", name: "Size", opsets: (1, NEWEST), read: |_| Ok(Box::new(Shape::Size)) },
];

#[derive(Debug)]
enum Shape {
    Shape { start: i64, end: i64 },
    Size,
}

fn read(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(Shape::Shape { start: a.int_or("start", 0)?, end: a.int_or("end", i64::MAX)? }))
}

impl Shape {
    fn value(&self, x: &[usize]) -> Tensor {
        match self {
            Shape::Size => Tensor::scalar(x.iter().product::<usize>() as i64),
            Shape::Shape { start, end } => {
                let r = x.len() as i64;
                let at = |v: i64| (if v < 0 { v.saturating_add(r) } else { v }).clamp(0, r) as usize;
                let (from, to) = (at(*start), at(*end));
                let dims: Vec<i64> = x[from..to.max(from)].iter().map(|&d| d as i64).collect();
                Tensor::from_vec(&[dims.len()], dims)
            }
        }
    }
}

impl Operator for Shape {
    fn class(&self) -> OpClass {
        OpClass::DataMovement
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![Fact::constant(self.value(inputs.shape(0)?.unwrap_or(&[])))])
    }

    fn dtypes(&self, _: &Inputs<'_>) -> Result<Vec<DType>, OpError> {
        Ok(vec![DType::I64])
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let t = self.value(cx.input(0)?.shape);
        cx.set(0, t)
    }
}
