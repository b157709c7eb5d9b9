//! What an operator's GPU form is given: device tensors for its inputs and outputs, and a list of commands to fill.

use gpu_kernels::{Binding, Buffer, Command, Gpu, GpuError};
use graph::{DType, Tensor};

use crate::gpu::transfer::{device_dtype, to_device};
use crate::op::{Fact, OpError};
use crate::plan::{Place, Plan, Step, ValueIx};

/// A tensor on the device.
#[derive(Clone, Debug)]
pub struct GpuTensor {
    /// Its bytes; four per element.
    pub binding: Binding,
    /// The element type in the model (`I64` is held as i32, `Bool` as u32, `F16` as f32).
    pub dtype: DType,
    /// The dimensions.
    pub shape: Vec<usize>,
}

impl GpuTensor {
    /// The number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// True if the elements are f32 on the device.
    pub fn is_float(&self) -> bool {
        device_dtype(self.dtype) == Some(DType::F32)
    }
}

/// The device's buffers while a session is built: which value is where, and which buffers are free again.
pub(crate) struct DeviceMemory {
    pub gpu: Gpu,
    /// By root value.
    pub buffers: Vec<Option<Buffer>>,
    free: Vec<Buffer>,
    pub weights_bytes: u64,
    pub activations_bytes: u64,
}

impl DeviceMemory {
    pub fn new(gpu: Gpu, values: usize) -> Self {
        DeviceMemory { gpu, buffers: vec![None; values], free: Vec::new(), weights_bytes: 0, activations_bytes: 0 }
    }

    /// A buffer for an intermediate result: a free one of up to twice the size, else a new one.
    fn activation(&mut self, label: &str, bytes: u64) -> Result<Buffer, GpuError> {
        let fits = |b: &Buffer| b.bytes() >= bytes && b.bytes() <= bytes.saturating_mul(2).max(4096);
        let best = (0..self.free.len()).filter(|&i| fits(&self.free[i])).min_by_key(|&i| self.free[i].bytes());
        if let Some(i) = best {
            return Ok(self.free.swap_remove(i));
        }
        self.activations_bytes += bytes;
        self.gpu.buffer(label, bytes)
    }

    /// Gives a buffer back for later steps.
    pub fn release(&mut self, b: Buffer) {
        self.free.push(b);
    }
}

/// See the module's head. Nothing that the builder does takes effect if the operator answers `Ok(false)`.
pub struct GpuBuilder<'a> {
    pub(crate) memory: &'a mut DeviceMemory,
    pub(crate) plan: &'a Plan,
    pub(crate) step: &'a Step,
    pub(crate) commands: Vec<Command>,
    pub(crate) new_buffers: Vec<(ValueIx, Buffer)>,
    pub(crate) temporaries: Vec<Buffer>,
    /// Inputs that must be uploaded in each run before the step's segment.
    pub(crate) uploads: Vec<ValueIx>,
}

/// What a kernel does not take, the CPU may.
fn gpu_error(e: GpuError) -> OpError {
    match e {
        GpuError::Argument { .. } | GpuError::TooLarge { .. } => OpError::unsupported(e.to_string()),
        other => OpError::invalid(other.to_string()),
    }
}

impl<'a> GpuBuilder<'a> {
    /// The device.
    pub fn gpu(&self) -> Gpu {
        self.memory.gpu.clone()
    }

    /// Listed inputs, the left-out ones included.
    pub fn input_count(&self) -> usize {
        self.step.inputs.len()
    }

    /// True if input `i` is there.
    pub fn has(&self, i: usize) -> bool {
        self.step.inputs.get(i).is_some_and(Option::is_some)
    }

    /// True if somebody reads output `i`.
    pub fn wants(&self, i: usize) -> bool {
        self.step.outputs.get(i).is_some_and(Option::is_some)
    }

    /// What is known of input `i`.
    pub fn fact(&self, i: usize) -> Option<&'a Fact> {
        let v = (*self.step.inputs.get(i)?)?;
        Some(&self.plan.values[v].fact)
    }

    /// What is known of output `i`.
    pub fn out_fact(&self, i: usize) -> Option<&'a Fact> {
        let v = (*self.step.outputs.get(i)?)?;
        Some(&self.plan.values[v].fact)
    }

    /// Input `i`, if it is a constant.
    pub fn constant(&self, i: usize) -> Option<&'a Tensor> {
        self.fact(i)?.value.as_ref()
    }

    /// The integers of input `i`, if it is a constant of an integer type.
    pub fn const_ints(&self, i: usize) -> Option<Vec<i64>> {
        self.constant(i)?.to_i64()
    }

    /// Input `i` on the device; uploaded once if it is a constant, in each run if it comes from the caller or the CPU.
    pub fn input(&mut self, i: usize) -> Result<GpuTensor, OpError> {
        let v = self
            .step
            .inputs
            .get(i)
            .copied()
            .flatten()
            .ok_or_else(|| OpError::invalid(format!("input {i} is missing")))?;
        let value = &self.plan.values[v];
        let (dtype, shape) = (value.fact.dtype, value.fact.shape.clone().unwrap_or_default());
        device_dtype(dtype).ok_or_else(|| OpError::unsupported(format!("{dtype} on the GPU")))?;
        let root = self.plan.root(v);
        let known = self.memory.buffers[root].clone().or_else(|| self.pending(root));
        let buffer = match known {
            Some(b) => b,
            None => {
                let name = self.plan.values[root].name.clone();
                let bytes = size(&shape)?;
                let buffer = match &self.plan.values[root].place {
                    Place::Constant(t) => {
                        let data = to_device(t)?;
                        let b = self.memory.gpu.buffer(&name, data.len().max(4) as u64).map_err(gpu_error)?;
                        self.memory.gpu.upload(&b, 0, &data).map_err(gpu_error)?;
                        self.memory.weights_bytes += data.len() as u64;
                        b
                    }
                    _ => {
                        self.uploads.push(root);
                        self.memory.gpu.buffer(&name, bytes).map_err(gpu_error)?
                    }
                };
                self.new_buffers.push((root, buffer.clone()));
                buffer
            }
        };
        Ok(GpuTensor { binding: buffer.part(0, size(&shape)?), dtype, shape })
    }

    /// Output `i` on the device, to be written completely.
    pub fn output(&mut self, i: usize) -> Result<GpuTensor, OpError> {
        let v = self
            .step
            .outputs
            .get(i)
            .copied()
            .flatten()
            .ok_or_else(|| OpError::invalid(format!("output {i} is unwanted")))?;
        let value = &self.plan.values[v];
        let (dtype, shape) = (value.fact.dtype, value.fact.shape.clone().unwrap_or_default());
        device_dtype(dtype).ok_or_else(|| OpError::unsupported(format!("{dtype} on the GPU")))?;
        let bytes = size(&shape)?;
        let buffer = match self.pending(v) {
            Some(b) => b,
            None => {
                let b = self.memory.activation(&value.name, bytes).map_err(gpu_error)?;
                self.new_buffers.push((v, b.clone()));
                b
            }
        };
        Ok(GpuTensor { binding: buffer.part(0, bytes), dtype, shape })
    }

    /// Scratch for this step, of `n` four-byte elements.
    pub fn temporary(&mut self, label: &str, n: usize) -> Result<Binding, OpError> {
        let bytes = size(&[n])?;
        let b = self.memory.activation(label, bytes).map_err(gpu_error)?;
        self.temporaries.push(b.clone());
        Ok(b.part(0, bytes))
    }

    /// A constant that the operator made itself (repacked weights, tables), uploaded now.
    pub fn upload(&mut self, label: &str, bytes: &[u8]) -> Result<Binding, OpError> {
        let b = self.memory.gpu.buffer(label, bytes.len().max(4) as u64).map_err(gpu_error)?;
        self.memory.gpu.upload(&b, 0, bytes).map_err(gpu_error)?;
        self.memory.weights_bytes += bytes.len() as u64;
        Ok(b.whole())
    }

    /// Adds what a kernel function made.
    pub fn push(&mut self, command: Result<Command, GpuError>) -> Result<(), OpError> {
        self.commands.push(command.map_err(gpu_error)?);
        Ok(())
    }

    fn pending(&self, v: ValueIx) -> Option<Buffer> {
        self.new_buffers.iter().find(|(ix, _)| *ix == v).map(|(_, b)| b.clone())
    }
}

fn size(shape: &[usize]) -> Result<u64, OpError> {
    let n = crate::op::checked_numel(shape).and_then(|n| n.checked_mul(4));
    n.map(|n| n.max(4) as u64).ok_or_else(|| OpError::invalid(format!("shape {shape:?} overflows")))
}
