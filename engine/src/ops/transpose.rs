//! Transpose.

use cpu_kernels::movement;

use crate::attrs::Attrs;
use crate::gpu::GpuBuilder;
use crate::op::{Fact, Inputs, NEWEST, OpClass, OpDef, OpError, Operator, RunCx};
use crate::ops::util;

/// Transpose.
pub(crate) const OPS: &[OpDef] = &[OpDef { domain: "", name: "Transpose", opsets: (1, NEWEST), read }];

#[derive(Debug)]
struct Transpose {
    perm: Option<Vec<i64>>,
}

fn read(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(Transpose { perm: a.ints("perm")?.map(<[i64]>::to_vec) }))
}

impl Transpose {
    fn perm(&self, rank: usize) -> Result<Vec<usize>, OpError> {
        match &self.perm {
            None => Ok((0..rank).rev().collect()),
            Some(p) if p.len() == rank => util::axes(p, rank),
            Some(p) => Err(OpError::invalid(format!("perm {p:?} for {rank} dimensions"))),
        }
    }
}

impl Operator for Transpose {
    fn class(&self) -> OpClass {
        OpClass::DataMovement
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        let x = inputs.need(0)?;
        let shape = x.shape.as_deref().unwrap_or(&[]);
        Ok(vec![Fact::new(x.dtype, self.perm(shape.len())?.into_iter().map(|p| shape[p]).collect())])
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let x = cx.input(0)?;
        let perm = self.perm(x.shape.len())?;
        let elem = util::elem_bytes(x.dtype)?;
        let pool = cx.pool();
        movement::transpose(pool, elem, x.shape, &perm, x.data, cx.out_bytes(0)?)?;
        Ok(())
    }

    fn gpu(&self, b: &mut GpuBuilder<'_>) -> Result<bool, OpError> {
        let x = b.input(0)?;
        let strides = util::strides(&x.shape);
        let from: Vec<usize> = self.perm(x.shape.len())?.into_iter().map(|p| strides[p]).collect();
        crate::ops::movement_gpu::copy(b, &x, 0, &from)
    }
}
