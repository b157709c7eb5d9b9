//! Two traces side by side: what changed, by how much, and whether that is more than noise.
//!
//! Layers are aligned through the model's own nodes, whatever either side fused. Every change of a time comes with an
//! interval and a verdict. What this cannot know is said in [`Comparison::assumptions`]: the two traces were taken one after
//! the other, so a machine that changed in between looks like a change of the model.

mod align;
mod beta;
mod blocks;
mod bootstrap;
#[cfg(test)]
mod bootstrap_tests;
mod facts;
pub mod gate;
mod times;
mod verdict;

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use crate::{LayerId, OpClass, Trace};
use align::Group;
use bootstrap::{Sample, Statistic, Weights};
use times::{ByRun, added, layer_times};

pub use blocks::Block;
pub use facts::{Difference, ErrorChange, SizeChange};
pub use verdict::{LEAST_RUNS, Options, Side, TimeChange, Verdict};

/// The interval that holds the median of values with this confidence, by their exact bootstrap; `None` below five values,
/// or if one of them is no number.
pub fn median_interval(values: &[f64], confidence: f64) -> Option<(f64, f64)> {
    if values.len() < LEAST_RUNS || values.iter().any(|v| !v.is_finite()) {
        return None;
    }
    let distribution = Weights::default().distribution(&Sample::new(values), MEDIAN)?;
    Some((distribution.quantile(0.5 - confidence / 2.0), distribution.quantile(0.5 + confidence / 2.0)))
}

const MEDIAN: Statistic = Statistic::Quantile(0.5);

/// Layers that did the same work, and how that changed.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Row {
    /// Its name: the one layer's that all of it became or came from, else the scope that all of it shares.
    pub name: String,
    /// The scope that all its layers share.
    pub scope: String,
    /// The class of the layer that takes most time.
    pub class: OpClass,
    /// The baseline's layers.
    pub baseline: Vec<LayerId>,
    /// The current trace's.
    pub current: Vec<LayerId>,
    /// The baseline's distinct operators.
    pub baseline_ops: Vec<String>,
    /// The current trace's.
    pub current_ops: Vec<String>,
    /// Its time per run: that of all its layers added up.
    pub time: TimeChange,
    /// Bytes of its weights and outputs.
    pub memory: SizeChange,
    /// Per scheme, how well its output agrees with the f32 reference.
    pub errors: Vec<ErrorChange>,
    /// The measured times per run, baseline and current, in ascending order.
    #[serde(skip)]
    pub samples: [Vec<f64>; 2],
}

/// Sums and whole-run figures.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Totals {
    /// The answer: latency of runs with recording off where both sides have such, else of the recorded ones.
    pub headline: TimeChange,
    /// True if the headline is of runs with recording off.
    pub headline_unprofiled: bool,
    /// Latency of the recorded runs, which the rows add up to.
    pub end_to_end: TimeChange,
    /// All layers' own time per run, as one figure.
    pub layers: TimeChange,
    /// Sum of the rows' medians: baseline and current.
    pub rows_ns: [f64; 2],
    /// What the rows leave of the end-to-end median: time outside of layers, overlap (negative), and what medians lose when
    /// added up. `None` where a trace has no runs.
    pub residual_ns: [Option<f64>; 2],
    /// Planned memory.
    pub peak: SizeChange,
    /// Weights as held for the run.
    pub weights: SizeChange,
    /// The largest sum of activations alive at once.
    pub activations: SizeChange,
}

/// Two traces compared.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Comparison {
    /// How it was judged.
    #[serde(skip)]
    pub options: Options,
    /// In the order of the current trace.
    pub rows: Vec<Row>,
    /// The rows by scope, each block before what is inside of it.
    pub blocks: Vec<Block>,
    /// By operator: every layer of the one against every layer of the same on the other side.
    pub operators: Vec<Row>,
    /// Sums.
    pub totals: Totals,
    /// Settings that differ.
    pub differences: Vec<Difference>,
    /// What the verdicts take for granted, and what speaks against it here.
    pub assumptions: Vec<String>,
    /// Latencies of the headline, baseline and current.
    #[serde(skip)]
    headline: [Sample; 2],
}

/// The comparison was stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the comparison was stopped")]
pub struct Stopped;

/// Compares two traces. `go_on` is told how far it is, 0 to 1, and stops it by returning false.
pub fn compare(
    baseline: &Trace,
    current: &Trace,
    options: Options,
    go_on: &mut dyn FnMut(f32) -> bool,
) -> Result<Comparison, Stopped> {
    let mut weights = Weights::default();
    let groups = align::align(&baseline.layers, &current.layers);
    let times = [layer_times(baseline), layer_times(current)];
    let mut work =
        Work { baseline, current, times, options, weights: &mut weights, go_on, done: 0, all: groups.len() * 2 };
    let (mut rows, runs) = work.rows(&groups)?;
    let (mut operators, _) = work.rows(&by_operator(baseline, current))?;
    for row in &mut operators {
        row.name = row.current_ops.first().or(row.baseline_ops.first()).cloned().unwrap_or_default();
        row.errors.clear();
    }
    let resolution = baseline.meta.clock.resolution_ns.max(current.meta.clock.resolution_ns) as f64;
    let blocks = blocks::blocks(&rows, &runs, options, resolution, work.weights);
    let headline = facts::headline(baseline, current);
    let totals = totals(baseline, current, &rows, &runs, &headline, options, resolution, &mut weights);
    let differences = facts::differences(baseline, current);
    let assumptions = facts::assumptions(baseline, current, &totals, &differences);
    verdict::settle(rows.iter_mut().map(|r| &mut r.time), options, resolution);
    verdict::settle(operators.iter_mut().map(|r| &mut r.time), options, resolution);
    let headline = headline.samples;
    Ok(Comparison { options, rows, blocks, operators, totals, differences, assumptions, headline })
}

/// What rows are made from.
struct Work<'a> {
    baseline: &'a Trace,
    current: &'a Trace,
    times: [Vec<ByRun>; 2],
    options: Options,
    weights: &'a mut Weights,
    go_on: &'a mut dyn FnMut(f32) -> bool,
    done: usize,
    all: usize,
}

/// A row's times by run on both sides.
type Runs = [ByRun; 2];

impl Work<'_> {
    /// One row per group, with its times by run.
    fn rows(&mut self, groups: &[Group]) -> Result<(Vec<Row>, Vec<Runs>), Stopped> {
        let sizes = [facts::LayerSizes::new(self.baseline), facts::LayerSizes::new(self.current)];
        let errors = [facts::LayerErrors::new(self.baseline), facts::LayerErrors::new(self.current)];
        let (mut rows, mut runs) = (Vec::with_capacity(groups.len()), Vec::with_capacity(groups.len()));
        for group in groups {
            if self.done % 64 == 0 && !(self.go_on)((self.done as f32 / self.all.max(1) as f32).min(1.0)) {
                return Err(Stopped);
            }
            self.done += 1;
            let by_run = [
                added(group.baseline.iter().map(|l| &self.times[0][l.index()])),
                added(group.current.iter().map(|l| &self.times[1][l.index()])),
            ];
            let [a, b] = by_run.each_ref().map(sample);
            let present = (!group.baseline.is_empty(), !group.current.is_empty());
            let time = verdict::judge(&a, &b, present, MEDIAN, self.options, self.weights);
            let (name, scope, class) = self.naming(group);
            rows.push(Row {
                name,
                scope,
                class,
                baseline_ops: operators(self.baseline, &group.baseline),
                current_ops: operators(self.current, &group.current),
                time,
                memory: SizeChange { baseline: sizes[0].of(&group.baseline), current: sizes[1].of(&group.current) },
                errors: facts::error_changes(&errors, group),
                baseline: group.baseline.clone(),
                current: group.current.clone(),
                samples: [a.sorted, b.sorted],
            });
            runs.push(by_run);
        }
        unique(&mut rows);
        Ok((rows, runs))
    }

    /// The row's name, common scope and class.
    fn naming(&self, group: &Group) -> (String, String, OpClass) {
        let layers = |t: &'_ Trace, ids: &[LayerId]| -> Vec<crate::Layer> {
            ids.iter().filter_map(|l| t.layers.get(l.index()).cloned()).collect()
        };
        let (a, b) = (layers(self.baseline, &group.baseline), layers(self.current, &group.current));
        let scope = common_scope(a.iter().chain(&b).map(|l| l.scope.as_str()));
        let time = |times: &[ByRun], id: LayerId| times[id.index()].iter().map(|t| t.1).fold(0u64, u64::saturating_add);
        let longest = |ids: &[LayerId], times: &[ByRun]| {
            ids.iter().copied().max_by_key(|l| (time(times, *l), std::cmp::Reverse(*l)))
        };
        let main = match longest(&group.current, &self.times[1]) {
            Some(l) => &self.current.layers[l.index()],
            None => match longest(&group.baseline, &self.times[0]) {
                Some(l) => &self.baseline.layers[l.index()],
                None => return (String::new(), scope, OpClass::Other),
            },
        };
        let name = match (a.as_slice(), b.as_slice()) {
            (_, [one]) | ([one], _) => one.name.clone(),
            _ if !scope.is_empty() => scope.clone(),
            _ => main.name.clone(),
        };
        (name, scope, main.class)
    }
}

/// A sample of times by run.
fn sample(by_run: &ByRun) -> Sample {
    let values: Vec<f64> = by_run.iter().map(|t| t.1 as f64).collect();
    Sample::new(&values)
}

/// The distinct operators of some layers, in order.
fn operators(trace: &Trace, layers: &[LayerId]) -> Vec<String> {
    let mut ops: Vec<String> = Vec::new();
    for layer in layers.iter().filter_map(|l| trace.layers.get(l.index())) {
        if !ops.contains(&layer.op) {
            ops.push(layer.op.clone());
        }
    }
    ops
}

fn by_operator(baseline: &Trace, current: &Trace) -> Vec<Group> {
    let mut groups: BTreeMap<&str, Group> = BTreeMap::new();
    for (i, layer) in baseline.layers.iter().enumerate() {
        groups.entry(&layer.op).or_default().baseline.push(LayerId(i as u32));
    }
    for (i, layer) in current.layers.iter().enumerate() {
        groups.entry(&layer.op).or_default().current.push(LayerId(i as u32));
    }
    groups.into_values().collect()
}

/// The longest path that is a beginning of all of these.
fn common_scope<'a>(mut scopes: impl Iterator<Item = &'a str>) -> String {
    let Some(first) = scopes.next() else { return String::new() };
    let mut common = first;
    for scope in scopes {
        while !(scope == common || scope.strip_prefix(common).is_some_and(|r| common.is_empty() || r.starts_with('/')))
        {
            common = common.rfind('/').map_or("", |i| &common[..i]);
        }
    }
    common.to_owned()
}

/// Tells rows of one name apart by a number.
fn unique(rows: &mut [Row]) {
    let mut seen: HashMap<String, usize> = HashMap::new();
    for row in rows {
        let n = seen.entry(row.name.clone()).or_default();
        *n += 1;
        if *n > 1 {
            row.name = format!("{} ({n})", row.name);
        }
    }
}

fn totals(
    baseline: &Trace,
    current: &Trace,
    rows: &[Row],
    runs: &[Runs],
    headline: &facts::Headline,
    options: Options,
    resolution: f64,
    weights: &mut Weights,
) -> Totals {
    let mut judge = |a: &Sample, b: &Sample| {
        let mut change = verdict::judge(a, b, (true, true), MEDIAN, options, weights);
        verdict::settle(std::iter::once(&mut change), options, resolution);
        change
    };
    let latencies = |t: &Trace| Sample::new(&t.run_latencies_ns().iter().map(|&v| v as f64).collect::<Vec<f64>>());
    let end_to_end = judge(&latencies(baseline), &latencies(current));
    let layers = judge(&sample(&added(runs.iter().map(|r| &r[0]))), &sample(&added(runs.iter().map(|r| &r[1]))));
    let sum = |side: fn(&Row) -> Option<Side>| rows.iter().filter_map(side).map(|s| s.ns).sum::<f64>();
    let rows_ns = [sum(|r| r.time.baseline), sum(|r| r.time.current)];
    let [peak, weights_size, activations] = facts::memory(baseline, current);
    Totals {
        headline: judge(&headline.samples[0], &headline.samples[1]),
        headline_unprofiled: headline.unprofiled,
        residual_ns: [end_to_end.baseline.map(|s| s.ns - rows_ns[0]), end_to_end.current.map(|s| s.ns - rows_ns[1])],
        end_to_end,
        layers,
        rows_ns,
        peak,
        weights: weights_size,
        activations,
    }
}

impl Comparison {
    /// The rows that explain most of the change of the sum of all rows: the largest changes of its sign, until they make up
    /// `share` of it. With the share that they do make up. Empty if there is no change to explain.
    pub fn explaining(&self, share: f64) -> (Vec<usize>, f64) {
        let all = self.totals.rows_ns[1] - self.totals.rows_ns[0];
        let mut order: Vec<usize> = (0..self.rows.len()).collect();
        order.sort_by(|&a, &b| {
            let part = |i: usize| self.rows[i].time.difference_ns * all.signum();
            part(b).total_cmp(&part(a)).then(a.cmp(&b))
        });
        let (mut named, mut sum) = (Vec::new(), 0.0);
        for i in order {
            let part = self.rows[i].time.difference_ns;
            if all == 0.0 || sum / all >= share || part * all <= 0.0 {
                break;
            }
            sum += part;
            named.push(i);
        }
        let explained = if named.is_empty() { 0.0 } else { sum / all };
        (named, explained)
    }

    /// How the headline's latency changed at another figure than the median.
    fn latency(&self, statistic: Statistic) -> TimeChange {
        let [a, b] = &self.headline;
        let mut change = verdict::judge(a, b, (true, true), statistic, self.options, &mut Weights::default());
        verdict::settle(std::iter::once(&mut change), self.options, 0.0);
        change
    }

    /// The latencies that the headline is of, baseline and current, ascending.
    pub fn headline_samples(&self) -> [&[f64]; 2] {
        self.headline.each_ref().map(|s| s.sorted.as_slice())
    }

    /// The row that holds a layer of the current trace.
    pub fn row_of(&self, layer: LayerId) -> Option<usize> {
        self.rows.iter().position(|r| r.current.contains(&layer))
    }
}

#[cfg(test)]
mod tests;
