//! What happened within a stretch of time: every span that overlaps it, cut to it and added up.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::{LayerId, OpClass, Spans, Trace, TrackId, scope_prefix};

/// What a span times: a layer, or what its name says.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum What {
    /// A layer.
    Layer(LayerId),
    /// An index into [`Spans::names`].
    Name(u32),
}

impl What {
    /// What the span `i` times.
    pub fn of(spans: &Spans, i: usize) -> What {
        spans.layer[i].map_or(What::Name(spans.name[i]), What::Layer)
    }
}

/// The spans of one track that time the same thing, cut to the range and added up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RangeSum {
    /// Their track.
    pub track: TrackId,
    /// What they time.
    pub what: What,
    /// Spans that overlap the range.
    pub count: u64,
    /// Their time within the range.
    pub sum_ns: u64,
    /// Their time within the range without that of the spans inside of them.
    pub self_ns: u64,
}

/// What to add up by.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum RangeBy {
    /// The operator; spans of no layer by their name.
    #[default]
    Op,
    /// The first so many parts of the layer's scope; spans of no layer by their name.
    Scope(usize),
    /// The layer; spans of no layer by their name.
    Layer,
    /// The track.
    Track,
}

/// A row of the table.
#[derive(Clone, PartialEq, Debug)]
pub struct RangeRow {
    /// The operator's, scope's, layer's or track's name.
    pub name: String,
    /// The class, if all of the row's layers share it.
    pub class: Option<OpClass>,
    /// The layer, in a table by layer.
    pub layer: Option<LayerId>,
    /// Spans that overlap the range.
    pub count: u64,
    /// Their time within the range.
    pub sum_ns: u64,
    /// Their time within the range without that of the spans inside of them.
    pub self_ns: u64,
}

impl RangeRow {
    /// The mean of the spans' times within the range.
    pub fn mean_ns(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.sum_ns as f64 / self.count as f64 }
    }
}

/// The sums over a range of time.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RangeSums {
    /// Start and end.
    pub range: (u64, u64),
    /// One entry per track and thing, in no particular order.
    pub sums: Vec<RangeSum>,
}

/// How many spans are looked at between two looks at the flag that cancels.
const STRIDE: usize = 1 << 16;

impl RangeSums {
    /// Adds up what overlaps `range`. One pass over the spans; `None` if `cancel` was set on the way.
    ///
    /// A span of no length counts if it lies within the range; in a range of no length there is nothing. What overlaps inside of a span counts once against its own
    /// time, if the spans stand in order of start, as those of every recording and import do.
    pub fn of(trace: &Trace, range: (u64, u64), cancel: &AtomicBool) -> Option<RangeSums> {
        let spans = &trace.spans;
        let (from, to) = range;
        let mut index: HashMap<(TrackId, What), usize> = HashMap::new();
        let mut sums: Vec<RangeSum> = Vec::new();
        // By span: its entry (one more than its index; 0 is none), and how far its inside is covered.
        let mut entry_of = vec![0u32; spans.len()];
        let mut covered = vec![0u64; spans.len()];
        for i in 0..spans.len() {
            if i.is_multiple_of(STRIDE) && cancel.load(Ordering::Relaxed) {
                return None;
            }
            let (start, end) = (spans.start_ns[i], spans.end_ns[i]);
            let inside = start < to && if start == end { start >= from } else { end > from && from < to };
            if !inside {
                continue;
            }
            let (track, what) = (spans.track[i], What::of(spans, i));
            let entry = *index.entry((track, what)).or_insert_with(|| {
                sums.push(RangeSum { track, what, count: 0, sum_ns: 0, self_ns: 0 });
                sums.len() - 1
            });
            let (start, end) = (start.max(from), end.min(to));
            let time = end - start;
            let sum = &mut sums[entry];
            sum.count += 1;
            sum.sum_ns = sum.sum_ns.saturating_add(time);
            sum.self_ns = sum.self_ns.saturating_add(time);
            entry_of[i] = entry as u32 + 1;
            // A parent comes before its children and overlaps the range wherever they do.
            if let Some(p) = spans.parent[i].map(|p| p.index()).filter(|&p| entry_of[p] > 0) {
                let (a, b) = (start.max(covered[p]), end.min(spans.end_ns[p]));
                if b > a {
                    let up = &mut sums[entry_of[p] as usize - 1];
                    up.self_ns = up.self_ns.saturating_sub(b - a);
                    covered[p] = b;
                }
            }
        }
        Some(RangeSums { range, sums })
    }

    /// Spans that overlap the range.
    pub fn count(&self) -> u64 {
        self.sums.iter().map(|s| s.count).sum()
    }

    /// The table by a key, longest first.
    pub fn rows(&self, trace: &Trace, by: RangeBy) -> Vec<RangeRow> {
        let mut rows: Vec<RangeRow> = Vec::new();
        // Spans of no layer stand apart from an operator of the same name.
        let mut index: HashMap<(bool, &str, Option<LayerId>), usize> = HashMap::new();
        for sum in &self.sums {
            let layer = match sum.what {
                What::Layer(l) => trace.layers.get(l.index()),
                What::Name(_) => None,
            };
            let own_name = match sum.what {
                What::Name(n) => trace.spans.names.get(n as usize).map_or("?", String::as_str),
                What::Layer(_) => "?",
            };
            let name = match by {
                RangeBy::Op => layer.map_or(own_name, |l| &l.op),
                RangeBy::Scope(depth) => layer.map_or(own_name, |l| scope_prefix(&l.scope, depth)),
                RangeBy::Layer => layer.map_or(own_name, |l| &l.name),
                RangeBy::Track => trace.tracks.get(sum.track.index()).map_or("?", |t| &t.name),
            };
            let id = match (by, sum.what) {
                (RangeBy::Layer, What::Layer(l)) => Some(l),
                _ => None,
            };
            let apart = layer.is_some() || by == RangeBy::Track;
            let class = layer.map(|l| l.class);
            let i = *index.entry((apart, name, id)).or_insert_with(|| {
                let name = name.to_owned();
                rows.push(RangeRow { name, class, layer: id, count: 0, sum_ns: 0, self_ns: 0 });
                rows.len() - 1
            });
            let row = &mut rows[i];
            row.class = row.class.filter(|c| class == Some(*c));
            row.count += sum.count;
            row.sum_ns = row.sum_ns.saturating_add(sum.sum_ns);
            row.self_ns = row.self_ns.saturating_add(sum.self_ns);
        }
        rows.sort_by(|a, b| b.sum_ns.cmp(&a.sum_ns).then_with(|| a.name.cmp(&b.name)));
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{self, Random};

    fn sums(trace: &Trace, range: (u64, u64)) -> RangeSums {
        RangeSums::of(trace, range, &AtomicBool::new(false)).unwrap()
    }

    /// Nanosecond by nanosecond: each belongs to the spans that cover it, and is a span's own if none of its children does.
    fn walked(trace: &Trace, (from, to): (u64, u64)) -> Vec<RangeSum> {
        let spans = &trace.spans;
        let mut all: Vec<RangeSum> = Vec::new();
        for (i, s) in spans.iter().enumerate() {
            let covers = |j: usize, t: u64| spans.start_ns[j] <= t && t < spans.end_ns[j];
            let instant = s.start_ns == s.end_ns && (from..to).contains(&s.start_ns);
            let times: Vec<u64> = (from..to).filter(|&t| covers(i, t)).collect();
            if times.is_empty() && !instant {
                continue;
            }
            let children: Vec<usize> =
                (0..spans.len()).filter(|&j| spans.parent[j].is_some_and(|p| p.index() == i)).collect();
            let own = times.iter().filter(|&&t| !children.iter().any(|&c| covers(c, t))).count() as u64;
            let what = What::of(spans, i);
            let found = all.iter().position(|r| r.track == s.track && r.what == what);
            let entry = found.unwrap_or_else(|| {
                all.push(RangeSum { track: s.track, what, count: 0, sum_ns: 0, self_ns: 0 });
                all.len() - 1
            });
            all[entry].count += 1;
            all[entry].sum_ns += times.len() as u64;
            all[entry].self_ns += own;
        }
        all
    }

    #[test]
    fn sums_are_those_of_a_walk_through_time() {
        let mut random = Random::fresh();
        let seed = random.seed;
        for _ in 0..150 {
            let trace = fixtures::random(&mut random);
            let a = random.below(1500);
            let range = (a, a + random.below(600));
            let mut got = sums(&trace, range).sums;
            let mut want = walked(&trace, range);
            got.sort_by_key(|r| (r.track, r.what));
            want.sort_by_key(|r| (r.track, r.what));
            assert_eq!(got, want, "seed {seed}, range {range:?}");
        }
    }

    #[test]
    fn every_table_adds_up_to_the_same() {
        let trace = fixtures::transformer(2, 3, 1);
        let range = (trace.runs[3].start_ns, trace.runs[3].end_ns);
        let sums = sums(&trace, range);
        let total: u64 = sums.sums.iter().map(|s| s.sum_ns).sum();
        for by in [RangeBy::Op, RangeBy::Scope(1), RangeBy::Scope(9), RangeBy::Layer, RangeBy::Track] {
            let rows = sums.rows(&trace, by);
            assert_eq!(rows.iter().map(|r| r.sum_ns).sum::<u64>(), total, "{by:?}");
            assert_eq!(rows.iter().map(|r| r.count).sum::<u64>(), sums.count());
            assert!(rows.is_sorted_by(|a, b| a.sum_ns >= b.sum_ns));
            assert!(
                rows.iter().all(|r| r.self_ns <= r.sum_ns && r.mean_ns() * r.count as f64 <= r.sum_ns as f64 + 1.0)
            );
        }
        let own: u64 = sums.sums.iter().map(|s| s.self_ns).sum();
        assert_eq!(own, range.1 - range.0, "one thread: its own times fill the run");
        let layers = sums.rows(&trace, RangeBy::Layer);
        assert_eq!(layers.iter().filter(|r| r.layer.is_some()).count(), trace.layers.len());
    }

    #[test]
    fn a_cancelled_sum_is_none() {
        assert!(RangeSums::of(&fixtures::many_spans(10), (0, 9), &AtomicBool::new(true)).is_none());
        assert_eq!(sums(&fixtures::empty(), (0, u64::MAX)).sums, []);
    }
}
