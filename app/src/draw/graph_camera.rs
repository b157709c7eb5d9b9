//! The graph view's window on its canvas: zoom, pan, ease.

use egui::{Pos2, Rect, Vec2};

/// The least zoom: a canvas of a hundred thousand points fits a window.
const SMALLEST: f32 = 0.004;
/// The largest zoom.
const LARGEST: f32 = 2.0;
/// From here on boxes show all of their words.
const READABLE: f32 = 0.82;
/// The time constant of easing: three of them are within the 120 ms that a movement may take.
const EASE_S: f32 = 0.035;

/// Where on the canvas the middle of the window is, and how large things are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lens {
    /// What is in the middle.
    pub middle: Pos2,
    /// Points of the window per point of the canvas.
    pub scale: f32,
}

impl Lens {
    /// From the canvas to the window.
    pub fn point(&self, window: Rect, p: Pos2) -> Pos2 {
        window.center() + (p - self.middle) * self.scale
    }

    /// From the canvas to the window.
    pub fn rect(&self, window: Rect, r: Rect) -> Rect {
        Rect::from_min_max(self.point(window, r.min), self.point(window, r.max))
    }

    /// From the window to the canvas.
    pub fn canvas(&self, window: Rect, p: Pos2) -> Pos2 {
        self.middle + (p - window.center()) / self.scale
    }
}

/// A lens that moves towards where it was sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Camera {
    shown: Lens,
    target: Lens,
}

impl Default for Camera {
    fn default() -> Self {
        let lens = Lens { middle: Pos2::ZERO, scale: 1.0 };
        Camera { shown: lens, target: lens }
    }
}

impl Camera {
    /// What to draw with now.
    pub fn shown(&self) -> Lens {
        self.shown
    }

    /// Where it moves to.
    pub fn target(&self) -> Lens {
        self.target
    }

    /// Shows all of `part` of the canvas in a window of this size, at most as large as `most`.
    pub fn fit(&mut self, part: Rect, window: Vec2, most: f32) {
        let room = part.expand(16.0);
        let scale = (window.x / room.width().max(1.0)).min(window.y / room.height().max(1.0));
        self.target = Lens { middle: part.center(), scale: scale.clamp(SMALLEST, most.min(LARGEST)) };
    }

    /// Shows a new canvas: all of it if it can be read so, else its beginning.
    pub fn begin(&mut self, canvas: Rect, window: Vec2) {
        self.fit(canvas, window, 1.0);
        if self.target.scale < 0.6 {
            let scale = (window.x / (canvas.width() + 32.0)).clamp(READABLE, 1.0);
            let top = canvas.center_top() + Vec2::new(0.0, window.y / scale * 0.5 - 16.0);
            self.target = Lens { middle: top, scale };
        }
    }

    /// Moves until `part` is within the window, and no further; closer or further away only if it would be too small
    /// to read or does not fit.
    pub fn reveal(&mut self, part: Rect, window: Vec2) {
        let fits = (window.x / part.width().max(1.0)).min(window.y / part.height().max(1.0)) * 0.9;
        let scale = self.target.scale.max(READABLE.min(fits)).min(fits).clamp(SMALLEST, LARGEST);
        let half = (window / scale * 0.5 - part.size() * 0.5 - Vec2::splat(24.0 / scale)).max(Vec2::ZERO);
        let near = part.center();
        let middle = self.target.middle.clamp(near - half, near + half);
        self.target = Lens { middle, scale };
    }

    /// Zooms by a factor (above 1: closer) around a point of the canvas.
    pub fn zoom(&mut self, factor: f32, anchor: Pos2) {
        let scale = (self.target.scale * factor).clamp(SMALLEST, LARGEST);
        let kept = self.target.scale / scale;
        self.target = Lens { middle: anchor + (self.target.middle - anchor) * kept, scale };
    }

    /// Moves by so many points of the window.
    pub fn pan(&mut self, by: Vec2) {
        self.target.middle += by / self.target.scale;
    }

    /// Goes where `middle` is.
    pub fn go(&mut self, middle: Pos2) {
        self.target.middle = middle;
    }

    /// Keeps what it looks at in place when the canvas under it moves.
    pub fn shift(&mut self, by: Vec2) {
        self.shown.middle += by;
        self.target.middle += by;
    }

    /// Keeps a part of the canvas in sight: its edge, at least.
    pub fn keep_in(&mut self, bounds: Rect) {
        if bounds.is_finite() && bounds.is_positive() {
            self.target.middle = self.target.middle.clamp(bounds.min, bounds.max);
        }
    }

    /// Shows where it is now without easing: what is dragged follows the hand.
    pub fn snap(&mut self) {
        self.shown = self.target;
    }

    /// Moves towards the target for a frame of `dt` seconds; true while there is way to go.
    pub fn step(&mut self, dt: f32, animate: bool) -> bool {
        let (a, b) = (self.shown, self.target);
        let far = (a.middle - b.middle).length() * b.scale > 0.5 || (a.scale / b.scale - 1.0).abs() > 2e-3;
        if !animate || !far {
            self.shown = self.target;
            return false;
        }
        let part = 1.0 - (-dt / EASE_S).exp();
        let scale = a.scale * (b.scale / a.scale).powf(part);
        self.shown = Lens { middle: a.middle + (b.middle - a.middle) * part, scale };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use egui::{pos2, vec2};

    #[test]
    fn zooming_keeps_the_point_under_the_pointer() {
        let window = Rect::from_min_size(pos2(10.0, 20.0), vec2(800.0, 600.0));
        let mut camera = Camera::default();
        camera.fit(Rect::from_min_size(Pos2::ZERO, vec2(400.0, 9000.0)), window.size(), 1.0);
        let under = pos2(100.0, 50.0);
        for factor in [1.5, 3.0, 0.1, 1e-9, 1e9] {
            let anchor = camera.target().canvas(window, under);
            camera.zoom(factor, anchor);
            let after = camera.target().point(window, anchor);
            assert!((after - under).length() < 0.1, "{factor}: {after:?}");
        }
        assert_eq!(camera.target().scale, LARGEST);
    }

    #[test]
    fn what_is_revealed_is_within_the_window_and_no_more_moved_than_needed() {
        let window = Rect::from_min_size(Pos2::ZERO, vec2(800.0, 600.0));
        let mut camera = Camera::default();
        for part in [
            Rect::from_min_size(pos2(5000.0, -300.0), vec2(120.0, 40.0)),
            Rect::from_min_size(pos2(0.0, 0.0), vec2(20.0, 50_000.0)),
        ] {
            camera.reveal(part, window.size());
            assert!(window.contains_rect(camera.target().rect(window, part)), "{:?}", camera.target());
            let before = camera.target();
            camera.reveal(part, window.size());
            assert!((camera.target().middle - before.middle).length() < 0.1);
        }
    }

    #[test]
    fn easing_arrives() {
        let mut camera = Camera::default();
        camera.zoom(0.1, pos2(30.0, 4000.0));
        assert!(camera.step(0.016, true));
        let mut time = 0.016;
        while camera.step(0.016, true) {
            time += 0.016;
        }
        assert!(time < 0.6, "{time}");
        assert_eq!(camera.shown(), camera.target());
    }
}
