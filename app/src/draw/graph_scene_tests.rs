use super::*;
use profiler::SourceNode;
use profiler::fixtures::Random;

fn node(name: String, inputs: Vec<u32>) -> SourceNode {
    let scope = name.rsplit_once('/').map_or("", |s| s.0).to_owned();
    SourceNode { name, op: "MatMul".to_owned(), scope, inputs }
}

fn all_open(tree: &GraphTree) -> HashSet<ItemId> {
    (1..tree.items.len() as ItemId).filter(|&i| tree.is_scope(i)).collect()
}

fn check(scene: &Scene) {
    let grow = |r: Rect| r.expand(0.6);
    for (i, b) in scene.boxes.iter().enumerate() {
        assert!(
            b.rect.is_finite() && grow(scene.boxes[b.parent as usize].rect).contains_rect(b.rect),
            "{i}: {:?}",
            b.rect
        );
        for (k, &p) in b.parts.iter().enumerate() {
            for &q in &b.parts[..k] {
                let (p, q) = (scene.boxes[p as usize].rect, scene.boxes[q as usize].rect);
                assert!(!p.shrink(0.6).intersects(q.shrink(0.6)), "{p:?} over {q:?}");
            }
        }
        for line in &b.lines {
            assert!(grow(b.rect).contains_rect(line.bounds), "a line leaves its scope");
            assert!(line.way.len() >= 2 && !line.to.is_empty());
        }
    }
}

/// Random nodes in random scopes, with and without order.
fn random_nodes(r: &mut Random, n: u64, ordered: bool) -> Vec<SourceNode> {
    let scopes = 1 + r.below(8);
    (0..n)
        .map(|i| {
            let scope = format!("a.{}/b.{}", r.below(scopes), r.below(3));
            let inputs = (0..r.below(4)).map(|_| if ordered { r.below(i.max(1)) } else { r.below(n) } as u32);
            node(format!("{scope}/n{i}"), inputs.collect())
        })
        .collect()
}

#[test]
fn random_graphs_are_laid_out_whatever_is_open() {
    let mut random = Random::fresh();
    println!("seed {}", random.seed);
    for round in 0..40 {
        let n = 1 + random.below(120);
        let nodes = random_nodes(&mut random, n, round % 2 == 0);
        let tree = GraphTree::new(&nodes, &[], Grain::Nodes, true);
        let some: HashSet<ItemId> = all_open(&tree).into_iter().filter(|_| random.below(2) == 0).collect();
        for open in [HashSet::new(), some, all_open(&tree)] {
            let scene = build(&tree, &open);
            check(&scene);
            let again = build(&tree, &open);
            assert_eq!(scene.boxes, again.boxes);
        }
    }
}

/// The stretches of every line, put end to end, lead from the box that makes it to the box that reads it.
#[test]
fn lines_go_through_the_borders_of_open_scopes() {
    let nodes = vec![
        node("x/p/one".to_owned(), vec![]),
        node("x/p/more".to_owned(), vec![0]),
        node("x/q".to_owned(), vec![1]),
        node("y/r/two".to_owned(), vec![0]),
        node("y/r/three".to_owned(), vec![3]),
        node("y/s".to_owned(), vec![4, 2]),
    ];
    let tree = GraphTree::new(&nodes, &[], Grain::Nodes, true);
    let scene = build(&tree, &all_open(&tree));
    check(&scene);
    let find = |path: &str| {
        let item = tree.items.iter().position(|i| i.path == path).unwrap_or_else(|| panic!("no {path}"));
        scene.box_of[&(item as ItemId)]
    };
    let (one, two) = (find("x/p/one"), find("y/r/two"));
    assert!(scene.readers[one as usize].contains(&two) && scene.makers[two as usize].contains(&one));
    let along: Vec<&Line> =
        scene.boxes.iter().flat_map(|b| &b.lines).filter(|l| l.from == one && l.to.contains(&two)).collect();
    assert_eq!(along.len(), 5, "out of p, out of x, between, into y, into r");
    // The end of one stretch is the beginning of the next, but for the heads in between.
    let mut at = scene.boxes[one as usize].rect.center_bottom();
    for _ in 0..along.len() {
        let next = along.iter().find(|l| {
            let to = l.way[0] - at;
            to.x.abs() < 0.6 && (-0.6..=HEAD + 0.6).contains(&to.y)
        });
        at = *next.unwrap_or_else(|| panic!("nothing goes on from {at:?}")).way.last().unwrap();
    }
    assert!((at.y - scene.boxes[two as usize].rect.top()).abs() < 0.6);
    let closed = build(&tree, &HashSet::new());
    assert_eq!(closed.boxes.len(), 3);
    let hides = closed.standing_for(&tree, scene.boxes[two as usize].item).unwrap();
    assert_eq!(tree.items[closed.boxes[hides as usize].item as usize].path, "y");
}

#[test]
fn ten_thousand_open_nodes() {
    let mut random = Random::fresh();
    println!("seed {}", random.seed);
    let nodes: Vec<SourceNode> = (0..10_000_u32)
        .map(|i| {
            let near = |r: &mut Random| i.saturating_sub(1 + r.below(6) as u32);
            let name = format!("encoder/layer.{}/part.{}/n{i}", i / 200, i / 20 % 10);
            node(name, (0..2).map(|_| near(&mut random)).collect())
        })
        .collect();
    for (what, nodes) in [
        ("in scopes", nodes.clone()),
        ("flat", {
            let mut flat = nodes;
            flat.iter_mut().enumerate().for_each(|(i, n)| {
                n.scope.clear();
                n.name = format!("n{i}");
            });
            flat
        }),
    ] {
        let start = std::time::Instant::now();
        let tree = GraphTree::new(&nodes, &[], Grain::Nodes, true);
        let made = start.elapsed();
        let scene = build(&tree, &all_open(&tree));
        println!(
            "10,000 nodes {what}: tree {made:?}, layout {:?}, {:?}",
            start.elapsed() - made,
            scene.bounds().size()
        );
        assert!(scene.boxes.len() > 10_000);
    }
}
