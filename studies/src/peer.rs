//! Profiles by the engines of others, in the model's own terms.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use graph::{Model, Tensor};
use peers::{Engine, EngineOptions, EngineSession, OnnxRuntime, Request};
use profiler::{Run, Trace};

use crate::devices::{ResidentMemory, cpu, cpu_in_words};
use crate::inputs::{default_dims, make_inputs};
use crate::latency::{Profiled, describe_model, type_of};
use crate::overlay::{overlay, overlay_optimised};
use crate::pace::Pace;
use crate::samples;
use crate::settings::{Budget, Control, DeviceChoice, Precision, Settings, StudyError};
use crate::structure::source_nodes;

/// Beyond this many events ONNX Runtime's profiler is stopped: it drops what comes after a million.
const MOST_EVENTS: u32 = 400_000;
/// An idle session's threads spin for some tens of milliseconds and take the cores from another's.
pub(crate) const UNTIL_SLEEP: Duration = Duration::from_millis(60);
/// Runs in a row of one session, where such a pause is between them, take about this long.
const ROW: Duration = Duration::from_millis(150);

/// A model's file: of a sample, one that is written for the time being.
pub(crate) struct ModelFile {
    pub path: PathBuf,
    _folder: Option<tempfile::TempDir>,
}

impl ModelFile {
    pub fn of(model: &Model) -> Result<ModelFile, StudyError> {
        let Some(sample) = samples::of(model) else {
            return Ok(ModelFile { path: model.path.clone(), _folder: None });
        };
        let io = |e| StudyError::Peer(peers::PeerError::Io("a folder for temporary files".to_owned(), e));
        let folder = tempfile::tempdir().map_err(io)?;
        let path = folder.path().join(format!("{}.onnx", sample.id));
        std::fs::write(&path, sample.file()).map_err(io)?;
        Ok(ModelFile { path, _folder: Some(folder) })
    }
}

/// The options as they are set, with what other settings mean to this engine.
pub(crate) fn options(settings: &Settings) -> Result<EngineOptions, StudyError> {
    let mut options = settings.engine_options.clone();
    if settings.precision != Precision::F32 {
        let why = "ONNX Runtime runs a model in the precision of its file: leave the precision at f32 and give it a \
                   quantized file";
        return Err(StudyError::Settings(why.to_owned()));
    }
    if matches!(settings.device, DeviceChoice::Gpu(_)) && options.get("provider").is_none() {
        let why = "ONNX Runtime's devices are chosen by its execution provider: --engine-option provider=cuda";
        return Err(StudyError::Settings(why.to_owned()));
    }
    if !settings.fusion && options.get("level").is_none() {
        options.set("level", "disable")?;
    }
    Ok(options)
}

/// Inputs in the model's order.
pub(crate) fn in_order(model: &Model, inputs: &HashMap<String, Tensor>) -> Vec<(String, Tensor)> {
    let names = model.graph.inputs.iter().map(|&i| &model.graph.value(i).name);
    names.filter_map(|n| Some((n.clone(), inputs.get(n)?.clone()))).collect()
}

/// Measures a model in ONNX Runtime: one session that profiles and one that does not, in turn.
pub(crate) fn onnxruntime(
    model: &Arc<Model>,
    library: Option<&Path>,
    settings: &Settings,
    control: &Control,
) -> Result<Profiled, StudyError> {
    control.step("Loading ONNX Runtime", None, None)?;
    let cancel = control.flag();
    let runtime = OnnxRuntime::load(library, cancel)?;
    let options = options(settings)?;
    let dims = default_dims(model, settings);
    let fed = make_inputs(model, settings, &dims)?;
    let file = ModelFile::of(model)?;
    let inputs = in_order(model, &fed);
    let threads = settings.threads.unwrap_or(cpu().cores).max(1);
    let request = Request { model: &file.path, inputs: &inputs, threads, options: &options, profiled: false };

    let mut resident = ResidentMemory::new();
    let before = resident.bytes();
    control.step("Loading the model", None, None)?;
    let mut plain = runtime.open(&request, cancel)?;
    for i in 0..settings.warmup {
        control.step("Warming up", Some(i as f32 / settings.warmup as f32), None)?;
        plain.run(cancel)?;
    }
    let outputs = plain.outputs(cancel)?;
    // One session's: what the second one takes is of no interest.
    let peak = resident.bytes();

    control.step("Reading the optimised graph", None, None)?;
    let optimised =
        runtime.optimised(&request).map_err(StudyError::from).and_then(|o| Ok((formats::open(&o.path)?, o)));
    let mut warnings = Vec::new();
    let optimised = match optimised {
        Ok((graph, _file)) => Some(graph),
        Err(e) => {
            warnings
                .push(format!("ONNX Runtime's optimised graph can't be read, so that layers are found by name: {e}"));
            None
        }
    };
    control.step("Loading the model to profile it", None, None)?;
    let mut profiled = runtime.open(&Request { profiled: true, ..request.clone() }, cancel)?;
    let nodes = optimised.as_ref().map_or(model.graph.nodes.len(), |o| o.graph.nodes.len()) as u32;
    let turns = Turns { settings, spins: threads > 1 && options.switch("spinning") != Some(false), nodes };
    let Times { unprofiled_ns, profiled_ns } = turns.take(&mut *plain, &mut *profiled, control)?;

    control.step("Reading the profile", None, None)?;
    let mut trace = profiled.profile()?;
    if let Err(why) = place_runs(&mut trace, &profiled_ns) {
        warnings.push(why);
    }
    let kind = std::mem::take(&mut trace.meta.device_kind);
    describe_model(model, &fed, &mut trace.meta);
    let meta = &mut trace.meta;
    meta.engine = format!("{} {}", runtime.name(), runtime.version());
    meta.engine_options = options.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
    // The importer names the execution providers.
    meta.device = if kind == "cpu" { cpu_in_words(threads) } else { meta.device.clone() };
    meta.device_kind = kind;
    meta.threads = threads as u32;
    meta.precision = settings.precision.name().into();
    meta.fusion = options.get("level") != Some("disable");
    meta.load_ns = plain.load_ns();
    meta.unprofiled_ns = unprofiled_ns;
    meta.dims = dims.iter().map(|(k, v)| (k.clone(), *v as u64)).collect();
    meta.outputs = outputs.iter().map(|(n, t)| (n.clone(), type_of(t))).collect();
    meta.warnings.append(&mut warnings);
    trace.memory.process_before_bytes = before;
    trace.memory.process_peak_bytes = peak;
    if let Some(o) = &optimised {
        trace.memory.weights_bytes = constant_bytes(o);
    }
    Ok(Profiled { trace: laid(trace, model, optimised.as_ref(), settings), outputs })
}

/// Measures a model by a command of the user.
pub(crate) fn external(
    model: &Arc<Model>,
    command: &str,
    settings: &Settings,
    control: &Control,
) -> Result<Profiled, StudyError> {
    control.step("Running the command", None, None)?;
    let file = ModelFile::of(model)?;
    let threads = settings.threads.unwrap_or(cpu().cores).max(1);
    let runs = match settings.budget {
        Budget::Runs(n) => n.max(1),
        Budget::Seconds(_) => 10,
    };
    let run = peers::external::Run { model: &file.path, threads, runs };
    let mut trace = peers::external::profile(command, &run, peers::external::LIMIT, control.flag())?;
    control.step("Reading the profile", None, None)?;
    let theirs = trace.meta.clone();
    describe_model(model, &HashMap::new(), &mut trace.meta);
    let meta = &mut trace.meta;
    meta.engine = if theirs.engine.is_empty() { theirs.producer } else { theirs.engine };
    meta.engine_options.insert("command".to_owned(), command.to_owned());
    if matches!(&*theirs.device_kind, "" | "cpu") {
        meta.device = cpu_in_words(threads);
        meta.device_kind = "cpu".to_owned();
    }
    meta.threads = threads as u32;
    Ok(Profiled { trace: laid(trace, model, None, settings), outputs: Vec::new() })
}

/// Runs of two sessions in turn.
struct Turns<'a> {
    settings: &'a Settings,
    /// True if a session's threads go on spinning after a run.
    spins: bool,
    /// Layers of a run.
    nodes: u32,
}

/// What runs took, seen from here.
struct Times {
    unprofiled_ns: Vec<u64>,
    /// With warm-up runs, which are marked.
    profiled_ns: Vec<(u64, bool)>,
}

impl Turns<'_> {
    fn take(
        &self,
        plain: &mut dyn EngineSession,
        profiled: &mut dyn EngineSession,
        control: &Control,
    ) -> Result<Times, StudyError> {
        let cancel = control.flag();
        let mut times = Times { unprofiled_ns: Vec::new(), profiled_ns: Vec::new() };
        for _ in 0..self.settings.warmup {
            times.profiled_ns.push((profiled.run(cancel)?, true));
        }
        let mut pace = Pace::new(self.settings.budget);
        pace.at_most(MOST_EVENTS / self.nodes.saturating_add(2));
        let mut row = 1;
        while pace.goes_on(&times.unprofiled_ns, control)? {
            let row_now = pace.in_a_row(row);
            for recorded in pace.order() {
                if self.spins {
                    thread::sleep(UNTIL_SLEEP);
                    // Threads wake up in a run that does not count.
                    match recorded {
                        true => times.profiled_ns.push((profiled.run(cancel)?, true)),
                        false => drop(plain.run(cancel)?),
                    }
                }
                for _ in 0..row_now {
                    match recorded {
                        true => times.profiled_ns.push((profiled.run(cancel)?, false)),
                        false => times.unprofiled_ns.push(plain.run(cancel)?),
                    }
                }
            }
            if let (true, Some(&last)) = (self.spins, times.unprofiled_ns.last()) {
                row = (ROW.as_nanos() as u64 / last.max(1)).clamp(1, 50) as u32;
            }
        }
        Ok(times)
    }
}

/// Marks warm-up runs, and lets each run take as long as it took seen from here: unrecorded runs are seen so too.
fn place_runs(trace: &mut Trace, taken: &[(u64, bool)]) -> Result<(), String> {
    if trace.runs.len() != taken.len() {
        let (have, want) = (trace.runs.len(), taken.len());
        return Err(format!("ONNX Runtime's profile holds {have} of {want} runs: which were warm-up is not known"));
    }
    let next: Vec<u64> = trace.runs.iter().skip(1).map(|r| r.start_ns).chain([u64::MAX]).collect();
    for ((run, &(ns, warmup)), next) in trace.runs.iter_mut().zip(taken).zip(next) {
        let end_ns = run.start_ns.saturating_add(ns).min(next).max(run.end_ns);
        *run = Run { end_ns, warmup, ..*run };
    }
    Ok(())
}

fn constant_bytes(model: &Model) -> u64 {
    let constants = model.graph.values.iter().filter_map(|v| v.constant.as_ref());
    constants.map(|t| t.bytes().len() as u64).sum()
}

/// The trace with its rows found in the model, as far as they are.
fn laid(mut trace: Trace, model: &Model, optimised: Option<&Model>, settings: &Settings) -> Trace {
    let found = match optimised {
        Some(optimised) => overlay_optimised(&trace, model, optimised, settings),
        None => overlay(&trace, model, settings),
    };
    match found {
        Ok((laid, report)) => {
            log::info!("{}; not found: {:?}", report.summary(), report.unmatched);
            laid
        }
        Err(e) => {
            trace.meta.warnings.push(e.to_string());
            trace.nodes = source_nodes(&model.graph);
            trace
        }
    }
}

#[cfg(test)]
#[path = "peer/tests.rs"]
mod tests;
