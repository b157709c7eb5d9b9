//! Rewrites of a graph: each pass is one file and one line in a list.

mod attention;
mod blocked;
mod epilogue;
mod fold;
mod gelu;
mod inline;
mod integer;
mod layer_norm;
mod noop;
mod precision;
mod widen;

pub(crate) use blocked::run as block_channels;
pub(crate) use fold::infer_and_fold;
pub(crate) use precision::apply as apply_precision;

use crate::work::Work;

/// A rewrite that fuses nodes.
pub(crate) struct Pass {
    /// For logs and tests.
    pub name: &'static str,
    /// True if the fused node has a CPU form alone.
    pub cpu: bool,
    /// Rewrites; gives back how many fusions it made.
    pub run: fn(&mut Work) -> usize,
}

/// The fusion passes, in the order in which they run.
pub(crate) const FUSION: &[Pass] = &[
    Pass { name: "chains of half precision in f32", cpu: true, run: widen::run },
    Pass { name: "nodes that change nothing", cpu: false, run: noop::run },
    Pass { name: "Gelu and Silu from their chains", cpu: false, run: gelu::run },
    Pass { name: "LayerNormalization from its chain", cpu: false, run: layer_norm::chains },
    Pass { name: "attention from its chain", cpu: false, run: attention::run },
    Pass { name: "MatMul with bias and activation", cpu: false, run: epilogue::matmul },
    Pass { name: "integer MatMul with scale, bias and activation", cpu: true, run: integer::run },
    Pass { name: "Conv with BatchNormalization and activation", cpu: false, run: epilogue::conv },
    Pass { name: "LayerNormalization with the residual sum", cpu: false, run: layer_norm::skip },
];

/// Runs every fusion pass once, for a plan that the CPU or a GPU runs.
pub(crate) fn fuse(work: &mut Work, cpu: bool) {
    for pass in FUSION.iter().filter(|p| cpu || !p.cpu) {
        let n = (pass.run)(work);
        if n > 0 {
            log::debug!("{}: {n}", pass.name);
        }
        work.remove_dead();
    }
}
