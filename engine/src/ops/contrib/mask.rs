//! The masks of com.microsoft's attentions as numbers to add to the scores.

use graph::DType;

use crate::attrs::Attrs;
use crate::op::{Fact, Inputs, OpClass, OpDef, OpError, Operator, RunCx, checked_numel};
use crate::ops::util;
use crate::registry::INTERNAL;

/// Inputs are the mask, the queries, the new keys, the keys of the past (optional) and a bias of the scores (optional).
pub(crate) const OPS: &[OpDef] = &[OpDef { domain: INTERNAL, name: "AttentionMask", opsets: (1, 1), read }];

#[derive(Debug)]
struct AttentionMask {
    /// What hidden keys get.
    filter: f32,
}

fn read(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(AttentionMask { filter: a.float_or("mask_filter_value", -10000.0)? }))
}

/// What a mask says, by its shape.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Form {
    /// The number of keys of each sequence.
    Lengths,
    /// The ends of all sequences, and then their starts.
    EndsAndStarts,
    /// For each sequence which keys are seen.
    Keys,
    /// The same for each query.
    Queries,
    /// The same by position, for as many as the longest sequence has.
    Positions(usize),
}

#[derive(Debug)]
struct Sizes {
    form: Form,
    batch: usize,
    kv_len: usize,
    past: usize,
    /// Of the output: what broadcasts to [batch, heads, queries, keys].
    full: [usize; 4],
    bias: Option<[usize; 4]>,
}

fn sizes(
    mask: &[usize],
    q: &[usize],
    k: &[usize],
    past: Option<&[usize]>,
    bias: Option<&[usize]>,
) -> Result<Sizes, OpError> {
    let fail = || {
        OpError::unsupported(format!(
            "a mask of {mask:?} and a bias of {bias:?} for queries {q:?}, keys {k:?}, past {past:?}"
        ))
    };
    let &[batch, q_len, _] = q else { return Err(fail()) };
    let len = match *k {
        [_, len, _] | [_, _, len, _] => len,
        _ => return Err(fail()),
    };
    let past = past.map_or(Some(0), |p| p.get(2).copied()).ok_or_else(fail)?;
    let kv_len = len.checked_add(past).ok_or_else(fail)?;
    let form = match *mask {
        [n] if n == batch => Form::Lengths,
        [n] if Some(n) == batch.checked_mul(2) => Form::EndsAndStarts,
        [b, t] if [b, t] == [batch, kv_len] => Form::Keys,
        [b, s, t] if [b, s, t] == [batch, q_len, kv_len] => Form::Queries,
        [b, 1, m, n] if b == batch && m == n && n >= kv_len && past + q_len <= m => Form::Positions(m),
        _ => return Err(fail()),
    };
    let rows = if matches!(form, Form::Queries | Form::Positions(_)) { q_len } else { 1 };
    let mut full = [batch, 1, rows, kv_len];
    let bias = bias.map(|b| <[usize; 4]>::try_from(b).map_err(|_| fail())).transpose()?;
    if let Some(b) = bias {
        let joint = util::broadcast(&[&full, &b])?;
        full = joint.as_slice().try_into().map_err(|_| fail())?;
        if full[0] != batch || full[3] != kv_len || (full[2] != 1 && full[2] != q_len) {
            return Err(fail());
        }
    }
    Ok(Sizes { form, batch, kv_len, past, full, bias })
}

impl Sizes {
    fn hidden(&self, mask: &[i64], b: usize, i: usize, j: usize) -> bool {
        let key = j as i64;
        match self.form {
            Form::Lengths => key >= mask[b],
            Form::EndsAndStarts => key >= mask[b] || key < mask[self.batch + b],
            Form::Keys => mask[b * self.kv_len + j] <= 0,
            Form::Queries => mask[(b * self.full[2] + i) * self.kv_len + j] <= 0,
            Form::Positions(m) => mask[(b * m + self.past + i) * m + j] <= 0,
        }
    }
}

impl Operator for AttentionMask {
    fn class(&self) -> OpClass {
        OpClass::Elementwise
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        let shape = |i: usize| inputs.shape(i).map(|s| s.unwrap_or(&[]));
        let optional = |i: usize| inputs.get(i).and_then(|f| f.shape.as_deref());
        let s = sizes(shape(0)?, shape(1)?, shape(2)?, optional(3), optional(4))?;
        Ok(vec![Fact::new(DType::F32, s.full.to_vec())])
    }

    fn dtypes(&self, _: &Inputs<'_>) -> Result<Vec<DType>, OpError> {
        Ok(vec![DType::F32])
    }

    fn widens(&self) -> bool {
        true
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let shape = |i: usize| cx.get(i).map(|t| t.shape);
        let mask = cx.input(0)?;
        let s = sizes(mask.shape, cx.input(1)?.shape, cx.input(2)?.shape, shape(3), shape(4))?;
        let mask = mask.to_i64()?;
        let bias = cx.get(4).map(|t| t.f32()).transpose()?;
        let own = s.bias.unwrap_or([0; 4]);
        let steps = util::strides(&own);
        let step = |d: usize, i: usize| if own[d] == 1 { 0 } else { i * steps[d] };
        let out = cx.out::<f32>(0)?;
        if checked_numel(&s.full) != Some(out.len()) {
            return Err(OpError::invalid("a mask of another size than planned"));
        }
        let [_, heads, rows, keys] = s.full;
        for (at, y) in out.iter_mut().enumerate() {
            let (j, i, h, b) = (at % keys, at / keys % rows, at / keys / rows % heads, at / keys / rows / heads);
            *y = if s.hidden(&mask, b, i, j) { self.filter } else { 0.0 };
            if let Some(bias) = bias {
                *y += bias[step(0, b) + step(1, h) + step(2, i) + step(3, j)];
            }
        }
        Ok(())
    }

    fn kernel(&self) -> String {
        "attention mask".into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_are_told_by_their_shapes() {
        let (q, k) = ([2usize, 3, 8], [2usize, 3, 8]);
        let past = [2usize, 4, 5, 2];
        let form = |mask: &[usize]| sizes(mask, &q, &k, Some(&past), None).map(|s| (s.form, s.full));
        assert_eq!(form(&[2]).unwrap(), (Form::Lengths, [2, 1, 1, 8]));
        assert_eq!(form(&[4]).unwrap(), (Form::EndsAndStarts, [2, 1, 1, 8]));
        assert_eq!(form(&[2, 8]).unwrap(), (Form::Keys, [2, 1, 1, 8]));
        assert_eq!(form(&[2, 3, 8]).unwrap(), (Form::Queries, [2, 1, 3, 8]));
        assert_eq!(form(&[2, 1, 9, 9]).unwrap(), (Form::Positions(9), [2, 1, 3, 8]));
        for bad in [&[3usize][..], &[8], &[2, 3], &[2, 3, 3], &[2, 1, 7, 7], &[]] {
            assert!(form(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_bias_widens_the_mask() {
        let s = |bias: &[usize]| sizes(&[2, 3], &[2, 3, 8], &[2, 3, 8], None, Some(bias)).map(|s| s.full);
        assert_eq!(s(&[1, 4, 3, 3]).unwrap(), [2, 4, 3, 3]);
        assert!(s(&[3, 4, 3, 3]).is_err());
        assert!(s(&[3, 3]).is_err());
    }
}
