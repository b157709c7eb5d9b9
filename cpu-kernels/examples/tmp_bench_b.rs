//! Temporary.
use cpu_kernels::binary::*;
use cpu_kernels::broadcast::Broadcast;
use cpu_kernels::pool::Pool;
use cpu_kernels::*;
use std::time::Instant;
fn time(name: &str, bytes: usize, mut f: impl FnMut()) {
    for _ in 0..5 { f(); }
    let mut t: Vec<f64> = (0..200).map(|_| { let s = Instant::now(); f(); s.elapsed().as_secs_f64() * 1e6 }).collect();
    t.sort_by(f64::total_cmp);
    println!("{name:32} {:9.1} us  {:6.1} GB/s", t[100], bytes as f64 / t[100] / 1e3);
}
fn main() {
    let pool = Pool::new(1);
    let n = 128 * 1536;
    let x: Vec<f32> = (0..n).map(|i| ((i * 37 % 1000) as f32 - 500.0) / 100.0).collect();
    let z = x.clone();
    let mut y = vec![0f32; n];
    let p = Broadcast::new(&[128, 1536], &[128, 1536]).unwrap();
    time("add", 12 * n, || binary(&pool, BinaryOp::Add, &p, &x, &z, &mut y).unwrap());
    y.copy_from_slice(&x);
    time("add in place", 12 * n, || binary_in_place(&pool, BinaryOp::Mul, &p, &mut y, &z).unwrap());
    let q = Broadcast::new(&[512, 384], &[384]).unwrap();
    time("add bias 384", 8 * n, || binary(&pool, BinaryOp::Add, &q, &x, &z[..384], &mut y).unwrap());
    let q = Broadcast::new(&[n], &[]).unwrap();
    time("mul scalar", 8 * n, || binary(&pool, BinaryOp::Mul, &q, &x, &z[..1], &mut y).unwrap());
    time("pow 2", 8 * n, || binary(&pool, BinaryOp::Pow, &q, &x, &[2.0], &mut y).unwrap());
    time("pow 3", 8 * n, || binary(&pool, BinaryOp::Pow, &q, &x, &[3.0], &mut y).unwrap());
    use unary::UnaryOp::*;
    for op in [Relu, Gelu, GeluTanh, Tanh, Sigmoid, Silu, Erf, Exp, Log, Sqrt, Softplus, Round, Clip { lo: 0.0, hi: 6.0 }, HardSwish, Mish, Sin] {
        time(&format!("{op:?}"), 8 * n, || unary::unary_f32(&pool, op, &x, &mut y));
    }
    time("softmax 128", 8 * n, || softmax::softmax(&pool, 128, &x, &mut y).unwrap());
    time("softmax axis 0", 8 * n, || softmax::softmax_axis(&pool, softmax::SoftmaxKind::Softmax, &[128, 1536], 0, &x, &mut y).unwrap());
    let norm = norm::RowNorm { cols: 384, scale: Some(&z[..384]), bias: Some(&z[..384]), epsilon: 1e-5, residual: None };
    time("layer norm 384", 8 * n, || norm::layer_norm(&pool, norm, &x, &mut y, Default::default()).unwrap());
    let res = norm::RowNorm { residual: Some(&z), ..norm };
    time("layer norm 384 + residual", 12 * n, || norm::layer_norm(&pool, res, &x, &mut y, Default::default()).unwrap());
    let (xb, yb): (&[u8], &mut [u8]) = unsafe { (std::slice::from_raw_parts(x.as_ptr().cast(), 4 * n), std::slice::from_raw_parts_mut(y.as_mut_ptr().cast(), 4 * n)) };
    time("memcpy", 8 * n, || yb.copy_from_slice(xb));
    time("transpose SHD", 8 * n, || movement::transpose(&pool, 4, &[512, 12, 32], &[1, 0, 2], xb, yb).unwrap());
    time("transpose SHD to HDS", 8 * n, || movement::transpose(&pool, 4, &[512, 12, 32], &[1, 2, 0], xb, yb).unwrap());
    time("transpose 2d", 8 * n, || movement::transpose(&pool, 4, &[512, 384], &[1, 0], xb, yb).unwrap());
    time("transpose NCHW NHWC", 8 * n, || movement::transpose(&pool, 4, &[1, 48, 4096], &[0, 2, 1], xb, yb).unwrap());
    let idx: Vec<i64> = (0..512).map(|i| i * 7 % 512).collect();
    time("gather rows 384", 8 * n, || movement::gather(&pool, 4, &[512, 384], 0, &idx, xb, yb).unwrap());
    time("cast f32 f16", 6 * n, || cast::cast(&pool, cast::Kind::F32, cast::Kind::F16, true, n, xb, &mut yb[..2 * n]).unwrap());
    time("cast f16 f32", 6 * n, || cast::cast(&pool, cast::Kind::F16, cast::Kind::F32, true, n, &xb[..2 * n], yb).unwrap());
    time("cast i32 f32", 8 * n, || cast::cast(&pool, cast::Kind::I32, cast::Kind::F32, true, n, xb, yb).unwrap());
    time("cast bf16 f32", 6 * n, || cast::cast(&pool, cast::Kind::BF16, cast::Kind::F32, true, n, &xb[..2 * n], yb).unwrap());
    use reduce::*;
    let mut out = vec![0f32; n];
    for (name, shape, axes) in [("sum rows", [512usize, 384], vec![1usize]), ("sum cols", [512, 384], vec![0]), ("sum all", [512, 384], vec![0, 1])] {
        let plan = Reduction::new(&shape, &axes).unwrap();
        let m = plan.out_len();
        time(name, 4 * n, || reduce(&pool, ReduceOp::Sum, &plan, &x, &mut out[..m]).unwrap());
        time("   max", 4 * n, || reduce(&pool, ReduceOp::Max, &plan, &x, &mut out[..m]).unwrap());
    }
    let mut am = vec![0i64; 4];
    time("argmax 49152", 4 * n, || arg_reduce(&pool, ArgOp::Max, &[4, n / 4], 1, false, &x, &mut am).unwrap());
    let mut qv = vec![0u8; n];
    time("dynamic quantize", 5 * n, || { quantize::dynamic_quantize_linear(&pool, &x, &mut qv).unwrap(); });
    time("dequantize", 5 * n, || quantize::dequantize_linear(&pool, quantize::Granularity::Tensor, &[n], &[0.1], Some(&[3]), &qv, &mut out).unwrap());
    time("dequantize blocks 32", 5 * n, || quantize::dequantize_linear(&pool, quantize::Granularity::Blocks { axis: 1, size: 32 }, &[512, 384], &z[..512 * 12], None, &qv, &mut out).unwrap());
    let c: Vec<u8> = (0..n).map(|i| (i % 3 == 0) as u8).collect();
    let w = Broadcast::of([&[n][..], &[n], &[]]).unwrap();
    let ob: &mut [u8] = unsafe { std::slice::from_raw_parts_mut(out.as_mut_ptr().cast(), 4 * n) };
    time("where", 9 * n, || select::where_(&pool, 4, &w, &c, xb, &xb[..4], ob).unwrap());
    let pads = [(0, 0), (1, 1), (1, 1)];
    let mut pb = vec![0u8; 4 * 12 * 130 * 130];
    time("pad", 8 * n, || movement::pad(&pool, 4, movement::PadMode::Constant, &[12, 128, 128], &pads, &[0; 4], xb, &mut pb).unwrap());
}
