//! `stratoscope verify`: models against recorded outputs.

use std::io::BufRead;
use std::path::{Path, PathBuf};

use anyhow::bail;
use serde_json::json;
use studies::DeviceChoice;
use studies::verify::{self, Tolerance, Verdict};

use super::{Outcome, print};

/// Check models against the outputs recorded beside them
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  stratoscope verify onnx/backend/test/data/node/test_add\n  \
    ls -d cases/*/ | stratoscope verify --stdin --device gpu\n  \
    stratoscope verify target/zoo/*.onnx\n\n\
    A directory holds model.onnx and test_data_set_N/{input,output}_M.pb, as in the ONNX backend tests: each element is compared.\n\
    NAME.onnx has NAME.inputs/INPUT.npy and NAME.outputs/OUTPUT.npy beside it: an output's largest difference over its largest\n\
    value is compared with --rtol, and printed.\n\
    Prints PASS, FAIL why or UNSUPPORTED why, a line per case; exit code 1 unless all pass.")]
pub struct Args {
    /// Case directories or model files
    #[arg(value_name = "CASE", required_unless_present = "stdin")]
    cases: Vec<PathBuf>,
    /// Read cases from standard input, one a line, and answer each with one line
    #[arg(long, conflicts_with = "cases")]
    stdin: bool,
    /// Where to run: auto, cpu, gpu or gpu:N
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    device: DeviceChoice,
    /// Allowed relative error
    #[arg(long, value_name = "X", default_value_t = 1e-3)]
    rtol: f64,
    /// Allowed absolute error
    #[arg(long, value_name = "X", default_value_t = 1e-5)]
    atol: f64,
    /// Print one JSON object per case
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> anyhow::Result<Outcome> {
    for (name, v) in [("--rtol", args.rtol), ("--atol", args.atol)] {
        if !(v >= 0.0 && v.is_finite()) {
            bail!("{name} {v}: use a number of 0 or more");
        }
    }
    let mut outcome = Outcome::Fine;
    let mut answer = |dir: &Path, several: bool| {
        let (verdict, error) = if dir.is_file() {
            verify::file(dir, args.device, args.rtol)
        } else {
            (verify::case(dir, args.device, Tolerance { rtol: args.rtol, atol: args.atol }), None)
        };
        if !matches!(verdict, Verdict::Pass) {
            outcome = Outcome::CheckFailed;
        }
        print(&line(dir, &verdict, error, args.json, several));
    };
    if args.stdin {
        for dir in std::io::stdin().lock().lines() {
            let dir = dir?;
            if !dir.trim().is_empty() {
                answer(Path::new(dir.trim()), false);
            }
        }
        return Ok(outcome);
    }
    if let Some(missing) = args.cases.iter().find(|d| !d.exists()) {
        bail!(
            "{}: no such file or directory; a case is a model, or a directory with model.onnx in it",
            missing.display()
        );
    }
    for dir in &args.cases {
        answer(dir, args.cases.len() > 1);
    }
    Ok(outcome)
}

fn line(dir: &Path, verdict: &Verdict, error: Option<f64>, as_json: bool, named: bool) -> String {
    let (word, why) = match verdict {
        Verdict::Pass => ("PASS", None),
        Verdict::Fail(why) => ("FAIL", Some(why)),
        Verdict::Unsupported(why) => ("UNSUPPORTED", Some(why)),
    };
    // One line per case, whatever the message holds.
    let why = why.map(|w| w.split_whitespace().collect::<Vec<_>>().join(" "));
    if as_json {
        return format!("{}\n", json!({ "case": dir, "verdict": word, "why": why, "relative_error": error }));
    }
    let mut text = word.to_owned();
    if let Some(why) = why {
        text += &format!(" {why}");
    } else if let Some(error) = error {
        text += &format!(" relative error {error:.1e}");
    }
    if named {
        text += &format!("  ({})", dir.display());
    }
    text + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_whatever_the_reason_holds() {
        let v = Verdict::Fail("row 3\ndiffers\r\n by 2".into());
        assert_eq!(line(Path::new("a"), &v, None, false, false), "FAIL row 3 differs by 2\n");
        assert_eq!(line(Path::new("a"), &Verdict::Pass, None, false, true), "PASS  (a)\n");
        let parsed: serde_json::Value = serde_json::from_str(&line(Path::new("a"), &v, None, true, false)).unwrap();
        assert_eq!(parsed["verdict"], "FAIL");
    }
}
