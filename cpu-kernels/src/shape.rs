//! Arithmetic on shapes: sizes, strides, axes, and walking a strided index space.

use crate::error::KernelError;

/// The number of elements; fails on overflow. A zero dimension does not excuse an overflow in the others.
pub fn numel(shape: &[usize]) -> Result<usize, KernelError> {
    let n =
        shape.iter().filter(|&&d| d != 0).try_fold(1usize, |n, &d| n.checked_mul(d)).ok_or(KernelError::TooLarge)?;
    Ok(if shape.contains(&0) { 0 } else { n })
}

/// Strides in elements of a dense tensor in C order.
pub fn strides(shape: &[usize]) -> Vec<usize> {
    let mut s = vec![1usize; shape.len()];
    for d in (1..shape.len()).rev() {
        s[d - 1] = s[d].saturating_mul(shape[d].max(1));
    }
    s
}

/// An axis as an index into a shape of `rank` dimensions; negative ones count from the end.
pub fn resolve_axis(axis: i64, rank: usize) -> Result<usize, KernelError> {
    let a = if axis < 0 { axis.checked_add_unsigned(rank as u64) } else { Some(axis) };
    a.filter(|&a| a >= 0 && (a as u64) < rank as u64)
        .map(|a| a as usize)
        .ok_or(KernelError::AxisOutOfRange { axis, rank })
}

/// An index along a dimension of `size`; negative ones count from the end.
#[inline]
pub(crate) fn resolve_index(index: i64, size: usize) -> Result<usize, KernelError> {
    let i = if index < 0 { index.wrapping_add(size as i64) } else { index };
    if i >= 0 && (i as u64) < size as u64 { Ok(i as usize) } else { Err(KernelError::IndexOutOfRange { index, size }) }
}

/// The product of the dimensions before `axis`, the dimension, the product of those after it.
pub(crate) fn around(shape: &[usize], axis: usize) -> Result<(usize, usize, usize), KernelError> {
    if axis >= shape.len() {
        return Err(KernelError::AxisOutOfRange { axis: axis as i64, rank: shape.len() });
    }
    Ok((numel(&shape[..axis])?, shape[axis], numel(&shape[axis + 1..])?))
}

/// An element count in bytes, and a check that `data` is exactly as long.
pub(crate) fn expect_bytes(what: &str, data: &[u8], shape: &[usize], elem: usize) -> Result<(), KernelError> {
    let want = numel(shape)?.checked_mul(elem).ok_or(KernelError::TooLarge)?;
    if data.len() == want {
        Ok(())
    } else {
        Err(KernelError::Shape(format!(
            "{what} has {} bytes, shape {shape:?} of {elem}-byte elements needs {want}",
            data.len()
        )))
    }
}

/// Walks the indices of a space in C order, keeping `N` strided offsets.
pub(crate) struct Walk<'a, const N: usize> {
    shape: &'a [usize],
    strides: [&'a [isize]; N],
    index: Vec<usize>,
    /// The offset of the present index in each operand.
    pub at: [isize; N],
}

impl<'a, const N: usize> Walk<'a, N> {
    /// Starts at the `start`-th index.
    pub fn new(shape: &'a [usize], strides: [&'a [isize]; N], start: usize) -> Self {
        let mut index = vec![0; shape.len()];
        let mut rest = start;
        let mut at = [0; N];
        for d in (0..shape.len()).rev() {
            index[d] = rest % shape[d].max(1);
            rest /= shape[d].max(1);
            for k in 0..N {
                at[k] += index[d] as isize * strides[k][d];
            }
        }
        Walk { shape, strides, index, at }
    }

    /// Goes to the next index (after the last, back to the first).
    #[inline]
    pub fn step(&mut self) {
        for d in (0..self.shape.len()).rev() {
            self.index[d] += 1;
            let wrapped = self.index[d] == self.shape[d];
            let by = if wrapped { 1 - self.shape[d] as isize } else { 1 };
            for k in 0..N {
                self.at[k] += by * self.strides[k][d];
            }
            if !wrapped {
                return;
            }
            self.index[d] = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_axes_and_indices_are_checked() {
        assert_eq!(numel(&[2, 3]), Ok(6));
        assert_eq!(numel(&[]), Ok(1));
        assert_eq!(numel(&[0, usize::MAX, 2]), Err(KernelError::TooLarge));
        assert_eq!(resolve_axis(-1, 3), Ok(2));
        assert!(resolve_axis(3, 3).is_err() && resolve_axis(i64::MIN, 3).is_err() && resolve_axis(0, 0).is_err());
        assert_eq!(resolve_index(-2, 5), Ok(3));
        assert!(resolve_index(5, 5).is_err() && resolve_index(-6, 5).is_err() && resolve_index(i64::MIN, 5).is_err());
        assert_eq!(strides(&[2, 3, 4]), [12, 4, 1]);
    }

    #[test]
    fn a_walk_visits_every_index_once_from_any_start() {
        let (shape, s) = ([2usize, 3, 2], [-6isize, 2, 1]);
        let all: Vec<isize> = (0..12).map(|i| -6 * (i / 6) + 2 * (i / 2 % 3) + i % 2).collect();
        for start in 0..12 {
            let mut w = Walk::new(&shape, [&s], start);
            for &want in &all[start..] {
                assert_eq!(w.at[0], want);
                w.step();
            }
        }
    }
}
