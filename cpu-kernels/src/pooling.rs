//! Maximum and average over windows of one, two or three axes, and over whole planes.

use crate::conv::shape::{Axis, product};
use crate::pool::{Pool, SendPtr};

/// The sizes of a pooling over planes of [depth, height, width]; unused axes are [`Axis::UNIT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolShape {
    /// Number of planes: batch times channels.
    pub planes: usize,
    /// Depth, height, width.
    pub axes: [Axis; 3],
    /// Whether the last window may reach past the padded input, as long as it starts inside the input or the padding before it.
    pub ceil_mode: bool,
}

impl PoolShape {
    /// Depth, height and width of the output.
    pub fn output(&self) -> [usize; 3] {
        self.axes.map(|a| {
            let floor = a.output();
            if !self.ceil_mode || floor == 0 || a.stride == 0 {
                return floor;
            }
            let padded = a.input.saturating_add(a.pad_begin).saturating_add(a.pad_end);
            let rest = (padded - a.extent()) % a.stride;
            let next = floor.saturating_mul(a.stride);
            floor + usize::from(rest > 0 && next < a.input.saturating_add(a.pad_begin))
        })
    }

    fn check(&self, x: usize, out: usize) -> (usize, usize) {
        assert!(
            self.axes.iter().all(|a| a.stride > 0 && a.dilation > 0 && a.kernel > 0),
            "a stride, dilation or kernel is 0"
        );
        let plane = product(&self.axes.map(|a| a.input));
        let out_plane = product(&self.output());
        assert!(x == product(&[self.planes, plane]), "the input does not have {} planes of {plane}", self.planes);
        assert!(
            out == product(&[self.planes, out_plane]),
            "the output does not have {} planes of {out_plane}",
            self.planes
        );
        (plane, out_plane)
    }
}

/// The maximum of each window; padding does not count, and a NaN in a window is its maximum. A window with nothing in it gives
/// minus infinity.
pub fn max_pool(pool: &Pool, shape: &PoolShape, x: &[f32], out: &mut [f32]) {
    let (plane, out_plane) = shape.check(x.len(), out.len());
    pool.for_chunks_mut(out, chunk(out_plane), |i, out| {
        let mut row = vec![0.0; shape.axes[2].input];
        for (p, out) in out.chunks_exact_mut(out_plane).enumerate() {
            let x = &x[(i * (chunk(out_plane) / out_plane) + p) * plane..][..plane];
            max_plane(shape, x, &mut row, out);
        }
    });
}

/// Elements of the output for one job: some whole planes.
fn chunk(out_plane: usize) -> usize {
    (4096 / out_plane.max(1)).max(1) * out_plane.max(1)
}

#[inline]
fn greater(x: f32, max: f32) -> f32 {
    if x > max || x.is_nan() { x } else { max }
}

fn max_plane(shape: &PoolShape, x: &[f32], row: &mut [f32], out: &mut [f32]) {
    let [_, _, across] = shape.axes;
    let [_, out_h, out_w] = shape.output();
    for (line, out) in out.chunks_exact_mut(out_w).enumerate() {
        // First over the rows of the window, whole rows at a time, then along the row.
        row.fill(f32::NEG_INFINITY);
        for_rows(shape, line / out_h, line % out_h, |r| {
            for (max, &x) in row.iter_mut().zip(&x[r * across.input..]) {
                *max = greater(x, *max);
            }
        });
        out.fill(f32::NEG_INFINITY);
        for tap in 0..across.kernel {
            let range = across.inside(tap, out_w);
            let start = (range.start * across.stride + tap * across.dilation).saturating_sub(across.pad_begin);
            let values = row.get(start..).unwrap_or(&[]).iter().step_by(across.stride);
            for (max, &x) in out[range].iter_mut().zip(values) {
                *max = greater(x, *max);
            }
        }
    }
}

/// Calls `f` with the number of each row of the plane that lies under the windows of output row (od, oh).
fn for_rows(shape: &PoolShape, od: usize, oh: usize, mut f: impl FnMut(usize)) {
    let [depth, height, _] = shape.axes;
    for kd in 0..depth.kernel {
        let Some(d) = depth.at(od, kd) else { continue };
        for kh in 0..height.kernel {
            if let Some(h) = height.at(oh, kh) {
                f(d * height.input + h);
            }
        }
    }
}

/// Like [`max_pool`], with the place of each maximum as its index in the whole input. Where `column_major`, the index inside a
/// plane counts the last axis as the outermost. A window with nothing in it has index -1.
pub fn max_pool_indices(
    pool: &Pool,
    shape: &PoolShape,
    x: &[f32],
    out: &mut [f32],
    indices: &mut [i64],
    column_major: bool,
) {
    let (plane, out_plane) = shape.check(x.len(), out.len());
    assert!(indices.len() == out.len(), "one index for each output: {}, not {}", out.len(), indices.len());
    let [depth, height, across] = shape.axes;
    let [_, out_h, out_w] = shape.output();
    let target = SendPtr(indices.as_mut_ptr());
    pool.for_chunks_mut(out, out_plane, |p, out| {
        let x = &x[p * plane..][..plane];
        // SAFETY: `indices` is as long as the output, and each plane comes once.
        let indices = unsafe { std::slice::from_raw_parts_mut(target.get().add(p * out_plane), out_plane) };
        for (o, (out, index)) in out.iter_mut().zip(indices).enumerate() {
            let (mut max, mut place) = (f32::NEG_INFINITY, None);
            for_rows(shape, o / out_w / out_h, o / out_w % out_h, |r| {
                for w in (0..across.kernel).filter_map(|tap| across.at(o % out_w, tap)) {
                    let value = x[r * across.input + w];
                    if place.is_none() || value > max || (value.is_nan() && !max.is_nan()) {
                        (max, place) = (value, Some((r, w)));
                    }
                }
            });
            *out = max;
            *index = place.map_or(-1, |(r, w)| {
                let (d, h) = (r / height.input, r % height.input);
                let inside = if column_major { (w * height.input + h) * depth.input + d } else { r * across.input + w };
                (p * plane + inside) as i64
            });
        }
    });
}

/// The average of each window. Padding counts as zeros where `count_include_pad`, otherwise not at all; what `ceil_mode` lets reach
/// past the padding never counts. A window with nothing in it gives 0.
pub fn average_pool(pool: &Pool, shape: &PoolShape, x: &[f32], out: &mut [f32], count_include_pad: bool) {
    let (plane, out_plane) = shape.check(x.len(), out.len());
    let counts = shape.axes.map(|a| move |w: usize| taps_counted(&a, w, count_include_pad));
    let [_, out_h, out_w] = shape.output();
    let across = shape.axes[2];
    pool.for_chunks_mut(out, chunk(out_plane), |i, out| {
        let mut row = vec![0.0f32; across.input];
        for (p, out) in out.chunks_exact_mut(out_plane).enumerate() {
            let x = &x[(i * (chunk(out_plane) / out_plane) + p) * plane..][..plane];
            for (line, out) in out.chunks_exact_mut(out_w).enumerate() {
                row.fill(0.0);
                for_rows(shape, line / out_h, line % out_h, |r| {
                    for (sum, &x) in row.iter_mut().zip(&x[r * across.input..]) {
                        *sum += x;
                    }
                });
                out.fill(0.0);
                for tap in 0..across.kernel {
                    let range = across.inside(tap, out_w);
                    let start = (range.start * across.stride + tap * across.dilation).saturating_sub(across.pad_begin);
                    let values = row.get(start..).unwrap_or(&[]).iter().step_by(across.stride);
                    for (sum, &x) in out[range].iter_mut().zip(values) {
                        *sum += x;
                    }
                }
                let rows = counts[0](line / out_h) * counts[1](line % out_h);
                for (w, out) in out.iter_mut().enumerate() {
                    let count = rows * counts[2](w);
                    *out = if count == 0 { 0.0 } else { *out / count as f32 };
                }
            }
        }
    });
}

/// How many taps of a window count in an average along one axis.
pub(crate) fn taps_counted(a: &Axis, window: usize, include_pad: bool) -> usize {
    if include_pad {
        let padded = a.input + a.pad_begin + a.pad_end;
        (0..a.kernel).filter(|tap| window * a.stride + tap * a.dilation < padded).count()
    } else {
        (0..a.kernel).filter(|&tap| a.at(window, tap).is_some()).count()
    }
}

/// The maximum of each of `out.len()` planes; a NaN is a maximum, an empty plane gives minus infinity.
pub fn global_max_pool(pool: &Pool, x: &[f32], out: &mut [f32]) {
    whole_planes(pool, x, out, |x| x.iter().fold(f32::NEG_INFINITY, |max, &x| greater(x, max)));
}

/// The average of each of `out.len()` planes; an empty plane gives NaN.
pub fn global_average_pool(pool: &Pool, x: &[f32], out: &mut [f32]) {
    use rten_simd::SimdOp;
    whole_planes(pool, x, out, |x| rten_vecmath::Sum::new(x).dispatch() / x.len() as f32);
}

fn whole_planes(pool: &Pool, x: &[f32], out: &mut [f32], f: impl Fn(&[f32]) -> f32 + Sync) {
    let planes = out.len();
    if planes == 0 {
        return;
    }
    assert!(x.len() % planes == 0, "{} elements are not {planes} planes", x.len());
    let plane = x.len() / planes;
    let chunk = (16 * 1024 / plane.max(1)).max(1);
    pool.for_chunks_mut(out, chunk, |i, out| {
        for (p, out) in out.iter_mut().enumerate() {
            *out = f(&x[(i * chunk + p) * plane..][..plane]);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conv::axes;
    use crate::oracle::{Rng, rel_err};

    fn random(rng: &mut Rng) -> PoolShape {
        let dims = rng.range(1, 3);
        let spatial: Vec<Axis> = (0..dims)
            .map(|_| {
                let kernel = rng.range(1, 4);
                Axis {
                    input: rng.range(1, if dims == 3 { 6 } else { 20 }),
                    kernel,
                    stride: rng.range(1, 3),
                    dilation: rng.range(1, 2),
                    pad_begin: rng.below(kernel),
                    pad_end: rng.below(kernel),
                }
            })
            .collect();
        PoolShape { planes: rng.range(0, 5), axes: axes(&spatial), ceil_mode: rng.below(2) == 1 }
    }

    /// For each output the indices under its window, and how many taps lie inside the padded input.
    fn windows(s: &PoolShape) -> Vec<(Vec<usize>, usize)> {
        let [a, b, c] = s.axes;
        let [od, oh, ow] = s.output();
        let mut all = Vec::new();
        for o in 0..od * oh * ow {
            let (mut under, mut padded) = (Vec::new(), 0);
            for kd in 0..a.kernel {
                for kh in 0..b.kernel {
                    for kw in 0..c.kernel {
                        let place =
                            [(a, o / ow / oh, kd), (b, o / ow % oh, kh), (c, o % ow, kw)].map(|(axis, w, tap)| {
                                (axis, (w * axis.stride + tap * axis.dilation) as i64 - axis.pad_begin as i64)
                            });
                        if place.iter().all(|(axis, i)| *i < (axis.input + axis.pad_end) as i64) {
                            padded += 1;
                        }
                        if place.iter().all(|(axis, i)| (0..axis.input as i64).contains(i)) {
                            under.push(place.iter().fold(0, |at, (axis, i)| at * axis.input + *i as usize));
                        }
                    }
                }
            }
            all.push((under, padded));
        }
        all
    }

    #[test]
    fn pools_match_f64() {
        let mut rng = Rng::fresh();
        for _ in 0..200 {
            let s = random(&mut rng);
            let plane: usize = s.axes.iter().map(|a| a.input).product();
            let x = rng.floats(s.planes * plane);
            let windows = windows(&s);
            let (mut maxima, mut places, mut averages, mut padded) = (vec![], vec![], vec![], vec![]);
            for p in 0..s.planes {
                for (under, taps) in &windows {
                    let best =
                        under.iter().copied().reduce(|i, j| if x[p * plane + j] > x[p * plane + i] { j } else { i });
                    maxima.push(best.map_or(f32::NEG_INFINITY, |i| x[p * plane + i]));
                    places.push(best.map_or(-1, |i| (p * plane + i) as i64));
                    let sum: f64 = under.iter().map(|i| f64::from(x[p * plane + i])).sum();
                    averages.push(if under.is_empty() { 0.0 } else { sum / under.len() as f64 });
                    padded.push(if *taps == 0 { 0.0 } else { sum / *taps as f64 });
                }
            }
            for threads in [1, 2, 3] {
                let pool = Pool::new(threads);
                let mut out = vec![f32::NAN; maxima.len()];
                max_pool(&pool, &s, &x, &mut out);
                assert_eq!(out, maxima, "{s:?}");
                let mut indices = vec![-7; maxima.len()];
                out.fill(f32::NAN);
                max_pool_indices(&pool, &s, &x, &mut out, &mut indices, false);
                assert_eq!((&out, &indices), (&maxima, &places), "{s:?}");
                for (include, expected) in [(false, &averages), (true, &padded)] {
                    out.fill(f32::NAN);
                    average_pool(&pool, &s, &x, &mut out, include);
                    assert!(rel_err(&out, expected) < 1e-6, "{s:?}, {include}: {}", rel_err(&out, expected));
                }
            }
        }
    }

    #[test]
    fn column_major_indices() {
        let axis = Axis { input: 4, kernel: 2, stride: 2, dilation: 1, pad_begin: 0, pad_end: 0 };
        let s = PoolShape { planes: 1, axes: axes(&[axis, axis]), ceil_mode: false };
        let x: Vec<f32> = (0..16).map(|i| i as f32).collect();
        let (mut out, mut indices) = ([0.0; 4], [0; 4]);
        max_pool_indices(&Pool::new(1), &s, &x, &mut out, &mut indices, true);
        assert_eq!(indices, [5, 13, 7, 15]);
    }

    #[test]
    fn ceil_mode_adds_a_window_that_starts_inside() {
        let shape = |input, kernel, stride, pad| {
            let axis = Axis { input, kernel, stride, dilation: 1, pad_begin: pad, pad_end: pad };
            PoolShape { planes: 1, axes: axes(&[axis]), ceil_mode: true }.output()[2]
        };
        assert_eq!(shape(6, 3, 2, 0), 3);
        assert_eq!(shape(5, 3, 2, 0), 2);
        // A window that would start in the padding after the input is left out.
        assert_eq!(shape(4, 1, 2, 1), 3);
    }

    #[test]
    fn global_pools_match_f64() {
        let mut rng = Rng::fresh();
        for (planes, plane) in [(0, 3), (1, 1), (7, 49), (64, 1000)] {
            let x = rng.floats(planes * plane);
            for threads in [1, 2, 3] {
                let pool = Pool::new(threads);
                let mut out = vec![f32::NAN; planes];
                global_average_pool(&pool, &x, &mut out);
                let sums: Vec<f64> =
                    x.chunks(plane).map(|x| x.iter().map(|&v| f64::from(v)).sum::<f64>() / plane as f64).collect();
                assert!(rel_err(&out, &sums) < 1e-6);
                global_max_pool(&pool, &x, &mut out);
                let maxima: Vec<f32> = x.chunks(plane).map(|x| x.iter().copied().fold(f32::MIN, f32::max)).collect();
                assert_eq!(out, maxima);
            }
        }
    }

    #[test]
    fn nan_is_not_hidden() {
        let s = PoolShape { planes: 1, axes: axes(&[Axis { input: 3, kernel: 3, ..Axis::UNIT }]), ceil_mode: false };
        for place in 0..3 {
            let mut x = [1.0, 2.0, 3.0];
            x[place] = f32::NAN;
            let (mut out, mut index) = ([0.0], [0]);
            max_pool(&Pool::new(1), &s, &x, &mut out);
            assert!(out[0].is_nan());
            max_pool_indices(&Pool::new(1), &s, &x, &mut out, &mut index, false);
            assert!(out[0].is_nan() && index[0] == place as i64);
        }
    }
}
