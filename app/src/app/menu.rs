//! The menus, from the registry.

use egui::{Button, Ui};

use super::App;
use super::commands::Entry;

/// The menus of the shell, in order.
const MENUS: [&str; 5] = ["File", "Edit", "View", "Run", "Help"];

impl App {
    /// All menus in a row, or one menu of them all where space is short.
    pub(super) fn menus_ui(&mut self, ui: &mut Ui, narrow: bool) {
        // The entries are made when a menu is open, not in every frame.
        let each = |ui: &mut Ui, app: &mut App| {
            for menu in MENUS {
                ui.menu_button(menu, |ui| {
                    ui.set_min_width(220.0);
                    let entries = app.entries();
                    let of_menu: Vec<&Entry> = entries.iter().filter(|e| e.group == menu).collect();
                    app.level_ui(ui, &of_menu);
                });
            }
        };
        if narrow {
            ui.menu_button("Menu", |ui| each(ui, self));
        } else {
            each(ui, self);
        }
    }

    /// The entries of the registry under this submenu: for buttons elsewhere that open the same list.
    pub(super) fn submenu_ui(&mut self, ui: &mut Ui, menu: &str, sub: &str) {
        ui.set_min_width(220.0);
        let entries = self.entries();
        for e in entries.iter().filter(|e| e.group == menu && e.sub == sub) {
            self.item_ui(ui, e);
        }
    }

    fn level_ui(&mut self, ui: &mut Ui, entries: &[&Entry]) {
        let mut done: Vec<&str> = Vec::new();
        for e in entries {
            if e.gap && !done.contains(&e.sub) {
                ui.separator();
            }
            if e.sub.is_empty() {
                self.item_ui(ui, e);
            } else if !done.contains(&e.sub) {
                done.push(e.sub);
                ui.menu_button(e.sub, |ui| {
                    ui.set_min_width(200.0);
                    egui::ScrollArea::vertical().max_height(480.0).show(ui, |ui| {
                        for inner in entries.iter().filter(|i| i.sub == e.sub) {
                            self.item_ui(ui, inner);
                        }
                    });
                });
            }
        }
    }

    /// One entry as a menu's item.
    pub(super) fn item_ui(&mut self, ui: &mut Ui, e: &Entry) {
        let keys = e.first_key(ui.ctx());
        let button = match e.checked {
            Some(on) => Button::new((if on { "✓" } else { " " }, e.title.as_str())),
            None => Button::new(e.title.as_str()),
        };
        let response = ui.add_enabled(e.enabled(), button.shortcut_text(keys)).on_disabled_hover_text(e.hindrance);
        if let Some(on) = e.checked {
            response.widget_info(|| egui::WidgetInfo::selected(egui::Role::MenuItemCheckBox, true, on, &e.title));
        }
        let response = if e.tip.is_empty() { response } else { response.on_hover_text(&e.tip) };
        if response.clicked() {
            self.wishes.push(e.wish.clone());
        }
    }
}
