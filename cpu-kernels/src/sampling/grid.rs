//! GridSample: an output element for each place of a grid, between the elements of the input.

use crate::error::{KernelError, expect_len};
use crate::number::Number;
use crate::pool::Pool;
use crate::shape::numel;
use crate::split::SharedMut;

/// How the elements around a place are weighed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Interpolation {
    /// The nearest alone; halves go to the even one.
    Nearest,
    /// Two in each dimension.
    Linear,
    /// Four in each dimension (Keys' kernel with a = -0.75).
    Cubic,
}

/// What lies outside the input.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outside {
    /// Zeros.
    Zeros,
    /// The border's elements.
    Border,
    /// The input mirrored.
    Reflection,
}

/// The settings of [`grid_sample`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Grid {
    /// Weights.
    pub interpolation: Interpolation,
    /// Padding.
    pub outside: Outside,
    /// True if -1 and 1 are the centres of the outermost elements, else their outer edges.
    pub align_corners: bool,
}

/// Elements of one dimension that count for a place: (index, weight), the index -1 outside.
type Taps = ([(i64, f64); 4], usize);

/// The most spatial dimensions that are handled (4 to the power of it are the elements that one output may read).
const MOST_DIMS: usize = 4;

impl Grid {
    fn borders(&self, len: usize) -> (f64, f64) {
        if self.align_corners { (0.0, len as f64 - 1.0) } else { (-0.5, len as f64 - 0.5) }
    }

    /// The index that element `i` stands for.
    fn element(&self, i: f64, len: usize) -> i64 {
        let last = len as f64 - 1.0;
        let (low, high) = self.borders(len);
        match self.outside {
            Outside::Zeros if !(0.0..=last).contains(&i) => -1,
            Outside::Zeros => i as i64,
            Outside::Border => i.clamp(0.0, last) as i64,
            Outside::Reflection => reflect(i, low, high).clamp(0.0, last) as i64,
        }
    }

    /// The taps of a place `at` among `len` elements.
    fn taps(&self, at: f64, len: usize) -> Taps {
        let mut x = if self.interpolation == Interpolation::Nearest { at.round_ties_even() } else { at };
        let (low, high) = self.borders(len);
        if !(low..=high).contains(&x) {
            x = match self.outside {
                Outside::Zeros => x,
                Outside::Border => x.max(0.0).min(len as f64 - 1.0),
                Outside::Reflection => reflect(x, low, high),
            };
        }
        if !x.is_finite() {
            // No place at all: nothing outside zeros, else the first element.
            let i = if self.outside == Outside::Zeros { -1 } else { 0 };
            return ([(i, 1.0); 4], 1);
        }
        let first = x.floor();
        let t = x - first;
        let e = |d: f64| self.element(first + d, len);
        match self.interpolation {
            Interpolation::Nearest => ([(self.element(x, len), 1.0); 4], 1),
            Interpolation::Linear => ([(e(0.0), 1.0 - t), (e(1.0), t), (0, 0.0), (0, 0.0)], 2),
            Interpolation::Cubic => {
                let a = -0.75;
                let far = |x: f64| ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a;
                let near = |x: f64| ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
                ([(e(-1.0), far(t + 1.0)), (e(0.0), near(t)), (e(1.0), near(1.0 - t)), (e(2.0), far(2.0 - t))], 4)
            }
        }
    }

    /// From -1..1 to elements, in the precision of the grid: where it rounds decides which element is nearest.
    fn place<T: Number>(&self, v: T, len: usize) -> f64 {
        if T::NAME == "f32" {
            let (v, n) = (v.to_f64() as f32, len as f32);
            f64::from(if self.align_corners { (v + 1.0) / 2.0 * (n - 1.0) } else { ((v + 1.0) * n - 1.0) / 2.0 })
        } else {
            let (v, n) = (v.to_f64(), len as f64);
            if self.align_corners { (v + 1.0) / 2.0 * (n - 1.0) } else { ((v + 1.0) * n - 1.0) / 2.0 }
        }
    }
}

/// A place mirrored at the borders until it lies between them.
fn reflect(x: f64, low: f64, high: f64) -> f64 {
    let range = high - low;
    if range <= 0.0 {
        return low;
    }
    let turned = (x - low).abs() % (2.0 * range);
    low + if turned > range { 2.0 * range - turned } else { turned }
}

/// x is [n, c, space..], grid [n, places.., space.len()] with the last dimension's coordinate first, y [n, c, places..];
/// `places` is the product of the grid's inner dimensions.
pub fn grid_sample<T: Number>(
    pool: &Pool,
    how: Grid,
    [n, c]: [usize; 2],
    space: &[usize],
    places: usize,
    x: &[T],
    grid: &[T],
    y: &mut [T],
) -> Result<(), KernelError> {
    let d = space.len();
    if d == 0 || d > MOST_DIMS {
        return Err(KernelError::setting(format!("a grid over {d} dimensions, 1 to {MOST_DIMS} are handled")));
    }
    let plane = numel(space)?;
    expect_len("the input", x.len(), numel(&[n, c, plane])?)?;
    expect_len("the grid", grid.len(), numel(&[n, places, d])?)?;
    expect_len("the output", y.len(), numel(&[n, c, places])?)?;
    if y.is_empty() {
        return Ok(());
    }
    if plane == 0 {
        return Err(KernelError::shape("an empty input can't be sampled"));
    }
    let out = SharedMut::new(y);
    pool.for_ranges(n * places, 64, &|range| {
        let mut found: Vec<(usize, f64)> = Vec::new();
        for at in range {
            let (batch, place) = (at / places, at % places);
            found.clear();
            found.push((0, 1.0));
            for (k, &len) in space.iter().enumerate() {
                let (taps, count) = how.taps(how.place(grid[at * d + d - 1 - k], len), len);
                let before = std::mem::take(&mut found);
                for (base, weight) in before {
                    for &(i, w) in taps[..count].iter().filter(|t| t.0 >= 0) {
                        found.push((base * len + i as usize, weight * w));
                    }
                }
            }
            for channel in 0..c {
                let from = &x[(batch * c + channel) * plane..][..plane];
                let v = match &found[..] {
                    // One element, unchanged: it need not be a number.
                    &[(i, 1.0)] => from[i],
                    all => T::from_f64(all.iter().map(|&(i, w)| from[i].to_f64() * w).sum()),
                };
                let to = (batch * c + channel) * places + place;
                // SAFETY: each output element belongs to one place and one channel, and a place to one range.
                unsafe { out.slice(to..to + 1)[0] = v };
            }
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mode_on_a_row() {
        let pool = Pool::new(2);
        let x = [1f32, 2.0, 4.0];
        let cases = [
            (Interpolation::Nearest, Outside::Zeros, true, [-1.0, 0.4, 1.7], [1.0, 2.0, 0.0]),
            (Interpolation::Linear, Outside::Zeros, true, [-1.0, 0.5, 1.5], [1.0, 3.0, 2.0]),
            (Interpolation::Linear, Outside::Border, true, [-3.0, 0.5, 9.0], [1.0, 3.0, 4.0]),
            (Interpolation::Nearest, Outside::Reflection, true, [2.0, -2.0, f32::NAN], [2.0, 2.0, 1.0]),
            (Interpolation::Linear, Outside::Zeros, false, [f32::NAN, f32::INFINITY, -1.0], [0.0, 0.0, 0.5]),
            (Interpolation::Cubic, Outside::Border, true, [-1.0, 0.0, 1.0], [1.0, 2.0, 4.0]),
        ];
        for (interpolation, outside, align_corners, grid, want) in cases {
            let how = Grid { interpolation, outside, align_corners };
            let mut y = [9f32; 3];
            grid_sample(&pool, how, [1, 1], &[3], 3, &x, &grid, &mut y).unwrap();
            for (a, b) in y.iter().zip(want) {
                assert!((a - b).abs() < 1e-5, "{how:?}: {y:?}, not {want:?}");
            }
        }
    }

    #[test]
    fn the_last_dimension_comes_first() {
        let mut y = [0f64; 1];
        let how = Grid { interpolation: Interpolation::Linear, outside: Outside::Zeros, align_corners: true };
        grid_sample(&Pool::new(1), how, [1, 1], &[2, 2], 1, &[1.0, 2.0, 3.0, 4.0], &[1.0, -1.0], &mut y).unwrap();
        assert_eq!(y, [2.0]);
        assert!(grid_sample(&Pool::new(1), how, [1, 1], &[0, 2], 1, &[], &[1.0, -1.0], &mut y).is_err());
    }
}
