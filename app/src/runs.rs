//! The traces that are open, newest last; which of them is on show, and which the others are compared with.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use profiler::Trace;

use crate::format;
use crate::view::Profile;

/// How many traces are kept open.
const KEPT: usize = 16;

/// An open trace.
pub struct Run {
    /// The trace and what views derive from it.
    pub profile: Arc<Profile>,
    /// Its file, if it was opened or saved.
    pub path: Option<PathBuf>,
    number: usize,
}

impl Run {
    /// A line that tells it from the others.
    pub fn title(&self) -> String {
        let meta = &self.profile.trace.meta;
        let name = match &self.path {
            Some(p) => crate::worker::file_name(p),
            None => format!("Run {}", self.number),
        };
        let latency =
            self.profile.trace.headline().map(|s| format!(", {}", format::duration(s.median))).unwrap_or_default();
        let fusion = if meta.fusion || meta.precision.is_empty() { "" } else { ", fusion off" };
        let precision = if meta.precision.is_empty() { String::new() } else { format!(", {}", meta.precision) };
        let device = if meta.device_kind.is_empty() { String::new() } else { format!(", {}", meta.device_kind) };
        let engine = if meta.engine.is_empty() { String::new() } else { format!(", {}", meta.engine) };
        format!("{name}{engine}{device}{precision}{fusion}{latency}")
    }
}

/// The open traces.
#[derive(Default)]
pub struct Runs {
    list: Vec<Run>,
    current: Option<usize>,
    baseline: Option<usize>,
    counted: usize,
}

impl Runs {
    /// Adds a trace and shows it.
    pub fn add(&mut self, profile: Arc<Profile>, path: Option<PathBuf>) {
        let mut was_baseline = false;
        if let (Some(_), Some(at)) = (&path, self.list.iter().position(|r| r.path == path)) {
            was_baseline = self.baseline == Some(at);
            self.remove(at);
        }
        if self.list.len() == KEPT {
            // What the others are compared with stays.
            self.remove(usize::from(self.baseline == Some(0)));
        }
        if path.is_none() {
            self.counted += 1;
        }
        self.list.push(Run { profile, path, number: self.counted });
        self.current = Some(self.list.len() - 1);
        if was_baseline {
            self.baseline = self.current;
        }
    }

    /// Adds a trace to compare the others with; another one stays on show.
    pub fn add_baseline(&mut self, profile: Arc<Profile>, path: PathBuf) {
        let shown = self.current().map(|r| r.profile.trace.clone());
        self.add(profile, Some(path));
        self.baseline = self.current;
        if let Some(i) = shown.and_then(|t| self.list.iter().position(|r| Arc::ptr_eq(&r.profile.trace, &t))) {
            self.current = Some(i);
        }
    }

    fn remove(&mut self, at: usize) {
        self.list.remove(at);
        let moved = |i: usize| (i != at).then_some(if i > at { i - 1 } else { i });
        self.current = self.current.and_then(moved);
        self.baseline = self.baseline.and_then(moved);
    }

    /// The one that the others are compared with.
    pub fn baseline(&self) -> Option<&Run> {
        self.list.get(self.baseline?)
    }

    /// Its index.
    pub fn baseline_index(&self) -> Option<usize> {
        self.baseline
    }

    /// Compares the others with this one from now on, or with none.
    pub fn pin(&mut self, index: Option<usize>) {
        self.baseline = index.filter(|&i| i < self.list.len());
    }

    /// All, oldest first.
    pub fn all(&self) -> &[Run] {
        &self.list
    }

    /// The one on show.
    pub fn current(&self) -> Option<&Run> {
        self.list.get(self.current?)
    }

    /// Its index.
    pub fn current_index(&self) -> Option<usize> {
        self.current
    }

    /// Shows another one.
    pub fn show(&mut self, index: usize) {
        self.current = (index < self.list.len()).then_some(index);
    }

    /// Shows none.
    pub fn deselect(&mut self) {
        self.current = None;
    }

    /// Closes the one on show; the newest of the others is shown then.
    pub fn close(&mut self) {
        if let Some(i) = self.current.take() {
            self.remove(i);
            self.current = self.list.len().checked_sub(1);
        }
    }

    /// Closes all.
    pub fn clear(&mut self) {
        self.list.clear();
        (self.current, self.baseline) = (None, None);
    }

    /// Notes that the trace on show is in this file.
    pub fn mark_saved(&mut self, path: &Path) {
        if let Some(run) = self.current.and_then(|i| self.list.get_mut(i)) {
            run.path = Some(path.to_owned());
        }
    }

    /// The trace whose error figures speak about a new one, which has none itself.
    pub fn accuracy_for(&self, trace: &Trace) -> Option<Arc<Trace>> {
        if !trace.accuracy.is_empty() {
            return None;
        }
        let mut known = self.list.iter().rev().map(|r| &r.profile.trace);
        known.find(|t| !t.accuracy.is_empty() && same_subject(t, trace)).cloned()
    }

    /// The trace whose times speak about a new one, which has none itself.
    pub fn times_for(&self, trace: &Trace) -> Option<Arc<Trace>> {
        let timed = |t: &Trace| t.runs.iter().any(|r| !r.warmup);
        if timed(trace) {
            return None;
        }
        let mut known = self.current().into_iter().chain(self.list.iter().rev()).map(|r| &r.profile.trace);
        known.find(|t| timed(t) && same_subject(t, trace)).cloned()
    }
}

/// True if error figures of one trace speak about the other: the same model, with the same dimensions.
fn same_subject(a: &Trace, b: &Trace) -> bool {
    (&a.meta.model, &a.meta.model_path, &a.meta.dims) == (&b.meta.model, &b.meta.model_path, &b.meta.dims)
}

#[cfg(test)]
mod tests {
    use super::*;
    use profiler::{Accuracy, Meta};

    fn trace(model: &str, accuracy: usize) -> Trace {
        let mut t = profiler::fixtures::one_layer();
        t.meta = Meta { model: model.to_owned(), ..t.meta };
        t.accuracy = vec![Accuracy::default(); accuracy];
        t
    }

    fn profile(trace: Trace) -> Arc<Profile> {
        Arc::new(Profile::new(Arc::new(trace)))
    }

    #[test]
    fn error_figures_follow_the_model_and_no_other() {
        let mut runs = Runs::default();
        runs.add(profile(trace("a", 2)), None);
        assert_eq!(runs.accuracy_for(&trace("a", 0)).map(|t| t.accuracy.len()), Some(2));
        assert!(runs.accuracy_for(&trace("b", 0)).is_none());
        assert!(runs.accuracy_for(&trace("a", 1)).is_none());
        let mut untimed = trace("a", 3);
        assert!(runs.times_for(&untimed).is_none());
        untimed.runs.clear();
        assert!(runs.times_for(&untimed).is_some_and(|t| !t.runs.is_empty()));
        untimed.meta.model = "b".into();
        assert!(runs.times_for(&untimed).is_none());
    }

    #[test]
    fn the_baseline_stays_the_same_trace_whatever_comes_and_goes() {
        let mut runs = Runs::default();
        for name in ["a", "b", "c"] {
            runs.add(profile(trace(name, 0)), Some(name.into()));
        }
        let baseline = |r: &Runs| r.baseline().map(|b| b.profile.trace.meta.model.clone());
        runs.pin(Some(0));
        for i in 0..KEPT {
            runs.add(profile(trace("x", 0)), Some(format!("x{i}").into()));
            assert_eq!(baseline(&runs).as_deref(), Some("a"));
        }
        runs.add(profile(trace("a", 1)), Some("a".into()));
        assert_eq!((baseline(&runs).as_deref(), runs.baseline_index()), (Some("a"), runs.current_index()));
        runs.show(2);
        runs.close();
        assert_eq!(baseline(&runs).as_deref(), Some("a"));
        runs.show(runs.baseline_index().unwrap());
        runs.close();
        assert_eq!(baseline(&runs), None);
        runs.pin(Some(99));
        assert!(runs.baseline().is_none());
    }

    #[test]
    fn the_list_is_bounded_and_one_file_is_listed_once() {
        let mut runs = Runs::default();
        for _ in 0..KEPT + 5 {
            runs.add(profile(trace("a", 0)), None);
        }
        assert_eq!((runs.all().len(), runs.current_index()), (KEPT, Some(KEPT - 1)));
        runs.add(profile(trace("a", 0)), Some("x.scope".into()));
        runs.add(profile(trace("a", 0)), Some("x.scope".into()));
        assert_eq!(runs.all().iter().filter(|r| r.path.is_some()).count(), 1);
        runs.show(99);
        assert!(runs.current().is_none());
    }
}
