//! Spans that were read from a file that knows no layers: named, and perhaps nested.

use std::collections::HashMap;

use crate::{Layer, LayerId, Quality, RunId, Span, Spans, Trace, Track, TrackId, TrackKind};

/// Builds a trace from spans as they come.
#[derive(Default)]
pub(super) struct Builder {
    pub trace: Trace,
    names: HashMap<String, u32>,
    layers: HashMap<(String, String), LayerId>,
    tracks: HashMap<String, TrackId>,
}

impl Builder {
    /// The track of this name, made if new.
    pub fn track(&mut self, name: &str, kind: TrackKind) -> TrackId {
        if let Some(&id) = self.tracks.get(name) {
            return id;
        }
        let id = TrackId(self.trace.tracks.len() as u32);
        self.trace.tracks.push(Track { name: name.to_owned(), kind });
        self.tracks.insert(name.to_owned(), id);
        id
    }

    /// The layer of this name and operator, made by `new` if it is new.
    pub fn layer(&mut self, name: &str, op: &str, new: impl FnOnce() -> Layer) -> LayerId {
        let layers = &mut self.trace.layers;
        *self.layers.entry((name.to_owned(), op.to_owned())).or_insert_with(|| {
            layers.push(new());
            LayerId((layers.len() - 1) as u32)
        })
    }

    /// The index of a name, added if new.
    pub fn name(&mut self, name: &str) -> u32 {
        if let Some(&i) = self.names.get(name) {
            return i;
        }
        let names = &mut self.trace.spans.names;
        names.push(name.to_owned());
        self.names.insert(name.to_owned(), (names.len() - 1) as u32);
        (names.len() - 1) as u32
    }

    /// Adds a span.
    pub fn push(
        &mut self,
        track: TrackId,
        what: Result<LayerId, u32>,
        (start_ns, end_ns): (u64, u64),
        run: Option<RunId>,
        quality: Quality,
    ) {
        let (layer, name) = match what {
            Ok(layer) => (Some(layer), 0),
            Err(name) => (None, name),
        };
        self.trace.spans.push(Span { track, layer, name, start_ns, end_ns, parent: None, run, quality });
    }
}

/// Turns spans that enclose no other into layers, one per distinct name; for files that do not say what is a layer. Only spans
/// that have some layer already, whichever, are considered. Spans must be nested already. The scope of a layer is the path of
/// the spans around it where it was first seen.
pub(super) fn leaves_to_layers(trace: &mut Trace, op_of: impl Fn(u32) -> String) {
    let s = &mut trace.spans;
    let mut leaf: Vec<bool> = s.layer.iter().map(Option::is_some).collect();
    for (i, parent) in s.parent.iter().enumerate() {
        // What lasts no time, a mark, does not make a parent of the span around it.
        if let Some(parent) = parent.filter(|_| s.layer[i].is_some()) {
            leaf[parent.index()] = false;
        }
    }
    let mut layers: HashMap<u32, LayerId> = HashMap::new();
    for i in 0..s.len() {
        s.layer[i] = leaf[i].then(|| {
            *layers.entry(s.name[i]).or_insert_with(|| {
                let scope = path(s, i);
                let (name, op) = (s.names[s.name[i] as usize].clone(), op_of(s.name[i]));
                let class = super::ops::class(if op.is_empty() { &name } else { &op });
                trace.layers.push(Layer { name, op, class, scope, ..Layer::default() });
                LayerId((trace.layers.len() - 1) as u32)
            })
        });
    }
}

/// The names of the spans around a span.
fn path(s: &Spans, i: usize) -> String {
    const DEEPEST: usize = 16;
    let mut path = Vec::new();
    let mut at = s.parent[i];
    while let Some(p) = at.filter(|_| path.len() < DEEPEST) {
        path.push(s.names[s.name[p.index()] as usize].as_str());
        at = s.parent[p.index()];
    }
    path.reverse();
    path.join("/")
}
