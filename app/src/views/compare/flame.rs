//! The flame graph of changes: width is time, colour is change.

use egui::{Align2, CornerRadius, EventFilter, Key, Rect, Role, Sense, Stroke, StrokeKind, Ui, WidgetInfo, pos2, vec2};

use super::Made;
use super::flame_layout::{DiffCell, What};
use super::head::{change_color, tip};
use crate::comparison::signed;
use crate::draw::flame_paint::Lens;
use crate::draw::scopes::suffixes;
use crate::draw::{empty, galley};
use crate::theme::{self, FLAME_ROW_HEIGHT, Theme};
use crate::view::ViewCx;

/// Cells narrower than this are drawn with their neighbours.
const NARROW: f32 = 2.0;

/// What is shown of the graph.
pub struct DiffFlame {
    /// Whose times are the widths: 0 the baseline's, 1 the current trace's.
    pub side: usize,
    /// The window in nanoseconds; `None` for all.
    window: Option<(f64, f64)>,
}

impl Default for DiffFlame {
    fn default() -> Self {
        DiffFlame { side: 1, window: None }
    }
}

impl DiffFlame {
    /// Shows all.
    pub fn fit(&mut self) {
        self.window = None;
    }

    /// Draws the graph; tells which row was chosen.
    pub fn ui(&mut self, ui: &mut Ui, cx: &mut ViewCx<'_>, made: &Made, chosen: Option<usize>) -> Option<usize> {
        let (theme, c) = (cx.theme, &made.comparison);
        let layout = &made.layouts[self.side.min(1)];
        if layout.width <= 0.0 {
            let text = "This trace has no times of layers to draw. Try the widths of the other one.";
            if empty(ui, theme, "Nothing to draw", text, Some("Other widths")) {
                self.side = 1 - self.side.min(1);
            }
            return None;
        }
        let mut result = None;
        egui::ScrollArea::vertical().id_salt("diff flame").auto_shrink([false, false]).show(ui, |ui| {
            let height = (layout.levels.len() as f32 * FLAME_ROW_HEIGHT + 8.0).max(ui.available_height());
            let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), height), Sense::click_and_drag());
            response.widget_info(|| {
                let words =
                    "Flame graph of changes: arrows walk through the rows, Enter zooms to one, Escape shows all";
                WidgetInfo::labeled(Role::Canvas, true, words)
            });
            self.navigate(ui, &response, rect, layout.width);
            let lens = self.lens(rect, layout.width);
            let painter = ui.painter().with_clip_rect(rect.intersect(ui.clip_rect()));
            let mut hit: Option<DiffCell> = None;
            let mut outline = None;
            for (depth, level) in layout.levels.iter().enumerate() {
                let top = rect.top() + 4.0 + depth as f32 * FLAME_ROW_HEIGHT;
                if top > ui.clip_rect().bottom() || top + FLAME_ROW_HEIGHT < ui.clip_rect().top() {
                    continue;
                }
                let mut i = level.partition_point(|c| c.end <= lens.window.0);
                while let Some(cell) = level.get(i).filter(|c| c.start < lens.window.1) {
                    let left = lens.x(cell.start).max(rect.left() - 2.0);
                    let mut right = lens.x(cell.end).min(rect.right() + 2.0);
                    let mut fill = change_color(theme, cell.what.change(c));
                    i += 1;
                    if right - left < NARROW {
                        // Neighbours too narrow to tell apart are one cell, in the colour of the largest change among them.
                        let mut largest = cell.what.change(c).difference_ns.abs();
                        while let Some(next) = level.get(i).filter(|n| lens.x(n.end) - left < NARROW) {
                            let t = next.what.change(c);
                            if t.difference_ns.abs() > largest {
                                (largest, fill) = (t.difference_ns.abs(), change_color(theme, t));
                            }
                            i += 1;
                        }
                        right = left + NARROW;
                    }
                    let gap = if right - left > 4.0 { 1.0 } else { 0.0 };
                    let place = Rect::from_min_max(pos2(left, top), pos2(right - gap, top + FLAME_ROW_HEIGHT - 1.0));
                    let lit = matches!(cell.what, What::Row(r) if is_hovered(cx, made, r));
                    let strength = if lit { 1.0 } else { 0.88 };
                    let fill = theme::mix(theme.surface[0], fill, strength);
                    painter.rect_filled(place, CornerRadius::same(2), fill);
                    if place.width() > 28.0 {
                        label(
                            &painter,
                            theme,
                            place.intersect(rect),
                            fill,
                            cell.what.path(c),
                            &signed(cell.what.change(c)),
                        );
                    }
                    if matches!(cell.what, What::Row(r) if Some(r) == chosen) {
                        outline = Some(place);
                    }
                    if response.hover_pos().is_some_and(|p| place.expand2(vec2(0.5, 0.0)).contains(p)) {
                        hit = Some(*cell);
                    }
                }
            }
            if let Some(place) = outline {
                let stroke = Stroke::new(1.5, theme.text_strong);
                painter.rect_stroke(place, CornerRadius::same(2), stroke, StrokeKind::Inside);
            }
            if response.has_focus() {
                painter.rect_stroke(rect.shrink(1.0), 0.0, Stroke::new(1.0, theme.focus), StrokeKind::Inside);
            }
            result = self.keys(ui, &response, made, chosen);
            if response.clicked() {
                response.request_focus();
            }
            let Some(cell) = hit else { return };
            if let What::Row(r) = cell.what {
                cx.selection.hovered = c.rows[r].current.first().copied();
                if response.clicked() {
                    result = Some(r);
                }
            }
            if response.double_clicked() {
                self.window = Some((cell.start, cell.end));
            }
            let t = cell.what.change(c);
            response.on_hover_ui_at_pointer(|ui| tip(ui, theme, cell.what.path(c), t, c.options.confidence, &[]));
        });
        result
    }

    fn lens(&self, rect: Rect, width: f64) -> Lens {
        let window = self.window.unwrap_or((0.0, width));
        Lens { window, left: rect.left() + 4.0, width: rect.width() - 8.0 }
    }

    /// Ctrl and wheel zooms at the pointer, dragging pans.
    fn navigate(&mut self, ui: &Ui, response: &egui::Response, rect: Rect, width: f64) {
        let lens = self.lens(rect, width);
        let (from, to) = lens.window;
        let zoom = if response.hovered() { f64::from(ui.input(|i| i.zoom_delta())) } else { 1.0 };
        let moved = f64::from(response.drag_delta().x) * lens.per_point();
        if (zoom - 1.0).abs() < 1e-9 && moved == 0.0 {
            return;
        }
        let anchor = response.hover_pos().map_or((from + to) / 2.0, |p| lens.t(p.x));
        let span = ((to - from) / zoom).clamp(width * 1e-6, width);
        let start = anchor - (anchor - from) / (to - from) * span - moved;
        let start = start.clamp(0.0, width - span);
        self.window = (span < width * 0.999_999).then_some((start, start + span));
    }

    /// Left and right walk through the rows, Enter zooms to the chosen one, Escape shows all.
    fn keys(&mut self, ui: &Ui, response: &egui::Response, made: &Made, chosen: Option<usize>) -> Option<usize> {
        if !response.has_focus() {
            return None;
        }
        let filter = EventFilter { horizontal_arrows: true, escape: true, ..EventFilter::default() };
        ui.memory_mut(|m| m.set_focus_lock_filter(response.id, filter));
        let pressed = |key| ui.input(|i| i.key_pressed(key));
        let last = made.comparison.rows.len().checked_sub(1)?;
        if pressed(Key::Escape) {
            self.fit();
        }
        if pressed(Key::Enter) {
            let cell = chosen.and_then(|r| made.layouts[self.side.min(1)].find(What::Row(r)));
            self.window = cell.map(|c| (c.start, c.end)).or(self.window);
        }
        match (pressed(Key::ArrowRight), pressed(Key::ArrowLeft)) {
            (true, _) => Some(chosen.map_or(0, |r| (r + 1).min(last))),
            (_, true) => Some(chosen.map_or(0, |r| r.saturating_sub(1))),
            _ => None,
        }
    }
}

fn is_hovered(cx: &ViewCx<'_>, made: &Made, row: usize) -> bool {
    made.comparison.rows[row].current.first().is_some_and(|&l| cx.selection.is_hovered(l))
}

/// The end of the name that fits, and the change where there is room for it too.
fn label(painter: &egui::Painter, theme: &Theme, rect: Rect, fill: egui::Color32, path: &str, change: &str) {
    let inner = rect.shrink2(vec2(5.0, 0.0));
    let ink = theme.ink_on(fill);
    let put = |text, right: bool| {
        let (align, at) = if right {
            (Align2::RIGHT_CENTER, inner.right_center())
        } else {
            (Align2::LEFT_CENTER, inner.left_center())
        };
        painter.text(at, align, text, if right { theme::caption_figure() } else { theme::caption() }, ink);
    };
    let width = |text: &str| galley(painter, text, theme::caption(), ink, f32::INFINITY).size().x;
    let last = path.rsplit('/').next().unwrap_or(path);
    let fitting = suffixes(path).find(|t| width(t) <= inner.width()).unwrap_or(last);
    let used = width(fitting);
    if used <= inner.width() {
        put(fitting, false);
        if used + width(change) + 14.0 <= inner.width() {
            put(change, true);
        }
    } else if inner.width() > 20.0 {
        crate::draw::text_in(painter, inner, Align2::LEFT_CENTER, last, theme::caption(), ink);
    }
}
