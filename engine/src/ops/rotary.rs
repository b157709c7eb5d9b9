//! RotaryEmbedding: pairs of a head's elements turned by an angle that depends on the position.

use graph::DType;

use crate::attrs::Attrs;
use crate::op::{Cost, Fact, Inputs, NEWEST, OpClass, OpDef, OpError, Operator, RunCx};

/// RotaryEmbedding: inputs x, cosines, sines, positions (optional).
pub(crate) const OPS: &[OpDef] = &[OpDef { domain: "", name: "RotaryEmbedding", opsets: (23, NEWEST), read }];

#[derive(Debug)]
struct Rotary {
    /// Pairs are neighbours, else the two halves' elements.
    interleaved: bool,
    /// Elements of a head that are turned; 0: all.
    width: usize,
    /// Of an input of three dimensions.
    heads: usize,
}

fn read(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    let count =
        |name: &str| usize::try_from(a.int_or(name, 0)?).map_err(|_| OpError::invalid(format!("{name} is negative")));
    let (width, heads) = (count("rotary_embedding_dim")?, count("num_heads")?);
    Ok(Box::new(Rotary { interleaved: a.flag("interleaved", false)?, width, heads }))
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
            _ => return Err(fail()),
        };
        let width = if self.width == 0 { head } else { self.width };
        let fits = width <= head
            && width % 2 == 0
            && match (cos, ids) {
                (&[_, half], Some(ids)) => half == width / 2 && ids == [batch, len],
                (&[b, s, half], None) => half == width / 2 && b == batch && s == len,
                _ => false,
            };
        if fits { Ok(Layout { batch, heads, len, head, heads_first, width }) } else { Err(fail()) }
    }
}

impl Operator for Rotary {
    fn class(&self) -> OpClass {
        OpClass::Elementwise
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        let x = inputs.need(0)?;
        let (cos, sin) = (inputs.shape(1)?.unwrap_or(&[]), inputs.shape(2)?.unwrap_or(&[]));
        let ids = inputs.get(3).and_then(|f| f.shape.as_deref());
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
        let (x, cos, sin) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
        if x.dtype != DType::F32 {
            return Err(OpError::unsupported(format!("RotaryEmbedding of {}", x.dtype)));
        }
        let l = self.layout(x.shape, cos.shape, cx.get(3).map(|t| t.shape))?;
        let ids = cx.ints(3)?;
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
                    let id = ids[b * l.len + s];
                    let known = usize::try_from(id).ok().filter(|&i| i < rows);
                    known.ok_or_else(|| OpError::invalid(format!("position {id} of {rows}")))?
                }
            };
            let (c, sn) = (&cos_data[at * half..][..half], &sin_data[at * half..][..half]);
            let x = &data[row * l.head..][..l.head];
            y.copy_from_slice(x);
            for i in 0..half {
                let (first, second) = if self.interleaved { (2 * i, 2 * i + 1) } else { (i, half + i) };
                y[first] = c[i] * x[first] - sn[i] * x[second];
                y[second] = sn[i] * x[first] + c[i] * x[second];
            }
        }
        Ok(())
    }

    fn kernel(&self) -> String {
        "rotary f32".into()
    }
}
