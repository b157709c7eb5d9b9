//! A row of the flame graph: cells in columns, and a pyramid of them that cuts any window into few blocks.
//!
//! What a window costs depends on its width in points, never on how many cells the row has: a node of the pyramid that is
//! far narrower than a block joins it whole, and only wider ones are opened. `RowBuilder` makes a row, [`FlameRow`] reads it.

use std::ops::Range;

use profiler::{LayerId, OpClass, SpanId};

/// A rectangle of the graph.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FlameCell {
    /// Where it begins, in nanoseconds.
    pub start: f64,
    /// Where it ends.
    pub end: f64,
    /// The layer that it times, if any.
    pub layer: Option<LayerId>,
    /// The span that it shows, in time order; none for scopes.
    pub span: Option<SpanId>,
    /// The scope that it stands for.
    pub node: Option<u32>,
    /// For colour; none for what is not of one class.
    pub class: Option<OpClass>,
    /// It belongs to a warm-up run.
    pub warmup: bool,
}

impl FlameCell {
    /// How long it is.
    pub fn duration(&self) -> f64 {
        self.end - self.start
    }
}

/// Neighbouring cells drawn as one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Block {
    /// The first of its cells.
    pub first: usize,
    /// How many.
    pub count: usize,
    /// Start of the first.
    pub start: f64,
    /// End of the last.
    pub end: f64,
    /// The class that takes most of its time.
    pub class: Option<OpClass>,
    /// The longest of its cells.
    pub longest: usize,
    /// The time of its cells, without what lies between them.
    pub total: f64,
}

/// Cells of one node of the pyramid's lowest level, and nodes of one level in one of the next.
const FAN: usize = 8;
/// A node that is no wider than this part of a block joins it whole.
const WHOLE: f64 = 0.5;
const CLASSES: usize = OpClass::ALL.len();

/// What is known of [`FAN`] neighbours together.
#[derive(Clone, Copy, Debug)]
struct Node {
    start: f64,
    end: f64,
    longest: u32,
    longest_ns: f32,
    /// Time of all cells, without the gaps.
    total: f64,
    /// Time by class.
    time: [f32; CLASSES],
}

impl Node {
    fn join(nodes: &[Node]) -> Option<Node> {
        let (&first, rest) = nodes.split_first()?;
        Some(rest.iter().fold(first, |mut all, n| {
            all.end = n.end;
            all.total += n.total;
            if n.longest_ns > all.longest_ns {
                (all.longest, all.longest_ns) = (n.longest, n.longest_ns);
            }
            all.time.iter_mut().zip(n.time).for_each(|(a, b)| *a += b);
            all
        }))
    }

    /// The class that takes most of the time.
    fn class(&self) -> Option<OpClass> {
        let most = OpClass::ALL.into_iter().max_by(|a, b| self.time[*a as usize].total_cmp(&self.time[*b as usize]))?;
        (self.time[most as usize] > 0.0).then_some(most)
    }
}

const NO_LAYER: u32 = u32::MAX;
const NO_CLASS: u8 = 0x0f;
const WARMUP: u8 = 0x10;
/// Its id is that of a scope, not of a span.
const IS_NODE: u8 = 0x20;

/// Cells in order of time; none overlaps the next.
#[derive(Clone, Debug, Default)]
pub struct FlameRow {
    number: usize,
    starts: Vec<f64>,
    ends: Vec<f64>,
    ids: Vec<u32>,
    layers: Vec<u32>,
    tags: Vec<u8>,
    /// The lowest level first; the highest has at most [`FAN`] nodes. Empty for a short row.
    pyramid: Vec<Vec<Node>>,
}

impl FlameRow {
    /// Which of all rows of its graph it is, counted from the top.
    pub fn number(&self) -> usize {
        self.number
    }

    /// How many cells it has.
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// True without cells.
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// A cell. Panics past the end.
    pub fn cell(&self, i: usize) -> FlameCell {
        let (id, layer, tag) = (self.ids[i], self.layers[i], self.tags[i]);
        let is_node = tag & IS_NODE != 0;
        FlameCell {
            start: self.starts[i],
            end: self.ends[i],
            layer: (layer != NO_LAYER).then_some(LayerId(layer)),
            span: (!is_node).then_some(SpanId(id)),
            node: is_node.then_some(id),
            class: OpClass::ALL.get(usize::from(tag & NO_CLASS)).copied(),
            warmup: tag & WARMUP != 0,
        }
    }

    /// The layers of some cells.
    pub fn layers(&self, cells: Range<usize>) -> impl Iterator<Item = Option<LayerId>> + '_ {
        self.layers[cells].iter().map(|&l| (l != NO_LAYER).then_some(LayerId(l)))
    }

    /// All cells in order.
    pub fn cells(&self) -> impl DoubleEndedIterator<Item = FlameCell> + ExactSizeIterator + '_ {
        (0..self.len()).map(|i| self.cell(i))
    }

    /// The cells that are in sight between two times.
    pub fn visible(&self, from: f64, to: f64) -> Range<usize> {
        let first = self.ends.partition_point(|&e| e <= from);
        first..first.max(self.starts.partition_point(|&s| s < to))
    }

    /// The first cell that begins at or after a time; past the end if there is none.
    pub fn from_time(&self, t: f64) -> usize {
        self.starts.partition_point(|&s| s < t)
    }

    /// The cell of a span, which is known to begin at `start`.
    pub fn find(&self, span: SpanId, start: f64) -> Option<usize> {
        // Empty spans may begin at the same time.
        let at = self.from_time(start);
        let same = self.starts[at..].partition_point(|&s| s <= start);
        (at..at + same).find(|&i| self.ids[i] == span.0 && self.tags[i] & IS_NODE == 0)
    }

    /// Appends what is visible of the row between two times. Cells narrower than `narrow` join their neighbours in blocks of
    /// about that width: whatever the row holds, there are at most four blocks to each `narrow` of the window, and a few more
    /// at its ends. The blocks stay the same while the window moves.
    pub fn blocks(&self, from: f64, to: f64, narrow: f64, out: &mut Vec<Block>) {
        let width = if narrow > 0.0 && narrow.is_finite() { narrow.log2().floor().exp2() } else { 0.0 };
        let (mut cut_from, mut cut_to) = (from, to);
        if width > 0.0 {
            // Whole stretches, so that the blocks at the edges stay too.
            (cut_from, cut_to) = ((from / width).floor() * width, (to / width).ceil() * width);
        }
        let mut cut = Cut { from: cut_from, to: cut_to, width, now: None, out };
        match self.pyramid.last() {
            Some(top) => self.walk(self.pyramid.len() - 1, 0..top.len(), &mut cut),
            None => self.open(0..self.len(), &mut cut),
        }
        cut.flush();
    }

    fn walk(&self, level: usize, nodes: Range<usize>, cut: &mut Cut<'_>) {
        // Cells under one node.
        let size = FAN.pow(level as u32 + 1);
        for i in nodes {
            let node = &self.pyramid[level][i];
            if node.end <= cut.from {
                continue;
            }
            if node.start >= cut.to {
                break;
            }
            let first = i * size;
            if node.end - node.start <= cut.width * WHOLE && cut.width > 0.0 {
                cut.join(first, size.min(self.len() - first), node);
            } else if level == 0 {
                self.open(first..(first + FAN).min(self.len()), cut);
            } else {
                let below = self.pyramid[level - 1].len();
                self.walk(level - 1, i * FAN..((i + 1) * FAN).min(below), cut);
            }
        }
    }

    fn open(&self, cells: Range<usize>, cut: &mut Cut<'_>) {
        for i in cells {
            let (start, end) = (self.starts[i], self.ends[i]);
            if end <= cut.from {
                continue;
            }
            if start >= cut.to {
                break;
            }
            if end - start < cut.width {
                cut.join_cell(self, i);
            } else {
                cut.flush();
                let class = OpClass::ALL.get(usize::from(self.tags[i] & NO_CLASS)).copied();
                cut.out.push(Block { first: i, count: 1, start, end, class, longest: i, total: end - start });
            }
        }
    }

    fn node_of(&self, i: usize) -> Node {
        let (start, end) = (self.starts[i], self.ends[i]);
        let mut time = [0.0; CLASSES];
        if let Some(t) = time.get_mut(usize::from(self.tags[i] & NO_CLASS)) {
            *t = (end - start) as f32;
        }
        Node { start, end, longest: i as u32, longest_ns: (end - start) as f32, total: end - start, time }
    }

    fn raise(&mut self) {
        if self.len() < 2 * FAN {
            return;
        }
        let lowest = (0..self.len()).step_by(FAN).filter_map(|first| {
            let mut cells = [self.node_of(first); FAN];
            let count = FAN.min(self.len() - first);
            for k in 1..count {
                cells[k] = self.node_of(first + k);
            }
            Node::join(&cells[..count])
        });
        let mut level: Vec<Node> = lowest.collect();
        while level.len() > FAN {
            let next = level.chunks(FAN).filter_map(Node::join).collect();
            self.pyramid.push(std::mem::replace(&mut level, next));
        }
        self.pyramid.push(level);
    }
}

/// Cells on their way into blocks.
struct Cut<'a> {
    from: f64,
    to: f64,
    /// What is narrower joins its neighbours that begin in the same stretch of this width. 0: nothing joins.
    width: f64,
    /// Where the stretch ends, first cell, count, and what is in it so far.
    now: Option<(f64, usize, usize, Node)>,
    out: &'a mut Vec<Block>,
}

impl Cut<'_> {
    fn join(&mut self, first: usize, count: usize, node: &Node) {
        match &mut self.now {
            Some((until, _, sum, all)) if node.start < *until => {
                *sum += count;
                if let Some(joined) = Node::join(&[*all, *node]) {
                    *all = joined;
                }
            }
            _ => {
                self.flush();
                let until = ((node.start / self.width).floor() + 1.0) * self.width;
                self.now = Some((until, first, count, *node));
            }
        }
    }

    /// As [`Cut::join`] for one cell, without making a node of it where it joins others: most of a cut's time is spent here.
    fn join_cell(&mut self, row: &FlameRow, i: usize) {
        let (start, end) = (row.starts[i], row.ends[i]);
        match &mut self.now {
            Some((until, _, sum, all)) if start < *until => {
                *sum += 1;
                all.end = end;
                all.total += end - start;
                let time = (end - start) as f32;
                if time > all.longest_ns {
                    (all.longest, all.longest_ns) = (i as u32, time);
                }
                if let Some(t) = all.time.get_mut(usize::from(row.tags[i] & NO_CLASS)) {
                    *t += time;
                }
            }
            _ => self.join(i, 1, &row.node_of(i)),
        }
    }

    fn flush(&mut self) {
        if let Some((_, first, count, all)) = self.now.take() {
            let (longest, total) = (all.longest as usize, all.total);
            self.out.push(Block { first, count, start: all.start, end: all.end, class: all.class(), longest, total });
        }
    }
}

/// Makes a [`FlameRow`] cell by cell.
#[derive(Debug, Default)]
pub(super) struct RowBuilder {
    row: FlameRow,
}

impl RowBuilder {
    /// Appends a cell that does not begin before the last one ends.
    pub(super) fn push(&mut self, cell: FlameCell) {
        let row = &mut self.row;
        let tag = cell.class.map_or(NO_CLASS, |c| c as u8) | if cell.warmup { WARMUP } else { 0 };
        row.starts.push(cell.start);
        row.ends.push(cell.end);
        row.layers.push(cell.layer.map_or(NO_LAYER, |l| l.0));
        match (cell.node, cell.span) {
            (Some(node), _) => {
                row.ids.push(node);
                row.tags.push(tag | IS_NODE);
            }
            (None, span) => {
                row.ids.push(span.map_or(u32::MAX, |s| s.0));
                row.tags.push(tag);
            }
        }
    }

    /// The scope that the last cell stands for.
    pub(super) fn last_node(&self) -> Option<u32> {
        let tag = self.row.tags.last()?;
        (tag & IS_NODE != 0).then(|| self.row.ids.last().copied())?
    }

    /// Lets the last cell go on to a later time.
    pub(super) fn extend(&mut self, end: f64) {
        if let Some(last) = self.row.ends.last_mut() {
            *last = last.max(end);
        }
    }

    /// The row, which is the given one of its graph.
    pub(super) fn finish(mut self, number: usize) -> FlameRow {
        let row = &mut self.row;
        row.number = number;
        row.starts.shrink_to_fit();
        row.ends.shrink_to_fit();
        row.ids.shrink_to_fit();
        row.layers.shrink_to_fit();
        row.tags.shrink_to_fit();
        row.raise();
        self.row
    }
}

#[cfg(test)]
#[path = "flame_row_tests.rs"]
mod tests;
