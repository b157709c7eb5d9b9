//! Files with one figure per layer instead of a timeline: they become one run, made up, in which the layers follow each other
//! in their order. Where a file has figures of several runs, as many runs follow each other.

use std::collections::HashMap;

use super::{Problem, damaged};
use crate::recorder::seal;
use crate::{Layer, LayerId, Quality, Run, RunId, Span, Trace, Track, TrackId, TrackKind};

/// More layers than any model has.
const MAX_LAYERS: usize = 1_000_000;
/// More rows than a person could have waited for.
const MAX_ROWS: usize = 20_000_000;

/// A table of layers and times.
pub(super) struct Averages {
    layers: Vec<Layer>,
    names: HashMap<String, u32>,
    /// Per run, layers with their times.
    runs: Vec<Vec<(LayerId, u64)>>,
    rows: usize,
}

impl Averages {
    pub fn new() -> Averages {
        Averages { layers: Vec::new(), names: HashMap::new(), runs: Vec::new(), rows: 0 }
    }

    /// Begins the next run.
    pub fn next_run(&mut self) {
        self.runs.push(Vec::new());
    }

    /// Adds a layer; names that are there already get a number.
    pub fn layer(&mut self, layer: Layer) -> Result<LayerId, Problem> {
        if self.layers.len() >= MAX_LAYERS {
            return Err(damaged(format!("more than {MAX_LAYERS} layers")));
        }
        let seen = self.names.entry(layer.name.clone()).or_default();
        *seen += 1;
        let name = if *seen > 1 { format!("{} #{seen}", layer.name) } else { layer.name.clone() };
        self.layers.push(Layer { name, ..layer });
        Ok(LayerId((self.layers.len() - 1) as u32))
    }

    /// Says how long a layer took in the newest run.
    pub fn time(&mut self, layer: LayerId, ns: u64) -> Result<(), Problem> {
        self.rows += 1;
        if self.rows > MAX_ROWS {
            return Err(damaged(format!("more than {MAX_ROWS} rows")));
        }
        if self.runs.is_empty() {
            self.next_run();
        }
        if let Some(run) = self.runs.last_mut() {
            run.push((layer, ns));
        }
        Ok(())
    }

    pub fn len(&self) -> usize {
        self.layers.len()
    }

    /// The trace. `averaged` is over how many runs the figures were averaged, if they were; 0 if that is not known.
    pub fn finish(self, tool: &str, kind: TrackKind, averaged: Option<u64>) -> Result<Trace, Problem> {
        if self.layers.is_empty() {
            return Err(damaged("no layer in it"));
        }
        let mut trace = Trace { layers: self.layers, ..Trace::default() };
        let track = TrackId(0);
        trace.tracks.push(Track { name: if kind == TrackKind::Gpu { "GPU" } else { "CPU" }.to_owned(), kind });
        let device = if kind == TrackKind::Gpu { "gpu" } else { "cpu" };
        trace.layers.iter_mut().filter(|l| l.device.is_empty()).for_each(|l| device.clone_into(&mut l.device));
        let mut at = 0u64;
        for (number, run) in self.runs.iter().filter(|run| !run.is_empty()).enumerate() {
            let start_ns = at;
            for &(layer, ns) in run {
                let end_ns = at.checked_add(ns).ok_or_else(|| damaged("its times add up to more than 500 years"))?;
                let run = Some(RunId(number as u32));
                let quality = Quality::Cpu;
                trace.spans.push(Span {
                    track,
                    layer: Some(layer),
                    name: 0,
                    start_ns: at,
                    end_ns,
                    parent: None,
                    run,
                    quality,
                });
                at = end_ns;
            }
            trace.runs.push(Run { start_ns, end_ns: at, warmup: false });
        }
        seal(&mut trace);
        let meta = &mut trace.meta;
        tool.clone_into(&mut meta.producer);
        device.clone_into(&mut meta.device_kind);
        meta.clock.strategy = format!("figures per layer from {tool}, set one after the other");
        meta.warnings.extend(averaged.map(averages_warning));
        Ok(trace)
    }
}

/// What a reader must know of figures that were averaged before they got here.
fn averages_warning(runs: u64) -> String {
    match runs {
        0 => "times are averages over several runs: no distribution".to_owned(),
        n => format!("times are averages over {n} runs: no distribution"),
    }
}

/// A time in a unit of so many nanoseconds, from a file; an error that names the field if it can't be one.
pub(super) fn duration_ns(value: f64, unit_ns: f64, field: &str) -> Result<u64, Problem> {
    /// A century.
    const LONGEST: f64 = 3.2e18;
    let ns = value * unit_ns;
    if ns.is_finite() && (0.0..LONGEST).contains(&ns) {
        Ok(ns.round() as u64)
    } else {
        Err(damaged(format!("{field} is {value}, which is no time")))
    }
}

/// A number of a text file, with its unit or sign of per cent left out.
pub(super) fn number(text: &str, field: &str, line: usize) -> Result<f64, Problem> {
    let plain = text.trim().trim_end_matches('%').trim();
    plain.parse().map_err(|_| damaged(format!("line {line}: {field} is {text:?}, which is no number")))
}
