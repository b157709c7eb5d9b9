//! Where the time and the memory of an inference go.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use graph::{Model, Tensor};
use profiler::{LayerId, Memory, MemoryClass, Recorder, TensorLife, Trace};

use crate::devices::ResidentMemory;
use crate::engines::EngineChoice;
use crate::inputs::{default_dims, make_inputs};
use crate::pace::Pace;
use crate::peer;
use crate::runner::{Executor, Runner, Wanted};
use crate::settings::{Control, Settings, StudyError};
use crate::structure::{model_hash, source_nodes};

/// What a profile yields.
#[derive(Debug)]
pub struct Profiled {
    /// The trace.
    pub trace: Trace,
    /// The model's outputs for the inputs that were fed.
    pub outputs: Vec<(String, Tensor)>,
}

/// Resident memory is read no more often than this: reading it costs tens of microseconds.
pub(crate) const MEMORY_EVERY: Duration = Duration::from_millis(50);

/// Measures a model: runs it with and without recording in turn, after warm-up runs that are set apart.
pub fn profile(model: &Arc<Model>, settings: &Settings, control: &Control) -> Result<Profiled, StudyError> {
    match &settings.engine {
        EngineChoice::Own => own(model, settings, control),
        EngineChoice::OnnxRuntime { library } => peer::onnxruntime(model, library.as_deref(), settings, control),
        EngineChoice::External(command) => peer::external(model, command, settings, control),
    }
}

fn own(model: &Arc<Model>, settings: &Settings, control: &Control) -> Result<Profiled, StudyError> {
    let mut resident = ResidentMemory::new();
    let before = resident.bytes();
    let mut rec = Recorder::new(Instant::now());
    let loading = Instant::now();
    control.step("Planning and packing weights", None, None)?;
    let dims = default_dims(model, settings);
    let inputs = make_inputs(model, settings, &dims)?;
    let wanted = Wanted { shapes: shapes_of(&inputs), ..Wanted::default() };
    let mut runner = Runner::new(model, settings, &dims, wanted, &mut rec, control)?;
    runner.feed(&inputs)?;
    let load_ns = loading.elapsed().as_nanos() as u64;
    rec.set_layers(runner.layers());
    rec.set_nodes(source_nodes(&model.graph));

    let clock = runner.clock();
    let meta = rec.meta();
    meta.load_ns = load_ns;
    meta.clock = clock;
    describe(model, settings, &runner, &inputs, meta);
    meta.dims = dims.iter().map(|(k, v)| (k.clone(), *v as u64)).collect();

    let warmup = measure(&mut runner, settings, control, &mut rec, &mut resident)?;
    log::debug!("{warmup} warm-up runs");
    let outputs = runner.outputs()?;
    let after = resident.bytes();
    let peak = rec.so_far().counters.iter().flat_map(|c| c.value.iter()).fold(0.0f64, |a, &b| a.max(b)) as u64;
    *rec.memory() = memory_of(&runner, before, peak.max(after));
    rec.meta().outputs = outputs.iter().map(|(n, t)| (n.clone(), type_of(t))).collect();
    Ok(Profiled { trace: rec.finish(), outputs })
}

/// Warm-up runs, then recorded and unrecorded runs in turn until the budget ends. Gives back the number of warm-up runs.
fn measure(
    runner: &mut Runner,
    settings: &Settings,
    control: &Control,
    rec: &mut Recorder,
    resident: &mut ResidentMemory,
) -> Result<u32, StudyError> {
    let mut off = Recorder::off();
    for i in 0..settings.warmup {
        control.step("Warming up", Some(i as f32 / settings.warmup.max(1) as f32), None)?;
        rec.begin_run(true);
        runner.run(rec, control)?;
        rec.end_run();
    }
    let mut sampled = Instant::now() - MEMORY_EVERY;
    let mut unprofiled: Vec<u64> = Vec::new();
    let mut pace = Pace::new(settings.budget);
    while pace.goes_on(&unprofiled, control)? {
        // The order alternates, so that neither kind always follows the other.
        for recorded in pace.order() {
            if recorded {
                rec.begin_run(false);
                runner.run(rec, control)?;
                rec.end_run();
            } else {
                let at = Instant::now();
                runner.run(&mut off, control)?;
                unprofiled.push(at.elapsed().as_nanos() as u64);
            }
        }
        if sampled.elapsed() >= MEMORY_EVERY {
            let now = rec.now_ns();
            rec.counter("Process resident memory", "bytes", now, resident.bytes() as f64);
            sampled = Instant::now();
        }
    }
    rec.meta().unprofiled_ns = unprofiled;
    Ok(settings.warmup)
}

pub(crate) fn shapes_of(
    inputs: &HashMap<String, Tensor>,
) -> std::collections::BTreeMap<String, (graph::DType, Vec<usize>)> {
    inputs.iter().map(|(n, t)| (n.clone(), (t.dtype(), t.shape().to_vec()))).collect()
}

pub(crate) fn type_of(t: &Tensor) -> String {
    graph::TensorType::known(t.dtype(), t.shape()).to_string()
}

/// Fills in what was run, where and how.
pub(crate) fn describe(
    model: &Model,
    settings: &Settings,
    runner: &Runner,
    inputs: &HashMap<String, Tensor>,
    meta: &mut profiler::Meta,
) {
    describe_model(model, inputs, meta);
    meta.device = runner.device.clone();
    meta.device_kind = if runner.is_gpu() { "gpu" } else { "cpu" }.into();
    meta.threads = if runner.is_gpu() { 0 } else { runner.threads as u32 };
    meta.precision = settings.precision.name().into();
    meta.simulated_precision = runner.plan.simulated;
    meta.fusion = settings.fusion;
    meta.warnings = runner.warnings.clone();
}

/// Fills in what does not depend on the engine.
pub(crate) fn describe_model(model: &Model, inputs: &HashMap<String, Tensor>, meta: &mut profiler::Meta) {
    meta.model = short_name(model);
    meta.model_hash = model_hash(&model.graph);
    meta.model_path = model.path.display().to_string();
    meta.producer = format!("stratoscope {}", env!("CARGO_PKG_VERSION"));
    meta.cores = crate::devices::cpu().cores as u32;
    meta.parameters = model.graph.parameter_count();
    let graph = &model.graph;
    meta.inputs = graph
        .inputs
        .iter()
        .filter_map(|&i| {
            let name = &graph.value(i).name;
            Some((name.clone(), type_of(inputs.get(name)?)))
        })
        .collect();
    let first = graph.inputs.first().and_then(|&i| inputs.get(&graph.value(i).name));
    meta.batch = first.and_then(|t| t.shape().first()).map_or(0, |&b| b as u64);
}

/// The file's stem, or the sample's id.
pub(crate) fn short_name(model: &Model) -> String {
    let path = model.path.to_string_lossy();
    match path.strip_prefix("sample:") {
        Some(id) => id.to_owned(),
        None => model.path.file_stem().map_or_else(|| model.graph.name.clone(), |s| s.to_string_lossy().into_owned()),
    }
}

fn memory_of(runner: &Runner, before: u64, peak: u64) -> Memory {
    let plan = &runner.plan;
    let steps = plan.steps.len();
    let mut tensors: Vec<TensorLife> = Vec::new();
    let layer = |i: usize| LayerId(i as u32);
    let end = layer(steps.saturating_sub(1));
    for (i, l) in plan.layers.iter().enumerate().filter(|(_, l)| l.weight_bytes > 0) {
        tensors.push(TensorLife {
            name: format!("{} (weights)", l.name),
            ty: String::new(),
            class: MemoryClass::Weights,
            bytes: l.weight_bytes,
            offset: None,
            producer: Some(layer(i)),
            first: layer(0),
            last: end,
            readers: vec![layer(i)],
        });
    }
    let mut readers: Vec<Vec<LayerId>> = vec![Vec::new(); plan.values.len()];
    for (i, step) in plan.steps.iter().enumerate() {
        for v in step.inputs.iter().flatten() {
            let list = &mut readers[plan.root(*v)];
            if list.last() != Some(&layer(i)) {
                list.push(layer(i));
            }
        }
    }
    for l in &plan.lifetimes {
        let v = &plan.values[l.value];
        let shape = v.fact.shape.as_deref().unwrap_or(&[]);
        tensors.push(TensorLife {
            name: v.name.clone(),
            ty: graph::TensorType::known(v.fact.dtype, shape).to_string(),
            class: MemoryClass::Activations,
            bytes: l.bytes as u64,
            offset: Some(l.offset as u64),
            producer: Some(layer(l.first)),
            first: layer(l.first),
            last: layer(l.last),
            readers: std::mem::take(&mut readers[l.value]),
        });
    }
    let mut memory = Memory {
        tensors,
        weights_bytes: plan.weights_bytes as u64,
        arena_bytes: plan.arena_bytes as u64,
        activations_peak_bytes: plan.peak_bytes as u64,
        process_before_bytes: before,
        process_peak_bytes: peak,
        ..Memory::default()
    };
    match &runner.executor {
        Executor::Cpu(s) => memory.workspace_bytes = s.scratch_bytes() as u64,
        Executor::Gpu(s) => {
            let (weights, activations) = s.device_bytes();
            memory.weights_bytes = weights;
            memory.arena_bytes = activations;
            memory.gpu_allocations = s.gpu().allocator_report();
            // On the device each tensor has a buffer of its own or takes over a free one: there is no arena to place it in.
            memory.tensors.iter_mut().for_each(|t| t.offset = None);
        }
    }
    memory
}
