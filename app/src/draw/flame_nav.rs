//! The flame graph's window on time: zoom, pan, ease.

/// The shortest window, in nanoseconds.
const SHORTEST: f64 = 20.0;
/// The time constant of easing: three of them are within the 120 ms that a movement may take.
const EASE_S: f64 = 0.035;

/// A window that moves towards where it was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Window {
    shown: (f64, f64),
    target: (f64, f64),
    /// What there is to see.
    range: (f64, f64),
}

impl Window {
    /// On all of `range`, at once.
    pub fn on(range: (f64, f64), window: (f64, f64)) -> Self {
        let mut w = Window { range, ..Window::default() };
        w.go(window);
        w.shown = w.target;
        w
    }

    /// What to draw now.
    pub fn shown(&self) -> (f64, f64) {
        self.shown
    }

    /// Where it moves to.
    pub fn target(&self) -> (f64, f64) {
        self.target
    }

    /// Moves to a window, kept to what there is to see.
    pub fn go(&mut self, (from, to): (f64, f64)) {
        let whole = (self.range.1 - self.range.0).max(SHORTEST);
        let margin = whole * 0.02;
        let width = (to - from).clamp(SHORTEST, whole + 2.0 * margin);
        let center = (from + to) / 2.0;
        let from = (center - width / 2.0)
            .clamp(self.range.0 - margin, (self.range.1 + margin - width).max(self.range.0 - margin));
        self.target = (from, from + width);
    }

    /// Shows a stretch with a little room on both sides.
    pub fn fit(&mut self, (from, to): (f64, f64)) {
        let room = (to - from).max(SHORTEST) * 0.01;
        self.go((from - room, to + room));
    }

    /// Zooms by a factor (above 1: closer) with the time `anchor` staying in place.
    pub fn zoom(&mut self, factor: f64, anchor: f64) {
        let (from, to) = self.target;
        let whole = (self.range.1 - self.range.0).max(SHORTEST) * 1.04;
        let width = ((to - from) / factor).clamp(SHORTEST, whole);
        let part = ((anchor - from) / (to - from)).clamp(0.0, 1.0);
        self.go((anchor - part * width, anchor + (1.0 - part) * width));
    }

    /// Moves by a time.
    pub fn pan(&mut self, by: f64) {
        self.go((self.target.0 + by, self.target.1 + by));
    }

    /// Shows where it is now without easing: what is dragged follows the hand.
    pub fn snap(&mut self) {
        self.shown = self.target;
    }

    /// Moves towards the target for a frame of `dt` seconds; true while there is way to go.
    pub fn step(&mut self, dt: f64, animate: bool) -> bool {
        let close = (self.target.1 - self.target.0) * 1e-3;
        let far = |a: f64, b: f64| (a - b).abs() > close;
        if !animate || !(far(self.shown.0, self.target.0) || far(self.shown.1, self.target.1)) {
            self.shown = self.target;
            return false;
        }
        let part = 1.0 - (-dt / EASE_S).exp();
        self.shown.0 += (self.target.0 - self.shown.0) * part;
        self.shown.1 += (self.target.1 - self.shown.1) * part;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zoom_keeps_its_anchor_and_its_bounds() {
        let mut w = Window::on((0.0, 1e6), (0.0, 1e6));
        w.zoom(4.0, 250_000.0);
        let (from, to) = w.target();
        assert!((to - from - 250_000.0).abs() < 1e-6);
        assert!(((250_000.0 - from) / (to - from) - 0.25).abs() < 1e-9);
        for _ in 0..100 {
            w.zoom(10.0, 250_000.0);
        }
        let (from, to) = w.target();
        assert!((to - from - SHORTEST).abs() < 1e-6 && from < 250_000.0 && to > 250_000.0);
        for _ in 0..100 {
            w.zoom(0.1, 0.0);
            w.pan(-1e9);
        }
        let (from, to) = w.target();
        assert!(from >= -20_001.0 && to <= 1_020_001.0 && to - from >= 1e6, "{from} {to}");
    }

    #[test]
    fn easing_ends_within_its_time() {
        let mut w = Window::on((0.0, 1e6), (0.0, 1e6));
        w.go((1000.0, 2000.0));
        assert!(w.step(0.016, true));
        assert!(w.shown() != w.target());
        let mut time = 0.016;
        while w.step(0.016, true) {
            time += 0.016;
        }
        assert!(time < 0.5, "{time}");
        assert_eq!(w.shown(), w.target());
        w.go((0.0, 10_000.0));
        assert!(!w.step(0.016, false));
        assert_eq!(w.shown(), w.target());
        w.pan(500.0);
        w.snap();
        assert_eq!(w.shown(), w.target());
    }
}
