//! A panel as it is on the screen, into a picture: pixels from the screen, or a drawing from what was painted.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use egui::{ColorImage, Context, LayerId, Rect, ScreenshotCallback, ViewportCommand};

use super::App;
use crate::theme::Theme;
use crate::worker::{Command, extension};

/// A picture on its way.
#[derive(Default)]
pub(super) struct Capture {
    /// Which panel to take once it has been drawn in front, and where to.
    wanted: Option<(&'static str, PathBuf)>,
    /// The frame counter at which it was asked for: the panel may have been behind another then.
    since: u64,
    /// The screen, once it is there.
    screen: Arc<Mutex<Option<Arc<ColorImage>>>>,
    /// Which part of the screen, in points, and where to.
    cut: Option<(Rect, f32, PathBuf)>,
}

impl App {
    /// Takes a picture of a panel as soon as it is in front.
    pub(super) fn capture(&mut self, ctx: &Context, view: &'static str, path: PathBuf) {
        self.layout.focus(view);
        self.capture.wanted = Some((view, path));
        self.capture.since = ctx.cumulative_frame_nr();
        ctx.request_repaint();
    }

    /// At the end of a frame: takes the picture that is wanted, if its panel was drawn.
    pub(super) fn take_picture(&mut self, ctx: &Context, theme: &Theme) {
        let Some((view, path)) = self.capture.wanted.take() else { return };
        if ctx.cumulative_frame_nr() < self.capture.since + 2 {
            self.capture.wanted = Some((view, path));
            ctx.request_repaint();
            return;
        }
        let Some(rect) = super::dock::place_of(ctx, view) else {
            self.log.warn(format!("{}: the panel is not on the screen", path.display()));
            return;
        };
        if extension(&path).as_deref() == Some("svg") {
            let shapes: Vec<_> = ctx.graphics(|g| {
                let all = g.get(LayerId::background()).into_iter().flat_map(|list| list.all_entries());
                all.filter(|s| s.clip_rect.intersects(rect)).cloned().collect()
            });
            let svg = crate::svg::svg(&shapes, rect, theme.surface[1], view);
            self.clerk.send(Command::Write(svg.into_bytes(), path));
        } else {
            let (slot, repaint) = (self.capture.screen.clone(), ctx.clone());
            let callback = ScreenshotCallback::new(move |image| {
                *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(image);
                repaint.request_repaint();
            });
            ctx.send_viewport_cmd(ViewportCommand::Screenshot(callback));
            self.capture.cut = Some((rect, ctx.pixels_per_point(), path));
        }
    }

    /// Hands the screen's pixels on, once they are there.
    pub(super) fn finish_picture(&mut self) {
        let image = self.capture.screen.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let (Some(image), Some((rect, scale, path))) = (image, self.capture.cut.take()) {
            let whole = Rect::from_min_size(egui::Pos2::ZERO, image.size.map(|n| n as f32 / scale).into());
            let cut = image.region(&rect.intersect(whole), Some(scale));
            self.clerk.send(Command::WritePixels(Box::new(cut), path));
        }
    }
}
