//! Every view drawn over every fixture trace, compared with the blessed pictures. `UPDATE_SNAPSHOTS=1` blesses.

use std::path::PathBuf;
use std::sync::Arc;

use egui_kittest::{SnapshotOptions, SnapshotResults};
use profiler::{Trace, fixtures};
use stratoscope::snapshot::{self, Options};
use stratoscope::view::Profile;
use stratoscope::views;

fn options() -> SnapshotOptions {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("snapshots");
    SnapshotOptions::new().threshold(0.6).max_failed_pixels(10).output_path(folder)
}

fn size(view: &str) -> [f32; 2] {
    match view {
        "model" | "inspector" => [300.0, 600.0],
        _ => [900.0, 560.0],
    }
}

fn compare(fixture: &str, trace: Trace, theme: egui::Theme, results: &mut SnapshotResults) {
    let profile = Profile::new(Arc::new(trace));
    let suffix = if theme == egui::Theme::Light { "-light" } else { "" };
    for view in views::all() {
        let id = view.id();
        let picture =
            snapshot::render_view(id, Some(&profile), None, Options { size: size(id), scale: 1.0, theme }).unwrap();
        let name = format!("{id}-{fixture}{suffix}");
        results.add(egui_kittest::try_image_snapshot_options(&picture, name, &options()));
    }
}

#[test]
fn views_of_an_empty_trace() {
    compare("empty", fixtures::empty(), egui::Theme::Dark, &mut SnapshotResults::new());
}

#[test]
fn views_of_one_layer() {
    compare("one-layer", fixtures::one_layer(), egui::Theme::Dark, &mut SnapshotResults::new());
}

#[test]
fn views_of_a_transformer() {
    compare("transformer", fixtures::transformer(6, 20, 1), egui::Theme::Dark, &mut SnapshotResults::new());
}

#[test]
fn views_of_a_transformer_in_light() {
    compare("transformer", fixtures::transformer(6, 20, 1), egui::Theme::Light, &mut SnapshotResults::new());
}

#[test]
fn views_of_50_000_spans() {
    compare("50000", fixtures::many_spans(50_000), egui::Theme::Dark, &mut SnapshotResults::new());
}
