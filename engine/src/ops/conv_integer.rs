//! ConvInteger and QLinearConv: convolutions of 8-bit integers, exact in 32 bits.

use cpu_kernels::conv::Axis;
use cpu_kernels::quant::{Bytes, matmul_integer};
use graph::DType;

use crate::attrs::Attrs;
use crate::op::{Cost, Fact, Inputs, NEWEST, OpClass, OpDef, OpError, Operator, RunCx};
use crate::ops::matmul_integer::{bytes, requantize};
use crate::ops::quantize::floats;
use crate::ops::window::{Window, image};

/// Integer convolutions.
pub(crate) const OPS: &[OpDef] = &[
    OpDef { domain: "", name: "ConvInteger", opsets: (10, NEWEST), read },
    OpDef { domain: "", name: "QLinearConv", opsets: (10, NEWEST), read },
];

#[derive(Debug)]
struct IntegerConv {
    /// QLinearConv: inputs and output have scales.
    linear: bool,
    window: Window,
    groups: usize,
}

fn read(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    let groups = a.int_or("group", 1)?;
    let groups = usize::try_from(groups).ok().filter(|&g| g > 0);
    Ok(Box::new(IntegerConv {
        linear: a.op_type() == "QLinearConv",
        window: Window::read(a)?,
        groups: groups.ok_or_else(|| OpError::invalid("group must be positive"))?,
    }))
}

/// The windows of one group of channels of one image as columns: [channels * taps, windows].
fn columns(x: &[u8], channels: usize, axes: &[Axis], padding: u8, out: &mut Vec<u8>) {
    let plane: usize = axes.iter().map(|a| a.input).product();
    let taps: usize = axes.iter().map(|a| a.kernel).product();
    let windows: usize = axes.iter().map(Axis::output).product();
    out.clear();
    for channel in 0..channels {
        let x = &x[channel * plane..][..plane];
        for tap in 0..taps {
            for window in 0..windows {
                let (mut tap, mut window, mut at, mut stride, mut inside) = (tap, window, 0, 1, true);
                for a in axes.iter().rev() {
                    let (t, w) = (tap % a.kernel, window % a.output());
                    (tap, window) = (tap / a.kernel, window / a.output());
                    match (w * a.stride + t * a.dilation).checked_sub(a.pad_begin).filter(|&i| i < a.input) {
                        Some(i) => at += i * stride,
                        None => inside = false,
                    }
                    stride *= a.input;
                }
                out.push(if inside { x[at] } else { padding });
            }
        }
    }
}

impl IntegerConv {
    /// The indices of the inputs w, the zero point of x and that of w.
    fn places(&self) -> [usize; 3] {
        if self.linear { [3, 2, 5] } else { [1, 2, 3] }
    }

    fn shape(&self, x: &[usize], w: &[usize]) -> Result<(Vec<Axis>, Vec<usize>), OpError> {
        let (batch, channels, spatial) = image(x)?;
        let fits =
            w.len() == x.len() && w[1].checked_mul(self.groups) == Some(channels) && w[0].is_multiple_of(self.groups);
        if !fits {
            let why = format!("weights of {w:?} in {} groups on an input of {x:?}", self.groups);
            return Err(OpError::invalid(why));
        }
        let axes = self.window.axes(spatial, Some(&w[2..]))?;
        let out = [batch, w[0]].into_iter().chain(axes.iter().map(Axis::output)).collect();
        Ok((axes, out))
    }
}

impl Operator for IntegerConv {
    fn class(&self) -> OpClass {
        OpClass::Convolution
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        let shape = |i: usize| Ok::<_, OpError>(inputs.shape(i)?.unwrap_or(&[]));
        let (_, out) = self.shape(shape(0)?, shape(self.places()[0])?)?;
        Ok(vec![Fact::new(self.dtypes(inputs)?[0], out)])
    }

    fn dtypes(&self, inputs: &Inputs<'_>) -> Result<Vec<DType>, OpError> {
        Ok(vec![if self.linear { inputs.need(7)?.dtype } else { DType::I32 }])
    }

    fn cost(&self, inputs: &Inputs<'_>, outputs: &[Fact]) -> Cost {
        let w = inputs.get(self.places()[0]).and_then(|w| w.shape.as_deref()).unwrap_or(&[]);
        let taps: u64 = w.iter().skip(1).map(|&d| d as u64).product();
        Cost { flops: (2 * taps).saturating_mul(outputs[0].numel().unwrap_or(0) as u64) }
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let [wi, xz, wz] = self.places();
        let (x, w, pool) = (cx.input(0)?, cx.input(wi)?, cx.pool());
        let (axes, out) = self.shape(x.shape, w.shape)?;
        let (x_zero, w_zero) = (cx.get(xz), cx.get(wz));
        for (zero, of) in [(x_zero, x), (w_zero, w)] {
            if zero.is_some_and(|z| z.dtype != of.dtype) {
                return Err(OpError::invalid("an operand and its zero point are of different types"));
            }
        }
        if x_zero.is_some_and(|z| z.len() != 1) || w_zero.is_some_and(|z| z.len() != 1 && z.len() != w.shape[0]) {
            return Err(OpError::invalid("zero points must be one, or one for each output channel of the weights"));
        }
        let (weights, x_zeros) = (bytes(Some(w))?, bytes(x_zero)?);
        bytes(Some(x))?;
        let (n, m) = (axes.iter().map(Axis::output).product::<usize>(), w.shape[0] / self.groups);
        let channels = w.shape[1];
        let k = channels * axes.iter().map(|a| a.kernel).product::<usize>();
        let plane: usize = axes.iter().map(|a| a.input).product();
        let mut sums = vec![0i32; out.iter().product()];
        let mut cols = Vec::new();
        if !sums.is_empty() {
            for image in 0..out[0] * self.groups {
                let group = image % self.groups;
                let part = &x.data[image * channels * plane..][..channels * plane];
                columns(part, channels, &axes, x_zero.map_or(0, |z| z.data[0]), &mut cols);
                let b = if x.dtype == DType::I8 { Bytes::I8(bytemuck::cast_slice(&cols)) } else { Bytes::U8(&cols) };
                let rows = group * m * k..(group + 1) * m * k;
                let a = match weights {
                    Bytes::I8(w) => Bytes::I8(&w[rows]),
                    Bytes::U8(w) => Bytes::U8(&w[rows]),
                };
                let zeros = match bytes(w_zero)? {
                    Bytes::I8(z) if z.len() > 1 => Bytes::I8(&z[group * m..(group + 1) * m]),
                    Bytes::U8(z) if z.len() > 1 => Bytes::U8(&z[group * m..(group + 1) * m]),
                    other => other,
                };
                matmul_integer(pool, m, n, k, a, zeros, b, x_zeros, &mut sums[image * m * n..(image + 1) * m * n]);
            }
        }
        if !self.linear {
            cx.out::<i32>(0)?.copy_from_slice(&sums);
            return Ok(());
        }
        let (sx, sw, sy) = (floats(&cx.input(1)?)?, floats(&cx.input(4)?)?, floats(&cx.input(6)?)?);
        let zero = cx.input(7)?.to_i64()?;
        let (&[sx], &[sy], &[zero]) = (&sx[..], &sy[..], &zero[..]) else {
            return Err(OpError::invalid("the scales of x and y and the zero point of y must be one number each"));
        };
        if sw.len() != 1 && sw.len() != w.shape[0] {
            return Err(OpError::invalid(format!("{} scales for {} output channels", sw.len(), w.shape[0])));
        }
        let channel = |i: usize| i / n % w.shape[0];
        if let Some(bias) = cx.get(8) {
            let bias = bias.slice::<i32>()?;
            if bias.len() != w.shape[0] {
                return Err(OpError::invalid(format!("a bias of {} for {} channels", bias.len(), w.shape[0])));
            }
            sums.iter_mut().enumerate().for_each(|(i, v)| *v = v.wrapping_add(bias[channel(i)]));
        }
        let scale = |i: usize| sx * if sw.len() == 1 { sw[0] } else { sw[channel(i)] };
        let dtype = cx.out_dtype(0);
        requantize(&sums, scale, sy, zero as i32, dtype, cx.out_bytes(0)?)
    }

    fn kernel(&self) -> String {
        "conv int8".into()
    }
}
