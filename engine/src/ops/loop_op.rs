//! Loop: a body that runs until its condition or the count of trips says so.

use graph::{DType, Tensor};

use crate::attrs::Attrs;
use crate::body::{Body, own_inputs};
use crate::op::{Fact, Inputs, NEWEST, OpClass, OpDef, OpError, Operator, RunCx};
use crate::ops::if_op::condition;
use crate::ops::join::{join, join_nothing};

/// Loop.
pub(crate) const OPS: &[OpDef] = &[OpDef { domain: "", name: "Loop", opsets: (1, NEWEST), read }];

#[derive(Debug)]
struct Loop {
    body: Body,
    /// How many values go from trip to trip.
    carried: usize,
}

fn read(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    let carried = own_inputs(a).saturating_sub(2);
    if a.output_count() < carried {
        let why = format!("{} outputs where {carried} values are carried", a.output_count());
        return Err(OpError::invalid(why));
    }
    Ok(Box::new(Loop { body: Body::read(a, "body", 2 + carried, 1 + a.output_count())?, carried }))
}

impl Operator for Loop {
    fn class(&self) -> OpClass {
        OpClass::Other
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(self.dtypes(inputs)?.into_iter().map(Fact::dynamic).collect())
    }

    fn dtypes(&self, inputs: &Inputs<'_>) -> Result<Vec<DType>, OpError> {
        let mut own = vec![DType::I64, DType::Bool];
        for i in 0..self.carried {
            own.push(inputs.need(2 + i)?.dtype);
        }
        Ok(self.body.output_dtypes(&own, inputs)?.split_off(1))
    }

    fn takes_any(&self) -> bool {
        true
    }

    /// A loop is never folded: it may take long, and is a layer that people want to see.
    fn is_pure(&self) -> bool {
        false
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let trips = match cx.get_tensor(0) {
            None => i64::MAX,
            Some(t) => match t.to_i64().as_deref() {
                Some([n]) => *n,
                _ => return Err(OpError::invalid("the trip count must be one integer")),
            },
        };
        let mut go_on = cx.get_tensor(1).map_or(Ok(true), condition)?;
        let mut state = (0..self.carried).map(|i| cx.tensor(2 + i).cloned()).collect::<Result<Vec<_>, _>>()?;
        let scans = cx.outputs.len().saturating_sub(self.carried);
        let mut gathered: Vec<Vec<Tensor>> = vec![Vec::new(); scans];
        let mut gathered_bytes = 0usize;
        // Some exporters declare the counter and the condition as vectors of one element.
        let vector = |i| self.body.input_rank(i) == Some(1);
        let (counter_shape, condition_shape) =
            (if vector(0) { &[1][..] } else { &[] }, if vector(1) { vec![1] } else { vec![] });
        let mut body = self.body.start(cx.env)?;
        let mut trip = 0;
        while go_on && trip < trips {
            cx.check_cancel()?;
            let mut own = vec![
                Tensor::from_vec(counter_shape, vec![trip]),
                Tensor::new(DType::Bool, condition_shape.clone(), bytes::Bytes::from_static(&[1]))
                    .map_err(|e| OpError::invalid(e.to_string()))?,
            ];
            own.append(&mut state);
            let mut made = body.run(own, cx.tensors)?;
            let scanned = made.split_off(1 + self.carried);
            state = made.split_off(1);
            go_on = condition(&made[0])?;
            for (list, t) in gathered.iter_mut().zip(scanned) {
                gathered_bytes = gathered_bytes.saturating_add(t.held_bytes() + size_of::<Tensor>());
                list.push(t);
            }
            let carried: usize = state.iter().map(Tensor::held_bytes).sum();
            cx.check_bytes(gathered_bytes.checked_add(carried))?;
            trip += 1;
        }
        for (i, t) in state.into_iter().enumerate() {
            cx.set_wanted(i, t)?;
        }
        for (i, list) in (self.carried..).zip(&gathered) {
            if !cx.wants(i) {
                continue;
            }
            let all = match list.is_empty() {
                true => join_nothing(cx.out_dtype(i), self.body.output_shape(1 + i))?,
                false => join(list, 0, true)?,
            };
            cx.set(i, all)?;
        }
        Ok(())
    }
}
