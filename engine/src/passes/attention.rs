//! Scaled dot-product attention from its chain: `softmax(scale q k^T + mask) v`, with the transposes around it absorbed into
//! strides and the scale gathered from wherever the exporter put it.

use std::collections::BTreeMap;

use graph::{Attr, DType, Node, ValueId};

use crate::registry::INTERNAL;
use crate::work::{NodeIx, Work};

/// Fuses every chain.
pub(super) fn run(work: &mut Work) -> usize {
    let mut fused = 0;
    for ix in 0..work.nodes.len() {
        if work.node(ix).is_some_and(|n| n.domain.is_empty() && n.op_type == "Softmax") {
            fused += usize::from(one(work, ix));
        }
    }
    fused
}

/// An operand as the kernel reads it.
struct Operand {
    value: ValueId,
    /// True if it is [batch, sequence, heads, width], false if [batch, heads, sequence, width].
    sequence_first: bool,
}

/// What was found around a softmax.
struct Found {
    q: Operand,
    k: Operand,
    v: Operand,
    mask: Option<ValueId>,
    scale: f32,
    out: ValueId,
    out_sequence_first: bool,
    removed: Vec<NodeIx>,
    last: NodeIx,
}

fn perm(work: &Work, ix: NodeIx) -> Option<Vec<i64>> {
    match work.node(ix)?.attrs.get("perm") {
        Some(Attr::Ints(p)) => Some(p.clone()),
        _ => None,
    }
}

/// Follows `v` up through a product with (or a division by) a scalar constant; gives the operand and the factor.
fn scaled(work: &Work, v: ValueId) -> Option<(ValueId, f32, NodeIx)> {
    let ix = work.producer(v)?;
    let node = work.node(ix)?;
    if !node.domain.is_empty() || !work.is_private(v) {
        return None;
    }
    let (a, b) = (work.input(ix, 0)?, work.input(ix, 1)?);
    match (node.op_type.as_str(), work.scalar(a), work.scalar(b)) {
        ("Mul", None, Some(s)) => Some((a, s, ix)),
        ("Mul", Some(s), None) => Some((b, s, ix)),
        ("Div", None, Some(s)) if s != 0.0 => Some((a, 1.0 / s, ix)),
        _ => None,
    }
}

/// Takes the transpose [0, 2, 1, 3] above `v` off, if nobody else reads it.
fn sequence_first(work: &Work, v: ValueId, removed: &mut Vec<NodeIx>) -> Operand {
    let taken = (|| {
        let ix = work.made_by(v, "Transpose")?;
        (perm(work, ix)? == [0, 2, 1, 3] && work.is_private(v)).then_some((ix, work.input(ix, 0)?))
    })();
    match taken {
        Some((ix, value)) => {
            removed.push(ix);
            Operand { value, sequence_first: true }
        }
        None => Operand { value: v, sequence_first: false },
    }
}

/// What a product multiplies by and whether it transposes its second operand, as those have it that were fused when the file was
/// written. `None` if it transposes the first.
fn product(work: &Work, ix: NodeIx) -> Option<(f32, bool)> {
    let attrs = &work.node(ix)?.attrs;
    let set = |name: &str| matches!(attrs.get(name), Some(Attr::Int(v)) if *v != 0);
    let alpha = if let Some(Attr::Float(a)) = attrs.get("alpha") { *a } else { 1.0 };
    (!set("transA")).then_some((alpha, set("transB")))
}

fn find(work: &Work, softmax: NodeIx) -> Option<Found> {
    let mut removed = vec![softmax];
    let mut scale = 1.0f32;
    let scores = work.input(softmax, 0)?;
    let rank = work.shape(scores)?.len();
    let axis = match work.node(softmax)?.attrs.get("axis") {
        Some(Attr::Int(a)) => *a,
        _ => -1,
    };
    if rank != 4
        || (axis != -1 && axis != 3)
        || !matches!(work.fact(scores)?.dtype, DType::F32 | DType::F16 | DType::BF16)
        || !work.is_private(scores)
    {
        return None;
    }
    // scores = [scale] q kT [+ mask]
    let mut at = scores;
    let mut mask = None;
    if let Some(add) = work.made_by(at, "Add") {
        let (a, b) = (work.input(add, 0)?, work.input(add, 1)?);
        let is_product = |v: ValueId| {
            let below = scaled(work, v).map_or(v, |s| s.0);
            work.made_by(below, "MatMul").is_some() && work.is_private(v)
        };
        let (product, other) = if is_product(a) { (a, b) } else { (b, a) };
        if !is_product(product) {
            return None;
        }
        mask = Some(other);
        removed.push(add);
        at = product;
    }
    if let Some((below, s, ix)) = scaled(work, at) {
        scale *= s;
        removed.push(ix);
        at = below;
    }
    let qk = work.made_by(at, "MatMul")?;
    if !work.is_private(at) {
        return None;
    }
    let (alpha, k_as_it_is) = product(work, qk)?;
    scale *= alpha;
    removed.push(qk);
    let (mut q, mut kt) = (work.input(qk, 0)?, work.input(qk, 1)?);
    if let Some((below, s, ix)) = scaled(work, q) {
        scale *= s;
        removed.push(ix);
        q = below;
    }
    let q = sequence_first(work, q, &mut removed);
    // kT = [scale] transpose([scale] k)
    if let Some((below, s, ix)) = scaled(work, kt) {
        scale *= s;
        removed.push(ix);
        kt = below;
    }
    let k = match k_as_it_is {
        true => sequence_first(work, kt, &mut removed),
        false => transposed_keys(work, kt, &mut scale, &mut removed)?,
    };
    // softmax v
    let probabilities = work.output(softmax, 0)?;
    let pv = work.only_reader(probabilities, &["MatMul"])?;
    if work.input(pv, 0)? != probabilities || product(work, pv)? != (1.0, false) {
        return None;
    }
    removed.push(pv);
    let v = sequence_first(work, work.input(pv, 1)?, &mut removed);
    let mut out = work.output(pv, 0)?;
    let mut last = pv;
    let mut out_sequence_first = false;
    if let Some(t) = work.only_reader(out, &["Transpose"])
        && perm(work, t)? == [0, 2, 1, 3]
    {
        removed.push(t);
        out = work.output(t, 0)?;
        last = t;
        out_sequence_first = true;
    }
    for o in [&q, &k, &v] {
        if work.shape(o.value)?.len() != 4 {
            return None;
        }
    }
    Some(Found { q, k, v, mask, scale, out, out_sequence_first, removed, last })
}

/// The keys below `kt`, which is `transpose([scale] k)`.
fn transposed_keys(work: &Work, kt: ValueId, scale: &mut f32, removed: &mut Vec<NodeIx>) -> Option<Operand> {
    let transpose = work.made_by(kt, "Transpose").filter(|_| work.is_private(kt))?;
    removed.push(transpose);
    let k = work.input(transpose, 0)?;
    match perm(work, transpose)?[..] {
        [0, 1, 3, 2] => {
            let (below, s, ix) = scaled(work, k).map_or((k, 1.0, None), |(below, s, ix)| (below, s, Some(ix)));
            *scale *= s;
            removed.extend(ix);
            Some(sequence_first(work, below, removed))
        }
        [0, 2, 3, 1] => Some(Operand { value: k, sequence_first: true }),
        _ => None,
    }
}

fn one(work: &mut Work, softmax: NodeIx) -> bool {
    let Some(f) = find(work, softmax) else { return false };
    let Some(place) = work.node(f.last) else { return false };
    let Some(name) = work.node(softmax).map(|n| (n.name.clone(), n.scope.clone())) else { return false };
    let flag = |b: bool| Attr::Int(b.into());
    let node = Node {
        name: name.0,
        domain: INTERNAL.into(),
        op_type: "Attention".into(),
        inputs: vec![Some(f.q.value), Some(f.k.value), Some(f.v.value), f.mask],
        outputs: vec![Some(f.out)],
        attrs: BTreeMap::from([
            ("scale".to_owned(), Attr::Float(f.scale)),
            ("q_sequence_first".to_owned(), flag(f.q.sequence_first)),
            ("k_sequence_first".to_owned(), flag(f.k.sequence_first)),
            ("v_sequence_first".to_owned(), flag(f.v.sequence_first)),
            ("out_sequence_first".to_owned(), flag(f.out_sequence_first)),
        ]),
        scope: if name.1.is_empty() { place.scope.clone() } else { name.1 },
        sources: Vec::new(),
    };
    work.fuse(&f.removed, node)
}
