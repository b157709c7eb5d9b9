//! Weights in files of their own beside the model. A model is untrusted, so the files that it names must lie in its folder.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use graph::Backing;

use super::OnnxError;
use super::proto::{StringStringEntryProto, TensorProto};
use crate::source::{self, Mapped};

/// The other files of a model, each mapped once and shared.
pub(crate) struct ExternalData {
    folder: Option<PathBuf>,
    /// By the location as the model writes it; canonical paths beside the maps, for two names of one file.
    locations: HashMap<String, PathBuf>,
    files: HashMap<PathBuf, Mapped>,
}

impl ExternalData {
    /// For a model in memory: any external data is an error.
    pub fn none() -> Self {
        ExternalData { folder: None, locations: HashMap::new(), files: HashMap::new() }
    }

    /// For a model in this folder.
    pub fn in_folder(folder: &Path) -> Self {
        let here = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        ExternalData { folder: Some(here.to_path_buf()), ..Self::none() }
    }

    /// Bytes of all files used so far.
    pub fn total_bytes(&self) -> u64 {
        self.files.values().map(|f| f.bytes.len() as u64).sum()
    }

    /// The maps of all files used so far.
    pub fn files(&self) -> impl Iterator<Item = Arc<dyn Backing>> {
        self.files.values().filter_map(|f| f.file.clone())
    }

    /// The `need` bytes of a tensor whose data is in another file.
    pub fn slice(&mut self, p: &TensorProto, need: usize) -> Result<Bytes, OnnxError> {
        let location = entry(&p.external_data, "location").unwrap_or_default();
        let fail = |why: String| {
            let tensor = p.name.clone().unwrap_or_default();
            OnnxError::External { tensor, location: location.to_string(), why }
        };
        let number = |key: &str| -> Result<Option<usize>, OnnxError> {
            let Some(text) = entry(&p.external_data, key) else { return Ok(None) };
            text.trim().parse().map(Some).map_err(|_| fail(format!("{key} \"{text}\" is not a number of bytes")))
        };
        let offset = number("offset")?.unwrap_or(0);
        let length = number("length")?.unwrap_or(need);
        if length != need {
            return Err(fail(format!("{length} bytes are given where the shape needs {need}")));
        }
        let file = self.map(location).map_err(fail)?;
        match offset.checked_add(length) {
            Some(end) if end <= file.len() => Ok(file.slice(offset..end)),
            _ => Err(fail(format!(
                "bytes {offset} and the {length} from there are outside of the file's {}",
                file.len()
            ))),
        }
    }

    fn map(&mut self, location: &str) -> Result<Bytes, String> {
        if let Some(file) = self.locations.get(location).and_then(|path| self.files.get(path)) {
            return Ok(file.bytes.clone());
        }
        let folder = self.folder.as_ref().ok_or("a model in memory has no files beside it")?;
        let path = resolve(folder, location)?;
        let file = match self.files.get(&path) {
            Some(f) => f.clone(),
            None => source::map(&path).map_err(|e| e.to_string())?,
        };
        self.locations.insert(location.to_string(), path.clone());
        let bytes = file.bytes.clone();
        self.files.insert(path, file);
        Ok(bytes)
    }
}

/// The canonical path of a location that stays within the model's folder, symbolic links followed.
fn resolve(folder: &Path, location: &str) -> Result<PathBuf, String> {
    let relative = Path::new(location);
    let plain = relative.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
    if location.is_empty() || !plain {
        return Err("not a relative path within the model's folder".into());
    }
    let folder = folder.canonicalize().map_err(|e| e.to_string())?;
    let path = folder.join(relative).canonicalize().map_err(|e| e.to_string())?;
    if !path.starts_with(&folder) {
        return Err("leads out of the model's folder through a symbolic link".into());
    }
    Ok(path)
}

fn entry<'a>(entries: &'a [StringStringEntryProto], key: &str) -> Option<&'a str> {
    let value = entries.iter().find(|e| e.key.as_deref() == Some(key))?.value.as_ref()?;
    std::str::from_utf8(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn tensor(location: &str, extra: &[(&str, &str)]) -> TensorProto {
        let pair =
            |(k, v): (&str, &str)| StringStringEntryProto { key: Some(k.into()), value: Some(v.to_string().into()) };
        let entries = std::iter::once(("location", location)).chain(extra.iter().copied());
        TensorProto { name: Some("w".into()), external_data: entries.map(pair).collect(), ..Default::default() }
    }

    #[test]
    fn a_file_is_mapped_once_and_sliced() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("sub")).unwrap();
        fs::write(dir.path().join("sub/w.bin"), [1, 2, 3, 4, 5, 6]).unwrap();
        let mut e = ExternalData::in_folder(dir.path());
        let a = e.slice(&tensor("sub/w.bin", &[("offset", "2"), ("length", "3")]), 3).unwrap();
        let b = e.slice(&tensor("./sub/w.bin", &[]), 6).unwrap();
        assert_eq!((&a[..], &b[..]), (&[3, 4, 5][..], &[1, 2, 3, 4, 5, 6][..]));
        assert_eq!(a.as_ptr(), b[2..].as_ptr());
        assert_eq!(e.total_bytes(), 6);
    }

    #[test]
    fn offsets_and_lengths_are_checked() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("w"), [0; 8]).unwrap();
        let mut e = ExternalData::in_folder(dir.path());
        let max = u64::MAX.to_string();
        let cases: &[&[(&str, &str)]] = &[
            &[("offset", "5")],
            &[("offset", &max)],
            &[("offset", "-1")],
            &[("offset", "99999999999999999999999")],
            &[("length", "3")],
            &[("length", &max)],
            &[("length", "x")],
        ];
        for extra in cases {
            assert!(matches!(e.slice(&tensor("w", extra), 4), Err(OnnxError::External { .. })), "{extra:?}");
        }
        assert!(e.slice(&tensor("w", &[]), usize::MAX).is_err());
        assert!(e.slice(&tensor("w", &[("offset", "4")]), 4).is_ok());
    }

    #[test]
    fn paths_stay_in_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        let model = dir.path().join("model");
        fs::create_dir(&model).unwrap();
        fs::write(dir.path().join("secret"), [0; 4]).unwrap();
        let absolute = dir.path().join("secret");
        let mut e = ExternalData::in_folder(&model);
        for bad in ["../secret", "", ".", "x/../../secret", absolute.to_str().unwrap(), "none", "/dev/zero"] {
            assert!(matches!(e.slice(&tensor(bad, &[]), 4), Err(OnnxError::External { .. })), "{bad}");
        }
        assert!(ExternalData::none().slice(&tensor("w", &[]), 4).is_err());
        #[cfg(unix)]
        {
            use std::os::unix::fs::symlink;
            symlink(&absolute, model.join("out")).unwrap();
            symlink(dir.path(), model.join("up")).unwrap();
            symlink("/dev/zero", model.join("zero")).unwrap();
            fs::write(model.join("real"), [0; 4]).unwrap();
            symlink("real", model.join("alias")).unwrap();
            assert!(std::process::Command::new("mkfifo").arg(model.join("pipe")).status().unwrap().success());
            for bad in ["out", "up/secret", "zero", "pipe"] {
                assert!(matches!(e.slice(&tensor(bad, &[]), 4), Err(OnnxError::External { .. })), "{bad}");
            }
            assert!(e.slice(&tensor("alias", &[]), 4).is_ok());
        }
    }
}
