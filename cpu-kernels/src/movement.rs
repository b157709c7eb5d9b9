//! Moving elements about: nothing here computes with them, so most kernels take raw bytes and the size of an element.
//!
//! Shapes are those of the dense operands in C order; every output must be exactly as long as its shape says.

mod gather;
mod joined;
mod make;
mod mapped;
mod resize;
mod scatter;
mod strided;

pub use gather::{gather, gather_elements, gather_nd};
pub use joined::{concat, split};
pub use make::{one_hot, range, range_len, trilu};
pub use mapped::{PadMode, pad, padded_shape};
pub use resize::{
    CoordinateMode, Filter, FilterKernel, NearestMode, Resize, resize_filtered, resize_linear, resize_nearest,
};
pub use scatter::{ScatterOp, scatter_elements, scatter_elements_bytes, scatter_nd, scatter_nd_bytes};
pub use strided::{
    SliceAxis, SpaceOrder, depth_to_space, expand, slice, slice_shape, space_to_depth, tile, transpose,
    transposed_shape,
};

/// Calls `$f::<E>($args)` with the element size as a constant, or fails for one that no type has.
macro_rules! by_size {
    ($elem:expr, $f:ident($($arg:expr),* $(,)?)) => {
        match $elem {
            1 => $f::<1>($($arg),*),
            2 => $f::<2>($($arg),*),
            4 => $f::<4>($($arg),*),
            8 => $f::<8>($($arg),*),
            16 => $f::<16>($($arg),*),
            n => Err(crate::error::KernelError::Setting(format!("no kernel for elements of {n} bytes"))),
        }
    };
}
use by_size;

#[cfg(test)]
mod tests;
