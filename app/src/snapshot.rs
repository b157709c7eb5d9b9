//! Draws one view into a picture with no display, for tests and tools.

use std::sync::Arc;

use anyhow::anyhow;
use egui_kittest::Harness;
use image::RgbaImage;
use studies::{Inspection, Settings};

use crate::ceilings::Advised;
use crate::picture;
use crate::runs::Runs;
use crate::theme::Theme;
use crate::view::{Facts, Preferences, Profile, Selection, View, ViewCx};
use crate::views;

/// What a picture is made with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// Width and height in points.
    pub size: [f32; 2],
    /// The dark theme, else the light one.
    pub dark: bool,
    /// A button, tab or choice to press before the picture is taken, by its label.
    pub press: Option<&'static str>,
    /// Where to click before the picture is taken, in points.
    pub click: Option<[f32; 2]>,
    /// Where the pointer rests, in points.
    pub pointer: Option<[f32; 2]>,
}

impl Default for Options {
    fn default() -> Self {
        Options { size: [900.0, 560.0], dark: true, press: None, click: None, pointer: None }
    }
}

/// What a view is shown.
#[derive(Default)]
pub struct Scene<'a> {
    /// The trace on show.
    pub profile: Option<&'a Profile>,
    /// The open model.
    pub model: Option<&'a Inspection>,
    /// The open traces.
    pub runs: Runs,
    /// What the worker found out.
    pub facts: Facts,
}

impl<'a> Scene<'a> {
    /// A trace and a model, with what is advised about them.
    pub fn of(profile: Option<&'a Profile>, model: Option<&'a Inspection>) -> Scene<'a> {
        let advice = profile.map(|p| Arc::new(Advised::new(p, None)));
        let facts = Facts { advice, ..Facts::default() };
        Scene { profile, model, facts, ..Scene::default() }
    }
}

/// A picture of one view by its id, with the longest layer selected. Needs an adapter to draw with.
pub fn render_view(
    id: &str,
    profile: Option<&Profile>,
    model: Option<&Inspection>,
    options: Options,
) -> anyhow::Result<RgbaImage> {
    render_scene(id, &Scene::of(profile, model), options)
}

/// As [`render_view`], with all that a view may be shown.
pub fn render_scene(id: &str, scene: &Scene<'_>, options: Options) -> anyhow::Result<RgbaImage> {
    on_stage(id, scene, options, picture::Paint::Pixels, picture::take)
}

/// A drawing of one view as an SVG element; `name` tells the ids of several in one page apart. Needs no adapter.
pub fn view_svg(id: &str, scene: &Scene<'_>, options: Options, name: &str) -> anyhow::Result<String> {
    on_stage(id, scene, options, picture::Paint::Shapes, |harness| Ok(picture::svg(harness, name)))
}

/// Draws a view and gives it to `take`.
fn on_stage<R>(
    id: &str,
    scene: &Scene<'_>,
    options: Options,
    paint: picture::Paint,
    take: impl FnOnce(&mut Harness<'_, Option<Box<dyn View>>>) -> anyhow::Result<R>,
) -> anyhow::Result<R> {
    let &Scene { profile, model, ref runs, ref facts } = scene;
    let view = views::all().into_iter().find(|v| v.id() == id).ok_or_else(|| {
        let ids: Vec<&str> = views::all().iter().map(|v| v.id()).collect();
        anyhow!("\"{id}\" is no view: use one of {}", ids.join(", "))
    })?;
    let theme = if options.dark { Theme::dark() } else { Theme::light() };
    let (mut settings, mut selection) = (Settings::default(), Selection::default());
    let mut preferences = Preferences::default();
    selection.select(profile.and_then(longest_layer));
    let mut harness = picture::harness_for(
        paint,
        options.size.into(),
        options.dark,
        |_| view,
        |ui, view| {
            ui.painter().rect_filled(ui.max_rect(), 0.0, theme.surface[1]);
            selection.begin_frame();
            let (settings, selection, actions) = (&mut settings, &mut selection, &mut Vec::new());
            let preferences = &mut preferences;
            let mut cx = ViewCx { profile, model, runs, facts, preferences, settings, selection, theme, actions };
            view.ui(ui, &mut cx);
        },
    );
    if let Some(label) = options.press {
        use egui_kittest::kittest::Queryable;
        harness.query_by_label(label).ok_or_else(|| anyhow!("nothing here is called \"{label}\""))?.click();
        harness.run_ok();
    }
    if let Some([x, y]) = options.click {
        harness.drag_at(egui::pos2(x, y));
        harness.drop_at(egui::pos2(x, y));
        harness.run_ok();
    }
    if let Some([x, y]) = options.pointer {
        harness.hover_at(egui::pos2(x, y));
        harness.run_ok();
        // Tooltips wait for a moment of rest.
        harness.run_steps(4);
    }
    take(&mut harness)
}

/// The layer that takes most time.
pub fn longest_layer(profile: &Profile) -> Option<profiler::LayerId> {
    profile.stats.iter().max_by(|a, b| a.time.median.total_cmp(&b.time.median)).map(|s| s.layer)
}
