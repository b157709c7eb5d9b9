//! The samples against outputs that were recorded from ONNX Runtime: `tests/data/record.py` made them.

use formats::tensor_file::read_npy;
use graph::Tensor;
use studies::{DeviceChoice, Precision, Settings};
use system_tests::{DEVICES, assert_close, data, fed, profile, quick, relative_error, sample};

/// Runs a sample on its recorded input, and gives back the recorded outputs and those that came out.
#[allow(clippy::type_complexity, reason = "a pair of lists of named tensors")]
fn recorded(id: &str, settings: Settings) -> (Vec<(String, Tensor)>, Vec<(String, Tensor)>) {
    let model = sample(id).unwrap();
    let input = model.graph.value(model.graph.inputs[0]).name.clone();
    let settings = fed(settings, &input, data(&format!("{id}.{input}.npy")));
    let have = profile(&model, &settings).unwrap().outputs;
    let want =
        have.iter().map(|(name, _)| (name.clone(), read_npy(&data(&format!("{id}.{name}.npy"))).unwrap())).collect();
    (want, have)
}

#[test]
fn samples_compute_what_onnx_runtime_computes() {
    for s in studies::samples::all() {
        for device in DEVICES {
            for fusion in [true, false] {
                let (want, have) = recorded(s.id, Settings { fusion, ..quick(device) });
                assert_close(&format!("{} on {device}, fusion {fusion}", s.id), &want, &have, 1e-4);
            }
        }
    }
}

/// Reduced precisions are close to the recorded outputs, yet not equal: else they would not be reduced.
#[test]
fn reduced_precisions_come_near() {
    for (precision, least, most) in [
        (Precision::F16, 1e-7, 1e-2),
        (Precision::Bf16, 1e-5, 5e-2),
        (Precision::Int8, 1e-5, 0.1),
        (Precision::Int4, 1e-3, 0.7),
    ] {
        for s in studies::samples::all() {
            let (want, have) = recorded(s.id, Settings { precision, ..quick(DeviceChoice::Cpu) });
            let error = relative_error(&want[0].1, &have[0].1);
            assert!((least..most).contains(&error), "{} in {precision}: {error:.2e}", s.id);
        }
    }
}
