use std::sync::Arc;

use egui_kittest::Harness;
use egui_kittest::kittest::Queryable;
use profiler::{Trace, fixtures};
use studies::{Case, Inspection, Settings, WhatIf};

use super::*;
use crate::runs::Runs;
use crate::view::{Facts, Preferences};

struct Stage {
    view: MemoryView,
    profile: Profile,
    facts: Facts,
    selection: Selection,
    actions: Vec<Action>,
}

fn stage<'a>(trace: Trace) -> Harness<'a, Stage> {
    let stage = Stage {
        view: MemoryView::default(),
        profile: Profile::new(Arc::new(trace)),
        facts: Facts::default(),
        selection: Selection::default(),
        actions: Vec::new(),
    };
    let model = Inspection { model: "m".into(), ..Inspection::default() };
    let (runs, mut preferences, mut settings) = (Runs::default(), Preferences::default(), Settings::default());
    let draw = move |ui: &mut Ui, s: &mut Stage| {
        s.selection.begin_frame();
        let mut cx = ViewCx {
            profile: Some(&s.profile),
            model: Some(&model),
            runs: &runs,
            facts: &s.facts,
            preferences: &mut preferences,
            settings: &mut settings,
            selection: &mut s.selection,
            theme: Theme::of(ui.ctx()),
            actions: &mut s.actions,
        };
        s.view.ui(ui, &mut cx);
    };
    Harness::builder()
        .with_size([900.0, 600.0])
        .with_max_steps(16)
        .with_context_setup(theme::install)
        .build_ui_state(draw, stage)
}

#[test]
fn the_pictures_zoom_pan_and_walk_by_key() {
    for map in [Map::Arena, Map::Lifetimes] {
        let mut h = stage(fixtures::transformer(6, 5, 1));
        h.state_mut().view.map = map;
        h.run();
        h.get_by_label_contains("Memory over").focus();
        h.run();
        for key in [Key::W, Key::W, Key::D, Key::A, Key::ArrowDown, Key::ArrowUp] {
            h.key_press(key);
            h.run();
        }
        assert!(h.state().view.window.is_zoomed());
        let peak = h.state().view.peak(&h.state().profile);
        h.key_press(Key::ArrowRight);
        h.run();
        assert_eq!(h.state().view.pinned, Some(peak + 1));
        h.key_press(Key::P);
        h.key_press(Key::F);
        h.run();
        assert!(h.state().view.pinned.is_none() && !h.state().view.window.is_zoomed());
        h.hover_at(pos2(300.0, 200.0));
        h.run();
        assert!(h.state().selection.hovered.is_some(), "what is under the pointer lights up everywhere");
    }
}

#[test]
fn another_trace_is_shown_whole() {
    let mut h = stage(fixtures::transformer(6, 5, 1));
    h.run();
    h.state_mut().view.pinned = Some(40);
    h.state_mut().view.window.zoom(4.0, 10.0, 58.0, 1.0);
    h.run();
    assert_eq!(h.state().view.pinned, Some(40));
    h.state_mut().profile = Profile::new(Arc::new(fixtures::one_layer()));
    h.run();
    assert!(h.state().view.pinned.is_none() && !h.state().view.window.is_zoomed());
}

#[test]
fn what_ifs_are_asked_for_and_shown() {
    let mut h = stage(fixtures::transformer(2, 5, 1));
    h.run();
    h.get_by_label("What if").click();
    h.run();
    h.get_by_label("Compute").click();
    h.run();
    assert_eq!(h.state().actions, [Action::WhatIf]);
    let case = |id, name: &str, peak_bytes| Case {
        id,
        name: name.to_owned(),
        peak_bytes,
        arena_bytes: peak_bytes + 64,
        explanation: "why".to_owned(),
    };
    let what_if = |model: &str| WhatIf {
        model: model.to_owned(),
        dims: Default::default(),
        precision: studies::Precision::F32,
        fusion: true,
        baseline: case("now", "As planned now", 2000),
        cases: vec![case("order", "Another order", 2000), case("f16", "f16 activations", 1000)],
        floor_bytes: 900,
        floor_step: "a".to_owned(),
    };
    // One of another model says nothing about this one.
    h.state_mut().facts.what_if = Some(Arc::new(what_if("other")));
    h.run();
    assert!(h.query_by_label("Compute").is_some());
    h.state_mut().facts.what_if = Some(Arc::new(what_if("m")));
    h.run();
    assert!(h.query_by_label("Another order, no saving").is_some());
    assert!(h.query_by_label("f16 activations, 1.00 kB").is_some());
}

#[test]
fn the_peak_is_told_in_words() {
    let trace = fixtures::transformer(2, 5, 1);
    let profile = Profile::new(Arc::new(trace));
    let mut alive = Alive::default();
    let peak = profile.memory.peak.unwrap();
    alive.update(&profile, peak, true);
    let words = alive.words(&profile, peak, true, true);
    assert!(words.starts_with("Peak ") && words.contains("makes") && words.contains("of weights"), "{words}");
}
