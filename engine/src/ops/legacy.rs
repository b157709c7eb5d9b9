//! The standard operators before opset 7: a node's older form is rewritten to that of opset 7 when a graph is taken apart, so
//! that every operator, pass and kernel knows one form only.

use graph::{Attr, DType, Graph, Node, Tensor, Value};

use crate::attrs::Attrs;
use crate::op::{Fact, Inputs, OpClass, OpDef, OpError, Operator, RunCx};
use crate::registry::INTERNAL;

/// The oldest operator-set version that operators themselves read.
pub(crate) const MODERN: i64 = 7;

/// What rewritten nodes need.
pub(crate) const OPS: &[OpDef] = &[OpDef { domain: INTERNAL, name: "Align", opsets: (1, 1), read: read_align }];

/// Rewrites a standard node of `opset` to opset 7. The node that it needs before it, if any, is returned.
pub(crate) fn modernise(graph: &mut Graph, node: &mut Node, opset: i64) -> Result<Option<Node>, OpError> {
    if !node.domain.is_empty() || opset >= MODERN {
        return Ok(None);
    }
    // Hints about memory that never changed a result.
    node.attrs.remove("consumed_inputs");
    let op_type = node.op_type.clone();
    match op_type.as_str() {
        "Add" | "Sub" | "Mul" | "Div" | "Pow" | "And" | "Or" | "Xor" | "Equal" | "Greater" | "Less" => {
            let broadcast = take_int(node, "broadcast")?.unwrap_or(0) != 0;
            // Without an axis the second shape is a suffix of the first, as in today's broadcasting.
            if let (Some(axis), true) = (take_int(node, "axis")?, broadcast) {
                return Ok(Some(align(graph, node, axis)));
            }
        }
        // A slope for each channel, wherever the channels are.
        "PRelu" => return Ok(Some(align(graph, node, 1))),
        "Gemm" => drop(take_int(node, "broadcast")?),
        "LSTM" | "GRU" | "RNN" => drop(take_int(node, "output_sequence")?),
        "BatchNormalization" | "Dropout" if take_int(node, "is_test")?.unwrap_or(0) == 0 => {
            return Err(OpError::unsupported("is_test = 0: training mode"));
        }
        "Cast" if opset < 6 => {
            let to = match node.attrs.get("to") {
                Some(Attr::String(name)) => element_type(name),
                _ => None,
            };
            let to = to.ok_or_else(|| OpError::invalid("attribute to names no element type"))?;
            node.attrs.insert("to".into(), Attr::Int(i64::from(to.to_onnx())));
        }
        "Concat" if opset < 4 => drop(node.attrs.entry("axis".into()).or_insert(Attr::Int(1))),
        "Selu" if opset < 6 => {
            node.attrs.entry("alpha".into()).or_insert(Attr::Float(1.6732));
            node.attrs.entry("gamma".into()).or_insert(Attr::Float(1.0507));
        }
        "Reshape" if opset < 5 => {
            let Some(Attr::Ints(shape)) = node.attrs.remove("shape") else {
                return Err(OpError::invalid("attribute shape must be integers"));
            };
            let constant = Some(Tensor::from_vec(&[shape.len()], shape));
            let name = format!("{}/shape", node.name);
            let shape = graph.add_value(Value { name, constant, ..Value::default() });
            node.inputs.truncate(1);
            node.inputs.push(Some(shape));
        }
        "Tile" if opset < 6 => return Err(OpError::unsupported("tiles and axis as inputs, as before opset 6")),
        "Pad" if opset < 2 => {
            if let Some(pads) = node.attrs.remove("paddings") {
                node.attrs.insert("pads".into(), pads);
            }
        }
        "Split" if opset < 2 && node.inputs.len() > 1 => {
            let sizes = node.inputs[1].and_then(|v| graph.value(v).constant.as_ref()?.to_i64());
            let sizes = sizes.ok_or_else(|| OpError::unsupported("sizes that are not constant, as before opset 2"))?;
            node.attrs.insert("split".into(), Attr::Ints(sizes));
            node.inputs.truncate(1);
        }
        "Upsample" => {
            let mut scale = |name: &str| match node.attrs.remove(name) {
                Some(Attr::Float(v)) => Ok(v),
                _ => Err(OpError::invalid(format!("attribute {name} must be a float"))),
            };
            let (height, width) = (scale("height_scale")?, scale("width_scale")?);
            node.attrs.insert("scales".into(), Attr::Floats(vec![1.0, 1.0, height, width]));
        }
        "LpPool" | "GlobalLpPool" if opset < 2 => {
            if let Some(&Attr::Float(p)) = node.attrs.get("p") {
                if p.fract() != 0.0 {
                    return Err(OpError::unsupported(format!("p = {p}")));
                }
                node.attrs.insert("p".into(), Attr::Int(p as i64));
            }
        }
        _ => {}
    }
    Ok(None)
}

fn take_int(node: &mut Node, name: &str) -> Result<Option<i64>, OpError> {
    match node.attrs.remove(name) {
        None => Ok(None),
        Some(Attr::Int(v)) => Ok(Some(v)),
        Some(other) => Err(OpError::invalid(format!("attribute {name} must be an integer, it is {other}"))),
    }
}

/// `TensorProto.DataType`'s names, which Cast was given before opset 6.
fn element_type(name: &[u8]) -> Option<DType> {
    Some(match name.to_ascii_uppercase().as_slice() {
        b"FLOAT" => DType::F32,
        b"FLOAT16" => DType::F16,
        b"DOUBLE" => DType::F64,
        b"BOOL" => DType::Bool,
        b"STRING" => DType::String,
        b"INT8" => DType::I8,
        b"INT16" => DType::I16,
        b"INT32" => DType::I32,
        b"INT64" => DType::I64,
        b"UINT8" => DType::U8,
        b"UINT16" => DType::U16,
        b"UINT32" => DType::U32,
        b"UINT64" => DType::U64,
        _ => return None,
    })
}

/// Makes `node` read its second input with its dimensions from `axis` of the first one on; returns the node that aligns it.
fn align(graph: &mut Graph, node: &mut Node, axis: i64) -> Node {
    let name = format!("{}/align", node.name);
    let aligned = graph.add_value(Value { name: name.clone(), ..Value::default() });
    let first = node.inputs.first().copied().flatten();
    let second = node.inputs.get_mut(1).and_then(|v| v.replace(aligned));
    Node {
        name,
        domain: INTERNAL.into(),
        op_type: "Align".into(),
        inputs: vec![second, first],
        outputs: vec![Some(aligned)],
        attrs: [("axis".to_string(), Attr::Int(axis))].into(),
        scope: node.scope.clone(),
        sources: node.sources.clone(),
    }
}

/// Input 0 with ones after its dimensions, so that its first one stands at an axis of input 1.
#[derive(Debug)]
struct Align {
    axis: i64,
}

fn read_align(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(Align { axis: a.need_int("axis")? }))
}

impl Align {
    fn shape(&self, x: &[usize], like: &[usize]) -> Result<Vec<usize>, OpError> {
        if x.iter().all(|&d| d == 1) {
            return Ok(vec![]);
        }
        let axis = if self.axis < 0 { self.axis.saturating_add(like.len() as i64) } else { self.axis };
        let after = usize::try_from(axis).ok().and_then(|a| like.len().checked_sub(a)?.checked_sub(x.len()));
        let after = after.ok_or_else(|| {
            OpError::invalid(format!("a tensor of {x:?} does not fit into one of {like:?} at axis {}", self.axis))
        })?;
        Ok(x.iter().copied().chain(std::iter::repeat_n(1, after)).collect())
    }
}

impl Operator for Align {
    fn class(&self) -> OpClass {
        OpClass::DataMovement
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        let (x, like) = (inputs.need(0)?, inputs.need(1)?);
        let shape = self.shape(x.shape.as_deref().unwrap_or(&[]), like.shape.as_deref().unwrap_or(&[]))?;
        Ok(vec![Fact::new(x.dtype, shape)])
    }

    fn view_of(&self) -> Option<usize> {
        Some(0)
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let x = cx.input(0)?;
        cx.out_bytes(0)?.copy_from_slice(x.data);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(op_type: &str, attrs: &[(&str, Attr)]) -> Node {
        let attrs = attrs.iter().map(|(k, v)| (k.to_string(), v.clone())).collect();
        Node {
            name: "n".into(),
            domain: String::new(),
            op_type: op_type.into(),
            inputs: vec![],
            outputs: vec![],
            attrs,
            scope: String::new(),
            sources: vec![],
        }
    }

    #[test]
    fn older_attributes_become_those_of_opset_7() {
        let string = |s: &str| Attr::String(s.as_bytes().to_vec().into());
        let (f, i) = (Attr::Float, Attr::Int);
        type Case<'a> = (&'a str, i64, Vec<(&'a str, Attr)>, Vec<(&'a str, Attr)>);
        let cases: Vec<Case<'_>> = vec![
            ("Relu", 1, vec![("consumed_inputs", Attr::Ints(vec![0]))], vec![]),
            ("Add", 6, vec![("broadcast", i(1))], vec![]),
            ("Gemm", 6, vec![("broadcast", i(1)), ("transB", i(1))], vec![("transB", i(1))]),
            ("Dropout", 6, vec![("is_test", i(1)), ("ratio", f(0.5))], vec![("ratio", f(0.5))]),
            ("Cast", 5, vec![("to", string("INT64"))], vec![("to", i(7))]),
            ("Cast", 6, vec![("to", i(7))], vec![("to", i(7))]),
            ("Concat", 3, vec![], vec![("axis", i(1))]),
            ("Pad", 1, vec![("paddings", Attr::Ints(vec![0, 1]))], vec![("pads", Attr::Ints(vec![0, 1]))]),
            (
                "Upsample",
                1,
                vec![("height_scale", f(2.0)), ("width_scale", f(3.0))],
                vec![("scales", Attr::Floats(vec![1.0, 1.0, 2.0, 3.0]))],
            ),
            ("GlobalLpPool", 1, vec![("p", f(3.0))], vec![("p", i(3))]),
        ];
        for (op, opset, old, new) in cases {
            let mut n = node(op, &old);
            assert!(modernise(&mut Graph::default(), &mut n, opset).unwrap().is_none(), "{op}");
            assert_eq!(format!("{:?}", n.attrs), format!("{:?}", node(op, &new).attrs), "{op}");
        }
    }

    #[test]
    fn what_cannot_be_rewritten_is_refused() {
        let string = Attr::String(b"COMPLEX".to_vec().into());
        for (op, attrs) in [
            ("BatchNormalization", vec![]),
            ("Dropout", vec![("is_test", Attr::Int(0))]),
            ("Tile", vec![]),
            ("Cast", vec![("to", string)]),
            ("Reshape", vec![]),
            ("Upsample", vec![]),
            ("LpPool", vec![("p", Attr::Float(2.5))]),
            ("Add", vec![("axis", Attr::Float(1.0)), ("broadcast", Attr::Int(1))]),
        ] {
            assert!(modernise(&mut Graph::default(), &mut node(op, &attrs), 1).is_err(), "{op}");
        }
    }

    #[test]
    fn a_second_operand_is_aligned_at_its_axis() {
        let shape = |axis, x: &[usize], like: &[usize]| Align { axis }.shape(x, like);
        assert_eq!(shape(1, &[3, 4], &[2, 3, 4, 5]).unwrap(), [3, 4, 1]);
        assert_eq!(shape(0, &[2], &[2, 3]).unwrap(), [2, 1]);
        assert_eq!(shape(-1, &[3], &[2, 3]).unwrap(), [3]);
        assert_eq!(shape(5, &[1, 1], &[2]).unwrap(), [0; 0]);
        assert!(shape(1, &[3, 4], &[2, 3]).is_err());
        assert!(shape(i64::MIN, &[3], &[2, 3]).is_err());
        assert!(shape(i64::MAX, &[3], &[2, 3]).is_err());
    }
}
