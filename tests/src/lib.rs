//! What the system tests share.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use graph::{Model, Tensor};
use studies::{Budget, Control, DeviceChoice, Fill, Profiled, Settings};

/// The CPU, and a GPU adapter: on a machine without one, software Vulkan (see README.md).
pub const DEVICES: [DeviceChoice; 2] = [DeviceChoice::Cpu, DeviceChoice::Gpu(None)];

/// A folder of recorded data.
pub fn data(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("data").join(name)
}

/// A sample model by its id.
pub fn sample(id: &str) -> anyhow::Result<Arc<Model>> {
    Ok(studies::open(&PathBuf::from(format!("sample:{id}")))?)
}

/// Settings for a run that is about results, not about time.
pub fn quick(device: DeviceChoice) -> Settings {
    Settings { device, budget: Budget::Runs(3), warmup: 1, ..Settings::default() }
}

/// The same with one input from a file.
pub fn fed(settings: Settings, input: &str, file: PathBuf) -> Settings {
    Settings { inputs: [(input.to_owned(), Fill::File(file))].into(), ..settings }
}

/// A profile that nobody watches.
pub fn profile(model: &Arc<Model>, settings: &Settings) -> anyhow::Result<Profiled> {
    let what = format!("{} on {}", model.path.display(), settings.device);
    studies::profile(model, settings, &Control::silent()).context(what)
}

/// The largest difference over the largest value of `want`. Infinite where types, shapes or NaNs differ.
pub fn relative_error(want: &Tensor, have: &Tensor) -> f64 {
    let (Ok(w), Ok(h)) = (want.elements::<f32>(), have.elements::<f32>()) else { return f64::INFINITY };
    if want.shape() != have.shape() || w.iter().chain(h.iter()).any(|v| !v.is_finite()) {
        return f64::INFINITY;
    }
    let largest = w.iter().fold(0f64, |m, &v| m.max(f64::from(v).abs()));
    let error = w.iter().zip(h.iter()).fold(0f64, |m, (&a, &b)| m.max((f64::from(a) - f64::from(b)).abs()));
    if error == 0.0 { 0.0 } else { error / largest.max(f64::from(f32::MIN_POSITIVE)) }
}

/// Fails, and names the output, unless both lists hold the same outputs within a relative error.
pub fn assert_close(what: &str, want: &[(String, Tensor)], have: &[(String, Tensor)], limit: f64) {
    let names = |list: &[(String, Tensor)]| list.iter().map(|(n, _)| n.clone()).collect::<Vec<_>>();
    assert_eq!(names(want), names(have), "{what}");
    assert!(!want.is_empty(), "{what}: there are no outputs");
    for ((name, w), (_, h)) in want.iter().zip(have) {
        let error = relative_error(w, h);
        assert!(
            error <= limit,
            "{what}: output \"{name}\" has a relative error of {error:.2e}, allowed is {limit:.0e}"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_is_relative_and_nothing_odd_passes() {
        let t = |v: &[f32]| Tensor::from_vec(&[v.len()], v.to_vec());
        assert_eq!(relative_error(&t(&[0.0, 10.0]), &t(&[1.0, 10.0])), 0.1);
        assert_eq!(relative_error(&t(&[0.0]), &t(&[0.0])), 0.0);
        assert_eq!(relative_error(&t(&[1.0]), &t(&[f32::NAN])), f64::INFINITY);
        assert_eq!(relative_error(&t(&[f32::NAN]), &t(&[f32::NAN])), f64::INFINITY);
        assert_eq!(relative_error(&t(&[1.0]), &t(&[1.0, 1.0])), f64::INFINITY);
        assert_eq!(relative_error(&t(&[1.0]), &Tensor::from_vec(&[1], vec![1i64])), f64::INFINITY);
    }
}
