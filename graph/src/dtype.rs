//! Element types.

use std::fmt;

/// An element type of a tensor; the names and codes are ONNX's (`TensorProto.DataType`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names are the documentation")]
pub enum DType {
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
    String,
    Complex64,
    Complex128,
}

/// (type, ONNX code, name, bits per element; 0 bits = not a fixed size)
const TABLE: &[(DType, i32, &str, u32)] = &[
    (DType::F32, 1, "f32", 32),
    (DType::U8, 2, "u8", 8),
    (DType::I8, 3, "i8", 8),
    (DType::U16, 4, "u16", 16),
    (DType::I16, 5, "i16", 16),
    (DType::I32, 6, "i32", 32),
    (DType::I64, 7, "i64", 64),
    (DType::String, 8, "string", 0),
    (DType::Bool, 9, "bool", 8),
    (DType::F16, 10, "f16", 16),
    (DType::F64, 11, "f64", 64),
    (DType::U32, 12, "u32", 32),
    (DType::U64, 13, "u64", 64),
    (DType::Complex64, 14, "complex64", 64),
    (DType::Complex128, 15, "complex128", 128),
    (DType::BF16, 16, "bf16", 16),
    (DType::F8E4M3FN, 17, "f8e4m3fn", 8),
    (DType::F8E4M3FNUZ, 18, "f8e4m3fnuz", 8),
    (DType::F8E5M2, 19, "f8e5m2", 8),
    (DType::F8E5M2FNUZ, 20, "f8e5m2fnuz", 8),
    (DType::U4, 21, "u4", 4),
    (DType::I4, 22, "i4", 4),
    (DType::F4E2M1, 23, "f4e2m1", 4),
    (DType::F8E8M0, 24, "f8e8m0", 8),
    (DType::U2, 25, "u2", 2),
    (DType::I2, 26, "i2", 2),
];

impl DType {
    fn row(self) -> &'static (DType, i32, &'static str, u32) {
        TABLE.iter().find(|r| r.0 == self).expect("every dtype has a row")
    }

    /// The type of an ONNX `TensorProto.DataType` code, if this program knows it.
    pub fn from_onnx(code: i32) -> Option<DType> {
        TABLE.iter().find(|r| r.1 == code).map(|r| r.0)
    }

    /// The ONNX `TensorProto.DataType` code.
    pub fn to_onnx(self) -> i32 {
        self.row().1
    }

    /// The short name: `f32`, `i64`, `bool`.
    pub fn name(self) -> &'static str {
        self.row().2
    }

    /// Bits per element as stored; `None` for strings.
    pub fn bits(self) -> Option<u32> {
        Some(self.row().3).filter(|&b| b > 0)
    }

    /// Bytes that `n` elements take (sub-byte types are packed, the last byte padded); `None` on overflow or for strings.
    pub fn bytes_for(self, n: usize) -> Option<usize> {
        n.checked_mul(self.bits()? as usize)?.checked_add(7).map(|b| b / 8)
    }

    /// True for the floating-point types, the narrow ones included.
    pub fn is_float(self) -> bool {
        use DType::*;
        matches!(self, F32 | F64 | F16 | BF16 | F8E4M3FN | F8E4M3FNUZ | F8E5M2 | F8E5M2FNUZ | F8E8M0 | F4E2M1)
    }

    /// True for signed and unsigned integers (not bool).
    pub fn is_int(self) -> bool {
        use DType::*;
        matches!(self, I8 | I16 | I32 | I64 | U8 | U16 | U32 | U64 | I2 | U2 | I4 | U4)
    }

    /// Every element type.
    pub fn all() -> impl Iterator<Item = DType> {
        TABLE.iter().map(|r| r.0)
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_round_trip_and_sizes_are_checked() {
        for t in DType::all() {
            assert_eq!(DType::from_onnx(t.to_onnx()), Some(t));
        }
        assert_eq!(DType::I4.bytes_for(3), Some(2));
        assert_eq!(DType::F32.bytes_for(usize::MAX / 2), None);
        assert_eq!(DType::String.bytes_for(1), None);
        assert_eq!(DType::from_onnx(0), None);
    }
}
