//! Marks on the axis: a time, or the extent of a span, each with a note.

use std::sync::{Arc, Weak};

use egui::{Align2, Color32, CornerRadius, Painter, Popup, PopupCloseBehavior, Rect, Role, Sense, Stroke, Ui};
use egui::{WidgetInfo, pos2, vec2};
use profiler::Trace;

use crate::draw::flame_paint::Lens;
use crate::draw::{galley, text_in};
use crate::format;
use crate::theme::{self, GRID, Theme};

/// Height of the strip of flags.
pub const FLAGS_HEIGHT: f32 = 18.0;

/// A mark.
#[derive(Clone, Debug, PartialEq)]
pub struct Mark {
    /// Where it is, or begins.
    pub at: u64,
    /// Where what it marks ends; none for a moment.
    pub until: Option<u64>,
    /// What the user wrote, or the name of what was marked.
    pub note: String,
}

/// The marks of every trace that is open.
#[derive(Default)]
pub struct Marks {
    of: Vec<(Weak<Trace>, Vec<Mark>)>,
}

/// What was asked of a mark in the list or on the axis.
pub enum Asked {
    /// Show it.
    Show(usize),
    /// Remove it.
    Remove(usize),
    /// Remove all.
    Clear,
}

impl Marks {
    /// The marks of a trace, in order of time.
    pub fn of(&self, trace: &Arc<Trace>) -> &[Mark] {
        let of = Arc::downgrade(trace);
        self.of.iter().find(|(t, _)| t.ptr_eq(&of)).map_or(&[], |(_, m)| m)
    }

    /// The same, to change.
    pub fn of_mut(&mut self, trace: &Arc<Trace>) -> &mut Vec<Mark> {
        self.of.retain(|(t, _)| t.strong_count() > 0);
        let of = Arc::downgrade(trace);
        let i = self.of.iter().position(|(t, _)| t.ptr_eq(&of)).unwrap_or_else(|| {
            self.of.push((of, Vec::new()));
            self.of.len() - 1
        });
        &mut self.of[i].1
    }

    /// Adds a mark, or removes the one that is there already.
    pub fn toggle(&mut self, trace: &Arc<Trace>, mark: Mark) {
        let marks = self.of_mut(trace);
        if let Some(same) = marks.iter().position(|m| m.at == mark.at && m.until == mark.until) {
            marks.remove(same);
        } else {
            let i = marks.partition_point(|m| m.at <= mark.at);
            marks.insert(i, mark);
        }
    }
}

/// The flags in their strip with lines down through the tracks, and shaded extents. A click on a flag opens its note.
pub fn flags_ui(ui: &mut Ui, theme: &Theme, strip: Rect, tracks: Rect, lens: Lens, marks: &mut Vec<Mark>) {
    let painter = ui.painter().with_clip_rect(strip.union(tracks).intersect(ui.clip_rect()));
    let mut remove = None;
    for (i, mark) in marks.iter_mut().enumerate() {
        let x = lens.x(mark.at as f64);
        let end = mark.until.map_or(x, |t| lens.x(t as f64));
        if end < strip.left() - 1.0 || x > strip.right() + 1.0 {
            continue;
        }
        let color = theme.accent;
        if mark.until.is_some() {
            let band = Rect::from_x_y_ranges(x..=end.max(x + 1.0), tracks.y_range());
            painter.rect_filled(band, 0.0, color.gamma_multiply(0.12));
            painter.vline(end, tracks.y_range(), Stroke::new(1.0, color.gamma_multiply(0.6)));
        }
        painter.vline(x, strip.top()..=tracks.bottom(), Stroke::new(1.0, color));
        let flag = flag(&painter, theme, strip, x, if mark.note.is_empty() { "mark" } else { &mark.note }, color);
        let shown = flag.intersect(strip);
        if !shown.is_positive() {
            continue;
        }
        let response = ui.interact(shown, ui.scope_id().with(("mark", mark.at, mark.until)), Sense::click());
        let words = describe(mark);
        response.widget_info(|| WidgetInfo::labeled(Role::Button, true, format!("Mark: {words}")));
        Popup::menu(&response).close_behavior(PopupCloseBehavior::CloseOnClickOutside).show(|ui| {
            ui.set_width(220.0);
            ui.label(egui::RichText::new(&words).font(theme::caption_figure()).color(theme.text_weak));
            ui.add_space(GRID);
            let edit =
                ui.add(egui::TextEdit::singleline(&mut mark.note).hint_text("Note").desired_width(f32::INFINITY));
            edit.widget_info(|| WidgetInfo::labeled(Role::TextInput, true, "Note of the mark"));
            if ui.button("Remove mark").clicked() {
                remove = Some(i);
                ui.close();
            }
        });
        response.on_hover_text(format!("{words}\nClick to write a note or to remove it."));
    }
    if let Some(i) = remove {
        marks.remove(i);
    }
}

fn flag(painter: &Painter, theme: &Theme, strip: Rect, x: f32, note: &str, color: Color32) -> Rect {
    let ink = theme.ink_on(color);
    let text = galley(painter, note, theme::caption(), ink, 120.0);
    let rect = Rect::from_min_size(pos2(x, strip.top() + 1.0), vec2(text.size().x + 10.0, strip.height() - 3.0));
    painter.rect_filled(rect, CornerRadius { nw: 0, ne: 3, sw: 0, se: 3 }, color);
    painter.galley(pos2(rect.left() + 5.0, rect.center().y - text.size().y / 2.0), text, ink);
    rect
}

fn describe(mark: &Mark) -> String {
    let at = format::duration(mark.at as f64);
    match mark.until {
        Some(until) => format!("{at}, for {}", format::duration(until.saturating_sub(mark.at) as f64)),
        None => at,
    }
}

/// The list of marks in a menu.
pub fn list_ui(ui: &mut Ui, theme: &Theme, marks: &mut [Mark]) -> Option<Asked> {
    let mut asked = None;
    ui.set_width(300.0);
    if marks.is_empty() {
        ui.label(
            egui::RichText::new("No marks yet. M marks a time or the selected span, Shift+M all of its extent.")
                .color(theme.text_weak),
        );
        return None;
    }
    for (i, mark) in marks.iter_mut().enumerate() {
        ui.horizontal(|ui| {
            let (rect, _) = ui.allocate_exact_size(vec2(92.0, 24.0), Sense::hover());
            let at = format::duration(mark.at as f64);
            text_in(ui.painter(), rect, Align2::RIGHT_CENTER, &at, theme::figure(), theme.text);
            let note = ui.add(egui::TextEdit::singleline(&mut mark.note).hint_text("Note").desired_width(116.0));
            note.widget_info(|| WidgetInfo::labeled(Role::TextInput, true, format!("Note of mark {}", i + 1)));
            if ui.button("Show").on_hover_text(describe(mark)).clicked() {
                asked = Some(Asked::Show(i));
            }
            let x = ui.button("×").on_hover_text("Remove this mark");
            x.widget_info(|| WidgetInfo::labeled(Role::Button, true, format!("Remove mark {}", i + 1)));
            if x.clicked() {
                asked = Some(Asked::Remove(i));
            }
        });
    }
    ui.separator();
    if ui.button("Remove all marks").clicked() {
        asked = Some(Asked::Clear);
    }
    asked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_belong_to_their_trace_and_stand_in_order() {
        let (a, b) = (Arc::new(Trace::default()), Arc::new(Trace::default()));
        let mut marks = Marks::default();
        let mark = |at| Mark { at, until: None, note: String::new() };
        marks.toggle(&a, mark(5));
        marks.toggle(&a, mark(2));
        marks.toggle(&b, mark(9));
        assert_eq!(marks.of(&a).iter().map(|m| m.at).collect::<Vec<_>>(), [2, 5]);
        marks.toggle(&a, mark(2));
        assert_eq!((marks.of(&a).len(), marks.of(&b).len()), (1, 1));
        drop(b);
        marks.toggle(&a, mark(7));
        assert_eq!(marks.of.len(), 1, "a closed trace takes its marks along");
    }
}
