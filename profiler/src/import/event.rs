//! One Chrome trace event, as it stands in the file.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// An event. Numbers are kept as text: times as floats would lose nanoseconds.
#[derive(Deserialize)]
pub(super) struct Event<'a> {
    #[serde(borrow, default)]
    pub ph: Cow<'a, str>,
    #[serde(borrow, default)]
    pub name: Cow<'a, str>,
    #[serde(borrow, default)]
    pub cat: Cow<'a, str>,
    #[serde(borrow)]
    pid: Option<&'a RawValue>,
    #[serde(borrow)]
    tid: Option<&'a RawValue>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    id2: Option<&'a RawValue>,
    #[serde(borrow)]
    ts: Option<&'a RawValue>,
    #[serde(borrow)]
    dur: Option<&'a RawValue>,
    #[serde(borrow)]
    args: Option<&'a RawValue>,
}

impl<'a> Event<'a> {
    /// When it happened, in nanoseconds from the file's own origin.
    pub fn time(&self) -> Option<i64> {
        nanoseconds(self.ts?.get())
    }

    /// How long it took; 0 where that is missing, negative or no number.
    pub fn duration(&self) -> i64 {
        self.dur.and_then(|d| nanoseconds(d.get())).unwrap_or(0).max(0)
    }

    /// The process, as text.
    pub fn process(&self) -> &'a str {
        text(self.pid)
    }

    /// The thread, as text.
    pub fn thread(&self) -> &'a str {
        text(self.tid)
    }

    /// What joins the parts of an asynchronous event.
    pub fn id(&self) -> &'a str {
        text(self.id.or(self.id2))
    }

    /// The arguments as a tree.
    pub fn args(&self) -> Value {
        self.args_as().unwrap_or_default()
    }

    /// The arguments as something smaller than a tree.
    pub fn args_as<T: Deserialize<'a>>(&self) -> Option<T> {
        serde_json::from_str(self.args?.get()).ok()
    }
}

fn text(value: Option<&RawValue>) -> &str {
    value.map_or("", |v| v.get().trim_matches('"'))
}

/// Microseconds as JSON text, a number or a string that holds one, to the nearest nanosecond.
pub(super) fn nanoseconds(text: &str) -> Option<i64> {
    let text = text.trim_matches('"').trim();
    exact(text).or_else(|| {
        let ns = text.parse::<f64>().ok()? * 1000.0;
        (ns.abs() < 9e18).then_some(ns.round() as i64)
    })
}

/// Plain decimals, without a detour over floats.
fn exact(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let (negative, digits) = whole.strip_prefix('-').map_or((false, whole), |d| (true, d));
    if digits.is_empty() || !digits.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) {
        return None;
    }
    let mut ns = digits.parse::<i64>().ok()?.checked_mul(1000)?;
    for (&digit, worth) in fraction.as_bytes().iter().zip([100, 10, 1]) {
        ns = ns.checked_add(i64::from(digit - b'0') * worth)?;
    }
    if fraction.as_bytes().get(3).is_some_and(|&d| d >= b'5') {
        ns = ns.checked_add(1)?;
    }
    Some(if negative { -ns } else { ns })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn microseconds_to_nanoseconds() {
        for (text, want) in [
            ("0", Some(0)),
            ("12", Some(12_000)),
            ("4514726512158.301", Some(4_514_726_512_158_301)),
            ("1.5", Some(1_500)),
            ("1.0005", Some(1_001)),
            ("-2.25", Some(-2_250)),
            ("-0.5", Some(-500)),
            ("\"7.001\"", Some(7_001)),
            ("1.5e3", Some(1_500_000)),
            ("1e300", None),
            ("9223372036854775807", None),
            ("9223372036854775.9999", None),
            ("NaN", None),
            ("-inf", None),
            ("null", None),
            ("", None),
        ] {
            assert_eq!(nanoseconds(text), want, "{text:?}");
        }
    }
}
