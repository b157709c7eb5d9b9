//! Identity, and Dropout at inference: the input under another name.

use graph::DType;

use crate::attrs::Attrs;
use crate::op::{Fact, Inputs, NEWEST, OpClass, OpDef, OpError, Operator, RunCx};

/// Identity and Dropout.
pub(crate) const OPS: &[OpDef] = &[
    OpDef { domain: "", name: "Identity", opsets: (1, NEWEST), read: |_| Ok(Box::new(Identity { mask: false })) },
    OpDef { domain: "", name: "Dropout", opsets: (7, NEWEST), read: dropout },
];

#[derive(Debug)]
struct Identity {
    mask: bool,
}

fn dropout(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    a.ignore("ratio");
    a.ignore("seed");
    Ok(Box::new(Identity { mask: a.has_output(1) }))
}

impl Operator for Identity {
    fn class(&self) -> OpClass {
        OpClass::DataMovement
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        // Dropout-12's training_mode must be false or left out.
        if inputs.ints(2)?.is_some_and(|t| t.iter().any(|&v| v != 0)) {
            return Err(OpError::unsupported("Dropout in training mode"));
        }
        let x = inputs.need(0)?;
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

    fn view_of(&self) -> Option<usize> {
        (!self.mask).then_some(0)
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
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
