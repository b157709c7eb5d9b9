//! cpu-kernels

pub mod attention;
pub mod binary;
pub mod broadcast;
pub mod cast;
pub mod conv;
pub mod error;
pub mod fft;
pub mod gemm;
pub mod linear_attention;
pub mod movement;
pub mod norm;
pub mod number;
#[cfg(test)]
mod oracle;
pub mod pool;
pub mod pooling;
pub mod probe;
pub mod quant;
pub mod quantize;
pub mod random;
pub mod reduce;
pub mod sampling;
pub mod select;
pub mod shape;
pub mod softmax;
mod split;
pub mod unary;
pub mod vecmath;
mod wide;
