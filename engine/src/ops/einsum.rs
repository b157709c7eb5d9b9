//! Einsum. Two f32 operands become one batched product; anything else is summed by its definition.

use cpu_kernels::gemm::batched_gemm;
use cpu_kernels::number::Number;
use graph::{DType, Element};

use crate::attrs::Attrs;
use crate::op::{Cost, Fact, Inputs, NEWEST, OpClass, OpDef, OpError, Operator, RunCx, checked_numel};
use crate::ops::typed::by_number;
use crate::ops::util;
use crate::tensor::Input;

/// Einsum.
pub(crate) const OPS: &[OpDef] = &[OpDef { domain: "", name: "Einsum", opsets: (12, NEWEST), read }];

/// A dimension's name: a letter, or the n-th dimension before the last one under the dots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Label {
    Dots(usize),
    Letter(char),
}

/// Letters before the dots, and after them if there are dots.
#[derive(Debug)]
struct Term {
    before: Vec<char>,
    after: Option<Vec<char>>,
}

#[derive(Debug)]
struct Einsum {
    terms: Vec<Term>,
    /// `None`: the letters that occur once, in alphabetical order, after the dots.
    out: Option<Term>,
}

fn term(text: &str) -> Result<Term, OpError> {
    let letters = |s: &str| -> Result<Vec<char>, OpError> {
        match s.chars().find(|c| !c.is_ascii_alphabetic()) {
            Some(bad) => Err(OpError::invalid(format!("'{bad}' in the equation"))),
            None => Ok(s.chars().collect()),
        }
    };
    match text.split_once("...") {
        Some((a, b)) => Ok(Term { before: letters(a)?, after: Some(letters(b)?) }),
        None => Ok(Term { before: letters(text)?, after: None }),
    }
}

fn read(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    let equation = a.string("equation")?.ok_or_else(|| OpError::invalid("attribute equation is missing"))?;
    let equation: String = equation.chars().filter(|c| !c.is_whitespace()).collect();
    let (left, right) = match equation.split_once("->") {
        Some((l, r)) => (l, Some(term(r)?)),
        None => (&equation[..], None),
    };
    let terms = left.split(',').map(term).collect::<Result<Vec<_>, _>>()?;
    if terms.len() != a.input_count() {
        return Err(OpError::invalid(format!("an equation of {} terms for {} inputs", terms.len(), a.input_count())));
    }
    Ok(Box::new(Einsum { terms, out: right }))
}

impl Term {
    fn labels(&self, dots: usize) -> Vec<Label> {
        let letter = |c: &char| Label::Letter(*c);
        let dots = if self.after.is_some() { dots } else { 0 };
        let middle = (0..dots).rev().map(Label::Dots);
        self.before.iter().map(letter).chain(middle).chain(self.after.iter().flatten().map(letter)).collect()
    }
}

/// The equation on given shapes.
#[derive(Debug)]
struct Solved {
    /// Every label with its size: those of the output first, in its order, then those that are summed.
    labels: Vec<(Label, usize)>,
    /// How many of them are the output's.
    kept: usize,
    /// For each operand the stride of each label; 0 where it does not vary with it.
    strides: Vec<Vec<usize>>,
}

impl Einsum {
    fn solve(&self, shapes: &[&[usize]]) -> Result<Solved, OpError> {
        let mut most_dots = 0;
        let mut operands: Vec<Vec<Label>> = Vec::new();
        for (term, shape) in self.terms.iter().zip(shapes) {
            let letters = term.before.len() + term.after.as_ref().map_or(0, Vec::len);
            let dots = shape.len().checked_sub(letters).filter(|&d| d == 0 || term.after.is_some());
            let dots = dots.ok_or_else(|| OpError::invalid(format!("a term of {letters} letters for {shape:?}")))?;
            most_dots = most_dots.max(dots);
            operands.push(term.labels(dots));
        }
        let mut sizes: Vec<(Label, usize)> = Vec::new();
        for (labels, shape) in operands.iter().zip(shapes) {
            for (&label, &d) in labels.iter().zip(*shape) {
                match sizes.iter_mut().find(|s| s.0 == label) {
                    None => sizes.push((label, d)),
                    Some(s) if s.1 == 1 => s.1 = d,
                    Some(s) if d != 1 && d != s.1 => {
                        return Err(OpError::invalid(format!("{label:?} is both {} and {d} long", s.1)));
                    }
                    Some(_) => {}
                }
            }
        }
        let out = match &self.out {
            Some(t) => t.labels(most_dots),
            None => {
                let once = |l: &Label| operands.iter().flatten().filter(|o| *o == l).count() == 1;
                let mut letters: Vec<Label> =
                    sizes.iter().map(|s| s.0).filter(|l| matches!(l, Label::Letter(_)) && once(l)).collect();
                letters.sort_unstable();
                (0..most_dots).rev().map(Label::Dots).chain(letters).collect()
            }
        };
        let mut labels = Vec::new();
        for (i, l) in out.iter().enumerate() {
            let size = sizes.iter().find(|s| s.0 == *l);
            match size {
                Some(&s) if !out[..i].contains(l) => labels.push(s),
                _ => return Err(OpError::invalid(format!("{l:?} of the output is not in the terms, or there twice"))),
            }
        }
        let kept = labels.len();
        labels.extend(sizes.iter().filter(|s| !out.contains(&s.0)));
        let strides = operands
            .iter()
            .zip(shapes)
            .map(|(own, shape)| {
                let steps = util::strides(shape);
                // A label that is there twice walks the diagonal.
                let of = |l: Label| {
                    (0..own.len()).filter(|&d| own[d] == l && shape[d] != 1).map(|d| steps[d]).sum::<usize>()
                };
                labels.iter().map(|&(l, _)| of(l)).collect()
            })
            .collect();
        Ok(Solved { labels, kept, strides })
    }
}

/// Calls `f` with each index of `dims` as offsets by several strides.
fn walk<const N: usize>(dims: &[usize], strides: [&[usize]; N], mut f: impl FnMut([usize; N])) {
    if dims.contains(&0) {
        return;
    }
    let mut index = vec![0; dims.len()];
    let mut at = [0usize; N];
    loop {
        f(at);
        let mut d = dims.len();
        loop {
            if d == 0 {
                return;
            }
            d -= 1;
            index[d] += 1;
            (0..N).for_each(|k| at[k] += strides[k][d]);
            if index[d] < dims[d] {
                break;
            }
            (0..N).for_each(|k| at[k] -= strides[k][d] * dims[d]);
            index[d] = 0;
        }
    }
}

impl Solved {
    fn sizes(&self) -> Vec<usize> {
        self.labels.iter().map(|l| l.1).collect()
    }

    fn out_shape(&self) -> Vec<usize> {
        self.labels[..self.kept].iter().map(|l| l.1).collect()
    }

    /// By definition: for each output element the sum over the other labels.
    fn sum<T: Number + Element>(&self, inputs: &[Input<'_>], out: &mut [T]) -> Result<(), OpError> {
        let data: Vec<&[T]> = inputs.iter().map(Input::slice::<T>).collect::<Result<_, _>>()?;
        let sizes = self.sizes();
        let (outer, inner) = sizes.split_at(self.kept);
        let operands = data.len();
        let parts: Vec<(&[usize], &[usize])> = self.strides.iter().map(|s| s.split_at(self.kept)).collect();
        let mut index = vec![0usize; sizes.len()];
        let offset = |index: &[usize], strides: &[usize]| index.iter().zip(strides).map(|(i, s)| i * s).sum::<usize>();
        for y in out.iter_mut() {
            let bases: Vec<usize> = (0..operands).map(|k| offset(&index[..self.kept], parts[k].0)).collect();
            let mut total = T::Wide::ZERO;
            let count = checked_numel(inner).ok_or_else(|| OpError::invalid("the sum's size overflows"))?;
            for _ in 0..count {
                let mut product = T::Wide::ONE;
                for k in 0..operands {
                    product = product.mul(data[k][bases[k] + offset(&index[self.kept..], parts[k].1)].widen());
                }
                total = total.add(product);
                next(&mut index[self.kept..], inner);
            }
            *y = T::narrow(total);
            next(&mut index[..self.kept], outer);
        }
        Ok(())
    }

    /// The labels of a product of two operands: batch, rows, columns, inner. `None` if it is none.
    fn product(&self) -> Option<[Vec<usize>; 4]> {
        let [a, b] = &self.strides[..] else { return None };
        let mut groups = [vec![], vec![], vec![], vec![]];
        for (i, &(_, size)) in self.labels.iter().enumerate() {
            let group = match (a[i] != 0, b[i] != 0, i < self.kept) {
                _ if size == 1 => continue,
                (true, true, true) => 0,
                (true, false, true) => 1,
                (false, true, true) => 2,
                (true, true, false) => 3,
                _ => return None,
            };
            groups[group].push(i);
        }
        Some(groups)
    }

    fn multiply(&self, groups: &[Vec<usize>; 4], inputs: &[Input<'_>], cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let sizes = self.sizes();
        let size = |g: usize| groups[g].iter().map(|&i| sizes[i]).product::<usize>();
        let (batch, m, n, k) = (size(0), size(1), size(2), size(3));
        let order = |list: [usize; 3]| list.iter().flat_map(|&g| groups[g].iter().copied()).collect::<Vec<usize>>();
        // An operand laid out in an order of labels.
        let laid = |operand: usize, order: &[usize]| -> Result<Vec<f32>, OpError> {
            let x = inputs[operand].f32()?;
            let dims: Vec<usize> = order.iter().map(|&i| sizes[i]).collect();
            let strides: Vec<usize> = order.iter().map(|&i| self.strides[operand][i]).collect();
            let mut out = Vec::with_capacity(dims.iter().product());
            walk(&dims, [&strides], |[at]| out.push(x[at]));
            Ok(out)
        };
        let (a, b) = (laid(0, &order([0, 1, 3]))?, laid(1, &order([0, 3, 2]))?);
        let mut product = vec![0f32; batch * m * n];
        let offsets: Vec<_> = (0..batch).map(|i| (i * m * k, i * k * n, i * m * n)).collect();
        batched_gemm(cx.pool(), &offsets, m, n, k, &a, &b, &mut product);
        // Into the output's order.
        let order = order([0, 1, 2]);
        let out_strides = util::strides(&self.out_shape());
        let dims: Vec<usize> = order.iter().map(|&i| sizes[i]).collect();
        let strides: Vec<usize> = order.iter().map(|&i| out_strides[i]).collect();
        let out = cx.out::<f32>(0)?;
        let mut values = product.iter();
        walk(&dims, [&strides], |[at]| out[at] = values.next().copied().unwrap_or(0.0));
        Ok(())
    }
}

/// The next index in C order.
fn next(index: &mut [usize], dims: &[usize]) {
    for d in (0..dims.len()).rev() {
        index[d] += 1;
        if index[d] < dims[d] {
            return;
        }
        index[d] = 0;
    }
}

impl Operator for Einsum {
    fn class(&self) -> OpClass {
        OpClass::MatMul
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        let dtype = inputs.need(0)?.dtype;
        let mut shapes = Vec::new();
        for i in 0..inputs.len() {
            if inputs.need(i)?.dtype != dtype {
                return Err(OpError::invalid("operands of different types"));
            }
            shapes.push(inputs.shape(i)?.unwrap_or(&[]));
        }
        Ok(vec![Fact::new(dtype, self.solve(&shapes)?.out_shape())])
    }

    fn cost(&self, inputs: &Inputs<'_>, _: &[Fact]) -> Cost {
        let shapes: Vec<&[usize]> = (0..inputs.len()).map(|i| inputs.shape(i).ok().flatten().unwrap_or(&[])).collect();
        let all = self.solve(&shapes).ok().and_then(|s| checked_numel(&s.sizes())).unwrap_or(0);
        Cost { flops: (all as u64).saturating_mul(self.terms.len() as u64) }
    }

    fn widens(&self) -> bool {
        true
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let inputs: Vec<Input<'_>> = (0..cx.input_count()).map(|i| cx.input(i)).collect::<Result<_, _>>()?;
        let shapes: Vec<&[usize]> = inputs.iter().map(|x| x.shape).collect();
        let solved = self.solve(&shapes)?;
        if cx.out_dtype(0) == DType::F32
            && let Some(groups) = solved.product()
        {
            return solved.multiply(&groups, &inputs, cx);
        }
        by_number!(cx.out_dtype(0), "Einsum", T => solved.sum::<T>(&inputs, cx.out(0)?))
    }

    fn kernel(&self) -> String {
        if self.terms.len() == 2 { "gemm f32, batched".into() } else { "sum of products".into() }
    }
}
