//! What happened since the start, for people: the window's own lines and the records of every library, bounded.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

pub use log::Level;

/// How many lines are kept.
const LINES: usize = 2000;
/// No line is longer than this many bytes.
const LONGEST: usize = 16 << 10;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Counts up from the start, so that a line keeps its number when older ones go.
    pub number: u64,
    /// When.
    pub at: SystemTime,
    /// How bad it is.
    pub level: Level,
    /// What happened.
    pub text: String,
}

impl Line {
    /// As it is copied: `14:03:22  warning  text`.
    pub fn to_text(&self) -> String {
        format!("{}  {:<7}  {}", self.time(), word(self.level), self.text)
    }

    /// The time of day, in the user's time zone.
    pub fn time(&self) -> String {
        crate::format::time_of_day(self.at)
    }
}

/// A level in words.
pub fn word(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warn => "warning",
        Level::Info => "info",
        Level::Debug | Level::Trace => "detail",
    }
}

struct Lines {
    list: VecDeque<Line>,
    counted: u64,
}

/// A handle on the lines; its clones share them.
#[derive(Clone)]
pub struct LogBook(Arc<Mutex<Lines>>);

impl Default for LogBook {
    fn default() -> Self {
        LogBook(Arc::new(Mutex::new(Lines { list: VecDeque::new(), counted: 0 })))
    }
}

impl LogBook {
    fn lock(&self) -> std::sync::MutexGuard<'_, Lines> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something went as it should.
    pub fn info(&self, text: impl Into<String>) {
        self.add(Level::Info, text.into());
    }

    /// Something to know.
    pub fn warn(&self, text: impl Into<String>) {
        self.add(Level::Warn, text.into());
    }

    /// Something failed.
    pub fn error(&self, text: impl Into<String>) {
        self.add(Level::Error, text.into());
    }

    /// A line; one that only repeats the newest is left out.
    pub fn add(&self, level: Level, mut text: String) {
        if text.len() > LONGEST {
            let end = (0..=LONGEST).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(0);
            text.truncate(end);
            text.push('…');
        }
        let mut lines = self.lock();
        if lines.list.back().is_some_and(|l| l.level == level && l.text == text) {
            return;
        }
        if lines.list.len() == LINES {
            lines.list.pop_front();
        }
        lines.counted += 1;
        let line = Line { number: lines.counted, at: SystemTime::now(), level, text };
        lines.list.push_back(line);
    }

    /// The number of the newest line; it changes with every line.
    pub fn newest(&self) -> u64 {
        self.lock().counted
    }

    /// The lines at least as bad as `level`, oldest first.
    pub fn lines(&self, level: Level) -> Vec<Line> {
        self.lock().list.iter().filter(|l| l.level <= level).cloned().collect()
    }

    /// The newest line.
    pub fn last(&self) -> Option<Line> {
        self.lock().list.back().cloned()
    }

    /// How many lines there are, and how many of them are warnings or worse.
    pub fn counts(&self) -> (usize, usize) {
        let lines = self.lock();
        (lines.list.len(), lines.list.iter().filter(|l| l.level <= Level::Warn).count())
    }

    /// Forgets all lines.
    pub fn clear(&self) {
        self.lock().list.clear();
    }
}

/// Where records of the `log` crate go besides the terminal.
static LISTENER: Mutex<Option<LogBook>> = Mutex::new(None);

/// Lets the records of every library land in this book from now on.
pub fn listen(book: &LogBook) {
    *LISTENER.lock().unwrap_or_else(PoisonError::into_inner) = Some(book.clone());
}

/// Writes records to the terminal as the environment asks, and those for people into the listening book.
struct Tee(env_logger::Logger);

impl log::Log for Tee {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        self.0.enabled(metadata) || for_people(metadata)
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.0.matches(record) {
            self.0.log(record);
        }
        if for_people(record.metadata()) {
            let book = LISTENER.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if let Some(book) = book {
                book.add(record.level(), record.args().to_string());
            }
        }
    }

    fn flush(&self) {
        self.0.flush();
    }
}

/// Warnings of all, and what our own crates say. What graphics drivers grumble about is not for people.
fn for_people(metadata: &log::Metadata<'_>) -> bool {
    let ours = metadata.target().starts_with("stratoscope");
    let noise = metadata.target().starts_with("wgpu_hal");
    !noise && metadata.level() <= if ours { Level::Info } else { Level::Warn }
}

/// Installs the program's logger; a second call changes nothing.
pub fn install(terminal: env_logger::Logger) {
    let most = terminal.filter().max(log::LevelFilter::Info);
    if log::set_boxed_logger(Box::new(Tee(terminal))).is_ok() {
        log::set_max_level(most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_bounded_numbered_and_filtered() {
        let book = LogBook::default();
        for i in 0..LINES + 10 {
            book.info(format!("line {i}"));
        }
        book.warn("twice");
        book.warn("twice");
        book.error("é".repeat(LONGEST));
        assert_eq!(book.counts(), (LINES, 2));
        assert_eq!(book.newest(), (LINES + 12) as u64);
        let bad = book.lines(Level::Warn);
        assert_eq!((bad.len(), bad[0].text.as_str()), (2, "twice"));
        assert!(bad[1].text.len() <= LONGEST + 3 && bad[1].text.ends_with('…'));
        assert!(book.last().unwrap().to_text().contains("error"));
        book.clear();
        assert_eq!(book.counts(), (0, 0));
    }

    #[test]
    fn records_for_people_are_ours_and_warnings() {
        let record = |target, level| log::Metadata::builder().target(target).level(level).build();
        assert!(for_people(&record("stratoscope_engine::plan", Level::Info)));
        assert!(!for_people(&record("stratoscope", Level::Debug)));
        assert!(for_people(&record("winit", Level::Warn)));
        assert!(!for_people(&record("winit", Level::Info)));
        assert!(!for_people(&record("wgpu_hal::vulkan", Level::Error)));
    }

    #[test]
    fn a_record_lands_in_the_listening_book() {
        let book = LogBook::default();
        let tee = Tee(env_logger::Builder::new().filter_level(log::LevelFilter::Off).build());
        listen(&book);
        let say = |level, text| {
            let record = log::Record::builder().level(level).target("winit").args(text).build();
            log::Log::log(&tee, &record);
        };
        say(Level::Warn, format_args!("the screen is upside down"));
        say(Level::Debug, format_args!("never mind"));
        let texts: Vec<String> = book.lines(Level::Trace).into_iter().map(|l| l.text).collect();
        assert!(texts.iter().any(|t| t == "the screen is upside down"), "{texts:?}");
        assert!(!texts.iter().any(|t| t == "never mind"));
    }
}
