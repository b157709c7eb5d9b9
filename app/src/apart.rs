//! Jobs in threads of their own, so that a wish to stop is answered at once: the thread ends at its next look.

use std::panic::resume_unwind;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use studies::{Control, StudyError};

/// How often it is looked whether somebody asked to stop.
const INTERVAL: Duration = Duration::from_millis(20);

/// Starts jobs, and knows those that were stopped and have not ended yet.
#[derive(Default)]
pub struct Apart {
    stopped: Vec<JoinHandle<()>>,
}

impl Apart {
    /// Does a job. Once somebody asks to stop this ends at once, and what the job yields is dropped.
    pub fn run<T: Send + 'static>(
        &mut self,
        control: &Control,
        job: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
    ) -> anyhow::Result<T> {
        let (answer, waiting) = sync_channel(1);
        let thread = std::thread::Builder::new().name("job".to_owned()).spawn(move || {
            // Nobody waits for the answer once it is too late.
            let _ = answer.send(job());
        })?;
        loop {
            match waiting.recv_timeout(INTERVAL) {
                Ok(_) if control.is_cancelled() => return Err(StudyError::Cancelled.into()),
                Ok(answer) => return answer,
                Err(RecvTimeoutError::Timeout) if control.is_cancelled() => {
                    self.stopped.push(thread);
                    return Err(StudyError::Cancelled.into());
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => match thread.join() {
                    Err(panic) => resume_unwind(panic),
                    Ok(()) => anyhow::bail!("no answer"),
                },
            }
        }
    }

    /// Waits until the stopped jobs have ended: nothing may run beside what is measured.
    pub fn settle(&mut self) {
        for thread in self.stopped.drain(..) {
            // A panic in a job that nobody waits for was logged by the panic hook.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_deaf_job_is_left_at_once_and_waited_for_later() {
        let (mut apart, control, ended) = (Apart::default(), Control::silent(), Arc::new(AtomicBool::new(false)));
        control.cancel();
        let (start, inside) = (Instant::now(), ended.clone());
        let result = apart.run(&control, move || {
            std::thread::sleep(Duration::from_millis(600));
            inside.store(true, Ordering::Relaxed);
            Ok(1)
        });
        assert!(matches!(result.unwrap_err().downcast_ref(), Some(StudyError::Cancelled)));
        assert!(start.elapsed() < Duration::from_millis(500) && !ended.load(Ordering::Relaxed));
        apart.settle();
        assert!(ended.load(Ordering::Relaxed));
        assert_eq!(apart.run(&Control::silent(), || Ok(7)).unwrap(), 7);
    }
}
