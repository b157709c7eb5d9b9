//! ONNX Runtime's profile: an array of Chrome trace events, in whole microseconds. Each node that ran is a layer, each
//! `model_run` a run; loading and initialisation are setup.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;

use super::event::Event;
use super::events::{self, Around, Dialect, Read, What};
use super::source::Source;
use super::{Problem, has, json_start, ops};
use crate::recorder::assign_runs;
use crate::{Layer, LayerId, Run, Trace, TrackKind};

/// What the name of a node's event ends with.
const KERNEL: &str = "_kernel_time";
const ARENA: &str = "Arena in use";

pub(super) fn matches(head: &[u8]) -> bool {
    json_start(head) == Some(b'[')
        && has(head, "\"ph\"")
        && (has(head, "\"session_initialization\"") || has(head, "\"model_loading_") || has(head, "_kernel_time\""))
}

pub(super) fn read(source: &mut Source) -> Result<Trace, Problem> {
    events::read(source, OnnxRuntime::default(), false)
}

#[derive(Default)]
struct OnnxRuntime {
    layers: Vec<Layer>,
    by_node: HashMap<(u32, String), u32>,
    /// Names of runs.
    run_names: Vec<u32>,
    load_ns: i64,
    arena: Arena,
    providers: BTreeMap<String, u64>,
}

/// What the arena of the CPU held.
#[derive(Default)]
struct Arena {
    /// In use before the first node ran: weights.
    before: Option<u64>,
    peak: u64,
    held: u64,
}

/// What is said of a node. Numbers are written as texts.
#[derive(Deserialize, Default)]
struct Args<'a> {
    #[serde(borrow, default)]
    op_name: Cow<'a, str>,
    #[serde(borrow, default)]
    provider: Cow<'a, str>,
    #[serde(borrow, default)]
    node_index: Cow<'a, str>,
    #[serde(borrow, default)]
    exec_plan_index: Cow<'a, str>,
    #[serde(borrow, default)]
    activation_size: Cow<'a, str>,
    #[serde(borrow, default)]
    parameter_size: Cow<'a, str>,
    #[serde(borrow, default)]
    output_size: Cow<'a, str>,
    #[serde(borrow, default)]
    mem_bytes_in_use: Cow<'a, str>,
    #[serde(borrow, default)]
    mem_in_use_delta: Cow<'a, str>,
    #[serde(borrow, default)]
    mem_in_use_peak: Cow<'a, str>,
    #[serde(borrow, default)]
    mem_arena_held: Cow<'a, str>,
    #[serde(default)]
    input_type_shape: Vec<BTreeMap<String, Vec<i64>>>,
    #[serde(default)]
    output_type_shape: Vec<BTreeMap<String, Vec<i64>>>,
}

impl Dialect for OnnxRuntime {
    fn span(&mut self, event: &Event, around: Around) -> What {
        let Around { name, row, counters, .. } = around;
        let mut what = What::default();
        match &*event.cat {
            "Session" if &*event.name == "model_run" => {
                row.kind = Some(TrackKind::Cpu);
                if !self.run_names.contains(&name) {
                    self.run_names.push(name);
                }
            }
            "Session" if event.name.starts_with("model_loading") || &*event.name == "session_initialization" => {
                what.setup = true;
                self.load_ns = self.load_ns.saturating_add(event.duration());
            }
            "Node" => {
                if let Some(node) = event.name.strip_suffix(KERNEL) {
                    let args: Args = event.args_as().unwrap_or_default();
                    if let (Ok(bytes), Some(at)) = (args.mem_bytes_in_use.parse::<f64>(), event.time()) {
                        let end = at.saturating_add(event.duration());
                        counters.add(event.process(), ARENA, "bytes", end, bytes);
                    }
                    self.arena.note(&args);
                    what.layer = Some(self.node(node, name, &args));
                }
            }
            _ => {}
        }
        what
    }

    fn finish(self, read: Read) -> Result<Trace, Problem> {
        let Read { mut trace, .. } = read;
        trace.layers = self.layers;
        let s = &mut trace.spans;
        let is_run = |name: &u32| self.run_names.contains(name);
        for i in (0..s.len()).filter(|&i| s.layer[i].is_none() && is_run(&s.name[i])) {
            trace.runs.push(Run { start_ns: s.start_ns[i], end_ns: s.end_ns[i], warmup: false });
        }
        trace.runs.sort_by_key(|r| (r.start_ns, r.end_ns));
        assign_runs(&mut trace);
        in_order_of_appearance(&mut trace);
        if let Some(before) = self.arena.before {
            trace.memory.arena_bytes = self.arena.held;
            trace.memory.activations_peak_bytes = self.arena.peak.saturating_sub(before);
        }
        let meta = &mut trace.meta;
        "ONNX Runtime".clone_into(&mut meta.producer);
        "ONNX Runtime's profiler, in whole microseconds".clone_into(&mut meta.clock.strategy);
        meta.clock.resolution_ns = 1000;
        meta.load_ns = u64::try_from(self.load_ns).unwrap_or(0);
        meta.fusion = true;
        let names: Vec<&str> = self.providers.keys().map(String::as_str).collect();
        meta.device = names.join(", ");
        meta.device_kind = if names.iter().all(|n| is_cpu(n)) { "cpu" } else { "gpu" }.into();
        Ok(trace)
    }
}

impl Arena {
    fn note(&mut self, args: &Args) {
        let number = |text: &str| text.parse::<u64>().ok();
        let Some(in_use) = number(&args.mem_bytes_in_use) else { return };
        let delta = args.mem_in_use_delta.parse::<i64>().unwrap_or(0);
        self.before.get_or_insert(in_use.saturating_add_signed(delta.saturating_neg()));
        self.peak = self.peak.max(in_use).max(number(&args.mem_in_use_peak).unwrap_or(0));
        self.held = self.held.max(number(&args.mem_arena_held).unwrap_or(0));
    }
}

impl OnnxRuntime {
    /// The layer of a node, made if new. Nodes may have no name, but their numbers differ.
    fn node(&mut self, node: &str, name: u32, args: &Args) -> u32 {
        let number = if args.node_index.is_empty() { &args.exec_plan_index } else { &args.node_index };
        let key = (name, number.to_string());
        if let Some(&known) = self.by_node.get(&key) {
            return known;
        }
        let shown = if node.is_empty() { format!("{} {number}", args.op_name) } else { node.to_owned() };
        let bytes = |text: &str| text.parse::<u64>().ok();
        let types = |all: &[BTreeMap<String, Vec<i64>>]| -> Vec<String> {
            all.iter().flatten().map(|(name, dims)| ops::tensor(name, dims)).collect()
        };
        let weights = bytes(&args.parameter_size).unwrap_or(0);
        self.layers.push(Layer {
            source_nodes: source_nodes(node),
            device: if is_cpu(&args.provider) { "cpu" } else { "gpu" }.to_owned(),
            inputs: types(&args.input_type_shape),
            outputs: types(&args.output_type_shape),
            bytes_read: bytes(&args.activation_size).map(|b| b.saturating_add(weights)),
            bytes_written: bytes(&args.output_size),
            weight_bytes: weights,
            kernel: args.provider.clone().into_owned(),
            ..ops::layer(&shown, &args.op_name)
        });
        let id = (self.layers.len() - 1) as u32;
        self.by_node.insert(key, id);
        *self.providers.entry(args.provider.clone().into_owned()).or_default() += 1;
        id
    }
}

fn is_cpu(provider: &str) -> bool {
    provider.is_empty()
        || provider.starts_with("CPU")
        || provider.starts_with("Dnnl")
        || provider.starts_with("Xnnpack")
}

/// The model's nodes that an optimised node stands for, as far as its name tells: a node that was changed for blocked layouts
/// is named after the output of the last node in it.
fn source_nodes(node: &str) -> Vec<String> {
    let plain = node.strip_suffix("_nchwc").map(|n| n.strip_suffix("_output_0").unwrap_or(n)).unwrap_or(node);
    if plain.is_empty() { Vec::new() } else { vec![plain.to_owned()] }
}

/// Layers in the order in which they first ran.
pub(super) fn in_order_of_appearance(trace: &mut Trace) {
    let s = &mut trace.spans;
    let mut first: Vec<(u64, u32)> = (0..trace.layers.len() as u32).map(|l| (u64::MAX, l)).collect();
    for (layer, &start) in s.layer.iter().zip(&s.start_ns) {
        if let Some(l) = layer {
            first[l.index()].0 = first[l.index()].0.min(start);
        }
    }
    first.sort_unstable();
    let mut to = vec![LayerId(0); first.len()];
    for (new, &(_, old)) in first.iter().enumerate() {
        to[old as usize] = LayerId(new as u32);
    }
    s.layer.iter_mut().flatten().for_each(|l| *l = to[l.index()]);
    trace.layers = first.iter().map(|&(_, l)| std::mem::take(&mut trace.layers[l as usize])).collect();
}

#[cfg(test)]
mod tests {
    use super::super::read;
    use crate::OpClass;

    #[test]
    fn a_transformer_block() {
        let trace = read(include_bytes!("../../testdata/onnxruntime-1.32-transformer.json")).unwrap();
        assert_eq!(trace.runs.len(), 6);
        let layer = trace.layers.iter().position(|l| l.name == "/block.0/mlp/up/MatMul").unwrap();
        let l = &trace.layers[layer];
        assert_eq!((l.op.as_str(), l.class, l.scope.as_str()), ("MatMul", OpClass::MatMul, "block.0/mlp/up"));
        assert_eq!(
            (l.inputs.as_slice(), l.outputs.as_slice()),
            (&["f32[1,24,32]".to_owned()][..], &["f32[1,24,64]".to_owned()][..])
        );
        assert_eq!((l.bytes_read, l.bytes_written), (Some(3072), Some(6144)));
        assert_eq!((l.source_nodes[0].as_str(), l.device.as_str()), ("/block.0/mlp/up/MatMul", "cpu"));
        let stats = trace.layer_stats();
        assert_eq!(stats.len(), trace.layers.len());
        assert!(stats.iter().all(|s| s.runs == 6), "{stats:?}");
        // Every node's time is inside of its run.
        let audit = crate::Audit::of(&trace);
        assert!(audit.residual.is_some_and(|r| (0.0..1.0).contains(&r)), "{audit:?}");
        assert_eq!(trace.tracks.iter().filter(|t| t.kind == crate::TrackKind::Setup).count(), 1);
        assert!(trace.meta.load_ns > 0 && trace.meta.warnings.is_empty(), "{:?}", trace.meta.warnings);
        assert!(trace.counters[0].value.iter().all(|&v| v > 0.0));
        let m = &trace.memory;
        assert!(m.activations_peak_bytes > 0 && m.activations_peak_bytes <= m.arena_bytes, "{m:?}");
    }

    #[test]
    fn a_network_in_blocked_layout() {
        let trace = read(include_bytes!("../../testdata/onnxruntime-1.32-cnn.json")).unwrap();
        let conv = trace.layers.iter().find(|l| l.class == OpClass::Convolution).unwrap();
        assert_eq!((conv.name.as_str(), conv.source_nodes[0].as_str()), ("/stem/Relu_output_0_nchwc", "/stem/Relu"));
        assert_eq!(conv.inputs[0], "f32[1,1,8,8]");
        assert!(trace.layers.iter().any(|l| l.op == "ReorderOutput" && l.class == OpClass::DataMovement));
    }

    #[test]
    fn nodes_without_names_are_told_apart() {
        let node = |index: u32, ts: u32| {
            format!(
                r#"{{"cat":"Node","pid":1,"tid":1,"dur":5,"ts":{ts},"ph":"X","name":"_kernel_time","args":{{"op_name":"Add","node_index":"{index}","parameter_size":"-1","output_size":"99999999999999999999999","input_type_shape":[{{"float":[2]}}]}}}}"#
            )
        };
        let trace = read(format!("[{},{},{}]", node(3, 10), node(4, 20), node(3, 30)).as_bytes()).unwrap();
        assert_eq!(trace.layers.iter().map(|l| l.name.as_str()).collect::<Vec<_>>(), ["Add 3", "Add 4"]);
        assert_eq!((trace.layers[0].bytes_written, trace.layers[0].weight_bytes), (None, 0));
    }
}
