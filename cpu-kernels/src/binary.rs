//! Element-wise operations on two operands, with broadcasting, for every number type.

use crate::broadcast::Broadcast;
use crate::error::{KernelError, expect_len};
use crate::number::Number;
use crate::pool::Pool;
use crate::split::SharedMut;
use crate::wide::wide;

/// An element-wise operation on two operands `x` and `y`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum BinaryOp {
    /// x + y; integers wrap.
    Add,
    /// x - y; integers wrap.
    Sub,
    /// x * y; integers wrap.
    Mul,
    /// x / y; integers truncate towards zero, and fail on zero.
    Div,
    /// x to the power of y; integers wrap, with a negative exponent they truncate towards zero (0 for x = 0).
    Pow,
    /// The remainder with the sign of y (Python's); integers fail on zero.
    Mod,
    /// The remainder with the sign of x (C's `fmod`); integers fail on zero.
    FMod,
    /// The smaller; NaN if either is.
    Min,
    /// The larger; NaN if either is.
    Max,
    /// Bitwise and, integers only.
    BitAnd,
    /// Bitwise or, integers only.
    BitOr,
    /// Bitwise exclusive or, integers only.
    BitXor,
    /// x << y, integers only; 0 if y is negative or not below the width.
    Shl,
    /// x >> y, integers only (arithmetic if signed); if y is negative or not below the width, -1 for a negative x and else 0.
    Shr,
    /// x if x >= 0, else x * y.
    PRelu,
}

/// Computes a contiguous run: `x` and `y` have as many elements as `out`, or one. False if an integer was divided by zero.
pub(crate) type Row<T> = fn(x: &[T], y: &[T], out: &mut [T]) -> bool;

/// Elements per parallel piece.
const GRAIN: usize = 16 << 10;

macro_rules! rows {
    ($(($row:ident, $check:ident, $f:expr)),* $(,)?) => { $(
        pub(crate) fn $row<T: Number>(x: &[T], y: &[T], out: &mut [T]) -> bool {
            if !$check(x, y) {
                return false;
            }
            wide(
                #[inline(always)]
                move || map2(x, y, out, $f),
            );
            true
        }
    )* };
}

#[inline(always)]
fn map2<T: Copy>(x: &[T], y: &[T], out: &mut [T], f: impl Fn(T, T) -> T) {
    let n = out.len();
    match (x.len() == n, y.len() == n) {
        (true, true) => {
            for i in 0..n {
                out[i] = f(x[i], y[i]);
            }
        }
        (true, false) => {
            let y = y[0];
            for i in 0..n {
                out[i] = f(x[i], y);
            }
        }
        (false, true) => {
            let x = x[0];
            for i in 0..n {
                out[i] = f(x, y[i]);
            }
        }
        (false, false) => out.fill(f(x[0], y[0])),
    }
}

fn any<T: Number>(_: &[T], _: &[T]) -> bool {
    true
}

fn divisible<T: Number>(_: &[T], y: &[T]) -> bool {
    !T::INTEGER || !y.contains(&T::ZERO)
}

rows! {
    (add, any, #[inline(always)] |a: T, b: T| a.add(b)),
    (sub, any, #[inline(always)] |a: T, b: T| a.sub(b)),
    (mul, any, #[inline(always)] |a: T, b: T| a.mul(b)),
    (div, divisible, #[inline(always)] |a: T, b: T| a.div(b)),
    (modulo, divisible, #[inline(always)] |a: T, b: T| a.modulo(b)),
    (fmod, divisible, #[inline(always)] |a: T, b: T| a.fmod(b)),
    (min, any, #[inline(always)] |a: T, b: T| a.least(b)),
    (max, any, #[inline(always)] |a: T, b: T| a.greatest(b)),
    (power, any, #[inline(always)] |a: T, b: T| a.power(b)),
    (bit_and, any, #[inline(always)] |a: T, b: T| a.bit_and(b)),
    (bit_or, any, #[inline(always)] |a: T, b: T| a.bit_or(b)),
    (bit_xor, any, #[inline(always)] |a: T, b: T| a.bit_xor(b)),
    (shl, any, #[inline(always)] |a: T, b: T| a.shl(b)),
    (shr, any, #[inline(always)] |a: T, b: T| a.shr(b)),
    (prelu, any, #[inline(always)] |a: T, b: T| if a < T::ZERO { a.mul(b) } else { a }),
}

/// out = out * x, where out has the elements' squares.
fn cube<T: Number>(x: &[T], out: &mut [T]) -> bool {
    wide(
        #[inline(always)]
        move || {
            for (out, &x) in out.iter_mut().zip(x) {
                *out = out.mul(x);
            }
        },
    );
    true
}

/// Powers, with the constant exponents that models use spelled out.
fn pow<T: Number>(x: &[T], y: &[T], out: &mut [T]) -> bool {
    match y {
        [e] if *e == T::ONE.add(T::ONE) => mul(x, x, out),
        [e] if x.len() == out.len() && *e == T::ONE.add(T::ONE).add(T::ONE) => mul(x, x, out) && cube(x, out),
        [e] if *e == T::ONE => mul(x, &[T::ONE], out),
        [e] if x.len() == out.len() && Some(*e) == T::HALF => {
            wide(
                #[inline(always)]
                move || {
                    for (o, &x) in out.iter_mut().zip(x) {
                        *o = x.square_root();
                    }
                },
            );
            true
        }
        _ => power(x, y, out),
    }
}

/// The row kernel of an operation.
pub(crate) fn row<T: Number>(op: BinaryOp) -> Row<T> {
    use BinaryOp::*;
    match op {
        Add => add,
        Sub => sub,
        Mul => mul,
        Div => div,
        Pow => pow,
        Mod => modulo,
        FMod => fmod,
        Min => min,
        Max => max,
        BitAnd => bit_and,
        BitOr => bit_or,
        BitXor => bit_xor,
        Shl => shl,
        Shr => shr,
        PRelu => prelu,
    }
}

/// The row kernel of an operation, where the type has it.
fn row_of<T: Number>(op: BinaryOp) -> Result<Row<T>, KernelError> {
    use BinaryOp::*;
    if !T::INTEGER && matches!(op, BitAnd | BitOr | BitXor | Shl | Shr) {
        return Err(KernelError::Unsupported { op: format!("{op:?}"), ty: T::NAME });
    }
    Ok(T::binary_row(op))
}

/// `out = op(a, b)` with both operands broadcast as `plan` says.
pub fn binary<T: Number>(
    pool: &Pool,
    op: BinaryOp,
    plan: &Broadcast,
    a: &[T],
    b: &[T],
    out: &mut [T],
) -> Result<(), KernelError> {
    expect_len("the first operand", a.len(), plan.operand_len(0))?;
    expect_len("the second operand", b.len(), plan.operand_len(1))?;
    expect_len("the output", out.len(), plan.len())?;
    let row = row_of::<T>(op)?;
    let fine = std::sync::atomic::AtomicBool::new(true);
    let out = SharedMut::new(out);
    plan.for_runs(pool, GRAIN, &|run, [ra, rb]| {
        // SAFETY: `for_runs` hands out disjoint runs.
        let out = unsafe { out.slice(run) };
        if !row(&a[ra], &b[rb], out) {
            fine.store(false, std::sync::atomic::Ordering::Relaxed);
        }
    });
    if fine.into_inner() { Ok(()) } else { Err(KernelError::DivisionByZero) }
}

/// `a = op(a, b)`, for when the output has the first operand's shape.
pub fn binary_in_place<T: Number>(
    pool: &Pool,
    op: BinaryOp,
    plan: &Broadcast,
    a: &mut [T],
    b: &[T],
) -> Result<(), KernelError> {
    in_place(pool, plan, 0, a, b, row_of::<T>(op)?)
}

/// `b = op(a, b)`, for when the output has the second operand's shape.
pub fn binary_in_place_rhs<T: Number>(
    pool: &Pool,
    op: BinaryOp,
    plan: &Broadcast,
    a: &[T],
    b: &mut [T],
) -> Result<(), KernelError> {
    in_place(pool, plan, 1, b, a, row_of::<T>(op)?)
}

/// The operand `which` (0 or 1) of the plan is `own`, overwritten; the other is `other`.
fn in_place<T: Number>(
    pool: &Pool,
    plan: &Broadcast,
    which: usize,
    own: &mut [T],
    other: &[T],
    row: Row<T>,
) -> Result<(), KernelError> {
    expect_len("the operand overwritten", own.len(), plan.operand_len(which))?;
    expect_len("the other operand", other.len(), plan.operand_len(1 - which))?;
    expect_len("the output", own.len(), plan.len())?;
    let fine = std::sync::atomic::AtomicBool::new(true);
    let own = SharedMut::new(own);
    plan.for_runs(pool, GRAIN, &|run, at| {
        // SAFETY: `for_runs` hands out disjoint runs.
        let out = unsafe { own.slice(run) };
        let other = &other[at[1 - which].clone()];
        // The loops read and write different slices: copy a block that stays in the first-level cache.
        let mut block = [T::ZERO; 512];
        for (i, out) in out.chunks_mut(block.len()).enumerate() {
            let own = &mut block[..out.len()];
            own.copy_from_slice(out);
            let other = if other.len() == 1 { other } else { &other[i * 512..i * 512 + out.len()] };
            if !(if which == 0 { row(own, other, out) } else { row(other, own, out) }) {
                fine.store(false, std::sync::atomic::Ordering::Relaxed);
            }
        }
    });
    if fine.into_inner() { Ok(()) } else { Err(KernelError::DivisionByZero) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::Rng;

    type Reference<T> = fn(T, T) -> T;

    /// Pairs of shapes: same, scalar, bias, channels, outer product, empty, rank 0, many small dimensions.
    pub(crate) const SHAPES: &[(&[usize], &[usize])] = &[
        (&[3, 5, 7], &[3, 5, 7]),
        (&[40, 1031], &[40, 1031]),
        (&[40, 1031], &[]),
        (&[], &[40, 1031]),
        (&[33, 17, 129], &[129]),
        (&[2, 3, 9, 11], &[3, 1, 1]),
        (&[7, 1], &[1, 9]),
        (&[2, 1, 4, 1, 3], &[5, 1, 6, 1]),
        (&[0, 4], &[4]),
        (&[3, 1], &[1, 0]),
        (&[], &[]),
    ];

    /// The flat index into an operand of `shape` for the `i`-th element of `out`.
    fn source(out: &[usize], shape: &[usize], i: usize) -> usize {
        let (mut i, mut at, mut stride) = (i, 0, 1);
        for d in (0..out.len()).rev() {
            let index = i % out[d];
            i /= out[d];
            if d + shape.len() >= out.len() {
                let size = shape[d + shape.len() - out.len()];
                at += if size == 1 { 0 } else { index * stride };
                stride *= size;
            }
        }
        at
    }

    fn check<T: Number + std::fmt::Debug>(
        op: BinaryOp,
        make: &mut dyn FnMut(usize) -> T,
        want: impl Fn(T, T) -> T,
        close: impl Fn(T, T) -> bool,
    ) {
        for threads in [1, 3] {
            let pool = Pool::new(threads);
            for &(sa, sb) in SHAPES {
                let plan = Broadcast::new(sa, sb).unwrap();
                let a: Vec<T> = (0..plan.operand_len(0)).map(&mut *make).collect();
                let b: Vec<T> = (0..plan.operand_len(1)).map(&mut *make).collect();
                let expected: Vec<T> = (0..plan.len())
                    .map(|i| want(a[source(plan.out_shape(), sa, i)], b[source(plan.out_shape(), sb, i)]))
                    .collect();
                let mut y = vec![T::ZERO; plan.len()];
                binary(&pool, op, &plan, &a, &b, &mut y).unwrap();
                let same = |y: &[T]| y.iter().zip(&expected).all(|(&h, &w)| close(h, w));
                assert!(same(&y), "{op:?} {} {sa:?} {sb:?}", T::NAME);
                if plan.len() == a.len() && plan.out_shape() == sa {
                    let mut y = a.clone();
                    binary_in_place(&pool, op, &plan, &mut y, &b).unwrap();
                    assert!(same(&y), "{op:?} in place {sa:?} {sb:?}");
                }
                if plan.len() == b.len() && plan.out_shape() == sb {
                    let mut y = b.clone();
                    binary_in_place_rhs(&pool, op, &plan, &a, &mut y).unwrap();
                    assert!(same(&y), "{op:?} in place on the right {sa:?} {sb:?}");
                }
            }
        }
    }

    #[test]
    fn floats_agree_with_f64() {
        use BinaryOp::*;
        let mut rng = Rng::fresh();
        let ops: [(BinaryOp, Reference<f64>); 10] = [
            (Add, |a, b| a + b),
            (Sub, |a, b| a - b),
            (Mul, |a, b| a * b),
            (Div, |a, b| a / b),
            (Pow, |a, b| a.powf(b)),
            (Mod, |a, b| a - b * (a / b).floor()),
            (FMod, |a, b| a - b * (a / b).trunc()),
            (Min, f64::min),
            (Max, f64::max),
            (PRelu, |a, b| if a < 0.0 { a * b } else { a }),
        ];
        for (op, f) in ops {
            // Positive bases for powers; remainders are discontinuous, so quarters, which are exact.
            let mut make = |_| match op {
                Pow => rng.float().abs() + 0.1,
                Mod | FMod => (rng.below(80) as f32 - 40.5) / 4.0,
                _ => rng.float() + 0.01,
            };
            let close = |h: f32, w: f32| (h - w).abs() <= 3e-7 * w.abs().max(0.3);
            check::<f32>(op, &mut make, |a, b| f(f64::from(a), f64::from(b)) as f32, close);
        }
    }

    #[test]
    fn integers_agree_with_wide_integers() {
        use BinaryOp::*;
        let mut rng = Rng::fresh();
        let ops: [(BinaryOp, Reference<i128>); 12] = [
            (Add, |a, b| a + b),
            (Sub, |a, b| a - b),
            (Mul, |a, b| a.wrapping_mul(b)),
            (Div, |a, b| a / b),
            (Mod, |a, b| (a % b + b) % b),
            (FMod, |a, b| a % b),
            (Min, i128::min),
            (Max, i128::max),
            (BitAnd, |a, b| a & b),
            (BitOr, |a, b| a | b),
            (BitXor, |a, b| a ^ b),
            (PRelu, |a, b| if a < 0 { a * b } else { a }),
        ];
        for (op, f) in ops {
            macro_rules! types {
                ($($t:ty)*) => { $(
                    let mut make = |_| match rng.bits() as $t { 0 => 1, v => v };
                    check::<$t>(op, &mut make, |a, b| f(a as i128, b as i128) as $t, |h, w| h == w);
                )* };
            }
            types!(i8 i16 i32 i64 u8 u16 u32 u64);
        }
    }

    #[test]
    fn integer_edges_do_not_panic() {
        let pool = Pool::new(1);
        let run = |op, a: i32, b: i32| {
            let mut y = [0];
            binary(&pool, op, &Broadcast::new(&[1], &[1]).unwrap(), &[a], &[b], &mut y).map(|()| y[0])
        };
        for op in [BinaryOp::Div, BinaryOp::Mod, BinaryOp::FMod] {
            assert_eq!(run(op, 3, 0), Err(KernelError::DivisionByZero));
        }
        assert_eq!(run(BinaryOp::Div, i32::MIN, -1), Ok(i32::MIN));
        assert_eq!(run(BinaryOp::Mod, i32::MIN, -1), Ok(0));
        assert_eq!(run(BinaryOp::FMod, -7, 3), Ok(-1));
        assert_eq!(run(BinaryOp::Mod, -7, 3), Ok(2));
        assert_eq!(run(BinaryOp::Pow, 0, -1), Ok(0));
        assert_eq!(run(BinaryOp::Pow, -1, -3), Ok(-1));
        assert_eq!(run(BinaryOp::Pow, -3, 3), Ok(-27));
        assert_eq!(run(BinaryOp::Pow, 2, -1), Ok(0));
        assert_eq!(run(BinaryOp::Shl, 1, 31), Ok(i32::MIN));
        assert_eq!(run(BinaryOp::Shl, 1, 32), Ok(0));
        assert_eq!(run(BinaryOp::Shr, -8, 1), Ok(-4));
        assert_eq!(run(BinaryOp::Shr, 8, -1), Ok(0));
        assert_eq!(run(BinaryOp::Shr, -8, -1), Ok(-1));
        assert_eq!(run(BinaryOp::Shr, -8, 100), Ok(-1));
        let mut y = [0f32];
        let refused = binary(&pool, BinaryOp::BitAnd, &Broadcast::new(&[1], &[1]).unwrap(), &[1.0], &[1.0], &mut y);
        assert!(matches!(refused, Err(KernelError::Unsupported { .. })));
        assert!(binary(&pool, BinaryOp::Add, &Broadcast::new(&[2], &[1]).unwrap(), &[1.0], &[1.0], &mut y).is_err());
    }

    #[test]
    fn constant_exponents_and_nan() {
        let pool = Pool::new(1);
        let (inf, nan) = (f32::INFINITY, f32::NAN);
        let x = [-2.0f32, 0.0, 3.0, inf, -inf, nan];
        for e in [2.0f32, 1.0, 0.5, 3.0, -1.0] {
            let mut y = [0.0; 6];
            binary(&pool, BinaryOp::Pow, &Broadcast::new(&[6], &[]).unwrap(), &x, &[e], &mut y).unwrap();
            for (x, y) in x.iter().zip(y) {
                let want = x.powf(e);
                assert!(y == want || (y.is_nan() && want.is_nan()), "{x}^{e} = {y}");
            }
        }
        for op in [BinaryOp::Min, BinaryOp::Max] {
            for (a, b) in [(nan, 1.0), (1.0, nan)] {
                let mut y = [0.0];
                binary(&pool, op, &Broadcast::new(&[1], &[1]).unwrap(), &[a], &[b], &mut y).unwrap();
                assert!(y[0].is_nan(), "{op:?}");
            }
        }
    }
}
