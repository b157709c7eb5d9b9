//! Spans by what they belong to, in two plain columns: sorting by counting, one pass to count and one to place.

use crate::{LayerId, SpanId, Trace};

/// Spans in groups, in order of recording within each.
#[derive(Clone, Debug, Default)]
pub(crate) struct Groups {
    /// Where each group begins in `items`, and where the last one ends.
    bounds: Vec<u32>,
    items: Vec<SpanId>,
}

impl Groups {
    /// Puts span `i` of `spans` into the group `key(i)`; what is in no group, or in none of the `groups`, is left out.
    pub(crate) fn of(groups: usize, spans: usize, key: impl Fn(usize) -> Option<usize>) -> Groups {
        let key = |i| key(i).filter(|&g| g < groups);
        let mut bounds = vec![0u32; groups + 1];
        for g in (0..spans).filter_map(key) {
            bounds[g + 1] += 1;
        }
        for g in 0..groups {
            bounds[g + 1] += bounds[g];
        }
        let mut items = vec![SpanId(0); bounds[groups] as usize];
        let mut next = bounds.clone();
        for i in 0..spans {
            if let Some(g) = key(i) {
                items[next[g] as usize] = SpanId(i as u32);
                next[g] += 1;
            }
        }
        Groups { bounds, items }
    }

    /// The spans of the groups from `first` up to `end`; none for a group that there is not.
    pub(crate) fn get(&self, first: usize, end: usize) -> &[SpanId] {
        match (self.bounds.get(first), self.bounds.get(end)) {
            (Some(&a), Some(&b)) if a <= b => &self.items[a as usize..b as usize],
            _ => &[],
        }
    }
}

/// The spans of each layer.
#[derive(Clone, Debug, Default)]
pub struct LayerSpans(Groups);

impl LayerSpans {
    /// Of a trace.
    pub fn of(trace: &Trace) -> LayerSpans {
        let s = &trace.spans;
        let warmup = |i: usize| s.run[i].and_then(|r| trace.runs.get(r.index())).is_some_and(|r| r.warmup);
        LayerSpans(Groups::of(2 * trace.layers.len(), s.len(), |i| {
            Some(s.layer[i]?.index() * 2 + usize::from(warmup(i)))
        }))
    }

    /// The layer's spans that belong to no warm-up run, in order of recording.
    pub fn measured(&self, layer: LayerId) -> &[SpanId] {
        let first = layer.index().saturating_mul(2);
        self.0.get(first, first.saturating_add(1))
    }

    /// All of the layer's spans; those of warm-up runs come last.
    pub fn all(&self, layer: LayerId) -> &[SpanId] {
        let first = layer.index().saturating_mul(2);
        self.0.get(first, first.saturating_add(2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{self, Random};

    #[test]
    fn every_span_of_a_layer_is_listed_once() {
        let mut random = Random::fresh();
        for _ in 0..50 {
            let trace = fixtures::random(&mut random);
            let spans = LayerSpans::of(&trace);
            for l in (0..trace.layers.len() as u32 + 2).chain([u32::MAX]).map(LayerId) {
                let of_layer = |warmups: bool| -> Vec<SpanId> {
                    let wanted = |s: &crate::Span| {
                        s.layer == Some(l) && s.run.is_some_and(|r| trace.runs[r.index()].warmup) == warmups
                    };
                    let all = trace.spans.iter().enumerate().filter(|(_, s)| wanted(s));
                    all.map(|(i, _)| SpanId(i as u32)).collect()
                };
                assert_eq!(spans.measured(l), of_layer(false), "seed {}", random.seed);
                assert_eq!(spans.all(l), [of_layer(false), of_layer(true)].concat(), "seed {}", random.seed);
            }
        }
    }
}
