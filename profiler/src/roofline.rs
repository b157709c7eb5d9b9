//! How far each layer is from what its device can do at best (Williams, Waterman and Patterson, "Roofline", 2009).
//!
//! A layer that does F operations on B bytes can't take less than F over the device's arithmetic rate, nor less than B over its
//! memory's rate; the larger of the two is its ceiling. B counts each tensor once, as if nothing of it were in a cache before.
//! A layer that beats the main memory's roof was therefore served from a cache: it is held against the roof of the
//! slowest cache that is fast enough, and never shown as more than all of its ceiling.

use serde::{Deserialize, Serialize};

use crate::{Layer, LayerId, LayerStats, Meta, OpClass, Trace};

/// What a device can do at best, as probes on that very device measured it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ceilings {
    /// The device in words, the same as [`Meta::device`] of the traces that it made.
    pub device: String,
    /// What they are kept under: everything about the device and the probes that changes the figures.
    pub key: String,
    /// Seconds since the Unix epoch.
    pub measured_unix_s: u64,
    /// CPU threads that the probes ran on; 0 on a GPU.
    pub threads: u32,
    /// Arithmetic, one entry for each type of number.
    pub compute: Vec<ComputeRoof>,
    /// Main memory (a GPU's own memory), reads and writes together.
    pub bandwidth_bytes_per_s: f64,
    /// How the bandwidth was measured, in words.
    pub bandwidth_how: String,
    /// Caches, the fastest first; empty where they were not measured.
    pub caches: Vec<CacheRoof>,
    /// What lowers trust in these figures, in words.
    pub notes: Vec<String>,
}

/// The best rate of arithmetic on one type of number.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ComputeRoof {
    /// `f32`, `int8`.
    pub dtype: String,
    /// Operations per second; a multiply-add counts as two.
    pub flop_per_s: f64,
    /// How it was measured, in words: `AVX2 FMA, 12 sums at once`.
    pub how: String,
}

/// The best rate of one level of cache, over all threads.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CacheRoof {
    /// `L1`, `L2`, `L3`.
    pub name: String,
    /// What it holds, over all threads, in bytes.
    pub bytes: u64,
    /// Bytes per second.
    pub bytes_per_s: f64,
}

impl Ceilings {
    /// The rate of arithmetic on a type of number, if it was measured.
    pub fn flop_per_s(&self, dtype: &str) -> Option<f64> {
        self.compute.iter().find(|c| c.dtype == dtype).map(|c| c.flop_per_s).and_then(rate)
    }

    /// The main memory's rate, if it was measured.
    pub fn bytes_per_s(&self) -> Option<f64> {
        rate(self.bandwidth_bytes_per_s)
    }

    /// Why these ceilings say nothing about a trace's layers; `None` if they are those of its own device.
    pub fn unfit(&self, meta: &Meta) -> Option<String> {
        if meta.device.is_empty() {
            return Some("The trace does not say which device it was measured on.".to_owned());
        }
        if meta.device != self.device {
            return Some(format!(
                "The ceilings are those of {}, the trace was measured on {}.",
                self.device, meta.device
            ));
        }
        if meta.device_kind == "cpu" && meta.threads != self.threads {
            return Some(format!(
                "The ceilings are those of {} threads, the trace was measured on {}.",
                self.threads, meta.threads
            ));
        }
        None
    }

    /// The newest of the ceilings in the trace and those given that are the trace's own device's; else why there are none.
    pub fn of<'a>(trace: &'a Trace, measured: Option<&'a Ceilings>) -> Result<&'a Ceilings, String> {
        let candidates = || trace.ceilings.iter().chain(measured);
        let fit = candidates().filter(|c| c.unfit(&trace.meta).is_none()).max_by_key(|c| c.measured_unix_s);
        fit.ok_or_else(|| {
            candidates()
                .find_map(|c| c.unfit(&trace.meta))
                .unwrap_or_else(|| "This device's ceilings have not been measured.".to_owned())
        })
    }
}

/// A rate that can be divided by.
fn rate(per_s: f64) -> Option<f64> {
    (per_s.is_finite() && per_s > 0.0).then_some(per_s)
}

/// What keeps a layer from being faster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Bound {
    /// The bytes that it moves.
    Memory,
    /// Its arithmetic.
    Compute,
    /// It can't be told; [`LayerRoof::why_unknown`] says why.
    Unknown,
}

impl Bound {
    /// A word or two for a cell.
    pub fn label(self) -> &'static str {
        match self {
            Bound::Memory => "memory",
            Bound::Compute => "compute",
            Bound::Unknown => "unknown",
        }
    }
}

/// One layer under its ceilings.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerRoof {
    /// Which layer.
    pub layer: LayerId,
    /// Its median time.
    pub time_ns: f64,
    /// Its share of the time of all layers, 0 to 1.
    pub share: f64,
    /// Operations; `None` if unknown.
    pub flops: Option<f64>,
    /// Bytes read and written; `None` if unknown.
    pub bytes: Option<f64>,
    /// Operations per byte; `None` where either is unknown or 0.
    pub intensity: Option<f64>,
    /// Operations per second at the median time.
    pub flop_per_s: Option<f64>,
    /// Bytes per second at the median time.
    pub bytes_per_s: Option<f64>,
    /// The type of number that it computes with.
    pub dtype: &'static str,
    /// What binds it.
    pub bound: Bound,
    /// Why it is unknown what binds it; else empty.
    pub why_unknown: &'static str,
    /// The cache (an index into [`Ceilings::caches`]) whose roof it is held against, because it moves bytes faster than main
    /// memory could.
    pub served_from: Option<usize>,
    /// True where it is faster than a ceiling allows and no cache explains it: the count of its work or the probe is off.
    pub above_all: bool,
    /// The time at its ceiling.
    pub attainable_ns: Option<f64>,
    /// What reaching the ceiling would save per run; never negative.
    pub saving_ns: Option<f64>,
    /// The share of the ceiling that it reaches, at most 1 unless `above_all`.
    pub of_ceiling: Option<f64>,
}

/// The types of number that [`dtype_of`] tells apart.
const DTYPES: [&str; 3] = ["f32", "int8", "f16"];

/// The type of number that a layer's arithmetic is in: what its kernel says first (`gemm f32 on int4 weights` computes in
/// f32), else f32.
pub fn dtype_of(layer: &Layer) -> &'static str {
    let said = DTYPES.iter().filter_map(|d| Some((layer.kernel.find(d)?, *d)));
    said.min().map_or("f32", |(_, dtype)| dtype)
}

/// Every layer that was measured, in layer order, under the ceilings of its device where they are known.
pub fn roofline(trace: &Trace, stats: &[LayerStats], ceilings: Option<&Ceilings>) -> Vec<LayerRoof> {
    stats.iter().filter_map(|s| Some(place(trace.layers.get(s.layer.index())?, s, &trace.meta, ceilings))).collect()
}

fn place(layer: &Layer, s: &LayerStats, meta: &Meta, ceilings: Option<&Ceilings>) -> LayerRoof {
    let time_ns = s.time.median;
    let flops = layer.flops.map(|f| f as f64);
    let bytes = layer.bytes_read.zip(layer.bytes_written).map(|(r, w)| r as f64 + w as f64);
    let per_s = |work: Option<f64>| work.filter(|&w| w > 0.0 && time_ns > 0.0).map(|w| w * 1e9 / time_ns);
    let mut roof = LayerRoof {
        layer: s.layer,
        time_ns,
        share: s.share,
        flops,
        bytes,
        intensity: flops.zip(bytes).filter(|&(f, b)| f > 0.0 && b > 0.0).map(|(f, b)| f / b),
        flop_per_s: per_s(flops),
        bytes_per_s: per_s(bytes),
        dtype: dtype_of(layer),
        bound: Bound::Unknown,
        why_unknown: "",
        served_from: None,
        above_all: false,
        attainable_ns: None,
        saving_ns: None,
        of_ceiling: None,
    };
    match ceilings {
        None => roof.why_unknown = "the device's ceilings were not measured",
        Some(c) => match unknown(&roof, layer, meta) {
            Some(why) => roof.why_unknown = why,
            None => hold_against(&mut roof, c),
        },
    }
    roof
}

/// What is missing to place a layer under its ceilings.
fn unknown(roof: &LayerRoof, layer: &Layer, meta: &Meta) -> Option<&'static str> {
    if roof.time_ns.is_nan() || roof.time_ns <= 0.0 {
        return Some("its time is below the clock's resolution");
    }
    if meta.device_kind == "gpu" && layer.device == "cpu" {
        return Some("it runs on the CPU, and the ceilings are the GPU's");
    }
    // Data movement does no arithmetic that counts.
    let moves = layer.class == OpClass::DataMovement;
    match (roof.flops, roof.bytes) {
        (_, None) => Some("the bytes that it moves are unknown"),
        (None, _) if !moves => Some("its operations are unknown"),
        (f, Some(b)) if f.unwrap_or(0.0) <= 0.0 && b <= 0.0 => Some("it neither computes nor moves anything"),
        _ => None,
    }
}

fn hold_against(roof: &mut LayerRoof, c: &Ceilings) {
    let bytes = roof.bytes.unwrap_or(0.0);
    let flops = roof.flops.unwrap_or(0.0);
    let Some(memory) = c.bytes_per_s() else {
        roof.why_unknown = "the memory's bandwidth was not measured";
        return;
    };
    let compute_ns = match c.flop_per_s(roof.dtype) {
        Some(rate) => flops * 1e9 / rate,
        None if flops <= 0.0 => 0.0,
        None => {
            roof.why_unknown = "no ceiling was measured for its type of number";
            return;
        }
    };
    let main_ns = bytes * 1e9 / memory;
    let mut memory_ns = main_ns;
    if main_ns > roof.time_ns {
        // The slowest cache that could have served it; with none, the fastest roof there is.
        let fits = |r: &CacheRoof| rate(r.bytes_per_s).is_some_and(|r| bytes * 1e9 / r <= roof.time_ns);
        let slowest = c.caches.iter().enumerate().filter(|(_, r)| fits(r));
        match slowest.min_by(|a, b| a.1.bytes_per_s.total_cmp(&b.1.bytes_per_s)) {
            Some((i, cache)) => {
                roof.served_from = Some(i);
                memory_ns = bytes * 1e9 / cache.bytes_per_s;
            }
            None => {
                let rates = c.caches.iter().filter_map(|r| rate(r.bytes_per_s));
                memory_ns = bytes * 1e9 / rates.fold(memory, f64::max);
            }
        }
    }
    roof.bound = if compute_ns > memory_ns { Bound::Compute } else { Bound::Memory };
    let attainable = compute_ns.max(memory_ns);
    roof.above_all = attainable > roof.time_ns;
    roof.attainable_ns = Some(attainable);
    roof.saving_ns = Some((roof.time_ns - attainable).max(0.0));
    roof.of_ceiling = Some(attainable / roof.time_ns);
}

#[cfg(test)]
#[path = "roofline_tests.rs"]
mod tests;
