//! Every figure of the selected layer.

use egui::{RichText, ScrollArea, Ui};
use profiler::{Layer, LayerId};

use crate::draw::{chip, empty, fact, facts, histogram, padded, section};
use crate::theme::{self, GRID, Theme};
use crate::view::{Profile, View, ViewCx};

/// The inspector's panel.
#[derive(Default)]
pub struct InspectorView {
    /// Times of the selected layer, kept while it stays selected.
    times: Option<((usize, LayerId), Vec<u64>)>,
}

impl View for InspectorView {
    fn id(&self) -> &'static str {
        "inspector"
    }

    fn title(&self) -> &'static str {
        "Inspector"
    }

    fn ui(&mut self, ui: &mut Ui, cx: &mut ViewCx<'_>) {
        let theme = cx.theme;
        let selected = cx.selection.layer;
        if let Some((profile, id, layer)) = cx.profile.zip(selected).and_then(|(p, id)| Some((p, id, p.layer(id)?))) {
            ScrollArea::vertical().auto_shrink([false, false]).show(ui, |ui| {
                padded(ui, |ui| self.measured_ui(ui, theme, profile, id, layer));
            });
        } else if let Some(layer) = cx.model.zip(selected).and_then(|(m, id)| m.layers.get(id.index())) {
            ScrollArea::vertical().auto_shrink([false, false]).show(ui, |ui| {
                padded(ui, |ui| {
                    facts::head(ui, theme, layer);
                    planned_ui(ui, theme, layer);
                });
            });
        } else {
            let text = "Click a layer in any panel: all of its figures appear here.";
            empty(ui, theme, "Nothing selected", text, None);
        }
    }
}

impl InspectorView {
    fn measured_ui(&mut self, ui: &mut Ui, theme: &Theme, profile: &Profile, id: LayerId, layer: &Layer) {
        facts::head(ui, theme, layer);
        ui.spacing_mut().item_spacing.y = 0.0;
        let badges = &profile.layer_badges[id.index()];
        if !badges.is_empty() {
            ui.horizontal_wrapped(|ui| {
                for b in badges {
                    chip(ui, theme, theme.severity(b.severity), &b.title, &b.detail);
                }
            });
        }
        let stats = profile.stats_of(id);
        section(ui, theme, "Time");
        for f in facts::times(stats) {
            fact(ui, theme, f.label, &f.value, f.why);
        }
        if let Some(stats) = stats.filter(|s| s.runs > 1) {
            let key = (std::sync::Arc::as_ptr(&profile.trace).addr(), id);
            if self.times.as_ref().map(|t| t.0) != Some(key) {
                self.times = Some((key, profile.times_of(id)));
            }
            if let Some((_, times)) = &self.times {
                ui.add_space(GRID);
                histogram::show(ui, theme, times, stats.time.median, 88.0);
            }
        }
        section(ui, theme, "Work");
        for f in facts::work(layer, stats) {
            fact(ui, theme, f.label, &f.value, f.why);
        }
        planned_ui(ui, theme, layer);
        if let Some(&span) = profile.spans_of(id).first() {
            let quality = profile.trace.spans.quality[span.index()];
            section(ui, theme, "Measured with");
            paths(ui, theme, &[facts::quality(quality).to_owned()]);
        }
    }
}

/// What is known without a run.
fn planned_ui(ui: &mut Ui, theme: &Theme, layer: &Layer) {
    let parts: [(&str, &[String]); 4] = [
        ("Inputs", &layer.inputs),
        ("Outputs", &layer.outputs),
        ("Kernel", std::slice::from_ref(&layer.kernel)),
        ("Scope", std::slice::from_ref(&layer.scope)),
    ];
    for (title, values) in parts {
        if values.iter().any(|v| !v.is_empty()) {
            section(ui, theme, title);
            paths(ui, theme, values);
        }
    }
    if !layer.source_nodes.is_empty() {
        section(ui, theme, if layer.source_nodes.len() == 1 { "Source node" } else { "Fused from" });
        paths(ui, theme, &layer.source_nodes);
    }
}

fn paths(ui: &mut Ui, theme: &Theme, values: &[String]) {
    for value in values {
        ui.add(egui::Label::new(RichText::new(value).font(theme::caption_figure()).color(theme.text)).wrap());
    }
}
