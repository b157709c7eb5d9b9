//! What is measured.

use std::path::{Path, PathBuf};

use crate::shell;

/// One row: a model at fixed sizes.
pub struct Row {
    /// What to call it.
    pub name: &'static str,
    /// The file, among the fixtures or (with a `/`) in the repository.
    file: &'static str,
    /// Values of symbolic dimensions.
    pub dims: &'static [(&'static str, u32)],
    /// Runs per turn: about half a second of work.
    pub runs: u32,
}

const fn row(name: &'static str, file: &'static str, dims: &'static [(&'static str, u32)], runs: u32) -> Row {
    Row { name, file, dims, runs }
}

/// Every row.
pub const ROWS: &[Row] = &[
    row("MiniLM s8", "minilm_ts.onnx", &[("batch", 1), ("seq", 8)], 150),
    row("MiniLM s128", "minilm_ts.onnx", &[("batch", 1), ("seq", 128)], 20),
    row("MiniLM s512", "minilm_ts.onnx", &[("batch", 1), ("seq", 512)], 5),
    row("MiniLM int8 s128", "minilm_ts_int8_dynamic.onnx", &[("batch", 1), ("seq", 128)], 30),
    row("DistilBERT s128", "distilbert_ts.onnx", &[("batch", 1), ("seq", 128)], 40),
    row("GPT-2 prefill 128", "gpt2_ts.onnx", &[("batch", 1), ("seq", 128)], 30),
    row("ViT-tiny", "vit_tiny_ts.onnx", &[("batch", 1)], 50),
    row("MobileNetV2", "mobilenetv2_ts.onnx", &[("batch", 1)], 50),
    row("ResNet-18", "resnet18_ts.onnx", &[("batch", 1)], 15),
    row("sample CNN", "assets/samples/digits_cnn.onnx", &[("batch", 1)], 2000),
];

impl Row {
    /// The model's file.
    pub fn path(&self, models: &Path) -> PathBuf {
        if self.file.contains('/') { shell::root().join(self.file) } else { models.join(self.file) }
    }
}
