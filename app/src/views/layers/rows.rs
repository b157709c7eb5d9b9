//! Which rows the table shows: layers that pass the filter, under their groups, sorted; with sums that add up.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashSet};

use profiler::filter::Filter;
use profiler::{BlockKind, LayerId, OpClass};
use serde::{Deserialize, Serialize};

use super::column::{Column, Known};

/// What layers are grouped by.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub enum Grouping {
    /// Not at all.
    #[default]
    Flat,
    /// By their place in the model: a tree.
    Scope,
    /// By operator.
    Op,
    /// By the kind of block.
    Type,
}

/// Sums over layers. What some layers do not state is the sum over those that do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Totals {
    /// How many layers.
    pub layers: usize,
    time_ns: Option<f64>,
    share: Option<f64>,
    flops: Option<f64>,
    /// Time of the layers that state their operations.
    flops_ns: f64,
    bytes: Option<f64>,
    bytes_ns: f64,
    /// Share of the ceiling, weighed by time.
    ceiling: f64,
    ceiling_ns: f64,
    memory: Option<f64>,
    weights: Option<f64>,
    alive: Option<f64>,
    error: Option<f64>,
    /// Layers with findings.
    pub doubted: usize,
    /// The class, if all share one.
    pub class: Option<OpClass>,
}

fn add(sum: &mut Option<f64>, value: Option<f64>) {
    if let Some(v) = value {
        *sum = Some(sum.unwrap_or(0.0) + v);
    }
}

impl Totals {
    fn add(&mut self, known: &Known<'_>, id: LayerId) {
        let value = |c| known.value(id, c);
        let class = known.layer(id).class;
        self.class = if self.layers == 0 { Some(class) } else { self.class.filter(|c| *c == class) };
        self.layers += 1;
        let time = value(Column::Median);
        add(&mut self.time_ns, time);
        add(&mut self.share, value(Column::Share));
        add(&mut self.flops, value(Column::Flops));
        add(&mut self.bytes, value(Column::Bytes));
        add(&mut self.memory, value(Column::Memory));
        add(&mut self.weights, value(Column::Weights));
        let ns = time.unwrap_or(0.0);
        self.flops_ns += value(Column::Rate).map_or(0.0, |_| ns);
        self.bytes_ns += value(Column::Bandwidth).map_or(0.0, |_| ns);
        if let Some(part) = value(Column::Ceiling) {
            self.ceiling += part * ns;
            self.ceiling_ns += ns;
        }
        let either = |a: Option<f64>, b: Option<f64>, pick: fn(f64, f64) -> f64| match (a, b) {
            (Some(a), Some(b)) => Some(pick(a, b)),
            (a, b) => a.or(b),
        };
        self.alive = either(self.alive, value(Column::Alive), f64::max);
        self.error = either(self.error, value(Column::Error), f64::min);
        self.doubted += usize::from(!known.badges(id).is_empty());
    }

    /// The sum of a column; for rates the sum of the work over the time of those that state it.
    pub fn value(&self, column: Column) -> Option<f64> {
        let rate = |work: Option<f64>, ns: f64| work.filter(|_| ns > 0.0).map(|w| w * 1e9 / ns);
        match column {
            Column::Median => self.time_ns,
            Column::Share => self.share,
            Column::Flops => self.flops,
            Column::Rate => rate(self.flops, self.flops_ns),
            Column::Bytes => self.bytes,
            Column::Bandwidth => rate(self.bytes, self.bytes_ns),
            Column::Ceiling => (self.ceiling_ns > 0.0).then(|| self.ceiling / self.ceiling_ns),
            Column::Memory => self.memory,
            Column::Weights => self.weights,
            Column::Alive => self.alive,
            Column::Error => self.error,
            Column::Trust => Some(self.doubted as f64),
            _ => None,
        }
    }
}

/// Layers that belong together.
#[derive(Clone, Debug)]
pub struct Group {
    /// The same from trace to trace.
    pub key: String,
    /// What the row says.
    pub name: String,
    /// Sums over its layers that pass the filter.
    pub totals: Totals,
    /// Its parts are shown.
    pub open: bool,
    parts: Vec<Part>,
}

/// What a row shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A group, by index into [`Rows::groups`].
    Group(usize),
    /// A layer.
    Layer(LayerId),
}

/// The rows.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    /// From the top, each with its depth.
    pub rows: Vec<(usize, Part)>,
    /// All groups.
    pub groups: Vec<Group>,
    /// Over all layers that pass.
    pub totals: Totals,
}

/// Groups open by themselves as long as about so many rows result.
const ENOUGH: usize = 40;

/// What the rows are made from, besides the layers.
pub struct Choice<'a> {
    pub filter: &'a Filter,
    pub grouping: Grouping,
    pub sort: Column,
    pub descending: bool,
    /// Keys of groups that the user opened or closed against the rule.
    pub flipped: &'a HashSet<String>,
}

impl Rows {
    /// Filters, groups, adds up and sorts.
    pub fn new(known: &Known<'_>, choice: &Choice<'_>) -> Rows {
        let layers = (0..known.profile.trace.layers.len() as u32).map(LayerId);
        let shown: Vec<LayerId> = layers.filter(|&l| choice.filter.matches(&known.subject(l))).collect();
        let mut out = Rows::default();
        for &l in &shown {
            out.totals.add(known, l);
        }
        let mut top = match choice.grouping {
            Grouping::Flat => shown.iter().map(|&l| Part::Layer(l)).collect(),
            Grouping::Scope => out.by_scope(known, &shown),
            Grouping::Op => out.by_word(known, &shown, |l| known.layer(l).op.clone()),
            Grouping::Type => out.by_word(known, &shown, |l| BlockKind::of(known.layer(l)).label().to_owned()),
        };
        out.open(&top, choice, shown.len());
        out.sort(known, choice, &mut top);
        out.unroll(&top, 0);
        out
    }

    fn group(&mut self, key: String, name: String) -> usize {
        self.groups.push(Group { key, name, totals: Totals::default(), open: false, parts: Vec::new() });
        self.groups.len() - 1
    }

    fn by_word(&mut self, known: &Known<'_>, shown: &[LayerId], word: impl Fn(LayerId) -> String) -> Vec<Part> {
        let mut index: BTreeMap<String, usize> = BTreeMap::new();
        for &l in shown {
            let name = word(l);
            let g = *index.entry(name.clone()).or_insert_with(|| self.group(name.clone(), name));
            self.groups[g].parts.push(Part::Layer(l));
            self.groups[g].totals.add(known, l);
        }
        index.into_values().map(Part::Group).collect()
    }

    fn by_scope(&mut self, known: &Known<'_>, shown: &[LayerId]) -> Vec<Part> {
        let tree = &known.profile.scopes;
        let mut top = Vec::new();
        let mut of_node: Vec<Option<usize>> = vec![None; tree.nodes.len()];
        for &l in shown {
            let mut part = Part::Layer(l);
            let mut at = tree.nodes[tree.of_layer[l.index()]].parent;
            // Up to the root, or to a group that is there already.
            let mut new = true;
            while at != 0 {
                let node = &tree.nodes[at];
                let g = match of_node[at] {
                    Some(g) => g,
                    None => {
                        let g = self.group(node.path.clone(), node.name.clone());
                        of_node[at] = Some(g);
                        g
                    }
                };
                self.groups[g].totals.add(known, l);
                if new {
                    new = self.groups[g].parts.is_empty();
                    self.groups[g].parts.push(part);
                }
                part = Part::Group(g);
                at = node.parent;
            }
            if new {
                top.push(part);
            }
        }
        top
    }

    /// Opens what the rule and the user want open.
    fn open(&mut self, top: &[Part], choice: &Choice<'_>, layers: usize) {
        let filtered = !choice.filter.is_empty();
        let all = filtered && layers <= 100;
        let tree = choice.grouping == Grouping::Scope;
        let mut level: Vec<usize> = groups_of(top);
        let mut count = top.len();
        while !level.is_empty() {
            let parts: usize = level.iter().map(|&g| self.groups[g].parts.len()).sum();
            let opens = all || tree && count + parts <= ENOUGH;
            count += parts;
            for &g in &level {
                self.groups[g].open = opens != choice.flipped.contains(&self.groups[g].key);
            }
            level = level.iter().flat_map(|&g| groups_of(&self.groups[g].parts)).collect();
        }
    }

    fn sort(&mut self, known: &Known<'_>, choice: &Choice<'_>, top: &mut [Part]) {
        let keys: Vec<Key> = self.groups.iter().map(|g| Key::of_group(g, choice.sort)).collect();
        let mut parts: Vec<Vec<Part>> = self.groups.iter_mut().map(|g| std::mem::take(&mut g.parts)).collect();
        for list in parts.iter_mut().map(Vec::as_mut_slice).chain([top]) {
            list.sort_by_cached_key(|part| match *part {
                Part::Group(g) => keys[g].clone(),
                Part::Layer(l) => Key::of_layer(known, l, choice.sort),
            });
            if choice.descending {
                list.reverse();
            }
        }
        for (group, parts) in self.groups.iter_mut().zip(parts) {
            group.parts = parts;
        }
    }

    fn unroll(&mut self, parts: &[Part], depth: usize) {
        for &part in parts {
            self.rows.push((depth, part));
            if let Part::Group(g) = part
                && self.groups[g].open
            {
                let inner = std::mem::take(&mut self.groups[g].parts);
                self.unroll(&inner, depth + 1);
                self.groups[g].parts = inner;
            }
        }
    }
}

fn groups_of(parts: &[Part]) -> Vec<usize> {
    let group = |p: &Part| match *p {
        Part::Group(g) => Some(g),
        Part::Layer(_) => None,
    };
    parts.iter().filter_map(group).collect()
}

/// What rows are sorted by: figures with the unknown ones first, or words with their numbers in order.
#[derive(Clone, PartialEq)]
enum Key {
    Figure(f64),
    Words(Vec<(u64, String)>),
}

impl Key {
    fn of_layer(known: &Known<'_>, id: LayerId, column: Column) -> Key {
        if column.is_text() && column != Column::Trust {
            return Key::words(&known.text(id, column));
        }
        Key::Figure(known.value(id, column).unwrap_or(f64::NEG_INFINITY))
    }

    fn of_group(group: &Group, column: Column) -> Key {
        if column.is_text() && column != Column::Trust {
            return Key::words(&group.name);
        }
        Key::Figure(group.totals.value(column).unwrap_or(f64::NEG_INFINITY))
    }

    /// `layer.10` comes after `layer.9`.
    fn words(text: &str) -> Key {
        let mut parts = vec![(0u64, String::new())];
        let mut digits = false;
        for c in text.chars() {
            match c.to_digit(10) {
                Some(d) => {
                    if !digits {
                        parts.push((0, String::new()));
                    }
                    if let Some(last) = parts.last_mut() {
                        last.0 = last.0.saturating_mul(10).saturating_add(u64::from(d));
                    }
                }
                None => {
                    if let Some(last) = parts.last_mut() {
                        last.1.extend(c.to_lowercase());
                    }
                }
            }
            digits = c.is_ascii_digit();
        }
        Key::Words(parts)
    }
}

impl Eq for Key {}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Key) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Key) -> Ordering {
        match (self, other) {
            (Key::Figure(a), Key::Figure(b)) => a.total_cmp(b),
            (Key::Words(a), Key::Words(b)) => a.cmp(b),
            (Key::Figure(_), Key::Words(_)) => Ordering::Less,
            (Key::Words(_), Key::Figure(_)) => Ordering::Greater,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::Profile;
    use profiler::fixtures;
    use std::sync::Arc;

    fn rows(profile: &Profile, filter: &str, grouping: Grouping, flipped: &HashSet<String>) -> Rows {
        let known = Known { profile, ceiling: &[], scheme: None };
        let filter = Filter::parse(filter).unwrap();
        let choice = Choice { filter: &filter, grouping, sort: Column::Median, descending: true, flipped };
        Rows::new(&known, &choice)
    }

    /// The layers under a part.
    fn layers(rows: &Rows, part: Part, into: &mut Vec<LayerId>) {
        match part {
            Part::Layer(l) => into.push(l),
            Part::Group(g) => rows.groups[g].parts.iter().for_each(|&p| layers(rows, p, into)),
        }
    }

    #[test]
    fn sums_of_groups_add_up_to_the_total() {
        let profile = Profile::new(Arc::new(fixtures::transformer(4, 6, 1)));
        let known = Known { profile: &profile, ceiling: &[], scheme: None };
        for filter in ["", "op:matmul", "share>1% or class:attention", "nothing at all"] {
            for grouping in [Grouping::Flat, Grouping::Scope, Grouping::Op, Grouping::Type] {
                let rows = rows(&profile, filter, grouping, &HashSet::new());
                let top: Vec<Part> = rows.rows.iter().filter(|r| r.0 == 0).map(|r| r.1).collect();
                let mut all = Vec::new();
                top.iter().for_each(|&p| layers(&rows, p, &mut all));
                all.sort();
                all.dedup();
                assert_eq!(all.len(), rows.totals.layers, "{filter} {grouping:?}: every layer once");
                for column in [Column::Median, Column::Share, Column::Flops, Column::Bytes, Column::Memory] {
                    let value = |p: &Part| match *p {
                        Part::Group(g) => rows.groups[g].totals.value(column),
                        Part::Layer(l) => known.value(l, column),
                    };
                    let sum: f64 = top.iter().filter_map(value).sum();
                    let total = rows.totals.value(column).unwrap_or(0.0);
                    assert!((sum - total).abs() <= 1e-9 * total, "{filter} {grouping:?} {column:?}: {sum} {total}");
                    // And each group is the sum of its layers, counted one by one.
                    for (g, group) in rows.groups.iter().enumerate() {
                        let mut inner = Vec::new();
                        layers(&rows, Part::Group(g), &mut inner);
                        assert_eq!(inner.len(), group.totals.layers);
                        let sum: f64 = inner.iter().filter_map(|&l| known.value(l, column)).sum();
                        assert!(
                            (sum - group.totals.value(column).unwrap_or(0.0)).abs() <= 1e-9 * sum,
                            "{}",
                            group.name
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn groups_open_and_close_and_rows_are_sorted_within() {
        let profile = Profile::new(Arc::new(fixtures::transformer(4, 6, 1)));
        let closed = rows(&profile, "", Grouping::Type, &HashSet::new());
        assert!(closed.rows.iter().all(|r| matches!(r.1, Part::Group(_))), "kinds begin closed");
        let flipped: HashSet<String> = ["MLP".to_owned()].into();
        let open = rows(&profile, "", Grouping::Type, &flipped);
        assert_eq!(open.rows.len(), closed.rows.len() + 12);
        let tree = rows(&profile, "", Grouping::Scope, &HashSet::new());
        assert!(tree.rows.len() > 5 && tree.rows.len() <= ENOUGH, "{}", tree.rows.len());
        assert!(tree.rows.iter().any(|r| r.0 == 1));
        let filtered = rows(&profile, "name:query", Grouping::Scope, &HashSet::new());
        let leaves = filtered.rows.iter().filter(|r| matches!(r.1, Part::Layer(_))).count();
        assert_eq!(leaves, 4, "what a filter finds is in view");
        let flat = rows(&profile, "", Grouping::Flat, &HashSet::new());
        let known = Known { profile: &profile, ceiling: &[], scheme: None };
        let times: Vec<f64> = flat
            .rows
            .iter()
            .map(|r| match r.1 {
                Part::Layer(l) => known.value(l, Column::Median).unwrap(),
                Part::Group(_) => panic!("a flat list has no groups"),
            })
            .collect();
        assert!(times.is_sorted_by(|a, b| a >= b));
    }

    #[test]
    fn numbers_in_names_are_in_order() {
        let mut names = ["layer.10", "layer.9", "Layer.1", "embeddings"];
        names.sort_by_key(|n| Key::words(n));
        assert_eq!(names, ["embeddings", "Layer.1", "layer.9", "layer.10"]);
    }

    #[test]
    fn odd_traces_are_survived() {
        let mut random = fixtures::Random::fresh();
        for _ in 0..50 {
            let profile = Profile::new(Arc::new(fixtures::random(&mut random)));
            for grouping in [Grouping::Flat, Grouping::Scope, Grouping::Op, Grouping::Type] {
                let rows = rows(&profile, "", grouping, &HashSet::new());
                assert_eq!(rows.totals.layers, profile.trace.layers.len(), "seed {}", random.seed);
            }
        }
    }
}
