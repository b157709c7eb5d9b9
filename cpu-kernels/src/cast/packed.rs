//! Integers of 2 and 4 bits, packed low bits first.

use super::Kind;

/// Packs the low 4 bits of each code, two to a byte.
pub fn pack4(codes: &[u8], y: &mut [u8]) {
    for (y, pair) in y.iter_mut().zip(codes.chunks(2)) {
        *y = pair.iter().rev().fold(0, |b, c| b << 4 | c & 15);
    }
}

/// Packs the low 2 bits of each code, four to a byte.
pub fn pack2(codes: &[u8], y: &mut [u8]) {
    for (y, four) in y.iter_mut().zip(codes.chunks(4)) {
        *y = four.iter().rev().fold(0, |b, c| b << 2 | c & 3);
    }
}

macro_rules! unpackers {
    ($($(#[$doc:meta])* $name:ident: $t:ty, $per_byte:literal, $up:literal;)*) => { $(
        $(#[$doc])*
        pub fn $name(x: &[u8], y: &mut [$t]) {
            for (y, &b) in y.chunks_mut($per_byte).zip(x) {
                for (i, y) in y.iter_mut().enumerate() {
                    // To the top of the byte and down again, which extends the sign of a signed type.
                    *y = ((b >> (i * (8 - $up))) << $up) as $t >> $up;
                }
            }
        }
    )* };
}

unpackers! {
    /// Unpacks unsigned integers of 4 bits.
    unpack_u4: u8, 2, 4;
    /// Unpacks signed integers of 4 bits.
    unpack_i4: i8, 2, 4;
    /// Unpacks unsigned integers of 2 bits.
    unpack_u2: u8, 4, 6;
    /// Unpacks signed integers of 2 bits.
    unpack_i2: i8, 4, 6;
}

/// Unpacks a narrow integer kind or a bool (as 0 or 1) into bytes; true if they are signed.
pub(super) fn unpack(from: Kind, x: &[u8], y: &mut [u8]) -> bool {
    match from {
        Kind::I4 => unpack_i4(x, bytemuck::cast_slice_mut(y)),
        Kind::I2 => unpack_i2(x, bytemuck::cast_slice_mut(y)),
        Kind::U4 => unpack_u4(x, y),
        Kind::U2 => unpack_u2(x, y),
        _ => y.iter_mut().zip(x).for_each(|(y, &x)| *y = u8::from(x != 0)),
    }
    matches!(from, Kind::I4 | Kind::I2)
}

/// A float truncated and saturated to a narrow integer kind, as its code; NaN gives 0.
pub(super) fn saturate(to: Kind, v: f64) -> u8 {
    let (lo, hi) = match to {
        Kind::I4 => (-8, 7),
        Kind::U4 => (0, 15),
        Kind::I2 => (-2, 1),
        _ => (0, 3),
    };
    (v as i64).clamp(lo, hi) as u8
}
