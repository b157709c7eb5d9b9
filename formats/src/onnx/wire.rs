//! A walk over the encoded messages before they are decoded. It touches only tags and lengths (so no weights are read),
//! and bounds what decoding may cost: two encoded bytes can ask for hundreds of decoded ones, and graphs can nest without end.

use std::mem::size_of;

use super::OnnxError;
use super::proto::*;

/// Subgraphs within subgraphs; real models have three or four.
pub(crate) const MAX_GRAPH_DEPTH: usize = 16;
/// Decoded structures may take this much, plus [`GROWTH`] times the file.
const BASE_BYTES: u64 = 256 << 20;
const GROWTH: u64 = 8;

#[derive(Clone, Copy, PartialEq, Debug)]
enum Kind {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
    Function,
    ValueInfo,
    Entry,
    Opset,
    Type,
    ElementType,
    TensorType,
    Shape,
    Dim,
}

impl Kind {
    /// The message in a field of this message; `None` for scalars, strings, bytes and fields that are skipped.
    fn child(self, field: u64) -> Option<Kind> {
        use Kind::*;
        Some(match (self, field) {
            (Model, 7) | (Attribute, 6 | 11) => Graph,
            (Model, 8) | (Function, 9) => Opset,
            (Model, 14) | (Node, 9) | (Tensor, 13) => Entry,
            (Model, 25) => Function,
            (Graph, 1) | (Function, 7) => Node,
            (Graph, 5) | (Attribute, 5 | 10) => Tensor,
            (Graph, 11..=13) => ValueInfo,
            (Node, 5) | (Function, 11) => Attribute,
            (ValueInfo, 2) | (Attribute, 14) | (ElementType, 1) => Type,
            (Type, 1) => TensorType,
            (Type, 4 | 9) => ElementType,
            (TensorType, 2) => Shape,
            (Shape, 1) => Dim,
            _ => return None,
        })
    }

    /// Bytes of the decoded message itself.
    fn size(self) -> usize {
        match self {
            Kind::Model => size_of::<ModelProto>(),
            Kind::Graph => size_of::<GraphProto>(),
            Kind::Node => size_of::<NodeProto>(),
            Kind::Attribute => size_of::<AttributeProto>(),
            Kind::Tensor => size_of::<TensorProto>(),
            Kind::Function => size_of::<FunctionProto>(),
            Kind::ValueInfo => size_of::<ValueInfoProto>(),
            Kind::Entry => size_of::<StringStringEntryProto>(),
            Kind::Opset => size_of::<OperatorSetIdProto>(),
            Kind::Type => size_of::<TypeProto>(),
            Kind::ElementType => size_of::<ElementTypeProto>(),
            Kind::TensorType => size_of::<TensorTypeProto>(),
            Kind::Shape => size_of::<TensorShapeProto>(),
            Kind::Dim => size_of::<DimensionProto>(),
        }
    }
}

/// Checks that an encoded model is well-formed as far as messages go, and cheap enough to decode.
pub(crate) fn check_model(bytes: &[u8]) -> Result<(), OnnxError> {
    let limit = BASE_BYTES.saturating_add(GROWTH.saturating_mul(bytes.len() as u64));
    walk(Kind::Model, bytes, 0, &mut Budget { left: limit, limit })
}

struct Budget {
    left: u64,
    limit: u64,
}

/// Depth is bounded by [`MAX_GRAPH_DEPTH`]: only graphs and types can nest, graphs through nodes and attributes, three messages a
/// level.
fn walk(kind: Kind, mut bytes: &[u8], depth: usize, budget: &mut Budget) -> Result<(), OnnxError> {
    let too_large = OnnxError::TooLarge { what: "structures, in bytes", limit: budget.limit };
    budget.left = budget.left.checked_sub(kind.size() as u64).ok_or(too_large)?;
    while !bytes.is_empty() {
        let tag = varint(&mut bytes)?;
        match tag & 7 {
            0 => {
                varint(&mut bytes)?;
            }
            1 => take(&mut bytes, 8).map(drop)?,
            5 => take(&mut bytes, 4).map(drop)?,
            2 => {
                let length = varint(&mut bytes)?;
                let inner = take(&mut bytes, length)?;
                if let Some(child) = kind.child(tag >> 3) {
                    let depth = depth + matches!(child, Kind::Graph | Kind::ElementType) as usize;
                    if depth > MAX_GRAPH_DEPTH {
                        return Err(OnnxError::TooDeep(MAX_GRAPH_DEPTH));
                    }
                    walk(child, inner, depth, budget)?;
                }
            }
            other => return Err(OnnxError::Decode(format!("wire type {other}, which ONNX does not use"))),
        }
    }
    Ok(())
}

fn varint(bytes: &mut &[u8]) -> Result<u64, OnnxError> {
    let mut v = 0u64;
    for shift in (0..64).step_by(7) {
        let (&b, rest) = bytes.split_first().ok_or_else(truncated)?;
        *bytes = rest;
        v |= u64::from(b & 0x7f) << shift;
        if b < 0x80 {
            return Ok(v);
        }
    }
    Err(OnnxError::Decode("a number of more than 64 bits".into()))
}

fn take<'a>(bytes: &mut &'a [u8], n: u64) -> Result<&'a [u8], OnnxError> {
    let n = usize::try_from(n).ok().filter(|&n| n <= bytes.len()).ok_or_else(truncated)?;
    let (head, rest) = bytes.split_at(n);
    *bytes = rest;
    Ok(head)
}

fn truncated() -> OnnxError {
    OnnxError::Decode("the data ends in the middle of a field".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A length-delimited field around `inner`.
    fn field(number: u8, inner: &[u8]) -> Vec<u8> {
        let mut out = vec![number << 3 | 2];
        prost::encode_length_delimiter(inner.len(), &mut out).unwrap();
        out.extend_from_slice(inner);
        out
    }

    #[test]
    fn ten_thousand_nested_graphs_are_refused_without_overflowing_the_stack() {
        let mut graph = field(2, b"innermost");
        for _ in 0..10_000 {
            graph = field(1, &field(5, &field(6, &graph)));
        }
        assert!(matches!(check_model(&field(7, &graph)), Err(OnnxError::TooDeep(16))));
    }

    #[test]
    fn many_empty_messages_are_refused_before_they_are_allocated() {
        // 4 MiB of empty initializers would decode to gigabytes.
        let graph: Vec<u8> = [5 << 3 | 2, 0].repeat(2 << 20);
        assert!(
            (2u64 << 20) * size_of::<TensorProto>() as u64 > BASE_BYTES + GROWTH * graph.len() as u64,
            "too small to tell"
        );
        assert!(matches!(check_model(&field(7, &graph)), Err(OnnxError::TooLarge { .. })));
        assert!(check_model(&field(7, &graph[..1000])).is_ok());
    }

    #[test]
    fn broken_lengths_are_refused() {
        assert!(check_model(&[0x3a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]).is_err());
        assert!(check_model(&[0x80; 11]).is_err());
        assert!(check_model(&[0x3b]).is_err(), "groups");
        assert!(check_model(&[0x09, 1, 2, 3]).is_err(), "a fixed64 cut short");
    }
}
