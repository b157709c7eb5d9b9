//! Resizing: nearest neighbour for any type, linear and cubic for f32, over any number of dimensions.

use super::by_size;
use super::mapped::mapped;
use crate::error::{KernelError, expect_len};
use crate::pool::Pool;
use crate::shape::{expect_bytes, numel};
use crate::split::SharedMut;

/// How an output index becomes a coordinate of the input: ONNX's `coordinate_transformation_mode`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum CoordinateMode {
    /// (i + 0.5) / scale - 0.5.
    HalfPixel,
    /// As `HalfPixel`, about the centre where the output size was rounded.
    HalfPixelSymmetric,
    /// As `HalfPixel`, but 0 for an output of one element.
    PytorchHalfPixel,
    /// i * (n_in - 1) / (n_out - 1).
    AlignCorners,
    /// i / scale.
    Asymmetric,
}

/// Which neighbour is nearest: ONNX's `nearest_mode`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum NearestMode {
    /// Halves down.
    RoundPreferFloor,
    /// Halves up.
    RoundPreferCeil,
    /// The one before.
    Floor,
    /// The one after.
    Ceil,
}

/// One dimension of a resize.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Resize {
    /// Elements of the input.
    pub from: usize,
    /// Elements of the output.
    pub to: usize,
    /// The scale as given; `to / from` if a size was given instead.
    pub scale: f32,
}

impl Resize {
    /// The dimension scaled: ONNX's floor(from * scale) elements.
    pub fn by_scale(from: usize, scale: f32) -> Result<Self, KernelError> {
        let to = (from as f64 * f64::from(scale)).floor();
        if scale.is_nan() || scale <= 0.0 || to > isize::MAX as f64 {
            return Err(KernelError::Setting(format!("a scale of {scale} for {from} elements")));
        }
        Ok(Resize { from, to: to as usize, scale })
    }

    /// The dimension brought to a size.
    pub fn by_size(from: usize, to: usize) -> Self {
        Resize { from, to, scale: (to as f64 / from as f64) as f32 }
    }

    /// Where output element `i` lies among the input's.
    fn coordinate(self, mode: CoordinateMode, i: usize) -> f32 {
        let (i, from, to) = (i as f32, self.from as f32, self.to as f32);
        let half_pixel = (i + 0.5) / self.scale - 0.5;
        match mode {
            // The identity must not suffer from rounding.
            _ if self.scale == 1.0 && self.from == self.to => i,
            CoordinateMode::HalfPixel => half_pixel,
            CoordinateMode::PytorchHalfPixel => {
                if self.to > 1 {
                    half_pixel
                } else {
                    0.0
                }
            }
            CoordinateMode::HalfPixelSymmetric => {
                let adjustment = to / (self.scale * from);
                from / 2.0 * (1.0 - adjustment) + half_pixel
            }
            CoordinateMode::AlignCorners => {
                // A scale may ask for a fraction of an element more than there are.
                let asked = self.scale * from;
                let to = if (asked - to).abs() < 1e-3 { to } else { asked };
                if self.to > 1 || to > 1.0 { i * (from - 1.0) / (to - 1.0) } else { 0.0 }
            }
            CoordinateMode::Asymmetric => i / self.scale,
        }
    }

    fn check(dims: &[Resize]) -> Result<(Vec<usize>, Vec<usize>), KernelError> {
        if let Some(d) = dims.iter().find(|d| d.to > 0 && (d.from == 0 || d.scale.is_nan() || d.scale <= 0.0)) {
            return Err(KernelError::Setting(format!(
                "{} elements do not resize to {} (scale {})",
                d.from, d.to, d.scale
            )));
        }
        Ok((dims.iter().map(|d| d.from).collect(), dims.iter().map(|d| d.to).collect()))
    }
}

/// Each output element is the nearest input element.
pub fn resize_nearest(
    pool: &Pool,
    elem: usize,
    dims: &[Resize],
    mode: CoordinateMode,
    nearest: NearestMode,
    x: &[u8],
    y: &mut [u8],
) -> Result<(), KernelError> {
    let (shape, out) = Resize::check(dims)?;
    expect_bytes("the input", x, &shape, elem)?;
    expect_bytes("the output", y, &out, elem)?;
    if y.is_empty() {
        return Ok(());
    }
    let index = |d: Resize, i: usize| {
        let c = d.coordinate(mode, i);
        let i = match nearest {
            NearestMode::RoundPreferFloor => (c - 0.5).ceil(),
            NearestMode::RoundPreferCeil => (c + 0.5).floor(),
            NearestMode::Floor => c.floor(),
            NearestMode::Ceil => c.ceil(),
        };
        (i as i64).clamp(0, d.from as i64 - 1)
    };
    let maps: Vec<Vec<i64>> = dims.iter().map(|&d| (0..d.to).map(|i| index(d, i)).collect()).collect();
    by_size!(elem, mapped(pool, &shape, &maps, &[], x, y))
}

/// How [`resize_filtered`] weighs the neighbours.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Filter {
    /// The curve.
    pub kernel: FilterKernel,
    /// Neighbours outside the input weigh nothing (and the others more), instead of repeating the edge.
    pub exclude_outside: bool,
    /// Where the output is smaller, the curve is widened so that all of the input counts.
    pub antialias: bool,
}

/// A curve of weights over the distance in elements.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum FilterKernel {
    /// 1 - d.
    Linear,
    /// Keys' cubic with its parameter a; -0.75 in ONNX, unless told.
    Cubic(f32),
}

impl FilterKernel {
    fn reach(self) -> f64 {
        match self {
            FilterKernel::Linear => 1.0,
            FilterKernel::Cubic(_) => 2.0,
        }
    }

    fn weight(self, distance: f64) -> f64 {
        let d = distance.abs();
        match self {
            FilterKernel::Linear => (1.0 - d).max(0.0),
            FilterKernel::Cubic(a) => {
                let a = f64::from(a);
                if d <= 1.0 {
                    ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0
                } else if d < 2.0 {
                    (((d - 5.0) * d + 8.0) * d - 4.0) * a
                } else {
                    0.0
                }
            }
        }
    }
}

impl Filter {
    /// For each output element of `d`, the input elements that make it and their weights.
    fn taps(self, d: Resize, mode: CoordinateMode) -> Vec<Vec<(usize, f32)>> {
        let stretch = if self.antialias { (1.0 / f64::from(d.scale)).max(1.0) } else { 1.0 };
        let reach = (self.kernel.reach() * stretch).min(d.from as f64 + 2.0);
        let last = d.from as i64 - 1;
        let taps = |i: usize| {
            let c = f64::from(d.coordinate(mode, i)).clamp(-reach, d.from as f64 + reach);
            let mut taps: Vec<(usize, f64)> = vec![];
            for k in (c - reach).floor() as i64 + 1..=(c + reach).floor() as i64 {
                if self.exclude_outside && !(0..=last).contains(&k) {
                    continue;
                }
                let (at, w) = (k.clamp(0, last) as usize, self.kernel.weight((k as f64 - c) / stretch));
                match taps.last_mut() {
                    Some(tap) if tap.0 == at => tap.1 += w,
                    _ => taps.push((at, w)),
                }
            }
            let sum: f64 = taps.iter().map(|t| t.1).sum();
            taps.iter().map(|&(at, w)| (at, (w / sum) as f32)).filter(|t| t.1 != 0.0).collect()
        };
        (0..d.to).map(taps).collect()
    }
}

/// Interpolation along every dimension whose size or scale changes, one after the other.
pub fn resize_filtered(
    pool: &Pool,
    dims: &[Resize],
    mode: CoordinateMode,
    filter: Filter,
    x: &[f32],
    y: &mut [f32],
) -> Result<(), KernelError> {
    let (mut shape, out) = Resize::check(dims)?;
    expect_len("the input", x.len(), numel(&shape)?)?;
    expect_len("the output", y.len(), numel(&out)?)?;
    if y.is_empty() {
        return Ok(());
    }
    let mut data: Option<Vec<f32>> = None;
    for (axis, &d) in dims.iter().enumerate().filter(|(_, d)| d.from != d.to || d.scale != 1.0) {
        let taps = filter.taps(d, mode);
        let source = data.as_deref().unwrap_or(x);
        let outer = numel(&shape[..axis])?;
        let inner = numel(&shape[axis + 1..])?;
        shape[axis] = d.to;
        let mut next = vec![0f32; numel(&shape)?];
        let to = SharedMut::new(&mut next);
        pool.for_ranges(outer * d.to, ((8 << 10) / inner).max(1), &|range| {
            for row in range {
                let (o, taps) = (row / d.to, &taps[row % d.to]);
                // SAFETY: each row is a part of its own, of zeros.
                let out = unsafe { to.slice(row * inner..(row + 1) * inner) };
                for &(at, w) in taps {
                    for (out, &v) in out.iter_mut().zip(&source[(o * d.from + at) * inner..]) {
                        *out += v * w;
                    }
                }
            }
        });
        data = Some(next);
    }
    y.copy_from_slice(data.as_deref().unwrap_or(x));
    Ok(())
}

/// Linear interpolation, edges repeated.
pub fn resize_linear(
    pool: &Pool,
    dims: &[Resize],
    mode: CoordinateMode,
    x: &[f32],
    y: &mut [f32],
) -> Result<(), KernelError> {
    let filter = Filter { kernel: FilterKernel::Linear, exclude_outside: false, antialias: false };
    resize_filtered(pool, dims, mode, filter, x, y)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::{Rng, rel_err};

    #[test]
    fn resizing() {
        let pool = Pool::new(3);
        let nearest = |mode, near, dims: &[Resize], x: &[u8]| {
            let mut y = vec![0; dims.iter().map(|d| d.to).product()];
            resize_nearest(&pool, 1, dims, mode, near, x, &mut y).unwrap();
            y
        };
        let double = Resize::by_scale(2, 2.0).unwrap();
        let near = NearestMode::RoundPreferFloor;
        assert_eq!(
            nearest(CoordinateMode::HalfPixel, near, &[double, Resize::by_size(2, 3)], &[1, 2, 3, 4]),
            [1, 1, 2, 1, 1, 2, 3, 3, 4, 3, 3, 4]
        );
        assert_eq!(
            nearest(CoordinateMode::Asymmetric, NearestMode::Floor, &[Resize::by_size(4, 2)], &[1, 2, 3, 4]),
            [1, 3]
        );
        assert_eq!(
            nearest(CoordinateMode::Asymmetric, NearestMode::Ceil, &[Resize::by_size(3, 6)], &[1, 2, 3]),
            [1, 2, 2, 3, 3, 3]
        );
        assert_eq!(
            nearest(CoordinateMode::AlignCorners, NearestMode::RoundPreferCeil, &[Resize::by_size(3, 5)], &[1, 2, 3]),
            [1, 2, 2, 3, 3]
        );
        // Against a direct bilinear formula in f64.
        let mut rng = Rng::fresh();
        for mode in [
            CoordinateMode::HalfPixel,
            CoordinateMode::AlignCorners,
            CoordinateMode::Asymmetric,
            CoordinateMode::PytorchHalfPixel,
            CoordinateMode::HalfPixelSymmetric,
        ] {
            for (h, w, oh, ow) in [(3, 5, 7, 9), (8, 6, 4, 3), (4, 4, 4, 9), (2, 3, 1, 1), (1, 1, 3, 3)] {
                let x = rng.floats(2 * h * w);
                let dims = [Resize::by_size(2, 2), Resize::by_size(h, oh), Resize::by_size(w, ow)];
                let mut y = vec![f32::NAN; 2 * oh * ow];
                resize_linear(&pool, &dims, mode, &x, &mut y).unwrap();
                let tap = |i: usize, n: usize, to: usize| {
                    let (i, n, to) = (i as f64, n as f64, to as f64);
                    let c: f64 = match mode {
                        CoordinateMode::AlignCorners if to > 1.0 => i * (n - 1.0) / (to - 1.0),
                        CoordinateMode::AlignCorners => 0.0,
                        CoordinateMode::Asymmetric => i * n / to,
                        CoordinateMode::PytorchHalfPixel if to == 1.0 => 0.0,
                        _ => (i + 0.5) * n / to - 0.5,
                    };
                    let c = c.clamp(0.0, n - 1.0);
                    (c.floor() as usize, (c.floor() as usize + 1).min(n as usize - 1), c.fract())
                };
                let want: Vec<f64> = (0..2 * oh * ow)
                    .map(|i| [i / (oh * ow), i / ow % oh, i % ow])
                    .map(|i| {
                        let ((a, b, s), (l, r, t)) = (tap(i[1], h, oh), tap(i[2], w, ow));
                        let at = |r: usize, c: usize| f64::from(x[(i[0] * h + r) * w + c]);
                        (at(a, l) * (1.0 - t) + at(a, r) * t) * (1.0 - s) + (at(b, l) * (1.0 - t) + at(b, r) * t) * s
                    })
                    .collect();
                let e = rel_err(&y, &want);
                assert!(e < 2e-6, "{mode:?} {h} x {w} to {oh} x {ow}: {e:e}");
            }
        }
        assert!(Resize::by_scale(2, f32::NAN).is_err() && Resize::by_scale(2, 1e30).is_err());
        assert!(resize_linear(&pool, &[Resize::by_size(0, 3)], CoordinateMode::HalfPixel, &[], &mut [0.0; 3]).is_err());
    }

    #[test]
    fn filters_agree_with_the_reference() {
        // The results of ONNX's reference evaluator (opset 19) for this input.
        let x = [1.0f32, 3.0, -2.0, 4.0, 0.0, 5.0];
        let scale = |s| Resize::by_scale(6, s).unwrap();
        let cubic = Filter { kernel: FilterKernel::Cubic(-0.75), exclude_outside: false, antialias: false };
        let linear = Filter { kernel: FilterKernel::Linear, ..cubic };
        let sharp = Filter { kernel: FilterKernel::Cubic(-0.5), ..cubic };
        let (half, corners) = (CoordinateMode::HalfPixel, CoordinateMode::AlignCorners);
        let cases: [(Resize, CoordinateMode, Filter, &[f32]); 7] = [
            (
                scale(1.5),
                half,
                cubic,
                &[
                    0.826_389_25,
                    2.468_75,
                    2.351_853_4,
                    -1.768_518,
                    0.906_25,
                    3.859_955_8,
                    0.244_212_15,
                    2.125,
                    5.434_03,
                ],
            ),
            (
                scale(1.5),
                half,
                Filter { exclude_outside: true, ..cubic },
                &[
                    0.797_297_24,
                    2.342_857,
                    2.351_852_4,
                    -1.768_517_3,
                    0.906_25,
                    3.859_954,
                    0.244_212_05,
                    2.371_428_5,
                    5.506_757,
                ],
            ),
            (Resize::by_size(6, 4), corners, sharp, &[1.0, -0.888_889_4, 3.074_076_4, 5.0]),
            (scale(0.6), half, Filter { antialias: true, ..cubic }, &[1.737_348_2, 0.583_333_6, 1.881_928_2]),
            (scale(0.6), half, Filter { antialias: true, ..linear }, &[1.75, 0.444_444_42, 2.125]),
            (
                scale(0.6),
                half,
                Filter { antialias: true, exclude_outside: true, ..cubic },
                &[1.780_610_9, 0.589_202_3, 2.072_398_4],
            ),
            (scale(0.6), CoordinateMode::HalfPixelSymmetric, linear, &[2.666_666_7, 1.0, 0.833_333]),
        ];
        for (dim, mode, filter, want) in cases {
            let mut y = vec![f32::NAN; dim.to];
            resize_filtered(&Pool::new(1), &[dim], mode, filter, &x, &mut y).unwrap();
            assert!(
                y.len() == want.len() && y.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-5),
                "{dim:?} {filter:?}: {y:?}"
            );
        }
    }
}
