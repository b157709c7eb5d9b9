//! Which engine runs the model, and how it is tuned.

use egui::{ComboBox, DragValue, RichText, TextEdit, Ui};
use studies::{EngineChoice, EngineOptions, OptionInfo, Settings, describe_options};

use super::{App, Wish};
use crate::theme::{self, Theme};

/// What a command looks like before somebody has written one.
const TEMPLATE: &str = "program {model} --threads {threads} --runs {runs} --profile {profile}";

/// The engine's name for people.
pub(super) fn engine_name(choice: &EngineChoice) -> &'static str {
    match choice {
        EngineChoice::Own => "Stratoscope",
        EngineChoice::OnnxRuntime { .. } => "ONNX Runtime",
        EngineChoice::External(_) => "Command",
    }
}

/// The engines, with what is said about each.
pub(super) fn engines() -> [(EngineChoice, &'static str); 3] {
    [
        (EngineChoice::Own, "This program's own engine, on the CPU or a GPU"),
        (
            EngineChoice::OnnxRuntime { library: None },
            "Microsoft's engine, from the library on this machine (pip install onnxruntime)",
        ),
        (EngineChoice::External(TEMPLATE.to_owned()), "Any program that runs the model and leaves a profile"),
    ]
}

/// True if both are the same engine, however it is found.
pub(super) fn same_engine(a: &EngineChoice, b: &EngineChoice) -> bool {
    std::mem::discriminant(a) == std::mem::discriminant(b)
}

impl App {
    /// The engine, and a menu to choose and tune it.
    pub(super) fn engine_ui(&mut self, ui: &mut Ui, theme: &Theme) {
        let settings = &mut self.state.settings;
        let tuned = if settings.engine_options.is_empty() || settings.engine == EngineChoice::Own { "" } else { " *" };
        let mut wish = None;
        let button = ui.menu_button(format!("{}{tuned}", engine_name(&settings.engine)), |ui| {
            ui.set_width(380.0);
            for (choice, about) in engines() {
                let chosen = same_engine(&settings.engine, &choice);
                if ui.radio(chosen, engine_name(&choice)).on_hover_text(about).clicked() && !chosen {
                    settings.engine = choice;
                }
            }
            match &mut settings.engine {
                EngineChoice::Own => {}
                EngineChoice::OnnxRuntime { library } => {
                    ui.separator();
                    ui.horizontal(|ui| {
                        ui.label("Library").on_hover_text("libonnxruntime, or a folder that holds it");
                        let shown = library.as_ref().map_or("found by itself".to_owned(), |p| p.display().to_string());
                        ui.add(egui::Label::new(RichText::new(&shown).color(theme.text_weak)).truncate())
                            .on_hover_text(shown.as_str());
                    });
                    ui.horizontal(|ui| {
                        if ui.button("Choose…").clicked() {
                            wish = Some(Wish::LibraryDialog);
                        }
                        let reset = egui::Button::new("Find it by itself");
                        if ui.add_enabled(library.is_some(), reset).clicked() {
                            *library = None;
                        }
                    });
                    options_ui(ui, &mut settings.engine_options);
                }
                EngineChoice::External(command) => {
                    ui.separator();
                    ui.label("Command").on_hover_text(
                        "{model}, {profile}, {threads} and {runs} are filled in. No shell reads it. What it writes to {profile} may have any format that can be opened here.",
                    );
                    let field = TextEdit::multiline(command).desired_rows(2).desired_width(f32::INFINITY);
                    ui.add(field.font(egui::FontSelection::FontId(theme::figure())).hint_text(TEMPLATE));
                    if let Err(why) = format!("external:{command}").parse::<EngineChoice>() {
                        ui.label(RichText::new(why).color(theme.bad));
                    }
                }
            }
        });
        button.response.on_hover_text("Which engine runs the model, and how it is tuned");
        self.wishes.extend(wish);
    }
}

/// What people tune in ONNX Runtime; what is left alone is as the engine has it.
fn options_ui(ui: &mut Ui, options: &mut EngineOptions) {
    egui::Grid::new("engine options").num_columns(2).spacing(egui::vec2(16.0, 6.0)).show(ui, |ui| {
        for info in describe_options() {
            ui.label(label(info)).on_hover_text(info.about);
            option_ui(ui, options, info);
            ui.end_row();
        }
    });
}

/// `memory_pattern` as people write it.
fn label(info: &OptionInfo) -> String {
    let words = info.name.replace('_', " ");
    let mut chars = words.chars();
    chars.next().map_or(String::new(), |c| c.to_uppercase().chain(chars).collect())
}

fn option_ui(ui: &mut Ui, options: &mut EngineOptions, info: &OptionInfo) {
    const DEFAULT: &str = "default";
    let now = options.get(info.name).unwrap_or(DEFAULT).to_owned();
    let mut new = now.clone();
    if !info.values.is_empty() {
        let combo = ComboBox::from_id_salt(info.name).selected_text(new.as_str()).show_ui(ui, |ui| {
            for value in std::iter::once(&DEFAULT).chain(info.values) {
                ui.selectable_value(&mut new, (*value).to_owned(), *value);
            }
        });
        combo.response.accessible_name(label(info));
    } else if info.name.ends_with("threads") {
        let mut n: u32 = now.parse().unwrap_or(0);
        let shown = |n: f64, _| if n < 1.0 { DEFAULT.to_owned() } else { format!("{n}") };
        let field = DragValue::new(&mut n).range(0..=1024).custom_formatter(shown);
        if ui.add(field).accessible_name(label(info)).changed() {
            new = if n == 0 { DEFAULT.to_owned() } else { n.to_string() };
        }
    } else {
        let mut text = if now == DEFAULT { String::new() } else { now.clone() };
        let field = TextEdit::singleline(&mut text).desired_width(160.0).hint_text(DEFAULT);
        if ui.add(field).accessible_name(label(info)).changed() {
            new = if text.is_empty() { DEFAULT.to_owned() } else { text };
        }
    }
    if new == DEFAULT {
        options.unset(info.name);
    } else if new != now {
        // What the engine does not know stays as it was; the fields let only a name that is not finished get here.
        options.set(info.name, &new).ok();
    }
}

/// The engine that another one is compared with by one click: ONNX Runtime, or what is chosen beside our own.
pub(super) fn other_engine(settings: &Settings) -> EngineChoice {
    match &settings.engine {
        EngineChoice::Own => EngineChoice::OnnxRuntime { library: None },
        other => other.clone(),
    }
}
