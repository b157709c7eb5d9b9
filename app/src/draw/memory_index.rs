//! What is alive at each step of the plan, made once per trace.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use profiler::{LayerStats, Memory, MemoryClass, TensorLife, Trace};

/// Bytes by class over the steps of the plan.
#[derive(Clone, Debug, Default)]
pub struct MemoryIndex {
    /// Per step, bytes of each class in the order of [`MemoryClass::ALL`].
    pub steps: Vec<[u64; MemoryClass::ALL.len()]>,
    /// The step with the most bytes in all classes; `None` without steps.
    pub peak: Option<usize>,
    /// Tensors with a place in the arena, by index into [`Memory::tensors`].
    pub arena: Vec<usize>,
    /// Tensors that live for a part of the run, by index into [`Memory::tensors`], in rows where none overlaps another; each row
    /// is in order of time.
    pub rows: Vec<Vec<usize>>,
    /// Start of each step in a median run, and the end of the last: one more than there are steps. Empty without times.
    pub times: Vec<f64>,
    /// True if the trace says which layers read each tensor.
    pub knows_readers: bool,
}

impl MemoryIndex {
    /// Of a trace with its statistics.
    pub fn new(trace: &Trace, stats: &[LayerStats]) -> Self {
        let memory = &trace.memory;
        let n = trace.layers.len();
        if memory.tensors.is_empty() && memory.weights_bytes == 0 || n == 0 {
            return MemoryIndex::default();
        }
        let weights = memory.tensors.iter().filter(|t| t.class == MemoryClass::Weights);
        let stated = weights.fold(0u64, |sum, t| sum.saturating_add(t.bytes));
        // Weights that no tensor accounts for (packed forms) are there all the time.
        let unstated = memory.weights_bytes.saturating_sub(stated);
        let mut steps = memory.timeline(n).layers;
        for step in &mut steps {
            step[MemoryClass::Weights as usize] = step[MemoryClass::Weights as usize].saturating_add(unstated);
        }
        let peak = (0..n).max_by_key(|&i| (total(&steps[i]), Reverse(i)));
        let arena = (0..memory.tensors.len()).filter(|&i| memory.tensors[i].offset.is_some()).collect();
        let knows_readers = memory.tensors.iter().any(|t| t.class == MemoryClass::Activations && !t.readers.is_empty());
        MemoryIndex { steps, peak, arena, rows: rows(memory, n), times: times(n, stats), knows_readers }
    }

    /// The largest total.
    pub fn peak_bytes(&self) -> u64 {
        self.peak.map_or(0, |p| total(&self.steps[p]))
    }

    /// Tensors alive at a step, largest first, by index into [`Memory::tensors`].
    pub fn alive_at(&self, memory: &Memory, step: usize) -> Vec<usize> {
        let alive = |t: &TensorLife| t.first.index() <= step && step <= t.last.index();
        let mut list: Vec<usize> = (0..memory.tensors.len()).filter(|&i| alive(&memory.tensors[i])).collect();
        list.sort_by_key(|&i| Reverse(memory.tensors[i].bytes));
        list
    }

    /// What a step has to do with a tensor that is alive at it.
    pub fn role(&self, tensor: &TensorLife, step: usize) -> Role {
        if tensor.class != MemoryClass::Weights && tensor.producer.is_some_and(|l| l.index() == step) {
            return Role::Makes;
        }
        match tensor.readers.binary_search_by_key(&step, |l| l.index()) {
            Ok(_) => Role::Reads,
            // Weights wait from run to run.
            Err(_) if self.knows_readers && tensor.class != MemoryClass::Weights => Role::Waits,
            Err(_) => Role::Unknown,
        }
    }
}

/// What a step has to do with a tensor that is alive at it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// It makes it.
    Makes,
    /// It reads it.
    Reads,
    /// It does neither: the tensor waits for a later step.
    Waits,
    /// The trace does not say who reads it, or it is a weight, which stays from run to run.
    Unknown,
}

impl Role {
    /// A word for a cell.
    pub fn label(self) -> &'static str {
        match self {
            Role::Makes => "made here",
            Role::Reads => "read here",
            Role::Waits => "waits",
            Role::Unknown => "",
        }
    }
}

/// First and last step, inside of the plan.
pub fn extent(t: &TensorLife, steps: usize) -> (usize, usize) {
    let end = steps.saturating_sub(1);
    let first = t.first.index().min(end);
    (first, t.last.index().min(end).max(first))
}

/// All classes together.
pub fn total(step: &[u64; MemoryClass::ALL.len()]) -> u64 {
    step.iter().fold(0, |a, &b| a.saturating_add(b))
}

/// Every tensor but the weights in the first row that is free when it comes to be.
fn rows(memory: &Memory, steps: usize) -> Vec<Vec<usize>> {
    let tensors = &memory.tensors;
    let mut order: Vec<usize> = (0..tensors.len()).filter(|&i| tensors[i].class != MemoryClass::Weights).collect();
    // Large ones above small ones that begin with them.
    order.sort_by_key(|&i| (extent(&tensors[i], steps).0, Reverse(tensors[i].bytes)));
    let mut rows: Vec<Vec<usize>> = Vec::new();
    let mut free: BinaryHeap<Reverse<usize>> = BinaryHeap::new();
    let mut ends: BinaryHeap<Reverse<(usize, usize)>> = BinaryHeap::new();
    for i in order {
        let (first, last) = extent(&tensors[i], steps);
        while let Some(&Reverse((end, row))) = ends.peek().filter(|e| e.0.0 < first) {
            ends.pop();
            free.push(Reverse(row));
            debug_assert!(end < first);
        }
        let row = match free.pop() {
            Some(Reverse(row)) => row,
            None => {
                rows.push(Vec::new());
                rows.len() - 1
            }
        };
        rows[row].push(i);
        ends.push(Reverse((last, row)));
    }
    rows
}

fn times(n: usize, stats: &[LayerStats]) -> Vec<f64> {
    if stats.is_empty() {
        return Vec::new();
    }
    let median: HashMap<usize, f64> = stats.iter().map(|s| (s.layer.index(), s.time.median)).collect();
    let mut at = 0.0;
    let mut out = vec![0.0];
    for i in 0..n {
        at += median.get(&i).copied().unwrap_or(0.0);
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
    fn rows_hold_every_passing_tensor_once_and_none_over_another() {
        let mut random = fixtures::Random::fresh();
        let mut traces: Vec<_> = (0..50).map(|_| fixtures::random(&mut random)).collect();
        traces.push(fixtures::transformer(3, 3, 1));
        for trace in traces {
            let index = MemoryIndex::new(&trace, &[]);
            let (tensors, n) = (&trace.memory.tensors, trace.layers.len());
            let mut seen: Vec<usize> = index.rows.iter().flatten().copied().collect();
            seen.sort_unstable();
            let want: Vec<usize> = (0..tensors.len()).filter(|&i| tensors[i].class != MemoryClass::Weights).collect();
            assert_eq!(seen, want, "seed {}", random.seed);
            for row in &index.rows {
                let apart = |w: &[usize]| extent(&tensors[w[0]], n).1 < extent(&tensors[w[1]], n).0;
                assert!(row.windows(2).all(apart), "seed {}", random.seed);
            }
            // As many rows as are ever alive at once, and no more.
            let alive = |step: usize| {
                let here = |&&i: &&usize| (extent(&tensors[i], n).0..=extent(&tensors[i], n).1).contains(&step);
                want.iter().filter(here).count()
            };
            assert_eq!(index.rows.len(), (0..n).map(alive).max().unwrap_or(0), "seed {}", random.seed);
        }
    }

    #[test]
    fn tensors_are_made_read_or_wait() {
        let trace = fixtures::transformer(2, 3, 1);
        let index = MemoryIndex::new(&trace, &[]);
        let mut count = [0; 3];
        for step in 0..trace.layers.len() {
            let alive = index.alive_at(&trace.memory, step).into_iter().map(|i| &trace.memory.tensors[i]);
            for t in alive.filter(|t| t.class == MemoryClass::Activations) {
                match index.role(t, step) {
                    Role::Makes => count[0] += 1,
                    Role::Reads => count[1] += 1,
                    Role::Waits => count[2] += 1,
                    Role::Unknown => panic!("the trace says who reads what"),
                }
            }
        }
        assert!(count.iter().all(|&c| c > 0), "{count:?}");
        let silent = MemoryIndex { knows_readers: false, ..index };
        assert_eq!(silent.role(&TensorLife::default(), 3), Role::Unknown);
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
