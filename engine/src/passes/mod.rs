//! Rewrites of a graph: each pass is one file and one line in a list.

mod attention;
mod epilogue;
mod fold;
mod gelu;
mod layer_norm;
mod noop;
mod precision;

pub(crate) use fold::infer_and_fold;
pub(crate) use precision::apply as apply_precision;

use crate::work::Work;

/// A rewrite that fuses nodes.
pub(crate) struct Pass {
    /// For logs and tests.
    pub name: &'static str,
    /// Rewrites; gives back how many fusions it made.
    pub run: fn(&mut Work) -> usize,
}

/// The fusion passes, in the order in which they run.
pub(crate) const FUSION: &[Pass] = &[
    Pass { name: "nodes that change nothing", run: noop::run },
    Pass { name: "Gelu and Silu from their chains", run: gelu::run },
    Pass { name: "LayerNormalization from its chain", run: layer_norm::chains },
    Pass { name: "attention from its chain", run: attention::run },
    Pass { name: "MatMul with bias and activation", run: epilogue::matmul },
    Pass { name: "Conv with BatchNormalization and activation", run: epilogue::conv },
    Pass { name: "LayerNormalization with the residual sum", run: layer_norm::skip },
];

/// Runs every fusion pass once.
pub(crate) fn fuse(work: &mut Work) {
    for pass in FUSION {
        let n = (pass.run)(work);
        if n > 0 {
            log::debug!("{}: {n}", pass.name);
        }
        work.remove_dead();
    }
}
