//! Work that grows with the trace: small traces at once, long ones on a thread, so that no frame waits for it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use egui::Context;

/// Traces with fewer spans are worked on within the frame: that takes about a millisecond.
pub const LIGHT: usize = 20_000;

/// One answer that is kept until the question changes.
pub struct Job<K, T> {
    key: Option<K>,
    answer: Arc<OnceLock<T>>,
    cancel: Arc<AtomicBool>,
}

impl<K, T> Default for Job<K, T> {
    fn default() -> Self {
        Job { key: None, answer: Arc::default(), cancel: Arc::default() }
    }
}

impl<K, T> Drop for Job<K, T> {
    fn drop(&mut self) {
        self.cancel.store(true, Ordering::Relaxed);
    }
}

impl<K: PartialEq, T: Send + Sync + 'static> Job<K, T> {
    /// Asks a question; does nothing if it is the one asked before. `work` is given a flag that says when to give up.
    pub fn ask(
        &mut self,
        ctx: &Context,
        key: K,
        light: bool,
        work: impl FnOnce(&AtomicBool) -> Option<T> + Send + 'static,
    ) {
        if self.key.as_ref() == Some(&key) {
            return;
        }
        self.clear();
        self.key = Some(key);
        let (answer, cancel, ctx) = (Arc::clone(&self.answer), Arc::clone(&self.cancel), ctx.clone());
        let task = move || {
            if let Some(found) = work(&cancel)
                && answer.set(found).is_ok()
            {
                ctx.request_repaint();
            }
        };
        if light {
            task();
        } else if std::thread::Builder::new().name("flame graph".into()).spawn(task).is_err() {
            // Asked again in the next frame.
            self.key = None;
        }
    }

    /// Forgets question and answer.
    pub fn clear(&mut self) {
        self.cancel.store(true, Ordering::Relaxed);
        *self = Job::default();
    }

    /// The answer, once it is there.
    pub fn get(&self) -> Option<&T> {
        self.answer.get()
    }

    /// What was asked.
    pub fn key(&self) -> Option<&K> {
        self.key.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_come_at_once_or_later_and_stop_when_asked_anew() {
        let ctx = Context::default();
        let mut job: Job<u32, u32> = Job::default();
        job.ask(&ctx, 1, true, |_| Some(10));
        assert_eq!(job.get(), Some(&10));
        job.ask(&ctx, 1, true, |_| Some(11));
        assert_eq!(job.get(), Some(&10));
        let stopped = Arc::new(AtomicBool::new(false));
        let saw = Arc::clone(&stopped);
        job.ask(&ctx, 2, false, move |cancel| {
            while !cancel.load(Ordering::Relaxed) {
                std::thread::yield_now();
            }
            saw.store(true, Ordering::Relaxed);
            Some(20)
        });
        assert!(job.get().is_none() && job.key() == Some(&2));
        job.ask(&ctx, 3, false, |_| Some(30));
        while job.get().is_none() || !stopped.load(Ordering::Relaxed) {
            std::thread::yield_now();
        }
        assert_eq!(job.get(), Some(&30), "what was given up is not the answer to what was asked after");
    }
}
