//! Draws views and whole windows into pictures with no display, for the `screenshot` command and the tests.

use anyhow::anyhow;
use egui_kittest::Harness;
use image::RgbaImage;
use studies::{Inspection, Settings};

use crate::theme::{self, Theme};
use crate::view::{Profile, Selection, View, ViewCx};
use crate::views;

/// What a picture is made with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// Width and height in points.
    pub size: [f32; 2],
    /// Pixels per point.
    pub scale: f32,
    /// Dark or light.
    pub theme: egui::Theme,
}

impl Default for Options {
    fn default() -> Self {
        Options { size: [900.0, 600.0], scale: 1.0, theme: egui::Theme::Dark }
    }
}

/// A harness that draws `ui` with our fonts and theme and without motion.
pub fn harness<'a>(options: Options, mut ui: impl FnMut(&mut egui::Ui) + 'a) -> Harness<'a> {
    Harness::builder()
        .with_size(egui::Vec2::from(options.size))
        .with_pixels_per_point(options.scale)
        .with_theme(options.theme)
        .with_max_steps(16)
        .with_context_setup(|ctx| {
            theme::install(ctx);
            theme::reduce_motion(ctx);
        })
        .wgpu()
        .build_ui(move |panel| ui(panel))
}

/// A picture of anything that draws itself. Fails where there is no adapter to draw with.
pub fn render<'a>(options: Options, ui: impl FnMut(&mut egui::Ui) + 'a) -> anyhow::Result<RgbaImage> {
    let mut harness = harness(options, ui);
    harness.run_ok();
    harness.render().map_err(|e| anyhow!("can't draw: {e}"))
}

/// Draws one view into all of the window, on a panel's surface.
pub fn view_ui(
    ui: &mut egui::Ui,
    view: &mut dyn View,
    profile: Option<&Profile>,
    model: Option<&Inspection>,
    settings: &mut Settings,
    selection: &mut Selection,
) {
    let theme = Theme::of(ui.ctx());
    let mut actions = Vec::new();
    selection.begin_frame();
    let mut cx = ViewCx { profile, model, settings, selection, theme, actions: &mut actions };
    let rect = ui.max_rect();
    ui.painter().rect_filled(rect, 0.0, theme.surface[1]);
    view.ui(ui, &mut cx);
}

/// A picture of one view by its id, with the longest layer selected.
pub fn render_view(
    id: &str,
    profile: Option<&Profile>,
    model: Option<&Inspection>,
    options: Options,
) -> anyhow::Result<RgbaImage> {
    let mut view = views::all().into_iter().find(|v| v.id() == id).ok_or_else(|| {
        let ids: Vec<&str> = views::all().iter().map(|v| v.id()).collect();
        anyhow!("\"{id}\" is no view: use one of {}", ids.join(", "))
    })?;
    let (mut settings, mut selection) = (Settings::default(), Selection::default());
    selection.select(profile.and_then(longest_layer));
    render(options, move |ui| view_ui(ui, view.as_mut(), profile, model, &mut settings, &mut selection))
}

/// The layer with the longest median.
pub fn longest_layer(profile: &Profile) -> Option<profiler::LayerId> {
    profile.stats.iter().max_by(|a, b| a.time.median.total_cmp(&b.time.median)).map(|s| s.layer)
}
