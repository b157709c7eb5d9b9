//! What occupies memory at each step of the plan, where tensors lie in the arena, and what is alive at the peak.

use egui::{
    Align2, CornerRadius, Painter, Rect, RichText, Role, Sense, Stroke, StrokeKind, Ui, WidgetInfo, pos2, vec2,
};
use profiler::{LayerId, MemoryClass, TensorLife};

use crate::draw::flame_paint::Lens;
use crate::draw::memory_index::{MemoryIndex, total};
use crate::draw::table::{Column, Row, Table};
use crate::draw::{axis, empty, key, panel_head, segmented, swatch, text_in};
use crate::format::{self, Scale, UNKNOWN};
use crate::theme::{self, GRID, PAD, Theme};
use crate::view::{Action, Profile, Selection, View, ViewCx};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Axis {
    #[default]
    Steps,
    Time,
}

const GUTTER: f32 = 64.0;
const AXIS_HEIGHT: f32 = 20.0;

/// The trace (by address), the step, and whether weights are left out.
type Shown = (usize, usize, bool);

/// The memory panel.
#[derive(Default)]
pub struct MemoryView {
    axis: Axis,
    /// As chosen; until then weights are hidden where they dwarf the rest.
    hide_weights: Option<bool>,
    /// Tensors alive at a step, kept while the step and the trace stay the same.
    alive: Option<(Shown, Vec<usize>)>,
}

impl View for MemoryView {
    fn id(&self) -> &'static str {
        "memory"
    }

    fn title(&self) -> &'static str {
        "Memory"
    }

    fn ui(&mut self, ui: &mut Ui, cx: &mut ViewCx<'_>) {
        let theme = cx.theme;
        let Some((profile, peak)) = cx.profile.and_then(|p| Some((p, p.memory.peak?))) else {
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
        if profile.memory.times.is_empty() {
            self.axis = Axis::Steps;
        }
        panel_head(ui, theme, |ui| {
            if !profile.memory.times.is_empty() {
                let axes = [
                    (Axis::Steps, "By step", "Every step of the plan is equally wide"),
                    (Axis::Time, "By time", "Steps are as wide as their median time"),
                ];
                segmented(ui, &mut self.axis, &axes);
            }
            let mut hide = self.hides_weights(profile);
            if ui.checkbox(&mut hide, "Hide weights").on_hover_text("Show what changes over a run, larger").changed() {
                self.hide_weights = Some(hide);
            }
            ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
                for class in MemoryClass::ALL.into_iter().rev() {
                    if profile.memory.steps.iter().any(|s| s[class as usize] > 0) {
                        key(ui, theme, theme.memory_class(class), class.label());
                    }
                }
            });
        });
        facts_ui(ui, theme, profile);
        let space = ui.available_rect_before_wrap();
        // The picture above, the list of what is alive below; the list gets a third at most.
        let list_height = (space.height() * 0.36).clamp(72.0, 260.0);
        let peak = self.peak(profile).unwrap_or(peak);
        let list = space.with_min_y(space.bottom() - list_height);
        let charts = space.with_max_y(list.top());
        let hovered = self.charts_ui(ui, charts, profile, peak, cx.selection, theme);
        let step = hovered.unwrap_or(peak);
        let mut ui = ui.new_child(egui::UiBuilder::new().max_rect(list));
        self.list_ui(&mut ui, profile, step, step == peak, cx.selection, theme);
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
    fn hides_weights(&self, profile: &Profile) -> bool {
        self.hide_weights.unwrap_or_else(|| {
            let memory = &profile.memory;
            let weights = memory.peak.map_or(0, |p| memory.steps[p][MemoryClass::Weights as usize]);
            let rest = memory.peak_bytes() - weights;
            rest > 0 && weights / rest >= 2
        })
    }

    /// The step with the most of what is on show.
    fn peak(&self, profile: &Profile) -> Option<usize> {
        let first = usize::from(self.hides_weights(profile));
        let steps = &profile.memory.steps;
        let sum = |i: usize| steps[i][first..].iter().fold(0u64, |a, &b| a.saturating_add(b));
        (0..steps.len()).max_by_key(|&i| (sum(i), std::cmp::Reverse(i)))
    }

    fn lens(&self, memory: &MemoryIndex, plot: Rect) -> Lens {
        let end = match self.axis {
            Axis::Steps => memory.steps.len() as f64,
            Axis::Time => memory.times.last().copied().unwrap_or(1.0).max(1.0),
        };
        Lens { window: (0.0, end), left: plot.left(), width: plot.width() }
    }

    /// Where a step begins; one past the last is where that ends.
    fn at(&self, memory: &MemoryIndex, step: usize) -> f64 {
        match self.axis {
            Axis::Steps => step as f64,
            Axis::Time => memory.times.get(step).copied().unwrap_or(0.0),
        }
    }

    /// The stacked timeline above the map of the arena, on one axis; returns the step under the pointer.
    fn charts_ui(
        &self,
        ui: &mut Ui,
        rect: Rect,
        profile: &Profile,
        peak: usize,
        selection: &mut Selection,
        theme: &Theme,
    ) -> Option<usize> {
        let memory = &profile.memory;
        ui.painter().rect_filled(rect, 0.0, theme.surface[0]);
        let response = ui.interact(rect, ui.scope_id().with("charts"), Sense::CLICK);
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
        let has_arena = !memory.arena.is_empty();
        let split = if has_arena { inner.top() + inner.height() * 0.48 } else { inner.bottom() };
        let stack = inner.with_min_y(inner.top() + PAD * 2.0).with_max_y(split - GRID);
        let arena = inner.with_min_y(split + GRID * 4.0);
        let lens = self.lens(memory, inner);
        let painter = ui.painter().with_clip_rect(rect.intersect(ui.clip_rect()));
        self.stack_ui(&painter, stack, profile, peak, lens, theme);
        let pointer = response.hover_pos().filter(|p| inner.x_range().contains(p.x));
        let step = pointer.and_then(|p| self.step_at(memory, lens.t(p.x)));
        let tensor = if has_arena {
            let heading = arena.with_max_y(arena.top() - 1.0).with_min_y(arena.top() - 16.0);
            let words = "Arena: each tensor's place and lifetime";
            text_in(&painter, heading, Align2::LEFT_CENTER, words, theme::caption(), theme.text_weak);
            self.arena_ui(&painter, arena, profile, lens, selection, pointer, theme)
        } else {
            None
        };
        self.x_axis(&painter, rect.with_min_y(inner.bottom()), memory, lens, theme);
        for (mark, color) in
            [(selection.layer, theme.focus), (selection.hovered.or(step.map(|s| LayerId(s as u32))), theme.text_weak)]
        {
            if let Some(layer) = mark.filter(|l| l.index() < memory.steps.len()) {
                let x = (lens.x(self.at(memory, layer.index())) + lens.x(self.at(memory, layer.index() + 1))) / 2.0;
                painter.vline(x.round() + 0.5, inner.y_range(), Stroke::new(1.0, color));
            }
        }
        if let Some(step) = step {
            selection.hovered = Some(tensor.and_then(|t| t.producer).unwrap_or(LayerId(step as u32)));
            if response.clicked() {
                selection.select(selection.hovered);
            }
            response.on_hover_ui_at_pointer(|ui| match tensor {
                Some(t) => tensor_tip(ui, theme, profile, t),
                None => step_tip(ui, theme, profile, step),
            });
        }
        step
    }

    fn step_at(&self, memory: &MemoryIndex, t: f64) -> Option<usize> {
        let step = match self.axis {
            Axis::Steps => t.max(0.0) as usize,
            Axis::Time => memory.times.partition_point(|&s| s <= t).saturating_sub(1),
        };
        (step < memory.steps.len()).then_some(step)
    }

    fn stack_ui(&self, painter: &Painter, rect: Rect, profile: &Profile, peak: usize, lens: Lens, theme: &Theme) {
        let memory = &profile.memory;
        let first = usize::from(self.hides_weights(profile));
        let shown = |s: &[u64; 4]| s[first..].iter().fold(0u64, |a, &b| a.saturating_add(b));
        let most = memory.steps.iter().map(shown).max().unwrap_or(0).max(1) as f64;
        axis::value_axis(painter, theme, rect, most, format::bytes);
        let y = |bytes: f64| rect.bottom() - (bytes / most) as f32 * rect.height();
        let mut i = 0;
        while i < memory.steps.len() {
            // Steps that share a point of the screen are drawn as their largest.
            let left = lens.x(self.at(memory, i));
            let mut largest = i;
            let mut end = i + 1;
            while end < memory.steps.len() && lens.x(self.at(memory, end)) - left < 1.0 {
                if shown(&memory.steps[end]) > shown(&memory.steps[largest]) {
                    largest = end;
                }
                end += 1;
            }
            let right = lens.x(self.at(memory, end)).max(left + 1.0);
            let mut base = 0.0;
            for class in &MemoryClass::ALL[first..] {
                let bytes = memory.steps[largest][*class as usize] as f64;
                if bytes > 0.0 {
                    let cell = Rect::from_min_max(pos2(left, y(base + bytes)), pos2(right, y(base)));
                    painter.rect_filled(cell, 0.0, theme::mix(theme.surface[0], theme.memory_class(*class), 0.85));
                }
                base += bytes;
            }
            i = end;
        }
        painter.hline(rect.x_range(), rect.bottom() + 0.5, theme.line());
        let bytes = shown(&memory.steps[peak]) as f64;
        let x = (lens.x(self.at(memory, peak)) + lens.x(self.at(memory, peak + 1))) / 2.0;
        let at = pos2(x, y(bytes));
        let up = vec![at + vec2(0.0, -1.0), at + vec2(-4.0, -7.0), at + vec2(4.0, -7.0)];
        painter.add(egui::Shape::convex_polygon(up, theme.text_strong, Stroke::NONE));
        let words = format!("peak {}", format::bytes(bytes));
        let right = x < rect.center().x;
        let (align, dx) = if right { (Align2::LEFT_CENTER, 8.0) } else { (Align2::RIGHT_CENTER, -8.0) };
        painter.text(at + vec2(dx, -6.0), align, words, theme::caption(), theme.text_strong);
    }

    fn arena_ui<'p>(
        &self,
        painter: &Painter,
        rect: Rect,
        profile: &'p Profile,
        lens: Lens,
        selection: &Selection,
        pointer: Option<egui::Pos2>,
        theme: &Theme,
    ) -> Option<&'p TensorLife> {
        let memory = &profile.memory;
        let tensors = &profile.trace.memory.tensors;
        let end = |t: &TensorLife| t.offset.unwrap_or(0).saturating_add(t.bytes);
        let placed = memory.arena.iter().map(|&i| &tensors[i]);
        let size = placed.clone().map(end).max().unwrap_or(0).max(profile.trace.memory.arena_bytes).max(1) as f64;
        axis::value_axis(painter, theme, rect, size, format::bytes);
        painter.hline(rect.x_range(), rect.bottom() + 0.5, theme.line());
        let mut hit = None;
        for t in placed {
            let last = t.last.index().min(memory.steps.len() - 1);
            let (x0, x1) = (lens.x(self.at(memory, t.first.index().min(last))), lens.x(self.at(memory, last + 1)));
            let y = |bytes: u64| rect.bottom() - (bytes as f64 / size) as f32 * rect.height();
            let cell = Rect::from_min_max(pos2(x0, y(end(t))), pos2(x1.max(x0 + 1.0), y(t.offset.unwrap_or(0))));
            let base = theme.memory_class(t.class);
            let lit = t.producer.is_some_and(|l| selection.is_hovered(l) || selection.is_selected(l));
            let fill = theme::mix(theme.surface[0], base, if lit { 0.95 } else { 0.5 });
            let gap = if cell.width() > 3.0 { 0.5 } else { 0.0 };
            painter.rect_filled(
                cell.shrink2(vec2(gap, if cell.height() > 3.0 { 0.5 } else { 0.0 })),
                CornerRadius::same(1),
                fill,
            );
            if lit {
                painter.rect_stroke(
                    cell,
                    CornerRadius::same(1),
                    Stroke::new(1.0, theme.text_strong),
                    StrokeKind::Inside,
                );
            }
            if pointer.is_some_and(|p| cell.contains(p)) {
                hit = Some(t);
            }
            if cell.width() > 40.0 && cell.height() > 14.0 {
                let name = crate::draw::scopes::suffixes(&t.name).last().unwrap_or(&t.name);
                text_in(
                    painter,
                    cell.shrink2(vec2(4.0, 0.0)),
                    Align2::LEFT_CENTER,
                    name,
                    theme::caption(),
                    theme.ink_on(fill),
                );
            }
        }
        hit
    }

    fn x_axis(&self, painter: &Painter, rect: Rect, memory: &MemoryIndex, lens: Lens, theme: &Theme) {
        let count = (lens.width / 90.0).max(1.0) as usize;
        let end = lens.window.1;
        let step = axis::step(end / count as f64);
        for t in axis::ticks(0.0, end, count) {
            if self.axis == Axis::Steps && t.fract() != 0.0 {
                continue;
            }
            let label = match self.axis {
                Axis::Steps => format!("{t:.0}"),
                Axis::Time => axis::time_label(t, step),
            };
            let x = lens.x(t);
            painter.vline(x.round() + 0.5, rect.top()..=rect.top() + 4.0, theme.line());
            if x + 40.0 < lens.left + lens.width {
                painter.text(
                    pos2(x + 3.0, rect.center().y + 1.0),
                    Align2::LEFT_CENTER,
                    label,
                    theme::caption_figure(),
                    theme.text_weak,
                );
            }
        }
        let name = if self.axis == Axis::Steps { "step" } else { "time" };
        let at = pos2(lens.left - 6.0, rect.center().y + 1.0);
        painter.text(at, Align2::RIGHT_CENTER, name, theme::caption(), theme.text_weak);
        debug_assert!(!memory.steps.is_empty());
    }

    fn list_ui(
        &mut self,
        ui: &mut Ui,
        profile: &Profile,
        step: usize,
        peak: bool,
        selection: &mut Selection,
        theme: &Theme,
    ) {
        let hide = self.hides_weights(profile);
        let key = (std::sync::Arc::as_ptr(&profile.trace).addr(), step, hide);
        let tensors = &profile.trace.memory.tensors;
        if self.alive.as_ref().map(|a| a.0) != Some(key) {
            let mut alive = profile.memory.alive_at(&profile.trace.memory, step);
            alive.retain(|&i| !hide || tensors[i].class != MemoryClass::Weights);
            self.alive = Some((key, alive));
        }
        let Some((_, alive)) = &self.alive else { return };
        let (head, _) = ui.allocate_exact_size(vec2(ui.available_width(), 28.0), Sense::hover());
        ui.painter().hline(head.x_range(), head.top() + 0.5, theme.line());
        let place = if peak { "at the peak" } else { "here" };
        let bytes = &profile.memory.steps[step];
        let weights = bytes[MemoryClass::Weights as usize];
        let kept = total(bytes) - if hide { weights } else { 0 };
        let mut words = format!(
            "{} alive {place}: {} in step {step}, {}",
            format::plural(alive.len(), "tensor"),
            format::bytes(kept as f64),
            profile.trace.layers[step].name
        );
        if hide && weights > 0 {
            words += &format!("; weights besides: {}", format::bytes(weights as f64));
        }
        text_in(
            ui.painter(),
            head.shrink2(vec2(PAD, 0.0)),
            Align2::LEFT_CENTER,
            &words,
            theme::sans(),
            theme.text_strong,
        );
        let scale = Scale::bytes(alive.iter().map(|&i| tensors[i].bytes as f64).fold(0.0, f64::max));
        let columns = [
            Column::text("Tensor", 200.0, 2.0),
            Column::text("Class", 100.0, 0.0),
            Column::text("Type", 130.0, 1.0),
            Column::figure("Size", 80.0).unit(scale.unit),
            Column::text("Made by", 160.0, 2.0),
            Column::text("Alive, steps", 88.0, 0.0).tip("The first and the last step of the plan at which it is alive"),
        ];
        let table = Table { id: "Alive tensors", columns: &columns, rows: alive.len(), scroll_to: None, totals: false };
        let tensor = |i: usize| &tensors[alive[i]];
        let chosen = |i: usize, s: &Selection| tensor(i).producer.is_some_and(|l| s.is_selected(l));
        let row = |i: usize| Row {
            selected: chosen(i, selection),
            lit: tensor(i).producer.is_some_and(|l| selection.is_hovered(l)),
            label: format!("{}, {}", tensor(i).name, format::bytes(tensor(i).bytes as f64)),
        };
        let outcome = table.show(ui, theme, None, row, |cell, i, column| {
            let t = tensor(i);
            match column {
                0 => cell.text(&t.name, theme.text),
                1 => {
                    swatch(
                        &cell.painter,
                        pos2(cell.rect.left() + 4.0, cell.rect.center().y),
                        theme.memory_class(t.class),
                    );
                    let rest = cell.rect.with_min_x(cell.rect.left() + 14.0);
                    text_in(&cell.painter, rest, Align2::LEFT_CENTER, t.class.label(), theme::sans(), theme.text_weak);
                }
                2 => cell.figure_elided(&t.ty, theme.text_weak),
                3 => cell.figure(&scale.cell(t.bytes as f64), theme.text_strong),
                4 => cell.text(
                    t.producer.and_then(|l| profile.labels.get(l.index())).map_or(UNKNOWN, |l| l),
                    theme.text_weak,
                ),
                _ => cell.figure_elided(&format!("{}–{}", t.first.0, t.last.0), theme.text_weak),
            }
        });
        if let Some(i) = outcome.chosen {
            let producer = tensor(i).producer;
            selection.select(producer);
        }
        if let Some((i, _, response)) = outcome.hovered {
            response.on_hover_ui_at_pointer(|ui| tensor_tip(ui, theme, profile, tensor(i)));
        }
    }
}

fn tensor_tip(ui: &mut Ui, theme: &Theme, profile: &Profile, t: &TensorLife) {
    ui.label(RichText::new(&t.name).font(theme::head()).color(theme.text_strong));
    ui.label(RichText::new(format!("{}  {}", t.ty, format::bytes(t.bytes as f64))).font(theme::figure()));
    let place =
        t.offset.map_or("memory of its own".to_owned(), |o| format!("at {} in the arena", format::bytes(o as f64)));
    ui.label(
        RichText::new(format!("{}, {place}, alive in steps {} to {}", t.class.label(), t.first.0, t.last.0))
            .color(theme.text_weak),
    );
    let maker = match t.producer.and_then(|l| profile.layer(l)) {
        Some(l) => format!("Made by {}", l.name),
        None => "A weight or an input: no layer makes it".to_owned(),
    };
    ui.label(RichText::new(maker).color(theme.text_weak));
}

fn step_tip(ui: &mut Ui, theme: &Theme, profile: &Profile, step: usize) {
    ui.label(RichText::new(&profile.trace.layers[step].name).font(theme::head()).color(theme.text_strong));
    let bytes = &profile.memory.steps[step];
    ui.label(RichText::new(format::bytes(total(bytes) as f64)).font(theme::figure()).color(theme.text));
    for class in MemoryClass::ALL.into_iter().filter(|c| bytes[*c as usize] > 0) {
        let words = format!("{}  {}", class.label(), format::bytes(bytes[class as usize] as f64));
        key(ui, theme, theme.memory_class(class), &words);
    }
}
