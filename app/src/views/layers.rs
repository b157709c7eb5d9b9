//! Every layer as a row: what it is, how long it took, how fast it worked, and whether that can be trusted.

use egui::{Align2, RichText, Ui, pos2, vec2};
use profiler::{LayerId, Severity};

use crate::draw::flame_paint::matching_layers;
use crate::draw::table::{Cell, Column, Row, Sort, Table};
use crate::draw::{bar, empty, facts, panel_head, search_box, swatch, text_in};
use crate::format::{self, Scale, UNKNOWN};
use crate::theme::{self, Theme};
use crate::view::{Action, Profile, View, ViewCx};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Field {
    Name,
    Op,
    Median,
    Spread,
    P90,
    P99,
    Share,
    Flops,
    FlopsRate,
    Bytes,
    BytesRate,
    Device,
    Trust,
}

impl Field {
    fn is_figure(self) -> bool {
        !matches!(self, Field::Name | Field::Op | Field::Device | Field::Trust)
    }
}

const FIELDS: [Field; 13] = [
    Field::Name,
    Field::Op,
    Field::Median,
    Field::Spread,
    Field::P90,
    Field::P99,
    Field::Share,
    Field::Flops,
    Field::FlopsRate,
    Field::Bytes,
    Field::BytesRate,
    Field::Device,
    Field::Trust,
];

/// The table of layers.
pub struct LayersView {
    filter: String,
    sort: Sort,
    order: Vec<LayerId>,
    /// What `order` was made from.
    made: Option<(usize, String, Sort)>,
    selected: Option<LayerId>,
}

impl Default for LayersView {
    fn default() -> Self {
        let sort = Sort { column: 2, descending: true };
        LayersView { filter: String::new(), sort, order: Vec::new(), made: None, selected: None }
    }
}

impl View for LayersView {
    fn id(&self) -> &'static str {
        "layers"
    }

    fn title(&self) -> &'static str {
        "Layers"
    }

    fn ui(&mut self, ui: &mut Ui, cx: &mut ViewCx<'_>) {
        let theme = cx.theme;
        let Some(profile) = cx.profile.filter(|p| !p.trace.layers.is_empty()) else {
            let (title, text, action) = match (cx.profile, cx.model) {
                (Some(_), _) => ("No layers", "This trace names no layers.", None),
                (None, Some(_)) => {
                    ("Not run yet", "A run fills this: every layer with its times and rates.", Some("Run"))
                }
                (None, None) => ("Nothing open", "Open a model and run it, or open a saved trace.", Some("Open…")),
            };
            if empty(ui, theme, title, text, action) {
                cx.actions.push(if cx.model.is_some() { Action::Run } else { Action::OpenDialog });
            }
            return;
        };
        self.arrange(profile);
        panel_head(ui, theme, |ui| {
            search_box(
                ui,
                &mut self.filter,
                "Filter by name, operator or class",
                240.0_f32.min(ui.available_width() - 8.0),
            );
            let words = if self.order.len() == profile.trace.layers.len() {
                format::plural(self.order.len(), "layer")
            } else {
                format!("{} of {}", self.order.len(), format::plural(profile.trace.layers.len(), "layer"))
            };
            ui.label(RichText::new(words).font(theme::caption()).color(theme.text_weak));
        });
        self.arrange(profile);
        let scales = Scales::new(profile);
        let columns = columns(&scales);
        let position = |layer| self.order.iter().position(|&l| Some(l) == layer);
        let scroll_to = (self.selected != cx.selection.layer).then(|| position(cx.selection.layer)).flatten();
        self.selected = cx.selection.layer;
        let order = &self.order;
        let table = Table { id: "Layers", columns: &columns, rows: order.len(), scroll_to, totals: true };
        let selection = &*cx.selection;
        let row = |i: usize| Row {
            selected: selection.is_selected(order[i]),
            lit: selection.is_hovered(order[i]),
            label: row_label(profile, order[i]),
        };
        let outcome = table.show(ui, theme, Some(&mut self.sort), row, |cell, i, column| match order.get(i) {
            Some(&layer) => layer_cell(cell, profile, &scales, layer, FIELDS[column]),
            None => totals_cell(cell, profile, &scales, order, FIELDS[column]),
        });
        if let Some(&layer) = outcome.chosen.and_then(|i| order.get(i)) {
            cx.selection.select(Some(layer));
            if !outcome.double {
                self.selected = Some(layer);
            }
        }
        if let Some((i, column, response)) = outcome.hovered {
            let layer = order[i];
            cx.selection.hovered = Some(layer);
            response.on_hover_ui_at_pointer(|ui| match FIELDS[column] {
                Field::Trust => trust_tip(ui, theme, profile, layer),
                field if field.is_figure() && value(profile, layer, field).is_none() => {
                    ui.label(if profile.stats_of(layer).is_none() { facts::NOT_RUN } else { facts::NO_COST });
                }
                _ => facts::tip(ui, theme, profile, layer, None),
            });
        }
    }
}

impl LayersView {
    /// Filters and sorts, if anything changed.
    fn arrange(&mut self, profile: &Profile) {
        let key = (std::sync::Arc::as_ptr(&profile.trace).addr(), self.filter.clone(), self.sort);
        if self.made.as_ref() == Some(&key) {
            return;
        }
        let matches = matching_layers(&self.filter, &profile.trace.layers);
        let all = self.filter.trim().is_empty();
        self.order =
            (0..profile.trace.layers.len()).filter(|&i| all || matches[i]).map(|i| LayerId(i as u32)).collect();
        let field = FIELDS[self.sort.column];
        match field {
            Field::Name | Field::Op | Field::Device => self.order.sort_by_key(|&l| {
                let layer = &profile.trace.layers[l.index()];
                match field {
                    Field::Name => profile.labels[l.index()].clone(),
                    Field::Op => layer.op.clone(),
                    _ => layer.device.clone(),
                }
            }),
            _ => {
                let value = |l: &LayerId| value(profile, *l, field).unwrap_or(f64::NEG_INFINITY);
                self.order.sort_by(|a, b| value(a).total_cmp(&value(b)));
            }
        }
        if self.sort.descending {
            self.order.reverse();
        }
        self.made = Some(key);
    }
}

/// One unit for each column.
struct Scales {
    time: Scale,
    flops: Scale,
    flops_rate: Scale,
    bytes: Scale,
    bytes_rate: Scale,
    longest: f64,
}

impl Scales {
    fn new(profile: &Profile) -> Self {
        let layers = || (0..profile.trace.layers.len()).map(|i| LayerId(i as u32));
        let most = |field| layers().filter_map(|l| value(profile, l, field)).fold(0.0, f64::max);
        Scales {
            time: Scale::time(most(Field::Median)),
            flops: Scale::count(most(Field::Flops)),
            flops_rate: Scale::count(most(Field::FlopsRate)),
            bytes: Scale::bytes(most(Field::Bytes)),
            bytes_rate: Scale::bytes_rate(most(Field::BytesRate)),
            longest: most(Field::Share),
        }
    }
}

fn columns(s: &Scales) -> Vec<Column> {
    let prefixed = |unit: &'static str, of: &'static [(&'static str, &'static str)]| {
        of.iter().find(|u| u.0 == unit).map_or("", |u| u.1)
    };
    let flop = prefixed(s.flops.unit, &[("", "FLOP"), ("k", "kFLOP"), ("M", "MFLOP"), ("G", "GFLOP"), ("T", "TFLOP")]);
    let rate = prefixed(
        s.flops_rate.unit,
        &[("", "FLOP/s"), ("k", "kFLOP/s"), ("M", "MFLOP/s"), ("G", "GFLOP/s"), ("T", "TFLOP/s")],
    );
    let bandwidth =
        prefixed(s.bytes_rate.unit, &[("B", "B/s"), ("kB", "kB/s"), ("MB", "MB/s"), ("GB", "GB/s"), ("TB", "TB/s")]);
    vec![
        Column::text("Layer", 184.0, 3.0),
        Column::text("Operator", 112.0, 1.0),
        Column::figure("Median", 88.0).unit(s.time.unit).tip("Over the measured runs"),
        Column::figure("MAD", 68.0).unit(s.time.unit).tip("Median absolute deviation from the median"),
        Column::figure("p90", 64.0).unit(s.time.unit).tip("9 of 10 runs were at most this slow"),
        Column::figure("p99", 64.0).unit(s.time.unit).tip("99 of 100 runs were at most this slow"),
        Column::figure("Share", 104.0).tip("Of the time of all layers; the bar is relative to the longest"),
        Column::figure("Work", 92.0).unit(flop).tip("Operations; a multiply-add counts as two"),
        Column::figure("Rate", 96.0).unit(rate).tip("Operations over the median time"),
        Column::figure("Bytes", 76.0).unit(s.bytes.unit).tip("Read and written"),
        Column::figure("Bandwidth", 104.0).unit(bandwidth).tip("Bytes read and written over the median time"),
        Column::text("On", 44.0, 0.0).tip("The device that ran it"),
        Column::text("Trust", 92.0, 1.0).tip("Findings that lower trust in this layer's figures"),
    ]
}

/// A column's figure for sorting and totals, if it is known.
fn value(profile: &Profile, layer: LayerId, field: Field) -> Option<f64> {
    let l = profile.layer(layer)?;
    let stats = profile.stats_of(layer);
    let seconds = stats.map(|s| s.time.median * 1e-9).filter(|s| *s > 0.0);
    match field {
        Field::Name | Field::Op | Field::Device => None,
        Field::Median => stats.map(|s| s.time.median),
        Field::Spread => stats.map(|s| s.time.mad),
        Field::P90 => stats.map(|s| s.time.p90),
        Field::P99 => stats.map(|s| s.time.p99),
        Field::Share => stats.map(|s| s.share),
        Field::Flops => l.flops.map(|f| f as f64),
        Field::FlopsRate => Some(l.flops? as f64 / seconds?),
        Field::Bytes => facts::layer_bytes(l).map(|b| b as f64),
        Field::BytesRate => Some(facts::layer_bytes(l)? as f64 / seconds?),
        Field::Trust => Some(profile.layer_badges[layer.index()].iter().map(|b| b.severity as u8 as f64 + 1.0).sum()),
    }
}

fn row_label(profile: &Profile, layer: LayerId) -> String {
    let name = profile.layer(layer).map_or("", |l| &l.name);
    match profile.stats_of(layer) {
        Some(s) => format!("{name}, {}, {}", format::duration(s.time.median), format::percent(s.share)),
        None => format!("{name}, not measured"),
    }
}

fn layer_cell(cell: &Cell<'_>, profile: &Profile, scales: &Scales, layer: LayerId, field: Field) {
    let Some(l) = profile.layer(layer) else { return };
    let theme = cell.theme;
    match field {
        Field::Name => path_text(cell, &profile.labels[layer.index()]),
        Field::Op => {
            swatch(&cell.painter, pos2(cell.rect.left() + 4.0, cell.rect.center().y), theme.class(l.class));
            let rest = cell.rect.with_min_x(cell.rect.left() + 14.0);
            text_in(&cell.painter, rest, Align2::LEFT_CENTER, &l.op, theme::sans(), theme.text);
        }
        Field::Device => cell.text(&l.device, theme.text_weak),
        Field::Trust => match profile.layer_badges[layer.index()].as_slice() {
            [] => cell.text("", theme.text_weak),
            badges => {
                let worst = badges.iter().map(|b| b.severity).max().unwrap_or(Severity::Ok);
                let dot = pos2(cell.rect.left() + 3.0, cell.rect.center().y);
                cell.painter.circle_filled(dot, 3.0, theme.severity(worst));
                let rest = cell.rect.with_min_x(cell.rect.left() + 12.0);
                let words: Vec<&str> = badges.iter().map(|b| b.title.as_str()).collect();
                text_in(&cell.painter, rest, Align2::LEFT_CENTER, &words.join(", "), theme::caption(), theme.text);
            }
        },
        Field::Share => {
            let share = value(profile, layer, field);
            let text = cell.rect.with_min_x(cell.rect.right() - 48.0);
            let figure = share.map_or(UNKNOWN.to_owned(), format::percent);
            text_in(&cell.painter, text, Align2::RIGHT_CENTER, &figure, theme::figure(), theme.text);
            if let Some(share) = share {
                let rect = cell.rect.with_max_x(text.left() - 6.0);
                let rect = egui::Rect::from_center_size(rect.center(), vec2(rect.width(), 6.0));
                let part = if scales.longest > 0.0 { share / scales.longest } else { 0.0 };
                bar(&cell.painter, theme, rect, part as f32, theme.class(l.class));
            }
        }
        _ => {
            let text =
                value(profile, layer, field).map_or(format!("{UNKNOWN}    "), |v| scale_of(scales, field).cell(v));
            let strong = field == Field::Median;
            let color = match field {
                Field::Spread => theme.text_weak,
                _ if strong => theme.text_strong,
                _ => theme.text,
            };
            cell.figure(&text, color);
            if let Some(worst) = profile.layer_badges[layer.index()].iter().map(|b| b.severity).max().filter(|_| strong)
            {
                cell.painter.circle_filled(pos2(cell.rect.left(), cell.rect.center().y), 2.5, theme.severity(worst));
            }
        }
    }
}

fn scale_of(scales: &Scales, field: Field) -> &Scale {
    match field {
        Field::Flops => &scales.flops,
        Field::FlopsRate => &scales.flops_rate,
        Field::Bytes => &scales.bytes,
        Field::BytesRate => &scales.bytes_rate,
        _ => &scales.time,
    }
}

/// A path with its last part strong: the outer scopes give way first where space is short.
fn path_text(cell: &Cell<'_>, name: &str) {
    let theme = cell.theme;
    let split = name.rfind('/').map_or(0, |i| i + 1);
    let (scope, leaf) = name.split_at(split);
    let leaf_galley = crate::draw::galley(&cell.painter, leaf, theme::sans(), theme.text_strong, cell.rect.width());
    let room = cell.rect.width() - leaf_galley.size().x;
    let mut x = cell.rect.left();
    if room > 24.0 && !scope.is_empty() {
        let rect = cell.rect.with_max_x(cell.rect.left() + room);
        for (part, width) in [(scope.trim_end_matches('/'), rect.width() - 6.0), ("/", 12.0)] {
            let text = crate::draw::galley(&cell.painter, part, theme::sans(), theme.text_weak, width);
            let used = text.size().x;
            cell.painter.galley(pos2(x, cell.rect.center().y - text.size().y / 2.0), text, theme.text_weak);
            x += used;
        }
    }
    cell.painter.galley(pos2(x, cell.rect.center().y - leaf_galley.size().y / 2.0), leaf_galley, theme.text_strong);
}

fn totals_cell(cell: &Cell<'_>, profile: &Profile, scales: &Scales, order: &[LayerId], field: Field) {
    let theme = cell.theme;
    // Unknown where no row knows it.
    let sum =
        |f: Field| order.iter().filter_map(|&l| value(profile, l, f)).fold(None, |a, v| Some(a.unwrap_or(0.0) + v));
    let known = |v: Option<f64>, write: &dyn Fn(f64) -> String| v.map_or(format!("{UNKNOWN}    "), write);
    match field {
        Field::Name => cell.text("Sum of the rows", theme.text_weak),
        Field::Median => {
            // The sum may be far larger than any row: it keeps the column's unit all the same.
            cell.figure(&known(sum(field), &|v| scales.time.cell(v)), theme.text_strong);
        }
        Field::Share => cell.figure(&sum(field).map_or(UNKNOWN.to_owned(), format::percent), theme.text),
        Field::Flops | Field::Bytes => {
            cell.figure(&known(sum(field), &|v| scale_of(scales, field).cell(v)), theme.text)
        }
        Field::FlopsRate | Field::BytesRate => {
            let part = if field == Field::FlopsRate { Field::Flops } else { Field::Bytes };
            // Over the rows that state their work alone.
            let stated = order.iter().filter(|&&l| value(profile, l, part).is_some());
            let ns: f64 = stated.filter_map(|&l| value(profile, l, Field::Median)).sum();
            let seconds = (ns > 0.0).then_some(ns * 1e-9);
            let rate = sum(part).zip(seconds).map(|(work, seconds)| work / seconds);
            cell.figure(&known(rate, &|v| scale_of(scales, field).cell(v)), theme.text);
        }
        _ => {}
    }
}

fn trust_tip(ui: &mut Ui, theme: &Theme, profile: &Profile, layer: LayerId) {
    let badges = &profile.layer_badges[layer.index()];
    if badges.is_empty() {
        ui.label("Nothing lowers trust in this layer's figures.");
    }
    for badge in badges {
        ui.label(RichText::new(&badge.title).color(theme.severity(badge.severity)));
        ui.label(RichText::new(&badge.detail).color(theme.text_weak));
    }
}
