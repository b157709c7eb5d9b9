//! Figures with their units: three significant digits, the unit scaled, unknown as an em dash.

use std::cell::Cell;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What stands where a figure is unknown; put the reason in its tooltip.
pub const UNKNOWN: &str = "—";

const TIME: &[(f64, &str)] = &[(1.0, "ns"), (1e3, "µs"), (1e6, "ms"), (1e9, "s")];
const BYTES: &[(f64, &str)] = &[(1.0, "B"), (1e3, "kB"), (1e6, "MB"), (1e9, "GB"), (1e12, "TB")];
const MILLISECONDS: &[(f64, &str)] = &[(1e6, "ms")];
const BINARY: &[(f64, &str)] =
    &[(1.0, "B"), (1024.0, "KiB"), (1_048_576.0, "MiB"), (1_073_741_824.0, "GiB"), (1_099_511_627_776.0, "TiB")];
const PLAIN: &[(f64, &str)] = &[(1.0, ""), (1e3, "k"), (1e6, "M"), (1e9, "G"), (1e12, "T")];

/// The unit of times.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum TimeUnit {
    /// Whatever suits the figure: `412 ns`, `30.2 ms`.
    #[default]
    Auto,
    /// Always milliseconds.
    Milliseconds,
}

/// The units of sizes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum ByteUnit {
    /// Powers of 1000: kB, MB, GB.
    #[default]
    Decimal,
    /// Powers of 1024: KiB, MiB, GiB.
    Binary,
}

/// The units that the person at the window wants. Rates stay decimal: so are the data sheets.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Units {
    /// Of times.
    pub time: TimeUnit,
    /// Of sizes.
    pub bytes: ByteUnit,
}

thread_local! {
    /// The window's thread alone asks for other units than the default; files and the command line never do.
    static UNITS: Cell<Units> = const { Cell::new(Units { time: TimeUnit::Auto, bytes: ByteUnit::Decimal }) };
}

/// Uses these units from now on, in this thread.
pub fn set_units(units: Units) {
    UNITS.set(units);
}

fn time_units() -> &'static [(f64, &'static str)] {
    match UNITS.get().time {
        TimeUnit::Auto => TIME,
        TimeUnit::Milliseconds => MILLISECONDS,
    }
}

fn byte_units() -> &'static [(f64, &'static str)] {
    match UNITS.get().bytes {
        ByteUnit::Decimal => BYTES,
        ByteUnit::Binary => BINARY,
    }
}

/// `412 ns`, `30.2 ms`.
pub fn duration(ns: f64) -> String {
    scaled(ns, time_units(), "")
}

/// `1.27 GB`.
pub fn bytes(bytes: f64) -> String {
    scaled(bytes, byte_units(), "")
}

/// `22.7 M`, for parameters and the like.
pub fn count(n: f64) -> String {
    scaled(n, PLAIN, "")
}

/// `1.27 GFLOP`.
pub fn flops(flop: f64) -> String {
    scaled(flop, PLAIN, "FLOP")
}

/// `33.1 GFLOP/s`.
pub fn flops_rate(per_s: f64) -> String {
    scaled(per_s, PLAIN, "FLOP/s")
}

/// `12.4 GB/s`.
pub fn bytes_rate(per_s: f64) -> String {
    scaled(per_s, BYTES, "/s")
}

/// `33.1 /s`, `2.10 k/s`.
pub fn rate(per_s: f64) -> String {
    scaled(per_s, PLAIN, "/s")
}

/// `12.3%` of a share between 0 and 1.
pub fn percent(share: f64) -> String {
    let p = share * 100.0;
    match p.abs() {
        _ if !p.is_finite() => UNKNOWN.to_owned(),
        0.0 => "0%".to_owned(),
        a if a < 0.01 => format!("<{}0.01%", if p < 0.0 { "−" } else { "" }),
        a if a < 9.995 => format!("{}{:.2}%", minus(p), a),
        a if a < 99.95 => format!("{}{:.1}%", minus(p), a),
        a => format!("{}{:.0}%", minus(p), a),
    }
}

/// A share with its sign: `+3.20%`, `−0.41%`.
pub fn percent_change(share: f64) -> String {
    if share > 0.0 { format!("+{}", percent(share)) } else { percent(share) }
}

/// `38.2 dB`.
pub fn decibel(db: f64) -> String {
    if db.is_finite() { format!("{}{:.1} dB", minus(db), db.abs()) } else { UNKNOWN.to_owned() }
}

/// `12,288`.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

/// `8 layers`, `1 layer`.
pub fn plural(n: usize, noun: &str) -> String {
    format!("{} {noun}{}", grouped(n as u64), if n == 1 { "" } else { "s" })
}

/// A small number of any size: three significant digits, with an exponent where it needs one (`3.1e-5`).
pub fn number(v: f64) -> String {
    match v.abs() {
        _ if !v.is_finite() => UNKNOWN.to_owned(),
        0.0 => "0".to_owned(),
        a if (1e-3..1e6).contains(&a) => format!("{}{}", minus(v), significant(a)),
        a => format!("{}{a:.2e}", minus(v)),
    }
}

/// `2026-11-22 21:20` in the user's time zone.
pub fn local_time(unix_s: i64) -> String {
    match jiff::Timestamp::from_second(unix_s) {
        Ok(t) => t.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M").to_string(),
        Err(_) => UNKNOWN.to_owned(),
    }
}

/// `21:20:04` in the user's time zone.
pub fn time_of_day(at: std::time::SystemTime) -> String {
    match jiff::Timestamp::try_from(at) {
        Ok(t) => t.to_zoned(jiff::tz::TimeZone::system()).strftime("%H:%M:%S").to_string(),
        Err(_) => UNKNOWN.to_owned(),
    }
}

/// `3 min 20 s left`-style time for people.
pub fn time_left(left: Duration) -> String {
    match left.as_secs() {
        0 => "under 1 s".to_owned(),
        s if s < 60 => format!("{s} s"),
        s => format!("{} min {} s", s / 60, s % 60),
    }
}

/// Figures of one column in one unit, three significant digits each, aligned on the decimal point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    divisor: f64,
    /// The unit, for the column's head.
    pub unit: &'static str,
}

impl Scale {
    /// For times up to `max` nanoseconds.
    pub fn time(max: f64) -> Scale {
        Self::pick(max, time_units())
    }

    /// For sizes up to `max` bytes.
    pub fn bytes(max: f64) -> Scale {
        Self::pick(max, byte_units())
    }

    /// For rates up to `max` bytes a second, with the size alone as its unit.
    pub fn bytes_rate(max: f64) -> Scale {
        Self::pick(max, BYTES)
    }

    /// For counts up to `max`, with a bare prefix (`M`) as its unit.
    pub fn count(max: f64) -> Scale {
        Self::pick(max, PLAIN)
    }

    fn pick(max: f64, units: &[(f64, &'static str)]) -> Scale {
        let (divisor, unit) = unit_for(max, units);
        Scale { divisor, unit }
    }

    /// A cell of the column: padded on the right so that decimal points align in a face with tabular figures.
    pub fn cell(&self, value: f64) -> String {
        let v = value / self.divisor;
        if !v.is_finite() {
            return format!("{UNKNOWN}    ");
        }
        let text = match v.abs() {
            0.0 => "0".to_owned(),
            a if a < 0.0005 => "<0.001".to_owned(),
            a if self.divisor <= 1.0 && a.fract() == 0.0 => format!("{}{a:.0}", minus(v)),
            a => {
                let s = significant(a);
                // At most three decimals: the column's unit is chosen for its largest figure.
                let end = s.find('.').map_or(s.len(), |dot| s.len().min(dot + 4));
                format!("{}{}", minus(v), &s[..end])
            }
        };
        let decimals = text.find('.').map_or(0, |dot| text.len() - dot);
        format!("{text}{}", " ".repeat(4 - decimals))
    }

    /// The value in this unit without padding.
    pub fn plain(&self, value: f64) -> String {
        self.cell(value).trim_end().to_owned()
    }
}

fn scaled(value: f64, units: &[(f64, &str)], suffix: &str) -> String {
    if !value.is_finite() {
        return UNKNOWN.to_owned();
    }
    let (divisor, unit) = unit_for(value, units);
    let v = (value / divisor).abs();
    // Whole small units have no fractions.
    let digits = if divisor <= 1.0 && value.fract() == 0.0 { format!("{v:.0}") } else { significant(v) };
    format!("{}{digits} {unit}{suffix}", minus(value)).trim_end().to_owned()
}

/// The largest unit in which the value, rounded to three digits, is at least 1.
fn unit_for<'a>(value: f64, units: &[(f64, &'a str)]) -> (f64, &'a str) {
    let rounded = value.abs() * 1.0005;
    units.iter().rev().find(|u| rounded >= u.0).or(units.first()).copied().unwrap_or((1.0, ""))
}

/// Three significant digits of a value that is not negative.
fn significant(v: f64) -> String {
    match v {
        v if v >= 99.95 => format!("{v:.0}"),
        v if v >= 9.995 => format!("{v:.1}"),
        v if v >= 0.9995 => format!("{v:.2}"),
        v if v >= 0.099_95 => format!("{v:.3}"),
        0.0 => "0".to_owned(),
        v if v >= 0.000_95 => format!("{v:.4}"),
        // A unit that was chosen for larger figures.
        v => format!("{v:.1e}"),
    }
}

fn minus(v: f64) -> &'static str {
    if v < 0.0 { "−" } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits_and_the_right_unit() {
        let cases: &[(&str, String)] = &[
            ("0 ns", duration(0.0)),
            ("412 ns", duration(412.0)),
            ("0.500 ns", duration(0.5)),
            ("999 ns", duration(999.0)),
            ("1.00 µs", duration(999.9)),
            ("30.2 ms", duration(30_213_000.0)),
            ("1.00 s", duration(1e9)),
            ("412 s", duration(412e9)),
            ("−1.50 ms", duration(-1.5e6)),
            (UNKNOWN, duration(f64::NAN)),
            ("0 B", bytes(0.0)),
            ("999 B", bytes(999.0)),
            ("1.27 GB", bytes(1.271e9)),
            ("96.0 MB", bytes(96e6)),
            ("22.7 M", count(22.7e6)),
            ("384", count(384.0)),
            ("1.27 GFLOP", flops(1.27e9)),
            ("33.1 GFLOP/s", flops_rate(33.1e9)),
            ("12.4 GB/s", bytes_rate(12.4e9)),
            ("33.1 /s", rate(33.1)),
            ("0%", percent(0.0)),
            ("<0.01%", percent(0.000_01)),
            ("0.41%", percent(0.0041)),
            ("12.3%", percent(0.123)),
            ("10.0%", percent(0.09999)),
            ("100%", percent(1.0)),
            ("−3.20%", percent(-0.032)),
            ("+3.20%", percent_change(0.032)),
            ("38.2 dB", decibel(38.2)),
            ("12,288", grouped(12288)),
            ("999", grouped(999)),
            ("1,000,000", grouped(1_000_000)),
            ("1 layer", plural(1, "layer")),
            ("0 layers", plural(0, "layer")),
            ("3.10e-5", number(3.1e-5)),
            ("0.998", number(0.998)),
            ("−2.00", number(-2.0)),
            (UNKNOWN, number(f64::INFINITY)),
            ("3 min 20 s", time_left(Duration::from_secs(200))),
        ];
        for (want, got) in cases {
            assert_eq!(want, got);
        }
    }

    #[test]
    fn other_units_are_kept_to_on_this_thread() {
        set_units(Units { time: TimeUnit::Milliseconds, bytes: ByteUnit::Binary });
        assert_eq!((duration(1.5e9), duration(412e3)), ("1500 ms".to_owned(), "0.412 ms".to_owned()));
        assert_eq!(duration(50.0), "5.0e-5 ms");
        assert_eq!((bytes(1.5 * 1024.0 * 1024.0), bytes(96.0)), ("1.50 MiB".to_owned(), "96 B".to_owned()));
        assert_eq!((Scale::time(5.0).unit, Scale::bytes(5e9).unit), ("ms", "GiB"));
        assert_eq!(bytes_rate(12.4e9), "12.4 GB/s");
        assert_eq!(Scale::bytes_rate(5e9).unit, "GB");
        set_units(Units::default());
        assert_eq!((duration(1.5e9), bytes(1e6)), ("1.50 s".to_owned(), "1.00 MB".to_owned()));
    }

    #[test]
    fn cells_of_a_column_align_on_the_decimal_point() {
        let scale = Scale::time(12.3e6);
        assert_eq!(scale.unit, "ms");
        let cells = [12.3e6, 1.27e6, 412e3, 41.2e3, 412.0, 0.0, 100e6];
        let texts = cells.map(|c| scale.cell(c));
        assert_eq!(
            texts,
            ["12.3  ", "1.27  ", "0.412 ".trim_end(), "0.041", "<0.001", "0    ", "100    "].map(|s| {
                let decimals = s.trim_end().find('.').map_or(0, |dot| s.trim_end().len() - dot);
                format!("{}{}", s.trim_end(), " ".repeat(4 - decimals))
            })
        );
        let columns_after_point = texts.map(|t| t.chars().count() - t.find(['.', ' ']).unwrap_or(t.len()));
        assert!(columns_after_point.iter().all(|&n| n == 4), "{columns_after_point:?}");
        assert_eq!(Scale::bytes(5e6).plain(1.5e6), "1.50");
        assert!(Scale::time(1.0).cell(f64::NAN).starts_with(UNKNOWN));
    }
}
