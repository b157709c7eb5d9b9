//! What the window does about events and wishes.

use std::path::Path;
use std::sync::Arc;

use graph::Model;
use studies::Precision;

use super::banner::Failure;
use super::dock::Layout;
use super::{App, OpenModel, Wish};
use crate::live::{DEFAULT_ADDRESS, LiveServer};
use crate::view::Action;
use crate::view::Profile;
use crate::worker::{Command, Event, chain, file_name};

impl App {
    pub(super) fn on_event(&mut self, event: Event) {
        match event {
            Event::OpenedModel(model, path) => self.show_model(model, &path),
            Event::OpenedTrace(profile, path) => {
                self.remember(&path);
                if self.model.as_ref().is_some_and(|m| m.path != Path::new(&profile.trace.meta.model_path)) {
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
                let known = self.runs.accuracy_for(trace);
                let join = known.map(|accuracy| Command::Join { times: trace.clone(), accuracy });
                if !join.is_some_and(|join| self.worker.send(join)) {
                    self.show_trace(profile, None);
                }
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
            Event::Joined(profile) => self.show_trace(profile, None),
            Event::Saved(path) => {
                self.log.info(format!("Wrote {}", path.display()));
                if crate::worker::extension(&path).as_deref() == Some("scope") {
                    self.runs.mark_saved(&path);
                    self.remember(&path);
                }
            }
            Event::Devices(devices) => self.devices = devices,
            Event::Cancelled(what) => self.log.info(format!("{what}: cancelled")),
            Event::Failed { what, why } => {
                if let Some(m) = &mut self.model {
                    m.waiting = false;
                }
                self.log.error(format!("{what}: {why}"));
                self.failure = Some(Failure { what, why });
            }
        }
    }

    fn show_model(&mut self, model: Arc<Model>, path: &Path) {
        self.remember(path);
        let settings = &mut self.state.settings;
        if self.model.as_ref().is_none_or(|m| m.path != path) {
            // Dimensions are carried over by name; how inputs are filled belongs to one model.
            let symbols = model.graph.symbols();
            settings.dims.retain(|name, _| symbols.contains(name));
            settings.inputs.clear();
            self.runs.deselect();
            self.selection.select(None);
        }
        self.failure = None;
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

    /// True if a study can start now.
    pub(super) fn can_run(&self) -> bool {
        self.model.is_some() && !self.is_measuring()
    }

    /// True while a study runs.
    pub(super) fn is_measuring(&self) -> bool {
        self.worker.running().is_some_and(|r| r.study)
    }

    pub(super) fn perform(&mut self, ctx: &egui::Context, wish: Wish) {
        match wish {
            Wish::Do(action) => self.act(ctx, action),
            Wish::SaveDialog => match self.runs.current() {
                Some(run) => self.dialogs.save(ctx, run.profile.trace.clone(), "scope"),
                None => self.log.info("There is no trace to save yet: run the model first".to_owned()),
            },
            Wish::ExportDialog(extension) => {
                if let Some(run) = self.runs.current() {
                    self.dialogs.save(ctx, run.profile.trace.clone(), extension);
                }
            }
            Wish::Save(trace, path) => {
                self.worker.send(Command::Save(trace, path));
            }
            Wish::Cancel => self.worker.cancel(),
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
            Wish::Help => self.help = true,
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
            Action::RunAccuracy => {
                if let (Some(m), true) = (&self.model, self.can_run()) {
                    self.failure = None;
                    let schemes = Precision::ALL.into_iter().filter(|&p| p != Precision::F32).collect();
                    self.worker.send(Command::Accuracy(m.model.clone(), self.state.settings.clone(), schemes));
                }
            }
            Action::OpenDialog => self.dialogs.open(ctx),
            Action::Open(path) => {
                self.worker.send(Command::Open(path));
            }
            // Settings that differ from those of the last inspection are noticed in any case.
            Action::SettingsChanged => {}
            Action::Show(id) => self.layout.focus(id),
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
            Err(e) => self.failure = Some(Failure { what: "Serve to puffin_viewer".to_owned(), why: chain(&e) }),
        }
    }
}
