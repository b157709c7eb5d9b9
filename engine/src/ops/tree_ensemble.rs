//! TreeEnsemble: decision trees whose leaves add up to the targets of a row.

use graph::{DType, Tensor};

use crate::attrs::Attrs;
use crate::op::{Cost, Fact, Inputs, OpClass, OpDef, OpError, Operator, RunCx};
use crate::ops::floats;

/// Trees.
pub(crate) const OPS: &[OpDef] = &[OpDef { domain: "ai.onnx.ml", name: "TreeEnsemble", opsets: (5, 5), read }];

/// Where a branch leads.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Next {
    Node(usize),
    Leaf(usize),
}

#[derive(Clone, Debug)]
enum Test {
    LessEqual(f64),
    Less(f64),
    GreaterEqual(f64),
    Greater(f64),
    Equal(f64),
    NotEqual(f64),
    Member(Vec<f64>),
}

#[derive(Clone, Debug)]
struct Branch {
    feature: usize,
    test: Test,
    /// What an input that is no number goes to.
    missing: bool,
    yes: Next,
    no: Next,
}

#[derive(Clone, Copy, Debug)]
enum Aggregate {
    Average,
    Sum,
    Min,
    Max,
}

#[derive(Clone, Copy, Debug)]
enum Transform {
    None,
    Softmax,
    Logistic,
    /// A softmax in which zeros stay.
    SoftmaxZero,
}

#[derive(Debug)]
struct Trees {
    nodes: Vec<Branch>,
    /// The target and the weight of each leaf.
    leaves: Vec<(usize, f64)>,
    roots: Vec<Next>,
    targets: usize,
    aggregate: Aggregate,
    transform: Transform,
}

fn numbers(t: Option<&Tensor>, what: &str) -> Result<Vec<f64>, OpError> {
    let Some(t) = t else { return Err(OpError::invalid(format!("attribute {what} is missing"))) };
    let mut out = vec![0f64; t.len()];
    let y = bytemuck::cast_slice_mut(&mut out);
    crate::exec::convert(crate::exec::serial(), t.dtype(), DType::F64, t.len(), t.bytes(), y)?;
    Ok(out)
}

fn read(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    a.ignore("nodes_hitrates");
    let ints = |name: &str| a.ints(name)?.ok_or_else(|| OpError::invalid(format!("attribute {name} is missing")));
    let sizes = |name: &str| floats::sizes(ints(name)?, name);
    let modes = numbers(a.tensor("nodes_modes")?, "nodes_modes")?;
    let splits = numbers(a.tensor("nodes_splits")?, "nodes_splits")?;
    let features = sizes("nodes_featureids")?;
    let (yes, no) = (sizes("nodes_truenodeids")?, sizes("nodes_falsenodeids")?);
    let (yes_leaf, no_leaf) = (ints("nodes_trueleafs")?, ints("nodes_falseleafs")?);
    let missing = a.ints("nodes_missing_value_tracks_true")?.filter(|m| !m.is_empty());
    let n = modes.len();
    let lengths = [splits.len(), features.len(), yes.len(), no.len(), yes_leaf.len(), no_leaf.len()];
    if lengths.iter().any(|&l| l != n) || missing.is_some_and(|m| m.len() != n) {
        return Err(OpError::invalid(format!("attributes nodes_* of {n} and {lengths:?} elements")));
    }
    let (targets, weights) = (sizes("leaf_targetids")?, numbers(a.tensor("leaf_weights")?, "leaf_weights")?);
    let n_targets = usize::try_from(a.need_int("n_targets")?).map_err(|_| OpError::invalid("n_targets is negative"))?;
    if targets.len() != weights.len() || targets.iter().any(|&t| t >= n_targets) {
        return Err(OpError::invalid(format!("leaf_targetids and leaf_weights don't fit {n_targets} targets")));
    }
    let members = a.tensor("membership_values")?.map(|t| numbers(Some(t), "")).transpose()?.unwrap_or_default();
    let mut sets = members.split(|m| m.is_nan()).map(<[f64]>::to_vec);
    let mut nodes = Vec::with_capacity(n);
    for i in 0..n {
        let next = |at: usize, leaf: i64| {
            let (next, len) = if leaf != 0 { (Next::Leaf(at), weights.len()) } else { (Next::Node(at), n) };
            // Branches lead on to later nodes in a file that ends; the walk counts its steps all the same.
            if at < len { Ok(next) } else { Err(OpError::invalid(format!("node {i} leads to {next:?} of {len}"))) }
        };
        let v = splits[i];
        let test = match modes[i] as i64 {
            0 => Test::LessEqual(v),
            1 => Test::Less(v),
            2 => Test::GreaterEqual(v),
            3 => Test::Greater(v),
            4 => Test::Equal(v),
            5 => Test::NotEqual(v),
            6 => Test::Member(sets.next().ok_or_else(|| OpError::invalid("membership_values has too few sets"))?),
            other => return Err(OpError::invalid(format!("nodes_modes has {other}"))),
        };
        let missing = missing.is_some_and(|m| m[i] != 0);
        let (yes, no) = (next(yes[i], yes_leaf[i])?, next(no[i], no_leaf[i])?);
        nodes.push(Branch { feature: features[i], test, missing, yes, no });
    }
    let root = |&at: &usize| {
        let node = nodes.get(at).ok_or_else(|| OpError::invalid(format!("tree_roots has {at} of {n}")))?;
        // A tree that is one leaf is written as a node with that leaf on both sides.
        Ok(if matches!(node.yes, Next::Leaf(_)) && node.yes == node.no { node.yes } else { Next::Node(at) })
    };
    let roots = sizes("tree_roots")?.iter().map(root).collect::<Result<Vec<_>, OpError>>()?;
    let aggregate = match a.int_or("aggregate_function", 1)? {
        0 => Aggregate::Average,
        1 => Aggregate::Sum,
        2 => Aggregate::Min,
        3 => Aggregate::Max,
        other => return Err(OpError::invalid(format!("aggregate_function = {other}"))),
    };
    let transform = match a.int_or("post_transform", 0)? {
        0 => Transform::None,
        1 => Transform::Softmax,
        2 => Transform::Logistic,
        3 => Transform::SoftmaxZero,
        other => return Err(OpError::unsupported(format!("post_transform = {other}"))),
    };
    let leaves = targets.into_iter().zip(weights).collect();
    Ok(Box::new(Trees { nodes, leaves, roots, targets: n_targets, aggregate, transform }))
}

impl Trees {
    /// The leaf that a row comes to.
    fn leaf(&self, root: Next, row: &[f64]) -> Result<usize, OpError> {
        let mut at = root;
        for _ in 0..=self.nodes.len() {
            match at {
                Next::Leaf(i) => return Ok(i),
                Next::Node(i) => {
                    let b = &self.nodes[i];
                    let x = row[b.feature];
                    let yes = match &b.test {
                        Test::LessEqual(v) => x <= *v,
                        Test::Less(v) => x < *v,
                        Test::GreaterEqual(v) => x >= *v,
                        Test::Greater(v) => x > *v,
                        Test::Equal(v) => x == *v,
                        Test::NotEqual(v) => x != *v,
                        Test::Member(set) => set.contains(&x),
                    };
                    at = if yes || (x.is_nan() && b.missing) { b.yes } else { b.no };
                }
            }
        }
        Err(OpError::invalid("the nodes of a tree lead in a circle"))
    }

    fn row(&self, row: &[f64], out: &mut [f64]) -> Result<(), OpError> {
        out.fill(match self.aggregate {
            Aggregate::Average | Aggregate::Sum => 0.0,
            Aggregate::Min => f64::from(f32::MAX),
            Aggregate::Max => f64::from(f32::MIN),
        });
        for &root in &self.roots {
            let (target, weight) = self.leaves[self.leaf(root, row)?];
            let y = &mut out[target];
            *y = match self.aggregate {
                Aggregate::Average => *y + weight / self.roots.len() as f64,
                Aggregate::Sum => *y + weight,
                Aggregate::Min => y.min(weight),
                Aggregate::Max => y.max(weight),
            };
        }
        match self.transform {
            Transform::None => {}
            Transform::Logistic => out.iter_mut().for_each(|y| *y = 1.0 / (1.0 + (-*y).exp())),
            Transform::Softmax | Transform::SoftmaxZero => {
                let keep = |y: f64| matches!(self.transform, Transform::SoftmaxZero) && y == 0.0;
                let max = out.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                out.iter_mut().for_each(|y| *y = if keep(*y) { 0.0 } else { (*y - max).exp() });
                let sum: f64 = out.iter().sum();
                out.iter_mut().for_each(|y| *y /= sum);
            }
        }
        Ok(())
    }
}

impl Operator for Trees {
    fn class(&self) -> OpClass {
        OpClass::Other
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        floats::expect_float(inputs, 0)?;
        let x = inputs.need(0)?;
        let &[rows, features] = x.shape.as_deref().unwrap_or(&[]) else {
            return Err(OpError::invalid("its input must be [rows, features]"));
        };
        if let Some(b) = self.nodes.iter().find(|b| b.feature >= features) {
            return Err(OpError::invalid(format!("feature {} of {features}", b.feature)));
        }
        Ok(vec![Fact::new(x.dtype, vec![rows, self.targets])])
    }

    fn cost(&self, _: &Inputs<'_>, outputs: &[Fact]) -> Cost {
        Cost { flops: outputs[0].numel().unwrap_or(0).saturating_mul(self.roots.len()) as u64 }
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let shape = cx.input(0)?.shape;
        let (features, x) = (shape[1], floats::read(cx, 0)?);
        let mut out = vec![0f64; shape[0] * self.targets];
        if self.targets > 0 {
            for (i, y) in out.chunks_exact_mut(self.targets).enumerate() {
                self.row(&x[i * features..][..features], y)?;
            }
        }
        floats::write(cx, 0, &out)
    }

    fn kernel(&self) -> String {
        format!("{} trees", self.roots.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trees(next: Next) -> Trees {
        let branch = |test, yes, no| Branch { feature: 0, test, missing: true, yes, no };
        Trees {
            nodes: vec![
                branch(Test::Less(1.0), Next::Leaf(0), Next::Node(1)),
                branch(Test::Member(vec![2.0, 3.0]), Next::Leaf(1), next),
            ],
            leaves: vec![(0, 10.0), (1, 20.0), (0, 30.0)],
            roots: vec![Next::Node(0), Next::Leaf(2)],
            targets: 2,
            aggregate: Aggregate::Sum,
            transform: Transform::None,
        }
    }

    #[test]
    fn rows_come_to_their_leaves() {
        let mut t = trees(Next::Leaf(2));
        let row = |t: &Trees, x: f64| {
            let mut y = [0.0; 2];
            t.row(&[x], &mut y).unwrap();
            y
        };
        assert_eq!(row(&t, 0.5), [40.0, 0.0]);
        assert_eq!(row(&t, 3.0), [30.0, 20.0]);
        assert_eq!(row(&t, 4.0), [60.0, 0.0]);
        assert_eq!(row(&t, f64::NAN), [40.0, 0.0]);
        t.aggregate = Aggregate::Average;
        assert_eq!(row(&t, 0.5), [20.0, 0.0]);
        t.transform = Transform::Logistic;
        assert_eq!(row(&t, 3.0)[0], 1.0 / (1.0 + (-15f64).exp()));
    }

    #[test]
    fn a_circle_is_refused() {
        assert!(trees(Next::Node(0)).row(&[4.0], &mut [0.0; 2]).is_err());
    }
}
