//! The flame graph: what ran when, where the time of a run went, and what one name takes part in.

mod acts;
mod graph;
mod job;
mod marks;
mod pointer;
mod range;
mod sandwich;
mod search;
#[cfg(test)]
mod tests;
mod tree;

use std::collections::HashSet;

use egui::{ComboBox, Context, Key, RichText, Role, Sense, Ui, WidgetInfo, vec2};
use profiler::{LayerId, SpanId};

use crate::draw::flame_colors::{ColorBy, Coloring};
use crate::draw::flame_index::Flame;
use crate::draw::flame_marks;
use crate::draw::flame_nav::Window;
use crate::draw::flame_row::Block;
use crate::draw::{empty, panel_head, search_box, segmented};
use crate::format;
use crate::theme::{self, GRID, PAD};
use crate::view::{Action, Command, Profile, Selection, View, ViewCx};

use acts::{COMMANDS, Site, asked_by_keys};
use marks::{Mark, Marks};
use range::RangePane;
use sandwich::SandwichPane;
use search::Search;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mode {
    #[default]
    Time,
    Merged,
    Sandwich,
}

const LEGEND_HEIGHT: f32 = 24.0;
/// Cells that are looked at in a frame for marks: about a millisecond.
const MARKED_PER_FRAME: usize = 500_000;

/// The flame graph's panel.
#[derive(Default)]
pub struct FlameView {
    mode: Mode,
    window: Window,
    /// What the window belongs to: the trace (by address) and the mode.
    shown: Option<(usize, Mode)>,
    scroll: f32,
    /// Scroll the selected span into view in the next frame.
    reveal: bool,
    search: Search,
    focus_search: bool,
    focus_graph: bool,
    /// The layer and span that the window last followed.
    followed: (Option<LayerId>, Option<SpanId>),
    /// What was centred, and the window that it led to.
    centred: Option<((f64, f64), (f64, f64))>,
    blocks: Vec<Block>,
    /// Where the search's layers are, and where the selected one is.
    found: flame_marks::Marks,
    chosen: flame_marks::Marks,
    marks: Marks,
    range: RangePane,
    sandwich: SandwichPane,
    coloring: Coloring,
    colored: Option<(usize, ColorBy, usize)>,
    counters: graph::Counters,
    overview: Option<(graph::OverviewKey, egui::Shape)>,
    /// Which precision the error is of.
    scheme: usize,
    collapsed: HashSet<String>,
    drag: Option<pointer::Drag>,
    /// The time under the pointer, in the last frame.
    pointer_time: Option<f64>,
    /// Asked for by name since the last frame.
    asked: Vec<&'static str>,
}

impl View for FlameView {
    fn id(&self) -> &'static str {
        "flame"
    }

    fn title(&self) -> &'static str {
        "Flame graph"
    }

    fn ui(&mut self, ui: &mut Ui, cx: &mut ViewCx<'_>) {
        let Some(profile) = cx.profile.filter(|p| !p.flame.tracks.is_empty()) else {
            let (title, text, action) = match (cx.profile, cx.model) {
                (Some(_), _) => ("No spans", "This trace holds no timed spans.", None),
                (None, Some(_)) => {
                    ("Not run yet", "A run fills this: every layer as a bar on a time axis.", Some("Run"))
                }
                (None, None) => ("Nothing open", "Open a model and run it, or open a saved trace.", Some("Open…")),
            };
            if empty(ui, cx.theme, title, text, action) {
                cx.actions.push(if cx.model.is_some() { Action::Run } else { Action::OpenDialog });
            }
            return;
        };
        let panel = ui.available_rect_before_wrap();
        let graph = ui.scope_id().with("graph");
        self.settle(ui.ctx(), profile, cx.selection);
        self.asked.extend(asked_by_keys(ui, graph, panel));
        let asked = std::mem::take(&mut self.asked);
        self.act_all(&asked, ui.ctx(), profile, cx);
        self.head_ui(ui, profile, cx);
        if std::mem::take(&mut self.focus_graph) {
            ui.memory_mut(|m| m.request_focus(graph));
        }
        let space = ui.available_rect_before_wrap();
        let foot = space.with_min_y(space.bottom() - LEGEND_HEIGHT);
        let mut body = space.with_max_y(foot.top());
        if let Some(range) = cx.selection.range.filter(|_| self.mode == Mode::Time) {
            let dragged = matches!(self.drag, Some(pointer::Drag::Range { .. }));
            self.range.update(ui.ctx(), profile, address(profile), range, dragged);
            let height = self.range.height.clamp(range::LEAST, (body.height() - 120.0).max(range::LEAST));
            let pane = body.with_min_y(body.bottom() - height);
            body.max.y = pane.top();
            self.range_ui(ui, pane, cx, range);
        }
        match self.mode {
            Mode::Sandwich => {
                let (trace, query) = (address(profile), self.search.query.clone());
                // Keeps the keys here when the graph that had them is gone.
                let keys = ui.interact(body, graph, Sense::focusable_noninteractive());
                keys.widget_info(|| WidgetInfo::labeled(Role::Group, true, "Callers and callees"));
                ui.scope_builder(egui::UiBuilder::new().max_rect(body).id_salt("sandwich"), |ui| {
                    self.sandwich.ui(ui, cx.theme, profile, trace, &query, cx.selection);
                });
            }
            Mode::Merged if profile.merged.tracks.is_empty() => self.merged_calls_ui(ui, body, profile, cx),
            Mode::Time | Mode::Merged => self.graph_ui(ui, body, graph, profile, cx.selection, cx.theme),
        }
        ui.painter().hline(foot.x_range(), foot.top() + 0.5, cx.theme.line());
        let builder = egui::UiBuilder::new().max_rect(foot.shrink2(vec2(PAD, 4.0)));
        ui.scope_builder(builder, |ui| self.legend_ui(ui, profile, cx));
    }

    fn commands(&self) -> &'static [Command] {
        COMMANDS
    }

    fn command(&mut self, id: &str, cx: &mut ViewCx<'_>) {
        self.asked.extend(COMMANDS.iter().map(|c| c.id).filter(|c| *c == id));
        self.focus_graph |= id != "search";
        cx.actions.push(Action::Show("flame"));
    }
}

/// Tells traces apart.
fn address(profile: &Profile) -> usize {
    std::sync::Arc::as_ptr(&profile.trace).addr()
}

impl FlameView {
    fn act_all(&mut self, asked: &[&str], ctx: &Context, profile: &Profile, cx: &mut ViewCx<'_>) {
        for id in asked {
            let mut site = Site { ctx, profile, selection: cx.selection, preferences: cx.preferences };
            self.act(id, &mut site);
            self.settle(ctx, profile, cx.selection);
        }
        let colored = (address(profile), cx.preferences.flame_colors, self.scheme);
        if self.colored != Some(colored) {
            self.coloring = Coloring::new(profile, colored.1, colored.2);
            self.colored = Some(colored);
        }
    }

    /// Starts anew on a new trace or mode, and keeps the search's answer.
    fn settle(&mut self, ctx: &Context, profile: &Profile, selection: &mut Selection) {
        let key = (address(profile), self.mode);
        if self.shown != Some(key) {
            if self.shown.is_some_and(|s| s.0 != key.0) {
                // Times of another trace mean nothing here.
                selection.range = None;
                self.scheme = 0;
            }
            if self.shown.is_none_or(|s| s.0 != key.0) {
                self.counters = graph::Counters::new(&profile.trace.counters);
            }
            self.shown = Some(key);
            self.scroll = 0.0;
            self.centred = None;
            self.pointer_time = None;
            let whole = self.whole(profile);
            self.window = Window::on(whole, whole);
            self.show_run(profile);
            self.window.snap();
        }
        self.search.update(ctx, profile, key.0);
    }

    fn flame<'p>(&self, profile: &'p Profile) -> &'p Flame {
        match self.mode {
            Mode::Time => &profile.flame,
            Mode::Merged | Mode::Sandwich => &profile.merged,
        }
    }

    /// All that there is to see.
    fn whole(&self, profile: &Profile) -> (f64, f64) {
        let calls = self.sandwich.total(address(profile)).filter(|_| profile.merged.tracks.is_empty());
        match (self.mode, calls) {
            (Mode::Merged, Some(total)) => (0.0, total),
            _ => self.flame(profile).range,
        }
    }

    /// The most telling stretch: one typical run, else everything.
    fn show_run(&mut self, profile: &Profile) {
        let run = profile.typical_run.filter(|_| self.mode == Mode::Time).map(|r| profile.trace.runs[r.index()]);
        match run {
            Some(run) => self.window.fit((run.start_ns as f64, run.end_ns as f64)),
            None => self.window.fit(self.whole(profile)),
        }
    }

    fn head_ui(&mut self, ui: &mut Ui, profile: &Profile, cx: &mut ViewCx<'_>) {
        let theme = cx.theme;
        let mut asked: Vec<&'static str> = Vec::new();
        panel_head(ui, theme, |ui| {
            let modes = [
                (Mode::Time, "Time order", "Every span where it happened (1)"),
                (Mode::Merged, "Merged", "As wide as the time in them, longest on the left (2)"),
                (Mode::Sandwich, "Sandwich", "One name between its callers and its callees (3)"),
            ];
            if segmented(ui, &mut self.mode, &modes) {
                self.focus_graph = true;
                self.settle(ui.ctx(), profile, cx.selection);
            }
            ui.add_space(GRID);
            if self.mode == Mode::Time && profile.typical_run.is_some() && ui.available_width() > 480.0 {
                let tip = "Show the measured run that is closest to the median (T)";
                if ui.button("Typical run").on_hover_text(tip).clicked() {
                    asked.push("typical-run");
                }
            }
            if self.mode != Mode::Sandwich
                && ui
                    .button("Fit all")
                    .on_hover_text("Show everything (Home). A double click on a bar shows all of that bar.")
                    .clicked()
            {
                asked.push("fit-all");
            }
            if self.mode != Mode::Sandwich {
                self.color_ui(ui, profile, cx);
            }
            if self.mode == Mode::Time {
                self.marks_ui(ui, profile, cx);
            }
            ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| self.search_ui(ui, cx, &mut asked));
        });
        self.focus_graph |= asked.iter().any(|id| !id.starts_with("match"));
        self.act_all(&asked, ui.ctx(), profile, cx);
    }

    fn color_ui(&mut self, ui: &mut Ui, profile: &Profile, cx: &mut ViewCx<'_>) {
        let by = &mut cx.preferences.flame_colors;
        let combo = ComboBox::from_id_salt("color").width(84.0).selected_text(by.label()).show_ui(ui, |ui| {
            for (option, label, tip) in ColorBy::ALL {
                ui.selectable_value(by, option, label).on_hover_text(tip);
            }
        });
        combo.response.widget_info(|| WidgetInfo::labeled(Role::ComboBox, true, format!("Colour by {}", by.label())));
        combo.response.on_hover_text("What the colours say");
        let schemes = &profile.trace.accuracy;
        if *by == ColorBy::Error && schemes.len() > 1 {
            let now = schemes.get(self.scheme).map_or("", |a| &a.scheme);
            let combo = ComboBox::from_id_salt("scheme").width(60.0).selected_text(now).show_ui(ui, |ui| {
                for (i, accuracy) in schemes.iter().enumerate() {
                    ui.selectable_value(&mut self.scheme, i, &accuracy.scheme).on_hover_text(&accuracy.description);
                }
            });
            combo.response.widget_info(|| WidgetInfo::labeled(Role::ComboBox, true, format!("Error of {now}")));
        }
    }

    fn marks_ui(&mut self, ui: &mut Ui, profile: &Profile, cx: &mut ViewCx<'_>) {
        let count = self.marks.of(&profile.trace).len();
        let label = if count == 0 { "Marks".to_owned() } else { format!("Marks {count}") };
        let mut asked = None;
        let marks = self.marks.of_mut(&profile.trace);
        let menu =
            egui::containers::menu::MenuConfig::new().close_behavior(egui::PopupCloseBehavior::CloseOnClickOutside);
        egui::containers::menu::MenuButton::new(label).config(menu).ui(ui, |ui| {
            asked = marks::list_ui(ui, cx.theme, marks);
        });
        match asked {
            Some(marks::Asked::Remove(i)) => {
                marks.remove(i);
            }
            Some(marks::Asked::Clear) => marks.clear(),
            Some(marks::Asked::Show(i)) => {
                let Mark { at, until, .. } = marks[i];
                let (from, to) = self.window.target();
                let center = (at as f64 + until.unwrap_or(at) as f64) / 2.0;
                match until.filter(|u| *u > at) {
                    Some(until) => self.window.fit((at as f64, until as f64)),
                    None => self.window.go((center - (to - from) / 2.0, center + (to - from) / 2.0)),
                }
            }
            None => {}
        }
    }

    /// The box, how many match, and the way through them; laid out from the right.
    fn search_ui(&mut self, ui: &mut Ui, cx: &ViewCx<'_>, asked: &mut Vec<&'static str>) {
        let width = 180.0_f32.min(ui.available_width() - PAD);
        if width > 60.0 {
            let hint = if self.mode == Mode::Sandwich { "Search names" } else { "Search layers" };
            let response = search_box(ui, &mut self.search.query, hint, width);
            if std::mem::take(&mut self.focus_search) {
                response.request_focus();
            }
            let (enter, escape, shift) =
                ui.input(|i| (i.key_pressed(Key::Enter), i.key_pressed(Key::Escape), i.modifiers.shift));
            if response.lost_focus() && enter {
                asked.push(if shift { "match-previous" } else { "match-next" });
                response.request_focus();
                self.focus_search = false;
            } else if response.lost_focus() && escape {
                self.search.query.clear();
                self.focus_graph = true;
            }
            response
                .on_hover_text("Words in a name, operator or scope (/). Enter and Shift+Enter go through the matches.");
        }
        if !self.search.is_on() || self.mode == Mode::Sandwich {
            return;
        }
        for (text, id, label) in
            [("›", "match-next", "Next match (Enter)"), ("‹", "match-previous", "Previous match (Shift+Enter)")]
        {
            let button = ui.add(egui::Button::new(text).min_size(vec2(20.0, 20.0)));
            button.widget_info(|| WidgetInfo::labeled(Role::Button, true, label));
            if button.on_hover_text(label).clicked() {
                asked.push(id);
            }
        }
        let words = self.search.words(self.mode == Mode::Merged);
        ui.label(RichText::new(words).font(theme::caption_figure()).color(cx.theme.text_weak))
            .on_hover_text("Matching spans, warm-up ones included; in merged order, matching layers.");
    }

    fn range_ui(&mut self, ui: &mut Ui, pane: egui::Rect, cx: &mut ViewCx<'_>, range: (u64, u64)) {
        let handle = egui::Rect::from_x_y_ranges(pane.x_range(), pane.top() - 3.0..=pane.top() + 3.0);
        let mut asked = None;
        ui.scope_builder(egui::UiBuilder::new().max_rect(pane.with_min_y(pane.top() + 1.0)).id_salt("range"), |ui| {
            ui.shrink_clip_rect(pane);
            asked = self.range.ui(ui, cx.theme, cx.selection, range);
        });
        self.range.height =
            (self.range.height.min(pane.height()) - range::divider(ui, cx.theme, handle)).max(range::LEAST);
        match asked {
            Some(range::Asked::Clear) => cx.selection.range = None,
            Some(range::Asked::Fit) => self.window.fit((range.0 as f64, range.1 as f64)),
            Some(range::Asked::Find(name)) => self.search.query = name,
            None => {}
        }
    }

    fn legend_ui(&self, ui: &mut Ui, profile: &Profile, cx: &mut ViewCx<'_>) {
        ui.horizontal(|ui| {
            if self.mode == Mode::Sandwich {
                Coloring::new(profile, ColorBy::Class, 0).legend_ui(ui, cx.theme, profile);
                return;
            }
            self.coloring.legend_ui(ui, cx.theme, profile);
            if self.coloring.lacks_error() && cx.model.is_some() && ui.small_button("Compare precisions").clicked() {
                cx.actions.push(Action::RunAccuracy);
            }
        });
    }

    /// Merged order of a trace that knows no layers: by the names of the spans around.
    fn merged_calls_ui(&mut self, ui: &mut Ui, rect: egui::Rect, profile: &Profile, cx: &mut ViewCx<'_>) {
        let theme = cx.theme;
        let trace = address(profile);
        let before = self.sandwich.total(trace).is_some();
        let Some(calls) = self.sandwich.calls(ui.ctx(), profile, trace) else {
            ui.scope_builder(egui::UiBuilder::new().max_rect(rect), |ui| {
                empty(ui, theme, "Merging…", "The spans are being merged by what they were called from.", None);
            });
            return;
        };
        if !before || self.window.target() == (0.0, 1.0) {
            // The extent is known only now.
            let whole = self.whole(profile);
            self.window = Window::on(whole, whole);
        }
        let response = ui.interact(rect, ui.scope_id().with("graph"), Sense::click_and_drag());
        response.widget_info(|| {
            let names = format::plural(calls.tree.nodes.len() - 1, "name");
            WidgetInfo::labeled(Role::Canvas, true, format!("Merged flame graph of {names}"))
        });
        ui.painter().rect_filled(rect, 0.0, theme.surface[0]);
        let plot = rect.shrink2(vec2(PAD, GRID));
        self.ease(ui);
        let lens =
            crate::draw::flame_paint::Lens { window: self.window.shown(), left: plot.left(), width: plot.width() };
        self.pointer_time = response.hover_pos().map(|p| lens.t(p.x));
        let searching = self.search.is_on();
        let words = self.search.query.to_lowercase();
        let name = |f| calls.tree.name(&profile.trace, f);
        let matched = |f| crate::draw::flame_paint::matches(&words, &[name(f)]);
        let brush = tree::TreeBrush {
            theme,
            trace: &profile.trace,
            tree: &calls.tree,
            lens,
            up: false,
            pointer: response.hover_pos(),
            color: &|f| calls.color(theme, profile, f),
            faded: &|f| searching && !matched(f),
            selected: &|_| false,
        };
        let top = plot.translate(vec2(0.0, -self.scroll.max(0.0)));
        let painter = ui.painter().with_clip_rect(plot.intersect(ui.clip_rect()));
        let hit = brush.paint(&painter, top.with_max_y(plot.bottom()));
        self.scroll =
            self.scroll.clamp(0.0, (tree::TreeBrush::depth(&calls.tree) as f32 * 20.0 - plot.height()).max(0.0));
        self.move_by_pointer(ui, &response, lens);
        if let Some(hit) = hit {
            let all = calls.tree.nodes[0].total_ns;
            if response.clicked() {
                response.request_focus();
            }
            if !response.dragged() {
                response.on_hover_ui_at_pointer(|ui| tree::tip_ui(ui, theme, &profile.trace, &calls.tree, hit, all));
            }
        }
    }

    /// Moves the window on its way; asks for another frame while it is not there.
    fn ease(&mut self, ui: &Ui) {
        let dt = f64::from(ui.input(|i| i.stable_dt));
        if self.window.step(dt, ui.style().animation_time > 0.0) {
            ui.ctx().request_repaint();
        }
    }
}
