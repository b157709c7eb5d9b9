//! The part of the run that the memory charts show.

/// A part of an axis from 0 to `end`; all of it unless zoomed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Window {
    part: Option<(f64, f64)>,
}

/// No closer than this part of a step, or of the whole on a time axis.
const CLOSEST: f64 = 1.0;

impl Window {
    /// From where to where.
    pub fn range(&self, end: f64) -> (f64, f64) {
        let (from, to) = self.part.unwrap_or((0.0, end));
        let (from, to) = (from.clamp(0.0, end), to.clamp(0.0, end));
        if to > from { (from, to) } else { (0.0, end) }
    }

    /// Less than all is shown.
    pub fn is_zoomed(&self) -> bool {
        self.part.is_some()
    }

    /// Shows all.
    pub fn fit(&mut self) {
        self.part = None;
    }

    /// Shows `factor` times less, and keeps `at` where it is. `unit` is the smallest thing there is to see.
    pub fn zoom(&mut self, factor: f64, at: f64, end: f64, unit: f64) {
        if !(factor.is_finite() && factor > 0.0 && end > 0.0) {
            return;
        }
        let (from, to) = self.range(end);
        let width = ((to - from) / factor).max((unit * CLOSEST).min(end));
        if width >= end {
            return self.fit();
        }
        let before = ((at - from) / (to - from)).clamp(0.0, 1.0);
        let from = (at - before * width).clamp(0.0, end - width);
        self.part = Some((from, from + width));
    }

    /// Moves by so much, without leaving the axis.
    pub fn pan(&mut self, by: f64, end: f64) {
        let Some((from, to)) = self.part else { return };
        let width = to - from;
        let from = (from + by).clamp(0.0, (end - width).max(0.0));
        self.part = Some((from, from + width));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zooming_keeps_the_point_and_stays_inside() {
        let mut w = Window::default();
        assert_eq!(w.range(80.0), (0.0, 80.0));
        w.zoom(4.0, 20.0, 80.0, 1.0);
        assert_eq!(w.range(80.0), (15.0, 35.0));
        w.pan(-100.0, 80.0);
        assert_eq!(w.range(80.0), (0.0, 20.0));
        w.pan(1000.0, 80.0);
        assert_eq!(w.range(80.0), (60.0, 80.0));
        w.zoom(1e9, 70.0, 80.0, 1.0);
        let (from, to) = w.range(80.0);
        assert!((to - from - 1.0).abs() < 1e-9 && (from..=to).contains(&70.0), "{from} {to}");
        w.zoom(f64::NAN, 1.0, 80.0, 1.0);
        w.zoom(1e-9, 70.0, 80.0, 1.0);
        assert!(!w.is_zoomed());
        w.pan(5.0, 80.0);
        assert_eq!(w.range(80.0), (0.0, 80.0));
        // A shorter trace than the one that was zoomed.
        w.zoom(8.0, 79.0, 80.0, 1.0);
        assert_eq!(w.range(3.0), (0.0, 3.0));
    }
}
