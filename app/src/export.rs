//! Every format that a trace can be written in: those of the profiler, and the report, which needs the views.

use std::path::Path;
use std::sync::Arc;

use profiler::Trace;
use profiler::export::{ExportError, FORMATS, Format, format_in, unknown_extension, write_file};

use crate::report_page;
use crate::view::Profile;

static REPORT: Format = Format {
    name: "HTML report",
    extension: "html",
    description: "a page with figures and pictures that needs nothing else, to read, send or print",
    write: |trace, path| {
        let profile = Profile::new(Arc::new(trace.clone()));
        write_file(path, report_page::html(&profile).as_bytes())
    },
};

/// All of them, in menu order.
pub fn formats() -> impl Iterator<Item = &'static Format> {
    FORMATS.iter().chain([&REPORT])
}

/// The format that a path's ending names.
pub fn format_of(path: &Path) -> Option<&'static Format> {
    format_in(formats(), path)
}

/// Their endings, for messages: `.scope, .json, ...`.
pub fn endings() -> String {
    formats().map(|f| format!(".{}", f.extension)).collect::<Vec<_>>().join(", ")
}

/// Writes a trace in the format that the path's ending names. The file appears whole or not at all.
pub fn write(trace: &Trace, path: &Path) -> Result<(), ExportError> {
    let format = format_of(path).ok_or_else(|| unknown_extension(path, formats()))?;
    (format.write)(trace, path)
}
