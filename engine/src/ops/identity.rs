//! Identity, and Dropout at inference: the input under another name.

use graph::DType;

use crate::attrs::Attrs;
use crate::op::{Fact, Inputs, NEWEST, OpClass, OpDef, OpError, Operator, RunCx};
use crate::ops::quantize::floats;
use crate::tensor::constant_f32;

/// Identity and Dropout.
pub(crate) const OPS: &[OpDef] = &[
    OpDef {
        domain: "",
        name: "Identity",
        opsets: (1, NEWEST),
        read: |_| Ok(Box::new(Identity { mask: false, switch: false })),
    },
    OpDef { domain: "", name: "Dropout", opsets: (7, NEWEST), read: dropout },
];

#[derive(Debug)]
struct Identity {
    mask: bool,
    /// Dropout has an input that may turn training on, perhaps only at run time.
    switch: bool,
}

/// Dropout-12 drops nothing unless its training_mode is on and its ratio (0.5 if left out) is not 0.
fn refuse_training(mode: Option<Vec<i64>>, ratio: Option<f32>) -> Result<(), OpError> {
    match mode {
        Some(m) if m.iter().any(|&v| v != 0) && ratio.unwrap_or(0.5) != 0.0 => {
            Err(OpError::unsupported("Dropout in training mode"))
        }
        _ => Ok(()),
    }
}

fn dropout(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    a.ignore("ratio");
    a.ignore("seed");
    Ok(Box::new(Identity { mask: a.has_output(1), switch: a.has_input(2) }))
}

impl Operator for Identity {
    fn class(&self) -> OpClass {
        OpClass::DataMovement
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        if !inputs.is_dynamic(1) {
            let ratio = inputs.get(1).and_then(|f| f.value.as_ref()).and_then(constant_f32);
            refuse_training(inputs.ints(2)?, ratio.and_then(|r| r.first().copied()))?;
        }
        let x = inputs.need(0)?;
        if !x.is_tensor() {
            return Ok(vec![Fact::dynamic(x.dtype)]);
        }
        let mut out = vec![Fact::new(x.dtype, x.shape.clone().unwrap_or_default())];
        if self.mask {
            out.push(Fact::new(DType::Bool, x.shape.clone().unwrap_or_default()));
        }
        Ok(out)
    }

    fn dtypes(&self, inputs: &Inputs<'_>) -> Result<Vec<DType>, OpError> {
        let mut out = vec![inputs.need(0)?.dtype];
        out.extend(self.mask.then_some(DType::Bool));
        Ok(out)
    }

    fn takes_any(&self) -> bool {
        self.view_of().is_some()
    }

    fn view_of(&self) -> Option<usize> {
        (!self.mask && !self.switch).then_some(0)
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let ratio = cx.get(1).map(|r| floats(&r)).transpose()?;
        refuse_training(cx.ints(2)?, ratio.and_then(|r| r.first().copied()))?;
        let x = cx.input(0)?;
        if cx.wants(0) {
            cx.out_bytes(0)?.copy_from_slice(x.data);
        }
        if cx.wants(1) {
            cx.out_bytes(1)?.fill(1);
        }
        Ok(())
    }
}
