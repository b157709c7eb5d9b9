//! Pools: Max-, Average-, Lp-, and their global forms.

use cpu_kernels::conv::axes;
use cpu_kernels::pooling::{self as k, PoolShape};
use graph::DType;

use gpu_kernels::kernels::Elem;
use gpu_kernels::kernels::pool::{Pool2d, PoolOp, pool2d};
use gpu_kernels::kernels::reduce::{ReduceOp, reduce};

use crate::attrs::Attrs;
use crate::gpu::GpuBuilder;
use crate::op::{Cost, Fact, Inputs, NEWEST, OpClass, OpDef, OpError, Operator, RunCx};
use crate::ops::movement_gpu::u32_of;
use crate::ops::typed::{placed, placed_or};
use crate::ops::window::{Window, image};

/// Pools.
pub(crate) const OPS: &[OpDef] = &[
    OpDef { domain: "", name: "MaxPool", opsets: (1, NEWEST), read },
    OpDef { domain: "", name: "AveragePool", opsets: (1, NEWEST), read },
    OpDef { domain: "", name: "LpPool", opsets: (2, NEWEST), read },
    OpDef { domain: "", name: "GlobalMaxPool", opsets: (1, NEWEST), read: read_global },
    OpDef { domain: "", name: "GlobalAveragePool", opsets: (1, NEWEST), read: read_global },
    OpDef { domain: "", name: "GlobalLpPool", opsets: (2, NEWEST), read: read_global },
];

/// What is made of a window.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Max { column_major: bool },
    Average { count_pads: bool },
    Lp(i64),
}

/// A pool over windows.
#[derive(Debug)]
pub(crate) struct Pool {
    pub kind: Kind,
    window: Window,
    ceil: bool,
}

fn power(a: &Attrs<'_>) -> Result<i64, OpError> {
    match a.int_or("p", 2)? {
        p if p > 0 => Ok(p),
        p => Err(OpError::invalid(format!("p = {p}"))),
    }
}

fn read(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(read_one(a)?))
}

/// Reads a pool over windows.
pub(crate) fn read_one(a: &Attrs<'_>) -> Result<Pool, OpError> {
    let kind = match a.op_type().trim_start_matches("Blocked") {
        "MaxPool" => Kind::Max { column_major: a.flag("storage_order", false)? },
        "AveragePool" => Kind::Average { count_pads: a.flag("count_include_pad", false)? },
        _ => Kind::Lp(power(a)?),
    };
    Ok(Pool { kind, window: Window::read(a)?, ceil: a.flag("ceil_mode", false)? })
}

impl Pool {
    /// The sizes, and the output's shape.
    pub fn shape(&self, x: &[usize]) -> Result<(PoolShape, Vec<usize>), OpError> {
        let (batch, channels, spatial) = image(x)?;
        let n = spatial.len();
        let ax = self.window.axes(spatial, None)?;
        let planes = batch.checked_mul(channels).ok_or_else(|| OpError::invalid("the size overflows"))?;
        let shape = PoolShape { planes, axes: axes(&ax), ceil_mode: self.ceil };
        let out = [batch, channels].into_iter().chain(shape.output()[3 - n..].iter().copied()).collect();
        Ok((shape, out))
    }
}

/// The p-norm of each window.
fn lp_pool(s: &PoolShape, p: i64, x: &[f32], y: &mut [f32]) {
    let out = s.output();
    let plane: usize = s.axes.iter().map(|a| a.input).product();
    let windows: usize = out.iter().product();
    let inside = |axis: usize, window: usize, tap: usize| {
        let a = &s.axes[axis];
        (window * a.stride + tap * a.dilation).checked_sub(a.pad_begin).filter(|&i| i < a.input)
    };
    for (at, y) in y.iter_mut().enumerate() {
        let (x, w) = (&x[at / windows * plane..][..plane], at % windows);
        let (d, h, w) = (w / (out[1] * out[2]), w / out[2] % out[1], w % out[2]);
        let mut sum = 0f64;
        for i in (0..s.axes[0].kernel).filter_map(|t| inside(0, d, t)) {
            for j in (0..s.axes[1].kernel).filter_map(|t| inside(1, h, t)) {
                for k in (0..s.axes[2].kernel).filter_map(|t| inside(2, w, t)) {
                    let v = x[(i * s.axes[1].input + j) * s.axes[2].input + k];
                    sum += f64::from(v.abs()).powf(p as f64);
                }
            }
        }
        *y = sum.powf(1.0 / p as f64) as f32;
    }
}

impl Operator for Pool {
    fn class(&self) -> OpClass {
        OpClass::Convolution
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        let x = inputs.need(0)?;
        let (_, out) = self.shape(x.shape.as_deref().unwrap_or(&[]))?;
        let mut facts = vec![Fact::new(x.dtype, out.clone())];
        if let Kind::Max { .. } = self.kind {
            facts.push(Fact::new(DType::I64, out));
        }
        Ok(facts)
    }

    fn dtypes(&self, inputs: &Inputs<'_>) -> Result<Vec<DType>, OpError> {
        let mut types = vec![inputs.need(0)?.dtype];
        types.extend(matches!(self.kind, Kind::Max { .. }).then_some(DType::I64));
        Ok(types)
    }

    fn cost(&self, _: &Inputs<'_>, outputs: &[Fact]) -> Cost {
        let taps = self.window.kernel.iter().flatten().map(|&k| k as u64).product::<u64>();
        Cost { flops: taps.saturating_mul(outputs[0].numel().unwrap_or(0) as u64) }
    }

    fn widens(&self) -> bool {
        true
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let (x, pool) = (cx.input(0)?, cx.pool());
        let (shape, out) = self.shape(x.shape)?;
        let len: usize = out.iter().product();
        if len == 0 {
            return Ok(());
        }
        // Bytes are exact in f32.
        let wide: Vec<f32>;
        let data = match x.dtype {
            DType::U8 => {
                wide = x.slice::<u8>()?.iter().map(|&v| f32::from(v)).collect();
                &wide[..]
            }
            DType::I8 => {
                wide = x.slice::<i8>()?.iter().map(|&v| f32::from(v)).collect();
                &wide[..]
            }
            _ => x.f32()?,
        };
        let [first, rest @ ..] = &mut *cx.outputs else { return Ok(()) };
        let mut spare = Vec::new();
        let y = if x.dtype == DType::F32 {
            placed_or::<f32>(Some(&mut *first), &mut spare, len)?
        } else {
            spare.resize(len, 0.0);
            &mut spare[..]
        };
        match self.kind {
            Kind::Max { column_major } => match placed::<i64>(rest.first_mut())? {
                Some(at) => k::max_pool_indices(pool, &shape, data, y, at, column_major),
                None => k::max_pool(pool, &shape, data, y),
            },
            Kind::Average { count_pads } => k::average_pool(pool, &shape, data, y, count_pads),
            Kind::Lp(p) => lp_pool(&shape, p, data, y),
        }
        match x.dtype {
            DType::U8 => {
                let to = placed::<u8>(Some(first))?.unwrap_or_default();
                to.iter_mut().zip(&spare).for_each(|(t, &v)| *t = v as u8);
            }
            DType::I8 => {
                let to = placed::<i8>(Some(first))?.unwrap_or_default();
                to.iter_mut().zip(&spare).for_each(|(t, &v)| *t = v as i8);
            }
            _ => {}
        }
        Ok(())
    }

    fn kernel(&self) -> String {
        "pool f32".into()
    }

    fn gpu(&self, b: &mut GpuBuilder<'_>) -> Result<bool, OpError> {
        let x = b.input(0)?;
        let (s, _) = self.shape(&x.shape)?;
        let op = match self.kind {
            Kind::Max { .. } if !b.wants(1) => PoolOp::Max,
            Kind::Average { count_pads } => PoolOp::Average { count_pad: count_pads },
            _ => return Ok(false),
        };
        let [d, h, w] = &s.axes;
        if !x.is_float() || d.kernel != 1 || d.input != 1 {
            return Ok(false);
        }
        let [_, oh, ow] = s.output();
        let n = u32_of;
        let size = Pool2d {
            input: [n(s.planes)?, n(h.input)?, n(w.input)?],
            output: [n(oh)?, n(ow)?],
            window: [n(h.kernel)?, n(w.kernel)?],
            strides: [n(h.stride)?, n(w.stride)?],
            pads: [n(h.pad_begin)?, n(w.pad_begin)?, n(h.pad_end)?, n(w.pad_end)?],
            dilations: [n(h.dilation)?, n(w.dilation)?],
        };
        let y = b.output(0)?;
        let gpu = b.gpu();
        b.push(pool2d(&gpu, op, &x.binding, &y.binding, &size))?;
        Ok(true)
    }
}

#[derive(Debug)]
struct Global(Kind);

fn read_global(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(Global(match a.op_type() {
        "GlobalMaxPool" => Kind::Max { column_major: false },
        "GlobalAveragePool" => Kind::Average { count_pads: false },
        _ => Kind::Lp(power(a)?),
    })))
}

impl Operator for Global {
    fn class(&self) -> OpClass {
        OpClass::Convolution
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        let x = inputs.need(0)?;
        let shape = x.shape.as_deref().unwrap_or(&[]);
        let (n, c, spatial) = image(shape)?;
        let out = [n, c].into_iter().chain(spatial.iter().map(|_| 1)).collect();
        Ok(vec![Fact::new(x.dtype, out)])
    }

    fn cost(&self, inputs: &Inputs<'_>, _: &[Fact]) -> Cost {
        Cost { flops: inputs.get(0).and_then(Fact::numel).unwrap_or(0) as u64 }
    }

    fn widens(&self) -> bool {
        true
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let x = cx.input(0)?.f32()?;
        let p = cx.split::<f32>()?;
        match self.0 {
            Kind::Max { .. } => k::global_max_pool(p.pool, x, p.out),
            Kind::Average { .. } => k::global_average_pool(p.pool, x, p.out),
            Kind::Lp(power) => {
                let plane = x.len() / p.out.len().max(1);
                for (i, y) in p.out.iter_mut().enumerate() {
                    let sum: f64 =
                        x[i * plane..(i + 1) * plane].iter().map(|v| f64::from(v.abs()).powf(power as f64)).sum();
                    *y = sum.powf(1.0 / power as f64) as f32;
                }
            }
        }
        Ok(())
    }

    fn kernel(&self) -> String {
        "global pool f32".into()
    }

    fn gpu(&self, b: &mut GpuBuilder<'_>) -> Result<bool, OpError> {
        let x = b.input(0)?;
        let op = match self.0 {
            Kind::Max { .. } => ReduceOp::Max,
            Kind::Average { .. } => ReduceOp::Mean,
            Kind::Lp(_) => return Ok(false),
        };
        if !x.is_float() {
            return Ok(false);
        }
        let (planes, _, spatial) = image(&x.shape).map(|(n, c, s)| (n * c, c, s.iter().product::<usize>()))?;
        let y = b.output(0)?;
        let gpu = b.gpu();
        b.push(reduce(&gpu, op, Elem::F32, &x.binding, &y.binding, [u32_of(planes)?, u32_of(spatial)?, 1]))?;
        Ok(true)
    }
}
