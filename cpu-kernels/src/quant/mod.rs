//! Products with quantized operands: 8-bit integers with integer kernels, and 4-bit weights with a scale for each group.

mod dot;
mod int4;
mod int8;
mod integer;
mod narrow;

pub use int4::{PackedInt4B, gemm_int4, quantize_weights_int4};
pub use int8::{PackedInt8B, gemm_int8_dynamic, quantize_weights_int8};
pub use integer::{Bytes, PackedIntegerB, matmul_integer, matmul_integer_float, matmul_integer_packed};
