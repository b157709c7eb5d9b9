//! Every run that was measured on this machine: search, tag, note, how a model's latency went, reopen, compare.

mod trend;

use std::path::PathBuf;

use egui::{Align, Button, Key, Layout, Rect, RichText, TextEdit, Ui, UiBuilder};
use history::Entry;

use crate::draw::table::{Cell, Column, Row, Sort, Table};
use crate::draw::{empty, fact, panel_head, search_box};
use crate::format::{self, Scale, UNKNOWN};
use crate::theme::{self, GRID, PAD, Theme};
use crate::view::{Action, Command, HistoryAsk, HistoryPage, View, ViewCx};

const COLUMNS: [Column; 6] = [
    Column::text("When", 122.0, 0.0).tip("When the run was measured, in your time zone"),
    Column::text("Model", 110.0, 2.0),
    Column::text("Device", 90.0, 1.5),
    Column::text("Precision", 72.0, 0.0),
    Column::figure("Median", 84.0).tip("Median end-to-end latency with recording off, ± the median absolute deviation"),
    Column::text("Tags and note", 90.0, 1.5),
];

/// The detail stands beside the list where the panel is at least this wide, else below it.
const SIDE_BY_SIDE: f32 = 720.0;

/// The panel.
pub struct HistoryView {
    search: String,
    /// The search that was last asked for.
    asked: Option<String>,
    sort: Sort,
    order: Vec<usize>,
    /// What `order` was made from: the page by address, and the sort.
    made: Option<(usize, Sort)>,
    selected: Option<i64>,
    tags: String,
    note: String,
    focus_search: bool,
}

impl Default for HistoryView {
    fn default() -> Self {
        HistoryView {
            search: String::new(),
            asked: None,
            sort: Sort { column: 0, descending: true },
            order: Vec::new(),
            made: None,
            selected: None,
            tags: String::new(),
            note: String::new(),
            focus_search: false,
        }
    }
}

const FIND: Command = Command { id: "search", title: "Search the history", keys: "" };
const REOPEN: Command = Command { id: "reopen", title: "Reopen the run chosen in the history", keys: "Enter" };
const COMPARE: Command = Command { id: "compare", title: "Compare with the run chosen in the history", keys: "" };
const COMMANDS: [Command; 3] = [FIND, REOPEN, COMPARE];

impl View for HistoryView {
    fn id(&self) -> &'static str {
        "history"
    }

    fn title(&self) -> &'static str {
        "History"
    }

    fn commands(&self) -> &'static [Command] {
        &COMMANDS
    }

    fn command(&mut self, id: &str, cx: &mut ViewCx<'_>) {
        match (id, self.selected) {
            ("search", _) => self.focus_search = true,
            ("reopen", Some(run)) => cx.actions.push(Action::Open(path(run))),
            ("compare", Some(run)) => cx.actions.push(Action::OpenBaseline(path(run))),
            _ => {}
        }
    }

    fn ui(&mut self, ui: &mut Ui, cx: &mut ViewCx<'_>) {
        let theme = cx.theme;
        if self.asked.as_ref() != Some(&self.search) {
            self.asked = Some(self.search.clone());
            cx.actions.push(Action::History(HistoryAsk::List(self.search.clone())));
        }
        let Some(page) = cx.facts.history.as_deref() else {
            empty(ui, theme, "History", "Looking up the runs of this machine.", None);
            return;
        };
        if page.all == 0 {
            let text = "Every run that you measure, here or with `stratoscope profile`, is kept with its trace: to find it \
                        again, and to see when a model became slower.";
            let action = if cx.model.is_some() { "Run" } else { "Open…" };
            if empty(ui, theme, "No runs yet", text, Some(action)) {
                cx.actions.push(if cx.model.is_some() { Action::Run } else { Action::OpenDialog });
            }
            return;
        }
        panel_head(ui, theme, |ui| {
            let response = search_box(
                ui,
                &mut self.search,
                "Search model, device, tags, notes",
                240.0_f32.min(ui.available_width() - PAD),
            );
            if std::mem::take(&mut self.focus_search) {
                response.request_focus();
            }
            let shown = page.runs.len();
            let words = if shown as u64 == page.all {
                format::plural(shown, "run")
            } else {
                format!("{shown} of {}", format::plural(usize::try_from(page.all).unwrap_or(usize::MAX), "run"))
            };
            ui.label(RichText::new(words).font(theme::caption()).color(theme.text_weak));
        });
        if page.runs.is_empty() {
            empty(
                ui,
                theme,
                "No such run",
                "No run has all of these words in its model, device, precision, tags or note.",
                None,
            );
            return;
        }
        self.arrange(page);
        let space = ui.available_rect_before_wrap();
        let (list, detail) = if space.width() >= SIDE_BY_SIDE {
            space.split_left_right_at_x(space.right() - (space.width() * 0.36).clamp(280.0, 480.0))
        } else {
            space.split_top_bottom_at_y(space.top() + space.height() * 0.5)
        };
        ui.scope_builder(UiBuilder::new().max_rect(list), |ui| self.list_ui(ui, cx, page));
        let side = if space.width() >= SIDE_BY_SIDE { detail.left() } else { detail.top() };
        if space.width() >= SIDE_BY_SIDE {
            ui.painter().vline(side + 0.5, detail.y_range(), theme.line());
        } else {
            ui.painter().hline(detail.x_range(), side + 0.5, theme.line());
        }
        self.detail_ui(ui, detail.shrink(PAD), cx, page);
    }
}

/// Under this name a run's trace is opened.
fn path(run: i64) -> PathBuf {
    format!("history:{run}").into()
}

impl HistoryView {
    fn arrange(&mut self, page: &HistoryPage) {
        let key = (std::ptr::from_ref(page).addr(), self.sort);
        if self.made != Some(key) {
            self.made = Some(key);
            self.order = (0..page.runs.len()).collect();
            let runs = &page.runs;
            let text = |e: &Entry| match self.sort.column {
                1 => e.model.clone(),
                2 => e.device.clone(),
                3 => e.precision.clone(),
                _ => words(e),
            };
            match self.sort.column {
                0 => self.order.sort_by_key(|&i| (runs[i].unix_s, runs[i].id)),
                4 => {
                    let median = |i: &usize| runs[*i].median_ns.unwrap_or(f64::NEG_INFINITY);
                    self.order.sort_by(|a, b| median(a).total_cmp(&median(b)));
                }
                _ => self.order.sort_by_cached_key(|&i| text(&runs[i])),
            }
            if self.sort.descending {
                self.order.reverse();
            }
        }
    }

    fn list_ui(&mut self, ui: &mut Ui, cx: &mut ViewCx<'_>, page: &HistoryPage) {
        let (theme, order, selected) = (cx.theme, &self.order, self.selected);
        let scale = Scale::time(page.runs.iter().filter_map(|e| e.median_ns).fold(0.0, f64::max));
        let columns = COLUMNS.map(|c| if c.right { c.unit(scale.unit) } else { c });
        let table = Table { id: "Runs", columns: &columns, rows: order.len(), scroll_to: None, totals: false };
        let row = |i: usize| {
            let e = &page.runs[order[i]];
            let latency = e.median_ns.map_or_else(|| UNKNOWN.to_owned(), format::duration);
            Row {
                selected: selected == Some(e.id),
                lit: false,
                label: format!("Run {} of {}, {}, {latency}", e.id, e.model, format::local_time(e.unix_s)),
            }
        };
        let outcome = table.show(ui, theme, Some(&mut self.sort), row, |cell, i, column| {
            if let Some(e) = order.get(i).map(|&i| &page.runs[i]) {
                run_cell(cell, e, column, &scale);
            }
        });
        if let Some((i, _, response)) = outcome.hovered {
            let e = &page.runs[order[i]];
            response.on_hover_ui_at_pointer(|ui| facts_ui(ui, theme, e));
        }
        if let Some(e) = outcome.chosen.and_then(|i| order.get(i)).map(|&i| &page.runs[i]) {
            self.choose(e, cx);
            if outcome.double {
                cx.actions.push(Action::Open(path(e.id)));
            }
        }
    }

    fn choose(&mut self, e: &Entry, cx: &mut ViewCx<'_>) {
        if self.selected != Some(e.id) {
            self.selected = Some(e.id);
            self.tags = e.tags.join(" ");
            self.note = e.note.clone();
            cx.actions.push(Action::History(HistoryAsk::Trend(e.id)));
        }
    }

    fn detail_ui(&mut self, ui: &mut Ui, rect: Rect, cx: &mut ViewCx<'_>, page: &HistoryPage) {
        let theme = cx.theme;
        ui.scope_builder(UiBuilder::new().max_rect(rect), |ui| {
            ui.shrink_clip_rect(rect);
            let Some(e) = page.runs.iter().find(|e| Some(e.id) == self.selected) else {
                empty(
                    ui,
                    theme,
                    "No run chosen",
                    "Choose a run to see how its model's latency went, to tag it, to reopen it or to compare with it.",
                    None,
                );
                return;
            };
            egui::ScrollArea::vertical().auto_shrink([false, false]).show(ui, |ui| {
                ui.spacing_mut().item_spacing.y = GRID;
                self.buttons_ui(ui, cx, e);
                self.words_ui(ui, cx, e);
                match page.trend.as_ref().filter(|(id, _)| *id == e.id) {
                    Some((_, trend)) => {
                        if let Some(run) = trend::ui(ui, theme, trend, e.id)
                            && let Some(e) = trend.runs.iter().find(|r| r.id == run)
                        {
                            self.choose(e, cx);
                        }
                    }
                    None => ui.add_space(trend::HEIGHT),
                }
                ui.add_space(GRID);
                facts_ui(ui, theme, e);
            });
        });
    }

    fn buttons_ui(&mut self, ui: &mut Ui, cx: &mut ViewCx<'_>, e: &Entry) {
        ui.horizontal_wrapped(|ui| {
            let gone = "Its trace was removed to save space; its figures stay";
            let button = |ui: &mut Ui, label: &str, tip: &str| {
                ui.add_enabled(e.has_trace, Button::new(label))
                    .on_hover_text(tip)
                    .on_disabled_hover_text(gone)
                    .clicked()
            };
            if button(ui, "Reopen", "Show this run's trace (double click, Enter)") {
                cx.actions.push(Action::Open(path(e.id)));
            }
            if button(ui, "Compare", "Make this run the baseline of the trace on show") {
                cx.actions.push(Action::OpenBaseline(path(e.id)));
            }
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                let confirm = ui.make_persistent_id(("remove", e.id));
                let armed = ui.data(|d| d.get_temp::<bool>(confirm)).unwrap_or(false);
                let label = if armed { "Remove for good" } else { "Remove…" };
                if ui
                    .button(label)
                    .on_hover_text("Removes the run and its trace from the history; press twice")
                    .clicked()
                {
                    ui.data_mut(|d| d.insert_temp(confirm, !armed));
                    if armed {
                        cx.actions.push(Action::History(HistoryAsk::Remove(e.id)));
                        self.selected = None;
                    }
                }
            });
        });
    }

    /// Fields for tags and a note, kept when they are left.
    fn words_ui(&mut self, ui: &mut Ui, cx: &mut ViewCx<'_>, e: &Entry) {
        let field = |ui: &mut Ui, text: &mut String, label: &'static str, hint: &'static str| {
            ui.horizontal(|ui| {
                let (rect, _) = ui.allocate_exact_size(egui::vec2(36.0, 20.0), egui::Sense::hover());
                let painter = ui.painter();
                crate::draw::text_in(
                    painter,
                    rect,
                    egui::Align2::LEFT_CENTER,
                    label,
                    theme::caption(),
                    cx.theme.text_weak,
                );
                let edit = TextEdit::singleline(text).hint_text(hint).desired_width(ui.available_width());
                let response = ui.add(edit);
                response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::TextInput, true, label));
                response.lost_focus() && !ui.input(|i| i.key_pressed(Key::Escape))
            })
            .inner
        };
        if field(ui, &mut self.tags, "Tags", "words, such as: main nightly") && self.tags != e.tags.join(" ") {
            cx.actions.push(Action::History(HistoryAsk::Tags(e.id, self.tags.clone())));
        }
        if field(ui, &mut self.note, "Note", "what was special about this run") && self.note != e.note {
            cx.actions.push(Action::History(HistoryAsk::Note(e.id, self.note.clone())));
        }
    }
}

fn words(e: &Entry) -> String {
    let tags: String = e.tags.iter().map(|t| format!("#{t} ")).collect();
    tags + &e.note
}

fn run_cell(cell: &Cell<'_>, e: &Entry, column: usize, scale: &Scale) {
    let theme = cell.theme;
    match column {
        0 => cell.figure(&format::local_time(e.unix_s), theme.text_weak),
        1 => cell.text(&e.model, theme.text),
        2 => cell.text(&e.device, theme.text_weak),
        3 => {
            let fusion = if e.fusion { "" } else { ", fusion off" };
            cell.text(&format!("{}{fusion}", e.precision), theme.text_weak);
        }
        4 => match e.median_ns {
            Some(median) => cell.figure(&scale.cell(median), theme.text),
            None => cell.figure(UNKNOWN, theme.text_weak),
        },
        _ => cell.text(&words(e), theme.text_weak),
    }
}

fn facts_ui(ui: &mut Ui, theme: &Theme, e: &Entry) {
    let duration = |ns: Option<f64>| ns.map_or_else(|| UNKNOWN.to_owned(), format::duration);
    let bytes = |b: u64| format::bytes(b as f64);
    let spread = e.mad_ns.map_or_else(String::new, |m| format!(" ±{}", format::duration(m)));
    let runs = format!("Over {} with recording off", format::plural(e.runs as usize, "run"));
    fact(ui, theme, "Run", &format!("{}, {}", e.id, format::local_time(e.unix_s)), "");
    fact(ui, theme, "Model", &e.model, &e.model_path);
    fact(ui, theme, "Device", &e.device, "");
    fact(
        ui,
        theme,
        "Median",
        &format!("{}{spread}", duration(e.median_ns)),
        &format!("{runs}; ± is the median absolute deviation"),
    );
    fact(ui, theme, "p90, p99", &format!("{}, {}", duration(e.p90_ns), duration(e.p99_ns)), &runs);
    let memory = format!("{} + {}", bytes(e.weights_bytes), bytes(e.peak_bytes));
    fact(
        ui,
        theme,
        "Weights + activations",
        &memory,
        "Weights as held for the run, and the largest sum of activations alive at once",
    );
    if !e.dims.is_empty() {
        let dims: Vec<String> = e.dims.iter().map(|(k, v)| format!("{k}={v}")).collect();
        fact(ui, theme, "Dimensions", &dims.join(" "), "");
    }
    if e.warnings > 0 {
        fact(
            ui,
            theme,
            "Warnings",
            &e.warnings.to_string(),
            "Facts that lower trust in this run; its trace names them",
        );
    }
    fact(ui, theme, "Measured by", &e.producer, "");
}
