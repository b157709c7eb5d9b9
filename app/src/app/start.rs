//! What the window shows before anything is open: what this is for, samples, recent files, and where to drop one's own.

use egui::{
    Align, Align2, CornerRadius, Layout, Rect, RichText, ScrollArea, Sense, StrokeKind, Ui, UiBuilder, Vec2, pos2, vec2,
};

use super::{App, Wish};
use crate::format;
use crate::theme::{self, GRID, PAD, RADIUS, Theme};
use crate::view::Action;
use crate::worker::file_name;

const WIDTH: f32 = 720.0;
/// The margin inside a card, and all of its height but that of the text about the sample.
const CARD_MARGIN: f32 = 12.0;
const CARD_REST: f32 = 2.0 * CARD_MARGIN + 50.0;

impl App {
    pub(super) fn start_ui(&mut self, ui: &mut Ui, theme: &Theme) {
        let width = WIDTH.min(ui.available_width() - 4.0 * PAD);
        let top = (ui.available_height() * 0.14).clamp(PAD, 140.0);
        let side = (ui.available_width() - width) / 2.0;
        ScrollArea::vertical().auto_shrink(false).show(ui, |ui| {
            ui.add_space(top);
            ui.horizontal_top(|ui| {
                ui.add_space(side);
                ui.vertical(|ui| {
                    ui.set_width(width);
                    self.start_column_ui(ui, theme);
                });
            });
        });
    }

    fn start_column_ui(&mut self, ui: &mut Ui, theme: &Theme) {
        ui.label(RichText::new("Stratoscope").font(theme::headline()).color(theme.text_strong));
        ui.label(
            RichText::new(
                "See where a model's inference spends its time, its memory and its accuracy, layer by layer.",
            )
            .color(theme.text),
        );
        ui.add_space(3.0 * PAD);

        head(ui, theme, "Start with a sample");
        let samples = studies::samples::all();
        let gap = 12.0;
        let per_row = samples.len().clamp(1, 3);
        let width = (ui.available_width() - gap * (per_row - 1) as f32) / per_row as f32;
        let about_height = |text: &str| {
            let font = theme::caption();
            let wrap = width - 2.0 * CARD_MARGIN;
            ui.painter().layout(text.to_owned(), font, theme.text_weak, wrap).size().y
        };
        let height = CARD_REST + samples.iter().map(|s| about_height(s.about)).fold(0.0, f32::max);
        for row in samples.chunks(per_row) {
            ui.horizontal(|ui| {
                ui.spacing_mut().item_spacing.x = gap;
                for sample in row {
                    let size = format::bytes(sample.bytes as f64);
                    if card_ui(ui, theme, vec2(width, height.ceil()), sample.title, sample.about, &size) {
                        self.wishes.push(Wish::open(format!("sample:{}", sample.id)));
                    }
                }
            });
        }
        ui.add_space(3.0 * PAD);

        head(ui, theme, "Or open your own");
        self.drop_target_ui(ui, theme);
        if !self.state.recent.is_empty() {
            ui.add_space(3.0 * PAD);
            head(ui, theme, "Recent");
            for path in self.state.recent.clone() {
                let folder = path.parent().map(|p| p.display().to_string()).unwrap_or_default();
                if recent_ui(ui, theme, &file_name(&path), &folder) {
                    self.wishes.push(Wish::open(path));
                }
            }
        }
        ui.add_space(3.0 * PAD);
    }

    fn drop_target_ui(&mut self, ui: &mut Ui, theme: &Theme) {
        let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), 72.0), Sense::click());
        let lit = response.hovered() || response.has_focus();
        let stroke = egui::Stroke::new(1.0, if lit { theme.focus } else { theme.text_weak.gamma_multiply(0.6) });
        for edge in edges(rect.shrink(0.5)) {
            ui.painter().extend(egui::Shape::dashed_line(&edge, stroke, 4.0, 4.0));
        }
        let keys = self.entries().iter().find(|e| e.id == "open").map(|e| e.first_key(ui.ctx())).unwrap_or_default();
        ui.painter().text(
            rect.center() - vec2(0.0, 9.0),
            Align2::CENTER_CENTER,
            "Drop a model or a trace here, or click to choose one",
            theme::sans(),
            theme.text,
        );
        let kinds = format!(
            "ONNX models; traces of this program, ONNX Runtime, PyTorch, TensorRT, OpenVINO, LiteRT, Chrome  ({keys})"
        );
        ui.painter().text(
            rect.center() + vec2(0.0, 10.0),
            Align2::CENTER_CENTER,
            kinds,
            theme::caption(),
            theme.text_weak,
        );
        response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Button, true, "Open a model or a trace"));
        if response.on_hover_cursor(egui::CursorIcon::PointingHand).clicked() {
            self.wishes.push(Wish::Do(Action::OpenDialog));
        }
    }
}

fn head(ui: &mut Ui, theme: &Theme, text: &str) {
    ui.label(RichText::new(text).small().color(theme.text_weak));
    ui.add_space(GRID);
}

/// A sample; true if it was chosen.
fn card_ui(ui: &mut Ui, theme: &Theme, size: Vec2, title: &str, about: &str, corner: &str) -> bool {
    let (rect, response) = ui.allocate_exact_size(size, Sense::click());
    let lit = response.hovered() || response.has_focus();
    let fill = if lit { theme.surface[2] } else { theme.surface[1] };
    let stroke = egui::Stroke::new(1.0, if response.has_focus() { theme.focus } else { theme.hairline });
    ui.painter().rect(rect, CornerRadius::same(RADIUS), fill, stroke, StrokeKind::Inside);
    let inner = rect.shrink(CARD_MARGIN);
    let mut content = ui.new_child(UiBuilder::new().max_rect(inner).layout(Layout::top_down(Align::Min)));
    content.label(RichText::new(title).strong().color(theme.text_strong));
    content.add_space(2.0);
    let about = egui::Label::new(RichText::new(about).small().color(theme.text_weak)).wrap();
    content.add(about);
    let size_at = pos2(inner.left(), inner.bottom());
    ui.painter().text(size_at, Align2::LEFT_BOTTOM, corner, theme::caption_figure(), theme.text_weak);
    response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Button, true, title));
    response.on_hover_cursor(egui::CursorIcon::PointingHand).clicked()
}

/// A recent file; true if it was chosen.
fn recent_ui(ui: &mut Ui, theme: &Theme, name: &str, folder: &str) -> bool {
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), theme::ROW_HEIGHT), Sense::click());
    if response.hovered() || response.has_focus() {
        ui.painter().rect_filled(rect, CornerRadius::same(RADIUS), theme.surface[2]);
    }
    let left = rect.shrink2(vec2(PAD, 0.0));
    let name_galley = crate::draw::galley(ui.painter(), name, theme::sans(), theme.text, left.width() * 0.5);
    let name_end = left.left() + name_galley.size().x;
    ui.painter().galley(pos2(left.left(), left.center().y - name_galley.size().y / 2.0), name_galley, theme.text);
    let rest = Rect::from_min_max(pos2(name_end + 12.0, left.top()), left.max);
    crate::draw::text_in(ui.painter(), rest, Align2::LEFT_CENTER, folder, theme::caption(), theme.text_weak);
    response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Button, true, name));
    response.on_hover_cursor(egui::CursorIcon::PointingHand).clicked()
}

fn edges(r: Rect) -> [[egui::Pos2; 2]; 4] {
    [
        [r.left_top(), r.right_top()],
        [r.right_top(), r.right_bottom()],
        [r.right_bottom(), r.left_bottom()],
        [r.left_bottom(), r.left_top()],
    ]
}
