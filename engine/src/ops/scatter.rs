//! ScatterElements (and Scatter, its first name), ScatterND.

use cpu_kernels::movement::{self, ScatterOp};
use graph::DType;

use crate::attrs::Attrs;
use crate::gpu::GpuBuilder;
use crate::op::{Fact, Inputs, NEWEST, OpClass, OpDef, OpError, Operator, RunCx};
use crate::ops::typed::by_number;
use crate::ops::util;

/// Writing by index.
pub(crate) const OPS: &[OpDef] = &[
    OpDef { domain: "", name: "Scatter", opsets: (9, NEWEST), read },
    OpDef { domain: "", name: "ScatterElements", opsets: (11, NEWEST), read },
    OpDef { domain: "", name: "ScatterND", opsets: (11, NEWEST), read: read_nd },
];

#[derive(Debug)]
struct Scatter {
    op: ScatterOp,
    /// `None`: indices name slices.
    axis: Option<i64>,
}

fn reduction(a: &Attrs<'_>) -> Result<ScatterOp, OpError> {
    Ok(match a.string_or("reduction", "none")? {
        "none" => ScatterOp::Set,
        "add" => ScatterOp::Add,
        "mul" => ScatterOp::Mul,
        "min" => ScatterOp::Min,
        "max" => ScatterOp::Max,
        other => return Err(OpError::invalid(format!("reduction = \"{other}\""))),
    })
}

fn read(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(Scatter { op: reduction(a)?, axis: Some(a.int_or("axis", 0)?) }))
}

fn read_nd(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(Scatter { op: reduction(a)?, axis: None }))
}

impl Operator for Scatter {
    fn class(&self) -> OpClass {
        OpClass::DataMovement
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        let (x, ix, updates) = (inputs.need(0)?, inputs.need(1)?, inputs.need(2)?);
        if !matches!(ix.dtype, DType::I32 | DType::I64) {
            return Err(OpError::invalid("indices must be i32 or i64"));
        }
        if x.dtype != updates.dtype {
            return Err(OpError::invalid(format!("updates of {} for data of {}", updates.dtype, x.dtype)));
        }
        let shape = |i: usize| Ok::<_, OpError>(inputs.shape(i)?.unwrap_or(&[]));
        let (xs, is, us) = (shape(0)?, shape(1)?, shape(2)?);
        let fits = match self.axis {
            Some(axis) => {
                util::axis(axis, xs.len())?;
                is.len() == xs.len() && is == us
            }
            None => {
                is.split_last().is_some_and(|(&depth, rows)| depth <= xs.len() && us == [rows, &xs[depth..]].concat())
            }
        };
        if !fits {
            return Err(OpError::invalid(format!("indices of {is:?} and updates of {us:?} on data of {xs:?}")));
        }
        Ok(vec![Fact::new(x.dtype, xs.to_vec())])
    }

    fn in_place(&self) -> &'static [usize] {
        &[0]
    }

    fn widens(&self) -> bool {
        self.op != ScatterOp::Set
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let (ix, updates) = (cx.input(1)?, cx.input(2)?);
        let shape = cx.out_shape(0);
        let indices = ix.to_i64()?;
        if let Some(x) = cx.get(0) {
            cx.out_bytes(0)?.copy_from_slice(x.data);
        }
        let indices = (&indices[..], ix.shape);
        let axis = self.axis.map(|a| util::axis(a, shape.len())).transpose()?;
        if self.op == ScatterOp::Set {
            let elem = util::elem_bytes(updates.dtype)?;
            let y = cx.out_bytes(0)?;
            match axis {
                Some(axis) => movement::scatter_elements_bytes(elem, &shape, axis, indices, updates.data, y)?,
                None => movement::scatter_nd_bytes(elem, &shape, indices, updates.data, y)?,
            }
            return Ok(());
        }
        by_number!(updates.dtype, format!("scatter with {:?}", self.op), T => {
            let (u, y) = (updates.slice::<T>()?, cx.out::<T>(0)?);
            match axis {
                Some(axis) => movement::scatter_elements(self.op, &shape, axis, indices, u, y),
                None => movement::scatter_nd(self.op, &shape, indices, u, y),
            }
            .map_err(OpError::from)
        })
    }

    fn gpu(&self, b: &mut GpuBuilder<'_>) -> Result<bool, OpError> {
        if self.op == ScatterOp::Set && self.axis.is_none() { crate::ops::index_gpu::scatter_nd(b) } else { Ok(false) }
    }

    fn kernel(&self) -> String {
        "scatter".into()
    }
}
