//! Cast, CastLike, BitCast.

use cpu_kernels::cast;
use graph::DType;

use gpu_kernels::kernels::cast::cast as gpu_cast;

use crate::attrs::Attrs;
use crate::exec::kind;
use crate::gpu::GpuBuilder;
use crate::op::{Fact, Inputs, NEWEST, OpClass, OpDef, OpError, Operator, RunCx};
use crate::ops::elementwise_gpu::elem;
use crate::ops::movement_gpu::u32_of;

/// Conversions between element types.
pub(crate) const OPS: &[OpDef] = &[
    OpDef { domain: "", name: "Cast", opsets: (6, NEWEST), read },
    OpDef { domain: "", name: "CastLike", opsets: (15, NEWEST), read },
    OpDef { domain: "", name: "BitCast", opsets: (26, NEWEST), read: read_bits },
];

#[derive(Debug)]
struct Cast {
    /// `None`: the type of input 1.
    to: Option<DType>,
    /// What an 8-bit float makes of a number too large for it.
    saturate: bool,
}

fn to(a: &Attrs<'_>) -> Result<DType, OpError> {
    let code = a.need_int("to")?;
    i32::try_from(code)
        .ok()
        .and_then(DType::from_onnx)
        .ok_or_else(|| OpError::invalid(format!("attribute to = {code} is no element type")))
}

fn read(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    let like = a.op_type() == "CastLike";
    match a.string_or("round_mode", "up")? {
        "up" => {}
        other => return Err(OpError::unsupported(format!("round_mode = \"{other}\""))),
    }
    Ok(Box::new(Cast { to: if like { None } else { Some(to(a)?) }, saturate: a.flag("saturate", true)? }))
}

impl Cast {
    fn target(&self, inputs: &Inputs<'_>) -> Result<DType, OpError> {
        self.to.map_or_else(|| Ok(inputs.need(1)?.dtype), Ok)
    }
}

impl Operator for Cast {
    fn class(&self) -> OpClass {
        OpClass::DataMovement
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        let (x, to) = (inputs.need(0)?, self.target(inputs)?);
        kind(x.dtype)?;
        kind(to)?;
        Ok(vec![Fact::new(to, x.shape.clone().unwrap_or_default())])
    }

    fn dtypes(&self, inputs: &Inputs<'_>) -> Result<Vec<DType>, OpError> {
        Ok(vec![self.target(inputs)?])
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let (x, to, pool) = (cx.input(0)?, cx.out_dtype(0), cx.pool());
        let out = cx.out_bytes(0)?;
        if x.dtype == to {
            out.copy_from_slice(x.data);
            return Ok(());
        }
        let packed = matches!(to, DType::I4 | DType::U4 | DType::I2 | DType::U2);
        if x.dtype.is_float() && packed {
            // ONNX leaves numbers out of range undefined; its reference keeps the low bits of the whole number.
            let mut whole = vec![0i32; x.len()];
            let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut whole);
            cast::cast(pool, kind(x.dtype)?, kind(DType::I32)?, true, x.len(), x.data, bytes)?;
            cast::cast(pool, kind(DType::I32)?, kind(to)?, true, x.len(), bytes, out)?;
            return Ok(());
        }
        cast::cast(pool, kind(x.dtype)?, kind(to)?, self.saturate, x.len(), x.data, out)?;
        Ok(())
    }

    fn kernel(&self) -> String {
        "cast".into()
    }

    fn gpu(&self, b: &mut GpuBuilder<'_>) -> Result<bool, OpError> {
        let x = b.input(0)?;
        let y = b.output(0)?;
        let (Some(from), Some(to)) = (elem(x.dtype), elem(y.dtype)) else { return Ok(false) };
        // A type that is narrower than its place on the device would have to wrap or round there: the CPU does that.
        let whole = |d: DType| matches!(d, DType::F32 | DType::I32 | DType::I64 | DType::Bool);
        if !whole(y.dtype) && x.dtype != y.dtype {
            return Ok(false);
        }
        let gpu = b.gpu();
        b.push(gpu_cast(&gpu, from, to, &x.binding, &y.binding, u32_of(x.len())?))?;
        Ok(true)
    }
}

/// The same bytes as elements of another type of the same size.
#[derive(Debug)]
struct BitCast {
    to: DType,
}

fn read_bits(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(BitCast { to: to(a)? }))
}

impl Operator for BitCast {
    fn class(&self) -> OpClass {
        OpClass::DataMovement
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        let x = inputs.need(0)?;
        match (x.dtype.bits(), self.to.bits()) {
            (Some(a), Some(b)) if a == b => Ok(vec![Fact::new(self.to, x.shape.clone().unwrap_or_default())]),
            (Some(_), Some(_)) => Err(OpError::invalid(format!("{} and {} differ in size", x.dtype, self.to))),
            _ => Err(OpError::unsupported(format!("BitCast of {} to {}", x.dtype, self.to))),
        }
    }

    fn dtypes(&self, _: &Inputs<'_>) -> Result<Vec<DType>, OpError> {
        Ok(vec![self.to])
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let x = cx.input(0)?;
        cx.out_bytes(0)?.copy_from_slice(x.data);
        Ok(())
    }
}
