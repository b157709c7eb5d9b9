//! Floats of 8 and 4 bits (the OCP formats and the variants without infinity and negative zero).

/// An 8-bit float with a sign.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Float8 {
    /// 4 exponent bits (bias 7), NaN as all ones, no infinity; to 448.
    E4M3FN,
    /// 4 exponent bits (bias 8), NaN as negative zero, no infinity; to 240.
    E4M3FNUZ,
    /// 5 exponent bits (bias 15), infinities and NaNs as in IEEE 754; to 57344.
    E5M2,
    /// 5 exponent bits (bias 16), NaN as negative zero, no infinity; to 57344.
    E5M2FNUZ,
}

/// The layout of a small float: bits of the mantissa, and the exponent's bias.
#[derive(Clone, Copy)]
struct Layout {
    mantissa: u32,
    bias: i32,
}

impl Layout {
    /// The value of a code without its sign, special values aside.
    fn decode(self, code: u8) -> f64 {
        let (e, m) = (i32::from(code >> self.mantissa), code & ((1 << self.mantissa) - 1));
        // Subnormal numbers have the least exponent and no hidden bit.
        let whole = u32::from(m) + if e > 0 { 1 << self.mantissa } else { 0 };
        f64::from(whole) * 2f64.powi(e.max(1) - self.bias - self.mantissa as i32)
    }

    /// The code of the value nearest to `v` >= 0, halves to even, as if exponents had no upper end.
    fn encode(self, v: f64) -> u32 {
        let exponent = ((v.to_bits() >> 52) as i32 - 1023).max(1 - self.bias);
        let steps = (v * 2f64.powi(self.mantissa as i32 - exponent)).round_ties_even() as u32;
        // A carry out of the mantissa runs into the exponent, as it should; subnormal numbers have one step fewer of it.
        (((exponent + self.bias - 1) as u32) << self.mantissa) + steps
    }
}

impl Float8 {
    fn layout(self) -> Layout {
        match self {
            Float8::E4M3FN => Layout { mantissa: 3, bias: 7 },
            Float8::E4M3FNUZ => Layout { mantissa: 3, bias: 8 },
            Float8::E5M2 => Layout { mantissa: 2, bias: 15 },
            Float8::E5M2FNUZ => Layout { mantissa: 2, bias: 16 },
        }
    }

    /// The codes of the greatest number, of infinity (NaN where there is none), and of NaN.
    fn specials(self) -> (u8, u8, u8) {
        match self {
            Float8::E4M3FN => (0x7E, 0x7F, 0x7F),
            Float8::E5M2 => (0x7B, 0x7C, 0x7F),
            Float8::E4M3FNUZ | Float8::E5M2FNUZ => (0x7F, 0x80, 0x80),
        }
    }

    /// The value, exactly.
    pub fn decode(self, code: u8) -> f32 {
        let (max, infinity, nan) = self.specials();
        if nan == 0x80 && code == nan {
            return f32::NAN;
        }
        let size = code & 0x7F;
        let v = if size <= max {
            self.layout().decode(size) as f32
        } else if size == infinity && infinity != nan {
            f32::INFINITY
        } else {
            f32::NAN
        };
        if code & 0x80 != 0 { -v } else { v }
    }

    /// The code of the nearest value, halves to even. A number too large for the format (infinity too) gives the greatest if
    /// `saturate`, else infinity, or NaN where there is none.
    pub fn encode(self, v: f64, saturate: bool) -> u8 {
        let (max, infinity, nan) = self.specials();
        let sign = if v.is_sign_negative() { 0x80 } else { 0 };
        if v.is_nan() {
            return if nan == 0x80 { nan } else { sign | nan };
        }
        let code = if v.is_infinite() { u32::MAX } else { self.layout().encode(v.abs().min(1e9)) };
        let code = match code {
            _ if code <= u32::from(max) => code as u8,
            _ if saturate => max,
            _ => infinity,
        };
        // Where NaN is negative zero, zero has no sign.
        if nan == 0x80 && (code == 0 || code == nan) { code } else { sign | code }
    }
}

const F4: Layout = Layout { mantissa: 1, bias: 1 };

/// The value of the low 4 bits as E2M1: 0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives.
pub fn decode_f4(code: u8) -> f32 {
    let v = F4.decode(code & 7) as f32;
    if code & 8 != 0 { -v } else { v }
}

/// The E2M1 code of the nearest value, halves to even, saturated. There is no NaN: it gives -0, as in ONNX's reference.
pub fn encode_f4(v: f64) -> u8 {
    if v.is_nan() {
        return 8;
    }
    let sign = if v.is_sign_negative() { 8 } else { 0 };
    sign | F4.encode(v.abs().min(8.0)).min(7) as u8
}

/// The value of an E8M0 code: 2^(code - 127); 255 is NaN.
pub fn decode_e8m0(code: u8) -> f32 {
    if code == 255 { f32::NAN } else { 2f64.powi(i32::from(code) - 127) as f32 }
}

/// The E8M0 code of the least power of two that is not below |v|, saturated; NaN gives 255.
pub fn encode_e8m0(v: f64) -> u8 {
    let v = v.abs();
    if v.is_nan() {
        return 255;
    }
    let exponent = (v.to_bits() >> 52) as i32 - 1023;
    let above = v.to_bits() << 12 != 0;
    (exponent + i32::from(above) + 127).clamp(0, 254) as u8
}

/// `v` as f32 rounded to odd: what is not exact gets its last bit set. Rounding that to a type at least two bits narrower gives
/// what rounding `v` once would have given.
pub(super) fn round_to_odd(v: f64) -> f32 {
    let near = v as f32;
    if f64::from(near) == v || v.is_nan() {
        return near;
    }
    let bits = near.to_bits();
    let towards_zero = if f64::from(near).abs() > v.abs() { bits - 1 } else { bits };
    f32::from_bits(towards_zero | 1)
}
