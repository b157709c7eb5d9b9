//! The precision of weights.

use std::fmt;
use std::str::FromStr;

/// The form in which weights are held for a run.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default, serde::Serialize, serde::Deserialize)]
pub enum Precision {
    /// As in the file (f32 models stay f32).
    #[default]
    F32,
    /// IEEE half precision, 16 bits.
    F16,
    /// bfloat16.
    Bf16,
    /// 8-bit integers: per-channel symmetric weights, dynamic per-token activations, integer arithmetic.
    Int8,
    /// 4-bit integers in groups of 32 with a scale each.
    Int4,
}

impl Precision {
    /// Every precision, widest first.
    pub const ALL: [Precision; 5] = [Precision::F32, Precision::F16, Precision::Bf16, Precision::Int8, Precision::Int4];

    /// `f32`, `f16`, `bf16`, `int8`, `int4`.
    pub fn name(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::F16 => "f16",
            Precision::Bf16 => "bf16",
            Precision::Int8 => "int8",
            Precision::Int4 => "int4",
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Precision {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        Precision::ALL
            .into_iter()
            .find(|p| p.name() == s)
            .ok_or_else(|| format!("\"{s}\" is no precision: use f32, f16, bf16, int8 or int4"))
    }
}
