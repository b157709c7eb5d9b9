//! Sequences of tensors: made, changed, taken apart and joined; and SequenceMap, a body that runs on each tensor of one.

use graph::{DType, Tensor};

use crate::attrs::Attrs;
use crate::body::{Body, own_inputs};
use crate::op::{Fact, Inputs, NEWEST, OpClass, OpDef, OpError, Operator, RunCx};
use crate::ops::join::{join, part};
use crate::ops::util;

const fn def(name: &'static str, read: fn(&mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError>) -> OpDef {
    OpDef { domain: "", name, opsets: (11, NEWEST), read }
}

/// Operators on sequences.
pub(crate) const OPS: &[OpDef] = &[
    def("SequenceEmpty", |a| {
        let code = a.int_or("dtype", 1)?;
        let dtype = i32::try_from(code).ok().and_then(DType::from_onnx);
        Ok(Box::new(Sequence::Empty(dtype.ok_or_else(|| OpError::invalid(format!("unknown element type {code}")))?)))
    }),
    def("SequenceConstruct", |_| Ok(Box::new(Sequence::Construct))),
    def("SequenceInsert", |_| Ok(Box::new(Sequence::Insert))),
    def("SequenceErase", |_| Ok(Box::new(Sequence::Erase))),
    def("SequenceAt", |_| Ok(Box::new(Sequence::At))),
    def("SequenceLength", |_| Ok(Box::new(Sequence::Length))),
    def("SplitToSequence", |a| {
        Ok(Box::new(Sequence::Split { axis: a.int_or("axis", 0)?, keep: a.flag("keepdims", true)? || a.has_input(1) }))
    }),
    def("ConcatFromSequence", |a| {
        Ok(Box::new(Sequence::Concat { axis: a.need_int("axis")?, stack: a.flag("new_axis", false)? }))
    }),
    def("SequenceMap", |a| {
        let inputs = own_inputs(a);
        Ok(Box::new(SequenceMap { body: Body::read(a, "body", inputs, a.output_count())?, inputs }))
    }),
];

#[derive(Debug)]
enum Sequence {
    Empty(DType),
    Construct,
    Insert,
    Erase,
    At,
    Length,
    Split { axis: i64, keep: bool },
    Concat { axis: i64, stack: bool },
}

/// A position in `0..end`; negative ones count from the end of a sequence of `len`.
fn position(cx: &RunCx<'_>, i: usize, len: usize, end: usize) -> Result<Option<usize>, OpError> {
    let Some(t) = cx.get(i) else { return Ok(None) };
    let [at] = t.to_i64()?[..] else { return Err(OpError::invalid("the position must be one integer")) };
    let from_front = if at < 0 { at.checked_add(len as i64) } else { Some(at) };
    let index = from_front.and_then(|p| usize::try_from(p).ok()).filter(|&p| p < end);
    index.map(Some).ok_or_else(|| OpError::invalid(format!("position {at} in a sequence of {len}")))
}

fn need_position(cx: &RunCx<'_>, i: usize, len: usize) -> Result<usize, OpError> {
    position(cx, i, len, len)?.ok_or_else(|| OpError::invalid(format!("input {i} is missing")))
}

impl Sequence {
    fn make(&self, cx: &RunCx<'_>) -> Result<Tensor, OpError> {
        Ok(match self {
            Sequence::Empty(dtype) => Tensor::sequence(*dtype, Vec::new()),
            Sequence::Construct => {
                let items = (0..cx.input_count()).map(|i| cx.tensor(i).cloned()).collect::<Result<Vec<_>, _>>()?;
                let dtype = items[0].dtype();
                if items.iter().any(|t| t.dtype() != dtype || !t.is_tensor()) {
                    return Err(OpError::invalid("a sequence holds tensors of one type"));
                }
                Tensor::sequence(dtype, items)
            }
            Sequence::Insert => {
                let (of, t) = (cx.tensor(0)?, cx.tensor(1)?);
                let mut items = cx.items(0)?.to_vec();
                // An empty sequence may not know its type yet.
                if !t.is_tensor() || (t.dtype() != of.dtype() && !items.is_empty()) {
                    return Err(OpError::invalid(format!("{} into a sequence of {}", t.dtype(), of.dtype())));
                }
                let at = position(cx, 2, items.len(), items.len() + 1)?.unwrap_or(items.len());
                items.insert(at, t.clone());
                Tensor::sequence(t.dtype(), items)
            }
            Sequence::Erase => {
                let mut items = cx.items(0)?.to_vec();
                let last = items.len().checked_sub(1).ok_or_else(|| OpError::invalid("the sequence is empty"))?;
                items.remove(position(cx, 1, items.len(), items.len())?.unwrap_or(last));
                Tensor::sequence(cx.tensor(0)?.dtype(), items)
            }
            Sequence::At => {
                let items = cx.items(0)?;
                items[need_position(cx, 1, items.len())?].clone()
            }
            Sequence::Length => Tensor::scalar(cx.items(0)?.len() as i64),
            Sequence::Split { axis, keep } => {
                let t = cx.tensor(0)?;
                let axis = util::axis(*axis, t.shape().len())?;
                let lengths = split_lengths(cx, t.shape()[axis])?;
                cx.check_bytes(lengths.len().checked_mul(size_of::<Tensor>()))?;
                let mut start = 0;
                let mut items = Vec::with_capacity(lengths.len());
                for n in lengths {
                    items.push(part(t, axis, start, n, !keep)?);
                    start += n;
                }
                Tensor::sequence(t.dtype(), items)
            }
            Sequence::Concat { axis, stack } => {
                let items = cx.items(0)?;
                let rank = items.first().map_or(0, |t| t.shape().len()) + usize::from(*stack);
                cx.check_bytes(Some(items.iter().map(Tensor::held_bytes).sum()))?;
                join(items, util::axis(*axis, rank)?, *stack)?
            }
        })
    }
}

/// The lengths that SplitToSequence cuts an axis of `size` into: 1 each, of one given length, or as listed.
fn split_lengths(cx: &RunCx<'_>, size: usize) -> Result<Vec<usize>, OpError> {
    let Some(split) = cx.get(1) else { return Ok(vec![1; size]) };
    let listed = split.to_i64()?.into_iter().map(usize::try_from).collect::<Result<Vec<_>, _>>();
    let listed = listed.map_err(|_| OpError::invalid("a negative length to split into"))?;
    if let (true, [n]) = (split.shape.is_empty(), &listed[..]) {
        let n = Some(*n).filter(|&n| n > 0).ok_or_else(|| OpError::invalid("a length of 0 to split into"))?;
        return Ok((0..size).step_by(n).map(|s| n.min(size - s)).collect());
    }
    match listed.iter().try_fold(0usize, |sum, &n| sum.checked_add(n)) {
        Some(sum) if sum == size => Ok(listed),
        _ => Err(OpError::invalid(format!("lengths {listed:?} do not add up to {size}"))),
    }
}

impl Operator for Sequence {
    fn class(&self) -> OpClass {
        OpClass::DataMovement
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(self.dtypes(inputs)?.into_iter().map(Fact::dynamic).collect())
    }

    fn dtypes(&self, inputs: &Inputs<'_>) -> Result<Vec<DType>, OpError> {
        Ok(vec![match self {
            Sequence::Empty(dtype) => *dtype,
            Sequence::Length => DType::I64,
            Sequence::Insert => inputs.need(1)?.dtype,
            _ => inputs.need(0)?.dtype,
        }])
    }

    fn takes_any(&self) -> bool {
        true
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let made = self.make(cx)?;
        cx.set(0, made)
    }
}

#[derive(Debug)]
struct SequenceMap {
    body: Body,
    inputs: usize,
}

impl Operator for SequenceMap {
    fn class(&self) -> OpClass {
        OpClass::Other
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(self.dtypes(inputs)?.into_iter().map(Fact::dynamic).collect())
    }

    fn dtypes(&self, inputs: &Inputs<'_>) -> Result<Vec<DType>, OpError> {
        let own = (0..self.inputs).map(|i| Ok(inputs.need(i)?.dtype)).collect::<Result<Vec<_>, OpError>>()?;
        self.body.output_dtypes(&own, inputs)
    }

    fn takes_any(&self) -> bool {
        true
    }

    fn is_pure(&self) -> bool {
        self.body.is_pure()
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let n = cx.items(0)?.len();
        let mut outputs: Vec<Vec<Tensor>> = vec![Vec::new(); cx.outputs.len()];
        let mut body = self.body.start(cx.env)?;
        let mut bytes = 0usize;
        for item in 0..n {
            cx.check_cancel()?;
            let mut own = Vec::with_capacity(self.inputs);
            for i in 0..self.inputs {
                let t = cx.tensor(i)?;
                own.push(match t.items() {
                    None => t.clone(),
                    Some(items) => items
                        .get(item)
                        .ok_or_else(|| OpError::invalid(format!("input {i} is a sequence shorter than input 0")))?
                        .clone(),
                });
            }
            for (list, t) in outputs.iter_mut().zip(body.run(own, cx.tensors)?) {
                bytes = bytes.saturating_add(t.held_bytes() + size_of::<Tensor>());
                list.push(t);
            }
            cx.check_bytes(Some(bytes))?;
        }
        for (i, list) in outputs.into_iter().enumerate() {
            let dtype = cx.out_dtype(i);
            cx.set_wanted(i, Tensor::sequence(dtype, list))?;
        }
        Ok(())
    }
}
