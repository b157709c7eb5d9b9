//! Embeddings with their normalisation, and activations with their bias.

use graph::{Attr, DType, Tensor, ValueId};

use super::{Expansion, string};
use crate::attrs::Attrs;
use crate::op::OpError;

type Made = Result<Vec<ValueId>, OpError>;

/// Inputs of an embedding, as floats.
struct Tables {
    words: ValueId,
    positions: ValueId,
    /// Segments and their table.
    segments: Option<(ValueId, ValueId)>,
    scale: ValueId,
    bias: ValueId,
    mask: Option<ValueId>,
    position_ids: Option<ValueId>,
}

fn normalised(e: &mut Expansion<'_>, a: &Attrs<'_>, t: &Tables) -> Made {
    let epsilon = ("epsilon", Attr::Float(a.float_or("epsilon", 1e-12)?));
    let ids = e.need(0)?;
    let words = e.op("Gather", &[t.words, ids], &[]);
    let positions = match t.position_ids {
        Some(ids) => e.op("Gather", &[t.positions, ids], &[]),
        None => {
            let (zero, length) = (e.ints(&[0]), e.shape(ids, 1, 2));
            e.op("Slice", &[t.positions, zero, length, zero], &[])
        }
    };
    let mut sum = e.op("Add", &[words, positions], &[]);
    if let Some((ids, table)) = t.segments {
        let segments = e.op("Gather", &[table, ids], &[]);
        sum = e.op("Add", &[sum, segments], &[]);
    }
    let y = e.op("LayerNormalization", &[sum, t.scale, t.bias], &[("axis", Attr::Int(-1)), epsilon]);
    if !e.wants(1) && !e.wants(2) {
        return Ok(vec![y]);
    }
    // How many words of each sequence are none of the padding.
    let index = match t.mask {
        Some(mask) => {
            let axes = e.ints(&[1]);
            let int = e.op("Cast", &[mask], &[("to", Attr::Int(i64::from(DType::I32.to_onnx())))]);
            e.op("ReduceSum", &[int, axes], &[("keepdims", Attr::Int(0))])
        }
        None => {
            let batch = e.shape(ids, 0, 1);
            let zero = Attr::Tensor(Tensor::from_vec(&[1], vec![0i32]));
            e.op("ConstantOfShape", &[batch], &[("value", zero)])
        }
    };
    Ok(vec![y, index, sum])
}

pub(super) fn embed(e: &mut Expansion<'_>, a: &Attrs<'_>) -> Made {
    a.ignore("mask_index_type");
    let segments = match (e.get(1), e.get(4)) {
        (Some(ids), Some(table)) => Some((ids, table)),
        _ => None,
    };
    let tables = Tables {
        words: e.need(2)?,
        positions: e.need(3)?,
        segments,
        scale: e.need(5)?,
        bias: e.need(6)?,
        mask: e.get(7),
        position_ids: e.get(8),
    };
    normalised(e, a, &tables)
}

/// Tables in 8 bits: inputs 2 to 6, whose scales are inputs 8 to 12 and whose zero points are inputs 13 to 17.
pub(super) fn quantized(e: &mut Expansion<'_>, a: &Attrs<'_>) -> Made {
    let mut table = |i: usize| {
        let inputs = [Some(e.need(i)?), Some(e.need(i + 6)?), e.get(i + 11)];
        Ok::<_, OpError>(e.op_with("DequantizeLinear", &inputs, &[]))
    };
    let (words, positions, scale, bias) = (table(2)?, table(3)?, table(5)?, table(6)?);
    let segments = match (a.has_input(1), a.has_input(4)) {
        (true, true) => Some(table(4)?),
        _ => None,
    };
    let segments = segments.map(|t| Ok::<_, OpError>((e.need(1)?, t))).transpose()?;
    let mask = e.get(7);
    normalised(e, a, &Tables { words, positions, segments, scale, bias, mask, position_ids: None })
}

pub(super) fn bias_gelu(e: &mut Expansion<'_>, _: &Attrs<'_>) -> Made {
    let (x, bias) = (e.need(0)?, e.need(1)?);
    let sum = e.op("Add", &[x, bias], &[]);
    Ok(vec![e.op("Gelu", &[sum], &[])])
}

pub(super) fn fast_gelu(e: &mut Expansion<'_>, _: &Attrs<'_>) -> Made {
    let (x, bias) = (e.need(0)?, e.get(1));
    let sum = e.plus(x, bias);
    Ok(vec![e.op("Gelu", &[sum], &[("approximate", string("tanh"))])])
}

pub(super) fn trilu(e: &mut Expansion<'_>, a: &Attrs<'_>) -> Made {
    let inputs = [Some(e.need(0)?), e.get(1)];
    Ok(vec![e.op_with("Trilu", &inputs, &[("upper", Attr::Int(a.int_or("upper", 1)?))])])
}
