//! The plot of a model's latency, run after run, with its lasting changes.

use egui::{Align2, Rect, Role, Sense, Stroke, Ui, WidgetInfo, pos2, vec2};
use history::Trend;

use crate::draw::{axis, galley};
use crate::format;
use crate::theme::{self, GRID, PAD, Theme};

/// Height of the plot with its captions.
pub const HEIGHT: f32 = 168.0;
const FEWEST_FOR_CHANGES: usize = 6;

/// Draws it; gives back the run whose dot was clicked.
pub fn ui(ui: &mut Ui, theme: &Theme, trend: &Trend, selected: i64) -> Option<i64> {
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), HEIGHT), Sense::click());
    let words = verdict(trend);
    response.widget_info(|| WidgetInfo::labeled(Role::Canvas, true, format!("Latency over time: {words}")));
    let painter = ui.painter().with_clip_rect(rect.intersect(ui.clip_rect()));
    let caption = galley(&painter, &words, theme::caption(), theme.text_weak, rect.width());
    painter.galley(rect.left_top() + vec2(0.0, GRID), caption, theme.text_weak);
    let runs = &trend.runs;
    let bounds = runs.iter().filter_map(|e| Some((e.median_ns?, e.mad_ns.unwrap_or(0.0))));
    let top = bounds.clone().map(|(m, d)| m + d).fold(0.0, f64::max) * 1.08;
    let low = bounds.map(|(m, d)| m - d).fold(f64::INFINITY, f64::min).max(0.0);
    if runs.is_empty() || top <= 0.0 {
        return None;
    }
    // Changes of a few per cent would not show on an axis from zero; the axis says where it begins.
    let bottom = if low > top * 0.5 { low - (top - low) * 0.15 } else { 0.0 };
    let plot = Rect::from_min_max(rect.min + vec2(56.0, 24.0), rect.max - vec2(PAD, 20.0));
    let y = |ns: f64| plot.bottom() - ((ns - bottom) / (top - bottom)) as f32 * plot.height();
    let x = |i: usize| {
        let step = plot.width() / runs.len() as f32;
        plot.left() + step * (i as f32 + 0.5)
    };
    for v in axis::ticks(bottom, top, (plot.height() / 28.0) as usize) {
        painter.hline(plot.x_range(), y(v).round() + 0.5, theme.line());
        let at = pos2(plot.left() - GRID, y(v));
        painter.text(at, Align2::RIGHT_CENTER, format::duration(v), theme::caption_figure(), theme.text_weak);
    }
    segments(&painter, theme, trend, plot, &x, &y);
    let pointer = response.hover_pos();
    let nearest = pointer.filter(|p| plot.expand(PAD).contains(*p)).map(|p| {
        let step = plot.width() / runs.len() as f32;
        (((p.x - plot.left()) / step).floor().max(0.0) as usize).min(runs.len() - 1)
    });
    // More runs than points in width: dots would only smear, the line of levels says it.
    let radius = (plot.width() / runs.len() as f32 * 0.4).clamp(1.0, 3.5);
    for (i, e) in runs.iter().enumerate() {
        let Some(median) = e.median_ns else { continue };
        let color = if e.id == selected { theme.focus } else { theme.text };
        if let Some(mad) = e.mad_ns.filter(|_| radius > 1.5) {
            painter.vline(x(i), y(median + mad)..=y(median - mad), Stroke::new(1.0, theme.text_weak));
        }
        let grown = if nearest == Some(i) || e.id == selected { radius + 1.5 } else { radius };
        painter.circle_filled(pos2(x(i), y(median)), grown, color);
    }
    for (i, align) in [(0, Align2::LEFT_TOP), (runs.len() - 1, Align2::RIGHT_TOP)] {
        let at = if align == Align2::LEFT_TOP { plot.left_bottom() } else { plot.right_bottom() };
        if i == 0 || runs.len() > 1 {
            let day: String = format::local_time(runs[i].unix_s).chars().take(10).collect();
            painter.text(at + vec2(0.0, GRID), align, day, theme::caption_figure(), theme.text_weak);
        }
    }
    let e = &runs[nearest?];
    let clicked = response.clicked().then_some(e.id);
    response.on_hover_ui_at_pointer(|ui| super::facts_ui(ui, theme, e));
    clicked
}

/// The level between changes as a line, and each change as a mark with its size.
fn segments(
    painter: &egui::Painter,
    theme: &Theme,
    trend: &Trend,
    plot: Rect,
    x: &impl Fn(usize) -> f32,
    y: &impl Fn(f64) -> f32,
) {
    let half = plot.width() / trend.runs.len() as f32 / 2.0;
    for (n, change) in trend.changes.iter().enumerate() {
        let from = n.checked_sub(1).map_or(plot.left(), |p| x(trend.changes[p].at) - half);
        let at = x(change.at) - half;
        let to = trend.changes.get(n + 1).map_or(plot.right(), |c| x(c.at) - half);
        let color = if change.ratio() > 0.0 { theme.diverging[4] } else { theme.diverging[0] };
        if n == 0 {
            painter.hline(from..=at, y(change.before_ns), Stroke::new(1.0, theme.text_weak));
        }
        painter.hline(at..=to, y(change.after_ns), Stroke::new(1.0, color));
        painter.vline(at, plot.y_range(), Stroke::new(1.0, color));
        let words = format::percent_change(change.ratio());
        let label = galley(painter, &words, theme::caption_figure(), color, plot.width());
        let left = (at + GRID).min(plot.right() - label.size().x);
        painter.galley(pos2(left, plot.top()), label, color);
    }
}

fn verdict(trend: &Trend) -> String {
    let n = format::plural(trend.runs.len(), "run");
    match trend.changes.last() {
        _ if trend.runs.len() < FEWEST_FOR_CHANGES => {
            format!("{n} alike; {FEWEST_FOR_CHANGES} are needed to tell a change from noise")
        }
        None => format!("{n} alike: no change stands out of the noise"),
        Some(last) => {
            let word = if last.ratio() > 0.0 { "slower" } else { "faster" };
            let since = trend.runs.get(last.at).map_or_else(String::new, |e| format::local_time(e.unix_s));
            format!("{} {word} since {since}, {n}", format::percent(last.ratio().abs()))
        }
    }
}
