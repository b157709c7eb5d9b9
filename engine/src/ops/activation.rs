//! The activation that a pass fused into a kernel's epilogue, as attributes of the fused node.

use std::collections::BTreeMap;

use cpu_kernels::gemm::Activation;
use graph::{Attr, Node};

use crate::attrs::Attrs;
use crate::op::OpError;

/// Reads the fused activation; none if there is no such attribute.
pub(crate) fn read(a: &Attrs<'_>) -> Result<Activation, OpError> {
    let (x, y) = (a.float_or("activation_a", 0.0)?, a.float_or("activation_b", 0.0)?);
    Ok(match a.string_or("activation", "")? {
        "" => Activation::None,
        "Relu" => Activation::Relu,
        "Gelu" => Activation::Gelu,
        "GeluTanh" => Activation::GeluTanh,
        "Silu" => Activation::Silu,
        "Sigmoid" => Activation::Sigmoid,
        "Tanh" => Activation::Tanh,
        "Clip" => Activation::Clip(x, y),
        "HardSwish" => Activation::HardSwish,
        "HardSigmoid" => Activation::HardSigmoid(x, y),
        "LeakyRelu" => Activation::LeakyRelu(x),
        other => return Err(OpError::unsupported(format!("activation \"{other}\""))),
    })
}

/// `+Gelu` for a layer's label; empty if there is none.
pub(crate) fn suffix(activation: Activation) -> &'static str {
    match activation {
        Activation::None => "",
        Activation::Relu => "+Relu",
        Activation::Gelu | Activation::GeluTanh => "+Gelu",
        Activation::Silu => "+Silu",
        Activation::Sigmoid => "+Sigmoid",
        Activation::Tanh => "+Tanh",
        Activation::Clip(..) => "+Clip",
        Activation::HardSwish => "+HardSwish",
        Activation::HardSigmoid(..) => "+HardSigmoid",
        Activation::LeakyRelu(_) => "+LeakyRelu",
    }
}

/// Writes an activation as attributes.
pub(crate) fn write(activation: Activation, attrs: &mut BTreeMap<String, Attr>) {
    let (name, x, y) = match activation {
        Activation::None => return,
        Activation::Relu => ("Relu", 0.0, 0.0),
        Activation::Gelu => ("Gelu", 0.0, 0.0),
        Activation::GeluTanh => ("GeluTanh", 0.0, 0.0),
        Activation::Silu => ("Silu", 0.0, 0.0),
        Activation::Sigmoid => ("Sigmoid", 0.0, 0.0),
        Activation::Tanh => ("Tanh", 0.0, 0.0),
        Activation::Clip(lo, hi) => ("Clip", lo, hi),
        Activation::HardSwish => ("HardSwish", 0.0, 0.0),
        Activation::HardSigmoid(a, b) => ("HardSigmoid", a, b),
        Activation::LeakyRelu(a) => ("LeakyRelu", a, 0.0),
    };
    attrs.insert("activation".into(), Attr::String(name.into()));
    attrs.insert("activation_a".into(), Attr::Float(x));
    attrs.insert("activation_b".into(), Attr::Float(y));
}

/// The activation that a standard node applies to its input, if it is one that kernels can fuse.
pub(crate) fn of_node(node: &Node, constant: impl Fn(usize) -> Option<f32>) -> Option<Activation> {
    let float = |name: &str, default: f32| match node.attrs.get(name) {
        Some(Attr::Float(v)) => *v,
        _ => default,
    };
    let tanh = matches!(node.attrs.get("approximate"), Some(Attr::String(s)) if &s[..] == b"tanh");
    Some(match node.op_type.as_str() {
        "Relu" => Activation::Relu,
        "Gelu" if tanh => Activation::GeluTanh,
        "Gelu" => Activation::Gelu,
        "Silu" => Activation::Silu,
        "Sigmoid" => Activation::Sigmoid,
        "Tanh" => Activation::Tanh,
        "HardSwish" => Activation::HardSwish,
        "HardSigmoid" => Activation::HardSigmoid(float("alpha", 0.2), float("beta", 0.5)),
        "LeakyRelu" => Activation::LeakyRelu(float("alpha", 0.01)),
        "Clip" => {
            // Before opset 11 the bounds are attributes, later they are inputs.
            let bound = |i: usize, name: &str, default: f32| match node.inputs.get(i).copied().flatten() {
                Some(_) => constant(i),
                None => Some(float(name, default)),
            };
            Activation::Clip(bound(1, "min", f32::MIN)?, bound(2, "max", f32::MAX)?)
        }
        _ => return None,
    })
}
