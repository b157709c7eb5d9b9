//! A part of a tensor brought to a size: ONNX's Resize with `tf_crop_and_resize`.

use crate::error::{KernelError, expect_len};
use crate::movement::{Filter, FilterKernel, NearestMode};
use crate::number::Number;
use crate::pool::Pool;
use crate::shape::numel;

/// One dimension of [`crop_resize`].
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Crop {
    /// Elements of the input.
    pub from: usize,
    /// Elements of the output.
    pub to: usize,
    /// Where the part begins and ends, 0 being the first element and 1 the last.
    pub part: [f64; 2],
}

/// The elements that count for one place: (index, weight); `None` outside the input.
type Taps = Option<Vec<(usize, f64)>>;

impl Crop {
    fn place(&self, i: usize) -> f64 {
        let ([start, end], last) = (self.part, self.from as f64 - 1.0);
        match self.to {
            0 | 1 => 0.5 * (start + end) * last,
            to => start * last + i as f64 * (end - start) * last / (to as f64 - 1.0),
        }
    }

    fn taps(&self, i: usize, filter: Option<Filter>, nearest: NearestMode) -> Taps {
        let (x, last) = (self.place(i), self.from as f64 - 1.0);
        if !(0.0..=last).contains(&x) {
            return None;
        }
        let Some(filter) = filter else {
            let x = match nearest {
                NearestMode::RoundPreferFloor => (x - 0.5).ceil(),
                NearestMode::RoundPreferCeil => (x + 0.5).floor(),
                NearestMode::Floor => x.floor(),
                NearestMode::Ceil => x.ceil(),
            };
            return Some(vec![(x.clamp(0.0, last) as usize, 1.0)]);
        };
        let (first, t) = (x.floor(), x - x.floor());
        let mut taps = match filter.kernel {
            FilterKernel::Linear => vec![(first, 1.0 - t), (first + 1.0, t)],
            FilterKernel::Cubic(a) => {
                let a = f64::from(a);
                let far = |x: f64| ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a;
                let near = |x: f64| ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
                let weights = [far(t + 1.0), near(t), near(1.0 - t), far(2.0 - t)];
                weights.into_iter().enumerate().map(|(k, w)| (first - 1.0 + k as f64, w)).collect()
            }
        };
        if filter.exclude_outside {
            taps.retain(|(i, _)| (0.0..=last).contains(i));
            let sum: f64 = taps.iter().map(|t| t.1).sum();
            taps.iter_mut().for_each(|t| t.1 /= sum);
        }
        Some(taps.into_iter().map(|(i, w)| (i.clamp(0.0, last) as usize, w)).collect())
    }
}

/// Brings a part of x to the shape of y. What lies outside x is `outside`; without a filter the nearest element alone counts.
pub fn crop_resize<T: Number>(
    pool: &Pool,
    dims: &[Crop],
    filter: Option<Filter>,
    nearest: NearestMode,
    outside: f64,
    x: &[T],
    y: &mut [T],
) -> Result<(), KernelError> {
    let shape = |f: fn(&Crop) -> usize| dims.iter().map(f).collect::<Vec<_>>();
    expect_len("the input", x.len(), numel(&shape(|d| d.from))?)?;
    expect_len("the output", y.len(), numel(&shape(|d| d.to))?)?;
    if filter.is_some_and(|f| f.antialias) {
        return Err(KernelError::Unsupported { op: "a cropping resize with antialias".into(), ty: T::NAME });
    }
    let taps: Vec<Vec<Taps>> = dims.iter().map(|d| (0..d.to).map(|i| d.taps(i, filter, nearest)).collect()).collect();
    const PIECE: usize = 4096;
    pool.for_chunks_mut(y, PIECE, |piece, y| {
        for (i, y) in y.iter_mut().enumerate() {
            let mut rest = piece * PIECE + i;
            let mut found = Some(vec![(0usize, 1f64)]);
            let mut stride = 1;
            for (d, taps) in dims.iter().zip(&taps).rev() {
                found = match (found, &taps[rest % d.to]) {
                    (Some(all), Some(taps)) => Some(
                        all.iter()
                            .flat_map(|&(at, v)| taps.iter().map(move |&(i, w)| (at + i * stride, v * w)))
                            .collect(),
                    ),
                    _ => None,
                };
                rest /= d.to;
                stride *= d.from;
            }
            *y = match found.as_deref() {
                None => T::from_f64(outside),
                Some(&[(i, 1.0)]) => x[i],
                Some(all) => T::from_f64(all.iter().map(|&(i, w)| x[i].to_f64() * w).sum()),
            };
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_row() {
        let x = [0f32, 10.0, 20.0, 30.0, 40.0];
        let linear = Some(Filter { kernel: FilterKernel::Linear, exclude_outside: false, antialias: false });
        for (part, filter, want) in [
            ([0.25, 0.75], linear, [10.0, 20.0, 30.0]),
            ([0.0, 0.25], linear, [0.0, 5.0, 10.0]),
            ([0.5, 1.5], linear, [20.0, 40.0, 9.0]),
            ([1.0, 0.0], None, [40.0, 20.0, 0.0]),
        ] {
            let dim = Crop { from: 5, to: 3, part };
            let mut y = [0f32; 3];
            crop_resize(&Pool::new(2), &[dim], filter, NearestMode::Floor, 9.0, &x, &mut y).unwrap();
            assert_eq!(y, want, "{part:?}");
        }
    }
}
