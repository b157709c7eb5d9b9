//! Every kernel against index arithmetic, for every element size, over odd and empty shapes.

use super::*;
use crate::oracle::Rng;
use crate::pool::Pool;

/// All indices of a shape in C order.
fn indices(shape: &[usize]) -> Vec<Vec<usize>> {
    let mut all = vec![vec![]];
    for &n in shape {
        all = all.iter().flat_map(|i: &Vec<usize>| (0..n).map(move |k| [&i[..], &[k]].concat())).collect();
    }
    all
}

fn flat(shape: &[usize], index: &[usize]) -> usize {
    index.iter().zip(shape).fold(0, |at, (&i, &n)| {
        assert!(i < n);
        at * n + i
    })
}

fn len(shape: &[usize]) -> usize {
    shape.iter().product()
}

fn bytes(rng: &mut Rng, n: usize) -> Vec<u8> {
    (0..n).map(|_| rng.bits() as u8).collect()
}

/// Checks `run(elem, x, y)` against `source(index of y) = index of x, or None for zeros`.
fn check(
    shape: &[usize],
    out: &[usize],
    run: impl Fn(&Pool, usize, &[u8], &mut [u8]) -> Result<(), crate::error::KernelError>,
    source: impl Fn(&[usize]) -> Option<Vec<usize>>,
) {
    let mut rng = Rng::fresh();
    for (threads, elem) in [(1, 1), (3, 2), (3, 4), (1, 4), (3, 8), (1, 16)] {
        let x = bytes(&mut rng, len(shape) * elem);
        let mut want = vec![0; len(out) * elem];
        for (i, index) in indices(out).iter().enumerate() {
            if let Some(from) = source(index) {
                let from = flat(shape, &from) * elem;
                want[i * elem..(i + 1) * elem].copy_from_slice(&x[from..from + elem]);
            }
        }
        let mut y = vec![0xAA; want.len()];
        run(&Pool::new(threads), elem, &x, &mut y).unwrap();
        assert!(y == want, "{shape:?} to {out:?}, {elem} bytes, {threads} threads");
        assert!(run(&Pool::new(1), elem, &x, &mut vec![0; want.len() + 1]).is_err());
        assert!(run(&Pool::new(1), elem, &[&x[..], &[0]].concat(), &mut y).is_err());
    }
}

#[test]
fn transposes() {
    let cases: &[(&[usize], &[usize])] = &[
        (&[], &[]),
        (&[5], &[0]),
        (&[33, 70], &[1, 0]),
        (&[128, 128], &[1, 0]),
        (&[7, 12, 32], &[1, 0, 2]),
        (&[7, 12, 32], &[1, 2, 0]),
        (&[7, 12, 32], &[2, 1, 0]),
        (&[2, 17, 3, 19], &[0, 2, 3, 1]),
        (&[2, 17, 3, 19], &[3, 1, 0, 2]),
        (&[1, 17, 1, 19], &[3, 2, 1, 0]),
        (&[2, 3, 4, 5, 2], &[4, 2, 0, 3, 1]),
        (&[3, 0, 4], &[2, 1, 0]),
        (&[130, 1, 140], &[2, 0, 1]),
    ];
    for &(shape, perm) in cases {
        let out = transposed_shape(shape, perm).unwrap();
        check(
            shape,
            &out,
            |p, e, x, y| transpose(p, e, shape, perm, x, y),
            |i| {
                let mut from = vec![0; i.len()];
                perm.iter().zip(i).for_each(|(&p, &i)| from[p] = i);
                Some(from)
            },
        );
    }
    assert!(transpose(&Pool::new(1), 3, &[1, 2], &[1, 0], &[0; 6], &mut [0; 6]).is_err(), "3 bytes are no element");
    for perm in [&[0usize, 0][..], &[0, 2], &[0]] {
        assert!(transposed_shape(&[2, 3], perm).is_err());
    }
}

#[test]
fn expanding_and_tiling() {
    let cases: &[(&[usize], &[usize])] =
        &[(&[], &[3, 4]), (&[1, 7], &[5, 7]), (&[3, 1], &[2, 3, 50]), (&[2, 1, 3], &[2, 4, 3]), (&[1], &[0])];
    for &(shape, out) in cases {
        check(
            shape,
            out,
            |p, e, x, y| expand(p, e, shape, out, x, y),
            |i| {
                Some(shape.iter().zip(&i[i.len() - shape.len()..]).map(|(&n, &i)| if n == 1 { 0 } else { i }).collect())
            },
        );
    }
    assert!(expand(&Pool::new(1), 1, &[2], &[3], &[0; 2], &mut [0; 3]).is_err());
    let cases: &[(&[usize], &[usize])] =
        &[(&[3], &[4]), (&[2, 5], &[3, 1]), (&[2, 3, 4], &[1, 2, 3]), (&[2], &[0]), (&[], &[])];
    for &(shape, repeats) in cases {
        let out: Vec<usize> = shape.iter().zip(repeats).map(|(a, b)| a * b).collect();
        check(
            shape,
            &out,
            |p, e, x, y| tile(p, e, shape, repeats, x, y),
            |i| Some(i.iter().zip(shape).map(|(i, n)| i % n).collect()),
        );
    }
}

#[test]
fn slices() {
    // (size, start, end, step), and the indices that Python's range(size)[start:end:step] gives.
    let cases: [(usize, i64, i64, i64, &[usize]); 10] = [
        (5, 1, 4, 1, &[1, 2, 3]),
        (5, -2, i64::MAX, 1, &[3, 4]),
        (5, 4, i64::MIN, -2, &[4, 2, 0]),
        (5, -1, -4, -1, &[4, 3, 2]),
        (5, 3, 3, 1, &[]),
        (5, 4, 1, 1, &[]),
        (5, 0, 100, 3, &[0, 3]),
        (5, 100, i64::MIN, -1, &[4, 3, 2, 1, 0]),
        (0, 0, 1, 1, &[]),
        (1, i64::MIN, i64::MAX, i64::MAX, &[0]),
    ];
    let mut axes = vec![];
    for (size, start, end, step, want) in cases {
        let a = SliceAxis::onnx(size, start, end, step).unwrap();
        let have: Vec<usize> = (0..a.count).map(|i| (a.start as i64 + i as i64 * a.step) as usize).collect();
        assert_eq!(have, want, "{size} {start} {end} {step}");
        if size == 5 {
            axes.push(a);
        }
    }
    assert!(SliceAxis::onnx(5, 0, 1, 0).is_err());
    let shape = [5usize, 40, 5];
    for &a in &axes {
        for &b in &axes {
            let all = [a, SliceAxis { start: 3, step: 1, count: 31 }, b];
            let out = slice_shape(&shape, &all).unwrap();
            check(
                &shape,
                &out,
                |p, e, x, y| slice(p, e, &shape, &all, x, y),
                |i| Some(i.iter().zip(all).map(|(&i, a)| (a.start as i64 + i as i64 * a.step) as usize).collect()),
            );
        }
    }
    let bad = |start, step, count| {
        slice(&Pool::new(1), 1, &[3], &[SliceAxis { start, step, count }], &[0; 3], &mut vec![0; count])
    };
    assert!(bad(2, 1, 2).is_err() && bad(0, -1, 2).is_err() && bad(3, 1, 1).is_err() && bad(0, i64::MAX, 3).is_err());
}

#[test]
fn joining_and_splitting() {
    let mut rng = Rng::fresh();
    for threads in [1, 3] {
        let pool = Pool::new(threads);
        for (shape, axis, sizes) in [
            (&[3usize, 0, 50][..], 1, &[4usize, 1, 0, 7][..]),
            (&[0], 0, &[5, 6]),
            (&[4, 0], 1, &[3, 3]),
            (&[0, 9000], 0, &[2, 3]),
            (&[2, 0, 0], 2, &[1, 2]),
        ] {
            let with = |n: usize| {
                let mut s = shape.to_vec();
                s[axis] = n;
                s
            };
            let elem = 4;
            let whole = with(sizes.iter().sum());
            let x = bytes(&mut rng, len(&whole) * elem);
            let mut parts: Vec<Vec<u8>> = sizes.iter().map(|&n| vec![0xAA; len(&with(n)) * elem]).collect();
            let mut views: Vec<(usize, &mut [u8])> =
                sizes.iter().zip(&mut parts).map(|(&n, p)| (n, &mut p[..])).collect();
            split(&pool, elem, &whole, axis, &x, &mut views).unwrap();
            let mut start = 0;
            for (&n, part) in sizes.iter().zip(&parts) {
                for (i, mut index) in indices(&with(n)).into_iter().enumerate() {
                    index[axis] += start;
                    let from = flat(&whole, &index) * elem;
                    assert_eq!(part[i * elem..(i + 1) * elem], x[from..from + elem]);
                }
                start += n;
            }
            let shapes: Vec<Vec<usize>> = sizes.iter().map(|&n| with(n)).collect();
            let joined: Vec<(&[usize], &[u8])> = shapes.iter().zip(&parts).map(|(s, p)| (&s[..], &p[..])).collect();
            let mut y = vec![0; x.len()];
            concat(&pool, elem, axis, &joined, &mut y).unwrap();
            assert_eq!(y, x);
        }
        assert!(concat(&pool, 1, 0, &[], &mut []).is_err());
        assert!(concat(&pool, 1, 0, &[(&[2, 1], &[0; 2]), (&[1, 2], &[0; 2])], &mut [0; 4]).is_err());
        assert!(split(&pool, 1, &[4], 0, &[0; 4], &mut [(3, &mut [0; 3])]).is_err());
    }
}

#[test]
fn gathering() {
    let mut rng = Rng::fresh();
    for (shape, axis) in [(&[7usize, 30][..], 0), (&[7, 30], 1), (&[3, 5, 40], 1), (&[4], 0), (&[2, 3, 0], 1)] {
        let n = shape[axis];
        for count in [0, 1, 9] {
            let index: Vec<i64> = (0..count).map(|_| rng.below(2 * n) as i64 - n as i64).collect();
            let mut out = shape.to_vec();
            out[axis] = count;
            let real = |i: i64| if i < 0 { (i + n as i64) as usize } else { i as usize };
            check(
                shape,
                &out,
                |p, e, x, y| gather(p, e, shape, axis, &index, x, y),
                |i| {
                    let mut from = i.to_vec();
                    from[axis] = real(index[i[axis]]);
                    Some(from)
                },
            );
            let mut dims: Vec<usize> = shape.iter().map(|&n| n.saturating_sub(1).max(1).min(n)).collect();
            dims[axis] = count;
            let index: Vec<i64> = (0..len(&dims)).map(|_| rng.below(2 * n) as i64 - n as i64).collect();
            check(
                shape,
                &dims,
                |p, e, x, y| gather_elements(p, e, shape, axis, (&index, &dims), x, y),
                |i| {
                    let mut from = i.to_vec();
                    from[axis] = real(index[flat(&dims, i)]);
                    Some(from)
                },
            );
        }
    }
    for (shape, batch, rows, depth) in [
        (&[4usize, 5, 6][..], 0, &[7usize][..], 2),
        (&[4, 5, 6], 0, &[2, 3], 3),
        (&[4, 5, 6], 1, &[4, 3], 1),
        (&[4, 5, 6], 2, &[4, 5], 1),
        (&[4, 5, 6], 0, &[3], 0),
        (&[4, 5], 0, &[0], 1),
    ] {
        let mut dims = rows.to_vec();
        dims.push(depth);
        let index: Vec<i64> = (0..len(&dims)).map(|k| rng.below(shape[batch + k % depth]) as i64).collect();
        let out = [rows, &shape[batch + depth..]].concat();
        check(
            shape,
            &out,
            |p, e, x, y| gather_nd(p, e, shape, batch, (&index, &dims), x, y),
            |i| {
                let row = flat(rows, &i[..rows.len()]) * depth;
                let named = index[row..row + depth].iter().map(|&i| i as usize);
                Some(i[..batch].iter().copied().chain(named).chain(i[rows.len()..].iter().copied()).collect())
            },
        );
    }
    let pool = Pool::new(1);
    for bad in [-4, 3, i64::MIN, i64::MAX] {
        assert!(gather(&pool, 1, &[3], 0, &[bad], &[0; 3], &mut [0]).is_err());
        assert!(gather_elements(&pool, 1, &[3], 0, (&[bad], &[1]), &[0; 3], &mut [0]).is_err());
        assert!(gather_nd(&pool, 1, &[3], 0, (&[bad], &[1]), &[0; 3], &mut [0]).is_err());
        assert!(scatter_elements(ScatterOp::Add, &[3], 0, (&[bad], &[1]), &[1i32], &mut [0; 3]).is_err());
        assert!(scatter_nd_bytes(1, &[3], (&[bad], &[1]), &[1], &mut [0; 3]).is_err());
    }
    assert!(gather_nd(&pool, 1, &[3], 0, (&[0, 0], &[2]), &[0; 3], &mut [0]).is_err());
    assert!(gather_elements(&pool, 1, &[2, 1], 0, (&[0, 0], &[1, 2]), &[0; 2], &mut [0; 2]).is_err());
}

#[test]
fn scattering() {
    let mut rng = Rng::fresh();
    let ops = [ScatterOp::Set, ScatterOp::Add, ScatterOp::Mul, ScatterOp::Min, ScatterOp::Max];
    let join = |op, old: i32, new: i32| match op {
        ScatterOp::Set => new,
        ScatterOp::Add => old + new,
        ScatterOp::Mul => old.wrapping_mul(new),
        ScatterOp::Min => old.min(new),
        ScatterOp::Max => old.max(new),
    };
    for op in ops {
        for (shape, axis, dims) in
            [(&[5usize, 6][..], 0, &[9usize, 4][..]), (&[5, 6], 1, &[5, 2]), (&[4, 3, 2], 1, &[2, 7, 2])]
        {
            let n = shape[axis] as i64;
            let x: Vec<i32> = (0..len(shape)).map(|_| rng.below(19) as i32 - 9).collect();
            let updates: Vec<i32> = (0..len(dims)).map(|_| rng.below(19) as i32 - 9).collect();
            let index: Vec<i64> = (0..len(dims)).map(|_| rng.below(2 * n as usize) as i64 - n).collect();
            let mut want = x.clone();
            for (k, mut at) in indices(dims).into_iter().enumerate() {
                at[axis] = index[k].rem_euclid(n) as usize;
                let at = flat(shape, &at);
                want[at] = join(op, want[at], updates[k]);
            }
            let mut y = x.clone();
            scatter_elements(op, shape, axis, (&index, dims), &updates, &mut y).unwrap();
            assert_eq!(y, want, "{op:?}");
            if op == ScatterOp::Set {
                let mut y: Vec<u8> = x.iter().flat_map(|v| v.to_ne_bytes()).collect();
                let updates: Vec<u8> = updates.iter().flat_map(|v| v.to_ne_bytes()).collect();
                scatter_elements_bytes(4, shape, axis, (&index, dims), &updates, &mut y).unwrap();
                assert_eq!(y, want.iter().flat_map(|v| v.to_ne_bytes()).collect::<Vec<u8>>());
            }
        }
        let (shape, rows, depth) = ([5usize, 6, 3], 11, 2);
        let x: Vec<i32> = (0..90).map(|_| rng.below(19) as i32 - 9).collect();
        let updates: Vec<i32> = (0..rows * 3).map(|_| rng.below(19) as i32 - 9).collect();
        let index: Vec<i64> =
            (0..rows * depth).map(|k| rng.below(shape[k % 2]) as i64 - (k % 3 / 2 * shape[k % 2]) as i64).collect();
        let mut want = x.clone();
        for r in 0..rows {
            for j in 0..3 {
                let at =
                    flat(&shape, &[index[2 * r].rem_euclid(5) as usize, index[2 * r + 1].rem_euclid(6) as usize, j]);
                want[at] = join(op, want[at], updates[r * 3 + j]);
            }
        }
        let mut y = x.clone();
        scatter_nd(op, &shape, (&index, &[rows, depth]), &updates, &mut y).unwrap();
        assert_eq!(y, want, "{op:?}");
        if op == ScatterOp::Set {
            let mut y: Vec<u8> = x.iter().flat_map(|v| v.to_ne_bytes()).collect();
            let updates: Vec<u8> = updates.iter().flat_map(|v| v.to_ne_bytes()).collect();
            scatter_nd_bytes(4, &shape, (&index, &[rows, depth]), &updates, &mut y).unwrap();
            assert_eq!(y, want.iter().flat_map(|v| v.to_ne_bytes()).collect::<Vec<u8>>());
        }
    }
}

#[test]
fn padding() {
    // One row of 4, padded by 5 and 6: the source of each output element, by hand.
    let by_hand: [(PadMode, [i64; 15]); 4] = [
        (PadMode::Constant, [-1, -1, -1, -1, -1, 0, 1, 2, 3, -1, -1, -1, -1, -1, -1]),
        (PadMode::Edge, [0, 0, 0, 0, 0, 0, 1, 2, 3, 3, 3, 3, 3, 3, 3]),
        (PadMode::Reflect, [1, 2, 3, 2, 1, 0, 1, 2, 3, 2, 1, 0, 1, 2, 3]),
        (PadMode::Wrap, [3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1]),
    ];
    for (mode, map) in by_hand {
        let zero = [0u8; 16];
        let source = |&i: &i64| usize::try_from(i).ok();
        check(
            &[4],
            &[15],
            |p, e, x, y| pad(p, e, mode, &[4], &[(5, 6)], &zero[..e], x, y),
            |i| source(&map[i[0]]).map(|i| vec![i]),
        );
        let (shape, pads) = ([3, 4, 4], [(2, -1), (5, 6), (0, 0)]);
        let rows = |i: usize| match (mode, i) {
            (PadMode::Constant, 0 | 1) => None,
            (PadMode::Edge, i) => Some(i.saturating_sub(2)),
            (PadMode::Reflect, i) => Some(i.abs_diff(2)),
            (PadMode::Wrap, i) => Some((i + 1) % 3),
            (_, i) => Some(i - 2),
        };
        check(
            &shape,
            &[4, 15, 4],
            |p, e, x, y| pad(p, e, mode, &shape, &pads, &zero[..e], x, y),
            |i| Some(vec![rows(i[0])?, source(&map[i[1]])?, i[2]]),
        );
    }
    let pool = Pool::new(1);
    let mut y = [0; 3];
    pad(&pool, 1, PadMode::Constant, &[0], &[(1, 2)], &[7], &[], &mut y).unwrap();
    assert_eq!(y, [7; 3]);
    assert!(pad(&pool, 1, PadMode::Edge, &[0], &[(1, 2)], &[7], &[], &mut y).is_err());
    assert!(padded_shape(&[3], &[(-2, -2)]).is_err() && padded_shape(&[3], &[(i64::MAX, i64::MAX)]).is_err());
}

#[test]
fn depth_and_space() {
    for (n, c, h, w, b) in [(2, 8, 3, 5, 2), (1, 9, 2, 2, 3), (1, 3, 4, 4, 1), (0, 4, 2, 2, 2)] {
        let depth = c / (b * b);
        for order in [SpaceOrder::DepthLast, SpaceOrder::DepthFirst] {
            check(
                &[n, c, h, w],
                &[n, depth, h * b, w * b],
                |p, e, x, y| depth_to_space(p, e, [n, c, h, w], b, order, x, y),
                |i| {
                    let offset = i[2] % b * b + i[3] % b;
                    let channel =
                        if order == SpaceOrder::DepthLast { offset * depth + i[1] } else { i[1] * b * b + offset };
                    Some(vec![i[0], channel, i[2] / b, i[3] / b])
                },
            );
        }
        let (h, w) = (h * b, w * b);
        for order in [SpaceOrder::DepthLast, SpaceOrder::DepthFirst] {
            check(
                &[n, c, h, w],
                &[n, c * b * b, h / b, w / b],
                |p, e, x, y| space_to_depth(p, e, [n, c, h, w], b, order, x, y),
                |i| {
                    let (channel, offset) = if order == SpaceOrder::DepthLast {
                        (i[1] % c, i[1] / c)
                    } else {
                        (i[1] / b / b, i[1] % (b * b))
                    };
                    Some(vec![i[0], channel, i[2] * b + offset / b, i[3] * b + offset % b])
                },
            );
        }
    }
    assert!(space_to_depth(&Pool::new(1), 1, [1, 1, 3, 2], 2, SpaceOrder::DepthLast, &[0; 6], &mut [0; 6]).is_err());
    assert!(depth_to_space(&Pool::new(1), 1, [1, 3, 1, 1], 0, SpaceOrder::DepthLast, &[0; 3], &mut [0; 3]).is_err());
}

#[test]
fn triangles_and_one_hot() {
    for shape in [&[5usize, 7][..], &[2, 4, 3], &[0, 3], &[3, 0]] {
        for upper in [true, false] {
            for k in [-9, -2, 0, 1, 20, i64::MIN, i64::MAX] {
                check(
                    shape,
                    shape,
                    |_, e, x, y| trilu(e, shape, upper, k, x, y),
                    |i| {
                        let [.., r, c] = *i else { return None };
                        let above = c as i128 - r as i128 >= i128::from(k);
                        let on = c as i128 - r as i128 == i128::from(k);
                        (if upper { above } else { !above || on }).then(|| i.to_vec())
                    },
                );
            }
        }
    }
    let hot = |axis| {
        let mut y = [0u8; 12];
        one_hot(1, (&[0, -1, 7, 1], &[4]), axis, 3, &[9], &[1], &mut y).unwrap();
        y
    };
    assert_eq!(hot(1), [9, 1, 1, 1, 1, 9, 1, 1, 1, 1, 9, 1]);
    assert_eq!(hot(0), [9, 1, 1, 1, 1, 1, 1, 9, 1, 9, 1, 1]);
}

#[test]
fn ranges() {
    assert_eq!(range_len(3i64, 10, 3), Ok(3));
    assert_eq!(range_len(10i64, 3, -3), Ok(3));
    assert_eq!(range_len(i64::MAX - 2, i64::MAX, 1), Ok(2));
    assert_eq!(range_len(3u8, 1, 1), Ok(0));
    assert_eq!(range_len(0.0f32, 1.0, 0.3), Ok(4));
    assert!(
        range_len(0i32, 1, 0).is_err()
            && range_len(0.0, f64::NAN, 1.0).is_err()
            && range_len(0.0f32, f32::MAX, 1e-30).is_err()
    );
    let mut y = [0i16; 4];
    range(5, -2, &mut y);
    assert_eq!(y, [5, 3, 1, -1]);
    let mut y = [0f32; 3];
    range(1.0, 0.1, &mut y);
    assert!(y.iter().zip([1.0, 1.1, 1.2]).all(|(a, b)| (a - b).abs() < 1e-6));
}
