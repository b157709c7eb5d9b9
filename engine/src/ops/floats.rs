//! Floats of any width as f64, for operators whose precision matters more than their speed; and sizes from attributes.

use graph::DType;

use crate::exec::convert;
use crate::op::{Inputs, OpError, RunCx};

/// The numbers of an input as f64.
pub(crate) fn read(cx: &RunCx<'_>, i: usize) -> Result<Vec<f64>, OpError> {
    let x = cx.input(i)?;
    let mut out = vec![0f64; x.len()];
    convert(cx.pool(), x.dtype, DType::F64, x.len(), x.data, bytemuck::cast_slice_mut(&mut out))?;
    Ok(out)
}

/// Writes all of output `i` if somebody wants it, rounded to its type.
pub(crate) fn write(cx: &mut RunCx<'_>, i: usize, v: &[f64]) -> Result<(), OpError> {
    if !cx.wants(i) {
        return Ok(());
    }
    let (pool, dtype) = (cx.pool(), cx.out_dtype(i));
    let out = cx.out_bytes(i)?;
    if dtype.bytes_for(v.len()) != Some(out.len()) {
        return Err(OpError::invalid(format!("output {i} is not of {} elements", v.len())));
    }
    convert(pool, DType::F64, dtype, v.len(), bytemuck::cast_slice(v), out)
}

/// Fails unless input `i` has floats.
pub(crate) fn expect_float(inputs: &Inputs<'_>, i: usize) -> Result<(), OpError> {
    match inputs.need(i)?.dtype {
        d if d.is_float() => Ok(()),
        other => Err(OpError::invalid(format!("input {i} must be floats, it is {other}"))),
    }
}

/// The one number of an input that may be left out, as a float.
pub(crate) fn scalar(cx: &RunCx<'_>, i: usize) -> Result<Option<f64>, OpError> {
    if cx.get(i).is_none() {
        return Ok(None);
    }
    match read(cx, i)?[..] {
        [v] => Ok(Some(v)),
        ref other => Err(OpError::invalid(format!("input {i} must have one element, it has {}", other.len()))),
    }
}

/// The one integer of a list.
pub(crate) fn one(list: &[i64], what: &str) -> Result<i64, OpError> {
    match list {
        [v] => Ok(*v),
        other => Err(OpError::invalid(format!("{what} must be one number, there are {}", other.len()))),
    }
}

/// Sizes, none of them negative.
pub(crate) fn sizes(list: &[i64], what: &str) -> Result<Vec<usize>, OpError> {
    let size = |&v: &i64| usize::try_from(v).map_err(|_| OpError::invalid(format!("{what} of {v}")));
    list.iter().map(size).collect()
}

/// Sizes of which there must be `n`, none below `least`; `default` for each if there are none.
pub(crate) fn sizes_or(
    list: Option<&[i64]>,
    n: usize,
    default: usize,
    least: usize,
    what: &str,
) -> Result<Vec<usize>, OpError> {
    let Some(list) = list else { return Ok(vec![default; n]) };
    let all = sizes(list, what)?;
    if all.len() != n || all.iter().any(|&v| v < least) {
        return Err(OpError::invalid(format!("{what} = {list:?}, {n} numbers from {least} up are needed")));
    }
    Ok(all)
}

/// The bytes of input `i` copied to output 0, which has the same size.
pub(crate) fn copy_input(cx: &mut RunCx<'_>, i: usize) -> Result<(), OpError> {
    if cx.taken() == Some(i) {
        return Ok(());
    }
    let x = cx.input(i)?;
    cx.out_bytes(0)?.copy_from_slice(x.data);
    Ok(())
}

/// Evaluates `$body` with `$t` as f32 or f64; an error that names `$what` for other types.
macro_rules! by_float {
    ($dtype:expr, $what:expr, $t:ident => $body:expr) => {
        match $dtype {
            graph::DType::F32 => {
                type $t = f32;
                $body
            }
            graph::DType::F64 => {
                type $t = f64;
                $body
            }
            other => Err($crate::op::OpError::unsupported(format!("{} of {other}", $what))),
        }
    };
}
pub(crate) use by_float;
