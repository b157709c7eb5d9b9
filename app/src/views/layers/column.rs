//! The columns of the table of layers.

use profiler::filter::{Figure, Subject};
use profiler::{Badge, BlockKind, Layer, LayerId};
use serde::{Deserialize, Serialize};

use crate::draw::facts;
use crate::draw::table::Column as Head;
use crate::format::{Scale, UNKNOWN};
use crate::view::Profile;

/// A column.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[allow(missing_docs, reason = "their heads say what they are")]
pub enum Column {
    Name,
    Op,
    Kind,
    Median,
    Spread,
    P90,
    P99,
    Share,
    Flops,
    Rate,
    Bytes,
    Bandwidth,
    Ceiling,
    Memory,
    Weights,
    Alive,
    Error,
    Device,
    Kernel,
    Trust,
}

impl Column {
    /// All columns, in the order of the table.
    pub const ALL: [Column; 20] = [
        Column::Name,
        Column::Op,
        Column::Kind,
        Column::Median,
        Column::Spread,
        Column::P90,
        Column::P99,
        Column::Share,
        Column::Flops,
        Column::Rate,
        Column::Bytes,
        Column::Bandwidth,
        Column::Ceiling,
        Column::Memory,
        Column::Weights,
        Column::Alive,
        Column::Error,
        Column::Device,
        Column::Kernel,
        Column::Trust,
    ];

    /// Shown unless the user says otherwise.
    pub fn is_default(self) -> bool {
        !matches!(self, Column::Kind | Column::Weights | Column::Alive | Column::Device | Column::Kernel)
    }

    /// The head's word.
    pub fn title(self) -> &'static str {
        match self {
            Column::Name => "Layer",
            Column::Op => "Operator",
            Column::Kind => "Type",
            Column::Median => "Median",
            Column::Spread => "Spread",
            Column::P90 => "p90",
            Column::P99 => "p99",
            Column::Share => "Share",
            Column::Flops => "Work",
            Column::Rate => "Rate",
            Column::Bytes => "Bytes",
            Column::Bandwidth => "Bandwidth",
            Column::Ceiling => "Of ceiling",
            Column::Memory => "Memory",
            Column::Weights => "Weights",
            Column::Alive => "Alive",
            Column::Error => "Error",
            Column::Device => "On",
            Column::Kernel => "Kernel",
            Column::Trust => "Trust",
        }
    }

    /// What it says.
    pub fn tip(self) -> &'static str {
        match self {
            Column::Name => "The layer's place in the model",
            Column::Op => "What it computes; fused operators are joined by +",
            Column::Kind => "The kind of block, from the words of the scope and the operator's class",
            Column::Median => "Half of the measured runs were faster. Groups: the sum of their layers' medians",
            Column::Spread => {
                "How the times of the measured runs spread, from the fastest to the 99th percentile; the median's bar is \
                 strong. Sorted by median absolute deviation over median"
            }
            Column::P90 => "9 of 10 measured runs were at most this slow. Percentiles do not add up: groups have none",
            Column::P99 => {
                "99 of 100 measured runs were at most this slow. Percentiles do not add up: groups have none"
            }
            Column::Share => "Of the time of all layers, in all measured runs; the bar is relative to the longest",
            Column::Flops => "Operations; a multiply-add counts as two",
            Column::Rate => "Operations over the median time",
            Column::Bytes => "Read from and written to tensors",
            Column::Bandwidth => "Bytes read and written over the median time",
            Column::Ceiling => {
                "The share that it reaches of what this device can do at its operations per byte, by the probes of the roofline"
            }
            Column::Memory => "Its weights and the tensors that it makes",
            Column::Weights => "Its weights as held for the run",
            Column::Alive => "Activations and workspace that are alive while it runs. Groups: the most of their layers",
            Column::Error => {
                "Signal to quantization noise of its output; higher is better, 20 dB is 1% noise. Groups: their worst layer"
            }
            Column::Device => "The device that ran it",
            Column::Kernel => "The kernel that ran",
            Column::Trust => "Findings that lower trust in this layer's figures",
        }
    }

    /// It holds words, not figures.
    pub fn is_text(self) -> bool {
        matches!(self, Column::Name | Column::Op | Column::Kind | Column::Device | Column::Kernel | Column::Trust)
    }

    /// What exports call it and its unit.
    pub fn export_title(self) -> String {
        let unit = match self {
            Column::Median | Column::P90 | Column::P99 => "ns",
            Column::Spread => "MAD/median",
            Column::Flops => "FLOP",
            Column::Rate => "FLOP/s",
            Column::Bytes | Column::Memory | Column::Weights | Column::Alive => "B",
            Column::Bandwidth => "B/s",
            Column::Error => "dB",
            _ => return self.title().to_owned(),
        };
        format!("{} ({unit})", self.title())
    }
}

/// All that is known of the layers: a trace, and what goes beyond it.
#[derive(Clone, Copy)]
pub struct Known<'a> {
    /// The trace.
    pub profile: &'a Profile,
    /// Per layer, its share of the ceiling; empty if no ceilings are known.
    pub ceiling: &'a [Option<f64>],
    /// The precision scheme whose errors are shown; `None` for each layer's worst.
    pub scheme: Option<&'a str>,
}

impl<'a> Known<'a> {
    /// The layer.
    pub fn layer(&self, id: LayerId) -> &'a Layer {
        &self.profile.trace.layers[id.index()]
    }

    /// Findings about it.
    pub fn badges(&self, id: LayerId) -> &'a [Badge] {
        &self.profile.layer_badges[id.index()]
    }

    /// For filters.
    pub fn subject(&self, id: LayerId) -> Subject<'a> {
        let figures = &self.profile.figures;
        Subject {
            layer: self.layer(id),
            label: &self.profile.labels[id.index()],
            stats: self.profile.stats_of(id),
            memory_bytes: figures.memory[id.index()].map(|b| b as f64),
            error_db: figures.error(id.index(), self.scheme),
            ceiling: self.ceiling.get(id.index()).copied().flatten(),
            badges: self.badges(id),
        }
    }

    /// A figure in nanoseconds, bytes, operations, decibels or as a share; for trust the number of findings.
    pub fn value(&self, id: LayerId, column: Column) -> Option<f64> {
        let figure = match column {
            Column::Median => Figure::Time,
            Column::Spread => Figure::Spread,
            Column::P90 => Figure::P90,
            Column::P99 => Figure::P99,
            Column::Share => Figure::Share,
            Column::Flops => Figure::Flops,
            Column::Rate => Figure::Rate,
            Column::Bytes => Figure::Bytes,
            Column::Bandwidth => Figure::Bandwidth,
            Column::Ceiling => Figure::Ceiling,
            Column::Memory => Figure::Memory,
            Column::Weights => Figure::Weights,
            Column::Error => Figure::Error,
            Column::Alive => return self.profile.figures.alive[id.index()].map(|b| b as f64),
            Column::Trust => {
                let weigh = |b: &Badge| b.severity as u8 as f64;
                return Some(self.badges(id).iter().map(weigh).sum());
            }
            Column::Name | Column::Op | Column::Kind | Column::Device | Column::Kernel => return None,
        };
        self.subject(id).figure(figure)
    }

    /// The words of a column of text.
    pub fn text(&self, id: LayerId, column: Column) -> String {
        let layer = self.layer(id);
        match column {
            Column::Name => self.profile.labels[id.index()].clone(),
            Column::Op => layer.op.clone(),
            Column::Kind => BlockKind::of(layer).label().to_owned(),
            Column::Device => layer.device.clone(),
            Column::Kernel => layer.kernel.clone(),
            Column::Trust => {
                let titles: Vec<&str> = self.badges(id).iter().map(|b| b.title.as_str()).collect();
                titles.join(", ")
            }
            _ => String::new(),
        }
    }

    /// Why the trace has nothing for a column; `None` if it has.
    pub fn missing(&self, column: Column) -> Option<&'static str> {
        let trace = &self.profile.trace;
        match column {
            Column::Ceiling if self.ceiling.iter().all(Option::is_none) => {
                Some("This device's ceilings are not known: measure them in the roofline")
            }
            Column::Error if trace.accuracy.is_empty() => Some("No precision was compared with f32 yet"),
            Column::Memory | Column::Alive if trace.memory.tensors.is_empty() => {
                Some("The trace does not say what occupied memory")
            }
            _ => None,
        }
    }
}

/// One unit for each column, chosen for its largest figure; for rates, which one odd layer can put a thousandfold too high, for
/// the figure that three quarters of the layers stay below.
pub struct Scales {
    time: Scale,
    flops: Scale,
    rate: Scale,
    bytes: Scale,
    bandwidth: Scale,
    memory: Scale,
    /// The largest share.
    pub longest: f64,
}

impl Scales {
    /// For all layers of a trace.
    pub fn new(known: &Known<'_>) -> Self {
        let layers = 0..known.profile.trace.layers.len() as u32;
        let most = |column| layers.clone().filter_map(|l| known.value(LayerId(l), column)).fold(0.0, f64::max);
        let typical = |column| {
            let mut values: Vec<f64> =
                layers.clone().filter_map(|l| known.value(LayerId(l), column)).filter(|v| v.is_finite()).collect();
            values.sort_unstable_by(f64::total_cmp);
            values.get(values.len() * 3 / 4).copied().unwrap_or(0.0)
        };
        Scales {
            time: Scale::time(most(Column::Median)),
            flops: Scale::count(most(Column::Flops)),
            rate: Scale::count(typical(Column::Rate)),
            bytes: Scale::bytes(most(Column::Bytes)),
            bandwidth: Scale::bytes(typical(Column::Bandwidth)),
            memory: Scale::bytes(most(Column::Memory).max(most(Column::Alive))),
            longest: most(Column::Share),
        }
    }

    /// The unit of a column; `None` for text, shares and decibels.
    pub fn of(&self, column: Column) -> Option<&Scale> {
        match column {
            Column::Median | Column::P90 | Column::P99 => Some(&self.time),
            Column::Flops => Some(&self.flops),
            Column::Rate => Some(&self.rate),
            Column::Bytes => Some(&self.bytes),
            Column::Bandwidth => Some(&self.bandwidth),
            Column::Memory | Column::Weights | Column::Alive => Some(&self.memory),
            _ => None,
        }
    }

    /// The unit's word.
    pub fn unit(&self, column: Column) -> &'static str {
        let Some(scale) = self.of(column) else { return if column == Column::Error { "dB" } else { "" } };
        let named: &[(&str, &'static str)] = match column {
            Column::Flops => &[("", "FLOP"), ("k", "kFLOP"), ("M", "MFLOP"), ("G", "GFLOP"), ("T", "TFLOP")],
            Column::Rate => &[("", "FLOP/s"), ("k", "kFLOP/s"), ("M", "MFLOP/s"), ("G", "GFLOP/s"), ("T", "TFLOP/s")],
            Column::Bandwidth => &[("B", "B/s"), ("kB", "kB/s"), ("MB", "MB/s"), ("GB", "GB/s"), ("TB", "TB/s")],
            _ => return scale.unit,
        };
        named.iter().find(|n| n.0 == scale.unit).map_or("", |n| n.1)
    }

    /// A figure as the table shows it.
    pub fn cell(&self, column: Column, value: Option<f64>) -> String {
        let Some(value) = value else { return format!("{UNKNOWN}    ") };
        match (self.of(column), column) {
            (Some(scale), _) => scale.cell(value),
            (None, Column::Error) => format!("{value:.1}"),
            (None, _) => crate::format::percent(value),
        }
    }
}

/// The head of a column.
pub fn head(column: Column, scales: &Scales) -> Head {
    let (width, grow) = match column {
        Column::Name => (208.0, 3.0),
        Column::Op => (124.0, 1.0),
        Column::Kind => (88.0, 0.0),
        Column::Median => (88.0, 0.0),
        Column::Spread => (84.0, 0.0),
        Column::P90 | Column::P99 => (72.0, 0.0),
        Column::Share => (104.0, 0.0),
        Column::Flops => (96.0, 0.0),
        Column::Rate | Column::Bandwidth => (112.0, 0.0),
        Column::Bytes => (84.0, 0.0),
        Column::Ceiling => (80.0, 0.0),
        Column::Memory | Column::Weights | Column::Alive => (92.0, 0.0),
        Column::Error => (72.0, 0.0),
        Column::Device => (44.0, 0.0),
        Column::Kernel => (140.0, 1.0),
        Column::Trust => (132.0, 1.0),
    };
    let (title, tip, unit) = (column.title(), column.tip(), scales.unit(column));
    let right = !column.is_text() && column != Column::Spread;
    Head { title, unit, width, grow, right, tip }
}

/// Why a layer's figure is unknown.
pub fn why_unknown(known: &Known<'_>, id: LayerId, column: Column) -> &'static str {
    if let Some(why) = known.missing(column) {
        return why;
    }
    match column {
        Column::Error => "This layer's output is exact, or was not compared",
        Column::Ceiling => "It states no operations or bytes, or is too short to be held against a ceiling",
        Column::Flops | Column::Bytes => facts::NO_COST,
        _ if known.profile.stats_of(id).is_none() => facts::NOT_RUN,
        Column::Spread | Column::P90 | Column::P99 => facts::ONE_TIME,
        _ => facts::NO_COST,
    }
}
