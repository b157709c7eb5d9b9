use std::time::Instant;

use super::*;
use crate::fixtures::{self, Random};
use crate::{Layer, Quality, Recorder, TrackKind};

fn all(a: &Trace, b: &Trace) -> Comparison {
    compare(a, b, Options::default(), &mut |_| true).unwrap()
}

/// One layer after the other, `runs` times, with noise of 2%; `scale` is each layer's factor.
fn trace(random: &mut Random, layers: &[Layer], runs: usize, scale: impl Fn(usize) -> f64) -> Trace {
    let mut r = Recorder::new(Instant::now());
    r.set_layers(layers.to_vec());
    let cpu = r.track("CPU", TrackKind::Cpu);
    let mut at = 0;
    for _ in 0..runs {
        r.begin_run_at(at, false);
        at += 500;
        for i in 0..layers.len() {
            let length = 10_000.0 * (i % 7 + 1) as f64 * scale(i) * (1.0 + 0.02 * random.unit());
            r.layer(cpu, LayerId(i as u32), at, at + length as u64, Quality::Cpu);
            at += length as u64;
        }
        r.end_run_at(at + 300);
        at += 1_000;
    }
    r.finish()
}

fn layer(name: &str, sources: &[&str]) -> Layer {
    Layer {
        name: name.into(),
        op: "Op".into(),
        scope: name.rsplit_once('/').map_or("", |s| s.0).into(),
        source_nodes: sources.iter().map(|s| (*s).to_owned()).collect(),
        ..Layer::default()
    }
}

fn named(n: usize) -> Vec<Layer> {
    (0..n).map(|i| layer(&format!("block.{}/layer.{i}", i / 5), &[&format!("node{i}")])).collect()
}

#[test]
fn a_trace_against_itself_has_no_change_anywhere() {
    for t in [fixtures::transformer(3, 12, 1), fixtures::one_layer(), fixtures::many_spans(20_000)] {
        let c = all(&t, &t);
        assert_eq!(c.rows.len(), t.layers.len());
        for row in &c.rows {
            assert_eq!(row.baseline, row.current);
            assert!(!matches!(row.time.verdict, Verdict::Faster | Verdict::Slower), "{row:?}");
            assert!(row.time.difference_ns.abs() < 1e-9);
        }
        assert!(c.differences.is_empty());
    }
}

#[test]
fn one_planted_change_among_many_rows_is_the_only_one_found() {
    let mut random = Random::fresh();
    let layers = named(60);
    let a = trace(&mut random, &layers, 40, |_| 1.0);
    let b = trace(&mut random, &layers, 40, |i| if i == 23 { 1.2 } else { 1.0 });
    let c = all(&a, &b);
    let slower: Vec<&str> =
        c.rows.iter().filter(|r| r.time.verdict == Verdict::Slower).map(|r| r.name.as_str()).collect();
    assert_eq!(slower, ["block.4/layer.23"], "seed {}", random.seed);
    let row = c.rows.iter().find(|r| r.name == slower[0]).unwrap();
    let (low, high) = row.time.relative_interval.unwrap();
    assert!(low > 0.15 && high < 0.25 && low < 0.2 && high > 0.19, "{low} to {high}, seed {}", random.seed);
    // What surrounds it is judged as a whole: its own block is slower, no other is.
    for block in &c.blocks {
        assert_eq!(block.time.verdict == Verdict::Slower, block.path == "block.4", "{block:?} seed {}", random.seed);
    }
    assert_eq!(c.explaining(0.8).0[0], 23, "seed {}", random.seed);
    assert_eq!(c.totals.headline.verdict, Verdict::NoChange, "20% of a sixtieth is nothing, seed {}", random.seed);
}

#[test]
fn sums_add_up_on_both_sides_and_so_does_the_difference() {
    let mut random = Random::fresh();
    for _ in 0..60 {
        let (a, b) = (fixtures::random(&mut random), fixtures::random(&mut random));
        let c = all(&a, &b);
        let mut seen: Vec<LayerId> = c.rows.iter().flat_map(|r| r.current.iter().copied()).collect();
        seen.sort_unstable();
        assert_eq!(seen.len(), b.layers.len(), "seed {}", random.seed);
        let sides = [c.totals.end_to_end.baseline, c.totals.end_to_end.current];
        for (i, side) in sides.into_iter().enumerate() {
            let pick = |r: &Row| [r.time.baseline, r.time.current][i].map_or(0.0, |s| s.ns);
            let sum: f64 = c.rows.iter().map(pick).sum();
            assert!((sum - c.totals.rows_ns[i]).abs() <= 1e-6 * sum, "seed {}", random.seed);
            if let Some(side) = side {
                let whole = sum + c.totals.residual_ns[i].unwrap();
                assert!((whole - side.ns).abs() <= 1e-6 * whole.abs().max(1.0), "seed {}", random.seed);
            }
        }
        let changes: f64 = c.rows.iter().map(|r| r.time.difference_ns).sum();
        assert!((changes - (c.totals.rows_ns[1] - c.totals.rows_ns[0])).abs() < 1.0, "seed {}", random.seed);
        for row in c.rows.iter().chain(&c.operators) {
            let finite = |i: Option<(f64, f64)>| i.is_none_or(|(l, h)| l.is_finite() && h.is_finite() && l <= h);
            assert!(finite(row.time.interval_ns) && finite(row.time.relative_interval), "{row:?} {}", random.seed);
        }
    }
}

#[test]
fn fused_and_plain_layers_are_one_row_with_all_of_the_time() {
    let mut random = Random::fresh();
    let plain = [layer("a/MatMul", &["m"]), layer("a/Add", &["n"]), layer("b/Gelu", &["g"]), layer("b/Old", &["o"])];
    let fused = [layer("a/MatMul", &["m", "n"]), layer("b/Gelu", &["g"]), layer("b/New", &["x"])];
    let (a, b) = (trace(&mut random, &plain, 30, |_| 1.0), trace(&mut random, &fused, 30, |_| 1.0));
    let c = all(&a, &b);
    let verdicts: Vec<(&str, Verdict)> = c.rows.iter().map(|r| (r.name.as_str(), r.time.verdict)).collect();
    // 10 and 20 us became 10; 30 became 20.
    let want =
        [("a/MatMul", Verdict::Faster), ("b/Gelu", Verdict::Faster), ("b/Old", Verdict::Gone), ("b/New", Verdict::New)];
    assert_eq!(verdicts, want);
    assert!((c.rows[0].time.baseline.unwrap().ns / 30_300.0 - 1.0).abs() < 0.02);
    let (new, gone) = (&c.rows[3].time, &c.rows[2].time);
    assert!(new.relative.is_none() && new.difference_ns > 30_000.0 && gone.difference_ns < -40_000.0);
}

#[test]
fn few_runs_and_no_runs_give_no_verdict_and_say_why() {
    let mut random = Random::fresh();
    let layers = named(3);
    let many = trace(&mut random, &layers, 30, |_| 1.0);
    let few = trace(&mut random, &layers, 4, |_| 9.0);
    let c = all(&many, &few);
    assert!(c.rows.iter().all(|r| r.time.verdict == Verdict::TooFewRuns && r.time.interval_ns.is_none()));
    let mut single = trace(&mut random, &layers, 1, |_| 1.0);
    single.runs.clear();
    let c = all(&many, &single);
    assert!(c.rows.iter().all(|r| r.time.verdict == Verdict::TooFewRuns));
    assert!(c.assumptions.iter().any(|n| n.contains("without runs")), "{:?}", c.assumptions);
    assert_eq!((c.totals.headline.verdict, c.totals.residual_ns[1]), (Verdict::NotMeasured, None));
}

#[test]
fn settings_that_differ_are_called_out() {
    let a = fixtures::transformer(1, 6, 1);
    let mut b = a.clone();
    b.meta.precision = "int8".into();
    b.meta.fusion = false;
    b.meta.threads = 4;
    b.meta.dims.insert("batch".into(), 8);
    let c = all(&a, &b);
    let what: Vec<&str> = c.differences.iter().map(|d| d.what).collect();
    assert_eq!(what, ["threads", "precision", "fusion", "dimensions"]);
    assert!(c.assumptions.iter().any(|n| n.contains("numbers of threads")));
}

#[test]
fn sizes_and_errors_stand_beside_the_times() {
    let a = fixtures::transformer(2, 6, 1);
    let mut b = a.clone();
    for accuracy in &mut b.accuracy {
        for l in &mut accuracy.layers {
            l.cumulative_sqnr_db = l.cumulative_sqnr_db.map(|d| d - 3.0);
        }
    }
    for l in &mut b.layers {
        l.weight_bytes *= 2;
    }
    b.memory.weights_bytes *= 2;
    let c = all(&a, &b);
    let row = c.rows.iter().find(|r| r.name.ends_with("attention/query")).unwrap();
    assert!(row.memory.difference().unwrap() > 100_000, "{:?}", row.memory);
    let error = row.errors.iter().find(|e| e.scheme == "int8").unwrap();
    assert!((error.difference_db().unwrap() + 3.0).abs() < 1e-9);
    assert!((c.totals.weights.relative().unwrap() - 1.0).abs() < 1e-9);
    assert_eq!(c.totals.peak.relative().map(f64::to_bits), Some(0f64.to_bits()));
}

#[test]
fn it_can_be_stopped() {
    let t = fixtures::transformer(2, 6, 1);
    assert_eq!(compare(&t, &t, Options::default(), &mut |_| false), Err(Stopped));
    let mut last = 0.0;
    let mut rises = |f: f32| {
        assert!((last..=1.0).contains(&f));
        last = f;
        true
    };
    compare(&t, &t, Options::default(), &mut rises).unwrap();
}

#[test]
fn scopes_in_common() {
    for (paths, want) in [
        (&["a/b/c", "a/b/d"][..], "a/b"),
        (&["a/b", "a/b/c"], "a/b"),
        (&["a/bc", "a/bd"], "a"),
        (&["a", "b"], ""),
        (&["", "a"], ""),
        (&["a"], "a"),
        (&[], ""),
    ] {
        assert_eq!(common_scope(paths.iter().copied()), want, "{paths:?}");
    }
}

/// 10,000 rows with 40 runs each: the time is printed, and bounded loosely.
#[test]
fn ten_thousand_rows_take_little_time() {
    let mut random = Random::fresh();
    let layers = named(10_000);
    let (a, b) = (trace(&mut random, &layers, 40, |_| 1.0), trace(&mut random, &layers, 40, |_| 1.0));
    let start = Instant::now();
    let c = all(&a, &b);
    println!("{} rows of 40 runs: {:?}", c.rows.len(), start.elapsed());
    assert!(start.elapsed().as_secs() < 60);
}

#[test]
fn the_interval_of_a_median_lies_around_it() {
    let values = [1.0, 1.1, 0.9, 1.05, 0.95, 1.02, 0.98];
    let (low, high) = median_interval(&values, 0.95).unwrap();
    assert!((0.9..1.0).contains(&low) && (1.0..=1.1).contains(&high), "{low} {high}");
    assert_eq!(median_interval(&[2.0; 5], 0.95), Some((2.0, 2.0)));
    assert_eq!(median_interval(&[1.0; 4], 0.95), None);
    assert_eq!(median_interval(&[1.0, 1.0, 1.0, 1.0, f64::NAN], 0.95), None);
}
