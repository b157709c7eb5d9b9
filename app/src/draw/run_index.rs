//! The runs in order of time, to find those in a window without walking through all of them.

use profiler::{Run, RunId};

/// Runs by time. Made once per trace.
#[derive(Clone, Debug, Default)]
pub struct RunIndex {
    /// By start.
    order: Vec<u32>,
    starts: Vec<u64>,
    /// The latest end of a run and all before it: runs may overlap.
    latest: Vec<u64>,
    /// Which of the measured runs each is, from 1, in the trace's order; 0 for a warm-up.
    numbers: Vec<u32>,
    /// Start of the first and end of the last of warm-up runs that follow each other.
    warmups: Vec<(u64, u64)>,
}

impl RunIndex {
    /// Of a trace's runs.
    pub fn new(runs: &[Run]) -> RunIndex {
        let mut order: Vec<u32> = (0..runs.len() as u32).collect();
        order.sort_by_key(|&i| runs[i as usize].start_ns);
        let mut latest = 0;
        let mut measured = 0;
        let alike: Vec<Run> = order.iter().map(|&i| runs[i as usize]).collect();
        let warmups = alike.chunk_by(|a, b| a.warmup == b.warmup).filter(|c| c[0].warmup);
        RunIndex {
            warmups: warmups.map(|c| (c[0].start_ns, c.iter().map(|r| r.end_ns).max().unwrap_or(0))).collect(),
            starts: alike.iter().map(|r| r.start_ns).collect(),
            latest: alike
                .iter()
                .map(|r| {
                    latest = r.end_ns.max(latest);
                    latest
                })
                .collect(),
            numbers: runs
                .iter()
                .map(|r| {
                    measured += u32::from(!r.warmup);
                    if r.warmup { 0 } else { measured }
                })
                .collect(),
            order,
        }
    }

    /// The runs that may be in sight between two times, by start.
    pub fn visible(&self, from: f64, to: f64) -> impl ExactSizeIterator<Item = RunId> + '_ {
        let first = self.latest.partition_point(|&e| (e as f64) < from);
        let end = self.starts.partition_point(|&s| s as f64 <= to).max(first);
        self.order[first..end].iter().map(|&i| RunId(i))
    }

    /// Start and end of each stretch of warm-up runs.
    pub fn warmups(&self) -> &[(u64, u64)] {
        &self.warmups
    }

    /// Which of the measured runs it is, from 1; `None` for a warm-up.
    pub fn number(&self, run: RunId) -> Option<u32> {
        self.numbers.get(run.index()).copied().filter(|&n| n > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use profiler::fixtures::Random;

    #[test]
    fn what_is_in_sight_is_found() {
        let mut random = Random::fresh();
        for _ in 0..100 {
            let runs: Vec<Run> = (0..random.below(40))
                .map(|_| {
                    let start_ns = random.below(1_000);
                    Run { start_ns, end_ns: start_ns + random.below(100), warmup: random.below(4) == 0 }
                })
                .collect();
            let index = RunIndex::new(&runs);
            for _ in 0..20 {
                let from = random.below(1_100) as f64;
                let to = from + random.below(300) as f64;
                let found: Vec<RunId> = index.visible(from, to).collect();
                for (i, r) in runs.iter().enumerate() {
                    let inside = r.end_ns as f64 >= from && r.start_ns as f64 <= to;
                    assert!(!inside || found.contains(&RunId(i as u32)), "seed {}", random.seed);
                }
            }
            let measured = runs.iter().filter(|r| !r.warmup).count() as u32;
            let numbers: Vec<u32> = (0..runs.len()).filter_map(|i| index.number(RunId(i as u32))).collect();
            assert_eq!(numbers, (1..=measured).collect::<Vec<_>>());
        }
        assert_eq!(RunIndex::new(&[]).visible(0.0, 9.0).len(), 0);
        let run = |start_ns, warmup| Run { start_ns, end_ns: start_ns + 5, warmup };
        let index = RunIndex::new(&[run(0, true), run(10, true), run(20, false), run(30, true)]);
        assert_eq!(index.warmups(), [(0, 15), (30, 35)]);
    }
}
