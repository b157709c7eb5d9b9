//! Long columns of numbers as bytes, for `#[serde(with = "packed")]`: each row's difference to the one before, the sign in the
//! lowest bit, seven bits to a byte, the lowest first; the highest bit of a byte says that there is more. Rows of a trace
//! differ little from their neighbours: most take one byte.
//!
//! Formats for people keep plain lists, and lists are read everywhere: version 1 of the program's own file has them.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{LayerId, Quality, RunId, SpanId, TrackId};

/// What a column can hold.
pub(crate) trait Pack: Copy {
    /// As a number; what usually follows each other should be close.
    fn pack(self) -> u64;
    /// Back again; `None` if no value is stored so.
    fn unpack(bits: u64) -> Option<Self>;
}

impl Pack for u64 {
    fn pack(self) -> u64 {
        self
    }
    fn unpack(bits: u64) -> Option<u64> {
        Some(bits)
    }
}

impl Pack for u32 {
    fn pack(self) -> u64 {
        u64::from(self)
    }
    fn unpack(bits: u64) -> Option<u32> {
        bits.try_into().ok()
    }
}

impl Pack for Quality {
    fn pack(self) -> u64 {
        self as u64
    }
    fn unpack(bits: u64) -> Option<Quality> {
        [Quality::Cpu, Quality::GpuTimestamp, Quality::Wall, Quality::Rejected]
            .get(usize::try_from(bits).ok()?)
            .copied()
    }
}

macro_rules! ids {
    ($($id:ident),*) => {$(
        impl Pack for $id {
            fn pack(self) -> u64 {
                u64::from(self.0)
            }
            fn unpack(bits: u64) -> Option<$id> {
                Some($id(bits.try_into().ok()?))
            }
        }
    )*};
}
ids!(TrackId, LayerId, RunId, SpanId);

/// None is 0, anything else one more than itself.
impl<T: Pack> Pack for Option<T> {
    fn pack(self) -> u64 {
        self.map_or(0, |v| v.pack().wrapping_add(1))
    }
    fn unpack(bits: u64) -> Option<Option<T>> {
        match bits.checked_sub(1) {
            Some(value) => T::unpack(value).map(Some),
            None => Some(None),
        }
    }
}

fn encode<T: Pack>(column: &[T]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(column.len() + column.len() / 2);
    let mut before = 0u64;
    for value in column {
        let value = value.pack();
        let difference = value.wrapping_sub(before) as i64;
        before = value;
        let mut rest = (difference << 1 ^ difference >> 63) as u64;
        while rest >= 0x80 {
            bytes.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        bytes.push(rest as u8);
    }
    bytes
}

fn decode<T: Pack>(bytes: &[u8]) -> Result<Vec<T>, &'static str> {
    // Every row ends in a byte without the highest bit, so this is how many there are.
    let rows = bytes.iter().filter(|b| **b < 0x80).count();
    let mut column = Vec::with_capacity(rows);
    let mut before = 0u64;
    let mut bytes = bytes.iter();
    while let Some(&first) = bytes.next() {
        let mut rest = u64::from(first & 0x7f);
        let (mut byte, mut shift) = (first, 7);
        while byte >= 0x80 {
            byte = *bytes.next().ok_or("a packed column ends within a number")?;
            if shift > 63 || shift == 63 && byte > 1 {
                return Err("a number in a packed column is longer than 64 bits");
            }
            rest |= u64::from(byte & 0x7f) << shift;
            shift += 7;
        }
        let difference = (rest >> 1) as i64 ^ -((rest & 1) as i64);
        before = before.wrapping_add(difference as u64);
        column.push(T::unpack(before).ok_or("a number in a packed column is too large for it")?);
    }
    Ok(column)
}

pub(crate) fn serialize<T: Pack + Serialize, S: Serializer>(column: &[T], to: S) -> Result<S::Ok, S::Error> {
    if to.is_human_readable() { column.serialize(to) } else { to.serialize_bytes(&encode(column)) }
}

pub(crate) fn deserialize<'de, T: Pack + Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<Vec<T>, D::Error> {
    from.deserialize_any(Column(PhantomData))
}

struct Column<T>(PhantomData<T>);

impl<'de, T: Pack + Deserialize<'de>> Visitor<'de> for Column<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a column of numbers")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<T>, E> {
        decode(bytes).map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
        // The length is a promise: no more than a megabyte on its word.
        let mut column = Vec::with_capacity(list.size_hint().unwrap_or(0).min(1 << 17));
        while let Some(value) = list.next_element()? {
            column.push(value);
        }
        Ok(column)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::Random;

    #[test]
    fn columns_come_back() {
        let mut random = Random::fresh();
        for _ in 0..300 {
            let bits = random.below(65) as u32;
            let mut value = || random.bits().checked_shr(64 - bits).unwrap_or(0);
            let column: Vec<u64> = (0..50).map(|_| value()).collect();
            assert_eq!(decode(&encode(&column)).as_ref(), Ok(&column), "seed {}", random.seed);
            let ids: Vec<Option<SpanId>> = column.iter().map(|&v| (v % 3 > 0).then_some(SpanId(v as u32))).collect();
            assert_eq!(decode(&encode(&ids)), Ok(ids), "seed {}", random.seed);
        }
        let ends = vec![0, u64::MAX, 0, 1, u64::MAX - 1, 1 << 63];
        assert_eq!(decode(&encode(&ends)), Ok(ends));
        let largest = vec![Some(SpanId(u32::MAX)), None];
        assert_eq!(decode(&encode(&largest)), Ok(largest));
        let all = vec![Quality::Cpu, Quality::GpuTimestamp, Quality::Wall, Quality::Rejected];
        assert_eq!(decode(&encode(&all)), Ok(all));
        assert_eq!(decode::<u64>(&[]), Ok(Vec::new()));
    }

    #[test]
    fn damaged_columns_are_refused() {
        assert!(decode::<u64>(&[0x80]).is_err());
        assert!(decode::<u64>(&[[0xff; 9].as_slice(), &[1]].concat()).is_ok());
        assert!(decode::<u64>(&[[0xff; 9].as_slice(), &[2]].concat()).is_err());
        assert!(decode::<u64>(&[[0x80; 10].as_slice(), &[0]].concat()).is_err());
        assert!(decode::<u32>(&encode(&[1u64 << 32])).is_err());
        assert!(decode::<Quality>(&encode(&[4u64])).is_err());
        assert!(decode::<Option<LayerId>>(&encode(&[(1u64 << 32) + 1])).is_err());
    }

    #[test]
    fn neighbours_take_a_byte() {
        let spans = crate::fixtures::many_spans(10_000).spans;
        let size = encode(&spans.layer).len() + encode(&spans.run).len() + encode(&spans.parent).len();
        assert!(size < 4 * spans.len(), "{size}");
        assert!(encode(&spans.start_ns).len() < 3 * spans.len());
    }
}
