//! The `.npy` format (numpy.lib.format): a magic, a header that is a Python dictionary, and the elements.
//!
//! Written out here because the header comes from untrusted files: a general parser of Python literals recurses with the
//! nesting of what it reads, and the sizes that it finds must be checked.

use bytes::Bytes;
use graph::{DType, Tensor};

const MAGIC: &[u8] = b"\x93NUMPY";
/// NumPy itself refuses longer ones.
const MAX_HEADER: usize = 10_000;
/// NumPy's own limit is 64.
const MAX_RANK: usize = 64;

/// NumPy's kind and size of an element for each type that NumPy has.
const TYPES: &[(&str, DType)] = &[
    ("f4", DType::F32),
    ("f8", DType::F64),
    ("f2", DType::F16),
    ("i1", DType::I8),
    ("i2", DType::I16),
    ("i4", DType::I32),
    ("i8", DType::I64),
    ("u1", DType::U8),
    ("u2", DType::U16),
    ("u4", DType::U32),
    ("u8", DType::U64),
    ("b1", DType::Bool),
    ("c8", DType::Complex64),
    ("c16", DType::Complex128),
];

/// The array in a file.
pub(super) fn parse(bytes: &Bytes) -> Result<Tensor, String> {
    let cut = || "it ends within its header".to_string();
    let rest = bytes.strip_prefix(MAGIC).ok_or("it does not begin as one")?;
    let (version, rest) = rest.split_first_chunk::<2>().ok_or_else(cut)?;
    let (length, rest) = match version[0] {
        1 => rest.split_first_chunk::<2>().map(|(n, rest)| (u16::from_le_bytes(*n) as usize, rest)),
        2 | 3 => rest.split_first_chunk::<4>().map(|(n, rest)| (u32::from_le_bytes(*n) as usize, rest)),
        other => return Err(format!("version {other} is unknown")),
    }
    .ok_or_else(cut)?;
    if length > MAX_HEADER {
        return Err(format!("a header of {length} bytes"));
    }
    let header = rest.get(..length).ok_or_else(cut)?;
    let header = std::str::from_utf8(header).map_err(|_| "its header is not text")?;
    let data = bytes.slice(bytes.len() - rest.len() + length..);

    let descr = quoted(after(header, "descr")?).ok_or("its element type is not a plain one")?;
    let (order, kind) = descr.split_at_checked(1).ok_or("its element type is empty")?;
    let dtype = TYPES.iter().find(|t| t.0 == kind && "<>|=".contains(order)).map(|t| t.1);
    let dtype = dtype.ok_or_else(|| format!("element type '{descr}' is not supported"))?;
    let fortran = after(header, "fortran_order")?.starts_with("True");
    let shape = tuple(after(header, "shape")?).ok_or("its shape is not a tuple of numbers")?;
    // Any bytes after the elements are not the array's.
    let elements =
        shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).ok_or_else(|| format!("shape {shape:?} overflows"))?;
    let need = dtype.bytes_for(elements).ok_or_else(|| format!("shape {shape:?} overflows"))?;
    if data.len() < need {
        return Err(format!("shape {shape:?} of {dtype} needs {need} bytes, the file has {}", data.len()));
    }
    let mut data = data.slice(..need);
    let size = need.checked_div(elements).unwrap_or(0);
    if order == ">" && size > 1 {
        data = swapped(&data, if matches!(dtype, DType::Complex64 | DType::Complex128) { size / 2 } else { size });
    }
    if fortran && shape.len() > 1 && elements > 0 {
        data = c_order(&data, &shape, size);
    }
    Tensor::new(dtype, shape, data).map_err(|e| e.to_string())
}

/// The magic, version and header of the file for a tensor, padded so that its elements are aligned.
pub(super) fn header(tensor: &Tensor) -> Result<Vec<u8>, String> {
    let dtype = tensor.dtype();
    let kind = TYPES.iter().find(|t| t.1 == dtype).ok_or_else(|| format!("NumPy has no {dtype}"))?.0;
    let order = if dtype.bits() == Some(8) { '|' } else { '<' };
    let mut shape: String = tensor.shape().iter().map(|d| format!("{d}, ")).collect();
    if tensor.shape().len() > 1 {
        shape.truncate(shape.len() - 2);
    }
    let mut text = format!("{{'descr': '{order}{kind}', 'fortran_order': False, 'shape': ({}), }}", shape.trim_end());
    let unpadded = MAGIC.len() + 4 + text.len() + 1;
    text.extend(std::iter::repeat_n(' ', unpadded.next_multiple_of(64) - unpadded));
    text.push('\n');
    let length = u16::try_from(text.len()).map_err(|_| "too many dimensions")?;
    Ok([MAGIC, &[1, 0], &length.to_le_bytes(), text.as_bytes()].concat())
}

/// What follows a key of the dictionary.
fn after<'a>(header: &'a str, key: &str) -> Result<&'a str, String> {
    let rest = ['\'', '"'].iter().find_map(|q| header.split_once(&format!("{q}{key}{q}")));
    let value = rest.and_then(|(_, rest)| rest.trim_start().strip_prefix(':'));
    Ok(value.ok_or_else(|| format!("its header has no '{key}'"))?.trim_start())
}

fn quoted(text: &str) -> Option<&str> {
    let quote = text.chars().next().filter(|c| "'\"".contains(*c))?;
    text[1..].split_once(quote).map(|(inner, _)| inner)
}

fn tuple(text: &str) -> Option<Vec<usize>> {
    let (inner, _) = text.strip_prefix('(')?.split_once(')')?;
    let mut parts: Vec<&str> = inner.split(',').map(str::trim).collect();
    if parts.last() == Some(&"") {
        parts.pop();
    }
    if parts.len() > MAX_RANK {
        return None;
    }
    // Python 2 wrote `3L`.
    parts.iter().map(|p| p.trim_end_matches('L').parse().ok()).collect()
}

/// Big-endian elements of `size` bytes to little-endian ones.
fn swapped(data: &[u8], size: usize) -> Bytes {
    let mut out = data.to_vec();
    out.chunks_exact_mut(size).for_each(<[u8]>::reverse);
    out.into()
}

/// Elements whose first dimension varies fastest to those whose last one does.
fn c_order(data: &[u8], shape: &[usize], size: usize) -> Bytes {
    let mut strides = vec![size; shape.len()];
    for i in 1..shape.len() {
        strides[i] = strides[i - 1] * shape[i - 1];
    }
    let mut out = Vec::with_capacity(data.len());
    let mut index = vec![0usize; shape.len()];
    while out.len() < data.len() {
        let at: usize = index.iter().zip(&strides).map(|(i, s)| i * s).sum();
        out.extend_from_slice(&data[at..at + size]);
        for d in (0..shape.len()).rev() {
            index[d] += 1;
            if index[d] < shape[d] {
                break;
            }
            index[d] = 0;
        }
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor_file::{read_npy, write_npy};

    fn file(header: &str, data: &[u8]) -> Bytes {
        let length = (header.len() as u16).to_le_bytes();
        [MAGIC, &[1, 0], &length, header.as_bytes(), data].concat().into()
    }

    #[test]
    fn every_type_survives_a_round_trip() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.npy");
        for shape in [vec![], vec![0], vec![3], vec![2, 3], vec![2, 0, 4]] {
            for &(_, dtype) in TYPES {
                let n: usize = shape.iter().product();
                let data: Vec<u8> = (0..dtype.bytes_for(n).unwrap()).map(|i| i as u8).collect();
                let t = Tensor::new(dtype, shape.clone(), data.into()).unwrap();
                write_npy(&path, &t).unwrap();
                assert_eq!(read_npy(&path).unwrap(), t, "{dtype} {shape:?}");
            }
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside the file");
        let bf16 = Tensor::from_vec(&[1], vec![half::bf16::ONE]);
        assert!(write_npy(&path, &bf16).unwrap_err().to_string().contains("NumPy has no bf16"));
        assert!(write_npy(&dir.path().join("none/t.npy"), &Tensor::scalar(1f32)).is_err());
    }

    #[test]
    fn the_header_is_what_numpy_writes() {
        let h = header(&Tensor::from_vec(&[2, 3], vec![0f32; 6])).unwrap();
        assert_eq!(h.len() % 64, 0);
        let text = std::str::from_utf8(&h[10..]).unwrap();
        assert!(text.starts_with("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }"), "{text}");
        let one = header(&Tensor::from_vec(&[2], vec![0u8; 2])).unwrap();
        assert!(String::from_utf8_lossy(&one).contains("'descr': '|u1', 'fortran_order': False, 'shape': (2,), }"));
        assert!(String::from_utf8_lossy(&header(&Tensor::scalar(1u8)).unwrap()).contains("'shape': (), }"));
    }

    #[test]
    fn other_orders_are_put_right() {
        let f =
            file("{'descr': '>i2', 'fortran_order': True, 'shape': (2, 3), }", &[0, 1, 0, 4, 0, 2, 0, 5, 0, 3, 0, 6]);
        assert_eq!(&*parse(&f).unwrap().elements::<i16>().unwrap(), [1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn damage_is_an_error() {
        let good = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }";
        let whole = file(good, &[0; 8]);
        for n in 0..whole.len() {
            assert!(parse(&whole.slice(..n)).is_err(), "cut at {n}");
        }
        assert!(parse(&whole).is_ok());
        let headers = [
            good.replace("(2,)", "(99999999999,)"),
            good.replace("(2,)", "(18446744073709551615, 18446744073709551615)"),
            good.replace("(2,)", "(-1,)"),
            good.replace("(2,)", &"(".repeat(5000)),
            good.replace("(2,)", &format!("({})", "1,".repeat(65))),
            good.replace("<f4", "|O"),
            good.replace("<f4", "<U5"),
            good.replace("<f4", "é"),
            good.replace("'<f4'", "[('a', '<f4')]"),
            good.replace("shape", "form"),
        ];
        for h in headers {
            assert!(parse(&file(&h, &[0; 8])).is_err(), "{h:.80}");
        }
    }
}
