//! The status bar: what measured and how, and what happened.

use egui::{Align, Button, Color32, Frame, Label, Layout, Margin, Panel, RichText, Ui};

use super::{App, Wish};
use crate::format;
use crate::log_book::Level;
use crate::theme::{PAD, STATUS_HEIGHT, Theme};
use crate::view::Action;

impl App {
    pub(super) fn status_ui(&mut self, ui: &mut Ui, theme: &Theme) {
        let frame = Frame::new().fill(theme.surface[1]).inner_margin(Margin::symmetric(PAD as i8 + 4, 0));
        Panel::bottom("status").exact_size(STATUS_HEIGHT).resizable(false).frame(frame).show(ui, |ui| {
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                ui.spacing_mut().item_spacing.x = 16.0;
                self.log_ui(ui, theme);
                if let Some(job) = self.clerk.running().filter(|r| r.cancellable) {
                    let cancel = ui.add(Button::new(RichText::new("Cancel").small()).small());
                    if cancel.on_hover_text("Esc").clicked() {
                        self.wishes.push(Wish::Cancel);
                    }
                    let taken = format::time_left(job.since.elapsed());
                    weak(ui, theme, &format!("{}: {taken} so far", job.what), "Goes on beside what is measured");
                }
                if let Some(live) = &self.live {
                    weak(ui, theme, &format!("puffin on {}", live.address()), "A puffin_viewer can connect here");
                }
                ui.with_layout(Layout::left_to_right(Align::Center), |ui| self.facts_ui(ui, theme));
            });
        });
    }

    fn facts_ui(&self, ui: &mut Ui, theme: &Theme) {
        match self.runs.current().map(|r| &r.profile.trace.meta) {
            Some(meta) => {
                weak(ui, theme, &meta.device, "What the trace on show was measured on");
                let clock = &meta.clock;
                if !clock.strategy.is_empty() {
                    let error = match clock.calibration_error_ns {
                        0 => String::new(),
                        ns => format!("\nCPU and GPU clocks agree within {}", format::duration(ns as f64)),
                    };
                    let tip = format!(
                        "The clock behind every time of this trace.\nIts smallest step is {}{error}",
                        format::duration(clock.resolution_ns as f64)
                    );
                    weak(ui, theme, &clock.strategy, &tip);
                }
                for w in &meta.warnings {
                    ui.add(Label::new(RichText::new(w).small().color(theme.warn)).truncate()).on_hover_text(w);
                }
            }
            None if !self.adapter.is_empty() => {
                weak(ui, theme, &format!("Window drawn by {}", self.adapter), "Models run on a device of their own")
            }
            None => {}
        }
    }

    /// The newest line and how many there are; opens the log.
    fn log_ui(&mut self, ui: &mut Ui, theme: &Theme) {
        let Some(newest) = self.log.last() else { return };
        let (lines, bad) = self.log.counts();
        let words = match bad {
            0 => format::plural(lines, "line"),
            _ => format::plural(bad, "warning"),
        };
        let color = if bad > 0 { theme.warn } else { theme.text_weak };
        let button = |text: &str, color| Button::new(RichText::new(text).small().color(color)).frame(false).truncate();
        let count = ui.add(button(&words, color));
        count.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Button, true, format!("Log: {words}")));
        let tip = format!("{} in the log, {bad} of them warnings or errors: open it", format::plural(lines, "line"));
        let text = newest.text.lines().next().unwrap_or_default();
        let line = ui.add(button(text, level_color(theme, newest.level))).on_hover_text(&newest.text);
        if count.on_hover_text(tip).clicked() || line.clicked() {
            self.wishes.push(Wish::Do(Action::Show("log")));
        }
    }
}

fn level_color(theme: &Theme, level: Level) -> Color32 {
    match level {
        Level::Error => theme.bad,
        Level::Warn => theme.warn,
        _ => theme.text_weak,
    }
}

fn weak(ui: &mut Ui, theme: &Theme, text: &str, tip: &str) {
    ui.add(Label::new(RichText::new(text).small().color(theme.text_weak)).truncate()).on_hover_text(tip);
}
