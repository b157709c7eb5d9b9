//! The whole trip: a sample is opened, run on both devices, compared, saved, opened again and drawn.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use profiler::{Audit, Trace};
use stratoscope::snapshot::{self, Options};
use stratoscope::view::Profile;
use stratoscope::views;
use studies::{Budget, Control, DeviceChoice, Precision, Settings};
use system_tests::{DEVICES, assert_close, profile, quick, sample};

fn ids() -> Vec<&'static str> {
    studies::samples::all().iter().map(|s| s.id).collect()
}

#[test]
fn both_devices_compute_the_same() {
    for id in ids() {
        let model = sample(id).unwrap();
        let [cpu, gpu] = DEVICES.map(|d| profile(&model, &quick(d)).unwrap());
        assert_eq!((cpu.trace.meta.device_kind.as_str(), gpu.trace.meta.device_kind.as_str()), ("cpu", "gpu"));
        assert_close(id, &cpu.outputs, &gpu.outputs, 1e-4);
    }
}

#[test]
fn fusion_changes_the_layers_and_not_the_results() {
    for id in ids() {
        let model = sample(id).unwrap();
        let fused = profile(&model, &quick(DeviceChoice::Cpu)).unwrap();
        let plain = profile(&model, &Settings { fusion: false, ..quick(DeviceChoice::Cpu) }).unwrap();
        assert_close(id, &plain.outputs, &fused.outputs, 1e-5);
        assert!(fused.trace.layers.len() < plain.trace.layers.len(), "{id}: nothing was fused");

        let nodes: BTreeSet<&str> = model.graph.nodes.iter().map(|n| n.name.as_str()).collect();
        for trace in [&fused.trace, &plain.trace] {
            let mut seen = BTreeSet::new();
            for layer in &trace.layers {
                assert!(!layer.source_nodes.is_empty(), "{id}: {} comes from nowhere", layer.name);
                for source in &layer.source_nodes {
                    assert!(
                        nodes.contains(source.as_str()),
                        "{id}: {} names \"{source}\", which is no node",
                        layer.name
                    );
                    assert!(seen.insert(source.clone()), "{id}: \"{source}\" is part of two layers");
                }
            }
        }
        assert!(fused.trace.layers.iter().any(|l| l.source_nodes.len() > 1), "{id}");
    }
}

#[test]
fn a_profile_adds_up() {
    for device in DEVICES {
        let settings = Settings { budget: Budget::Runs(12), warmup: 2, ..quick(device) };
        let trace = profile(&sample("digits_cnn").unwrap(), &settings).unwrap().trace;
        let (runs, warmup) = (trace.runs.len(), trace.runs.iter().filter(|r| r.warmup).count());
        assert_eq!((runs - warmup, warmup), (12, 2), "{device}");
        assert_eq!(trace.meta.unprofiled_ns.len(), 12, "{device}: an unprofiled run stands beside each");

        let stats = trace.layer_stats();
        assert_eq!(stats.len(), trace.layers.len(), "{device}: every layer was measured");
        let share: f64 = stats.iter().map(|s| s.share).sum();
        assert!((share - 1.0).abs() < 1e-6, "{device}: shares sum to {share}");
        assert!(trace.latency().unwrap().median > 0.0, "{device}");
        let audit = Audit::of(&trace);
        assert!(audit.slowdown.is_some() && audit.residual.is_some(), "{device}: {audit:?}");
        assert!(audit.clock_resolution_ns > 0 && !audit.clock_strategy.is_empty(), "{device}: {audit:?}");

        let memory = &trace.memory;
        assert!(memory.weights_bytes > 0 && memory.activations_peak_bytes > 0, "{device}");
        assert!(trace.layers.iter().filter_map(|l| l.flops).sum::<u64>() > 100_000, "{device}: work is counted");
    }
}

#[test]
fn accuracy_falls_with_the_bits() {
    let model = sample("digits_cnn").unwrap();
    let schemes = [Precision::F16, Precision::Bf16, Precision::Int8, Precision::Int4];
    let settings = quick(DeviceChoice::Cpu);
    let trace = studies::accuracy(&model, &settings, &schemes, &Control::silent()).unwrap();
    let names: Vec<&str> = trace.accuracy.iter().map(|a| a.scheme.as_str()).collect();
    assert_eq!(names, schemes.map(Precision::name));

    let output = |name: &str| {
        let a = trace.accuracy.iter().find(|a| a.scheme == name).unwrap();
        a.outputs[0].sqnr_db.unwrap_or_else(|| panic!("{name} has no SQNR"))
    };
    let (f16, bf16, int8, int4) = (output("f16"), output("bf16"), output("int8"), output("int4"));
    assert!(f16 > bf16 && f16 > int8 && int8 > int4, "f16 {f16}, bf16 {bf16}, int8 {int8}, int4 {int4}");
    assert!(f16 > 50.0 && int4 > 3.0, "f16 {f16}, int4 {int4}");

    for a in &trace.accuracy {
        let task = a.task.as_ref().unwrap_or_else(|| panic!("{} was not scored", a.scheme));
        assert_eq!(task.count, 360, "the held-out digits");
        assert!(task.reference > 0.97 && task.value > 0.8, "{}: {task:?}", a.scheme);
        assert!(a.layers.iter().any(|l| l.local_sqnr_db.is_some()), "{}: no layer was measured alone", a.scheme);
        for l in &a.layers {
            assert!(trace.layers.iter().any(|t| t.name == l.layer), "{}: {} is no layer", a.scheme, l.layer);
        }
        assert!(a.weights_bytes > 0 && a.latency_ns.is_some(), "{}", a.scheme);
    }
}

/// The median time of each layer by name, in nanoseconds; layers of one name together.
fn medians(trace: &Trace) -> BTreeMap<String, Vec<f64>> {
    let mut by_name: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for s in trace.layer_stats() {
        by_name.entry(trace.layers[s.layer.index()].name.clone()).or_default().push(s.time.median);
    }
    by_name.values_mut().for_each(|v| v.sort_by(f64::total_cmp));
    by_name
}

#[test]
fn traces_survive_saving_and_opening() {
    let folder = tempfile::tempdir().unwrap();
    for device in DEVICES {
        let trace = profile(&sample("digits_vit").unwrap(), &quick(device)).unwrap().trace;
        let want = medians(&trace);
        assert!(want.len() > 10);
        for extension in ["scope", "puffin", "json"] {
            let path = folder.path().join(format!("trace.{extension}"));
            profiler::export::write(&trace, &path).unwrap();
            let back = profiler::import::open(&path).unwrap();
            if extension == "scope" {
                assert_eq!(back, trace, "{device}");
            }
            assert_eq!(medians(&back), want, "{device}, {extension}");
        }
        let path = folder.path().join("layers.csv");
        profiler::export::write(&trace, &path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let mut lines = text.lines();
        assert!(lines.next().unwrap().starts_with("name,scope,op,device,median_ns"), "{text}");
        assert_eq!(lines.count(), trace.layers.len(), "{device}: a row per layer");
        assert!(trace.layers.iter().all(|l| text.contains(&l.name)), "{device}");
    }
}

#[test]
fn every_view_draws_what_was_measured() {
    let model = sample("digits_cnn").unwrap();
    let settings = quick(DeviceChoice::Cpu);
    let mut trace = profile(&model, &settings).unwrap().trace;
    trace.accuracy = studies::accuracy(&model, &settings, &[Precision::Int8], &Control::silent()).unwrap().accuracy;
    let inspection = studies::inspect(&model, &settings);
    let profile = Profile::new(Arc::new(trace));
    // These are not about the one trace on show.
    let apart = ["compare", "history", "log"];
    for view in views::all().into_iter().filter(|v| !apart.contains(&v.id())) {
        let picture = snapshot::render_view(view.id(), Some(&profile), Some(&inspection), Options::default()).unwrap();
        let empty = snapshot::render_view(view.id(), None, None, Options::default()).unwrap();
        assert_eq!(picture.dimensions(), (900, 560), "{}", view.id());
        let colours: BTreeSet<[u8; 4]> = picture.pixels().map(|p| p.0).collect();
        assert!(colours.len() > 20, "{}: only {} colours", view.id(), colours.len());
        assert!(picture != empty, "{}: draws the same with and without a trace", view.id());
    }
}
