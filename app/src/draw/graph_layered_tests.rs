use super::*;
use profiler::fixtures::Random;

fn boxes(n: usize) -> Vec<Vertex> {
    vec![Vertex { width: 100.0, height: 40.0, rank: Rank::Free }; n]
}

fn edge(from: usize, to: usize) -> Edge {
    Edge { from, to, bundle: from as u32, ..Edge::default() }
}

fn below(r: &mut Random, n: usize) -> usize {
    r.below(n as u64) as usize
}

fn check(vertices: &[Vertex], placed: &Placed) {
    for a in 0..vertices.len() {
        let [x, y] = placed.at[a];
        assert!(x >= -0.5 && x + vertices[a].width <= placed.size[0] + 0.5, "{a} at {x} of {}", placed.size[0]);
        assert!(y >= 0.0 && y + vertices[a].height <= placed.size[1] + 0.5);
        for b in 0..a {
            let [p, q] = placed.at[b];
            let apart = x + vertices[a].width <= p + 0.5
                || p + vertices[b].width <= x + 0.5
                || y + vertices[a].height <= q + 0.5
                || q + vertices[b].height <= y + 0.5;
            assert!(apart, "{a} at {:?} over {b} at {:?}", placed.at[a], placed.at[b]);
        }
    }
}

#[test]
fn a_diamond_is_symmetric() {
    let v = boxes(4);
    let edges = [edge(0, 1), edge(0, 2), edge(1, 3), edge(2, 3)];
    let p = place(&v, &edges);
    check(&v, &p);
    assert!((p.at[0][0] - p.at[3][0]).abs() < 0.1, "{:?}", p.at);
    let middle = (p.at[1][0] + p.at[2][0]) / 2.0;
    assert!((p.at[0][0] - middle).abs() < 0.1, "{:?}", p.at);
    assert!(p.at[0][1] < p.at[1][1] && p.at[1][1] == p.at[2][1] && p.at[2][1] < p.at[3][1]);
    assert_eq!(p.size, [224.0, 3.0 * 40.0 + 2.0 * LAYER_GAP]);
}

#[test]
fn a_line_past_boxes_goes_straight_down_beside_them() {
    let v = boxes(5);
    let edges = [edge(0, 1), edge(1, 2), edge(2, 3), edge(3, 4), edge(0, 4)];
    let p = place(&v, &edges);
    check(&v, &p);
    let way = &p.ways[4];
    let inside: Vec<f32> = way[2..way.len() - 2].iter().map(|p| p[0]).collect();
    assert!(inside.windows(2).all(|w| w[0] == w[1]), "{way:?}");
    for b in 1..4 {
        assert!(inside[0] < p.at[b][0] || inside[0] > p.at[b][0] + 100.0, "the line runs through box {b}");
    }
}

#[test]
fn malformed_graphs_are_placed() {
    let v = boxes(3);
    let edges = [edge(0, 0), edge(0, 1), edge(1, 2), edge(2, 0), edge(2, 9), edge(7, 1)];
    let p = place(&v, &edges);
    check(&v, &p);
    assert!(p.ways[0].is_empty() && p.ways[4].is_empty() && p.ways[5].is_empty());
    assert!(!p.ways[3].is_empty(), "the edge that closes the cycle is drawn");
    assert_eq!(place(&[], &[edge(0, 1)]).ways.len(), 1);
}

#[test]
fn random_graphs_do_not_overlap_run_down_and_are_the_same_each_time() {
    let mut random = Random::fresh();
    println!("seed {}", random.seed);
    for round in 0..60 {
        let n = 3 + below(&mut random, 60);
        let mut v: Vec<Vertex> = (0..n)
            .map(|_| {
                let (width, height) = (40.0 + random.below(200) as f32, 20.0 + random.below(80) as f32);
                Vertex { width, height, rank: Rank::Free }
            })
            .collect();
        v[0] = Vertex { width: 1.0, height: 0.0, rank: Rank::Top };
        v[n - 1] = Vertex { width: 1.0, height: 0.0, rank: Rank::Bottom };
        let acyclic = round % 2 == 0;
        let edges: Vec<Edge> = (0..below(&mut random, 3 * n))
            .map(|_| {
                let (a, b) = (below(&mut random, n), below(&mut random, n));
                let inner = |v: usize| v.clamp(1, n - 2);
                if acyclic { edge(a.min(b), a.max(b)) } else { edge(inner(a), inner(b)) }
            })
            .collect();
        let p = place(&v, &edges);
        check(&v, &p);
        assert_eq!(p, place(&v, &edges));
        if acyclic {
            for (e, way) in edges.iter().zip(&p.ways).filter(|(e, _)| e.from != e.to) {
                assert!(way.windows(2).all(|w| w[1][1] >= w[0][1]), "{e:?} {way:?}");
                assert!(p.at[e.from][1] + v[e.from].height <= p.at[e.to][1] + 0.1, "{e:?}");
            }
        }
        assert!((p.at[0][1]).abs() < 0.1 && p.at[n - 1][1] >= p.size[1] - 0.1);
    }
}

#[test]
fn many_vertices_on_one_level_end_soon() {
    let mut random = Random::fresh();
    println!("seed {}", random.seed);
    let n = 3000;
    let v = boxes(n);
    let near = |i: usize, r: &mut Random| i.saturating_sub(1 + below(r, 20));
    let mut edges: Vec<Edge> = (1..n).map(|i| edge(near(i, &mut random), i)).collect();
    edges.extend((0..500).map(|_| {
        let (a, b) = (below(&mut random, n), below(&mut random, n));
        edge(a.min(b), a.max(b))
    }));
    let start = std::time::Instant::now();
    let p = place(&v, &edges);
    println!("{n} vertices, {} edges: {:?}, {:?}", edges.len(), start.elapsed(), p.size);
    assert_eq!(p.at.len(), n);
}
