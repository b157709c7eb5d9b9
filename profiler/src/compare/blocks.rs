//! Rows by scope: how each block of the model changed as a whole.

use std::collections::HashMap;

use serde::Serialize;

use super::bootstrap::{Sample, Weights};
use super::verdict::{self, Options, TimeChange};
use super::{MEDIAN, Row, Runs};

/// A scope with everything inside of it.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Block {
    /// Its path; empty for the whole model.
    pub path: String,
    /// The block around it, which comes earlier in the list; `None` for the whole model.
    pub parent: Option<usize>,
    /// How many blocks are around it.
    pub depth: usize,
    /// The rows directly in it.
    pub rows: Vec<usize>,
    /// Its time per run, all rows inside added up.
    pub time: TimeChange,
}

/// The tree of scopes over the rows, each block before what is inside of it, in the order of the rows.
pub(super) fn blocks(
    rows: &[Row],
    runs: &[Runs],
    options: Options,
    resolution_ns: f64,
    weights: &mut Weights,
) -> Vec<Block> {
    let mut blocks = vec![block(String::new(), None, 0)];
    let mut by_path: HashMap<String, usize> = HashMap::new();
    by_path.insert(String::new(), 0);
    for (i, row) in rows.iter().enumerate() {
        let mut at = 0;
        let ends = row.scope.match_indices('/').map(|m| m.0).chain([row.scope.len()]);
        for end in ends.filter(|&e| e > 0) {
            let path = &row.scope[..end];
            at = *by_path.entry(path.to_owned()).or_insert_with(|| {
                blocks.push(block(path.to_owned(), Some(at), blocks[at].depth + 1));
                blocks.len() - 1
            });
        }
        blocks[at].rows.push(i);
    }
    // From the inside out: each block hands its sums on to the one around it.
    let mut sums: Vec<[HashMap<u32, u64>; 2]> = vec![Default::default(); blocks.len()];
    let mut present = vec![(false, false); blocks.len()];
    for b in (0..blocks.len()).rev() {
        let mut own = std::mem::take(&mut sums[b]);
        for &r in &blocks[b].rows {
            present[b].0 |= !rows[r].baseline.is_empty();
            present[b].1 |= !rows[r].current.is_empty();
            for (side, by_run) in own.iter_mut().zip(&runs[r]) {
                for (run, ns) in by_run {
                    let sum = side.entry(*run).or_default();
                    *sum = sum.saturating_add(*ns);
                }
            }
        }
        let samples = own.each_ref().map(|side| {
            let mut by_run: Vec<(u32, u64)> = side.iter().map(|(r, t)| (*r, *t)).collect();
            by_run.sort_unstable();
            Sample::new(&by_run.iter().map(|t| t.1 as f64).collect::<Vec<f64>>())
        });
        blocks[b].time = verdict::judge(&samples[0], &samples[1], present[b], MEDIAN, options, weights);
        if let Some(parent) = blocks[b].parent {
            present[parent].0 |= present[b].0;
            present[parent].1 |= present[b].1;
            for (outer, inner) in sums[parent].iter_mut().zip(own) {
                if outer.is_empty() {
                    *outer = inner;
                    continue;
                }
                for (run, ns) in inner {
                    let sum = outer.entry(run).or_default();
                    *sum = sum.saturating_add(ns);
                }
            }
        }
    }
    verdict::settle(blocks.iter_mut().map(|b| &mut b.time), options, resolution_ns);
    blocks
}

fn block(path: String, parent: Option<usize>, depth: usize) -> Block {
    Block { path, parent, depth, rows: Vec::new(), time: TimeChange::unknown() }
}
