//! The command line as people and scripts meet it: the real binary, its output and its exit codes.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn stratoscope(args: &[&str]) -> Output {
    command().args(args).output().expect("the program starts")
}

fn command() -> Command {
    let mut c = Command::new(env!("CARGO_BIN_EXE_stratoscope"));
    // No test may open a window or touch the user's state.
    c.env_remove("DISPLAY").env_remove("WAYLAND_DISPLAY").env_remove("WAYLAND_SOCKET").env_remove("RUST_LOG");
    c
}

fn stdout(o: &Output) -> String {
    String::from_utf8(o.stdout.clone()).expect("UTF-8")
}

fn stderr(o: &Output) -> String {
    String::from_utf8(o.stderr.clone()).expect("UTF-8")
}

/// Exit code 2 and one message that starts with `error:` and holds each of these words.
fn assert_refused(args: &[&str], words: &[&str]) {
    let o = stratoscope(args);
    let text = stderr(&o);
    assert_eq!(o.status.code(), Some(2), "{args:?}: {text}");
    assert!(text.starts_with("error: "), "{args:?}: {text}");
    assert!(!text.contains("panicked") && !text.contains("internal error"), "{args:?}: {text}");
    for word in words {
        assert!(text.contains(word), "{args:?}: \"{word}\" is not in: {text}");
    }
}

fn fixture(dir: &Path) -> PathBuf {
    let path = dir.join("run.scope");
    profiler::export::write(&profiler::fixtures::transformer(2, 5, 1), &path).expect("the fixture is written");
    path
}

const COMMANDS: [&str; 7] = ["inspect", "profile", "accuracy", "verify", "convert", "screenshot", "devices"];

#[test]
fn every_command_explains_itself_with_an_example() {
    let top = stratoscope(&["--help"]);
    assert!(top.status.success());
    for command in COMMANDS {
        assert!(stdout(&top).contains(command), "{command}");
        let o = stratoscope(&[command, "--help"]);
        assert!(o.status.success(), "{command}");
        assert!(stdout(&o).contains(&format!("stratoscope {command}")), "{command} shows an example");
        assert!(stdout(&o).contains("--json"), "{command} has --json");
    }
}

#[test]
fn without_a_display_the_window_names_the_way_out() {
    assert_refused(&[], &["no display", "stratoscope profile"]);
    assert_refused(&["some.onnx"], &["no display", "stratoscope profile"]);
}

#[test]
fn bad_usage_is_refused() {
    for args in [
        &["profile", "--runs", "0"][..],
        &["profile", "--device", "tpu"],
        &["profile", "--precision", "int3"],
        &["profile", "--dim", "batch"],
        &["profile", "--nonsense"],
        &["verify"],
        &["convert", "only-one"],
        &["screenshot", "a.scope", "b.png", "--size", "0x0"],
    ] {
        let o = stratoscope(args);
        assert_eq!(o.status.code(), Some(2), "{args:?}");
        assert!(stderr(&o).starts_with("error: "), "{args:?}: {}", stderr(&o));
    }
}

#[test]
fn missing_and_broken_files_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let broken = dir.path().join("broken.onnx");
    std::fs::write(&broken, b"\xff\xff\xff\xff not protobuf").unwrap();
    let broken = broken.to_str().unwrap();
    for command in ["inspect", "profile", "accuracy"] {
        assert_refused(&[command, "/no/such/model.onnx"], &["/no/such/model.onnx"]);
        assert_refused(&[command, broken], &["broken.onnx"]);
        assert_refused(&[command, "sample:nothing"], &["nothing"]);
    }
    assert_refused(&["convert", "/no/such/run.scope", "out.json"], &["/no/such/run.scope"]);
    assert_refused(&["convert", broken, "out.json"], &["broken.onnx"]);
    assert_refused(&["verify", "/no/such/case"], &["/no/such/case"]);
    assert_refused(&["screenshot", "/no/such/run.scope", "out.png"], &[]);
}

#[test]
fn what_can_fail_without_measuring_fails_before_it() {
    assert_refused(&["profile", "--out", "trace.xml"], &["trace.xml", ".scope"]);
    assert_refused(&["profile", "--dim", "nonsense=3"], &["nonsense"]);
    assert_refused(&["profile", "--input", "nonsense=1"], &["nonsense"]);
    assert_refused(&["profile", "--serve-puffin=nowhere"], &["nowhere"]);
    assert_refused(&["accuracy", "--schemes", "f32"], &["reference"]);
    assert_refused(&["screenshot", "a.scope", "b.png", "--view", "nonsense"], &["nonsense", "flame"]);
}

#[test]
fn traces_convert_by_content_and_extension() {
    let dir = tempfile::tempdir().unwrap();
    // The input's name says nothing: its content does.
    let from = dir.path().join("renamed.bin");
    std::fs::rename(fixture(dir.path()), &from).unwrap();
    let from = from.to_str().unwrap();
    for extension in ["scope", "puffin", "json", "csv"] {
        let to = dir.path().join(format!("out.{extension}"));
        let o = stratoscope(&["convert", from, to.to_str().unwrap(), "--json"]);
        assert!(o.status.success(), "{extension}: {}", stderr(&o));
        let report: serde_json::Value = serde_json::from_str(&stdout(&o)).unwrap();
        assert!(report["spans"].as_u64().unwrap() > 0);
        assert!(to.metadata().unwrap().len() > 0, "{extension}");
    }
    let again = dir.path().join("again.scope");
    let o = stratoscope(&["convert", dir.path().join("out.scope").to_str().unwrap(), again.to_str().unwrap()]);
    assert!(o.status.success(), "{}", stderr(&o));
    let trace = profiler::import::open(&again).unwrap();
    assert_eq!(trace, profiler::fixtures::transformer(2, 5, 1));
    assert_refused(&["convert", from, "out.docx"], &["out.docx"]);
}

#[test]
fn devices_lists_the_cpu() {
    let o = stratoscope(&["devices", "--json"]);
    assert!(o.status.success(), "{}", stderr(&o));
    let devices: serde_json::Value = serde_json::from_str(&stdout(&o)).unwrap();
    assert_eq!(devices[0]["device"], "cpu");
    assert!(stdout(&stratoscope(&["devices"])).contains("cpu"));
}

#[test]
fn a_cut_pipe_is_no_error() {
    use std::process::Stdio;
    let mut child =
        command().args(["profile", "--help"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let o = child.wait_with_output().unwrap();
    assert!(!stderr(&o).contains("panicked"), "{}", stderr(&o));
}
