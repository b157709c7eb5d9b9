//! What lies over the window while a file is dragged over it.

use egui::{Align2, Color32, Context, Id, LayerId, Order, Stroke, StrokeKind};

use super::App;
use crate::theme::{self, Theme};

impl App {
    pub(super) fn drop_overlay_ui(&self, ctx: &Context, theme: &Theme) {
        let files = ctx.input(|i| i.raw.hovered_files.len());
        if files == 0 {
            return;
        }
        let painter = ctx.layer_painter(LayerId::new(Order::Foreground, Id::unique("drop")));
        let rect = ctx.content_rect();
        painter.rect_filled(rect, 0.0, Color32::from_black_alpha(if theme.dark { 160 } else { 96 }));
        painter.rect_stroke(rect.shrink(12.0), 8.0, Stroke::new(1.0, theme.focus), StrokeKind::Inside);
        let text = if files == 1 { "Drop to open" } else { "Drop to open them" };
        painter.text(rect.center(), Align2::CENTER_CENTER, text, theme::headline(), Color32::WHITE);
    }
}
