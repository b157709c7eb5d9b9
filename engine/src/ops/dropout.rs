//! Dropout: the input under another name at inference; in training some elements are dropped and the others scaled.

use graph::DType;

use crate::attrs::Attrs;
use crate::op::{Fact, Inputs, NEWEST, OpClass, OpDef, OpError, Operator, RunCx};
use crate::ops::floats;
use crate::ops::random::Seed;

/// Dropout.
pub(crate) const OPS: &[OpDef] = &[OpDef { domain: "", name: "Dropout", opsets: (7, NEWEST), read }];

#[derive(Debug)]
struct Dropout {
    mask: bool,
    /// An input may turn training on, perhaps only at run time.
    switch: bool,
    seed: Seed,
}

fn read(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    // Before opset 12 the ratio is an attribute, and nothing is ever dropped.
    a.ignore("ratio");
    Ok(Box::new(Dropout { mask: a.has_output(1), switch: a.has_input(2), seed: Seed::read(a)? }))
}

impl Operator for Dropout {
    fn class(&self) -> OpClass {
        OpClass::DataMovement
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        let x = inputs.need(0)?;
        let shape = x.shape.clone().unwrap_or_default();
        let mut out = vec![Fact::new(x.dtype, shape.clone())];
        out.extend(self.mask.then(|| Fact::new(DType::Bool, shape)));
        Ok(out)
    }

    fn dtypes(&self, inputs: &Inputs<'_>) -> Result<Vec<DType>, OpError> {
        let mut out = vec![inputs.need(0)?.dtype];
        out.extend(self.mask.then_some(DType::Bool));
        Ok(out)
    }

    fn view_of(&self) -> Option<usize> {
        (!self.mask && !self.switch).then_some(0)
    }

    fn is_pure(&self) -> bool {
        !self.switch
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let training = cx.ints(2)?.is_some_and(|m| m.iter().any(|&v| v != 0));
        let ratio = if training { floats::scalar(cx, 1)?.unwrap_or(0.5) } else { 0.0 };
        if !(0.0..1.0).contains(&ratio) {
            return Err(OpError::invalid(format!("a ratio of {ratio}, it must be in [0, 1)")));
        }
        if ratio == 0.0 {
            let x = cx.input(0)?;
            if cx.wants(0) {
                cx.out_bytes(0)?.copy_from_slice(x.data);
            }
            if cx.wants(1) {
                cx.out_bytes(1)?.fill(1);
            }
            return Ok(());
        }
        let mut x = floats::read(cx, 0)?;
        let mut random = self.seed.start();
        let kept: Vec<u8> = x.iter().map(|_| u8::from(random.uniform() >= ratio)).collect();
        let scale = 1.0 / (1.0 - ratio);
        x.iter_mut().zip(&kept).for_each(|(x, &k)| *x *= f64::from(k) * scale);
        floats::write(cx, 0, &x)?;
        if cx.wants(1) {
            cx.out_bytes(1)?.copy_from_slice(&kept);
        }
        Ok(())
    }

    fn kernel(&self) -> String {
        "copy".into()
    }
}
