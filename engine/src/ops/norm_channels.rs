//! Normalisations per channel: Batch-, Instance-, Group-, Lp-, MeanVarianceNormalization and LRN.

use cpu_kernels::binary::{BinaryOp, binary};
use cpu_kernels::broadcast::Broadcast;
use cpu_kernels::norm as k;
use cpu_kernels::reduce::{ReduceOp, Reduction, reduce};

use gpu_kernels::kernels::batch_norm::{Statistics, batch_norm};
use gpu_kernels::kernels::layer_norm::group_norm;
use gpu_kernels::kernels::unary::Activation;

use crate::attrs::Attrs;
use crate::gpu::GpuBuilder;
use crate::op::{Cost, Fact, Inputs, NEWEST, OpClass, OpDef, OpError, Operator, RunCx};
use crate::ops::movement_gpu::u32_of;
use crate::ops::{batch_norm_training, util};

/// Normalisations of channels.
pub(crate) const OPS: &[OpDef] = &[
    OpDef { domain: "", name: "BatchNormalization", opsets: (7, NEWEST), read: read_batch },
    OpDef { domain: "", name: "InstanceNormalization", opsets: (1, NEWEST), read: read_instance },
    OpDef { domain: "", name: "GroupNormalization", opsets: (18, NEWEST), read: read_group },
    OpDef { domain: "", name: "LpNormalization", opsets: (1, NEWEST), read: read_lp },
    OpDef { domain: "", name: "LRN", opsets: (1, NEWEST), read: read_lrn },
    OpDef { domain: "", name: "MeanVarianceNormalization", opsets: (9, NEWEST), read: read_mvn },
];

#[derive(Debug)]
enum Norm {
    Batch {
        epsilon: f32,
    },
    Instance {
        epsilon: f32,
    },
    /// `per_group`: scale and bias have an element for each group (before opset 21).
    Group {
        groups: usize,
        epsilon: f32,
        per_group: bool,
    },
    Lp {
        axis: i64,
        p: u32,
    },
    Lrn {
        alpha: f32,
        beta: f32,
        bias: f32,
        size: usize,
    },
    MeanVariance {
        axes: Vec<i64>,
    },
}

fn read_batch(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    if a.flag("training_mode", false)? {
        return batch_norm_training::read(a);
    }
    a.ignore("momentum");
    if (1..5).any(|i| a.has_output(i)) {
        return Err(OpError::unsupported("BatchNormalization in training mode"));
    }
    if !a.flag("spatial", true)? {
        return Err(OpError::unsupported("spatial = 0"));
    }
    Ok(Box::new(Norm::Batch { epsilon: a.float_or("epsilon", 1e-5)? }))
}

fn read_instance(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    a.ignore("consumed_inputs");
    Ok(Box::new(Norm::Instance { epsilon: a.float_or("epsilon", 1e-5)? }))
}

fn read_group(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    a.ignore("stash_type");
    let groups = a.need_int("num_groups")?;
    let groups = usize::try_from(groups).ok().filter(|&g| g > 0);
    let groups = groups.ok_or_else(|| OpError::invalid("num_groups must be positive"))?;
    Ok(Box::new(Norm::Group { groups, epsilon: a.float_or("epsilon", 1e-5)?, per_group: a.opset() < 21 }))
}

fn read_lp(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    match a.int_or("p", 2)? {
        p @ (1 | 2) => Ok(Box::new(Norm::Lp { axis: a.int_or("axis", -1)?, p: p as u32 })),
        p => Err(OpError::invalid(format!("p = {p}, it must be 1 or 2"))),
    }
}

fn read_lrn(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    let size = usize::try_from(a.need_int("size")?).map_err(|_| OpError::invalid("size is negative"))?;
    let (alpha, beta, bias) = (a.float_or("alpha", 1e-4)?, a.float_or("beta", 0.75)?, a.float_or("bias", 1.0)?);
    Ok(Box::new(Norm::Lrn { alpha, beta, bias, size }))
}

fn read_mvn(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(Norm::MeanVariance { axes: a.ints("axes")?.unwrap_or(&[0, 2, 3]).to_vec() }))
}

/// The shape as batch, channels, and all the rest.
fn channels(x: &[usize]) -> [usize; 3] {
    match x {
        [] => [1, 1, 1],
        [n] => [*n, 1, 1],
        [n, c, rest @ ..] => [*n, *c, rest.iter().product()],
    }
}

impl Operator for Norm {
    fn class(&self) -> OpClass {
        OpClass::Normalisation
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        let x = inputs.need(0)?;
        let shape = x.shape.clone().unwrap_or_default();
        let needs = match self {
            Norm::Batch { .. } => 5,
            Norm::Instance { .. } | Norm::Group { .. } => 3,
            _ => 1,
        };
        for i in 1..needs {
            inputs.need(i)?;
        }
        match self {
            Norm::Lp { axis, .. } => _ = util::axis(*axis, shape.len())?,
            Norm::MeanVariance { axes } => _ = util::axes(axes, shape.len())?,
            Norm::Instance { .. } | Norm::Group { .. } | Norm::Lrn { .. } if shape.len() < 2 => {
                return Err(OpError::invalid(format!("an input of shape {shape:?} has no channels")));
            }
            _ => {}
        }
        Ok(vec![Fact::new(x.dtype, shape)])
    }

    fn cost(&self, _: &Inputs<'_>, outputs: &[Fact]) -> Cost {
        let n = outputs[0].numel().unwrap_or(0) as u64;
        Cost {
            flops: match self {
                Norm::Batch { .. } => 2 * n,
                Norm::Lrn { size, .. } => n * (2 * *size as u64 + 3),
                _ => 8 * n,
            },
        }
    }

    fn widens(&self) -> bool {
        true
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let x = cx.input(0)?;
        let dims = channels(x.shape);
        let rows = |i: usize| cx.slice::<f32>(i);
        match self {
            Norm::Batch { epsilon } => {
                let p =
                    k::BatchNorm { scale: rows(1)?, bias: rows(2)?, mean: rows(3)?, var: rows(4)?, epsilon: *epsilon };
                let out = cx.split::<f32>()?;
                k::batch_norm(out.pool, p, dims, x.f32()?, out.out)?;
            }
            Norm::Instance { epsilon } => {
                let (scale, bias) = (rows(1)?, rows(2)?);
                let out = cx.split::<f32>()?;
                k::instance_norm(out.pool, scale, bias, *epsilon, dims, x.f32()?, out.out)?;
            }
            Norm::Group { groups, epsilon, per_group } => {
                let (mut scale, mut bias) = (rows(1)?.to_vec(), rows(2)?.to_vec());
                if *per_group && scale.len() == *groups && bias.len() == *groups {
                    let each = dims[1] / groups;
                    let repeat = |v: &[f32]| v.iter().flat_map(|&v| std::iter::repeat_n(v, each)).collect::<Vec<f32>>();
                    (scale, bias) = (repeat(&scale), repeat(&bias));
                }
                let out = cx.split::<f32>()?;
                k::group_norm(out.pool, *groups, &scale, &bias, *epsilon, dims, x.f32()?, out.out)?;
            }
            Norm::Lp { axis, p } => {
                let out = cx.split::<f32>()?;
                k::lp_normalize(out.pool, *p, x.shape, util::axis(*axis, x.shape.len())?, x.f32()?, out.out)?;
            }
            Norm::Lrn { alpha, beta, bias, size } => {
                let out = cx.split::<f32>()?;
                let p = k::Lrn { alpha: *alpha, beta: *beta, bias: *bias, size: *size };
                k::lrn(out.pool, p, dims, x.f32()?, out.out)?;
            }
            Norm::MeanVariance { axes } => {
                let axes = util::axes(axes, x.shape.len())?;
                let plan = Reduction::new(x.shape, &axes)?;
                let kept: Vec<usize> =
                    x.shape.iter().enumerate().map(|(i, &d)| if axes.contains(&i) { 1 } else { d }).collect();
                let spread = Broadcast::new(x.shape, &kept).ok_or_else(|| OpError::invalid("the size overflows"))?;
                let out = cx.split::<f32>()?;
                let mut stats = vec![0f32; plan.out_len()];
                reduce(out.pool, ReduceOp::Mean, &plan, x.f32()?, &mut stats)?;
                binary(out.pool, BinaryOp::Sub, &spread, x.f32()?, &stats, out.out)?;
                reduce(out.pool, ReduceOp::SumSquare, &plan, out.out, &mut stats)?;
                let count = plan.count().max(1) as f32;
                stats.iter_mut().for_each(|v| *v = (*v / count).sqrt() + 1e-9);
                cpu_kernels::binary::binary_in_place(out.pool, BinaryOp::Div, &spread, out.out, &stats)?;
            }
        }
        Ok(())
    }

    fn kernel(&self) -> String {
        "norm f32".into()
    }

    fn gpu(&self, b: &mut GpuBuilder<'_>) -> Result<bool, OpError> {
        if !matches!(self, Norm::Batch { .. } | Norm::Instance { .. } | Norm::Group { .. }) {
            return Ok(false);
        }
        let x = b.input(0)?;
        let [n, c, rest] = channels(&x.shape);
        let dims = [u32_of(n)?, u32_of(c)?, u32_of(rest)?];
        let gpu = b.gpu();
        if let Norm::Batch { epsilon } = self {
            let [scale, bias, mean, var] = [b.input(1)?, b.input(2)?, b.input(3)?, b.input(4)?].map(|t| t.binding);
            let s = Statistics { scale: &scale, bias: &bias, mean: &mean, variance: &var };
            let y = b.output(0)?;
            b.push(batch_norm(&gpu, &x.binding, s, &y.binding, dims, *epsilon, Activation::NONE))?;
            return Ok(true);
        }
        let (groups, epsilon) = match self {
            Norm::Group { groups, epsilon, .. } => (*groups, *epsilon),
            Norm::Instance { epsilon } => (c, *epsilon),
            _ => return Ok(false),
        };
        // The shader takes a scale and a bias for each channel.
        if (1..3).any(|i| b.fact(i).and_then(Fact::numel) != Some(c)) || groups == 0 || c % groups != 0 {
            return Ok(false);
        }
        let (scale, bias, y) = (b.input(1)?, b.input(2)?, b.output(0)?);
        let (scale, bias) = (Some(&scale.binding), Some(&bias.binding));
        b.push(group_norm(&gpu, &x.binding, scale, bias, &y.binding, dims, u32_of(groups)?, epsilon))?;
        Ok(true)
    }
}
