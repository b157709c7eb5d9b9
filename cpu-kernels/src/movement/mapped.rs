//! Outputs whose every axis has a map to the input's: padding, and (from `resize`) nearest-neighbour scaling.

use super::by_size;
use crate::error::KernelError;
use crate::pool::Pool;
use crate::shape::{expect_bytes, numel, strides};
use crate::split::SharedMut;

/// What is written outside the input.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum PadMode {
    /// A value.
    Constant,
    /// The input mirrored at its first and last elements, which are not repeated.
    Reflect,
    /// The first and last elements.
    Edge,
    /// The input from its other end.
    Wrap,
}

/// The shape after `pads` (how much before and after each dimension; negative ones crop).
pub fn padded_shape(shape: &[usize], pads: &[(i64, i64)]) -> Result<Vec<usize>, KernelError> {
    if pads.len() != shape.len() {
        return Err(KernelError::shape(format!("{} pads for {} dimensions", pads.len(), shape.len())));
    }
    let padded = |(&n, &(before, after)): (&usize, &(i64, i64))| {
        let size = n as i128 + i128::from(before) + i128::from(after);
        if size < 0 {
            return Err(KernelError::Setting(format!("pads {before} and {after} crop more than {n} elements")));
        }
        usize::try_from(size).ok().filter(|&n| n <= isize::MAX as usize).ok_or(KernelError::TooLarge)
    };
    shape.iter().zip(pads).map(padded).collect()
}

/// Pads x of `shape`; `value` (the bytes of one element) is what [`PadMode::Constant`] writes.
pub fn pad(
    pool: &Pool,
    elem: usize,
    mode: PadMode,
    shape: &[usize],
    pads: &[(i64, i64)],
    value: &[u8],
    x: &[u8],
    y: &mut [u8],
) -> Result<(), KernelError> {
    let dims = padded_shape(shape, pads)?;
    expect_bytes("the pad value", value, &[], elem)?;
    expect_bytes("the input", x, shape, elem)?;
    expect_bytes("the output", y, &dims, elem)?;
    if y.is_empty() {
        return Ok(());
    }
    let mut maps = Vec::with_capacity(dims.len());
    for d in 0..dims.len() {
        let n = shape[d] as i64;
        if n == 0 && mode != PadMode::Constant {
            return Err(KernelError::Setting(format!("{mode:?} padding of an empty dimension")));
        }
        let source = |i: usize| {
            let i = i as i64 - pads[d].0;
            match mode {
                _ if (0..n).contains(&i) => i,
                PadMode::Constant => OUTSIDE,
                PadMode::Edge => i.clamp(0, n - 1),
                PadMode::Wrap => i.rem_euclid(n),
                PadMode::Reflect if n == 1 => 0,
                PadMode::Reflect => {
                    let i = i.rem_euclid(2 * (n - 1));
                    i.min(2 * (n - 1) - i)
                }
            }
        };
        maps.push((0..dims[d]).map(source).collect());
    }
    by_size!(elem, mapped(pool, shape, &maps, value, x, y))
}

/// The mark of an output index that has no source.
pub(super) const OUTSIDE: i64 = -1;

/// y[i, j, ..] = x[maps[0][i], maps[1][j], ..], or `value` where any is [`OUTSIDE`]. The maps' other entries are indices of x.
pub(super) fn mapped<const E: usize>(
    pool: &Pool,
    shape: &[usize],
    maps: &[Vec<i64>],
    value: &[u8],
    x: &[u8],
    y: &mut [u8],
) -> Result<(), KernelError> {
    let (x, y) = (x.as_chunks::<E>().0, y.as_chunks_mut::<E>().0);
    let value: [u8; E] = value.try_into().unwrap_or([0; E]);
    let Some((inner, outer)) = maps.split_last() else {
        y[0] = x[0];
        return Ok(());
    };
    let own = strides(shape);
    let dims: Vec<usize> = outer.iter().map(Vec::len).collect();
    let runs = runs(inner);
    let row_strides = strides(&dims);
    let y = SharedMut::new(y);
    let width = inner.len();
    pool.for_ranges(numel(&dims)?, ((16 << 10) / width.max(1)).max(1), &|range| {
        let mut at = vec![0usize; dims.len()];
        for row in range {
            let mut rest = row;
            for (at, &stride) in at.iter_mut().zip(&row_strides) {
                *at = rest / stride;
                rest %= stride;
            }
            // SAFETY: each row is a part of its own.
            let out = unsafe { y.slice(row * width..(row + 1) * width) };
            let base = (0..dims.len()).try_fold(0usize, |sum, d| {
                let i = outer[d][at[d]];
                (i != OUTSIDE).then(|| sum + i as usize * own[d])
            });
            let Some(base) = base else {
                out.fill(value);
                continue;
            };
            for run in &runs {
                let out = &mut out[run.to..run.to + run.len];
                match run.from {
                    OUTSIDE => out.fill(value),
                    from => out.copy_from_slice(&x[base + from as usize..][..run.len]),
                }
            }
        }
    });
    Ok(())
}

/// A stretch of an axis map that is outside, or copies neighbours.
struct Run {
    to: usize,
    from: i64,
    len: usize,
}

fn runs(map: &[i64]) -> Vec<Run> {
    let mut runs: Vec<Run> = vec![];
    for (to, &from) in map.iter().enumerate() {
        match runs.last_mut() {
            Some(r) if from == OUTSIDE && r.from == OUTSIDE => r.len += 1,
            Some(r) if from != OUTSIDE && r.from != OUTSIDE && from == r.from + r.len as i64 => r.len += 1,
            _ => runs.push(Run { to, from, len: 1 }),
        }
    }
    runs
}
