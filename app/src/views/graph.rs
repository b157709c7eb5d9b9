//! The model as a graph of scopes that open in place, coloured by what its parts cost.

mod chrome;
mod input;
mod layout;

use std::sync::Arc;

use egui::{Rect, Role, Sense, Stroke, StrokeKind, Ui, WidgetInfo, vec2};
use profiler::LayerId;

use crate::draw::graph_camera::Camera;
use crate::draw::graph_figures::{Colour, Figures, Scale};
use crate::draw::graph_paint::{Brush, Emphasis};
use crate::draw::graph_scene::Laid;
use crate::draw::graph_tree::{Grain, Item, ItemId};
use crate::draw::{empty, panel_head};
use crate::format;
use crate::theme::{PAD, Theme};
use crate::view::{Action, Command, Selection, View, ViewCx};

use layout::{Layouts, Subject};

const FOOT: f32 = 28.0;

/// The subject, the tree and the precision scheme that figures were made for.
type FigureKey = (u64, usize, usize);

/// The graph's panel.
#[derive(Default)]
pub struct GraphView {
    grain: Grain,
    colour: Colour,
    constants: bool,
    scheme: usize,
    subject: Option<Subject>,
    layouts: Layouts,
    camera: Camera,
    /// The window's size.
    size: egui::Vec2,
    /// True until the camera was placed on a new graph.
    unplaced: bool,
    /// Where the keyboard is, by path: items are numbered anew with each tree.
    cursor: Option<String>,
    /// A path whose box stays where it is in the window when the layout changes, with its place on the canvas.
    kept: Option<(String, Rect)>,
    /// A path to bring into the window once it is laid out.
    wanted: Option<String>,
    search: String,
    search_wanted: bool,
    matches: Vec<ItemId>,
    matched_by: Option<(u64, String)>,
    followed: Option<LayerId>,
    figures: Figures,
    figured: Option<FigureKey>,
    scaled: Option<((usize, Option<FigureKey>), Scale)>,
}

const COMMANDS: &[Command] = &[
    Command { id: "layers", title: "Graph of fused layers", keys: "" },
    Command { id: "nodes", title: "Graph of source nodes", keys: "" },
    Command { id: "latency", title: "Colour by latency", keys: "" },
    Command { id: "memory", title: "Colour by memory", keys: "" },
    Command { id: "error", title: "Colour by error", keys: "" },
    Command { id: "operator", title: "Colour by operator", keys: "" },
    Command { id: "fit", title: "Fit the selection", keys: "F" },
    Command { id: "fit-all", title: "Fit the whole graph", keys: "Shift+F" },
    Command { id: "toggle", title: "Open or close the scope", keys: "Enter" },
    Command { id: "toggle-alike", title: "Open or close all scopes that are alike", keys: "Shift+Enter" },
    Command { id: "close", title: "Close the scope around", keys: "Backspace" },
    Command { id: "open-all", title: "Open every scope", keys: "E" },
    Command { id: "close-all", title: "Close every scope", keys: "Shift+E" },
    Command { id: "constants", title: "Show or hide constants", keys: "" },
    Command { id: "search", title: "Search the graph", keys: "/" },
    Command { id: "next", title: "Next match", keys: "N" },
    Command { id: "previous", title: "Previous match", keys: "Shift+N" },
    Command { id: "zoom-in", title: "Zoom in", keys: "W" },
    Command { id: "zoom-out", title: "Zoom out", keys: "S" },
    Command { id: "left", title: "Pan left", keys: "A" },
    Command { id: "right", title: "Pan right", keys: "D" },
    Command { id: "up", title: "Pan up", keys: "PageUp" },
    Command { id: "down", title: "Pan down", keys: "PageDown" },
    Command { id: "to-input", title: "Walk to an input", keys: "Up" },
    Command { id: "to-output", title: "Walk to a reader", keys: "Down" },
    Command { id: "to-left", title: "Walk to the box on the left", keys: "Left" },
    Command { id: "to-right", title: "Walk to the box on the right", keys: "Right" },
    Command { id: "let-go", title: "Let go of the selection", keys: "Esc" },
];

impl View for GraphView {
    fn id(&self) -> &'static str {
        "graph"
    }

    fn title(&self) -> &'static str {
        "Graph"
    }

    fn commands(&self) -> &'static [Command] {
        COMMANDS
    }

    fn command(&mut self, id: &str, cx: &mut ViewCx<'_>) {
        self.act(id, cx.selection);
    }

    fn ui(&mut self, ui: &mut Ui, cx: &mut ViewCx<'_>) {
        Subject::update(&mut self.subject, cx.profile, cx.model);
        if self.subject.as_ref().is_none_or(Subject::is_empty) {
            empty_ui(ui, cx);
            return;
        }
        let theme = cx.theme;
        panel_head(ui, theme, |ui| self.head_ui(ui, cx));
        let space = ui.available_rect_before_wrap();
        let foot = space.with_min_y(space.bottom() - FOOT);
        let canvas = space.with_max_y(foot.top());
        self.size = canvas.size();
        self.settle(ui.ctx(), cx.selection);
        self.count(cx);
        match self.layouts.laid().cloned() {
            Some(laid) => {
                let scale = self.scale(&laid);
                self.canvas_ui(ui, canvas, &laid, scale, cx);
                ui.painter().hline(foot.x_range(), foot.top() + 0.5, theme.line());
                let builder = egui::UiBuilder::new()
                    .max_rect(foot.shrink2(vec2(PAD, 2.0)))
                    .layout(egui::Layout::left_to_right(egui::Align::Center));
                ui.scope_builder(builder, |ui| self.foot_ui(ui, theme, &laid, scale, cx));
            }
            None => {
                let nodes = self.subject.as_ref().map_or(0, |s| s.source.nodes().len());
                empty(ui, theme, "Laying out the graph", &format::plural(nodes, "node"), None);
            }
        }
    }
}

/// What would fill the panel.
fn empty_ui(ui: &mut Ui, cx: &mut ViewCx<'_>) {
    let theme = cx.theme;
    if let (Some(_), Some(model), Some(run)) = (cx.profile, cx.model, cx.runs.current_index()) {
        let text = "This profile came without its model. Laid over it, its rows light up on the graph.";
        if empty(ui, theme, "No graph in this profile", text, Some(&format!("Lay over {}", model.model))) {
            cx.actions.push(Action::LayOver(run));
        }
    } else if cx.profile.is_some() {
        let text = "This profile came without its model: drop the model file here to lay it over.";
        if empty(ui, theme, "No graph in this profile", text, Some("Open its model…")) {
            cx.actions.push(Action::OpenDialog);
        }
    } else if cx.model.is_some() {
        empty(ui, theme, "Nothing to draw", "This model has no nodes.", None);
    } else {
        let text = "Open a model to see its graph, or a trace to see what each part of it costs.";
        if empty(ui, theme, "Nothing open", text, Some("Open…")) {
            cx.actions.push(Action::OpenDialog);
        }
    }
}

impl GraphView {
    /// Takes over finished layouts, asks for new ones, and follows the selection of other views.
    fn settle(&mut self, ctx: &egui::Context, selection: &Selection) {
        let Some(subject) = &self.subject else { return };
        if self.layouts.update(ctx, subject, self.grain, self.constants) {
            self.matched_by = None;
            self.unplaced |= self.layouts.is_first();
            self.keep();
        }
        if self.followed != selection.layer {
            self.followed = selection.layer;
            if let (Some(laid), Some(layer)) = (self.layouts.laid().cloned(), selection.layer) {
                let item = laid.tree.of_layer.get(layer.index()).copied().flatten();
                if let Some(item) = item {
                    self.reveal(&laid, item);
                }
            }
        }
        self.find();
        let Some(laid) = self.layouts.laid().cloned() else { return };
        if std::mem::take(&mut self.unplaced) {
            self.camera.begin(laid.scene.bounds(), self.size);
            self.camera.snap();
        }
        if let Some(rect) = self.wanted.as_ref().and_then(|path| laid.rect_of(path)) {
            self.wanted = None;
            self.camera.reveal(rect, self.size);
        }
    }

    fn fit_all(&mut self, laid: &Laid) {
        self.camera.fit(laid.scene.bounds(), self.size, 1.0);
    }

    /// After a new layout, the box that was opened or closed is where it was.
    fn keep(&mut self) {
        let Some((path, before)) = self.kept.take() else { return };
        let now = self.layouts.laid().and_then(|l| l.rect_of(&path));
        if let Some(now) = now {
            self.camera.shift(now.center_top() - before.center_top());
        }
    }

    /// Opens what hides an item and moves there.
    fn reveal(&mut self, laid: &Laid, item: ItemId) {
        let path = laid.tree.items[item as usize].path.clone();
        if !laid.scene.box_of.contains_key(&item) {
            let mut open = (*laid.open).clone();
            open.extend(laid.tree.around(item).map(|i| laid.tree.items[i as usize].path.clone()));
            self.layouts.open(open);
        }
        self.cursor = Some(path.clone());
        self.wanted = Some(path);
    }

    /// Figures for the tree on show: made once for each trace, tree and scheme.
    fn count(&mut self, cx: &ViewCx<'_>) {
        let (Some(subject), Some(laid)) = (&self.subject, self.layouts.laid()) else { return };
        let profile = cx.profile.filter(|_| subject.is_measured);
        let schemes = profile.map_or(0, |p| p.trace.accuracy.len());
        self.scheme = self.scheme.min(schemes.saturating_sub(1));
        let key = (subject.number, Arc::as_ptr(&laid.tree).addr(), self.scheme);
        if self.figured != Some(key) {
            self.figures = Figures::new(&laid.tree, subject.source.layers(), profile, self.scheme);
            self.figured = Some(key);
        }
    }

    /// What scopes are made of.
    fn noun(&self) -> &'static str {
        if self.grain == Grain::Layers { "layer" } else { "node" }
    }

    /// Colours by what is known.
    fn shown_colour(&self) -> Colour {
        if self.figures.is_known(self.colour) { self.colour } else { Colour::Operator }
    }

    /// The scale of the colours, which goes up to the largest figure on show.
    fn scale(&mut self, laid: &Arc<Laid>) -> Scale {
        let colour = self.shown_colour();
        let key = (Arc::as_ptr(laid).addr(), self.figured);
        if let Some((_, scale)) = self.scaled.filter(|(k, s)| *k == key && s.colour == colour) {
            return scale;
        }
        let closed = laid.scene.boxes.iter().filter(|b| !b.open);
        let most = closed.map(|b| self.figures.value(colour, b.item)).filter(|v| v.is_finite()).fold(0.0, f64::max);
        let scale = Scale { colour, most };
        self.scaled = Some((key, scale));
        scale
    }

    fn canvas_ui(&mut self, ui: &mut Ui, rect: Rect, laid: &Laid, scale: Scale, cx: &mut ViewCx<'_>) {
        let theme = cx.theme;
        let response = ui.interact(rect, ui.scope_id().with("canvas"), Sense::click_and_drag());
        let cursor = self.cursor.clone();
        response.widget_info(|| {
            let at = cursor.as_ref().map_or(String::new(), |path| format!(", at {path}"));
            let shown = format::grouped(laid.scene.boxes.len().saturating_sub(1) as u64);
            WidgetInfo::labeled(Role::Canvas, true, format!("Graph, {shown} boxes on show{at}"))
        });
        ui.painter().rect_filled(rect, 0.0, theme.surface[0]);
        let dt = ui.input(|i| i.stable_dt);
        if self.camera.step(dt, ui.style().animation_time > 0.0) {
            ui.ctx().request_repaint();
        }
        let figures = std::mem::take(&mut self.figures);
        let matched = std::mem::take(&mut self.matches);
        let searching = !self.search.trim().is_empty();
        let hovered_layer = cx.selection.clone();
        let at_cursor = self.cursor.as_ref().and_then(|path| laid.item_of(path));
        let has_focus = response.has_focus();
        let emphasis = |item: &Item, id: ItemId| {
            let found = searching && matched.binary_search(&id).is_ok();
            Emphasis {
                selected: item.layer.is_some_and(|l| hovered_layer.is_selected(l)),
                cursor: at_cursor == Some(id) && has_focus,
                lit: item.layer.is_some_and(|l| hovered_layer.is_hovered(l)) || found,
                faded: searching && !found && item.children.is_empty(),
            }
        };
        let map = self.minimap_rect(rect, laid);
        let pointer = response.hover_pos().filter(|p| rect.contains(*p) && map.is_none_or(|m| !m.contains(*p)));
        let lens = self.camera.shown();
        let mut brush = Brush {
            theme,
            tree: &laid.tree,
            scene: &laid.scene,
            figures: &figures,
            scale,
            lens,
            window: rect,
            emphasis: &emphasis,
            noun: self.noun(),
            hovered: None,
        };
        let hit = pointer.and_then(|p| brush.at(p));
        let by_key = at_cursor.and_then(|i| laid.scene.box_of.get(&i).copied()).filter(|_| has_focus);
        brush.hovered = hit.filter(|&h| !laid.scene.boxes[h as usize].open).or(by_key);
        brush.paint(&ui.painter().with_clip_rect(rect.intersect(ui.clip_rect())));
        if let Some(map) = map {
            self.minimap_ui(ui, map, rect, &brush);
        }
        self.figures = figures;
        self.matches = matched;
        let item = hit.map(|h| laid.scene.boxes[h as usize].item);
        if let Some(layer) = item.and_then(|i| laid.tree.items[i as usize].layer) {
            cx.selection.hovered = Some(layer);
        }
        self.pointer_input(ui, &response, rect, laid, hit, cx.selection);
        self.key_input(ui, &response, cx.selection);
        if has_focus {
            ui.painter().rect_stroke(rect, 0.0, Stroke::new(1.0, theme.focus), StrokeKind::Inside);
        }
        if let (Some(item), false) = (item, response.dragged()) {
            response.on_hover_ui_at_pointer(|ui| self.tip_ui(ui, laid, item, cx));
        }
    }
}

/// The rows of the legend and everything else that needs the theme alone.
fn weak(theme: &Theme, text: impl Into<String>) -> egui::RichText {
    egui::RichText::new(text).font(crate::theme::caption()).color(theme.text_weak)
}

#[cfg(test)]
#[path = "graph/tests.rs"]
mod tests;
