//! The geometry of windows over up to three spatial axes, shared by convolution and pooling.

/// One spatial axis: how windows lie on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Axis {
    /// Length of the input.
    pub input: usize,
    /// Taps of the window.
    pub kernel: usize,
    /// From one window to the next.
    pub stride: usize,
    /// From one tap to the next.
    pub dilation: usize,
    /// Padding before the first element.
    pub pad_begin: usize,
    /// Padding after the last element.
    pub pad_end: usize,
}

impl Axis {
    /// An axis of one element and one tap, which changes nothing.
    pub const UNIT: Axis = Axis { input: 1, kernel: 1, stride: 1, dilation: 1, pad_begin: 0, pad_end: 0 };

    /// The elements that one window spans.
    pub fn extent(&self) -> usize {
        self.kernel.saturating_sub(1).saturating_mul(self.dilation).saturating_add(1)
    }

    /// The number of windows that fit; 0 where the window is longer than the padded input.
    pub fn output(&self) -> usize {
        let padded = self.input.saturating_add(self.pad_begin).saturating_add(self.pad_end);
        padded.checked_sub(self.extent()).map_or(0, |free| free / self.stride.max(1) + 1)
    }

    /// Whether windows and elements are the same.
    pub(crate) fn is_identity(&self) -> bool {
        self.kernel == 1 && self.stride == 1 && self.pad_begin == 0 && self.pad_end == 0
    }

    /// The element under tap `tap` of window `window`, where it is inside the input.
    #[inline]
    pub(crate) fn at(&self, window: usize, tap: usize) -> Option<usize> {
        (window * self.stride + tap * self.dilation).checked_sub(self.pad_begin).filter(|&i| i < self.input)
    }

    /// The windows among `0..windows` whose tap `tap` is inside the input: one range.
    pub(crate) fn inside(&self, tap: usize, windows: usize) -> std::ops::Range<usize> {
        let offset = tap * self.dilation;
        let first = self.pad_begin.saturating_sub(offset).div_ceil(self.stride);
        let end = (self.input + self.pad_begin).saturating_sub(offset).div_ceil(self.stride);
        let end = end.min(windows);
        first.min(end)..end
    }
}

/// Fills up one, two or three axes to three: depth, height, width.
pub fn axes(spatial: &[Axis]) -> [Axis; 3] {
    assert!(spatial.len() <= 3, "{} spatial axes; at most 3 are supported", spatial.len());
    let mut all = [Axis::UNIT; 3];
    all[3 - spatial.len()..].copy_from_slice(spatial);
    all
}

/// The sizes of a convolution over [batch, channels, depth, height, width]; unused axes are [`Axis::UNIT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvShape {
    /// Number of images.
    pub batch: usize,
    /// Channels of the input; a multiple of `groups`.
    pub in_channels: usize,
    /// Channels of the output; a multiple of `groups`.
    pub out_channels: usize,
    /// Number of groups.
    pub groups: usize,
    /// Depth, height, width.
    pub axes: [Axis; 3],
}

impl ConvShape {
    /// Depth, height and width of the output.
    pub fn output(&self) -> [usize; 3] {
        self.axes.map(|a| a.output())
    }

    /// Elements of a channel of the input.
    pub(crate) fn in_plane(&self) -> usize {
        product(&self.axes.map(|a| a.input))
    }

    /// Elements of a channel of the output.
    pub(crate) fn out_plane(&self) -> usize {
        product(&self.output())
    }

    /// Taps of the window.
    pub(crate) fn taps(&self) -> usize {
        product(&self.axes.map(|a| a.kernel))
    }

    /// Panics where the sizes do not fit together; the message says which.
    pub(crate) fn check(&self, x: usize, out: usize) {
        let g = self.groups;
        assert!(g > 0 && self.in_channels % g == 0, "groups ({g}) must divide in_channels ({})", self.in_channels);
        assert!(self.out_channels % g == 0, "groups ({g}) must divide out_channels ({})", self.out_channels);
        assert!(
            self.axes.iter().all(|a| a.stride > 0 && a.dilation > 0 && a.kernel > 0),
            "a stride, dilation or kernel is 0"
        );
        let expected = product(&[self.batch, self.in_channels, self.in_plane()]);
        assert!(x == expected, "the input must have {expected} elements, not {x}");
        let expected = product(&[self.batch, self.out_channels, self.out_plane()]);
        assert!(out == expected, "the output must have {expected} elements, not {out}");
    }
}

/// `to[i] = from[i * stride]`.
#[inline]
pub(crate) fn gather(to: &mut [f32], from: &[f32], stride: usize) {
    match stride {
        1 => to.iter_mut().zip(from).for_each(|(to, &x)| *to = x),
        2 => {
            // Pairs of known length become vector code; the last element may have no partner.
            let pairs = to.len().min(from.len() / 2);
            for (to, pair) in to.iter_mut().zip(from.chunks_exact(2)) {
                *to = pair[0];
            }
            if let (Some(to), Some(&x)) = (to.get_mut(pairs), from.get(2 * pairs)) {
                *to = x;
            }
        }
        _ => to.iter_mut().zip(from.iter().step_by(stride)).for_each(|(to, &x)| *to = x),
    }
}

/// The product of sizes, or a panic where it overflows.
pub(crate) fn product(sizes: &[usize]) -> usize {
    let all = sizes.iter().try_fold(1usize, |p, &s| p.checked_mul(s));
    all.unwrap_or_else(|| panic!("a tensor of {sizes:?} is too large"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::Rng;

    #[test]
    fn inside_agrees_with_at() {
        let mut rng = Rng::fresh();
        for _ in 0..2000 {
            let axis = Axis {
                input: rng.range(0, 9),
                kernel: rng.range(1, 4),
                stride: rng.range(1, 4),
                dilation: rng.range(1, 3),
                pad_begin: rng.range(0, 4),
                pad_end: rng.range(0, 4),
            };
            let windows = axis.output();
            for tap in 0..axis.kernel {
                let range = axis.inside(tap, windows);
                for w in 0..windows {
                    assert_eq!(range.contains(&w), axis.at(w, tap).is_some(), "{axis:?}, window {w}, tap {tap}");
                }
            }
        }
    }

    #[test]
    fn outputs() {
        let axis = |input, kernel, stride, dilation, pad_begin, pad_end| {
            Axis { input, kernel, stride, dilation, pad_begin, pad_end }.output()
        };
        assert_eq!(axis(224, 7, 2, 1, 3, 3), 112);
        assert_eq!(axis(5, 3, 1, 2, 0, 0), 1);
        assert_eq!(axis(4, 3, 1, 2, 0, 0), 0);
        assert_eq!(axis(5, 3, 2, 1, 0, 1), 2);
    }
}
