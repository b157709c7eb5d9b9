//! Slice.

use cpu_kernels::movement::{self, SliceAxis};

use crate::attrs::Attrs;
use crate::gpu::GpuBuilder;
use crate::op::{Fact, Inputs, NEWEST, OpClass, OpDef, OpError, Operator, RunCx};
use crate::ops::util;

/// Slice, with its bounds in attributes (before opset 10) or in inputs.
pub(crate) const OPS: &[OpDef] = &[OpDef { domain: "", name: "Slice", opsets: (1, NEWEST), read }];

#[derive(Debug)]
struct Slice {
    fixed: Option<Bounds>,
}

#[derive(Clone, Debug)]
struct Bounds {
    starts: Vec<i64>,
    ends: Vec<i64>,
    axes: Option<Vec<i64>>,
    steps: Option<Vec<i64>>,
}

fn read(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    let list = |name: &str| Ok::<_, OpError>(a.ints(name)?.map(<[i64]>::to_vec));
    let fixed = match (list("starts")?, list("ends")?) {
        (Some(starts), Some(ends)) if a.opset() < 10 => Some(Bounds { starts, ends, axes: list("axes")?, steps: None }),
        (None, None) => None,
        _ => return Err(OpError::invalid("starts and ends must both be attributes (before opset 10) or both inputs")),
    };
    Ok(Box::new(Slice { fixed }))
}

impl Bounds {
    /// One range per dimension.
    fn resolve(&self, shape: &[usize]) -> Result<Vec<SliceAxis>, OpError> {
        let n = self.starts.len();
        let axes = match &self.axes {
            Some(a) => util::axes(a, shape.len())?,
            None => (0..n).collect(),
        };
        let steps = self.steps.clone().unwrap_or_else(|| vec![1; n]);
        if self.ends.len() != n || axes.len() != n || steps.len() != n || n > shape.len() {
            return Err(OpError::invalid("starts, ends, axes and steps differ in length"));
        }
        let mut out: Vec<SliceAxis> = shape.iter().map(|&d| SliceAxis::all(d)).collect();
        for i in 0..n {
            out[axes[i]] = SliceAxis::onnx(shape[axes[i]], self.starts[i], self.ends[i], steps[i])?;
        }
        Ok(out)
    }
}

impl Slice {
    fn bounds(&self, ints: impl Fn(usize) -> Result<Option<Vec<i64>>, OpError>) -> Result<Bounds, OpError> {
        if let Some(b) = &self.fixed {
            return Ok(b.clone());
        }
        let need = |i| ints(i)?.ok_or_else(|| OpError::invalid(format!("input {i} is missing")));
        Ok(Bounds { starts: need(1)?, ends: need(2)?, axes: ints(3)?, steps: ints(4)? })
    }
}

impl Operator for Slice {
    fn class(&self) -> OpClass {
        OpClass::DataMovement
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        let x = inputs.need(0)?;
        if (1..5).any(|i| inputs.is_dynamic(i)) {
            return Ok(vec![Fact::dynamic(x.dtype)]);
        }
        let shape = x.shape.as_deref().unwrap_or(&[]);
        let axes = self.bounds(|i| inputs.ints(i))?.resolve(shape)?;
        Ok(vec![Fact::new(x.dtype, movement::slice_shape(shape, &axes)?)])
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let x = cx.input(0)?;
        let axes = self.bounds(|i| cx.ints(i))?.resolve(x.shape)?;
        let elem = util::elem_bytes(x.dtype)?;
        let pool = cx.pool();
        movement::slice(pool, elem, x.shape, &axes, x.data, cx.out_bytes(0)?)?;
        Ok(())
    }

    fn gpu(&self, b: &mut GpuBuilder<'_>) -> Result<bool, OpError> {
        let x = b.input(0)?;
        let axes = self.bounds(|i| Ok(b.const_ints(i)))?.resolve(&x.shape)?;
        let strides = util::strides(&x.shape);
        if axes.iter().any(|a| a.step < 0) {
            return Ok(false);
        }
        let offset = axes.iter().zip(&strides).map(|(a, s)| a.start * s).sum();
        let from: Vec<usize> = axes.iter().zip(&strides).map(|(a, s)| a.step as usize * s).collect();
        crate::ops::movement_gpu::copy(b, &x, offset, &from)
    }
}
