//! The seam between the shell and the views: what a view is given, and what it may ask for.
//!
//! A view draws and changes the shared selection and the settings; everything else it asks of the shell as an [`Action`].

use std::path::PathBuf;
use std::sync::Arc;

use profiler::{Audit, LayerId, LayerStats, SpanId, Trace};
use studies::{Inspection, Settings};

use crate::theme::Theme;

/// One panel: a file in `views/` and a line in [`crate::views::all`].
pub trait View {
    /// A stable word for layouts, the command line and tests: `flame`.
    fn id(&self) -> &'static str;

    /// The tab's words.
    fn title(&self) -> &'static str;

    /// Draws the panel into all of the space that `ui` has left.
    fn ui(&mut self, ui: &mut egui::Ui, cx: &mut ViewCx<'_>);
}

/// What a view draws from and writes to.
pub struct ViewCx<'a> {
    /// The trace on show with what was derived from it; `None` before the first run.
    pub profile: Option<&'a Profile>,
    /// The open model; `None` if nothing is open or only a trace is.
    pub model: Option<&'a Inspection>,
    /// What the next run will use. A view that changes it pushes [`Action::SettingsChanged`] if the model must be looked at anew.
    pub settings: &'a mut Settings,
    /// What is selected and hovered, the same for all views.
    pub selection: &'a mut Selection,
    /// The colours in use.
    pub theme: &'static Theme,
    /// Requests to the shell, handled after the frame.
    pub actions: &'a mut Vec<Action>,
}

/// What a view asks of the shell.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Profile the open model with the current settings.
    Run,
    /// Compare the precision schemes with f32 on the open model.
    RunAccuracy,
    /// Show the dialog to open a model or a trace.
    OpenDialog,
    /// Open this file.
    Open(PathBuf),
    /// Settings changed that alter shapes: inspect the model again.
    SettingsChanged,
    /// Bring a view to the front, by its [`View::id`].
    Show(&'static str),
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
    /// One entry per layer.
    pub stats: Vec<LayerStats>,
    /// What lowers trust in the trace.
    pub audit: Audit,
}

impl Profile {
    /// Derives what the views need. Takes time that grows with the number of spans: call it outside of drawing.
    pub fn new(trace: Arc<Trace>) -> Self {
        Profile { stats: trace.layer_stats(), audit: Audit::of(&trace), trace }
    }
}
