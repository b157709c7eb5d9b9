//! The one list of what can be asked of the program: menus, shortcuts, the palette and the help are all made from it.
//!
//! An action of the shell is one line in [`App::entries`]; those of the views are taken from [`View::commands`].
//!
//! [`View::commands`]: crate::view::View::commands

use egui::{Key, KeyboardShortcut, Modifiers};
use studies::{Budget, DeviceChoice, Precision, Settings};

use super::engine::{engine_name, engines, other_engine, same_engine};
use super::{App, ThemeChoice, Wish};
use crate::format;
use crate::live::DEFAULT_ADDRESS;
use crate::view::Action;
use crate::worker::file_name;

const CTRL: Modifiers = Modifiers::COMMAND;
const CTRL_SHIFT: Modifiers = Modifiers::COMMAND.plus(Modifiers::SHIFT);

const fn ctrl(key: Key) -> KeyboardShortcut {
    KeyboardShortcut::new(CTRL, key)
}

const fn plain(key: Key) -> KeyboardShortcut {
    KeyboardShortcut::new(Modifiers::NONE, key)
}

const DIGITS: [Key; 9] =
    [Key::Num1, Key::Num2, Key::Num3, Key::Num4, Key::Num5, Key::Num6, Key::Num7, Key::Num8, Key::Num9];

/// The budgets on offer.
pub(super) const BUDGETS: [Budget; 7] = [
    Budget::Seconds(1.0),
    Budget::Seconds(3.0),
    Budget::Seconds(10.0),
    Budget::Seconds(30.0),
    Budget::Runs(10),
    Budget::Runs(100),
    Budget::Runs(1000),
];

/// Something that can be asked for.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// A stable word, to remember what was used last.
    pub id: String,
    /// The menu that it is in, or the view that it belongs to.
    pub group: &'static str,
    /// The menu within the menu; empty for none.
    pub sub: &'static str,
    /// What it does.
    pub title: String,
    /// The keys that the shell listens to.
    pub keys: Vec<KeyboardShortcut>,
    /// The keys that a view listens to itself, in words.
    pub view_keys: &'static str,
    /// More about it; may be empty.
    pub tip: String,
    /// Why it can't be done now; empty if it can.
    pub hindrance: &'static str,
    /// For what is on or off, or one of several.
    pub checked: Option<bool>,
    /// A line above it in its menu.
    pub gap: bool,
    /// What happens.
    pub wish: Wish,
}

impl Entry {
    /// As the palette names it: `Theme: Dark`.
    pub fn full_title(&self) -> String {
        if self.sub.is_empty() { self.title.clone() } else { format!("{}: {}", self.sub, self.title) }
    }

    /// Its keys as people read them.
    pub fn key_text(&self, ctx: &egui::Context) -> String {
        if !self.view_keys.is_empty() {
            return self.view_keys.to_owned();
        }
        let all: Vec<String> = self.keys.iter().map(|k| words(ctx, k)).collect();
        all.join(" or ")
    }

    /// The first of its keys, for a menu.
    pub fn first_key(&self, ctx: &egui::Context) -> String {
        self.keys.first().map(|k| words(ctx, k)).unwrap_or_default()
    }

    /// True if it can be done now.
    pub fn enabled(&self) -> bool {
        self.hindrance.is_empty()
    }

    fn keys(&mut self, keys: &[KeyboardShortcut]) -> &mut Self {
        self.keys = keys.to_vec();
        self
    }

    fn tip(&mut self, tip: impl Into<String>) -> &mut Self {
        self.tip = tip.into();
        self
    }

    fn only_if(&mut self, possible: bool, otherwise: &'static str) -> &mut Self {
        self.hindrance = if possible { "" } else { otherwise };
        self
    }

    fn checked(&mut self, on: bool) -> &mut Self {
        self.checked = Some(on);
        self
    }
}

/// A shortcut as it is printed on the keys.
fn words(ctx: &egui::Context, shortcut: &KeyboardShortcut) -> String {
    let text = ctx.format_shortcut(shortcut);
    let (name, symbol) = (shortcut.logical_key.name(), shortcut.logical_key.symbol_or_name());
    // The symbols of arrows are not in our faces.
    match text.strip_suffix(name).filter(|_| symbol.is_ascii()) {
        Some(modifiers) => format!("{modifiers}{symbol}"),
        None => text,
    }
}

/// Collects entries under the current menu.
#[derive(Default)]
struct List {
    entries: Vec<Entry>,
    group: &'static str,
    sub: &'static str,
    gap: bool,
}

impl List {
    fn menu(&mut self, group: &'static str) {
        (self.group, self.sub, self.gap) = (group, "", false);
    }

    fn sub(&mut self, sub: &'static str) {
        self.sub = sub;
    }

    fn gap(&mut self) {
        (self.sub, self.gap) = ("", true);
    }

    fn add(&mut self, id: impl Into<String>, title: impl Into<String>, wish: Wish) -> &mut Entry {
        let i = self.entries.len();
        self.entries.push(Entry {
            id: id.into(),
            group: self.group,
            sub: self.sub,
            title: title.into(),
            keys: Vec::new(),
            view_keys: "",
            tip: String::new(),
            hindrance: "",
            checked: None,
            gap: std::mem::take(&mut self.gap),
            wish,
        });
        &mut self.entries[i]
    }
}

impl App {
    /// Everything that can be asked for now, in the order of the menus; the views' own commands come last.
    pub(super) fn entries(&self) -> Vec<Entry> {
        let mut l = List::default();
        self.file_entries(&mut l);
        self.edit_entries(&mut l);
        self.view_entries(&mut l);
        self.run_entries(&mut l);
        l.menu("Help");
        l.add("shortcuts", "All shortcuts", Wish::Help).keys(&[plain(Key::Questionmark), plain(Key::F1)]);
        l.add("about", "About Stratoscope", Wish::About).tip(concat!("Version ", env!("CARGO_PKG_VERSION")));
        for view in &self.views {
            l.menu(view.title());
            for c in view.commands() {
                let wish = Wish::ViewCommand(view.id(), c.id);
                l.add(format!("{}/{}", view.id(), c.id), c.title, wish).view_keys = c.keys;
            }
        }
        l.entries
    }

    fn file_entries(&self, l: &mut List) {
        let traced = self.runs.current().is_some();
        let no_trace = "There is no trace yet: run the model or open one first";
        l.menu("File");
        l.add("open", "Open…", Wish::Do(Action::OpenDialog)).keys(&[ctrl(Key::O)]).tip("A model or a trace");
        l.sub("Open recent");
        for path in &self.state.recent {
            let id = format!("recent:{}", path.display());
            l.add(id, file_name(path), Wish::open(path)).tip(path.display().to_string());
        }
        l.sub("Sample");
        for s in studies::samples::all() {
            let path = format!("sample:{}", s.id);
            l.add(path.clone(), s.title, Wish::open(path)).tip(s.about);
        }
        l.gap();
        l.add("save", "Save trace…", Wish::SaveDialog).keys(&[ctrl(Key::S)]).only_if(traced, no_trace);
        l.sub("Export");
        for f in crate::export::formats().filter(|f| f.extension != "scope") {
            let wish = Wish::ExportDialog(f.extension);
            l.add(format!("export:{}", f.name), f.name, wish).tip(f.description).only_if(traced, no_trace);
        }
        l.sub("Picture of a panel");
        for view in &self.views {
            let title = format!("Picture of {}…", view.title());
            l.add(format!("picture:{}", view.id()), title, Wish::PictureDialog(view.id()))
                .only_if(traced || self.model.is_some(), "Open a model or a trace first")
                .tip("As it is on the screen, as PNG or SVG");
        }
        l.gap();
        l.add("close-trace", "Close trace", Wish::CloseTrace).keys(&[ctrl(Key::W)]).only_if(traced, "No trace is open");
        l.add("close-all", "Close everything", Wish::CloseAll)
            .only_if(traced || self.model.is_some(), "Nothing is open")
            .tip("Close the model and all traces");
        l.gap();
        let live = self.live.is_some();
        l.add("live", "Serve to puffin_viewer", Wish::Live(!live))
            .checked(live)
            .tip(format!("Serve the trace on show to puffin_viewer on {DEFAULT_ADDRESS}, this machine only"));
        l.gap();
        l.add("quit", "Quit", Wish::Quit).keys(&[ctrl(Key::Q)]);
    }

    fn edit_entries(&self, l: &mut List) {
        let h = &self.history;
        l.menu("Edit");
        l.add("undo", "Undo", Wish::Undo)
            .keys(&[ctrl(Key::Z)])
            .only_if(h.can_undo(), "Nothing to undo")
            .tip("Take back the last change of the layout or the selection");
        l.add("redo", "Redo", Wish::Redo)
            .keys(&[KeyboardShortcut::new(CTRL_SHIFT, Key::Z), ctrl(Key::Y)])
            .only_if(h.can_redo(), "Nothing to redo");
        l.gap();
        l.add("back", "Back to the last selection", Wish::Go(false))
            .keys(&[KeyboardShortcut::new(Modifiers::ALT, Key::ArrowLeft)])
            .only_if(h.can_go_back(), "Nothing was selected before");
        l.add("forward", "Forward to the next selection", Wish::Go(true))
            .keys(&[KeyboardShortcut::new(Modifiers::ALT, Key::ArrowRight)])
            .only_if(h.can_go_forward(), "Nothing was selected after");
        l.gap();
        let open = self.model.is_some() || self.runs.current().is_some();
        l.add("find", "Find a layer or node…", Wish::Find)
            .keys(&[ctrl(Key::K), ctrl(Key::F)])
            .only_if(open, "Open a model or a trace first");
        l.add("palette", "Command palette…", Wish::Palette).keys(&[KeyboardShortcut::new(CTRL_SHIFT, Key::P)]);
        l.gap();
        l.add("settings", "Settings…", Wish::SettingsDialog).keys(&[ctrl(Key::Comma)]);
    }

    fn view_entries(&self, l: &mut List) {
        l.menu("View");
        let nothing = self.model.is_none() && self.runs.current().is_none();
        l.add("start-page", "Start page", Wish::StartPage)
            .only_if(nothing && self.panels_wanted, "It shows while nothing is open")
            .tip("Samples, recent files, a place to drop files on");
        l.gap();
        l.sub("Show");
        for (n, view) in self.views.iter().enumerate() {
            let keys: Vec<_> = DIGITS.get(n).map(|&k| ctrl(k)).into_iter().collect();
            let wish = Wish::Do(Action::Show(view.id()));
            l.add(format!("show:{}", view.id()), view.title(), wish).keys(&keys).tip("Bring it to the front");
        }
        l.sub("Panels");
        for view in &self.views {
            let shown = self.layout.is_shown(view.id());
            l.add(format!("toggle:{}", view.id()), view.title(), Wish::Toggle(view.id()))
                .checked(shown)
                .tip(if shown { "Hide it" } else { "Show it" });
        }
        l.gap();
        l.add("reset-layout", "Reset layout", Wish::ResetLayout).tip("All panels in their first places");
        l.gap();
        l.sub("Theme");
        for choice in ThemeChoice::ALL {
            let on = self.state.theme == choice;
            l.add(format!("theme:{}", choice.label()), choice.label(), Wish::Theme(choice)).checked(on);
        }
        l.sub("");
        let scale = self.state.look.scale;
        l.add("larger", "Larger", Wish::Scale(scale + 0.1)).keys(&[ctrl(Key::Plus), ctrl(Key::Equals)]);
        l.add("smaller", "Smaller", Wish::Scale(scale - 0.1)).keys(&[ctrl(Key::Minus)]);
        l.add("normal-size", "Normal size", Wish::Scale(1.0)).keys(&[ctrl(Key::Num0)]);
        l.sub("Trace");
        for (i, run) in self.runs.all().iter().enumerate() {
            let on = self.runs.current_index() == Some(i);
            l.add(format!("trace:{i}"), run.title(), Wish::ShowRun(i)).checked(on);
        }
        l.sub("");
        let pinned = self.runs.current_index().is_some() && self.runs.current_index() == self.runs.baseline_index();
        let (title, tip) = match pinned {
            true => ("Unpin baseline", "Compare with this trace no more"),
            false => ("Pin as baseline", "Compare the other traces with this one"),
        };
        let index = self.runs.current_index().filter(|_| !pinned);
        l.add("pin-baseline", title, Wish::Do(Action::Pin(index)))
            .keys(&[ctrl(Key::B)])
            .only_if(self.runs.current().is_some(), "There is no trace yet")
            .tip(tip);
    }

    fn run_entries(&self, l: &mut List) {
        let (model, measuring) = (self.model.is_some(), self.is_measuring());
        let hindrance = if model { "A study is running" } else { "Open a model first" };
        let settings = &self.state.settings;
        let set = |change: &dyn Fn(&mut Settings)| {
            let mut new = settings.clone();
            change(&mut new);
            Wish::Settings(Box::new(new))
        };
        l.menu("Run");
        l.add("run", "Run", Wish::Do(Action::Run))
            .keys(&[ctrl(Key::R), plain(Key::F5)])
            .only_if(self.can_run(), hindrance)
            .tip("Measure latency and memory");
        l.add("compare-engines", "Compare engines", Wish::Do(Action::RunEngines))
            .only_if(self.can_run(), hindrance)
            .tip(format!(
                "Measure here and in {}, and show layer by layer where each wins",
                engine_name(&other_engine(settings))
            ));
        l.add("compare-precisions", "Compare precisions", Wish::Do(Action::RunAccuracy))
            .only_if(self.can_run(), hindrance)
            .tip("f16, bf16, int8 and int4 against f32, layer by layer");
        let busy = [&self.worker, &self.clerk].iter().any(|w| w.running().is_some_and(|r| r.cancellable));
        l.add("cancel", "Cancel", Wish::Cancel)
            .keys(&[plain(Key::Escape)])
            .only_if(busy, "Nothing runs that can be cancelled")
            .tip("Stop what is running");
        l.gap();
        let wait = "Settings rest while a study is running";
        l.sub("Device");
        let fixed = [(DeviceChoice::Auto, "Best device".to_owned(), String::new())];
        let found = self.devices.iter().filter(|d| d.usable).map(|d| {
            let name = if d.choice == DeviceChoice::Cpu { "CPU".to_owned() } else { d.name.clone() };
            (d.choice, name, d.detail.clone())
        });
        for (choice, name, tip) in fixed.into_iter().chain(found) {
            l.add(format!("device:{choice}"), name, set(&|s| s.device = choice))
                .checked(settings.device == choice)
                .only_if(!measuring, wait)
                .tip(tip);
        }
        l.sub("Engine");
        for (choice, about) in engines() {
            let name = engine_name(&choice);
            let checked = same_engine(&settings.engine, &choice);
            l.add(format!("engine:{}", choice.label()), name, set(&|s| s.engine = choice.clone()))
                .checked(checked)
                .only_if(!measuring, wait)
                .tip(about);
        }
        l.sub("Precision");
        for p in Precision::ALL {
            l.add(format!("precision:{}", p.name()), p.name(), set(&|s| s.precision = p))
                .checked(settings.precision == p)
                .only_if(!measuring, wait);
        }
        l.sub("Budget");
        for b in BUDGETS {
            let text = budget_text(b);
            l.add(format!("budget:{text}"), text, set(&|s| s.budget = b))
                .checked(settings.budget == b)
                .only_if(!measuring, wait);
        }
        l.sub("Threads");
        for t in thread_choices() {
            let text = threads_text(t);
            l.add(format!("threads:{text}"), text, set(&|s| s.threads = t))
                .checked(settings.threads == t)
                .only_if(!measuring, wait);
        }
        l.sub("");
        l.add("fusion", "Fuse operators", set(&|s| s.fusion = !s.fusion))
            .checked(settings.fusion)
            .only_if(!measuring, wait)
            .tip("Join operators into fused layers; off shows the model's operators one by one");
    }
}

/// How long to measure, in words.
pub(super) fn budget_text(b: Budget) -> String {
    match b {
        Budget::Seconds(s) => format!("{} s", format!("{s:.1}").trim_end_matches(".0")),
        Budget::Runs(n) => format::plural(n as usize, "run"),
    }
}

/// How many threads, in words.
pub(super) fn threads_text(threads: Option<usize>) -> String {
    threads.map_or("All cores".to_owned(), |n| format::plural(n, "thread"))
}

/// Numbers of threads worth offering on this machine.
pub(super) fn thread_choices() -> Vec<Option<usize>> {
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    let counts = std::iter::successors(Some(1usize), |n| n.checked_mul(2)).take_while(|&n| n < cores).chain([cores]);
    std::iter::once(None).chain(counts.map(Some)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app() -> App {
        let ctx = egui::Context::default();
        App::still(&ctx, ThemeChoice::Dark, None, None, Settings::default()).unwrap()
    }

    #[test]
    fn ids_are_distinct_and_no_key_means_two_things() {
        let entries = app().entries();
        let mut ids: Vec<&str> = entries.iter().map(|e| e.id.as_str()).collect();
        ids.sort_unstable();
        let all = ids.len();
        ids.dedup();
        assert_eq!(ids.len(), all);
        let mut keys: Vec<KeyboardShortcut> = entries.iter().flat_map(|e| e.keys.clone()).collect();
        while let Some(key) = keys.pop() {
            assert!(!keys.contains(&key), "{key:?}");
        }
    }

    #[test]
    fn every_view_and_each_of_its_commands_is_reached() {
        let app = app();
        let entries = app.entries();
        for view in &app.views {
            assert!(entries.iter().any(|e| e.wish == Wish::Do(Action::Show(view.id()))), "{}", view.id());
            for c in view.commands() {
                let entry = entries.iter().find(|e| e.wish == Wish::ViewCommand(view.id(), c.id)).unwrap();
                assert_eq!((entry.title.as_str(), entry.group), (c.title, view.title()));
                assert!(!c.title.is_empty() && !c.title.ends_with('.'), "{}: {}", view.id(), c.title);
            }
        }
    }

    #[test]
    fn choices_in_words() {
        assert_eq!(budget_text(Budget::Seconds(3.0)), "3 s");
        assert_eq!(budget_text(Budget::Seconds(0.5)), "0.5 s");
        assert_eq!(budget_text(Budget::Runs(1)), "1 run");
        assert_eq!(threads_text(None), "All cores");
        assert!(thread_choices().contains(&Some(1)));
    }
}
