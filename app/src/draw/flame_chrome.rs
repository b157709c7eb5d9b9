//! What stands around the flame graph's cells: runs, names of tracks, counters, tooltips.

use egui::{Align2, Painter, Rect, RichText, Stroke, Ui, pos2, vec2};
use profiler::{Counter, RunId};

use super::flame_paint::{Hit, Lens};
use super::flame_row::FlameCell;
use super::{facts, galley, text_in};
use crate::format;
use crate::theme::{self, FLAME_ROW_HEIGHT, PAD, Theme};
use crate::view::Profile;

/// Width of the column of tracks' names.
pub const GUTTER: f32 = 108.0;

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
    let i = profile.trace.runs.iter().position(|r| (r.start_ns as f64) <= center && center <= r.end_ns as f64)?;
    let run = profile.trace.runs[i];
    ((to - from) < (run.end_ns - run.start_ns) as f64 * 1.5).then_some(RunId(i as u32))
}

/// Lines between runs, and warm-up ones dimmed and named.
pub fn runs_ui(painter: &Painter, theme: &Theme, profile: &Profile, lens: Lens, tracks: Rect) {
    let mut named_to = f32::NEG_INFINITY;
    let mut measured = 0;
    for run in &profile.trace.runs {
        measured += usize::from(!run.warmup);
        let (x0, x1) = (lens.x(run.start_ns as f64), lens.x(run.end_ns as f64));
        if x1 < tracks.left() || x0 > tracks.right() {
            continue;
        }
        let band = Rect::from_x_y_ranges(x0.max(tracks.left())..=x1.min(tracks.right()), tracks.y_range());
        if run.warmup {
            painter.rect_filled(band, 0.0, theme.surface[1].gamma_multiply(0.7));
        }
        if x1 - x0 > 60.0 && x0 >= tracks.left() {
            let dash = theme::mix(theme.surface[0], theme.text_weak, 0.5);
            painter.add(egui::Shape::dashed_line(
                &[pos2(x0.round() + 0.5, tracks.top()), pos2(x0.round() + 0.5, tracks.bottom())],
                Stroke::new(1.0, dash),
                3.0,
                3.0,
            ));
        }
        let name = if run.warmup { "warm-up".to_owned() } else { format!("run {measured}") };
        let text = galley(painter, &name, theme::caption(), theme.text_weak, f32::INFINITY);
        let left = band.left() + 4.0;
        if text.size().x + 8.0 < band.width() && left > named_to {
            named_to = left + text.size().x;
            painter.galley(pos2(left, tracks.bottom() - text.size().y - 2.0), text, theme.text_weak);
        }
    }
}

/// A track's name, on the left.
pub fn gutter_ui(
    painter: &Painter,
    rect: Rect,
    y: std::ops::RangeInclusive<f32>,
    theme: &Theme,
    name: &str,
    figure: &str,
) {
    if name.is_empty() {
        return;
    }
    let cell = Rect::from_x_y_ranges(rect.left() + PAD..=rect.left() + GUTTER - 6.0, y);
    // Two lines at most; what is longer is told by the tooltip.
    let mut job = egui::text::LayoutJob::simple(name.to_owned(), theme::caption(), theme.text, cell.width());
    job.wrap.max_rows = if figure.is_empty() && cell.height() < 2.0 * FLAME_ROW_HEIGHT { 1 } else { 2 };
    let words = painter.layout_job(job);
    let below = pos2(cell.left(), cell.top() + 3.0 + words.size().y + 1.0);
    painter.galley(cell.min + vec2(0.0, 3.0), words, theme.text);
    if !figure.is_empty() {
        let line = Rect::from_min_size(below, vec2(cell.width(), 14.0));
        text_in(painter, line, Align2::LEFT_TOP, figure, theme::caption_figure(), theme.text_weak);
    }
}

/// A counter as a stepped line; returns its largest value in words.
pub fn counter_ui(painter: &Painter, theme: &Theme, band: Rect, counter: &Counter, lens: Lens) -> String {
    let most = counter.value.iter().copied().filter(|v| v.is_finite()).fold(0.0, f64::max);
    let words = if counter.unit == "bytes" {
        format::bytes(most)
    } else {
        format!("{} {}", format::number(most), counter.unit)
    };
    painter.hline(band.x_range(), band.bottom() + 0.5, theme.line());
    if most <= 0.0 {
        return words;
    }
    let y = |v: f64| band.bottom() - (v.max(0.0) / most) as f32 * (band.height() - 4.0);
    let samples: Vec<(f64, f64)> = counter
        .time_ns
        .iter()
        .map(|&t| t as f64)
        .zip(counter.value.iter().copied())
        .filter(|s| s.1.is_finite())
        .collect();
    let begin = samples.partition_point(|s| s.0 < lens.window.0).saturating_sub(1);
    let mut line = Vec::new();
    let mut last: Option<(f32, f32)> = None;
    for &(t, v) in &samples[begin..] {
        let (x, y) = (lens.x(t), y(v));
        // Samples on the same point say no more than the first of them.
        if last.is_some_and(|(lx, _)| x - lx < 0.5 && x > band.left()) {
            continue;
        }
        if let Some((_, before)) = last {
            line.push(pos2(x, before));
        }
        line.push(pos2(x, y));
        last = Some((x, y));
        if t > lens.window.1 {
            break;
        }
    }
    if let Some((x, y)) = last.filter(|(x, _)| *x < band.right()) {
        line.push(pos2(x.max(band.left()), y));
        line.push(pos2(band.right(), y));
    }
    let color = theme.sequential[2];
    for pair in line.windows(2) {
        let fill = Rect::from_two_pos(pair[0], pos2(pair[1].x, band.bottom()));
        painter.rect_filled(fill, 0.0, color.gamma_multiply(0.15));
    }
    painter.add(egui::Shape::line(line, Stroke::new(1.0, color)));
    words
}

/// All that is known of what is under the pointer.
pub fn tip_ui(ui: &mut Ui, theme: &Theme, profile: &Profile, hit: &Hit) {
    let cell = &hit.cell;
    if hit.count > 1 {
        ui.label(RichText::new(format!("{} drawn as one", format::plural(hit.count, "span"))).font(theme::head()));
        let longest = format!("longest: {}, {}", cell_name(profile, cell), format::duration(cell.end - cell.start));
        ui.label(RichText::new(longest).color(theme.text_weak));
        ui.label(RichText::new("Click to zoom in").font(theme::caption()).color(theme.text_weak));
    } else if let Some(layer) = cell.layer {
        facts::tip(ui, theme, profile, layer, cell.span);
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
