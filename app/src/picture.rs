//! Pictures of the window and of single views, without a display: for the command line and for tests.

use egui::{Rect, Ui, UiBuilder, Vec2};
use egui_kittest::Harness;
use image::RgbaImage;

use crate::theme;

/// Settling takes a few frames: a first layout, tables that learn their widths, hovers.
const FRAMES: usize = 4;

/// What is wanted of a window without a display.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    /// Pixels; needs an adapter: see [`crate::app::require_adapter`].
    Pixels,
    /// Only what would be painted.
    Shapes,
}

/// A window of this size without a display, filled by `draw`, for pictures.
pub fn harness<'a, S: 'a>(
    size: Vec2,
    dark: bool,
    make: impl FnOnce(&egui::Context) -> S,
    draw: impl FnMut(&mut Ui, &mut S) + 'a,
) -> Harness<'a, Option<S>> {
    harness_for(Paint::Pixels, size, dark, make, draw)
}

/// As [`harness`], for what `paint` says.
pub fn harness_for<'a, S>(
    paint: Paint,
    size: Vec2,
    dark: bool,
    make: impl FnOnce(&egui::Context) -> S,
    mut draw: impl FnMut(&mut Ui, &mut S) + 'a,
) -> Harness<'a, Option<S>>
where
    S: 'a,
{
    let theme = if dark { egui::Theme::Dark } else { egui::Theme::Light };
    let builder =
        Harness::builder().with_size(size).with_theme(theme).with_render_cursor(false).with_context_setup(|ctx| {
            theme::install(ctx);
            theme::reduce_motion(ctx);
        });
    let builder = if paint == Paint::Pixels { builder.wgpu() } else { builder };
    let mut harness = builder.build_ui_state(
        move |ui, state: &mut Option<S>| {
            let Some(state) = state else { return };
            // All of the window, without the harness's margin.
            let rect: Rect = ui.ctx().content_rect();
            let mut whole = ui.new_child(UiBuilder::new().max_rect(rect));
            whole.set_clip_rect(rect);
            draw(&mut whole, state);
        },
        None,
    );
    let state = make(&harness.ctx);
    *harness.state_mut() = Some(state);
    harness.run_steps(FRAMES);
    harness
}

/// What the window shows now, as an SVG element.
pub fn svg<S>(harness: &Harness<'_, S>, name: &str) -> String {
    let background = harness.ctx.global_style().visuals.panel_fill;
    crate::svg::svg(&harness.output().shapes, harness.ctx.content_rect(), background, name)
}

/// What the window shows now.
pub fn take<S>(harness: &mut Harness<'_, S>) -> anyhow::Result<RgbaImage> {
    harness.render().map_err(|e| anyhow::anyhow!("the picture can't be drawn: {e}"))
}
