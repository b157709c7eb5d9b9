//! Optional values: one that holds something is that value itself.

use graph::{Attr, DType, Tensor};

use crate::attrs::Attrs;
use crate::op::{Fact, Inputs, NEWEST, OpClass, OpDef, OpError, Operator, RunCx};

/// Optional, OptionalHasElement, OptionalGetElement.
pub(crate) const OPS: &[OpDef] = &[
    OpDef { domain: "", name: "Optional", opsets: (15, NEWEST), read: read_optional },
    OpDef {
        domain: "",
        name: "OptionalHasElement",
        opsets: (15, NEWEST),
        read: |_| Ok(Box::new(Optional::HasElement)),
    },
    OpDef {
        domain: "",
        name: "OptionalGetElement",
        opsets: (15, NEWEST),
        read: |_| Ok(Box::new(Optional::GetElement)),
    },
];

#[derive(Debug)]
enum Optional {
    /// The type of what is absent, if there is no input.
    Make(Option<DType>),
    HasElement,
    GetElement,
}

fn read_optional(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    let dtype = match a.get("type") {
        Some(Attr::Type(_, ty)) => Some(ty.dtype),
        Some(other) => return Err(OpError::unsupported(format!("an optional of {other}"))),
        None => None,
    };
    if dtype.is_none() && !a.has_input(0) {
        return Err(OpError::invalid("neither an input nor a type"));
    }
    Ok(Box::new(Optional::Make(dtype)))
}

impl Operator for Optional {
    fn class(&self) -> OpClass {
        OpClass::DataMovement
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        let dtype = self.dtypes(inputs)?[0];
        Ok(vec![match self {
            Optional::HasElement => Fact::new(dtype, vec![]),
            _ => Fact::dynamic(dtype),
        }])
    }

    fn dtypes(&self, inputs: &Inputs<'_>) -> Result<Vec<DType>, OpError> {
        Ok(vec![match (self, inputs.get(0)) {
            (Optional::HasElement, _) => DType::Bool,
            (Optional::Make(Some(dtype)), None) => *dtype,
            _ => inputs.need(0)?.dtype,
        }])
    }

    fn takes_any(&self) -> bool {
        true
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        match self {
            Optional::HasElement => {
                // With a tensor of known shape there is no need to look: `get` tells that it is there.
                let has = cx.get_tensor(0).map_or(cx.get(0).is_some(), |t| !t.is_absent());
                cx.out_bytes(0)?.fill(u8::from(has));
                Ok(())
            }
            Optional::GetElement if cx.tensor(0)?.is_absent() => Err(OpError::invalid("the optional is empty")),
            Optional::Make(Some(dtype)) if cx.get(0).is_none() => cx.set(0, Tensor::absent(*dtype)),
            _ => {
                let held = cx.tensor(0)?.clone();
                cx.set(0, held)
            }
        }
    }
}
