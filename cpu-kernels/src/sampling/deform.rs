//! Convolution whose kernel elements are moved by offsets: deformable convolution, version 2.

use super::bilinear;
use crate::error::{KernelError, expect_len};
use crate::number::Number;
use crate::pool::Pool;
use crate::shape::numel;

/// The sizes and settings of [`deform_conv`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Deform {
    /// Batch, channels, height and width of the input.
    pub input: [usize; 4],
    /// Channels of the output.
    pub channels: usize,
    /// Height and width of the output.
    pub out: [usize; 2],
    /// Height and width of the kernel.
    pub kernel: [usize; 2],
    /// Steps.
    pub strides: [usize; 2],
    /// Distances of the kernel's elements.
    pub dilations: [usize; 2],
    /// Rows above and columns before the input.
    pub pads: [usize; 2],
    /// Groups of channels.
    pub groups: usize,
    /// Groups of input channels that share offsets.
    pub offset_groups: usize,
}

/// x is [n, c, h, w], weights [channels, c / groups, kernel..], offsets [n, offset_groups * kernel * 2, out..] (row before
/// column), mask [n, offset_groups * kernel, out..], bias [channels], y [n, channels, out..].
pub fn deform_conv<T: Number>(
    pool: &Pool,
    d: Deform,
    x: &[T],
    weights: &[T],
    offsets: &[T],
    bias: Option<&[T]>,
    mask: Option<&[T]>,
    y: &mut [T],
) -> Result<(), KernelError> {
    let [n, c, h, w] = d.input;
    let ([oh, ow], [kh, kw]) = (d.out, d.kernel);
    let divides = |by: usize, n: usize| by > 0 && n % by == 0;
    if !divides(d.groups, c) || !divides(d.groups, d.channels) || !divides(d.offset_groups, c) {
        return Err(KernelError::setting(format!(
            "{c} to {} channels in {} groups, {} of offsets",
            d.channels, d.groups, d.offset_groups
        )));
    }
    let (plane, taps, each) = (numel(&[oh, ow])?, numel(&[kh, kw])?, c / d.groups);
    let moved = numel(&[d.offset_groups, taps, plane])?;
    expect_len("the input", x.len(), numel(&d.input)?)?;
    expect_len("the weights", weights.len(), numel(&[d.channels, each, taps])?)?;
    expect_len("the offsets", offsets.len(), numel(&[n, moved, 2])?)?;
    expect_len("the output", y.len(), numel(&[n, d.channels, plane])?)?;
    if let Some(b) = bias {
        expect_len("the bias", b.len(), d.channels)?;
    }
    if let Some(m) = mask {
        expect_len("the mask", m.len(), numel(&[n, moved])?)?;
    }
    if y.is_empty() {
        return Ok(());
    }
    let rows = numel(&[each, taps])?;
    let mut columns = vec![T::ZERO; numel(&[rows, plane])?];
    let outs = d.channels / d.groups;
    for (at, y) in y.chunks_exact_mut(outs * plane).enumerate() {
        let (batch, group) = (at / d.groups, at % d.groups);
        // Each row: one input channel under one element of the kernel, wherever that lies for each output.
        pool.for_chunks_mut(&mut columns, plane, |row, column| {
            let (channel, tap) = (group * each + row / taps, row % taps);
            let (i, j) = (tap / kw, tap % kw);
            let shared = channel / (c / d.offset_groups);
            let at = (batch * d.offset_groups + shared) * taps + tap;
            let (down, across) = (&offsets[2 * at * plane..][..plane], &offsets[(2 * at + 1) * plane..][..plane]);
            let from = &x[(batch * c + channel) * h * w..][..h * w];
            for (p, v) in column.iter_mut().enumerate() {
                let place = |out: usize, k: usize, axis: usize, by: T| {
                    out as f64 * d.strides[axis] as f64 + k as f64 * d.dilations[axis] as f64 - d.pads[axis] as f64
                        + by.to_f64()
                };
                let (r, s) = (place(p / ow, i, 0, down[p]), place(p % ow, j, 1, across[p]));
                let sum: f64 = bilinear(r, s, h, w).map(|(i, weight)| from[i].to_f64() * weight).sum();
                *v = T::from_f64(sum * mask.map_or(1.0, |m| m[at * plane + p].to_f64()));
            }
        });
        pool.for_chunks_mut(y, plane, |o, y| {
            let o = group * outs + o;
            y.fill(bias.map_or(T::ZERO, |b| b[o]));
            for (column, &weight) in columns.chunks_exact(plane).zip(&weights[o * rows..][..rows]) {
                y.iter_mut().zip(column).for_each(|(y, &v)| *y = y.add(weight.mul(v)));
            }
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Deform = Deform {
        input: [1, 1, 3, 3],
        channels: 1,
        out: [2, 2],
        kernel: [2, 2],
        strides: [1, 1],
        dilations: [1, 1],
        pads: [0, 0],
        groups: 1,
        offset_groups: 1,
    };

    #[test]
    fn without_offsets_it_is_a_convolution() {
        let x: Vec<f32> = (0..9).map(|v| v as f32).collect();
        let mut y = [0f32; 4];
        deform_conv(&Pool::new(2), PLAIN, &x, &[1.0; 4], &[0.0; 32], None, None, &mut y).unwrap();
        assert_eq!(y, [8.0, 12.0, 20.0, 24.0]);
        let mut offsets = [0f32; 32];
        // The first element of the kernel lies half a row lower for the first output.
        offsets[0] = 0.5;
        let mask = [2f32; 16];
        deform_conv(&Pool::new(2), PLAIN, &x, &[1.0; 4], &offsets, Some(&[1.0]), Some(&mask), &mut y).unwrap();
        assert_eq!(y, [20.0, 25.0, 41.0, 49.0]);
    }

    #[test]
    fn sizes_that_do_not_fit_and_places_that_are_none() {
        let mut y = [0f32; 4];
        let x = [1f32; 9];
        let mut run = |d: Deform, offsets: &[f32]| {
            deform_conv(&Pool::new(1), d, &x, &[1.0; 4], offsets, None, None, &mut y).map(|()| y)
        };
        assert!(run(Deform { groups: 0, ..PLAIN }, &[0.0; 32]).is_err());
        assert!(run(Deform { offset_groups: 2, ..PLAIN }, &[0.0; 32]).is_err());
        assert!(run(PLAIN, &[0.0; 31]).is_err());
        assert_eq!(run(PLAIN, &[f32::NAN; 32]), Ok([0.0; 4]));
    }
}
