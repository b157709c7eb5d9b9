//! The shell as a person meets it: palette, search, help, undo, settings, log, files that come back, rest while measuring.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use egui::{Key, Modifiers, Role};
use egui_kittest::Harness;
use egui_kittest::kittest::{NodeT, Queryable};
use stratoscope::app::{App, Store, ThemeChoice};
use stratoscope::{picture, theme};
use studies::{Budget, Settings};

type Window = Harness<'static, Option<App>>;

const SIZE: egui::Vec2 = egui::vec2(1280.0, 800.0);
const CTRL_SHIFT: Modifiers = Modifiers::COMMAND.plus(Modifiers::SHIFT);

fn window(setup: impl FnOnce(&egui::Context) -> App) -> Window {
    picture::harness(SIZE, true, setup, |ui, app| {
        app.logic(ui.ctx());
        app.ui(ui);
    })
}

fn with_trace() -> Window {
    let trace = Some(Arc::new(profiler::fixtures::transformer(2, 5, 1)));
    window(|ctx| App::still(ctx, ThemeChoice::Dark, trace, None, Settings::default()).unwrap())
}

fn kept(state: PathBuf) -> impl FnOnce(&egui::Context) -> App {
    move |ctx| {
        let mut app = App::new(ctx, Store::at(state)).unwrap();
        theme::reduce_motion(ctx);
        app.restore_session();
        app
    }
}

fn keys(h: &mut Window, modifiers: Modifiers, key: Key) {
    h.key_press_modifiers(modifiers, key);
    h.run();
}

fn write(h: &mut Window, text: &str) {
    h.event(egui::Event::Text(text.to_owned()));
    h.run();
}

fn options(h: &Window) -> Vec<String> {
    h.query_all_by_role(Role::ListBoxOption).filter_map(|n| n.accesskit_node().label()).collect()
}

fn shows(h: &Window, label: &str) -> bool {
    h.query_by_label(label).is_some()
}

/// One of several choices, chosen.
fn is_on(h: &Window, label: &str) -> bool {
    h.get_by_label(label).accesskit_node().toggled() == Some(egui::accesskit::Toggled::True)
}

fn wait(h: &mut Window, what: &str, done: impl Fn(&Window) -> bool) {
    let start = Instant::now();
    while !done(h) {
        assert!(start.elapsed() < Duration::from_secs(120), "{what} does not come");
        std::thread::sleep(Duration::from_millis(10));
        h.step();
    }
}

fn copied(h: &Window) -> Option<String> {
    h.output().platform_output.commands.iter().find_map(|c| match c {
        egui::OutputCommand::CopyText(text) => Some(text.clone()),
        _ => None,
    })
}

#[test]
fn the_palette_finds_runs_and_remembers() {
    let mut h = with_trace();
    keys(&mut h, CTRL_SHIFT, Key::P);
    let all = options(&h);
    assert!(all.len() > 40, "{all:?}");
    write(&mut h, "theme light");
    let found = options(&h);
    assert!(found.first().is_some_and(|l| l.contains("Theme: Light")), "{found:?}");
    keys(&mut h, Modifiers::NONE, Key::Enter);
    assert!(options(&h).is_empty(), "the palette is gone");
    assert_eq!(h.ctx.theme(), egui::Theme::Light);
    keys(&mut h, CTRL_SHIFT, Key::P);
    assert!(options(&h)[0].contains("Theme: Light"), "what was used last comes first");
    keys(&mut h, Modifiers::NONE, Key::ArrowDown);
    let chosen = h.query_all_by_role(Role::ListBoxOption).position(|n| n.accesskit_node().is_selected() == Some(true));
    assert_eq!(chosen, Some(1));
    keys(&mut h, Modifiers::NONE, Key::Escape);
    assert!(options(&h).is_empty());
}

#[test]
fn the_palette_reaches_a_command_of_a_view() {
    let mut h = with_trace();
    assert!(!shows(&h, "Warnings"));
    keys(&mut h, CTRL_SHIFT, Key::P);
    write(&mut h, "log errors only");
    keys(&mut h, Modifiers::NONE, Key::Enter);
    assert!(is_on(&h, "Errors"), "the log is in front and shows errors alone");
}

#[test]
fn a_layer_is_found_by_name_and_the_way_back_is_open() {
    let mut h = with_trace();
    let selected = |h: &Window| h.state().as_ref().unwrap().selected();
    let before = selected(&h);
    keys(&mut h, Modifiers::COMMAND, Key::K);
    write(&mut h, "layer.1 query");
    assert!(!options(&h).is_empty());
    keys(&mut h, Modifiers::NONE, Key::Enter);
    let after = selected(&h);
    assert!(after.is_some() && after != before);
    keys(&mut h, Modifiers::ALT, Key::ArrowLeft);
    assert_eq!(selected(&h), before);
    keys(&mut h, Modifiers::ALT, Key::ArrowRight);
    assert_eq!(selected(&h), after);
    keys(&mut h, Modifiers::COMMAND, Key::Z);
    assert_eq!(selected(&h), before);
    keys(&mut h, CTRL_SHIFT, Key::Z);
    assert_eq!(selected(&h), after);
}

#[test]
fn hiding_a_panel_is_undone_and_redone() {
    let mut h = with_trace();
    let shown = |h: &Window| h.state().as_ref().unwrap().shows("memory");
    assert!(shown(&h));
    keys(&mut h, CTRL_SHIFT, Key::P);
    write(&mut h, "panels memory");
    keys(&mut h, Modifiers::NONE, Key::Enter);
    assert!(!shown(&h));
    keys(&mut h, Modifiers::COMMAND, Key::Z);
    assert!(shown(&h));
    keys(&mut h, Modifiers::COMMAND, Key::Y);
    assert!(!shown(&h));
}

#[test]
fn the_help_lists_the_keys_of_shell_and_views() {
    let mut h = with_trace();
    write(&mut h, "?");
    assert!(shows(&h, "Shortcuts") && shows(&h, "Find a layer or node…") && shows(&h, "Undo"));
    for view in stratoscope::views::all() {
        for c in view.commands().iter().filter(|c| !c.keys.is_empty()) {
            assert!(h.query_all_by_label(c.title).next().is_some(), "{}: {}", view.id(), c.title);
        }
    }
    keys(&mut h, Modifiers::NONE, Key::Escape);
    assert!(!shows(&h, "Shortcuts"));
}

#[test]
fn settings_are_applied_kept_and_put_back() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state.json");
    let read =
        |state: &Path| -> serde_json::Value { serde_json::from_str(&std::fs::read_to_string(state).unwrap()).unwrap() };
    let mut h = window(kept(state.clone()));
    keys(&mut h, Modifiers::COMMAND, Key::Comma);
    assert!(shows(&h, "Settings"));
    h.get_by_label("Binary").click();
    h.run();
    h.get_by_label("Milliseconds").click();
    h.run();
    h.get_by_label("Reduce motion").click();
    h.run();
    h.get_by_label("Done").click();
    h.run();
    let look = &read(&state)["look"];
    assert_eq!((&look["units"]["bytes"], &look["units"]["time"]), (&"Binary".into(), &"Milliseconds".into()));
    assert_eq!(look["reduce_motion"], true);
    assert_eq!(stratoscope::format::bytes(1_048_576.0), "1.00 MiB");
    drop(h);
    let mut h = window(kept(state.clone()));
    keys(&mut h, Modifiers::COMMAND, Key::Comma);
    assert!(is_on(&h, "Binary"));
    h.get_by_label("Restore defaults").click();
    h.run();
    assert_eq!(stratoscope::format::bytes(1e6), "1.00 MB");
    h.get_by_label("Done").click();
    h.run();
    assert_eq!(read(&state)["look"]["units"]["bytes"], "Decimal");
}

#[test]
fn a_failure_is_in_the_log_and_copied_from_there() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("holiday.onnx");
    std::fs::write(&path, "not a model").unwrap();
    let mut h = with_trace();
    h.state_mut().as_mut().unwrap().open(path);
    wait(&mut h, "the message", |h| h.query_by_label_contains("Open holiday.onnx: failed").is_some());
    keys(&mut h, Modifiers::NONE, Key::Escape);
    assert!(!shows(&h, "Dismiss"), "Esc dismisses it");
    h.get_by_label("Log: 1 warning").click();
    h.run();
    h.get_by_label("Copy all").click();
    h.step();
    assert!(copied(&h).is_some_and(|t| t.contains("error") && t.contains("holiday.onnx")));
    let row =
        h.query_all_by_role(Role::Row).find(|n| n.accesskit_node().label().is_some_and(|l| l.contains("holiday")));
    row.unwrap().click();
    h.run();
    h.get_by_label("Copy").click();
    h.step();
    assert!(copied(&h).is_some_and(|t| t.contains("holiday.onnx")));
    h.get_by_label("Clear").click();
    h.run();
    assert!(shows(&h, "Nothing happened yet"));
}

#[test]
fn files_come_back_with_the_next_start_and_missing_ones_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state.json");
    let path = |name: &str| dir.path().join(name);
    for name in ["a.scope", "b.scope", "c.scope"] {
        profiler::export::write(&profiler::fixtures::transformer(2, 5, 1), &path(name)).unwrap();
    }
    let titles = |h: &Window| h.state().as_ref().unwrap().open_files();
    let mut h = window(kept(state.clone()));
    for name in ["a.scope", "b.scope", "c.scope"] {
        h.state_mut().as_mut().unwrap().open(path(name));
    }
    wait(&mut h, "the traces", |h| titles(h).len() == 3);
    // The state is kept when the user lets go of something.
    keys(&mut h, Modifiers::NONE, Key::Escape);
    drop(h);
    std::fs::remove_file(path("a.scope")).unwrap();
    let mut h = window(kept(state.clone()));
    wait(&mut h, "the traces", |h| titles(h).len() == 2);
    assert_eq!(titles(&h), [path("b.scope"), path("c.scope")]);
    assert!(!shows(&h, "Dismiss"), "a missing file is no failure of now");
    assert!(shows(&h, "Log: 1 warning"));
    keys(&mut h, Modifiers::NONE, Key::Escape);
    drop(h);
    let fresh = window(|ctx| App::new(ctx, Store::at(state)).unwrap());
    assert!(titles(&fresh).is_empty());
}

/// The window's event loop in small: draws when something asked for it and not before.
struct Loop {
    ctx: egui::Context,
    app: App,
    due: Arc<Mutex<Option<Instant>>>,
    drawn: usize,
}

impl Loop {
    fn new(settings: Settings) -> Self {
        let ctx = egui::Context::default();
        let due = Arc::new(Mutex::new(Some(Instant::now())));
        let asked = due.clone();
        ctx.set_request_repaint_callback(move |info| {
            let at = Instant::now().checked_add(info.delay);
            let mut due = asked.lock().unwrap();
            *due = match (*due, at) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
        });
        let app = App::still(&ctx, ThemeChoice::Dark, None, None, settings).unwrap();
        Loop { ctx, app, due, drawn: 0 }
    }

    fn turn(&mut self) {
        std::thread::sleep(Duration::from_millis(2));
        let is_due = self.due.lock().unwrap().take_if(|at| *at <= Instant::now()).is_some();
        if is_due {
            self.drawn += 1;
            let screen = egui::Rect::from_min_size(egui::Pos2::ZERO, SIZE);
            let input = egui::RawInput { screen_rect: Some(screen), ..Default::default() };
            let Loop { ctx, app, .. } = self;
            let mut output = ctx.run_ui(input, |ui| {
                app.logic(ui.ctx());
                app.ui(ui);
            });
            // Nothing is painted here.
            output.textures_delta.clear();
        }
    }

    fn until(&mut self, what: &str, done: impl Fn(&App) -> bool) {
        let start = Instant::now();
        while !done(&self.app) {
            assert!(start.elapsed() < Duration::from_secs(120), "{what} does not come");
            self.turn();
        }
    }
}

#[test]
fn a_run_is_watched_with_two_repaints_a_second_and_stops_at_once() {
    let mut l = Loop::new(Settings { budget: Budget::Runs(1_000_000), ..Settings::default() });
    l.app.open("sample:digits_cnn".into());
    l.ctx.request_repaint();
    l.until("the model", |app| app.is_ready());
    l.app.run();
    l.ctx.request_repaint();
    l.until("the run", App::is_measuring);
    // Past the first frames, which show that it runs.
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(1500) {
        l.turn();
    }
    let (drawn, start) = (l.drawn, Instant::now());
    while start.elapsed() < Duration::from_secs(3) {
        l.turn();
    }
    assert!(l.app.is_measuring());
    let frames = l.drawn - drawn;
    println!("{frames} frames in 3 s");
    assert!((3..=7).contains(&frames), "{frames} frames in 3 s of a run");
    let start = Instant::now();
    l.app.cancel();
    while l.app.is_measuring() {
        assert!(start.elapsed() < Duration::from_secs(5), "it does not stop");
        std::thread::sleep(Duration::from_millis(1));
    }
    println!("cancelled after {:?}", start.elapsed());
    assert!(start.elapsed() < Duration::from_millis(500), "cancelled after {:?}", start.elapsed());
}
