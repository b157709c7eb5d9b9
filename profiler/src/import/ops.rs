//! What other programs call operators and types: to the classes and the spelling that are used here.

use crate::{Layer, OpClass};

/// The class of an operator by its name, in whatever spelling: `aten::linear`, `DEPTHWISE_CONV_2D`, `FullyConnected`.
pub(super) fn class(op: &str) -> OpClass {
    /// The first word that is found decides.
    const WORDS: &[(&str, OpClass)] = &[
        ("dequant", OpClass::Quantization),
        ("quant", OpClass::Quantization),
        ("attention", OpClass::Attention),
        ("flash", OpClass::Attention),
        ("fmha", OpClass::Attention),
        ("mha", OpClass::Attention),
        ("pad", OpClass::DataMovement),
        ("reorder", OpClass::DataMovement),
        ("reformat", OpClass::DataMovement),
        ("layernorm", OpClass::Normalisation),
        ("batchnorm", OpClass::Normalisation),
        ("norm", OpClass::Normalisation),
        ("softmax", OpClass::Normalisation),
        ("lrn", OpClass::Normalisation),
        ("mvn", OpClass::Normalisation),
        ("conv", OpClass::Convolution),
        ("pool", OpClass::Convolution),
        ("winograd", OpClass::Convolution),
        ("matmul", OpClass::MatMul),
        ("matrixmultiply", OpClass::MatMul),
        ("fullyconnected", OpClass::MatMul),
        ("innerproduct", OpClass::MatMul),
        ("gemm", OpClass::MatMul),
        ("gemv", OpClass::MatMul),
        ("linear", OpClass::MatMul),
        ("addmm", OpClass::MatMul),
        ("addbmm", OpClass::MatMul),
        ("baddbmm", OpClass::MatMul),
        ("addmv", OpClass::MatMul),
        ("einsum", OpClass::MatMul),
        ("lstm", OpClass::MatMul),
        ("gru", OpClass::MatMul),
        ("transpose", OpClass::DataMovement),
        ("permute", OpClass::DataMovement),
        ("reshape", OpClass::DataMovement),
        ("squeeze", OpClass::DataMovement),
        ("flatten", OpClass::DataMovement),
        ("view", OpClass::DataMovement),
        ("expand", OpClass::DataMovement),
        ("gather", OpClass::DataMovement),
        ("scatter", OpClass::DataMovement),
        ("embedding", OpClass::DataMovement),
        ("concat", OpClass::DataMovement),
        ("split", OpClass::DataMovement),
        ("slice", OpClass::DataMovement),
        ("select", OpClass::DataMovement),
        ("stack", OpClass::DataMovement),
        ("chunk", OpClass::DataMovement),
        ("copy", OpClass::DataMovement),
        ("memcpy", OpClass::DataMovement),
        ("memset", OpClass::DataMovement),
        ("clone", OpClass::DataMovement),
        ("contiguous", OpClass::DataMovement),
        ("identity", OpClass::DataMovement),
        ("shuffle", OpClass::DataMovement),
        ("resize", OpClass::DataMovement),
        ("upsample", OpClass::DataMovement),
        ("interpolate", OpClass::DataMovement),
        ("index", OpClass::DataMovement),
        ("tile", OpClass::DataMovement),
        ("repeat", OpClass::DataMovement),
        ("asstrided", OpClass::DataMovement),
        ("relu", OpClass::Elementwise),
        ("sigmoid", OpClass::Elementwise),
        ("tanh", OpClass::Elementwise),
        ("gelu", OpClass::Elementwise),
        ("silu", OpClass::Elementwise),
        ("swish", OpClass::Elementwise),
        ("swiglu", OpClass::Elementwise),
        ("erf", OpClass::Elementwise),
        ("exp", OpClass::Elementwise),
        ("sqrt", OpClass::Elementwise),
        ("elementwise", OpClass::Elementwise),
        ("eltwise", OpClass::Elementwise),
        ("pointwise", OpClass::Elementwise),
        ("activation", OpClass::Elementwise),
        ("reduce", OpClass::Elementwise),
        ("mean", OpClass::Elementwise),
        ("maximum", OpClass::Elementwise),
        ("minimum", OpClass::Elementwise),
        ("clip", OpClass::Elementwise),
        ("clamp", OpClass::Elementwise),
        ("where", OpClass::Elementwise),
        ("dropout", OpClass::Elementwise),
        ("logistic", OpClass::Elementwise),
    ];
    /// Too short to look for inside of others.
    const WHOLE: &[(&str, OpClass)] = &[
        ("mm", OpClass::MatMul),
        ("bmm", OpClass::MatMul),
        ("dot", OpClass::MatMul),
        ("mv", OpClass::MatMul),
        ("t", OpClass::DataMovement),
        ("to", OpClass::DataMovement),
        ("cat", OpClass::DataMovement),
        ("cast", OpClass::DataMovement),
        ("narrow", OpClass::DataMovement),
        ("unbind", OpClass::DataMovement),
        ("roll", OpClass::DataMovement),
        ("add", OpClass::Elementwise),
        ("sub", OpClass::Elementwise),
        ("rsub", OpClass::Elementwise),
        ("subtract", OpClass::Elementwise),
        ("mul", OpClass::Elementwise),
        ("multiply", OpClass::Elementwise),
        ("div", OpClass::Elementwise),
        ("divide", OpClass::Elementwise),
        ("pow", OpClass::Elementwise),
        ("power", OpClass::Elementwise),
        ("sum", OpClass::Elementwise),
        ("max", OpClass::Elementwise),
        ("min", OpClass::Elementwise),
        ("neg", OpClass::Elementwise),
        ("abs", OpClass::Elementwise),
        ("equal", OpClass::Elementwise),
        ("greater", OpClass::Elementwise),
        ("less", OpClass::Elementwise),
        ("and", OpClass::Elementwise),
        ("or", OpClass::Elementwise),
        ("not", OpClass::Elementwise),
        ("math", OpClass::Elementwise),
    ];
    let own = op.rsplit("::").next().unwrap_or(op);
    let plain: String = own.chars().filter(|c| c.is_alphanumeric()).take(128).map(|c| c.to_ascii_lowercase()).collect();
    let whole = WHOLE.iter().find(|(word, _)| *word == plain);
    whole.or_else(|| WORDS.iter().find(|(word, _)| plain.contains(word))).map_or(OpClass::Other, |w| w.1)
}

/// Where a node sits, by its name: all but the last part of its path.
pub(super) fn scope(name: &str) -> &str {
    let path = name.trim_start_matches('/');
    path.rsplit_once('/').map_or("", |(scope, _)| scope)
}

/// A layer with what its name and operator say.
pub(super) fn layer(name: &str, op: &str) -> Layer {
    Layer {
        name: name.to_owned(),
        op: op.to_owned(),
        class: class(op),
        scope: scope(name).to_owned(),
        ..Layer::default()
    }
}

/// A type's name as it is spelled here: `f32` for `float`, `Float32`, `FP32`.
pub(super) fn dtype(name: &str) -> &str {
    match name {
        "float" | "float32" | "FP32" | "Float" | "F32" => "f32",
        "float16" | "c10::Half" | "FP16" | "Half" | "F16" => "f16",
        "bfloat16" | "c10::BFloat16" | "BF16" | "BFloat16" => "bf16",
        "double" | "float64" | "F64" => "f64",
        "long" | "long int" | "int64" | "Int64" | "I64" => "i64",
        "int" | "int32" | "Int32" | "I32" => "i32",
        "int16" | "short" => "i16",
        "int8" | "signed char" | "Int8" | "I8" => "i8",
        "uint8" | "unsigned char" | "UInt8" | "U8" => "u8",
        "uint16" => "u16",
        "uint32" => "u32",
        "uint64" => "u64",
        "Bool" | "boolean" => "bool",
        other => other,
    }
}

/// `f32[1,128]`.
pub(super) fn tensor(dtype_name: &str, dims: &[i64]) -> String {
    let dims: Vec<String> = dims.iter().map(i64::to_string).collect();
    format!("{}[{}]", dtype(dtype_name), dims.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_of_all_tools_have_a_class() {
        for (op, want) in [
            ("MatMul", OpClass::MatMul),
            ("aten::addmm", OpClass::MatMul),
            ("aten::mm", OpClass::MatMul),
            ("aten::linear", OpClass::MatMul),
            ("FULLY_CONNECTED", OpClass::MatMul),
            ("FullyConnected", OpClass::MatMul),
            ("CaskGemmMatrixMultiply", OpClass::MatMul),
            ("aten::conv2d", OpClass::Convolution),
            ("DEPTHWISE_CONV_2D", OpClass::Convolution),
            ("CaskConvolution", OpClass::Convolution),
            ("GlobalAveragePool", OpClass::Convolution),
            ("aten::scaled_dot_product_attention", OpClass::Attention),
            ("aten::layer_norm", OpClass::Normalisation),
            ("aten::_softmax", OpClass::Normalisation),
            ("aten::add_", OpClass::Elementwise),
            ("aten::t", OpClass::DataMovement),
            ("Reorder", OpClass::DataMovement),
            ("aten::as_strided", OpClass::DataMovement),
            ("QuantizeLinear", OpClass::Quantization),
            ("DEQUANTIZE", OpClass::Quantization),
            ("cpu_op", OpClass::Other),
            ("", OpClass::Other),
        ] {
            assert_eq!(class(op), want, "{op}");
        }
    }

    #[test]
    fn scopes_and_types() {
        assert_eq!(scope("/block.0/attention/query/MatMul"), "block.0/attention/query");
        assert_eq!((scope("MatMul"), scope("")), ("", ""));
        assert_eq!(tensor("float", &[1, -1, 3]), "f32[1,-1,3]");
        assert_eq!(tensor("c10::Half", &[]), "f16[]");
    }
}
