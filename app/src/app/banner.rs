//! What went wrong, in place, until it is dismissed: what, why, and what to do about it.

use egui::{Align, Frame, Layout, Margin, Panel, RichText, Ui};

use super::{App, Wish};
use crate::theme::{PAD, Theme};
use crate::view::Action;

/// A job that ended without a result.
pub struct Failure {
    /// The job, in words.
    pub what: String,
    /// The reason.
    pub why: String,
    /// All of the reason is shown.
    pub details: bool,
}

impl Failure {
    /// Of this job, for this reason.
    pub fn new(what: impl Into<String>, why: impl Into<String>) -> Self {
        Failure { what: what.into(), why: why.into(), details: false }
    }

    /// What helps, as far as the reason tells.
    fn advice(&self) -> &'static str {
        let why = self.why.to_lowercase();
        let says = |words: &[&str]| words.iter().any(|w| why.contains(w));
        if says(&["internal error"]) {
            "This is a bug in Stratoscope: please report it with the copied message."
        } else if says(&["no such file", "not found", "cannot find"]) {
            "It may have been moved or renamed: open it from its new place."
        } else if says(&["permission denied", "access is denied", "read-only"]) {
            "Check who may read and write there, or choose another folder."
        } else if says(&["no space", "disk full"]) {
            "Make room on the disk, or choose another one."
        } else if says(&["memory", "too large"]) {
            "Set smaller dimensions in the Model panel, or close other programs."
        } else if says(&["unsupported", "not supported", "not implemented", "no kernel"]) {
            "The Model panel lists what can't run; its layers and sizes can be read all the same."
        } else if says(&["dimension", "shape"]) {
            "Set the dimensions in the Model panel under Inputs."
        } else if self.what.starts_with("Open") {
            "Models are ONNX files; traces are .scope, .puffin and the profiles of other tools. The file may be damaged."
        } else {
            "The log tells what happened before."
        }
    }
}

impl App {
    pub(super) fn banner_ui(&mut self, ui: &mut Ui, theme: &Theme) {
        let Some(failure) = &mut self.failure else { return };
        let mut dismissed = false;
        let frame = Frame::new().fill(theme.surface[2]).inner_margin(Margin::symmetric(PAD as i8 + 4, PAD as i8));
        Panel::top("failure").resizable(false).frame(frame).show(ui, |ui| {
            ui.horizontal(|ui| {
                ui.with_layout(Layout::right_to_left(Align::Min), |ui| {
                    dismissed = ui.button("Dismiss").on_hover_text("Esc").clicked();
                    if ui.button("Copy").on_hover_text("Copy the whole message").clicked() {
                        ui.ctx().copy_text(format!("{}: {}", failure.what, failure.why));
                    }
                    if ui.button("Log").on_hover_text("Show what happened before").clicked() {
                        self.wishes.push(Wish::Do(Action::Show("log")));
                    }
                    let long = failure.why.chars().count() > 160 || failure.why.contains('\n');
                    if long {
                        let word = if failure.details { "Less" } else { "Details" };
                        if ui.button(word).on_hover_text("All of the message").clicked() {
                            failure.details = !failure.details;
                        }
                    }
                    ui.with_layout(Layout::top_down(Align::Min), |ui| {
                        ui.label(RichText::new(format!("{}: failed", failure.what)).strong().color(theme.bad));
                        let why = RichText::new(&failure.why).color(theme.text);
                        if long && !failure.details {
                            let first = failure.why.lines().next().unwrap_or_default();
                            ui.add(egui::Label::new(RichText::new(first).color(theme.text)).truncate());
                        } else {
                            egui::ScrollArea::vertical().max_height(160.0).show(ui, |ui| {
                                ui.add(egui::Label::new(why).wrap().selectable(true));
                            });
                        }
                        ui.add(egui::Label::new(RichText::new(failure.advice()).color(theme.text_weak)).wrap());
                    });
                });
            });
        });
        if dismissed {
            self.failure = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_always_something_to_do() {
        for (why, word) in [
            ("/x/a.onnx: No such file or directory", "moved"),
            ("internal error: index out of bounds", "bug"),
            ("the plan needs 40 GB of memory", "smaller"),
            ("node 'x': unsupported operator Foo", "Model panel"),
            ("garbage", "damaged"),
        ] {
            assert!(Failure::new("Open a.onnx", why).advice().contains(word), "{why}");
        }
        assert!(Failure::new("Save a.scope", "no idea").advice().contains("log"));
    }
}
