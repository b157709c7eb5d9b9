//! The answer first: how long, how sure, where the time goes; and the audit in full.

use egui::{Align2, CornerRadius, Rect, RichText, Role, ScrollArea, Sense, Ui, WidgetInfo, pos2, vec2};
use profiler::{Audit, OpClass, Rollup, RollupKey, Severity, Summary, rollup};

use crate::draw::{self, bar, chip, empty, fact, figure_job, galley, note, padded, section, swatch, text_in};
use crate::format::{self, UNKNOWN};
use crate::theme::{self, GRID, PAD, STRIP_HEIGHT, Theme};
use crate::view::{Action, Profile, View, ViewCx};

/// The strip under the toolbar: one line that answers the first questions.
pub fn strip(ui: &mut Ui, cx: &mut ViewCx<'_>) {
    let theme = cx.theme;
    let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), STRIP_HEIGHT), Sense::hover());
    ui.painter().rect_filled(rect, 0.0, theme.surface[1]);
    ui.painter().hline(rect.x_range(), rect.bottom() - 0.5, theme.line());
    let layout = egui::Layout::left_to_right(egui::Align::Center);
    let mut ui = ui.new_child(egui::UiBuilder::new().max_rect(rect.shrink2(vec2(PAD * 1.5, 0.0))).layout(layout));
    ui.shrink_clip_rect(rect);
    let Some(profile) = cx.profile else {
        let words = if cx.model.is_some() { "Not run yet: press Run." } else { "No model open." };
        ui.label(RichText::new(words).color(theme.text_weak));
        return;
    };
    ui.spacing_mut().item_spacing.x = 28.0;
    for h in headlines(profile) {
        headline(&mut ui, theme, &h);
    }
    ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
        ui.spacing_mut().item_spacing.x = PAD;
        audit_chip(ui, theme, &profile.audit);
        if let Some(sentence) = share_sentence(profile) {
            ui.add(egui::Label::new(RichText::new(sentence).color(theme.text)).truncate())
                .on_hover_text("The class of operators that takes most, of the median times of all layers added up");
        }
    });
}

/// How many findings of each kind, and all of them in the tooltip.
fn audit_chip(ui: &mut Ui, theme: &Theme, audit: &Audit) {
    let count = |s: Severity| audit.badges.iter().filter(|b| b.severity == s).count();
    let (ok, warns, bad) = (count(Severity::Ok), count(Severity::Warn), count(Severity::Bad));
    let mut words = vec![format!("audit: {ok} ok")];
    words.extend((warns > 0).then(|| format!("{warns} to note")));
    words.extend((bad > 0).then(|| format!("{bad} bad")));
    let head = "What lowers trust in these figures, or speaks for them:".to_owned();
    let tip: Vec<String> =
        std::iter::once(head).chain(audit.badges.iter().map(|b| format!("{}: {}", b.title, b.detail))).collect();
    chip(ui, theme, theme.severity(audit.severity()), &words.join(", "), &tip.join("\n"));
}

struct Headline {
    value: String,
    spread: String,
    caption: &'static str,
    why: String,
}

fn headlines(profile: &Profile) -> Vec<Headline> {
    let trace = &profile.trace;
    let mut list = Vec::new();
    let unknown =
        |caption, why: &str| Headline { value: UNKNOWN.into(), spread: String::new(), caption, why: why.into() };
    list.push(match trace.headline() {
        Some(s) => Headline {
            value: format::duration(s.median),
            spread: s.distribution().map_or_else(String::new, |s| format!("±{}", format::duration(s.mad))),
            caption: "median latency",
            why: latency_words(profile, &s),
        },
        None => unknown("median latency", "The trace holds no measured run."),
    });
    list.push(match trace.throughput_per_s() {
        Some(t) => Headline {
            value: format::rate(t),
            spread: String::new(),
            caption: "throughput",
            why: format!(
                "Items a second: {} per run at the median latency.",
                format::plural(trace.meta.batch as usize, "item")
            ),
        },
        None => unknown("throughput", "How many items one run handles is unknown."),
    });
    let peak = profile.memory.peak_bytes();
    list.push(if peak > 0 {
        let why = "All classes of memory together at the plan's worst step.".into();
        Headline { value: format::bytes(peak as f64), spread: String::new(), caption: "planned peak memory", why }
    } else {
        unknown("planned peak memory", "The trace does not say what occupied memory.")
    });
    list
}

fn latency_words(profile: &Profile, s: &Summary) -> String {
    let kind = if profile.trace.meta.unprofiled_ns.is_empty() { "recorded" } else { "unrecorded" };
    let clock = &profile.trace.meta.clock.strategy;
    let clock = if clock.is_empty() { String::new() } else { format!("\nClock: {clock}.") };
    if s.distribution().is_none() {
        return format!("From the start of the only {kind} run to its end. Spread and percentiles are unknown.{clock}");
    }
    format!(
        "From the start of a run to its end, over {}:\nmedian {}, spread {} (median absolute deviation), p90 {}, p99 {}, \
         fastest {}.\np90 and p99: 9 of 10 and 99 of 100 runs were at most this slow.{clock}",
        format::plural(s.count, &format!("{kind} run")),
        format::duration(s.median),
        format::duration(s.mad),
        format::duration(s.p90),
        format::duration(s.p99),
        format::duration(s.min)
    )
}

fn headline(ui: &mut Ui, theme: &Theme, h: &Headline) {
    let value = ui.painter().layout_job(figure_job(&h.value, theme::headline(), theme.text_strong, theme.text_weak));
    let spread = galley(ui.painter(), &h.spread, theme::caption_figure(), theme.text_weak, f32::INFINITY);
    let caption = galley(ui.painter(), h.caption, theme::caption(), theme.text_weak, f32::INFINITY);
    let gap = if h.spread.is_empty() { 0.0 } else { 6.0 };
    let width = (value.size().x + gap + spread.size().x).max(caption.size().x);
    let (rect, response) = ui.allocate_exact_size(vec2(width, 42.0), Sense::hover());
    let painter = ui.painter();
    let value_size = value.size();
    painter.galley(rect.min, value, theme.text_strong);
    let at = pos2(rect.left() + value_size.x + gap, rect.top() + value_size.y - spread.size().y - 3.0);
    painter.galley(at, spread, theme.text_weak);
    painter.galley(pos2(rect.left(), rect.bottom() - caption.size().y), caption, theme.text_weak);
    response.widget_info(|| WidgetInfo::labeled(Role::Label, true, format!("{} {} {}", h.caption, h.value, h.spread)));
    response.on_hover_text(&h.why);
}

/// `96% in 6 MatMul layers`: the class that takes most of the time.
fn share_sentence(profile: &Profile) -> Option<String> {
    let top = rollup(&profile.trace, &profile.stats, RollupKey::Class).into_iter().next()?;
    Some(format!(
        "{} in {}",
        format::percent(top.share),
        format::plural(top.layers.len(), &format!("{} layer", top.name))
    ))
}

/// The summary's panel.
#[derive(Default)]
pub struct SummaryView {
    made: Option<usize>,
    classes: Vec<Rollup>,
    scopes: Vec<Rollup>,
    phases: Vec<(String, Summary)>,
}

impl View for SummaryView {
    fn id(&self) -> &'static str {
        "summary"
    }

    fn title(&self) -> &'static str {
        "Summary"
    }

    fn ui(&mut self, ui: &mut Ui, cx: &mut ViewCx<'_>) {
        let theme = cx.theme;
        let Some(profile) = cx.profile else {
            let (title, text, action) = match cx.model {
                Some(_) => (
                    "Not run yet",
                    "A run fills this: latency with its spread, where the time goes, and an audit.",
                    "Run",
                ),
                None => ("Nothing open", "Open a model and run it, or open a saved trace.", "Open…"),
            };
            if empty(ui, theme, title, text, Some(action)) {
                cx.actions.push(if cx.model.is_some() { Action::Run } else { Action::OpenDialog });
            }
            return;
        };
        self.settle(profile);
        ScrollArea::vertical().auto_shrink([false, false]).show(ui, |ui| {
            padded(ui, |ui| {
                ui.horizontal_wrapped(|ui| {
                    ui.spacing_mut().item_spacing = vec2(28.0, PAD);
                    for h in headlines(profile) {
                        headline(ui, theme, &h);
                    }
                });
                ui.add_space(PAD);
                draw::hairline(ui, theme);
                super::advice::show(ui, cx, profile);
                let wide = ui.available_width() > 620.0;
                if wide {
                    ui.spacing_mut().item_spacing.x = 32.0;
                    ui.columns(2, |columns| {
                        columns.iter_mut().for_each(|c| c.spacing_mut().item_spacing = vec2(PAD, 0.0));
                        self.where_ui(&mut columns[0], theme);
                        self.conditions_ui(&mut columns[1], theme, profile);
                    });
                } else {
                    self.where_ui(ui, theme);
                    self.conditions_ui(ui, theme, profile);
                }
                ui.spacing_mut().item_spacing.x = PAD;
                ui.add_space(PAD);
                draw::hairline(ui, theme);
                audit_ui(ui, theme, &profile.audit);
            });
        });
    }
}

impl SummaryView {
    fn settle(&mut self, profile: &Profile) {
        let key = std::sync::Arc::as_ptr(&profile.trace).addr();
        if self.made == Some(key) {
            return;
        }
        self.made = Some(key);
        self.classes = rollup(&profile.trace, &profile.stats, RollupKey::Class);
        self.scopes = rollup(&profile.trace, &profile.stats, RollupKey::Scope(2));
        self.phases = profile.trace.named_spans();
    }

    fn where_ui(&self, ui: &mut Ui, theme: &Theme) {
        section(ui, theme, "Where the time goes");
        if self.classes.is_empty() {
            note(ui, "No layer was measured.");
            return;
        }
        stacked(ui, theme, &self.classes);
        for c in &self.classes {
            let color = c.class.map_or(theme.text_weak, |c| theme.class(c));
            share_row(ui, theme, c, color, &format::plural(c.layers.len(), "layer"));
        }
        if self.scopes.len() > 1 {
            section(ui, theme, "Slowest scopes");
            for s in self.scopes.iter().take(6) {
                let color = s.class.map_or(theme.text_weak, |c| theme.class(c));
                share_row(ui, theme, s, color, "");
            }
        }
    }

    fn conditions_ui(&self, ui: &mut Ui, theme: &Theme, profile: &Profile) {
        let meta = &profile.trace.meta;
        section(ui, theme, "How it was run");
        let or_unknown = |s: &str| if s.is_empty() { UNKNOWN.to_owned() } else { s.to_owned() };
        fact(ui, theme, "Model", &or_unknown(&meta.model), &meta.model_path);
        fact(ui, theme, "Device", &or_unknown(&meta.device), "");
        let threads = if meta.threads == 0 { UNKNOWN.to_owned() } else { meta.threads.to_string() };
        fact(ui, theme, "CPU threads", &threads, if meta.threads == 0 { "The trace does not state it." } else { "" });
        fact(ui, theme, "Precision", &or_unknown(&meta.precision), "");
        fact(
            ui,
            theme,
            "Fusion",
            if meta.fusion { "on" } else { "off" },
            "Whether operators were joined into larger layers.",
        );
        if meta.parameters > 0 {
            fact(ui, theme, "Parameters", &format::count(meta.parameters as f64), "");
        }
        if !meta.dims.is_empty() {
            let dims: Vec<String> = meta.dims.iter().map(|(k, v)| format!("{k}={v}")).collect();
            fact(ui, theme, "Dimensions", &dims.join(" "), "");
        }
        if meta.load_ns > 0 {
            fact(ui, theme, "Load", &format::duration(meta.load_ns as f64), "Opening, planning and packing the model.");
        }
        fact(ui, theme, "Clock", &or_unknown(&profile.audit.clock_strategy), "How time was taken.");
        if !self.phases.is_empty() {
            section(ui, theme, "Outside of layers");
            for (name, s) in &self.phases {
                fact(ui, theme, name, &format::duration(s.median), "Median per run; setup counts once.");
            }
        }
    }
}

/// The classes' shares on one bar.
fn stacked(ui: &mut Ui, theme: &Theme, classes: &[Rollup]) {
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), 14.0), Sense::hover());
    response.widget_info(|| {
        let words: Vec<String> = classes.iter().map(|c| format!("{} {}", c.name, format::percent(c.share))).collect();
        WidgetInfo::labeled(Role::Image, true, words.join(", "))
    });
    let mut x = rect.left();
    for c in classes {
        let width = rect.width() * c.share as f32;
        let cell = Rect::from_min_size(pos2(x, rect.top()), vec2((width - 1.0).max(1.0), rect.height()));
        let color = theme.class(c.class.unwrap_or(OpClass::Other));
        ui.painter().rect_filled(cell.intersect(rect), CornerRadius::same(2), color);
        x += width;
    }
    ui.add_space(GRID);
}

fn share_row(ui: &mut Ui, theme: &Theme, group: &Rollup, color: egui::Color32, extra: &str) {
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), 20.0), Sense::hover());
    let painter = ui.painter();
    let figures = 120.0_f32.min(rect.width() * 0.45);
    let bar_width = ((rect.width() - figures) * 0.35).max(0.0);
    let time = Rect::from_x_y_ranges(rect.right() - 64.0..=rect.right(), rect.y_range());
    let share = Rect::from_x_y_ranges(rect.right() - figures..=time.left() - GRID, rect.y_range());
    let bar_rect = Rect::from_x_y_ranges(
        share.left() - bar_width - PAD..=share.left() - PAD,
        rect.center().y - 3.0..=rect.center().y + 3.0,
    );
    swatch(painter, pos2(rect.left() + 4.0, rect.center().y), color);
    let name_rect = Rect::from_x_y_ranges(rect.left() + 14.0..=bar_rect.left() - PAD, rect.y_range());
    let name = if group.name.is_empty() { "(no scope)" } else { &group.name };
    let name_galley = galley(painter, name, theme::sans(), theme.text, name_rect.width());
    let used = name_galley.size().x;
    let cut = name_galley.elided;
    painter.galley(pos2(name_rect.left(), rect.center().y - name_galley.size().y / 2.0), name_galley, theme.text);
    if !extra.is_empty() && name_rect.width() - used > 60.0 {
        let rest = name_rect.with_min_x(name_rect.left() + used + PAD);
        text_in(painter, rest, Align2::LEFT_CENTER, extra, theme::caption(), theme.text_weak);
    }
    bar(painter, theme, bar_rect, group.share as f32, color);
    text_in(painter, share, Align2::RIGHT_CENTER, &format::percent(group.share), theme::figure(), theme.text);
    text_in(painter, time, Align2::RIGHT_CENTER, &format::duration(group.median_ns), theme::figure(), theme.text_weak);
    response.widget_info(|| WidgetInfo::labeled(Role::Label, true, format!("{name} {}", format::percent(group.share))));
    if cut {
        response.on_hover_text(name);
    }
}

fn audit_ui(ui: &mut Ui, theme: &Theme, audit: &Audit) {
    section(ui, theme, "How far to trust it");
    if audit.badges.is_empty() {
        note(ui, "Nothing was found.");
    }
    for b in &audit.badges {
        ui.horizontal_top(|ui| {
            let (dot, _) = ui.allocate_exact_size(vec2(8.0, 18.0), Sense::hover());
            ui.painter().circle_filled(dot.center(), 3.0, theme.severity(b.severity));
            let width = ui.available_width();
            let title = vec2(230.0_f32.min(width * 0.4), 18.0);
            ui.allocate_ui_with_layout(title, egui::Layout::left_to_right(egui::Align::Center), |ui| {
                ui.set_min_size(title);
                ui.add(egui::Label::new(RichText::new(&b.title).color(theme.text_strong)).truncate());
            });
            ui.add(egui::Label::new(RichText::new(&b.detail).color(theme.text_weak)).wrap());
        });
    }
}
