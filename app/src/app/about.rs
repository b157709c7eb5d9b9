//! What this program is, for a report of a bug.

use egui::{Align2, Color32, Context, Modal, RichText};

use super::{App, Sheet};
use crate::theme::{self, PAD, Theme};

impl App {
    pub(super) fn about_ui(&mut self, ctx: &Context, theme: &Theme) {
        if !matches!(self.sheet, Some(Sheet::About)) {
            return;
        }
        let adapter = if self.adapter.is_empty() { "unknown" } else { &self.adapter };
        let kept = self.store.path().map_or("nowhere".to_owned(), |p| p.display().to_string());
        let facts = [
            ("Version", env!("CARGO_PKG_VERSION").to_owned()),
            ("System", format!("{} {}", std::env::consts::OS, std::env::consts::ARCH)),
            ("Window drawn by", adapter.to_owned()),
            ("Settings kept in", kept),
            ("Licence", "MIT or Apache-2.0".to_owned()),
        ];
        let id = egui::Id::unique("about");
        let area = Modal::default_area(id).anchor(Align2::CENTER_CENTER, egui::Vec2::ZERO);
        let modal = Modal::new(id).area(area).backdrop_color(Color32::from_black_alpha(64)).show(ctx, |ui| {
            ui.set_width(440.0);
            ui.label(RichText::new("Stratoscope").font(theme::headline()).color(theme.text_strong));
            ui.add_space(PAD);
            egui::Grid::new("about").num_columns(2).spacing([16.0, 4.0]).show(ui, |ui| {
                for (what, is) in &facts {
                    ui.label(RichText::new(*what).color(theme.text_weak));
                    ui.add(egui::Label::new(is).wrap().selectable(true));
                    ui.end_row();
                }
            });
            ui.add_space(PAD);
            ui.horizontal(|ui| {
                if ui.button("Copy").on_hover_text("For a report").clicked() {
                    let lines: Vec<String> = facts.iter().map(|(what, is)| format!("{what}: {is}")).collect();
                    ui.ctx().copy_text(lines.join("\n"));
                }
                ui.button("Close").clicked()
            })
            .inner
        });
        if modal.inner || modal.should_close() {
            self.sheet = None;
        }
    }
}
