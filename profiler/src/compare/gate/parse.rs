//! From the words of a condition to its tree.

use super::{Amount, Ask, Comparator, Condition, GateError, LatencyFigure, LayerFigure, Problem, Subject, Test, Tests};

/// Parentheses within parentheses at most.
const DEEPEST: usize = 32;
/// A condition is no longer than this.
const LONGEST: usize = 4096;

/// Reads a condition; an error tells the place.
pub fn parse(text: &str) -> Result<Condition, GateError> {
    let mut p = Parser { text, at: 0 };
    if text.len() > LONGEST {
        return Err(p.error_at(0, Problem::TooLong));
    }
    let condition = p.either(0)?;
    p.space();
    if p.at < text.len() {
        return Err(p.error_at(p.at, Problem::Trailing(p.word().to_owned())));
    }
    Ok(condition)
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn error_at(&self, byte: usize, problem: Problem) -> GateError {
        let place = self.text.get(..byte).map_or(0, |t| t.chars().count()) + 1;
        GateError { condition: self.text.to_owned(), place, problem }
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn space(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    /// What stands here, up to the next space or parenthesis.
    fn word(&self) -> &'a str {
        let rest = self.rest();
        &rest[..rest.find(|c: char| c.is_whitespace() || c == ')').unwrap_or(rest.len())]
    }

    /// Takes a word of the language.
    fn take_word(&mut self, word: &str) -> bool {
        self.space();
        let found = self.word().eq_ignore_ascii_case(word);
        if found {
            self.at += word.len();
        }
        found
    }

    fn take(&mut self, c: char) -> bool {
        self.space();
        let found = self.rest().starts_with(c);
        if found {
            self.at += c.len_utf8();
        }
        found
    }

    /// True if after the next word comes a comparison: then the word joins two tests of one subject.
    fn test_follows(&self, word: &str) -> bool {
        let mut ahead = Parser { text: self.text, at: self.at };
        ahead.take_word(word) && {
            ahead.space();
            ahead.rest().starts_with(['<', '>'])
        }
    }

    fn either(&mut self, depth: usize) -> Result<Condition, GateError> {
        let mut parts = vec![self.both(depth)?];
        while self.take_word("or") {
            parts.push(self.both(depth)?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Condition::Any(parts) })
    }

    fn both(&mut self, depth: usize) -> Result<Condition, GateError> {
        let mut parts = vec![self.clause(depth)?];
        while self.take_word("and") {
            parts.push(self.clause(depth)?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Condition::All(parts) })
    }

    fn clause(&mut self, depth: usize) -> Result<Condition, GateError> {
        self.space();
        let start = self.at;
        if self.take('(') {
            if depth == DEEPEST {
                return Err(self.error_at(start, Problem::TooDeep));
            }
            let inner = self.either(depth + 1)?;
            if !self.take(')') {
                return Err(self.error_at(self.at, Problem::Unclosed(')')));
            }
            return Ok(inner);
        }
        let subject = self.subject()?;
        let tests = self.tests(&subject)?;
        Ok(Condition::Clause(subject, tests))
    }

    fn tests(&mut self, subject: &Subject) -> Result<Tests, GateError> {
        let mut any = Vec::new();
        loop {
            let mut all = vec![self.test(subject)?];
            while self.test_follows("and") {
                self.take_word("and");
                all.push(self.test(subject)?);
            }
            any.push(all);
            if !self.test_follows("or") {
                return Ok(Tests(any));
            }
            self.take_word("or");
        }
    }

    fn test(&mut self, subject: &Subject) -> Result<Test, GateError> {
        self.space();
        let found = [
            (">=", Comparator::AtLeast),
            ("<=", Comparator::AtMost),
            (">", Comparator::Above),
            ("<", Comparator::Below),
        ]
        .into_iter()
        .find(|c| self.rest().starts_with(c.0));
        let Some((sign, comparator)) = found else {
            return Err(self.error_at(self.at, Problem::NoComparison));
        };
        self.at += sign.len();
        let (ask, limit) = self.amount(subject)?;
        Ok(Test { comparator, ask, limit })
    }

    fn amount(&mut self, subject: &Subject) -> Result<(Ask, f64), GateError> {
        self.space();
        let start = self.at;
        let sign = match self.rest().chars().next() {
            Some('+') => Some(1.0),
            Some('-' | '\u{2212}') => Some(-1.0),
            _ => None,
        };
        if sign.is_some() {
            self.at += self.rest().chars().next().map_or(0, char::len_utf8);
            self.space();
        }
        let rest = self.rest();
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        if digits == 0 {
            return Err(self.error_at(start, Problem::NoAmount));
        }
        let number: f64 = match rest[..digits].parse::<f64>() {
            Ok(v) if v.is_finite() => v,
            _ => return Err(self.error_at(start, Problem::NotANumber(rest[..digits].to_owned()))),
        };
        self.at += digits;
        self.space();
        let rest = self.rest();
        let end = rest.find(|c: char| !c.is_alphabetic() && c != '%').unwrap_or(rest.len());
        let (unit_at, unit) = (self.at, &rest[..end]);
        // A bare number may be followed by the next word.
        let unit = if ["and", "or"].contains(&unit.to_ascii_lowercase().as_str()) { "" } else { unit };
        self.at += unit.len();
        let limit = sign.unwrap_or(1.0) * number;
        let (kind, factor) = match unit {
            "%" => (Amount::Share, 0.01),
            "ns" => (Amount::Time, 1.0),
            "us" | "µs" | "μs" => (Amount::Time, 1e3),
            "ms" => (Amount::Time, 1e6),
            "s" => (Amount::Time, 1e9),
            "B" => (Amount::Bytes, 1.0),
            "kB" | "KB" => (Amount::Bytes, 1e3),
            "MB" => (Amount::Bytes, 1e6),
            "GB" => (Amount::Bytes, 1e9),
            "KiB" => (Amount::Bytes, 1024.0),
            "MiB" => (Amount::Bytes, 1_048_576.0),
            "GiB" => (Amount::Bytes, 1_073_741_824.0),
            "dB" => (Amount::Decibel, 1.0),
            "" => return Err(self.error_at(unit_at, Problem::NoUnit(subject.units()))),
            other => return Err(self.error_at(unit_at, Problem::UnknownUnit(other.to_owned()))),
        };
        let fits = kind == subject.amount() || (kind == Amount::Share && subject.amount() != Amount::Decibel);
        if !fits {
            let problem =
                Problem::WrongUnit { subject: subject.to_string(), unit: unit.to_owned(), fits: subject.units() };
            return Err(self.error_at(unit_at, problem));
        }
        let ask = match (kind, sign) {
            (Amount::Share, _) => Ask::Relative,
            (_, Some(_)) => Ask::Change,
            (_, None) => Ask::Value,
        };
        Ok((ask, limit * factor))
    }

    fn subject(&mut self) -> Result<Subject, GateError> {
        self.space();
        let start = self.at;
        let rest = self.rest();
        for (prefix, operator) in [("layer:", false), ("op:", true)] {
            if rest.starts_with(prefix) {
                self.at += prefix.len();
                return self.pattern(start, operator);
            }
        }
        let end = rest.find(|c: char| c.is_whitespace() || "<>()".contains(c)).unwrap_or(rest.len());
        let word = &rest[..end];
        let subject = match word {
            "latency.p50" | "latency.median" => Subject::Latency(LatencyFigure::P50),
            "latency.p90" => Subject::Latency(LatencyFigure::P90),
            "latency.p99" => Subject::Latency(LatencyFigure::P99),
            "latency.mean" => Subject::Latency(LatencyFigure::Mean),
            "memory.peak" => Subject::Peak,
            "memory.weights" => Subject::Weights,
            "memory.activations" => Subject::Activations,
            "total" | "total.time" => Subject::Total,
            "" => return Err(self.error_at(start, Problem::NoSubject)),
            other => return Err(self.error_at(start, Problem::UnknownSubject(other.to_owned()))),
        };
        self.at += end;
        Ok(subject)
    }

    /// After `layer:` or `op:`, a pattern (in quotes where it holds spaces or brackets), a dot and the figure.
    fn pattern(&mut self, start: usize, operator: bool) -> Result<Subject, GateError> {
        let rest = self.rest();
        let (pattern, figure) = if let Some(quoted) = rest.strip_prefix('"') {
            let Some(close) = quoted.find('"') else {
                return Err(self.error_at(self.at, Problem::Unclosed('"')));
            };
            self.at += close + 2;
            let after = self.rest();
            let end = after.find(|c: char| c.is_whitespace() || "<>()".contains(c)).unwrap_or(after.len());
            self.at += end;
            (&quoted[..close], after[..end].strip_prefix('.').unwrap_or(""))
        } else {
            let end = rest.find(|c: char| c.is_whitespace() || "<>()".contains(c)).unwrap_or(rest.len());
            self.at += end;
            rest[..end].rsplit_once('.').unwrap_or((&rest[..end], ""))
        };
        let figure = match figure {
            "time" => LayerFigure::Time,
            "memory" => LayerFigure::Memory,
            "error" if !operator => LayerFigure::Error,
            _ => {
                let word = self.text[start..self.at].to_owned();
                return Err(self.error_at(start, Problem::NoFigure(word, if operator { OP } else { LAYER })));
            }
        };
        if pattern.is_empty() {
            return Err(self.error_at(start, Problem::NoPattern));
        }
        let pattern = pattern.to_owned();
        Ok(if operator { Subject::Operator(pattern, figure) } else { Subject::Layer(pattern, figure) })
    }
}

const LAYER: &str = ".time, .memory or .error";
const OP: &str = ".time or .memory";
