//! Tensors made from sizes: Expand, Tile, ConstantOfShape, Range.

use cpu_kernels::movement;
use cpu_kernels::number::Number;
use graph::{DType, Element, Tensor};

use crate::attrs::Attrs;
use crate::gpu::GpuBuilder;
use crate::op::{Fact, Inputs, NEWEST, OpClass, OpDef, OpError, Operator, RunCx};
use crate::ops::movement_gpu::u32_of;
use crate::ops::util;
use crate::tensor::constant_f32;

/// Expand, Tile, ConstantOfShape, Range.
pub(crate) const OPS: &[OpDef] = &[
    OpDef { domain: "", name: "Expand", opsets: (8, NEWEST), read: |_| Ok(Box::new(Expand)) },
    OpDef { domain: "", name: "Tile", opsets: (6, NEWEST), read: |_| Ok(Box::new(Tile)) },
    OpDef { domain: "", name: "ConstantOfShape", opsets: (9, NEWEST), read: read_fill },
    OpDef { domain: "", name: "Range", opsets: (11, NEWEST), read: |_| Ok(Box::new(Range)) },
];

fn sizes(list: &[i64]) -> Result<Vec<usize>, OpError> {
    list.iter().map(|&v| usize::try_from(v).map_err(|_| OpError::invalid(format!("size {v} is negative")))).collect()
}

#[derive(Debug)]
struct Expand;

impl Operator for Expand {
    fn class(&self) -> OpClass {
        OpClass::DataMovement
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        let x = inputs.need(0)?;
        if inputs.is_dynamic(1) {
            return Ok(vec![Fact::dynamic(x.dtype)]);
        }
        let want = sizes(&inputs.ints(1)?.ok_or_else(|| OpError::invalid("the shape input is missing"))?)?;
        Ok(vec![Fact::new(x.dtype, util::broadcast(&[x.shape.as_deref().unwrap_or(&[]), &want])?)])
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let x = cx.input(0)?;
        let (elem, to, pool) = (util::elem_bytes(x.dtype)?, cx.out_shape(0), cx.pool());
        movement::expand(pool, elem, x.shape, &to, x.data, cx.out_bytes(0)?)?;
        Ok(())
    }

    fn gpu(&self, b: &mut GpuBuilder<'_>) -> Result<bool, OpError> {
        let x = b.input(0)?;
        let Some(to) = b.out_fact(0).and_then(|f| f.shape.clone()) else { return Ok(false) };
        let own = util::strides(&x.shape);
        let skip = to.len() - x.shape.len();
        let from: Vec<usize> =
            (0..to.len()).map(|d| if d < skip || x.shape[d - skip] == 1 { 0 } else { own[d - skip] }).collect();
        crate::ops::movement_gpu::copy(b, &x, 0, &from)
    }
}

#[derive(Debug)]
struct Tile;

impl Operator for Tile {
    fn class(&self) -> OpClass {
        OpClass::DataMovement
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        let x = inputs.need(0)?;
        if inputs.is_dynamic(1) {
            return Ok(vec![Fact::dynamic(x.dtype)]);
        }
        let repeats = sizes(&inputs.ints(1)?.ok_or_else(|| OpError::invalid("repeats are missing"))?)?;
        let shape = x.shape.as_deref().unwrap_or(&[]);
        if repeats.len() != shape.len() {
            return Err(OpError::invalid(format!("{} repeats for {} dimensions", repeats.len(), shape.len())));
        }
        let out: Option<Vec<usize>> = shape.iter().zip(&repeats).map(|(d, r)| d.checked_mul(*r)).collect();
        Ok(vec![Fact::new(x.dtype, out.ok_or_else(|| OpError::invalid("the size overflows"))?)])
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let x = cx.input(0)?;
        let repeats = sizes(&cx.ints(1)?.ok_or_else(|| OpError::invalid("repeats are missing"))?)?;
        let (elem, pool) = (util::elem_bytes(x.dtype)?, cx.pool());
        movement::tile(pool, elem, x.shape, &repeats, x.data, cx.out_bytes(0)?)?;
        Ok(())
    }

    fn gpu(&self, b: &mut GpuBuilder<'_>) -> Result<bool, OpError> {
        let (Some(x), Some(list)) = (b.fact(0).and_then(|f| f.shape.clone()), b.const_ints(1)) else {
            return Ok(false);
        };
        // Each dimension as its repeats, which stand still in the input, and itself.
        let shape: Vec<usize> = sizes(&list)?.into_iter().zip(&x).flat_map(|(r, &d)| [r, d]).collect();
        let from: Vec<usize> = util::strides(&x).into_iter().flat_map(|s| [0, s]).collect();
        crate::ops::movement_gpu::copy_as(b, &shape, &from)
    }
}

#[derive(Debug)]
struct Fill {
    value: Tensor,
}

fn read_fill(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    let value = a.tensor("value")?.cloned().unwrap_or(Tensor::scalar(0f32));
    if value.len() != 1 {
        return Err(OpError::invalid(format!("value must have one element, it has {}", value.len())));
    }
    Ok(Box::new(Fill { value }))
}

impl Operator for Fill {
    fn class(&self) -> OpClass {
        OpClass::DataMovement
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![match inputs.ints(0)? {
            Some(s) => Fact::new(self.value.dtype(), sizes(&s)?),
            None => Fact::dynamic(self.value.dtype()),
        }])
    }

    fn dtypes(&self, _: &Inputs<'_>) -> Result<Vec<DType>, OpError> {
        Ok(vec![self.value.dtype()])
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let elem = util::elem_bytes(self.value.dtype())?;
        for chunk in cx.out_bytes(0)?.chunks_exact_mut(elem) {
            chunk.copy_from_slice(self.value.bytes());
        }
        Ok(())
    }

    fn gpu(&self, b: &mut GpuBuilder<'_>) -> Result<bool, OpError> {
        let Ok(word) = crate::gpu::to_device(&self.value)?.try_into() else { return Ok(false) };
        let y = b.output(0)?;
        let (gpu, n) = (b.gpu(), u32_of(y.len())?);
        b.push(gpu_kernels::kernels::fill::fill(&gpu, &y.binding, n, u32::from_le_bytes(word)))?;
        Ok(true)
    }
}

#[derive(Debug)]
struct Range;

impl Range {
    fn make<T: Number + Element>(t: [&Tensor; 3]) -> Result<(usize, [T; 2]), OpError> {
        let one = |t: &Tensor| -> Result<T, OpError> {
            let e = t.elements::<T>().map_err(|e| OpError::invalid(e.to_string()))?;
            e.first().copied().ok_or_else(|| OpError::invalid("start, limit and delta must have one element"))
        };
        let (start, limit, delta) = (one(t[0])?, one(t[1])?, one(t[2])?);
        Ok((movement::range_len(start, limit, delta)?, [start, delta]))
    }

    /// Halves as f32.
    fn widened(t: [&Tensor; 3]) -> Result<[Tensor; 3], OpError> {
        let [a, b, c] = t.map(|t| constant_f32(t).map(|v| Tensor::from_vec(t.shape(), v.into_owned())));
        let why = || OpError::invalid("start, limit and delta must have one type");
        Ok([a.ok_or_else(why)?, b.ok_or_else(why)?, c.ok_or_else(why)?])
    }

    fn len(t: [&Tensor; 3]) -> Result<usize, OpError> {
        Ok(match t[0].dtype() {
            DType::I64 => Self::make::<i64>(t)?.0,
            DType::I32 => Self::make::<i32>(t)?.0,
            DType::I16 => Self::make::<i16>(t)?.0,
            DType::F32 => Self::make::<f32>(t)?.0,
            DType::F64 => Self::make::<f64>(t)?.0,
            DType::F16 | DType::BF16 => {
                let wide = Self::widened(t)?;
                Self::make::<f32>([&wide[0], &wide[1], &wide[2]])?.0
            }
            other => return Err(OpError::unsupported(format!("Range of {other}"))),
        })
    }

    fn fill<T: Number + Element>(cx: &mut RunCx<'_>, t: [&Tensor; 3]) -> Result<(), OpError> {
        let (_, [start, delta]) = Self::make::<T>(t)?;
        movement::range(start, delta, cx.out::<T>(0)?);
        Ok(())
    }
}

impl Operator for Range {
    fn class(&self) -> OpClass {
        OpClass::DataMovement
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        let dtype = inputs.need(0)?.dtype;
        let values = [inputs.need(0)?, inputs.need(1)?, inputs.need(2)?].map(|f| f.value.as_ref());
        Ok(vec![match values {
            [Some(a), Some(b), Some(c)] => Fact::new(dtype, vec![Self::len([a, b, c])?]),
            _ => Fact::dynamic(dtype),
        }])
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let t = [cx.input(0)?.to_tensor(), cx.input(1)?.to_tensor(), cx.input(2)?.to_tensor()];
        let t = [&t[0], &t[1], &t[2]];
        match cx.out_dtype(0) {
            DType::I64 => Self::fill::<i64>(cx, t),
            DType::I32 => Self::fill::<i32>(cx, t),
            DType::I16 => Self::fill::<i16>(cx, t),
            DType::F32 => Self::fill::<f32>(cx, t),
            DType::F64 => Self::fill::<f64>(cx, t),
            DType::F16 | DType::BF16 => {
                let wide = Self::widened(t)?;
                let (_, [start, delta]) = Self::make::<f32>([&wide[0], &wide[1], &wide[2]])?;
                let n: usize = cx.out_shape(0).iter().product();
                let mut out = vec![0f32; n];
                movement::range(start, delta, &mut out);
                let (pool, to) = (cx.pool(), cx.out_dtype(0));
                crate::exec::convert(pool, DType::F32, to, n, bytemuck::cast_slice(&out), cx.out_bytes(0)?)
            }
            other => Err(OpError::unsupported(format!("Range of {other}"))),
        }
    }
}
