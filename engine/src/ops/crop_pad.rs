//! CenterCropPad, ReverseSequence, TensorScatter: elements put elsewhere, whatever their type.

use crate::attrs::Attrs;
use crate::op::{Fact, Inputs, NEWEST, OpClass, OpDef, OpError, Operator, RunCx};
use crate::ops::{floats, util};

/// Movements along chosen axes.
pub(crate) const OPS: &[OpDef] = &[
    OpDef { domain: "", name: "CenterCropPad", opsets: (18, NEWEST), read: read_centre },
    OpDef { domain: "", name: "ReverseSequence", opsets: (10, NEWEST), read: read_reverse },
    OpDef { domain: "", name: "TensorScatter", opsets: (24, NEWEST), read: read_scatter },
];

#[derive(Debug)]
struct Centre {
    axes: Option<Vec<i64>>,
}

fn read_centre(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(Centre { axes: a.ints("axes")?.map(<[i64]>::to_vec) }))
}

impl Operator for Centre {
    fn class(&self) -> OpClass {
        OpClass::DataMovement
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        let x = inputs.need(0)?;
        let Some(want) = inputs.ints(1)? else { return Ok(vec![Fact::dynamic(x.dtype)]) };
        let mut shape = x.shape.clone().unwrap_or_default();
        let axes = match &self.axes {
            Some(list) => util::axes(list, shape.len())?,
            None => (0..shape.len()).collect(),
        };
        if want.len() != axes.len() {
            return Err(OpError::invalid(format!("{} sizes for {} axes", want.len(), axes.len())));
        }
        for (axis, size) in axes.into_iter().zip(floats::sizes(&want, "a size")?) {
            shape[axis] = size;
        }
        Ok(vec![Fact::new(x.dtype, shape)])
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let (x, to) = (cx.input(0)?, cx.out_shape(0));
        let elem = util::elem_bytes(x.dtype)?;
        let from = x.shape;
        let out = cx.out_bytes(0)?;
        out.fill(0);
        let kept: Vec<usize> = from.iter().zip(&to).map(|(a, b)| *a.min(b)).collect();
        let (Some((&run, outer)), false) = (kept.split_last(), kept.contains(&0)) else {
            if from.is_empty() {
                out.copy_from_slice(x.data);
            }
            return Ok(());
        };
        let (own, theirs) = (util::strides(from), util::strides(&to));
        // Where the part that both have begins; an odd difference leaves the larger half behind it.
        let base = |shape: &[usize], strides: &[usize]| -> usize {
            shape.iter().zip(&kept).zip(strides).map(|((n, k), s)| (n - k) / 2 * s).sum()
        };
        let (mut at, base_x, base_y) = (vec![0usize; outer.len()], base(from, &own), base(&to, &theirs));
        loop {
            let offset = |strides: &[usize]| at.iter().zip(strides).map(|(i, s)| i * s).sum::<usize>();
            let (a, b) = (base_x + offset(&own), base_y + offset(&theirs));
            out[b * elem..(b + run) * elem].copy_from_slice(&x.data[a * elem..(a + run) * elem]);
            let Some(d) = (0..at.len()).rev().find(|&d| at[d] + 1 < outer[d]) else { return Ok(()) };
            at[d] += 1;
            at[d + 1..].fill(0);
        }
    }

    fn kernel(&self) -> String {
        "strided copy".into()
    }
}

#[derive(Debug)]
struct Reverse {
    /// Time is the first axis and the batch the second, else the other way round.
    time_first: bool,
}

fn read_reverse(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    match (a.int_or("time_axis", 0)?, a.int_or("batch_axis", 1)?) {
        (0, 1) => Ok(Box::new(Reverse { time_first: true })),
        (1, 0) => Ok(Box::new(Reverse { time_first: false })),
        (t, b) => Err(OpError::invalid(format!("time_axis = {t} and batch_axis = {b}, they must be 0 and 1"))),
    }
}

impl Operator for Reverse {
    fn class(&self) -> OpClass {
        OpClass::DataMovement
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        let x = inputs.need(0)?;
        let (shape, lens) = (x.shape.clone().unwrap_or_default(), inputs.shape(1)?.unwrap_or(&[]));
        if shape.len() < 2 || lens != [shape[usize::from(self.time_first)]] {
            return Err(OpError::invalid(format!("lengths of {lens:?} for an input of {shape:?}")));
        }
        Ok(vec![Fact::new(x.dtype, shape)])
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let (x, lens) = (cx.input(0)?, cx.input(1)?.to_i64()?);
        let elem = util::elem_bytes(x.dtype)?;
        let &[a, b, ref rest @ ..] = x.shape else { return Err(OpError::invalid("two dimensions are needed")) };
        let row = rest.iter().product::<usize>() * elem;
        let (time, batch) = if self.time_first { (a, b) } else { (b, a) };
        let at = |t: usize, n: usize| (if self.time_first { t * batch + n } else { n * time + t }) * row;
        let out = cx.out_bytes(0)?;
        for (n, &len) in lens.iter().enumerate() {
            let len = usize::try_from(len).ok().filter(|&l| l <= time);
            let len = len.ok_or_else(|| OpError::invalid(format!("a length of {} in {time} steps", lens[n])))?;
            for t in 0..time {
                let from = at(if t < len { len - 1 - t } else { t }, n);
                out[at(t, n)..][..row].copy_from_slice(&x.data[from..][..row]);
            }
        }
        Ok(())
    }

    fn kernel(&self) -> String {
        "strided copy".into()
    }
}

#[derive(Debug)]
struct Scatter {
    axis: i64,
    circular: bool,
}

fn read_scatter(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    let circular = match a.string_or("mode", "linear")? {
        "linear" => false,
        "circular" => true,
        other => return Err(OpError::unsupported(format!("mode = \"{other}\""))),
    };
    Ok(Box::new(Scatter { axis: a.int_or("axis", -2)?, circular }))
}

impl Operator for Scatter {
    fn class(&self) -> OpClass {
        OpClass::DataMovement
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        let past = inputs.need(0)?;
        let shape = past.shape.clone().unwrap_or_default();
        let update = inputs.shape(1)?.unwrap_or(&[]);
        let axis = util::axis(self.axis, shape.len())?;
        let fits = |(i, (a, b)): (usize, (&usize, &usize))| if i == axis { b <= a } else { a == b };
        if axis == 0 || update.len() != shape.len() || !shape.iter().zip(update).enumerate().all(fits) {
            return Err(OpError::invalid(format!(
                "an update of {update:?} for a cache of {shape:?} along axis {axis}"
            )));
        }
        if inputs.get(2).and_then(|f| f.shape.as_deref()).is_some_and(|s| s != [shape[0]]) {
            return Err(OpError::invalid("there must be a write index for each of the batch"));
        }
        Ok(vec![Fact::new(past.dtype, shape)])
    }

    fn in_place(&self) -> &'static [usize] {
        &[0]
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let (update, shape) = (cx.input(1)?, cx.out_shape(0));
        let elem = util::elem_bytes(update.dtype)?;
        if cx.out_dtype(0) != update.dtype {
            return Err(OpError::invalid(format!("an update of {} for a cache of {}", update.dtype, cx.out_dtype(0))));
        }
        let starts = cx.ints(2)?.unwrap_or_else(|| vec![0; shape[0]]);
        floats::copy_input(cx, 0)?;
        let axis = util::axis(self.axis, shape.len())?;
        let (most, count) = (shape[axis], update.shape[axis]);
        let inner = shape[axis + 1..].iter().product::<usize>() * elem;
        let middle: usize = shape[1..axis].iter().product();
        let out = cx.out_bytes(0)?;
        for (n, &start) in starts.iter().enumerate() {
            let room = if self.circular { most } else { most - count + 1 };
            let first = usize::try_from(start).ok().filter(|&s| s < room || (self.circular && most > 0));
            let why = || OpError::invalid(format!("{count} elements at {start} in a cache of {most}"));
            let first = if count == 0 { 0 } else { first.ok_or_else(why)? };
            for m in n * middle..(n + 1) * middle {
                for i in 0..count {
                    let to = (m * most + (first % most.max(1) + i) % most) * inner;
                    out[to..to + inner].copy_from_slice(&update.data[(m * count + i) * inner..][..inner]);
                }
            }
        }
        Ok(())
    }

    fn kernel(&self) -> String {
        "scatter".into()
    }
}
