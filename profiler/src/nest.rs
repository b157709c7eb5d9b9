//! The order of spans and who encloses whom.

use crate::{SpanId, Spans};

/// Sorts spans by track, then start, then longest first, and sets every parent to the smallest span on the same track that
/// encloses it. After this a parent always comes before its children. Spans that overlap without nesting become siblings.
///
/// `rank` breaks ties between spans with equal bounds: the lower encloses the higher; then the earlier index does.
pub(crate) fn nest(spans: &mut Spans, rank: impl Fn(&Spans, usize) -> u8) {
    nest_within(spans, 0, rank);
}

/// As [`nest`], for clocks that are rough: a span that sticks out of the one around it by no more than `slack` is cut to fit.
/// Yields where each span was before.
pub(crate) fn nest_within(spans: &mut Spans, slack: u64, rank: impl Fn(&Spans, usize) -> u8) -> Vec<u32> {
    let key = |s: &Spans, i: usize| (s.track[i], s.start_ns[i], std::cmp::Reverse(s.end_ns[i]));
    let compare = |&a: &u32, &b: &u32| {
        let (a, b) = (a as usize, b as usize);
        key(spans, a).cmp(&key(spans, b)).then_with(|| rank(spans, a).cmp(&rank(spans, b)))
    };
    let mut order: Vec<u32> = (0..spans.len() as u32).collect();
    if !order.is_sorted_by(|a, b| compare(a, b).is_le()) {
        order.sort_by(compare);
        reorder(spans, &order);
    }
    let mut open: Vec<usize> = Vec::new();
    for i in 0..spans.len() {
        // A span that ends before this one does encloses neither it nor anything after it.
        while let Some(&t) = open.last() {
            let over = spans.end_ns[t] <= spans.start_ns[i];
            if spans.track[t] == spans.track[i] && !over && spans.end_ns[i].saturating_sub(slack) <= spans.end_ns[t] {
                spans.end_ns[i] = spans.end_ns[i].min(spans.end_ns[t]);
                break;
            }
            open.pop();
        }
        spans.parent[i] = open.last().map(|&t| SpanId(t as u32));
        open.push(i);
    }
    order
}

/// Puts every column but the parents, which are found anew, into an order: one column at a time, to need room for one only.
fn reorder(spans: &mut Spans, order: &[u32]) {
    fn column<T: Copy>(column: &mut Vec<T>, order: &[u32]) {
        *column = order.iter().map(|&i| column[i as usize]).collect();
    }
    column(&mut spans.track, order);
    column(&mut spans.layer, order);
    column(&mut spans.name, order);
    column(&mut spans.start_ns, order);
    column(&mut spans.end_ns, order);
    column(&mut spans.run, order);
    column(&mut spans.quality, order);
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
