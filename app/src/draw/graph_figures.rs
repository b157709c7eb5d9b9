//! What the boxes of a graph are coloured by: time, memory and error of nodes, layers and scopes.

use egui::Color32;
use profiler::{Layer, LayerId, MemoryClass, Trace};

use super::graph_tree::{GraphTree, ItemId};
use crate::format::{self, UNKNOWN};
use crate::theme::{self, Theme};
use crate::view::Profile;

/// What colours say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Colour {
    /// Median time in a run.
    #[default]
    Latency,
    /// Bytes of weights and outputs.
    Memory,
    /// Signal to quantization noise of one precision scheme.
    Error,
    /// The kind of the operator.
    Operator,
}

/// The figures of each item; NaN where unknown. Those of a scope are sums over its layers, its error is the worst.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Median time in a run, in nanoseconds.
    pub time_ns: Vec<f64>,
    /// Its share of all layers' time.
    pub share: Vec<f64>,
    /// Bytes of weights, and of the tensors that are made.
    pub bytes: Vec<f64>,
    /// The lowest signal to quantization noise, in dB; infinite if exact.
    pub sqnr_db: Vec<f64>,
}

impl Figures {
    /// The figures of a tree: measured ones from `profile`, and else what `layers` say. `scheme` is an index into the
    /// trace's precision schemes.
    pub fn new(tree: &GraphTree, layers: &[Layer], profile: Option<&Profile>, scheme: usize) -> Self {
        let per_layer = PerLayer::new(layers, profile, scheme);
        let n = tree.items.len();
        let unknown = || vec![f64::NAN; n];
        let mut f = Figures { time_ns: unknown(), share: unknown(), bytes: unknown(), sqnr_db: unknown() };
        let sum = |a: f64, b: f64| {
            if a.is_nan() {
                b
            } else if b.is_nan() {
                a
            } else {
                a + b
            }
        };
        for id in (0..n).rev() {
            let item = &tree.items[id];
            if let Some(layer) = item.layer.map(LayerId::index).filter(|&l| l < per_layer.time.len()) {
                f.time_ns[id] = per_layer.time[layer];
                f.share[id] = per_layer.share[layer];
                f.bytes[id] = per_layer.bytes[layer];
                f.sqnr_db[id] = per_layer.sqnr[layer];
                if !item.anchor {
                    continue;
                }
            }
            if id > 0 {
                let up = item.parent as usize;
                f.time_ns[up] = sum(f.time_ns[up], f.time_ns[id]);
                f.share[up] = sum(f.share[up], f.share[id]);
                f.bytes[up] = sum(f.bytes[up], f.bytes[id]);
                // The smaller of two that are known.
                f.sqnr_db[up] = f.sqnr_db[up].min(f.sqnr_db[id]);
            }
        }
        f
    }

    /// The figure that colours speak of.
    pub fn value(&self, colour: Colour, item: ItemId) -> f64 {
        let of = |list: &[f64]| list.get(item as usize).copied().unwrap_or(f64::NAN);
        match colour {
            Colour::Latency => of(&self.time_ns),
            Colour::Memory => of(&self.bytes),
            Colour::Error => of(&self.sqnr_db),
            Colour::Operator => of(&self.time_ns),
        }
    }

    /// That figure in words.
    pub fn words(&self, colour: Colour, item: ItemId) -> String {
        let value = self.value(colour, item);
        match colour {
            _ if value.is_nan() => UNKNOWN.to_owned(),
            Colour::Latency | Colour::Operator => format::duration(value),
            Colour::Memory => format::bytes(value),
            Colour::Error if value == f64::INFINITY => "exact".to_owned(),
            Colour::Error => format::decibel(value),
        }
    }

    /// True if any item has a figure.
    pub fn is_known(&self, colour: Colour) -> bool {
        (0..self.time_ns.len()).any(|i| !self.value(colour, i as ItemId).is_nan())
    }
}

struct PerLayer {
    time: Vec<f64>,
    share: Vec<f64>,
    bytes: Vec<f64>,
    sqnr: Vec<f64>,
}

impl PerLayer {
    fn new(layers: &[Layer], profile: Option<&Profile>, scheme: usize) -> Self {
        let unknown = || vec![f64::NAN; layers.len()];
        let mut p = PerLayer { time: unknown(), share: unknown(), bytes: unknown(), sqnr: unknown() };
        for s in profile.into_iter().flat_map(|p| &p.stats).filter(|s| s.layer.index() < layers.len()) {
            (p.time[s.layer.index()], p.share[s.layer.index()]) = (s.time.median, s.share);
        }
        let trace = profile.map(|p| &*p.trace);
        p.bytes = bytes(layers, trace);
        if let Some(scheme) = trace.and_then(|t| t.accuracy.get(scheme)) {
            let by_name: std::collections::HashMap<&str, usize> =
                layers.iter().enumerate().map(|(i, l)| (l.name.as_str(), i)).collect();
            for error in &scheme.layers {
                if let Some(&i) = by_name.get(error.layer.as_str()) {
                    let known = error.local_sqnr_db.or(error.cumulative_sqnr_db);
                    p.sqnr[i] = if error.exact { f64::INFINITY } else { known.unwrap_or(f64::NAN) };
                }
            }
        }
        p
    }
}

/// Weights, and the tensors that a layer makes; without a memory plan, what it writes.
fn bytes(layers: &[Layer], trace: Option<&Trace>) -> Vec<f64> {
    let mut made: Vec<Option<u64>> = layers.iter().map(|l| l.bytes_written).collect();
    if let Some(trace) = trace.filter(|t| !t.memory.tensors.is_empty()) {
        made = vec![None; layers.len()];
        for t in trace.memory.tensors.iter().filter(|t| t.class != MemoryClass::Weights) {
            if let Some(sum) = t.producer.and_then(|l| made.get_mut(l.index())) {
                *sum = Some(sum.unwrap_or(0).saturating_add(t.bytes));
            }
        }
    }
    let total = |(l, made): (&Layer, Option<u64>)| match (made, l.weight_bytes) {
        (None, 0) => f64::NAN,
        (made, weights) => made.unwrap_or(0).saturating_add(weights) as f64,
    };
    layers.iter().zip(made).map(total).collect()
}

/// From a figure to a colour: the square root of its part of the largest, so that the middle can be told apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    /// What is coloured.
    pub colour: Colour,
    /// The largest figure on show.
    pub most: f64,
}

impl Scale {
    /// The fill of a box with this figure; `None` if it is unknown or the colour does not tell of figures.
    pub fn fill(&self, theme: &Theme, value: f64) -> Option<Color32> {
        match self.colour {
            _ if value.is_nan() => None,
            Colour::Operator => None,
            Colour::Error => Some(theme.sqnr(value)),
            _ if self.most > 0.0 => Some(theme::ramp(&theme.sequential, (value / self.most).max(0.0).sqrt() as f32)),
            _ => Some(theme.sequential[0]),
        }
    }

    /// The stops of its legend, from the first colour to the last: where, and what is there.
    pub fn stops(&self) -> Vec<(f32, String)> {
        match self.colour {
            Colour::Error => vec![(0.0, "60 dB".into()), (0.5, "30 dB".into()), (1.0, "0 dB".into())],
            Colour::Operator => Vec::new(),
            Colour::Latency | Colour::Memory => {
                let words = |v: f64| {
                    if self.colour == Colour::Latency { format::duration(v) } else { format::bytes(v) }
                };
                vec![(0.0, "0".into()), (0.5, words(self.most / 4.0)), (1.0, words(self.most))]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draw::graph_tree::Grain;
    use profiler::fixtures;
    use std::sync::Arc;

    #[test]
    fn a_layer_of_many_nodes_counts_once() {
        let profile = Profile::new(Arc::new(fixtures::transformer(3, 4, 1)));
        let layers = &profile.trace.layers;
        let all: f64 = profile.stats.iter().map(|s| s.time.median).sum();
        for grain in [Grain::Nodes, Grain::Layers] {
            let tree = GraphTree::new(&profile.trace.nodes, layers, grain, false);
            let f = Figures::new(&tree, layers, Some(&profile), 0);
            assert!((f.time_ns[0] - all).abs() < 1e-6 * all, "{grain:?}: {} of {all}", f.time_ns[0]);
            assert!((f.share[0] - 1.0).abs() < 1e-6);
            assert!(f.bytes[0] > 0.0 && f.is_known(Colour::Memory));
        }
    }

    #[test]
    fn unknown_figures_have_no_colour() {
        let tree = GraphTree::new(&[], &[Layer::default(), Layer::default()], Grain::Layers, false);
        let f = Figures::new(&tree, &[Layer::default(), Layer::default()], None, 7);
        let scale = Scale { colour: Colour::Latency, most: 0.0 };
        assert!(f.time_ns.iter().all(|t| t.is_nan()) && scale.fill(Theme::dark(), f.time_ns[1]).is_none());
        assert_eq!(f.words(Colour::Error, 1), UNKNOWN);
        assert!(!f.is_known(Colour::Memory));
        assert!(scale.fill(Theme::dark(), 0.0).is_some());
    }
}
