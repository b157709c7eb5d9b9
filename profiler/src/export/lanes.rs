//! Formats whose rows must nest: overlapping spans of a track are put on lanes of their own.

use crate::{Spans, TrackId};

/// One row: spans of one track that nest properly, as indices in the order in which they begin (enclosing ones first).
pub(super) struct Lane {
    pub track: TrackId,
    /// 0 for the track's own row; more for the rows that its overlapping spans need.
    pub number: usize,
    pub spans: Vec<usize>,
}

/// How many lanes of a track are searched for room.
const SEARCHED: usize = 64;

/// Splits some spans into lanes, by track.
pub(super) fn split(spans: &Spans, indices: impl IntoIterator<Item = usize>) -> Vec<Lane> {
    let mut order: Vec<usize> = indices.into_iter().collect();
    order.sort_by_key(|&i| {
        (spans.track[i], spans.start_ns[i], std::cmp::Reverse(spans.end_ns[i]), spans.layer[i].is_some())
    });
    let mut lanes: Vec<Lane> = Vec::new();
    for of_track in order.chunk_by(|&a, &b| spans.track[a] == spans.track[b]) {
        let first = lanes.len();
        // Per lane, the ends of the spans that are open.
        let mut open: Vec<Vec<u64>> = Vec::new();
        for &i in of_track {
            let (start, end) = (spans.start_ns[i], spans.end_ns[i]);
            let fits = |ends: &mut Vec<u64>| {
                while ends.last().is_some_and(|&e| e <= start) {
                    ends.pop();
                }
                ends.last().is_none_or(|&e| end <= e)
            };
            let number = open.iter_mut().take(SEARCHED).position(fits).unwrap_or_else(|| {
                lanes.push(Lane { track: spans.track[i], number: open.len(), spans: Vec::new() });
                open.push(Vec::new());
                open.len() - 1
            });
            open[number].push(end);
            lanes[first + number].spans.push(i);
        }
    }
    lanes
}

/// A lane's name: the track's, numbered from the second row on.
pub(super) fn name(track: &str, number: usize) -> String {
    if number == 0 { track.to_owned() } else { format!("{track} ({})", number + 1) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{self, Random};

    #[test]
    fn lanes_nest_and_keep_every_span() {
        let mut random = Random::fresh();
        for _ in 0..50 {
            let trace = fixtures::random(&mut random);
            let s = &trace.spans;
            let lanes = split(s, 0..s.len());
            let mut all: Vec<usize> = lanes.iter().flat_map(|l| l.spans.iter().copied()).collect();
            all.sort_unstable();
            assert_eq!(all, (0..s.len()).collect::<Vec<_>>());
            for lane in &lanes {
                for (at, &a) in lane.spans.iter().enumerate() {
                    assert_eq!(s.track[a], lane.track);
                    for &b in &lane.spans[at + 1..] {
                        let apart = s.end_ns[a] <= s.start_ns[b];
                        let inside = s.start_ns[a] <= s.start_ns[b] && s.end_ns[b] <= s.end_ns[a];
                        assert!(apart || inside, "{:?} {:?} seed {}", s.get(a), s.get(b), random.seed);
                    }
                }
            }
        }
    }
}
