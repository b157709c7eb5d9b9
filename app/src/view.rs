//! The seam between the shell and the views: what a view is given, and what it may ask for.
//!
//! A view draws and changes the shared selection and the settings; everything else it asks of the shell as an [`Action`].

use std::path::PathBuf;
use std::sync::Arc;

use profiler::{Audit, Badge, Layer, LayerId, LayerSpans, LayerStats, OpClass, RunId, SpanId, Trace};
use serde::{Deserialize, Serialize};
use studies::{Inspection, Settings};

use crate::draw::flame_colors::ColorBy;
use crate::draw::flame_index::Flame;
use crate::draw::layer_figures::LayerFigures;
use crate::draw::memory_index::MemoryIndex;
use crate::draw::run_index::RunIndex;
use crate::draw::scopes::ScopeTree;
use crate::log_book::LogBook;
use crate::runs::Runs;
use crate::theme::Theme;

/// One panel: a file in `views/` and a line in [`crate::views::all`].
pub trait View {
    /// A stable word for layouts, the command line and tests: `flame`.
    fn id(&self) -> &'static str;

    /// The tab's words.
    fn title(&self) -> &'static str;

    /// Draws the panel into all of the space that `ui` has left.
    fn ui(&mut self, ui: &mut egui::Ui, cx: &mut ViewCx<'_>);

    /// What can be asked of it by name: the command palette and the list of shortcuts show these.
    fn commands(&self) -> &'static [Command] {
        &[]
    }

    /// Carries out one of its [`View::commands`], by its id.
    fn command(&mut self, _id: &str, _cx: &mut ViewCx<'_>) {}
}

/// Something that a view does when asked by name, or by the keys that it listens to itself while it has the focus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Command {
    /// A stable word: `left-heavy`.
    pub id: &'static str,
    /// What it does, as the palette says it: `Left-heavy order`.
    pub title: &'static str,
    /// The keys, as the help shows them; empty if there are none.
    pub keys: &'static str,
}

/// What a view draws from and writes to.
pub struct ViewCx<'a> {
    /// The trace on show with what was derived from it; `None` before the first run.
    pub profile: Option<&'a Profile>,
    /// The open model; `None` if nothing is open or only a trace is.
    pub model: Option<&'a Inspection>,
    /// Every open trace, and the baseline among them.
    pub runs: &'a Runs,
    /// What the worker found out beside the trace.
    pub facts: &'a Facts,
    /// How figures and pictures are shown.
    pub preferences: &'a mut Preferences,
    /// What the next run will use. A view that changes it pushes [`Action::SettingsChanged`] if the model must be looked at anew.
    pub settings: &'a mut Settings,
    /// What is selected and hovered, the same for all views.
    pub selection: &'a mut Selection,
    /// The colours in use.
    pub theme: &'static Theme,
    /// Requests to the shell, handled after the frame.
    pub actions: &'a mut Vec<Action>,
}

/// What the worker found out beside the trace. Each is unknown until it is asked for.
#[derive(Default)]
pub struct Facts {
    /// What happened since the start.
    pub log: LogBook,
    /// What this machine's device can do at best: the newest that was measured or remembered.
    pub ceilings: Option<Arc<profiler::Ceilings>>,
    /// What to fix first in the trace on show.
    pub advice: Option<Arc<crate::ceilings::Advised>>,
    /// The runs of the history that were last asked for.
    pub history: Option<Arc<HistoryPage>>,
    /// The traces that were last compared.
    pub compared: Option<Compared>,
    /// What the open model's activations would take if they were planned otherwise.
    pub what_if: Option<Arc<studies::WhatIf>>,
}

/// Two traces and how far their comparison is.
#[derive(Clone)]
pub struct Compared {
    /// What is compared with.
    pub baseline: Arc<Trace>,
    /// What is compared.
    pub current: Arc<Trace>,
    /// How far it is.
    pub state: ComparisonState,
}

/// How far a comparison is.
#[derive(Clone)]
pub enum ComparisonState {
    /// Asked for.
    Working,
    /// Stopped by the user or by an error.
    Stopped,
    /// Done.
    Done(Arc<profiler::compare::Comparison>),
}

impl Compared {
    /// True if it is of these two.
    pub fn is_of(&self, baseline: &Arc<Trace>, current: &Arc<Trace>) -> bool {
        Arc::ptr_eq(&self.baseline, baseline) && Arc::ptr_eq(&self.current, current)
    }
}

/// What the history answered.
#[derive(Debug, Default)]
pub struct HistoryPage {
    /// The runs that the last search found.
    pub runs: Vec<history::Entry>,
    /// How many there are in all.
    pub all: u64,
    /// A run's number, and how the latency of what it measured went.
    pub trend: Option<(i64, history::Trend)>,
}

/// What is asked of the history. Each but the first is followed by the list as it then is.
#[derive(Clone, Debug, PartialEq)]
pub enum HistoryAsk {
    /// The runs in which all of these words occur.
    List(String),
    /// How the latency of what a run measured went.
    Trend(i64),
    /// Replace a run's tags.
    Tags(i64, String),
    /// Replace a run's note.
    Note(i64, String),
    /// Remove a run and its trace.
    Remove(i64),
    /// Keep a run.
    Keep(Arc<Trace>),
}

/// How figures and pictures are shown: kept between starts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Preferences {
    /// The table of layers.
    pub layers: crate::views::layers::LayersPreferences,
    /// What the colours of the flame graph say.
    pub flame_colors: ColorBy,
}

/// What a view asks of the shell.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Profile the open model with the current settings.
    Run,
    /// Profile the open model in this program's engine and in another one, and compare.
    RunEngines,
    /// Compare the precision schemes with f32 on the open model.
    RunAccuracy,
    /// Plan the open model's memory in other ways.
    WhatIf,
    /// Measure what the shown trace's device can do at best.
    MeasureCeilings,
    /// Show the dialog to open a model or a trace.
    OpenDialog,
    /// Open this file.
    Open(PathBuf),
    /// Settings changed that alter shapes: inspect the model again.
    SettingsChanged,
    /// Bring a view to the front, by its [`View::id`].
    Show(&'static str),
    /// Ask the history.
    History(HistoryAsk),
    /// Compare the open trace of this number with the others from now on, or none.
    Pin(Option<usize>),
    /// Show the open trace of this number.
    ShowRun(usize),
    /// Compare the trace on show with the baseline.
    Compare,
    /// Lay the open trace of this number over the open model.
    LayOver(usize),
    /// Open this file and make it what the others are compared with.
    OpenBaseline(PathBuf),
}

/// What is selected: one for all views.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// The layer whose figures the inspector shows.
    pub layer: Option<LayerId>,
    /// The span that was clicked, if a span was.
    pub span: Option<SpanId>,
    /// The layer under the pointer, in whichever view the pointer is; the shell clears it before each frame with
    /// [`Selection::begin_frame`].
    pub hovered: Option<LayerId>,
    /// The stretch of time that was selected in the timeline, in nanoseconds of the trace.
    pub range: Option<(u64, u64)>,
    hovered_before: Option<LayerId>,
}

impl Selection {
    /// Keeps what was hovered in the last frame for the views to light up, and starts anew. The shell calls it once per
    /// frame before any view draws.
    pub fn begin_frame(&mut self) {
        self.hovered_before = self.hovered.take();
    }

    /// True if the layer is under the pointer, in any view.
    pub fn is_hovered(&self, layer: LayerId) -> bool {
        self.hovered.or(self.hovered_before) == Some(layer)
    }

    /// True if the layer is selected.
    pub fn is_selected(&self, layer: LayerId) -> bool {
        self.layer == Some(layer)
    }

    /// Selects a layer, with no particular span.
    pub fn select(&mut self, layer: Option<LayerId>) {
        self.layer = layer;
        self.span = None;
    }

    /// True if what is hovered differs from the last frame, so that the other views must be drawn again.
    pub fn hover_changed(&self) -> bool {
        self.hovered != self.hovered_before
    }
}

/// A trace with everything that views derive from it: made once, on opening, and not per frame.
pub struct Profile {
    /// The trace itself.
    pub trace: Arc<Trace>,
    /// One entry per layer that was seen in a measured run.
    pub stats: Vec<LayerStats>,
    /// What lowers trust in the trace.
    pub audit: Audit,
    /// Findings about single layers, by layer.
    pub layer_badges: Vec<Vec<Badge>>,
    /// The layers as a tree.
    pub scopes: ScopeTree,
    /// The flame graph in time order.
    pub flame: Flame,
    /// The flame graph by scope.
    pub merged: Flame,
    /// Memory over the plan's steps.
    pub memory: MemoryIndex,
    /// Figures of layers beyond their statistics.
    pub figures: LayerFigures,
    /// What each layer is called on a graph or in a row: its place, without the operator's name where the place has one
    /// layer alone.
    pub labels: Vec<String>,
    /// The runs by time.
    pub runs: RunIndex,
    /// The measured run closest to the median latency.
    pub typical_run: Option<RunId>,
    by_layer: Vec<Option<usize>>,
    layer_spans: LayerSpans,
}

impl std::fmt::Debug for Profile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let spans = self.trace.spans.len();
        f.debug_struct("Profile").field("model", &self.trace.meta.model).field("spans", &spans).finish_non_exhaustive()
    }
}

impl Profile {
    /// Derives what the views need. Takes time that grows with the number of spans: call it outside of drawing.
    pub fn new(trace: Arc<Trace>) -> Self {
        let layer_spans = LayerSpans::of(&trace);
        let stats = trace.layer_stats_of(&layer_spans);
        let mut by_layer = vec![None; trace.layers.len()];
        let mut layer_badges = vec![Vec::new(); trace.layers.len()];
        for (i, s) in stats.iter().enumerate() {
            if let Some(slot) = by_layer.get_mut(s.layer.index()) {
                *slot = Some(i);
                layer_badges[s.layer.index()] = Audit::layer_badges(&trace, s);
            }
        }
        let scopes = ScopeTree::new(&trace.layers, &stats);
        let mut profile = Profile {
            audit: Audit::of(&trace),
            layer_badges,
            flame: Flame::of_spans(&trace, &scopes),
            merged: Flame::of_scopes(&scopes),
            memory: MemoryIndex::new(&trace, &stats),
            figures: LayerFigures::default(),
            runs: RunIndex::new(&trace.runs),
            typical_run: typical_run(&trace),
            labels: scopes.labels(),
            scopes,
            stats,
            by_layer,
            layer_spans,
            trace,
        };
        let times = |i: usize| profile.times_of(LayerId(i as u32));
        profile.figures = LayerFigures::new(&profile.trace, times, &profile.memory.steps);
        profile
    }

    /// A layer's statistics; `None` if no measured run ran it.
    pub fn stats_of(&self, layer: LayerId) -> Option<&LayerStats> {
        self.stats.get((*self.by_layer.get(layer.index())?)?)
    }

    /// The layer, if the trace has it.
    pub fn layer(&self, layer: LayerId) -> Option<&Layer> {
        self.trace.layers.get(layer.index())
    }

    /// The layer's spans in measured runs, in order of recording.
    pub fn spans_of(&self, layer: LayerId) -> &[SpanId] {
        self.layer_spans.measured(layer)
    }

    /// The span to show for a layer: the first in the typical run, else in any measured run, else in any.
    pub fn span_to_show(&self, layer: LayerId) -> Option<SpanId> {
        let (spans, measured) = (&self.trace.spans, self.spans_of(layer));
        let typical = self.typical_run.and_then(|run| {
            let start = self.trace.runs.get(run.index())?.start_ns;
            let at = measured.partition_point(|s| spans.start_ns[s.index()] < start);
            measured.get(at).filter(|s| spans.run[s.index()] == Some(run))
        });
        typical.or(self.layer_spans.all(layer).first()).copied()
    }

    /// The layer's time in each measured run that ran it: its spans there added up.
    pub fn times_of(&self, layer: LayerId) -> Vec<u64> {
        let spans = &self.trace.spans;
        let mut rows: Vec<(Option<RunId>, u64)> =
            self.spans_of(layer).iter().map(|s| spans.get(s.index())).map(|s| (s.run, s.duration_ns())).collect();
        // One track's spans are in order of their runs already.
        rows.sort_by_key(|r| r.0);
        let sum = |of_run: &[(Option<RunId>, u64)]| of_run.iter().fold(0u64, |sum, r| sum.saturating_add(r.1));
        rows.chunk_by(|a, b| a.0 == b.0).map(sum).collect()
    }

    /// The classes that occur among the layers.
    pub fn classes(&self) -> Vec<OpClass> {
        OpClass::ALL.into_iter().filter(|&c| self.trace.layers.iter().any(|l| l.class == c)).collect()
    }
}

fn typical_run(trace: &Trace) -> Option<RunId> {
    let median = trace.latency()?.median;
    let distance = |r: &profiler::Run| (r.end_ns.saturating_sub(r.start_ns) as f64 - median).abs();
    let measured = trace.runs.iter().enumerate().filter(|(_, r)| !r.warmup);
    let (i, _) = measured.min_by(|a, b| distance(a.1).total_cmp(&distance(b.1)))?;
    Some(RunId(i as u32))
}

#[cfg(test)]
mod tests {
    use super::*;
    use profiler::fixtures;

    #[test]
    fn profiles_of_odd_traces_are_made() {
        let seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().subsec_nanos();
        let mut random = fixtures::Random::new(u64::from(seed));
        for _ in 0..200 {
            let profile = Profile::new(Arc::new(fixtures::random(&mut random)));
            for (i, _) in profile.trace.layers.iter().enumerate() {
                let layer = LayerId(i as u32);
                let runs = profile.stats_of(layer).map_or(0, |s| s.runs);
                assert!(profile.times_of(layer).len() >= runs, "seed {seed}");
            }
            assert!(profile.stats_of(LayerId(u32::MAX)).is_none());
        }
    }

    #[test]
    fn the_typical_run_is_a_measured_one() {
        let profile = Profile::new(Arc::new(fixtures::transformer(2, 5, 1)));
        let run = profile.typical_run.unwrap();
        assert!(!profile.trace.runs[run.index()].warmup);
        assert_eq!(profile.times_of(LayerId(0)).len(), 5);
        assert!(Profile::new(Arc::new(fixtures::empty())).typical_run.is_none());
    }

    #[test]
    fn hovering_lights_up_from_frame_to_frame() {
        let mut s = Selection { hovered: Some(LayerId(3)), ..Selection::default() };
        s.begin_frame();
        assert!(s.is_hovered(LayerId(3)) && s.hover_changed());
        s.hovered = Some(LayerId(4));
        assert!(s.is_hovered(LayerId(4)) && !s.is_hovered(LayerId(3)));
        s.begin_frame();
        s.begin_frame();
        assert!(!s.is_hovered(LayerId(4)));
        s.span = Some(SpanId(1));
        s.select(Some(LayerId(1)));
        assert!(s.is_selected(LayerId(1)) && s.span.is_none());
    }
}
