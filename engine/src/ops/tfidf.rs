//! TfIdfVectorizer: counts of the n-grams that a pool lists, weighted.

use std::collections::HashMap;

use bytes::Bytes;
use graph::{Attr, DType};

use crate::attrs::Attrs;
use crate::op::{Fact, Inputs, NEWEST, OpClass, OpDef, OpError, Operator, RunCx};

/// TfIdfVectorizer.
pub(crate) const OPS: &[OpDef] = &[OpDef { domain: "", name: "TfIdfVectorizer", opsets: (9, NEWEST), read }];

#[derive(Debug)]
enum Tokens {
    Ints(HashMap<i64, u32>),
    Texts(HashMap<Bytes, u32>),
}

#[derive(Debug)]
struct TfIdf {
    /// Tokens of the pool, numbered.
    tokens: Tokens,
    /// The place in the pool of each n-gram, by its tokens' numbers.
    grams: HashMap<Vec<u32>, usize>,
    /// The column of each n-gram.
    columns: Vec<usize>,
    weights: Option<Vec<f32>>,
    /// IDF: a count above one is one.
    capped: bool,
    lengths: (usize, usize),
    most_skips: usize,
    width: usize,
}

fn numbered<K: std::hash::Hash + Eq + Clone>(pool: &[K]) -> (HashMap<K, u32>, Vec<u32>) {
    let mut numbers = HashMap::new();
    let mut ids = Vec::with_capacity(pool.len());
    for k in pool {
        let next = numbers.len() as u32;
        ids.push(*numbers.entry(k.clone()).or_insert(next));
    }
    (numbers, ids)
}

fn read(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    let (tokens, pool) = match (a.ints("pool_int64s")?, a.get("pool_strings")) {
        (Some(pool), None) => {
            let (numbers, ids) = numbered(pool);
            (Tokens::Ints(numbers), ids)
        }
        (None, Some(Attr::Strings(pool))) => {
            let (numbers, ids) = numbered(pool);
            (Tokens::Texts(numbers), ids)
        }
        _ => return Err(OpError::invalid("one of pool_int64s and pool_strings must be given")),
    };
    let size = |name: &str| -> Result<usize, OpError> {
        let v = a.need_int(name)?;
        usize::try_from(v).map_err(|_| OpError::invalid(format!("{name} is {v}")))
    };
    let (shortest, longest) = (size("min_gram_length")?, size("max_gram_length")?);
    let most_skips = size("max_skip_count")?;
    if shortest == 0 || longest < shortest {
        return Err(OpError::invalid(format!("n-grams of {shortest} to {longest}")));
    }
    let unsigned = |name: &str| -> Result<Vec<usize>, OpError> {
        let list = a.ints(name)?.ok_or_else(|| OpError::invalid(format!("attribute {name} is missing")))?;
        let list = list.iter().map(|&v| usize::try_from(v)).collect::<Result<_, _>>();
        list.map_err(|_| OpError::invalid(format!("attribute {name} is negative")))
    };
    let (starts, columns) = (unsigned("ngram_counts")?, unsigned("ngram_indexes")?);
    let mut grams = HashMap::new();
    let mut place = 0;
    for (k, &start) in starts.iter().enumerate() {
        let end = starts.get(k + 1).copied().unwrap_or(pool.len());
        let part = pool.get(start..end).ok_or_else(|| OpError::invalid(format!("ngram_counts {starts:?}")))?;
        for gram in part.chunks_exact(k + 1) {
            grams.insert(gram.to_vec(), place);
            place += 1;
        }
    }
    let width = columns.iter().max().and_then(|m| m.checked_add(1));
    let width = width.ok_or_else(|| OpError::invalid("attribute ngram_indexes is empty"))?;
    let weights = a.floats("weights")?.filter(|w| !w.is_empty()).map(<[f32]>::to_vec);
    if columns.len() != place || weights.as_ref().is_some_and(|w| w.len() != place) {
        let why = format!("{place} n-grams in the pool, {} ngram_indexes", columns.len());
        return Err(OpError::invalid(why));
    }
    let (capped, weights) = match a.string("mode")? {
        Some("TF") => (false, None),
        Some("IDF") => (true, weights),
        Some("TFIDF") => (false, weights),
        other => return Err(OpError::invalid(format!("mode {}", other.unwrap_or("is missing")))),
    };
    Ok(Box::new(TfIdf { tokens, grams, columns, weights, capped, lengths: (shortest, longest), most_skips, width }))
}

impl TfIdf {
    /// How often each n-gram of the pool is in a row.
    fn counts(&self, row: &[Option<u32>]) -> HashMap<usize, usize> {
        let mut counts = HashMap::new();
        let longest = self.lengths.1.min(row.len());
        for n in self.lengths.0..=longest {
            // One token has nothing to skip within it.
            let skips = if n == 1 { 0 } else { self.most_skips };
            for step in 1..=skips.saturating_add(1).min(row.len()) {
                let Some(starts) = row.len().checked_sub((n - 1).saturating_mul(step)) else { break };
                for start in 0..starts {
                    let gram: Option<Vec<u32>> = row[start..].iter().step_by(step).take(n).copied().collect();
                    if let Some(&place) = gram.and_then(|g| self.grams.get(&g)) {
                        *counts.entry(place).or_insert(0) += 1;
                    }
                }
            }
        }
        counts
    }
}

impl Operator for TfIdf {
    fn class(&self) -> OpClass {
        OpClass::Other
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        let x = inputs.need(0)?;
        let fits = match self.tokens {
            Tokens::Ints(_) => matches!(x.dtype, DType::I32 | DType::I64),
            Tokens::Texts(_) => x.dtype == DType::String,
        };
        if !fits {
            return Err(OpError::invalid(format!("{} where the pool has another type", x.dtype)));
        }
        let shape = match x.shape.as_deref().unwrap_or(&[]) {
            [] | [_] => vec![self.width],
            [rows, _] => vec![*rows, self.width],
            other => return Err(OpError::invalid(format!("input of shape {other:?}; it must be [C] or [N, C]"))),
        };
        Ok(vec![Fact::new(DType::F32, shape)])
    }

    fn dtypes(&self, _: &Inputs<'_>) -> Result<Vec<DType>, OpError> {
        Ok(vec![DType::F32])
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let x = cx.input(0)?;
        let tokens: Vec<Option<u32>> = match &self.tokens {
            Tokens::Ints(numbers) => x.to_i64()?.iter().map(|v| numbers.get(v).copied()).collect(),
            Tokens::Texts(numbers) => cx.strings(0)?.iter().map(|v| numbers.get(v).copied()).collect(),
        };
        let length = x.shape.last().copied().unwrap_or(1);
        let (cancel, width) = (cx.env.cancel, self.width);
        let y = cx.out::<f32>(0)?;
        y.fill(0.0);
        if length == 0 {
            return Ok(());
        }
        for (row, y) in tokens.chunks_exact(length).zip(y.chunks_exact_mut(width)) {
            if cancel.load(std::sync::atomic::Ordering::Relaxed) {
                return Err(OpError::Cancelled);
            }
            for (place, count) in self.counts(row) {
                let count = if self.capped { 1.0 } else { count as f32 };
                y[self.columns[place]] += count * self.weights.as_ref().map_or(1.0, |w| w[place]);
            }
        }
        Ok(())
    }
}
