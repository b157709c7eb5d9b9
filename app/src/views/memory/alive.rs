//! Which tensors are alive at a step: what each is to that step, who made it and who needs it last.

use egui::{Align2, RichText, Ui, pos2};
use profiler::{LayerId, MemoryClass, TensorLife};

use crate::draw::memory_index::{Role, total};
use crate::draw::table::{Column, Row, Table};
use crate::draw::{bar, key, swatch, text_in};
use crate::format::{self, Scale, UNKNOWN};
use crate::theme::{self, Theme};
use crate::view::{Profile, Selection};

/// What is alive at a step, for the list: kept while the step and the trace stay the same.
#[derive(Default)]
pub struct Alive {
    /// The trace (by address), the step, and whether weights are left out.
    of: Option<(usize, usize, bool)>,
    tensors: Vec<usize>,
    /// Bytes that the step makes, reads, and lets wait.
    roles: [u64; 3],
}

impl Alive {
    /// Finds it, if it is not known already.
    pub fn update(&mut self, profile: &Profile, step: usize, hide_weights: bool) {
        let of = (std::sync::Arc::as_ptr(&profile.trace).addr(), step, hide_weights);
        if self.of == Some(of) {
            return;
        }
        self.of = Some(of);
        let all = &profile.trace.memory.tensors;
        self.tensors = profile.memory.alive_at(&profile.trace.memory, step);
        self.tensors.retain(|&i| !hide_weights || all[i].class != MemoryClass::Weights);
        self.roles = [0; 3];
        for t in self.tensors.iter().map(|&i| &all[i]).filter(|t| t.class != MemoryClass::Weights) {
            let sum = match profile.memory.role(t, step) {
                Role::Makes => &mut self.roles[0],
                Role::Reads => &mut self.roles[1],
                Role::Waits => &mut self.roles[2],
                Role::Unknown => continue,
            };
            *sum = sum.saturating_add(t.bytes);
        }
    }

    /// What is alive, in words.
    pub fn words(&self, profile: &Profile, step: usize, peak: bool, hide_weights: bool) -> String {
        let bytes = &profile.memory.steps[step];
        let weights = bytes[MemoryClass::Weights as usize];
        let kept = total(bytes) - if hide_weights { weights } else { 0 };
        let size = |b: u64| format::bytes(b as f64);
        let place = if peak { "Peak" } else { "Alive:" };
        let name = profile.labels.get(step).map_or("", |l| l);
        let mut words = format!("{place} {} at step {step}, {name}: ", size(kept));
        words += &if profile.memory.knows_readers {
            let [makes, reads, waits] = self.roles.map(size);
            format!("reads {reads}, makes {makes}; {waits} waits")
        } else {
            format::plural(self.tensors.len(), "tensor")
        };
        if hide_weights && weights > 0 {
            words += &format!("; besides {} of weights", size(weights));
        }
        words
    }

    /// The list.
    pub fn ui(&self, ui: &mut Ui, profile: &Profile, step: usize, selection: &mut Selection, theme: &Theme) {
        let all = &profile.trace.memory.tensors;
        let tensor = |i: usize| &all[self.tensors[i]];
        let largest = self.tensors.first().map_or(0, |&i| all[i].bytes) as f64;
        let scale = Scale::bytes(largest);
        let columns = [
            Column::text("Tensor", 180.0, 2.0),
            Column::figure("Size", 132.0).unit(scale.unit).tip("The bar is relative to the largest"),
            Column::text("Here it", 84.0, 0.0)
                .tip("What the step that runs has to do with it. What waits is alive for a later step alone"),
            Column::text("Made by", 150.0, 2.0).tip("The layer that writes it"),
            Column::text("Needed last by", 150.0, 2.0).tip("The layer after which its place is free"),
            Column::text("Steps", 76.0, 0.0).tip("The first and the last step of the plan at which it is alive"),
            Column::text("Class", 100.0, 0.0),
            Column::text("Type", 120.0, 1.0),
        ];
        let rows = self.tensors.len();
        let table = Table { id: "Alive tensors", columns: &columns, rows, scroll_to: None, totals: false };
        let row = |i: usize| Row {
            selected: tensor(i).producer.is_some_and(|l| selection.is_selected(l)),
            lit: tensor(i).producer.is_some_and(|l| selection.is_hovered(l)),
            label: format!("{}, {}", tensor(i).name, format::bytes(tensor(i).bytes as f64)),
        };
        let outcome = table.show(ui, theme, None, row, |cell, i, column| {
            let t = tensor(i);
            let label = |l: LayerId| profile.labels.get(l.index()).map_or(UNKNOWN, |l| l.as_str());
            match column {
                0 => cell.text(&t.name, theme.text),
                1 => {
                    cell.figure(&scale.cell(t.bytes as f64), theme.text_strong);
                    let rect = cell.rect.with_max_x(cell.rect.right() - 64.0).shrink2(egui::vec2(0.0, 7.0));
                    let part = if largest > 0.0 { t.bytes as f64 / largest } else { 0.0 };
                    bar(&cell.painter, theme, rect, part as f32, theme.memory_class(t.class));
                }
                2 => {
                    let role = profile.memory.role(t, step);
                    let color = if role == Role::Waits { theme.warn } else { theme.text_weak };
                    cell.text(if role == Role::Unknown { UNKNOWN } else { role.label() }, color);
                }
                3 => cell.text(maker(t).map_or(UNKNOWN, label), theme.text_weak),
                4 => cell.text(label(t.last), theme.text_weak),
                5 => cell.figure_elided(&format!("{}–{}", t.first.0, t.last.0), theme.text_weak),
                6 => {
                    let color = theme.memory_class(t.class);
                    swatch(&cell.painter, pos2(cell.rect.left() + 4.0, cell.rect.center().y), color);
                    let rest = cell.rect.with_min_x(cell.rect.left() + 14.0);
                    text_in(&cell.painter, rest, Align2::LEFT_CENTER, t.class.label(), theme::sans(), theme.text_weak);
                }
                _ => cell.figure_elided(&t.ty, theme.text_weak),
            }
        });
        if let Some(i) = outcome.chosen {
            selection.select(tensor(i).producer);
        }
        if let Some((i, _, response)) = outcome.hovered {
            if let Some(l) = tensor(i).producer {
                selection.hovered = Some(l);
            }
            response.on_hover_ui_at_pointer(|ui| tensor_tip(ui, theme, profile, tensor(i), Some(step)));
        }
    }
}

/// A weight belongs to the layer that reads it; it was made by none.
fn maker(t: &TensorLife) -> Option<LayerId> {
    t.producer.filter(|_| t.class != MemoryClass::Weights)
}

/// All about a tensor, and what it is to a step.
pub fn tensor_tip(ui: &mut Ui, theme: &Theme, profile: &Profile, t: &TensorLife, step: Option<usize>) {
    ui.set_max_width(420.0);
    ui.label(RichText::new(&t.name).font(theme::head()).color(theme.text_strong));
    ui.label(RichText::new(format!("{}  {}", t.ty, format::bytes(t.bytes as f64))).font(theme::figure()));
    let place =
        t.offset.map_or("memory of its own".to_owned(), |o| format!("at {} in the arena", format::bytes(o as f64)));
    let weak = |ui: &mut Ui, text: String| ui.label(RichText::new(text).color(theme.text_weak));
    weak(ui, format!("{}, {place}, alive in steps {} to {}", t.class.label(), t.first.0, t.last.0));
    let name = |l: LayerId| profile.layer(l).map_or("?", |l| l.name.as_str());
    match maker(t) {
        Some(l) => weak(ui, format!("Made by {}", name(l))),
        None => weak(ui, "A weight or an input: no layer makes it".to_owned()),
    };
    match t.readers.as_slice() {
        [] => weak(ui, format!("Needed until {}", name(t.last))),
        [one] => weak(ui, format!("Read by {}", name(*one))),
        [.., last] => {
            weak(ui, format!("Read by {}, last by {}", format::plural(t.readers.len(), "layer"), name(*last)))
        }
    };
    if let Some(Role::Waits) = step.map(|s| profile.memory.role(t, s)) {
        ui.label(RichText::new("It only waits here: this step neither makes nor reads it").color(theme.warn));
    }
}

/// What a step holds, by class.
pub fn step_tip(ui: &mut Ui, theme: &Theme, profile: &Profile, step: usize) {
    ui.label(RichText::new(&profile.trace.layers[step].name).font(theme::head()).color(theme.text_strong));
    let bytes = &profile.memory.steps[step];
    let words = format!("step {step}: {}", format::bytes(total(bytes) as f64));
    ui.label(RichText::new(words).font(theme::figure()).color(theme.text));
    for class in MemoryClass::ALL.into_iter().filter(|c| bytes[*c as usize] > 0) {
        let words = format!("{}  {}", class.label(), format::bytes(bytes[class as usize] as f64));
        key(ui, theme, theme.memory_class(class), &words);
    }
}
