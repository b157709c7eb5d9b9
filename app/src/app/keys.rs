//! Keyboard shortcuts: one list for the keys, the menus and the help.

use egui::{Align2, Color32, Context, Key, KeyboardShortcut, Modal, Modifiers, RichText};

use super::{App, Wish};
use crate::theme::{self, Theme};
use crate::view::Action;

const COMMAND: Modifiers = Modifiers::COMMAND;

pub const OPEN: KeyboardShortcut = KeyboardShortcut::new(COMMAND, Key::O);
pub const SAVE: KeyboardShortcut = KeyboardShortcut::new(COMMAND, Key::S);
pub const RUN: KeyboardShortcut = KeyboardShortcut::new(COMMAND, Key::R);
pub const RUN_TOO: KeyboardShortcut = KeyboardShortcut::new(Modifiers::NONE, Key::F5);
pub const CANCEL: KeyboardShortcut = KeyboardShortcut::new(Modifiers::NONE, Key::Escape);
pub const QUIT: KeyboardShortcut = KeyboardShortcut::new(COMMAND, Key::Q);
const DIGITS: [Key; 9] =
    [Key::Num1, Key::Num2, Key::Num3, Key::Num4, Key::Num5, Key::Num6, Key::Num7, Key::Num8, Key::Num9];

/// The shortcut that brings the n-th panel to the front.
pub fn panel(n: usize) -> Option<KeyboardShortcut> {
    DIGITS.get(n).map(|&key| KeyboardShortcut::new(COMMAND, key))
}

/// What the panels do with keys and pointer themselves.
const PANELS: [(&str, &str); 4] = [
    ("W / S, Ctrl + wheel", "Zoom the flame graph in, out"),
    ("A / D, drag", "Pan the flame graph"),
    ("F", "Fit the selected layer"),
    ("Up / Down", "Walk through a table"),
];

impl App {
    pub(super) fn keys(&mut self, ctx: &Context) {
        let pressed = |s: &KeyboardShortcut| ctx.input_mut(|i| i.consume_shortcut(s));
        for (shortcut, wish) in [
            (OPEN, Wish::Do(Action::OpenDialog)),
            (SAVE, Wish::SaveDialog),
            (RUN, Wish::Do(Action::Run)),
            (RUN_TOO, Wish::Do(Action::Run)),
            (QUIT, Wish::Quit),
        ] {
            if pressed(&shortcut) {
                self.wishes.push(wish);
            }
        }
        for (n, view) in self.views.iter().enumerate() {
            if panel(n).is_some_and(|s| pressed(&s)) {
                self.wishes.push(Wish::Do(Action::Show(view.id())));
            }
        }
        if ctx.text_edit_focused() {
            return;
        }
        // The question mark sits on different keys: go by what was typed.
        if ctx.input(|i| i.key_pressed(Key::Questionmark) || i.events.contains(&egui::Event::Text("?".to_owned()))) {
            self.wishes.push(Wish::Help);
        }
        let free = !self.help && !egui::Popup::is_any_open(ctx);
        if free && self.worker.running().is_some_and(|r| r.cancellable) && pressed(&CANCEL) {
            self.wishes.push(Wish::Cancel);
        }
    }

    pub(super) fn help_ui(&mut self, ctx: &Context, theme: &Theme) {
        if !self.help {
            return;
        }
        let panels = self
            .views
            .iter()
            .enumerate()
            .filter_map(|(n, v)| Some((ctx.format_shortcut(&panel(n)?), format!("Show {}", v.title()))));
        let shell = [
            (ctx.format_shortcut(&OPEN), "Open a model or a trace".to_owned()),
            (ctx.format_shortcut(&SAVE), "Save the trace".to_owned()),
            (format!("{} or F5", ctx.format_shortcut(&RUN)), "Run".to_owned()),
            ("Esc".to_owned(), "Cancel the run".to_owned()),
            (ctx.format_shortcut(&QUIT), "Quit".to_owned()),
            ("?".to_owned(), "This list".to_owned()),
        ];
        let inner = PANELS.map(|(k, what)| (k.to_owned(), what.to_owned()));
        let rows: Vec<_> = shell.into_iter().chain(panels).chain(inner).collect();
        let area = Modal::default_area(egui::Id::unique("help")).anchor(Align2::CENTER_CENTER, egui::Vec2::ZERO);
        let modal = Modal::new(egui::Id::unique("help")).area(area).backdrop_color(Color32::from_black_alpha(96)).show(
            ctx,
            |ui| {
                ui.set_width(380.0);
                ui.label(RichText::new("Shortcuts").strong().color(theme.text_strong));
                ui.add_space(theme::GRID);
                egui::Grid::new("shortcuts").num_columns(2).min_col_width(140.0).spacing([16.0, 4.0]).show(ui, |ui| {
                    for (keys, what) in &rows {
                        ui.label(RichText::new(keys).font(theme::figure()).color(theme.text_weak));
                        ui.label(what);
                        ui.end_row();
                    }
                });
                ui.add_space(theme::PAD);
                ui.vertical_centered_justified(|ui| ui.button("Close").clicked()).inner
            },
        );
        if modal.inner || modal.should_close() {
            self.help = false;
        }
    }
}
