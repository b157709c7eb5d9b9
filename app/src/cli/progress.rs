//! Progress on a terminal, and Ctrl-C as a wish to stop.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use studies::Control;

/// A study's control: a bar on standard error if that is a terminal, and Ctrl-C cancels.
pub struct Terminal {
    /// To hand to the study.
    pub control: Control,
    bar: ProgressBar,
}

impl Terminal {
    /// Shows the bar and takes over Ctrl-C.
    pub fn start() -> Self {
        let bar = if std::io::stderr().is_terminal() { ProgressBar::new(1000) } else { ProgressBar::hidden() };
        bar.set_style(unknown_length());
        bar.enable_steady_tick(Duration::from_millis(200));
        let shown = bar.clone();
        let control = Control::new(move |p| {
            let left = p.left.map(|d| format!("{} s left", d.as_secs().max(1))).unwrap_or_default();
            match p.fraction {
                Some(f) => {
                    shown.set_style(known_length());
                    shown.set_position((f64::from(f.clamp(0.0, 1.0)) * 1000.0) as u64);
                }
                None => shown.set_style(unknown_length()),
            }
            shown.set_prefix(p.stage);
            shown.set_message(left);
        });
        let cancel = control.clone();
        // Failing to take Ctrl-C over only means that it ends the program at once.
        if let Err(e) = ctrlc::set_handler(move || {
            if cancel.is_cancelled() {
                std::process::exit(2);
            }
            cancel.cancel();
        }) {
            log::debug!("Ctrl-C keeps its default: {e}");
        }
        Terminal { control, bar }
    }

    /// Prints a line above the bar.
    pub fn say(&self, line: &str) {
        self.bar.suspend(|| eprintln!("{line}"));
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn known_length() -> ProgressStyle {
    style("{prefix:<24} [{bar:30}] {percent:>3}%  {msg}")
}

fn unknown_length() -> ProgressStyle {
    style("{prefix:<24} {spinner}")
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ")
}
