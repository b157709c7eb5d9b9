//! The window: what is open, what runs, and where everything is drawn.
//!
//! [`App::logic`] takes the worker's events and carries out wishes; [`App::ui`] only draws, and collects wishes. Nothing here
//! waits: whatever takes time is a command to the worker or a thread of its own.

mod about;
mod banner;
mod capture;
mod commands;
mod dialogs;
mod dock;
mod engine;
mod events;
mod finder;
mod keys;
mod menu;
mod overlay;
mod session;
mod settings;
mod start;
mod state;
mod status;
mod toolbar;
mod undo;
mod window;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use graph::Model;
use profiler::Trace;
use studies::{Device, Inspection, Settings};

use crate::ceilings::Advised;
use crate::live::LiveServer;
use crate::log_book::{self, LogBook};
use crate::runs::Runs;
use crate::theme::{self, Theme};
use crate::view::{Action, Facts, Profile, Selection, View, ViewCx};
use crate::worker::{Command, Wake, Worker};

pub use dock::Layout;
pub use session::Session;
pub use settings::Look;
pub use state::{State, Store, ThemeChoice};
pub use window::{open_window, require_adapter};

use banner::Failure;
use capture::Capture;
use dialogs::Dialogs;
use finder::Finder;
use session::Queue;
use undo::History;

/// What the user asked for, by menu, key, button or view.
#[derive(Clone, Debug, PartialEq)]
enum Wish {
    /// What a view may ask for as well.
    Do(Action),
    SaveDialog,
    Save(Arc<Trace>, PathBuf),
    ExportDialog(&'static str),
    /// Ask where to put a picture of a panel.
    PictureDialog(&'static str),
    Picture(&'static str, PathBuf),
    Cancel,
    Toggle(&'static str),
    ResetLayout,
    Theme(ThemeChoice),
    Live(bool),
    CloseTrace,
    CloseAll,
    ShowRun(usize),
    Select(profiler::LayerId),
    Undo,
    Redo,
    /// Back or forward through what was selected.
    Go(bool),
    /// A view's own command: its id and the command's.
    ViewCommand(&'static str, &'static str),
    Settings(Box<Settings>),
    Scale(f32),
    StartPage,
    Find,
    Palette,
    SettingsDialog,
    /// Ask for the library of ONNX Runtime.
    LibraryDialog,
    Library(PathBuf),
    About,
    Help,
    Quit,
}

impl Wish {
    fn open(path: impl Into<PathBuf>) -> Wish {
        Wish::Do(Action::Open(path.into()))
    }
}

/// What lies over the window; one at a time.
enum Sheet {
    Finder(Box<Finder>),
    Settings,
    About,
    Help,
}

/// The model on show.
struct OpenModel {
    model: Arc<Model>,
    path: PathBuf,
    inspection: Option<Inspection>,
    /// The settings that the last inspection was asked with.
    asked: Option<Settings>,
    /// True until the answer to that is here.
    waiting: bool,
}

/// The program's window.
pub struct App {
    worker: Worker,
    /// A second one for what should not wait for a study: files to write, the history.
    clerk: Worker,
    store: Store,
    state: State,
    layout: Layout,
    views: Vec<Box<dyn View>>,
    model: Option<OpenModel>,
    runs: Runs,
    facts: Facts,
    /// The words that the history was last searched for.
    searched: String,
    selection: Selection,
    devices: Vec<Device>,
    capture: Capture,
    wishes: Vec<Wish>,
    failure: Option<Failure>,
    log: LogBook,
    dialogs: Dialogs,
    live: Option<LiveServer>,
    sheet: Option<Sheet>,
    history: History,
    /// A person did something since the last note in the history.
    touched: bool,
    queue: Queue,
    /// The file that is being opened to compare with.
    baseline_wanted: Option<PathBuf>,
    /// The trace (by address) that advice was asked for.
    advised: Option<usize>,
    /// The panels are shown though nothing is open.
    panels_wanted: bool,
    title: String,
    /// What draws the window, in words.
    adapter: String,
}

impl App {
    /// A window over the user's own state.
    pub fn new(ctx: &egui::Context, mut store: Store) -> anyhow::Result<Self> {
        let (state, note) = store.load();
        let app = Self::with_state(ctx, store, state)?;
        log_book::listen(&app.log);
        if let Some(note) = note {
            app.log.warn(note);
        }
        app.worker.send(Command::Devices);
        Ok(app)
    }

    fn with_state(ctx: &egui::Context, store: Store, state: State) -> anyhow::Result<Self> {
        theme::install(ctx);
        ctx.set_theme(state.theme.preference());
        let repaint = ctx.clone();
        let wake: Wake = Arc::new(move |after: Duration| repaint.request_repaint_after(after));
        let (worker, clerk) = (Worker::start(wake.clone())?, Worker::start(wake)?);
        let log = LogBook::default();
        state.look.apply(ctx);
        let views = crate::views::all();
        let ids: Vec<&str> = views.iter().map(|v| v.id()).collect();
        let layout = state.layout.clone().and_then(|l| l.completed(&ids)).unwrap_or_default();
        Ok(App {
            worker,
            clerk,
            store,
            state,
            layout,
            views,
            model: None,
            runs: Runs::default(),
            facts: Facts { log: log.clone(), ..Facts::default() },
            searched: String::new(),
            selection: Selection::default(),
            devices: Vec::new(),
            capture: Capture::default(),
            wishes: Vec::new(),
            failure: None,
            log,
            dialogs: Dialogs::default(),
            live: None,
            sheet: None,
            history: History::default(),
            touched: false,
            baseline_wanted: None,
            queue: Queue::default(),
            advised: None,
            panels_wanted: false,
            title: String::new(),
            adapter: String::new(),
        })
    }

    /// A window that shows this trace (and model), with its longest layer selected; keeps nothing and asks for nothing: for pictures and tests.
    pub fn still(
        ctx: &egui::Context,
        theme: ThemeChoice,
        trace: Option<Arc<Trace>>,
        model: Option<(Arc<Model>, Inspection)>,
        settings: Settings,
    ) -> anyhow::Result<Self> {
        let state = State { theme, settings, ..State::default() };
        let mut app = Self::with_state(ctx, Store::none(), state)?;
        theme::reduce_motion(ctx);
        if let Some(trace) = trace {
            let profile = Arc::new(Profile::new(trace));
            // Pictures don't wait for the thread that looks for it.
            app.facts.advice = Some(Arc::new(Advised::new(&profile, None)));
            app.advised = Some(Arc::as_ptr(&profile.trace).addr());
            app.runs.add(profile, None);
            app.selection.select(app.runs.current().and_then(|r| crate::snapshot::longest_layer(&r.profile)));
        }
        let settings = app.state.settings.clone();
        app.model = model.map(|(model, inspection)| OpenModel {
            path: model.path.clone(),
            model,
            inspection: Some(inspection),
            asked: Some(settings),
            waiting: false,
        });
        Ok(app)
    }

    /// Opens a file once the window is up.
    pub fn open(&mut self, path: PathBuf) {
        self.wishes.push(Wish::open(path));
    }

    /// Measures the open model as soon as the window draws.
    pub fn run(&mut self) {
        self.wishes.push(Wish::Do(Action::Run));
    }

    /// Stops what is running.
    pub fn cancel(&self) {
        self.worker.cancel();
    }

    /// True while a study runs.
    pub fn is_measuring(&self) -> bool {
        self.worker.running().is_some_and(|r| r.study)
    }

    /// True once a model is open and was looked at.
    pub fn is_ready(&self) -> bool {
        self.model.as_ref().is_some_and(|m| m.inspection.is_some()) && self.worker.running().is_none()
    }

    /// The selected layer.
    pub fn selected(&self) -> Option<profiler::LayerId> {
        self.selection.layer
    }

    /// True if the view's panel is not hidden.
    pub fn shows(&self, view: &str) -> bool {
        self.layout.is_shown(view)
    }

    /// The files of the open model and traces.
    pub fn open_files(&self) -> Vec<PathBuf> {
        let traces = self.runs.all().iter().filter_map(|r| r.path.clone());
        self.model.iter().map(|m| m.path.clone()).chain(traces).collect()
    }

    /// Takes what happened since the last frame: the worker's events, dialogs, and the user's wishes.
    pub fn logic(&mut self, ctx: &egui::Context) {
        while let Some(event) = self.worker.poll().or_else(|| self.clerk.poll()) {
            self.on_event(event);
        }
        self.finish_picture();
        self.wishes.extend(self.dialogs.poll(&self.log));
        for wish in std::mem::take(&mut self.wishes) {
            self.touched = true;
            self.perform(ctx, wish);
        }
        self.open_next();
        self.inspect_if_needed();
        self.advise_if_needed();
        let title = match (&self.model, self.runs.current()) {
            (Some(m), _) => format!("{} - Stratoscope", crate::worker::file_name(&m.path)),
            (None, Some(run)) => format!("{} - Stratoscope", run.title()),
            (None, None) => "Stratoscope".to_owned(),
        };
        if title != self.title {
            ctx.send_viewport_cmd(egui::ViewportCommand::Title(title.clone()));
            self.title = title;
        }
    }

    /// Draws the window into all of `ui`.
    pub fn ui(&mut self, ui: &mut egui::Ui) {
        let ctx = ui.ctx().clone();
        let theme = Theme::of(&ctx);
        settings::begin_frame(&self.state.look);
        self.keys(&ctx);
        self.take_drops(&ctx);
        ui.painter().rect_filled(ui.max_rect(), 0.0, theme.surface[0]);
        self.toolbar_ui(ui, theme);
        self.status_ui(ui, theme);
        self.banner_ui(ui, theme);
        let nothing_open = self.model.is_none() && self.runs.current().is_none() && !self.panels_wanted;
        egui::CentralPanel::no_frame().show(ui, |ui| {
            if nothing_open {
                self.start_ui(ui, theme);
            } else {
                self.dock_ui(ui, theme);
            }
        });
        self.help_ui(&ctx, theme);
        self.settings_ui(&ctx, theme);
        self.about_ui(&ctx, theme);
        self.finder_ui(&ctx, theme);
        self.drop_overlay_ui(&ctx, theme);
        if !self.wishes.is_empty() || self.selection.hover_changed() {
            // Wishes are carried out by `logic`, before the next frame.
            ctx.request_repaint();
        }
        self.take_picture(&ctx, theme);
        self.note_moment(&ctx);
        self.keep_state(&ctx);
    }

    fn dock_ui(&mut self, ui: &mut egui::Ui, theme: &'static Theme) {
        self.selection.begin_frame();
        self.with_views(theme, |layout, views, cx| {
            ui.spacing_mut().item_spacing.y = 0.0;
            crate::views::summary::strip(ui, cx);
            layout.ui(ui, views, cx);
        });
    }

    /// Lends the views with what they are given, and takes what they ask for.
    fn with_views(
        &mut self,
        theme: &'static Theme,
        use_them: impl FnOnce(&mut Layout, &mut [Box<dyn View>], &mut ViewCx<'_>),
    ) {
        let mut actions = Vec::new();
        let mut cx = ViewCx {
            profile: self.runs.current().map(|r| &*r.profile),
            model: self.model.as_ref().and_then(|m| m.inspection.as_ref()),
            runs: &self.runs,
            facts: &self.facts,
            settings: &mut self.state.settings,
            preferences: &mut self.state.preferences,
            selection: &mut self.selection,
            theme,
            actions: &mut actions,
        };
        use_them(&mut self.layout, &mut self.views, &mut cx);
        self.wishes.extend(actions.into_iter().map(Wish::Do));
    }

    fn take_drops(&mut self, ctx: &egui::Context) {
        let dropped = ctx.input(|i| i.raw.dropped_files.clone());
        self.wishes.extend(dropped.iter().map(|f| Wish::open(f.path().to_owned())));
    }

    /// Saves what outlives the program, when the user let go of something.
    fn keep_state(&mut self, ctx: &egui::Context) {
        let (let_go, size, free, maximized) = ctx.input(|i| {
            let v = i.viewport();
            let maximized = v.maximized.unwrap_or(false);
            let free = !maximized && !v.fullscreen.unwrap_or(false);
            (
                i.pointer.any_released() || i.events.iter().any(|e| matches!(e, egui::Event::Key { .. })),
                i.content_rect().size(),
                free,
                maximized,
            )
        });
        self.state.maximized = maximized;
        if free {
            self.state.window = [size.x, size.y].map(|v| v * ctx.zoom_factor());
        }
        if let_go {
            self.save_state();
        }
    }

    fn save_state(&mut self) {
        self.state.layout = Some(self.layout.clone());
        self.state.session = self.session();
        if let Err(e) = self.store.save(&self.state) {
            self.log.warn(format!("the window's state could not be saved: {e}"));
        }
    }
}

impl eframe::App for App {
    fn logic(&mut self, ctx: &egui::Context, _frame: &mut eframe::Frame) {
        App::logic(self, ctx);
    }

    fn ui(&mut self, ui: &mut egui::Ui, _frame: &mut eframe::Frame) {
        App::ui(self, ui);
    }

    fn on_exit(&mut self) {
        self.save_state();
    }
}
