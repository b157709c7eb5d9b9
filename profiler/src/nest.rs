//! The order of spans and who encloses whom.

use crate::{SpanId, Spans};

/// Sorts spans by track, then start, then longest first, and sets every parent to the smallest span on the same track that
/// encloses it. After this a parent always comes before its children. Spans that overlap without nesting become siblings.
///
/// `rank` breaks ties between spans with equal bounds: the lower encloses the higher; then the earlier index does.
pub(crate) fn nest(spans: &mut Spans, rank: impl Fn(&Spans, usize) -> u8) {
    let mut order: Vec<usize> = (0..spans.len()).collect();
    order.sort_by_cached_key(|&i| {
        (spans.track[i], spans.start_ns[i], std::cmp::Reverse(spans.end_ns[i]), rank(spans, i), i)
    });
    let mut sorted = Spans { names: std::mem::take(&mut spans.names), ..Spans::default() };
    sorted.reserve(order.len());
    let mut open: Vec<SpanId> = Vec::new();
    for &i in &order {
        let mut s = spans.get(i);
        // A span that ends before this one does encloses neither it nor anything after it.
        while let Some(top) = open.last() {
            let t = top.index();
            let over = sorted.end_ns[t] <= s.start_ns;
            if sorted.track[t] != s.track || over || sorted.end_ns[t] < s.end_ns {
                open.pop();
            } else {
                break;
            }
        }
        s.parent = open.last().copied();
        open.push(sorted.push(s));
    }
    *spans = sorted;
}

/// The total length covered by intervals that are sorted by start: overlaps count once.
pub(crate) fn union_ns(intervals: impl IntoIterator<Item = (u64, u64)>) -> u64 {
    let (mut total, mut covered_to) = (0u64, 0u64);
    for (start, end) in intervals {
        let from = start.max(covered_to);
        if end > from {
            total += end - from;
            covered_to = end;
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Quality, Span, TrackId};

    fn span(track: u32, start_ns: u64, end_ns: u64) -> Span {
        Span {
            track: TrackId(track),
            layer: None,
            name: 0,
            start_ns,
            end_ns,
            parent: None,
            run: None,
            quality: Quality::Cpu,
        }
    }

    #[test]
    fn parents_are_the_smallest_enclosing_spans() {
        let mut spans = Spans::default();
        for (t, a, b) in
            [(0, 2, 4), (0, 0, 10), (0, 2, 6), (1, 1, 2), (0, 6, 10), (0, 12, 20), (0, 15, 25), (0, 16, 18)]
        {
            spans.push(span(t, a, b));
        }
        nest(&mut spans, |_, _| 0);
        let rows: Vec<_> = spans.iter().map(|s| (s.track.0, s.start_ns, s.end_ns, s.parent.map(|p| p.0))).collect();
        assert_eq!(
            rows,
            [
                (0, 0, 10, None),
                (0, 2, 6, Some(0)),
                (0, 2, 4, Some(1)),
                (0, 6, 10, Some(0)),
                (0, 12, 20, None),
                (0, 15, 25, None),
                (0, 16, 18, Some(5)),
                (1, 1, 2, None),
            ]
        );
    }

    #[test]
    fn equal_bounds_nest_by_rank_and_empty_spans_stay_inside() {
        let mut spans = Spans::default();
        spans.push(Span { name: 1, ..span(0, 5, 9) });
        spans.push(Span { name: 0, ..span(0, 5, 9) });
        spans.push(Span { name: 2, ..span(0, 5, 5) });
        nest(&mut spans, |s, i| s.name[i] as u8);
        assert_eq!(spans.name, [0, 1, 2]);
        assert_eq!(spans.parent, [None, Some(SpanId(0)), Some(SpanId(1))]);
    }

    #[test]
    fn union_counts_overlaps_once() {
        assert_eq!(union_ns([]), 0);
        assert_eq!(union_ns([(0, 10), (2, 5), (8, 12), (20, 21), (20, 20)]), 13);
    }
}
