//! Softmax, LogSoftmax, Hardmax. Before opset 13 they see a matrix, split at the axis; since then one axis.

use cpu_kernels::reduce::{ArgOp, arg_reduce};
use cpu_kernels::softmax::{self as k, SoftmaxKind};
use graph::DType;

use gpu_kernels::kernels::softmax::softmax_axis;

use crate::attrs::Attrs;
use crate::gpu::GpuBuilder;
use crate::op::{Cost, Fact, Inputs, NEWEST, OpClass, OpDef, OpError, Operator, RunCx};
use crate::ops::movement_gpu::u32_of;
use crate::ops::util;

/// Softmax and its kin.
pub(crate) const OPS: &[OpDef] = &[
    OpDef { domain: "", name: "Softmax", opsets: (1, NEWEST), read },
    OpDef { domain: "", name: "LogSoftmax", opsets: (1, NEWEST), read },
    OpDef { domain: "", name: "Hardmax", opsets: (1, NEWEST), read },
];

#[derive(Debug)]
struct Softmax {
    kind: Kind,
    axis: i64,
    /// Everything from the axis on is one row.
    matrix: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Soft,
    Log,
    Hard,
}

fn read(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    let kind = match a.op_type() {
        "Softmax" => Kind::Soft,
        "LogSoftmax" => Kind::Log,
        _ => Kind::Hard,
    };
    let matrix = a.opset() < 13;
    Ok(Box::new(Softmax { kind, axis: a.int_or("axis", if matrix { 1 } else { -1 })?, matrix }))
}

impl Softmax {
    /// The shape as (before, along, after) the axis.
    fn around(&self, shape: &[usize]) -> Result<[usize; 3], OpError> {
        let product = |s: &[usize]| s.iter().product::<usize>();
        if self.matrix {
            let at = if self.axis == shape.len() as i64 { shape.len() } else { util::axis(self.axis, shape.len())? };
            return Ok([product(&shape[..at]), product(&shape[at..]), 1]);
        }
        let at = util::axis(self.axis, shape.len())?;
        Ok([product(&shape[..at]), shape[at], product(&shape[at + 1..])])
    }

    fn run_f32(&self, cx: &mut RunCx<'_>, dims: [usize; 3]) -> Result<(), OpError> {
        let kind = if self.kind == Kind::Log { SoftmaxKind::LogSoftmax } else { SoftmaxKind::Softmax };
        let p = cx.split::<f32>()?;
        match (p.inputs[0], kind) {
            (Some(x), _) => k::softmax_axis(p.pool, kind, &dims, 1, x.f32()?, p.out)?,
            (None, SoftmaxKind::Softmax) if dims[2] == 1 => k::softmax_in_place(p.pool, dims[1], p.out)?,
            (None, SoftmaxKind::LogSoftmax) if dims[2] == 1 => k::log_softmax_in_place(p.pool, dims[1], p.out)?,
            (None, _) => {
                p.scratch.clear();
                p.scratch.extend_from_slice(p.out);
                k::softmax_axis(p.pool, kind, &dims, 1, p.scratch, p.out)?;
            }
        }
        Ok(())
    }

    fn run_f64(&self, cx: &mut RunCx<'_>, dims: [usize; 3]) -> Result<(), OpError> {
        let kind = if self.kind == Kind::Log { SoftmaxKind::LogSoftmax } else { SoftmaxKind::Softmax };
        let p = cx.split::<f64>()?;
        match p.inputs[0] {
            Some(x) => k::softmax_axis_f64(kind, &dims, 1, x.slice()?, p.out)?,
            None => {
                let x = p.out.to_vec();
                k::softmax_axis_f64(kind, &dims, 1, &x, p.out)?;
            }
        }
        Ok(())
    }

    /// 1 at the first greatest element, 0 elsewhere.
    fn run_hard<T: cpu_kernels::number::Number + graph::Element>(
        cx: &mut RunCx<'_>,
        dims: [usize; 3],
    ) -> Result<(), OpError> {
        let p = cx.split::<T>()?;
        let mut at = vec![0i64; dims[0] * dims[2]];
        match p.inputs[0] {
            Some(x) => arg_reduce::<T>(p.pool, ArgOp::Max, &dims, 1, false, x.slice()?, &mut at)?,
            None => arg_reduce::<T>(p.pool, ArgOp::Max, &dims, 1, false, p.out, &mut at)?,
        }
        p.out.fill(T::ZERO);
        for (i, &at) in at.iter().enumerate() {
            p.out[(i / dims[2] * dims[1] + at as usize) * dims[2] + i % dims[2]] = T::ONE;
        }
        Ok(())
    }
}

impl Operator for Softmax {
    fn class(&self) -> OpClass {
        OpClass::Normalisation
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        let x = inputs.need(0)?;
        let shape = x.shape.clone().unwrap_or_default();
        self.around(&shape)?;
        Ok(vec![Fact::new(x.dtype, shape)])
    }

    fn cost(&self, _: &Inputs<'_>, outputs: &[Fact]) -> Cost {
        Cost { flops: 5 * outputs[0].numel().unwrap_or(0) as u64 }
    }

    fn in_place(&self) -> &'static [usize] {
        &[0]
    }

    fn widens(&self) -> bool {
        true
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let dims = self.around(&cx.out_shape(0))?;
        if dims.contains(&0) {
            return Ok(());
        }
        match (self.kind, cx.out_dtype(0)) {
            (Kind::Hard, DType::F32) => Self::run_hard::<f32>(cx, dims),
            (Kind::Hard, DType::F64) => Self::run_hard::<f64>(cx, dims),
            (_, DType::F32) => self.run_f32(cx, dims),
            (_, DType::F64) => self.run_f64(cx, dims),
            (kind, other) => Err(OpError::unsupported(format!("{kind:?}max of {other}"))),
        }
    }

    fn kernel(&self) -> String {
        "softmax f32".into()
    }

    fn gpu(&self, b: &mut GpuBuilder<'_>) -> Result<bool, OpError> {
        let x = b.input(0)?;
        if self.kind == Kind::Hard || !x.is_float() {
            return Ok(false);
        }
        let [outer, n, inner] = self.around(&x.shape)?;
        let y = b.output(0)?;
        let gpu = b.gpu();
        let (outer, n, inner) = (u32_of(outer)?, u32_of(n)?, u32_of(inner)?);
        b.push(softmax_axis(&gpu, &x.binding, &y.binding, outer, n, inner, self.kind == Kind::Log))?;
        Ok(true)
    }
}
