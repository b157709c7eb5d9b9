//! Convolutions by kernel class, channels first and blocked: `cargo bench -p stratoscope-cpu-kernels --bench conv`.

use std::hint::black_box;
use std::time::Duration;

use cpu_kernels::conv::blocked::{BlockedConv, InputLayout, Residual, blocked_len};
use cpu_kernels::conv::{Axis, ConvShape, PackedConv, axes, conv};
use cpu_kernels::gemm::{Activation, Epilogue};
use cpu_kernels::pool::Pool;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// Class, input and output channels, groups, side, kernel, stride.
const CASES: &[(&str, usize, usize, usize, usize, usize, usize)] = &[
    ("first layer 7x7", 3, 64, 1, 224, 7, 2),
    ("3x3", 64, 64, 1, 56, 3, 1),
    ("3x3", 256, 256, 1, 14, 3, 1),
    ("3x3 stride 2", 64, 128, 1, 56, 3, 2),
    ("1x1", 24, 144, 1, 56, 1, 1),
    ("1x1", 96, 576, 1, 14, 1, 1),
    ("depthwise 3x3", 32, 32, 32, 112, 3, 1),
    ("depthwise 3x3 stride 2", 144, 144, 144, 56, 3, 2),
];

fn convolutions(c: &mut Criterion) {
    for threads in [1, 2] {
        let pool = Pool::new(threads);
        let mut group = c.benchmark_group(format!("conv, {threads} threads"));
        group.measurement_time(Duration::from_secs(1)).warm_up_time(Duration::from_millis(300)).sample_size(20);
        for &(class, channels, out_channels, groups, side, kernel, stride) in CASES {
            let axis = Axis { input: side, kernel, stride, dilation: 1, pad_begin: kernel / 2, pad_end: kernel / 2 };
            let shape = ConvShape { batch: 1, in_channels: channels, out_channels, groups, axes: axes(&[axis, axis]) };
            let [_, h, w] = shape.output();
            let weights = values(out_channels * channels / groups * kernel * kernel);
            let bias = values(out_channels);
            // Elements here are floating-point operations.
            let flops = 2 * out_channels * h * w * channels / groups * kernel * kernel;
            group.throughput(Throughput::Elements(flops as u64));
            let name = format!("{class}, {channels} to {out_channels} at {side}");

            let x = values(channels * side * side);
            let packed = PackedConv::pack(out_channels, channels / groups, [1, kernel, kernel], groups, &weights);
            let epi = Epilogue { bias: Some(&bias), activation: Activation::Relu, ..Epilogue::default() };
            let (mut out, mut scratch) = (vec![0.0; out_channels * h * w], Vec::new());
            group.bench_function(BenchmarkId::new("channels first", &name), |b| {
                b.iter(|| conv(&pool, &shape, black_box(&x), &packed, &epi, &mut out, &mut scratch));
            });

            let packed = BlockedConv::pack(&shape, &weights, Some(&bias));
            let plain = packed.input_layout() == InputLayout::Plain;
            let x = if plain { x } else { values(blocked_len(channels, side * side)) };
            let mut out = vec![0.0; blocked_len(out_channels, h * w)];
            group.bench_function(BenchmarkId::new("blocked", &name), |b| {
                b.iter(|| packed.run(&pool, &shape, black_box(&x), Residual::None, Activation::Relu, &mut out));
            });
        }
        group.finish();
    }
}

fn values(n: usize) -> Vec<f32> {
    (0..n).map(|i| (i * 31 % 17) as f32 * 0.1 - 0.8).collect()
}

criterion_group!(benches, convolutions);
criterion_main!(benches);
