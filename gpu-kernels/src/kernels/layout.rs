//! Shapes and strides of broadcast and strided operands, as few dimensions as they need.

use crate::GpuError;

/// Shaders step through at most this many dimensions.
pub(crate) const MAX_RANK: usize = 8;

/// A shape with the strides of some operands over it, adjacent dimensions merged where every operand allows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) shape: Vec<u32>,
    /// Strides of each operand, as two's complement.
    pub(crate) strides: Vec<Vec<u32>>,
}

/// Row-major strides.
pub(crate) fn dense(shape: &[u32]) -> Vec<i64> {
    let mut strides = vec![1i64; shape.len()];
    for d in (0..shape.len().saturating_sub(1)).rev() {
        strides[d] = strides[d + 1].saturating_mul(i64::from(shape[d + 1]));
    }
    strides
}

/// The strides by which an operand of `shape` is read for an output of `out`: NumPy's broadcasting.
pub(crate) fn broadcast(kernel: &str, shape: &[u32], out: &[u32]) -> Result<Vec<i64>, GpuError> {
    let fail = || GpuError::argument(kernel, format!("{shape:?} does not broadcast to {out:?}"));
    let lead = out.len().checked_sub(shape.len()).ok_or_else(fail)?;
    let own = dense(shape);
    let mut strides = vec![0; out.len()];
    for d in 0..shape.len() {
        match shape[d] {
            n if n == out[lead + d] => strides[lead + d] = if n == 1 { 0 } else { own[d] },
            1 => {}
            _ => return Err(fail()),
        }
    }
    Ok(strides)
}

/// The smallest and largest offset that strides reach from `start`, for a shape with elements.
pub(crate) fn reach(shape: &[u32], strides: &[i64], start: i64) -> Option<(i64, i64)> {
    let (mut low, mut high) = (start, start);
    for (&n, &s) in shape.iter().zip(strides) {
        let last = i64::from(n).checked_sub(1)?.checked_mul(s)?;
        (low, high) = (low.checked_add(last.min(0))?, high.checked_add(last.max(0))?);
    }
    Some((low, high))
}

/// Merges what can be merged. All strides have the shape's length; the shape has no zero.
pub(crate) fn merge(kernel: &str, shape: &[u32], strides: &[Vec<i64>]) -> Result<Layout, GpuError> {
    let mut dims: Vec<(u32, Vec<i64>)> = Vec::new();
    for d in 0..shape.len() {
        if shape[d] == 1 {
            continue;
        }
        let here: Vec<i64> = strides.iter().map(|s| s[d]).collect();
        let merged = dims.last_mut().and_then(|(n, outer)| {
            let fits = outer.iter().zip(&here).all(|(&o, &h)| Some(o) == h.checked_mul(i64::from(shape[d])));
            let total = n.checked_mul(shape[d]).filter(|_| fits)?;
            *n = total;
            outer.clone_from(&here);
            Some(())
        });
        if merged.is_none() {
            dims.push((shape[d], here));
        }
    }
    if dims.is_empty() {
        dims.push((1, vec![0; strides.len()]));
    }
    if dims.len() > MAX_RANK {
        return Err(GpuError::argument(
            kernel,
            format!("{shape:?} needs {} dimensions; at most {MAX_RANK}", dims.len()),
        ));
    }
    let wrap =
        |s: i64| i32::try_from(s).map(|s| s as u32).map_err(|_| GpuError::argument(kernel, "a stride is too large"));
    Ok(Layout {
        shape: dims.iter().map(|d| d.0).collect(),
        strides: (0..strides.len())
            .map(|operand| dims.iter().map(|d| wrap(d.1[operand])).collect())
            .collect::<Result<_, _>>()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_shapes_become_one_dimension() {
        let s = [2, 3, 4];
        let l = merge("k", &s, &[dense(&s), dense(&s)]).unwrap();
        assert_eq!(l, Layout { shape: vec![24], strides: vec![vec![1], vec![1]] });
    }

    #[test]
    fn broadcasts_keep_as_few_dimensions_as_they_need() {
        let out = [2, 3, 4];
        let b = broadcast("k", &[4], &out).unwrap();
        let l = merge("k", &out, &[dense(&out), b]).unwrap();
        assert_eq!(l, Layout { shape: vec![6, 4], strides: vec![vec![4, 1], vec![0, 1]] });
        let b = broadcast("k", &[3, 1], &out).unwrap();
        assert_eq!(merge("k", &out, &[dense(&out), b]).unwrap().shape, [2, 3, 4]);
        assert_eq!(broadcast("k", &[], &out).unwrap(), [0, 0, 0]);
        assert!(broadcast("k", &[2], &out).is_err());
        assert!(broadcast("k", &[1, 2, 3, 4], &out).is_err());
    }

    #[test]
    fn reach_sees_both_ends() {
        assert_eq!(reach(&[3, 4], &[4, -1], 3), Some((0, 11)));
        assert_eq!(reach(&[], &[], 5), Some((5, 5)));
        assert_eq!(reach(&[u32::MAX, 2], &[i64::MAX, 1], 0), None);
    }

    #[test]
    fn too_many_dimensions_are_an_error() {
        let shape = [2; 17];
        let strides: Vec<i64> = (0..17).map(|i| 1000 - i * 3).collect();
        assert!(merge("k", &shape, &[strides]).is_err());
    }
}
