//! Layouts of the graph, made beside the window's thread where they take long.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};

use egui::Rect;
use profiler::{Layer, SourceNode};
use studies::Inspection;

use crate::draw::graph_scene::{Laid, Source, Wanted};
use crate::draw::graph_tree::{Grain, GraphTree, ItemId};
use crate::view::Profile;

/// Graphs of this many nodes and layers are laid out within a frame.
const AT_ONCE: usize = 400;

/// What the graph is of: a trace, or a model that was not run.
pub(super) struct Subject {
    /// Counts subjects, so that each is known from those before it.
    pub number: u64,
    /// Its nodes and layers.
    pub source: Arc<dyn Source>,
    /// True if it is a trace.
    pub is_measured: bool,
    key: (usize, usize, usize),
}

struct Planned {
    nodes: Vec<SourceNode>,
    layers: Vec<Layer>,
}

impl Source for Planned {
    fn nodes(&self) -> &[SourceNode] {
        &self.nodes
    }

    fn layers(&self) -> &[Layer] {
        &self.layers
    }
}

impl Subject {
    /// Takes up what is open now: the trace, or else the model.
    pub fn update(slot: &mut Option<Subject>, profile: Option<&Profile>, model: Option<&Inspection>) {
        let key = match (profile, model) {
            (Some(p), _) => (Arc::as_ptr(&p.trace).addr(), 0, 0),
            (None, Some(m)) => (std::ptr::from_ref(m).addr(), m.layers.len(), m.flops.unwrap_or(0) as usize),
            (None, None) => {
                *slot = None;
                return;
            }
        };
        if slot.as_ref().is_some_and(|s| s.key == key && s.is_measured == profile.is_some()) {
            return;
        }
        let number = slot.as_ref().map_or(1, |s| s.number + 1);
        let source: Arc<dyn Source> = match (profile, model) {
            (Some(p), _) => p.trace.clone(),
            (None, Some(m)) => Arc::new(Planned { nodes: m.source_nodes.clone(), layers: m.layers.clone() }),
            (None, None) => return,
        };
        *slot = Some(Subject { number, source, is_measured: profile.is_some(), key });
    }

    /// True if there are no nodes to draw.
    pub fn is_empty(&self) -> bool {
        self.source.nodes().is_empty()
    }
}

impl Laid {
    /// The item of a path.
    pub fn item_of(&self, path: &str) -> Option<ItemId> {
        // Boxes on show are few beside all items.
        let mut shown = self.scene.boxes.iter().map(|b| b.item);
        shown.find(|&i| self.tree.items[i as usize].path == path)
    }

    /// Where the item of a path is, if it is on show.
    pub fn rect_of(&self, path: &str) -> Option<Rect> {
        let item = self.item_of(path)?;
        Some(self.scene.boxes[*self.scene.box_of.get(&item)? as usize].rect)
    }
}

/// What a tree is made from.
type TreeKey = (u64, Grain, bool);

/// The layout on show, and the one that is being made.
#[derive(Default)]
pub(super) struct Layouts {
    laid: Option<Arc<Laid>>,
    /// What the layout on show was made from.
    made: Option<(TreeKey, u64)>,
    /// What the layout in the making is made from.
    making: Option<((TreeKey, u64), Receiver<Laid>)>,
    /// What is open, by path; `None` for what is open at first.
    open: Option<Arc<HashSet<String>>>,
    opened: u64,
    first: bool,
    trees: HashMap<TreeKey, Arc<GraphTree>>,
}

impl Layouts {
    /// What to draw.
    pub fn laid(&self) -> Option<&Arc<Laid>> {
        self.laid.as_ref()
    }

    /// True if the layout on show is the first of its tree.
    pub fn is_first(&self) -> bool {
        self.first
    }

    /// Opens these scopes and closes the others.
    pub fn open(&mut self, paths: HashSet<String>) {
        self.open = Some(Arc::new(paths));
        self.opened += 1;
    }

    /// True while a layout is being made.
    pub fn is_busy(&self) -> bool {
        self.making.is_some()
    }

    /// Starts what is missing and takes what is finished; true if there is a new layout.
    pub fn update(&mut self, ctx: &egui::Context, subject: &Subject, grain: Grain, constants: bool) -> bool {
        let mut new = false;
        if let Some((key, result)) = &self.making {
            match result.try_recv() {
                Ok(laid) => {
                    new = self.take(*key, laid, subject.number);
                    self.making = None;
                }
                // It failed, which its thread has logged: what is on show stays.
                Err(TryRecvError::Disconnected) => {
                    self.made = Some(*key);
                    self.making = None;
                }
                Err(TryRecvError::Empty) => {}
            }
        }
        let key = (subject.number, grain, constants);
        if self.made.map(|m| m.0.0) != Some(key.0) && self.trees.keys().any(|k| k.0 != key.0) {
            // Scopes of another subject: what is open there says nothing here.
            self.trees.clear();
            (self.open, self.laid) = (None, None);
        }
        let wanted = (key, self.opened);
        if self.made == Some(wanted) || self.making.is_some() {
            return new;
        }
        let tree = self.trees.get(&key).cloned();
        let size = subject.source.nodes().len() + subject.source.layers().len();
        let work = Wanted { source: subject.source.clone(), grain, constants, open: self.open.clone() };
        if size <= AT_ONCE {
            let laid = work.lay_out(tree);
            return self.take(wanted, laid, subject.number) || new;
        }
        let (send, receive) = sync_channel(1);
        let window = ctx.clone();
        let thread = std::thread::Builder::new().name("graph layout".to_owned());
        let started = thread.spawn(move || {
            // Nobody may be waiting any more.
            if send.send(work.lay_out(tree)).is_ok() {
                window.request_repaint();
            }
        });
        match started {
            Ok(_) => {
                // What moves nothing waits for the end, so that a picture shows it; a window for a blink, which is
                // enough for most.
                let still = self.laid.is_none() && ctx.global_style().animation_time <= 0.0;
                let patience = std::time::Duration::from_millis(if still { 2000 } else { 4 });
                match receive.recv_timeout(patience) {
                    Ok(laid) => return self.take(wanted, laid, subject.number) || new,
                    Err(_) => self.making = Some((wanted, receive)),
                }
            }
            Err(e) => {
                log::error!("the graph can't be laid out: {e}");
                self.made = Some(wanted);
            }
        }
        new
    }

    fn take(&mut self, key: (TreeKey, u64), laid: Laid, now: u64) -> bool {
        if key.0.0 != now {
            return false;
        }
        self.first = self.made.is_none_or(|m| m.0 != key.0);
        self.trees.insert(key.0, laid.tree.clone());
        self.open.get_or_insert_with(|| laid.open.clone());
        self.made = Some(key);
        self.laid = Some(Arc::new(laid));
        true
    }
}
