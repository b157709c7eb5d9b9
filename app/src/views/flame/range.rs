//! The selected stretch of time: what happened in it, added up in a table.

use std::fmt::Write as _;
use std::sync::Arc;

use egui::{Align, Layout, RichText, Role, Sense, Ui, WidgetInfo};
use profiler::range::{RangeBy, RangeRow, RangeSums};

use super::job::{Job, LIGHT};
use crate::draw::table::{Column, Row, Sort, Table};
use crate::draw::{empty, panel_head, segmented, swatch};
use crate::format::{self, Scale};
use crate::theme::{self, GRID, Theme};
use crate::view::{Profile, Selection};

/// The least height of the pane.
pub const LEAST: f32 = 112.0;

/// What the table shows, by index into [`TABLES`].
const TABLES: [(usize, &str, &str); 4] = [
    (0, "Op", "Added up by operator; spans of no layer by their name"),
    (1, "Scope", "Added up by the scope that a layer is in, to the depth on the right"),
    (2, "Layer", "Each layer by itself"),
    (3, "Track", "Added up by track"),
];

/// What was pressed.
pub enum Asked {
    /// Let go of the range.
    Clear,
    /// Show it all.
    Fit,
    /// Look for a name.
    Find(String),
}

type Key = (usize, (u64, u64));

/// The pane under the graph.
pub struct RangePane {
    table: usize,
    depth: usize,
    sort: Sort,
    sums: Job<Key, RangeSums>,
    rows: Vec<RangeRow>,
    rows_of: Option<(Key, RangeBy, Sort)>,
    /// As the user dragged it.
    pub height: f32,
}

impl Default for RangePane {
    fn default() -> Self {
        let sort = Sort { column: 2, descending: true };
        RangePane { table: 0, depth: 2, sort, sums: Job::default(), rows: Vec::new(), rows_of: None, height: 208.0 }
    }
}

impl RangePane {
    /// What is added up by.
    pub fn by(&self) -> RangeBy {
        [RangeBy::Op, RangeBy::Scope(self.depth), RangeBy::Layer, RangeBy::Track][self.table.min(3)]
    }

    /// Chooses the table by the word on its button.
    pub fn choose(&mut self, table: usize) {
        self.table = table.min(TABLES.len() - 1);
    }

    /// Adds up, within the frame if the trace is short. While the range is dragged over a long one the last sums stay.
    pub fn update(&mut self, ctx: &egui::Context, profile: &Profile, trace: usize, range: (u64, u64), dragged: bool) {
        let light = profile.trace.spans.len() <= LIGHT;
        if !dragged || light {
            let of = Arc::clone(&profile.trace);
            self.sums.ask(ctx, (trace, range), light, move |cancel| RangeSums::of(&of, range, cancel));
        }
        let Some((sums, key)) = self.sums.get().zip(self.sums.key().copied()) else { return };
        let want = Some((key, self.by(), self.sort));
        if self.rows_of != want {
            self.rows = sums.rows(&profile.trace, self.by());
            sort_rows(&mut self.rows, self.sort);
            self.rows_of = want;
        }
    }

    /// The rows on show; empty until they are added up.
    pub fn rows(&self) -> &[RangeRow] {
        if self.sums.get().is_some() { &self.rows } else { &[] }
    }

    /// Draws the pane into all of the space left.
    pub fn ui(&mut self, ui: &mut Ui, theme: &Theme, selection: &mut Selection, range: (u64, u64)) -> Option<Asked> {
        let mut asked = self.head_ui(ui, theme, range);
        let length = range.1.saturating_sub(range.0) as f64;
        if self.sums.get().is_none() {
            empty(ui, theme, "Adding up…", "The spans of this stretch are being counted.", None);
            return asked;
        }
        if self.rows.is_empty() {
            empty(ui, theme, "Nothing here", "No span overlaps this stretch of time.", None);
            return asked;
        }
        let times = Scale::time(self.rows.iter().map(|r| r.sum_ns as f64).fold(0.0, f64::max));
        let columns = [
            Column::text(["Operator", "Scope", "Layer", "Track"][self.table.min(3)], 140.0, 1.0),
            Column::figure("Count", 76.0).tip("Spans that overlap the selected stretch."),
            Column::figure("Sum", 96.0).unit(times.unit).tip("Their time within the stretch."),
            Column::figure("Share", 76.0).tip(
                "The sum over the length of the stretch. Tracks run side by side: shares may add up to more than 100%.",
            ),
            Column::figure("Mean", 96.0).unit(times.unit).tip("The sum over the count."),
            Column::figure("Self", 96.0)
                .unit(times.unit)
                .tip("Their time within the stretch without that of the spans inside of them."),
        ];
        let table =
            Table { id: "Selected time", columns: &columns, rows: self.rows.len(), scroll_to: None, totals: false };
        let rows = &self.rows;
        let outcome = table.show(
            ui,
            theme,
            Some(&mut self.sort),
            |i| Row {
                selected: rows[i].layer.is_some() && selection.layer == rows[i].layer,
                lit: rows[i].layer.is_some_and(|l| selection.is_hovered(l)),
                label: format!(
                    "{}: {} in {}",
                    rows[i].name,
                    format::duration(rows[i].sum_ns as f64),
                    format::plural(rows[i].count as usize, "span")
                ),
            },
            |cell, i, column| {
                let r = &rows[i];
                match column {
                    0 => {
                        let mut rect = cell.rect;
                        if let Some(class) = r.class {
                            swatch(&cell.painter, egui::pos2(rect.left() + 4.0, rect.center().y), theme.class(class));
                        }
                        rect.min.x += 14.0;
                        let name = if r.name.is_empty() { "(no scope)" } else { &r.name };
                        let align = egui::Align2::LEFT_CENTER;
                        crate::draw::text_in(&cell.painter, rect, align, name, theme::sans(), theme.text);
                    }
                    1 => cell.figure(&format::grouped(r.count), theme.text),
                    2 => cell.figure(&times.cell(r.sum_ns as f64), theme.text_strong),
                    3 => {
                        let share = if length > 0.0 { r.sum_ns as f64 / length } else { 0.0 };
                        cell.figure(&format::percent(share), theme.text_weak);
                    }
                    4 => cell.figure(&times.cell(r.mean_ns()), theme.text),
                    _ => cell.figure(&times.cell(r.self_ns as f64), theme.text),
                }
            },
        );
        if let Some((i, _, response)) = outcome.hovered
            && let Some(row) = self.rows.get(i)
        {
            selection.hovered = row.layer.or(selection.hovered);
            response.on_hover_text(format!("{}\nClick to find it in the graph.", row.name));
        }
        if let Some(row) = outcome.chosen.and_then(|i| self.rows.get(i)) {
            match row.layer {
                Some(layer) => selection.select(Some(layer)),
                None if self.by() != RangeBy::Track => asked = Some(Asked::Find(row.name.clone())),
                None => {}
            }
        }
        asked
    }

    fn head_ui(&mut self, ui: &mut Ui, theme: &Theme, range: (u64, u64)) -> Option<Asked> {
        let mut asked = None;
        let count = self.sums.get().map(RangeSums::count);
        panel_head(ui, theme, |ui| {
            let length = format::duration(range.1.saturating_sub(range.0) as f64);
            ui.label(RichText::new(length).font(theme::figure()).color(theme.text_strong))
                .on_hover_text("Length of the selected stretch. Its edges in the graph can be dragged.");
            let words = count
                .map_or_else(|| "selected".to_owned(), |n| format!("selected, {}", format::plural(n as usize, "span")));
            ui.label(RichText::new(words).color(theme.text_weak));
            ui.add_space(GRID);
            segmented(ui, &mut self.table, &TABLES);
            if self.table == 1 {
                let depth = ui.add(egui::DragValue::new(&mut self.depth).range(1..=9).prefix("depth "));
                depth.widget_info(|| WidgetInfo::labeled(Role::SpinButton, true, "Depth of scopes"));
                depth.on_hover_text("How many parts of a scope's path count: encoder/layer.3 is 2.");
            }
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                let close = ui.button("×").on_hover_text("Let go of the selected stretch (Esc)");
                close.widget_info(|| WidgetInfo::labeled(Role::Button, true, "Clear the selected time"));
                if close.clicked() {
                    asked = Some(Asked::Clear);
                }
                if ui.button("Fit").on_hover_text("Show just this stretch (F)").clicked() {
                    asked = Some(Asked::Fit);
                }
                ui.menu_button("Copy", |ui| {
                    for (label, text) in
                        [("As CSV", RangePane::csv as fn(&Self) -> String), ("As Markdown", RangePane::markdown)]
                    {
                        if ui.button(label).clicked() {
                            ui.ctx().copy_text(text(self));
                            ui.close();
                        }
                    }
                });
            });
        });
        asked
    }

    /// The table as comma-separated values, times in nanoseconds.
    pub fn csv(&self) -> String {
        let mut out = "name,count,sum_ns,mean_ns,self_ns\n".to_owned();
        for r in self.rows() {
            let quoted = r.name.contains([',', '"', '\n', '\r']);
            let name = if quoted { format!("\"{}\"", r.name.replace('"', "\"\"")) } else { r.name.clone() };
            let _ = writeln!(out, "{name},{},{},{:.1},{}", r.count, r.sum_ns, r.mean_ns(), r.self_ns);
        }
        out
    }

    /// The table for a comment or a page.
    pub fn markdown(&self) -> String {
        let mut out = "| Name | Count | Sum | Mean | Self |\n| --- | ---: | ---: | ---: | ---: |\n".to_owned();
        for r in self.rows() {
            let name = r.name.replace('|', "\\|").replace(['\n', '\r'], " ");
            let [sum, mean, own] = [r.sum_ns as f64, r.mean_ns(), r.self_ns as f64].map(format::duration);
            let _ = writeln!(out, "| {name} | {} | {sum} | {mean} | {own} |", r.count);
        }
        out
    }
}

/// The line between graph and table, to drag; returns by how much.
pub fn divider(ui: &Ui, theme: &Theme, rect: egui::Rect) -> f32 {
    let response = ui.interact(rect, ui.scope_id().with("divider"), Sense::drag());
    response.widget_info(|| WidgetInfo::labeled(Role::Splitter, true, "Height of the table"));
    let color = if response.hovered() || response.dragged() { theme.focus } else { theme.hairline };
    ui.painter().hline(rect.x_range(), rect.center().y.round() + 0.5, egui::Stroke::new(1.0, color));
    let moved = if response.dragged() { response.drag_delta().y } else { 0.0 };
    response.on_hover_cursor(egui::CursorIcon::ResizeVertical);
    moved
}

fn sort_rows(rows: &mut [RangeRow], sort: Sort) {
    rows.sort_by(|a, b| {
        let order = match sort.column {
            0 => a.name.cmp(&b.name),
            1 => a.count.cmp(&b.count),
            2 | 3 => a.sum_ns.cmp(&b.sum_ns),
            4 => a.mean_ns().total_cmp(&b.mean_ns()),
            _ => a.self_ns.cmp(&b.self_ns),
        };
        (if sort.descending { order.reverse() } else { order }).then_with(|| a.name.cmp(&b.name))
    });
}
