//! The layers as a tree of scopes, with times, operations and weights added up.

use std::collections::HashMap;

use profiler::{Layer, LayerId, LayerStats, OpClass};

/// A scope, or a layer at the end of one.
#[derive(Clone, Debug, Default)]
pub struct Node {
    /// Its own part of the path.
    pub name: String,
    /// The whole path: unique, and the same from trace to trace.
    pub path: String,
    /// 0 for the root.
    pub depth: usize,
    /// Where it hangs; the root hangs at itself.
    pub parent: usize,
    /// Its parts, in the order of the plan.
    pub children: Vec<usize>,
    /// Set if it is one layer.
    pub layer: Option<LayerId>,
    /// The class of all layers in it, if they share one.
    pub class: Option<OpClass>,
    /// Layers in it.
    pub layers: usize,
    /// Sum of its layers' medians.
    pub median_ns: f64,
    /// Its share of the time of all layers.
    pub share: f64,
    /// Sum over the layers that state it.
    pub flops: u64,
    /// Bytes of its layers' weights.
    pub weight_bytes: u64,
}

/// All scopes; the root comes first.
#[derive(Clone, Debug, Default)]
pub struct ScopeTree {
    /// Parents before their children.
    pub nodes: Vec<Node>,
    /// The node of each layer.
    pub of_layer: Vec<usize>,
}

impl ScopeTree {
    /// The tree of `layers`, with times from `stats` (which may be empty).
    pub fn new(layers: &[Layer], stats: &[LayerStats]) -> Self {
        let mut tree = ScopeTree { nodes: vec![Node::default()], of_layer: Vec::with_capacity(layers.len()) };
        let mut index = HashMap::new();
        for (i, layer) in layers.iter().enumerate() {
            let mut at = 0;
            for part in layer.scope.split('/').filter(|p| !p.is_empty()) {
                at = tree.child(&mut index, at, part);
            }
            let name = layer.name.strip_prefix(&layer.scope).unwrap_or(&layer.name).trim_start_matches('/');
            let leaf = tree.add(at, if name.is_empty() { &layer.op } else { name });
            tree.nodes[leaf].layer = Some(LayerId(i as u32));
            // Names may repeat within a scope; the layer's number keeps paths apart.
            tree.nodes[leaf].path.push_str(&format!("#{i}"));
            tree.of_layer.push(leaf);
        }
        tree.fold_single_layers();
        tree.add_up(layers, stats);
        tree
    }

    fn child(&mut self, index: &mut HashMap<(usize, String), usize>, parent: usize, name: &str) -> usize {
        if let Some(&found) = index.get(&(parent, name.to_owned())) {
            return found;
        }
        let new = self.add(parent, name);
        index.insert((parent, name.to_owned()), new);
        new
    }

    fn add(&mut self, parent: usize, name: &str) -> usize {
        let up = &self.nodes[parent];
        let path = if up.path.is_empty() { name.to_owned() } else { format!("{}/{name}", up.path) };
        let node = Node { name: name.to_owned(), path, depth: up.depth + 1, parent, ..Node::default() };
        self.nodes.push(node);
        let id = self.nodes.len() - 1;
        self.nodes[parent].children.push(id);
        id
    }

    /// A scope that holds nothing but one layer is that layer.
    fn fold_single_layers(&mut self) {
        for i in 1..self.nodes.len() {
            let [only] = self.nodes[i].children[..] else { continue };
            if let Some(layer) = self.nodes[only].layer {
                self.nodes[i].layer = Some(layer);
                self.nodes[i].children.clear();
                self.of_layer[layer.index()] = i;
            }
        }
    }

    fn add_up(&mut self, layers: &[Layer], stats: &[LayerStats]) {
        let mut median = vec![0.0; layers.len()];
        let mut share = vec![0.0; layers.len()];
        for s in stats {
            if let (Some(m), Some(h)) = (median.get_mut(s.layer.index()), share.get_mut(s.layer.index())) {
                (*m, *h) = (s.time.median, s.share);
            }
        }
        for (i, layer) in layers.iter().enumerate() {
            let mut at = self.of_layer[i];
            loop {
                let node = &mut self.nodes[at];
                let same = node.layers == 0 || node.class == Some(layer.class);
                node.class = same.then_some(layer.class);
                node.layers += 1;
                node.median_ns += median[i];
                node.share += share[i];
                node.flops = node.flops.saturating_add(layer.flops.unwrap_or(0));
                node.weight_bytes = node.weight_bytes.saturating_add(layer.weight_bytes);
                if at == 0 {
                    break;
                }
                at = node.parent;
            }
        }
    }

    /// What to call each layer: its path in the tree.
    pub fn labels(&self) -> Vec<String> {
        let path = |&n: &usize| {
            let node = &self.nodes[n];
            // A layer among others carries its number in the path, to keep paths apart.
            let number = node.layer.map_or(String::new(), |l| format!("#{}", l.0));
            node.path.strip_suffix(&number).unwrap_or(&node.path).to_owned()
        };
        self.of_layer.iter().map(path).collect()
    }

    /// The nodes from below the root down to a layer.
    pub fn path_to(&self, layer: LayerId) -> Vec<usize> {
        let mut path = Vec::new();
        let mut at = self.of_layer.get(layer.index()).copied().unwrap_or(0);
        while at != 0 {
            path.push(at);
            at = self.nodes[at].parent;
        }
        path.reverse();
        path
    }
}

/// The parts of a path from the end, longest first: what to try as a label until it fits.
pub fn suffixes(path: &str) -> impl Iterator<Item = &str> {
    let cuts = path.match_indices('/').map(|(at, _)| &path[at + 1..]);
    std::iter::once(path).chain(cuts).filter(|s| !s.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use profiler::fixtures;

    #[test]
    fn the_root_holds_everything_once() {
        for trace in [fixtures::transformer(3, 4, 1), fixtures::one_layer(), fixtures::many_spans(2000)] {
            let stats = trace.layer_stats();
            let tree = ScopeTree::new(&trace.layers, &stats);
            let root = &tree.nodes[0];
            let all: f64 = stats.iter().map(|s| s.time.median).sum();
            assert_eq!(root.layers, trace.layers.len());
            assert!((root.median_ns - all).abs() <= 1e-9 * all, "{} {all}", root.median_ns);
            assert!((root.share - 1.0).abs() < 1e-9);
            for node in tree.nodes.iter().filter(|n| !n.children.is_empty()) {
                let parts: f64 = node.children.iter().map(|&c| tree.nodes[c].median_ns).sum();
                assert!((node.median_ns - parts).abs() <= 1e-9 * all, "{}: {} {parts}", node.path, node.median_ns);
            }
            for (i, &at) in tree.of_layer.iter().enumerate() {
                assert_eq!(tree.nodes[at].layer, Some(LayerId(i as u32)));
            }
        }
    }

    #[test]
    fn scopes_of_one_layer_fold_into_it() {
        let trace = fixtures::transformer(2, 3, 1);
        let tree = ScopeTree::new(&trace.layers, &[]);
        let query = trace.layers.iter().position(|l| l.name.ends_with("layer.1/attention/query")).unwrap();
        let names: Vec<&str> =
            tree.path_to(LayerId(query as u32)).iter().map(|&n| tree.nodes[n].name.as_str()).collect();
        assert_eq!(names, ["encoder", "layer.1", "attention", "query"]);
        let layer = |name: &str, scope: &str| Layer { name: name.into(), scope: scope.into(), ..Layer::default() };
        let layers =
            [layer("a/b/MatMul", "a/b"), layer("a/c/Add", "a/c"), layer("a/c/Mul", "a/c"), layer("Cast_3", "")];
        assert_eq!(ScopeTree::new(&layers, &[]).labels(), ["a/b", "a/c/Add", "a/c/Mul", "Cast_3"]);
    }

    #[test]
    fn labels_lose_their_outer_scopes_first() {
        assert_eq!(suffixes("a/b/c").collect::<Vec<_>>(), ["a/b/c", "b/c", "c"]);
        assert_eq!(suffixes("").count(), 0);
    }
}
