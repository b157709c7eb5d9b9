//! Where a device's ceilings are remembered, and the advice that is drawn from them.

use std::path::PathBuf;
use std::sync::{Arc, Weak};

use profiler::{Advice, Ceilings, Trace};
use studies::ceilings::{Target, remembered};

use crate::view::Profile;

/// The advice about one of the open traces.
#[derive(Debug)]
pub struct Advised {
    /// Which; it may have been closed since.
    of: Weak<Trace>,
    /// What to fix.
    pub advice: Advice,
}

impl Advised {
    /// Looks for what could be better; takes time that grows with the trace.
    pub fn new(profile: &Profile, ceilings: Option<&Ceilings>) -> Self {
        let advice = profiler::advice(&profile.trace, &profile.stats, &profile.audit, ceilings);
        Advised { of: Arc::downgrade(&profile.trace), advice }
    }

    /// True if it is about this trace.
    pub fn is_of(&self, trace: &Arc<Trace>) -> bool {
        Weak::as_ptr(&self.of) == Arc::as_ptr(trace)
    }
}

/// The user's folder for what can be measured again.
pub fn folder() -> Option<PathBuf> {
    directories::ProjectDirs::from("", "", "stratoscope").map(|d| d.cache_dir().to_owned())
}

/// The remembered ceilings of the device that a trace was measured on, if this machine has it.
pub fn of_trace(trace: &Trace) -> Option<Ceilings> {
    remembered(&Target::of_trace(&trace.meta).ok()?, &folder()?)
}

/// Gives a trace that lacks them its device's ceilings, so that they are there where the trace is opened again.
pub fn attach(trace: &mut Trace) {
    if trace.ceilings.is_none() {
        trace.ceilings = of_trace(trace);
    }
}
