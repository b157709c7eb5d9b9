//! Element-wise arithmetic of two (or more) tensors with broadcasting: Add, Mul, Pow, Max, ...

use std::borrow::Cow;

use cpu_kernels::binary::{BinaryOp, binary, binary_in_place, binary_in_place_rhs};
use cpu_kernels::broadcast::Broadcast;
use cpu_kernels::number::Number;
use graph::{DType, Element};

use crate::attrs::Attrs;
use crate::exec;
use crate::gpu::GpuBuilder;
use crate::op::{Cost, Fact, Inputs, NEWEST, OpClass, OpDef, OpError, Operator, RunCx};
use crate::ops::{elementwise_gpu, util};
use crate::tensor::Input;

macro_rules! names {
    ($($name:literal $from:literal),* $(,)?) => {
        /// Every operation.
        pub(crate) const OPS: &[OpDef] = &[$(OpDef { domain: "", name: $name, opsets: ($from, NEWEST), read }),*];
    };
}
names!(
    "Add" 7, "Sub" 7, "Mul" 7, "Div" 7, "Pow" 7, "Mod" 10, "PRelu" 7, "BitShift" 11, "BitwiseAnd" 18, "BitwiseOr" 18,
    "BitwiseXor" 18, "Min" 6, "Max" 6, "Sum" 6, "Mean" 6,
);

#[derive(Debug)]
struct Binary {
    op: BinaryOp,
    /// Divide the sum by the number of inputs.
    mean: bool,
}

fn read(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    let op = match a.op_type() {
        "Add" | "Sum" | "Mean" => BinaryOp::Add,
        "Sub" => BinaryOp::Sub,
        "Mul" => BinaryOp::Mul,
        "Div" => BinaryOp::Div,
        "Pow" => BinaryOp::Pow,
        "Mod" if a.flag("fmod", false)? => BinaryOp::FMod,
        "Mod" => BinaryOp::Mod,
        "PRelu" => BinaryOp::PRelu,
        "BitShift" => match a.string_or("direction", "")? {
            "LEFT" => BinaryOp::Shl,
            "RIGHT" => BinaryOp::Shr,
            other => return Err(OpError::invalid(format!("direction \"{other}\" is neither LEFT nor RIGHT"))),
        },
        "BitwiseAnd" => BinaryOp::BitAnd,
        "BitwiseOr" => BinaryOp::BitOr,
        "BitwiseXor" => BinaryOp::BitXor,
        "Min" => BinaryOp::Min,
        "Max" => BinaryOp::Max,
        other => return Err(OpError::unsupported(other)),
    };
    Ok(Box::new(Binary { op, mean: a.op_type() == "Mean" }))
}

impl Binary {
    fn compute<T: Number + Element>(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let taken = cx.taken();
        let n = cx.input_count();
        let shape = cx.out_shape(0);
        let p = cx.split::<T>()?;
        if n == 1 {
            if let Some(x) = p.inputs[0] {
                p.out.copy_from_slice(x.slice::<T>()?);
            }
        } else {
            match taken {
                Some(0) => {
                    let b = need(p.inputs, 1)?;
                    binary_in_place(p.pool, self.op, &plan(&shape, b.shape)?, p.out, &elements(&b)?)?;
                }
                Some(_) => {
                    let a = need(p.inputs, 0)?;
                    binary_in_place_rhs(p.pool, self.op, &plan(a.shape, &shape)?, a.slice()?, p.out)?;
                }
                None => {
                    let (a, b) = (need(p.inputs, 0)?, need(p.inputs, 1)?);
                    let first = plan(a.shape, b.shape)?;
                    if first.out_shape() == shape {
                        binary(p.pool, self.op, &first, a.slice()?, &elements(&b)?, p.out)?;
                    } else {
                        // Later inputs broadcast the first two further: spread the first over the output, then combine.
                        p.out.fill(T::default());
                        binary_in_place(p.pool, BinaryOp::Add, &plan(&shape, a.shape)?, p.out, a.slice()?)?;
                        binary_in_place(p.pool, self.op, &plan(&shape, b.shape)?, p.out, &elements(&b)?)?;
                    }
                }
            }
            for x in p.inputs.iter().skip(2).flatten() {
                binary_in_place(p.pool, self.op, &plan(&shape, x.shape)?, p.out, x.slice()?)?;
            }
        }
        Ok(())
    }
}

fn need<'a>(inputs: &'a [Option<Input<'a>>], i: usize) -> Result<Input<'a>, OpError> {
    inputs[i].ok_or_else(|| OpError::invalid(format!("input {i} is missing")))
}

fn plan(a: &[usize], b: &[usize]) -> Result<Broadcast, OpError> {
    Broadcast::new(a, b).ok_or_else(|| OpError::invalid(format!("shapes {a:?} and {b:?} don't broadcast")))
}

/// The second operand; Pow's exponent may have another type than its base.
fn elements<'a, T: Number + Element>(x: &Input<'a>) -> Result<Cow<'a, [T]>, OpError> {
    if x.dtype == T::DTYPE {
        return Ok(Cow::Borrowed(x.slice()?));
    }
    let mut out = vec![T::default(); x.len()];
    exec::convert(exec::serial(), x.dtype, T::DTYPE, x.len(), x.data, bytemuck::cast_slice_mut(&mut out))?;
    Ok(Cow::Owned(out))
}

impl Operator for Binary {
    fn class(&self) -> OpClass {
        OpClass::Elementwise
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        let dtype = inputs.need(0)?.dtype;
        let mut shapes = Vec::with_capacity(inputs.len());
        for i in 0..inputs.len() {
            let f = inputs.need(i)?;
            if f.dtype != dtype && !(self.op == BinaryOp::Pow && i == 1) {
                return Err(OpError::invalid(format!("inputs are of {dtype} and {}", f.dtype)));
            }
            shapes.push(f.shape.as_deref().unwrap_or(&[]));
        }
        Ok(vec![Fact::new(dtype, util::broadcast(&shapes)?)])
    }

    fn cost(&self, inputs: &Inputs<'_>, outputs: &[Fact]) -> Cost {
        Cost { flops: (outputs[0].numel().unwrap_or(0) * inputs.len().saturating_sub(1).max(1)) as u64 }
    }

    fn in_place(&self) -> &'static [usize] {
        if self.op == BinaryOp::Pow { &[0] } else { &[0, 1] }
    }

    fn widens(&self) -> bool {
        true
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let count = cx.input_count();
        match cx.out_dtype(0) {
            DType::F32 => self.compute::<f32>(cx)?,
            DType::F64 => self.compute::<f64>(cx)?,
            DType::I64 => self.compute::<i64>(cx)?,
            DType::I32 => self.compute::<i32>(cx)?,
            DType::I16 => self.compute::<i16>(cx)?,
            DType::I8 => self.compute::<i8>(cx)?,
            DType::U64 => self.compute::<u64>(cx)?,
            DType::U32 => self.compute::<u32>(cx)?,
            DType::U16 => self.compute::<u16>(cx)?,
            DType::U8 => self.compute::<u8>(cx)?,
            other => return Err(OpError::unsupported(format!("{:?} of {other}", self.op))),
        }
        if self.mean {
            match cx.out_dtype(0) {
                DType::F32 => cx.out::<f32>(0)?.iter_mut().for_each(|v| *v /= count as f32),
                DType::F64 => cx.out::<f64>(0)?.iter_mut().for_each(|v| *v /= count as f64),
                other => return Err(OpError::unsupported(format!("Mean of {other}"))),
            }
        }
        Ok(())
    }

    fn gpu(&self, b: &mut GpuBuilder<'_>) -> Result<bool, OpError> {
        if self.mean {
            return Ok(false);
        }
        elementwise_gpu::binary(b, elementwise_gpu::binary_op(self.op))
    }
}
