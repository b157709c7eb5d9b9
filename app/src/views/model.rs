//! The model as a tree of scopes with time beside the names; its inputs, and the operators that it is made of.

use std::collections::BTreeSet;

use egui::{
    Align2, ComboBox, DragValue, EventFilter, Key, Rect, RichText, Role, ScrollArea, Sense, Stroke, StrokeKind, Ui,
};
use egui::{WidgetInfo, pos2, vec2};
use studies::{Fill, InputInfo, Inspection, Settings};

use crate::draw::scopes::{Node, ScopeTree};
use crate::draw::{self, bar, empty, fact, galley, note, padded, panel_head, section, segmented, swatch, text_in};
use crate::format::{self, UNKNOWN};
use crate::theme::{self, GRID, PAD, Theme};
use crate::view::{Action, Profile, Selection, View, ViewCx};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Part {
    #[default]
    Structure,
    Inputs,
    About,
}

const ROW: f32 = 22.0;
const INDENT: f32 = 12.0;

/// The model's panel.
#[derive(Default)]
pub struct ModelView {
    part: Part,
    /// Paths that differ from how a node of their depth starts: open above, closed below.
    toggled: BTreeSet<String>,
    /// The tree of a model that was not run yet, by the address of its layers.
    planned: Option<(usize, ScopeTree)>,
    /// The path to the selected layer was opened for this one.
    revealed: Option<profiler::LayerId>,
}

/// What a row's bar and figure say.
enum Measure {
    /// Median times of a run.
    Time,
    /// Operations, before there is a run.
    Work,
}

impl View for ModelView {
    fn id(&self) -> &'static str {
        "model"
    }

    fn title(&self) -> &'static str {
        "Model"
    }

    fn ui(&mut self, ui: &mut Ui, cx: &mut ViewCx<'_>) {
        let theme = cx.theme;
        if cx.model.is_none() && cx.profile.is_none_or(|p| p.trace.layers.is_empty()) {
            let (title, text) = match cx.profile {
                Some(_) => ("No layers", "This trace names no layers."),
                None => {
                    ("No model open", "Drop a model here, or open one: its structure, inputs and operators appear.")
                }
            };
            let action = cx.profile.is_none().then_some("Open…");
            if empty(ui, theme, title, text, action) {
                cx.actions.push(Action::OpenDialog);
            }
            return;
        }
        panel_head(ui, theme, |ui| {
            let parts = [
                (Part::Structure, "Structure", "Scopes and layers"),
                (Part::Inputs, "Inputs", "Shapes and fill of the next run"),
                (Part::About, "About", "The file, its parameters and operators"),
            ];
            segmented(ui, &mut self.part, &parts);
        });
        match (self.part, cx.profile, cx.model) {
            (Part::Structure, Some(profile), _) if !profile.trace.layers.is_empty() => {
                self.tree_ui(ui, theme, &profile.scopes, &Measure::Time, cx.selection, Some(profile));
            }
            (Part::Structure, _, Some(model)) => {
                let key = model.layers.as_ptr().addr();
                let tree = match self.planned.take() {
                    Some((k, tree)) if k == key && tree.of_layer.len() == model.layers.len() => tree,
                    _ => ScopeTree::new(&model.layers, &[]),
                };
                self.tree_ui(ui, theme, &tree, &Measure::Work, cx.selection, None);
                self.planned = Some((key, tree));
            }
            (Part::Inputs, _, Some(model)) => {
                scrolled(ui, |ui| inputs_ui(ui, theme, model, cx.settings, cx.actions));
            }
            (Part::Inputs, Some(profile), None) => scrolled(ui, |ui| traced_inputs_ui(ui, theme, profile)),
            (Part::About, _, Some(model)) => scrolled(ui, |ui| about_ui(ui, theme, model)),
            (Part::About, Some(profile), None) => scrolled(ui, |ui| traced_about_ui(ui, theme, profile)),
            _ => {}
        }
    }
}

fn scrolled(ui: &mut Ui, add_contents: impl FnOnce(&mut Ui)) {
    ScrollArea::vertical().auto_shrink([false, false]).show(ui, |ui| padded(ui, add_contents));
}

impl ModelView {
    fn is_open(&self, node: &Node) -> bool {
        (node.depth < 2) != self.toggled.contains(&node.path)
    }

    fn set_open(&mut self, node: &Node, open: bool) {
        if self.is_open(node) != open && !self.toggled.remove(&node.path) {
            self.toggled.insert(node.path.clone());
        }
    }

    /// The nodes that are on show, in order.
    fn rows(&self, tree: &ScopeTree) -> Vec<usize> {
        let mut rows = Vec::new();
        let mut stack: Vec<usize> = tree.nodes[0].children.iter().rev().copied().collect();
        while let Some(id) = stack.pop() {
            rows.push(id);
            if self.is_open(&tree.nodes[id]) {
                stack.extend(tree.nodes[id].children.iter().rev());
            }
        }
        rows
    }

    fn tree_ui(
        &mut self,
        ui: &mut Ui,
        theme: &Theme,
        tree: &ScopeTree,
        measure: &Measure,
        selection: &mut Selection,
        profile: Option<&Profile>,
    ) {
        let mut reveal = None;
        if self.revealed != selection.layer {
            self.revealed = selection.layer;
            let path = selection.layer.map(|l| tree.path_to(l)).unwrap_or_default();
            for &id in path.iter().rev().skip(1) {
                self.set_open(&tree.nodes[id], true);
            }
            reveal = path.last().copied();
        }
        let (head, _) = ui.allocate_exact_size(vec2(ui.available_width(), 24.0), Sense::hover());
        let words = match measure {
            Measure::Time => ("Scope", "median"),
            Measure::Work => ("Scope", "estimated operations"),
        };
        let inner = head.shrink2(vec2(PAD, 0.0));
        text_in(ui.painter(), inner, Align2::LEFT_CENTER, words.0, theme::caption(), theme.text_weak);
        text_in(ui.painter(), inner, Align2::RIGHT_CENTER, words.1, theme::caption(), theme.text_weak);
        ui.painter().hline(head.x_range(), head.bottom() - 0.5, theme.line());
        ui.spacing_mut().item_spacing.y = 0.0;
        let rows = self.rows(tree);
        let focus_id = ui.scope_id().with("tree");
        // Before the rows: a click on one of them gives the focus to the tree.
        let focus = ui.interact(ui.available_rect_before_wrap(), focus_id, Sense::focusable_noninteractive());
        focus.widget_info(|| WidgetInfo::labeled(Role::Tree, true, "Scopes"));
        let foot = ROW + 2.0;
        let mut area = ScrollArea::vertical().auto_shrink([false, false]).max_height(ui.available_height() - foot);
        if let Some(at) = reveal.and_then(|id| rows.iter().position(|&r| r == id)) {
            let height = ui.available_height() - foot;
            if at as f32 * ROW > height {
                area = area.vertical_scroll_offset((at as f32 * ROW - height / 2.0).max(0.0));
            }
        }
        area.show_rows(ui, ROW, rows.len(), |ui, range| {
            for &id in &rows[range] {
                self.row_ui(ui, theme, tree, id, measure, selection, profile, focus_id);
            }
        });
        self.keys(ui, tree, &rows, selection, &focus);
        total_ui(ui, theme, &tree.nodes[0], measure);
    }

    fn row_ui(
        &mut self,
        ui: &mut Ui,
        theme: &Theme,
        tree: &ScopeTree,
        id: usize,
        measure: &Measure,
        selection: &mut Selection,
        profile: Option<&Profile>,
        focus_id: egui::Id,
    ) {
        let node = &tree.nodes[id];
        let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), ROW), Sense::hover());
        let response = ui.interact(rect, ui.scope_id().with(("node", &node.path)), Sense::CLICK);
        let selected = node.layer.is_some() && node.layer == selection.layer;
        let lit = node.layer.is_some_and(|l| selection.is_hovered(l));
        let painter = ui.painter();
        if selected {
            painter.rect_filled(rect, 0.0, theme.selection);
        } else if lit || response.hovered() {
            painter.rect_filled(rect, 0.0, theme.surface[2]);
        }
        if selected && ui.memory(|m| m.has_focus(focus_id)) {
            painter.rect_stroke(rect, 0.0, Stroke::new(1.0, theme.focus), StrokeKind::Inside);
        }
        let (share, figure) = figures(node, &tree.nodes[0], measure);
        let x = rect.left() + PAD + (node.depth - 1) as f32 * INDENT;
        let open = self.is_open(node);
        if !node.children.is_empty() {
            arrow(ui, pos2(x + 4.0, rect.center().y), open, theme.text_weak);
        } else if let Some(class) = node.class {
            swatch(painter, pos2(x + 4.0, rect.center().y), theme.class(class));
        }
        let figure_left = rect.right() - PAD - 62.0;
        let wide = rect.width() > 200.0;
        let bar_width = if wide { (rect.width() * 0.2).min(72.0) } else { 0.0 };
        let name_rect =
            Rect::from_x_y_ranges(x + 14.0..=(figure_left - bar_width - PAD * 1.5).max(x + 30.0), rect.y_range());
        let color = if node.children.is_empty() { theme.text } else { theme.text_strong };
        let cut = text_in(painter, name_rect, Align2::LEFT_CENTER, &node.name, theme::sans(), color);
        if wide {
            let y = rect.center().y;
            let bar_rect =
                Rect::from_x_y_ranges(figure_left - bar_width - GRID..=figure_left - GRID, y - 3.0..=y + 3.0);
            let color = node.class.map_or(theme.sequential[2], |c| theme.class(c));
            bar(painter, theme, bar_rect, share as f32, color);
        }
        let figure_rect = rect.with_min_x(figure_left).with_max_x(rect.right() - PAD);
        text_in(painter, figure_rect, Align2::RIGHT_CENTER, &figure, theme::figure(), theme.text);
        response
            .widget_info(|| WidgetInfo::selected(Role::TreeItem, true, selected, format!("{} {figure}", node.name)));
        if response.clicked() {
            ui.memory_mut(|m| m.request_focus(focus_id));
            match node.layer {
                Some(layer) => {
                    selection.select(Some(layer));
                    self.revealed = Some(layer);
                }
                None => self.set_open(node, !open),
            }
        }
        if response.hovered() {
            selection.hovered = node.layer.or(selection.hovered);
        }
        response.on_hover_ui_at_pointer(|ui| match (node.layer, profile) {
            (Some(layer), Some(profile)) => draw::facts::tip(ui, theme, profile, layer, None),
            _ => node_tip(ui, theme, node, measure, cut),
        });
    }

    /// Up and down choose the next layer, left closes its scope, right opens the one below.
    fn keys(&mut self, ui: &Ui, tree: &ScopeTree, rows: &[usize], selection: &mut Selection, focus: &egui::Response) {
        if !focus.has_focus() {
            return;
        }
        let filter = EventFilter { vertical_arrows: true, horizontal_arrows: true, ..EventFilter::default() };
        ui.memory_mut(|m| m.set_focus_lock_filter(focus.id, filter));
        let pressed = |key| ui.input(|i| i.key_pressed(key));
        let at = rows.iter().position(|&r| tree.nodes[r].layer.is_some() && tree.nodes[r].layer == selection.layer);
        let layer = |&r: &usize| tree.nodes[r].layer;
        let next = match () {
            () if pressed(Key::ArrowDown) => rows[at.map_or(0, |a| a + 1)..].iter().find_map(layer),
            () if pressed(Key::ArrowUp) => rows[..at.unwrap_or(0)].iter().rev().find_map(layer),
            () => None,
        };
        if let Some(layer) = next {
            selection.select(Some(layer));
        }
        if let Some(at) = at {
            if pressed(Key::ArrowLeft) {
                let parent = tree.nodes[rows[at]].parent;
                self.set_open(&tree.nodes[parent], false);
            } else if pressed(Key::ArrowRight)
                && let Some(&below) = rows[at + 1..].iter().find(|&&r| !tree.nodes[r].children.is_empty())
            {
                self.set_open(&tree.nodes[below], true);
            }
        }
    }
}

fn figures(node: &Node, root: &Node, measure: &Measure) -> (f64, String) {
    match measure {
        Measure::Time if node.median_ns > 0.0 => (node.share, format::duration(node.median_ns)),
        Measure::Work if node.flops > 0 => {
            (node.flops as f64 / root.flops.max(1) as f64, format::count(node.flops as f64))
        }
        _ => (0.0, UNKNOWN.to_owned()),
    }
}

/// The triangle that says whether a branch is open.
fn arrow(ui: &Ui, center: egui::Pos2, open: bool, color: egui::Color32) {
    let points = if open {
        [vec2(-3.5, -2.0), vec2(3.5, -2.0), vec2(0.0, 2.5)]
    } else {
        [vec2(-2.0, -3.5), vec2(2.5, 0.0), vec2(-2.0, 3.5)]
    };
    ui.painter().add(egui::Shape::convex_polygon(points.map(|p| center + p).to_vec(), color, Stroke::NONE));
}

fn total_ui(ui: &mut Ui, theme: &Theme, root: &Node, measure: &Measure) {
    let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), ROW), Sense::hover());
    ui.painter().rect_filled(rect, 0.0, theme.surface[2]);
    ui.painter().hline(rect.x_range(), rect.top() + 0.5, theme.line());
    let inner = rect.shrink2(vec2(PAD, 0.0));
    let words = format::plural(root.layers, "layer");
    text_in(ui.painter(), inner, Align2::LEFT_CENTER, &words, theme::sans(), theme.text_weak);
    let (_, figure) = figures(root, root, measure);
    text_in(ui.painter(), inner, Align2::RIGHT_CENTER, &figure, theme::figure(), theme.text_strong);
}

fn node_tip(ui: &mut Ui, theme: &Theme, node: &Node, measure: &Measure, cut: bool) {
    let name = node.path.split('#').next().unwrap_or(&node.path);
    ui.label(
        RichText::new(if cut || !name.is_empty() { name } else { &node.name })
            .font(theme::head())
            .color(theme.text_strong),
    );
    let mut words = vec![format::plural(node.layers, "layer")];
    if matches!(measure, Measure::Time) {
        words.push(format!("{} ({})", format::duration(node.median_ns), format::percent(node.share)));
    }
    words.push(if node.flops > 0 { format::flops(node.flops as f64) } else { "operations unknown".to_owned() });
    words.push(format!("{} of weights", format::bytes(node.weight_bytes as f64)));
    ui.label(RichText::new(words.join(", ")).color(theme.text_weak));
}

fn inputs_ui(ui: &mut Ui, theme: &Theme, model: &Inspection, settings: &mut Settings, actions: &mut Vec<Action>) {
    if !model.dims.is_empty() {
        section(ui, theme, "Dimensions");
        for (name, default) in &model.dims {
            ui.horizontal(|ui| {
                let label = ui.label(RichText::new(name).font(theme::figure()).color(theme.text));
                ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
                    let mut value = settings.dims.get(name).copied().unwrap_or(*default);
                    let drag = ui.add(DragValue::new(&mut value).range(1..=1_000_000).speed(0.2)).labelled_by(label.id);
                    if drag.changed() {
                        settings.dims.insert(name.clone(), value);
                    }
                    if drag.drag_stopped() || drag.lost_focus() {
                        actions.push(Action::SettingsChanged);
                    }
                });
            });
        }
    }
    section(ui, theme, "Inputs");
    if model.inputs.is_empty() {
        note(ui, "This model has no inputs.");
    }
    for input in &model.inputs {
        let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), 20.0), Sense::hover());
        let name = galley(ui.painter(), &input.name, theme::sans(), theme.text_strong, rect.width() * 0.55);
        let rest = rect.with_min_x(rect.left() + name.size().x + PAD);
        let cut = name.elided;
        ui.painter().galley(pos2(rect.left(), rect.center().y - name.size().y / 2.0), name, theme.text_strong);
        let cut = cut | text_in(ui.painter(), rest, Align2::RIGHT_CENTER, &input.ty, theme::figure(), theme.text_weak);
        if cut {
            response.on_hover_text(format!("{}\n{}", input.name, input.ty));
        }
        fill_ui(ui, input, settings);
        ui.add_space(GRID);
    }
    section(ui, theme, "Outputs");
    for (name, ty) in &model.outputs {
        fact(ui, theme, name, ty, "");
    }
}

/// Chooses how an input is filled.
fn fill_ui(ui: &mut Ui, info: &InputInfo, settings: &mut Settings) {
    let input = info.name.as_str();
    let before = settings.inputs.get(input).cloned().unwrap_or(Fill::Random);
    let mut fill = before.clone();
    ui.horizontal(|ui| {
        let words = match fill {
            Fill::Random => "Random",
            Fill::Constant(_) => "Constant",
            Fill::File(_) => "File",
        };
        let combo = ComboBox::from_id_salt(("fill", input)).width(96.0).selected_text(words).show_ui(ui, |ui| {
            ui.selectable_value(&mut fill, Fill::Random, "Random")
                .on_hover_text("From the seed; ids stay in the vocabulary");
            if ui.selectable_label(matches!(fill, Fill::Constant(_)), "Constant").clicked() {
                fill = Fill::Constant(0.0);
            }
            if ui.selectable_label(matches!(fill, Fill::File(_)), "File").on_hover_text("A .npy or .pb file").clicked()
            {
                fill = Fill::File(std::path::PathBuf::new());
            }
        });
        combo.response.widget_info(|| WidgetInfo::labeled(Role::ComboBox, true, format!("Fill of {input}")));
        match &mut fill {
            Fill::Random => {
                let how = if info.fill.is_empty() { format!("seed {}", settings.seed) } else { info.fill.clone() };
                draw::caption(ui, &how);
            }
            Fill::Constant(value) => {
                let drag = ui.add(DragValue::new(value).speed(0.05));
                drag.widget_info(|| WidgetInfo::labeled(Role::SpinButton, true, format!("Value of {input}")));
            }
            Fill::File(path) => {
                let mut text = path.to_string_lossy().into_owned();
                let edit = egui::TextEdit::singleline(&mut text).hint_text("path of a .npy or .pb file");
                if ui.add(edit.desired_width(f32::INFINITY)).changed() {
                    *path = text.into();
                }
            }
        }
    });
    if fill != before {
        settings.inputs.insert(input.to_owned(), fill);
    }
}

fn traced_inputs_ui(ui: &mut Ui, theme: &Theme, profile: &Profile) {
    note(ui, "Only a trace is open: this is what was run. Open its model to change it.");
    let meta = &profile.trace.meta;
    for (title, list) in [("Inputs", &meta.inputs), ("Outputs", &meta.outputs)] {
        if !list.is_empty() {
            section(ui, theme, title);
            for (name, ty) in list {
                fact(ui, theme, name, ty, "");
            }
        }
    }
    if !meta.dims.is_empty() {
        section(ui, theme, "Dimensions");
        for (name, value) in &meta.dims {
            fact(ui, theme, name, &format::grouped(*value), "");
        }
    }
}

fn about_ui(ui: &mut Ui, theme: &Theme, model: &Inspection) {
    const MOST: usize = 6;
    if !model.unsupported.is_empty() {
        section(ui, theme, "Why it does not run yet");
        for why in model.unsupported.iter().take(MOST) {
            ui.add(egui::Label::new(RichText::new(why).color(theme.warn)).wrap());
        }
        if model.unsupported.len() > MOST {
            note(ui, &format!("and {} more", model.unsupported.len() - MOST));
        }
    }
    section(ui, theme, "File");
    let or_unknown = |s: &str| if s.is_empty() { UNKNOWN.to_owned() } else { s.to_owned() };
    fact(ui, theme, "Name", &or_unknown(&model.model), "");
    fact(ui, theme, "Format", &or_unknown(&model.format), "");
    fact(ui, theme, "Producer", &or_unknown(&model.producer), "The program that wrote it.");
    fact(ui, theme, "Size", &format::bytes(model.file_bytes as f64), "");
    let opsets: Vec<String> =
        model.opsets.iter().map(|(d, v)| if d.is_empty() { v.to_string() } else { format!("{d} {v}") }).collect();
    fact(ui, theme, "Operator set", &or_unknown(&opsets.join(", ")), "");
    section(ui, theme, "Size and cost");
    fact(ui, theme, "Parameters", &format::count(model.parameters as f64), "Elements of its weights.");
    fact(ui, theme, "Weights", &format::bytes(model.weights_bytes as f64), "As stored in the file.");
    let or = |v: Option<String>| v.unwrap_or_else(|| UNKNOWN.to_owned());
    let no_plan = "The model can't be planned with these inputs, so this is not known.";
    let why = |known: bool, words: &'static str| if known { words } else { no_plan };
    let flops = model.flops.map(|f| format::flops(f as f64));
    fact(ui, theme, "Operations", &or(flops), why(model.flops.is_some(), "Per run; a multiply-add counts as two."));
    let peak = model.activations_peak_bytes;
    let words = why(peak.is_some(), "The largest sum of activations alive at once.");
    fact(ui, theme, "Activations at peak", &or(peak.map(|b| format::bytes(b as f64))), words);
    fact(ui, theme, "Layers", &format::grouped(model.layers.len() as u64), "Steps of the plan, after fusion.");
    fact(ui, theme, "Nodes", &format::grouped(model.nodes as u64), "As in the file.");
    section(ui, theme, "Operators");
    for (op, count, supported) in &model.operators {
        let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), 20.0), Sense::hover());
        let color = if *supported { theme.text } else { theme.warn };
        let name = rect.with_max_x(rect.right() - 110.0);
        text_in(ui.painter(), name, Align2::LEFT_CENTER, op, theme::sans(), color);
        if !supported {
            let mark = rect.with_max_x(rect.right() - 44.0).with_min_x(name.right());
            text_in(ui.painter(), mark, Align2::RIGHT_CENTER, "missing", theme::caption(), theme.warn);
        }
        text_in(ui.painter(), rect, Align2::RIGHT_CENTER, &format::grouped(*count as u64), theme::figure(), color);
        let state = if *supported { "supported" } else { "not supported yet" };
        response.on_hover_text(format!("{op}: {}, {state}", format::plural(*count, "node")));
    }
}

fn traced_about_ui(ui: &mut Ui, theme: &Theme, profile: &Profile) {
    let meta = &profile.trace.meta;
    let or_unknown = |s: &str| if s.is_empty() { UNKNOWN.to_owned() } else { s.to_owned() };
    section(ui, theme, "Trace");
    fact(ui, theme, "Model", &or_unknown(&meta.model), "");
    fact(ui, theme, "Taken by", &or_unknown(&meta.producer), "");
    fact(ui, theme, "Device", &or_unknown(&meta.device), "");
    fact(ui, theme, "Precision", &or_unknown(&meta.precision), "");
    if meta.parameters > 0 {
        fact(ui, theme, "Parameters", &format::count(meta.parameters as f64), "");
    }
    section(ui, theme, "Operators");
    let mut ops: Vec<(&str, usize)> = Vec::new();
    for layer in &profile.trace.layers {
        match ops.iter_mut().find(|o| o.0 == layer.op) {
            Some(o) => o.1 += 1,
            None => ops.push((&layer.op, 1)),
        }
    }
    ops.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    for (op, count) in ops {
        fact(ui, theme, op, &format::grouped(count as u64), "");
    }
}
