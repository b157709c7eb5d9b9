//! The panels: one file each, and one line in [`all`].

mod accuracy;
mod advice;
mod compare;
mod flame;
mod graph;
mod history;
mod inspector;
pub mod layers;
mod log;
mod memory;
mod model;
mod roofline;
pub mod summary;

use crate::view::View;

/// Every view, in the order of the default layout.
pub fn all() -> Vec<Box<dyn View>> {
    vec![
        Box::<model::ModelView>::default(),
        Box::<flame::FlameView>::default(),
        Box::<layers::LayersView>::default(),
        Box::<graph::GraphView>::default(),
        Box::<roofline::RooflineView>::default(),
        Box::<memory::MemoryView>::default(),
        Box::<accuracy::AccuracyView>::default(),
        Box::<compare::CompareView>::default(),
        Box::<history::HistoryView>::default(),
        Box::<summary::SummaryView>::default(),
        Box::<inspector::InspectorView>::default(),
        Box::<log::LogView>::default(),
    ]
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use egui::Key;
    use egui_kittest::Harness;
    use egui_kittest::kittest::Queryable;
    use profiler::{Trace, fixtures};
    use studies::{Inspection, Settings};

    use super::*;
    use crate::runs::Runs;
    use crate::theme::{self, Theme};
    use crate::view::{Action, Facts, Preferences, Profile, Selection, ViewCx};

    /// A view in a window without a renderer.
    struct Stage {
        view: Box<dyn View>,
        profile: Option<Profile>,
        model: Option<Inspection>,
        runs: Runs,
        facts: Facts,
        preferences: Preferences,
        settings: Settings,
        selection: Selection,
        actions: Vec<Action>,
    }

    fn stage<'a>(id: &str, trace: Option<Trace>, model: Option<Inspection>) -> Harness<'a, Stage> {
        let view = all().into_iter().find(|v| v.id() == id).unwrap();
        let stage = Stage {
            view,
            profile: trace.map(|t| Profile::new(Arc::new(t))),
            model,
            runs: Runs::default(),
            facts: Facts::default(),
            preferences: Preferences::default(),
            settings: Settings::default(),
            selection: Selection::default(),
            actions: Vec::new(),
        };
        Harness::builder()
            .with_size([900.0, 600.0])
            .with_max_steps(16)
            // Random traces hold names in scripts that our faces lack.
            .allow_missing_glyphs()
            .with_context_setup(theme::install)
            .build_ui_state(
                |ui, s: &mut Stage| {
                    s.selection.begin_frame();
                    let mut cx = ViewCx {
                        profile: s.profile.as_ref(),
                        model: s.model.as_ref(),
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

    /// `run` fails if a view goes on repainting at rest.
    #[test]
    fn views_survive_odd_traces_and_come_to_rest() {
        let mut random = fixtures::Random::fresh();
        println!("seed {}", random.seed);
        for view in all() {
            for trace in [fixtures::empty(), fixtures::one_layer(), fixtures::many_spans(3000)] {
                stage(view.id(), Some(trace), None).run();
            }
            for _ in 0..10 {
                let mut harness = stage(view.id(), Some(fixtures::random(&mut random)), None);
                harness.run();
                harness.hover_at(egui::pos2(300.0, 200.0));
                harness.run();
            }
            stage(view.id(), None, None).run();
            stage(view.id(), None, Some(Inspection::default())).run();
        }
    }

    #[test]
    fn rows_of_layers_are_chosen_by_click_and_key() {
        let mut harness = stage("layers", Some(fixtures::transformer(2, 5, 1)), None);
        harness.run();
        let row = harness.query_all_by_role(egui::Role::Row).next().unwrap();
        row.click();
        harness.run();
        let first = harness.state().selection.layer.unwrap();
        harness.key_press(Key::ArrowDown);
        harness.run();
        let second = harness.state().selection.layer.unwrap();
        let median = |l| harness.state().profile.as_ref().unwrap().stats_of(l).unwrap().time.median;
        assert!(first != second && median(first) >= median(second));
        harness.key_press(Key::ArrowUp);
        harness.run();
        assert_eq!(harness.state().selection.layer, Some(first));
    }

    #[test]
    fn the_flame_graph_walks_by_arrow_and_lets_go() {
        let mut harness = stage("flame", Some(fixtures::transformer(2, 5, 1)), None);
        harness.run();
        let graph = harness.get_by_role(egui::Role::Canvas);
        graph.focus();
        harness.run();
        harness.key_press(Key::ArrowRight);
        harness.run();
        let first = harness.state().selection.clone();
        assert!(first.layer.is_some() && first.span.is_some());
        harness.key_press(Key::ArrowRight);
        harness.run();
        assert!(harness.state().selection.span > first.span);
        for key in [Key::W, Key::A, Key::D, Key::S, Key::F] {
            harness.key_press(key);
            harness.run();
        }
        harness.key_press(Key::Escape);
        harness.run();
        assert_eq!(harness.state().selection.layer, None);
    }

    #[test]
    fn empty_views_ask_for_what_fills_them() {
        for (id, label, want) in [
            ("flame", "Run", Action::Run),
            ("layers", "Run", Action::Run),
            ("memory", "Run", Action::Run),
            ("roofline", "Run", Action::Run),
            ("summary", "Run", Action::Run),
            ("accuracy", "Compare precisions", Action::RunAccuracy),
        ] {
            let mut harness = stage(id, None, Some(Inspection::default()));
            harness.run();
            harness.get_by_label(label).click();
            harness.run();
            assert_eq!(harness.state().actions, [want], "{id}");
        }
    }

    #[test]
    fn ids_are_distinct() {
        let mut ids: Vec<&str> = all().iter().map(|v| v.id()).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), all().len());
    }
}
