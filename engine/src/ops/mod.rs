//! The operators: one file each (or one for a family that differs by a word), and one line in [`ALL`].

pub(crate) mod activation;
mod attention;
mod attention_gpu;
mod binary;
pub(crate) mod blocked;
mod gather;
mod identity;
mod index_gpu;
mod joined;
mod make;
pub(crate) mod matmul;
pub(crate) mod matmul_gpu;
pub(crate) mod movement_gpu;
mod quantize_gpu;
pub(crate) mod quantized;
mod reshape;
mod shape;
mod slice;
mod transpose;
mod unary;

mod batch_norm_training;
mod boxes;
mod cast;
mod causal_conv;
mod clip;
mod col2im;
pub(crate) mod contrib;
pub(crate) mod conv;
mod conv_integer;
mod crop_pad;
mod deform_conv;
mod det;
mod dropout;
mod einsum;
pub(crate) mod elementwise_gpu;
mod flex_attention;
mod floats;
mod found;
mod fourier;
mod grid_sample;
pub(crate) mod if_op;
mod image_decoder;
mod join;
mod label_encoder;
pub(crate) mod legacy;
mod linear_attention;
mod loop_op;
mod loss;
mod matmul_integer;
mod matmul_integer_float;
mod max_unpool;
mod ml_features;
mod norm;
mod norm_channels;
mod onehot;
mod optional;
mod order;
mod pad;
mod pool;
mod quantize;
mod random;
mod recurrent;
mod reduce;
mod regions;
mod resize;
mod resize_crop;
mod rotary;
mod scan;
mod scatter;
mod sdpa;
mod select;
mod sequence;
mod softmax;
mod spatial;
mod strings;
mod swiglu;
mod tfidf;
mod training;
mod tree_ensemble;
mod typed;
mod window;
mod windows;

use crate::op::OpDef;

/// Every operator.
pub(crate) const ALL: &[&[OpDef]] = &[
    if_op::OPS,
    loop_op::OPS,
    label_encoder::OPS,
    linear_attention::OPS,
    optional::OPS,
    strings::OPS,
    tfidf::OPS,
    scan::OPS,
    sequence::OPS,
    attention::OPS,
    binary::OPS,
    blocked::OPS,
    gather::OPS,
    identity::OPS,
    joined::OPS,
    make::OPS,
    matmul::OPS,
    reshape::OPS,
    shape::OPS,
    slice::OPS,
    transpose::OPS,
    unary::OPS,
    cast::OPS,
    clip::OPS,
    conv::OPS,
    conv_integer::OPS,
    contrib::grouped::OPS,
    contrib::mask::OPS,
    contrib::products::OPS,
    found::OPS,
    matmul_integer::OPS,
    matmul_integer_float::OPS,
    norm::OPS,
    norm_channels::OPS,
    onehot::OPS,
    order::OPS,
    pad::OPS,
    pool::OPS,
    quantize::OPS,
    reduce::OPS,
    resize::OPS,
    scatter::OPS,
    select::OPS,
    softmax::OPS,
    spatial::OPS,
    einsum::OPS,
    legacy::OPS,
    loss::OPS,
    recurrent::OPS,
    sdpa::OPS,
    rotary::OPS,
    boxes::OPS,
    causal_conv::OPS,
    col2im::OPS,
    crop_pad::OPS,
    deform_conv::OPS,
    det::OPS,
    dropout::OPS,
    fourier::OPS,
    grid_sample::OPS,
    image_decoder::OPS,
    max_unpool::OPS,
    random::OPS,
    regions::OPS,
    swiglu::OPS,
    flex_attention::OPS,
    ml_features::OPS,
    training::OPS,
    tree_ensemble::OPS,
    windows::OPS,
];

/// Helpers that several operators share.
pub(crate) mod util {
    use graph::DType;

    use crate::op::OpError;

    /// An axis counted from the front; negative ones count from the end.
    pub fn axis(axis: i64, rank: usize) -> Result<usize, OpError> {
        let r = rank as i64;
        if (-r..r).contains(&axis) {
            Ok(if axis < 0 { axis + r } else { axis } as usize)
        } else {
            Err(OpError::invalid(format!("axis {axis} is outside rank {rank}")))
        }
    }

    /// Distinct axes counted from the front.
    pub fn axes(list: &[i64], rank: usize) -> Result<Vec<usize>, OpError> {
        let mut out = Vec::with_capacity(list.len());
        for &a in list {
            let a = axis(a, rank)?;
            if out.contains(&a) {
                return Err(OpError::invalid(format!("axis {a} is named twice")));
            }
            out.push(a);
        }
        Ok(out)
    }

    /// The shape to which several shapes broadcast (NumPy's rule).
    pub fn broadcast(shapes: &[&[usize]]) -> Result<Vec<usize>, OpError> {
        let rank = shapes.iter().map(|s| s.len()).max().unwrap_or(0);
        let mut out = vec![1usize; rank];
        for s in shapes {
            for (i, &d) in s.iter().enumerate() {
                let o = &mut out[rank - s.len() + i];
                if *o == 1 {
                    *o = d;
                } else if d != 1 && d != *o {
                    return Err(OpError::invalid(format!("shapes {shapes:?} don't broadcast")));
                }
            }
        }
        Ok(out)
    }

    /// Bytes of one element; an error for types that are packed below a byte, and for strings.
    pub fn elem_bytes(dtype: DType) -> Result<usize, OpError> {
        match dtype.bits() {
            Some(b) if b >= 8 => Ok(b as usize / 8),
            _ => Err(OpError::unsupported(format!("elements of {dtype}"))),
        }
    }

    /// C-order strides of a shape, in elements.
    pub fn strides(shape: &[usize]) -> Vec<usize> {
        let mut s = vec![1; shape.len()];
        for i in (0..shape.len().saturating_sub(1)).rev() {
            s[i] = s[i + 1] * shape[i + 1];
        }
        s
    }
}
