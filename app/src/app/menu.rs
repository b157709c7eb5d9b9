//! The menus.

use egui::{Button, KeyboardShortcut, Ui};

use super::{App, ThemeChoice, Wish, keys};
use crate::live::DEFAULT_ADDRESS;
use crate::view::Action;
use crate::worker::file_name;

impl App {
    pub(super) fn menus_ui(&mut self, ui: &mut Ui) {
        ui.menu_button("File", |ui| self.file_menu_ui(ui));
        ui.menu_button("View", |ui| self.view_menu_ui(ui));
        ui.menu_button("Help", |ui| {
            ui.set_min_width(180.0);
            if ui.add(Button::new("Shortcuts").shortcut_text("?")).clicked() {
                self.wishes.push(Wish::Help);
            }
            ui.separator();
            ui.add_enabled(false, Button::new(concat!("Stratoscope ", env!("CARGO_PKG_VERSION"))));
        });
    }

    fn file_menu_ui(&mut self, ui: &mut Ui) {
        ui.set_min_width(220.0);
        self.item(ui, true, "Open...", Some(keys::OPEN), Wish::Do(Action::OpenDialog));
        ui.add_enabled_ui(!self.state.recent.is_empty(), |ui| ui.menu_button("Open recent", |ui| self.recent_ui(ui)));
        ui.menu_button("Samples", |ui| self.samples_ui(ui));
        ui.separator();
        let traced = self.runs.current().is_some();
        self.item(ui, traced, "Save trace...", Some(keys::SAVE), Wish::SaveDialog);
        ui.add_enabled_ui(traced, |ui| {
            ui.menu_button("Export", |ui| {
                ui.set_min_width(200.0);
                for format in profiler::export::FORMATS.iter().filter(|f| f.extension != "scope") {
                    let button = ui.add(Button::new(format!("{}...", format.name))).on_hover_text(format.description);
                    if button.clicked() {
                        self.wishes.push(Wish::ExportDialog(format.extension));
                    }
                }
            });
        });
        let mut live = self.live.is_some();
        let tip = format!("Serve the trace on show to puffin_viewer on {DEFAULT_ADDRESS}, this machine only");
        if ui.checkbox(&mut live, "Serve to puffin_viewer").on_hover_text(tip).changed() {
            self.wishes.push(Wish::Live(live));
        }
        ui.separator();
        self.item(ui, true, "Quit", Some(keys::QUIT), Wish::Quit);
    }

    /// The recent files as menu items.
    pub(super) fn recent_ui(&mut self, ui: &mut Ui) {
        ui.set_min_width(220.0);
        for path in self.state.recent.clone() {
            let button = ui.add(Button::new(file_name(&path))).on_hover_text(path.display().to_string());
            if button.clicked() {
                self.wishes.push(Wish::open(path));
            }
        }
    }

    /// The samples as menu items.
    pub(super) fn samples_ui(&mut self, ui: &mut Ui) {
        ui.set_min_width(220.0);
        for sample in studies::samples::all() {
            if ui.add(Button::new(sample.title)).on_hover_text(sample.about).clicked() {
                self.wishes.push(Wish::open(format!("sample:{}", sample.id)));
            }
        }
    }

    fn view_menu_ui(&mut self, ui: &mut Ui) {
        ui.set_min_width(200.0);
        for (n, view) in self.views.iter().enumerate() {
            let (id, shown) = (view.id(), self.layout.is_shown(view.id()));
            let keys = keys::panel(n).map(|s| ui.ctx().format_shortcut(&s)).unwrap_or_default();
            let tick = if shown { "✓" } else { " " };
            let button = Button::new((tick, view.title())).shortcut_text(keys);
            if ui.add(button).clicked() {
                self.wishes.push(Wish::Toggle(id));
            }
        }
        ui.separator();
        self.item(ui, true, "Reset layout", None, Wish::ResetLayout);
        ui.separator();
        for choice in ThemeChoice::ALL {
            if ui.radio(self.state.theme == choice, format!("{} theme", choice.label())).clicked() {
                self.wishes.push(Wish::Theme(choice));
            }
        }
    }

    fn item(&mut self, ui: &mut Ui, enabled: bool, text: &str, keys: Option<KeyboardShortcut>, wish: Wish) {
        let mut button = Button::new(text);
        if let Some(k) = keys {
            button = button.shortcut_text(ui.ctx().format_shortcut(&k));
        }
        if ui.add_enabled(enabled, button).clicked() {
            self.wishes.push(wish);
        }
    }
}
