//! BatchNormalization in training mode: by the batch's own statistics, which move the running ones.

use crate::attrs::Attrs;
use crate::op::{Cost, Fact, Inputs, OpClass, OpError, Operator, RunCx};
use crate::ops::floats;

#[derive(Debug)]
pub(super) struct TrainingBatchNorm {
    epsilon: f64,
    momentum: f64,
}

/// Reads the training form, whose node has training_mode = 1.
pub(super) fn read(a: &Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    let (epsilon, momentum) = (a.float_or("epsilon", 1e-5)?, a.float_or("momentum", 0.9)?);
    Ok(Box::new(TrainingBatchNorm { epsilon: f64::from(epsilon), momentum: f64::from(momentum) }))
}

impl Operator for TrainingBatchNorm {
    fn class(&self) -> OpClass {
        OpClass::Normalisation
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        let x = inputs.need(0)?;
        floats::expect_float(inputs, 0)?;
        let shape = x.shape.clone().unwrap_or_default();
        let c = shape.get(1).copied().unwrap_or(1);
        for i in 1..5 {
            if inputs.shape(i)? != Some(&[c]) {
                return Err(OpError::invalid(format!("input {i} must have {c} elements, one for each channel")));
            }
        }
        let (mean, var) = (inputs.need(3)?.dtype, inputs.need(4)?.dtype);
        Ok(vec![Fact::new(x.dtype, shape), Fact::new(mean, vec![c]), Fact::new(var, vec![c])])
    }

    fn dtypes(&self, inputs: &Inputs<'_>) -> Result<Vec<graph::DType>, OpError> {
        [0, 3, 4].into_iter().map(|i| inputs.need(i).map(|f| f.dtype)).collect()
    }

    fn cost(&self, _: &Inputs<'_>, outputs: &[Fact]) -> Cost {
        Cost { flops: 8 * outputs[0].numel().unwrap_or(0) as u64 }
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let shape = cx.input(0)?.shape;
        let (n, c) = (shape.first().copied().unwrap_or(1), shape.get(1).copied().unwrap_or(1));
        let rest: usize = shape.iter().skip(2).product();
        let mut x = floats::read(cx, 0)?;
        let [scale, bias, mut mean, mut var] = [1, 2, 3, 4].map(|i| floats::read(cx, i));
        let (scale, bias) = (scale?, bias?);
        let (mean, var) = (mean.as_mut().map_err(|e| e.clone())?, var.as_mut().map_err(|e| e.clone())?);
        let count = (n * rest) as f64;
        if count == 0.0 {
            return Err(OpError::invalid("an empty batch has no statistics"));
        }
        for channel in 0..c {
            let planes = || (0..n).map(|b| (b * c + channel) * rest).map(|at| at..at + rest);
            let m = planes().flat_map(|p| &x[p]).sum::<f64>() / count;
            let v = planes().flat_map(|p| &x[p]).map(|v| (v - m) * (v - m)).sum::<f64>() / count;
            let factor = scale[channel] / (v + self.epsilon).sqrt();
            planes().for_each(|p| x[p].iter_mut().for_each(|x| *x = (*x - m) * factor + bias[channel]));
            mean[channel] = mean[channel] * self.momentum + m * (1.0 - self.momentum);
            var[channel] = var[channel] * self.momentum + v * (1.0 - self.momentum);
        }
        floats::write(cx, 0, &x)?;
        floats::write(cx, 1, mean)?;
        floats::write(cx, 2, var)
    }

    fn kernel(&self) -> String {
        "batch norm, training".into()
    }
}
