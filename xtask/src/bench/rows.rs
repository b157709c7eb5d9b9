//! What is measured.

use std::path::{Path, PathBuf};

use crate::shell;

/// One row: a model at fixed sizes.
pub struct Row {
    /// What to call it.
    pub name: &'static str,
    /// Its name in `bench_models.py`, or its file in the repository.
    pub model: &'static str,
    /// Values of symbolic dimensions.
    pub dims: &'static [(&'static str, u32)],
    /// Runs per turn: about half a second of work.
    pub runs: u32,
}

const fn row(name: &'static str, model: &'static str, dims: &'static [(&'static str, u32)], runs: u32) -> Row {
    Row { name, model, dims, runs }
}

const PAST: &[(&str, u32)] = &[("batch", 1), ("seq", 1), ("past", 128), ("total", 129)];

/// Every row.
pub const ROWS: &[Row] = &[
    row("MiniLM b1 s8", "minilm", &[("batch", 1), ("seq", 8)], 150),
    row("MiniLM b1 s128", "minilm", &[("batch", 1), ("seq", 128)], 20),
    row("MiniLM b1 s512", "minilm", &[("batch", 1), ("seq", 512)], 4),
    row("MiniLM b8 s128", "minilm", &[("batch", 8), ("seq", 128)], 3),
    row("MiniLM int8 s8", "minilm_int8", &[("batch", 1), ("seq", 8)], 200),
    row("MiniLM int8 s128", "minilm_int8", &[("batch", 1), ("seq", 128)], 30),
    row("MiniLM f16 s128", "minilm_f16", &[("batch", 1), ("seq", 128)], 20),
    row("GPT-2 prefill 128", "gpt2", &[("batch", 1), ("seq", 128)], 3),
    row("GPT-2 decode, past 128", "gpt2_past", PAST, 15),
    row("ViT-tiny", "vit_tiny", &[("batch", 1)], 20),
    row("ViT-small", "vit_small", &[("batch", 1)], 6),
    row("MobileNetV2", "mobilenetv2", &[("batch", 1)], 50),
    row("ResNet-18", "resnet18", &[("batch", 1)], 15),
    row("DistilBERT s128", "distilbert", &[("batch", 1), ("seq", 128)], 5),
    row("TinyBERT-4 s128", "tinybert4", &[("batch", 1), ("seq", 128)], 40),
    row("MobileBERT s128", "mobilebert", &[("batch", 1), ("seq", 128)], 8),
    row("sample CNN", "assets/samples/digits_cnn.onnx", &[("batch", 1)], 2000),
];

impl Row {
    /// The model's file.
    pub fn path(&self, models: &Path) -> PathBuf {
        if self.in_repository() { shell::root().join(self.model) } else { models.join(format!("{}.onnx", self.model)) }
    }

    /// True if its file comes with the source.
    pub fn in_repository(&self) -> bool {
        self.model.contains('/')
    }

    /// True if torch has the same module: it runs no ONNX, and neither quantised nor half-precision forms are compared.
    pub fn in_torch(&self) -> bool {
        !self.in_repository() && !self.model.ends_with("_int8") && !self.model.ends_with("_f16")
    }
}
