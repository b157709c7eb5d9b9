//! The roofline's picture: layers as dots between the roofs of their device, both axes logarithmic.

use egui::epaint::TextShape;
use egui::{Align2, Color32, Painter, Pos2, Rect, Stroke, Vec2, pos2, vec2};
use profiler::{Ceilings, LayerId, LayerRoof, OpClass};

use super::{galley, text_in};
use crate::format;
use crate::theme::{self, GRID, Theme};

/// Room for the figures of the value axis.
const GUTTER: f32 = 88.0;
/// Room for the figures of the other.
const FOOT: f32 = 34.0;
/// Dots whose centres share a cell of this side are drawn as the longest of them.
const CELL: f32 = 3.0;
/// The narrowest view, in decades.
const NARROWEST: f64 = 0.2;
/// The widest view, in decades.
const WIDEST: f64 = 30.0;

/// What part of the plane is seen: decades of operations per byte and of operations per second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lens {
    /// From and to, log10 of FLOP per byte.
    pub x: (f64, f64),
    /// From and to, log10 of FLOP per second.
    pub y: (f64, f64),
}

impl Lens {
    /// All layers with arithmetic, and the corners of the roofs.
    pub fn fit(roofs: &[LayerRoof], ceilings: Option<&Ceilings>) -> Lens {
        let mut x = (f64::INFINITY, f64::NEG_INFINITY);
        let mut y = x;
        let mut take = |u: f64, v: f64| {
            if u.is_finite() && v.is_finite() {
                x = (x.0.min(u), x.1.max(u));
                y = (y.0.min(v), y.1.max(v));
            }
        };
        for (intensity, rate) in roofs.iter().filter_map(|r| r.intensity.zip(r.flop_per_s)) {
            take(intensity.log10(), rate.log10());
        }
        if let Some((c, memory)) = ceilings.and_then(|c| Some((c, c.bytes_per_s()?))) {
            for rate in c.compute.iter().filter_map(|r| c.flop_per_s(&r.dtype)) {
                take((rate / memory).log10(), rate.log10());
            }
        }
        if x.0 > x.1 {
            return Lens { x: (-2.0, 3.0), y: (8.0, 12.0) };
        }
        let room = |(from, to): (f64, f64), least: f64| {
            let more = ((least - (to - from)) / 2.0).max(0.35);
            (from - more, to + more)
        };
        Lens { x: room(x, 2.0), y: room(y, 1.5) }
    }

    /// Where a point of the plane is in the plot.
    fn at(&self, plot: Rect, u: f64, v: f64) -> Pos2 {
        let part = |value: f64, (from, to): (f64, f64)| ((value - from) / (to - from)) as f32;
        pos2(plot.left() + part(u, self.x) * plot.width(), plot.bottom() - part(v, self.y) * plot.height())
    }

    /// The same part closer by `factor`, with the point under `anchor` (0 to 1 from left and from below) in place.
    #[must_use]
    pub fn zoomed(&self, factor: f64, anchor: (f64, f64)) -> Lens {
        let zoom = |(from, to): (f64, f64), at: f64| {
            let width = ((to - from) / factor).clamp(NARROWEST, WIDEST);
            let center = from + at * (to - from);
            (center - at * width, center + (1.0 - at) * width)
        };
        Lens { x: zoom(self.x, anchor.0), y: zoom(self.y, anchor.1) }
    }

    /// Moved with the hand by so many points.
    #[must_use]
    pub fn panned(&self, by: Vec2, plot: Rect) -> Lens {
        let per = |(from, to): (f64, f64), points: f32| (to - from) / f64::from(points.max(1.0));
        let (dx, dy) = (f64::from(by.x) * per(self.x, plot.width()), f64::from(by.y) * per(self.y, plot.height()));
        let within = |(from, to): (f64, f64), by: f64| {
            let by = by.clamp(-WIDEST - from, WIDEST - to);
            (from + by, to + by)
        };
        Lens { x: within(self.x, -dx), y: within(self.y, dy) }
    }
}

/// One dot: a layer, or several that fall on the same place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dot {
    /// Its centre.
    pub at: Pos2,
    /// Its radius.
    pub radius: f32,
    /// For its colour.
    pub class: OpClass,
    /// The layer that takes longest here.
    pub layer: LayerId,
    /// How many are here.
    pub count: usize,
}

/// The part of a panel's rectangle that the plane takes.
pub fn plot_rect(rect: Rect) -> Rect {
    let min = (rect.min + vec2(GUTTER, GRID * 2.0)).round();
    let max = (rect.max - vec2(GRID * 3.0, FOOT)).round();
    Rect::from_min_max(min, max.max(min + vec2(1.0, 1.0)))
}

/// The dots to draw: small ones last, so that none hides under a large one.
pub fn dots(roofs: &[LayerRoof], classes: impl Fn(LayerId) -> OpClass, lens: Lens, plot: Rect) -> Vec<Dot> {
    let mut by_cell: std::collections::HashMap<(i32, i32), (Dot, f64)> = std::collections::HashMap::new();
    let seen = plot.expand(16.0);
    for r in roofs {
        let Some((intensity, rate)) = r.intensity.zip(r.flop_per_s) else { continue };
        let at = lens.at(plot, intensity.log10(), rate.log10());
        if !seen.contains(at) {
            continue;
        }
        let radius = 3.0 + 14.0 * (r.share.clamp(0.0, 1.0) as f32).sqrt();
        let dot = Dot { at, radius, class: classes(r.layer), layer: r.layer, count: 1 };
        let cell = ((at.x / CELL) as i32, (at.y / CELL) as i32);
        by_cell
            .entry(cell)
            .and_modify(|(kept, time)| {
                let count = kept.count + 1;
                if r.time_ns > *time {
                    (*kept, *time) = (dot, r.time_ns);
                }
                kept.count = count;
            })
            .or_insert((dot, r.time_ns));
    }
    let mut dots: Vec<Dot> = by_cell.into_values().map(|d| d.0).collect();
    dots.sort_by(|a, b| b.radius.total_cmp(&a.radius).then(a.layer.cmp(&b.layer)));
    dots
}

/// The dot under the pointer, the smallest if several are.
pub fn hit(dots: &[Dot], pointer: Pos2) -> Option<&Dot> {
    dots.iter()
        .rev()
        .filter(|d| d.at.distance(pointer) <= d.radius.max(5.0))
        .min_by(|a, b| a.at.distance_sq(pointer).total_cmp(&b.at.distance_sq(pointer)))
}

/// Both axes with faint lines at each power of ten.
pub fn axes(painter: &Painter, theme: &Theme, rect: Rect, plot: Rect, lens: Lens) {
    painter.rect_filled(plot, 0.0, theme.surface[0]);
    let inside = painter.with_clip_rect(plot.intersect(painter.clip_rect()));
    let every = |(from, to): (f64, f64), room: f32| (((to - from) / f64::from((room).max(1.0))).ceil() as i32).max(1);
    let step = every(lens.x, plot.width() / 56.0);
    for d in decades(lens.x, step) {
        let x = lens.at(plot, f64::from(d), 0.0).x.round() + 0.5;
        inside.vline(x, plot.y_range(), theme.line());
        let at = pos2(x, plot.bottom() + 4.0);
        painter.text(at, Align2::CENTER_TOP, plain(d), theme::caption_figure(), theme.text_weak);
    }
    let step = every(lens.y, plot.height() / 24.0);
    for d in decades(lens.y, step) {
        let y = lens.at(plot, 0.0, f64::from(d)).y.round() + 0.5;
        inside.hline(plot.x_range(), y, theme.line());
        let at = pos2(plot.left() - 6.0, y);
        let label = format::flops_rate(10f64.powi(d));
        painter.text(at, Align2::RIGHT_CENTER, label, theme::caption_figure(), theme.text_weak);
    }
    let foot = Rect::from_min_max(pos2(plot.left(), rect.bottom() - 16.0), rect.right_bottom());
    text_in(painter, foot, Align2::CENTER_CENTER, "FLOP per byte", theme::caption(), theme.text_weak);
}

/// Powers of ten in a range, every `step`-th.
fn decades((from, to): (f64, f64), step: i32) -> impl Iterator<Item = i32> {
    let (first, last) = (from.ceil() as i32, to.floor() as i32);
    (first..=last).filter(move |d| d.rem_euclid(step) == 0)
}

fn plain(decade: i32) -> String {
    match decade {
        0..=4 => format!("{}", 10u32.pow(decade as u32)),
        -3..=-1 => format!("{:.*}", decade.unsigned_abs() as usize, 10f64.powi(decade)),
        _ => format!("1e{decade}"),
    }
}

/// The roofs with their figures; `used` are the types of number that occur, the others are drawn fainter.
///
/// Gives back the words on the level roofs, to be painted over the dots that crowd there.
pub fn roofs(
    painter: &Painter,
    theme: &Theme,
    plot: Rect,
    lens: Lens,
    c: &Ceilings,
    used: &[&str],
) -> Vec<(Pos2, String, Color32)> {
    let inside = painter.with_clip_rect(plot.intersect(painter.clip_rect()));
    let mut labels = Vec::new();
    let Some(memory) = c.bytes_per_s() else { return labels };
    let rates = || c.compute.iter().filter_map(|r| Some((r, c.flop_per_s(&r.dtype)?)));
    let Some(top) = rates().map(|r| r.1).max_by(f64::total_cmp).map(f64::log10) else { return labels };
    let caches = c.caches.iter().map(|r| (r.name.as_str(), r.bytes_per_s, false));
    let mut lines: Vec<(&str, f64, bool)> =
        caches.chain([("main memory", memory, true)]).filter(|l| l.1.is_finite() && l.1 > 0.0).collect();
    lines.sort_by(|a, b| a.1.total_cmp(&b.1));
    let fastest = lines.last().map_or(memory, |l| l.1).log10();

    for (roof, rate) in rates() {
        let v = rate.log10();
        let is_used = used.contains(&roof.dtype.as_str());
        let color = if is_used { theme.text_strong } else { theme.text_weak };
        let from = lens.at(plot, v - fastest, v);
        let to = pos2(plot.right(), from.y);
        inside.line_segment([from, to], Stroke::new(if is_used { 1.5 } else { 1.0 }, color));
        let label = format!("{} {}", roof.dtype, format::flops_rate(rate));
        labels.push((pos2(plot.right() - 6.0, from.y - 3.0), label, color));
    }

    let slope = vec2(plot.width() / (lens.x.1 - lens.x.0) as f32, -plot.height() / (lens.y.1 - lens.y.0) as f32);
    let (angle, along) = (slope.y.atan2(slope.x), slope.normalized());
    let mut labelled: Option<Pos2> = None;
    for (name, rate, main) in lines {
        let b = rate.log10();
        let color = if main { theme.text_strong } else { theme.text_weak };
        // From where the line enters the plot.
        let u = lens.x.0.max(lens.y.0 - b);
        let (from, to) = (lens.at(plot, u, u + b), lens.at(plot, top - b, top));
        if to.x <= from.x {
            continue;
        }
        let stroke = Stroke::new(if main { 1.5 } else { 1.0 }, color);
        if main {
            inside.line_segment([from, to], stroke);
        } else {
            inside.extend(egui::Shape::dashed_line(&[from, to], stroke, 4.0, 4.0));
        }
        let apart = labelled.is_none_or(|l| ((l - from).x * along.y - (l - from).y * along.x).abs() > 15.0);
        let label =
            galley(&inside, &format!("{name} {}", format::bytes_rate(rate)), theme::caption_figure(), color, 400.0);
        let length = label.size().x;
        if apart && from.distance(to) > length + 24.0 {
            labelled = Some(from);
            let up = vec2(along.y, -along.x) * (label.size().y + 2.0);
            let at = from + along * 14.0 + up;
            inside.add(TextShape::new(at, label, color).with_angle(angle));
        }
    }
    labels
}

/// Words that end at a point and stay legible over whatever is there.
pub fn paint_labels(painter: &Painter, theme: &Theme, labels: &[(Pos2, String, Color32)]) {
    for (at, text, color) in labels {
        let words = galley(painter, text, theme::caption_figure(), *color, f32::INFINITY);
        let rect = Align2::RIGHT_BOTTOM.anchor_size(*at, words.size());
        painter.rect_filled(rect.expand2(vec2(4.0, 1.0)), 2.0, theme.surface[0].gamma_multiply(0.85));
        painter.galley(rect.min, words, *color);
    }
}

/// The dots, with the selected and the hovered one outlined.
pub fn paint_dots(painter: &Painter, theme: &Theme, dots: &[Dot], is: impl Fn(LayerId) -> (bool, bool)) {
    let mut marked: Vec<(Dot, Color32)> = Vec::new();
    for d in dots {
        let color = theme.class(d.class);
        painter.circle(d.at, d.radius, color.gamma_multiply(0.75), Stroke::new(1.0, theme.surface[0]));
        match is(d.layer) {
            (true, _) => marked.push((*d, theme.focus)),
            (_, true) => marked.push((*d, theme.text_strong)),
            _ => {}
        }
    }
    for (d, color) in marked {
        painter.circle(d.at, d.radius, theme.class(d.class), Stroke::new(1.0, theme.surface[0]));
        painter.circle_stroke(d.at, d.radius + 2.0, Stroke::new(2.0, color));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use profiler::fixtures;

    const PLOT: Rect = Rect { min: Pos2 { x: 0.0, y: 0.0 }, max: Pos2 { x: 600.0, y: 400.0 } };

    #[test]
    fn every_layer_is_in_a_dot_of_the_fitted_plane() {
        let trace = fixtures::transformer(6, 5, 1);
        let roofs = profiler::roofline(&trace, &trace.layer_stats(), None);
        let lens = Lens::fit(&roofs, None);
        let dots = dots(&roofs, |l| trace.layers[l.index()].class, lens, PLOT);
        assert!(dots.iter().all(|d| PLOT.contains(d.at)), "{dots:?}");
        let with_arithmetic = roofs.iter().filter(|r| r.intensity.is_some()).count();
        assert_eq!(dots.iter().map(|d| d.count).sum::<usize>(), with_arithmetic);
        for d in &dots {
            assert!(hit(&dots, d.at).is_some_and(|found| found.at.distance(d.at) < 1e-3));
        }
        assert!(hit(&dots, pos2(-100.0, -100.0)).is_none());
    }

    #[test]
    fn zoom_keeps_the_point_under_the_pointer_and_panning_follows_the_hand() {
        let lens = Lens { x: (0.0, 4.0), y: (8.0, 12.0) };
        let closer = lens.zoomed(2.0, (0.25, 0.5));
        assert_eq!(closer, Lens { x: (0.5, 2.5), y: (9.0, 11.0) });
        assert_eq!(closer.at(PLOT, 1.0, 10.0), lens.at(PLOT, 1.0, 10.0));
        let moved = lens.panned(vec2(150.0, 100.0), PLOT);
        assert_eq!(moved.at(PLOT, 1.0, 10.0), lens.at(PLOT, 1.0, 10.0) + vec2(150.0, 100.0));
        assert!(lens.zoomed(1e9, (0.5, 0.5)).x.1 > lens.x.0);
        assert!(lens.zoomed(1e-9, (0.5, 0.5)).x.1 < 40.0);
    }

    #[test]
    fn labels_of_decades() {
        let labels: Vec<String> = [-5, -3, -1, 0, 1, 4, 5].map(plain).into();
        assert_eq!(labels, ["1e-5", "0.001", "0.1", "1", "10", "10000", "1e5"]);
        assert_eq!(decades((-1.5, 3.2), 1).collect::<Vec<_>>(), [-1, 0, 1, 2, 3]);
        assert_eq!(decades((-1.5, 3.2), 2).collect::<Vec<_>>(), [0, 2]);
    }
}
