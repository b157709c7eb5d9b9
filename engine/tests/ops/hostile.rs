//! Values and attributes that no operator can do anything with: each case must end soon, in an error that names the node, and without a
//! panic or memory, whether the operands are constants or fed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use super::*;

const MIN: i64 = i64::MIN;
const MAX: i64 = i64::MAX;
const HUGE: i64 = 1 << 45;
/// The most that a case may take.
const LIMIT: u64 = 64 << 20;
/// What a plan says that knows all sizes and finds that they are too much together.
const ARENA: &str = "the activations' arena needs";

fn s(v: i64) -> Tensor {
    t(&[], &[v])
}

/// What comes of a case, with all operands constant or fed: the words of its errors.
fn errors(case: &One) -> Vec<Result<(), String>> {
    let all: Vec<usize> = (0..case.inputs.len()).collect();
    let run = |constant: &[usize]| {
        let case = One { inputs: case.inputs.clone(), attrs: case.attrs.clone(), constant: constant.to_vec(), ..*case };
        let start = Instant::now();
        let end = catch_unwind(AssertUnwindSafe(|| case.run_within(LIMIT)));
        assert!(start.elapsed() < Duration::from_secs(20), "{}: took {:?}", case.op, start.elapsed());
        match end {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(e)) => Err(e.to_string()),
            Err(_) => Err("a panic".into()),
        }
    };
    vec![run(&[]), run(&all)]
}

#[track_caller]
fn all_fail(cases: Vec<One>) {
    let mut wrong = Vec::new();
    for c in &cases {
        for (how, end) in ["fed", "constant"].iter().zip(errors(c)) {
            let shown = || {
                let t = |t: &Option<Tensor>| t.as_ref().map_or("-".into(), |t| format!("{}{:?}", t.dtype(), t.shape()));
                format!("{} ({how}) {:?} {:?}", c.op, c.inputs.iter().map(t).collect::<Vec<_>>(), c.attrs)
            };
            match end {
                Ok(()) => wrong.push(format!("{}: runs", shown())),
                Err(e) if !e.contains("\"node") && !e.contains(ARENA) => wrong.push(format!("{}: {e}", shown())),
                Err(_) => {}
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), 2 * cases.len(), wrong.join("\n"));
}

#[test]
fn integers() {
    let pair = |op, a: &[i64], b: &[i64]| one(op, 14, vec![i(a), i(b)]);
    all_fail(vec![
        pair("Div", &[1, 2], &[1, 0]),
        pair("Mod", &[1, 2], &[1, 0]),
        one("Div", 14, vec![t(&[1], &[1i32]), t(&[1], &[0i32])]),
        one("Div", 14, vec![t(&[1], &[1u8]), t(&[1], &[0u8])]),
        one("Mod", 13, vec![t(&[2], &[1i8, 2]), t(&[1], &[0i8])]),
        pair("Mod", &[5], &[0]).int("fmod", 1),
        one("Range", 11, vec![s(0), s(5), s(0)]),
        one("Range", 11, vec![s(0), s(HUGE), s(1)]),
        one("Range", 11, vec![s(MIN), s(MAX), s(1)]),
        one("Range", 11, vec![s(MAX), s(MIN), s(-1)]),
        one("Range", 11, vec![f(&[], &[0.0]), f(&[], &[1.0]), f(&[], &[0.0])]),
        one("Range", 11, vec![f(&[], &[0.0]), f(&[], &[f32::NAN]), f(&[], &[1.0])]),
        one("Range", 11, vec![f(&[], &[0.0]), f(&[], &[f32::INFINITY]), f(&[], &[1.0])]),
        one("Range", 11, vec![f(&[], &[0.0]), f(&[], &[1.0]), f(&[], &[1e-30])]),
    ]);
    // What two's complement has no number for wraps, as in C and NumPy.
    for (op, a, b) in [("Div", MIN, -1), ("Mul", MIN, -1), ("Add", MAX, 1), ("Sub", MIN, 1)] {
        let want = if op == "Add" || op == "Mul" || op == "Div" { MIN } else { MAX };
        pair(op, &[a], &[b]).gives(&[i(&[want])]);
    }
    pair("Mod", &[MIN], &[-1]).gives(&[i(&[0])]);
    pair("Mod", &[MIN], &[-1]).int("fmod", 1).gives(&[i(&[0])]);
    one("Abs", 13, vec![i(&[MIN])]).gives(&[i(&[MIN])]);
    one("Neg", 13, vec![i(&[MIN])]).gives(&[i(&[MIN])]);
    one("ReduceSum", 13, vec![i(&[MAX, 1])]).int("keepdims", 0).gives(&[s(MIN)]);
    one("ReduceProd", 18, vec![i(&[MIN, -1])]).int("keepdims", 0).gives(&[s(MIN)]);
    one("CumSum", 14, vec![i(&[MAX, 1]), s(0)]).gives(&[i(&[MAX, MIN])]);
    for (op, opset) in [("Pow", 15), ("BitShift", 11)] {
        let c = pair(op, &[2, MIN, 2], &[200, 3, -1]);
        let c = if op == "BitShift" { c.text("direction", "LEFT") } else { c };
        let ends = errors(&One { opset, ..c });
        assert!(ends.iter().all(|e| e != &Err("a panic".into())), "{op}: {ends:?}");
    }
}

#[test]
fn sizes_from_data() {
    let x = || count(&[2, 3]);
    let image = || count(&[1, 1, 2, 2]);
    let resize = |scales: &[f32]| One {
        inputs: vec![Some(image()), None, Some(f(&[scales.len()], scales))],
        ..one("Resize", 18, vec![])
    };
    let resize_to =
        |sizes: &[i64]| One { inputs: vec![Some(image()), None, None, Some(i(sizes))], ..one("Resize", 18, vec![]) };
    let mut cases = vec![
        one("Expand", 13, vec![x(), i(&[HUGE, 2, 3])]),
        one("Expand", 13, vec![x(), i(&[MAX, MAX, 2, 3])]),
        one("Expand", 13, vec![x(), i(&[-1, 2, 3])]),
        one("Tile", 13, vec![x(), i(&[HUGE, 1])]),
        one("Tile", 13, vec![x(), i(&[MAX, MAX])]),
        one("Tile", 13, vec![x(), i(&[MIN, 1])]),
        one("Pad", 18, vec![x(), i(&[HUGE, 0, 0, 0])]),
        one("Pad", 18, vec![x(), i(&[MAX, 0, MAX, 0])]),
        one("Pad", 18, vec![x(), i(&[MIN, 0, MIN, 0])]),
        one("Pad", 18, vec![x(), i(&[0, 0, -3, 0])]),
        one("Pad", 18, vec![x(), i(&[1, 1]), f(&[], &[0.0]), i(&[7])]),
        one("Pad", 18, vec![x(), i(&[1, 1, 1, 1]), f(&[], &[0.0]), i(&[0, -2])]),
        one("OneHot", 11, vec![i(&[0]), s(HUGE), f(&[2], &[0.0, 1.0])]),
        one("OneHot", 11, vec![i(&[0]), s(-1), f(&[2], &[0.0, 1.0])]),
        one("OneHot", 11, vec![i(&[0]), s(3), f(&[3], &[0.0, 1.0, 2.0])]),
        one("OneHot", 11, vec![i(&[0]), s(3), f(&[2], &[0.0, 1.0])]).int("axis", 5),
        one("ConstantOfShape", 9, vec![i(&[HUGE])]),
        one("ConstantOfShape", 9, vec![i(&[MAX, MAX])]),
        one("ConstantOfShape", 9, vec![i(&[-1])]),
        one("EyeLike", 9, vec![count(&[2])]),
        one("Reshape", 14, vec![x(), i(&[-1, -1])]),
        one("Reshape", 14, vec![x(), i(&[0, -1])]).int("allowzero", 1),
        one("Reshape", 14, vec![x(), i(&[MAX, 2])]),
        one("Reshape", 14, vec![x(), i(&[0, 0, 0])]),
        one("Split", 18, vec![x(), i(&[1, 5])]).outputs(2),
        one("Split", 18, vec![x(), i(&[-1, 3])]).outputs(2),
        one("Split", 18, vec![x(), i(&[MAX, MAX])]).outputs(2),
        one("Split", 18, vec![x()]).int("num_outputs", 0),
        one("Split", 18, vec![x()]).int("num_outputs", 3).outputs(2),
        one("Slice", 13, vec![x(), i(&[0]), i(&[1]), i(&[0]), i(&[0])]),
        one("Slice", 13, vec![x(), i(&[0]), i(&[1]), i(&[4])]),
        one("Slice", 13, vec![x(), i(&[0, 0]), i(&[1])]),
        one("Slice", 13, vec![x(), i(&[0, 0]), i(&[1, 1]), i(&[0, -2])]),
        one("TopK", 11, vec![x(), i(&[-1])]).outputs(2),
        one("TopK", 11, vec![x(), i(&[HUGE])]).outputs(2),
        one("TopK", 11, vec![x(), i(&[1])]).int("axis", 2).outputs(2),
        one("CenterCropPad", 18, vec![x(), i(&[HUGE, HUGE])]),
        one("CenterCropPad", 18, vec![x(), i(&[-1, 1])]),
        one("HannWindow", 17, vec![s(HUGE)]),
        one("HannWindow", 17, vec![s(-1)]),
        one("MelWeightMatrix", 17, vec![s(HUGE), s(16), s(8000), f(&[], &[0.0]), f(&[], &[4000.0])]),
        one("MelWeightMatrix", 17, vec![s(8), s(16), s(0), f(&[], &[0.0]), f(&[], &[4000.0])]),
        one("MelWeightMatrix", 17, vec![s(8), s(-16), s(8000), f(&[], &[0.0]), f(&[], &[4000.0])]),
        one("DFT", 20, vec![count(&[1, 4, 1]), s(0)]),
        one("DFT", 20, vec![count(&[1, 4, 1]), s(-4)]),
        one("DFT", 20, vec![count(&[1, 4, 1]), s(HUGE)]),
        One { inputs: vec![Some(count(&[1, 4, 1])), None, Some(s(2))], ..one("DFT", 20, vec![]) },
        One { inputs: vec![Some(count(&[1, 4, 1])), None, Some(s(MIN))], ..one("DFT", 20, vec![]) },
        One { inputs: vec![Some(count(&[1, 8, 1])), Some(s(0)), None, Some(s(4))], ..one("STFT", 17, vec![]) },
        One { inputs: vec![Some(count(&[1, 8, 1])), Some(s(2)), None, Some(s(0))], ..one("STFT", 17, vec![]) },
        One { inputs: vec![Some(count(&[1, 8, 1])), Some(s(2)), None, Some(s(HUGE))], ..one("STFT", 17, vec![]) },
        one("SplitToSequence", 11, vec![x(), s(0)]),
        one("SplitToSequence", 11, vec![x(), i(&[1, 7])]),
        one("RandomNormal", 1, vec![]).ints("shape", &[HUGE]),
        one("RandomUniform", 1, vec![]).ints("shape", &[-1]),
        one("Multinomial", 7, vec![count(&[1, 2])]).int("sample_size", HUGE),
        one("Multinomial", 7, vec![count(&[1, 2])]).int("sample_size", -1),
    ];
    for bad in [0.0, -1.0, f32::NAN, f32::INFINITY, 1e30] {
        cases.push(resize(&[1.0, 1.0, bad, 1.0]));
    }
    cases.extend([resize(&[1.0, 1.0]), resize_to(&[1, 1, -2, 2]), resize_to(&[1, 1, HUGE, HUGE])]);
    all_fail(cases);
}

#[test]
fn indices_and_axes() {
    let x = || count(&[2, 3]);
    let mut cases = vec![
        one("Transpose", 13, vec![x()]).ints("perm", &[0, 0]),
        one("Transpose", 13, vec![x()]).ints("perm", &[0, MAX]),
        one("Transpose", 13, vec![x()]).ints("perm", &[0]),
        one("Squeeze", 13, vec![x(), i(&[MIN])]),
        one("Unsqueeze", 13, vec![x(), i(&[0, 0])]),
        one("Unsqueeze", 13, vec![x(), i(&[MAX])]),
        one("ReduceSum", 13, vec![x(), i(&[0, 0])]),
        one("ReduceSum", 13, vec![x(), i(&[MIN])]),
        one("ArgMax", 13, vec![x()]).int("axis", MIN),
        one("CumSum", 14, vec![x(), s(MIN)]),
        one("CumSum", 14, vec![x(), i(&[0, 1])]),
        one("Concat", 13, vec![x(), x()]).int("axis", -3),
        one("Softmax", 13, vec![x()]).int("axis", MAX),
        one("Flatten", 13, vec![x()]).int("axis", MIN),
        one("GatherElements", 13, vec![x(), t(&[1, 1], &[2i64])]),
        one("GatherElements", 13, vec![x(), t(&[1, 1], &[MIN])]),
        one("GatherElements", 13, vec![x(), i(&[0])]),
        one("GatherND", 13, vec![x(), t(&[1, 2], &[0i64, 3])]),
        one("GatherND", 13, vec![x(), t(&[1, 2], &[MIN, 0])]),
        one("GatherND", 13, vec![x(), t(&[1, 3], &[0i64, 0, 0])]),
        one("GatherND", 13, vec![x(), t(&[2, 1], &[0i64, 0])]).int("batch_dims", 9),
        one("GatherND", 13, vec![x(), t(&[2, 1], &[0i64, 0])]).int("batch_dims", -1),
        one("ScatterElements", 18, vec![x(), t(&[1, 1], &[MIN]), t(&[1, 1], &[1f32])]),
        one("ScatterElements", 18, vec![x(), t(&[1, 1], &[0i64]), t(&[1, 2], &[1f32, 2.0])]),
        one("ScatterElements", 18, vec![x(), t(&[1, 1], &[0i64]), t(&[1, 1], &[1f32])]).int("axis", 2),
        one("ScatterND", 18, vec![x(), t(&[1, 2], &[0i64, MAX]), f(&[1], &[1.0])]),
        one("ScatterND", 18, vec![x(), t(&[1, 2], &[0i64, -4]), f(&[1], &[1.0])]),
        one("ScatterND", 18, vec![x(), t(&[1, 3], &[0i64, 0, 0]), f(&[1], &[1.0])]),
        one("TensorScatter", 24, vec![count(&[1, 2, 2]), count(&[1, 1, 2]), i(&[MAX])]),
        one("TensorScatter", 24, vec![count(&[1, 2, 2]), count(&[1, 1, 2]), i(&[-1])]),
        one("ReverseSequence", 10, vec![x(), i(&[9, 1, 1])]),
        one("ReverseSequence", 10, vec![x(), i(&[MIN, 1, 1])]),
        one("Compress", 11, vec![x(), bools(&[2], &[1, 1])]).int("axis", 2),
        one("Trilu", 14, vec![count(&[2])]),
        one("MaxUnpool", 11, vec![count(&[1, 1, 1, 1]), t(&[1, 1, 1, 1], &[MAX])]).ints("kernel_shape", &[2, 2]),
        one("LayerNormalization", 17, vec![x(), f(&[3], &[1.0; 3])]).int("axis", MIN),
        one("DequantizeLinear", 21, vec![t(&[4], &[1u8; 4]), f(&[2], &[1.0; 2])]).int("block_size", 0),
        one("DequantizeLinear", 21, vec![t(&[4], &[1u8; 4]), f(&[2], &[1.0; 2])]).int("block_size", -2).int("axis", 0),
        one("DequantizeLinear", 13, vec![t(&[2, 2], &[1u8; 4]), f(&[2], &[1.0; 2])]).int("axis", 9),
        one("GroupNormalization", 21, vec![count(&[1, 2, 2]), f(&[2], &[1.0; 2]), f(&[2], &[0.0; 2])])
            .int("num_groups", 0),
        one("DepthToSpace", 13, vec![count(&[1, 4, 1, 1])]).int("blocksize", MAX),
        one("LRN", 13, vec![count(&[1, 2, 2, 2])]).int("size", 0),
        one("LRN", 13, vec![count(&[1, 2, 2, 2])]).int("size", -3),
    ];
    for equation in ["", "ij", "ij,jk->ik", "iji", "ij->ijk", "i..j", "ij->ii", "1j->j", "ij->->i", "...->.."] {
        if equation != "ij" {
            cases.push(one("Einsum", 12, vec![x()]).text("equation", equation));
        }
    }
    cases.push(one("Einsum", 12, vec![x(), x()]).text("equation", "ij,jk->ik"));
    all_fail(cases);
}

#[test]
fn windows() {
    let image = || count(&[1, 4, 8, 8]);
    let weights = || count(&[4, 4, 3, 3]);
    let bad: [(&'static str, &[i64]); 10] = [
        ("strides", &[0, 1]),
        ("strides", &[MIN, 1]),
        ("strides", &[1]),
        ("dilations", &[0, 1]),
        ("dilations", &[MAX, MAX]),
        ("pads", &[MAX, MAX, MAX, MAX]),
        ("pads", &[HUGE, HUGE, HUGE, HUGE]),
        ("pads", &[1, 1]),
        ("kernel_shape", &[MAX, MAX]),
        ("kernel_shape", &[0, 3]),
    ];
    let mut cases = Vec::new();
    for (name, v) in bad {
        for op in ["Conv", "ConvTranspose"] {
            cases.push(one(op, 11, vec![image(), weights()]).ints(name, v));
        }
        for op in ["MaxPool", "AveragePool", "LpPool"] {
            let c = one(op, 22, vec![image()]);
            cases.push(if name == "kernel_shape" {
                c.ints(name, v)
            } else {
                c.ints("kernel_shape", &[3, 3]).ints(name, v)
            });
        }
    }
    for op in ["Conv", "ConvTranspose"] {
        for group in [0, -1, 3, MAX, MIN] {
            cases.push(one(op, 11, vec![image(), weights()]).int("group", group));
        }
        cases.push(one(op, 11, vec![image(), count(&[4, 3, 3])]));
        cases.push(one(op, 11, vec![count(&[4]), weights()]));
    }
    cases.extend([
        one("Conv", 11, vec![image(), weights()]).ints("pads", &[-9, -9, -9, -9]),
        one("ConvTranspose", 11, vec![image(), weights()]).ints("output_shape", &[HUGE, HUGE]),
        one("ConvTranspose", 11, vec![image(), weights()]).ints("output_shape", &[-1, 1]),
        one("ConvTranspose", 11, vec![image(), weights()]).ints("output_padding", &[HUGE, MAX]),
        one("ConvTranspose", 11, vec![image(), weights()]).ints("output_padding", &[-99, 0]),
        one("MaxPool", 22, vec![count(&[2])]).ints("kernel_shape", &[1]),
        one("Col2Im", 18, vec![count(&[1, 4, 4]), i(&[HUGE, HUGE]), i(&[2, 2])]),
        one("Col2Im", 18, vec![count(&[1, 4, 4]), i(&[3, 3]), i(&[0, 2])]),
        one("Col2Im", 18, vec![count(&[1, 4, 4]), i(&[3, 3]), i(&[2, 2])]).ints("strides", &[0, 0]),
        one("RoiAlign", 16, vec![image(), f(&[1, 4], &[0.0, 0.0, 4.0, 4.0]), i(&[7])]),
        one("RoiAlign", 16, vec![image(), f(&[1, 4], &[0.0, 0.0, 4.0, 4.0]), i(&[0])]).int("sampling_ratio", -1),
        one("RoiAlign", 16, vec![image(), f(&[1, 4], &[0.0, 0.0, 4.0, 4.0]), i(&[0])]).int("output_height", HUGE),
        one("MaxRoiPool", 1, vec![image(), f(&[1, 5], &[9.0, 0.0, 0.0, 4.0, 4.0])]).ints("pooled_shape", &[2, 2]),
        one("MaxRoiPool", 1, vec![image(), f(&[1, 5], &[f32::NAN; 5])]).ints("pooled_shape", &[2, 2]),
        one("MaxRoiPool", 1, vec![image(), f(&[1, 5], &[0.0; 5])]).ints("pooled_shape", &[0, 2]),
        one("GridSample", 20, vec![image(), count(&[1, 2, 2, 3])]),
        one("AffineGrid", 20, vec![count(&[1, 2, 3]), i(&[1, 1, HUGE, HUGE])]),
        one("AffineGrid", 20, vec![count(&[1, 2, 3]), i(&[1, 1, -1, 2])]),
        one("NonMaxSuppression", 11, vec![count(&[1, 2, 4]), count(&[1, 1, 3])]),
        one("NonMaxSuppression", 11, vec![count(&[1, 2, 3]), count(&[1, 1, 2])]),
        one("NonMaxSuppression", 11, vec![count(&[1, 2, 4]), count(&[1, 1, 2])]).int("center_point_box", 7),
    ]);
    all_fail(cases);
}

#[test]
fn networks() {
    let lstm = |h: i64| {
        one("LSTM", 14, vec![count(&[1, 1, 2]), count(&[1, 8, 2]), count(&[1, 8, 2])]).int("hidden_size", h).outputs(3)
    };
    let bits = |bits: i64, block: i64, k: i64| {
        let inputs = vec![count(&[1, 16]), t(&[2, 1, 8], &[7u8; 16]), count(&[2])];
        one("com.microsoft::MatMulNBits", 1, inputs).int("K", k).int("N", 2).int("bits", bits).int("block_size", block)
    };
    let grouped = |kv: i64, lens: &[i32], total: i32| {
        let q =
            vec![count(&[1, 1, 8]), count(&[1, 1, 4]), count(&[1, 1, 4]), count(&[1, 1, 2, 4]), count(&[1, 1, 2, 4])];
        let c = one(
            "com.microsoft::GroupQueryAttention",
            1,
            q.into_iter().chain([t(&[lens.len()], lens), t(&[], &[total])]).collect(),
        );
        c.int("num_heads", 2).int("kv_num_heads", kv).outputs(3)
    };
    let heads = |n: i64| one("com.microsoft::MultiHeadAttention", 1, vec![count(&[1, 2, 8]); 3]).int("num_heads", n);
    all_fail(vec![
        lstm(3),
        lstm(0),
        lstm(-1),
        lstm(MAX),
        bits(3, 16, 16),
        bits(4, 0, 16),
        bits(4, -16, 16),
        bits(4, 16, 0),
        bits(4, MAX, 16),
        bits(MAX, 16, 16),
        bits(4, 16, HUGE),
        grouped(0, &[2], 3),
        grouped(-1, &[2], 3),
        grouped(MAX, &[2], 3),
        grouped(1, &[2], i32::MAX),
        grouped(1, &[2], -1),
        grouped(1, &[i32::MIN], 3),
        grouped(1, &[i32::MAX], 3),
        grouped(1, &[0, 1], 3),
        heads(0),
        heads(3),
        heads(MIN),
        one("Attention", 23, vec![count(&[1, 2, 8]); 3]).int("q_num_heads", 2).int("kv_num_heads", 0),
        one("Attention", 23, vec![count(&[1, 2, 8]); 3]).int("q_num_heads", MAX).int("kv_num_heads", 1),
        one(
            "RotaryEmbedding",
            23,
            vec![count(&[1, 1, 2, 4]), count(&[2, 2]), count(&[2, 2]), t(&[1, 2], &[0i64, MAX])],
        ),
        one(
            "com.microsoft::RotaryEmbedding",
            1,
            vec![count(&[1, 2, 4]), t(&[1], &[MAX]), count(&[2, 2]), count(&[2, 2])],
        ),
        one(
            "com.microsoft::RotaryEmbedding",
            1,
            vec![count(&[1, 2, 4]), t(&[1], &[0i64]), count(&[2, 0]), count(&[2, 0])],
        ),
        one("com.microsoft::Inverse", 1, vec![f(&[2, 2], &[1.0, 2.0, 2.0, 4.0])]),
        one("com.microsoft::Inverse", 1, vec![count(&[2, 3])]),
        one("SequenceEmpty", 11, vec![]).int("dtype", 99),
    ]);
}
