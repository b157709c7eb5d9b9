//! Tensors to and from the device's four-byte elements: f32, i32 for integers, 0 or 1 in a u32 for bools.

use bytes::Bytes;
use graph::{DType, Tensor};

use crate::exec;
use crate::op::OpError;

/// The type that stands for `dtype` on the device, if there is one.
pub(crate) fn device_dtype(dtype: DType) -> Option<DType> {
    use DType::*;
    match dtype {
        F32 | F16 | BF16 | F8E4M3FN | F8E4M3FNUZ | F8E5M2 | F8E5M2FNUZ => Some(F32),
        I64 | I32 | I16 | I8 | U16 | U8 => Some(I32),
        Bool => Some(U32),
        _ => None,
    }
}

/// The bytes to upload.
pub(crate) fn to_device(t: &Tensor) -> Result<Vec<u8>, OpError> {
    let on = device_dtype(t.dtype()).ok_or_else(|| OpError::unsupported(format!("{} on the GPU", t.dtype())))?;
    convert(t.bytes(), t.dtype(), on, t.len())
}

/// The tensor that came back as `bytes`.
pub(crate) fn from_device(bytes: &[u8], dtype: DType, shape: &[usize]) -> Result<Tensor, OpError> {
    let on = device_dtype(dtype).ok_or_else(|| OpError::unsupported(format!("{dtype} on the GPU")))?;
    let n = crate::op::checked_numel(shape).ok_or_else(|| OpError::invalid("the shape overflows"))?;
    let data = convert(bytes.get(..n * 4).ok_or_else(|| OpError::invalid("the download is short"))?, on, dtype, n)?;
    Tensor::new(dtype, shape.to_vec(), Bytes::from(data)).map_err(|e| OpError::invalid(e.to_string()))
}

fn convert(bytes: &[u8], from: DType, to: DType, n: usize) -> Result<Vec<u8>, OpError> {
    match (from, to) {
        (a, b) if a == b => Ok(bytes.to_vec()),
        (DType::Bool, DType::U32) => Ok(bytes.iter().flat_map(|&b| u32::from(b != 0).to_le_bytes()).collect()),
        (DType::U32, DType::Bool) => Ok(bytes.chunks_exact(4).map(|w| u8::from(w != [0; 4])).collect()),
        // Indices and masks are far from these bounds; sentinels such as INT64_MAX ("to the end") stay the largest.
        (DType::I64, DType::I32) => Ok(bytes
            .chunks_exact(8)
            .map(|w| i64::from_le_bytes(w.try_into().expect("eight bytes")))
            .flat_map(|v| (v.clamp(i32::MIN.into(), i32::MAX.into()) as i32).to_le_bytes())
            .collect()),
        _ => {
            let mut out = vec![0u8; to.bytes_for(n).ok_or_else(|| OpError::invalid("the shape overflows"))?];
            exec::convert(exec::serial(), from, to, n, bytes, &mut out)?;
            Ok(out)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_device_type_comes_back() {
        let cases = [
            Tensor::from_vec(&[3], vec![1.5f32, -2.0, 0.0]),
            Tensor::from_vec(&[3], vec![1i64, -2, i32::MAX as i64]),
            Tensor::from_vec(&[3], vec![200u8, 0, 7]),
            Tensor::from_vec(&[2], vec![half::f16::from_f32(0.5), half::f16::from_f32(-3.0)]),
            Tensor::new(DType::Bool, vec![3], Bytes::from_static(&[1, 0, 1])).unwrap(),
        ];
        for t in cases {
            assert_eq!(from_device(&to_device(&t).unwrap(), t.dtype(), t.shape()).unwrap(), t);
        }
        let huge = Tensor::from_vec(&[1], vec![i64::MAX]);
        assert_eq!(to_device(&huge).unwrap(), i32::MAX.to_le_bytes());
    }
}
