use super::*;

fn node(name: &str, op: &str, inputs: &[u32]) -> SourceNode {
    let scope = name.rsplit_once('/').map_or("", |s| s.0).trim_start_matches('/').to_owned();
    SourceNode { name: name.to_owned(), op: op.to_owned(), scope, inputs: inputs.to_vec() }
}

fn layer(name: &str, scope: &str, sources: &[&str]) -> Layer {
    let source_nodes = sources.iter().map(|s| (*s).to_owned()).collect();
    Layer { name: name.to_owned(), scope: scope.to_owned(), source_nodes, ..Layer::default() }
}

/// Two blocks of a MatMul and an Add each, and a folded Cast between them.
fn two_blocks() -> (Vec<SourceNode>, Vec<Layer>) {
    let nodes = vec![
        node("/w", "Identity", &[]),
        node("/b.0/dense/MatMul", "MatMul", &[0]),
        node("/b.0/dense/Add", "Add", &[1]),
        node("/b.0/act/Relu", "Relu", &[2]),
        node("/Cast", "Cast", &[3]),
        node("/b.1/dense/MatMul", "MatMul", &[4]),
        node("/b.1/dense/Add", "Add", &[5]),
        node("/b.1/act/Relu", "Relu", &[6, 6]),
    ];
    let layers = vec![
        layer("/b.0/dense/MatMul", "b.0/dense", &["/b.0/dense/MatMul", "/b.0/dense/Add"]),
        layer("/b.0/act/Relu", "b.0/act", &["/b.0/act/Relu"]),
        layer("/b.1/dense/MatMul", "b.1/dense", &["/b.1/dense/MatMul", "/b.1/dense/Add", "/b.1/act/Relu"]),
    ];
    (nodes, layers)
}

#[test]
fn nodes_know_their_layer_and_constants_are_left_out() {
    let (nodes, layers) = two_blocks();
    let tree = GraphTree::new(&nodes, &layers, Grain::Nodes, false);
    assert_eq!((tree.hidden, tree.items[0].leaves), (1, 7));
    let find = |path: &str| tree.items.iter().find(|i| i.path == path).unwrap_or_else(|| panic!("no {path}"));
    assert!(find("b.0/dense/MatMul").anchor && !find("b.0/dense/Add").anchor);
    assert_eq!(find("b.1/act").layer, Some(LayerId(2)), "a scope of one node is that node");
    assert_eq!(
        tree.of_layer.iter().map(|l| tree.items[l.unwrap() as usize].path.as_str()).collect::<Vec<_>>(),
        ["b.0/dense/MatMul", "b.0/act", "b.1/dense/MatMul"]
    );
    assert_eq!((find("b.0").alike, find("b.1").alike), (2, 2));
    assert!(find("b.0").first_alike && !find("b.1").first_alike);
    assert_eq!(GraphTree::new(&nodes, &layers, Grain::Nodes, true).hidden, 0);
}

#[test]
fn layers_are_joined_through_what_was_folded() {
    let (nodes, layers) = two_blocks();
    let tree = GraphTree::new(&nodes, &layers, Grain::Layers, false);
    let path = |i: ItemId| tree.items[i as usize].path.as_str();
    let lines: Vec<_> = tree.lines.iter().map(|&(a, b)| (path(a), path(b))).collect();
    assert_eq!(lines, [("b.0/dense", "b.0/act"), ("b.0/act", "b.1")]);
}

#[test]
fn flat_models_are_cut_into_pieces_where_little_crosses() {
    // Blocks of five, each joined to the next by one line.
    let n = 2000_u32;
    let nodes: Vec<SourceNode> = (0..n)
        .map(|i| {
            let begin = i - i % 5;
            let inputs =
                if i % 5 == 4 { vec![begin + 1, begin + 2, i - 1] } else { vec![begin.max(1) - 1, i.max(1) - 1] };
            node(&format!("n{i}"), "Add", if i == 0 { &[] } else { &inputs })
        })
        .collect();
    let tree = GraphTree::new(&nodes, &[], Grain::Nodes, false);
    assert_eq!(tree.items[0].leaves, n);
    assert!(tree.items.iter().all(|i| i.children.len() <= MAX_PARTS), "a scope is too wide");
    let first = &tree.items[tree.items[0].children[0] as usize];
    assert_eq!((first.name.as_str(), first.leaves % 5), ("1 to 45", 0));
    for (i, item) in tree.items.iter().enumerate().skip(1) {
        assert!((item.parent as usize) < i && tree.items[item.parent as usize].children.contains(&(i as u32)));
    }
}

#[test]
fn what_opens_first_can_be_taken_in() {
    let mut nodes = vec![node("/start/Add", "Add", &[])];
    for l in 0..24 {
        for part in ["q/MatMul", "q/Add", "k/MatMul", "k/Add", "out/MatMul", "out/Add"] {
            let last = nodes.len() as u32 - 1;
            nodes.push(node(&format!("/encoder/layer.{l}/{part}"), "MatMul", &[last]));
        }
    }
    let tree = GraphTree::new(&nodes, &[], Grain::Nodes, false);
    let open = tree.first_open();
    let paths: Vec<&str> = open.iter().map(|&i| tree.items[i as usize].path.as_str()).collect();
    assert_eq!(paths, ["encoder", "encoder/layer.0", "encoder/layer.0/q"], "of blocks that are alike the first");
    assert_eq!(tree.items.iter().find(|i| i.path == "encoder/layer.7").unwrap().alike, 24);
}

#[test]
fn malformed_nodes_make_a_tree() {
    let deep = format!("/{}/x", vec!["s"; 5000].join("/"));
    let mut nodes =
        vec![node(&deep, "Add", &[0, 1, 9]), node("", "", &[1]), node("//", "Add", &[0]), node("a/", "B", &[])];
    nodes[2].scope = "///".to_owned();
    for grain in [Grain::Nodes, Grain::Layers] {
        let tree = GraphTree::new(&nodes, &[layer("", "a//b", &["", "zz"])], grain, true);
        assert!(tree.items.iter().all(|i| i.depth <= 20));
        assert!(tree.lines.iter().all(|(a, b)| a != b));
    }
    assert_eq!(GraphTree::new(&[], &[], Grain::Layers, false).items.len(), 1);
}
