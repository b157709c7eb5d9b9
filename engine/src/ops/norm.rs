//! Normalisations over the last dimensions: LayerNormalization, RMSNormalization, and their forms with a residual sum.

use std::borrow::Cow;

use cpu_kernels::movement;
use cpu_kernels::norm::{RowNorm, RowNormExtras, layer_norm, rms_norm};
use cpu_kernels::pool::Pool;
use graph::DType;

use gpu_kernels::kernels::layer_norm::{self as gpu_norm, add_norm};

use crate::attrs::Attrs;
use crate::gpu::GpuBuilder;
use crate::op::{Cost, Fact, Inputs, NEWEST, OpClass, OpDef, OpError, Operator, RunCx};
use crate::ops::movement_gpu::u32_of;
use crate::ops::typed::{placed, placed_or};
use crate::ops::util;
use crate::registry::INTERNAL;
use crate::tensor::Input;

/// Normalisations of rows.
pub(crate) const OPS: &[OpDef] = &[
    OpDef { domain: "", name: "LayerNormalization", opsets: (17, NEWEST), read },
    OpDef { domain: "", name: "RMSNormalization", opsets: (23, NEWEST), read },
    OpDef { domain: "", name: "SimplifiedLayerNormalization", opsets: (1, NEWEST), read },
    OpDef { domain: "com.microsoft", name: "SkipLayerNormalization", opsets: (1, NEWEST), read },
    OpDef { domain: "com.microsoft", name: "SkipSimplifiedLayerNormalization", opsets: (1, NEWEST), read },
    OpDef { domain: INTERNAL, name: "LayerNormalization", opsets: (1, 1), read },
    OpDef { domain: INTERNAL, name: "SkipLayerNormalization", opsets: (1, 1), read: read_internal },
];

#[derive(Debug)]
struct Norm {
    /// Subtract the mean.
    centred: bool,
    axis: i64,
    epsilon: f32,
    layout: Layout,
    /// The type of the statistics among the outputs.
    stash: DType,
}

/// Where inputs and outputs are.
#[derive(Debug)]
struct Layout {
    scale: usize,
    bias: Option<usize>,
    residual: Option<usize>,
    /// Added to the sum (a bias of the layer before).
    early_bias: Option<usize>,
    mean: Option<usize>,
    inv_std: Option<usize>,
    sum: Option<usize>,
}

const PLAIN: Layout =
    Layout { scale: 1, bias: None, residual: None, early_bias: None, mean: None, inv_std: None, sum: None };

/// Inputs x, scale, bias, residual; outputs y and the sum.
fn read_internal(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    let layout = Layout { bias: Some(2), residual: Some(3), sum: Some(1), ..PLAIN };
    Ok(Box::new(Norm { centred: true, axis: -1, epsilon: a.float_or("epsilon", 1e-5)?, layout, stash: DType::F32 }))
}

fn read(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    let simple = a.op_type() != "LayerNormalization" && a.op_type() != "SkipLayerNormalization";
    let skip = a.op_type().starts_with("Skip");
    let layout = match (skip, simple) {
        (true, false) => Layout {
            scale: 2,
            bias: Some(3),
            residual: Some(1),
            early_bias: Some(4),
            mean: Some(1),
            inv_std: Some(2),
            sum: Some(3),
        },
        (true, true) => Layout {
            scale: 2,
            residual: Some(1),
            early_bias: Some(3),
            mean: Some(1),
            inv_std: Some(2),
            sum: Some(3),
            ..PLAIN
        },
        (false, false) => Layout { bias: Some(2), mean: Some(1), inv_std: Some(2), ..PLAIN },
        (false, true) => Layout { inv_std: Some(1), ..PLAIN },
    };
    let stash = match a.int_or("stash_type", 1)? {
        1 => DType::F32,
        10 => DType::F16,
        11 => DType::F64,
        16 => DType::BF16,
        other => return Err(OpError::invalid(format!("stash_type {other}"))),
    };
    let epsilon = a.float_or("epsilon", if skip { 1e-12 } else { 1e-5 })?;
    Ok(Box::new(Norm { centred: !simple, axis: a.int_or("axis", -1)?, epsilon, layout, stash }))
}

/// A scale or bias spread over one row, if it isn't of that length.
fn spread<'a>(pool: &Pool, t: Option<Input<'a>>, row: &[usize]) -> Result<Option<Cow<'a, [f32]>>, OpError> {
    let Some(t) = t else { return Ok(None) };
    let cols: usize = row.iter().product();
    // A leading 1 for each dimension before the row changes nothing.
    let lead = t.shape.len().saturating_sub(row.len());
    if t.shape[..lead].iter().any(|&d| d != 1) {
        return Err(OpError::unsupported(format!("a scale or bias of shape {:?} on rows of {row:?}", t.shape)));
    }
    let own = &t.shape[lead..];
    if t.len() == cols {
        return Ok(Some(Cow::Borrowed(t.f32()?)));
    }
    if util::broadcast(&[own, row])? != row {
        return Err(OpError::invalid(format!("a scale or bias of shape {:?} on rows of {row:?}", t.shape)));
    }
    let mut out = vec![0f32; cols];
    movement::expand(pool, 4, own, row, t.data, bytemuck::cast_slice_mut(&mut out))?;
    Ok(Some(Cow::Owned(out)))
}

/// The residual where it is not as it is: repeated along the first dimensions, or with a bias of the layer before.
fn join(x: Input<'_>, residual: Input<'_>, early: Option<(&[f32], usize)>) -> Result<Option<Vec<f32>>, OpError> {
    let ones = residual.shape.iter().take_while(|&&d| d == 1).count();
    if !x.shape.ends_with(&residual.shape[ones..]) || residual.shape.len() > x.shape.len() {
        return Err(OpError::invalid(format!("a residual of {:?} for {:?}", residual.shape, x.shape)));
    }
    if early.is_none() && residual.len() == x.len() {
        return Ok(None);
    }
    let add = |i: usize| early.map_or(0.0, |(b, cols)| b[i % cols]);
    let all = residual.f32()?.iter().cycle().take(x.len());
    Ok(Some(all.enumerate().map(|(i, r)| r + add(i)).collect()))
}

impl Norm {
    fn stats_shape(&self, x: &[usize]) -> Result<Vec<usize>, OpError> {
        let axis = util::axis(self.axis, x.len())?;
        Ok(x.iter().enumerate().map(|(i, &d)| if i < axis { d } else { 1 }).collect())
    }

    fn outputs(&self) -> usize {
        let l = &self.layout;
        1 + [l.mean, l.inv_std, l.sum].into_iter().flatten().max().unwrap_or(0)
    }
}

impl Operator for Norm {
    fn class(&self) -> OpClass {
        OpClass::Normalisation
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        let x = inputs.need(0)?;
        inputs.need(self.layout.scale)?;
        let shape = x.shape.clone().unwrap_or_default();
        let stats = self.stats_shape(&shape)?;
        let mut out = vec![Fact::new(x.dtype, shape.clone())];
        for i in 1..self.outputs() {
            out.push(if self.layout.sum == Some(i) {
                Fact::new(x.dtype, shape.clone())
            } else {
                Fact::new(self.stash, stats.clone())
            });
        }
        Ok(out)
    }

    fn dtypes(&self, inputs: &Inputs<'_>) -> Result<Vec<DType>, OpError> {
        let x = inputs.need(0)?.dtype;
        let of = |i| if i == 0 || self.layout.sum == Some(i) { x } else { self.stash };
        Ok((0..self.outputs()).map(of).collect())
    }

    fn cost(&self, _: &Inputs<'_>, outputs: &[Fact]) -> Cost {
        Cost { flops: 8 * outputs[0].numel().unwrap_or(0) as u64 }
    }

    fn widens(&self) -> bool {
        true
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let l = &self.layout;
        let x = cx.input(0)?;
        let row = &x.shape[util::axis(self.axis, x.shape.len())?..];
        let cols: usize = row.iter().product();
        let pool = cx.pool();
        let optional = |i: Option<usize>| i.and_then(|i| cx.get(i));
        let scale = spread(pool, Some(cx.input(l.scale)?), row)?;
        let bias = spread(pool, optional(l.bias), row)?;
        let residual = optional(l.residual);
        let early = spread(pool, optional(l.early_bias), row)?;
        let joined = residual.map(|r| join(x, r, early.as_deref().map(|b| (b, cols)))).transpose()?.flatten();
        let residual = residual.map(|r| r.f32()).transpose()?;
        let norm = RowNorm {
            cols,
            scale: scale.as_deref(),
            bias: bias.as_deref(),
            epsilon: self.epsilon,
            residual: joined.as_deref().or(residual).or(early.as_deref()),
        };
        let mut spare = Vec::new();
        let [first, rest @ ..] = &mut *cx.outputs else { return Ok(()) };
        let y = placed_or(Some(first), &mut spare, x.len())?;
        let mut extras = RowNormExtras::default();
        for (i, out) in rest.iter_mut().enumerate() {
            let which = Some(i + 1);
            let slot = if which == l.mean {
                &mut extras.mean
            } else if which == l.inv_std {
                &mut extras.inv_std
            } else if which == l.sum {
                &mut extras.sum
            } else {
                continue;
            };
            *slot = placed(Some(out))?;
        }
        let kernel = if self.centred { layer_norm } else { rms_norm };
        kernel(pool, norm, x.f32()?, y, extras)?;
        Ok(())
    }

    fn kernel(&self) -> String {
        let name = if self.centred { "layer norm f32" } else { "rms norm f32" };
        if self.layout.residual.is_some() { format!("{name}, with sum") } else { name.into() }
    }

    fn gpu(&self, b: &mut GpuBuilder<'_>) -> Result<bool, OpError> {
        let l = &self.layout;
        let x = b.input(0)?;
        let axis = util::axis(self.axis, x.shape.len())?;
        let cols: usize = x.shape[axis..].iter().product();
        let rows: usize = x.shape[..axis].iter().product();
        let statistics = [l.mean, l.inv_std].into_iter().flatten().any(|i| b.wants(i));
        // The shader takes one number per column, and a residual of the input's shape.
        let row = |b: &GpuBuilder<'_>, i: usize| b.fact(i).and_then(Fact::numel) == Some(cols);
        let bias = l.bias.filter(|&i| b.has(i));
        let residual = l.residual.filter(|&i| b.has(i));
        let odd = !row(b, l.scale)
            || bias.is_some_and(|i| !row(b, i))
            || residual.is_some_and(|i| b.fact(i).and_then(Fact::numel) != Some(rows * cols))
            || l.early_bias.is_some_and(|i| b.has(i));
        if statistics || odd || !x.is_float() {
            return Ok(false);
        }
        let scale = b.input(l.scale)?;
        let bias = bias.map(|i| b.input(i)).transpose()?;
        let residual = residual.map(|i| b.input(i)).transpose()?;
        let sum = l.sum.filter(|&i| b.wants(i)).map(|i| b.output(i)).transpose()?;
        let y = b.output(0)?;
        let gpu = b.gpu();
        let (rows, cols) = (u32_of(rows)?, u32_of(cols)?);
        let (scale, bias) = (Some(&scale.binding), bias.as_ref().map(|t| &t.binding));
        let command = match (&residual, self.centred) {
            (Some(r), _) => add_norm(
                &gpu,
                (&x.binding, &r.binding),
                scale,
                bias,
                (&y.binding, sum.as_ref().map(|t| &t.binding)),
                [rows, cols],
                self.epsilon,
                !self.centred,
            ),
            (None, true) => gpu_norm::layer_norm(&gpu, &x.binding, scale, bias, &y.binding, rows, cols, self.epsilon),
            (None, false) if bias.is_none() => {
                gpu_norm::rms_norm(&gpu, &x.binding, scale, &y.binding, rows, cols, self.epsilon)
            }
            (None, false) => return Ok(false),
        };
        b.push(command)?;
        Ok(true)
    }
}
