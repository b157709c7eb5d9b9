//! Pipelines, made once per kernel, entry point and constants; and calls that bind operands to them by name.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use crate::buffer::GRANULE;
use crate::command::Dispatch;
use crate::gpu::lock;
use crate::kernels::Kernel;
use crate::shader::{Reflection, Value, reflect, shader_error};
use crate::{Binding, Command, Gpu, GpuError, Tier};

/// How long one pipeline took to make.
#[derive(Debug, Clone)]
pub struct PipelineTime {
    /// Kernel, entry point and constants.
    pub label: String,
    /// When its making began.
    pub start: Instant,
    /// When it ended. The driver may compile further at the first dispatch.
    pub end: Instant,
}

/// The caches of one device.
#[derive(Debug, Default)]
pub(crate) struct Pipelines {
    shaders: HashMap<(&'static str, Tier), Arc<Shader>>,
    pipelines: HashMap<Key, Pipeline>,
    times: Vec<PipelineTime>,
    /// Bound where a kernel's optional operand is absent.
    dummy: Option<Binding>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    kernel: &'static str,
    tier: Tier,
    entry: &'static str,
    constants: Vec<(&'static str, u64)>,
}

#[derive(Debug)]
struct Shader {
    module: wgpu::ShaderModule,
    reflection: Reflection,
}

#[derive(Debug, Clone)]
struct Pipeline {
    pipeline: wgpu::ComputePipeline,
    layout: wgpu::BindGroupLayout,
}

/// Where parameter blocks live: chunks that are filled one block after the other, each freed with its last command.
#[derive(Debug, Default)]
pub(crate) struct UniformArena {
    chunk: Option<(wgpu::Buffer, u64)>,
}

/// Parameter blocks share buffers of this size.
const CHUNK: u64 = 64 << 10;

/// How the threads of a call are counted.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Groups {
    /// This many threads in a line; folded where one dimension is too short.
    Threads(u64),
    /// This many workgroups in a line; folded likewise.
    Line(u64),
    /// Exactly these.
    Grid([u64; 3]),
}

/// A call being put together.
pub(crate) struct Call<'a> {
    gpu: &'a Gpu,
    kernel: &'static Kernel,
    entry: &'static str,
    constants: Vec<(&'static str, f64)>,
    bindings: Vec<(&'static str, Option<Binding>)>,
    params: Vec<(&'static str, Value)>,
}

impl Gpu {
    pub(crate) fn call(&self, kernel: &'static Kernel) -> Call<'_> {
        Call { gpu: self, kernel, entry: "main", constants: Vec::new(), bindings: Vec::new(), params: Vec::new() }
    }

    /// The pipelines made since the last call, and how long each took.
    pub fn take_pipeline_times(&self) -> Vec<PipelineTime> {
        std::mem::take(&mut lock(&self.inner.pipelines).times)
    }

    fn shader(&self, pipelines: &mut Pipelines, kernel: &'static Kernel) -> Result<Arc<Shader>, GpuError> {
        if let Some(shader) = pipelines.shaders.get(&(kernel.name, self.tier())) {
            return Ok(shader.clone());
        }
        if !self.tier().covers(kernel.needs) {
            let why = format!("it needs {}, and the device offers {}", kernel.needs, self.tier());
            return Err(shader_error(kernel.name, why));
        }
        let reflection = reflect(kernel.name, kernel.source, self.tier())?;
        let descriptor = wgpu::ShaderModuleDescriptor {
            label: Some(kernel.name),
            source: wgpu::ShaderSource::Wgsl(reflection.text.as_str().into()),
        };
        // SAFETY: the shaders are ours. Each guards its index by the sizes in its parameters, kernel functions check that
        // every binding holds those sizes, and indices read from tensors are clamped in the shader; loops are bounded by
        // the same sizes.
        let module = unsafe {
            self.inner.device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked())
        };
        let shader = Arc::new(Shader { module, reflection });
        pipelines.shaders.insert((kernel.name, self.tier()), shader.clone());
        Ok(shader)
    }

    fn dummy(&self) -> Result<Binding, GpuError> {
        if let Some(dummy) = &lock(&self.inner.pipelines).dummy {
            return Ok(dummy.clone());
        }
        let dummy = self.buffer("absent operand", GRANULE)?.whole();
        lock(&self.inner.pipelines).dummy = Some(dummy.clone());
        Ok(dummy)
    }

    /// Places a parameter block; the result is its buffer and offset.
    fn uniform(&self, bytes: &[u8]) -> Result<(wgpu::Buffer, u64), GpuError> {
        let align = u64::from(self.limits().min_uniform_buffer_offset_alignment).max(16);
        let mut arena = lock(&self.inner.uniforms);
        let (buffer, at) = match arena.chunk.take() {
            Some((buffer, at)) if at + bytes.len() as u64 <= CHUNK => (buffer, at),
            _ => {
                let usage = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
                (self.raw_buffer("kernel parameters", CHUNK, usage)?, 0)
            }
        };
        self.inner.queue.write_buffer(&buffer, at, bytes);
        arena.chunk = Some((buffer.clone(), (at + bytes.len() as u64).next_multiple_of(align)));
        Ok((buffer, at))
    }
}

impl<'a> Call<'a> {
    /// Chooses an entry point other than `main`.
    pub(crate) fn entry(mut self, entry: &'static str) -> Self {
        self.entry = entry;
        self
    }

    /// Sets an `override` constant.
    pub(crate) fn constant(mut self, name: &'static str, value: impl Into<f64>) -> Self {
        self.constants.push((name, value.into()));
        self
    }

    /// Binds an operand.
    pub(crate) fn bind(mut self, name: &'static str, binding: &Binding) -> Self {
        self.bindings.push((name, Some(binding.clone())));
        self
    }

    /// Binds an operand that may be absent; the constant says to the shader whether it is there.
    pub(crate) fn bind_optional(mut self, name: &'static str, has: &'static str, binding: Option<&Binding>) -> Self {
        self.constants.push((has, f64::from(u8::from(binding.is_some()))));
        self.bindings.push((name, binding.cloned()));
        self
    }

    /// Binds an operand that may be absent, where the shader is told in another way.
    pub(crate) fn bind_or_absent(mut self, name: &'static str, binding: Option<&Binding>) -> Self {
        self.bindings.push((name, binding.cloned()));
        self
    }

    /// Gives a parameter.
    pub(crate) fn param(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.params.push((name, value.into()));
        self
    }

    fn pipeline(&self, shader: &Shader, pipelines: &mut Pipelines) -> Result<Pipeline, GpuError> {
        let kernel = self.kernel.name;
        let constants = self.constants.iter().map(|&(n, v)| (n, v.to_bits())).collect();
        let key = Key { kernel, tier: self.gpu.tier(), entry: self.entry, constants };
        if let Some(pipeline) = pipelines.pipelines.get(&key) {
            return Ok(pipeline.clone());
        }
        let known = &shader.reflection.constants;
        if let Some((name, _)) = self.constants.iter().find(|(n, _)| !known.contains(*n)) {
            return Err(shader_error(kernel, format!("it has no constant {name}")));
        }
        let start = Instant::now();
        let device = &self.gpu.inner.device;
        let internal = device.push_error_scope(wgpu::ErrorFilter::Internal);
        let validation = device.push_error_scope(wgpu::ErrorFilter::Validation);
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(kernel),
            layout: None,
            module: &shader.module,
            entry_point: Some(self.entry),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants: &self.constants,
                zero_initialize_workgroup_memory: false,
            },
            cache: None,
        });
        let layout = pipeline.get_bind_group_layout(0);
        let validation = pollster::block_on(validation.pop());
        let internal = pollster::block_on(internal.pop());
        if let Some(error) = validation.or(internal) {
            return Err(GpuError::from_wgpu(kernel, error));
        }
        let constants: Vec<String> = self.constants.iter().map(|(n, v)| format!("{n}={v}")).collect();
        let label = format!("{kernel}.{} {}", self.entry, constants.join(" ")).trim().to_owned();
        pipelines.times.push(PipelineTime { label, start, end: Instant::now() });
        let pipeline = Pipeline { pipeline, layout };
        pipelines.pipelines.insert(key, pipeline.clone());
        Ok(pipeline)
    }

    /// Binds everything and counts the workgroups.
    pub(crate) fn run(self, groups: Groups) -> Result<Command, GpuError> {
        let kernel = self.kernel.name;
        self.gpu.check_lost()?;
        let dummy = self.gpu.dummy()?;
        let (shader, pipeline) = {
            let mut pipelines = lock(&self.gpu.inner.pipelines);
            let shader = self.gpu.shader(&mut pipelines, self.kernel)?;
            let pipeline = self.pipeline(&shader, &mut pipelines)?;
            (shader, pipeline)
        };
        let reflection = &shader.reflection;
        let entry = reflection.entries.iter().find(|e| e.name == self.entry);
        let entry = entry.ok_or_else(|| shader_error(kernel, format!("it has no entry point {}", self.entry)))?;
        let groups = fold(kernel, groups, entry.workgroup, self.gpu.limits().max_compute_workgroups_per_dimension)?;
        if groups.contains(&0) {
            return Ok(Command::nothing(kernel));
        }
        let mut ranges: Vec<(u32, Binding)> = Vec::with_capacity(self.bindings.len());
        for (name, binding) in &self.bindings {
            let at = reflection.bindings.get(*name);
            let at = *at.ok_or_else(|| shader_error(kernel, format!("it has no binding {name}")))?;
            let binding = binding.as_ref().filter(|b| b.bytes > 0).unwrap_or(&dummy);
            ranges.push((at, self.checked(name, binding)?));
        }
        if let Some(missing) = entry.bindings.iter().find(|&&at| !ranges.iter().any(|r| r.0 == at)) {
            return Err(shader_error(kernel, format!("its binding {missing} was not given")));
        }
        ranges.retain(|(at, _)| entry.bindings.contains(at));
        let uniform = match &reflection.params {
            Some(params) if entry.uses_params => {
                let (buffer, offset) = self.gpu.uniform(&params.pack(kernel, &self.params)?)?;
                Some((params.binding, buffer, offset, u64::from(params.size)))
            }
            _ => None,
        };
        let range = |buffer, offset, size| {
            wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer, offset, size: std::num::NonZeroU64::new(size) })
        };
        let mut entries: Vec<_> = ranges
            .iter()
            .map(|(binding, b)| wgpu::BindGroupEntry {
                binding: *binding,
                resource: range(&b.buffer.0.raw, b.offset, b.bytes),
            })
            .collect();
        entries.extend(uniform.iter().map(|(binding, buffer, offset, size)| wgpu::BindGroupEntry {
            binding: *binding,
            resource: range(buffer, *offset, *size),
        }));
        let device = &self.gpu.inner.device;
        let scope = device.push_error_scope(wgpu::ErrorFilter::Validation);
        let bind_group = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(kernel),
            layout: &pipeline.layout,
            entries: &entries,
        });
        match pollster::block_on(scope.pop()) {
            Some(error) => Err(GpuError::from_wgpu(kernel, error)),
            None => {
                let dispatch = Dispatch { pipeline: pipeline.pipeline, bind_group, groups };
                Ok(Command { label: kernel.into(), dispatches: vec![dispatch] })
            }
        }
    }

    /// The range as it is bound: whole vectors at its end, within its buffer and the device's limit.
    fn checked(&self, name: &str, binding: &Binding) -> Result<Binding, GpuError> {
        let fail = |why: String| GpuError::argument(self.kernel.name, why);
        let label = binding.buffer.label();
        let align = self.gpu.alignment();
        if !binding.offset.is_multiple_of(align) {
            return Err(fail(format!(
                "operand {name} ({label}) starts at {}, which is no multiple of {align}",
                binding.offset
            )));
        }
        let raw = binding.buffer.0.raw.size();
        let bytes = binding
            .bytes
            .checked_next_multiple_of(16)
            .filter(|b| binding.offset.checked_add(*b).is_some_and(|e| e <= raw));
        let bytes = bytes.ok_or_else(|| {
            fail(format!(
                "operand {name} takes {} bytes at {} of {label}, which has {raw}",
                binding.bytes, binding.offset
            ))
        })?;
        let limit = self.gpu.max_binding_bytes();
        if bytes > limit {
            let label = format!("{} operand {name} ({label})", self.kernel.name);
            return Err(GpuError::TooLarge { label, bytes, what: "largest binding", limit });
        }
        Ok(Binding { buffer: binding.buffer.clone(), offset: binding.offset, bytes })
    }
}

/// Workgroups per dimension. A line that is too long becomes a rectangle; shaders get their place from `index.wgsl`.
fn fold(kernel: &str, groups: Groups, workgroup: [u32; 3], limit: u32) -> Result<[u32; 3], GpuError> {
    let limit = u64::from(limit);
    let wanted = match groups {
        Groups::Grid(grid) => grid,
        Groups::Threads(_) | Groups::Line(_) => {
            let line = match groups {
                Groups::Threads(n) => n.div_ceil(u64::from(workgroup[0].max(1))),
                Groups::Line(n) => n,
                Groups::Grid(_) => 0,
            };
            let rows = line.div_ceil(limit).max(1);
            [line.div_ceil(rows), rows, 1]
        }
    };
    match wanted.iter().all(|&n| n <= limit) {
        true => Ok(wanted.map(|n| n as u32)),
        false => {
            Err(GpuError::argument(kernel, format!("needs {wanted:?} workgroups; a dimension has at most {limit}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_of_workgroups_fold() {
        assert_eq!(fold("k", Groups::Threads(1000), [64, 1, 1], 65535).unwrap(), [16, 1, 1]);
        assert_eq!(fold("k", Groups::Line(65536), [64, 1, 1], 65535).unwrap(), [32768, 2, 1]);
        assert_eq!(fold("k", Groups::Threads(0), [64, 1, 1], 65535).unwrap()[0], 0);
        let [x, y, _] = fold("k", Groups::Line(200_001), [64, 1, 1], 65535).unwrap();
        assert!(u64::from(x) * u64::from(y) >= 200_001);
        assert!(fold("k", Groups::Grid([1, 70000, 1]), [8, 8, 1], 65535).is_err());
        assert!(fold("k", Groups::Line(u64::from(u32::MAX) * 4), [64, 1, 1], 65535).is_err());
    }
}
