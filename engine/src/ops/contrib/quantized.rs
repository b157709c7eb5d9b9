//! Operators on quantized tensors as the float operator between DequantizeLinear and QuantizeLinear.

use graph::{Attr, DType, Tensor, ValueId};

use super::{Expansion, NewAttrs};
use crate::attrs::Attrs;
use crate::op::OpError;

type Made = Result<Vec<ValueId>, OpError>;

/// The floats of three inputs: values, scale, zero point (optional).
pub(super) fn floats(e: &mut Expansion<'_>, i: usize) -> Result<ValueId, OpError> {
    let inputs = [Some(e.need(i)?), Some(e.need(i + 1)?), e.get(i + 2)];
    Ok(e.op_with("DequantizeLinear", &inputs, &[]))
}

/// Floats by the scale and the zero point of two inputs. Without a zero point the type is that of input 0.
fn quantized(e: &mut Expansion<'_>, x: ValueId, scale: usize) -> Made {
    let zero = match e.get(scale + 1) {
        Some(zero) => zero,
        None => {
            let like = e.need(0)?;
            let value = e.graph.value(like);
            match value.constant.as_ref().map(Tensor::dtype).or_else(|| Some(value.ty.as_ref()?.dtype)) {
                Some(DType::U8) => e.constant(Tensor::scalar(0u8)),
                Some(DType::I8) => e.constant(Tensor::scalar(0i8)),
                _ => return Err(OpError::unsupported("an output without a zero point, on inputs of unknown type")),
            }
        }
    };
    let scale = e.need(scale)?;
    Ok(vec![e.op("QuantizeLinear", &[x, scale, zero], &[])])
}

pub(super) fn binary(e: &mut Expansion<'_>, a: &Attrs<'_>) -> Made {
    let op = if a.op_type() == "QLinearAdd" { "Add" } else { "Mul" };
    let (x, y) = (floats(e, 0)?, floats(e, 3)?);
    let z = e.op(op, &[x, y], &[]);
    quantized(e, z, 6)
}

/// A float operator on one quantized tensor.
fn around(e: &mut Expansion<'_>, op: &str, attrs: NewAttrs<'_>) -> Made {
    let x = floats(e, 0)?;
    let y = e.op(op, &[x], attrs);
    quantized(e, y, 3)
}

pub(super) fn unary(e: &mut Expansion<'_>, a: &Attrs<'_>) -> Made {
    match a.op_type() {
        "QLinearLeakyRelu" => around(e, "LeakyRelu", &[("alpha", Attr::Float(a.float_or("alpha", 0.01)?))]),
        _ => around(e, "Sigmoid", &[]),
    }
}

pub(super) fn concat(e: &mut Expansion<'_>, a: &Attrs<'_>) -> Made {
    let axis = a.need_int("axis")?;
    let parts: Vec<usize> = (2..e.input_count()).step_by(3).collect();
    let parts = parts.into_iter().map(|i| floats(e, i)).collect::<Result<Vec<_>, _>>()?;
    let y = e.op("Concat", &parts, &[("axis", Attr::Int(axis))]);
    quantized(e, y, 0)
}

/// Channels after the batch, or last.
fn to_last(e: &mut Expansion<'_>, x: ValueId, spatial: usize) -> ValueId {
    let perm = std::iter::once(0).chain(2..spatial as i64 + 2).chain([1]).collect();
    e.op("Transpose", &[x], &[("perm", Attr::Ints(perm))])
}

fn from_last(e: &mut Expansion<'_>, x: ValueId, spatial: usize) -> ValueId {
    let perm = [0, spatial as i64 + 1].into_iter().chain(1..spatial as i64 + 1).collect();
    e.op("Transpose", &[x], &[("perm", Attr::Ints(perm))])
}

/// The attributes that a pool hands on as they are.
fn pool_attrs<'a>(a: &Attrs<'_>, names: &[&'a str]) -> Vec<(&'a str, Attr)> {
    names.iter().filter_map(|&n| Some((n, a.get(n)?.clone()))).collect()
}

pub(super) fn average_pool(e: &mut Expansion<'_>, a: &Attrs<'_>) -> Made {
    let names = ["auto_pad", "ceil_mode", "count_include_pad", "kernel_shape", "pads", "strides"];
    let attrs = pool_attrs(a, &names);
    let spatial = a.ints("kernel_shape")?.map_or(0, <[i64]>::len);
    let last = a.flag("channels_last", false)?;
    let mut x = floats(e, 0)?;
    if last {
        x = from_last(e, x, spatial);
    }
    let mut y = e.op("AveragePool", &[x], &attrs);
    if last {
        y = to_last(e, y, spatial);
    }
    quantized(e, y, 3)
}

pub(super) fn global_average_pool(e: &mut Expansion<'_>, a: &Attrs<'_>) -> Made {
    if !a.flag("channels_last", false)? {
        return around(e, "GlobalAveragePool", &[]);
    }
    let rank = e.need(0).map(|x| e.rank(x))?;
    let spatial = rank
        .and_then(|r| r.checked_sub(2))
        .ok_or_else(|| OpError::unsupported("channels_last = 1 on an input of unknown rank"))?;
    let x = floats(e, 0)?;
    let x = from_last(e, x, spatial);
    let y = e.op("GlobalAveragePool", &[x], &[]);
    let y = to_last(e, y, spatial);
    quantized(e, y, 3)
}

pub(super) fn softmax(e: &mut Expansion<'_>, a: &Attrs<'_>) -> Made {
    let opset = a.need_int("opset")?;
    let axis = a.int_or("axis", -1)?;
    if opset >= 13 {
        return around(e, "Softmax", &[("axis", Attr::Int(axis))]);
    }
    // Everything from the axis on is one row.
    let x = floats(e, 0)?;
    let shape = e.op("Shape", &[x], &[]);
    let rows = e.op("Flatten", &[x], &[("axis", Attr::Int(axis))]);
    let y = e.op("Softmax", &[rows], &[("axis", Attr::Int(-1))]);
    let y = e.op("Reshape", &[y, shape], &[("allowzero", Attr::Int(1))]);
    quantized(e, y, 3)
}

pub(super) fn select(e: &mut Expansion<'_>, _: &Attrs<'_>) -> Made {
    let (x, y) = (floats(e, 1)?, floats(e, 4)?);
    let which = e.need(0)?;
    let z = e.op("Where", &[which, x, y], &[]);
    quantized(e, z, 7)
}

pub(super) fn reduce_mean(e: &mut Expansion<'_>, a: &Attrs<'_>) -> Made {
    let keep = ("keepdims", Attr::Int(a.int_or("keepdims", 1)?));
    let x = floats(e, 0)?;
    let mut inputs = vec![x];
    if let Some(axes) = a.ints("axes")? {
        inputs.push(e.ints(axes));
    }
    let y = e.op("ReduceMean", &inputs, &[keep]);
    quantized(e, y, 3)
}

pub(super) fn nhwc_max_pool(e: &mut Expansion<'_>, a: &Attrs<'_>) -> Made {
    let names = ["auto_pad", "ceil_mode", "dilations", "kernel_shape", "pads", "strides"];
    let attrs = pool_attrs(a, &names);
    let spatial = a.ints("kernel_shape")?.map_or(0, <[i64]>::len);
    let x = e.need(0)?;
    let x = from_last(e, x, spatial);
    let y = e.op("MaxPool", &[x], &attrs);
    Ok(vec![to_last(e, y, spatial)])
}
