//! Both distributions of the chosen row, one over the other.

use egui::{Align2, CornerRadius, Rect, RichText, Role, Sense, Stroke, StrokeKind, Ui, WidgetInfo, pos2, vec2};
use profiler::compare::Row;

use super::Made;
use super::head::{change_color, facts};
use crate::comparison::operators;
use crate::draw::{fact, key, note};
use crate::format;
use crate::theme::{self, Theme};

/// Counts of both sides in equal bins.
#[derive(Default)]
pub struct Spread {
    of: Option<(usize, Option<usize>, usize)>,
    from: f64,
    to: f64,
    counts: [Vec<usize>; 2],
    beyond: usize,
}

impl Spread {
    /// The chosen row's name, both histograms and its figures.
    pub fn ui(&mut self, ui: &mut Ui, theme: &Theme, made: &Made, chosen: Option<usize>) {
        let c = &made.comparison;
        let Some(row) = chosen.and_then(|r| c.rows.get(r)) else {
            note(ui, "Choose a row to see how its runs spread.");
            return;
        };
        ui.add(egui::Label::new(RichText::new(&row.name).font(theme::head()).color(theme.text_strong)).truncate())
            .on_hover_text(&row.name);
        ui.add(egui::Label::new(RichText::new(operators(row)).font(theme::caption()).color(theme.text)).truncate());
        let wide = ui.available_width() > 520.0;
        let facts_ui = |ui: &mut Ui| {
            for (label, value) in facts(&row.time, c.options.confidence) {
                fact(ui, theme, &label, &value, "");
            }
            fact(ui, theme, "Verdict", row.time.verdict.label(), row.time.verdict.reason());
            sizes_and_errors(ui, theme, row);
        };
        if wide {
            ui.columns(2, |columns| {
                self.histogram(&mut columns[0], theme, made, row, chosen);
                facts_ui(&mut columns[1]);
            });
        } else {
            self.histogram(ui, theme, made, row, chosen);
            egui::ScrollArea::vertical().auto_shrink([false, false]).show(ui, |ui| facts_ui(ui));
        }
    }

    fn histogram(&mut self, ui: &mut Ui, theme: &Theme, made: &Made, row: &Row, chosen: Option<usize>) {
        ui.horizontal(|ui| {
            key(ui, theme, theme.text_weak, "baseline");
            key(ui, theme, color(theme, row), "current");
        });
        let height = (ui.available_height() - 16.0).clamp(60.0, 132.0);
        let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), height), Sense::hover());
        response.widget_info(|| {
            let words = format!("Histograms of both traces' times of {}", row.name);
            WidgetInfo::labeled(Role::Image, true, words)
        });
        if row.samples.iter().all(Vec::is_empty) {
            let painter = ui.painter();
            painter.text(rect.center(), Align2::CENTER_CENTER, "No run measured it", theme::caption(), theme.text_weak);
            return;
        }
        self.count(made, row, chosen, (rect.width() / 6.0) as usize);
        self.paint(ui, theme, row, rect);
        let at = response.hover_pos();
        if let Some(i) = at.map(|p| ((p.x - rect.left()) / rect.width() * self.counts[0].len() as f32) as usize) {
            let bin = (self.to - self.from) / self.counts[0].len() as f64;
            let (from, to) = (self.from + bin * i as f64, self.from + bin * (i + 1) as f64);
            let count = |side: usize| format::plural(self.counts[side].get(i).copied().unwrap_or(0), "run");
            let range = format!("Between {} and {}", format::duration(from), format::duration(to));
            response.on_hover_text_at_pointer(format!("{range}\nbaseline {}\ncurrent {}", count(0), count(1)));
        }
    }

    /// Counts anew if the row or the width is another.
    fn count(&mut self, made: &Made, row: &Row, chosen: Option<usize>, most: usize) {
        let runs = row.samples.iter().map(Vec::len).max().unwrap_or(0);
        let bins = ((runs as f64).sqrt().ceil() as usize * 3).clamp(1, most.clamp(1, 80));
        let of = (std::sync::Arc::as_ptr(&made.comparison).addr(), chosen, bins);
        if self.of == Some(of) {
            return;
        }
        let all = || row.samples.iter().filter(|s| !s.is_empty());
        // A single outlier must not squeeze the rest into one bin: beyond the 98th percentile it is only counted.
        let high = all().map(|s| s[(s.len() - 1) * 98 / 100]).fold(f64::MIN, f64::max);
        self.from = all().map(|s| s[0]).fold(f64::MAX, f64::min);
        self.to = (high + 0.02 * (high - self.from)).max(self.from + 1.0);
        self.beyond = 0;
        for (counts, sample) in self.counts.iter_mut().zip(&row.samples) {
            *counts = vec![0; bins];
            for v in sample {
                let i = ((v - self.from) / (self.to - self.from) * bins as f64) as usize;
                match counts.get_mut(i) {
                    Some(count) => *count += 1,
                    None => self.beyond += 1,
                }
            }
        }
        self.of = Some(of);
    }

    fn paint(&self, ui: &Ui, theme: &Theme, row: &Row, rect: Rect) {
        let plot = Rect::from_min_max(rect.min + vec2(0.0, 26.0), rect.max - vec2(0.0, 16.0));
        let painter = ui.painter().with_clip_rect(rect.intersect(ui.clip_rect()));
        let bins = self.counts[0].len();
        let width = plot.width() / bins as f32;
        // Shares of each side's runs: the sides need not have the same number.
        let share = |side: usize, i: usize| self.counts[side][i] as f32 / (row.samples[side].len().max(1)) as f32;
        let most = (0..bins).flat_map(|i| [share(0, i), share(1, i)]).fold(0.0, f32::max).max(1e-6);
        let current = color(theme, row);
        let bar = |side: usize, i: usize| {
            let x = plot.left() + i as f32 * width;
            let top = plot.bottom() - share(side, i) / most * plot.height();
            Rect::from_min_max(pos2(x, top.min(plot.bottom() - 1.0)), pos2(x + width - 0.5, plot.bottom()))
        };
        for i in (0..bins).filter(|&i| self.counts[0][i] > 0) {
            painter.rect_filled(bar(0, i), 0.0, theme::mix(theme.surface[1], theme.text_weak, 0.55));
        }
        for i in (0..bins).filter(|&i| self.counts[1][i] > 0) {
            painter.rect_filled(bar(1, i), 0.0, current.gamma_multiply(0.55));
            painter.rect_stroke(bar(1, i), CornerRadius::ZERO, Stroke::new(1.0, current), StrokeKind::Inside);
        }
        painter.hline(plot.x_range(), plot.bottom() + 0.5, theme.line());
        let x =
            |ns: f64| plot.left() + ((ns - self.from) / (self.to - self.from)).clamp(0.0, 1.0) as f32 * plot.width();
        for (i, (side, color, word)) in
            [(row.time.baseline, theme.text_weak, "baseline"), (row.time.current, theme.text_strong, "current")]
                .into_iter()
                .enumerate()
        {
            let Some(side) = side else { continue };
            let at = x(side.ns).round() + 0.5;
            let y = rect.top() + 12.0 * i as f32;
            painter.vline(at, y + 2.0..=plot.bottom(), Stroke::new(1.0, color));
            let text = format!("{word} {}", format::duration(side.ns));
            let (align, to) =
                if at > plot.center().x { (Align2::RIGHT_TOP, at - 4.0) } else { (Align2::LEFT_TOP, at + 4.0) };
            painter.text(pos2(to, y), align, text, theme::caption(), color);
        }
        let edge = |at, align, text: String| {
            painter.text(at, align, text, theme::caption_figure(), theme.text_weak);
        };
        edge(rect.left_bottom(), Align2::LEFT_BOTTOM, format::duration(self.from));
        let beyond = if self.beyond > 0 { format!(" ({} beyond)", self.beyond) } else { String::new() };
        edge(rect.right_bottom(), Align2::RIGHT_BOTTOM, format!("{}{beyond}", format::duration(self.to)));
    }
}

/// The current side's colour: that of its change, the accent without one.
fn color(theme: &Theme, row: &Row) -> egui::Color32 {
    use profiler::compare::Verdict;
    match row.time.verdict {
        Verdict::Slower | Verdict::Faster => change_color(theme, &row.time),
        _ => theme.accent,
    }
}

fn sizes_and_errors(ui: &mut Ui, theme: &Theme, row: &Row) {
    let (a, b) = (crate::comparison::size(row.memory.baseline), crate::comparison::size(row.memory.current));
    fact(ui, theme, "Weights and outputs", &format!("{a} → {b}"), "As planned; sizes have no spread.");
    for e in &row.errors {
        let db = |v: Option<f64>| v.map_or(format::UNKNOWN.to_owned(), format::decibel);
        let value = format!("{} → {}", db(e.baseline_db), db(e.current_db));
        fact(ui, theme, &format!("SQNR {}", e.scheme), &value, "Signal to quantization noise; higher is better.");
    }
}
