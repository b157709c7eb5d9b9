//! The system's file dialogs, each in a thread of its own so that the window goes on drawing.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use profiler::Trace;

use super::Wish;
use crate::log_book::LogBook;

/// A person can't cancel a dialog faster than this: it was never shown.
const TOO_QUICK: Duration = Duration::from_millis(150);

/// At most one dialog at a time.
#[derive(Default)]
pub struct Dialogs {
    waiting: Option<Receiver<Answer>>,
}

enum Answer {
    Wish(Box<Wish>),
    Cancelled,
    NotShown,
}

impl Dialogs {
    /// Asks for a file to open.
    pub fn open(&mut self, ctx: &egui::Context) {
        let kinds: Vec<&str> = ["onnx"].into_iter().chain(profiler::import::extensions()).collect();
        self.ask(ctx, move || {
            let path = rfd::FileDialog::new()
                .set_title("Open a model or a trace")
                .add_filter("Models and traces", &kinds)
                .add_filter("All files", &["*"])
                .pick_file()?;
            Some(Wish::open(path))
        });
    }

    /// Asks where to write a trace.
    pub fn save(&mut self, ctx: &egui::Context, trace: Arc<Trace>, extension: &'static str) {
        let name = format!("{}.{extension}", if trace.meta.model.is_empty() { "trace" } else { &trace.meta.model });
        self.ask(ctx, move || {
            let path = rfd::FileDialog::new()
                .set_title("Save the trace")
                .set_file_name(name)
                .add_filter(format_name(extension), &[extension])
                .save_file()?;
            Some(Wish::Save(trace, with_extension(&path, extension)))
        });
    }

    /// Asks for the library of ONNX Runtime.
    pub fn library(&mut self, ctx: &egui::Context) {
        self.ask(ctx, || {
            let path = rfd::FileDialog::new()
                .set_title("The library of ONNX Runtime (libonnxruntime)")
                .add_filter("Libraries", &["so", "dll", "dylib"])
                .add_filter("All files", &["*"])
                .pick_file()?;
            Some(Wish::Library(path))
        });
    }

    /// Asks where to put a picture of a panel.
    pub fn picture(&mut self, ctx: &egui::Context, view: &'static str) {
        self.ask(ctx, move || {
            let path = rfd::FileDialog::new()
                .set_title("Save a picture of the panel")
                .set_file_name(format!("{view}.png"))
                .add_filter("PNG, SVG", &["png", "svg"])
                .save_file()?;
            let known = crate::worker::extension(&path).is_some_and(|e| e == "png" || e == "svg");
            Some(Wish::Picture(view, if known { path } else { with_extension(&path, "png") }))
        });
    }

    fn ask(&mut self, ctx: &egui::Context, dialog: impl FnOnce() -> Option<Wish> + Send + 'static) {
        if self.waiting.is_some() {
            return;
        }
        let (answer, waiting) = sync_channel(1);
        let ctx = ctx.clone();
        let spawned = std::thread::Builder::new().name("file dialog".to_owned()).spawn(move || {
            let start = Instant::now();
            let result = match dialog() {
                Some(wish) => Answer::Wish(Box::new(wish)),
                None if start.elapsed() < TOO_QUICK => Answer::NotShown,
                None => Answer::Cancelled,
            };
            // The window may be gone by now; then nobody waits for the answer.
            let _ = answer.send(result);
            ctx.request_repaint();
        });
        match spawned {
            Ok(_) => self.waiting = Some(waiting),
            Err(e) => log::error!("no thread for a file dialog: {e}"),
        }
    }

    /// What the user chose since the last call.
    pub fn poll(&mut self, log: &LogBook) -> Option<Wish> {
        use std::sync::mpsc::TryRecvError;
        let answer = match self.waiting.as_ref()?.try_recv() {
            Ok(answer) => answer,
            Err(TryRecvError::Empty) => return None,
            Err(TryRecvError::Disconnected) => Answer::NotShown,
        };
        self.waiting = None;
        match answer {
            Answer::Wish(wish) => Some(*wish),
            Answer::Cancelled => None,
            Answer::NotShown => {
                log.warn(
                    "The system shows no file dialog (on Linux: install xdg-desktop-portal or zenity). \
                     Drop the file on the window, or name it on the command line.",
                );
                None
            }
        }
    }
}

/// A format's name by its extension.
pub fn format_name(extension: &str) -> &'static str {
    crate::export::formats().find(|f| f.extension == extension).map_or("File", |f| f.name)
}

/// The extension decides the format, so a name without one gets it.
fn with_extension(path: &Path, extension: &str) -> PathBuf {
    let name = path.file_name().map(|n| n.to_string_lossy().to_lowercase()).unwrap_or_default();
    if name.ends_with(&format!(".{extension}")) {
        return path.to_owned();
    }
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(extension);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_without_the_extension_gets_it() {
        assert_eq!(with_extension(Path::new("/a/b"), "scope"), Path::new("/a/b.scope"));
        assert_eq!(with_extension(Path::new("/a/b.v2"), "scope"), Path::new("/a/b.v2.scope"));
        assert_eq!(with_extension(Path::new("/a/b.overlay.json"), "overlay.json"), Path::new("/a/b.overlay.json"));
        assert_eq!(with_extension(Path::new("/a/b.SCOPE"), "scope"), Path::new("/a/b.SCOPE"));
    }
}
