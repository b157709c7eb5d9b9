//! What occupies memory at each step of the plan, each tensor's place and lifetime, what is alive at the peak, and what would
//! lower it.

mod alive;
mod charts;
#[cfg(test)]
mod tests;
mod what_if;
mod window;

use egui::{Align2, EventFilter, Key, Rect, RichText, Role, Sense, Ui, WidgetInfo, pos2, vec2};
use profiler::{LayerId, MemoryClass};

use crate::draw::flame_paint::Lens;
use crate::draw::{empty, key, panel_head, segmented, text_in};
use crate::format::{self, UNKNOWN};
use crate::theme::{self, GRID, PAD, Theme};
use crate::view::{Action, Command, Profile, Selection, View, ViewCx};

use alive::Alive;
use charts::{Axis, BAR, Canvas};
use window::Window;

const GUTTER: f32 = 64.0;
const AXIS_HEIGHT: f32 = 20.0;

/// The lower picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Map {
    /// Each tensor where it lies in the arena.
    #[default]
    Arena,
    /// A bar for each tensor's lifetime.
    Lifetimes,
}

/// What is below the pictures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Lower {
    #[default]
    Alive,
    WhatIf,
}

/// The memory panel.
#[derive(Default)]
pub struct MemoryView {
    axis: Axis,
    map: Map,
    lower: Lower,
    /// As chosen; until then weights are hidden where they dwarf the rest.
    hide_weights: Option<bool>,
    window: Window,
    /// How far down the lifetimes are scrolled.
    scroll: f32,
    /// The step that was clicked: the list stays on it.
    pinned: Option<usize>,
    alive: Alive,
    /// The trace that the window and the pin are of, by address.
    of: usize,
}

const COMMANDS: [Command; 8] = [
    Command { id: "by-step", title: "Memory by step", keys: "" },
    Command { id: "by-time", title: "Memory by time", keys: "" },
    Command { id: "arena", title: "Tensors by their place in the arena", keys: "" },
    Command { id: "lifetimes", title: "Tensors by their lifetime", keys: "" },
    Command { id: "fit", title: "Show the whole run", keys: "F" },
    Command { id: "peak", title: "Go to the peak of memory", keys: "P" },
    Command { id: "weights", title: "Show or hide weights", keys: "" },
    Command { id: "what-if", title: "What would lower the peak of memory", keys: "" },
];

impl View for MemoryView {
    fn id(&self) -> &'static str {
        "memory"
    }

    fn title(&self) -> &'static str {
        "Memory"
    }

    fn commands(&self) -> &'static [Command] {
        &COMMANDS
    }

    fn command(&mut self, id: &str, cx: &mut ViewCx<'_>) {
        match id {
            "by-step" => self.set_axis(Axis::Steps),
            "by-time" => self.set_axis(Axis::Time),
            "arena" => self.map = Map::Arena,
            "lifetimes" => self.map = Map::Lifetimes,
            "fit" => self.window.fit(),
            "peak" => self.pinned = None,
            "weights" => self.hide_weights = cx.profile.map(|p| !self.hides_weights(p)),
            "what-if" => {
                self.lower = Lower::WhatIf;
                if cx.facts.what_if.is_none() && cx.model.is_some() {
                    cx.actions.push(Action::WhatIf);
                }
            }
            _ => {}
        }
    }

    fn ui(&mut self, ui: &mut Ui, cx: &mut ViewCx<'_>) {
        let theme = cx.theme;
        let Some(profile) = cx.profile.filter(|p| p.memory.peak.is_some()) else {
            let (title, text, action) = match (cx.profile, cx.model) {
                (Some(_), _) => ("No memory plan", "This trace does not say what occupied memory.", None),
                (None, Some(_)) => ("Not run yet", "A run fills this: every tensor's place and lifetime.", Some("Run")),
                (None, None) => ("Nothing open", "Open a model and run it, or open a saved trace.", Some("Open…")),
            };
            if empty(ui, theme, title, text, action) {
                cx.actions.push(if cx.model.is_some() { Action::Run } else { Action::OpenDialog });
            }
            return;
        };
        let of = std::sync::Arc::as_ptr(&profile.trace).addr();
        if self.of != of {
            (self.of, self.pinned, self.scroll) = (of, None, 0.0);
            self.window.fit();
        }
        if profile.memory.times.is_empty() {
            self.set_axis(Axis::Steps);
        }
        self.head_ui(ui, profile, theme);
        facts_ui(ui, theme, profile);
        let space = ui.available_rect_before_wrap();
        // The pictures above, the list of what is alive below; the list gets a good third.
        let list_height = (space.height() * 0.4).clamp(96.0, 300.0);
        let peak = self.peak(profile);
        let list = space.with_min_y(space.bottom() - list_height);
        let charts = space.with_max_y(list.top());
        let hovered = self.charts_ui(ui, charts, profile, peak, cx.selection, theme);
        let step = hovered.or(self.pinned.filter(|&s| s < profile.memory.steps.len())).unwrap_or(peak);
        let mut ui = ui.new_child(egui::UiBuilder::new().max_rect(list));
        ui.spacing_mut().item_spacing.y = 0.0;
        self.lower_ui(&mut ui, profile, step, peak, cx);
    }
}

/// What the process and the allocators say, beside the plan.
fn facts_ui(ui: &mut Ui, theme: &Theme, profile: &Profile) {
    let m = &profile.trace.memory;
    let size = |b: u64| if b == 0 { UNKNOWN.to_owned() } else { format::bytes(b as f64) };
    let grown = m.process_peak_bytes.saturating_sub(m.process_before_bytes);
    let unknown = |b: u64, why: &'static str| if b == 0 { why } else { "" };
    let gpu: u64 = m.gpu_allocations.iter().map(|a| a.1).fold(0, u64::saturating_add);
    let mut facts: Vec<(&str, String, &str)> = vec![
        ("Planned peak", size(profile.memory.peak_bytes()), "All classes together, at the worst step of the plan."),
        ("Weights", size(m.weights_bytes), "As held for the run, packed forms included."),
        ("Activations at peak", size(m.activations_peak_bytes), "The largest sum of activations alive at once."),
        (
            "Arena",
            size(m.arena_bytes),
            "What the plan reserves for activations; the rest over their peak is lost to gaps.",
        ),
        ("Process peak", size(m.process_peak_bytes), unknown(m.process_peak_bytes, "Resident memory was not sampled.")),
        ("Grown by", size(grown), unknown(grown, "Resident memory was not sampled before the model was opened.")),
    ];
    let mut by_label = m.gpu_allocations.clone();
    by_label.sort_by_key(|a| std::cmp::Reverse(a.1));
    let labels: Vec<String> =
        by_label.iter().take(12).map(|(label, b)| format!("{label}: {}", format::bytes(*b as f64))).collect();
    let labels = format!("What the GPU's allocator reports, largest first:\n{}", labels.join("\n"));
    if gpu > 0 {
        facts.push(("GPU allocator", size(gpu), &labels));
    }
    egui::Frame::new().inner_margin(egui::Margin::symmetric(PAD as i8, GRID as i8)).show(ui, |ui| {
        ui.horizontal_wrapped(|ui| {
            ui.spacing_mut().item_spacing = vec2(20.0, 2.0);
            for (label, value, why) in facts {
                let response = ui
                    .horizontal(|ui| {
                        ui.spacing_mut().item_spacing.x = 6.0;
                        ui.label(RichText::new(label).font(theme::caption()).color(theme.text_weak));
                        ui.label(RichText::new(value).font(theme::figure()).color(theme.text));
                    })
                    .response;
                if !why.is_empty() {
                    response.on_hover_text(why);
                }
            }
        });
    });
    crate::draw::hairline(ui, theme);
}

impl MemoryView {
    fn set_axis(&mut self, axis: Axis) {
        if self.axis != axis {
            self.axis = axis;
            self.window.fit();
        }
    }

    fn hides_weights(&self, profile: &Profile) -> bool {
        self.hide_weights.unwrap_or_else(|| {
            let memory = &profile.memory;
            let weights = memory.peak.map_or(0, |p| memory.steps[p][MemoryClass::Weights as usize]);
            let rest = memory.peak_bytes() - weights;
            rest > 0 && weights / rest >= 2
        })
    }

    /// The step with the most of what is on show.
    fn peak(&self, profile: &Profile) -> usize {
        let first = usize::from(self.hides_weights(profile));
        let steps = &profile.memory.steps;
        let sum = |i: usize| steps[i][first..].iter().fold(0u64, |a, &b| a.saturating_add(b));
        (0..steps.len()).max_by_key(|&i| (sum(i), std::cmp::Reverse(i))).unwrap_or(0)
    }

    fn head_ui(&mut self, ui: &mut Ui, profile: &Profile, theme: &Theme) {
        panel_head(ui, theme, |ui| {
            if !profile.memory.times.is_empty() {
                let axes = [
                    (Axis::Steps, "By step", "Every step of the plan is equally wide"),
                    (Axis::Time, "By time", "Steps are as wide as their median time"),
                ];
                let mut axis = self.axis;
                segmented(ui, &mut axis, &axes);
                self.set_axis(axis);
                ui.separator();
            }
            if !profile.memory.arena.is_empty() {
                let maps = [
                    (Map::Arena, "Arena", "Each tensor where it lies in the arena"),
                    (Map::Lifetimes, "Lifetimes", "A bar for each tensor, from its making to its last use"),
                ];
                segmented(ui, &mut self.map, &maps);
                ui.separator();
            }
            let mut hide = self.hides_weights(profile);
            if ui.checkbox(&mut hide, "Hide weights").on_hover_text("Show what changes over a run, larger").changed() {
                self.hide_weights = Some(hide);
            }
            if self.window.is_zoomed() && ui.button("Fit").on_hover_text("Show the whole run (F)").clicked() {
                self.window.fit();
            }
            ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
                let used = |c: &MemoryClass| profile.memory.steps.iter().any(|s| s[*c as usize] > 0);
                for class in MemoryClass::ALL.into_iter().rev().filter(used) {
                    if ui.available_width() > 84.0 {
                        key(ui, theme, theme.memory_class(class), class.label());
                    }
                }
            });
        });
    }

    /// Draws the pictures; tells which step is under the pointer.
    fn charts_ui(
        &mut self,
        ui: &mut Ui,
        rect: Rect,
        profile: &Profile,
        peak: usize,
        selection: &mut Selection,
        theme: &Theme,
    ) -> Option<usize> {
        let memory = &profile.memory;
        ui.painter().rect_filled(rect, 0.0, theme.surface[0]);
        let response = ui.interact(rect, ui.scope_id().with("charts"), Sense::click_and_drag());
        response.widget_info(|| {
            let words = format!(
                "Memory over {}, peak {} at {}",
                format::plural(memory.steps.len(), "step"),
                format::bytes(memory.peak_bytes() as f64),
                profile.trace.layers[peak].name
            );
            WidgetInfo::labeled(Role::Image, true, words)
        });
        let inner = rect
            .with_min_x(rect.left() + GUTTER)
            .with_max_x(rect.right() - PAD)
            .with_max_y(rect.bottom() - AXIS_HEIGHT);
        let split = if memory.rows.is_empty() { inner.bottom() } else { inner.top() + inner.height() * 0.44 };
        let stack = inner.with_min_y(inner.top() + PAD * 2.0).with_max_y(split - GRID);
        let map = inner.with_min_y(split + GRID * 4.0);
        let end = Canvas::end(profile, self.axis);
        self.steer(ui, &response, profile, inner, map.height());
        let lens = Lens { window: self.window.range(end), left: inner.left(), width: inner.width() };
        let painter = ui.painter().with_clip_rect(rect.intersect(ui.clip_rect()));
        let pointer = response.hover_pos().filter(|p| inner.contains(*p));
        let mut canvas =
            Canvas { profile, axis: self.axis, lens, theme, selection, step: self.pinned.unwrap_or(peak), pointer };
        let step = pointer.and_then(|p| canvas.step_at(lens.t(p.x)));
        canvas.step = step.unwrap_or(canvas.step);
        canvas.stack(&painter, stack, usize::from(self.hides_weights(profile)), peak);
        let mut tensor = None;
        if !memory.rows.is_empty() {
            let heading = map.with_max_y(map.top() - 1.0).with_min_y(map.top() - 16.0);
            // On a device each tensor has a buffer of its own.
            let chosen = if memory.arena.is_empty() { Map::Lifetimes } else { self.map };
            let words = match chosen {
                Map::Arena => "Arena: each tensor's place and lifetime".to_owned(),
                Map::Lifetimes => {
                    let tensors: usize = memory.rows.iter().map(Vec::len).sum();
                    let rows = memory.rows.len();
                    format!("Lifetimes: {}, at most {rows} at once", format::plural(tensors, "tensor"))
                }
            };
            text_in(&painter, heading, Align2::LEFT_CENTER, &words, theme::caption(), theme.text_weak);
            tensor = match chosen {
                Map::Arena => canvas.arena(&painter, map),
                Map::Lifetimes => canvas.lifetimes(&painter, map, self.scroll),
            };
        }
        canvas.x_axis(&painter, rect.with_min_y(inner.bottom()));
        let tensor = tensor.map(|i| &profile.trace.memory.tensors[i]);
        let marks = [
            (self.pinned.map(|s| LayerId(s as u32)), theme.text_strong),
            (selection.layer, theme.focus),
            (selection.hovered.or(step.map(|s| LayerId(s as u32))), theme.text_weak),
        ];
        for (layer, color) in marks {
            if let Some(layer) = layer {
                canvas.mark(&painter, layer, inner, color);
            }
        }
        if let Some(step) = step {
            let here = LayerId(step as u32);
            selection.hovered = Some(tensor.and_then(|t| t.producer).unwrap_or(here));
            if response.clicked() {
                self.pinned = Some(step);
                selection.select(selection.hovered);
            }
            response.on_hover_ui_at_pointer(|ui| match tensor {
                Some(t) => alive::tensor_tip(ui, theme, profile, t, Some(step)),
                None => alive::step_tip(ui, theme, profile, step),
            });
        }
        step
    }

    /// Wheel, drag and keys: zoom, pan, scroll, walk.
    fn steer(&mut self, ui: &Ui, response: &egui::Response, profile: &Profile, inner: Rect, height: f32) {
        let end = Canvas::end(profile, self.axis);
        let unit = end / profile.memory.steps.len().max(1) as f64;
        let (from, to) = self.window.range(end);
        let per_point = (to - from) / f64::from(inner.width().max(1.0));
        if response.double_clicked() {
            self.window.fit();
        }
        if response.dragged() {
            let by = response.drag_delta();
            self.window.pan(-f64::from(by.x) * per_point, end);
            self.scroll -= by.y;
        }
        if let Some(at) = response.hover_pos() {
            let (zoom, wheel) = ui.input(|i| (i.zoom_delta(), i.smooth_scroll_delta()));
            let t = from + f64::from(at.x - inner.left()) * per_point;
            if (zoom - 1.0).abs() > f32::EPSILON {
                self.window.zoom(f64::from(zoom), t, end, unit);
            } else {
                self.window.pan(-f64::from(wheel.x) * per_point, end);
                self.scroll -= wheel.y;
            }
        }
        if response.clicked() {
            response.request_focus();
        }
        if response.has_focus() {
            self.keys(ui, response, profile, (from, to), unit);
        }
        let most = (profile.memory.rows.len() as f32 * BAR - height).max(0.0);
        self.scroll = self.scroll.clamp(0.0, most);
    }

    fn keys(&mut self, ui: &Ui, response: &egui::Response, profile: &Profile, window: (f64, f64), unit: f64) {
        let filter = EventFilter { horizontal_arrows: true, vertical_arrows: true, ..EventFilter::default() };
        ui.memory_mut(|m| m.set_focus_lock_filter(response.id, filter));
        let end = Canvas::end(profile, self.axis);
        let pressed = |key| ui.input(|i| i.modifiers.is_none() && i.key_pressed(key));
        let (from, to) = window;
        let middle = (from + to) / 2.0;
        for (key, factor) in [(Key::W, 1.5), (Key::S, 1.0 / 1.5)] {
            if pressed(key) {
                self.window.zoom(factor, middle, end, unit);
            }
        }
        for (key, part) in [(Key::A, -0.2), (Key::D, 0.2)] {
            if pressed(key) {
                self.window.pan((to - from) * part, end);
            }
        }
        for (key, by) in [(Key::ArrowUp, -BAR), (Key::ArrowDown, BAR)] {
            if pressed(key) {
                self.scroll += by;
            }
        }
        let now = self.pinned.unwrap_or_else(|| self.peak(profile));
        let last = profile.memory.steps.len().saturating_sub(1);
        for (key, step) in [(Key::ArrowLeft, now.saturating_sub(1)), (Key::ArrowRight, (now + 1).min(last))] {
            if pressed(key) {
                self.pinned = Some(step);
            }
        }
        if pressed(Key::F) {
            self.window.fit();
        }
        if pressed(Key::P) || pressed(Key::Escape) {
            self.pinned = None;
        }
    }

    fn lower_ui(&mut self, ui: &mut Ui, profile: &Profile, step: usize, peak: usize, cx: &mut ViewCx<'_>) {
        let theme = cx.theme;
        let hide = self.hides_weights(profile);
        let (head, _) = ui.allocate_exact_size(vec2(ui.available_width(), 32.0), Sense::hover());
        ui.painter().hline(head.x_range(), head.top() + 0.5, theme.line());
        let mut child = ui.new_child(
            egui::UiBuilder::new()
                .max_rect(head.shrink2(vec2(PAD, 0.0)))
                .layout(egui::Layout::left_to_right(egui::Align::Center)),
        );
        let lower = [
            (Lower::Alive, "Alive", "Which tensors are alive at the peak, or at the step under the pointer"),
            (Lower::WhatIf, "What if", "What would lower the peak: other orders, f16, fusion"),
        ];
        segmented(&mut child, &mut self.lower, &lower);
        match self.lower {
            Lower::Alive => {
                self.alive.update(profile, step, hide);
                if step != peak && self.pinned.is_some() {
                    let button = child.button("Peak").on_hover_text("Back to the peak (P)");
                    if button.clicked() {
                        self.pinned = None;
                    }
                }
                let words = self.alive.words(profile, step, step == peak, hide);
                child.add_space(GRID);
                let label = egui::Label::new(RichText::new(&words).color(theme.text_strong)).truncate();
                child.add(label).on_hover_text(&words);
                self.alive.ui(ui, profile, step, cx.selection, theme);
            }
            Lower::WhatIf => what_if::ui(ui, cx),
        }
        ui.expand_to_include_rect(Rect::from_min_max(pos2(head.left(), head.top()), head.max));
    }
}
