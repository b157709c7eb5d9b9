//! The GPU form of attention.

use cpu_kernels::attention::{AttentionShape, Strides};
use gpu_kernels::Binding;
use gpu_kernels::kernels::attention::{Attention, HeadStrides, MAX_V_DIM, Mask, attention};

use crate::gpu::{GpuBuilder, GpuTensor};
use crate::op::OpError;
use crate::ops::movement_gpu::u32_of;

/// Output 0 = attention of q, k and v with a mask by its strides; where it is causal, query i sees the keys up to i + `causal`.
pub(crate) fn encode(
    b: &mut GpuBuilder<'_>,
    s: &AttentionShape,
    [q, k, v]: [&Binding; 3],
    mask: Option<(&GpuTensor, [usize; 4])>,
    causal: Option<i32>,
) -> Result<bool, OpError> {
    if s.v_dim > MAX_V_DIM as usize {
        return Ok(false);
    }
    let n = u32_of;
    let heads = |s: &Strides| Ok::<_, OpError>(HeadStrides { batch: n(s.batch)?, head: n(s.head)?, row: n(s.row)? });
    let mask = match mask {
        None => None,
        Some((m, [x, y, z, w])) => {
            let strides = [n(x)?, n(y)?, n(z)?, n(w)?];
            Some(Mask { values: &m.binding, is_bool: !m.is_float(), strides })
        }
    };
    let y = b.output(0)?;
    let op = Attention {
        q: (q, heads(&s.q)?),
        k: (k, heads(&s.k)?),
        v: (v, heads(&s.v)?),
        y: (&y.binding, heads(&s.out)?),
        batch: n(s.batch)?,
        heads: n(s.heads)?,
        kv_heads: n(s.kv_heads)?,
        queries: n(s.q_len)?,
        keys: n(s.kv_len)?,
        dim: n(s.head_dim)?,
        v_dim: n(s.v_dim)?,
        scale: s.scale,
        mask,
        causal,
    };
    let gpu = b.gpu();
    b.push(attention(&gpu, &op))?;
    Ok(true)
}
