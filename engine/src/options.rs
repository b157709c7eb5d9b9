//! What a plan is made for.

use std::collections::BTreeMap;

use graph::{DType, Dim, Graph, ValueKind};

use crate::error::EngineError;
use crate::op::Fact;
use crate::precision::Precision;

/// What a plan is made for.
#[derive(Clone, Debug)]
pub struct PlanOptions {
    /// Values for the symbolic dimensions of the inputs; each must be there.
    pub dims: BTreeMap<String, usize>,
    /// Types and shapes of inputs that are known otherwise (from the data to be fed), by name. They go before `dims`.
    pub shapes: BTreeMap<String, (DType, Vec<usize>)>,
    /// Run the fusion passes.
    pub fusion: bool,
    /// The weights' precision.
    pub precision: Precision,
    /// Pack weights into the CPU kernels' own layouts; off for plans that a GPU runs.
    pub pack: bool,
    /// Leave every layer where taps can see it: no step runs in place.
    pub keep_all: bool,
    /// The most bytes that the arena, or one output whose size depends on data, may take.
    pub memory_limit: u64,
}

impl Default for PlanOptions {
    fn default() -> Self {
        PlanOptions {
            dims: BTreeMap::new(),
            shapes: BTreeMap::new(),
            fusion: true,
            precision: Precision::F32,
            pack: true,
            keep_all: false,
            memory_limit: 16 << 30,
        }
    }
}

/// The name under which a dimension is bound: its own, or `input.axis` if the file leaves it unnamed.
pub fn symbol(input: &str, axis: usize, dim: &Dim) -> Option<String> {
    match dim {
        Dim::Known(_) => None,
        Dim::Symbol(s) => Some(s.to_string()),
        Dim::Unknown => Some(format!("{input}.{axis}")),
    }
}

/// The facts of the graph's inputs under the options.
pub(crate) fn input_facts(graph: &Graph, options: &PlanOptions) -> Result<Vec<Fact>, EngineError> {
    graph
        .inputs
        .iter()
        .map(|&id| {
            let v = graph.value(id);
            if let (true, Some(ty)) = (v.kind != ValueKind::Tensor, &v.ty) {
                return Ok(Fact::dynamic(ty.dtype));
            }
            if let Some((dtype, shape)) = options.shapes.get(&v.name) {
                if let Some(t) = &v.ty
                    && t.dtype != *dtype
                {
                    return Err(EngineError::Input(format!("input \"{}\" must be {}, it is {dtype}", v.name, t.dtype)));
                }
                return Ok(Fact::new(*dtype, shape.clone()));
            }
            let ty =
                v.ty.as_ref().ok_or_else(|| EngineError::Input(format!("input \"{}\" has no tensor type", v.name)))?;
            let dims = ty.shape.as_ref().ok_or_else(|| {
                EngineError::Input(format!("the rank of input \"{}\" is unknown: give its value with --input", v.name))
            })?;
            let shape = dims
                .iter()
                .enumerate()
                .map(|(axis, d)| match symbol(&v.name, axis, d) {
                    None => Ok(d.known().unwrap_or(0)),
                    Some(name) => options.dims.get(&name).copied().ok_or_else(|| {
                        EngineError::Input(format!(
                            "dimension \"{name}\" of input \"{}\" has no value: --dim {name}=N",
                            v.name
                        ))
                    }),
                })
                .collect::<Result<Vec<_>, _>>()?;
            Ok(Fact::new(ty.dtype, shape))
        })
        .collect()
}
