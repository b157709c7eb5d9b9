//! The model's own nodes and how they are joined, for traces: so that a saved trace shows its graph without the model. And
//! a hash, to know a model again.

use graph::Graph;
use profiler::SourceNode;
use xxhash_rust::xxh3::Xxh3;

/// A hash over a graph's nodes, how they are joined, and its constants: 128 bits in hexadecimal. It does not depend on where
/// the file lies or how it is written. Reads every weight.
pub fn model_hash(graph: &Graph) -> String {
    let mut hash = Xxh3::new();
    // Lengths go in as well, so that neighbouring fields can't trade bytes.
    let mut field = |bytes: &[u8]| {
        hash.update(&(bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    for node in &graph.nodes {
        for text in [&node.name, &node.domain, &node.op_type] {
            field(text.as_bytes());
        }
        for value in node.inputs.iter().chain(&node.outputs) {
            field(&value.map_or([0xff; 4], |v| (v.index() as u32).to_le_bytes()));
        }
        for (name, value) in &node.attrs {
            field(name.as_bytes());
            field(value.to_string().as_bytes());
        }
    }
    for value in &graph.values {
        field(value.name.as_bytes());
        if let Some(tensor) = &value.constant {
            field(tensor.dtype().to_string().as_bytes());
            tensor.shape().iter().for_each(|&d| field(&(d as u64).to_le_bytes()));
            field(tensor.bytes());
            tensor.strings().iter().for_each(|s| field(s));
            graph.release(tensor);
        }
    }
    format!("{:032x}", hash.digest128())
}

/// The nodes of a graph, each with the nodes that make its inputs.
pub fn source_nodes(graph: &Graph) -> Vec<SourceNode> {
    let mut maker: Vec<Option<u32>> = vec![None; graph.values.len()];
    for (i, node) in graph.nodes.iter().enumerate() {
        for output in node.outputs.iter().flatten() {
            maker[output.index()] = Some(i as u32);
        }
    }
    let inputs = |node: &graph::Node| {
        let mut inputs: Vec<u32> = node.inputs.iter().flatten().filter_map(|v| maker[v.index()]).collect();
        inputs.sort_unstable();
        inputs.dedup();
        inputs
    };
    let nodes = graph.nodes.iter();
    nodes
        .map(|n| SourceNode { name: n.name.clone(), op: n.op_type.clone(), scope: n.scope.clone(), inputs: inputs(n) })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_follows_the_content_and_not_the_place() {
        let model = crate::samples::all()[0].open().unwrap();
        let hash = model_hash(&model.graph);
        assert_eq!((hash.len(), &hash), (32, &model_hash(&crate::samples::all()[0].open().unwrap().graph)));
        let mut other = model.graph.clone();
        other.nodes[0].name.push('x');
        assert_ne!(model_hash(&other), hash);
        let mut other = model.graph.clone();
        let weight = other.values.iter_mut().find(|v| v.constant.as_ref().is_some_and(|t| t.len() > 100)).unwrap();
        let tensor = weight.constant.as_ref().unwrap();
        let mut bytes = tensor.bytes().to_vec();
        bytes[50] ^= 1;
        weight.constant = graph::Tensor::new(tensor.dtype(), tensor.shape().to_vec(), bytes.into()).ok();
        assert_ne!(model_hash(&other), hash);
    }

    #[test]
    fn nodes_name_the_makers_of_their_inputs() {
        let model = crate::samples::all()[0].open().unwrap();
        let nodes = source_nodes(&model.graph);
        assert_eq!(nodes.len(), model.graph.nodes.len());
        assert!(nodes.iter().any(|n| n.inputs.len() > 1), "some node joins two");
        for (i, n) in nodes.iter().enumerate() {
            assert!(n.inputs.iter().all(|&from| (from as usize) < nodes.len() && from as usize != i), "{}", n.name);
        }
    }
}
