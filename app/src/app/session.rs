//! Files that wait to be opened, and those that were open when the program ended: they come back with its next start.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::App;
use crate::worker::{Command, file_name};

/// No more files than this come back.
const MOST: usize = 17;

/// What was open.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Session {
    /// The model and the traces that have files, the model first.
    pub files: Vec<PathBuf>,
    /// The trace that was on show.
    pub shown: Option<PathBuf>,
}

/// A file to open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Opening {
    pub path: PathBuf,
    /// It was open when the program ended: it comes back quietly.
    pub again: bool,
}

/// The files that wait, and the one that is being opened.
#[derive(Default)]
pub(super) struct Queue {
    waiting: VecDeque<Opening>,
    pub now: Option<Opening>,
    /// The trace to show once it is there.
    pub shown: Option<PathBuf>,
}

impl Queue {
    pub fn push(&mut self, path: PathBuf) {
        self.waiting.push_back(Opening { path, again: false });
    }

    /// Forgets the files that wait.
    pub fn clear(&mut self) {
        self.waiting.clear();
    }

    /// True if this file is coming back by itself.
    pub fn is_again(&self, path: &Path) -> bool {
        self.now.as_ref().is_some_and(|o| o.again && o.path == path)
    }
}

impl App {
    /// Opens what was open when the program ended, in the background.
    pub fn restore_session(&mut self) {
        let session = std::mem::take(&mut self.state.session);
        self.queue.shown = session.shown;
        let again = |path| Opening { path, again: true };
        self.queue.waiting.extend(session.files.into_iter().take(MOST).map(again));
    }

    /// Hands the next file to the worker once the one before is done.
    pub(super) fn open_next(&mut self) {
        while self.queue.now.is_none() {
            let Some(next) = self.queue.waiting.pop_front() else { return };
            let sample = next.path.to_str().is_some_and(|s| s.starts_with("sample:"));
            if next.again && !sample && !next.path.exists() {
                let path = next.path.display();
                self.log.warn(format!("{path} was open when the program ended, and is not there any more"));
                continue;
            }
            if !self.worker.send(Command::Open(next.path.clone())) {
                self.log.warn(format!("{} was not opened: too much is waiting already", file_name(&next.path)));
                continue;
            }
            if self.is_measuring() {
                self.log.info(format!("{} opens after the study that is running", file_name(&next.path)));
            }
            self.queue.now = Some(next);
        }
    }

    /// What is open now or about to be.
    pub(super) fn session(&self) -> Session {
        let model = self.model.as_ref().map(|m| m.path.clone());
        let traces = self.runs.all().iter().filter_map(|r| r.path.clone());
        let waiting = self.queue.now.iter().chain(&self.queue.waiting).filter(|o| o.again).map(|o| o.path.clone());
        let mut files: Vec<PathBuf> = Vec::new();
        for path in model.into_iter().chain(traces).chain(waiting) {
            // Another start may be in another folder.
            let sample = path.to_str().is_some_and(|s| s.starts_with("sample:"));
            let whole = if sample { path } else { std::path::absolute(&path).unwrap_or(path) };
            if !files.contains(&whole) {
                files.push(whole);
            }
        }
        let shown = self.runs.current().and_then(|r| r.path.clone()).map(|p| std::path::absolute(&p).unwrap_or(p));
        Session { files, shown: shown.or_else(|| self.queue.shown.clone()) }
    }
}
