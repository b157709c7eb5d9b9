//! A model against the arrays beside it: `NAME.onnx`, `NAME.inputs/INPUT.npy` and `NAME.outputs/OUTPUT.npy`, as `cargo xtask fixtures`
//! makes them. Real models add up thousands of roundings: an output is judged as a whole, not by element.

use std::collections::HashMap;
use std::path::Path;

use formats::tensor_file::read_npy;
use graph::Tensor;

use super::{Verdict, as_f64, compute, gpu};
use crate::settings::DeviceChoice;

/// The relative error of the worst output of the model in `file`, and that output's name.
pub(super) fn run(file: &Path, device: DeviceChoice) -> Result<(f64, String), Verdict> {
    let model = formats::open(file)?;
    let read =
        |kind: &str, name: &str| Ok::<_, Verdict>(read_npy(&file.with_extension(kind).join(format!("{name}.npy")))?);
    let mut inputs = HashMap::new();
    for &id in &model.graph.inputs {
        let name = &model.graph.value(id).name;
        inputs.insert(name.clone(), read("inputs", name)?);
    }
    let gpu = gpu(device).map_err(|e| Verdict::Fail(e.to_string()))?;
    let mut worst: Option<(f64, String)> = None;
    for (name, got) in compute(&model.graph, &inputs, gpu)? {
        let want = read("outputs", &name)?;
        let error = relative_error(&want, &got).map_err(|why| Verdict::Fail(format!("output \"{name}\": {why}")))?;
        if worst.as_ref().is_none_or(|w| error > w.0) {
            worst = Some((error, name));
        }
    }
    worst.ok_or_else(|| Verdict::Unsupported("the model has no outputs".into()))
}

/// The largest difference over the largest recorded value.
fn relative_error(want: &Tensor, got: &Tensor) -> Result<f64, String> {
    let kind = |t: &Tensor| format!("{}{:?}", t.dtype(), t.shape());
    if kind(want) != kind(got) {
        return Err(format!("{} where {} was recorded", kind(got), kind(want)));
    }
    let (Some(w), Some(g)) = (as_f64(want), as_f64(got)) else {
        return if want == got { Ok(0.0) } else { Err("not the values that were recorded".into()) };
    };
    // Recorded infinities (masks) are what they are; a NaN is never right.
    if let Some(i) = (0..w.len()).find(|&i| w[i] != g[i] && !(w[i].is_finite() && g[i].is_finite())) {
        return Err(format!("{} at {i} where {} was recorded", g[i], w[i]));
    }
    let largest = w.iter().filter(|w| w.is_finite()).fold(0f64, |m, w| m.max(w.abs()));
    let difference = w.iter().zip(&g).filter(|(w, g)| w != g).fold(0f64, |m, (w, g)| m.max((w - g).abs()));
    Ok(if difference == 0.0 { 0.0 } else { difference / largest })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_is_judged_as_a_whole() {
        let f = |v: &[f32]| Tensor::from_vec(&[v.len()], v.to_vec());
        let (nan, inf) = (f32::NAN, f32::INFINITY);
        for (want, got, error) in [
            (&[0.0, 4.0][..], &[0.5, 4.0][..], Some(0.125)),
            (&[0.0, 0.0], &[0.0, 0.0], Some(0.0)),
            (&[0.0], &[1.0], Some(f64::INFINITY)),
            (&[-inf, 2.0], &[-inf, 1.0], Some(0.5)),
            (&[], &[], Some(0.0)),
            (&[1.0], &[nan], None),
            (&[nan], &[nan], None),
            (&[1.0], &[inf], None),
            (&[inf], &[1.0], None),
            (&[1.0], &[1.0, 1.0], None),
        ] {
            assert_eq!(relative_error(&f(want), &f(got)).ok(), error, "{want:?} {got:?}");
        }
        let i = |v: i64| Tensor::scalar(v);
        assert_eq!(relative_error(&i(3), &i(3)), Ok(0.0));
        assert!(relative_error(&i(3), &i(4)).is_err());
    }
}
