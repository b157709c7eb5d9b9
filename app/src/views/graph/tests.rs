use std::sync::Arc;

use egui::Key;
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable;
use profiler::fixtures::{self, Random};
use profiler::{Layer, SourceNode, Trace};
use studies::Settings;

use super::*;
use crate::runs::Runs;
use crate::theme;
use crate::view::{Facts, Preferences, Profile};

struct Stage {
    view: GraphView,
    profile: Option<Profile>,
    selection: Selection,
    actions: Vec<Action>,
}

fn stage<'a>(trace: Option<Trace>) -> Harness<'a, Stage> {
    let profile = trace.map(|t| Profile::new(Arc::new(t)));
    let stage = Stage { view: GraphView::default(), profile, selection: Selection::default(), actions: Vec::new() };
    let (runs, facts, mut preferences) = (Runs::default(), Facts::default(), Preferences::default());
    let mut settings = Settings::default();
    Harness::builder().with_size([900.0, 600.0]).with_max_steps(64).with_context_setup(theme::install).build_ui_state(
        move |ui, s: &mut Stage| {
            s.selection.begin_frame();
            let mut cx = ViewCx {
                profile: s.profile.as_ref(),
                model: None,
                runs: &runs,
                facts: &facts,
                preferences: &mut preferences,
                settings: &mut settings,
                selection: &mut s.selection,
                theme: Theme::of(ui.ctx()),
                actions: &mut s.actions,
            };
            s.view.ui(ui, &mut cx);
        },
        stage,
    )
}

/// Runs until the layout that was asked for is there.
fn settle(h: &mut Harness<'_, Stage>) {
    let start = std::time::Instant::now();
    loop {
        h.run();
        if !h.state().view.layouts.is_busy() {
            h.run();
            return;
        }
        assert!(start.elapsed().as_secs() < 60, "the layout never came");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

fn boxes(h: &Harness<'_, Stage>) -> usize {
    h.state().view.layouts.laid().unwrap().scene.boxes.len()
}

fn find(h: &Harness<'_, Stage>, path: &str) -> Option<Rect> {
    h.state().view.layouts.laid().unwrap().rect_of(path)
}

fn act(h: &mut Harness<'_, Stage>, id: &str) {
    let s = h.state_mut();
    s.view.act(id, &mut s.selection);
    settle(h);
}

#[test]
fn every_command_is_carried_out_by_its_id_and_keys_name_commands() {
    let mut h = stage(Some(fixtures::transformer(3, 3, 1)));
    settle(&mut h);
    for c in COMMANDS {
        act(&mut h, c.id);
        act(&mut h, c.id);
    }
    for (_, _, id) in input::KEYS {
        assert!(COMMANDS.iter().any(|c| c.id == *id), "{id} is listed");
    }
}

#[test]
fn scopes_open_and_close_in_place() {
    let mut h = stage(Some(fixtures::transformer(6, 3, 1)));
    settle(&mut h);
    let before = boxes(&h);
    h.state_mut().view.cursor = Some("encoder/layer.3".to_owned());
    let lens = |h: &Harness<'_, Stage>, path: &str| {
        let s = h.state();
        let rect = find(h, path).unwrap();
        s.view.camera.target().point(Rect::from_min_size(egui::Pos2::ZERO, s.view.size), rect.center_top())
    };
    let at = lens(&h, "encoder/layer.3");
    act(&mut h, "toggle");
    assert!(boxes(&h) > before && find(&h, "encoder/layer.3/attention").is_some());
    assert!((lens(&h, "encoder/layer.3") - at).length() < 1.0, "the box stays where it was");
    act(&mut h, "toggle");
    assert_eq!(boxes(&h), before);
    act(&mut h, "toggle-alike");
    assert!(find(&h, "encoder/layer.5/attention").is_some(), "blocks that are alike open together");
    act(&mut h, "close-all");
    assert_eq!(boxes(&h), 1 + h.state().view.layouts.laid().unwrap().tree.items[0].children.len());
    act(&mut h, "open-all");
    let laid = h.state().view.layouts.laid().unwrap().clone();
    assert_eq!(laid.scene.boxes.len(), laid.tree.items.len());
}

#[test]
fn a_layer_chosen_elsewhere_is_opened_up_to() {
    let mut h = stage(Some(fixtures::transformer(6, 3, 1)));
    settle(&mut h);
    let layers = &h.state().profile.as_ref().unwrap().trace.layers;
    let deep = layers.iter().position(|l| l.name.ends_with("layer.4/attention/query")).unwrap();
    assert!(find(&h, "encoder/layer.4/attention/query").is_none());
    h.state_mut().selection.select(Some(LayerId(deep as u32)));
    settle(&mut h);
    settle(&mut h);
    let rect = find(&h, "encoder/layer.4/attention/query").expect("opened");
    let view = &h.state().view;
    let window = Rect::from_min_size(egui::Pos2::ZERO, view.size);
    assert!(window.contains_rect(view.camera.target().rect(window, rect)));
}

#[test]
fn keys_walk_along_the_lines_and_select() {
    let mut h = stage(Some(fixtures::transformer(2, 3, 1)));
    settle(&mut h);
    h.get_by_role(Role::Canvas).focus();
    h.run();
    let mut seen = Vec::new();
    for key in [Key::ArrowDown, Key::ArrowDown, Key::ArrowDown, Key::ArrowUp, Key::ArrowRight, Key::ArrowLeft] {
        h.key_press(key);
        settle(&mut h);
        seen.push(h.state().view.cursor.clone().expect("somewhere"));
    }
    assert!(seen[0] != seen[1] && seen[1] != seen[2] && seen[3] != seen[2], "{seen:?}");
    assert!(h.state().selection.layer.is_some());
    for key in [Key::W, Key::S, Key::A, Key::D, Key::F, Key::E, Key::Enter, Key::Backspace, Key::N, Key::Slash] {
        h.key_press(key);
        settle(&mut h);
    }
    h.get_by_role(Role::Canvas).focus();
    h.run();
    h.key_press(Key::Escape);
    settle(&mut h);
    assert_eq!(h.state().selection.layer, None);
}

#[test]
fn a_search_finds_what_is_closed_away() {
    let mut h = stage(Some(fixtures::transformer(6, 3, 1)));
    settle(&mut h);
    h.state_mut().view.search = "layer.5 query".to_owned();
    settle(&mut h);
    assert_eq!(h.state().view.matches.len(), 1);
    act(&mut h, "next");
    assert!(find(&h, "encoder/layer.5/attention/query").is_some());
}

#[test]
fn a_trace_without_its_model_asks_for_it() {
    let mut trace = fixtures::transformer(2, 3, 1);
    trace.nodes.clear();
    let mut h = stage(Some(trace));
    h.run();
    h.get_by_label("Open its model…").click();
    h.run();
    assert_eq!(h.state().actions, [Action::OpenDialog]);
}

/// A trace of `n` nodes in blocks, one layer each.
pub(crate) fn large(n: u32) -> Trace {
    let mut random = Random::new(7);
    let name = |i: u32| format!("encoder/layer.{}/part.{}/n{i}", i / 200, i / 20 % 10);
    let scope = |i: u32| name(i).rsplit_once('/').map(|s| s.0.to_owned()).unwrap_or_default();
    let mut trace = fixtures::one_layer();
    trace.nodes = (0..n)
        .map(|i| {
            let inputs = (0..2).map(|_| i.saturating_sub(1 + random.below(6) as u32)).collect();
            SourceNode { name: name(i), op: "MatMul".into(), scope: scope(i), inputs }
        })
        .collect();
    let layer = |i: u32| Layer {
        name: name(i),
        op: "MatMul".into(),
        scope: scope(i),
        source_nodes: vec![name(i)],
        ..Layer::default()
    };
    trace.layers = (0..n).map(layer).collect();
    trace
}

/// Prints what a frame costs with everything open: drawing and tessellation, without rasterising.
#[test]
fn frames_of_ten_thousand_open_nodes() {
    let mut h = stage(Some(large(10_000)));
    settle(&mut h);
    act(&mut h, "open-all");
    assert!(boxes(&h) > 10_000);
    act(&mut h, "fit-all");
    for zoom in ["whole", "closer", "closer", "closer", "closer", "closer", "closer"] {
        if zoom == "closer" {
            for _ in 0..3 {
                act(&mut h, "zoom-in");
            }
        }
        let frames = 20;
        let start = std::time::Instant::now();
        for _ in 0..frames {
            h.step();
        }
        let drawing = start.elapsed() / frames;
        let output = h.output().clone();
        let shapes = output.shapes.len();
        let start = std::time::Instant::now();
        let meshes = h.ctx.tessellate(output.shapes, 1.0);
        let scale = h.state().view.camera.shown().scale;
        println!(
            "zoom {scale:.3}: {drawing:?} to draw {shapes} shapes, {:?} to tessellate into {} meshes",
            start.elapsed(),
            meshes.len()
        );
    }
}
