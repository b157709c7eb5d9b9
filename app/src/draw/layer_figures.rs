//! Figures of layers beyond their statistics, made once per trace: spread over runs, memory, error.

use std::collections::HashMap;

use profiler::{MemoryClass, Trace};

/// How many bars a small histogram has.
pub const BINS: usize = 16;

/// How a layer's times spread over the runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spread {
    /// Heights of bars over equal parts of its range, the highest 255; all 0 without times.
    pub bars: [u8; BINS],
    /// The bar that holds the median.
    pub median: u8,
}

impl Spread {
    /// Of times in any order. The range ends at the 99th percentile's time, and the last bar holds what is beyond: one slow
    /// run would flatten all others.
    pub fn of(times: &[u64]) -> Spread {
        let mut sorted = times.to_vec();
        sorted.sort_unstable();
        let Some((&low, &last)) = sorted.first().zip(sorted.last()) else { return Spread::default() };
        let at = |part: usize| sorted[(sorted.len() - 1) * part / 100];
        let high = if sorted.len() > 100 { at(99) } else { last };
        let width = (high - low).max(1) as f64;
        let bin = |t: u64| (((t - low) as f64 / width * BINS as f64) as usize).min(BINS - 1);
        let mut counts = [0u64; BINS];
        for &t in &sorted {
            counts[bin(t)] += 1;
        }
        let most = counts.iter().copied().max().unwrap_or(1).max(1);
        // A bar that holds anything is seen.
        let height = |n: u64| if n == 0 { 0 } else { (n * 255 / most).clamp(24, 255) as u8 };
        Spread { bars: counts.map(height), median: bin(at(50)) as u8 }
    }
}

/// Per layer, what views show beside its statistics.
#[derive(Clone, Debug, Default)]
pub struct LayerFigures {
    /// Its times over the runs.
    pub spread: Vec<Spread>,
    /// Bytes of its weights and of the tensors that it makes; `None` if the trace holds no memory.
    pub memory: Vec<Option<u64>>,
    /// Bytes of activations and workspace that are alive while it runs.
    pub alive: Vec<Option<u64>>,
    /// Each precision scheme that was compared with f32, with the layers' signal to noise in dB.
    pub errors: Vec<(String, Vec<Option<f64>>)>,
}

impl LayerFigures {
    /// Of a trace; `times` gives a layer's time in each measured run, and `alive` all bytes by class at each step.
    pub fn new(trace: &Trace, times: impl Fn(usize) -> Vec<u64>, alive: &[[u64; MemoryClass::ALL.len()]]) -> Self {
        let n = trace.layers.len();
        let makes = made(trace);
        let known = !trace.memory.tensors.is_empty();
        let memory = |i: usize| known.then(|| trace.layers[i].weight_bytes.saturating_add(makes[i]));
        let live = |i: usize| {
            let step = alive.get(i)?;
            Some(step[MemoryClass::Activations as usize].saturating_add(step[MemoryClass::Workspace as usize]))
        };
        LayerFigures {
            spread: (0..n).map(|i| Spread::of(&times(i))).collect(),
            memory: (0..n).map(memory).collect(),
            alive: (0..n).map(live).collect(),
            errors: errors(trace),
        }
    }

    /// A layer's signal to noise under a scheme, or under the one that is worst for it. `None` if it is exact or unknown.
    pub fn error(&self, layer: usize, scheme: Option<&str>) -> Option<f64> {
        let of = |e: &(String, Vec<Option<f64>>)| e.1.get(layer).copied().flatten();
        match scheme {
            Some(name) => self.errors.iter().find(|e| e.0 == name).and_then(of),
            None => self.errors.iter().filter_map(of).min_by(f64::total_cmp),
        }
    }
}

/// Per layer, the bytes of the tensors that it makes.
fn made(trace: &Trace) -> Vec<u64> {
    let mut bytes = vec![0u64; trace.layers.len()];
    for t in trace.memory.tensors.iter().filter(|t| t.class != MemoryClass::Weights) {
        if let Some(sum) = t.producer.and_then(|l| bytes.get_mut(l.index())) {
            *sum = sum.saturating_add(t.bytes);
        }
    }
    bytes
}

/// Each layer's own error where it was measured alone, else what has piled up to it.
fn errors(trace: &Trace) -> Vec<(String, Vec<Option<f64>>)> {
    let index: HashMap<&str, usize> = trace.layers.iter().enumerate().map(|(i, l)| (l.name.as_str(), i)).collect();
    let of = |a: &profiler::Accuracy| {
        let mut db = vec![None; trace.layers.len()];
        for l in &a.layers {
            let value = l.local_sqnr_db.or(l.cumulative_sqnr_db).filter(|v| v.is_finite());
            if let (Some(&i), Some(value)) = (index.get(l.layer.as_str()), value) {
                db[i] = Some(value);
            }
        }
        (a.scheme.clone(), db)
    };
    trace.accuracy.iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use profiler::fixtures;

    #[test]
    fn spreads_hold_every_time_and_mark_the_median() {
        assert_eq!(Spread::of(&[]), Spread::default());
        let one = Spread::of(&[7]);
        assert_eq!((one.bars[0], one.median), (255, 0));
        let even = Spread::of(&(0..160).collect::<Vec<u64>>());
        assert!(even.bars.iter().all(|&b| b > 180) && (7..=8).contains(&even.median), "{even:?}");
        // One slow run of many does not flatten the rest.
        let mut times: Vec<u64> = (1000..1500).collect();
        times.push(9_000_000);
        let spread = Spread::of(&times);
        assert!(spread.bars[..12].iter().all(|&b| b > 100), "{spread:?}");
        assert!(Spread::of(&[0, u64::MAX]).bars[BINS - 1] > 0);
    }

    #[test]
    fn memory_counts_each_tensor_once_and_the_worst_scheme_is_the_lowest() {
        let trace = fixtures::transformer(2, 3, 1);
        let figures = LayerFigures::new(&trace, |_| vec![1, 2, 3], &[]);
        let sum: u64 = figures.memory.iter().flatten().sum();
        let tensors = trace.memory.tensors.iter().filter(|t| t.class != MemoryClass::Weights && t.producer.is_some());
        let weights: u64 = trace.layers.iter().map(|l| l.weight_bytes).sum();
        assert_eq!(sum, tensors.map(|t| t.bytes).sum::<u64>() + weights);
        let judged = (0..trace.layers.len()).find(|&l| figures.error(l, Some("int4")).is_some()).unwrap();
        let int4 = figures.error(judged, Some("int4")).unwrap();
        assert_eq!(figures.error(judged, None), Some(int4));
        assert!(figures.error(judged, Some("f16")).unwrap() > int4 && figures.error(judged, Some("fp8")).is_none());
        let empty = LayerFigures::new(&fixtures::empty(), |_| Vec::new(), &[]);
        assert!(empty.memory.is_empty() && empty.errors.is_empty());
    }
}
