//! CausalConvWithState: a depthwise convolution over the past, whose last positions go on to the next call.

use cpu_kernels::linear_attention::causal_conv;
use graph::DType;

use crate::attrs::Attrs;
use crate::op::{Cost, Fact, Inputs, NEWEST, OpClass, OpDef, OpError, Operator, RunCx};

/// A causal convolution with its state.
pub(crate) const OPS: &[OpDef] = &[OpDef { domain: "", name: "CausalConvWithState", opsets: (27, NEWEST), read }];

#[derive(Debug)]
struct CausalConv {
    silu: bool,
}

fn read(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    let silu = match a.string_or("activation", "none")? {
        "none" => false,
        "silu" | "swish" => true,
        other => return Err(OpError::unsupported(format!("activation = \"{other}\""))),
    };
    Ok(Box::new(CausalConv { silu }))
}

/// Batch, channels, length and width.
fn sizes(x: &[usize], weights: &[usize]) -> Result<[usize; 4], OpError> {
    match (x, weights) {
        (&[batch, channels, length], &[c, 1, width]) if c == channels && width > 0 => {
            Ok([batch, channels, length, width])
        }
        _ => Err(OpError::invalid(format!(
            "an input of {x:?} and weights of {weights:?}: they must be [batch, channels, length] and [channels, 1, width]"
        ))),
    }
}

impl Operator for CausalConv {
    fn class(&self) -> OpClass {
        OpClass::Convolution
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        let shape = |i| inputs.shape(i).map(|s| s.unwrap_or(&[]));
        let [batch, channels, length, width] = sizes(shape(0)?, shape(1)?)?;
        let state = vec![batch, channels, width - 1];
        for (i, want) in [(2, vec![channels]), (3, state.clone())] {
            if let Some(s) = inputs.get(i).and_then(|f| f.shape.as_ref())
                && *s != want
            {
                return Err(OpError::invalid(format!("input {i} is {s:?}, it must be {want:?}")));
            }
        }
        let dtype = inputs.need(0)?.dtype;
        Ok(vec![Fact::new(dtype, vec![batch, channels, length]), Fact::new(dtype, state)])
    }

    fn dtypes(&self, inputs: &Inputs<'_>) -> Result<Vec<DType>, OpError> {
        Ok(vec![inputs.need(0)?.dtype; 2])
    }

    fn cost(&self, inputs: &Inputs<'_>, outputs: &[Fact]) -> Cost {
        let width = inputs.shape(1).ok().flatten().and_then(|s| s.last().copied()).unwrap_or(0);
        Cost { flops: 2 * outputs[0].numel().unwrap_or(0) as u64 * width as u64 }
    }

    fn widens(&self) -> bool {
        true
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let (x, weights) = (cx.input(0)?, cx.input(1)?);
        let [batch, channels, length, width] = sizes(x.shape, weights.shape)?;
        let optional = |i| cx.get(i).map(|t| t.f32()).transpose();
        let (bias, past, pool) = (optional(2)?, optional(3)?, cx.pool());
        let mut out = vec![0f32; batch * channels * length];
        let mut present = vec![0f32; batch * channels * (width - 1)];
        causal_conv(
            pool,
            (channels, length, width),
            x.f32()?,
            weights.f32()?,
            bias,
            past,
            self.silu,
            &mut out,
            &mut present,
        )?;
        for (i, made) in [out, present].iter().enumerate() {
            if cx.wants(i) {
                cx.out::<f32>(i)?.copy_from_slice(made);
            }
        }
        Ok(())
    }

    fn kernel(&self) -> String {
        "causal convolution f32".into()
    }
}
