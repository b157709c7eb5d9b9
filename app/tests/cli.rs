//! The command line as people and scripts meet it: the real binary, its output and its exit codes.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn stratoscope(args: &[&str]) -> Output {
    command().args(args).output().expect("the program starts")
}

fn command() -> Command {
    let mut c = Command::new(env!("CARGO_BIN_EXE_stratoscope"));
    // No test may open a window or touch the user's state.
    c.env("STRATOSCOPE_HISTORY", Path::new(env!("CARGO_TARGET_TMPDIR")).join("history"));
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

const COMMANDS: [&str; 11] = [
    "inspect",
    "profile",
    "accuracy",
    "verify",
    "compare",
    "convert",
    "screenshot",
    "devices",
    "history",
    "ceilings",
    "what-if",
];

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

#[test]
fn the_sample_is_profiled_and_everything_asked_for_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (scope, csv, outputs) = (at("run.scope"), at("layers.csv"), at("outputs"));
    let args = ["profile", "--device", "cpu", "--threads", "1", "--runs", "3", "--dim", "batch=2", "--json"];
    let files = ["--out", &scope, "--out", &csv, "--save-outputs", &outputs];
    let o = stratoscope(&[&args[..], &files[..]].concat());
    assert!(o.status.success(), "{}", stderr(&o));
    let report: serde_json::Value = serde_json::from_str(&stdout(&o)).unwrap();
    assert_eq!(report["latency_ns"]["runs"], 3);
    assert!(report["latency_ns"]["median"].as_f64().unwrap() > 0.0);
    assert!(report["unprofiled_latency_ns"]["median"].as_f64().unwrap() > 0.0);
    assert_eq!((&report["threads"], &report["dims"]["batch"]), (&1.into(), &2.into()));
    let layers = report["layers"].as_array().unwrap();
    assert!(layers.len() > 10 && layers.iter().all(|l| l["time_ns"]["median"].as_f64().unwrap() > 0.0));
    let trace = profiler::import::open(Path::new(&scope)).unwrap();
    assert_eq!(trace.layers.len(), layers.len());
    assert_eq!(std::fs::read_to_string(&csv).unwrap().lines().count(), layers.len() + 1);
    let npy = std::fs::read(dir.path().join("outputs/logits.npy")).unwrap();
    assert!(npy.starts_with(b"\x93NUMPY") && npy.len() > 2 * 10 * 4);
}

#[test]
fn the_sample_is_inspected() {
    let o = stratoscope(&["inspect", "sample:digits_cnn", "--json"]);
    assert!(o.status.success(), "{}", stderr(&o));
    let report: serde_json::Value = serde_json::from_str(&stdout(&o)).unwrap();
    assert!(report["parameters"].as_u64().unwrap() > 1000 && report["nodes"].as_u64().unwrap() > 5);
    assert!(report["unsupported"].as_array().unwrap().is_empty());
    assert!(stdout(&stratoscope(&["inspect", "sample:digits_cnn"])).contains("Conv"));
}

/// Just enough protobuf to write a model that adds two vectors, and its data.
mod onnx {
    use std::path::Path;

    fn number(field: u8, value: u8) -> Vec<u8> {
        vec![field << 3, value]
    }

    fn bytes(field: u8, value: &[u8]) -> Vec<u8> {
        let length = u8::try_from(value.len()).ok().filter(|l| *l < 128).expect("these messages are short");
        [&[field << 3 | 2, length], value].concat()
    }

    fn value_info(field: u8, name: &str) -> Vec<u8> {
        let shape = bytes(2, &bytes(1, &number(1, 2)));
        let tensor = [number(1, 1), shape].concat();
        bytes(field, &[bytes(1, name.as_bytes()), bytes(2, &bytes(1, &tensor))].concat())
    }

    fn tensor(values: [f32; 2]) -> Vec<u8> {
        [number(1, 2), number(2, 1), bytes(9, &values.map(f32::to_le_bytes).concat())].concat()
    }

    pub fn write_case(dir: &Path, op: &str, sum: [f32; 2]) {
        let node = [bytes(1, b"a"), bytes(1, b"b"), bytes(2, b"c"), bytes(4, op.as_bytes())].concat();
        let graph =
            [bytes(1, &node), bytes(2, b"g"), value_info(11, "a"), value_info(11, "b"), value_info(12, "c")].concat();
        let model = [number(1, 8), bytes(7, &graph), bytes(8, &[bytes(1, b""), number(2, 17)].concat())].concat();
        let data = dir.join("test_data_set_0");
        std::fs::create_dir_all(&data).unwrap();
        std::fs::write(dir.join("model.onnx"), model).unwrap();
        std::fs::write(data.join("input_0.pb"), tensor([1.0, 2.0])).unwrap();
        std::fs::write(data.join("input_1.pb"), tensor([10.0, 20.0])).unwrap();
        std::fs::write(data.join("output_0.pb"), tensor(sum)).unwrap();
    }
}

#[test]
fn cases_pass_fail_or_are_unsupported() {
    use std::io::Write;
    use std::process::Stdio;
    let dir = tempfile::tempdir().unwrap();
    let cases = [("right", "Add", [11.0, 22.0]), ("wrong", "Add", [11.0, 23.0]), ("odd", "Frobnicate", [0.0, 0.0])];
    let mut lines = String::new();
    for (name, op, sum) in cases {
        onnx::write_case(&dir.path().join(name), op, sum);
        lines += &format!("{}\n", dir.path().join(name).display());
    }
    for (name, word, code) in [("right", "PASS", 0), ("wrong", "FAIL ", 1), ("odd", "UNSUPPORTED ", 1)] {
        let o = stratoscope(&["verify", dir.path().join(name).to_str().unwrap()]);
        assert!(stdout(&o).starts_with(word), "{name}: {} {}", stdout(&o), stderr(&o));
        assert_eq!(o.status.code(), Some(code), "{name}");
    }
    // A generous tolerance lets the wrong one pass: the comparison is by the options.
    let o = stratoscope(&["verify", "--atol", "2", dir.path().join("wrong").to_str().unwrap()]);
    assert_eq!(stdout(&o), "PASS\n");
    let mut child = command()
        .args(["verify", "--stdin"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let o = child.wait_with_output().unwrap();
    let words: Vec<String> = stdout(&o).lines().map(|l| l.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(words, ["PASS", "FAIL", "UNSUPPORTED"]);
}

#[test]
fn pictures_are_drawn_without_a_display() {
    let dir = tempfile::tempdir().unwrap();
    let scope = fixture(dir.path());
    for (view, size) in [("window", "1000x700"), ("flame", "640x320")] {
        let png = dir.path().join(format!("{view}.png"));
        let args = ["screenshot", scope.to_str().unwrap(), png.to_str().unwrap(), "--view", view, "--size", size];
        let o = stratoscope(&args);
        assert!(o.status.success(), "{}", stderr(&o));
        let image = image::open(&png).unwrap().into_rgba8();
        assert_eq!(format!("{}x{}", image.width(), image.height()), size);
        let colours: std::collections::HashSet<_> = image.pixels().collect();
        assert!(colours.len() > 50, "{view}: {} colours are no picture", colours.len());
    }
}

/// A fixture as a file, with the times of its layers and of its unprofiled runs made longer by a share.
fn slower(dir: &Path, name: &str, runs: usize, share: f64) -> String {
    let mut trace = profiler::fixtures::transformer(2, runs, 1);
    let longer = |v: u64| (v as f64 * (1.0 + share)) as u64;
    for i in 0..trace.spans.len() {
        if trace.spans.layer[i].is_some() {
            let (start, end) = (trace.spans.start_ns[i], trace.spans.end_ns[i]);
            trace.spans.end_ns[i] = start + longer(end - start);
        }
    }
    trace.meta.unprofiled_ns.iter_mut().for_each(|v| *v = longer(*v));
    let path = dir.join(name);
    profiler::export::write(&trace, &path).expect("the fixture is written");
    path.to_str().expect("UTF-8").to_owned()
}

#[test]
fn compare_tells_regressions_from_noise_by_its_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    let base = slower(dir.path(), "base.scope", 20, 0.0);
    let slow = slower(dir.path(), "slow.scope", 20, 0.1);
    let few = slower(dir.path(), "few.scope", 3, 0.1);
    let gate = "latency.p50 > +5%";
    let code = |args: &[&str]| stratoscope(&[&["compare"], args].concat()).status.code();
    assert_eq!(code(&[&base, &slow]), Some(0), "without conditions nothing fails");
    assert_eq!(code(&[&base, &base, "--fail-if", gate]), Some(0));
    assert_eq!(code(&[&base, &slow, "--fail-if", gate]), Some(1));
    assert_eq!(code(&[&base, &few, "--fail-if", gate]), Some(3), "three runs are no evidence");
    assert_eq!(code(&[&base, &few, "--fail-if", gate, "--fail-if", "memory.peak > 1B"]), Some(1));
    assert_eq!(code(&[&base, &slow, "--fail-if", "layer:*.time > +5% and > 1us"]), Some(1));
    assert_eq!(code(&[&base, &slow, "--fail-if", "layer:*.time > +20% and > 50us"]), Some(0));

    assert_refused(&["compare", &base, &slow, "--fail-if", "latency.p50 >"], &["character 14", "amount"]);
    assert_refused(&["compare", &base, "/no/such.scope"], &["/no/such.scope"]);
    assert_refused(&["compare", &base, "sample:digits_cnn"], &["model"]);
    assert_eq!(code(&[&base, &slow, "--confidence", "95"]), Some(2));
    assert_eq!(code(&[&base]), Some(2));
}

#[test]
fn compare_writes_every_format() {
    let dir = tempfile::tempdir().unwrap();
    let (base, slow) = (slower(dir.path(), "base.scope", 20, 0.0), slower(dir.path(), "slow.scope", 20, 0.1));
    let gate = ["--fail-if", "latency.p50 > +5%"];
    let run = |args: &[&str]| stratoscope(&[&["compare", &base, &slow], &gate[..], args].concat());
    let o = run(&[]);
    assert!(stdout(&o).starts_with("10.0% slower, 95% interval"), "{}", stdout(&o));
    assert!(stdout(&o).contains("FAIL: latency.p50 > +5%"), "{}", stdout(&o));
    let json: serde_json::Value = serde_json::from_str(&stdout(&run(&["--json"]))).unwrap();
    assert_eq!((&json["verdict"], &json["exit_code"]), (&"slower".into(), &1.into()));
    assert!(stdout(&run(&["--format", "markdown"])).starts_with("### Inference of "));
    let file = dir.path().join("junit.xml");
    let o = run(&["--format", "junit", "--out", file.to_str().unwrap()]);
    assert_eq!((o.status.code(), stdout(&o).as_str()), (Some(1), ""));
    assert!(stderr(&o).contains("FAIL: latency.p50"), "{}", stderr(&o));
    assert!(std::fs::read_to_string(&file).unwrap().starts_with("<?xml version=\"1.0\""));
}

#[test]
fn runs_are_kept_found_tagged_reopened_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| {
        let o = command().env("STRATOSCOPE_HISTORY", dir.path()).args(args).output().expect("the program starts");
        assert!(o.status.success(), "{args:?}: {}", stderr(&o));
        stdout(&o)
    };
    let listed =
        |args: &[&str]| -> serde_json::Value { serde_json::from_str(&run(&[args, &["--json"]].concat())).unwrap() };
    assert!(run(&["history"]).contains("stratoscope profile"), "an empty history says what fills it");
    let cnn = ["profile", "sample:digits_cnn", "--runs", "3", "--device", "cpu"];
    run(&[&cnn[..], &["--tag", "main"]].concat());
    run(&[&cnn[..], &["--no-history"]].concat());
    run(&[&cnn[..], &["--precision", "int8"]].concat());
    let all = listed(&["history"]);
    assert_eq!(all.as_array().map(Vec::len), Some(2), "{all}");
    assert_eq!((&all[0]["precision"], &all[1]["tags"][0]), (&"int8".into(), &"main".into()));
    assert_eq!(all[0]["model_hash"].as_str().map(str::len), Some(32));
    assert_eq!(listed(&["history", "--search", "MAIN cnn"])[0]["id"], all[1]["id"]);
    run(&["history", "note", "1", "before", "the", "change"]);
    assert!(run(&["history", "show", "1"]).contains("before the change"));
    assert!(run(&["history", "trend", "1"]).contains("1 run"));
    let path = run(&["history", "path", "1"]);
    assert!(profiler::import::open(Path::new(path.trim())).is_ok(), "{path}");
    assert!(run(&["compare", "history:1", "history:2"]).contains("digits_cnn"));
    run(&["history", "remove", "1"]);
    assert_eq!(listed(&["history"]).as_array().map(Vec::len), Some(1));
    let o = command().env("STRATOSCOPE_HISTORY", dir.path()).args(["history", "show", "1"]).output().unwrap();
    assert_eq!(o.status.code(), Some(2));
    assert!(stderr(&o).contains("no run 1"), "{}", stderr(&o));
}

#[test]
fn traces_become_reports_drawings_and_tables() {
    let dir = tempfile::tempdir().unwrap();
    let trace = fixture(dir.path());
    let out = |name: &str| dir.path().join(name);
    for name in ["r.html", "t.pftrace", "s.parquet", "n.overlay.json"] {
        let o = stratoscope(&["convert", trace.to_str().unwrap(), out(name).to_str().unwrap()]);
        assert!(o.status.success(), "{name}: {}", stderr(&o));
    }
    let html = std::fs::read_to_string(out("r.html")).unwrap();
    assert!(html.starts_with("<!doctype html>") && html.contains("<svg"), "a page with pictures");
    assert!(std::fs::read(out("s.parquet")).unwrap().ends_with(b"PAR1"));
    let (before, after) = (profiler::import::open(&trace).unwrap(), profiler::import::open(&out("t.pftrace")).unwrap());
    assert_eq!((before.layer_stats(), before.meta), (after.layer_stats(), after.meta));
    let svg = out("layers.svg");
    let o = stratoscope(&["screenshot", trace.to_str().unwrap(), svg.to_str().unwrap(), "--view", "layers"]);
    assert!(o.status.success(), "{}", stderr(&o));
    assert!(std::fs::read_to_string(&svg).unwrap().starts_with("<svg "));
    assert_refused(&["screenshot", trace.to_str().unwrap(), "x.gif"], &["x.gif", ".svg"]);
}
