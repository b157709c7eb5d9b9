//! Every layer as a row: what it is, how long it took, how fast it worked, and whether that can be trusted. Layers are grouped,
//! filtered and sorted; every column adds up in the foot row.

mod cells;
mod column;
mod copy;
mod head;
mod rows;
#[cfg(test)]
mod tests;
mod tips;

use std::collections::HashSet;
use std::sync::Arc;

use egui::{Event, Ui};
use profiler::filter::{Filter, FilterError};
use profiler::{Ceilings, LayerId};
use serde::{Deserialize, Serialize};

use crate::draw::empty;
use crate::draw::table::{Outcome, Row, Sort, Table};
use crate::format;
use crate::view::{Action, Command, Profile, View, ViewCx};

pub use column::Column;
use column::{Known, Scales};
use copy::Form;
pub use rows::Grouping;
use rows::{Choice, Part, Rows};

/// How the table is shown; kept between starts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LayersPreferences {
    /// What layers are grouped by.
    pub grouping: Grouping,
    /// Columns that are shown or hidden against the default.
    pub changed: Vec<Column>,
    /// The column that rows are sorted by.
    pub sort: Column,
    /// Largest first.
    pub descending: bool,
    /// The precision scheme whose errors are shown; empty for each layer's worst.
    pub scheme: String,
}

impl Default for LayersPreferences {
    fn default() -> Self {
        LayersPreferences {
            grouping: Grouping::Flat,
            changed: Vec::new(),
            sort: Column::Median,
            descending: true,
            scheme: String::new(),
        }
    }
}

impl LayersPreferences {
    fn wants(&self, column: Column) -> bool {
        column == Column::Name || column.is_default() != self.changed.contains(&column)
    }

    fn toggle(&mut self, column: Column) {
        match self.changed.iter().position(|&c| c == column) {
            Some(i) => {
                self.changed.remove(i);
            }
            None => self.changed.push(column),
        }
    }
}

/// What the rows were made from.
#[derive(PartialEq)]
struct Made {
    trace: usize,
    ceilings: usize,
    filter: Filter,
    preferences: LayersPreferences,
    flipped: HashSet<String>,
}

/// The table of layers.
#[derive(Default)]
pub struct LayersView {
    text: String,
    /// What `text` says; the last one that made sense.
    filter: Option<Filter>,
    error: Option<FilterError>,
    flipped: HashSet<String>,
    rows: Rows,
    scales: Option<Scales>,
    made: Option<Made>,
    /// Per layer, its share of the ceiling.
    ceiling: Vec<Option<f64>>,
    /// The trace and the ceilings that `ceiling` is of.
    ceiling_of: (usize, usize),
    /// The group that the keys are on; a layer is where the selection is.
    cursor: Option<String>,
    selected: Option<LayerId>,
    /// To be done when it is drawn next.
    copy: Option<Form>,
    focus_filter: bool,
}

const COMMANDS: [Command; 8] = [
    Command { id: "filter", title: "Filter layers", keys: "" },
    Command { id: "clear-filter", title: "Show all layers", keys: "" },
    Command { id: "flat", title: "Layers in a flat list", keys: "" },
    Command { id: "by-scope", title: "Layers by scope", keys: "" },
    Command { id: "by-op", title: "Layers by operator", keys: "" },
    Command { id: "by-type", title: "Layers by type of block", keys: "" },
    Command { id: "copy-markdown", title: "Copy the layers as Markdown", keys: "Ctrl+C" },
    Command { id: "copy-csv", title: "Copy the layers as CSV", keys: "" },
];

impl View for LayersView {
    fn id(&self) -> &'static str {
        "layers"
    }

    fn title(&self) -> &'static str {
        "Layers"
    }

    fn commands(&self) -> &'static [Command] {
        &COMMANDS
    }

    fn command(&mut self, id: &str, cx: &mut ViewCx<'_>) {
        match id {
            "filter" => self.focus_filter = true,
            "clear-filter" => self.text.clear(),
            "flat" => cx.preferences.layers.grouping = Grouping::Flat,
            "by-scope" => cx.preferences.layers.grouping = Grouping::Scope,
            "by-op" => cx.preferences.layers.grouping = Grouping::Op,
            "by-type" => cx.preferences.layers.grouping = Grouping::Type,
            "copy-markdown" => self.copy = Some(Form::Markdown),
            "copy-csv" => self.copy = Some(Form::Csv),
            _ => {}
        }
    }

    fn ui(&mut self, ui: &mut Ui, cx: &mut ViewCx<'_>) {
        let Some(profile) = cx.profile.filter(|p| !p.trace.layers.is_empty()) else {
            let (title, text, action) = match (cx.profile, cx.model) {
                (Some(_), _) => ("No layers", "This trace names no layers.", None),
                (None, Some(_)) => {
                    ("Not run yet", "A run fills this: every layer with its times and rates.", Some("Run"))
                }
                (None, None) => ("Nothing open", "Open a model and run it, or open a saved trace.", Some("Open…")),
            };
            if empty(ui, cx.theme, title, text, action) {
                cx.actions.push(if cx.model.is_some() { Action::Run } else { Action::OpenDialog });
            }
            return;
        };
        self.know_ceilings(profile, cx.facts.ceilings.as_deref());
        self.head_ui(ui, profile, cx);
        self.arrange(profile, cx);
        self.table_ui(ui, profile, cx);
    }
}

impl LayersView {
    fn know_ceilings(&mut self, profile: &Profile, ceilings: Option<&Ceilings>) {
        let address = |c: Option<&Ceilings>| c.map_or(0, |c| std::ptr::from_ref(c).addr());
        let of = (Arc::as_ptr(&profile.trace).addr(), address(ceilings));
        if self.ceiling_of == of {
            return;
        }
        self.ceiling_of = of;
        self.ceiling = vec![None; profile.trace.layers.len()];
        let ceilings = Ceilings::of(&profile.trace, ceilings).ok();
        for roof in profiler::roofline(&profile.trace, &profile.stats, ceilings) {
            if let Some(part) = self.ceiling.get_mut(roof.layer.index()) {
                *part = roof.of_ceiling;
            }
        }
    }

    fn known<'a>(&'a self, profile: &'a Profile, preferences: &'a LayersPreferences) -> Known<'a> {
        let named = profile.figures.errors.iter().any(|e| e.0 == preferences.scheme);
        Known { profile, ceiling: &self.ceiling, scheme: named.then_some(preferences.scheme.as_str()) }
    }

    /// Filters, groups and sorts, if anything changed.
    fn arrange(&mut self, profile: &Profile, cx: &ViewCx<'_>) {
        let preferences = &cx.preferences.layers;
        let filter = self.filter.clone().unwrap_or_else(|| Filter::All(Vec::new()));
        let made = Made {
            trace: self.ceiling_of.0,
            ceilings: self.ceiling_of.1,
            filter,
            preferences: preferences.clone(),
            flipped: self.flipped.clone(),
        };
        if self.made.as_ref() == Some(&made) {
            return;
        }
        let choice = Choice {
            filter: &made.filter,
            grouping: preferences.grouping,
            sort: preferences.sort,
            descending: preferences.descending,
            flipped: &made.flipped,
        };
        let known = self.known(profile, preferences);
        let (rows, scales) = (Rows::new(&known, &choice), Scales::new(&known));
        (self.rows, self.scales) = (rows, Some(scales));
        self.made = Some(made);
    }

    fn table_ui(&mut self, ui: &mut Ui, profile: &Profile, cx: &mut ViewCx<'_>) {
        let theme = cx.theme;
        let mut preferences = cx.preferences.layers.clone();
        let copy = self.copy.take();
        let known = self.known(profile, &preferences);
        let Some(scales) = &self.scales else { return };
        let shown = |c: &Column| preferences.wants(*c) && known.missing(*c).is_none();
        let columns: Vec<Column> = Column::ALL.into_iter().filter(shown).collect();
        let heads: Vec<_> = columns.iter().map(|&c| column::head(c, scales)).collect();
        if let Some(form) = copy {
            ui.ctx().copy_text(copy::text(&known, &self.rows, &columns, scales, form));
        }
        let moved = self.selected != cx.selection.layer;
        let cursor = self.cursor.clone().filter(|_| !moved);
        let rows = &self.rows;
        let is_cursor = |part: Part| match part {
            Part::Layer(l) => cursor.is_none() && cx.selection.is_selected(l),
            Part::Group(g) => cursor.as_deref() == Some(rows.groups[g].key.as_str()),
        };
        let position = || rows.rows.iter().position(|r| Some(r.1) == cx.selection.layer.map(Part::Layer));
        let scroll_to = moved.then(position).flatten();
        let mut sort = Sort {
            column: columns.iter().position(|&c| c == preferences.sort).unwrap_or(usize::MAX),
            descending: preferences.descending,
        };
        let before = sort;
        let tree = preferences.grouping == Grouping::Scope;
        let table = Table { id: "Layers", columns: &heads, rows: rows.rows.len(), scroll_to, totals: true };
        let row = |i: usize| {
            let part = rows.rows[i].1;
            let (lit, label) = match part {
                Part::Layer(l) => (cx.selection.is_hovered(l), row_label(profile, l)),
                Part::Group(g) => (false, group_label(&rows.groups[g])),
            };
            Row { selected: is_cursor(part), lit, label }
        };
        let outcome = table.show(ui, theme, Some(&mut sort), row, |cell, i, c| match rows.rows.get(i) {
            Some(&(depth, Part::Layer(l))) => {
                cells::layer(cell, &known, scales, l, columns[c], tree.then_some(depth));
            }
            Some(&(depth, Part::Group(g))) => cells::group(cell, scales, &rows.groups[g], columns[c], depth),
            None => cells::total(cell, scales, &rows.totals, columns[c], profile.trace.layers.len()),
        });
        if let Some((i, c, response)) = &outcome.hovered {
            match rows.rows[*i].1 {
                Part::Layer(l) => {
                    cx.selection.hovered = Some(l);
                    response.clone().on_hover_ui_at_pointer(|ui| tips::layer(ui, theme, &known, l, columns[*c]));
                }
                Part::Group(g) => {
                    let group = &rows.groups[g];
                    response.clone().on_hover_ui_at_pointer(|ui| tips::group(ui, theme, scales, group));
                }
            }
        }
        if sort != before
            && let Some(&c) = columns.get(sort.column)
        {
            (preferences.sort, preferences.descending) = (c, sort.descending);
            cx.preferences.layers = preferences;
        }
        (self.selected, self.cursor) = (cx.selection.layer, cursor);
        let copies = ui.input(|i| i.events.iter().any(|e| matches!(e, Event::Copy)));
        if outcome.focused && copies {
            self.copy = Some(Form::Markdown);
            ui.ctx().request_repaint();
        }
        self.follow(&outcome, cx);
    }

    /// Clicks and keys: choose, open, close.
    fn follow(&mut self, outcome: &Outcome, cx: &mut ViewCx<'_>) {
        if let Some(&(_, part)) = outcome.chosen.and_then(|i| self.rows.rows.get(i)) {
            match part {
                Part::Layer(l) => {
                    self.cursor = None;
                    cx.selection.select(Some(l));
                    self.selected = Some(l);
                }
                Part::Group(g) => {
                    let key = self.rows.groups[g].key.clone();
                    if outcome.clicked_at.is_some() {
                        self.flip(&key);
                    }
                    self.cursor = Some(key);
                }
            }
        }
        if let Some((i, open)) = outcome.unfold {
            let (depth, part) = self.rows.rows[i];
            match part {
                Part::Group(g) if self.rows.groups[g].open != open => self.flip(&self.rows.groups[g].key.clone()),
                // To the left of what is closed already, or of a layer, is the group around it.
                _ if !open => {
                    let around = |r: &&(usize, Part)| r.0 < depth;
                    if let Some(&(_, Part::Group(g))) = self.rows.rows[..i].iter().rev().find(around) {
                        self.cursor = Some(self.rows.groups[g].key.clone());
                    }
                }
                _ => {}
            }
        }
    }

    fn flip(&mut self, key: &str) {
        if !self.flipped.remove(key) {
            self.flipped.insert(key.to_owned());
        }
    }
}

fn row_label(profile: &Profile, layer: LayerId) -> String {
    let name = profile.layer(layer).map_or("", |l| &l.name);
    match profile.stats_of(layer) {
        Some(s) => format!("{name}, {}, {}", format::duration(s.time.median), format::percent(s.share)),
        None => format!("{name}, not measured"),
    }
}

fn group_label(group: &rows::Group) -> String {
    let time = group.totals.value(Column::Median).map_or("not measured".to_owned(), format::duration);
    let state = if group.open { "open" } else { "closed" };
    format!("{}, {}, {time}, {state}", group.name, format::plural(group.totals.layers, "layer"))
}
