//! What is alive at each step of the plan, made once per trace.

use profiler::{LayerStats, Memory, MemoryClass, Trace};

/// Bytes by class over the steps of the plan.
#[derive(Clone, Debug, Default)]
pub struct MemoryIndex {
    /// Per step, bytes of each class in the order of [`MemoryClass::ALL`].
    pub steps: Vec<[u64; MemoryClass::ALL.len()]>,
    /// The step with the most bytes in all classes; `None` without steps.
    pub peak: Option<usize>,
    /// Tensors with a place in the arena, by index into [`Memory::tensors`].
    pub arena: Vec<usize>,
    /// Start of each step in a median run, and the end of the last: one more than there are steps. Empty without times.
    pub times: Vec<f64>,
}

impl MemoryIndex {
    /// Of a trace with its statistics.
    pub fn new(trace: &Trace, stats: &[LayerStats]) -> Self {
        let memory = &trace.memory;
        let n = trace.layers.len();
        if memory.tensors.is_empty() && memory.weights_bytes == 0 || n == 0 {
            return MemoryIndex::default();
        }
        let mut change = vec![[0i128; MemoryClass::ALL.len()]; n + 1];
        let mut stated = 0u64;
        for t in &memory.tensors {
            let (first, last) = (t.first.index().min(n - 1), t.last.index().min(n - 1).max(t.first.index().min(n - 1)));
            change[first][t.class as usize] += i128::from(t.bytes);
            change[last + 1][t.class as usize] -= i128::from(t.bytes);
            if t.class == MemoryClass::Weights {
                stated = stated.saturating_add(t.bytes);
            }
        }
        // Weights that no tensor accounts for (packed forms) are there all the time.
        change[0][MemoryClass::Weights as usize] += i128::from(memory.weights_bytes.saturating_sub(stated));
        let mut now = [0i128; MemoryClass::ALL.len()];
        let steps: Vec<_> = change[..n]
            .iter()
            .map(|c| {
                now.iter_mut().zip(c).for_each(|(n, c)| *n += c);
                now.map(|v| u64::try_from(v.max(0)).unwrap_or(u64::MAX))
            })
            .collect();
        let peak = (0..n).max_by_key(|&i| (total(&steps[i]), std::cmp::Reverse(i)));
        let arena = (0..memory.tensors.len()).filter(|&i| memory.tensors[i].offset.is_some()).collect();
        MemoryIndex { steps, peak, arena, times: times(n, stats) }
    }

    /// The largest total.
    pub fn peak_bytes(&self) -> u64 {
        self.peak.map_or(0, |p| total(&self.steps[p]))
    }

    /// Tensors alive at a step, largest first, by index into [`Memory::tensors`].
    pub fn alive_at(&self, memory: &Memory, step: usize) -> Vec<usize> {
        let alive = |t: &profiler::TensorLife| t.first.index() <= step && step <= t.last.index();
        let mut list: Vec<usize> = (0..memory.tensors.len()).filter(|&i| alive(&memory.tensors[i])).collect();
        list.sort_by_key(|&i| std::cmp::Reverse(memory.tensors[i].bytes));
        list
    }
}

/// All classes together.
pub fn total(step: &[u64; MemoryClass::ALL.len()]) -> u64 {
    step.iter().fold(0, |a, &b| a.saturating_add(b))
}

fn times(n: usize, stats: &[LayerStats]) -> Vec<f64> {
    if stats.is_empty() {
        return Vec::new();
    }
    let mut median = vec![0.0; n];
    for s in stats {
        if let Some(m) = median.get_mut(s.layer.index()) {
            *m = s.time.median;
        }
    }
    let mut at = 0.0;
    let mut out = vec![0.0];
    for m in median {
        at += m;
        out.push(at);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use profiler::fixtures;

    #[test]
    fn steps_match_counting_tensors_one_by_one() {
        let trace = fixtures::transformer(3, 3, 1);
        let index = MemoryIndex::new(&trace, &trace.layer_stats());
        assert_eq!(index.steps.len(), trace.layers.len());
        for (i, step) in index.steps.iter().enumerate() {
            for class in MemoryClass::ALL {
                let sum: u64 = index
                    .alive_at(&trace.memory, i)
                    .into_iter()
                    .map(|t| &trace.memory.tensors[t])
                    .filter(|t| t.class == class)
                    .map(|t| t.bytes)
                    .sum();
                assert_eq!(step[class as usize], sum, "step {i}, {class:?}");
            }
        }
        let peak = index.peak_bytes();
        assert!(index.steps.iter().all(|s| total(s) <= peak));
        assert_eq!(index.times.len(), trace.layers.len() + 1);
    }

    #[test]
    fn odd_traces_are_survived() {
        assert!(MemoryIndex::new(&fixtures::empty(), &[]).peak.is_none());
        let mut trace = fixtures::one_layer();
        trace.memory.tensors[0].last = profiler::LayerId(u32::MAX);
        trace.memory.tensors[1].first = profiler::LayerId(7);
        trace.memory.weights_bytes = u64::MAX;
        let index = MemoryIndex::new(&trace, &[]);
        assert_eq!((index.steps.len(), index.times.len()), (1, 0));
        let mut random = fixtures::Random::new(9);
        for _ in 0..100 {
            let trace = fixtures::random(&mut random);
            MemoryIndex::new(&trace, &trace.layer_stats());
        }
    }
}
