//! Conv, ConvTranspose, and the fused form: activation(conv + bias).

use std::sync::Arc;

use cpu_kernels::conv::{Axis, ConvShape, ConvTransposeShape, PackedConv, axes, conv, conv_transpose};
use cpu_kernels::gemm::{Activation, Epilogue};

use gpu_kernels::kernels::conv2d::{Conv2d, conv2d};

use crate::attrs::Attrs;
use crate::gpu::GpuBuilder;
use crate::op::{Cost, Fact, Inputs, NEWEST, OpClass, OpDef, OpError, Operator, Prepared, RunCx};
use crate::ops::movement_gpu::u32_of;
use crate::ops::window::{AutoPad, Window, image};
use crate::ops::{activation, matmul_gpu};
use crate::precision::Precision;
use crate::registry::INTERNAL;
use crate::tensor::constant_f32;

/// Convolutions. The fused form has inputs x, weights, bias (optional), residual (optional).
pub(crate) const OPS: &[OpDef] = &[
    OpDef { domain: "", name: "Conv", opsets: (1, NEWEST), read },
    OpDef { domain: INTERNAL, name: "FusedConv", opsets: (1, 1), read },
    OpDef { domain: "", name: "ConvTranspose", opsets: (1, NEWEST), read: read_transpose },
];

/// A convolution with its weights' shape and, once prepared, the weights.
#[derive(Clone, Debug)]
pub(crate) struct Conv {
    pub window: Window,
    pub groups: usize,
    pub activation: Activation,
    packed: Option<(Arc<PackedConv>, Vec<usize>)>,
    /// A GPU holds constant weights as f16.
    f16: bool,
}

fn groups(a: &Attrs<'_>) -> Result<usize, OpError> {
    let g = a.int_or("group", 1)?;
    usize::try_from(g).ok().filter(|&g| g > 0).ok_or_else(|| OpError::invalid(format!("group = {g}")))
}

/// Reads a convolution.
pub(crate) fn read_one(a: &Attrs<'_>) -> Result<Conv, OpError> {
    let (window, groups, activation) = (Window::read(a)?, groups(a)?, activation::read(a)?);
    Ok(Conv { window, groups, activation, packed: None, f16: false })
}

fn read(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(read_one(a)?))
}

impl Conv {
    /// The sizes, and the output's shape.
    pub fn shape(&self, x: &[usize], w: &[usize]) -> Result<(ConvShape, Vec<usize>), OpError> {
        let (batch, channels, spatial) = image(x)?;
        let fits =
            w.len() == x.len() && w[1].checked_mul(self.groups) == Some(channels) && w[0].is_multiple_of(self.groups);
        if !fits {
            let why = format!("weights of {w:?} in {} groups on an input of {x:?}", self.groups);
            return Err(OpError::invalid(why));
        }
        let spatial = self.window.axes(spatial, Some(&w[2..]))?;
        let shape =
            ConvShape { batch, in_channels: channels, out_channels: w[0], groups: self.groups, axes: axes(&spatial) };
        let out = [batch, w[0]].into_iter().chain(spatial.iter().map(Axis::output)).collect();
        Ok((shape, out))
    }

    fn weights_shape<'a>(&'a self, inputs: &Inputs<'a>) -> Result<&'a [usize], OpError> {
        match &self.packed {
            Some((_, shape)) => Ok(shape),
            None => Ok(inputs.shape(1)?.unwrap_or(&[])),
        }
    }
}

fn pack(w: &[f32], shape: &[usize], s: &ConvShape) -> PackedConv {
    PackedConv::pack(shape[0], shape[1], s.axes.map(|a| a.kernel), s.groups, w)
}

fn check_bias(bias: Option<&Fact>, channels: usize) -> Result<(), OpError> {
    match bias.and_then(|b| b.shape.as_deref()) {
        Some(b) if b != [channels] => Err(OpError::invalid(format!("a bias of {b:?} for {channels} channels"))),
        _ => Ok(()),
    }
}

impl Operator for Conv {
    fn class(&self) -> OpClass {
        OpClass::Convolution
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        let x = inputs.need(0)?;
        let w = self.weights_shape(inputs)?;
        let (shape, out) = self.shape(x.shape.as_deref().unwrap_or(&[]), w)?;
        check_bias(inputs.get(2), shape.out_channels)?;
        Ok(vec![Fact::new(x.dtype, out)])
    }

    fn cost(&self, inputs: &Inputs<'_>, outputs: &[Fact]) -> Cost {
        let Ok(w) = self.weights_shape(inputs) else { return Cost::default() };
        let taps: u64 = w.iter().skip(1).map(|&d| d as u64).product();
        let extra = u64::from(inputs.get(2).is_some()) + u64::from(self.activation != Activation::None);
        let n = outputs[0].numel().unwrap_or(0) as u64;
        Cost { flops: n.saturating_mul(2 * taps + extra + u64::from(inputs.get(3).is_some())) }
    }

    fn prepare(&self, inputs: &Inputs<'_>, _: &[Fact]) -> Result<Option<Prepared>, OpError> {
        let (Some(w), Some(shape)) = (inputs.get(1).and_then(|f| f.value.as_ref()), inputs.shape(1)?) else {
            return Ok(None);
        };
        let (s, _) = self.shape(inputs.shape(0)?.unwrap_or(&[]), shape)?;
        let Some(data) = constant_f32(w).filter(|_| w.dtype() != graph::DType::F64) else { return Ok(None) };
        let packed = pack(&data, shape, &s);
        let bytes = packed.bytes();
        let op = Conv { packed: Some((Arc::new(packed), shape.to_vec())), ..self.clone() };
        Ok(Some(Prepared { op: Box::new(op), absorbed: vec![1], bytes }))
    }

    fn widens(&self) -> bool {
        true
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let x = cx.input(0)?;
        let fresh;
        let (packed, shape) = match &self.packed {
            Some((packed, w)) => (&**packed, self.shape(x.shape, w)?.0),
            None => {
                let w = cx.input(1)?;
                let (shape, _) = self.shape(x.shape, w.shape)?;
                fresh = pack(w.f32()?, w.shape, &shape);
                (&fresh, shape)
            }
        };
        let bias = cx.get(2).map(|b| b.f32()).transpose()?;
        let residual = cx.get(3).map(|r| r.f32()).transpose()?;
        let epi = Epilogue { bias, activation: self.activation, residual, alpha: 1.0 };
        let p = cx.split::<f32>()?;
        conv(p.pool, &shape, x.f32()?, packed, &epi, p.out, p.scratch);
        Ok(())
    }

    fn kernel(&self) -> String {
        if self.packed.is_some() { "conv f32, packed weights".into() } else { "conv f32".into() }
    }

    fn gpu(&self, b: &mut GpuBuilder<'_>) -> Result<bool, OpError> {
        let Some(w_shape) = b.fact(1).and_then(|f| f.shape.clone()) else { return Ok(false) };
        let x = b.input(0)?;
        let (s, _) = self.shape(&x.shape, &w_shape)?;
        let [d, h, w] = &s.axes;
        if !x.is_float() || d.kernel != 1 || d.input != 1 {
            return Ok(false);
        }
        let halves = b.constant(1).filter(|_| self.f16).and_then(constant_f32).map(|w| matmul_gpu::halves(&w));
        let weights = match &halves {
            Some(bytes) => b.upload("f16 weights", bytes)?,
            None => b.input(1)?.binding,
        };
        let bias = if b.has(2) { Some(b.input(2)?) } else { None };
        let residual = if b.has(3) { Some(b.input(3)?) } else { None };
        let y = b.output(0)?;
        let [_, oh, ow] = s.output();
        let n = u32_of;
        let op = Conv2d {
            x: &x.binding,
            weights: &weights,
            weights_f16: halves.is_some(),
            bias: bias.as_ref().map(|t| &t.binding),
            residual: residual.as_ref().map(|t| &t.binding),
            y: &y.binding,
            input: [n(s.batch)?, n(s.in_channels)?, n(h.input)?, n(w.input)?],
            c_out: n(s.out_channels)?,
            output: [n(oh)?, n(ow)?],
            window: [n(h.kernel)?, n(w.kernel)?],
            groups: n(s.groups)?,
            strides: [n(h.stride)?, n(w.stride)?],
            pads: [n(h.pad_begin)?, n(w.pad_begin)?],
            dilations: [n(h.dilation)?, n(w.dilation)?],
            activation: matmul_gpu::activation(self.activation),
        };
        let gpu = b.gpu();
        b.push(conv2d(&gpu, &op))?;
        Ok(true)
    }

    fn store(&self, precision: Precision, inputs: &[Option<Fact>]) -> Option<Box<dyn Operator>> {
        let fits = precision == Precision::F16
            && inputs.first()?.as_ref()?.dtype.is_float()
            && inputs.get(1)?.as_ref()?.shape.as_ref()?.len() <= 4;
        fits.then(|| Box::new(Conv { f16: true, ..self.clone() }) as Box<dyn Operator>)
    }

    fn label(&self, _: &Inputs<'_>) -> Option<String> {
        Some(format!("Conv{}", activation::suffix(self.activation)))
    }
}

#[derive(Debug)]
struct ConvTranspose {
    window: Window,
    groups: usize,
    output_padding: Option<Vec<i64>>,
    output_shape: Option<Vec<i64>>,
    activation: Activation,
}

fn read_transpose(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(ConvTranspose {
        window: Window::read(a)?,
        groups: groups(a)?,
        output_padding: a.ints("output_padding")?.map(<[i64]>::to_vec),
        output_shape: a.ints("output_shape")?.map(<[i64]>::to_vec),
        activation: activation::read(a)?,
    }))
}

impl ConvTranspose {
    fn shape(&self, x: &[usize], w: &[usize]) -> Result<(ConvTransposeShape, Vec<usize>), OpError> {
        let (batch, channels, spatial) = image(x)?;
        if w.len() != x.len() || w[0] != channels || channels % self.groups != 0 {
            let why = format!("weights of {w:?} in {} groups on an input of {x:?}", self.groups);
            return Err(OpError::invalid(why));
        }
        let overflow = || OpError::invalid("the output's size overflows");
        let out_channels = w[1].checked_mul(self.groups).ok_or_else(overflow)?;
        // The axes' own automatic padding is that of a convolution, so it is set anew below.
        let mut ax = self.window.axes(spatial, Some(&w[2..]))?;
        let n = ax.len();
        let sizes = |list: &Option<Vec<i64>>, name: &str| -> Result<Option<Vec<usize>>, OpError> {
            let Some(list) = list else { return Ok(None) };
            // Some files give output_shape with batch and channels before it.
            let list = if name == "output_shape" && list.len() == n + 2 { &list[2..] } else { &list[..] };
            let bad = || OpError::invalid(format!("{name} {list:?} for {n} spatial dimensions"));
            if list.len() != n {
                return Err(bad());
            }
            let size = |&v: &i64| usize::try_from(v).ok().filter(|&v| v < 1 << 31).ok_or_else(bad);
            list.iter().map(size).collect::<Result<Vec<_>, _>>().map(Some)
        };
        let mut extra = sizes(&self.output_padding, "output_padding")?.unwrap_or_else(|| vec![0; n]);
        let wanted = sizes(&self.output_shape, "output_shape")?;
        for d in 0..n {
            let a = &mut ax[d];
            let full = a.input.saturating_sub(1).checked_mul(a.stride).ok_or_else(overflow)? + extra[d] + a.extent();
            let want = match (&wanted, self.window.auto) {
                (Some(s), _) => s[d],
                (None, AutoPad::SameUpper | AutoPad::SameLower) => {
                    a.input.checked_mul(a.stride).ok_or_else(overflow)?
                }
                _ => continue,
            };
            let total = full.saturating_sub(want);
            // What is wanted beyond the full output is zeros at its end.
            extra[d] += want.saturating_sub(full);
            let (less, more) = (total / 2, total - total / 2);
            let upper = self.window.auto == AutoPad::SameUpper;
            (a.pad_begin, a.pad_end) = if upper { (less, more) } else { (more, less) };
        }
        let mut output_padding = [0; 3];
        output_padding[3 - n..].copy_from_slice(&extra);
        let shape = ConvTransposeShape {
            batch,
            in_channels: channels,
            out_channels,
            groups: self.groups,
            axes: axes(&ax),
            output_padding,
        };
        let out = [batch, out_channels].into_iter().chain(shape.output()[3 - n..].iter().copied()).collect();
        Ok((shape, out))
    }
}

impl Operator for ConvTranspose {
    fn class(&self) -> OpClass {
        OpClass::Convolution
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        let x = inputs.need(0)?;
        let (shape, out) = self.shape(x.shape.as_deref().unwrap_or(&[]), inputs.shape(1)?.unwrap_or(&[]))?;
        check_bias(inputs.get(2), shape.out_channels)?;
        Ok(vec![Fact::new(x.dtype, out)])
    }

    fn cost(&self, inputs: &Inputs<'_>, outputs: &[Fact]) -> Cost {
        let taps = inputs.get(1).and_then(|w| w.shape.as_deref()).unwrap_or(&[]);
        let taps: u64 = taps.iter().skip(1).map(|&d| d as u64).product();
        let n = inputs.get(0).and_then(Fact::numel).unwrap_or(0) as u64;
        let extra = u64::from(inputs.get(2).is_some()) * outputs[0].numel().unwrap_or(0) as u64;
        Cost { flops: n.saturating_mul(2 * taps).saturating_add(extra) }
    }

    fn widens(&self) -> bool {
        true
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let (x, w) = (cx.input(0)?, cx.input(1)?);
        let (shape, _) = self.shape(x.shape, w.shape)?;
        let bias = cx.get(2).map(|b| b.f32()).transpose()?;
        let epi = Epilogue { bias, activation: self.activation, residual: None, alpha: 1.0 };
        let p = cx.split::<f32>()?;
        conv_transpose(p.pool, &shape, x.f32()?, w.f32()?, &epi, p.out);
        Ok(())
    }

    fn kernel(&self) -> String {
        "transposed conv f32".into()
    }
}
