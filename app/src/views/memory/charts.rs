//! The pictures: what is alive over the run, and each tensor's place and lifetime.

use egui::{Align2, CornerRadius, Painter, Pos2, Rect, Stroke, StrokeKind, pos2, vec2};
use profiler::{LayerId, MemoryClass, TensorLife};
use std::collections::HashSet;

use crate::draw::flame_paint::Lens;
use crate::draw::memory_index::{MemoryIndex, extent};
use crate::draw::scopes::suffixes;
use crate::draw::{axis, text_in};
use crate::format;
use crate::theme::{self, Theme};
use crate::view::{Profile, Selection};

/// The height of a lifetime's bar with its gap.
pub const BAR: f32 = 18.0;

/// Along which the steps lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Axis {
    /// Each step is equally wide.
    #[default]
    Steps,
    /// Each is as wide as its median time.
    Time,
}

/// What the pictures are drawn from.
pub struct Canvas<'a> {
    pub profile: &'a Profile,
    pub axis: Axis,
    pub lens: Lens,
    pub theme: &'a Theme,
    pub selection: &'a Selection,
    /// The step that the list below is about.
    pub step: usize,
    pub pointer: Option<Pos2>,
}

impl Canvas<'_> {
    fn memory(&self) -> &MemoryIndex {
        &self.profile.memory
    }

    /// Where a step begins; one past the last is where that ends.
    pub fn at(&self, step: usize) -> f64 {
        match self.axis {
            Axis::Steps => step as f64,
            Axis::Time => self.memory().times.get(step).copied().unwrap_or(0.0),
        }
    }

    /// The end of the axis.
    pub fn end(profile: &Profile, axis: Axis) -> f64 {
        match axis {
            Axis::Steps => profile.memory.steps.len() as f64,
            Axis::Time => profile.memory.times.last().copied().unwrap_or(1.0).max(1.0),
        }
    }

    /// The step at a place of the axis.
    pub fn step_at(&self, t: f64) -> Option<usize> {
        let step = match self.axis {
            Axis::Steps => t.max(0.0) as usize,
            Axis::Time => self.memory().times.partition_point(|&s| s <= t).saturating_sub(1),
        };
        (step < self.memory().steps.len()).then_some(step)
    }

    fn extent(&self, t: &TensorLife) -> (f32, f32) {
        let (first, last) = extent(t, self.memory().steps.len());
        (self.lens.x(self.at(first)), self.lens.x(self.at(last + 1)))
    }

    /// Bytes alive, stacked by class; `first` is 1 where weights are left out.
    pub fn stack(&self, painter: &Painter, rect: Rect, first: usize, peak: usize) {
        let (theme, memory, lens) = (self.theme, self.memory(), self.lens);
        let shown = |s: &[u64; 4]| s[first..].iter().fold(0u64, |a, &b| a.saturating_add(b));
        let most = shown(&memory.steps[peak]).max(1) as f64;
        axis::value_axis(painter, theme, rect, most, format::bytes);
        let inside = painter.with_clip_rect(rect.expand2(vec2(0.0, 10.0)).intersect(painter.clip_rect()));
        let y = |bytes: f64| rect.bottom() - (bytes / most) as f32 * rect.height();
        let mut i = self.step_at(lens.window.0).unwrap_or(0);
        while i < memory.steps.len() && self.at(i) < lens.window.1 {
            // Steps that share a point of the screen are drawn as their largest.
            let left = lens.x(self.at(i));
            let mut largest = i;
            let mut end = i + 1;
            while end < memory.steps.len() && lens.x(self.at(end)) - left < 1.0 {
                if shown(&memory.steps[end]) > shown(&memory.steps[largest]) {
                    largest = end;
                }
                end += 1;
            }
            let right = lens.x(self.at(end)).max(left + 1.0);
            let mut base = 0.0;
            for class in &MemoryClass::ALL[first..] {
                let bytes = memory.steps[largest][*class as usize] as f64;
                if bytes > 0.0 {
                    let cell = Rect::from_min_max(pos2(left, y(base + bytes)), pos2(right, y(base)));
                    inside.rect_filled(cell, 0.0, theme::mix(theme.surface[0], theme.memory_class(*class), 0.85));
                }
                base += bytes;
            }
            i = end;
        }
        painter.hline(rect.x_range(), rect.bottom() + 0.5, theme.line());
        let bytes = shown(&memory.steps[peak]) as f64;
        let x = (lens.x(self.at(peak)) + lens.x(self.at(peak + 1))) / 2.0;
        if !rect.x_range().contains(x) {
            return;
        }
        let at = pos2(x, y(bytes));
        let up = vec![at + vec2(0.0, -1.0), at + vec2(-4.0, -7.0), at + vec2(4.0, -7.0)];
        painter.add(egui::Shape::convex_polygon(up, theme.text_strong, Stroke::NONE));
        let words = format!("peak {}", format::bytes(bytes));
        let right = x < rect.center().x;
        let (align, dx) = if right { (Align2::LEFT_CENTER, 8.0) } else { (Align2::RIGHT_CENTER, -8.0) };
        painter.text(at + vec2(dx, -6.0), align, words, theme::caption(), theme.text_strong);
    }

    /// Each tensor's place in the arena; tells which is under the pointer.
    pub fn arena(&self, painter: &Painter, rect: Rect) -> Option<usize> {
        let tensors = &self.profile.trace.memory.tensors;
        let end = |t: &TensorLife| t.offset.unwrap_or(0).saturating_add(t.bytes);
        let placed = &self.memory().arena;
        let size = self.profile.trace.memory.arena_bytes.max(1);
        let size = placed.iter().map(|&i| end(&tensors[i])).fold(size, u64::max) as f64;
        axis::value_axis(painter, self.theme, rect, size, format::bytes);
        painter.hline(rect.x_range(), rect.bottom() + 0.5, self.theme.line());
        let inside = painter.with_clip_rect(rect.intersect(painter.clip_rect()));
        let mut hit = None;
        // Of those that are smaller than a point of the screen one is drawn for all.
        let mut tiny: HashSet<(i32, i32)> = HashSet::new();
        for &i in placed {
            let t = &tensors[i];
            let (x0, x1) = self.extent(t);
            if x1 < rect.left() || x0 > rect.right() {
                continue;
            }
            let y = |bytes: u64| rect.bottom() - (bytes as f64 / size) as f32 * rect.height();
            let cell = Rect::from_min_max(pos2(x0, y(end(t))), pos2(x1.max(x0 + 1.0), y(t.offset.unwrap_or(0))));
            if self.pointer.is_some_and(|p| cell.expand(0.5).contains(p)) {
                hit = Some(i);
            }
            let small = cell.width() < 2.0 && cell.height() < 2.0;
            if !small || tiny.insert((cell.left() as i32, cell.top() as i32)) {
                self.tensor(&inside, cell, t);
            }
        }
        hit
    }

    /// Each tensor's lifetime as a bar, `scroll` points down; tells which is under the pointer.
    pub fn lifetimes(&self, painter: &Painter, rect: Rect, scroll: f32) -> Option<usize> {
        let tensors = &self.profile.trace.memory.tensors;
        let rows = &self.memory().rows;
        let inside = painter.with_clip_rect(rect.intersect(painter.clip_rect()));
        let first = (scroll / BAR).max(0.0) as usize;
        let count = (rect.height() / BAR).ceil() as usize + 1;
        let mut hit = None;
        for (n, row) in rows.iter().enumerate().skip(first).take(count) {
            let top = rect.top() + n as f32 * BAR - scroll;
            let begin = row.partition_point(|&i| self.extent(&tensors[i]).1 < rect.left());
            let mut drawn = f32::NEG_INFINITY;
            for &i in &row[begin..] {
                let (x0, x1) = self.extent(&tensors[i]);
                if x0 > rect.right() {
                    break;
                }
                let cell = Rect::from_min_max(pos2(x0, top), pos2(x1.max(x0 + 1.0), top + BAR - 1.0));
                if self.pointer.is_some_and(|p| rect.contains(p) && cell.contains(p)) {
                    hit = Some(i);
                }
                // Bars that end within the same point join.
                if cell.right() > drawn + 0.5 {
                    self.tensor(&inside, cell, &tensors[i]);
                    drawn = cell.right();
                }
            }
        }
        painter.hline(rect.x_range(), rect.bottom() + 0.5, self.theme.line());
        hit
    }

    fn tensor(&self, painter: &Painter, cell: Rect, t: &TensorLife) {
        let theme = self.theme;
        let lit = t.producer.is_some_and(|l| self.selection.is_hovered(l) || self.selection.is_selected(l));
        let alive = t.first.index() <= self.step && self.step <= t.last.index();
        let strength = if lit {
            0.95
        } else if alive {
            0.75
        } else {
            0.4
        };
        let fill = theme::mix(theme.surface[0], theme.memory_class(t.class), strength);
        let gap = |size: f32| if size > 3.0 { 0.5 } else { 0.0 };
        let body = cell.shrink2(vec2(gap(cell.width()), gap(cell.height())));
        painter.rect_filled(body, CornerRadius::same(1), fill);
        if lit {
            painter.rect_stroke(body, CornerRadius::same(1), Stroke::new(1.0, theme.text_strong), StrokeKind::Inside);
        }
        let label = cell.intersect(painter.clip_rect()).shrink2(vec2(4.0, 0.0));
        if label.width() > 32.0 && cell.height() > 14.0 {
            let ink = theme.ink_on(fill);
            let size = format::bytes(t.bytes as f64);
            let room = label.width() - 8.0;
            let width = crate::draw::galley(painter, &size, theme::caption_figure(), ink, room).size().x;
            let name = suffixes(&t.name).last().unwrap_or(&t.name);
            if width + 40.0 < label.width() {
                text_in(painter, label, Align2::RIGHT_CENTER, &size, theme::caption_figure(), ink);
                let rest = label.with_max_x(label.right() - width - 8.0);
                text_in(painter, rest, Align2::LEFT_CENTER, name, theme::caption(), ink);
            } else {
                text_in(painter, label, Align2::LEFT_CENTER, name, theme::caption(), ink);
            }
        }
    }

    /// A line through a layer's step.
    pub fn mark(&self, painter: &Painter, layer: LayerId, inner: Rect, color: egui::Color32) {
        if layer.index() < self.memory().steps.len() {
            let x = (self.lens.x(self.at(layer.index())) + self.lens.x(self.at(layer.index() + 1))) / 2.0;
            if inner.x_range().contains(x) {
                painter.vline(x.round() + 0.5, inner.y_range(), Stroke::new(1.0, color));
            }
        }
    }

    /// Steps or times along the bottom.
    pub fn x_axis(&self, painter: &Painter, rect: Rect) {
        let (theme, lens) = (self.theme, self.lens);
        let count = (lens.width / 90.0).max(1.0) as usize;
        let (from, to) = lens.window;
        let step = axis::step((to - from) / count as f64);
        for t in axis::ticks(from, to, count) {
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
                let at = pos2(x + 3.0, rect.center().y + 1.0);
                painter.text(at, Align2::LEFT_CENTER, label, theme::caption_figure(), theme.text_weak);
            }
        }
        let name = if self.axis == Axis::Steps { "step" } else { "time" };
        let at = pos2(lens.left - 6.0, rect.center().y + 1.0);
        painter.text(at, Align2::RIGHT_CENTER, name, theme::caption(), theme.text_weak);
    }
}
