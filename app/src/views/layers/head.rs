//! The head of the table of layers: the filter, the grouping, the columns, copying.

use egui::containers::menu::{MenuButton, MenuConfig};
use egui::{PopupCloseBehavior, RichText, Role, Ui, WidgetInfo};
use profiler::filter::{EXAMPLES, FIELDS, Filter};

use super::column::Column;
use super::copy::Form;
use super::{Grouping, LayersView};
use crate::draw::{panel_head, search_box, segmented};
use crate::theme::{self, PAD, Theme};
use crate::view::{Profile, ViewCx};

const GROUPINGS: [(Grouping, &str, &str); 4] = [
    (Grouping::Flat, "Flat", "Every layer in one list"),
    (Grouping::Scope, "Scope", "By place in the model, as a tree"),
    (Grouping::Op, "Operator", "By operator"),
    (Grouping::Type, "Type", "Attention against MLP against the rest"),
];

impl LayersView {
    pub(super) fn head_ui(&mut self, ui: &mut Ui, profile: &Profile, cx: &mut ViewCx<'_>) {
        let theme = cx.theme;
        panel_head(ui, theme, |ui| {
            let wide = ui.available_width() > 560.0;
            let rest = if wide { 392.0 } else { 264.0 };
            let width = (ui.available_width() - rest).clamp(80.0, 420.0);
            self.filter_ui(ui, theme, width);
            let grouping = &mut cx.preferences.layers.grouping;
            if wide {
                segmented(ui, grouping, &GROUPINGS);
            } else {
                let now = GROUPINGS.iter().find(|g| g.0 == *grouping).map_or("", |g| g.1);
                let combo = egui::ComboBox::from_id_salt("grouping").width(0.0).selected_text(now).show_ui(ui, |ui| {
                    for (option, label, tip) in GROUPINGS {
                        ui.selectable_value(grouping, option, label).on_hover_text(tip);
                    }
                });
                combo.response.widget_info(|| WidgetInfo::labeled(Role::ComboBox, true, "Group layers by"));
            }
            ui.separator();
            self.columns_menu(ui, profile, cx);
            self.copy_menu(ui);
        });
        if let Some(error) = &self.error {
            let frame = egui::Frame::new().inner_margin(egui::Margin::symmetric(PAD as i8, 4)).fill(theme.surface[2]);
            frame.show(ui, |ui| {
                let words = format!("Filter, {error}. Shown is what it said before.");
                ui.add(egui::Label::new(RichText::new(words).color(theme.bad)).wrap());
            });
        }
    }

    fn filter_ui(&mut self, ui: &mut Ui, theme: &Theme, width: f32) {
        let response = search_box(ui, &mut self.text, "Filter: op:MatMul time>1ms", width);
        if std::mem::take(&mut self.focus_filter) {
            response.request_focus();
        }
        if response.changed() || self.filter.is_none() || self.text.is_empty() {
            match Filter::parse(&self.text) {
                Ok(filter) => {
                    self.filter = Some(filter);
                    self.error = None;
                }
                Err(e) => self.error = Some(e),
            }
        }
        let text = &self.text;
        response.on_hover_ui(|ui| help(ui, theme, text));
    }

    fn columns_menu(&mut self, ui: &mut Ui, profile: &Profile, cx: &mut ViewCx<'_>) {
        let theme = cx.theme;
        let config = MenuConfig::new().close_behavior(PopupCloseBehavior::CloseOnClickOutside);
        MenuButton::new("Columns").config(config).ui(ui, |ui| {
            let preferences = &mut cx.preferences.layers;
            for column in Column::ALL.into_iter().filter(|&c| c != Column::Name) {
                let missing = self.known(profile, preferences).missing(column);
                let mut shown = preferences.wants(column) && missing.is_none();
                let tip = missing.unwrap_or(column.tip());
                let choice = egui::Checkbox::new(&mut shown, column.title());
                let response = ui.add_enabled(missing.is_none(), choice);
                if response.on_hover_text(tip).on_disabled_hover_text(tip).clicked() {
                    preferences.toggle(column);
                }
            }
            if profile.figures.errors.len() > 1 {
                ui.separator();
                ui.label(RichText::new("Error of").font(theme::caption()).color(theme.text_weak));
                let schemes = profile.figures.errors.iter().map(|e| e.0.as_str());
                for scheme in std::iter::once("").chain(schemes) {
                    let label = if scheme.is_empty() { "each layer's worst" } else { scheme };
                    ui.radio_value(&mut preferences.scheme, scheme.to_owned(), label);
                }
            }
        });
    }

    fn copy_menu(&mut self, ui: &mut Ui) {
        let (button, _) = MenuButton::new("Copy").ui(ui, |ui| {
            for (form, label) in [(Form::Markdown, "As Markdown"), (Form::Csv, "As CSV")] {
                if ui.button(label).clicked() {
                    self.copy = Some(form);
                    ui.ctx().request_repaint();
                }
            }
        });
        button
            .on_hover_text("Copies the shown rows and columns, with the foot row. Ctrl+C in the table copies Markdown");
    }
}

/// What a filter may say: the fields that the last word begins, or all, and examples.
fn help(ui: &mut Ui, theme: &Theme, text: &str) {
    ui.set_max_width(420.0);
    let last = text.rsplit(|c: char| c.is_whitespace() || "(-".contains(c)).next().unwrap_or("").to_lowercase();
    let begun = FIELDS.iter().filter(|f| f.0.starts_with(&last));
    let fields: Vec<_> = if begun.clone().count() == 0 { FIELDS.iter().collect() } else { begun.collect() };
    egui::Grid::new("fields").num_columns(2).spacing([16.0, 2.0]).show(ui, |ui| {
        for (word, _, says) in fields {
            ui.label(RichText::new(*word).font(theme::figure()).color(theme.text));
            ui.label(RichText::new(*says).color(theme.text_weak));
            ui.end_row();
        }
    });
    ui.separator();
    let words = "Words beside each other must all hold; \"or\", parentheses and - for \"not\" work. Text takes : and =, figures \
                 take < <= = != >= >. A bare word is looked for in the name, operator, scope and class.";
    ui.add(egui::Label::new(RichText::new(words).color(theme.text_weak)).wrap());
    for example in EXAMPLES {
        ui.label(RichText::new(example).font(theme::figure()).color(theme.text));
    }
}
