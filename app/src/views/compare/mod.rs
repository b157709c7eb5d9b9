//! What changed between the baseline and the trace on show: the answer, the rows, where in the model, and how sure that is.

mod flame;
mod flame_layout;
mod head;
mod rows;
mod spread;

use std::sync::Arc;

use egui::{Rect, Ui};
use profiler::LayerId;
use profiler::compare::Comparison;

use crate::draw::{empty, padded, panel_head, search_box, segmented};
use crate::format;
use crate::theme::Theme;
use crate::view::{Action, Command, ComparisonState, View, ViewCx};

/// What is drawn below the answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Shown {
    #[default]
    Rows,
    Flame,
}

/// The comparison with the baseline.
#[derive(Default)]
pub struct CompareView {
    shown: Shown,
    rows: rows::Rows,
    flame: flame::DiffFlame,
    spread: spread::Spread,
    made: Option<Made>,
    /// The row that was chosen.
    row: Option<usize>,
    /// The layer that was selected when the row was chosen: another one chooses another row.
    layer: Option<LayerId>,
}

/// What is derived from a comparison, once.
struct Made {
    comparison: Arc<Comparison>,
    answer: String,
    because: String,
    sums: Vec<head::Sum>,
    /// The row of each layer of the current trace.
    row_of: Vec<Option<u32>>,
    bars: rows::Bars,
    layouts: [flame_layout::Layout; 2],
}

impl Made {
    fn new(comparison: Arc<Comparison>, layers: usize) -> Made {
        let mut row_of = vec![None; layers];
        for (i, row) in comparison.rows.iter().enumerate() {
            for layer in &row.current {
                if let Some(slot) = row_of.get_mut(layer.index()) {
                    *slot = Some(i as u32);
                }
            }
        }
        Made {
            answer: crate::comparison::answer(&comparison),
            because: crate::comparison::because(&comparison),
            sums: head::sums(&comparison),
            bars: rows::Bars::new(&comparison),
            layouts: [flame_layout::Layout::new(&comparison, 0), flame_layout::Layout::new(&comparison, 1)],
            row_of,
            comparison,
        }
    }
}

impl View for CompareView {
    fn id(&self) -> &'static str {
        "compare"
    }

    fn title(&self) -> &'static str {
        "Compare"
    }

    fn ui(&mut self, ui: &mut Ui, cx: &mut ViewCx<'_>) {
        if !self.prepare(ui, cx) {
            return;
        }
        self.follow_selection(cx);
        let theme = cx.theme;
        self.head_ui(ui, cx);
        let Some(made) = &self.made else { return };
        head::answer_ui(ui, theme, made);
        let space = ui.available_rect_before_wrap();
        // The spread of the chosen row beside the rows where there is room, else below.
        let (main, side) = split(space, self.shown);
        let mut below = ui.new_child(egui::UiBuilder::new().max_rect(main));
        let chosen = match self.shown {
            Shown::Rows => self.rows.ui(&mut below, cx, made, self.row),
            Shown::Flame => self.flame.ui(&mut below, cx, made, self.row),
        };
        let mut aside = ui.new_child(egui::UiBuilder::new().max_rect(side));
        aside.shrink_clip_rect(side);
        let corner = if beside(space, self.shown) { side.left_bottom() } else { side.right_top() };
        ui.painter().line_segment([side.left_top(), corner], theme.line());
        padded(&mut aside, |ui| self.spread.ui(ui, theme, made, self.row));
        if let Some(row) = chosen {
            let layer = made.comparison.rows[row].current.first().copied();
            self.row = Some(row);
            self.layer = layer;
            cx.selection.select(layer);
        }
    }

    fn commands(&self) -> &'static [Command] {
        const fn command(id: &'static str, title: &'static str) -> Command {
            Command { id, title, keys: "" }
        }
        const COMMANDS: &[Command] = &[
            command("unpin", "Unpin the baseline"),
            command("swap", "Swap baseline and current trace"),
            command("rows", "Changes as rows"),
            command("flame", "Changes as a flame graph"),
            command("widths", "Flame graph of changes: widths of the other trace"),
            command("fit", "Flame graph of changes: show all"),
            command("largest", "Select the largest change"),
        ];
        COMMANDS
    }

    fn command(&mut self, id: &str, cx: &mut ViewCx<'_>) {
        match id {
            "unpin" => cx.actions.push(Action::Pin(None)),
            "swap" => swap(cx),
            "rows" => self.shown = Shown::Rows,
            "flame" => self.shown = Shown::Flame,
            "widths" => self.flame.side = 1 - self.flame.side,
            "fit" => self.flame.fit(),
            "largest" => {
                let largest =
                    self.made.as_ref().and_then(|m| crate::comparison::by_change(&m.comparison).first().copied());
                if let (Some(row), Some(made)) = (largest, &self.made) {
                    self.row = Some(row);
                    self.layer = made.comparison.rows[row].current.first().copied();
                    cx.selection.select(self.layer);
                }
            }
            _ => {}
        }
    }
}

/// Pins the trace on show and shows the one that was pinned.
fn swap(cx: &mut ViewCx<'_>) {
    if let (Some(baseline), Some(current)) = (cx.runs.baseline_index(), cx.runs.current_index()) {
        cx.actions.extend([Action::Pin(Some(current)), Action::ShowRun(baseline)]);
    }
}

/// Rows are long and a flame graph is wide: the spread goes beside the first and below the second, if that has the height.
fn beside(space: Rect, shown: Shown) -> bool {
    shown == Shown::Rows || space.height() < 340.0
}

/// Room for the rows or the flame graph, and for the spread of the chosen row.
fn split(space: Rect, shown: Shown) -> (Rect, Rect) {
    match beside(space, shown) {
        true => {
            let at = space.right() - (space.width() * 0.28).clamp(150.0, 300.0);
            (space.with_max_x(at), space.with_min_x(at))
        }
        false => {
            let at = space.bottom() - (space.height() * 0.42).clamp(96.0, 220.0);
            (space.with_max_y(at), space.with_min_y(at))
        }
    }
}

impl CompareView {
    /// Sees to it that the comparison of what is on show is here; if not, says what is missing.
    fn prepare(&mut self, ui: &mut Ui, cx: &mut ViewCx<'_>) -> bool {
        let theme = cx.theme;
        let Some(current) = cx.runs.current() else {
            if empty(ui, theme, "Nothing to compare yet", "Open two traces, or run a model twice.", Some("Open…")) {
                cx.actions.push(Action::OpenDialog);
            }
            return false;
        };
        let Some(baseline) = cx.runs.baseline() else {
            let text = "Pin the trace on show as the baseline (Ctrl+B). Every other trace is then compared with it, layer by \
                        layer, whatever was fused.";
            if empty(ui, theme, "Pin a baseline", text, Some("Pin this trace")) {
                cx.actions.push(Action::Pin(cx.runs.current_index()));
            }
            return false;
        };
        let (a, b) = (&baseline.profile.trace, &current.profile.trace);
        if Arc::ptr_eq(a, b) {
            self.only_baseline(ui, cx);
            return false;
        }
        match cx.facts.compared.as_ref().filter(|c| c.is_of(a, b)).map(|c| &c.state) {
            Some(ComparisonState::Done(comparison)) => {
                if self.made.as_ref().is_none_or(|m| !Arc::ptr_eq(&m.comparison, comparison)) {
                    self.made = Some(Made::new(comparison.clone(), b.layers.len()));
                    (self.row, self.layer) = (None, None);
                    self.flame.fit();
                }
                true
            }
            Some(ComparisonState::Working) => {
                let text = "It comes as soon as the worker is done with what it is doing.";
                empty(ui, theme, "Comparing…", text, None);
                false
            }
            Some(ComparisonState::Stopped) => {
                if empty(ui, theme, "Not compared", "The comparison was stopped.", Some("Compare")) {
                    cx.actions.push(Action::Compare);
                }
                false
            }
            None => {
                cx.actions.push(Action::Compare);
                empty(ui, theme, "Comparing…", "The baseline with the trace on show.", None);
                false
            }
        }
    }

    /// The baseline itself is on show: what to compare with it.
    fn only_baseline(&self, ui: &mut Ui, cx: &mut ViewCx<'_>) {
        let other = (0..cx.runs.all().len()).rev().find(|&i| Some(i) != cx.runs.baseline_index());
        let (text, button, action) = match (other, cx.model) {
            (Some(i), _) => {
                ("The trace on show is the baseline. Show another one.", "Show the newest other", Action::ShowRun(i))
            }
            (None, Some(_)) => (
                "The baseline is the only trace so far. Run again with other settings, or open another trace.",
                "Run",
                Action::Run,
            ),
            (None, None) => {
                ("The baseline is the only trace that is open. Open another one.", "Open…", Action::OpenDialog)
            }
        };
        if empty(ui, cx.theme, "Pinned: this is the baseline", text, Some(button)) {
            cx.actions.push(action);
        }
    }

    /// A layer that was selected elsewhere chooses its row.
    fn follow_selection(&mut self, cx: &ViewCx<'_>) {
        let Some(made) = &self.made else { return };
        if self.row.is_none() && cx.selection.layer.is_none() {
            self.row = crate::comparison::by_change(&made.comparison).first().copied();
            self.layer = None;
        } else if cx.selection.layer != self.layer {
            self.layer = cx.selection.layer;
            let row = self.layer.and_then(|l| *made.row_of.get(l.index())?);
            self.row = row.map(|r| r as usize).or(self.row);
        }
    }

    fn head_ui(&mut self, ui: &mut Ui, cx: &mut ViewCx<'_>) {
        let theme: &Theme = cx.theme;
        panel_head(ui, theme, |ui| {
            head::baseline_ui(ui, cx);
            if ui.button("Swap").on_hover_text("Make this trace the baseline, and show the baseline").clicked() {
                swap(cx);
            }
            let modes = [
                (Shown::Rows, "Rows", "Every group of layers with its change"),
                (Shown::Flame, "Flame graph", "The change by scope: red slower, blue faster, grey no verdict"),
            ];
            segmented(ui, &mut self.shown, &modes);
            match self.shown {
                Shown::Rows => {
                    let width = 200.0_f32.min(ui.available_width() - 96.0).max(60.0);
                    search_box(ui, &mut self.rows.filter, "Filter by name or operator", width);
                    if let Some(made) = &self.made {
                        let words = format::plural(self.rows.len(made), "row");
                        crate::draw::caption(ui, &words);
                    }
                }
                Shown::Flame => {
                    let sides = [
                        (1, "Current widths", "Widths are times of the trace on show"),
                        (0, "Baseline widths", "Widths are times of the baseline: what is gone shows here"),
                    ];
                    segmented(ui, &mut self.flame.side, &sides);
                    if ui.button("Fit all").on_hover_text("Show the whole model").clicked() {
                        self.flame.fit();
                    }
                }
            }
        });
    }
}

#[cfg(test)]
mod tests;
