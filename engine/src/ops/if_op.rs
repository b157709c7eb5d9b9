//! If: one of two bodies. (With a constant condition the plan has the nodes of that body instead.)

use graph::{DType, Tensor};

use crate::attrs::Attrs;
use crate::body::{Body, own_inputs};
use crate::op::{Fact, Inputs, NEWEST, OpClass, OpDef, OpError, Operator, RunCx};

/// If.
pub(crate) const OPS: &[OpDef] = &[OpDef { domain: "", name: "If", opsets: (1, NEWEST), read }];

#[derive(Debug)]
struct If {
    then: Body,
    otherwise: Body,
}

fn read(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    if own_inputs(a) != 1 {
        return Err(OpError::invalid(format!("{} inputs where one is needed, the condition", own_inputs(a))));
    }
    let body = |name| Body::read(a, name, 0, a.output_count());
    Ok(Box::new(If { then: body("then_branch")?, otherwise: body("else_branch")? }))
}

/// The one bool that a condition holds.
pub(crate) fn condition(t: &Tensor) -> Result<bool, OpError> {
    match (t.dtype(), &t.bytes()[..]) {
        (DType::Bool, [c]) => Ok(*c != 0),
        (dtype, _) => Err(OpError::invalid(format!("the condition must be one bool, it is {dtype}{:?}", t.shape()))),
    }
}

impl Operator for If {
    fn class(&self) -> OpClass {
        OpClass::Other
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(self.dtypes(inputs)?.into_iter().map(Fact::dynamic).collect())
    }

    fn dtypes(&self, inputs: &Inputs<'_>) -> Result<Vec<DType>, OpError> {
        let (then, otherwise) = (self.then.output_dtypes(&[], inputs)?, self.otherwise.output_dtypes(&[], inputs)?);
        if then != otherwise {
            return Err(OpError::invalid(format!("its bodies disagree on their outputs: {then:?} and {otherwise:?}")));
        }
        Ok(then)
    }

    fn takes_any(&self) -> bool {
        true
    }

    fn is_pure(&self) -> bool {
        self.then.is_pure() && self.otherwise.is_pure()
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let body = if condition(cx.tensor(0)?)? { &self.then } else { &self.otherwise };
        let made = body.start(cx.env)?.run(Vec::new(), cx.tensors)?;
        made.into_iter().enumerate().try_for_each(|(i, t)| cx.set_wanted(i, t))
    }
}
