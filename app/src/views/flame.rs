//! The flame graph: what ran when, or where the time of a run went.

use egui::util::hash;
use egui::{CornerRadius, CursorIcon, EventFilter, Key, Painter, Rect, Response, RichText, Role, Sense, Stroke};
use egui::{StrokeKind, Ui, WidgetInfo, vec2};
use profiler::{LayerId, SpanId};

use crate::draw::flame_chrome::{GUTTER, cell_name, counter_ui, gutter_ui, run_at, runs_ui, tip_ui};
use crate::draw::flame_index::{Flame, FlameTrack};
use crate::draw::flame_marks::Marks;
use crate::draw::flame_nav::Window;
use crate::draw::flame_paint::{Brush, Emphasis, Hit, Lens, matching_layers, neighbour};
use crate::draw::flame_row::{Block, FlameCell, FlameRow};
use crate::draw::{axis, empty, legend, panel_head, search_box, segmented};
use crate::format;
use crate::theme::{self, FLAME_ROW_HEIGHT, GRID, PAD, Theme};
use crate::view::{Action, Profile, Selection, View, ViewCx};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mode {
    #[default]
    Time,
    Merged,
}

const MINIMAP_HEIGHT: f32 = 24.0;
const AXIS_HEIGHT: f32 = 20.0;
const LEGEND_HEIGHT: f32 = 24.0;
const COUNTER_HEIGHT: f32 = 44.0;
const TRACK_GAP: f32 = 8.0;

/// The flame graph's panel.
#[derive(Default)]
pub struct FlameView {
    mode: Mode,
    window: Window,
    /// What the window belongs to: the trace (by address) and the mode.
    shown: Option<(usize, Mode)>,
    scroll: f32,
    search: String,
    matches: Vec<bool>,
    searched: Option<(usize, String)>,
    selected: Option<LayerId>,
    blocks: Vec<Block>,
    /// Where the search's layers are, and where the selected one is.
    found: Marks,
    chosen: Marks,
}

/// Cells that are looked at in a frame for marks: about a millisecond.
const MARKED_PER_FRAME: usize = 500_000;

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
        self.settle(profile);
        self.head_ui(ui, cx.theme, profile);
        let space = ui.available_rect_before_wrap();
        let foot = space.with_min_y(space.bottom() - LEGEND_HEIGHT);
        self.graph_ui(ui, space.with_max_y(foot.top()), profile, cx.selection, cx.theme);
        ui.painter().hline(foot.x_range(), foot.top() + 0.5, cx.theme.line());
        let builder = egui::UiBuilder::new().max_rect(foot.shrink2(vec2(PAD, 4.0)));
        ui.scope_builder(builder, |ui| legend(ui, cx.theme, &profile.classes()));
    }
}

fn address(profile: &Profile) -> usize {
    std::sync::Arc::as_ptr(&profile.trace).addr()
}

impl FlameView {
    /// Starts anew on a new trace or mode, and keeps the search's answer.
    fn settle(&mut self, profile: &Profile) {
        let key = (address(profile), self.mode);
        if self.shown != Some(key) {
            self.shown = Some(key);
            self.scroll = 0.0;
            self.window = Window::on(self.flame(profile).range, self.flame(profile).range);
            self.show_run(profile);
            self.window.snap();
        }
        let searched = (key.0, self.search.clone());
        if self.searched.as_ref() != Some(&searched) {
            self.matches = matching_layers(&self.search, &profile.trace.layers);
            self.searched = Some(searched);
        }
    }

    fn flame<'p>(&self, profile: &'p Profile) -> &'p Flame {
        match self.mode {
            Mode::Time => &profile.flame,
            Mode::Merged => &profile.merged,
        }
    }

    /// The most telling stretch: one typical run, else everything.
    fn show_run(&mut self, profile: &Profile) {
        let run = profile.typical_run.filter(|_| self.mode == Mode::Time).map(|r| profile.trace.runs[r.index()]);
        match run {
            Some(run) => self.window.fit((run.start_ns as f64, run.end_ns as f64)),
            None => self.window.fit(self.flame(profile).range),
        }
    }

    fn head_ui(&mut self, ui: &mut Ui, theme: &Theme, profile: &Profile) {
        panel_head(ui, theme, |ui| {
            let modes = [
                (Mode::Time, "Time order", "Every span where it happened"),
                (Mode::Merged, "Merged", "Scopes as wide as the time in them in a median run, longest first"),
            ];
            segmented(ui, &mut self.mode, &modes);
            self.settle(profile);
            ui.add_space(GRID);
            if self.mode == Mode::Time && profile.typical_run.is_some() {
                let tip = "Show the measured run that is closest to the median";
                if ui.button("Typical run").on_hover_text(tip).clicked() {
                    self.show_run(profile);
                }
            }
            if ui
                .button("Fit all")
                .on_hover_text("Show everything. A double click on a bar shows all of that bar.")
                .clicked()
            {
                self.window.fit(self.flame(profile).range);
            }
            ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
                let width = 180.0_f32.min(ui.available_width() - PAD);
                if width > 60.0 {
                    search_box(ui, &mut self.search, "Search layers", width);
                }
                if !self.search.trim().is_empty() {
                    let n = self.matches.iter().filter(|m| **m).count();
                    let words =
                        if n == 0 { "no match".to_owned() } else { format!("{} match", format::plural(n, "layer")) };
                    ui.label(RichText::new(words).font(theme::caption()).color(theme.text_weak));
                }
            });
        });
    }

    fn graph_ui(
        &mut self,
        ui: &mut Ui,
        rect: Rect,
        profile: &Profile,
        selection: &mut Selection,
        theme: &'static Theme,
    ) {
        let time = self.mode == Mode::Time;
        let gutter = if time { GUTTER } else { PAD };
        let response = ui.interact(rect, ui.scope_id().with("graph"), Sense::click_and_drag());
        response.widget_info(|| {
            let on = selection
                .layer
                .and_then(|l| profile.layer(l))
                .map_or(String::new(), |l| format!(", {} selected", l.name));
            WidgetInfo::labeled(
                Role::Canvas,
                true,
                format!("Flame graph of {}{on}", format::plural(profile.trace.spans.len(), "span")),
            )
        });
        ui.painter().rect_filled(rect, 0.0, theme.surface[0]);
        let plot = rect.with_min_x(rect.left() + gutter).with_max_x(rect.right() - PAD);
        self.follow_selection(profile, selection);
        let dt = f64::from(ui.input(|i| i.stable_dt));
        if self.window.step(dt, ui.style().animation_time > 0.0) {
            ui.ctx().request_repaint();
        }
        self.mark(ui, profile, selection);
        let lens = Lens { window: self.window.shown(), left: plot.left(), width: plot.width() };
        let mut top = rect.top();
        if time {
            self.minimap_ui(ui, plot.with_min_y(top + 4.0).with_max_y(top + MINIMAP_HEIGHT), profile, theme);
            top += MINIMAP_HEIGHT + 2.0;
        }
        let head = plot.with_min_y(top).with_max_y(top + AXIS_HEIGHT);
        let tracks = plot.with_min_y(head.bottom());
        let origin = if time {
            run_at(profile, lens).map_or(0.0, |r| profile.trace.runs[r.index()].start_ns as f64)
        } else {
            0.0
        };
        axis::time_axis(&ui.painter().with_clip_rect(head.union(tracks)), theme, head, tracks, lens.window, origin);
        self.scroll = self.scroll.clamp(0.0, (self.height(profile) - tracks.height()).max(0.0));
        let painter = ui.painter().with_clip_rect(tracks.with_min_x(rect.left()).intersect(ui.clip_rect()));
        if time {
            runs_ui(&painter, theme, profile, lens, tracks);
        }
        let pointer = response.hover_pos().filter(|p| tracks.contains(*p));
        let hit = self.tracks_ui(&painter, rect, tracks, profile, selection, theme, lens, pointer);
        if let Some(name) = response.hover_pos().and_then(|p| self.gutter_at(profile, p, tracks)) {
            response.clone().on_hover_text_at_pointer(name);
        }
        if hit.is_some() {
            selection.hovered = hit.and_then(|h| h.cell.layer);
        }
        self.pointer_input(ui, &response, profile, selection, lens, hit);
        self.key_input(ui, &response, profile, selection, lens);
        if response.has_focus() {
            ui.painter().rect_stroke(rect, 0.0, Stroke::new(1.0, theme.focus), StrokeKind::Inside);
        }
        if let (Some(hit), false) = (hit, response.dragged()) {
            response.on_hover_ui_at_pointer(|ui| tip_ui(ui, theme, profile, &hit));
        }
    }

    /// Goes on finding the layers that stand out in blocks of many cells.
    fn mark(&mut self, ui: &Ui, profile: &Profile, selection: &Selection) {
        let flame = match self.mode {
            Mode::Time => &profile.flame,
            Mode::Merged => &profile.merged,
        };
        let key = (self.shown.map(|s| s.0), self.mode == Mode::Time);
        self.found.aim(hash((key, &self.search)), || self.matches.clone());
        self.chosen.aim(hash((key, selection.layer.map(|l| l.0))), || {
            let layers = 0..profile.trace.layers.len();
            layers.map(|l| selection.is_selected(LayerId(l as u32))).collect()
        });
        let more = self.found.go_on(flame, MARKED_PER_FRAME) | self.chosen.go_on(flame, MARKED_PER_FRAME);
        if more {
            ui.ctx().request_repaint();
        }
    }

    fn height(&self, profile: &Profile) -> f32 {
        let tracks: f32 =
            self.flame(profile).tracks.iter().map(|t| t.rows.len() as f32 * FLAME_ROW_HEIGHT + TRACK_GAP).sum();
        let counters = if self.mode == Mode::Time { profile.trace.counters.len() } else { 0 };
        tracks + TRACK_GAP + counters as f32 * (COUNTER_HEIGHT + TRACK_GAP)
    }

    /// The name of the track or counter beside which the pointer is.
    fn gutter_at<'p>(&self, profile: &'p Profile, at: egui::Pos2, tracks: Rect) -> Option<&'p str> {
        if at.x >= tracks.left() || !tracks.y_range().contains(at.y) || self.mode == Mode::Merged {
            return None;
        }
        let mut bottom = tracks.top() + TRACK_GAP / 2.0 - self.scroll;
        let heights = profile.flame.tracks.iter().map(|t| (t.name.as_str(), t.rows.len() as f32 * FLAME_ROW_HEIGHT));
        let counters = profile.trace.counters.iter().map(|c| (c.name.as_str(), COUNTER_HEIGHT));
        heights.chain(counters).find_map(|(name, height)| {
            bottom += height + TRACK_GAP;
            (at.y < bottom).then_some(name)
        })
    }

    fn tracks_ui(
        &mut self,
        painter: &Painter,
        rect: Rect,
        tracks: Rect,
        profile: &Profile,
        selection: &Selection,
        theme: &'static Theme,
        lens: Lens,
        pointer: Option<egui::Pos2>,
    ) -> Option<Hit> {
        let searching = !self.search.trim().is_empty();
        let matches = &self.matches;
        let matched = |c: &FlameCell| c.layer.is_some_and(|l| matches.get(l.index()).copied().unwrap_or(false));
        let emphasis = |c: &FlameCell| Emphasis {
            selected: c.layer.is_some_and(|l| selection.is_selected(l)),
            focused: c.span.is_some() && c.span == selection.span,
            lit: c.layer.is_some_and(|l| selection.is_hovered(l)) || (searching && matched(c)),
            faded: searching && !matched(c),
        };
        let (found, chosen) = (&self.found, &self.chosen);
        let merged = |row: &FlameRow, cells: std::ops::Range<usize>| {
            let found = searching && found.any(row, cells.clone());
            let selected = selection.layer.is_some() && chosen.any(row, cells);
            Emphasis { selected, focused: false, lit: found, faded: searching && !found }
        };
        let label = |c: &FlameCell| cell_name(profile, c);
        let brush = Brush { theme, lens, pointer, emphasis: &emphasis, merged: &merged, label: &label };
        let row_painter = painter.with_clip_rect(tracks.intersect(painter.clip_rect()));
        let mut y = tracks.top() + TRACK_GAP / 2.0 - self.scroll;
        let mut hit = None;
        let flame = match self.mode {
            Mode::Time => &profile.flame,
            Mode::Merged => &profile.merged,
        };
        for track in &flame.tracks {
            let top = y;
            for row in &track.rows {
                hit = brush.row(&row_painter, row, y, &mut self.blocks).or(hit);
                y += FLAME_ROW_HEIGHT;
            }
            gutter_ui(painter, rect, top..=y, theme, &track.name, "");
            y += TRACK_GAP;
            if self.mode == Mode::Time {
                painter.hline(rect.x_range(), y - TRACK_GAP / 2.0 - 0.5, theme.line());
            }
        }
        if self.mode == Mode::Time {
            for counter in &profile.trace.counters {
                let band = tracks.with_min_y(y).with_max_y(y + COUNTER_HEIGHT);
                let most = counter_ui(&row_painter, theme, band, counter, lens);
                gutter_ui(painter, rect, y..=y + COUNTER_HEIGHT, theme, &counter.name, &most);
                y += COUNTER_HEIGHT + TRACK_GAP;
            }
        }
        hit
    }

    fn minimap_ui(&mut self, ui: &mut Ui, rect: Rect, profile: &Profile, theme: &Theme) {
        let flame = &profile.flame;
        let painter = ui.painter().with_clip_rect(rect.intersect(ui.clip_rect()));
        painter.rect_filled(rect, CornerRadius::same(2), theme.surface[1]);
        let whole = Lens { window: flame.range, left: rect.left(), width: rect.width() };
        for row in flame.tracks.iter().flat_map(|t| &t.rows) {
            self.blocks.clear();
            row.blocks(flame.range.0, flame.range.1, 2.0 * whole.per_point(), &mut self.blocks);
            let of_layers = |b: &&Block| row.cell(b.first).layer.is_some();
            for block in self.blocks.iter().filter(of_layers) {
                let warmup = row.cell(block.first).warmup;
                let color = block.class.map_or(theme.surface[3], |c| theme.class(c));
                let color = theme::mix(theme.surface[1], color, if warmup { 0.25 } else { 0.6 });
                let (x0, x1) = (whole.x(block.start), whole.x(block.end).max(whole.x(block.start) + 1.0));
                painter.rect_filled(Rect::from_x_y_ranges(x0..=x1, rect.top() + 4.0..=rect.bottom() - 4.0), 0.0, color);
            }
        }
        let (from, to) = self.window.shown();
        let window =
            Rect::from_x_y_ranges(whole.x(from)..=whole.x(to).max(whole.x(from) + 3.0), rect.y_range()).intersect(rect);
        let shade = theme.surface[0].gamma_multiply(0.6);
        painter.rect_filled(rect.with_max_x(window.left()), 0.0, shade);
        painter.rect_filled(rect.with_min_x(window.right()), 0.0, shade);
        painter.rect_stroke(window, CornerRadius::same(2), Stroke::new(1.0, theme.text_weak), StrokeKind::Inside);
        let response = ui.interact(rect, ui.scope_id().with("minimap"), Sense::click_and_drag());
        response.widget_info(|| WidgetInfo::labeled(Role::ScrollBar, true, "Overview of the whole trace"));
        if let Some(at) = response.interact_pointer_pos().filter(|_| response.dragged() || response.clicked()) {
            let (from, to) = self.window.target();
            let center = whole.t(at.x);
            self.window.go((center - (to - from) / 2.0, center + (to - from) / 2.0));
            self.window.snap();
        }
        response.on_hover_cursor(CursorIcon::Grab);
    }

    /// Brings a layer that another view selected into the window.
    fn follow_selection(&mut self, profile: &Profile, selection: &Selection) {
        if self.selected == selection.layer {
            return;
        }
        self.selected = selection.layer;
        let Some(cell) = selection.layer.and_then(|l| self.cell_of(profile, l, selection.span)) else { return };
        let (from, to) = self.window.target();
        if cell.end < from || cell.start > to {
            let center = (cell.start + cell.end) / 2.0;
            self.window.go((center - (to - from) / 2.0, center + (to - from) / 2.0));
        }
    }

    /// The cell of a layer: the given span's, else in the typical run, else the first.
    fn cell_of(&self, profile: &Profile, layer: LayerId, span: Option<SpanId>) -> Option<FlameCell> {
        let flame = self.flame(profile);
        let place = match self.mode {
            Mode::Merged => flame.place_of_node(&profile.scopes, *profile.scopes.of_layer.get(layer.index())?),
            Mode::Time => flame.place_of_span(&profile.trace, span.or_else(|| profile.span_to_show(layer))?),
        };
        flame.cell(place?)
    }

    fn pointer_input(
        &mut self,
        ui: &Ui,
        response: &Response,
        profile: &Profile,
        selection: &mut Selection,
        lens: Lens,
        hit: Option<Hit>,
    ) {
        if response.double_clicked() {
            self.window.fit(hit.map_or(self.flame(profile).range, |h| h.extent));
        } else if response.clicked() {
            response.request_focus();
            selection.select(hit.and_then(|h| h.cell.layer));
            selection.span = hit.and_then(|h| h.cell.span);
            self.selected = selection.layer;
            if let Some(hit) = hit.filter(|h| h.count > 1) {
                self.window.fit(hit.extent);
            }
        }
        if response.dragged() {
            let by = response.drag_delta();
            self.window.pan(-f64::from(by.x) * lens.per_point());
            self.window.snap();
            self.scroll -= by.y;
            ui.ctx().set_cursor_icon(CursorIcon::Grabbing);
        }
        if let Some(at) = response.hover_pos() {
            let (zoom, scroll) = ui.input(|i| (i.zoom_delta(), i.smooth_scroll_delta()));
            if zoom != 1.0 {
                self.window.zoom(f64::from(zoom), lens.t(at.x));
            }
            if scroll.x != 0.0 {
                self.window.pan(-f64::from(scroll.x) * lens.per_point());
            }
            self.scroll -= scroll.y;
        }
    }

    /// W and S zoom, A and D pan, the arrows go from cell to cell, F fits the selected one, Escape lets go.
    fn key_input(&mut self, ui: &Ui, response: &Response, profile: &Profile, selection: &mut Selection, lens: Lens) {
        if !response.has_focus() {
            return;
        }
        let filter = EventFilter { horizontal_arrows: true, vertical_arrows: true, escape: true, tab: false };
        ui.memory_mut(|m| m.set_focus_lock_filter(response.id, filter));
        let pressed = |key| ui.input(|i| i.modifiers.is_none() && i.key_pressed(key));
        let (from, to) = self.window.target();
        let anchor = response.hover_pos().map_or((from + to) / 2.0, |p| lens.t(p.x));
        for (key, factor) in [(Key::W, 1.5), (Key::S, 1.0 / 1.5)] {
            if pressed(key) {
                self.window.zoom(factor, anchor);
            }
        }
        for (key, part) in [(Key::A, -0.2), (Key::D, 0.2)] {
            if pressed(key) {
                self.window.pan(part * (to - from));
            }
        }
        let selected = selection.layer.and_then(|l| self.cell_of(profile, l, selection.span));
        if pressed(Key::F)
            && let Some(cell) = selected
        {
            let room = (cell.end - cell.start) * 2.0;
            self.window.go((cell.start - room, cell.end + room));
        }
        if pressed(Key::Escape) {
            selection.select(None);
            self.selected = None;
        }
        let step = match () {
            () if pressed(Key::ArrowRight) => true,
            () if pressed(Key::ArrowLeft) => false,
            () => return,
        };
        let tracks = &self.flame(profile).tracks;
        let id = selected.and_then(|c| c.span).map(|s| profile.trace.spans.track[s.index()]);
        let holds = |t: &&FlameTrack| Some(t.id) == id;
        let track = tracks.iter().find(holds).or(tracks.first());
        let at = selected.map_or((from + to) / 2.0, |c| c.start);
        if let Some(next) = track.and_then(|t| neighbour(&t.rows, at, step)) {
            selection.select(next.layer);
            selection.span = next.span;
            // Leaves `selected` as it is: the window follows as for any other view's choice.
        }
    }
}
