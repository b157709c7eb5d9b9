//! Dispatch on element types, and outputs as typed slices.

use graph::Element;

use crate::op::OpError;
use crate::tensor::{OutData, Output};

/// Evaluates `$body` with `$t` as the Rust type of `$dtype`, one of the machine's numbers; an error that names `$what` otherwise.
macro_rules! by_number {
    ($dtype:expr, $what:expr, $t:ident => $body:expr) => {{
        use graph::DType as D;
        macro_rules! arm {
            ($rust:ty) => {{
                type $t = $rust;
                $body
            }};
        }
        match $dtype {
            D::F32 => arm!(f32),
            D::F64 => arm!(f64),
            D::I64 => arm!(i64),
            D::I32 => arm!(i32),
            D::I16 => arm!(i16),
            D::I8 => arm!(i8),
            D::U64 => arm!(u64),
            D::U32 => arm!(u32),
            D::U16 => arm!(u16),
            D::U8 => arm!(u8),
            other => Err($crate::op::OpError::unsupported(format!("{} of {other}", $what))),
        }
    }};
}
pub(crate) use by_number;

/// The elements of an output to be written; `None` if nobody wants it.
pub(crate) fn placed<'o, T: Element>(out: Option<&'o mut Output<'_>>) -> Result<Option<&'o mut [T]>, OpError> {
    let Some(out) = out else { return Ok(None) };
    match &mut out.data {
        OutData::Unwanted => Ok(None),
        OutData::Placed(_) if out.dtype != T::DTYPE => {
            Err(OpError::unsupported(format!("output of {} where only {} is handled", out.dtype, T::DTYPE)))
        }
        OutData::Placed(b) => bytemuck::try_cast_slice_mut(b).map(Some).map_err(|e| OpError::invalid(e.to_string())),
        OutData::Own(_) => Err(OpError::invalid("an output has no place")),
    }
}

/// As [`placed`]; what nobody wants goes to `spare`, resized to `len`.
pub(crate) fn placed_or<'o, T: Element + Default>(
    out: Option<&'o mut Output<'_>>,
    spare: &'o mut Vec<T>,
    len: usize,
) -> Result<&'o mut [T], OpError> {
    Ok(match placed(out)? {
        Some(slice) => slice,
        None => {
            spare.resize(len, T::default());
            spare
        }
    })
}
