//! What activations would take if they were planned otherwise.

use egui::{Align2, Rect, RichText, Ui, vec2};
use studies::{Case, WhatIf};

use crate::draw::table::{Column, Row, Table};
use crate::draw::{bar, empty, text_in};
use crate::format::{self, Scale};
use crate::theme::{self, PAD, Theme};
use crate::view::{Action, ViewCx};

/// The table, or what would fill it.
pub fn ui(ui: &mut Ui, cx: &mut ViewCx<'_>) {
    let theme = cx.theme;
    let Some(model) = cx.model else {
        let text = "The planner needs the model: open it, and it plans the memory of its activations in other ways.";
        if empty(ui, theme, "No model is open", text, Some("Open…")) {
            cx.actions.push(Action::OpenDialog);
        }
        return;
    };
    let known = cx.facts.what_if.as_deref().filter(|w| w.model == model.model);
    let Some(w) = known else {
        let text = "Plans the activations without in-place steps, in another order, in f16, and with fusion the other way \
                    round. Nothing is run; every figure is the planner's.";
        if empty(ui, theme, "Not computed yet", text, Some("Compute")) {
            cx.actions.push(Action::WhatIf);
        }
        return;
    };
    let same = w.dims == model.dims && w.precision == cx.settings.precision && w.fusion == cx.settings.fusion;
    ui.horizontal(|ui| {
        ui.set_height(28.0);
        ui.add_space(PAD);
        if ui.button("Compute again").clicked() {
            cx.actions.push(Action::WhatIf);
        }
        let mut words = String::new();
        if !same {
            words += "For other settings than those in force. ";
        }
        let floor = format::bytes(w.floor_bytes as f64);
        words += &format!("No order of the steps can have a lower peak than {floor}.");
        let color = if same { theme.text_weak } else { theme.warn };
        let label = egui::Label::new(RichText::new(words).color(color)).truncate();
        ui.add(label).on_hover_text(format!("The inputs and outputs of {} are there while it runs.", w.floor_step));
    });
    table(ui, theme, w);
}

fn table(ui: &mut Ui, theme: &Theme, w: &WhatIf) {
    let cases: Vec<&Case> = std::iter::once(&w.baseline).chain(&w.cases).collect();
    let most = cases.iter().map(|c| c.arena_bytes.max(c.peak_bytes)).max().unwrap_or(0) as f64;
    let scale = Scale::bytes(most);
    let columns = [
        Column::text("Activations", 140.0, 0.0),
        Column::figure("Peak", 80.0).unit(scale.unit).tip("The largest sum of activations alive at once"),
        Column::text("", 120.0, 1.0).tip("The peak; the mark is the peak as planned now"),
        Column::figure("Saved", 88.0).tip("Of the peak as planned now; what costs is negative"),
        Column::figure("Part", 72.0).tip("Of the peak as planned now"),
        Column::figure("Arena", 80.0)
            .unit(scale.unit)
            .tip("What the plan would reserve: the peak and the gaps between tensors"),
        Column::text("What it means", 280.0, 3.0),
    ];
    let table = Table { id: "What if", columns: &columns, rows: cases.len(), scroll_to: None, totals: false };
    let row =
        |i: usize| Row { selected: false, lit: false, label: format!("{}, {}", cases[i].name, saved(w, cases[i])) };
    let outcome = table.show(ui, theme, None, row, |cell, i, column| {
        let case = cases[i];
        let bytes = w.saved_bytes(case);
        let color = match bytes {
            b if b > 0 => theme.good,
            b if b < 0 => theme.text_weak,
            _ => theme.text,
        };
        match column {
            0 => cell.text(&case.name, theme.text_strong),
            1 => cell.figure(&scale.cell(case.peak_bytes as f64), theme.text),
            2 => {
                let rect = Rect::from_center_size(cell.rect.center(), vec2(cell.rect.width(), 8.0));
                let part = |b: u64| if most > 0.0 { (b as f64 / most) as f32 } else { 0.0 };
                bar(
                    &cell.painter,
                    theme,
                    rect,
                    part(case.peak_bytes),
                    if bytes > 0 { theme.good } else { theme.accent },
                );
                let x = rect.left() + rect.width() * part(w.baseline.peak_bytes);
                cell.painter.vline(
                    x.round() + 0.5,
                    rect.expand(3.0).y_range(),
                    egui::Stroke::new(1.0, theme.text_strong),
                );
            }
            3 if i == 0 => {}
            3 => {
                let words = saved(w, case);
                text_in(&cell.painter, cell.rect, Align2::RIGHT_CENTER, &words, theme::figure(), color);
            }
            4 if i == 0 || bytes == 0 => {}
            4 => cell.figure(&format::percent(w.saved_share(case)), color),
            5 => cell.figure(&scale.cell(case.arena_bytes as f64), theme.text_weak),
            _ => cell.text(&case.explanation, theme.text_weak),
        }
    });
    if let Some((i, _, response)) = outcome.hovered {
        response.on_hover_ui_at_pointer(|ui| {
            ui.set_max_width(360.0);
            ui.label(RichText::new(&cases[i].name).font(theme::head()).color(theme.text_strong));
            ui.add(egui::Label::new(&cases[i].explanation).wrap());
        });
    }
}

/// `no saving`, `0.39 MB`, `−0.21 MB`.
fn saved(w: &WhatIf, case: &Case) -> String {
    match w.saved_bytes(case) {
        0 => "no saving".to_owned(),
        b => format::bytes(b as f64),
    }
}
