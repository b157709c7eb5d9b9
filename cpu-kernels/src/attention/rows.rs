//! What happens to one query's row of scores, and to its row of the output.

use rten_simd::ops::{BitOps, NumOps};
use rten_simd::{Isa, SimdIterable, SimdOp, SimdUnaryOp};

/// The running maximum and sum of one query, and the factor that brings its older output to the newest maximum.
#[derive(Clone, Copy)]
pub(super) struct State {
    max: f32,
    sum: f32,
    pub(super) correction: f32,
}

impl Default for State {
    fn default() -> Self {
        State { max: f32::NEG_INFINITY, sum: 0.0, correction: 1.0 }
    }
}

impl State {
    /// 1 / sum; 0 where no key was seen.
    pub(super) fn inverse(&self) -> f32 {
        if self.sum == 0.0 { 0.0 } else { 1.0 / self.sum }
    }
}

/// The mask of one query.
#[derive(Clone, Copy)]
pub(super) enum MaskRow<'a> {
    None,
    All(f32),
    Each(&'a [f32]),
    Strided(&'a [f32], usize),
}

/// Turns scores into exponentials relative to the running maximum.
pub(super) struct SoftmaxRow<'a> {
    pub(super) row: &'a mut [f32],
    pub(super) scale: f32,
    pub(super) mask: MaskRow<'a>,
    pub(super) state: &'a mut State,
}

impl SimdOp for SoftmaxRow<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<I: Isa>(self, isa: I) {
        let ops = isa.f32();
        let SoftmaxRow { row, scale, mask, state } = self;
        let lanes = ops.len();
        let (each, all) = match mask {
            MaskRow::Each(mask) => (Some(mask), 0.0),
            MaskRow::All(value) => (None, value),
            MaskRow::None => (None, 0.0),
            MaskRow::Strided(mask, stride) => {
                for (x, m) in row.iter_mut().zip(mask.iter().step_by(stride)) {
                    *x = *x * scale + m;
                }
                (None, 0.0)
            }
        };
        let scale = ops.splat(if matches!(mask, MaskRow::Strided(..)) { 1.0 } else { scale });
        let all = ops.splat(all);
        let mut max = ops.splat(f32::NEG_INFINITY);
        let mut at = 0;
        while at + lanes <= row.len() {
            let add = each.map_or(all, |mask| ops.load(&mask[at..]));
            let x = ops.mul_add(ops.load(&row[at..]), scale, add);
            ops.store(x, &mut row[at..]);
            max = ops.max(max, x);
            at += lanes;
        }
        let mut top = state.max;
        for x in ops_array(isa, max) {
            top = top.max(x);
        }
        let (scale, all) = (first(isa, scale), first(isa, all));
        for i in at..row.len() {
            let x = row[i] * scale + each.map_or(all, |mask| mask[i]);
            row[i] = x;
            top = top.max(x);
        }
        if top == f32::NEG_INFINITY {
            // Nothing is visible yet. (A NaN among the scores stays one.)
            row.iter_mut().filter(|x| !x.is_nan()).for_each(|x| *x = 0.0);
            state.sum += row.iter().sum::<f32>();
            state.correction = 1.0;
            return;
        }
        let shift = ops.splat(top);
        let mut sum = ops.zero();
        let mut chunks = row.chunks_exact_mut(lanes);
        for chunk in &mut chunks {
            let x = rten_vecmath::Exp::apply(isa, ops.sub(ops.load(chunk), shift));
            sum = ops.add(sum, x);
            ops.store(x, chunk);
        }
        let mut total = ops.sum(sum);
        let rest = chunks.into_remainder();
        if !rest.is_empty() {
            let (x, mask) = ops.load_pad(rest);
            let x = rten_vecmath::Exp::apply(isa, ops.sub(x, shift));
            // SAFETY: the mask covers the rest.
            unsafe { ops.store_ptr_mask(x, rest.as_mut_ptr(), mask) };
            total += rest.iter().sum::<f32>();
        }
        state.correction = (state.max - top).exp();
        state.sum = state.sum * state.correction + total;
        state.max = top;
    }
}

#[inline(always)]
fn ops_array<I: Isa>(isa: I, x: I::F32) -> impl Iterator<Item = f32> {
    let mut lanes = [f32::NEG_INFINITY; 16];
    isa.f32().store(x, &mut lanes);
    lanes.into_iter()
}

#[inline(always)]
fn first<I: Isa>(isa: I, x: I::F32) -> f32 {
    let mut lanes = [0.0; 16];
    isa.f32().store(x, &mut lanes);
    lanes[0]
}

/// `out[j] = q . k[j]` for rows `stride` apart.
pub(super) struct Dots<'a> {
    pub(super) q: &'a [f32],
    pub(super) k: &'a [f32],
    pub(super) stride: usize,
    pub(super) out: &'a mut [f32],
}

impl SimdOp for Dots<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<I: Isa>(self, isa: I) {
        let ops = isa.f32();
        for (j, out) in self.out.iter_mut().enumerate() {
            let k = &self.k[j * self.stride..][..self.q.len()];
            let mut acc = [ops.zero(); 2];
            let mut i = 0;
            while i + 2 * ops.len() <= k.len() {
                for (u, acc) in acc.iter_mut().enumerate() {
                    let at = i + u * ops.len();
                    *acc = ops.mul_add(ops.load(&self.q[at..]), ops.load(&k[at..]), *acc);
                }
                i += 2 * ops.len();
            }
            let mut sum = ops.add(acc[0], acc[1]);
            for (x, y) in self.q[i..].simd_iter_pad(ops).zip(k[i..].simd_iter_pad(ops)) {
                sum = ops.mul_add(x, y, sum);
            }
            *out = ops.sum(sum);
        }
    }
}

/// `out = factor * sum of weights[j] * v[j]`.
pub(super) struct WeightedSum<'a> {
    pub(super) weights: &'a [f32],
    pub(super) v: &'a [f32],
    pub(super) stride: usize,
    pub(super) factor: f32,
    pub(super) out: &'a mut [f32],
}

impl SimdOp for WeightedSum<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<I: Isa>(self, isa: I) {
        let ops = isa.f32();
        let lanes = ops.len();
        let factor = ops.splat(self.factor);
        let mut start = 0;
        while start + 4 * lanes <= self.out.len() {
            let mut acc = [ops.zero(); 4];
            for (j, &weight) in self.weights.iter().enumerate() {
                let weight = ops.splat(weight);
                let v = ops.load_many::<4>(&self.v[j * self.stride + start..]);
                for (acc, v) in acc.iter_mut().zip(v) {
                    *acc = ops.mul_add(weight, v, *acc);
                }
            }
            for (u, acc) in acc.into_iter().enumerate() {
                ops.store(ops.mul(acc, factor), &mut self.out[start + u * lanes..]);
            }
            start += 4 * lanes;
        }
        while start < self.out.len() {
            let count = lanes.min(self.out.len() - start);
            let mut acc = ops.zero();
            for (j, &weight) in self.weights.iter().enumerate() {
                let (v, _) = ops.load_pad(&self.v[j * self.stride + start..][..count]);
                acc = ops.mul_add(ops.splat(weight), v, acc);
            }
            let (mask, out) = (ops.first_n_mask(count), &mut self.out[start..start + count]);
            // SAFETY: the mask covers `count` elements, which `out` has.
            unsafe { ops.store_ptr_mask(ops.mul(acc, factor), out.as_mut_ptr(), mask) };
            start += count;
        }
    }
}

/// `out = factor * out + add`.
pub(super) struct Scale<'a> {
    pub(super) out: &'a mut [f32],
    pub(super) factor: f32,
    pub(super) add: Option<&'a [f32]>,
}

impl SimdOp for Scale<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<I: Isa>(self, _isa: I) {
        match self.add {
            None => self.out.iter_mut().for_each(|x| *x *= self.factor),
            Some(add) => self.out.iter_mut().zip(add).for_each(|(x, a)| *x = *x * self.factor + a),
        }
    }
}
