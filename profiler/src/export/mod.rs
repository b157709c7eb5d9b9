//! Traces to files. A format is one file here and one line in [`FORMATS`].

mod chrome;
mod csv;
mod lanes;
mod model_explorer;
mod parquet;
mod perfetto;
pub mod puffin;
mod scope;

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::Trace;

pub(crate) use perfetto::quality_word;
pub use scope::{MAGIC as SCOPE_MAGIC, VERSION as SCOPE_VERSION};

/// A file format.
#[derive(Clone, Copy, Debug)]
pub struct Format {
    /// What to call it.
    pub name: &'static str,
    /// How its files end, without the dot.
    pub extension: &'static str,
    /// What opens it, what it holds.
    pub description: &'static str,
    /// Writes a trace to a path, whatever its extension.
    pub write: fn(&Trace, &Path) -> Result<(), ExportError>,
}

/// Every format that can be written.
pub const FORMATS: &[Format] = &[
    Format {
        name: "Stratoscope trace",
        extension: "scope",
        description: "everything, for opening again here",
        write: |trace, path| write_aside(path, |w| scope::write(trace, w)),
    },
    Format {
        name: "puffin",
        extension: "puffin",
        description: "one frame per run, for puffin_viewer",
        write: |trace, path| write_aside(path, |w| puffin::write(trace, w)),
    },
    Format {
        name: "Chrome trace",
        extension: "json",
        description: "trace events, for ui.perfetto.dev and chrome://tracing",
        write: |trace, path| write_aside(path, |w| chrome::write(trace, w)),
    },
    Format {
        name: "Perfetto trace",
        extension: "pftrace",
        description: "track events as protobuf, for ui.perfetto.dev and trace_processor",
        write: |trace, path| write_aside(path, |w| perfetto::write(trace, w)),
    },
    Format {
        name: "Spans as Parquet",
        extension: "parquet",
        description: "one row per span with its layer, run and times, for DuckDB, Polars and pandas",
        write: |trace, path| write_aside(path, |w| parquet::write(trace, w)),
    },
    Format {
        name: "Model Explorer overlay",
        extension: "overlay.json",
        description: "time, share and error per node, to lay over the model in Model Explorer",
        write: |trace, path| write_aside(path, |w| model_explorer::write(trace, w)),
    },
    Format {
        name: "Layers as CSV",
        extension: "csv",
        description: "one row per layer with its statistics, for spreadsheets",
        write: |trace, path| write_aside(path, |w| csv::write(trace, w)),
    },
];

/// Why a trace was not written.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The extension names no format.
    #[error("{path}: cannot tell the format from the name; end it in {known}", path = path.display())]
    UnknownExtension {
        /// Where it should have gone.
        path: PathBuf,
        /// The extensions that there are.
        known: String,
    },
    /// The file system refused.
    #[error("{path}: cannot be written: {source}", path = path.display())]
    Io {
        /// Where it should have gone.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// Writes a trace in the format that the path's extension names. The file appears whole or not at all.
pub fn write(trace: &Trace, path: &Path) -> Result<(), ExportError> {
    let format = format_of(path).ok_or_else(|| unknown_extension(path, FORMATS.iter()))?;
    (format.write)(trace, path)
}

/// The format that a path's ending names.
pub fn format_of(path: &Path) -> Option<&'static Format> {
    format_in(FORMATS.iter(), path)
}

/// The one of some formats that a path's ending names.
pub fn format_in(formats: impl Iterator<Item = &'static Format>, path: &Path) -> Option<&'static Format> {
    let name = path.file_name()?.to_str()?.to_ascii_lowercase();
    // The longest ending decides: `.overlay.json` is no `.json`.
    let fits = |f: &&Format| name.strip_suffix(f.extension).is_some_and(|rest| rest.ends_with('.'));
    formats.filter(fits).max_by_key(|f| f.extension.len())
}

/// The error for a path whose ending names none of some formats.
pub fn unknown_extension(path: &Path, formats: impl Iterator<Item = &'static Format>) -> ExportError {
    let known = formats.map(|f| format!(".{}", f.extension)).collect::<Vec<_>>().join(", ");
    ExportError::UnknownExtension { path: path.to_owned(), known }
}

/// Writes a file that is ready in memory. It appears whole or not at all.
pub fn write_file(path: &Path, content: &[u8]) -> Result<(), ExportError> {
    write_aside(path, |w| w.write_all(content))
}

/// Writes beside the target and renames at the end, so that no reader ever sees half a file. What is not a plain file (a
/// pipe, a device) is written to directly.
fn write_aside(path: &Path, content: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), ExportError> {
    let attempt = || -> io::Result<()> {
        // A link keeps pointing where it points.
        let target = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        if std::fs::metadata(&target).is_ok_and(|m| !m.is_file()) {
            let mut file = BufWriter::new(std::fs::OpenOptions::new().write(true).open(&target)?);
            content(&mut file)?;
            return file.flush();
        }
        let folder = match target.parent() {
            Some(p) if !p.as_os_str().is_empty() => p,
            _ => Path::new("."),
        };
        let mut builder = tempfile::Builder::new();
        builder.prefix(".stratoscope-");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            // As any new file: the umask takes away what it should. The default would be for the owner alone.
            builder.permissions(std::fs::Permissions::from_mode(0o666));
        }
        let mut file = BufWriter::new(builder.tempfile_in(folder)?);
        content(&mut file)?;
        let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.as_file().sync_all()?;
        file.persist(&target).map_err(|e| e.error)?;
        Ok(())
    };
    attempt().map_err(|source| ExportError::Io { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    #[test]
    fn every_format_writes_every_fixture() {
        let folder = tempfile::tempdir().unwrap();
        for trace in
            [fixtures::empty(), fixtures::one_layer(), fixtures::transformer(2, 3, 1), fixtures::many_spans(2_000)]
        {
            for format in FORMATS {
                let path = folder.path().join(format!("trace.{}", format.extension));
                write(&trace, &path).unwrap_or_else(|e| panic!("{}: {e}", trace.meta.model));
                assert!(std::fs::metadata(&path).unwrap().len() > 0, "{}", format.name);
            }
        }
        let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left.len(), FORMATS.len(), "something was left behind: {left:?}");
    }

    #[test]
    fn a_name_without_a_format_is_refused() {
        for name in ["trace", "trace.xml", ""] {
            let error = write(&fixtures::empty(), Path::new(name)).unwrap_err().to_string();
            assert!(error.contains(".scope") && error.contains(".json"), "{error}");
        }
        assert!(format_of(Path::new("a/b.SCOPE")).is_some());
    }

    #[test]
    fn a_failed_write_leaves_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trace.scope");
        std::fs::write(&path, b"old").unwrap();
        let error = write_aside(&path, |w| {
            w.write_all(b"half")?;
            Err(io::Error::other("disk full"))
        });
        assert!(error.unwrap_err().to_string().contains("disk full"));
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(write(&fixtures::empty(), &folder.path().join("missing/trace.scope")).is_err());
    }
}
