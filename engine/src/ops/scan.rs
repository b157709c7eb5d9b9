//! Scan: a body that runs over slices of its inputs along an axis. Opset 8 has a batch axis before it, and lengths of its own
//! for each batch entry.

use graph::{DType, Tensor};

use crate::attrs::Attrs;
use crate::body::{Body, BodyRun, own_inputs};
use crate::op::{Fact, Inputs, NEWEST, OpClass, OpDef, OpError, Operator, RunCx, checked_numel};
use crate::ops::join::{join, join_nothing, part};
use crate::ops::util;

/// Scan.
pub(crate) const OPS: &[OpDef] = &[
    OpDef { domain: "", name: "Scan", opsets: (8, 8), read: |a| read(a, true) },
    OpDef { domain: "", name: "Scan", opsets: (9, NEWEST), read: |a| read(a, false) },
];

#[derive(Debug)]
struct Scan {
    body: Body,
    /// Opset 8: input 0 are the lengths, and every other input and output has a batch axis in front.
    batched: bool,
    states: usize,
    inputs: Vec<Walk>,
    outputs: Vec<Walk>,
}

/// How one scanned input or output is walked.
#[derive(Clone, Copy, Debug)]
struct Walk {
    axis: i64,
    backward: bool,
}

fn walks(axes: Option<&[i64]>, directions: Option<&[i64]>, n: usize) -> Result<Vec<Walk>, OpError> {
    if let Some(list) = [axes, directions].into_iter().flatten().find(|l| l.len() != n) {
        return Err(OpError::invalid(format!("{} axes or directions for {n} scanned values", list.len())));
    }
    let walk = |i: usize| Walk { axis: axes.map_or(0, |a| a[i]), backward: directions.is_some_and(|d| d[i] != 0) };
    Ok((0..n).map(walk).collect())
}

fn read(a: &mut Attrs<'_>, batched: bool) -> Result<Box<dyn Operator>, OpError> {
    let own = own_inputs(a).saturating_sub(usize::from(batched));
    let scanned = usize::try_from(a.need_int("num_scan_inputs")?).ok().filter(|&n| n <= own && n > 0);
    let scanned = scanned.ok_or_else(|| OpError::invalid("num_scan_inputs must be from 1 to the number of inputs"))?;
    let states = own - scanned;
    let made = a.output_count().checked_sub(states);
    let made = made.ok_or_else(|| OpError::invalid(format!("{} outputs for {states} states", a.output_count())))?;
    let (inputs, outputs) = if batched {
        (walks(None, a.ints("directions")?, scanned)?, walks(None, None, made)?)
    } else {
        (
            walks(a.ints("scan_input_axes")?, a.ints("scan_input_directions")?, scanned)?,
            walks(a.ints("scan_output_axes")?, a.ints("scan_output_directions")?, made)?,
        )
    };
    let body = Body::read(a, "body", own, a.output_count())?;
    Ok(Box::new(Scan { body, batched, states, inputs, outputs }))
}

impl Scan {
    /// Runs over one batch entry: `length` slices, or all. Gives back the final states and the scanned outputs.
    fn walk(
        &self,
        cx: &RunCx<'_>,
        body: &mut BodyRun<'_>,
        mut state: Vec<Tensor>,
        scanned: &[Tensor],
        length: Option<usize>,
    ) -> Result<Vec<Tensor>, OpError> {
        let mut axes = Vec::with_capacity(scanned.len());
        for (t, w) in scanned.iter().zip(&self.inputs) {
            if !t.is_tensor() {
                return Err(OpError::invalid("only tensors can be scanned"));
            }
            axes.push(util::axis(w.axis, t.shape().len())?);
        }
        let sizes: Vec<usize> = scanned.iter().zip(&axes).map(|(t, &axis)| t.shape()[axis]).collect();
        let full = sizes[0];
        if sizes.iter().any(|&s| s != full) || length.is_some_and(|l| l > full) {
            return Err(OpError::invalid(format!("scanned inputs of {sizes:?} slices, {:?} to run", length)));
        }
        let length = length.unwrap_or(full);
        let mut gathered: Vec<Vec<Tensor>> = vec![Vec::new(); self.outputs.len()];
        let mut bytes = 0usize;
        for trip in 0..length {
            cx.check_cancel()?;
            let mut own = std::mem::take(&mut state);
            for ((t, w), &axis) in scanned.iter().zip(&self.inputs).zip(&axes) {
                own.push(part(t, axis, if w.backward { length - 1 - trip } else { trip }, 1, true)?);
            }
            let mut made = body.run(own, cx.tensors)?;
            let outs = made.split_off(self.states);
            state = made;
            for (list, t) in gathered.iter_mut().zip(outs) {
                bytes = bytes.saturating_add(t.held_bytes() + size_of::<Tensor>());
                list.push(t);
            }
            cx.check_bytes(Some(bytes))?;
        }
        for (k, (mut list, w)) in gathered.into_iter().zip(&self.outputs).enumerate() {
            let i = self.states + k;
            if list.is_empty() {
                state.push(join_nothing(cx.out_dtype(i), self.body.output_shape(i))?);
                continue;
            }
            if w.backward {
                list.reverse();
            }
            state.push(join(&list, util::axis(w.axis, list[0].shape().len() + 1)?, true)?);
        }
        Ok(state)
    }

    fn run_batched(&self, cx: &RunCx<'_>, body: &mut BodyRun<'_>, inputs: &[Tensor]) -> Result<Vec<Tensor>, OpError> {
        let size = |t: &Tensor, d: usize| t.shape().get(d).copied().filter(|_| t.is_tensor());
        let batch = size(&inputs[0], 0).filter(|b| inputs.iter().all(|t| size(t, 0) == Some(*b)));
        let batch =
            batch.filter(|&b| b > 0).ok_or_else(|| OpError::invalid("its inputs disagree on the batch size"))?;
        let full = size(&inputs[self.states], 1).ok_or_else(|| OpError::invalid("a scanned input without slices"))?;
        let lengths = match cx.get_tensor(0) {
            None => vec![full; batch],
            Some(t) => {
                let wanted = t.to_i64().unwrap_or_default();
                let lengths = wanted.iter().filter_map(|&l| usize::try_from(l).ok().filter(|&l| l <= full));
                let lengths: Vec<usize> = lengths.collect();
                if lengths.len() != batch || wanted.len() != batch {
                    return Err(OpError::invalid(format!("sequence lengths {wanted:?} for a batch of {batch}")));
                }
                lengths
            }
        };
        let mut made: Vec<Vec<Tensor>> = vec![Vec::new(); self.states + self.outputs.len()];
        for (b, &length) in lengths.iter().enumerate() {
            let mut state = inputs.iter().map(|t| part(t, 0, b, 1, true)).collect::<Result<Vec<_>, _>>()?;
            let scanned = state.split_off(self.states);
            let out = self.walk(cx, body, state, &scanned, Some(length))?;
            for (i, (list, t)) in made.iter_mut().zip(out).enumerate() {
                list.push(if i < self.states { t } else { padded(cx, t, full)? });
            }
        }
        made.iter().map(|list| join(list, 0, true)).collect()
    }
}

/// Zeros behind the slices of a shorter batch entry.
fn padded(cx: &RunCx<'_>, t: Tensor, full: usize) -> Result<Tensor, OpError> {
    let mut rest = t.shape().to_vec();
    rest[0] = full - rest[0];
    if rest[0] == 0 {
        return Ok(t);
    }
    let bytes = cx.check_bytes(checked_numel(&rest).and_then(|n| t.dtype().bytes_for(n)))?;
    let zeros = Tensor::new(t.dtype(), rest, vec![0u8; bytes].into()).map_err(|e| OpError::invalid(e.to_string()))?;
    join(&[t, zeros], 0, false)
}

impl Operator for Scan {
    fn class(&self) -> OpClass {
        OpClass::Other
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(self.dtypes(inputs)?.into_iter().map(Fact::dynamic).collect())
    }

    fn dtypes(&self, inputs: &Inputs<'_>) -> Result<Vec<DType>, OpError> {
        let from = usize::from(self.batched);
        let own = (from..from + self.states + self.inputs.len()).map(|i| Ok(inputs.need(i)?.dtype));
        self.body.output_dtypes(&own.collect::<Result<Vec<_>, OpError>>()?, inputs)
    }

    fn takes_any(&self) -> bool {
        true
    }

    /// As a loop it is never folded.
    fn is_pure(&self) -> bool {
        false
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let from = usize::from(self.batched);
        let own = (from..from + self.states + self.inputs.len()).map(|i| cx.tensor(i).cloned());
        let mut own = own.collect::<Result<Vec<_>, _>>()?;
        let mut body = self.body.start(cx.env)?;
        let made = if self.batched {
            self.run_batched(cx, &mut body, &own)?
        } else {
            let scanned = own.split_off(self.states);
            self.walk(cx, &mut body, own, &scanned, None)?
        };
        made.into_iter().enumerate().try_for_each(|(i, t)| cx.set_wanted(i, t))
    }
}
