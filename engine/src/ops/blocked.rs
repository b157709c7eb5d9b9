//! What runs in the blocked layout (see `cpu_kernels::conv::blocked`): made by the pass of that name for a CPU's plan, never found in a file.

use std::sync::Arc;

use cpu_kernels::conv::ConvShape;
use cpu_kernels::conv::blocked::{self as k, BlockedConv, InputLayout, Residual};
use graph::DType;

use crate::attrs::Attrs;
use crate::op::{Cost, Fact, Inputs, OpClass, OpDef, OpError, Operator, Prepared, RunCx};
use crate::ops::conv::Conv;
use crate::ops::pool::{Kind, Pool};
use crate::ops::window::image;
use crate::ops::{activation, conv, pool};
use crate::registry::INTERNAL;
use crate::tensor::constant_f32;

/// Convolutions with inputs x, weights, bias (optional), residual (optional), pools, and the ways in and out.
pub(crate) const OPS: &[OpDef] = &[
    OpDef { domain: INTERNAL, name: "BlockedConv", opsets: (1, 1), read: read_conv },
    OpDef { domain: INTERNAL, name: "BlockedMaxPool", opsets: (1, 1), read: read_pool },
    OpDef { domain: INTERNAL, name: "BlockedAveragePool", opsets: (1, 1), read: read_pool },
    OpDef { domain: INTERNAL, name: "BlockedGlobalAveragePool", opsets: (1, 1), read: |_| Ok(Box::new(GlobalAverage)) },
    OpDef { domain: INTERNAL, name: "BlockedScale", opsets: (1, 1), read: |_| Ok(Box::new(Scale)) },
    OpDef { domain: INTERNAL, name: "ToBlocked", opsets: (1, 1), read: |_| Ok(Box::new(Reorder { into: true })) },
    OpDef { domain: INTERNAL, name: "FromBlocked", opsets: (1, 1), read: |_| Ok(Box::new(Reorder { into: false })) },
];

/// The convolution in the layout that its input must have, if it has a blocked form: an image of f32 with constant weights and bias.
pub(crate) fn conv_input(op: &Conv, inputs: &Inputs<'_>) -> Option<InputLayout> {
    let (x, w) = (inputs.get(0)?, inputs.get(1)?);
    let constant = w.value.is_some() && inputs.get(2).is_none_or(|b| b.value.is_some());
    let floats = x.dtype == DType::F32 && w.dtype != DType::F64;
    let (shape, out) = op.shape(x.shape.as_deref()?, w.shape.as_deref()?).ok()?;
    let fits = constant && floats && out.len() == 4 && !out.contains(&0);
    BlockedConv::takes(&shape).filter(|_| fits)
}

#[derive(Debug)]
struct Blocked {
    conv: Conv,
    packed: Option<(Arc<BlockedConv>, Vec<usize>)>,
}

fn read_conv(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(Blocked { conv: conv::read_one(a)?, packed: None }))
}

/// The weights and bias among the inputs, packed.
fn pack(inputs: &Inputs<'_>, shape: &ConvShape) -> Result<BlockedConv, OpError> {
    let constant = |i: usize| inputs.get(i).and_then(|f| f.value.as_ref()).and_then(constant_f32);
    let weights = constant(1).ok_or_else(|| OpError::invalid("the weights are not constant"))?;
    let bias = constant(2);
    if inputs.get(2).is_some() != bias.is_some() || bias.as_ref().is_some_and(|b| b.len() != shape.out_channels) {
        return Err(OpError::invalid(format!("the bias must be {} constants", shape.out_channels)));
    }
    Ok(BlockedConv::pack(shape, &weights, bias.as_deref()))
}

impl Operator for Blocked {
    fn class(&self) -> OpClass {
        OpClass::Convolution
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        let facts = self.conv.infer(inputs)?;
        if let Some(r) = inputs.get(3)
            && r.shape != facts[0].shape
        {
            return Err(OpError::invalid("the residual has another shape"));
        }
        Ok(facts.into_iter().map(Fact::into_blocked).collect())
    }

    fn cost(&self, inputs: &Inputs<'_>, outputs: &[Fact]) -> Cost {
        self.conv.cost(inputs, outputs)
    }

    fn prepare(&self, inputs: &Inputs<'_>, _: &[Fact]) -> Result<Option<Prepared>, OpError> {
        let w = inputs.shape(1)?.unwrap_or(&[]);
        let (shape, _) = self.conv.shape(inputs.shape(0)?.unwrap_or(&[]), w)?;
        let packed = pack(inputs, &shape)?;
        let bytes = packed.bytes();
        let op = Blocked { conv: self.conv.clone(), packed: Some((Arc::new(packed), w.to_vec())) };
        Ok(Some(Prepared { op: Box::new(op), absorbed: (1..inputs.len().min(3)).collect(), bytes }))
    }

    fn in_place(&self) -> &'static [usize] {
        &[3]
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let x = cx.input(0)?;
        let (packed, w) = self.packed.as_ref().ok_or_else(|| OpError::invalid("the weights were not packed"))?;
        let (shape, _) = self.conv.shape(x.shape, w)?;
        let residual = match cx.get(3) {
            Some(r) => Residual::Of(r.f32()?),
            None if cx.taken() == Some(3) => Residual::InPlace,
            None => Residual::None,
        };
        let p = cx.split::<f32>()?;
        packed.run(p.pool, &shape, x.f32()?, residual, self.conv.activation, p.out);
        Ok(())
    }

    fn kernel(&self) -> String {
        self.packed.as_ref().map_or(String::new(), |(p, _)| p.kernel_name().into())
    }

    fn label(&self, inputs: &Inputs<'_>) -> Option<String> {
        let add = if inputs.get(3).is_some() { "+Add" } else { "" };
        Some(format!("Conv{add}{}", activation::suffix(self.conv.activation)))
    }
}

#[derive(Debug)]
struct BlockedPool(Pool);

fn read_pool(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(BlockedPool(pool::read_one(a)?)))
}

impl Operator for BlockedPool {
    fn class(&self) -> OpClass {
        OpClass::Convolution
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(self.0.infer(inputs)?.into_iter().take(1).map(Fact::into_blocked).collect())
    }

    fn cost(&self, inputs: &Inputs<'_>, outputs: &[Fact]) -> Cost {
        self.0.cost(inputs, outputs)
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let x = cx.input(0)?;
        let (mut shape, _) = self.0.shape(x.shape)?;
        let (batch, channels, _) = image(x.shape)?;
        shape.planes = batch * channels.div_ceil(k::block());
        let p = cx.split::<f32>()?;
        match self.0.kind {
            Kind::Max { .. } => k::max_pool(p.pool, &shape, x.f32()?, p.out),
            Kind::Average { count_pads } => k::average_pool(p.pool, &shape, x.f32()?, p.out, count_pads),
            Kind::Lp(_) => return Err(OpError::unsupported("LpPool in the blocked layout")),
        }
        Ok(())
    }

    fn kernel(&self) -> String {
        "pool f32, blocked".into()
    }

    fn label(&self, _: &Inputs<'_>) -> Option<String> {
        Some(if matches!(self.0.kind, Kind::Max { .. }) { "MaxPool" } else { "AveragePool" }.into())
    }
}

#[derive(Debug)]
struct GlobalAverage;

impl Operator for GlobalAverage {
    fn class(&self) -> OpClass {
        OpClass::Convolution
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        let (n, c, _) = image(inputs.shape(0)?.unwrap_or(&[]))?;
        Ok(vec![Fact::new(DType::F32, vec![n, c, 1, 1])])
    }

    fn cost(&self, inputs: &Inputs<'_>, _: &[Fact]) -> Cost {
        Cost { flops: inputs.get(0).and_then(Fact::numel).unwrap_or(0) as u64 }
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let x = cx.input(0)?;
        let (_, channels, spatial) = image(x.shape)?;
        let p = cx.split::<f32>()?;
        k::global_average_pool(p.pool, channels, spatial.iter().product(), x.f32()?, p.out);
        Ok(())
    }

    fn kernel(&self) -> String {
        "global pool f32, blocked".into()
    }

    fn label(&self, _: &Inputs<'_>) -> Option<String> {
        Some("GlobalAveragePool".into())
    }
}

/// An image times one number for each channel.
#[derive(Debug)]
struct Scale;

impl Operator for Scale {
    fn class(&self) -> OpClass {
        OpClass::Elementwise
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        // The gate may come first.
        let (a, b) = (inputs.need(0)?, inputs.need(1)?);
        let x = if a.numel() >= b.numel() { a } else { b };
        Ok(vec![Fact::new(x.dtype, x.shape.clone().unwrap_or_default()).into_blocked()])
    }

    fn cost(&self, _: &Inputs<'_>, outputs: &[Fact]) -> Cost {
        Cost { flops: outputs[0].numel().unwrap_or(0) as u64 }
    }

    fn in_place(&self) -> &'static [usize] {
        &[0, 1]
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let shape = cx.out_shape(0);
        let gate = match cx.taken() {
            Some(taken) => 1 - taken,
            None => usize::from(cx.input(0)?.shape == shape),
        };
        let (x, s) = (cx.get(1 - gate).map(|x| x.f32()).transpose()?, cx.input(gate)?.f32()?);
        let (_, _, spatial) = image(&shape)?;
        let p = cx.split::<f32>()?;
        k::scale(p.pool, spatial.iter().product(), x, s, p.out);
        Ok(())
    }

    fn kernel(&self) -> String {
        "scale f32, blocked".into()
    }

    fn label(&self, _: &Inputs<'_>) -> Option<String> {
        Some("Mul".into())
    }
}

/// From channels first to blocks of channels, or back.
#[derive(Debug)]
struct Reorder {
    into: bool,
}

impl Operator for Reorder {
    fn class(&self) -> OpClass {
        OpClass::DataMovement
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        let x = inputs.need(0)?;
        let plain = Fact::new(x.dtype, x.shape.clone().unwrap_or_default());
        Ok(vec![if self.into { plain.into_blocked() } else { plain }])
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let x = cx.input(0)?;
        let (_, channels, spatial) = image(x.shape)?;
        let plane = spatial.iter().product();
        let p = cx.split::<f32>()?;
        if self.into {
            k::to_blocked(p.pool, channels, plane, x.f32()?, p.out);
        } else {
            k::from_blocked(p.pool, channels, plane, x.f32()?, p.out);
        }
        Ok(())
    }

    fn kernel(&self) -> String {
        let c = k::block();
        if self.into { format!("NCHW to NCHW{c}c") } else { format!("NCHW{c}c to NCHW") }
    }

    fn label(&self, _: &Inputs<'_>) -> Option<String> {
        Some("Reorder".into())
    }
}
