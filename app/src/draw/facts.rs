//! Every figure of a layer, once for the inspector and the tooltips.

use egui::{RichText, Ui};
use profiler::{Layer, LayerId, LayerStats, Quality, SpanId};

use crate::format::{self, UNKNOWN};
use crate::theme::{self, GRID, Theme};
use crate::view::Profile;

/// A figure with its name.
pub struct Fact {
    /// Its name.
    pub label: &'static str,
    /// With its unit, or an em dash.
    pub value: String,
    /// Why it is unknown, or what it means; may be empty.
    pub why: &'static str,
}

/// Why a layer has no times.
pub const NOT_RUN: &str = "No measured run ran this layer.";
/// Why there is no spread.
pub const ONE_TIME: &str = "There is only one time of it: one run, or an average that another program made.";
/// Why a layer has no operations, bytes or rates.
pub const NO_COST: &str = "The trace does not state this layer's operations or bytes.";

fn known(label: &'static str, value: Option<String>, meaning: &'static str, missing: &'static str) -> Fact {
    match value {
        Some(value) => Fact { label, value, why: meaning },
        None => Fact { label, value: UNKNOWN.to_owned(), why: missing },
    }
}

/// A layer's times.
pub fn times(stats: Option<&LayerStats>) -> Vec<Fact> {
    let time = |f: fn(&LayerStats) -> f64| stats.map(|s| format::duration(f(s)));
    let spread =
        |f: fn(&LayerStats) -> f64| stats.filter(|s| s.time.distribution().is_some()).map(|s| format::duration(f(s)));
    let single = if stats.is_some() { ONE_TIME } else { NOT_RUN };
    vec![
        known("Median", time(|s| s.time.median), "Half of the runs were faster.", NOT_RUN),
        known("Spread (MAD)", spread(|s| s.time.mad), "Median absolute deviation from the median.", single),
        known("Minimum", time(|s| s.time.min), "", NOT_RUN),
        known("Mean", time(|s| s.time.mean), "", NOT_RUN),
        known("p90", spread(|s| s.time.p90), "9 of 10 runs were at most this slow.", single),
        known("p99", spread(|s| s.time.p99), "99 of 100 runs were at most this slow.", single),
        known("Share", stats.map(|s| format::percent(s.share)), "Of the time of all layers.", NOT_RUN),
        known("Measured runs", stats.map(|s| format::grouped(s.runs as u64)), "", NOT_RUN),
    ]
}

/// A layer's work, and how fast it was done.
pub fn work(layer: &Layer, stats: Option<&LayerStats>) -> Vec<Fact> {
    let seconds = stats.map(|s| s.time.median * 1e-9).filter(|s| *s > 0.0);
    let bytes = layer_bytes(layer);
    let per_s = |n: Option<u64>| Some(n? as f64 / seconds?);
    let intensity = match (layer.flops, bytes) {
        (Some(f), Some(b)) if b > 0 => Some(format!("{} FLOP/B", format::number(f as f64 / b as f64))),
        _ => None,
    };
    let size = |b: Option<u64>| b.map(|b| format::bytes(b as f64));
    vec![
        known("Operations", layer.flops.map(|f| format::flops(f as f64)), "A multiply-add counts as two.", NO_COST),
        known("Rate", per_s(layer.flops).map(format::flops_rate), "Operations over the median time.", NO_COST),
        known("Bytes read", size(layer.bytes_read), "", NO_COST),
        known("Bytes written", size(layer.bytes_written), "", NO_COST),
        known(
            "Bandwidth",
            per_s(bytes).map(format::bytes_rate),
            "Bytes read and written over the median time.",
            NO_COST,
        ),
        known("Intensity", intensity, "Operations per byte moved: low ones wait for memory.", NO_COST),
        known("Weights", Some(format::bytes(layer.weight_bytes as f64)), "As stored for the run.", ""),
    ]
}

/// Bytes read and written, if both are stated.
pub fn layer_bytes(layer: &Layer) -> Option<u64> {
    layer.bytes_read?.checked_add(layer.bytes_written?)
}

/// How a span's times were taken, in words.
pub fn quality(q: Quality) -> &'static str {
    match q {
        Quality::Cpu => "CPU clock at both ends",
        Quality::GpuTimestamp => "GPU timestamps at both ends",
        Quality::Wall => "submit and wait: includes launch overhead",
        Quality::Rejected => "rejected timestamp: an estimate",
    }
}

/// The name of the layer or span with its op class's colour, for the head of a tooltip or panel.
pub fn head(ui: &mut Ui, theme: &Theme, layer: &Layer) {
    ui.add(egui::Label::new(RichText::new(&layer.name).font(theme::head()).color(theme.text_strong)).wrap());
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing.x = GRID;
        super::key(ui, theme, theme.class(layer.class), layer.class.label());
        let on = if layer.device.is_empty() { String::new() } else { format!("  on {}", layer.device) };
        ui.label(RichText::new(format!("{}{on}", layer.op)).font(theme::caption()).color(theme.text));
    });
}

/// A tooltip with all of a layer's figures; with a span, that span's too.
pub fn tip(ui: &mut Ui, theme: &Theme, profile: &Profile, layer: LayerId, span: Option<SpanId>) {
    let Some(l) = profile.layer(layer) else { return };
    ui.set_max_width(400.0);
    head(ui, theme, l);
    ui.add_space(GRID);
    let stats = profile.stats_of(layer);
    if let Some(s) = span.map(|s| profile.trace.spans.get(s.index())) {
        let start = s.run.and_then(|r| profile.trace.runs.get(r.index())).map_or(0, |r| r.start_ns);
        let since = if s.run.is_some() { "Start in its run" } else { "Start" };
        grid(
            ui,
            theme,
            &[
                Fact { label: "This time", value: format::duration(s.duration_ns() as f64), why: "" },
                Fact { label: since, value: format::duration(s.start_ns.saturating_sub(start) as f64), why: "" },
            ],
        );
        ui.label(RichText::new(quality(s.quality)).font(theme::caption()).color(theme.text_weak));
        ui.separator();
    }
    let mut facts = times(stats);
    facts.extend(work(l, stats));
    facts.retain(|f| !["Minimum", "Mean", "Intensity", "Weights"].contains(&f.label));
    grid(ui, theme, &facts);
    if !l.scope.is_empty() || !l.source_nodes.is_empty() {
        ui.separator();
    }
    lines(ui, theme, "Types", &[types(l)]);
    if l.scope != l.name {
        lines(ui, theme, "Scope", std::slice::from_ref(&l.scope));
    }
    lines(ui, theme, "Made from", &l.source_nodes);
    for badge in profile.layer_badges.get(layer.index()).into_iter().flatten() {
        ui.label(RichText::new(&badge.title).font(theme::caption()).color(theme.severity(badge.severity)));
    }
}

/// `f32[1,128,384], f32[384,384] → f32[1,128,384]`.
pub fn types(layer: &Layer) -> String {
    if layer.inputs.is_empty() && layer.outputs.is_empty() {
        return String::new();
    }
    format!("{} → {}", layer.inputs.join(", "), layer.outputs.join(", "))
}

fn grid(ui: &mut Ui, theme: &Theme, facts: &[Fact]) {
    ui.spacing_mut().interact_size.y = 18.0;
    egui::Grid::new(("facts", facts[0].label)).num_columns(4).spacing([16.0, 2.0]).show(ui, |ui| {
        for pair in facts.chunks(2) {
            for fact in pair {
                ui.label(RichText::new(fact.label).color(theme.text_weak));
                ui.label(RichText::new(&fact.value).font(theme::figure()).color(theme.text));
            }
            ui.end_row();
        }
    });
}

fn lines(ui: &mut Ui, theme: &Theme, label: &str, values: &[String]) {
    const MOST: usize = 4;
    if values.iter().all(String::is_empty) {
        return;
    }
    ui.label(RichText::new(label).font(theme::caption()).color(theme.text_weak));
    for value in values.iter().take(MOST) {
        ui.add(egui::Label::new(RichText::new(value).font(theme::caption_figure()).color(theme.text)).wrap());
    }
    if values.len() > MOST {
        ui.label(
            RichText::new(format!("and {} more", values.len() - MOST)).font(theme::caption()).color(theme.text_weak),
        );
    }
}
