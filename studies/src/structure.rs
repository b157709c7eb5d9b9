//! The model's own nodes and how they are joined, for traces: so that a saved trace shows its graph without the model.

use graph::Graph;
use profiler::SourceNode;

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
