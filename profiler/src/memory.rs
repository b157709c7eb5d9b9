//! What occupies memory at each step of the plan.

use crate::{LayerId, Memory, MemoryClass, TensorLife};

/// Bytes in use per layer, by class. The time axis is the plan's steps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timeline {
    /// Per layer, the bytes alive of each class, in the order of [`MemoryClass::ALL`].
    pub layers: Vec<[u64; MemoryClass::ALL.len()]>,
    /// The first layer at which the most is alive, and how much; `None` without layers.
    pub peak: Option<(LayerId, u64)>,
}

impl Timeline {
    /// All that is alive at a layer.
    pub fn total(&self, layer: LayerId) -> u64 {
        self.layers.get(layer.index()).map_or(0, sum)
    }

    /// What is alive of one class at a layer.
    pub fn bytes(&self, layer: LayerId, class: MemoryClass) -> u64 {
        self.layers.get(layer.index()).map_or(0, |l| l[slot(class)])
    }

    /// The most of one class that is ever alive.
    pub fn peak_of(&self, class: MemoryClass) -> u64 {
        self.layers.iter().map(|l| l[slot(class)]).max().unwrap_or(0)
    }
}

impl Memory {
    /// The bytes alive at each of `layers` steps, from the tensors' lifetimes.
    pub fn timeline(&self, layers: usize) -> Timeline {
        let mut changes = vec![[0i128; MemoryClass::ALL.len()]; layers + 1];
        for t in &self.tensors {
            let (first, last) = (t.first.index(), t.last.index().min(layers.saturating_sub(1)));
            if first < layers && first <= last {
                changes[first][slot(t.class)] += t.bytes as i128;
                changes[last + 1][slot(t.class)] -= t.bytes as i128;
            }
        }
        for (step, shared) in self.taken_over(layers).into_iter().enumerate() {
            changes[step][slot(MemoryClass::Activations)] -= i128::from(shared);
            changes[step + 1][slot(MemoryClass::Activations)] += i128::from(shared);
        }
        let mut now = [0i128; MemoryClass::ALL.len()];
        let rows: Vec<[u64; 4]> = changes[..layers]
            .iter()
            .map(|change| {
                for (n, c) in now.iter_mut().zip(change) {
                    *n += c;
                }
                now.map(|n| u64::try_from(n.max(0)).unwrap_or(u64::MAX))
            })
            .collect();
        let peak = rows.iter().map(sum).max().and_then(|most| {
            let at = rows.iter().position(|l| sum(l) == most)?;
            Some((LayerId(at as u32), most))
        });
        Timeline { layers: rows, peak }
    }

    /// Per step, the bytes that lie in two tensors at once: the output of a step in place takes over its dying input's memory,
    /// and both are alive while it runs.
    fn taken_over(&self, layers: usize) -> Vec<u64> {
        let placed = |t: &&TensorLife| t.class == MemoryClass::Activations && t.offset.is_some();
        let mut dying: Vec<Vec<&TensorLife>> = vec![Vec::new(); layers];
        for t in self.tensors.iter().filter(placed).filter(|t| t.first < t.last) {
            if let Some(list) = dying.get_mut(t.last.index()) {
                list.push(t);
            }
        }
        let mut shared = vec![0u64; layers];
        for new in self.tensors.iter().filter(placed) {
            let step = new.first.index();
            for old in dying.get(step).into_iter().flatten() {
                let (Some(a), Some(b)) = (new.offset, old.offset) else { continue };
                let end = a.saturating_add(new.bytes).min(b.saturating_add(old.bytes));
                shared[step] = shared[step].saturating_add(end.saturating_sub(a.max(b)));
            }
        }
        shared
    }

    /// The tensors alive at a layer, largest first.
    pub fn alive_at(&self, layer: LayerId) -> Vec<&TensorLife> {
        let mut alive: Vec<&TensorLife> = self.tensors.iter().filter(|t| t.first <= layer && layer <= t.last).collect();
        alive.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.name.cmp(&b.name)));
        alive
    }
}

fn slot(class: MemoryClass) -> usize {
    MemoryClass::ALL.iter().position(|&c| c == class).unwrap_or(0)
}

fn sum(layer: &[u64; MemoryClass::ALL.len()]) -> u64 {
    layer.iter().fold(0, |a, &b| a.saturating_add(b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{self, Random};

    /// Bytes of the arena that a tensor made at a layer shares with one that dies there, pair by pair.
    fn shared(alive: &[&TensorLife], layer: LayerId) -> u64 {
        let placed = || alive.iter().filter(|t| t.class == MemoryClass::Activations && t.offset.is_some());
        let end = |t: &TensorLife| t.offset.unwrap().saturating_add(t.bytes);
        let mut sum = 0u64;
        for new in placed().filter(|t| t.first == layer) {
            for old in placed().filter(|t| t.last == layer && t.first < layer) {
                let start = new.offset.max(old.offset).unwrap();
                sum = sum.saturating_add(end(new).min(end(old)).saturating_sub(start));
            }
        }
        sum
    }

    #[test]
    fn a_step_in_place_counts_its_memory_once() {
        let life = |offset, first, last| TensorLife {
            offset: Some(offset),
            bytes: 100,
            first: LayerId(first),
            last: LayerId(last),
            ..TensorLife::default()
        };
        let memory = Memory { tensors: vec![life(0, 0, 1), life(0, 1, 2), life(100, 1, 1)], ..Memory::default() };
        let timeline = memory.timeline(3);
        let totals: Vec<u64> = (0..3).map(|l| timeline.total(LayerId(l))).collect();
        assert_eq!(totals, [100, 200, 100]);
    }

    #[test]
    fn the_timeline_matches_adding_up_what_is_alive() {
        let mut random = Random::fresh();
        for _ in 0..50 {
            let trace = fixtures::random(&mut random);
            let timeline = trace.memory.timeline(trace.layers.len());
            assert_eq!(timeline.layers.len(), trace.layers.len());
            let mut most = 0;
            for l in 0..trace.layers.len() {
                let layer = LayerId(l as u32);
                let alive = trace.memory.alive_at(layer);
                assert!(alive.is_sorted_by(|a, b| a.bytes >= b.bytes));
                for class in MemoryClass::ALL {
                    let mut want: u64 = alive.iter().filter(|t| t.class == class).map(|t| t.bytes).sum();
                    if class == MemoryClass::Activations {
                        want = want.saturating_sub(shared(&alive, layer));
                    }
                    assert_eq!(timeline.bytes(layer, class), want, "seed {}", random.seed);
                    assert!(timeline.peak_of(class) >= want);
                }
                most = most.max(timeline.total(layer));
            }
            assert_eq!(timeline.peak.map_or(0, |p| p.1), most, "seed {}", random.seed);
            if let Some((layer, bytes)) = timeline.peak {
                assert_eq!(timeline.total(layer), bytes);
            }
        }
    }

    #[test]
    fn the_synthetic_plan_is_consistent() {
        let trace = fixtures::transformer(6, 1, 3);
        let timeline = trace.memory.timeline(trace.layers.len());
        assert_eq!(timeline.peak_of(MemoryClass::Activations), trace.memory.activations_peak_bytes);
        assert!(trace.memory.arena_bytes >= trace.memory.activations_peak_bytes);
        assert_eq!(timeline.peak_of(MemoryClass::Weights), trace.memory.weights_bytes);
    }

    #[test]
    fn lifetimes_outside_of_the_plan_do_no_harm() {
        let life =
            |first, last, bytes| TensorLife { first: LayerId(first), last: LayerId(last), bytes, ..Default::default() };
        let memory = Memory {
            tensors: vec![life(5, 9, 1), life(1, 0, 2), life(0, u32::MAX, u64::MAX), life(1, 1, u64::MAX)],
            ..Memory::default()
        };
        let t = memory.timeline(2);
        assert_eq!(t.peak, Some((LayerId(0), u64::MAX)));
        assert_eq!(memory.timeline(0), Timeline::default());
    }
}
