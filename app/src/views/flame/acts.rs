//! What the flame graph can be asked for: by key, by name, and by its head's buttons alike.

use egui::{Context, Event, EventFilter, Id, Key, Modifiers, Popup, Rect, Ui};
use profiler::{LayerId, SpanId, Spans};

use super::marks::Mark;
use super::{FlameView, Mode};
use crate::draw::flame_colors::ColorBy;
use crate::draw::flame_paint::neighbour;
use crate::view::{Command, Preferences, Profile, Selection};

const fn c(id: &'static str, title: &'static str, keys: &'static str) -> Command {
    Command { id, title, keys }
}

/// Everything by name, in the order of the help.
pub const COMMANDS: &[Command] = &[
    c("order-time", "Order spans by time", "1"),
    c("order-merged", "Merge spans, longest on the left", "2"),
    c("order-sandwich", "Sandwich: callers and callees of a name", "3"),
    c("zoom-in", "Zoom in", "W"),
    c("zoom-out", "Zoom out", "S"),
    c("pan-left", "Pan to the left", "A"),
    c("pan-right", "Pan to the right", "D"),
    c("fit-all", "Show the whole trace", "Home"),
    c("typical-run", "Show the typical run", "T"),
    c("focus", "Centre the selection, then fit it", "F"),
    c("next", "Next span of the track", "."),
    c("previous", "Previous span of the track", ","),
    c("sibling-next", "Next span beside this one", "Right"),
    c("sibling-previous", "Previous span beside this one", "Left"),
    c("parent", "Span around this one", "Up"),
    c("child", "First span inside this one", "Down"),
    c("search", "Search the flame graph", "/"),
    c("match-next", "Next match", "Enter"),
    c("match-previous", "Previous match", "Shift+Enter"),
    c("mark", "Mark the selected span or the time at the pointer", "M"),
    c("mark-extent", "Mark the extent of the selection", "Shift+M"),
    c("marks-clear", "Remove all marks", ""),
    c("clear", "Clear selection, range and search", "Esc"),
    c("range-run", "Select the time of the run in view", "R"),
    c("range-view", "Select the time in view", "Shift+R"),
    c("range-op", "Selected time by operator", ""),
    c("range-scope", "Selected time by scope", ""),
    c("range-layer", "Selected time by layer", ""),
    c("range-track", "Selected time by track", ""),
    c("copy-csv", "Copy the selected time's table as CSV", ""),
    c("copy-markdown", "Copy the selected time's table as Markdown", ""),
    c("color-class", "Colour by op class", ""),
    c("color-scope", "Colour by scope", ""),
    c("color-duration", "Colour by duration", ""),
    c("color-error", "Colour by error", ""),
    c("collapse", "Collapse or expand the selected span's track", "C"),
    c("collapse-all", "Collapse all tracks", ""),
    c("expand-all", "Expand all tracks", ""),
    c("scroll-up", "Scroll the tracks up", "Page up"),
    c("scroll-down", "Scroll the tracks down", "Page down"),
];

/// What an action works on.
pub struct Site<'a, 'b> {
    pub ctx: &'a Context,
    pub profile: &'a Profile,
    pub selection: &'b mut Selection,
    pub preferences: &'b mut Preferences,
}

/// The letters that move go by their place on the keyboard, all else by what it is called.
fn by_key(key: Key, physical: Option<Key>, modifiers: Modifiers) -> Option<&'static str> {
    if modifiers.alt || modifiers.ctrl || modifiers.command {
        return None;
    }
    let moved = match physical.unwrap_or(key) {
        _ if modifiers.shift => None,
        Key::W => Some("zoom-in"),
        Key::S => Some("zoom-out"),
        Key::A => Some("pan-left"),
        Key::D => Some("pan-right"),
        _ => None,
    };
    moved.or(match (key, modifiers.shift) {
        (Key::Num1, false) => Some("order-time"),
        (Key::Num2, false) => Some("order-merged"),
        (Key::Num3, false) => Some("order-sandwich"),
        (Key::F, false) => Some("focus"),
        (Key::T, false) => Some("typical-run"),
        (Key::Home, false) => Some("fit-all"),
        (Key::Period, false) => Some("next"),
        (Key::Comma, false) => Some("previous"),
        // Other layouts have it above a digit.
        (Key::Slash, _) => Some("search"),
        (Key::Enter, false) => Some("match-next"),
        (Key::Enter, true) => Some("match-previous"),
        (Key::M, false) => Some("mark"),
        (Key::M, true) => Some("mark-extent"),
        (Key::R, false) => Some("range-run"),
        (Key::R, true) => Some("range-view"),
        (Key::C, false) => Some("collapse"),
        (Key::Escape, false) => Some("clear"),
        (Key::ArrowRight, false) => Some("sibling-next"),
        (Key::ArrowLeft, false) => Some("sibling-previous"),
        (Key::ArrowUp, false) => Some("parent"),
        (Key::ArrowDown, false) => Some("child"),
        (Key::PageUp, false) => Some("scroll-up"),
        (Key::PageDown, false) => Some("scroll-down"),
        _ => None,
    })
}

/// What the keys of this frame ask for. They count while the graph has the focus, and while the pointer is over the panel and
/// nobody types; what walks or answers is left to whichever widget has the focus.
pub fn asked_by_keys(ui: &Ui, graph: Id, panel: Rect) -> Vec<&'static str> {
    const LEFT_TO_OTHERS: [Key; 10] = [
        Key::ArrowUp,
        Key::ArrowDown,
        Key::ArrowLeft,
        Key::ArrowRight,
        Key::Enter,
        Key::Escape,
        Key::Home,
        Key::End,
        Key::PageUp,
        Key::PageDown,
    ];
    let ctx = ui.ctx();
    let focused = ui.memory(|m| m.focused());
    let over = ui.rect_contains_pointer(panel) && !ctx.text_edit_focused() && !Popup::is_any_open(ctx);
    if focused != Some(graph) && !over {
        return Vec::new();
    }
    if focused == Some(graph) {
        let filter = EventFilter { horizontal_arrows: true, vertical_arrows: true, escape: true, tab: false };
        ui.memory_mut(|m| m.set_focus_lock_filter(graph, filter));
    }
    let ours = focused.is_none_or(|f| f == graph);
    ui.input(|i| {
        let keys = i.events.iter().filter_map(|e| match e {
            Event::Key { key, physical_key, pressed: true, modifiers, .. } if ours || !LEFT_TO_OTHERS.contains(key) => {
                by_key(*key, *physical_key, *modifiers)
            }
            _ => None,
        });
        keys.collect()
    })
}

impl FlameView {
    /// Carries out one of [`COMMANDS`].
    pub(super) fn act(&mut self, id: &str, site: &mut Site<'_, '_>) {
        let (profile, (from, to)) = (site.profile, self.window.target());
        let anchor = self.pointer_time.filter(|t| (from..to).contains(t)).unwrap_or((from + to) / 2.0);
        match id {
            "order-time" => self.mode = Mode::Time,
            "order-merged" => self.mode = Mode::Merged,
            "order-sandwich" => self.mode = Mode::Sandwich,
            "zoom-in" => self.window.zoom(1.5, anchor),
            "zoom-out" => self.window.zoom(1.0 / 1.5, anchor),
            "pan-left" => self.window.pan(-0.2 * (to - from)),
            "pan-right" => self.window.pan(0.2 * (to - from)),
            "fit-all" => self.window.fit(self.whole(profile)),
            "typical-run" => {
                self.mode = Mode::Time;
                self.settle(site.ctx, profile, site.selection);
                self.show_run(profile);
            }
            "focus" => self.focus(site),
            "next" => self.walk(site, true),
            "previous" => self.walk(site, false),
            "sibling-next" => self.sibling(site, true),
            "sibling-previous" => self.sibling(site, false),
            "parent" => {
                let span = self.selected_span(site).and_then(|s| profile.trace.spans.parent[s.index()]);
                self.select_span(site, span);
            }
            "child" => {
                let spans = &profile.trace.spans;
                let child = self.selected_span(site).filter(|_| self.mode == Mode::Time).and_then(|s| {
                    // Children follow their parents.
                    let inside = (s.index() + 1..spans.len()).take_while(|&i| spans.track[i] == spans.track[s.index()]);
                    let inside = inside.take_while(|&i| spans.start_ns[i] <= spans.end_ns[s.index()]);
                    inside.into_iter().find(|&i| spans.parent[i] == Some(s)).map(|i| SpanId(i as u32))
                });
                self.select_span(site, child);
            }
            "search" => self.focus_search = true,
            "match-next" => self.step_match(site, true),
            "match-previous" => self.step_match(site, false),
            "mark" => {
                let mark = match self.selected_span(site).filter(|_| self.mode == Mode::Time) {
                    Some(s) => {
                        Mark { at: profile.trace.spans.start_ns[s.index()], until: None, note: name(profile, s) }
                    }
                    None => Mark { at: anchor.max(0.0) as u64, until: None, note: String::new() },
                };
                self.mark_in(site, mark);
            }
            "mark-extent" => {
                let span = self.selected_span(site).filter(|_| self.mode == Mode::Time);
                let of_span = span.map(|s| {
                    let s_ = profile.trace.spans.get(s.index());
                    Mark { at: s_.start_ns, until: Some(s_.end_ns), note: name(profile, s) }
                });
                let of_range = site.selection.range.map(|(a, b)| Mark { at: a, until: Some(b), note: String::new() });
                if let Some(mark) = of_range.or(of_span) {
                    self.mark_in(site, mark);
                }
            }
            "marks-clear" => self.marks.of_mut(&profile.trace).clear(),
            "clear" => {
                site.selection.select(None);
                site.selection.range = None;
                self.search.query.clear();
                self.followed = (None, None);
                self.drag = None;
            }
            "range-run" => {
                let center = ((from + to) / 2.0).max(0.0) as u64;
                let run = profile.trace.runs.iter().find(|r| (r.start_ns..=r.end_ns).contains(&center));
                let run = run.or(profile.typical_run.and_then(|r| profile.trace.runs.get(r.index())));
                self.mode = Mode::Time;
                site.selection.range = run.map(|r| (r.start_ns, r.end_ns)).or(site.selection.range);
            }
            "range-view" if self.mode == Mode::Time => {
                site.selection.range = Some((from.max(0.0) as u64, to.max(0.0) as u64));
            }
            "range-op" => self.range.choose(0),
            "range-scope" => self.range.choose(1),
            "range-layer" => self.range.choose(2),
            "range-track" => self.range.choose(3),
            "copy-csv" => site.ctx.copy_text(self.range.csv()),
            "copy-markdown" => site.ctx.copy_text(self.range.markdown()),
            "color-class" => site.preferences.flame_colors = ColorBy::Class,
            "color-scope" => site.preferences.flame_colors = ColorBy::Scope,
            "color-duration" => site.preferences.flame_colors = ColorBy::Duration,
            "color-error" => site.preferences.flame_colors = ColorBy::Error,
            "collapse" => {
                let track = self.selected_span(site).map(|s| profile.trace.spans.track[s.index()]);
                let track = track.or(profile.flame.tracks.first().map(|t| t.id));
                if let Some(name) = profile.flame.tracks.iter().find(|t| Some(t.id) == track).map(|t| &t.name) {
                    self.toggle_track(name);
                }
            }
            "collapse-all" => {
                let tracks = profile.flame.tracks.iter().map(|t| t.name.clone());
                self.collapsed = tracks.chain(profile.trace.counters.iter().map(|c| c.name.clone())).collect();
            }
            "expand-all" => self.collapsed.clear(),
            "scroll-up" => self.scroll -= 160.0,
            "scroll-down" => self.scroll += 160.0,
            _ => {}
        }
    }

    /// Opens or closes a track or counter.
    pub(super) fn toggle_track(&mut self, name: &str) {
        if !self.collapsed.remove(name) {
            self.collapsed.insert(name.to_owned());
        }
    }

    /// The span that was clicked, else the one that stands for the selected layer.
    fn selected_span(&self, site: &Site<'_, '_>) -> Option<SpanId> {
        let known = site.selection.span.filter(|s| s.index() < site.profile.trace.spans.len());
        known.or_else(|| site.profile.span_to_show(site.selection.layer?))
    }

    pub(super) fn select_span(&mut self, site: &mut Site<'_, '_>, span: Option<SpanId>) {
        let Some(span) = span.filter(|s| s.index() < site.profile.trace.spans.len()) else { return };
        site.selection.select(site.profile.trace.spans.layer[span.index()]);
        site.selection.span = Some(span);
    }

    /// Start and end of what is selected: the span or the layer's cell, else the range.
    pub(super) fn extent(&self, profile: &Profile, selection: &Selection) -> Option<(f64, f64)> {
        let flame = self.flame(profile);
        let place = match self.mode {
            Mode::Time => {
                let span = selection.span.or_else(|| profile.span_to_show(selection.layer?));
                span.and_then(|s| flame.place_of_span(&profile.trace, s))
            }
            Mode::Merged | Mode::Sandwich => {
                let node = selection.layer.and_then(|l| profile.scopes.of_layer.get(l.index()));
                node.and_then(|&n| flame.place_of_node(&profile.scopes, n))
            }
        };
        let range = selection.range.filter(|_| self.mode == Mode::Time).map(|(a, b)| (a as f64, b as f64));
        place.and_then(|p| flame.cell(p)).map(|c| (c.start, c.end)).or(range)
    }

    /// Centres the selection; asked again, fits it.
    fn focus(&mut self, site: &Site<'_, '_>) {
        let Some(extent) = self.extent(site.profile, site.selection) else { return };
        let before = self.window.target();
        if self.centred == Some((extent, before)) {
            self.window.fit(extent);
            self.centred = None;
            return;
        }
        let (half, middle) = ((before.1 - before.0) / 2.0, (extent.0 + extent.1) / 2.0);
        self.window.go((middle - half, middle + half));
        self.centred = Some((extent, self.window.target()));
        self.reveal = true;
    }

    /// The next or previous span of the selected one's track, at whatever depth.
    fn walk(&mut self, site: &mut Site<'_, '_>, forward: bool) {
        if self.mode != Mode::Time {
            return self.sibling(site, forward);
        }
        let spans = &site.profile.trace.spans;
        let Some(now) = self.selected_span(site).map(SpanId::index) else { return self.first(site) };
        let same = |i: &usize| spans.track[*i] == spans.track[now];
        let next = if forward { (now + 1..spans.len()).find(same) } else { (0..now).rev().find(same) };
        self.select_span(site, next.map(|i| SpanId(i as u32)));
    }

    /// The next or previous span within the same parent; in merged order, the next or previous layer.
    fn sibling(&mut self, site: &mut Site<'_, '_>, forward: bool) {
        if self.mode != Mode::Time {
            let at = self.extent(site.profile, site.selection).map_or(f64::NEG_INFINITY, |e| e.0);
            let rows = self.flame(site.profile).tracks.first().map_or(&[][..], |t| &t.rows);
            if let Some(cell) = neighbour(rows, at, forward) {
                site.selection.select(cell.layer);
            }
            return;
        }
        let spans = &site.profile.trace.spans;
        let Some(now) = self.selected_span(site).map(SpanId::index) else { return self.first(site) };
        let beside = |i: &usize| spans.parent[*i] == spans.parent[now];
        let near = |i: &usize| spans.track[*i] == spans.track[now] && Some(SpanId(*i as u32)) != spans.parent[now];
        let next = if forward {
            (now + 1..spans.len()).take_while(near).find(beside)
        } else {
            (0..now).rev().take_while(near).find(beside)
        };
        self.select_span(site, next.map(|i| SpanId(i as u32)));
    }

    /// The first layer's span in the window, else the first span.
    fn first(&mut self, site: &mut Site<'_, '_>) {
        let (from, to) = self.window.target();
        let tracks = &self.flame(site.profile).tracks;
        let layer = tracks.iter().filter_map(|t| neighbour(&t.rows, from, true)).find(|c| c.start < to);
        let span = layer.and_then(|c| c.span).or_else(|| first_in(&site.profile.trace.spans, from));
        self.select_span(site, span);
    }

    fn step_match(&mut self, site: &mut Site<'_, '_>, forward: bool) {
        if !self.search.is_on() {
            return;
        }
        if self.mode == Mode::Time {
            let from = self.window.target().0;
            let next = self.search.step(site.profile, forward, site.selection.span, from);
            self.select_span(site, next);
        } else if let Some(layer) = self.search.step_layer(forward, site.selection.layer) {
            site.selection.select(Some(layer));
        }
    }

    fn mark_in(&mut self, site: &Site<'_, '_>, mark: Mark) {
        self.mode = Mode::Time;
        self.marks.toggle(&site.profile.trace, mark);
    }
}

fn first_in(spans: &Spans, from: f64) -> Option<SpanId> {
    let i = (0..spans.len()).find(|&i| spans.start_ns[i] as f64 >= from);
    i.or(if spans.is_empty() { None } else { Some(0) }).map(|i| SpanId(i as u32))
}

fn name(profile: &Profile, span: SpanId) -> String {
    let s = profile.trace.spans.get(span.index());
    let label = s.layer.and_then(|l: LayerId| profile.labels.get(l.index()));
    let name = label.map_or_else(|| profile.trace.span_name(&s), String::as_str);
    name.rsplit('/').next().unwrap_or(name).to_owned()
}
