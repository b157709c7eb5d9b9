//! One seam over the executors: a model planned for a device, ready to run.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use engine::{EngineError, Gpu, GpuSession, Plan, PlanOptions, Pool, Session};
use graph::{Model, Tensor};
use profiler::{Clock, Layer, Recorder, TrackKind};

use crate::devices::{cpu, cpu_in_words, gpu_in_words};
use crate::settings::{Control, DeviceChoice, Settings, StudyError};
use crate::tuning::{folder, tuned};

pub(crate) enum Executor {
    Cpu(Box<Session>),
    Gpu(Box<GpuSession>),
}

/// A model planned for a device.
pub(crate) struct Runner {
    pub executor: Executor,
    pub plan: Arc<Plan>,
    pub device: String,
    pub threads: usize,
    pub warnings: Vec<String>,
}

/// What to plan beside the settings.
#[derive(Default)]
pub(crate) struct Wanted {
    /// Types and shapes of inputs that come from data.
    pub shapes: BTreeMap<String, (graph::DType, Vec<usize>)>,
    /// Keep every layer's output for taps.
    pub keep_all: bool,
}

impl Runner {
    /// Plans and loads; the phases are spans of `rec`.
    pub fn new(
        model: &Model,
        settings: &Settings,
        dims: &BTreeMap<String, usize>,
        wanted: Wanted,
        rec: &mut Recorder,
        control: &Control,
    ) -> Result<Runner, StudyError> {
        let threads = settings.threads.unwrap_or(cpu().cores).max(1);
        let pool = Arc::new(Pool::new(threads));
        let gpu = open_gpu(settings.device, rec)?;
        let options = PlanOptions {
            dims: dims.clone(),
            shapes: wanted.shapes,
            fusion: settings.fusion,
            precision: settings.precision,
            pack: gpu.is_none(),
            keep_all: wanted.keep_all,
            memory_limit: settings.memory_limit.unwrap_or_else(memory_limit),
        };
        let setup = rec.track("Setup", TrackKind::Setup);
        let span = rec.begin(setup, "Plan and pack weights");
        let plan = Arc::new(Plan::new(&model.graph, &options, &pool, control.flag())?);
        rec.end(span);
        let mut warnings = Vec::new();
        if cfg!(debug_assertions) {
            warnings.push("debug build: kernels and the engine are slower than in a release build".into());
        }
        let (executor, device) = match gpu {
            None => (Executor::Cpu(Box::new(Session::new(plan.clone(), pool))), cpu_in_words(threads)),
            Some(gpu) => {
                if gpu.validation_on() {
                    warnings.push("the Vulkan validation layer is on: submitting is many times slower (WGPU_VALIDATION=0 turns it off)".into());
                }
                let device = gpu_in_words(gpu.name(), &gpu.info().backend);
                let span = rec.begin(setup, "Upload weights and build pipelines");
                let session = GpuSession::new(plan.clone(), pool, gpu, rec, control.flag())?;
                rec.end(span);
                (Executor::Gpu(Box::new(session)), device)
            }
        };
        Ok(Runner { executor, plan, device, threads, warnings })
    }

    pub fn is_gpu(&self) -> bool {
        matches!(self.executor, Executor::Gpu(_))
    }

    /// The layers with the device that each runs on.
    pub fn layers(&self) -> Vec<Layer> {
        match &self.executor {
            Executor::Cpu(_) => self.plan.layers.clone(),
            Executor::Gpu(s) => s.layers().to_vec(),
        }
    }

    pub fn feed(&mut self, inputs: &HashMap<String, Tensor>) -> Result<(), EngineError> {
        match &mut self.executor {
            Executor::Cpu(s) => s.feed(inputs),
            Executor::Gpu(s) => s.feed(inputs),
        }
    }

    pub fn run(&mut self, rec: &mut Recorder, control: &Control) -> Result<(), StudyError> {
        self.run_until(rec, control.flag())
    }

    /// Runs once, unless the flag is up.
    pub fn run_until(&mut self, rec: &mut Recorder, cancel: &AtomicBool) -> Result<(), StudyError> {
        let result = match &mut self.executor {
            Executor::Cpu(s) => s.run(rec, cancel),
            Executor::Gpu(s) => s.run(rec, cancel),
        };
        result.map_err(|e| match e {
            EngineError::Cancelled => StudyError::Cancelled,
            e => e.into(),
        })
    }

    pub fn outputs(&self) -> Result<Vec<(String, Tensor)>, EngineError> {
        match &self.executor {
            Executor::Cpu(s) => s.outputs(),
            Executor::Gpu(s) => s.outputs(),
        }
    }

    /// How this executor takes time.
    pub fn clock(&self) -> Clock {
        let resolution_ns = clock_resolution_ns();
        match &self.executor {
            Executor::Cpu(_) => {
                Clock { strategy: "CPU monotonic clock, read between layers".into(), resolution_ns, ..Clock::default() }
            }
            Executor::Gpu(s) => {
                Clock { strategy: s.gpu().timestamp_strategy().to_string(), resolution_ns, ..Clock::default() }
            }
        }
    }
}

pub(crate) fn open_gpu(choice: DeviceChoice, rec: &mut Recorder) -> Result<Option<Gpu>, StudyError> {
    let index = match choice {
        DeviceChoice::Cpu => return Ok(None),
        DeviceChoice::Gpu(index) => index,
        DeviceChoice::Auto => match engine::adapters().into_iter().find(|a| !a.is_software) {
            Some(a) => Some(a.index),
            None => return Ok(None),
        },
    };
    let track = rec.track("Setup", TrackKind::Setup);
    let span = rec.begin(track, "Open the GPU");
    let gpu = tuned(Gpu::open(index).map_err(EngineError::from)?, folder().as_deref());
    rec.end(span);
    Ok(Some(gpu))
}

/// 80% of the memory that is free now.
fn memory_limit() -> u64 {
    let free = sysinfo::System::new().ok().map_or(0, |mut system| {
        system.refresh_memory();
        system.available_memory()
    });
    if free == 0 { 16 << 30 } else { free / 5 * 4 }
}

/// The smallest difference that the clock shows between two readings.
pub(crate) fn clock_resolution_ns() -> u64 {
    let mut least = u64::MAX;
    for _ in 0..200 {
        let a = std::time::Instant::now();
        let mut d = 0;
        while d == 0 {
            d = a.elapsed().as_nanos() as u64;
        }
        least = least.min(d);
    }
    least
}
