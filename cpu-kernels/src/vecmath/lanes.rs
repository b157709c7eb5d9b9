//! Transcendental functions of one number, written without branches so that a loop over them vectorises.

/// ln 2 in two parts, the first with so few bits that whole numbers times it are exact.
const LN2_HIGH: f32 = 0.693_359_4;
const LN2_LOW: f32 = -2.121_944_4e-4;

/// e^x: with n = round(x / ln 2) and r = x - n ln 2, e^x = 2^n e^r, where e^r is 1 + r + r^2 q(r); q is a minimax polynomial
/// on |r| <= ln 2 / 2.
#[inline(always)]
pub(crate) fn exp_lane(x: f32) -> f32 {
    // Adding 1.5 * 2^23 rounds to a whole number, which is then in the low bits.
    const ROUND: f32 = 12_582_912.0;
    // Beyond these the result is 0 or infinite anyway. (NaN stays.)
    let x = if x < -104.0 { -104.0 } else { x };
    let x = if x > 89.0 { 89.0 } else { x };
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * LN2_HIGH - n * LN2_LOW;
    let q = 0.5 + r * (0.166_665_73 + r * (0.041_666_456 + r * (0.008_363_777 + r * 0.001_393_454_5)));
    let p = 1.0 + (r + r * r * q);
    // 2^n in two factors, as n may be outside the exponents of normal numbers.
    let n = shifted.to_bits().wrapping_sub(ROUND.to_bits()) as i32;
    let half = n >> 1;
    p * power_of_two(half) * power_of_two(n.wrapping_sub(half))
}

/// 2^n for n in -126 ..= 127.
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) << 23) as u32)
}

/// The natural logarithm of one lane, written so that a loop over it vectorises.
///
/// x = m * 2^k with m in [sqrt(1/2), sqrt(2)); with s = (m - 1) / (m + 1), ln m = 2 atanh(s) = 2s + 2s^3/3 + 2s^5/5 + ...
#[inline(always)]
pub(crate) fn ln_lane(x: f32) -> f32 {
    // Subnormal numbers are scaled into the normal range first.
    let tiny = x < f32::MIN_POSITIVE;
    let scaled = if tiny { x * 8_388_608.0 } else { x };
    let bits = scaled.to_bits();
    let shifted = bits.wrapping_sub(0x3f35_04f3); // sqrt(1/2)
    let k = (shifted as i32) >> 23;
    let m = f32::from_bits(bits.wrapping_sub((k << 23) as u32));
    let k = k as f32 - if tiny { 23.0 } else { 0.0 };
    let r = ln_reduced(m - 1.0, k);
    let r = if x > 0.0 {
        r
    } else if x == 0.0 {
        f32::NEG_INFINITY
    } else {
        f32::NAN
    };
    if x == f32::INFINITY { x } else { r }
}

/// ln(1 + f) + k ln 2, for 1 + f in [sqrt(1/2), sqrt(2)).
#[inline(always)]
fn ln_reduced(f: f32, k: f32) -> f32 {
    let s = f / (2.0 + f);
    let z = s * s;
    let tail = z * (2.0 / 3.0 + z * (2.0 / 5.0 + z * (2.0 / 7.0 + z * (2.0 / 9.0 + z * (2.0 / 11.0)))));
    // 2s = f - s f, so that ln(1 + f) = f - (s f - s tail): the large term stays exact.
    let small = s * (f - tail) - k * LN2_LOW;
    k * LN2_HIGH + (f - small)
}

/// ln(1 + e) for e in [0, 1].
#[inline(always)]
pub(crate) fn ln_1p_lane(e: f32) -> f32 {
    // Above sqrt(2) - 1 halve: ln(1 + e) = ln 2 + ln(1 + (e - 1) / 2); (e - 1) is exact there up to rounding of half an ulp.
    let high = e > 0.414_213_56;
    let f = if high { (e - 1.0) * 0.5 } else { e };
    ln_reduced(f, if high { 1.0 } else { 0.0 })
}
