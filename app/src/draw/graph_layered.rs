//! One level of a graph in layers, top to bottom: which layer each vertex is in, their order within it, and the lines'
//! way between them. (Sugiyama's method: longest paths, barycentres, columns by Brandes and Köpf.)
//!
//! Pure and deterministic. Edges may be anything: loops are left out, and of a cycle one edge is turned round.

use super::graph_columns::columns;

/// The space between layers.
pub const LAYER_GAP: f32 = 36.0;
/// Lines that take more room than this in total are drawn straight instead of around boxes.
const MAX_BENDS: usize = 60_000;
/// Sweeps cost as much as there are edges: large levels get fewer.
const SWEEP_WORK: usize = 400_000;

/// Where a vertex must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rank {
    /// In the first layer: a line that comes in from above.
    Top,
    /// Wherever its edges put it.
    #[default]
    Free,
    /// In the last layer: a line that goes out.
    Bottom,
}

/// A box to place.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Vertex {
    /// Its width.
    pub width: f32,
    /// Its height.
    pub height: f32,
    /// Where it must be.
    pub rank: Rank,
}

/// A line from the bottom of one box to the top of another.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Edge {
    /// The upper end.
    pub from: usize,
    /// The lower end.
    pub to: usize,
    /// Lines of the same bundle that leave the same box share their way.
    pub bundle: u32,
    /// Where it leaves, from the box's left; the middle if `None`.
    pub leaves_at: Option<f32>,
    /// Where it arrives, from the box's left; spread over the middle if `None`.
    pub arrives_at: Option<f32>,
}

/// A level as laid out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Placed {
    /// The upper left corners, from (0, 0).
    pub at: Vec<[f32; 2]>,
    /// Width and height of it all.
    pub size: [f32; 2],
    /// The corners of each edge's way; empty for loops.
    pub ways: Vec<Vec<[f32; 2]>>,
}

/// Vertices, then bends: what layers are made of.
pub(super) struct Ranked {
    /// Width of each vertex and bend.
    pub width: Vec<f32>,
    /// The first bend.
    pub bends_from: usize,
    /// The vertices of each layer from left to right.
    pub layers: Vec<Vec<usize>>,
    /// Neighbours one layer up.
    pub up: Vec<Vec<usize>>,
    /// Neighbours one layer down.
    pub down: Vec<Vec<usize>>,
    /// The place of each within its layer.
    pub place: Vec<usize>,
}

impl Ranked {
    fn renumber(&mut self, layer: usize) {
        for (i, &v) in self.layers[layer].iter().enumerate() {
            self.place[v] = i;
        }
    }
}

/// Lays a level out.
pub fn place(vertices: &[Vertex], edges: &[Edge]) -> Placed {
    if vertices.is_empty() {
        return Placed { ways: vec![Vec::new(); edges.len()], ..Placed::default() };
    }
    let known = |e: &Edge| e.from < vertices.len() && e.to < vertices.len() && e.from != e.to;
    let turned = turned_edges(vertices, edges, &known);
    let ends = |i: usize| if turned[i] { (edges[i].to, edges[i].from) } else { (edges[i].from, edges[i].to) };
    let mut pairs: Vec<(usize, usize)> = (0..edges.len()).filter(|&i| known(&edges[i])).map(ends).collect();
    pairs.sort_unstable();
    pairs.dedup();
    let rank = ranks(vertices, &pairs);
    let (mut ranked, bends) = with_bends(vertices, edges, &rank, &turned, &known);
    order(&mut ranked, pairs.len());
    let x = columns(&ranked);
    corners(vertices, edges, &rank, &ranked, &x, &bends, &turned)
}

/// Which edges are turned round so that no cycle is left: those that close one on a walk in the given order.
fn turned_edges(vertices: &[Vertex], edges: &[Edge], known: &dyn Fn(&Edge) -> bool) -> Vec<bool> {
    let mut out: Vec<Vec<usize>> = vec![Vec::new(); vertices.len()];
    for (i, e) in edges.iter().enumerate().filter(|(_, e)| known(e)) {
        out[e.from].push(i);
    }
    let mut turned = vec![false; edges.len()];
    // 0 not seen, 1 on the walk's path, 2 done.
    let mut state = vec![0_u8; vertices.len()];
    for start in 0..vertices.len() {
        if state[start] != 0 {
            continue;
        }
        state[start] = 1;
        let mut path = vec![(start, 0)];
        while let Some((v, next)) = path.last_mut() {
            let Some(&i) = out[*v].get(*next) else {
                state[*v] = 2;
                path.pop();
                continue;
            };
            *next += 1;
            let to = edges[i].to;
            match state[to] {
                0 => {
                    state[to] = 1;
                    path.push((to, 0));
                }
                1 => turned[i] = true,
                _ => {}
            }
        }
    }
    turned
}

/// The layer of each vertex: as high as its inputs allow, and then as close to its readers as costs no length.
fn ranks(vertices: &[Vertex], pairs: &[(usize, usize)]) -> Vec<usize> {
    let n = vertices.len();
    let (mut up, mut down) = (vec![Vec::new(); n], vec![Vec::new(); n]);
    for &(a, b) in pairs {
        down[a].push(b);
        up[b].push(a);
    }
    let mut waiting: Vec<usize> = up.iter().map(Vec::len).collect();
    let mut sorted: Vec<usize> = (0..n).filter(|&v| waiting[v] == 0).collect();
    let mut next = 0;
    let has_top = vertices.iter().any(|v| v.rank == Rank::Top);
    let first = usize::from(has_top);
    let mut rank: Vec<usize> = vertices.iter().map(|v| if v.rank == Rank::Top { 0 } else { first }).collect();
    while let Some(&v) = sorted.get(next) {
        next += 1;
        for &to in &down[v] {
            rank[to] = rank[to].max(rank[v] + 1);
            waiting[to] -= 1;
            if waiting[to] == 0 {
                sorted.push(to);
            }
        }
    }
    for &v in sorted.iter().rev() {
        if vertices[v].rank == Rank::Free && down[v].len() > up[v].len() {
            let closest = down[v].iter().map(|&t| rank[t]).min().unwrap_or(rank[v] + 1);
            rank[v] = rank[v].max(closest.saturating_sub(1));
        }
    }
    // What is joined to nothing stands in rows of its own, below.
    let lonely: Vec<usize> =
        (0..n).filter(|&v| vertices[v].rank == Rank::Free && up[v].is_empty() && down[v].is_empty()).collect();
    if lonely.len() > 3 || lonely.len() < n {
        let joined = (0..n).filter(|v| !(up[*v].is_empty() && down[*v].is_empty())).map(|v| rank[v] + 1);
        let below = joined.max().unwrap_or(first);
        let per_row = ((lonely.len() as f32).sqrt() as usize).clamp(3, 12);
        for (i, &v) in lonely.iter().enumerate() {
            rank[v] = below + i / per_row;
        }
    }
    if vertices.iter().any(|v| v.rank == Rank::Bottom) {
        let last = rank.iter().zip(vertices).filter(|(_, v)| v.rank != Rank::Bottom).map(|(r, _)| r + 1).max();
        let last = last.unwrap_or(first);
        for (r, v) in rank.iter_mut().zip(vertices) {
            if v.rank == Rank::Bottom {
                *r = last;
            }
        }
    }
    close_gaps(&mut rank);
    rank
}

/// Layers that nothing is in are left out.
fn close_gaps(rank: &mut [usize]) {
    let mut used = vec![0; rank.iter().max().map_or(0, |m| m + 1)];
    for &r in rank.iter() {
        used[r] = 1;
    }
    let mut sum = 0;
    for u in &mut used {
        sum += *u;
        *u = sum;
    }
    for r in rank {
        *r = used[*r] - 1;
    }
}

/// The bends of each edge from the upper end to the lower.
type Bends = Vec<Vec<usize>>;

fn with_bends(
    vertices: &[Vertex],
    edges: &[Edge],
    rank: &[usize],
    turned: &[bool],
    known: &dyn Fn(&Edge) -> bool,
) -> (Ranked, Bends) {
    let depth = rank.iter().max().map_or(0, |m| m + 1);
    let mut width: Vec<f32> = vertices.iter().map(|v| v.width).collect();
    let mut level = rank.to_vec();
    let mut neighbours: Vec<(usize, usize)> = Vec::new();
    let mut bends = vec![Vec::new(); edges.len()];
    let mut trunks: std::collections::HashMap<(usize, u32), Vec<usize>> = std::collections::HashMap::new();
    // Short edges first: where there are too many bends it is the longest that do without.
    let mut by_length: Vec<usize> = (0..edges.len()).filter(|&i| known(&edges[i])).collect();
    by_length.sort_by_key(|&i| (rank[edges[i].from].abs_diff(rank[edges[i].to]), i));
    for i in by_length {
        let e = &edges[i];
        let (from, to) = if turned[i] { (e.to, e.from) } else { (e.from, e.to) };
        let between = rank[to].saturating_sub(rank[from] + 1);
        // A line that was turned round must not share a trunk with those that were not.
        let trunk = trunks.entry((from, if turned[i] { u32::MAX } else { e.bundle })).or_default();
        while trunk.len() < between && width.len() < MAX_BENDS {
            let bend = width.len();
            width.push(1.0);
            level.push(rank[from] + 1 + trunk.len());
            neighbours.push((trunk.last().copied().unwrap_or(from), bend));
            trunk.push(bend);
        }
        if trunk.len() >= between {
            bends[i] = trunk[..between].to_vec();
            if rank[to] > rank[from] {
                neighbours.push((bends[i].last().copied().unwrap_or(from), to));
            }
        }
    }
    neighbours.sort_unstable();
    neighbours.dedup();
    let n = width.len();
    let (mut up, mut down) = (vec![Vec::new(); n], vec![Vec::new(); n]);
    for (a, b) in neighbours {
        down[a].push(b);
        up[b].push(a);
    }
    let ranked = Ranked {
        width,
        bends_from: vertices.len(),
        layers: first_order(&level, &up, &down, depth),
        up,
        down,
        place: vec![0; n],
    };
    (ranked, bends)
}

/// The order in which a walk along the edges meets the vertices of each layer.
fn first_order(level: &[usize], up: &[Vec<usize>], down: &[Vec<usize>], depth: usize) -> Vec<Vec<usize>> {
    let mut layers = vec![Vec::new(); depth];
    let mut seen = vec![false; level.len()];
    let mut starts: Vec<usize> = (0..level.len()).collect();
    starts.sort_by_key(|&v| (!up[v].is_empty(), level[v], v));
    let mut stack = Vec::new();
    for start in starts {
        stack.push(start);
        while let Some(v) = stack.pop() {
            if !std::mem::replace(&mut seen[v], true) {
                layers[level[v]].push(v);
                stack.extend(down[v].iter().rev().filter(|&&t| !seen[t]));
            }
        }
    }
    layers
}

/// Sweeps down and up, each layer ordered by the middle of its neighbours; the order with the fewest crossings is kept.
fn order(g: &mut Ranked, edges: usize) {
    for layer in 0..g.layers.len() {
        g.renumber(layer);
    }
    let work = edges + g.width.len();
    let sweeps = (SWEEP_WORK / work.max(1)).clamp(2, 16);
    let mut best = g.layers.clone();
    let mut fewest = crossings(g);
    for sweep in 0..sweeps {
        if fewest == 0 {
            break;
        }
        let down = sweep % 2 == 0;
        let count = g.layers.len();
        for step in 1..count {
            let layer = if down { step } else { count - 1 - step };
            let middle = |v: usize| {
                let beside = if down { &g.up[v] } else { &g.down[v] };
                let sum: usize = beside.iter().map(|&w| g.place[w]).sum();
                if beside.is_empty() { g.place[v] as f64 } else { sum as f64 / beside.len() as f64 }
            };
            let mut keyed: Vec<(f64, usize)> = g.layers[layer].iter().map(|&v| (middle(v), v)).collect();
            // Every other pair of sweeps turns ties round, to leave dead ends.
            if sweep / 2 % 2 == 1 {
                keyed.reverse();
            }
            keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
            g.layers[layer] = keyed.into_iter().map(|(_, v)| v).collect();
            g.renumber(layer);
        }
        let now = crossings(g);
        if now < fewest {
            fewest = now;
            best.clone_from(&g.layers);
        }
    }
    g.layers = best;
    for layer in 0..g.layers.len() {
        g.renumber(layer);
    }
}

/// How many pairs of lines cross between neighbouring layers.
fn crossings(g: &Ranked) -> usize {
    let mut sum = 0;
    for pair in g.layers.windows(2) {
        // A Fenwick tree over the lower layer counts the ends that lie further right.
        let mut tree = vec![0_usize; pair[1].len() + 1];
        let mut seen = 0;
        let mut ends = Vec::new();
        for &v in &pair[0] {
            ends.clear();
            ends.extend(g.down[v].iter().map(|&w| g.place[w]));
            ends.sort_unstable();
            for &end in &ends {
                let mut at = end + 1;
                let mut left_or_same = 0;
                while at > 0 {
                    left_or_same += tree[at];
                    at &= at - 1;
                }
                sum += seen - left_or_same;
            }
            for &end in &ends {
                let mut at = end + 1;
                while at < tree.len() {
                    tree[at] += 1;
                    at += at & at.wrapping_neg();
                }
                seen += 1;
            }
        }
    }
    sum
}

fn corners(
    vertices: &[Vertex],
    edges: &[Edge],
    rank: &[usize],
    g: &Ranked,
    x: &[f32],
    bends: &[Vec<usize>],
    turned: &[bool],
) -> Placed {
    let mut height = vec![0.0_f32; g.layers.len()];
    for (v, vertex) in vertices.iter().enumerate() {
        height[rank[v]] = height[rank[v]].max(vertex.height);
    }
    let mut top = Vec::with_capacity(height.len());
    let mut y = 0.0;
    for h in &height {
        top.push(y);
        y += h + LAYER_GAP;
    }
    let total = (y - LAYER_GAP).max(0.0);
    let left = (0..x.len()).map(|v| x[v] - g.width[v] / 2.0).fold(f32::INFINITY, f32::min);
    let right = (0..x.len()).map(|v| x[v] + g.width[v] / 2.0).fold(f32::NEG_INFINITY, f32::max);
    let corner = |v: usize| {
        let h = height[rank[v]];
        [x[v] - vertices[v].width / 2.0 - left, top[rank[v]] + (h - vertices[v].height) / 2.0]
    };
    let at: Vec<[f32; 2]> = (0..vertices.len()).map(corner).collect();
    let arrivals = arrivals(vertices, edges, x, bends);
    let mut ways = vec![Vec::new(); edges.len()];
    for (i, e) in edges.iter().enumerate() {
        if e.from >= vertices.len() || e.to >= vertices.len() || e.from == e.to {
            continue;
        }
        let (a, b) = (e.from, e.to);
        let from_x = at[a][0] + e.leaves_at.unwrap_or(vertices[a].width / 2.0);
        let to_x = at[b][0] + e.arrives_at.unwrap_or(arrivals[i]);
        let way = &mut ways[i];
        way.push([from_x, at[a][1] + vertices[a].height]);
        if turned[i] {
            // Against the stream: straight back up.
            way.push([to_x, at[b][1]]);
            continue;
        }
        let mut push = |p: [f32; 2]| {
            if way.last() != Some(&p) {
                way.push(p);
            }
        };
        push([from_x, top[rank[a]] + height[rank[a]]]);
        for (step, &bend) in bends[i].iter().enumerate() {
            let layer = rank[a] + 1 + step;
            push([x[bend] - left, top[layer]]);
            push([x[bend] - left, top[layer] + height[layer]]);
        }
        push([to_x, top[rank[b]]]);
        push([to_x, at[b][1]]);
    }
    Placed { at, size: [right - left, total], ways }
}

/// Where each edge arrives, from its box's left: in the order in which they come.
fn arrivals(vertices: &[Vertex], edges: &[Edge], x: &[f32], bends: &[Vec<usize>]) -> Vec<f32> {
    let mut into: Vec<Vec<(f32, usize)>> = vec![Vec::new(); vertices.len()];
    for (i, e) in edges.iter().enumerate() {
        if e.to < vertices.len() && e.from < vertices.len() {
            into[e.to].push((x[bends[i].last().copied().unwrap_or(e.from)], i));
        }
    }
    let mut at = vec![0.0; edges.len()];
    for (v, mut list) in into.into_iter().enumerate() {
        list.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let middle = vertices[v].width / 2.0;
        let step = (vertices[v].width * 0.6 / list.len().max(1) as f32).min(18.0);
        let before = (list.len().saturating_sub(1)) as f32 / 2.0;
        for (k, (_, i)) in list.into_iter().enumerate() {
            at[i] = middle + (k as f32 - before) * step;
        }
    }
    at
}

#[cfg(test)]
#[path = "graph_layered_tests.rs"]
mod tests;
