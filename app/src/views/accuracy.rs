//! What each precision scheme costs in accuracy, layer by layer, and what it saves.

use egui::{Align2, CornerRadius, Rect, RichText, Role, Sense, Stroke, Ui, WidgetInfo, pos2, vec2};
use profiler::{Accuracy, LayerAccuracy, LayerId};

use crate::draw::table::{Column, Row, Table};
use crate::draw::{axis, empty, note, panel_head, text_in};
use crate::format::{self, UNKNOWN};
use crate::theme::{self, GRID, PAD, ROW_HEIGHT, Theme};
use crate::view::{Action, Profile, Selection, View, ViewCx};

const GUTTER: f32 = 64.0;
const FOOT: f32 = 20.0;

/// The accuracy panel.
#[derive(Default)]
pub struct AccuracyView {
    /// The scheme whose row was clicked; its chart stands out.
    scheme: Option<usize>,
}

impl View for AccuracyView {
    fn id(&self) -> &'static str {
        "accuracy"
    }

    fn title(&self) -> &'static str {
        "Accuracy"
    }

    fn ui(&mut self, ui: &mut Ui, cx: &mut ViewCx<'_>) {
        let theme = cx.theme;
        let Some(profile) = cx.profile.filter(|p| !p.trace.accuracy.is_empty()) else {
            let (text, action) = if cx.model.is_some() {
                (
                    "Runs the open model in f16, bf16, int8 and int4 beside f32 on the same inputs, and compares every layer's \
                     output.",
                    Some("Compare precisions"),
                )
            } else {
                (
                    "This fills once a model is open and its precisions are compared, or from a trace that holds a comparison.",
                    None,
                )
            };
            if empty(ui, theme, "Not compared yet", text, action) {
                cx.actions.push(Action::RunAccuracy);
            }
            return;
        };
        panel_head(ui, theme, |ui| {
            let samples = profile.trace.accuracy.iter().map(|a| a.samples).max().unwrap_or(0);
            let words = format!("Against f32, over {}", format::plural(samples as usize, "input sample"));
            ui.label(RichText::new(words).color(theme.text_weak));
            if cx.model.is_some() {
                ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
                    if ui.button("Compare again").clicked() {
                        cx.actions.push(Action::RunAccuracy);
                    }
                });
            }
        });
        let schemes = &profile.trace.accuracy;
        let table_height = ROW_HEIGHT + GRID + schemes.len() as f32 * ROW_HEIGHT + PAD + 6.0;
        let space = ui.available_rect_before_wrap();
        let table = space.with_max_y(space.top() + table_height.min(space.height() * 0.5));
        let mut top = ui.new_child(egui::UiBuilder::new().max_rect(table));
        self.schemes_ui(&mut top, theme, profile);
        let charts = space.with_min_y(table.bottom());
        ui.painter().hline(charts.x_range(), charts.top() + 0.5, theme.line());
        ui.painter().rect_filled(charts.with_min_y(charts.top() + 1.0), 0.0, theme.surface[0]);
        self.charts_ui(ui, charts, profile, cx.selection, theme);
    }
}

impl AccuracyView {
    fn schemes_ui(&mut self, ui: &mut Ui, theme: &Theme, profile: &Profile) {
        let schemes = &profile.trace.accuracy;
        let task = schemes.iter().find_map(|a| a.task.as_ref()).map(|t| t.metric.clone());
        let columns = [
            Column::text("Scheme", 124.0, 1.0),
            Column::figure("Latency", 74.0)
                .tip("Median. Unknown where weights are dequantised on load: it would not be the scheme's own."),
            Column::figure("Weights", 76.0).tip("Size of the weights under the scheme"),
            Column::figure("Output SQNR", 92.0)
                .tip("Signal to quantization noise at the model's first output; higher is better"),
            Column::figure("KL", 76.0)
                .unit("nats")
                .tip("Kullback-Leibler divergence of the output's softmax from f32's; lower is better"),
            Column::figure("MSE", 74.0).tip("Mean squared error of the first output; lower is better"),
            Column::figure("Top-1 same", 80.0).tip("Share of rows whose largest entry is where f32 has it"),
            Column::figure("Task", 64.0).tip("On the sample's evaluation data"),
            Column::figure("Against f32", 194.0).tip("Difference to f32 on that data, with its 95% interval"),
        ];
        let table = Table { id: "Schemes", columns: &columns, rows: schemes.len(), scroll_to: None, totals: false };
        let selected = self.scheme;
        let row = |i: usize| Row { selected: selected == Some(i), lit: false, label: schemes[i].scheme.clone() };
        let outcome = table.show(ui, theme, None, row, |cell, i, column| {
            let a = &schemes[i];
            let output = a.outputs.first();
            let figure = |v: Option<String>| match v {
                Some(v) => cell.figure(&v, theme.text),
                None => cell.figure(UNKNOWN, theme.text_weak),
            };
            match column {
                0 => {
                    let name = crate::draw::galley(
                        &cell.painter,
                        &a.scheme,
                        theme::head(),
                        theme.text_strong,
                        cell.rect.width(),
                    );
                    let used = name.size().x;
                    cell.painter.galley(
                        pos2(cell.rect.left(), cell.rect.center().y - name.size().y / 2.0),
                        name,
                        theme.text_strong,
                    );
                    if a.simulated {
                        let rest = cell.rect.with_min_x(cell.rect.left() + used + 8.0);
                        text_in(&cell.painter, rest, Align2::LEFT_CENTER, "simulated", theme::caption(), theme.warn);
                    }
                }
                1 => figure(a.latency_ns.map(|ns| format::duration(ns as f64))),
                2 => figure((a.weights_bytes > 0).then(|| format::bytes(a.weights_bytes as f64))),
                3 => figure(output.and_then(|o| o.sqnr_db).map(format::decibel)),
                4 => figure(output.and_then(|o| o.kl_nats).map(format::number)),
                5 => figure(output.and_then(|o| o.mse).map(format::number)),
                6 => figure(output.and_then(|o| o.top1_agreement).map(format::percent)),
                7 => figure(a.task.as_ref().map(|t| task_value(t.higher_is_better, t.value))),
                _ => match &a.task {
                    Some(t) => {
                        let delta = t.value - t.reference;
                        let worse = if t.higher_is_better { delta < 0.0 } else { delta > 0.0 };
                        let sure = t.difference_interval.is_some_and(|(a, b)| a > 0.0 || b < 0.0);
                        let color = if worse && sure { theme.bad } else { theme.text };
                        cell.figure(&task_delta(t), color);
                    }
                    None => figure(None),
                },
            }
        });
        if let Some(i) = outcome.chosen {
            self.scheme = if self.scheme == Some(i) { None } else { Some(i) };
        }
        if let Some((i, column, response)) = outcome.hovered {
            response.on_hover_ui_at_pointer(|ui| scheme_tip(ui, theme, &schemes[i], column, task.as_deref()));
        }
    }

    /// One chart per scheme above each other, their layers in line.
    fn charts_ui(&self, ui: &mut Ui, rect: Rect, profile: &Profile, selection: &mut Selection, theme: &Theme) {
        let schemes = &profile.trace.accuracy;
        let Some(names) = schemes.iter().map(|a| &a.layers).max_by_key(|l| l.len()).filter(|l| !l.is_empty()) else {
            let mut child = ui.new_child(egui::UiBuilder::new().max_rect(rect));
            empty(&mut child, theme, "No layers compared", "This comparison holds figures of the outputs alone.", None);
            return;
        };
        let head = rect.with_max_y(rect.top() + 26.0).shrink2(vec2(PAD, 0.0));
        let words = "Signal to quantization noise per layer, dB: higher is better. Bars: the whole network quantized up to the layer. \
                     Lines: only that layer.";
        text_in(ui.painter(), head, Align2::LEFT_CENTER, words, theme::caption(), theme.text_weak);
        let body = rect.with_min_y(head.bottom()).with_max_y(rect.bottom() - FOOT);
        let plot_x = (body.left() + GUTTER)..=(body.right() - PAD);
        let n = names.len();
        let width = (plot_x.end() - plot_x.start()) / n as f32;
        let response = ui.interact(body, ui.scope_id().with("bars"), Sense::CLICK);
        response.widget_info(|| {
            let words =
                format!("SQNR of {} under {}", format::plural(n, "layer"), format::plural(schemes.len(), "scheme"));
            WidgetInfo::labeled(Role::Image, true, words)
        });
        let pointer = response.hover_pos().filter(|p| p.x >= *plot_x.start() && p.x < *plot_x.end());
        let hovered = pointer.map(|p| (((p.x - plot_x.start()) / width) as usize).min(n - 1));
        let layer_of =
            |i: usize| profile.trace.layers.iter().position(|l| l.name == names[i].layer).map(|l| LayerId(l as u32));
        let most =
            schemes.iter().flat_map(|a| &a.layers).flat_map(|l| [l.cumulative_sqnr_db, l.local_sqnr_db]).flatten();
        let most = most.filter(|v| v.is_finite()).fold(20.0, f64::max) * 1.05;
        let height = body.height() / schemes.len() as f32;
        let marked: Vec<usize> = (0..n)
            .filter(|&i| {
                hovered == Some(i) || layer_of(i).is_some_and(|l| selection.is_selected(l) || selection.is_hovered(l))
            })
            .collect();
        for (s, a) in schemes.iter().enumerate() {
            let band = Rect::from_x_y_ranges(
                plot_x.clone(),
                body.top() + s as f32 * height + 6.0..=body.top() + (s + 1) as f32 * height - 4.0,
            );
            scheme_chart(ui, theme, band, a, names, most, self.scheme.is_none_or(|x| x == s), &marked);
        }
        let painter = ui.painter();
        for &i in &marked {
            let x = plot_x.start() + i as f32 * width;
            let selected = layer_of(i).is_some_and(|l| selection.is_selected(l));
            let color = if selected { theme.focus } else { theme.text_weak };
            painter.vline((x + width / 2.0).round() + 0.5, body.y_range(), Stroke::new(1.0, color.gamma_multiply(0.6)));
        }
        let foot = rect.with_min_y(body.bottom()).with_min_x(*plot_x.start());
        let name = hovered.or(marked.first().copied()).map(|i| names[i].layer.as_str());
        let words =
            name.map_or_else(|| format!("{} in the order of the plan", format::plural(n, "layer")), str::to_owned);
        // Under its bar, as far as there is room.
        let label = crate::draw::galley(painter, &words, theme::caption(), theme.text_weak, foot.width());
        let bar = hovered.or(marked.first().copied()).map_or(0.0, |i| (i as f32 + 0.5) * width - label.size().x / 2.0);
        let x = foot.left() + bar.clamp(0.0, (foot.width() - label.size().x).max(0.0));
        painter.galley(pos2(x, foot.center().y - label.size().y / 2.0), label, theme.text_weak);
        if let Some(i) = hovered {
            let layer = layer_of(i);
            selection.hovered = layer;
            if response.clicked() {
                selection.select(layer);
            }
            response.on_hover_ui_at_pointer(|ui| layer_tip(ui, theme, schemes, &names[i].layer));
        }
    }
}

fn scheme_chart(
    ui: &Ui,
    theme: &Theme,
    band: Rect,
    a: &Accuracy,
    names: &[LayerAccuracy],
    most: f64,
    strong: bool,
    marked: &[usize],
) {
    let painter = ui.painter();
    axis::value_axis(painter, theme, band, most, |v| format!("{v:.0}"));
    painter.hline(band.x_range(), band.bottom() + 0.5, theme.line());
    let left = Rect::from_x_y_ranges(band.left() - GUTTER + PAD..=band.left() - 24.0, band.top()..=band.top() + 16.0);
    text_in(
        painter,
        left,
        Align2::LEFT_CENTER,
        &a.scheme,
        theme::head(),
        if strong { theme.text_strong } else { theme.text_weak },
    );
    let width = band.width() / names.len() as f32;
    let y = |db: f64| band.bottom() - (db.clamp(0.0, most) / most) as f32 * band.height();
    let mut before: Option<usize> = None;
    for (i, name) in names.iter().enumerate() {
        let x = band.left() + i as f32 * width;
        // Of bars on one point of the screen the first is drawn.
        let pixel = x as usize;
        if width < 1.0 && before == Some(pixel) {
            continue;
        }
        before = Some(pixel);
        let found = a
            .layers
            .get(i)
            .filter(|l| l.layer == name.layer)
            .or_else(|| a.layers.iter().find(|l| l.layer == name.layer));
        let Some(l) = found else { continue };
        let gap = if width > 4.0 { 0.5 } else { 0.0 };
        let bar = |top: f32| Rect::from_x_y_ranges(x + gap..=(x + width - gap).max(x + 1.0), top..=band.bottom());
        let faint = |c| if strong { c } else { theme::mix(theme.surface[0], c, 0.35) };
        let radius = if width > 6.0 { CornerRadius { nw: 2, ne: 2, sw: 0, se: 0 } } else { CornerRadius::ZERO };
        if l.exact {
            // Bit-identical: nothing to draw but a foot, so that it is not taken for missing.
            painter.rect_filled(bar(band.bottom() - 2.0), 0.0, faint(theme.good));
        } else if let Some(db) = l.cumulative_sqnr_db.filter(|d| d.is_finite()) {
            let color = if marked.contains(&i) { theme.text_strong } else { faint(theme.sqnr(db)) };
            painter.rect_filled(bar(y(db)), radius, color);
        }
        if let Some(db) = l.local_sqnr_db.filter(|d| d.is_finite() && !l.exact) {
            painter.hline(bar(0.0).x_range(), y(db), Stroke::new(1.0, faint(theme.text_weak)));
        }
    }
}

fn task_value(share: bool, v: f64) -> String {
    // Accuracies are shares; perplexities are not.
    if share { format::percent(v) } else { format::number(v) }
}

fn task_delta(t: &profiler::TaskAccuracy) -> String {
    let points = |v: f64| {
        let v = if t.higher_is_better { v * 100.0 } else { v };
        format!("{}{:.2}", if v < 0.0 { "−" } else { "+" }, v.abs())
    };
    let unit = if t.higher_is_better { " pp" } else { "" };
    let delta = points(t.value - t.reference);
    match t.difference_interval {
        Some((a, b)) => format!("{delta} [{}, {}]{unit}", points(a), points(b)),
        None => format!("{delta}{unit}"),
    }
}

fn scheme_tip(ui: &mut Ui, theme: &Theme, a: &Accuracy, column: usize, task: Option<&str>) {
    ui.set_max_width(380.0);
    ui.label(
        RichText::new(if a.description.is_empty() { &a.scheme } else { &a.description })
            .font(theme::head())
            .color(theme.text_strong),
    );
    if a.simulated {
        note(
            ui,
            "Simulated: weights are dequantised on load, so that latency and memory are not those of the real format.",
        );
    }
    if column >= 7 {
        match (&a.task, task) {
            (Some(t), _) => note(
                ui,
                &format!(
                    "{} on {}: {} against {} of f32.",
                    t.metric,
                    format::plural(t.count as usize, "example"),
                    task_value(t.higher_is_better, t.value),
                    task_value(t.higher_is_better, t.reference)
                ),
            ),
            _ => note(ui, "There is no evaluation data for this model."),
        };
    }
    for o in &a.outputs {
        let figure = |v: Option<String>| v.unwrap_or_else(|| UNKNOWN.to_owned());
        let words = format!(
            "{}: SQNR {}, MSE {}",
            o.name,
            figure(o.sqnr_db.map(format::decibel)),
            figure(o.mse.map(format::number))
        );
        ui.label(RichText::new(words).font(theme::caption_figure()));
    }
}

fn layer_tip(ui: &mut Ui, theme: &Theme, schemes: &[Accuracy], layer: &str) {
    ui.label(RichText::new(layer).font(theme::head()).color(theme.text_strong));
    egui::Grid::new("accuracy tip").num_columns(5).spacing([16.0, 2.0]).show(ui, |ui| {
        for head in ["", "Network", "This layer", "Cosine", "Max diff."] {
            ui.label(RichText::new(head).font(theme::caption()).color(theme.text_weak));
        }
        ui.end_row();
        for a in schemes {
            ui.label(RichText::new(&a.scheme).color(theme.text));
            match a.layers.iter().find(|l| l.layer == layer) {
                Some(l) if l.exact => {
                    ui.label(RichText::new("bit-identical").color(theme.good));
                }
                Some(l) => {
                    let cosine = l.cosine.map(|c| format!("{c:.5}"));
                    let figures = [
                        l.cumulative_sqnr_db.map(format::decibel),
                        l.local_sqnr_db.map(format::decibel),
                        cosine,
                        l.max_abs.map(format::number),
                    ];
                    for v in figures {
                        ui.label(RichText::new(v.as_deref().unwrap_or(UNKNOWN)).font(theme::figure()));
                    }
                }
                None => {
                    ui.label(RichText::new("not compared").color(theme.text_weak));
                }
            }
            ui.end_row();
        }
    });
}
