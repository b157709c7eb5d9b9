//! The two traces, the answer, and sums that add up.

use egui::{ComboBox, Frame, Margin, RichText, Ui, vec2};
use profiler::compare::{Comparison, TimeChange, Verdict};

use super::Made;
use crate::comparison::{bare_interval, residual, signed, signed_bytes, signed_duration, wins};
use crate::draw::{caption, chip, galley, hairline};
use crate::format::{self, UNKNOWN};
use crate::theme::{self, GRID, PAD, Theme};
use crate::view::{Action, ViewCx};

/// The baseline to choose, and the trace on show.
pub fn baseline_ui(ui: &mut Ui, cx: &mut ViewCx<'_>) {
    let Some(index) = cx.runs.baseline_index() else { return };
    let title = cx.runs.baseline().map(|r| r.title()).unwrap_or_default();
    let mut chosen = index;
    ui.label(RichText::new("Baseline").font(theme::caption()).color(cx.theme.text_weak));
    let combo = ComboBox::from_id_salt("baseline").selected_text(short(&title)).width(0.0).show_ui(ui, |ui| {
        for (i, run) in cx.runs.all().iter().enumerate().rev() {
            ui.selectable_value(&mut chosen, i, run.title());
        }
    });
    combo.response.on_hover_text(format!("{title}\nWhat the trace on show is compared with"));
    if chosen != index {
        cx.actions.push(Action::Pin(Some(chosen)));
    }
}

fn short(title: &str) -> String {
    if title.chars().count() <= 26 { title.to_owned() } else { title.chars().take(25).chain(['…']).collect() }
}

/// A figure of the line of sums.
pub struct Sum {
    label: &'static str,
    value: String,
    tip: String,
}

/// The rows, what is outside of them, and the whole: each column adds up.
pub fn sums(c: &Comparison) -> Vec<Sum> {
    let t = &c.totals;
    let line = |a: Option<f64>, b: Option<f64>| match (a, b) {
        (Some(a), Some(b)) => {
            format!("{} → {} ({})", format::duration(a), format::duration(b), signed_duration(b - a))
        }
        _ => UNKNOWN.to_owned(),
    };
    let change = |t: &TimeChange| line(t.baseline.map(|s| s.ns), t.current.map(|s| s.ns));
    let judged = |what: &str, t: &TimeChange| {
        format!("{what}\n{}, interval {}: {}", signed(t), bare_interval(t), t.verdict.label())
    };
    let residual = residual(c);
    let part = |i: usize| line(residual.map(|r| r[i][0]), residual.map(|r| r[i][1]));
    let mut sums = vec![
        Sum {
            label: "Rows",
            value: line(Some(t.rows_ns[0]), Some(t.rows_ns[1])),
            tip: "The medians of all rows added up.".to_owned(),
        },
        Sum {
            label: "+ gap of medians",
            value: part(0),
            tip: "Medians of parts do not add up to the median of the whole: all layers together, minus the sum of the rows."
                .to_owned(),
        },
        Sum {
            label: "+ outside",
            value: part(1),
            tip: "Time outside of layers; negative where layers overlap.".to_owned(),
        },
        Sum {
            label: "= end to end",
            value: change(&t.end_to_end),
            tip: judged("Median latency of the recorded runs.", &t.end_to_end),
        },
    ];
    if t.headline_unprofiled {
        sums.push(Sum {
            label: "Recording off",
            value: change(&t.headline),
            tip: judged("Median latency of runs with recording off: what the answer is about.", &t.headline),
        });
    }
    let wins = wins(c);
    if wins.faster.0 + wins.slower.0 > 0 {
        let part =
            |(n, ns): (usize, f64)| if n == 0 { "none".to_owned() } else { format!("{n} ({})", signed_duration(ns)) };
        sums.push(Sum {
            label: "Faster / slower rows",
            value: format!("{} / {}", part(wins.faster), part(wins.slower)),
            tip: format!(
                "Rows in which the trace on show is faster or slower than the baseline, with what they sum up to; only those with a verdict. {} have none.",
                format::plural(wins.open, "row")
            ),
        });
    }
    if let (Some(a), Some(b)) = (t.peak.baseline, t.peak.current) {
        let size = |v: u64| format::bytes(v as f64);
        let change = if a == b { "no change".to_owned() } else { signed_bytes(b as f64 - a as f64) };
        let part = |name: &str, s: &profiler::compare::SizeChange| {
            format!("{name} {} → {}", crate::comparison::size(s.baseline), crate::comparison::size(s.current))
        };
        sums.push(Sum {
            label: "Planned peak",
            value: format!("{} → {} ({change})", size(a), size(b)),
            tip: format!(
                "The most memory alive at once, as planned; it has no spread.\n{}\n{}",
                part("Weights", &t.weights),
                part("Activations at peak", &t.activations)
            ),
        });
    }
    sums
}

/// The answer first, why, then the sums, then what differs in the settings.
pub fn answer_ui(ui: &mut Ui, theme: &Theme, made: &Made) {
    let c = &made.comparison;
    let color = verdict_color(theme, c.totals.headline.verdict);
    Frame::new().inner_margin(Margin::symmetric(PAD as i8, GRID as i8)).show(ui, |ui| {
        ui.set_width(ui.available_width());
        ui.horizontal(|ui| {
            let (rect, _) = ui.allocate_exact_size(vec2(4.0, 24.0), egui::Sense::hover());
            ui.painter().rect_filled(rect, 1.0, color);
            let words = RichText::new(&made.answer).font(theme::headline()).color(theme.text_strong);
            let label = ui.add(egui::Label::new(words).truncate());
            label.on_hover_text(assumptions(c));
        });
        ui.add(egui::Label::new(RichText::new(&made.because).color(theme.text)).truncate())
            .on_hover_text(&made.because);
        ui.horizontal_wrapped(|ui| {
            ui.spacing_mut().item_spacing = vec2(16.0, 2.0);
            for sum in &made.sums {
                sum_ui(ui, theme, sum);
            }
        });
        ui.horizontal_wrapped(|ui| {
            ui.spacing_mut().item_spacing = vec2(6.0, 4.0);
            for d in &c.differences {
                let tip = format!("{}: the baseline has {}, the trace on show {}", d.what, d.baseline, d.current);
                let words = match d.what {
                    "model file" => "other model file".to_owned(),
                    what if d.baseline.chars().count() + d.current.chars().count() > 36 => format!("other {what}"),
                    what => format!("{what}: {} → {}", d.baseline, d.current),
                };
                chip(ui, theme, theme.warn, &words, &tip);
            }
            if c.differences.is_empty() {
                caption(ui, "Same settings on both sides.");
            }
            let note = if c.assumptions.len() > 1 {
                format!("{} to keep in mind", format::plural(c.assumptions.len(), "assumption"))
            } else {
                "Assumes that the machine did not change in between.".to_owned()
            };
            caption(ui, &note).on_hover_text(assumptions(c));
        });
    });
    hairline(ui, theme);
}

/// One figure with its label, as a whole, so that a line breaks between figures.
fn sum_ui(ui: &mut Ui, theme: &Theme, sum: &Sum) {
    let text = |text: &str, font, color| galley(ui.painter(), text, font, color, f32::INFINITY);
    let label = text(sum.label, theme::caption(), theme.text_weak);
    let value = text(&sum.value, theme::caption_figure(), theme.text);
    let (gap, height) = (6.0, 16.0);
    let (rect, response) =
        ui.allocate_exact_size(vec2(label.size().x + gap + value.size().x, height), egui::Sense::hover());
    response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Label, true, format!("{} {}", sum.label, sum.value)));
    let at = |x: f32, h: f32| egui::pos2(x, rect.center().y - h / 2.0);
    let (x, h) = (rect.left() + label.size().x + gap, label.size().y);
    ui.painter().galley(at(rect.left(), h), label, theme.text_weak);
    let h = value.size().y;
    ui.painter().galley(at(x, h), value, theme.text);
    response.on_hover_text(&sum.tip);
}

fn assumptions(c: &Comparison) -> String {
    c.assumptions.iter().map(|n| format!("• {n}")).collect::<Vec<String>>().join("\n")
}

/// Blue faster, red slower, grey without a verdict.
pub fn verdict_color(theme: &Theme, verdict: Verdict) -> egui::Color32 {
    match verdict {
        Verdict::Faster | Verdict::Gone => theme.diverging[0],
        Verdict::Slower | Verdict::New => theme.diverging[4],
        _ => theme.diverging[2],
    }
}

/// The colour of a change: stronger for more, up to half again or half as long.
pub fn change_color(theme: &Theme, t: &TimeChange) -> egui::Color32 {
    match t.verdict {
        Verdict::Slower | Verdict::Faster => {
            let share = (t.relative.unwrap_or(0.0).abs() / 0.5).clamp(0.0, 1.0) as f32;
            let strength = 0.45 + 0.55 * share;
            let signed = if t.verdict == Verdict::Slower { strength } else { -strength };
            theme::ramp(&theme.diverging, 0.5 + signed / 2.0)
        }
        verdict => verdict_color(theme, verdict),
    }
}

/// Everything that is known about a change, for tooltips.
pub fn facts(t: &TimeChange, confidence: f64) -> Vec<(String, String)> {
    let side = |s: Option<profiler::compare::Side>| match s {
        None => UNKNOWN.to_owned(),
        Some(s) if s.effective_runs < s.runs as f64 => {
            format!(
                "{} over {} (count as {:.0})",
                format::duration(s.ns),
                format::plural(s.runs, "run"),
                s.effective_runs
            )
        }
        Some(s) => format!("{} over {}", format::duration(s.ns), format::plural(s.runs, "run")),
    };
    let absolute = t
        .interval_ns
        .map_or(UNKNOWN.to_owned(), |(low, high)| format!("{} to {}", signed_duration(low), signed_duration(high)));
    let mut facts = vec![
        ("Baseline".to_owned(), side(t.baseline)),
        ("Current".to_owned(), side(t.current)),
        ("Change".to_owned(), format!("{} ({})", signed_duration(t.difference_ns), signed(t))),
        (format!("{} interval", crate::comparison::share(confidence)), format!("{}  {}", bare_interval(t), absolute)),
    ];
    if let Some(p) = t.p {
        facts.push(("Adjusted p".to_owned(), format::number(p)));
    }
    facts
}

/// A tooltip of a change.
pub fn tip(ui: &mut Ui, theme: &Theme, name: &str, t: &TimeChange, confidence: f64, more: &[(String, String)]) {
    ui.label(RichText::new(name).font(theme::head()).color(theme.text_strong));
    let facts = facts(t, confidence);
    egui::Grid::new(("compare tip", name)).num_columns(2).spacing([16.0, 2.0]).show(ui, |ui| {
        for (label, value) in facts.iter().chain(more) {
            ui.label(RichText::new(label).color(theme.text_weak));
            ui.label(RichText::new(value).font(theme::figure()).color(theme.text));
            ui.end_row();
        }
    });
    ui.label(RichText::new(format!("{}: {}", t.verdict.label(), t.verdict.reason())).color(theme.text));
}
