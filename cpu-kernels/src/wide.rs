//! Run-time choice of the instruction set for plain loops.
//!
//! A kernel is written once as an ordinary loop and handed to [`wide`] as a closure: the closure is inlined into a copy
//! of `wide` compiled for AVX-512, one for AVX2 and one for the baseline (on aarch64 NEON is the baseline), and the compiler
//! vectorises each. No fused multiply-add is asked for, so every copy computes the same bits.

use std::sync::OnceLock;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Base,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

fn level() -> Level {
    static LEVEL: OnceLock<Level> = OnceLock::new();
    *LEVEL.get_or_init(|| {
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            let avx512 = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq");
            if avx2 && avx512 {
                return Level::Avx512;
            }
            if avx2 {
                return Level::Avx2;
            }
        }
        Level::Base
    })
}

/// Runs `f` compiled for the widest vectors this machine has. `f` and what it calls must be inlined (`#[inline(always)]`)
/// for this to have an effect; the result is the same in any case.
#[inline]
pub(crate) fn wide<R>(f: impl FnOnce() -> R) -> R {
    match level() {
        Level::Base => f(),
        // SAFETY: `level` found these features on this machine.
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => unsafe { avx2(f) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => unsafe { avx512(f) },
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2<R>(f: impl FnOnce() -> R) -> R {
    f()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,avx512f,avx512vl,avx512bw,avx512dq")]
fn avx512<R>(f: impl FnOnce() -> R) -> R {
    f()
}

/// Joins the lanes of an accumulator in a tree: fewer steps than one after the other, and they are vectors too. `N` is a power of 2.
#[inline(always)]
pub(crate) fn join_lanes<T: Copy, const N: usize>(mut lanes: [T; N], f: impl Fn(T, T) -> T) -> T {
    let mut width = N / 2;
    while width > 0 {
        let (low, high) = lanes.split_at_mut(width);
        for (low, high) in low.iter_mut().zip(high) {
            *low = f(*low, *high);
        }
        width /= 2;
    }
    lanes[0]
}
