//! What the window does about events and wishes.

use std::path::Path;
use std::sync::Arc;

use graph::Model;
use studies::{EngineChoice, Precision};

use super::banner::Failure;
use super::dock::Layout;
use super::engine::other_engine;
use super::{App, OpenModel, Sheet, Wish};
use crate::live::{DEFAULT_ADDRESS, LiveServer};
use crate::theme::Theme;
use crate::view::{Action, Compared, ComparisonState, HistoryAsk, Profile};
use crate::worker::{Command, Event, chain, file_name};

impl App {
    pub(super) fn on_event(&mut self, event: Event) {
        match event {
            Event::OpenedModel(model, path) => self.show_model(model, &path),
            Event::OpenedTrace(profile, path) if self.queue.is_again(&path) => self.trace_is_back(profile, &path),
            Event::OpenedTrace(profile, path) if self.baseline_wanted.take_if(|p| *p == path).is_some() => {
                self.runs.add_baseline(profile, path);
                self.layout.focus("compare");
            }
            Event::OpenedTrace(profile, path) => {
                self.queue.now = None;
                self.remember(&path);
                let own = |m: &OpenModel| m.path == Path::new(&profile.trace.meta.model_path);
                // A trace that came without its model can be laid over the one that is open.
                if !profile.trace.nodes.is_empty() && self.model.as_ref().is_some_and(|m| !own(m)) {
                    self.model = None;
                }
                self.show_trace(profile, Some(&path));
            }
            Event::Inspected(model, inspection) => {
                if let Some(open) = self.model.as_mut().filter(|m| Arc::ptr_eq(&m.model, &model)) {
                    open.inspection = Some(*inspection);
                    open.waiting = false;
                }
            }
            Event::Profiled(profile) => {
                let trace = &profile.trace;
                self.log.info(format!("Profiled {} on {}", trace.meta.model, trace.meta.device));
                self.ask_history(HistoryAsk::Keep(trace.clone()));
                let known = self.runs.accuracy_for(trace);
                let join = known.map(|accuracy| Command::Join { times: trace.clone(), accuracy });
                if !join.is_some_and(|join| self.worker.send(join)) {
                    self.show_trace(profile, None);
                }
            }
            Event::SideBySide([other, own]) => {
                for profile in [&other, &own] {
                    let meta = &profile.trace.meta;
                    self.log.info(format!("Profiled {} on {}", meta.model, meta.ran_on()));
                    self.ask_history(HistoryAsk::Keep(profile.trace.clone()));
                }
                self.show_trace(other, None);
                self.runs.pin(self.runs.current_index());
                self.show_trace(own, None);
                self.layout.focus("compare");
            }
            Event::Compared(profile) => {
                let trace = &profile.trace;
                self.log.info(format!("Compared precisions of {}", trace.meta.model));
                let known = self.runs.times_for(trace);
                let join = known.map(|times| Command::Join { times, accuracy: trace.clone() });
                if !join.is_some_and(|join| self.worker.send(join)) {
                    self.show_trace(profile, None);
                }
                self.layout.focus("accuracy");
            }
            Event::Overlaid(profile, report) => {
                self.log.info(format!("{}: {}", profile.trace.meta.model, report.summary()));
                for (name, op) in report.unmatched.iter().take(20) {
                    self.log.info(format!("Not found in the model: {name} ({op})"));
                }
                self.show_trace(profile, None);
                self.layout.focus("graph");
            }
            Event::Differs(baseline, current, comparison) => {
                let state = ComparisonState::Done(comparison);
                self.facts.compared = Some(Compared { baseline, current, state });
            }
            Event::Planned(what_if) => self.facts.what_if = Some(what_if),
            Event::Ceilings(ceilings, advised) => {
                self.facts.ceilings = ceilings.or_else(|| self.facts.ceilings.take());
                self.facts.advice = Some(advised);
            }
            Event::Joined(profile) => self.show_trace(profile, None),
            Event::Saved(path) => {
                self.log.info(format!("Wrote {}", path.display()));
                if crate::worker::extension(&path).as_deref() == Some("scope") {
                    self.runs.mark_saved(&path);
                    self.remember(&path);
                }
            }
            Event::History(mut page, note) => {
                if let Some(note) = note {
                    self.log.warn(note);
                }
                if page.trend.is_none() {
                    page.trend = self.facts.history.as_ref().and_then(|p| p.trend.clone());
                }
                self.facts.history = Some(Arc::from(page));
            }
            Event::Devices(devices) => self.devices = devices,
            Event::Cancelled(what) => {
                self.comparing_ended(&what);
                self.opening_ended(&what);
                self.log.info(format!("{what}: cancelled"));
            }
            Event::Failed { what, why } => {
                self.comparing_ended(&what);
                let again = self.opening_ended(&what);
                if let Some(m) = &mut self.model {
                    m.waiting = false;
                }
                self.log.error(format!("{what}: {why}"));
                if !again {
                    self.failure = Some(Failure::new(what, why));
                }
            }
        }
    }

    /// The file that was being opened is not any more, if this was that; true if it was coming back by itself.
    fn opening_ended(&mut self, what: &str) -> bool {
        let of_opening = |o: &mut super::session::Opening| Command::Open(o.path.clone()).title() == what;
        self.queue.now.take_if(of_opening).is_some_and(|o| o.again)
    }

    /// The comparison that was asked for does not come, if this was that.
    fn comparing_ended(&mut self, what: &str) {
        if let Some(c) = self.facts.compared.as_mut().filter(|c| matches!(c.state, ComparisonState::Working))
            && what == Command::Compare(c.baseline.clone(), c.current.clone()).title()
        {
            c.state = ComparisonState::Stopped;
        }
        self.baseline_wanted.take_if(|path| Command::Open(path.clone()).title() == what);
    }

    /// Asks for the comparison of the trace on show with the baseline.
    fn compare(&mut self) {
        let (Some(a), Some(b)) = (self.runs.baseline(), self.runs.current()) else { return };
        let (baseline, current) = (a.profile.trace.clone(), b.profile.trace.clone());
        let sent = self.worker.send(Command::Compare(baseline.clone(), current.clone()));
        let state = if sent { ComparisonState::Working } else { ComparisonState::Stopped };
        self.facts.compared = Some(Compared { baseline, current, state });
    }

    fn trace_is_back(&mut self, profile: Arc<Profile>, path: &Path) {
        self.queue.now = None;
        let shown_before = self.runs.current_index();
        self.runs.add(profile, Some(path.to_owned()));
        if self.queue.shown.as_deref() != Some(path) {
            match shown_before {
                Some(i) => self.runs.show(i),
                None => self.runs.deselect(),
            }
        } else {
            self.queue.shown = None;
        }
    }

    fn show_model(&mut self, model: Arc<Model>, path: &Path) {
        let again = self.queue.is_again(path);
        self.queue.now = None;
        if !again {
            self.remember(path);
        }
        let settings = &mut self.state.settings;
        if !again && self.model.as_ref().is_none_or(|m| m.path != path) {
            // Dimensions are carried over by name; how inputs are filled belongs to one model.
            let symbols = model.graph.symbols();
            settings.dims.retain(|name, _| symbols.contains(name));
            settings.inputs.clear();
            // A trace that came without its model stays: it can be laid over this one.
            if self.runs.current().is_none_or(|run| !run.profile.trace.nodes.is_empty()) {
                self.runs.deselect();
                self.selection.select(None);
            }
        }
        if !again {
            self.failure = None;
        }
        self.log.info(format!("Opened {}: {} nodes", file_name(path), model.graph.nodes.len()));
        self.model = Some(OpenModel { model, path: path.to_owned(), inspection: None, asked: None, waiting: false });
    }

    pub(super) fn show_trace(&mut self, profile: Arc<Profile>, path: Option<&Path>) {
        // The selection follows its layer's name: another run of the same plan shows the same layer.
        let name = self
            .selection
            .layer
            .and_then(|l| Some(self.runs.current()?.profile.trace.layers.get(l.index())?.name.clone()));
        let same = name.and_then(|n| profile.trace.layers.iter().position(|l| l.name == n));
        self.selection.select(same.map(|i| profiler::LayerId(i as u32)));
        self.failure = None;
        if let Some(live) = &self.live {
            live.show(profile.trace.clone());
        }
        self.runs.add(profile, path.map(Path::to_owned));
    }

    fn remember(&mut self, path: &Path) {
        if path.exists() {
            let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
            self.state.remember(&whole);
            self.save_state();
        }
    }

    /// Asks for an inspection if the settings differ from those of the last one.
    pub(super) fn inspect_if_needed(&mut self) {
        let Some(open) = &mut self.model else { return };
        let settings = &self.state.settings;
        let same = |a: &studies::Settings| {
            (&a.dims, &a.inputs, a.device, a.threads, a.precision, a.fusion, a.seed)
                == (
                    &settings.dims,
                    &settings.inputs,
                    settings.device,
                    settings.threads,
                    settings.precision,
                    settings.fusion,
                    settings.seed,
                )
        };
        if open.waiting || open.asked.as_ref().is_some_and(same) {
            return;
        }
        if self.worker.send(Command::Inspect(open.model.clone(), settings.clone())) {
            open.asked = Some(settings.clone());
            open.waiting = true;
        }
    }

    /// Asks once for what to fix in the trace that came on show.
    pub(super) fn advise_if_needed(&mut self) {
        let Some(run) = self.runs.current() else { return };
        let key = Arc::as_ptr(&run.profile.trace).addr();
        if self.advised != Some(key) && self.clerk.send(self.ceilings_command(run.profile.clone(), false)) {
            self.advised = Some(key);
        }
    }

    fn ceilings_command(&self, profile: Arc<Profile>, measure: bool) -> Command {
        let folder = if self.store.is_of_user() { crate::ceilings::folder() } else { None };
        Command::Ceilings { profile, measure, folder }
    }

    /// True if a study can start now.
    pub(super) fn can_run(&self) -> bool {
        self.model.is_some() && !self.is_measuring()
    }

    pub(super) fn perform(&mut self, ctx: &egui::Context, wish: Wish) {
        match wish {
            Wish::Do(action) => self.act(ctx, action),
            Wish::ViewCommand(view, command) => self.command_view(ctx, view, command),
            Wish::Undo => self.undo(),
            Wish::Redo => self.redo(),
            Wish::Go(forward) => self.go(forward),
            Wish::Select(layer) => {
                self.selection.select(Some(layer));
                self.layout.set_shown("inspector", true);
            }
            Wish::ShowRun(index) => self.show_run(index),
            Wish::CloseTrace => {
                self.runs.close();
                self.selection.select(None);
            }
            Wish::CloseAll => {
                (self.model, self.panels_wanted) = (None, false);
                self.runs.clear();
                self.queue.clear();
                self.selection.select(None);
            }
            Wish::Settings(settings) => self.state.settings = *settings,
            Wish::Scale(scale) => {
                self.state.look = self.state.look.with_scale(scale);
                self.state.look.apply(ctx);
            }
            Wish::Find => self.open_search(),
            Wish::Palette => self.open_palette(ctx),
            Wish::SettingsDialog => self.sheet = Some(Sheet::Settings),
            Wish::LibraryDialog => self.dialogs.library(ctx),
            Wish::Library(path) => self.state.settings.engine = EngineChoice::OnnxRuntime { library: Some(path) },
            Wish::About => self.sheet = Some(Sheet::About),
            Wish::StartPage => self.panels_wanted = false,
            Wish::SaveDialog => match self.runs.current() {
                Some(run) => self.dialogs.save(ctx, run.profile.trace.clone(), "scope"),
                None => self.log.info("There is no trace to save yet: run the model first"),
            },
            Wish::ExportDialog(extension) => {
                if let Some(run) = self.runs.current() {
                    self.dialogs.save(ctx, run.profile.trace.clone(), extension);
                }
            }
            Wish::PictureDialog(view) => self.dialogs.picture(ctx, view),
            Wish::Picture(view, path) => self.capture(ctx, view, path),
            Wish::Save(trace, path) => {
                self.clerk.send(Command::Save(trace, path));
            }
            Wish::Cancel => {
                self.worker.cancel();
                self.clerk.cancel();
            }
            Wish::Toggle(id) => {
                let shown = self.layout.is_shown(id);
                self.layout.set_shown(id, !shown);
            }
            Wish::ResetLayout => self.layout = Layout::default(),
            Wish::Theme(choice) => {
                self.state.theme = choice;
                ctx.set_theme(choice.preference());
            }
            Wish::Live(on) => self.set_live(on),
            Wish::Help => self.sheet = Some(Sheet::Help),
            Wish::Quit => ctx.send_viewport_cmd(egui::ViewportCommand::Close),
        }
        self.save_state();
    }

    /// What views and the shell alike ask for.
    fn act(&mut self, ctx: &egui::Context, action: Action) {
        match action {
            Action::Run => {
                if let (Some(m), true) = (&self.model, self.can_run()) {
                    self.failure = None;
                    self.worker.send(Command::Profile(m.model.clone(), self.state.settings.clone()));
                }
            }
            Action::MeasureCeilings => {
                if let (Some(run), false) = (self.runs.current(), self.is_measuring()) {
                    self.failure = None;
                    self.worker.send(self.ceilings_command(run.profile.clone(), true));
                }
            }
            Action::RunEngines => {
                if let (Some(m), true) = (&self.model, self.can_run()) {
                    self.failure = None;
                    let engines = [other_engine(&self.state.settings), EngineChoice::Own];
                    self.worker.send(Command::SideBySide(m.model.clone(), self.state.settings.clone(), engines));
                }
            }
            Action::RunAccuracy => {
                if let (Some(m), true) = (&self.model, self.can_run()) {
                    self.failure = None;
                    let schemes = Precision::ALL.into_iter().filter(|&p| p != Precision::F32).collect();
                    self.worker.send(Command::Accuracy(m.model.clone(), self.state.settings.clone(), schemes));
                }
            }
            Action::LayOver(index) => {
                if let (Some(m), Some(run)) = (&self.model, self.runs.all().get(index)) {
                    let trace = run.profile.trace.clone();
                    self.worker.send(Command::Overlay(trace, m.model.clone(), self.state.settings.clone()));
                }
            }
            Action::WhatIf => {
                if let (Some(m), true) = (&self.model, self.can_run()) {
                    self.failure = None;
                    self.worker.send(Command::WhatIf(m.model.clone(), self.state.settings.clone()));
                }
            }
            Action::OpenDialog => self.dialogs.open(ctx),
            Action::Open(path) => self.queue.push(path),
            // Settings that differ from those of the last inspection are noticed in any case.
            Action::SettingsChanged => {}
            Action::Show(id) => {
                self.panels_wanted = true;
                self.layout.focus(id);
            }
            Action::History(ask) => self.ask_history(ask),
            Action::Pin(index) => {
                self.runs.pin(index);
                if index.is_some() {
                    self.layout.focus("compare");
                }
            }
            Action::ShowRun(index) => self.show_run(index),
            Action::Compare => self.compare(),
            Action::OpenBaseline(path) => {
                self.baseline_wanted = Some(path.clone());
                self.worker.send(Command::Open(path));
            }
        }
    }

    /// Pictures and tests have no history: it is the user's.
    fn ask_history(&mut self, ask: HistoryAsk) {
        if !self.store.is_of_user() {
            self.facts.history.get_or_insert_default();
            return;
        }
        if let HistoryAsk::List(words) = &ask {
            self.searched.clone_from(words);
        }
        self.clerk.send(Command::History(ask, self.searched.clone()));
    }

    /// Shows a view and has it carry out one of its commands.
    fn command_view(&mut self, ctx: &egui::Context, view: &'static str, command: &str) {
        self.panels_wanted = true;
        self.with_views(Theme::of(ctx), |layout, views, cx| {
            layout.focus(view);
            if let Some(view) = views.iter_mut().find(|v| v.id() == view) {
                view.command(command, cx);
            }
        });
    }

    /// Shows another of the open traces.
    pub(super) fn show_run(&mut self, index: usize) {
        self.runs.show(index);
        self.selection.select(None);
        if let (Some(live), Some(run)) = (&self.live, self.runs.current()) {
            live.show(run.profile.trace.clone());
        }
    }

    fn set_live(&mut self, on: bool) {
        self.live = None;
        if !on {
            return;
        }
        match LiveServer::start(DEFAULT_ADDRESS) {
            Ok(server) => {
                if let Some(run) = self.runs.current() {
                    server.show(run.profile.trace.clone());
                }
                self.log.info(format!("Serving to puffin_viewer on {}", server.address()));
                self.live = Some(server);
            }
            Err(e) => self.failure = Some(Failure::new("Serve to puffin_viewer", chain(&e))),
        }
    }
}
