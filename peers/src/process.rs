//! Commands of others, with a limit.

use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// The most that is kept of what a command writes: its end.
const TAIL_BYTES: usize = 1 << 16;
/// How often a command is looked at.
const EVERY: Duration = Duration::from_millis(10);

/// How a command ended.
pub(crate) struct Ended {
    pub status: ExitStatus,
    /// The end of its standard output.
    pub stdout: String,
    /// The end of its standard error.
    pub stderr: String,
}

/// Why a command did not end by itself.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stopped {
    #[error("cancelled")]
    Cancelled,
    #[error("it was still running after {seconds} s; its last words: {said}")]
    Limit { seconds: u64, said: String },
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Runs a command to its end, or ends it.
pub(crate) fn run(command: &mut Command, limit: Duration, cancel: &AtomicBool) -> Result<Ended, Stopped> {
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(command, 0);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let stdout = child.stdout.take().map(|pipe| thread::spawn(move || tail(pipe)));
    let stderr = child.stderr.take().map(|pipe| thread::spawn(move || tail(pipe)));
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break Some(status);
        }
        if cancel.load(Ordering::Relaxed) || start.elapsed() > limit {
            end(&mut child)?;
            break None;
        }
        thread::sleep(EVERY);
    };
    // What it started may hold the pipes for longer: nobody waits for that.
    let patience = Instant::now() + Duration::from_secs(1);
    let text = |reader: Option<thread::JoinHandle<Vec<u8>>>| {
        let Some(reader) = reader else { return String::new() };
        while !reader.is_finished() && Instant::now() < patience {
            thread::sleep(EVERY);
        }
        let bytes = if reader.is_finished() { reader.join().unwrap_or_default() } else { Vec::new() };
        String::from_utf8_lossy(&bytes).trim().to_owned()
    };
    let (stdout, stderr) = (text(stdout), text(stderr));
    match status {
        Some(status) => Ok(Ended { status, stdout, stderr }),
        None if cancel.load(Ordering::Relaxed) => Err(Stopped::Cancelled),
        None => Err(Stopped::Limit { seconds: limit.as_secs(), said: last_lines(&stderr) }),
    }
}

/// Ends a command and what it started.
fn end(child: &mut Child) -> std::io::Result<()> {
    #[cfg(unix)]
    {
        // The group is the command's own: a shell's children end with it.
        let group = format!("-{}", child.id());
        Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status().ok();
    }
    child.kill().ok();
    child.wait().map(|_| ())
}

fn tail(mut pipe: impl Read) -> Vec<u8> {
    let (mut kept, mut piece) = (Vec::new(), [0; 8192]);
    while let Ok(n @ 1..) = pipe.read(&mut piece) {
        kept.extend_from_slice(&piece[..n]);
        if kept.len() > 2 * TAIL_BYTES {
            kept.drain(..kept.len() - TAIL_BYTES);
        }
    }
    kept.drain(..kept.len().saturating_sub(TAIL_BYTES));
    kept
}

/// The last lines of what a command said, for an error.
pub(crate) fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty()).collect();
    match lines.len() {
        0 => "(none)".to_owned(),
        n => lines[n.saturating_sub(12)..].join("\n"),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.arg("-c").arg(script);
        command
    }

    #[test]
    fn a_command_ends_by_itself_or_is_ended() {
        let no = AtomicBool::new(false);
        let ended = run(&mut shell("echo out; echo err >&2; exit 3"), Duration::from_secs(20), &no).unwrap();
        assert_eq!((ended.status.code(), &*ended.stdout, &*ended.stderr), (Some(3), "out", "err"));
        let start = Instant::now();
        let stopped = run(&mut shell("echo soon >&2; sleep 60"), Duration::from_millis(300), &no);
        assert!(matches!(&stopped, Err(Stopped::Limit { said, .. }) if said == "soon"), "{:?}", stopped.err());
        let stopped = run(&mut shell("sleep 60 & sleep 60"), Duration::from_secs(60), &AtomicBool::new(true));
        assert!(matches!(stopped, Err(Stopped::Cancelled)));
        assert!(start.elapsed() < Duration::from_secs(20));
        assert!(matches!(run(&mut Command::new("/no/such/program"), Duration::from_secs(1), &no), Err(Stopped::Io(_))));
    }

    #[test]
    fn only_the_end_is_kept() {
        let no = AtomicBool::new(false);
        let script = "yes aaaaaaa | head -c 1000000; echo last";
        let ended = run(&mut shell(script), Duration::from_secs(60), &no).unwrap();
        assert!(ended.stdout.len() <= TAIL_BYTES && ended.stdout.ends_with("last"), "{}", ended.stdout.len());
    }
}
