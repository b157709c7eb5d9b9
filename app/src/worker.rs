//! The thread that opens, inspects, measures and saves, so that the window never waits.
//!
//! One job runs at a time. Commands and events travel through bounded channels; progress is a single slot that holds only
//! the newest report, so that a fast job can't flood the window. A panic inside a job is caught and reported as a failure.

use std::any::Any;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use graph::Model;
use profiler::Trace;
use studies::ceilings::{Target, ceilings, remembered};
use studies::{Control, Device, EngineChoice, Inspection, Precision, Progress, Settings, StudyError};

use crate::apart::Apart;
use crate::ceilings::Advised;
use crate::past::Past;
use crate::view::{HistoryAsk, HistoryPage, Profile};

/// The window repaints at most this often for progress.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(500);
/// A job that takes longer than this is seen to run.
const FIRST_LOOK: Duration = Duration::from_millis(100);

/// What the window asks for.
#[derive(Debug)]
pub enum Command {
    /// Open a model or a trace; which of the two is told by its content.
    Open(PathBuf),
    /// Look at a model under these settings.
    Inspect(Arc<Model>, Settings),
    /// Measure latency and memory.
    Profile(Arc<Model>, Settings),
    /// Measure in two engines.
    SideBySide(Arc<Model>, Settings, [EngineChoice; 2]),
    /// Compare precisions with f32.
    Accuracy(Arc<Model>, Settings, Vec<Precision>),
    /// Plan a model's memory in other ways.
    WhatIf(Arc<Model>, Settings),
    /// Tell the rows of a trace which of the model's nodes they ran.
    Overlay(Arc<Trace>, Arc<Model>, Settings),
    /// Put the times of one trace and the error figures of another into one.
    Join {
        /// Whose times.
        times: Arc<Trace>,
        /// Whose error figures.
        accuracy: Arc<Trace>,
    },
    /// Recall what a trace's device can do at best, or measure it, and say what to fix in the trace.
    Ceilings {
        /// The trace.
        profile: Arc<Profile>,
        /// Measure; else only what is remembered.
        measure: bool,
        /// Where they are remembered; nowhere for pictures and tests.
        folder: Option<PathBuf>,
    },
    /// Compare a baseline with a trace.
    Compare(Arc<Trace>, Arc<Trace>),
    /// Write a trace; the extension tells the format.
    Save(Arc<Trace>, PathBuf),
    /// Write a file that is ready.
    Write(Vec<u8>, PathBuf),
    /// Write pixels as a PNG.
    WritePixels(Box<egui::ColorImage>, PathBuf),
    /// Ask the history, and look up the runs with these words.
    History(HistoryAsk, String),
    /// List the devices.
    Devices,
    /// Fail in the worst way.
    #[cfg(test)]
    Panic,
}

impl Command {
    /// What is being done, in words, for the status bar and for error messages.
    pub fn title(&self) -> String {
        match self {
            Command::Open(p) => format!("Open {}", file_name(p)),
            Command::Inspect(m, _) => format!("Inspect {}", file_name(&m.path)),
            Command::Overlay(t, m, _) => format!("Lay {} over {}", t.meta.model, file_name(&m.path)),
            Command::WhatIf(m, _) => format!("Plan the memory of {} in other ways", file_name(&m.path)),
            Command::Profile(m, _) => format!("Profile {}", file_name(&m.path)),
            Command::SideBySide(m, ..) => format!("Profile {} in two engines", file_name(&m.path)),
            Command::Accuracy(m, ..) => format!("Compare precisions of {}", file_name(&m.path)),
            Command::Join { times, .. } => format!("Join what is known of {}", times.meta.model),
            Command::Ceilings { profile, measure: true, .. } => {
                format!("Measure the ceilings of {}", profile.trace.meta.device)
            }
            Command::Ceilings { .. } => "Look for what to fix".to_owned(),
            Command::Compare(..) => "Compare traces".to_owned(),
            Command::Save(_, p) => format!("Save {}", file_name(p)),
            Command::Write(_, p) | Command::WritePixels(_, p) => format!("Write {}", file_name(p)),
            Command::History(..) => "History".to_owned(),
            Command::Devices => "List devices".to_owned(),
            #[cfg(test)]
            Command::Panic => "Panic".to_owned(),
        }
    }
}

/// What the worker answers.
#[derive(Debug)]
pub enum Event {
    /// A model is open.
    OpenedModel(Arc<Model>, PathBuf),
    /// A saved trace is open.
    OpenedTrace(Arc<Profile>, PathBuf),
    /// What is in the model.
    Inspected(Arc<Model>, Box<Inspection>),
    /// A latency study ended well.
    Profiled(Arc<Profile>),
    /// A model was measured in two engines.
    SideBySide([Arc<Profile>; 2]),
    /// An accuracy study ended well.
    Compared(Arc<Profile>),
    /// A model's memory was planned in other ways.
    Planned(Arc<studies::WhatIf>),
    /// A trace was laid over a model.
    Overlaid(Arc<Profile>, studies::OverlayReport),
    /// Two traces were put into one.
    Joined(Arc<Profile>),
    /// A device's ceilings, if they are known, and what to fix in a trace.
    Ceilings(Option<Arc<profiler::Ceilings>>, Arc<Advised>),
    /// Two traces were compared: the baseline, the other, and what came of it.
    Differs(Arc<Trace>, Arc<Trace>, Arc<profiler::compare::Comparison>),
    /// A file was written.
    Saved(PathBuf),
    /// What the history answered, and what its opening has to say.
    History(Box<HistoryPage>, Option<String>),
    /// The devices of this machine.
    Devices(Vec<Device>),
    /// The user stopped the job.
    Cancelled(String),
    /// A job ended without a result.
    Failed {
        /// The job, in words.
        what: String,
        /// The reason, with its causes.
        why: String,
    },
}

/// The job that runs now.
#[derive(Clone, Debug)]
pub struct Running {
    /// The job, in words.
    pub what: String,
    /// Since when.
    pub since: Instant,
    /// True if it reports progress and can be stopped.
    pub cancellable: bool,
    /// True if it measures.
    pub study: bool,
    /// The newest report.
    pub progress: Progress,
}

struct Job {
    running: Running,
    control: Control,
    /// When the window draws next.
    woken: Instant,
}

type Slot = Arc<Mutex<Option<Job>>>;
/// Asks for a repaint after the given time.
pub type Wake = Arc<dyn Fn(Duration) + Send + Sync>;

/// A handle on the thread. Dropping it cancels the running job and lets the thread end.
pub struct Worker {
    commands: SyncSender<Command>,
    events: Receiver<Event>,
    slot: Slot,
}

impl Worker {
    /// Starts the thread; `wake` is called when there is something to draw.
    pub fn start(wake: Wake) -> std::io::Result<Self> {
        let (commands, inbox) = sync_channel::<Command>(16);
        let (outbox, events) = sync_channel::<Event>(64);
        let slot = Slot::default();
        let thread_slot = slot.clone();
        std::thread::Builder::new().name("worker".to_owned()).spawn(move || {
            let (mut apart, mut past) = (Apart::default(), Past::default());
            while let Ok(command) = inbox.recv() {
                let event = run(command, &thread_slot, &wake, &mut apart, &mut past);
                if outbox.send(event).is_err() {
                    break;
                }
                wake(Duration::ZERO);
            }
        })?;
        Ok(Worker { commands, events, slot })
    }

    /// Queues a command; false if the queue is full.
    pub fn send(&self, command: Command) -> bool {
        match self.commands.try_send(command) {
            Ok(()) => true,
            Err(TrySendError::Full(c) | TrySendError::Disconnected(c)) => {
                log::warn!("{}: the worker does not answer", c.title());
                false
            }
        }
    }

    /// The next event, if there is one.
    pub fn poll(&self) -> Option<Event> {
        self.events.try_recv().ok()
    }

    /// Waits for the next event.
    pub fn wait(&self, limit: Duration) -> Option<Event> {
        self.events.recv_timeout(limit).ok()
    }

    /// The job that runs now.
    pub fn running(&self) -> Option<Running> {
        lock(&self.slot).as_ref().map(|j| j.running.clone())
    }

    /// Asks the running job to stop.
    pub fn cancel(&self) {
        if let Some(job) = &*lock(&self.slot) {
            job.control.cancel();
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.cancel();
    }
}

fn lock(slot: &Slot) -> std::sync::MutexGuard<'_, Option<Job>> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs one command to its event, whatever happens inside.
fn run(command: Command, slot: &Slot, wake: &Wake, apart: &mut Apart, past: &mut Past) -> Event {
    let what = command.title();
    let now = Instant::now();
    let reports = Arc::downgrade(slot);
    let repaint = wake.clone();
    let control = Control::new(move |progress| {
        let Some(slot) = reports.upgrade() else { return };
        let mut guard = lock(&slot);
        let Some(job) = guard.as_mut() else { return };
        job.running.progress = progress;
        // One call is on its way at a time: it comes no sooner than the interval after the one before.
        let now = Instant::now();
        if now < job.woken {
            return;
        }
        job.woken = now + PROGRESS_INTERVAL;
        drop(guard);
        repaint(PROGRESS_INTERVAL);
    });
    let progress = Progress { stage: String::new(), fraction: None, left: None };
    let study = matches!(
        command,
        Command::Profile(..)
            | Command::SideBySide(..)
            | Command::Accuracy(..)
            | Command::WhatIf(..)
            | Command::Ceilings { measure: true, .. }
    );
    let cancellable =
        study || matches!(command, Command::Open(..) | Command::Overlay(..) | Command::Save(..) | Command::Compare(..));
    let running = Running { what: what.clone(), since: now, cancellable, study, progress };
    *lock(slot) = Some(Job { running, control: control.clone(), woken: now + FIRST_LOOK });
    // Quick jobs end before this repaint, and then it draws their result.
    wake(FIRST_LOOK);
    let result = catch_unwind(AssertUnwindSafe(|| execute(command, &control, apart, past)));
    *lock(slot) = None;
    match result {
        Ok(Ok(event)) => event,
        Ok(Err(e)) if matches!(e.downcast_ref(), Some(StudyError::Cancelled)) => Event::Cancelled(what),
        Ok(Err(e)) => Event::Failed { what, why: chain(&e) },
        Err(panic) => Event::Failed { what, why: format!("internal error: {}", panic_text(&*panic)) },
    }
}

fn execute(command: Command, control: &Control, apart: &mut Apart, past: &mut Past) -> anyhow::Result<Event> {
    let inner = control.clone();
    // Nothing may run beside what is measured.
    if matches!(command, Command::Profile(..) | Command::SideBySide(..) | Command::Accuracy(..)) {
        apart.settle();
    }
    Ok(match command {
        Command::Open(path) => {
            let job = move || {
                Ok(match open_with(&path, &inner)? {
                    Opened::Model(m) => Event::OpenedModel(m, path),
                    Opened::Trace(t) => Event::OpenedTrace(derive(t), path),
                })
            };
            apart.run(control, job)?
        }
        Command::Inspect(model, settings) => {
            let inspection = Box::new(studies::inspect(&model, &settings));
            Event::Inspected(model, inspection)
        }
        Command::Profile(model, settings) => {
            let job = move || Ok(under_roofs(studies::profile(&model, &settings, &inner)?.trace));
            Event::Profiled(apart.run(control, job)?)
        }
        Command::SideBySide(model, settings, engines) => {
            let job = move || {
                let both = studies::side_by_side(&model, &settings, engines, &inner)?;
                Ok(both.map(|p| under_roofs(p.trace)))
            };
            Event::SideBySide(apart.run(control, job)?)
        }
        Command::Accuracy(model, settings, schemes) => {
            let job = move || Ok(derive(Arc::new(studies::accuracy(&model, &settings, &schemes, &inner)?)));
            Event::Compared(apart.run(control, job)?)
        }
        Command::Overlay(trace, model, settings) => {
            let job = move || {
                let (laid, report) = studies::overlay(&trace, &model, &settings)?;
                Ok(Event::Overlaid(derive(Arc::new(laid)), report))
            };
            apart.run(control, job)?
        }
        Command::WhatIf(model, settings) => {
            let job = move || Ok(studies::what_if(&model, &settings, &inner)?);
            Event::Planned(Arc::new(apart.run(control, job)?))
        }
        Command::Join { times, accuracy } => {
            let accuracy = accuracy.accuracy.clone();
            Event::Joined(derive(Arc::new(Trace { accuracy, ..(*times).clone() })))
        }
        Command::Compare(baseline, current) => {
            let mut go_on = |f: f32| control.step("Comparing", Some(f), None).is_ok();
            let options = profiler::compare::Options::default();
            let compared = profiler::compare::compare(&baseline, &current, options, &mut go_on);
            let comparison = compared.map_err(|profiler::compare::Stopped| StudyError::Cancelled)?;
            Event::Differs(baseline, current, Arc::new(comparison))
        }
        Command::Ceilings { profile, measure, folder } => {
            let target = || Target::of_trace(&profile.trace.meta);
            let known = match (measure, folder.as_deref()) {
                (true, folder) => Some(ceilings(&target()?, folder, true, control)?),
                (false, Some(folder)) => target().ok().and_then(|t| remembered(&t, folder)),
                (false, None) => None,
            };
            let advised = Advised::new(&profile, known.as_ref());
            Event::Ceilings(known.map(Arc::new), Arc::new(advised))
        }
        Command::Save(mut trace, path) => {
            // The ceilings may have been measured after the trace.
            if trace.ceilings.is_none() && extension(&path).as_deref() == Some("scope") {
                let ceilings = crate::ceilings::of_trace(&trace);
                if ceilings.is_some() {
                    Arc::make_mut(&mut trace).ceilings = ceilings;
                }
            }
            save(trace, path.clone(), control, apart)?;
            Event::Saved(path)
        }
        Command::Write(content, path) => {
            profiler::export::write_file(&path, &content)?;
            Event::Saved(path)
        }
        Command::WritePixels(pixels, path) => {
            let size = pixels.size.map(|n| u32::try_from(n).unwrap_or(0));
            let rgb: Vec<u8> = pixels.pixels.iter().flat_map(|p| [p.r(), p.g(), p.b()]).collect();
            let image = image::RgbImage::from_raw(size[0], size[1], rgb).context("a picture of no size")?;
            let mut png = Vec::new();
            image.write_to(&mut std::io::Cursor::new(&mut png), image::ImageFormat::Png)?;
            profiler::export::write_file(&path, &png)?;
            Event::Saved(path)
        }
        Command::History(ask, search) => {
            let (page, note) = past.ask(ask, &search)?;
            Event::History(Box::new(page), note)
        }
        Command::Devices => Event::Devices(studies::devices()),
        #[cfg(test)]
        Command::Panic => panic!("on purpose"),
    })
}

/// A new trace with what is known of its device, for the views.
fn under_roofs(mut trace: Trace) -> Arc<Profile> {
    crate::ceilings::attach(&mut trace);
    derive(Arc::new(trace))
}

/// What the views need takes time that grows with the trace: it is made here, not by the window.
fn derive(trace: Arc<Trace>) -> Arc<Profile> {
    Arc::new(Profile::new(trace))
}

/// What a path holds.
pub enum Opened {
    /// A model.
    Model(Arc<Model>),
    /// A trace.
    Trace(Arc<Trace>),
}

/// Opens a model (or `sample:ID`) or a trace of any known format: the content tells which.
pub fn open(path: &Path) -> anyhow::Result<Opened> {
    open_with(path, &Control::silent())
}

/// Writes a trace beside its target and puts it there at the end, unless somebody asked to stop before.
fn save(trace: Arc<Trace>, path: PathBuf, control: &Control, apart: &mut Apart) -> anyhow::Result<()> {
    // A link keeps pointing where it points; a pipe or a device is written to as it is.
    let target = path.canonicalize().unwrap_or_else(|_| path.clone());
    let format = crate::export::format_of(&path).filter(|_| std::fs::metadata(&target).map_or(true, |m| m.is_file()));
    let Some(format) = format else { return Ok(crate::export::write(&trace, &path)?) };
    let folder = target.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned();
    let failed = path.display().to_string();
    // Asked for first: the error of making the file aside would name that one.
    std::fs::metadata(&folder).with_context(|| failed.clone())?;
    let aside = apart.run(control, move || {
        let mut name = tempfile::Builder::new();
        name.prefix(".stratoscope-");
        let aside = name.tempfile_in(folder).context(failed.clone())?.into_temp_path();
        (format.write)(&trace, &aside).map_err(|e| match e {
            profiler::export::ExportError::Io { source, .. } => anyhow::Error::from(source).context(failed),
            other => other.into(),
        })?;
        Ok(aside)
    })?;
    aside.persist(&target).with_context(|| path.display().to_string())
}

fn open_with(path: &Path, control: &Control) -> anyhow::Result<Opened> {
    if let Some(id) = path.to_str().and_then(|p| p.strip_prefix("history:")) {
        let id = id.parse().map_err(|_| anyhow::anyhow!("history:{id}: write history:ID with a run's number"))?;
        return open_with(&history::History::of_user()?.history.trace_path(id)?, control);
    }
    let sample = path.to_str().is_some_and(|s| s.starts_with("sample:"));
    if sample || !profiler::import::detect(path).is_ok_and(|format| format.is_some()) {
        return Ok(Opened::Model(studies::open(path)?));
    }
    let since = Instant::now();
    let mut watch = |p: profiler::import::Progress| {
        let fraction = (p.total > 0).then(|| p.done as f32 / p.total as f32);
        let taken = since.elapsed();
        let left = fraction
            .filter(|f| *f > 0.01 && *f < 1.0 && taken > Duration::from_millis(300))
            .map(|f| taken.mul_f32((1.0 - f) / f));
        match control.step(p.stage, fraction, left) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    };
    match profiler::import::open_with(path, &mut watch) {
        Ok(trace) => Ok(Opened::Trace(Arc::new(trace))),
        Err(e) if matches!(e.problem, profiler::import::Problem::Cancelled) => Err(StudyError::Cancelled.into()),
        Err(e) => Err(e.into()),
    }
}

/// The extension in lower case.
pub fn extension(path: &Path) -> Option<String> {
    Some(path.extension()?.to_str()?.to_ascii_lowercase())
}

/// The last part of a path; for a sample its id.
pub fn file_name(path: &Path) -> String {
    match path.to_str().and_then(|s| s.strip_prefix("sample:")) {
        Some(id) => id.to_owned(),
        None => path.file_name().map_or_else(|| path.display().to_string(), |n| n.to_string_lossy().into_owned()),
    }
}

/// An error and its causes in one line, without repeating a cause that a message already quotes.
pub fn chain(e: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in e.chain().map(|c| c.to_string()) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// The message of a panic.
pub fn panic_text(panic: &(dyn Any + Send)) -> &str {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(s), _) => s,
        (_, Some(s)) => s,
        _ => "unknown panic",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker() -> Worker {
        Worker::start(Arc::new(|_| ())).unwrap()
    }

    fn next(w: &Worker) -> Event {
        w.wait(Duration::from_secs(120)).expect("an event within two minutes")
    }

    #[test]
    fn a_trace_is_saved_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let trace = Arc::new(profiler::fixtures::one_layer());
        let target = dir.path().join("a.scope");
        save(trace.clone(), target.clone(), &Control::silent(), &mut Apart::default()).unwrap();
        assert_eq!(*profiler::import::open(&target).unwrap().meta.model, *trace.meta.model);
        let stopped = Control::silent();
        stopped.cancel();
        let other = dir.path().join("b.scope");
        let e = save(trace.clone(), other.clone(), &stopped, &mut Apart::default()).unwrap_err();
        assert!(matches!(e.downcast_ref(), Some(StudyError::Cancelled)) && !other.exists());
        let nowhere = dir.path().join("missing/c.scope");
        let e = chain(&save(trace.clone(), nowhere.clone(), &Control::silent(), &mut Apart::default()).unwrap_err());
        assert!(e.contains("c.scope") && !e.contains(".stratoscope-"), "{e}");
        let e = chain(&save(trace, dir.path().join("d.what"), &Control::silent(), &mut Apart::default()).unwrap_err());
        assert!(e.contains(".scope"), "{e}");
    }

    #[test]
    fn a_missing_file_is_a_failure_that_names_it() {
        let w = worker();
        assert!(w.send(Command::Open("/no/such/model.onnx".into())));
        match next(&w) {
            Event::Failed { what, why } => {
                assert_eq!(what, "Open model.onnx");
                assert!(why.contains("/no/such/model.onnx"), "{why}");
            }
            e => panic!("{e:?}"),
        }
    }

    #[test]
    fn a_panic_is_reported_and_the_worker_survives() {
        let w = worker();
        assert!(w.send(Command::Panic));
        assert!(matches!(next(&w), Event::Failed { why, .. } if why == "internal error: on purpose"));
        assert!(w.send(Command::Open("/no/such/file.scope".into())));
        assert!(matches!(next(&w), Event::Failed { .. }));
        assert!(w.running().is_none());
    }

    /// A trace of many events, some seconds' work to read in this build.
    #[test]
    fn opening_tells_how_far_it_is_and_stops_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("long.json");
        let event = r#"{"ph":"X","name":"layer","pid":1,"tid":1,"ts":1.5,"dur":2},"#;
        std::fs::write(&path, format!("[{}", event.repeat(2_000_000))).unwrap();
        let w = worker();
        assert!(w.send(Command::Open(path.clone())));
        let started = Instant::now();
        let seen = loop {
            if let Some(running) = w.running().filter(|r| r.progress.fraction.is_some_and(|f| f > 0.0)) {
                break running;
            }
            assert!(started.elapsed() < Duration::from_secs(60), "no progress");
            std::thread::sleep(Duration::from_millis(1));
        };
        assert!(seen.cancellable && !seen.study && !seen.progress.stage.is_empty(), "{seen:?}");
        let asked = Instant::now();
        w.cancel();
        assert!(matches!(next(&w), Event::Cancelled(what) if what == "Open long.json"));
        let taken = asked.elapsed();
        // 20 ms in a quiet machine; tests run side by side.
        assert!(taken < Duration::from_secs(1), "{taken:?}");
        println!("cancelled within {taken:?}");
        assert!(w.running().is_none());
    }

    #[test]
    fn causes_are_not_repeated() {
        let e = anyhow::anyhow!("no such file").context("a.onnx: no such file").context("can't open");
        assert_eq!(chain(&e), "can't open: a.onnx: no such file");
    }

    #[test]
    fn names_of_paths() {
        assert_eq!(file_name(Path::new("sample:digits_vit")), "digits_vit");
        assert_eq!(file_name(Path::new("/a/b.onnx")), "b.onnx");
        assert_eq!(extension(Path::new("A.ONNX")).as_deref(), Some("onnx"));
    }
}
