//! The tiled matrix product with f16 weights. [`matmul`](crate::kernels::matmul::matmul) chooses it by itself.

use crate::Tier;
use crate::kernels::Kernel;

/// The kernel.
pub static KERNEL: Kernel = kernel!("matmul_f16", Tier { subgroups: false, f16: true });

#[cfg(test)]
mod tests {
    use crate::GpuError;
    use crate::kernels::matmul::tests::{Spec, case};
    use crate::twin::Bench;

    pub(super) fn cases(bench: &mut Bench) -> Result<(), GpuError> {
        for trans_b in [false, true] {
            // Lines of whole vectors, and others.
            case(bench, &Spec { mkn: [35, 40, 44], trans_b, kind: 1, epilogue: true, batch: [1; 3] })?;
            case(bench, &Spec { mkn: [65, 37, 71], trans_b, kind: 1, epilogue: false, batch: [1; 3] })?;
        }
        // Enough of them for larger tiles.
        case(bench, &Spec { mkn: [65, 12, 72], trans_b: false, kind: 1, epilogue: true, batch: [1, 5, 5] })
    }
}
