//! The product of a blocked tensor and one number for each image and channel, as of a squeeze-and-excitation gate.

use rten_simd::ops::{BitOps, NumOps};
use rten_simd::{Isa, SimdOp};

use super::block;
use crate::pool::{Pool, SendPtr};

/// Floats below which one thread does all.
const SMALL: usize = 64 * 1024;

/// `out = x * s`, with `x` blocked [batch, channels, plane] (`None`: what `out` holds) and `s` blocked [batch, channels, 1].
pub fn scale(pool: &Pool, plane: usize, x: Option<&[f32]>, s: &[f32], out: &mut [f32]) {
    let c = block();
    assert!(out.len() == s.len() * plane && s.len() % c == 0, "the operands do not have their shape's elements");
    assert!(x.is_none_or(|x| x.len() == out.len()), "the operands do not have their shape's elements");
    if out.is_empty() {
        return;
    }
    let len = out.len();
    let target = SendPtr(out.as_mut_ptr());
    let from = SendPtr(x.map_or(target.get(), |x| x.as_ptr().cast_mut()));
    let task = |i: usize| {
        let at = i * plane * c;
        Scale { x: from.get().wrapping_add(at), s: &s[i * c..][..c], out: target.get().wrapping_add(at), plane }
            .dispatch();
    };
    if len < SMALL { (0..s.len() / c).for_each(task) } else { pool.run(s.len() / c, &task) }
}

/// One block of channels of an image. `x` may be `out`.
struct Scale<'a> {
    x: *const f32,
    s: &'a [f32],
    out: *mut f32,
    plane: usize,
}

impl SimdOp for Scale<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<I: Isa>(self, isa: I) {
        let ops = isa.f32();
        let lanes = ops.len();
        let s = ops.load(self.s);
        for p in 0..self.plane {
            // SAFETY: both planes hold `plane` vectors, and each block is one task's own.
            unsafe { ops.store_ptr(ops.mul(ops.load_ptr(self.x.add(p * lanes)), s), self.out.add(p * lanes)) };
        }
    }
}
