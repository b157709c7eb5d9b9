//! Gelu from its primitives, and Silu from x * sigmoid(x).
//!
//! The error-function form is `x * (1 + erf(x / sqrt 2)) / 2`, in any order of its two products; the tanh form is
//! `x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))`.

use std::collections::BTreeMap;

use graph::{Attr, Node, ValueId};

use crate::registry::INTERNAL;
use crate::work::{NodeIx, Work};

/// Fuses every chain.
pub(super) fn run(work: &mut Work) -> usize {
    let mut fused = 0;
    for ix in 0..work.nodes.len() {
        let Some(node) = work.node(ix) else { continue };
        if !node.domain.is_empty() {
            continue;
        }
        let done = match node.op_type.as_str() {
            "Erf" => erf_form(work, ix),
            "Tanh" => tanh_form(work, ix),
            "Sigmoid" => silu(work, ix),
            _ => false,
        };
        fused += usize::from(done);
    }
    fused
}

fn near(v: Option<f32>, want: f32) -> bool {
    v.is_some_and(|v| (v - want).abs() <= want.abs() * 1e-3)
}

/// The scalar operand of a commutative node, and the other operand.
fn with_scalar(work: &Work, ix: NodeIx) -> Option<(ValueId, f32)> {
    let (a, b) = (work.input(ix, 0)?, work.input(ix, 1)?);
    match (work.scalar(a), work.scalar(b)) {
        (None, Some(s)) => Some((a, s)),
        (Some(s), None) => Some((b, s)),
        _ => None,
    }
}

fn replace(work: &mut Work, removed: &[NodeIx], last: NodeIx, op: &str, x: ValueId, tanh: bool) -> bool {
    let Some(end) = work.node(last) else { return false };
    let mut attrs = BTreeMap::new();
    if tanh {
        attrs.insert("approximate".to_owned(), Attr::String("tanh".into()));
    }
    let node = Node {
        name: end.name.clone(),
        domain: INTERNAL.into(),
        op_type: op.into(),
        inputs: vec![Some(x)],
        outputs: end.outputs.clone(),
        attrs,
        scope: end.scope.clone(),
        sources: Vec::new(),
    };
    work.fuse(removed, node)
}

/// From `1 + f` on: finds the two products with x and with 1/2, in any order.
fn outer(work: &Work, one_plus: ValueId, x: ValueId) -> Option<(Vec<NodeIx>, NodeIx)> {
    let first = work.only_reader(one_plus, &["Mul"])?;
    let other = work.other_input(first, one_plus)?;
    if near(work.scalar(other), 0.5) {
        // (1 + f) / 2 * x
        let second = work.only_reader(work.output(first, 0)?, &["Mul"])?;
        return (work.other_input(second, work.output(first, 0)?)? == x).then_some((vec![first, second], second));
    }
    if other == x {
        // x (1 + f) / 2
        let out = work.output(first, 0)?;
        let second = work.only_reader(out, &["Mul", "Div"])?;
        let (_, s) = with_scalar(work, second)?;
        let half = if work.node(second)?.op_type == "Mul" { near(Some(s), 0.5) } else { near(Some(s), 2.0) };
        return half.then_some((vec![first, second], second));
    }
    // (x / 2) (1 + f)
    let half = work.made_by(other, "Mul")?;
    let (of, s) = with_scalar(work, half)?;
    let private = work.is_private(other);
    (private && of == x && near(Some(s), 0.5)).then_some((vec![half, first], first))
}

fn erf_form(work: &mut Work, erf: NodeIx) -> bool {
    let found = (|| {
        let scaled = work.input(erf, 0)?;
        let scale = work.producer(scaled)?;
        let (x, s) = with_scalar(work, scale)?;
        let fits = match work.node(scale)?.op_type.as_str() {
            "Div" => near(Some(s), std::f32::consts::SQRT_2) && work.input(scale, 0)? == x,
            "Mul" => near(Some(s), std::f32::consts::FRAC_1_SQRT_2),
            _ => false,
        };
        let add = work.only_reader(work.output(erf, 0)?, &["Add"])?;
        let (_, one) = with_scalar(work, add)?;
        if !fits || !near(Some(one), 1.0) || !work.is_private(scaled) {
            return None;
        }
        let (outer, last) = outer(work, work.output(add, 0)?, x)?;
        Some((x, [vec![scale, erf, add], outer].concat(), last))
    })();
    found.is_some_and(|(x, removed, last)| replace(work, &removed, last, "Gelu", x, false))
}

fn tanh_form(work: &mut Work, tanh: NodeIx) -> bool {
    let found = (|| {
        // sqrt(2 / pi) * inner
        let scaled = work.input(tanh, 0)?;
        let scale = work.made_by(scaled, "Mul")?;
        let (inner, s) = with_scalar(work, scale)?;
        let sum = work.made_by(inner, "Add")?;
        if !near(Some(s), 0.797_884_6) || !work.is_private(scaled) || !work.is_private(inner) {
            return None;
        }
        // x + 0.044715 x^3
        let (a, b) = (work.input(sum, 0)?, work.input(sum, 1)?);
        let (x, cubic, product) = [(a, b), (b, a)].into_iter().find_map(|(x, c)| {
            let product = work.made_by(c, "Mul")?;
            let (cube, k) = with_scalar(work, product)?;
            let pow = work.made_by(cube, "Pow")?;
            let fits =
                near(Some(k), 0.044_715) && work.input(pow, 0)? == x && near(work.scalar(work.input(pow, 1)?), 3.0);
            (fits && work.is_private(c) && work.is_private(cube)).then_some((x, pow, product))
        })?;
        let add = work.only_reader(work.output(tanh, 0)?, &["Add"])?;
        let (_, one) = with_scalar(work, add)?;
        if !near(Some(one), 1.0) {
            return None;
        }
        let (outer, last) = outer(work, work.output(add, 0)?, x)?;
        Some((x, [vec![cubic, product, sum, scale, tanh, add], outer].concat(), last))
    })();
    found.is_some_and(|(x, removed, last)| replace(work, &removed, last, "Gelu", x, true))
}

fn silu(work: &mut Work, sigmoid: NodeIx) -> bool {
    let found = (|| {
        let x = work.input(sigmoid, 0)?;
        let s = work.output(sigmoid, 0)?;
        let mul = work.only_reader(s, &["Mul"])?;
        (work.other_input(mul, s)? == x).then_some((x, mul))
    })();
    found.is_some_and(|(x, mul)| replace(work, &[sigmoid, mul], mul, "Silu", x, false))
}
