//! A table of painted cells: rows virtualised, columns sortable, one selection, keys to move it. Where it is wider than its space it
//! scrolls, and its first column stays in view.

use egui::{
    Align2, EventFilter, FontId, Id, Key, Painter, Rangef, Rect, Response, Role, ScrollArea, Sense, Stroke, StrokeKind,
    Ui, WidgetInfo, pos2, vec2,
};

use super::{galley, text_in};
use crate::theme::{self, GRID, ROW_HEIGHT, Theme};

/// A column's head and width.
pub struct Column {
    /// The head's word.
    pub title: &'static str,
    /// The unit that serves the whole column, or nothing.
    pub unit: &'static str,
    /// The least width in points.
    pub width: f32,
    /// Its part of the width that is left over.
    pub grow: f32,
    /// Figures stand at the right.
    pub right: bool,
    /// The head's tooltip: what the column says.
    pub tip: &'static str,
}

impl Column {
    /// A column of text that takes `grow` parts of the spare width.
    pub const fn text(title: &'static str, width: f32, grow: f32) -> Column {
        Column { title, unit: "", width, grow, right: false, tip: "" }
    }

    /// A column of figures.
    pub const fn figure(title: &'static str, width: f32) -> Column {
        Column { title, unit: "", width, grow: 0.0, right: true, tip: "" }
    }

    /// With a unit in its head.
    pub const fn unit(mut self, unit: &'static str) -> Column {
        self.unit = unit;
        self
    }

    /// With a tooltip on its head.
    pub const fn tip(mut self, tip: &'static str) -> Column {
        self.tip = tip;
        self
    }
}

/// How a table is sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sort {
    /// The column.
    pub column: usize,
    /// Largest first.
    pub descending: bool,
}

/// What a row is, besides its cells.
#[derive(Default)]
pub struct Row {
    /// It is the selected one.
    pub selected: bool,
    /// What it shows is hovered, here or elsewhere.
    pub lit: bool,
    /// What a screen reader says.
    pub label: String,
}

/// What happened.
#[derive(Default)]
pub struct Outcome {
    /// The row that was clicked or moved to by key.
    pub chosen: Option<usize>,
    /// The row was chosen by a double click.
    pub double: bool,
    /// Where the pointer is: row, column, and the row's response for a tooltip.
    pub hovered: Option<(usize, usize, Response)>,
    /// The right (true) or left arrow was pressed on the selected row: to open or close what it holds.
    pub unfold: Option<(usize, bool)>,
    /// Where on the row the click was, in points from its left edge.
    pub clicked_at: Option<f32>,
    /// The table has the focus.
    pub focused: bool,
}

/// A table to show.
pub struct Table<'a> {
    /// Distinguishes tables of one panel.
    pub id: &'static str,
    /// Its columns.
    pub columns: &'a [Column],
    /// How many rows.
    pub rows: usize,
    /// Scrolls this row into view.
    pub scroll_to: Option<usize>,
    /// A last line that stays in view, like a row.
    pub totals: bool,
}

const CELL_PAD: f32 = 8.0;

/// One cell's place and the painter to fill it with.
pub struct Cell<'a> {
    /// Clipped to the cell.
    pub painter: Painter,
    /// Inside of the cell's padding.
    pub rect: Rect,
    /// The colours.
    pub theme: &'a Theme,
    /// Figures stand at the right.
    pub right: bool,
}

impl Cell<'_> {
    /// Text cut to fit.
    pub fn text(&self, text: &str, color: egui::Color32) {
        let align = if self.right { Align2::RIGHT_CENTER } else { Align2::LEFT_CENTER };
        text_in(&self.painter, self.rect, align, text, theme::sans(), color);
    }

    /// A figure in the face with tabular digits.
    pub fn figure(&self, text: &str, color: egui::Color32) {
        self.figure_in(text, theme::figure(), color);
    }

    /// Figures and types that may be too long: cut to fit.
    pub fn figure_elided(&self, text: &str, color: egui::Color32) {
        let align = if self.right { Align2::RIGHT_CENTER } else { Align2::LEFT_CENTER };
        text_in(&self.painter, self.rect, align, text, theme::figure(), color);
    }

    fn figure_in(&self, text: &str, font: FontId, color: egui::Color32) {
        // Trailing spaces align the decimal points; they must not be cut as if they were text.
        let cell = galley(&self.painter, text, font, color, f32::INFINITY);
        let x = if self.right { self.rect.right() - cell.size().x } else { self.rect.left() };
        self.painter.galley(pos2(x, self.rect.center().y - cell.size().y / 2.0), cell, color);
    }
}

/// Where the columns stand.
struct Layout {
    widths: Vec<f32>,
    /// The visible part.
    view: Rangef,
    /// Where the first column would begin if it moved with the others.
    left: f32,
}

impl Layout {
    /// Each column with its extent; the first one, which stays where it is, comes last.
    fn columns(&self) -> impl Iterator<Item = (usize, Rangef)> + '_ {
        let mut x = self.left;
        let moving = self.widths.iter().enumerate().map(move |(i, w)| {
            x += w;
            (i, Rangef::new(x - w, x))
        });
        moving.skip(1).chain(self.fixed().map(|extent| (0, extent)))
    }

    /// The first column's extent.
    fn fixed(&self) -> Option<Rangef> {
        self.widths.first().map(|w| Rangef::new(self.view.min, self.view.min + w))
    }

    /// What may be seen of a column: nothing moving shows under the first.
    fn visible(&self, column: usize) -> Rangef {
        match self.fixed() {
            Some(fixed) if column > 0 => Rangef::new(fixed.max, self.view.max.max(fixed.max)),
            _ => self.view,
        }
    }

    fn at(&self, x: f32) -> Option<usize> {
        if self.fixed().is_some_and(|fixed| fixed.contains(x)) {
            return Some(0);
        }
        self.columns().find(|(i, extent)| *i > 0 && extent.contains(x)).map(|c| c.0)
    }

    fn is_scrolled(&self) -> bool {
        self.left < self.view.min - 0.5
    }
}

impl Table<'_> {
    /// Shows it in all of the space left. `row` tells what a row is, `cell` fills one; with `totals`, the row after the last
    /// is asked for too.
    pub fn show(
        &self,
        ui: &mut Ui,
        theme: &Theme,
        sort: Option<&mut Sort>,
        row: impl Fn(usize) -> Row,
        mut cell: impl FnMut(&Cell<'_>, usize, usize),
    ) -> Outcome {
        let id = ui.make_persistent_id(self.id);
        let space = ui.available_rect_before_wrap();
        // Before the rows: a click on one of them gives the focus to the table.
        let focus = ui.interact(space, id, Sense::focusable_noninteractive());
        focus.widget_info(|| WidgetInfo::labeled(Role::Table, true, self.id));
        let mut outcome = Outcome { focused: focus.has_focus(), ..Outcome::default() };
        ui.scope(|ui| {
            ui.spacing_mut().item_spacing = vec2(0.0, 0.0);
            // The scroll bars take their room from the rows, not from what is below them.
            let bar = ui.spacing().scroll.allocated_width();
            let width = self.columns.iter().map(|c| c.width).sum::<f32>().max(space.width() - bar);
            let (head, _) = ui.allocate_exact_size(vec2(space.width(), ROW_HEIGHT + GRID), Sense::hover());
            let totals_height = if self.totals { ROW_HEIGHT + 1.0 } else { 0.0 };
            let body_height = (ui.available_height() - totals_height).max(ROW_HEIGHT);
            let mut area = ScrollArea::both()
                .id_salt(id.with("body"))
                .auto_shrink([false, false])
                .max_height(body_height)
                .min_scrolled_height(0.0);
            if let Some(offset) = self.offset_to(ui, id, body_height - bar) {
                area = area.vertical_scroll_offset(offset);
            }
            let view = Rangef::new(space.left(), space.right() - bar);
            let mut layout = Layout { widths: self.widths(width), view, left: view.min };
            let output = area.show_rows(ui, ROW_HEIGHT, self.rows, |ui, range| {
                layout.left = ui.max_rect().left();
                for i in range {
                    self.row(ui, theme, id, i, &layout, &row, &mut cell, &mut outcome);
                }
            });
            ui.data_mut(|d| d.insert_temp(id.with("offset"), output.state.clamped_offset().y));
            self.keys(ui, &focus, &row, &mut outcome);
            self.head(ui, theme, id, head, &layout, sort);
            if self.totals {
                let (rect, _) = ui.allocate_exact_size(vec2(space.width(), totals_height), Sense::hover());
                ui.painter().rect_filled(rect, 0.0, theme.surface[2]);
                ui.painter().hline(rect.x_range(), rect.top() + 0.5, theme.line());
                self.cells(ui, theme, rect, self.rows, &layout, &mut cell);
            }
            if let Some(fixed) = layout.fixed().filter(|_| layout.is_scrolled()) {
                let bottom = output.inner_rect.bottom() + totals_height;
                ui.painter().vline(fixed.max - 0.5, head.top()..=bottom, theme.line());
            }
        });
        outcome
    }

    fn widths(&self, width: f32) -> Vec<f32> {
        let least: f32 = self.columns.iter().map(|c| c.width).sum();
        let grow: f32 = self.columns.iter().map(|c| c.grow).sum();
        let spare = if grow > 0.0 { (width - least).max(0.0) / grow } else { 0.0 };
        self.columns.iter().map(|c| (c.width + c.grow * spare).floor()).collect()
    }

    /// The scroll offset that brings `scroll_to` into view, if it is not.
    fn offset_to(&self, ui: &Ui, id: Id, height: f32) -> Option<f32> {
        let top = self.scroll_to? as f32 * ROW_HEIGHT;
        let offset = ui.data(|d| d.get_temp::<f32>(id.with("offset"))).unwrap_or(0.0);
        let inside = top >= offset && top + ROW_HEIGHT <= offset + height;
        (!inside).then(|| (top - height / 2.0 + ROW_HEIGHT / 2.0).max(0.0))
    }

    fn head(&self, ui: &Ui, theme: &Theme, id: Id, rect: Rect, layout: &Layout, mut sort: Option<&mut Sort>) {
        ui.painter().rect_filled(rect, 0.0, theme.surface[2]);
        ui.painter().hline(rect.x_range(), rect.bottom() - 0.5, theme.line());
        for (i, extent) in layout.columns() {
            let column = &self.columns[i];
            let cell = Rect::from_x_y_ranges(extent, rect.y_range());
            let seen = Rect::from_x_y_ranges(layout.visible(i), rect.y_range()).intersect(ui.clip_rect());
            if !seen.intersects(cell) {
                continue;
            }
            let sorted = sort.as_deref().is_some_and(|s| s.column == i);
            let sense = if sort.is_some() { Sense::click() } else { Sense::hover() };
            let mut response = ui.interact(cell.intersect(seen), id.with(("head", i)), sense);
            let name = if column.unit.is_empty() {
                column.title.to_owned()
            } else {
                format!("{}, {}", column.title, column.unit)
            };
            response.widget_info(|| WidgetInfo::labeled(Role::ColumnHeader, true, &name));
            let color = if sorted || response.hovered() { theme.text_strong } else { theme.text_weak };
            let inner = cell.shrink2(vec2(CELL_PAD, 0.0));
            let painter = ui.painter().with_clip_rect(cell.intersect(seen));
            let arrow = if sorted { 10.0 } else { 0.0 };
            let title = galley(&painter, &name, theme::caption(), color, inner.width() - arrow);
            let text_width = title.size().x;
            let left = if column.right { inner.right() - text_width } else { inner.left() };
            let cut = title.elided;
            painter.galley(pos2(left, inner.center().y - title.size().y / 2.0), title, color);
            if sorted {
                let descending = sort.as_deref().is_some_and(|s| s.descending);
                let center = pos2(if column.right { left - 7.0 } else { left + text_width + 7.0 }, inner.center().y);
                triangle(&painter, center, descending, color);
            }
            if cut || !column.tip.is_empty() {
                let tip = if column.tip.is_empty() { name } else { format!("{name}\n{}", column.tip) };
                response = response.on_hover_text(tip);
            }
            if response.clicked()
                && let Some(sort) = sort.as_deref_mut()
            {
                let descending = if sort.column == i { !sort.descending } else { column.right };
                *sort = Sort { column: i, descending };
            }
        }
    }

    fn row(
        &self,
        ui: &mut Ui,
        theme: &Theme,
        id: Id,
        index: usize,
        layout: &Layout,
        row: &impl Fn(usize) -> Row,
        cell: &mut impl FnMut(&Cell<'_>, usize, usize),
        outcome: &mut Outcome,
    ) {
        let (rect, _) = ui.allocate_exact_size(vec2(layout.widths.iter().sum(), ROW_HEIGHT), Sense::hover());
        let seen = Rect::from_x_y_ranges(layout.view, rect.y_range());
        let response = ui.interact(seen, id.with(("row", index)), Sense::CLICK);
        let info = row(index);
        response.widget_info(|| WidgetInfo::selected(Role::Row, true, info.selected, &info.label));
        if info.selected {
            ui.painter().rect_filled(seen, 0.0, theme.selection);
        } else if info.lit || response.hovered() {
            ui.painter().rect_filled(seen, 0.0, theme.surface[2]);
        }
        if info.selected && ui.memory(|m| m.has_focus(id)) {
            ui.painter().rect_stroke(seen, 0.0, Stroke::new(1.0, theme.focus), StrokeKind::Inside);
        }
        self.cells(ui, theme, seen, index, layout, cell);
        if response.clicked() {
            outcome.chosen = Some(index);
            outcome.double = response.double_clicked();
            outcome.clicked_at = response.interact_pointer_pos().map(|p| p.x - seen.left());
            ui.memory_mut(|m| m.request_focus(id));
        }
        if let Some(at) = response.hover_pos() {
            outcome.hovered = layout.at(at.x).map(|c| (index, c, response));
        }
    }

    fn cells(
        &self,
        ui: &Ui,
        theme: &Theme,
        rect: Rect,
        index: usize,
        layout: &Layout,
        cell: &mut impl FnMut(&Cell<'_>, usize, usize),
    ) {
        for (i, extent) in layout.columns() {
            let outer = Rect::from_x_y_ranges(extent, rect.y_range());
            let seen = Rect::from_x_y_ranges(layout.visible(i), rect.y_range()).intersect(ui.clip_rect());
            if !seen.intersects(outer) {
                continue;
            }
            let painter = ui.painter().with_clip_rect(outer.intersect(seen));
            let right = self.columns[i].right;
            cell(&Cell { painter, rect: outer.shrink2(vec2(CELL_PAD, 2.0)), theme, right }, index, i);
        }
    }

    /// Arrows, pages, home and end move the selection while the table has the focus; left and right fold.
    fn keys(&self, ui: &Ui, focus: &Response, row: &impl Fn(usize) -> Row, outcome: &mut Outcome) {
        if !focus.has_focus() || self.rows == 0 {
            return;
        }
        let filter = EventFilter { vertical_arrows: true, horizontal_arrows: true, ..EventFilter::default() };
        ui.memory_mut(|m| m.set_focus_lock_filter(focus.id, filter));
        let pressed = |key| ui.input(|i| i.key_pressed(key));
        let now = || (0..self.rows).find(|&i| row(i).selected);
        let last = self.rows - 1;
        let page = ((focus.rect.height() / ROW_HEIGHT) as usize).saturating_sub(3).max(1);
        for (key, down, by) in [
            (Key::ArrowDown, true, 1),
            (Key::ArrowUp, false, 1),
            (Key::PageDown, true, page),
            (Key::PageUp, false, page),
            (Key::Home, false, last),
            (Key::End, true, last),
        ] {
            if pressed(key) {
                let step = |i: usize| if down { (i + by).min(last) } else { i.saturating_sub(by) };
                outcome.chosen = Some(now().map_or(if key == Key::End { last } else { 0 }, step));
            }
        }
        for (key, open) in [(Key::ArrowRight, true), (Key::ArrowLeft, false)] {
            if pressed(key) {
                outcome.unfold = now().map(|i| (i, open));
            }
        }
    }
}

/// A small triangle that says which way a column is sorted, or whether a branch is open.
pub fn triangle(painter: &Painter, center: egui::Pos2, down: bool, color: egui::Color32) {
    let d = if down { 1.0 } else { -1.0 };
    let points = vec![center + vec2(-3.5, -2.0 * d), center + vec2(3.5, -2.0 * d), center + vec2(0.0, 2.5 * d)];
    painter.add(egui::Shape::convex_polygon(points, color, Stroke::NONE));
}
