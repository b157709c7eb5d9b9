//! The seam of an operator: what one file in `ops/` implements.

use std::fmt;
use std::sync::atomic::AtomicBool;

use cpu_kernels::pool::Pool;
use graph::{DType, Node, Tensor};
pub use profiler::OpClass;

use crate::attrs::Attrs;
use crate::gpu::GpuBuilder;
use crate::precision::Precision;
use crate::tensor::{Input, Output};

/// Why an operator can't be read, planned or run. The engine adds the node's name, domain and opset.
#[derive(Debug, thiserror::Error, Clone, PartialEq)]
pub enum OpError {
    /// A valid model that this program can't run yet.
    #[error("unsupported: {0}")]
    Unsupported(String),
    /// The model or its inputs are wrong.
    #[error("{0}")]
    Invalid(String),
    /// What the data asks for is larger than the memory limit.
    #[error("{need} bytes are needed, more than the memory limit of {limit} (--memory-limit)")]
    Memory {
        /// Bytes.
        need: usize,
        /// The limit in force.
        limit: usize,
    },
    /// The user asked to stop.
    #[error("cancelled")]
    Cancelled,
}

impl OpError {
    /// [`OpError::Invalid`] from words.
    pub fn invalid(why: impl Into<String>) -> Self {
        OpError::Invalid(why.into())
    }

    /// [`OpError::Unsupported`] from words.
    pub fn unsupported(why: impl Into<String>) -> Self {
        OpError::Unsupported(why.into())
    }
}

impl From<cpu_kernels::error::KernelError> for OpError {
    fn from(e: cpu_kernels::error::KernelError) -> Self {
        OpError::Invalid(e.to_string())
    }
}

/// What is known of a value when a plan is made.
#[derive(Clone, Debug)]
pub struct Fact {
    /// The element type.
    pub dtype: DType,
    /// The shape; `None` if it depends on data that is known only at run time.
    pub shape: Option<Vec<usize>>,
    /// The value itself, if it is constant.
    pub value: Option<Tensor>,
    /// True if the elements lie in blocks of channels (`cpu_kernels::conv::blocked`), whatever the shape says.
    pub blocked: bool,
}

impl Fact {
    /// A type and a shape.
    pub fn new(dtype: DType, shape: Vec<usize>) -> Self {
        Fact { dtype, shape: Some(shape), value: None, blocked: false }
    }

    /// A type whose shape is known only at run time.
    pub fn dynamic(dtype: DType) -> Self {
        Fact { dtype, shape: None, value: None, blocked: false }
    }

    /// A constant.
    pub fn constant(t: Tensor) -> Self {
        Fact { dtype: t.dtype(), shape: Some(t.shape().to_vec()), value: Some(t), blocked: false }
    }

    /// The number of elements, if the shape is known.
    pub fn numel(&self) -> Option<usize> {
        checked_numel(self.shape.as_ref()?)
    }

    /// True if the value is known to be a sequence or an empty optional.
    pub fn is_tensor(&self) -> bool {
        self.value.as_ref().is_none_or(Tensor::is_tensor)
    }

    /// True if the elements can have a place in the arena: a tensor of known shape whose elements have a size.
    pub fn is_placeable(&self) -> bool {
        self.shape.is_some() && self.dtype != DType::String && self.is_tensor()
    }

    /// The same tensor of [batch, channels, ...] in blocks of channels.
    pub(crate) fn into_blocked(self) -> Self {
        Fact { blocked: true, ..self }
    }

    /// The number of bytes, if the shape is known and the type has a size.
    pub fn bytes(&self) -> Option<usize> {
        if let (true, Some([batch, channels, spatial @ ..])) = (self.blocked, self.shape.as_deref()) {
            let c = cpu_kernels::conv::blocked::block();
            let rest = checked_numel(spatial)?.checked_mul(*batch)?;
            return self.dtype.bytes_for(channels.checked_next_multiple_of(c)?.checked_mul(rest)?);
        }
        self.dtype.bytes_for(self.numel()?)
    }
}

/// The product of a shape, or `None` on overflow.
pub fn checked_numel(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d))
}

/// The facts of an operator's inputs, with the checks that every operator needs.
pub struct Inputs<'a>(pub &'a [Option<Fact>]);

impl<'a> Inputs<'a> {
    /// The number of inputs that are listed, the left-out ones included.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True if the operator has no inputs.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// An input that may be left out.
    pub fn get(&self, i: usize) -> Option<&'a Fact> {
        self.0.get(i)?.as_ref()
    }

    /// An input that must be there.
    pub fn need(&self, i: usize) -> Result<&'a Fact, OpError> {
        self.get(i).ok_or_else(|| OpError::invalid(format!("input {i} is missing")))
    }

    /// The shape of an input that must be there; `None` if it is known only at run time.
    pub fn shape(&self, i: usize) -> Result<Option<&'a [usize]>, OpError> {
        Ok(self.need(i)?.shape.as_deref())
    }

    /// The integers of a constant input: `Ok(None)` if it is left out, or known only at run time.
    pub fn ints(&self, i: usize) -> Result<Option<Vec<i64>>, OpError> {
        let Some(t) = self.get(i).and_then(|f| f.value.as_ref()) else { return Ok(None) };
        t.to_i64().map(Some).ok_or_else(|| OpError::invalid(format!("input {i} must be integers, it is {}", t.dtype())))
    }

    /// True if input `i` is there but its value is known only at run time.
    pub fn is_dynamic(&self, i: usize) -> bool {
        self.get(i).is_some_and(|f| f.value.is_none())
    }
}

/// Work done by one run of an operator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Floating-point operations (integer multiply-adds count 2), the convention of the literature: a MatMul is 2 m n k.
    pub flops: u64,
}

/// Everything that is known of one operator: shape inference, cost, and how it runs on each device.
///
/// A value of this type is one node's operator with its attributes read. It is shared between threads and runs.
pub trait Operator: Send + Sync + fmt::Debug {
    /// The kind, for colour and roll-ups.
    fn class(&self) -> OpClass;

    /// The outputs' facts from the inputs', one per output that the operator can have. Called only when every input's shape is
    /// known. If an output's shape depends on a *value* that is not known yet, its fact is [`Fact::dynamic`]; the executor asks
    /// again at run time, when every input's value is known.
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError>;

    /// The outputs' element types; all that is asked while some input's shape is unknown. The default is one output of
    /// input 0's type.
    fn dtypes(&self, inputs: &Inputs<'_>) -> Result<Vec<DType>, OpError> {
        Ok(vec![inputs.need(0)?.dtype])
    }

    /// Work of one run. The default, 0, is for operators that only move data.
    fn cost(&self, _inputs: &Inputs<'_>, _outputs: &[Fact]) -> Cost {
        Cost::default()
    }

    /// Called once when a plan is made, with the constants among the inputs: packs weights into the kernel's layout, chooses
    /// a kernel. `None` keeps the operator as it is. Inputs that the prepared operator no longer reads are listed in it,
    /// so that their memory can be given back.
    fn prepare(&self, _inputs: &Inputs<'_>, _outputs: &[Fact]) -> Result<Option<Prepared>, OpError> {
        Ok(None)
    }

    /// Runs on the CPU.
    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError>;

    /// The inputs, best first, whose memory output 0 may take over, if they die here and have the same size. The taken input is then `None`
    /// in `run`, and output 0 already holds its elements (see [`RunCx::taken`]).
    fn in_place(&self) -> &'static [usize] {
        &[]
    }

    /// The input that output 0 merely looks at under another shape (Reshape, Squeeze, Identity): no copy is made.
    fn view_of(&self) -> Option<usize> {
        None
    }

    /// True if the CPU kernel only moves the elements of this input, and never minds how they are aligned: a large constant
    /// can then stay where it lies in its file, and only what is read of it is in memory.
    fn moves_bytes(&self, _input: usize) -> bool {
        false
    }

    /// True if the CPU kernel computes in f32 only: the executor then widens f16, bf16 and f8 inputs and narrows outputs.
    fn widens(&self) -> bool {
        false
    }

    /// This operator on weights of another precision, if it has real kernels for that on the CPU.
    fn quantize(&self, _precision: Precision, _inputs: &[Option<Fact>]) -> Option<Box<dyn Operator>> {
        None
    }

    /// This operator with its constant weights, which are rounded to that precision already, held in it on a GPU; `None` if it
    /// has no kernel for that.
    fn store(&self, _precision: Precision, _inputs: &[Option<Fact>]) -> Option<Box<dyn Operator>> {
        None
    }

    /// The operator in the field's words where the node's own name says too little: `MatMul+Bias+Gelu`.
    fn label(&self, _inputs: &Inputs<'_>) -> Option<String> {
        None
    }

    /// True if inputs may be sequences or empty optionals. Others never see one: the executor refuses. Such an operator asks
    /// for [`RunCx::tensor`], and hands over sequences by [`RunCx::set`]; its facts for them are [`Fact::dynamic`].
    fn takes_any(&self) -> bool {
        false
    }

    /// False if two runs on the same inputs may differ (random numbers): such a node is never folded.
    fn is_pure(&self) -> bool {
        true
    }

    /// Encodes the operator's GPU form; `Ok(false)` if it has none for these inputs, and the step then runs on the CPU.
    fn gpu(&self, _b: &mut GpuBuilder<'_>) -> Result<bool, OpError> {
        Ok(false)
    }

    /// The kernel in words, for the trace: `gemm f32, packed`.
    fn kernel(&self) -> String {
        String::new()
    }
}

/// What [`Operator::prepare`] gives back.
#[derive(Debug)]
pub struct Prepared {
    /// The operator to run instead.
    pub op: Box<dyn Operator>,
    /// Inputs that it holds in its own form and no longer reads.
    pub absorbed: Vec<usize>,
    /// Bytes of that form.
    pub bytes: usize,
}

/// How an operator is found: its ONNX names and versions, and the function that reads a node.
pub struct OpDef {
    /// The domain; the standard one is empty.
    pub domain: &'static str,
    /// The operator's name.
    pub name: &'static str,
    /// The first and the last operator-set version that `read` handles.
    pub opsets: (i64, i64),
    /// Reads a node's attributes. An attribute that it does not read is a load error (`Attrs` checks that).
    pub read: fn(&mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError>,
}

/// What a run is given from around it. An operator that runs a graph of its own hands it down.
#[derive(Clone, Copy)]
pub(crate) struct Env<'a> {
    /// The threads to run on.
    pub pool: &'a Pool,
    /// Set when the user asks to stop.
    pub cancel: &'a AtomicBool,
    /// The most bytes that a tensor whose size depends on data may take.
    pub limit: usize,
    /// Whether the plans of bodies are fused.
    pub fusion: bool,
    /// How many bodies of If, Loop and Scan this is in.
    pub depth: usize,
}

/// One call of [`Operator::run`]: inputs, outputs, threads, scratch.
pub struct RunCx<'a> {
    pub(crate) inputs: &'a [Option<Input<'a>>],
    /// The same inputs whole; empty in a step whose shapes were known when it was planned.
    pub(crate) tensors: &'a [Option<Tensor>],
    pub(crate) outputs: Vec<Output<'a>>,
    pub(crate) taken: Option<usize>,
    pub(crate) env: Env<'a>,
    pub(crate) scratch: &'a mut Vec<f32>,
}

/// The last operator-set version that this program knows.
pub const NEWEST: i64 = 28;

/// A node with its operator: used for messages.
pub fn describe(node: &Node, opset: i64) -> String {
    let domain = if node.domain.is_empty() { "ai.onnx" } else { &node.domain };
    format!("node \"{}\" ({domain}::{} opset {opset})", node.name, node.op_type)
}
