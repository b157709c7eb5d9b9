use super::*;
use crate::fixtures::{self, Random};
use crate::{LayerId, Summary};

/// 100 Gop/s in f32, 10 GB/s from memory, 40 from L2, 200 from L1.
fn ceilings(trace: &Trace) -> Ceilings {
    let compute = |dtype: &str, flop_per_s| ComputeRoof { dtype: dtype.into(), flop_per_s, how: String::new() };
    let cache = |name: &str, bytes, bytes_per_s| CacheRoof { name: name.into(), bytes, bytes_per_s };
    Ceilings {
        device: trace.meta.device.clone(),
        threads: trace.meta.threads,
        compute: vec![compute("f32", 100e9), compute("int8", 400e9)],
        bandwidth_bytes_per_s: 10e9,
        caches: vec![cache("L1", 32 << 10, 200e9), cache("L2", 1 << 20, 40e9)],
        ..Ceilings::default()
    }
}

fn case(flops: Option<u64>, bytes: Option<u64>, time_ns: u64, change: impl Fn(&mut Layer)) -> LayerRoof {
    let mut trace = fixtures::one_layer();
    let layer = &mut trace.layers[0];
    (layer.flops, layer.bytes_read, layer.bytes_written) = (flops, bytes, bytes.map(|_| 0));
    change(layer);
    let stats = LayerStats {
        layer: LayerId(0),
        time: Summary::of(&[time_ns]).unwrap(),
        share: 1.0,
        runs: 1,
        rejected: 0,
        wall: false,
    };
    roofline(&trace, &[stats], Some(&ceilings(&trace))).remove(0)
}

fn near(got: Option<f64>, want: f64) {
    let got = got.expect("a figure");
    assert!((got - want).abs() <= 1e-9 * want.abs(), "{got} is not {want}");
}

#[test]
fn figures_by_hand() {
    // 1 MFLOP at 100 GFLOP/s takes 10 µs; 50 kB at 10 GB/s take 5 µs.
    let r = case(Some(1_000_000), Some(50_000), 40_000, |_| ());
    assert_eq!((r.bound, r.served_from, r.above_all, r.dtype), (Bound::Compute, None, false, "f32"));
    near(r.intensity, 20.0);
    near(r.flop_per_s, 25e9);
    near(r.bytes_per_s, 1.25e9);
    near(r.attainable_ns, 10_000.0);
    near(r.saving_ns, 30_000.0);
    near(r.of_ceiling, 0.25);
    // 100 kFLOP take 1 µs, so memory binds.
    let r = case(Some(100_000), Some(50_000), 10_000, |_| ());
    assert_eq!(r.bound, Bound::Memory);
    near(r.attainable_ns, 5_000.0);
    near(r.of_ceiling, 0.5);
    // The same arithmetic in int8 has another ceiling: 2.5 µs.
    let r = case(Some(1_000_000), Some(10_000), 5_000, |l| l.kernel = "gemm int8, packed".into());
    assert_eq!((r.dtype, r.bound), ("int8", Bound::Compute));
    near(r.of_ceiling, 0.5);
    let r = case(Some(1_000_000), Some(10_000), 20_000, |l| l.kernel = "gemm f32 on int4 weights".into());
    assert_eq!(r.dtype, "f32");
}

#[test]
fn faster_than_memory_is_a_cache_and_says_so() {
    // 50 kB in 2.5 µs are 20 GB/s: twice the memory's rate, half of L2's.
    let r = case(Some(1000), Some(50_000), 2_500, |_| ());
    assert_eq!((r.bound, r.served_from, r.above_all), (Bound::Memory, Some(1), false));
    near(r.attainable_ns, 1_250.0);
    near(r.of_ceiling, 0.5);
    // 50 kB in 0.5 µs are 100 GB/s: only L1 can.
    assert_eq!(case(Some(1000), Some(50_000), 500, |_| ()).served_from, Some(0));
    // 500 GB/s nothing can.
    let r = case(Some(1000), Some(50_000), 100, |_| ());
    assert!(r.above_all && r.served_from.is_none());
    near(r.saving_ns.map(|s| s + 1.0), 1.0);
    // More arithmetic than the ceiling allows is not hidden either.
    assert!(case(Some(1_000_000), Some(8), 5_000, |_| ()).above_all);
}

#[test]
fn what_is_not_known_is_not_made_up() {
    let unknown = |r: LayerRoof| {
        assert_eq!((r.bound, r.attainable_ns, r.saving_ns, r.of_ceiling), (Bound::Unknown, None, None, None));
        assert!(!r.why_unknown.is_empty());
    };
    unknown(case(None, Some(1000), 1000, |_| ()));
    unknown(case(Some(1000), None, 1000, |_| ()));
    unknown(case(Some(0), Some(0), 1000, |_| ()));
    unknown(case(Some(1000), Some(1000), 0, |_| ()));
    unknown(case(Some(1000), Some(1000), 1000, |l| l.kernel = "gemm f16".into()));
    // Data movement needs no operations.
    let r = case(None, Some(50_000), 10_000, |l| l.class = OpClass::DataMovement);
    assert_eq!((r.bound, r.intensity), (Bound::Memory, None));
    near(r.of_ceiling, 0.5);

    let trace = fixtures::transformer(1, 3, 1);
    for r in roofline(&trace, &trace.layer_stats(), None) {
        assert!(r.flop_per_s.is_some() && r.why_unknown.contains("not measured"));
        unknown(r);
    }
    let mut broken = ceilings(&trace);
    broken.bandwidth_bytes_per_s = f64::NAN;
    broken.compute[0].flop_per_s = -1.0;
    roofline(&trace, &trace.layer_stats(), Some(&broken)).into_iter().for_each(unknown);
}

#[test]
fn a_gpus_ceilings_are_not_held_against_the_cpus_steps() {
    let mut trace = fixtures::transformer(1, 3, 1);
    trace.meta.device_kind = "gpu".into();
    trace.layers[3].device = "cpu".into();
    trace.layers[4].device = "gpu".into();
    let roofs = roofline(&trace, &trace.layer_stats(), Some(&ceilings(&trace)));
    assert_eq!(roofs[3].bound, Bound::Unknown);
    assert_ne!(roofs[4].bound, Bound::Unknown);
}

#[test]
fn ceilings_of_another_device_are_refused() {
    let mut trace = fixtures::one_layer();
    assert!(Ceilings::of(&trace, None).unwrap_err().contains("not been measured"));
    let mut own = ceilings(&trace);
    own.measured_unix_s = 5;
    assert_eq!(Ceilings::of(&trace, Some(&own)), Ok(&own));
    let foreign = Ceilings { device: "another".into(), measured_unix_s: 9, ..own.clone() };
    assert!(Ceilings::of(&trace, Some(&foreign)).unwrap_err().contains("another"));
    let threads = Ceilings { threads: 7, ..own.clone() };
    assert!(Ceilings::of(&trace, Some(&threads)).unwrap_err().contains("7 threads"));
    trace.ceilings = Some(own.clone());
    assert_eq!(Ceilings::of(&trace, Some(&foreign)), Ok(&own));
    let newer = Ceilings { measured_unix_s: 6, ..own.clone() };
    assert_eq!(Ceilings::of(&trace, Some(&newer)), Ok(&newer));
    trace.meta.device.clear();
    assert!(Ceilings::of(&trace, Some(&newer)).is_err());
}

#[test]
fn any_trace_is_placed_without_nonsense() {
    let mut random = Random::fresh();
    for _ in 0..100 {
        let trace = fixtures::random(&mut random);
        let stats = trace.layer_stats();
        let roofs = roofline(&trace, &stats, Some(&ceilings(&trace)));
        assert_eq!(roofs.len(), stats.len(), "seed {}", random.seed);
        for r in roofs {
            assert_eq!(r.bound == Bound::Unknown, r.of_ceiling.is_none(), "{r:?} seed {}", random.seed);
            assert!(
                r.of_ceiling.is_none_or(|s| s.is_finite() && (s <= 1.0 || r.above_all)),
                "{r:?} seed {}",
                random.seed
            );
            assert!(r.saving_ns.is_none_or(|s| (0.0..=r.time_ns).contains(&s)), "{r:?} seed {}", random.seed);
        }
    }
}
