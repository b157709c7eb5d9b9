//! What is kept between starts: a JSON file in the user's config directory, written aside and renamed.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use studies::Settings;

use super::dock::Layout;
use super::session::Session;
use super::settings::Look;
use crate::view::Preferences;

/// How many recent files are kept.
const RECENT: usize = 10;
/// A state file larger than this is no state file of ours.
const MAX_BYTES: u64 = 4 << 20;

/// The theme that the user chose.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum ThemeChoice {
    /// As the system.
    #[default]
    System,
    /// Dark.
    Dark,
    /// Light.
    Light,
}

impl ThemeChoice {
    /// Every choice, in menu order.
    pub const ALL: [ThemeChoice; 3] = [ThemeChoice::System, ThemeChoice::Dark, ThemeChoice::Light];

    /// The menu's word.
    pub fn label(self) -> &'static str {
        match self {
            ThemeChoice::System => "System",
            ThemeChoice::Dark => "Dark",
            ThemeChoice::Light => "Light",
        }
    }

    /// For egui.
    pub fn preference(self) -> egui::ThemePreference {
        match self {
            ThemeChoice::System => egui::ThemePreference::System,
            ThemeChoice::Dark => egui::ThemePreference::Dark,
            ThemeChoice::Light => egui::ThemePreference::Light,
        }
    }
}

/// Everything that outlives the program.
#[derive(Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// Dark, light or the system's.
    pub theme: ThemeChoice,
    /// The dock; `None` for the default one.
    pub layout: Option<Layout>,
    /// What the next run uses.
    pub settings: Settings,
    /// How figures and pictures are shown.
    pub preferences: Preferences,
    /// Files that were opened, newest first.
    pub recent: Vec<PathBuf>,
    /// Size, motion and units.
    pub look: Look,
    /// What was open when the program ended.
    pub session: Session,
    /// The commands that were last chosen in the palette, newest first.
    pub used_commands: Vec<String>,
    /// The window filled the screen.
    pub maximized: bool,
    /// The window's inner size in points.
    pub window: [f32; 2],
}

impl Default for State {
    fn default() -> Self {
        State {
            theme: ThemeChoice::default(),
            layout: None,
            settings: Settings::default(),
            preferences: Preferences::default(),
            recent: Vec::new(),
            look: Look::default(),
            session: Session::default(),
            used_commands: Vec::new(),
            maximized: false,
            window: [1440.0, 900.0],
        }
    }
}

impl State {
    /// Puts a file first in the recent list.
    pub fn remember(&mut self, path: &Path) {
        self.recent.retain(|p| p != path);
        self.recent.insert(0, path.to_owned());
        self.recent.truncate(RECENT);
    }
}

/// The file behind a [`State`].
pub struct Store {
    /// `None` keeps nothing, for tests and pictures.
    path: Option<PathBuf>,
    written: String,
    /// It is the user's own, not one of a test.
    of_user: bool,
}

impl Store {
    /// The user's own.
    pub fn of_user() -> Self {
        let path = directories::ProjectDirs::from("", "", "stratoscope").map(|d| d.config_dir().join("state.json"));
        Store { path, written: String::new(), of_user: true }
    }

    /// A store over this file.
    pub fn at(path: PathBuf) -> Self {
        Store { path: Some(path), written: String::new(), of_user: false }
    }

    /// A store that keeps nothing.
    pub fn none() -> Self {
        Store { path: None, written: String::new(), of_user: false }
    }

    /// True for the user's own: only that one goes with the user's history.
    pub fn is_of_user(&self) -> bool {
        self.of_user
    }

    /// Where it is kept.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// What was kept. A file that can't be read is set aside, and the second value says so.
    pub fn load(&mut self) -> (State, Option<String>) {
        let Some(path) = &self.path else { return (State::default(), None) };
        match read(path) {
            Ok(None) => (State::default(), None),
            Ok(Some((state, text))) => {
                self.written = text;
                (state, None)
            }
            Err(why) => {
                let aside = path.with_extension("json.damaged");
                let kept = match std::fs::rename(path, &aside) {
                    Ok(()) => format!("it was kept as {}", aside.display()),
                    Err(e) => format!("it could not be set aside: {e}"),
                };
                let note = format!("{} could not be read ({why}); starting with defaults, {kept}", path.display());
                (State::default(), Some(note))
            }
        }
    }

    /// What is kept, or defaults; nothing is set aside.
    pub fn peek(&self) -> State {
        self.path.as_deref().and_then(|p| read(p).ok()?).map_or_else(State::default, |r| r.0)
    }

    /// Writes the state if it differs from what was last written.
    pub fn save(&mut self, state: &State) -> anyhow::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        let text = serde_json::to_string_pretty(state)?;
        if text == self.written {
            return Ok(());
        }
        let dir = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(dir)?;
        let mut aside = tempfile::NamedTempFile::new_in(dir)?;
        std::io::Write::write_all(&mut aside, text.as_bytes())?;
        aside.persist(path)?;
        self.written = text;
        Ok(())
    }
}

fn read(path: &Path) -> Result<Option<(State, String)>, String> {
    let size = match std::fs::metadata(path) {
        Ok(m) => m.len(),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e.to_string()),
    };
    if size > MAX_BYTES {
        return Err(format!("{size} bytes are too many"));
    }
    let text = std::fs::read_to_string(path).map_err(|e| e.to_string())?;
    let mut state: State = serde_json::from_str(&text).map_err(|e| e.to_string())?;
    if !state.window.iter().all(|v| v.is_finite() && (200.0..=16_384.0).contains(v)) {
        state.window = State::default().window;
    }
    state.recent.truncate(RECENT);
    state.look = state.look.with_scale(state.look.scale);
    Ok(Some((state, text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_comes_back_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deeper/state.json");
        let mut state = State::default();
        state.remember(Path::new("/a.onnx"));
        state.remember(Path::new("/b.onnx"));
        state.remember(Path::new("/a.onnx"));
        state.theme = ThemeChoice::Light;
        state.settings.warmup = 7;
        state.layout = Some(Layout::default());
        Store::at(path.clone()).save(&state).unwrap();
        let (back, note) = Store::at(path).load();
        assert_eq!(note, None);
        assert_eq!(back.recent, [Path::new("/a.onnx"), Path::new("/b.onnx")]);
        assert_eq!((back.theme, back.settings), (ThemeChoice::Light, state.settings));
        assert!(back.layout.is_some());
    }

    #[test]
    fn a_damaged_file_is_set_aside_and_said_so() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        for damage in [&b"{\"theme\": \"Dar"[..], b"", b"\xff\xfe", b"[1, 2]", b"{\"layout\": {\"tree\": 3}}"] {
            std::fs::write(&path, damage).unwrap();
            let (state, note) = Store::at(path.clone()).load();
            assert!(note.is_some_and(|n| n.contains("state.json.damaged")), "{damage:?}");
            assert_eq!(state.settings, Settings::default());
            assert!(!path.exists());
            assert_eq!(std::fs::read(path.with_extension("json.damaged")).unwrap(), damage);
        }
    }

    #[test]
    fn absurd_window_sizes_are_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        std::fs::write(&path, r#"{"window": [1e30, -3]}"#).unwrap();
        let (state, note) = Store::at(path).load();
        assert_eq!((state.window, note), ([1440.0, 900.0], None));
    }

    #[test]
    fn nothing_is_written_where_nothing_changed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        let mut store = Store::at(path.clone());
        store.save(&State::default()).unwrap();
        std::fs::remove_file(&path).unwrap();
        store.save(&State::default()).unwrap();
        assert!(!path.exists());
    }
}
