use std::sync::Arc;

use egui::Key;
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable;
use profiler::{Trace, fixtures};
use studies::Settings;

use super::*;
use crate::runs::Runs;
use crate::theme::{self, Theme};
use crate::view::{Facts, Preferences, Selection};

struct Stage {
    view: LayersView,
    profile: Profile,
    preferences: Preferences,
    selection: Selection,
}

fn stage<'a>(trace: Trace, size: [f32; 2]) -> Harness<'a, Stage> {
    let stage = Stage {
        view: LayersView::default(),
        profile: Profile::new(Arc::new(trace)),
        preferences: Preferences::default(),
        selection: Selection::default(),
    };
    let (runs, facts, mut settings) = (Runs::default(), Facts::default(), Settings::default());
    let draw = move |ui: &mut Ui, s: &mut Stage| {
        s.selection.begin_frame();
        let mut cx = ViewCx {
            profile: Some(&s.profile),
            model: None,
            runs: &runs,
            facts: &facts,
            preferences: &mut s.preferences,
            settings: &mut settings,
            selection: &mut s.selection,
            theme: Theme::of(ui.ctx()),
            actions: &mut Vec::new(),
        };
        s.view.ui(ui, &mut cx);
    };
    Harness::builder().with_size(size).with_max_steps(16).with_context_setup(theme::install).build_ui_state(draw, stage)
}

fn rows(h: &Harness<'_, Stage>) -> usize {
    h.state().view.rows.rows.len()
}

#[test]
fn what_is_typed_filters_and_nonsense_keeps_what_was_shown() {
    let mut h = stage(fixtures::transformer(3, 5, 1), [900.0, 500.0]);
    h.run();
    let all = rows(&h);
    h.state_mut().view.text = "name:query".to_owned();
    h.get_by_role(egui::Role::TextInput).focus();
    h.run();
    h.get_by_role(egui::Role::TextInput).type_text(" share>0%");
    h.run();
    assert_eq!(rows(&h), 3);
    h.get_by_role(egui::Role::TextInput).type_text(" time>");
    h.run();
    assert_eq!(rows(&h), 3);
    let error = h.state().view.error.clone().expect("a filter without a value");
    assert!(h.query_by_label_contains(&error.problem.to_string()).is_some(), "the error is said");
    h.state_mut().view.text.clear();
    h.run();
    assert!(rows(&h) == all && h.state().view.error.is_none());
}

#[test]
fn groups_open_by_click_and_by_key() {
    let mut h = stage(fixtures::transformer(3, 5, 1), [900.0, 500.0]);
    h.run();
    h.get_by_label("Type").click();
    h.run();
    let closed = rows(&h);
    h.get_by_label_contains("MLP, 9 layers").click();
    h.run();
    assert_eq!(rows(&h), closed + 9);
    h.key_press(Key::ArrowLeft);
    h.run();
    assert_eq!(rows(&h), closed);
    h.key_press(Key::ArrowRight);
    h.run();
    h.key_press(Key::ArrowDown);
    h.run();
    let chosen = h.state().selection.layer.expect("the first layer of the group");
    assert_eq!(profiler::BlockKind::of(h.state().profile.layer(chosen).unwrap()), profiler::BlockKind::Mlp);
    // To the left of a layer is its group.
    h.key_press(Key::ArrowLeft);
    h.run();
    assert_eq!(h.state().view.cursor.as_deref(), Some("MLP"));
    h.key_press(Key::End);
    h.run();
    assert!(h.state().view.cursor.is_some(), "the last row is a closed group");
}

#[test]
fn a_selection_made_elsewhere_moves_the_keys_to_it() {
    let mut h = stage(fixtures::transformer(2, 5, 1), [900.0, 500.0]);
    h.run();
    h.state_mut().view.cursor = Some("MLP".to_owned());
    h.state_mut().selection.select(Some(LayerId(4)));
    h.run();
    assert_eq!(h.state().view.cursor, None);
}

#[test]
fn copies_go_to_the_clipboard_and_columns_can_be_hidden() {
    let mut h = stage(fixtures::transformer(2, 5, 1), [640.0, 400.0]);
    h.run();
    h.state_mut().preferences.layers.toggle(Column::Rate);
    h.state_mut().view.copy = Some(Form::Csv);
    h.step();
    let copied = |h: &Harness<'_, Stage>| {
        h.output().platform_output.commands.iter().find_map(|c| match c {
            egui::OutputCommand::CopyText(text) => Some(text.clone()),
            _ => None,
        })
    };
    let csv = copied(&h).expect("text in the clipboard");
    assert!(csv.starts_with("Layer,Operator,Median (ns)") && !csv.contains("Rate"), "{csv}");
    assert_eq!(csv.lines().count(), h.state().profile.trace.layers.len() + 2);
    // Everything is shown again once the choice is taken back.
    h.state_mut().preferences.layers.toggle(Column::Rate);
    assert_eq!(h.state().preferences, Preferences::default());
}

#[test]
fn ten_thousand_layers_draw_only_what_is_seen() {
    let mut h = stage(fixtures::transformer(1100, 2, 1), [900.0, 500.0]);
    h.run();
    assert!(rows(&h) > 9_000);
    assert!(h.query_all_by_role(egui::Role::Row).count() < 40);
    for id in ["by-scope", "by-op", "by-type", "flat"] {
        let grouping = match id {
            "by-scope" => Grouping::Scope,
            "by-op" => Grouping::Op,
            "by-type" => Grouping::Type,
            _ => Grouping::Flat,
        };
        h.state_mut().preferences.layers.grouping = grouping;
        h.run();
        assert!(h.query_all_by_role(egui::Role::Row).count() < 40, "{id}");
    }
}
