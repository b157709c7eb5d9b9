//! Speed of the products with packed weights beside the machine's multiply-add rate; one thread unless an argument says how many.

use std::hint::black_box;
use std::time::Instant;

use cpu_kernels::gemm::{Activation, Epilogue, PackedB, gemm_packed};
use cpu_kernels::pool::Pool;
use cpu_kernels::quant::{gemm_int4, gemm_int8_dynamic, quantize_weights_int4, quantize_weights_int8};

fn main() {
    let pool = Pool::new(std::env::args().nth(1).and_then(|s| s.parse().ok()).unwrap_or(1));
    println!("{} threads; GFLOP/s, best of several, and share of the multiply-add rate", pool.threads());
    for (m, k, n) in [
        (128, 384, 384),
        (128, 384, 1536),
        (128, 1536, 384),
        (8, 384, 1536),
        (1, 384, 1536),
        (1, 768, 3072),
        (512, 512, 512),
        (1024, 1024, 1024),
    ] {
        let a: Vec<f32> = (0..m * k).map(|i| (i % 17) as f32 * 0.1 - 0.8).collect();
        let plain: Vec<f32> = (0..k * n).map(|i| (i % 13) as f32 * 0.1 - 0.6).collect();
        let bias = vec![0.5; n];
        let b = PackedB::pack(&plain, k, n, false);
        let mut out = vec![0.0; m * n];
        print!("{m:5} x {k:5} x {n:5}:");
        for activation in [Activation::None, Activation::Gelu] {
            let epi = Epilogue { bias: Some(&bias), activation, ..Epilogue::default() };
            let (mut rate, mut best) = (0.0f64, f64::INFINITY);
            let flops = 2.0 * (m * n * k) as f64;
            let repeat = (3e7 / flops).ceil() as usize;
            for _ in 0..60 {
                rate = rate.max(fma_rate());
                let start = Instant::now();
                for _ in 0..repeat {
                    gemm_packed(&pool, m, black_box(&a), &b, &mut out, &epi);
                    black_box(&mut out);
                }
                best = best.min(start.elapsed().as_secs_f64() / repeat as f64);
            }
            let speed = flops / best * 1e-9;
            print!("  {activation:?} {speed:6.1} ({:3.0}% of {rate:.0})", speed / rate / pool.threads() as f64 * 100.0);
        }
        let (eight, four) = (quantize_weights_int8(&plain, k, n, false), quantize_weights_int4(&plain, k, n, false));
        let epi = Epilogue::default();
        let time = best(|| gemm_int8_dynamic(&pool, m, black_box(&a), &eight, &mut out, &epi));
        print!("  int8 {:6.1}", 2e-9 * (m * n * k) as f64 / time);
        let time = best(|| gemm_int4(&pool, m, black_box(&a), &four, &mut out, &epi));
        println!("  int4 {:6.1}", 2e-9 * (m * n * k) as f64 / time);
    }
}

/// The shortest time of a call, in seconds.
fn best(mut f: impl FnMut()) -> f64 {
    let begin = Instant::now();
    let mut best = f64::INFINITY;
    while begin.elapsed().as_secs_f64() < 0.2 {
        let start = Instant::now();
        f();
        best = best.min(start.elapsed().as_secs_f64());
    }
    best
}

/// The multiply-add rate of one thread in GFLOP/s, by twelve independent chains of the widest vectors.
fn fma_rate() -> f64 {
    use rten_simd::ops::{BitOps, NumOps};
    use rten_simd::{Isa, SimdOp};
    struct Chains(usize);
    impl SimdOp for Chains {
        type Output = (f32, usize);
        #[inline(always)]
        fn eval<I: Isa>(self, isa: I) -> Self::Output {
            let ops = isa.f32();
            let (x, y) = (ops.splat(black_box(0.999)), ops.splat(black_box(0.001)));
            let mut acc = [y; 12];
            for _ in 0..self.0 {
                for a in &mut acc {
                    *a = ops.mul_add(*a, x, y);
                }
            }
            let mut sum = acc[0];
            for a in &acc[1..] {
                sum = ops.add(sum, *a);
            }
            (ops.sum(sum), 12 * 2 * ops.len())
        }
    }
    let count = 20_000;
    let start = Instant::now();
    let (sum, flops) = Chains(black_box(count)).dispatch();
    black_box(sum);
    (count * flops) as f64 / start.elapsed().as_secs_f64() * 1e-9
}
