//! Layers added up by where they sit, what they do, or what kind they are.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::{LayerId, LayerStats, OpClass, Trace};

/// What to add up by.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum RollupKey {
    /// The first so many parts of the scope path; a shorter path counts as it is.
    Scope(usize),
    /// The operator.
    Op,
    /// The kind of operator.
    Class,
    /// The device it ran on.
    Device,
}

/// A group of layers.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Rollup {
    /// The scope prefix, operator or class. Empty for layers without a scope.
    pub name: String,
    /// The class, if all layers of the group have the same.
    pub class: Option<OpClass>,
    /// Its layers, in layer order.
    pub layers: Vec<LayerId>,
    /// Sum of the layers' medians.
    pub median_ns: f64,
    /// Share of the time of all layers, 0 to 1.
    pub share: f64,
    /// Sum over the layers that state it.
    pub flops: u64,
    /// Bytes read and written, over the layers that state them.
    pub bytes: u64,
    /// Bytes of weights.
    pub weight_bytes: u64,
}

/// Adds up the layers of a trace by a key, longest first.
pub fn rollup(trace: &Trace, stats: &[LayerStats], key: RollupKey) -> Vec<Rollup> {
    let mut groups: Vec<Rollup> = Vec::new();
    let mut index: HashMap<&str, usize> = HashMap::new();
    for s in stats {
        let Some(layer) = trace.layers.get(s.layer.index()) else { continue };
        let name = match key {
            RollupKey::Scope(depth) => scope_prefix(&layer.scope, depth),
            RollupKey::Op => &layer.op,
            RollupKey::Class => layer.class.label(),
            RollupKey::Device => &layer.device,
        };
        let i = *index.entry(name).or_insert_with(|| {
            groups.push(Rollup {
                name: name.to_owned(),
                class: Some(layer.class),
                layers: Vec::new(),
                median_ns: 0.0,
                share: 0.0,
                flops: 0,
                bytes: 0,
                weight_bytes: 0,
            });
            groups.len() - 1
        });
        let group = &mut groups[i];
        group.class = group.class.filter(|&c| c == layer.class);
        group.layers.push(s.layer);
        group.median_ns += s.time.median;
        group.share += s.share;
        group.flops = group.flops.saturating_add(layer.flops.unwrap_or(0));
        let bytes = layer.bytes_read.unwrap_or(0).saturating_add(layer.bytes_written.unwrap_or(0));
        group.bytes = group.bytes.saturating_add(bytes);
        group.weight_bytes = group.weight_bytes.saturating_add(layer.weight_bytes);
    }
    groups.sort_by(|a, b| b.median_ns.total_cmp(&a.median_ns).then_with(|| a.name.cmp(&b.name)));
    groups
}

/// The first `depth` parts of a path.
pub fn scope_prefix(scope: &str, depth: usize) -> &str {
    if depth == 0 {
        return "";
    }
    match scope.match_indices('/').nth(depth - 1) {
        Some((at, _)) => &scope[..at],
        None => scope,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    #[test]
    fn prefixes() {
        for (depth, want) in [(0, ""), (1, "a"), (2, "a/b"), (3, "a/b/c"), (9, "a/b/c")] {
            assert_eq!(scope_prefix("a/b/c", depth), want);
        }
        assert_eq!(scope_prefix("", 2), "");
    }

    #[test]
    fn groups_add_up_to_the_whole() {
        let trace = fixtures::transformer(3, 5, 7);
        let stats = trace.layer_stats();
        let all: f64 = stats.iter().map(|s| s.time.median).sum();
        for key in [RollupKey::Scope(0), RollupKey::Scope(1), RollupKey::Scope(2), RollupKey::Op, RollupKey::Class] {
            let groups = rollup(&trace, &stats, key);
            let sum: f64 = groups.iter().map(|g| g.median_ns).sum();
            let share: f64 = groups.iter().map(|g| g.share).sum();
            assert!((sum - all).abs() < 1e-6 * all && (share - 1.0).abs() < 1e-9, "{key:?}: {sum} {all} {share}");
            assert_eq!(groups.iter().map(|g| g.layers.len()).sum::<usize>(), stats.len());
            assert!(groups.is_sorted_by(|a, b| a.median_ns >= b.median_ns));
        }
        let scopes = rollup(&trace, &stats, RollupKey::Scope(2));
        assert!(scopes.iter().any(|g| g.name == "encoder/layer.1"), "{scopes:?}");
        let classes = rollup(&trace, &stats, RollupKey::Class);
        assert!(classes.iter().all(|g| g.class.is_some_and(|c| c.label() == g.name)));
    }
}
