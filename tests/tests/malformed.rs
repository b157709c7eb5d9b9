//! Models that are wrong in ways that only running them shows: sizes made from data, absurd attributes, graphs that are no
//! graphs. Each must end in an error that names what is wrong: no panic, no wait, no memory. (Files that are broken as files
//! are tested in `formats`.)

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use formats::onnx::build::{ModelBuilder, attr};
use graph::{DType, Tensor};
use studies::{Budget, Control, DeviceChoice, Settings, StudyError};
use system_tests::DEVICES;

const HUGE: i64 = 1 << 45;

fn i(values: &[i64]) -> Tensor {
    Tensor::from_vec(&[values.len()], values.to_vec())
}

fn f(shape: &[usize]) -> Tensor {
    Tensor::from_vec(shape, vec![0.5f32; shape.iter().product()])
}

/// A model of one input `x` (f32 [2, 3]), one output `y`, and what `fill` adds.
fn model(fill: impl FnOnce(ModelBuilder) -> ModelBuilder) -> Bytes {
    fill(ModelBuilder::new(17).input("x", DType::F32, &["2", "3"])).output("y", DType::F32, &["?"]).bytes()
}

/// One node over `x` and integer constants, which are its inputs 1, 2, ...
fn with_ints(op: &str, constants: &[&[i64]]) -> Bytes {
    model(|mut b| {
        let mut inputs = vec!["x".to_owned()];
        for (n, c) in constants.iter().enumerate() {
            inputs.push(format!("c{n}"));
            b = b.constant(&inputs[n + 1], &i(c));
        }
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        b.node(op, &inputs, &["y"], vec![])
    })
}

/// The same, but the first constant is known only when the model runs: it comes through the model's second input, which is
/// ones, times the constant.
fn with_fed_ints(op: &str, first_is_x: bool, values: &[i64]) -> Bytes {
    let n = values.len().to_string();
    let inputs: &[&str] = if first_is_x { &["x", "size"] } else { &["size"] };
    ModelBuilder::new(17)
        .input("x", DType::F32, &["2", "3"])
        .input("ones_mask", DType::I64, &[&n])
        .constant("c", &i(values))
        .node("Mul", &["ones_mask", "c"], &["size"], vec![])
        .node(op, inputs, &["y"], vec![])
        .output("y", DType::F32, &["?"])
        .bytes()
}

fn conv(weight: &[usize], attrs: Vec<formats::onnx::proto::AttributeProto>) -> Bytes {
    ModelBuilder::new(17)
        .input("x", DType::F32, &["1", "4", "8", "8"])
        .constant("w", &f(weight))
        .node("Conv", &["x", "w"], &["y"], attrs)
        .output("y", DType::F32, &["?"])
        .bytes()
}

fn pool(op: &str, attrs: Vec<formats::onnx::proto::AttributeProto>) -> Bytes {
    ModelBuilder::new(17)
        .input("x", DType::F32, &["1", "4", "8", "8"])
        .node(op, &["x"], &["y"], attrs)
        .output("y", DType::F32, &["?"])
        .bytes()
}

/// Sizes from constants: the plan must refuse them.
fn absurd_sizes() -> Vec<(&'static str, Bytes)> {
    let scalar = |v: i64| Tensor::scalar(v);
    let range = |from: i64, to: i64, step: i64| {
        model(|b| {
            let b = b.constant("a", &scalar(from)).constant("b", &scalar(to)).constant("d", &scalar(step));
            let b = b.node("Range", &["a", "b", "d"], &["r"], vec![]);
            b.node("Cast", &["r"], &["y"], vec![attr("to", 1i64)])
        })
    };
    vec![
        ("range", range(0, HUGE, 1)),
        ("range, widest", range(i64::MIN, i64::MAX, 1)),
        ("range, step 0", range(0, 5, 0)),
        ("expand", with_ints("Expand", &[&[HUGE, 2, 3]])),
        ("expand, overflow", with_ints("Expand", &[&[i64::MAX, i64::MAX, 2, 3]])),
        ("expand, negative", with_ints("Expand", &[&[-5, 2, 3]])),
        ("tile", with_ints("Tile", &[&[HUGE, 1]])),
        ("tile, overflow", with_ints("Tile", &[&[i64::MAX, i64::MAX]])),
        ("tile, negative", with_ints("Tile", &[&[-1, 2]])),
        ("tile, wrong rank", with_ints("Tile", &[&[1, 2, 3]])),
        ("pad", with_ints("Pad", &[&[HUGE, 0, 0, 0]])),
        ("pad, overflow", with_ints("Pad", &[&[i64::MAX, 1, i64::MAX, 1]])),
        ("pad, to nothing", with_ints("Pad", &[&[-9, 0, 0, 0]])),
        ("pad, wrong count", with_ints("Pad", &[&[1, 1, 1]])),
        ("constant of shape", {
            model(|b| b.constant("s", &i(&[HUGE])).node("ConstantOfShape", &["s"], &["y"], vec![]))
        }),
        ("constant of shape, overflow", {
            model(|b| b.constant("s", &i(&[i64::MAX, i64::MAX])).node("ConstantOfShape", &["s"], &["y"], vec![]))
        }),
        ("constant of shape, negative", {
            model(|b| b.constant("s", &i(&[-3])).node("ConstantOfShape", &["s"], &["y"], vec![]))
        }),
        ("one-hot", {
            model(|b| {
                let b = b.constant("v", &Tensor::from_vec(&[2], vec![0f32, 1.0])).constant("d", &scalar(HUGE));
                b.constant("ids", &i(&[1, 2])).node("OneHot", &["ids", "d", "v"], &["y"], vec![])
            })
        }),
        ("resize", {
            model(|b| {
                let b = b.constant("s", &i(&[HUGE, 3])).constant("none", &Tensor::from_vec(&[0], Vec::<f32>::new()));
                b.node("Resize", &["x", "", "", "s"], &["y"], vec![attr("mode", "nearest")])
            })
        }),
        ("huge outer product", {
            model(|b| {
                let ids = i(&vec![0; 1 << 12]);
                let b = b.constant("ids", &ids).node("Gather", &["x", "ids"], &["g"], vec![]);
                let b = b.node("Expand", &["g", "s"], &["e"], vec![]).constant("s", &i(&[1 << 24, 1, 1]));
                b.node("Relu", &["e"], &["y"], vec![])
            })
        }),
    ]
}

/// Sizes that are known only when the model runs: the executor must refuse them.
fn absurd_sizes_at_run_time() -> Vec<(&'static str, Bytes)> {
    vec![
        ("fed expand", with_fed_ints("Expand", true, &[HUGE, 2, 3])),
        ("fed expand, overflow", with_fed_ints("Expand", true, &[i64::MAX, i64::MAX, 2, 3])),
        ("fed tile", with_fed_ints("Tile", true, &[HUGE, HUGE])),
        ("fed pad", with_fed_ints("Pad", true, &[HUGE, HUGE, 0, 0])),
        ("fed reshape", with_fed_ints("Reshape", true, &[7, -1])),
        ("fed reshape, twice -1", with_fed_ints("Reshape", true, &[-1, -1])),
        ("fed constant of shape", with_fed_ints("ConstantOfShape", false, &[HUGE, HUGE])),
        ("fed gather", with_fed_ints("Gather", true, &[2])),
        ("fed gather, negative", with_fed_ints("Gather", true, &[i64::MIN])),
        ("fed slice of another rank", with_fed_ints("Expand", true, &[4])),
        ("fed division by zero", {
            ModelBuilder::new(17)
                .input("n_mask", DType::I64, &["3"])
                .constant("minus", &i(&[-1, -1, -1]))
                .node("Add", &["n_mask", "minus"], &["zero"], vec![])
                .node("Div", &["n_mask", "zero"], &["y"], vec![])
                .output("y", DType::I64, &["?"])
                .bytes()
        }),
    ]
}

fn wrong_attributes() -> Vec<(&'static str, Bytes)> {
    let axis = |op: &str, axis: i64| model(|b| b.node(op, &["x"], &["y"], vec![attr("axis", axis)]));
    let ints = |v: &'static [i64]| v;
    vec![
        ("reshape, wrong size", with_ints("Reshape", &[&[4, 2]])),
        ("reshape, -1 of no whole size", with_ints("Reshape", &[&[4, -1]])),
        ("reshape, -2", with_ints("Reshape", &[&[-2, 3]])),
        ("reshape, 0 past the rank", with_ints("Reshape", &[&[2, 3, 0]])),
        ("reshape, overflow", with_ints("Reshape", &[&[i64::MAX, i64::MAX]])),
        ("softmax, axis", axis("Softmax", 2)),
        ("softmax, axis below", axis("Softmax", -3)),
        ("softmax, far axis", axis("Softmax", i64::MIN)),
        ("concat, axis", model(|b| b.node("Concat", &["x", "x"], &["y"], vec![attr("axis", 9i64)]))),
        ("flatten, axis", axis("Flatten", 3)),
        ("unsqueeze, axis", with_ints("Unsqueeze", &[&[i64::MAX]])),
        ("unsqueeze, twice", with_ints("Unsqueeze", &[&[0, 0]])),
        ("squeeze, of 2", with_ints("Squeeze", &[&[0]])),
        ("reduce, axis", with_ints("ReduceSum", &[&[5]])),
        (
            "transpose, no permutation",
            model(|b| b.node("Transpose", &["x"], &["y"], vec![attr("perm", ints(&[0, 0]))])),
        ),
        ("transpose, far", model(|b| b.node("Transpose", &["x"], &["y"], vec![attr("perm", ints(&[0, i64::MAX]))]))),
        ("gather, out of range", with_ints("Gather", &[&[2]])),
        ("gather, far below", with_ints("Gather", &[&[i64::MIN]])),
        ("slice, step 0", with_ints("Slice", &[&[0], &[2], &[0], &[0]])),
        ("slice, axis", with_ints("Slice", &[&[0], &[2], &[7], &[1]])),
        ("slice, counts differ", with_ints("Slice", &[&[0], &[2, 1], &[0], &[1]])),
        ("split, sums", model(|b| b.constant("s", &i(&[1, 5])).node("Split", &["x", "s"], &["y", "z"], vec![]))),
        ("split, negative", model(|b| b.constant("s", &i(&[-1, 3])).node("Split", &["x", "s"], &["y", "z"], vec![]))),
        ("matmul, inner sizes", model(|b| b.node("MatMul", &["x", "x"], &["y"], vec![]))),
        ("add, no broadcast", model(|b| b.constant("w", &f(&[4])).node("Add", &["x", "w"], &["y"], vec![]))),
        ("einsum", model(|b| b.node("Einsum", &["x"], &["y"], vec![attr("equation", "ij->k")]))),
        ("cast, no type", model(|b| b.node("Cast", &["x"], &["y"], vec![attr("to", 999i64)]))),
        ("layer norm, axis", {
            model(|b| {
                b.constant("w", &f(&[3])).node("LayerNormalization", &["x", "w"], &["y"], vec![attr("axis", 7i64)])
            })
        }),
        ("conv, stride 0", conv(&[4, 4, 3, 3], vec![attr("strides", ints(&[0, 1]))])),
        ("conv, stride -1", conv(&[4, 4, 3, 3], vec![attr("strides", ints(&[-1, 1]))])),
        ("conv, group 0", conv(&[4, 4, 3, 3], vec![attr("group", 0i64)])),
        ("conv, group 3", conv(&[4, 4, 3, 3], vec![attr("group", 3i64)])),
        ("conv, group far", conv(&[4, 4, 3, 3], vec![attr("group", i64::MIN)])),
        ("conv, dilation 0", conv(&[4, 4, 3, 3], vec![attr("dilations", ints(&[0, 0]))])),
        ("conv, dilation far", conv(&[4, 4, 3, 3], vec![attr("dilations", ints(&[i64::MAX, i64::MAX]))])),
        ("conv, pads far", conv(&[4, 4, 3, 3], vec![attr("pads", ints(&[HUGE, HUGE, HUGE, HUGE]))])),
        ("conv, pads overflow", conv(&[4, 4, 3, 3], vec![attr("pads", ints(&[i64::MAX; 4]))])),
        ("conv, pads negative", conv(&[4, 4, 3, 3], vec![attr("pads", ints(&[-9, -9, -9, -9]))])),
        ("conv, channels", conv(&[4, 5, 3, 3], vec![])),
        ("conv, weights of another rank", conv(&[4, 4, 3], vec![])),
        ("conv, no kernel", conv(&[4, 4, 0, 3], vec![])),
        ("conv, kernel_shape lies", conv(&[4, 4, 3, 3], vec![attr("kernel_shape", ints(&[5, 5]))])),
        ("pool, kernel 0", pool("MaxPool", vec![attr("kernel_shape", ints(&[0, 0]))])),
        ("pool, kernel far", pool("MaxPool", vec![attr("kernel_shape", ints(&[i64::MAX, 1]))])),
        (
            "pool, stride 0",
            pool("AveragePool", vec![attr("kernel_shape", ints(&[2, 2])), attr("strides", ints(&[0, 0]))]),
        ),
        ("pool, no kernel", pool("AveragePool", vec![])),
        ("division by zero", {
            ModelBuilder::new(17)
                .constant("a", &i(&[1, 2]))
                .constant("b", &i(&[1, 0]))
                .node("Div", &["a", "b"], &["y"], vec![])
                .output("y", DType::I64, &["?"])
                .bytes()
        }),
        ("remainder by zero", {
            ModelBuilder::new(17)
                .constant("a", &i(&[1, 2]))
                .constant("b", &i(&[1, 0]))
                .node("Mod", &["a", "b"], &["y"], vec![])
                .output("y", DType::I64, &["?"])
                .bytes()
        }),
        ("too few inputs", model(|b| b.node("MatMul", &["x"], &["y"], vec![]))),
        ("no inputs", model(|b| b.node("Relu", &[], &["y"], vec![]))),
        ("wrong type", model(|b| b.constant("s", &f(&[2])).node("Reshape", &["x", "s"], &["y"], vec![]))),
        ("unknown attribute", model(|b| b.node("Relu", &["x"], &["y"], vec![attr("surprise", 1i64)]))),
        ("unknown operator", model(|b| b.node("Frobnicate", &["x"], &["y"], vec![]))),
    ]
}

fn no_graphs() -> Vec<(&'static str, Bytes)> {
    vec![
        ("cycle", model(|b| b.node("Add", &["x", "y"], &["a"], vec![]).node("Relu", &["a"], &["y"], vec![]))),
        ("self", model(|b| b.node("Add", &["x", "y"], &["y"], vec![]))),
        ("made twice", model(|b| b.node("Relu", &["x"], &["y"], vec![]).node("Neg", &["x"], &["y"], vec![]))),
        ("made by nobody", model(|b| b.node("Relu", &["nothing"], &["y"], vec![]))),
        ("no output", model(|b| b.node("Relu", &["x"], &["z"], vec![]))),
    ]
}

/// What a GPU can't tell: a shader has no way to fail, so indices that are known only at run time are brought into range there.
const NO_ERROR_ON_GPU: &[&str] = &["fed gather", "fed gather, negative"];

fn settings(device: DeviceChoice) -> Settings {
    Settings { device, threads: Some(2), budget: Budget::Runs(1), warmup: 0, ..Settings::default() }
}

/// Opens, inspects and runs.
fn attempt(bytes: Bytes, device: DeviceChoice) -> Result<(), StudyError> {
    let model = Arc::new(formats::from_bytes("case.onnx", bytes)?);
    studies::inspect(&model, &settings(device));
    studies::profile(&model, &settings(device), &Control::silent())?;
    Ok(())
}

/// The largest resident size of this process so far, in bytes; 0 where the system does not say.
fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    line.and_then(|l| l.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()).map_or(0, |kb| kb * 1024)
}

#[test]
fn wrong_models_end_in_errors() {
    let groups = [absurd_sizes(), absurd_sizes_at_run_time(), wrong_attributes(), no_graphs()];
    let before = peak_bytes();
    let mut wrong = Vec::new();
    for device in DEVICES {
        for (name, bytes) in groups.iter().flatten() {
            if device != DeviceChoice::Cpu && NO_ERROR_ON_GPU.contains(name) {
                attempt(bytes.clone(), device).unwrap_or_else(|e| panic!("{name} on {device}: {e}"));
                continue;
            }
            let start = Instant::now();
            match catch_unwind(AssertUnwindSafe(|| attempt(bytes.clone(), device))) {
                Err(_) => wrong.push(format!("{name} on {device}: a panic")),
                Ok(Ok(())) => wrong.push(format!("{name} on {device}: runs")),
                Ok(Err(StudyError::Cancelled)) => wrong.push(format!("{name} on {device}: cancelled")),
                Ok(Err(e)) if e.to_string().len() < 20 => wrong.push(format!("{name} on {device}: only says \"{e}\"")),
                Ok(Err(_)) => {}
            }
            if start.elapsed() > Duration::from_secs(20) {
                wrong.push(format!("{name} on {device}: took {:?}", start.elapsed()));
            }
        }
    }
    assert!(wrong.is_empty(), "{} cases:\n{}", wrong.len(), wrong.join("\n"));
    let grown = peak_bytes() - before;
    assert!(grown < 1 << 30, "{} MiB were taken", grown >> 20);
}

/// What is odd but right must run.
#[test]
fn odd_models_run() {
    let chain = model(|b| {
        (0..10_000).fold(b, |b, n| {
            let from = if n == 0 { "x".to_owned() } else { format!("v{n}") };
            let to = if n == 9_999 { "y".to_owned() } else { format!("v{}", n + 1) };
            b.node(if n % 2 == 0 { "Neg" } else { "Abs" }, &[&from], &[&to], vec![])
        })
    });
    let empty = ModelBuilder::new(17)
        .input("x", DType::F32, &["0", "3"])
        .node("Relu", &["x"], &["y"], vec![])
        .output("y", DType::F32, &["0", "3"])
        .bytes();
    let cases = [
        ("10,000 nodes in a chain", chain, DeviceChoice::Cpu),
        // The output then has no elements. ONNX Runtime refuses such a model; the standard says nothing.
        ("a window larger than the image", conv(&[4, 4, 11, 11], vec![]), DeviceChoice::Cpu),
        ("a window larger than the image", conv(&[4, 4, 11, 11], vec![]), DeviceChoice::Gpu(None)),
        ("no elements", empty.clone(), DeviceChoice::Cpu),
        ("no elements", empty, DeviceChoice::Gpu(None)),
        (
            "an input as output",
            ModelBuilder::new(17).input("x", DType::F32, &["2"]).output("x", DType::F32, &["2"]).bytes(),
            DeviceChoice::Cpu,
        ),
    ];
    for (name, bytes, device) in cases {
        let start = Instant::now();
        attempt(bytes, device).unwrap_or_else(|e| panic!("{name} on {device}: {e}"));
        assert!(start.elapsed() < Duration::from_secs(60), "{name} on {device}: {:?}", start.elapsed());
    }
}
