//! What a file is, by its first bytes and its extension.

use std::path::Path;

use crate::{FORMATS, Format, FormatError, Source};

/// Formats that are recognised in order to say a clear word about them: (bytes, where they stand, the word).
const OTHERS: &[(&[u8], usize, &str)] = &[
    (b"GGUF", 0, "a GGUF file, which is not read yet; export the model to ONNX"),
    (b"PK\x03\x04", 0, "a zip archive (a PyTorch checkpoint, a Keras model or an .npz); export the model to ONNX"),
    (b"\x89HDF", 0, "an HDF5 file (a Keras model); export the model to ONNX"),
    (b"TFL3", 4, "a TensorFlow Lite model; export the model to ONNX"),
    (b"ORTM", 4, "a model in ONNX Runtime's own format; use the .onnx file that it was made from"),
    (b"version https://git-lfs", 0, "a Git LFS pointer, not the file itself; fetch it with `git lfs pull`"),
    (b"\x80\x02", 0, "a Python pickle (a PyTorch checkpoint); export the model to ONNX"),
    (b"\x93NUMPY", 0, "a NumPy array, not a model"),
    (b"\x1f\x8b", 0, "a gzip file; unpack it first"),
];

/// The format of a source, or an error that says what it looks like instead.
pub(crate) fn format_of(source: &Source) -> Result<&'static Format, FormatError> {
    let not_readable = |what: String| Err(FormatError::NotReadable { file: source.name.clone(), what });
    let bytes: &[u8] = &source.bytes;
    if bytes.is_empty() {
        return not_readable("the file is empty".into());
    }
    let extension = Path::new(&source.name).extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default();
    if let Some((_, _, what)) =
        OTHERS.iter().find(|(magic, at, _)| bytes.get(*at..).is_some_and(|b| b.starts_with(magic)))
    {
        return not_readable(format!("this is {what}"));
    }
    if is_safetensors(bytes) {
        return not_readable("this is a safetensors file, which is not read yet; export the model to ONNX".into());
    }
    let by_extension = FORMATS.iter().find(|f| f.extensions.contains(&extension.as_str()));
    if let Some(f) = by_extension.or_else(|| FORMATS.iter().find(|f| (f.sniff)(bytes))) {
        return Ok(f);
    }
    let known: Vec<&str> = FORMATS.iter().map(|f| f.name).collect();
    not_readable(format!("not a model in a format that this program reads ({})", known.join(", ")))
}

/// Eight bytes of header length, then a JSON object.
fn is_safetensors(bytes: &[u8]) -> bool {
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else { return false };
    rest.first() == Some(&b'{') && u64::from_le_bytes(*length) <= rest.len() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(name: &str, bytes: &[u8]) -> String {
        match format_of(&Source::memory(name, bytes.to_vec().into())) {
            Ok(f) => f.name.to_string(),
            Err(e) => e.to_string(),
        }
    }

    #[test]
    fn content_goes_before_the_extension() {
        assert!(look("m.onnx", b"GGUF\x03\0\0\0").contains("GGUF"));
        assert!(look("m.safetensors", b"\x02\0\0\0\0\0\0\0{}").contains("safetensors file, which is not read yet"));
        assert!(look("m.onnx", b"version https://git-lfs.github.com/spec/v1").contains("git lfs pull"));
        assert!(look("m.onnx", b"").contains("empty"));
        assert_eq!(look("m.ONNX", b"\x3a\x00"), "onnx");
        assert_eq!(look("m.bin", b"\x08\x0a\x12\x07pytorch"), "onnx");
        assert_eq!(look("notes.txt", b"hello"), "notes.txt: not a model in a format that this program reads (onnx)");
    }
}
