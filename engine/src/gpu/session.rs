//! The GPU executor: segments of commands, with CPU steps and transfers between them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cpu_kernels::pool::Pool;
use gpu_kernels::{Command, Gpu, run_steps};
use graph::Tensor;
use profiler::{Layer, LayerId, Quality, Recorder, TrackKind};

use crate::error::EngineError;
use crate::exec;
use crate::gpu::builder::{DeviceMemory, GpuBuilder};
use crate::gpu::transfer::{from_device, to_device};
use crate::op::OpError;
use crate::plan::{Place, Plan, ValueIx};
use crate::session::fed_in_order;

enum Segment {
    /// Steps that run on the device in one submission, with the values that must be uploaded before.
    Gpu { steps: Vec<usize>, commands: Vec<Vec<Command>>, uploads: Vec<ValueIx> },
    /// One step on the CPU, with the values that must be downloaded before.
    Cpu { step: usize, downloads: Vec<ValueIx> },
}

/// A plan with its buffers and commands, ready to run again and again on a GPU.
pub struct GpuSession {
    plan: Arc<Plan>,
    pool: Arc<Pool>,
    memory: DeviceMemory,
    segments: Vec<Segment>,
    /// Where each root value's newest bytes are, when a run has ended.
    on_device: Vec<bool>,
    host: Vec<Option<Tensor>>,
    fed: Vec<Tensor>,
    scratch: Vec<f32>,
    layers: Vec<Layer>,
}

impl GpuSession {
    /// Allocates buffers, uploads weights and compiles pipelines; spans of it go to `rec`.
    pub fn new(
        plan: Arc<Plan>,
        pool: Arc<Pool>,
        gpu: Gpu,
        rec: &mut Recorder,
        cancel: &AtomicBool,
    ) -> Result<GpuSession, EngineError> {
        let n = plan.values.len();
        let mut s = GpuSession {
            memory: DeviceMemory::new(gpu, n),
            segments: Vec::new(),
            on_device: vec![false; n],
            host: vec![None; n],
            fed: Vec::new(),
            scratch: Vec::new(),
            layers: plan.layers.clone(),
            plan,
            pool,
        };
        let epoch = rec.epoch();
        s.build(cancel)?;
        if rec.is_on() {
            let track = rec.track("Pipeline compile", TrackKind::Setup);
            for t in s.memory.gpu.take_pipeline_times() {
                let at = |i: std::time::Instant| i.saturating_duration_since(epoch).as_nanos() as u64;
                rec.span(track, &t.label, at(t.start), at(t.end), Quality::Cpu);
            }
        }
        Ok(s)
    }

    fn build(&mut self, cancel: &AtomicBool) -> Result<(), EngineError> {
        let plan = self.plan.clone();
        let mut last = vec![0usize; plan.values.len()];
        for (i, step) in plan.steps.iter().enumerate() {
            for v in step.inputs.iter().flatten() {
                last[plan.root(*v)] = i;
            }
        }
        for &v in &plan.outputs {
            last[plan.root(v)] = usize::MAX;
        }
        let mut released = vec![false; plan.values.len()];
        for (i, step) in plan.steps.iter().enumerate() {
            if cancel.load(Ordering::Relaxed) {
                return Err(EngineError::Cancelled);
            }
            let fail = |why| EngineError::Node { node: step.node.clone(), why };
            let mut b = GpuBuilder {
                memory: &mut self.memory,
                plan: &plan,
                step,
                commands: Vec::new(),
                new_buffers: Vec::new(),
                temporaries: Vec::new(),
                uploads: Vec::new(),
            };
            let encoded = if step.dynamic {
                false
            } else {
                match step.op.gpu(&mut b) {
                    Ok(done) => done,
                    // A type that the device can't hold: the CPU can.
                    Err(OpError::Unsupported(why)) => {
                        log::debug!("{}: on the CPU: {why}", step.node);
                        false
                    }
                    Err(e) => return Err(fail(e)),
                }
            };
            let GpuBuilder { commands, new_buffers, temporaries, uploads, .. } = b;
            for t in temporaries {
                self.memory.release(t);
            }
            if encoded {
                for (v, buffer) in new_buffers {
                    self.memory.buffers[v] = Some(buffer);
                }
                self.layers[i].device = "gpu".into();
                if let Some(c) = commands.first() {
                    self.layers[i].kernel = c.label().to_owned();
                }
                // A value that a CPU step made, or the caller fed, goes up once: later steps find it on the device.
                match self.segments.last_mut() {
                    Some(Segment::Gpu { steps, commands: all, uploads: ups }) => {
                        steps.push(i);
                        all.push(commands);
                        ups.extend(uploads);
                    }
                    _ => self.segments.push(Segment::Gpu { steps: vec![i], commands: vec![commands], uploads }),
                }
                for v in step.outputs.iter().flatten() {
                    self.on_device[plan.root(*v)] = true;
                }
            } else {
                for (v, buffer) in new_buffers {
                    if matches!(plan.values[v].place, Place::Constant(_)) {
                        self.memory.buffers[v] = Some(buffer);
                    } else {
                        self.memory.release(buffer);
                    }
                }
                let mut downloads: Vec<ValueIx> =
                    step.inputs.iter().flatten().map(|v| plan.root(*v)).filter(|v| self.on_device[*v]).collect();
                downloads.sort_unstable();
                downloads.dedup();
                self.segments.push(Segment::Cpu { step: i, downloads });
            }
            for v in step.inputs.iter().chain(&step.outputs).flatten() {
                let root = plan.root(*v);
                let made_on_device = self.on_device[root];
                if last[root] <= i && made_on_device && !matches!(plan.values[root].place, Place::Constant(_)) {
                    // Its bytes are no longer needed: a later step may write over them.
                    if let Some(b) = self.memory.buffers[root].clone().filter(|_| !released[root]) {
                        released[root] = true;
                        self.memory.release(b);
                    }
                }
            }
        }
        Ok(())
    }

    /// The plan.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// The plan's layers with the device that each runs on.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// The device.
    pub fn gpu(&self) -> &Gpu {
        &self.memory.gpu
    }

    /// Bytes of weights and of activations in device buffers.
    pub fn device_bytes(&self) -> (u64, u64) {
        (self.memory.weights_bytes, self.memory.activations_bytes)
    }

    /// Sets the inputs for the runs to come.
    pub fn feed(&mut self, inputs: &HashMap<String, Tensor>) -> Result<(), EngineError> {
        self.fed = fed_in_order(&self.plan, inputs)?;
        Ok(())
    }

    /// Runs once on what was fed: uploads, runs, downloads the outputs.
    pub fn run(&mut self, rec: &mut Recorder, cancel: &AtomicBool) -> Result<(), EngineError> {
        let plan = self.plan.clone();
        if self.fed.len() != plan.inputs.len() {
            return Err(EngineError::Input("the model's inputs were not fed".into()));
        }
        self.host.iter_mut().for_each(|h| *h = None);
        let segments = std::mem::take(&mut self.segments);
        let result = segments.iter().try_for_each(|s| {
            if cancel.load(Ordering::Relaxed) {
                return Err(EngineError::Cancelled);
            }
            match s {
                Segment::Gpu { steps, commands, uploads } => self.run_gpu(&plan, steps, commands, uploads, rec),
                Segment::Cpu { step, downloads } => self.run_cpu(&plan, *step, downloads, rec, cancel),
            }
        });
        self.segments = segments;
        result?;
        let roots: Vec<ValueIx> = plan.outputs.iter().map(|&v| plan.root(v)).filter(|v| self.on_device[*v]).collect();
        self.download(&plan, &roots, rec)
    }

    fn run_gpu(
        &mut self,
        plan: &Plan,
        steps: &[usize],
        commands: &[Vec<Command>],
        uploads: &[ValueIx],
        rec: &mut Recorder,
    ) -> Result<(), EngineError> {
        if !uploads.is_empty() {
            let start = rec.now_ns();
            for &v in uploads {
                let Some(t) = self.host_tensor(plan, v) else {
                    let name = &plan.values[v].name;
                    return Err(EngineError::Input(format!("value \"{name}\" was not made before its upload")));
                };
                let data = to_device(&t).map_err(|why| EngineError::Node { node: plan.values[v].name.clone(), why })?;
                if let Some(b) = &self.memory.buffers[v] {
                    self.memory.gpu.upload(b, 0, &data)?;
                }
            }
            if rec.is_on() {
                let track = rec.track("Upload", TrackKind::Transfer);
                let end = rec.now_ns();
                rec.span(track, "Upload", start, end, Quality::Cpu);
            }
        }
        let lists: Vec<&[Command]> = commands.iter().map(Vec::as_slice).collect();
        let times = run_steps(&self.memory.gpu, &lists, rec.is_on(), rec.epoch())?;
        if rec.is_on() {
            let submit = rec.track("Encode and submit", TrackKind::Submit);
            rec.span(submit, "Encode", times.encode_ns.0, times.encode_ns.1, Quality::Cpu);
            rec.span(submit, "Submit", times.submit_ns.0, times.submit_ns.1, Quality::Cpu);
            rec.span(submit, "Wait", times.wait_ns.0, times.wait_ns.1, Quality::Cpu);
            let track = rec.track("GPU queue", TrackKind::Gpu);
            for (step, t) in steps.iter().zip(&times.steps) {
                let quality = match t.quality {
                    gpu_kernels::Quality::Timestamp => Quality::GpuTimestamp,
                    gpu_kernels::Quality::Wall => Quality::Wall,
                    gpu_kernels::Quality::Rejected => Quality::Rejected,
                };
                rec.layer(track, LayerId(*step as u32), t.start_ns, t.end_ns, quality);
            }
            let clock = &mut rec.meta().clock;
            clock.calibration_error_ns = clock.calibration_error_ns.max(times.calibration_error_ns);
            clock.rejected += times.rejected as u64;
            clock.strategy = times.strategy.to_string();
        }
        Ok(())
    }

    fn run_cpu(
        &mut self,
        plan: &Plan,
        step: usize,
        downloads: &[ValueIx],
        rec: &mut Recorder,
        cancel: &AtomicBool,
    ) -> Result<(), EngineError> {
        self.download(plan, downloads, rec)?;
        let s = &plan.steps[step];
        let start = rec.now_ns();
        let inputs: Vec<Option<Tensor>> = s.inputs.iter().map(|v| v.and_then(|v| self.host_tensor(plan, v))).collect();
        let wanted: Vec<bool> = s.outputs.iter().map(Option::is_some).collect();
        let env = plan.env(&self.pool, cancel, 0);
        let outs = exec::run_op(&*s.op, &inputs, &wanted, env, &mut self.scratch)
            .map_err(|why| EngineError::at(&s.node, why))?;
        for (v, t) in s.outputs.iter().zip(outs) {
            if let Some(v) = v {
                self.host[*v] = t;
            }
        }
        if rec.is_on() {
            let track = rec.track("CPU", TrackKind::Cpu);
            let end = rec.now_ns();
            rec.layer(track, LayerId(step as u32), start, end, Quality::Cpu);
        }
        Ok(())
    }

    fn download(&mut self, plan: &Plan, roots: &[ValueIx], rec: &mut Recorder) -> Result<(), EngineError> {
        let missing: Vec<ValueIx> = roots.iter().copied().filter(|v| self.host[*v].is_none()).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let start = rec.now_ns();
        let mut ranges = Vec::with_capacity(missing.len());
        for &v in &missing {
            let Some(b) = &self.memory.buffers[v] else {
                return Err(EngineError::Input(format!("value \"{}\" has no buffer", plan.values[v].name)));
            };
            ranges.push(b.part(0, (plan.values[v].fact.numel().unwrap_or(0).max(1) * 4) as u64));
        }
        let data = self.memory.gpu.download(&ranges)?;
        for (&v, bytes) in missing.iter().zip(data) {
            let value = &plan.values[v];
            let shape = value.fact.shape.as_deref().unwrap_or(&[]);
            let t = from_device(&bytes, value.fact.dtype, shape)
                .map_err(|why| EngineError::Node { node: value.name.clone(), why })?;
            self.host[v] = Some(t);
        }
        if rec.is_on() {
            let track = rec.track("Download", TrackKind::Transfer);
            let end = rec.now_ns();
            rec.span(track, "Download", start, end, Quality::Cpu);
        }
        Ok(())
    }

    /// A value's tensor on the host, if it is there.
    fn host_tensor(&self, plan: &Plan, v: ValueIx) -> Option<Tensor> {
        let root = plan.root(v);
        let t = match &plan.values[root].place {
            Place::Constant(t) => t,
            Place::Input(i) => self.fed.get(*i)?,
            _ => self.host[root].as_ref()?,
        };
        match &plan.values[v].fact.shape {
            Some(s) if v != root => t.reshaped(s.clone()).ok(),
            _ => Some(t.clone()),
        }
    }

    /// All outputs of the last run, by name.
    pub fn outputs(&self) -> Result<Vec<(String, Tensor)>, EngineError> {
        let plan = &self.plan;
        plan.outputs
            .iter()
            .map(|&v| {
                let name = plan.values[v].name.clone();
                let t = self
                    .host_tensor(plan, v)
                    .ok_or_else(|| EngineError::Input(format!("output \"{name}\" was not made")))?;
                Ok((name, t))
            })
            .collect()
    }
}
