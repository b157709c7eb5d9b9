//! Sizes for symbolic dimensions, and data for inputs.

use std::collections::{BTreeMap, HashMap};

use engine::symbol;
use graph::{DType, Dim, Graph, Model, Tensor};
use half::{bf16, f16};

use crate::samples;
use crate::settings::{Fill, Settings, StudyError};

/// A value for every symbolic dimension of the inputs: from the settings, from the sample, or a default by its name.
pub fn default_dims(model: &Model, settings: &Settings) -> BTreeMap<String, usize> {
    let mut dims = BTreeMap::new();
    let names: Vec<String> = input_symbols(&model.graph);
    let sample = samples::of(model);
    for name in names.iter().filter(|n| !n.contains('+')) {
        let from_sample = sample.and_then(|s| s.dims.iter().find(|d| d.0 == name)).map(|d| d.1);
        let value = settings.dims.get(name).copied().or(from_sample).unwrap_or_else(|| guess(name));
        dims.insert(name.clone(), value);
    }
    // Exporters name derived sizes by their sum: `past_sequence + sequence`.
    for name in names.iter().filter(|n| n.contains('+')) {
        let part = |p: &str| dims.get(p.trim()).copied().or_else(|| p.trim().parse().ok());
        let sum: Option<usize> = name.split('+').map(part).sum();
        let value = settings.dims.get(name).copied().or(sum).unwrap_or(1);
        dims.insert(name.clone(), value);
    }
    dims
}

fn input_symbols(graph: &Graph) -> Vec<String> {
    let mut names = Vec::new();
    for &id in &graph.inputs {
        let v = graph.value(id);
        let dims = v.ty.iter().flat_map(|t| t.shape.iter().flatten()).enumerate();
        for name in dims.filter_map(|(axis, d)| symbol(&v.name, axis, d)) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    names
}

fn guess(name: &str) -> usize {
    let n = name.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|w| n.contains(w));
    if has(&["batch"]) {
        1
    } else if has(&["seq", "len", "token", "time", "past", "ctx", "context"]) {
        128
    } else if has(&["height", "width"]) {
        224
    } else if has(&["channel"]) {
        3
    } else {
        1
    }
}

/// Inputs that the settings fill from files, by name.
pub(crate) fn from_files(settings: &Settings) -> Result<HashMap<String, Tensor>, StudyError> {
    settings
        .inputs
        .iter()
        .filter_map(|(name, fill)| match fill {
            Fill::File(path) => Some((name, path)),
            _ => None,
        })
        .map(|(name, path)| {
            let read = if path.extension().is_some_and(|e| e == "pb") {
                formats::tensor_file::read_pb
            } else {
                formats::tensor_file::read_npy
            };
            Ok((name.clone(), read(path)?))
        })
        .collect()
}

/// A tensor for every input, of the shapes that `dims` give, filled as the settings say.
pub fn make_inputs(
    model: &Model,
    settings: &Settings,
    dims: &BTreeMap<String, usize>,
) -> Result<HashMap<String, Tensor>, StudyError> {
    let graph = &model.graph;
    let mut made = from_files(settings)?;
    if let Some(unknown) = settings.inputs.keys().find(|k| !graph.inputs.iter().any(|i| graph.value(*i).name == **k)) {
        let names: Vec<&str> = graph.inputs.iter().map(|i| graph.value(*i).name.as_str()).collect();
        return Err(StudyError::Settings(format!("the model has no input \"{unknown}\"; it has {}", names.join(", "))));
    }
    let mut rng = Rng(settings.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    for &id in &graph.inputs {
        let v = graph.value(id);
        if made.contains_key(&v.name) {
            continue;
        }
        let Some(ty) = &v.ty else {
            return Err(StudyError::Settings(format!("input \"{}\" has no tensor type", v.name)));
        };
        let Some(shape) = &ty.shape else {
            let why = format!("the rank of input \"{}\" is unknown: give its value with --input", v.name);
            return Err(StudyError::Settings(why));
        };
        let size = |(axis, d): (usize, &Dim)| match symbol(&v.name, axis, d) {
            None => Ok(d.known().unwrap_or(0)),
            Some(name) => dims.get(&name).copied().ok_or_else(|| {
                StudyError::Settings(format!(
                    "dimension \"{name}\" of input \"{}\" has no value: --dim {name}=N",
                    v.name
                ))
            }),
        };
        let shape: Vec<usize> = shape.iter().enumerate().map(size).collect::<Result<_, _>>()?;
        let n = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).filter(|&n| n <= 1 << 32);
        let Some(n) = n else {
            return Err(StudyError::Settings(format!("input \"{}\" of {shape:?} is too large", v.name)));
        };
        let fill = settings.inputs.get(&v.name).unwrap_or(&Fill::Random);
        let t = filled(&v.name, ty.dtype, &shape, n, fill, limit(graph, id), &mut rng)?;
        made.insert(v.name.clone(), t);
    }
    Ok(made)
}

/// How an input is filled, in words.
pub(crate) fn in_words(fill: Option<&Fill>, name: &str, dtype: DType, limit: Option<usize>) -> String {
    match fill {
        Some(Fill::Constant(v)) => format!("{v} everywhere"),
        Some(Fill::File(p)) => p.display().to_string(),
        Some(Fill::Random) | None => match (dtype, limit) {
            (d, _) if d.is_float() => "normal noise".into(),
            (DType::Bool, _) => "true".into(),
            _ if is_mask(name) => "ones".into(),
            (_, Some(limit)) => format!("ids below {limit}"),
            _ => "zeros".into(),
        },
    }
}

fn is_mask(name: &str) -> bool {
    name.to_lowercase().contains("mask")
}

/// The number of rows of the table that an integer input looks up, if it goes straight into a Gather.
pub(crate) fn limit(graph: &Graph, input: graph::ValueId) -> Option<usize> {
    let mut seen = vec![input];
    let mut at = 0;
    let mut least: Option<usize> = None;
    while at < seen.len() && seen.len() < 64 {
        let v = seen[at];
        at += 1;
        for n in graph.nodes.iter().filter(|n| n.inputs.contains(&Some(v))) {
            match n.op_type.as_str() {
                "Gather" if n.inputs.get(1) == Some(&Some(v)) => {
                    let table = n.inputs[0].and_then(|t| graph.value(t).constant.as_ref());
                    if let Some(rows) = table.filter(|t| t.shape().len() == 2).map(|t| t.shape()[0]) {
                        least = Some(least.map_or(rows, |l| l.min(rows)));
                    }
                }
                "Cast" | "Reshape" | "Identity" | "Squeeze" | "Unsqueeze" | "Flatten" => {
                    seen.extend(n.outputs.iter().flatten().filter(|o| !seen.contains(o)).copied().collect::<Vec<_>>());
                }
                _ => {}
            }
        }
    }
    least
}

fn filled(
    name: &str,
    dtype: DType,
    shape: &[usize],
    n: usize,
    fill: &Fill,
    limit: Option<usize>,
    rng: &mut Rng,
) -> Result<Tensor, StudyError> {
    let constant = match fill {
        Fill::Constant(v) => Some(*v),
        _ => None,
    };
    let float = |rng: &mut Rng| constant.unwrap_or_else(|| rng.normal());
    let int = |rng: &mut Rng| match (constant, limit) {
        (Some(v), _) => v as i64,
        (None, _) if is_mask(name) => 1,
        (None, Some(limit)) => (rng.next() % limit.max(1) as u64) as i64,
        (None, None) => 0,
    };
    Ok(match dtype {
        DType::F32 => Tensor::from_vec(shape, (0..n).map(|_| float(rng) as f32).collect()),
        DType::F64 => Tensor::from_vec(shape, (0..n).map(|_| float(rng)).collect()),
        DType::F16 => Tensor::from_vec(shape, (0..n).map(|_| f16::from_f64(float(rng))).collect()),
        DType::BF16 => Tensor::from_vec(shape, (0..n).map(|_| bf16::from_f64(float(rng))).collect()),
        DType::I64 => Tensor::from_vec(shape, (0..n).map(|_| int(rng)).collect()),
        DType::I32 => Tensor::from_vec(shape, (0..n).map(|_| int(rng) as i32).collect()),
        DType::I16 => Tensor::from_vec(shape, (0..n).map(|_| int(rng) as i16).collect()),
        DType::I8 => Tensor::from_vec(shape, (0..n).map(|_| int(rng) as i8).collect()),
        DType::U8 => Tensor::from_vec(shape, (0..n).map(|_| int(rng) as u8).collect()),
        DType::U16 => Tensor::from_vec(shape, (0..n).map(|_| int(rng) as u16).collect()),
        DType::U32 => Tensor::from_vec(shape, (0..n).map(|_| int(rng) as u32).collect()),
        DType::U64 => Tensor::from_vec(shape, (0..n).map(|_| int(rng) as u64).collect()),
        DType::Bool => {
            let bit = u8::from(constant.unwrap_or(1.0) != 0.0);
            Tensor::new(DType::Bool, shape.to_vec(), vec![bit; n].into())
                .map_err(|e| StudyError::Settings(format!("input \"{name}\": {e}")))?
        }
        other => {
            let why = format!("input \"{name}\" of {other} can't be filled: give its value with --input");
            return Err(StudyError::Settings(why));
        }
    })
}

/// xorshift64*, enough for test data.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11
    }

    /// Box and Muller's normal noise.
    fn normal(&mut self) -> f64 {
        let unit = |r: u64| (r as f64 + 1.0) / (1u64 << 53) as f64;
        let (a, b) = (unit(self.next()), unit(self.next()));
        (-2.0 * a.min(1.0).ln()).sqrt() * (std::f64::consts::TAU * b).cos()
    }
}
