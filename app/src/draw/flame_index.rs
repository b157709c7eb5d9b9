//! The flame graph's layout: which row every span and scope lies in, made once per trace.

use profiler::{LayerId, RunId, SpanId, Trace, TrackId, TrackKind};

use super::flame_row::{FlameCell, FlameRow, RowBuilder};
use super::scopes::ScopeTree;

/// Rows of one track, outermost first.
#[derive(Clone, Debug, Default)]
pub struct FlameTrack {
    /// The trace's own track; the first in the merged graph.
    pub id: TrackId,
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
    /// In the merged graph, the cell of each scope in the row of its depth.
    of_node: Vec<u32>,
}

/// Where a cell is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Index into [`Flame::tracks`].
    pub track: usize,
    /// Index into [`FlameTrack::rows`].
    pub row: usize,
    /// Index into the row.
    pub cell: usize,
}

/// What a scope's cell must share with the next layer to go on: the enclosing span and the run.
type Owner = (Option<SpanId>, Option<RunId>);

/// Where the rows of a track end so far: a tree of minima, so that a free row is found at once however many there are.
#[derive(Default)]
struct Ends {
    /// The root is at 1, the rows begin in the middle.
    tree: Vec<f64>,
}

impl Ends {
    fn size(&self) -> usize {
        self.tree.len() / 2
    }

    fn of(&self, row: usize) -> f64 {
        self.tree.get(self.size() + row).copied().unwrap_or(f64::NEG_INFINITY)
    }

    fn set(&mut self, row: usize, end: f64) {
        if row >= self.size() {
            let size = (row + 1).next_power_of_two().max(8);
            let mut tree = vec![f64::NEG_INFINITY; 2 * size];
            tree[size..size + self.size()].copy_from_slice(&self.tree[self.size()..]);
            for i in (1..size).rev() {
                tree[i] = tree[2 * i].min(tree[2 * i + 1]);
            }
            self.tree = tree;
        }
        let mut i = self.size() + row;
        self.tree[i] = end;
        while i > 1 {
            i /= 2;
            let least = self.tree[2 * i].min(self.tree[2 * i + 1]);
            if self.tree[i].to_bits() == least.to_bits() {
                break;
            }
            self.tree[i] = least;
        }
    }

    /// The first row from `row` on that ends at or before a time.
    fn free(&self, row: usize, at: f64) -> usize {
        let size = self.size();
        if row >= size {
            return row;
        }
        let mut i = size + row;
        while self.tree[i] > at {
            // On to what lies right of here.
            while i % 2 == 1 {
                i /= 2;
            }
            if i == 0 {
                return size;
            }
            i += 1;
        }
        while i < size {
            i *= 2;
            i += usize::from(self.tree[i] > at);
        }
        i - size
    }
}

#[derive(Default)]
struct TrackBuilder {
    rows: Vec<RowBuilder>,
    ends: Ends,
    /// Whose the last cell of each row is.
    owners: Vec<Owner>,
}

impl TrackBuilder {
    fn put(&mut self, depth: usize, cell: FlameCell, owner: Owner) {
        while self.rows.len() <= depth {
            self.rows.push(RowBuilder::default());
            self.owners.push((None, None));
        }
        self.rows[depth].push(cell);
        self.ends.set(depth, cell.end);
        self.owners[depth] = owner;
    }

    /// Adds a cell below its scopes, which go on from the cell before where they are the same; returns its depth. What
    /// overlaps without nesting goes further down.
    fn push(&mut self, cell: FlameCell, below: usize, scopes: &[usize], owner: Owner, tree: &ScopeTree) -> usize {
        let mut depth = below;
        let mut same = true;
        for &scope in scopes {
            let node = Some(scope as u32);
            same &= self.owners.get(depth) == Some(&owner) && self.rows[depth].last_node() == node;
            if same {
                if cell.end > self.ends.of(depth) {
                    self.rows[depth].extend(cell.end);
                    self.ends.set(depth, cell.end);
                }
            } else if self.ends.of(depth) <= cell.start {
                let class = tree.nodes[scope].class;
                self.put(depth, FlameCell { layer: None, span: None, node, class, ..cell }, owner);
            } else {
                break;
            }
            depth += 1;
        }
        let depth = self.ends.free(depth, cell.start);
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
        let key = |i: u32| {
            let i = i as usize;
            (spans.track[i], spans.start_ns[i], std::cmp::Reverse(spans.end_ns[i]))
        };
        let mut order: Vec<u32> = (0..spans.len() as u32).collect();
        // A recorded trace is in order already, which a stable sort notices.
        order.sort_by_key(|&i| key(i));
        let mut depth_of = vec![0u32; spans.len()];
        let mut range = (f64::INFINITY, f64::NEG_INFINITY);
        for &i in &order {
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
            let below = s.parent.filter(|p| p.index() < depth_of.len()).map_or(0, |p| depth_of[p.index()] as usize + 1);
            let scopes = layer.and_then(|l| paths[l.index()].split_last()).map_or(&[][..], |(_, scopes)| scopes);
            depth_of[i as usize] = track.push(cell, below, scopes, (s.parent, s.run), tree) as u32;
        }
        drop((order, depth_of));
        let mut built: Vec<(usize, TrackBuilder)> =
            tracks.into_iter().enumerate().filter(|(_, b)| !b.rows.is_empty()).collect();
        // Setup and transfers explain the runs; they stand below what they serve.
        built.sort_by_key(|(t, _)| match trace.tracks[*t].kind {
            TrackKind::Cpu => 0,
            TrackKind::Gpu => 1,
            TrackKind::Submit => 2,
            TrackKind::Transfer => 3,
            TrackKind::Other => 4,
            TrackKind::Setup => 5,
        });
        let mut number = 0..;
        let tracks = built.into_iter().map(|(t, b)| FlameTrack {
            id: TrackId(t as u32),
            name: trace.tracks[t].name.clone(),
            kind: trace.tracks[t].kind,
            rows: b.rows.into_iter().zip(&mut number).map(|(r, n)| r.finish(n)).collect(),
        });
        let tracks = tracks.collect();
        let range = if range.0 <= range.1 { range } else { (0.0, 1.0) };
        Flame { tracks, range, of_node: Vec::new() }
    }

    /// Scopes as wide as the time in them, longest first.
    pub fn of_scopes(tree: &ScopeTree) -> Flame {
        let mut rows: Vec<RowBuilder> = Vec::new();
        let mut of_node = vec![u32::MAX; tree.nodes.len()];
        let mut in_row: Vec<u32> = Vec::new();
        let mut stack = vec![(0usize, 0.0)];
        while let Some((id, start)) = stack.pop() {
            let node = &tree.nodes[id];
            if rows.len() <= node.depth {
                rows.resize_with(node.depth + 1, RowBuilder::default);
                in_row.resize(node.depth + 1, 0);
            }
            of_node[id] = in_row[node.depth];
            in_row[node.depth] += 1;
            rows[node.depth].push(FlameCell {
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
            return Flame { tracks: Vec::new(), range: (0.0, 1.0), of_node: Vec::new() };
        }
        let rows = rows.into_iter().enumerate().map(|(n, r)| r.finish(n)).collect();
        Flame { tracks: vec![FlameTrack { rows, ..FlameTrack::default() }], range: (0.0, total), of_node }
    }

    /// The cell at a place.
    pub fn cell(&self, at: Place) -> Option<FlameCell> {
        let row = self.tracks.get(at.track)?.rows.get(at.row)?;
        (at.cell < row.len()).then(|| row.cell(at.cell))
    }

    /// Where a span's cell is, in a graph [`Flame::of_spans`].
    pub fn place_of_span(&self, trace: &Trace, span: SpanId) -> Option<Place> {
        let (id, start) = (*trace.spans.track.get(span.index())?, trace.spans.start_ns[span.index()] as f64);
        let track = self.tracks.iter().position(|t| t.id == id)?;
        let rows = self.tracks[track].rows.iter().enumerate();
        let (row, cell) = rows.filter_map(|(i, r)| Some((i, r.find(span, start)?))).next()?;
        Some(Place { track, row, cell })
    }

    /// Where the cell of a scope or a layer is, in a graph [`Flame::of_scopes`].
    pub fn place_of_node(&self, tree: &ScopeTree, node: usize) -> Option<Place> {
        let cell = *self.of_node.get(node)? as usize;
        let place = Place { track: 0, row: tree.nodes.get(node)?.depth, cell };
        self.cell(place).map(|_| place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use profiler::fixtures;

    #[test]
    fn rows_are_ordered_numbered_and_hold_every_span_once() {
        let seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().subsec_nanos();
        let mut random = fixtures::Random::new(u64::from(seed));
        let mut traces: Vec<Trace> = (0..50).map(|_| fixtures::random(&mut random)).collect();
        traces.extend([fixtures::transformer(2, 3, 1), fixtures::many_spans(5000)]);
        for trace in traces {
            let tree = ScopeTree::new(&trace.layers, &[]);
            let flame = Flame::of_spans(&trace, &tree);
            let rows = || flame.tracks.iter().flat_map(|t| &t.rows);
            let mut seen: Vec<u32> = rows().flat_map(FlameRow::cells).filter_map(|c| Some(c.span?.0)).collect();
            seen.sort_unstable();
            assert_eq!(seen, (0..trace.spans.len() as u32).collect::<Vec<_>>(), "seed {seed}");
            assert!(rows().enumerate().all(|(n, r)| r.number() == n));
            for row in rows() {
                assert!((1..row.len()).all(|i| row.cell(i - 1).end <= row.cell(i).start), "seed {seed}: {row:?}");
            }
            for i in 0..trace.spans.len() {
                let place = flame.place_of_span(&trace, SpanId(i as u32)).unwrap();
                assert_eq!(flame.cell(place).unwrap().span, Some(SpanId(i as u32)), "seed {seed}");
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
            let nodes = rows[depth].cells().filter_map(|c| c.node);
            nodes.map(|n| tree.nodes[n as usize].name.as_str()).collect::<Vec<_>>()
        };
        assert_eq!(names(0), [""; 0]);
        assert_eq!(names(1)[..3], ["embeddings", "encoder", "pooler"]);
        assert_eq!(names(2)[..3], ["layer.0", "layer.1", "layer.2"]);
        assert_eq!(rows[1].len(), 3 * trace.runs.len());
        for depth in 2..rows.len() {
            for c in rows[depth].cells() {
                let inside = |up: FlameCell| up.start <= c.start && c.end <= up.end;
                assert!(rows[depth - 1].cells().any(inside), "row {depth}: {c:?}");
            }
        }
    }

    #[test]
    fn spans_that_overlap_each_other_are_placed_in_time() {
        // Each begins before all others end: a row for every one of them.
        let n = 60_000u64;
        let mut trace = Trace { tracks: vec![profiler::Track::default()], ..Trace::default() };
        for i in 0..n {
            trace.spans.push(profiler::Span {
                track: TrackId(0),
                layer: None,
                name: 0,
                start_ns: i,
                end_ns: n + i,
                parent: None,
                run: None,
                quality: profiler::Quality::Cpu,
            });
        }
        let flame = Flame::of_spans(&trace, &ScopeTree::new(&[], &[]));
        assert_eq!(flame.tracks[0].rows.len(), n as usize);
    }

    #[test]
    fn the_first_free_row_is_found() {
        let mut random = fixtures::Random::fresh();
        for _ in 0..200 {
            let (mut ends, mut naive) = (Ends::default(), Vec::new());
            for _ in 0..1 + random.below(200) {
                let (from, at) = (random.below(20) as usize, random.below(100) as f64);
                let expected = (from..).find(|&i| naive.get(i).is_none_or(|&e| e <= at)).unwrap();
                let got = ends.free(from, at);
                assert_eq!(got, expected, "seed {}", random.seed);
                let end = at + random.below(60) as f64;
                if naive.len() <= got {
                    naive.resize(got + 1, f64::NEG_INFINITY);
                }
                naive[got] = end;
                ends.set(got, end);
                assert_eq!((ends.of(got), ends.of(got + 1_000)), (end, f64::NEG_INFINITY));
            }
        }
    }

    #[test]
    fn merged_scopes_nest_and_lean_left() {
        let trace = fixtures::transformer(3, 3, 1);
        let tree = ScopeTree::new(&trace.layers, &trace.layer_stats());
        let flame = Flame::of_scopes(&tree);
        let rows = &flame.tracks[0].rows;
        assert_eq!(rows[0].len(), 1);
        for (depth, row) in rows.iter().enumerate().skip(1) {
            for cell in row.cells() {
                let id = cell.node.unwrap() as usize;
                let node = &tree.nodes[id];
                assert_eq!(flame.cell(flame.place_of_node(&tree, id).unwrap()), Some(cell));
                let parent = rows[depth - 1].cells().find(|c| c.node == Some(node.parent as u32)).unwrap();
                assert!(parent.start - 1e-6 <= cell.start && cell.end <= parent.end + 1e-6);
            }
        }
        let widths: Vec<f64> = rows[1].cells().map(|c| c.duration()).collect();
        assert!(widths.is_sorted_by(|a, b| a >= b), "{widths:?}");
        assert!(Flame::of_scopes(&ScopeTree::new(&[], &[])).tracks.is_empty());
        assert!(Flame::of_spans(&fixtures::empty(), &ScopeTree::new(&[], &[])).tracks.is_empty());
    }
}
