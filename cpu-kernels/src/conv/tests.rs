use super::*;
use crate::gemm::Activation;
use crate::oracle::{Rng, rel_err};

/// The definition, in f64.
pub(super) fn reference(s: &ConvShape, x: &[f32], w: &[f32], epi: &Epilogue) -> Vec<f64> {
    let [od, oh, ow] = s.output();
    let [a, b, c] = s.axes;
    let (cg, mg) = (s.in_channels / s.groups, s.out_channels / s.groups);
    let mut out = Vec::new();
    for n in 0..s.batch {
        for m in 0..s.out_channels {
            for p in 0..od * oh * ow {
                let (d, h, v) = (p / (oh * ow), p / ow % oh, p % ow);
                let mut sum = 0.0;
                for i in 0..cg {
                    let image = (n * s.in_channels + m / mg * cg + i) * s.in_plane();
                    for kd in 0..a.kernel {
                        for kh in 0..b.kernel {
                            for kw in 0..c.kernel {
                                if let (Some(d), Some(h), Some(v)) = (a.at(d, kd), b.at(h, kh), c.at(v, kw)) {
                                    let weight =
                                        w[((m * cg + i) * a.kernel + kd) * b.kernel * c.kernel + kh * c.kernel + kw];
                                    sum += f64::from(x[image + (d * b.input + h) * c.input + v]) * f64::from(weight);
                                }
                            }
                        }
                    }
                }
                let y = sum * f64::from(epi.alpha) + epi.bias.map_or(0.0, |b| f64::from(b[m]));
                let y = if epi.activation == Activation::Relu { y.max(0.0) } else { y };
                out.push(y + epi.residual.map_or(0.0, |r| f64::from(r[out.len()])));
            }
        }
    }
    out
}

fn check(s: &ConvShape, rng: &mut Rng) {
    let x = rng.floats(s.batch * s.in_channels * s.in_plane());
    let w = rng.floats(s.out_channels * s.in_channels / s.groups * s.taps());
    let bias = rng.floats(s.out_channels);
    let len = s.batch * s.out_channels * s.out_plane();
    let residual = rng.floats(len);
    let packed = PackedConv::pack(s.out_channels, s.in_channels / s.groups, s.axes.map(|a| a.kernel), s.groups, &w);
    let epilogues = [
        Epilogue::default(),
        Epilogue { bias: Some(&bias), activation: Activation::Relu, residual: Some(&residual), alpha: 1.0 },
        Epilogue { bias: Some(&bias), alpha: 0.5, ..Epilogue::default() },
    ];
    for epi in &epilogues {
        let expected = reference(s, &x, &w, epi);
        for threads in [1, 2, 3] {
            let mut out = vec![f32::NAN; len];
            conv(&Pool::new(threads), s, &x, &packed, epi, &mut out, &mut Vec::new());
            let err = rel_err(&out, &expected);
            assert!(err < 3e-6, "{s:?}, {threads} threads: {err}");
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
        (2, 16, 20, 1, square(17, 3, 1, 1)),
        (1, 64, 70, 1, square(7, 3, 1, 1)),
        (1, 32, 33, 1, square(14, 1, 1, 0)),
        (1, 32, 33, 1, square(14, 1, 2, 0)),
        (2, 9, 9, 9, square(23, 3, 1, 1)),
        (1, 9, 9, 9, square(23, 3, 2, 1)),
        (1, 4, 8, 4, square(7, 5, 1, 2)),
        (1, 8, 12, 4, square(9, 3, 1, 1)),
        (1, 600, 8, 1, square(20, 3, 1, 1)),
        (0, 3, 4, 1, square(9, 3, 1, 1)),
        (1, 0, 4, 1, square(9, 3, 1, 1)),
        (1, 3, 4, 1, square(2, 3, 1, 0)),
    ] {
        check(&ConvShape { batch, in_channels, out_channels, groups, axes }, &mut rng);
    }
}

#[test]
fn random_forms_match_f64() {
    let mut rng = Rng::fresh();
    for round in 0..120 {
        let dims = rng.range(1, 3);
        let spatial: Vec<Axis> = (0..dims)
            .map(|_| {
                let kernel = rng.range(1, 4);
                Axis {
                    input: rng.range(1, if dims == 3 { 6 } else { 40 }),
                    kernel,
                    stride: rng.range(1, 3),
                    dilation: rng.range(1, 3),
                    pad_begin: rng.below(4),
                    pad_end: rng.below(4),
                }
            })
            .collect();
        let groups = rng.range(1, 4);
        let in_group = if round % 2 == 0 { 1 } else { rng.range(1, 5) };
        let s = ConvShape {
            batch: rng.range(1, 2),
            in_channels: groups * in_group,
            out_channels: groups * rng.range(1, 4),
            groups,
            axes: axes(&spatial),
        };
        check(&s, &mut rng);
    }
}

#[test]
fn wrong_shapes_are_refused() {
    let good = ConvShape { batch: 1, in_channels: 2, out_channels: 2, groups: 1, axes: square(4, 3, 1, 1) };
    let w = PackedConv::pack(2, 2, [1, 3, 3], 1, &[0.0; 36]);
    let refused = |s: ConvShape| {
        std::panic::catch_unwind(|| {
            conv(&Pool::new(1), &s, &[0.0; 32], &w, &Epilogue::default(), &mut [0.0; 32], &mut Vec::new());
        })
        .is_err()
    };
    assert!(!refused(good));
    assert!(refused(ConvShape { batch: 2, ..good }));
    assert!(refused(ConvShape { groups: 2, ..good }));
    assert!(refused(ConvShape { axes: square(4, 1, 1, 0), ..good }));
    assert!(refused(ConvShape { groups: 0, ..good }));
}
