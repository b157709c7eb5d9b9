//! Single operators, each with values to run on: all must have a GPU form.

use graph::{Attr, Tensor};

use crate::net::{Net, Rng, ints};

/// An input: fed, or a constant of the model.
pub enum In {
    Fed(Tensor),
    Held(Tensor),
    None,
}
use In::{Fed, Held};

/// One operator.
pub struct Case {
    pub name: String,
    pub net: Net,
}

fn int(name: &'static str, v: i64) -> (&'static str, Attr) {
    (name, Attr::Int(v))
}
fn list(name: &'static str, v: &[i64]) -> (&'static str, Attr) {
    (name, Attr::Ints(v.to_vec()))
}
fn float(name: &'static str, v: f32) -> (&'static str, Attr) {
    (name, Attr::Float(v))
}
fn text(name: &'static str, v: &'static str) -> (&'static str, Attr) {
    (name, Attr::String(v.into()))
}

fn case(op: &str, opset: i64, inputs: Vec<In>, attrs: &[(&str, Attr)], outputs: usize) -> Case {
    let mut net = Net::new(opset);
    let mut shapes = String::new();
    let ids: Vec<_> = inputs
        .into_iter()
        .map(|i| match i {
            Fed(t) => {
                shapes += &format!(" {}{:?}", t.dtype(), t.shape());
                Some(net.feed(t))
            }
            Held(t) => {
                shapes += &format!(" held {}{:?}", t.dtype(), t.shape());
                Some(net.hold(t))
            }
            In::None => None,
        })
        .collect();
    let outs = net.node(op, &ids, attrs, outputs);
    Case { name: format!("{op}{shapes} {attrs:?}"), net: net.out(&outs) }
}

/// Element by element.
pub fn elementwise(r: &mut Rng) -> Vec<Case> {
    let mut all = Vec::new();
    for op in [
        "Abs",
        "Neg",
        "Sign",
        "Reciprocal",
        "Exp",
        "Sin",
        "Cos",
        "Tanh",
        "Sigmoid",
        "Relu",
        "Gelu",
        "Softplus",
        "Softsign",
        "Floor",
        "Ceil",
        "Round",
        "LeakyRelu",
        "Elu",
        "Selu",
        "Celu",
        "HardSigmoid",
        "HardSwish",
        "Mish",
        "ThresholdedRelu",
        "Erf",
        "Sinh",
        "Cosh",
        "Atan",
        "Asinh",
    ] {
        all.push(case(op, 22, vec![Fed(r.f(&[3, 37]))], &[], 1));
    }
    for (op, least) in [("Sqrt", 0.1), ("Log", 0.1), ("Asin", -0.9), ("Acos", -0.9), ("Atanh", -0.9), ("Tan", -0.9)] {
        all.push(case(op, 22, vec![Fed(r.within(&[101], least, 0.9))], &[], 1));
    }
    all.push(case("Acosh", 22, vec![Fed(r.within(&[101], 1.1, 3.0))], &[], 1));
    for op in ["Abs", "Neg", "Sign", "Relu"] {
        all.push(case(op, 14, vec![Fed(r.i(&[41], -50, 50))], &[], 1));
    }
    for op in ["Add", "Sub", "Mul", "Max", "Min", "PRelu", "Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"]
    {
        all.push(case(op, 18, vec![Fed(r.f(&[2, 3, 4])), Fed(r.f(&[3, 1]))], &[], 1));
    }
    for op in ["Div", "Pow"] {
        all.push(case(op, 18, vec![Fed(r.within(&[5, 7], 0.5, 2.0)), Held(r.within(&[7], 0.5, 2.0))], &[], 1));
    }
    for op in ["Add", "Mul", "Max", "Less", "Equal"] {
        all.push(case(op, 18, vec![Fed(r.i(&[4, 9], -90, 90)), Fed(r.i(&[9], -90, 90))], &[], 1));
    }
    for op in ["And", "Or", "Xor"] {
        all.push(case(op, 18, vec![Fed(r.bools(&[6, 5])), Fed(r.bools(&[5]))], &[], 1));
    }
    all.push(case("Not", 18, vec![Fed(r.bools(&[33]))], &[], 1));
    all.push(case("Where", 18, vec![Fed(r.bools(&[4, 1])), Fed(r.f(&[4, 5])), Fed(r.f(&[5]))], &[], 1));
    for (t, to) in [(r.f(&[70]), 6), (r.i(&[70], -9, 9), 1), (r.bools(&[70]), 1), (r.i(&[70], -2, 2), 9)] {
        all.push(case("Cast", 19, vec![Fed(t)], &[int("to", to)], 1));
    }
    let bound = |v: f32| Held(Tensor::scalar(v));
    all.push(case("Clip", 13, vec![Fed(r.f(&[65])), bound(-0.5), bound(1.0)], &[], 1));
    all
}

/// Over an axis.
pub fn along(r: &mut Rng) -> Vec<Case> {
    let mut all = Vec::new();
    for (op, axis) in [("Softmax", -1), ("Softmax", 1), ("LogSoftmax", -1)] {
        all.push(case(op, 13, vec![Fed(r.f(&[2, 5, 33]))], &[int("axis", axis)], 1));
    }
    let row = |r: &mut Rng| Held(r.f(&[24]));
    all.push(case("LayerNormalization", 17, vec![Fed(r.f(&[5, 24])), row(r), row(r)], &[], 1));
    all.push(case("RMSNormalization", 23, vec![Fed(r.f(&[5, 24])), row(r)], &[], 1));
    for op in ["Sum", "Mean", "Max", "Min", "Prod", "L1", "L2", "SumSquare", "LogSum", "LogSumExp"] {
        for axes in [&[1][..], &[0, 2], &[0, 1, 2], &[-1, 0]] {
            let x = r.within(&[3, 4, 35], 0.5, 1.5);
            all.push(case(&format!("Reduce{op}"), 18, vec![Fed(x), Held(ints(axes))], &[int("keepdims", 0)], 1));
        }
    }
    all.push(case("ReduceSum", 18, vec![Fed(r.i(&[3, 4, 5], -9, 9)), Held(ints(&[0, 2]))], &[], 1));
    for (op, last) in [("ArgMax", 0), ("ArgMin", 1)] {
        all.push(case(op, 13, vec![Fed(r.f(&[3, 70, 4]))], &[int("axis", 1), int("select_last_index", last)], 1));
        all.push(case(op, 13, vec![Fed(r.i(&[6, 50], 0, 4))], &[int("axis", -1), int("select_last_index", last)], 1));
    }
    for (exclusive, reverse) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
        let how = [int("exclusive", exclusive), int("reverse", reverse)];
        all.push(case("CumSum", 14, vec![Fed(r.f(&[3, 9, 2])), Held(Tensor::scalar(1i64))], &how, 1));
    }
    let channel = |r: &mut Rng| Held(r.within(&[6], 0.5, 1.5));
    let four = vec![Fed(r.f(&[2, 6, 5, 3])), channel(r), channel(r), channel(r), channel(r)];
    all.push(case("BatchNormalization", 15, four, &[], 1));
    all.push(case("InstanceNormalization", 6, vec![Fed(r.f(&[2, 6, 5, 3])), channel(r), channel(r)], &[], 1));
    let grouped = vec![Fed(r.f(&[2, 6, 5, 3])), channel(r), channel(r)];
    all.push(case("GroupNormalization", 21, grouped, &[int("num_groups", 3)], 1));
    all
}

/// Data from place to place.
pub fn movement(r: &mut Rng) -> Vec<Case> {
    let mut all = Vec::new();
    let x = |r: &mut Rng| Fed(r.f(&[3, 4, 5]));
    all.push(case("Transpose", 13, vec![x(r)], &[list("perm", &[2, 0, 1])], 1));
    all.push(case(
        "Slice",
        13,
        vec![x(r), Held(ints(&[1, 0])), Held(ints(&[4, 5])), Held(ints(&[1, 2])), Held(ints(&[1, 2]))],
        &[],
        1,
    ));
    all.push(case("Concat", 13, vec![x(r), Fed(r.f(&[3, 2, 5])), x(r)], &[int("axis", 1)], 1));
    all.push(case("Split", 13, vec![x(r), Held(ints(&[1, 3]))], &[int("axis", 1)], 2));
    all.push(case("Expand", 13, vec![Fed(r.f(&[4, 1])), Held(ints(&[2, 4, 6]))], &[], 1));
    all.push(case("Tile", 13, vec![x(r), Held(ints(&[2, 1, 3]))], &[], 1));
    all.push(case("Tile", 13, vec![Fed(r.bools(&[2, 3])), Held(ints(&[2, 2]))], &[], 1));
    for op in ["DepthToSpace", "SpaceToDepth"] {
        all.push(case(op, 13, vec![Fed(r.f(&[2, 12, 4, 6]))], &[int("blocksize", 2)], 1));
    }
    all.push(case("DepthToSpace", 13, vec![Fed(r.f(&[2, 18, 2, 3]))], &[int("blocksize", 3), text("mode", "CRD")], 1));
    all.push(case("Gather", 13, vec![x(r), Fed(r.i(&[2, 3], -4, 4))], &[int("axis", 1)], 1));
    all.push(case("GatherElements", 13, vec![x(r), Fed(r.i(&[3, 2, 5], -4, 4))], &[int("axis", 1)], 1));
    all.push(case("GatherND", 13, vec![x(r), Fed(r.i(&[7, 2], -3, 3))], &[], 1));
    all.push(case("GatherND", 13, vec![x(r), Held(r.i(&[3, 2, 1], 0, 4))], &[int("batch_dims", 1)], 1));
    let rows = Tensor::from_vec(&[2, 2], vec![2i64, -1, 0, 3]);
    all.push(case("ScatterND", 16, vec![x(r), Fed(rows), Fed(r.f(&[2, 5]))], &[], 1));
    let four = |r: &mut Rng| Fed(r.f(&[2, 5, 6]));
    for (mode, pads) in
        [("constant", [0, 2, -1, 1, 0, 3]), ("reflect", [0, 2, 1, 1, 4, 3]), ("edge", [1, 2, 0, 0, 9, 3])]
    {
        all.push(case("Pad", 18, vec![four(r), Held(ints(&pads))], &[text("mode", mode)], 1));
    }
    all.push(case("Pad", 19, vec![four(r), Held(ints(&[0, 2, 1, 1, 4, 3]))], &[text("mode", "wrap")], 1));
    all.push(case("Pad", 18, vec![four(r), Held(ints(&[0, 2, 1, 1, 4, 3])), Held(Tensor::scalar(1.5f32))], &[], 1));
    all.push(case(
        "Pad",
        18,
        vec![Fed(r.i(&[4, 3], -9, 9)), Held(ints(&[1, 0, 0, 2])), Held(Tensor::scalar(-7i64))],
        &[],
        1,
    ));
    for (upper, k) in [(0, 0), (1, 1), (0, -2)] {
        all.push(case("Trilu", 14, vec![four(r), Held(Tensor::scalar(k as i64))], &[int("upper", upper)], 1));
    }
    let image = |r: &mut Rng| Fed(r.f(&[1, 2, 5, 6]));
    for (mode, how) in
        [("nearest", "half_pixel"), ("linear", "half_pixel"), ("linear", "align_corners"), ("linear", "asymmetric")]
    {
        let scales = Held(Tensor::from_vec(&[4], vec![1.0f32, 1.0, 2.0, 2.0]));
        let how = [text("mode", mode), text("coordinate_transformation_mode", how)];
        all.push(case("Resize", 13, vec![image(r), In::None, scales], &how, 1));
    }
    let sizes = Held(ints(&[1, 2, 7, 4]));
    all.push(case("Resize", 13, vec![image(r), In::None, In::None, sizes], &[text("mode", "linear")], 1));
    all
}

/// Products, convolutions, pools.
pub fn products(r: &mut Rng) -> Vec<Case> {
    let mut all = Vec::new();
    for (a, b) in [
        (&[7, 33][..], &[33, 19][..]),
        (&[2, 3, 8, 5], &[2, 3, 5, 9]),
        (&[2, 1, 8, 5], &[3, 5, 9]),
        (&[5], &[5, 3]),
        (&[4, 5], &[5]),
        (&[1, 64], &[64, 40]),
        (&[2, 6, 5], &[5, 8]),
    ] {
        all.push(case("MatMul", 13, vec![Fed(r.f(a)), Fed(r.f(b))], &[], 1));
    }
    for (ta, tb, c, beta) in [(0, 1, &[9][..], 1.0), (1, 0, &[6, 1], 0.5), (1, 1, &[6, 9], 1.0), (0, 0, &[], 2.0)] {
        let a = if ta == 1 { [17, 6] } else { [6, 17] };
        let b = if tb == 1 { [9, 17] } else { [17, 9] };
        let attrs = [int("transA", ta), int("transB", tb), float("alpha", 0.7), float("beta", beta)];
        all.push(case("Gemm", 13, vec![Fed(r.f(&a)), Held(r.f(&b)), Held(r.f(c))], &attrs, 1));
    }
    let conv = |r: &mut Rng, x: &[usize], w: &[usize]| vec![Fed(r.f(x)), Held(r.f(w)), Held(r.f(&w[..1]))];
    all.push(case(
        "Conv",
        11,
        conv(r, &[2, 3, 9, 11], &[8, 3, 3, 3]),
        &[list("pads", &[1, 1, 1, 1]), list("strides", &[2, 1])],
        1,
    ));
    all.push(case(
        "Conv",
        11,
        conv(r, &[1, 6, 7, 7], &[6, 1, 3, 3]),
        &[int("group", 6), list("dilations", &[2, 2])],
        1,
    ));
    all.push(case("Conv", 11, conv(r, &[1, 8, 7, 7], &[12, 4, 1, 1]), &[int("group", 2)], 1));
    all.push(case("Conv", 11, conv(r, &[2, 4, 20], &[9, 4, 5]), &[text("auto_pad", "SAME_UPPER")], 1));
    let pooled = [list("kernel_shape", &[3, 2]), list("strides", &[2, 2]), list("pads", &[1, 0, 1, 0])];
    for op in ["MaxPool", "AveragePool"] {
        all.push(case(op, 12, vec![Fed(r.f(&[2, 3, 9, 8]))], &pooled, 1));
    }
    all.push(case("GlobalAveragePool", 1, vec![Fed(r.f(&[2, 3, 9, 8]))], &[], 1));
    for (causal, flat) in [(0, false), (1, false), (1, true)] {
        let (q, kv): (&[usize], &[usize]) =
            if flat { (&[2, 5, 32], &[2, 7, 16]) } else { (&[2, 4, 5, 8], &[2, 2, 7, 8]) };
        let heads = [int("q_num_heads", 4), int("kv_num_heads", 2)];
        let attrs = [&[int("is_causal", causal)][..], if flat { &heads } else { &[] }].concat();
        all.push(case("Attention", 23, vec![Fed(r.f(q)), Fed(r.f(kv)), Fed(r.f(kv)), Fed(r.f(&[5, 7]))], &attrs, 1));
        let past = || [2, 2, 3, 8];
        let mut cached = vec![Fed(r.f(q)), Fed(r.f(kv)), Fed(r.f(kv)), Fed(r.bools(&[5, 10]))];
        cached.extend([Fed(r.f(&past())), Fed(r.f(&past()))]);
        all.push(case("Attention", 23, cached, &attrs, 3));
    }
    all
}

/// On 8-bit integers.
pub fn quantized(r: &mut Rng) -> Vec<Case> {
    let mut all = Vec::new();
    let scale = |r: &mut Rng, n: &[usize]| Held(r.within(n, 0.01, 0.03));
    let zero = |v: u8| Held(Tensor::scalar(v));
    all.push(case("QuantizeLinear", 13, vec![Fed(r.f(&[3, 40])), scale(r, &[]), zero(120)], &[], 1));
    all.push(case(
        "QuantizeLinear",
        13,
        vec![Fed(r.f(&[2, 5, 8])), scale(r, &[5]), Held(r.i8(&[5]))],
        &[int("axis", 1)],
        1,
    ));
    all.push(case("DequantizeLinear", 13, vec![Fed(r.u8(&[3, 40])), scale(r, &[]), zero(120)], &[], 1));
    all.push(case(
        "DequantizeLinear",
        13,
        vec![Fed(r.i8(&[2, 5, 8])), scale(r, &[8]), Held(r.i8(&[8]))],
        &[int("axis", 2)],
        1,
    ));
    let sums = Tensor::from_vec(&[90], (0..90).map(|_| r.int(-90_000, 90_000) as i32).collect());
    all.push(case("DequantizeLinear", 13, vec![Fed(sums), scale(r, &[])], &[], 1));
    all.push(case("DynamicQuantizeLinear", 11, vec![Fed(r.f(&[3, 400]))], &[], 3));
    let product = |a, b, za, zb| vec![Fed(a), b, za, zb];
    let (a, b) = (r.u8(&[3, 6, 37]), Held(r.i8(&[37, 13])));
    all.push(case("MatMulInteger", 10, product(a, b, zero(77), Held(r.i8(&[13]))), &[], 1));
    let (a, b) = (r.u8(&[6, 37]), Fed(r.u8(&[37, 13])));
    all.push(case("MatMulInteger", 10, product(a, b, Held(r.u8(&[6])), zero(3)), &[], 1));
    let (a, b) = (r.u8(&[2, 6, 7]), Fed(r.i8(&[2, 7, 3])));
    all.push(case("MatMulInteger", 10, product(a, b, zero(128), In::None), &[], 1));
    all
}
