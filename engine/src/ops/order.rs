//! ArgMax, ArgMin, TopK, CumSum, CumProd.

use cpu_kernels::reduce::{self as k, ArgOp};
use graph::DType;

use gpu_kernels::kernels::Elem;
use gpu_kernels::kernels::arg_reduce::arg_reduce;
use gpu_kernels::kernels::cumsum::cumsum;

use crate::attrs::Attrs;
use crate::gpu::GpuBuilder;
use crate::op::{Cost, Fact, Inputs, NEWEST, OpClass, OpDef, OpError, Operator, RunCx};
use crate::ops::elementwise_gpu::elem;
use crate::ops::movement_gpu::u32_of;
use crate::ops::reduce::reduced_shape;
use crate::ops::typed::{by_number, placed_or};
use crate::ops::util;

/// The sizes before, at and after an axis.
fn around(shape: &[usize], axis: usize) -> Result<[u32; 3], OpError> {
    let product = |s: &[usize]| u32_of(s.iter().product());
    Ok([product(&shape[..axis])?, u32_of(shape[axis])?, product(&shape[axis + 1..])?])
}

/// Extremes and running sums.
pub(crate) const OPS: &[OpDef] = &[
    OpDef { domain: "", name: "ArgMax", opsets: (1, NEWEST), read: read_arg },
    OpDef { domain: "", name: "ArgMin", opsets: (1, NEWEST), read: read_arg },
    OpDef { domain: "", name: "TopK", opsets: (1, NEWEST), read: read_topk },
    OpDef { domain: "", name: "CumSum", opsets: (11, NEWEST), read: read_cumulative },
    OpDef { domain: "", name: "CumProd", opsets: (26, NEWEST), read: read_cumulative },
];

#[derive(Debug)]
struct Arg {
    op: ArgOp,
    axis: i64,
    keep: bool,
    last: bool,
}

fn read_arg(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(Arg {
        op: if a.op_type() == "ArgMax" { ArgOp::Max } else { ArgOp::Min },
        axis: a.int_or("axis", 0)?,
        keep: a.flag("keepdims", true)?,
        last: a.flag("select_last_index", false)?,
    }))
}

impl Operator for Arg {
    fn class(&self) -> OpClass {
        OpClass::Elementwise
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        let x = inputs.shape(0)?.unwrap_or(&[]);
        let axis = util::axis(self.axis, x.len())?;
        Ok(vec![Fact::new(DType::I64, reduced_shape(x, &[axis], self.keep))])
    }

    fn dtypes(&self, _: &Inputs<'_>) -> Result<Vec<DType>, OpError> {
        Ok(vec![DType::I64])
    }

    fn cost(&self, inputs: &Inputs<'_>, _: &[Fact]) -> Cost {
        Cost { flops: inputs.get(0).and_then(Fact::numel).unwrap_or(0) as u64 }
    }

    fn widens(&self) -> bool {
        true
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let (x, pool) = (cx.input(0)?, cx.pool());
        let axis = util::axis(self.axis, x.shape.len())?;
        by_number!(x.dtype, format!("Arg{:?}", self.op), T => {
            k::arg_reduce::<T>(pool, self.op, x.shape, axis, self.last, x.slice()?, cx.out(0)?).map_err(OpError::from)
        })
    }

    fn kernel(&self) -> String {
        "arg reduce".into()
    }

    fn gpu(&self, b: &mut GpuBuilder<'_>) -> Result<bool, OpError> {
        let x = b.input(0)?;
        let dims = around(&x.shape, util::axis(self.axis, x.shape.len())?)?;
        let Some(kind @ (Elem::F32 | Elem::I32)) = elem(x.dtype) else { return Ok(false) };
        let y = b.output(0)?;
        let gpu = b.gpu();
        b.push(arg_reduce(&gpu, kind, &x.binding, &y.binding, dims, self.op == ArgOp::Min, self.last))?;
        Ok(true)
    }
}

#[derive(Debug)]
struct TopK {
    /// From the attribute (before opset 10); else from input 1.
    k: Option<i64>,
    axis: i64,
    largest: bool,
    sorted: bool,
}

fn read_topk(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(TopK {
        k: if a.opset() < 10 { Some(a.need_int("k")?) } else { None },
        axis: a.int_or("axis", -1)?,
        largest: a.flag("largest", true)?,
        sorted: a.flag("sorted", true)?,
    }))
}

impl TopK {
    fn k(&self, given: Option<Vec<i64>>, size: usize) -> Result<usize, OpError> {
        let k = match (self.k, given.as_deref()) {
            (Some(k), _) => k,
            (None, Some(&[k])) => k,
            (None, Some(other)) => {
                return Err(OpError::invalid(format!("k must be one number, it has {}", other.len())));
            }
            (None, None) => return Err(OpError::invalid("k is missing")),
        };
        usize::try_from(k)
            .ok()
            .filter(|&k| k <= size)
            .ok_or_else(|| OpError::invalid(format!("k = {k} of {size} elements")))
    }
}

impl Operator for TopK {
    fn class(&self) -> OpClass {
        OpClass::Elementwise
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        let x = inputs.need(0)?;
        if self.k.is_none() && inputs.is_dynamic(1) {
            return Ok(vec![Fact::dynamic(x.dtype), Fact::dynamic(DType::I64)]);
        }
        let mut shape = x.shape.clone().unwrap_or_default();
        let axis = util::axis(self.axis, shape.len())?;
        shape[axis] = self.k(inputs.ints(1)?, shape[axis])?;
        Ok(vec![Fact::new(x.dtype, shape.clone()), Fact::new(DType::I64, shape)])
    }

    fn dtypes(&self, inputs: &Inputs<'_>) -> Result<Vec<DType>, OpError> {
        Ok(vec![inputs.need(0)?.dtype, DType::I64])
    }

    fn cost(&self, inputs: &Inputs<'_>, _: &[Fact]) -> Cost {
        Cost { flops: inputs.get(0).and_then(Fact::numel).unwrap_or(0) as u64 }
    }

    fn widens(&self) -> bool {
        true
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let (x, pool) = (cx.input(0)?, cx.pool());
        let axis = util::axis(self.axis, x.shape.len())?;
        let k = self.k(cx.ints(1)?, x.shape[axis])?;
        let len = x.len() / x.shape[axis].max(1) * k;
        let what = k::TopK { k, largest: self.largest, sorted: self.sorted };
        let mut spare_at = Vec::new();
        let [values, rest @ ..] = &mut *cx.outputs else { return Ok(()) };
        let at = placed_or::<i64>(rest.first_mut(), &mut spare_at, len)?;
        by_number!(x.dtype, "TopK", T => {
            let mut typed: Vec<T> = Vec::new();
            let values = placed_or::<T>(Some(values), &mut typed, len)?;
            k::topk::<T>(pool, what, x.shape, axis, x.slice()?, values, at).map_err(OpError::from)
        })
    }

    fn kernel(&self) -> String {
        "top k".into()
    }
}

#[derive(Debug)]
struct Cumulative {
    product: bool,
    exclusive: bool,
    reverse: bool,
}

fn read_cumulative(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(Cumulative {
        product: a.op_type() == "CumProd",
        exclusive: a.flag("exclusive", false)?,
        reverse: a.flag("reverse", false)?,
    }))
}

/// The running product along an axis.
fn cumulative_product<T: cpu_kernels::number::Number>(
    op: &Cumulative,
    shape: &[usize],
    axis: usize,
    x: &[T],
    y: &mut [T],
) {
    let n = shape[axis];
    let inner: usize = shape[axis + 1..].iter().product();
    let outer: usize = shape[..axis].iter().product();
    for (o, i) in (0..outer).flat_map(|o| (0..inner).map(move |i| (o, i))) {
        let mut product = T::ONE;
        for step in 0..n {
            let at = (o * n + if op.reverse { n - 1 - step } else { step }) * inner + i;
            let next = product.mul(x[at]);
            y[at] = if op.exclusive { product } else { next };
            product = next;
        }
    }
}

impl Operator for Cumulative {
    fn class(&self) -> OpClass {
        OpClass::Elementwise
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        let x = inputs.need(0)?;
        inputs.need(1)?;
        Ok(vec![Fact::new(x.dtype, x.shape.clone().unwrap_or_default())])
    }

    fn cost(&self, inputs: &Inputs<'_>, _: &[Fact]) -> Cost {
        Cost { flops: inputs.get(0).and_then(Fact::numel).unwrap_or(0) as u64 }
    }

    fn widens(&self) -> bool {
        true
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let (x, pool) = (cx.input(0)?, cx.pool());
        let axis = match cx.input(1)?.to_i64()?[..] {
            [axis] => util::axis(axis, x.shape.len())?,
            _ => return Err(OpError::invalid("the axis must be one number")),
        };
        let mode = k::CumSum { exclusive: self.exclusive, reverse: self.reverse };
        by_number!(x.dtype, "a running sum", T => {
            if self.product {
                cumulative_product::<T>(self, x.shape, axis, x.slice()?, cx.out(0)?);
                return Ok(());
            }
            k::cumsum::<T>(pool, mode, x.shape, axis, x.slice()?, cx.out(0)?).map_err(OpError::from)
        })
    }

    fn kernel(&self) -> String {
        "running sum".into()
    }

    fn gpu(&self, b: &mut GpuBuilder<'_>) -> Result<bool, OpError> {
        let (x, axis) = (b.input(0)?, b.const_ints(1));
        let Some(kind @ (Elem::F32 | Elem::I32)) = elem(x.dtype) else { return Ok(false) };
        let (Some(&[axis]), false) = (axis.as_deref(), self.product) else { return Ok(false) };
        let dims = around(&x.shape, util::axis(axis, x.shape.len())?)?;
        let y = b.output(0)?;
        let gpu = b.gpu();
        b.push(cumsum(&gpu, kind, &x.binding, &y.binding, dims, self.exclusive, self.reverse))?;
        Ok(true)
    }
}
