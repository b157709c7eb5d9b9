//! Concat and Split.

use cpu_kernels::movement;

use crate::attrs::Attrs;
use crate::gpu::GpuBuilder;
use crate::op::{Fact, Inputs, NEWEST, OpClass, OpDef, OpError, Operator, RunCx};
use crate::ops::util;
use graph::DType;

/// Concat and Split.
pub(crate) const OPS: &[OpDef] = &[
    OpDef { domain: "", name: "Concat", opsets: (4, NEWEST), read: read_concat },
    OpDef { domain: "", name: "Split", opsets: (2, NEWEST), read: read_split },
];

#[derive(Debug)]
struct Concat {
    axis: i64,
}

fn read_concat(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(Concat { axis: a.need_int("axis")? }))
}

impl Operator for Concat {
    fn class(&self) -> OpClass {
        OpClass::DataMovement
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        let first = inputs.need(0)?;
        let mut shape = first.shape.clone().unwrap_or_default();
        let axis = util::axis(self.axis, shape.len())?;
        shape[axis] = 0;
        for i in 0..inputs.len() {
            let f = inputs.need(i)?;
            let s = f.shape.as_deref().unwrap_or(&[]);
            let fits = s.len() == shape.len() && (0..s.len()).all(|d| d == axis || s[d] == shape[d]);
            if !fits || f.dtype != first.dtype {
                return Err(OpError::invalid(format!("input {i} of {}{s:?} can't be joined on axis {axis}", f.dtype)));
            }
            shape[axis] = shape[axis].checked_add(s[axis]).ok_or_else(|| OpError::invalid("the size overflows"))?;
        }
        Ok(vec![Fact::new(first.dtype, shape)])
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let inputs: Vec<_> = (0..cx.input_count()).map(|i| cx.input(i)).collect::<Result<_, _>>()?;
        let axis = util::axis(self.axis, inputs[0].shape.len())?;
        let elem = util::elem_bytes(inputs[0].dtype)?;
        let parts: Vec<(&[usize], &[u8])> = inputs.iter().map(|x| (x.shape, x.data)).collect();
        let pool = cx.pool();
        movement::concat(pool, elem, axis, &parts, cx.out_bytes(0)?)?;
        Ok(())
    }

    fn gpu(&self, b: &mut GpuBuilder<'_>) -> Result<bool, OpError> {
        crate::ops::movement_gpu::concat(b, self.axis)
    }
}

#[derive(Debug)]
struct Split {
    axis: i64,
    /// Sizes from the attribute (before opset 13).
    sizes: Option<Vec<i64>>,
    outputs: usize,
}

fn read_split(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    if let Some(n) = a.int("num_outputs")?.filter(|&n| n != a.output_count() as i64) {
        return Err(OpError::invalid(format!("num_outputs = {n} with {} outputs", a.output_count())));
    }
    let sizes = if a.opset() < 13 { a.ints("split")?.map(<[i64]>::to_vec) } else { None };
    Ok(Box::new(Split { axis: a.int_or("axis", 0)?, sizes, outputs: a.output_count() }))
}

impl Split {
    fn sizes(&self, len: usize, given: Option<Vec<i64>>) -> Result<Vec<usize>, OpError> {
        let sizes = match self.sizes.clone().or(given) {
            Some(s) => s.iter().map(|&v| usize::try_from(v)).collect::<Result<Vec<_>, _>>().ok(),
            None => {
                // Equal parts, the last one smaller.
                let each = len.div_ceil(self.outputs.max(1));
                Some((0..self.outputs).map(|i| each.min(len.saturating_sub(i * each))).collect())
            }
        };
        let total = sizes.as_ref().and_then(|s| s.iter().try_fold(0usize, |n, &d| n.checked_add(d)));
        match sizes {
            Some(s) if total == Some(len) && s.len() >= self.outputs => Ok(s),
            other => Err(OpError::invalid(format!("{len} can't be split into {} parts of {other:?}", self.outputs))),
        }
    }
}

impl Operator for Split {
    fn class(&self) -> OpClass {
        OpClass::DataMovement
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        let x = inputs.need(0)?;
        let shape = x.shape.clone().unwrap_or_default();
        if inputs.is_dynamic(1) {
            return Ok(vec![Fact::dynamic(x.dtype); self.outputs]);
        }
        let axis = util::axis(self.axis, shape.len())?;
        let part = |n: usize| {
            let mut s = shape.clone();
            s[axis] = n;
            Fact::new(x.dtype, s)
        };
        Ok(self.sizes(shape[axis], inputs.ints(1)?)?.into_iter().map(part).collect())
    }

    fn dtypes(&self, inputs: &Inputs<'_>) -> Result<Vec<DType>, OpError> {
        Ok(vec![inputs.need(0)?.dtype; self.outputs])
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let x = cx.input(0)?;
        let axis = util::axis(self.axis, x.shape.len())?;
        let elem = util::elem_bytes(x.dtype)?;
        let sizes = self.sizes(x.shape[axis], cx.ints(1)?)?;
        let inner: usize = x.shape[axis + 1..].iter().product::<usize>() * elem;
        let outer: usize = x.shape[..axis].iter().product();
        let row = x.shape[axis] * inner;
        let mut from = 0;
        for (i, n) in sizes.into_iter().enumerate() {
            let len = n * inner;
            if cx.wants(i) && len > 0 {
                let out = cx.out_bytes(i)?;
                for (o, chunk) in out.chunks_exact_mut(len).enumerate().take(outer) {
                    chunk.copy_from_slice(&x.data[o * row + from..o * row + from + len]);
                }
            }
            from += len;
        }
        Ok(())
    }

    fn gpu(&self, b: &mut GpuBuilder<'_>) -> Result<bool, OpError> {
        let Some(x) = b.fact(0).and_then(|f| f.shape.clone()) else { return Ok(false) };
        let axis = util::axis(self.axis, x.len())?;
        let sizes = self.sizes(x[axis], b.const_ints(1))?;
        crate::ops::movement_gpu::split(b, axis, &sizes)
    }
}
