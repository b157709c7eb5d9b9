//! PyTorch's profiler (Kineto): Chrome trace events with operators, kernels and Python's functions. The outermost operators
//! are layers. Where they launched kernels, a layer's time is that of its kernels, on the device. Steps of the profiler are
//! runs, and the n-th call of an operator in each step is one layer.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

use serde::Deserialize;
use serde_json::Value;

use super::event::Event;
use super::events::{self, Around, Counters, Dialect, Read, What};
use super::onnxruntime::in_order_of_appearance;
use super::source::Source;
use super::{Problem, has, json_start, ops};
use crate::recorder::assign_runs;
use crate::{Layer, LayerId, Quality, Run, RunId, SpanId, Spans, Trace, TrackKind};

const STEP: &str = "ProfilerStep#";
const MODULE: &str = "nn.Module: ";
/// Beyond this many layers, calls of an operator with the same inputs are not told apart.
const MANY: usize = 50_000;

pub(super) fn matches(head: &[u8]) -> bool {
    json_start(head) == Some(b'{')
        && (has(head, "\"deviceProperties\"") || has(head, "\"baseTimeNanoseconds\""))
        && has(head, "\"traceEvents\"")
}

pub(super) fn read(source: &mut Source) -> Result<Trace, Problem> {
    events::read(source, Kineto::default(), false)
}

#[derive(Default)]
struct Kineto {
    /// Operators and kernels by name and input types.
    kinds: Vec<Kind>,
    kind_of: HashMap<(u32, String), u32>,
    /// Spans that are steps, in the order of the file.
    steps: Vec<u32>,
    /// Spans that are annotations or modules: they make up scopes.
    places: Vec<u32>,
    /// The operator of each `External id`.
    operators: HashMap<u64, u32>,
    /// Kernels and the operator that launched them.
    kernels: Vec<(u32, u64)>,
    base_ns: Option<u64>,
    device: String,
}

struct Kind {
    op: String,
    inputs: Vec<String>,
    on_device: bool,
}

#[derive(Deserialize, Default)]
struct Args<'a> {
    #[serde(rename = "External id")]
    external: Option<u64>,
    #[serde(rename = "Input Dims", default)]
    dims: Value,
    #[serde(rename = "Input type", default, borrow)]
    types: Option<Vec<Cow<'a, str>>>,
}

impl Args<'_> {
    /// Types of the inputs that are tensors.
    fn inputs(&self) -> Vec<String> {
        let types = self.types.as_deref().unwrap_or_default();
        let dims = |v: &Value| v.as_array()?.iter().map(Value::as_i64).collect::<Option<Vec<i64>>>();
        let inputs = self.dims.as_array().into_iter().flatten().enumerate().filter_map(|(i, v)| {
            let dims = dims(v)?;
            let kind = types.get(i).map_or("", |t| t.as_ref());
            let scalar = matches!(kind, "" | "Scalar" | "ScalarList" | "TensorList" | "GenericList");
            (!dims.is_empty() || !scalar).then(|| ops::tensor(kind, &dims))
        });
        inputs.collect()
    }
}

impl Dialect for Kineto {
    fn span(&mut self, event: &Event, around: Around) -> What {
        let Around { name, index: i, row, .. } = around;
        let mut what = What::default();
        match &*event.cat {
            "cpu_op" | "Operator" => {
                let args: Args = event.args_as().unwrap_or_default();
                if let Some(id) = args.external {
                    self.operators.insert(id, i);
                }
                row.kind = Some(TrackKind::Cpu);
                what.layer = Some(self.kind(name, event, args.inputs(), false));
            }
            "kernel" | "gpu_memcpy" | "gpu_memset" | "Kernel" | "Memcpy" | "Memset" => {
                let args: Args = event.args_as().unwrap_or_default();
                if let Some(id) = args.external {
                    self.kernels.push((i, id));
                }
                row.kind = Some(TrackKind::Gpu);
                what.layer = Some(self.kind(name, event, Vec::new(), true));
                what.quality = Quality::GpuTimestamp;
            }
            "cuda_runtime" | "cuda_driver" | "Runtime" if row.kind.is_none() => row.kind = Some(TrackKind::Submit),
            "user_annotation" if event.name.starts_with(STEP) => self.steps.push(i),
            "user_annotation" => self.places.push(i),
            "python_function" if event.name.starts_with(MODULE) => self.places.push(i),
            _ => {}
        }
        what
    }

    fn instant(&mut self, event: &Event, at: i64, counters: &mut Counters) {
        if &*event.name == "[memory]" {
            let args = event.args();
            let device = match args.get("Device Type").and_then(Value::as_i64) {
                Some(0) | None => "CPU".to_owned(),
                Some(_) => format!("GPU {}", args.get("Device Id").and_then(Value::as_i64).unwrap_or(0)),
            };
            for (key, name) in [("Total Allocated", "allocated"), ("Total Reserved", "reserved")] {
                if let Some(bytes) = args.get(key).and_then(Value::as_f64).filter(|&b| b > 0.0 || name == "allocated") {
                    counters.add(event.process(), &format!("{device} memory {name}"), "bytes", at, bytes);
                }
            }
        }
    }

    fn member(&mut self, key: &str, value: &[u8]) {
        let value = || serde_json::from_slice::<Value>(value).unwrap_or_default();
        match key {
            "baseTimeNanoseconds" => self.base_ns = value().as_u64(),
            "deviceProperties" => {
                let value = value();
                let mut names: Vec<&str> =
                    value.as_array().into_iter().flatten().filter_map(|d| d.get("name")?.as_str()).collect();
                names.dedup();
                self.device = names.join(", ");
            }
            _ => {}
        }
    }

    fn finish(self, read: Read) -> Result<Trace, Problem> {
        let Read { mut trace, order, origin, .. } = read;
        let mut now_at = vec![0u32; order.len()];
        for (now, &was) in order.iter().enumerate() {
            now_at[was as usize] = now as u32;
        }
        let at = |was: u32| now_at[was as usize] as usize;
        for &step in &self.steps {
            let (start_ns, end_ns) = (trace.spans.start_ns[at(step)], trace.spans.end_ns[at(step)]);
            trace.runs.push(Run { start_ns, end_ns, warmup: false });
        }
        trace.runs.sort_by_key(|r| (r.start_ns, r.end_ns));
        assign_runs(&mut trace);

        // The outermost operator around each span.
        let s = &mut trace.spans;
        let kinds: Vec<Option<u32>> = s.layer.iter().map(|l| l.map(|l| l.0)).collect();
        let mut outermost: Vec<Option<u32>> = Vec::with_capacity(s.len());
        for i in 0..s.len() {
            let around = s.parent[i].and_then(|p| outermost[p.index()]);
            outermost.push(around.or(kinds[i].map(|_| i as u32)));
        }
        // The call that each span counts to: kernels to the operator that launched them.
        let mut call: Vec<Option<u32>> = (0..s.len()).map(|i| outermost[i].filter(|&o| o as usize == i)).collect();
        for &(kernel, id) in &self.kernels {
            let launched_by = self.operators.get(&id).and_then(|&op| outermost[at(op)]);
            if let Some(op) = launched_by {
                call[at(kernel)] = Some(op);
                call[op as usize] = None;
                s.run[at(kernel)] = s.run[op as usize];
            }
        }
        let mut place = vec![false; s.len()];
        for &p in &self.places {
            place[at(p)] = true;
        }
        name_calls(&mut trace, &call, &kinds, &self.kinds, &place);
        in_order_of_appearance(&mut trace);

        let meta = &mut trace.meta;
        "PyTorch".clone_into(&mut meta.producer);
        "PyTorch's profiler (Kineto)".clone_into(&mut meta.clock.strategy);
        meta.clock.resolution_ns = 1;
        let gpu = !self.device.is_empty();
        meta.device = if gpu { self.device } else { "CPU".to_owned() };
        meta.device_kind = if gpu { "gpu" } else { "cpu" }.to_owned();
        let start = i128::from(self.base_ns.unwrap_or(0)) + i128::from(origin);
        meta.created_unix_s = u64::try_from(start / 1_000_000_000).unwrap_or(0);
        Ok(trace)
    }
}

impl Kineto {
    fn kind(&mut self, name: u32, event: &Event, inputs: Vec<String>, on_device: bool) -> u32 {
        match self.kind_of.entry((name, inputs.join(";"))) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(new) => {
                self.kinds.push(Kind { op: event.name.clone().into_owned(), inputs, on_device });
                *new.insert((self.kinds.len() - 1) as u32)
            }
        }
    }
}

/// Makes layers of calls. Within runs, the n-th call of an operator is the same layer in each; elsewhere, calls of the same
/// operator with the same inputs from the same place are.
fn name_calls(trace: &mut Trace, call: &[Option<u32>], kinds: &[Option<u32>], table: &[Kind], place: &[bool]) {
    let s = &mut trace.spans;
    let runs = !trace.runs.is_empty();
    let mut calls: Vec<u32> = call.iter().flatten().copied().collect();
    calls.sort_unstable_by_key(|&c| (s.start_ns[c as usize], c));
    calls.dedup();
    let scopes = Scopes::of(s, place);
    let calls = calls.into_iter().filter_map(|c| Some((c as usize, kinds[c as usize]?)));
    let mut counts: HashMap<(Option<RunId>, &str), u32> = HashMap::new();
    let mut layer_of: HashMap<(u32, u32, u32), LayerId> = HashMap::new();
    let mut of_call: HashMap<usize, LayerId> = HashMap::new();
    let mut repeated: HashMap<&str, u32> = HashMap::new();
    for (c, kind) in calls {
        if runs && s.run[c].is_none() {
            continue;
        }
        let what = &table[kind as usize];
        let number = counts.entry((s.run[c], what.op.as_str())).or_default();
        let scope = scopes.around[c];
        let key = if runs && trace.layers.len() < MANY { (kind, *number, scope) } else { (kind, 0, scope) };
        *number += u32::from(runs);
        let layer = *layer_of.entry(key).or_insert_with(|| {
            let same = repeated.entry(what.op.as_str()).or_default();
            *same += 1;
            let plain = ops::layer(&what.op, &what.op);
            trace.layers.push(Layer {
                name: if *same > 1 { format!("{} #{same}", what.op) } else { what.op.clone() },
                scope: scopes.paths[scope as usize].clone(),
                inputs: what.inputs.clone(),
                device: if what.on_device { "gpu" } else { "cpu" }.to_owned(),
                ..plain
            });
            LayerId((trace.layers.len() - 1) as u32)
        });
        of_call.insert(c, layer);
    }
    for (i, call) in call.iter().enumerate() {
        s.layer[i] = call.and_then(|c| of_call.get(&(c as usize)).copied());
        // An operator whose kernels are on a device: they say where its time was spent, and what ran.
        if let (Some(layer), Some(kind)) = (s.layer[i], kinds[i].filter(|_| *call != Some(i as u32))) {
            let layer = &mut trace.layers[layer.index()];
            "gpu".clone_into(&mut layer.device);
            if layer.kernel.is_empty() {
                layer.kernel.clone_from(&table[kind as usize].op);
            }
        }
    }
}

/// The path of annotations and modules around each span.
struct Scopes {
    around: Vec<u32>,
    paths: Vec<String>,
}

impl Scopes {
    fn of(s: &Spans, place: &[bool]) -> Scopes {
        let mut scopes = Scopes { around: Vec::with_capacity(s.len()), paths: vec![String::new()] };
        let mut known: HashMap<(u32, u32), u32> = HashMap::new();
        // The scope that the children of a span have.
        let mut inside: Vec<u32> = Vec::with_capacity(s.len());
        for i in 0..s.len() {
            let around = s.parent[i].map_or(0, |SpanId(p)| inside[p as usize]);
            scopes.around.push(around);
            inside.push(if !place[i] {
                around
            } else {
                *known.entry((around, s.name[i])).or_insert_with(|| {
                    let name = s.names[s.name[i] as usize].trim_start_matches(MODULE);
                    let outer = &scopes.paths[around as usize];
                    let path = if outer.is_empty() { name.to_owned() } else { format!("{outer}/{name}") };
                    scopes.paths.push(path);
                    (scopes.paths.len() - 1) as u32
                })
            });
        }
        scopes
    }
}

#[cfg(test)]
mod tests {
    use super::super::read;
    use crate::{OpClass, Quality};

    #[test]
    fn an_encoder_on_the_cpu() {
        let trace = read(include_bytes!("../../testdata/torch-2.15-encoder.json.gz")).unwrap();
        assert_eq!(trace.runs.len(), 3);
        let linear: Vec<_> = trace.layers.iter().filter(|l| l.op == "aten::linear").collect();
        assert!(linear.len() >= 3, "{linear:?}");
        assert_eq!((linear[0].name.as_str(), linear[1].name.as_str()), ("aten::linear", "aten::linear #2"));
        assert_eq!((linear[0].class, linear[0].scope.as_str()), (OpClass::MatMul, "encoder"));
        assert_eq!(linear[0].inputs, ["f32[16,1,32]", "f32[96,32]", "f32[96]"]);
        let stats = trace.layer_stats();
        assert!(stats.iter().all(|s| s.runs == 3), "each call is in each step");
        let audit = crate::Audit::of(&trace);
        assert!(audit.residual.is_some_and(|r| (0.0..1.0).contains(&r)), "{audit:?}");
        // Late in 2026, when the file was made.
        assert!((1_790_000_000..1_800_000_000).contains(&trace.meta.created_unix_s), "{}", trace.meta.created_unix_s);
    }

    #[test]
    fn modules_are_scopes() {
        let trace = read(include_bytes!("../../testdata/torch-2.15-modules.json.gz")).unwrap();
        let layers: Vec<_> = trace.layers.iter().map(|l| (l.name.as_str(), l.scope.as_str())).collect();
        assert!(layers.contains(&("aten::linear", "Sequential_0/Linear_0")), "{layers:?}");
        assert!(layers.contains(&("aten::linear #2", "Sequential_0/Linear_1")), "{layers:?}");
        assert!(layers.contains(&("aten::relu", "Sequential_0/ReLU_0")), "{layers:?}");
        assert_eq!(trace.counters.len(), 1);
        assert_eq!((trace.counters[0].name.as_str(), trace.counters[0].value[1]), ("CPU memory allocated", 256.0));
    }

    /// A hand-written one by the documented schema: there is no GPU to make a real one with.
    #[test]
    fn kernels_count_to_the_operator_that_launched_them() {
        let file = br#"{"schemaVersion":1,"deviceProperties":[{"id":0,"name":"NVIDIA T4"}],"baseTimeNanoseconds":1000000000,"traceEvents":[
            {"ph":"X","cat":"user_annotation","name":"ProfilerStep#5","pid":7,"tid":7,"ts":100.000,"dur":100.0,"args":{"External id":1}},
            {"ph":"X","cat":"cpu_op","name":"aten::linear","pid":7,"tid":7,"ts":110.5,"dur":20,"args":{"External id":2,"Input Dims":[[4,8],[2,8]],"Input type":["c10::Half","c10::Half"]}},
            {"ph":"X","cat":"cpu_op","name":"aten::addmm","pid":7,"tid":7,"ts":112,"dur":10,"args":{"External id":3}},
            {"ph":"X","cat":"cuda_runtime","name":"cudaLaunchKernel","pid":7,"tid":7,"ts":113,"dur":2,"args":{"External id":3,"correlation":9}},
            {"ph":"X","cat":"kernel","name":"gemm_f16","pid":0,"tid":"stream 7","ts":150.25,"dur":30.5,"args":{"External id":3,"correlation":9,"device":0,"stream":7,"grid":[1,1,1],"block":[128,1,1]}},
            {"ph":"X","cat":"cpu_op","name":"aten::empty","pid":7,"tid":7,"ts":190,"dur":1,"args":{"External id":4}},
            {"ph":"f","id":9,"pid":0,"tid":7,"ts":150.25,"cat":"ac2g","name":"ac2g","bp":"e"}
        ]}"#;
        let trace = read(file).unwrap();
        let linear = &trace.layers[0];
        assert_eq!(
            (linear.name.as_str(), linear.device.as_str(), linear.kernel.as_str()),
            ("aten::linear", "gpu", "gemm_f16")
        );
        let stats = trace.layer_stats();
        assert_eq!((stats[0].time.median, stats[1].time.median), (30_500.0, 1_000.0));
        let kernel = trace.spans.quality.iter().position(|q| *q == Quality::GpuTimestamp).unwrap();
        assert_eq!(trace.spans.run[kernel], Some(crate::RunId(0)));
        assert_eq!(trace.meta.device, "NVIDIA T4");
    }
}
