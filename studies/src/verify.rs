//! Checks a model against outputs that were recorded beside it: in the layout of the ONNX backend tests (a folder with
//! `model.onnx` and `test_data_set_N/{input,output}_M.pb`), or as arrays beside one model file ([`file`]).

mod beside;

use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use engine::op::OpError;
use engine::{EngineError, Gpu, GpuSession, Plan, PlanOptions, Pool, Session};
use formats::FormatError;
use formats::tensor_file::read_pb_as;
use graph::{DType, Graph, Node, Tensor, Value};
use profiler::Recorder;

use crate::devices::cpu;
use crate::runner::open_gpu;
use crate::settings::{DeviceChoice, StudyError};

/// The most memory that a case's arena may take.
const MEMORY_LIMIT: u64 = 4 << 30;

/// What came of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every output is as recorded.
    Pass,
    /// An output differs, or a valid model did not run; why.
    Fail(String),
    /// The model has something that this program does not handle; what.
    Unsupported(String),
}

/// How far a float may be from the recorded one: `atol + rtol * |recorded|`. Integers must be equal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// Relative.
    pub rtol: f64,
    /// Absolute.
    pub atol: f64,
}

impl Default for Tolerance {
    fn default() -> Self {
        Tolerance { rtol: 1e-3, atol: 1e-5 }
    }
}

/// Runs the model in `dir` on each of its data sets. Never panics.
pub fn case(dir: &Path, device: DeviceChoice, tol: Tolerance) -> Verdict {
    guarded(|| run(dir, device, tol)).map_or_else(|verdict| verdict, |()| Verdict::Pass)
}

/// Runs the model in `file` on the inputs beside it (`NAME.inputs/INPUT.npy`). The error is that of the worst output: its largest
/// difference over its largest value in `NAME.outputs/OUTPUT.npy`; above `limit` the verdict is a failure. Never panics.
pub fn file(file: &Path, device: DeviceChoice, limit: f64) -> (Verdict, Option<f64>) {
    match guarded(|| beside::run(file, device)) {
        Ok((error, _)) if error <= limit => (Verdict::Pass, Some(error)),
        Ok((error, output)) => {
            (Verdict::Fail(format!("output \"{output}\" has a relative error of {error:.1e}")), Some(error))
        }
        Err(verdict) => (verdict, None),
    }
}

fn guarded<T>(f: impl FnOnce() -> Result<T, Verdict>) -> Result<T, Verdict> {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        Err(Verdict::Fail(format!("panicked: {}", text.unwrap_or("without a message"))))
    })
}

impl From<FormatError> for Verdict {
    fn from(e: FormatError) -> Self {
        let missing = matches!(&e, FormatError::Io { error, .. } if error.kind() == std::io::ErrorKind::NotFound);
        if e.is_unsupported() || missing { Verdict::Unsupported(e.to_string()) } else { Verdict::Fail(e.to_string()) }
    }
}

impl From<EngineError> for Verdict {
    fn from(e: EngineError) -> Self {
        match &e {
            EngineError::Unsupported(_) | EngineError::Node { why: OpError::Unsupported(_), .. } => {
                Verdict::Unsupported(e.to_string())
            }
            _ => Verdict::Fail(e.to_string()),
        }
    }
}

/// The device, opened once for all cases.
fn gpu(device: DeviceChoice) -> Result<Option<Gpu>, StudyError> {
    static OPEN: Mutex<Option<(DeviceChoice, Option<Gpu>)>> = Mutex::new(None);
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    match &*open {
        Some((d, gpu)) if *d == device => Ok(gpu.clone()),
        _ => {
            let gpu = open_gpu(device, &mut Recorder::off())?;
            *open = Some((device, gpu.clone()));
            Ok(gpu)
        }
    }
}

fn pool() -> Arc<Pool> {
    static POOL: OnceLock<Arc<Pool>> = OnceLock::new();
    POOL.get_or_init(|| Arc::new(Pool::new(cpu().cores))).clone()
}

fn run(dir: &Path, device: DeviceChoice, tol: Tolerance) -> Result<(), Verdict> {
    let model = formats::open(&dir.join("model.onnx"))?;
    let graph = &model.graph;
    let gpu = gpu(device).map_err(|e| Verdict::Fail(e.to_string()))?;
    for set in 0.. {
        let folder = dir.join(format!("test_data_set_{set}"));
        if !folder.is_dir() {
            return if set == 0 { Err(Verdict::Unsupported("there is no test_data_set_0".into())) } else { Ok(()) };
        }
        let mut inputs = HashMap::new();
        for (i, &id) in graph.inputs.iter().enumerate() {
            let v = graph.value(id);
            inputs.insert(v.name.clone(), recorded(v, &folder.join(format!("input_{i}.pb")))?);
        }
        let outputs = compute(graph, &inputs, gpu.clone())?;
        if let Some(node) = graph.nodes.iter().find(|n| draws_by_itself(n)) {
            let why = format!(
                "node \"{}\" ({}) draws random numbers without a seed that says which: it ran, and can't be compared",
                node.name, node.op_type
            );
            return Err(Verdict::Unsupported(why));
        }
        let mut compared = 0;
        for (i, (name, got)) in outputs.iter().enumerate() {
            let file = folder.join(format!("output_{i}.pb"));
            if !file.exists() {
                break;
            }
            let want = recorded(graph.value(graph.outputs[i]), &file)?;
            compare(&want, got, tol).map_err(|why| match rounded_pixels(graph, &inputs, &want, got) {
                Some(why) => Verdict::Unsupported(why),
                None => Verdict::Fail(format!("data set {set}, output {i} \"{name}\": {why}")),
            })?;
            compared += 1;
        }
        if compared == 0 {
            return Err(Verdict::Unsupported(format!("data set {set} records no outputs")));
        }
    }
    Ok(())
}

/// True if no two runs need to agree on what a node gives. The standard says of no generator what it draws, so a seed of Bernoulli or of
/// the Random family tells one engine's runs apart and no more.
fn draws_by_itself(node: &Node) -> bool {
    const DRAWING: [&str; 6] =
        ["Bernoulli", "RandomUniform", "RandomUniformLike", "RandomNormal", "RandomNormalLike", "Multinomial"];
    node.domain.is_empty() && DRAWING.contains(&node.op_type.as_str())
}

/// What a JPEG's standard leaves to its decoder: how far pixels may be from another's, after the colours are converted.
const PIXEL_LEVELS: u8 = 3;

/// Why pixels that differ may do so: they come from a JPEG file, and no further apart than roundings of two decoders.
fn rounded_pixels(graph: &Graph, inputs: &HashMap<String, Tensor>, want: &Tensor, got: &Tensor) -> Option<String> {
    let node = graph.nodes.iter().find(|n| n.domain.is_empty() && n.op_type == "ImageDecoder")?;
    let jpeg = inputs.values().any(|t| t.dtype() == DType::U8 && t.bytes().starts_with(&[0xff, 0xd8, 0xff]));
    if !jpeg || want.dtype() != DType::U8 || got.dtype() != DType::U8 || want.shape() != got.shape() {
        return None;
    }
    let apart = want.bytes().iter().zip(got.bytes()).map(|(w, g)| w.abs_diff(*g)).max()?;
    (apart <= PIXEL_LEVELS).then(|| {
        format!(
            "node \"{}\" (ImageDecoder) read a JPEG file, whose pixels the standard leaves to the decoder's rounding: it ran, they are at \
             most {apart} of 255 apart, and can't be compared exactly",
            node.name
        )
    })
}

/// The recorded value of an input or output.
fn recorded(v: &Value, file: &Path) -> Result<Tensor, Verdict> {
    let Some(ty) = &v.ty else {
        return Err(Verdict::Unsupported(format!(
            "\"{}\" is neither a tensor nor a sequence or an optional of tensors",
            v.name
        )));
    };
    Ok(read_pb_as(file, v.kind, ty.dtype)?)
}

fn compute(
    graph: &Graph,
    inputs: &HashMap<String, Tensor>,
    gpu: Option<Gpu>,
) -> Result<Vec<(String, Tensor)>, EngineError> {
    let shapes: BTreeMap<_, _> =
        inputs.iter().map(|(name, t)| (name.clone(), (t.dtype(), t.shape().to_vec()))).collect();
    let options = PlanOptions { shapes, pack: gpu.is_none(), memory_limit: MEMORY_LIMIT, ..PlanOptions::default() };
    let (pool, cancel, mut rec) = (pool(), AtomicBool::new(false), Recorder::off());
    let plan = Arc::new(Plan::new(graph, &options, &pool, &cancel)?);
    match gpu {
        None => {
            let mut session = Session::new(plan, pool);
            session.feed(inputs)?;
            session.run(&mut rec, &cancel)?;
            session.outputs()
        }
        Some(gpu) => {
            let mut session = GpuSession::new(plan, pool, gpu, &mut rec, &cancel)?;
            session.feed(inputs)?;
            session.run(&mut rec, &cancel)?;
            session.outputs()
        }
    }
}

/// Fails, in words, if `got` is not `want` within the tolerance.
fn compare(want: &Tensor, got: &Tensor, tol: Tolerance) -> Result<(), String> {
    let kind = |t: &Tensor| match (t.items(), t.is_absent()) {
        (Some(_), _) => "a sequence",
        (None, true) => "an empty optional",
        (None, false) => "a tensor",
    };
    if kind(want) != kind(got) {
        return Err(format!("{} where {} was recorded", kind(got), kind(want)));
    }
    if want.dtype() != got.dtype() || want.shape() != got.shape() {
        let (w, g) = (want.dtype(), got.dtype());
        return Err(format!("{g}{:?} where {w}{:?} was recorded", got.shape(), want.shape()));
    }
    if let (Some(want), Some(got)) = (want.items(), got.items()) {
        let item = |(i, (w, g)): (usize, (&Tensor, &Tensor))| compare(w, g, tol).map_err(|e| format!("item {i}: {e}"));
        return want.iter().zip(got).enumerate().try_for_each(item);
    }
    let rtol = if want.dtype() == DType::BF16 { tol.rtol.max(1.0 / 64.0) } else { tol.rtol };
    if let (Some(w), Some(g)) = (as_f64(want), as_f64(got)) {
        let close = |w: f64, g: f64| w == g || (w.is_nan() && g.is_nan()) || (g - w).abs() <= tol.atol + rtol * w.abs();
        return count(w.len(), |i| close(w[i], g[i]) && w[i].is_infinite() == g[i].is_infinite()).map_err(|(n, i)| {
            format!("{n} of {} differ, first at {i}: {} where {} was recorded", w.len(), g[i], w[i])
        });
    }
    if want.dtype() == DType::String {
        let (w, g) = (want.strings(), got.strings());
        return count(w.len(), |i| w[i] == g[i]).map_err(|(n, i)| format!("{n} strings differ, first at {i}"));
    }
    let (w, g) = (want.bytes(), got.bytes());
    let size = want.dtype().bits().map_or(1, |b| (b as usize / 8).max(1));
    let equal = |i: usize| {
        let (w, g) = (&w[i * size..(i + 1) * size], &g[i * size..(i + 1) * size]);
        w == g || same_code(want.dtype(), w[0], g[0])
    };
    count(w.len() / size, equal).map_err(|(n, i)| {
        format!(
            "{n} of {} differ, first at {i}: {:?} where {:?} was recorded",
            w.len() / size,
            &g[i * size..(i + 1) * size],
            &w[i * size..(i + 1) * size]
        )
    })
}

/// How many of `0..n` fail, and the first of them.
fn count(n: usize, fine: impl Fn(usize) -> bool) -> Result<(), (usize, usize)> {
    let mut bad = (0..n).filter(|&i| !fine(i));
    match bad.next() {
        None => Ok(()),
        Some(first) => Err((1 + bad.count(), first)),
    }
}

/// Different bytes of one value: bools, zeros and NaNs of 8-bit floats.
fn same_code(dtype: DType, w: u8, g: u8) -> bool {
    let nan: fn(u8) -> bool = match dtype {
        DType::Bool => return (w != 0) == (g != 0),
        DType::F8E4M3FN => |v| v & 0x7f == 0x7f,
        DType::F8E5M2 => |v| v & 0x7f > 0x7c,
        _ => return false,
    };
    (nan(w) && nan(g)) || (w & 0x7f == 0 && g & 0x7f == 0)
}

/// The elements of the wide floating-point types (complex numbers as pairs); `None` for other types.
fn as_f64(t: &Tensor) -> Option<Vec<f64>> {
    fn all<const N: usize>(b: &[u8], f: impl Fn([u8; N]) -> f64) -> Vec<f64> {
        b.as_chunks::<N>().0.iter().map(|&v| f(v)).collect()
    }
    let b = t.bytes();
    Some(match t.dtype() {
        DType::F32 | DType::Complex64 => all(b, |v| f64::from(f32::from_le_bytes(v))),
        DType::F64 | DType::Complex128 => all(b, f64::from_le_bytes),
        DType::F16 => all(b, |v| half::f16::from_le_bytes(v).to_f64()),
        DType::BF16 => all(b, |v| half::bf16::from_le_bytes(v).to_f64()),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comparison_is_of_types_shapes_and_values() {
        let tol = Tolerance { rtol: 1e-2, atol: 0.0 };
        let f = |v: &[f32]| Tensor::from_vec(&[v.len()], v.to_vec());
        assert!(compare(&f(&[1.0, f32::NAN, f32::INFINITY]), &f(&[1.005, f32::NAN, f32::INFINITY]), tol).is_ok());
        let why = compare(&f(&[1.0, 2.0, 3.0]), &f(&[1.0, 2.5, f32::NAN]), tol).unwrap_err();
        assert_eq!(why, "2 of 3 differ, first at 1: 2.5 where 2 was recorded");
        assert!(compare(&f(&[1.0]), &f(&[f32::NAN]), tol).is_err());
        assert!(compare(&f(&[f32::INFINITY]), &f(&[1.0]), tol).is_err());
        assert!(compare(&f(&[1.0]), &f(&[f32::INFINITY]), tol).is_err());
        assert!(compare(&f(&[1.0]), &Tensor::from_vec(&[1, 1], vec![1f32]), tol).is_err());
        assert!(compare(&f(&[1.0]), &Tensor::from_vec(&[1], vec![1i32]), tol).is_err());
        let i = |v: &[i64]| Tensor::from_vec(&[v.len()], v.to_vec());
        assert!(compare(&i(&[1000]), &i(&[1001]), tol).is_err());
        let two = |a, b| Tensor::sequence(DType::F32, vec![f(&[a]), f(&[b])]);
        assert!(compare(&two(1.0, 2.0), &two(1.0, 2.001), tol).is_ok());
        assert_eq!(
            compare(&two(1.0, 2.0), &two(1.0, 3.0), tol).unwrap_err(),
            "item 1: 1 of 1 differ, first at 0: 3 where 2 was recorded"
        );
        assert!(compare(&two(1.0, 2.0), &f(&[1.0, 2.0]), tol).is_err());
        assert!(compare(&Tensor::absent(DType::F32), &f(&[]), tol).is_err());
        assert!(same_code(DType::Bool, 1, 255) && !same_code(DType::Bool, 0, 1));
        assert!(same_code(DType::F8E4M3FN, 0x7f, 0xff) && !same_code(DType::F8E4M3FN, 0x7e, 0x7f));
    }

    #[test]
    fn pixels_of_a_jpeg_may_be_rounded_otherwise_and_no_more() {
        let decoder = Node {
            name: "decoder".into(),
            domain: String::new(),
            op_type: "ImageDecoder".into(),
            inputs: vec![],
            outputs: vec![],
            attrs: BTreeMap::new(),
            scope: String::new(),
            sources: vec![],
        };
        let graph = Graph { nodes: vec![decoder], ..Graph::default() };
        let pixels = |v: &[u8]| Tensor::from_vec(&[v.len()], v.to_vec());
        let verdict = |file: &[u8], got: &[u8]| {
            let inputs = HashMap::from([("file".to_owned(), pixels(file))]);
            rounded_pixels(&graph, &inputs, &pixels(&[10, 20]), &pixels(got)).is_some()
        };
        let jpeg = [0xff, 0xd8, 0xff, 0xe0];
        assert!(verdict(&jpeg, &[11, 17]));
        assert!(!verdict(&jpeg, &[14, 20]) && !verdict(&jpeg, &[11]) && !verdict(b"\x89PNG", &[11, 20]));
    }

    #[test]
    fn a_folder_without_a_model_is_no_failure_of_the_program() {
        let folder = std::env::temp_dir();
        let verdict = case(&folder.join("no such folder"), DeviceChoice::Cpu, Tolerance::default());
        assert!(matches!(verdict, Verdict::Unsupported(_)), "{verdict:?}");
    }
}
