//! The operators of ONNX Runtime's own domain, com.microsoft, as its optimizer and quantizer write them into files. Most are
//! rewritten to standard nodes, so that every pass, kernel and device goes for them too; the rest are operators here.

mod attention;
mod embed;
pub(crate) mod grouped;
pub(crate) mod mask;
pub(crate) mod products;
mod quantized;

use std::cell::Cell;

use graph::{Attr, DType, Dim, Graph, Node, Tensor, Value, ValueId};

use crate::attrs::Attrs;
use crate::op::OpError;
use crate::registry::INTERNAL;

/// The domain.
pub(crate) const DOMAIN: &str = "com.microsoft";

/// Rewrites a node; gives back the values that are its outputs.
type Rewrite = fn(&mut Expansion<'_>, &Attrs<'_>) -> Result<Vec<ValueId>, OpError>;

/// Every operator that is rewritten.
const REWRITES: &[(&str, Rewrite)] = &[
    ("Attention", attention::attention),
    ("MultiHeadAttention", attention::multi_head),
    ("QAttention", attention::quantized),
    ("EmbedLayerNormalization", embed::embed),
    ("QEmbedLayerNormalization", embed::quantized),
    ("BiasGelu", embed::bias_gelu),
    ("FastGelu", embed::fast_gelu),
    ("Trilu", embed::trilu),
    ("FusedMatMul", products::fused_matmul),
    ("TransposeMatMul", products::fused_matmul),
    ("FusedGemm", products::fused_gemm),
    ("FusedConv", products::fused_conv),
    ("DynamicQuantizeMatMul", products::dynamic_quantize_matmul),
    ("QGemm", products::quantized_gemm),
    ("MatMulNBits", products::matmul_n_bits),
    ("GatherBlockQuantized", products::gather_block_quantized),
    ("NhwcMaxPool", quantized::nhwc_max_pool),
    ("QLinearAdd", quantized::binary),
    ("QLinearMul", quantized::binary),
    ("QLinearSigmoid", quantized::unary),
    ("QLinearLeakyRelu", quantized::unary),
    ("QLinearConcat", quantized::concat),
    ("QLinearAveragePool", quantized::average_pool),
    ("QLinearGlobalAveragePool", quantized::global_average_pool),
    ("QLinearSoftmax", quantized::softmax),
    ("QLinearWhere", quantized::select),
    ("QLinearReduceMean", quantized::reduce_mean),
];

/// The nodes that stand for `node`, if it is one that is rewritten. They are of the newest operator set.
pub(crate) fn expand(graph: &mut Graph, node: &Node, opset: i64) -> Result<Option<Vec<Node>>, OpError> {
    let Some((_, rewrite)) = REWRITES.iter().find(|(name, _)| node.domain == DOMAIN && node.op_type == *name) else {
        return Ok(None);
    };
    if opset != 1 {
        return Err(OpError::unsupported("this operator is implemented for opset 1"));
    }
    let attrs = Attrs::new(node, opset);
    let mut e = Expansion { graph, node, nodes: Vec::new(), count: Cell::new(0) };
    let outputs = rewrite(&mut e, &attrs)?;
    attrs.finish()?;
    e.finish(outputs).map(Some)
}

/// A node that is being rewritten.
pub(crate) struct Expansion<'g> {
    graph: &'g mut Graph,
    node: &'g Node,
    nodes: Vec<Node>,
    count: Cell<usize>,
}

/// Attributes of a new node.
type NewAttrs<'a> = &'a [(&'a str, Attr)];

impl Expansion<'_> {
    /// Input `i`, which may be left out.
    fn get(&self, i: usize) -> Option<ValueId> {
        *self.node.inputs.get(i)?
    }

    /// Input `i`, which must be there.
    fn need(&self, i: usize) -> Result<ValueId, OpError> {
        self.get(i).ok_or_else(|| OpError::invalid(format!("input {i} is missing")))
    }

    /// Fails if input `i` is there.
    fn refuse(&self, i: usize, what: &str) -> Result<(), OpError> {
        if self.get(i).is_some() { Err(OpError::unsupported(what)) } else { Ok(()) }
    }

    /// Fails if somebody may read output `i`.
    fn refuse_output(&self, i: usize, what: &str) -> Result<(), OpError> {
        if self.wants(i) { Err(OpError::unsupported(what)) } else { Ok(()) }
    }

    /// True if output `i` is listed.
    fn wants(&self, i: usize) -> bool {
        self.node.outputs.get(i).is_some_and(Option::is_some)
    }

    /// The number of inputs that are listed.
    fn input_count(&self) -> usize {
        self.node.inputs.len()
    }

    /// The number of dimensions, where the file tells it.
    fn rank(&self, v: ValueId) -> Option<usize> {
        let v = self.graph.value(v);
        match &v.constant {
            Some(t) => Some(t.shape().len()),
            None => Some(v.ty.as_ref()?.shape.as_ref()?.len()),
        }
    }

    /// The sizes and the type of a value, where the file tells them.
    fn known(&self, v: ValueId) -> Option<(DType, Vec<usize>)> {
        let v = self.graph.value(v);
        if let Some(t) = &v.constant {
            return Some((t.dtype(), t.shape().to_vec()));
        }
        let ty = v.ty.as_ref()?;
        let dims = ty.shape.as_ref()?.iter().map(|d| if let Dim::Known(n) = d { Some(*n) } else { None });
        Some((ty.dtype, dims.collect::<Option<_>>()?))
    }

    /// A constant.
    fn constant(&mut self, t: Tensor) -> ValueId {
        self.value(Some(t))
    }

    /// A list of integers.
    fn ints(&mut self, list: &[i64]) -> ValueId {
        self.constant(Tensor::from_vec(&[list.len()], list.to_vec()))
    }

    fn value(&mut self, constant: Option<Tensor>) -> ValueId {
        self.count.set(self.count.get() + 1);
        let name = format!("{}/{}", self.node.name, self.count.get());
        self.graph.add_value(Value { name, constant, ..Value::default() })
    }

    /// A new node with several outputs.
    fn node(
        &mut self,
        domain: &str,
        op: &str,
        inputs: &[Option<ValueId>],
        attrs: NewAttrs<'_>,
        outputs: usize,
    ) -> Vec<ValueId> {
        let made: Vec<ValueId> = (0..outputs).map(|_| self.value(None)).collect();
        self.nodes.push(Node {
            name: format!("{}/{op}", self.node.name),
            domain: domain.into(),
            op_type: op.into(),
            inputs: inputs.to_vec(),
            outputs: made.iter().copied().map(Some).collect(),
            attrs: attrs.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect(),
            scope: self.node.scope.clone(),
            sources: self.node.sources.clone(),
        });
        made
    }

    /// A new standard node.
    fn op(&mut self, op: &str, inputs: &[ValueId], attrs: NewAttrs<'_>) -> ValueId {
        let inputs: Vec<Option<ValueId>> = inputs.iter().copied().map(Some).collect();
        self.op_with(op, &inputs, attrs)
    }

    /// A new standard node, some of whose inputs may be left out.
    fn op_with(&mut self, op: &str, inputs: &[Option<ValueId>], attrs: NewAttrs<'_>) -> ValueId {
        self.node("", op, inputs, attrs, 1)[0]
    }

    /// A new node of the engine's own domain.
    fn internal(&mut self, op: &str, inputs: &[Option<ValueId>], attrs: NewAttrs<'_>) -> ValueId {
        self.node(INTERNAL, op, inputs, attrs, 1)[0]
    }

    /// `x + y`, or `x` if there is no `y`.
    fn plus(&mut self, x: ValueId, y: Option<ValueId>) -> ValueId {
        match y {
            Some(y) => self.op("Add", &[x, y], &[]),
            None => x,
        }
    }

    /// Dimensions of a value, as a list of integers.
    fn shape(&mut self, x: ValueId, from: i64, to: i64) -> ValueId {
        self.op("Shape", &[x], &[("start", Attr::Int(from)), ("end", Attr::Int(to))])
    }

    /// The nodes, the last of which make the outputs of the one that is rewritten.
    fn finish(mut self, made: Vec<ValueId>) -> Result<Vec<Node>, OpError> {
        for (i, out) in self.node.outputs.clone().into_iter().enumerate() {
            let Some(out) = out else { continue };
            let v = *made.get(i).ok_or_else(|| OpError::unsupported(format!("output {i}")))?;
            let made_here = self.nodes.iter().any(|n| n.outputs.contains(&Some(v)));
            if !made_here || made[..i].contains(&v) {
                self.node("", "Identity", &[Some(v)], &[], 1);
                self.nodes.last_mut().into_iter().for_each(|n| n.outputs = vec![Some(out)]);
                continue;
            }
            for slot in self.nodes.iter_mut().flat_map(|n| n.inputs.iter_mut().chain(&mut n.outputs)) {
                if *slot == Some(v) {
                    *slot = Some(out);
                }
            }
        }
        Ok(self.nodes)
    }
}

/// A string attribute.
fn string(s: &str) -> Attr {
    Attr::String(s.to_owned().into())
}
