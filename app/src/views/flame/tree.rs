//! Paints a tree of merged calls: the longest on the left, each child over or under what it was reached from.

use egui::{Align2, Color32, CornerRadius, Painter, Pos2, Rect, RichText, Stroke, StrokeKind, Ui, pos2, vec2};
use profiler::Trace;
use profiler::sandwich::{CallTree, Frame};

use crate::draw::flame_paint::Lens;
use crate::draw::{galley, text_in};
use crate::format;
use crate::theme::{self, FLAME_ROW_HEIGHT, Theme};

/// What the pointer is on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TreeHit {
    /// The node, or the longest of those drawn as one.
    pub node: u32,
    /// Where it begins, in the tree's time.
    pub start: f64,
    /// How many nodes are drawn as one, and their time.
    pub merged: Option<(usize, u64)>,
}

/// What a tree is painted with.
pub struct TreeBrush<'a> {
    /// The colours.
    pub theme: &'a Theme,
    /// For the names of layers and tracks.
    pub trace: &'a Trace,
    /// What to paint.
    pub tree: &'a CallTree,
    /// Time to points.
    pub lens: Lens,
    /// The root is at the bottom.
    pub up: bool,
    /// The pointer's place, if over the tree.
    pub pointer: Option<Pos2>,
    /// A frame's colour.
    pub color: &'a dyn Fn(Frame) -> Color32,
    /// A search is on and the frame does not match.
    pub faded: &'a dyn Fn(Frame) -> bool,
    /// It is selected.
    pub selected: &'a dyn Fn(Frame) -> bool,
}

/// Narrower than this many points is drawn as one with what follows.
const NARROW: f64 = 3.0;

impl TreeBrush<'_> {
    /// How many rows the tree takes.
    pub fn depth(tree: &CallTree) -> usize {
        let mut depth = vec![0usize; tree.nodes.len()];
        for (i, node) in tree.nodes.iter().enumerate().skip(1) {
            depth[i] = depth[node.parent as usize] + 1;
        }
        depth.into_iter().max().unwrap_or(0) + 1
    }

    /// Paints into `rect`; tells what the pointer is on. The cost depends on the width, not on the size of the tree.
    pub fn paint(&self, painter: &Painter, rect: Rect) -> Option<TreeHit> {
        let mut hit = None;
        let mut stack = vec![(0u32, 0.0f64, 0usize)];
        while let Some((id, start, depth)) = stack.pop() {
            let Some(row) = self.row(rect, depth) else { continue };
            let node = &self.tree.nodes[id as usize];
            let total = node.total_ns as f64;
            if start + total <= self.lens.window.0 || start >= self.lens.window.1 {
                continue;
            }
            let at = self.cell(row, start, total);
            self.node(painter, at, id);
            if self.pointer.is_some_and(|p| at.contains(p)) {
                hit = Some(TreeHit { node: id, start, merged: None });
            }
            let mut x = start;
            for (k, &c) in node.children.iter().enumerate() {
                let child = self.tree.nodes[c as usize].total_ns as f64;
                if child < NARROW * self.lens.per_point() {
                    // All that follow are shorter still.
                    let rest = &node.children[k..];
                    let left = (total - node.self_ns as f64 - (x - start)).max(child);
                    if let Some(row) = self.row(rect, depth + 1) {
                        let at = self.cell(row, x, left);
                        self.merged(painter, at, rest.len(), c);
                        if self.pointer.is_some_and(|p| at.contains(p)) {
                            hit = Some(TreeHit { node: c, start: x, merged: Some((rest.len(), left as u64)) });
                        }
                    }
                    break;
                }
                stack.push((c, x, depth + 1));
                x += child;
            }
        }
        hit
    }

    fn row(&self, rect: Rect, depth: usize) -> Option<Rect> {
        let offset = depth as f32 * FLAME_ROW_HEIGHT;
        let top = if self.up { rect.bottom() - offset - FLAME_ROW_HEIGHT } else { rect.top() + offset };
        let row = Rect::from_min_size(pos2(rect.left(), top), vec2(rect.width(), FLAME_ROW_HEIGHT - 1.0));
        (row.bottom() > rect.top() && row.top() < rect.bottom()).then_some(row)
    }

    fn cell(&self, row: Rect, start: f64, total: f64) -> Rect {
        let left = self.lens.x(start).max(row.left() - 2.0);
        let right = self.lens.x(start + total).min(row.right() + 2.0);
        Rect::from_x_y_ranges(left..=right.max(left + 1.0), row.y_range())
    }

    fn node(&self, painter: &Painter, rect: Rect, id: u32) {
        let node = &self.tree.nodes[id as usize];
        let faded = (self.faded)(node.frame);
        let fill = theme::mix(self.theme.surface[0], (self.color)(node.frame), if faded { 0.18 } else { 0.9 });
        painter.rect_filled(rect.with_max_x(rect.right() - 1.0), CornerRadius::same(2), fill);
        if (self.selected)(node.frame) || id == 0 {
            let stroke = Stroke::new(1.0, self.theme.text_strong);
            painter.rect_stroke(rect, CornerRadius::same(2), stroke, StrokeKind::Inside);
        }
        let inner = rect.intersect(painter.clip_rect()).shrink2(vec2(5.0, 0.0));
        if inner.width() < 18.0 {
            return;
        }
        let ink = self.theme.ink_on(fill);
        let time = format::duration(node.total_ns as f64);
        let time = galley(painter, &time, theme::caption_figure(), ink, f32::INFINITY);
        let name = galley(painter, self.tree.name(self.trace, node.frame), theme::caption(), ink, inner.width());
        if name.size().x + time.size().x + 12.0 <= inner.width() {
            let at = pos2(inner.right() - time.size().x, inner.center().y - time.size().y / 2.0);
            painter.galley(at, time, ink);
        }
        painter.galley(pos2(inner.left(), inner.center().y - name.size().y / 2.0), name, ink);
    }

    /// Several drawn as one: lower than a cell of its own, with their number where it fits.
    fn merged(&self, painter: &Painter, rect: Rect, count: usize, longest: u32) {
        let low = rect.with_min_y((rect.top() + FLAME_ROW_HEIGHT * 0.4).round());
        let color = (self.color)(self.tree.nodes[longest as usize].frame);
        painter.rect_filled(low, CornerRadius::ZERO, theme::mix(self.theme.surface[0], color, 0.75));
        if rect.width() > 32.0 {
            let words = format::grouped(count as u64);
            let fill = theme::mix(self.theme.surface[0], color, 0.75);
            text_in(painter, low, Align2::CENTER_CENTER, &words, theme::caption_figure(), self.theme.ink_on(fill));
        }
    }
}

/// All that is known of a node.
pub fn tip_ui(ui: &mut Ui, theme: &Theme, trace: &Trace, tree: &CallTree, hit: TreeHit, of: u64) {
    let node = &tree.nodes[hit.node as usize];
    let weak = |text: String| RichText::new(text).font(theme::caption()).color(theme.text_weak);
    let name = tree.name(trace, node.frame);
    let total = node.total_ns as f64;
    if let Some((count, time)) = hit.merged {
        ui.label(RichText::new(format!("{} drawn as one", format::plural(count, "name"))).font(theme::head()));
        ui.label(weak(format!("together: {}", format::duration(time as f64))));
        ui.label(weak(format!("longest: {name}, {}", format::duration(total))));
        return;
    }
    ui.label(RichText::new(name).font(theme::head()).color(theme.text_strong));
    ui.label(weak(kind_words(node.frame).to_owned()));
    egui::Grid::new("call").num_columns(2).spacing([16.0, 2.0]).show(ui, |ui| {
        let share = if of > 0 { total / of as f64 } else { 0.0 };
        let mean = if node.count > 0 { total / node.count as f64 } else { 0.0 };
        for (label, value) in [
            ("Total", format::duration(total)),
            ("Share", format::percent(share)),
            ("Self", format::duration(node.self_ns as f64)),
            ("Spans", format::grouped(node.count)),
            ("Mean", format::duration(mean)),
        ] {
            ui.label(RichText::new(label).color(theme.text_weak));
            ui.label(RichText::new(value).font(theme::figure()).color(theme.text));
            ui.end_row();
        }
    });
    ui.label(weak("Sums over the measured runs, in this place of the tree. Self is without what lies deeper.".into()));
}

/// What kind of thing a frame is.
pub fn kind_words(frame: Frame) -> &'static str {
    match frame {
        Frame::Root => "everything that was measured",
        Frame::Track(_) => "track",
        Frame::Span(_) => "span",
        Frame::Scope(_) => "scope",
        Frame::Layer(_) => "layer",
        Frame::Op(_) => "operator",
    }
}
