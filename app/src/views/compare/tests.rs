use egui::Key;
use egui_kittest::Harness;
use egui_kittest::kittest::{NodeT, Queryable};
use profiler::compare::{Options, Verdict, compare};
use profiler::{Trace, fixtures};
use studies::Settings;

use super::*;
use crate::runs::Runs;
use crate::theme;
use crate::view::{Compared, Facts, Preferences, Profile, Selection};

struct Stage {
    view: CompareView,
    runs: Runs,
    facts: Facts,
    preferences: Preferences,
    settings: Settings,
    selection: Selection,
    actions: Vec<Action>,
}

impl Stage {
    /// The traces in this order, the last on show, the first pinned.
    fn new(traces: &[Trace], pinned: bool) -> Stage {
        let mut runs = Runs::default();
        for t in traces {
            runs.add(Arc::new(Profile::new(Arc::new(t.clone()))), None);
        }
        runs.pin(pinned.then_some(0));
        Stage {
            view: CompareView::default(),
            runs,
            facts: Facts::default(),
            preferences: Preferences::default(),
            settings: Settings::default(),
            selection: Selection::default(),
            actions: Vec::new(),
        }
    }

    /// What the worker would do.
    fn compare(&mut self) {
        let trace = |r: &crate::runs::Run| r.profile.trace.clone();
        let (baseline, current) = (trace(self.runs.baseline().unwrap()), trace(self.runs.current().unwrap()));
        let c = compare(&baseline, &current, Options::default(), &mut |_| true).unwrap();
        self.facts.compared = Some(Compared { baseline, current, state: ComparisonState::Done(Arc::new(c)) });
    }
}

fn show<'a>(stage: Stage) -> Harness<'a, Stage> {
    Harness::builder()
        .with_size([1000.0, 640.0])
        .with_max_steps(16)
        .allow_missing_glyphs()
        .with_context_setup(theme::install)
        .build_ui_state(
            |ui, s: &mut Stage| {
                s.selection.begin_frame();
                let profile = s.runs.current().map(|r| r.profile.clone());
                let mut cx = ViewCx {
                    profile: profile.as_deref(),
                    model: None,
                    runs: &s.runs,
                    facts: &s.facts,
                    preferences: &mut s.preferences,
                    settings: &mut s.settings,
                    selection: &mut s.selection,
                    theme: Theme::of(ui.ctx()),
                    actions: &mut s.actions,
                };
                s.view.ui(ui, &mut cx);
            },
            stage,
        )
}

/// The transformer with one layer twice as long in the second.
fn pair() -> [Trace; 2] {
    let a = fixtures::transformer(2, 20, 1);
    let mut b = fixtures::transformer(2, 20, 2);
    let layer = b.layers.iter().position(|l| l.name.ends_with("layer.1/attention/query")).unwrap();
    for i in 0..b.spans.len() {
        if b.spans.layer[i] == Some(LayerId(layer as u32)) {
            b.spans.end_ns[i] += b.spans.end_ns[i] - b.spans.start_ns[i];
        }
    }
    [a, b]
}

#[test]
fn what_is_missing_is_asked_for() {
    let [a, b] = pair();
    for (traces, pinned, button, want) in [
        (vec![], false, "Open…", Action::OpenDialog),
        (vec![a.clone()], false, "Pin this trace", Action::Pin(Some(0))),
        (vec![a.clone()], true, "Open…", Action::OpenDialog),
    ] {
        let mut harness = show(Stage::new(&traces, pinned));
        harness.run();
        harness.get_by_label(button).click();
        harness.run();
        assert_eq!(harness.state().actions, [want], "{button}");
    }
    let mut stage = Stage::new(&[a.clone(), b.clone()], true);
    stage.runs.show(0);
    let mut harness = show(stage);
    harness.run();
    harness.get_by_label("Show the newest other").click();
    harness.run();
    assert_eq!(harness.state().actions, [Action::ShowRun(1)]);
    let mut harness = show(Stage::new(&[a, b], true));
    harness.run();
    assert_eq!(harness.state().actions[0], Action::Compare, "it asks by itself");
}

#[test]
fn rows_and_layers_are_chosen_together() {
    let mut stage = Stage::new(&pair(), true);
    stage.compare();
    let mut harness = show(stage);
    harness.run();
    // The largest change is chosen at first; its verdict stands in the first row.
    let labels: Vec<String> =
        harness.query_all_by_role(egui::Role::Row).map(|n| n.accesskit_node().label().unwrap_or_default()).collect();
    assert!(labels[0].contains("layer.1/attention/query") && labels[0].ends_with("slower"), "{labels:?}");
    harness.query_all_by_role(egui::Role::Row).nth(1).unwrap().click();
    harness.run();
    let first = harness.state().selection.layer.unwrap();
    harness.key_press(Key::ArrowUp);
    harness.run();
    let query = harness.state().selection.layer.unwrap();
    assert_ne!(first, query);
    let name = |h: &Harness<'_, Stage>, l: LayerId| {
        h.state().runs.current().unwrap().profile.trace.layers[l.index()].name.clone()
    };
    assert!(name(&harness, query).ends_with("layer.1/attention/query"));
    // A layer that is selected elsewhere chooses its row here.
    harness.state_mut().selection.select(Some(first));
    harness.run();
    let chosen = harness.state().view.row.unwrap();
    let c = harness.state().view.made.as_ref().unwrap().comparison.clone();
    assert!(c.rows[chosen].current.contains(&first));
    assert_eq!(c.rows.iter().filter(|r| r.time.verdict == Verdict::Slower).count(), 1);
}

#[test]
fn the_flame_graph_walks_zooms_and_shows_all_again() {
    let mut stage = Stage::new(&pair(), true);
    stage.compare();
    let mut harness = show(stage);
    harness.run();
    harness.get_by_label("Flame graph").click();
    harness.run();
    harness.get_by_role(egui::Role::Canvas).focus();
    harness.run();
    harness.key_press(Key::ArrowRight);
    harness.run();
    let layer = harness.state().selection.layer;
    assert!(layer.is_some());
    harness.key_press(Key::ArrowRight);
    harness.run();
    assert_ne!(harness.state().selection.layer, layer);
    for key in [Key::Enter, Key::Escape] {
        harness.key_press(key);
        harness.run();
    }
    harness.get_by_label("Baseline widths").click();
    harness.run();
}

/// `run` fails if the view goes on repainting at rest.
#[test]
fn odd_pairs_are_drawn_and_come_to_rest() {
    let mut random = fixtures::Random::fresh();
    println!("seed {}", random.seed);
    let mut pairs = vec![
        [fixtures::empty(), fixtures::one_layer()],
        [fixtures::one_layer(), fixtures::empty()],
        [fixtures::many_spans(3000), fixtures::many_spans(2000)],
    ];
    pairs.extend((0..8).map(|_| [fixtures::random(&mut random), fixtures::random(&mut random)]));
    for pair in pairs {
        for flame in [false, true] {
            let mut stage = Stage::new(&pair, true);
            stage.compare();
            stage.view.shown = if flame { Shown::Flame } else { Shown::Rows };
            let mut harness = show(stage);
            harness.run();
            for at in [egui::pos2(300.0, 250.0), egui::pos2(800.0, 400.0)] {
                harness.hover_at(at);
                harness.run();
            }
        }
    }
}

#[test]
fn ten_thousand_rows_are_drawn_in_little_time() {
    let layers = |t: &mut Trace| {
        let named = (0..10_000).map(|i| profiler::Layer {
            name: format!("b{}/l{i}", i / 20),
            scope: format!("b{}", i / 20),
            ..Default::default()
        });
        t.layers = named.collect();
        // Each of the runs times other layers: what matters is the number of rows.
        for i in 0..t.spans.len() {
            t.spans.layer[i] = Some(LayerId((i % 10_000) as u32));
        }
    };
    let mut a = fixtures::many_spans(50_000);
    layers(&mut a);
    let mut stage = Stage::new(&[a.clone(), a], true);
    stage.compare();
    let mut harness = show(stage);
    harness.run();
    for mode in ["Flame graph", "Rows"] {
        harness.get_by_label(mode).click();
        harness.run();
        let start = std::time::Instant::now();
        harness.run_steps(10);
        println!("{mode}: {:?} a frame, unoptimised, without painting", start.elapsed() / 10);
        assert!(start.elapsed().as_secs() < 5);
    }
}
