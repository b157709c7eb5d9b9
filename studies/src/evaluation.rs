//! A sample's score on its held-out data.

use std::collections::HashMap;

use bytes::Bytes;
use graph::{Model, Tensor};
use profiler::TaskAccuracy;
use profiler::accuracy::{Mean, Paired, Z_95, argmax, nll_nats, perplexity};

use crate::runner::{Runner, Wanted};
use crate::samples::{self, Evaluation};
use crate::settings::{Control, Settings, StudyError};

/// Examples that are run at once.
const BATCH: usize = 8;

/// What came out, example by example, so that two precisions can be compared pair by pair.
#[derive(Clone, Debug)]
pub(crate) enum Score {
    /// Whether each image was named right.
    Right(Vec<bool>),
    /// The negative log-likelihood of each next character, in nats.
    Nlls(Vec<f64>),
}

/// The inputs of the evaluation data in batches, with what is right for each row of logits.
pub(crate) struct Data {
    input: &'static str,
    batches: Vec<Tensor>,
    wanted: Vec<usize>,
    language: bool,
}

fn bad(why: impl std::fmt::Display) -> StudyError {
    StudyError::Settings(format!("the sample's evaluation data can't be read: {why}"))
}

fn npy(bytes: &'static [u8]) -> Result<Tensor, StudyError> {
    Ok(formats::tensor_file::npy_from_bytes("evaluation data", Bytes::from_static(bytes))?)
}

/// The evaluation data of a sample; `None` for other models.
pub(crate) fn data(model: &Model) -> Result<Option<Data>, StudyError> {
    let Some(sample) = samples::of(model) else { return Ok(None) };
    Ok(Some(match sample.evaluation {
        Evaluation::Classification { images, labels, input } => {
            let images = npy(images)?;
            let labels = npy(labels)?.to_i64().ok_or_else(|| bad("labels are no integers"))?;
            let pixels = images.elements::<f32>().map_err(bad)?;
            let per = pixels.len().checked_div(labels.len()).unwrap_or(0);
            let batches = pixels
                .chunks(per * BATCH)
                .map(|c| {
                    let mut shape = images.shape().to_vec();
                    shape[0] = c.len() / per;
                    Tensor::from_vec(&shape, c.to_vec())
                })
                .collect();
            Data { input, batches, wanted: labels.iter().map(|&l| l as usize).collect(), language: false }
        }
        Evaluation::Language { text, vocabulary, context, input } => {
            let id = |c: char| vocabulary.iter().position(|&v| v == c).ok_or_else(|| bad(format!("no id for {c:?}")));
            let ids: Vec<usize> = text.chars().map(id).collect::<Result<_, _>>()?;
            let windows = ids.len().saturating_sub(1) / context;
            let mut batches = Vec::new();
            for group in (0..windows).collect::<Vec<_>>().chunks(BATCH) {
                let tokens = group.iter().flat_map(|w| &ids[w * context..(w + 1) * context]).map(|&i| i as i64);
                batches.push(Tensor::from_vec(&[group.len(), context], tokens.collect()));
            }
            Data { input, batches, wanted: ids[1..=windows * context].to_vec(), language: true }
        }
    }))
}

impl Data {
    /// The first batch: good inputs for measuring the error of layers.
    pub fn example(&self) -> HashMap<String, Tensor> {
        self.batches.first().map(|t| (self.input.to_owned(), t.clone())).into_iter().collect()
    }
}

/// Runs the model over all of the data.
pub(crate) fn score(
    model: &Model,
    settings: &Settings,
    data: &Data,
    control: &Control,
    stage: &str,
) -> Result<Score, StudyError> {
    let mut off = profiler::Recorder::off();
    let mut runner: Option<(Vec<usize>, Runner)> = None;
    let (mut right, mut nlls) = (Vec::new(), Vec::new());
    let mut at = 0;
    for (i, batch) in data.batches.iter().enumerate() {
        control.step(stage, Some(i as f32 / data.batches.len() as f32), None)?;
        let inputs = HashMap::from([(data.input.to_owned(), batch.clone())]);
        if runner.as_ref().is_none_or(|r| r.0 != batch.shape()) {
            let wanted = Wanted { shapes: crate::latency::shapes_of(&inputs), ..Wanted::default() };
            let dims = Default::default();
            runner = Some((batch.shape().to_vec(), Runner::new(model, settings, &dims, wanted, &mut off, control)?));
        }
        let Some((_, run)) = &mut runner else { continue };
        run.feed(&inputs)?;
        run.run(&mut off, control)?;
        let outputs = run.outputs()?;
        let logits = outputs.first().ok_or_else(|| bad("the model has no output"))?.1.clone();
        let width = logits.shape().last().copied().unwrap_or(1).max(1);
        let values = logits.elements::<f32>().map_err(bad)?;
        for row in values.chunks_exact(width) {
            let want = *data.wanted.get(at).ok_or_else(|| bad("more rows than labels"))?;
            if data.language {
                nlls.push(nll_nats(row, want).unwrap_or(f64::NAN));
            } else {
                right.push(argmax(row) == Some(want));
            }
            at += 1;
        }
    }
    Ok(if data.language { Score::Nlls(nlls) } else { Score::Right(right) })
}

/// Compares a precision with the reference on the same data.
pub(crate) fn compare(reference: &Score, other: &Score) -> Option<TaskAccuracy> {
    match (reference, other) {
        (Score::Right(a), Score::Right(b)) => {
            let mut pairs = Paired::default();
            a.iter().zip(b).for_each(|(a, b)| pairs.add(*a, *b));
            let share = |v: &[bool]| v.iter().filter(|r| **r).count() as f64 / v.len().max(1) as f64;
            Some(TaskAccuracy {
                metric: "top-1 accuracy".into(),
                reference: share(a),
                value: share(b),
                count: a.len() as u64,
                higher_is_better: true,
                difference_interval: pairs.difference_interval(Z_95),
            })
        }
        (Score::Nlls(a), Score::Nlls(b)) => {
            let (reference, value) = (perplexity(a)?, perplexity(b)?);
            // The interval of the mean difference in nats, carried over to the perplexity around the reference's.
            let d: Vec<f64> = a.iter().zip(b).map(|(a, b)| b - a).collect();
            let Mean { mean, standard_error, .. } = Mean::of(&d)?;
            let half = Z_95 * standard_error;
            let ppl = |nats: f64| reference * (nats.exp() - 1.0);
            Some(TaskAccuracy {
                metric: "perplexity".into(),
                reference,
                value,
                count: a.len() as u64,
                higher_is_better: false,
                difference_interval: Some((ppl(mean - half), ppl(mean + half))),
            })
        }
        _ => None,
    }
}
