//! ONNX, of any opset. Weights stay slices of the file, model-local functions are inlined, nodes are sorted.

pub mod build;
mod call;
mod convert;
mod error;
mod external;
mod names;
pub mod proto;
mod scope;
mod sort;
mod tensor;
#[cfg(test)]
mod tests;
mod wire;

use std::collections::BTreeMap;
use std::path::Path;

use graph::{DType, Model, Tensor};
use prost::Message;

pub use error::OnnxError;

use crate::{Format, FormatError, Source};
use external::ExternalData;

/// The entry in the list of formats.
pub const FORMAT: Format = Format { name: "onnx", extensions: &["onnx"], sniff: looks_like_onnx, read };

/// A model begins with its `ir_version`, a small number, and goes on with one of its next fields.
fn looks_like_onnx(bytes: &[u8]) -> bool {
    matches!(bytes, [0x08, 1..=40, 0x12 | 0x1a | 0x22 | 0x28 | 0x32 | 0x3a | 0x42, ..])
}

fn read(source: &Source) -> Result<Model, FormatError> {
    parse(source).map_err(|problem| FormatError::Onnx { file: source.name.clone(), problem })
}

fn parse(source: &Source) -> Result<Model, OnnxError> {
    wire::check_model(&source.bytes)?;
    let p = proto::ModelProto::decode(source.bytes.clone()).map_err(|e| OnnxError::Decode(e.to_string()))?;
    let external = match &source.path {
        Some(path) => ExternalData::in_folder(path.parent().unwrap_or(Path::new(""))),
        None => ExternalData::none(),
    };
    let (mut graph, external) = convert::main_graph(&p, source.bytes.len(), external)?;
    graph.files = source.file.iter().cloned().chain(external.files()).collect();
    let mut metadata = BTreeMap::new();
    for e in &p.metadata_props {
        let value = e.value.as_ref().map(|v| String::from_utf8_lossy(v).into_owned()).unwrap_or_default();
        metadata.insert(e.key.clone().unwrap_or_default(), value);
    }
    let (name, version) = (p.producer_name.unwrap_or_default(), p.producer_version.unwrap_or_default());
    Ok(Model {
        graph,
        path: source.path.clone().unwrap_or_default(),
        producer: format!("{name} {version}").trim().to_string(),
        format: FORMAT.name.to_string(),
        file_bytes: source.bytes.len() as u64 + external.total_bytes(),
        metadata,
    })
}

/// Reads a `TensorProto` that stands alone in a file, as in the test data of the ONNX backend tests.
pub(crate) fn read_tensor(source: &Source) -> Result<Tensor, FormatError> {
    let file = || source.name.clone();
    let bad = |problem| FormatError::Onnx { file: file(), problem };
    let p: proto::TensorProto = message(source)?;
    let read = tensor::convert(&p, &mut ExternalData::none());
    // A `SequenceProto` or an `OptionalProto` decodes as a tensor too, but with a "segment", with no data at all, or with
    // its name (field 1, with a length) for dimensions.
    let no_data = !tensor::has_typed(&p) && p.raw_data.is_none() && p.data_location != Some(1);
    let named = source.bytes.first() == Some(&0x0a);
    if p.segment.is_some() || (read.is_err() && (no_data || named)) {
        let what = "a sequence, an optional value or a tensor without data";
        return Err(FormatError::Unsupported { file: file(), what });
    }
    read.map_err(bad)
}

/// Reads a `SequenceProto`, whose tensors are of type `dtype` (it may be empty).
pub(crate) fn read_sequence(source: &Source, dtype: DType) -> Result<Tensor, FormatError> {
    sequence(source, &message(source)?, dtype)
}

/// Reads an `OptionalProto` of a tensor or of a sequence.
pub(crate) fn read_optional(source: &Source, dtype: DType) -> Result<Tensor, FormatError> {
    let p: proto::OptionalProto = message(source)?;
    match (&p.tensor_value, &p.sequence_value) {
        (Some(t), _) => tensor::convert(t, &mut ExternalData::none())
            .map_err(|problem| FormatError::Onnx { file: source.name.clone(), problem }),
        (None, Some(s)) => sequence(source, s, dtype),
        (None, None) if p.elem_type.unwrap_or(0) == 0 => Ok(Tensor::absent(dtype)),
        (None, None) => {
            let what = "an optional value that is neither a tensor nor a sequence of tensors";
            Err(FormatError::Unsupported { file: source.name.clone(), what })
        }
    }
}

fn message<M: Message + Default>(source: &Source) -> Result<M, FormatError> {
    M::decode(source.bytes.clone())
        .map_err(|e| FormatError::Onnx { file: source.name.clone(), problem: OnnxError::Decode(e.to_string()) })
}

fn sequence(source: &Source, p: &proto::SequenceProto, dtype: DType) -> Result<Tensor, FormatError> {
    /// `SequenceProto.DataType`'s codes for "unknown" and for tensors.
    const TENSORS: [i32; 2] = [0, 1];
    let file = || source.name.clone();
    if !TENSORS.contains(&p.elem_type.unwrap_or(0)) || !p.sequence_values.is_empty() {
        return Err(FormatError::Unsupported { file: file(), what: "a sequence of other things than tensors" });
    }
    let items = p.tensor_values.iter().map(|t| tensor::convert(t, &mut ExternalData::none()));
    let items: Vec<Tensor> =
        items.collect::<Result<_, _>>().map_err(|problem| FormatError::Onnx { file: file(), problem })?;
    if let Some(other) = items.iter().find(|t| t.dtype() != dtype) {
        let why = format!("a sequence of {dtype} holds a tensor of {}", other.dtype());
        let problem = OnnxError::TensorData { tensor: p.name.clone().unwrap_or_default(), why };
        return Err(FormatError::Onnx { file: file(), problem });
    }
    Ok(Tensor::sequence(dtype, items))
}
