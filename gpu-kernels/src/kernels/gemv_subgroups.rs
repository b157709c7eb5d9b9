//! The matrix product for a few rows with a subgroup per column. [`matmul`](crate::kernels::matmul::matmul) chooses it by
//! itself.

use crate::Tier;
use crate::kernels::Kernel;

/// The kernel.
pub static KERNEL: Kernel = kernel!("gemv_subgroups", Tier { subgroups: true, f16: false });

#[cfg(test)]
mod tests {
    use crate::GpuError;
    use crate::kernels::matmul::tests::{Spec, case};
    use crate::twin::Bench;

    pub(super) fn cases(bench: &mut Bench) -> Result<(), GpuError> {
        for kind in 0..4 {
            case(bench, &Spec { mkn: [1, 136, 37], trans_b: true, kind, epilogue: false, batch: [1; 3] })?;
            case(bench, &Spec { mkn: [3, 300, 44], trans_b: true, kind, epilogue: true, batch: [1; 3] })?;
        }
        case(bench, &Spec { mkn: [4, 7, 5], trans_b: true, kind: 0, epilogue: true, batch: [2, 2, 3] })
    }
}
