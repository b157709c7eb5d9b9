//! Pictures of the window and of single views, without a display: for the command line and for tests.

use egui::{Rect, Ui, UiBuilder, Vec2};
use egui_kittest::Harness;
use image::RgbaImage;

use crate::theme;

/// Settling takes a few frames: a first layout, tables that learn their widths, hovers.
const FRAMES: usize = 4;

/// A window of this size without a display, filled by `draw`. Needs an adapter: see [`crate::app::require_adapter`].
pub fn harness<'a, S>(
    size: Vec2,
    dark: bool,
    make: impl FnOnce(&egui::Context) -> S,
    mut draw: impl FnMut(&mut Ui, &mut S) + 'a,
) -> Harness<'a, Option<S>>
where
    S: 'a,
{
    let theme = if dark { egui::Theme::Dark } else { egui::Theme::Light };
    let mut harness = Harness::builder()
        .with_size(size)
        .with_theme(theme)
        .with_render_cursor(false)
        .with_context_setup(|ctx| {
            theme::install(ctx);
            theme::reduce_motion(ctx);
        })
        .wgpu()
        .build_ui_state(
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

/// What the window shows now.
pub fn take<S>(harness: &mut Harness<'_, S>) -> anyhow::Result<RgbaImage> {
    harness.render().map_err(|e| anyhow::anyhow!("the picture can't be drawn: {e}"))
}
