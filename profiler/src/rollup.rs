//! Layers added up by where they sit, what they do, or what kind they are.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::{Layer, LayerId, LayerStats, OpClass, Trace};

/// What to add up by.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum RollupKey {
    /// The first so many parts of the scope path; a shorter path counts as it is.
    Scope(usize),
    /// The operator.
    Op,
    /// The kind of operator.
    Class,
    /// The kind of block that it belongs to.
    Kind,
    /// The device it ran on.
    Device,
}

/// The kind of block that a layer belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum BlockKind {
    /// Projections to queries, keys and values, the product of attention, its output projection.
    Attention,
    /// The feed-forward part of a transformer's block.
    Mlp,
    /// Convolutions, with what their scope holds besides.
    Convolution,
    /// Embeddings of tokens, positions and patches.
    Embedding,
    /// All others: norms between blocks, poolers, heads, what the scope says nothing of.
    Rest,
}

impl BlockKind {
    /// All kinds in legend order.
    pub const ALL: [BlockKind; 5] =
        [BlockKind::Attention, BlockKind::Mlp, BlockKind::Convolution, BlockKind::Embedding, BlockKind::Rest];

    /// The legend's word.
    pub fn label(self) -> &'static str {
        match self {
            BlockKind::Attention => "Attention",
            BlockKind::Mlp => "MLP",
            BlockKind::Convolution => "Convolution",
            BlockKind::Embedding => "Embedding",
            BlockKind::Rest => "Rest",
        }
    }

    /// From the operator's class and the words of the scope (of the name, if it has no scope).
    ///
    /// Fused attention and convolutions are known by their class. For all others the scope's parts are asked from the innermost
    /// outwards, and the first that holds a known word decides: `attn`, `attention`, `query`, ... for attention; `mlp`, `ffn`,
    /// `intermediate`, ... for the MLP; `embed`, `wte`, ... for embeddings; `conv`, `downsample` for convolutions. BERT calls
    /// the second half of its MLP `layer.3/output`: an `output` right under a numbered part belongs to the MLP. A word counts
    /// with its number (`fc1`) or in camel case (`SelfAttention`).
    pub fn of(layer: &Layer) -> BlockKind {
        match layer.class {
            OpClass::Attention => return BlockKind::Attention,
            OpClass::Convolution => return BlockKind::Convolution,
            _ => {}
        }
        let path = if layer.scope.is_empty() { &layer.name } else { &layer.scope };
        let parts: Vec<&str> = path.split('/').collect();
        for (i, part) in parts.iter().enumerate().rev() {
            let words = words(part);
            let has = |list: &[&str]| words.iter().any(|w| list.contains(&w.as_str()));
            if has(&ATTENTION_WORDS) {
                return BlockKind::Attention;
            }
            if has(&MLP_WORDS) {
                return BlockKind::Mlp;
            }
            if has(&EMBEDDING_WORDS) {
                return BlockKind::Embedding;
            }
            if has(&CONVOLUTION_WORDS) {
                return BlockKind::Convolution;
            }
            let numbered = |p: &&str| p.ends_with(|c: char| c.is_ascii_digit());
            if *part == "output" && i.checked_sub(1).and_then(|i| parts.get(i)).is_some_and(numbered) {
                return BlockKind::Mlp;
            }
        }
        BlockKind::Rest
    }
}

const ATTENTION_WORDS: [&str; 14] =
    ["attn", "attention", "mha", "sa", "query", "key", "value", "qkv", "q", "k", "v", "sdpa", "crossattention", "kv"];
const MLP_WORDS: [&str; 9] = ["mlp", "ffn", "ff", "fc", "intermediate", "feedforward", "ffw", "moe", "densereludense"];
const EMBEDDING_WORDS: [&str; 6] = ["embed", "embeddings", "embedding", "wte", "wpe", "patch"];
const CONVOLUTION_WORDS: [&str; 3] = ["conv", "downsample", "convolution"];

/// The words of a part of a path in lower case: split at anything that is no letter, and where lower case turns to upper; and
/// the letters of the whole part, for words written together.
fn words(part: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut lower = false;
    for c in part.chars() {
        let starts = !c.is_alphabetic() || lower && c.is_uppercase();
        if starts {
            words.push(String::new());
        }
        if let (true, Some(word)) = (c.is_alphabetic(), words.last_mut()) {
            word.extend(c.to_lowercase());
        }
        lower = c.is_lowercase();
    }
    words.retain(|w| !w.is_empty());
    if words.len() > 1 {
        words.push(words.concat());
    }
    words
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
            RollupKey::Kind => BlockKind::of(layer).label(),
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
    fn kinds_of_blocks_in_the_field() {
        let kind = |scope: &str, class| BlockKind::of(&Layer { scope: scope.into(), class, ..Layer::default() });
        for (scope, want) in [
            ("encoder/layer.3/attention/self/query", BlockKind::Attention),
            ("encoder/layer.3/attention/output/dense", BlockKind::Attention),
            ("encoder/layer.3/attention/output/LayerNorm", BlockKind::Attention),
            ("encoder/layer.3/intermediate/dense", BlockKind::Mlp),
            ("encoder/layer.3/output/dense", BlockKind::Mlp),
            ("transformer/h.0/attn/c_attn", BlockKind::Attention),
            ("transformer/h.0/mlp/c_fc", BlockKind::Mlp),
            ("transformer/layer.1/ffn/lin1", BlockKind::Mlp),
            ("blocks.2/mlp/fc1", BlockKind::Mlp),
            ("blocks.2/attn/q_proj", BlockKind::Attention),
            ("encoder/block.0/layer.0/SelfAttention", BlockKind::Attention),
            ("encoder/block.0/layer.1/DenseReluDense", BlockKind::Mlp),
            ("mobilebert/encoder/layer.0/ffn.1/output", BlockKind::Mlp),
            ("embeddings/word_embeddings", BlockKind::Embedding),
            ("transformer/wte", BlockKind::Embedding),
            ("layer1/layer1.0/downsample", BlockKind::Convolution),
            ("pooler/dense", BlockKind::Rest),
            ("output", BlockKind::Rest),
            ("", BlockKind::Rest),
        ] {
            assert_eq!(kind(scope, OpClass::MatMul), want, "{scope}");
        }
        assert_eq!(kind("pooler", OpClass::Attention), BlockKind::Attention);
        assert_eq!(kind("stem", OpClass::Convolution), BlockKind::Convolution);
        let unscoped = Layer { name: "/layer.0/attention/MatMul".into(), ..Layer::default() };
        assert_eq!(BlockKind::of(&unscoped), BlockKind::Attention);
        let trace = fixtures::transformer(2, 3, 1);
        let kinds = rollup(&trace, &trace.layer_stats(), RollupKey::Kind);
        let layers = |kind: BlockKind| kinds.iter().find(|g| g.name == kind.label()).map_or(0, |g| g.layers.len());
        assert_eq!((layers(BlockKind::Attention), layers(BlockKind::Mlp)), (12, 6), "{kinds:?}");
    }

    #[test]
    fn groups_add_up_to_the_whole() {
        let trace = fixtures::transformer(3, 5, 7);
        let stats = trace.layer_stats();
        let all: f64 = stats.iter().map(|s| s.time.median).sum();
        let keys = [RollupKey::Scope(0), RollupKey::Scope(1), RollupKey::Scope(2), RollupKey::Op, RollupKey::Class];
        for key in keys.into_iter().chain([RollupKey::Kind, RollupKey::Device]) {
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
