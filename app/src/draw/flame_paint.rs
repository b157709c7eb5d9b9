//! Paints rows of the flame graph and tells what is under the pointer: one test per graph, not one per cell.

use std::ops::Range;

use egui::{Align2, Color32, CornerRadius, Mesh, Painter, Pos2, Rect, Shape, Stroke, StrokeKind, pos2, vec2};

use profiler::OpClass;

use super::flame_row::{Block, FlameCell, FlameRow};
use super::scopes::suffixes;
use super::{galley, text_in};
use crate::format;
use crate::theme::{self, FLAME_ROW_HEIGHT, Theme};

/// What is drawn over a horizontal stretch: times and the points they map to.
#[derive(Clone, Copy, Debug)]
pub struct Lens {
    /// The window, in nanoseconds.
    pub window: (f64, f64),
    /// Its place on screen.
    pub left: f32,
    /// Its width on screen.
    pub width: f32,
}

impl Lens {
    /// A time's place.
    pub fn x(&self, t: f64) -> f32 {
        self.left + ((t - self.window.0) / self.per_point()) as f32
    }

    /// A place's time.
    pub fn t(&self, x: f32) -> f64 {
        self.window.0 + f64::from(x - self.left) * self.per_point()
    }

    /// Nanoseconds per point.
    pub fn per_point(&self) -> f64 {
        ((self.window.1 - self.window.0) / f64::from(self.width.max(1.0))).max(f64::MIN_POSITIVE)
    }
}

/// What is under the pointer.
#[derive(Clone, Copy, Debug)]
pub struct Hit {
    /// The cell, or the longest of those merged here.
    pub cell: FlameCell,
    /// How many cells are drawn as one.
    pub count: usize,
    /// Start and end of what is drawn as one.
    pub extent: (f64, f64),
    /// The time of all of them together.
    pub total: f64,
}

/// How a cell stands out.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Emphasis {
    /// It is selected.
    pub selected: bool,
    /// It is what was clicked among the cells of its layer.
    pub focused: bool,
    /// It, or its layer elsewhere, is hovered.
    pub lit: bool,
    /// A search is on and it does not match.
    pub faded: bool,
}

/// What a row is painted with.
pub struct Brush<'a> {
    /// The colours.
    pub theme: &'a Theme,
    /// The window.
    pub lens: Lens,
    /// Where the pointer is, if over the graph.
    pub pointer: Option<Pos2>,
    /// How a cell stands out.
    pub emphasis: &'a dyn Fn(&FlameCell) -> Emphasis,
    /// How many rows the whole graph has.
    pub rows: usize,
    /// The most cells of a block that are asked one by one.
    pub asked: usize,
    /// How a block of more cells than that stands out: asked in place of each of its cells.
    pub merged: &'a dyn Fn(&FlameRow, Range<usize>) -> Emphasis,
    /// A cell's label.
    pub label: &'a dyn Fn(&FlameCell) -> &'a str,
    /// The colour at full strength of a cell, or of the longest of several drawn as one, with the class of most of them.
    pub color: &'a dyn Fn(&FlameCell, Option<OpClass>) -> Color32,
}

/// Cells narrower than this many points join their neighbours.
const NARROW: f64 = 4.0;
/// The same in graphs of more rows than [`DEEP`], where as many blocks again would cost more than they tell.
const NARROW_IN_DEEP: f64 = 8.0;
const DEEP: usize = 24;
/// From this width on a cell has round corners and a hairline to its neighbour.
const SHAPED: f32 = 6.0;

/// Blocks of merged cells side by side, which share one label.
#[derive(Clone, Copy)]
struct Strip {
    left: f32,
    right: f32,
    cells: usize,
}

impl Brush<'_> {
    /// Paints one row with its top left at `top`; tells what the pointer is on.
    pub fn row(&self, painter: &Painter, row: &FlameRow, top: f32, blocks: &mut Vec<Block>) -> Option<Hit> {
        let (theme, lens) = (self.theme, self.lens);
        let band = Rect::from_min_size(pos2(lens.left, top), vec2(lens.width, FLAME_ROW_HEIGHT));
        if !painter.clip_rect().intersects(band) {
            return None;
        }
        blocks.clear();
        let narrow = if self.rows > DEEP { NARROW_IN_DEEP } else { NARROW };
        row.blocks(lens.window.0, lens.window.1, narrow * lens.per_point(), blocks);
        let bottom = top + FLAME_ROW_HEIGHT - 1.0;
        let mut hit = None;
        let mut outlines = Vec::new();
        // What is too small for round corners goes into one mesh: the tessellator has nothing to do for it.
        let mut small = Mesh::default();
        small.reserve_triangles(blocks.len() * 3);
        small.reserve_vertices(blocks.len() * 7);
        let mut strips: Vec<Strip> = Vec::new();
        for block in blocks.iter() {
            let left = lens.x(block.start).max(band.left() - 2.0);
            let right = lens.x(block.end).min(band.right() + 2.0);
            let rect = Rect::from_min_max(pos2(left, top), pos2(right.max(left + 1.0), bottom));
            let merged = block.count > 1;
            let first = row.cell(block.first);
            let emphasis = self.emphasis_of(row, block);
            let shown = if merged { row.cell(block.longest) } else { first };
            let fill = self.fill(block, &first, &shown, emphasis);
            if merged || rect.width() < SHAPED {
                // Shorter than a cell of its own: the mark of several drawn as one.
                let from = if merged { (top + FLAME_ROW_HEIGHT * 0.4).round() } else { top };
                let (x0, x1) = (rect.left().round(), rect.right().round());
                let rect = Rect::from_min_max(pos2(x0, from), pos2(x1.max(x0 + 1.0), bottom));
                small.add_colored_rect(rect, fill);
                if merged {
                    tooth(&mut small, rect, fill);
                }
            } else {
                // A hairline of canvas keeps neighbours apart.
                painter.rect_filled(rect.with_max_x(rect.right() - 1.0), CornerRadius::same(2), fill);
                if rect.width() > 24.0 {
                    self.label(painter, rect, &first, fill, theme);
                }
            }
            match strips.last_mut() {
                Some(s) if merged && left - s.right < 4.0 => {
                    (s.right, s.cells) = (rect.right(), s.cells + block.count);
                }
                _ if merged => strips.push(Strip { left, right: rect.right(), cells: block.count }),
                _ => {}
            }
            if merged && emphasis.selected {
                // An outline of what is not to be told apart would say too much: a tick above it.
                let tick = pos2(rect.center().x.round() - 1.0, top + 2.0);
                small.add_colored_rect(Rect::from_min_size(tick, vec2(2.0, 4.0)), theme.text_strong);
            } else if !merged && (emphasis.selected || emphasis.lit || emphasis.focused) {
                outlines.push((rect, emphasis));
            }
            let on = |p: Pos2| {
                p.y >= top && p.y < top + FLAME_ROW_HEIGHT && p.x >= left - 0.5 && p.x < right.max(left + 2.0)
            };
            if self.pointer.is_some_and(on) {
                let cell = row.cell(block.longest);
                hit = Some(Hit { cell, count: block.count, extent: (block.start, block.end), total: block.total });
            }
        }
        if !small.is_empty() {
            painter.add(Shape::mesh(small));
        }
        for (rect, e) in outlines {
            let color = if e.selected || e.focused { theme.text_strong } else { theme.text };
            let width = if e.focused { 2.0 } else { 1.0 };
            painter.rect_stroke(rect, CornerRadius::same(2), Stroke::new(width, color), StrokeKind::Inside);
        }
        for strip in strips {
            self.count_ui(painter, strip, top, band);
        }
        hit
    }

    /// The number of cells in a strip of merged ones, where there is room for it.
    fn count_ui(&self, painter: &Painter, strip: Strip, top: f32, band: Rect) {
        let (left, right) = (strip.left.max(band.left()), strip.right.min(band.right()));
        if right - left < 40.0 {
            return;
        }
        let theme = self.theme;
        let words = format::grouped(strip.cells as u64);
        let words = galley(painter, &words, theme::caption_figure(), theme.text_strong, right - left - 8.0);
        let center = pos2(((left + right) / 2.0).round(), top + FLAME_ROW_HEIGHT / 2.0);
        let plate = Rect::from_center_size(center, words.size() + vec2(8.0, 0.0));
        painter.rect_filled(plate, CornerRadius::same(2), theme.surface[0].gamma_multiply(0.85));
        painter.galley(plate.center() - words.size() / 2.0, words, theme.text_strong);
    }

    fn emphasis_of(&self, row: &FlameRow, block: &Block) -> Emphasis {
        let cells = block.first..block.first + block.count;
        if block.count > self.asked {
            return (self.merged)(row, cells);
        }
        let all = cells.map(|i| (self.emphasis)(&row.cell(i))).reduce(|a, e| Emphasis {
            selected: a.selected || e.selected,
            focused: a.focused || e.focused,
            lit: a.lit || e.lit,
            faded: a.faded && e.faded,
        });
        all.unwrap_or_default()
    }

    fn fill(&self, block: &Block, cell: &FlameCell, shown: &FlameCell, emphasis: Emphasis) -> Color32 {
        let theme = self.theme;
        let base = (self.color)(shown, block.class);
        let strength = match () {
            () if emphasis.faded => 0.18,
            () if cell.warmup => 0.35,
            () if emphasis.lit => 1.0,
            () if block.count > 1 => 0.75,
            () => 0.9,
        };
        theme::mix(theme.surface[0], base, strength)
    }

    fn label(&self, painter: &Painter, rect: Rect, cell: &FlameCell, fill: Color32, theme: &Theme) {
        let inner = rect.intersect(painter.clip_rect().with_min_x(self.lens.left)).shrink2(vec2(5.0, 0.0));
        if inner.width() < 14.0 {
            return;
        }
        let ink = theme.ink_on(fill);
        let name = (self.label)(cell);
        let font = theme::caption();
        // The longest form of the name that fits, and the time where there is room for it too.
        let mut shortest = name;
        for text in suffixes(name) {
            shortest = text;
            // No letter is that narrow: it need not be laid out to be known too long.
            if text.chars().count() as f32 * font.size * 0.22 > inner.width() {
                continue;
            }
            let g = galley(painter, text, font.clone(), ink, f32::INFINITY);
            if g.size().x <= inner.width() {
                let used = g.size().x;
                painter.galley(pos2(inner.left(), inner.center().y - g.size().y / 2.0), g, ink);
                // No time is shorter than that.
                if used + 24.0 > inner.width() {
                    return;
                }
                let time = format::duration(cell.duration());
                let time = galley(painter, &time, theme::caption_figure(), ink.gamma_multiply(0.75), f32::INFINITY);
                if used + time.size().x + 12.0 <= inner.width() {
                    let at = pos2(inner.right() - time.size().x, inner.center().y - time.size().y / 2.0);
                    painter.galley(at, time, ink);
                }
                return;
            }
        }
        if inner.width() > 22.0 {
            text_in(painter, inner, Align2::LEFT_CENTER, shortest, font, ink);
        }
    }
}

/// A tooth on top of a block of merged cells: side by side they have an edge like a saw's.
fn tooth(mesh: &mut Mesh, rect: Rect, fill: Color32) {
    let first = mesh.vertices.len() as u32;
    for at in [rect.left_top(), pos2(rect.center().x, rect.top() - 3.0), rect.right_top()] {
        mesh.colored_vertex(at, fill);
    }
    mesh.add_triangle(first, first + 1, first + 2);
}

/// True if a layer's name, operator or a scope's path holds the lower-case words.
pub fn matches(search: &str, texts: &[&str]) -> bool {
    search.split_whitespace().all(|word| texts.iter().any(|t| t.to_lowercase().contains(word)))
}

/// The layers that a search matches, as a table by layer; all false for an empty search.
pub fn matching_layers(search: &str, layers: &[profiler::Layer]) -> Vec<bool> {
    let search = search.to_lowercase();
    layers
        .iter()
        .map(|l| !search.trim().is_empty() && matches(&search, &[&l.name, &l.op, &l.scope, l.class.label()]))
        .collect()
}

/// The layer's cell that begins next after a time, or before it, in any row of a track: for the arrow keys.
pub fn neighbour(rows: &[FlameRow], at: f64, forward: bool) -> Option<FlameCell> {
    // Rows of scopes hold no layers: a few of their cells tell.
    const LOOK: usize = 256;
    let layers = |r: &'_ FlameRow| -> Option<FlameCell> {
        let i = r.from_time(at);
        if forward {
            let same = (i..r.len()).take_while(|&i| r.cell(i).start <= at).count();
            (i + same..r.len()).take(LOOK).map(|i| r.cell(i)).find(|c| c.layer.is_some())
        } else {
            (0..i).rev().take(LOOK).map(|i| r.cell(i)).find(|c| c.layer.is_some())
        }
    };
    let order = |a: &FlameCell, b: &FlameCell| a.start.total_cmp(&b.start);
    let candidates = rows.iter().filter_map(layers);
    if forward { candidates.min_by(order) } else { candidates.max_by(order) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use profiler::fixtures;

    #[test]
    fn a_lens_maps_both_ways() {
        let lens = Lens { window: (100.0, 300.0), left: 50.0, width: 400.0 };
        for t in [100.0, 123.0, 299.0, 300.0] {
            assert!((lens.t(lens.x(t)) - t).abs() < 1e-3);
        }
        assert!(Lens { window: (1.0, 1.0), left: 0.0, width: 0.0 }.per_point() > 0.0);
    }

    #[test]
    fn searches_match_all_words() {
        let layers = fixtures::transformer(2, 2, 1).layers;
        let count = |s: &str| matching_layers(s, &layers).into_iter().filter(|m| *m).count();
        assert_eq!(count(""), 0);
        assert_eq!(count("  "), 0);
        assert_eq!(count("QUERY layer.1"), 1);
        assert_eq!(count("gelu"), 2);
        assert_eq!(count("no such layer"), 0);
    }

    #[test]
    fn keys_step_from_cell_to_cell() {
        let trace = fixtures::transformer(1, 1, 1);
        let tree = crate::draw::scopes::ScopeTree::new(&trace.layers, &[]);
        let flame = crate::draw::flame_index::Flame::of_spans(&trace, &tree);
        let rows = &flame.tracks[0].rows;
        let run = trace.runs[0];
        // Every layer of the first run in turn, though they lie at several depths.
        let mut at = run.start_ns as f64;
        let mut walked = Vec::new();
        while let Some(cell) = neighbour(rows, at, true).filter(|c| c.start < run.end_ns as f64) {
            walked.push(cell.layer.unwrap().index());
            assert_eq!(neighbour(rows, cell.end, false), Some(cell));
            at = cell.start;
        }
        assert_eq!(walked, (0..trace.layers.len()).collect::<Vec<_>>());
        assert_eq!(neighbour(rows, 0.0, false), None);
    }
}
