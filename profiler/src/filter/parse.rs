//! Reads a filter: words first, then what they say.

use super::{Compare, FIELDS, Field, Figure, Filter, FilterError, FilterProblem as Problem};

/// Parentheses and negations inside of each other.
const MAX_DEPTH: usize = 32;

#[derive(Clone, PartialEq, Debug)]
enum Word {
    Bare(String),
    Quoted(String),
    /// `:`, `=`, `<`, ...
    Sign(&'static str),
    Open,
    Close,
    Minus,
}

/// Longer ones before those that they begin with.
const SIGNS: [&str; 7] = ["<=", ">=", "!=", "<", ">", "=", ":"];

struct Token {
    at: usize,
    word: Word,
}

struct Reader {
    tokens: Vec<Token>,
    next: usize,
    /// One past the last character.
    end: usize,
}

pub(super) fn parse(text: &str) -> Result<Filter, FilterError> {
    let chars: Vec<char> = text.chars().collect();
    let mut reader = Reader { tokens: split(&chars)?, next: 0, end: chars.len() };
    if reader.tokens.is_empty() {
        return Ok(Filter::All(Vec::new()));
    }
    let filter = reader.any(0)?;
    match reader.peek() {
        None => Ok(filter),
        Some(token) => Err(FilterError { at: token.at, problem: Problem::OutOfPlace(shown(&token.word)) }),
    }
}

fn shown(word: &Word) -> String {
    match word {
        Word::Bare(text) | Word::Quoted(text) => text.clone(),
        Word::Sign(sign) => (*sign).to_owned(),
        Word::Open => "(".to_owned(),
        Word::Close => ")".to_owned(),
        Word::Minus => "-".to_owned(),
    }
}

fn split(chars: &[char]) -> Result<Vec<Token>, FilterError> {
    let mut tokens: Vec<Token> = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        let start = at;
        let after_sign = matches!(tokens.last(), Some(Token { word: Word::Sign(_), .. }));
        let word = match chars[at] {
            c if c.is_whitespace() => {
                at += 1;
                continue;
            }
            '(' => Word::Open,
            ')' => Word::Close,
            // In front of a number it is the number's.
            '-' if !after_sign && chars.get(at + 1).is_some_and(|c| !c.is_whitespace()) => Word::Minus,
            '"' => {
                let (text, end) = quoted(chars, at)?;
                at = end;
                tokens.push(Token { at: start, word: Word::Quoted(text) });
                continue;
            }
            _ => match sign_at(chars, at) {
                Some(sign) => {
                    at += sign.len() - 1;
                    Word::Sign(sign)
                }
                None => {
                    let ends = |i: &usize| {
                        let c = chars[*i];
                        c.is_whitespace() || "()\"".contains(c) || sign_at(chars, *i).is_some()
                    };
                    let end = (at + 1..chars.len()).find(ends).unwrap_or(chars.len());
                    at = end - 1;
                    Word::Bare(chars[start..end].iter().collect())
                }
            },
        };
        at += 1;
        tokens.push(Token { at: start, word });
    }
    Ok(tokens)
}

fn sign_at(chars: &[char], at: usize) -> Option<&'static str> {
    SIGNS.into_iter().find(|s| s.chars().enumerate().all(|(i, c)| chars.get(at + i) == Some(&c)))
}

/// What stands between quotes, and where it ends.
fn quoted(chars: &[char], start: usize) -> Result<(String, usize), FilterError> {
    let mut text = String::new();
    let mut at = start + 1;
    while let Some(&c) = chars.get(at) {
        match c {
            '"' => return Ok((text, at + 1)),
            '\\' if matches!(chars.get(at + 1), Some('"' | '\\')) => {
                text.push(chars[at + 1]);
                at += 1;
            }
            c => text.push(c),
        }
        at += 1;
    }
    Err(FilterError { at: start, problem: Problem::OpenQuote })
}

impl Reader {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next)
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(self.peek(), Some(Token { word: Word::Bare(text), .. }) if text.eq_ignore_ascii_case(word))
    }

    fn here(&self) -> usize {
        self.peek().map_or(self.end, |t| t.at)
    }

    fn fail<T>(&self, problem: Problem) -> Result<T, FilterError> {
        Err(FilterError { at: self.here(), problem })
    }

    fn any(&mut self, depth: usize) -> Result<Filter, FilterError> {
        let mut parts = vec![self.all(depth)?];
        while self.is_word("or") {
            self.next += 1;
            parts.push(self.all(depth)?);
        }
        Ok(if parts.len() > 1 { Filter::Any(parts) } else { parts.remove(0) })
    }

    fn all(&mut self, depth: usize) -> Result<Filter, FilterError> {
        let mut parts = vec![self.part(depth)?];
        loop {
            if self.is_word("and") {
                self.next += 1;
            } else if self.is_word("or") || matches!(self.peek(), None | Some(Token { word: Word::Close, .. })) {
                break;
            }
            parts.push(self.part(depth)?);
        }
        Ok(if parts.len() > 1 { Filter::All(parts) } else { parts.remove(0) })
    }

    fn part(&mut self, depth: usize) -> Result<Filter, FilterError> {
        if depth > MAX_DEPTH {
            return self.fail(Problem::TooDeep);
        }
        if self.is_word("or") || self.is_word("and") {
            return self.fail(Problem::Missing);
        }
        let is_not = self.is_word("not");
        let Some(token) = self.tokens.get(self.next) else { return self.fail(Problem::Missing) };
        match token.word.clone() {
            _ if is_not => {
                self.next += 1;
                Ok(Filter::Not(Box::new(self.part(depth + 1)?)))
            }
            Word::Minus => {
                self.next += 1;
                Ok(Filter::Not(Box::new(self.part(depth + 1)?)))
            }
            Word::Open => {
                let open = token.at;
                self.next += 1;
                let inner = self.any(depth + 1)?;
                if !matches!(self.peek(), Some(Token { word: Word::Close, .. })) {
                    return Err(FilterError { at: open, problem: Problem::OpenParenthesis });
                }
                self.next += 1;
                Ok(inner)
            }
            Word::Quoted(text) => {
                self.next += 1;
                Ok(Filter::Text { field: None, text: text.to_lowercase(), whole: false })
            }
            Word::Bare(text) => match self.tokens.get(self.next + 1) {
                Some(Token { word: Word::Sign(sign), .. }) => self.field(&text, sign),
                _ => {
                    self.next += 1;
                    Ok(Filter::Text { field: None, text: text.to_lowercase(), whole: false })
                }
            },
            Word::Close => self.fail(Problem::Missing),
            Word::Sign(sign) => self.fail(Problem::OutOfPlace(sign.to_owned())),
        }
    }

    /// `word sign value`, from the word on.
    fn field(&mut self, word: &str, sign: &'static str) -> Result<Filter, FilterError> {
        let Some((name, field, _)) = FIELDS.into_iter().find(|f| f.0.eq_ignore_ascii_case(word)) else {
            return self.fail(Problem::UnknownField(word.to_owned()));
        };
        self.next += 2;
        let Some(Token { word: Word::Bare(value) | Word::Quoted(value), .. }) = self.tokens.get(self.next) else {
            return self.fail(Problem::NoValue(name));
        };
        let value = value.clone();
        match field {
            Field::Text(field) => {
                if !matches!(sign, ":" | "=" | "!=") {
                    self.next -= 1;
                    return self.fail(Problem::TextCompared(name));
                }
                self.next += 1;
                let text = Filter::Text { field: Some(field), text: value.to_lowercase(), whole: sign != ":" };
                Ok(if sign == "!=" { Filter::Not(Box::new(text)) } else { text })
            }
            Field::Figure(figure) => {
                let compare = match sign {
                    "<" => Compare::Less,
                    "<=" => Compare::AtMost,
                    "!=" => Compare::NotEqual,
                    ">=" => Compare::AtLeast,
                    ">" => Compare::More,
                    _ => Compare::Equal,
                };
                let value = self.number(name, figure, &value)?;
                Ok(Filter::Figure(figure, compare, value))
            }
        }
    }

    /// A number with its unit, which may stand apart from it.
    fn number(&mut self, field: &'static str, figure: Figure, text: &str) -> Result<f64, FilterError> {
        let digits = text.find(|c: char| !(c.is_ascii_digit() || "+-.eE".contains(c))).unwrap_or(text.len());
        // The longest beginning that is a number: an `e` may belong to either.
        let number = (1..=digits).rev().find_map(|n| Some((n, text[..n].parse::<f64>().ok()?)));
        let Some((length, number)) = number.filter(|n| n.1.is_finite()) else {
            return self.fail(Problem::NotANumber { field, text: text.to_owned() });
        };
        let unit = &text[length..];
        if unit.is_empty()
            && let Some(Token { word: Word::Bare(next), .. }) = self.tokens.get(self.next + 1)
            && let Some(size) = figure.unit(next)
        {
            self.next += 2;
            return Ok(number * size);
        }
        let units = figure.units_in_words();
        match figure.unit(unit) {
            Some(size) => {
                self.next += 1;
                Ok(number * size)
            }
            None if unit.is_empty() => self.fail(Problem::NoUnit { field, units }),
            None => self.fail(Problem::Unit { field, text: unit.to_owned(), units }),
        }
    }
}
