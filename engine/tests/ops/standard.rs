//! Operators of signals, regions, boxes, pictures and random numbers: values, and inputs that must be refused.

use super::*;

fn d(shape: &[usize], v: &[f64]) -> Tensor {
    t(shape, v)
}

#[test]
fn boxes_are_chosen() {
    let boxes = f(&[1, 4, 4], &[0., 0., 1., 1., 0., 0.1, 1., 1.1, 5., 5., 6., 6., f32::NAN, 0., 1., 1.]);
    let scores = f(&[1, 1, 4], &[0.9, 0.75, 0.6, 0.95]);
    let nms = |most: i64, overlap: f32, least: f32| {
        let limits = vec![boxes.clone(), scores.clone(), i(&[most]), f(&[1], &[overlap]), f(&[1], &[least])];
        one("NonMaxSuppression", 11, limits)
    };
    nms(9, 0.5, 0.0).gives(&[t(&[3, 3], &[0i64, 0, 3, 0, 0, 0, 0, 0, 2])]);
    nms(1, 0.5, 0.0).gives(&[t(&[1, 3], &[0i64, 0, 3])]);
    nms(0, 0.5, 0.0).gives(&[t::<i64>(&[0, 3], &[])]);
    nms(-5, 0.5, 0.99).gives(&[t::<i64>(&[0, 3], &[])]);
    nms(9, 1.5, 0.0).fails("iou_threshold");
    nms(9, f32::NAN, 0.0).fails("iou_threshold");
    one("NonMaxSuppression", 11, vec![count(&[1, 4, 3]), scores]).fails("boxes");
}

#[test]
fn transforms() {
    let x = f(&[1, 4, 1], &[1.0, 2.0, 3.0, 4.0]);
    let y = f(&[1, 4, 2], &[10.0, 0.0, -2.0, 2.0, -2.0, 0.0, -2.0, -2.0]);
    one("DFT", 20, vec![x.clone()]).gives(std::slice::from_ref(&y));
    one("DFT", 17, vec![x.clone()]).int("axis", 1).gives(std::slice::from_ref(&y));
    one("DFT", 20, vec![x.clone()]).int("onesided", 1).gives(&[f(&[1, 3, 2], &[10.0, 0.0, -2.0, 2.0, -2.0, 0.0])]);
    let half = f(&[1, 3, 2], &[10.0, 0.0, -2.0, 2.0, -2.0, 0.0]);
    one("DFT", 20, vec![half.clone()]).int("onesided", 1).int("inverse", 1).gives(std::slice::from_ref(&x));
    let back = one("DFT", 20, vec![y]).int("inverse", 1).run().unwrap();
    assert!(
        back[0]
            .elements::<f32>()
            .unwrap()
            .iter()
            .zip([1f32, 0., 2., 0., 3., 0., 4., 0.])
            .all(|(a, b)| (a - b).abs() < 1e-6)
    );
    for length in [0i64, -1, i64::MIN] {
        one("DFT", 20, vec![x.clone(), i(&[length])]).fails("positive");
    }
    one("DFT", 20, vec![x.clone(), i(&[i64::MAX])]).fails("");
    one("DFT", 20, vec![x.clone(), i(&[4]), i(&[-1])]).fails("last dimension");
    one("DFT", 20, vec![x.clone(), i(&[4]), i(&[7])]).fails("axis");
    one("DFT", 20, vec![count(&[0, 1])]).fails("positive");
    one("DFT", 20, vec![count(&[4, 3])]).fails("real");
    one("STFT", 17, vec![x.clone(), i(&[2]), f(&[2], &[1.0, 1.0])])
        .gives(&[f(&[1, 2, 2, 2], &[3.0, 0.0, -1.0, 0.0, 7.0, 0.0, -1.0, 0.0])]);
    one("STFT", 17, vec![x.clone(), i(&[0]), f(&[2], &[1.0, 1.0])]).fails("frame_step");
    one("STFT", 17, vec![x.clone(), i(&[1]), f(&[5], &[1.0; 5])]).fails("frames of 5");
    one("STFT", 17, vec![x, i(&[1]), f(&[2], &[1.0; 2]), i(&[3])]).fails("window");
}

#[test]
fn tables_of_signals() {
    one("HannWindow", 17, vec![t(&[], &[4i64])]).gives(&[f(&[4], &[0.0, 0.5, 1.0, 0.5])]);
    one("HannWindow", 17, vec![t(&[], &[1i32])]).int("periodic", 0).gives(&[f(&[1], &[1.0])]);
    one("BlackmanWindow", 17, vec![i(&[0])]).gives(&[f(&[0], &[])]);
    one("HammingWindow", 17, vec![i(&[-3])]).fails("-3");
    one("HammingWindow", 17, vec![i(&[i64::MAX])]).fails("");
    let mel = |bins: i64, length: i64, rate: i64| {
        one("MelWeightMatrix", 17, vec![i(&[bins]), i(&[length]), i(&[rate]), f(&[1], &[0.0]), f(&[1], &[8192.0])])
    };
    assert_eq!(mel(8, 16, 16_384).run().map(|t| t[0].shape().to_vec()).unwrap_or_default(), [9, 8]);
    mel(8, 16, 0).fails("");
    mel(8, 16, 100).fails("outside");
    mel(8, 16, 8192).fails("outside");
    mel(-8, 16, 8192).fails("-8");
}

#[test]
fn regions_and_grids() {
    let x = f(&[1, 1, 2, 2], &[1.0, 2.0, 3.0, 4.0]);
    let roi = |index: i64| one("RoiAlign", 16, vec![x.clone(), f(&[1, 4], &[0., 0., 2., 2.]), i(&[index])]);
    roi(0).gives(&[f(&[1, 1, 1, 1], &[2.5])]);
    roi(1).fails("index 1");
    roi(-1).fails("index -1");
    one("MaxRoiPool", 1, vec![x.clone(), f(&[1, 5], &[0., 0., 0., 1., 1.])])
        .ints("pooled_shape", &[1, 1])
        .gives(&[f(&[1, 1, 1, 1], &[4.0])]);
    one("MaxRoiPool", 1, vec![x.clone(), f(&[1, 5], &[9., 0., 0., 1., 1.])])
        .ints("pooled_shape", &[1, 1])
        .fails("index 9");
    let grid = f(&[1, 1, 2, 2], &[-1.0, -1.0, 0.0, 0.0]);
    one("GridSample", 22, vec![x.clone(), grid.clone()])
        .int("align_corners", 1)
        .gives(&[f(&[1, 1, 1, 2], &[1.0, 2.5])]);
    one("GridSample", 22, vec![d(&[1, 1, 1, 1], &[3.0]), d(&[1, 1, 1, 2], &[0.0, 0.0])])
        .gives(&[d(&[1, 1, 1, 1], &[3.0])]);
    one("GridSample", 22, vec![x.clone(), count(&[1, 2, 2, 3])]).fails("grid");
    one("GridSample", 22, vec![count(&[1, 1, 0, 2]), grid]).fails("empty");
    let theta = f(&[1, 2, 3], &[1.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
    one("AffineGrid", 20, vec![theta.clone(), i(&[1, 1, 1, 2])])
        .int("align_corners", 1)
        .gives(&[f(&[1, 1, 2, 2], &[-1.0, 0.0, 1.0, 0.0])]);
    one("AffineGrid", 20, vec![theta, i(&[1, 1, -1, 2])]).fails("-1");
    let size = |s: &[i64]| {
        one("Resize", 19, vec![x.clone(), f(&[8], &[0., 0., 0.5, 0., 1., 1., 1.5, 1.]), f(&[0], &[]), i(s)])
    };
    let crop = |s: &[i64]| {
        size(s)
            .text("coordinate_transformation_mode", "tf_crop_and_resize")
            .text("mode", "linear")
            .float("extrapolation_value", 9.0)
    };
    crop(&[1, 1, 2, 2]).gives(&[f(&[1, 1, 2, 2], &[2.0, 3.0, 9.0, 9.0])]);
    crop(&[1, 1, -2, 2]).fails("-2");
}

#[test]
fn blocks_and_places() {
    let x = count(&[1, 4, 1]);
    one("Col2Im", 18, vec![x.clone(), i(&[2, 2]), i(&[2, 2])]).gives(&[f(&[1, 1, 2, 2], &[0., 1., 2., 3.])]);
    for (image, block) in [(i64::MAX, 2), (0, 2), (-1, 2), (2, i64::MAX), (2, 0), (3, 2)] {
        one("Col2Im", 18, vec![x.clone(), i(&[image, image]), i(&[block, block])]).fails("");
    }
    one("Col2Im", 18, vec![x, i(&[2, 2]), i(&[2, 2])]).ints("strides", &[0, 1]).fails("strides");
    let x = count(&[1, 1, 1, 2]);
    let unpool = |at: &[i64]| {
        one("MaxUnpool", 22, vec![x.clone(), t(&[1, 1, 1, 2], at)])
            .ints("kernel_shape", &[1, 2])
            .ints("strides", &[1, 2])
    };
    unpool(&[0, 3]).gives(&[f(&[1, 1, 1, 4], &[0., 0., 0., 1.])]);
    unpool(&[0, 4]).fails("index 4");
    unpool(&[0, -1]).fails("index -1");
    one("CenterCropPad", 18, vec![count(&[3, 2]), i(&[1, 4])]).gives(&[f(&[1, 4], &[0., 2., 3., 0.])]);
    one("CenterCropPad", 18, vec![count(&[3, 2]), i(&[i64::MAX, i64::MAX])]).fails("");
    one("CenterCropPad", 18, vec![count(&[3, 2]), i(&[1])]).fails("1 sizes");
    one("ReverseSequence", 10, vec![count(&[3, 2]), i(&[2, 3])]).gives(&[f(&[3, 2], &[2., 5., 0., 3., 4., 1.])]);
    one("ReverseSequence", 10, vec![count(&[3, 2]), i(&[2, 4])]).fails("length of 4");
    one("ReverseSequence", 10, vec![count(&[3, 2]), i(&[2, -1])]).fails("length of -1");
    let write = |at: i64, mode: &'static str| {
        one("TensorScatter", 24, vec![count(&[1, 3, 1]), f(&[1, 2, 1], &[7., 8.]), i(&[at])]).text("mode", mode)
    };
    write(1, "linear").gives(&[f(&[1, 3, 1], &[0., 7., 8.])]);
    write(2, "circular").gives(&[f(&[1, 3, 1], &[8., 1., 7.])]);
    write(2, "linear").fails("cache of 3");
    write(-1, "circular").fails("cache of 3");
    write(i64::MAX, "circular").gives(&[f(&[1, 3, 1], &[0., 7., 8.])]);
}

#[test]
fn determinants_gates_and_statistics() {
    one("Det", 22, vec![f(&[2, 2], &[1., 2., 3., 4.])]).gives(&[f(&[], &[-2.0])]);
    one("Det", 22, vec![f(&[2, 0, 0], &[])]).gives(&[f(&[2], &[1.0, 1.0])]);
    one("Det", 22, vec![count(&[2, 3])]).fails("square");
    one("SwiGLU", 28, vec![f(&[2], &[0., 1.]), f(&[2], &[5., 2.])])
        .gives(&[f(&[2], &[0.0, 2.0 / (1.0 + (-1f32).exp())])]);
    let norm = one(
        "BatchNormalization",
        15,
        vec![f(&[2, 1], &[1., 3.]), f(&[1], &[1.]), f(&[1], &[0.]), f(&[1], &[0.]), f(&[1], &[1.])],
    );
    norm.int("training_mode", 1).outputs(3).float("epsilon", 0.0).gives(&[
        f(&[2, 1], &[-1., 1.]),
        f(&[1], &[0.2]),
        f(&[1], &[1.0]),
    ]);
    let empty = one(
        "BatchNormalization",
        15,
        vec![f(&[0, 1], &[]), f(&[1], &[1.]), f(&[1], &[0.]), f(&[1], &[0.]), f(&[1], &[1.])],
    );
    empty.int("training_mode", 1).outputs(3).fails("empty");
}

#[test]
fn random_numbers() {
    let draw = |op: &'static str| one(op, 22, vec![]).ints("shape", &[1000]).float("seed", 3.0);
    let values = |one: One| one.run().unwrap()[0].elements::<f32>().unwrap().to_vec();
    let uniform = values(draw("RandomUniform").float("low", 2.0).float("high", 4.0));
    assert!(uniform.iter().all(|v| (2.0..=4.0).contains(v)));
    assert_eq!(uniform, values(draw("RandomUniform").float("low", 2.0).float("high", 4.0)), "a seed is a sequence");
    let normal = values(draw("RandomNormal"));
    assert!((normal.iter().sum::<f32>() / 1000.0).abs() < 0.2);
    one("RandomNormal", 22, vec![]).ints("shape", &[-1]).fails("-1");
    one("RandomNormal", 22, vec![]).ints("shape", &[i64::MAX, i64::MAX]).fails("");
    one("Bernoulli", 22, vec![f(&[3], &[0.0, 1.0, 1.0])]).gives(&[f(&[3], &[0.0, 1.0, 1.0])]);
    one("Bernoulli", 22, vec![f(&[1], &[1.5])]).fails("probability");
    one("Bernoulli", 22, vec![f(&[1], &[f32::NAN])]).fails("probability");
    one("Multinomial", 22, vec![f(&[1, 3], &[-1e9, 0.0, -1e9])]).int("sample_size", 2).gives(&[t(&[1, 2], &[1i32, 1])]);
    one("Multinomial", 22, vec![f(&[1, 1], &[f32::NAN])]).fails("probabilities");
    let drop =
        |ratio: f32| one("Dropout", 13, vec![f(&[1000], &[1.0; 1000]), f(&[], &[ratio]), bools(&[], &[1])]).outputs(2);
    let got = drop(0.75).run().unwrap();
    let (y, mask) = (got[0].elements::<f32>().unwrap().to_vec(), got[1].bytes().to_vec());
    assert!(y.iter().zip(&mask).all(|(&y, &m)| y == if m == 1 { 4.0 } else { 0.0 }));
    assert!((150..350).contains(&mask.iter().filter(|&&m| m == 1).count()));
    drop(1.0).fails("ratio");
    drop(f32::NAN).fails("ratio");
}

#[test]
fn pictures() {
    let file = b"P6 2 1 255\n\x01\x02\x03\xff\x00\x00";
    let bytes = |b: &[u8]| t(&[b.len()], b);
    one("ImageDecoder", 20, vec![bytes(file)]).gives(&[t(&[1, 2, 3], &[1u8, 2, 3, 255, 0, 0])]);
    one("ImageDecoder", 20, vec![bytes(&file[..14])]).fails("decoded");
    one("ImageDecoder", 20, vec![bytes(b"P6 2000000000 2000000000 255\n")]).fails("decoded");
    one("ImageDecoder", 20, vec![bytes(b"")]).fails("decoded");
    one("ImageDecoder", 20, vec![bytes(file)]).text("pixel_format", "CMYK").fails("CMYK");
}
