//! The data model: one trace, columnar where it is long.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::packed;

macro_rules! id {
    ($(#[$m:meta])* $name:ident) => {
        $(#[$m])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u32);
        impl $name {
            /// As an index into its table.
            pub fn index(self) -> usize {
                self.0 as usize
            }
        }
    };
}
id!(/** An index into [`Trace::layers`]. */ LayerId);
id!(/** An index into [`Trace::tracks`]. */ TrackId);
id!(/** An index into [`Trace::spans`]. */ SpanId);
id!(/** An index into [`Trace::runs`]. */ RunId);

/// A profile of one model on one device: what every view, export, statistic and comparison reads.
///
/// All times are nanoseconds since the trace's own origin, on the CPU's monotonic clock (GPU ticks are mapped to it).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Trace {
    /// What was run, where, and how.
    pub meta: Meta,
    /// The plan's steps, in execution order. A fused layer names all its source nodes.
    pub layers: Vec<Layer>,
    /// The model's own nodes and how they are joined; empty where the trace came without its model.
    pub nodes: Vec<SourceNode>,
    /// Rows of the timeline.
    pub tracks: Vec<Track>,
    /// Inference runs, warm-up ones included and marked.
    pub runs: Vec<Run>,
    /// What happened when.
    pub spans: Spans,
    /// Sampled quantities over time.
    pub counters: Vec<Counter>,
    /// What occupied memory, and when.
    pub memory: Memory,
    /// One entry per precision scheme that was compared with the f32 reference.
    pub accuracy: Vec<Accuracy>,
    /// What the device can do at best, if it was measured.
    pub ceilings: Option<crate::roofline::Ceilings>,
}

/// What was run, where, and how.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Meta {
    /// The model's short name (file stem or sample name).
    pub model: String,
    /// The model's path, if it was a file.
    pub model_path: String,
    /// The program (and version) that measured: `stratoscope 0.1.0`.
    pub producer: String,
    /// The engine that ran the model, if it is not the producer's own: `ONNX Runtime 1.32.0`.
    pub engine: String,
    /// Options of that engine that were set, by name.
    pub engine_options: BTreeMap<String, String>,
    /// A hash of the model file's content in hexadecimal, to know it again; empty if unknown.
    pub model_hash: String,
    /// The device in words: `CPU AMD EPYC (AVX2), 2 threads`.
    pub device: String,
    /// `cpu`, `gpu`, or what an import says.
    pub device_kind: String,
    /// CPU threads used; 0 if unknown.
    pub threads: u32,
    /// Physical cores that the process may use; 0 if unknown.
    pub cores: u32,
    /// `f32`, `f16`, `bf16`, `int8`, `int4`.
    pub precision: String,
    /// True where weights were only dequantised on load, so that latency and memory are not those of the real format.
    pub simulated_precision: bool,
    /// False if the user turned fusion off.
    pub fusion: bool,
    /// The bound symbolic dimensions.
    pub dims: BTreeMap<String, u64>,
    /// Model inputs as run: name and type.
    pub inputs: Vec<(String, String)>,
    /// Model outputs as run: name and type.
    pub outputs: Vec<(String, String)>,
    /// Seconds since the Unix epoch at the start.
    pub created_unix_s: u64,
    /// Model parameters (elements of its weights).
    pub parameters: u64,
    /// Latencies of whole runs with recording off, interleaved with the recorded ones.
    pub unprofiled_ns: Vec<u64>,
    /// Opening, planning and packing the model.
    pub load_ns: u64,
    /// How time was taken.
    pub clock: Clock,
    /// Facts that lower trust in this trace, in words ("debug build", "Vulkan validation layer on").
    pub warnings: Vec<String>,
    /// The sequences or images that one run processes, for throughput; 0 if unknown.
    pub batch: u64,
}

/// How time was taken.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Clock {
    /// In words: `CLOCK_MONOTONIC`, `GPU timestamps inside the pass`, `submit and wait`.
    pub strategy: String,
    /// The smallest difference that the clock shows.
    pub resolution_ns: u64,
    /// Half the bracket of the CPU-GPU clock calibration; 0 for CPU-only traces.
    pub calibration_error_ns: u64,
    /// Timestamps that were rejected (zero or out of order).
    pub rejected: u64,
}

/// The kind of an operator, for colour and roll-ups.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
pub enum OpClass {
    /// MatMul, Gemm and their fused forms.
    MatMul,
    /// Convolutions and pooling.
    Convolution,
    /// Fused attention.
    Attention,
    /// LayerNormalization, BatchNormalization, Softmax, ...
    Normalisation,
    /// Element-wise arithmetic, activations, reductions.
    Elementwise,
    /// Reshape, Transpose, Gather, Concat, copies between devices, ...
    DataMovement,
    /// Quantize, dequantize.
    Quantization,
    /// The rest.
    #[default]
    Other,
}

impl OpClass {
    /// All classes in legend order.
    pub const ALL: [OpClass; 8] = [
        OpClass::MatMul,
        OpClass::Convolution,
        OpClass::Attention,
        OpClass::Normalisation,
        OpClass::Elementwise,
        OpClass::DataMovement,
        OpClass::Quantization,
        OpClass::Other,
    ];

    /// The legend's word.
    pub fn label(self) -> &'static str {
        match self {
            OpClass::MatMul => "MatMul",
            OpClass::Convolution => "Convolution",
            OpClass::Attention => "Attention",
            OpClass::Normalisation => "Normalisation",
            OpClass::Elementwise => "Element-wise",
            OpClass::DataMovement => "Data movement",
            OpClass::Quantization => "Quantization",
            OpClass::Other => "Other",
        }
    }
}

/// One step of the plan.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Layer {
    /// A unique, readable name (the main source node's).
    pub name: String,
    /// The operator, or the fused form: `MatMul+Bias+Gelu`.
    pub op: String,
    /// For colour and roll-ups.
    pub class: OpClass,
    /// Where it sits in the model: `encoder/layer.3/attention/query`.
    pub scope: String,
    /// The model's nodes that this layer was made from.
    pub source_nodes: Vec<String>,
    /// `cpu` or `gpu`.
    pub device: String,
    /// Input types: `f32[1,128,384]`.
    pub inputs: Vec<String>,
    /// Output types.
    pub outputs: Vec<String>,
    /// Floating-point (or integer multiply-add x 2) operations; `None` if unknown.
    pub flops: Option<u64>,
    /// Bytes read from tensors; `None` if unknown.
    pub bytes_read: Option<u64>,
    /// Bytes written to tensors; `None` if unknown.
    pub bytes_written: Option<u64>,
    /// Bytes of this layer's weights, as stored for the run.
    pub weight_bytes: u64,
    /// The kernel that ran, in words, if known: `gemm f32 avx2 packed`.
    pub kernel: String,
}

/// A node of the model as its file has it, before any fusion.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SourceNode {
    /// Its name, as [`Layer::source_nodes`] gives it.
    pub name: String,
    /// Its operator.
    pub op: String,
    /// Where it sits in the model: `encoder/layer.3/attention/query`.
    pub scope: String,
    /// The nodes that make its inputs: indices into [`Trace::nodes`], without those that are constants.
    pub inputs: Vec<u32>,
}

/// What a track shows.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub enum TrackKind {
    /// The thread that drives the run.
    #[default]
    Cpu,
    /// Busy time on the GPU queue.
    Gpu,
    /// Encoding, submitting.
    Submit,
    /// Upload and download.
    Transfer,
    /// Opening, planning, pipeline compilation.
    Setup,
    /// From an import.
    Other,
}

/// A row of the timeline.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Track {
    /// `CPU`, `GPU queue`, `Upload`, ...
    pub name: String,
    /// What it shows.
    pub kind: TrackKind,
}

/// One inference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Start of the whole run.
    pub start_ns: u64,
    /// End of the whole run.
    pub end_ns: u64,
    /// True for runs before measurement began; statistics leave them out.
    pub warmup: bool,
}

/// How much a span's times can be trusted.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub enum Quality {
    /// A CPU clock read at both ends.
    #[default]
    Cpu,
    /// GPU timestamps at both ends.
    GpuTimestamp,
    /// Submit and wait: includes launch overhead.
    Wall,
    /// A timestamp was missing or out of order; the span is an estimate.
    Rejected,
}

/// Spans as columns of equal length. Build them with [`Spans::push`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Spans {
    /// The row.
    #[serde(with = "packed")]
    pub track: Vec<TrackId>,
    /// The layer that it times, if any.
    #[serde(with = "packed")]
    pub layer: Vec<Option<LayerId>>,
    /// Index into `names`; for layer spans the layer's name is shown instead.
    #[serde(with = "packed")]
    pub name: Vec<u32>,
    /// Start.
    #[serde(with = "packed")]
    pub start_ns: Vec<u64>,
    /// End; never before start.
    #[serde(with = "packed")]
    pub end_ns: Vec<u64>,
    /// The enclosing span on the same track, if any.
    #[serde(with = "packed")]
    pub parent: Vec<Option<SpanId>>,
    /// The inference that it belongs to, if any.
    #[serde(with = "packed")]
    pub run: Vec<Option<RunId>>,
    /// How good the clock is.
    #[serde(with = "packed")]
    pub quality: Vec<Quality>,
    /// Distinct names.
    pub names: Vec<String>,
}

/// One row of [`Spans`], for pushing and reading.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs, reason = "the same as the columns of Spans")]
pub struct Span {
    pub track: TrackId,
    pub layer: Option<LayerId>,
    pub name: u32,
    pub start_ns: u64,
    pub end_ns: u64,
    pub parent: Option<SpanId>,
    pub run: Option<RunId>,
    pub quality: Quality,
}

impl Span {
    /// End minus start.
    pub fn duration_ns(&self) -> u64 {
        self.end_ns - self.start_ns
    }
}

impl Spans {
    /// Appends a row; an end before the start is clamped to it.
    pub fn push(&mut self, s: Span) -> SpanId {
        self.track.push(s.track);
        self.layer.push(s.layer);
        self.name.push(s.name);
        self.start_ns.push(s.start_ns);
        self.end_ns.push(s.end_ns.max(s.start_ns));
        self.parent.push(s.parent);
        self.run.push(s.run);
        self.quality.push(s.quality);
        SpanId((self.track.len() - 1) as u32)
    }

    /// Makes room for more rows.
    pub fn reserve(&mut self, rows: usize) {
        self.track.reserve(rows);
        self.layer.reserve(rows);
        self.name.reserve(rows);
        self.start_ns.reserve(rows);
        self.end_ns.reserve(rows);
        self.parent.reserve(rows);
        self.run.reserve(rows);
        self.quality.reserve(rows);
    }

    /// The index of a name, added if new. Linear in the number of distinct names: keep the index where it is hot.
    pub fn intern(&mut self, name: &str) -> u32 {
        match self.names.iter().position(|n| n == name) {
            Some(i) => i as u32,
            None => {
                self.names.push(name.to_owned());
                (self.names.len() - 1) as u32
            }
        }
    }

    /// The number of spans.
    pub fn len(&self) -> usize {
        self.track.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.track.is_empty()
    }

    /// One row. Panics past the end.
    pub fn get(&self, i: usize) -> Span {
        Span {
            track: self.track[i],
            layer: self.layer[i],
            name: self.name[i],
            start_ns: self.start_ns[i],
            end_ns: self.end_ns[i],
            parent: self.parent[i],
            run: self.run[i],
            quality: self.quality[i],
        }
    }

    /// All rows.
    pub fn iter(&self) -> impl Iterator<Item = Span> + '_ {
        (0..self.len()).map(|i| self.get(i))
    }
}

/// A sampled quantity.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counter {
    /// `Process resident memory`, `GPU allocated`.
    pub name: String,
    /// `bytes`, `W`, `MHz`.
    pub unit: String,
    /// When.
    #[serde(with = "packed")]
    pub time_ns: Vec<u64>,
    /// How much.
    pub value: Vec<f64>,
}

/// What a piece of memory is for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
pub enum MemoryClass {
    /// Constants of the model, packed forms included.
    Weights,
    /// Tensors between layers.
    #[default]
    Activations,
    /// Scratch of one layer.
    Workspace,
    /// Copies on the way to or from a device.
    Staging,
}

impl MemoryClass {
    /// All classes, bottom of the stack first.
    pub const ALL: [MemoryClass; 4] =
        [MemoryClass::Weights, MemoryClass::Activations, MemoryClass::Workspace, MemoryClass::Staging];

    /// The legend's word.
    pub fn label(self) -> &'static str {
        match self {
            MemoryClass::Weights => "Weights",
            MemoryClass::Activations => "Activations",
            MemoryClass::Workspace => "Workspace",
            MemoryClass::Staging => "Staging",
        }
    }
}

/// One tensor's place in memory and in time. Time is counted in layers (steps of the plan).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TensorLife {
    /// The tensor's name.
    pub name: String,
    /// `f32[1,128,384]`.
    pub ty: String,
    /// What it is for.
    pub class: MemoryClass,
    /// Its size.
    pub bytes: u64,
    /// Its place in the arena; `None` if it has memory of its own.
    pub offset: Option<u64>,
    /// The layer that makes it; `None` for inputs and weights.
    pub producer: Option<LayerId>,
    /// The first layer at which it is alive.
    pub first: LayerId,
    /// The last layer at which it is alive.
    pub last: LayerId,
    /// The layers that read it, in order; empty if unknown.
    pub readers: Vec<LayerId>,
}

/// What occupied memory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// Every tensor with its lifetime.
    pub tensors: Vec<TensorLife>,
    /// Weights as held for the run (packed forms included).
    pub weights_bytes: u64,
    /// The arena: what the plan reserves for activations.
    pub arena_bytes: u64,
    /// The largest sum of activations alive at once; at most the arena.
    pub activations_peak_bytes: u64,
    /// Scratch of the kernels, largest at once.
    pub workspace_bytes: u64,
    /// Staging for transfers.
    pub staging_bytes: u64,
    /// The process's resident memory before the model was opened; 0 if unknown.
    pub process_before_bytes: u64,
    /// The process's largest resident memory that was sampled; 0 if unknown.
    pub process_peak_bytes: u64,
    /// Bytes that the GPU's allocator reports, by label; empty on the CPU.
    pub gpu_allocations: Vec<(String, u64)>,
}

/// How one precision scheme compares with the f32 reference.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Accuracy {
    /// `f16`, `bf16`, `int8`, `int4`.
    pub scheme: String,
    /// The scheme in words: `int8 per-channel weights, dynamic per-token activations`.
    pub description: String,
    /// True where weights are dequantised on load: latency and memory are not those of the real format.
    pub simulated: bool,
    /// Per layer that has an output to compare.
    pub layers: Vec<LayerAccuracy>,
    /// Per model output.
    pub outputs: Vec<OutputAccuracy>,
    /// On the sample's evaluation data, if it has any.
    pub task: Option<TaskAccuracy>,
    /// Median latency of the scheme, if it was measured.
    pub latency_ns: Option<u64>,
    /// Weights under the scheme.
    pub weights_bytes: u64,
    /// Input samples that were averaged over.
    pub samples: u32,
}

/// Error of one layer's output. SQNR is in dB, higher is better; infinite (exact) is stored as `None` with `exact` set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LayerAccuracy {
    /// Which layer of the reference plan; its name, so that it survives other fusions.
    pub layer: String,
    /// Only this layer quantized, its inputs exact.
    pub local_sqnr_db: Option<f64>,
    /// The whole network quantized up to here.
    pub cumulative_sqnr_db: Option<f64>,
    /// Cosine similarity of the cumulative output.
    pub cosine: Option<f64>,
    /// Largest absolute difference of the cumulative output.
    pub max_abs: Option<f64>,
    /// True if the output is bit-identical.
    pub exact: bool,
}

/// Error of one model output.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct OutputAccuracy {
    /// The output's name.
    pub name: String,
    /// SQNR in dB; higher is better.
    pub sqnr_db: Option<f64>,
    /// Mean squared error.
    pub mse: Option<f64>,
    /// Kullback-Leibler divergence of the softmax over the last axis, in nats, where the output is logits.
    pub kl_nats: Option<f64>,
    /// Share of rows whose largest entry is in the same place.
    pub top1_agreement: Option<f64>,
}

/// Accuracy on a data set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TaskAccuracy {
    /// `top-1 accuracy`, `perplexity`.
    pub metric: String,
    /// The f32 reference.
    pub reference: f64,
    /// This scheme.
    pub value: f64,
    /// Examples (or tokens) evaluated.
    pub count: u64,
    /// True for accuracy, false for perplexity.
    pub higher_is_better: bool,
    /// 95% interval of the difference `value - reference`, if it applies.
    pub difference_interval: Option<(f64, f64)>,
}

impl Meta {
    /// The device, and the engine with its options where another than the producer's own ran: what a latency is of.
    pub fn ran_on(&self) -> String {
        let mut text = self.device.clone();
        for part in
            std::iter::once(self.engine.clone()).chain(self.engine_options.iter().map(|(n, v)| format!("{n}={v}")))
        {
            if !part.is_empty() {
                text = if text.is_empty() { part } else { format!("{text}, {part}") };
            }
        }
        text
    }
}

impl Trace {
    /// The name to show for a span: its layer's, else its own.
    pub fn span_name(&self, s: &Span) -> &str {
        match s.layer.and_then(|l| self.layers.get(l.index())) {
            Some(l) => &l.name,
            None => self.spans.names.get(s.name as usize).map_or("?", String::as_str),
        }
    }

    /// Latencies of the measured (not warm-up) runs.
    pub fn run_latencies_ns(&self) -> Vec<u64> {
        self.runs.iter().filter(|r| !r.warmup).map(|r| r.end_ns.saturating_sub(r.start_ns)).collect()
    }
}
