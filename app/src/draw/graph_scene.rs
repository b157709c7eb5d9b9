//! Where every open box and line of a graph is: scopes hold their parts, lines go through the borders of open scopes.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use egui::{Pos2, Rect, Vec2, pos2, vec2};

use super::graph_layered::{self, Edge, Rank, Vertex};
use super::graph_tree::{Grain, GraphTree, ItemId};

/// Height of the head of an open scope.
pub const HEAD: f32 = 28.0;
/// Between an open scope's border and its parts.
const INSIDE: f32 = 16.0;
/// Height of a node.
const LEAF_HEIGHT: f32 = 44.0;
/// Height of a closed scope.
const SCOPE_HEIGHT: f32 = 56.0;

/// An index into [`Scene::boxes`].
pub type BoxId = u32;

/// A node, a closed scope, or an open one with its parts inside.
#[derive(Clone, Debug, PartialEq)]
pub struct SceneBox {
    /// What it is.
    pub item: ItemId,
    /// Where it is.
    pub rect: Rect,
    /// The box around it; itself for the root.
    pub parent: BoxId,
    /// True for a scope whose parts are shown.
    pub open: bool,
    /// Its parts, if it is open.
    pub parts: Vec<BoxId>,
    /// Lines between its parts, and from its border to them.
    pub lines: Vec<Line>,
}

/// A stretch of a line within one open scope.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// The box whose output it is: not always within this scope.
    pub from: BoxId,
    /// The boxes that it leads to: not always within this scope.
    pub to: Vec<BoxId>,
    /// Its corners.
    pub way: Vec<Pos2>,
    /// True if it ends at a closed box.
    pub arrow: bool,
    /// What is around its corners.
    pub bounds: Rect,
}

/// A graph as laid out with some of its scopes open.
#[derive(Clone, Debug, Default)]
pub struct Scene {
    /// The root first, then parents before their parts.
    pub boxes: Vec<SceneBox>,
    /// The box of each item on show.
    pub box_of: HashMap<ItemId, BoxId>,
    /// Which boxes make the inputs of each box on show.
    pub makers: Vec<Vec<BoxId>>,
    /// Which boxes read its output.
    pub readers: Vec<Vec<BoxId>>,
}

impl Scene {
    /// All of it.
    pub fn bounds(&self) -> Rect {
        self.boxes.first().map_or(Rect::ZERO, |b| b.rect)
    }

    /// The box that stands for an item: its own, or that of the closed scope that hides it.
    pub fn standing_for(&self, tree: &GraphTree, item: ItemId) -> Option<BoxId> {
        let mut all = std::iter::once(item).chain(tree.around(item));
        all.find_map(|i| self.box_of.get(&i).copied())
    }
}

/// Lays the graph out with these scopes open. Takes time that grows with what is open: call it outside of drawing.
pub fn build(tree: &GraphTree, open: &HashSet<ItemId>) -> Scene {
    if tree.items.is_empty() {
        return Scene::default();
    }
    let mut builder = Builder::new(tree, open);
    builder.number(0);
    builder.route();
    let size = builder.measure();
    builder.settle(size);
    builder.scene
}

/// The size that a node or a closed scope has.
fn closed_size(tree: &GraphTree, item: ItemId) -> Vec2 {
    let i = &tree.items[item as usize];
    let letters = |s: &str| s.chars().count() as f32;
    if i.children.is_empty() {
        let width = (letters(&i.op) * 7.5 + 88.0).max(letters(&i.name) * 6.2 + 76.0);
        vec2(snap(width.clamp(136.0, 224.0)), LEAF_HEIGHT)
    } else {
        vec2(snap((letters(&i.name) * 7.5 + 96.0).clamp(184.0, 272.0)), SCOPE_HEIGHT)
    }
}

fn snap(width: f32) -> f32 {
    (width / 8.0).ceil() * 8.0
}

/// An end of a stretch within a level: a part, or the level's own border where the line of a box goes in or out.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Part(BoxId),
    In(BoxId),
    Out(BoxId),
}

/// A level's lines: from where, to where, whose output; and the boxes at their far ends.
type Stretches = BTreeMap<(End, End, BoxId), Vec<BoxId>>;

struct Builder<'a> {
    tree: &'a GraphTree,
    open: &'a HashSet<ItemId>,
    scene: Scene,
    stretches: Vec<Stretches>,
    /// Per open box, where the lines of other boxes cross its border: from its left.
    enters: Vec<HashMap<BoxId, f32>>,
    leaves: Vec<HashMap<BoxId, f32>>,
}

impl<'a> Builder<'a> {
    fn new(tree: &'a GraphTree, open: &'a HashSet<ItemId>) -> Self {
        let none = Vec::new;
        Builder { tree, open, scene: Scene::default(), stretches: none(), enters: Vec::new(), leaves: Vec::new() }
    }

    /// Makes the boxes on show, parents before their parts.
    fn number(&mut self, root: ItemId) {
        let mut queue = vec![(root, 0)];
        let mut next = 0;
        while let Some(&(item, parent)) = queue.get(next) {
            let id = next as BoxId;
            next += 1;
            let children = &self.tree.items[item as usize].children;
            let open = item == root || (!children.is_empty() && self.open.contains(&item));
            let rect = Rect::from_min_size(Pos2::ZERO, closed_size(self.tree, item));
            self.scene.boxes.push(SceneBox { item, rect, parent, open, parts: Vec::new(), lines: Vec::new() });
            self.scene.box_of.insert(item, id);
            if id != parent {
                self.scene.boxes[parent as usize].parts.push(id);
            }
            if open {
                queue.extend(children.iter().map(|&c| (c, id)));
            }
        }
        let n = self.scene.boxes.len();
        self.scene.makers = vec![Vec::new(); n];
        self.scene.readers = vec![Vec::new(); n];
        self.stretches = vec![Stretches::new(); n];
        self.enters = vec![HashMap::new(); n];
        self.leaves = vec![HashMap::new(); n];
    }

    /// Cuts every line between boxes on show into its stretches, level by level.
    fn route(&mut self) {
        let standing: Vec<Option<BoxId>> = {
            let scene = &self.scene;
            let mut standing: Vec<Option<BoxId>> = Vec::with_capacity(self.tree.items.len());
            for (i, item) in self.tree.items.iter().enumerate() {
                let own = scene.box_of.get(&(i as ItemId)).copied();
                standing.push(own.or_else(|| standing.get(item.parent as usize).copied().flatten()));
            }
            standing
        };
        let ends = |&(a, b): &(ItemId, ItemId)| {
            let (a, b) = (standing[a as usize]?, standing[b as usize]?);
            (a != b).then_some((a, b))
        };
        let mut pairs: Vec<(BoxId, BoxId)> = self.tree.lines.iter().filter_map(ends).collect();
        pairs.sort_unstable();
        pairs.dedup();
        let boxes = &self.scene.boxes;
        let depth = |b: BoxId| self.tree.items[boxes[b as usize].item as usize].depth;
        let up = |b: BoxId| boxes[b as usize].parent;
        for (u, v) in pairs {
            self.scene.readers[u as usize].push(v);
            self.scene.makers[v as usize].push(u);
            let (mut a, mut b) = (u, v);
            // The end of the line so far, one level below the scope that is walked through.
            while up(a) != up(b) {
                if depth(a) >= depth(b) {
                    let level = up(a);
                    add(&mut self.stretches[level as usize], (End::Part(a), End::Out(u), u), v);
                    a = level;
                } else {
                    let level = up(b);
                    add(&mut self.stretches[level as usize], (End::In(u), End::Part(b), u), v);
                    b = level;
                }
            }
            add(&mut self.stretches[up(a) as usize], (End::Part(a), End::Part(b), u), v);
        }
    }

    /// Lays out each open scope, inner ones first; places are relative to the scope. The root's size.
    fn measure(&mut self) -> Vec2 {
        for id in (0..self.scene.boxes.len()).rev() {
            if self.scene.boxes[id].open {
                self.level(id);
            }
        }
        self.scene.boxes[0].rect.size()
    }

    fn level(&mut self, id: usize) {
        let parts = self.scene.boxes[id].parts.clone();
        let stretches = std::mem::take(&mut self.stretches[id]);
        let size = |b: BoxId| self.scene.boxes[b as usize].rect.size();
        let mut vertices: Vec<Vertex> =
            parts.iter().map(|&p| Vertex { width: size(p).x, height: size(p).y, rank: Rank::Free }).collect();
        let mut index: BTreeMap<End, usize> = parts.iter().enumerate().map(|(i, &p)| (End::Part(p), i)).collect();
        for end in stretches.keys().flat_map(|&(a, b, _)| [a, b]) {
            let rank = match end {
                End::Part(_) => continue,
                End::In(_) => Rank::Top,
                End::Out(_) => Rank::Bottom,
            };
            index.entry(end).or_insert_with(|| {
                vertices.push(Vertex { width: 1.0, height: 0.0, rank });
                vertices.len() - 1
            });
        }
        let mut edges = Vec::with_capacity(stretches.len());
        for &(from, to, source) in stretches.keys() {
            let crossing = |end: End, borders: &[HashMap<BoxId, f32>]| match end {
                End::Part(p) => borders[p as usize].get(&source).copied(),
                End::In(_) | End::Out(_) => Some(0.5),
            };
            let (leaves_at, arrives_at) = (crossing(from, &self.leaves), crossing(to, &self.enters));
            edges.push(Edge { from: index[&from], to: index[&to], bundle: source, leaves_at, arrives_at });
        }
        let placed = graph_layered::place(&vertices, &edges);
        let root = id == 0;
        let (side, head) = if root { (0.0, 0.0) } else { (INSIDE, HEAD) };
        // Room under the head: lines come in there, and bend.
        let shift = vec2(side, head + side);
        let least = if root { 0.0 } else { closed_size(self.tree, self.scene.boxes[id].item).x };
        let width = (placed.size[0] + 2.0 * side).max(least);
        let shift = shift + vec2((width - placed.size[0] - 2.0 * side) / 2.0, 0.0);
        let point = |p: &[f32; 2]| pos2(p[0], p[1]) + shift;
        for (i, &p) in parts.iter().enumerate() {
            let b = &mut self.scene.boxes[p as usize];
            b.rect = Rect::from_min_size(point(&placed.at[i]), b.rect.size());
        }
        for (end, &v) in &index {
            let x = point(&placed.at[v]).x + 0.5;
            match end {
                End::Part(_) => {}
                End::In(source) => drop(self.enters[id].insert(*source, x)),
                End::Out(source) => drop(self.leaves[id].insert(*source, x)),
            }
        }
        let height = placed.size[1] + head + 2.0 * side;
        let closed: HashMap<BoxId, bool> = parts.iter().map(|&p| (p, !self.scene.boxes[p as usize].open)).collect();
        let lines = &mut self.scene.boxes[id].lines;
        for (((from, to, source), targets), way) in stretches.into_iter().zip(&placed.ways) {
            let mut way: Vec<Pos2> = way.iter().map(point).collect();
            if way.len() < 2 {
                continue;
            }
            // From the head and to the lower border.
            if let End::In(_) = from {
                way[0].y = head;
            }
            if let (End::Out(_), Some(last)) = (to, way.last_mut()) {
                last.y = height;
            }
            let arrow = matches!(to, End::Part(p) if closed[&p]);
            lines.push(Line { from: source, to: targets, way, arrow, bounds: Rect::NOTHING });
        }
        self.scene.boxes[id].rect = Rect::from_min_size(Pos2::ZERO, vec2(width, height));
    }

    /// Turns places within scopes into places on the canvas.
    fn settle(&mut self, size: Vec2) {
        self.scene.boxes[0].rect = Rect::from_min_size(Pos2::ZERO, size);
        for id in 0..self.scene.boxes.len() {
            let parent = self.scene.boxes[id].parent as usize;
            let origin = if id == 0 { Vec2::ZERO } else { self.scene.boxes[parent].rect.min.to_vec2() };
            let b = &mut self.scene.boxes[id];
            b.rect = b.rect.translate(origin);
            let at = b.rect.min.to_vec2();
            for line in &mut b.lines {
                line.way.iter_mut().for_each(|p| *p += at);
                line.bounds = Rect::from_points(&line.way);
            }
        }
    }
}

fn add(level: &mut Stretches, key: (End, End, BoxId), target: BoxId) {
    level.entry(key).or_default().push(target);
}

/// What a layout is made for: it is made again when this changes.
#[derive(Clone)]
pub struct Wanted {
    /// Where nodes and layers come from.
    pub source: Arc<dyn Source>,
    /// What is drawn as a box.
    pub grain: Grain,
    /// Draw nodes that only hold weights.
    pub constants: bool,
    /// The open scopes by path; `None` for those that are open at first.
    pub open: Option<Arc<HashSet<String>>>,
}

/// Something that has a graph.
pub trait Source: Send + Sync {
    /// The model's nodes.
    fn nodes(&self) -> &[profiler::SourceNode];
    /// The layers that they became.
    fn layers(&self) -> &[profiler::Layer];
}

impl Source for profiler::Trace {
    fn nodes(&self) -> &[profiler::SourceNode] {
        &self.nodes
    }

    fn layers(&self) -> &[profiler::Layer] {
        &self.layers
    }
}

/// A tree with its layout.
#[derive(Clone, Debug, Default)]
pub struct Laid {
    /// What there is.
    pub tree: Arc<GraphTree>,
    /// The open scopes by path.
    pub open: Arc<HashSet<String>>,
    /// Where it is.
    pub scene: Scene,
}

impl Wanted {
    /// The graph laid out; `known` is its tree if that was made before.
    pub fn lay_out(&self, known: Option<Arc<GraphTree>>) -> Laid {
        let make = || Arc::new(GraphTree::new(self.source.nodes(), self.source.layers(), self.grain, self.constants));
        let tree = known.unwrap_or_else(make);
        let open = self.open.clone().unwrap_or_else(|| {
            let paths = tree.first_open().into_iter().map(|i| tree.items[i as usize].path.clone());
            Arc::new(paths.collect())
        });
        let of = |i: &ItemId| open.contains(&tree.items[*i as usize].path);
        let ids: HashSet<ItemId> = (1..tree.items.len() as ItemId).filter(|i| tree.is_scope(*i) && of(i)).collect();
        let scene = build(&tree, &ids);
        Laid { tree, open, scene }
    }
}

#[cfg(test)]
#[path = "graph_scene_tests.rs"]
mod tests;
