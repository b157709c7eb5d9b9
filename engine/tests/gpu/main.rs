//! Plans on a GPU beside the same plans on the CPU.

mod cases;
mod net;

use std::sync::atomic::AtomicBool;

use cases::Case;
use engine::{PlanOptions, Precision};
use graph::{Attr, Tensor};
use net::{Net, Pair, Rng, differs, gpu, ints};
use profiler::Recorder;

/// Every case agrees with the CPU and ran on the device altogether; all that do not are named.
fn all_agree(make: fn(&mut Rng) -> Vec<Case>, error: f32) {
    let Some(gpu) = gpu() else { return };
    let mut wrong = Vec::new();
    for Case { name, net } in make(&mut Rng::fresh()) {
        let mut pair = Pair::new(&net, &PlanOptions::default(), gpu.clone());
        if let Some(l) = pair.layers().iter().find(|l| l.device != "gpu") {
            wrong.push(format!("{name}: {} is on {}", l.name, l.device));
        }
        assert!(!pair.layers().is_empty(), "{name}: nothing to run");
        let (want, got) = pair.run(&net.fed);
        assert_eq!(want.len(), got.len());
        let bad = want.iter().zip(&got).enumerate().filter_map(|(i, (w, g))| Some((i, differs(w, g, error)?)));
        wrong.extend(bad.map(|(i, why)| format!("{name}: output {i}: {why}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn elementwise() {
    all_agree(cases::elementwise, 2e-5);
}

#[test]
fn along_an_axis() {
    all_agree(cases::along, 2e-5);
}

#[test]
fn movement() {
    all_agree(cases::movement, 1e-5);
}

#[test]
fn products() {
    all_agree(cases::products, 2e-5);
}

#[test]
fn quantized() {
    all_agree(cases::quantized, 1e-5);
}

#[test]
fn the_comparison_can_fail() {
    let t = |v: &[f32]| Tensor::from_vec(&[v.len()], v.to_vec());
    let want = t(&[1.0, -4.0, 0.5]);
    assert_eq!(differs(&want, &want, 1e-5), None);
    for bad in [t(&[1.0, -4.0, 0.5001]), t(&[f32::NAN, -4.0, 0.5]), t(&[1.0, -4.0]), ints(&[1, -4, 0])] {
        assert!(differs(&want, &bad, 1e-5).is_some(), "{bad:?} passes for {want:?}");
    }
    assert!(differs(&ints(&[1, 2]), &ints(&[1, 3]), 1e-5).is_some());
    let Some(gpu) = gpu() else { return };
    // A perturbed input shows in the device's outputs.
    let mut r = Rng::fresh();
    for Case { name, net } in cases::quantized(&mut r).into_iter().chain(cases::along(&mut r)).take(14) {
        let mut pair = Pair::new(&net, &PlanOptions::default(), gpu.clone());
        let (want, _) = pair.run(&net.fed);
        let mut fed = net.fed.clone();
        let Some((key, x)) = fed.iter().find_map(|(k, t)| Some((k.clone(), t.elements::<f32>().ok()?.to_vec()))) else {
            continue;
        };
        let shape = fed[&key].shape().to_vec();
        fed.insert(key, Tensor::from_vec(&shape, x.iter().map(|v| 0.5 * v * v - 0.3).collect()));
        let (_, got) = pair.run(&fed);
        assert!(want.iter().zip(&got).any(|(w, g)| differs(w, g, 1e-5).is_some()), "{name}: blind to its input");
    }
}

/// As in an exported transformer: attention, a residual with its norm, a feed-forward product.
fn block(r: &mut Rng) -> Net {
    let mut n = Net::new(17);
    let float = |v: f32| Tensor::scalar(v);
    let (q, k, v) = (n.feed(r.f(&[2, 4, 6, 8])), n.feed(r.f(&[2, 4, 6, 8])), n.feed(r.f(&[2, 4, 6, 8])));
    let mask = n.feed(r.f(&[2, 1, 1, 6]));
    let kt = n.op("Transpose", &[k], &[("perm", Attr::Ints(vec![0, 1, 3, 2]))]);
    let scores = n.op("MatMul", &[q, kt], &[]);
    let scale = n.hold(float(0.35));
    let scaled = n.op("Mul", &[scores, scale], &[]);
    let masked = n.op("Add", &[scaled, mask], &[]);
    let shares = n.op("Softmax", &[masked], &[("axis", Attr::Int(-1))]);
    let seen = n.op("MatMul", &[shares, v], &[]);
    let turned = n.op("Transpose", &[seen], &[("perm", Attr::Ints(vec![0, 2, 1, 3]))]);
    let shape = n.hold(ints(&[2, 6, 32]));
    let flat = n.op("Reshape", &[turned, shape], &[]);
    let before = n.feed(r.f(&[2, 6, 32]));
    let sum = n.op("Add", &[flat, before], &[]);
    let (scale, bias) = (n.hold(r.f(&[32])), n.hold(r.f(&[32])));
    let norm = n.op("LayerNormalization", &[sum, scale, bias], &[]);
    let (w, c) = (n.hold(r.f(&[32, 40])), n.hold(r.f(&[40])));
    let product = n.op("MatMul", &[norm, w], &[]);
    let biased = n.op("Add", &[product, c], &[]);
    let (root, one, half) = (n.hold(float(2f32.sqrt())), n.hold(float(1.0)), n.hold(float(0.5)));
    let part = n.op("Div", &[biased, root], &[]);
    let erf = n.op("Erf", &[part], &[]);
    let more = n.op("Add", &[erf, one], &[]);
    let twice = n.op("Mul", &[biased, more], &[]);
    let gelu = n.op("Mul", &[twice, half], &[]);
    n.out(&[gelu, sum])
}

/// Convolution, BatchNormalization and Relu.
fn image(r: &mut Rng) -> Net {
    let mut n = Net::new(15);
    let x = n.feed(r.f(&[1, 3, 12, 12]));
    let w = n.hold(r.f(&[8, 3, 3, 3]));
    let y = n.op("Conv", &[x, w], &[("pads", Attr::Ints(vec![1, 1, 1, 1]))]);
    let stats: Vec<_> = (0..4).map(|_| n.hold(r.within(&[8], 0.5, 1.5))).collect();
    let y = n.op("BatchNormalization", &[&[y][..], &stats].concat(), &[]);
    let y = n.op("Relu", &[y], &[]);
    n.out(&[y])
}

#[test]
fn fused_graphs() {
    let Some(gpu) = gpu() else { return };
    let mut r = Rng::fresh();
    for (net, layers) in [(block(&mut r), 4), (image(&mut r), 1)] {
        let mut pair = Pair::new(&net, &PlanOptions::default(), gpu.clone());
        let names: Vec<String> = pair.layers().iter().map(|l| format!("{} on {}", l.op, l.device)).collect();
        assert!(names.len() <= layers && names.iter().all(|n| n.ends_with("on gpu")), "{names:?}");
        // Twice, on other values: the buffers are used again.
        for fed in [net.fed.clone(), net.refed(&mut r)] {
            let (want, got) = pair.run(&fed);
            for (w, g) in want.iter().zip(&got) {
                assert_eq!(differs(w, g, 2e-5), None, "{names:?}");
            }
        }
    }
}

/// Device, CPU, device, CPU with a size that depends on data; the CPU's steps are the last to read what the device made, and
/// the steps after them want buffers of the same size.
fn mixed(r: &mut Rng) -> Net {
    let mut n = Net::new(18);
    let x = n.feed(r.f(&[8, 50]));
    let a = n.op("Abs", &[x], &[]);
    let k = n.hold(ints(&[50]));
    let sorted = n.node("TopK", &[Some(a), Some(k)], &[], 2);
    let b = n.op("Neg", &[sorted[0]], &[]);
    let c = n.op("Exp", &[b], &[]);
    let d = n.op("Add", &[c, sorted[0]], &[]);
    let e = n.op("Floor", &[d], &[]);
    let found = n.op("NonZero", &[e], &[]);
    let f = n.op("Sqrt", &[d], &[]);
    let g = n.op("Sigmoid", &[f], &[]);
    let order = n.op("Add", &[sorted[1], sorted[1]], &[]);
    n.out(&[g, found, order, b])
}

#[test]
fn plans_that_go_to_and_fro() {
    let Some(gpu) = gpu() else { return };
    let mut r = Rng::fresh();
    let net = mixed(&mut r);
    let mut pair = Pair::new(&net, &PlanOptions::default(), gpu);
    let device = |op: &str| pair.layers().iter().find(|l| l.op == op).map(|l| l.device.clone());
    for (op, on) in [("Abs", "gpu"), ("TopK", "cpu"), ("Exp", "gpu"), ("NonZero", "cpu"), ("Sigmoid", "gpu")] {
        assert_eq!(device(op).as_deref(), Some(on), "{op}");
    }
    for fed in [net.fed.clone(), net.refed(&mut r), net.refed(&mut r)] {
        let (want, got) = pair.run(&fed);
        assert_eq!(want.len(), 4);
        for (w, g) in want.iter().zip(&got) {
            assert_eq!(differs(w, g, 1e-5), None);
        }
    }
}

#[test]
fn device_memory_is_used_again() {
    let Some(gpu) = gpu() else { return };
    let mut r = Rng::fresh();
    let mut n = Net::new(18);
    let mut v = n.feed(r.f(&[64, 128]));
    for i in 0..24 {
        v = n.op(["Neg", "Sigmoid", "Exp"][i % 3], &[v], &[]);
    }
    let net = n.out(&[v]);
    let mut pair = Pair::new(&net, &PlanOptions::default(), gpu);
    let (weights, activations) = pair.gpu.device_bytes();
    assert_eq!(weights, 0);
    assert!(
        (64 * 128 * 4..=3 * 64 * 128 * 4).contains(&activations),
        "{activations} bytes for 24 tensors of {}",
        64 * 128 * 4
    );
    let (want, got) = pair.run(&net.fed);
    assert_eq!(differs(&want[0], &got[0], 1e-5), None);
}

/// Products with odd numbers of weights, and a convolution.
fn weighted(r: &mut Rng) -> Net {
    let mut n = Net::new(17);
    let x = n.feed(r.f(&[5, 33]));
    let w = n.hold(r.f(&[33, 17]));
    let y = n.op("MatMul", &[x, w], &[]);
    let (w, c) = (n.hold(r.f(&[9, 17])), n.hold(r.f(&[9])));
    let y = n.op("Gemm", &[y, w, c], &[("transB", Attr::Int(1))]);
    let image = n.feed(r.f(&[1, 3, 8, 8]));
    let w = n.hold(r.f(&[5, 3, 3, 3]));
    let z = n.op("Conv", &[image, w], &[]);
    n.out(&[y, z])
}

#[test]
fn weights_are_held_in_their_precision() {
    let Some(gpu) = gpu() else { return };
    let mut r = Rng::fresh();
    let net = weighted(&mut r);
    let full = 4 * (33 * 17 + 9 * 17 + 9 + 5 * 27) as u64;
    let halves = 2 * (33 * 17 + 1 + 9 * 17 + 1 + 5 * 27 + 1) as u64 + 4 * 9;
    // i8 and a scale for each column; a convolution stays f32.
    let bytes = (33 * 17 + 3 + 9 * 17 + 3 + 4 * (17 + 9 + 9 + 5 * 27)) as u64;
    // Whole groups of 32 nibbles by columns, with a scale and a shift each.
    let groups = 2 * 17 + 9;
    let nibbles = (groups * (16 + 8) + 4 * (9 + 5 * 27)) as u64;
    let exact = Pair::new(&net, &PlanOptions { pack: false, ..PlanOptions::default() }, gpu.clone()).run(&net.fed).0;
    for (precision, held, simulated) in [
        (Precision::F32, full, false),
        (Precision::F16, halves, false),
        (Precision::Bf16, full, true),
        (Precision::Int8, bytes, true),
        (Precision::Int4, nibbles, true),
    ] {
        let mut pair = Pair::new(&net, &PlanOptions { pack: false, precision, ..PlanOptions::default() }, gpu.clone());
        assert_eq!(pair.gpu.plan().simulated, simulated, "{precision}");
        let on_device = pair.gpu.device_bytes().0;
        assert!(on_device.abs_diff(held) <= 8, "{precision}: {on_device} bytes of weights, not {held}");
        let (want, got) = pair.run(&net.fed);
        for ((w, g), e) in want.iter().zip(&got).zip(&exact) {
            assert_eq!(differs(w, g, 2e-5), None, "{precision}");
            let rounded = differs(e, g, 2e-5).is_some();
            assert_eq!(rounded, precision != Precision::F32, "{precision} must show");
        }
    }
}

#[test]
fn weights_larger_than_a_binding_are_read_in_parts() {
    let Some(gpu) = gpu() else { return };
    let mut r = Rng::fresh();
    let mut n = Net::new(17);
    let x = n.feed(r.f(&[6, 64]));
    let w = n.hold(r.f(&[64, 75]));
    let y = n.op("MatMul", &[x, w], &[]);
    let (w, c) = (n.hold(r.f(&[90, 75])), n.hold(r.f(&[90])));
    let z = n.op("Gemm", &[y, w, c], &[("transB", Attr::Int(1))]);
    let net = n.out(&[y, z]);
    let small = gpu.with_binding_limit(4096);
    for precision in Precision::ALL {
        let mut pair =
            Pair::new(&net, &PlanOptions { pack: false, precision, ..PlanOptions::default() }, small.clone());
        assert!(pair.layers().iter().all(|l| l.device == "gpu"), "{precision}: {:?}", pair.layers());
        let (want, got) = pair.run(&net.fed);
        for (w, g) in want.iter().zip(&got) {
            assert_eq!(differs(w, g, 2e-5), None, "{precision}");
        }
    }
}

#[test]
fn a_cancelled_run_stops() {
    let Some(gpu) = gpu() else { return };
    let net = image(&mut Rng::fresh());
    let mut pair = Pair::new(&net, &PlanOptions::default(), gpu);
    pair.gpu.feed(&net.fed).expect("fed");
    let stopped = pair.gpu.run(&mut Recorder::off(), &AtomicBool::new(true));
    assert!(stopped.is_err_and(|e| e.to_string().to_lowercase().contains("cancel")));
}
