//! Where each block and row lies in the flame graph of changes: once per comparison and side.

use profiler::compare::{Comparison, TimeChange};

/// What a cell stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum What {
    /// A scope: index into [`Comparison::blocks`].
    Block(usize),
    /// A row: index into [`Comparison::rows`].
    Row(usize),
}

impl What {
    /// Its change.
    pub fn change(self, c: &Comparison) -> &TimeChange {
        match self {
            What::Block(b) => &c.blocks[b].time,
            What::Row(r) => &c.rows[r].time,
        }
    }

    /// Its whole name.
    pub fn path(self, c: &Comparison) -> &str {
        match self {
            What::Block(0) => "whole model",
            What::Block(b) => &c.blocks[b].path,
            What::Row(r) => &c.rows[r].name,
        }
    }
}

/// A rectangle.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct DiffCell {
    /// In nanoseconds from the left.
    pub start: f64,
    /// In nanoseconds from the left.
    pub end: f64,
    /// What it stands for.
    pub what: What,
}

/// Cells by depth, outermost first; in each row from left to right, without overlap.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    /// By depth.
    pub levels: Vec<Vec<DiffCell>>,
    /// The whole width.
    pub width: f64,
}

impl Layout {
    /// Widths are the medians of side 0 (baseline) or 1 (current); a block is as wide as its rows together.
    pub fn new(c: &Comparison, side: usize) -> Layout {
        let ns = |r: usize| [c.rows[r].time.baseline, c.rows[r].time.current][side].map_or(0.0, |s| s.ns.max(0.0));
        let mut children: Vec<Vec<usize>> = vec![Vec::new(); c.blocks.len()];
        let mut sums = vec![0.0; c.blocks.len()];
        for (b, block) in c.blocks.iter().enumerate().rev() {
            sums[b] += block.rows.iter().map(|&r| ns(r)).sum::<f64>();
            if let Some(parent) = block.parent {
                sums[parent] += sums[b];
                children[parent].push(b);
            }
        }
        // The order of execution is that of the rows: a block stands where its first row does.
        let mut first = vec![usize::MAX; c.blocks.len()];
        for (b, block) in c.blocks.iter().enumerate().rev() {
            first[b] = first[b].min(block.rows.first().copied().unwrap_or(usize::MAX));
            if let Some(parent) = block.parent {
                first[parent] = first[parent].min(first[b]);
            }
        }
        let mut layout = Layout { levels: Vec::new(), width: sums.first().copied().unwrap_or(0.0) };
        // (block, where it begins), worked off without recursion: a file may nest scopes without end.
        let mut open = vec![(0usize, 0.0f64)];
        while let Some((b, start)) = open.pop() {
            let depth = c.blocks[b].depth;
            layout.put(depth, DiffCell { start, end: start + sums[b], what: What::Block(b) });
            let blocks = children[b].iter().map(|&k| (first[k], What::Block(k)));
            let mut inside: Vec<(usize, What)> =
                blocks.chain(c.blocks[b].rows.iter().map(|&r| (r, What::Row(r)))).collect();
            inside.sort_by_key(|i| i.0);
            let mut at = start;
            for (_, what) in inside {
                match what {
                    What::Block(k) => {
                        open.push((k, at));
                        at += sums[k];
                    }
                    What::Row(r) => {
                        layout.put(depth + 1, DiffCell { start: at, end: at + ns(r), what });
                        at += ns(r);
                    }
                }
            }
        }
        for level in &mut layout.levels {
            level.retain(|c| c.end > c.start);
            level.sort_by(|a, b| a.start.total_cmp(&b.start));
        }
        layout.levels.retain(|l| !l.is_empty());
        layout
    }

    fn put(&mut self, depth: usize, cell: DiffCell) {
        if self.levels.len() <= depth {
            self.levels.resize(depth + 1, Vec::new());
        }
        self.levels[depth].push(cell);
    }

    /// The cell of something.
    pub fn find(&self, what: What) -> Option<DiffCell> {
        self.levels.iter().flatten().find(|c| c.what == what).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use profiler::compare::{Options, compare};
    use profiler::fixtures::{self, Random};

    #[test]
    fn cells_lie_within_what_encloses_them_and_add_up() {
        let mut random = Random::fresh();
        for _ in 0..40 {
            let (a, b) = (fixtures::random(&mut random), fixtures::random(&mut random));
            let c = compare(&a, &b, Options::default(), &mut |_| true).unwrap();
            for side in [0, 1] {
                let layout = Layout::new(&c, side);
                let close = |x: f64, y: f64| (x - y).abs() <= 1e-6 * layout.width.max(1.0);
                assert!(close(layout.width, c.totals.rows_ns[side]), "seed {}", random.seed);
                for (depth, level) in layout.levels.iter().enumerate() {
                    for pair in level.windows(2) {
                        assert!(pair[0].end <= pair[1].start + 1e-6 * layout.width, "seed {}", random.seed);
                    }
                    for cell in level.iter().filter(|_| depth > 0) {
                        let held = layout.levels[depth - 1].iter().any(|outer| {
                            (outer.start <= cell.start || close(outer.start, cell.start))
                                && (cell.end <= outer.end || close(outer.end, cell.end))
                        });
                        assert!(held, "seed {}", random.seed);
                    }
                }
                let rows: f64 = layout
                    .levels
                    .iter()
                    .flatten()
                    .filter(|c| matches!(c.what, What::Row(_)))
                    .map(|c| c.end - c.start)
                    .sum();
                assert!(close(rows, layout.width), "seed {}", random.seed);
            }
        }
    }
}
