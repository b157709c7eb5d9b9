//! The settings: how the window looks, in which units, and how runs are measured. Each is applied as it is changed.

use egui::{Align2, Color32, ComboBox, Context, DragValue, Modal, RichText, ScrollArea, Ui};
use serde::{Deserialize, Serialize};
use studies::{Budget, Settings};

use super::commands::{thread_choices, threads_text};
use super::{App, Sheet, ThemeChoice, Wish};
use crate::draw::flame_colors::ColorBy;
use crate::draw::segmented;
use crate::format::{self, ByteUnit, TimeUnit, Units};
use crate::theme::{self, PAD, Theme};
use crate::view::Preferences;

/// The least and the largest scale of the window.
const SCALES: std::ops::RangeInclusive<f32> = 0.6..=2.5;

/// How the window looks besides its theme.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Look {
    /// 1 is the system's size.
    pub scale: f32,
    /// No animation.
    pub reduce_motion: bool,
    /// Of times and sizes.
    pub units: Units,
}

impl Default for Look {
    fn default() -> Self {
        Look { scale: 1.0, reduce_motion: false, units: Units::default() }
    }
}

impl Look {
    /// Applies it to the window.
    pub(super) fn apply(&self, ctx: &Context) {
        ctx.options_mut(|o| o.zoom_with_keyboard = false);
        ctx.set_zoom_factor(self.scale);
        theme::set_motion(ctx, !self.reduce_motion);
    }

    /// With a scale that can be read.
    pub(super) fn with_scale(self, scale: f32) -> Look {
        let scale = if scale.is_finite() { (scale * 20.0).round() / 20.0 } else { 1.0 };
        Look { scale: scale.clamp(*SCALES.start(), *SCALES.end()), ..self }
    }
}

impl App {
    pub(super) fn settings_ui(&mut self, ctx: &Context, theme: &Theme) {
        if !matches!(self.sheet, Some(Sheet::Settings)) {
            return;
        }
        let id = egui::Id::unique("settings");
        let area = Modal::default_area(id).anchor(Align2::CENTER_CENTER, egui::Vec2::ZERO);
        let modal = Modal::new(id).area(area).backdrop_color(Color32::from_black_alpha(64)).show(ctx, |ui| {
            ui.set_width(480.0);
            ui.label(RichText::new("Settings").font(theme::head()).color(theme.text_strong));
            crate::draw::note(ui, "Each is applied at once and kept for the next start.");
            let most = (ctx.content_rect().height() - 160.0).max(160.0);
            ScrollArea::vertical()
                .max_height(most)
                .min_scrolled_height(most.min(480.0))
                .auto_shrink([false, true])
                .show(ui, |ui| {
                    self.look_ui(ui, theme);
                    self.units_ui(ui, theme);
                    self.measuring_ui(ui, theme);
                });
            ui.add_space(PAD);
            ui.horizontal(|ui| {
                if ui.button("Restore defaults").on_hover_text("All settings on this page as they were first").clicked()
                {
                    self.restore_defaults();
                }
                ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
                    crate::draw::primary_button(ui, theme, "Done").clicked()
                })
                .inner
            })
            .inner
        });
        if modal.inner || modal.should_close() {
            self.sheet = None;
            self.save_state();
        }
    }

    fn look_ui(&mut self, ui: &mut Ui, theme: &Theme) {
        crate::draw::section(ui, theme, "Window");
        rows(ui, "window", |ui| {
            ui.label("Theme");
            let mut choice = self.state.theme;
            let options = ThemeChoice::ALL.map(|c| (c, c.label(), ""));
            if segmented(ui, &mut choice, &options) {
                self.wishes.push(Wish::Theme(choice));
            }
            ui.end_row();

            ui.label("Scale").on_hover_text("Size of everything in the window");
            ui.horizontal(|ui| {
                let scale = self.state.look.scale;
                for (sign, word, to) in [("−", "Smaller", scale - 0.1), ("+", "Larger", scale + 0.1)] {
                    let button = ui.add_enabled(SCALES.contains(&to), egui::Button::new(sign)).on_hover_text(word);
                    if button.accessible_name(word).clicked() {
                        self.wishes.push(Wish::Scale(to));
                    }
                }
                ui.label(RichText::new(format!("{:.0}%", scale * 100.0)).font(theme::figure()));
            });
            ui.end_row();

            ui.label("Colours").on_hover_text("What the colours of the flame graph stand for");
            segmented(ui, &mut self.state.preferences.flame_colors, &ColorBy::ALL);
            ui.end_row();

            ui.label("Motion");
            let mut reduce = self.state.look.reduce_motion;
            if ui
                .checkbox(&mut reduce, "Reduce motion")
                .on_hover_text("No animation when things move or open")
                .changed()
            {
                self.state.look.reduce_motion = reduce;
                self.state.look.apply(ui.ctx());
            }
            ui.end_row();
        });
    }

    fn units_ui(&mut self, ui: &mut Ui, theme: &Theme) {
        crate::draw::section(ui, theme, "Units");
        rows(ui, "units", |ui| {
            let units = &mut self.state.look.units;
            ui.label("Times");
            let times = [
                (TimeUnit::Auto, "As it suits", "412 ns, 30.2 ms, 1.50 s"),
                (TimeUnit::Milliseconds, "Milliseconds", "0.0004 ms, 30.2 ms, 1500 ms"),
            ];
            segmented(ui, &mut units.time, &times);
            ui.end_row();
            ui.label("Sizes");
            let sizes = [
                (ByteUnit::Decimal, "Decimal", "Powers of 1000: kB, MB, GB"),
                (ByteUnit::Binary, "Binary", "Powers of 1024: KiB, MiB, GiB"),
            ];
            segmented(ui, &mut units.bytes, &sizes);
            ui.end_row();
        });
    }

    fn measuring_ui(&mut self, ui: &mut Ui, theme: &Theme) {
        crate::draw::section(ui, theme, "Measuring");
        let measuring = self.is_measuring();
        let settings = &mut self.state.settings;
        ui.add_enabled_ui(!measuring, |ui| {
            rows(ui, "measuring", |ui| {
                ui.label("Measure for")
                    .on_hover_text("A time (less if the figures settle earlier), or a number of runs");
                ui.horizontal(|ui| budget_ui(ui, &mut settings.budget));
                ui.end_row();

                ui.label("Warm-up").on_hover_text("Runs before measuring: they fill caches and are kept apart");
                ui.add(DragValue::new(&mut settings.warmup).range(0..=1000).suffix(" runs")).accessible_name("Warm-up");
                ui.end_row();

                ui.label("Threads").on_hover_text("CPU threads; all cores means one per physical core");
                let chosen = ComboBox::from_id_salt("settings threads").selected_text(threads_text(settings.threads));
                let chosen = chosen.show_ui(ui, |ui| {
                    for t in thread_choices() {
                        ui.selectable_value(&mut settings.threads, t, threads_text(t));
                    }
                });
                chosen.response.accessible_name("Threads");
                ui.end_row();

                ui.label("Memory limit")
                    .on_hover_text("The most that activations, or one output whose size depends on data, may take");
                ui.horizontal(|ui| memory_limit_ui(ui, &mut settings.memory_limit));
                ui.end_row();

                ui.label("Seed").on_hover_text("Of random inputs: the same seed makes the same inputs");
                ui.add(DragValue::new(&mut settings.seed)).accessible_name("Seed");
                ui.end_row();
            });
        });
        if measuring {
            crate::draw::note(ui, "These rest while a study is running.");
        }
    }

    fn restore_defaults(&mut self) {
        let standard = Settings::default();
        self.state.look = Look::default();
        self.state.preferences = Preferences::default();
        if !self.is_measuring() {
            let s = &mut self.state.settings;
            (s.budget, s.warmup, s.threads, s.seed, s.memory_limit) =
                (standard.budget, standard.warmup, standard.threads, standard.seed, standard.memory_limit);
        }
        self.wishes.push(Wish::Theme(ThemeChoice::default()));
        self.wishes.push(Wish::Scale(self.state.look.scale));
    }
}

fn rows(ui: &mut Ui, id: &str, content: impl FnOnce(&mut Ui)) {
    egui::Grid::new(id).num_columns(2).min_col_width(120.0).spacing([16.0, 8.0]).show(ui, content);
}

/// A limit in gigabytes, or what is free when a run begins.
fn memory_limit_ui(ui: &mut Ui, limit: &mut Option<u64>) {
    const GB: f64 = 1e9;
    let mut free = limit.is_none();
    if ui.checkbox(&mut free, "80% of what is free").changed() {
        *limit = if free { None } else { Some(4_000_000_000) };
    }
    if let Some(bytes) = limit {
        let mut gb = *bytes as f64 / GB;
        let field = DragValue::new(&mut gb).range(0.01..=100_000.0).speed(0.1).max_decimals(2).suffix(" GB");
        if ui.add(field).accessible_name("Memory limit").changed() {
            *bytes = (gb * GB) as u64;
        }
    }
}

fn budget_ui(ui: &mut Ui, budget: &mut Budget) {
    let mut by_time = matches!(budget, Budget::Seconds(_));
    if segmented(ui, &mut by_time, &[(true, "Seconds", "At most this long"), (false, "Runs", "Exactly this many")]) {
        *budget = if by_time { Budget::Seconds(3.0) } else { Budget::Runs(100) };
    }
    match budget {
        Budget::Seconds(s) => {
            ui.add(DragValue::new(s).range(0.1..=3600.0).speed(0.1).suffix(" s")).accessible_name("Seconds to measure")
        }
        Budget::Runs(n) => {
            ui.add(DragValue::new(n).range(1..=1_000_000).suffix(" runs")).accessible_name("Runs to measure")
        }
    };
}

/// The units in force for this frame.
pub(super) fn begin_frame(look: &Look) {
    format::set_units(look.units);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_stay_readable() {
        let look = Look::default();
        assert_eq!(look.with_scale(f32::NAN).scale, 1.0);
        assert_eq!(look.with_scale(1e9).scale, *SCALES.end());
        assert_eq!(look.with_scale(-1.0).scale, *SCALES.start());
        assert!((look.with_scale(1.1).scale - 1.1).abs() < 1e-6);
    }
}
