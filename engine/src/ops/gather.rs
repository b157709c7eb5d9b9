//! Gather, GatherElements, GatherND.

use cpu_kernels::movement;
use graph::DType;

use crate::attrs::Attrs;
use crate::gpu::GpuBuilder;
use crate::op::{Fact, Inputs, NEWEST, OpClass, OpDef, OpError, Operator, RunCx};
use crate::ops::util;

/// Gather and its kin.
pub(crate) const OPS: &[OpDef] = &[
    OpDef { domain: "", name: "Gather", opsets: (1, NEWEST), read },
    OpDef { domain: "", name: "GatherElements", opsets: (11, NEWEST), read },
    OpDef { domain: "", name: "GatherND", opsets: (11, NEWEST), read },
];

#[derive(Debug)]
enum Gather {
    Axis(i64),
    Elements(i64),
    Nd { batch_dims: i64 },
}

fn read(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(match a.op_type() {
        "Gather" => Gather::Axis(a.int_or("axis", 0)?),
        "GatherElements" => Gather::Elements(a.int_or("axis", 0)?),
        _ => Gather::Nd { batch_dims: a.int_or("batch_dims", 0)? },
    }))
}

impl Gather {
    fn shape(&self, x: &[usize], ix: &[usize]) -> Result<Vec<usize>, OpError> {
        let fail = || OpError::invalid(format!("indices of {ix:?} don't fit data of {x:?}"));
        match self {
            Gather::Axis(axis) => {
                let axis = util::axis(*axis, x.len())?;
                Ok([&x[..axis], ix, &x[axis + 1..]].concat())
            }
            Gather::Elements(axis) => {
                util::axis(*axis, x.len())?;
                if ix.len() == x.len() { Ok(ix.to_vec()) } else { Err(fail()) }
            }
            Gather::Nd { batch_dims } => {
                let b = usize::try_from(*batch_dims).map_err(|_| fail())?;
                let depth = *ix.last().ok_or_else(fail)?;
                if b >= ix.len() || b + depth > x.len() || ix[..b] != x[..b] {
                    return Err(fail());
                }
                Ok([&ix[..ix.len() - 1], &x[b + depth..]].concat())
            }
        }
    }
}

impl Operator for Gather {
    fn class(&self) -> OpClass {
        OpClass::DataMovement
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        let x = inputs.need(0)?;
        if !matches!(inputs.need(1)?.dtype, DType::I32 | DType::I64) {
            return Err(OpError::invalid("indices must be i32 or i64"));
        }
        let shape = self.shape(inputs.shape(0)?.unwrap_or(&[]), inputs.shape(1)?.unwrap_or(&[]))?;
        Ok(vec![Fact::new(x.dtype, shape)])
    }

    fn moves_bytes(&self, input: usize) -> bool {
        input == 0
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let (x, ix) = (cx.input(0)?, cx.input(1)?);
        let indices = ix.to_i64()?;
        let elem = util::elem_bytes(x.dtype)?;
        let pool = cx.pool();
        let rank = x.shape.len();
        let out = cx.out_bytes(0)?;
        match self {
            Gather::Axis(axis) => {
                movement::gather(pool, elem, x.shape, util::axis(*axis, rank)?, &indices, x.data, out)?;
            }
            Gather::Elements(axis) => {
                let axis = util::axis(*axis, rank)?;
                movement::gather_elements(pool, elem, x.shape, axis, (&indices, ix.shape), x.data, out)?;
            }
            Gather::Nd { batch_dims } => {
                let b = *batch_dims as usize;
                movement::gather_nd(pool, elem, x.shape, b, (&indices, ix.shape), x.data, out)?;
            }
        }
        Ok(())
    }

    fn gpu(&self, b: &mut GpuBuilder<'_>) -> Result<bool, OpError> {
        match self {
            Gather::Axis(axis) => crate::ops::movement_gpu::gather(b, *axis),
            Gather::Elements(axis) => crate::ops::index_gpu::elements(b, *axis),
            Gather::Nd { batch_dims } => crate::ops::index_gpu::gather_nd(b, *batch_dims as usize),
        }
    }
}
