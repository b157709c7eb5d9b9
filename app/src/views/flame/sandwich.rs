//! The third order: one name between all that leads to it and all that it leads to.

use std::sync::Arc;

use egui::{Align, Color32, Layout, Rect, RichText, Role, ScrollArea, Sense, Ui, WidgetInfo, vec2};
use profiler::OpClass;
use profiler::sandwich::{CallTree, Frame, FrameKind, FrameSum, Sandwich};

use super::job::{Job, LIGHT};
use super::tree::{TreeBrush, TreeHit, tip_ui};
use crate::draw::flame_colors::name_color;
use crate::draw::flame_paint::{Lens, matches};
use crate::draw::table::{Column, Row, Sort, Table};
use crate::draw::{caption, empty, segmented, swatch};
use crate::format::{self, Scale};
use crate::theme::{self, FLAME_ROW_HEIGHT, GRID, PAD, Theme};
use crate::view::{Profile, Selection};

const KINDS: [(FrameKind, &str, &str); 4] = [
    (FrameKind::Op, "Ops", "All layers of an operator"),
    (FrameKind::Scope, "Scopes", "Everything inside of scopes of that name, in whichever block"),
    (FrameKind::Layer, "Layers", "Single layers"),
    (FrameKind::Span, "Spans", "Spans of no layer, by name"),
];

/// The tree with what is asked of it often.
pub struct Calls {
    /// Every way to every span.
    pub tree: CallTree,
    /// The class of each operator, by the index of its name.
    classes: Vec<Option<OpClass>>,
}

impl Calls {
    /// A frame's colour: that of its class, of its name, or none.
    pub fn color(&self, theme: &Theme, profile: &Profile, frame: Frame) -> Color32 {
        let class = match frame {
            Frame::Layer(l) => profile.layer(l).map(|l| l.class),
            Frame::Op(op) => self.classes.get(op as usize).copied().flatten(),
            _ => None,
        };
        match (class, frame) {
            (Some(class), _) => theme.class(class),
            (None, Frame::Span(_)) if profile.trace.layers.is_empty() => {
                name_color(theme, self.tree.name(&profile.trace, frame))
            }
            _ => theme.surface[3],
        }
    }
}

#[derive(PartialEq)]
struct Listed {
    trace: usize,
    kind: FrameKind,
    query: String,
    sort: Sort,
}

/// The table of names with the two trees beside it.
pub struct SandwichPane {
    calls: Job<usize, Arc<Calls>>,
    kind: Option<FrameKind>,
    sort: Sort,
    rows: Vec<FrameSum>,
    listed: Option<Listed>,
    /// What stands in the middle.
    pub picked: Option<Frame>,
    picked_of: usize,
    sandwich: Job<(usize, Frame), Sandwich>,
    scroll_to: bool,
}

impl Default for SandwichPane {
    fn default() -> Self {
        SandwichPane {
            calls: Job::default(),
            kind: None,
            sort: Sort { column: 1, descending: true },
            rows: Vec::new(),
            listed: None,
            picked: None,
            picked_of: 0,
            sandwich: Job::default(),
            scroll_to: false,
        }
    }
}

impl SandwichPane {
    /// The merged calls; `None` while they are being merged.
    pub fn calls(&mut self, ctx: &egui::Context, profile: &Profile, trace: usize) -> Option<Arc<Calls>> {
        let of = Arc::clone(&profile.trace);
        self.calls.ask(ctx, trace, of.spans.len() <= LIGHT, move |cancel| {
            let tree = CallTree::of(&of, cancel)?;
            let mut classes = vec![None; tree.names.len()];
            for (layer, &op) in of.layers.iter().zip(&tree.ops) {
                classes[op as usize] = Some(layer.class);
            }
            Some(Arc::new(Calls { tree, classes }))
        });
        self.calls.get().cloned()
    }

    /// All of the merged calls' time, once it is known.
    pub fn total(&self, trace: usize) -> Option<f64> {
        let calls = self.calls.get().filter(|_| self.calls.key() == Some(&trace))?;
        Some(calls.tree.nodes.first().map_or(1, |n| n.total_ns.max(1)) as f64)
    }

    fn pick(&mut self, frame: Frame) {
        self.kind = Some(match frame {
            Frame::Op(_) => FrameKind::Op,
            Frame::Scope(_) => FrameKind::Scope,
            Frame::Layer(_) => FrameKind::Layer,
            Frame::Span(_) => FrameKind::Span,
            Frame::Root | Frame::Track(_) => return,
        });
        self.picked = Some(frame);
        self.scroll_to = true;
    }

    /// Draws it into all of the space left.
    pub fn ui(
        &mut self,
        ui: &mut Ui,
        theme: &Theme,
        profile: &Profile,
        trace: usize,
        query: &str,
        selection: &mut Selection,
    ) {
        let Some(calls) = self.calls(ui.ctx(), profile, trace) else {
            empty(ui, theme, "Merging…", "The spans are being merged by what they were called from.", None);
            return;
        };
        if self.picked_of != trace {
            (self.picked, self.picked_of, self.listed) = (None, trace, None);
        }
        if profile.trace.layers.is_empty() && self.kind.is_none() {
            self.kind = Some(FrameKind::Span);
        }
        self.list(&calls, profile, trace, query);
        if self.picked.is_none() {
            match selection.layer.and_then(|l| calls.tree.ops.get(l.index())) {
                Some(&op) => self.pick(Frame::Op(op)),
                None => self.picked = self.rows.first().map(|r| r.frame),
            }
        }
        let space = ui.available_rect_before_wrap();
        let wide = space.width() >= 560.0;
        let (list, trees) = if wide {
            let x = space.left() + (space.width() * 0.46).clamp(280.0, 520.0);
            (space.with_max_x(x), space.with_min_x(x + 1.0))
        } else {
            let y = space.top() + space.height() * 0.45;
            (space.with_max_y(y), space.with_min_y(y + 1.0))
        };
        if wide {
            ui.painter().vline(list.right() + 0.5, space.y_range(), theme.line());
        } else {
            ui.painter().hline(space.x_range(), list.bottom() + 0.5, theme.line());
        }
        ui.scope_builder(egui::UiBuilder::new().max_rect(list).id_salt("names"), |ui| {
            ui.shrink_clip_rect(list);
            self.list_ui(ui, theme, profile, &calls, selection);
        });
        ui.scope_builder(egui::UiBuilder::new().max_rect(trees).id_salt("trees"), |ui| {
            ui.shrink_clip_rect(trees);
            self.trees_ui(ui, theme, profile, &calls, trace);
        });
    }

    fn list(&mut self, calls: &Calls, profile: &Profile, trace: usize, query: &str) {
        let kind = self.kind.unwrap_or_default();
        let want = Listed { trace, kind, query: query.to_lowercase(), sort: self.sort };
        if self.listed.as_ref() == Some(&want) {
            return;
        }
        let name = |f: Frame| calls.tree.name(&profile.trace, f);
        self.rows = calls.tree.sums(&profile.trace, kind);
        self.rows.retain(|r| matches(&want.query, &[name(r.frame)]));
        self.rows.sort_by(|a, b| {
            let order = match self.sort.column {
                0 => name(a.frame).cmp(name(b.frame)),
                1 => a.total_ns.cmp(&b.total_ns),
                2 => a.self_ns.cmp(&b.self_ns),
                _ => a.count.cmp(&b.count),
            };
            if self.sort.descending { order.reverse() } else { order }
        });
        self.listed = Some(want);
    }

    fn list_ui(&mut self, ui: &mut Ui, theme: &Theme, profile: &Profile, calls: &Calls, selection: &mut Selection) {
        ui.add_space(GRID);
        ui.horizontal(|ui| {
            ui.add_space(PAD);
            let mut kind = self.kind.unwrap_or_default();
            if segmented(ui, &mut kind, &KINDS) {
                self.kind = Some(kind);
                self.listed = None;
            }
        });
        ui.add_space(GRID);
        if self.rows.is_empty() {
            let text = match self.kind.unwrap_or_default() {
                _ if self.listed.as_ref().is_some_and(|l| !l.query.is_empty()) => "No name here matches the search.",
                FrameKind::Scope => "The layers of this trace have no scopes.",
                FrameKind::Span => "Every span of this trace times a layer.",
                FrameKind::Op | FrameKind::Layer => "This trace names spans, but no layers: look under Spans.",
            };
            empty(ui, theme, "Nothing to list", text, None);
            return;
        }
        let longest = self.rows.iter().map(|r| r.total_ns as f64).fold(0.0, f64::max);
        let times = Scale::time(longest);
        let columns = [
            Column::text("Name", 96.0, 1.0),
            Column::figure("Total", 84.0)
                .unit(times.unit)
                .tip("Time over all measured runs, with all that lies inside. What is inside of itself counts once."),
            Column::figure("Self", 84.0).unit(times.unit).tip("The same without what lies inside."),
            Column::figure("Count", 64.0).tip("Spans over all measured runs; for scopes, spans in them."),
        ];
        let rows = &self.rows;
        let name = |i: usize| calls.tree.name(&profile.trace, rows[i].frame);
        let at = self.picked.and_then(|p| rows.iter().position(|r| r.frame == p)).filter(|_| self.scroll_to);
        self.scroll_to = false;
        let table = Table { id: "Names", columns: &columns, rows: rows.len(), scroll_to: at, totals: false };
        let outcome = table.show(
            ui,
            theme,
            Some(&mut self.sort),
            |i| Row {
                selected: self.picked == Some(rows[i].frame),
                lit: matches!(rows[i].frame, Frame::Layer(l) if selection.is_hovered(l)),
                label: format!("{}: {} in all", name(i), format::duration(rows[i].total_ns as f64)),
            },
            |cell, i, column| {
                let r = &rows[i];
                match column {
                    0 => {
                        let mut rect = cell.rect;
                        let color = match (r.class, r.frame) {
                            (Some(class), _) => theme.class(class),
                            (None, frame) => calls.color(theme, profile, frame),
                        };
                        swatch(&cell.painter, egui::pos2(rect.left() + 4.0, rect.center().y), color);
                        rect.min.x += 14.0;
                        let align = egui::Align2::LEFT_CENTER;
                        crate::draw::text_in(&cell.painter, rect, align, name(i), theme::sans(), theme.text);
                    }
                    1 => cell.figure(&times.cell(r.total_ns as f64), theme.text_strong),
                    2 => cell.figure(&times.cell(r.self_ns as f64), theme.text),
                    _ => cell.figure(&format::grouped(r.count), theme.text_weak),
                }
            },
        );
        if let Some((i, 0, response)) = &outcome.hovered
            && *i < rows.len()
        {
            response.clone().on_hover_text(name(*i));
        }
        if let Some((i, ..)) = outcome.hovered
            && let Some(Frame::Layer(l)) = rows.get(i).map(|r| r.frame)
        {
            selection.hovered = Some(l);
        }
        if let Some(row) = outcome.chosen.and_then(|i| rows.get(i)) {
            self.picked = Some(row.frame);
            if let Frame::Layer(l) = row.frame {
                selection.select(Some(l));
            }
        }
    }

    fn trees_ui(&mut self, ui: &mut Ui, theme: &Theme, profile: &Profile, calls: &Arc<Calls>, trace: usize) {
        let Some(picked) = self.picked else {
            empty(
                ui,
                theme,
                "Nothing picked",
                "Pick a name on the left: what leads to it stands above, what it leads to below.",
                None,
            );
            return;
        };
        let of = Arc::clone(calls);
        let light = calls.tree.nodes.len() <= LIGHT;
        self.sandwich.ask(ui.ctx(), (trace, picked), light, move |_| Some(of.tree.sandwich(picked)));
        let Some(sandwich) = self.sandwich.get() else {
            empty(ui, theme, "Merging…", "Callers and callees are being added up.", None);
            return;
        };
        let all = calls.tree.nodes.first().map_or(0, |n| n.total_ns);
        let space = ui.available_rect_before_wrap();
        let depth = |t: &CallTree| TreeBrush::depth(t) as f32 * FLAME_ROW_HEIGHT + 32.0;
        let (above, below) = (depth(&sandwich.callers), depth(&sandwich.callees));
        // Each side takes what it needs; where both need more than there is, they share it.
        let half = space.height() / 2.0;
        let middle = if above + below <= space.height() || above <= half {
            above
        } else if below <= half {
            space.height() - below
        } else {
            half
        };
        let mut repick = None;
        for (up, tree, rect) in [
            (true, &sandwich.callers, space.with_max_y(space.top() + middle)),
            (false, &sandwich.callees, space.with_min_y(space.top() + middle)),
        ] {
            ui.scope_builder(egui::UiBuilder::new().max_rect(rect).id_salt(up), |ui| {
                ui.shrink_clip_rect(rect);
                let shown = side_ui(ui, theme, profile, calls, tree, up, all);
                repick = shown.map(|hit| tree.nodes[hit.node as usize].frame).or(repick);
            });
        }
        ui.painter().hline(space.x_range(), space.top() + middle + 0.5, theme.line());
        if let Some(frame) = repick {
            self.pick(frame);
        }
    }
}

/// One of the two trees; returns what was clicked.
fn side_ui(
    ui: &mut Ui,
    theme: &Theme,
    profile: &Profile,
    calls: &Calls,
    tree: &CallTree,
    up: bool,
    all: u64,
) -> Option<TreeHit> {
    let title = if up { "Callers" } else { "Callees" };
    ui.horizontal(|ui| {
        ui.set_height(24.0);
        ui.add_space(PAD);
        ui.label(RichText::new(title).font(theme::head()).color(theme.text_strong));
        caption(ui, if up { "what it was reached from, nearest at the bottom" } else { "what was reached from it" });
        let root = &tree.nodes[0];
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            ui.add_space(PAD);
            let share = if all > 0 { root.total_ns as f64 / all as f64 } else { 0.0 };
            let words = format!("{}  {}", format::duration(root.total_ns as f64), format::percent(share));
            ui.label(RichText::new(words).font(theme::caption_figure()).color(theme.text_weak))
                .on_hover_text("Time over all measured runs, and its share of all spans' time on all tracks.");
        });
    });
    let space = ui.available_rect_before_wrap();
    ui.painter().rect_filled(space, 0.0, theme.surface[0]);
    let height = (TreeBrush::depth(tree) as f32 * FLAME_ROW_HEIGHT + PAD).max(space.height());
    let mut clicked = None;
    ScrollArea::vertical().id_salt(("tree", up)).auto_shrink([false, false]).stick_to_bottom(up).show(ui, |ui| {
        let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), height), Sense::click());
        let name = tree.name(&profile.trace, tree.nodes[0].frame);
        response.widget_info(|| {
            WidgetInfo::labeled(Role::Canvas, true, format!("{title} of {name}, {} names", tree.nodes.len() - 1))
        });
        let rect: Rect = rect.shrink2(vec2(PAD, GRID));
        let lens = Lens { window: (0.0, tree.nodes[0].total_ns.max(1) as f64), left: rect.left(), width: rect.width() };
        let brush = TreeBrush {
            theme,
            trace: &profile.trace,
            tree,
            lens,
            up,
            pointer: response.hover_pos(),
            color: &|frame| calls.color(theme, profile, frame),
            faded: &|_| false,
            selected: &|_| false,
        };
        if let Some(hit) = brush.paint(ui.painter(), rect) {
            if response.clicked() && hit.node != 0 && hit.merged.is_none() {
                clicked = Some(hit);
            }
            let of = tree.nodes[0].total_ns;
            response.on_hover_ui_at_pointer(|ui| {
                tip_ui(ui, theme, &profile.trace, tree, hit, of);
                if hit.node != 0 {
                    ui.label(
                        RichText::new("Click to put it in the middle").font(theme::caption()).color(theme.text_weak),
                    );
                }
            });
        }
    });
    clicked
}
