//! The status bar: what measured and how, and what happened.

use std::collections::VecDeque;
use std::time::Instant;

use egui::{Align, Color32, Frame, Label, Layout, Margin, Panel, Popup, RichText, ScrollArea, Ui};
use profiler::Severity;

use super::App;
use crate::format;
use crate::theme::{PAD, STATUS_HEIGHT, Theme};

/// How many lines the log keeps.
const LINES: usize = 200;

/// What happened since the start, for people.
pub struct Log {
    lines: VecDeque<(Instant, Severity, String)>,
    start: Instant,
}

impl Default for Log {
    fn default() -> Self {
        Log { lines: VecDeque::new(), start: Instant::now() }
    }
}

impl Log {
    /// Something went as it should.
    pub fn info(&mut self, text: String) {
        self.add(Severity::Ok, text);
    }

    /// Something to know.
    pub fn warn(&mut self, text: String) {
        self.add(Severity::Warn, text);
    }

    /// As [`Log::warn`], unless it is the newest line already.
    pub fn warn_once(&mut self, text: String) {
        if self.lines.back().is_none_or(|l| l.2 != text) {
            self.warn(text);
        }
    }

    /// Something failed.
    pub fn error(&mut self, text: String) {
        self.add(Severity::Bad, text);
    }

    fn add(&mut self, severity: Severity, text: String) {
        if self.lines.len() == LINES {
            self.lines.pop_front();
        }
        self.lines.push_back((Instant::now(), severity, text));
    }
}

impl App {
    pub(super) fn status_ui(&mut self, ui: &mut Ui, theme: &Theme) {
        let frame = Frame::new().fill(theme.surface[1]).inner_margin(Margin::symmetric(PAD as i8 + 4, 0));
        Panel::bottom("status").exact_size(STATUS_HEIGHT).resizable(false).frame(frame).show(ui, |ui| {
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                ui.spacing_mut().item_spacing.x = 16.0;
                self.log_ui(ui, theme);
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
                        "How time was taken; smallest step {}{error}",
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

    fn log_ui(&self, ui: &mut Ui, theme: &Theme) {
        let Some((_, severity, newest)) = self.log.lines.back() else { return };
        let color = color(theme, *severity);
        let text = egui::Button::new(RichText::new(newest).small().color(color)).frame(false).truncate();
        let button = ui.add(text).on_hover_text("Show the log");
        Popup::menu(&button).show(|ui| {
            ui.set_width(560.0);
            ScrollArea::vertical().max_height(320.0).stick_to_bottom(true).show(ui, |ui| {
                for (at, severity, text) in &self.log.lines {
                    let after = at.duration_since(self.log.start).as_secs_f64();
                    ui.horizontal_top(|ui| {
                        ui.label(RichText::new(format!("{after:8.1} s")).small().monospace().color(theme.text_weak));
                        ui.add(
                            Label::new(RichText::new(text).color(self::color(theme, *severity)))
                                .wrap()
                                .selectable(true),
                        );
                    });
                }
            });
        });
    }
}

fn color(theme: &Theme, severity: Severity) -> Color32 {
    match severity {
        Severity::Ok => theme.text_weak,
        s => theme.severity(s),
    }
}

fn weak(ui: &mut Ui, theme: &Theme, text: &str, tip: &str) {
    ui.add(Label::new(RichText::new(text).small().color(theme.text_weak)).truncate()).on_hover_text(tip);
}
