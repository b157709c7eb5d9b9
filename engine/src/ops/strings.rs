//! Operators on strings: concatenation, splitting, normalisation, matching.

use bytes::Bytes;
use graph::{Attr, DType, Tensor};
use regex::bytes::{Regex, RegexBuilder};

use crate::attrs::Attrs;
use crate::op::{Fact, Inputs, NEWEST, OpClass, OpDef, OpError, Operator, RunCx, checked_numel};
use crate::ops::util;

/// StringConcat, StringSplit, StringNormalizer, RegexFullMatch.
pub(crate) const OPS: &[OpDef] = &[
    OpDef { domain: "", name: "StringConcat", opsets: (20, NEWEST), read: |_| Ok(Box::new(Strings::Concat)) },
    OpDef { domain: "", name: "StringSplit", opsets: (20, NEWEST), read: read_split },
    OpDef { domain: "", name: "StringNormalizer", opsets: (10, NEWEST), read: read_normalizer },
    OpDef { domain: "", name: "RegexFullMatch", opsets: (20, NEWEST), read: read_match },
];

#[derive(Debug)]
enum Strings {
    Concat,
    Split { delimiter: String, most: usize },
    Normalize(Normalizer),
    Match(Regex),
}

#[derive(Debug)]
struct Normalizer {
    /// In lower case unless case matters.
    stopwords: Vec<String>,
    case_sensitive: bool,
    change: Change,
}

#[derive(Debug)]
enum Change {
    None,
    Lower,
    Upper,
}

fn read_split(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    let most = a.int("maxsplit")?.and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX);
    Ok(Box::new(Strings::Split { delimiter: a.string_or("delimiter", "")?.to_owned(), most }))
}

fn read_normalizer(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    let case_sensitive = a.flag("is_case_sensitive", false)?;
    let change = match a.string_or("case_change_action", "NONE")? {
        "NONE" => Change::None,
        "LOWER" => Change::Lower,
        "UPPER" => Change::Upper,
        other => return Err(OpError::invalid(format!("case_change_action {other}"))),
    };
    // Case goes by Unicode, which knows no locales.
    a.ignore("locale");
    let words = match a.get("stopwords") {
        None => Vec::new(),
        Some(Attr::Strings(words)) => words.iter().map(|w| text(w)).collect::<Result<_, _>>()?,
        Some(other) => return Err(OpError::invalid(format!("attribute stopwords must be strings, it is {other}"))),
    };
    let stopwords = words.into_iter().map(|w| if case_sensitive { w.to_owned() } else { w.to_lowercase() }).collect();
    Ok(Box::new(Strings::Normalize(Normalizer { stopwords, case_sensitive, change })))
}

fn read_match(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    let pattern = a.string("pattern")?.ok_or_else(|| OpError::invalid("attribute pattern is missing"))?;
    let whole = RegexBuilder::new(&format!(r"\A(?:{pattern})\z")).build();
    Ok(Box::new(Strings::Match(whole.map_err(|e| OpError::unsupported(format!("pattern {pattern}: {e}")))?)))
}

fn text(s: &Bytes) -> Result<&str, OpError> {
    std::str::from_utf8(s).map_err(|_| OpError::invalid("a string is not UTF-8"))
}

fn tensor(shape: Vec<usize>, strings: Vec<Bytes>) -> Result<Tensor, OpError> {
    Tensor::from_strings(shape, strings).map_err(|e| OpError::invalid(e.to_string()))
}

/// For each element of the broadcast shape `to`, the element of `from` that it comes from.
pub(crate) fn spread(from: &[usize], to: &[usize]) -> Vec<usize> {
    let strides = util::strides(from);
    let skipped = to.len() - from.len();
    let mut at = vec![0usize; 1];
    for (d, &n) in to.iter().enumerate() {
        let stride = if d < skipped || from[d - skipped] == 1 { 0 } else { strides[d - skipped] };
        at = at.into_iter().flat_map(|base| (0..n).map(move |i| base + i * stride)).collect();
    }
    at
}

/// At most `most` cuts; without a delimiter at runs of white space, none of which is kept at the ends.
fn split<'s>(s: &'s str, delimiter: &str, most: usize) -> Vec<&'s str> {
    let most_parts = most.saturating_add(1);
    if !delimiter.is_empty() {
        return s.splitn(most_parts, delimiter).collect();
    }
    let (mut parts, mut rest) = (Vec::new(), s.trim_start());
    while !rest.is_empty() {
        if parts.len() == most {
            parts.push(rest);
            break;
        }
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        parts.push(&rest[..end]);
        rest = rest[end..].trim_start();
    }
    parts
}

impl Normalizer {
    fn run(&self, x: &Tensor) -> Result<Tensor, OpError> {
        if !matches!(x.shape(), [_] | [1, _]) {
            return Err(OpError::invalid(format!("strings of shape {:?}; it must be [C] or [1, C]", x.shape())));
        }
        let mut kept = Vec::new();
        for s in x.strings() {
            let s = text(s)?;
            let compared = if self.case_sensitive { s.to_owned() } else { s.to_lowercase() };
            if self.stopwords.contains(&compared) {
                continue;
            }
            kept.push(Bytes::from(match self.change {
                Change::None => s.to_owned(),
                Change::Lower => s.to_lowercase(),
                Change::Upper => s.to_uppercase(),
            }));
        }
        if kept.is_empty() {
            kept.push(Bytes::new());
        }
        let mut shape = vec![1; x.shape().len()];
        shape[x.shape().len() - 1] = kept.len();
        tensor(shape, kept)
    }
}

impl Operator for Strings {
    fn class(&self) -> OpClass {
        OpClass::Other
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        let x = inputs.need(0)?;
        if x.dtype != DType::String {
            return Err(OpError::invalid(format!("{} where strings are needed", x.dtype)));
        }
        let shape = || x.shape.clone().unwrap_or_default();
        Ok(match self {
            Strings::Concat => {
                let y = inputs.need(1)?;
                if y.dtype != DType::String {
                    return Err(OpError::invalid(format!("{} where strings are needed", y.dtype)));
                }
                let to = util::broadcast(&[&shape(), y.shape.as_deref().unwrap_or(&[])])?;
                vec![Fact::new(DType::String, to)]
            }
            Strings::Split { .. } => vec![Fact::dynamic(DType::String), Fact::new(DType::I64, shape())],
            Strings::Normalize(_) => vec![Fact::dynamic(DType::String)],
            Strings::Match(_) => vec![Fact::new(DType::Bool, shape())],
        })
    }

    fn dtypes(&self, _: &Inputs<'_>) -> Result<Vec<DType>, OpError> {
        Ok(match self {
            Strings::Split { .. } => vec![DType::String, DType::I64],
            Strings::Match(_) => vec![DType::Bool],
            _ => vec![DType::String],
        })
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let x = cx.strings(0)?;
        match self {
            Strings::Concat => {
                let (y, to) = (cx.strings(1)?, cx.out_shape(0));
                cx.check_bytes(checked_numel(&to).and_then(|n| n.checked_mul(2 * size_of::<Bytes>())))?;
                let (from_x, from_y) = (spread(cx.tensor(0)?.shape(), &to), spread(cx.tensor(1)?.shape(), &to));
                let pairs = from_x.iter().zip(&from_y).map(|(&i, &j)| (&x[i], &y[j]));
                cx.check_bytes(Some(pairs.clone().map(|(a, b)| a.len() + b.len()).sum()))?;
                let joined = pairs.map(|(a, b)| [&a[..], &b[..]].concat().into()).collect();
                cx.set(0, tensor(to, joined)?)
            }
            Strings::Split { delimiter, most } => {
                let mut parts: Vec<Vec<&str>> = Vec::with_capacity(x.len());
                for s in x {
                    parts.push(split(text(s)?, delimiter, *most));
                }
                let widest = parts.iter().map(Vec::len).max().unwrap_or(0);
                let cells = parts.len().checked_mul(widest);
                cx.check_bytes(cells.and_then(|n| n.checked_mul(size_of::<Bytes>())))?;
                let counts: Vec<i64> = parts.iter().map(|p| p.len() as i64).collect();
                let mut to = cx.tensor(0)?.shape().to_vec();
                let counted = Tensor::from_vec(&to, counts);
                to.push(widest);
                let empty = std::iter::repeat("");
                let padded = parts.iter().flat_map(|p| p.iter().copied().chain(empty.clone()).take(widest));
                let strings = padded.map(|s| Bytes::copy_from_slice(s.as_bytes())).collect();
                cx.set_wanted(0, tensor(to, strings)?)?;
                cx.set_wanted(1, counted)
            }
            Strings::Normalize(n) => {
                let made = n.run(cx.tensor(0)?)?;
                cx.set(0, made)
            }
            Strings::Match(whole) => {
                for (s, y) in x.iter().zip(cx.out_bytes(0)?) {
                    *y = u8::from(whole.is_match(s));
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_are_those_of_the_specification() {
        let cases: &[(&str, &str, usize, &[&str])] = &[
            ("a.com", ".", usize::MAX, &["a", "com"]),
            ("a..b", ".", usize::MAX, &["a", "", "b"]),
            ("", ".", usize::MAX, &[""]),
            (" hello  world ", "", usize::MAX, &["hello", "world"]),
            ("  a b  c ", "", 1, &["a", "b  c "]),
            ("a b", "", 0, &["a b"]),
            ("a-b-c", "-", 1, &["a", "b-c"]),
            ("", "", usize::MAX, &[]),
        ];
        for (s, delimiter, most, want) in cases {
            assert_eq!(split(s, delimiter, *most), *want, "{s:?} by {delimiter:?}, {most}");
        }
    }

    #[test]
    fn broadcast_elements_come_from_where_numpy_says() {
        assert_eq!(spread(&[2, 1], &[2, 3]), [0, 0, 0, 1, 1, 1]);
        assert_eq!(spread(&[3], &[2, 3]), [0, 1, 2, 0, 1, 2]);
        assert_eq!(spread(&[], &[2]), [0, 0]);
        assert!(spread(&[1], &[0]).is_empty());
    }
}
