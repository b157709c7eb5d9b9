//! What several views draw with: text that never runs over, figures, chips, legends, tables, axes, and the layouts behind
//! the flame graph, the memory map and the tree of scopes.

pub mod axis;
pub mod facts;
pub mod flame_chrome;
pub mod flame_colors;
pub mod flame_index;
pub mod flame_marks;
pub mod flame_nav;
pub mod flame_paint;
pub mod flame_row;
pub mod graph_camera;
mod graph_columns;
pub mod graph_figures;
pub mod graph_layered;
pub mod graph_paint;
pub mod graph_scene;
pub mod graph_tree;
pub mod histogram;
pub mod layer_figures;
pub mod memory_index;
pub mod roofline_plot;
pub mod run_index;
pub mod scopes;
pub mod table;

use std::sync::Arc;

use egui::text::{LayoutJob, TextFormat, TextWrapping};
use egui::{
    Align2, Button, Color32, CornerRadius, FontId, Galley, Painter, Pos2, Rect, Response, RichText, Sense, Stroke,
    StrokeKind, Ui, Vec2, WidgetInfo, pos2, vec2,
};
use profiler::OpClass;

use crate::theme::{self, GRID, PAD, RADIUS, Theme};

/// One line of text cut to `width` with an ellipsis; `elided` of the galley tells whether it was.
pub fn galley(painter: &Painter, text: &str, font: FontId, color: Color32, width: f32) -> Arc<Galley> {
    let mut job = LayoutJob::simple_singleline(text.to_owned(), font, color);
    job.wrap = TextWrapping::truncate_at_width(width.max(0.0));
    painter.layout_job(job)
}

/// Paints one line of text into a rectangle, cut with an ellipsis where it does not fit; true if it was cut.
pub fn text_in(painter: &Painter, rect: Rect, align: Align2, text: &str, font: FontId, color: Color32) -> bool {
    let galley = galley(painter, text, font, color, rect.width());
    let at = align.align_size_within_rect(galley.size(), rect);
    let elided = galley.elided;
    painter.galley(pos2(at.min.x, at.min.y), galley, color);
    elided
}

/// A figure with its unit in a weaker tone: `30.2 ms`.
pub fn figure_job(text: &str, font: FontId, strong: Color32, weak: Color32) -> LayoutJob {
    let mut job = LayoutJob::default();
    let unit_at = text.rfind(' ').unwrap_or(text.len());
    job.append(&text[..unit_at], 0.0, TextFormat::simple(font.clone(), strong));
    job.append(&text[unit_at..], 0.0, TextFormat::simple(FontId::new((font.size * 0.8).max(11.0), font.family), weak));
    job
}

/// A caption: small and weak.
pub fn caption(ui: &mut Ui, text: &str) -> Response {
    ui.add(
        egui::Label::new(RichText::new(text).font(theme::caption()).color(ui.visuals().weak_text_color())).truncate(),
    )
}

/// A paragraph in weak text.
pub fn note(ui: &mut Ui, text: &str) -> Response {
    ui.add(egui::Label::new(RichText::new(text).color(ui.visuals().weak_text_color())).wrap())
}

/// The head of a part of a panel.
pub fn section(ui: &mut Ui, theme: &Theme, title: &str) {
    ui.add_space(GRID * 2.0);
    ui.add(egui::Label::new(RichText::new(title).font(theme::head()).color(theme.text_strong)).truncate());
    ui.add_space(GRID / 2.0);
}

/// A hairline across the panel.
pub fn hairline(ui: &mut Ui, theme: &Theme) {
    let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), 1.0), Sense::hover());
    ui.painter().rect_filled(rect, 0.0, theme.hairline);
}

/// A label and a figure on one line, the figure at the right edge; `why` is the tooltip.
pub fn fact(ui: &mut Ui, theme: &Theme, label: &str, value: &str, why: &str) -> Response {
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), 20.0), Sense::hover());
    let painter = ui.painter().with_clip_rect(rect.intersect(ui.clip_rect()));
    let label_width = galley(&painter, label, theme::sans(), theme.text_weak, rect.width() * 0.6).size().x;
    let left = rect.with_max_x(rect.left() + label_width + 1.0);
    let right = rect.with_min_x(left.right() + PAD);
    let mut cut = text_in(&painter, left, Align2::LEFT_CENTER, label, theme::sans(), theme.text_weak);
    cut |= text_in(&painter, right, Align2::RIGHT_CENTER, value, theme::figure(), theme.text);
    response.widget_info(|| WidgetInfo::labeled(egui::Role::Label, true, format!("{label}: {value}")));
    match (cut, why.is_empty()) {
        (false, true) => response,
        (false, false) => response.on_hover_text(why),
        (true, true) => response.on_hover_text(format!("{label}: {value}")),
        (true, false) => response.on_hover_text(format!("{label}: {value}\n{why}")),
    }
}

/// A small outlined word with a dot in `color`, for audit findings and marks.
pub fn chip(ui: &mut Ui, theme: &Theme, color: Color32, text: &str, tip: &str) -> Response {
    let label = galley(ui.painter(), text, theme::caption(), theme.text, 280.0);
    let size = vec2(label.size().x + 26.0, 20.0);
    let (rect, response) = ui.allocate_exact_size(size, Sense::hover());
    let fill = if response.hovered() { theme.surface[3] } else { theme.surface[2] };
    let painter = ui.painter();
    painter.rect(rect, CornerRadius::same(10), fill, theme.line(), StrokeKind::Inside);
    painter.circle_filled(pos2(rect.left() + 11.0, rect.center().y), 3.0, color);
    painter.galley(pos2(rect.left() + 18.0, rect.center().y - label.size().y / 2.0), label, theme.text);
    response.widget_info(|| WidgetInfo::labeled(egui::Role::Label, true, text));
    response.on_hover_text(if tip.is_empty() { text } else { tip })
}

/// A row of exclusive choices; true if the choice changed.
pub fn segmented<T: Copy + PartialEq>(ui: &mut Ui, value: &mut T, options: &[(T, &str, &str)]) -> bool {
    let before = *value;
    ui.scope(|ui| {
        ui.spacing_mut().item_spacing.x = 2.0;
        for &(option, label, tip) in options {
            let chosen = *value == option;
            let visuals = ui.visuals();
            let color = if chosen { visuals.strong_text_color() } else { visuals.weak_text_color() };
            let fill = if chosen { visuals.widgets.hovered.bg_fill } else { Color32::TRANSPARENT };
            let button = Button::new(RichText::new(label).color(color)).fill(fill).stroke(Stroke::NONE);
            let response = ui.add(button.selected(false));
            response.widget_info(|| WidgetInfo::selected(egui::Role::RadioButton, true, chosen, label));
            if response.on_hover_text(tip).clicked() {
                *value = option;
            }
        }
    });
    *value != before
}

/// A field to type a filter in; true if it changed.
pub fn search_box(ui: &mut Ui, text: &mut String, hint: &'static str, width: f32) -> Response {
    ui.add(
        egui::TextEdit::singleline(text)
            .hint_text(hint)
            .desired_width(width)
            .margin(egui::Margin::symmetric(8, 3))
            .background_color(ui.visuals().widgets.inactive.bg_fill),
    )
}

/// A colour and its word.
pub fn key(ui: &mut Ui, theme: &Theme, color: Color32, text: &str) -> Response {
    let label = galley(ui.painter(), text, theme::caption(), theme.text_weak, f32::INFINITY);
    let (rect, response) = ui.allocate_exact_size(vec2(label.size().x + 14.0, 16.0), Sense::hover());
    swatch(ui.painter(), pos2(rect.left() + 4.0, rect.center().y), color);
    let at = pos2(rect.left() + 13.0, rect.center().y - label.size().y / 2.0);
    ui.painter().galley(at, label, theme.text_weak);
    response
}

/// The small square that stands for an op class.
pub fn swatch(painter: &Painter, center: Pos2, color: Color32) {
    painter.rect_filled(Rect::from_center_size(center, Vec2::splat(8.0)), 2.0, color);
}

/// The op classes that occur, with their hues.
pub fn legend(ui: &mut Ui, theme: &Theme, classes: &[OpClass]) {
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing = vec2(12.0, 0.0);
        for &class in OpClass::ALL.iter().filter(|c| classes.contains(c)) {
            key(ui, theme, theme.class(class), class.label());
        }
    });
}

/// What an empty panel says: what would fill it, and a button if one thing does; true if that was pressed.
pub fn empty(ui: &mut Ui, theme: &Theme, title: &str, text: &str, action: Option<&str>) -> bool {
    let mut pressed = false;
    let height = if action.is_some() { 96.0 } else { 56.0 };
    let space = ui.available_size();
    ui.allocate_ui_with_layout(space, egui::Layout::top_down(egui::Align::Center), |ui| {
        ui.add_space(((space.y - height) * 0.4).max(PAD));
        ui.add(egui::Label::new(RichText::new(title).font(theme::head()).color(theme.text_strong)).wrap());
        ui.scope(|ui| {
            ui.set_max_width(420.0_f32.min(space.x - 2.0 * PAD));
            ui.add(egui::Label::new(RichText::new(text).color(theme.text_weak)).wrap().halign(egui::Align::Center));
        });
        if let Some(action) = action {
            ui.add_space(PAD);
            pressed = primary_button(ui, theme, action).clicked();
        }
    });
    pressed
}

/// The one action of a panel, in the accent's colour.
pub fn primary_button(ui: &mut Ui, theme: &Theme, text: &str) -> Response {
    let ink = theme.ink_on(theme.accent);
    ui.add(
        Button::new(RichText::new(text).color(ink))
            .fill(theme.accent)
            .corner_radius(CornerRadius::same(RADIUS))
            .min_size(vec2(72.0, 28.0)),
    )
}

/// A horizontal bar whose length says a share, on its faint track.
pub fn bar(painter: &Painter, theme: &Theme, rect: Rect, share: f32, color: Color32) {
    let share = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
    painter.rect_filled(rect, 1.5, theme.surface[2]);
    if share > 0.0 {
        let width = (rect.width() * share).max(1.0);
        painter.rect_filled(Rect::from_min_size(rect.min, vec2(width, rect.height())), 1.5, color);
    }
}

/// A head of a panel: 32 points high, with a hairline under it.
pub fn panel_head(ui: &mut Ui, theme: &Theme, add_contents: impl FnOnce(&mut Ui)) {
    let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), 36.0), Sense::hover());
    ui.painter().hline(rect.x_range(), rect.bottom() - 0.5, theme.line());
    let inner = rect.shrink2(vec2(PAD, 0.0));
    let mut child =
        ui.new_child(egui::UiBuilder::new().max_rect(inner).layout(egui::Layout::left_to_right(egui::Align::Center)));
    child.shrink_clip_rect(rect);
    add_contents(&mut child);
}

/// A panel's body: everything that is left, inside the panel's margins.
pub fn padded<R>(ui: &mut Ui, add_contents: impl FnOnce(&mut Ui) -> R) -> R {
    egui::Frame::new().inner_margin(egui::Margin::same(PAD as i8)).show(ui, add_contents).inner
}
