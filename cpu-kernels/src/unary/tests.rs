use super::UnaryOp::*;
use super::*;
use crate::oracle::{Rng, rel_err};

/// (function, least and greatest argument, allowed relative error of the whole result)
const CASES: &[(UnaryOp, f32, f32, f64)] = &[
    (Neg, -9.0, 9.0, 0.0),
    (Abs, -9.0, 9.0, 0.0),
    (Sign, -9.0, 9.0, 0.0),
    (Sqrt, 0.0, 90.0, 1e-7),
    (Rsqrt, 0.1, 90.0, 2e-7),
    (Reciprocal, 0.1, 9.0, 1e-7),
    (Square, -9.0, 9.0, 1e-7),
    (Exp, -20.0, 20.0, 3e-7),
    (Log, 1e-6, 90.0, 2e-7),
    (Sin, -9.0, 9.0, 3e-7),
    (Cos, -9.0, 9.0, 3e-7),
    (Tan, -1.5, 1.5, 3e-7),
    (Asin, -1.0, 1.0, 3e-7),
    (Acos, -1.0, 1.0, 3e-7),
    (Atan, -9.0, 9.0, 3e-7),
    (Sinh, -9.0, 9.0, 3e-7),
    (Cosh, -9.0, 9.0, 3e-7),
    (Asinh, -9.0, 9.0, 1e-6),
    (Acosh, 1.0, 9.0, 1e-6),
    (Atanh, -0.99, 0.99, 1e-6),
    (Erf, -5.0, 5.0, 6e-7),
    (Tanh, -9.0, 9.0, 3e-7),
    (Sigmoid, -20.0, 20.0, 3e-7),
    (Relu, -9.0, 9.0, 0.0),
    (Gelu, -9.0, 9.0, 5e-7),
    (GeluTanh, -9.0, 9.0, 5e-7),
    (Silu, -20.0, 20.0, 3e-7),
    (QuickGelu(1.702), -9.0, 9.0, 3e-7),
    (Softplus, -20.0, 20.0, 3e-7),
    (Softsign, -9.0, 9.0, 2e-7),
    (Floor, -9.0, 9.0, 0.0),
    (Ceil, -9.0, 9.0, 0.0),
    (Round, -9.0, 9.0, 0.0),
    (Trunc, -9.0, 9.0, 0.0),
    (LeakyRelu(0.1), -9.0, 9.0, 1e-7),
    (Elu(1.5), -9.0, 9.0, 2e-7),
    (Selu { alpha: 1.67, gamma: 1.05 }, -9.0, 9.0, 2e-7),
    (Celu(2.0), -9.0, 9.0, 2e-7),
    (HardSigmoid { alpha: 0.2, beta: 0.5 }, -9.0, 9.0, 2e-7),
    (HardSwish, -9.0, 9.0, 2e-7),
    (Mish, -9.0, 9.0, 5e-7),
    (ThresholdedRelu(0.7), -9.0, 9.0, 0.0),
    (Clip { lo: -1.0, hi: 2.5 }, -9.0, 9.0, 0.0),
    (Shrink { lambd: 1.0, bias: 0.5 }, -9.0, 9.0, 1e-7),
];

#[test]
fn functions_agree_with_f64() {
    let mut rng = Rng::fresh();
    for threads in [1, 3] {
        let pool = Pool::new(threads);
        for &(op, lo, hi, tolerance) in CASES {
            for n in [0, 1, 7, 1031, 40_003] {
                let mut x: Vec<f32> = rng.floats(n).iter().map(|v| lo + (hi - lo) * (v + 1.0) / 2.0).collect();
                // The error is relative to the whole result: one of ordinary size must be in it.
                x.iter_mut().take(1).for_each(|v| *v = hi);
                let want: Vec<f64> = x.iter().map(|&v| scalar_f64(op, f64::from(v))).collect();
                let mut y = vec![f32::NAN; n];
                unary_f32(&pool, op, &x, &mut y);
                let e = rel_err(&y, &want);
                assert!(e <= tolerance, "{op:?} of {n}: {e:e}");
                let mut z = x.clone();
                unary_in_place_f32(&pool, op, &mut z);
                // Vector functions may treat the end of a block otherwise; both must be as good.
                assert!(rel_err(&z, &want) <= tolerance, "{op:?} in place");
                let wide: Vec<f64> = x.iter().map(|&v| f64::from(v)).collect();
                let mut d = vec![0.0; n];
                unary_f64(&pool, op, &wide, &mut d);
                assert_eq!(d, want);
            }
        }
    }
}

#[test]
fn the_table_covers_extremes() {
    let pool = Pool::new(1);
    for &(op, ..) in CASES {
        let mut y = [f32::NAN; 9];
        unary_in_place_f32(&pool, op, &mut y);
        assert!(y.iter().all(|v| v.is_nan()), "{op:?} of NaN: {y:?}");
    }
    let limits = |op, x: f32| {
        let mut y = [x; 9];
        unary_in_place_f32(&pool, op, &mut y);
        assert!(y.iter().all(|v| *v == y[0] || v.is_nan()));
        y[0]
    };
    let inf = f32::INFINITY;
    assert_eq!(limits(Exp, inf), inf);
    assert_eq!(limits(Exp, -inf), 0.0);
    assert_eq!(limits(Tanh, -inf), -1.0);
    assert_eq!(limits(Erf, inf), 1.0);
    assert_eq!(limits(Sigmoid, -inf), 0.0);
    assert_eq!(limits(Sigmoid, inf), 1.0);
    assert_eq!(limits(Softplus, inf), inf);
    assert_eq!(limits(Softplus, -inf), 0.0);
    assert_eq!(limits(Log, 0.0), -inf);
    assert_eq!(limits(Log, inf), inf);
    assert!(limits(Log, -1.0).is_nan());
    assert_eq!(limits(Round, 2.5), 2.0);
    assert_eq!(limits(Round, -3.5), -4.0);
    assert_eq!(limits(Relu, -inf), 0.0);
}

#[test]
fn integers_wrap() {
    let pool = Pool::new(1);
    let run = |op, x: i8| {
        let mut y = [0i8; 3];
        unary_number(&pool, op, &[x; 3], &mut y);
        y[2]
    };
    assert_eq!(run(NumberOp::Neg, -128), -128);
    assert_eq!(run(NumberOp::Abs, -128), -128);
    assert_eq!(run(NumberOp::Abs, -5), 5);
    assert_eq!(run(NumberOp::Sign, -5), -1);
    assert_eq!(run(NumberOp::BitNot, 5), !5);
    assert_eq!(run(NumberOp::Clip(-2, 3), 9), 3);
    let mut u = [7u64, 0];
    unary_number_in_place(&pool, NumberOp::Sign, &mut u);
    assert_eq!(u, [1, 0]);
}

#[test]
fn erf_in_f64() {
    // Values of Python's math.erf.
    for (x, want) in [
        (0.1, 0.1124629160182849),
        (0.9, 0.7969082124228322),
        (1.7, 0.9837904585907745),
        (2.49, 0.9995707121322661),
        (2.51, 0.9996142945182758),
        (4.2, 0.9999999971445058),
    ] {
        assert!((erf_f64(x) - want).abs() < 3e-15 && (erf_f64(-x) + want).abs() < 3e-15, "erf({x}) = {}", erf_f64(x));
    }
    assert!(erf_f64(f64::NAN).is_nan());
}
