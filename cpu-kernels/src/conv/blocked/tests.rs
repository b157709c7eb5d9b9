use super::*;
use crate::conv::axes;
use crate::conv::tests::reference;
use crate::gemm::Epilogue;
use crate::oracle::{Rng, rel_err};
use crate::pooling::{self, PoolShape};

fn blocked(x: &[f32], channels: usize, plane: usize) -> Vec<f32> {
    let mut out = vec![f32::NAN; blocked_len(channels, x.len() / channels)];
    to_blocked(&Pool::new(2), channels, plane, x, &mut out);
    out
}

fn plain(x: &[f32], batch: usize, channels: usize, plane: usize) -> Vec<f32> {
    let mut out = vec![f32::NAN; batch * channels * plane];
    from_blocked(&Pool::new(2), channels, plane, x, &mut out);
    out
}

/// Every residual and activation against the definition in f64.
fn check(s: &ConvShape, rng: &mut Rng) {
    let Some(layout) = BlockedConv::takes(s) else { panic!("{s:?} has no blocked form") };
    let x = rng.floats(s.batch * s.in_channels * s.in_plane());
    let w = rng.floats(s.out_channels * s.in_channels / s.groups * s.taps());
    let bias = rng.floats(s.out_channels);
    let (plane, len) = (s.out_plane(), s.batch * s.out_channels * s.out_plane());
    if len == 0 {
        return;
    }
    let residual = rng.floats(len);
    let packed = BlockedConv::pack(s, &w, Some(&bias));
    let (input, added) = match layout {
        InputLayout::Plain => (x.clone(), blocked(&residual, s.out_channels, plane)),
        InputLayout::Blocked => (blocked(&x, s.in_channels, s.in_plane()), blocked(&residual, s.out_channels, plane)),
    };
    let sums = reference(s, &x, &w, &Epilogue { bias: Some(&bias), ..Epilogue::default() });
    for threads in [1, 2, 3] {
        for activation in [Activation::None, Activation::Relu, Activation::Clip(-0.5, 0.5), Activation::Sigmoid] {
            for kind in 0..3 {
                let mut out = if kind == 2 { added.clone() } else { vec![f32::NAN; added.len()] };
                let residual_kind = [Residual::None, Residual::Of(&added), Residual::InPlace][kind];
                packed.run(&Pool::new(threads), s, &input, residual_kind, activation, &mut out);
                let expected: Vec<f64> = (0..len)
                    .map(|i| {
                        let y = sums[i] + if kind == 0 { 0.0 } else { f64::from(residual[i]) };
                        match activation {
                            Activation::Relu => y.max(0.0),
                            Activation::Clip(low, high) => y.clamp(low.into(), high.into()),
                            Activation::Sigmoid => 1.0 / (1.0 + (-y).exp()),
                            _ => y,
                        }
                    })
                    .collect();
                let err = rel_err(&plain(&out, s.batch, s.out_channels, plane), &expected);
                // What is cut off is large, so that the rest has more of the error.
                let limit = if matches!(activation, Activation::None | Activation::Relu) { 3e-6 } else { 1e-5 };
                assert!(err < limit, "{s:?}, {threads} threads, {activation:?}, residual {kind}: {err}");
            }
        }
    }
}

fn square(input: usize, kernel: usize, stride: usize, pad: usize) -> [Axis; 3] {
    let axis = Axis { input, kernel, stride, dilation: 1, pad_begin: pad, pad_end: pad };
    axes(&[axis, axis])
}

#[test]
fn usual_forms_match_f64() {
    let mut rng = Rng::fresh();
    for (batch, in_channels, out_channels, groups, axes) in [
        (1, 3, 16, 1, square(33, 7, 2, 3)),
        (2, 1, 20, 1, square(28, 3, 1, 1)),
        (1, 4, 8, 1, square(16, 4, 4, 0)),
        (2, 16, 20, 1, square(17, 3, 1, 1)),
        (1, 64, 70, 1, square(7, 3, 1, 1)),
        (1, 24, 144, 1, square(14, 1, 1, 0)),
        (1, 32, 33, 1, square(14, 1, 2, 0)),
        (2, 9, 9, 9, square(23, 3, 1, 1)),
        (1, 40, 40, 40, square(23, 3, 2, 1)),
        (1, 16, 16, 16, square(40, 5, 1, 2)),
        (1, 64, 32, 2, square(9, 3, 1, 1)),
        (1, 600, 8, 1, square(20, 3, 1, 1)),
        (2, 24, 40, 1, square(13, 3, 1, 1)),
        (1, 64, 64, 1, square(28, 3, 1, 0)),
        (1, 20, 130, 1, square(7, 3, 1, 2)),
    ] {
        check(&ConvShape { batch, in_channels, out_channels, groups, axes }, &mut rng);
    }
}

#[test]
fn random_forms_match_f64() {
    let mut rng = Rng::fresh();
    for round in 0..90 {
        let spatial: [Axis; 2] = std::array::from_fn(|_| Axis {
            input: rng.range(1, 30),
            kernel: rng.range(1, 4),
            stride: rng.range(1, 3),
            dilation: rng.range(1, 3),
            pad_begin: rng.below(4),
            pad_end: rng.below(4),
        });
        let (groups, in_group, out_group) = match round % 3 {
            0 => (1, rng.range(1, 40), rng.range(1, 60)),
            1 => (rng.range(2, 40), 1, 1),
            _ => (rng.range(2, 3), block() * rng.range(1, 2), block() * rng.range(1, 3)),
        };
        let (batch, in_channels, out_channels) = (rng.range(1, 2), groups * in_group, groups * out_group);
        check(&ConvShape { batch, in_channels, out_channels, groups, axes: axes(&spatial) }, &mut rng);
    }
}

#[test]
fn pools_match_the_plain_ones() {
    let mut rng = Rng::fresh();
    let pool = Pool::new(2);
    for _ in 0..60 {
        let spatial: [Axis; 2] = std::array::from_fn(|_| {
            let kernel = rng.range(1, 4);
            let (pad_begin, pad_end) = (rng.below(kernel), rng.below(kernel));
            Axis {
                input: rng.range(1, 40),
                kernel,
                stride: rng.range(1, 3),
                dilation: rng.range(1, 2),
                pad_begin,
                pad_end,
            }
        });
        let (batch, channels) = (rng.range(1, 2), rng.range(1, 40));
        let shape = PoolShape { planes: batch * channels, axes: axes(&spatial), ceil_mode: rng.below(2) == 0 };
        let plane = product(&shape.axes.map(|a| a.input));
        let mut x = rng.floats(batch * channels * plane);
        let out_plane = product(&shape.output());
        if out_plane == 0 {
            continue;
        }
        let wide = PoolShape { planes: batch * channels.div_ceil(block()), ..shape };
        for kind in 0..3 {
            let mut expected = vec![f32::NAN; batch * channels * out_plane];
            let mut out = vec![f32::NAN; blocked_len(channels, batch * out_plane)];
            let input = blocked(&x, channels, plane);
            if kind == 0 {
                pooling::max_pool(&pool, &shape, &x, &mut expected);
                max_pool(&pool, &wide, &input, &mut out);
            } else {
                pooling::average_pool(&pool, &shape, &x, &mut expected, kind == 1);
                average_pool(&pool, &wide, &input, &mut out, kind == 1);
            }
            let out = plain(&out, batch, channels, out_plane);
            if kind == 0 {
                assert_eq!(out, expected, "{shape:?}");
                continue;
            }
            let expected: Vec<f64> = expected.iter().map(|&v| v.into()).collect();
            let err = rel_err(&out, &expected);
            assert!(err < 1e-6, "{shape:?} of kind {kind}: {err}");
        }
        let mut means = vec![f32::NAN; batch * channels];
        global_average_pool(&pool, channels, plane, &blocked(&x, channels, plane), &mut means);
        let exact: Vec<f64> =
            x.chunks(plane).map(|x| x.iter().map(|&v| f64::from(v)).sum::<f64>() / plane as f64).collect();
        // Means of numbers of both signs cancel: what is left is smaller than what was summed.
        assert!(rel_err(&means, &exact) < 1e-5, "{shape:?}: {}", rel_err(&means, &exact));

        // A NaN is the maximum of every window that has it.
        let at = rng.below(x.len());
        x[at] = f32::NAN;
        let (mut expected, mut out) =
            (vec![0.0; batch * channels * out_plane], vec![0.0; blocked_len(channels, batch * out_plane)]);
        pooling::max_pool(&pool, &shape, &x, &mut expected);
        max_pool(&pool, &wide, &blocked(&x, channels, plane), &mut out);
        let out = plain(&out, batch, channels, out_plane);
        assert!(
            out.iter().zip(&expected).all(|(a, b)| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())),
            "{shape:?}"
        );
    }
}

#[test]
fn scaling_multiplies_each_channel() {
    let mut rng = Rng::fresh();
    for _ in 0..20 {
        let (batch, channels, plane) = (rng.range(1, 3), rng.range(1, 40), rng.range(1, 2000));
        let (x, s) = (rng.floats(batch * channels * plane), rng.floats(batch * channels));
        let expected: Vec<f32> = x.iter().enumerate().map(|(i, x)| x * s[i / plane]).collect();
        let (wide, gate) = (blocked(&x, channels, plane), blocked(&s, channels, 1));
        let (mut out, mut over) = (vec![f32::NAN; wide.len()], wide.clone());
        scale(&Pool::new(2), plane, Some(&wide), &gate, &mut out);
        scale(&Pool::new(2), plane, None, &gate, &mut over);
        assert_eq!(plain(&out, batch, channels, plane), expected, "{batch} {channels} {plane}");
        assert_eq!(over, out);
    }
}

#[test]
fn layouts_are_inverse() {
    let mut rng = Rng::fresh();
    for _ in 0..40 {
        let (batch, channels, plane) = (rng.range(1, 3), rng.range(1, 50), rng.range(1, 300));
        let x = rng.floats(batch * channels * plane);
        assert_eq!(plain(&blocked(&x, channels, plane), batch, channels, plane), x, "{batch} {channels} {plane}");
    }
}

#[test]
fn wrong_sizes_are_refused() {
    let s = ConvShape { batch: 1, in_channels: 8, out_channels: 8, groups: 1, axes: square(4, 3, 1, 1) };
    let w = BlockedConv::pack(&s, &[0.0; 576], None);
    let refused = |s: ConvShape, x: usize| {
        let run = || {
            w.run(
                &Pool::new(1),
                &s,
                &vec![0.0; x],
                Residual::None,
                Activation::None,
                &mut vec![0.0; blocked_len(8, 16)],
            )
        };
        std::panic::catch_unwind(run).is_err()
    };
    assert!(!refused(s, blocked_len(8, 16)));
    assert!(refused(s, 1));
    assert!(refused(ConvShape { out_channels: 16, ..s }, blocked_len(8, 16)));
    assert!(refused(ConvShape { axes: square(4, 1, 1, 0), ..s }, blocked_len(8, 16)));
}
