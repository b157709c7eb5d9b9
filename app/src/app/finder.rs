//! A field over a list: the command palette, and the search for layers and nodes.

use egui::text::{LayoutJob, TextFormat};
use egui::{
    Align2, Color32, Context, CornerRadius, Key, Modal, Modifiers, Rect, Role, ScrollArea, Sense, TextEdit, Ui,
    WidgetInfo, pos2, vec2,
};
use nucleo_matcher::pattern::{CaseMatching, Normalization, Pattern};
use nucleo_matcher::{Config, Matcher, Utf32Str};
use profiler::LayerId;

use super::{App, Sheet, Wish};
use crate::draw::{galley, text_in};
use crate::theme::{self, PAD, Theme};

const WIDTH: f32 = 600.0;
const ROW: f32 = 28.0;
/// How many commands are remembered as used last.
const REMEMBERED: usize = 12;
/// No more layers and nodes than this are offered, nor more hits listed: their first letters find the rest.
const MOST_ITEMS: usize = 50_000;
const MOST_HITS: usize = 200;

/// Something to find.
struct Item {
    /// What is matched.
    text: String,
    /// What stands at the right, weaker.
    detail: String,
    /// The keys, at the far right.
    keys: String,
    /// Why it can't be chosen; empty if it can.
    hindrance: &'static str,
    /// To remember it by; empty if it is not remembered.
    id: String,
    wish: Wish,
}

/// The open field and its list.
pub(super) struct Finder {
    hint: &'static str,
    /// What the field said when the hits were made.
    query: String,
    items: Vec<Item>,
    /// Indices into the items and the matched characters, best first.
    hits: Vec<(usize, Vec<u32>)>,
    cursor: usize,
    moved: bool,
    matcher: Matcher,
}

impl Finder {
    fn new(hint: &'static str, items: Vec<Item>) -> Self {
        let mut finder = Finder {
            hint,
            query: String::new(),
            items,
            hits: Vec::new(),
            cursor: 0,
            moved: true,
            matcher: Matcher::new(Config::DEFAULT.match_paths()),
        };
        finder.search();
        finder
    }

    /// Makes the hits anew. Without a query everything is listed in its order.
    fn search(&mut self) {
        (self.cursor, self.moved) = (0, true);
        if self.query.trim().is_empty() {
            self.hits = (0..self.items.len().min(MOST_HITS)).map(|i| (i, Vec::new())).collect();
            return;
        }
        let pattern = Pattern::parse(&self.query, CaseMatching::Smart, Normalization::Smart);
        let mut buffer = Vec::new();
        let mut scored: Vec<(u32, usize)> = Vec::new();
        for (i, item) in self.items.iter().enumerate() {
            let score = pattern.score(Utf32Str::new(&item.text, &mut buffer), &mut self.matcher);
            scored.extend(score.map(|s| (s, i)));
        }
        // What can't be done now comes after what can; equal scores keep the list's order.
        scored.sort_by_key(|&(score, i)| (!self.items[i].hindrance.is_empty(), std::cmp::Reverse(score), i));
        scored.truncate(MOST_HITS);
        self.hits.clear();
        for (_, i) in scored {
            let mut at = Vec::new();
            pattern.indices(Utf32Str::new(&self.items[i].text, &mut buffer), &mut self.matcher, &mut at);
            at.sort_unstable();
            at.dedup();
            self.hits.push((i, at));
        }
    }

    /// Moves through the hits by key, before the field sees the key; true if the one under the cursor is chosen.
    fn keys(&mut self, ctx: &Context) -> bool {
        let last = self.hits.len().saturating_sub(1);
        let page = 10;
        for (key, to) in [
            (Key::ArrowDown, if self.cursor >= last { 0 } else { self.cursor + 1 }),
            (Key::ArrowUp, self.cursor.checked_sub(1).unwrap_or(last)),
            (Key::PageDown, (self.cursor + page).min(last)),
            (Key::PageUp, self.cursor.saturating_sub(page)),
        ] {
            if ctx.input_mut(|i| i.consume_key(Modifiers::NONE, key)) {
                (self.cursor, self.moved) = (to, true);
            }
        }
        ctx.input_mut(|i| i.consume_key(Modifiers::NONE, Key::Enter))
    }

    /// Draws the field and the list; the item that was chosen, if one was.
    fn ui(&mut self, ui: &mut Ui, theme: &Theme) -> Option<usize> {
        let ctx = ui.ctx().clone();
        let mut chosen = self.keys(&ctx).then(|| self.hits.get(self.cursor)).flatten().map(|h| h.0);
        let mut text = self.query.clone();
        let field = TextEdit::singleline(&mut text)
            .id_salt("finder")
            .hint_text(self.hint)
            .desired_width(f32::INFINITY)
            .margin(egui::Margin::symmetric(10, 6));
        let field = ui.add(field);
        field.request_focus();
        if text != self.query {
            self.query = text;
            self.search();
            // The field was drawn before it took the keys.
            ctx.request_repaint();
        }
        ui.add_space(theme::GRID);
        let height = (ctx.content_rect().height() * 0.55).clamp(ROW * 3.0, ROW * 14.0);
        let list = ui.scope(|ui| {
            ui.spacing_mut().item_spacing.y = 0.0;
            let area = ScrollArea::vertical().max_height(height).min_scrolled_height(height);
            area.auto_shrink([false, true]).show(ui, |ui| {
                if self.hits.is_empty() {
                    ui.add_space(PAD);
                    crate::draw::note(ui, "Nothing is called that.");
                    ui.add_space(PAD);
                }
                for n in 0..self.hits.len() {
                    chosen = chosen.or(self.row(ui, theme, n));
                }
            });
        });
        self.moved = false;
        list.response.widget_info(|| WidgetInfo::labeled(Role::ListBox, true, self.hint));
        chosen.filter(|&i| self.items[i].hindrance.is_empty())
    }

    fn row(&mut self, ui: &mut Ui, theme: &Theme, n: usize) -> Option<usize> {
        let (i, marks) = &self.hits[n];
        let item = &self.items[*i];
        let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), ROW), Sense::click());
        let current = n == self.cursor;
        if current && self.moved {
            ui.scroll_to_rect(rect, None);
        }
        response.widget_info(|| {
            WidgetInfo::selected(
                Role::ListBoxOption,
                item.hindrance.is_empty(),
                current,
                format!("{} {}", item.text, item.keys),
            )
        });
        ui.ctx().accesskit_node_builder(response.id, |node| {
            node.clear_toggled();
            node.set_selected(current);
            node.set_position_in_set(n);
        });
        if ui.is_rect_visible(rect) {
            let fill = if current {
                theme.selection
            } else if response.hovered() {
                theme.surface[2]
            } else {
                Color32::TRANSPARENT
            };
            ui.painter().rect_filled(rect, CornerRadius::same(theme::RADIUS), fill);
            let mut inner = rect.shrink2(vec2(PAD, 0.0));
            let keys = galley(ui.painter(), &item.keys, theme::caption_figure(), theme.text_weak, inner.width() * 0.4);
            if !item.keys.is_empty() {
                let at = pos2(inner.right() - keys.size().x, inner.center().y - keys.size().y / 2.0);
                inner.max.x = at.x - 2.0 * PAD;
                ui.painter().galley(at, keys, theme.text_weak);
            }
            let possible = item.hindrance.is_empty();
            let color = if possible { theme.text } else { theme.text_weak };
            let job = marked(&item.text, marks, color, if possible { theme.accent } else { color }, inner.width());
            let title = ui.painter().layout_job(job);
            let end = inner.left() + title.size().x;
            ui.painter().galley(pos2(inner.left(), inner.center().y - title.size().y / 2.0), title, color);
            let detail = if possible { item.detail.as_str() } else { item.hindrance };
            let rest = Rect::from_min_max(pos2(end + 2.0 * PAD, inner.top()), inner.max);
            if rest.width() > 40.0 {
                text_in(ui.painter(), rest, Align2::RIGHT_CENTER, detail, theme::caption(), theme.text_weak);
            }
        }
        response.clicked().then_some(*i)
    }
}

/// A line with the matched characters in another colour.
fn marked(text: &str, marks: &[u32], color: Color32, mark: Color32, width: f32) -> LayoutJob {
    let wrap = egui::text::TextWrapping::truncate_at_width(width.max(0.0));
    let mut job = LayoutJob { wrap, ..LayoutJob::default() };
    let (mut run, mut run_marked) = (String::new(), false);
    let format = |marked| TextFormat::simple(theme::sans(), if marked { mark } else { color });
    for (n, c) in text.chars().enumerate() {
        let is = marks.binary_search(&(n as u32)).is_ok();
        if is != run_marked && !run.is_empty() {
            job.append(&std::mem::take(&mut run), 0.0, format(run_marked));
        }
        run_marked = is;
        run.push(c);
    }
    job.append(&run, 0.0, format(run_marked));
    job
}

impl App {
    /// What is typed before the field has the focus belongs to it, and not to the views below.
    pub(super) fn type_ahead(&mut self, ctx: &Context) {
        let Some(Sheet::Finder(finder)) = &mut self.sheet else { return };
        if ctx.text_edit_focused() {
            return;
        }
        let mut typed = String::new();
        ctx.input_mut(|i| {
            i.events.retain(|e| match e {
                egui::Event::Text(text) => {
                    typed.push_str(text);
                    false
                }
                _ => true,
            });
        });
        if !typed.is_empty() {
            finder.query.push_str(&typed);
            finder.search();
        }
    }

    /// Opens the palette: what was used last comes first.
    pub(super) fn open_palette(&mut self, ctx: &Context) {
        let mut items: Vec<Item> = self
            .entries()
            .into_iter()
            .filter(|e| e.wish != Wish::Palette)
            .map(|e| Item {
                text: format!("{}: {}", e.group, e.full_title()),
                detail: e.tip.lines().next().unwrap_or_default().to_owned(),
                keys: e.key_text(ctx),
                hindrance: e.hindrance,
                id: e.id,
                wish: e.wish,
            })
            .collect();
        let used = &self.state.used_commands;
        items.sort_by_key(|item| used.iter().position(|id| *id == item.id).unwrap_or(usize::MAX));
        self.sheet = Some(Sheet::Finder(Box::new(Finder::new("What do you want to do?", items))));
    }

    /// Opens the search for layers and nodes.
    pub(super) fn open_search(&mut self) {
        let items = self.layer_items();
        self.sheet = Some(Sheet::Finder(Box::new(Finder::new("Find a layer or node by name or operator", items))));
    }

    fn layer_items(&self) -> Vec<Item> {
        let profile = self.runs.current().map(|r| &r.profile);
        let inspected = self.model.as_ref().and_then(|m| m.inspection.as_ref());
        let (layers, nodes) = match (profile, inspected) {
            (Some(p), _) => (&p.trace.layers[..], &p.trace.nodes[..]),
            (None, Some(i)) => (&i.layers[..], &[][..]),
            (None, None) => return Vec::new(),
        };
        let item = |text: String, detail: String, layer: Option<LayerId>| Item {
            text,
            detail,
            keys: String::new(),
            hindrance: if layer.is_some() { "" } else { "Folded away: no layer runs it" },
            id: String::new(),
            wish: layer.map_or(Wish::Find, Wish::Select),
        };
        let mut by_node = std::collections::HashMap::new();
        let mut items = Vec::new();
        for (i, l) in layers.iter().enumerate().take(MOST_ITEMS) {
            let id = LayerId(i as u32);
            by_node.extend(l.source_nodes.iter().map(|n| (n.as_str(), id)));
            let time = profile.and_then(|p| p.stats_of(id)).map(|s| crate::format::duration(s.time.median));
            let detail = [Some(l.op.clone()), time].into_iter().flatten().collect::<Vec<_>>().join("   ");
            items.push(item(l.name.clone(), detail, Some(id)));
        }
        for node in nodes.iter().take(MOST_ITEMS) {
            let layer = by_node.get(node.name.as_str()).copied();
            // A node that is a layer by itself is listed already.
            if layer.and_then(|l| layers.get(l.index())).is_some_and(|l| l.name == node.name) {
                continue;
            }
            let part = layer.and_then(|l| layers.get(l.index())).map(|l| format!("{} in {}", node.op, l.name));
            items.push(item(node.name.clone(), part.unwrap_or_else(|| node.op.clone()), layer));
        }
        items
    }

    pub(super) fn finder_ui(&mut self, ctx: &Context, theme: &Theme) {
        let Some(Sheet::Finder(finder)) = &mut self.sheet else { return };
        let id = egui::Id::unique("finder");
        let area = Modal::default_area(id).anchor(Align2::CENTER_TOP, vec2(0.0, 64.0));
        let modal = Modal::new(id).area(area).backdrop_color(Color32::from_black_alpha(64)).show(ctx, |ui| {
            ui.set_width(WIDTH.min(ctx.content_rect().width() - 4.0 * PAD));
            finder.ui(ui, theme)
        });
        if let Some(item) = modal.inner.and_then(|i| finder.items.get(i)) {
            let used = &mut self.state.used_commands;
            if !item.id.is_empty() {
                used.retain(|id| *id != item.id);
                used.insert(0, item.id.clone());
                used.truncate(REMEMBERED);
            }
            self.wishes.push(item.wish.clone());
            self.sheet = None;
            self.touched = true;
        } else if modal.should_close() {
            self.sheet = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finder(texts: &[&str]) -> Finder {
        let item = |t: &&str| Item {
            text: (*t).to_owned(),
            detail: String::new(),
            keys: String::new(),
            hindrance: if t.contains("never") { "never" } else { "" },
            id: String::new(),
            wish: Wish::Help,
        };
        Finder::new("", texts.iter().map(item).collect())
    }

    #[test]
    fn letters_in_order_find_and_the_possible_comes_first() {
        let mut f = finder(&["File: Open…", "File: never open", "View: Reset layout", "Run: Run"]);
        assert_eq!(f.hits.len(), 4);
        f.query = "rslay".into();
        f.search();
        assert_eq!(f.hits.iter().map(|h| h.0).collect::<Vec<_>>(), [2]);
        assert_eq!(f.hits[0].1.len(), 5);
        f.query = "open".into();
        f.search();
        assert_eq!(f.hits.iter().map(|h| h.0).collect::<Vec<_>>(), [0, 1]);
        f.query = "zzz".into();
        f.search();
        assert!(f.hits.is_empty());
    }

    #[test]
    fn marked_characters_keep_the_text_whole() {
        let job = marked("naïve/Größe", &[2, 3, 7], Color32::WHITE, Color32::RED, 100.0);
        assert_eq!(job.text, "naïve/Größe");
        assert_eq!(job.sections.len(), 5);
    }
}
