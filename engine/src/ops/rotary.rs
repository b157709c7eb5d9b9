//! RotaryEmbedding: pairs of a head's elements turned by an angle that depends on the position.

use graph::DType;

use crate::attrs::Attrs;
use crate::op::{Cost, Fact, Inputs, NEWEST, OpClass, OpDef, OpError, Operator, RunCx};

/// RotaryEmbedding: inputs x, cosines, sines, positions (optional); ONNX Runtime's: x, positions, cosines, sines.
pub(crate) const OPS: &[OpDef] = &[
    OpDef { domain: "", name: "RotaryEmbedding", opsets: (23, NEWEST), read: |a| read(a, [1, 2, 3]) },
    OpDef { domain: "com.microsoft", name: "RotaryEmbedding", opsets: (1, 1), read: read_older },
];

#[derive(Debug)]
struct Rotary {
    /// Pairs are neighbours, else the two halves' elements.
    interleaved: bool,
    /// Elements of a head that are turned; 0: all.
    width: usize,
    /// Of an input of three dimensions; 0: as many as the tables are wide.
    heads: usize,
    /// Which inputs are cosines, sines, positions.
    inputs: [usize; 3],
}

fn read_older(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    if a.flag("is_packed_batching", false)? || a.float_or("scale", 1.0)? != 1.0 {
        return Err(OpError::unsupported("is_packed_batching, or a scale"));
    }
    read(a, [2, 3, 1])
}

fn read(a: &mut Attrs<'_>, inputs: [usize; 3]) -> Result<Box<dyn Operator>, OpError> {
    let count =
        |name: &str| usize::try_from(a.int_or(name, 0)?).map_err(|_| OpError::invalid(format!("{name} is negative")));
    let (width, heads) = (count("rotary_embedding_dim")?, count("num_heads")?);
    Ok(Box::new(Rotary { interleaved: a.flag("interleaved", false)?, width, heads, inputs }))
}

/// Where things are.
struct Layout {
    batch: usize,
    heads: usize,
    len: usize,
    head: usize,
    /// Heads before positions.
    heads_first: bool,
    width: usize,
}

impl Rotary {
    fn layout(&self, x: &[usize], cos: &[usize], ids: Option<&[usize]>) -> Result<Layout, OpError> {
        let fail = || {
            OpError::invalid(format!("rotary embedding of {x:?} by {cos:?}, {} heads, positions {ids:?}", self.heads))
        };
        let (batch, heads, len, head, heads_first) = match *x {
            [b, h, s, d] => (b, h, s, d, true),
            [b, s, w] if self.heads > 0 && w % self.heads == 0 => (b, self.heads, s, w / self.heads, false),
            [b, s, w] if self.heads == 0 && w > 0 => {
                let head = cos.last().map_or(0, |c| c.saturating_mul(2));
                let heads = w.checked_div(head).filter(|h| h * head == w).ok_or_else(fail)?;
                (b, heads, s, head, false)
            }
            _ => return Err(fail()),
        };
        let width = if self.width == 0 { head } else { self.width };
        let fits = width <= head
            && width % 2 == 0
            && match (cos, ids) {
                (&[_, half], Some(ids)) => half == width / 2 && (ids == [batch, len] || ids == [1]),
                (&[b, s, half], None) => half == width / 2 && b == batch && s == len,
                _ => false,
            };
        if fits { Ok(Layout { batch, heads, len, head, heads_first, width }) } else { Err(fail()) }
    }
}

/// Turns a head's first pairs; pairs are neighbours, or elements of the two halves.
pub(crate) fn turn(head: &mut [f32], cos: &[f32], sin: &[f32], interleaved: bool) {
    let half = cos.len();
    for (i, (c, s)) in cos.iter().zip(sin).enumerate() {
        let (first, second) = if interleaved { (2 * i, 2 * i + 1) } else { (i, half + i) };
        let (a, b) = (head[first], head[second]);
        head[first] = c * a - s * b;
        head[second] = s * a + c * b;
    }
}

impl Operator for Rotary {
    fn class(&self) -> OpClass {
        OpClass::Elementwise
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        let x = inputs.need(0)?;
        let [cos, sin, ids] = self.inputs;
        let (cos, sin) = (inputs.shape(cos)?.unwrap_or(&[]), inputs.shape(sin)?.unwrap_or(&[]));
        let ids = inputs.get(ids).and_then(|f| f.shape.as_deref());
        let shape = x.shape.clone().unwrap_or_default();
        self.layout(&shape, cos, ids)?;
        if cos != sin {
            return Err(OpError::invalid(format!("cosines of {cos:?}, sines of {sin:?}")));
        }
        Ok(vec![Fact::new(x.dtype, shape)])
    }

    fn cost(&self, _: &Inputs<'_>, outputs: &[Fact]) -> Cost {
        Cost { flops: 3 * outputs[0].numel().unwrap_or(0) as u64 }
    }

    fn widens(&self) -> bool {
        true
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let [cos, sin, ids] = self.inputs;
        let (x, cos, sin) = (cx.input(0)?, cx.input(cos)?, cx.input(sin)?);
        if x.dtype != DType::F32 {
            return Err(OpError::unsupported(format!("RotaryEmbedding of {}", x.dtype)));
        }
        let l = self.layout(x.shape, cos.shape, cx.get(ids).map(|t| t.shape))?;
        let ids = cx.ints(ids)?;
        let (data, cos_data, sin_data, half) = (x.f32()?, cos.f32()?, sin.f32()?, l.width / 2);
        let rows = cos.shape[0];
        let p = cx.split::<f32>()?;
        if l.head == 0 {
            return Ok(());
        }
        for (row, y) in p.out.chunks_exact_mut(l.head).enumerate() {
            // The row's batch and position.
            let (b, s) = if l.heads_first {
                (row / (l.heads * l.len), row % l.len)
            } else {
                (row / (l.heads * l.len), row / l.heads % l.len)
            };
            debug_assert!(b < l.batch);
            let at = match &ids {
                None => b * l.len + s,
                Some(ids) => {
                    // One position is that of the first.
                    let id =
                        if ids.len() == l.batch * l.len { ids[b * l.len + s] } else { ids[0].saturating_add(s as i64) };
                    let known = usize::try_from(id).ok().filter(|&i| i < rows);
                    known.ok_or_else(|| OpError::invalid(format!("position {id} of {rows}")))?
                }
            };
            let (c, sn) = (&cos_data[at * half..][..half], &sin_data[at * half..][..half]);
            let x = &data[row * l.head..][..l.head];
            y.copy_from_slice(x);
            turn(y, c, sn, self.interleaved);
        }
        Ok(())
    }

    fn kernel(&self) -> String {
        "rotary f32".into()
    }
}
