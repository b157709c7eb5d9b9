//! The sample models that come with the program, embedded.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use graph::Model;
use serde::Deserialize;

use crate::settings::StudyError;

/// A sample model.
#[derive(Debug)]
pub struct Sample {
    /// `digits_vit`; the sample's path is `sample:digits_vit`.
    pub id: &'static str,
    /// A few words.
    pub title: &'static str,
    /// A sentence: what it shows.
    pub about: &'static str,
    /// The file's size.
    pub bytes: u64,
    /// Good values for its symbolic dimensions.
    pub dims: Vec<(&'static str, usize)>,
    /// Its evaluation data.
    pub evaluation: Evaluation,
    model: &'static [u8],
}

/// How a sample is scored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evaluation {
    /// Images and labels: the share of images whose largest logit is the label's.
    Classification {
        /// `.npy`, f32.
        images: &'static [u8],
        /// `.npy`, i64.
        labels: &'static [u8],
        /// The model's input.
        input: &'static str,
    },
    /// Text: perplexity of the next character.
    Language {
        /// UTF-8.
        text: &'static str,
        /// The characters by id.
        vocabulary: &'static [char],
        /// Characters per window.
        context: usize,
        /// The model's input.
        input: &'static str,
    },
}

macro_rules! asset {
    ($name:literal) => {
        include_bytes!(concat!("../../assets/samples/", $name))
    };
}

/// What of `samples.json` the program reads.
#[derive(Deserialize)]
struct Entry {
    id: String,
    title: String,
    shows: String,
    dims: std::collections::BTreeMap<String, usize>,
    evaluation: Scored,
}

#[derive(Deserialize)]
struct Scored {
    input: String,
    context: Option<usize>,
}

/// Strings of the embedded list live as long as the program.
fn keep(s: String) -> &'static str {
    Box::leak(s.into_boxed_str())
}

/// Every sample, in the order of the menu.
pub fn all() -> &'static [Sample] {
    static ALL: OnceLock<Vec<Sample>> = OnceLock::new();
    ALL.get_or_init(|| {
        let entries: Vec<Entry> =
            serde_json::from_slice(asset!("samples.json")).expect("samples.json is embedded and tested");
        entries.into_iter().filter_map(sample).collect()
    })
}

fn sample(e: Entry) -> Option<Sample> {
    let input = keep(e.evaluation.input);
    let digits = Evaluation::Classification {
        images: asset!("digits.eval.images.npy"),
        labels: asset!("digits.eval.labels.npy"),
        input,
    };
    let (model, evaluation): (&[u8], Evaluation) = match e.id.as_str() {
        "digits_vit" => (asset!("digits_vit.onnx"), digits),
        "digits_cnn" => (asset!("digits_cnn.onnx"), digits),
        "char_gpt" => {
            let list: Vec<String> = serde_json::from_slice(asset!("char_gpt.vocab.json")).ok()?;
            let vocabulary: Vec<char> = list.iter().filter_map(|s| s.chars().next()).collect();
            let evaluation = Evaluation::Language {
                text: include_str!("../../assets/samples/char_gpt.eval.txt"),
                vocabulary: Box::leak(vocabulary.into_boxed_slice()),
                context: e.evaluation.context?,
                input,
            };
            (asset!("char_gpt.onnx"), evaluation)
        }
        _ => return None,
    };
    Some(Sample {
        id: keep(e.id),
        title: keep(e.title),
        about: keep(e.shows),
        bytes: model.len() as u64,
        dims: e.dims.into_iter().map(|(k, v)| (keep(k), v)).collect(),
        evaluation,
        model,
    })
}

/// A sample by its id.
pub fn find(id: &str) -> Option<&'static Sample> {
    all().iter().find(|s| s.id == id)
}

/// The sample that a model was opened from.
pub fn of(model: &Model) -> Option<&'static Sample> {
    find(model.path.to_str()?.strip_prefix("sample:")?)
}

impl Sample {
    /// Its file's content.
    pub(crate) fn file(&self) -> &'static [u8] {
        self.model
    }

    /// Opens it.
    pub fn open(&self) -> Result<Arc<Model>, StudyError> {
        let mut model = formats::from_bytes(&format!("{}.onnx", self.id), Bytes::from_static(self.model))?;
        model.path = PathBuf::from(format!("sample:{}", self.id));
        model.file_bytes = self.bytes;
        Ok(Arc::new(model))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sample_opens_and_its_dimensions_are_its_own() {
        assert_eq!(all().len(), 3);
        for s in all() {
            let model = s.open().unwrap();
            let symbols = model.graph.symbols();
            assert!(s.dims.iter().all(|(d, _)| symbols.iter().any(|n| n == d)), "{}: {symbols:?}", s.id);
            assert_eq!(of(&model).unwrap().id, s.id);
        }
    }
}
