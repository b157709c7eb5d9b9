//! Small ONNX files made in memory, for tests: a [`ModelBuilder`] and the messages that go into one.
//!
//! ```
//! use formats::onnx::build::{ModelBuilder, attr};
//! use graph::DType;
//!
//! let bytes = ModelBuilder::new(17)
//!     .input("x", DType::F32, &["batch", "4"])
//!     .output("y", DType::F32, &["batch", "4"])
//!     .node("Softmax", &["x"], &["y"], vec![attr("axis", 1i64)])
//!     .bytes();
//! let model = formats::from_bytes("softmax.onnx", bytes).unwrap();
//! assert_eq!(model.graph.nodes[0].op_type, "Softmax");
//! ```

use bytes::Bytes;
use graph::{DType, Tensor};
use prost::Message;

use super::proto::*;

/// A model in the making. Every field of the file is open in [`ModelBuilder::model`].
pub struct ModelBuilder {
    /// The message so far.
    pub model: ModelProto,
}

impl ModelBuilder {
    /// An empty model for an opset of the standard operators.
    pub fn new(opset: i64) -> Self {
        let graph = GraphProto { name: Some("graph".into()), ..GraphProto::default() };
        let model = ModelProto {
            ir_version: Some(8),
            producer_name: Some("stratoscope".into()),
            opset_import: vec![OperatorSetIdProto { domain: None, version: Some(opset) }],
            graph: Some(graph),
            ..ModelProto::default()
        };
        ModelBuilder { model }
    }

    /// The main graph.
    pub fn graph(&mut self) -> &mut GraphProto {
        self.model.graph.get_or_insert_default()
    }

    /// Adds an input; see [`value`] for the dimensions.
    pub fn input(mut self, name: &str, dtype: DType, dims: &[&str]) -> Self {
        self.graph().input.push(value(name, dtype, dims));
        self
    }

    /// Adds an output; see [`value`] for the dimensions.
    pub fn output(mut self, name: &str, dtype: DType, dims: &[&str]) -> Self {
        self.graph().output.push(value(name, dtype, dims));
        self
    }

    /// Adds an initializer.
    pub fn constant(mut self, name: &str, t: &Tensor) -> Self {
        self.graph().initializer.push(tensor(name, t));
        self
    }

    /// Adds a node.
    pub fn node(mut self, op: &str, inputs: &[&str], outputs: &[&str], attrs: Vec<AttributeProto>) -> Self {
        self.graph().node.push(node(op, inputs, outputs, attrs));
        self
    }

    /// The file.
    pub fn bytes(&self) -> Bytes {
        self.model.encode_to_vec().into()
    }
}

/// A value's name and type. A dimension is a number, a name (`batch`) or `?`.
pub fn value(name: &str, dtype: DType, dims: &[&str]) -> ValueInfoProto {
    let dim = |d: &&str| match d.parse() {
        Ok(n) => DimensionProto { dim_value: Some(n), dim_param: None },
        Err(_) => DimensionProto { dim_value: None, dim_param: Some(d.to_string()).filter(|d| d != "?") },
    };
    let shape = Some(TensorShapeProto { dim: dims.iter().map(dim).collect() });
    let tensor_type = Some(TensorTypeProto { elem_type: Some(dtype.to_onnx()), shape });
    ValueInfoProto { name: Some(name.into()), r#type: Some(TypeProto { tensor_type, ..TypeProto::default() }) }
}

/// A node without a name.
pub fn node(op: &str, inputs: &[&str], outputs: &[&str], attrs: Vec<AttributeProto>) -> NodeProto {
    let strings = |s: &[&str]| s.iter().map(|s| s.to_string()).collect();
    NodeProto {
        op_type: Some(op.into()),
        input: strings(inputs),
        output: strings(outputs),
        attribute: attrs,
        ..NodeProto::default()
    }
}

/// A tensor's message, with raw data.
pub fn tensor(name: &str, t: &Tensor) -> TensorProto {
    TensorProto {
        name: Some(name.into()),
        dims: t.shape().iter().map(|&d| d as i64).collect(),
        data_type: Some(t.dtype().to_onnx()),
        raw_data: (t.dtype() != DType::String).then(|| t.bytes().clone()),
        string_data: t.strings().to_vec(),
        ..TensorProto::default()
    }
}

/// An attribute from a number, a slice, a string, a tensor or a graph.
pub fn attr(name: &str, value: impl AttrValue) -> AttributeProto {
    AttributeProto { name: Some(name.into()), ..value.into_attr() }
}

/// An attribute whose value is that of the calling node's attribute of another name: for the bodies of functions.
pub fn attr_ref(name: &str, of_call: &str, attribute_type: i32) -> AttributeProto {
    let (name, ref_attr_name) = (Some(name.into()), Some(of_call.into()));
    AttributeProto { name, ref_attr_name, r#type: Some(attribute_type), ..AttributeProto::default() }
}

/// What an attribute can hold.
pub trait AttrValue {
    /// The message, without a name.
    fn into_attr(self) -> AttributeProto;
}

macro_rules! attr_values {
    ($($t:ty, $v:ident => $kind:ident { $field:ident: $value:expr };)*) => {
        $(impl AttrValue for $t {
            fn into_attr(self) -> AttributeProto {
                let $v = self;
                AttributeProto { r#type: Some(attribute_type::$kind), $field: $value, ..AttributeProto::default() }
            }
        })*
    };
}
attr_values! {
    i64, v => INT { i: Some(v) };
    f32, v => FLOAT { f: Some(v) };
    &str, v => STRING { s: Some(v.to_string().into()) };
    &[i64], v => INTS { ints: v.to_vec() };
    &[f32], v => FLOATS { floats: v.to_vec() };
    &Tensor, v => TENSOR { t: Some(Box::new(tensor("", v))) };
    GraphProto, v => GRAPH { g: Some(Box::new(v)) };
}
