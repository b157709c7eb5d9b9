//! Pad: its pads and value are attributes before opset 11, inputs since.

use cpu_kernels::movement::{self, PadMode};

use gpu_kernels::kernels::pad::{PadMode as GpuMode, pad};

use crate::attrs::Attrs;
use crate::gpu::{GpuBuilder, to_device};
use crate::op::{Fact, Inputs, NEWEST, OpClass, OpDef, OpError, Operator, RunCx};
use crate::ops::movement_gpu::shape32;
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

    fn gpu(&self, b: &mut GpuBuilder<'_>) -> Result<bool, OpError> {
        let x = b.input(0)?;
        let pads = self.pads(x.shape.len(), |i| Ok(b.const_ints(i)))?;
        let word = match &self.fixed {
            Some((_, v)) => Some(v.to_bits()),
            None if !b.has(2) => Some(0),
            None => {
                b.constant(2).map(to_device).transpose()?.and_then(|w| Some(u32::from_le_bytes(w.try_into().ok()?)))
            }
        };
        // Mirrors that reach beyond the other edge, and empty dimensions, are the CPU's.
        let near = |limit: usize| {
            let fits = |(&(before, after), &d): (&(i64, i64), &usize)| {
                let range = 0..(d + limit) as i64;
                range.contains(&before) && range.contains(&after)
            };
            pads.iter().zip(&x.shape).all(fits)
        };
        let mode = match (self.mode, word) {
            (PadMode::Constant, Some(word)) => GpuMode::Constant(word),
            (PadMode::Edge, _) if near(usize::from(u16::MAX)) && !x.is_empty() => GpuMode::Edge,
            (PadMode::Reflect, _) if near(0) => GpuMode::Reflect,
            (PadMode::Wrap, _) if near(1) && !x.is_empty() => GpuMode::Wrap,
            _ => return Ok(false),
        };
        let narrow = |v: i64| i32::try_from(v).map_err(|_| OpError::unsupported(format!("a pad of {v}")));
        let before = pads.iter().map(|p| narrow(p.0)).collect::<Result<Vec<i32>, _>>()?;
        let after = pads.iter().map(|p| narrow(p.1)).collect::<Result<Vec<i32>, _>>()?;
        let y = b.output(0)?;
        let gpu = b.gpu();
        b.push(pad(&gpu, mode, (&x.binding, &shape32(&x.shape)?), &y.binding, &before, &after))?;
        Ok(true)
    }
}
