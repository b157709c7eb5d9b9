//! What a reduced precision costs: layer by layer, at the outputs, and on the sample's own task.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::{Precision, Session};
use graph::{DType, Model, Tensor};
use profiler::accuracy::{Comparison, kl_nats, top1_agreement};
use profiler::{Accuracy, Layer, LayerAccuracy, OutputAccuracy, Recorder, Summary, Trace};

use crate::evaluation::{self, Score};
use crate::inputs::{default_dims, make_inputs};
use crate::latency::{profile, shapes_of};
use crate::runner::{Executor, Runner, Wanted};
use crate::settings::{Budget, Control, DeviceChoice, Settings, StudyError};

/// Kept outputs of the reference may not take more than this.
const KEPT_LIMIT: usize = 4 << 30;

/// Compares each scheme with f32 on the CPU, and gives a trace that holds the f32 profile and one accuracy entry per scheme.
pub fn accuracy(
    model: &Arc<Model>,
    settings: &Settings,
    schemes: &[Precision],
    control: &Control,
) -> Result<Trace, StudyError> {
    let base = Settings {
        precision: Precision::F32,
        device: DeviceChoice::Cpu,
        budget: Budget::Seconds(1.0),
        warmup: settings.warmup.min(2),
        ..settings.clone()
    };
    let mut trace = profile(model, &base, control)?.trace;
    let data = evaluation::data(model)?;
    let inputs = match &data {
        // Real inputs where there are some, unless the user gave their own.
        Some(d) if settings.inputs.is_empty() => d.example(),
        _ => make_inputs(model, &base, &default_dims(model, &base))?,
    };
    let kept = reference(model, &base, &inputs, control)?;
    let reference_score = match &data {
        Some(d) => Some(evaluation::score(model, &base, d, control, "Evaluating f32")?),
        None => None,
    };
    for &precision in schemes.iter().filter(|&&p| p != Precision::F32) {
        let scheme = Settings { precision, ..base.clone() };
        let mut a = compare(model, &scheme, &inputs, &kept, &trace.layers, control)?;
        let (latency, weights) = latency(model, &scheme, control)?;
        a.latency_ns = latency;
        a.weights_bytes = weights;
        if let (Some(d), Some(reference)) = (&data, &reference_score) {
            let stage = format!("Evaluating {precision}");
            let score: Score = evaluation::score(model, &scheme, d, control, &stage)?;
            a.task = evaluation::compare(reference, &score);
        }
        trace.accuracy.push(a);
    }
    Ok(trace)
}

/// What the f32 run made: each step's inputs and first output, and the model's outputs.
struct Reference {
    steps: Vec<(Vec<Option<Tensor>>, Option<Tensor>)>,
    names: Vec<String>,
    outputs: Vec<(String, Tensor)>,
}

fn tapped_session(
    model: &Model,
    settings: &Settings,
    inputs: &HashMap<String, Tensor>,
    control: &Control,
) -> Result<(Runner, Recorder), StudyError> {
    let mut off = Recorder::off();
    let wanted = Wanted { shapes: shapes_of(inputs), keep_all: true };
    let mut runner = Runner::new(model, settings, &default_dims(model, settings), wanted, &mut off, control)?;
    runner.feed(inputs)?;
    Ok((runner, off))
}

fn cpu(runner: &mut Runner) -> Result<&mut Session, StudyError> {
    match &mut runner.executor {
        Executor::Cpu(s) => Ok(s),
        Executor::Gpu(_) => Err(StudyError::Settings("accuracy is measured on the CPU".into())),
    }
}

fn reference(
    model: &Model,
    settings: &Settings,
    inputs: &HashMap<String, Tensor>,
    control: &Control,
) -> Result<Reference, StudyError> {
    control.step("Running the f32 reference", None, None)?;
    let (mut runner, mut off) = tapped_session(model, settings, inputs, control)?;
    let names = runner.plan.layers.iter().map(|l| l.name.clone()).collect();
    let mut steps = Vec::with_capacity(runner.plan.steps.len());
    let constants: Vec<bool> = runner.plan.layers.iter().map(|l| l.weight_bytes > 0).collect();
    let mut bytes = 0usize;
    let session = cpu(&mut runner)?;
    session.run_tapped(
        &mut off,
        control.flag(),
        Some(&mut |t| {
            let out = t.outputs.first().copied().flatten().filter(|o| o.dtype == DType::F32).map(|o| o.to_tensor());
            bytes += out.as_ref().map_or(0, |o| o.bytes().len());
            if bytes > KEPT_LIMIT {
                return Err(engine::EngineError::Memory {
                    what: "keeping every layer's output for comparison".into(),
                    need: bytes as u64,
                    limit: KEPT_LIMIT as u64,
                });
            }
            // Weights are shared and cost nothing. A layer without weights is never quantized alone, so its inputs are not kept.
            let weighted = t.inputs.len() > 1 && constants[t.step];
            steps.push((if weighted { t.inputs } else { Vec::new() }, out));
            Ok(())
        }),
    )?;
    let outputs = session.outputs()?;
    Ok(Reference { steps, names, outputs })
}

fn compare(
    model: &Model,
    settings: &Settings,
    inputs: &HashMap<String, Tensor>,
    reference: &Reference,
    ran: &[Layer],
    control: &Control,
) -> Result<Accuracy, StudyError> {
    let precision = settings.precision;
    control.step(&format!("Comparing {precision}, layer by layer"), None, None)?;
    let (mut runner, mut off) = tapped_session(model, settings, inputs, control)?;
    let simulated = runner.plan.simulated;
    let of_run = names_in_run(ran, &runner.plan.layers);
    let names: Vec<String> = runner.plan.layers.iter().map(|l| l.name.clone()).collect();
    // Layers are matched by name: a precision can change how the plan fuses.
    let by_name: HashMap<&str, usize> = reference.names.iter().enumerate().map(|(i, n)| (n.as_str(), i)).collect();
    let session = cpu(&mut runner)?;
    let mut layers: Vec<LayerAccuracy> = Vec::new();
    let mut places: Vec<(usize, usize)> = Vec::new();
    session.run_tapped(
        &mut off,
        control.flag(),
        Some(&mut |t| {
            let Some(&at) = by_name.get(names[t.step].as_str()) else { return Ok(()) };
            let Some(want) = reference.steps.get(at).and_then(|s| s.1.as_ref()) else { return Ok(()) };
            let Some(have) = t.outputs.first().copied().flatten() else { return Ok(()) };
            let Some(c) = compared(want, have.f32().ok()) else { return Ok(()) };
            places.push((t.step, at));
            layers.push(LayerAccuracy {
                layer: of_run.get(&t.step).unwrap_or(&names[t.step]).clone(),
                local_sqnr_db: None,
                cumulative_sqnr_db: c.sqnr_db(),
                cosine: c.cosine(),
                max_abs: c.max_abs(),
                exact: c.exact,
            });
            Ok(())
        }),
    )?;
    let outputs = session.outputs()?;
    for (layer, (step, at)) in layers.iter_mut().zip(places) {
        if control.is_cancelled() {
            return Err(StudyError::Cancelled);
        }
        let (inputs, want) = &reference.steps[at];
        if inputs.is_empty() {
            continue;
        }
        let made = session.run_alone(step, inputs)?;
        let have = made.first().cloned().flatten();
        let c = want.as_ref().zip(have.as_ref()).and_then(|(w, h)| compared(w, h.elements::<f32>().ok().as_deref()));
        // A layer whose own weights did not change is exact on exact inputs: it has no local error.
        layer.local_sqnr_db = c.filter(|c| !c.exact).and_then(|c| c.sqnr_db());
    }
    Ok(Accuracy {
        scheme: precision.name().into(),
        description: describe_scheme(precision, simulated),
        simulated,
        layers: one_per_layer(layers),
        outputs: output_errors(&reference.outputs, &outputs),
        samples: inputs.values().next().and_then(|t| t.shape().first()).map_or(1, |&n| n as u32),
        ..Accuracy::default()
    })
}

/// The name of the layer of a run that each tapped step became part of. Nothing is fused across a tap that a run fuses for speed alone: a sum
/// after a convolution is a step of its own here.
fn names_in_run(ran: &[Layer], tapped: &[Layer]) -> HashMap<usize, String> {
    let sources = |l: &Layer| l.source_nodes.iter().map(|n| (n.clone(), l.name.clone())).collect::<Vec<_>>();
    let of_node: HashMap<String, String> = ran.iter().flat_map(sources).collect();
    let name = |l: &Layer| l.source_nodes.iter().find_map(|n| of_node.get(n)).cloned();
    tapped.iter().enumerate().filter_map(|(i, l)| Some((i, name(l)?))).collect()
}

/// Steps that are one layer of the run, as one: the error is that after the last of them, on exact inputs that of the one with weights.
fn one_per_layer(steps: Vec<LayerAccuracy>) -> Vec<LayerAccuracy> {
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    let mut layers: Vec<LayerAccuracy> = Vec::with_capacity(steps.len());
    for step in steps {
        match places.get(&step.layer) {
            Some(&at) => {
                let alone = step.local_sqnr_db.or(layers[at].local_sqnr_db);
                layers[at] = LayerAccuracy { local_sqnr_db: alone, ..step };
            }
            None => {
                places.insert(step.layer.clone(), layers.len());
                layers.push(step);
            }
        }
    }
    layers
}

fn compared(want: &Tensor, have: Option<&[f32]>) -> Option<Comparison> {
    Comparison::of(&want.elements::<f32>().ok()?, have?)
}

fn output_errors(want: &[(String, Tensor)], have: &[(String, Tensor)]) -> Vec<OutputAccuracy> {
    let pairs = want.iter().zip(have).filter(|(a, b)| a.0 == b.0 && a.1.dtype() == DType::F32);
    pairs
        .filter_map(|((name, a), (_, b))| {
            let (x, y) = (a.elements::<f32>().ok()?, b.elements::<f32>().ok()?);
            let c = Comparison::of(&x, &y)?;
            let width = a.shape().last().copied().filter(|&w| w > 1);
            Some(OutputAccuracy {
                name: name.clone(),
                sqnr_db: c.sqnr_db(),
                mse: c.mse(),
                kl_nats: width.and_then(|w| kl_nats(&x, &y, w)).map(|m| m.mean),
                top1_agreement: width.and_then(|w| top1_agreement(&x, &y, w)),
            })
        })
        .collect()
}

fn describe_scheme(p: Precision, simulated: bool) -> String {
    let mut s = match p {
        Precision::F32 => "f32".to_owned(),
        Precision::F16 => "weights rounded to f16, arithmetic in f32".into(),
        Precision::Bf16 => "weights rounded to bf16, arithmetic in f32".into(),
        Precision::Int8 => "symmetric weights per channel, dynamic activations per row, integer products".into(),
        Precision::Int4 => "symmetric weights in groups of 32, activations in f32".into(),
    };
    if simulated && matches!(p, Precision::Int8 | Precision::Int4) {
        s.push_str("; convolutions dequantised on load");
    }
    s
}

/// Median latency and weights of a scheme, from a short run of its own.
fn latency(model: &Arc<Model>, settings: &Settings, control: &Control) -> Result<(Option<u64>, u64), StudyError> {
    let stage = format!("Timing {}", settings.precision);
    control.step(&stage, None, None)?;
    let mut off = Recorder::off();
    let dims = default_dims(model, settings);
    let inputs = make_inputs(model, settings, &dims)?;
    let wanted = Wanted { shapes: shapes_of(&inputs), ..Wanted::default() };
    let mut runner = Runner::new(model, settings, &dims, wanted, &mut off, control)?;
    runner.feed(&inputs)?;
    let start = Instant::now();
    let mut times = Vec::new();
    while times.len() < 5 || (start.elapsed() < Duration::from_millis(500) && times.len() < 200) {
        control.step(&stage, Some(start.elapsed().as_secs_f32().min(0.5) * 2.0), None)?;
        let at = Instant::now();
        runner.run(&mut off, control)?;
        times.push(at.elapsed().as_nanos() as u64);
    }
    // The first runs warm the caches.
    Ok((Summary::of(&times[2..]).map(|s| s.median as u64), runner.plan.weights_bytes as u64))
}
