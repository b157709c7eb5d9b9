//! Broadcasting as ONNX and NumPy define it, planned once from the shapes.

use std::ops::Range;

use crate::pool::Pool;
use crate::shape::{numel, strides};

/// How `N` operands are read to make one broadcast output.
///
/// Dimensions of 1 are dropped and neighbours that every operand walks alike are merged, so that equal shapes become one
/// dimension, a scalar operand a stride of 0, and a bias `[N]` over `[..., N]` two dimensions. In the innermost dimension each
/// operand is then either contiguous or constant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broadcast<const N: usize = 2> {
    out_shape: Vec<usize>,
    dims: Vec<usize>,
    strides: [Vec<usize>; N],
    lens: [usize; N],
    len: usize,
}

impl Broadcast<2> {
    /// The plan for two shapes; `None` if they do not broadcast or their sizes overflow.
    pub fn new(a: &[usize], b: &[usize]) -> Option<Self> {
        Broadcast::of([a, b])
    }
}

impl<const N: usize> Broadcast<N> {
    /// The plan for `N` shapes; `None` if they do not broadcast or their sizes overflow.
    pub fn of(shapes: [&[usize]; N]) -> Option<Self> {
        let rank = shapes.iter().map(|s| s.len()).max().unwrap_or(0);
        let dim = |s: &[usize], d: usize| (d + s.len()).checked_sub(rank).map_or(1, |i| s[i]);
        let mut out_shape = vec![1usize; rank];
        for (d, out) in out_shape.iter_mut().enumerate() {
            for size in shapes.iter().map(|s| dim(s, d)).filter(|&n| n != 1) {
                if *out != 1 && *out != size {
                    return None;
                }
                *out = size;
            }
        }
        let len = numel(&out_shape).ok()?;
        let mut lens = [0; N];
        for (len, s) in lens.iter_mut().zip(shapes) {
            *len = numel(s).ok()?;
        }
        let full = shapes.map(|s| {
            let own = strides(s);
            let stride = |d: usize| (d + s.len()).checked_sub(rank).map_or(0, |i| if s[i] == 1 { 0 } else { own[i] });
            (0..rank).map(stride).collect::<Vec<_>>()
        });
        let mut plan = Broadcast { out_shape, dims: vec![], strides: [const { Vec::new() }; N], lens, len };
        for d in (0..rank).filter(|&d| plan.out_shape[d] != 1).collect::<Vec<_>>() {
            let n = plan.out_shape[d];
            let merges =
                len > 0 && !plan.dims.is_empty() && (0..N).all(|k| plan.strides[k].last() == Some(&(full[k][d] * n)));
            if merges {
                *plan.dims.last_mut()? *= n;
                for k in 0..N {
                    *plan.strides[k].last_mut()? = full[k][d];
                }
            } else {
                plan.dims.push(n);
                for k in 0..N {
                    plan.strides[k].push(full[k][d]);
                }
            }
        }
        Some(plan)
    }

    /// The shape of the output.
    pub fn out_shape(&self) -> &[usize] {
        &self.out_shape
    }

    /// The number of elements of the output.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True if the output has no elements.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The number of elements of operand `k`.
    pub fn operand_len(&self, k: usize) -> usize {
        self.lens[k]
    }

    /// Visits the output in parallel as contiguous runs: `f(run, starts)` with, for each operand, its elements of the run
    /// (as many as the run has, or one that serves the whole run).
    pub(crate) fn for_runs(&self, pool: &Pool, grain: usize, f: &(dyn Fn(Range<usize>, [Range<usize>; N]) + Sync)) {
        if self.is_empty() {
            return;
        }
        let inner = self.dims.last().copied().unwrap_or(1);
        let inner_stride: [usize; N] = std::array::from_fn(|k| self.strides[k].last().copied().unwrap_or(0));
        pool.for_ranges(self.len, grain, &|range| {
            let mut at = range.start;
            let mut index = vec![0; self.dims.len()];
            let mut rest = at / inner;
            let mut base = [0; N];
            for d in (0..self.dims.len().saturating_sub(1)).rev() {
                index[d] = rest % self.dims[d];
                rest /= self.dims[d];
                for k in 0..N {
                    base[k] += index[d] * self.strides[k][d];
                }
            }
            let mut skip = at % inner;
            while at < range.end {
                let n = (inner - skip).min(range.end - at);
                f(
                    at..at + n,
                    std::array::from_fn(|k| {
                        let start = base[k] + skip * inner_stride[k];
                        start..start + if inner_stride[k] == 0 { 1 } else { n }
                    }),
                );
                at += n;
                skip = 0;
                for d in (0..self.dims.len().saturating_sub(1)).rev() {
                    index[d] += 1;
                    for k in 0..N {
                        base[k] += self.strides[k][d];
                    }
                    if index[d] < self.dims[d] {
                        break;
                    }
                    for k in 0..N {
                        base[k] -= self.strides[k][d] * self.dims[d];
                    }
                    index[d] = 0;
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_broadcast_or_do_not() {
        assert_eq!(Broadcast::new(&[2, 1, 4], &[3, 1]).unwrap().out_shape(), [2, 3, 4]);
        assert_eq!(Broadcast::new(&[], &[5]).unwrap().out_shape(), [5]);
        assert_eq!(Broadcast::new(&[0, 1], &[1, 7]).unwrap().out_shape(), [0, 7]);
        assert_eq!(Broadcast::of([&[2, 1][..], &[3], &[1, 1]]).unwrap().out_shape(), [2, 3]);
        assert!(Broadcast::new(&[2], &[3]).is_none());
        assert!(Broadcast::new(&[0], &[3]).is_none());
        assert!(Broadcast::new(&[usize::MAX, 1], &[1, 3]).is_none());
    }

    #[test]
    fn dimensions_collapse() {
        assert_eq!(Broadcast::new(&[2, 3, 4], &[2, 3, 4]).unwrap().dims, [24]);
        assert_eq!(Broadcast::new(&[2, 3, 4], &[]).unwrap().dims, [24]);
        assert_eq!(Broadcast::new(&[2, 3, 4], &[4]).unwrap().dims, [6, 4]);
        assert_eq!(Broadcast::new(&[2, 3, 4, 5], &[3, 1, 1]).unwrap().dims, [2, 3, 20]);
        assert_eq!(Broadcast::new(&[2, 3, 4], &[3, 4]).unwrap().dims, [2, 12]);
    }
}
