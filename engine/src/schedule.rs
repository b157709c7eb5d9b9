//! Other orders of a plan's steps, for a lower peak of memory.
//!
//! Finding the best order is NP-hard (Sethi 1975, register allocation is the same problem), so this is a beam search: partial
//! orders grow step by step, and of all that hold the same number of steps the most frugal few are kept.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::EngineError;
use crate::needs::{MemoryNeeds, StepNeed};

/// Partial orders that are kept; fewer for plans so long that keeping them would take seconds.
const BEAM: usize = 24;
const LONG: usize = 2_000;
const NARROW_BEAM: usize = 6;

/// The order with the lowest peak of all that were tried, the plan's own among them; of equal ones the plan's own.
pub(crate) fn better_order(
    needs: &MemoryNeeds,
    in_place: bool,
    cancel: &AtomicBool,
) -> Result<Vec<usize>, EngineError> {
    let own = needs.order();
    let late = as_late_as_possible(needs);
    let beam = beam(needs, in_place, if own.len() > LONG { NARROW_BEAM } else { BEAM }, cancel)?;
    let peak = |order: &Vec<usize>| needs.figures(order, in_place).peak_bytes;
    // The first of equal ones.
    Ok([own, late, beam].into_iter().min_by_key(peak).unwrap_or_default())
}

/// Every step just before the first that needs it.
fn as_late_as_possible(needs: &MemoryNeeds) -> Vec<usize> {
    let mut readers: Vec<u32> = vec![0; needs.steps.len()];
    for &before in needs.steps.iter().flat_map(|s| &s.after) {
        readers[before] += 1;
    }
    // Backwards: of the steps that nobody waits for any more, the one that became so last comes last.
    let mut ready: Vec<usize> = (0..needs.steps.len()).filter(|&s| readers[s] == 0).collect();
    let mut order = Vec::with_capacity(needs.steps.len());
    while let Some(s) = ready.pop() {
        order.push(s);
        for &before in &needs.steps[s].after {
            readers[before] -= 1;
            if readers[before] == 0 {
                ready.push(before);
            }
        }
    }
    order.reverse();
    order
}

/// A partial order and what is alive after it.
#[derive(Clone)]
struct Partial {
    order: Vec<u32>,
    /// Per tensor, the steps still to come that read it.
    uses: Vec<u32>,
    /// Per step, those before it that have not run.
    waits: Vec<u32>,
    ready: Vec<u32>,
    alive: usize,
    peak: usize,
    /// Of the set of steps that have run, whatever their order.
    hash: u64,
}

struct Candidate {
    parent: usize,
    ready_ix: usize,
    peak: usize,
    alive: usize,
    hash: u64,
}

fn beam(needs: &MemoryNeeds, in_place: bool, width: usize, cancel: &AtomicBool) -> Result<Vec<usize>, EngineError> {
    let mut followers: Vec<Vec<u32>> = vec![Vec::new(); needs.steps.len()];
    let mut waits = vec![0; needs.steps.len()];
    for (s, step) in needs.steps.iter().enumerate() {
        for &before in &step.after {
            followers[before].push(s as u32);
            waits[s] += 1;
        }
    }
    let mut uses = vec![0; needs.tensors.len()];
    for &t in needs.steps.iter().flat_map(|s| &s.reads) {
        uses[t] += 1;
    }
    let ready = (0..waits.len() as u32).filter(|&s| waits[s as usize] == 0).collect();
    let mut kept = vec![Partial { order: Vec::new(), uses, waits, ready, alive: 0, peak: 0, hash: 0 }];
    let mut candidates: Vec<Candidate> = Vec::new();
    for _ in 0..needs.steps.len() {
        if cancel.load(Ordering::Relaxed) {
            return Err(EngineError::Cancelled);
        }
        candidates.clear();
        for (parent, p) in kept.iter().enumerate() {
            for (ready_ix, &s) in p.ready.iter().enumerate() {
                let (peak, alive) = after(needs, p, &needs.steps[s as usize], in_place);
                candidates.push(Candidate { parent, ready_ix, peak, alive, hash: p.hash ^ mixed(s) });
            }
        }
        candidates.sort_by_key(|c| (c.peak, c.alive));
        let mut seen = HashSet::new();
        candidates.retain(|c| seen.len() < width && seen.insert(c.hash));
        kept = candidates.iter().map(|c| grown(needs, &kept[c.parent], c, &followers)).collect();
    }
    let best = kept.into_iter().min_by_key(|p| p.peak);
    Ok(best.map_or_else(Vec::new, |p| p.order.into_iter().map(|s| s as usize).collect()))
}

/// The peak and what is alive once the step has run.
fn after(needs: &MemoryNeeds, p: &Partial, step: &StepNeed, in_place: bool) -> (usize, usize) {
    let size = |t: usize| needs.tensors[t].size();
    let dies = |t: usize| p.uses[t] == 1 && !needs.tensors[t].is_output;
    let taken = step.may_take.iter().map(|m| m.1).find(|&t| in_place && dies(t));
    let made: usize = step.makes.iter().map(|&t| size(t)).sum();
    let shared = taken.map_or(0, size);
    let during = p.alive + made - shared;
    let read: usize = step.reads.iter().filter(|&&t| dies(t)).map(|&t| size(t)).sum();
    let unread = |t: usize| p.uses[t] == 0 && !needs.tensors[t].is_output;
    let unread: usize = step.makes.iter().filter(|&&t| unread(t)).map(|&t| size(t)).sum();
    (p.peak.max(during), during + shared - read - unread)
}

fn grown(needs: &MemoryNeeds, from: &Partial, c: &Candidate, followers: &[Vec<u32>]) -> Partial {
    let mut p = from.clone();
    let s = p.ready.remove(c.ready_ix);
    p.order.push(s);
    for &t in &needs.steps[s as usize].reads {
        p.uses[t] -= 1;
    }
    for &f in &followers[s as usize] {
        p.waits[f as usize] -= 1;
        if p.waits[f as usize] == 0 {
            p.ready.push(f);
        }
    }
    (p.peak, p.alive, p.hash) = (c.peak, c.alive, c.hash);
    p
}

/// A step's share of a set's hash (the finisher of MurmurHash3).
fn mixed(step: u32) -> u64 {
    let mut x = u64::from(step) + 1;
    x = (x ^ (x >> 33)).wrapping_mul(0xFF51_AFD7_ED55_8CCD);
    x = (x ^ (x >> 33)).wrapping_mul(0xC4CE_B9FE_1A85_EC53);
    x ^ (x >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::needs::TensorNeed;
    use crate::needs::tests::{fresh_seed, naive, random};

    #[test]
    fn orders_are_valid_and_never_worse_and_their_peaks_are_as_told() {
        let seed = fresh_seed();
        let mut better = 0;
        for i in 0..40 {
            let needs = random(seed.wrapping_add(i), 2 + i as usize * 2);
            for in_place in [false, true] {
                let order = better_order(&needs, in_place, &AtomicBool::new(false)).unwrap();
                assert!(needs.is_valid(&order), "seed {seed} + {i}: {order:?}");
                let told = needs.figures(&order, in_place).peak_bytes;
                let own = needs.figures(&needs.order(), in_place).peak_bytes;
                assert_eq!(naive(&needs, &order, in_place).0, told, "seed {seed} + {i}");
                assert!(needs.floor(in_place).0 <= told && told <= own, "seed {seed} + {i}: {told} {own}");
                better += usize::from(told < own);
                // The search adds up as the planner does.
                let searched = beam(&needs, in_place, 4, &AtomicBool::new(false)).unwrap();
                let late = as_late_as_possible(&needs);
                assert!(needs.is_valid(&searched) && needs.is_valid(&late), "seed {seed} + {i}");
            }
        }
        assert!(better > 0, "some order is better than a random one; seed {seed}");
    }

    #[test]
    fn a_beam_that_keeps_all_finds_the_best_order() {
        let seed = fresh_seed();
        for i in 0..60 {
            let needs = random(seed.wrapping_add(i), 7);
            // Seven steps have fewer sets of equal size than this, so nothing is lost.
            let found = beam(&needs, true, 40, &AtomicBool::new(false)).unwrap();
            let mut best = usize::MAX;
            every_order(&needs, &mut Vec::new(), &mut |order| best = best.min(naive(&needs, order, true).0));
            assert_eq!(naive(&needs, &found, true).0, best, "seed {seed} + {i}");
        }
    }

    fn every_order(needs: &MemoryNeeds, order: &mut Vec<usize>, visit: &mut impl FnMut(&[usize])) {
        if order.len() == needs.steps.len() {
            return visit(order);
        }
        for s in 0..needs.steps.len() {
            if !order.contains(&s) && needs.steps[s].after.iter().all(|b| order.contains(b)) {
                order.push(s);
                every_order(needs, order, visit);
                order.pop();
            }
        }
    }

    /// Three wide branches that each end in a small tensor: one after the other needs one wide tensor at a time.
    #[test]
    fn wide_branches_run_one_after_the_other() {
        let tensor = |bytes| TensorNeed { bytes, is_f32: true, is_output: false };
        let mut needs = MemoryNeeds::default();
        for _ in 0..3 {
            needs.tensors.push(tensor(64_000));
            let t = needs.tensors.len() - 1;
            needs.steps.push(StepNeed { makes: vec![t], ..StepNeed::default() });
        }
        for wide in 0..3 {
            needs.tensors.push(tensor(64));
            let made = needs.tensors.len() - 1;
            needs.steps.push(StepNeed {
                reads: vec![wide],
                makes: vec![made],
                after: vec![wide],
                may_take: Vec::new(),
            });
        }
        let join = StepNeed { reads: vec![3, 4, 5], makes: Vec::new(), after: vec![3, 4, 5], may_take: Vec::new() };
        needs.steps.push(join);
        assert_eq!(needs.figures(&needs.order(), true).peak_bytes, 3 * 64_000 + 64);
        let order = better_order(&needs, true, &AtomicBool::new(false)).unwrap();
        assert_eq!(needs.figures(&order, true).peak_bytes, 64_000 + 3 * 64);
        assert!(matches!(better_order(&needs, true, &AtomicBool::new(true)), Err(EngineError::Cancelled)));
    }
}
