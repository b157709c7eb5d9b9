//! Where the extremes lie (ArgMax, ArgMin, TopK) and running sums.

use std::cmp::Ordering;

use super::{Largest, Smallest, fold_row};
use crate::error::{KernelError, expect_len};
use crate::number::Number;
use crate::pool::Pool;
use crate::shape::{around, numel};
use crate::split::SharedMut;

/// Which extreme [`arg_reduce`] looks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum ArgOp {
    /// The index of the largest.
    Max,
    /// The index of the smallest.
    Min,
}

/// The index of the extreme along `axis`; of equals the first, or the last if `select_last`. NaN counts as the extreme.
/// `y` has the input's shape without the axis.
pub fn arg_reduce<T: Number>(
    pool: &Pool,
    op: ArgOp,
    shape: &[usize],
    axis: usize,
    select_last: bool,
    x: &[T],
    y: &mut [i64],
) -> Result<(), KernelError> {
    let (outer, n, inner) = around(shape, axis)?;
    expect_len("the input of arg max/min", x.len(), numel(shape)?)?;
    expect_len("the output of arg max/min", y.len(), outer * inner)?;
    if y.is_empty() {
        return Ok(());
    }
    if n == 0 {
        return Err(KernelError::shape(format!("no extreme along axis {axis} of {shape:?}: it is empty")));
    }
    let nan = |v: T| v.partial_cmp(&v).is_none();
    let beats = |new: T, old: T| match op {
        _ if nan(old) => select_last && nan(new),
        _ if nan(new) => true,
        ArgOp::Max => new > old || (select_last && new == old),
        ArgOp::Min => new < old || (select_last && new == old),
    };
    let y = SharedMut::new(y);
    pool.for_ranges(outer * inner, (16 << 10) / n, &|range| {
        // SAFETY: `for_ranges` hands out disjoint ranges.
        let out = unsafe { y.slice(range.clone()) };
        for (out, unit) in out.iter_mut().zip(range) {
            if inner == 1 && n >= 64 {
                let row = &x[unit * n..(unit + 1) * n];
                // NaN spreads to the extreme, and is then what is looked for.
                let best = row_extreme(row, op);
                let is_best = |&v: &T| if nan(best) { nan(v) } else { v == best };
                let at = if select_last { row.iter().rposition(is_best) } else { row.iter().position(is_best) };
                *out = at.unwrap_or(0) as i64;
                continue;
            }
            let base = unit / inner * n * inner + unit % inner;
            let (mut best, mut at) = (x[base], 0);
            for i in 1..n {
                let v = x[base + i * inner];
                if beats(v, best) {
                    (best, at) = (v, i);
                }
            }
            *out = at as i64;
        }
    });
    Ok(())
}

fn row_extreme<T: Number>(row: &[T], op: ArgOp) -> T {
    match op {
        ArgOp::Max => fold_row::<T, Largest>(row),
        ArgOp::Min => fold_row::<T, Smallest>(row),
    }
}

/// How a running sum goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CumSum {
    /// The sum before each element, without it.
    pub exclusive: bool,
    /// From the end to the start.
    pub reverse: bool,
}

/// The running sum along `axis`; floats accumulate in f64.
pub fn cumsum<T: Number>(
    pool: &Pool,
    mode: CumSum,
    shape: &[usize],
    axis: usize,
    x: &[T],
    y: &mut [T],
) -> Result<(), KernelError> {
    let (outer, n, inner) = around(shape, axis)?;
    expect_len("the input of a running sum", x.len(), numel(shape)?)?;
    expect_len("the output of a running sum", y.len(), x.len())?;
    if x.is_empty() {
        return Ok(());
    }
    let y = SharedMut::new(y);
    pool.for_ranges(outer, (16 << 10) / (n * inner), &|range| {
        let mut sums = vec![T::Wide::ZERO; inner];
        for o in range {
            sums.fill(T::Wide::ZERO);
            // SAFETY: each outer index is its own part.
            let out = unsafe { y.slice(o * n * inner..(o + 1) * n * inner) };
            let x = &x[o * n * inner..(o + 1) * n * inner];
            for step in 0..n {
                let i = if mode.reverse { n - 1 - step } else { step };
                let row = i * inner..(i + 1) * inner;
                for ((sum, &x), out) in sums.iter_mut().zip(&x[row.clone()]).zip(&mut out[row]) {
                    let next = sum.add(x.widen());
                    *out = T::narrow(if mode.exclusive { *sum } else { next });
                    *sum = next;
                }
            }
        }
    });
    Ok(())
}

/// What [`topk`] selects.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TopK {
    /// How many.
    pub k: usize,
    /// The largest, else the smallest.
    pub largest: bool,
    /// In order of value, else in order of index.
    pub sorted: bool,
}

/// The `k` extremes along `axis` and their indices; of equals the lower index comes first. NaN counts as the largest.
/// Both outputs have the input's shape with the axis of size `k`.
pub fn topk<T: Number>(
    pool: &Pool,
    what: TopK,
    shape: &[usize],
    axis: usize,
    x: &[T],
    values: &mut [T],
    indices: &mut [i64],
) -> Result<(), KernelError> {
    let (outer, n, inner) = around(shape, axis)?;
    let k = what.k;
    if k > n {
        return Err(KernelError::setting(format!("TopK asks for {k} of {n} elements")));
    }
    expect_len("the input of TopK", x.len(), numel(shape)?)?;
    expect_len("the values of TopK", values.len(), outer * k * inner)?;
    expect_len("the indices of TopK", indices.len(), values.len())?;
    if values.is_empty() {
        return Ok(());
    }
    let (values, indices) = (SharedMut::new(values), SharedMut::new(indices));
    pool.for_ranges(outer * inner, (4 << 10) / n, &|range| {
        let mut order: Vec<usize> = Vec::with_capacity(n);
        for unit in range {
            let (o, j) = (unit / inner, unit % inner);
            let at = |i: usize| x[(o * n + i) * inner + j];
            let before = |&a: &usize, &b: &usize| {
                let by_value = compare(at(a), at(b));
                (if what.largest { by_value.reverse() } else { by_value }).then(a.cmp(&b))
            };
            order.clear();
            order.extend(0..n);
            if k < n {
                order.select_nth_unstable_by(k - 1, before);
            }
            let top = &mut order[..k];
            if what.sorted {
                top.sort_unstable_by(before)
            } else {
                top.sort_unstable()
            }
            for (i, &index) in top.iter().enumerate() {
                let to = (o * k + i) * inner + j;
                // SAFETY: each unit writes its own column of its own outer index.
                let (value, position) = unsafe { (values.slice(to..to + 1), indices.slice(to..to + 1)) };
                (value[0], position[0]) = (at(index), index as i64);
            }
        }
    });
    Ok(())
}

/// The order of numbers, with NaN above all.
fn compare<T: Number>(a: T, b: T) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| {
        let nan = |v: T| v.partial_cmp(&v).is_none();
        nan(a).cmp(&nan(b))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::Rng;

    const SHAPES: [&[usize]; 6] = [&[7], &[5, 33], &[3, 130], &[3, 40, 9], &[1, 1], &[70, 3, 2]];

    /// Each column along the axis, with its place among the columns.
    fn columns<T: Copy>(shape: &[usize], axis: usize, x: &[T]) -> Vec<Vec<T>> {
        let inner: usize = shape[axis + 1..].iter().product();
        let outer: usize = shape[..axis].iter().product();
        let n = shape[axis];
        (0..outer * inner).map(|c| (0..n).map(|i| x[(c / inner * n + i) * inner + c % inner]).collect()).collect()
    }

    #[test]
    fn extremes_are_where_a_scan_finds_them() {
        let mut rng = Rng::fresh();
        for threads in [1, 3] {
            let pool = Pool::new(threads);
            for shape in SHAPES {
                // Few distinct values: equals abound.
                let x: Vec<f32> = (0..shape.iter().product()).map(|_| rng.below(4) as f32).collect();
                for axis in 0..shape.len() {
                    let cols = columns(shape, axis, &x);
                    for (op, last) in [(ArgOp::Max, false), (ArgOp::Max, true), (ArgOp::Min, false), (ArgOp::Min, true)]
                    {
                        let mut y = vec![-1; cols.len()];
                        arg_reduce(&pool, op, shape, axis, last, &x, &mut y).unwrap();
                        for (c, &have) in cols.iter().zip(&y) {
                            let pick = if op == ArgOp::Max { f32::max } else { f32::min };
                            let best = c.iter().copied().reduce(pick).unwrap();
                            let want = if last {
                                c.iter().rposition(|&v| v == best)
                            } else {
                                c.iter().position(|&v| v == best)
                            };
                            assert_eq!(have, want.unwrap() as i64, "{op:?} {last} {shape:?} {axis}");
                        }
                    }
                    for (largest, sorted) in [(true, true), (false, true), (true, false)] {
                        let k = rng.range(0, shape[axis]);
                        let mut out_shape = shape.to_vec();
                        out_shape[axis] = k;
                        let (mut v, mut i) = (vec![0f32; cols.len() * k], vec![0i64; cols.len() * k]);
                        topk(&pool, TopK { k, largest, sorted }, shape, axis, &x, &mut v, &mut i).unwrap();
                        for (c, (v, i)) in
                            cols.iter().zip(columns(&out_shape, axis, &v).iter().zip(columns(&out_shape, axis, &i)))
                        {
                            let mut want: Vec<usize> = (0..c.len()).collect();
                            want.sort_by(|&a, &b| if largest { c[b].total_cmp(&c[a]) } else { c[a].total_cmp(&c[b]) });
                            want.truncate(k);
                            if !sorted {
                                want.sort();
                            }
                            assert_eq!(i, want.iter().map(|&i| i as i64).collect::<Vec<_>>());
                            assert!(v.iter().zip(&want).all(|(v, &i)| *v == c[i]));
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn running_sums_agree_with_f64() {
        let mut rng = Rng::fresh();
        for threads in [1, 3] {
            let pool = Pool::new(threads);
            for shape in SHAPES {
                let x = rng.floats(shape.iter().product());
                for axis in 0..shape.len() {
                    for (exclusive, reverse) in [(false, false), (true, false), (false, true), (true, true)] {
                        let mut y = vec![f32::NAN; x.len()];
                        cumsum(&pool, CumSum { exclusive, reverse }, shape, axis, &x, &mut y).unwrap();
                        for (x, y) in columns(shape, axis, &x).iter().zip(columns(shape, axis, &y)) {
                            for i in 0..x.len() {
                                let part = match (exclusive, reverse) {
                                    (false, false) => &x[..=i],
                                    (true, false) => &x[..i],
                                    (false, true) => &x[i..],
                                    (true, true) => &x[i + 1..],
                                };
                                let want: f64 = part.iter().map(|&v| f64::from(v)).sum();
                                assert!((f64::from(y[i]) - want).abs() <= 1e-7 * want.abs() + 1e-12);
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn edges() {
        let pool = Pool::new(1);
        let nan = f32::NAN;
        let arg = |op, last, x: &[f32]| {
            let mut y = [-1];
            arg_reduce(&pool, op, &[x.len()], 0, last, x, &mut y).map(|()| y[0])
        };
        assert_eq!(arg(ArgOp::Max, false, &[1.0, nan, 3.0, nan]), Ok(1));
        assert_eq!(arg(ArgOp::Min, true, &[1.0, nan, 3.0, nan]), Ok(3));
        let mut long = [0.5; 200];
        (long[150], long[170]) = (nan, nan);
        assert_eq!((arg(ArgOp::Max, false, &long), arg(ArgOp::Min, true, &long)), (Ok(150), Ok(170)));
        assert!(arg(ArgOp::Max, false, &[]).is_err());
        let what = TopK { k: 3, largest: true, sorted: true };
        let (mut v, mut i) = ([0f32; 3], [0; 3]);
        topk(&pool, what, &[4], 0, &[1.0, nan, 3.0, 2.0], &mut v, &mut i).unwrap();
        assert_eq!(i, [1, 2, 3]);
        assert!(topk(&pool, what, &[2], 0, &[1.0, 2.0], &mut v, &mut i).is_err());
        let mut y = [0i32; 3];
        cumsum(&pool, CumSum::default(), &[3], 0, &[i32::MAX, 1, 0], &mut y).unwrap();
        assert_eq!(y, [i32::MAX, i32::MIN, i32::MIN]);
    }
}
