//! Attentions with their projections, biases, masks and caches, as the standard form between small nodes.

use graph::{Attr, ValueId};

use super::Expansion;
use super::products::integer_product;
use crate::attrs::Attrs;
use crate::op::OpError;
use crate::registry::INTERNAL;

type Made = Result<Vec<ValueId>, OpError>;

/// What goes into the scores besides queries and keys.
struct Extras {
    mask: Option<ValueId>,
    bias: Option<ValueId>,
    past: Option<(ValueId, ValueId)>,
}

/// The output, all keys and all values.
fn attend(e: &mut Expansion<'_>, a: &Attrs<'_>, [q, k, v]: [ValueId; 3], x: &Extras) -> Made {
    let heads = a.need_int("num_heads")?;
    if heads <= 0 {
        return Err(OpError::invalid(format!("num_heads = {heads}")));
    }
    let filter = Attr::Float(a.float_or("mask_filter_value", -10000.0)?);
    let past = x.past.map(|p| p.0);
    let mask = match x.mask {
        Some(m) => {
            let inputs = [Some(m), Some(q), Some(k), past, x.bias];
            Some(e.internal("AttentionMask", &inputs, &[("mask_filter_value", filter)]))
        }
        None => x.bias,
    };
    let mut attrs = vec![
        ("q_num_heads", Attr::Int(heads)),
        ("kv_num_heads", Attr::Int(heads)),
        ("is_causal", Attr::Int(a.int_or("unidirectional", 0)?)),
    ];
    if let Some(scale) = a.float("scale")?.filter(|&s| s != 0.0) {
        attrs.push(("scale", Attr::Float(scale)));
    }
    let inputs = [Some(q), Some(k), Some(v), mask, past, x.past.map(|p| p.1)];
    Ok(e.node(INTERNAL, "CachedAttention", &inputs, &attrs, 3))
}

/// Attention on a projection [batch, length, queries and keys and values], with keys and values of the past in one tensor.
fn on_projection(
    e: &mut Expansion<'_>,
    a: &Attrs<'_>,
    projected: ValueId,
    [mask, past, bias]: [Option<ValueId>; 3],
) -> Made {
    if a.flag("do_rotary", false)? || a.flag("past_present_share_buffer", false)? {
        return Err(OpError::unsupported("do_rotary or past_present_share_buffer"));
    }
    a.ignore("rotary_embedding_dim");
    let axis = ("axis", Attr::Int(-1));
    let parts = match a.ints("qkv_hidden_sizes")? {
        Some(sizes) => {
            let sizes = e.ints(sizes);
            e.node("", "Split", &[Some(projected), Some(sizes)], &[axis], 3)
        }
        None => e.node("", "Split", &[Some(projected)], &[axis, ("num_outputs", Attr::Int(3))], 3),
    };
    let past = past.map(|p| {
        let mut part = |i: i64| {
            let i = e.constant(graph::Tensor::scalar(i));
            e.op("Gather", &[p, i], &[("axis", Attr::Int(0))])
        };
        (part(0), part(1))
    });
    let made = attend(e, a, [parts[0], parts[1], parts[2]], &Extras { mask, bias, past })?;
    if !e.wants(1) {
        return Ok(vec![made[0]]);
    }
    let first = e.ints(&[0]);
    let keys = e.op("Unsqueeze", &[made[1], first], &[]);
    let values = e.op("Unsqueeze", &[made[2], first], &[]);
    Ok(vec![made[0], e.op("Concat", &[keys, values], &[("axis", Attr::Int(0))])])
}

pub(super) fn attention(e: &mut Expansion<'_>, a: &Attrs<'_>) -> Made {
    e.refuse(6, "past_sequence_length")?;
    let (x, w) = (e.need(0)?, e.need(1)?);
    let projected = e.op("MatMul", &[x, w], &[]);
    let bias = e.get(2);
    let projected = e.plus(projected, bias);
    let extras = [e.get(3), e.get(4), e.get(5)];
    on_projection(e, a, projected, extras)
}

pub(super) fn quantized(e: &mut Expansion<'_>, a: &Attrs<'_>) -> Made {
    let x = (e.need(0)?, e.need(3)?, e.get(6));
    let w = (e.need(1)?, e.need(4)?, e.get(7));
    let projected = integer_product(e, x, w, None);
    let bias = e.get(2);
    let projected = e.plus(projected, bias);
    let extras = [e.get(5), e.get(8), None];
    on_projection(e, a, projected, extras)
}

pub(super) fn multi_head(e: &mut Expansion<'_>, a: &Attrs<'_>) -> Made {
    e.refuse(8, "past_sequence_length: caches that share a buffer")?;
    e.refuse(9, "cache_indirection")?;
    e.refuse_output(3, "the scores as an output")?;
    let [mut q, mut k, mut v] = match (e.need(0)?, e.get(1), e.get(2)) {
        (q, Some(k), Some(v)) => [q, k, v],
        (q, Some(kv), None) => [q, part(e, kv, 0), part(e, kv, 1)],
        (qkv, None, None) => [part(e, qkv, 0), part(e, qkv, 1), part(e, qkv, 2)],
        (_, None, Some(_)) => return Err(OpError::invalid("values without keys")),
    };
    if let Some(bias) = e.get(3) {
        let two = e.ints(&[2]);
        let (zero, width, end) = (e.ints(&[0]), e.shape(q, 2, 3), e.ints(&[i64::MAX]));
        let twice = e.op("Mul", &[width, two], &[]);
        for (x, from, to) in [(&mut q, zero, width), (&mut k, width, twice), (&mut v, twice, end)] {
            let own = e.op("Slice", &[bias, from, to], &[]);
            *x = e.op("Add", &[*x, own], &[]);
        }
    }
    let past = match (e.get(6), e.get(7)) {
        (Some(k), Some(v)) => Some((k, v)),
        (None, None) => None,
        _ => return Err(OpError::invalid("past keys without past values, or the other way round")),
    };
    let extras = Extras { mask: e.get(4), bias: e.get(5), past };
    attend(e, a, [q, k, v], &extras)
}

/// Part `i` of a tensor [batch, length, heads, parts, width], with its heads side by side.
fn part(e: &mut Expansion<'_>, packed: ValueId, i: i64) -> ValueId {
    let i = e.constant(graph::Tensor::scalar(i));
    let x = e.op("Gather", &[packed, i], &[("axis", Attr::Int(3))]);
    let shape = e.ints(&[0, 0, -1]);
    e.op("Reshape", &[x, shape], &[])
}
