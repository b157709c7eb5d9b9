//! Every view drawn over every fixture trace, compared with the blessed pictures. `UPDATE_SNAPSHOTS=1` blesses.

use std::path::PathBuf;
use std::sync::Arc;

use egui_kittest::{SnapshotOptions, SnapshotResults};
use profiler::{Trace, fixtures};
use stratoscope::snapshot::{self, Options};
use stratoscope::view::Profile;
use stratoscope::views;
use studies::{InputInfo, Inspection};

fn snapshot_options() -> SnapshotOptions {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("snapshots");
    SnapshotOptions::new().threshold(0.6).max_failed_pixels(10).output_path(folder)
}

fn size(view: &str) -> [f32; 2] {
    match view {
        "model" | "inspector" => [300.0, 600.0],
        _ => Options::default().size,
    }
}

fn check(
    results: &mut SnapshotResults,
    name: &str,
    view: &str,
    profile: Option<&Profile>,
    model: Option<&Inspection>,
    options: Options,
) {
    let picture = snapshot::render_view(view, profile, model, Options { size: size(view), ..options }).unwrap();
    results.add(egui_kittest::try_image_snapshot_options(&picture, name, &snapshot_options()));
}

/// All views over one trace.
fn check_all(fixture: &str, trace: Trace, dark: bool) {
    let profile = Profile::new(Arc::new(trace));
    let mut results = SnapshotResults::new();
    for view in views::all() {
        let suffix = if dark { "" } else { "-light" };
        let name = format!("{}-{fixture}{suffix}", view.id());
        check(&mut results, &name, view.id(), Some(&profile), None, Options { dark, ..Options::default() });
    }
}

fn transformer() -> Trace {
    fixtures::transformer(6, 20, 1)
}

#[test]
fn views_of_an_empty_trace() {
    check_all("empty", fixtures::empty(), true);
}

#[test]
fn views_of_one_layer() {
    check_all("one-layer", fixtures::one_layer(), true);
}

#[test]
fn views_of_a_transformer() {
    check_all("transformer", transformer(), true);
}

#[test]
fn views_of_a_transformer_in_light() {
    check_all("transformer", transformer(), false);
}

#[test]
fn views_of_50_000_spans() {
    check_all("50000", fixtures::many_spans(50_000), true);
}

/// What a view shows only after a choice or under the pointer.
#[test]
fn views_in_use() {
    let profile = Profile::new(Arc::new(transformer()));
    let many = Profile::new(Arc::new(fixtures::many_spans(50_000)));
    let mut results = SnapshotResults::new();
    let press = |label| Options { press: Some(label), ..Options::default() };
    let pointer = |x, y| Options { pointer: Some([x, y]), ..Options::default() };
    check(&mut results, "flame-merged", "flame", Some(&profile), None, press("Merged"));
    check(&mut results, "flame-sandwich", "flame", Some(&profile), None, press("Sandwich"));
    check(&mut results, "flame-all", "flame", Some(&profile), None, press("Fit all"));
    check(&mut results, "flame-50000-all", "flame", Some(&many), None, press("Fit all"));
    check(&mut results, "flame-tooltip", "flame", Some(&profile), None, pointer(230.0, 186.0));
    check(&mut results, "memory-by-time", "memory", Some(&profile), None, press("By time"));
    check(&mut results, "memory-lifetimes", "memory", Some(&profile), None, press("Lifetimes"));
    check(&mut results, "memory-what-if", "memory", Some(&profile), None, press("What if"));
    check(&mut results, "layers-by-scope", "layers", Some(&profile), None, press("Scope"));
    check(&mut results, "layers-by-type", "layers", Some(&profile), None, press("Type"));
    check(&mut results, "layers-columns", "layers", Some(&profile), None, press("Columns"));
    check(&mut results, "accuracy-tooltip", "accuracy", Some(&profile), None, pointer(300.0, 380.0));
}

#[test]
fn views_of_a_model_that_was_not_run() {
    let layers = transformer().layers;
    let model = Inspection {
        model: "encoder".into(),
        producer: "a test".into(),
        format: "onnx".into(),
        file_bytes: 90_800_000,
        parameters: 22_700_000,
        weights_bytes: 90_700_000,
        nodes: 412,
        opsets: vec![("".into(), 17), ("com.microsoft".into(), 1)],
        inputs: ["input_ids", "attention_mask"]
            .map(|n| InputInfo {
                name: n.into(),
                ty: "i64[batch,sequence]".into(),
                shape: vec![1, 128],
                ..InputInfo::default()
            })
            .into(),
        outputs: vec![("last_hidden_state".into(), "f32[batch,sequence,384]".into())],
        dims: [("batch".to_owned(), 1), ("sequence".to_owned(), 128)].into(),
        operators: vec![("MatMul".into(), 48, true), ("Add".into(), 73, true), ("com.microsoft.Gelu".into(), 6, false)],
        unsupported: vec!["com.microsoft.Gelu".into()],
        flops: Some(layers.iter().filter_map(|l| l.flops).sum()),
        activations_peak_bytes: Some(1_180_000),
        layers,
        ..Inspection::default()
    };
    let mut results = SnapshotResults::new();
    for view in views::all() {
        check(&mut results, &format!("{}-not-run", view.id()), view.id(), None, Some(&model), Options::default());
    }
    for label in ["Inputs", "About"] {
        let name = format!("model-{}", label.to_lowercase());
        check(&mut results, &name, "model", None, Some(&model), Options { press: Some(label), ..Options::default() });
    }
}
