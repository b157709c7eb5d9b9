//! What happened since the start: a line each, to filter and to copy.

use egui::{Label, RichText, ScrollArea, Ui};

use crate::draw::table::{Cell, Column, Row, Table};
use crate::draw::{self, empty, panel_head, segmented};
use crate::log_book::{Level, Line, word};
use crate::theme::{PAD, Theme};
use crate::view::{Command, View, ViewCx};

const COLUMNS: [Column; 3] = [
    Column::text("Time", 80.0, 0.0).tip("The time of day here"),
    Column::text("Level", 80.0, 0.0),
    Column::text("What happened", 240.0, 1.0),
];

/// The log's panel.
pub struct LogView {
    level: Level,
    search: String,
    /// The chosen line, by its number.
    chosen: Option<u64>,
    /// The newest line that was scrolled to.
    seen: u64,
    /// A command that needs the context of the next frame.
    copy: Option<Copy>,
}

#[derive(Clone, Copy, PartialEq)]
enum Copy {
    One,
    All,
}

impl Default for LogView {
    fn default() -> Self {
        LogView { level: Level::Info, search: String::new(), chosen: None, seen: 0, copy: None }
    }
}

impl View for LogView {
    fn id(&self) -> &'static str {
        "log"
    }

    fn title(&self) -> &'static str {
        "Log"
    }

    fn commands(&self) -> &'static [Command] {
        &[
            Command { id: "copy", title: "Copy the chosen line", keys: "" },
            Command { id: "copy-all", title: "Copy all lines", keys: "" },
            Command { id: "clear", title: "Clear the log", keys: "" },
            Command { id: "all", title: "Show all lines", keys: "" },
            Command { id: "warnings", title: "Show warnings and worse", keys: "" },
            Command { id: "errors", title: "Show errors only", keys: "" },
        ]
    }

    fn command(&mut self, id: &str, cx: &mut ViewCx<'_>) {
        match id {
            "copy" => self.copy = Some(Copy::One),
            "copy-all" => self.copy = Some(Copy::All),
            "clear" => cx.facts.log.clear(),
            "all" => self.level = Level::Info,
            "warnings" => self.level = Level::Warn,
            "errors" => self.level = Level::Error,
            _ => {}
        }
    }

    fn ui(&mut self, ui: &mut Ui, cx: &mut ViewCx<'_>) {
        let theme = cx.theme;
        let log = &cx.facts.log;
        let lines = self.lines(&log.lines(self.level));
        panel_head(ui, theme, |ui| {
            segmented(
                ui,
                &mut self.level,
                &[
                    (Level::Info, "All", "Every line"),
                    (Level::Warn, "Warnings", "Warnings and errors"),
                    (Level::Error, "Errors", "Errors alone"),
                ],
            );
            draw::search_box(ui, &mut self.search, "Filter", 160.0);
            ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
                let any = !lines.is_empty();
                ui.add_enabled_ui(any, |ui| {
                    if ui.button("Clear").on_hover_text("Forget all lines").clicked() {
                        log.clear();
                    }
                    if ui.button("Copy all").on_hover_text("Copy the lines shown, as text").clicked() {
                        self.copy = Some(Copy::All);
                    }
                });
                let one = ui.add_enabled(self.chosen.is_some(), egui::Button::new("Copy"));
                if one.on_hover_text("Copy the chosen line").on_disabled_hover_text("Choose a line first").clicked() {
                    self.copy = Some(Copy::One);
                }
            });
        });
        match self.copy.take() {
            Some(Copy::One) => {
                if let Some(line) = lines.iter().find(|l| Some(l.number) == self.chosen) {
                    ui.ctx().copy_text(line.to_text());
                }
            }
            Some(Copy::All) => {
                let all: Vec<String> = lines.iter().map(Line::to_text).collect();
                ui.ctx().copy_text(all.join("\n"));
            }
            None => {}
        }
        if lines.is_empty() {
            let (title, text) = match log.counts().0 {
                0 => ("Nothing happened yet", "What is opened, measured, saved or fails is noted here, with the time."),
                _ => ("No such line", "No line fits the filter and the level."),
            };
            if empty(ui, theme, title, text, (log.counts().0 > 0).then_some("Show all")) {
                self.level = Level::Info;
                self.search.clear();
            }
            return;
        }
        self.lines_ui(ui, theme, &lines, log.newest());
    }
}

impl LogView {
    fn lines(&self, all: &[Line]) -> Vec<Line> {
        let wanted = self.search.trim().to_lowercase();
        all.iter().filter(|l| wanted.is_empty() || l.text.to_lowercase().contains(&wanted)).cloned().collect()
    }

    fn lines_ui(&mut self, ui: &mut Ui, theme: &Theme, lines: &[Line], newest: u64) {
        let chosen = lines.iter().position(|l| Some(l.number) == self.chosen);
        if let Some(line) = chosen.and_then(|i| lines.get(i)) {
            // All of a line that is longer than its row.
            egui::Panel::bottom("line").resizable(false).frame(draw_frame(theme)).show(ui, |ui| {
                ScrollArea::vertical().max_height(96.0).auto_shrink([false, true]).show(ui, |ui| {
                    let text = RichText::new(&line.text).color(color(theme, line.level));
                    ui.add(Label::new(text).wrap().selectable(true));
                });
            });
        }
        let scroll_to = if self.seen == newest { None } else { lines.len().checked_sub(1) };
        self.seen = newest;
        let table = Table { id: "log", columns: &COLUMNS, rows: lines.len(), scroll_to, totals: false };
        let row = |i: usize| {
            let Some(line) = lines.get(i) else { return Row::default() };
            Row { selected: chosen == Some(i), lit: false, label: line.to_text() }
        };
        let outcome = table.show(ui, theme, None, row, |cell: &Cell<'_>, i, column| {
            let Some(line) = lines.get(i) else { return };
            match column {
                0 => cell.figure(&line.time(), theme.text_weak),
                1 => cell.text(word(line.level), color(theme, line.level)),
                _ => cell.text(line.text.lines().next().unwrap_or(""), theme.text),
            }
        });
        if let Some(i) = outcome.chosen {
            self.chosen = lines.get(i).map(|l| l.number);
        }
        if let Some((i, _, response)) = outcome.hovered
            && let Some(line) = lines.get(i)
        {
            response.on_hover_text(&line.text);
        }
    }
}

fn draw_frame(theme: &Theme) -> egui::Frame {
    egui::Frame::new().fill(theme.surface[2]).inner_margin(egui::Margin::same(PAD as i8))
}

fn color(theme: &Theme, level: Level) -> egui::Color32 {
    match level {
        Level::Error => theme.bad,
        Level::Warn => theme.warn,
        _ => theme.text_weak,
    }
}
