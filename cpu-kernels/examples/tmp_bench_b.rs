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
    let q = Broadcast::new(&[n], &[]).unwrap();
    time("pow 3", 8 * n, || binary(&pool, BinaryOp::Pow, &q, &x, &[3.0], &mut y).unwrap());
    use unary::UnaryOp::*;
    for op in [Relu, Gelu, GeluTanh, Sigmoid, Exp, Softplus, Clip { lo: 0.0, hi: 6.0 }, HardSwish, Mish, LeakyRelu(0.1)] {
        time(&format!("{op:?}"), 8 * n, || unary::unary_f32(&pool, op, &x, &mut y));
    }
    time("softmax 128", 8 * n, || softmax::softmax(&pool, 128, &x, &mut y).unwrap());
    time("softmax 384", 8 * n, || softmax::softmax(&pool, 384, &x, &mut y).unwrap());
    time("softmax axis 0", 8 * n, || softmax::softmax_axis(&pool, softmax::SoftmaxKind::Softmax, &[128, 1536], 0, &x, &mut y).unwrap());
    let norm = norm::RowNorm { cols: 384, scale: Some(&z[..384]), bias: Some(&z[..384]), epsilon: 1e-5, residual: None };
    time("layer norm 384", 8 * n, || norm::layer_norm(&pool, norm, &x, &mut y, Default::default()).unwrap());
    let (xb, yb): (&[u8], &mut [u8]) = unsafe { (std::slice::from_raw_parts(x.as_ptr().cast(), 4 * n), std::slice::from_raw_parts_mut(y.as_mut_ptr().cast(), 4 * n)) };
    time("cast f32 f16", 6 * n, || cast::cast(&pool, cast::Kind::F32, cast::Kind::F16, true, n, xb, &mut yb[..2 * n]).unwrap());
    time("cast f16 f32", 6 * n, || cast::cast(&pool, cast::Kind::F16, cast::Kind::F32, true, n, &xb[..2 * n], yb).unwrap());
    use reduce::*;
    let mut out = vec![0f32; n];
    for (name, axes) in [("rows", vec![1usize]), ("cols", vec![0])] {
        let plan = Reduction::new(&[512, 384], &axes).unwrap();
        let m = plan.out_len();
        time(&format!("sum {name}"), 4 * n, || reduce(&pool, ReduceOp::Sum, &plan, &x, &mut out[..m]).unwrap());
        time(&format!("max {name}"), 4 * n, || reduce(&pool, ReduceOp::Max, &plan, &x, &mut out[..m]).unwrap());
    }
    let mut qv = vec![0u8; n];
    time("dynamic quantize", 5 * n, || { quantize::dynamic_quantize_linear(&pool, &x, &mut qv).unwrap(); });
    time("range", 5 * n, || { std::hint::black_box(quantize::range_with_zero(&pool, &x)); });
    time("dequantize blocks 32", 5 * n, || quantize::dequantize_linear(&pool, quantize::Granularity::Blocks { axis: 1, size: 32 }, &[512, 384], &z[..512 * 12], None, &qv, &mut out).unwrap());
    let c: Vec<u8> = (0..n).map(|i| (i % 3 == 0) as u8).collect();
    let w = Broadcast::of([&[n][..], &[n], &[]]).unwrap();
    let ob: &mut [u8] = unsafe { std::slice::from_raw_parts_mut(out.as_mut_ptr().cast(), 4 * n) };
    time("where", 9 * n, || select::where_(&pool, 4, &w, &c, xb, &xb[..4], ob).unwrap());
    time("less", 5 * n, || select::compare(&pool, select::CompareOp::Less, &q, &x, &[0.0], &mut qv).unwrap());
}
