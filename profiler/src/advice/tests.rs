use std::time::Instant;

use super::*;
use crate::fixtures::{self, Random};
use crate::roofline::{CacheRoof, ComputeRoof};
use crate::*;

/// A layer of a made trace: operator, class, microseconds, operations, bytes.
fn layer(op: &str, class: OpClass, us: u64, flops: u64, bytes: u64) -> (Layer, u64) {
    let layer = Layer {
        op: op.into(),
        class,
        device: "cpu".into(),
        flops: Some(flops),
        bytes_read: Some(bytes),
        bytes_written: Some(0),
        ..Layer::default()
    };
    (layer, us * 1000)
}

/// A chain of layers, each reading the one before, each its own node; ten equal runs with `gap_ns` after every layer.
fn chain(layers: Vec<(Layer, u64)>, gap_ns: u64, change: impl Fn(&mut Trace)) -> Trace {
    let mut r = Recorder::new(Instant::now());
    let (mut layers, times): (Vec<Layer>, Vec<u64>) = layers.into_iter().unzip();
    let mut nodes = Vec::new();
    for (i, l) in layers.iter_mut().enumerate() {
        l.name = format!("{i}/{}", l.op);
        l.source_nodes = vec![l.name.clone()];
        let inputs = i.checked_sub(1).map_or_else(Vec::new, |i| vec![i as u32]);
        nodes.push(SourceNode { name: l.name.clone(), op: l.op.clone(), inputs, ..SourceNode::default() });
    }
    r.set_layers(layers);
    r.set_nodes(nodes);
    *r.meta() = Meta {
        device: "a device".into(),
        device_kind: "cpu".into(),
        threads: 2,
        cores: 2,
        precision: "f32".into(),
        fusion: true,
        ..Meta::default()
    };
    let cpu = r.track("CPU", TrackKind::Cpu);
    let mut at = 0;
    for _ in 0..10 {
        r.begin_run_at(at, false);
        for (i, time) in times.iter().enumerate() {
            r.layer(cpu, LayerId(i as u32), at, at + time, Quality::Cpu);
            at += time + gap_ns;
        }
        r.end_run_at(at);
        at += 1000;
    }
    let mut trace = r.finish();
    change(&mut trace);
    trace
}

/// 100 Gop/s in f32, 400 in int8; 10 GB/s from memory, 100 from a cache.
fn ceilings() -> Ceilings {
    let compute = |dtype: &str, flop_per_s| ComputeRoof { dtype: dtype.into(), flop_per_s, how: String::new() };
    Ceilings {
        device: "a device".into(),
        threads: 2,
        compute: vec![compute("f32", 100e9), compute("int8", 400e9)],
        bandwidth_bytes_per_s: 10e9,
        caches: vec![CacheRoof { name: "L2".into(), bytes: 1 << 20, bytes_per_s: 100e9 }],
        ..Ceilings::default()
    }
}

fn of(trace: &Trace) -> Advice {
    advice(trace, &trace.layer_stats(), &Audit::of(trace), Some(&ceilings()))
}

fn rules(a: &Advice) -> Vec<&'static str> {
    a.findings.iter().map(|f| f.rule).collect()
}

/// The only finding of a rule.
fn one(trace: &Trace, rule: &str) -> Finding {
    let all = of(trace);
    let mut found: Vec<Finding> = all.findings.iter().filter(|f| f.rule == rule).cloned().collect();
    assert_eq!(found.len(), 1, "{rule}: {all:#?}");
    found.remove(0)
}

fn near(got: Option<f64>, want: f64) {
    let got = got.expect("a saving");
    assert!((got - want).abs() <= 1e-6 * want.abs(), "{got} is not {want}");
}

/// A product at 80% of its ceiling (80 MFLOP in 1 ms of 0.8) with no weights, and an element-wise layer at 80% of memory's.
fn clean() -> Trace {
    let product = layer("MatMul", OpClass::MatMul, 1000, 80_000_000, 100_000);
    let norm = layer("LayerNormalization", OpClass::Normalisation, 100, 1000, 800_000);
    chain(vec![product, norm], 10, |_| ())
}

#[test]
fn a_clean_trace_has_nothing_to_fix() {
    let a = of(&clean());
    assert_eq!(a.findings, []);
    assert!(a.missing.iter().any(|m| m.contains("memory plan")), "{:?}", a.missing);
    assert!(a.missing.iter().any(|m| m.contains("not compared")), "{:?}", a.missing);
    assert_eq!(a.missing.len(), 2);
}

#[test]
fn far_from_the_compute_ceiling() {
    // 80 MFLOP take 0.8 ms at best, and took 4.
    let slow = || layer("MatMul", OpClass::MatMul, 4000, 80_000_000, 100_000);
    let trace = chain(vec![slow(), slow(), layer("Softmax", OpClass::Normalisation, 100, 0, 900_000)], 0, |_| ());
    let f = one(&trace, "ceiling");
    near(f.saving_ns, 6_400_000.0);
    assert_eq!(f.layers, [LayerId(0), LayerId(1)]);
    assert_eq!(f.title, "2 MatMul layers reach 20% of the compute ceiling (f32)");
    assert!(f.why.contains("20.0 GFLOP/s") && f.why.contains("100 GFLOP/s"), "{}", f.why);
    assert!(f.why.contains("on 2 threads"), "{}", f.why);
}

#[test]
fn far_from_the_memory_ceiling() {
    // 1 MB takes 0.1 ms at best, and took 1; mostly weights.
    let mut one_layer = layer("Gemv", OpClass::Other, 1000, 1000, 1_000_000);
    one_layer.0.weight_bytes = 900_000;
    let f = one(&chain(vec![one_layer], 0, |_| ()), "ceiling");
    near(f.saving_ns, 900_000.0);
    assert_eq!(f.title, "0/Gemv reaches 10% of the memory ceiling");
    assert!(f.why.starts_with("It takes 1.00 ms of each run (100%)") && f.why.contains("10.0 GB/s"), "{}", f.why);
    assert!(f.try_this.contains("weights"));
}

#[test]
fn without_own_ceilings_nothing_is_held_against_them() {
    let slow = chain(vec![layer("MatMul", OpClass::MatMul, 4000, 80_000_000, 100_000)], 0, |_| ());
    for c in [None, Some(Ceilings { device: "another".into(), ..ceilings() })] {
        let a = advice(&slow, &slow.layer_stats(), &Audit::of(&slow), c.as_ref());
        assert_eq!(rules(&a), [""; 0]);
        assert!(a.missing.iter().any(|m| m.contains("ceilings")), "{:?}", a.missing);
    }
}

#[test]
fn int8_by_estimate_and_by_measurement() {
    // Bound by memory: 10 MB of weights take 1 ms of 1.25; a quarter of them 0.25 ms at the same share.
    let weighty = |weights| {
        let mut l = layer("Gemm", OpClass::MatMul, 1250, 1_000_000, 10_000_000);
        l.0.weight_bytes = weights;
        l
    };
    let trace = chain(vec![weighty(10_000_000)], 0, |_| ());
    let f = one(&trace, "int8");
    near(f.saving_ns, 1_250_000.0 * 0.75);
    assert!(f.title.starts_with("int8 weights would save 938 µs"), "{}", f.title);
    assert!(f.why.contains("Of the 1 layer, memory bounds 1"), "{}", f.why);
    // Few of the bytes are weights: it would not help.
    let f = one(&chain(vec![weighty(100_000)], 0, |_| ()), "int8");
    assert_eq!((f.title.as_str(), f.saving_ns), ("int8 weights would not help", None));
    // What was measured is worth more than any estimate.
    let int8 = |ns| {
        move |t: &mut Trace| {
            t.accuracy = vec![Accuracy { scheme: "int8".into(), latency_ns: Some(ns), ..Accuracy::default() }];
        }
    };
    let f = one(&chain(vec![weighty(100_000)], 0, int8(500_000)), "int8");
    near(f.saving_ns, 750_000.0);
    assert!(f.basis.contains("measured"));
    let f = one(&chain(vec![weighty(10_000_000)], 0, int8(1_300_000)), "int8");
    assert_eq!(f.title, "int8 weights would not help");
    assert!(f.why.contains("1.30 ms instead of 1.25 ms"), "{}", f.why);
    let other = chain(vec![weighty(10_000_000)], 0, |t| t.meta.precision = "int8".into());
    assert!(!rules(&of(&other)).contains(&"int8"));
}

#[test]
fn one_thread_on_many_cores() {
    let with = |threads, cores| {
        let mut t = clean();
        (t.meta.threads, t.meta.cores) = (threads, cores);
        of(&t)
    };
    let mut t = clean();
    (t.meta.threads, t.meta.cores) = (1, 4);
    let f = one(&t, "threads");
    near(f.saving_ns, 1_100_000.0 * 0.75);
    assert_eq!(f.title, "1 thread on 4 cores");
    for (threads, cores) in [(3, 4), (1, 1), (0, 8), (1, 0)] {
        assert!(!rules(&with(threads, cores)).contains(&"threads"), "{threads} of {cores}");
    }
}

#[test]
fn gaps_and_tiny_layers() {
    let small: Vec<_> = (0..30).map(|_| layer("Mul", OpClass::Elementwise, 5, 100, 50_000)).collect();
    let trace = chain(small, 1000, |_| ());
    let f = one(&trace, "gaps");
    near(f.saving_ns, 30_000.0);
    assert_eq!(f.title, "17% of each run lies between layers");
    assert!(f.why.contains("1.00 µs for each of 30 layers"), "{}", f.why);
    let f = one(&trace, "tiny");
    assert_eq!(f.layers.len(), 30);
    assert_eq!(f.title, "30 layers of under 10.0 µs");
    // 50 kB take 5 µs: they are at their ceiling, and nothing is to be saved but the gaps.
    near(f.saving_ns.map(|s| s + 1.0), 1.0);
}

#[test]
fn copies() {
    let copy = |op| layer(op, OpClass::DataMovement, 100, 0, 1_000_000);
    let trace =
        chain(vec![layer("MatMul", OpClass::MatMul, 800, 80_000_000, 1), copy("Transpose"), copy("Concat")], 0, |_| ());
    let f = one(&trace, "movement");
    near(f.saving_ns, 200_000.0);
    assert_eq!(f.layers, [LayerId(1), LayerId(2)]);
    assert!(f.why.contains("1 Transpose 100 µs"), "{}", f.why);
    // Looking up an embedding moves data too, but is no copy to leave out.
    let lookup = chain(vec![copy("Gather")], 0, |_| ());
    assert!(!rules(&of(&lookup)).contains(&"movement"));
}

#[test]
fn steps_of_a_gpu_run_on_the_cpu() {
    let make = |kind: &str| {
        chain(
            vec![layer("NonZero", OpClass::Other, 500, 1, 1), layer("Relu", OpClass::Elementwise, 500, 1, 1)],
            0,
            |t| {
                t.meta.device_kind = kind.into();
                t.layers[1].device = "gpu".into();
            },
        )
    };
    let f = one(&make("gpu"), "fallback");
    near(f.saving_ns, 500_000.0);
    assert_eq!((f.layers.as_slice(), f.title.as_str()), (&[LayerId(0)][..], "1 step of a GPU run on the CPU"));
    assert!(f.why.contains("NonZero") && !f.why.contains("Relu"));
    assert!(!rules(&of(&make("cpu"))).contains(&"fallback"));
}

#[test]
fn parts_left_apart() {
    let part = |op: &str| layer(op, OpClass::Elementwise, 100, 1, 900_000);
    let parts = |ops: &[&str]| chain(ops.iter().map(|op| part(op)).collect(), 0, |_| ());
    let f = one(&parts(&["MatMul", "Add", "Relu"]), "unfused");
    near(f.saving_ns, 100_000.0);
    assert_eq!(f.layers, [LayerId(0), LayerId(1)]);
    assert!(f.title.starts_with("1 product with its addition"), "{}", f.title);
    let f = one(&parts(&["Relu", "Div", "Erf", "Add", "Mul", "Mul"]), "unfused");
    assert!(f.title.starts_with("1 Gelu"), "{}", f.title);
    near(f.saving_ns, 400_000.0);
    let f =
        one(&parts(&["Relu", "ReduceMean", "Sub", "Pow", "ReduceMean", "Add", "Sqrt", "Div", "Mul", "Add"]), "unfused");
    assert!(f.title.starts_with("1 normalisation"), "{}", f.title);
    near(f.saving_ns, 700_000.0);
    let f = one(&parts(&["MatMul+Bias", "Div", "Softmax", "MatMul"]), "unfused");
    assert!(f.title.starts_with("1 attention"), "{}", f.title);
    near(f.saving_ns, 200_000.0);
    for fine in
        [&["MatMul", "Relu", "Add"][..], &["Erf"], &["Sqrt", "Mul"], &["Softmax", "MatMul"], &["MatMul+Bias", "Add"]]
    {
        assert!(!rules(&of(&parts(fine))).contains(&"unfused"), "{fine:?}");
    }
    // A second reader is a reason to stay apart.
    let mut read_twice = parts(&["MatMul", "Add", "Relu"]);
    read_twice.nodes[2].inputs.push(0);
    assert!(!rules(&of(&read_twice)).contains(&"unfused"));
    // A node that is no layer (a view) does not stand in the way.
    let mut through_a_view = parts(&["MatMul", "Identity", "Add"]);
    through_a_view.layers[1].source_nodes.clear();
    assert_eq!(one(&through_a_view, "unfused").layers, [LayerId(0), LayerId(2)]);
    let mut no_nodes = parts(&["MatMul", "Add", "Relu"]);
    no_nodes.nodes.clear();
    let a = of(&no_nodes);
    assert!(!rules(&a).contains(&"unfused") && a.missing.iter().any(|m| m.contains("nodes")), "{:?}", a.missing);
    // Nodes of a file are not to be trusted.
    let mut circles = parts(&["MatMul", "Add", "Relu"]);
    circles.layers.iter_mut().for_each(|l| l.source_nodes.truncate(0));
    circles.layers[0].source_nodes = vec!["0/MatMul".into()];
    circles.nodes[0].inputs = vec![1, 2, 77];
    circles.nodes[1].inputs = vec![2, 1];
    let _ = of(&circles);
}

#[test]
fn a_peak_of_one_tensor() {
    let life = |name: &str, bytes, first, last| TensorLife {
        name: name.into(),
        ty: "f32[4]".into(),
        bytes,
        producer: Some(LayerId(first)),
        first: LayerId(first),
        last: LayerId(last),
        ..TensorLife::default()
    };
    let with = |tensors: Vec<TensorLife>| {
        let mut t = clean();
        t.memory.tensors = tensors;
        t
    };
    let f = one(&with(vec![life("scores", 8_000_000, 0, 0), life("y", 3_000_000, 0, 1)]), "peak");
    assert_eq!((f.saving_bytes, f.layers.as_slice()), (Some(8_000_000), &[LayerId(0)][..]));
    assert!(f.why.contains("8.00 MB of the 11.0 MB") && f.why.contains("3.00 MB"), "{}", f.why);
    let even: Vec<_> = (0..8).map(|i| life(&format!("t{i}"), 3_000_000, 0, 1)).collect();
    let a = of(&with(even));
    assert!(!rules(&a).contains(&"peak") && !a.missing.iter().any(|m| m.contains("memory")), "{a:#?}");
}

#[test]
fn figures_that_can_not_be_trusted() {
    let mut r = Recorder::new(Instant::now());
    r.set_layers(vec![Layer { name: "a".into(), ..Layer::default() }]);
    let cpu = r.track("CPU", TrackKind::Cpu);
    let mut at = 0;
    for i in 0..12 {
        let time = 100_000 + 20_000 * i;
        r.begin_run_at(at, false);
        r.layer(cpu, LayerId(0), at, at + time, Quality::Cpu);
        r.end_run_at(at + time);
        at += time + 100;
    }
    let a = of(&r.finish());
    assert!(rules(&a).contains(&"drift") && rules(&a).contains(&"unstable"), "{a:#?}");
    let drift = a.findings.iter().find(|f| f.rule == "drift").unwrap();
    // Thirds of four runs: medians 130 and 290 µs.
    assert_eq!(drift.title, "Runs became 123% slower while measuring");
    assert!(a.findings.iter().all(|f| f.saving_ns.is_none()));
}

#[test]
fn a_layer_that_loses_most() {
    let scheme = |db: [f64; 5]| {
        let mut t = clean();
        let name = |i: usize| t.layers.get(i).map_or_else(|| format!("other{i}"), |l| l.name.clone());
        let layers = db.iter().enumerate();
        let layers = layers.map(|(i, &db)| LayerAccuracy {
            layer: name(i),
            local_sqnr_db: Some(db),
            ..LayerAccuracy::default()
        });
        t.accuracy = vec![Accuracy { scheme: "int8".into(), layers: layers.collect(), ..Accuracy::default() }];
        t
    };
    let f = one(&scheme([40.0, 12.0, 41.0, 39.0, 44.0]), "accuracy");
    assert_eq!(f.layers, [LayerId(1)]);
    assert!(f.title.contains("int8 hurts 1/LayerNormalization most: 12.0 dB") && f.why.contains("40.0 dB"), "{f:?}");
    for fine in [[40.0, 38.0, 41.0, 39.0, 44.0], [60.0, 45.0, 61.0, 60.0, 62.0], [f64::NAN, 38.0, 41.0, 39.0, 44.0]] {
        assert!(!rules(&of(&scheme(fine))).contains(&"accuracy"), "{fine:?}");
    }
}

#[test]
fn what_saves_most_comes_first() {
    let mut slow = layer("MatMul", OpClass::MatMul, 4000, 80_000_000, 100_000);
    slow.0.weight_bytes = 50_000;
    let trace = chain(vec![slow, layer("Transpose", OpClass::DataMovement, 900, 0, 8_000_000)], 0, |t| {
        t.accuracy = vec![Accuracy { scheme: "int8".into(), latency_ns: Some(4_900_000), ..Accuracy::default() }];
    });
    let a = of(&trace);
    let savings: Vec<f64> = a.findings.iter().map(|f| f.saving_ns.unwrap_or(-1.0)).collect();
    assert!(savings.is_sorted_by(|a, b| a >= b), "{a:#?}");
    assert_eq!(rules(&a), ["ceiling", "movement", "int8"]);
}

#[test]
fn any_trace_gets_sane_advice() {
    let mut random = Random::fresh();
    for _ in 0..100 {
        let trace = fixtures::random(&mut random);
        let own = Ceilings { device: trace.meta.device.clone(), threads: trace.meta.threads, ..ceilings() };
        let stats = trace.layer_stats();
        let a = advice(&trace, &stats, &Audit::of(&trace), Some(&own));
        for f in &a.findings {
            assert!(!f.title.is_empty() && !f.why.is_empty() && !f.try_this.is_empty(), "{f:?} seed {}", random.seed);
            assert!(f.saving_ns.is_none_or(|s| s.is_finite() && s >= 0.0), "{f:?} seed {}", random.seed);
            assert_eq!(
                f.basis.is_empty(),
                f.saving_ns.is_none() && f.saving_bytes.is_none(),
                "{f:?} seed {}",
                random.seed
            );
            assert!(f.layers.iter().all(|l| l.index() < trace.layers.len()), "{f:?} seed {}", random.seed);
        }
    }
    for trace in [fixtures::empty(), Trace::default()] {
        let a = advice(&trace, &[], &Audit::of(&trace), None);
        assert!(a.findings.is_empty() && a.missing[0].contains("no measured run"));
    }
}

#[test]
fn words() {
    assert_eq!(time(999.9), "1.00 µs");
    assert_eq!(time(412.0), "412 ns");
    assert_eq!(time(30_213_000.0), "30.2 ms");
    assert_eq!(bytes(8e6), "8.00 MB");
    assert_eq!(rate(35e9, "FLOP/s"), "35.0 GFLOP/s");
    assert_eq!(percent(0.123), "12%");
    assert_eq!(percent(0.0123), "1.2%");
}
