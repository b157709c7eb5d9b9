//! Speed of convolutions and attention at the shapes of known models, one thread unless an argument says how many.

use std::hint::black_box;
use std::time::Instant;

use cpu_kernels::attention::{AttentionShape, Strides, attention};
use cpu_kernels::conv::blocked::{BlockedConv, Residual, blocked_len};
use cpu_kernels::conv::{Axis, ConvShape, PackedConv, axes, conv};
use cpu_kernels::gemm::{Activation, Epilogue};
use cpu_kernels::pool::Pool;

fn main() {
    let pool = Pool::new(std::env::args().nth(1).and_then(|s| s.parse().ok()).unwrap_or(1));
    println!("{} threads; best of several", pool.threads());
    for (name, channels, out_channels, groups, size, kernel, stride) in [
        ("ResNet stem", 3, 64, 1, 224, 7, 2),
        ("ResNet 56", 64, 64, 1, 56, 3, 1),
        ("ResNet 28", 128, 128, 1, 28, 3, 1),
        ("ResNet 14", 256, 256, 1, 14, 3, 1),
        ("ResNet 7", 512, 512, 1, 7, 3, 1),
        ("ResNet 28 down", 64, 128, 1, 56, 3, 2),
        ("pointwise 14", 96, 576, 1, 14, 1, 1),
        ("pointwise 56", 24, 144, 1, 56, 1, 1),
        ("depthwise 112", 32, 32, 32, 112, 3, 1),
        ("depthwise 56 down", 144, 144, 144, 56, 3, 2),
        ("depthwise 14", 576, 576, 576, 14, 3, 1),
        ("depthwise 7", 960, 960, 960, 7, 3, 1),
    ] {
        let axis = Axis { input: size, kernel, stride, dilation: 1, pad_begin: kernel / 2, pad_end: kernel / 2 };
        let shape = ConvShape { batch: 1, in_channels: channels, out_channels, groups, axes: axes(&[axis, axis]) };
        let [_, h, w] = shape.output();
        let x = values(channels * size * size);
        let weights = values(out_channels * channels / groups * kernel * kernel);
        let bias = values(out_channels);
        let packed = PackedConv::pack(out_channels, channels / groups, [1, kernel, kernel], groups, &weights);
        let epi = Epilogue { bias: Some(&bias), activation: Activation::Relu, ..Epilogue::default() };
        let mut out = vec![0.0; out_channels * h * w];
        let mut scratch = Vec::new();
        let time = best(|| conv(&pool, &shape, black_box(&x), &packed, &epi, &mut out, &mut scratch));
        let flops = 2.0 * (out.len() * channels / groups * kernel * kernel) as f64;
        let blocked = BlockedConv::takes(&shape).map(|_| {
            let packed = BlockedConv::pack(&shape, &weights, Some(&bias));
            let x = values(blocked_len(channels, size * size).min(if channels <= 4 { x.len() } else { usize::MAX }));
            let mut out = vec![0.0; blocked_len(out_channels, h * w)];
            best(|| packed.run(&pool, &shape, black_box(&x), Residual::None, Activation::Relu, &mut out))
        });
        let show = |time: f64| format!("{:8.3} ms {:6.1} GFLOP/s", time * 1e3, flops / time * 1e-9);
        println!("{name:18} {}, blocked {}", show(time), blocked.map_or(String::new(), show));
    }
    for (heads, q_len, kv_len, dim) in [(12, 128, 128, 32), (12, 512, 512, 32), (12, 128, 128, 64), (12, 1, 128, 64)] {
        let strides = |len| Strides::bshd(heads, len, dim);
        let shape = AttentionShape {
            batch: 1,
            heads,
            kv_heads: heads,
            q_len,
            kv_len,
            head_dim: dim,
            v_dim: dim,
            q: strides(q_len),
            k: strides(kv_len),
            v: strides(kv_len),
            out: strides(q_len),
            scale: 0.2,
        };
        let (q, k, v) = (values(heads * q_len * dim), values(heads * kv_len * dim), values(heads * kv_len * dim));
        let mut out = vec![0.0; heads * q_len * dim];
        let time = best(|| attention(&pool, &shape, black_box(&q), &k, &v, None, None, &mut out));
        let flops = 4.0 * (heads * q_len * kv_len * dim) as f64;
        println!(
            "attention {heads} x {q_len} x {kv_len} x {dim}: {:.3} ms {:6.1} GFLOP/s",
            time * 1e3,
            flops / time * 1e-9
        );
    }
}

fn values(n: usize) -> Vec<f32> {
    (0..n).map(|i| (i * 31 % 17) as f32 * 0.1 - 0.8).collect()
}

/// The shortest time of a call, in seconds.
fn best(mut f: impl FnMut()) -> f64 {
    let begin = Instant::now();
    let mut best = f64::INFINITY;
    while begin.elapsed().as_secs_f64() < 0.25 {
        let start = Instant::now();
        f();
        best = best.min(start.elapsed().as_secs_f64());
    }
    best
}
