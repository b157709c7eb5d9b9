//! The toolbar: what to run, on what, how, and how far it is.

use egui::{Align, Align2, ComboBox, Frame, Layout, Margin, Panel, RichText, Sense, Ui, vec2};
use studies::{DeviceChoice, EngineChoice, Precision};

use super::commands::{BUDGETS, budget_text, thread_choices, threads_text};
use super::{App, Wish};
use crate::format;
use crate::theme::{self, PAD, TOOLBAR_HEIGHT, Theme};
use crate::view::Action;
use crate::worker::{Running, file_name};

/// Below this width the less used controls move into a menu; below the other the menus become one.
const NARROW: f32 = 1500.0;
const VERY_NARROW: f32 = 1180.0;

impl App {
    pub(super) fn toolbar_ui(&mut self, ui: &mut Ui, theme: &Theme) {
        let frame = Frame::new().fill(theme.surface[1]).inner_margin(Margin::symmetric(PAD as i8, 0));
        Panel::top("toolbar").exact_size(TOOLBAR_HEIGHT).resizable(false).frame(frame).show(ui, |ui| {
            ui.horizontal_centered(|ui| {
                ui.spacing_mut().item_spacing.x = 6.0;
                let width = ui.available_width();
                let narrow = width < NARROW;
                ui.scope(|ui| {
                    ui.visuals_mut().button_frame = false;
                    ui.spacing_mut().item_spacing.x = 14.0;
                    self.menus_ui(ui, width < VERY_NARROW);
                });
                divider(ui, theme);
                self.model_ui(ui);
                ui.add_enabled_ui(!self.is_measuring(), |ui| {
                    self.engine_ui(ui, theme);
                    let own = self.state.settings.engine == EngineChoice::Own;
                    let why = "Of this program's own engine; another engine is tuned in the menu beside it";
                    ui.add_enabled_ui(own, |ui| {
                        self.device_ui(ui);
                        self.precision_ui(ui);
                    })
                    .response
                    .on_disabled_hover_text(why);
                    if narrow {
                        let more = ui.menu_button("More", |ui| {
                            self.budget_ui(ui);
                            self.threads_ui(ui);
                            self.fusion_ui(ui);
                        });
                        more.response.on_hover_text("How long to measure, threads, fusion");
                    } else {
                        self.budget_ui(ui);
                        self.threads_ui(ui);
                        self.fusion_ui(ui);
                    }
                });
                divider(ui, theme);
                self.run_ui(ui, theme, narrow);
                ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                    self.find_ui(ui, theme, width < VERY_NARROW);
                    self.runs_ui(ui);
                });
            });
        });
    }

    fn model_ui(&mut self, ui: &mut Ui) {
        let name = self.model.as_ref().map_or("Open a model".to_owned(), |m| file_name(&m.path));
        let tip = self.model.as_ref().map_or(String::new(), |m| m.path.display().to_string());
        let button = ui.menu_button(shortened(&name, 28), |ui| {
            let entries = self.entries();
            ui.set_min_width(220.0);
            for e in entries.iter().filter(|e| e.id == "open") {
                self.item_ui(ui, e);
            }
            ui.separator();
            self.submenu_ui(ui, "File", "Sample");
            if !self.state.recent.is_empty() {
                ui.separator();
                self.submenu_ui(ui, "File", "Open recent");
            }
        });
        if !tip.is_empty() {
            button.response.on_hover_text(tip);
        }
    }

    fn device_ui(&mut self, ui: &mut Ui) {
        let chosen = self.state.settings.device;
        let name = |choice: DeviceChoice| match choice {
            DeviceChoice::Auto => "Best device".to_owned(),
            DeviceChoice::Cpu => "CPU".to_owned(),
            c => self.devices.iter().find(|d| d.choice == c).map_or(c.to_string(), |d| d.name.clone()),
        };
        let shown = shortened(&name(chosen), 24);
        let mut new = chosen;
        let response = ComboBox::from_id_salt("device").selected_text(shown).width(0.0).show_ui(ui, |ui| {
            ui.selectable_value(&mut new, DeviceChoice::Auto, "Best device")
                .on_hover_text("A hardware GPU if there is one, else the CPU");
            for d in &self.devices {
                let row = ui.add_enabled_ui(d.usable, |ui| {
                    ui.selectable_value(&mut new, d.choice, if d.choice == DeviceChoice::Cpu { "CPU" } else { &d.name })
                });
                row.inner.on_hover_text(&d.detail).on_disabled_hover_text(&d.detail);
            }
        });
        response.response.on_hover_text("Where the model runs");
        self.state.settings.device = new;
    }

    fn precision_ui(&mut self, ui: &mut Ui) {
        let settings = &mut self.state.settings;
        let response =
            ComboBox::from_id_salt("precision").selected_text(settings.precision.name()).width(0.0).show_ui(ui, |ui| {
                for p in Precision::ALL {
                    ui.selectable_value(&mut settings.precision, p, p.name());
                }
            });
        response.response.on_hover_text("Precision of the weights");
    }

    fn budget_ui(&mut self, ui: &mut Ui) {
        let budget = &mut self.state.settings.budget;
        let response =
            ComboBox::from_id_salt("budget").selected_text(budget_text(*budget)).width(0.0).show_ui(ui, |ui| {
                for b in BUDGETS {
                    ui.selectable_value(budget, b, budget_text(b));
                }
            });
        response
            .response
            .on_hover_text("How long to measure: a time (less if the figures settle earlier) or a number of runs");
    }

    fn threads_ui(&mut self, ui: &mut Ui) {
        let threads = &mut self.state.settings.threads;
        let response =
            ComboBox::from_id_salt("threads").selected_text(threads_text(*threads)).width(0.0).show_ui(ui, |ui| {
                for t in thread_choices() {
                    ui.selectable_value(threads, t, threads_text(t));
                }
            });
        response.response.on_hover_text("CPU threads; all cores means one per physical core");
    }

    fn fusion_ui(&mut self, ui: &mut Ui) {
        ui.checkbox(&mut self.state.settings.fusion, "Fusion")
            .on_hover_text("Join operators into fused layers; off shows the model's operators one by one");
    }

    fn run_ui(&mut self, ui: &mut Ui, theme: &Theme, narrow: bool) {
        let running = self.worker.running();
        match running {
            Some(r) if r.cancellable => {
                if ui.button("Cancel").on_hover_text("Esc").clicked() {
                    self.wishes.push(Wish::Cancel);
                }
                progress_ui(ui, theme, &r);
            }
            running => {
                let can = self.can_run();
                ui.add_enabled_ui(can, |ui| {
                    let run = crate::draw::primary_button(ui, theme, "Run");
                    if run.on_hover_ui(|ui| self.tip_ui(ui, "run")).clicked() {
                        self.wishes.push(Wish::Do(Action::Run));
                    }
                    let asks = [
                        ("compare-engines", "Compare engines", "Engines", Action::RunEngines),
                        ("compare-precisions", "Compare precisions", "Precisions", Action::RunAccuracy),
                    ];
                    for (id, full, short, action) in asks {
                        let name = if narrow { short } else { full };
                        let button = ui.button(name).on_hover_ui(|ui| self.tip_ui(ui, id));
                        if button.accessible_name(full).clicked() {
                            self.wishes.push(Wish::Do(action));
                        }
                    }
                });
                if let Some(r) = running {
                    ui.add_space(PAD);
                    ui.label(RichText::new(r.what).small().color(theme.text_weak));
                }
            }
        }
    }

    /// What the registry says about an action, with its keys.
    fn tip_ui(&self, ui: &mut Ui, id: &str) {
        if let Some(e) = self.entries().iter().find(|e| e.id == id) {
            let keys = e.key_text(ui.ctx());
            ui.label(if keys.is_empty() { e.tip.clone() } else { format!("{}  ({keys})", e.tip) });
        }
    }

    /// What looks like a field and opens the search, and the palette's button.
    fn find_ui(&mut self, ui: &mut Ui, theme: &Theme, narrow: bool) {
        let open = self.model.is_some() || self.runs.current().is_some();
        let palette = ui.button("»").on_hover_text("Command palette: every action by name  (Ctrl+Shift+P)");
        palette.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Button, true, "Command palette"));
        if palette.clicked() {
            self.wishes.push(Wish::Palette);
        }
        let words = RichText::new("Find").color(theme.text_weak);
        let field =
            egui::Button::new(words).fill(theme.surface[2]).min_size(vec2(if narrow { 0.0 } else { 96.0 }, 24.0));
        let field = if narrow { field } else { field.shortcut_text("Ctrl+K") };
        let field = ui.add_enabled(open, field).on_disabled_hover_text("Open a model or a trace first");
        field.widget_info(|| egui::WidgetInfo::labeled(egui::Role::SearchInput, open, "Find a layer or node"));
        if field.on_hover_text("Find a layer or node by name and select it").clicked() {
            self.wishes.push(Wish::Find);
        }
    }

    /// The open traces.
    fn runs_ui(&mut self, ui: &mut Ui) {
        if self.runs.all().is_empty() {
            return;
        }
        let current = self.runs.current_index();
        let title = self.runs.current().map_or("No trace".to_owned(), |r| r.title());
        let mut chosen = current;
        let response =
            ComboBox::from_id_salt("runs").selected_text(shortened(&title, 44)).width(0.0).show_ui(ui, |ui| {
                for (i, run) in self.runs.all().iter().enumerate().rev() {
                    ui.selectable_value(&mut chosen, Some(i), run.title())
                        .on_hover_text(&run.profile.trace.meta.device);
                }
            });
        response.response.on_hover_text("The traces that are open");
        if let (true, Some(i)) = (chosen != current, chosen) {
            self.wishes.push(Wish::ShowRun(i));
        }
    }
}

/// How far the study is: its stage and the time left over a thin bar.
fn progress_ui(ui: &mut Ui, theme: &Theme, running: &Running) {
    let width = 280.0_f32.min(ui.available_width());
    let (rect, response) = ui.allocate_exact_size(vec2(width, TOOLBAR_HEIGHT - 8.0), Sense::hover());
    let rect = rect.shrink2(vec2(PAD, 0.0));
    let p = &running.progress;
    let stage = if p.stage.is_empty() { running.what.as_str() } else { &p.stage };
    let left = match p.left {
        Some(d) => format!("{} left", format::time_left(d)),
        None => format!("{} so far", format::time_left(running.since.elapsed())),
    };
    let line = rect.with_max_y(rect.center().y + 4.0);
    let end = crate::draw::galley(ui.painter(), &left, theme::caption(), theme.text_weak, rect.width() * 0.5);
    let stage_rect = line.with_max_x(line.right() - end.size().x - PAD);
    ui.painter().galley(
        line.right_bottom() - vec2(end.size().x, line.height() / 2.0 + end.size().y / 2.0),
        end,
        theme.text_weak,
    );
    crate::draw::text_in(ui.painter(), stage_rect, Align2::LEFT_CENTER, stage, theme::caption(), theme.text);
    let track = egui::Rect::from_min_size(egui::pos2(rect.left(), rect.center().y + 7.0), vec2(rect.width(), 3.0));
    crate::draw::bar(ui.painter(), theme, track, p.fraction.unwrap_or(0.0), theme.accent);
    response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::ProgressIndicator, true, format!("{stage}, {left}")));
}

fn divider(ui: &mut Ui, theme: &Theme) {
    let (rect, _) = ui.allocate_exact_size(vec2(9.0, 20.0), Sense::hover());
    ui.painter().vline(rect.center().x, rect.y_range(), theme.line());
}

/// A text cut at its end, for buttons that must not push the others away.
fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_cut() {
        assert_eq!(shortened("abcdef", 4), "abc…");
        assert_eq!(shortened("abcd", 4), "abcd");
    }
}
