//! Measures of how far one tensor is from another, and of how well a model does its task.
//!
//! All sums are in f64. A NaN in the data never turns into a plausible figure: the measure is `None` and
//! [`Comparison::nans`] says how many there were.

/// Compares a tensor with its reference, in one pass; more samples of the same tensor can be added.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// Elements compared.
    pub count: u64,
    /// Pairs in which either side is NaN. If there are any, every measure is `None`.
    pub nans: u64,
    /// True while all pairs have the same bits.
    pub exact: bool,
    reference_squares: f64,
    other_squares: f64,
    product: f64,
    error_squares: f64,
    max_abs: f64,
}

impl Default for Comparison {
    fn default() -> Comparison {
        Comparison {
            count: 0,
            nans: 0,
            exact: true,
            reference_squares: 0.0,
            other_squares: 0.0,
            product: 0.0,
            error_squares: 0.0,
            max_abs: 0.0,
        }
    }
}

impl Comparison {
    /// Of two slices; `None` if their lengths differ.
    pub fn of(reference: &[f32], other: &[f32]) -> Option<Comparison> {
        let mut c = Comparison::default();
        c.add(reference, other).then_some(c)
    }

    /// Adds a sample. False, with nothing added, if the lengths differ.
    #[must_use = "false means that nothing was compared"]
    pub fn add(&mut self, reference: &[f32], other: &[f32]) -> bool {
        if reference.len() != other.len() {
            return false;
        }
        self.count += reference.len() as u64;
        for (&a, &b) in reference.iter().zip(other) {
            self.exact &= a.to_bits() == b.to_bits();
            if a.is_nan() || b.is_nan() {
                self.nans += 1;
                continue;
            }
            // Equal infinities differ by nothing.
            let error = if a == b { 0.0 } else { f64::from(a) - f64::from(b) };
            let (a, b) = (f64::from(a), f64::from(b));
            self.reference_squares += a * a;
            self.other_squares += b * b;
            self.product += a * b;
            self.error_squares += error * error;
            self.max_abs = self.max_abs.max(error.abs());
        }
        true
    }

    fn comparable(&self) -> bool {
        self.count > 0 && self.nans == 0
    }

    /// Signal to quantization noise, `20 log10(|x| / |x - y|)` in dB: **higher is better**. Infinite if nothing differs;
    /// `None` if it is undefined (no data, NaN, or noise on a signal of zeros).
    pub fn sqnr_db(&self) -> Option<f64> {
        if !self.comparable() {
            return None;
        }
        if self.error_squares == 0.0 {
            return Some(f64::INFINITY);
        }
        let db = 10.0 * (self.reference_squares / self.error_squares).log10();
        db.is_finite().then_some(db)
    }

    /// Cosine of the angle between the two: **higher is better**, 1 at best. `None` if either is all zeros.
    pub fn cosine(&self) -> Option<f64> {
        let cosine = self.product / (self.reference_squares.sqrt() * self.other_squares.sqrt());
        (self.comparable() && cosine.is_finite()).then(|| cosine.clamp(-1.0, 1.0))
    }

    /// Mean squared error: **lower is better**.
    pub fn mse(&self) -> Option<f64> {
        self.comparable().then(|| self.error_squares / self.count as f64)
    }

    /// Largest absolute difference: **lower is better**.
    pub fn max_abs(&self) -> Option<f64> {
        self.comparable().then_some(self.max_abs)
    }
}

/// [`Comparison::sqnr_db`] of two slices; **higher is better**. `None` too if the lengths differ.
pub fn sqnr_db(reference: &[f32], other: &[f32]) -> Option<f64> {
    Comparison::of(reference, other)?.sqnr_db()
}

/// [`Comparison::cosine`] of two slices; **higher is better**. `None` too if the lengths differ.
pub fn cosine(reference: &[f32], other: &[f32]) -> Option<f64> {
    Comparison::of(reference, other)?.cosine()
}

/// [`Comparison::mse`] of two slices; **lower is better**. `None` too if the lengths differ.
pub fn mse(reference: &[f32], other: &[f32]) -> Option<f64> {
    Comparison::of(reference, other)?.mse()
}

/// [`Comparison::max_abs`] of two slices; **lower is better**. `None` too if the lengths differ.
pub fn max_abs(reference: &[f32], other: &[f32]) -> Option<f64> {
    Comparison::of(reference, other)?.max_abs()
}

/// A mean and how well it is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mean {
    /// The mean.
    pub mean: f64,
    /// Its standard error; 0 for one value.
    pub standard_error: f64,
    /// Over how many values.
    pub count: usize,
}

impl Mean {
    /// Of some values; `None` if there are none or one is NaN.
    pub fn of(values: &[f64]) -> Option<Mean> {
        let n = values.len() as f64;
        if values.is_empty() || values.iter().any(|v| v.is_nan()) {
            return None;
        }
        let mean = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|v| (v - mean) * (v - mean)).sum();
        let standard_error = if values.len() > 1 { (squares / (n - 1.0) / n).sqrt() } else { 0.0 };
        Some(Mean { mean, standard_error, count: values.len() })
    }
}

/// Divergence `KL(reference || other)` of the softmax of each row, in nats, averaged over rows: **lower is better**, 0 at
/// best. Rows are `columns` logits each. `None` if the shapes do not fit or anything is NaN or +infinity.
pub fn kl_nats(reference: &[f32], other: &[f32], columns: usize) -> Option<Mean> {
    Mean::of(&row_kl_nats(reference, other, columns)?)
}

/// [`kl_nats`] of each row on its own.
pub fn row_kl_nats(reference: &[f32], other: &[f32], columns: usize) -> Option<Vec<f64>> {
    rows(reference, other, columns)?
        .map(|(p, q)| {
            let (log_p, log_q) = (log_softmax_offset(p)?, log_softmax_offset(q)?);
            let mut kl = 0.0;
            for (&a, &b) in p.iter().zip(q) {
                let log_a = f64::from(a) - log_p;
                // A probability of 0 adds nothing, whatever the other says of it.
                if log_a > f64::NEG_INFINITY {
                    kl += log_a.exp() * (log_a - (f64::from(b) - log_q));
                }
            }
            // Rounding may leave a hair below 0.
            Some(kl.max(0.0))
        })
        .collect()
}

/// Share of rows whose largest entry is in the same place: **higher is better**, 1 at best. Ties go to the first. `None`
/// if the shapes do not fit or anything is NaN.
pub fn top1_agreement(reference: &[f32], other: &[f32], columns: usize) -> Option<f64> {
    let (mut same, mut count) = (0u64, 0u64);
    for (a, b) in rows(reference, other, columns)? {
        same += u64::from(argmax(a)? == argmax(b)?);
        count += 1;
    }
    Some(same as f64 / count as f64)
}

/// Where the largest entry is, the first of equals; `None` if there is none or one is NaN.
pub fn argmax(row: &[f32]) -> Option<usize> {
    let mut best: Option<(usize, f32)> = None;
    for (i, &x) in row.iter().enumerate() {
        if x.is_nan() {
            return None;
        }
        if best.is_none_or(|(_, b)| x > b) {
            best = Some((i, x));
        }
    }
    best.map(|b| b.0)
}

/// Negative log-likelihood of one class under the softmax of logits, in nats: **lower is better**. `None` if the class
/// does not exist, or anything is NaN or +infinity.
pub fn nll_nats(logits: &[f32], class: usize) -> Option<f64> {
    let target = f64::from(*logits.get(class)?);
    Some(log_softmax_offset(logits)? - target)
}

/// Perplexity, the exponential of the mean negative log-likelihood: **lower is better**, 1 at best. `None` if there is no
/// value or one is NaN.
pub fn perplexity(nlls_nats: &[f64]) -> Option<f64> {
    Some(Mean::of(nlls_nats)?.mean.exp())
}

/// z of a 95% interval.
pub const Z_95: f64 = 1.959_963_984_540_054;

/// Wilson's score interval of a proportion (Wilson 1927): `(low, high)` for `successes` of `count`. `None` if `count` is
/// 0 or smaller than `successes`.
pub fn wilson(successes: u64, count: u64, z: f64) -> Option<(f64, f64)> {
    if count == 0 || successes > count {
        return None;
    }
    let n = count as f64;
    let p = successes as f64 / n;
    let z2 = z * z;
    let centre = (p + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = z / (1.0 + z2 / n) * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    let low = if successes == 0 { 0.0 } else { (centre - half).max(0.0) };
    let high = if successes == count { 1.0 } else { (centre + half).min(1.0) };
    Some((low, high))
}

/// How two classifiers did on the same examples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Paired {
    /// Both were right.
    pub both: u64,
    /// Only the one in question was right.
    pub only_value: u64,
    /// Only the reference was right.
    pub only_reference: u64,
    /// Both were wrong.
    pub neither: u64,
}

impl Paired {
    /// Counts one example.
    pub fn add(&mut self, reference_right: bool, value_right: bool) {
        match (reference_right, value_right) {
            (true, true) => self.both += 1,
            (false, true) => self.only_value += 1,
            (true, false) => self.only_reference += 1,
            (false, false) => self.neither += 1,
        }
    }

    /// Examples counted.
    pub fn count(&self) -> u64 {
        self.both + self.only_value + self.only_reference + self.neither
    }

    /// Accuracy of the one in question minus that of the reference: **higher is better**.
    pub fn difference(&self) -> Option<f64> {
        let n = self.count();
        (n > 0).then(|| (self.only_value as f64 - self.only_reference as f64) / n as f64)
    }

    /// The score interval of [`difference`](Paired::difference) for paired proportions (Newcombe 1998, Statistics in
    /// Medicine 17, method 10: Wilson's limits of both proportions, joined by their correlation).
    pub fn difference_interval(&self, z: f64) -> Option<(f64, f64)> {
        let n = self.count();
        let difference = self.difference()?;
        let (right, reference_right) = (self.both + self.only_value, self.both + self.only_reference);
        let (p1, p2) = (right as f64 / n as f64, reference_right as f64 / n as f64);
        let ((l1, u1), (l2, u2)) = (wilson(right, n, z)?, wilson(reference_right, n, z)?);
        let [e, f, g, h] = [self.both, self.only_value, self.only_reference, self.neither].map(|x| x as f64);
        let margins = ((e + f) * (g + h) * (e + g) * (f + h)).sqrt();
        let cross = e * h - f * g;
        let corrected = if cross > 0.0 { (cross - n as f64 / 2.0).max(0.0) } else { cross };
        let phi = if margins > 0.0 { corrected / margins } else { 0.0 };
        let joined = |a: f64, b: f64| (a * a - 2.0 * phi * a * b + b * b).max(0.0).sqrt();
        Some((difference - joined(p1 - l1, u2 - p2), difference + joined(u1 - p1, p2 - l2)))
    }
}

/// What to subtract from logits to get log-probabilities: `log(sum(exp))`, from the largest on so that nothing overflows.
fn log_softmax_offset(row: &[f32]) -> Option<f64> {
    let max = f64::from(row[argmax(row)?]);
    let sum: f64 = row.iter().map(|&x| (f64::from(x) - max).exp()).sum();
    max.is_finite().then(|| max + sum.ln())
}

fn rows<'a>(a: &'a [f32], b: &'a [f32], columns: usize) -> Option<impl Iterator<Item = (&'a [f32], &'a [f32])>> {
    let fits = columns > 0 && a.len() == b.len() && !a.is_empty() && a.len().is_multiple_of(columns);
    fits.then(|| a.chunks_exact(columns).zip(b.chunks_exact(columns)))
}

#[cfg(test)]
#[path = "accuracy_tests.rs"]
mod tests;
