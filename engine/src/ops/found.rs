//! Operators whose output's shape depends on data: NonZero, Compress, Unique.

use std::cmp::Ordering;

use bytes::Bytes;
use cpu_kernels::movement;
use graph::{DType, Tensor};

use crate::attrs::Attrs;
use crate::op::{Fact, Inputs, NEWEST, OpClass, OpDef, OpError, Operator, RunCx};
use crate::ops::typed::by_number;
use crate::ops::util;
use crate::tensor::Input;

/// Operators that find elements.
pub(crate) const OPS: &[OpDef] = &[
    OpDef { domain: "", name: "NonZero", opsets: (9, NEWEST), read: |_| Ok(Box::new(NonZero)) },
    OpDef { domain: "", name: "Compress", opsets: (9, NEWEST), read: read_compress },
    OpDef { domain: "", name: "Unique", opsets: (11, NEWEST), read: read_unique },
];

#[derive(Debug)]
struct NonZero;

impl Operator for NonZero {
    fn class(&self) -> OpClass {
        OpClass::DataMovement
    }

    fn infer(&self, _: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![Fact::dynamic(DType::I64)])
    }

    fn dtypes(&self, _: &Inputs<'_>) -> Result<Vec<DType>, OpError> {
        Ok(vec![DType::I64])
    }

    fn widens(&self) -> bool {
        true
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let x = cx.input(0)?;
        let found: Vec<usize> = match x.dtype {
            DType::Bool => (0..x.data.len()).filter(|&i| x.data[i] != 0).collect(),
            other => by_number!(other, "NonZero", T => {
                Ok(x.slice::<T>()?.iter().enumerate().filter(|(_, v)| **v != T::default()).map(|(i, _)| i).collect())
            })?,
        };
        // A scalar counts as one element of one dimension.
        let shape = if x.shape.is_empty() { &[1] } else { x.shape };
        let mut out = Vec::with_capacity(found.len() * shape.len());
        for (size, stride) in shape.iter().zip(util::strides(shape)) {
            out.extend(found.iter().map(|&i| (i / stride % size) as i64));
        }
        cx.set(0, Tensor::from_vec(&[shape.len(), found.len()], out))
    }

    fn kernel(&self) -> String {
        "find".into()
    }
}

#[derive(Debug)]
struct Compress {
    /// `None`: the elements flattened.
    axis: Option<i64>,
}

fn read_compress(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(Compress { axis: a.int("axis")? }))
}

impl Operator for Compress {
    fn class(&self) -> OpClass {
        OpClass::DataMovement
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        if inputs.need(1)?.dtype != DType::Bool {
            return Err(OpError::invalid("the condition must be bool"));
        }
        Ok(vec![Fact::dynamic(inputs.need(0)?.dtype)])
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let (x, cond) = (cx.input(0)?, cx.input(1)?);
        let elem = util::elem_bytes(x.dtype)?;
        let flat = [x.len()];
        let (shape, axis) = match self.axis {
            Some(axis) => (x.shape, util::axis(axis, x.shape.len())?),
            None => (&flat[..], 0),
        };
        if cond.shape.len() != 1 || cond.len() > shape[axis] {
            return Err(OpError::invalid(format!("a condition of {:?} on axis {axis} of {shape:?}", cond.shape)));
        }
        let kept: Vec<i64> = (0..cond.len()).filter(|&i| cond.data[i] != 0).map(|i| i as i64).collect();
        let mut to = shape.to_vec();
        to[axis] = kept.len();
        let mut out = vec![0u8; to.iter().product::<usize>() * elem];
        movement::gather(cx.pool(), elem, shape, axis, &kept, x.data, &mut out)?;
        let t = Tensor::new(x.dtype, to, Bytes::from(out)).map_err(|e| OpError::invalid(e.to_string()))?;
        cx.set(0, t)
    }

    fn kernel(&self) -> String {
        "gather".into()
    }
}

#[derive(Debug)]
struct Unique {
    /// `None`: the elements flattened.
    axis: Option<i64>,
    sorted: bool,
}

fn read_unique(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(Unique { axis: a.int("axis")?, sorted: a.flag("sorted", true)? }))
}

/// The distinct rows of `n` rows: for each, in the output's order, the rows equal to it in order of index.
fn distinct(n: usize, sorted: bool, compare: impl Fn(usize, usize) -> Ordering) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&a, &b| compare(a, b).then(a.cmp(&b)));
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for i in order {
        match groups.last_mut() {
            Some(g) if compare(g[0], i) == Ordering::Equal => g.push(i),
            _ => groups.push(vec![i]),
        }
    }
    if !sorted {
        groups.sort_by_key(|g| g[0]);
    }
    groups
}

impl Unique {
    /// Groups of equal slices of x, whose axis has come to the front: `rows` of `width` elements.
    fn groups(&self, x: &Input<'_>, data: &[u8], rows: usize, width: usize) -> Result<Vec<Vec<usize>>, OpError> {
        fn order<T: PartialOrd>(a: &[T], b: &[T]) -> Ordering {
            // NaNs are equal to each other and come last.
            let nan = |v: &T| v.partial_cmp(v).is_none();
            let pair = |(a, b): (&T, &T)| a.partial_cmp(b).unwrap_or_else(|| nan(a).cmp(&nan(b)));
            a.iter().zip(b).map(pair).find(|o| o.is_ne()).unwrap_or(Ordering::Equal)
        }
        if x.dtype == DType::Bool {
            return Ok(distinct(rows, self.sorted, |a, b| {
                order(&data[a * width..(a + 1) * width], &data[b * width..(b + 1) * width])
            }));
        }
        by_number!(x.dtype, "Unique", T => {
            let v: Vec<T> = bytemuck::pod_collect_to_vec(data);
            Ok(distinct(rows, self.sorted, |a, b| {
                order::<T>(&v[a * width..(a + 1) * width], &v[b * width..(b + 1) * width])
            }))
        })
    }
}

impl Operator for Unique {
    fn class(&self) -> OpClass {
        OpClass::DataMovement
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        let ids = Fact::dynamic(DType::I64);
        Ok(vec![Fact::dynamic(inputs.need(0)?.dtype), ids.clone(), ids.clone(), ids])
    }

    fn dtypes(&self, inputs: &Inputs<'_>) -> Result<Vec<DType>, OpError> {
        Ok(vec![inputs.need(0)?.dtype, DType::I64, DType::I64, DType::I64])
    }

    fn widens(&self) -> bool {
        true
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let (x, pool) = (cx.input(0)?, cx.pool());
        let elem = util::elem_bytes(x.dtype)?;
        let flat = [x.len()];
        let (shape, axis) = match self.axis {
            Some(axis) => (x.shape, util::axis(axis, x.shape.len())?),
            None => (&flat[..], 0),
        };
        let rows = shape[axis];
        let width = shape[..axis].iter().chain(&shape[axis + 1..]).product::<usize>();
        let perm: Vec<usize> = std::iter::once(axis).chain((0..shape.len()).filter(|&d| d != axis)).collect();
        let mut front = vec![0u8; x.data.len()];
        movement::transpose(pool, elem, shape, &perm, x.data, &mut front)?;
        let groups = self.groups(&x, &front, rows, width)?;

        let firsts: Vec<i64> = groups.iter().map(|g| g[0] as i64).collect();
        let counts: Vec<i64> = groups.iter().map(|g| g.len() as i64).collect();
        let mut inverse = vec![0i64; rows];
        for (i, g) in groups.iter().enumerate() {
            g.iter().for_each(|&r| inverse[r] = i as i64);
        }
        let mut to = shape.to_vec();
        to[axis] = groups.len();
        let mut out = vec![0u8; to.iter().product::<usize>() * elem];
        movement::gather(pool, elem, shape, axis, &firsts, x.data, &mut out)?;
        let values = Tensor::new(x.dtype, to, Bytes::from(out)).map_err(|e| OpError::invalid(e.to_string()))?;
        let ids = |v: Vec<i64>| Tensor::from_vec(&[v.len()], v);
        for (i, t) in [values, ids(firsts), ids(inverse), ids(counts)].into_iter().enumerate() {
            if cx.wants(i) {
                cx.set(i, t)?;
            }
        }
        Ok(())
    }

    fn kernel(&self) -> String {
        "sort".into()
    }
}
