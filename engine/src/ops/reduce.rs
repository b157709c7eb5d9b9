//! Reductions: ReduceSum, ReduceMean, ReduceMax, ...

use cpu_kernels::reduce::{ReduceOp, Reduction, reduce};
use graph::DType;

use gpu_kernels::kernels::Elem;
use gpu_kernels::kernels::reduce::{ReduceOp as GpuReduce, reduce as gpu_reduce};

use crate::attrs::Attrs;
use crate::gpu::GpuBuilder;
use crate::op::{Cost, Fact, Inputs, NEWEST, OpClass, OpDef, OpError, Operator, RunCx};
use crate::ops::movement_gpu::u32_of;
use crate::ops::typed::by_number;
use crate::ops::util;

macro_rules! names {
    ($($name:literal),*) => {
        /// Reductions.
        pub(crate) const OPS: &[OpDef] = &[$(OpDef { domain: "", name: $name, opsets: (1, NEWEST), read }),*];
    };
}
names!(
    "ReduceSum",
    "ReduceMean",
    "ReduceMax",
    "ReduceMin",
    "ReduceProd",
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceSumSquare"
);

#[derive(Debug)]
struct Reduce {
    op: ReduceOp,
    /// From the attribute (in earlier opsets); else from input 1.
    axes: Option<Vec<i64>>,
    keep: bool,
    /// Without axes nothing is reduced (else everything is).
    noop: bool,
}

fn read(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    let op = match a.op_type() {
        "ReduceSum" => ReduceOp::Sum,
        "ReduceMean" => ReduceOp::Mean,
        "ReduceMax" => ReduceOp::Max,
        "ReduceMin" => ReduceOp::Min,
        "ReduceProd" => ReduceOp::Prod,
        "ReduceL1" => ReduceOp::L1,
        "ReduceL2" => ReduceOp::L2,
        "ReduceLogSum" => ReduceOp::LogSum,
        "ReduceLogSumExp" => ReduceOp::LogSumExp,
        _ => ReduceOp::SumSquare,
    };
    let inputs_since = if op == ReduceOp::Sum { 13 } else { 18 };
    let axes = if a.opset() < inputs_since { a.ints("axes")?.map(<[i64]>::to_vec) } else { None };
    let noop = a.opset() >= inputs_since && a.flag("noop_with_empty_axes", false)?;
    Ok(Box::new(Reduce { op, axes, keep: a.flag("keepdims", true)?, noop }))
}

impl Reduce {
    fn axes(&self, rank: usize, given: Option<Vec<i64>>) -> Result<Vec<usize>, OpError> {
        let list = self.axes.clone().or(given).unwrap_or_default();
        if list.is_empty() && !self.noop { Ok((0..rank).collect()) } else { util::axes(&list, rank) }
    }
}

/// The shape without the axes, or with 1 in their places.
pub(crate) fn reduced_shape(x: &[usize], axes: &[usize], keep: bool) -> Vec<usize> {
    let one = |i: usize, d: usize| if axes.contains(&i) { keep.then_some(1) } else { Some(d) };
    x.iter().enumerate().filter_map(|(i, &d)| one(i, d)).collect()
}

impl Operator for Reduce {
    fn class(&self) -> OpClass {
        OpClass::Elementwise
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        let x = inputs.need(0)?;
        if self.axes.is_none() && inputs.is_dynamic(1) {
            return Ok(vec![Fact::dynamic(x.dtype)]);
        }
        let shape = x.shape.as_deref().unwrap_or(&[]);
        let axes = self.axes(shape.len(), inputs.ints(1)?)?;
        Ok(vec![Fact::new(x.dtype, reduced_shape(shape, &axes, self.keep))])
    }

    fn cost(&self, inputs: &Inputs<'_>, _: &[Fact]) -> Cost {
        let n = inputs.get(0).and_then(Fact::numel).unwrap_or(0) as u64;
        Cost { flops: n * if matches!(self.op, ReduceOp::L1 | ReduceOp::L2 | ReduceOp::SumSquare) { 2 } else { 1 } }
    }

    fn widens(&self) -> bool {
        true
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let x = cx.input(0)?;
        let plan = Reduction::new(x.shape, &self.axes(x.shape.len(), cx.ints(1)?)?)?;
        let pool = cx.pool();
        if x.dtype == DType::Bool && matches!(self.op, ReduceOp::Max | ReduceOp::Min) {
            reduce(pool, self.op, &plan, x.data, cx.out_bytes(0)?)?;
            // Over nothing: the identities of "or" and "and".
            cx.out_bytes(0)?.iter_mut().for_each(|v| *v = u8::from(*v != 0));
            return Ok(());
        }
        by_number!(x.dtype, format!("Reduce{:?}", self.op), T => {
            reduce::<T>(pool, self.op, &plan, x.slice()?, cx.out(0)?).map_err(OpError::from)
        })
    }

    fn kernel(&self) -> String {
        "reduce".into()
    }

    fn gpu(&self, b: &mut GpuBuilder<'_>) -> Result<bool, OpError> {
        let x = b.input(0)?;
        let axes = self.axes(x.shape.len(), b.const_ints(1))?;
        let (Some(&first), Some(&last)) = (axes.iter().min(), axes.iter().max()) else { return Ok(false) };
        let kind = match (x.dtype, self.op) {
            (t, _) if t.is_float() => Elem::F32,
            (DType::I32 | DType::I64, ReduceOp::Sum | ReduceOp::Max | ReduceOp::Min | ReduceOp::Prod) => Elem::I32,
            _ => return Ok(false),
        };
        let product = |s: &[usize]| u32_of(s.iter().product());
        // The shader reduces one run of neighbouring dimensions: others are brought to the end first.
        let (source, dims) = if last - first + 1 == axes.len() {
            let dims = [product(&x.shape[..first])?, product(&x.shape[first..=last])?, product(&x.shape[last + 1..])?];
            (x.binding.clone(), dims)
        } else {
            let (inside, kept): (Vec<usize>, Vec<usize>) = (0..x.shape.len()).partition(|d| axes.contains(d));
            let size = |list: &[usize]| u32_of(list.iter().map(|&d| x.shape[d]).product());
            let dims = [size(&kept)?, size(&inside)?, 1];
            (crate::ops::movement_gpu::transposed(b, &x, &[kept, inside].concat())?, dims)
        };
        let op = match self.op {
            ReduceOp::Sum => GpuReduce::Sum,
            ReduceOp::Mean => GpuReduce::Mean,
            ReduceOp::Max => GpuReduce::Max,
            ReduceOp::Min => GpuReduce::Min,
            ReduceOp::Prod => GpuReduce::Prod,
            ReduceOp::L1 => GpuReduce::L1,
            ReduceOp::L2 => GpuReduce::L2,
            ReduceOp::SumSquare => GpuReduce::SumSquare,
            ReduceOp::LogSum => GpuReduce::LogSum,
            ReduceOp::LogSumExp => GpuReduce::LogSumExp,
        };
        let y = b.output(0)?;
        let gpu = b.gpu();
        b.push(gpu_reduce(&gpu, op, kind, &source, &y.binding, dims))?;
        Ok(true)
    }
}
