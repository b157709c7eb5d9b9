//! ONNX: opset 7 to the newest. Weights stay slices of the file, model-local functions are inlined, nodes are sorted.

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

use graph::{Model, Tensor};
use prost::Message;

pub use error::OnnxError;

use crate::{Format, FormatError, Source};
use external::ExternalData;

/// The entry in the list of formats.
pub const FORMAT: Format = Format { name: "onnx", extensions: &["onnx"], sniff: looks_like_onnx, read };

/// The oldest opset of the standard operators: before it, broadcasting was another.
const OLDEST_OPSET: i64 = 7;

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
    let (graph, external) = convert::main_graph(&p, source.bytes.len(), external)?;
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
    let p = proto::TensorProto::decode(source.bytes.clone()).map_err(|e| bad(OnnxError::Decode(e.to_string())))?;
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
