//! `cargo xtask ci`: everything that must hold before a change is taken, the quick checks first.

use std::time::Instant;

use crate::{shell, test, tidy};

/// Run what `.ci/run` runs: formatting, tidy, lints, tests
#[derive(clap::Args)]
pub struct Args {}

/// Runs it.
pub fn run(_: &Args) -> anyhow::Result<()> {
    step("formatting", || shell::run(&mut shell::cargo(["fmt", "--all", "--check"])))?;
    step("tidy", || tidy::run(&tidy::Args {}))?;
    step("lints", || {
        shell::run(&mut shell::cargo(["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]))
    })?;
    step("tests", || {
        let mut command = shell::cargo(["test", "--workspace", "--locked"]);
        test::prepare(&mut command, false)?;
        shell::run(&mut command)
    })
}

fn step(name: &str, run: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    let start = Instant::now();
    let result = run();
    let verdict = if result.is_ok() { "passed" } else { "FAILED" };
    eprintln!("== {name} {verdict} in {:.0} s", start.elapsed().as_secs_f64());
    result
}
