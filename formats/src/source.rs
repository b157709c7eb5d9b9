//! Where bytes come from: a mapped file or memory.

use std::fs::{self, File, FileType};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use graph::Backing;

use crate::FormatError;
use crate::mapped::MappedFile;

/// A file's bytes, and where it lies if it is on disk.
pub struct Source {
    /// What to call it in messages.
    pub name: String,
    /// Its path; `None` if it is in memory.
    pub path: Option<PathBuf>,
    /// The whole content, mapped rather than read where it is a file.
    pub bytes: Bytes,
    /// The file that is mapped; `None` for what is in memory, or empty.
    pub file: Option<Arc<dyn Backing>>,
}

/// A file's bytes, and the map that they are a slice of.
#[derive(Clone)]
pub(crate) struct Mapped {
    pub bytes: Bytes,
    pub file: Option<Arc<dyn Backing>>,
}

impl Source {
    /// Maps a file.
    pub fn file(path: &Path) -> Result<Source, FormatError> {
        let Mapped { bytes, file } = map(path)?;
        Ok(Source { name: path.display().to_string(), path: Some(path.to_path_buf()), bytes, file })
    }

    /// Takes bytes as they are.
    pub fn memory(name: &str, bytes: Bytes) -> Source {
        Source { name: name.to_string(), path: None, bytes, file: None }
    }
}

/// The whole of a regular file as bytes backed by a map of it. A pipe, a device or a folder is an error and is never opened.
pub(crate) fn map(path: &Path) -> Result<Mapped, FormatError> {
    let file = || path.display().to_string();
    let io = |error| FormatError::Io { file: file(), error };
    // Asked before opening, because opening a pipe waits for its writer; and after, in case it was replaced in between.
    regular(fs::metadata(path).map_err(io)?.file_type())
        .map_err(|what| FormatError::NotAFile { file: file(), what })?;
    let f = File::open(path).map_err(io)?;
    let meta = f.metadata().map_err(io)?;
    regular(meta.file_type()).map_err(|what| FormatError::NotAFile { file: file(), what })?;
    if meta.len() == 0 {
        return Ok(Mapped { bytes: Bytes::new(), file: None });
    }
    let file = Arc::new(MappedFile::new(&f).map_err(io)?);
    Ok(Mapped { bytes: MappedFile::bytes(&file), file: Some(file) })
}

fn regular(t: FileType) -> Result<(), &'static str> {
    if t.is_file() {
        Ok(())
    } else if t.is_dir() {
        Err("a folder")
    } else {
        Err("a pipe, a socket or a device")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_are_mapped() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(map(dir.path()), Err(FormatError::NotAFile { what: "a folder", .. })));
        assert!(matches!(map(&dir.path().join("none")), Err(FormatError::Io { .. })));
        let empty = dir.path().join("empty");
        fs::write(&empty, b"").unwrap();
        assert!(map(&empty).unwrap().bytes.is_empty());
        #[cfg(unix)]
        {
            assert!(matches!(map(Path::new("/dev/zero")), Err(FormatError::NotAFile { .. })));
            let pipe = dir.path().join("pipe");
            assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
            assert!(matches!(map(&pipe), Err(FormatError::NotAFile { .. })));
        }
    }
}
