use super::*;
use crate::oracle::{Rng, matmul, rel_err};

/// Sizes around the edges of tiles and blocks, and none at all.
const SIZES: [(usize, usize, usize); 20] = [
    (0, 5, 3),
    (5, 0, 3),
    (5, 3, 0),
    (1, 1, 1),
    (1, 384, 384),
    (1, 67, 129),
    (2, 65, 40),
    (3, 17, 9),
    (5, 100, 31),
    (6, 16, 256),
    (7, 33, 257),
    (8, 15, 300),
    (12, 32, 64),
    (13, 31, 65),
    (64, 64, 64),
    (127, 129, 130),
    (200, 300, 100),
    (385, 40, 600),
    // Rows that are copied, for they lie a power of two apart.
    (50, 70, 512),
    (199, 300, 1024),
];

fn expected(m: usize, n: usize, product: &[f64], epi: &Epilogue) -> Vec<f64> {
    (0..m * n)
        .map(|i| {
            let x = product[i] * f64::from(epi.alpha) + epi.bias.map_or(0.0, |b| f64::from(b[i % n]));
            let x = match epi.activation {
                Activation::None => x,
                Activation::Relu => x.max(0.0),
                Activation::Gelu => 0.5 * x * (1.0 + crate::oracle::erf(x / 2f64.sqrt())),
                other => panic!("no reference for {other:?}"),
            };
            x + epi.residual.map_or(0.0, |r| f64::from(r[i]))
        })
        .collect()
}

#[test]
fn products_match_f64() {
    let mut rng = Rng::fresh();
    for threads in [1, 2, 3] {
        let pool = Pool::new(threads);
        for (m, n, k) in SIZES {
            let a = rng.floats(m * k);
            let b = rng.floats(k * n);
            let bias = rng.floats(n);
            let residual = rng.floats(m * n);
            let epilogues = [
                Epilogue::default(),
                Epilogue { bias: Some(&bias), ..Epilogue::default() },
                Epilogue { bias: Some(&bias), activation: Activation::Gelu, ..Epilogue::default() },
                Epilogue { bias: Some(&bias), alpha: 0.25, activation: Activation::Relu, residual: Some(&residual) },
                Epilogue { residual: Some(&residual), ..Epilogue::default() },
            ];
            for (trans_a, trans_b) in [(false, false), (true, false), (false, true), (true, true)] {
                let product = matmul(m, n, k, &a, trans_a, &b, trans_b);
                let packed = PackedB::pack(&b, k, n, trans_b);
                for epi in &epilogues {
                    let expected = expected(m, n, &product, epi);
                    let mut out = vec![f32::NAN; m * n];
                    gemm(&pool, m, n, k, &a, trans_a, &b, trans_b, &mut out, epi);
                    let err = rel_err(&out, &expected);
                    assert!(err < 2e-6, "{m} {n} {k}, {trans_a} {trans_b}, {threads} threads, {epi:?}: {err}");
                    if !trans_a {
                        let mut out = vec![f32::NAN; m * n];
                        gemm_packed(&pool, m, &a, &packed, &mut out, epi);
                        let err = rel_err(&out, &expected);
                        assert!(err < 2e-6, "packed {m} {n} {k}, {threads} threads: {err}");
                    }
                }
            }
        }
    }
}

#[test]
fn packed_rows_match_f64() {
    let mut rng = Rng::fresh();
    for (m, n, k) in SIZES {
        let a = rng.floats(m * k);
        let b = rng.floats(k * n);
        let bias = rng.floats(m);
        let left = pack::PackedA::pack(&a, m, k);
        let packed = PackedB::pack(&b, k, n, false);
        let product = matmul(m, n, k, &a, false, &b, false);
        for (threads, alpha) in [(1, 1.0), (2, 0.5)] {
            let expected: Vec<f64> =
                product.iter().enumerate().map(|(i, x)| x * f64::from(alpha) + f64::from(bias[i / n])).collect();
            let mut out = vec![f32::NAN; m * n];
            let product = Product {
                m,
                n,
                k,
                a: left.left(k),
                b: packed.panels.floats(),
                bias: Bias::Rows(&bias),
                alpha,
                activation: Activation::None,
                residual: None,
                out_row: n,
            };
            // SAFETY: `left` holds m rows of k.
            unsafe { product.run(&Pool::new(threads), &mut out) };
            let err = rel_err(&out, &expected);
            assert!(err < 2e-6, "{m} {n} {k}: {err}");
        }
    }
}

/// The kernel of machines with four lanes, on any machine.
#[test]
fn the_portable_kernel_matches_f64() {
    use rten_simd::isa::GenericIsa;
    let mut rng = Rng::fresh();
    let width = 8;
    for (m, n, k) in SIZES {
        let a = rng.floats(m * k);
        let b = rng.floats(k * n);
        let bias = rng.floats(n);
        let mut panels = vec![f32::NAN; n.div_ceil(width) * width * k];
        pack_columns(Plain { data: &b, row: n, transposed: false }, k, 0..n, width, &mut panels);
        let mut out = vec![f32::NAN; m * n];
        let block = Block {
            a: Left::rows(&a, k),
            rows: 0..m,
            b: panels.as_ptr(),
            b_step: width,
            b_panel: width * k,
            columns: 0..n,
            k,
            out: out.as_mut_ptr(),
            out_row: n,
            alpha: 0.5,
            bias: Bias::Columns(&bias),
            activation: Activation::Relu,
            residual: None,
        };
        block.eval(GenericIsa::new());
        let epi = Epilogue { bias: Some(&bias), alpha: 0.5, activation: Activation::Relu, residual: None };
        let err = rel_err(&out, &expected(m, n, &matmul(m, n, k, &a, false, &b, false), &epi));
        assert!(err < 3e-6, "{m} {n} {k}: {err}");
    }
}

#[test]
fn batches_match_f64() {
    let mut rng = Rng::fresh();
    for threads in [1, 2, 3] {
        let pool = Pool::new(threads);
        for (m, n, k) in SIZES {
            let a = rng.floats(3 * m * k);
            let b = rng.floats(2 * k * n);
            // Broadcast on both sides, and outputs in another order.
            let batch: Vec<_> = (0..6).map(|i| (i / 2 * m * k, i % 2 * k * n, (5 - i) * m * n)).collect();
            let mut out = vec![f32::NAN; 6 * m * n];
            batched_gemm(&pool, &batch, m, n, k, &a, &b, &mut out);
            for &(x, y, z) in &batch {
                let expected = matmul(m, n, k, &a[x..x + m * k], false, &b[y..y + k * n], false);
                let err = rel_err(&out[z..z + m * n], &expected);
                assert!(err < 2e-6, "{m} {n} {k}, {threads} threads: {err}");
            }
        }
    }
}

#[test]
fn wrong_sizes_are_refused() {
    let pool = Pool::new(1);
    let refused = |f: &dyn Fn()| std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)).is_err();
    let epi = Epilogue::default();
    assert!(refused(&|| gemm(&pool, 2, 2, 2, &[0.0; 3], false, &[0.0; 4], false, &mut [0.0; 4], &epi)));
    assert!(refused(&|| gemm(&pool, 2, 2, 2, &[0.0; 4], false, &[0.0; 4], false, &mut [0.0; 5], &epi)));
    assert!(refused(&|| batched_gemm(&pool, &[(0, 0, 0), (0, 0, 2)], 2, 2, 2, &[0.0; 4], &[0.0; 4], &mut [0.0; 6])));
    assert!(refused(&|| batched_gemm(&pool, &[(1, 0, 0)], 2, 2, 2, &[0.0; 4], &[0.0; 4], &mut [0.0; 4])));
}
