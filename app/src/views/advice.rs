//! What to fix first, as the summary shows it.

use egui::{Align2, Rect, RichText, Sense, Ui, WidgetInfo, pos2, vec2};
use profiler::{Advice, Ceilings, Finding};

use crate::draw::{galley, hairline, note, section, text_in};
use crate::format;
use crate::theme::{self, GRID, PAD};
use crate::view::{Action, Profile, ViewCx};

/// How many findings are shown.
const TOP: usize = 5;
/// Room for a saving.
const FIGURE: f32 = 112.0;
/// Room for the rank.
const RANK: f32 = 20.0;

/// The findings about the trace on show that save most, and what could not be looked for.
pub fn show(ui: &mut Ui, cx: &mut ViewCx<'_>, profile: &Profile) {
    let theme = cx.theme;
    section(ui, theme, "What to fix first");
    let advised = cx.facts.advice.clone().filter(|a| a.is_of(&profile.trace));
    let Some(advised) = advised else {
        note(ui, "Being looked for…");
        return;
    };
    let advice: &Advice = &advised.advice;
    if advice.findings.is_empty() {
        note(ui, "Nothing was found that would save much.");
    }
    for (i, finding) in advice.findings.iter().take(TOP).enumerate() {
        finding_ui(ui, cx, profile, i + 1, finding);
    }
    let rest = advice.findings.len().saturating_sub(TOP);
    if rest > 0 {
        let titles: Vec<&str> = advice.findings[TOP..].iter().map(|f| f.title.as_str()).collect();
        let words = format!("and {} that would save less", format::plural(rest, "finding"));
        note(ui, &words).on_hover_text(titles.join("\n"));
    }
    if advice.missing.is_empty() {
        return;
    }
    ui.add_space(GRID);
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing.x = PAD;
        let words = format!("{} could not be looked for", format::plural(advice.missing.len(), "thing"));
        note(ui, &words).on_hover_text(advice.missing.join("\n"));
        let measured = Ceilings::of(&profile.trace, cx.facts.ceilings.as_deref()).is_ok();
        if !measured && ui.small_button("Measure ceilings").on_hover_text(MEASURE).clicked() {
            cx.actions.push(Action::MeasureCeilings);
        }
    });
}

const MEASURE: &str =
    "Probes what this device can do at best, a few seconds: how far each layer is from that is then known";

fn finding_ui(ui: &mut Ui, cx: &mut ViewCx<'_>, profile: &Profile, rank: usize, f: &Finding) {
    let theme = cx.theme;
    ui.add_space(GRID);
    let width = ui.available_width();
    let (line, response) = ui.allocate_exact_size(vec2(width, 20.0), Sense::click());
    response.widget_info(|| WidgetInfo::labeled(egui::Role::Button, true, format!("{rank}. {}", f.title)));
    if response.hovered() || response.has_focus() {
        ui.painter().rect_filled(line.expand2(vec2(GRID, 0.0)), theme::RADIUS, theme.surface[2]);
    }
    let painter = ui.painter();
    painter.text(line.left_center(), Align2::LEFT_CENTER, format!("{rank}"), theme::figure(), theme.text_weak);
    let title =
        Rect::from_min_max(pos2(line.left() + RANK, line.top()), pos2(line.right() - FIGURE - PAD, line.bottom()));
    let words = galley(painter, &f.title, theme::sans(), theme.text_strong, title.width());
    let cut = words.elided;
    painter.galley(pos2(title.left(), line.center().y - words.size().y / 2.0), words, theme.text_strong);
    let saving = match (f.saving_ns, f.saving_bytes) {
        (Some(ns), _) => format!("saves {}", format::duration(ns)),
        (None, Some(bytes)) => format!("saves {}", format::bytes(bytes as f64)),
        (None, None) => String::new(),
    };
    let figure = line.with_min_x(line.right() - FIGURE);
    text_in(painter, figure, Align2::RIGHT_CENTER, &saving, theme::figure(), theme.text);
    let mut tip = if cut { format!("{}\n", f.title) } else { String::new() };
    if !f.basis.is_empty() {
        tip += &format!("Estimated from {}. Savings of several findings do not add up.\n", f.basis);
    }
    tip += &match f.layers.len() {
        0 => String::new(),
        n => format!("Click selects its layers one after the other: {}.", format::plural(n, "layer")),
    };
    if response.clicked() && !f.layers.is_empty() {
        // Another click goes on to the next of them.
        let now = cx.selection.layer.and_then(|l| f.layers.iter().position(|&x| x == l));
        cx.selection.select(f.layers.get(now.map_or(0, |i| (i + 1) % f.layers.len())).copied());
    }
    if !tip.is_empty() {
        response.on_hover_text(tip.trim_end());
    }
    indented(ui, &f.why, theme.text_weak);
    indented(ui, &f.try_this, theme.text);
    names(ui, cx, profile, f);
    ui.add_space(GRID);
    hairline(ui, theme);
}

fn indented(ui: &mut Ui, words: &str, color: egui::Color32) {
    ui.horizontal_top(|ui| {
        ui.spacing_mut().item_spacing.x = 0.0;
        ui.add_space(RANK);
        ui.add(egui::Label::new(RichText::new(words).color(color)).wrap());
    });
}

/// The first of its layers, as links.
fn names(ui: &mut Ui, cx: &mut ViewCx<'_>, profile: &Profile, f: &Finding) {
    const MOST: usize = 3;
    if f.layers.is_empty() {
        return;
    }
    ui.horizontal_wrapped(|ui| {
        ui.add_space(RANK);
        ui.spacing_mut().item_spacing.x = PAD;
        for &layer in f.layers.iter().take(MOST) {
            let Some(name) = profile.labels.get(layer.index()) else { continue };
            let words = RichText::new(name).font(theme::caption()).color(cx.theme.accent);
            let link = ui.add(egui::Label::new(words).sense(Sense::click()));
            link.widget_info(|| WidgetInfo::labeled(egui::Role::Link, true, name));
            if link.hovered() {
                cx.selection.hovered = Some(layer);
            }
            if link.clicked() {
                cx.selection.select(Some(layer));
            }
        }
        if f.layers.len() > MOST {
            let words = format!("and {}", format::plural(f.layers.len() - MOST, "more layer"));
            ui.label(RichText::new(words).font(theme::caption()).color(cx.theme.text_weak));
        }
    });
}
