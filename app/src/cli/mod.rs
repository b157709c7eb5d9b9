//! The command line: one file per command, one line in the list below.

mod accuracy;
mod advice;
mod bench;
mod ceilings;
mod compare;
mod convert;
mod devices;
mod history;
mod inspect;
mod measure;
mod profile;
mod progress;
mod report;
mod screenshot;
mod shown;
mod table;
mod verify;
mod what_if;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};

use crate::worker::{chain, panic_text};

macro_rules! commands {
    ($($variant:ident $module:ident),* $(,)?) => {
        #[derive(Subcommand)]
        enum Command { $($variant($module::Args),)* }

        impl Command {
            fn run(self) -> anyhow::Result<Outcome> {
                match self { $(Command::$variant(args) => $module::run(args),)* }
            }
        }
    };
}

commands! {
    Inspect inspect,
    Profile profile,
    Accuracy accuracy,
    Verify verify,
    Compare compare,
    Bench bench,
    Convert convert,
    Screenshot screenshot,
    Devices devices,
    Ceilings ceilings,
    History history,
    WhatIf what_if,
}

/// How a command ended that did not fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Outcome {
    /// Exit code 0.
    Fine,
    /// Exit code 1: what was checked is not so.
    CheckFailed,
    /// Exit code 3: what was checked can't be told from noise.
    NoVerdict,
}

impl Outcome {
    /// The exit code.
    fn code(self) -> u8 {
        match self {
            Outcome::Fine => 0,
            Outcome::CheckFailed => 1,
            Outcome::NoVerdict => 3,
        }
    }
}

#[derive(Parser)]
#[command(
    name = "stratoscope",
    version,
    about = "See where a neural network's inference spends its time, its memory and its accuracy",
    long_about = "See where a neural network's inference spends its time, its memory and its accuracy.\n\n\
        Without a command the window opens, with the given models or traces in it.",
    after_help = "Examples:\n  stratoscope                                  open the window\n  \
        stratoscope model.onnx                       open a model in the window\n  \
        stratoscope profile                          profile the built-in sample, no display needed\n  \
        stratoscope profile model.onnx --out m.scope\n\n\
        Exit codes: 0 fine, 1 a check failed, 2 bad usage or input, 3 no verdict.",
    args_conflicts_with_subcommands = true
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    window: WindowArgs,
}

#[derive(Args)]
struct WindowArgs {
    /// Models (.onnx, sample:ID) or traces (of many tools: see `stratoscope convert --help`) to open in the window
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Start without the files that were open when the program ended
    #[arg(long)]
    fresh: bool,
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let terminal = env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("error"))
        .filter_module("wgpu_hal", log::LevelFilter::Off)
        .build();
    crate::log_book::install(terminal);
    // A user has no use for a backtrace: the message and its place are enough to report a bug.
    std::panic::set_hook(Box::new(|info| log::error!("{info}")));
    let result = catch_unwind(AssertUnwindSafe(|| match cli.command {
        Some(command) => command.run(),
        None => crate::app::open_window(cli.window.paths, cli.window.fresh).map(|()| Outcome::Fine),
    }));
    let message = match result {
        Ok(Ok(outcome)) => return ExitCode::from(outcome.code()),
        Ok(Err(e)) => chain(&e),
        Err(panic) => format!("internal error: {} (this is a bug in stratoscope)", panic_text(&*panic)),
    };
    eprintln!("error: {message}");
    ExitCode::from(2)
}

/// Fails unless the file's extension names a format to write.
fn require_format(path: &Path) -> anyhow::Result<()> {
    let known = crate::export::endings();
    crate::export::format_of(path)
        .map(|_| ())
        .with_context(|| format!("--out {}: can't tell the format from the name; end it in {known}", path.display()))
}

/// Prints one JSON value and a newline.
fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    print(&format!("{}\n", serde_json::to_string_pretty(value)?));
    Ok(())
}

/// Prints to standard output; a closed pipe (`| head`) ends the program quietly instead of with a panic.
fn print(text: &str) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound_and_every_command_shows_an_example() {
        let mut cli = Cli::command();
        cli.build();
        cli.clone().debug_assert();
        for command in cli.get_subcommands().filter(|c| c.get_name() != "help") {
            let help = command.get_after_help().map(|h| h.to_string()).unwrap_or_default();
            assert!(help.contains(&format!("stratoscope {}", command.get_name())), "{}: {help}", command.get_name());
            assert!(command.get_about().is_some(), "{} says what it does", command.get_name());
        }
    }

    #[test]
    fn paths_open_the_window_and_commands_do_not() {
        let cli = Cli::try_parse_from(["stratoscope", "a.onnx", "b.scope"]).unwrap();
        assert!(cli.command.is_none());
        assert_eq!(cli.window.paths.len(), 2);
        let cli = Cli::try_parse_from(["stratoscope", "profile"]).unwrap();
        assert!(matches!(cli.command, Some(Command::Profile(_))));
    }
}
