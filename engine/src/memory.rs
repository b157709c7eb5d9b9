//! The memory plan: places for tensors whose lifetimes are known, in one arena.

/// Every tensor starts at a multiple of this: a cache line.
pub(crate) const ALIGN: usize = 64;

/// A tensor that needs a place from step `first` to step `last`, both included.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    pub bytes: usize,
    pub first: usize,
    pub last: usize,
}

/// Where each request went.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub offsets: Vec<usize>,
    /// The arena's size.
    pub total: usize,
    /// The largest sum of requests alive at once: no arena can be smaller.
    pub peak: usize,
}

/// Places requests, largest first, each at the lowest gap that its lifetime leaves free ("greedy by size",
/// Pisarchyk & Lee 2020, arXiv 2001.03288).
pub(crate) fn lay_out(requests: &[Request]) -> Layout {
    let size = |r: &Request| r.bytes.next_multiple_of(ALIGN);
    let mut order: Vec<usize> = (0..requests.len()).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(requests[i].bytes), requests[i].first));
    let mut offsets = vec![0usize; requests.len()];
    let mut placed: Vec<usize> = Vec::with_capacity(requests.len());
    let mut total = 0;
    for i in order {
        let r = &requests[i];
        let mut at = 0;
        // `placed` is sorted by offset.
        for &p in &placed {
            let q = &requests[p];
            if q.last < r.first || r.last < q.first {
                continue;
            }
            if offsets[p] >= at + size(r) {
                break;
            }
            at = at.max(offsets[p] + size(q));
        }
        offsets[i] = at;
        total = total.max(at + size(r));
        let place = placed.partition_point(|&p| offsets[p] <= at);
        placed.insert(place, i);
    }
    let steps = requests.iter().map(|r| r.last + 1).max().unwrap_or(0);
    let mut change = vec![0isize; steps + 1];
    for r in requests {
        change[r.first] += size(r) as isize;
        change[r.last + 1] -= size(r) as isize;
    }
    let peak = change.iter().scan(0isize, |sum, c| {
        *sum += c;
        Some(*sum)
    });
    Layout { offsets, total, peak: peak.max().unwrap_or(0) as usize }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn living_tensors_never_overlap_and_the_arena_is_near_the_peak() {
        let mut x = 0x9E37_79B9_7F4A_7C15u64 ^ std::process::id() as u64;
        let mut next = move |n: usize| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            (x % n as u64) as usize
        };
        for _ in 0..50 {
            let requests: Vec<Request> = (0..80)
                .map(|_| {
                    let first = next(60);
                    Request { bytes: next(5000), first, last: first + next(8) }
                })
                .collect();
            let l = lay_out(&requests);
            for (i, a) in requests.iter().enumerate() {
                for (j, b) in requests.iter().enumerate().skip(i + 1) {
                    let together = a.first <= b.last && b.first <= a.last && a.bytes > 0 && b.bytes > 0;
                    let (p, q) = (l.offsets[i], l.offsets[j]);
                    assert!(!together || p + a.bytes <= q || q + b.bytes <= p, "{i} and {j}");
                }
            }
            assert!(l.peak <= l.total && l.total <= l.peak * 2, "peak {} total {}", l.peak, l.total);
        }
        assert_eq!(lay_out(&[]).total, 0);
    }
}
