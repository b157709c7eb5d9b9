//! Keys and gestures of the flame graph.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use egui::{Event, Key, Modifiers, Pos2, Rect, pos2};
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable;
use profiler::range::{RangeBy, RangeSums};
use profiler::{LayerId, SpanId, Trace, TrackKind, fixtures};
use studies::Settings;

use super::*;
use crate::draw::flame_chrome::GUTTER;
use crate::runs::Runs;
use crate::theme::Theme;
use crate::view::{Facts, Preferences};

struct Stage {
    view: FlameView,
    profile: Profile,
    preferences: Preferences,
    selection: Selection,
    actions: Vec<Action>,
    /// A command to give in the next frame.
    command: Option<&'static str>,
}

fn draw(ui: &mut Ui, s: &mut Stage, theme: &'static Theme) {
    s.selection.begin_frame();
    let (runs, facts, mut settings) = (Runs::default(), Facts::default(), Settings::default());
    let mut cx = ViewCx {
        profile: Some(&s.profile),
        model: None,
        runs: &runs,
        facts: &facts,
        preferences: &mut s.preferences,
        settings: &mut settings,
        selection: &mut s.selection,
        theme,
        actions: &mut s.actions,
    };
    if let Some(id) = s.command.take() {
        s.view.command(id, &mut cx);
    }
    s.view.ui(ui, &mut cx);
}

fn stage_of(trace: Trace) -> Stage {
    Stage {
        view: FlameView::default(),
        profile: Profile::new(Arc::new(trace)),
        preferences: Preferences::default(),
        selection: Selection::default(),
        actions: Vec::new(),
        command: None,
    }
}

fn stage<'a>(trace: Trace) -> Harness<'a, Stage> {
    let mut harness = Harness::builder()
        .with_size([1000.0, 640.0])
        .with_max_steps(64)
        .allow_missing_glyphs()
        .with_context_setup(theme::install)
        .build_ui_state(|ui, s: &mut Stage| draw(ui, s, Theme::of(ui.ctx())), stage_of(trace));
    harness.run();
    harness
}

fn transformer<'a>() -> Harness<'a, Stage> {
    stage(fixtures::transformer(2, 5, 1))
}

fn canvas(h: &Harness<'_, Stage>) -> Rect {
    h.get_by_role(Role::Canvas).rect()
}

/// The place of a time on the canvas.
fn x_of(h: &Harness<'_, Stage>, t: f64) -> f32 {
    let rect = canvas(h);
    let (from, to) = h.state().view.window.shown();
    let (left, width) = (rect.left() + GUTTER, rect.width() - GUTTER - PAD);
    left + ((t - from) / (to - from)) as f32 * width
}

fn focus(h: &mut Harness<'_, Stage>) {
    h.get_by_role(Role::Canvas).focus();
    h.run();
}

fn press(h: &mut Harness<'_, Stage>, key: Key) {
    h.key_press(key);
    h.run();
}

fn drag(h: &mut Harness<'_, Stage>, from: Pos2, to: Pos2) {
    h.hover_at(from);
    h.run();
    h.drag_at(from);
    h.run();
    h.hover_at(from + (to - from) * 0.5);
    h.run();
    h.hover_at(to);
    h.run();
    h.drop_at(to);
    h.run();
}

fn select(h: &mut Harness<'_, Stage>, span: SpanId) {
    let s = h.state_mut();
    s.selection.select(s.profile.trace.spans.layer[span.index()]);
    s.selection.span = Some(span);
    h.run();
}

fn layer_spans(h: &Harness<'_, Stage>) -> Vec<SpanId> {
    let profile = &h.state().profile;
    (0..profile.trace.layers.len()).filter_map(|l| profile.span_to_show(LayerId(l as u32))).collect()
}

#[test]
fn a_drag_selects_time_and_its_sums_are_those_of_brute_force() {
    let mut random = fixtures::Random::fresh();
    println!("seed {}", random.seed);
    for _ in 0..4 {
        let mut h = transformer();
        let rect = canvas(&h);
        let mut x = || rect.left() + GUTTER + 20.0 + random.below(rect.width() as u64 - 200) as f32;
        let (a, b) = (x(), x());
        if (a - b).abs() < 20.0 {
            continue;
        }
        drag(&mut h, pos2(a, rect.center().y + 40.0), pos2(b, rect.center().y + 60.0));
        let s = h.state();
        let (from, to) = s.selection.range.unwrap();
        assert!((x_of(&h, from as f64) - a.min(b)).abs() < 1.0 && (x_of(&h, to as f64) - a.max(b)).abs() < 1.0);
        assert_eq!(s.selection.layer, None, "a drag is no click");
        let trace = Arc::clone(&s.profile.trace);
        let spans = &trace.spans;
        let cut = |i: usize| (spans.start_ns[i].max(from), spans.end_ns[i].min(to));
        let inside: Vec<usize> =
            (0..spans.len()).filter(|&i| spans.start_ns[i] < to && spans.end_ns[i] > from).collect();
        for table in 0..4 {
            h.state_mut().view.range.choose(table);
            h.run();
            let s = h.state();
            let rows = s.view.range.rows();
            let sum: u64 = inside.iter().map(|&i| cut(i).1 - cut(i).0).sum();
            assert_eq!(rows.iter().map(|r| r.sum_ns).sum::<u64>(), sum);
            assert_eq!(rows.iter().map(|r| r.count).sum::<u64>(), inside.len() as u64);
        }
        for row in RangeSums::of(&trace, (from, to), &AtomicBool::new(false)).unwrap().rows(&trace, RangeBy::Layer) {
            let Some(layer) = row.layer else { continue };
            let of: Vec<usize> = inside.iter().copied().filter(|&i| spans.layer[i] == Some(layer)).collect();
            assert_eq!(row.sum_ns, of.iter().map(|&i| cut(i).1 - cut(i).0).sum::<u64>());
            assert_eq!(row.count, of.len() as u64);
        }
    }
}

#[test]
fn edges_of_a_range_are_dragged_and_a_click_lets_it_go() {
    let mut h = transformer();
    let rect = canvas(&h);
    let y = rect.top() + 120.0;
    drag(&mut h, pos2(400.0, y), pos2(500.0, y));
    let (a, b) = h.state().selection.range.unwrap();
    let edge = x_of(&h, b as f64);
    drag(&mut h, pos2(edge, y), pos2(edge + 100.0, y));
    let (a2, b2) = h.state().selection.range.unwrap();
    assert!(a.abs_diff(a2) < (b - a) / 20 && b2 > b, "{a} {b} {a2} {b2}");
    // The other edge, over the one that stays.
    let edge = x_of(&h, a2 as f64);
    drag(&mut h, pos2(edge, y), pos2(edge + 300.0, y));
    let (a3, b3) = h.state().selection.range.unwrap();
    assert!(a3.abs_diff(b2) < (b - a) / 20 && b3 > a3);
    h.hover_at(pos2(200.0, y));
    h.run();
    h.drag_at(pos2(200.0, y));
    h.drop_at(pos2(200.0, y));
    h.run();
    assert_eq!(h.state().selection.range, None);
}

#[test]
fn shift_and_drag_pans() {
    let mut h = transformer();
    let y = canvas(&h).center().y;
    let before = h.state().view.window.target();
    h.key_press(Key::W);
    focus(&mut h);
    press(&mut h, Key::W);
    let zoomed = h.state().view.window.target();
    assert!(zoomed.1 - zoomed.0 < before.1 - before.0);
    h.hover_at(pos2(500.0, y));
    h.run();
    let modifiers = Modifiers::SHIFT;
    let button = |pos, pressed| Event::PointerButton { pos, button: egui::PointerButton::Primary, pressed, modifiers };
    h.event_modifiers(button(pos2(500.0, y), true), modifiers);
    h.run();
    h.event_modifiers(Event::PointerMoved(pos2(540.0, y)), modifiers);
    h.run();
    h.event_modifiers(Event::PointerMoved(pos2(600.0, y)), modifiers);
    h.run();
    h.event_modifiers(button(pos2(600.0, y), false), modifiers);
    h.run();
    let panned = h.state().view.window.target();
    assert!(panned.0 < zoomed.0, "{zoomed:?} {panned:?}");
    assert!(((panned.1 - panned.0) - (zoomed.1 - zoomed.0)).abs() < 1e-3 * (zoomed.1 - zoomed.0));
    assert_eq!(h.state().selection.range, None);
}

#[test]
fn the_moving_keys_go_by_their_place_on_the_keyboard() {
    let mut h = transformer();
    focus(&mut h);
    let width = |h: &Harness<'_, Stage>| {
        let (a, b) = h.state().view.window.target();
        b - a
    };
    let key = |key, physical| Event::Key {
        key,
        physical_key: Some(physical),
        pressed: true,
        repeat: false,
        modifiers: Modifiers::NONE,
    };
    let before = width(&h);
    // On a French keyboard the W's place bears a Z, and the W itself lies elsewhere.
    h.event(key(Key::Z, Key::W));
    h.run();
    assert!(width(&h) < before * 0.7);
    h.event(key(Key::W, Key::Z));
    h.run();
    assert!(width(&h) < before * 0.7 && width(&h) > before * 0.6, "the letter alone moves nothing");
    let at = h.state().view.window.target().0;
    h.event(key(Key::Q, Key::A));
    h.run();
    assert!(h.state().view.window.target().0 < at);
    press(&mut h, Key::D);
    press(&mut h, Key::S);
    assert!((width(&h) - before).abs() < before * 0.03);
}

#[test]
fn the_wheel_zooms_at_the_pointer_and_scrolls_the_tracks() {
    let mut h = transformer();
    let at = pos2(canvas(&h).left() + 300.0, canvas(&h).center().y);
    h.hover_at(at);
    h.run();
    let time = |h: &Harness<'_, Stage>| {
        let rect = canvas(h);
        let (from, to) = h.state().view.window.target();
        from + f64::from((at.x - rect.left() - GUTTER) / (rect.width() - GUTTER - PAD)) * (to - from)
    };
    let (before, t) = (h.state().view.window.target(), time(&h));
    h.event(Event::Zoom(2.0));
    h.run();
    let after = h.state().view.window.target();
    assert!(((after.1 - after.0) / (before.1 - before.0) - 0.5).abs() < 0.05);
    assert!((time(&h) - t).abs() < 0.01 * (after.1 - after.0), "what is under the pointer stays there");
    assert_eq!(h.state().view.scroll, 0.0);
}

#[test]
fn f_centres_and_then_fits() {
    let mut h = transformer();
    let span = layer_spans(&h)[4];
    focus(&mut h);
    press(&mut h, Key::W);
    select(&mut h, span);
    let before = h.state().view.window.target();
    press(&mut h, Key::F);
    let (a, b) = h.state().view.window.target();
    let s = h.state().profile.trace.spans.get(span.index());
    let middle = (s.start_ns + s.end_ns) as f64 / 2.0;
    assert!(((a + b) / 2.0 - middle).abs() < 1.0, "centred");
    assert!(((b - a) - (before.1 - before.0)).abs() < 1.0, "at the same zoom");
    press(&mut h, Key::F);
    let (a, b) = h.state().view.window.target();
    assert!((b - a) < s.duration_ns() as f64 * 1.05 && a <= s.start_ns as f64 && b >= s.end_ns as f64, "fitted");
}

#[test]
fn full_stop_and_comma_walk_the_track_and_arrows_the_nesting() {
    let mut h = transformer();
    focus(&mut h);
    let spans = layer_spans(&h);
    select(&mut h, spans[3]);
    let now = |h: &Harness<'_, Stage>| h.state().selection.span;
    press(&mut h, Key::Period);
    let next = now(&h).unwrap();
    {
        let trace = &h.state().profile.trace;
        assert_eq!(trace.spans.track[next.index()], trace.spans.track[spans[3].index()]);
        assert!(trace.spans.start_ns[next.index()] >= trace.spans.start_ns[spans[3].index()] && next != spans[3]);
    }
    press(&mut h, Key::Comma);
    assert_eq!(now(&h), Some(spans[3]));
    press(&mut h, Key::ArrowUp);
    let parent = h.state().profile.trace.spans.parent[spans[3].index()];
    assert!(parent.is_some() && now(&h) == parent);
    assert_eq!(h.state().selection.layer, None, "a span of no layer can be selected");
    press(&mut h, Key::ArrowDown);
    assert_eq!(h.state().profile.trace.spans.parent[now(&h).unwrap().index()], parent);
    press(&mut h, Key::ArrowRight);
    press(&mut h, Key::ArrowLeft);
    assert_eq!(h.state().profile.trace.spans.parent[now(&h).unwrap().index()], parent);
    // At the end of the track it stays.
    let last = SpanId(h.state().profile.trace.spans.len() as u32 - 1);
    select(&mut h, last);
    press(&mut h, Key::Period);
    assert_eq!(now(&h), Some(last));
}

#[test]
fn digits_choose_the_order() {
    let mut h = transformer();
    focus(&mut h);
    for (key, mode) in [(Key::Num3, Mode::Sandwich), (Key::Num2, Mode::Merged), (Key::Num1, Mode::Time)] {
        h.state_mut().view.focus_graph = true;
        h.hover_at(pos2(500.0, 300.0));
        h.run();
        press(&mut h, key);
        assert_eq!(h.state().view.mode, mode);
    }
}

#[test]
fn m_marks_and_unmarks_and_shift_m_marks_an_extent() {
    let mut h = transformer();
    focus(&mut h);
    let span = layer_spans(&h)[2];
    let marks = |h: &Harness<'_, Stage>| h.state().view.marks.of(&h.state().profile.trace).to_vec();
    // Nothing is selected: the time under the pointer.
    let at = pos2(canvas(&h).left() + 400.0, canvas(&h).center().y + 100.0);
    h.hover_at(at);
    h.run();
    let t = h.state().view.pointer_time.unwrap();
    press(&mut h, Key::M);
    assert_eq!(marks(&h).len(), 1);
    assert!((marks(&h)[0].at as f64 - t).abs() <= 1.0 && marks(&h)[0].until.is_none());
    press(&mut h, Key::M);
    assert!(marks(&h).is_empty(), "the same again takes it away");
    select(&mut h, span);
    press(&mut h, Key::M);
    h.key_press_modifiers(Modifiers::SHIFT, Key::M);
    h.run();
    let s = h.state().profile.trace.spans.get(span.index());
    let found = marks(&h);
    assert_eq!(found.len(), 2);
    assert!(found.iter().all(|m| m.at == s.start_ns && !m.note.is_empty()));
    assert!(found.iter().any(|m| m.until == Some(s.end_ns)));
    h.state_mut().command = Some("marks-clear");
    h.run();
    assert!(marks(&h).is_empty());
}

#[test]
fn a_slash_searches_and_enter_goes_through_the_matches() {
    let mut h = transformer();
    focus(&mut h);
    press(&mut h, Key::Slash);
    let field = h.get_by_role(Role::TextInput);
    assert!(field.is_focused());
    field.type_text("query");
    h.run();
    let found = h.state().view.search.spans().unwrap().to_vec();
    let trace = Arc::clone(&h.state().profile.trace);
    let want = trace.spans.iter().filter(|s| s.layer.is_some_and(|l| trace.layers[l.index()].name.contains("query")));
    assert_eq!(found.len(), want.count());
    h.key_press(Key::Enter);
    h.run();
    let first = h.state().selection.span.unwrap();
    let k = found.iter().position(|&i| i == first.0).unwrap();
    h.key_press(Key::Enter);
    h.run();
    assert_eq!(h.state().selection.span, Some(SpanId(found[(k + 1) % found.len()])));
    let words = format!("{} of {}", (k + 1) % found.len() + 1, found.len());
    h.get_by_label(&words);
    h.key_press_modifiers(Modifiers::SHIFT, Key::Enter);
    h.run();
    assert_eq!(h.state().selection.span, Some(first));
    // Keys are text while one types.
    h.get_by_role(Role::TextInput).type_text("m");
    h.run();
    assert_eq!(h.state().view.search.query, "querym");
    assert!(h.state().view.marks.of(&trace).is_empty());
    press(&mut h, Key::Escape);
    assert!(!h.state().view.search.is_on());
}

#[test]
fn escape_clears_everything_but_marks() {
    let mut h = transformer();
    let y = canvas(&h).center().y + 60.0;
    drag(&mut h, pos2(400.0, y), pos2(600.0, y));
    let span = layer_spans(&h)[2];
    select(&mut h, span);
    h.state_mut().view.search.query = "gelu".into();
    press(&mut h, Key::M);
    assert!(h.state().selection.range.is_some());
    press(&mut h, Key::Escape);
    let s = h.state();
    assert!(s.selection.range.is_none() && s.selection.span.is_none() && s.selection.layer.is_none());
    assert!(!s.view.search.is_on());
    assert_eq!(s.view.marks.of(&s.profile.trace).len(), 1);
}

#[test]
fn tracks_close_and_open() {
    let mut h = transformer();
    let name = h.state().profile.flame.tracks[0].name.clone();
    h.get_by_label(&format!("{name}, track, open")).click();
    h.run();
    assert!(h.state().view.collapsed.contains(&name));
    h.get_by_label(&format!("{name}, track, closed")).click();
    h.run();
    assert!(h.state().view.collapsed.is_empty());
    h.state_mut().command = Some("collapse-all");
    h.run();
    assert!(h.state().view.collapsed.len() >= h.state().profile.flame.tracks.len());
}

#[test]
fn every_command_is_carried_out_and_comes_to_rest() {
    let (mut ids, all): (Vec<&str>, Vec<&str>) = COMMANDS.iter().map(|c| (c.id, c.id)).unzip();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), all.len());
    let mut random = fixtures::Random::fresh();
    println!("seed {}", random.seed);
    let mut traces = vec![fixtures::transformer(2, 3, 1), fixtures::one_layer(), fixtures::many_spans(3000)];
    traces.extend((0..6).map(|_| fixtures::random(&mut random)));
    for trace in traces {
        let mut h = stage(trace);
        for _ in 0..3 {
            for command in COMMANDS {
                h.state_mut().command = Some(command.id);
                h.run();
            }
        }
        for _ in 0..60 {
            h.state_mut().command = Some(COMMANDS[random.below(COMMANDS.len() as u64) as usize].id);
            h.run();
        }
    }
}

#[test]
fn colours_change_by_command_and_are_kept_in_the_preferences() {
    let mut h = transformer();
    for (id, by) in [("color-scope", ColorBy::Scope), ("color-error", ColorBy::Error), ("color-class", ColorBy::Class)]
    {
        h.state_mut().command = Some(id);
        h.run();
        assert_eq!(h.state().preferences.flame_colors, by);
    }
}

#[test]
fn a_sandwich_is_picked_from_the_table() {
    let mut h = transformer();
    let layer = h.state().profile.trace.layers.iter().position(|l| l.name.ends_with("query")).unwrap();
    h.state_mut().selection.select(Some(LayerId(layer as u32)));
    h.state_mut().command = Some("order-sandwich");
    h.run();
    let op = h.state().profile.trace.layers[layer].op.clone();
    assert_eq!(h.query_all_by_role(Role::Canvas).count(), 2);
    assert!(h.query_all_by_label_contains(&format!("Callers of {op}")).count() == 1);
    h.get_by_label("Scopes").click();
    h.run();
    let row = h.query_all_by_role(Role::Row).next().unwrap();
    row.click();
    h.run();
    assert!(matches!(h.state().view.sandwich.picked, Some(profiler::sandwich::Frame::Scope(_))));
}

/// Spans with names alone, as other tools write them.
fn names_only() -> Trace {
    let mut trace = fixtures::many_spans(2000);
    let names: Vec<String> = trace.layers.iter().map(|l| l.name.clone()).collect();
    let first = trace.spans.names.len() as u32;
    trace.spans.names.extend(names);
    for i in 0..trace.spans.len() {
        if let Some(layer) = trace.spans.layer[i].take() {
            trace.spans.name[i] = first + layer.0;
        }
    }
    trace.layers.clear();
    trace.tracks[0].kind = TrackKind::Other;
    trace
}

#[test]
fn traces_without_layers_can_be_read_in_every_order() {
    let mut h = stage(names_only());
    h.state_mut().view.search.query = "layer.7".into();
    h.run();
    let found = h.state().view.search.spans().unwrap().len();
    let trace = &h.state().profile.trace;
    let want = trace.spans.iter().filter(|s| trace.spans.names[s.name as usize].contains("layer.7")).count();
    assert!(found == want && found > 0, "{found} {want}");
    for id in ["order-merged", "order-sandwich", "order-time"] {
        h.state_mut().command = Some(id);
        h.run();
    }
    h.state_mut().command = Some("order-merged");
    h.run();
    let (from, to) = h.state().view.window.target();
    assert!(to - from > 1_000.0, "the window is that of the merged spans: {from} {to}");
}

#[test]
fn a_range_over_a_long_trace_is_added_up_beside_the_frame() {
    let mut h = stage(fixtures::many_spans(60_000));
    h.state_mut().command = Some("range-run");
    h.run();
    let (from, to) = h.state().selection.range.unwrap();
    let begun = std::time::Instant::now();
    while h.state().view.range.rows().is_empty() && begun.elapsed().as_secs() < 20 {
        std::thread::sleep(std::time::Duration::from_millis(2));
        h.step();
    }
    let s = h.state();
    let spans = &s.profile.trace.spans;
    let inside = (0..spans.len()).filter(|&i| spans.start_ns[i] < to && spans.end_ns[i] > from).count();
    assert_eq!(s.view.range.rows().iter().map(|r| r.count).sum::<u64>(), inside as u64);
    let csv = s.view.range.csv();
    assert_eq!(csv.lines().count(), s.view.range.rows().len() + 1);
}
