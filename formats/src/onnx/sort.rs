//! Topological order.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use graph::{Graph, ValueId};

use super::OnnxError;

/// Puts the nodes of `graph` in an order in which each comes after those it needs, as near to the file's order as that
/// allows. `captures[i]` are the values that the subgraphs of node `i` use. A cycle is an error.
pub(crate) fn sort(graph: &mut Graph, captures: Vec<Vec<ValueId>>) -> Result<(), OnnxError> {
    let producers = graph.producers();
    let n = graph.nodes.len();
    let needs = |i: usize| {
        let inputs = graph.nodes[i].inputs.iter().flatten();
        inputs.chain(&captures[i]).filter_map(|v| producers[v.index()]).map(|p| p.index())
    };
    if (0..n).all(|i| needs(i).all(|p| p < i)) {
        return Ok(());
    }
    let mut waiting: Vec<usize> = vec![0; n];
    let mut users: Vec<Vec<usize>> = vec![Vec::new(); n];
    for i in 0..n {
        for p in needs(i) {
            waiting[i] += 1;
            users[p].push(i);
        }
    }
    let mut ready: BinaryHeap<Reverse<usize>> = (0..n).filter(|&i| waiting[i] == 0).map(Reverse).collect();
    let mut order = Vec::with_capacity(n);
    while let Some(Reverse(i)) = ready.pop() {
        order.push(i);
        for &u in &users[i] {
            waiting[u] -= 1;
            if waiting[u] == 0 {
                ready.push(Reverse(u));
            }
        }
    }
    if let Some(stuck) = (0..n).find(|&i| waiting[i] > 0) {
        // Going from a stuck node to a stuck producer must come round: that one is on the cycle itself.
        let mut node = stuck;
        for _ in 0..n {
            node = needs(node).find(|&p| waiting[p] > 0).unwrap_or(node);
        }
        return Err(OnnxError::Cycle { node: graph.nodes[node].name.clone() });
    }
    let mut nodes: Vec<_> = std::mem::take(&mut graph.nodes).into_iter().map(Some).collect();
    graph.nodes = order.into_iter().filter_map(|i| nodes[i].take()).collect();
    Ok(())
}
