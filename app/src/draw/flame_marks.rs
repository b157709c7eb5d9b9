//! Where in a flame graph the cells of some layers are, so that a block that stands for thousands of cells can tell whether
//! one of them was searched for. Found over several frames, a part of the graph in each.

use std::ops::Range;

use super::flame_index::Flame;
use super::flame_row::FlameRow;

/// Cells that share one mark.
const GROUP: usize = 16;

/// Marks on groups of cells that hold one of a set of layers.
#[derive(Clone, Debug, Default)]
pub struct Marks {
    of: u64,
    layers: Vec<bool>,
    /// By [`FlameRow::number`], a bit for each group.
    rows: Vec<Vec<u64>>,
    /// The row and the word to go on with.
    next: (usize, usize),
}

impl Marks {
    /// Starts anew if `of` (a hash of the graph and of what is looked for) differs from the last time.
    pub fn aim(&mut self, of: u64, layers: impl FnOnce() -> Vec<bool>) {
        if self.of != of || self.layers.is_empty() {
            let layers = layers();
            let next = (if layers.contains(&true) { 0 } else { usize::MAX }, 0);
            *self = Marks { of, layers, rows: Vec::new(), next };
        }
    }

    /// Looks at up to about `cells` more cells; true while there are more to look at.
    pub fn go_on(&mut self, flame: &Flame, cells: usize) -> bool {
        let mut left = cells;
        // As rows are numbered.
        let mut rows = flame.tracks.iter().flat_map(|t| &t.rows).skip(self.next.0).peekable();
        while let Some(row) = rows.peek() {
            if left == 0 {
                return true;
            }
            if self.rows.len() <= self.next.0 {
                self.rows.push(vec![0; row.len().div_ceil(64 * GROUP)]);
            }
            let Some(word) = self.rows[self.next.0].get_mut(self.next.1) else {
                rows.next();
                self.next = (self.next.0 + 1, 0);
                continue;
            };
            let first = self.next.1 * 64 * GROUP;
            for group in 0..64 {
                let at = (first + group * GROUP).min(row.len());
                let mut layers = row.layers(at..(at + GROUP).min(row.len()));
                let any = layers.any(|l| l.is_some_and(|l| self.layers.get(l.index()).copied().unwrap_or(false)));
                *word |= u64::from(any) << group;
            }
            self.next.1 += 1;
            left = left.saturating_sub(64 * GROUP);
        }
        self.next.0 = usize::MAX;
        false
    }

    /// True if one of the cells is of the set; false where that was not looked at yet.
    pub fn any(&self, row: &FlameRow, cells: Range<usize>) -> bool {
        let Some(words) = self.rows.get(row.number()).filter(|_| !cells.is_empty()) else { return false };
        let one = |c: Range<usize>| {
            row.layers(c).any(|l| l.is_some_and(|l| self.layers.get(l.index()).copied().unwrap_or(false)))
        };
        // Whole groups by their marks, the rest cell by cell.
        let (first, last) = (cells.start.div_ceil(GROUP), cells.end / GROUP);
        if first >= last {
            return one(cells);
        }
        if one(cells.start..first * GROUP) || one(last * GROUP..cells.end) {
            return true;
        }
        (first / 64..=(last - 1) / 64).any(|w| {
            let low = if w == first / 64 { u64::MAX << (first % 64) } else { u64::MAX };
            let high = if w == (last - 1) / 64 { u64::MAX >> (63 - (last - 1) % 64) } else { u64::MAX };
            words.get(w).is_some_and(|bits| bits & low & high != 0)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draw::scopes::ScopeTree;
    use profiler::fixtures::{self, Random};

    #[test]
    fn marks_agree_with_looking_at_every_cell() {
        let mut random = Random::fresh();
        let trace = fixtures::many_spans(20_000);
        let flame = Flame::of_spans(&trace, &ScopeTree::new(&trace.layers, &[]));
        for round in 0..20 {
            let set: Vec<bool> = trace.layers.iter().map(|_| random.below(400) < 2).collect();
            let mut marks = Marks::default();
            marks.aim(round, || set.clone());
            while marks.go_on(&flame, 1_000) {}
            for row in flame.tracks.iter().flat_map(|t| &t.rows) {
                for _ in 0..200 {
                    let a = random.below(row.len() as u64 + 1) as usize;
                    let length = 1 << random.below(15);
                    let b = (a + random.below(length) as usize).min(row.len());
                    let mut cells = row.layers(a..b);
                    let expected = cells.any(|l| l.is_some_and(|l| set[l.index()]));
                    assert_eq!(marks.any(row, a..b), expected, "{a}..{b} seed {}", random.seed);
                }
            }
        }
    }

    #[test]
    fn an_empty_set_asks_for_no_work() {
        let trace = fixtures::many_spans(1_000);
        let flame = Flame::of_spans(&trace, &ScopeTree::new(&trace.layers, &[]));
        let mut marks = Marks::default();
        marks.aim(1, || vec![false; trace.layers.len()]);
        assert!(!marks.go_on(&flame, 1));
        assert!(!marks.any(&flame.tracks[0].rows[0], 0..1));
        marks.aim(2, || vec![true; trace.layers.len()]);
        assert!(marks.go_on(&flame, 1));
    }
}
