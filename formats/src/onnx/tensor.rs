//! `TensorProto` to [`Tensor`]: raw and typed data of every element type. Raw data stays a slice of the file.

use std::collections::HashMap;

use bytes::Bytes;
use graph::{DType, Tensor};

use super::OnnxError;
use super::external::ExternalData;
use super::proto::TensorProto;

/// More dimensions than this are taken for damage.
const MAX_RANK: usize = 64;

/// Reads the tensors of one model; a tensor that is asked for again (a function called twice) is shared.
pub(crate) struct TensorReader {
    /// The other files of the model.
    pub external: ExternalData,
    /// By the address of the message, which outlives the reader's use.
    cache: HashMap<usize, Tensor>,
}

impl TensorReader {
    pub fn new(external: ExternalData) -> Self {
        TensorReader { external, cache: HashMap::new() }
    }

    /// The tensor of a message that stays where it is for as long as this reader is used.
    pub fn read(&mut self, p: &TensorProto) -> Result<Tensor, OnnxError> {
        let key = std::ptr::from_ref(p) as usize;
        if let Some(t) = self.cache.get(&key) {
            return Ok(t.clone());
        }
        let t = convert(p, &mut self.external)?;
        self.cache.insert(key, t.clone());
        Ok(t)
    }
}

/// The tensor that a message holds.
pub(crate) fn convert(p: &TensorProto, external: &mut ExternalData) -> Result<Tensor, OnnxError> {
    let name = || p.name.clone().unwrap_or_default();
    let bad = |why: String| OnnxError::TensorData { tensor: name(), why };
    let code = p.data_type.unwrap_or(0);
    let dtype = DType::from_onnx(code).ok_or_else(|| bad(format!("unknown element type {code}")))?;
    if p.dims.len() > MAX_RANK {
        return Err(bad(format!("{} dimensions, more than {MAX_RANK}", p.dims.len())));
    }
    let dims = p.dims.iter().map(|&d| usize::try_from(d).map_err(|_| bad(format!("dimension {d}"))));
    let shape: Vec<usize> = dims.collect::<Result<_, _>>()?;
    if p.segment.is_some() {
        return Err(OnnxError::Unsupported { what: format!("tensor \"{}\" in segments", name()) });
    }
    let sized =
        |r: Result<Tensor, graph::TensorError>| r.map_err(|problem| OnnxError::Tensor { tensor: name(), problem });
    let raw = p.raw_data.as_ref().filter(|r| !r.is_empty());
    if p.data_location == Some(1) {
        if dtype == DType::String {
            return Err(bad("strings in external data".into()));
        }
        // An overflowing shape is told from too little data: ask for the size first.
        let elements = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        let need =
            elements.and_then(|n| dtype.bytes_for(n)).ok_or_else(|| bad(format!("shape {shape:?} overflows")))?;
        let data = external.slice(p, need)?;
        return sized(Tensor::new(dtype, shape, data));
    }
    if has_typed(p) && raw.is_some() {
        return Err(bad("both raw and typed data".into()));
    }
    if dtype == DType::String {
        return sized(Tensor::from_strings(shape, p.string_data.clone()));
    }
    let data = match raw {
        Some(raw) => raw.clone(),
        None => typed(dtype, p).map_err(bad)?,
    };
    sized(Tensor::new(dtype, shape, data))
}

/// True if the message has data in one of its typed fields.
pub(crate) fn has_typed(p: &TensorProto) -> bool {
    let lengths =
        [p.float_data.len(), p.int32_data.len(), p.int64_data.len(), p.double_data.len(), p.uint64_data.len()];
    lengths.iter().any(|&n| n > 0) || !p.string_data.is_empty()
}

/// The elements of the typed field that ONNX prescribes for the type, as little-endian bytes.
fn typed(dtype: DType, p: &TensorProto) -> Result<Bytes, String> {
    use DType::*;
    Ok(match dtype {
        F32 | Complex64 => own(&p.float_data),
        F64 | Complex128 => own(&p.double_data),
        I64 => own(&p.int64_data),
        U64 => own(&p.uint64_data),
        I32 => own(&p.int32_data),
        U32 => {
            let narrow = |&v: &u64| u32::try_from(v).map_err(|_| format!("{v} does not fit in u32"));
            own(&p.uint64_data.iter().map(narrow).collect::<Result<Vec<u32>, _>>()?)
        }
        // One entry per element, or per byte for the types that share a byte.
        F16 | BF16 | I16 | U16 => own(&p.int32_data.iter().map(|&v| narrow(v, 16)).collect::<Result<Vec<u16>, _>>()?),
        _ => p.int32_data.iter().map(|&v| narrow(v, 8).map(|v| v as u8)).collect::<Result<Vec<u8>, _>>()?.into(),
    })
}

/// The low `bits` of a number that fits in them, signed or unsigned.
fn narrow(v: i32, bits: u32) -> Result<u16, String> {
    if v < -(1 << (bits - 1)) || v >= 1 << bits {
        return Err(format!("{v} does not fit in {bits} bits"));
    }
    Ok((v & ((1 << bits) - 1)) as u16)
}

fn own<T: bytemuck::NoUninit>(v: &[T]) -> Bytes {
    Bytes::copy_from_slice(bytemuck::cast_slice(v))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(p: &TensorProto) -> Result<Tensor, OnnxError> {
        convert(p, &mut ExternalData::none())
    }

    fn proto(dtype: DType, dims: &[i64]) -> TensorProto {
        TensorProto {
            dims: dims.to_vec(),
            data_type: Some(dtype.to_onnx()),
            name: Some("w".into()),
            ..Default::default()
        }
    }

    #[test]
    fn raw_data_of_every_type_is_a_slice_of_what_was_decoded() {
        for dtype in DType::all().filter(|&d| d != DType::String) {
            let raw = Bytes::from(vec![0x21; dtype.bytes_for(5).unwrap()]);
            let p = TensorProto { raw_data: Some(raw.clone()), ..proto(dtype, &[5]) };
            let t = read(&p).unwrap();
            assert_eq!((t.dtype(), t.shape(), t.bytes().as_ptr()), (dtype, &[5][..], raw.as_ptr()), "{dtype}");
            let short = TensorProto { dims: vec![5, 3], ..p.clone() };
            assert!(matches!(read(&short), Err(OnnxError::Tensor { .. })), "{dtype}");
        }
    }

    #[test]
    fn typed_data_is_narrowed_and_packed() {
        let ints = |d: DType, n: i64, v: &[i32]| read(&TensorProto { int32_data: v.to_vec(), ..proto(d, &[n]) });
        assert_eq!(&ints(DType::I8, 2, &[-1, 127]).unwrap().bytes()[..], [255, 127]);
        assert_eq!(&ints(DType::Bool, 2, &[0, 1]).unwrap().bytes()[..], [0, 1]);
        assert_eq!(&ints(DType::F16, 1, &[0x3c00]).unwrap().bytes()[..], [0, 0x3c]);
        assert_eq!(&ints(DType::I16, 1, &[-2]).unwrap().bytes()[..], [0xfe, 0xff]);
        assert_eq!(&ints(DType::F8E4M3FN, 1, &[0x7e]).unwrap().bytes()[..], [0x7e]);
        // Three nibbles in two entries of one byte each.
        assert_eq!(&ints(DType::U4, 3, &[0x21, 0x03]).unwrap().bytes()[..], [0x21, 0x03]);
        assert!(ints(DType::U8, 1, &[256]).unwrap_err().to_string().contains("256 does not fit in 8 bits"));
        assert!(ints(DType::I32, 3, &[1, 2]).is_err());
        let u32s = |v: u64| read(&TensorProto { uint64_data: vec![v], ..proto(DType::U32, &[1]) });
        assert_eq!(&u32s(7).unwrap().bytes()[..], [7, 0, 0, 0]);
        assert!(u32s(1 << 32).is_err());
        let c = read(&TensorProto { float_data: vec![1.0, 2.0], ..proto(DType::Complex64, &[1]) }).unwrap();
        assert_eq!(c.bytes().len(), 8);
        let s = read(&TensorProto { string_data: vec!["a".into()], ..proto(DType::String, &[1]) }).unwrap();
        assert_eq!(s.strings(), [Bytes::from("a")]);
        let d = read(&TensorProto { double_data: vec![0.5], ..proto(DType::F64, &[]) }).unwrap();
        assert_eq!(&*d.elements::<f64>().unwrap(), [0.5]);
    }

    #[test]
    fn bad_shapes_and_contradictions_are_errors_without_allocation() {
        let cases = [
            proto(DType::F32, &[-1]),
            proto(DType::F32, &[i64::MAX, i64::MAX]),
            proto(DType::F32, &[1 << 40]),
            proto(DType::String, &[1 << 40]),
            proto(DType::F32, &[1; 65]),
            TensorProto { data_type: Some(99), ..proto(DType::F32, &[]) },
            TensorProto { data_type: None, ..proto(DType::F32, &[]) },
            TensorProto { segment: Some(Bytes::new()), ..proto(DType::F32, &[0]) },
            TensorProto { raw_data: Some(vec![0; 4].into()), float_data: vec![0.0], ..proto(DType::F32, &[1]) },
            TensorProto { float_data: vec![1.0], ..proto(DType::I64, &[1]) },
        ];
        for p in &cases {
            let e = read(p).expect_err("refused").to_string();
            assert!(e.contains("\"w\""), "{e}");
        }
        assert!(read(&proto(DType::F32, &[0, 3])).unwrap().is_empty());
    }

    #[test]
    fn a_tensor_that_is_read_twice_is_shared() {
        let p = TensorProto { float_data: vec![1.0], ..proto(DType::F32, &[1]) };
        let mut reader = TensorReader::new(ExternalData::none());
        let (a, b) = (reader.read(&p).unwrap(), reader.read(&p).unwrap());
        assert_eq!(a.bytes().as_ptr(), b.bytes().as_ptr());
    }
}
