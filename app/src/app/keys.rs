//! Keys: the shortcuts of the registry, and the list of all of them.

use egui::{Align2, Color32, Context, Key, Modal, Modifiers, RichText, ScrollArea};

use super::commands::Entry;
use super::{App, Sheet, Wish};
use crate::theme::{self, Theme};

impl App {
    pub(super) fn keys(&mut self, ctx: &Context) {
        let any = ctx.input(|i| i.events.iter().any(|e| matches!(e, egui::Event::Key { .. } | egui::Event::Text(_))));
        if !any {
            return;
        }
        let typing = ctx.text_edit_focused();
        let free = self.sheet.is_none() && !egui::Popup::is_any_open(ctx);
        let mut entries = self.entries();
        // A key with more modifiers is the more particular one: Ctrl+Shift+Z before Ctrl+Z.
        let particular = |e: &Entry| e.keys.iter().map(|k| modifiers(k.modifiers)).max();
        entries.sort_by_key(|e| std::cmp::Reverse(particular(e)));
        for entry in entries.iter().filter(|e| e.enabled() && (free || reaches_everywhere(&e.wish))) {
            for shortcut in &entry.keys {
                let own_of_text = typing && belongs_to_text(shortcut.modifiers, shortcut.logical_key);
                if own_of_text || !ctx.input_mut(|i| i.consume_shortcut(shortcut)) {
                    continue;
                }
                match entry.wish {
                    Wish::Palette => self.open_palette(ctx),
                    Wish::Find => self.open_search(),
                    _ => self.wishes.push(entry.wish.clone()),
                }
            }
        }
        self.type_ahead(ctx);
        if typing || self.sheet.is_some() || !free {
            return;
        }
        // The question mark sits on different keys: go by what was typed.
        if ctx.input(|i| i.events.contains(&egui::Event::Text("?".to_owned()))) && !self.wishes.contains(&Wish::Help) {
            self.wishes.push(Wish::Help);
        }
        if self.failure.is_some() && ctx.input_mut(|i| i.consume_key(Modifiers::NONE, Key::Escape)) {
            self.failure = None;
        }
    }

    pub(super) fn help_ui(&mut self, ctx: &Context, theme: &Theme) {
        if !matches!(self.sheet, Some(Sheet::Help)) {
            return;
        }
        let entries = self.entries();
        let mut groups: Vec<(&str, Vec<(String, String)>)> = Vec::new();
        for e in entries.iter() {
            let keys = e.key_text(ctx);
            if keys.is_empty() {
                continue;
            }
            let row = (keys, e.full_title());
            match groups.iter_mut().find(|g| g.0 == e.group) {
                Some(group) => group.1.push(row),
                None => groups.push((e.group, vec![row])),
            }
        }
        let area = Modal::default_area(egui::Id::unique("help")).anchor(Align2::CENTER_CENTER, egui::Vec2::ZERO);
        let modal = Modal::new(egui::Id::unique("help")).area(area).backdrop_color(Color32::from_black_alpha(96)).show(
            ctx,
            |ui| {
                ui.set_width(460.0);
                ui.label(RichText::new("Shortcuts").strong().color(theme.text_strong));
                crate::draw::note(ui, "Those of a view work while the pointer or the focus is in it.");
                let most = (ctx.content_rect().height() - 160.0).max(120.0);
                ScrollArea::vertical().max_height(most).min_scrolled_height(most).auto_shrink([false, true]).show(
                    ui,
                    |ui| {
                        for (group, rows) in &groups {
                            crate::draw::section(ui, theme, group);
                            let grid = egui::Grid::new(group).num_columns(2).min_col_width(190.0).spacing([16.0, 4.0]);
                            grid.show(ui, |ui| {
                                for (keys, what) in rows {
                                    ui.label(RichText::new(keys).font(theme::figure()).color(theme.text_weak));
                                    ui.label(what);
                                    ui.end_row();
                                }
                            });
                        }
                    },
                );
                ui.add_space(theme::PAD);
                ui.vertical_centered_justified(|ui| ui.button("Close").clicked()).inner
            },
        );
        if modal.inner || modal.should_close() {
            self.sheet = None;
        }
    }
}

/// How many modifier keys are held.
fn modifiers(m: Modifiers) -> usize {
    [m.command || m.ctrl, m.shift, m.alt].into_iter().filter(|&held| held).count()
}

/// What works in front of a dialog as well.
fn reaches_everywhere(wish: &Wish) -> bool {
    matches!(wish, Wish::Palette | Wish::Quit)
}

/// Keys that a text field needs for itself.
fn belongs_to_text(m: Modifiers, key: Key) -> bool {
    let function = matches!(key, Key::F1 | Key::F5);
    let editing = matches!(key, Key::Z | Key::Y | Key::W);
    if m.command { editing } else { !function }
}
