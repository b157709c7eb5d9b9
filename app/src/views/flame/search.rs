//! The search: which layers and names match, and a walk through their spans in order of time.

use std::sync::Arc;

use egui::Context;
use profiler::{LayerId, SpanId};

use super::job::{Job, LIGHT};
use crate::draw::flame_paint::{matches, matching_layers};
use crate::draw::flame_row::FlameCell;
use crate::view::Profile;

/// What is searched for and where the walk stands.
#[derive(Default)]
pub struct Search {
    /// As typed.
    pub query: String,
    asked: Option<(usize, String)>,
    layers: Arc<Vec<bool>>,
    names: Arc<Vec<bool>>,
    /// Matching spans in order of start.
    spans: Job<(usize, String), Vec<u32>>,
    /// The place in the walk.
    at: Option<usize>,
}

impl Search {
    /// True if something is searched for.
    pub fn is_on(&self) -> bool {
        !self.query.trim().is_empty()
    }

    /// Finds what matches, if the words or the trace changed. `trace` tells traces apart.
    pub fn update(&mut self, ctx: &Context, profile: &Profile, trace: usize) {
        if self.asked.as_ref().is_some_and(|(t, q)| *t == trace && *q == self.query) {
            return;
        }
        let key = (trace, self.query.clone());
        self.asked = Some(key.clone());
        self.at = None;
        if !self.is_on() {
            self.layers = Arc::default();
            self.names = Arc::default();
            self.spans.clear();
            return;
        }
        let words = self.query.to_lowercase();
        self.layers = Arc::new(matching_layers(&self.query, &profile.trace.layers));
        self.names = Arc::new(profile.trace.spans.names.iter().map(|n| matches(&words, &[n])).collect());
        let (layers, names, of) = (Arc::clone(&self.layers), Arc::clone(&self.names), Arc::clone(&profile.trace));
        self.spans.ask(ctx, key, profile.trace.spans.len() <= LIGHT, move |cancel| {
            let spans = &of.spans;
            let is = |i: usize| match spans.layer[i] {
                Some(l) => layers.get(l.index()).copied().unwrap_or(false),
                None => names.get(spans.name[i] as usize).copied().unwrap_or(false),
            };
            let mut found: Vec<u32> = (0..spans.len()).filter(|&i| is(i)).map(|i| i as u32).collect();
            if cancel.load(std::sync::atomic::Ordering::Relaxed) {
                return None;
            }
            found.sort_by_key(|&i| spans.start_ns[i as usize]);
            Some(found)
        });
    }

    /// True if the cell shows what is searched for.
    pub fn has(&self, profile: &Profile, cell: &FlameCell) -> bool {
        match (cell.layer, cell.span) {
            (Some(l), _) => self.layers.get(l.index()).copied().unwrap_or(false),
            (None, Some(s)) => {
                let name = profile.trace.spans.name.get(s.index());
                name.and_then(|&n| self.names.get(n as usize)).copied().unwrap_or(false)
            }
            (None, None) => false,
        }
    }

    /// Which layers match.
    pub fn matched_layers(&self) -> &[bool] {
        &self.layers
    }

    /// Matching layers, in their order.
    pub fn layers(&self) -> Vec<LayerId> {
        (0..self.layers.len()).filter(|&i| self.layers[i]).map(|i| LayerId(i as u32)).collect()
    }

    /// Matching spans in order of start; `None` while they are being looked for.
    pub fn spans(&self) -> Option<&[u32]> {
        if self.is_on() { self.spans.get().map(Vec::as_slice) } else { Some(&[]) }
    }

    /// `3 of 48`, `48 matches`, `no match`, `searching…`; `by_layer` counts layers and not spans.
    pub fn words(&self, by_layer: bool) -> String {
        let count = if by_layer { Some(self.layers().len()) } else { self.spans().map(<[u32]>::len) };
        match (count, self.at) {
            (None, _) => "searching…".to_owned(),
            (Some(0), _) => "no match".to_owned(),
            (Some(n), Some(at)) => {
                format!("{} of {}", crate::format::grouped(at as u64 + 1), crate::format::grouped(n as u64))
            }
            (Some(1), None) => "1 match".to_owned(),
            (Some(n), None) => format!("{} matches", crate::format::grouped(n as u64)),
        }
    }

    /// Goes to the next or previous matching span; the first time, to the one nearest to `from`, in nanoseconds.
    pub fn step(&mut self, profile: &Profile, forward: bool, selected: Option<SpanId>, from: f64) -> Option<SpanId> {
        let start = |i: &u32| profile.trace.spans.start_ns[*i as usize];
        let found = self.spans.get().filter(|s| !s.is_empty())?;
        // The walk goes on from what is selected, if that is one of them.
        let here = selected.and_then(|s| {
            let at = start(&s.0);
            let first = found.partition_point(|i| start(i) < at);
            found[first..].iter().take_while(|i| start(i) == at).position(|&i| i == s.0).map(|k| first + k)
        });
        let next = match here.or(self.at.filter(|_| selected.is_none())) {
            Some(at) if forward => (at + 1) % found.len(),
            Some(at) => at.checked_sub(1).unwrap_or(found.len() - 1),
            None if forward => found.partition_point(|i| (start(i) as f64) < from) % found.len(),
            None => found.partition_point(|i| (start(i) as f64) < from).checked_sub(1).unwrap_or(found.len() - 1),
        };
        self.at = Some(next);
        Some(SpanId(found[next]))
    }

    /// The same through matching layers, where the graph is not in order of time.
    pub fn step_layer(&mut self, forward: bool, selected: Option<LayerId>) -> Option<LayerId> {
        let found = self.layers();
        let here = selected.and_then(|l| found.iter().position(|&f| f == l));
        let next = match here {
            _ if found.is_empty() => return None,
            Some(at) if forward => (at + 1) % found.len(),
            Some(at) => at.checked_sub(1).unwrap_or(found.len() - 1),
            None => 0,
        };
        self.at = Some(next);
        Some(found[next])
    }
}
