//! Reductions over any set of axes.

use crate::error::{KernelError, expect_len};
use crate::number::Number;
use crate::pool::Pool;
use crate::shape::{Walk, numel, strides};
use crate::split::SharedMut;
use crate::wide::{join_lanes, wide};

mod order;

pub use order::{ArgOp, CumSum, TopK, arg_reduce, cumsum, topk};

/// What is computed over the reduced elements. Floats accumulate in f64, integers in 64 bits (wrapping).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum ReduceOp {
    /// Sum of x.
    Sum,
    /// Sum divided by the count; integers truncate.
    Mean,
    /// The largest; NaN if any is.
    Max,
    /// The smallest; NaN if any is.
    Min,
    /// Product.
    Prod,
    /// Sum of |x|.
    L1,
    /// Square root of the sum of squares.
    L2,
    /// Sum of squares.
    SumSquare,
    /// Logarithm of the sum.
    LogSum,
    /// Logarithm of the sum of e^x.
    LogSumExp,
}

/// How a tensor is reduced, planned once from its shape and the axes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reduction {
    kept: Group,
    reduced: Group,
    /// The innermost dimension after merging neighbours: its size, and whether it is reduced.
    inner: usize,
    inner_reduced: bool,
    in_len: usize,
    out_len: usize,
    count: usize,
}

/// Dimensions with their strides in the input, the innermost of all left out.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
struct Group {
    dims: Vec<usize>,
    strides: Vec<isize>,
}

impl Group {
    fn len(&self) -> usize {
        self.dims.iter().product()
    }
}

impl Reduction {
    /// The plan to reduce `axes` (in any order; none reduces nothing) of `shape`.
    pub fn new(shape: &[usize], axes: &[usize]) -> Result<Self, KernelError> {
        if let Some(&axis) = axes.iter().find(|&&a| a >= shape.len()) {
            return Err(KernelError::AxisOutOfRange { axis: axis as i64, rank: shape.len() });
        }
        let in_len = numel(shape)?;
        let side = |reduced: bool| -> Vec<usize> {
            (0..shape.len()).filter(|d| axes.contains(d) == reduced).map(|d| shape[d]).collect()
        };
        let (out_len, count) = (numel(&side(false))?, numel(&side(true))?);
        // Runs of neighbours of one kind are one dimension.
        let own = strides(shape);
        let mut runs: Vec<(bool, usize, usize)> = Vec::new();
        for d in (0..shape.len()).filter(|&d| shape[d] != 1) {
            let reduced = axes.contains(&d);
            match runs.last_mut() {
                Some(last) if last.0 == reduced => (last.1, last.2) = (last.1.saturating_mul(shape[d]), own[d]),
                _ => runs.push((reduced, shape[d], own[d])),
            }
        }
        let (inner_reduced, inner, _) = runs.pop().unwrap_or((false, 1, 1));
        let (mut kept, mut reduced) = (Group::default(), Group::default());
        for (is_reduced, size, stride) in runs {
            let group = if is_reduced { &mut reduced } else { &mut kept };
            group.dims.push(size);
            group.strides.push(stride as isize);
        }
        Ok(Reduction { kept, reduced, inner, inner_reduced, in_len, out_len, count })
    }

    /// The number of results.
    pub fn out_len(&self) -> usize {
        self.out_len
    }

    /// The number of elements behind each result.
    pub fn count(&self) -> usize {
        self.count
    }
}

/// One reduction of one type: an accumulator, how it takes an element, how two merge, and the result.
trait Fold<T: Number> {
    type Acc: Copy + Send + Sync;
    const START: Self::Acc;
    fn take(acc: Self::Acc, x: T) -> Self::Acc;
    fn merge(a: Self::Acc, b: Self::Acc) -> Self::Acc;
}

macro_rules! folds {
    ($($name:ident: $acc:ty, $start:expr, |$a:ident, $x:ident| $take:expr, |$l:ident, $r:ident| $merge:expr;)*) => { $(
        struct $name;
        impl<T: Number> Fold<T> for $name {
            type Acc = $acc;
            const START: $acc = $start;
            #[inline(always)]
            fn take($a: $acc, $x: T) -> $acc {
                $take
            }
            #[inline(always)]
            fn merge($l: $acc, $r: $acc) -> $acc {
                $merge
            }
        }
    )* };
}

folds! {
    Sum: T::Wide, T::Wide::ZERO, |a, x| a.add(x.widen()), |a, b| a.add(b);
    SumAbs: T::Wide, T::Wide::ZERO, |a, x| a.add(x.widen().abs()), |a, b| a.add(b);
    SumSquare: T::Wide, T::Wide::ZERO, |a, x| a.add(x.widen().mul(x.widen())), |a, b| a.add(b);
    Product: T::Wide, T::Wide::ONE, |a, x| a.mul(x.widen()), |a, b| a.mul(b);
    Largest: T, T::LOWEST, |a, x| a.greatest(x), |a, b| a.greatest(b);
    Smallest: T, T::HIGHEST, |a, x| a.least(x), |a, b| a.least(b);
    // The largest so far, and the sum of e^(x - largest).
    SumExp: (f64, f64), (f64::NEG_INFINITY, 0.0),
        |a, x| merge_exp(a, (x.to_f64(), 1.0)), |a, b| merge_exp(a, b);
}

#[inline(always)]
fn merge_exp(a: (f64, f64), b: (f64, f64)) -> (f64, f64) {
    let max = a.0.greatest(b.0);
    // Equal infinities differ by NaN but are the same.
    let part = |p: (f64, f64)| if p.0 == max { p.1 } else { p.1 * (p.0 - max).exp() };
    (max, part(a) + part(b))
}

/// Reduces `x` as planned into `y` (`plan.out_len()` results, in C order of the kept dimensions).
///
/// Over no elements sums give 0, products 1, Max the least value, Min the greatest, Mean NaN (0 for integers).
/// Relative error of the f32 sums about 1e-7.
pub fn reduce<T: Number>(pool: &Pool, op: ReduceOp, plan: &Reduction, x: &[T], y: &mut [T]) -> Result<(), KernelError> {
    expect_len("the input of a reduction", x.len(), plan.in_len)?;
    expect_len("the output of a reduction", y.len(), plan.out_len)?;
    T::reduce(pool, op, plan, x, y);
    Ok(())
}

/// [`reduce`] of operands that fit the plan.
pub(crate) fn reduce_checked<T: Number>(pool: &Pool, op: ReduceOp, plan: &Reduction, x: &[T], y: &mut [T]) {
    let via_f64 = |v: T::Wide, f: fn(f64) -> f64| T::from_f64(f(v.to_f64()));
    let count = T::Wide::from_f64(plan.count as f64);
    match op {
        ReduceOp::Sum => run::<T, Sum>(pool, plan, x, y, &T::narrow),
        ReduceOp::Mean => run::<T, Sum>(pool, plan, x, y, &|s| T::narrow(s.div(count))),
        ReduceOp::L1 => run::<T, SumAbs>(pool, plan, x, y, &T::narrow),
        ReduceOp::SumSquare => run::<T, SumSquare>(pool, plan, x, y, &T::narrow),
        ReduceOp::L2 => run::<T, SumSquare>(pool, plan, x, y, &|s| via_f64(s, f64::sqrt)),
        ReduceOp::LogSum => run::<T, Sum>(pool, plan, x, y, &|s| via_f64(s, f64::ln)),
        ReduceOp::Prod => run::<T, Product>(pool, plan, x, y, &T::narrow),
        ReduceOp::Max => run::<T, Largest>(pool, plan, x, y, &|v| v),
        ReduceOp::Min => run::<T, Smallest>(pool, plan, x, y, &|v| v),
        ReduceOp::LogSumExp => run::<T, SumExp>(pool, plan, x, y, &|(max, sum)| {
            T::from_f64(if max.is_infinite() { max } else { max + sum.ln() })
        }),
    }
}

/// Columns of a kept inner dimension that are accumulated together.
const STRIP: usize = 64;

fn run<T: Number, F: Fold<T>>(
    pool: &Pool,
    plan: &Reduction,
    x: &[T],
    y: &mut [T],
    finish: &(dyn Fn(F::Acc) -> T + Sync),
) {
    if plan.in_len == 0 {
        y.fill(finish(F::START));
        return;
    }
    let (kept, reduced) = (&plan.kept, &plan.reduced);
    let times = reduced.len();
    let y = SharedMut::new(y);
    let grain =
        (16 << 10) / plan.count.saturating_mul(if plan.inner_reduced { 1 } else { STRIP.min(plan.inner) }).max(1);
    if plan.inner_reduced {
        pool.for_ranges(plan.out_len, grain, &|range| {
            // SAFETY: `for_ranges` hands out disjoint ranges.
            let out = unsafe { y.slice(range.clone()) };
            let mut at = Walk::new(&kept.dims, [&kept.strides], range.start);
            for out in out {
                let mut acc = F::START;
                let mut inner = Walk::new(&reduced.dims, [&reduced.strides], 0);
                for _ in 0..times {
                    let start = (at.at[0] + inner.at[0]) as usize;
                    acc = F::merge(acc, fold_row::<T, F>(&x[start..start + plan.inner]));
                    inner.step();
                }
                *out = finish(acc);
                at.step();
            }
        });
        return;
    }
    let strips = plan.inner.div_ceil(STRIP);
    pool.for_ranges(kept.len() * strips, grain, &|range| {
        for unit in range {
            let (row, first) = (unit / strips, unit % strips * STRIP);
            let width = STRIP.min(plan.inner - first);
            let base = Walk::new(&kept.dims, [&kept.strides], row).at[0] as usize + first;
            let mut acc = [F::START; STRIP];
            let mut at = Walk::new(&reduced.dims, [&reduced.strides], 0);
            for _ in 0..times {
                let start = base + at.at[0] as usize;
                take_row::<T, F>(&mut acc, &x[start..start + width]);
                at.step();
            }
            // SAFETY: each unit is its own part of its own output row.
            let out = unsafe { y.slice(row * plan.inner + first..row * plan.inner + first + width) };
            for (out, &acc) in out.iter_mut().zip(&acc) {
                *out = finish(acc);
            }
        }
    });
}

/// Takes each element of a row into the accumulator of its column.
#[inline]
fn take_row<T: Number, F: Fold<T>>(acc: &mut [F::Acc; STRIP], x: &[T]) {
    const LANES: usize = 8;
    wide(
        #[inline(always)]
        move || {
            let (chunks, rest) = x.as_chunks::<LANES>();
            let (groups, _) = acc.as_chunks_mut::<LANES>();
            for (group, chunk) in groups.iter_mut().zip(chunks) {
                // By value: a loop that may leave an element as it is becomes conditional stores in place.
                *group = std::array::from_fn(|j| F::take(group[j], chunk[j]));
            }
            for (acc, &x) in acc[chunks.len() * LANES..].iter_mut().zip(rest) {
                *acc = F::take(*acc, x);
            }
        },
    );
}

/// Folds a contiguous row in lanes, which the compiler makes vectors.
#[inline]
fn fold_row<T: Number, F: Fold<T>>(x: &[T]) -> F::Acc {
    const LANES: usize = 16;
    wide(
        #[inline(always)]
        move || {
            let mut lanes = [F::START; LANES];
            let mut chunks = x.chunks_exact(LANES);
            for chunk in &mut chunks {
                for (lane, &x) in lanes.iter_mut().zip(chunk) {
                    *lane = F::take(*lane, x);
                }
            }
            for (lane, &x) in lanes.iter_mut().zip(chunks.remainder()) {
                *lane = F::take(*lane, x);
            }
            join_lanes(lanes, F::merge)
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::{Rng, rel_err};

    const OPS: [ReduceOp; 10] = [
        ReduceOp::Sum,
        ReduceOp::Mean,
        ReduceOp::Max,
        ReduceOp::Min,
        ReduceOp::Prod,
        ReduceOp::L1,
        ReduceOp::L2,
        ReduceOp::SumSquare,
        ReduceOp::LogSum,
        ReduceOp::LogSumExp,
    ];

    fn naive(op: ReduceOp, v: &[f64]) -> f64 {
        let sum = |f: fn(f64) -> f64| v.iter().map(|&x| f(x)).sum::<f64>();
        match op {
            ReduceOp::Sum => sum(|x| x),
            ReduceOp::Mean => sum(|x| x) / v.len() as f64,
            ReduceOp::Max => v.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            ReduceOp::Min => v.iter().copied().fold(f64::INFINITY, f64::min),
            ReduceOp::Prod => v.iter().product(),
            ReduceOp::L1 => sum(f64::abs),
            ReduceOp::L2 => sum(|x| x * x).sqrt(),
            ReduceOp::SumSquare => sum(|x| x * x),
            ReduceOp::LogSum => sum(|x| x).ln(),
            ReduceOp::LogSumExp => sum(f64::exp).ln(),
        }
    }

    /// The elements behind each result, by index arithmetic alone.
    fn gather(shape: &[usize], axes: &[usize], x: &[f64]) -> Vec<Vec<f64>> {
        let out: usize = (0..shape.len()).filter(|d| !axes.contains(d)).map(|d| shape[d]).product();
        let mut groups = vec![vec![]; out];
        for (i, &v) in x.iter().enumerate() {
            let (mut rest, mut at, mut stride) = (i, 0, 1);
            for d in (0..shape.len()).rev() {
                if !axes.contains(&d) {
                    at += rest % shape[d] * stride;
                    stride *= shape[d];
                }
                rest /= shape[d];
            }
            groups[at].push(v);
        }
        groups
    }

    #[test]
    fn every_set_of_axes_agrees_with_f64() {
        let mut rng = Rng::fresh();
        for threads in [1, 3] {
            let pool = Pool::new(threads);
            for shape in
                [&[][..], &[1], &[1031], &[5, 7, 33], &[3, 1, 4, 5, 6], &[2, 70, 3], &[4, 129], &[0, 3], &[3, 0, 2]]
            {
                for mask in 0..1usize << shape.len() {
                    let axes: Vec<usize> = (0..shape.len()).filter(|d| mask >> d & 1 == 1).collect();
                    let plan = Reduction::new(shape, &axes).unwrap();
                    // Positive for logarithms, near 1 for products.
                    let x: Vec<f32> = rng.floats(shape.iter().product()).iter().map(|v| 1.05 + 0.1 * v).collect();
                    let wide: Vec<f64> = x.iter().map(|&v| f64::from(v)).collect();
                    let ints: Vec<i32> = rng.floats(x.len()).iter().map(|v| (v * 9.0) as i32).collect();
                    let wide_ints: Vec<f64> = ints.iter().map(|&v| f64::from(v)).collect();
                    for op in OPS {
                        let groups = gather(shape, &axes, &wide);
                        assert_eq!(groups.len(), plan.out_len());
                        if plan.count() == 0 {
                            continue;
                        }
                        let want: Vec<f64> = groups.iter().map(|g| naive(op, g)).collect();
                        let mut y = vec![f32::NAN; plan.out_len()];
                        reduce(&pool, op, &plan, &x, &mut y).unwrap();
                        let e = rel_err(&y, &want);
                        assert!(e < 2e-7, "{op:?} {shape:?} {axes:?}: {e:e}");
                        if !matches!(op, ReduceOp::LogSum | ReduceOp::LogSumExp | ReduceOp::Prod) {
                            let mut y = vec![0; plan.out_len()];
                            reduce(&pool, op, &plan, &ints, &mut y).unwrap();
                            let want: Vec<i32> =
                                gather(shape, &axes, &wide_ints).iter().map(|g| naive(op, g) as i32).collect();
                            assert_eq!(y, want, "{op:?} of i32 {shape:?} {axes:?}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn long_sums_stay_accurate_and_edges_hold() {
        let pool = Pool::new(1);
        let x = vec![0.1f32; 3_000_001];
        let plan = Reduction::new(&[x.len()], &[0]).unwrap();
        let mut y = [0.0];
        reduce(&pool, ReduceOp::Sum, &plan, &x, &mut y).unwrap();
        assert!((f64::from(y[0]) / (f64::from(0.1f32) * x.len() as f64) - 1.0).abs() < 1e-7);
        let of = |op, x: &[f32]| {
            let mut y = [0.0];
            reduce(&pool, op, &Reduction::new(&[x.len()], &[0]).unwrap(), x, &mut y).unwrap();
            y[0]
        };
        assert_eq!(of(ReduceOp::Sum, &[]), 0.0);
        assert_eq!(of(ReduceOp::Prod, &[]), 1.0);
        assert_eq!(of(ReduceOp::Max, &[]), f32::NEG_INFINITY);
        assert!(of(ReduceOp::Mean, &[]).is_nan());
        assert!(of(ReduceOp::Max, &[1.0, f32::NAN, 2.0]).is_nan());
        assert_eq!(of(ReduceOp::LogSumExp, &[f32::NEG_INFINITY; 3]), f32::NEG_INFINITY);
        assert_eq!(of(ReduceOp::LogSumExp, &[1000.0; 2]), 1000.0 + 2f32.ln());
        assert!(Reduction::new(&[2], &[1]).is_err());
        let mut i = [0i64];
        reduce(&pool, ReduceOp::Sum, &Reduction::new(&[2], &[0]).unwrap(), &[i64::MAX, 1], &mut i).unwrap();
        assert_eq!(i, [i64::MIN]);
    }
}
