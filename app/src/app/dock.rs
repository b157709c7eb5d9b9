//! The dockable panels: which view sits where.

use egui::{Color32, Rect, Stroke, TextStyle, Ui, Visuals, WidgetText};
use egui_tiles::{Behavior, Container, SimplificationOptions, TabState, Tile, TileId, Tiles, Tree, UiResponse};
use serde::{Deserialize, Serialize};

use crate::theme::Theme;
use crate::view::{View, ViewCx};

/// A panel: the id of a view.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pane(String);

/// The arrangement of the panels.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Layout {
    tree: Tree<Pane>,
}

/// Left, top centre, tabs below it, right; the tabs take every view that has no place of its own.
const LEFT: &str = "model";
const CENTRE: &str = "flame";
const RIGHT: &str = "inspector";

impl Default for Layout {
    fn default() -> Self {
        let ids: Vec<&'static str> = crate::views::all().iter().map(|v| v.id()).collect();
        Layout::of(&ids)
    }
}

impl Layout {
    /// The default arrangement of these views.
    pub fn of(ids: &[&str]) -> Self {
        let mut tiles = Tiles::default();
        let mut pane = |id: &str| {
            let pane = tiles.insert_pane(Pane(id.to_owned()));
            tiles.insert_tab_tile(vec![pane])
        };
        let mut place = |id: &str| ids.contains(&id).then(|| pane(id));
        let (left, centre, right) = (place(LEFT), place(CENTRE), place(RIGHT));
        let rest: Vec<TileId> = ids
            .iter()
            .filter(|id| ![LEFT, CENTRE, RIGHT].contains(id))
            .map(|id| tiles.insert_pane(Pane((*id).to_owned())))
            .collect();
        let rest = (!rest.is_empty()).then(|| tiles.insert_tab_tile(rest));
        let middle: Vec<TileId> = centre.into_iter().chain(rest).collect();
        let middle = (!middle.is_empty()).then(|| tiles.insert_vertical_tile(middle));
        let columns: Vec<(TileId, f32)> =
            [(left, 0.19), (middle, 0.60), (right, 0.21)].into_iter().filter_map(|(t, s)| Some((t?, s))).collect();
        let root = tiles.insert_horizontal_tile(columns.iter().map(|c| c.0).collect());
        if let Some(Tile::Container(Container::Linear(row))) = tiles.get_mut(root) {
            for (tile, share) in columns {
                row.shares.set_share(tile, share);
            }
        }
        Layout { tree: Tree::new(egui::Id::unique("dock"), root, tiles) }
    }

    /// True if each of these views has exactly one place, and nothing else has one.
    pub fn fits(&self, ids: &[&str]) -> bool {
        let mut have: Vec<&str> = self
            .tree
            .tiles
            .tiles()
            .filter_map(|t| match t {
                Tile::Pane(Pane(id)) => Some(id.as_str()),
                Tile::Container(_) => None,
            })
            .collect();
        let mut want = ids.to_vec();
        have.sort_unstable();
        want.sort_unstable();
        have == want && self.tree.root().is_some_and(|r| self.tree.tiles.get(r).is_some())
    }

    /// This arrangement for these views: panels of other views are gone, and views without a place join the tabs below.
    /// `None` if it is damaged.
    pub fn completed(mut self, ids: &[&str]) -> Option<Self> {
        let mut seen: Vec<String> = Vec::new();
        let mut gone = Vec::new();
        let mut panes: Vec<(TileId, String)> = Vec::new();
        for (&tile, content) in self.tree.tiles.iter() {
            if let Tile::Pane(Pane(id)) = content {
                panes.push((tile, id.clone()));
            }
        }
        panes.sort_by_key(|p| p.0.0);
        for (tile, id) in panes {
            if !ids.contains(&id.as_str()) || seen.contains(&id) || self.tree.tiles.parent_of(tile).is_none() {
                gone.push(tile);
            } else {
                seen.push(id);
            }
        }
        for tile in gone {
            self.tree.remove_recursively(tile);
        }
        let root = self.tree.root()?;
        self.tree.tiles.get(root)?;
        let missing: Vec<&str> = ids.iter().filter(|id| !seen.iter().any(|s| s == *id)).copied().collect();
        for id in missing {
            let home = self.tabs_below().unwrap_or(root);
            let pane = self.tree.tiles.insert_pane(Pane(id.to_owned()));
            match self.tree.tiles.get_mut(home)? {
                Tile::Container(container) => container.add_child(pane),
                Tile::Pane(_) => return None,
            }
        }
        self.fits(ids).then_some(self)
    }

    /// The tabs that take views without a place of their own: the group with most of them.
    fn tabs_below(&self) -> Option<TileId> {
        let own = [LEFT, CENTRE, RIGHT].map(|id| self.tile(id));
        let groups = self.tree.tiles.iter().filter_map(|(&tile, content)| match content {
            Tile::Container(Container::Tabs(tabs)) => {
                let others = tabs.children.iter().filter(|c| !own.contains(&Some(**c))).count();
                (others > 0).then_some((others, tile.0))
            }
            _ => None,
        });
        groups.max().map(|g| TileId::from_u64(g.1))
    }

    fn tile(&self, id: &str) -> Option<TileId> {
        self.tree.tiles.find_pane(&Pane(id.to_owned()))
    }

    /// True if the panel is not hidden.
    pub fn is_shown(&self, id: &str) -> bool {
        self.tile(id).is_some_and(|t| self.tree.is_visible(t))
    }

    /// Hides or shows a panel.
    pub fn set_shown(&mut self, id: &str, shown: bool) {
        if let Some(tile) = self.tile(id) {
            self.tree.set_visible(tile, shown);
        }
    }

    /// Shows a panel and brings it in front of its tabs.
    pub fn focus(&mut self, id: &str) {
        self.set_shown(id, true);
        if let Some(tile) = self.tile(id) {
            self.tree.make_active(|t, _| t == tile);
        }
    }

    /// Draws all panels.
    pub fn ui(&mut self, ui: &mut Ui, views: &mut [Box<dyn View>], cx: &mut ViewCx<'_>) {
        self.tree.ui(&mut Panels { views, theme: cx.theme, cx }, ui);
    }
}

/// Where a panel is on the screen; none if this frame did not draw it.
pub fn place_of(ctx: &egui::Context, view: &str) -> Option<Rect> {
    let (frame, rect) = ctx.data(|d| d.get_temp::<(u64, Rect)>(place(view)))?;
    (frame == ctx.cumulative_frame_nr()).then_some(rect)
}

fn place(view: &str) -> egui::Id {
    egui::Id::unique(("panel", view))
}

struct Panels<'a, 'b> {
    views: &'a mut [Box<dyn View>],
    cx: &'a mut ViewCx<'b>,
    theme: &'static Theme,
}

impl Behavior<Pane> for Panels<'_, '_> {
    fn pane_ui(&mut self, ui: &mut Ui, _tile: TileId, Pane(id): &mut Pane) -> UiResponse {
        if let Some(view) = self.views.iter_mut().find(|v| v.id() == id) {
            ui.painter().rect_filled(ui.max_rect(), 0.0, self.theme.surface[1]);
            let drawn = (ui.ctx().cumulative_frame_nr(), ui.max_rect());
            ui.data_mut(|d| d.insert_temp(place(view.id()), drawn));
            ui.push_id(view.id(), |ui| view.ui(ui, self.cx));
        }
        UiResponse::None
    }

    fn tab_title_for_pane(&mut self, Pane(id): &Pane) -> WidgetText {
        self.views.iter().find(|v| v.id() == id).map_or("", |v| v.title()).into()
    }

    fn simplification_options(&self) -> SimplificationOptions {
        SimplificationOptions { all_panes_must_have_tabs: true, ..SimplificationOptions::default() }
    }

    fn tab_bar_height(&self, style: &egui::Style) -> f32 {
        TextStyle::Button.resolve(style).size + 15.0
    }

    fn gap_width(&self, _style: &egui::Style) -> f32 {
        1.0
    }

    fn min_size(&self) -> f32 {
        120.0
    }

    fn resize_stroke(&self, _style: &egui::Style, state: egui_tiles::ResizeState) -> Stroke {
        match state {
            egui_tiles::ResizeState::Idle => self.theme.line(),
            egui_tiles::ResizeState::Hovering => Stroke::new(1.0, self.theme.text_weak),
            egui_tiles::ResizeState::Dragging => Stroke::new(1.0, self.theme.focus),
        }
    }

    fn tab_bar_color(&self, _visuals: &Visuals) -> Color32 {
        self.theme.surface[0]
    }

    fn tab_bg_color(&self, _visuals: &Visuals, _tiles: &Tiles<Pane>, _tile: TileId, state: &TabState) -> Color32 {
        if state.active { self.theme.surface[1] } else { Color32::TRANSPARENT }
    }

    fn tab_outline_stroke(&self, _visuals: &Visuals, _tiles: &Tiles<Pane>, _tile: TileId, _state: &TabState) -> Stroke {
        Stroke::NONE
    }

    fn tab_bar_hline_stroke(&self, _visuals: &Visuals) -> Stroke {
        self.theme.line()
    }

    fn tab_text_color(&self, _visuals: &Visuals, _tiles: &Tiles<Pane>, _tile: TileId, state: &TabState) -> Color32 {
        if state.active { self.theme.text_strong } else { self.theme.text_weak }
    }

    fn drag_preview_stroke(&self, _visuals: &Visuals) -> Stroke {
        Stroke::new(1.0, self.theme.focus)
    }

    fn drag_preview_color(&self, _visuals: &Visuals) -> Color32 {
        self.theme.focus.gamma_multiply(0.2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDS: [&str; 6] = ["model", "flame", "layers", "memory", "accuracy", "inspector"];

    #[test]
    fn every_view_has_a_place_and_survives_the_trip_to_a_file() {
        let layout = Layout::of(&IDS);
        assert!(layout.fits(&IDS));
        let text = serde_json::to_string(&layout).unwrap();
        let mut back: Layout = serde_json::from_str(&text).unwrap();
        assert!(back.fits(&IDS));
        back.set_shown("memory", false);
        assert!(!back.is_shown("memory") && back.is_shown("flame"));
        back.focus("memory");
        assert!(back.is_shown("memory"));
    }

    #[test]
    fn a_layout_of_other_views_does_not_fit() {
        assert!(!Layout::of(&IDS[..5]).fits(&IDS));
        assert!(!Layout::of(&IDS).fits(&IDS[..5]));
        assert!(Layout::of(&["memory"]).fits(&["memory"]));
    }

    #[test]
    fn a_layout_of_other_views_is_completed() {
        let mut old = Layout::of(&["model", "flame", "layers", "ancient", "inspector"]);
        old.set_shown("inspector", false);
        let new = old.clone().completed(&IDS).unwrap();
        assert!(new.fits(&IDS));
        assert!(!new.is_shown("inspector") && new.is_shown("memory"));
        let beside = |l: &Layout, a: &str, b: &str| {
            let parent = |id| l.tree.tiles.parent_of(l.tile(id).unwrap());
            parent(a) == parent(b)
        };
        assert!(beside(&new, "layers", "memory") && !beside(&new, "layers", "flame"));
        assert!(Layout::of(&["ancient"]).completed(&IDS).is_none_or(|l| l.fits(&IDS)));
        assert!(Layout::of(&IDS).completed(&IDS).unwrap() == Layout::of(&IDS));
        // Twice the same panel, as a damaged file may have it.
        let text = serde_json::to_string(&Layout::of(&IDS)).unwrap().replace("memory", "layers");
        assert!(serde_json::from_str::<Layout>(&text).unwrap().completed(&IDS).is_none_or(|l| l.fits(&IDS)));
    }
}
