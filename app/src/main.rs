//! Starts the program: the command line decides between the window and headless work.

use std::process::ExitCode;

fn main() -> ExitCode {
    stratoscope::cli::main()
}
