//! Tensors of any type, strings included, joined along an axis and cut apart again: for sequences and scans.

use bytes::Bytes;
use graph::{DType, Tensor};

use crate::op::OpError;
use crate::ops::util;

/// Joins tensors of one type along an axis, which is new if `stack`. Other dimensions must agree.
pub(crate) fn join(items: &[Tensor], axis: usize, stack: bool) -> Result<Tensor, OpError> {
    let Some(first) = items.first() else { return Err(OpError::invalid("nothing to join")) };
    let (dtype, like) = (first.dtype(), first.shape());
    let ranks = like.len() + usize::from(stack);
    if axis >= ranks {
        return Err(OpError::invalid(format!("axis {axis} is outside rank {ranks}")));
    }
    let mut length = 0usize;
    for t in items {
        if !t.is_tensor() || t.dtype() != dtype {
            return Err(OpError::invalid("only tensors of one type can be joined"));
        }
        let fits = |(d, (a, b)): (usize, (&usize, &usize))| a == b || (!stack && d == axis);
        if t.shape().len() != like.len() || !t.shape().iter().zip(like).enumerate().all(fits) {
            return Err(OpError::invalid(format!("shapes {like:?} and {:?} can't be joined", t.shape())));
        }
        length = length.saturating_add(if stack { 1 } else { t.shape()[axis] });
    }
    let mut shape = like.to_vec();
    match stack {
        true => shape.insert(axis, length),
        false => shape[axis] = length,
    }
    let outer: usize = like[..axis].iter().product();
    let block = |t: &Tensor| t.shape()[axis..].iter().product::<usize>();
    let sized = |t: Result<Tensor, graph::TensorError>| t.map_err(|e| OpError::invalid(e.to_string()));
    if dtype == DType::String {
        let rows = (0..outer).flat_map(|o| items.iter().map(move |t| (o, t)));
        let strings = rows.flat_map(|(o, t)| t.strings()[o * block(t)..(o + 1) * block(t)].iter().cloned());
        return sized(Tensor::from_strings(shape, strings.collect()));
    }
    let elem = util::elem_bytes(dtype)?;
    let mut data = Vec::with_capacity(items.iter().map(|t| t.bytes().len()).sum());
    for o in 0..outer {
        for t in items {
            let n = block(t) * elem;
            data.extend_from_slice(&t.bytes()[o * n..(o + 1) * n]);
        }
    }
    sized(Tensor::new(dtype, shape, Bytes::from(data)))
}

/// What joining no tensors along a new first axis gives: `item` is the shape that they would have had.
pub(crate) fn join_nothing(dtype: DType, item: Option<Vec<usize>>) -> Result<Tensor, OpError> {
    let shape: Vec<usize> = std::iter::once(0).chain(item.unwrap_or_default()).collect();
    let made = match dtype {
        DType::String => Tensor::from_strings(shape, Vec::new()),
        _ => Tensor::new(dtype, shape, Bytes::new()),
    };
    made.map_err(|e| OpError::invalid(e.to_string()))
}

/// `length` slices from `start` on along an axis; without the axis if `drop` (and then of length 1).
pub(crate) fn part(t: &Tensor, axis: usize, start: usize, length: usize, drop: bool) -> Result<Tensor, OpError> {
    let size = *t.shape().get(axis).ok_or_else(|| OpError::invalid(format!("axis {axis} of {:?}", t.shape())))?;
    if start.checked_add(length).is_none_or(|end| end > size) || (drop && length != 1) {
        return Err(OpError::invalid(format!("{length} from {start} on of axis {axis} of {:?}", t.shape())));
    }
    let mut shape = t.shape().to_vec();
    match drop {
        true => drop_axis(&mut shape, axis),
        false => shape[axis] = length,
    }
    let outer: usize = t.shape()[..axis].iter().product();
    let inner: usize = t.shape()[axis + 1..].iter().product();
    let sized = |t: Result<Tensor, graph::TensorError>| t.map_err(|e| OpError::invalid(e.to_string()));
    let range = |o: usize| (o * size + start) * inner..(o * size + start + length) * inner;
    if t.dtype() == DType::String {
        let strings = (0..outer).flat_map(|o| t.strings()[range(o)].iter().cloned());
        return sized(Tensor::from_strings(shape, strings.collect()));
    }
    let elem = util::elem_bytes(t.dtype())?;
    let bytes = |o: usize| range(o).start * elem..range(o).end * elem;
    if outer == 1 {
        return sized(Tensor::new(t.dtype(), shape, t.bytes().slice(bytes(0))));
    }
    let mut data = Vec::with_capacity(outer * length * inner * elem);
    (0..outer).for_each(|o| data.extend_from_slice(&t.bytes()[bytes(o)]));
    sized(Tensor::new(t.dtype(), shape, Bytes::from(data)))
}

fn drop_axis(shape: &mut Vec<usize>, axis: usize) {
    shape.remove(axis);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_can_be_joined_again() {
        let t = Tensor::from_vec(&[2, 3, 2], (0..12i32).collect());
        for axis in 0..3 {
            let n = t.shape()[axis];
            let cut = |drop| (0..n).map(|i| part(&t, axis, i, 1, drop).unwrap()).collect::<Vec<_>>();
            assert_eq!(join(&cut(true), axis, true).unwrap(), t);
            assert_eq!(join(&cut(false), axis, false).unwrap(), t);
        }
        let words: Vec<Bytes> = ["a", "b", "c", "d"].map(Bytes::from).to_vec();
        let s = Tensor::from_strings(vec![2, 2], words).unwrap();
        let cut = [part(&s, 1, 0, 1, true).unwrap(), part(&s, 1, 1, 1, true).unwrap()];
        assert_eq!((cut[0].strings().to_vec(), join(&cut, 1, true).unwrap()), (vec!["a".into(), "c".into()], s));
        assert_eq!(join_nothing(DType::F32, Some(vec![3])).unwrap().shape(), [0, 3]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let (a, b) = (Tensor::from_vec(&[2], vec![0f32; 2]), Tensor::from_vec(&[3], vec![0f32; 3]));
        assert!(join(&[a.clone(), b.clone()], 0, true).is_err() && join(&[a.clone(), b], 0, false).is_ok());
        assert!(join(&[], 0, true).is_err() && join(std::slice::from_ref(&a), 1, false).is_err());
        assert!(join(&[a.clone(), Tensor::from_vec(&[2], vec![0i32; 2])], 0, true).is_err());
        assert!(part(&a, 0, 1, 2, false).is_err() && part(&a, 1, 0, 1, false).is_err());
        assert!(part(&a, 0, usize::MAX, 2, false).is_err());
    }
}
