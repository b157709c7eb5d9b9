//! Which layers of one trace are which of the other, whatever was fused.
//!
//! Layers of the two sides that share a source node belong together, and so does all that hangs on either: each connected
//! part of that graph is one group. A layer that names no source nodes stands for itself by its name. What is left on both
//! sides, where a side does not know its source nodes, is matched by operator and order within its scope.

use std::collections::HashMap;

use crate::{Layer, LayerId};

/// Layers that did the same work on the two sides; one of the lists may be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Group {
    /// Of the baseline, in order.
    pub baseline: Vec<LayerId>,
    /// Of the current trace, in order.
    pub current: Vec<LayerId>,
}

/// A name that this many layers of one side were made from joins nothing: it would join everything.
const HUB: usize = 64;

/// Aligns the layers of two traces. Every layer is in exactly one group; groups are in the order of the current trace,
/// with those that are gone after the group that they followed in the baseline.
pub(super) fn align(baseline: &[Layer], current: &[Layer]) -> Vec<Group> {
    let mut sets = Sets::new(baseline.len() + current.len());
    let offset = baseline.len();
    let mut holders: HashMap<&str, (Vec<usize>, Vec<usize>)> = HashMap::new();
    for (i, layer) in baseline.iter().enumerate() {
        keys(layer, |k| holders.entry(k).or_default().0.push(i));
    }
    for (i, layer) in current.iter().enumerate() {
        keys(layer, |k| holders.entry(k).or_default().1.push(offset + i));
    }
    for (a, b) in holders.values() {
        if a.is_empty() || b.is_empty() || a.len() > HUB || b.len() > HUB {
            continue;
        }
        let all = || a.iter().chain(b);
        for (&x, &y) in all().zip(all().skip(1)) {
            sets.join(x, y);
        }
    }
    let mut matched = vec![false; baseline.len() + current.len()];
    mark_matched(&mut sets, offset, &mut matched);
    join_by(baseline, current, &mut sets, &matched, |l| Some((normal(&l.name), String::new())), false);
    mark_matched(&mut sets, offset, &mut matched);
    join_by(baseline, current, &mut sets, &matched, |l| Some((l.op.as_str(), l.scope.clone())), true);
    groups(baseline.len(), current.len(), &mut sets)
}

/// The names that a layer is known by: its source nodes, or its own.
fn keys<'a>(layer: &'a Layer, mut add: impl FnMut(&'a str)) {
    if knows_its_nodes(layer) {
        layer.source_nodes.iter().map(|n| normal(n)).filter(|n| !n.is_empty()).for_each(add);
    } else if !normal(&layer.name).is_empty() {
        add(normal(&layer.name));
    }
}

fn knows_its_nodes(layer: &Layer) -> bool {
    layer.source_nodes.iter().any(|n| !normal(n).is_empty())
}

/// A node's name as every tool writes it: without a leading slash, and without what quantizers and profilers append.
fn normal(name: &str) -> &str {
    let mut name = name.trim().trim_start_matches('/');
    loop {
        let shorter = ["_kernel_time", "_quant", "_quantized"].iter().find_map(|s| name.strip_suffix(s));
        match shorter {
            Some(s) if !s.is_empty() => name = s,
            _ => return name,
        }
    }
}

/// Joins layers that are alone so far on both sides and have equal keys, the n-th with the n-th. `ordered` keys may repeat,
/// and join only layers of which one at least does not know its nodes: else it is known that they differ.
fn join_by<'a, K: Eq + std::hash::Hash>(
    baseline: &'a [Layer],
    current: &'a [Layer],
    sets: &mut Sets,
    matched: &[bool],
    key: impl Fn(&'a Layer) -> Option<K>,
    ordered: bool,
) {
    let mut left: HashMap<K, (Vec<usize>, Vec<usize>)> = HashMap::new();
    for (i, layer) in baseline.iter().enumerate().filter(|(i, _)| !matched[*i]) {
        if let Some(k) = key(layer) {
            left.entry(k).or_default().0.push(i);
        }
    }
    for (i, layer) in current.iter().enumerate().filter(|(i, _)| !matched[baseline.len() + *i]) {
        if let Some(k) = key(layer) {
            left.entry(k).or_default().1.push(i);
        }
    }
    for (a, b) in left.values() {
        if !ordered && (a.len() != 1 || b.len() != 1) {
            continue;
        }
        for (&x, &y) in a.iter().zip(b) {
            if !ordered || !knows_its_nodes(&baseline[x]) || !knows_its_nodes(&current[y]) {
                sets.join(x, baseline.len() + y);
            }
        }
    }
}

/// Notes which layers have a partner on the other side.
fn mark_matched(sets: &mut Sets, offset: usize, matched: &mut [bool]) {
    let mut sides: HashMap<usize, (bool, bool)> = HashMap::new();
    for i in 0..matched.len() {
        let entry = sides.entry(sets.root(i)).or_default();
        if i < offset { entry.0 = true } else { entry.1 = true }
    }
    for (i, m) in matched.iter_mut().enumerate() {
        *m = sides.get(&sets.root(i)).is_some_and(|s| s.0 && s.1);
    }
}

fn groups(baseline: usize, current: usize, sets: &mut Sets) -> Vec<Group> {
    let mut of_root: HashMap<usize, usize> = HashMap::new();
    let mut groups: Vec<Group> = Vec::new();
    for i in 0..baseline + current {
        let g = *of_root.entry(sets.root(i)).or_insert_with(|| {
            groups.push(Group::default());
            groups.len() - 1
        });
        match i.checked_sub(baseline) {
            None => groups[g].baseline.push(LayerId(i as u32)),
            Some(j) => groups[g].current.push(LayerId(j as u32)),
        }
    }
    // In the baseline's order so far. What is gone takes the place of the group before it.
    let mut place = 0u32;
    let mut keyed: Vec<((u32, u32), Group)> = groups
        .into_iter()
        .enumerate()
        .map(|(i, g)| {
            let key = match g.current.first() {
                Some(first) => {
                    if !g.baseline.is_empty() {
                        place = first.0;
                    }
                    (first.0, 0)
                }
                None => (place, i as u32 + 1),
            };
            (key, g)
        })
        .collect();
    keyed.sort_by_key(|k| k.0);
    keyed.into_iter().map(|k| k.1).collect()
}

/// Disjoint sets.
struct Sets {
    parent: Vec<usize>,
}

impl Sets {
    fn new(n: usize) -> Self {
        Sets { parent: (0..n).collect() }
    }

    fn root(&mut self, mut i: usize) -> usize {
        while self.parent[i] != i {
            self.parent[i] = self.parent[self.parent[i]];
            i = self.parent[i];
        }
        i
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        self.parent[a.max(b)] = a.min(b);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::Random;

    fn layer(name: &str, sources: &[&str]) -> Layer {
        let source_nodes = sources.iter().map(|s| (*s).to_owned()).collect();
        Layer { name: name.into(), op: "Op".into(), source_nodes, ..Layer::default() }
    }

    fn ids(groups: &[Group]) -> Vec<(Vec<u32>, Vec<u32>)> {
        let plain = |l: &[LayerId]| l.iter().map(|l| l.0).collect();
        groups.iter().map(|g| (plain(&g.baseline), plain(&g.current))).collect()
    }

    #[test]
    fn fused_layers_meet_what_they_were_made_from() {
        let plain =
            [layer("a", &["a"]), layer("b", &["b"]), layer("c", &["c"]), layer("d", &["/d"]), layer("e", &["e"])];
        let fused = [layer("ab", &["a", "b"]), layer("cd", &["c", "d"]), layer("f", &["f"])];
        let got = ids(&align(&plain, &fused));
        assert_eq!(got, [(vec![0, 1], vec![0]), (vec![2, 3], vec![1]), (vec![4], vec![]), (vec![], vec![2])]);
        // Overlapping fusions are one group: a+b and b+c have b in common.
        let other = [layer("a", &["a"]), layer("bc", &["b", "c"]), layer("d", &["d"])];
        assert_eq!(ids(&align(&other, &fused))[0], (vec![0, 1, 2], vec![0, 1]));
    }

    #[test]
    fn without_source_nodes_names_then_operators_in_order_decide() {
        let ours = [layer("x/MatMul", &["/x/MatMul", "/x/Add"]), layer("y", &["y"])];
        let theirs = [layer("/x/MatMul_kernel_time", &[]), layer("x/Add_quant", &[]), layer("y", &[])];
        assert_eq!(ids(&align(&ours, &theirs)), [(vec![0], vec![0, 1]), (vec![1], vec![2])]);
        let numbered = |n: &str| Layer { op: "Conv".into(), scope: "s".into(), ..layer(n, &[]) };
        let (a, b) = ([numbered("n1"), numbered("n2")], [numbered("n7"), numbered("n8"), numbered("n9")]);
        assert_eq!(ids(&align(&a, &b)), [(vec![0], vec![0]), (vec![1], vec![1]), (vec![], vec![2])]);
        // Both know their nodes, and these differ: not the same.
        let (a, b) = ([layer("p", &["p"])], [layer("q", &["q"])]);
        assert_eq!(align(&a, &b).len(), 2);
    }

    #[test]
    fn every_layer_is_in_one_group_and_groups_are_connected() {
        let mut random = Random::fresh();
        for _ in 0..300 {
            let mut side = || -> Vec<Layer> {
                (0..random.below(12))
                    .map(|i| {
                        let n = random.below(3);
                        let nodes: Vec<String> = (0..n).map(|_| format!("n{}", random.below(15))).collect();
                        Layer {
                            name: format!("l{i}"),
                            op: format!("op{}", random.below(2)),
                            source_nodes: nodes,
                            ..Layer::default()
                        }
                    })
                    .collect()
            };
            let (a, b) = (side(), side());
            let groups = align(&a, &b);
            let mut seen_a: Vec<u32> = groups.iter().flat_map(|g| g.baseline.iter().map(|l| l.0)).collect();
            let mut seen_b: Vec<u32> = groups.iter().flat_map(|g| g.current.iter().map(|l| l.0)).collect();
            seen_a.sort_unstable();
            seen_b.sort_unstable();
            assert_eq!(seen_a, (0..a.len() as u32).collect::<Vec<_>>(), "seed {}", random.seed);
            assert_eq!(seen_b, (0..b.len() as u32).collect::<Vec<_>>(), "seed {}", random.seed);
            // The definition, by brute force: layers of the two sides that share a node are together.
            let group_of = |baseline: bool, l: usize| {
                groups.iter().position(|g| {
                    let list = if baseline { &g.baseline } else { &g.current };
                    list.contains(&LayerId(l as u32))
                })
            };
            for (i, x) in a.iter().enumerate() {
                for (j, y) in b.iter().enumerate() {
                    if x.source_nodes.iter().any(|n| y.source_nodes.contains(n)) {
                        assert_eq!(group_of(true, i), group_of(false, j), "seed {}", random.seed);
                    }
                }
            }
        }
    }

    #[test]
    fn a_node_in_very_many_layers_joins_nothing() {
        let many: Vec<Layer> = (0..200).map(|i| layer(&format!("l{i}"), &["shape", &format!("n{i}")])).collect();
        let groups = align(&many, &many);
        assert_eq!(groups.len(), 200);
        assert!(groups.iter().all(|g| g.baseline == g.current));
    }
}
