//! A walk over MessagePack that bounds what decoding it would allocate. One byte can stand for an empty map, which may
//! become a structure of hundreds of bytes: a small file could fill the memory.

use super::{Problem, damaged};

/// The most memory that a decoded file may take, roughly.
const MAX_COST: u64 = 2 << 30;
/// What a map or an array costs: the size of the largest structure that it can become.
const CONTAINER: u64 = size_of::<crate::Accuracy>() as u64 + 160;
/// What any other value costs.
const SCALAR: u64 = 24;
/// What a byte of a packed column costs: it may be a row of the widest column.
const PACKED: u64 = 8;
/// The deepest nesting that a trace has is 7.
const MAX_DEPTH: usize = 32;

/// Refuses content that is cut short, nested too deep, or too expensive to decode.
pub(super) fn check_cost(mut bytes: &[u8]) -> Result<(), Problem> {
    // Values still to come at each level of nesting.
    let mut pending: Vec<u64> = vec![1];
    let mut cost = 0u64;
    let mut unpacked = 0u64;
    let mut packed = |length: u64| {
        unpacked += length * PACKED;
        length
    };
    while let Some(left) = pending.last_mut() {
        if *left == 0 {
            pending.pop();
            continue;
        }
        *left -= 1;
        let (&marker, rest) = bytes.split_first().ok_or_else(|| damaged("the data end too early"))?;
        bytes = rest;
        let (skip, values) = match marker {
            0x00..=0x7f | 0xc0 | 0xc2 | 0xc3 | 0xe0..=0xff => (0, None),
            0x80..=0x8f => (0, Some(2 * u64::from(marker & 0x0f))),
            0x90..=0x9f => (0, Some(u64::from(marker & 0x0f))),
            0xa0..=0xbf => (u64::from(marker & 0x1f), None),
            0xd9 => (take(&mut bytes, 1)?, None),
            0xda => (take(&mut bytes, 2)?, None),
            0xdb => (take(&mut bytes, 4)?, None),
            0xc4 => (packed(take(&mut bytes, 1)?), None),
            0xc5 => (packed(take(&mut bytes, 2)?), None),
            0xc6 => (packed(take(&mut bytes, 4)?), None),
            0xcc | 0xd0 => (1, None),
            0xcd | 0xd1 => (2, None),
            0xca | 0xce | 0xd2 => (4, None),
            0xcb | 0xcf | 0xd3 => (8, None),
            0xdc => (0, Some(take(&mut bytes, 2)?)),
            0xdd => (0, Some(take(&mut bytes, 4)?)),
            0xde => (0, Some(2 * take(&mut bytes, 2)?)),
            0xdf => (0, Some(2 * take(&mut bytes, 4)?)),
            0xc1 | 0xc7..=0xc9 | 0xd4..=0xd8 => return Err(damaged(format!("byte {marker:#04x} in the data"))),
        };
        // `skip` is at most 32 bits wide.
        bytes = bytes.get(skip as usize..).ok_or_else(|| damaged("the data end too early"))?;
        cost += skip + if values.is_some() { CONTAINER } else { SCALAR };
        if cost > MAX_COST {
            return Err(too_costly());
        }
        if let Some(values) = values {
            if pending.len() > MAX_DEPTH {
                return Err(damaged("nested too deep"));
            }
            pending.push(values);
        }
    }
    // The bytes are all there, so this is a bounded multiple of them.
    if cost + unpacked > MAX_COST { Err(too_costly()) } else { Ok(()) }
}

fn too_costly() -> Problem {
    Problem::TooLarge { what: "the decoded trace", limit: MAX_COST }
}

/// A big-endian number of `n` bytes.
fn take(bytes: &mut &[u8], n: usize) -> Result<u64, Problem> {
    let (head, rest) = bytes.split_at_checked(n).ok_or_else(|| damaged("the data end too early"))?;
    *bytes = rest;
    Ok(head.iter().fold(0, |x, &b| x << 8 | u64::from(b)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{self, Random};

    #[test]
    fn traces_pass_and_cut_ones_do_not() {
        let mut random = Random::fresh();
        let bytes = rmp_serde::to_vec_named(&fixtures::random(&mut random)).unwrap();
        check_cost(&bytes).unwrap_or_else(|e| panic!("{e} seed {}", random.seed));
        for n in 0..bytes.len() {
            assert!(check_cost(&bytes[..n]).is_err(), "cut at {n} seed {}", random.seed);
        }
        check_cost(&rmp_serde::to_vec_named(&fixtures::many_spans(50_000)).unwrap()).unwrap();
    }

    #[test]
    fn packed_columns_cost_what_they_unpack_to() {
        let blob = |length: u32| [&[0xc6], &length.to_be_bytes()[..], &vec![0; length as usize]].concat();
        let most = (MAX_COST / (PACKED + 1)) as u32;
        assert!(check_cost(&blob(most - 100)).is_ok());
        assert!(matches!(check_cost(&blob(most + 100)), Err(Problem::TooLarge { .. })));
    }

    #[test]
    fn many_empty_maps_and_deep_nesting_are_refused() {
        let n = 50_000_000u32;
        let mut maps = vec![0xdd];
        maps.extend(n.to_be_bytes());
        maps.resize(maps.len() + n as usize, 0x80);
        assert!(matches!(check_cost(&maps), Err(Problem::TooLarge { .. })));
        assert!(matches!(check_cost(&[0x91; 100]), Err(Problem::Damaged(_))));
        assert!(check_cost(&[0xdf, 0xff, 0xff, 0xff, 0xff]).is_err());
    }
}
