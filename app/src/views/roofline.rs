//! How far each layer is from what its device can do: dots under roofs, and a list of what binds whom.

use std::sync::Arc;

use egui::{Align2, EventFilter, Key, Rect, RichText, Role, Sense, Ui, WidgetInfo, pos2, vec2};
use profiler::{Bound, Ceilings, LayerId, LayerRoof, OpClass};

use crate::draw::roofline_plot::{self as plot, Dot, Lens};
use crate::draw::table::{Cell, Column, Row, Sort, Table};
use crate::draw::{empty, hairline, key, panel_head, swatch, text_in};
use crate::format::{self, UNKNOWN};
use crate::theme::{self, GRID, PAD, Theme};
use crate::view::{Action, Command, Profile, Selection, View, ViewCx};

/// Below this width the list stands under the picture.
const WIDE: f32 = 720.0;

const COLUMNS: &[Column] = &[
    Column::text("Layer", 140.0, 1.0),
    Column::text("Bound by", 92.0, 0.0).tip(
        "What its ceiling is: memory (the bytes that it moves) or compute (its arithmetic). A cache in brackets: it moves bytes faster than main memory could, so it is held against that cache's roof.",
    ),
    Column::figure("Of ceiling", 76.0).tip("The time at its ceiling over its median time: 100% can't be beaten."),
    Column::figure("Saving", 76.0).tip("Its median time minus the time at its ceiling, per run."),
];

const COMMANDS: &[Command] = &[
    Command { id: "measure", title: "Measure the ceilings of this device", keys: "" },
    Command { id: "fit", title: "Fit the roofline to its layers", keys: "F" },
    Command { id: "zoom-in", title: "Zoom into the roofline", keys: "+" },
    Command { id: "zoom-out", title: "Zoom out of the roofline", keys: "−" },
];

/// What the layout below was made from: the trace and the ceilings by address and time.
type Made = (usize, Option<u64>);

/// The roofline's panel.
#[derive(Default)]
pub struct RooflineView {
    made: Option<Made>,
    roofs: Vec<LayerRoof>,
    /// Rows of the list: indices into `roofs`.
    order: Vec<usize>,
    ordered_by: Option<Sort>,
    sort: Option<Sort>,
    /// As zoomed and panned; `None` shows everything.
    lens: Option<Lens>,
    dots: Vec<Dot>,
    drawn: Option<(Lens, Rect)>,
    /// The selection that the list has scrolled to.
    followed: Option<LayerId>,
}

impl View for RooflineView {
    fn id(&self) -> &'static str {
        "roofline"
    }

    fn title(&self) -> &'static str {
        "Roofline"
    }

    fn commands(&self) -> &'static [Command] {
        COMMANDS
    }

    fn command(&mut self, id: &str, cx: &mut ViewCx<'_>) {
        match id {
            "measure" => cx.actions.push(Action::MeasureCeilings),
            "fit" => self.lens = None,
            "zoom-in" => self.zoom(1.5),
            "zoom-out" => self.zoom(1.0 / 1.5),
            _ => {}
        }
    }

    fn ui(&mut self, ui: &mut Ui, cx: &mut ViewCx<'_>) {
        let theme = cx.theme;
        let Some(profile) = cx.profile.filter(|p| !p.stats.is_empty()) else {
            let (title, text, action) = match (cx.profile, cx.model) {
                (Some(_), _) => ("No layer was measured", "This trace holds no times of layers.", None),
                (None, Some(_)) => {
                    ("Not run yet", "A run fills this: each layer against what the device can do.", Some("Run"))
                }
                (None, None) => ("Nothing open", "Open a model and run it, or open a saved trace.", Some("Open…")),
            };
            if empty(ui, theme, title, text, action) {
                cx.actions.push(if cx.model.is_some() { Action::Run } else { Action::OpenDialog });
            }
            return;
        };
        let measured = cx.facts.ceilings.clone();
        let own = Ceilings::of(&profile.trace, measured.as_deref());
        self.settle(profile, own.as_ref().ok().copied());
        self.head_ui(ui, theme, profile, own.as_ref().ok().copied(), cx.actions);
        match &own {
            Ok(c) => ceilings_ui(ui, theme, c),
            Err(why) => {
                egui::Frame::new().inner_margin(egui::Margin::symmetric(PAD as i8, GRID as i8)).show(ui, |ui| {
                    let words = format!("{why} Until then layers stand without roofs.");
                    ui.add(egui::Label::new(RichText::new(words).color(theme.text_weak)).wrap());
                });
                hairline(ui, theme);
            }
        }
        let space = ui.available_rect_before_wrap();
        let (picture, list) = if space.width() >= WIDE {
            space.split_left_right_at_x(space.right() - (space.width() * 0.42).clamp(360.0, 520.0))
        } else {
            space.split_top_bottom_at_y(space.top() + space.height() * 0.6)
        };
        let own = own.ok();
        self.plot_ui(ui, picture, profile, own, cx.selection, theme);
        let mut ui = ui.new_child(egui::UiBuilder::new().max_rect(list));
        self.list_ui(&mut ui, profile, own, cx.selection, theme);
    }
}

impl RooflineView {
    fn zoom(&mut self, factor: f64) {
        if let Some((lens, _)) = self.drawn {
            self.lens = Some(lens.zoomed(factor, (0.5, 0.5)));
        }
    }

    /// Places every layer, once per trace and ceilings.
    fn settle(&mut self, profile: &Profile, ceilings: Option<&Ceilings>) {
        let made = (Arc::as_ptr(&profile.trace).addr(), ceilings.map(|c| c.measured_unix_s));
        if self.made != Some(made) {
            if self.made.is_none_or(|m| m.0 != made.0) {
                self.lens = None;
            }
            self.made = Some(made);
            self.roofs = profiler::roofline(&profile.trace, &profile.stats, ceilings);
            (self.ordered_by, self.drawn, self.followed) = (None, None, None);
        }
        let sort = *self.sort.get_or_insert(Sort { column: 3, descending: true });
        if self.ordered_by != Some(sort) {
            self.ordered_by = Some(sort);
            let roofs = &self.roofs;
            let mut order: Vec<usize> = (0..roofs.len()).collect();
            let figure = |r: &LayerRoof| match sort.column {
                2 => r.of_ceiling,
                // Without ceilings the longest come first.
                _ => r.saving_ns.or(Some(-1.0 / r.time_ns.max(1.0))),
            };
            order.sort_by(|&a, &b| {
                let (a, b) = (&roofs[a], &roofs[b]);
                let by = match sort.column {
                    0 => label(profile, a.layer).cmp(label(profile, b.layer)),
                    1 => a.bound.cmp(&b.bound),
                    // What is unknown comes last in either order.
                    _ => match (figure(a), figure(b)) {
                        (Some(a), Some(b)) => a.total_cmp(&b),
                        (a, b) if sort.descending => a.is_some().cmp(&b.is_some()),
                        (a, b) => b.is_some().cmp(&a.is_some()),
                    },
                };
                if sort.descending { by.reverse() } else { by }
            });
            self.order = order;
        }
    }

    fn head_ui(
        &mut self,
        ui: &mut Ui,
        theme: &Theme,
        profile: &Profile,
        own: Option<&Ceilings>,
        actions: &mut Vec<Action>,
    ) {
        panel_head(ui, theme, |ui| {
            let (words, tip) = match own {
                Some(_) => {
                    ("Measure again", "Runs the probes of arithmetic and memory on this device again: a few seconds")
                }
                None => ("Measure ceilings", "Runs probes of arithmetic and memory on this device: a few seconds"),
            };
            if ui.button(words).on_hover_text(tip).clicked() {
                actions.push(Action::MeasureCeilings);
            }
            if self.lens.is_some() && ui.button("Fit").on_hover_text("Show all layers and roofs (F)").clicked() {
                self.lens = None;
            }
            ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
                for class in profile.classes().into_iter().rev() {
                    key(ui, theme, theme.class(class), class.label());
                }
            });
        });
    }

    fn plot_ui(
        &mut self,
        ui: &mut Ui,
        rect: Rect,
        profile: &Profile,
        own: Option<&Ceilings>,
        selection: &mut Selection,
        theme: &Theme,
    ) {
        let response = ui.interact(rect, ui.scope_id().with("plot"), Sense::click_and_drag());
        response.widget_info(|| {
            let words = format!("Roofline of {}", format::plural(self.roofs.len(), "layer"));
            WidgetInfo::labeled(Role::Canvas, true, words)
        });
        let area = plot::plot_rect(rect);
        let mut lens = self.lens.unwrap_or_else(|| Lens::fit(&self.roofs, own));
        let before = lens;
        if response.dragged() {
            lens = lens.panned(response.drag_delta(), area);
        }
        if let Some(p) = response.hover_pos() {
            let (zoom, scroll) = ui.input(|i| (i.zoom_delta(), i.smooth_scroll_delta()));
            let factor = f64::from(zoom) * (f64::from(scroll.y) * 0.005).exp();
            if (factor - 1.0).abs() > 1e-6 {
                let anchor =
                    (f64::from((p.x - area.left()) / area.width()), f64::from((area.bottom() - p.y) / area.height()));
                lens = lens.zoomed(factor, anchor);
            }
        }
        if lens != before {
            self.lens = Some(lens);
        }
        if self.drawn != Some((lens, area)) {
            let class = |l: LayerId| profile.layer(l).map_or(OpClass::Other, |l| l.class);
            self.dots = plot::dots(&self.roofs, class, lens, area);
            self.drawn = Some((lens, area));
        }
        let painter = ui.painter().with_clip_rect(rect.intersect(ui.clip_rect()));
        plot::axes(&painter, theme, rect, area, lens);
        let mut labels = Vec::new();
        if let Some(c) = own {
            let mut used: Vec<&str> =
                self.roofs.iter().filter(|r| r.intensity.is_some()).map(|r| r.dtype).take(4096).collect();
            used.sort_unstable();
            used.dedup();
            labels = plot::roofs(&painter, theme, area, lens, c, &used);
        }
        let inside = painter.with_clip_rect(area.intersect(painter.clip_rect()));
        plot::paint_dots(&inside, theme, &self.dots, |l| (selection.is_selected(l), selection.is_hovered(l)));
        plot::paint_labels(&inside, theme, &labels);
        if self.dots.is_empty() && !self.roofs.iter().any(|r| r.intensity.is_some()) {
            let words = "No layer states both its operations and its bytes.";
            text_in(&painter, area, Align2::CENTER_CENTER, words, theme::sans(), theme.text_weak);
        }
        if response.has_focus() {
            painter.rect_stroke(area, 0.0, egui::Stroke::new(1.0, theme.focus), egui::StrokeKind::Inside);
        }
        self.keys(ui, &response, selection);
        let hit = response.hover_pos().and_then(|p| plot::hit(&self.dots, p)).copied();
        if response.double_clicked() && hit.is_none() {
            self.lens = None;
        }
        if response.clicked() {
            response.request_focus();
            selection.select(hit.map(|d| d.layer));
        }
        if let Some(dot) = hit {
            selection.hovered = Some(dot.layer);
            if let Some(roof) = self.roof_of(dot.layer) {
                response.on_hover_ui_at_pointer(|ui| {
                    tip(ui, theme, profile, roof, own);
                    if dot.count > 1 {
                        let more = format!("and {} in the same place", format::plural(dot.count - 1, "shorter layer"));
                        ui.label(RichText::new(more).color(theme.text_weak));
                    }
                });
            }
        }
    }

    fn roof_of(&self, layer: LayerId) -> Option<&LayerRoof> {
        // They are in layer order.
        self.roofs.binary_search_by_key(&layer, |r| r.layer).ok().map(|i| &self.roofs[i])
    }

    /// Arrows walk from dot to dot: left and right by intensity, up and down by rate.
    fn keys(&mut self, ui: &Ui, response: &egui::Response, selection: &mut Selection) {
        if !response.has_focus() {
            return;
        }
        let filter = EventFilter { vertical_arrows: true, horizontal_arrows: true, escape: true, tab: false };
        ui.memory_mut(|m| m.set_focus_lock_filter(response.id, filter));
        let pressed = |key| ui.input(|i| i.key_pressed(key));
        for (key, upright, forward) in [
            (Key::ArrowRight, false, true),
            (Key::ArrowLeft, false, false),
            (Key::ArrowUp, true, true),
            (Key::ArrowDown, true, false),
        ] {
            if pressed(key) {
                self.walk(upright, forward, selection);
            }
        }
        if pressed(Key::F) {
            self.lens = None;
        }
        if pressed(Key::Plus) || pressed(Key::Equals) {
            self.zoom(1.5);
        }
        if pressed(Key::Minus) {
            self.zoom(1.0 / 1.5);
        }
        if pressed(Key::Escape) {
            selection.select(None);
        }
    }

    fn walk(&self, upright: bool, forward: bool, selection: &mut Selection) {
        let place = |r: &LayerRoof| {
            let (x, y) = r.intensity.zip(r.flop_per_s)?;
            Some((if upright { y } else { x }, r.layer))
        };
        let sign = if forward { 1.0 } else { -1.0 };
        let order = |a: &(f64, LayerId), b: &(f64, LayerId)| (sign * a.0).total_cmp(&(sign * b.0)).then(a.1.cmp(&b.1));
        let now = selection.layer.and_then(|l| self.roof_of(l)).and_then(place);
        let places = self.roofs.iter().filter_map(place);
        let next = places.filter(|p| now.is_none_or(|now| order(p, &now).is_gt())).min_by(order);
        if let Some((_, layer)) = next {
            selection.select(Some(layer));
        }
    }

    fn list_ui(
        &mut self,
        ui: &mut Ui,
        profile: &Profile,
        ceilings: Option<&Ceilings>,
        selection: &mut Selection,
        theme: &Theme,
    ) {
        let (roofs, order) = (&self.roofs, &self.order);
        let moved = selection.layer.filter(|l| self.followed != Some(*l));
        let scroll_to = moved.and_then(|l| order.iter().position(|&i| roofs[i].layer == l));
        let of = |row: usize| &roofs[order[row]];
        let table = Table { id: "ceilings", columns: COLUMNS, rows: order.len(), scroll_to, totals: false };
        let row = |i: usize| {
            let r = of(i);
            Row {
                selected: selection.is_selected(r.layer),
                lit: selection.is_hovered(r.layer),
                label: format!("{}, bound by {}, {}", label(profile, r.layer), r.bound.label(), of_ceiling(r)),
            }
        };
        let mut sort = self.sort.unwrap_or(Sort { column: 3, descending: true });
        let outcome = table.show(ui, theme, Some(&mut sort), row, |cell, i, column| fill(cell, profile, of(i), column));
        self.sort = Some(sort);
        self.followed = selection.layer;
        if let Some(i) = outcome.chosen {
            let layer = of(i).layer;
            selection.select(Some(layer));
            self.followed = Some(layer);
        }
        if let Some((i, _, response)) = outcome.hovered {
            selection.hovered = Some(of(i).layer);
            response.on_hover_ui_at_pointer(|ui| tip(ui, theme, profile, of(i), ceilings));
        }
    }
}

fn label(profile: &Profile, layer: LayerId) -> &str {
    profile.labels.get(layer.index()).map_or(UNKNOWN, |l| l)
}

fn of_ceiling(r: &LayerRoof) -> String {
    match r.of_ceiling {
        Some(_) if r.above_all => ">100%".to_owned(),
        Some(share) => format::percent(share),
        None => UNKNOWN.to_owned(),
    }
}

fn fill(cell: &Cell<'_>, profile: &Profile, r: &LayerRoof, column: usize) {
    let theme = cell.theme;
    match column {
        0 => {
            let class = profile.layer(r.layer).map_or(OpClass::Other, |l| l.class);
            swatch(&cell.painter, pos2(cell.rect.left() + 4.0, cell.rect.center().y), theme.class(class));
            let rest = cell.rect.with_min_x(cell.rect.left() + 14.0);
            let name = label(profile, r.layer);
            // The end of a path tells layers apart: give that the room.
            let fits = crate::draw::galley(&cell.painter, name, theme::sans(), theme.text, rest.width());
            let shown = if fits.elided {
                name.rsplit('/').take(3).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("/")
            } else {
                name.to_owned()
            };
            text_in(&cell.painter, rest, Align2::LEFT_CENTER, &shown, theme::sans(), theme.text);
        }
        1 => {
            let (words, color) = match r.bound {
                Bound::Unknown => (UNKNOWN.to_owned(), theme.text_weak),
                Bound::Memory if r.served_from.is_some() => ("memory (cache)".to_owned(), theme.text),
                bound => (bound.label().to_owned(), theme.text),
            };
            cell.text(&words, color);
        }
        2 => cell.figure(&of_ceiling(r), if r.above_all { theme.warn } else { theme.text }),
        _ => cell.figure(&r.saving_ns.map_or(UNKNOWN.to_owned(), format::duration), theme.text_strong),
    }
}

/// Every figure of one layer.
fn tip(ui: &mut Ui, theme: &Theme, profile: &Profile, r: &LayerRoof, ceilings: Option<&Ceilings>) {
    ui.set_max_width(360.0);
    ui.label(RichText::new(label(profile, r.layer)).font(theme::head()).color(theme.text_strong));
    if let Some(layer) = profile.layer(r.layer) {
        ui.label(RichText::new(format!("{}, {}", layer.op, r.dtype)).color(theme.text_weak));
    }
    let figure = |v: Option<f64>, write: &dyn Fn(f64) -> String| v.map_or(UNKNOWN.to_owned(), write);
    let rows = [
        ("Median time", format!("{} ({} of all layers)", format::duration(r.time_ns), format::percent(r.share))),
        ("Work", format!("{}, {}", figure(r.flops, &format::flops), figure(r.bytes, &format::bytes))),
        ("Intensity", figure(r.intensity, &|v| format!("{} FLOP per byte", format::number(v)))),
        (
            "Reaches",
            format!("{}, {}", figure(r.flop_per_s, &format::flops_rate), figure(r.bytes_per_s, &format::bytes_rate)),
        ),
        ("At its ceiling", figure(r.attainable_ns, &format::duration)),
        ("Of ceiling", of_ceiling(r)),
        ("Saving", figure(r.saving_ns, &format::duration)),
    ];
    egui::Grid::new("figures").num_columns(2).spacing(vec2(12.0, 2.0)).show(ui, |ui| {
        for (name, value) in rows {
            ui.label(RichText::new(name).color(theme.text_weak));
            ui.label(RichText::new(value).font(theme::figure()).color(theme.text));
            ui.end_row();
        }
    });
    let words = match (r.bound, r.served_from) {
        _ if r.above_all => {
            "Faster than any roof that was measured: its work is counted too high, or the probes were disturbed."
                .to_owned()
        }
        (Bound::Unknown, _) => format!("Unknown: {}.", r.why_unknown),
        (_, Some(i)) => {
            let cache = ceilings.and_then(|c| c.caches.get(i)).map_or("a cache", |c| c.name.as_str());
            format!("Above the memory roof: served from {cache}, and held against that.")
        }
        (Bound::Memory, None) => "Bound by memory: main memory could not serve it faster than its ceiling.".to_owned(),
        (Bound::Compute, None) => "Bound by compute: arithmetic alone takes the time of its ceiling.".to_owned(),
    };
    ui.label(RichText::new(words).color(theme.text_weak));
}

/// The ceilings in figures, with how they were measured.
fn ceilings_ui(ui: &mut Ui, theme: &Theme, c: &Ceilings) {
    let mut facts: Vec<(String, String, String)> = Vec::new();
    for r in &c.compute {
        facts.push((r.dtype.clone(), format::flops_rate(r.flop_per_s), format!("Arithmetic: {}.", r.how)));
    }
    let how = format!("Main memory, read and written: {}.", c.bandwidth_how);
    facts.push(("memory".into(), format::bytes_rate(c.bandwidth_bytes_per_s), how));
    for r in &c.caches {
        let how = format!("{} of {}, all threads together.", r.name, format::bytes(r.bytes as f64));
        facts.push((r.name.clone(), format::bytes_rate(r.bytes_per_s), how));
    }
    facts.push(("measured".into(), format::local_time(c.measured_unix_s as i64), c.device.clone()));
    egui::Frame::new().inner_margin(egui::Margin::symmetric(PAD as i8, GRID as i8)).show(ui, |ui| {
        ui.horizontal_wrapped(|ui| {
            ui.spacing_mut().item_spacing = vec2(16.0, 2.0);
            for (name, value, why) in facts {
                let fact = ui.horizontal(|ui| {
                    ui.spacing_mut().item_spacing.x = 5.0;
                    ui.label(RichText::new(name).font(theme::caption()).color(theme.text_weak));
                    ui.label(RichText::new(value).font(theme::figure()).color(theme.text));
                });
                fact.response.on_hover_text(why);
            }
            if !c.notes.is_empty() {
                let words = format::plural(c.notes.len(), "note");
                crate::draw::chip(ui, theme, theme.warn, &words, &c.notes.join("\n"));
            }
        });
    });
    hairline(ui, theme);
}
