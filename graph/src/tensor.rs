//! Tensors: an element type, a shape, and shared bytes. A sequence of tensors and an empty optional are held in one too, so that
//! whatever flows through a graph has one type.

use std::borrow::Cow;
use std::sync::Arc;

use bytemuck::{AnyBitPattern, NoUninit};
use bytes::Bytes;

use crate::DType;

/// What is wrong with a tensor's sizes.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone)]
#[allow(missing_docs, reason = "each field is named in its variant's message")]
pub enum TensorError {
    #[error("shape {shape:?} of {dtype} overflows the address space")]
    Overflow { dtype: DType, shape: Vec<usize> },
    #[error("shape {shape:?} of {dtype} needs {need} bytes, the data has {have}")]
    Length { dtype: DType, shape: Vec<usize>, need: usize, have: usize },
    #[error("shape {shape:?} needs {need} strings, the data has {have}")]
    Strings { shape: Vec<usize>, need: usize, have: usize },
    #[error("expected {want}, found {have}")]
    DType { want: DType, have: DType },
    #[error("a sequence or an empty optional has no shape to change")]
    NoTensor,
}

#[derive(Clone, Debug, PartialEq)]
enum Data {
    /// Little-endian elements, C order; sub-byte types packed low bits first. May be misaligned when mapped from a file.
    Bytes(Bytes),
    Strings(Arc<[Bytes]>),
    Sequence(Arc<[Tensor]>),
    Absent,
}

/// A dense tensor in C order, a sequence of tensors, or an empty optional. Cloning shares the bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    dtype: DType,
    shape: Vec<usize>,
    data: Data,
}

fn numel(dtype: DType, shape: &[usize]) -> Result<usize, TensorError> {
    // A zero dimension makes the product 0, but the others must still multiply without overflow.
    let mut n = 1usize;
    for &d in shape.iter().filter(|&&d| d != 0) {
        n = n.checked_mul(d).ok_or_else(|| TensorError::Overflow { dtype, shape: shape.to_vec() })?;
    }
    Ok(if shape.contains(&0) { 0 } else { n })
}

impl Tensor {
    /// A tensor over `data` (little-endian, C order); fails unless the sizes agree exactly.
    pub fn new(dtype: DType, shape: Vec<usize>, data: Bytes) -> Result<Self, TensorError> {
        let n = numel(dtype, &shape)?;
        let need = dtype.bytes_for(n).ok_or_else(|| TensorError::Overflow { dtype, shape: shape.clone() })?;
        if need != data.len() {
            return Err(TensorError::Length { dtype, shape, need, have: data.len() });
        }
        Ok(Tensor { dtype, shape, data: Data::Bytes(data) })
    }

    /// A string tensor.
    pub fn from_strings(shape: Vec<usize>, strings: Vec<Bytes>) -> Result<Self, TensorError> {
        let need = numel(DType::String, &shape)?;
        if need != strings.len() {
            return Err(TensorError::Strings { shape, need, have: strings.len() });
        }
        Ok(Tensor { dtype: DType::String, shape, data: Data::Strings(strings.into()) })
    }

    /// A sequence, whose element type is `dtype` and whose shape is its length.
    pub fn sequence(dtype: DType, items: Vec<Tensor>) -> Self {
        Tensor { dtype, shape: vec![items.len()], data: Data::Sequence(items.into()) }
    }

    /// An optional value that holds nothing. (One that holds something is that value.)
    pub fn absent(dtype: DType) -> Self {
        Tensor { dtype, shape: vec![0], data: Data::Absent }
    }

    /// A tensor that owns `values`. Panics if the lengths disagree: for values the program made itself.
    pub fn from_vec<T: Element>(shape: &[usize], values: Vec<T>) -> Self {
        let bytes = Bytes::from_owner(OwnedElements(values));
        Tensor::new(T::DTYPE, shape.to_vec(), bytes).expect("the caller's shape and values agree")
    }

    /// A rank-0 tensor.
    pub fn scalar<T: Element>(v: T) -> Self {
        Tensor::from_vec(&[], vec![v])
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The dimensions.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        if self.shape.contains(&0) { 0 } else { self.shape.iter().product() }
    }

    /// True if there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The raw bytes (empty for strings).
    pub fn bytes(&self) -> &Bytes {
        static EMPTY: Bytes = Bytes::new();
        match &self.data {
            Data::Bytes(b) => b,
            _ => &EMPTY,
        }
    }

    /// The tensors of a sequence; `None` for anything else.
    pub fn items(&self) -> Option<&[Tensor]> {
        match &self.data {
            Data::Sequence(items) => Some(items),
            _ => None,
        }
    }

    /// True for an empty optional.
    pub fn is_absent(&self) -> bool {
        matches!(self.data, Data::Absent)
    }

    /// True for what is neither a sequence nor an empty optional.
    pub fn is_tensor(&self) -> bool {
        matches!(self.data, Data::Bytes(_) | Data::Strings(_))
    }

    /// The bytes held, those of strings and of the tensors of a sequence included.
    pub fn held_bytes(&self) -> usize {
        match &self.data {
            Data::Bytes(b) => b.len(),
            Data::Strings(s) => s.iter().map(|s| s.len() + size_of::<Bytes>()).sum(),
            Data::Sequence(items) => items.iter().map(|t| t.held_bytes() + size_of::<Tensor>()).sum(),
            Data::Absent => 0,
        }
    }

    /// The strings (empty for other types).
    pub fn strings(&self) -> &[Bytes] {
        match &self.data {
            Data::Strings(s) => s,
            _ => &[],
        }
    }

    /// The elements, if the type is `T`; copied only where the mapped bytes are not aligned for it.
    pub fn elements<T: Element>(&self) -> Result<Cow<'_, [T]>, TensorError> {
        if T::DTYPE != self.dtype {
            return Err(TensorError::DType { want: T::DTYPE, have: self.dtype });
        }
        let b: &[u8] = self.bytes();
        Ok(match bytemuck::try_cast_slice(b) {
            Ok(s) => Cow::Borrowed(s),
            Err(_) => Cow::Owned(bytemuck::pod_collect_to_vec(b)),
        })
    }

    /// The same elements under another shape of as many elements.
    pub fn reshaped(&self, shape: Vec<usize>) -> Result<Self, TensorError> {
        match &self.data {
            Data::Bytes(b) => Tensor::new(self.dtype, shape, b.clone()),
            Data::Strings(s) => {
                let need = numel(DType::String, &shape)?;
                if need != s.len() {
                    return Err(TensorError::Strings { shape, need, have: s.len() });
                }
                Ok(Tensor { dtype: self.dtype, shape, data: self.data.clone() })
            }
            Data::Sequence(_) | Data::Absent => Err(TensorError::NoTensor),
        }
    }

    /// The elements of an integer (or bool) tensor of at least 8 bits as i64; `None` for other types. u64 wraps.
    pub fn to_i64(&self) -> Option<Vec<i64>> {
        macro_rules! widen {
            ($($d:ident $t:ty),*) => {
                match self.dtype {
                    $(DType::$d => Some(self.elements::<$t>().ok()?.iter().map(|&v| v as i64).collect()),)*
                    DType::Bool => Some(self.bytes().iter().map(|&b| (b != 0) as i64).collect()),
                    _ => None,
                }
            };
        }
        widen!(I64 i64, I32 i32, I16 i16, I8 i8, U64 u64, U32 u32, U16 u16, U8 u8)
    }
}

/// Rust types that are the elements of a [`DType`].
pub trait Element: AnyBitPattern + NoUninit + Send + Sync + 'static {
    /// The type's code. (`u8` is `U8`; `bool` tensors are read as bytes.)
    const DTYPE: DType;
}

macro_rules! elements {
    ($($t:ty => $d:ident),*) => { $(impl Element for $t { const DTYPE: DType = DType::$d; })* };
}
elements!(f32 => F32, f64 => F64, half::f16 => F16, half::bf16 => BF16, i8 => I8, i16 => I16, i32 => I32, i64 => I64,
    u8 => U8, u16 => U16, u32 => U32, u64 => U64);

struct OwnedElements<T>(Vec<T>);
impl<T: NoUninit> AsRef<[u8]> for OwnedElements<T> {
    fn as_ref(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_checked() {
        let short = Tensor::new(DType::F32, vec![2, 2], Bytes::from_static(&[0; 12]));
        assert!(matches!(short, Err(TensorError::Length { need: 16, have: 12, .. })));
        let huge = Tensor::new(DType::F32, vec![usize::MAX, 2], Bytes::new());
        assert!(matches!(huge, Err(TensorError::Overflow { .. })));
        // A zero does not excuse an overflow in the other dimensions.
        assert!(Tensor::new(DType::F32, vec![0, usize::MAX, 2], Bytes::new()).is_err());
        assert!(Tensor::new(DType::F32, vec![0, 7], Bytes::new()).unwrap().is_empty());
        assert!(Tensor::from_strings(vec![2], vec![Bytes::new()]).is_err());
    }

    #[test]
    fn sequences_and_absent_values_have_no_elements() {
        let pair = Tensor::sequence(DType::F32, vec![Tensor::scalar(1f32), Tensor::from_vec(&[2], vec![1f32, 2.0])]);
        assert_eq!((pair.shape(), pair.items().map(<[_]>::len), pair.is_tensor()), (&[2][..], Some(2), false));
        assert!(pair.bytes().is_empty() && pair.held_bytes() >= 12);
        assert_eq!(pair.reshaped(vec![2, 1]), Err(TensorError::NoTensor));
        let nothing = Tensor::absent(DType::I64);
        assert!(nothing.is_absent() && nothing.items().is_none() && nothing.is_empty());
        let s = Tensor::from_strings(vec![2], vec!["a".into(), "b".into()]).unwrap();
        assert_eq!(s.reshaped(vec![2, 1]).unwrap().strings(), s.strings());
        assert!(s.reshaped(vec![3]).is_err() && s.is_tensor());
    }

    #[test]
    fn misaligned_bytes_are_read_by_copy() {
        let mut raw = vec![0u8];
        raw.extend_from_slice(bytemuck::cast_slice(&[1.5f32, -2.0]));
        let t = Tensor::new(DType::F32, vec![2], Bytes::from(raw).slice(1..)).unwrap();
        assert_eq!(&*t.elements::<f32>().unwrap(), &[1.5, -2.0]);
        assert_eq!(t.elements::<i32>().unwrap_err(), TensorError::DType { want: DType::I32, have: DType::F32 });
    }
}
