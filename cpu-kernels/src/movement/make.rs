//! Tensors made from parameters: ranges, one-hot rows, triangles.

use super::by_size;
use crate::error::{KernelError, expect_len};
use crate::number::Number;
use crate::shape::{around, expect_bytes, numel};

/// How many elements ONNX's Range has: max(ceil((limit - start) / delta), 0). A delta of 0 or NaN is refused.
pub fn range_len<T: Number>(start: T, limit: T, delta: T) -> Result<usize, KernelError> {
    let bad = |what: &str| KernelError::Setting(format!("a range with {what}"));
    if delta == T::ZERO {
        return Err(bad("a step of 0"));
    }
    if T::INTEGER {
        // Integers up to 64 bits need more than f64's 53: the wide types widen to i128 without loss.
        let (start, limit, delta) = (start.to_i128(), limit.to_i128(), delta.to_i128());
        let (span, step) = if delta > 0 { (limit - start, delta) } else { (start - limit, -delta) };
        let n = if span > 0 { (span + step - 1) / step } else { 0 };
        return usize::try_from(n).map_err(|_| KernelError::TooLarge);
    }
    let n = ((limit.to_f64() - start.to_f64()) / delta.to_f64()).ceil();
    if n.is_nan() {
        return Err(bad("bounds that are not numbers"));
    }
    if n > isize::MAX as f64 { Err(KernelError::TooLarge) } else { Ok(n.max(0.0) as usize) }
}

/// y[i] = start + i * delta, with as many elements as `y` has.
pub fn range<T: Number>(start: T, delta: T, y: &mut [T]) {
    let mut index = T::Wide::ZERO;
    for y in y {
        *y = if T::INTEGER {
            start.add(T::narrow(index).mul(delta))
        } else {
            T::narrow(start.widen().add(index.mul(delta.widen())))
        };
        index = index.add(T::Wide::ONE);
    }
}

/// ONNX's OneHot: a new dimension of `depth` at `axis` of the shape of `indices`, `on` where its index is the one given (negative
/// ones count from the end; those out of range give no `on`) and `off` elsewhere. `on` and `off` are the bytes of one element.
pub fn one_hot(
    elem: usize,
    indices: (&[i64], &[usize]),
    axis: usize,
    depth: usize,
    on: &[u8],
    off: &[u8],
    y: &mut [u8],
) -> Result<(), KernelError> {
    let (indices, dims) = indices;
    expect_len("the indices", indices.len(), numel(dims)?)?;
    if axis > dims.len() {
        return Err(KernelError::AxisOutOfRange { axis: axis as i64, rank: dims.len() + 1 });
    }
    let mut out = dims.to_vec();
    out.insert(axis, depth);
    let (_, _, inner) = around(&out, axis)?;
    for (what, v) in [("the on value", on), ("the off value", off)] {
        expect_bytes(what, v, &[], elem)?;
    }
    expect_bytes("the output", y, &out, elem)?;
    if y.is_empty() {
        return Ok(());
    }
    y.chunks_exact_mut(elem).for_each(|y| y.copy_from_slice(off));
    for (i, &index) in indices.iter().enumerate() {
        let hot = if index < 0 { index.checked_add_unsigned(depth as u64) } else { Some(index) };
        if let Some(hot) = hot.and_then(|h| usize::try_from(h).ok()).filter(|&h| h < depth) {
            let at = ((i / inner * depth + hot) * inner + i % inner) * elem;
            y[at..at + elem].copy_from_slice(on);
        }
    }
    Ok(())
}

/// ONNX's Trilu: the upper (else lower) triangle of the last two dimensions, counted from the `k`-th diagonal; 0 elsewhere.
pub fn trilu(elem: usize, shape: &[usize], upper: bool, k: i64, x: &[u8], y: &mut [u8]) -> Result<(), KernelError> {
    let &[.., rows, cols] = shape else {
        return Err(KernelError::shape(format!("a triangle needs two dimensions, {shape:?} has fewer")));
    };
    expect_bytes("the input", x, shape, elem)?;
    expect_bytes("the output", y, shape, elem)?;
    by_size!(elem, triangle((rows, cols), upper, k, x, y))
}

fn triangle<const E: usize>(
    (rows, cols): (usize, usize),
    upper: bool,
    k: i64,
    x: &[u8],
    y: &mut [u8],
) -> Result<(), KernelError> {
    if x.is_empty() {
        return Ok(());
    }
    let rows_of = x.as_chunks::<E>().0.chunks_exact(cols).zip(y.as_chunks_mut::<E>().0.chunks_exact_mut(cols));
    for (i, (x, y)) in rows_of.enumerate() {
        // The first column on or above the diagonal, and the first strictly above it.
        let diagonal = ((i % rows) as i128 + i128::from(k)).clamp(-1, cols as i128);
        let kept = if upper { diagonal.max(0) as usize..cols } else { 0..((diagonal + 1).min(cols as i128)) as usize };
        y.fill([0; E]);
        y[kept.clone()].copy_from_slice(&x[kept]);
    }
    Ok(())
}
