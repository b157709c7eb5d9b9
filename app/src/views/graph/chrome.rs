//! What stands around the graph: its head, its legend, its overview, its tooltips.

use egui::{ComboBox, CornerRadius, CursorIcon, Key, Mesh, Rect, RichText, Role, Sense, Stroke, StrokeKind, Ui};
use egui::{WidgetInfo, pos2, vec2};

use super::{GraphView, weak};
use crate::draw::graph_figures::{Colour, Scale};
use crate::draw::graph_paint::Brush;
use crate::draw::graph_scene::Laid;
use crate::draw::graph_tree::{Grain, ItemId};
use crate::draw::{facts, key, legend, search_box, segmented};
use crate::format;
use crate::theme::{self, GRID, PAD, Theme};
use crate::view::ViewCx;

/// The overview's largest size.
const MAP: egui::Vec2 = vec2(132.0, 168.0);

impl GraphView {
    pub(super) fn head_ui(&mut self, ui: &mut Ui, cx: &mut ViewCx<'_>) {
        let grains = [
            (Grain::Layers, "Fused layers", "What runs: each box is a step of the plan"),
            (Grain::Nodes, "Source nodes", "The model as its file has it; a band joins nodes that became one layer"),
        ];
        segmented(ui, &mut self.grain, &grains);
        ui.separator();
        let colours = [
            (Colour::Latency, "Latency", "Colour by the median time in a run"),
            (Colour::Memory, "Memory", "Colour by the bytes of weights and outputs"),
            (Colour::Error, "Error", "Colour by how far a reduced precision is from f32"),
            (Colour::Operator, "Operator", "Colour by the kind of operator"),
        ];
        segmented(ui, &mut self.colour, &colours);
        if self.colour == Colour::Error {
            self.scheme_ui(ui, cx);
        }
        ui.separator();
        for (label, id, tip) in [
            ("Fit", "fit-all", "Show the whole graph (Shift+F); F shows the selection"),
            ("Open all", "open-all", "Open every scope (E)"),
            ("Close all", "close-all", "Close every scope (Shift+E)"),
        ] {
            if ui.available_width() > 64.0 && ui.button(label).on_hover_text(tip).clicked() {
                self.act(id, cx.selection);
            }
        }
        ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| self.search_ui(ui, cx.theme));
    }

    fn scheme_ui(&mut self, ui: &mut Ui, cx: &ViewCx<'_>) {
        let schemes = cx.profile.map_or(&[][..], |p| &p.trace.accuracy);
        if let Some(current) = schemes.get(self.scheme) {
            let combo = ComboBox::from_id_salt("scheme").width(64.0).selected_text(&current.scheme);
            let combo = combo.show_ui(ui, |ui| {
                for (i, s) in schemes.iter().enumerate() {
                    ui.selectable_value(&mut self.scheme, i, &s.scheme).on_hover_text(&s.description);
                }
            });
            let name = || WidgetInfo::labeled(Role::ComboBox, true, "Precision");
            combo.response.widget_info(name);
        }
    }

    fn search_ui(&mut self, ui: &mut Ui, theme: &Theme) {
        let width = 160.0_f32.min(ui.available_width() - PAD);
        if width < 56.0 {
            return;
        }
        let response = search_box(ui, &mut self.search, "Search  /", width);
        if std::mem::take(&mut self.search_wanted) {
            response.request_focus();
        }
        let (enter, shift) = ui.input(|i| (i.key_pressed(Key::Enter), i.modifiers.shift));
        if response.lost_focus() && enter {
            self.find();
            if let Some(laid) = self.layouts.laid().cloned() {
                self.next_match(&laid, !shift);
            }
            response.request_focus();
        }
        if !self.search.trim().is_empty() && ui.available_width() > 60.0 {
            let words = match self.matches.len() {
                0 => "no match".to_owned(),
                n => format!("{} found", format::grouped(n as u64)),
            };
            ui.label(weak(theme, words));
        }
    }

    /// The legend, and how much of the graph is on show.
    pub(super) fn foot_ui(&mut self, ui: &mut Ui, theme: &Theme, laid: &Laid, scale: Scale, cx: &ViewCx<'_>) {
        let asked = self.colour;
        match scale.colour {
            Colour::Operator => {
                if asked != Colour::Operator {
                    ui.label(weak(theme, missing(asked, cx)));
                    ui.add_space(PAD);
                }
                let mut classes: Vec<_> = laid.tree.items.iter().filter_map(|i| i.class).collect();
                classes.sort_unstable();
                classes.dedup();
                legend(ui, theme, &classes);
            }
            _ => ramp_ui(ui, theme, scale),
        }
        ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
            let root = laid.tree.items.first().map_or(0, |r| r.leaves as usize);
            let mut words = format::plural(root, self.noun());
            if laid.tree.hidden > 0 {
                words = format!("{words}, {} hidden", format::plural(laid.tree.hidden, "constant"));
            }
            if self.layouts.is_busy() {
                words = format!("laying out…  {words}");
            }
            let tip = "Constants only hold weights: nothing runs for them. The command \"Show or hide constants\" draws them.";
            ui.label(weak(theme, words)).on_hover_text(tip);
            if self.grain == Grain::Nodes && ui.available_width() > 220.0 {
                let band = theme::mix(theme.surface[0], theme.accent, 0.35);
                key(ui, theme, band, "became one layer").on_hover_text("Nodes that a band joins were fused into one layer");
            }
        });
    }

    /// The overview's place: none if all of the graph is in sight.
    pub(super) fn minimap_rect(&self, window: Rect, laid: &Laid) -> Option<Rect> {
        let whole = self.camera.shown().rect(window, laid.scene.bounds());
        if window.expand(4.0).contains_rect(whole) || window.width() < 320.0 || window.height() < 200.0 {
            return None;
        }
        let size = laid.scene.bounds().size();
        let fit = (MAP.x / size.x.max(1.0)).min(MAP.y / size.y.max(1.0));
        let size = (size * fit).max(vec2(20.0, 20.0)) + vec2(8.0, 8.0);
        let corner = window.right_bottom() - vec2(PAD, PAD);
        Some(Rect::from_min_max(corner - size, corner))
    }

    pub(super) fn minimap_ui(&mut self, ui: &mut Ui, map: Rect, window: Rect, brush: &Brush<'_>) {
        let theme = brush.theme;
        let painter = ui.painter().with_clip_rect(map.intersect(ui.clip_rect()));
        painter.rect(map, CornerRadius::same(4), theme.surface[1], theme.line(), StrokeKind::Inside);
        let bounds = brush.scene.bounds();
        let inner = map.shrink(4.0);
        let fit = (inner.width() / bounds.width().max(1.0)).min(inner.height() / bounds.height().max(1.0));
        let at = |r: Rect| {
            Rect::from_min_max(inner.min + (r.min - bounds.min) * fit, inner.min + (r.max - bounds.min) * fit)
        };
        let mut mesh = Mesh::default();
        // Two levels say enough at this size, and do not grow with what is open.
        let root = &brush.scene.boxes[0];
        let mut level: Vec<(u32, u32)> = root.parts.iter().map(|&p| (p, 0)).collect();
        let mut next = 0;
        while let Some(&(id, depth)) = level.get(next) {
            next += 1;
            let b = &brush.scene.boxes[id as usize];
            let rect = at(b.rect);
            if b.open && depth < 2 && rect.height() > 4.0 {
                level.extend(b.parts.iter().map(|&p| (p, depth + 1)));
                mesh.add_colored_rect(rect, theme.surface[2]);
                continue;
            }
            let value = brush.figures.value(brush.scale.colour, b.item);
            let class = brush.tree.items[b.item as usize].class;
            let plain = class.map_or(theme.text_weak, |c| theme.class(c));
            let color = brush.scale.fill(theme, value).unwrap_or_else(|| theme::mix(theme.surface[1], plain, 0.6));
            mesh.add_colored_rect(Rect::from_min_size(rect.min, rect.size().max(vec2(1.0, 1.0))), color);
        }
        painter.add(egui::Shape::mesh(mesh));
        let lens = brush.lens;
        let seen =
            Rect::from_min_max(lens.canvas(window, window.min), lens.canvas(window, window.max)).intersect(bounds);
        if seen.is_positive() {
            let seen = Rect::from_center_size(at(seen).center(), at(seen).size().max(vec2(4.0, 4.0)));
            painter.rect_stroke(seen, 1.0, Stroke::new(1.0, theme.text_strong), StrokeKind::Inside);
        }
        let response = ui.interact(map, ui.scope_id().with("map"), Sense::click_and_drag());
        response.widget_info(|| WidgetInfo::labeled(Role::ScrollBar, true, "Overview of the whole graph"));
        if let Some(p) = response.interact_pointer_pos().filter(|_| response.dragged() || response.clicked()) {
            self.camera.go(bounds.min + (p - inner.min) / fit);
            self.camera.keep_in(bounds);
            self.camera.snap();
        }
        response.on_hover_cursor(CursorIcon::Grab);
    }

    /// All that is known of a box.
    pub(super) fn tip_ui(&self, ui: &mut Ui, laid: &Laid, item: ItemId, cx: &ViewCx<'_>) {
        let theme = cx.theme;
        let i = &laid.tree.items[item as usize];
        let Some(subject) = &self.subject else { return };
        if laid.tree.is_scope(item) {
            ui.label(RichText::new(&i.path).font(theme::head()).color(theme.text_strong));
            ui.spacing_mut().item_spacing.y = 2.0;
            ui.label(format::plural(i.leaves as usize, self.noun()));
            for colour in [Colour::Latency, Colour::Memory, Colour::Error] {
                let words = self.figures.words(colour, item);
                if words != format::UNKNOWN {
                    let (name, more) = match colour {
                        Colour::Latency => {
                            ("Time", format!(", {} of all layers", format::percent(self.figures.share[item as usize])))
                        }
                        Colour::Memory => ("Weights and outputs", String::new()),
                        _ => ("Worst SQNR in it", String::new()),
                    };
                    ui.label(RichText::new(format!("{name}: {words}{more}")).color(theme.text));
                }
            }
            if i.alike > 1 {
                ui.label(weak(theme, format!("The same structure as {} beside it", i.alike - 1)));
            }
            ui.label(weak(theme, "Double click or Enter opens and closes it; with Shift all that are alike"));
            return;
        }
        let layer = i.layer.and_then(|l| Some((l, subject.source.layers().get(l.index())?)));
        if let Some(node) = i.node.and_then(|n| subject.source.nodes().get(n as usize)) {
            ui.label(RichText::new(format!("{}  {}", node.op, node.name)).font(theme::head()).color(theme.text_strong));
            match layer {
                Some((_, l)) if l.source_nodes.len() > 1 => {
                    let with = format::plural(l.source_nodes.len() - 1, "other node");
                    ui.label(format!("Became part of {} ({}), with {with}. Its figures:", l.name, l.op));
                }
                Some((_, l)) => drop(ui.label(format!("Became the layer {}:", l.name))),
                None => drop(ui.label(weak(theme, "No layer runs for it: folded on loading, or not matched."))),
            }
            ui.add_space(GRID);
        }
        match (layer, cx.profile.filter(|_| subject.is_measured)) {
            (Some((id, _)), Some(profile)) => facts::tip(ui, theme, profile, id, None),
            (Some((_, layer)), None) => {
                ui.label(RichText::new(&layer.name).font(theme::head()).color(theme.text_strong));
                ui.label(RichText::new(facts::types(layer)).font(theme::caption_figure()).color(theme.text));
                ui.label(weak(theme, "Not run yet: a run shows its times."));
            }
            (None, _) => {}
        }
        if let Some((_, l)) = layer.filter(|(_, l)| self.grain == Grain::Layers && l.source_nodes.len() > 1) {
            ui.add_space(GRID);
            ui.label(weak(theme, format!("Made from {}:", format::plural(l.source_nodes.len(), "node"))));
            for name in l.source_nodes.iter().take(6) {
                ui.label(RichText::new(name).font(theme::caption_figure()).color(theme.text));
            }
            if l.source_nodes.len() > 6 {
                ui.label(weak(theme, format!("and {} more", l.source_nodes.len() - 6)));
            }
        }
    }
}

/// Why nothing is coloured by what was asked for.
fn missing(colour: Colour, cx: &ViewCx<'_>) -> &'static str {
    match colour {
        Colour::Latency if cx.profile.is_none() => "Not run yet: a run colours this by time.",
        Colour::Latency => "No times in this trace.",
        Colour::Memory => "No sizes in this trace.",
        _ => "Compare precisions to colour this by error.",
    }
}

/// The colours with figures below their ends and middle.
fn ramp_ui(ui: &mut Ui, theme: &Theme, scale: Scale) {
    let (title, why) = match scale.colour {
        Colour::Memory => ("Weights and outputs", "Bytes of a box's weights and of the tensors that it makes."),
        Colour::Error => (
            "SQNR",
            "Signal to quantization noise with only this layer quantized: higher is better. A scope shows its worst.",
        ),
        _ => ("Median time", "Half of the measured runs were faster. A scope's is the sum over its layers."),
    };
    let why = format!("{why} The scale goes up to the largest box on show, by square root.");
    ui.label(weak(theme, title)).on_hover_text(&why);
    let stops = if scale.colour == Colour::Error { &theme.error[..] } else { &theme.sequential[..] };
    let (rect, response) = ui.allocate_exact_size(vec2(120.0, 10.0), Sense::hover());
    let mut mesh = Mesh::default();
    for (i, pair) in stops.windows(2).enumerate() {
        let x = |k: usize| rect.left() + rect.width() * k as f32 / (stops.len() - 1) as f32;
        let first = mesh.vertices.len() as u32;
        for (x, color) in [(x(i), pair[0]), (x(i + 1), pair[1])] {
            mesh.colored_vertex(pos2(x, rect.top()), color);
            mesh.colored_vertex(pos2(x, rect.bottom()), color);
        }
        mesh.add_triangle(first, first + 1, first + 2);
        mesh.add_triangle(first + 2, first + 1, first + 3);
    }
    ui.painter().add(egui::Shape::mesh(mesh));
    response.on_hover_text(&why);
    let words: Vec<String> = scale.stops().into_iter().map(|s| s.1).collect();
    let words = RichText::new(words.join("  ·  ")).font(theme::caption_figure()).color(theme.text_weak);
    ui.label(words).on_hover_text(why);
}
