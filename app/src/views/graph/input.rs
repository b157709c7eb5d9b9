//! What pointer and keys do in the graph.

use std::collections::HashSet;

use egui::{CursorIcon, EventFilter, Key, Modifiers, Rect, Response, Ui, vec2};

use super::GraphView;
use crate::draw::graph_figures::Colour;
use crate::draw::graph_scene::{BoxId, Laid};
use crate::draw::graph_tree::{Grain, ItemId};
use crate::view::Selection;

const SHIFT: Modifiers = Modifiers::SHIFT;
const NONE: Modifiers = Modifiers::NONE;

/// Keys while the graph has the focus, and the command of each.
pub(super) const KEYS: &[(Modifiers, Key, &str)] = &[
    (NONE, Key::W, "zoom-in"),
    (NONE, Key::S, "zoom-out"),
    (NONE, Key::A, "left"),
    (NONE, Key::D, "right"),
    (NONE, Key::PageUp, "up"),
    (NONE, Key::PageDown, "down"),
    (NONE, Key::F, "fit"),
    (SHIFT, Key::F, "fit-all"),
    (NONE, Key::Enter, "toggle"),
    (SHIFT, Key::Enter, "toggle-alike"),
    (NONE, Key::Backspace, "close"),
    (NONE, Key::E, "open-all"),
    (SHIFT, Key::E, "close-all"),
    (NONE, Key::Slash, "search"),
    (NONE, Key::N, "next"),
    (SHIFT, Key::N, "previous"),
    (NONE, Key::ArrowUp, "to-input"),
    (NONE, Key::ArrowDown, "to-output"),
    (NONE, Key::ArrowLeft, "to-left"),
    (NONE, Key::ArrowRight, "to-right"),
    (NONE, Key::Escape, "let-go"),
];

impl GraphView {
    pub(super) fn pointer_input(
        &mut self,
        ui: &Ui,
        response: &Response,
        window: Rect,
        laid: &Laid,
        hit: Option<BoxId>,
        selection: &mut Selection,
    ) {
        let item = hit.map(|h| laid.scene.boxes[h as usize].item);
        let shift = ui.input(|i| i.modifiers.shift);
        if response.double_clicked() {
            match item {
                Some(item) if laid.tree.is_scope(item) => self.toggle(laid, item, shift),
                Some(_) => self.act("fit", selection),
                None => self.fit_all(laid),
            }
        } else if response.clicked() {
            response.request_focus();
            let layer = item.and_then(|i| laid.tree.items[i as usize].layer);
            let on_scope = item.is_some_and(|i| laid.tree.is_scope(i));
            if !on_scope {
                selection.select(layer);
                self.followed = layer;
            }
            self.cursor = item.map(|i| laid.tree.items[i as usize].path.clone());
        }
        if response.dragged() {
            self.camera.pan(-response.drag_delta());
            self.camera.keep_in(laid.scene.bounds());
            self.camera.snap();
            ui.ctx().set_cursor_icon(CursorIcon::Grabbing);
        }
        if let Some(at) = response.hover_pos().filter(|_| response.contains_pointer()) {
            let (zoom, scroll) = ui.input(|i| (i.zoom_delta(), i.smooth_scroll_delta()));
            if zoom != 1.0 {
                self.camera.zoom(zoom, self.camera.target().canvas(window, at));
            }
            if scroll != egui::Vec2::ZERO {
                self.camera.pan(-scroll);
                self.camera.keep_in(laid.scene.bounds());
                self.camera.snap();
            }
        }
    }

    pub(super) fn key_input(&mut self, ui: &Ui, response: &Response, selection: &mut Selection) {
        if !response.has_focus() {
            return;
        }
        let filter = EventFilter { horizontal_arrows: true, vertical_arrows: true, escape: true, tab: false };
        ui.memory_mut(|m| m.set_focus_lock_filter(response.id, filter));
        for &(modifiers, key, id) in KEYS {
            if ui.input_mut(|i| i.modifiers == modifiers && i.consume_key(modifiers, key)) {
                self.act(id, selection);
            }
        }
    }

    /// Carries out a command by its id.
    pub(super) fn act(&mut self, id: &str, selection: &mut Selection) {
        match id {
            "layers" => self.grain = Grain::Layers,
            "nodes" => self.grain = Grain::Nodes,
            "latency" => self.colour = Colour::Latency,
            "memory" => self.colour = Colour::Memory,
            "error" => self.colour = Colour::Error,
            "operator" => self.colour = Colour::Operator,
            "constants" => self.constants = !self.constants,
            "search" => self.search_wanted = true,
            "zoom-in" => self.camera.zoom(1.5, self.camera.target().middle),
            "zoom-out" => self.camera.zoom(1.0 / 1.5, self.camera.target().middle),
            "left" => self.camera.pan(vec2(-0.2 * self.size.x, 0.0)),
            "right" => self.camera.pan(vec2(0.2 * self.size.x, 0.0)),
            "up" => self.camera.pan(vec2(0.0, -0.6 * self.size.y)),
            "down" => self.camera.pan(vec2(0.0, 0.6 * self.size.y)),
            "let-go" => {
                selection.select(None);
                (self.followed, self.cursor) = (None, None);
                self.search.clear();
            }
            _ => {
                if let Some(laid) = self.layouts.laid().cloned() {
                    self.act_on(id, &laid, selection);
                }
            }
        }
        if let Some(laid) = self.layouts.laid() {
            self.camera.keep_in(laid.scene.bounds());
        }
    }

    /// The commands that need the graph.
    fn act_on(&mut self, id: &str, laid: &Laid, selection: &mut Selection) {
        let cursor = self.cursor.as_ref().and_then(|path| laid.item_of(path));
        let selected = selection.layer.and_then(|l| laid.tree.of_layer.get(l.index()).copied().flatten());
        let at = cursor.or(selected);
        match id {
            "fit-all" => self.fit_all(laid),
            "fit" => match at.and_then(|i| laid.scene.standing_for(&laid.tree, i)) {
                Some(b) => {
                    let rect = laid.scene.boxes[b as usize].rect;
                    self.camera.fit(rect.expand2(rect.size() * 0.5), self.size, 1.25);
                }
                None => self.fit_all(laid),
            },
            "toggle" | "toggle-alike" => {
                if let Some(scope) = at.filter(|&i| laid.tree.is_scope(i)) {
                    self.toggle(laid, scope, id == "toggle-alike");
                }
            }
            "close" => {
                if let Some(scope) = at.and_then(|i| laid.tree.around(i).find(|i| laid.scene.box_of.contains_key(i))) {
                    self.cursor = Some(laid.tree.items[scope as usize].path.clone());
                    self.toggle(laid, scope, false);
                }
            }
            "open-all" => {
                let scopes = laid.tree.items.iter().filter(|i| !i.children.is_empty());
                let all: HashSet<String> = scopes.map(|i| i.path.clone()).collect();
                self.hold(laid, at);
                self.layouts.open(all);
            }
            "close-all" => {
                self.layouts.open(HashSet::new());
                self.wanted = laid.tree.items[0].children.first().map(|&c| laid.tree.items[c as usize].path.clone());
            }
            "next" | "previous" => self.next_match(laid, id == "next"),
            "to-input" | "to-output" | "to-left" | "to-right" => self.walk(laid, at, id, selection),
            _ => {}
        }
    }

    /// Keeps a box in place while the layout changes around it.
    fn hold(&mut self, laid: &Laid, item: Option<ItemId>) {
        let item = item.and_then(|i| laid.scene.standing_for(&laid.tree, i));
        self.kept = item.map(|b| {
            let b = &laid.scene.boxes[b as usize];
            (laid.tree.items[b.item as usize].path.clone(), b.rect)
        });
    }

    /// Opens or closes a scope, or all of its siblings that are alike with it.
    fn toggle(&mut self, laid: &Laid, scope: ItemId, alike: bool) {
        let item = &laid.tree.items[scope as usize];
        let siblings = &laid.tree.items[item.parent as usize].children;
        let same = |i: &ItemId| {
            let other = &laid.tree.items[*i as usize];
            *i == scope || (alike && (other.leaves, other.alike) == (item.leaves, item.alike) && item.alike > 1)
        };
        let mut open = (*laid.open).clone();
        let close = open.contains(&item.path);
        for path in siblings.iter().filter(|i| same(i)).map(|&i| &laid.tree.items[i as usize].path) {
            if close {
                open.remove(path);
            } else {
                open.insert(path.clone());
            }
        }
        self.hold(laid, Some(scope));
        self.cursor = Some(item.path.clone());
        self.layouts.open(open);
    }

    /// Goes to a box that is joined with this one, or stands beside it.
    fn walk(&mut self, laid: &Laid, at: Option<ItemId>, way: &str, selection: &mut Selection) {
        let scene = &laid.scene;
        let here = at.and_then(|i| scene.standing_for(&laid.tree, i));
        let next = match here {
            None => {
                let top = |&b: &BoxId| scene.boxes[b as usize].rect.top();
                let closed = (1..scene.boxes.len() as BoxId).filter(|&b| !scene.boxes[b as usize].open);
                closed.min_by(|a, b| top(a).total_cmp(&top(b)))
            }
            Some(here) => {
                let rect = scene.boxes[here as usize].rect;
                let near = |&b: &BoxId| {
                    let other = scene.boxes[b as usize].rect;
                    (other.center() - rect.center()).length()
                };
                let nearest = |list: Vec<BoxId>| list.into_iter().min_by(|a, b| near(a).total_cmp(&near(b)));
                match way {
                    "to-input" => nearest(scene.makers[here as usize].clone()),
                    "to-output" => nearest(scene.readers[here as usize].clone()),
                    _ => {
                        let beside = |b: &BoxId| {
                            let other = scene.boxes[*b as usize].rect;
                            let on_side = if way == "to-left" {
                                other.right() <= rect.left()
                            } else {
                                other.left() >= rect.right()
                            };
                            on_side && other.y_range().contains(rect.center().y.clamp(other.top(), other.bottom()))
                        };
                        let parts = &scene.boxes[scene.boxes[here as usize].parent as usize].parts;
                        let level = |b: &BoxId| {
                            let other = scene.boxes[*b as usize].rect;
                            other.top() <= rect.bottom() && other.bottom() >= rect.top()
                        };
                        nearest(parts.iter().copied().filter(|b| *b != here && level(b) && beside(b)).collect())
                    }
                }
            }
        };
        if let Some(next) = next {
            let b = &scene.boxes[next as usize];
            let item = &laid.tree.items[b.item as usize];
            self.cursor = Some(item.path.clone());
            self.camera.reveal(b.rect, self.size);
            if item.layer.is_some() {
                selection.select(item.layer);
                self.followed = item.layer;
            }
        }
    }

    /// Keeps the list of items that a search finds.
    pub(super) fn find(&mut self) {
        let Some(laid) = self.layouts.laid() else { return };
        let key = (std::sync::Arc::as_ptr(&laid.tree).addr() as u64, self.search.clone());
        if self.matched_by.as_ref() == Some(&key) {
            return;
        }
        let words: Vec<String> = self.search.split_whitespace().map(str::to_lowercase).collect();
        let matches = |i: &crate::draw::graph_tree::Item| {
            let text = format!("{} {}", i.path, i.op).to_lowercase();
            words.iter().all(|w| text.contains(w))
        };
        let leaves = laid.tree.items.iter().enumerate().filter(|(id, i)| *id > 0 && i.children.is_empty());
        self.matches = match words.is_empty() {
            true => Vec::new(),
            false => leaves.filter(|(_, i)| matches(i)).map(|(id, _)| id as ItemId).collect(),
        };
        self.matched_by = Some(key);
    }

    /// Goes to the next match after where the keyboard is.
    pub(super) fn next_match(&mut self, laid: &Laid, forward: bool) {
        let at = self.cursor.as_ref().and_then(|path| laid.item_of(path)).unwrap_or(0);
        let next = if forward {
            self.matches.iter().find(|&&m| m > at).or(self.matches.first())
        } else {
            self.matches.iter().rev().find(|&&m| m < at).or(self.matches.last())
        };
        if let Some(&next) = next {
            self.reveal(laid, next);
        }
    }
}
