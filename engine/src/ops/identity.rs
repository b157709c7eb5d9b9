//! Identity: the input under another name.

use crate::op::{Fact, Inputs, NEWEST, OpClass, OpDef, OpError, Operator, RunCx};

/// Identity.
pub(crate) const OPS: &[OpDef] =
    &[OpDef { domain: "", name: "Identity", opsets: (1, NEWEST), read: |_| Ok(Box::new(Identity)) }];

#[derive(Debug)]
struct Identity;

impl Operator for Identity {
    fn class(&self) -> OpClass {
        OpClass::DataMovement
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        let x = inputs.need(0)?;
        if !x.is_tensor() {
            return Ok(vec![Fact::dynamic(x.dtype)]);
        }
        Ok(vec![Fact::new(x.dtype, x.shape.clone().unwrap_or_default())])
    }

    fn takes_any(&self) -> bool {
        true
    }

    fn view_of(&self) -> Option<usize> {
        Some(0)
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let x = cx.input(0)?;
        cx.out_bytes(0)?.copy_from_slice(x.data);
        Ok(())
    }
}
