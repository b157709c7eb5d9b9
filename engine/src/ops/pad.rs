//! Pad: its pads and value are attributes before opset 11, inputs since.

use cpu_kernels::movement::{self, PadMode};

use crate::attrs::Attrs;
use crate::op::{Fact, Inputs, NEWEST, OpClass, OpDef, OpError, Operator, RunCx};
use crate::ops::util;

/// Pad.
pub(crate) const OPS: &[OpDef] = &[OpDef { domain: "", name: "Pad", opsets: (2, NEWEST), read }];

#[derive(Debug)]
struct Pad {
    mode: PadMode,
    /// The attributes, before opset 11.
    fixed: Option<(Vec<i64>, f32)>,
}

fn read(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    let mode = match a.string_or("mode", "constant")? {
        "constant" => PadMode::Constant,
        "reflect" => PadMode::Reflect,
        "edge" => PadMode::Edge,
        "wrap" => PadMode::Wrap,
        other => return Err(OpError::unsupported(format!("mode = \"{other}\""))),
    };
    let fixed = if a.opset() < 11 {
        let pads = a.ints("pads")?.ok_or_else(|| OpError::invalid("attribute pads is missing"))?;
        Some((pads.to_vec(), a.float_or("value", 0.0)?))
    } else {
        None
    };
    Ok(Box::new(Pad { mode, fixed }))
}

impl Pad {
    /// (before, after) for each dimension.
    fn pads(
        &self,
        rank: usize,
        ints: impl Fn(usize) -> Result<Option<Vec<i64>>, OpError>,
    ) -> Result<Vec<(i64, i64)>, OpError> {
        let (list, axes) = match &self.fixed {
            Some((pads, _)) => (pads.clone(), None),
            None => (ints(1)?.ok_or_else(|| OpError::invalid("the pads are missing"))?, ints(3)?),
        };
        let axes = axes.map_or_else(|| Ok((0..rank).collect()), |a| util::axes(&a, rank))?;
        if list.len() != 2 * axes.len() {
            return Err(OpError::invalid(format!("{} pads for {} dimensions", list.len(), axes.len())));
        }
        let mut out = vec![(0, 0); rank];
        for (i, &axis) in axes.iter().enumerate() {
            out[axis] = (list[i], list[axes.len() + i]);
        }
        Ok(out)
    }
}

impl Operator for Pad {
    fn class(&self) -> OpClass {
        OpClass::DataMovement
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        let x = inputs.need(0)?;
        if self.fixed.is_none() && (inputs.is_dynamic(1) || inputs.is_dynamic(3)) {
            return Ok(vec![Fact::dynamic(x.dtype)]);
        }
        if self.fixed.is_none() && inputs.get(2).is_some_and(|v| v.dtype != x.dtype) {
            return Err(OpError::invalid("the value is of another type than the data"));
        }
        let shape = x.shape.as_deref().unwrap_or(&[]);
        let pads = self.pads(shape.len(), |i| inputs.ints(i))?;
        Ok(vec![Fact::new(x.dtype, movement::padded_shape(shape, &pads)?)])
    }

    fn widens(&self) -> bool {
        // The attribute's value is a float.
        self.fixed.is_some()
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let (x, pool) = (cx.input(0)?, cx.pool());
        let elem = util::elem_bytes(x.dtype)?;
        let pads = self.pads(x.shape.len(), |i| cx.ints(i))?;
        let zero = [0u8; 16];
        let value: &[u8] = match (&self.fixed, cx.get(2)) {
            (Some((_, v)), _) if x.dtype == graph::DType::F32 => bytemuck::bytes_of(v),
            (Some((_, v)), _) if *v != 0.0 => {
                return Err(OpError::unsupported(format!("a value of {v} for {}", x.dtype)));
            }
            (None, Some(v)) if v.len() == 1 => v.data,
            (None, Some(v)) => return Err(OpError::invalid(format!("the value has {} elements", v.len()))),
            _ => &zero[..elem],
        };
        movement::pad(pool, elem, self.mode, x.shape, &pads, value, x.data, cx.out_bytes(0)?)?;
        Ok(())
    }

    fn kernel(&self) -> String {
        "pad".into()
    }
}
