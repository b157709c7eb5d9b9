//! What an operator sees at run time: borrowed inputs, and outputs in the arena.

use std::borrow::Cow;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use graph::{DType, Element, Tensor};

use crate::op::{OpError, RunCx};
use cpu_kernels::pool::Pool;

/// A tensor to read.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The element type.
    pub dtype: DType,
    /// The dimensions.
    pub shape: &'a [usize],
    /// The elements, aligned for their type.
    pub data: &'a [u8],
}

impl<'a> Input<'a> {
    /// The elements as `T`; an error if that is not their type.
    pub fn slice<T: Element>(&self) -> Result<&'a [T], OpError> {
        if T::DTYPE != self.dtype {
            return Err(OpError::unsupported(format!("{} where only {} is handled", self.dtype, T::DTYPE)));
        }
        bytemuck::try_cast_slice(self.data).map_err(|e| OpError::invalid(format!("{}: {e}", self.dtype)))
    }

    /// The elements as f32.
    pub fn f32(&self) -> Result<&'a [f32], OpError> {
        self.slice()
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Any integer (or bool) type, widened.
    pub fn to_i64(&self) -> Result<Vec<i64>, OpError> {
        macro_rules! widen {
            ($($d:ident $t:ty),*) => {
                match self.dtype {
                    $(DType::$d => Ok(self.slice::<$t>()?.iter().map(|&v| v as i64).collect()),)*
                    DType::Bool => Ok(self.data.iter().map(|&b| (b != 0) as i64).collect()),
                    other => Err(OpError::invalid(format!("must be integers, it is {other}"))),
                }
            };
        }
        widen!(I64 i64, I32 i32, I16 i16, I8 i8, U64 u64, U32 u32, U16 u16, U8 u8)
    }

    /// A copy that owns its bytes.
    pub fn to_tensor(&self) -> Tensor {
        Tensor::new(self.dtype, self.shape.to_vec(), Bytes::copy_from_slice(self.data)).expect("a view's sizes agree")
    }
}

/// A tensor whose bytes may be misaligned in its file, made readable.
pub(crate) fn aligned(t: &Tensor) -> Tensor {
    if !t.is_tensor() {
        return t.clone();
    }
    let size = t.dtype().bits().map_or(1, |b| (b as usize / 8).clamp(1, 8));
    if (t.bytes().as_ptr() as usize).is_multiple_of(size) {
        return t.clone();
    }
    own(t)
}

/// A copy on the heap, aligned for its type.
pub(crate) fn own(t: &Tensor) -> Tensor {
    if !t.is_tensor() || t.dtype() == DType::String {
        return t.clone();
    }
    // A Vec<u64> is aligned for every element type.
    let mut words = vec![0u64; t.bytes().len().div_ceil(8)];
    bytemuck::cast_slice_mut::<u64, u8>(&mut words)[..t.bytes().len()].copy_from_slice(t.bytes());
    let bytes = Bytes::from_owner(Words(words)).slice(..t.bytes().len());
    Tensor::new(t.dtype(), t.shape().to_vec(), bytes).expect("the same sizes")
}

struct Words(Vec<u64>);
impl AsRef<[u8]> for Words {
    fn as_ref(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }
}

/// A tensor to write.
#[derive(Debug)]
pub struct Output<'a> {
    /// The element type.
    pub dtype: DType,
    /// The dimensions; empty and meaningless where `data` is [`OutData::Own`].
    pub shape: Vec<usize>,
    pub(crate) data: OutData<'a>,
}

/// Where an output's bytes go.
#[derive(Debug)]
pub(crate) enum OutData<'a> {
    /// Nobody wants it.
    Unwanted,
    /// Its place in the arena.
    Placed(&'a mut [u8]),
    /// The operator decides the shape and hands over a tensor.
    Own(Option<Tensor>),
}

impl<'a> RunCx<'a> {
    /// The threads to run on.
    pub fn pool(&self) -> &'a Pool {
        self.env.pool
    }

    /// Fails if `bytes` are more than what one tensor may take. To be asked before an allocation whose size depends on data;
    /// `None` (an overflow) is too much as well.
    pub fn check_bytes(&self, bytes: Option<usize>) -> Result<usize, OpError> {
        match (bytes, self.env.limit) {
            (Some(b), limit) if b <= limit => Ok(b),
            (need, limit) => Err(OpError::Memory { need: need.unwrap_or(usize::MAX), limit }),
        }
    }

    /// Fails if the user asked to stop. To be asked in each round of a loop that may be long.
    pub fn check_cancel(&self) -> Result<(), OpError> {
        if self.env.cancel.load(Ordering::Relaxed) { Err(OpError::Cancelled) } else { Ok(()) }
    }

    /// The whole of an input that must be there: strings, sequences, empty optionals. Only steps of unknown shapes have it;
    /// one that reads strings, or whose outputs are [`crate::op::Fact::dynamic`], is such a step.
    pub fn tensor(&self, i: usize) -> Result<&'a Tensor, OpError> {
        self.get_tensor(i).ok_or_else(|| OpError::invalid(format!("input {i} is missing")))
    }

    /// As [`RunCx::tensor`], for an input that may be left out.
    pub fn get_tensor(&self, i: usize) -> Option<&'a Tensor> {
        self.tensors.get(i)?.as_ref()
    }

    /// The strings of an input that must be there.
    pub fn strings(&self, i: usize) -> Result<&'a [Bytes], OpError> {
        let t = self.tensor(i)?;
        match t.dtype() {
            DType::String if t.is_tensor() => Ok(t.strings()),
            other => Err(OpError::invalid(format!("input {i} must be strings, it is {other}"))),
        }
    }

    /// The tensors of an input that must be a sequence.
    pub fn items(&self, i: usize) -> Result<&'a [Tensor], OpError> {
        self.tensor(i)?.items().ok_or_else(|| OpError::invalid(format!("input {i} must be a sequence")))
    }

    /// Listed inputs, the left-out ones included.
    pub fn input_count(&self) -> usize {
        self.inputs.len()
    }

    /// An input that may be left out.
    pub fn get(&self, i: usize) -> Option<Input<'a>> {
        *self.inputs.get(i)?
    }

    /// An input that must be there.
    pub fn input(&self, i: usize) -> Result<Input<'a>, OpError> {
        self.get(i).ok_or_else(|| OpError::invalid(format!("input {i} is missing")))
    }

    /// The elements of an input that must be there.
    pub fn slice<T: Element>(&self, i: usize) -> Result<&'a [T], OpError> {
        self.input(i)?.slice()
    }

    /// The integers of an input that may be left out.
    pub fn ints(&self, i: usize) -> Result<Option<Vec<i64>>, OpError> {
        self.get(i).map(|t| t.to_i64()).transpose()
    }

    /// The input whose elements output 0 already holds, if the step runs in place.
    pub fn taken(&self) -> Option<usize> {
        self.taken
    }

    /// True if somebody reads output `i`.
    pub fn wants(&self, i: usize) -> bool {
        self.outputs.get(i).is_some_and(|o| !matches!(o.data, OutData::Unwanted))
    }

    /// The dimensions of output `i`.
    pub fn out_shape(&self, i: usize) -> Vec<usize> {
        self.outputs[i].shape.clone()
    }

    /// The element type of output `i`.
    pub fn out_dtype(&self, i: usize) -> DType {
        self.outputs[i].dtype
    }

    /// The bytes of output `i`, to be written completely.
    pub fn out_bytes(&mut self, i: usize) -> Result<&mut [u8], OpError> {
        match &mut self.outputs[i].data {
            OutData::Placed(b) => Ok(b),
            _ => Err(OpError::invalid(format!("output {i} has no place"))),
        }
    }

    /// The elements of output `i`, to be written completely.
    pub fn out<T: Element>(&mut self, i: usize) -> Result<&mut [T], OpError> {
        let dtype = self.outputs[i].dtype;
        if dtype != T::DTYPE {
            return Err(OpError::unsupported(format!("output of {dtype} where only {} is handled", T::DTYPE)));
        }
        bytemuck::try_cast_slice_mut(self.out_bytes(i)?).map_err(|e| OpError::invalid(e.to_string()))
    }

    /// Inputs, pool, output 0 and scratch at once.
    pub fn split<T: Element>(&mut self) -> Result<Parts<'_, 'a, T>, OpError> {
        let dtype = self.outputs[0].dtype;
        if dtype != T::DTYPE {
            return Err(OpError::unsupported(format!("output of {dtype} where only {} is handled", T::DTYPE)));
        }
        let out = match &mut self.outputs[0].data {
            OutData::Placed(b) => bytemuck::try_cast_slice_mut(b).map_err(|e| OpError::invalid(e.to_string()))?,
            _ => return Err(OpError::invalid("output 0 has no place")),
        };
        Ok(Parts { inputs: self.inputs, out, scratch: self.scratch, pool: self.env.pool })
    }

    /// As [`RunCx::set`], if there is such an output and somebody reads it.
    pub fn set_wanted(&mut self, i: usize, t: Tensor) -> Result<(), OpError> {
        if self.wants(i) { self.set(i, t) } else { Ok(()) }
    }

    /// Hands over an output whose shape the operator alone can tell.
    pub fn set(&mut self, i: usize, t: Tensor) -> Result<(), OpError> {
        match &mut self.outputs[i].data {
            OutData::Own(slot) => *slot = Some(t),
            OutData::Placed(b) if t.is_tensor() && b.len() == t.bytes().len() => b.copy_from_slice(t.bytes()),
            OutData::Placed(_) => return Err(OpError::invalid(format!("output {i} has another size than planned"))),
            OutData::Unwanted => {}
        }
        Ok(())
    }
}

/// See [`RunCx::split`].
pub struct Parts<'s, 'a, T> {
    /// The inputs; the one that output 0 took over is `None`.
    pub inputs: &'a [Option<Input<'a>>],
    /// Output 0. If the step runs in place it already holds the input.
    pub out: &'s mut [T],
    /// Scratch that lives from step to step; resize it as needed.
    pub scratch: &'s mut Vec<f32>,
    /// The threads to run on.
    pub pool: &'a Pool,
}

/// Bytes aligned for every element type and for SIMD, zeroed.
pub(crate) struct AlignedBytes {
    lines: Vec<Line>,
    len: usize,
}

#[derive(Clone, Copy, bytemuck::Zeroable, bytemuck::Pod)]
#[repr(C, align(64))]
struct Line([u8; 64]);

impl AlignedBytes {
    pub fn new(len: usize) -> Self {
        AlignedBytes { lines: bytemuck::zeroed_vec(len.div_ceil(64)), len }
    }

    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        self.lines.as_mut_ptr().cast()
    }

    pub fn as_slice(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.lines)[..self.len]
    }

    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..self.len]
    }

    pub fn into_tensor(self, dtype: DType, shape: Vec<usize>) -> Result<Tensor, graph::TensorError> {
        let len = self.len;
        Tensor::new(dtype, shape, Bytes::from_owner(self).slice(..len))
    }
}

impl AsRef<[u8]> for AlignedBytes {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

/// The elements of a constant as f32, whatever float type it has.
pub(crate) fn constant_f32(t: &Tensor) -> Option<Cow<'_, [f32]>> {
    Some(match t.dtype() {
        DType::F32 => t.elements::<f32>().ok()?,
        DType::F16 => t.elements::<half::f16>().ok()?.iter().map(|v| v.to_f32()).collect(),
        DType::BF16 => t.elements::<half::bf16>().ok()?.iter().map(|v| v.to_f32()).collect(),
        DType::F64 => t.elements::<f64>().ok()?.iter().map(|&v| v as f32).collect(),
        _ => return None,
    })
}
