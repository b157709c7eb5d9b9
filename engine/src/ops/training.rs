//! One step of an optimizer of training: Momentum, Adagrad, Adam.

use crate::attrs::Attrs;
use crate::op::{Cost, Fact, Inputs, OpClass, OpDef, OpError, Operator, RunCx};
use crate::ops::floats;
use graph::DType;

const DOMAIN: &str = "ai.onnx.preview.training";

/// The optimizers.
pub(crate) const OPS: &[OpDef] = &[
    OpDef { domain: DOMAIN, name: "Momentum", opsets: (1, 1), read },
    OpDef { domain: DOMAIN, name: "Adagrad", opsets: (1, 1), read },
    OpDef { domain: DOMAIN, name: "Adam", opsets: (1, 1), read },
];

/// Inputs are the rate, the number of updates so far, all tensors, all gradients, and every state of all tensors.
#[derive(Debug)]
struct Optimizer {
    rule: Rule,
    /// Of the squared norm, which is added to what is made small.
    norm: f64,
}

#[derive(Debug)]
enum Rule {
    Momentum { alpha: f64, beta: f64, nesterov: bool },
    Adagrad { decay: f64, epsilon: f64 },
    Adam { alpha: f64, beta: f64, epsilon: f64, norm_after: f64 },
}

fn read(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    let float = |name: &str, default: f32| a.float_or(name, default).map(f64::from);
    let need = |name: &str| {
        a.float(name)?.map(f64::from).ok_or_else(|| OpError::invalid(format!("attribute {name} is missing")))
    };
    let rule = match a.op_type() {
        "Momentum" => {
            let nesterov = match a.string_or("mode", "")? {
                "standard" => false,
                "nesterov" => true,
                other => return Err(OpError::invalid(format!("mode = \"{other}\""))),
            };
            Rule::Momentum { alpha: need("alpha")?, beta: need("beta")?, nesterov }
        }
        "Adagrad" => Rule::Adagrad { decay: float("decay_factor", 0.0)?, epsilon: float("epsilon", 1e-6)? },
        _ => Rule::Adam {
            alpha: float("alpha", 0.9)?,
            beta: float("beta", 0.999)?,
            epsilon: float("epsilon", 1e-6)?,
            norm_after: float("norm_coefficient_post", 0.0)?,
        },
    };
    Ok(Box::new(Optimizer { rule, norm: float("norm_coefficient", 0.0)? }))
}

impl Optimizer {
    /// States of each tensor.
    fn states(&self) -> usize {
        if matches!(self.rule, Rule::Adam { .. }) { 2 } else { 1 }
    }

    /// The number of tensors.
    fn count(&self, inputs: usize) -> Result<usize, OpError> {
        let each = 2 + self.states();
        match inputs.checked_sub(2) {
            Some(n) if n > 0 && n % each == 0 => Ok(n / each),
            _ => Err(OpError::invalid(format!("{inputs} inputs, where 2 and {each} for each tensor are needed"))),
        }
    }

    /// One element with its states, updated.
    fn update(&self, rate: f64, t: f64, x: f64, gradient: f64, state: [f64; 2]) -> (f64, [f64; 2]) {
        let g = self.norm * x + gradient;
        match self.rule {
            Rule::Momentum { alpha, beta, nesterov } => {
                let v = alpha * state[0] + if t > 0.0 { beta } else { 1.0 } * g;
                (x - rate * if nesterov { g + alpha * v } else { v }, [v, 0.0])
            }
            Rule::Adagrad { decay, epsilon } => {
                let h = state[0] + g * g;
                (x - rate / (1.0 + t * decay) * g / (h.sqrt() + epsilon), [h, 0.0])
            }
            Rule::Adam { alpha, beta, epsilon, norm_after } => {
                let v = alpha * state[0] + (1.0 - alpha) * g;
                let h = beta * state[1] + (1.0 - beta) * g * g;
                let corrected = (1.0 - beta.powf(t)).sqrt() / (1.0 - alpha.powf(t));
                let rate = if t > 0.0 { rate * corrected } else { rate };
                ((1.0 - norm_after) * (x - rate * v / (h.sqrt() + epsilon)), [v, h])
            }
        }
    }
}

impl Operator for Optimizer {
    fn class(&self) -> OpClass {
        OpClass::Elementwise
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        let n = self.count(inputs.len())?;
        let mut out = Vec::with_capacity(n * (1 + self.states()));
        for i in 0..n * (2 + self.states()) {
            floats::expect_float(inputs, 2 + i)?;
            let (own, x) = (inputs.need(2 + i)?, inputs.need(2 + i % n)?);
            if own.shape != x.shape {
                return Err(OpError::invalid("a gradient or state of another shape than its tensor"));
            }
            // Gradients have no output.
            if !(n..2 * n).contains(&i) {
                out.push(Fact::new(own.dtype, own.shape.clone().unwrap_or_default()));
            }
        }
        Ok(out)
    }

    fn dtypes(&self, inputs: &Inputs<'_>) -> Result<Vec<DType>, OpError> {
        let n = self.count(inputs.len())?;
        let own = (0..n).chain(2 * n..n * (2 + self.states()));
        own.map(|i| Ok(inputs.need(2 + i)?.dtype)).collect()
    }

    fn cost(&self, _: &Inputs<'_>, outputs: &[Fact]) -> Cost {
        Cost { flops: outputs.iter().map(|f| 6 * f.numel().unwrap_or(0) as u64).sum() }
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let n = self.count(cx.input_count())?;
        let rate = floats::scalar(cx, 0)?.ok_or_else(|| OpError::invalid("input 0 is missing"))?;
        let t = floats::one(&cx.input(1)?.to_i64()?, "the update count")? as f64;
        for i in 0..n {
            let (mut x, g) = (floats::read(cx, 2 + i)?, floats::read(cx, 2 + n + i)?);
            let mut states = Vec::with_capacity(self.states());
            for k in 0..self.states() {
                states.push(floats::read(cx, 2 + (2 + k) * n + i)?);
            }
            for (j, x) in x.iter_mut().enumerate() {
                let old = [states[0][j], states.get(1).map_or(0.0, |s| s[j])];
                let (new, made) = self.update(rate, t, *x, g[j], old);
                *x = new;
                states.iter_mut().zip(made).for_each(|(s, v)| s[j] = v);
            }
            floats::write(cx, i, &x)?;
            for (k, s) in states.iter().enumerate() {
                floats::write(cx, (1 + k) * n + i, s)?;
            }
        }
        Ok(())
    }

    fn kernel(&self) -> String {
        "optimizer step".into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_element_is_updated_by_its_rule() {
        let adam = Rule::Adam { alpha: 0.5, beta: 0.75, epsilon: 0.0, norm_after: 0.0 };
        for (rule, norm, t, want) in [
            (Rule::Momentum { alpha: 0.5, beta: 0.25, nesterov: false }, 0.0, 0.0, (-2.0, [3.0, 0.0])),
            (Rule::Momentum { alpha: 0.5, beta: 0.25, nesterov: false }, 0.0, 1.0, (-0.5, [1.5, 0.0])),
            (Rule::Momentum { alpha: 0.5, beta: 0.25, nesterov: true }, 1.0, 1.0, (-2.875, [1.75, 0.0])),
            (Rule::Adagrad { decay: 1.0, epsilon: 1.0 }, 0.0, 1.0, (1.0 - 1.0 / (6f64.sqrt() + 1.0), [6.0, 0.0])),
            (adam, 0.0, 1.0, (1.0 - 2.0 / 2.5f64.sqrt(), [2.0, 2.5])),
        ] {
            let what = format!("{rule:?}, {t} updates");
            let (x, state) = Optimizer { rule, norm }.update(1.0, t, 1.0, 2.0, [2.0, 2.0]);
            let near = |a: f64, b: f64| (a - b).abs() < 1e-12;
            assert!(
                near(x, want.0) && near(state[0], want.1[0]) && near(state[1], want.1[1]),
                "{what}: {x}, {state:?}"
            );
        }
    }

    #[test]
    fn inputs_come_in_whole_sets() {
        let o = Optimizer { rule: Rule::Adagrad { decay: 0.0, epsilon: 0.0 }, norm: 0.0 };
        assert_eq!(o.count(8).ok(), Some(2));
        for bad in [0, 1, 2, 3, 6] {
            assert!(o.count(bad).is_err(), "{bad}");
        }
    }
}
