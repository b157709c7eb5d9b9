//! The program's own file: [`MAGIC`], the format's version as a little-endian `u32`, then the [`Trace`] as MessagePack
//! with named fields, compressed with zstd. A field that is missing in an older file takes its default.
//!
//! Version 2 packs the long columns into bytes (see [`packed`](crate::packed)); version 1 has them as lists of numbers.

use std::io::{self, Write};

use crate::Trace;

/// How a `.scope` file begins.
pub const MAGIC: &[u8; 12] = b"STRATOSCOPE\0";
/// The version that is written, and the newest that can be read.
pub const VERSION: u32 = 2;

/// Packed columns leave little for a higher level to find, which would take several times as long.
const ZSTD_LEVEL: i32 = 3;

pub(super) fn write(trace: &Trace, out: &mut dyn Write) -> io::Result<()> {
    out.write_all(MAGIC)?;
    out.write_all(&VERSION.to_le_bytes())?;
    let mut compressed = zstd::Encoder::new(out, ZSTD_LEVEL)?;
    rmp_serde::encode::write_named(&mut compressed, trace).map_err(io::Error::other)?;
    compressed.finish()?;
    Ok(())
}
