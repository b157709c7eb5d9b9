//! A model in ONNX Runtime.

use std::ffi::CString;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use graph::Tensor;
use ort::AsPointer;
use ort::environment::Environment;
use ort::ep::{self, ExecutionProviderDispatch};
use ort::logging::LogLevel;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::session::{NoSelectedOutputs, RunOptions, SessionInputValue, SessionOutputs};
use profiler::Trace;

use crate::{EngineOptions, EngineSession, OptimisedModel, PeerError, Request, values};

/// Runs longer than this are watched, so that they can be stopped in the middle.
const WATCHED: Duration = Duration::from_millis(100);
/// How soon a wish to stop is heard.
const EVERY: Duration = Duration::from_millis(20);

/// A loaded model.
pub(crate) struct Session {
    session: ort::session::Session,
    inputs: Vec<SessionInputValue<'static>>,
    run_options: RunOptions<NoSelectedOutputs>,
    load_ns: u64,
    last_ns: Option<u64>,
    /// Where the profile goes, if there is to be one.
    folder: Option<tempfile::TempDir>,
}

impl Session {
    pub fn open(
        environment: &Environment,
        providers: &[String],
        request: &Request,
        cancel: &AtomicBool,
    ) -> Result<Session, PeerError> {
        if cancel.load(Ordering::Relaxed) {
            return Err(PeerError::Cancelled);
        }
        let start = Instant::now();
        let mut builder = builder(environment, providers, request)?;
        let folder = match request.profiled {
            true => Some(folder()?),
            false => None,
        };
        if let Some(folder) = &folder {
            builder = builder.with_profiling(folder.path().join("profile")).map_err(plain)?;
        }
        let session = commit(builder, request.model)?;
        let load_ns = start.elapsed().as_nanos() as u64;
        let mut inputs = Vec::new();
        for wanted in session.inputs() {
            let name = wanted.name();
            let Some((_, tensor)) = request.inputs.iter().find(|(n, _)| n == name) else {
                let why = "ONNX Runtime asks for it, and it has no value".to_owned();
                return Err(PeerError::Input { name: name.to_owned(), why });
            };
            inputs.push(SessionInputValue::Owned(values::to_value(name, tensor)?));
        }
        Ok(Session { session, inputs, run_options: RunOptions::new()?, load_ns, last_ns: None, folder })
    }

    /// Runs once, and hands the outputs on outside of the time taken.
    fn once<R>(
        &mut self,
        cancel: &AtomicBool,
        then: impl FnOnce(&SessionOutputs) -> Result<R, PeerError>,
    ) -> Result<(u64, R), PeerError> {
        if cancel.load(Ordering::Relaxed) {
            return Err(PeerError::Cancelled);
        }
        let Session { session, inputs, run_options, .. } = self;
        let options = &*run_options;
        let timed = || -> Result<(u64, R), PeerError> {
            let start = Instant::now();
            let outputs = session.run_with_options::<_, 0>(&inputs[..], options)?;
            let ns = start.elapsed().as_nanos() as u64;
            Ok((ns, then(&outputs)?))
        };
        let result = if self.last_ns.is_none_or(|ns| ns > WATCHED.as_nanos() as u64) {
            watched(cancel, || drop(options.terminate()), timed)
        } else {
            timed()
        };
        if cancel.load(Ordering::Relaxed) {
            return Err(PeerError::Cancelled);
        }
        let (ns, rest) = result?;
        self.last_ns = Some(ns);
        Ok((ns, rest))
    }
}

impl EngineSession for Session {
    fn load_ns(&self) -> u64 {
        self.load_ns
    }

    fn run(&mut self, cancel: &AtomicBool) -> Result<u64, PeerError> {
        Ok(self.once(cancel, |_| Ok(()))?.0)
    }

    fn outputs(&mut self, cancel: &AtomicBool) -> Result<Vec<(String, Tensor)>, PeerError> {
        let read = |outputs: &SessionOutputs| {
            let mut all = Vec::new();
            for (name, value) in outputs.iter() {
                match values::to_tensor(&value)? {
                    Some(tensor) => all.push((name.to_owned(), tensor)),
                    None => log::info!("output {name} is no tensor that can be read"),
                }
            }
            Ok(all)
        };
        Ok(self.once(cancel, read)?.1)
    }

    fn profile(&mut self) -> Result<Trace, PeerError> {
        let Some(_folder) = self.folder.take() else {
            let message = "the session was not opened to profile".to_owned();
            return Err(PeerError::Engine { engine: "ONNX Runtime".to_owned(), message });
        };
        let file = self.session.end_profiling()?;
        Ok(profiler::import::open(Path::new(&file))?)
    }
}

/// Runs `work` while another thread waits for the wish to stop.
fn watched<R>(cancel: &AtomicBool, stop: impl Fn() + Sync, work: impl FnOnce() -> R) -> R {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                if cancel.load(Ordering::Relaxed) {
                    stop();
                }
                thread::park_timeout(EVERY);
            }
        });
        let result = work();
        done.store(true, Ordering::Relaxed);
        watcher.thread().unpark();
        result
    })
}

/// Writes the model as ONNX Runtime has it after its optimisations, weights in a file beside it.
pub(crate) fn optimised(
    environment: &Environment,
    providers: &[String],
    request: &Request,
) -> Result<OptimisedModel, PeerError> {
    let folder = folder()?;
    let path = folder.path().join("optimised.onnx");
    let builder = builder(environment, providers, request)?
        .with_optimized_model_path(&path)
        .map_err(plain)?
        .with_config_entry("session.optimized_model_external_initializers_file_name", "weights.bin")
        .map_err(plain)?
        .with_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", "1024")
        .map_err(plain)?
        // It is not going to run.
        .with_prepacking(false)
        .map_err(plain)?;
    drop(commit(builder, request.model)?);
    Ok(OptimisedModel { path, _folder: folder })
}

fn folder() -> Result<tempfile::TempDir, PeerError> {
    tempfile::tempdir().map_err(|e| PeerError::Io("a folder for temporary files".to_owned(), e))
}

fn commit(mut builder: SessionBuilder, model: &Path) -> Result<ort::session::Session, PeerError> {
    let done = catch_unwind(AssertUnwindSafe(|| builder.commit_from_file(model)));
    done.unwrap_or_else(|_| Err(ort::Error::new("the model's description can't be read"))).map_err(PeerError::from)
}

/// An error without the builder that it could be tried again with.
fn plain(e: ort::Error<SessionBuilder>) -> PeerError {
    PeerError::Engine { engine: "ONNX Runtime".to_owned(), message: e.message().to_owned() }
}

fn builder(environment: &Environment, providers: &[String], request: &Request) -> Result<SessionBuilder, PeerError> {
    let options = request.options;
    let mut b = ort::session::Session::builder(environment)?
        .with_log_level(LogLevel::Warning)
        .map_err(plain)?
        .with_intra_threads(request.threads)
        .map_err(plain)?;
    if let Some(level) = options.get("level") {
        let level = match level {
            "disable" => GraphOptimizationLevel::Disable,
            "basic" => GraphOptimizationLevel::Level1,
            "extended" => GraphOptimizationLevel::Level2,
            _ => GraphOptimizationLevel::All,
        };
        b = b.with_optimization_level(level).map_err(plain)?;
    }
    if let Some(mode) = options.get("mode") {
        b = b.with_parallel_execution(mode == "parallel").map_err(plain)?;
    }
    if let Some(n) = options.get("inter_threads").and_then(|n| n.parse().ok()) {
        b = b.with_inter_threads(n).map_err(plain)?;
    }
    if let Some(on) = options.switch("spinning") {
        b = b.with_intra_op_spinning(on).map_err(plain)?.with_inter_op_spinning(on).map_err(plain)?;
    }
    if let Some(on) = options.switch("memory_pattern") {
        b = b.with_memory_pattern(on).map_err(plain)?;
    }
    if let Some(on) = options.switch("prepacking") {
        b = b.with_prepacking(on).map_err(plain)?;
    }
    if let Some(on) = options.switch("arena") {
        let cpu = ep::CPU::default().with_arena_allocator(on).build().error_on_failure();
        b = b.with_execution_providers([cpu]).map_err(plain)?;
    }
    provide(b, providers, options)
}

/// Adds the execution provider that was asked for.
fn provide(b: SessionBuilder, providers: &[String], options: &EngineOptions) -> Result<SessionBuilder, PeerError> {
    let Some(wanted) = options.get("provider") else { return Ok(b) };
    let short = |name: &str| name.strip_suffix("ExecutionProvider").unwrap_or(name).to_lowercase();
    let wanted = short(wanted);
    let Some(name) = providers.iter().find(|p| short(p) == wanted) else {
        let here: Vec<String> = providers.iter().map(|p| short(p)).collect();
        return Err(PeerError::Option(format!(
            "option provider: this ONNX Runtime has no \"{wanted}\"; it has {}",
            here.join(", ")
        )));
    };
    let known: Option<ExecutionProviderDispatch> = match wanted.as_str() {
        "cpu" => return Ok(b),
        "cuda" => Some(ep::CUDA::default().build()),
        "tensorrt" => Some(ep::TensorRT::default().build()),
        _ => None,
    };
    if let Some(known) = known {
        return b.with_execution_providers([known.error_on_failure()]).map_err(plain);
    }
    let mut b = b;
    let bare = name.strip_suffix("ExecutionProvider").unwrap_or(name);
    // The library's short names: CoreML, DML, OpenVINO as they are, XNNPACK in capitals.
    let bare = CString::new(if bare == "Xnnpack" { "XNNPACK" } else { bare }).unwrap_or_default();
    // SAFETY: the options are alive, the name ends in zero, and there are no keys or values to read.
    let status = unsafe {
        let append = ort::api().SessionOptionsAppendExecutionProvider;
        append(b.ptr_mut(), bare.as_ptr(), std::ptr::null(), std::ptr::null(), 0)
    };
    // SAFETY: the status comes from the call above and is not used again.
    unsafe { ort::Error::result_from_status(status) }?;
    Ok(b)
}
