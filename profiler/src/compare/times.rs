//! What each layer took in each measured run.

use crate::nest::union_ns;
use crate::{LayerId, Trace};

/// A layer's own time by run, in order of runs: its spans there joined, without the layers nested inside of them.
pub(super) type ByRun = Vec<(u32, u64)>;

/// Own times of every layer.
pub(super) fn layer_times(trace: &Trace) -> Vec<ByRun> {
    let s = &trace.spans;
    let measured = |i: usize| -> Option<u32> {
        if trace.runs.is_empty() {
            return Some(0);
        }
        let run = s.run[i]?;
        (!trace.runs.get(run.index())?.warmup).then_some(run.0)
    };
    let mut rows: Vec<(u32, u32, u64, u64)> = Vec::new();
    let mut nested: Vec<(u32, u32, u64)> = Vec::new();
    for i in 0..s.len() {
        let Some(layer) = s.layer[i].filter(|l| l.index() < trace.layers.len()) else { continue };
        let Some(run) = measured(i) else { continue };
        rows.push((layer.0, run, s.start_ns[i], s.end_ns[i]));
        if let Some(outer) = enclosing_layer(trace, i) {
            nested.push((outer.0, run, s.end_ns[i] - s.start_ns[i]));
        }
    }
    rows.sort_unstable();
    nested.sort_unstable();
    let mut times = vec![ByRun::new(); trace.layers.len()];
    let mut n = 0;
    for spans in rows.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)) {
        let (layer, run) = (spans[0].0, spans[0].1);
        let mut ns = union_ns(spans.iter().map(|r| (r.2, r.3)));
        while let Some(inner) = nested.get(n).filter(|x| (x.0, x.1) <= (layer, run)) {
            if (inner.0, inner.1) == (layer, run) {
                ns = ns.saturating_sub(inner.2);
            }
            n += 1;
        }
        times[layer as usize].push((run, ns));
    }
    times
}

/// The layer of the closest enclosing span that has one, unless it is the span's own.
fn enclosing_layer(trace: &Trace, span: usize) -> Option<LayerId> {
    let s = &trace.spans;
    let mut at = s.parent[span];
    // A parent comes before its children; a file that says otherwise must not send this round in circles.
    let mut last = span;
    while let Some(p) = at.map(|p| p.index()).filter(|&p| p < last) {
        if let Some(layer) = s.layer[p] {
            return (Some(layer) != s.layer[span]).then_some(layer);
        }
        last = p;
        at = s.parent[p];
    }
    None
}

/// Several layers' times added up run by run, in order of runs.
pub(super) fn added<'a>(parts: impl Iterator<Item = &'a ByRun>) -> ByRun {
    let mut all: ByRun = parts.flatten().copied().collect();
    all.sort_unstable_by_key(|t| t.0);
    all.chunk_by(|a, b| a.0 == b.0).map(|c| (c[0].0, c.iter().fold(0u64, |sum, t| sum.saturating_add(t.1)))).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::fixtures::{self, Random};
    use crate::{Layer, Quality, Recorder, TrackKind};

    #[test]
    fn own_times_are_those_of_the_statistics_where_nothing_is_nested() {
        let trace = fixtures::transformer(2, 5, 1);
        let times = layer_times(&trace);
        for s in trace.layer_stats() {
            let of_layer: Vec<u64> = times[s.layer.index()].iter().map(|t| t.1).collect();
            assert_eq!(crate::Summary::of(&of_layer), Some(s.time));
        }
        let all: u64 = added(times.iter()).iter().map(|t| t.1).sum();
        assert_eq!(all, times.iter().flatten().map(|t| t.1).sum::<u64>());
        let mut random = Random::fresh();
        for _ in 0..100 {
            let trace = fixtures::random(&mut random);
            assert_eq!(layer_times(&trace).len(), trace.layers.len(), "seed {}", random.seed);
        }
    }

    #[test]
    fn what_is_nested_counts_once() {
        let mut r = Recorder::new(Instant::now());
        let named = |n: &str| Layer { name: n.into(), ..Layer::default() };
        r.set_layers(vec![named("outer"), named("inner")]);
        let cpu = r.track("CPU", TrackKind::Cpu);
        r.begin_run_at(0, false);
        r.layer(cpu, LayerId(0), 10, 100, Quality::Cpu);
        r.layer(cpu, LayerId(1), 20, 50, Quality::Cpu);
        r.end_run_at(110);
        assert_eq!(layer_times(&r.finish()), [vec![(0, 60)], vec![(0, 30)]]);
    }
}
