//! Convolution a thread per output. [`conv2d`](crate::kernels::conv2d::conv2d) chooses it by itself.

use crate::kernels::Kernel;

/// The kernel.
pub static KERNEL: Kernel = kernel!("conv_direct");

#[cfg(test)]
mod tests {
    use crate::GpuError;
    use crate::kernels::conv2d::tests::{Spec, case};
    use crate::twin::Bench;

    pub(super) fn cases(bench: &mut Bench) -> Result<(), GpuError> {
        let plain = Spec {
            input: [2, 7, 9, 11],
            channels: [7, 7],
            window: [3, 3],
            strides: [1, 2],
            pads: [1, 1],
            dilations: [1, 1],
            fancy: false,
        };
        case(bench, &plain)?;
        case(
            bench,
            &Spec { channels: [14, 7], window: [5, 3], pads: [2, 1], dilations: [1, 2], fancy: true, ..plain },
        )?;
        case(bench, &Spec { input: [1, 3, 9, 9], channels: [2, 1], ..plain })
    }
}
