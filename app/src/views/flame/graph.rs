//! The tracks under their axis: lanes, cells, counters, the overview, and what is drawn over them.

use egui::{
    Color32, CornerRadius, CursorIcon, Id, Painter, Pos2, Rect, Role, Sense, Stroke, StrokeKind, Ui, WidgetInfo,
};
use profiler::Counter;

use super::marks::{FLAGS_HEIGHT, flags_ui};
use super::{FlameView, MARKED_PER_FRAME, Mode, address};
use crate::draw::axis;
use crate::draw::flame_chrome::{
    CounterLine, GUTTER, Header, cell_name, counter_tip, counter_ui, header_ui, run_at, runs_ui, tip_ui,
};
use crate::draw::flame_paint::{Brush, Emphasis, Hit, Lens};
use crate::draw::flame_row::{FlameCell, FlameRow};
use crate::format;
use crate::theme::{self, FLAME_ROW_HEIGHT, PAD, Theme};
use crate::view::{Profile, Selection};

const MINIMAP_HEIGHT: f32 = 24.0;
const AXIS_HEIGHT: f32 = 20.0;
const COUNTER_HEIGHT: f32 = 44.0;
const TRACK_GAP: f32 = 8.0;

/// The rows of a track, from the outermost, that its silhouette shows.
const OUTLINED: usize = 64;

/// What the overview was drawn for: the trace and its colours, the place, the theme.
pub type OverviewKey = (Option<(usize, crate::draw::flame_colors::ColorBy, usize)>, Rect, usize);

/// A thin strip of many rows over each other: a colour for each point of its width, the innermost row's.
struct Silhouette {
    lens: Lens,
    columns: Vec<Option<Color32>>,
}

impl Silhouette {
    fn new(lens: Lens) -> Silhouette {
        Silhouette { lens, columns: vec![None; lens.width.ceil().max(0.0) as usize] }
    }

    fn put(&mut self, from: f64, to: f64, color: Color32) {
        let column = |t: f64| (self.lens.x(t) - self.lens.left).max(0.0) as usize;
        let first = column(from).min(self.columns.len());
        let end = column(to).max(first + 1).min(self.columns.len()).max(first);
        self.columns[first..end].fill(Some(color));
    }

    fn shape(&self, band: Rect) -> egui::Shape {
        let mut mesh = egui::Mesh::default();
        let mut x = band.left();
        for same in self.columns.chunk_by(|a, b| a == b) {
            let next = x + same.len() as f32;
            if let Some(color) = same[0] {
                mesh.add_colored_rect(Rect::from_x_y_ranges(x..=next.min(band.right()), band.y_range()), color);
            }
            x = next;
        }
        egui::Shape::mesh(mesh)
    }
}

/// The counters' lines, made once per trace.
#[derive(Default)]
pub struct Counters(Vec<CounterLine>);

impl Counters {
    /// Of a trace.
    pub fn new(counters: &[Counter]) -> Counters {
        Counters(counters.iter().map(CounterLine::new).collect())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Track(usize),
    Counter(usize),
}

/// A track's or counter's place, from the top of all of them.
#[derive(Clone, Copy)]
struct Lane {
    what: What,
    top: f32,
    height: f32,
    open: bool,
}

impl FlameView {
    fn lanes(&self, profile: &Profile) -> Vec<Lane> {
        let mut top = TRACK_GAP / 2.0;
        let mut lanes = Vec::new();
        let mut put = |what, name: &str, full: f32| {
            let open = !self.collapsed.contains(name) || name.is_empty();
            let height = if open { full } else { FLAME_ROW_HEIGHT };
            lanes.push(Lane { what, top, height, open });
            top += height + TRACK_GAP;
        };
        for (i, track) in self.flame(profile).tracks.iter().enumerate() {
            put(What::Track(i), &track.name, track.rows.len() as f32 * FLAME_ROW_HEIGHT);
        }
        if self.mode == Mode::Time {
            for (i, counter) in profile.trace.counters.iter().enumerate() {
                put(What::Counter(i), &counter.name, COUNTER_HEIGHT);
            }
        }
        lanes
    }

    pub(super) fn graph_ui(
        &mut self,
        ui: &mut Ui,
        rect: Rect,
        id: Id,
        profile: &Profile,
        selection: &mut Selection,
        theme: &'static Theme,
    ) {
        let time = self.mode == Mode::Time;
        let gutter = if time { GUTTER } else { PAD };
        let response = ui.interact(rect, id, Sense::click_and_drag());
        let words = self.describe(profile, selection);
        response.widget_info(|| WidgetInfo::labeled(Role::Canvas, true, &words));
        ui.painter().rect_filled(rect, 0.0, theme.surface[0]);
        let plot = rect.with_min_x(rect.left() + gutter).with_max_x(rect.right() - PAD);
        self.follow_selection(profile, selection);
        self.ease(ui);
        self.mark_layers(ui, profile, selection);
        let lens = Lens { window: self.window.shown(), left: plot.left(), width: plot.width() };
        let mut top = rect.top();
        if time {
            self.minimap_ui(ui, plot.with_min_y(top + 4.0).with_max_y(top + MINIMAP_HEIGHT), profile, selection, theme);
            top += MINIMAP_HEIGHT + 2.0;
        }
        let head = plot.with_min_y(top).with_max_y(top + AXIS_HEIGHT);
        top = head.bottom();
        let flags = (time && !self.marks.of(&profile.trace).is_empty())
            .then(|| plot.with_min_y(top).with_max_y(top + FLAGS_HEIGHT));
        top = flags.map_or(top, |f| f.bottom());
        let tracks = plot.with_min_y(top);
        let origin = self.origin(profile, lens);
        axis::time_axis(&ui.painter().with_clip_rect(head.union(tracks)), theme, head, tracks, lens.window, origin);
        let lanes = self.lanes(profile);
        let height = lanes.last().map_or(0.0, |l| l.top + l.height + TRACK_GAP);
        self.reveal_selected(profile, selection, &lanes, tracks.height());
        self.scroll = self.scroll.clamp(0.0, (height - tracks.height()).max(0.0));
        let painter = ui.painter().with_clip_rect(tracks.with_min_x(rect.left()).intersect(ui.clip_rect()));
        if time {
            runs_ui(&painter, theme, profile, lens, tracks);
        }
        let pointer = response.hover_pos().filter(|p| tracks.contains(*p));
        self.pointer_time = response.hover_pos().filter(|p| plot.x_range().contains(p.x)).map(|p| lens.t(p.x));
        let hit = self.tracks_ui(&painter, tracks, profile, selection, theme, lens, &lanes, pointer);
        if time {
            for lane in &lanes {
                self.header_of(ui, rect, tracks, profile, theme, *lane);
            }
            self.range_on_graph(ui, theme, head, tracks, lens, selection.range);
            if let Some(flags) = flags {
                flags_ui(ui, theme, flags, tracks, lens, self.marks.of_mut(&profile.trace));
            }
        }
        if let Some(t) = self.pointer_time {
            axis::pointer_on_axis(ui.painter(), theme, head, tracks, lens.x(t), t - origin, lens.per_point());
        }
        if hit.is_some() {
            selection.hovered = hit.and_then(|h| h.cell.layer);
        }
        self.pointer_input(ui, &response, profile, selection, lens, hit);
        if response.has_focus() {
            ui.painter().rect_stroke(rect, 0.0, Stroke::new(1.0, theme.focus), StrokeKind::Inside);
        }
        if response.dragged() {
            return;
        }
        if let Some(hit) = hit {
            let error = hit.cell.layer.and_then(|l| self.coloring.error_of(l));
            response.on_hover_ui_at_pointer(|ui| tip_ui(ui, theme, profile, &hit, error.as_deref()));
        } else if let Some((i, t)) = pointer.and_then(|p| self.counter_at(&lanes, tracks, p)).zip(self.pointer_time) {
            response.on_hover_ui_at_pointer(|ui| counter_tip(ui, theme, &profile.trace.counters[i], t));
        }
    }

    /// What the canvas shows, for who cannot see it.
    fn describe(&self, profile: &Profile, selection: &Selection) -> String {
        let order = if self.mode == Mode::Time { "in order of time" } else { "merged" };
        let (from, to) = self.window.target();
        let mut words = format!(
            "Flame graph of {} {order}, {} in view",
            format::plural(profile.trace.spans.len(), "span"),
            format::duration(to - from)
        );
        if let Some(layer) = selection.layer.and_then(|l| profile.layer(l)) {
            words.push_str(&format!(", {} selected", layer.name));
        } else if let Some(s) = selection.span.filter(|s| s.index() < profile.trace.spans.len()) {
            words.push_str(&format!(", {} selected", profile.trace.span_name(&profile.trace.spans.get(s.index()))));
        }
        if let Some((a, b)) = selection.range {
            words.push_str(&format!(", a stretch of {} selected", format::duration(b.saturating_sub(a) as f64)));
        }
        if self.search.is_on() {
            words.push_str(&format!(", search: {}", self.search.words(self.mode == Mode::Merged)));
        }
        words
    }

    /// Where the axis begins to count: at the run in view.
    fn origin(&self, profile: &Profile, lens: Lens) -> f64 {
        let run = run_at(profile, lens).filter(|_| self.mode == Mode::Time);
        run.map_or(0.0, |r| profile.trace.runs[r.index()].start_ns as f64)
    }

    /// Goes on finding the layers that stand out in blocks of many cells.
    fn mark_layers(&mut self, ui: &Ui, profile: &Profile, selection: &Selection) {
        let flame = self.flame(profile);
        let key = (address(profile), self.mode == Mode::Time);
        self.found.aim(Id::unique((key, &self.search.query)).value(), || self.search.matched_layers().to_vec());
        self.chosen.aim(Id::unique((key, selection.layer.map(|l| l.0))).value(), || {
            let layers = 0..profile.trace.layers.len();
            layers.map(|l| selection.is_selected(profiler::LayerId(l as u32))).collect()
        });
        let more = self.found.go_on(flame, MARKED_PER_FRAME) | self.chosen.go_on(flame, MARKED_PER_FRAME);
        if more {
            ui.ctx().request_repaint();
        }
    }

    fn tracks_ui(
        &mut self,
        painter: &Painter,
        tracks: Rect,
        profile: &Profile,
        selection: &Selection,
        theme: &'static Theme,
        lens: Lens,
        lanes: &[Lane],
        pointer: Option<Pos2>,
    ) -> Option<Hit> {
        let searching = self.search.is_on();
        let search = &self.search;
        let emphasis = |c: &FlameCell| {
            let matched = searching && search.has(profile, c);
            Emphasis {
                selected: c.layer.is_some_and(|l| selection.is_selected(l)),
                focused: c.span.is_some() && c.span == selection.span,
                lit: matched || c.layer.is_some_and(|l| selection.is_hovered(l)),
                faded: searching && !matched,
            }
        };
        let (found, chosen) = (&self.found, &self.chosen);
        // Only layers are found among many cells: names say nothing there.
        let named = profile.trace.layers.is_empty();
        let merged = |row: &FlameRow, cells: std::ops::Range<usize>| {
            let found = searching && found.any(row, cells.clone());
            let selected = selection.layer.is_some() && chosen.any(row, cells);
            Emphasis { selected, focused: false, lit: found, faded: searching && !found && !named }
        };
        let label = |c: &FlameCell| cell_name(profile, c);
        let coloring = &self.coloring;
        let color = |c: &FlameCell, class| coloring.of(theme, profile, c, class);
        // Only a search for names has to look at the single cells of a block.
        let asked = if searching { 8 } else { 1 };
        let rows = self.flame(profile).tracks.iter().map(|t| t.rows.len()).sum();
        let brush = Brush {
            rows,
            theme,
            lens,
            pointer,
            emphasis: &emphasis,
            asked,
            merged: &merged,
            label: &label,
            color: &color,
        };
        let row_painter = painter.with_clip_rect(tracks.intersect(painter.clip_rect()));
        let mut hit = None;
        let flame = self.flame(profile);
        let mut blocks = std::mem::take(&mut self.blocks);
        for lane in lanes {
            let y = tracks.top() + lane.top - self.scroll;
            if y > tracks.bottom() || y + lane.height < tracks.top() {
                continue;
            }
            match lane.what {
                What::Track(i) if lane.open => {
                    let above = ((tracks.top() - y) / FLAME_ROW_HEIGHT).floor().max(0.0) as usize;
                    let seen = (tracks.height() / FLAME_ROW_HEIGHT).ceil() as usize + 1;
                    for (depth, row) in flame.tracks[i].rows.iter().enumerate().skip(above).take(seen) {
                        let top = y + depth as f32 * FLAME_ROW_HEIGHT;
                        hit = brush.row(&row_painter, row, top, &mut blocks).or(hit);
                    }
                }
                What::Track(i) => {
                    let band = tracks.with_min_y(y + 5.0).with_max_y(y + lane.height - 5.0);
                    let mut columns = Silhouette::new(lens);
                    for row in flame.tracks[i].rows.iter().take(OUTLINED) {
                        self.outline(&mut columns, profile, theme, row, 0.7, &mut blocks);
                    }
                    row_painter.add(columns.shape(band));
                }
                What::Counter(i) => {
                    let band = tracks.with_min_y(y).with_max_y(y + lane.height);
                    if let Some(line) = self.counters.0.get(i) {
                        counter_ui(&row_painter, theme, band, &profile.trace.counters[i], line, lens);
                    }
                }
            }
            if self.mode == Mode::Time {
                let x = tracks.left() - GUTTER..=tracks.right();
                painter.hline(x, (y + lane.height + TRACK_GAP / 2.0).round() - 0.5, theme.line());
            }
        }
        self.blocks = blocks;
        hit
    }

    /// Adds a row to a thin strip: for closed tracks and the overview.
    fn outline(
        &self,
        strip: &mut Silhouette,
        profile: &Profile,
        theme: &Theme,
        row: &FlameRow,
        strength: f32,
        blocks: &mut Vec<crate::draw::flame_row::Block>,
    ) {
        let lens = strip.lens;
        blocks.clear();
        row.blocks(lens.window.0, lens.window.1, 2.0 * lens.per_point(), blocks);
        let named = profile.trace.layers.is_empty();
        for block in blocks.iter() {
            let cell = row.cell(block.longest);
            if cell.layer.is_none() && !named {
                continue;
            }
            let color = self.coloring.of(theme, profile, &cell, block.class);
            let color = theme::mix(theme.surface[1], color, if cell.warmup { 0.4 * strength } else { strength });
            strip.put(block.start, block.end, color);
        }
    }

    /// The name of a lane on its left, which opens and closes it.
    fn header_of(&mut self, ui: &mut Ui, rect: Rect, tracks: Rect, profile: &Profile, theme: &Theme, lane: Lane) {
        let y = tracks.top() + lane.top - self.scroll;
        let whole = Rect::from_x_y_ranges(rect.left()..=tracks.left() - 2.0, y..=y + lane.height);
        let seen = whole.intersect(rect.with_min_y(tracks.top()));
        if !seen.is_positive() {
            return;
        }
        let (name, figure) = match lane.what {
            What::Track(i) => (&profile.flame.tracks[i].name, String::new()),
            What::Counter(i) => (
                &profile.trace.counters[i].name,
                self.counters.0.get(i).map_or(String::new(), |l| l.most_words(&profile.trace.counters[i])),
            ),
        };
        let kind = if matches!(lane.what, What::Track(_)) { "track" } else { "counter" };
        let number = match lane.what {
            What::Track(i) | What::Counter(i) => i,
        };
        let response = ui.interact(seen, ui.scope_id().with(("lane", kind, number)), Sense::click());
        let state = if lane.open { "open" } else { "closed" };
        response.widget_info(|| WidgetInfo::labeled(Role::Button, true, format!("{name}, {kind}, {state}")));
        let painter = ui.painter().with_clip_rect(seen.intersect(ui.clip_rect()));
        let header =
            Header { name, figure: if lane.open { &figure } else { "" }, open: lane.open, hovered: response.hovered() };
        // The name of a long track stays in view while its rows scroll.
        let place = if seen.height() >= FLAME_ROW_HEIGHT { seen } else { whole };
        header_ui(&painter, place, theme, &header);
        let clicked = response.clicked();
        let tip = if lane.open { "Click to close it" } else { "Click to open it" };
        let name = name.clone();
        response.on_hover_text(format!("{name}\n{tip}"));
        if clicked {
            self.toggle_track(&name);
        }
    }

    fn counter_at(&self, lanes: &[Lane], tracks: Rect, at: Pos2) -> Option<usize> {
        lanes.iter().find_map(|lane| match lane.what {
            What::Counter(i) => {
                let y = tracks.top() + lane.top - self.scroll;
                (y..y + lane.height).contains(&at.y).then_some(i)
            }
            What::Track(_) => None,
        })
    }

    /// The selected stretch: shaded, with its length on the axis.
    fn range_on_graph(&self, ui: &Ui, theme: &Theme, head: Rect, tracks: Rect, lens: Lens, range: Option<(u64, u64)>) {
        let Some((a, b)) = range else { return };
        let (x0, x1) = (lens.x(a as f64), lens.x(b as f64));
        if x1 < tracks.left() || x0 > tracks.right() {
            return;
        }
        let painter = ui.painter().with_clip_rect(head.union(tracks).intersect(ui.clip_rect()));
        let band = Rect::from_x_y_ranges(x0..=x1.max(x0 + 1.0), head.top()..=tracks.bottom());
        // What is outside steps back; what is inside keeps its colours.
        let shade = theme.surface[0].gamma_multiply(0.55);
        painter.rect_filled(tracks.with_max_x(band.left()), 0.0, shade);
        painter.rect_filled(tracks.with_min_x(band.right()), 0.0, shade);
        let edge = Stroke::new(1.0, theme.focus);
        painter.vline(x0.round() + 0.5, band.y_range(), edge);
        painter.vline(x1.round() + 0.5, band.y_range(), edge);
        let strip = Rect::from_x_y_ranges(band.x_range(), head.top() + 2.0..=head.bottom() - 2.0).intersect(head);
        painter.rect_filled(strip, CornerRadius::same(2), theme.selection);
        let words = format::duration(b.saturating_sub(a) as f64);
        let text = crate::draw::galley(&painter, &words, theme::caption_figure(), theme.text_strong, f32::INFINITY);
        if text.size().x + 6.0 <= strip.width() {
            painter.galley(strip.center() - text.size() / 2.0, text, theme.text_strong);
        }
    }

    fn minimap_ui(&mut self, ui: &mut Ui, rect: Rect, profile: &Profile, selection: &Selection, theme: &Theme) {
        let flame = &profile.flame;
        let painter = ui.painter().with_clip_rect(rect.intersect(ui.clip_rect()));
        painter.rect_filled(rect, CornerRadius::same(2), theme.surface[1]);
        let whole = Lens { window: flame.range, left: rect.left(), width: rect.width() };
        let key = (self.colored, rect, std::ptr::from_ref(theme).addr());
        if self.overview.as_ref().is_none_or(|(of, _)| *of != key) {
            let mut blocks = std::mem::take(&mut self.blocks);
            let mut strip = Silhouette::new(whole);
            for row in flame.tracks.iter().flat_map(|t| t.rows.iter().take(OUTLINED)) {
                self.outline(&mut strip, profile, theme, row, 0.6, &mut blocks);
            }
            self.blocks = blocks;
            self.overview = Some((key, strip.shape(rect.shrink2(egui::vec2(0.0, 4.0)))));
        }
        if let Some((_, shape)) = &self.overview {
            painter.add(shape.clone());
        }
        self.matches_on_minimap(&painter, rect, profile, theme, whole);
        let (from, to) = self.window.shown();
        let window =
            Rect::from_x_y_ranges(whole.x(from)..=whole.x(to).max(whole.x(from) + 3.0), rect.y_range()).intersect(rect);
        let shade = theme.surface[0].gamma_multiply(0.6);
        painter.rect_filled(rect.with_max_x(window.left()), 0.0, shade);
        painter.rect_filled(rect.with_min_x(window.right()), 0.0, shade);
        if let Some((a, b)) = selection.range {
            let x = whole.x(a as f64)..=whole.x(b as f64).max(whole.x(a as f64) + 2.0);
            painter.rect_filled(Rect::from_x_y_ranges(x, rect.bottom() - 3.0..=rect.bottom()), 0.0, theme.focus);
        }
        for mark in self.marks.of(&profile.trace) {
            painter.vline(whole.x(mark.at as f64), rect.y_range(), Stroke::new(1.0, theme.accent));
        }
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

    /// A tick for every point in which something matches: as many looks as there are points.
    fn matches_on_minimap(&self, painter: &Painter, rect: Rect, profile: &Profile, theme: &Theme, lens: Lens) {
        let Some(found) = self.search.spans().filter(|s| !s.is_empty()) else { return };
        let starts = &profile.trace.spans.start_ns;
        let mut at = 0;
        while let Some(&span) = found.get(at) {
            let x = lens.x(starts[span as usize] as f64).floor();
            painter.vline(x + 0.5, rect.top()..=rect.top() + 4.0, Stroke::new(1.0, theme.text_strong));
            let next = lens.t(x + 2.0);
            at += found[at..].partition_point(|&s| (starts[s as usize] as f64) < next).max(1);
        }
    }

    /// Brings what was selected, here or elsewhere, into the window.
    fn follow_selection(&mut self, profile: &Profile, selection: &Selection) {
        let now = (selection.layer, selection.span);
        if self.followed == now {
            return;
        }
        self.followed = now;
        self.reveal = true;
        if now == (None, None) {
            return;
        }
        let Some((start, end)) = self.extent(profile, selection) else { return };
        let (from, to) = self.window.target();
        if end < from || start > to {
            let center = (start + end) / 2.0;
            self.window.go((center - (to - from) / 2.0, center + (to - from) / 2.0));
        }
    }

    /// Scrolls to the selected span's row, and opens its track.
    fn reveal_selected(&mut self, profile: &Profile, selection: &Selection, lanes: &[Lane], height: f32) {
        if !std::mem::take(&mut self.reveal) || self.mode != Mode::Time {
            return;
        }
        let span = selection.span.or_else(|| profile.span_to_show(selection.layer?));
        let Some(place) = span.and_then(|s| profile.flame.place_of_span(&profile.trace, s)) else { return };
        let Some(lane) = lanes.iter().find(|l| l.what == What::Track(place.track)) else { return };
        let top = if lane.open { lane.top + place.row as f32 * FLAME_ROW_HEIGHT } else { lane.top };
        if top < self.scroll || top + FLAME_ROW_HEIGHT > self.scroll + height {
            self.scroll = top - height / 2.0;
        }
    }
}
