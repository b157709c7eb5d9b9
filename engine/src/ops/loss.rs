//! NegativeLogLikelihoodLoss, SoftmaxCrossEntropyLoss.

use cpu_kernels::softmax::{SoftmaxKind, softmax_axis};
use graph::DType;

use crate::attrs::Attrs;
use crate::op::{Cost, Fact, Inputs, NEWEST, OpClass, OpDef, OpError, Operator, RunCx};
use crate::ops::typed::placed;

/// Losses over classes: inputs [batch, classes, ...], targets [batch, ...], weights of the classes (optional).
pub(crate) const OPS: &[OpDef] = &[
    OpDef { domain: "", name: "NegativeLogLikelihoodLoss", opsets: (12, NEWEST), read },
    OpDef { domain: "", name: "SoftmaxCrossEntropyLoss", opsets: (12, NEWEST), read },
];

#[derive(Debug)]
struct Loss {
    /// The inputs are scores, not logarithms of probabilities.
    scores: bool,
    reduction: Reduction,
    ignored: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Reduction {
    None,
    Sum,
    Mean,
}

fn read(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    let reduction = match a.string_or("reduction", "mean")? {
        "none" => Reduction::None,
        "sum" => Reduction::Sum,
        "mean" => Reduction::Mean,
        other => return Err(OpError::invalid(format!("reduction = \"{other}\""))),
    };
    Ok(Box::new(Loss { scores: a.op_type() == "SoftmaxCrossEntropyLoss", reduction, ignored: a.int("ignore_index")? }))
}

impl Operator for Loss {
    fn class(&self) -> OpClass {
        OpClass::Elementwise
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        let x = inputs.need(0)?;
        let (xs, ts) = (inputs.shape(0)?.unwrap_or(&[]), inputs.shape(1)?.unwrap_or(&[]));
        if xs.len() < 2 || ts.len() + 1 != xs.len() || ts[0] != xs[0] || ts[1..] != xs[2..] {
            return Err(OpError::invalid(format!("targets of {ts:?} for {xs:?}")));
        }
        if inputs.get(2).and_then(|w| w.shape.as_deref()).is_some_and(|w| w != [xs[1]]) {
            return Err(OpError::invalid(format!("the weights must be {} numbers", xs[1])));
        }
        let loss = if self.reduction == Reduction::None { ts.to_vec() } else { vec![] };
        let mut out = vec![Fact::new(x.dtype, loss)];
        if self.scores {
            out.push(Fact::new(x.dtype, xs.to_vec()));
        }
        Ok(out)
    }

    fn dtypes(&self, inputs: &Inputs<'_>) -> Result<Vec<DType>, OpError> {
        Ok(vec![inputs.need(0)?.dtype; 1 + usize::from(self.scores)])
    }

    fn cost(&self, inputs: &Inputs<'_>, _: &[Fact]) -> Cost {
        let n = inputs.get(0).and_then(Fact::numel).unwrap_or(0) as u64;
        Cost { flops: if self.scores { 5 * n } else { n } }
    }

    fn widens(&self) -> bool {
        true
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let (x, targets, pool) = (cx.input(0)?, cx.input(1)?.to_i64()?, cx.pool());
        let weights = cx.get(2).map(|w| w.f32()).transpose()?;
        let classes = x.shape[1];
        let inner: usize = x.shape[2..].iter().product();
        let mut logs = x.f32()?.to_vec();
        if self.scores && !logs.is_empty() {
            softmax_axis(pool, SoftmaxKind::LogSoftmax, &[x.shape[0], classes, inner], 1, x.f32()?, &mut logs)?;
        }
        let mut losses = vec![0f32; targets.len()];
        let (mut sum, mut total) = (0f64, 0f64);
        for (i, &target) in targets.iter().enumerate() {
            if Some(target) == self.ignored {
                continue;
            }
            let class = usize::try_from(target).ok().filter(|&c| c < classes);
            let class = class.ok_or_else(|| OpError::invalid(format!("target {target} of {classes} classes")))?;
            let weight = weights.map_or(1.0, |w| w[class]);
            losses[i] = -logs[(i / inner * classes + class) * inner + i % inner] * weight;
            sum += f64::from(losses[i]);
            total += f64::from(weight);
        }
        let mut outs = cx.outputs.iter_mut();
        if let Some(y) = placed::<f32>(outs.next())? {
            match self.reduction {
                Reduction::None => y.copy_from_slice(&losses),
                Reduction::Sum => y.fill(sum as f32),
                Reduction::Mean => y.fill((sum / total) as f32),
            }
        }
        if let Some(y) = placed::<f32>(outs.next())? {
            y.copy_from_slice(&logs);
        }
        Ok(())
    }

    fn kernel(&self) -> String {
        "loss f32".into()
    }
}
