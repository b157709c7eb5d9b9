//! The kernels of transformers by class: `cargo bench -p stratoscope-cpu-kernels --bench transformer`.

use std::hint::black_box;
use std::time::Duration;

use cpu_kernels::attention::{AttentionShape, Strides, attention};
use cpu_kernels::gemm::{Activation, Epilogue, PackedB, gemm_packed};
use cpu_kernels::norm::{RowNorm, RowNormExtras, layer_norm};
use cpu_kernels::pool::Pool;
use cpu_kernels::quant::{Bytes, PackedIntegerB, matmul_integer_float};
use cpu_kernels::softmax::softmax_in_place;
use cpu_kernels::vecmath::gelu_in_place;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// Class, m, k, n.
const PRODUCTS: &[(&str, usize, usize, usize)] = &[
    ("tall", 128, 384, 384),
    ("tall", 128, 384, 1536),
    ("tall", 128, 1536, 384),
    ("square", 512, 512, 512),
    ("small", 8, 384, 1536),
    ("gemv", 1, 768, 3072),
];

fn products(c: &mut Criterion) {
    for threads in [1, 2] {
        let pool = Pool::new(threads);
        let mut group = c.benchmark_group(format!("gemm, {threads} threads"));
        group.measurement_time(Duration::from_secs(1)).warm_up_time(Duration::from_millis(300)).sample_size(20);
        for &(class, m, k, n) in PRODUCTS {
            // Elements here are floating-point (or integer) operations.
            group.throughput(Throughput::Elements((2 * m * k * n) as u64));
            let name = format!("{class}, {m} x {k} x {n}");
            let (a, b, bias) = (values(m * k), values(k * n), values(n));
            let mut out = vec![0.0; m * n];
            let packed = PackedB::pack(&b, k, n, false);
            for activation in [Activation::None, Activation::Gelu] {
                let epi = Epilogue { bias: Some(&bias), activation, ..Epilogue::default() };
                group.bench_function(BenchmarkId::new(format!("f32, {activation:?}"), &name), |x| {
                    x.iter(|| gemm_packed(&pool, m, black_box(&a), &packed, &mut out, &epi));
                });
            }
            let a: Vec<u8> = (0..m * k).map(|i| (i * 31 % 251) as u8).collect();
            let b: Vec<i8> = (0..k * n).map(|i| (i * 37 % 251) as u8 as i8).collect();
            let packed = PackedIntegerB::pack(Bytes::I8(&b), k, n, Bytes::I8(&[]));
            let epi = Epilogue { bias: Some(&bias), ..Epilogue::default() };
            group.bench_function(BenchmarkId::new("int8 to f32", &name), |x| {
                x.iter(|| {
                    let a = Bytes::U8(black_box(&a));
                    matmul_integer_float(&pool, m, a, Bytes::U8(&[128]), &packed, &[0.01], &mut out, &epi);
                });
            });
        }
        group.finish();
    }
}

fn attentions(c: &mut Criterion) {
    for threads in [1, 2] {
        let pool = Pool::new(threads);
        let mut group = c.benchmark_group(format!("attention, {threads} threads"));
        group.measurement_time(Duration::from_secs(1)).warm_up_time(Duration::from_millis(300)).sample_size(20);
        for (q_len, kv_len, causal) in [(128, 128, None), (512, 512, None), (512, 512, Some(0)), (1, 129, Some(128))] {
            let (heads, dim) = (12, 32);
            let (q, kv) = (Strides::bshd(heads, q_len, dim), Strides::bshd(heads, kv_len, dim));
            let shape = AttentionShape {
                batch: 1,
                heads,
                kv_heads: heads,
                q_len,
                kv_len,
                head_dim: dim,
                v_dim: dim,
                q,
                k: kv,
                v: kv,
                out: q,
                scale: 0.2,
            };
            let (q, kv) = (values(q_len * heads * dim), values(kv_len * heads * dim));
            let mut out = vec![0.0; q.len()];
            group.bench_function(format!("{heads} heads of {dim}, {q_len} x {kv_len}, causal {causal:?}"), |x| {
                x.iter(|| attention(&pool, &shape, black_box(&q), &kv, &kv, None, causal, &mut out));
            });
        }
        group.finish();
    }
}

fn rows(c: &mut Criterion) {
    let pool = Pool::new(1);
    let mut group = c.benchmark_group("rows");
    group.measurement_time(Duration::from_secs(1)).warm_up_time(Duration::from_millis(300)).sample_size(20);
    let (rows, cols) = (128, 384);
    let x = values(rows * cols);
    group.throughput(Throughput::Elements(x.len() as u64));
    let (scale, bias, mut y) = (values(cols), values(cols), x.clone());
    group.bench_function("layer norm with residual, 128 x 384", |b| {
        b.iter(|| {
            let norm = RowNorm { cols, scale: Some(&scale), bias: Some(&bias), epsilon: 1e-12, residual: Some(&x) };
            layer_norm(&pool, norm, black_box(&x), &mut y, RowNormExtras::default())
        });
    });
    group.bench_function("softmax, 384 x 128", |b| {
        b.iter(|| {
            y.copy_from_slice(black_box(&x));
            softmax_in_place(&pool, 128, &mut y)
        });
    });
    group.bench_function("gelu, 49152", |b| {
        b.iter(|| {
            y.copy_from_slice(black_box(&x));
            gelu_in_place(&mut y);
        });
    });
    group.finish();
}

fn values(n: usize) -> Vec<f32> {
    (0..n).map(|i| (i * 31 % 17) as f32 * 0.1 - 0.8).collect()
}

criterion_group!(benches, products, attentions, rows);
criterion_main!(benches);
