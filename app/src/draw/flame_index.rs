//! The flame graph's layout: rows of cells that do not overlap, made once per trace, and cut to a window by binary search.

use profiler::{LayerId, OpClass, RunId, SpanId, Trace, TrackKind};

use super::scopes::ScopeTree;

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

/// Cells in order of time; none overlaps the next.
#[derive(Clone, Debug, Default)]
pub struct FlameRow {
    /// In order.
    pub cells: Vec<FlameCell>,
}

/// Rows of one track, outermost first.
#[derive(Clone, Debug, Default)]
pub struct FlameTrack {
    /// Its name; empty in the merged graph.
    pub name: String,
    /// What it shows.
    pub kind: TrackKind,
    /// By depth.
    pub rows: Vec<FlameRow>,
}

/// A whole graph.
#[derive(Clone, Debug, Default)]
pub struct Flame {
    /// Top to bottom.
    pub tracks: Vec<FlameTrack>,
    /// From the first start to the last end.
    pub range: (f64, f64),
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
}

impl FlameRow {
    /// Appends what is visible of the row between two times. Cells narrower than `narrow` join their neighbours until the
    /// block is `narrow` wide.
    pub fn blocks(&self, from: f64, to: f64, narrow: f64, out: &mut Vec<Block>) {
        let begin = self.cells.partition_point(|c| c.end <= from);
        let mut i = begin;
        while let Some(cell) = self.cells.get(i).filter(|c| c.start < to) {
            let mut block = Block { first: i, count: 1, start: cell.start, end: cell.end, class: cell.class };
            i += 1;
            if cell.end - cell.start < narrow {
                let mut time = [0.0; OpClass::ALL.len()];
                let mut add = |c: &FlameCell| {
                    if let Some(class) = c.class {
                        time[class as usize] += c.end - c.start;
                    }
                };
                add(cell);
                while let Some(next) = self.cells.get(i) {
                    if next.end - next.start >= narrow || next.start - block.start >= narrow {
                        break;
                    }
                    add(next);
                    block.end = next.end;
                    block.count += 1;
                    i += 1;
                }
                if block.count > 1 {
                    let most = OpClass::ALL.into_iter().max_by(|a, b| time[*a as usize].total_cmp(&time[*b as usize]));
                    block.class = most.filter(|&c| time[c as usize] > 0.0);
                }
            }
            out.push(block);
        }
    }
}

/// What a scope's cell must share with the next layer to go on: the enclosing span and the run.
type Owner = (Option<SpanId>, Option<RunId>);

#[derive(Default)]
struct TrackBuilder {
    rows: Vec<FlameRow>,
    /// Whose the last cell of each row is.
    owners: Vec<Owner>,
}

impl TrackBuilder {
    fn is_free(&self, depth: usize, from: f64) -> bool {
        self.rows.get(depth).and_then(|r| r.cells.last()).is_none_or(|last| last.end <= from)
    }

    fn put(&mut self, depth: usize, cell: FlameCell, owner: Owner) {
        if self.rows.len() <= depth {
            self.rows.resize(depth + 1, FlameRow::default());
            self.owners.resize(depth + 1, (None, None));
        }
        self.rows[depth].cells.push(cell);
        self.owners[depth] = owner;
    }

    /// Adds a cell below its scopes, which go on from the cell before where they are the same; returns its depth. What
    /// overlaps without nesting goes further down.
    fn push(&mut self, cell: FlameCell, below: usize, scopes: &[usize], owner: Owner, tree: &ScopeTree) -> usize {
        let mut depth = below;
        let mut same = true;
        for &scope in scopes {
            let node = Some(scope as u32);
            same &= self.owners.get(depth) == Some(&owner)
                && self.rows[depth].cells.last().is_some_and(|last| last.node == node);
            if same {
                if let Some(last) = self.rows[depth].cells.last_mut() {
                    last.end = last.end.max(cell.end);
                }
            } else if self.is_free(depth, cell.start) {
                let class = tree.nodes[scope].class;
                self.put(depth, FlameCell { layer: None, span: None, node, class, ..cell }, owner);
            } else {
                break;
            }
            depth += 1;
        }
        while !self.is_free(depth, cell.start) {
            depth += 1;
        }
        self.put(depth, cell, owner);
        depth
    }
}

impl Flame {
    /// Spans in order of time, a track each; layers hang below the scopes that they are in.
    pub fn of_spans(trace: &Trace, tree: &ScopeTree) -> Flame {
        let spans = &trace.spans;
        let mut tracks: Vec<TrackBuilder> = trace.tracks.iter().map(|_| TrackBuilder::default()).collect();
        let paths: Vec<Vec<usize>> = (0..trace.layers.len()).map(|l| tree.path_to(LayerId(l as u32))).collect();
        let mut order: Vec<u32> = (0..spans.len() as u32).collect();
        order.sort_by_key(|&i| {
            let i = i as usize;
            (spans.track[i], spans.start_ns[i], std::cmp::Reverse(spans.end_ns[i]), i)
        });
        let mut depth_of = vec![0usize; spans.len()];
        let mut range = (f64::INFINITY, f64::NEG_INFINITY);
        for i in order {
            let s = spans.get(i as usize);
            let Some(track) = tracks.get_mut(s.track.index()) else { continue };
            let layer = s.layer.filter(|l| l.index() < trace.layers.len());
            let cell = FlameCell {
                start: s.start_ns as f64,
                end: s.end_ns as f64,
                layer,
                span: Some(SpanId(i)),
                node: None,
                class: layer.map(|l| trace.layers[l.index()].class),
                warmup: s.run.and_then(|r| trace.runs.get(r.index())).is_some_and(|r| r.warmup),
            };
            range = (range.0.min(cell.start), range.1.max(cell.end));
            let below = s.parent.filter(|p| p.index() < depth_of.len()).map_or(0, |p| depth_of[p.index()] + 1);
            let scopes = layer.and_then(|l| paths[l.index()].split_last()).map_or(&[][..], |(_, scopes)| scopes);
            depth_of[i as usize] = track.push(cell, below, scopes, (s.parent, s.run), tree);
        }
        let mut tracks: Vec<FlameTrack> = tracks
            .into_iter()
            .zip(&trace.tracks)
            .filter(|(b, _)| !b.rows.is_empty())
            .map(|(b, t)| FlameTrack { name: t.name.clone(), kind: t.kind, rows: b.rows })
            .collect();
        // Setup and transfers explain the runs; they stand below what they serve.
        tracks.sort_by_key(|t| match t.kind {
            TrackKind::Cpu => 0,
            TrackKind::Gpu => 1,
            TrackKind::Submit => 2,
            TrackKind::Transfer => 3,
            TrackKind::Other => 4,
            TrackKind::Setup => 5,
        });
        Flame { tracks, range: if range.0 <= range.1 { range } else { (0.0, 1.0) } }
    }

    /// Scopes as wide as the time in them, longest first.
    pub fn of_scopes(tree: &ScopeTree) -> Flame {
        let mut rows: Vec<FlameRow> = Vec::new();
        let mut stack = vec![(0usize, 0.0)];
        while let Some((id, start)) = stack.pop() {
            let node = &tree.nodes[id];
            if rows.len() <= node.depth {
                rows.resize(node.depth + 1, FlameRow::default());
            }
            rows[node.depth].cells.push(FlameCell {
                start,
                end: start + node.median_ns,
                layer: node.layer,
                span: None,
                node: Some(id as u32),
                class: node.class,
                warmup: false,
            });
            let mut children: Vec<usize> =
                node.children.iter().copied().filter(|&c| tree.nodes[c].median_ns > 0.0).collect();
            children.sort_by(|&a, &b| tree.nodes[b].median_ns.total_cmp(&tree.nodes[a].median_ns));
            let mut at = start;
            let placed: Vec<(usize, f64)> = children
                .into_iter()
                .map(|c| {
                    let here = at;
                    at += tree.nodes[c].median_ns;
                    (c, here)
                })
                .collect();
            stack.extend(placed.into_iter().rev());
        }
        let total = tree.nodes.first().map_or(0.0, |n| n.median_ns);
        if total <= 0.0 {
            return Flame { tracks: Vec::new(), range: (0.0, 1.0) };
        }
        Flame { tracks: vec![FlameTrack { rows, ..FlameTrack::default() }], range: (0.0, total) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use profiler::fixtures;

    #[test]
    fn rows_are_ordered_and_hold_every_span_once() {
        let seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().subsec_nanos();
        let mut random = fixtures::Random::new(u64::from(seed));
        let mut traces: Vec<Trace> = (0..50).map(|_| fixtures::random(&mut random)).collect();
        traces.extend([fixtures::transformer(2, 3, 1), fixtures::many_spans(5000)]);
        for trace in traces {
            let tree = ScopeTree::new(&trace.layers, &[]);
            let flame = Flame::of_spans(&trace, &tree);
            let rows = || flame.tracks.iter().flat_map(|t| &t.rows);
            let mut seen: Vec<u32> = rows().flat_map(|r| &r.cells).filter_map(|c| Some(c.span?.0)).collect();
            seen.sort_unstable();
            assert_eq!(seen, (0..trace.spans.len() as u32).collect::<Vec<_>>(), "seed {seed}");
            for row in rows() {
                assert!(row.cells.windows(2).all(|w| w[0].end <= w[1].start), "seed {seed}: {row:?}");
            }
        }
    }

    #[test]
    fn layers_hang_below_their_scopes() {
        let trace = fixtures::transformer(3, 3, 1);
        let tree = ScopeTree::new(&trace.layers, &[]);
        let flame = Flame::of_spans(&trace, &tree);
        let rows = &flame.tracks[0].rows;
        let names = |depth: usize| {
            let nodes = rows[depth].cells.iter().filter_map(|c| c.node);
            nodes.map(|n| tree.nodes[n as usize].name.as_str()).collect::<Vec<_>>()
        };
        assert_eq!(names(0), [""; 0]);
        assert_eq!(names(1)[..3], ["embeddings", "encoder", "pooler"]);
        assert_eq!(names(2)[..3], ["layer.0", "layer.1", "layer.2"]);
        assert_eq!(rows[1].cells.len(), 3 * trace.runs.len());
        for depth in 2..rows.len() {
            for c in &rows[depth].cells {
                let inside = |up: &&FlameCell| up.start <= c.start && c.end <= up.end;
                assert!(rows[depth - 1].cells.iter().any(|up| inside(&up)), "row {depth}: {c:?}");
            }
        }
    }

    #[test]
    fn blocks_cover_all_cells_of_the_window_and_stay_few() {
        let trace = fixtures::many_spans(50_000);
        let flame = Flame::of_spans(&trace, &ScopeTree::new(&trace.layers, &[]));
        let (from, to) = flame.range;
        for row in flame.tracks.iter().flat_map(|t| &t.rows) {
            for (from, to) in [(from, to), (from + (to - from) * 0.4, from + (to - from) * 0.41)] {
                let narrow = (to - from) / 1000.0;
                let mut blocks = Vec::new();
                row.blocks(from, to, narrow, &mut blocks);
                let covered: usize = blocks.iter().map(|b| b.count).sum();
                let inside = row.cells.iter().filter(|c| c.end > from && c.start < to).count();
                assert!(covered >= inside && covered <= inside + row.cells.len() / 100, "{covered} of {inside}");
                assert!(blocks.len() <= 2002, "{}", blocks.len());
                assert!(blocks.windows(2).all(|w| w[0].first + w[0].count == w[1].first));
            }
        }
        let mut all = Vec::new();
        flame.tracks[0].rows[0].blocks(from, to, 0.0, &mut all);
        assert!(all.iter().all(|b| b.count == 1));
    }

    #[test]
    fn merged_scopes_nest_and_lean_left() {
        let trace = fixtures::transformer(3, 3, 1);
        let tree = ScopeTree::new(&trace.layers, &trace.layer_stats());
        let flame = Flame::of_scopes(&tree);
        let rows = &flame.tracks[0].rows;
        assert_eq!(rows[0].cells.len(), 1);
        for (depth, row) in rows.iter().enumerate().skip(1) {
            for cell in &row.cells {
                let node = &tree.nodes[cell.node.unwrap() as usize];
                let parent = rows[depth - 1].cells.iter().find(|c| c.node == Some(node.parent as u32)).unwrap();
                assert!(parent.start - 1e-6 <= cell.start && cell.end <= parent.end + 1e-6);
            }
        }
        let widths: Vec<f64> = rows[1].cells.iter().map(|c| c.end - c.start).collect();
        assert!(widths.is_sorted_by(|a, b| a >= b), "{widths:?}");
        assert!(Flame::of_scopes(&ScopeTree::new(&[], &[])).tracks.is_empty());
        assert!(Flame::of_spans(&fixtures::empty(), &ScopeTree::new(&[], &[])).tracks.is_empty());
    }
}
