use super::*;
use crate::engines::EngineChoice;

#[test]
fn runs_take_what_they_took_from_outside() {
    let run = |start_ns, end_ns| Run { start_ns, end_ns, warmup: false };
    let mut trace = Trace { runs: vec![run(0, 100), run(150, 240), run(250, 300)], ..Trace::default() };
    place_runs(&mut trace, &[(120, true), (500, false), (10, false)]).unwrap();
    let times: Vec<_> = trace.runs.iter().map(|r| (r.start_ns, r.end_ns, r.warmup)).collect();
    assert_eq!(times, [(0, 120, true), (150, 250, false), (250, 300, false)]);
    assert!(place_runs(&mut trace, &[(1, false)]).unwrap_err().contains("3 of 1 runs"));
}

#[test]
fn settings_that_mean_nothing_to_the_engine_are_refused() {
    let settings = Settings { fusion: false, ..Settings::default() };
    assert_eq!(options(&settings).unwrap().get("level"), Some("disable"));
    for bad in [
        Settings { precision: Precision::Int8, ..Settings::default() },
        Settings { device: DeviceChoice::Gpu(None), ..Settings::default() },
    ] {
        assert!(options(&bad).is_err(), "{bad:?}");
    }
}

/// The library of this machine; says so where there is none.
fn library() -> bool {
    match OnnxRuntime::load(None, &std::sync::atomic::AtomicBool::new(false)) {
        Ok(runtime) => {
            println!("ONNX Runtime {} of {}", runtime.version(), runtime.path().display());
            true
        }
        Err(e) => {
            println!("left out: {e}");
            false
        }
    }
}

fn with_onnxruntime() -> Settings {
    Settings {
        engine: EngineChoice::OnnxRuntime { library: None },
        threads: Some(1),
        budget: Budget::Runs(5),
        warmup: 2,
        ..Settings::default()
    }
}

#[test]
fn onnx_runtime_profiles_every_sample_in_the_models_own_terms() {
    if !library() {
        return;
    }
    for sample in samples::all() {
        let model = sample.open().unwrap();
        let settings = with_onnxruntime();
        let Profiled { trace, outputs } = crate::profile(&model, &settings, &Control::silent()).unwrap();
        assert_eq!((trace.run_latencies_ns().len(), trace.meta.unprofiled_ns.len()), (5, 5), "{}", sample.id);
        assert_eq!(trace.runs.iter().filter(|r| r.warmup).count(), 2);
        assert!(trace.meta.engine.starts_with("ONNX Runtime 1."), "{}", trace.meta.engine);
        let audit = profiler::Audit::of(&trace);
        assert!(audit.slowdown.is_some() && audit.residual.is_some_and(|r| (0.0..1.0).contains(&r)), "{audit:?}");
        let inserted = |l: &profiler::Layer| l.op.starts_with("Reorder");
        let lost: Vec<_> = trace.layers.iter().filter(|l| l.source_nodes.is_empty() && !inserted(l)).collect();
        // A split that took the place of several selections makes tensors that the model does not have, and so do its readers.
        assert!(lost.len() * 4 < trace.layers.len(), "{}: {lost:?}", sample.id);
        // No row takes what others ran.
        assert!(trace.layers.iter().all(|l| l.source_nodes.len() < 12), "{}: {:?}", sample.id, trace.layers);
        assert!(trace.memory.activations_peak_bytes > 0 && trace.memory.arena_bytes > 0, "{}", sample.id);
        assert!(trace.memory.weights_bytes > 0 && trace.meta.load_ns > 0);
        // The same outputs as ours.
        let own = Settings { engine: EngineChoice::Own, ..settings };
        let ours = crate::profile(&model, &own, &Control::silent()).unwrap();
        for ((name, a), (other, b)) in outputs.iter().zip(&ours.outputs) {
            let (a, b) = (a.elements::<f32>().unwrap(), b.elements::<f32>().unwrap());
            let largest = b.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
            let worst = a.iter().zip(&*b).map(|(x, y)| (x - y).abs()).fold(0.0_f32, f32::max);
            assert!(name == other && worst <= 1e-4 * largest, "{}: {name}: {worst} of {largest}", sample.id);
        }
        let compared = profiler::compare::compare(&ours.trace, &trace, Default::default(), &mut |_| true).unwrap();
        let joined = compared.rows.iter().any(|r| !r.baseline.is_empty() && !r.current.is_empty());
        assert!(joined, "{}", sample.id);
    }
}

#[test]
fn onnx_runtimes_options_take_effect_and_mistakes_are_told() {
    if !library() {
        return;
    }
    let model = samples::find("digits_vit").unwrap().open().unwrap();
    let layers = |pairs: &[&str]| {
        let mut settings = with_onnxruntime();
        pairs.iter().for_each(|p| settings.engine_options.set_pair(p).unwrap());
        crate::profile(&model, &settings, &Control::silent()).map(|p| p.trace)
    };
    let all = layers(&[]).unwrap().layers.len();
    let plain =
        layers(&["level=disable", "arena=off", "memory_pattern=off", "spinning=off", "prepacking=off"]).unwrap();
    assert!(plain.layers.len() != all && !plain.meta.fusion, "{} and {all}", plain.layers.len());
    assert_eq!(plain.meta.engine_options["level"], "disable");
    assert!(layers(&["mode=parallel", "inter_threads=2"]).is_ok());
    let why = layers(&["provider=nonsense"]).unwrap_err().to_string();
    assert!(why.contains("it has") && why.contains("cpu"), "{why}");
    let control = Control::silent();
    control.cancel();
    assert!(matches!(crate::profile(&model, &with_onnxruntime(), &control), Err(StudyError::Cancelled)));
    let broken = tempfile::NamedTempFile::with_suffix(".onnx").unwrap();
    std::fs::write(broken.path(), "no model").unwrap();
    let options = EngineOptions::default();
    let request = Request { model: broken.path(), inputs: &[], threads: 1, options: &options, profiled: false };
    let runtime = OnnxRuntime::load(None, control.flag()).unwrap();
    let refused = runtime.open(&request, &std::sync::atomic::AtomicBool::new(false)).map(|_| ());
    assert!(matches!(refused, Err(peers::PeerError::Engine { .. })), "{refused:?}");
}

#[test]
#[cfg(unix)]
fn a_command_is_an_engine_too() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/overlay");
    let model = crate::open(&data.join("blocks.onnx")).unwrap();
    let command = format!("sh -c 'test -f {{model}} && cp {}/onnxruntime_all.json {{profile}}'", data.display());
    let settings = Settings { engine: EngineChoice::External(command.clone()), ..Settings::default() };
    let trace = crate::profile(&model, &settings, &Control::silent()).unwrap().trace;
    assert_eq!((trace.meta.engine.as_str(), trace.meta.model.as_str()), ("ONNX Runtime", "blocks"));
    assert_eq!(trace.meta.engine_options["command"], command);
    assert!(trace.layers.iter().all(|l| !l.source_nodes.is_empty()));
    let settings = Settings { engine: EngineChoice::External("false {profile}".into()), ..Settings::default() };
    assert!(crate::profile(&model, &settings, &Control::silent()).unwrap_err().to_string().contains("`false` ended"));
}
