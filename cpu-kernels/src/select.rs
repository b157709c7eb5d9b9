//! Comparison, logic on bools (bytes of 0 and 1; any other byte counts as true), and selection.

use crate::broadcast::Broadcast;
use crate::error::{KernelError, expect_len};
use crate::number::Number;
use crate::pool::Pool;
use crate::split::SharedMut;
use crate::wide::wide;

/// Elements per parallel piece.
const GRAIN: usize = 16 << 10;

/// A comparison of x with y; any with NaN is false.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[allow(missing_docs, reason = "the names are the documentation")]
pub enum CompareOp {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// A logical operation on two bools.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[allow(missing_docs, reason = "the names are the documentation")]
pub enum LogicOp {
    And,
    Or,
    Xor,
}

/// `y = op(a, b)` as bools, broadcast as `plan` says.
pub fn compare<T: Number>(
    pool: &Pool,
    op: CompareOp,
    plan: &Broadcast,
    a: &[T],
    b: &[T],
    y: &mut [u8],
) -> Result<(), KernelError> {
    match op {
        CompareOp::Equal => map(pool, plan, a, b, y, |a, b| a == b),
        CompareOp::Less => map(pool, plan, a, b, y, |a, b| a < b),
        CompareOp::LessOrEqual => map(pool, plan, a, b, y, |a, b| a <= b),
        CompareOp::Greater => map(pool, plan, a, b, y, |a, b| a > b),
        CompareOp::GreaterOrEqual => map(pool, plan, a, b, y, |a, b| a >= b),
    }
}

/// `y = op(a, b)` on bools, broadcast as `plan` says.
pub fn logic(pool: &Pool, op: LogicOp, plan: &Broadcast, a: &[u8], b: &[u8], y: &mut [u8]) -> Result<(), KernelError> {
    match op {
        LogicOp::And => map(pool, plan, a, b, y, |a, b| (a != 0) & (b != 0)),
        LogicOp::Or => map(pool, plan, a, b, y, |a, b| (a != 0) | (b != 0)),
        LogicOp::Xor => map(pool, plan, a, b, y, |a, b| (a != 0) != (b != 0)),
    }
}

/// `y = !x` on bools. Panics if the lengths differ.
pub fn not(x: &[u8], y: &mut [u8]) {
    test(x, y, |v| v == 0);
}

/// Whether each is NaN. Panics if the lengths differ.
pub fn is_nan<T: Number>(x: &[T], y: &mut [u8]) {
    test(x, y, |v| v.partial_cmp(&v).is_none());
}

/// Whether each is +infinity (if `positive`) or -infinity (if `negative`). Panics if the lengths differ.
pub fn is_inf(x: &[f64], positive: bool, negative: bool, y: &mut [u8]) {
    test(x, y, |v| (positive && v == f64::INFINITY) || (negative && v == f64::NEG_INFINITY));
}

fn test<T: Copy>(x: &[T], y: &mut [u8], f: impl Fn(T) -> bool) {
    assert_eq!(x.len(), y.len(), "input and output of a test differ in length");
    for (y, &x) in y.iter_mut().zip(x) {
        *y = u8::from(f(x));
    }
}

fn map<T: Copy + Sync>(
    pool: &Pool,
    plan: &Broadcast,
    a: &[T],
    b: &[T],
    y: &mut [u8],
    f: impl Fn(T, T) -> bool + Sync + Copy,
) -> Result<(), KernelError> {
    expect_len("the first operand", a.len(), plan.operand_len(0))?;
    expect_len("the second operand", b.len(), plan.operand_len(1))?;
    expect_len("the output", y.len(), plan.len())?;
    let y = SharedMut::new(y);
    plan.for_runs(pool, GRAIN, &|run, [ra, rb]| {
        // SAFETY: `for_runs` hands out disjoint runs.
        let y = unsafe { y.slice(run) };
        let (a, b, n) = (&a[ra], &b[rb], y.len());
        wide(
            #[inline(always)]
            move || match (a.len() == n, b.len() == n) {
                (true, true) => y.iter_mut().zip(a.iter().zip(b)).for_each(|(y, (&a, &b))| *y = u8::from(f(a, b))),
                (true, false) => {
                    let b = b[0];
                    y.iter_mut().zip(a).for_each(|(y, &a)| *y = u8::from(f(a, b)));
                }
                (false, true) => {
                    let a = a[0];
                    y.iter_mut().zip(b).for_each(|(y, &b)| *y = u8::from(f(a, b)));
                }
                (false, false) => y.fill(u8::from(f(a[0], b[0]))),
            },
        );
    });
    Ok(())
}

/// `y = if cond { a } else { b }` on elements of `elem` bytes (1, 2, 4, 8 or 16); the plan is of the three shapes in this order.
pub fn where_(
    pool: &Pool,
    elem: usize,
    plan: &Broadcast<3>,
    cond: &[u8],
    a: &[u8],
    b: &[u8],
    y: &mut [u8],
) -> Result<(), KernelError> {
    let bytes = |n: usize| n.checked_mul(elem).ok_or(KernelError::TooLarge);
    expect_len("the condition", cond.len(), plan.operand_len(0))?;
    expect_len("the bytes of the first choice", a.len(), bytes(plan.operand_len(1))?)?;
    expect_len("the bytes of the second choice", b.len(), bytes(plan.operand_len(2))?)?;
    expect_len("the bytes of the output", y.len(), bytes(plan.len())?)?;
    match elem {
        1 => select::<u8, 1>(pool, plan, cond, a, b, y),
        2 => select::<u16, 2>(pool, plan, cond, a, b, y),
        4 => select::<u32, 4>(pool, plan, cond, a, b, y),
        8 => select::<u64, 8>(pool, plan, cond, a, b, y),
        16 => select::<u128, 16>(pool, plan, cond, a, b, y),
        n => return Err(KernelError::Setting(format!("no kernel for elements of {n} bytes"))),
    }
    Ok(())
}

/// `T` is the unsigned integer of `E` bytes.
fn select<T: bytemuck::Pod, const E: usize>(
    pool: &Pool,
    plan: &Broadcast<3>,
    cond: &[u8],
    a: &[u8],
    b: &[u8],
    y: &mut [u8],
) {
    let (a, b) = (a.as_chunks::<E>().0, b.as_chunks::<E>().0);
    let y = SharedMut::new(y.as_chunks_mut::<E>().0);
    plan.for_runs(pool, GRAIN, &|run, [rc, ra, rb]| {
        // SAFETY: `for_runs` hands out disjoint runs.
        let y = unsafe { y.slice(run) };
        let (cond, a, b, n) = (&cond[rc], &a[ra], &b[rb], y.len());
        if cond.len() < n {
            // One condition: a copy.
            match if cond[0] != 0 { a } else { b } {
                [v] => y.fill(*v),
                all => y.copy_from_slice(all),
            }
            return;
        }
        let value = |v: &[u8; E]| bytemuck::pod_read_unaligned::<T>(v);
        // Both choices are read whatever the condition, and in step: a loop without branches.
        let rows = y.iter_mut().zip(cond);
        let put =
            |y: &mut [u8; E], c: u8, a: T, b: T| y.copy_from_slice(bytemuck::bytes_of(&if c != 0 { a } else { b }));
        wide(
            #[inline(always)]
            move || match (a.len() == n, b.len() == n) {
                (true, true) => rows.zip(a.iter().zip(b)).for_each(|((y, &c), (a, b))| put(y, c, value(a), value(b))),
                (true, false) => {
                    let b = value(&b[0]);
                    rows.zip(a).for_each(|((y, &c), a)| put(y, c, value(a), b));
                }
                (false, true) => {
                    let a = value(&a[0]);
                    rows.zip(b).for_each(|((y, &c), b)| put(y, c, a, value(b)));
                }
                (false, false) => {
                    let (a, b) = (value(&a[0]), value(&b[0]));
                    rows.for_each(|(y, &c)| put(y, c, a, b));
                }
            },
        );
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::Rng;

    type Reference<T> = fn(&T, &T) -> bool;

    #[test]
    fn comparisons_agree_with_the_language() {
        let mut rng = Rng::fresh();
        let cases: [(CompareOp, Reference<f32>, Reference<i64>); 5] = [
            (CompareOp::Equal, f32::eq, i64::eq),
            (CompareOp::Less, f32::lt, i64::lt),
            (CompareOp::LessOrEqual, f32::le, i64::le),
            (CompareOp::Greater, f32::gt, i64::gt),
            (CompareOp::GreaterOrEqual, f32::ge, i64::ge),
        ];
        for threads in [1, 3] {
            let pool = Pool::new(threads);
            for (rows, cols) in [(3, 7), (40, 1031), (0, 3), (1, 1)] {
                let plan = Broadcast::new(&[rows, cols], &[rows, 1]).unwrap();
                let mut number = |_| match rng.below(7) {
                    6 => f32::NAN,
                    n => n as f32,
                };
                let a: Vec<f32> = (0..rows * cols).map(&mut number).collect();
                let b: Vec<f32> = (0..rows).map(&mut number).collect();
                let whole = |v: &[f32]| v.iter().map(|&v| v as i64).collect::<Vec<i64>>();
                let (ia, ib) = (whole(&a), whole(&b));
                for (op, f, g) in cases {
                    let mut y = vec![9; rows * cols];
                    compare(&pool, op, &plan, &a, &b, &mut y).unwrap();
                    assert!((0..y.len()).all(|i| y[i] == u8::from(f(&a[i], &b[i / cols]))), "{op:?}");
                    compare(&pool, op, &plan, &ia, &ib, &mut y).unwrap();
                    assert!((0..y.len()).all(|i| y[i] == u8::from(g(&ia[i], &ib[i / cols]))), "{op:?}");
                }
            }
        }
    }

    #[test]
    fn logic_is_that_of_bools() {
        let pool = Pool::new(1);
        let plan = Broadcast::new(&[4], &[4]).unwrap();
        let run = |op| {
            let mut y = [9; 4];
            logic(&pool, op, &plan, &[0, 0, 1, 255], &[0, 1, 0, 1], &mut y).unwrap();
            y
        };
        assert_eq!(run(LogicOp::And), [0, 0, 0, 1]);
        assert_eq!(run(LogicOp::Or), [0, 1, 1, 1]);
        assert_eq!(run(LogicOp::Xor), [0, 1, 1, 0]);
        let mut y = [9; 3];
        not(&[0, 1, 7], &mut y);
        assert_eq!(y, [1, 0, 0]);
        is_nan(&[1.0f32, f32::NAN, f32::INFINITY], &mut y);
        assert_eq!(y, [0, 1, 0]);
        is_inf(&[f64::NEG_INFINITY, f64::NAN, f64::INFINITY], true, false, &mut y);
        assert_eq!(y, [0, 0, 1]);
    }

    #[test]
    fn selection_takes_each_element_from_its_side() {
        let mut rng = Rng::fresh();
        for threads in [1, 3] {
            let pool = Pool::new(threads);
            for elem in [1, 2, 4, 8, 16] {
                for shapes in [
                    [&[3usize, 1, 9][..], &[5, 1], &[]],
                    [&[40, 700], &[40, 700], &[40, 700]],
                    [&[1], &[6, 7], &[7]],
                    [&[300, 1], &[1, 40], &[]],
                    [&[0, 2], &[2], &[1]],
                    [&[6, 7], &[], &[]],
                ] {
                    let plan = Broadcast::of(shapes).unwrap();
                    let cond: Vec<u8> = (0..plan.operand_len(0)).map(|_| rng.below(2) as u8 * 3).collect();
                    let mut bytes =
                        |k: usize| (0..plan.operand_len(k) * elem).map(|_| rng.bits() as u8).collect::<Vec<u8>>();
                    let (a, b) = (bytes(1), bytes(2));
                    let mut y = vec![0; plan.len() * elem];
                    where_(&pool, elem, &plan, &cond, &a, &b, &mut y).unwrap();
                    let out = plan.out_shape();
                    for i in 0..plan.len() {
                        let at = |shape: &[usize]| {
                            let (mut rest, mut at, mut stride) = (i, 0, 1);
                            for d in (0..out.len()).rev() {
                                if d + shape.len() >= out.len() {
                                    let n = shape[d + shape.len() - out.len()];
                                    at += if n == 1 { 0 } else { rest % out[d] * stride };
                                    stride *= n;
                                }
                                rest /= out[d];
                            }
                            at
                        };
                        let (from, j) =
                            if cond[at(shapes[0])] != 0 { (&a, at(shapes[1])) } else { (&b, at(shapes[2])) };
                        assert_eq!(y[i * elem..(i + 1) * elem], from[j * elem..(j + 1) * elem], "{shapes:?}");
                    }
                }
            }
        }
        let plan = Broadcast::of([&[1][..], &[1], &[1]]).unwrap();
        assert!(where_(&Pool::new(1), 3, &plan, &[1], &[0; 3], &[0; 3], &mut [0; 3]).is_err());
    }
}
