//! Joining along an axis and taking apart again.

use crate::error::KernelError;
use crate::pool::Pool;
use crate::shape::{around, expect_bytes, numel};
use crate::split::SharedMut;

/// Bytes per parallel piece.
const GRAIN: usize = 64 << 10;

/// Joins `parts` (each a shape and its bytes; shapes may differ along `axis` only) into `y`.
pub fn concat(
    pool: &Pool,
    elem: usize,
    axis: usize,
    parts: &[(&[usize], &[u8])],
    y: &mut [u8],
) -> Result<(), KernelError> {
    let Some((first, _)) = parts.first() else {
        return Err(KernelError::setting("nothing to concatenate"));
    };
    let (outer, _, inner) = around(first, axis)?;
    let mut widths = Vec::with_capacity(parts.len());
    let mut out_shape = first.to_vec();
    out_shape[axis] = 0;
    for (shape, x) in parts {
        let same = shape.len() == first.len() && (0..shape.len()).all(|d| d == axis || shape[d] == first[d]);
        if !same {
            return Err(KernelError::shape(format!("{shape:?} and {first:?} do not join along axis {axis}")));
        }
        expect_bytes("a part", x, shape, elem)?;
        out_shape[axis] = out_shape[axis].checked_add(shape[axis]).ok_or(KernelError::TooLarge)?;
        widths.push(if x.is_empty() { 0 } else { shape[axis] * inner * elem });
    }
    expect_bytes("the output", y, &out_shape, elem)?;
    let width: usize = widths.iter().sum();
    if y.is_empty() {
        return Ok(());
    }
    let y = SharedMut::new(y);
    pool.for_ranges(outer, (GRAIN / width).max(1), &|range| {
        for o in range {
            // SAFETY: each outer index is a part of its own.
            let mut out = unsafe { y.slice(o * width..(o + 1) * width) };
            for (&w, (_, x)) in widths.iter().zip(parts) {
                let (to, rest) = out.split_at_mut(w);
                to.copy_from_slice(&x[o * w..(o + 1) * w]);
                out = rest;
            }
        }
    });
    Ok(())
}

/// Splits x along `axis` into `parts` (each the size along the axis, and where it goes); the sizes must add up.
pub fn split(
    pool: &Pool,
    elem: usize,
    shape: &[usize],
    axis: usize,
    x: &[u8],
    parts: &mut [(usize, &mut [u8])],
) -> Result<(), KernelError> {
    let (outer, n, inner) = around(shape, axis)?;
    expect_bytes("the input", x, shape, elem)?;
    let total = parts.iter().try_fold(0usize, |sum, p| sum.checked_add(p.0));
    if total != Some(n) {
        return Err(KernelError::shape(format!("parts of {total:?} along axis {axis} of {shape:?}")));
    }
    let width = if x.is_empty() { 0 } else { n * inner * elem };
    let mut start = 0;
    for (size, part) in parts {
        let mut part_shape = shape.to_vec();
        part_shape[axis] = *size;
        expect_bytes("a part", part, &part_shape, elem)?;
        if numel(&part_shape)? == 0 {
            continue;
        }
        let (w, from) = (*size * inner * elem, start);
        start += w;
        let part = SharedMut::new(part);
        pool.for_ranges(outer, (GRAIN / w).max(1), &|range| {
            for o in range {
                // SAFETY: each outer index is a part of its own.
                let to = unsafe { part.slice(o * w..(o + 1) * w) };
                to.copy_from_slice(&x[o * width + from..o * width + from + w]);
            }
        });
    }
    Ok(())
}
