//! Engines against each other: the same model, the same inputs, in turn in one process.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use graph::{Model, Tensor};
use peers::{Engine, EngineSession, OnnxRuntime, PeerError, Request};
use profiler::compare::median_interval;
use profiler::{Recorder, Summary, Trace};
use serde::{Deserialize, Serialize};

use crate::devices::ResidentMemory;
use crate::engines::EngineChoice;
use crate::inputs::{default_dims, make_inputs};
use crate::latency::{shapes_of, short_name};
use crate::peer::{ModelFile, UNTIL_SLEEP, in_order, options};
use crate::runner::{Runner, Wanted};
use crate::settings::{Control, Settings, StudyError};

/// A turn takes about this long where the number of runs is left open.
const TURN: Duration = Duration::from_millis(250);

/// What is measured against what.
#[derive(Clone, Debug)]
pub struct BenchPlan {
    /// The engines; ratios are of the first over each of the others.
    pub engines: Vec<EngineChoice>,
    /// Turns of each engine.
    pub rounds: u32,
    /// Runs of a turn; `None` = about a quarter of a second's worth.
    pub runs: Option<u32>,
}

/// One model at one number of threads.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BenchRow {
    /// The model's short name.
    pub model: String,
    /// CPU threads.
    pub threads: usize,
    /// Values of symbolic dimensions.
    pub dims: BTreeMap<String, usize>,
    /// One entry per engine.
    pub engines: Vec<BenchEngine>,
    /// The first engine's median over that of each other.
    pub ratios: Vec<BenchRatio>,
}

/// How an engine did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BenchEngine {
    /// As it was asked for.
    pub engine: String,
    /// Its name and version.
    pub name: String,
    /// The median over rounds of a round's median.
    pub median_ns: f64,
    /// Each round's median.
    pub rounds_ns: Vec<f64>,
    /// Runs of a round.
    pub runs: u32,
    /// The largest difference of an output from the first engine's, over the largest value of that output; `None` for the
    /// first, and where outputs can't be compared.
    pub output_error: Option<f64>,
    /// What it takes to load, measured in a process of its own; `None` if it was not.
    pub load: Option<LoadCost>,
}

/// A ratio of latencies.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BenchRatio {
    /// Whose median is divided.
    pub engine: String,
    /// By whose.
    pub over: String,
    /// The median over rounds of the ratio of two medians of one round.
    pub ratio: f64,
    /// Its 95% interval over rounds; `None` for too few rounds.
    pub interval: Option<(f64, f64)>,
}

/// What loading a model takes, in a process that did nothing before.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoadCost {
    /// From the file to a model that is ready.
    pub load_ns: u64,
    /// The first run.
    pub first_run_ns: u64,
    /// Resident memory after the first run, above what it was before loading.
    pub memory_bytes: Option<u64>,
    /// The largest resident memory until then, above what it was before loading.
    pub memory_peak_bytes: Option<u64>,
}

/// Our engine behind the seam.
struct Own<'a> {
    settings: &'a Settings,
    control: &'a Control,
}

struct OwnSession {
    runner: Runner,
    load_ns: u64,
}

impl Engine for Own<'_> {
    fn name(&self) -> &str {
        "stratoscope"
    }

    fn version(&self) -> &str {
        env!("CARGO_PKG_VERSION")
    }

    fn open(&self, request: &Request, _: &AtomicBool) -> Result<Box<dyn EngineSession>, PeerError> {
        let start = Instant::now();
        let fed = request.inputs.iter().cloned().collect();
        let open = || -> Result<Runner, StudyError> {
            let model = formats::open(request.model)?;
            let settings = Settings { threads: Some(request.threads), ..self.settings.clone() };
            let dims = default_dims(&model, &settings);
            let wanted = Wanted { shapes: shapes_of(&fed), ..Wanted::default() };
            let mut runner = Runner::new(&model, &settings, &dims, wanted, &mut Recorder::off(), self.control)?;
            runner.feed(&fed)?;
            Ok(runner)
        };
        let runner = open().map_err(from_study)?;
        Ok(Box::new(OwnSession { runner, load_ns: start.elapsed().as_nanos() as u64 }))
    }
}

fn from_study(e: StudyError) -> PeerError {
    match e {
        StudyError::Cancelled => PeerError::Cancelled,
        e => ours(e),
    }
}

fn ours(e: impl std::fmt::Display) -> PeerError {
    PeerError::Engine { engine: "stratoscope".to_owned(), message: e.to_string() }
}

impl EngineSession for OwnSession {
    fn load_ns(&self) -> u64 {
        self.load_ns
    }

    fn run(&mut self, cancel: &AtomicBool) -> Result<u64, PeerError> {
        let start = Instant::now();
        self.runner.run_until(&mut Recorder::off(), cancel).map_err(from_study)?;
        Ok(start.elapsed().as_nanos() as u64)
    }

    fn outputs(&mut self, cancel: &AtomicBool) -> Result<Vec<(String, Tensor)>, PeerError> {
        self.run(cancel)?;
        self.runner.outputs().map_err(ours)
    }

    fn profile(&mut self) -> Result<Trace, PeerError> {
        Err(ours("this session does not record"))
    }
}

fn engine_of<'a>(
    choice: &EngineChoice,
    settings: &'a Settings,
    control: &'a Control,
) -> Result<Box<dyn Engine + 'a>, StudyError> {
    match choice {
        EngineChoice::Own => Ok(Box::new(Own { settings, control })),
        EngineChoice::OnnxRuntime { library } => Ok(Box::new(OnnxRuntime::load(library.as_deref(), control.flag())?)),
        EngineChoice::External(_) => {
            Err(StudyError::Settings("a command can't take turns with other engines in one process".to_owned()))
        }
    }
}

/// An engine in the race.
struct Racer {
    choice: EngineChoice,
    name: String,
    session: Box<dyn EngineSession>,
    outputs: Vec<(String, Tensor)>,
    runs: u32,
    rounds_ns: Vec<f64>,
}

/// Measures a model in several engines, with the threads that the settings give.
pub fn bench(
    model: &Arc<Model>,
    plan: &BenchPlan,
    settings: &Settings,
    control: &Control,
) -> Result<BenchRow, StudyError> {
    let cancel = control.flag();
    let threads = settings.threads.unwrap_or(crate::devices::cpu().cores).max(1);
    let dims = default_dims(model, settings);
    let inputs = in_order(model, &make_inputs(model, settings, &dims)?);
    let file = ModelFile::of(model)?;
    let options = options(settings)?;
    // A sample's file alone does not tell its dimensions.
    let settings = &Settings { dims: dims.clone(), ..settings.clone() };
    let mut racers: Vec<Racer> = Vec::new();
    for choice in &plan.engines {
        control.step(&format!("Loading {}", choice.label()), None, None)?;
        let engine = engine_of(choice, settings, control)?;
        let request = Request { model: &file.path, inputs: &inputs, threads, options: &options, profiled: false };
        let mut session = engine.open(&request, cancel)?;
        let outputs = session.outputs(cancel)?;
        let mut last = 0;
        for _ in 0..settings.warmup.max(1) {
            last = session.run(cancel)?;
        }
        let enough = (TURN.as_nanos() as u64 / last.max(1)).clamp(3, 5000) as u32;
        let name = format!("{} {}", engine.name(), engine.version());
        let runs = plan.runs.unwrap_or(enough);
        racers.push(Racer { choice: choice.clone(), name, session, outputs, runs, rounds_ns: Vec::new() });
    }
    let start = Instant::now();
    let count = racers.len();
    for round in 0..plan.rounds.max(1) {
        let share = round as f32 / plan.rounds.max(1) as f32;
        let left = (round > 0).then(|| start.elapsed().mul_f32((plan.rounds - round) as f32 / round as f32));
        for k in 0..count {
            control.step("Measuring", Some(share), left)?;
            // Who goes first alternates, and so does who follows whom.
            let at = if round % 2 == 0 { k } else { count - 1 - k };
            if threads > 1 {
                thread::sleep(UNTIL_SLEEP);
            }
            let racer = &mut racers[at];
            // The caches hold another engine's weights.
            for _ in 0..2 {
                racer.session.run(cancel)?;
            }
            let times: Result<Vec<u64>, PeerError> = (0..racer.runs).map(|_| racer.session.run(cancel)).collect();
            racer.rounds_ns.extend(Summary::of(&times?).map(|s| s.median));
        }
    }
    Ok(row(model, threads, dims, &racers))
}

fn row(model: &Model, threads: usize, dims: BTreeMap<String, usize>, racers: &[Racer]) -> BenchRow {
    let engines: Vec<BenchEngine> = racers
        .iter()
        .enumerate()
        .map(|(i, r)| BenchEngine {
            engine: r.choice.to_string(),
            name: r.name.clone(),
            median_ns: median(&r.rounds_ns),
            rounds_ns: r.rounds_ns.clone(),
            runs: r.runs,
            output_error: if i == 0 { None } else { output_error(&racers[0].outputs, &r.outputs) },
            load: None,
        })
        .collect();
    let ratios = engines.iter().skip(1).map(|other| ratio(&engines[0], other)).collect();
    BenchRow { model: short_name(model), threads, dims, engines, ratios }
}

fn ratio(first: &BenchEngine, other: &BenchEngine) -> BenchRatio {
    let ratios: Vec<f64> = first.rounds_ns.iter().zip(&other.rounds_ns).map(|(a, b)| a / b).collect();
    BenchRatio {
        engine: first.engine.clone(),
        over: other.engine.clone(),
        ratio: median(&ratios),
        interval: median_interval(&ratios, 0.95),
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[middle],
        _ => (sorted[middle - 1] + sorted[middle]) / 2.0,
    }
}

/// The largest difference over the largest value, the worst of all outputs; `None` if one can't be compared.
fn output_error(want: &[(String, Tensor)], have: &[(String, Tensor)]) -> Option<f64> {
    let mut worst: Option<f64> = None;
    for (name, want) in want {
        let (_, have) = have.iter().find(|(n, _)| n == name)?;
        if want.shape() != have.shape() {
            return None;
        }
        let (want, have) = (floats(want)?, floats(have)?);
        let largest = want.iter().fold(0.0_f64, |m, v| m.max(v.abs()));
        let difference = want.iter().zip(&have).fold(0.0_f64, |m, (a, b)| {
            let d = (a - b).abs();
            if d.is_nan() && !(a.is_nan() && b.is_nan()) { f64::INFINITY } else { m.max(d) }
        });
        let error = if difference == 0.0 { 0.0 } else { difference / largest };
        worst = Some(worst.map_or(error, |w| w.max(error)));
    }
    worst
}

fn floats(t: &Tensor) -> Option<Vec<f64>> {
    if let Some(integers) = t.to_i64() {
        return Some(integers.into_iter().map(|v| v as f64).collect());
    }
    match t.dtype() {
        graph::DType::F32 => Some(t.elements::<f32>().ok()?.iter().map(|&v| f64::from(v)).collect()),
        graph::DType::F64 => Some(t.elements::<f64>().ok()?.to_vec()),
        graph::DType::F16 => Some(t.elements::<half::f16>().ok()?.iter().map(|&v| v.to_f64()).collect()),
        graph::DType::BF16 => Some(t.elements::<half::bf16>().ok()?.iter().map(|&v| v.to_f64()).collect()),
        _ => None,
    }
}

/// What it takes to load a model in the engine that the settings name. It is to run in a process of its own: memory is the
/// process's.
pub fn load_cost(path: &Path, settings: &Settings, control: &Control) -> Result<LoadCost, StudyError> {
    let cancel = control.flag();
    let threads = settings.threads.unwrap_or(crate::devices::cpu().cores).max(1);
    let options = options(settings)?;
    let (file, inputs, dims) = {
        let model = crate::open(path)?;
        let dims = default_dims(&model, settings);
        (ModelFile::of(&model)?, in_order(&model, &make_inputs(&model, settings, &dims)?), dims)
    };
    let settings = &Settings { dims, ..settings.clone() };
    let engine = engine_of(&settings.engine, settings, control)?;
    let request = Request { model: &file.path, inputs: &inputs, threads, options: &options, profiled: false };
    let mut resident = ResidentMemory::new();
    let before = resident.bytes();
    let peak_is_new = forget_peak();
    let mut session = engine.open(&request, cancel)?;
    let first_run_ns = session.run(cancel)?;
    let above = |bytes: u64| (before > 0 && bytes > 0).then(|| bytes.saturating_sub(before));
    let peak = if peak_is_new { peak_bytes() } else { None };
    Ok(LoadCost {
        load_ns: session.load_ns(),
        first_run_ns,
        memory_bytes: above(resident.bytes()),
        memory_peak_bytes: peak.and_then(above),
    })
}

/// Lets the process's peak memory begin anew; false where that can't be done.
fn forget_peak() -> bool {
    cfg!(target_os = "linux") && std::fs::write("/proc/self/clear_refs", "5").is_ok()
}

/// The process's peak memory, where the system tells it.
fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_take_turns() {
        let model = crate::samples::find("digits_cnn").unwrap().open().unwrap();
        let plan = BenchPlan { engines: vec![EngineChoice::Own, EngineChoice::Own], rounds: 5, runs: Some(3) };
        let settings = Settings { threads: Some(1), warmup: 1, ..Settings::default() };
        let row = bench(&model, &plan, &settings, &Control::silent()).unwrap();
        assert_eq!((row.model.as_str(), row.threads, row.engines.len(), row.ratios.len()), ("digits_cnn", 1, 2, 1));
        assert!(row.engines.iter().all(|e| e.rounds_ns.len() == 5 && e.median_ns > 0.0));
        assert_eq!(row.engines[1].output_error, Some(0.0), "the same engine twice");
        let (low, high) = row.ratios[0].interval.unwrap();
        assert!(low <= row.ratios[0].ratio && row.ratios[0].ratio <= high, "{row:?}");
        let control = Control::silent();
        control.cancel();
        assert!(matches!(bench(&model, &plan, &settings, &control), Err(StudyError::Cancelled)));
        let command = BenchPlan { engines: vec![EngineChoice::External("x {profile}".into())], ..plan };
        assert!(bench(&model, &command, &settings, &Control::silent()).is_err());
    }

    #[test]
    fn differences_of_outputs() {
        let named = |v: &[f32]| vec![("y".to_owned(), Tensor::from_vec(&[v.len()], v.to_vec()))];
        assert_eq!(output_error(&named(&[1.0, -4.0]), &named(&[1.0, -4.0])), Some(0.0));
        assert_eq!(output_error(&named(&[1.0, -4.0]), &named(&[2.0, -4.0])), Some(0.25));
        assert_eq!(output_error(&named(&[1.0]), &named(&[f32::NAN])), Some(f64::INFINITY));
        assert_eq!(output_error(&named(&[1.0]), &named(&[1.0, 2.0])), None);
        assert_eq!(output_error(&named(&[1.0]), &[]), None);
    }

    #[test]
    fn a_load_has_its_cost() {
        let settings = Settings { threads: Some(1), ..Settings::default() };
        let cost = load_cost(Path::new("sample:digits_vit"), &settings, &Control::silent()).unwrap();
        assert!(cost.load_ns > 0 && cost.first_run_ns > 0, "{cost:?}");
    }
}
