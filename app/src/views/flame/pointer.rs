//! What the pointer does on the graph: clicks select, drags select a stretch of time, wheels scroll and zoom.

use egui::{CursorIcon, PointerButton, Response, Ui};

use super::{FlameView, Mode};
use crate::draw::flame_paint::{Hit, Lens};
use crate::view::{Profile, Selection};

/// What is being dragged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Drag {
    /// The window.
    Pan,
    /// A stretch of time, from its other edge.
    Range {
        /// The edge that stays.
        anchor: f64,
    },
}

/// How near to an edge of the range a drag takes hold of it, in points.
const EDGE: f32 = 5.0;

impl FlameView {
    /// Clicks and drags in the graph.
    pub(super) fn pointer_input(
        &mut self,
        ui: &Ui,
        response: &Response,
        profile: &Profile,
        selection: &mut Selection,
        lens: Lens,
        hit: Option<Hit>,
    ) {
        // Enter and space click what has the focus, too; here they do not point at anything.
        let clicked = response.clicked() && ui.input(|i| i.pointer.any_click());
        if response.double_clicked() {
            self.window.fit(hit.map_or(self.whole(profile), |h| h.extent));
        } else if clicked {
            response.request_focus();
            selection.range = None;
            selection.select(hit.and_then(|h| h.cell.layer));
            selection.span = hit.and_then(|h| h.cell.span);
            // What was clicked is in view: the window stays.
            self.followed = (selection.layer, selection.span);
            if let Some(hit) = hit.filter(|h| h.count > 1) {
                self.window.fit(hit.extent);
            }
        }
        self.range_by_pointer(ui, response, selection, lens);
        self.move_by_pointer(ui, response, lens);
    }

    /// A plain drag selects a stretch of time; one that begins at an edge of the last moves that edge.
    fn range_by_pointer(&mut self, ui: &Ui, response: &Response, selection: &mut Selection, lens: Lens) {
        if self.mode != Mode::Time {
            return;
        }
        let edge = |x: f32| {
            let (a, b) = selection.range?;
            let (a, b) = (a as f64, b as f64);
            if (lens.x(b) - x).abs() <= EDGE {
                Some(a)
            } else if (lens.x(a) - x).abs() <= EDGE {
                Some(b)
            } else {
                None
            }
        };
        if self.drag.is_none()
            && let Some(at) = response.hover_pos()
            && edge(at.x).is_some()
        {
            ui.ctx().set_cursor_icon(CursorIcon::ResizeHorizontal);
        }
        let origin = ui.input(|i| i.pointer.press_origin());
        let plain = !ui.input(|i| i.modifiers.any());
        if response.drag_started_by(PointerButton::Primary)
            && plain
            && let Some(at) = origin
        {
            self.drag = Some(Drag::Range { anchor: edge(at.x).unwrap_or(lens.t(at.x)) });
            response.request_focus();
        }
        let Some(Drag::Range { anchor }) = self.drag else { return };
        if let Some(at) = response.interact_pointer_pos() {
            let now = lens.t(at.x.clamp(lens.left, lens.left + lens.width));
            let (a, b) = (anchor.min(now).max(0.0), anchor.max(now).max(0.0));
            selection.range = Some((a.round() as u64, (b.round() as u64).max(a.round() as u64 + 1)));
        }
        if response.drag_stopped() || !response.dragged() {
            self.drag = None;
        }
    }

    /// Shift and drag, or the middle button, pans; in merged order any drag does. The wheel scrolls, with Ctrl it zooms.
    pub(super) fn move_by_pointer(&mut self, ui: &Ui, response: &Response, lens: Lens) {
        let pans = self.mode != Mode::Time
            || ui.input(|i| i.modifiers.shift)
            || response.drag_started_by(PointerButton::Middle);
        if response.drag_started() && pans && self.drag.is_none() {
            self.drag = Some(Drag::Pan);
        }
        if self.drag == Some(Drag::Pan) {
            if response.dragged() {
                let by = response.drag_delta();
                self.window.pan(-f64::from(by.x) * lens.per_point());
                self.window.snap();
                self.scroll -= by.y;
                ui.ctx().set_cursor_icon(CursorIcon::Grabbing);
            } else {
                self.drag = None;
            }
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
}
