//! The table of rows, with a bar and its interval for each change.

use std::sync::Arc;

use egui::{Align2, Rect, Stroke, Ui, pos2};
use profiler::compare::{Comparison, Row as Compared, Verdict};

use super::Made;
use super::head::{change_color, tip, verdict_color};
use crate::comparison::{operators, signed, signed_bytes, signed_decibel, worst_error};
use crate::draw::flame_paint::matches;
use crate::draw::table::{Cell, Column, Row, Sort, Table};
use crate::draw::{empty, swatch, text_in};
use crate::format::{self, Scale, UNKNOWN};
use crate::theme::{self, Theme};
use crate::view::ViewCx;

const NAME: usize = 0;
const CHANGE: usize = 1;
const SHARE: usize = 2;
const BAR: usize = 3;
const VERDICT: usize = 4;
const BASELINE: usize = 5;
const CURRENT: usize = 6;
const MEMORY: usize = 7;
const ERROR: usize = 8;
const OPERATORS: usize = 9;

/// The scale that all bars share.
pub struct Bars {
    /// The largest change or end of an interval that is drawn, in nanoseconds.
    most: f64,
    time: Scale,
}

impl Bars {
    pub fn new(c: &Comparison) -> Bars {
        let changes = || c.rows.iter().map(|r| r.time.difference_ns.abs());
        let largest = changes().fold(0.0, f64::max);
        let ends = c.rows.iter().filter_map(|r| r.time.interval_ns).map(|(low, high)| low.abs().max(high.abs()));
        // An interval far wider than any change must not make all bars vanish.
        let most = ends.fold(largest, f64::max).min(2.0 * largest).max(1.0);
        let longest = c.rows.iter().flat_map(|r| [r.time.baseline, r.time.current]).flatten().map(|s| s.ns);
        Bars { most, time: Scale::time(longest.fold(0.0, f64::max)) }
    }
}

/// The table with its filter and order.
pub struct Rows {
    pub filter: String,
    sort: Sort,
    order: Vec<usize>,
    made: Option<(usize, String, Sort)>,
    shown: Option<usize>,
}

impl Default for Rows {
    fn default() -> Self {
        let sort = Sort { column: CHANGE, descending: true };
        Rows { filter: String::new(), sort, order: Vec::new(), made: None, shown: None }
    }
}

impl Rows {
    /// How many rows the filter leaves.
    pub fn len(&self, made: &Made) -> usize {
        if self.made.is_some() { self.order.len() } else { made.comparison.rows.len() }
    }

    /// Draws the table; tells which row was chosen.
    pub fn ui(&mut self, ui: &mut Ui, cx: &mut ViewCx<'_>, made: &Made, chosen: Option<usize>) -> Option<usize> {
        let (theme, c) = (cx.theme, &made.comparison);
        if c.rows.is_empty() {
            empty(ui, theme, "No layers", "Neither trace names a layer.", None);
            return None;
        }
        self.arrange(c);
        if self.order.is_empty() {
            empty(ui, theme, "No row matches", "The filter looks at names and operators of both traces.", None);
            return None;
        }
        let columns = columns(&made.bars);
        let scroll_to = (self.shown != chosen).then(|| self.order.iter().position(|&r| Some(r) == chosen)).flatten();
        self.shown = chosen;
        let order = &self.order;
        let table = Table { id: "Changes", columns: &columns, rows: order.len(), scroll_to, totals: true };
        let hovered = cx.selection.hovered;
        let lit = |r: &Compared| hovered.is_some_and(|h| r.current.contains(&h));
        let row = |i: usize| {
            let r = &c.rows[order[i]];
            let label = format!("{}, {}, {}", r.name, signed(&r.time), r.time.verdict.label());
            Row { selected: Some(order[i]) == chosen, lit: lit(r), label }
        };
        let outcome = table.show(ui, theme, Some(&mut self.sort), row, |cell, i, column| match order.get(i) {
            Some(&r) => row_cell(cell, &c.rows[r], &made.bars, column),
            None => totals_cell(cell, c, order, &made.bars, column),
        });
        if let Some((i, _, response)) = outcome.hovered {
            let r = &c.rows[order[i]];
            cx.selection.hovered = r.current.first().copied();
            response.on_hover_ui_at_pointer(|ui| tip(ui, theme, &r.name, &r.time, c.options.confidence, &more(r)));
        }
        outcome.chosen.map(|i| order[i])
    }

    fn arrange(&mut self, c: &Arc<Comparison>) {
        let key = (Arc::as_ptr(c).addr(), self.filter.clone(), self.sort);
        if self.made.as_ref() == Some(&key) {
            return;
        }
        let words = self.filter.to_lowercase();
        let found = |r: &Compared| {
            let ops = r.baseline_ops.iter().chain(&r.current_ops).map(String::as_str);
            let texts: Vec<&str> =
                [r.name.as_str(), r.time.verdict.label(), r.class.label()].into_iter().chain(ops).collect();
            matches(&words, &texts)
        };
        self.order = (0..c.rows.len()).filter(|&i| found(&c.rows[i])).collect();
        let rows = &c.rows;
        match self.sort.column {
            NAME => self.order.sort_by(|&a, &b| rows[a].name.cmp(&rows[b].name)),
            OPERATORS => self.order.sort_by_cached_key(|&i| operators(&rows[i])),
            VERDICT => self.order.sort_by_key(|&i| rows[i].time.verdict.label()),
            column => self.order.sort_by(|&a, &b| order_of(&rows[a], column).total_cmp(&order_of(&rows[b], column))),
        }
        if self.sort.descending {
            self.order.reverse();
        }
        self.made = Some(key);
    }
}

/// What a column is sorted by: changes by their size, whatever their sign.
fn order_of(r: &Compared, column: usize) -> f64 {
    let unknown = f64::NEG_INFINITY;
    match column {
        BASELINE => r.time.baseline.map_or(unknown, |s| s.ns),
        CURRENT => r.time.current.map_or(unknown, |s| s.ns),
        SHARE => r.time.relative.map_or(unknown, f64::abs),
        MEMORY => r.memory.difference().map_or(unknown, |d| (d as f64).abs()),
        ERROR => worst_error(r).map_or(unknown, |e| e.1.abs()),
        _ => r.time.difference_ns.abs(),
    }
}

fn columns(bars: &Bars) -> Vec<Column> {
    let unit = bars.time.unit;
    vec![
        Column::text("Layers", 196.0, 3.0)
            .tip("What did the same work on both sides, whatever was fused: layers that share a source node"),
        Column::figure("Change", 92.0).unit(unit).tip("Difference of the medians: current minus baseline"),
        Column::figure("Share", 72.0).tip("The change relative to the baseline"),
        Column::text("Interval", 112.0, 1.0)
            .tip("The change as a bar and its confidence interval as a line, in one scale: left and blue is faster"),
        Column::text("Verdict", 124.0, 0.0).tip("Corrected for the number of rows (Benjamini and Hochberg)"),
        Column::figure("Baseline", 96.0).unit(unit).tip("Median over the measured runs of the baseline"),
        Column::figure("Current", 92.0).unit(unit).tip("Median over the measured runs of the trace on show"),
        Column::figure("Memory", 84.0).tip("Change of the bytes of weights and outputs"),
        Column::figure("SQNR", 76.0)
            .tip("Change of the signal to quantization noise ratio, the worst scheme; negative is worse"),
        Column::text("Operators", 112.0, 2.0)
            .tip("Those of the baseline → those of the trace on show, where they differ"),
    ]
}

/// What a tooltip says besides times.
fn more(r: &Compared) -> Vec<(String, String)> {
    let mut more = vec![
        ("Operators".to_owned(), operators(r)),
        ("Layers".to_owned(), format!("{} → {}", r.baseline.len(), r.current.len())),
        (
            "Weights and outputs".to_owned(),
            format!("{} → {}", crate::comparison::size(r.memory.baseline), crate::comparison::size(r.memory.current)),
        ),
    ];
    for e in &r.errors {
        let db = |v: Option<f64>| v.map_or(UNKNOWN.to_owned(), format::decibel);
        more.push((format!("SQNR {}", e.scheme), format!("{} → {}", db(e.baseline_db), db(e.current_db))));
    }
    more
}

fn row_cell(cell: &Cell<'_>, r: &Compared, bars: &Bars, column: usize) {
    let theme = cell.theme;
    let figure = |text: String, strong: bool| {
        cell.figure(&text, if strong { theme.text_strong } else { theme.text });
    };
    let unknown = || cell.figure(&format!("{UNKNOWN}    "), theme.text_weak);
    match column {
        NAME => {
            swatch(&cell.painter, pos2(cell.rect.left() + 4.0, cell.rect.center().y), theme.class(r.class));
            let rest = cell.rect.with_min_x(cell.rect.left() + 14.0);
            name_in(cell, rest, &r.name);
        }
        OPERATORS => cell.text(&operators(r), theme.text),
        BASELINE | CURRENT => {
            let side = if column == BASELINE { r.time.baseline } else { r.time.current };
            match side {
                Some(s) => figure(bars.time.cell(s.ns), false),
                None => unknown(),
            }
        }
        CHANGE => figure(bars.time.cell(r.time.difference_ns), true),
        SHARE => match r.time.relative {
            Some(_) => figure(signed(&r.time), false),
            None => cell.figure(UNKNOWN, theme.text_weak),
        },
        BAR => bar(cell, theme, r, bars.most),
        VERDICT => {
            let dot = pos2(cell.rect.left() + 3.0, cell.rect.center().y);
            cell.painter.circle_filled(dot, 3.0, verdict_color(theme, r.time.verdict));
            let rest = cell.rect.with_min_x(cell.rect.left() + 12.0);
            let color = if r.time.verdict.is_open() { theme.text_weak } else { theme.text };
            text_in(&cell.painter, rest, Align2::LEFT_CENTER, r.time.verdict.label(), theme::sans(), color);
        }
        MEMORY => match r.memory.difference() {
            Some(0) => cell.figure("0 B", theme.text_weak),
            Some(d) => figure(signed_bytes(d as f64), false),
            None => cell.figure(UNKNOWN, theme.text_weak),
        },
        _ => match worst_error(r) {
            Some((_, db)) => figure(signed_decibel(db), false),
            None => cell.figure(UNKNOWN, theme.text_weak),
        },
    }
}

/// A path with both its ends in view: rows of one kind differ in the middle of their path as a rule, and the cut falls behind
/// that.
fn name_in(cell: &Cell<'_>, rect: Rect, name: &str) {
    let theme = cell.theme;
    let name = name.trim_start_matches('/');
    let galley = |text: &str| crate::draw::galley(&cell.painter, text, theme::sans(), theme.text_strong, f32::INFINITY);
    let mut shown = galley(name);
    let all = name.chars().count();
    let mut keep = all;
    while shown.size().x > rect.width() && keep > 8 {
        keep = keep.min((keep as f32 * rect.width() / shown.size().x) as usize + 1) - 1;
        let head: String = name.chars().take(keep * 3 / 5).collect();
        let tail: String = name.chars().skip(all - keep * 2 / 5).collect();
        shown = galley(&format!("{head}…{tail}"));
    }
    let at = pos2(rect.left(), rect.center().y - shown.size().y / 2.0);
    cell.painter.galley(at, shown, theme.text_strong);
}

/// The change from the middle on, and its interval as a line with ends.
fn bar(cell: &Cell<'_>, theme: &Theme, r: &Compared, most: f64) {
    let rect = cell.rect;
    let middle = rect.center().x.round() + 0.5;
    let half = rect.width() / 2.0 - 2.0;
    let x = |ns: f64| middle + (ns / most).clamp(-1.0, 1.0) as f32 * half;
    cell.painter.vline(middle, rect.y_range(), theme.line());
    let end = x(r.time.difference_ns);
    let bar = Rect::from_x_y_ranges(middle.min(end)..=middle.max(end), rect.center().y - 4.0..=rect.center().y + 4.0);
    cell.painter.rect_filled(bar, 1.0, change_color(theme, &r.time));
    if let Some((low, high)) = r.time.interval_ns {
        let (low, high) = (x(low), x(high));
        let stroke = Stroke::new(1.0, theme.text);
        let y = rect.center().y.round() + 0.5;
        cell.painter.hline(low..=high, y, stroke);
        for end in [low, high] {
            cell.painter.vline(end, y - 3.0..=y + 3.0, stroke);
        }
    }
}

fn totals_cell(cell: &Cell<'_>, c: &Comparison, order: &[usize], bars: &Bars, column: usize) {
    let theme = cell.theme;
    let rows = || order.iter().map(|&i| &c.rows[i]);
    let sum = |f: &dyn Fn(&Compared) -> Option<f64>| {
        rows().filter_map(f).fold(None, |s: Option<f64>, v| Some(s.unwrap_or(0.0) + v))
    };
    let time = |v: Option<f64>| v.map_or(format!("{UNKNOWN}    "), |v| bars.time.cell(v));
    match column {
        NAME => cell.text("Sum of the rows", theme.text_weak),
        BASELINE => cell.figure(&time(sum(&|r| r.time.baseline.map(|s| s.ns))), theme.text_strong),
        CURRENT => cell.figure(&time(sum(&|r| r.time.current.map(|s| s.ns))), theme.text_strong),
        CHANGE => cell.figure(&time(sum(&|r| Some(r.time.difference_ns))), theme.text_strong),
        SHARE => {
            let before = sum(&|r| r.time.baseline.map(|s| s.ns)).filter(|v| *v > 0.0);
            let text = match (before, sum(&|r| Some(r.time.difference_ns))) {
                (Some(before), Some(d)) => format::percent_change(d / before),
                _ => UNKNOWN.to_owned(),
            };
            cell.figure(&text, theme.text);
        }
        VERDICT => {
            let count = |v: Verdict| rows().filter(|r| r.time.verdict == v).count();
            let text = format!("{} slower, {} faster", count(Verdict::Slower), count(Verdict::Faster));
            text_in(&cell.painter, cell.rect, Align2::LEFT_CENTER, &text, theme::caption(), theme.text_weak);
        }
        MEMORY => {
            let d = sum(&|r| r.memory.difference().map(|d| d as f64));
            cell.figure(&d.map_or(UNKNOWN.to_owned(), signed_bytes), theme.text);
        }
        _ => {}
    }
}
