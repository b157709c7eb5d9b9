//! Tensors of ones in places: OneHot, EyeLike, Trilu.

use cpu_kernels::movement;
use graph::DType;

use crate::attrs::Attrs;
use crate::exec::convert;
use crate::gpu::GpuBuilder;
use crate::op::{Fact, Inputs, NEWEST, OpClass, OpDef, OpError, Operator, RunCx};
use crate::ops::movement_gpu::u32_of;
use crate::ops::util;
use crate::tensor::Input;

/// OneHot, EyeLike, Trilu.
pub(crate) const OPS: &[OpDef] = &[
    OpDef {
        domain: "",
        name: "OneHot",
        opsets: (9, NEWEST),
        read: |a| Ok(Box::new(OneHot { axis: a.int_or("axis", -1)? })),
    },
    OpDef { domain: "", name: "EyeLike", opsets: (9, NEWEST), read: read_eye },
    OpDef {
        domain: "",
        name: "Trilu",
        opsets: (14, NEWEST),
        read: |a| Ok(Box::new(Trilu { upper: a.flag("upper", true)? })),
    },
];

#[derive(Debug)]
struct OneHot {
    axis: i64,
}

/// Whole numbers of any numeric type.
fn whole(t: &Input<'_>) -> Result<Vec<i64>, OpError> {
    match t.dtype {
        DType::F64 => Ok(t.slice::<f64>()?.iter().map(|&v| v as i64).collect()),
        DType::F32 => Ok(t.f32()?.iter().map(|&v| v as i64).collect()),
        _ => t.to_i64(),
    }
}

impl OneHot {
    fn depth(t: &Input<'_>) -> Result<usize, OpError> {
        match whole(t)?[..] {
            [d] => usize::try_from(d).map_err(|_| OpError::invalid(format!("a depth of {d}"))),
            _ => Err(OpError::invalid("the depth must be one number")),
        }
    }
}

impl Operator for OneHot {
    fn class(&self) -> OpClass {
        OpClass::DataMovement
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        let (ix, depth, values) = (inputs.need(0)?, inputs.need(1)?, inputs.need(2)?);
        let mut shape = ix.shape.clone().unwrap_or_default();
        let axis = util::axis(self.axis, shape.len() + 1)?;
        let Some(depth) = &depth.value else { return Ok(vec![Fact::dynamic(values.dtype)]) };
        let depth = crate::tensor::aligned(depth);
        let view = Input { dtype: depth.dtype(), shape: depth.shape(), data: depth.bytes() };
        shape.insert(axis, Self::depth(&view)?);
        Ok(vec![Fact::new(values.dtype, shape)])
    }

    fn dtypes(&self, inputs: &Inputs<'_>) -> Result<Vec<DType>, OpError> {
        Ok(vec![inputs.need(2)?.dtype])
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let (ix, depth, values) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
        let axis = util::axis(self.axis, ix.shape.len() + 1)?;
        let elem = util::elem_bytes(values.dtype)?;
        if values.len() != 2 {
            return Err(OpError::invalid(format!("values must be two, they are {}", values.len())));
        }
        let (off, on) = values.data.split_at(elem);
        let indices = whole(&ix)?;
        movement::one_hot(elem, (&indices, ix.shape), axis, Self::depth(&depth)?, on, off, cx.out_bytes(0)?)?;
        Ok(())
    }

    fn kernel(&self) -> String {
        "one hot".into()
    }
}

#[derive(Debug)]
struct EyeLike {
    dtype: Option<DType>,
    diagonal: i64,
}

fn read_eye(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    let dtype = a
        .int("dtype")?
        .map(|d| {
            let known = i32::try_from(d).ok().and_then(DType::from_onnx);
            known.ok_or_else(|| OpError::invalid(format!("dtype = {d} is no element type")))
        })
        .transpose()?;
    Ok(Box::new(EyeLike { dtype, diagonal: a.int_or("k", 0)? }))
}

impl Operator for EyeLike {
    fn class(&self) -> OpClass {
        OpClass::DataMovement
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        let x = inputs.need(0)?;
        let shape = x.shape.clone().unwrap_or_default();
        if shape.len() != 2 {
            return Err(OpError::invalid(format!("an input of {shape:?} is no matrix")));
        }
        Ok(vec![Fact::new(self.dtype.unwrap_or(x.dtype), shape)])
    }

    fn dtypes(&self, inputs: &Inputs<'_>) -> Result<Vec<DType>, OpError> {
        Ok(vec![self.dtype.unwrap_or(inputs.need(0)?.dtype)])
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let (shape, dtype, pool) = (cx.out_shape(0), cx.out_dtype(0), cx.pool());
        let elem = util::elem_bytes(dtype)?;
        let mut one = [0u8; 16];
        convert(pool, DType::U8, dtype, 1, &[1], &mut one[..elem])?;
        let y = cx.out_bytes(0)?;
        y.fill(0);
        let &[rows, cols] = &shape[..] else { return Ok(()) };
        for row in 0..rows {
            let col = (row as i64).saturating_add(self.diagonal);
            if (0..cols as i64).contains(&col) {
                let at = (row * cols + col as usize) * elem;
                y[at..at + elem].copy_from_slice(&one[..elem]);
            }
        }
        Ok(())
    }

    fn kernel(&self) -> String {
        "fill".into()
    }
}

#[derive(Debug)]
struct Trilu {
    upper: bool,
}

impl Operator for Trilu {
    fn class(&self) -> OpClass {
        OpClass::DataMovement
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        let x = inputs.need(0)?;
        let shape = x.shape.clone().unwrap_or_default();
        if shape.len() < 2 {
            return Err(OpError::invalid(format!("an input of {shape:?} has no triangles")));
        }
        Ok(vec![Fact::new(x.dtype, shape)])
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let x = cx.input(0)?;
        let k = match cx.ints(1)?.as_deref() {
            None => 0,
            Some([k]) => *k,
            Some(other) => return Err(OpError::invalid(format!("k must be one number, it has {}", other.len()))),
        };
        movement::trilu(util::elem_bytes(x.dtype)?, x.shape, self.upper, k, x.data, cx.out_bytes(0)?)?;
        Ok(())
    }

    fn kernel(&self) -> String {
        "triangle".into()
    }

    fn gpu(&self, b: &mut GpuBuilder<'_>) -> Result<bool, OpError> {
        let k = match (b.has(1), b.const_ints(1).as_deref()) {
            (false, _) => 0,
            (true, Some(&[k])) => k.clamp(-(1 << 30), 1 << 30) as i32,
            _ => return Ok(false),
        };
        let x = b.input(0)?;
        let [outer @ .., rows, cols] = &x.shape[..] else { return Ok(false) };
        let dims = [u32_of(outer.iter().product())?, u32_of(*rows)?, u32_of(*cols)?];
        let y = b.output(0)?;
        let gpu = b.gpu();
        b.push(gpu_kernels::kernels::trilu::trilu(&gpu, &x.binding, &y.binding, dims, k, self.upper))?;
        Ok(true)
    }
}
