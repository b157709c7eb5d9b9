//! What the table of layers says under the pointer.

use egui::{RichText, Ui};
use profiler::LayerId;

use super::column::{Column, Known, Scales, why_unknown};
use super::rows::Group;
use crate::draw::{facts, histogram};
use crate::format;
use crate::theme::{self, GRID, Theme};

/// About a layer's cell.
pub fn layer(ui: &mut Ui, theme: &Theme, known: &Known<'_>, id: LayerId, column: Column) {
    match column {
        Column::Trust => trust(ui, theme, known, id),
        Column::Spread if known.value(id, column).is_some() => spread(ui, theme, known, id),
        Column::Error if known.value(id, column).is_some() => errors(ui, theme, known, id),
        c if !c.is_text() && known.value(id, c).is_none() => {
            ui.label(why_unknown(known, id, c));
        }
        _ => facts::tip(ui, theme, known.profile, id, None),
    }
}

/// About a group.
pub fn group(ui: &mut Ui, theme: &Theme, scales: &Scales, group: &Group) {
    ui.set_max_width(320.0);
    ui.label(RichText::new(&group.name).font(theme::head()).color(theme.text_strong));
    ui.label(RichText::new(format::plural(group.totals.layers, "layer")).color(theme.text_weak));
    egui::Grid::new("group").num_columns(2).spacing([16.0, 2.0]).show(ui, |ui| {
        for column in [Column::Median, Column::Share, Column::Flops, Column::Rate, Column::Bytes, Column::Memory] {
            let Some(value) = group.totals.value(column) else { continue };
            let unit = scales.unit(column);
            let text = format!("{} {unit}", scales.cell(column, Some(value)).trim_end());
            ui.label(RichText::new(column.title()).color(theme.text_weak));
            ui.label(RichText::new(text.trim_end()).font(theme::figure()).color(theme.text));
            ui.end_row();
        }
    });
    ui.label(RichText::new("Click to open or close").font(theme::caption()).color(theme.text_weak));
}

fn spread(ui: &mut Ui, theme: &Theme, known: &Known<'_>, id: LayerId) {
    let Some(stats) = known.profile.stats_of(id) else { return };
    ui.set_width(280.0);
    ui.label(RichText::new(&known.layer(id).name).font(theme::head()).color(theme.text_strong));
    histogram::show(ui, theme, &known.profile.times_of(id), stats.time.median, 96.0);
    let words = format!(
        "{}; half of them within {} of the median ({})",
        format::plural(stats.runs, "measured run"),
        format::duration(stats.time.mad),
        format::percent(stats.time.spread())
    );
    ui.add_space(GRID);
    ui.label(RichText::new(words).font(theme::caption()).color(theme.text_weak));
}

fn errors(ui: &mut Ui, theme: &Theme, known: &Known<'_>, id: LayerId) {
    ui.label(RichText::new(&known.layer(id).name).font(theme::head()).color(theme.text_strong));
    for (scheme, _) in &known.profile.figures.errors {
        if let Some(db) = known.profile.figures.error(id.index(), Some(scheme)) {
            crate::draw::key(ui, theme, theme.sqnr(db), &format!("{scheme}  {}", format::decibel(db)));
        }
    }
    let words =
        "Only this layer in that precision, its inputs exact; where that was not measured, all layers up to it.";
    ui.label(RichText::new(words).font(theme::caption()).color(theme.text_weak));
}

fn trust(ui: &mut Ui, theme: &Theme, known: &Known<'_>, id: LayerId) {
    let badges = known.badges(id);
    if badges.is_empty() {
        ui.label("Nothing lowers trust in this layer's figures.");
    }
    for badge in badges {
        ui.label(RichText::new(&badge.title).color(theme.severity(badge.severity)));
        ui.label(RichText::new(&badge.detail).color(theme.text_weak));
    }
}
