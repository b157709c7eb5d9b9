//! QuantizeLinear, DequantizeLinear, DynamicQuantizeLinear.

use std::borrow::Cow;

use cpu_kernels::cast;
use cpu_kernels::quantize::{self as k, Granularity, Quantized};
use graph::{DType, Element};

use crate::attrs::Attrs;
use crate::exec::{convert, kind};
use crate::gpu::GpuBuilder;
use crate::op::{Cost, Fact, Inputs, NEWEST, OpClass, OpDef, OpError, Operator, RunCx};
use crate::ops::typed::placed;
use crate::ops::util;
use crate::tensor::Input;

/// Between floats and integers.
pub(crate) const OPS: &[OpDef] = &[
    OpDef { domain: "", name: "QuantizeLinear", opsets: (10, NEWEST), read },
    OpDef { domain: "", name: "DequantizeLinear", opsets: (10, NEWEST), read },
    OpDef { domain: "com.microsoft", name: "QuantizeLinear", opsets: (1, NEWEST), read },
    OpDef { domain: "com.microsoft", name: "DequantizeLinear", opsets: (1, NEWEST), read },
    OpDef { domain: "", name: "DynamicQuantizeLinear", opsets: (11, NEWEST), read: |_| Ok(Box::new(Dynamic)) },
];

#[derive(Debug)]
struct Linear {
    quantize: bool,
    axis: i64,
    block: usize,
    to: Option<DType>,
    saturate: bool,
}

fn read(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    a.ignore("precision");
    let block = a.int_or("block_size", 0)?;
    let to = match a.int_or("output_dtype", 0)? {
        0 => None,
        code => {
            let known = i32::try_from(code).ok().and_then(DType::from_onnx);
            Some(known.ok_or_else(|| OpError::invalid(format!("output_dtype = {code} is no element type")))?)
        }
    };
    Ok(Box::new(Linear {
        quantize: a.op_type() == "QuantizeLinear",
        axis: a.int_or("axis", 1)?,
        block: usize::try_from(block).map_err(|_| OpError::invalid(format!("block_size = {block}")))?,
        to,
        saturate: a.flag("saturate", true)?,
    }))
}

/// The elements as f32, whatever number type they have.
pub(crate) fn floats<'a>(t: &Input<'a>) -> Result<Cow<'a, [f32]>, OpError> {
    if t.dtype == DType::F32 {
        return Ok(Cow::Borrowed(t.f32()?));
    }
    let mut out = vec![0f32; t.len()];
    convert(crate::exec::serial(), t.dtype, DType::F32, t.len(), t.data, bytemuck::cast_slice_mut(&mut out))?;
    Ok(Cow::Owned(out))
}

/// A packed type as bytes that hold one element each; other types as they are.
fn unpacked<'a>(t: &Input<'a>) -> Result<(DType, Cow<'a, [u8]>), OpError> {
    let to = match t.dtype {
        DType::I4 | DType::I2 => DType::I8,
        DType::U4 | DType::U2 => DType::U8,
        other => return Ok((other, Cow::Borrowed(t.data))),
    };
    let mut out = vec![0u8; t.len()];
    convert(crate::exec::serial(), t.dtype, to, t.len(), t.data, &mut out)?;
    Ok((to, Cow::Owned(out)))
}

fn cast_slice<T: Element>(bytes: &[u8]) -> Result<&[T], OpError> {
    bytemuck::try_cast_slice(bytes).map_err(|e| OpError::invalid(e.to_string()))
}

/// The least and greatest of a packed integer type.
fn packed_range(d: DType) -> Option<(i16, i16)> {
    match d {
        DType::I4 => Some((-8, 7)),
        DType::U4 => Some((0, 15)),
        DType::I2 => Some((-2, 1)),
        DType::U2 => Some((0, 3)),
        _ => None,
    }
}

impl Linear {
    fn granularity(&self, x: &[usize], scale: &[usize]) -> Result<Granularity, OpError> {
        let fail = || {
            OpError::invalid(format!(
                "scales of {scale:?} for {x:?} with axis {} and blocks of {}",
                self.axis, self.block
            ))
        };
        if self.block == 0 && scale.iter().all(|&d| d == 1) && scale.len() <= 1 {
            return Ok(Granularity::Tensor);
        }
        let axis = util::axis(self.axis, x.len())?;
        if self.block == 0 {
            return if scale == [x[axis]] { Ok(Granularity::Axis(axis)) } else { Err(fail()) };
        }
        let fits = scale.len() == x.len()
            && (0..x.len()).all(|d| scale[d] == if d == axis { x[d].div_ceil(self.block) } else { x[d] });
        if fits { Ok(Granularity::Blocks { axis, size: self.block }) } else { Err(fail()) }
    }

    fn target(&self, inputs: &Inputs<'_>) -> Result<DType, OpError> {
        Ok(match (self.quantize, self.to, inputs.get(2)) {
            (_, Some(to), _) => to,
            (true, None, Some(zero)) => zero.dtype,
            (true, None, None) => DType::U8,
            (false, None, _) => inputs.need(1)?.dtype,
        })
    }

    /// The number of the scale of each element.
    fn scale_of(how: Granularity, shape: &[usize]) -> impl Fn(usize) -> usize {
        let (axis, size) = match how {
            Granularity::Tensor => (shape.len(), 1),
            Granularity::Axis(axis) => (axis, 1),
            Granularity::Blocks { axis, size } => (axis, size),
        };
        let n = shape.get(axis).copied().unwrap_or(1).max(1);
        let inner: usize = shape.iter().skip(axis + 1).product::<usize>().max(1);
        let blocks = n.div_ceil(size);
        move |i: usize| match how {
            Granularity::Tensor => 0,
            Granularity::Axis(_) => i / inner % n,
            Granularity::Blocks { .. } => (i / (inner * n) * blocks + i / inner % n / size) * inner + i % inner,
        }
    }

    fn quantize<T: Quantized + Element>(
        &self,
        cx: &mut RunCx<'_>,
        how: Granularity,
        scale: &[f32],
        zero: Option<&[u8]>,
    ) -> Result<(), OpError> {
        let (x, pool, to) = (cx.input(0)?, cx.pool(), cx.out_dtype(0));
        let data = floats(&x)?;
        let zero = zero.map(cast_slice::<T>).transpose()?;
        let Some((lo, hi)) = packed_range(to) else {
            return Ok(k::quantize_linear::<T>(pool, how, x.shape, scale, zero, &data, cx.out(0)?)?);
        };
        let mut wide = vec![T::default(); data.len()];
        k::quantize_linear::<T>(pool, how, x.shape, scale, zero, &data, &mut wide)?;
        let clamped: Vec<u8> = wide.iter().map(|v| v.to_i32().clamp(i32::from(lo), i32::from(hi)) as u8).collect();
        convert(pool, T::DTYPE, to, clamped.len(), &clamped, cx.out_bytes(0)?)
    }

    fn run_quantize(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let (x, scale, pool, to) = (cx.input(0)?, cx.input(1)?, cx.pool(), cx.out_dtype(0));
        let how = self.granularity(x.shape, scale.shape)?;
        let scale = floats(&scale)?;
        let zero = cx.get(2);
        if let Some(z) = zero.filter(|z| z.dtype != to || z.len() != scale.len()) {
            return Err(OpError::invalid(format!("zero points of {}{:?} for {to}", z.dtype, z.shape)));
        }
        if to.is_float() {
            let zero = zero.map(|z| floats(&z)).transpose()?;
            let data = floats(&x)?;
            let at = Self::scale_of(how, x.shape);
            let out: Vec<f32> = (data.iter().enumerate())
                .map(|(i, v)| v / scale[at(i)] + zero.as_ref().map_or(0.0, |z| z[at(i)]))
                .collect();
            let bytes = bytemuck::cast_slice(&out);
            cast::cast(pool, kind(DType::F32)?, kind(to)?, self.saturate, out.len(), bytes, cx.out_bytes(0)?)?;
            return Ok(());
        }
        let zero = zero.map(|z| unpacked(&z)).transpose()?;
        let zero = zero.as_ref().map(|z| &*z.1);
        match to {
            DType::U8 | DType::U4 | DType::U2 => self.quantize::<u8>(cx, how, &scale, zero),
            DType::I8 | DType::I4 | DType::I2 => self.quantize::<i8>(cx, how, &scale, zero),
            DType::U16 => self.quantize::<u16>(cx, how, &scale, zero),
            DType::I16 => self.quantize::<i16>(cx, how, &scale, zero),
            other => Err(OpError::unsupported(format!("QuantizeLinear to {other}"))),
        }
    }

    fn run_dequantize(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let (x, scale, pool, to) = (cx.input(0)?, cx.input(1)?, cx.pool(), cx.out_dtype(0));
        let how = self.granularity(x.shape, scale.shape)?;
        let scale = floats(&scale)?;
        let zero = cx.get(2);
        if let Some(z) = zero.filter(|z| z.dtype != x.dtype || z.len() != scale.len()) {
            return Err(OpError::invalid(format!("zero points of {}{:?} for {}", z.dtype, z.shape, x.dtype)));
        }
        let mut narrow = Vec::new();
        let len = x.len();
        let out: &mut [f32] = if to == DType::F32 {
            cx.out(0)?
        } else {
            narrow.resize(len, 0.0);
            &mut narrow
        };
        if x.dtype.is_float() {
            let zero = zero.map(|z| floats(&z)).transpose()?;
            let at = Self::scale_of(how, x.shape);
            for (i, (y, v)) in out.iter_mut().zip(floats(&x)?.iter()).enumerate() {
                *y = (v - zero.as_ref().map_or(0.0, |z| z[at(i)])) * scale[at(i)];
            }
        } else {
            let (ty, data) = unpacked(&x)?;
            let zero = zero.map(|z| unpacked(&z)).transpose()?;
            let zero = zero.as_ref().map(|z| &*z.1);
            macro_rules! go {
                ($t:ty) => {{
                    let zero = zero.map(cast_slice::<$t>).transpose()?;
                    k::dequantize_linear::<$t>(pool, how, x.shape, &scale, zero, cast_slice(&data)?, out)?
                }};
            }
            match ty {
                DType::U8 => go!(u8),
                DType::I8 => go!(i8),
                DType::U16 => go!(u16),
                DType::I16 => go!(i16),
                DType::I32 => go!(i32),
                other => return Err(OpError::unsupported(format!("DequantizeLinear of {other}"))),
            }
        }
        if to != DType::F32 {
            convert(pool, DType::F32, to, len, bytemuck::cast_slice(&narrow), cx.out_bytes(0)?)?;
        }
        Ok(())
    }
}

impl Operator for Linear {
    fn class(&self) -> OpClass {
        OpClass::Quantization
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        let x = inputs.need(0)?;
        let shape = x.shape.clone().unwrap_or_default();
        self.granularity(&shape, inputs.shape(1)?.unwrap_or(&[]))?;
        let to = self.target(inputs)?;
        if !self.quantize && !to.is_float() {
            return Err(OpError::invalid(format!("DequantizeLinear to {to}")));
        }
        Ok(vec![Fact::new(to, shape)])
    }

    fn dtypes(&self, inputs: &Inputs<'_>) -> Result<Vec<DType>, OpError> {
        Ok(vec![self.target(inputs)?])
    }

    fn cost(&self, _: &Inputs<'_>, outputs: &[Fact]) -> Cost {
        Cost { flops: 2 * outputs[0].numel().unwrap_or(0) as u64 }
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        if self.quantize { self.run_quantize(cx) } else { self.run_dequantize(cx) }
    }

    fn kernel(&self) -> String {
        if self.quantize { "quantize".into() } else { "dequantize".into() }
    }

    fn gpu(&self, b: &mut GpuBuilder<'_>) -> Result<bool, OpError> {
        let shape = |i: usize| b.fact(i).and_then(|f| f.shape.as_deref()).unwrap_or(&[]);
        let how = self.granularity(shape(0), shape(1))?;
        crate::ops::quantize_gpu::linear(b, how, self.quantize)
    }
}

#[derive(Debug)]
struct Dynamic;

impl Operator for Dynamic {
    fn class(&self) -> OpClass {
        OpClass::Quantization
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        let x = inputs.need(0)?;
        if x.dtype != DType::F32 {
            return Err(OpError::unsupported(format!("DynamicQuantizeLinear of {}", x.dtype)));
        }
        let shape = x.shape.clone().unwrap_or_default();
        Ok(vec![Fact::new(DType::U8, shape), Fact::new(DType::F32, vec![]), Fact::new(DType::U8, vec![])])
    }

    fn dtypes(&self, _: &Inputs<'_>) -> Result<Vec<DType>, OpError> {
        Ok(vec![DType::U8, DType::F32, DType::U8])
    }

    fn cost(&self, _: &Inputs<'_>, outputs: &[Fact]) -> Cost {
        Cost { flops: 4 * outputs[0].numel().unwrap_or(0) as u64 }
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let (x, pool) = (cx.input(0)?.f32()?, cx.pool());
        let mut outs = cx.outputs.iter_mut();
        let mut spare = Vec::new();
        let y = crate::ops::typed::placed_or::<u8>(outs.next(), &mut spare, x.len())?;
        let (scale, zero) = k::dynamic_quantize_linear(pool, x, y)?;
        if let Some([s]) = placed::<f32>(outs.next())? {
            *s = scale;
        }
        if let Some([z]) = placed::<u8>(outs.next())? {
            *z = zero;
        }
        Ok(())
    }

    fn kernel(&self) -> String {
        "quantize".into()
    }

    fn gpu(&self, b: &mut GpuBuilder<'_>) -> Result<bool, OpError> {
        crate::ops::quantize_gpu::dynamic(b)
    }
}
