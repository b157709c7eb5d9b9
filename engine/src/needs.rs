//! What a plan needs of memory, apart from what it computes: tensors with sizes, and steps that make and read them. The planner
//! places tensors from it, and other orders, sizes and habits can be tried on it without planning the model again.

use std::sync::atomic::AtomicBool;

use crate::error::EngineError;
use crate::memory::{ALIGN, Layout, Request, lay_out};
use crate::schedule;

/// A tensor that lives in the arena.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TensorNeed {
    pub bytes: usize,
    /// It holds f32.
    pub is_f32: bool,
    /// The caller reads it after the last step.
    pub is_output: bool,
}

impl TensorNeed {
    /// What it takes in the arena.
    pub fn size(&self) -> usize {
        self.bytes.next_multiple_of(ALIGN)
    }
}

/// A step.
#[derive(Clone, Debug, Default)]
pub(crate) struct StepNeed {
    /// The tensors that it reads, each once.
    pub reads: Vec<usize>,
    /// The tensors that it makes. Where `may_take` names any, the first of these takes over its place.
    pub makes: Vec<usize>,
    /// Inputs that output 0 may be written over if they die here, best first: the input's place among the step's inputs, and
    /// its tensor.
    pub may_take: Vec<(usize, usize)>,
    /// Steps that must come before it.
    pub after: Vec<usize>,
}

/// Tensors and steps, in the plan's order.
#[derive(Clone, Debug, Default)]
pub struct MemoryNeeds {
    pub(crate) tensors: Vec<TensorNeed>,
    pub(crate) steps: Vec<StepNeed>,
}

/// What an order of the steps takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryFigures {
    /// The largest sum of tensors alive at once.
    pub peak_bytes: usize,
    /// The arena that they are placed in.
    pub arena_bytes: usize,
    /// Steps whose output takes over an input's place.
    pub in_place_steps: usize,
}

/// Lifetimes under one order of the steps.
pub(crate) struct Lives {
    pub requests: Vec<Request>,
    /// Per tensor, its request; tensors that share a place share it.
    pub of_tensor: Vec<Option<usize>>,
    /// Per step, the input whose place output 0 takes over.
    pub taken: Vec<Option<usize>>,
    /// Per tensor, the first and the last step (by place in the order; an output's last is the number of steps).
    pub spans: Vec<(usize, usize)>,
}

impl MemoryNeeds {
    /// The plan's own order.
    pub fn order(&self) -> Vec<usize> {
        (0..self.steps.len()).collect()
    }

    /// What the steps take in this order, which must hold each step once and every step after those that it needs.
    pub fn figures(&self, order: &[usize], in_place: bool) -> MemoryFigures {
        let lives = self.lives(order, in_place);
        let Layout { peak, total, .. } = lay_out(&lives.requests);
        MemoryFigures { peak_bytes: peak, arena_bytes: total, in_place_steps: lives.taken.iter().flatten().count() }
    }

    /// The same steps with every f32 tensor held in 16 bits.
    pub fn in_f16(&self) -> MemoryNeeds {
        let mut needs = self.clone();
        for t in needs.tensors.iter_mut().filter(|t| t.is_f32) {
            t.bytes /= 2;
        }
        needs
    }

    /// An order of the steps with a lower peak, if one is found; the plan's own otherwise. The search is a heuristic: that it
    /// finds none does not prove that there is none (see [`MemoryNeeds::floor`]).
    pub fn better_order(&self, in_place: bool, cancel: &AtomicBool) -> Result<Vec<usize>, EngineError> {
        schedule::better_order(self, in_place, cancel)
    }

    /// A peak that no order can be below, and the step that needs it: its inputs and outputs are there while it runs, whatever
    /// the order.
    pub fn floor(&self, in_place: bool) -> (usize, Option<usize>) {
        let own = |s: &StepNeed| {
            let sum = |list: &[usize]| list.iter().map(|&t| self.tensors[t].size()).sum::<usize>();
            let shared = if in_place && !s.may_take.is_empty() { self.tensors[s.makes[0]].size() } else { 0 };
            sum(&s.reads) + sum(&s.makes) - shared
        };
        let most = self.steps.iter().map(own).enumerate().max_by_key(|&(i, bytes)| (bytes, std::cmp::Reverse(i)));
        most.map_or((0, None), |(i, bytes)| (bytes, Some(i)))
    }

    /// True if the order holds every step once, after those that it needs.
    pub fn is_valid(&self, order: &[usize]) -> bool {
        let mut place = vec![None; self.steps.len()];
        for (i, &s) in order.iter().enumerate() {
            match place.get_mut(s) {
                Some(p @ None) => *p = Some(i),
                _ => return false,
            }
        }
        let comes_after = |(s, step): (usize, &StepNeed)| step.after.iter().all(|&b| place[b] < place[s]);
        order.len() == self.steps.len() && self.steps.iter().enumerate().all(comes_after)
    }

    /// Lifetimes of all tensors in this order. An output takes over an input that dies at its step, if it may.
    pub(crate) fn lives(&self, order: &[usize], in_place: bool) -> Lives {
        let n = order.len();
        let mut last: Vec<Option<usize>> = vec![None; self.tensors.len()];
        for (i, &s) in order.iter().enumerate() {
            for &t in &self.steps[s].reads {
                last[t] = Some(i);
            }
        }
        for (end, _) in last.iter_mut().zip(&self.tensors).filter(|(_, t)| t.is_output) {
            *end = Some(n);
        }
        let mut lives = Lives {
            requests: Vec::new(),
            of_tensor: vec![None; self.tensors.len()],
            taken: vec![None; self.steps.len()],
            spans: vec![(0, 0); self.tensors.len()],
        };
        for (i, &s) in order.iter().enumerate() {
            let step = &self.steps[s];
            let mut over = step.may_take.iter().find(|&&(_, t)| in_place && last[t] == Some(i)).copied();
            lives.taken[s] = over.map(|(k, _)| k);
            for &t in &step.makes {
                let end = last[t].unwrap_or(i);
                lives.spans[t] = (i, end);
                let shared = over.take().and_then(|(_, from)| lives.of_tensor[from]);
                lives.of_tensor[t] = Some(match shared {
                    Some(request) => {
                        lives.requests[request].last = end;
                        request
                    }
                    None => {
                        lives.requests.push(Request { bytes: self.tensors[t].bytes, first: i, last: end });
                        lives.requests.len() - 1
                    }
                });
            }
        }
        lives
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Random steps over random tensors, in a valid order.
    pub fn random(seed: u64, steps: usize) -> MemoryNeeds {
        let mut x = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut next = move |n: usize| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            (x % n as u64) as usize
        };
        let mut needs = MemoryNeeds::default();
        let mut maker = Vec::new();
        for s in 0..steps {
            let mut step = StepNeed::default();
            for _ in 0..next(4).min(needs.tensors.len()) {
                // Mostly recent tensors, some from far back.
                let back = if next(4) == 0 { needs.tensors.len() } else { 6.min(needs.tensors.len()) };
                let t = needs.tensors.len() - 1 - next(back);
                if !step.reads.contains(&t) {
                    step.reads.push(t);
                    step.after.push(maker[t]);
                }
            }
            for _ in 0..1 + next(5) / 4 {
                let bytes = [64, 100, 4096, 5000, 70_000][next(5)];
                needs.tensors.push(TensorNeed { bytes, is_f32: next(3) > 0, is_output: next(12) == 0 });
                maker.push(s);
                step.makes.push(needs.tensors.len() - 1);
            }
            let out = needs.tensors[step.makes[0]];
            let fits =
                |&(_, t): &(usize, usize)| needs.tensors[t].bytes == out.bytes && needs.tensors[t].is_f32 == out.is_f32;
            step.may_take = step.reads.iter().copied().enumerate().filter(fits).collect();
            needs.steps.push(step);
        }
        needs
    }

    pub fn fresh_seed() -> u64 {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.map_or(1, |d| d.as_nanos() as u64)
    }

    /// Walks the order step by step with a set of what is alive; knows no requests. Gives back the peak and who takes what.
    pub fn naive(needs: &MemoryNeeds, order: &[usize], in_place: bool) -> (usize, Vec<Option<usize>>) {
        let mut alive: Vec<usize> = Vec::new();
        let mut peak = 0;
        let mut taken = vec![None; needs.steps.len()];
        for (i, &s) in order.iter().enumerate() {
            let step = &needs.steps[s];
            let dies = |t: usize| {
                !needs.tensors[t].is_output
                    && !order[i + 1..].iter().any(|&later| needs.steps[later].reads.contains(&t))
            };
            for &(k, t) in &step.may_take {
                if in_place && taken[s].is_none() && dies(t) {
                    taken[s] = Some(k);
                    alive.retain(|&a| a != t);
                }
            }
            alive.extend(&step.makes);
            peak = peak.max(alive.iter().map(|&t| needs.tensors[t].bytes.div_ceil(ALIGN) * ALIGN).sum());
            alive.retain(|&t| !dies(t));
        }
        (peak, taken)
    }

    #[test]
    fn lifetimes_agree_with_a_walk_over_what_is_alive() {
        let seed = fresh_seed();
        for i in 0..60 {
            let needs = random(seed.wrapping_add(i), 1 + i as usize);
            for in_place in [false, true] {
                let order = needs.order();
                assert!(needs.is_valid(&order));
                let (peak, taken) = naive(&needs, &order, in_place);
                let figures = needs.figures(&order, in_place);
                assert_eq!(figures.peak_bytes, peak, "seed {seed} + {i}");
                assert_eq!(needs.lives(&order, in_place).taken, taken, "seed {seed} + {i}");
                assert!(figures.arena_bytes >= peak && peak >= needs.floor(in_place).0, "seed {seed} + {i}");
                assert!(needs.in_f16().figures(&order, in_place).peak_bytes <= peak, "seed {seed} + {i}");
            }
        }
    }

    #[test]
    fn orders_that_skip_repeat_or_run_ahead_are_not_valid() {
        let step = |after: &[usize]| StepNeed { after: after.to_vec(), ..StepNeed::default() };
        let needs = MemoryNeeds { tensors: Vec::new(), steps: vec![step(&[]), step(&[0]), step(&[0])] };
        for (order, valid) in [
            (&[0, 1, 2][..], true),
            (&[0, 2, 1], true),
            (&[1, 0, 2], false),
            (&[0, 1], false),
            (&[0, 1, 1], false),
            (&[0, 1, 2, 2], false),
            (&[0, 1, 3], false),
        ] {
            assert_eq!(needs.is_valid(order), valid, "{order:?}");
        }
        assert_eq!(MemoryNeeds::default().figures(&[], true), MemoryFigures::default());
        assert_eq!(MemoryNeeds::default().floor(true), (0, None));
    }
}
