//! Files of one tensor: ONNX's `.pb` and NumPy's `.npy`.

use std::io::Write;
use std::path::Path;

use graph::{DType, Tensor, ValueKind};

use crate::{FormatError, Source, onnx};

mod npy;

/// Reads an ONNX `TensorProto` (`input_0.pb` of the backend tests). Sequences and optional values are
/// [`FormatError::Unsupported`]: see [`read_pb_as`].
pub fn read_pb(path: &Path) -> Result<Tensor, FormatError> {
    onnx::read_tensor(&Source::file(path)?)
}

/// Reads an ONNX `TensorProto`, `SequenceProto` or `OptionalProto` as a value of this kind and element type.
pub fn read_pb_as(path: &Path, kind: ValueKind, dtype: DType) -> Result<Tensor, FormatError> {
    let source = Source::file(path)?;
    match kind {
        ValueKind::Tensor => onnx::read_tensor(&source),
        ValueKind::Sequence => onnx::read_sequence(&source, dtype),
        ValueKind::Optional | ValueKind::OptionalSequence => onnx::read_optional(&source, dtype),
    }
}

/// Reads a NumPy array (format versions 1 to 3) of numbers or bools, in C or Fortran order. In C order and the machine's
/// byte order its elements stay in the mapped file.
pub fn read_npy(path: &Path) -> Result<Tensor, FormatError> {
    let source = Source::file(path)?;
    npy::parse(&source.bytes).map_err(|why| FormatError::Npy { file: source.name, why })
}

/// [`read_npy`] of a file that is already in memory, under a name for messages.
pub fn npy_from_bytes(name: &str, bytes: bytes::Bytes) -> Result<Tensor, FormatError> {
    npy::parse(&bytes).map_err(|why| FormatError::Npy { file: name.to_owned(), why })
}

/// Writes a tensor of numbers or bools as a NumPy array. bf16, the 8-bit floats, 4-bit and 2-bit types and strings, which
/// NumPy does not have, are [`FormatError::Npy`]. The file is written aside and renamed, so it is whole or not there.
pub fn write_npy(path: &Path, tensor: &Tensor) -> Result<(), FormatError> {
    let file = || path.display().to_string();
    let header = npy::header(tensor).map_err(|why| FormatError::Npy { file: file(), why })?;
    let write = || {
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut aside = tempfile::Builder::new().prefix(".npy-").tempfile_in(folder)?;
        aside.write_all(&header)?;
        aside.write_all(tensor.bytes())?;
        #[cfg(unix)]
        {
            // Temporary files are private; the result is an ordinary file.
            use std::os::unix::fs::PermissionsExt;
            aside.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))?;
        }
        aside.persist(path)?;
        Ok(())
    };
    write().map_err(|error| FormatError::Io { file: file(), error })
}
