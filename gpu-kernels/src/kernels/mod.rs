//! The kernels: one file each, beside its shader, and one line each in [`ALL`].

#[cfg(test)]
use crate::twin::Bench;
use crate::{Binding, GpuError, Tier};

/// A shader and its test cases.
#[derive(Debug)]
pub struct Kernel {
    /// The shader's file name without its extension.
    pub name: &'static str,
    /// Its WGSL, with `#import` lines.
    pub source: &'static str,
    /// What a device must have to run it.
    pub needs: Tier,
    /// Runs the kernel over odd sizes beside its twin.
    #[cfg(test)]
    pub(crate) cases: fn(&mut Bench) -> Result<(), GpuError>,
}

/// `kernel!("softmax")`: the kernel whose shader is `shaders/kernels/softmax.wgsl` and whose cases are `tests::cases`. What it
/// needs beyond the base follows its name.
macro_rules! kernel {
    ($name:literal) => {
        kernel!($name, $crate::Tier::BASE)
    };
    ($name:literal, $needs:expr) => {
        $crate::kernels::Kernel {
            name: $name,
            source: include_str!(concat!("../../../shaders/kernels/", $name, ".wgsl")),
            needs: $needs,
            #[cfg(test)]
            cases: tests::cases,
        }
    };
}

pub mod arg_reduce;
pub mod attention;
pub mod batch_norm;
pub mod binary;
pub mod cast;
pub mod conv2d;
pub mod conv_direct;
pub mod cumsum;
pub mod fill;
pub mod gather;
pub mod gather_elements;
pub mod gemv;
mod gemv_subgroups;
pub mod index_nd;
pub mod layer_norm;
mod layout;
pub mod matmul;
mod matmul_f16;
pub mod matmul_integer;
pub mod pad;
pub mod pool;
pub mod quantize;
pub mod quantize_range;
pub mod reduce;
pub mod resize;
pub mod select;
pub mod softmax;
pub mod strided_copy;
pub mod tiles;
pub mod trilu;
pub mod unary;

/// Every kernel.
pub static ALL: &[&Kernel] = &[
    &arg_reduce::KERNEL,
    &attention::KERNEL,
    &batch_norm::KERNEL,
    &binary::KERNEL,
    &cast::KERNEL,
    &conv2d::KERNEL,
    &conv_direct::KERNEL,
    &cumsum::KERNEL,
    &fill::KERNEL,
    &gather::KERNEL,
    &gather_elements::KERNEL,
    &gemv::KERNEL,
    &gemv_subgroups::KERNEL,
    &index_nd::KERNEL,
    &layer_norm::KERNEL,
    &matmul::KERNEL,
    &matmul_f16::KERNEL,
    &matmul_integer::KERNEL,
    &pad::KERNEL,
    &pool::KERNEL,
    &quantize::KERNEL,
    &quantize_range::KERNEL,
    &reduce::KERNEL,
    &resize::KERNEL,
    &select::KERNEL,
    &softmax::KERNEL,
    &strided_copy::KERNEL,
    &trilu::KERNEL,
    &unary::KERNEL,
];

/// What a four-byte element holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Elem {
    /// A float.
    F32 = 0,
    /// A signed integer.
    I32 = 1,
    /// 0 or 1.
    Bool = 2,
}

/// The product of sizes, which must be countable in a shader.
pub(crate) fn count(kernel: &str, sizes: &[u32]) -> Result<u32, GpuError> {
    sizes
        .iter()
        .try_fold(1u32, |n, &s| n.checked_mul(s))
        .ok_or_else(|| GpuError::argument(kernel, format!("{sizes:?} are more elements than a shader can count")))
}

/// Checks that an operand has room for so many four-byte elements.
pub(crate) fn need(kernel: &str, name: &str, binding: &Binding, elements: u32) -> Result<(), GpuError> {
    if binding.words() < u64::from(elements) {
        let label = binding.buffer.label();
        let why = format!("operand {name} ({label}) has {} elements, {elements} are needed", binding.words());
        return Err(GpuError::argument(kernel, why));
    }
    Ok(())
}
