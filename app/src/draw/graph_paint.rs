//! Paints a laid out graph: only what is in sight, with as much detail as the zoom leaves room for.

use egui::{Align2, Color32, CornerRadius, FontId, Mesh, Painter, Pos2, Rect, Shape, Stroke, StrokeKind, pos2, vec2};

use super::graph_camera::Lens;
use super::graph_figures::{Colour, Figures, Scale};
use super::graph_scene::{BoxId, HEAD, Line, Scene, SceneBox};
use super::graph_tree::{GraphTree, Item, ItemId};
use super::{swatch, text_in};
use crate::format;
use crate::theme::{self, Theme};

/// An open scope smaller than this in the window is drawn as if it were closed.
const WORTH_OPENING: f32 = 44.0;
/// Smaller text is left out.
const SMALLEST_TEXT: f32 = 8.5;
/// The size of a box's title at no zoom.
const TITLE: f32 = 12.5;

/// How a box stands out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Emphasis {
    /// It is the selected layer, or where the keyboard is.
    pub selected: bool,
    /// It is the keyboard's place.
    pub cursor: bool,
    /// It is hovered, here or in another view, or found.
    pub lit: bool,
    /// A search runs and it is not found.
    pub faded: bool,
}

/// Everything that painting needs besides the scene.
pub struct Brush<'a> {
    /// Colours.
    pub theme: &'static Theme,
    /// What there is.
    pub tree: &'a GraphTree,
    /// Where it is.
    pub scene: &'a Scene,
    /// Its figures.
    pub figures: &'a Figures,
    /// What the colours say.
    pub scale: Scale,
    /// Which part of the canvas the window shows.
    pub lens: Lens,
    /// The window.
    pub window: Rect,
    /// How boxes stand out.
    pub emphasis: &'a dyn Fn(&Item, ItemId) -> Emphasis,
    /// What scopes are made of: `node` or `layer`.
    pub noun: &'static str,
    /// The box whose lines light up.
    pub hovered: Option<BoxId>,
}

/// What a frame drew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drawn {
    /// Boxes.
    pub boxes: usize,
    /// Stretches of lines.
    pub lines: usize,
}

impl Brush<'_> {
    /// Paints the graph.
    pub fn paint(&self, painter: &Painter) -> Drawn {
        let mut drawn = Drawn::default();
        if !self.scene.boxes.is_empty() {
            let mut over = Vec::new();
            self.inside(painter, 0, &mut drawn, &mut over);
            for line in over {
                self.line(painter, line, true);
            }
        }
        drawn
    }

    /// The innermost box at a point of the window.
    pub fn at(&self, point: Pos2) -> Option<BoxId> {
        let mut at: Option<BoxId> = None;
        let canvas = self.lens.canvas(self.window, point);
        let mut look = Some(0);
        while let Some(b) = look.and_then(|id: BoxId| self.scene.boxes.get(id as usize)) {
            look = None;
            if b.open && (b.item == 0 || self.is_worth_opening(b)) {
                look = b.parts.iter().copied().find(|&p| self.scene.boxes[p as usize].rect.contains(canvas));
            }
            at = look.or(at);
        }
        at
    }

    fn is_worth_opening(&self, b: &SceneBox) -> bool {
        // What is long is worth it too, even if it is narrow.
        let size = b.rect.size() * self.lens.scale;
        size.min_elem() >= 4.0 && size.x + size.y * 0.25 >= WORTH_OPENING
    }

    fn inside<'s>(&'s self, painter: &Painter, id: BoxId, drawn: &mut Drawn, over: &mut Vec<&'s Line>) {
        let b = &self.scene.boxes[id as usize];
        let sight = painter.clip_rect();
        // Lines below boxes, what lights up above them.
        for line in &b.lines {
            if !self.lens.rect(self.window, line.bounds).expand(2.0).intersects(sight) {
                continue;
            }
            drawn.lines += 1;
            self.line(painter, line, false);
            if self.hovered.is_some_and(|h| line.from == h || line.to.contains(&h)) {
                over.push(line);
            }
        }
        for &part in &b.parts {
            let p = &self.scene.boxes[part as usize];
            let rect = self.lens.rect(self.window, p.rect);
            if !rect.intersects(sight) {
                continue;
            }
            drawn.boxes += 1;
            if p.open && self.is_worth_opening(p) {
                self.frame(painter, p, rect);
                self.inside(painter, part, drawn, over);
                self.head(painter, p, rect);
            } else {
                self.closed(painter, p, rect);
            }
        }
    }

    fn emphasis(&self, b: &SceneBox) -> Emphasis {
        (self.emphasis)(&self.tree.items[b.item as usize], b.item)
    }

    fn fill(&self, item: ItemId) -> Color32 {
        let value = self.figures.value(self.scale.colour, item);
        self.scale.fill(self.theme, value).unwrap_or(self.theme.surface[2])
    }

    fn line(&self, painter: &Painter, line: &Line, lit: bool) {
        let scale = self.lens.scale;
        let at = |p: &Pos2| self.lens.point(self.window, *p);
        let fused = self.is_within_layer(line);
        if fused && scale > 0.15 {
            let color = theme::mix(self.theme.surface[0], self.theme.accent, 0.35);
            let way: Vec<Pos2> = line.way.iter().map(at).collect();
            painter.line(way, Stroke::new((10.0 * scale).clamp(2.0, 14.0), color));
        }
        let (width, color) = match lit {
            true => ((1.8 * scale).clamp(1.5, 2.5), self.theme.accent),
            false => ((1.2 * scale).clamp(0.6, 1.6), theme::mix(self.theme.surface[0], self.theme.text_weak, 0.6)),
        };
        let length = self.lens.rect(self.window, line.bounds).size();
        if !lit && length.x + length.y < 5.0 {
            return;
        }
        let mut way = Vec::with_capacity(line.way.len() * 4);
        for pair in line.way.windows(2) {
            let (a, b) = (at(&pair[0]), at(&pair[1]));
            way.push(a);
            if (a.x - b.x).abs() > 1.5 {
                bend(&mut way, a, b);
            }
        }
        way.extend(line.way.last().map(at));
        let tip = way.last().copied();
        painter.line(way, Stroke::new(width, color));
        if let Some(tip) = tip.filter(|_| line.arrow && scale > 0.35) {
            let size = (5.0 * scale).clamp(3.0, 6.0);
            let points = vec![tip, tip + vec2(-size * 0.7, -size * 1.3), tip + vec2(size * 0.7, -size * 1.3)];
            painter.add(Shape::convex_polygon(points, color, Stroke::NONE));
        }
    }

    /// True if both ends became the same layer.
    fn is_within_layer(&self, line: &Line) -> bool {
        let layer = |b: BoxId| self.tree.items[self.scene.boxes[b as usize].item as usize].layer;
        layer(line.from).is_some_and(|l| line.to.iter().any(|&t| layer(t) == Some(l)))
    }

    fn frame(&self, painter: &Painter, b: &SceneBox, rect: Rect) {
        let depth = self.tree.items[b.item as usize].depth;
        let fill = theme::mix(self.theme.surface[0], self.theme.surface[1], if depth % 2 == 1 { 0.9 } else { 0.35 });
        painter.rect(rect, self.radius(6.0), fill, self.theme.line(), StrokeKind::Inside);
    }

    /// The head of an open scope, above the lines that come in through it.
    fn head(&self, painter: &Painter, b: &SceneBox, rect: Rect) {
        let (theme, scale) = (self.theme, self.lens.scale);
        let e = self.emphasis(b);
        // It stays in sight as long as its scope does, below those of the scopes around it.
        let height = HEAD * scale;
        let depth = self.tree.items[b.item as usize].depth.saturating_sub(1) as f32;
        let top = (self.window.top() + depth * height).min(rect.bottom() - height).max(rect.top());
        let head = Rect::from_x_y_ranges(rect.x_range(), top..=top + height);
        let fill = if e.lit { theme.surface[3] } else { theme.surface[2] };
        let r = self.radius(6.0);
        painter.rect_filled(head.shrink(0.5), CornerRadius { sw: 0, se: 0, ..r }, fill);
        let heat = Rect::from_min_max(
            pos2(head.left() + 0.5, head.bottom() - (3.0 * scale).max(1.0)),
            head.max - vec2(0.5, 0.0),
        );
        painter.rect_filled(heat, 0.0, self.fill(b.item));
        self.outline(painter, rect, e);
        let size = (12.0 * scale).clamp(SMALLEST_TEXT, 20.0);
        if head.height() < size * 0.95 {
            return;
        }
        let item = &self.tree.items[b.item as usize];
        let line = head.with_max_y(heat.top()).intersect(self.window).shrink2(vec2((8.0 * scale).max(3.0), 0.0));
        chevron(painter, pos2(line.left() + size * 0.4, line.center().y), size * 0.36, true, theme.text_weak);
        let words = self.figures.words(self.scale.colour, b.item);
        let line = line.with_min_x(line.left() + size * 1.2);
        let room = line.width();
        let used = if room > size * 11.0 {
            self.text(painter, line, Align2::RIGHT_CENTER, &words, mono(size * 0.92), theme.text);
            size * 0.62 * words.chars().count() as f32
        } else {
            0.0
        };
        let name = line.with_max_x((line.right() - used - size * 0.5).max(line.left()));
        self.text(painter, name, Align2::LEFT_CENTER, &item.name, head_font(size), theme.text_strong);
    }

    /// A node or a closed scope.
    fn closed(&self, painter: &Painter, b: &SceneBox, rect: Rect) {
        let theme = self.theme;
        let e = self.emphasis(b);
        let item = &self.tree.items[b.item as usize];
        let scope = !item.children.is_empty();
        let mut fill = self.fill(b.item);
        if self.scale.colour == Colour::Operator {
            fill = item.class.map_or(theme.surface[2], |c| theme::mix(theme.surface[1], theme.class(c), 0.45));
        }
        if e.faded {
            fill = theme::mix(theme.surface[0], fill, 0.25);
        }
        if rect.height() < 5.0 && !e.lit && !e.selected {
            // Four corners are enough for what is a few pixels small.
            let mut mesh = Mesh::default();
            mesh.add_colored_rect(rect, fill);
            painter.add(Shape::mesh(mesh));
            return;
        }
        let edge = theme::mix(fill, theme.text_weak, if theme.dark { 0.35 } else { 0.45 });
        let radius = self.radius(if scope { 6.0 } else { 4.0 });
        if scope && rect.height() > 14.0 {
            // A second sheet behind it says that there is more inside.
            let behind = rect.translate(vec2(0.0, (3.0 * self.lens.scale).max(1.5)));
            let color = theme::mix(theme.surface[0], edge, 0.5);
            painter.rect(
                behind.shrink2(vec2(4.0 * self.lens.scale, 0.0)),
                radius,
                color,
                Stroke::NONE,
                StrokeKind::Inside,
            );
        }
        painter.rect(rect, radius, fill, Stroke::new(1.0, edge), StrokeKind::Inside);
        self.outline(painter, rect, e);
        let ink = if e.faded { theme.text_weak } else { theme.ink_on(fill) };
        self.words(painter, b, item, rect, fill, ink);
    }

    fn words(&self, painter: &Painter, b: &SceneBox, item: &Item, rect: Rect, fill: Color32, ink: Color32) {
        let scale = self.lens.scale;
        let scope = !item.children.is_empty();
        let title = if scope || item.op.is_empty() { &item.name } else { &item.op };
        let weak = theme::mix(fill, ink, 0.72);
        let inner = rect.shrink2(vec2((10.0 * scale).max(3.0), 0.0));
        let size = TITLE * scale;
        if size * 0.86 < SMALLEST_TEXT {
            // One line, as large as it must be.
            let size = size.max(SMALLEST_TEXT);
            if rect.height() >= size * 1.15 && rect.width() >= size * 3.0 {
                self.text(painter, inner, Align2::CENTER_CENTER, title, head_font(size), ink);
            }
            return;
        }
        let figure = self.figures.words(self.scale.colour, b.item);
        let small = size * 0.86;
        let pad = rect.height() * if scope { 0.12 } else { 0.1 };
        let (top, bottom) = inner.shrink2(vec2(0.0, pad)).split_top_bottom_at_fraction(0.54);
        let known = figure != format::UNKNOWN;
        let used = if known { small * 0.62 * figure.chars().count() as f32 + size * 0.6 } else { 0.0 };
        // A node among others of its layer shows the layer's time in a weaker tone.
        let shared = item.layer.is_some() && !item.anchor;
        if known {
            self.text(painter, top, Align2::RIGHT_CENTER, &figure, mono(small), if shared { weak } else { ink });
        }
        let mut left = top.left();
        if scope {
            chevron(painter, pos2(left + size * 0.3, top.center().y), size * 0.36, false, weak);
            left += size;
        } else if self.scale.colour != Colour::Operator
            && let Some(class) = item.class.filter(|_| scale > 0.8)
        {
            swatch(painter, pos2(left + 4.0, top.center().y), self.theme.class(class));
            left += 14.0;
        }
        let name = top.with_min_x(left).with_max_x((top.right() - used).max(left));
        self.text(painter, name, Align2::LEFT_CENTER, title, head_font(size), ink);
        let share = self.figures.share.get(b.item as usize).copied().unwrap_or(f64::NAN);
        let mut used = 0.0;
        if !share.is_nan() && matches!(self.scale.colour, Colour::Latency | Colour::Operator) {
            let words = format::percent(share);
            used = small * 0.62 * words.chars().count() as f32 + size * 0.6;
            self.text(painter, bottom, Align2::RIGHT_CENTER, &words, mono(small), weak);
        }
        let below = if !scope {
            item.name.clone()
        } else if item.alike > 1 {
            format!("{}, 1 of {} alike", format::plural(item.leaves as usize, self.noun), item.alike)
        } else {
            format::plural(item.leaves as usize, self.noun)
        };
        let bottom = bottom.with_max_x((bottom.right() - used).max(bottom.left()));
        self.text(painter, bottom, Align2::LEFT_CENTER, &below, FontId::proportional(rounded(small)), weak);
    }

    fn text(&self, painter: &Painter, rect: Rect, align: Align2, text: &str, font: FontId, color: Color32) {
        if rect.width() > font.size {
            text_in(painter, rect, align, text, font, color);
        }
    }

    fn outline(&self, painter: &Painter, rect: Rect, e: Emphasis) {
        let radius = self.radius(6.0);
        if e.selected || e.cursor {
            let width = if e.selected { 2.0 } else { 1.0 };
            painter.rect_stroke(rect.expand(2.0), radius, Stroke::new(width, self.theme.focus), StrokeKind::Outside);
        } else if e.lit {
            painter.rect_stroke(rect, radius, Stroke::new(1.5, self.theme.accent), StrokeKind::Outside);
        }
    }

    fn radius(&self, points: f32) -> CornerRadius {
        CornerRadius::same((points * self.lens.scale).clamp(1.0, 8.0) as u8)
    }
}

/// Whole sizes only: each size of a face takes room among the glyphs.
fn rounded(size: f32) -> f32 {
    size.round().clamp(8.0, 26.0)
}

fn mono(size: f32) -> FontId {
    FontId::monospace(rounded(size))
}

fn head_font(size: f32) -> FontId {
    FontId::new(rounded(size), theme::head().family)
}

/// A line that leaves and arrives upright.
fn bend(way: &mut Vec<Pos2>, a: Pos2, b: Pos2) {
    let steps = (((a - b).length() / 8.0) as usize).clamp(2, 16);
    let middle = (a.y + b.y) / 2.0;
    for i in 1..steps {
        let t = i as f32 / steps as f32;
        let u = 1.0 - t;
        let (p, q, r, s) = (u * u * u, 3.0 * u * u * t, 3.0 * u * t * t, t * t * t);
        way.push(pos2((p + q) * a.x + (r + s) * b.x, p * a.y + (q + r) * middle + s * b.y));
    }
}

/// The mark of a scope: pointing down if it is open.
fn chevron(painter: &Painter, at: Pos2, size: f32, open: bool, color: Color32) {
    let points = if open {
        [vec2(-size, -size * 0.5), vec2(0.0, size * 0.5), vec2(size, -size * 0.5)]
    } else {
        [vec2(-size * 0.5, -size), vec2(size * 0.5, 0.0), vec2(-size * 0.5, size)]
    };
    painter.line(points.map(|p| at + p).to_vec(), Stroke::new((size * 0.3).clamp(1.0, 2.0), color));
}
