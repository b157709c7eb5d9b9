//! The fused kernels beside their CPU twins: the same plan runs on either, so what follows a product, in which order, and
//! what a masked query gets must be the same, not only right.

use cpu_kernels::attention as cpu_attention;
use cpu_kernels::conv::{Axis, ConvShape, PackedConv, axes};
use cpu_kernels::gemm::{self, Epilogue};
use cpu_kernels::pool::Pool;

use crate::kernels::attention::{Attention, HeadStrides, Mask, attention};
use crate::kernels::conv2d::{Conv2d, conv2d};
use crate::kernels::matmul::{MatMul, Weights, matmul};
use crate::kernels::softmax::softmax;
use crate::kernels::unary::{Activation, UnaryOp};
use crate::twin::{Bench, difference, fresh_seed, shared_gpu};
use crate::{Binding, Command, run_steps};

/// The activations that both sides fuse.
fn activations() -> Vec<(gemm::Activation, Activation)> {
    use gemm::Activation as Cpu;
    let with = |op, a, b| Activation { op, a, b };
    vec![
        (Cpu::None, Activation::NONE),
        (Cpu::Relu, Activation::of(UnaryOp::Relu)),
        (Cpu::Gelu, Activation::of(UnaryOp::Gelu)),
        (Cpu::GeluTanh, Activation::of(UnaryOp::GeluTanh)),
        (Cpu::Silu, with(UnaryOp::Silu, 1.0, 0.0)),
        (Cpu::Sigmoid, Activation::of(UnaryOp::Sigmoid)),
        (Cpu::Tanh, Activation::of(UnaryOp::Tanh)),
        (Cpu::Clip(-0.5, 1.5), with(UnaryOp::Clip, -0.5, 1.5)),
        (Cpu::HardSwish, Activation::of(UnaryOp::HardSwish)),
        (Cpu::HardSigmoid(0.2, 0.4), with(UnaryOp::HardSigmoid, 0.2, 0.4)),
        (Cpu::LeakyRelu(0.1), with(UnaryOp::LeakyRelu, 0.1, 0.0)),
    ]
}

fn floats(bench: &mut Bench, n: usize) -> (Vec<f32>, Binding) {
    let (v, binding) = bench.floats(n);
    (v.into_iter().map(|v| v as f32).collect(), binding)
}

/// Runs the command and holds its output against the CPU's.
fn same(bench: &Bench, label: &str, command: Command, y: &Binding, want: &[f32]) {
    run_steps(bench.gpu, &[&[command]], false, std::time::Instant::now()).unwrap();
    let bytes = bench.gpu.download(std::slice::from_ref(y)).unwrap().remove(0);
    let got: Vec<f64> = bytes.chunks_exact(4).map(|c| f64::from(bytemuck::pod_read_unaligned::<f32>(c))).collect();
    let want: Vec<f64> = want.iter().map(|&v| f64::from(v)).collect();
    assert!(want.iter().any(|v| *v != 0.0), "{label}: the CPU gave nothing to compare with");
    if let Some(why) = difference(&got, &want, 2e-5) {
        panic!("{label}, seed {}: {why}", bench.seed);
    }
}

#[test]
fn products_follow_the_same_steps() {
    let Some(gpu) = shared_gpu() else { return };
    let mut bench = Bench::new(gpu, fresh_seed());
    let pool = Pool::new(2);
    for (i, (cpu, device)) in activations().into_iter().enumerate() {
        // Few rows and many, both layouts of b.
        let (m, k, n) = ([3, 21][i % 2], 19, 23);
        let (a, ab) = floats(&mut bench, m * k);
        let (b, bb) = floats(&mut bench, k * n);
        let (bias, bias_b) = floats(&mut bench, n);
        let (residual, rb) = floats(&mut bench, m * n);
        let trans_b = i % 3 == 1;
        let mut want = vec![0.0; m * n];
        let epilogue = Epilogue { bias: Some(&bias), activation: cpu, residual: Some(&residual), alpha: 0.5 };
        gemm::gemm(&pool, m, n, k, &a, false, &b, trans_b, &mut want, &epilogue);
        let yb = bench.out(m * n);
        let mut op = MatMul::new(&ab, Weights::F32(&bb), &yb, [m as u32, k as u32, n as u32]);
        (op.trans_b, op.alpha, op.activation) = (trans_b, 0.5, device);
        (op.bias, op.residual) = (Some(&bias_b), Some(&rb));
        let command = matmul(gpu, &op).unwrap();
        same(&bench, &format!("product with {cpu:?}"), command, &yb, &want);
    }
}

#[test]
fn convolutions_follow_the_same_steps() {
    let Some(gpu) = shared_gpu() else { return };
    let mut bench = Bench::new(gpu, fresh_seed());
    let pool = Pool::new(2);
    for (c_in, c_out, groups) in [(6usize, 10usize, 1usize), (6, 18, 2), (5, 5, 5)] {
        let (batch, h, w) = (2, 9, 7);
        let axis = |input| Axis { input, kernel: 3, stride: 2, dilation: 1, pad_begin: 1, pad_end: 1 };
        let shape =
            ConvShape { batch, in_channels: c_in, out_channels: c_out, groups, axes: axes(&[axis(h), axis(w)]) };
        let [_, oh, ow] = shape.output();
        let total = batch * c_out * oh * ow;
        let (x, xb) = floats(&mut bench, batch * c_in * h * w);
        let (weights, wb) = floats(&mut bench, c_out * c_in / groups * 9);
        let (bias, bb) = floats(&mut bench, c_out);
        let (residual, rb) = floats(&mut bench, total);
        let packed = PackedConv::pack(c_out, c_in / groups, [1, 3, 3], groups, &weights);
        let mut want = vec![0.0; total];
        let epilogue =
            Epilogue { bias: Some(&bias), activation: gemm::Activation::Relu, residual: Some(&residual), alpha: 1.0 };
        cpu_kernels::conv::conv(&pool, &shape, &x, &packed, &epilogue, &mut want, &mut Vec::new());
        let yb = bench.out(total);
        let op = Conv2d {
            x: &xb,
            weights: &wb,
            weights_f16: false,
            bias: Some(&bb),
            residual: Some(&rb),
            y: &yb,
            input: [batch, c_in, h, w].map(|v| v as u32),
            c_out: c_out as u32,
            output: [oh as u32, ow as u32],
            window: [3, 3],
            groups: groups as u32,
            strides: [2, 2],
            pads: [1, 1],
            dilations: [1, 1],
            activation: Activation::of(UnaryOp::Relu),
        };
        let command = conv2d(gpu, &op).unwrap();
        same(&bench, &format!("convolution of {c_in} to {c_out} in {groups}"), command, &yb, &want);
    }
}

#[test]
fn attention_hides_the_same_keys() {
    let Some(gpu) = shared_gpu() else { return };
    let mut bench = Bench::new(gpu, fresh_seed());
    let pool = Pool::new(2);
    let (batch, heads, kv_heads, queries, keys, dim) = (2, 4, 2, 18, 21, 32);
    for (masked, causal) in [(false, None), (true, None), (true, Some(3))] {
        let (q, qb) = floats(&mut bench, batch * heads * queries * dim);
        let (k, kb) = floats(&mut bench, batch * kv_heads * keys * dim);
        let (v, vb) = floats(&mut bench, batch * kv_heads * keys * dim);
        // Query 0 of the first batch sees nothing at all, query 1 only what weighs next to nothing.
        let mask: Vec<f32> = (0..batch * queries * keys)
            .map(|i| match i / keys {
                0 => f32::NEG_INFINITY,
                1 => f32::MIN,
                _ => [0.0, f32::MIN, f32::NEG_INFINITY][bench.rng.int(0, 2) as usize],
            })
            .collect();
        let mb = bench.words(bytemuck::cast_slice(&mask));
        let scale = 1.0 / (dim as f32).sqrt();
        let shape = cpu_attention::AttentionShape {
            batch,
            heads,
            kv_heads,
            q_len: queries,
            kv_len: keys,
            head_dim: dim,
            v_dim: dim,
            q: cpu_attention::Strides::bshd(heads, queries, dim),
            k: cpu_attention::Strides::bshd(kv_heads, keys, dim),
            v: cpu_attention::Strides::bshd(kv_heads, keys, dim),
            out: cpu_attention::Strides::bshd(heads, queries, dim),
            scale,
        };
        let mut want = vec![0.0; q.len()];
        let cpu_mask = cpu_attention::Mask { data: &mask, batch: queries * keys, head: 0, q: keys, k: 1 };
        cpu_attention::attention(&pool, &shape, &q, &k, &v, masked.then_some(cpu_mask), causal, &mut want);
        let yb = bench.out(q.len());
        let rows = |heads: usize, rows: usize| HeadStrides::rows_first(heads as u32, rows as u32, dim as u32);
        let op = Attention {
            q: (&qb, rows(heads, queries)),
            k: (&kb, rows(kv_heads, keys)),
            v: (&vb, rows(kv_heads, keys)),
            y: (&yb, rows(heads, queries)),
            batch: batch as u32,
            heads: heads as u32,
            kv_heads: kv_heads as u32,
            queries: queries as u32,
            keys: keys as u32,
            dim: dim as u32,
            v_dim: dim as u32,
            scale,
            mask: masked.then_some(Mask {
                values: &mb,
                is_bool: false,
                strides: [(queries * keys) as u32, 0, keys as u32, 1],
            }),
            causal: causal.map(|c| c as i32),
        };
        let command = attention(gpu, &op).unwrap();
        same(&bench, &format!("attention, mask {masked}, causal {causal:?}"), command, &yb, &want);
    }
}

#[test]
fn softmax_is_the_same() {
    let Some(gpu) = shared_gpu() else { return };
    let mut bench = Bench::new(gpu, fresh_seed());
    let (x, xb) = floats(&mut bench, 7 * 133);
    let mut want = vec![0.0; x.len()];
    cpu_kernels::softmax::softmax(&Pool::new(1), 133, &x, &mut want).unwrap();
    let yb = bench.out(x.len());
    let command = softmax(gpu, &xb, &yb, 7, 133).unwrap();
    same(&bench, "softmax", command, &yb, &want);
}
