//! What went wrong, in place, until it is dismissed.

use egui::{Align, Frame, Layout, Margin, Panel, RichText, Ui};

use super::App;
use crate::theme::{PAD, Theme};

/// A job that ended without a result.
pub struct Failure {
    /// The job, in words.
    pub what: String,
    /// The reason.
    pub why: String,
}

impl App {
    pub(super) fn banner_ui(&mut self, ui: &mut Ui, theme: &Theme) {
        let Some(failure) = &self.failure else { return };
        let mut dismissed = false;
        let frame = Frame::new().fill(theme.surface[2]).inner_margin(Margin::symmetric(PAD as i8 + 4, PAD as i8));
        Panel::top("failure").resizable(false).frame(frame).show(ui, |ui| {
            ui.horizontal(|ui| {
                ui.with_layout(Layout::right_to_left(Align::Min), |ui| {
                    dismissed = ui.button("Dismiss").clicked();
                    if ui.button("Copy").on_hover_text("Copy the whole message").clicked() {
                        ui.ctx().copy_text(format!("{}: {}", failure.what, failure.why));
                    }
                    ui.with_layout(Layout::top_down(Align::Min), |ui| {
                        ui.label(RichText::new(format!("{}: failed", failure.what)).strong().color(theme.bad));
                        egui::ScrollArea::vertical().max_height(120.0).show(ui, |ui| {
                            ui.add(
                                egui::Label::new(RichText::new(&failure.why).color(theme.text)).wrap().selectable(true),
                            );
                        });
                    });
                });
            });
        });
        if dismissed {
            self.failure = None;
        }
    }
}
