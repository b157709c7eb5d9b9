//! A histogram of times over runs.

use egui::{Align2, Role, Sense, Ui, WidgetInfo, pos2, vec2};

use super::axis;
use crate::format;
use crate::theme::{self, Theme};

/// Counts of values in equal bins from the least to the largest.
#[derive(Clone, Debug, PartialEq)]
pub struct Bins {
    /// Start of the first bin.
    pub from: f64,
    /// End of the last.
    pub to: f64,
    /// Values in each.
    pub counts: Vec<usize>,
}

impl Bins {
    /// At most `most` bins; about the square root of the number of values.
    pub fn new(values: &[u64], most: usize) -> Option<Bins> {
        let (&min, &max) = (values.iter().min()?, values.iter().max()?);
        let n = ((values.len() as f64).sqrt().ceil() as usize * 2).clamp(1, most.max(1));
        // Equal values still make a bar: give it a width of one nanosecond.
        let (from, to) = (min as f64, (max as f64).max(min as f64 + 1.0));
        let mut counts = vec![0; n];
        for &v in values {
            let i = ((v as f64 - from) / (to - from) * n as f64) as usize;
            counts[i.min(n - 1)] += 1;
        }
        Some(Bins { from, to, counts })
    }
}

/// Draws times over runs with the median marked.
pub fn show(ui: &mut Ui, theme: &Theme, times_ns: &[u64], median_ns: f64, height: f32) {
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), height), Sense::hover());
    let Some(bins) = Bins::new(times_ns, (rect.width() / 6.0) as usize) else { return };
    response.widget_info(|| {
        let words =
            format!("Histogram of {}, median {}", format::plural(times_ns.len(), "run"), format::duration(median_ns));
        WidgetInfo::labeled(Role::Image, true, words)
    });
    let plot = rect.with_max_y(rect.bottom() - 16.0).with_min_y(rect.top() + 14.0);
    let painter = ui.painter();
    let most = bins.counts.iter().copied().max().unwrap_or(1).max(1) as f32;
    let width = plot.width() / bins.counts.len() as f32;
    let hovered = response.hover_pos().map(|p| ((p.x - plot.left()) / width) as usize);
    for (i, &count) in bins.counts.iter().enumerate().filter(|(_, c)| **c > 0) {
        let x = plot.left() + i as f32 * width;
        let bar = egui::Rect::from_min_max(
            pos2(x + 0.5, plot.bottom() - (plot.height() * count as f32 / most).max(1.0)),
            pos2(x + width - 0.5, plot.bottom()),
        );
        let color = if hovered == Some(i) { theme.accent } else { theme::mix(theme.surface[1], theme.accent, 0.6) };
        painter.rect_filled(bar, 1.0, color);
    }
    painter.hline(plot.x_range(), plot.bottom() + 0.5, theme.line());
    let x = plot.left() + ((median_ns - bins.from) / (bins.to - bins.from)).clamp(0.0, 1.0) as f32 * plot.width();
    painter.vline(x.round() + 0.5, rect.top() + 2.0..=plot.bottom(), egui::Stroke::new(1.0, theme.text_strong));
    let (align, at) = if x > plot.center().x {
        (Align2::RIGHT_TOP, pos2(x - 4.0, rect.top()))
    } else {
        (Align2::LEFT_TOP, pos2(x + 5.0, rect.top()))
    };
    painter.text(at, align, format!("median {}", format::duration(median_ns)), theme::caption(), theme.text);
    let step = axis::step((bins.to - bins.from) / 3.0);
    let edge = |at, align, v: f64| {
        let text = if step >= 1.0 { format::duration(v) } else { axis::time_label(v, 1.0) };
        painter.text(at, align, text, theme::caption_figure(), theme.text_weak);
    };
    edge(rect.left_bottom(), Align2::LEFT_BOTTOM, bins.from);
    edge(rect.right_bottom(), Align2::RIGHT_BOTTOM, bins.to);
    if let Some((i, &count)) = hovered.and_then(|i| Some((i, bins.counts.get(i)?))) {
        let bin = (bins.to - bins.from) / bins.counts.len() as f64;
        let (from, to) = (bins.from + bin * i as f64, bins.from + bin * (i + 1) as f64);
        response.on_hover_text_at_pointer(format!(
            "{} between {} and {}",
            format::plural(count, "run"),
            format::duration(from),
            format::duration(to)
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_in_one_bin() {
        for values in [vec![5], vec![5, 5, 5], vec![1, 2, 3, 1000], (0..500).map(|v| v * v).collect::<Vec<u64>>()] {
            let bins = Bins::new(&values, 40).unwrap();
            assert_eq!(bins.counts.iter().sum::<usize>(), values.len());
            assert!(bins.counts.len() <= 40 && bins.from < bins.to);
        }
        assert_eq!(Bins::new(&[], 40), None);
        assert_eq!(Bins::new(&[1, 2], 0).unwrap().counts, [2]);
    }
}
