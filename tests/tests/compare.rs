//! Comparisons of what was really measured: with and without fusion, in other precisions, twice the same.

use profiler::compare::{Comparison, Options, Verdict, compare};
use profiler::{LayerId, Trace};
use studies::{Budget, DeviceChoice, Precision, Settings};
use system_tests::{profile, quick, sample};

fn settings() -> Settings {
    Settings { budget: Budget::Runs(12), warmup: 2, ..quick(DeviceChoice::Cpu) }
}

fn all(a: &Trace, b: &Trace) -> Comparison {
    compare(a, b, Options::default(), &mut |_| true).unwrap()
}

fn measured(id: &str, settings: &Settings) -> Trace {
    profile(&sample(id).unwrap(), settings).unwrap().trace
}

/// Every layer of both sides is in one row, and the rows' sums are the layers' sums.
fn check(c: &Comparison, a: &Trace, b: &Trace) {
    for (side, trace) in [a, b].into_iter().enumerate() {
        let mut layers: Vec<LayerId> =
            c.rows.iter().flat_map(|r| if side == 0 { r.baseline.clone() } else { r.current.clone() }).collect();
        layers.sort_unstable();
        assert_eq!(layers, (0..trace.layers.len() as u32).map(LayerId).collect::<Vec<_>>());
        let end_to_end = [c.totals.end_to_end.baseline, c.totals.end_to_end.current][side].unwrap().ns;
        let sum = c.totals.rows_ns[side] + c.totals.residual_ns[side].unwrap();
        assert!((sum - end_to_end).abs() < 1.0, "{sum} and {end_to_end}");
        assert!(c.totals.rows_ns[side] > 0.2 * end_to_end, "the layers are most of the time");
    }
}

#[test]
fn fusion_on_and_off_are_aligned_node_by_node() {
    for id in ["digits_cnn", "digits_vit"] {
        let plain = measured(id, &Settings { fusion: false, ..settings() });
        let fused = measured(id, &settings());
        let c = all(&plain, &fused);
        check(&c, &plain, &fused);
        assert!(c.rows.len() <= fused.layers.len(), "{id}: a fused layer is one row with all that it was made from");
        let source = |t: &Trace, layers: &[LayerId]| -> Vec<String> {
            let mut all: Vec<String> = layers.iter().flat_map(|l| t.layers[l.index()].source_nodes.clone()).collect();
            all.sort_unstable();
            all
        };
        let mut joined = 0;
        for row in c.rows.iter().filter(|r| !r.baseline.is_empty() && !r.current.is_empty()) {
            assert_eq!(source(&plain, &row.baseline), source(&fused, &row.current), "{id}: {}", row.name);
            joined += usize::from(row.baseline.len() > row.current.len());
        }
        assert!(joined > 0, "{id}: something was fused");
        assert!(c.differences.iter().any(|d| d.what == "fusion"), "{id}: {:?}", c.differences);
    }
}

#[test]
fn other_precisions_and_devices_are_aligned_too() {
    let base = measured("digits_vit", &settings());
    let int8 = measured("digits_vit", &Settings { precision: Precision::Int8, ..settings() });
    let gpu = measured("digits_vit", &Settings { device: DeviceChoice::Gpu(None), ..settings() });
    for (other, what) in [(&int8, "precision"), (&gpu, "device")] {
        let c = all(&base, other);
        check(&c, &base, other);
        let both = c.rows.iter().filter(|r| !r.baseline.is_empty() && !r.current.is_empty()).count();
        assert!(both * 10 >= c.rows.len() * 8, "{what}: {both} of {} rows have both sides", c.rows.len());
        assert!(c.differences.iter().any(|d| d.what == what), "{:?}", c.differences);
    }
    let weights = all(&base, &int8).totals.weights;
    assert!(weights.current < weights.baseline, "{weights:?}");
}

#[test]
fn an_export_without_source_nodes_is_aligned_by_name() {
    let trace = measured("digits_cnn", &settings());
    let mut bare = trace.clone();
    bare.nodes.clear();
    for l in &mut bare.layers {
        l.source_nodes.clear();
    }
    let c = all(&trace, &bare);
    check(&c, &trace, &bare);
    assert!(c.rows.iter().all(|r| r.baseline.len() == 1 && r.baseline == r.current));
    assert!(c.rows.iter().all(|r| !matches!(r.time.verdict, Verdict::Slower | Verdict::Faster)));
}
