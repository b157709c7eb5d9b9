//! What stands around the flame graph's cells: runs, names of tracks, counters, tooltips.

use egui::{Align2, Painter, Rect, RichText, Stroke, Ui, pos2, vec2};
use profiler::{Counter, RunId};

use super::flame_paint::{Hit, Lens};
use super::flame_row::FlameCell;
use super::table::triangle;
use super::{facts, galley, text_in};
use crate::format;
use crate::theme::{self, FLAME_ROW_HEIGHT, PAD, Theme};
use crate::view::Profile;

/// Width of the column of tracks' names.
pub const GUTTER: f32 = 120.0;

/// What a cell is called.
pub fn cell_name<'p>(profile: &'p Profile, cell: &FlameCell) -> &'p str {
    if let Some(node) = cell.node.and_then(|n| profile.scopes.nodes.get(n as usize)) {
        return if node.name.is_empty() { "all layers" } else { &node.name };
    }
    let trace = &profile.trace;
    match (cell.layer, cell.span) {
        (Some(l), _) => profile.labels.get(l.index()).map_or("?", String::as_str),
        (None, Some(s)) => trace.spans.names.get(trace.spans.name[s.index()] as usize).map_or("?", String::as_str),
        (None, None) => "?",
    }
}

/// The run that the window is inside of, if it is inside of one.
pub fn run_at(profile: &Profile, lens: Lens) -> Option<RunId> {
    let (from, to) = lens.window;
    let center = (from + to) / 2.0;
    let run = |id: &RunId| profile.trace.runs[id.index()];
    let inside = |id: &RunId| (run(id).start_ns as f64) <= center && center <= run(id).end_ns as f64;
    let id = profile.runs.visible(center, center).find(inside)?;
    ((to - from) < (run(&id).end_ns - run(&id).start_ns) as f64 * 1.5).then_some(id)
}

/// Lines between runs, and warm-up ones dimmed and named.
pub fn runs_ui(painter: &Painter, theme: &Theme, profile: &Profile, lens: Lens, tracks: Rect) {
    let band =
        |x0: f32, x1: f32| Rect::from_x_y_ranges(x0.max(tracks.left())..=x1.min(tracks.right()), tracks.y_range());
    for &(from, to) in profile.runs.warmups() {
        let (x0, x1) = (lens.x(from as f64), lens.x(to as f64));
        if x1 > tracks.left() && x0 < tracks.right() {
            painter.rect_filled(band(x0, x1), 0.0, theme.surface[1].gamma_multiply(0.7));
        }
    }
    let mut named_to = f32::NEG_INFINITY;
    let visible = profile.runs.visible(lens.window.0, lens.window.1);
    if visible.len() as f32 > tracks.width() {
        // None has room for its name.
        return;
    }
    for id in visible {
        let run = profile.trace.runs[id.index()];
        let (x0, x1) = (lens.x(run.start_ns as f64), lens.x(run.end_ns as f64));
        if x1 < tracks.left() || x0 > tracks.right() || x1 - x0 < 24.0 {
            continue;
        }
        let band = band(x0, x1);
        if x1 - x0 > 60.0 && x0 >= tracks.left() {
            let dash = theme::mix(theme.surface[0], theme.text_weak, 0.5);
            painter.add(egui::Shape::dashed_line(
                &[pos2(x0.round() + 0.5, tracks.top()), pos2(x0.round() + 0.5, tracks.bottom())],
                Stroke::new(1.0, dash),
                3.0,
                3.0,
            ));
        }
        let name = profile.runs.number(id).map_or("warm-up".to_owned(), |n| format!("run {n}"));
        let text = galley(painter, &name, theme::caption(), theme.text_weak, f32::INFINITY);
        let left = band.left() + 4.0;
        if text.size().x + 8.0 < band.width() && left > named_to {
            named_to = left + text.size().x;
            painter.galley(pos2(left, tracks.bottom() - text.size().y - 2.0), text, theme.text_weak);
        }
    }
}

/// What the head of a track or counter says.
pub struct Header<'a> {
    /// Its name.
    pub name: &'a str,
    /// A figure in a second line.
    pub figure: &'a str,
    /// Its rows are on show.
    pub open: bool,
    /// The pointer is on it.
    pub hovered: bool,
}

/// A track's head, on the left: a triangle that says whether it is open, and its name.
pub fn header_ui(painter: &Painter, rect: Rect, theme: &Theme, header: &Header<'_>) {
    if header.hovered {
        painter.rect_filled(rect, 2.0, theme.surface[2]);
    }
    let color = if header.hovered { theme.text_strong } else { theme.text_weak };
    let center = pos2(rect.left() + PAD + 3.0, rect.top() + 10.0);
    if header.open {
        triangle(painter, center, true, color);
    } else {
        let points = vec![center + vec2(-2.0, -3.5), center + vec2(2.5, 0.0), center + vec2(-2.0, 3.5)];
        painter.add(egui::Shape::convex_polygon(points, color, Stroke::NONE));
    }
    let cell = rect.with_min_x(rect.left() + PAD + 12.0).with_max_x(rect.right() - 4.0);
    // Two lines at most; what is longer is told by the tooltip.
    let mut job = egui::text::LayoutJob::simple(header.name.to_owned(), theme::caption(), theme.text, cell.width());
    job.wrap.max_rows = if cell.height() < 2.0 * FLAME_ROW_HEIGHT { 1 } else { 2 };
    let words = painter.layout_job(job);
    let below = pos2(cell.left(), cell.top() + 3.0 + words.size().y + 1.0);
    painter.galley(cell.min + vec2(0.0, 3.0), words, theme.text);
    if !header.figure.is_empty() {
        let line = Rect::from_min_size(below, vec2(cell.width(), 14.0));
        text_in(painter, line, Align2::LEFT_TOP, header.figure, theme::caption_figure(), theme.text_weak);
    }
}

/// Samples that share one maximum.
const GROUP: usize = 64;

/// What a counter's line is drawn from, so that a frame costs what the window is wide.
#[derive(Clone, Debug, Default)]
pub struct CounterLine {
    most: f64,
    /// The largest of each [`GROUP`] samples.
    groups: Vec<f64>,
}

impl CounterLine {
    /// Of a counter.
    pub fn new(counter: &Counter) -> CounterLine {
        let groups: Vec<f64> = counter.value.chunks(GROUP).map(largest).collect();
        CounterLine { most: largest(&groups), groups }
    }

    /// The largest of some samples.
    fn most_of(&self, counter: &Counter, from: usize, to: usize) -> f64 {
        let (first, last) = (from.div_ceil(GROUP), to / GROUP);
        if first >= last {
            return largest(&counter.value[from..to]);
        }
        let edges = largest(&counter.value[from..first * GROUP]).max(largest(&counter.value[last * GROUP..to]));
        largest(&self.groups[first..last]).max(edges)
    }

    /// Its largest value in words.
    pub fn most_words(&self, counter: &Counter) -> String {
        in_unit(self.most, &counter.unit)
    }
}

fn largest(values: &[f64]) -> f64 {
    values.iter().copied().filter(|v| v.is_finite()).fold(0.0, f64::max)
}

fn in_unit(value: f64, unit: &str) -> String {
    if unit == "bytes" { format::bytes(value) } else { format!("{} {unit}", format::number(value)) }
}

/// A counter as a stepped line: in each point the largest sample, where there is none the last before it.
pub fn counter_ui(painter: &Painter, theme: &Theme, band: Rect, counter: &Counter, line: &CounterLine, lens: Lens) {
    painter.hline(band.x_range(), band.bottom() + 0.5, theme.line());
    if line.most <= 0.0 {
        return;
    }
    let y = |v: f64| band.bottom() - (v.max(0.0) / line.most) as f32 * (band.height() - 4.0);
    let after = |t: f64| counter.time_ns.partition_point(|&s| s as f64 <= t);
    let mut points: Vec<egui::Pos2> = Vec::new();
    let mut from = after(lens.t(band.left()));
    let mut value = from.checked_sub(1).map(|i| counter.value[i]).filter(|v| v.is_finite());
    let mut x = band.left();
    while x < band.right() {
        if let Some(v) = value {
            points.push(pos2(x, y(v)));
        }
        // On to the point in which the next sample lies.
        let Some(&next) = counter.time_ns.get(from) else { break };
        let column = lens.x(next as f64).floor().max(x);
        if column >= band.right() {
            break;
        }
        if let Some(v) = value {
            points.push(pos2(column, y(v)));
        }
        let to = after(lens.t(column + 1.0)).max(from + 1).min(counter.value.len());
        points.push(pos2(column, y(line.most_of(counter, from, to))));
        value = Some(counter.value[to - 1]).filter(|v| v.is_finite()).or(value);
        from = to;
        x = column + 1.0;
    }
    if let Some(v) = value {
        points.push(pos2(band.right(), y(v)));
    }
    let color = theme.sequential[2];
    let mut fill = egui::Mesh::default();
    for pair in points.windows(2).filter(|p| p[1].x > p[0].x) {
        let under = Rect::from_two_pos(pair[0], pos2(pair[1].x, band.bottom()));
        fill.add_colored_rect(under, color.gamma_multiply(0.15));
    }
    painter.add(egui::Shape::mesh(fill));
    painter.add(egui::Shape::line(points, Stroke::new(1.0, color)));
}

/// A counter's value at a time.
pub fn counter_tip(ui: &mut Ui, theme: &Theme, counter: &Counter, t: f64) {
    ui.label(RichText::new(&counter.name).font(theme::head()).color(theme.text_strong));
    let last = counter.time_ns.partition_point(|&s| s as f64 <= t).checked_sub(1);
    let words = match last.map(|i| counter.value[i]) {
        Some(v) => in_unit(v, &counter.unit),
        None => "not sampled yet".to_owned(),
    };
    ui.label(RichText::new(words).font(theme::figure()).color(theme.text));
    if let Some(i) = last {
        let ago = format::duration(t - counter.time_ns[i] as f64);
        let words = format!("the last of {}, sampled {ago} before", format::plural(counter.value.len(), "sample"));
        ui.label(RichText::new(words).font(theme::caption()).color(theme.text_weak));
    }
}

/// All that is known of what is under the pointer.
pub fn tip_ui(ui: &mut Ui, theme: &Theme, profile: &Profile, hit: &Hit, error: Option<&str>) {
    let cell = &hit.cell;
    if hit.count > 1 {
        ui.label(RichText::new(format!("{} drawn as one", format::plural(hit.count, "span"))).font(theme::head()));
        let longest = format!("longest: {}, {}", cell_name(profile, cell), format::duration(cell.end - cell.start));
        let together = format!("together: {}", format::duration(hit.total));
        ui.label(RichText::new(together).color(theme.text_weak));
        ui.label(RichText::new(longest).color(theme.text_weak));
        ui.label(RichText::new("Click to zoom in").font(theme::caption()).color(theme.text_weak));
    } else if let Some(layer) = cell.layer {
        facts::tip(ui, theme, profile, layer, cell.span);
        if let Some(error) = error {
            ui.label(RichText::new(error).font(theme::caption()).color(theme.text));
        }
    } else {
        ui.label(RichText::new(cell_name(profile, cell)).font(theme::head()));
        ui.label(RichText::new(format::duration(cell.end - cell.start)).font(theme::figure()));
        if let Some(node) = cell.node.and_then(|n| profile.scopes.nodes.get(n as usize)) {
            let words = format!(
                "{} of the layers' time, {}",
                format::percent(node.share),
                format::plural(node.layers, "layer")
            );
            ui.label(RichText::new(words).color(theme.text_weak));
        } else if let Some(span) = cell.span {
            let quality = profile.trace.spans.quality[span.index()];
            ui.label(RichText::new(facts::quality(quality)).font(theme::caption()).color(theme.text_weak));
        }
    }
}
