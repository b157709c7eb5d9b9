//! LinearAttention: a recurrence over a state of one matrix per head.

use cpu_kernels::linear_attention::{LinearSizes, PerToken, linear_attention};
use graph::DType;

use crate::attrs::Attrs;
use crate::op::{Cost, Fact, Inputs, NEWEST, OpClass, OpDef, OpError, Operator, RunCx};

/// Linear attention with decay and the delta rule.
pub(crate) const OPS: &[OpDef] = &[OpDef { domain: "", name: "LinearAttention", opsets: (27, NEWEST), read }];

#[derive(Debug)]
struct LinearAttention {
    q_heads: usize,
    kv_heads: usize,
    /// 0 for 1 / sqrt(the size of a key).
    scale: f32,
    decays: bool,
    corrects: bool,
}

fn read(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    // How a long prefill is cut: it changes no result, and nothing is cut here.
    a.ignore("chunk_size");
    let heads = |name| match a.need_int(name)? {
        n @ 1..=65_536 => Ok(n as usize),
        n => Err(OpError::invalid(format!("{name} = {n}"))),
    };
    let (q_heads, kv_heads) = (heads("q_num_heads")?, heads("kv_num_heads")?);
    if q_heads % kv_heads != 0 {
        return Err(OpError::invalid(format!(
            "{q_heads} query heads are no multiple of {kv_heads} key and value heads"
        )));
    }
    let (decays, corrects) = match a.string_or("update_rule", "gated_delta")? {
        "linear" => (false, false),
        "gated" => (true, false),
        "delta" => (false, true),
        "gated_delta" => (true, true),
        other => return Err(OpError::unsupported(format!("update_rule = \"{other}\""))),
    };
    for (i, wanted, name) in [(4, decays, "decay"), (5, corrects, "beta")] {
        if a.has_input(i) != wanted {
            let what = if wanted { "needs" } else { "forbids" };
            return Err(OpError::invalid(format!("this update_rule {what} the input {name}")));
        }
    }
    Ok(Box::new(LinearAttention { q_heads, kv_heads, scale: a.float_or("scale", 0.0)?, decays, corrects }))
}

impl LinearAttention {
    fn sizes(&self, shapes: [&[usize]; 3]) -> Result<LinearSizes, OpError> {
        let [&[batch, tokens, q], &[kb, kt, k], &[vb, vt, v]] = shapes else {
            return Err(OpError::invalid(format!(
                "queries, keys and values must have three dimensions, they are {shapes:?}"
            )));
        };
        let per = |width: usize, heads: usize| (width % heads == 0).then_some(width / heads);
        let sizes = (per(q, self.q_heads), per(k, self.kv_heads), per(v, self.kv_heads));
        match sizes {
            (Some(key), Some(same), Some(value))
                if key == same && (batch, tokens) == (kb, kt) && (kb, kt) == (vb, vt) =>
            {
                Ok(LinearSizes { batch, tokens, q_heads: self.q_heads, kv_heads: self.kv_heads, key, value })
            }
            _ => Err(OpError::invalid(format!(
                "shapes {shapes:?} do not fit {} query heads and {} key and value heads",
                self.q_heads, self.kv_heads
            ))),
        }
    }
}

impl Operator for LinearAttention {
    fn class(&self) -> OpClass {
        OpClass::Attention
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        let shape = |i| inputs.shape(i).map(|s| s.unwrap_or(&[]));
        let n = self.sizes([shape(0)?, shape(1)?, shape(2)?])?;
        let state = vec![n.batch, n.kv_heads, n.key, n.value];
        if let Some(past) = inputs.get(3).and_then(|p| p.shape.as_ref())
            && *past != state
        {
            return Err(OpError::invalid(format!("past_state is {past:?}, it must be {state:?}")));
        }
        let per_token = [(self.decays, 4, [n.kv_heads, n.kv_heads * n.key]), (self.corrects, 5, [n.kv_heads, 1])];
        for (_, i, widths) in per_token.into_iter().filter(|p| p.0) {
            let s = shape(i)?;
            if !widths.iter().any(|&w| s == [n.batch, n.tokens, w]) {
                return Err(OpError::invalid(format!("input {i} is {s:?}, its last dimension must be {widths:?}")));
            }
        }
        let dtypes = self.dtypes(inputs)?;
        Ok(vec![Fact::new(dtypes[0], vec![n.batch, n.tokens, n.q_heads * n.value]), Fact::new(dtypes[1], state)])
    }

    fn dtypes(&self, inputs: &Inputs<'_>) -> Result<Vec<DType>, OpError> {
        let query = inputs.need(0)?.dtype;
        Ok(vec![query, inputs.get(3).map_or(query, |p| p.dtype)])
    }

    fn cost(&self, _: &Inputs<'_>, outputs: &[Fact]) -> Cost {
        let (out, state) = (outputs[0].shape.as_deref().unwrap_or(&[]), outputs[1].shape.as_deref().unwrap_or(&[]));
        let (&[_, tokens, _], &[batch, kv_heads, key, value]) = (out, state) else { return Cost::default() };
        // Write and read, and where the rule has them decay and correction.
        let per_state = 2 + u64::from(self.decays) + 2 * u64::from(self.corrects);
        let heads = (kv_heads as u64) * per_state + 2 * self.q_heads as u64;
        Cost { flops: (batch * tokens * key * value) as u64 * heads }
    }

    fn widens(&self) -> bool {
        true
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let [q, k, v] = [cx.input(0)?, cx.input(1)?, cx.input(2)?];
        let n = self.sizes([q.shape, k.shape, v.shape])?;
        let scale = if self.scale == 0.0 { 1.0 / (n.key as f32).sqrt() } else { self.scale };
        let mut state = match cx.get(3) {
            Some(past) => past.f32()?.to_vec(),
            None => vec![0.0; n.batch * n.kv_heads * n.key * n.value],
        };
        let factor = |i| -> Result<Option<PerToken<'_>>, OpError> {
            cx.get(i).map(|t| Ok(PerToken { data: t.f32()?, width: t.shape.last().copied().unwrap_or(0) })).transpose()
        };
        let (decay, beta) = (factor(4)?, factor(5)?);
        let (pool, floats) = (cx.pool(), [q.f32()?, k.f32()?, v.f32()?]);
        let mut unwanted = Vec::new();
        let out = if cx.wants(0) {
            cx.out::<f32>(0)?
        } else {
            unwanted.resize(n.batch * n.tokens * n.q_heads * n.value, 0.0);
            &mut unwanted
        };
        linear_attention(pool, n, scale, floats, decay, beta, &mut state, out)?;
        if cx.wants(1) {
            cx.out::<f32>(1)?.copy_from_slice(&state);
        }
        Ok(())
    }

    fn kernel(&self) -> String {
        "linear attention f32, recurrent".into()
    }
}
