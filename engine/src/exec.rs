//! Runs one operator on tensors of its own: for folding, for steps whose shapes are known only at run time, and for
//! measuring one layer alone.

use bytes::Bytes;
use cpu_kernels::cast;
use cpu_kernels::pool::Pool;
use graph::{DType, Tensor};

use crate::op::{Env, Fact, Inputs, OpError, Operator, RunCx};
use crate::tensor::{AlignedBytes, Input, OutData, Output, aligned};

/// The facts of an operator's outputs, whether or not the inputs' shapes are known.
pub(crate) fn infer(op: &dyn Operator, inputs: &[Option<Fact>]) -> Result<Vec<Fact>, OpError> {
    if let Some(i) = inputs.iter().position(|f| f.as_ref().is_some_and(|f| !f.is_tensor()))
        && !op.takes_any()
    {
        let absent = inputs[i].as_ref().and_then(|f| f.value.as_ref()).is_some_and(Tensor::is_absent);
        let what = if absent { "an empty optional" } else { "a sequence" };
        return Err(OpError::invalid(format!("input {i} is {what}, where a tensor is needed")));
    }
    let view = Inputs(inputs);
    let facts = if inputs.iter().flatten().all(|f| f.shape.is_some()) {
        op.infer(&view)?
    } else {
        op.dtypes(&view)?.into_iter().map(Fact::dynamic).collect()
    };
    for f in &facts {
        if f.shape.is_some() && f.dtype != DType::String && f.bytes().is_none() {
            return Err(OpError::invalid(format!(
                "the output's shape {:?} overflows",
                f.shape.as_deref().unwrap_or(&[])
            )));
        }
    }
    Ok(facts)
}

/// True for the types that [`Operator::widens`] speaks of.
pub(crate) fn is_narrow_float(d: DType) -> bool {
    d.is_float() && !matches!(d, DType::F32 | DType::F64)
}

/// A copy of a narrow float tensor as f32.
pub(crate) fn widen(data: &[u8], dtype: DType, n: usize, out: &mut [f32]) -> Result<(), OpError> {
    convert(serial(), dtype, DType::F32, n, data, bytemuck::cast_slice_mut(out))
}

/// A pool of the calling thread alone, for conversions outside a run.
pub(crate) fn serial() -> &'static Pool {
    static POOL: std::sync::OnceLock<Pool> = std::sync::OnceLock::new();
    POOL.get_or_init(|| Pool::new(1))
}

/// Converts `n` elements; narrow floats saturate.
pub(crate) fn convert(pool: &Pool, from: DType, to: DType, n: usize, x: &[u8], y: &mut [u8]) -> Result<(), OpError> {
    Ok(cast::cast(pool, kind(from)?, kind(to)?, true, n, x, y)?)
}

/// The kernels' name of an element type.
pub(crate) fn kind(d: DType) -> Result<cast::Kind, OpError> {
    use cast::Kind;
    Ok(match d {
        DType::F32 => Kind::F32,
        DType::F64 => Kind::F64,
        DType::F16 => Kind::F16,
        DType::BF16 => Kind::BF16,
        DType::F8E4M3FN => Kind::F8E4M3FN,
        DType::F8E4M3FNUZ => Kind::F8E4M3FNUZ,
        DType::F8E5M2 => Kind::F8E5M2,
        DType::F8E5M2FNUZ => Kind::F8E5M2FNUZ,
        DType::F8E8M0 => Kind::F8E8M0,
        DType::F4E2M1 => Kind::F4E2M1,
        DType::I8 => Kind::I8,
        DType::I16 => Kind::I16,
        DType::I32 => Kind::I32,
        DType::I64 => Kind::I64,
        DType::U8 => Kind::U8,
        DType::U16 => Kind::U16,
        DType::U32 => Kind::U32,
        DType::U64 => Kind::U64,
        DType::I2 => Kind::I2,
        DType::U2 => Kind::U2,
        DType::I4 => Kind::I4,
        DType::U4 => Kind::U4,
        DType::Bool => Kind::Bool,
        DType::String | DType::Complex64 | DType::Complex128 => {
            return Err(OpError::unsupported(format!("a conversion of {d}")));
        }
    })
}

/// Runs `op` on `inputs`; at most `env.limit` bytes are allocated for one output.
pub(crate) fn run_op(
    op: &dyn Operator,
    inputs: &[Option<Tensor>],
    wanted: &[bool],
    env: Env<'_>,
    scratch: &mut Vec<f32>,
) -> Result<Vec<Option<Tensor>>, OpError> {
    let facts: Vec<Option<Fact>> = inputs.iter().map(|t| t.clone().map(Fact::constant)).collect();
    let outs = infer(op, &facts)?;
    run_inferred(op, inputs, outs, wanted, env, scratch)
}

/// Runs `op`, whose outputs are known to be `outs`.
pub(crate) fn run_inferred(
    op: &dyn Operator,
    inputs: &[Option<Tensor>],
    outs: Vec<Fact>,
    wanted: &[bool],
    env: Env<'_>,
    scratch: &mut Vec<f32>,
) -> Result<Vec<Option<Tensor>>, OpError> {
    // A view is the input itself, strings and sequences included.
    if let (Some(from), Some(out)) = (op.view_of(), outs.first())
        && let Some(Some(t)) = inputs.get(from)
    {
        let made = match &out.shape {
            Some(shape) if t.is_tensor() => t.reshaped(shape.clone()).map_err(|e| OpError::invalid(e.to_string()))?,
            _ => t.clone(),
        };
        return Ok(vec![Some(made)]);
    }
    let narrow = op.widens() && inputs.iter().flatten().any(|t| is_narrow_float(t.dtype()));
    let mut held: Vec<Option<Tensor>> = Vec::with_capacity(inputs.len());
    for (i, t) in inputs.iter().enumerate() {
        held.push(match t {
            Some(t) if narrow && is_narrow_float(t.dtype()) => {
                let mut wide = vec![0f32; t.len()];
                widen(t.bytes(), t.dtype(), t.len(), &mut wide)?;
                Some(Tensor::from_vec(t.shape(), wide))
            }
            Some(t) if op.moves_bytes(i) => Some(t.clone()),
            Some(t) => Some(aligned(t)),
            None => None,
        });
    }
    let views: Vec<Option<Input<'_>>> = held
        .iter()
        .map(|t| t.as_ref().map(|t| Input { dtype: t.dtype(), shape: t.shape(), data: t.bytes() }))
        .collect();

    let kept: Vec<DType> = outs.iter().map(|f| f.dtype).collect();
    let mut buffers: Vec<Option<AlignedBytes>> = Vec::with_capacity(outs.len());
    let mut types: Vec<(DType, Vec<usize>)> = Vec::with_capacity(outs.len());
    for (i, f) in outs.iter().enumerate() {
        let dtype = if narrow && is_narrow_float(f.dtype) { DType::F32 } else { f.dtype };
        let shape = f.shape.clone().unwrap_or_default();
        let want = wanted.get(i).copied().unwrap_or(false);
        let bytes = match &f.shape {
            // Strings have no size: the operator hands them over.
            Some(s) if want && dtype != DType::String => {
                Some(crate::op::checked_numel(s).and_then(|n| dtype.bytes_for(n)).unwrap_or(usize::MAX))
            }
            _ => None,
        };
        if let Some(need) = bytes.filter(|&b| b > env.limit) {
            return Err(OpError::Memory { need, limit: env.limit });
        }
        buffers.push(bytes.map(AlignedBytes::new));
        types.push((dtype, shape));
    }
    let mut outputs: Vec<Output<'_>> = Vec::with_capacity(outs.len());
    for (i, (b, (dtype, shape))) in buffers.iter_mut().zip(&types).enumerate() {
        let data = match b {
            Some(b) => OutData::Placed(b.as_mut_slice()),
            None if wanted.get(i).copied().unwrap_or(false) => OutData::Own(None),
            None => OutData::Unwanted,
        };
        outputs.push(Output { dtype: *dtype, shape: shape.clone(), data });
    }
    // Unwanted tail outputs are left out, as in a plan.
    outputs.truncate(wanted.len().max(1));
    let mut cx = RunCx { inputs: &views, tensors: &held, outputs, taken: None, env, scratch };
    op.run(&mut cx)?;

    let owned: Vec<Option<Tensor>> = cx
        .outputs
        .into_iter()
        .map(|o| match o.data {
            OutData::Own(t) => t,
            _ => None,
        })
        .collect();
    let mut result = Vec::with_capacity(wanted.len());
    for (i, owned) in owned.into_iter().enumerate() {
        let made = match (owned, buffers.get_mut(i).and_then(Option::take)) {
            (Some(t), _) => Some(t),
            (None, Some(b)) => {
                let (dtype, shape) = types[i].clone();
                Some(b.into_tensor(dtype, shape).map_err(|e| OpError::invalid(e.to_string()))?)
            }
            (None, None) if wanted.get(i).copied().unwrap_or(false) => {
                return Err(OpError::invalid(format!("output {i} was not made")));
            }
            (None, None) => None,
        };
        result.push(match made {
            Some(t) if narrow && t.dtype() == DType::F32 && is_narrow_float(kept[i]) => Some(narrow_to(&t, kept[i])?),
            Some(t) if t.is_tensor() && t.dtype() != kept[i] => {
                return Err(OpError::invalid(format!("output {i} is {}, where {} was planned", t.dtype(), kept[i])));
            }
            Some(t) => Some(aligned(&t)),
            None => None,
        });
    }
    Ok(result)
}

fn narrow_to(t: &Tensor, dtype: DType) -> Result<Tensor, OpError> {
    let n = t.len();
    let mut out = vec![0u8; dtype.bytes_for(n).unwrap_or(0)];
    convert(serial(), t.dtype(), dtype, n, t.bytes(), &mut out)?;
    Tensor::new(dtype, t.shape().to_vec(), Bytes::from(out)).map_err(|e| OpError::invalid(e.to_string()))
}
