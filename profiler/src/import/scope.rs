//! The program's own file: see [`export`](crate::export).

use super::{Problem, damaged, msgpack, read_bounded};
use crate::Trace;
use crate::export::{SCOPE_MAGIC, SCOPE_VERSION};

pub(super) fn matches(bytes: &[u8]) -> bool {
    bytes.starts_with(SCOPE_MAGIC)
}

pub(super) fn read(bytes: &[u8]) -> Result<Trace, Problem> {
    let rest = bytes.strip_prefix(SCOPE_MAGIC).ok_or(Problem::Unknown)?;
    let (version, compressed) = rest.split_first_chunk::<4>().ok_or_else(|| damaged("the file ends in its header"))?;
    let found = u32::from_le_bytes(*version);
    if found > SCOPE_VERSION {
        return Err(Problem::Newer { found, supported: SCOPE_VERSION });
    }
    if found == 0 {
        return Err(damaged("its format version is 0"));
    }
    let content = read_bounded(zstd::Decoder::with_buffer(compressed)?)?;
    msgpack::check_cost(&content)?;
    rmp_serde::from_slice(&content).map_err(damaged)
}
