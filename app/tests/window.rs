//! The whole window without a display: what it shows, that it answers, and that it rests.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use egui_kittest::kittest::Queryable;
use egui_kittest::{Harness, SnapshotOptions};
use stratoscope::app::{App, ThemeChoice};
use stratoscope::picture;
use studies::Settings;

fn window(size: egui::Vec2, dark: bool, setup: impl FnOnce(&egui::Context) -> App) -> Harness<'static, Option<App>> {
    picture::harness(size, dark, setup, |ui, app| {
        app.logic(ui.ctx());
        app.ui(ui);
    })
}

fn still(ctx: &egui::Context, dark: bool, trace: Option<profiler::Trace>) -> App {
    let theme = if dark { ThemeChoice::Dark } else { ThemeChoice::Light };
    App::still(ctx, theme, trace.map(Arc::new), None, Settings::default()).expect("the window starts")
}

/// Pictures on one software rasterizer are the same bit for bit; a few pixels are left to its versions.
fn options() -> SnapshotOptions {
    SnapshotOptions::new().output_path("tests/snapshots").threshold(0.6).max_failed_pixels(10)
}

const SIZE: egui::Vec2 = egui::vec2(1440.0, 900.0);

fn compare_with_trace(dark: bool, name: &str) {
    let trace = profiler::fixtures::transformer(4, 12, 7);
    let mut harness = window(SIZE, dark, move |ctx| still(ctx, dark, Some(trace)));
    harness.snapshot_options(name, &options());
}

#[test]
fn the_dark_window_looks_as_it_did() {
    compare_with_trace(true, "window_dark");
}

#[test]
fn the_light_window_looks_as_it_did() {
    compare_with_trace(false, "window_light");
}

#[test]
fn the_first_start_looks_as_it_did() {
    let mut harness = window(SIZE, true, |ctx| still(ctx, true, None));
    harness.snapshot_options("window_start", &options());
}

#[test]
fn every_fixture_and_size_is_drawn_without_trouble() {
    use profiler::fixtures;
    for trace in [fixtures::empty(), fixtures::one_layer(), fixtures::many_spans(50_000)] {
        for size in [egui::vec2(760.0, 480.0), egui::vec2(1100.0, 700.0), egui::vec2(2560.0, 1400.0)] {
            let trace = trace.clone();
            let mut harness = window(size, true, move |ctx| still(ctx, true, Some(trace)));
            harness.run();
        }
    }
}

#[test]
fn an_idle_window_asks_for_no_repaint() {
    let trace = profiler::fixtures::transformer(2, 5, 1);
    let mut harness = window(SIZE, true, move |ctx| still(ctx, true, Some(trace)));
    harness.run();
    let delay = harness.output().viewport_output[&egui::ViewportId::ROOT].repaint_delay;
    assert!(delay > Duration::from_secs(3600), "repaints again after {delay:?}");
}

/// Draws until `done`, as the event loop would on the worker's calls.
fn draw_until(harness: &mut Harness<'_, Option<App>>, what: &str, done: impl Fn(&Harness<'_, Option<App>>) -> bool) {
    let start = Instant::now();
    while !done(harness) {
        assert!(start.elapsed() < Duration::from_secs(120), "{what} does not come");
        std::thread::sleep(Duration::from_millis(20));
        harness.step();
    }
}

#[test]
fn a_file_that_is_no_model_is_named_in_place() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("holiday.onnx");
    std::fs::write(&path, "not a model").unwrap();
    let mut harness = window(SIZE, true, move |ctx| {
        let mut app = still(ctx, true, None);
        app.open(path);
        app
    });
    draw_until(&mut harness, "the message", |h| h.query_by_label_contains("Open holiday.onnx: failed").is_some());
    harness.get_by_label("Copy").click();
    harness.step();
    let copied = harness
        .output()
        .platform_output
        .commands
        .iter()
        .any(|c| matches!(c, egui::OutputCommand::CopyText(t) if t.contains("holiday.onnx")));
    assert!(copied);
    harness.get_by_label("Dismiss").click();
    harness.run();
    assert!(harness.query_by_label("Dismiss").is_none());
}

#[test]
fn a_saved_trace_opens_and_the_help_shows_and_goes() {
    let dir = tempfile::tempdir().unwrap();
    let path: PathBuf = dir.path().join("run.scope");
    profiler::export::write(&profiler::fixtures::transformer(2, 5, 1), &path).unwrap();
    let mut harness = window(SIZE, true, move |ctx| {
        let mut app = still(ctx, true, None);
        app.open(path);
        app
    });
    draw_until(&mut harness, "the trace", |h| h.query_by_label("Flame graph").is_some());
    harness.event(egui::Event::Text("?".to_owned()));
    harness.run();
    assert!(harness.query_by_label("Shortcuts").is_some());
    harness.key_press(egui::Key::Escape);
    harness.run();
    assert!(harness.query_by_label("Shortcuts").is_none());
}

#[test]
fn a_sample_is_opened_and_run_from_the_window() {
    let mut harness = window(SIZE, true, |ctx| {
        let settings = Settings { budget: studies::Budget::Runs(3), ..Settings::default() };
        let mut app = App::still(ctx, ThemeChoice::Dark, None, None, settings).expect("the window starts");
        app.open("sample:digits_cnn".into());
        app
    });
    draw_until(&mut harness, "the model", |h| h.query_by_label("digits_cnn").is_some());
    harness.key_press_modifiers(egui::Modifiers::COMMAND, egui::Key::R);
    draw_until(&mut harness, "the result", |h| h.query_by_label_contains("median latency").is_some());
    assert!(harness.query_by_label("Compare precisions").is_some());
}
