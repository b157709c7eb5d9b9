//! A model as a tree of scopes with the lines between its nodes: what the graph view opens and closes.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use profiler::{Layer, LayerId, OpClass, SourceNode};

/// Scopes of more parts are cut into pieces.
const MAX_PARTS: usize = 64;
/// Deeper scopes are one: names are untrusted, and what is drawn nests.
const MAX_DEPTH: usize = 16;
/// The boxes that a graph shows at first, about.
const FIRST_BOXES: usize = 48;

/// Where layers are that no node of the model became.
const UNKNOWN: &str = "not in the model";

/// An index into [`GraphTree::items`]; 0 is the root.
pub type ItemId = u32;

/// What is drawn as a box: the model's own nodes, or the layers that they were fused into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Grain {
    /// Nodes of the file.
    Nodes,
    /// Steps of the plan.
    #[default]
    Layers,
}

/// A node, a layer, or a scope.
#[derive(Clone, Debug, Default)]
pub struct Item {
    /// Its own part of the path.
    pub name: String,
    /// The whole path: the same from trace to trace.
    pub path: String,
    /// Its operator; empty for scopes.
    pub op: String,
    /// The class of its operator, or the one that all of its leaves share.
    pub class: Option<OpClass>,
    /// Where it hangs; the root hangs at itself.
    pub parent: ItemId,
    /// Its parts in the order of the model.
    pub children: Vec<ItemId>,
    /// 0 for the root.
    pub depth: u32,
    /// Nodes (or layers) in it.
    pub leaves: u32,
    /// The layer that it is or became part of.
    pub layer: Option<LayerId>,
    /// The model's node that it is.
    pub node: Option<u32>,
    /// True if the layer's figures are counted here: on one of the nodes that it was fused from.
    pub anchor: bool,
    /// How many of its siblings have the same structure, itself included; 1 if it is alone.
    pub alike: u32,
    /// True if it is the first of those.
    pub first_alike: bool,
}

/// The tree and its lines.
#[derive(Clone, Debug, Default)]
pub struct GraphTree {
    /// Parents before their parts.
    pub items: Vec<Item>,
    /// Lines between leaves: from the maker to the reader.
    pub lines: Vec<(ItemId, ItemId)>,
    /// The leaf of each layer: in a graph of nodes the one that stands for it.
    pub of_layer: Vec<Option<ItemId>>,
    /// Constants that are not drawn.
    pub hidden: usize,
}

struct Leaf<'a> {
    name: &'a str,
    op: &'a str,
    scope: &'a str,
    class: Option<OpClass>,
    layer: Option<LayerId>,
    node: Option<u32>,
    anchor: bool,
}

/// A node that only renames or holds weights: nothing runs for it.
fn is_constant(node: &SourceNode) -> bool {
    node.inputs.is_empty() && matches!(node.op.as_str(), "Constant" | "Identity" | "DequantizeLinear")
}

impl GraphTree {
    /// The graph of a model's nodes and of the layers that they became. `constants` draws nodes that only hold weights.
    pub fn new(nodes: &[SourceNode], layers: &[Layer], grain: Grain, constants: bool) -> Self {
        let layer_of = layers_of_nodes(nodes, layers);
        match grain {
            Grain::Nodes => Self::of_nodes(nodes, layers, &layer_of, constants),
            Grain::Layers => Self::of_layers(nodes, layers, &layer_of),
        }
    }

    fn of_nodes(nodes: &[SourceNode], layers: &[Layer], layer_of: &[Option<LayerId>], constants: bool) -> Self {
        let mut anchored = vec![None; layers.len()];
        for (i, node) in nodes.iter().enumerate() {
            let Some(layer) = layer_of[i] else { continue };
            // The layer has the name of its main node; else the last one makes its output.
            let anchor: &mut Option<usize> = &mut anchored[layer.index()];
            let named = |i: usize| nodes[i].name == layers[layer.index()].name;
            if !anchor.is_some_and(named) || node.name == layers[layer.index()].name {
                *anchor = Some(i);
            }
        }
        let shown = |i: usize| constants || layer_of[i].is_some() || !is_constant(&nodes[i]);
        let mut tree = GraphTree { items: vec![Item::default()], ..GraphTree::default() };
        let mut scopes = HashMap::new();
        let mut leaf_of = vec![None; nodes.len()];
        for (i, node) in nodes.iter().enumerate() {
            if !shown(i) {
                tree.hidden += 1;
                continue;
            }
            let layer = layer_of[i];
            let anchor = layer.is_some_and(|l| anchored[l.index()] == Some(i));
            let class = layer.map(|l| layers[l.index()].class);
            let (name, op, scope) = (&node.name, &node.op, &node.scope);
            leaf_of[i] =
                Some(tree.leaf(&mut scopes, Leaf { name, op, scope, class, layer, node: Some(i as u32), anchor }));
        }
        for (i, node) in nodes.iter().enumerate() {
            for &from in &node.inputs {
                if let (Some(a), Some(b)) = (leaf_of.get(from as usize).copied().flatten(), leaf_of[i]) {
                    tree.lines.push((a, b));
                }
            }
        }
        tree.of_layer = anchored.iter().map(|a| a.and_then(|i| leaf_of[i])).collect();
        tree.finish()
    }

    fn of_layers(nodes: &[SourceNode], layers: &[Layer], layer_of: &[Option<LayerId>]) -> Self {
        let mut tree = GraphTree { items: vec![Item::default()], ..GraphTree::default() };
        let mut scopes = HashMap::new();
        let mut known = vec![false; layers.len()];
        layer_of.iter().flatten().for_each(|l| known[l.index()] = true);
        for (i, layer) in layers.iter().enumerate() {
            let id = Some(LayerId(i as u32));
            let scope = if known[i] || layer.scope.contains('/') { layer.scope.as_str() } else { UNKNOWN };
            let (name, op) = (&layer.name, &layer.op);
            let leaf = Leaf { name, op, scope, class: Some(layer.class), layer: id, node: None, anchor: true };
            let item = tree.leaf(&mut scopes, leaf);
            tree.of_layer.push(Some(item));
        }
        for (from, to) in layer_lines(nodes, layer_of) {
            if let (Some(a), Some(b)) = (tree.of_layer[from.index()], tree.of_layer[to.index()]) {
                tree.lines.push((a, b));
            }
        }
        tree.finish()
    }

    fn leaf(&mut self, scopes: &mut HashMap<(ItemId, String), ItemId>, leaf: Leaf<'_>) -> ItemId {
        let mut at = 0;
        let parts: Vec<&str> = leaf.scope.split('/').filter(|p| !p.is_empty()).collect();
        for (depth, part) in parts.iter().enumerate().take(MAX_DEPTH) {
            let rest = if depth + 1 == MAX_DEPTH { parts[depth..].join("/") } else { (*part).to_owned() };
            at = match scopes.get(&(at, rest.clone())) {
                Some(&found) => found,
                None => {
                    let new = self.add(at, &rest);
                    scopes.insert((at, rest), new);
                    new
                }
            };
        }
        let inside = leaf.name.trim_start_matches('/').strip_prefix(leaf.scope.trim_matches('/'));
        let own = inside.unwrap_or(leaf.name).trim_start_matches('/');
        let item = self.add(at, if own.is_empty() { leaf.op } else { own });
        let new = &mut self.items[item as usize];
        new.op = leaf.op.to_owned();
        new.class = leaf.class;
        (new.layer, new.node, new.anchor) = (leaf.layer, leaf.node, leaf.anchor);
        item
    }

    fn add(&mut self, parent: ItemId, name: &str) -> ItemId {
        let id = self.items.len() as ItemId;
        let up = &mut self.items[parent as usize];
        up.children.push(id);
        let path = if up.path.is_empty() { name.to_owned() } else { format!("{}/{name}", up.path) };
        let depth = up.depth + 1;
        self.items.push(Item { name: name.to_owned(), path, parent, depth, ..Item::default() });
        id
    }

    fn finish(mut self) -> Self {
        self.lines.retain(|(a, b)| a != b);
        self.lines.sort_unstable();
        self.lines.dedup();
        self.fold_only_children();
        self.cut_wide_scopes();
        self.renumber();
        self.count();
        self
    }

    /// A scope with a single part is that part, under both names.
    fn fold_only_children(&mut self) {
        for id in (1..self.items.len()).rev() {
            let [only] = self.items[id].children[..] else { continue };
            let scope = std::mem::take(&mut self.items[id]);
            let child = &mut self.items[only as usize];
            if child.children.is_empty() {
                child.name = scope.name;
            } else {
                child.name = format!("{}/{}", scope.name, child.name);
            }
            child.parent = scope.parent;
            let up = &mut self.items[scope.parent as usize].children;
            if let Some(place) = up.iter_mut().find(|c| **c == id as ItemId) {
                *place = only;
            }
        }
    }

    /// Scopes of very many parts, and models without scopes, are cut where the fewest tensors cross.
    fn cut_wide_scopes(&mut self) {
        let wide: Vec<ItemId> =
            (0..self.items.len() as ItemId).filter(|&i| self.items[i as usize].children.len() > MAX_PARTS).collect();
        for scope in wide {
            let children = std::mem::take(&mut self.items[scope as usize].children);
            let mut crossing = self.crossing(scope, &children);
            let n = children.len();
            let piece = (n as f64).sqrt().ceil() as usize;
            let mut begin = 0;
            while begin < n {
                let (low, high) = (begin + piece * 2 / 3, (begin + piece * 4 / 3).min(n));
                let end = if n - begin <= piece * 4 / 3 {
                    n
                } else {
                    let cost = |i: &usize| (crossing[*i], i.abs_diff(begin + piece));
                    (low.max(begin + 1)..=high).min_by_key(cost).unwrap_or(high)
                };
                let words = format!("{} to {}", begin + 1, end);
                let part = self.add(scope, &words);
                for &child in &children[begin..end] {
                    self.items[child as usize].parent = part;
                }
                self.items[part as usize].children = children[begin..end].to_vec();
                begin = end;
            }
            crossing.clear();
        }
    }

    /// How many tensors cross the gap before each part, by the order of parts.
    fn crossing(&self, scope: ItemId, children: &[ItemId]) -> Vec<usize> {
        let place: HashMap<ItemId, usize> = children.iter().enumerate().map(|(i, &c)| (c, i)).collect();
        let up_to_scope = |mut at: ItemId| {
            while at != 0 && self.items[at as usize].parent != scope {
                at = self.items[at as usize].parent;
            }
            place.get(&at).copied()
        };
        let mut last_use = vec![0; children.len()];
        for &(a, b) in &self.lines {
            if let (Some(a), Some(b)) = (up_to_scope(a), up_to_scope(b)) {
                last_use[a] = last_use[a].max(b);
            }
        }
        let mut change = vec![0_i64; children.len() + 2];
        for (i, &last) in last_use.iter().enumerate().filter(|(i, last)| *last > i) {
            change[i + 1] += 1;
            change[last + 1] -= 1;
        }
        let mut sum = 0;
        let running = change.iter().map(|c| {
            sum += c;
            usize::try_from(sum).unwrap_or(0)
        });
        running.collect()
    }

    /// Leaves out what was folded, parents before parts, and sets paths and depths.
    fn renumber(&mut self) {
        let mut old = std::mem::take(&mut self.items);
        let mut new_id = vec![0; old.len()];
        let mut order = vec![0_usize];
        let mut next = 0;
        while let Some(&id) = order.get(next) {
            new_id[id] = next as ItemId;
            next += 1;
            order.extend(old[id].children.iter().map(|&c| c as usize));
        }
        for &id in &order {
            let mut item = std::mem::take(&mut old[id]);
            item.parent = new_id[item.parent as usize];
            item.children.iter_mut().for_each(|c| *c = new_id[*c as usize]);
            if let Some(up) = self.items.get(item.parent as usize) {
                item.depth = up.depth + 1;
                item.path = if up.path.is_empty() { item.name.clone() } else { format!("{}/{}", up.path, item.name) };
            }
            self.items.push(item);
        }
        for (a, b) in &mut self.lines {
            (*a, *b) = (new_id[*a as usize], new_id[*b as usize]);
        }
        self.lines.sort_unstable();
        for leaf in self.of_layer.iter_mut().flatten() {
            *leaf = new_id[*leaf as usize];
        }
    }

    fn count(&mut self) {
        let mut shape = vec![0_u64; self.items.len()];
        for id in (0..self.items.len()).rev() {
            let item = &self.items[id];
            let mut hasher = DefaultHasher::new();
            item.op.hash(&mut hasher);
            let (mut leaves, mut class) = (u32::from(item.children.is_empty() && id > 0), item.class);
            for (i, &c) in item.children.iter().enumerate() {
                shape[c as usize].hash(&mut hasher);
                let child = &self.items[c as usize];
                leaves += child.leaves;
                class = if i == 0 || class == child.class { child.class } else { None };
            }
            shape[id] = hasher.finish();
            let mut same: HashMap<u64, Vec<ItemId>> = HashMap::new();
            for &c in item.children.iter().filter(|&&c| !self.items[c as usize].children.is_empty()) {
                same.entry(shape[c as usize]).or_default().push(c);
            }
            for group in same.into_values() {
                for (i, &c) in group.iter().enumerate() {
                    self.items[c as usize].alike = group.len() as u32;
                    self.items[c as usize].first_alike = i == 0;
                }
            }
            let item = &mut self.items[id];
            (item.leaves, item.class, item.alike) = (leaves, class, 1);
        }
    }

    /// True if the item has parts.
    pub fn is_scope(&self, id: ItemId) -> bool {
        self.items.get(id as usize).is_some_and(|i| !i.children.is_empty())
    }

    /// The scopes around an item, the innermost first, without the root.
    pub fn around(&self, id: ItemId) -> impl Iterator<Item = ItemId> + '_ {
        let up = |id: ItemId| self.items.get(id as usize).map(|i| i.parent).filter(|&p| p != 0);
        std::iter::successors(up(id), move |&p| up(p))
    }

    /// The scopes that are open at first: the largest, as many as make a picture that can be taken in, and of blocks that
    /// are alike only the first.
    pub fn first_open(&self) -> Vec<ItemId> {
        let mut open = Vec::new();
        let scopes = |of: ItemId| self.items[of as usize].children.iter().copied().filter(|&c| self.is_scope(c));
        let Some(root) = self.items.first() else { return open };
        // Many nodes beside the scopes do not keep what is in those closed.
        let mut boxes = root.children.len().min(FIRST_BOXES / 3);
        let mut closed: Vec<ItemId> = scopes(0).collect();
        let size = |&i: &ItemId| (self.items[i as usize].leaves, std::cmp::Reverse(i));
        while let Some(next) = closed.iter().copied().max_by_key(size) {
            closed.retain(|&c| c != next);
            let item = &self.items[next as usize];
            if (item.alike < 3 || item.first_alike) && boxes + item.children.len() <= FIRST_BOXES {
                boxes += item.children.len();
                open.push(next);
                closed.extend(scopes(next));
            }
        }
        open
    }
}

/// The layer that each node became part of.
pub fn layers_of_nodes(nodes: &[SourceNode], layers: &[Layer]) -> Vec<Option<LayerId>> {
    let mut by_name: HashMap<&str, LayerId> = HashMap::new();
    for (i, layer) in layers.iter().enumerate() {
        for name in layer.source_nodes.iter().filter(|n| !n.is_empty()) {
            by_name.entry(name).or_insert(LayerId(i as u32));
        }
    }
    nodes.iter().map(|n| by_name.get(n.name.as_str()).copied()).collect()
}

/// Which layer reads what which other makes: through nodes of no layer too, which were folded away.
fn layer_lines(nodes: &[SourceNode], layer_of: &[Option<LayerId>]) -> Vec<(LayerId, LayerId)> {
    /// A node that joins more than this is a shape computation of the whole model, not a path of data.
    const MOST: usize = 16;
    let mut lines = Vec::new();
    let mut behind: Vec<Vec<LayerId>> = vec![Vec::new(); nodes.len()];
    // Nodes stand in order of data flow; where a file has them otherwise, a path through a folded node is lost.
    for (i, node) in nodes.iter().enumerate() {
        let mut sources: Vec<LayerId> = Vec::new();
        for &from in &node.inputs {
            match layer_of.get(from as usize).copied().flatten() {
                Some(layer) => sources.push(layer),
                None => sources.extend(behind.get(from as usize).into_iter().flatten()),
            }
        }
        sources.sort_unstable();
        sources.dedup();
        match layer_of[i] {
            Some(to) => lines.extend(sources.into_iter().filter(|&from| from != to).map(|from| (from, to))),
            None => {
                sources.truncate(MOST);
                behind[i] = sources;
            }
        }
    }
    lines.sort_unstable();
    lines.dedup();
    lines
}

#[cfg(test)]
#[path = "graph_tree_tests.rs"]
mod tests;
