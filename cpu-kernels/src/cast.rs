//! Conversion between all element types, as ONNX's Cast defines it.
//!
//! Float to integer truncates towards zero and saturates (NaN gives 0); integers wrap; anything but 0 is true. Narrow floats round
//! halves to even. Types of less than a byte are packed, low bits first; float to those truncates and saturates.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use crate::error::{KernelError, expect_len};
use crate::number::Number;
use crate::pool::Pool;
use crate::split::SharedMut;

mod narrow;
mod packed;

pub use narrow::{Float8, decode_e8m0, decode_f4, encode_e8m0, encode_f4};
pub use packed::{pack2, pack4, unpack_i2, unpack_i4, unpack_u2, unpack_u4};

/// An element type.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[allow(missing_docs, reason = "the names are the documentation")]
pub enum Kind {
    F32,
    F64,
    F16,
    BF16,
    F8E4M3FN,
    F8E4M3FNUZ,
    F8E5M2,
    F8E5M2FNUZ,
    F8E8M0,
    F4E2M1,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
    I2,
    U2,
    I4,
    U4,
    Bool,
}

impl Kind {
    /// Every element type.
    pub const ALL: [Kind; 23] = {
        use Kind::*;
        [
            F32, F64, F16, BF16, F8E4M3FN, F8E4M3FNUZ, F8E5M2, F8E5M2FNUZ, F8E8M0, F4E2M1, I8, I16, I32, I64, U8, U16,
            U32, U64, I2, U2, I4, U4, Bool,
        ]
    };

    /// Bits per element as stored.
    pub fn bits(self) -> usize {
        use Kind::*;
        match self {
            I2 | U2 => 2,
            I4 | U4 | F4E2M1 => 4,
            I8 | U8 | Bool | F8E4M3FN | F8E4M3FNUZ | F8E5M2 | F8E5M2FNUZ | F8E8M0 => 8,
            I16 | U16 | F16 | BF16 => 16,
            I32 | U32 | F32 => 32,
            I64 | U64 | F64 => 64,
        }
    }

    /// Bytes that `n` elements take.
    pub fn bytes_for(self, n: usize) -> Result<usize, KernelError> {
        Ok(n.checked_mul(self.bits()).ok_or(KernelError::TooLarge)?.div_ceil(8))
    }

    fn float8(self) -> Option<Float8> {
        Some(match self {
            Kind::F8E4M3FN => Float8::E4M3FN,
            Kind::F8E4M3FNUZ => Float8::E4M3FNUZ,
            Kind::F8E5M2 => Float8::E5M2,
            Kind::F8E5M2FNUZ => Float8::E5M2FNUZ,
            _ => return None,
        })
    }
}

/// Elements converted at a time through an intermediate type; a multiple of 4, so that packed types begin on a byte.
const BLOCK: usize = 1024;

/// Converts `n` elements. `saturate` says what an 8-bit float makes of a number too large for it: its greatest (true), or
/// infinity or NaN. Both slices hold exactly `n` elements; they may be misaligned.
pub fn cast(
    pool: &Pool,
    from: Kind,
    to: Kind,
    saturate: bool,
    n: usize,
    x: &[u8],
    y: &mut [u8],
) -> Result<(), KernelError> {
    expect_len("the bytes of the input", x.len(), from.bytes_for(n)?)?;
    expect_len("the bytes of the output", y.len(), to.bytes_for(n)?)?;
    let y = SharedMut::new(y);
    // The ranges are of blocks, so that each begins on a byte.
    pool.for_ranges(n.div_ceil(BLOCK), 16, &|blocks| {
        for block in blocks {
            let first = block * BLOCK;
            let count = BLOCK.min(n - first);
            let span =
                |kind: Kind| first / 8 * kind.bits()..(first / 8 * kind.bits()) + (count * kind.bits()).div_ceil(8);
            // SAFETY: the blocks are disjoint, and each begins and (but for the last) ends on a byte.
            convert(from, to, saturate, count, &x[span(from)], unsafe { y.slice(span(to)) });
        }
    });
    Ok(())
}

/// Reads `n` elements as the Rust type `T`, whose size they have.
fn read<T: bytemuck::Pod, const E: usize>(x: &[u8]) -> impl Iterator<Item = T> + '_ {
    x.as_chunks::<E>().0.iter().map(|b| bytemuck::pod_read_unaligned(b))
}

/// Calls `$m!(type, size)` with the machine's type of a kind, if it has one, else evaluates `$other`.
macro_rules! machine {
    ($kind:expr, $m:ident, $other:expr) => {
        match $kind {
            Kind::F32 => $m!(f32, 4),
            Kind::F64 => $m!(f64, 8),
            Kind::I8 => $m!(i8, 1),
            Kind::I16 => $m!(i16, 2),
            Kind::I32 => $m!(i32, 4),
            Kind::I64 => $m!(i64, 8),
            Kind::U8 => $m!(u8, 1),
            Kind::U16 => $m!(u16, 2),
            Kind::U32 => $m!(u32, 4),
            Kind::U64 => $m!(u64, 8),
            _ => $other,
        }
    };
}

/// Converts one block on this thread.
fn convert(from: Kind, to: Kind, saturate: bool, n: usize, x: &[u8], y: &mut [u8]) {
    if from == to && from != Kind::Bool {
        y.copy_from_slice(x);
        return;
    }
    macro_rules! source {
        ($t:ident, $size:literal) => {
            from_machine::<$t, $size>(to, saturate, x, y)
        };
    }
    machine!(from, source, {
        if matches!(from, Kind::Bool | Kind::I2 | Kind::U2 | Kind::I4 | Kind::U4) {
            let mut wide = [0u8; BLOCK];
            let wide = &mut wide[..n];
            let signed = packed::unpack(from, x, wide);
            return convert(if signed { Kind::I8 } else { Kind::U8 }, to, saturate, n, wide, y);
        }
        let mut wide = [0f32; BLOCK];
        let wide = &mut wide[..n];
        to_f32(from, x, wide);
        if to == Kind::F32 {
            y.copy_from_slice(bytemuck::cast_slice(wide));
        } else {
            from_machine::<f32, 4>(to, saturate, bytemuck::cast_slice(wide), y);
        }
    });
}

/// Any float of 16 bits or less as f32, exactly.
fn to_f32(from: Kind, x: &[u8], y: &mut [f32]) {
    match from {
        Kind::F16 | Kind::BF16 => {
            let mut bits = [0u16; BLOCK];
            let bits = &mut bits[..y.len()];
            bytemuck::cast_slice_mut::<u16, u8>(bits).copy_from_slice(x);
            if from == Kind::F16 {
                bytemuck::cast_slice::<u16, f16>(bits).convert_to_f32_slice(y);
            } else {
                bytemuck::cast_slice::<u16, bf16>(bits).convert_to_f32_slice(y);
            }
        }
        Kind::F4E2M1 => {
            for (i, y) in y.iter_mut().enumerate() {
                *y = decode_f4(x[i / 2] >> (i % 2 * 4));
            }
        }
        _ => {
            let decode = |b: u8| from.float8().map_or_else(|| decode_e8m0(b), |f| f.decode(b));
            for (y, &x) in y.iter_mut().zip(x) {
                *y = decode(x);
            }
        }
    }
}

/// From a type of the machine to any.
fn from_machine<T: Number + Cast, const E: usize>(to: Kind, saturate: bool, x: &[u8], y: &mut [u8]) {
    macro_rules! target {
        ($t:ident, $size:literal) => {
            for (y, v) in y.as_chunks_mut::<$size>().0.iter_mut().zip(read::<T, E>(x)) {
                *y = v.$t().to_ne_bytes();
            }
        };
    }
    machine!(to, target, {
        match to {
            Kind::Bool => y.iter_mut().zip(read::<T, E>(x)).for_each(|(y, v)| *y = u8::from(v != T::ZERO)),
            Kind::F16 | Kind::BF16 => to_half::<T, E>(to, x, y),
            Kind::I4 | Kind::U4 | Kind::I2 | Kind::U2 | Kind::F4E2M1 => {
                let mut codes = [0u8; BLOCK];
                let mut n = 0;
                for (code, v) in codes.iter_mut().zip(read::<T, E>(x)) {
                    *code = match to {
                        Kind::F4E2M1 => encode_f4(v.f64()),
                        _ if T::INTEGER => v.i64() as u8,
                        _ => packed::saturate(to, v.f64()),
                    };
                    n += 1;
                }
                if to.bits() == 4 { pack4(&codes[..n], y) } else { pack2(&codes[..n], y) }
            }
            _ => {
                let encode = |v: f64| to.float8().map_or_else(|| encode_e8m0(v), |f| f.encode(v, saturate));
                y.iter_mut().zip(read::<T, E>(x)).for_each(|(y, v)| *y = encode(v.f64()));
            }
        }
    });
}

fn to_half<T: Number + Cast, const E: usize>(to: Kind, x: &[u8], y: &mut [u8]) {
    let mut bits = [0u16; BLOCK];
    let n = y.len() / 2;
    let bits = &mut bits[..n];
    if T::NAME == "f32" {
        let mut wide = [0f32; BLOCK];
        let wide = &mut wide[..n];
        bytemuck::cast_slice_mut::<f32, u8>(wide).copy_from_slice(x);
        if to == Kind::F16 {
            bytemuck::cast_slice_mut::<u16, f16>(bits).convert_from_f32_slice(wide);
        } else {
            bytemuck::cast_slice_mut::<u16, bf16>(bits).convert_from_f32_slice(wide);
        }
    } else {
        for (bits, v) in bits.iter_mut().zip(read::<T, E>(x)) {
            let v = narrow::round_to_odd(v.f64());
            *bits = if to == Kind::F16 { f16::from_f32(v).to_bits() } else { bf16::from_f32(v).to_bits() };
        }
    }
    y.copy_from_slice(bytemuck::cast_slice(bits));
}

/// The language's `as` between the machine's types.
trait Cast: Copy {
    fn f32(self) -> f32;
    fn f64(self) -> f64;
    fn i8(self) -> i8;
    fn i16(self) -> i16;
    fn i32(self) -> i32;
    fn i64(self) -> i64;
    fn u8(self) -> u8;
    fn u16(self) -> u16;
    fn u32(self) -> u32;
    fn u64(self) -> u64;
}

macro_rules! casts {
    ($($t:ident)*) => { $(
        impl Cast for $t {
            casts!(@ f32 f64 i8 i16 i32 i64 u8 u16 u32 u64);
        }
    )* };
    (@ $($to:ident)*) => { $(
        #[inline(always)]
        fn $to(self) -> $to {
            self as $to
        }
    )* };
}
casts!(f32 f64 i8 i16 i32 i64 u8 u16 u32 u64);

#[cfg(test)]
mod tests;
