//! Regions of interest: RoiAlign, MaxRoiPool.

use crate::error::{KernelError, expect_len};
use crate::number::Number;
use crate::pool::Pool;
use crate::shape::numel;

/// The settings of [`roi_align`].
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct RoiAlign {
    /// Rows and columns of the output.
    pub out: [usize; 2],
    /// The largest sample of a bin counts, else their mean.
    pub max: bool,
    /// Samples of a bin in each direction; 0: as many as elements.
    pub sampling: usize,
    /// From the regions' units to elements.
    pub scale: f64,
    /// True if an element's centre is at its half.
    pub half_pixel: bool,
}

/// The most samples of one region's side: a region so much larger than the picture is a mistake, not a wish.
const MOST_SAMPLES: f64 = 65536.0;

/// The samples along one side: the elements before and after each, with their weights; `None` outside.
type Samples = Vec<Option<[(usize, f64); 2]>>;

/// The samples of a region's side from `start` to `end`: those of bin b begin at b * count.
fn samples(how: &RoiAlign, start: f64, end: f64, bins: usize, len: usize) -> Result<(Samples, usize), KernelError> {
    let offset = if how.half_pixel { 0.5 } else { 0.0 };
    let (start, end) = (start * how.scale - offset, end * how.scale - offset);
    let size = if how.half_pixel { end - start } else { (end - start).max(1.0) };
    if !start.is_finite() || !size.is_finite() {
        return Err(KernelError::setting("a region of interest is not finite"));
    }
    let bin = size / bins as f64;
    let count = if how.sampling > 0 { how.sampling as f64 } else { bin.ceil().max(0.0) };
    if count * bins as f64 > MOST_SAMPLES {
        return Err(KernelError::setting(format!("a region of interest of {size} elements")));
    }
    let count = count as usize;
    let mut all = Vec::with_capacity(bins * count);
    for b in 0..bins {
        for s in 0..count {
            let at = start + b as f64 * bin + (s as f64 + 0.5) * bin / count as f64;
            all.push(if at < -1.0 || at > len as f64 || len == 0 {
                None
            } else {
                let at = at.max(0.0);
                let low = at as usize;
                if low >= len - 1 {
                    Some([(len - 1, 1.0), (len - 1, 0.0)])
                } else {
                    let t = at - low as f64;
                    Some([(low, 1.0 - t), (low + 1, t)])
                }
            });
        }
    }
    Ok((all, count))
}

/// The picture that a region's index names.
fn picture(index: i64, n: usize) -> Result<usize, KernelError> {
    usize::try_from(index).ok().filter(|&i| i < n).ok_or(KernelError::IndexOutOfRange { index, size: n })
}

/// x is [n, c, h, w], rois [r, 4] as x1, y1, x2, y2, batch [r], y [r, c, out..].
pub fn roi_align<T: Number>(
    pool: &Pool,
    how: RoiAlign,
    [n, c, h, w]: [usize; 4],
    x: &[T],
    rois: &[T],
    batch: &[i64],
    y: &mut [T],
) -> Result<(), KernelError> {
    let [oh, ow] = how.out;
    expect_len("the input", x.len(), numel(&[n, c, h, w])?)?;
    expect_len("the regions", rois.len(), numel(&[batch.len(), 4])?)?;
    expect_len("the output", y.len(), numel(&[batch.len(), c, oh, ow])?)?;
    if y.is_empty() {
        return Ok(());
    }
    for (r, region) in y.chunks_exact_mut(c * oh * ow).enumerate() {
        let from = picture(batch[r], n)?;
        let [x1, y1, x2, y2] = [0, 1, 2, 3].map(|i| rois[r * 4 + i].to_f64());
        let (rows, down) = samples(&how, y1, y2, oh, h)?;
        let (columns, across) = samples(&how, x1, x2, ow, w)?;
        let count = (down * across).max(1) as f64;
        pool.for_chunks_mut(region, oh * ow, |channel, out| {
            let plane = &x[(from * c + channel) * h * w..][..h * w];
            for (i, out) in out.iter_mut().enumerate() {
                let (rows, columns) = (&rows[i / ow * down..][..down], &columns[i % ow * across..][..across]);
                let (mut sum, mut largest) = (0.0, None);
                for row in rows {
                    for column in columns {
                        // What lies outside counts as 0.
                        let (mut inner, mut peak) = (0.0, f64::NEG_INFINITY);
                        if let (Some(row), Some(column)) = (row, column) {
                            for &(i, wi) in row {
                                for &(j, wj) in column {
                                    let v = plane[i * w + j].to_f64() * (wi * wj);
                                    inner += v;
                                    peak = Number::greatest(peak, v);
                                }
                            }
                        } else {
                            peak = 0.0;
                        }
                        sum += inner;
                        largest = Some(largest.map_or(peak, |l: f64| Number::greatest(l, peak)));
                    }
                }
                *out = T::from_f64(if how.max { largest.unwrap_or(0.0) } else { sum / count });
            }
        });
    }
    Ok(())
}

/// x is [n, c, h, w], rois [r, 5] as batch, x1, y1, x2, y2, y [r, c, out..]: the largest element of each bin.
pub fn max_roi_pool<T: Number>(
    pool: &Pool,
    [oh, ow]: [usize; 2],
    scale: f64,
    [n, c, h, w]: [usize; 4],
    x: &[T],
    rois: &[T],
    y: &mut [T],
) -> Result<(), KernelError> {
    let regions = rois.len() / 5;
    expect_len("the input", x.len(), numel(&[n, c, h, w])?)?;
    expect_len("the regions", rois.len(), regions * 5)?;
    expect_len("the output", y.len(), numel(&[regions, c, oh, ow])?)?;
    if y.is_empty() {
        return Ok(());
    }
    for (region, roi) in y.chunks_exact_mut(c * oh * ow).zip(rois.chunks_exact(5)) {
        let [index, x1, y1, x2, y2] = [0, 1, 2, 3, 4].map(|i| roi[i].to_f64());
        if ![index, x1, y1, x2, y2].iter().all(|v| v.is_finite()) {
            return Err(KernelError::setting("a region of interest is not finite"));
        }
        let from = picture(index as i64, n)?;
        let bins = |from: f64, to: f64, count: usize, len: usize| -> Vec<(usize, usize)> {
            let (from, to) = ((from * scale).round(), (to * scale).round());
            let bin = (to - from + 1.0).max(1.0) / count as f64;
            let edge = |v: f64| (v + from).clamp(0.0, len as f64) as usize;
            (0..count).map(|i| (edge((i as f64 * bin).floor()), edge(((i + 1) as f64 * bin).ceil()))).collect()
        };
        let (rows, columns) = (bins(y1, y2, oh, h), bins(x1, x2, ow, w));
        pool.for_chunks_mut(region, oh * ow, |channel, out| {
            let plane = &x[(from * c + channel) * h * w..][..h * w];
            for (i, out) in out.iter_mut().enumerate() {
                let ((top, bottom), (left, right)) = (rows[i / ow], columns[i % ow]);
                *out = if top >= bottom || left >= right {
                    T::ZERO
                } else {
                    let all = (top..bottom).flat_map(|r| &plane[r * w + left..r * w + right]);
                    all.fold(T::LOWEST, |a, &b| a.greatest(b))
                };
            }
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_regions_are_refused() {
        let pool = Pool::new(1);
        let how = RoiAlign { out: [1, 1], max: false, sampling: 0, scale: 1.0, half_pixel: true };
        let x = [1f32, 2.0, 3.0, 4.0];
        let mut y = [0f32];
        let mut run = |roi: [f32; 4], batch: i64| {
            let r = roi_align(&pool, how, [1, 1, 2, 2], &x, &roi, &[batch], &mut y);
            r.map(|()| y[0])
        };
        assert_eq!(run([0.0, 0.0, 2.0, 2.0], 0), Ok(2.5));
        for (roi, batch) in [
            ([0.0, 0.0, 2.0, 2.0], 1),
            ([0.0, 0.0, 2.0, 2.0], -1),
            ([0.0, 0.0, 1e30, 1.0], 0),
            ([f32::NAN, 0.0, 1.0, 1.0], 0),
        ] {
            assert!(run(roi, batch).is_err(), "{roi:?} {batch}");
        }
    }

    #[test]
    fn the_largest_of_each_bin() {
        let x: Vec<f32> = (0..16).map(|v| v as f32).collect();
        let mut y = [0f32; 4];
        let roi = [0.0, 0.0, 0.0, 6.0, 6.0];
        max_roi_pool(&Pool::new(1), [2, 2], 0.5, [1, 1, 4, 4], &x, &roi, &mut y).unwrap();
        assert_eq!(y, [5.0, 7.0, 13.0, 15.0]);
    }
}
