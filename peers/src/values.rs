//! Tensors to and from ONNX Runtime's values.

use graph::{DType, Tensor};
use half::{bf16, f16};
use ort::value::{DynValue, TensorElementType};

use crate::PeerError;

/// A value with a copy of the tensor's elements.
pub(crate) fn to_value(name: &str, tensor: &Tensor) -> Result<DynValue, PeerError> {
    let refused = |why: String| PeerError::Input { name: name.to_owned(), why };
    let shape = tensor.shape().to_vec();
    macro_rules! value {
        ($($d:ident $t:ty),*) => {
            match tensor.dtype() {
                $(DType::$d => {
                    let elements = tensor.elements::<$t>().map_err(|e| refused(e.to_string()))?.into_owned();
                    ort::value::Tensor::from_array((shape, elements))?.into_dyn()
                })*
                DType::Bool => {
                    let elements: Vec<bool> = tensor.bytes().iter().map(|&b| b != 0).collect();
                    ort::value::Tensor::from_array((shape, elements))?.into_dyn()
                }
                DType::String => {
                    let texts = tensor.strings().iter().map(|s| String::from_utf8(s.to_vec()));
                    let texts: Result<Vec<String>, _> = texts.collect();
                    let elements = texts.map_err(|_| refused("a string that is not UTF-8".to_owned()))?;
                    ort::value::Tensor::from_string_array((shape, &*elements))?.into_dyn()
                }
                other => return Err(refused(format!("tensors of {other} can't be handed to ONNX Runtime here"))),
            }
        };
    }
    Ok(value!(F32 f32, F64 f64, F16 f16, BF16 bf16, I8 i8, I16 i16, I32 i32, I64 i64, U8 u8, U16 u16, U32 u32, U64 u64))
}

/// A copy of a value; `None` for what is no tensor, or of a type that is not read.
pub(crate) fn to_tensor(value: &DynValue) -> Result<Option<Tensor>, PeerError> {
    let ty = value.dtype();
    let (Some(element), Some(dims)) = (ty.tensor_type(), ty.tensor_shape()) else { return Ok(None) };
    let shape: Vec<usize> = dims.iter().map(|&d| usize::try_from(d).unwrap_or(0)).collect();
    // An empty value has no address to read from.
    let empty = shape.contains(&0);
    macro_rules! tensor {
        ($($e:ident $t:ty),*) => {
            match element {
                $(TensorElementType::$e => {
                    let elements = if empty { Vec::new() } else { value.try_extract_tensor::<$t>()?.1.to_vec() };
                    Some(Tensor::from_vec(&shape, elements))
                })*
                TensorElementType::Bool => {
                    let elements = if empty { Vec::new() } else { value.try_extract_tensor::<bool>()?.1.to_vec() };
                    Tensor::new(DType::Bool, shape, elements.into_iter().map(u8::from).collect()).ok()
                }
                TensorElementType::String => {
                    let strings = if empty { Vec::new() } else { value.try_extract_strings()?.1 };
                    Tensor::from_strings(shape, strings.into_iter().map(|s| s.into_bytes().into()).collect()).ok()
                }
                _ => None,
            }
        };
    }
    Ok(tensor!(
        Float32 f32, Float64 f64, Float16 f16, Bfloat16 bf16, Int8 i8, Int16 i16, Int32 i32, Int64 i64, Uint8 u8, Uint16 u16,
        Uint32 u32, Uint64 u64
    ))
}
