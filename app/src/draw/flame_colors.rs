//! What the flame graph's cells are coloured by, and the legend that says so.

use egui::{Align2, Color32, Rect, Sense, Ui, pos2, vec2};
use profiler::{Accuracy, LayerId, OpClass};
use serde::{Deserialize, Serialize};

use super::flame_row::FlameCell;
use super::{galley, key, legend, text_in};
use crate::format;
use crate::theme::{self, Theme};
use crate::view::Profile;

/// What a cell's colour says.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub enum ColorBy {
    /// The kind of operator; where no layer is known, the name.
    #[default]
    Class,
    /// The part of the model.
    Scope,
    /// How long it took.
    Duration,
    /// How much a lower precision changes the layer's output.
    Error,
}

impl ColorBy {
    /// In the order of the choice, with the words for it.
    pub const ALL: [(ColorBy, &'static str, &'static str); 4] = [
        (ColorBy::Class, "Op class", "Colour by the kind of operator"),
        (ColorBy::Scope, "Scope", "Colour by the part of the model"),
        (ColorBy::Duration, "Duration", "Colour by how long a span took, on a logarithmic ramp"),
        (ColorBy::Error, "Error", "Colour by how much a lower precision changes the layer's output"),
    ];

    /// The word for it.
    pub fn label(self) -> &'static str {
        ColorBy::ALL.iter().find(|(by, ..)| *by == self).map_or("", |(_, label, _)| label)
    }
}

/// Scopes with a hue of their own; what comes after them is neutral.
const MOST_SCOPES: usize = 16;
/// The ramp of durations spans so many powers of ten.
const DECADES: f64 = 3.0;
/// Spans looked at for the longest, where no layer's statistics tell.
const SAMPLED: usize = 100_000;

/// The colours of one trace by one key: made when either changes.
#[derive(Debug, Default)]
pub struct Coloring {
    by: ColorBy,
    /// By node of the tree of scopes: its place among `scopes`.
    scope_of: Vec<Option<u8>>,
    scopes: Vec<String>,
    others: bool,
    /// By layer: what the precision costs, in dB; infinite if nothing.
    error: Vec<Option<f64>>,
    scheme: String,
    longest: f64,
    has_layers: bool,
}

impl Coloring {
    /// For a trace; `scheme` is the place of the precision in its comparison.
    pub fn new(profile: &Profile, by: ColorBy, scheme: usize) -> Coloring {
        let mut c = Coloring { by, has_layers: !profile.trace.layers.is_empty(), ..Coloring::default() };
        match by {
            ColorBy::Class => {}
            ColorBy::Scope => c.group(profile),
            ColorBy::Duration => c.longest = longest(profile),
            ColorBy::Error => {
                if let Some(accuracy) = profile.trace.accuracy.get(scheme) {
                    c.scheme.clone_from(&accuracy.scheme);
                    c.error = errors(profile, accuracy);
                }
            }
        }
        c
    }

    /// Gives the outermost scopes that tell parts of the model apart their places.
    fn group(&mut self, profile: &Profile) {
        let nodes = &profile.scopes.nodes;
        self.scope_of = vec![None; nodes.len()];
        let inner = |i: usize| nodes[i].children.iter().copied().filter(|&c| is_scope(profile, c)).collect::<Vec<_>>();
        if nodes.is_empty() {
            return;
        }
        let mut groups = inner(0);
        let weight = |i: usize| if nodes[0].median_ns > 0.0 { nodes[i].median_ns } else { nodes[i].layers as f64 };
        // A scope that holds most of the model says little: its parts stand for it.
        for _ in 0..8 {
            let Some(big) = groups.iter().position(|&g| weight(g) > 0.6 * weight(0)) else { break };
            let parts = inner(groups[big]);
            if parts.len() < 2 && groups.len() > 1 || parts.is_empty() || groups.len() + parts.len() > MOST_SCOPES + 1 {
                break;
            }
            groups.splice(big..=big, parts);
        }
        self.others = groups.len() > MOST_SCOPES;
        if self.others {
            let mut by_weight = groups.clone();
            by_weight.sort_by(|&a, &b| weight(b).total_cmp(&weight(a)));
            by_weight.truncate(MOST_SCOPES);
            groups.retain(|g| by_weight.contains(g));
        }
        for (i, &g) in groups.iter().enumerate() {
            self.scope_of[g] = Some(i as u8);
            self.scopes.push(nodes[g].path.clone());
        }
        // Parents stand before their children.
        for i in 1..nodes.len() {
            self.scope_of[i] = self.scope_of[i].or(self.scope_of[nodes[i].parent]);
        }
    }

    /// A cell's colour at full strength; `class` is that of most of its time, where it stands for several.
    pub fn of(&self, theme: &Theme, profile: &Profile, cell: &FlameCell, class: Option<OpClass>) -> Color32 {
        let neutral = theme.surface[3];
        match self.by {
            ColorBy::Class => match class {
                Some(class) if cell.layer.is_some() => theme.class(class),
                // A scope of one class: its colour, fainter than a layer's.
                Some(class) => theme::mix(neutral, theme.class(class), 0.35),
                None => self.by_name(theme, profile, cell),
            },
            ColorBy::Scope if !self.has_layers => self.by_name(theme, profile, cell),
            ColorBy::Scope => {
                let node = cell.node.map(|n| n as usize).or(cell.layer.and_then(|l| self.node_of(profile, l)));
                let group = node.and_then(|n| self.scope_of.get(n).copied().flatten());
                let color = group.map_or(neutral, |g| scope_color(theme, g as usize));
                if cell.layer.is_none() { theme::mix(neutral, color, 0.45) } else { color }
            }
            ColorBy::Duration if cell.layer.is_none() && self.has_layers => neutral,
            ColorBy::Duration => self.duration(theme, cell.end - cell.start),
            ColorBy::Error => {
                let db = cell.layer.and_then(|l| self.error.get(l.index()).copied().flatten());
                db.map_or(neutral, |db| theme.sqnr(db))
            }
        }
    }

    fn node_of(&self, profile: &Profile, layer: LayerId) -> Option<usize> {
        profile.scopes.of_layer.get(layer.index()).copied()
    }

    /// A trace that knows no layers: a hue per name, so that what repeats is seen to repeat.
    fn by_name(&self, theme: &Theme, profile: &Profile, cell: &FlameCell) -> Color32 {
        let names = &profile.trace.spans.name;
        match cell.span.and_then(|s| names.get(s.index())) {
            Some(&name) if !self.has_layers => {
                name_color(theme, profile.trace.spans.names.get(name as usize).map_or("", String::as_str))
            }
            _ => theme.surface[3],
        }
    }

    fn duration(&self, theme: &Theme, ns: f64) -> Color32 {
        if self.longest <= 0.0 {
            return theme.surface[3];
        }
        let t = 1.0 + (ns.max(1e-3) / self.longest).log10() / DECADES;
        theme::ramp(&theme.sequential, t as f32)
    }

    /// What the error says of a layer, for its tooltip.
    pub fn error_of(&self, layer: LayerId) -> Option<String> {
        if self.by != ColorBy::Error || self.scheme.is_empty() {
            return None;
        }
        Some(match self.error.get(layer.index()).copied().flatten() {
            Some(db) if db == f64::INFINITY => format!("{}: the output is bit-identical", self.scheme),
            Some(db) => format!("{}: {} of signal to quantization noise", self.scheme, format::decibel(db)),
            None => format!("{}: this layer was not compared", self.scheme),
        })
    }

    /// True if nothing tells the error.
    pub fn lacks_error(&self) -> bool {
        self.by == ColorBy::Error && self.scheme.is_empty()
    }

    /// One line that says what the colours mean.
    pub fn legend_ui(&self, ui: &mut Ui, theme: &Theme, profile: &Profile) {
        match self.by {
            ColorBy::Class | ColorBy::Scope if !self.has_layers => {
                note(ui, theme, "One hue per name: this trace names spans, but no layers.");
            }
            ColorBy::Class => legend(ui, theme, &profile.classes()),
            ColorBy::Scope if self.scopes.is_empty() => note(ui, theme, "The layers of this trace have no scopes."),
            ColorBy::Scope => {
                ui.spacing_mut().item_spacing.x = 12.0;
                for (i, scope) in self.scopes.iter().enumerate() {
                    let short = scope.rsplit('/').next().unwrap_or(scope);
                    key(ui, theme, scope_color(theme, i), short).on_hover_text(scope);
                }
                let rest = if self.others { "smaller scopes" } else { "no scope" };
                key(ui, theme, theme.surface[3], rest);
            }
            ColorBy::Duration => {
                let (from, to) = (self.longest / 10f64.powf(DECADES), self.longest);
                let steps = 3;
                let marks = (0..=steps)
                    .map(|i| format::duration(from * (to / from).powf(f64::from(i) / f64::from(steps))))
                    .collect::<Vec<_>>();
                ramp_ui(ui, theme, &theme.sequential, &marks, "Duration of a span, logarithmic");
                if self.has_layers {
                    key(ui, theme, theme.surface[3], "scopes and other spans");
                }
            }
            ColorBy::Error if self.scheme.is_empty() => {
                note(ui, theme, "No precision was compared: nothing is known of the layers' error.");
            }
            ColorBy::Error => {
                let marks = ["60 dB", "40", "20", "0 dB"].map(str::to_owned);
                let tip = "Signal to quantization noise of the layer's output, the network quantized up to it: \
                           the higher, the better. 60 dB and more is no error to speak of.";
                ramp_ui(ui, theme, &theme.error, &marks, tip);
                note(ui, theme, &format!("SQNR under {}, high is good", self.scheme));
                key(ui, theme, theme.surface[3], "not compared");
            }
        }
    }
}

fn is_scope(profile: &Profile, node: usize) -> bool {
    let node = &profile.scopes.nodes[node];
    node.layer.is_none_or(|l| profile.layer(l).is_some_and(|l| !l.scope.is_empty()))
}

/// The longest layer's median; where there are no layers, the longest of the innermost spans.
fn longest(profile: &Profile) -> f64 {
    let of_layers = profile.stats.iter().map(|s| s.time.median).fold(0.0, f64::max);
    if of_layers > 0.0 {
        return of_layers;
    }
    let spans = &profile.trace.spans;
    let step = (spans.len() / SAMPLED).max(1);
    let innermost = |i: usize| spans.parent.get(i + 1).is_none_or(|p| p.is_none_or(|p| p.index() != i));
    let lengths = (0..spans.len()).step_by(step).filter(|&i| innermost(i)).map(|i| spans.get(i).duration_ns());
    lengths.max().unwrap_or(0) as f64
}

fn errors(profile: &Profile, accuracy: &Accuracy) -> Vec<Option<f64>> {
    let by_name: std::collections::HashMap<&str, f64> = accuracy
        .layers
        .iter()
        .filter_map(|l| {
            let db = if l.exact { Some(f64::INFINITY) } else { l.cumulative_sqnr_db.or(l.local_sqnr_db) };
            Some((l.layer.as_str(), db.filter(|db| !db.is_nan())?))
        })
        .collect();
    profile.trace.layers.iter().map(|l| by_name.get(l.name.as_str()).copied()).collect()
}

/// The hue of the n-th scope: those of the op classes, then the same, muted.
fn scope_color(theme: &Theme, n: usize) -> Color32 {
    // The last hue is the neutral one of other operators: seven remain, far apart in this order.
    const ORDER: [usize; 7] = [0, 1, 3, 6, 4, 2, 5];
    let hue = theme.classes[ORDER[n % ORDER.len()]];
    if n < ORDER.len() { hue } else { theme::mix(hue, theme.surface[3], 0.45) }
}

/// The same name always has the same hue.
pub fn name_color(theme: &Theme, name: &str) -> Color32 {
    // FNV-1a, then the high bits: short names differ mostly in their low ones.
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    scope_color(theme, (hash >> 40) as usize % 14)
}

fn note(ui: &mut Ui, theme: &Theme, words: &str) {
    ui.label(egui::RichText::new(words).font(theme::caption()).color(theme.text_weak));
}

/// A ramp with figures under its length, in one line.
fn ramp_ui(ui: &mut Ui, theme: &Theme, stops: &[Color32], marks: &[String], tip: &str) {
    const STEP: f32 = 64.0;
    let font = theme::caption_figure();
    let first = marks.first().map_or("", String::as_str);
    let last = marks.last().map_or("", String::as_str);
    let width = |t: &str| galley(ui.painter(), t, font.clone(), theme.text_weak, f32::INFINITY).size().x;
    let (left, right) = (width(first) + 6.0, width(last) + 6.0);
    let length = STEP * (marks.len().max(2) - 1) as f32;
    let (rect, response) = ui.allocate_exact_size(vec2(left + length + right, 16.0), Sense::hover());
    let bar = Rect::from_min_size(pos2(rect.left() + left, rect.center().y - 4.0), vec2(length, 8.0));
    let painter = ui.painter();
    const PARTS: usize = 48;
    for i in 0..PARTS {
        let x = |i: usize| bar.left() + bar.width() * i as f32 / PARTS as f32;
        let part = Rect::from_x_y_ranges(x(i)..=x(i + 1), bar.y_range());
        painter.rect_filled(part, 0.0, theme::ramp(stops, (i as f32 + 0.5) / PARTS as f32));
    }
    text_in(painter, rect, Align2::LEFT_CENTER, first, font.clone(), theme.text_weak);
    text_in(painter, rect, Align2::RIGHT_CENTER, last, font, theme.text_weak);
    response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Label, true, format!("{tip}: {first} to {last}")));
    response.on_hover_text(format!("{tip}\n{}", marks.join("  ·  ")));
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use profiler::fixtures;

    use super::*;
    use crate::theme::contrast;

    fn cells(profile: &Profile) -> Vec<FlameCell> {
        profile.flame.tracks.iter().flat_map(|t| &t.rows).flat_map(|r| r.cells()).collect()
    }

    #[test]
    fn labels_are_legible_on_every_colour_a_cell_may_have() {
        for theme in [Theme::dark(), Theme::light()] {
            let mut fills: Vec<Color32> = (0..14).map(|n| scope_color(theme, n)).collect();
            fills.extend(theme.classes);
            fills.extend((0..=50).map(|i| theme::ramp(&theme.sequential, i as f32 / 50.0)));
            fills.extend((0..=50).map(|i| theme::ramp(&theme.error, i as f32 / 50.0)));
            for fill in fills {
                // As the painter weakens them: warm-up, several drawn as one, plain, lit.
                for strength in [0.18, 0.35, 0.6, 0.75, 0.9, 1.0] {
                    let fill = theme::mix(theme.surface[0], fill, strength);
                    let c = contrast(theme.ink_on(fill), fill);
                    assert!(c >= 4.5, "{fill:?} has {c:.2}");
                }
            }
        }
    }

    #[test]
    fn each_key_tells_layers_apart() {
        let profile = Profile::new(Arc::new(fixtures::transformer(6, 5, 1)));
        let theme = Theme::dark();
        for (by, ..) in ColorBy::ALL {
            let coloring = Coloring::new(&profile, by, 0);
            let mut colors: Vec<[u8; 4]> = cells(&profile)
                .iter()
                .filter(|c| c.layer.is_some())
                .map(|c| coloring.of(theme, &profile, c, c.class).to_array())
                .collect();
            colors.sort_unstable();
            colors.dedup();
            assert!(colors.len() >= 4, "{by:?}: {}", colors.len());
        }
        let scopes = Coloring::new(&profile, ColorBy::Scope, 0).scopes;
        assert!(scopes.iter().any(|s| s == "encoder/layer.3") && scopes.len() >= 6, "{scopes:?}");
    }

    #[test]
    fn what_has_no_error_is_neutral() {
        let profile = Profile::new(Arc::new(fixtures::many_spans(1000)));
        let coloring = Coloring::new(&profile, ColorBy::Error, 0);
        assert!(coloring.lacks_error());
        let theme = Theme::light();
        assert!(cells(&profile).iter().all(|c| coloring.of(theme, &profile, c, c.class) == theme.surface[3]));
    }

    #[test]
    fn names_without_layers_keep_their_hue() {
        let theme = Theme::dark();
        assert_eq!(name_color(theme, "aten::mm"), name_color(theme, "aten::mm"));
        let names = ["aten::mm", "aten::add", "aten::relu", "aten::linear", "forward", "backward"];
        let mut colors: Vec<[u8; 4]> = names.iter().map(|n| name_color(theme, n).to_array()).collect();
        colors.sort_unstable();
        colors.dedup();
        assert!(colors.len() >= 4);
    }
}
