//! Ticks at round values, and axes drawn from them.

use egui::{Align2, Painter, Rect, pos2};

use crate::theme::{self, Theme};

/// Round values (1, 2 or 5 times a power of ten) within a range, at most about `count` of them.
pub fn ticks(min: f64, max: f64, count: usize) -> Vec<f64> {
    let span = max - min;
    if !span.is_finite() || span <= 0.0 || count == 0 {
        return Vec::new();
    }
    let step = step(span / count as f64);
    let first = (min / step).ceil();
    let n = ((max / step).floor() - first) as usize;
    (0..=n.min(1000)).map(|i| (first + i as f64) * step).collect()
}

/// The smallest 1, 2 or 5 times a power of ten that is at least `raw`.
pub fn step(raw: f64) -> f64 {
    let magnitude = 10f64.powf(raw.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * magnitude).find(|s| *s >= raw * (1.0 - 1e-9)).unwrap_or(raw)
}

/// A value on a time axis: enough digits to tell neighbouring ticks apart, in the unit of the step.
pub fn time_label(ns: f64, step_ns: f64) -> String {
    let (divisor, unit) = match step_ns {
        s if s >= 1e9 => (1e9, "s"),
        s if s >= 1e6 => (1e6, "ms"),
        s if s >= 1e3 => (1e3, "µs"),
        _ => (1.0, "ns"),
    };
    let v = ns / divisor;
    let whole = format!("{:.0}", v.abs()).len();
    // Long numbers of a small unit read better in the next one.
    if whole > 4 && divisor < 1e9 {
        let (next, unit) =
            [(1e3, "µs"), (1e6, "ms"), (1e9, "s")].into_iter().find(|u| u.0 > divisor).unwrap_or((1e9, "s"));
        let decimals = (next / step_ns).log10().ceil().max(0.0) as usize;
        return format!("{:.*} {unit}", decimals.min(6), ns / next);
    }
    format!("{v:.0} {unit}").replace("-0 ", "0 ")
}

/// A time axis along the top of `lines`, with faint lines down through it. `x` maps nanoseconds to points.
pub fn time_axis(painter: &Painter, theme: &Theme, head: Rect, lines: Rect, range: (f64, f64), origin: f64) {
    let per_point = (range.1 - range.0) / f64::from(head.width());
    let count = (head.width() / 90.0).max(1.0) as usize;
    let step = step((range.1 - range.0) / count as f64);
    for t in ticks(range.0 - origin, range.1 - origin, count) {
        let x = head.left() + ((t + origin - range.0) / per_point) as f32;
        painter.vline(x.round() + 0.5, lines.y_range(), theme.line());
        painter.vline(x.round() + 0.5, head.bottom() - 4.0..=head.bottom(), theme.line());
        let label = time_label(t, step);
        if x + 60.0 < head.right() {
            let at = pos2(x + 4.0, head.center().y);
            painter.text(at, Align2::LEFT_CENTER, label, theme::caption_figure(), theme.text_weak);
        }
    }
}

/// The time under the pointer: a faint line down through the lines, and its figure on the axis. `t` counts from the axis'
/// origin, and `per_point` says how exact a point is.
pub fn pointer_on_axis(painter: &Painter, theme: &Theme, head: Rect, lines: Rect, x: f32, t: f64, per_point: f64) {
    let painter = painter.with_clip_rect(head.union(lines).intersect(painter.clip_rect()));
    let x = x.round() + 0.5;
    painter.vline(x, lines.y_range(), egui::Stroke::new(1.0, theme.text_weak.gamma_multiply(0.4)));
    let words = time_label(t, step(per_point.max(1e-3)));
    let text = super::galley(&painter, &words, theme::caption_figure(), theme.text_strong, f32::INFINITY);
    let size = egui::vec2(text.size().x + 8.0, head.height() - 4.0);
    let left = (x - size.x / 2.0).clamp(head.left(), (head.right() - size.x).max(head.left()));
    let plate = Rect::from_min_size(pos2(left, head.top() + 2.0), size);
    painter.rect_filled(plate, 2.0, theme.surface[3]);
    painter.galley(plate.center() - text.size() / 2.0, text, theme.text_strong);
}

/// Values along the left of a chart with faint lines across; `label` writes one.
pub fn value_axis(painter: &Painter, theme: &Theme, plot: Rect, max: f64, label: impl Fn(f64) -> String) {
    let count = (plot.height() / 14.0).clamp(1.0, 5.0) as usize;
    for v in ticks(0.0, max, count) {
        let y = plot.bottom() - (v / max) as f32 * plot.height();
        painter.hline(plot.x_range(), y.round() + 0.5, theme.line());
        let at = pos2(plot.left() - 6.0, y.clamp(plot.top() + 5.0, plot.bottom() - 5.0));
        painter.text(at, Align2::RIGHT_CENTER, label(v), theme::caption_figure(), theme.text_weak);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(ticks(0.0, 10.0, 5), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(ticks(3.0, 11.0, 4), [4.0, 6.0, 8.0, 10.0]);
        assert_eq!(ticks(0.0, 0.0, 4), [0.0; 0]);
        assert_eq!(ticks(0.0, f64::NAN, 4), [0.0; 0]);
        for raw in [0.3, 1.0, 7.0, 1234.5] {
            let s = step(raw);
            assert!(s >= raw * 0.999 && s <= raw * 5.0, "{raw}: {s}");
        }
    }

    #[test]
    fn neighbouring_labels_differ() {
        for (start, step) in [(0.0, 1e3), (5e6, 2e5), (12.345e9, 5e3), (0.0, 1.0), (1e9, 1e6)] {
            let labels: Vec<String> = (0..5).map(|i| time_label(start + step * f64::from(i), step)).collect();
            let mut unique = labels.clone();
            unique.dedup();
            assert_eq!(unique.len(), 5, "{labels:?}");
        }
    }
}
