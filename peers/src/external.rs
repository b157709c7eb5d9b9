//! Any program that runs a model and leaves a profile.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use profiler::Trace;

use crate::{PeerError, process};

/// The longest that a command may take.
pub const LIMIT: Duration = Duration::from_secs(900);

/// What is put into a command.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// `{model}`: the model's file.
    pub model: &'a Path,
    /// `{threads}`: how many threads to use.
    pub threads: usize,
    /// `{runs}`: how many runs to measure.
    pub runs: u32,
}

/// Cuts a command line into words as a shell does: quotes and backslashes, nothing else of a shell's language.
pub fn words(line: &str) -> Result<Vec<String>, PeerError> {
    let mut all = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            '\'' | '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        Some(end) if end == c => break,
                        Some('\\') if c == '"' => word.extend(chars.next()),
                        Some(inside) => word.push(inside),
                        None => {
                            return Err(PeerError::Option(format!("the command has a {c} without its end: {line}")));
                        }
                    }
                }
            }
            '\\' => word.get_or_insert_default().extend(chars.next()),
            c if c.is_whitespace() => all.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    all.extend(word);
    if all.is_empty() {
        return Err(PeerError::Option("the command is empty: external:PROGRAM {model} {profile}".to_owned()));
    }
    if !all.iter().any(|w| w.contains("{profile}")) {
        let why = "the command names no {profile}, the file that it is to leave: external:PROGRAM {model} {profile}";
        return Err(PeerError::Option(why.to_owned()));
    }
    Ok(all)
}

/// Runs a command and opens the profile that it leaves.
pub fn profile(line: &str, run: &Run, limit: Duration, cancel: &AtomicBool) -> Result<Trace, PeerError> {
    let folder = tempfile::tempdir().map_err(|e| PeerError::Io("a folder for temporary files".to_owned(), e))?;
    let file = folder.path().join("profile");
    let fill = |word: &String| {
        word.replace("{model}", &run.model.to_string_lossy())
            .replace("{profile}", &file.to_string_lossy())
            .replace("{threads}", &run.threads.to_string())
            .replace("{runs}", &run.runs.to_string())
    };
    let filled: Vec<String> = words(line)?.iter().map(fill).collect();
    let (program, arguments) = (&filled[0], &filled[1..]);
    let ended = match process::run(Command::new(program).args(arguments), limit, cancel) {
        Ok(ended) => ended,
        Err(process::Stopped::Cancelled) => return Err(PeerError::Cancelled),
        Err(process::Stopped::Io(e)) => return Err(PeerError::Command(format!("can't start `{program}`: {e}"))),
        Err(e) => return Err(PeerError::Command(format!("`{program}`: {e}"))),
    };
    let said = if ended.stderr.is_empty() { &ended.stdout } else { &ended.stderr };
    if !ended.status.success() {
        return Err(PeerError::Command(format!(
            "`{program}` ended with {}; its last words:\n{}",
            ended.status,
            process::last_lines(said)
        )));
    }
    // Programs add endings and times of their own to the name that they are given.
    let left = std::fs::read_dir(folder.path()).map(|e| e.flatten().map(|e| e.path()).collect()).unwrap_or_default();
    let mut left: Vec<_> = left;
    left.sort();
    match left.first() {
        Some(file) => Ok(profiler::import::open(file)?),
        None => Err(PeerError::Command(format!(
            "`{program}` left no profile at {}; its last words:\n{}",
            file.display(),
            process::last_lines(said)
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_cut_into_words() {
        let cases: [(&str, &[&str]); 4] = [
            ("run {model} {profile}", &["run", "{model}", "{profile}"]),
            ("  'a b'\t\"c \\\" d\"{profile} ", &["a b", "c \" d{profile}"]),
            ("a\\ b --out={profile} ''", &["a b", "--out={profile}", ""]),
            ("sh -c 'x {model} > {profile}'", &["sh", "-c", "x {model} > {profile}"]),
        ];
        for (line, want) in cases {
            assert_eq!(words(line).unwrap(), want, "{line}");
        }
        for bad in ["", "   ", "'open {profile}", "run {model}"] {
            assert!(words(bad).is_err(), "{bad}");
        }
    }

    #[test]
    #[cfg(unix)]
    fn a_command_leaves_a_profile_or_says_why_not() {
        let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join("../profiler/testdata/onnxruntime-1.32-cnn.json");
        let recorded = recorded.to_str().unwrap().to_owned();
        let run = Run { model: Path::new("m.onnx"), threads: 2, runs: 3 };
        let go = |line: &str, limit: u64| profile(line, &run, Duration::from_secs(limit), &AtomicBool::new(false));
        let trace = go(&format!("cp '{recorded}' {{profile}}"), 60).unwrap();
        assert!(!trace.layers.is_empty());
        assert!(go(&format!("sh -c 'cp {recorded} {{profile}}_0.json'"), 60).is_ok());
        let failed = |line: &str, says: &str| {
            let why = go(line, 1).unwrap_err().to_string();
            assert!(why.contains(says), "{line}: {why}");
        };
        failed("sh -c 'echo {model} {threads} {runs} >&2; exit 7' {profile}", "m.onnx 2 3");
        failed("true {profile}", "left no profile");
        failed("/no/such/program {profile}", "can't start");

        failed("sh -c 'sleep 60' {profile}", "still running");
        failed("sh -c 'echo nonsense > $0' {profile}", "profile");
    }
}
