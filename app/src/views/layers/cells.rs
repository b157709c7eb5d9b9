//! How cells of the table of layers are painted.

use egui::{Align2, Rect, pos2, vec2};
use profiler::{LayerId, Severity};

use super::column::{Column, Known, Scales};
use super::rows::{Group, Totals};
use crate::draw::layer_figures::{BINS, Spread};
use crate::draw::table::{Cell, triangle};
use crate::draw::{bar, galley, swatch, text_in};
use crate::format::{self, UNKNOWN};
use crate::theme::{self, Theme};

/// How far each level of a tree is moved in.
pub const INDENT: f32 = 14.0;

/// A layer's cell.
pub fn layer(cell: &Cell<'_>, known: &Known<'_>, scales: &Scales, id: LayerId, column: Column, depth: Option<usize>) {
    let l = known.layer(id);
    let theme = cell.theme;
    match column {
        Column::Name => match depth {
            Some(depth) => {
                let node = &known.profile.scopes.nodes[known.profile.scopes.of_layer[id.index()]];
                let rest = cell.rect.with_min_x(cell.rect.left() + INDENT * (depth as f32 + 1.0));
                text_in(&cell.painter, rest, Align2::LEFT_CENTER, &node.name, theme::sans(), theme.text);
            }
            None => path_text(cell, &known.profile.labels[id.index()]),
        },
        Column::Op => {
            swatch(&cell.painter, pos2(cell.rect.left() + 4.0, cell.rect.center().y), theme.class(l.class));
            let rest = cell.rect.with_min_x(cell.rect.left() + 14.0);
            text_in(&cell.painter, rest, Align2::LEFT_CENTER, &l.op, theme::sans(), theme.text);
        }
        Column::Kind | Column::Device | Column::Kernel => cell.text(&known.text(id, column), theme.text_weak),
        Column::Trust => {
            if let Some(worst) = known.badges(id).iter().map(|b| b.severity).max() {
                let rest = finding(cell, theme, worst);
                let words = known.text(id, column);
                text_in(&cell.painter, rest, Align2::LEFT_CENTER, &words, theme::caption(), theme.text);
            }
        }
        Column::Spread => match known.profile.stats_of(id) {
            Some(s) if s.time.distribution().is_some() => {
                histogram(cell, &known.profile.figures.spread[id.index()], theme.class(l.class))
            }
            _ => cell.text(UNKNOWN, theme.text_weak),
        },
        Column::Share => share(cell, scales, known.value(id, column), theme.class(l.class)),
        Column::Error => {
            let value = known.value(id, column);
            if let Some(db) = value {
                let dot = pos2(cell.rect.left() + 3.0, cell.rect.center().y);
                cell.painter.circle_filled(dot, 3.0, theme.sqnr(db));
            }
            cell.figure(&scales.cell(column, value), theme.text);
        }
        _ => {
            let strong = column == Column::Median;
            let color = if strong { theme.text_strong } else { theme.text };
            cell.figure(&scales.cell(column, known.value(id, column)), color);
            if let Some(worst) = known.badges(id).iter().map(|b| b.severity).max().filter(|_| strong) {
                let dot = pos2(cell.rect.left(), cell.rect.center().y);
                cell.painter.circle_filled(dot, 2.5, theme.severity(worst));
            }
        }
    }
}

/// A group's cell.
pub fn group(cell: &Cell<'_>, scales: &Scales, group: &Group, column: Column, depth: usize) {
    let theme = cell.theme;
    match column {
        Column::Name => {
            let x = cell.rect.left() + INDENT * depth as f32;
            let center = pos2(x + 5.0, cell.rect.center().y);
            if group.open {
                triangle(&cell.painter, center, true, theme.text_weak);
            } else {
                closed(&cell.painter, center, theme.text_weak);
            }
            let count = format!("{}", group.totals.layers);
            let count = galley(&cell.painter, &count, theme::caption_figure(), theme.text_weak, 60.0);
            let room = cell.rect.with_min_x(x + INDENT).with_max_x(cell.rect.right() - count.size().x - 8.0);
            text_in(&cell.painter, room, Align2::LEFT_CENTER, &group.name, theme::sans(), theme.text_strong);
            let at = pos2(cell.rect.right() - count.size().x, cell.rect.center().y - count.size().y / 2.0);
            cell.painter.galley(at, count, theme.text_weak);
        }
        Column::Op => {
            let (color, words) = match group.totals.class {
                Some(class) => (theme.class(class), class.label()),
                None => (theme.text_weak, "mixed"),
            };
            swatch(&cell.painter, pos2(cell.rect.left() + 4.0, cell.rect.center().y), color);
            let rest = cell.rect.with_min_x(cell.rect.left() + 14.0);
            text_in(&cell.painter, rest, Align2::LEFT_CENTER, words, theme::caption(), theme.text_weak);
        }
        Column::Share => {
            let color = group.totals.class.map_or(theme.accent, |c| theme.class(c));
            share(cell, scales, group.totals.value(column), color);
        }
        _ => sums(cell, scales, &group.totals, column),
    }
}

/// The foot row's cell.
pub fn total(cell: &Cell<'_>, scales: &Scales, totals: &Totals, column: Column, of: usize) {
    let theme = cell.theme;
    match column {
        Column::Name if totals.layers == of => {
            cell.text(&format!("Sum of {}", format::plural(of, "layer")), theme.text_weak);
        }
        Column::Name => {
            let words = format!("Sum of {} of {}", format::grouped(totals.layers as u64), format::plural(of, "layer"));
            cell.text(&words, theme.text_weak);
        }
        Column::Share => cell.figure(&totals.value(column).map_or(UNKNOWN.into(), format::percent), theme.text),
        _ => sums(cell, scales, totals, column),
    }
}

fn sums(cell: &Cell<'_>, scales: &Scales, totals: &Totals, column: Column) {
    let theme = cell.theme;
    match column {
        // What does not add up is left blank, and the column's head says so.
        Column::Spread | Column::P90 | Column::P99 | Column::Kind | Column::Device | Column::Kernel | Column::Op => {}
        Column::Trust => {
            if totals.doubted > 0 {
                cell.text(&format!("{} doubted", format::grouped(totals.doubted as u64)), theme.text_weak);
            }
        }
        _ => {
            let color = if column == Column::Median { theme.text_strong } else { theme.text };
            cell.figure(&scales.cell(column, totals.value(column)), color);
        }
    }
}

fn finding(cell: &Cell<'_>, theme: &Theme, worst: Severity) -> Rect {
    let dot = pos2(cell.rect.left() + 3.0, cell.rect.center().y);
    cell.painter.circle_filled(dot, 3.0, theme.severity(worst));
    cell.rect.with_min_x(cell.rect.left() + 12.0)
}

fn share(cell: &Cell<'_>, scales: &Scales, share: Option<f64>, color: egui::Color32) {
    let theme = cell.theme;
    let text = cell.rect.with_min_x(cell.rect.right() - 48.0);
    let figure = share.map_or(UNKNOWN.to_owned(), format::percent);
    text_in(&cell.painter, text, Align2::RIGHT_CENTER, &figure, theme::figure(), theme.text);
    if let Some(share) = share {
        let rect = cell.rect.with_max_x(text.left() - 6.0);
        let rect = Rect::from_center_size(rect.center(), vec2(rect.width(), 6.0));
        let part = if scales.longest > 0.0 { share / scales.longest } else { 0.0 };
        bar(&cell.painter, theme, rect, part as f32, color);
    }
}

fn histogram(cell: &Cell<'_>, spread: &Spread, color: egui::Color32) {
    let theme = cell.theme;
    let rect = cell.rect.shrink2(vec2(0.0, 2.0));
    cell.painter.hline(rect.x_range(), rect.bottom() + 0.5, theme.line());
    let width = (rect.width() / BINS as f32).floor().max(1.0);
    for (i, &height) in spread.bars.iter().enumerate().filter(|b| *b.1 > 0) {
        let x = rect.left() + i as f32 * width;
        let top = rect.bottom() - (rect.height() * f32::from(height) / 255.0).max(1.0);
        let bar = Rect::from_min_max(pos2(x, top), pos2(x + width - 1.0, rect.bottom()));
        let strong = i == usize::from(spread.median);
        cell.painter.rect_filled(bar, 0.0, if strong { color } else { theme::mix(theme.surface[1], color, 0.5) });
    }
}

/// A triangle that points to the right: a branch that is closed.
fn closed(painter: &egui::Painter, center: egui::Pos2, color: egui::Color32) {
    let points = vec![center + vec2(-2.0, -3.5), center + vec2(2.5, 0.0), center + vec2(-2.0, 3.5)];
    painter.add(egui::Shape::convex_polygon(points, color, egui::Stroke::NONE));
}

/// A path with its last part strong: the outer scopes give way first where space is short.
fn path_text(cell: &Cell<'_>, name: &str) {
    let theme = cell.theme;
    let split = name.rfind('/').map_or(0, |i| i + 1);
    let (scope, leaf) = name.split_at(split);
    let leaf_galley = galley(&cell.painter, leaf, theme::sans(), theme.text_strong, cell.rect.width());
    let room = cell.rect.width() - leaf_galley.size().x;
    let mut x = cell.rect.left();
    if room > 24.0 && !scope.is_empty() {
        let rect = cell.rect.with_max_x(cell.rect.left() + room);
        for (part, width) in [(scope.trim_end_matches('/'), rect.width() - 6.0), ("/", 12.0)] {
            let text = galley(&cell.painter, part, theme::sans(), theme.text_weak, width);
            let used = text.size().x;
            cell.painter.galley(pos2(x, cell.rect.center().y - text.size().y / 2.0), text, theme.text_weak);
            x += used;
        }
    }
    cell.painter.galley(pos2(x, cell.rect.center().y - leaf_galley.size().y / 2.0), leaf_galley, theme.text_strong);
}
